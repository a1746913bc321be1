//! One decoder layer.
//!
//! h = norm(x);  a = attention(rope(h Wq'), rope(h Wk'), h Wv');  x1 = x + a Wo';
//! m = act(norm(x1) Wg') * (norm(x1) Wu');  x2 = x1 + m Wd'.
//! Qwen2 adds biases to q, k, v; Qwen3 normalises each head of q and k before the rotation; Gemma2 normalises a Wo' and
//! m Wd' before they are added.

use super::attention::{self, AttentionActivations};
use super::batch::Batch;
use super::config::ModelConfig;
use super::linear::add;
use super::lora::{Adapters, Projection, ProjectionInput, backward_inputs};
use super::rope::Rope;
use super::weights::{Grads, TensorId};
use super::{activation, rmsnorm};
use crate::math::packed::Left;

/// Which tensors make one layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub attn_norm: TensorId,
    pub q: Projection,
    pub k: Projection,
    pub v: Projection,
    pub o: Projection,
    /// Qwen3's norms of the heads of q and k.
    pub qk_norms: Option<(TensorId, TensorId)>,
    /// Gemma2's norms of the outputs of attention and MLP.
    pub post_norms: Option<(TensorId, TensorId)>,
    pub ffn_norm: TensorId,
    pub gate: Projection,
    pub up: Projection,
    pub down: Projection,
}

impl Layer {
    /// The projections in the order of [`super::LoraSettings::PROJECTIONS`].
    pub fn projections_mut(&mut self) -> [&mut Projection; 7] {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.gate, &mut self.up, &mut self.down]
    }
}

/// What every layer of one pass shares.
pub(super) struct Pass<'a> {
    pub config: &'a ModelConfig,
    pub on: Adapters<'a>,
    pub batch: &'a Batch,
    pub rope: &'a Rope,
    pub positions: &'a [u32],
}

impl Pass<'_> {
    fn norm(&self, x: &[f32], weight: TensorId) -> Vec<f32> {
        rmsnorm::forward(x, self.on.tensors[weight].vector(), self.config.norm_offset, self.config.norm_eps)
    }
    fn norm_backward(&self, x: &[f32], weight: TensorId, dy: &[f32], grads: &mut Grads) -> Vec<f32> {
        let (offset, eps) = (self.config.norm_offset, self.config.norm_eps);
        rmsnorm::backward(x, self.on.tensors[weight].vector(), offset, eps, dy, grads.slot(weight))
    }
}

/// What the backward pass needs of a layer's forward pass. Norms and the gate's product are computed again: they cost
/// little and are as large as what they come from.
#[derive(Debug)]
pub(super) struct LayerActivations {
    /// The layer's input.
    pub x: Vec<f32>,
    /// q and k before their norms (Qwen3).
    raw: Option<(Vec<f32>, Vec<f32>)>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    log_sums: Vec<f32>,
    /// a Wo' and m Wd' before their norms (Gemma2).
    unnormed: Option<(Vec<f32>, Vec<f32>)>,
    x1: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// t of each projection's adapter, in the order of `projections`.
    inner: [Option<Vec<f32>>; 7],
}

impl Layer {
    /// x2 from x, `[tokens, dim]`, with what the backward pass needs.
    pub fn forward(&self, pass: &Pass<'_>, index: usize, x: Vec<f32>) -> (Vec<f32>, LayerActivations) {
        let dim = pass.config.dim;
        let width = |values: &[f32]| values.len() / pass.positions.len().max(1);
        let h = pass.norm(&x, self.attn_norm);
        let h = ProjectionInput::new(&h, dim, pass.on.arithmetic);
        let (mut q, tq) = self.q.forward(&pass.on, &h);
        let (mut k, tk) = self.k.forward(&pass.on, &h);
        let (v, tv) = self.v.forward(&pass.on, &h);
        drop(h);
        let raw = self.qk_norms.map(|(q_norm, k_norm)| {
            let normed = (pass.norm(&q, q_norm), pass.norm(&k, k_norm));
            (std::mem::replace(&mut q, normed.0), std::mem::replace(&mut k, normed.1))
        });
        pass.rope.forward(&mut q, pass.positions);
        pass.rope.forward(&mut k, pass.positions);
        let shape = pass.config.attention(index);
        let (attended, log_sums) = attention::forward(&shape, &pass.batch.segments, &q, &k, &v);
        let (mut o, to) =
            self.o.forward(&pass.on, &ProjectionInput::new(&attended, width(&attended), pass.on.arithmetic));
        let raw_o = self.post_norms.map(|(norm, _)| {
            let normed = pass.norm(&o, norm);
            std::mem::replace(&mut o, normed)
        });
        let mut x1 = o;
        add(&mut x1, &x);

        let h = pass.norm(&x1, self.ffn_norm);
        let h = ProjectionInput::new(&h, dim, pass.on.arithmetic);
        let (gate, tg) = self.gate.forward(&pass.on, &h);
        let (up, tu) = self.up.forward(&pass.on, &h);
        drop(h);
        let m = activation::forward(pass.config.activation(), &gate, &up);
        let (mut down, td) = self.down.forward(&pass.on, &ProjectionInput::new(&m, width(&m), pass.on.arithmetic));
        let raw_down = self.post_norms.map(|(_, norm)| {
            let normed = pass.norm(&down, norm);
            std::mem::replace(&mut down, normed)
        });
        let mut x2 = down;
        add(&mut x2, &x1);
        let inner = [tq, tk, tv, to, tg, tu, td];
        let unnormed = raw_o.zip(raw_down);
        (x2, LayerActivations { x, raw, q, k, v, attended, log_sums, unnormed, x1, gate, up, inner })
    }

    /// dx from dx2 `[tokens, dim]`; the gradients of what is trained are added to `grads`.
    /// When `wanted` is false nothing below this layer is trained, and what is returned holds no meaning.
    pub fn backward(
        &self,
        pass: &Pass<'_>,
        index: usize,
        mut kept: LayerActivations,
        dx2: Vec<f32>,
        grads: &mut Grads,
        wanted: bool,
    ) -> Vec<f32> {
        let on = &pass.on;
        let pack =
            |values: &[f32]| Left::of_rows(values, values.len() / pass.positions.len().max(1), 1.0, on.arithmetic);
        let [tq, tk, tv, to, tg, tu, td] = &kept.inner;

        // The MLP.
        let ddown = match (self.post_norms, &kept.unnormed) {
            (Some((_, norm)), Some((_, down))) => &pass.norm_backward(down, norm, &dx2, grads),
            _ => &dx2,
        };
        let mut dm = vec![0.0; kept.gate.len()];
        let [u] = backward_inputs(on, &mut dm, [(&self.down, &pack(ddown))]);
        activation::backward(pass.config.activation(), &mut kept.gate, &mut kept.up, &mut dm);
        let (dgate, dup, m) = (&kept.gate, &kept.up, &dm);
        self.down.backward_weights(on, grads, m, ddown, td.as_ref(), u.as_ref());
        drop(dm);
        let mut dh = vec![0.0; kept.x.len()];
        let [ug, uu] = backward_inputs(on, &mut dh, [(&self.gate, &pack(dgate)), (&self.up, &pack(dup))]);
        if self.gate.trained(on.tensors) || self.up.trained(on.tensors) {
            let h = pass.norm(&kept.x1, self.ffn_norm);
            self.gate.backward_weights(on, grads, &h, dgate, tg.as_ref(), ug.as_ref());
            self.up.backward_weights(on, grads, &h, dup, tu.as_ref(), uu.as_ref());
        }
        let mut dx1 = pass.norm_backward(&kept.x1, self.ffn_norm, &dh, grads);
        add(&mut dx1, &dx2);

        // Attention.
        let d_o = match (self.post_norms, &kept.unnormed) {
            (Some((norm, _)), Some((o, _))) => &pass.norm_backward(o, norm, &dx1, grads),
            _ => &dx1,
        };
        let mut dattended = vec![0.0; kept.attended.len()];
        let [u] = backward_inputs(on, &mut dattended, [(&self.o, &pack(d_o))]);
        self.o.backward_weights(on, grads, &kept.attended, d_o, to.as_ref(), u.as_ref());
        let (mut dq, mut dk, dv) = attention::backward(
            &pass.config.attention(index),
            &pass.batch.segments,
            &AttentionActivations { q: &kept.q, k: &kept.k, v: &kept.v, out: &kept.attended, log_sums: &kept.log_sums },
            &dattended,
        );
        pass.rope.backward(&mut dq, pass.positions);
        pass.rope.backward(&mut dk, pass.positions);
        if let (Some((q_norm, k_norm)), Some((q, k))) = (self.qk_norms, &kept.raw) {
            dq = pass.norm_backward(q, q_norm, &dq, grads);
            dk = pass.norm_backward(k, k_norm, &dk, grads);
        }
        let pairs = [(&self.q, &dq, tq), (&self.k, &dk, tk), (&self.v, &dv, tv)];
        let wanted = wanted || on.tensors[self.attn_norm].trained;
        let packed = [pack(&dq), pack(&dk), pack(&dv)];
        let with = |i: usize| (pairs[i].0, &packed[i]);
        let inner = if wanted {
            backward_inputs(on, &mut dh, [with(0), with(1), with(2)])
        } else {
            [0, 1, 2].map(|i| pairs[i].0.inner(on, &packed[i]))
        };
        drop(packed);
        if pairs.iter().any(|(p, _, _)| p.trained(on.tensors)) {
            let h = pass.norm(&kept.x, self.attn_norm);
            for ((projection, dy, t), u) in pairs.iter().zip(&inner) {
                projection.backward_weights(on, grads, &h, dy, t.as_ref(), u.as_ref());
            }
        }
        if wanted {
            add(&mut dx1, &pass.norm_backward(&kept.x, self.attn_norm, &dh, grads));
        }
        dx1
    }
}
