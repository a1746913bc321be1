//! What one forward pass sees: the tokens of several sequences, one after the other, without padding.

use crate::error::{Error, Result};
use std::ops::Range;

/// A run of tokens that attend to each other, and to nothing else but their prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its rows of the batch.
    pub rows: Range<usize>,
    /// Rows that stand before it as if they were its own beginning: an instruction shared by several sequences, computed
    /// once. Its gradients sum over all who use it, so that they are exact.
    pub prefix: Option<Range<usize>>,
}

impl Segment {
    /// Position of its first token.
    pub fn first_position(&self) -> usize {
        self.prefix.as_ref().map_or(0, |p| p.len())
    }
}

/// A token to be predicted: the state of `row` should give `token`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Row of the batch whose state predicts.
    pub row: usize,
    /// The token that comes next.
    pub token: u32,
}

/// Sequences for one forward pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Tokens of all segments, `[tokens]`.
    pub tokens: Vec<u32>,
    /// The segments: they cover the rows in order, each once.
    pub segments: Vec<Segment>,
    /// What is to be predicted; several may stand on one row (the end of a shared prefix).
    pub targets: Vec<Target>,
}

impl Batch {
    /// Adds a sequence of its own; `trained[t]` says whether token t is to be predicted (the first never is).
    pub fn push(&mut self, tokens: &[u32], trained: &[bool]) {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.segments.push(Segment { rows: start..self.tokens.len(), prefix: None });
        let pairs = tokens.iter().zip(trained).enumerate().skip(1).filter(|(_, (_, trained))| **trained);
        self.targets.extend(pairs.map(|(t, (token, _))| Target { row: start + t - 1, token: *token }));
    }

    /// Position of each token in its sequence, `[tokens]`.
    pub fn positions(&self) -> Vec<u32> {
        self.segments.iter().flat_map(|s| (0..s.rows.len()).map(|i| (s.first_position() + i) as u32)).collect()
    }

    /// Refuses what a forward pass would stumble over.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`]: no tokens, a token outside the vocabulary, segments or targets that do not fit,
    /// more positions than the model's context.
    pub fn check(&self, vocabulary: usize, context: usize) -> Result<()> {
        if self.tokens.is_empty() {
            return Err(Error::invalid("an empty batch"));
        }
        let outside = |token: &u32| *token as usize >= vocabulary;
        if let Some(token) = self.tokens.iter().chain(self.targets.iter().map(|t| &t.token)).find(|t| outside(t)) {
            return Err(Error::invalid(format!("token {token} is not of this model's {vocabulary}")));
        }
        let mut next = 0;
        for (i, segment) in self.segments.iter().enumerate() {
            let prefix_fits = match &segment.prefix {
                None => true,
                Some(p) => self.segments[..i].iter().any(|s| s.prefix.is_none() && s.rows == *p),
            };
            if segment.rows.start != next || segment.rows.is_empty() || !prefix_fits {
                return Err(Error::bug(format!("segment {i} of a batch does not fit")));
            }
            next = segment.rows.end;
            let length = segment.first_position() + segment.rows.len();
            if length > context {
                return Err(Error::invalid(format!("a sequence of {length} tokens; this model holds {context}")));
            }
        }
        if next != self.tokens.len() || self.targets.iter().any(|t| t.row >= next) {
            return Err(Error::bug("a batch whose segments or targets do not cover its tokens"));
        }
        Ok(())
    }
}
