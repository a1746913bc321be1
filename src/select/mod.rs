//! Room 3, select: embeddings → seed rows, most informative first (paper §3.2).

use serde::{Deserialize, Serialize};

/// One selected row, as a line of `selection.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pick {
    /// Place in the selection, from 0.
    pub rank: u64,
    /// Row of the embeddings: the review.
    pub row: u64,
    /// What the pick added: log(1 + x' Lambda x) for Fisher, H + lambda JS for JS, 0 for random.
    pub gain: f64,
}

/// Seed rows, most informative first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selection {
    /// The picks in order.
    pub picks: Vec<Pick>,
}
