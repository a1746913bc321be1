//! What a selection gives: rows in order of rank, and the file that holds them.

use crate::artifact;
use crate::error::{Error, Result};
use crate::json;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One selected row, as a line of `selection.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pick {
    /// Place in the selection, from 0.
    #[serde(deserialize_with = "json::whole")]
    pub rank: u64,
    /// Row of the embeddings: the review.
    #[serde(deserialize_with = "json::whole")]
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

impl Selection {
    /// The rows in order of rank.
    pub fn rows(&self) -> Vec<u64> {
        self.picks.iter().map(|p| p.row).collect()
    }
    /// Writes `selection.jsonl`, all or nothing: one line a pick, `{"rank":0,"row":17,"gain":1.25}`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        artifact::write_jsonl(path, &self.picks)
    }
    /// Reads what [`Selection::save`] wrote.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] when a line is no pick, ranks do not count from 0,
    /// a row stands twice or a gain is not finite.
    pub fn load(path: &Path) -> Result<Selection> {
        let mut picks: Vec<Pick> = Vec::new();
        let mut order = Order::default();
        artifact::for_each_line(path, |line, text| {
            let pick: Pick = json::owned(text).map_err(|cause| Error::format(path, line, cause))?;
            order.next(&pick).map_err(|cause| Error::format(path, line, cause))?;
            picks.push(pick);
            Ok(())
        })?;
        Ok(Selection { picks })
    }
}

/// Picks as a file gives them: ranks count from 0, no row stands twice, gains are finite.
#[derive(Default)]
pub(super) struct Order {
    seen: std::collections::HashSet<u64>,
}

impl Order {
    /// What is wrong with the next pick.
    pub fn next(&mut self, pick: &Pick) -> std::result::Result<(), String> {
        let due = self.seen.len() as u64;
        if pick.rank != due {
            return Err(format!("rank {} where {due} is due; the file was edited or cut", pick.rank));
        }
        if !pick.gain.is_finite() {
            return Err("the gain is not finite".to_string());
        }
        if !self.seen.insert(pick.row) {
            return Err(format!("row {} stands here a second time", pick.row));
        }
        Ok(())
    }
    /// What is wrong with `picks`.
    pub fn of(picks: &[Pick]) -> std::result::Result<(), String> {
        let mut order = Order::default();
        picks.iter().try_for_each(|pick| order.next(pick))
    }
}
