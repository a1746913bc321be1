//! Writing of GGUF files: whole models on the metadata of the file they came from, and LoRA adapters.

use super::config::{ModelConfig, RopeLayout};
use super::gguf_in::ROPE_FACTORS;
use super::model::Model;
use super::weights::{LoraHalf, Part, Place, Tensor};
use crate::artifact::write_atomic;
use crate::error::{Error, Result};
use crate::map::Map;
use half::slice::HalfFloatSliceExt;
use std::io::Write;
use std::path::Path;

/// How matrices are written; vectors are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of an f32.
    Bf16,
}

impl Precision {
    /// ggml's number of the type, and llama.cpp's of a file that is mostly of it.
    fn numbers(self) -> (u32, u32) {
        match self {
            Precision::F32 => (0, 0),
            Precision::F16 => (1, 1),
            Precision::Bf16 => (30, 32),
        }
    }
    fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 | Precision::Bf16 => 2,
        }
    }
    fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        out.clear();
        match self {
            Precision::F32 => values.iter().for_each(|v| out.extend(v.to_le_bytes())),
            Precision::F16 => {
                let mut halves = vec![half::f16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                halves.iter().for_each(|v| out.extend(v.to_le_bytes()));
            }
            Precision::Bf16 => values.iter().for_each(|v| out.extend(half::bf16::from_f32(*v).to_le_bytes())),
        }
    }
}

/// Metadata of a GGUF file in its binary form.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// Keys with the type number and the bytes of their values.
    entries: Vec<(String, u32, Vec<u8>)>,
}

const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const LIST: u32 = 9;

fn text_bytes(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Metadata {
    /// The metadata of the mapped file, whose header was checked before.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] for a file that is cut short.
    pub fn of(map: &Map) -> Result<Metadata> {
        let mut at = Cursor { map, at: 16 };
        let count = at.u64()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let length = at.u64()?;
            let key = String::from_utf8_lossy(at.take(length)?).into_owned();
            let kind = at.u32()?;
            let start = at.at;
            at.skip_value(kind)?;
            entries.push((key, kind, map.bytes()[start..at.at].to_vec()));
        }
        Ok(Metadata { entries })
    }
    fn put(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        match self.entries.iter_mut().find(|(k, _, _)| k == key) {
            Some(entry) => (entry.1, entry.2) = (kind, value),
            None => self.entries.push((key.to_string(), kind, value)),
        }
    }
    /// Sets a text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.put(key, TEXT, text_bytes(value));
    }
    /// Sets a whole number of 32 bits.
    pub fn integer(&mut self, key: &str, value: u32) {
        self.put(key, U32, value.to_le_bytes().to_vec());
    }
    /// Sets a float of 32 bits.
    pub fn float(&mut self, key: &str, value: f32) {
        self.put(key, F32, value.to_le_bytes().to_vec());
    }
    /// Sets a truth value.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.put(key, BOOL, vec![u8::from(value)]);
    }
    /// Sets a list of texts.
    pub fn texts<'a>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'a str>) {
        let mut bytes = [&TEXT.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        values.for_each(|v| bytes.extend(text_bytes(v)));
        self.put(key, LIST, bytes);
    }
    /// Sets a list of whole numbers of 32 bits with sign.
    pub fn integers(&mut self, key: &str, values: &[i32]) {
        let mut bytes = [&I32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
        self.put(key, LIST, bytes);
    }
    /// Sets what describes a Llama of this shape.
    pub fn llama(&mut self, config: &ModelConfig) {
        self.text("general.architecture", config.family.name());
        let mut size = |name: &str, value: usize| {
            self.integer(&format!("{}.{name}", config.family.name()), u32::try_from(value).unwrap_or(u32::MAX));
        };
        size("context_length", config.context);
        size("embedding_length", config.dim);
        size("block_count", config.layers);
        size("feed_forward_length", config.ffn);
        size("attention.head_count", config.heads);
        size("attention.head_count_kv", config.kv_heads);
        size("attention.key_length", config.head_dim);
        size("attention.value_length", config.head_dim);
        size("rope.dimension_count", config.head_dim);
        size("vocab_size", config.vocabulary);
        self.float(&format!("{}.attention.layer_norm_rms_epsilon", config.family.name()), config.norm_eps);
        self.float(&format!("{}.rope.freq_base", config.family.name()), config.rope_theta as f32);
    }
}

/// Reads a header that was checked before; still never beyond its end.
struct Cursor<'a> {
    map: &'a Map,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let end = usize::try_from(length).ok().and_then(|l| self.at.checked_add(l));
        let bytes = end.and_then(|end| self.map.bytes().get(self.at..end));
        let bytes = bytes.ok_or_else(|| Error::format(self.map.path(), 0, "the header is cut short"))?;
        self.at += bytes.len();
        Ok(bytes)
    }
    fn u64(&mut self) -> Result<u64> {
        Ok(self.take(8)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }
    fn u32(&mut self) -> Result<u32> {
        Ok(self.take(4)?.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
    }
    fn skip_value(&mut self, kind: u32) -> Result<()> {
        let bytes = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            TEXT => self.u64()?,
            LIST => {
                let (kind, count) = (self.u32()?, self.u64()?);
                if kind == LIST {
                    return Err(Error::format(self.map.path(), 0, "a nested list in the metadata"));
                }
                for _ in 0..count {
                    self.skip_value(kind)?;
                }
                0
            }
            _ => return Err(Error::format(self.map.path(), 0, "unknown metadata type")),
        };
        self.take(bytes).map(|_| ())
    }
}

/// One tensor to be written: its name, sizes in ggml's order, precision, and what gives its values.
struct Out<'a> {
    name: String,
    dims: Vec<u64>,
    precision: Precision,
    values: Box<dyn Fn() -> Vec<f32> + 'a>,
}

impl<'a> Out<'a> {
    fn of(tensor: &'a Tensor, precision: Precision, values: impl Fn() -> Vec<f32> + 'a) -> Out<'a> {
        let (rows, cols) = (tensor.rows as u64, tensor.cols as u64);
        let vector = rows == 1 && tensor.place.lora.is_none();
        Out {
            name: tensor.place.gguf_name(),
            dims: if vector { vec![cols] } else { vec![cols, rows] },
            precision: if vector { Precision::F32 } else { precision },
            values: Box::new(values),
        }
    }
}

const ALIGNMENT: usize = 32;

fn write(path: &Path, metadata: &Metadata, tensors: &[Out<'_>]) -> Result<()> {
    let mut header = b"GGUF".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    let entries: Vec<_> = metadata.entries.iter().filter(|(key, _, _)| key != "general.alignment").collect();
    header.extend((entries.len() as u64).to_le_bytes());
    for (key, kind, value) in entries {
        header.extend(text_bytes(key));
        header.extend(kind.to_le_bytes());
        header.extend(value);
    }
    let mut offset = 0usize;
    for tensor in tensors {
        header.extend(text_bytes(&tensor.name));
        header.extend((tensor.dims.len() as u32).to_le_bytes());
        tensor.dims.iter().for_each(|d| header.extend(d.to_le_bytes()));
        header.extend(tensor.precision.numbers().0.to_le_bytes());
        header.extend((offset as u64).to_le_bytes());
        let bytes = tensor.dims.iter().product::<u64>() as usize * tensor.precision.bytes();
        offset += bytes.next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    write_atomic(path, |out: &mut dyn Write| {
        out.write_all(&header).map_err(|e| Error::io(path, e))?;
        let mut bytes = Vec::new();
        for tensor in tensors {
            tensor.precision.encode(&(tensor.values)(), &mut bytes);
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            out.write_all(&bytes).map_err(|e| Error::io(path, e))?;
        }
        Ok(())
    })
}

impl Model {
    /// Writes the whole model, adapters merged into the weights, as a GGUF on `metadata` (that of the file it came from).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a model in Hugging Face's layout; [`crate::ErrorKind::Io`].
    pub fn write_gguf(&self, path: &Path, metadata: &Metadata, precision: Precision) -> Result<()> {
        self.check_layout()?;
        let mut metadata = metadata.clone();
        metadata.integer("general.file_type", precision.numbers().1);
        let mut tensors: Vec<Out<'_>> = Vec::new();
        if let Some(factors) = &self.config.rope_factors {
            tensors.push(Out {
                name: ROPE_FACTORS.to_string(),
                dims: vec![factors.len() as u64],
                precision: Precision::F32,
                values: Box::new(|| factors.clone()),
            });
        }
        let own = self.tensors.iter().filter(|t| t.place.lora.is_none());
        tensors.extend(own.map(|t| Out::of(t, precision, move || self.merged(t))));
        write(path, &metadata, &tensors)
    }

    /// Writes the adapters in llama.cpp's layout.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] without adapters, with adapters that change nothing, or for a model in Hugging
    /// Face's layout; [`crate::ErrorKind::Io`].
    pub fn write_adapter(&self, path: &Path) -> Result<()> {
        self.check_layout()?;
        let lora = self.lora().ok_or_else(|| Error::invalid("no adapters to write"))?;
        self.check_adapter()?;
        let mut metadata = Metadata::default();
        metadata.text("general.type", "adapter");
        metadata.text("general.architecture", self.config.family.name());
        metadata.text("adapter.type", "lora");
        metadata.float("adapter.lora.alpha", lora.alpha as f32);
        metadata.text(super::likeness::KEY, &self.likeness());
        metadata.integer("general.file_type", 0);
        let adapters = self.tensors.iter().filter(|t| t.place.lora.is_some());
        let tensors: Vec<_> = adapters.map(|t| Out::of(t, Precision::F32, || t.to_floats())).collect();
        write(path, &metadata, &tensors)
    }

    /// Refuses adapters that leave the model as it was: every B zero.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`].
    pub fn check_adapter(&self) -> Result<()> {
        let mut halves = self.tensors.iter().filter(|t| t.place.lora == Some(LoraHalf::B));
        if halves.any(|t| t.to_floats().iter().any(|v| *v != 0.0)) {
            return Ok(());
        }
        Err(Error::invalid("the adapter changes nothing (B is all zeros): was anything trained?"))
    }

    fn check_layout(&self) -> Result<()> {
        if self.config.norm_offset != 0.0
            || (self.config.family == super::Family::Llama && self.config.rope_layout == RopeLayout::Half)
        {
            return Err(Error::invalid("a model read from a Hugging Face folder cannot be written as GGUF"));
        }
        Ok(())
    }

    /// W + s B A where there is an adapter, W elsewhere.
    fn merged(&self, tensor: &Tensor) -> Vec<f32> {
        let mut values = tensor.to_floats();
        let half = |half| self.find(Place { lora: Some(half), ..tensor.place });
        if let (Some(lora), Some(a), Some(b)) = (self.lora(), half(LoraHalf::A), half(LoraHalf::B)) {
            use crate::math::gemm::{Into, gemm, view, view_mut};
            let (a, b) = (self.tensors[a].to_floats(), self.tensors[b].to_floats());
            let (a, b) = (view(&a, lora.rank, tensor.cols), view(&b, tensor.rows, lora.rank));
            let scale = (lora.alpha / lora.rank as f64) as f32;
            gemm(view_mut(&mut values, tensor.rows, tensor.cols), Into::Add, b, a, scale);
        }
        values
    }
}

/// Which way rows are reordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// From GGUF's order of each head (pairs 2i, 2i + 1) to Hugging Face's (i, i + n/2).
    ToHf,
    /// Back.
    FromHf,
}

/// The rows of q or k (or of their B) of a Llama in the other order; all else as it is.
pub(super) fn reorder_rows(config: &ModelConfig, part: Part, values: Vec<f32>, cols: usize, order: Order) -> Vec<f32> {
    if config.rope_layout == RopeLayout::Half || !matches!(part, Part::Q | Part::K) {
        return values;
    }
    let n = config.head_dim;
    let mut out = vec![0.0; values.len()];
    for pairs in 0..values.len() / cols {
        let (head, at) = (pairs / n, pairs % n);
        let halves = head * n + (at % 2) * n / 2 + at / 2;
        let (from, to) = match order {
            Order::ToHf => (pairs, halves),
            Order::FromHf => (halves, pairs),
        };
        out[to * cols..(to + 1) * cols].copy_from_slice(&values[from * cols..(from + 1) * cols]);
    }
    out
}
