//! Leaf: named arrays and texts in one safetensors file of our own, which says what kind of thing it holds.

use crate::artifact;
use crate::error::{Error, Result};
use crate::map::Map;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::path::Path;

/// A tensor as these artifacts hold them.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor {
    /// Little-endian f32 of this shape.
    F32(Vec<usize>, Vec<f32>),
    /// Little-endian u32 of this shape.
    U32(Vec<usize>, Vec<u32>),
    /// Bytes.
    U8(Vec<u8>),
}

/// Writes `tensors` and `metadata` as safetensors; `kind` (`ranking head`), the format number and the maker are added.
///
/// # Errors
/// [`crate::ErrorKind::Io`].
pub fn write_tensors(path: &Path, kind: &str, metadata: &[(&str, String)], tensors: &[(&str, Tensor)]) -> Result<()> {
    let bytes: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| match tensor {
            Tensor::F32(shape, v) => {
                (*name, Dtype::F32, shape.clone(), v.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            Tensor::U32(shape, v) => {
                (*name, Dtype::U32, shape.clone(), v.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            Tensor::U8(v) => (*name, Dtype::U8, vec![v.len()], v.clone()),
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| Error::bug(format!("{name}: {e}")))?;
            Ok((*name, view))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut map: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).to_string(), v.clone())).collect();
    map.insert("format".into(), artifact::FORMAT.to_string());
    map.insert("made_by".into(), artifact::made_by());
    map.insert("kind".into(), kind.into());
    // The header's map has no fixed order in memory; one line of JSON keeps the file's bytes the same every time.
    let sorted: std::collections::BTreeMap<_, _> = map.into_iter().collect();
    let line = serde_json::to_string(&sorted).map_err(|e| Error::bug(e.to_string()))?;
    let header = HashMap::from([("causerie".to_string(), line)]);
    let file = safetensors::serialize(views, Some(header)).map_err(|e| Error::bug(format!("{kind}: {e}")))?;
    artifact::write_atomic(path, |out| out.write_all(&file).map_err(|e| Error::io(path, e)))
}

/// Reads what [`write_tensors`] wrote: metadata and tensors by name.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] for another kind of file, a newer format, damage.
pub fn read_tensors(path: &Path, kind: &str) -> Result<(HashMap<String, String>, HashMap<String, Tensor>)> {
    // Mapped: a head is of many megabytes, and every tensor is copied out of it.
    let file = Map::open(path)?;
    let file = file.bytes();
    let bad = |cause: &dyn std::fmt::Display| Error::format(path, 0, format!("not a whole {kind} file: {cause}"));
    let (_, header) = SafeTensors::read_metadata(file).map_err(|e| bad(&e))?;
    let line =
        header.metadata().as_ref().and_then(|m| m.get("causerie")).ok_or_else(|| bad(&"causerie did not write it"))?;
    let metadata: HashMap<String, String> = serde_json::from_str(line).map_err(|e| bad(&e))?;
    let found = metadata.get("kind").map_or("", String::as_str);
    if found != kind {
        return Err(bad(&format!("it is a {found:?}")));
    }
    let format: u64 = metadata.get("format").and_then(|f| f.parse().ok()).ok_or_else(|| bad(&"no format number"))?;
    if format > artifact::FORMAT {
        let made_by = metadata.get("made_by").map_or("", String::as_str);
        let known = artifact::FORMAT;
        return Err(bad(&format!(
            "format {format}, by {made_by}; this build reads up to {known}: use a newer causerie"
        )));
    }
    let mut tensors = HashMap::new();
    for (name, view) in SafeTensors::deserialize(file).map_err(|e| bad(&e))?.tensors() {
        let shape = view.shape().to_vec();
        let words = || view.data().as_chunks::<4>().0.iter().copied();
        let tensor = match view.dtype() {
            Dtype::F32 => Tensor::F32(shape, words().map(f32::from_le_bytes).collect()),
            Dtype::U32 => Tensor::U32(shape, words().map(u32::from_le_bytes).collect()),
            Dtype::U8 => Tensor::U8(view.data().to_vec()),
            other => return Err(bad(&format!("tensor {name} is of type {other:?}"))),
        };
        tensors.insert(name, tensor);
    }
    Ok((metadata, tensors))
}
