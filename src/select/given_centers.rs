//! Centres that came from outside: read, checked, and known by what they hold.

use super::field::Terms;
use crate::config::SelectConfig;
use crate::embed;
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows};
use std::borrow::Cow;
use std::path::Path;

/// The centres that a selection is given: those of `terms`, else of the file `select.centers`; `None` for K-means, and for
/// strategies that use none.
///
/// # Errors
/// Those of reading the file; [`crate::ErrorKind::Invalid`] for centres that are not `[clusters, width]` and finite, `width`
/// being that of `x` with the features of an aware strategy.
pub fn given<'a>(
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms<'a>,
    config: &SelectConfig,
) -> Result<Option<Cow<'a, Matrix>>> {
    if !config.strategy.has_clusters() {
        return Ok(None);
    }
    let width = x.width() + features.filter(|_| config.strategy.is_aware()).map_or(0, Matrix::dim);
    let checked = |centers: &Matrix, from: &str| match fit_for(centers, width) {
        Ok(()) => Ok(()),
        Err(e) if from.is_empty() => Err(e),
        Err(e) => Err(e.context(from)),
    };
    match (terms.centers, config.centers.as_str()) {
        (Some(centers), _) => {
            checked(centers, "")?;
            Ok(Some(Cow::Borrowed(centers)))
        }
        (None, "") => Ok(None),
        (None, file) => {
            let centers = embed::read_only_matrix(Path::new(file)).map_err(|e| e.context("select.centers"))?;
            checked(&centers, &format!("select.centers = {file}"))?;
            Ok(Some(Cow::Owned(centers)))
        }
    }
}

fn fit_for(centers: &Matrix, width: usize) -> Result<()> {
    let (clusters, dim) = (centers.rows(), centers.dim());
    if clusters == 0 || dim != width {
        return Err(Error::invalid(format!(
            "select: centres {clusters} x {dim} for rows of {width} values; a [clusters, {width}] matrix is needed"
        )));
    }
    match (0..clusters).find(|&j| centers.row(j).iter().any(|v| !v.is_finite())) {
        Some(bad) => Err(Error::invalid(format!("select: centre {bad} holds NaN or an infinity"))),
        None => Ok(()),
    }
}

/// What `centers` hold, as 32 hexadecimal digits: shape and every value.
pub fn hash(centers: &Matrix) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(centers.rows() as u64).to_le_bytes()).update(&(centers.dim() as u64).to_le_bytes());
    for row in 0..centers.rows() {
        centers.row(row).iter().for_each(|v| {
            hasher.update(&v.to_le_bytes());
        });
    }
    hasher.finalize().to_hex()[..32].to_string()
}
