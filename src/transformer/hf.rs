//! Hugging Face folders: `config.json` beside `model.safetensors` (one file, or shards with an index).

use super::config::ModelConfig;
use super::model::Model;
use super::weights::{Encoding, FileValues, Storage, check_shape, missing};
use crate::error::{Error, Result};
use crate::map::Map;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One tensor of a safetensors file, not yet read.
pub(super) struct FileTensor {
    pub shape: Vec<usize>,
    pub mapped: FileValues,
}

/// The tensors of several safetensors files.
pub(super) struct Files {
    pub tensors: HashMap<String, FileTensor>,
    pub path: PathBuf,
}

impl Files {
    pub fn open(paths: &[PathBuf]) -> Result<Files> {
        let mut tensors = HashMap::new();
        for path in paths {
            let map = Arc::new(Map::open(path)?);
            let file = SafeTensors::deserialize(map.bytes()).map_err(|e| Error::format(path, 0, e))?;
            for (name, tensor) in file.iter() {
                let encoding = match tensor.dtype() {
                    Dtype::F32 => Encoding::F32,
                    Dtype::F16 => Encoding::F16,
                    Dtype::BF16 => Encoding::Bf16,
                    // Not a weight; if one is needed, it will be missing.
                    _ => continue,
                };
                // `tensor.data()` is a part of the mapped bytes: its place in them is its place in the file.
                let start = tensor.data().as_ptr() as usize - map.bytes().as_ptr() as usize;
                let mapped = FileValues { map: map.clone(), start, encoding };
                tensors.insert(name.to_string(), FileTensor { shape: tensor.shape().to_vec(), mapped });
            }
        }
        let path = paths.first().cloned().unwrap_or_default();
        Ok(Files { tensors, path })
    }

    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<FileValues> {
        let found = self.tensors.remove(name).ok_or_else(|| missing(&self.path, name))?;
        check_shape(&self.path, name, &found.shape, shape)?;
        Ok(found.mapped)
    }
}

impl Model {
    /// Opens a Hugging Face folder. Matrices stay in the mapped file; nothing is trained yet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFileTensor`], [`crate::ErrorKind::Format`], [`crate::ErrorKind::Unsupported`].
    pub fn from_hf(folder: &Path) -> Result<Model> {
        let path = folder.join("config.json");
        let config = ModelConfig::from_hf(&crate::artifact::read_text(&path)?, &path)?;
        let mut files = Files::open(&shards(folder)?)?;
        let family = config.family;
        Model::assemble(config, |place, rows, cols| {
            let shape = if rows == 1 { vec![cols] } else { vec![rows, cols] };
            let mapped = files.take(&place.hf_name(family), &shape)?;
            Ok(vectors_as_floats(mapped, rows, cols))
        })
    }
}

/// Vectors are read into memory as f32; matrices stay where they are.
pub(super) fn vectors_as_floats(mapped: FileValues, rows: usize, cols: usize) -> Storage {
    if rows > 1 { Storage::Mapped(mapped) } else { Storage::F32(mapped.to_floats(cols)) }
}

fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = folder.join("model.safetensors.index.json");
    if !index.exists() {
        return Ok(vec![folder.join("model.safetensors")]);
    }
    let text = crate::artifact::read_text(&index)?;
    let json: Value = serde_json::from_str(&text).map_err(|e| Error::format(&index, 0, e))?;
    let map = json["weight_map"].as_object().ok_or_else(|| Error::format(&index, 0, "no \"weight_map\""))?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    // A shard is a file of this folder, whatever the index says.
    if let Some(name) = names.iter().find(|n| Path::new(n).file_name().is_none_or(|f| f != Path::new(n))) {
        return Err(Error::format(&index, 0, format!("shard {name:?} is not a plain file name")));
    }
    Ok(names.into_iter().map(|n| folder.join(n)).collect())
}
