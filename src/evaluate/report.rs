//! What a report tells.

use super::compare::Evaluation;
use super::metrics::Metrics;
use crate::dataset::Summary;
use crate::select;
use serde::{Deserialize, Serialize};

/// Everything that a report tells. The pipeline fills it; parts that are empty are left out of the page.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReportData {
    /// The page's title: `Movies: four strategies, 2,000 seeds each`.
    pub title: String,
    /// What was read.
    pub dataset: Option<DatasetFacts>,
    /// The stages in order, each with what came out of it.
    pub stages: Vec<Stage>,
    /// What each selection says of itself, in the order in which they were made.
    #[serde(default)]
    pub selections: Vec<SelectionFacts>,
    /// Metrics against the cumulative budget.
    pub curves: Vec<CurvePoint>,
    /// One per set of conversations.
    pub evaluations: Vec<Evaluation>,
    /// Training losses.
    pub losses: Vec<LossPoint>,
    /// All settings, as TOML.
    pub settings: String,
    /// Names and versions of what made this: `causerie` and `0.1.0`.
    pub versions: Vec<(String, String)>,
    /// What went otherwise than asked.
    pub warnings: Vec<String>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DatasetFacts {
    /// Its name: a folder, `simulated`.
    pub name: String,
    /// Items in the catalogue.
    pub items: u64,
    /// Reviews kept.
    pub reviews: u64,
    /// Users known.
    pub users: u64,
    /// Interactions kept.
    pub interactions: u64,
    /// Mean number of reviews per item.
    pub reviews_per_item: f64,
    /// Share of items with at least 3 reviews, 0 to 1.
    pub share_with_3_reviews: f64,
}

impl DatasetFacts {
    /// From the summary of an import.
    pub fn of(name: &str, summary: &Summary) -> DatasetFacts {
        DatasetFacts {
            name: name.to_string(),
            items: summary.items,
            reviews: summary.reviews,
            users: summary.users,
            interactions: summary.interactions,
            reviews_per_item: summary.reviews_per_item,
            share_with_3_reviews: summary.share_with_3_reviews,
        }
    }
}

/// One stage of the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Stage {
    /// `import`, `embed`, `select`, …
    pub name: String,
    /// What came out, in words: `2,000 seeds`.
    pub output: String,
    /// Wall time; 0 when it was done by an earlier run.
    pub seconds: f64,
    /// Highest resident memory of the process during the stage; 0: not known.
    pub peak_rss_bytes: u64,
    /// A remark: `resumed`, `MiniLM, 384 dimensions`.
    pub note: String,
}

/// One selection of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectionFacts {
    /// The round, from 1.
    pub round: u64,
    /// Objective, certificate, settings.
    pub report: select::Report,
    /// Time and memory.
    pub cost: select::Cost,
}

/// One point of a curve: a system made from the first `budget` seeds of a strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The set of conversations: [`Evaluation::name`].
    pub set: String,
    /// The selection strategy.
    pub strategy: String,
    /// The system: `nbcrs`, `head`.
    pub system: String,
    /// Seeds selected so far, all rounds together.
    pub budget: u64,
    /// All pairs, mentioned items removed.
    pub metrics: Metrics,
}

/// One point of a loss curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Whose training: `head, fisher, round 1`.
    pub label: String,
    /// Optimiser steps, or epochs, done.
    pub step: u64,
    /// Training loss, in nats.
    pub loss: f64,
    /// Loss on held-out dialogues, in nats.
    pub held_out: Option<f64>,
}
