//! Hugging Face folders: `config.json` beside `model.safetensors` (one file, or shards with an index); and PEFT adapters.

use super::config::ModelConfig;
use super::gguf_out::{Order, reorder_rows};
use super::likeness;
use super::lora::LoraSettings;
use super::model::Model;
use super::weights::{Encoding, LoraHalf, Mapped, Part, Place, Storage, check_shape, missing};
use crate::error::{Error, Result};
use crate::map::Map;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One tensor of a safetensors file, not yet read.
struct Found {
    shape: Vec<usize>,
    mapped: Mapped,
}

/// The tensors of several safetensors files.
struct Files {
    tensors: HashMap<String, Found>,
    path: PathBuf,
}

impl Files {
    fn open(paths: &[PathBuf]) -> Result<Files> {
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
                let mapped = Mapped { map: map.clone(), start, encoding };
                tensors.insert(name.to_string(), Found { shape: tensor.shape().to_vec(), mapped });
            }
        }
        let path = paths.first().cloned().unwrap_or_default();
        Ok(Files { tensors, path })
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Mapped> {
        let found = self.tensors.remove(name).ok_or_else(|| missing(&self.path, name))?;
        check_shape(&self.path, name, &found.shape, shape)?;
        Ok(found.mapped)
    }
}

impl Model {
    /// Opens a Hugging Face folder. Matrices stay in the mapped file; nothing is trained yet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Format`], [`crate::ErrorKind::Unsupported`].
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

    /// Reads a PEFT adapter folder over this model.
    ///
    /// # Errors
    /// As [`Model::from_hf`]; adapters other than plain LoRA are [`crate::ErrorKind::Unsupported`].
    pub fn add_peft(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join("adapter_config.json");
        let text = crate::artifact::read_text(&path)?;
        let json: Value = serde_json::from_str(&text).map_err(|e| Error::format(&path, 0, e))?;
        let weights = folder.join("adapter_model.safetensors");
        if let Some(sample) = metadata_of(&weights)?.and_then(|mut m| m.remove(likeness::KEY)) {
            self.check_likeness(&sample, &weights)?;
        }
        let settings = peft_settings(&json, &path, self.config.layers)?;
        let mut files = Files::open(&[weights])?;
        // Before anything is made: the settings' rank must be that of the tensors, which the file's length bounds.
        let other = |f: &Found| !f.shape.contains(&settings.rank);
        if let Some(name) = files.tensors.iter().filter(|(_, f)| other(f)).map(|(name, _)| name).min() {
            return Err(Error::format(&path, 0, format!("\"r\" is {}, {name:?} is of another rank", settings.rank)));
        }
        self.add_lora(settings)?;
        let family = self.config.family;
        for tensor in self.tensors.iter_mut().filter(|t| t.place.lora.is_some()) {
            let mapped = files.take(&tensor.place.hf_name(family), &[tensor.rows, tensor.cols])?;
            tensor.storage = Storage::Mapped(mapped);
            let values = tensor.to_floats();
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::format(&files.path, 0, "the adapter holds NaN or an infinity"));
            }
            tensor.storage = Storage::F32(match tensor.place.lora {
                Some(LoraHalf::B) => reorder_rows(&self.config, tensor.place.part, values, tensor.cols, Order::FromHf),
                _ => values,
            });
        }
        match files.tensors.keys().min() {
            None => Ok(()),
            Some(name) => {
                Err(Error::format(&path, 0, format!("the adapter holds {name:?}, which its settings do not")))
            }
        }
    }
}

/// The texts that a safetensors file carries beside its tensors.
fn metadata_of(path: &Path) -> Result<Option<HashMap<String, String>>> {
    let map = Map::open(path)?;
    let (_, header) = SafeTensors::read_metadata(map.bytes()).map_err(|e| Error::format(path, 0, e))?;
    Ok(header.metadata().clone())
}

/// Vectors are read into memory as f32; matrices stay where they are.
pub(super) fn vectors_as_floats(mapped: Mapped, rows: usize, cols: usize) -> Storage {
    let storage = Storage::Mapped(mapped);
    if rows > 1 {
        return storage;
    }
    let place = Place { layer: None, part: Part::FinalNorm, lora: None };
    Storage::F32(super::weights::Tensor { place, rows, cols, storage, trained: false }.to_floats())
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

fn peft_settings(json: &Value, path: &Path, layers: usize) -> Result<LoraSettings> {
    let unsupported = |key: &str| Error::unsupported(format!("{}: {key} is not supported", path.display()));
    if json["peft_type"] != "LORA" {
        return Err(unsupported("a peft_type other than LORA"));
    }
    for key in ["use_dora", "use_rslora", "fan_in_fan_out", "lora_bias"] {
        if json[key] == Value::Bool(true) {
            return Err(unsupported(key));
        }
    }
    for key in ["rank_pattern", "alpha_pattern", "modules_to_save"] {
        let empty = match &json[key] {
            Value::Null => true,
            Value::Object(o) => o.is_empty(),
            Value::Array(a) => a.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if !empty {
            return Err(unsupported(key));
        }
    }
    let number = |key: &str| {
        json[key].as_f64().ok_or_else(|| Error::format(path, 0, format!("{key:?} is missing or not a number")))
    };
    let modules = json["target_modules"].as_array().ok_or_else(|| unsupported("target_modules that is no list"))?;
    let targets = modules
        .iter()
        .map(|m| LoraSettings::target(m.as_str().and_then(|m| m.strip_suffix("_proj")).unwrap_or_default()))
        .collect::<Result<_>>()?;
    let rank = number("r")?;
    if !(1.0..=65536.0).contains(&rank) {
        return Err(Error::format(path, 0, "\"r\" is not a usable rank"));
    }
    let dropout = json["lora_dropout"].as_f64().unwrap_or(0.0);
    let layers = match &json["layers_to_transform"] {
        Value::Null => 0..layers,
        Value::Array(list) => {
            let mut numbers: Vec<usize> = list
                .iter()
                .map(|l| l.as_u64().and_then(|l| usize::try_from(l).ok()))
                .collect::<Option<_>>()
                .unwrap_or_default();
            numbers.sort_unstable();
            match (numbers.first(), numbers.last()) {
                (Some(first), Some(last)) if *last < layers && last - first + 1 == numbers.len() => *first..*last + 1,
                _ => return Err(unsupported("layers_to_transform that is no run of this model's layers")),
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err(unsupported("layers_to_transform that is no list"));
        }
    };
    Ok(LoraSettings { rank: rank as usize, alpha: number("lora_alpha")?, dropout, targets, layers, seed: 0 })
}

impl Model {
    /// Writes the adapters as a PEFT folder: `adapter_config.json` and `adapter_model.safetensors`. Rows of q and k go
    /// back to Hugging Face's order when the model came from a GGUF.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] without adapters or with adapters that change nothing; [`crate::ErrorKind::Io`].
    pub fn write_peft(&self, folder: &Path, base: &str) -> Result<()> {
        let lora = self.lora().ok_or_else(|| Error::invalid("no adapters to write"))?;
        self.check_adapter()?;
        let targets: Vec<String> = lora.targets.iter().map(|p| module_of(*p)).collect();
        let layers: Vec<usize> = (lora.layers.start..lora.layers.end.min(self.config.layers)).collect();
        let all = layers.len() == self.config.layers;
        let settings = serde_json::json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "target_modules": targets,
            "layers_to_transform": if all { Value::Null } else { Value::from(layers) },
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
        });
        let mut tensors = Vec::new();
        for tensor in self.tensors.iter().filter(|t| t.place.lora.is_some()) {
            let values = match tensor.place.lora {
                Some(LoraHalf::B) => {
                    reorder_rows(&self.config, tensor.place.part, tensor.to_floats(), tensor.cols, Order::ToHf)
                }
                _ => tensor.to_floats(),
            };
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.push((tensor.place.hf_name(self.config.family), vec![tensor.rows, tensor.cols], bytes));
        }
        let views: Vec<(&str, safetensors::tensor::TensorView<'_>)> = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                let view = safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), bytes);
                view.map(|view| (name.as_str(), view)).map_err(|e| Error::bug(format!("{name}: {e}")))
            })
            .collect::<Result<_>>()?;
        let path = folder.join("adapter_model.safetensors");
        // One key beside the format that PEFT writes, each in a file of its own order: the bytes stay the same.
        let metadata = HashMap::from([(likeness::KEY.to_string(), self.likeness())]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| Error::bug(e.to_string()))?;
        let put = |path: &Path, bytes: &[u8]| {
            crate::artifact::write_atomic(path, |out| out.write_all(bytes).map_err(|e| Error::io(path, e)))
        };
        put(&path, &bytes)?;
        let text = serde_json::to_string_pretty(&settings).map_err(|e| Error::bug(e.to_string()))?;
        put(&folder.join("adapter_config.json"), text.as_bytes())
    }
}

/// PEFT's name of a projection.
fn module_of(part: Part) -> String {
    let place = Place { layer: None, part, lora: None };
    let name = place.hf_name(super::Family::Llama);
    name.trim_end_matches(".weight").rsplit('.').next().unwrap_or_default().to_string()
}
