//! Soft assignment of rows to centres: p_ij = softmax_j(-||x_i - c_j|| / T) (paper §3.2.1), in f64.

use super::lanes::{Simd, WithSimd, exp, squared_distance, widest};
use crate::error::{Error, Result};
use crate::math::{self, Matrix, Rows, dot};
use crate::run::Run;
use faer::{Accum, Par, mat};
use rayon::prelude::*;

/// Distributions over clusters, one a row: `[rows, clusters]`, f64, each summing to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftAssignment {
    clusters: usize,
    p: Vec<f64>,
    entropy: Vec<f64>,
}

impl SoftAssignment {
    /// From masses `[rows, clusters]`, row-major.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the length does not fit or a row is no distribution.
    pub fn new(clusters: usize, p: Vec<f64>) -> Result<SoftAssignment> {
        if clusters == 0 || !p.len().is_multiple_of(clusters) {
            return Err(Error::invalid(format!("{} masses are no rows of {clusters}", p.len())));
        }
        let wrong = |p: &[f64]| p.iter().any(|m| m.is_nan() || *m < 0.0) || (p.iter().sum::<f64>() - 1.0).abs() > 1e-9;
        if let Some(row) = p.par_chunks_exact(clusters).position_first(wrong) {
            return Err(Error::invalid(format!("row {row} is no distribution over {clusters} clusters")));
        }
        let entropy = p.par_chunks_exact(clusters).map(math::entropy).collect();
        Ok(SoftAssignment { clusters, p, entropy })
    }
    /// Rows.
    pub fn rows(&self) -> usize {
        self.entropy.len()
    }
    /// K.
    pub fn clusters(&self) -> usize {
        self.clusters
    }
    /// p_i, `[clusters]`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.p[i * self.clusters..(i + 1) * self.clusters]
    }
    /// Bytes that p and H take for so many rows and clusters, and making them from rows of `dim` values.
    pub fn bytes(rows: usize, dim: usize, clusters: usize) -> u64 {
        let threads = 16 * BLOCK_ROWS * (8 * dim + 8 * clusters + 4 * dim);
        8 * (rows as u64) * (clusters as u64 + 1) + (12 * dim * clusters + threads) as u64
    }
    /// H(p_i) of every row, in nats, `[rows]`.
    pub fn entropy(&self) -> &[f64] {
        &self.entropy
    }
}

/// Rows of one product: fixed, and every block is of this height, so that equal rows get equal bits wherever they stand.
const BLOCK_ROWS: usize = 128;
/// Below e to this there is nothing left of a probability.
const LEAST: f64 = -709.0;
/// Below this share of ||x||^2 + ||c||^2 the expanded square has lost half its digits and the difference is summed itself.
const CANCELLED: f64 = 1e-4;

/// p of every row of `x` for `centers` `[clusters, dim]` at `temperature` > 0.
///
/// ||x - c||^2 = ||x||^2 - 2 x'c + ||c||^2 with products in f64, blocks of rows at a time.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`]: centres of another dim, none, or not finite; a temperature that is not above 0.
pub fn assign(x: &dyn Rows, centers: &Matrix, temperature: f64, run: &Run) -> Result<SoftAssignment> {
    let (dim, clusters) = (x.width(), centers.rows());
    if clusters == 0 || centers.dim() != dim {
        return Err(Error::invalid(format!(
            "select: centres {} x {} for rows of {dim} values; a [clusters, {dim}] matrix is needed",
            clusters,
            centers.dim()
        )));
    }
    if let Some(bad) = (0..clusters).find(|&j| centers.row(j).iter().any(|v| !v.is_finite())) {
        return Err(Error::invalid(format!("select: centre {bad} holds NaN or an infinity")));
    }
    if temperature.is_nan() || temperature <= 0.0 {
        return Err(Error::invalid(format!("select.temperature = {temperature} must be above 0")));
    }
    // [dim, clusters], so that the product runs along rows.
    let mut transposed = vec![0f64; dim * clusters];
    for j in 0..clusters {
        for (k, v) in centers.row(j).iter().enumerate() {
            transposed[k * clusters + j] = f64::from(*v);
        }
    }
    let lengths: Vec<f64> = (0..clusters).map(|j| dot(centers.row(j), centers.row(j))).collect();
    let mut p = vec![0f64; x.count() * clusters];
    let mut entropy = vec![0f64; x.count()];
    run.check()?;
    run.install(|| {
        p.par_chunks_mut(BLOCK_ROWS * clusters).zip(entropy.par_chunks_mut(BLOCK_ROWS)).enumerate().for_each_init(
            || (vec![0f64; BLOCK_ROWS * dim], vec![0f64; BLOCK_ROWS * clusters], Vec::new()),
            |(block, products, room), (at, (p, entropy))| {
                let first = at * BLOCK_ROWS;
                let rows = entropy.len();
                block.fill(0.0);
                let values = x.block(first, rows, room);
                block.iter_mut().zip(values).for_each(|(to, from)| *to = f64::from(*from));
                faer::linalg::matmul::matmul(
                    mat::MatMut::from_row_major_slice_mut(products, BLOCK_ROWS, clusters),
                    Accum::Replace,
                    mat::MatRef::from_row_major_slice(block, BLOCK_ROWS, dim),
                    mat::MatRef::from_row_major_slice(&transposed, dim, clusters),
                    1.0,
                    Par::Seq,
                );
                for i in 0..rows {
                    let row = &values[i * dim..(i + 1) * dim];
                    let length = dot(row, row);
                    let p = &mut p[i * clusters..(i + 1) * clusters];
                    for (j, p) in p.iter_mut().enumerate() {
                        let whole = length + lengths[j];
                        let mut square = whole - 2.0 * products[i * clusters + j];
                        if square < CANCELLED * whole {
                            square = squared_distance(row, centers.row(j));
                        }
                        *p = square;
                    }
                    entropy[i] = widest(Softmax { p, temperature });
                }
            },
        );
    });
    Ok(SoftAssignment { clusters, p, entropy })
}

/// Squared distances of one row in, p out; gives H(p).
struct Softmax<'a> {
    p: &'a mut [f64],
    temperature: f64,
}

impl WithSimd for Softmax<'_> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut nearest = f64::INFINITY;
        for p in self.p.iter_mut() {
            *p = p.max(0.0).sqrt();
            nearest = nearest.min(*p);
        }
        // With e_j = -d_j / T: H = ln sum - sum p_j e_j, one logarithm a row.
        let (mut sums, mut weighted) = ([0f64; 8], [0f64; 8]);
        let mut chunks = self.p.chunks_exact_mut(8);
        for p in &mut chunks {
            for i in 0..8 {
                let e = (nearest - p[i]) / self.temperature;
                p[i] = exp(e);
                sums[i] += p[i];
                weighted[i] = p[i].mul_add(e.max(LEAST), weighted[i]);
            }
        }
        for (i, p) in chunks.into_remainder().iter_mut().enumerate() {
            let e = (nearest - *p) / self.temperature;
            *p = exp(e);
            sums[i] += *p;
            weighted[i] = p.mul_add(e.max(LEAST), weighted[i]);
        }
        let (mut sum, mut mean) = (0.0, 0.0);
        for i in 0..8 {
            sum += sums[i];
            mean += weighted[i];
        }
        for p in self.p.iter_mut() {
            *p /= sum;
        }
        let entropy = sum.ln() - mean / sum;
        entropy.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;

    #[test]
    fn p_is_the_softmax_of_minus_the_distance_over_t() {
        let run = Run::new(2).unwrap();
        let mut random = Random::new(1, b"soft");
        let x = Matrix::from_vec(300, 7, (0..2100).map(|_| random.normal() as f32).collect()).unwrap();
        // Two centres are rows themselves: their distance to that row is 0 exactly.
        let centers = x.gather(&[3, 299, 17]);
        let soft = assign(&x, &centers, 0.3, &run).unwrap();
        for i in 0..300 {
            let mut slow: Vec<f64> = (0..3).map(|j| -squared_distance(x.row(i), centers.row(j)).sqrt()).collect();
            math::softmax(&mut slow, 0.3);
            for (fast, slow) in soft.row(i).iter().zip(&slow) {
                assert!((fast - slow).abs() < 1e-13, "row {i}: {fast} {slow}");
            }
            assert!((soft.entropy()[i] - math::entropy(&slow)).abs() < 1e-12);
        }
    }

    #[test]
    fn equal_rows_get_equal_bits_wherever_they_stand() {
        let run = Run::new(2).unwrap();
        for (dim, clusters) in [(5, 1), (33, 7), (384, 32), (64, 101)] {
            let mut random = Random::new(2, b"soft");
            let row: Vec<f32> = (0..dim).map(|_| random.normal() as f32).collect();
            let x = Matrix::from_vec(301, dim, row.repeat(301)).unwrap();
            let centers = (0..clusters * dim).map(|_| random.normal() as f32).collect();
            let soft = assign(&x, &Matrix::from_vec(clusters, dim, centers).unwrap(), 0.1, &run).unwrap();
            for i in 1..301 {
                assert_eq!(soft.row(i), soft.row(0), "row {i}, {dim} x {clusters}");
            }
        }
    }

    #[test]
    fn centres_that_do_not_fit_are_refused() {
        let run = Run::new(1).unwrap();
        let x = Matrix::from_vec(2, 2, vec![1.0, 0.0, 0.0, 1.0]).unwrap();
        assert!(assign(&x, &Matrix::zeros(0, 2), 1.0, &run).is_err());
        assert!(assign(&x, &Matrix::zeros(1, 3), 1.0, &run).is_err());
        assert!(assign(&x, &Matrix::from_vec(1, 2, vec![f32::NAN, 0.0]).unwrap(), 1.0, &run).is_err());
        assert!(assign(&x, &Matrix::zeros(1, 2), 0.0, &run).is_err());
    }
}
