//! Truncated SVD of a sparse matrix by random projection (Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1).

use super::{Matrix, Random, product};
use crate::error::{Error, Result};
use crate::run::Run;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd;
use faer::{Accum, Mat, MatRef, Par, Spec};
use rayon::prelude::*;

/// A sparse matrix by rows, `[rows, columns]`: row `i` has `entries[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sparse {
    columns: usize,
    offsets: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl Sparse {
    /// No rows yet; every row added has columns below `columns`.
    pub fn new(columns: usize) -> Sparse {
        Sparse { columns, offsets: vec![0], entries: Vec::new() }
    }
    /// Adds a row of (column, value).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a column that the matrix does not have, or a value that is not finite.
    pub fn push_row(&mut self, row: &[(u32, f32)]) -> Result<()> {
        if let Some((column, value)) = row.iter().find(|(c, v)| *c as usize >= self.columns || !v.is_finite()) {
            return Err(Error::invalid(format!("the value {value} in column {column} of {}", self.columns)));
        }
        self.entries.extend_from_slice(row);
        self.offsets.push(self.entries.len());
        Ok(())
    }
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }
    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }
    /// Row `i`: (column, value).
    pub fn row(&self, i: usize) -> &[(u32, f32)] {
        &self.entries[self.offsets[i]..self.offsets[i + 1]]
    }
    /// The transpose; its rows list their columns in ascending order.
    pub fn transpose(&self) -> Sparse {
        let mut offsets = vec![0usize; self.columns + 1];
        for (column, _) in &self.entries {
            offsets[*column as usize + 1] += 1;
        }
        for i in 0..self.columns {
            offsets[i + 1] += offsets[i];
        }
        let mut next = offsets.clone();
        let mut entries = vec![(0u32, 0f32); self.entries.len()];
        for i in 0..self.rows() {
            for (column, value) in self.row(i) {
                let at = &mut next[*column as usize];
                entries[*at] = (i as u32, *value);
                *at += 1;
            }
        }
        Sparse { columns: self.rows(), offsets, entries }
    }
    /// This `[rows, columns]` times `b` `[columns, n]`: `[rows, n]`. Every row is summed in its own order.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the inner sizes differ.
    pub fn product(&self, b: &Matrix) -> Result<Matrix> {
        if b.rows() != self.columns {
            let message = format!("sparse product of {}x{} and {}x{}", self.rows(), self.columns, b.rows(), b.dim());
            return Err(Error::invalid(message));
        }
        let mut out = Matrix::zeros(self.rows(), b.dim());
        if b.dim() == 0 {
            return Ok(out);
        }
        out.data_mut().par_chunks_mut(b.dim()).enumerate().for_each(|(i, out)| {
            for (column, value) in self.row(i) {
                for (o, x) in out.iter_mut().zip(b.row(*column as usize)) {
                    *o += value * x;
                }
            }
        });
        Ok(out)
    }
}

/// The largest singular values of a matrix `[rows, columns]` and their vectors, largest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Svd {
    /// Left vectors, `[rows, k]`, orthonormal columns.
    pub left: Matrix,
    /// Singular values, `[k]`, descending, above 0.
    pub values: Vec<f32>,
    /// Right vectors, `[columns, k]`, orthonormal columns.
    pub right: Matrix,
}

/// Extra directions of the random projection: they catch what the wanted ones blur.
const OVERSAMPLE: usize = 16;
/// Singular values below this share of the largest are noise of the f32 products.
const RANK_TOLERANCE: f64 = 1e-6;

/// The `k` largest singular values of `a` and their vectors; fewer when the rank is lower. `power` rounds of power
/// iteration sharpen a slowly falling spectrum (2 to 4 for texts). The sign of a pair of vectors is free; here the entry
/// of largest magnitude of each right vector is positive. Same bytes for any number of threads.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for a matrix of zeros, or `k` = 0; [`crate::ErrorKind::Cancelled`], which takes effect within a
/// round.
pub fn truncated_svd(a: &Sparse, k: usize, power: usize, random: &mut Random, run: &Run) -> Result<Svd> {
    let least = a.rows().min(a.columns());
    if k == 0 || least == 0 {
        return Err(Error::invalid(format!("{k} singular values of a {}x{} matrix", a.rows(), a.columns())));
    }
    let width = (k + OVERSAMPLE).min(least);
    let transposed = a.transpose();
    let start: Vec<f32> = (0..a.columns() * width).map(|_| random.normal() as f32).collect();
    let mut range = a.product(&Matrix::from_vec(a.columns(), width, start)?)?;
    orthonormalise(&mut range, run)?;
    for _ in 0..power {
        let mut other = transposed.product(&range)?;
        orthonormalise(&mut other, run)?;
        range = a.product(&other)?;
        orthonormalise(&mut range, run)?;
    }
    // a ~ range b', with b = a' range: its SVD follows from the eigenvectors of b'b.
    let b = transposed.product(&range)?;
    let (values, vectors) = eigen(&gram_matrix(&b, run))?;
    run.check()?;
    let largest = values.first().copied().unwrap_or(0.0).max(0.0).sqrt();
    if largest == 0.0 {
        return Err(Error::invalid("a matrix of zeros has no singular vectors"));
    }
    let kept: Vec<f64> =
        values.iter().take(k).map(|v| v.max(0.0).sqrt()).filter(|s| *s > largest * RANK_TOLERANCE).collect();
    let rotation = |scale: &dyn Fn(usize) -> f64| -> Result<Matrix> {
        let mut data = Vec::with_capacity(vectors.nrows() * kept.len());
        for i in 0..vectors.nrows() {
            data.extend((0..kept.len()).map(|j| (vectors[(i, j)] * scale(j)) as f32));
        }
        Matrix::from_vec(vectors.nrows(), kept.len(), data)
    };
    let mut right = product(&b, &rotation(&|j| 1.0 / kept[j])?)?;
    let mut left = product(&range, &rotation(&|_| 1.0)?)?;
    for j in 0..kept.len() {
        let top = (0..right.rows()).map(|i| right.row(i)[j]).fold(0f32, |t, v| if v.abs() > t.abs() { v } else { t });
        if top < 0.0 {
            (0..right.rows()).for_each(|i| right.row_mut(i)[j] *= -1.0);
            (0..left.rows()).for_each(|i| left.row_mut(i)[j] *= -1.0);
        }
    }
    Ok(Svd { left, values: kept.iter().map(|s| *s as f32).collect(), right })
}

/// m'm of `m` `[rows, dim]`: `[dim * dim]`, in f64. Same bytes for any number of threads.
pub fn gram(m: &Matrix) -> Vec<f64> {
    let dim = m.dim();
    let sum = gram_of(m, &|| false);
    (0..dim * dim).map(|at| sum[(at / dim, at % dim)]).collect()
}

/// Rows per partial sum of [`gram`]: fixed, so that the bytes do not depend on the number of threads.
const GRAM_ROWS: usize = 2048;

/// [`gram_of`] that ends early, with whatever was summed, once `run` is cancelled: who calls it checks.
fn gram_matrix(m: &Matrix, run: &Run) -> Mat<f64> {
    gram_of(m, &|| run.is_cancelled())
}

/// m'm, `[dim, dim]`, in f64: partial sums over fixed chunks of rows, added in their order.
fn gram_of(m: &Matrix, ended: &(dyn Fn() -> bool + Sync)) -> Mat<f64> {
    let dim = m.dim();
    let mut sum = Mat::<f64>::zeros(dim, dim);
    // A few chunks at a time: memory stays small however many rows there are.
    for group in m.data().chunks(GRAM_ROWS * dim.max(1) * 16) {
        if ended() {
            break;
        }
        let parts: Vec<Mat<f64>> = group
            .par_chunks(GRAM_ROWS * dim.max(1))
            .map(|chunk| {
                let wide: Vec<f64> = chunk.iter().map(|v| f64::from(*v)).collect();
                let rows = MatRef::from_row_major_slice(&wide, chunk.len() / dim, dim);
                let mut part = Mat::<f64>::zeros(dim, dim);
                faer::linalg::matmul::matmul(&mut part, Accum::Replace, rows.transpose(), rows, 1.0, Par::Seq);
                part
            })
            .collect();
        for part in parts {
            sum += part;
        }
    }
    sum
}

/// Eigenvalues of a symmetric matrix, descending, and their vectors as columns. One thread: a fixed order of sums.
fn eigen(m: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let n = m.nrows();
    let mut values = faer::Mat::<f64>::zeros(n, 1);
    let mut vectors = Mat::<f64>::zeros(n, n);
    let scratch = evd::self_adjoint_evd_scratch::<f64>(n, evd::ComputeEigenvectors::Yes, Par::Seq, Spec::default());
    evd::self_adjoint_evd(
        m.as_ref(),
        values.as_mut().col_mut(0).as_diagonal_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Spec::default(),
    )
    .map_err(|e| Error::invalid(format!("no eigenvalues of a matrix that holds NaN: {e:?}")))?;
    // faer gives them ascending.
    let descending: Vec<f64> = (0..n).rev().map(|i| values[(i, 0)]).collect();
    let reversed = Mat::from_fn(n, n, |i, j| vectors[(i, n - 1 - j)]);
    Ok((descending, reversed))
}

/// Replaces the columns of `m` by an orthonormal basis of what they span (columns of zeros beyond the rank): from the
/// eigenvectors of the f64 Gram matrix, twice, because once leaves the error of the condition number squared.
fn orthonormalise(m: &mut Matrix, run: &Run) -> Result<()> {
    for _ in 0..2 {
        let sums = gram_matrix(m, run);
        run.check()?;
        let (values, vectors) = eigen(&sums)?;
        run.check()?;
        let largest = values.first().copied().unwrap_or(0.0);
        let n = vectors.nrows();
        let mut rotation = Vec::with_capacity(n * n);
        for i in 0..n {
            rotation.extend(values.iter().enumerate().map(|(j, value)| {
                if *value > largest * RANK_TOLERANCE * RANK_TOLERANCE * 1e-2 && *value > 0.0 {
                    (vectors[(i, j)] / value.sqrt()) as f32
                } else {
                    0.0
                }
            }));
        }
        *m = product(m, &Matrix::from_vec(n, n, rotation)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sparse matrix with a falling spectrum, and the same as a dense one.
    fn example(rows: usize, columns: usize, seed: u64) -> (Sparse, Mat<f64>) {
        let mut random = Random::new(seed, b"svd example");
        let mut sparse = Sparse::new(columns);
        let mut dense = Mat::<f64>::zeros(rows, columns);
        for i in 0..rows {
            let topic = random.below(5);
            let row: Vec<(u32, f32)> = (0..columns)
                .filter_map(|j| {
                    let p = if j % 5 == topic { 0.5 } else { 0.05 };
                    (random.uniform() < p).then(|| (j as u32, (random.uniform() * (1.0 + topic as f64)) as f32))
                })
                .collect();
            row.iter().for_each(|(j, v)| dense[(i, *j as usize)] = f64::from(*v));
            sparse.push_row(&row).unwrap();
        }
        (sparse, dense)
    }

    #[test]
    fn the_truncated_svd_agrees_with_the_dense_one() {
        let (sparse, dense) = example(300, 120, 1);
        let truth = dense.svd().unwrap();
        let ours = truncated_svd(&sparse, 5, 12, &mut Random::new(0, b"test"), &Run::new(1).unwrap()).unwrap();
        for j in 0..5 {
            let (mine, theirs) = (f64::from(ours.values[j]), truth.S()[j]);
            assert!((mine - theirs).abs() < 1e-4 * truth.S()[0], "value {j}: {mine}, dense {theirs}");
        }
        // The five topics stand out from the noise: the subspaces agree, whatever the signs and rotations within.
        for j in 0..5 {
            let inside: f64 = (0..5)
                .map(|l| (0..120).map(|i| truth.V()[(i, j)] * f64::from(ours.right.row(i)[l])).sum::<f64>().powi(2))
                .sum();
            assert!(inside > 0.9999, "right vector {j}: {inside} of it in our subspace");
        }
        // a v = s u, column by column.
        let projected = sparse.product(&ours.right).unwrap();
        for i in 0..300 {
            for j in 0..5 {
                let expected = ours.values[j] * ours.left.row(i)[j];
                assert!((projected.row(i)[j] - expected).abs() < 2e-3 * ours.values[0], "row {i}, column {j}");
            }
        }
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_number_of_threads() {
        let (sparse, _) = example(5000, 90, 2);
        let of = |threads| {
            let run = Run::new(threads).unwrap();
            run.install(|| truncated_svd(&sparse, 7, 2, &mut Random::new(3, b"t"), &run)).unwrap()
        };
        let (one, two) = (of(1), of(2));
        assert_eq!(one, two);
    }

    #[test]
    fn a_low_rank_gives_fewer_values_and_no_nan() {
        let mut sparse = Sparse::new(30);
        for i in 0..40u32 {
            sparse.push_row(&[(i % 2, 1.0), (2 + i % 2, 2.0)]).unwrap();
        }
        let svd = truncated_svd(&sparse, 10, 2, &mut Random::new(0, b"t"), &Run::new(1).unwrap()).unwrap();
        // Two distinct rows, twenty times each: two singular values of sqrt(20 (1 + 4)) = 10.
        assert_eq!(svd.values.len(), 2);
        assert!(svd.values.iter().all(|v| (v - 10.0).abs() < 1e-4), "{:?}", svd.values);
        assert!(svd.right.data().iter().chain(svd.left.data()).all(|v| v.is_finite()));
    }

    #[test]
    fn zeros_and_columns_outside_are_refused() {
        let mut zeros = Sparse::new(3);
        zeros.push_row(&[]).unwrap();
        assert!(truncated_svd(&zeros, 1, 1, &mut Random::new(0, b"t"), &Run::new(1).unwrap()).is_err());
        assert!(zeros.push_row(&[(3, 1.0)]).is_err());
        assert!(zeros.push_row(&[(0, f32::NAN)]).is_err());
    }

    #[test]
    fn the_transpose_of_the_transpose_is_the_matrix() {
        let (sparse, _) = example(50, 20, 4);
        assert_eq!(sparse.transpose().transpose(), sparse);
    }
}
