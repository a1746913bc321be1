//! Row-major f32 matrices and products on faer, deterministic for any number of threads.

use crate::error::{Error, Result};
use faer::{Accum, Par, mat};
use rayon::prelude::*;

/// A row-major f32 matrix, `[rows, dim]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    rows: usize,
    dim: usize,
    data: Vec<f32>,
}

impl Matrix {
    /// Zeros, `[rows, dim]`.
    pub fn zeros(rows: usize, dim: usize) -> Matrix {
        Matrix { rows, dim, data: vec![0.0; rows * dim] }
    }
    /// `data`: `[rows, dim]`, row-major.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the length is not `rows * dim`.
    pub fn from_vec(rows: usize, dim: usize, data: Vec<f32>) -> Result<Matrix> {
        if rows.checked_mul(dim) != Some(data.len()) {
            return Err(Error::invalid(format!("{} values are no matrix of {rows} x {dim}", data.len())));
        }
        Ok(Matrix { rows, dim, data })
    }
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Values per row.
    pub fn dim(&self) -> usize {
        self.dim
    }
    /// Row `i`, `[dim]`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }
    /// Row `i`, `[dim]`, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.dim..(i + 1) * self.dim]
    }
    /// All values, `[rows * dim]`, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }
    /// All values, to write.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
    /// The values themselves.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }
    /// The rows named by `rows`, in that order: `[rows.len(), dim]`.
    pub fn gather(&self, rows: &[usize]) -> Matrix {
        let mut data = Vec::with_capacity(rows.len() * self.dim);
        for &row in rows {
            data.extend_from_slice(self.row(row));
        }
        Matrix { rows: rows.len(), dim: self.dim, data }
    }
    /// Scales every row to unit length; rows of zeros stay zeros.
    pub fn normalise_rows(&mut self) {
        if self.dim == 0 {
            return;
        }
        let scale = |row: &mut [f32]| {
            let length = norm(row);
            if length > 0.0 {
                row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
            }
        };
        match in_pool() {
            true => self.data.par_chunks_exact_mut(self.dim).for_each(scale),
            false => self.data.chunks_exact_mut(self.dim).for_each(scale),
        }
    }
    /// Refuses NaN and infinities, naming the first such row; `what` says whose rows they are. A row of zeros is one of which
    /// nothing is known.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`].
    pub fn check_rows(&self, what: &str) -> Result<()> {
        let is_bad = |&i: &usize| !norm(self.row(i)).is_finite();
        let bad = match in_pool() {
            true => (0..self.rows).into_par_iter().find_first(is_bad),
            false => (0..self.rows).find(is_bad),
        };
        match bad {
            None => Ok(()),
            Some(i) => Err(Error::invalid(format!("{what}: row {i} holds NaN or an infinity"))),
        }
    }
}

/// True on a thread of a run's pool. Elsewhere rayon would start its global pool, which is never ours to start: it takes a
/// thread per core of the host, and does not survive a fork.
fn in_pool() -> bool {
    rayon::current_thread_index().is_some()
}

/// Dot product in f64, summed in a fixed order (eight lanes, then across). Equal lengths.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [0f64; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            lanes[i] += f64::from(x[i]) * f64::from(y[i]);
        }
    }
    lanes.iter().sum::<f64>() + tail
}

/// Euclidean length, in f64.
pub fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// Rows per task of [`product`]: fixed, so that the bytes do not depend on the number of threads.
const BLOCK_ROWS: usize = 256;

/// `a` `[m, k]` times `b` `[k, n]`, row-major: `[m, n]`, in f32.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when the inner sizes differ.
pub fn product(a: &Matrix, b: &Matrix) -> Result<Matrix> {
    if a.dim != b.rows {
        return Err(Error::invalid(format!("product of {}x{} and {}x{}", a.rows, a.dim, b.rows, b.dim)));
    }
    Ok(blocked(a, mat::MatRef::from_row_major_slice(&b.data, b.rows, b.dim), b.dim))
}

/// `a` `[m, k]` times the transpose of `b` `[n, k]`: `[m, n]`, in f32.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when the inner sizes differ.
pub fn product_nt(a: &Matrix, b: &Matrix) -> Result<Matrix> {
    if a.dim != b.dim {
        return Err(Error::invalid(format!("product of {}x{} and {}x{} transposed", a.rows, a.dim, b.rows, b.dim)));
    }
    Ok(blocked(a, mat::MatRef::from_row_major_slice(&b.data, b.rows, b.dim).transpose(), b.rows))
}

fn blocked(a: &Matrix, b: mat::MatRef<'_, f32>, n: usize) -> Matrix {
    let mut out = Matrix::zeros(a.rows, n);
    if n == 0 || a.rows == 0 {
        return out;
    }
    out.data.par_chunks_mut(BLOCK_ROWS * n).enumerate().for_each(|(block, out)| {
        let rows = out.len() / n;
        let first = block * BLOCK_ROWS;
        let a = mat::MatRef::from_row_major_slice(&a.data[first * a.dim..(first + rows) * a.dim], rows, a.dim);
        let out = mat::MatMut::from_row_major_slice_mut(out, rows, n);
        faer::linalg::matmul::matmul(out, Accum::Replace, a, b, 1.0, Par::Seq);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;

    fn random(rows: usize, dim: usize, seed: u64) -> Matrix {
        let mut random = Random::new(seed, b"matrix");
        Matrix::from_vec(rows, dim, (0..rows * dim).map(|_| random.normal() as f32).collect()).unwrap()
    }

    #[test]
    fn products_agree_with_the_slow_twin_and_do_not_depend_on_threads() {
        let (a, b) = (random(600, 37, 1), random(37, 19, 2));
        let fast = crate::run::Run::new(2).unwrap().install(|| product(&a, &b)).unwrap();
        let one = crate::run::Run::new(1).unwrap().install(|| product(&a, &b)).unwrap();
        assert_eq!(fast, one);
        for i in 0..a.rows() {
            for j in 0..b.dim() {
                let slow: f64 = (0..37).map(|k| f64::from(a.row(i)[k]) * f64::from(b.row(k)[j])).sum();
                assert!((f64::from(fast.row(i)[j]) - slow).abs() < 1e-4);
            }
        }
        let c = random(19, 37, 3);
        let nt = product_nt(&a, &c).unwrap();
        assert!((f64::from(nt.row(599)[18]) - dot(a.row(599), c.row(18))).abs() < 1e-4);
    }

    #[test]
    fn a_bad_row_is_named() {
        let mut m = random(4, 3, 0);
        m.row_mut(2).fill(0.0);
        m.check_rows("embeddings").unwrap();
        m.row_mut(1)[0] = f32::NAN;
        assert!(m.check_rows("embeddings").unwrap_err().message().contains("row 1 holds NaN"));
    }
}
