//! Embeddings from a GGUF through llama.cpp: last-layer hidden states, pooled (paper §3.2).

use super::embedder::Embedder;
use crate::artifact::hash_file;
use crate::config::{EmbedConfig, PoolingChoice};
use crate::error::{Error, Result};
use crate::llama::{Adapter, Batch, Context, ContextOptions, MAX_SEQUENCES, Model, Pooling, Token};
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
/// Texts share a batch (in an encoder each has its own), and every batch is computed by one thread in a context of its
/// own: nobody waits for anybody, and the same call gives the same bytes for any number of threads. llama.cpp's arithmetic
/// is not bit-stable across batch shapes, though: a text may come out different by 5e-6 when its neighbours are others.
pub struct LmEmbedder {
    model: Model,
    options: ContextOptions,
    adapters: Vec<(Adapter, f32)>,
    /// Contexts that wait for work; as many are made as threads ever worked at once.
    idle: Mutex<Vec<Context>>,
    name: String,
    max_tokens: usize,
    /// Texts that end with a special token (`[SEP]`) keep it when they are cut.
    keeps_last: bool,
}

impl LmEmbedder {
    /// Loads the GGUF at `path`.
    ///
    /// # Errors
    /// Those of [`Model::load`]; [`crate::ErrorKind::Invalid`] for a reranker.
    pub fn open(path: &Path, config: &EmbedConfig, run: &Run) -> Result<LmEmbedder> {
        LmEmbedder::open_adapted(path, None, config, run)
    }

    /// [`LmEmbedder::open`] with a LoRA adapter beside the model.
    ///
    /// # Errors
    /// As [`LmEmbedder::open`], and those of [`Adapter::load`].
    pub fn open_adapted(path: &Path, adapter: Option<&Path>, config: &EmbedConfig, run: &Run) -> Result<LmEmbedder> {
        run.check()?;
        let model = Model::load(path)?;
        let adapters = match adapter {
            Some(adapter) => vec![(Adapter::load(&model, adapter)?, 1.0)],
            None => Vec::new(),
        };
        let arch = model.header().architecture()?;
        let own = model.header().integer(&format!("{arch}.pooling_type"))?.unwrap_or(0);
        // The format's numbers: 0 none, 1 mean, 2 first token, 3 last token, 4 rank.
        let (pooling, pooling_name) = match (config.pooling, own) {
            (PoolingChoice::Auto, 4) => {
                return Err(Error::invalid(format!("{}: a reranker, no embedder", path.display())));
            }
            (PoolingChoice::Auto, 1..=3) => (Pooling::Model, "own"),
            (PoolingChoice::Last, _) => (Pooling::Last, "last"),
            (PoolingChoice::Auto | PoolingChoice::Mean, _) => (Pooling::Mean, "mean"),
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
        // An encoder has no cache of keys: every token of a batch is compared with every other one, of other texts too, and
        // only then masked. One text a batch was about twice as fast as 512 tokens, and its row then depends on nothing else.
        let (batch_tokens, sequences) =
            if model.is_encoder() { (max_tokens, 1) } else { (batch_tokens, MAX_SEQUENCES.min(batch_tokens)) };
        let options = ContextOptions { tokens: batch_tokens, batch_tokens, sequences, pooling, exact: true };
        // The first one is made here, so that a model that cannot embed is refused now.
        let idle = Mutex::new(vec![context(&model, options, &adapters, &Run::new(1)?)?]);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        // All its bytes: models tuned from one base have one header.
        let mut name = format!("lm/{stem}/{}/{pooling_name}/{max_tokens}", hash_file(path)?);
        if let Some(adapter) = adapter {
            name.push_str(&format!("/{}", hash_file(adapter)?));
        }
        let probe = model.tokenise("a", true, false)?;
        let keeps_last = probe.len() > 1 && probe.last().is_some_and(|t| model.piece(*t, false).is_empty());
        Ok(LmEmbedder { model, options, adapters, idle, name, max_tokens, keeps_last })
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

    /// Rows of one batch, `[texts, dim]` one after the other. `lenient`: what the model makes NaN or zeros of has zeros.
    fn compute(&self, group: &[(usize, &[Token])], lenient: bool, run: &Run) -> Result<Vec<f32>> {
        run.check()?;
        let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut context = match waiting {
            Some(context) => context,
            None => context(&self.model, self.options, &self.adapters, run)?,
        };
        let mut batch = Batch::default();
        for (sequence, (_, tokens)) in group.iter().enumerate() {
            tokens.iter().enumerate().for_each(|(position, token)| batch.push(*token, position, sequence, true));
        }
        context.clear();
        context.run_batch(&batch, run)?;
        let mut rows = Vec::with_capacity(group.len() * self.dim());
        for (sequence, (text, _)) in group.iter().enumerate() {
            let pooled = context.pooled(sequence)?;
            let length = norm(pooled);
            if lenient && (!length.is_finite() || length == 0.0) {
                rows.resize(rows.len() + self.dim(), 0.0);
                continue;
            }
            if !length.is_finite() || length == 0.0 {
                return Err(Error::invalid(format!(
                    "embed: the model gives {} for text {text}: its weights are broken, or too coarse for this text",
                    if length == 0.0 { "zeros" } else { "NaN" }
                )));
            }
            rows.extend(pooled.iter().map(|p| (f64::from(*p) / length) as f32));
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(context);
        Ok(rows)
    }
}

fn context(model: &Model, options: ContextOptions, adapters: &[(Adapter, f32)], run: &Run) -> Result<Context> {
    let mut context = Context::new(model, options, run)?;
    if !adapters.is_empty() {
        context.set_adapters(adapters)?;
    }
    Ok(context)
}

impl Embedder for LmEmbedder {
    fn dim(&self) -> usize {
        self.model.width()
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn bytes(&self) -> u64 {
        self.model.header().file_bytes()
    }
    fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix> {
        let mut out = Matrix::zeros(texts.len(), self.dim());
        for (window, chunk) in texts.chunks(WINDOW).enumerate() {
            let first = window * WINDOW;
            let tokens: Vec<Result<Vec<Token>>> = run.install(|| chunk.par_iter().map(|t| self.tokens(t)).collect());
            let tokens: Vec<Vec<Token>> = tokens.into_iter().collect::<Result<_>>()?;
            // Texts stay in order and share a batch while they fit: sequences are ragged, nothing is padded.
            let mut groups: Vec<Vec<(usize, &[Token])>> = vec![Vec::new()];
            let mut filled = 0;
            for (i, (tokens, text)) in tokens.iter().zip(chunk).enumerate() {
                if tokens.is_empty() || text.trim().is_empty() {
                    if lenient {
                        continue;
                    }
                    return Err(super::embedder::empty_text(first + i));
                }
                let full = |group: &Vec<_>| {
                    filled + tokens.len() > self.options.batch_tokens || group.len() == self.options.sequences
                };
                if groups.last().is_none_or(full) {
                    groups.push(Vec::new());
                    filled = 0;
                }
                filled += tokens.len();
                if let Some(group) = groups.last_mut() {
                    group.push((first + i, tokens));
                }
            }
            groups.retain(|group| !group.is_empty());
            // A context on one thread, and one task per batch: batches are long.
            let one = Run::new(1)?.cancelled_by(run.cancel_flag());
            let rows: Vec<Result<Vec<f32>>> = run.install(|| {
                groups.par_iter().with_max_len(1).map(|group| self.compute(group, lenient, &one)).collect()
            });
            for (group, rows) in groups.iter().zip(rows) {
                let rows = rows?;
                for ((text, _), row) in group.iter().zip(rows.chunks_exact(self.dim())) {
                    out.row_mut(*text).copy_from_slice(row);
                }
            }
        }
        Ok(out)
    }
}
