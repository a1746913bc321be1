//! What comes out of a fine-tuning, and the proof that llama.cpp serves the model that was trained.

use super::chat::Example;
use super::items::ItemHead;
use super::lessons::Lesson;
use super::look::Look;
use crate::config::TuneConfig;
use crate::error::{Error, Result};
use crate::llama::{self, Quantisation};
use crate::math::{Matrix, norm};
use crate::run::Run;
use crate::transformer::{Map, Metadata, Model, Precision};
use crate::tune::Head;
use std::path::{Path, PathBuf};

/// The ranking head beside `adapter.gguf` or `model.gguf`, a [`Head`] whose row of a conversation is: the hidden state of
/// the **last token of the prompt** ([`super::Chat::prompt`], the tokens before the answer's first), of the tuned model,
/// after the output norm, as llama.cpp gives it ([`llama::Pooling::None`]), scaled to unit length. [`prompt_rows`] makes
/// such rows. Titles count nothing (W_m = 0): the model reads them in the prompt; items that the user names were out of
/// the running in training. Its embedder's name is [`student_name`] of the exported file.
pub const HEAD_FILE: &str = "head.safetensors";

/// Items among the best that the export's ranking is compared on.
const COMPARED: usize = 20;

/// Files written, and the losses that prove them.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Export {
    /// `adapter.gguf` (LoRA) or `model.gguf` (full).
    pub file: PathBuf,
    /// Mean loss on the dialogues held out (or the first ones), in the trainer.
    pub trainer_loss: f64,
    /// The same by llama.cpp on the file.
    pub llama_loss: f64,
    /// What llama.cpp says of the base model on them.
    pub base_loss: f64,
    /// The ranking head, where one was trained along.
    pub head: Option<HeadExport>,
}

/// The ranking head that was trained along, proven on the rows that llama.cpp computes.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct HeadExport {
    /// `head.safetensors`.
    pub file: PathBuf,
    /// Mean loss over the same dialogues, in the trainer, nats.
    pub trainer_loss: f64,
    /// The same by the file on llama.cpp's rows.
    pub llama_loss: f64,
    /// Of the trainer's best 20 items, the share that is among the best 20 there, too; the mean over the dialogues.
    pub agreement: f64,
}

/// Writes the tuned model into `folder` and holds it against the trainer through llama.cpp on `probe`; `seen`: what the
/// trainer sees in it.
///
/// # Errors
/// [`crate::ErrorKind::Bug`] when llama.cpp's loss is not the trainer's: the file is not the model that was trained.
/// [`crate::ErrorKind::Invalid`] when nothing was changed. Those of writing.
#[allow(clippy::too_many_arguments)] // one caller
pub(super) fn export(
    model: &Model,
    items: Option<&ItemHead>,
    base: &Path,
    folder: &Path,
    config: &TuneConfig,
    probe: &[&Lesson],
    seen: Look,
    run: &Run,
) -> Result<Export> {
    let trainer_loss = seen.text.ok_or_else(|| Error::invalid("no dialogue to hold the export against"))?;
    let examples: Vec<&Example> = probe.iter().map(|l| &l.example).collect();
    let base_loss = llama_loss(base, None, &examples, run)?;
    let adapter = model.lora().is_some();
    let file = folder.join(if adapter { "adapter.gguf" } else { "model.gguf" });
    if adapter {
        model.write_adapter(&file)?;
        model.write_peft(&folder.join("adapter"), &base.display().to_string())?;
    } else {
        write_full(model, base, &file, config.export, run)?;
    }
    let (served, applied) = if adapter { (base, Some(file.as_path())) } else { (file.as_path(), None) };
    let llama_loss = llama_loss(served, applied, &examples, run)?;
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
            "{}: llama.cpp's loss is {llama_loss:.5}, the trainer's {trainer_loss:.5} (base {base_loss:.5}; they \
             may differ by {allowed:.3}): the file is not the model that was trained",
            file.display()
        )));
    }
    let probe: Vec<&Lesson> = probe.iter().filter(|l| !l.targets.is_empty()).copied().collect();
    let head = match (items, seen.items) {
        (Some(items), Some(trainer_loss)) => {
            let path = folder.join(HEAD_FILE);
            items.served(student_name(&file)?).save(&path)?;
            let prompts: Vec<&[u32]> = probe.iter().map(|l| &l.example.tokens[..l.example.trained_from]).collect();
            let rows = prompt_rows(served, applied, &prompts, run)?;
            Some(prove_head(model, items, &path, &probe, &rows, trainer_loss, 10.0 * allowed, run)?)
        }
        (Some(items), None) => {
            return Err(Error::invalid(format!(
                "none of the {} dialogues to prove the export with lists an item of the {}; raise tune.holdout",
                examples.len(),
                items.items()
            )));
        }
        (None, _) => None,
    };
    Ok(Export { file, trainer_loss, llama_loss, base_loss, head })
}

/// Reads the head again and holds its loss and its ranking on llama.cpp's rows against the trainer's. `allowed`: nats, ten
/// times those of the text's mean loss: a rounded state moves a score by s |x| times as much as a log-probability.
#[allow(clippy::too_many_arguments)] // one caller
fn prove_head(
    model: &Model,
    items: &ItemHead,
    file: &Path,
    probe: &[&Lesson],
    rows: &Matrix,
    trainer_loss: f64,
    allowed: f64,
    run: &Run,
) -> Result<HeadExport> {
    let head = Head::load(file)?;
    let ours = run.install(|| items.rankings(model, probe, COMPARED))?;
    let (loss, theirs) = run.install(|| super::items::judge_served(&head, rows, probe, COMPARED))?;
    let both =
        |(a, b): (&Vec<u32>, &Vec<u32>)| a.iter().filter(|i| b.contains(i)).count() as f64 / a.len().max(1) as f64;
    let agreement = ours.iter().zip(&theirs).map(both).sum::<f64>() / probe.len().max(1) as f64;
    if (loss - trainer_loss).abs() > allowed || agreement < 0.5 {
        return Err(Error::bug(format!(
            "{}: on llama.cpp's rows its loss is {loss:.5}, the trainer's {trainer_loss:.5} (they may differ by \
             {allowed:.3}), and {:.0} % of the best {COMPARED} items are the same: the file is not the head that was trained",
            file.display(),
            100.0 * agreement
        )));
    }
    Ok(HeadExport { file: file.to_path_buf(), trainer_loss, llama_loss: loss, agreement })
}

/// The name under which a ranking head knows the tuned model whose rows it reads: `student/` and the hash of `exported`
/// (`adapter.gguf` or `model.gguf`), all of it: two trainings of one model have the same header.
///
/// # Errors
/// [`crate::ErrorKind::Io`] and [`crate::ErrorKind::NotFound`] of the file.
pub fn student_name(exported: &Path) -> Result<String> {
    Ok(format!("student/{}", crate::artifact::hash_file(exported)?))
}

/// The rows that a ranking head trained along reads, `[prompts, dim]`: of each prompt the last token's hidden state after
/// the output norm, by llama.cpp with exact attention, at unit length.
///
/// # Errors
/// Those of llama.cpp; [`crate::ErrorKind::Invalid`] for an empty prompt or a state of zeros or NaN.
pub fn prompt_rows(path: &Path, adapter: Option<&Path>, prompts: &[&[u32]], run: &Run) -> Result<Matrix> {
    let longest = prompts.iter().map(|p| p.len()).max().unwrap_or(0);
    let mut context = context(path, adapter, longest, llama::Pooling::None, run)?;
    let mut rows = Matrix::zeros(prompts.len(), context.model().width());
    for (i, prompt) in prompts.iter().enumerate() {
        let last = prompt.len().checked_sub(1).ok_or_else(|| Error::invalid(format!("prompt {i} is empty")))?;
        context.clear();
        let mut batch = llama::Batch::default();
        prompt.iter().enumerate().for_each(|(t, token)| batch.push(*token as llama::Token, t, 0, true));
        context.run_batch(&batch, run)?;
        let state = context.hidden(last)?;
        let length = norm(state);
        if !length.is_finite() || length == 0.0 {
            return Err(Error::invalid(format!("prompt {i}: llama.cpp gives a state of length {length}")));
        }
        rows.row_mut(i).iter_mut().zip(state).for_each(|(row, v)| *row = (f64::from(*v) / length) as f32);
    }
    Ok(rows)
}

/// A context for sequences of up to `longest` tokens, one at a time.
pub(super) fn context(
    path: &Path,
    adapter: Option<&Path>,
    longest: usize,
    pooling: llama::Pooling,
    run: &Run,
) -> Result<llama::Context> {
    if longest == 0 {
        return Err(Error::invalid("no dialogue to hold the export against"));
    }
    let model = llama::Model::load(path)?;
    let options = llama::ContextOptions { tokens: longest, batch_tokens: longest, sequences: 1, pooling, exact: true };
    let mut context = llama::Context::new(&model, options, run)?;
    if let Some(adapter) = adapter {
        context.set_adapters(&[(llama::Adapter::load(&model, adapter)?, 1.0)])?;
    }
    Ok(context)
}

/// Nats by which llama.cpp's mean loss may differ. It rounds activations to the precision of the weights' dot products:
/// f16 or 8 bits; and a quantised export rounds the weights themselves.
fn tolerance(model: &Model, config: &TuneConfig) -> f64 {
    if model.lora().is_some() {
        let quantised = model.tensors.iter().any(|t| t.block_values() > 1);
        return if quantised { 0.03 } else { 0.005 };
    }
    match config.export {
        Quantisation::F32 => 0.002,
        Quantisation::F16 | Quantisation::BF16 => 0.02,
        Quantisation::Q8_0 => 0.05,
        Quantisation::Q6K | Quantisation::Q5KM | Quantisation::Q4KM | Quantisation::Q4_0 => 0.5,
    }
}

pub(super) fn write_full(model: &Model, base: &Path, file: &Path, kind: Quantisation, run: &Run) -> Result<()> {
    let metadata = Metadata::of(&Map::open(base)?)?;
    let precision = match kind {
        Quantisation::F32 => Some(Precision::F32),
        Quantisation::F16 => Some(Precision::F16),
        Quantisation::BF16 => Some(Precision::Bf16),
        Quantisation::Q8_0 | Quantisation::Q6K | Quantisation::Q5KM | Quantisation::Q4KM | Quantisation::Q4_0 => None,
    };
    if let Some(precision) = precision {
        return run.install(|| model.write_gguf(file, &metadata, precision));
    }
    let whole = file.with_extension("f32.gguf");
    run.install(|| model.write_gguf(&whole, &metadata, Precision::F32))?;
    let result = llama::quantise(&whole, file, kind, run.threads());
    let _ = std::fs::remove_file(&whole);
    result
}

/// Mean loss over the trained tokens of `examples`, by llama.cpp with exact attention.
///
/// # Errors
/// Those of llama.cpp; [`crate::ErrorKind::Invalid`] without examples.
pub fn llama_loss(path: &Path, adapter: Option<&Path>, examples: &[&Example], run: &Run) -> Result<f64> {
    let longest = examples.iter().map(|e| e.tokens.len()).max().unwrap_or(0);
    let mut context = context(path, adapter, longest, llama::Pooling::Logits, run)?;
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
