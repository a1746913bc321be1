//! The paper's way: the model writes a list, which is parsed and looked up in the catalogue (§3.4, §4.2.1).

use super::answer::LmAnswer;
use super::recommender::LmRecommender;
use crate::dataset::Conversation;
use crate::error::{ErrorKind, Result};
use crate::llama::{Token, whole_characters};
use crate::recommend::RankedItem;
use crate::run::Run;
use crate::titles::parse_titles;
use std::collections::HashSet;
use std::time::Instant;

/// Tokens of one line at most; a model that rambles is stopped.
const LINE_TOKENS: usize = 48;

impl LmRecommender {
    /// Writes `top_k` lines greedily, then reads them: titles of the catalogue become items in the order written, those
    /// that are not are reported, masked and repeated ones are left out. [`Run::token`] gets the text as it is written.
    pub(super) fn generate(
        &self,
        conversation: &Conversation,
        masked: &[u32],
        top_k: usize,
        deadline: Option<Instant>,
        answer: &mut LmAnswer,
        run: &Run,
    ) -> Result<()> {
        let titles = self.titles();
        let prompt = self.prompter.prompt(conversation, false)?;
        let adapters = self.adapters.current();
        let (mut lane, row) = self.prompted(&adapters, &prompt, &[], deadline, answer, run)?;
        lane.remember(prompt.view(), &self.cache)?;
        let mut next = row.best;
        let mut bytes: Vec<u8> = Vec::new();
        let most = (top_k.saturating_mul(LINE_TOKENS)).min(self.lane.search_tokens.saturating_sub(1));
        let (mut lines, mut told) = (0, 0);
        for n in 0..most {
            let token = next as Token;
            answer.searched_tokens += 1;
            if self.model.is_end(token) {
                break;
            }
            let piece = self.model.piece(token, false);
            lines += piece.iter().filter(|b| **b == b'\n').count();
            bytes.extend(piece);
            let whole = whole_characters(&bytes);
            if whole.len() > told {
                run.token(&String::from_utf8_lossy(whole.get(told..).unwrap_or_default()))?;
                told = whole.len();
            }
            if lines >= top_k {
                break;
            }
            match lane.advance(&adapters, next, prompt.tokens.len() + n, deadline, run) {
                Ok(best) => {
                    next = best;
                    answer.passes += 1;
                }
                Err(e) if e.kind() == ErrorKind::Cancelled && !run.is_cancelled() => {
                    answer.partial = true;
                    break;
                }
                Err(e) if e.kind() == ErrorKind::Memory => break,
                Err(e) => return Err(e),
            }
        }
        run.token("")?;
        let text = String::from_utf8_lossy(&bytes);
        let mut once = HashSet::new();
        let mut rows = Vec::new();
        for title in parse_titles(&text) {
            match titles.ground(&title.title, title.year) {
                Some(row) => rows.push(row),
                None => answer.out_of_catalogue.push(match title.year {
                    Some(year) => format!("{} ({year})", title.title),
                    None => title.title,
                }),
            }
        }
        if rows.is_empty() {
            // No list at all: titles in running text.
            rows = titles.find(&text).into_iter().map(|m| m.item).collect();
        }
        let trie = self.trie();
        rows.retain(|row| masked.binary_search(row).is_err() && !trie.is_removed(*row) && once.insert(*row));
        rows.truncate(top_k);
        let item = |(place, item)| RankedItem { item, score: -(place as f32), log_probability: None };
        answer.items = rows.into_iter().enumerate().map(item).collect();
        Ok(())
    }
}
