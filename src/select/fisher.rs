//! FISHER (paper §3.2.2): Lambda_0 = I, argmax log(1 + x' Lambda x), rank-one updates.

use super::Pick;
use super::field::Field;
use super::greedy::{Greedy, TIE};
use crate::error::Result;
use crate::math::{Matrix, dot};
use crate::run::Run;
use rayon::prelude::*;

/// FISHER under way.
pub struct Fisher<'a> {
    x: &'a Matrix,
    /// x' Lambda x of every row.
    scores: Vec<f64>,
    /// w_t = Lambda x_t / sqrt(1 + x_t' Lambda x_t): Lambda = I - sum w w'.
    updates: Vec<Vec<f64>>,
    tie: f64,
}

impl<'a> Fisher<'a> {
    /// Nothing picked yet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn new(x: &'a Matrix, run: &Run) -> Result<Fisher<'a>> {
        let scores: Vec<f64> = run.install(|| (0..x.rows()).into_par_iter().map(|i| dot(x.row(i), x.row(i))).collect());
        let greatest = scores.iter().copied().fold(0.0, f64::max);
        Ok(Fisher { x, scores, updates: Vec::new(), tie: TIE * greatest })
    }
    /// An upper bound on the objective of any selection of as many rows on the same terms.
    pub fn upper_bound(&self, objective: f64, picks: &[Pick], field: &Field) -> f64 {
        let open = (0..self.x.rows()).filter(|&i| field.allows(i));
        let gains = open.map(|i| (i as u32, self.scores[i].max(0.0).ln_1p())).collect();
        let bound = objective + field.top_sum(gains, picks.len());
        // Plain greedy reaches 1 - (1 - 1/k)^k of the best (Nemhauser, Wolsey, Fisher); forced rows and caps void that.
        let k = picks.len().max(1) as f64;
        if field.is_plain() { bound.min(objective / (1.0 - (1.0 - 1.0 / k).powf(k))) } else { bound }
    }
}

fn mixed(x: &[f32], w: &[f64]) -> f64 {
    x.iter().zip(w).map(|(x, w)| f64::from(*x) * w).sum()
}

impl Greedy for Fisher<'_> {
    fn fold(&mut self, row: usize, run: &Run) -> Result<f64> {
        let mut w: Vec<f64> = self.x.row(row).iter().map(|v| f64::from(*v)).collect();
        for u in &self.updates {
            let a = mixed(self.x.row(row), u);
            w.iter_mut().zip(u).for_each(|(w, u)| *w -= a * u);
        }
        let score = mixed(self.x.row(row), &w);
        let length = (1.0 + score).sqrt();
        w.iter_mut().for_each(|w| *w /= length);
        let x = self.x;
        run.install(|| self.scores.par_iter_mut().enumerate().for_each(|(i, s)| *s -= mixed(x.row(i), &w).powi(2)));
        self.updates.push(w);
        Ok(score.ln_1p())
    }
    fn best(&mut self, field: &Field, _: &Run) -> Result<Option<usize>> {
        let allowed = || (0..self.x.rows()).filter(|&i| field.allows(i));
        let greatest = allowed().map(|i| self.scores[i]).fold(f64::NEG_INFINITY, f64::max);
        let picked = allowed().find(|&i| self.scores[i] >= greatest - self.tie);
        Ok(picked)
    }
}
