//! What every recommender does.

use super::language_model::LanguageModel;
use super::query_window::QueryWindow;
use super::ranking::{Ranking, rank};
use crate::dataset::{Conversation, Items};
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;
use crate::titles::Titles;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Scores every item of the catalogue for a conversation.
pub trait Recommender: Send + Sync {
    /// Its name in reports: `popularity`, `nbcrs`, `head`.
    fn name(&self) -> String;
    /// Number of items in the catalogue that it scores.
    fn items(&self) -> usize;
    /// About how many bytes of memory it holds, beside the dataset and what finds titles in it.
    fn bytes(&self) -> u64 {
        0
    }
    /// How it cuts a conversation to what it reads; none where it reads none, or tells in its rankings by itself.
    fn window(&self) -> Option<QueryWindow> {
        None
    }
    /// Scores, `[conversations.len(), items]`; higher is better, `-inf` never recommended.
    /// What a conversation has seen is masked by [`rank`], not here.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`], and those of the embedder.
    fn score(&self, conversations: &[&Conversation], run: &Run) -> Result<Matrix>;
    /// The `top_k` best items of each conversation, none of `masked` (sorted item rows, one list per conversation). One
    /// that searches instead of scoring everything knows here what it may not find, and answers past `deadline` with what
    /// it has, marked partial.
    ///
    /// # Errors
    /// As [`Recommender::score`].
    fn rank_all(
        &self,
        conversations: &[&Conversation],
        masked: &[Vec<u32>],
        top_k: usize,
        _deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Vec<Ranking>> {
        let scores = self.score(conversations, run)?;
        let window = self.window();
        let ranking = |(row, conversation): (usize, &&Conversation)| {
            let masked = masked.get(row).map_or(&[][..], Vec::as_slice);
            let window = window.filter(|window| window.cuts(conversation)).map(QueryWindow::in_words);
            Ranking { items: rank(scores.row(row), masked, top_k), window, ..Ranking::default() }
        };
        Ok(conversations.iter().enumerate().map(ranking).collect())
    }
    /// The same over a catalogue that has grown by the rows `fresh` of `items`, whose titles are `titles`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for one that takes no new items; its own, with nothing changed.
    fn with_items(
        self: Arc<Self>,
        _items: &Items,
        _fresh: Range<usize>,
        _titles: &Arc<Titles>,
        _run: &Run,
    ) -> Result<Arc<dyn Recommender>> {
        Err(Error::unsupported(format!(
            "recommender: {} takes no new items; a ranking head and a language model do",
            self.name()
        )))
    }
    /// The same as a language model, where it is one.
    fn language_model(&self) -> Option<&dyn LanguageModel> {
        None
    }
}
