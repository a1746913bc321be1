//! JS (paper §3.2.1): argmax H(p_i) first, then argmax H(p_i) + lambda JS(p_i || q_t), q_t the mean of the picks' p.
//!
//! Exact without looking at every row at every pick: all rows are scored at some q_s, an *epoch*, and put in order. From
//! then on two bounds tell which rows could be the best at q_t, and only those are scored:
//! - sqrt(JS) is a metric: JS(p, q_t) <= (sqrt JS(p, q_s) + sqrt JS(q_s, q_t))^2;
//! - JS is convex and at most ln 2: with q_t = a q_s + (1-a) m, JS(p, q_t) <= a JS(p, q_s) + (1-a) ln 2.
//!
//! q_t moves as 1/t, so epochs get longer as the selection grows. Screening uses a vectorised logarithm; rows within its
//! error of the best are scored again by the definition.

use super::equals::Equals;
use super::field::Field;
use super::greedy::{Greedy, TIE};
use super::lanes::{Simd, WithSimd, m_ln_m, widest};
use super::soft::Soft;
use crate::error::Result;
use crate::math::entropy;
use crate::run::Run;
use rayon::prelude::*;
use std::f64::consts::LN_2;

/// Screened scores are this close to the definition's, per unit of 1 + lambda: a thousand roundings.
const SCREEN: f64 = 2e-13;
/// Under a square root, rounding of a divergence near 0 counts for more; added before the root is taken.
const ROOT: f64 = 1e-14;
/// Rows scored per task, fixed.
const TASK_ROWS: usize = 128;

/// JS under way.
pub struct Js<'a> {
    p: &'a Soft,
    lambda: f64,
    equals: Equals,
    /// Sum of the picks' p, `[clusters]`, and their number.
    sum: Vec<f64>,
    count: usize,
    epoch: Option<Epoch>,
}

/// All rows as they stood at q_s.
struct Epoch {
    q: Vec<f64>,
    /// s, the number of picks that q_s is the mean of.
    count: usize,
    /// H + lambda JS and sqrt JS, in falling order of the score.
    rows: Vec<Scored>,
    /// Rows scored since: when they are as many as the epoch cost, it was worth a new one.
    spent: usize,
}

#[derive(Clone, Copy)]
struct Scored {
    row: u32,
    score: f64,
    root: f64,
}

impl<'a> Js<'a> {
    /// Nothing picked yet. `p`: `[rows, clusters]`.
    pub fn new(p: &'a Soft, lambda: f64, run: &Run) -> Js<'a> {
        let equals = run.install(|| Equals::new(p.entropy(), |row| p.row(row).iter().map(|v| v.to_bits()).collect()));
        Js { p, lambda, equals, sum: vec![0.0; p.clusters()], count: 0, epoch: None }
    }

    fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|s| s / self.count as f64).collect()
    }

    /// The definition.
    fn score(&self, row: usize, q: &[f64], entropy_q: f64) -> f64 {
        let h = self.p.entropy()[row];
        if self.count == 0 {
            return h;
        }
        h + self.lambda * divergence(self.p.row(row), h, q, entropy_q)
    }

    /// JS(p_i || q) of each of `rows`, screened.
    fn screen(&self, rows: &[u32], q: &[f64], entropy_q: f64) -> Vec<f64> {
        let mut out = vec![0f64; rows.len()];
        let one = |(out, rows): (&mut [f64], &[u32])| widest(Divergences { p: self.p, rows, q, entropy_q, out });
        if rows.len() <= 2 * TASK_ROWS {
            one((&mut out, rows));
        } else {
            out.par_chunks_mut(TASK_ROWS).zip(rows.par_chunks(TASK_ROWS)).for_each(one);
        }
        out
    }

    /// Scores every row that may be picked at q.
    fn begin_epoch(&self, field: &Field, q: &[f64], entropy_q: f64) -> Epoch {
        let open: Vec<u32> =
            self.equals.first.iter().copied().filter(|&row| self.equals.stands_for(row, field).is_some()).collect();
        let divergences = self.screen(&open, q, entropy_q);
        let mut rows: Vec<Scored> = (open.par_iter().zip(divergences))
            .map(|(&row, js)| {
                let score = self.p.entropy()[row as usize] + self.lambda * js;
                Scored { row, score, root: (js + ROOT).sqrt() }
            })
            .collect();
        rows.par_sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
        Epoch { q: q.to_vec(), count: self.count, rows, spent: 0 }
    }

    /// Screened scores at q of all rows that can be the best, within `slack` of the greatest.
    fn contenders(&self, epoch: &mut Epoch, field: &Field, q: &[f64], entropy_q: f64, slack: f64) -> Vec<(u32, f64)> {
        let drift = (divergence(&epoch.q, entropy(&epoch.q), q, entropy_q) + ROOT).sqrt();
        let kept = epoch.count as f64 / self.count as f64;
        let lambda = self.lambda;
        // What the divergence of a row can have grown by since the epoch began.
        let growth = |root: f64| {
            let metric = drift * (2.0 * root + drift);
            let convex = (1.0 - kept) * (LN_2 - (root * root - 2.0 * ROOT).max(0.0));
            metric.min(convex)
        };
        let most = lambda * (drift * (2.0 * (LN_2 + ROOT).sqrt() + drift)).min((1.0 - kept) * LN_2 + ROOT);
        let mut found: Vec<(u32, f64)> = Vec::new();
        let mut best = f64::NEG_INFINITY;
        let (mut at, mut batch) = (0, 32);
        while at < epoch.rows.len() {
            let mut chosen = Vec::with_capacity(batch);
            while at < epoch.rows.len() && chosen.len() < batch {
                let scored = &epoch.rows[at];
                if scored.score + most < best - slack {
                    at = epoch.rows.len();
                    break;
                }
                at += 1;
                let bound = scored.score + lambda * growth(scored.root);
                if bound >= best - slack && self.equals.stands_for(scored.row, field).is_some() {
                    chosen.push(scored.row);
                }
            }
            epoch.spent += chosen.len();
            for (&row, js) in chosen.iter().zip(self.screen(&chosen, q, entropy_q)) {
                let score = self.p.entropy()[row as usize] + lambda * js;
                best = best.max(score);
                found.push((row, score));
            }
            found.retain(|&(_, score)| score >= best - slack);
            batch = (batch * 2).min(8192);
        }
        found
    }
}

impl Greedy for Js<'_> {
    fn fold(&mut self, row: usize, _: &Run) -> Result<f64> {
        let q = self.mean();
        let gain = self.score(row, &q, entropy(&q));
        for (s, p) in self.sum.iter_mut().zip(self.p.row(row)) {
            *s += p;
        }
        self.count += 1;
        Ok(gain)
    }

    fn best(&mut self, field: &Field, run: &Run) -> Result<Option<usize>> {
        let tie = TIE * (1.0 + self.lambda);
        let slack = tie + 2.0 * SCREEN * (1.0 + self.lambda);
        let q = self.mean();
        let entropy_q = entropy(&q);
        let found: Vec<u32> = if self.count == 0 {
            let h = self.p.entropy();
            let open = || self.equals.first.iter().copied().filter(|&r| self.equals.stands_for(r, field).is_some());
            let greatest = open().map(|row| h[row as usize]).fold(f64::NEG_INFINITY, f64::max);
            open().filter(|&row| h[row as usize] >= greatest - tie).collect()
        } else {
            let epoch = self.epoch.take().filter(|epoch| epoch.spent < epoch.rows.len().max(1024));
            let this = &*self;
            let (epoch, found) = run.install(|| {
                let mut epoch = epoch.unwrap_or_else(|| this.begin_epoch(field, &q, entropy_q));
                let found = this.contenders(&mut epoch, field, &q, entropy_q, slack);
                (epoch, found)
            });
            self.epoch = Some(epoch);
            found.into_iter().map(|(row, _)| row).collect()
        };
        let scores: Vec<f64> = found.iter().map(|&row| self.score(row as usize, &q, entropy_q)).collect();
        let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let tied = found.iter().zip(&scores).filter(|(_, score)| **score >= greatest - tie);
        Ok(tied.filter_map(|(&row, _)| self.equals.stands_for(row, field)).min())
    }
}

/// JS(p || q), the entropies given.
fn divergence(p: &[f64], entropy_p: f64, q: &[f64], entropy_q: f64) -> f64 {
    let middle: Vec<f64> = p.iter().zip(q).map(|(a, b)| (a + b) / 2.0).collect();
    (entropy(&middle) - (entropy_p + entropy_q) / 2.0).clamp(0.0, LN_2)
}

/// [`divergence`] of some rows to q with a vectorised logarithm.
struct Divergences<'a> {
    p: &'a Soft,
    rows: &'a [u32],
    q: &'a [f64],
    entropy_q: f64,
    out: &'a mut [f64],
}

impl WithSimd for Divergences<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let q = self.q.chunks_exact(8);
        let q_rest = q.remainder();
        for (out, &row) in self.out.iter_mut().zip(self.rows) {
            let mut lanes = [0f64; 8];
            let p = self.p.row(row as usize).chunks_exact(8);
            let p_rest = p.remainder();
            for (p, q) in p.zip(q.clone()) {
                for i in 0..8 {
                    lanes[i] += m_ln_m(0.5 * (p[i] + q[i]));
                }
            }
            for (i, (p, q)) in p_rest.iter().zip(q_rest).enumerate() {
                lanes[i] += m_ln_m(0.5 * (p + q));
            }
            let mut sum = 0.0;
            for lane in lanes {
                sum += lane;
            }
            let entropy_p = self.p.entropy()[row as usize];
            *out = (-sum - (entropy_p + self.entropy_q) / 2.0).clamp(0.0, LN_2);
        }
    }
}
