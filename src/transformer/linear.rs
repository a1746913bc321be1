//! Products with a weight W `[out, in]` as files store it.
//!
//! y = x W';  dx = dy W;  dW = dy' x.
//!
//! W may be quantised: it is then decoded a tile at a time, into a scratch that stays in cache. No f32 copy of W ever
//! exists. What is multiplied with several weights is packed once.

use super::weights::Tensor;
use crate::math::gemm::Into;
use crate::math::packed::{Arithmetic, Dense, Left, Right, RightTile, Term, product};
use rayon::prelude::*;
use std::ops::Range;

/// W' as the right side of a product with the layer's input, `[in, out]`.
pub struct TurnedWeight<'a>(pub &'a Tensor);

/// W as the right side of a product with the gradient of the layer's output, `[out, in]`.
pub struct PlainWeight<'a>(pub &'a Tensor);

impl Right for TurnedWeight<'_> {
    fn inner(&self) -> usize {
        self.0.cols
    }
    fn tile<'a>(&'a self, inner: Range<usize>, cols: Range<usize>, scratch: &'a mut Vec<f32>) -> RightTile<'a> {
        let (values, stride) = self.0.tile(cols, inner, scratch);
        RightTile { values, stride, turned: true }
    }
}

impl Right for PlainWeight<'_> {
    fn inner(&self) -> usize {
        self.0.rows
    }
    fn grain(&self) -> usize {
        self.0.block_values()
    }
    fn tile<'a>(&'a self, inner: Range<usize>, cols: Range<usize>, scratch: &'a mut Vec<f32>) -> RightTile<'a> {
        let (values, stride) = self.0.tile(inner, cols, scratch);
        RightTile { values, stride, turned: false }
    }
}

/// y `[tokens, out]` = x `[tokens, in]` W'.
pub fn forward(y: &mut [f32], x: &[f32], w: &Tensor, arithmetic: Arithmetic) {
    let x = Left::of_rows(x, w.cols, 1.0, arithmetic);
    product(y, w.rows, Into::Replace, &[Term::new(&x, TurnedWeight(w))]);
}

/// dx `[tokens, in]` = dy `[tokens, out]` W.
pub fn backward_input(dx: &mut [f32], dy: &[f32], w: &Tensor, arithmetic: Arithmetic) {
    let dy = Left::of_rows(dy, w.rows, 1.0, arithmetic);
    product(dx, w.cols, Into::Replace, &[Term::new(&dy, PlainWeight(w))]);
}

/// dW `[rows, cols]` += scale dy' x, for dy `[tokens, rows]` and x `[tokens, cols]`.
pub fn backward_weight(
    dw: &mut [f32],
    dy: &[f32],
    x: &[f32],
    [rows, cols]: [usize; 2],
    scale: f32,
    arithmetic: Arithmetic,
) {
    let dy = Left::of_columns(dy, rows, scale, arithmetic);
    product(dw, cols, Into::Add, &[Term::new(&dy, Dense { values: x, stride: cols, turned: false })]);
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
        forward(&mut y, x, w, Arithmetic::F32);
        y
    }

    #[test]
    fn gradients_agree_with_differences() {
        let (x, w, dy) = (random(7 * 12, b"x"), random(9 * 12, b"w"), random(7 * 9, b"dy"));
        let t = tensor(9, 12, Storage::F32(w.clone()));
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        backward_input(&mut dx, &dy, &t, Arithmetic::F32);
        backward_weight(&mut dw, &dy, &x, [9, 12], 1.0, Arithmetic::F32);
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
        backward_weight(&mut dw, &dy, &x, [rows, cols], 0.5, Arithmetic::F32);
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
        backward_input(&mut a, &dy, &plain, Arithmetic::F32);
        backward_input(&mut b, &dy, &tiled, Arithmetic::F32);
        assert!(close(&a, &b));
    }
}
