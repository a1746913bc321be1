//! Ranking by the catalogue's own titles: only what is in the trie can be named.

use super::answer::{LmAnswer, Mode};
use super::beam::{BeamOptions, ScoredTitle, beam, length_score, width_of};
use super::exact::score_titles;
use super::recommender::LmRecommender;
use super::trie::Trie;
use crate::dataset::Conversation;
use crate::error::{Error, ErrorKind, Result};
use crate::recommend::RankedItem;
use crate::run::Run;
use std::time::Instant;

impl LmRecommender {
    pub(super) fn constrained(
        &self,
        conversation: &Conversation,
        masked: &[u32],
        top_k: usize,
        deadline: Option<Instant>,
        answer: &mut LmAnswer,
        run: &Run,
    ) -> Result<()> {
        let trie = self.trie();
        let mut allowed = trie.allowed(masked);
        let wanted = top_k.min(trie.live());
        if allowed.count() == 0 {
            answer.exact = true;
            return Ok(());
        }
        let prompt = self.prompter.prompt(conversation, true)?;
        let adapters = self.adapters.current();
        let mut root: Vec<u32> = trie.children(&trie.root(), &allowed).map(|(token, _)| token).collect();
        let (mut lane, row) = self.prompted(&adapters, &prompt, &root, deadline, answer, run)?;
        let mut first = row.values;
        if first.iter().any(|p| p.is_nan()) {
            let path = self.model.header().path();
            return Err(Error::format(path, 0, "the model's logits are NaN: its weights are broken"));
        }
        lane.remember(prompt.view(), &self.cache)?;
        let late = || deadline.is_some_and(|d| Instant::now() >= d);
        let mut found: Vec<ScoredTitle> = Vec::new();
        let mut width = width_of(&self.config, wanted);
        answer.exact = true;
        if allowed.count() <= self.config.exact_items {
            let titles: Vec<u32> = allowed.within(trie.root().titles).collect();
            let of = |token: u32| root.binary_search(&token).map_or(f32::NEG_INFINITY, |at| first[at]);
            let mut session = lane.session(&adapters, deadline, run);
            let done = |title, log_probability| found.push(ScoredTitle { title, log_probability });
            let result = score_titles(&mut session, &trie, &titles, self.telling, &of, done);
            match result {
                Err(e) if e.kind() == ErrorKind::Cancelled && late() => answer.partial = true,
                other => other?,
            }
        } else {
            loop {
                let pairs: Vec<(u32, f32)> = root.iter().copied().zip(first.iter().copied()).collect();
                let options =
                    BeamOptions { width, top_k: wanted, length_power: self.config.length_power, telling: self.telling };
                let mut session = lane.session(&adapters, deadline, run);
                match beam(&mut session, &trie, &allowed, &pairs, options, &late) {
                    Ok(search) => {
                        answer.partial |= search.partial;
                        answer.exact &= search.exact;
                        answer.passes += search.passes;
                        answer.searched_tokens += search.tokens;
                        found.extend(search.found);
                    }
                    // The context is full: titles longer than most.
                    Err(e) if e.kind() == ErrorKind::Memory && width > 1 => {
                        width /= 2;
                        lane.prefill(&adapters, prompt.view(), &[], &self.cache, deadline, run)?;
                        continue;
                    }
                    Err(e) => return Err(e),
                }
                // A beam narrower than the answer: search again among what is left.
                let some = rank_found(&trie, &found, self.config.length_power, self.telling);
                if some.len() >= wanted || answer.partial {
                    break;
                }
                let mut left_out: Vec<u32> = masked.to_vec();
                left_out.extend(some.iter().map(|i| i.item));
                left_out.sort_unstable();
                left_out.dedup();
                allowed = trie.allowed(&left_out);
                if allowed.count() == 0 {
                    break;
                }
                answer.exact = false;
                let mut kept = Vec::new();
                let now: Vec<u32> = trie.children(&trie.root(), &allowed).map(|(token, _)| token).collect();
                for token in &now {
                    if let Ok(at) = root.binary_search(token) {
                        kept.push(first[at]);
                    }
                }
                (root, first) = (now, kept);
            }
        }
        answer.exact &= !answer.partial;
        answer.items = rank_found(&trie, &found, self.config.length_power, self.telling);
        answer.items.truncate(top_k);
        Ok(())
    }

    /// Ranks the items `rows` that the caller has, best first, each with its log-probability.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] in another mode than `constrained`, and for rows beyond the catalogue or removed;
    /// [`ErrorKind::Cancelled`].
    pub fn rerank(&self, conversation: &Conversation, rows: &[u32], run: &Run) -> Result<LmAnswer> {
        match self.mode {
            Mode::Constrained => {}
            Mode::Generate | Mode::Head => {
                return Err(Error::invalid("a list is reranked with recommend.mode = constrained"));
            }
        }
        let trie = self.trie();
        let mut answer = LmAnswer { exact: true, ..LmAnswer::default() };
        let mut titles = Vec::new();
        for row in rows {
            let of_it = trie.titles_of(*row);
            if of_it.is_empty() || trie.is_removed(*row) {
                return Err(Error::invalid(format!("item row {row} is not in the catalogue")));
            }
            titles.extend_from_slice(of_it);
        }
        titles.sort_unstable();
        titles.dedup();
        if titles.is_empty() {
            return Ok(answer);
        }
        let prompt = self.prompter.prompt(conversation, true)?;
        let adapters = self.adapters.current();
        let mut wants: Vec<u32> = titles.iter().filter_map(|t| trie.tokens(*t).first().copied()).collect();
        wants.sort_unstable();
        wants.dedup();
        let (mut lane, row) = self.prompted(&adapters, &prompt, &wants, None, &mut answer, run)?;
        let first = row.values;
        lane.remember(prompt.view(), &self.cache)?;
        let of = |token: u32| wants.binary_search(&token).map_or(f32::NEG_INFINITY, |at| first[at]);
        let mut found = Vec::new();
        let mut session = lane.session(&adapters, None, run);
        score_titles(&mut session, &trie, &titles, self.telling, &of, |title, log_probability| {
            found.push(ScoredTitle { title, log_probability });
        })?;
        answer.items = rank_found(&trie, &found, self.config.length_power, self.telling);
        Ok(answer)
    }
}

/// Items of the found titles, best first. An item found under several names has the sum of their probabilities.
fn rank_found(trie: &Trie, found: &[ScoredTitle], power: f64, telling: bool) -> Vec<RankedItem> {
    let mut found = found.to_vec();
    found.sort_unstable_by_key(|f| (trie.item(f.title), f.title));
    found.dedup_by_key(|f| f.title);
    let mut items: Vec<(RankedItem, f64)> = Vec::with_capacity(found.len());
    for names in found.chunk_by(|a, b| trie.item(a.title) == trie.item(b.title)) {
        let top = names.iter().map(|f| f.log_probability).fold(f64::NEG_INFINITY, f64::max);
        let total = match names {
            [one] => one.log_probability,
            _ => top + names.iter().map(|f| (f.log_probability - top).exp()).sum::<f64>().ln(),
        };
        let tokens = names.iter().map(|f| trie.ranked_tokens(f.title, telling).len()).min().unwrap_or(1);
        let score = length_score(total, tokens, power);
        if score.is_nan() || total == f64::NEG_INFINITY {
            continue;
        }
        let item = trie.item(names[0].title);
        items.push((RankedItem { item, score: score as f32, log_probability: Some(total as f32) }, score));
    }
    items.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.item.cmp(&b.0.item)));
    items.into_iter().map(|(item, _)| item).collect()
}
