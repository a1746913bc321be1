//! JS (paper §3.2.1): argmax H(p_i) first, then argmax H(p_i) + lambda JS(p_i || q_t), q_t the mean of the picks' p.

use super::field::Field;
use super::greedy::{Greedy, TIE};
use super::soft::Soft;
use crate::error::Result;
use crate::math::entropy;
use crate::run::Run;
use rayon::prelude::*;

/// JS under way.
pub struct Js<'a> {
    p: &'a Soft,
    lambda: f64,
    /// Sum of the picks' p, `[clusters]`, and their number.
    sum: Vec<f64>,
    count: usize,
}

impl<'a> Js<'a> {
    /// Nothing picked yet.
    pub fn new(p: &'a Soft, lambda: f64, _run: &Run) -> Js<'a> {
        Js { p, lambda, sum: vec![0.0; p.clusters()], count: 0 }
    }
    fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|s| s / self.count as f64).collect()
    }
    fn score(&self, row: usize, q: &[f64], entropy_q: f64) -> f64 {
        let h = self.p.entropy()[row];
        if self.count == 0 {
            return h;
        }
        let middle: Vec<f64> = self.p.row(row).iter().zip(q).map(|(a, b)| (a + b) / 2.0).collect();
        h + self.lambda * (entropy(&middle) - (h + entropy_q) / 2.0).clamp(0.0, std::f64::consts::LN_2)
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
        let q = self.mean();
        let entropy_q = entropy(&q);
        let this = &*self;
        let scores: Vec<f64> = run.install(|| {
            (0..this.p.rows())
                .into_par_iter()
                .map(|i| if field.allows(i) { this.score(i, &q, entropy_q) } else { f64::NEG_INFINITY })
                .collect()
        });
        let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let tie = TIE * (1.0 + self.lambda);
        Ok(scores.iter().position(|&s| s > f64::NEG_INFINITY && s >= greatest - tie))
    }
}
