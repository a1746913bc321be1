//! Causal attention with grouped heads, over packed sequences.
//!
//! For one head, queries Q [t, n], keys K and values V [s, n]:
//! Z = cap(scale Q K'),  cap(z) = c tanh(z / c) or z;  P = softmax of each row of Z over the keys it may see;  O = P V.
//! Backward, with the row sums D = sum_j dO_j O_j and P made again from the kept log-sum-exp of each row:
//! dV = P' dO,  dP = dO V',  dZ = P (dP - D),  dS = dZ (1 - (Z/c)^2),  dQ = scale dS K,  dK = scale dS' Q.
//!
//! A query sees the keys of its own sequence (its shared prefix included) up to its own position and, with a window w,
//! only the last w of them. Work goes by blocks of queries, so that only [block, keys] scores exist at a time. A task owns
//! a key-value head with all the query heads that use it, so sums over those heads have one order.

use super::batch::Segment;
use super::elementary::{exp, exp_and_sum, largest, tanh};
use crate::math::gemm::{Into, View, gemm_here, view, view_mut};
use crate::math::packed::vectorised;
use rayon::prelude::*;
use std::ops::Range;

/// The sizes and constants of one layer's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Scale of the scores.
    pub scale: f32,
    /// Cap of the scores.
    pub cap: Option<f32>,
    /// Keys that a query sees, itself included; none: all before it.
    pub window: Option<usize>,
}

/// Queries per block.
const BLOCK: usize = 128;

/// A block of queries of one segment, and the keys that any of them may see.
struct Block {
    /// Rows of the batch.
    rows: Range<usize>,
    /// Position of the first query.
    position: usize,
    /// Position of the first key.
    first_key: usize,
    /// The keys' rows: of the shared prefix, then of the sequence itself. Either may be empty.
    parts: [Range<usize>; 2],
}

impl Block {
    fn keys(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }
    /// Which of the block's keys query `i` sees.
    fn seen(&self, i: usize, window: Option<usize>) -> Range<usize> {
        let position = self.position + i;
        let first = window.map_or(0, |w| (position + 1).saturating_sub(w)).max(self.first_key);
        first - self.first_key..position + 1 - self.first_key
    }
    /// The parts with the columns that they take among the block's keys.
    fn columns(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let middle = self.parts[0].len();
        let both = [(self.parts[0].clone(), 0..middle), (self.parts[1].clone(), middle..self.keys())];
        both.into_iter().filter(|(rows, _)| !rows.is_empty())
    }
}

fn blocks(segments: &[Segment], window: Option<usize>) -> Vec<Block> {
    let mut out = Vec::new();
    for segment in segments {
        let before = segment.first_position();
        let mut start = 0;
        while start < segment.rows.len() {
            let end = (start + BLOCK).min(segment.rows.len());
            let position = before + start;
            let first_key = window.map_or(0, |w| (position + 1).saturating_sub(w));
            let prefix = match &segment.prefix {
                Some(p) => (p.start + first_key).min(p.end)..p.end,
                None => 0..0,
            };
            let own = segment.rows.start + first_key.saturating_sub(before)..segment.rows.start + end;
            let rows = segment.rows.start + start..segment.rows.start + end;
            out.push(Block { rows, position, first_key, parts: [prefix, own] });
            start = end;
        }
    }
    out
}

/// Rows `rows` of head `head` in `x` `[tokens, heads * n]`.
fn head_rows<'a>(x: View<'a>, rows: &Range<usize>, head: usize, n: usize) -> View<'a> {
    x.submatrix(rows.start, head * n, rows.len(), n)
}

/// Z of a block, `[queries, keys]`, capped; what a query does not see holds no meaning.
fn scores(shape: &AttentionShape, block: &Block, q: View<'_>, k: View<'_>, head: usize, z: &mut [f32]) {
    let (n, keys) = (shape.head_dim, block.keys());
    let group = shape.heads / shape.kv_heads;
    let queries = head_rows(q, &block.rows, head, n);
    for (rows, columns) in block.columns() {
        let out = view_mut(z, block.rows.len(), keys).subcols_mut(columns.start, columns.len());
        gemm_here(out, Into::Replace, queries, head_rows(k, &rows, head / group, n).transpose(), shape.scale);
    }
    if let Some(cap) = shape.cap {
        z.iter_mut().for_each(|z| *z = cap * tanh(*z / cap));
    }
}

/// `q` `[tokens, heads * n]`, `k` and `v` `[tokens, kv_heads * n]`. Returns O `[tokens, heads * n]` and the log-sum-exp of
/// each query's scores, `[heads, tokens]`.
pub fn forward(shape: &AttentionShape, segments: &[Segment], q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (n, group) = (shape.head_dim, shape.heads / shape.kv_heads);
    let tokens = q.len() / (shape.heads * n);
    let (mut out, mut log_sums) = (vec![0.0; q.len()], vec![0.0; shape.heads * tokens]);
    let (q, k) = (view(q, tokens, shape.heads * n), view(k, tokens, shape.kv_heads * n));
    let v = view(v, tokens, shape.kv_heads * n);
    let blocks = blocks(segments, shape.window);
    let columns = view_mut(&mut out, tokens, shape.heads * n).par_col_chunks_mut(group * n);
    columns.zip(log_sums.par_chunks_mut(group * tokens)).enumerate().for_each(|(kv, (mut out, log_sums))| {
        let mut z = Vec::new();
        for (in_group, log_sums) in log_sums.chunks_exact_mut(tokens).enumerate() {
            for block in &blocks {
                let keys = block.keys();
                z.resize(block.rows.len() * keys, 0.0);
                scores(shape, block, q, k, kv * group + in_group, &mut z);
                for (i, z) in z.chunks_exact_mut(keys).enumerate() {
                    log_sums[block.rows.start + i] = vectorised(
                        #[inline(always)]
                        || softmax(z, block.seen(i, shape.window)),
                    );
                }
                let p = view(&z, block.rows.len(), keys);
                let mut into = Into::Replace;
                for (rows, columns) in block.columns() {
                    let out = out.as_mut().submatrix_mut(block.rows.start, in_group * n, block.rows.len(), n);
                    let p = p.subcols(columns.start, columns.len());
                    gemm_here(out, into, p, head_rows(v, &rows, kv, n), 1.0);
                    into = Into::Add;
                }
            }
        }
    });
    (out, log_sums)
}

/// Softmax over `z[seen]`, zeros elsewhere; returns the log of the sum of exponentials.
#[inline(always)]
fn softmax(z: &mut [f32], seen: Range<usize>) -> f32 {
    z[..seen.start].fill(0.0);
    z[seen.end..].fill(0.0);
    let z = &mut z[seen];
    let top = largest(z);
    let sum = exp_and_sum(z, top);
    let inverse = (1.0 / sum) as f32;
    z.iter_mut().for_each(|z| *z *= inverse);
    top + sum.ln() as f32
}

/// What [`backward`] reads of the forward pass.
pub struct AttentionActivations<'a> {
    /// Queries, `[tokens, heads * n]`.
    pub q: &'a [f32],
    /// Keys, `[tokens, kv_heads * n]`.
    pub k: &'a [f32],
    /// Values, `[tokens, kv_heads * n]`.
    pub v: &'a [f32],
    /// O, `[tokens, heads * n]`.
    pub out: &'a [f32],
    /// `[heads, tokens]`.
    pub log_sums: &'a [f32],
}

/// dQ, dK, dV from dO, shaped as Q, K, V.
pub fn backward(
    shape: &AttentionShape,
    segments: &[Segment],
    kept: &AttentionActivations<'_>,
    dout: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (n, group) = (shape.head_dim, shape.heads / shape.kv_heads);
    let (wide, narrow) = (shape.heads * n, shape.kv_heads * n);
    let tokens = kept.q.len() / wide;
    let (mut dq, mut dk, mut dv) = (vec![0.0; kept.q.len()], vec![0.0; kept.k.len()], vec![0.0; kept.v.len()]);
    let blocks = blocks(segments, shape.window);
    let (q, k, v) = (view(kept.q, tokens, wide), view(kept.k, tokens, narrow), view(kept.v, tokens, narrow));
    let dout_view = view(dout, tokens, wide);
    let columns = view_mut(&mut dq, tokens, wide)
        .par_col_chunks_mut(group * n)
        .zip(view_mut(&mut dk, tokens, narrow).par_col_chunks_mut(n))
        .zip(view_mut(&mut dv, tokens, narrow).par_col_chunks_mut(n));
    columns.enumerate().for_each(|(kv, ((mut dq, mut dk), mut dv))| {
        let (mut p, mut dz) = (Vec::new(), Vec::new());
        for in_group in 0..group {
            let head = kv * group + in_group;
            for block in &blocks {
                let keys = block.keys();
                let length = block.rows.len();
                p.resize(length * keys, 0.0);
                dz.resize(length * keys, 0.0);
                scores(shape, block, q, k, head, &mut p);
                let dout_rows = head_rows(dout_view, &block.rows, head, n);
                for (rows, columns) in block.columns() {
                    let out = view_mut(&mut dz, length, keys).subcols_mut(columns.start, columns.len());
                    gemm_here(out, Into::Replace, dout_rows, head_rows(v, &rows, kv, n).transpose(), 1.0);
                }
                for (i, (p, dz)) in p.chunks_exact_mut(keys).zip(dz.chunks_exact_mut(keys)).enumerate() {
                    let row = block.rows.start + i;
                    let at = row * wide + head * n..row * wide + (head + 1) * n;
                    let along = dot(&dout[at.clone()], &kept.out[at]);
                    let log_sum = kept.log_sums[head * tokens + row];
                    let seen = block.seen(i, shape.window);
                    vectorised(
                        #[inline(always)]
                        || score_gradient(shape.cap, seen, log_sum, along, p, dz),
                    );
                }
                let (p, dz) = (view(&p, length, keys), view(&dz, length, keys));
                let queries = head_rows(q, &block.rows, head, n);
                let mut into = Into::Replace;
                for (rows, columns) in block.columns() {
                    let (p, dz) = (p.subcols(columns.start, columns.len()), dz.subcols(columns.start, columns.len()));
                    let dq = dq.as_mut().submatrix_mut(block.rows.start, in_group * n, length, n);
                    gemm_here(dq, into, dz, head_rows(k, &rows, kv, n), shape.scale);
                    let dk = dk.as_mut().subrows_mut(rows.start, rows.len());
                    gemm_here(dk, Into::Add, dz.transpose(), queries, shape.scale);
                    let dv = dv.as_mut().subrows_mut(rows.start, rows.len());
                    gemm_here(dv, Into::Add, p.transpose(), dout_rows, 1.0);
                    into = Into::Add;
                }
            }
        }
    });
    (dq, dk, dv)
}

/// One query: `p` holds Z and becomes P, `dz` holds dP and becomes dS; zeros where the query does not see.
#[inline(always)]
fn score_gradient(cap: Option<f32>, seen: Range<usize>, log_sum: f32, along: f32, p: &mut [f32], dz: &mut [f32]) {
    for values in [&mut *p, &mut *dz] {
        values[..seen.start].fill(0.0);
        values[seen.end..].fill(0.0);
    }
    let pairs = p[seen.clone()].iter_mut().zip(&mut dz[seen]);
    match cap {
        None => pairs.for_each(|(p, dz)| {
            *p = exp(*p - log_sum);
            *dz = *p * (*dz - along);
        }),
        Some(cap) => pairs.for_each(|(p, dz)| {
            let t = *p / cap;
            *p = exp(*p - log_sum);
            *dz = *p * (*dz - along) * (1.0 - t * t);
        }),
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    crate::math::dot(a, b) as f32
}

#[cfg(test)]
mod tests {
    use super::super::check::*;
    use super::*;

    /// Softmax attention written out in f64, a query at a time.
    fn slow(shape: &AttentionShape, segments: &[Segment], q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let (n, group) = (shape.head_dim, shape.heads / shape.kv_heads);
        let mut out = vec![0f32; q.len()];
        for segment in segments {
            for head in 0..shape.heads {
                for (i, row) in segment.rows.clone().enumerate() {
                    let mut keys: Vec<usize> = segment.prefix.clone().unwrap_or(0..0).collect();
                    keys.extend(segment.rows.start..segment.rows.start + i + 1);
                    let keys = &keys[keys.len().saturating_sub(shape.window.unwrap_or(usize::MAX))..];
                    let at = |x: &[f32], row: usize, heads: usize, h: usize, c: usize| {
                        f64::from(x[row * heads * n + h * n + c])
                    };
                    let mut p: Vec<f64> = keys
                        .iter()
                        .map(|&key| {
                            let s: f64 = (0..n)
                                .map(|c| at(q, row, shape.heads, head, c) * at(k, key, shape.kv_heads, head / group, c))
                                .sum::<f64>()
                                * f64::from(shape.scale);
                            shape.cap.map_or(s, |cap| f64::from(cap) * (s / f64::from(cap)).tanh())
                        })
                        .collect();
                    crate::math::softmax(&mut p, 1.0);
                    for c in 0..n {
                        let sum: f64 =
                            keys.iter().zip(&p).map(|(&key, p)| p * at(v, key, shape.kv_heads, head / group, c)).sum();
                        out[row * shape.heads * n + head * n + c] = sum as f32;
                    }
                }
            }
        }
        out
    }

    fn segments() -> Vec<Segment> {
        vec![
            Segment { rows: 0..9, prefix: None },
            Segment { rows: 9..14, prefix: Some(0..9) },
            Segment { rows: 14..160, prefix: None },
            Segment { rows: 160..163, prefix: Some(0..9) },
        ]
    }

    #[test]
    fn it_agrees_with_the_slow_twin_and_its_gradients_with_differences() {
        for (cap, window) in [(None, None), (Some(1.5), Some(4)), (None, Some(140))] {
            let shape = AttentionShape { heads: 4, kv_heads: 2, head_dim: 6, scale: 0.4, cap, window };
            let (q, dout) = (random(163 * 24, b"q"), random(163 * 24, b"do"));
            let (k, v) = (random(163 * 12, b"k"), random(163 * 12, b"v"));
            let (out, log_sums) = forward(&shape, &segments(), &q, &k, &v);
            for (fast, slow) in out.iter().zip(slow(&shape, &segments(), &q, &k, &v)) {
                assert!((fast - slow).abs() < 2e-6, "{fast} {slow}");
            }
            let kept = AttentionActivations { q: &q, k: &k, v: &v, out: &out, log_sums: &log_sums };
            let (dq, dk, dv) = backward(&shape, &segments(), &kept, &dout);
            let loss = |q: &[f32], k: &[f32], v: &[f32]| weighted(&slow(&shape, &segments(), q, k, v), &dout);
            gradient_agrees("q", &q, &dq, |q| loss(q, &k, &v));
            gradient_agrees("k", &k, &dk, |k| loss(&q, k, &v));
            gradient_agrees("v", &v, &dv, |v| loss(&q, &k, v));
        }
    }
}
