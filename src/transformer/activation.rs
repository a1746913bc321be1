//! The gated activation between the two halves of an MLP.
//!
//! m = act(g) * u, element by element;  du = dm * act(g),  dg = dm * u * act'(g).
//! SwiGLU: act(g) = g s, s = sigmoid(g);  act'(g) = s (1 + g (1 - s)).
//! GeGLU (tanh form): act(g) = g/2 (1 + t), t = tanh(a (g + b g^3)), a = sqrt(2/pi), b = 0.044715;
//! act'(g) = (1 + t)/2 + g/2 (1 - t^2) a (1 + 3 b g^2).

use super::elementary::{sigmoid, tanh};
use crate::math::packed::vectorised;
use rayon::prelude::*;

/// Which activation stands in the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// SiLU: Llama, Qwen.
    SwiGlu,
    /// GELU in its tanh form: Gemma.
    GeGluTanh,
}

const A: f32 = 0.797_884_6;
const B: f32 = 0.044_715;
/// Values per task.
const CHUNK: usize = 1 << 14;

#[inline(always)]
fn swish(g: f32) -> (f32, f32) {
    let s = sigmoid(g);
    (g * s, s * (1.0 + g * (1.0 - s)))
}

#[inline(always)]
fn gelu(g: f32) -> (f32, f32) {
    let t = tanh(A * (g + B * g * g * g));
    (0.5 * g * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * g * (1.0 - t * t) * A * (1.0 + 3.0 * B * g * g))
}

/// m = act(gate) * up. All `[n]`.
pub fn forward(activation: Activation, gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; gate.len()];
    out.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK)).zip(up.par_chunks(CHUNK)).for_each(|((out, gate), up)| {
        vectorised(
            #[inline(always)]
            || {
                let values = out.iter_mut().zip(gate).zip(up);
                match activation {
                    Activation::SwiGlu => values.for_each(|((o, g), u)| *o = swish(*g).0 * u),
                    Activation::GeGluTanh => values.for_each(|((o, g), u)| *o = gelu(*g).0 * u),
                }
            },
        );
    });
    out
}

/// From dm: dm becomes m itself (wanted for the weights' gradient), `gate` becomes dg and `up` becomes du.
pub fn backward(activation: Activation, gate: &mut [f32], up: &mut [f32], dm: &mut [f32]) {
    let chunks = gate.par_chunks_mut(CHUNK).zip(up.par_chunks_mut(CHUNK)).zip(dm.par_chunks_mut(CHUNK));
    chunks.for_each(|((gate, up), dm)| {
        vectorised(
            #[inline(always)]
            || {
                let values = gate.iter_mut().zip(up).zip(dm);
                let one = |g: &mut f32, u: &mut f32, d: &mut f32, (act, slope): (f32, f32)| {
                    (*g, *u, *d) = (*d * *u * slope, *d * act, act * *u);
                };
                match activation {
                    Activation::SwiGlu => values.for_each(|((g, u), d)| one(g, u, d, swish(*g))),
                    Activation::GeGluTanh => values.for_each(|((g, u), d)| one(g, u, d, gelu(*g))),
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::super::check::*;
    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        let (gate, up, dm) = (random(60, b"g"), random(60, b"u"), random(60, b"d"));
        for activation in [Activation::SwiGlu, Activation::GeGluTanh] {
            let (mut dg, mut du, mut m) = (gate.clone(), up.clone(), dm.clone());
            backward(activation, &mut dg, &mut du, &mut m);
            assert_eq!(m, forward(activation, &gate, &up));
            gradient_agrees("gate", &gate, &dg, |g| weighted(&forward(activation, g, &up), &dm));
            gradient_agrees("up", &up, &du, |u| weighted(&forward(activation, &gate, u), &dm));
        }
    }
}
