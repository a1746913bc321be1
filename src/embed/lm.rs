//! Embeddings from a GGUF through llama.cpp: last-layer hidden states, pooled (paper §3.2).

use super::Embedder;
use crate::config::EmbedConfig;
use crate::error::{Error, Result};
use crate::llama::{Batch, Context, ContextOptions, MAX_SEQUENCES, Model, Pooling, Token};
use crate::math::{Matrix, norm};
use crate::run::{Level, Run, log};
use rayon::prelude::*;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Texts that are tokenised at once.
const WINDOW: usize = 1024;
/// A text is cut to this many bytes per wanted token before it is tokenised: the longest words have fewer.
const BYTES_PER_TOKEN: usize = 48;
/// Tokens times vocabulary at most in a batch: llama.cpp holds room for that many logits, 256 MiB.
const MAX_LOGITS: usize = 64 << 20;

/// A small LM as embedder: its hidden states of the last layer (after the output norm), pooled over the tokens that its
/// tokeniser gives (the special ones included, as in the paper's Python), scaled to unit length.
///
/// Many texts share a batch. llama.cpp's arithmetic is not bit-stable across batch shapes and thread counts: the same
/// text may come out different by 5e-6 when its neighbours are others. The same call on the same machine with the same
/// number of threads gives the same bytes.
pub struct LmEmbedder {
    model: Model,
    context: Mutex<Context>,
    name: String,
    max_tokens: usize,
    /// Texts that end with a special token (`[SEP]`) keep it when they are cut.
    keeps_last: bool,
    /// The model takes part of the context for itself: sequences per batch.
    sequences: usize,
}

impl LmEmbedder {
    /// Loads the GGUF at `path`.
    ///
    /// # Errors
    /// Those of [`Model::load`]; [`crate::ErrorKind::Invalid`] for a reranker.
    pub fn open(path: &Path, config: &EmbedConfig, run: &Run) -> Result<LmEmbedder> {
        let model = Model::load(path)?;
        let arch = model.header().architecture()?;
        let own = model.header().integer(&format!("{arch}.pooling_type"))?.unwrap_or(0);
        // The format's numbers: 0 none, 1 mean, 2 first token, 3 last token, 4 rank.
        let (pooling, pooling_name) = match (config.pooling.as_str(), own) {
            ("auto", 4) => return Err(Error::invalid(format!("{}: a reranker, no embedder", path.display()))),
            ("auto", 1..=3) => (Pooling::Model, "own"),
            ("last", _) => (Pooling::Last, "last"),
            _ => (Pooling::Mean, "mean"),
        };
        let trained = model.trained_context();
        let max_tokens = config.max_tokens.min(trained);
        if max_tokens < config.max_tokens {
            log(
                Level::Info,
                &format!("{}: texts are cut to the {trained} tokens that the model was trained for", path.display()),
            );
        }
        let batch_tokens = config.batch_tokens.min(MAX_LOGITS / model.vocabulary().max(1)).clamp(max_tokens, 1 << 20);
        let sequences = MAX_SEQUENCES.min(batch_tokens);
        let options = ContextOptions { tokens: batch_tokens, batch_tokens, sequences, pooling, exact: true };
        let context = Context::new(&model, options, run)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("lm/{stem}/{}/{pooling_name}/{max_tokens}", model.header().header_hash());
        let probe = model.tokenise("a", true, false)?;
        let keeps_last = probe.len() > 1 && probe.last().is_some_and(|t| model.piece(*t, false).is_empty());
        Ok(LmEmbedder { model, context: Mutex::new(context), name, max_tokens, keeps_last, sequences })
    }

    /// Tokens of `text`, cut to the limit.
    fn tokens(&self, text: &str) -> Result<Vec<Token>> {
        let text = text.trim();
        let cut = text.floor_char_boundary(self.max_tokens.saturating_mul(BYTES_PER_TOKEN));
        let mut tokens = self.model.tokenise(text.get(..cut).unwrap_or(text), true, false)?;
        if tokens.len() > self.max_tokens {
            let last = tokens.last().copied();
            tokens.truncate(self.max_tokens);
            if self.keeps_last
                && let (Some(end), Some(last)) = (tokens.last_mut(), last)
            {
                *end = last;
            }
        }
        Ok(tokens)
    }

    /// Computes the rows of one batch: (row, tokens) each.
    fn compute(&self, context: &mut Context, group: &[(usize, &[Token])], out: &mut Matrix, run: &Run) -> Result<()> {
        let mut batch = Batch::default();
        for (sequence, (_, tokens)) in group.iter().enumerate() {
            tokens.iter().enumerate().for_each(|(position, token)| batch.push(*token, position, sequence, true));
        }
        context.clear();
        context.run_batch(&batch, run)?;
        for (sequence, (row, _)) in group.iter().enumerate() {
            let pooled = context.pooled(sequence)?;
            let length = norm(pooled);
            if !length.is_finite() || length == 0.0 {
                return Err(Error::invalid(format!(
                    "embed: the model gives {} for text {row}: its weights are broken, or too coarse for this text",
                    if length == 0.0 { "zeros" } else { "NaN" }
                )));
            }
            for (o, p) in out.row_mut(*row).iter_mut().zip(pooled) {
                *o = (f64::from(*p) / length) as f32;
            }
        }
        Ok(())
    }
}

impl Embedder for LmEmbedder {
    fn dim(&self) -> usize {
        self.model.width()
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix> {
        let mut out = Matrix::zeros(texts.len(), self.dim());
        let mut context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        for (window, chunk) in texts.chunks(WINDOW).enumerate() {
            let first = window * WINDOW;
            let tokens: Vec<Result<Vec<Token>>> = run.install(|| chunk.par_iter().map(|t| self.tokens(t)).collect());
            let tokens: Vec<Vec<Token>> = tokens.into_iter().collect::<Result<_>>()?;
            // Texts stay in order and share a batch while they fit: sequences are ragged, nothing is padded.
            let mut group: Vec<(usize, &[Token])> = Vec::new();
            let mut filled = 0;
            for (i, tokens) in tokens.iter().enumerate() {
                if tokens.is_empty() || chunk.get(i).is_none_or(|t| t.trim().is_empty()) {
                    if lenient {
                        continue;
                    }
                    return Err(super::empty_text(first + i));
                }
                if filled + tokens.len() > context.batch_tokens() || group.len() == self.sequences {
                    self.compute(&mut context, &group, &mut out, run)?;
                    group.clear();
                    filled = 0;
                }
                filled += tokens.len();
                group.push((first + i, tokens));
            }
            if !group.is_empty() {
                self.compute(&mut context, &group, &mut out, run)?;
            }
        }
        Ok(out)
    }
}
