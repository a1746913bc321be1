//! An adapter merged into its base: one model file, proven through llama.cpp.

use super::export::{context, write_full};
use crate::error::{Error, Result};
use crate::llama::{self, Pooling, Quantisation};
use crate::math::Random;
use crate::run::Run;
use crate::transformer::Model;
use std::path::{Path, PathBuf};

/// Tokens that the proof runs over.
const TOKENS: usize = 64;

/// A merged model, and how near it is to base and adapter.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct MergeReport {
    /// The file.
    pub file: PathBuf,
    /// Between the logits of base with adapter and those of the merged file, both by llama.cpp: the root mean square of the
    /// difference over that of the logits about each position's mean.
    pub difference: f64,
    /// The difference that was allowed.
    pub allowed: f64,
    /// The same between the base without and with the adapter: what the adapter does.
    pub effect: f64,
}

/// Writes W + (alpha / rank) B A into `out`, for the base GGUF at `base` and the adapter at `adapter` (a GGUF, or a PEFT
/// folder), as `kind` (`f32`, `f16`, `bf16`, or a quantisation of llama.cpp's: `q8_0`, `q6_k`, `q5_k_m`, `q4_k_m`, `q4_0`).
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for an adapter of another base, one that changes nothing, or an unknown kind;
/// [`crate::ErrorKind::Format`] for broken files or other shapes; [`crate::ErrorKind::Bug`] when llama.cpp does not see base
/// and adapter in the merged file: it is removed then; those of writing.
pub fn merge(base: &Path, adapter: &Path, out: &Path, kind: &str, run: &Run) -> Result<MergeReport> {
    let kind: Quantisation =
        kind.to_ascii_lowercase().parse().map_err(|e: Error| e.context("the merged model's kind"))?;
    let mut model = Model::from_gguf(base)?;
    if adapter.is_dir() {
        model.add_peft(adapter)?
    } else {
        model.add_adapter(adapter)?
    }
    model.check_adapter()?;
    run.check()?;
    write_full(&model, base, out, kind, run)?;
    run.check()?;
    // llama.cpp reads adapters as GGUF alone.
    let own = out.with_extension("adapter.gguf");
    let applied = if adapter.is_dir() {
        model.write_adapter(&own)?;
        own.as_path()
    } else {
        adapter
    };
    let proof = prove(&model, base, applied, out, kind, run);
    let _ = std::fs::remove_file(&own);
    if proof.is_err() {
        let _ = std::fs::remove_file(out);
    }
    proof
}

fn prove(model: &Model, base: &Path, adapter: &Path, out: &Path, kind: Quantisation, run: &Run) -> Result<MergeReport> {
    let count = TOKENS.min(model.config.context);
    let mut random = Random::new(0, b"merge");
    let tokens: Vec<u32> = (0..count).map(|_| random.below(model.config.vocabulary) as u32).collect();
    let plain = logits(base, None, &tokens, run)?;
    let adapted = logits(base, Some(adapter), &tokens, run)?;
    let merged = logits(out, None, &tokens, run)?;
    let rows = model.config.vocabulary;
    let (difference, effect) = (distance(&adapted, &merged, rows), distance(&adapted, &plain, rows));
    let quantised = model.tensors.iter().any(|t| t.block_values() > 1);
    let allowed = tolerance(kind) + if quantised { 0.05 } else { 0.0 };
    if effect == 0.0 {
        return Err(Error::invalid(format!(
            "{}: llama.cpp computes the same with this adapter as without: it changes nothing",
            adapter.display()
        )));
    }
    if difference.is_nan() || difference > allowed {
        return Err(Error::bug(format!(
            "{}: its logits differ from those of base and adapter by {difference:.4} (at most {allowed:.4} is accepted; the adapter \
             itself moves them by {effect:.4}): the file is not the merged model",
            out.display()
        )));
    }
    Ok(MergeReport { file: out.to_path_buf(), difference, allowed, effect })
}

/// How far rounding may move the logits, as a share of their spread: llama.cpp sums f32 in another order (and takes GELU
/// from a table of halves); 11 or 8 bits of mantissa and rounded activations otherwise; blocks of 8 to 4 bits. A base whose
/// weights are quantised adds the rounding of its own activations to 8 bits. Measured on random weights, the worst case,
/// whose errors no training has made small: about half of each.
fn tolerance(kind: Quantisation) -> f64 {
    match kind {
        Quantisation::F32 => 0.003,
        Quantisation::F16 => 0.01,
        Quantisation::BF16 => 0.03,
        Quantisation::Q8_0 => 0.08,
        Quantisation::Q6K => 0.2,
        Quantisation::Q5KM => 0.25,
        Quantisation::Q4KM | Quantisation::Q4_0 => 0.5,
    }
}

/// Logits of every position, `[tokens, vocabulary]`.
fn logits(path: &Path, adapter: Option<&Path>, tokens: &[u32], run: &Run) -> Result<Vec<f32>> {
    let mut context = context(path, adapter, tokens.len(), Pooling::Logits, run)?;
    let mut batch = llama::Batch::default();
    tokens.iter().enumerate().for_each(|(t, token)| batch.push(*token as llama::Token, t, 0, true));
    context.run_batch(&batch, run)?;
    let mut all = Vec::new();
    for t in 0..tokens.len() {
        all.extend_from_slice(context.logits(t)?);
    }
    Ok(all)
}

/// Root mean square of `a - b` over that of `a`, both about their means in each row of `width`: what softmax sees.
fn distance(a: &[f32], b: &[f32], width: usize) -> f64 {
    if a.len() != b.len() {
        return f64::NAN;
    }
    let (mut apart, mut spread) = (0.0, 0.0);
    for (a, b) in a.chunks(width).zip(b.chunks(width)) {
        let mean = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let (ma, mb) = (mean(a), mean(b));
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (f64::from(*a) - ma, f64::from(*b) - mb);
            apart += (a - b).powi(2);
            spread += a * a;
        }
    }
    (apart / spread).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::transformer::{LoraHalf, LoraSettings, Storage};

    /// A base, and an adapter over it whose B is not zero.
    fn files(folder: &Path, seed: u64) -> (PathBuf, PathBuf, Model) {
        let (base, adapter) = (folder.join("base.gguf"), folder.join(format!("adapter {seed}.gguf")));
        crate::transformer::write_test_model(&base);
        let mut model = Model::from_gguf(&base).unwrap();
        let targets = LoraSettings::PROJECTIONS.to_vec();
        model.add_lora(LoraSettings { rank: 4, alpha: 8.0, dropout: 0.0, targets, layers: 1..2, seed }).unwrap();
        let mut random = Random::new(seed, b"b");
        for tensor in model.tensors.iter_mut().filter(|t| t.place.lora == Some(LoraHalf::B)) {
            let Storage::F32(values) = &mut tensor.storage else { unreachable!() };
            values.iter_mut().for_each(|v| *v = random.normal() as f32 * 0.1);
        }
        model.write_adapter(&adapter).unwrap();
        (base, adapter, model)
    }

    #[test]
    fn an_adapter_is_merged_in_every_precision_and_proven() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::new(2).unwrap();
        let (base, adapter, model) = files(folder.path(), 1);
        let out = folder.path().join("merged.gguf");
        for kind in ["f32", "f16", "bf16", "q8_0", "q6_k", "q4_k_m"] {
            let merged = merge(&base, &adapter, &out, kind, &run).unwrap();
            assert!(merged.effect > 0.05 && merged.difference <= merged.allowed, "{kind}: {merged:?}");
            // The tolerance is not so wide that a base without its adapter would pass.
            assert!(kind.starts_with("q4") || merged.allowed < merged.effect, "{kind}: {merged:?}");
            eprintln!("{kind}: {merged:?}");
        }
        // From PEFT's layout, and over a quantised base.
        let peft = folder.path().join("peft");
        model.write_peft(&peft, "base").unwrap();
        let from_peft = merge(&base, &peft, &out, "f32", &run).unwrap();
        assert!(from_peft.difference < 0.003 && !out.with_extension("adapter.gguf").exists());
        let quantised = folder.path().join("q8.gguf");
        llama::quantise(&base, &quantised, Quantisation::Q8_0, 2).unwrap();
        let merged = merge(&quantised, &adapter, &out, "q8_0", &run).unwrap();
        assert!(merged.difference < merged.effect, "{merged:?}");
    }

    #[test]
    fn an_adapter_of_another_base_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::new(2).unwrap();
        let (base, adapter, model) = files(folder.path(), 1);
        let out = folder.path().join("merged.gguf");
        // The same shapes, other weights.
        let other = folder.path().join("other.gguf");
        let metadata = crate::transformer::Metadata::of(&crate::transformer::Map::open(&base).unwrap()).unwrap();
        let stranger = Model::random(Model::from_gguf(&base).unwrap().config, 99).unwrap();
        stranger.write_gguf(&other, &metadata, crate::transformer::Precision::F32).unwrap();
        let peft = folder.path().join("peft");
        model.write_peft(&peft, "base").unwrap();
        for adapter in [&adapter, &peft] {
            let refused = merge(&other, adapter, &out, "f32", &run).unwrap_err();
            assert!(refused.message().contains("another base"), "{refused}");
        }
        // Other shapes, no adapter, none there, an unknown kind.
        let mut config = stranger.config.clone();
        config.ffn *= 2;
        let mut metadata = metadata;
        metadata.llama(&config);
        let wide = Model::random(config, 1).unwrap();
        wide.write_gguf(&other, &metadata, crate::transformer::Precision::F32).unwrap();
        assert!(merge(&other, &adapter, &out, "f32", &run).is_err());
        assert_eq!(merge(&base, &base, &out, "f32", &run).unwrap_err().kind(), ErrorKind::Format);
        assert_eq!(
            merge(&base, Path::new("/nowhere.gguf"), &out, "f32", &run).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(merge(&base, &adapter, &out, "q3", &run).unwrap_err().message().contains("q3"));
        assert!(!out.exists());
    }
}
