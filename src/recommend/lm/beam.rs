//! Beam search over the catalogue trie.
//!
//! A round takes the `width` likeliest open nodes and computes, for all of them in one forward pass, the node's last token
//! and every token behind it up to the next place where the trie branches: forced tokens are neither sampled nor given a
//! pass of their own, but their probabilities count. A catalogue of 10,000 titles so takes three to five passes. What one
//! title alone is left of is finished in the same pass.
//!
//! An open node can be left out for good once it cannot beat the k-th best finished title: log-probabilities only fall.
//! Where all that the width left out is of that kind in the end, the answer is the exact one and says so.

use super::session::{Session, Step, StepToken};
use super::trie::{Allowed, Node, Trie};
use crate::config::RecommendConfig;
use crate::error::{ErrorKind, Result};

/// How a search is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BeamOptions {
    /// Nodes kept per round.
    pub width: usize,
    /// Items wanted.
    pub top_k: usize,
    /// Titles are ranked by log-probability / tokens^power: 0 by the probability itself.
    pub length_power: f64,
    /// A title is finished with the token that tells it from all others; what is forced behind it is not computed.
    pub telling: bool,
}

/// A finished title.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredTitle {
    /// The title's number in the trie.
    pub title: u32,
    /// Log-probability, in nats.
    pub log_probability: f64,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Search {
    /// Finished titles, in no order.
    pub found: Vec<ScoredTitle>,
    /// The deadline came first.
    pub partial: bool,
    /// No title that was left out can be among the `top_k`.
    pub exact: bool,
    /// Forward passes.
    pub passes: usize,
    /// Tokens computed.
    pub tokens: usize,
}

struct Open {
    node: Node,
    /// The token that led here; not computed yet.
    token: u32,
    log_probability: f64,
    /// Sequence that holds everything before `token`.
    sequence: usize,
}

/// A token of a node's run with the children that were asked for behind it.
struct Run {
    at: usize,
    children: Vec<(u32, Node)>,
}

/// The rank of a title of `tokens` tokens: higher is better.
pub fn length_score(log_probability: f64, tokens: usize, power: f64) -> f64 {
    if power == 0.0 { log_probability } else { log_probability / (tokens.max(1) as f64).powf(power) }
}

/// Searches the allowed titles. `first`: log-probability of a first token behind the prompt.
///
/// # Errors
/// Those of the session, but for a deadline (`past`): then what is finished comes back as partial.
pub fn beam(
    session: &mut dyn Session,
    trie: &Trie,
    allowed: &Allowed,
    first: &[(u32, f32)],
    options: BeamOptions,
    past: &dyn Fn() -> bool,
) -> Result<Search> {
    let mut search = Search::default();
    // The likeliest node that was left out for want of room.
    let mut left_out = f64::NEG_INFINITY;
    let width = options.width.min((session.sequences() - 1) / 2).max(1);
    let mut open: Vec<Open> = Vec::new();
    // Several titles may name one item: then the k-th best item is at least as good as so many titles' last.
    let k = options.top_k.saturating_mul(trie.most_titles());
    let mut best =
        Best { scores: Vec::new(), k, power: options.length_power, longest: trie.longest(), telling: options.telling };
    for ((token, node), (_, log_probability)) in trie.children(&trie.root(), allowed).zip(first) {
        let log_probability = f64::from(*log_probability);
        settle(trie, allowed, &node, log_probability, &mut search.found, &mut best);
        open.push(Open { node, token, log_probability, sequence: 0 });
    }
    // Two sets of sequences take turns: the round's own, and its parents'.
    let mut mine = 1;
    loop {
        keep(trie, allowed, &mut open, width, &best, &mut left_out);
        if open.is_empty() {
            break;
        }
        if past() {
            search.partial = true;
            break;
        }
        let mut step = Step { drop: (mine..mine + width).collect(), ..Step::default() };
        let mut runs: Vec<Vec<Run>> = Vec::with_capacity(open.len());
        for (n, hypothesis) in open.iter().enumerate() {
            let sequence = mine + n;
            step.fork.push((hypothesis.sequence, sequence));
            let base = session.prompt_tokens();
            runs.push(run_of(trie, allowed, hypothesis, (sequence, base), options.telling, &mut step.tokens));
        }
        search.passes += 1;
        search.tokens += step.tokens.len();
        let rows = match session.step(&step) {
            Ok(rows) => rows,
            Err(e) if e.kind() == ErrorKind::Cancelled && past() => {
                search.partial = true;
                break;
            }
            Err(e) => return Err(e),
        };
        let mut next = Vec::new();
        for (n, (hypothesis, run)) in open.iter().zip(&runs).enumerate() {
            let mut sum = hypothesis.log_probability;
            for part in run {
                let before = sum;
                for ((token, child), log_probability) in
                    part.children.iter().zip(rows.get(part.at).into_iter().flat_map(|row| &row.values))
                {
                    sum = before + f64::from(*log_probability);
                    settle(trie, allowed, child, sum, &mut search.found, &mut best);
                    // Only behind the last token of the run does the trie branch; before, the child is the run itself.
                    if std::ptr::eq(part, &run[run.len() - 1]) {
                        next.push(Open {
                            node: child.clone(),
                            token: *token,
                            log_probability: sum,
                            sequence: mine + n,
                        });
                    }
                }
            }
        }
        open = next;
        mine = if mine == 1 { 1 + width } else { 1 };
    }
    let all = 1..session.sequences();
    if !search.partial {
        session.step(&Step { drop: all.collect(), ..Step::default() })?;
    }
    search.exact = !search.partial && !best.may_win(left_out);
    Ok(search)
}

/// Takes down the titles that end at `node`.
fn settle(trie: &Trie, allowed: &Allowed, node: &Node, sum: f64, found: &mut Vec<ScoredTitle>, best: &mut Best) {
    for title in allowed.within(node.titles.start..rest(trie, allowed, node, best.telling)) {
        found.push(ScoredTitle { title, log_probability: sum });
        best.add(length_score(sum, node.depth, best.power));
    }
}

/// Where the titles of `node` begin that go on behind it; its end where none does.
fn rest(trie: &Trie, allowed: &Allowed, node: &Node, telling: bool) -> u32 {
    // All of one name: and told from every other already.
    let told = |title: u32| {
        trie.ranked_tokens(title, true).len() <= node.depth && trie.tokens(title) == trie.tokens(node.titles.end - 1)
    };
    if telling && allowed.next(node.titles.start, node.titles.end).is_some_and(told) {
        return node.titles.end;
    }
    trie.ending(node).end
}

fn goes_on(trie: &Trie, allowed: &Allowed, node: &Node, telling: bool) -> bool {
    allowed.next(rest(trie, allowed, node, telling), node.titles.end).is_some()
}

/// Leaves out nodes that are finished, that cannot win any more, and those beyond the width.
fn keep(trie: &Trie, allowed: &Allowed, open: &mut Vec<Open>, width: usize, best: &Best, left_out: &mut f64) {
    open.retain(|o| goes_on(trie, allowed, &o.node, best.telling) && best.may_win(o.log_probability));
    // Ties go to the lower title, so that the same request has the same answer.
    let order = |a: &Open, b: &Open| {
        b.log_probability.total_cmp(&a.log_probability).then(a.node.titles.start.cmp(&b.node.titles.start))
    };
    open.sort_unstable_by(order);
    if let Some(first) = open.get(width) {
        *left_out = left_out.max(first.log_probability);
        open.truncate(width);
    }
}

/// The tokens that an open node needs: its own, then as far as there is but one way on.
fn run_of(
    trie: &Trie,
    allowed: &Allowed,
    open: &Open,
    (sequence, base): (usize, usize),
    telling: bool,
    tokens: &mut Vec<StepToken>,
) -> Vec<Run> {
    let mut run = Vec::new();
    let (mut node, mut token) = (open.node.clone(), open.token);
    loop {
        let children: Vec<(u32, Node)> = trie.children(&node, allowed).collect();
        let at = tokens.len();
        let wants = Some(children.iter().map(|(t, _)| *t).collect());
        tokens.push(StepToken { token, position: base + node.depth - 1, sequences: sequence..sequence + 1, wants });
        let forced = match children.as_slice() {
            [(only, child)] => Some((*only, child.clone())),
            _ => None,
        };
        run.push(Run { at, children });
        match forced {
            // A title's last token is never computed: nothing is wanted behind it.
            Some((only, child)) if goes_on(trie, allowed, &child, telling) => {
                (token, node) = (only, child);
            }
            Some(_) | None => return run,
        }
    }
}

/// The scores of the best titles so far.
struct Best {
    /// Descending, `k` at most.
    scores: Vec<f64>,
    k: usize,
    power: f64,
    longest: usize,
    telling: bool,
}

impl Best {
    fn add(&mut self, score: f64) {
        let at = self.scores.partition_point(|s| *s >= score);
        if at < self.k {
            self.scores.insert(at, score);
            self.scores.truncate(self.k);
        }
    }
    /// True while a title that goes on from this log-probability could come among the best.
    fn may_win(&self, log_probability: f64) -> bool {
        if log_probability == f64::NEG_INFINITY || log_probability.is_nan() {
            return false;
        }
        if self.scores.len() < self.k {
            return true;
        }
        // The kindest case: nothing more is lost, and the title is as long as any.
        let bound = length_score(log_probability, self.longest, self.power);
        self.scores.last().is_some_and(|worst| bound >= *worst)
    }
}

/// Nodes kept per round for an answer of `top_k` items: a quarter more, so that a title with a dull first word is
/// not lost at once.
pub fn width_of(config: &RecommendConfig, top_k: usize) -> usize {
    match config.beam {
        0 => (top_k + top_k / 4).max(8),
        beam => beam,
    }
}
