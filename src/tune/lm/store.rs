//! Checkpoints: the trained tensors, the optimiser's moments and the loop's counters in one safetensors file, written
//! and read a tensor at a time.

use crate::artifact;
use crate::error::{Error, Result};
use crate::transformer::{AdamW, Map, Model, MomentData, Storage};
use half::bf16;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map as Object, Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// One array of a checkpoint.
enum Data<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    I8(&'a [i8]),
    U8(&'a [u8]),
    /// Pairs of f32.
    Pairs(&'a [(f32, f32)]),
}

impl Data<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Data::F32(_) | Data::Pairs(_) => "F32",
            Data::Bf16(_) => "BF16",
            Data::I8(_) => "I8",
            Data::U8(_) => "U8",
        }
    }
    fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::Bf16(v) => v.len(),
            Data::I8(v) => v.len(),
            Data::U8(v) => v.len(),
            Data::Pairs(v) => 2 * v.len(),
        }
    }
    fn bytes(&self) -> usize {
        match self {
            Data::F32(_) | Data::Pairs(_) => 4 * self.len(),
            Data::Bf16(_) => 2 * self.len(),
            Data::I8(_) | Data::U8(_) => self.len(),
        }
    }
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match self {
            Data::F32(v) => v.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
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

/// Writes the trained tensors, with the optimiser's moments when it is given, and `meta` beside them.
///
/// # Errors
/// [`crate::ErrorKind::Io`].
pub fn save(path: &Path, model: &Model, adam: Option<&AdamW>, meta: &Value) -> Result<()> {
    let mut arrays: Vec<(String, Data<'_>)> = Vec::new();
    for (id, tensor) in model.tensors.iter().enumerate().filter(|(_, t)| t.trained) {
        match &tensor.storage {
            Storage::F32(v) => arrays.push((format!("{id}.w"), Data::F32(v))),
            Storage::Bf16(v) => arrays.push((format!("{id}.w"), Data::Bf16(v))),
            Storage::Mapped(_) => return Err(Error::bug("a trained tensor in a mapped file")),
        }
        match adam.and_then(|a| a.moments(id)) {
            None => {}
            Some(MomentData::F32(m, v)) => {
                arrays.push((format!("{id}.m"), Data::F32(m)));
                arrays.push((format!("{id}.v"), Data::F32(v)));
            }
            Some(MomentData::Bits8 { m, v, largest }) => {
                arrays.push((format!("{id}.m"), Data::I8(m)));
                arrays.push((format!("{id}.v"), Data::U8(v)));
                arrays.push((format!("{id}.l"), Data::Pairs(largest)));
            }
        }
    }
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
pub fn read_meta(path: &Path) -> Result<Value> {
    let map = Map::open(path)?;
    let (_, header) = SafeTensors::read_metadata(map.bytes()).map_err(|e| Error::format(path, 0, e))?;
    let text = header.metadata().as_ref().and_then(|m: &HashMap<String, String>| m.get("causerie"));
    let text = text.ok_or_else(|| Error::format(path, 0, "not a checkpoint of causerie"))?;
    serde_json::from_str(text).map_err(|e| Error::format(path, 0, e))
}

/// Reads a checkpoint back into `model` and, when given, `adam`.
///
/// # Errors
/// [`crate::ErrorKind::Format`] for a broken file or one of another model.
pub fn load(path: &Path, model: &mut Model, adam: Option<&mut AdamW>) -> Result<()> {
    let map = Map::open(path)?;
    let file = SafeTensors::deserialize(map.bytes()).map_err(|e| Error::format(path, 0, e))?;
    let get = |name: String, kind: Dtype, len: usize| -> Result<Option<Vec<u8>>> {
        match file.tensor(&name) {
            Err(_) => Ok(None),
            Ok(t) if t.dtype() == kind && t.shape() == [len] => Ok(Some(t.data().to_vec())),
            Ok(t) => Err(Error::format(path, 0, format!("{name} is {:?} {:?}", t.dtype(), t.shape()))),
        }
    };
    let floats = |bytes: Vec<u8>| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    for (id, tensor) in model.tensors.iter_mut().enumerate().filter(|(_, t)| t.trained) {
        let len = tensor.len();
        let missing = || Error::format(path, 0, format!("tensor {id} is missing: a checkpoint of another model?"));
        match &mut tensor.storage {
            Storage::F32(v) => *v = floats(get(format!("{id}.w"), Dtype::F32, len)?.ok_or_else(missing)?),
            Storage::Bf16(v) => {
                let bytes = get(format!("{id}.w"), Dtype::BF16, len)?.ok_or_else(missing)?;
                *v = bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]])).collect();
            }
            Storage::Mapped(_) => return Err(Error::bug("a trained tensor in a mapped file")),
        }
    }
    let Some(adam) = adam else { return Ok(()) };
    for (id, tensor) in model.tensors.iter().enumerate().filter(|(_, t)| t.trained) {
        let len = tensor.len();
        let pair = match adam.settings.moments {
            crate::transformer::Moments::F32 => {
                let m = get(format!("{id}.m"), Dtype::F32, len)?.map(floats);
                let v = get(format!("{id}.v"), Dtype::F32, len)?.map(floats);
                m.zip(v).map(|(m, v)| adam.set_moments_f32(id, m, v))
            }
            crate::transformer::Moments::Bits8 => {
                let m = get(format!("{id}.m"), Dtype::I8, len)?;
                let v = get(format!("{id}.v"), Dtype::U8, len)?;
                let largest = get(format!("{id}.l"), Dtype::F32, 2 * AdamW::blocks(len))?.map(floats);
                m.zip(v).zip(largest).map(|((m, v), l)| {
                    let m = m.into_iter().map(|b| b as i8).collect();
                    let largest = l.chunks_exact(2).map(|p| (p[0], p[1])).collect();
                    adam.set_moments_8bit(id, m, v, largest);
                })
            }
        };
        // A checkpoint of step 0 has no moments yet.
        let _ = pair;
    }
    Ok(())
}
