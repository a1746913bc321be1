//! What a selection selects on: rows that are checked, and text and features side by side.

use super::aware;
use crate::config::{SelectConfig, Strategy};
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows, squares};
use crate::run::Run;

/// Text and features side by side, and the squares of such rows; `None` for the strategies over text alone.
pub(super) fn blocks<'a>(
    x: &'a dyn Rows,
    features: Option<&'a Matrix>,
    lengths: &[f64],
    config: &SelectConfig,
    run: &Run,
) -> Result<Option<(aware::Blocks<'a>, Vec<f64>)>> {
    match (config.strategy.is_aware(), features) {
        (false, _) => Ok(None),
        (true, Some(features)) => {
            let blocks = run.install(|| aware::Blocks::new(x, lengths, features, config.weight))?;
            let squares = squares(&blocks, "select: embeddings and features", run)?;
            Ok(Some((blocks, squares)))
        }
        (true, None) => Err(Error::invalid(format!(
            "select: strategy {} needs a feature matrix beside the embeddings; none was given",
            config.strategy
        ))),
    }
}

/// Refuses rows and a budget of which nothing can be selected.
pub(super) fn check(x: &dyn Rows, config: &SelectConfig) -> Result<()> {
    if x.count() == 0 || x.width() == 0 {
        return Err(Error::invalid("select: the embeddings hold no rows; import and embed some reviews first"));
    }
    if x.count() > u32::MAX as usize {
        return Err(Error::invalid(format!("select: {} rows; at most {} fit", x.count(), u32::MAX)));
    }
    if config.budget == 0 {
        return Err(Error::invalid("select.budget must be at least 1"));
    }
    Ok(())
}

/// What a strategy does, whatever it does it on.
pub(super) enum Kind {
    Random,
    Js,
    Fisher,
}

impl Kind {
    pub fn of(strategy: Strategy) -> Kind {
        match strategy {
            Strategy::Random => Kind::Random,
            Strategy::Js | Strategy::MetadataJs | Strategy::UserJs => Kind::Js,
            Strategy::Fisher | Strategy::MetadataFisher | Strategy::UserFisher => Kind::Fisher,
        }
    }
}
