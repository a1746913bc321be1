//! Before the first step: the model made ready, and the hash that a checkpoint must agree with.

use super::lessons::{Catalogue, Lesson};
use crate::artifact;
use crate::config::{TuneConfig, TuneMethod, WeightType};
use crate::error::{Error, Result};
use crate::math::packed::{Arithmetic, bf16_is_native};
use crate::run::{Level, log};
use crate::transformer::{LoraSettings, Model, Part};
use std::path::Path;

/// Refuses a folder, which would be a model in Hugging Face's layout: its tokeniser is none that llama.cpp reads, and what
/// is tuned here is served by llama.cpp.
pub(super) fn gguf_base(base: &Path) -> Result<&Path> {
    if !base.is_dir() {
        return Ok(base);
    }
    Err(Error::unsupported(format!(
        "{}: a folder; a base model to tune is a GGUF (llama.cpp's convert_hf_to_gguf.py makes one of a Hugging Face \
         folder; the adapter's PEFT folder then fits the original)",
        base.display()
    )))
}

/// The base model with its adapters. For a full tuning it still stands in its file: [`own`] comes after the estimate.
pub(super) fn open(base: &Path, config: &TuneConfig) -> Result<Model> {
    let mut model = Model::from_gguf(base)?;
    model.arithmetic = config.arithmetic;
    advise(config.arithmetic);
    match config.method {
        TuneMethod::Lora => {
            let targets = config.targets.iter().map(|target| Part::from(*target)).collect();
            let layers = model.config.layers;
            let first = if config.lora_layers == 0 { 0 } else { layers.saturating_sub(config.lora_layers) };
            model.add_lora(LoraSettings {
                rank: config.rank,
                alpha: config.alpha,
                dropout: config.dropout,
                targets,
                layers: first..layers,
                seed: config.seed,
            })?;
        }
        TuneMethod::Full => {}
        TuneMethod::Head => {
            return Err(Error::invalid(
                "tune.method = \"head\" does not tune a language model; set it to lora or full",
            ));
        }
    }
    Ok(model)
}

/// Says where the other arithmetic would be faster.
fn advise(arithmetic: Arithmetic) {
    match (arithmetic, bf16_is_native()) {
        (Arithmetic::F32, true) => log(
            Level::Info,
            "tune: this processor multiplies bf16 itself: tune.arithmetic = \"bf16\" would be up to twice as fast",
        ),
        (Arithmetic::Bf16, false) => log(
            Level::Warn,
            "tune: this processor does not multiply bf16 itself: tune.arithmetic = \"f32\" would be faster",
        ),
        (Arithmetic::F32, false) | (Arithmetic::Bf16, true) => {}
    }
}

/// Takes the weights of a full tuning into memory.
pub(super) fn own(model: &mut Model, config: &TuneConfig) {
    if config.method == TuneMethod::Full {
        model.train_all(config.weights == WeightType::Bf16);
    }
}

/// What a checkpoint must agree with: settings, dialogues and their targets, the catalogue, the base file's header.
pub(super) fn inputs_hash(
    base: &Path,
    config: &TuneConfig,
    catalogue: Option<&Catalogue>,
    lessons: impl Iterator<Item = impl std::ops::Deref<Target = Lesson>>,
) -> Result<String> {
    let header = crate::gguf::Gguf::open(base)?.header_hash().to_string();
    // What does not change the result may change.
    let settings = TuneConfig { save_every: 0, max_memory_bytes: 0, ..config.clone() };
    let mut parts: Vec<Vec<u8>> = vec![header.into_bytes(), format!("{settings:?}").into_bytes()];
    for lesson in lessons {
        let mut bytes = (lesson.example.trained_from as u64).to_le_bytes().to_vec();
        lesson.example.tokens.iter().for_each(|t| bytes.extend(t.to_le_bytes()));
        lesson
            .targets
            .iter()
            .for_each(|(item, weight)| bytes.extend([item.to_le_bytes(), weight.to_le_bytes()].concat()));
        lesson.named.iter().for_each(|item| bytes.extend(item.to_le_bytes()));
        parts.push(bytes);
    }
    if let Some(catalogue) = catalogue {
        parts.extend(catalogue.ids.iter().chain(&catalogue.names).map(|text| text.clone().into_bytes()));
        parts.push(catalogue.counts.iter().flat_map(|c| c.to_le_bytes()).collect());
    }
    Ok(artifact::content_hash(parts.iter().map(Vec::as_slice)))
}
