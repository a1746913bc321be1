//! Root-mean-square normalisation of rows.
//!
//! y_j = x_j r w_j,  r = 1 / sqrt(mean_j x_j^2 + eps);  with w_j = weight_j, or 1 + weight_j (Gemma's files from
//! Hugging Face).
//! dx_j = r w_j dy_j - x_j r^3 / n * sum_i x_i w_i dy_i;  dweight_j = sum over rows of dy_j x_j r.

use crate::math::packed::vectorised;
use rayon::prelude::*;

/// Rows per task of the backward: fixed, so that sums over rows have one order.
const ROWS: usize = 64;

/// 1 / sqrt(mean x^2 + eps).
#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    (1.0 / (sum_of(x, x) / x.len() as f64 + f64::from(eps)).sqrt()) as f32
}

/// A dot product: eight lanes of f32, then across in f64. Rows here are at most some thousand values long.
#[inline(always)]
fn sum_of(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| f64::from(x * y)).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            lanes[i] += x[i] * y[i];
        }
    }
    lanes.iter().map(|v| f64::from(*v)).sum::<f64>() + tail
}

/// `x`: `[rows, n]`, n = `weight.len()`; `offset`: 0 or 1, what is added to the weight.
pub fn forward(x: &[f32], weight: &[f32], offset: f32, eps: f32) -> Vec<f32> {
    let n = weight.len();
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(ROWS * n).zip(x.par_chunks(ROWS * n)).for_each(|(out, x)| {
        vectorised(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
                    let r = inverse_rms(x, eps);
                    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                        *out = x * r * (w + offset);
                    }
                }
            },
        );
    });
    out
}

/// dx `[rows, n]`; dweight is added to `dweight` when it is wanted.
pub fn backward(x: &[f32], weight: &[f32], offset: f32, eps: f32, dy: &[f32], dweight: Option<&mut [f32]>) -> Vec<f32> {
    let n = weight.len();
    let mut dx = vec![0.0; x.len()];
    let wanted = dweight.is_some();
    let chunks = dx.par_chunks_mut(ROWS * n).zip(x.par_chunks(ROWS * n)).zip(dy.par_chunks(ROWS * n));
    let partial: Vec<Vec<f32>> = chunks
        .map(|((dx, x), dy)| {
            let mut dw = vec![0f32; if wanted { n } else { 0 }];
            let mut wdy = vec![0f32; n];
            vectorised(
                #[inline(always)]
                || {
                    for ((dx, x), dy) in dx.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(dy.chunks_exact(n)) {
                        let r = inverse_rms(x, eps);
                        for ((v, d), w) in wdy.iter_mut().zip(dy).zip(weight) {
                            *v = d * (w + offset);
                        }
                        let along = (sum_of(x, &wdy) / n as f64) as f32 * r * r * r;
                        for ((dx, x), v) in dx.iter_mut().zip(x).zip(&wdy) {
                            *dx = r * v - x * along;
                        }
                        for ((dw, x), d) in dw.iter_mut().zip(x).zip(dy) {
                            *dw += d * x * r;
                        }
                    }
                },
            );
            dw
        })
        .collect();
    if let Some(dweight) = dweight {
        for part in partial {
            dweight.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
        }
    }
    dx
}

#[cfg(test)]
mod tests {
    use super::super::check::*;
    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        let (x, weight, dy) = (random(5 * 19, b"x"), random(19, b"w"), random(5 * 19, b"dy"));
        for offset in [0.0, 1.0] {
            let mut dweight = vec![0.0; 19];
            let dx = backward(&x, &weight, offset, 1e-5, &dy, Some(&mut dweight));
            gradient_agrees("x", &x, &dx, |x| weighted(&forward(x, &weight, offset, 1e-5), &dy));
            gradient_agrees("weight", &weight, &dweight, |w| weighted(&forward(&x, w, offset, 1e-5), &dy));
        }
    }
}
