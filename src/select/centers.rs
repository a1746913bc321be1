//! Centres that the JS strategies are given in place of K-means (`select.centers`, [`Terms::centers`]), known by what they
//! hold: parts of a selection that were made with other centres are told apart by a hash, wherever the file lay.

pub use super::given_centers::{given, hash};

use super::inputs::{blocks, check};
use super::{kmeans, memory};
use crate::config::SelectConfig;
use crate::embed;
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows, squares};
use crate::run::Run;
use std::path::Path;

/// The centres of K-means over all rows, `[clusters, width]`, as a JS selection from `x` would make them: for all parts of a
/// selection, and for other machines.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`]: a strategy without clusters, and what [`super::select`] refuses;
/// [`crate::ErrorKind::Memory`]; [`crate::ErrorKind::Cancelled`].
pub fn fit(x: &dyn Rows, features: Option<&Matrix>, config: &SelectConfig, run: &Run) -> Result<kmeans::Clustering> {
    check(x, config)?;
    if !config.strategy.has_clusters() {
        return Err(Error::invalid(format!(
            "select: strategy {} uses no clusters; centres are for js, metadata_js and user_js",
            config.strategy
        )));
    }
    memory::of_kmeans(x, features, config)?.allow(config)?;
    let lengths = squares(x, "select: embeddings", run)?;
    let made = blocks(x, features, &lengths, config, run)?;
    let x = made.as_ref().map_or(x, |(blocks, _)| blocks as &dyn Rows);
    kmeans::kmeans(x, &kmeans::Options::of(config), run)
}

/// Writes `centers` for `select.centers`: a safetensors file with the one tensor `centers`.
///
/// # Errors
/// [`crate::ErrorKind::Io`].
pub fn save(centers: &Matrix, path: &Path) -> Result<()> {
    embed::write_matrix(path, "centers", centers, &Default::default())
}
