//! The metadata- and user-aware strategies (paper §4.5, §4.6): text and features side by side in one row.

use crate::error::{Error, Result};
use crate::math::{Matrix, Rows, norm};
use crate::run::{self, Level};

/// z = [sqrt(1-w) x ; sqrt(w) f], rows of x and of f normalised first: `[rows, x.width + f.dim]`.
///
/// The dot product of two z is then (1-w) cos(x, x') + w cos(f, f'). A row of features that is all zeros (an item without
/// metadata, a user without interactions) stays zeros: such rows differ by their text alone. Rows are made when they are
/// read: beside x and f this holds two numbers a row.
pub struct Blocks<'a> {
    x: &'a dyn Rows,
    features: &'a Matrix,
    /// What a row of x and of features is multiplied by.
    scales: Vec<(f64, f64)>,
}

impl<'a> Blocks<'a> {
    /// `squares`: |x_i|^2. To be called on a run's threads. What has neither text nor features, by its weight, is a row of zeros.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`]: other numbers of rows, NaN or infinities in `features` (the row is named), no row of
    /// `features` with any value.
    pub fn new(x: &'a dyn Rows, squares: &[f64], features: &'a Matrix, weight: f64) -> Result<Blocks<'a>> {
        if features.rows() != x.count() {
            return Err(Error::invalid(format!(
                "select: {} rows of features for {} rows of embeddings; they must be rows of the same reviews",
                features.rows(),
                x.count()
            )));
        }
        let (text, feature) = ((1.0 - weight).sqrt(), weight.sqrt());
        let mut empty = 0;
        let mut scales = Vec::with_capacity(squares.len());
        for (row, square) in squares.iter().enumerate() {
            let length = norm(features.row(row));
            if !length.is_finite() {
                return Err(Error::invalid(format!("select: features: row {} holds NaN or an infinity", x.name(row))));
            }
            empty += usize::from(length == 0.0);
            scales.push((
                if *square > 0.0 { text / square.sqrt() } else { 0.0 },
                if length > 0.0 { feature / length } else { 0.0 },
            ));
        }
        if empty == scales.len() {
            return Err(Error::invalid("select: features: every row is all zeros"));
        }
        if empty > 0 {
            let what = if text > 0.0 { "their text alone counts" } else { "they are passed over" };
            run::log(Level::Warn, &format!("select: {empty} of {} rows have no features: {what}", scales.len()));
        }
        Ok(Blocks { x, features, scales })
    }
}

impl Rows for Blocks<'_> {
    fn count(&self) -> usize {
        self.x.count()
    }
    fn width(&self) -> usize {
        self.x.width() + self.features.dim()
    }
    fn row_bytes(&self) -> usize {
        self.x.row_bytes() + 4 * self.features.dim()
    }
    fn name(&self, i: usize) -> u64 {
        self.x.name(i)
    }
    fn direct(&self, _: usize, _: usize) -> Option<&[f32]> {
        None
    }
    fn touch(&self, i: usize) -> u32 {
        self.x.touch(i) ^ self.features.touch(i)
    }
    fn decode(&self, first: usize, out: &mut [f32]) {
        let mut room = Vec::new();
        for (i, z) in out.chunks_exact_mut(self.width()).enumerate() {
            let row = first + i;
            let (text, feature) = z.split_at_mut(self.x.width());
            scale(self.x.read(row, &mut room), self.scales[row].0, text);
            scale(self.features.row(row), self.scales[row].1, feature);
        }
    }
}

fn scale(from: &[f32], by: f64, to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = (f64::from(*from) * by) as f32;
    }
}
