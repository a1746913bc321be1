//! A service: answers, explains, scores, takes new items, exchanges adapters.

use super::mask::Mask;
use super::query::Query;
use crate::config::RecommendConfig;
use crate::dataset::{Conversation, Dataset, Item, Items};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::recommend::{
    Evidence, LanguageModel, Neighbour, QueryWindow, RankedItem, Ranking, Recommender, Sentence, TokenCount, query_text,
};
use crate::run::Run;
use crate::titles::Titles;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What a service is made of.
pub struct Parts {
    /// Who ranks, as callers call it: `head`, `nbcrs`, `lm`.
    pub system: String,
    /// Items and reviews.
    pub dataset: Arc<Dataset>,
    /// Finds titles in what is said.
    pub titles: Arc<Titles>,
    /// Scores the catalogue.
    pub recommender: Arc<dyn Recommender>,
    /// Review rows, `[reviews, dim]`, and what embeds a conversation beside them; none where nothing is explained.
    pub evidence: Option<(Arc<Matrix>, Arc<dyn Embedder>)>,
    /// Items in an answer by default, and how a conversation is cut.
    pub settings: RecommendConfig,
}

/// A recommender and what its answers are explained with, ready to be asked from any thread.
pub struct Service {
    system: String,
    dataset: Arc<Dataset>,
    titles: Arc<Titles>,
    recommender: Arc<dyn Recommender>,
    evidence: Option<(Evidence, Arc<dyn Embedder>)>,
    window: QueryWindow,
    settings: RecommendConfig,
}

/// The answer to one [`Query`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Best first, each once.
    pub items: Vec<RankedItem>,
    /// For each item those of its reviews that lie nearest to what was said, nearest first; empty where none were asked for.
    pub evidence: Vec<Vec<Neighbour>>,
    /// The conversation was longer than what the recommender reads.
    pub truncated: bool,
    /// The time was up before the search was: these are the items found by then.
    pub partial: bool,
    /// What the caller should know: names that are not in the catalogue, and the two above.
    pub warnings: Vec<String>,
    /// What a language model read and wrote for it.
    pub tokens: TokenCount,
}

impl Service {
    /// A service of its parts.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the parts are not of one catalogue.
    pub fn new(parts: Parts) -> Result<Service> {
        let Parts { system, dataset, titles, recommender, evidence, settings } = parts;
        if recommender.items() != dataset.items.len() {
            return Err(Error::invalid(format!(
                "recommend: {} scores {} items, the catalogue has {}; build it again for this catalogue",
                recommender.name(),
                recommender.items(),
                dataset.items.len()
            )));
        }
        let window = QueryWindow::from_config(&settings);
        let evidence = match evidence {
            Some((rows, embedder)) => Some((Evidence::new(&dataset, rows)?, embedder)),
            None => None,
        };
        Ok(Service { system, dataset, titles, recommender, evidence, window, settings })
    }
    /// The same, giving `top_k` items and `explain` reviews behind each where a query does not say.
    pub fn with_defaults(mut self, top_k: usize, explain: usize) -> Service {
        (self.settings.top_k, self.settings.explain) = (top_k, explain);
        self
    }
    /// The same without the reviews' embeddings: it explains nothing and holds less.
    pub fn without_evidence(self) -> Service {
        Service { evidence: None, ..self }
    }

    /// Who ranks, as callers call it.
    pub fn system(&self) -> &str {
        &self.system
    }
    /// Who ranks.
    pub fn recommender(&self) -> &dyn Recommender {
        &*self.recommender
    }
    /// Items and reviews.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }
    /// The catalogue.
    pub fn items(&self) -> &Items {
        &self.dataset.items
    }
    /// What finds titles in what is said.
    pub fn titles(&self) -> &Arc<Titles> {
        &self.titles
    }
    /// The settings it answers under.
    pub fn settings(&self) -> &RecommendConfig {
        &self.settings
    }
    /// About how many bytes it holds: the dataset, the rows and weights of who ranks, what explains.
    pub fn bytes(&self) -> u64 {
        let evidence = self.evidence.as_ref().map_or(0, |(evidence, embedder)| evidence.bytes() + embedder.bytes());
        self.dataset.bytes() + self.titles.bytes() + self.recommender.bytes() + evidence
    }

    /// Answers one query with its `top_k` best items (of the query, else `recommend.top_k`).
    ///
    /// # Errors
    /// As [`Service::answer_all`].
    pub fn answer(&self, query: &Query, run: &Run) -> Result<Answer> {
        let top_k = query.top_k.unwrap_or(self.settings.top_k);
        let answer = self.answer_all(&[query], top_k, &[], None, run)?.pop();
        answer.ok_or_else(|| Error::bug("recommend: one query and no answer"))
    }

    /// Answers queries, each with its `top_k` best items, or as many as itself asks for where that is less, none of `withdrawn`
    /// (item rows). Past `deadline` one that searches answers with what it has.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a row past the end of the catalogue; [`crate::ErrorKind::NotFound`] when none of the
    /// ids that alone may come back is there; [`crate::ErrorKind::Unsupported`] for reasons where there are none to give;
    /// those of the recommender.
    pub fn answer_all(
        &self,
        queries: &[&Query],
        top_k: usize,
        withdrawn: &[u32],
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Vec<Answer>> {
        if self.evidence.is_none() && queries.iter().any(|query| self.reasons(query) > 0) {
            return Err(Error::unsupported(format!(
                "recommend: {} keeps no reviews to explain with; set recommend.explain before it is opened, on a work \
                 directory or with embeddings",
                self.recommender.name()
            )));
        }
        let mut masks = queries.iter().map(|query| self.mask(query, withdrawn)).collect::<Result<Vec<_>>>()?;
        // What may name nothing is not asked.
        let asked: Vec<usize> = (0..queries.len()).filter(|i| masks[*i].rows.is_some()).collect();
        let masked: Vec<Vec<u32>> = asked.iter().filter_map(|i| masks[*i].rows.take()).collect();
        let conversations: Vec<&Conversation> = asked.iter().map(|i| masks[*i].conversation(queries[*i])).collect();
        let mut rankings = vec![Ranking::default(); queries.len()];
        if !asked.is_empty() {
            let found = self.recommender.rank_all(&conversations, &masked, top_k, deadline, run)?;
            if found.len() != asked.len() {
                return Err(Error::bug(format!("recommend: {} answers to {} queries", found.len(), asked.len())));
            }
            let known = self.dataset.items.len();
            for (i, mut found) in asked.iter().zip(found) {
                // A language model may rank items that joined meanwhile: this answer is of the catalogue before them.
                found.items.retain(|one| (one.item as usize) < known);
                found.items.truncate(queries[*i].top_k.unwrap_or(top_k));
                rankings[*i] = found;
            }
        }
        let all = queries.iter().zip(masks).zip(rankings);
        all.map(|((query, mask), ranking)| {
            let count = self.reasons(query);
            let evidence = self.evidence_of(mask.conversation(query), &ranking.items, count, run)?;
            let mut warnings = query.warnings.clone();
            warnings.extend(mask.warnings);
            if let Some(window) = &ranking.window {
                warnings.push(format!("the conversation is long: {window} were read"));
            }
            if ranking.partial {
                warnings.push("the time was up: these are the items found by then".into());
            } else if query.allow.as_ref().is_some_and(|allow| allow.is_empty()) {
                warnings.push(
                    "nothing is left: an empty allow list allows nothing; leave it out to allow every item".into(),
                );
            } else if ranking.items.is_empty() && top_k > 0 {
                warnings.push("nothing is left: every item is seen, excluded, withdrawn or not allowed".into());
            }
            run.check()?;
            Ok(Answer {
                items: ranking.items,
                evidence,
                truncated: ranking.window.is_some(),
                partial: ranking.partial,
                warnings,
                tokens: ranking.tokens,
            })
        })
        .collect()
    }

    fn mask(&self, query: &Query, withdrawn: &[u32]) -> Result<Mask> {
        Mask::new(query, withdrawn, &self.dataset.items, &self.titles)
    }

    /// Reviews behind each item of a query's answer.
    fn reasons(&self, query: &Query) -> usize {
        query.explain.unwrap_or(self.settings.explain)
    }

    /// For each of `items` at most `count` of its reviews, nearest to what was said first.
    fn evidence_of(
        &self,
        conversation: &Conversation,
        items: &[RankedItem],
        count: usize,
        run: &Run,
    ) -> Result<Vec<Vec<Neighbour>>> {
        let Some((evidence, embedder)) = self.evidence.as_ref().filter(|_| count > 0 && !items.is_empty()) else {
            return Ok(Vec::new());
        };
        let query = embedder.embed(&[&query_text(conversation, self.window)], true, run)?;
        items.iter().map(|item| evidence.of(item.item, query.row(0), count)).collect()
    }

    /// Whether the reviews' embeddings are at hand.
    pub fn explains(&self) -> bool {
        self.evidence.is_some()
    }
    /// At most `count` reviews of `item`, nearest to what was said first.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where the reviews' embeddings are not at hand; those of the embedder.
    pub fn explain(&self, conversation: &Conversation, item: u32, count: usize, run: &Run) -> Result<Vec<Neighbour>> {
        if self.evidence.is_none() {
            return Err(Error::unsupported("recommend: the reviews' embeddings are not at hand"));
        }
        let item = RankedItem { item, score: 0.0, log_probability: None };
        Ok(self.evidence_of(conversation, &[item], count, run)?.pop().unwrap_or_default())
    }

    /// Scores of all items, `[queries, items]`; -infinity for those that a query masks.
    ///
    /// # Errors
    /// As [`Service::answer_all`].
    pub fn scores(&self, queries: &[&Query], run: &Run) -> Result<Matrix> {
        let masks = queries.iter().map(|query| self.mask(query, &[])).collect::<Result<Vec<_>>>()?;
        let conversations: Vec<&Conversation> =
            masks.iter().zip(queries).map(|(mask, query)| mask.conversation(query)).collect();
        let mut scores = self.recommender.score(&conversations, run)?;
        let known = self.dataset.items.len();
        if scores.rows() != queries.len() || scores.dim() < known {
            return Err(Error::bug(format!("score: [{}, {}] scores", scores.rows(), scores.dim())));
        }
        if scores.dim() > known {
            // Items joined a language model meanwhile: these scores are of the catalogue before them.
            let rows = (0..scores.rows()).flat_map(|row| scores.row(row)[..known].to_vec()).collect();
            scores = Matrix::from_vec(queries.len(), known, rows)?;
        }
        for (i, mask) in masks.iter().enumerate() {
            let scores = scores.row_mut(i);
            match &mask.rows {
                None => scores.fill(f32::NEG_INFINITY),
                Some(masked) => masked.iter().for_each(|item| scores[*item as usize] = f32::NEG_INFINITY),
            }
        }
        Ok(scores)
    }

    /// The same service with further items, or nothing changed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a recommender that takes none; [`crate::ErrorKind::Invalid`] for an id that is
    /// there.
    pub fn with_items(&self, items: &[Item], run: &Run) -> Result<Service> {
        let mut dataset = Dataset::clone(&self.dataset);
        let first = dataset.items.len();
        for item in items {
            dataset.add_item(item)?;
        }
        let titles = Arc::new(Titles::of(&dataset));
        let fresh = first..dataset.items.len();
        let recommender = self.recommender.clone().with_items(&dataset.items, fresh, &titles, run)?;
        let grown = |(evidence, embedder): &(Evidence, Arc<dyn Embedder>)| {
            (evidence.grown(dataset.items.len()), embedder.clone())
        };
        Ok(Service {
            system: self.system.clone(),
            evidence: self.evidence.as_ref().map(grown),
            titles,
            recommender,
            window: self.window,
            settings: self.settings.clone(),
            dataset: Arc::new(dataset),
        })
    }

    /// The language model that ranks.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where none does; `lacks` says what it would be needed for.
    pub fn language_model(&self, lacks: &str) -> Result<&dyn LanguageModel> {
        self.recommender.language_model().ok_or_else(|| {
            let name = self.recommender.name();
            Error::unsupported(format!("recommender: {name} has no {lacks}; a language model has"))
        })
    }
    /// The number of the adapters that serve.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for what is no language model.
    pub fn adapter_generation(&self) -> Result<u64> {
        Ok(self.language_model("adapters")?.generation())
    }
    /// Puts an adapter (none: the base alone) in the place of generation `expected`; gives the new number.
    ///
    /// # Errors
    /// As [`LanguageModel::swap_adapters`].
    pub fn swap_adapter(&self, expected: u64, adapter: Option<&Path>, scale: f32) -> Result<u64> {
        let adapters: Vec<(&Path, f32)> = adapter.map(|path| (path, scale)).into_iter().collect();
        self.language_model("adapters")?.swap_adapters(expected, &adapters)
    }
    /// Puts the adapters before generation `expected` back, under a new number.
    ///
    /// # Errors
    /// As [`LanguageModel::roll_back_adapters`].
    pub fn roll_back_adapter(&self, expected: u64) -> Result<u64> {
        self.language_model("adapters")?.roll_back_adapters(expected)
    }
    /// A sentence about the first of `rows` in the language model's own words, passed to `say` as it is written.
    ///
    /// # Errors
    /// As [`LanguageModel::say_why`].
    pub fn say_why(
        &self,
        conversation: &Conversation,
        rows: &[u32],
        say: &mut dyn FnMut(&str) -> Result<()>,
        run: &Run,
    ) -> Result<Sentence> {
        let names: Vec<String> = rows.iter().map(|row| self.dataset.items.name(*row as usize)).collect();
        self.language_model("words of its own")?.say_why(conversation, rows, &names, say, run)
    }
}
