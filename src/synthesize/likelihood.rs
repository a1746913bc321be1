//! Candidates ranked by a model's likelihood: how much likelier a query makes each name than it is without one.
//!
//! A small model cannot choose among sixty lines, but it knows what goes with what: the logarithm of a name's probability
//! behind the query, less the same behind a query that says nothing, which takes out how long and how well known the name is.
//! All names share the prompt's computation.

use super::choice::without_year;
use super::lines::feed;
use crate::error::{Error, ErrorKind, Result};
use crate::llama::{Batch, Context, Token};
use crate::run::Run;
use std::collections::HashMap;

/// Tokens of a name that count; the others say little more.
const NAME_TOKENS: usize = 24;

/// Ranks names behind prompts.
#[derive(Default)]
pub(super) struct Likelihood {
    /// Of each name its logarithm behind the prompt that says nothing.
    plain: HashMap<String, f64>,
}

/// What a ranking came to.
pub(super) struct Ranked {
    /// Places of the names, best first.
    pub order: Vec<usize>,
    /// Tokens that were computed.
    pub tokens: usize,
}

impl Likelihood {
    /// The `names` by how much likelier `prompt` makes them than `plain` does; ties to the first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for prompts that leave no room; [`ErrorKind::Format`] for a model whose logits are no numbers;
    /// [`ErrorKind::Cancelled`].
    pub(super) fn rank(
        &mut self,
        context: &mut Context,
        prompt: &str,
        plain: &str,
        names: &[String],
        run: &Run,
    ) -> Result<Ranked> {
        let mut tokens = 0;
        let new: Vec<&String> = names.iter().filter(|name| !self.plain.contains_key(*name)).collect();
        if !new.is_empty() {
            let scores = score(context, plain, &new, &mut tokens, run)?;
            self.plain.extend(new.into_iter().cloned().zip(scores));
        }
        let behind = score(context, prompt, &names.iter().collect::<Vec<_>>(), &mut tokens, run)?;
        let gain = |place: usize| behind[place] - self.plain.get(&names[place]).copied().unwrap_or_default();
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by(|a, b| gain(*b).total_cmp(&gain(*a)).then(a.cmp(b)));
        Ok(Ranked { order, tokens })
    }
}

/// The mean logarithm of a name's tokens behind `prompt`, of each name.
fn score(context: &mut Context, prompt: &str, names: &[&String], tokens: &mut usize, run: &Run) -> Result<Vec<f64>> {
    let model = context.model().clone();
    let trunk = model.tokenise(prompt, true, true)?;
    let mut branches = Vec::with_capacity(names.len());
    for name in names {
        // The end of the line is part of it: no name is the beginning of another. Half of a film's tokens are its year, which
        // says nothing.
        let mut branch = model.tokenise(&format!(" {}\n", without_year(name).trim()), false, false)?;
        branch.truncate(NAME_TOKENS);
        branches.push(branch);
    }
    let longest = branches.iter().map(Vec::len).max().unwrap_or(0);
    let size = context.batch_tokens();
    if trunk.is_empty() || trunk.len() + longest.max(size) >= context.context_tokens() || longest > size {
        return Err(Error::invalid(format!(
            "a prompt of {} tokens leaves no room for names in a context of {}: raise synthesize.context_tokens",
            trunk.len(),
            context.context_tokens()
        )));
    }
    context.clear();
    *tokens += trunk.len();
    let last = feed(context, &trunk, 0, run)?;
    let first = context.logits(last)?.to_vec();
    let first_sum = log_normaliser(&first)?;
    let mut batch = Batch::default();
    let at = |logits: &[f32], token: Token| usize::try_from(token).ok().and_then(|t| logits.get(t)).copied();
    let mut out: Vec<f64> = branches
        .iter()
        .map(|branch| branch.first().and_then(|t| at(&first, *t)).map_or(0.0, |z| f64::from(z) - first_sum))
        .collect();
    let mut next = 0;
    while next < branches.len() {
        // As many names as fit into one batch, each in a sequence of its own behind the prompt.
        let (start, mut used) = (next, 0);
        while next < branches.len() && next - start + 1 < context.sequences() {
            let more = branches[next].len().saturating_sub(1);
            if used + more > size {
                break;
            }
            used += more;
            next += 1;
        }
        batch.clear();
        let mut wanted: Vec<(usize, Token)> = Vec::new();
        for (sequence, place) in (start..next).enumerate() {
            context.forget_from(sequence + 1, 0);
            context.copy_sequence(0, sequence + 1)?;
            for (i, pair) in branches[place].windows(2).enumerate() {
                batch.push(pair[0], trunk.len() + i, sequence + 1, true);
                wanted.push((place, pair[1]));
            }
        }
        if next == start {
            return Err(Error::bug("no name fits into a batch"));
        }
        *tokens += batch.len();
        if batch.is_empty() {
            continue;
        }
        context.run_batch(&batch, run)?;
        for (i, (place, token)) in wanted.into_iter().enumerate() {
            let logits = context.logits(i)?;
            let sum = log_normaliser(logits)?;
            out[place] += at(logits, token).map_or(0.0, |z| f64::from(z) - sum);
        }
        for sequence in 1..=next - start {
            context.forget_from(sequence, 0);
        }
    }
    Ok(out.iter().zip(&branches).map(|(sum, branch)| sum / branch.len().max(1) as f64).collect())
}

/// The logarithm of the sum of the exponentials.
fn log_normaliser(logits: &[f32]) -> Result<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum = f64::from(logits.iter().map(|z| (z - most).exp()).sum::<f32>()).ln() + f64::from(most);
    match sum.is_finite() {
        true => Ok(sum),
        false => Err(Error::new(ErrorKind::Format, "the model's logits are no numbers: its weights are broken")),
    }
}
