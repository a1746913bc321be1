//! Examples into forward passes: sequences side by side without padding, a common beginning computed once.

use super::chat::Example;
use crate::transformer::{Batch, Segment, Target};
use std::ops::Range;

/// Shorter common beginnings are not worth a segment of their own.
const MIN_SHARED: usize = 8;

/// What of an example is run and trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it is run; the answer's tokens are trained.
    Answers,
    /// All of it is run; every token but the first is trained. Nothing is then shared, since a shared token would count
    /// once in place of once per example.
    AllTokens,
    /// The prompt alone is run and no token is trained: a ranking head reads its last state.
    Prompts,
}

/// Examples for one forward pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicroBatch {
    /// Their tokens.
    pub batch: Batch,
    /// Which of the examples given they are.
    pub examples: Range<usize>,
    /// The row of each example's last prompt token.
    pub ends: Vec<usize>,
}

/// `examples` in their order as batches of at most `budget` tokens (a longer example has a batch of its own).
///
/// `share`: what all examples of a batch begin with (an instruction) stands in it once, attended to by all; gradients are
/// those of the whole sequences. It never reaches into an answer.
pub fn micro_batches(examples: &[&Example], budget: usize, share: bool, trained: Scope) -> Vec<MicroBatch> {
    let share = share && trained != Scope::AllTokens;
    let mut batches = Vec::new();
    let mut first = 0;
    let mut common = 0;
    for (at, example) in examples.iter().enumerate() {
        let empty = at == first;
        let sharable = sharable(example, trained);
        let with = if empty { sharable } else { common_length(examples[first], example, trained).min(common) };
        let shared = if share && with >= MIN_SHARED { with } else { 0 };
        let length = |e: &&Example| tokens_of(e, trained).len() - shared;
        let tokens: usize = shared + examples[first..=at].iter().map(length).sum::<usize>();
        if !empty && tokens > budget {
            batches.push(pack(examples, first..at, if share { common } else { 0 }, trained));
            (first, common) = (at, sharable);
        } else {
            common = with;
        }
    }
    if first < examples.len() {
        batches.push(pack(examples, first..examples.len(), if share { common } else { 0 }, trained));
    }
    batches
}

/// The tokens that are run.
fn tokens_of(example: &Example, trained: Scope) -> &[u32] {
    match trained {
        Scope::Answers | Scope::AllTokens => &example.tokens,
        Scope::Prompts => &example.tokens[..example.trained_from.min(example.tokens.len())],
    }
}

/// Tokens that may be shared: those of the prompt, and never all that is run.
fn sharable(example: &Example, trained: Scope) -> usize {
    example.trained_from.min(tokens_of(example, trained).len().saturating_sub(1))
}

fn common_length(a: &Example, b: &Example, trained: Scope) -> usize {
    let same = a.tokens.iter().zip(&b.tokens).take_while(|(x, y)| x == y).count();
    same.min(sharable(a, trained)).min(sharable(b, trained))
}

fn pack(all: &[&Example], examples: Range<usize>, common: usize, trained: Scope) -> MicroBatch {
    let group = &all[examples.clone()];
    let common = if common < MIN_SHARED || group.len() < 2 { 0 } else { common };
    let mut batch = Batch::default();
    let mut ends = Vec::with_capacity(group.len());
    if common > 0 {
        batch.push(&group[0].tokens[..common], &vec![false; common]);
    }
    for example in group {
        let tokens = tokens_of(example, trained);
        let start = batch.tokens.len();
        batch.tokens.extend_from_slice(&tokens[common..]);
        let prefix = (common > 0).then_some(0..common);
        batch.segments.push(Segment { rows: start..batch.tokens.len(), prefix });
        // The token before the first of a segment is the last of the shared beginning.
        let row = |t: usize| if t < common { t } else { start + t - common };
        let first = match trained {
            Scope::Answers => example.trained_from.max(1),
            Scope::AllTokens => 1,
            Scope::Prompts => tokens.len(),
        };
        let targets = tokens.iter().enumerate().skip(first);
        batch.targets.extend(targets.map(|(t, token)| Target { row: row(t - 1), token: *token }));
        ends.push(row(example.trained_from.clamp(1, tokens.len().max(1)) - 1));
    }
    MicroBatch { batch, examples, ends }
}
