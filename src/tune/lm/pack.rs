//! Examples into forward passes: sequences side by side without padding, a common beginning computed once.

use super::chat::Example;
use crate::transformer::{Batch, Segment, Target};

/// Shorter common beginnings are not worth a segment of their own.
const MIN_SHARED: usize = 8;

/// `examples` in their order as batches of at most `budget` tokens (a longer example has a batch of its own).
///
/// `share`: what all examples of a batch begin with (an instruction) stands in it once, attended to by all; gradients are
/// those of the whole sequences. It never reaches into an answer. `all_tokens`: prompts are trained too; nothing is then
/// shared, since a shared token would count once in place of once per example.
pub fn micro_batches(examples: &[&Example], budget: usize, share: bool, all_tokens: bool) -> Vec<Batch> {
    let share = share && !all_tokens;
    let mut batches = Vec::new();
    let mut group: Vec<&Example> = Vec::new();
    let mut common = 0;
    for example in examples {
        let with = if group.is_empty() { sharable(example) } else { common_length(group[0], example).min(common) };
        let shared = if share && with >= MIN_SHARED { with } else { 0 };
        let tokens: usize = shared + group.iter().chain([example]).map(|e| e.tokens.len() - shared).sum::<usize>();
        if !group.is_empty() && tokens > budget {
            batches.push(pack(&group, if share { common } else { 0 }, all_tokens));
            group.clear();
            common = sharable(example);
        } else {
            common = with;
        }
        group.push(example);
    }
    if !group.is_empty() {
        batches.push(pack(&group, if share { common } else { 0 }, all_tokens));
    }
    batches
}

/// Tokens that may be shared: those of the prompt, and never the whole example.
fn sharable(example: &Example) -> usize {
    example.trained_from.min(example.tokens.len().saturating_sub(1))
}

fn common_length(a: &Example, b: &Example) -> usize {
    let same = a.tokens.iter().zip(&b.tokens).take_while(|(x, y)| x == y).count();
    same.min(sharable(a)).min(sharable(b))
}

fn pack(group: &[&Example], common: usize, all_tokens: bool) -> Batch {
    let mut batch = Batch::default();
    let first_trained = |e: &Example| if all_tokens { 1 } else { e.trained_from };
    if common < MIN_SHARED || group.len() < 2 {
        for example in group {
            let trained: Vec<bool> = (0..example.tokens.len()).map(|t| t >= first_trained(example)).collect();
            batch.push(&example.tokens, &trained);
        }
        return batch;
    }
    batch.push(&group[0].tokens[..common], &vec![false; common]);
    for example in group {
        let start = batch.tokens.len();
        batch.tokens.extend_from_slice(&example.tokens[common..]);
        batch.segments.push(Segment { rows: start..batch.tokens.len(), prefix: Some(0..common) });
        for (t, token) in example.tokens.iter().enumerate().skip(first_trained(example).max(1)) {
            // The token before the first of a segment is the last of the shared beginning.
            let row = if t == common { common - 1 } else { start + t - 1 - common };
            batch.targets.push(Target { row, token: *token });
        }
    }
    batch
}
