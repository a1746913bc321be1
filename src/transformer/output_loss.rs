//! The language-model head with its cross-entropy, over the predicted tokens alone.
//!
//! z = cap(h W'),  loss = -log softmax(z)[token];  dz = scale (softmax(z) - onehot) (1 - (z/c)^2),  dh = dz W,
//! dW = dz' h.
//!
//! Logits exist for one chunk of rows at a time: [chunk, vocabulary], never [tokens, vocabulary].

use super::elementary::{exp_and_sum, largest, tanh};
use super::linear;
use super::weights::Tensor;
use crate::math::packed::{Arithmetic, vectorised};
use rayon::prelude::*;

/// A sum of losses over tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loss {
    /// Sum of -log p over the tokens, in nats.
    pub sum: f64,
    /// Number of tokens.
    pub tokens: usize,
}

impl Loss {
    /// Nats per token.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens as f64
    }
    /// Adds another sum.
    pub fn add(&mut self, other: Loss) {
        self.sum += other.sum;
        self.tokens += other.tokens;
    }
}

/// Bytes of logits that exist at a time, at most (one row of them always does).
const CHUNK_BYTES: usize = 128 << 20;

fn rows_per_chunk(vocabulary: usize) -> usize {
    (CHUNK_BYTES / 4 / vocabulary).clamp(1, 1024)
}

/// Logits of the states `h` `[rows, dim]`, capped: `[rows, vocabulary]`. For inspection: the loss never needs them all.
pub fn logits(h: &[f32], w: &Tensor, cap: Option<f32>, arithmetic: Arithmetic) -> Vec<f32> {
    let mut z = vec![0.0; h.len() / w.cols * w.rows];
    linear::forward(&mut z, h, w, arithmetic);
    if let Some(cap) = cap {
        z.par_iter_mut().for_each(|z| *z = cap * tanh(*z / cap));
    }
    z
}

/// The loss of each of `tokens` given states `h` `[tokens, dim]`.
pub fn losses(h: &[f32], w: &Tensor, cap: Option<f32>, tokens: &[u32], arithmetic: Arithmetic) -> Vec<f64> {
    let rows = rows_per_chunk(w.rows);
    let mut each = Vec::with_capacity(tokens.len());
    for (h, tokens) in h.chunks(rows * w.cols).zip(tokens.chunks(rows)) {
        let mut z = logits(h, w, cap, arithmetic);
        let chunks = z.par_chunks_mut(w.rows).zip(tokens);
        each.par_extend(chunks.map(|(z, token)| {
            f64::from(vectorised(
                #[inline(always)]
                || softmax(z, *token),
            ))
        }));
    }
    each
}

/// The losses' sum, and dh `[tokens, dim]` of `scale` times it; dW is added to `dw` when it is wanted.
pub fn backward(
    h: &[f32],
    w: &Tensor,
    cap: Option<f32>,
    tokens: &[u32],
    scale: f32,
    mut dw: Option<&mut [f32]>,
    arithmetic: Arithmetic,
) -> (Loss, Vec<f32>) {
    let rows = rows_per_chunk(w.rows);
    let mut total = Loss::default();
    let mut dh = vec![0.0; h.len()];
    let chunks = h.chunks(rows * w.cols).zip(dh.chunks_mut(rows * w.cols)).zip(tokens.chunks(rows));
    for ((h, dh), tokens) in chunks {
        let mut z = vec![0.0; tokens.len() * w.rows];
        linear::forward(&mut z, h, w, arithmetic);
        let losses: Vec<f64> =
            z.par_chunks_mut(w.rows).zip(tokens).map(|(z, token)| f64::from(gradient(z, cap, *token, scale))).collect();
        total.add(Loss { sum: losses.iter().sum(), tokens: losses.len() });
        linear::backward_input(dh, &z, w, arithmetic);
        if let Some(dw) = dw.as_deref_mut() {
            linear::backward_weight(dw, &z, h, [w.rows, w.cols], 1.0, arithmetic);
        }
    }
    (total, dh)
}

/// One row: logits become dz; returns the loss.
fn gradient(z: &mut [f32], cap: Option<f32>, token: u32, scale: f32) -> f32 {
    vectorised(
        #[inline(always)]
        || gradient_here(z, cap, token, scale),
    )
}

#[inline(always)]
fn gradient_here(z: &mut [f32], cap: Option<f32>, token: u32, scale: f32) -> f32 {
    match cap {
        None => {
            let loss = softmax(z, token);
            z[token as usize] -= 1.0;
            z.iter_mut().for_each(|z| *z *= scale);
            loss
        }
        Some(cap) => {
            let mut slope = z.to_vec();
            for (z, slope) in z.iter_mut().zip(&mut slope) {
                let t = tanh(*z / cap);
                (*z, *slope) = (cap * t, scale * (1.0 - t * t));
            }
            let loss = softmax(z, token);
            z[token as usize] -= 1.0;
            z.iter_mut().zip(slope).for_each(|(z, slope)| *z *= slope);
            loss
        }
    }
}

/// Logits become probabilities; returns -log of that of `token`.
#[inline(always)]
fn softmax(z: &mut [f32], token: u32) -> f32 {
    let top = largest(z);
    let own = z[token as usize] - top;
    let sum = exp_and_sum(z, top);
    let inverse = (1.0 / sum) as f32;
    z.iter_mut().for_each(|z| *z *= inverse);
    (sum.ln() - f64::from(own)) as f32
}

#[cfg(test)]
mod tests {
    use super::super::check::*;
    use super::super::weights::{Part, Place, Storage};
    use super::*;

    fn head(values: &[f32]) -> Tensor {
        let place = Place { layer: None, part: Part::Head, lora: None };
        Tensor { place, rows: 30, cols: 8, storage: Storage::F32(values.to_vec()), trained: true }
    }

    #[test]
    fn gradients_agree_with_differences_and_the_loss_with_its_definition() {
        let (h, w, tokens) = (random(5 * 8, b"h"), random(30 * 8, b"w"), [3, 29, 0, 3, 17]);
        for cap in [None, Some(2.5)] {
            let mut dw = vec![0.0; w.len()];
            let (total, dh) = backward(&h, &head(&w), cap, &tokens, 0.2, Some(&mut dw), Arithmetic::F32);
            let loss = |h: &[f32], w: &[f32]| losses(h, &head(w), cap, &tokens, Arithmetic::F32).iter().sum::<f64>();
            assert!((total.sum - loss(&h, &w)).abs() < 1e-6);
            let mut sum = 0.0;
            for (row, token) in logits(&h, &head(&w), cap, Arithmetic::F32).chunks(30).zip(tokens) {
                let mut p: Vec<f64> = row.iter().map(|z| f64::from(*z)).collect();
                crate::math::softmax(&mut p, 1.0);
                sum -= p[token as usize].ln();
            }
            assert!((total.sum - sum).abs() < 1e-5);
            gradient_agrees("h", &h, &dh, |h| 0.2 * loss(h, &w));
            gradient_agrees("w", &w, &dw, |w| 0.2 * loss(&h, w));
        }
    }
}
