//! Products with a weight W `[out, in]` as files store it.
//!
//! y = x W';  dx = dy W;  dW = dy' x.
//!
//! W may be quantised: a task then owns some columns of the result and decodes just the tiles it needs, one after the
//! other, into a scratch that stays in cache. No f32 copy of W ever exists.

use super::weights::Tensor;
use crate::math::gemm::{Into, View, ViewMut, block_length, gemm, gemm_here, view, view_mut};
use rayon::prelude::*;
use std::cell::RefCell;

thread_local! {
    /// The decoded tile of this thread.
    static TILE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Longest side of a tile along the inner dimension: 128 x 2048 or 512 x 256 values are 1 MiB or less.
const FORWARD_INNER: usize = 2048;
const BACKWARD_INNER: usize = 512;

/// A product of rank r added to the result: `scale` inner factor, with inner `[tokens, r]` and factor `[r, width]`.
///
/// It is added to each block of columns while that is still in cache.
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    /// `[tokens, r]`.
    pub inner: &'a [f32],
    /// `[r, width]`, any strides.
    pub factor: View<'a>,
    /// Scale of the product.
    pub scale: f32,
}

impl LowRank<'_> {
    fn add(&self, out: ViewMut<'_>, start: usize) {
        let inner = view(self.inner, out.nrows(), self.factor.nrows());
        let factor = self.factor.subcols(start, out.ncols());
        gemm_here(out, Into::Add, inner, factor, self.scale);
    }
}

/// y `[tokens, out]` = (or +=) x `[tokens, in]` W' (+ a product of low rank).
pub fn forward(y: &mut [f32], into: Into, x: &[f32], w: &Tensor, low_rank: Option<LowRank<'_>>) {
    let tokens = x.len() / w.cols;
    let x = view(x, tokens, w.cols);
    if let (Some(values), None, true) = (w.floats(), low_rank, w.rows < 256) {
        // Too few columns to share out: an adapter's A.
        return gemm(view_mut(y, tokens, w.rows), into, x, view(values, w.rows, w.cols).transpose(), 1.0);
    }
    let plain = w.floats().is_some();
    let (width, inner) =
        if plain { (block_length(w.rows), w.cols) } else { (block_length(w.rows).min(96), FORWARD_INNER) };
    view_mut(y, tokens, w.rows).par_col_chunks_mut(width).enumerate().for_each(|(i, mut y)| {
        TILE.with_borrow_mut(|scratch| {
            let rows = i * width..i * width + y.ncols();
            let mut into = into;
            for start in (0..w.cols).step_by(inner) {
                let cols = start..(start + inner).min(w.cols);
                let x = x.subcols(start, cols.len());
                gemm_here(y.as_mut(), into, x, w.tile(rows.clone(), cols, scratch).transpose(), 1.0);
                into = Into::Add;
            }
        });
        if let Some(low_rank) = low_rank {
            low_rank.add(y, i * width);
        }
    });
}

/// dx `[tokens, in]` = (or +=) dy `[tokens, out]` W (+ a product of low rank).
pub fn backward_input(dx: &mut [f32], into: Into, dy: &[f32], w: &Tensor, low_rank: Option<LowRank<'_>>) {
    let tokens = dy.len() / w.rows;
    let dy = view(dy, tokens, w.rows);
    // Tiles begin and end at blocks: of 32 values (Q8_0, Q4_0; three of them are four widths of faer's kernel) or 256.
    let width = if 96 % w.block_values() == 0 { block_length(w.cols) } else { 256 };
    let inner = if w.floats().is_some() { w.rows } else { BACKWARD_INNER };
    view_mut(dx, tokens, w.cols).par_col_chunks_mut(width).enumerate().for_each(|(i, mut dx)| {
        TILE.with_borrow_mut(|scratch| {
            let cols = i * width..i * width + dx.ncols();
            let mut into = into;
            for start in (0..w.rows).step_by(inner) {
                let rows = start..(start + inner).min(w.rows);
                let dy = dy.subcols(start, rows.len());
                gemm_here(dx.as_mut(), into, dy, w.tile(rows, cols.clone(), scratch), 1.0);
                into = Into::Add;
            }
        });
        if let Some(low_rank) = low_rank {
            low_rank.add(dx, i * width);
        }
    });
}

/// dW `[out, in]` += scale dy' x.
pub fn backward_weight(dw: &mut [f32], dy: &[f32], x: &[f32], rows: usize, cols: usize, scale: f32) {
    let tokens = x.len() / cols;
    if rows >= cols.max(256) || cols >= 256 {
        // The kernel reads its left side along the inner dimension, a page per token if it were left as it is.
        let turned = transposed(dy, tokens, rows);
        return gemm(view_mut(dw, rows, cols), Into::Add, view(&turned, rows, tokens), view(x, tokens, cols), scale);
    }
    gemm(view_mut(dw, rows, cols), Into::Add, view(dy, tokens, rows).transpose(), view(x, tokens, cols), scale);
}

/// `values` `[rows, cols]` as `[cols, rows]`.
fn transposed(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    const SIDE: usize = 16;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(SIDE * rows).enumerate().for_each(|(block, out)| {
        let width = out.len() / rows;
        for start in (0..rows).step_by(SIDE) {
            for row in start..(start + SIDE).min(rows) {
                let from = &values[row * cols + block * SIDE..][..width];
                for (i, value) in from.iter().enumerate() {
                    out[i * rows + row] = *value;
                }
            }
        }
    });
    out
}

/// y += bias on every row.
pub fn add_bias(y: &mut [f32], bias: &[f32]) {
    y.par_chunks_mut(bias.len()).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
}

/// dbias += the sum of dy over rows, in their order.
pub fn backward_bias(dbias: &mut [f32], dy: &[f32]) {
    for row in dy.chunks_exact(dbias.len()) {
        dbias.iter_mut().zip(row).for_each(|(sum, d)| *sum += d);
    }
}

/// a += b.
pub fn add(a: &mut [f32], b: &[f32]) {
    a.par_chunks_mut(1 << 14).zip(b.par_chunks(1 << 14)).for_each(|(a, b)| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    });
}

#[cfg(test)]
mod tests {
    use super::super::check::*;
    use super::super::weights::{Part, Place, Storage};
    use super::*;
    use half::bf16;

    fn tensor(rows: usize, cols: usize, storage: Storage) -> Tensor {
        Tensor { place: Place { layer: Some(0), part: Part::Q, lora: None }, rows, cols, storage, trained: false }
    }

    fn apply(x: &[f32], w: &Tensor) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / w.cols * w.rows];
        forward(&mut y, Into::Replace, x, w, None);
        y
    }

    #[test]
    fn gradients_agree_with_differences() {
        let (x, w, dy) = (random(7 * 12, b"x"), random(9 * 12, b"w"), random(7 * 9, b"dy"));
        let t = tensor(9, 12, Storage::F32(w.clone()));
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        backward_input(&mut dx, Into::Replace, &dy, &t, None);
        backward_weight(&mut dw, &dy, &x, 9, 12, 1.0);
        gradient_agrees("x", &x, &dx, |x| weighted(&apply(x, &t), &dy));
        gradient_agrees("w", &w, &dw, |w| weighted(&apply(&x, &tensor(9, 12, Storage::F32(w.to_vec()))), &dy));
        let (bias, mut dbias) = (random(9, b"b"), vec![0.0; 9]);
        backward_bias(&mut dbias, &dy);
        gradient_agrees("bias", &bias, &dbias, |b| {
            let mut y = apply(&x, &t);
            add_bias(&mut y, b);
            weighted(&y, &dy)
        });
    }

    #[test]
    fn large_weight_gradients_agree_with_the_slow_twin() {
        let (tokens, rows, cols) = (37, 300, 290);
        let (dy, x) = (random(tokens * rows, b"dy"), random(tokens * cols, b"x"));
        let mut dw = vec![1.0; rows * cols];
        backward_weight(&mut dw, &dy, &x, rows, cols, 0.5);
        for (i, j) in [(0, 0), (299, 289), (17, 255), (128, 3)] {
            let slow: f32 = (0..tokens).map(|t| dy[t * rows + i] * x[t * cols + j]).sum();
            assert!((dw[i * cols + j] - 1.0 - 0.5 * slow).abs() < 1e-4);
        }
    }

    #[test]
    fn decoded_tiles_give_what_the_plain_weights_give() {
        let (rows, cols, tokens) = (700, 2400, 5);
        let rounded: Vec<bf16> = random(rows * cols, b"w").into_iter().map(bf16::from_f32).collect();
        let plain = tensor(rows, cols, Storage::F32(rounded.iter().map(|v| v.to_f32()).collect()));
        let tiled = tensor(rows, cols, Storage::Bf16(rounded));
        let (x, dy) = (random(tokens * cols, b"x"), random(tokens * rows, b"dy"));
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-3);
        assert!(close(&apply(&x, &plain), &apply(&x, &tiled)));
        let (mut a, mut b) = (x.clone(), x.clone());
        backward_input(&mut a, Into::Add, &dy, &plain, None);
        backward_input(&mut b, Into::Add, &dy, &tiled, None);
        assert!(close(&a, &b));
    }
}
