//! Before the first step: the model made ready, the dialogues drawn apart, the hash that a checkpoint must agree with.

use super::chat::Example;
use crate::artifact;
use crate::config::TuneConfig;
use crate::error::{Error, Result};
use crate::math::Random;
use crate::transformer::{LoraSettings, Model};
use std::path::Path;

/// The base model, ready to be trained.
pub(super) fn prepare(base: &Path, config: &TuneConfig) -> Result<Model> {
    let mut model = Model::from_gguf(base)?;
    match config.method.as_str() {
        "lora" => {
            let targets = config.targets.iter().map(|t| LoraSettings::target(t)).collect::<Result<_>>()?;
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
        "full" => model.train_all(config.weights == "bf16"),
        other => return Err(Error::invalid(format!("tune.method = {other:?} does not tune a language model"))),
    }
    Ok(model)
}

/// Training and held-out dialogues: a seeded draw, at least one of each where there are two and a share is held out.
pub(super) fn split<'a>(examples: &'a [Example], config: &TuneConfig) -> (Vec<&'a Example>, Vec<&'a Example>) {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    Random::new(config.seed, b"lm holdout").shuffle(&mut order);
    let wanted = (examples.len() as f64 * config.holdout).round() as usize;
    let least = usize::from(config.holdout > 0.0);
    let count = wanted.max(least).min(examples.len().saturating_sub(1));
    let held_out = order[..count].iter().map(|i| &examples[*i]).collect();
    (order[count..].iter().map(|i| &examples[*i]).collect(), held_out)
}

/// What a checkpoint must agree with: settings, dialogues, the base file's header.
pub(super) fn inputs_hash(
    base: &Path,
    config: &TuneConfig,
    train: &[&Example],
    held_out: &[&Example],
) -> Result<String> {
    let header = crate::gguf::Gguf::open(base)?.header_hash().to_string();
    // What does not change the result may change.
    let settings = TuneConfig { save_every: 0, max_memory_bytes: 0, ..config.clone() };
    let settings = format!("{settings:?}");
    let tokens: Vec<Vec<u8>> = train
        .iter()
        .chain(held_out)
        .map(|e| {
            let mut bytes = (e.trained_from as u64).to_le_bytes().to_vec();
            e.tokens.iter().for_each(|t| bytes.extend(t.to_le_bytes()));
            bytes
        })
        .collect();
    let parts = [header.as_bytes(), settings.as_bytes()];
    Ok(artifact::content_hash(parts.into_iter().chain(tokens.iter().map(Vec::as_slice))))
}
