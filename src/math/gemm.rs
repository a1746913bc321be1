//! Products of views, `out = a b` or `out += a b`, on faer: blocks of the output are tasks, each on one thread.
//!
//! A block is never split along the inner dimension and its size depends on the shapes alone, so the bytes are the same
//! for any number of threads. Transposes and column ranges are views; nothing is copied here.

use faer::{Accum, Par, mat};
use rayon::prelude::*;

/// A view of f32 values, any strides.
pub type View<'a> = mat::MatRef<'a, f32>;
/// A view to write.
pub type ViewMut<'a> = mat::MatMut<'a, f32>;

/// `values` as `[rows, cols]`, row-major.
pub fn view(values: &[f32], rows: usize, cols: usize) -> View<'_> {
    mat::MatRef::from_row_major_slice(values, rows, cols)
}

/// `values` as `[rows, cols]`, row-major, to write.
pub fn view_mut(values: &mut [f32], rows: usize, cols: usize) -> ViewMut<'_> {
    mat::MatMut::from_row_major_slice_mut(values, rows, cols)
}

/// What a product does to what stands in its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// `out = a b`.
    Replace,
    /// `out += a b`.
    Add,
}

/// Length of a block along the longer side of the output: small enough that a few threads share the work evenly. faer's
/// kernel takes 24 columns at a time, so long sides go by multiples of that; short ones are better cut into equal parts.
pub fn block_length(length: usize) -> usize {
    if length >= 1024 { (length / 32).next_multiple_of(96).min(384) } else { 128 }
}

/// `out` `[m, n]` = (or +=) `scale` `a` `[m, k]` `b` `[k, n]` on the current pool's threads.
pub fn gemm(out: ViewMut<'_>, into: Into, a: View<'_>, b: View<'_>, scale: f32) {
    let (m, n) = (out.nrows(), out.ncols());
    if m == 0 || n == 0 {
        return;
    }
    if m * n * a.ncols() < 1 << 16 {
        gemm_here(out, into, a, b, scale);
    } else if n >= m.min(384) {
        // By columns no block packs what another one has packed.
        let width = block_length(n);
        out.par_col_chunks_mut(width).enumerate().for_each(|(i, out)| {
            let cols = out.ncols();
            gemm_here(out, into, a, b.subcols(i * width, cols), scale);
        });
    } else {
        let height = block_length(m);
        out.par_row_chunks_mut(height).enumerate().for_each(|(i, out)| {
            let rows = out.nrows();
            gemm_here(out, into, a.subrows(i * height, rows), b, scale);
        });
    }
}

/// [`gemm`] on this thread alone: what a task of a larger loop calls.
pub fn gemm_here(out: ViewMut<'_>, into: Into, a: View<'_>, b: View<'_>, scale: f32) {
    let accumulate = match into {
        Into::Replace => Accum::Replace,
        Into::Add => Accum::Add,
    };
    faer::linalg::matmul::matmul(out, accumulate, a, b, scale, Par::Seq);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;
    use crate::run::Run;

    fn random(n: usize, stream: &[u8]) -> Vec<f32> {
        let mut random = Random::new(5, stream);
        (0..n).map(|_| random.normal() as f32).collect()
    }

    #[test]
    fn products_agree_with_the_slow_twin_in_all_layouts_and_for_any_threads() {
        for (m, n, k) in [(3, 5, 7), (300, 40, 33), (40, 300, 65), (257, 259, 31)] {
            let (a, b, start) = (random(m * k, b"a"), random(k * n, b"b"), random(m * n, b"c"));
            for (at, bt) in [(false, false), (false, true), (true, false)] {
                let av = if at { view(&a, k, m).transpose() } else { view(&a, m, k) };
                let bv = if bt { view(&b, n, k).transpose() } else { view(&b, k, n) };
                let compute = |threads| {
                    let mut out = start.clone();
                    let run = Run::new(threads).unwrap();
                    run.install(|| gemm(view_mut(&mut out, m, n), Into::Add, av, bv, 0.5));
                    out
                };
                let out = compute(2);
                assert_eq!(out, compute(1));
                for i in 0..m {
                    for j in 0..n {
                        let slow: f64 = (0..k).map(|l| f64::from(av[(i, l)]) * f64::from(bv[(l, j)])).sum();
                        let slow = f64::from(start[i * n + j]) + 0.5 * slow;
                        assert!((f64::from(out[i * n + j]) - slow).abs() < 1e-4, "{m}x{n}x{k} at {i},{j}");
                    }
                }
            }
        }
    }
}
