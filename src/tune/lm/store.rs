//! Checkpoints: the trained tensors, the optimiser's moments and the loop's counters in one safetensors file, written
//! and read a tensor at a time.

use crate::artifact;
use crate::error::{Error, Result};
use crate::transformer::{AdamW, Map, Model, MomentData, Moments, Storage};
use half::bf16;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map as Object, Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// One array of a checkpoint.
pub(super) enum Data<'a> {
    F32(&'a [f32]),
    /// A few values of their own.
    Few(Vec<f32>),
    Bf16(&'a [bf16]),
    I8(&'a [i8]),
    U8(&'a [u8]),
    /// Pairs of f32.
    Pairs(&'a [(f32, f32)]),
}

impl Data<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Data::F32(_) | Data::Few(_) | Data::Pairs(_) => "F32",
            Data::Bf16(_) => "BF16",
            Data::I8(_) => "I8",
            Data::U8(_) => "U8",
        }
    }
    fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::Few(v) => v.len(),
            Data::Bf16(v) => v.len(),
            Data::I8(v) => v.len(),
            Data::U8(v) => v.len(),
            Data::Pairs(v) => 2 * v.len(),
        }
    }
    fn bytes(&self) -> usize {
        match self {
            Data::F32(_) | Data::Few(_) | Data::Pairs(_) => 4 * self.len(),
            Data::Bf16(_) => 2 * self.len(),
            Data::I8(_) | Data::U8(_) => self.len(),
        }
    }
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match self {
            Data::F32(v) => v.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Data::Few(v) => v.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Data::Bf16(v) => v.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Data::I8(v) => v.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Data::U8(v) => out.write_all(v),
            Data::Pairs(v) => v.iter().try_for_each(|(a, b)| {
                out.write_all(&a.to_le_bytes())?;
                out.write_all(&b.to_le_bytes())
            }),
        }
    }
}

/// What is trained beside the model, and lies in its checkpoint.
pub(super) trait Companion {
    /// Adds its arrays (`moments`: also what it needs to go on) under names of its own.
    fn save<'a>(&'a self, arrays: &mut Arrays<'a>, moments: bool);
    /// Reads what it saved. `steps`: optimiser steps done, with moments to go on from.
    fn load(&mut self, reader: &Reader<'_>, steps: Option<u64>) -> Result<()>;
}

/// The arrays of a checkpoint, by name.
#[derive(Default)]
pub(super) struct Arrays<'a> {
    arrays: Vec<(String, Data<'a>)>,
}

impl<'a> Arrays<'a> {
    pub fn put(&mut self, name: String, data: Data<'a>) {
        self.arrays.push((name, data));
    }

    /// The moments of tensor `id` of `adam` under `stem`; nothing before its first update.
    pub fn put_moments(&mut self, stem: &str, adam: &'a AdamW, id: usize) {
        match adam.moments(id) {
            None => {}
            Some(MomentData::F32(m, v)) => {
                self.put(format!("{stem}.m"), Data::F32(m));
                self.put(format!("{stem}.v"), Data::F32(v));
            }
            Some(MomentData::Bits8 { m, v, largest }) => {
                self.put(format!("{stem}.m"), Data::I8(m));
                self.put(format!("{stem}.v"), Data::U8(v));
                self.put(format!("{stem}.l"), Data::Pairs(largest));
            }
        }
    }
}

/// Writes the model's trained tensors and the ranking head, with the optimisers' moments when `adam` is given, and `meta`
/// beside them.
///
/// # Errors
/// [`crate::ErrorKind::Io`].
pub(super) fn save(
    path: &Path,
    model: &Model,
    items: Option<&dyn Companion>,
    adam: Option<&AdamW>,
    meta: &Value,
) -> Result<()> {
    let mut arrays = Arrays::default();
    for (id, tensor) in model.tensors.iter().enumerate().filter(|(_, t)| t.trained) {
        match &tensor.storage {
            Storage::F32(v) => arrays.put(format!("{id}.w"), Data::F32(v)),
            Storage::Bf16(v) => arrays.put(format!("{id}.w"), Data::Bf16(v)),
            Storage::Mapped(_) => return Err(Error::bug("a trained tensor in a mapped file")),
        }
        if let Some(adam) = adam {
            arrays.put_moments(&id.to_string(), adam, id);
        }
    }
    if let Some(items) = items {
        items.save(&mut arrays, adam.is_some());
    }
    let mut arrays = arrays.arrays;
    let mut header = Object::new();
    header.insert("__metadata__".into(), json!({"causerie": meta.to_string()}));
    let mut offset = 0;
    // Widest first keeps every array aligned.
    arrays.sort_by_key(|(_, data)| std::cmp::Reverse(data.bytes() / data.len().max(1)));
    for (name, data) in &arrays {
        let end = offset + data.bytes();
        let entry = json!({"dtype": data.kind(), "shape": [data.len()], "data_offsets": [offset, end]});
        header.insert(name.clone(), entry);
        offset = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    artifact::write_atomic(path, |out| {
        let result = (|| {
            out.write_all(&(text.len() as u64).to_le_bytes())?;
            out.write_all(&text)?;
            arrays.iter().try_for_each(|(_, data)| data.write(out))
        })();
        result.map_err(|e| Error::io(path, e))
    })
}

/// The `meta` of a checkpoint.
///
/// # Errors
/// [`crate::ErrorKind::Format`] for a broken file.
pub(super) fn read_meta(path: &Path) -> Result<Value> {
    let map = Map::open(path)?;
    let (_, header) = SafeTensors::read_metadata(map.bytes()).map_err(|e| Error::format(path, 0, e))?;
    let text = header.metadata().as_ref().and_then(|m: &HashMap<String, String>| m.get("causerie"));
    let text = text.ok_or_else(|| Error::format(path, 0, "not a checkpoint of causerie"))?;
    serde_json::from_str(text).map_err(|e| Error::format(path, 0, e))
}

/// Reads arrays of a checkpoint by name.
pub(super) struct Reader<'a> {
    file: SafeTensors<'a>,
    path: &'a Path,
}

impl Reader<'_> {
    fn bytes(&self, name: &str, kind: Dtype, len: usize) -> Result<Option<Vec<u8>>> {
        match self.file.tensor(name) {
            Err(_) => Ok(None),
            Ok(t) if t.dtype() == kind && t.shape() == [len] => Ok(Some(t.data().to_vec())),
            Ok(t) => Err(Error::format(self.path, 0, format!("{name} is {:?} {:?}", t.dtype(), t.shape()))),
        }
    }
    fn missing(&self, name: &str) -> Error {
        Error::format(self.path, 0, format!("{name} is missing: a checkpoint of another model?"))
    }
    fn some_floats(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        let words = |bytes: Vec<u8>| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Ok(self.bytes(name, Dtype::F32, len)?.map(words))
    }
    /// `len` values.
    pub fn floats(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.some_floats(name, len)?.ok_or_else(|| self.missing(name))
    }
    /// The moments of tensor `id` with `len` values into `adam`; a checkpoint of step 0 has none yet.
    pub fn moments(&self, stem: &str, adam: &mut AdamW, id: usize, len: usize) -> Result<()> {
        let (m, v) = (format!("{stem}.m"), format!("{stem}.v"));
        match adam.settings.moments {
            Moments::F32 => {
                if let (Some(m), Some(v)) = (self.some_floats(&m, len)?, self.some_floats(&v, len)?) {
                    adam.set_moments_f32(id, m, v);
                }
            }
            Moments::Bits8 => {
                let (m, v) = (self.bytes(&m, Dtype::I8, len)?, self.bytes(&v, Dtype::U8, len)?);
                let largest = self.some_floats(&format!("{stem}.l"), 2 * AdamW::blocks(len))?;
                if let (Some(m), Some(v), Some(largest)) = (m, v, largest) {
                    let m = m.into_iter().map(|b| b as i8).collect();
                    let largest = largest.as_chunks::<2>().0.iter().map(|p| (p[0], p[1])).collect();
                    adam.set_moments_8bit(id, m, v, largest);
                }
            }
        }
        Ok(())
    }
}

/// Reads a checkpoint back into `model` and `items`. `adam`: to go on with, and the steps that it and the ranking head's
/// optimiser have done.
///
/// # Errors
/// [`crate::ErrorKind::Format`] for a broken file or one of another model.
pub(super) fn load(
    path: &Path,
    model: &mut Model,
    items: Option<&mut dyn Companion>,
    adam: Option<(&mut AdamW, [u64; 2])>,
) -> Result<()> {
    let map = Map::open(path)?;
    let file = SafeTensors::deserialize(map.bytes()).map_err(|e| Error::format(path, 0, e))?;
    let reader = Reader { file, path };
    for (id, tensor) in model.tensors.iter_mut().enumerate().filter(|(_, t)| t.trained) {
        let (len, name) = (tensor.len(), format!("{id}.w"));
        match &mut tensor.storage {
            Storage::F32(v) => *v = reader.floats(&name, len)?,
            Storage::Bf16(v) => {
                let bytes = reader.bytes(&name, Dtype::BF16, len)?.ok_or_else(|| reader.missing(&name))?;
                *v = bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect();
            }
            Storage::Mapped(_) => return Err(Error::bug("a trained tensor in a mapped file")),
        }
    }
    if let Some(items) = items {
        items.load(&reader, adam.as_ref().map(|(_, steps)| steps[1]))?;
    }
    let Some((adam, steps)) = adam else { return Ok(()) };
    for (id, tensor) in model.tensors.iter().enumerate().filter(|(_, t)| t.trained) {
        reader.moments(&id.to_string(), adam, id, tensor.len())?;
    }
    adam.set_steps(steps[0]);
    Ok(())
}
