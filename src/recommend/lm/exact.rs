//! Every given title scored: teacher-forced log-probability behind one shared prompt.
//!
//! Titles are taken in the trie's order, as many as fit one forward pass. Of these, every distinct trie node is computed
//! once: its token belongs to all sequences (titles) that pass through it. Only the path at the edge between two passes is
//! computed twice. A title's last token is never put in: its probability is read behind the one before.

use super::session::{Session, Step, StepToken};
use super::trie::Trie;
use crate::error::{Error, Result};

/// The log-probabilities of `titles` (ascending), in nats; `telling`: of their telling tokens, see
/// [`Trie::ranked_tokens`]. `first`: that of every first token, by token, behind the prompt.
///
/// # Errors
/// Those of the session. [`crate::ErrorKind::Invalid`] for a title longer than a forward pass.
pub fn score_titles(
    session: &mut dyn Session,
    trie: &Trie,
    titles: &[u32],
    telling: bool,
    first: &dyn Fn(u32) -> f32,
    mut done: impl FnMut(u32, f64),
) -> Result<()> {
    let (room, sequences) = (session.batch_tokens().min(session.room()), session.sequences() - 1);
    let mut at = 0;
    while at < titles.len() {
        let mut pass = Pass::default();
        while let Some(title) = titles.get(at) {
            if !pass.add(*title, trie.ranked_tokens(*title, telling), room, sequences) {
                break;
            }
            at += 1;
        }
        if pass.titles.is_empty() {
            let length = titles.get(at).map_or(0, |t| trie.tokens(*t).len());
            return Err(Error::invalid(format!("a title of {length} tokens; a forward pass has room for {room}")));
        }
        pass.run(session, first, &mut done)?;
    }
    Ok(())
}

/// One forward pass: the tree of its titles.
#[derive(Default)]
struct Pass {
    nodes: Vec<TreeNode>,
    /// Node at each depth of the path last added.
    path: Vec<usize>,
    last: Vec<u32>,
    sequences: usize,
    /// Each title with the node that its last token follows (none: the prompt), and that token.
    titles: Vec<(u32, Option<usize>, u32)>,
}

struct TreeNode {
    token: u32,
    depth: usize,
    parent: Option<usize>,
    from: usize,
    to: usize,
    /// Tokens that follow it in some title, ascending.
    wants: Vec<u32>,
}

impl Pass {
    /// Adds a title; false when it does not fit any more.
    fn add(&mut self, title: u32, tokens: &[u32], room: usize, sequences: usize) -> bool {
        let inner = tokens.len() - 1;
        let shared = self.last.iter().zip(tokens).take_while(|(a, b)| a == b).count().min(self.path.len()).min(inner);
        let new = inner - shared;
        if self.nodes.len() + new > room || (new > 0 && self.sequences == sequences) {
            return false;
        }
        if new > 0 {
            let sequence = self.sequences;
            self.sequences += 1;
            self.path.truncate(shared);
            for at in &self.path {
                self.nodes[*at].to = sequence + 1;
            }
            for depth in shared..inner {
                let parent = self.path.last().copied();
                self.path.push(self.nodes.len());
                let (from, to) = (sequence, sequence + 1);
                self.nodes.push(TreeNode { token: tokens[depth], depth, parent, from, to, wants: Vec::new() });
            }
        }
        // Every token of the title is wanted behind the one before.
        for depth in 1..tokens.len() {
            let wants = &mut self.nodes[self.path[depth - 1]].wants;
            if wants.last() != Some(&tokens[depth]) {
                wants.push(tokens[depth]);
            }
        }
        self.titles.push((title, inner.checked_sub(1).map(|d| self.path[d]), tokens[inner]));
        self.last.clear();
        self.last.extend_from_slice(&tokens[..inner]);
        true
    }

    fn run(
        &self,
        session: &mut dyn Session,
        first: &dyn Fn(u32) -> f32,
        done: &mut impl FnMut(u32, f64),
    ) -> Result<()> {
        let base = session.prompt_tokens();
        let rows = if self.nodes.is_empty() {
            Vec::new()
        } else {
            let all = 1..=self.sequences;
            let tokens = self.nodes.iter().map(|n| StepToken {
                token: n.token,
                position: base + n.depth,
                sequences: n.from + 1..n.to + 1,
                wants: Some(n.wants.clone()),
            });
            let step = Step {
                drop: all.clone().collect(),
                fork: all.clone().map(|to| (0, to)).collect(),
                tokens: tokens.collect(),
            };
            let rows = session.step(&step)?;
            session.step(&Step { drop: all.collect(), ..Step::default() })?;
            rows
        };
        // Log-probability of the path that ends in each node.
        let mut sums: Vec<f64> = Vec::with_capacity(self.nodes.len());
        let behind = |at: usize, token: u32| -> f64 {
            let wants = &self.nodes[at].wants;
            let place = wants.binary_search(&token).ok();
            f64::from(place.and_then(|p| rows.get(at)?.values.get(p)).copied().unwrap_or(f32::NEG_INFINITY))
        };
        for node in &self.nodes {
            let sum = match node.parent {
                Some(parent) => sums[parent] + behind(parent, node.token),
                None => f64::from(first(node.token)),
            };
            sums.push(sum);
        }
        for (title, parent, last) in &self.titles {
            let last = *last;
            let sum = match parent {
                Some(parent) => sums[*parent] + behind(*parent, last),
                None => f64::from(first(last)),
            };
            done(*title, sum);
        }
        Ok(())
    }
}
