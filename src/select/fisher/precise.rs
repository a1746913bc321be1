//! Lambda in f64: I at first, then I - sum w_t w_t' with one update vector w_t = Lambda x_t / sqrt(1 + x_t' Lambda x_t) a
//! pick. Once there are as many vectors as values in a row they are summed into a matrix, the *base*, and new ones are
//! counted from there: x' Lambda x = x' base x - sum (x . w_t)^2 never costs more than about dim^2.
//!
//! What is kept follows from the rows folded and their order alone, bit by bit: a selection that is resumed goes on with
//! the numbers of one that never stopped.

use super::super::lanes::{Simd, WithSimd, widest};
use crate::math::Rows;
use faer::{Accum, Par, mat};
use rayon::prelude::*;

/// Values of a vector per task, fixed.
const SLICE: usize = 64;
/// Update vectors per task, fixed.
const FOLD_COLUMNS: usize = 32;
/// Rows of a product, fixed.
const BLOCK_ROWS: usize = 32;

/// Lambda under way.
pub struct Precise {
    dim: usize,
    /// `[dim, dim]`; none: the unit matrix.
    base: Option<Vec<f64>>,
    /// Update vectors since the base, `[recent, dim]`.
    columns: Vec<f64>,
}

impl Precise {
    /// The unit matrix, `[dim, dim]`.
    pub fn new(dim: usize) -> Precise {
        Precise { dim, base: None, columns: Vec::new() }
    }
    /// Update vectors since the base.
    pub fn recent(&self) -> usize {
        self.columns.len() / self.dim
    }
    /// Update vector `t` since the base, `[dim]`.
    pub fn column(&self, t: usize) -> &[f64] {
        &self.columns[t * self.dim..(t + 1) * self.dim]
    }
    /// Are there as many update vectors that [`Precise::rebase`] is due?
    pub fn is_full(&self) -> bool {
        self.recent() >= self.dim
    }
    /// Sums the update vectors into the base: from now on coefficients are counted anew.
    pub fn rebase(&mut self) {
        const LINES: usize = 64;
        let (dim, recent) = (self.dim, self.recent());
        let columns = mat::MatRef::from_row_major_slice(&self.columns, recent, dim);
        let base = self.base.get_or_insert_with(|| {
            let mut unit = vec![0f64; dim * dim];
            unit.iter_mut().step_by(dim + 1).for_each(|v| *v = 1.0);
            unit
        });
        base.par_chunks_mut(LINES * dim).enumerate().for_each(|(i, lines)| {
            let count = lines.len() / dim;
            faer::linalg::matmul::matmul(
                mat::MatMut::from_row_major_slice_mut(lines, count, dim),
                Accum::Add,
                columns.subcols(i * LINES, count).transpose(),
                columns,
                -1.0,
                Par::Seq,
            );
        });
        self.columns.clear();
    }
    /// x' Lambda x of `x` (|x|^2 = `square`), and w = Lambda x / sqrt(1 + that) added to the update vectors.
    pub fn fold(&mut self, x: &[f32], square: f64) -> f64 {
        let (dim, recent) = (self.dim, self.recent());
        // Each vector is read once: its coefficient, and at once its share of the sum. Shares are added in order.
        let shares: Vec<(f64, Vec<f64>)> = (self.columns.par_chunks(FOLD_COLUMNS * dim))
            .map(|columns| {
                let mut sum = vec![0f64; dim];
                let used = widest(Share { x, columns, sum: &mut sum });
                (used, sum)
            })
            .collect();
        debug_assert_eq!(shares.len(), recent.div_ceil(FOLD_COLUMNS));
        let mut w = vec![0f64; dim];
        let base = self.base.as_deref();
        w.par_chunks_mut(SLICE).enumerate().for_each(|(s, w)| {
            let first = s * SLICE;
            match base {
                // The base is symmetric: value k of base x is line k times x.
                Some(base) => {
                    w.iter_mut().enumerate().for_each(|(k, w)| *w = mixed_dot(x, &base[(first + k) * dim..][..dim]));
                }
                None => w.iter_mut().zip(&x[first..]).for_each(|(w, x)| *w = f64::from(*x)),
            }
        });
        let whole = if base.is_some() { mixed_dot(x, &w) } else { square };
        let score = (whole - shares.iter().map(|(used, _)| used).sum::<f64>()).max(0.0);
        for (_, share) in &shares {
            w.iter_mut().zip(share).for_each(|(w, share)| *w -= share);
        }
        let length = (1.0 + score).sqrt();
        self.columns.extend(w.iter().map(|w| w / length));
        score
    }
    /// x' Lambda x of each of `rows`, `[rows.len()]`, and x . w_t for the recent t, `[rows.len(), recent]`. `squares`: |x|^2
    /// of all rows.
    pub fn scores(&self, x: &dyn Rows, squares: &[f64], rows: &[u32]) -> (Vec<f64>, Vec<f64>) {
        let (dim, recent) = (self.dim, self.recent());
        let mut scores = vec![0f64; rows.len()];
        // One unused value a row at least, so that rows without coefficients are cut into blocks all the same.
        let stride = recent.max(1);
        let mut coefficients = vec![0f64; rows.len() * stride];
        let blocks = scores.par_chunks_mut(BLOCK_ROWS).zip(coefficients.par_chunks_mut(BLOCK_ROWS * stride));
        blocks.zip(rows.par_chunks(BLOCK_ROWS)).for_each_init(Vec::new, |room, ((scores, coefficients), rows)| {
            let mut values = Vec::with_capacity(rows.len() * dim);
            rows.iter().for_each(|&row| values.extend(x.read(row as usize, room).iter().map(|v| f64::from(*v))));
            let values = mat::MatRef::from_row_major_slice(&values, rows.len(), dim);
            match &self.base {
                Some(base) => {
                    let mut images = vec![0f64; rows.len() * dim];
                    faer::linalg::matmul::matmul(
                        mat::MatMut::from_row_major_slice_mut(&mut images, rows.len(), dim),
                        Accum::Replace,
                        values,
                        mat::MatRef::from_row_major_slice(base, dim, dim),
                        1.0,
                        Par::Seq,
                    );
                    for ((score, image), &row) in scores.iter_mut().zip(images.chunks_exact(dim)).zip(rows) {
                        *score = mixed_dot(x.read(row as usize, room), image);
                    }
                }
                None => scores.iter_mut().zip(rows).for_each(|(score, &row)| *score = squares[row as usize]),
            }
            if recent > 0 {
                faer::linalg::matmul::matmul(
                    mat::MatMut::from_row_major_slice_mut(coefficients, rows.len(), recent),
                    Accum::Replace,
                    values,
                    mat::MatRef::from_row_major_slice(&self.columns, recent, dim).transpose(),
                    1.0,
                    Par::Seq,
                );
                for (score, coefficients) in scores.iter_mut().zip(coefficients.chunks_exact(recent)) {
                    *score -= coefficients.iter().map(|a| a * a).sum::<f64>();
                }
            }
        });
        if recent == 0 {
            coefficients.clear();
        }
        (scores, coefficients)
    }
    /// Bytes held, at most: base and columns.
    pub fn bytes(dim: usize, budget: usize) -> u64 {
        let lines = budget.min(dim + 1) + if budget > dim { dim } else { 0 };
        // Beside them the shares of a fold's sum.
        let shares = dim.min(budget).div_ceil(FOLD_COLUMNS);
        8 * (lines + shares) as u64 * (dim as u64)
    }
}

/// sum = sum (x . w_t) w_t over some vectors; gives sum (x . w_t)^2.
struct Share<'a> {
    x: &'a [f32],
    /// `[any, dim]`.
    columns: &'a [f64],
    sum: &'a mut [f64],
}

impl WithSimd for Share<'_> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let mut used = 0.0;
        for w in self.columns.chunks_exact(self.x.len()) {
            let a = MixedDot { x: self.x, w }.with_simd(simd);
            used += a * a;
            self.sum.iter_mut().zip(w).for_each(|(sum, w)| *sum = a.mul_add(*w, *sum));
        }
        used
    }
}

/// x . w in f64, in sixteen lanes.
pub fn mixed_dot(x: &[f32], w: &[f64]) -> f64 {
    widest(MixedDot { x, w })
}

struct MixedDot<'a> {
    x: &'a [f32],
    w: &'a [f64],
}

impl WithSimd for MixedDot<'_> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0f64; 16];
        let (x, w) = (self.x.chunks_exact(16), self.w.chunks_exact(16));
        let mut tail = 0.0;
        for (x, w) in x.remainder().iter().zip(w.remainder()) {
            tail += f64::from(*x) * w;
        }
        for (x, w) in x.zip(w) {
            for i in 0..16 {
                lanes[i] = f64::from(x[i]).mul_add(w[i], lanes[i]);
            }
        }
        let mut sum = tail;
        for lane in lanes {
            sum += lane;
        }
        sum
    }
}
