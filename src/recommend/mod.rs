//! Room 6, recommend: a conversation → ranked items, only ones that are in the catalogue and allowed.

pub mod chat;
mod evidence;
mod fusion;
mod head_recommender;
#[cfg(feature = "llama")]
pub mod lm;
mod nbcrs;
mod nbcrs_store;
mod neighbours;
mod popularity;
mod query_window;
mod request;
#[cfg(test)]
mod testing;

pub use evidence::{Evidence, excerpt};
pub use fusion::Fusion;
pub use head_recommender::HeadRecommender;
pub use nbcrs::{CANDIDATES, Datastore, Nbcrs, Posts};
pub use neighbours::Neighbour;
pub use popularity::Popularity;
pub use query_window::{QueryWindow, Speakers, query_text};
pub use request::{Request, recommend};
#[cfg(feature = "capi")]
pub(crate) use request::{allowed_rows, excluded_rows, mask};

use crate::dataset::Conversation;
use crate::error::Result;
use crate::math::Matrix;
use crate::run::Run;

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
    /// The same as a language model, whose items and adapters can be exchanged while it serves; none for others.
    #[cfg(feature = "llama")]
    fn language_model(self: std::sync::Arc<Self>) -> Option<std::sync::Arc<lm::LmRecommender>> {
        None
    }
    /// Scores, `[conversations.len(), items]`; higher is better, `-inf` never recommended.
    /// What a conversation has seen is masked by [`rank`], not here.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`], and those of the embedder.
    fn score(&self, conversations: &[&Conversation], run: &Run) -> Result<Matrix>;
    /// The `top_k` best items of each conversation, none of `masked` (sorted item rows, one list per conversation). One
    /// that searches instead of scoring everything knows here what it may not find.
    ///
    /// # Errors
    /// As [`Recommender::score`].
    fn rank_all(
        &self,
        conversations: &[&Conversation],
        masked: &[Vec<u32>],
        top_k: usize,
        run: &Run,
    ) -> Result<Vec<Vec<Ranked>>> {
        let scores = self.score(conversations, run)?;
        let masked_of = |row: usize| masked.get(row).map_or(&[][..], Vec::as_slice);
        Ok((0..scores.rows()).map(|row| rank(scores.row(row), masked_of(row), top_k)).collect())
    }
}

/// One recommended item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Row in the catalogue.
    pub item: u32,
    /// Its score.
    pub score: f32,
}

/// The `top_k` best items whose score is not `-inf` and that `masked` does not hold (sorted item rows);
/// ties go to the lowest item row. The one place where seen and excluded items are removed.
pub fn rank(scores: &[f32], masked: &[u32], top_k: usize) -> Vec<Ranked> {
    // Both are in the order of rows: where an allow list masks a million of them, each is passed once.
    let mut masked = masked.iter().copied().peekable();
    let mut free = |item: u32| {
        while masked.next_if(|row| *row < item).is_some() {}
        masked.peek() != Some(&item)
    };
    let mut ranked: Vec<Ranked> = scores
        .iter()
        .enumerate()
        .map(|(item, &score)| Ranked { item: item as u32, score })
        .filter(|r| free(r.item) && r.score > f32::NEG_INFINITY)
        .collect();
    let order = |a: &Ranked, b: &Ranked| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item));
    if ranked.len() > top_k {
        if top_k == 0 {
            return Vec::new();
        }
        ranked.select_nth_unstable_by(top_k - 1, order);
        ranked.truncate(top_k);
    }
    ranked.sort_unstable_by(order);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lowest_row_and_masked_items_never_come_back() {
        let scores = [1.0, 3.0, 3.0, f32::NEG_INFINITY, 2.0, f32::NAN];
        let items = |masked: &[u32], k| rank(&scores, masked, k).iter().map(|r| r.item).collect::<Vec<_>>();
        assert_eq!(items(&[], 2), [1, 2]);
        assert_eq!(items(&[1], 10), [2, 4, 0]);
        assert_eq!(items(&[], 0), [0u32; 0]);
        // A list of masked rows in which some stand twice, or stand past the end, masks the same.
        assert_eq!(items(&[0, 1, 1, 2, 9], 10), [4]);
    }
}
