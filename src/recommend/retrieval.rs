//! The retrieval as a recommender: eleven signals and their weights ([`crate::retrieve`]), no training on dialogues.

use super::Recommender;
use super::query_window::{QueryWindow, query_text};
use crate::dataset::{Conversation, Dataset};
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::retrieve::{Retriever, Wish};
use crate::run::Run;
use crate::titles::Titles;
use rayon::prelude::*;
use std::sync::Arc;

/// Ranks what the retrieval finds for the items that a conversation speaks of and the words of its query.
pub struct Retrieval {
    retriever: Retriever,
    titles: Arc<Titles>,
    context: QueryWindow,
    items: usize,
}

impl Retrieval {
    /// Reads the dataset: about a second per 100 MB of its texts.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an empty catalogue; [`crate::ErrorKind::Cancelled`].
    pub fn new(dataset: &Dataset, titles: Arc<Titles>, context: QueryWindow, run: &Run) -> Result<Retrieval> {
        if dataset.items.is_empty() {
            return Err(Error::invalid("retrieval: the catalogue is empty; import items first"));
        }
        Ok(Retrieval { retriever: Retriever::new(dataset, run)?, titles, context, items: dataset.items.len() })
    }
}

impl Recommender for Retrieval {
    fn name(&self) -> String {
        "retrieval".into()
    }
    fn items(&self) -> usize {
        self.items
    }
    fn bytes(&self) -> u64 {
        self.retriever.bytes()
    }
    fn window(&self) -> Option<QueryWindow> {
        Some(self.context)
    }
    fn score(&self, conversations: &[&Conversation], run: &Run) -> Result<Matrix> {
        run.check()?;
        let mut scores = Matrix::zeros(conversations.len(), self.items);
        run.install(|| {
            let rows = scores.data_mut().par_chunks_exact_mut(self.items);
            rows.zip(conversations.par_iter()).for_each(|(row, conversation)| {
                let words = Wish::read(&self.titles, &query_text(conversation, self.context)).words;
                let wish = Wish { items: self.titles.of_conversation(conversation), words };
                row.copy_from_slice(&self.retriever.scores(&wish));
            });
        });
        run.check()?;
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ranking::rank;
    use super::super::testing::conversation;
    use super::*;
    use crate::dataset::{Item, Review};
    use crate::recommend::Speakers;

    #[test]
    fn what_is_like_what_was_named_and_asked_for_comes_first() {
        let mut data = Dataset::default();
        let texts = ["slow and sad, with rain", "slow and sad, with snow", "loud cars explode", "loud guns explode"];
        for (n, text) in texts.iter().enumerate() {
            let (id, title) = (format!("i{n}"), format!("Title Number {}", ["Aa", "Bb", "Cc", "Dd"][n]));
            data.add_item(&Item { id: id.clone(), title, ..Default::default() }).unwrap();
            for _ in 0..3 {
                data.add_review(&Review { item: id.clone(), text: (*text).into(), ..Default::default() }).unwrap();
            }
        }
        let titles = Arc::new(Titles::of(&data));
        let run = Run::new(2).unwrap();
        let window = QueryWindow { speakers: Speakers::User, turns: 0, chars: 0 };
        let retrieval = Retrieval::new(&data, titles, window, &run).unwrap();
        let first = |said: &str, masked: &[u32]| {
            let talk = conversation(&[said]);
            rank(retrieval.score(&[&talk], &run).unwrap().row(0), masked, 1)[0].item
        };
        assert_eq!(first("I liked Title Number Aa", &[0]), 1);
        assert_eq!(first("something where guns explode", &[]), 3);
        assert_eq!(retrieval.items(), 4);
        assert!(retrieval.bytes() > 0);
        let e = Retrieval::new(&Dataset::default(), Arc::new(Titles::of(&Dataset::default())), window, &run);
        assert!(e.is_err_and(|e| e.message().contains("the catalogue is empty")));
    }
}
