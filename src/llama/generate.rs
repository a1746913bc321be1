//! Text from a model: our own seeded sampling over the logits, so that the same seed gives the same text.

use super::{Batch, Context, Token};
use crate::error::{Error, Result};
use crate::math::Random;
use crate::run::Run;

/// How the next token is chosen.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Tokens at most.
    pub max_tokens: usize,
    /// 0: the likeliest token; above: softmax(logits / temperature).
    pub temperature: f64,
    /// Only the likeliest tokens that together have this probability (1: all).
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Texts at which the answer ends; they are not part of it.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { max_tokens: 256, temperature: 0.0, top_p: 1.0, seed: 0, stop: Vec::new() }
    }
}

/// What was generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The text, without the stop text.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, the ending one included.
    pub tokens: usize,
    /// True when the model ended by itself or a stop text came; false when `max_tokens` or the context cut it.
    pub finished: bool,
}

/// The next token from `logits` `[vocabulary]`; ties go to the lowest token. NaN is never chosen.
///
/// # Errors
/// [`crate::ErrorKind::Format`] when no logit is a number: the weights are broken.
pub fn sample(logits: &[f32], temperature: f64, top_p: f64, random: &mut Random) -> Result<Token> {
    let order = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let mut candidates: Vec<(usize, f32)> =
        logits.iter().copied().enumerate().filter(|(_, l)| !l.is_nan() && *l > f32::NEG_INFINITY).collect();
    let Some(best) = candidates.iter().copied().min_by(order) else {
        return Err(Error::new(crate::ErrorKind::Format, "the model's logits are all NaN: its weights are broken"));
    };
    if temperature <= 0.0 || !best.1.is_finite() {
        return Ok(best.0 as Token);
    }
    let weight = |logit: f32| ((f64::from(logit) - f64::from(best.1)) / temperature).exp();
    if top_p < 1.0 {
        candidates.sort_unstable_by(order);
        let total: f64 = candidates.iter().map(|(_, l)| weight(*l)).sum();
        let mut sum = 0.0;
        let keep = candidates.iter().position(|(_, l)| {
            sum += weight(*l);
            sum >= top_p * total
        });
        candidates.truncate(keep.map_or(candidates.len(), |k| k + 1));
    }
    let total: f64 = candidates.iter().map(|(_, l)| weight(*l)).sum();
    let mut left = random.uniform() * total;
    for (token, logit) in &candidates {
        left -= weight(*logit);
        if left < 0.0 {
            return Ok(*token as Token);
        }
    }
    Ok(best.0 as Token)
}

impl Context {
    /// Answers `prompt` (already in the model's chat format; special tokens in it are read as such), handing every piece of
    /// text to [`Run::token`] as it comes. The context is cleared first.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an empty prompt, or one that leaves no room in the context;
    /// [`crate::ErrorKind::Cancelled`].
    pub fn generate(&mut self, prompt: &str, sampling: &Sampling, run: &Run) -> Result<Generated> {
        let tokens = self.model().tokenise(prompt, true, true)?;
        if tokens.is_empty() {
            return Err(Error::invalid("an empty prompt"));
        }
        if tokens.len() >= self.context_tokens() {
            return Err(Error::invalid(format!(
                "a prompt of {} tokens in a context of {}: shorten it or make the context larger",
                tokens.len(),
                self.context_tokens()
            )));
        }
        self.clear();
        let mut random = Random::new(sampling.seed, b"generate");
        let mut batch = Batch::default();
        let size = self.batch_tokens();
        for (n, chunk) in tokens.chunks(size).enumerate() {
            batch.clear();
            for (i, token) in chunk.iter().enumerate() {
                let position = n * size + i;
                batch.push(*token, position, 0, position + 1 == tokens.len());
            }
            self.run_batch(&batch, run)?;
        }
        let mut bytes: Vec<u8> = Vec::new();
        let mut generated = Generated { text: String::new(), prompt_tokens: tokens.len(), tokens: 0, finished: false };
        let mut shown = 0;
        let mut position = tokens.len();
        while generated.tokens < sampling.max_tokens {
            let last = batch.len().saturating_sub(1);
            let token = sample(self.logits(last)?, sampling.temperature, sampling.top_p, &mut random)?;
            generated.tokens += 1;
            if self.model().is_end(token) {
                generated.finished = true;
                break;
            }
            bytes.extend(self.model().piece(token, false));
            generated.text = String::from_utf8_lossy(whole_characters(&bytes)).into_owned();
            let stop =
                sampling.stop.iter().filter(|s| !s.is_empty()).filter_map(|s| generated.text.find(s.as_str())).min();
            if let Some(at) = stop {
                generated.text.truncate(at);
                generated.finished = true;
                break;
            }
            // What may yet become a stop text is held back.
            let safe = safe_length(&generated.text, &sampling.stop);
            if safe > shown
                && let Some(piece) = generated.text.get(shown..safe)
            {
                run.token(piece)?;
                shown = safe;
            }
            if position >= self.context_tokens() {
                break;
            }
            batch.clear();
            batch.push(token, position, 0, true);
            position += 1;
            self.run_batch(&batch, run)?;
        }
        if let Some(rest) = generated.text.get(shown..).filter(|r| !r.is_empty()) {
            run.token(rest)?;
        }
        run.token("")?;
        Ok(generated)
    }
}

/// What of `bytes` can be shown: a character may be spread over tokens, and its last bytes may be yet to come.
pub(crate) fn whole_characters(bytes: &[u8]) -> &[u8] {
    let rest = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    // Of bytes that can still become a character, `from_utf8` says that they end too soon.
    let begun = std::str::from_utf8(rest).is_err_and(|e| e.error_len().is_none());
    bytes.get(..bytes.len() - if begun { rest.len() } else { 0 }).unwrap_or_default()
}

/// How much of `text` cannot be the beginning of a stop text.
fn safe_length(text: &str, stop: &[String]) -> usize {
    let held =
        stop.iter().filter_map(|s| (1..s.len()).rev().find(|n| s.is_char_boundary(*n) && text.ends_with(&s[..*n])));
    text.len() - held.max().unwrap_or(0)
}
