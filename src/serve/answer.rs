//! From a checked request to an answer as JSON. The service does the rest.

use super::problem::{Outcome, Problem};
use crate::error::Error;
use crate::recommend::service::{Generation, Query};
use crate::recommend::{Neighbour, TokenCount, excerpt};
use crate::run::Run;
use serde::Serialize;
use std::time::Instant;

/// Characters of a review that an answer quotes.
const EXCERPT_CHARS: usize = 240;

/// A review that speaks for an item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ReviewExcerpt {
    /// Row of the review in the dataset.
    pub review: u32,
    /// Cosine with what was said.
    pub similarity: f32,
    pub text: String,
}

/// One recommended item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RecommendedItem {
    pub id: String,
    pub title: String,
    pub year: Option<u16>,
    pub score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_probability: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<ReviewExcerpt>>,
}

/// The answer to one conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct AnswerBody {
    pub items: Vec<RecommendedItem>,
    /// The conversation was longer than what the recommender reads.
    pub truncated: bool,
    /// The time was up before the search was: these are the items found by then.
    pub partial: bool,
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub tokens: TokenCount,
    /// Row and `Title (year)` of each item, for the reply.
    #[serde(skip)]
    pub rows: Vec<u32>,
    #[serde(skip)]
    pub names: Vec<String>,
}

/// Answers `asked`, one answer each, of at most `most` items and reviews in all. Past `deadline` a recommender that searches
/// answers with what it has.
pub(super) fn answer(
    generation: &Generation,
    asked: &[Query],
    most: usize,
    deadline: Instant,
    run: &Run,
) -> Outcome<Vec<AnswerBody>> {
    let service = &generation.service;
    let top_k = |one: &Query| one.top_k.unwrap_or(service.settings().top_k);
    let explain = |one: &Query| one.explain.unwrap_or(0);
    let parts = |one: &Query| top_k(one).min(service.items().len()).saturating_mul(1 + explain(one));
    let total = asked.iter().map(parts).fold(0, usize::saturating_add);
    if total > most {
        return Err(Problem::new(
            422,
            "answer_too_large",
            format!(
                "{total} items and reviews are asked for, at most {most} go into one answer: ask in parts, or raise serve.max_answer"
            ),
        ));
    }
    let mut answers = Vec::with_capacity(asked.len());
    for (n, one) in asked.iter().enumerate() {
        check_allowed(generation, one)
            .map_err(|p| if asked.len() > 1 { p.within(&format!("requests[{n}]")) } else { p })?;
        // One by one: the shape of a product changes its last digits, and an answer must not depend on its company.
        let found = generation.answer_all(&[one], top_k(one), Some(deadline), run);
        let found = found.map_err(|e| Problem::of(&e))?.pop();
        let found = found.ok_or_else(|| Problem::of(&Error::bug("serve: one query and no answer")))?;
        let (dataset, items) = (service.dataset(), service.items());
        let quote = |review: &Neighbour| ReviewExcerpt {
            review: review.row,
            similarity: review.similarity,
            text: excerpt(dataset.review_text(review.row as usize), EXCERPT_CHARS),
        };
        let item = |(place, ranked): (usize, &crate::recommend::RankedItem)| {
            let row = ranked.item as usize;
            let reviews = || found.evidence.get(place).into_iter().flatten().map(quote).collect();
            RecommendedItem {
                id: items.id(row).to_string(),
                title: items.title(row).to_string(),
                year: items.year(row),
                score: ranked.score,
                log_probability: ranked.log_probability,
                evidence: (explain(one) > 0).then(reviews),
            }
        };
        answers.push(AnswerBody {
            items: found.items.iter().enumerate().map(item).collect(),
            truncated: found.truncated,
            partial: found.partial,
            warnings: found.warnings,
            tokens: found.tokens,
            rows: found.items.iter().map(|ranked| ranked.item).collect(),
            names: found.items.iter().map(|ranked| items.name(ranked.item as usize)).collect(),
        });
    }
    Ok(answers)
}

/// A list of allowed items of which none is there is more likely a mistake than a wish; an empty one means what it says.
fn check_allowed(generation: &Generation, asked: &Query) -> Outcome<()> {
    let Some(allow) = &asked.allow else { return Ok(()) };
    let items = generation.service.items();
    if !allow.is_empty() && allow.ids.iter().all(|id| items.find(id).is_none()) {
        return Err(Problem::field("allow", "none of these ids is in the catalogue"));
    }
    Ok(())
}
