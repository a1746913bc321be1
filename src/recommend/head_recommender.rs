//! The ranking head as a recommender: embeds the conversation, adds what it names, scores the catalogue.

use super::Recommender;
use super::query_window::{QueryWindow, query_text};
use crate::dataset::{Conversation, Items};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;
use crate::titles::Titles;
use crate::tune::{Head, NewItem};
use std::ops::Range;
use std::sync::Arc;

/// A head with its embedder.
pub struct HeadRecommender {
    name: String,
    head: Head,
    embedder: Arc<dyn Embedder>,
    /// None: the head reads the text alone.
    mentions: Option<Arc<Titles>>,
    context: QueryWindow,
}

impl HeadRecommender {
    /// `name` as reports show it (`head`; `zero-shot` for an untrained head); `mentions`: none to read the text alone.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when another embedder made the head, or it ranks another catalogue than `items`.
    pub fn new(
        name: impl Into<String>,
        head: Head,
        items: &Items,
        embedder: Arc<dyn Embedder>,
        mentions: Option<Arc<Titles>>,
        context: QueryWindow,
    ) -> Result<HeadRecommender> {
        if embedder.name() != head.embedder() {
            return Err(Error::invalid(format!(
                "ranking head: tuned on embedder {}, this one is {}; use the same, or tune again",
                head.embedder(),
                embedder.name()
            )));
        }
        let same = head.items() == items.len() && head.ids().iter().enumerate().all(|(row, id)| id == items.id(row));
        if !same {
            return Err(Error::invalid(format!(
                "ranking head: its {} items are not the {} of the catalogue in their order; tune again, or add the new items",
                head.items(),
                items.len()
            )));
        }
        Ok(HeadRecommender { name: name.into(), head, embedder, mentions, context })
    }
}

impl Recommender for HeadRecommender {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn items(&self) -> usize {
        self.head.items()
    }
    fn bytes(&self) -> u64 {
        self.head.bytes() + self.embedder.bytes()
    }
    fn window(&self) -> Option<QueryWindow> {
        Some(self.context)
    }
    fn score(&self, conversations: &[&Conversation], run: &Run) -> Result<Matrix> {
        let texts: Vec<String> = conversations.iter().map(|c| query_text(c, self.context)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let queries = self.embedder.embed(&texts, true, run)?;
        let named: Vec<Vec<u32>> = conversations
            .iter()
            .map(|c| self.mentions.as_ref().map_or_else(Vec::new, |m| m.of_conversation(c)))
            .collect();
        run.check()?;
        run.install(|| self.head.score(&queries, &named))
    }
    /// New items stand where their own texts put them.
    fn with_items(
        self: Arc<Self>,
        items: &Items,
        fresh: Range<usize>,
        titles: &Arc<Titles>,
        run: &Run,
    ) -> Result<Arc<dyn Recommender>> {
        let texts: Vec<String> = fresh.clone().map(|row| items.text(row)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = self.embedder.embed(&texts, false, run)?;
        let mut head = self.head.clone();
        for (n, row) in fresh.enumerate() {
            head.add_item(&NewItem { id: items.id(row).to_string(), vector: vectors.row(n).to_vec(), count: 0.0 })?;
        }
        let mentions = self.mentions.as_ref().map(|_| titles.clone());
        let embedder = self.embedder.clone();
        Ok(Arc::new(HeadRecommender::new(self.name.as_str(), head, items, embedder, mentions, self.context)?))
    }
}
