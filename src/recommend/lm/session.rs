//! What a search needs of a model: trees of tokens in, log-probabilities out.

use crate::error::Result;
use std::ops::Range;

/// A token of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepToken {
    /// The token.
    pub token: u32,
    /// Its place in its sequences, from 0.
    pub position: usize,
    /// The sequences that share it.
    pub sequences: Range<usize>,
    /// The tokens whose log-probability to follow it is wanted.
    pub wants: Vec<u32>,
}

/// One forward pass: sequences are forgotten, then copied, then grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Sequences to forget.
    pub drop: Vec<usize>,
    /// Sequences to copy: from, to.
    pub fork: Vec<(usize, usize)>,
    /// What is computed. A sequence's tokens stand in the order of their positions; a token shared by several comes
    /// before those of fewer.
    pub tokens: Vec<StepToken>,
}

/// A prompt in sequence 0 of a model, ready to be continued in sequences 1, 2, ….
pub trait Session {
    /// Sequences, the prompt's included.
    fn sequences(&self) -> usize;
    /// Tokens of one forward pass at most.
    fn batch_tokens(&self) -> usize;
    /// Tokens that all sequences may have together beyond the prompt.
    fn room(&self) -> usize;
    /// Tokens of the prompt: the position of the first token behind it.
    fn prompt_tokens(&self) -> usize;
    /// Computes a step: log-probabilities over the whole vocabulary, in nats, of each token's `wants`, in their order.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`]; for the deadline too.
    fn step(&mut self, step: &Step) -> Result<Vec<Vec<f32>>>;
}

/// Log-probabilities of `wants` under `logits` `[vocabulary]`. The sum runs in f64, in the order of the vocabulary.
pub fn log_probabilities(logits: &[f32], wants: &[u32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.chunks(64).map(|c| f64::from(c.iter().map(|z| (z - top).exp()).sum::<f32>())).sum();
    let total = f64::from(top) + sum.ln();
    let one = |want: &u32| match logits.get(*want as usize) {
        Some(z) => (f64::from(*z) - total) as f32,
        None => f32::NEG_INFINITY,
    };
    wants.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_those_of_the_softmax() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 * 0.17 - 30.0).collect();
        let mut softmax: Vec<f64> = logits.iter().map(|z| f64::from(*z)).collect();
        crate::math::softmax(&mut softmax, 1.0);
        let ours = log_probabilities(&logits, &[0, 999, 17, 5000]);
        for (got, token) in ours.iter().zip([0, 999, 17]) {
            assert!((f64::from(*got) - softmax[token].ln()).abs() < 1e-5);
        }
        assert_eq!(ours[3], f32::NEG_INFINITY);
    }
}
