//! The update vectors w_t = Lambda x_t / sqrt(1 + x_t' Lambda x_t), one a pick, so that Lambda = I - sum w_t w_t' and
//! x' Lambda x = |x|^2 - sum (x . w_t)^2: exactly in f64, and in f32 chunks for the many rows that only need a bound.

use super::super::lanes::{Simd, WithSimd, widest};
use crate::error::{Error, Result};
use crate::math::{Matrix, product_nt};
use faer::{Accum, Par, mat};
use rayon::prelude::*;

/// Columns of a full chunk: with four rows at a time they fill the sixteen registers of AVX2.
const WIDE: usize = 16;
/// Columns of the last chunk of a block when no more are left.
const NARROW: usize = 8;
/// Terms of a product that are summed in f32 before the sum is put away: the error grows with this and not with dim.
const RUN_LENGTH: usize = 128;
/// Rows per task, fixed.
const TASK_ROWS: usize = 64;
/// Rows on which a block's directions are ordered.
const SAMPLE_ROWS: usize = 512;

/// All update vectors so far.
pub struct Columns {
    dim: usize,
    /// `[count, dim]`, f64.
    exact: Vec<f64>,
    /// Columns that the chunks hold; the rest came since.
    closed: usize,
    chunks: Vec<Chunk>,
}

/// A few columns, rotated within their block, rounded to f32.
struct Chunk {
    width: usize,
    /// `[dim, width]`: the values that a row meets, in the order it meets them.
    w: Vec<f32>,
    /// Greatest length of a column.
    length: f64,
}

impl Columns {
    /// None yet.
    pub fn new(dim: usize) -> Columns {
        Columns { dim, exact: Vec::new(), closed: 0, chunks: Vec::new() }
    }
    /// How many there are.
    pub fn count(&self) -> usize {
        self.exact.len() / self.dim
    }
    /// How many chunks there are.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }
    /// Column `t`, `[dim]`.
    pub fn column(&self, t: usize) -> &[f64] {
        &self.exact[t * self.dim..(t + 1) * self.dim]
    }
    /// Adds w = (x - sum coefficient_t w_t) / length. `coefficients`: `[count]`, x . w_t.
    pub fn push(&mut self, x: &[f32], coefficients: &[f64], length: f64) {
        // Slices of the vector are tasks: each sums over t in order, so threads do not show.
        const SLICE: usize = 192;
        let mut w = vec![0f64; self.dim];
        let exact = &self.exact;
        let dim = self.dim;
        w.par_chunks_mut(SLICE).enumerate().for_each(|(s, w)| {
            let first = s * SLICE;
            let x = &x[first..first + w.len()];
            widest(Residual { x, coefficients, exact, dim, first, w });
            w.iter_mut().for_each(|w| *w /= length);
        });
        self.exact.extend_from_slice(&w);
    }
    /// x . w_t for all t of each of `rows`: `[rows.len(), count]`, f64.
    pub fn coefficients(&self, x: &Matrix, rows: &[u32]) -> Vec<f64> {
        const BLOCK: usize = 32;
        let count = self.count();
        let mut out = vec![0f64; rows.len() * count];
        if count == 0 {
            return out;
        }
        let columns = mat::MatRef::from_row_major_slice(&self.exact, count, self.dim).transpose();
        out.par_chunks_mut(BLOCK * count).zip(rows.par_chunks(BLOCK)).for_each(|(out, rows)| {
            let values: Vec<f64> =
                rows.iter().flat_map(|&row| x.row(row as usize).iter().map(|v| f64::from(*v))).collect();
            faer::linalg::matmul::matmul(
                mat::MatMut::from_row_major_slice_mut(out, rows.len(), count),
                Accum::Replace,
                mat::MatRef::from_row_major_slice(&values, rows.len(), self.dim),
                columns,
                1.0,
                Par::Seq,
            );
        });
        out
    }
    /// Puts the columns since the last call into chunks, rotated so that the directions that lower the scores most come first:
    /// most rows then fall below the threshold after the first chunk and never meet the others.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bug`] when the rotation cannot be computed.
    pub fn close(&mut self, x: &Matrix) -> Result<()> {
        let (first, count) = (self.closed, self.count() - self.closed);
        if count == 0 {
            return Ok(());
        }
        let block = &self.exact[first * self.dim..];
        let rotated = if count == 1 { block.to_vec() } else { rotate(block, count, x)? };
        let mut at = 0;
        while at < count {
            let width = if count - at <= NARROW { NARROW } else { WIDE };
            let real = width.min(count - at);
            let columns = &rotated[at * self.dim..(at + real) * self.dim];
            let mut w = vec![0f32; width * self.dim];
            for (j, column) in columns.chunks_exact(self.dim).enumerate() {
                column.iter().enumerate().for_each(|(k, v)| w[k * width + j] = *v as f32);
            }
            let square = |c: &[f64]| c.iter().map(|v| v * v).sum::<f64>();
            let length = columns.chunks_exact(self.dim).map(square).fold(0.0, f64::max).sqrt();
            self.chunks.push(Chunk { width, w, length });
            at += real;
        }
        self.closed = self.count();
        Ok(())
    }
    /// By how much chunk `c` lowers the score of each of `rows`, at the least: `[rows.len()]`. `squares`: |x|^2 of all rows.
    pub fn drops(&self, c: usize, x: &Matrix, squares: &[f64], rows: &[u32]) -> Vec<f64> {
        let chunk = &self.chunks[c];
        let mut drops = vec![0f64; rows.len()];
        drops.par_chunks_mut(TASK_ROWS).zip(rows.par_chunks(TASK_ROWS)).for_each(|(drops, rows)| {
            widest(Drops { chunk, x, rows, drops });
        });
        // |computed - true| of one product: rounding of w, of each term and each sum, at most this often, in units of f32's.
        let roundings = (RUN_LENGTH + self.dim.div_ceil(RUN_LENGTH) + 3) as f64;
        let error = 1.01 * roundings * f64::from(f32::EPSILON) / 2.0 * chunk.length;
        let width = (chunk.width as f64).sqrt();
        drops.par_iter_mut().zip(rows).for_each(|(drop, &row)| {
            // sum (|a| - e)^2 >= sum a^2 - 2 e sum |a| >= A - 2 e sqrt(width A).
            let error = error * squares[row as usize].sqrt();
            *drop = (*drop - 2.0 * error * width * drop.sqrt()).max(0.0);
        });
        drops
    }
}

/// w = x - sum coefficient_t w_t over one slice of the vector, from value `first` on.
struct Residual<'a> {
    x: &'a [f32],
    coefficients: &'a [f64],
    exact: &'a [f64],
    dim: usize,
    first: usize,
    w: &'a mut [f64],
}

impl WithSimd for Residual<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let w = self.w;
        w.iter_mut().zip(self.x).for_each(|(w, x)| *w = f64::from(*x));
        let column = |t: usize| &self.exact[t * self.dim + self.first..t * self.dim + self.first + w.len()];
        // Four columns a pass: the slice is loaded and stored a quarter as often.
        let fours = self.coefficients.chunks_exact(4);
        let rest = fours.remainder();
        let done = self.coefficients.len() - rest.len();
        let columns = (0..done).step_by(4).map(|t| [column(t), column(t + 1), column(t + 2), column(t + 3)]);
        for (a, [c0, c1, c2, c3]) in fours.zip(columns.collect::<Vec<_>>()) {
            let (a0, a1, a2, a3) = (-a[0], -a[1], -a[2], -a[3]);
            for ((((w, c0), c1), c2), c3) in w.iter_mut().zip(c0).zip(c1).zip(c2).zip(c3) {
                *w = a3.mul_add(*c3, a2.mul_add(*c2, a1.mul_add(*c1, a0.mul_add(*c0, *w))));
            }
        }
        for (i, a) in rest.iter().enumerate() {
            let first = (done + i) * self.dim + self.first;
            let column = &self.exact[first..first + w.len()];
            w.iter_mut().zip(column).for_each(|(w, c)| *w = (-a).mul_add(*c, *w));
        }
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

/// Sums of squares of the rows' products with one chunk.
struct Drops<'a> {
    chunk: &'a Chunk,
    x: &'a Matrix,
    rows: &'a [u32],
    drops: &'a mut [f64],
}

impl WithSimd for Drops<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.chunk.width {
            WIDE => task::<WIDE>(&self.chunk.w, self.x, self.rows, self.drops),
            _ => task::<NARROW>(&self.chunk.w, self.x, self.rows, self.drops),
        }
    }
}

#[inline(always)]
fn task<const W: usize>(w: &[f32], x: &Matrix, rows: &[u32], drops: &mut [f64]) {
    let fours = rows.chunks_exact(4);
    let rest = fours.remainder();
    let done = rows.len() - rest.len();
    for (rows, drops) in fours.zip(drops.chunks_exact_mut(4)) {
        let x = [x.row(rows[0] as usize), x.row(rows[1] as usize), x.row(rows[2] as usize), x.row(rows[3] as usize)];
        drops.copy_from_slice(&tile::<W>(w, x));
    }
    for (row, drop) in rest.iter().zip(&mut drops[done..]) {
        let x = x.row(*row as usize);
        *drop = tile::<W>(w, [x; 4])[0];
    }
}

/// Four rows against one chunk.
#[inline(always)]
fn tile<const W: usize>(w: &[f32], x: [&[f32]; 4]) -> [f64; 4] {
    let mut totals = [[0f32; W]; 4];
    let dim = x[0].len();
    let mut first = 0;
    while first < dim {
        let last = (first + RUN_LENGTH).min(dim);
        let mut sums = [[0f32; W]; 4];
        let (a, b, c, d) = (&x[0][first..last], &x[1][first..last], &x[2][first..last], &x[3][first..last]);
        let steps = w[first * W..last * W].chunks_exact(W);
        for ((((w, a), b), c), d) in steps.zip(a).zip(b).zip(c).zip(d) {
            for j in 0..W {
                sums[0][j] = a.mul_add(w[j], sums[0][j]);
                sums[1][j] = b.mul_add(w[j], sums[1][j]);
                sums[2][j] = c.mul_add(w[j], sums[2][j]);
                sums[3][j] = d.mul_add(w[j], sums[3][j]);
            }
        }
        for r in 0..4 {
            for j in 0..W {
                totals[r][j] += sums[r][j];
            }
        }
        first = last;
    }
    let mut squares = [0f64; 4];
    for r in 0..4 {
        for a in totals[r] {
            squares[r] += f64::from(a) * f64::from(a);
        }
    }
    squares
}

/// The block's columns turned so that they stand in falling order of energy on a sample of the rows: `[count, dim]`.
/// A rotation changes no sum of squares over the block.
fn rotate(block: &[f64], count: usize, x: &Matrix) -> Result<Vec<f64>> {
    let dim = block.len() / count;
    let step = x.rows().div_ceil(SAMPLE_ROWS);
    let sample = x.gather(&(0..x.rows()).step_by(step).collect::<Vec<_>>());
    let narrow = Matrix::from_vec(count, dim, block.iter().map(|v| *v as f32).collect())?;
    let met = product_nt(&sample, &narrow)?;
    let met = mat::MatRef::from_row_major_slice(met.data(), sample.rows(), count);
    let mut energy = faer::Mat::<f32>::zeros(count, count);
    faer::linalg::matmul::matmul(energy.as_mut(), Accum::Replace, met.transpose(), met, 1.0, Par::Seq);
    let energy = faer::Mat::<f64>::from_fn(count, count, |i, j| f64::from(energy[(i, j)]));
    let eigen = energy
        .self_adjoint_eigen(faer::Side::Lower)
        .map_err(|e| Error::bug(format!("select: no eigenvectors of a block of {count} columns: {e:?}")))?;
    let vectors = eigen.U();
    let mut rotated = vec![0f64; block.len()];
    faer::linalg::matmul::matmul(
        mat::MatMut::from_row_major_slice_mut(&mut rotated, count, dim),
        Accum::Replace,
        vectors.transpose(),
        mat::MatRef::from_row_major_slice(block, count, dim),
        1.0,
        Par::Seq,
    );
    // Eigenvalues rise; the greatest energy is to come first.
    Ok(rotated.chunks_exact(dim).rev().flatten().copied().collect())
}
