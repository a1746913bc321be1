//! A projection with its bias and its LoRA adapter.
//!
//! y = x W' + b + s (x~ A') B',  s = alpha / rank,  x~ = x under dropout (scaled so that its mean stays).
//! With t = x~ A' and u = s dy B:  dx = dy W + (u A)~,  dB = s dy' t,  dA = u' x~.
//! W is frozen and may be quantised; a full fine-tuning has no adapter and moves W and b.

use super::linear::{self, PlainWeight, TurnedWeight};
use super::weights::{Grads, Part, Tensor, TensorId};
use crate::config::LoraTarget;
use crate::error::Result;
use crate::math::gemm::Into;
use crate::math::packed::{Arithmetic, Left, Term, product};
use rayon::prelude::*;

/// What LoRA adds, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSettings {
    /// Rank of each adapter.
    pub rank: usize,
    /// The adapter's scale is alpha / rank.
    pub alpha: f64,
    /// Share of each adapter's inputs set to zero in training.
    pub dropout: f64,
    /// The projections: any of Q, K, V, O, Gate, Up, Down.
    pub targets: Vec<Part>,
    /// The first and the last of the layers that get adapters are those of this range; it is cut to the model's layers.
    pub layers: std::ops::Range<usize>,
    /// Seed of A's random values; B starts at zero.
    pub seed: u64,
}

impl From<LoraTarget> for Part {
    fn from(target: LoraTarget) -> Part {
        match target {
            LoraTarget::Q => Part::Q,
            LoraTarget::K => Part::K,
            LoraTarget::V => Part::V,
            LoraTarget::O => Part::O,
            LoraTarget::Gate => Part::Gate,
            LoraTarget::Up => Part::Up,
            LoraTarget::Down => Part::Down,
        }
    }
}

impl LoraSettings {
    /// The projections in their order in a layer.
    pub const PROJECTIONS: [Part; 7] = [Part::Q, Part::K, Part::V, Part::O, Part::Gate, Part::Up, Part::Down];

    /// The part that users call `q`, `k`, `v`, `o`, `gate`, `up` or `down`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for any other name.
    pub fn target(name: &str) -> Result<Part> {
        name.parse::<LoraTarget>().map(Part::from).map_err(|e| e.context("LoRA target"))
    }
}

/// `values` `[rows, cols]` with zeros after them up to `[to_rows, to_cols]`: an adapter of a larger rank that does the same.
pub(super) fn padded(values: Vec<f32>, [rows, cols]: [usize; 2], [to_rows, to_cols]: [usize; 2]) -> Vec<f32> {
    if [rows, cols] == [to_rows, to_cols] {
        return values;
    }
    let mut out = vec![0.0; to_rows * to_cols];
    for (from, to) in values.chunks_exact(cols).zip(out.chunks_exact_mut(to_cols)) {
        to[..cols].copy_from_slice(from);
    }
    out
}

/// Dropout of adapters' inputs: which values are dropped follows from the seed and the place alone, so that the backward
/// pass (and a recomputed forward pass) drops the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    pub share: f32,
    pub seed: u64,
}

impl Dropout {
    /// Drops in place.
    fn apply(self, x: &mut [f32], tensor: TensorId) {
        const CHUNK: usize = 1 << 14;
        let (keep, limit) = (1.0 / (1.0 - self.share), (f64::from(self.share) * 4_294_967_296.0) as u64);
        x.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, x)| {
            for (i, x) in x.iter_mut().enumerate() {
                let at = (chunk * CHUNK + i) as u64;
                let bits = mix(self.seed ^ mix(at ^ ((tensor as u64) << 40))) >> 32;
                *x = if bits < limit { 0.0 } else { *x * keep };
            }
        });
    }
}

/// splitmix64's mixing of 64 bits.
pub(super) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The two halves of an adapter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adapter {
    pub a: TensorId,
    pub b: TensorId,
}

/// Which tensors make one projection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Projection {
    pub weight: TensorId,
    pub bias: Option<TensorId>,
    pub adapter: Option<Adapter>,
}

/// What the projections share.
pub(super) struct Adapters<'a> {
    pub tensors: &'a [Tensor],
    /// s.
    pub scale: f32,
    pub dropout: Option<Dropout>,
    /// In which numbers the products multiply.
    pub arithmetic: Arithmetic,
}

impl Adapters<'_> {
    /// x~; none where nothing is dropped.
    fn dropped(&self, x: &[f32], tensor: TensorId) -> Option<Vec<f32>> {
        self.dropout.map(|dropout| {
            let mut x = x.to_vec();
            dropout.apply(&mut x, tensor);
            x
        })
    }
}

/// What several projections read: the values, and packed for products.
pub(super) struct ProjectionInput<'a> {
    pub values: &'a [f32],
    pub left: Left,
}

impl<'a> ProjectionInput<'a> {
    /// `values` `[tokens, width]`.
    pub fn new(values: &'a [f32], width: usize, arithmetic: Arithmetic) -> ProjectionInput<'a> {
        ProjectionInput { values, left: Left::of_rows(values, width, 1.0, arithmetic) }
    }
}

impl Projection {
    /// Whether the backward pass needs this projection's input.
    pub fn trained(&self, tensors: &[Tensor]) -> bool {
        self.adapter.is_some() || tensors[self.weight].trained
    }

    /// y, and t when there is an adapter.
    pub fn forward(&self, on: &Adapters<'_>, x: &ProjectionInput<'_>) -> (Vec<f32>, Option<Vec<f32>>) {
        let w = &on.tensors[self.weight];
        let tokens = x.left.rows();
        let mut y = vec![0.0; tokens * w.rows];
        let t = self.adapter.map(|adapter| {
            let a = &on.tensors[adapter.a];
            let mut t = vec![0.0; tokens * a.rows];
            let dropped = on.dropped(x.values, adapter.a).map(|x| Left::of_rows(&x, a.cols, 1.0, on.arithmetic));
            let x = dropped.as_ref().unwrap_or(&x.left);
            product(&mut t, a.rows, Into::Replace, &[Term::new(x, TurnedWeight(a))]);
            t
        });
        let scaled = self.adapter.zip(t.as_ref()).map(|(adapter, t)| {
            let b = &on.tensors[adapter.b];
            (b, Left::of_rows(t, b.cols, on.scale, on.arithmetic))
        });
        let mut terms = vec![Term::new(&x.left, TurnedWeight(w))];
        if let Some((b, t)) = &scaled {
            terms.push(Term::new(t, TurnedWeight(b)));
        }
        product(&mut y, w.rows, Into::Replace, &terms);
        if let Some(bias) = self.bias {
            linear::add_bias(&mut y, on.tensors[bias].vector());
        }
        (y, t)
    }

    /// u = s dy B; none without an adapter.
    pub fn inner(&self, on: &Adapters<'_>, dy: &Left) -> Option<Vec<f32>> {
        let b = &on.tensors[self.adapter?.b];
        let mut u = vec![0.0; dy.rows() * b.cols];
        product(&mut u, b.cols, Into::Replace, &[Term::new(dy, PlainWeight(b))]);
        u.iter_mut().for_each(|u| *u *= on.scale);
        Some(u)
    }

    /// Adds the gradients of what is trained: `x` the input, `t` from the forward pass, `u` of [`Projection::inner`].
    pub fn backward_weights(
        &self,
        on: &Adapters<'_>,
        grads: &mut Grads,
        x: &[f32],
        dy: &[f32],
        t: Option<&Vec<f32>>,
        u: Option<&Vec<f32>>,
    ) {
        let w = &on.tensors[self.weight];
        if let Some(dw) = grads.slot(self.weight) {
            linear::backward_weight(dw, dy, x, [w.rows, w.cols], 1.0, on.arithmetic);
        }
        if let Some(dbias) = self.bias.and_then(|bias| grads.slot(bias)) {
            linear::backward_bias(dbias, dy);
        }
        if let (Some(adapter), Some(t), Some(u)) = (self.adapter, t, u) {
            let rank = on.tensors[adapter.a].rows;
            if let Some(db) = grads.slot(adapter.b) {
                // dB' = s t' dy, whose right side is packed without being turned; then turned itself.
                let mut turned = vec![0.0; db.len()];
                linear::backward_weight(&mut turned, t, dy, [rank, w.rows], on.scale, on.arithmetic);
                for (i, db) in db.chunks_exact_mut(rank).enumerate() {
                    db.iter_mut().enumerate().for_each(|(j, db)| *db += turned[j * w.rows + i]);
                }
            }
            if let Some(da) = grads.slot(adapter.a) {
                let dropped = on.dropped(x, adapter.a);
                let x = dropped.as_deref().unwrap_or(x);
                linear::backward_weight(da, u, x, [rank, w.cols], 1.0, on.arithmetic);
            }
        }
    }
}

/// dx `[tokens, in]`, the sum of what comes back through `projections` of one input, each with its dy; and each one's u.
pub(super) fn backward_inputs<const N: usize>(
    on: &Adapters<'_>,
    dx: &mut [f32],
    projections: [(&Projection, &Left); N],
) -> [Option<Vec<f32>>; N] {
    let inner = projections.map(|(projection, dy)| projection.inner(on, dy));
    let packed: Vec<_> = projections
        .iter()
        .zip(&inner)
        .filter_map(|((projection, _), u)| {
            let a = &on.tensors[projection.adapter?.a];
            Some((projection.adapter?.a, a, Left::of_rows(u.as_ref()?, a.rows, 1.0, on.arithmetic)))
        })
        .collect();
    let cols = on.tensors[projections[0].0.weight].cols;
    let mut terms: Vec<_> =
        projections.iter().map(|(projection, dy)| Term::new(dy, PlainWeight(&on.tensors[projection.weight]))).collect();
    if on.dropout.is_none() {
        terms.extend(packed.iter().map(|(_, a, u)| Term::new(u, PlainWeight(a))));
    }
    product(dx, cols, Into::Replace, &terms);
    if let Some(dropout) = on.dropout {
        for (id, a, u) in &packed {
            let mut through = vec![0.0; dx.len()];
            product(&mut through, cols, Into::Replace, &[Term::new(u, PlainWeight(a))]);
            dropout.apply(&mut through, *id);
            linear::add(dx, &through);
        }
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::super::check::*;
    use super::super::weights::{LoraHalf, Place, Storage};
    use super::*;

    fn tensors() -> Vec<Tensor> {
        let make = |rows: usize, cols: usize, lora, trained, stream: &[u8]| Tensor {
            place: Place { layer: Some(0), part: Part::Q, lora },
            rows,
            cols,
            storage: Storage::F32(random(rows * cols, stream)),
            trained,
        };
        vec![
            make(9, 12, None, false, b"w"),
            make(3, 12, Some(LoraHalf::A), true, b"a"),
            make(9, 3, Some(LoraHalf::B), true, b"b"),
        ]
    }

    #[test]
    fn gradients_agree_with_differences_with_and_without_dropout() {
        let projection = Projection { weight: 0, bias: None, adapter: Some(Adapter { a: 1, b: 2 }) };
        let (x, dy) = (random(7 * 12, b"x"), random(7 * 9, b"dy"));
        for dropout in [None, Some(Dropout { share: 0.3, seed: 5 })] {
            let tensors = tensors();
            let on = Adapters { tensors: &tensors, scale: 0.7, dropout, arithmetic: Arithmetic::F32 };
            let (_, t) = projection.forward(&on, &ProjectionInput::new(&x, 12, on.arithmetic));
            let mut dx = vec![0.0; x.len()];
            let [u] = backward_inputs(&on, &mut dx, [(&projection, &Left::of_rows(&dy, 9, 1.0, on.arithmetic))]);
            let mut grads = Grads::new(&tensors);
            projection.backward_weights(&on, &mut grads, &x, &dy, t.as_ref(), u.as_ref());
            assert!(grads.get(0).is_none(), "the base is frozen");
            gradient_agrees("x", &x, &dx, |x| {
                weighted(&projection.forward(&on, &ProjectionInput::new(x, 12, on.arithmetic)).0, &dy)
            });
            for id in [1, 2] {
                gradient_agrees("adapter", tensors[id].vector(), grads.get(id).unwrap(), |values| {
                    let mut moved = tensors.clone();
                    moved[id].storage = Storage::F32(values.to_vec());
                    let on = Adapters { tensors: &moved, scale: 0.7, dropout, arithmetic: Arithmetic::F32 };
                    weighted(&projection.forward(&on, &ProjectionInput::new(&x, 12, on.arithmetic)).0, &dy)
                });
            }
        }
    }

    #[test]
    fn dropout_drops_its_share_and_keeps_the_mean() {
        let mut x = vec![1f32; 100_000];
        Dropout { share: 0.25, seed: 9 }.apply(&mut x, 3);
        let dropped = x.iter().filter(|v| **v == 0.0).count() as f64 / 1e5;
        // Standard error sqrt(0.25 * 0.75 / 1e5) = 0.0014; five of them.
        assert!((dropped - 0.25).abs() < 0.007, "{dropped}");
        assert!((x.iter().sum::<f32>() / 1e5 - 1.0).abs() < 0.01);
    }
}
