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
    /// What is wanted behind it: the log-probabilities of these tokens. None: nothing is.
    pub wants: Option<Vec<u32>>,
}

/// What was computed behind a token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// The log-probabilities wanted; of a model that gives hidden states, the hidden state.
    pub values: Vec<f32>,
    /// The likeliest token.
    pub best: u32,
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
    /// Computes a step: one row per token, log-probabilities being over the whole vocabulary, in nats.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`]; for the deadline too.
    fn step(&mut self, step: &Step) -> Result<Vec<Row>>;
}

impl Row {
    /// From `logits` `[vocabulary]`. The sum of the softmax runs in a fixed order; ties of the best go to the lowest token.
    pub fn of(logits: &[f32], wants: &[u32]) -> Row {
        let (mut best, mut top) = (0, f32::NEG_INFINITY);
        for (token, z) in logits.iter().enumerate() {
            if *z > top {
                (best, top) = (token as u32, *z);
            }
        }
        let total = if wants.is_empty() {
            0.0
        } else {
            let parts = logits.chunks(64).map(|c| f64::from(c.iter().map(|z| (z - top).exp()).sum::<f32>()));
            f64::from(top) + parts.sum::<f64>().ln()
        };
        let one = |want: &u32| match logits.get(*want as usize) {
            Some(z) => (f64::from(*z) - total) as f32,
            None => f32::NEG_INFINITY,
        };
        Row { values: wants.iter().map(one).collect(), best }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_those_of_the_softmax() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 * 0.17 - 30.0).collect();
        let mut softmax: Vec<f64> = logits.iter().map(|z| f64::from(*z)).collect();
        crate::math::softmax(&mut softmax, 1.0);
        let Row { values: ours, best } = Row::of(&logits, &[0, 999, 17, 5000]);
        assert_eq!(best, (0..1000).find(|i| (i * 37) % 101 == 100).unwrap());
        for (got, token) in ours.iter().zip([0, 999, 17]) {
            assert!((f64::from(*got) - softmax[token].ln()).abs() < 1e-5);
        }
        assert_eq!(ours[3], f32::NEG_INFINITY);
    }
}
