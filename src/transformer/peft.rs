//! PEFT folders: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! PEFT gives each module a rank r and an alpha of its own, and adds s B A with s = alpha / r (alpha / sqrt(r) with
//! `use_rslora`). A [`Model`] has one rank and one scale for all: a smaller adapter is filled up with zeros to the largest
//! rank, and what is left of its scale is multiplied into its B. A projection that the settings leave out gets zeros.

use super::Family;
use super::gguf_out::{Order, reorder_rows};
use super::hf::Files;
use super::likeness;
use super::lora::{LoraSettings, padded};
use super::model::Model;
use super::weights::{LoraHalf, Part, Place, Storage, check_shape, missing};
use crate::error::{Error, Result};
use crate::map::Map;
use regex::Regex;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Whether a module's name is meant.
type Matcher<'a> = Box<dyn Fn(&str) -> bool + 'a>;

/// What an `adapter_config.json` says, as far as it matters here; `rest` holds all other settings.
#[derive(Deserialize)]
struct PeftConfig {
    #[serde(default)]
    peft_type: String,
    r: Option<f64>,
    lora_alpha: Option<f64>,
    lora_dropout: Option<f64>,
    use_rslora: Option<bool>,
    target_modules: Option<Modules>,
    exclude_modules: Option<Modules>,
    rank_pattern: Option<Patterns>,
    alpha_pattern: Option<Patterns>,
    layers_to_transform: Option<Layers>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Modules: the ends of their names, or a regular expression over the whole of them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "modules are a list of names or one regular expression")]
enum Modules {
    Ends(Vec<String>),
    Expression(String),
}

/// Numbers of layers.
#[derive(Deserialize)]
#[serde(untagged, expecting = "layers_to_transform is a number or a list of numbers")]
enum Layers {
    One(usize),
    Several(Vec<usize>),
}

/// Expressions with their values, in the file's order: PEFT takes the first that matches.
struct Patterns(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Patterns, D::Error> {
        struct Pairs;
        impl<'de> serde::de::Visitor<'de> for Pairs {
            type Value = Patterns;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of module names with numbers")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> std::result::Result<Patterns, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Patterns(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A regular expression of `setting`, compiled.
fn expression(path: &Path, setting: &str, text: &str, whole: &str) -> Result<Regex> {
    Regex::new(whole).map_err(|e| {
        // The last line of the crate's message is the cause.
        let cause = e.to_string();
        let cause = cause.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
        Error::unsupported(format!("{}: {setting}: the expression {text:?} cannot be used: {cause}", path.display()))
    })
}

impl Modules {
    /// Tells whether a module is one of these.
    fn matcher(&self, path: &Path, setting: &str) -> Result<Matcher<'_>> {
        Ok(match self {
            Modules::Ends(ends) => Box::new(|module| ends.iter().any(|end| is_end(module, end))),
            Modules::Expression(text) if text.eq_ignore_ascii_case("all-linear") => {
                Box::new(|module| module.ends_with("_proj"))
            }
            Modules::Expression(text) => {
                let regex = expression(path, setting, text, &format!("^(?:{text})$"))?;
                Box::new(move |module| regex.is_match(module))
            }
        })
    }
}

/// Whether `module` is `end`, or ends in it after a dot.
fn is_end(module: &str, end: &str) -> bool {
    module.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

impl Patterns {
    /// The value of the first expression that matches the end of a module's name.
    fn finder(&self, path: &Path, setting: &str) -> Result<impl Fn(&str) -> Option<f64>> {
        let compiled = self
            .0
            .iter()
            .map(|(key, value)| Ok((expression(path, setting, key, &format!(r"^(?:.*\.)?(?:{key})$"))?, *value)))
            .collect::<Result<Vec<_>>>()?;
        Ok(move |module: &str| compiled.iter().find(|(regex, _)| regex.is_match(module)).map(|(_, value)| *value))
    }
}

/// One adapter of a folder.
struct PeftAdapter {
    place: Place,
    rank: usize,
    /// s.
    scale: f64,
}

/// PEFT's name of the module that `part` is the weight of.
fn module_name(place: Place) -> String {
    let name = place.hf_name(Family::Llama);
    name.strip_suffix(".weight").unwrap_or(&name).to_string()
}

impl PeftConfig {
    /// Refuses by name what would not be the model that PEFT computes.
    fn check(&self, path: &Path) -> Result<()> {
        let refuse = |what: &str| Err(Error::unsupported(format!("{}: {what} is not supported", path.display())));
        if self.peft_type != "LORA" {
            return refuse(&format!("peft_type {:?} (known is LORA)", self.peft_type));
        }
        // Kinds of LoRA that compute something else, weights beside the adapters, adapters of other things than modules.
        for key in [
            "use_dora",
            "use_qalora",
            "use_bdlora",
            "fan_in_fan_out",
            "lora_bias",
            "modules_to_save",
            "trainable_token_indices",
            "target_parameters",
            "layer_replication",
            "layers_pattern",
            "alora_invocation_tokens",
            "arrow_config",
            "megatron_config",
        ] {
            let value = self.rest.get(key).unwrap_or(&Value::Null);
            let (set, shown) = match value {
                Value::Null | Value::Bool(false) => (false, String::new()),
                Value::Object(o) => (!o.is_empty(), value.to_string()),
                Value::Array(a) => (!a.is_empty(), value.to_string()),
                // The layers of the families that are read here have this name.
                Value::String(name) => (!(key == "layers_pattern" && name == "layers"), format!("{name:?}")),
                Value::Bool(true) | Value::Number(_) => (true, value.to_string()),
            };
            if set {
                return refuse(&format!("{key} = {shown:.200}"));
            }
        }
        match self.rest.get("bias") {
            None | Some(Value::Null) => {}
            Some(Value::String(bias)) if bias == "none" => {}
            Some(other) => return refuse(&format!("bias = {other}")),
        }
        match self.rest.get("init_lora_weights") {
            // These begin from a base whose own weights they change; the adapter fits that base alone.
            Some(Value::String(start))
                if !["gaussian", "eva", "orthogonal"].contains(&start.to_ascii_lowercase().as_str()) =>
            {
                refuse(&format!("init_lora_weights = {start:?} (PEFT can save such an adapter converted)"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The adapters over a model of `layers` layers.
    fn adapters(&self, path: &Path, layers: usize) -> Result<Vec<PeftAdapter>> {
        self.check(path)?;
        let bad = |what: String| Error::format(path, 0, what);
        let rank = self.r.ok_or_else(|| bad("\"r\" is missing".into()))?;
        let alpha = self.lora_alpha.ok_or_else(|| bad("\"lora_alpha\" is missing".into()))?;
        let modules =
            self.target_modules.as_ref().ok_or_else(|| bad("\"target_modules\" is missing or null".into()))?;
        let targeted = modules.matcher(path, "target_modules")?;
        let excluded = match &self.exclude_modules {
            Some(modules) => modules.matcher(path, "exclude_modules")?,
            None => Box::new(|_: &str| false),
        };
        let chosen = |layer: usize| match &self.layers_to_transform {
            None => true,
            Some(Layers::One(one)) => *one == layer,
            Some(Layers::Several(several)) => several.is_empty() || several.contains(&layer),
        };
        // What has adapters in PEFT, but not here, is named whatever else is targeted.
        for (layer, part) in [
            (None, Part::Embedding),
            (None, Part::Head),
            (None, Part::FinalNorm),
            (Some(0), Part::AttnNorm),
            (Some(0), Part::FfnNorm),
            (Some(0), Part::QNorm),
            (Some(0), Part::KNorm),
        ] {
            let module = module_name(Place { layer, part, lora: None });
            if targeted(&module) && !excluded(&module) {
                let name = module.rsplit('.').next().unwrap_or_default();
                return Err(Error::unsupported(format!(
                    "{}: LoRA on {name} is not supported: an adapter stands over the projections of attention and \
                     feed-forward alone; train without it among target_modules",
                    path.display()
                )));
            }
        }
        let none = Patterns(Vec::new());
        let own_rank = self.rank_pattern.as_ref().unwrap_or(&none).finder(path, "rank_pattern")?;
        let own_alpha = self.alpha_pattern.as_ref().unwrap_or(&none).finder(path, "alpha_pattern")?;
        let mut adapters = Vec::new();
        for layer in (0..layers).filter(|layer| chosen(*layer)) {
            for part in LoraSettings::PROJECTIONS {
                let place = Place { layer: Some(layer), part, lora: None };
                let module = module_name(place);
                if !targeted(&module) || excluded(&module) {
                    continue;
                }
                let (rank, alpha) = (own_rank(&module).unwrap_or(rank), own_alpha(&module).unwrap_or(alpha));
                if !(1.0..=65536.0).contains(&rank) || rank.fract() != 0.0 {
                    return Err(bad(format!("the rank of {module} is {rank}")));
                }
                if !(alpha.is_finite() && alpha > 0.0) {
                    return Err(bad(format!("the alpha of {module} is {alpha}")));
                }
                let below = if self.use_rslora == Some(true) { rank.sqrt() } else { rank };
                adapters.push(PeftAdapter { place, rank: rank as usize, scale: alpha / below });
            }
        }
        if adapters.is_empty() {
            let text = match modules {
                Modules::Ends(ends) => ends.join(", "),
                Modules::Expression(text) => text.clone(),
            };
            return Err(Error::unsupported(format!(
                "{}: target_modules {text:?} (with exclude_modules and layers_to_transform) are none of this model's \
                 projections: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
                path.display()
            )));
        }
        Ok(adapters)
    }
}

/// The texts that a safetensors file carries beside its tensors.
fn metadata_of(path: &Path) -> Result<Option<HashMap<String, String>>> {
    let map = Map::open(path)?;
    let (_, header) = SafeTensors::read_metadata(map.bytes()).map_err(|e| Error::format(path, 0, e))?;
    Ok(header.metadata().clone())
}

impl Model {
    /// Reads a PEFT adapter folder over this model.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] for files that are broken or do not fit together;
    /// [`crate::ErrorKind::Unsupported`], by name, for settings under which PEFT computes another model.
    pub fn add_peft(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join("adapter_config.json");
        let text = crate::artifact::read_text(&path)?;
        let config: PeftConfig = serde_json::from_str(&text).map_err(|e| Error::format(&path, 0, e))?;
        let adapters = config.adapters(&path, self.config.layers)?;
        let weights = folder.join("adapter_model.safetensors");
        if let Some(sample) = metadata_of(&weights)?.and_then(|mut m| m.remove(likeness::KEY)) {
            self.check_likeness(&sample, &weights)?;
        }
        let mut files = Files::open(&[weights])?;
        // Before anything is made: ranks must be those of the tensors, which the file's length bounds.
        for adapter in &adapters {
            let base = self.find(adapter.place).map(|id| [self.tensors[id].rows, self.tensors[id].cols]);
            let [rows, cols] = base.ok_or_else(|| Error::bug(format!("no weight at {:?}", adapter.place)))?;
            for (half, shape) in [(LoraHalf::A, [adapter.rank, cols]), (LoraHalf::B, [rows, adapter.rank])] {
                let name = Place { lora: Some(half), ..adapter.place }.hf_name(self.config.family);
                let tensor = files.tensors.get(&name).ok_or_else(|| missing(&files.path, &name))?;
                check_shape(&files.path, &name, &tensor.shape, &shape)?;
            }
        }
        let rank = adapters.iter().map(|a| a.rank).max().unwrap_or(0);
        let scale = adapters.iter().find(|a| a.rank == rank).map_or(0.0, |a| a.scale);
        let layers = adapters.iter().filter_map(|a| a.place.layer);
        self.add_lora(LoraSettings {
            rank,
            alpha: scale * rank as f64,
            dropout: config.lora_dropout.unwrap_or(0.0),
            targets: LoraSettings::PROJECTIONS
                .into_iter()
                .filter(|part| adapters.iter().any(|a| a.place.part == *part))
                .collect(),
            layers: layers.clone().min().unwrap_or(0)..layers.max().unwrap_or(0) + 1,
            seed: 0,
        })?;
        let family = self.config.family;
        for tensor in self.tensors.iter_mut() {
            let Some(half) = tensor.place.lora else { continue };
            let place = Place { lora: None, ..tensor.place };
            let Some(adapter) = adapters.iter().find(|a| a.place == place) else {
                tensor.storage = Storage::F32(vec![0.0; tensor.len()]);
                continue;
            };
            let shape = match half {
                LoraHalf::A => [adapter.rank, tensor.cols],
                LoraHalf::B => [tensor.rows, adapter.rank],
            };
            let mut values = files.take(&tensor.place.hf_name(family), &shape)?.to_floats(shape[0] * shape[1]);
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::format(&files.path, 0, "the adapter holds NaN or an infinity"));
            }
            if half == LoraHalf::B {
                values = reorder_rows(&self.config, tensor.place.part, values, shape[1], Order::FromHf);
                let left = (adapter.scale / scale) as f32;
                values.iter_mut().filter(|_| left != 1.0).for_each(|v| *v *= left);
            }
            tensor.storage = Storage::F32(padded(values, shape, [tensor.rows, tensor.cols]));
        }
        match files.tensors.keys().min() {
            None => Ok(()),
            Some(name) => {
                Err(Error::format(&path, 0, format!("the adapter holds {name:?}, which its settings do not")))
            }
        }
    }

    /// Writes the adapters as a PEFT folder: `adapter_config.json` and `adapter_model.safetensors`. Rows of q and k go
    /// back to Hugging Face's order when the model came from a GGUF.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] without adapters or with adapters that change nothing; [`crate::ErrorKind::Io`].
    pub fn write_peft(&self, folder: &Path, base: &str) -> Result<()> {
        let lora = self.lora().ok_or_else(|| Error::invalid("no adapters to write"))?;
        self.check_adapter()?;
        let name = |part: &Part| module_name(Place { layer: None, part: *part, lora: None });
        let targets: Vec<String> =
            lora.targets.iter().map(|part| name(part).rsplit('.').next().unwrap_or_default().to_string()).collect();
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

#[cfg(test)]
mod tests {
    use super::super::config::{ModelConfig, RopeLayout};
    use super::*;
    use crate::ErrorKind;
    use crate::math::Random;
    use safetensors::tensor::TensorView;
    use serde_json::json;

    fn base() -> Model {
        Model::random(ModelConfig { rope_layout: RopeLayout::Pairs, ..ModelConfig::tiny() }, 3).unwrap()
    }

    /// The halves of a made-up adapter of a module, in PEFT's order of rows.
    fn halves(model: &Model, place: Place, rank: usize) -> [Vec<f32>; 2] {
        let weight = &model.tensors[model.find(place).unwrap()];
        let mut random = Random::new(rank as u64, module_name(place).as_bytes());
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| random.normal() as f32).collect() };
        [draw(rank * weight.cols), draw(weight.rows * rank)]
    }

    /// Reads a folder of `settings` (over those that PEFT always writes) with adapters of these modules and ranks.
    fn read(settings: &Value, modules: &[(usize, Part, usize)]) -> Result<Model> {
        let folder = tempfile::tempdir().unwrap();
        let mut all = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8.0, "lora_dropout": 0.0, "bias": "none",
            "use_dora": false, "modules_to_save": null, "init_lora_weights": true, "rank_pattern": {}, "alpha_pattern": {}});
        for (key, value) in settings.as_object().unwrap() {
            all[key] = value.clone();
        }
        std::fs::write(folder.path().join("adapter_config.json"), all.to_string()).unwrap();
        let model = base();
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (layer, part, rank) in modules {
            let place = Place { layer: Some(*layer), part: *part, lora: None };
            let [a, b] = halves(&model, place, *rank);
            for (half, values, rows) in [(LoraHalf::A, &a, *rank), (LoraHalf::B, &b, b.len() / rank)] {
                let name = Place { lora: Some(half), ..place }.hf_name(model.config.family);
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                tensors.push((name, vec![rows, values.len() / rows], bytes));
            }
        }
        let views = tensors.iter().map(|(n, s, b)| (n, TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        std::fs::write(folder.path().join("adapter_model.safetensors"), bytes).unwrap();
        let mut model = model;
        model.add_peft(folder.path()).map(|()| model)
    }

    /// s B A of each module as the model holds it is `scale` times the B A of the folder; zeros where `scales` has none.
    fn adds(model: &Model, scales: &[(usize, Part, usize, f64)]) {
        let lora = model.lora().unwrap();
        let mut seen = 0;
        for layer in 0..model.config.layers {
            for part in LoraSettings::PROJECTIONS {
                let place = Place { layer: Some(layer), part, lora: None };
                let of = |half| model.find(Place { lora: Some(half), ..place }).map(|id| model.tensors[id].to_floats());
                let wanted = scales.iter().find(|s| (s.0, s.1) == (layer, part));
                let (Some(a), Some(b)) = (of(LoraHalf::A), of(LoraHalf::B)) else {
                    assert!(wanted.is_none(), "{place:?} has no adapter");
                    continue;
                };
                let cols = model.tensors[model.find(place).unwrap()].cols;
                let product = |a: &[f32], b: &[f32], rank: usize, scale: f64| -> Vec<f64> {
                    let rows = b.chunks_exact(rank);
                    let entry = |b: &[f32], col: usize| -> f64 {
                        (0..rank).map(|k| f64::from(b[k]) * f64::from(a[k * cols + col])).sum()
                    };
                    rows.flat_map(|b| (0..cols).map(move |col| scale * entry(b, col))).collect()
                };
                let ours = product(&a, &b, lora.rank, lora.alpha / lora.rank as f64);
                let Some((_, _, rank, scale)) = wanted else {
                    assert!(ours.iter().all(|v| *v == 0.0), "{place:?} is not among the targets");
                    continue;
                };
                let [a, b] = halves(model, place, *rank);
                let b = reorder_rows(&model.config, part, b, *rank, Order::FromHf);
                for (ours, theirs) in ours.iter().zip(product(&a, &b, *rank, *scale)) {
                    assert!((ours - theirs).abs() < 1e-5 * (1.0 + theirs.abs()), "{place:?}: {ours} {theirs}");
                }
                seen += 1;
            }
        }
        assert_eq!(seen, scales.len());
    }

    /// Every projection of every layer, of rank 4.
    fn all() -> Vec<(usize, Part, usize)> {
        let layers = 0..ModelConfig::tiny().layers;
        layers.flat_map(|layer| LoraSettings::PROJECTIONS.map(|part| (layer, part, 4))).collect()
    }

    const LIST: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

    #[test]
    fn rslora_is_scaled_by_the_root_of_its_rank() {
        let model = read(&json!({"target_modules": LIST, "use_rslora": true}), &all()).unwrap();
        adds(&model, &all().into_iter().map(|(l, p, r)| (l, p, r, 8.0 / 2.0)).collect::<Vec<_>>());
        let model = read(&json!({"target_modules": LIST}), &all()).unwrap();
        adds(&model, &all().into_iter().map(|(l, p, r)| (l, p, r, 8.0 / 4.0)).collect::<Vec<_>>());
    }

    #[test]
    fn rank_and_alpha_patterns_count_per_module_and_the_first_that_matches_wins() {
        // The second expression of the alphas matches layer 1's q as well: the first one wins, whatever their letters.
        let text = r#"{"target_modules": ["q_proj", "v_proj"], "use_rslora": USE,
            "rank_pattern": {"model.layers.0.self_attn.q_proj": 9, "v_proj": 1},
            "alpha_pattern": {"layers.1.self_attn.q_proj": 3, "(layers.1.self_attn.[a-z_]+|zzz)": 5, "roj": 77}}"#;
        for rslora in [false, true] {
            let settings: Value = serde_json::from_str(&text.replace("USE", &rslora.to_string())).unwrap();
            // A JSON object in memory may be sorted: what counts is the order of the text, so the keys are sorted here too.
            let ranks = [(0, Part::Q, 9, 8.0), (0, Part::V, 1, 8.0), (1, Part::Q, 4, 5.0), (1, Part::V, 1, 5.0)];
            let below = |rank: usize| if rslora { (rank as f64).sqrt() } else { rank as f64 };
            let scales: Vec<_> = ranks.iter().map(|(l, p, r, alpha)| (*l, *p, *r, alpha / below(*r))).collect();
            let modules: Vec<_> = ranks.iter().map(|(l, p, r, _)| (*l, *p, *r)).collect();
            adds(&read(&settings, &modules).unwrap(), &scales);
        }
    }

    #[test]
    fn patterns_are_tried_in_the_order_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let patterns: Patterns = serde_json::from_str(r#"{"q_proj": 3, ".*": 5, "a": 7}"#).unwrap();
        let find = patterns.finder(folder.path(), "alpha_pattern").unwrap();
        assert_eq!(find("model.layers.0.self_attn.q_proj"), Some(3.0));
        assert_eq!(find("model.layers.0.self_attn.k_proj"), Some(5.0));
        let suffix: Patterns =
            serde_json::from_str(r#"{"attn.q_proj": 3, "proj": 4, "^model.layers.1.mlp.up_proj": 6}"#).unwrap();
        let find = suffix.finder(folder.path(), "alpha_pattern").unwrap();
        // As PEFT has it, a key begins after a dot: neither "self_attn.q_proj" nor "q_proj" is matched by a part of a word.
        assert_eq!(find("model.layers.0.self_attn.q_proj"), None);
        assert_eq!(find("model.layers.1.mlp.up_proj"), Some(6.0));
    }

    #[test]
    fn target_modules_may_be_a_regular_expression_or_all_linear() {
        let unsloth = r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|up_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\.(?:(?:q_proj|up_proj)))";
        let some: Vec<_> = all().into_iter().filter(|m| [Part::Q, Part::Up].contains(&m.1)).collect();
        let scaled = |of: &[(usize, Part, usize)]| of.iter().map(|(l, p, r)| (*l, *p, *r, 2.0)).collect::<Vec<_>>();
        adds(&read(&json!({"target_modules": unsloth}), &some).unwrap(), &scaled(&some));
        adds(&read(&json!({"target_modules": "All-Linear"}), &all()).unwrap(), &scaled(&all()));
        // Matched in full, as PEFT does; one module of one layer; a name in a list may carry its folder.
        assert!(read(&json!({"target_modules": "q_proj"}), &some).is_err());
        let one = [(1, Part::Q, 4)];
        for targets in [json!(r".*\.1\.self_attn\.q_proj"), json!(["layers.1.self_attn.q_proj", "c_attn"])] {
            adds(&read(&json!({"target_modules": targets}), &one).unwrap(), &scaled(&one));
        }
        let settings = json!({"target_modules": "all-linear", "layers_to_transform": [1],
            "exclude_modules": ["mlp.up_proj", "gate_proj", "down_proj", "k_proj", "v_proj", "o_proj"]});
        adds(&read(&settings, &one).unwrap(), &scaled(&one));
        adds(&read(&json!({"target_modules": ["q_proj"], "layers_to_transform": 1}), &one).unwrap(), &scaled(&one));
        let e = read(&json!({"target_modules": "(?<=x)q_proj"}), &one).unwrap_err();
        assert!(e.kind() == ErrorKind::Unsupported && e.message().contains("target_modules"), "{e}");
        let e = read(&json!({"target_modules": ["c_attn", "wte"]}), &one).unwrap_err();
        assert!(e.message().contains("c_attn, wte") && e.message().contains("q_proj"), "{e}");
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_its_name() {
        let with = |key: &str, value: Value| {
            let mut settings = json!({"target_modules": LIST});
            settings[key] = value;
            let e = read(&settings, &all()).unwrap_err();
            assert!(e.message().contains("adapter_config.json"), "{e}");
            e.message().to_string()
        };
        for module in ["embed_tokens", "lm_head", "norm", "input_layernorm"] {
            let mut targets = LIST.to_vec();
            targets.push(module);
            let said = with("target_modules", json!(targets));
            assert!(said.contains(&format!("LoRA on {module} is not supported")), "{said}");
        }
        assert!(with("target_modules", json!(".*")).contains("embed_tokens"));
        for (key, value) in [
            ("modules_to_save", json!(["lm_head"])),
            ("bias", json!("lora_only")),
            ("use_dora", json!(true)),
            ("trainable_token_indices", json!([1, 2])),
            ("layers_pattern", json!("blocks")),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("peft_type", json!("IA3")),
            ("layers_to_transform", json!("all")),
            ("rank_pattern", json!({"(q_proj": 3})),
            ("alpha_pattern", json!([3])),
        ] {
            let said = with(key, value);
            assert!(said.contains(key) || key == "alpha_pattern", "{key}: {said}");
        }
        for (key, value) in [("r", json!(0)), ("r", json!(4.5)), ("lora_alpha", json!(-1)), ("lora_alpha", json!(null))]
        {
            with(key, value);
        }
        // Tensors that the settings leave out, and settings without tensors.
        assert!(with("layers_to_transform", json!([0])).contains("layers.1"));
        assert!(read(&json!({"target_modules": LIST}), &all()[1..]).unwrap_err().message().contains("q_proj"));
    }
}
