//! Leaf: the header of a GGUF file, read in safe Rust: metadata and the table of tensors.
//!
//! It stands in front of llama.cpp, which aborts the whole process on some broken files, and it is how the training room
//! finds its weights. Everything is checked before it is believed: magic, version, counts, lengths against the bytes that
//! are left, duplicates, alignment, and that every tensor lies inside the file. Memory grows with the file, never with a
//! number that the file claims. What the numbers must mean for a model to run is [`Gguf::check_model`]'s question.

mod check;

use crate::artifact;
use crate::error::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes of header at most: the largest known (256k tokens with merges) has 25 MiB.
const MAX_HEADER_BYTES: u64 = 1 << 30;
/// Metadata entries at most.
const MAX_ENTRIES: u64 = 1 << 16;
/// Tensors at most.
const MAX_TENSORS: u64 = 1 << 17;
/// Bytes of a key at most (the format's own bound).
const MAX_KEY_BYTES: u64 = 65_535;
/// Bytes of a tensor's name at most (ggml's bound, without the ending zero).
const MAX_NAME_BYTES: u64 = 63;
/// Dimensions of a tensor at most (ggml's bound).
const MAX_DIMS: u32 = 4;

/// How a tensor's numbers are stored: ggml's type number, the values per block and the bytes per block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GgmlType {
    /// ggml's number of it.
    pub id: u32,
    /// ggml's name of it: `q4_K`.
    pub name: &'static str,
    /// Values in a block.
    pub block_values: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
}

const fn ggml(id: u32, name: &'static str, block_values: u64, block_bytes: u64) -> GgmlType {
    GgmlType { id, name, block_values, block_bytes }
}

/// Every type that a GGUF file may hold, as ggml stores them.
pub const GGML_TYPES: &[GgmlType] = &[
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::Q4_0,
    ggml(3, "q4_1", 32, 20),
    ggml(6, "q5_0", 32, 22),
    ggml(7, "q5_1", 32, 24),
    GgmlType::Q8_0,
    ggml(9, "q8_1", 32, 36),
    ggml(10, "q2_K", 256, 84),
    ggml(11, "q3_K", 256, 110),
    GgmlType::Q4_K,
    ggml(13, "q5_K", 256, 176),
    GgmlType::Q6_K,
    ggml(15, "q8_K", 256, 292),
    ggml(16, "iq2_xxs", 256, 66),
    ggml(17, "iq2_xs", 256, 74),
    ggml(18, "iq3_xxs", 256, 98),
    ggml(19, "iq1_s", 256, 50),
    ggml(20, "iq4_nl", 32, 18),
    ggml(21, "iq3_s", 256, 110),
    ggml(22, "iq2_s", 256, 82),
    ggml(23, "iq4_xs", 256, 136),
    ggml(24, "i8", 1, 1),
    ggml(25, "i16", 1, 2),
    ggml(26, "i32", 1, 4),
    ggml(27, "i64", 1, 8),
    ggml(28, "f64", 1, 8),
    ggml(29, "iq1_m", 256, 56),
    GgmlType::BF16,
    ggml(34, "tq1_0", 256, 54),
    ggml(35, "tq2_0", 256, 66),
    ggml(39, "mxfp4", 32, 17),
    ggml(40, "nvfp4", 64, 36),
    ggml(41, "q1_0", 128, 18),
    ggml(42, "q2_0", 64, 18),
];

impl GgmlType {
    /// 32-bit floats.
    pub const F32: GgmlType = ggml(0, "f32", 1, 4);
    /// 16-bit floats.
    pub const F16: GgmlType = ggml(1, "f16", 1, 2);
    /// Brain floats of 16 bits.
    pub const BF16: GgmlType = ggml(30, "bf16", 1, 2);
    /// 4 bits, one scale for 32 values.
    pub const Q4_0: GgmlType = ggml(2, "q4_0", 32, 18);
    /// 8 bits, one scale for 32 values.
    pub const Q8_0: GgmlType = ggml(8, "q8_0", 32, 34);
    /// 4 bits in super-blocks of 256 values.
    pub const Q4_K: GgmlType = ggml(12, "q4_K", 256, 144);
    /// 6 bits in super-blocks of 256 values.
    pub const Q6_K: GgmlType = ggml(14, "q6_K", 256, 210);

    /// The type with ggml's number `id`.
    pub fn from_id(id: u32) -> Option<GgmlType> {
        GGML_TYPES.iter().find(|t| t.id == id).copied()
    }
    /// Bytes of `values` values; `None` when they fill no whole number of blocks, or overflow.
    pub fn bytes(&self, values: u64) -> Option<u64> {
        if !values.is_multiple_of(self.block_values) {
            return None;
        }
        (values / self.block_values).checked_mul(self.block_bytes)
    }
}

/// A list in the metadata. Nested lists exist in the format and in no model; they are refused.
#[derive(Debug, Clone, PartialEq)]
pub enum List {
    /// Whole numbers of any width that fit 64 bits with sign.
    Integers(Vec<i64>),
    /// Floats of either width.
    Floats(Vec<f64>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Texts.
    Texts(Vec<String>),
}

impl List {
    /// Number of entries.
    pub fn len(&self) -> usize {
        match self {
            List::Integers(v) => v.len(),
            List::Floats(v) => v.len(),
            List::Bools(v) => v.len(),
            List::Texts(v) => v.len(),
        }
    }
    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A metadata value. Widths are not kept apart: `u32` and `i64` are both [`Value::Integer`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number (a `u64` above `i64::MAX` is refused at reading).
    Integer(i64),
    /// A float of either width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list.
    List(List),
}

/// One tensor of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Its name: `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes in ggml's order, the contiguous dimension first: a weight of numpy shape `[out, in]` has `[in, out]`.
    pub dims: Vec<u64>,
    /// How its numbers are stored.
    pub kind: GgmlType,
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// The header of a GGUF file.
#[derive(Debug, Clone)]
pub struct Gguf {
    path: PathBuf,
    version: u32,
    entries: Vec<(String, Value)>,
    keys: HashMap<String, usize>,
    tensors: Vec<TensorInfo>,
    names: HashMap<String, usize>,
    alignment: u64,
    data_offset: u64,
    file_bytes: u64,
    hash: String,
}

impl Gguf {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Format`] for a file that is cut
    /// short or does not hold together, saying where.
    pub fn open(path: &Path) -> Result<Gguf> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, e))?;
        if metadata.is_dir() {
            return Err(Error::invalid(format!("{}: is a folder, a GGUF file is needed", path.display())));
        }
        Gguf::read(BufReader::with_capacity(1 << 18, file), metadata.len(), path)
    }

    /// Reads a header from `source`, the start of a file of `file_bytes` bytes; `path` is for the messages.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn read(source: impl Read, file_bytes: u64, path: &Path) -> Result<Gguf> {
        let mut reader =
            Reader { source, path, at: 0, end: file_bytes.min(MAX_HEADER_BYTES), hasher: blake3::Hasher::new() };
        if &reader.bytes::<4>("the magic")? != b"GGUF" {
            return Err(reader.bad("not a GGUF file: it does not begin with \"GGUF\""));
        }
        let version = reader.u32("the version")?;
        if version & 0xffff == 0 && version != 0 {
            return Err(reader.bad("a big-endian GGUF file; convert it to little-endian"));
        }
        if !(2..=3).contains(&version) {
            return Err(reader.bad(format!("GGUF version {version}; versions 2 and 3 are known")));
        }
        let tensor_count = reader.count("number of tensors", MAX_TENSORS)?;
        let entry_count = reader.count("number of metadata entries", MAX_ENTRIES)?;

        let mut entries = Vec::new();
        let mut keys = HashMap::new();
        for n in 0..entry_count {
            let key = reader.text(MAX_KEY_BYTES, || format!("the key of metadata entry {n}"))?;
            if key.is_empty() {
                return Err(reader.bad(format!("metadata entry {n} has an empty key")));
            }
            let kind = reader.u32("a metadata type")?;
            let value = reader.value(kind, &key)?;
            if keys.insert(key.clone(), entries.len()).is_some() {
                return Err(reader.bad(format!("the metadata key {key:?} is there twice")));
            }
            entries.push((key, value));
        }
        let alignment = match keys.get("general.alignment").and_then(|i| entries.get(*i)).map(|(_, value)| value) {
            None => 32,
            Some(Value::Integer(v)) if *v > 0 && (*v as u64).is_power_of_two() && *v <= 1 << 20 => *v as u64,
            Some(other) => return Err(reader.bad(format!("general.alignment is {other:?}: not a power of two"))),
        };

        let mut tensors: Vec<TensorInfo> = Vec::new();
        let mut names = HashMap::new();
        // Offsets in the file count from the data section, whose start is known only after the last entry.
        let mut expected = 0u64;
        for n in 0..tensor_count {
            let name = reader.text(MAX_NAME_BYTES, || format!("the name of tensor {n}"))?;
            let (dims, kind, bytes) = reader.shape(&name)?;
            let offset = reader.u64("a tensor's offset")?;
            if offset != expected {
                let cause = format!("tensor {name:?} begins at {offset} of the data, expected is {expected}");
                return Err(reader.bad(cause));
            }
            expected = bytes
                .checked_next_multiple_of(alignment)
                .and_then(|padded| padded.checked_add(expected))
                .ok_or_else(|| reader.bad(format!("tensor {name:?} is larger than any file")))?;
            if names.insert(name.clone(), tensors.len()).is_some() {
                return Err(reader.bad(format!("the tensor {name:?} is there twice")));
            }
            tensors.push(TensorInfo { name, dims, kind, offset, bytes });
        }
        let data_offset = reader.at.next_multiple_of(alignment);
        for tensor in &mut tensors {
            tensor.offset = tensor.offset.saturating_add(data_offset);
            if tensor.offset.checked_add(tensor.bytes).is_none_or(|end| end > file_bytes) {
                return Err(Error::format(
                    path,
                    0,
                    format!(
                        "tensor {:?} ({} bytes at {}) lies outside the file of {file_bytes} bytes: the file was cut \
                         short; copy it again",
                        tensor.name, tensor.bytes, tensor.offset
                    ),
                ));
            }
        }
        reader.hasher.update(&file_bytes.to_le_bytes());
        let hash = reader.hasher.finalize().to_hex()[..16].to_string();
        Ok(Gguf {
            path: path.to_path_buf(),
            version,
            entries,
            keys,
            tensors,
            names,
            alignment,
            data_offset,
            file_bytes,
            hash,
        })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The format's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }
    /// All metadata in the file's order.
    pub fn entries(&self) -> &[(String, Value)] {
        &self.entries
    }
    /// All tensors in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }
    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.names.get(name).and_then(|i| self.tensors.get(*i))
    }
    /// Bytes to which tensors are aligned.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }
    /// First byte of the data section.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }
    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
    /// 16 hex digits over the header and the file's size (not over the weights: a file of gigabytes opens at once).
    pub fn header_hash(&self) -> &str {
        &self.hash
    }
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).and_then(|i| self.entries.get(*i)).map(|(_, value)| value)
    }
    /// The text `key`, `None` when it is absent.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] when it is something else than a text; the same for the functions below.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(v)) => Ok(Some(v)),
            Some(other) => Err(self.mistyped(key, other, "a text")),
        }
    }
    /// The whole number `key`.
    ///
    /// # Errors
    /// As [`Gguf::text`].
    pub fn integer(&self, key: &str) -> Result<Option<i64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(v)) => Ok(Some(*v)),
            Some(other) => Err(self.mistyped(key, other, "a whole number")),
        }
    }
    /// The float `key`.
    ///
    /// # Errors
    /// As [`Gguf::text`].
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(v)) => Ok(Some(*v)),
            Some(other) => Err(self.mistyped(key, other, "a float")),
        }
    }
    /// The truth value `key`.
    ///
    /// # Errors
    /// As [`Gguf::text`].
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(*v)),
            Some(other) => Err(self.mistyped(key, other, "a truth value")),
        }
    }
    /// The list `key`.
    ///
    /// # Errors
    /// As [`Gguf::text`].
    pub fn list(&self, key: &str) -> Result<Option<&List>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::List(v)) => Ok(Some(v)),
            Some(other) => Err(self.mistyped(key, other, "a list")),
        }
    }
    /// The list of texts `key`.
    ///
    /// # Errors
    /// As [`Gguf::text`].
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        match self.list(key)? {
            None => Ok(None),
            Some(List::Texts(v)) => Ok(Some(v)),
            Some(List::Integers(_) | List::Floats(_) | List::Bools(_)) => {
                Err(self.bad(format!("{key} is no list of texts")))
            }
        }
    }
    /// `general.architecture`: `llama`, `bert`, …
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] when it is missing.
    pub fn architecture(&self) -> Result<&str> {
        self.text("general.architecture")?.ok_or_else(|| self.bad("general.architecture is missing"))
    }
    /// A [`crate::ErrorKind::Format`] error about this file.
    pub fn bad(&self, cause: impl std::fmt::Display) -> Error {
        Error::format(&self.path, 0, cause)
    }
    fn mistyped(&self, key: &str, found: &Value, wanted: &str) -> Error {
        let found = match found {
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a truth value",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
        };
        self.bad(format!("{key} is {found}, expected is {wanted}"))
    }
}

/// Reads little-endian values and knows where it is; hashes what it reads.
struct Reader<'a, R> {
    source: R,
    path: &'a Path,
    at: u64,
    /// First byte that may not be read.
    end: u64,
    hasher: blake3::Hasher,
}

impl<R: Read> Reader<'_, R> {
    fn bad(&self, cause: impl std::fmt::Display) -> Error {
        Error::format(self.path, 0, format!("{cause} (byte {} of the file)", self.at))
    }
    fn need(&self, bytes: u64, what: &str) -> Result<()> {
        if bytes > self.end - self.at {
            let cause =
                format!("{what} needs {bytes} bytes where {} are left: cut short or broken", self.end - self.at);
            return Err(self.bad(cause));
        }
        Ok(())
    }
    fn fill(&mut self, out: &mut [u8], what: &str) -> Result<()> {
        self.need(out.len() as u64, what)?;
        self.source.read_exact(out).map_err(|e| artifact::truncated(self.path, e))?;
        self.hasher.update(out);
        self.at += out.len() as u64;
        Ok(())
    }
    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.fill(&mut out, what)?;
        Ok(out)
    }
    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(what)?))
    }
    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }
    fn count(&mut self, what: &str, most: u64) -> Result<u64> {
        let count = self.u64(what)?;
        if count > most {
            return Err(self.bad(format!("{what} is {count}; at most {most} is believed")));
        }
        Ok(count)
    }
    fn text(&mut self, most: u64, what: impl Fn() -> String) -> Result<String> {
        let length = self.u64("a text's length")?;
        if length > most || length > self.end - self.at {
            let cause = format!("{} claims {length} bytes where {} are left or allowed", what(), most.min(self.end));
            return Err(self.bad(cause));
        }
        // The length is no more than what the file still holds.
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes, "a text")?;
        String::from_utf8(bytes).map_err(|_| self.bad(format!("{} is not UTF-8", what())))
    }
    /// Calls `each` for the `count` entries of a list, `least` bytes each at least.
    fn list<T>(
        &mut self,
        count: u64,
        least: u64,
        key: &str,
        mut each: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let bytes = count.saturating_mul(least);
        self.need(bytes, &format!("the list {key} of {count} entries"))?;
        let mut out = Vec::with_capacity(count as usize);
        for _ in 0..count {
            out.push(each(self)?);
        }
        Ok(out)
    }
    fn integer(&mut self, kind: u32, key: &str) -> Result<i64> {
        Ok(match kind {
            0 => i64::from(u8::from_le_bytes(self.bytes(key)?)),
            1 => i64::from(i8::from_le_bytes(self.bytes(key)?)),
            2 => i64::from(u16::from_le_bytes(self.bytes(key)?)),
            3 => i64::from(i16::from_le_bytes(self.bytes(key)?)),
            4 => i64::from(u32::from_le_bytes(self.bytes(key)?)),
            5 => i64::from(i32::from_le_bytes(self.bytes(key)?)),
            10 => {
                let value = self.u64(key)?;
                i64::try_from(value).map_err(|_| self.bad(format!("{key} is {value}: too large")))?
            }
            11 => i64::from_le_bytes(self.bytes(key)?),
            _ => return Err(self.bad(format!("{key} has the unknown type {kind}"))),
        })
    }
    fn float(&mut self, kind: u32, key: &str) -> Result<f64> {
        Ok(if kind == 6 {
            f64::from(f32::from_le_bytes(self.bytes(key)?))
        } else {
            f64::from_le_bytes(self.bytes(key)?)
        })
    }
    fn bool(&mut self, key: &str) -> Result<bool> {
        let [byte] = self.bytes::<1>(key)?;
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad(format!("{key} holds {byte} where a truth value stands"))),
        }
    }
    /// The numbers of the types are the format's: 0..=5, 10, 11 integers, 6 f32, 7 bool, 8 text, 9 list, 12 f64.
    fn value(&mut self, kind: u32, key: &str) -> Result<Value> {
        match kind {
            6 | 12 => Ok(Value::Float(self.float(kind, key)?)),
            7 => Ok(Value::Bool(self.bool(key)?)),
            8 => Ok(Value::Text(self.text(MAX_HEADER_BYTES, || key.to_string())?)),
            9 => {
                let kind = self.u32(key)?;
                let count = self.u64(key)?;
                Ok(Value::List(match kind {
                    0 | 1 => List::Integers(self.list(count, 1, key, |r| r.integer(kind, key))?),
                    2 | 3 => List::Integers(self.list(count, 2, key, |r| r.integer(kind, key))?),
                    4 | 5 => List::Integers(self.list(count, 4, key, |r| r.integer(kind, key))?),
                    10 | 11 => List::Integers(self.list(count, 8, key, |r| r.integer(kind, key))?),
                    6 => List::Floats(self.list(count, 4, key, |r| r.float(kind, key))?),
                    12 => List::Floats(self.list(count, 8, key, |r| r.float(kind, key))?),
                    7 => List::Bools(self.list(count, 1, key, |r| r.bool(key))?),
                    8 => List::Texts(
                        self.list(count, 8, key, |r| r.text(MAX_HEADER_BYTES, || format!("an entry of {key}")))?,
                    ),
                    _ => return Err(self.bad(format!("{key} is a list of the unknown type {kind}"))),
                }))
            }
            _ => Ok(Value::Integer(self.integer(kind, key)?)),
        }
    }
    fn shape(&mut self, name: &str) -> Result<(Vec<u64>, GgmlType, u64)> {
        let count = self.u32("a tensor's number of dimensions")?;
        if count == 0 || count > MAX_DIMS {
            return Err(self.bad(format!("tensor {name:?} has {count} dimensions; 1 to {MAX_DIMS} are known")));
        }
        let mut dims = Vec::with_capacity(count as usize);
        let mut values = 1u64;
        for _ in 0..count {
            let dim = self.u64("a tensor's size")?;
            values = values
                .checked_mul(dim)
                .filter(|v| *v > 0 && *v <= i64::MAX as u64)
                .ok_or_else(|| self.bad(format!("tensor {name:?} has the size {dim}: nothing, or too much")))?;
            dims.push(dim);
        }
        let id = self.u32("a tensor's type")?;
        let kind =
            GgmlType::from_id(id).ok_or_else(|| self.bad(format!("tensor {name:?} has the unknown type {id}")))?;
        let row = dims.first().copied().unwrap_or(0);
        if row % kind.block_values != 0 {
            let cause = format!("tensor {name:?}: rows of {row} values fill no whole blocks of {}", kind.name);
            return Err(self.bad(cause));
        }
        let bytes = kind.bytes(values).ok_or_else(|| self.bad(format!("tensor {name:?} is larger than any file")))?;
        Ok((dims, kind, bytes))
    }
}

/// A set of what was seen, to find the first thing that comes twice.
fn first_duplicate(texts: &[String]) -> Option<(usize, &str)> {
    let mut seen = HashSet::with_capacity(texts.len());
    texts.iter().enumerate().find(|(_, text)| !seen.insert(text.as_str())).map(|(i, text)| (i, text.as_str()))
}

#[cfg(test)]
mod tests;
