//! The metadata- and user-aware strategies (paper §4.5, §4.6): text and features side by side in one row.

use crate::error::{Error, Result};
use crate::math::{Matrix, norm};
use crate::run::{self, Level};
use rayon::prelude::*;

/// z = [sqrt(1-w) x ; sqrt(w) f], rows of x and of f normalised first: `[rows, x.dim + f.dim]`.
///
/// The dot product of two z is then (1-w) cos(x, x') + w cos(f, f'). A row of `features` that is all zeros (an item
/// without metadata, a user without interactions) stays zeros: such rows differ by their text alone.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`]: other numbers of rows, NaN or infinities in `features` (the row is named), no row of
/// `features` with any value.
pub fn blocks(x: &Matrix, features: &Matrix, weight: f64) -> Result<Matrix> {
    if features.rows() != x.rows() {
        return Err(Error::invalid(format!(
            "select: {} rows of features for {} rows of embeddings; they must be rows of the same reviews",
            features.rows(),
            x.rows()
        )));
    }
    let lengths: Vec<f64> = (0..features.rows()).into_par_iter().map(|i| norm(features.row(i))).collect();
    if let Some(row) = lengths.iter().position(|length| !length.is_finite()) {
        return Err(Error::invalid(format!("select: features: row {row} holds NaN or an infinity")));
    }
    let empty = lengths.iter().filter(|&&length| length == 0.0).count();
    if empty == lengths.len() {
        return Err(Error::invalid("select: features: every row is all zeros"));
    }
    if empty > 0 {
        let text = format!("select: {empty} of {} rows have no features: their text alone counts", lengths.len());
        run::log(Level::Warn, &text);
    }
    let dim = x.dim() + features.dim();
    let mut z = Matrix::zeros(x.rows(), dim);
    let (text_weight, feature_weight) = ((1.0 - weight).sqrt(), weight.sqrt());
    z.data_mut().par_chunks_exact_mut(dim).enumerate().for_each(|(i, z)| {
        let (text, feature) = z.split_at_mut(x.dim());
        scale(x.row(i), text_weight / norm(x.row(i)), text);
        if lengths[i] > 0.0 {
            scale(features.row(i), feature_weight / lengths[i], feature);
        }
    });
    Ok(z)
}

fn scale(from: &[f32], by: f64, to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = (f64::from(*from) * by) as f32;
    }
}
