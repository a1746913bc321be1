//! The slow twins: JS and Fisher written plainly, a full scan in f64 at every pick. They exist to be obviously right:
//! the tests compare the fast ones with them, and nothing else should call them (Fisher: O(rows dim^2) a pick).

use super::field::Field;
use super::greedy::{self, Greedy, TIE};
use super::picks::Pick;
use super::soft::SoftAssignment;
use crate::error::Result;
use crate::math::{Matrix, jensen_shannon};
use crate::run::Run;

/// FISHER (§3.2.2) with Lambda `[dim, dim]` as the paper writes it.
pub struct FisherTwin {
    rows: Vec<Vec<f64>>,
    lambda: Vec<Vec<f64>>,
    tie: f64,
}

impl FisherTwin {
    /// Lambda_0 = I. `x`: `[rows, dim]`.
    pub fn new(x: &Matrix) -> FisherTwin {
        let dim = x.dim();
        let rows: Vec<Vec<f64>> = (0..x.rows()).map(|i| x.row(i).iter().map(|v| f64::from(*v)).collect()).collect();
        let lambda = (0..dim).map(|i| (0..dim).map(|j| if i == j { 1.0 } else { 0.0 }).collect()).collect();
        let greatest = rows.iter().map(|x| dot(x, x)).fold(0.0, f64::max);
        FisherTwin { rows, lambda, tie: TIE * greatest }
    }
    /// Lambda x, `[dim]`.
    fn image(&self, x: &[f64]) -> Vec<f64> {
        self.lambda.iter().map(|row| dot(row, x)).collect()
    }
    /// x' Lambda x.
    fn score(&self, row: usize) -> f64 {
        dot(&self.rows[row], &self.image(&self.rows[row]))
    }
}

impl Greedy for FisherTwin {
    fn fold(&mut self, row: usize, _: &Run) -> Result<f64> {
        let image = self.image(&self.rows[row]);
        let score = dot(&self.rows[row], &image);
        for (line, a) in self.lambda.iter_mut().zip(&image) {
            for (cell, b) in line.iter_mut().zip(&image) {
                *cell -= a * b / (1.0 + score);
            }
        }
        Ok(score.ln_1p())
    }
    fn best(&mut self, field: &Field, _: &Run) -> Result<Option<usize>> {
        let scores: Vec<(usize, f64)> =
            (0..self.rows.len()).filter(|&i| field.allows(i)).map(|i| (i, self.score(i))).collect();
        Ok(lowest_of_the_best(&scores, self.tie))
    }
}

/// JS (§3.2.1): the first pick by entropy, each further one by H(p) + lambda JS(p || q).
pub struct JsTwin<'a> {
    p: &'a SoftAssignment,
    lambda: f64,
    picked: Vec<usize>,
}

impl<'a> JsTwin<'a> {
    /// `p`: `[rows, clusters]`.
    pub fn new(p: &'a SoftAssignment, lambda: f64) -> JsTwin<'a> {
        JsTwin { p, lambda, picked: Vec::new() }
    }
    /// q_t: the mean of the p of the picks so far; `None` before the first.
    fn mean(&self) -> Option<Vec<f64>> {
        let count = self.picked.len() as f64;
        let mean = |j: usize| self.picked.iter().map(|&i| self.p.row(i)[j]).sum::<f64>() / count;
        (!self.picked.is_empty()).then(|| (0..self.p.clusters()).map(mean).collect())
    }
    fn score(&self, row: usize, mean: Option<&[f64]>) -> Result<f64> {
        let p = self.p.row(row);
        let divergence = mean.map_or(Ok(0.0), |q| jensen_shannon(p, q))?;
        Ok(crate::math::entropy(p) + self.lambda * divergence)
    }
}

impl Greedy for JsTwin<'_> {
    fn fold(&mut self, row: usize, _: &Run) -> Result<f64> {
        let gain = self.score(row, self.mean().as_deref())?;
        self.picked.push(row);
        Ok(gain)
    }
    fn best(&mut self, field: &Field, _: &Run) -> Result<Option<usize>> {
        let mean = self.mean();
        let allowed = (0..self.p.rows()).filter(|&i| field.allows(i));
        let scores = allowed.map(|i| Ok((i, self.score(i, mean.as_deref())?))).collect::<Result<Vec<_>>>()?;
        Ok(lowest_of_the_best(&scores, TIE * (1.0 + self.lambda)))
    }
}

/// The picks of a twin on a field without terms.
///
/// # Errors
/// [`crate::ErrorKind::Cancelled`].
pub fn picks(twin: &mut dyn Greedy, field: &mut Field, budget: usize, run: &Run) -> Result<Vec<Pick>> {
    greedy::run(twin, field, budget, run)
}

/// The lowest row whose score is within `tie` of the greatest.
fn lowest_of_the_best(scores: &[(usize, f64)], tie: f64) -> Option<usize> {
    let greatest = scores.iter().map(|s| s.1).fold(f64::NEG_INFINITY, f64::max);
    scores.iter().find(|s| s.1 >= greatest - tie).map(|s| s.0)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
