//! What comes out of a fine-tuning, and the proof that llama.cpp serves the model that was trained.

use super::chat::Example;
use crate::config::TuneConfig;
use crate::error::{Error, Result};
use crate::llama::{self, Quantisation};
use crate::run::Run;
use crate::transformer::{Map, Metadata, Model, Precision};
use std::path::{Path, PathBuf};

/// Files written, and the losses that prove them.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Exported {
    /// `adapter.gguf` (LoRA) or `model.gguf` (full).
    pub file: PathBuf,
    /// Mean loss on the dialogues held out (or the first ones), in the trainer.
    pub trainer_loss: f64,
    /// The same by llama.cpp on the file.
    pub llama_loss: f64,
    /// What llama.cpp says of the base model on them.
    pub base_loss: f64,
}

/// Writes the tuned model into `folder` and holds it against the trainer through llama.cpp on `probe`.
///
/// # Errors
/// [`crate::ErrorKind::Bug`] when llama.cpp's loss is not the trainer's: the file is not the model that was trained.
/// [`crate::ErrorKind::Invalid`] when nothing was changed. Those of writing.
pub fn export(
    model: &Model,
    base: &Path,
    folder: &Path,
    config: &TuneConfig,
    probe: &[&Example],
    trainer_loss: f64,
    run: &Run,
) -> Result<Exported> {
    let base_loss = llama_loss(base, None, probe, run)?;
    let (file, llama_loss) = if model.lora().is_some() {
        let file = folder.join("adapter.gguf");
        model.write_adapter(&file)?;
        model.write_peft(&folder.join("adapter"), &base.display().to_string())?;
        let loss = llama_loss(base, Some(&file), probe, run)?;
        (file, loss)
    } else {
        let file = folder.join("model.gguf");
        write_full(model, base, &file, &config.export, run)?;
        let loss = llama_loss(&file, None, probe, run)?;
        (file, loss)
    };
    if llama_loss == base_loss {
        return Err(Error::invalid(format!(
            "{}: llama.cpp computes the same loss with it as without ({base_loss:.6}): the tuning changed nothing; \
             raise tune.learning_rate or tune.epochs",
            file.display()
        )));
    }
    let allowed = tolerance(model, config) + 1e-3 * trainer_loss.abs();
    if (llama_loss - trainer_loss).abs() > allowed {
        return Err(Error::bug(format!(
            "{}: llama.cpp's loss is {llama_loss:.5}, the trainer's {trainer_loss:.5} (base {base_loss:.5}, allowed is \
             a difference of {allowed:.3}): the file is not the model that was trained",
            file.display()
        )));
    }
    Ok(Exported { file, trainer_loss, llama_loss, base_loss })
}

/// Nats by which llama.cpp's mean loss may differ. It rounds activations to the precision of the weights' dot products:
/// f16 or 8 bits; and a quantised export rounds the weights themselves.
fn tolerance(model: &Model, config: &TuneConfig) -> f64 {
    if model.lora().is_some() {
        let quantised = model.tensors.iter().any(|t| t.block_values() > 1);
        return if quantised { 0.03 } else { 0.005 };
    }
    match config.export.as_str() {
        "f32" => 0.002,
        "f16" | "bf16" => 0.02,
        "q8_0" => 0.05,
        _ => 0.5,
    }
}

fn write_full(model: &Model, base: &Path, file: &Path, kind: &str, run: &Run) -> Result<()> {
    let metadata = Metadata::of(&Map::open(base)?)?;
    let precision = match kind {
        "f32" => Some(Precision::F32),
        "f16" => Some(Precision::F16),
        "bf16" => Some(Precision::Bf16),
        _ => None,
    };
    if let Some(precision) = precision {
        return run.install(|| model.write_gguf(file, &metadata, precision));
    }
    let whole = file.with_extension("f32.gguf");
    run.install(|| model.write_gguf(&whole, &metadata, Precision::F32))?;
    let result = llama::quantise(&whole, file, Quantisation::from_name(kind)?, run.threads());
    let _ = std::fs::remove_file(&whole);
    result
}

/// Mean loss over the trained tokens of `examples`, by llama.cpp with exact attention.
///
/// # Errors
/// Those of llama.cpp; [`crate::ErrorKind::Invalid`] without examples.
pub fn llama_loss(path: &Path, adapter: Option<&Path>, examples: &[&Example], run: &Run) -> Result<f64> {
    let longest = examples.iter().map(|e| e.tokens.len()).max().unwrap_or(0);
    if longest == 0 {
        return Err(Error::invalid("no dialogue to hold the export against"));
    }
    let model = llama::Model::load(path)?;
    let options = llama::ContextOptions {
        tokens: longest,
        batch_tokens: longest,
        sequences: 1,
        pooling: llama::Pooling::Logits,
        exact: true,
    };
    let mut context = llama::Context::new(&model, options, run)?;
    if let Some(adapter) = adapter {
        context.set_adapters(&[(llama::Adapter::load(&model, adapter)?, 1.0)])?;
    }
    let (mut sum, mut count) = (0.0, 0usize);
    for example in examples {
        context.clear();
        let mut batch = llama::Batch::default();
        for (t, token) in example.tokens.iter().enumerate() {
            batch.push(*token as llama::Token, t, 0, t + 1 >= example.trained_from && t + 1 < example.tokens.len());
        }
        context.run_batch(&batch, run)?;
        for t in example.trained_from.max(1)..example.tokens.len() {
            let logits = context.logits(t - 1)?;
            let top = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
            let total: f64 = logits.iter().map(|z| f64::from(z - top).exp()).sum();
            let own = logits.get(example.tokens[t] as usize).copied().unwrap_or(f32::NEG_INFINITY);
            sum += total.ln() - f64::from(own - top);
            count += 1;
        }
    }
    Ok(sum / count.max(1) as f64)
}
