//! How far a Fisher selection can be from the best one: log det(I + X_S' X_S) of the picks, and a bound on that of any.

use super::super::field::Field;
use super::super::picks::Pick;
use super::strategy::Fisher;
use crate::run::Run;
use serde::{Deserialize, Serialize};

/// Which argument gave the upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Submodularity: what is left adds at most its greatest remaining gains.
    RemainingGains,
    /// Concavity of log det: the sum of all x' Lambda x that is within reach.
    Concavity,
    /// Greedy under a budget alone is within 1 - (1 - 1/k)^k of the best (Nemhauser, Wolsey, Fisher).
    Greedy,
    /// Greedy under one cap and a budget, a matroid, is within 1/2 of the best; under two caps within 1/3 (Fisher, Nemhauser,
    /// Wolsey).
    Caps,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::RemainingGains => "by the gains that are left",
            Reason::Concavity => "by the concavity of log det",
            Reason::Greedy => "by the greedy bound",
            Reason::Caps => "by the greedy bound under caps",
        })
    }
}

/// What is known of a finished selection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certificate {
    /// log det(I + X_S' X_S), less that of picks that are not part of it.
    pub objective: f64,
    /// No selection of as many rows on the same terms has more.
    pub upper_bound: f64,
    /// Why not.
    pub reason: Reason,
}

impl Fisher<'_> {
    /// The objective f(S) of `earlier` and `picks` together, the last rows folded, and an upper bound on that of any
    /// selection of as many rows on the same terms.
    ///
    /// The least of: what submodularity says, f(S) plus the greatest remaining gains; what concavity of log det says,
    /// f(S) + d log(1 + (T - U) / d), T the greatest sum of x' Lambda x over as many rows, U its sum over the picks; and
    /// what is known of greedy: f(S) / (1 - (1 - 1/k)^k) without caps, 2 f(S) under one, 3 f(S) under two.
    ///
    /// The first two hold on any terms. One cap is kept exactly in their sums, of two the tighter one: a bound all the same.
    pub fn certificate(&self, earlier: &[Pick], picks: &[Pick], field: &Field, run: &Run) -> Certificate {
        self.certify(earlier, picks, earlier.is_empty(), field, run)
    }

    /// [`Fisher::certificate`] of picks that greedy did not make: only the bounds that hold for any picks.
    pub fn bounds_on_all(&self, picks: &[Pick], field: &Field, run: &Run) -> Certificate {
        self.certify(&[], picks, false, field, run)
    }

    fn certify(&self, earlier: &[Pick], picks: &[Pick], greedy: bool, field: &Field, run: &Run) -> Certificate {
        let k = earlier.len() + picks.len();
        let objective: f64 = self.gains[self.gains.len() - k..].iter().sum();
        let mut scores: Vec<(u32, f64)> = Vec::new();
        let waiting = self.waiting().chain(self.unavailable.iter().copied());
        let outside = waiting.map(|row| (row, self.bounds[row as usize]));
        for (row, score) in outside.chain(self.pool.iter().map(|e| (e.row, e.score))) {
            let score = score.max(0.0);
            let open = self.equals.of(&row).iter().filter(|&&row| field.is_open(row as usize));
            scores.extend(open.map(|&row| (row, score)));
        }
        let gains = field.top_sum(&mut scores, k, |score| score.ln_1p());
        let mut bounds = vec![(objective + gains, Reason::RemainingGains)];
        // Earlier picks may be those of another matrix, forced rows are not greedy's choice.
        if greedy && field.forced().is_empty() && k > 0 {
            bounds.push(match field.caps() {
                0 => (objective / (1.0 - (1.0 - 1.0 / k as f64).powf(k as f64)), Reason::Greedy),
                caps => (objective * (caps as f64 + 1.0), Reason::Caps),
            });
        }
        let rows: Vec<u32> = earlier.iter().chain(picks).map(|p| p.row as u32).collect();
        let dim = self.x.width() as f64;
        let mut own = 0.0;
        // Some rows at a time: the coefficients of all picks would be picks^2 values.
        for rows in rows.chunks(super::strategy::SCORED_ROWS) {
            let (found, _) = run.install(|| self.precise.scores(self.x, &self.squares, rows));
            for (&row, score) in rows.iter().zip(found) {
                own += score.max(0.0);
                scores.push((row, score.max(0.0)));
            }
        }
        let top = field.top_sum(&mut scores, k, |score| score);
        bounds.push((objective + dim * ((top - own).max(0.0) / dim).ln_1p(), Reason::Concavity));
        let least = bounds.into_iter().reduce(|a, b| if b.0 < a.0 { b } else { a });
        let (upper_bound, reason) = least.unwrap_or((objective, Reason::RemainingGains));
        Certificate { objective, upper_bound, reason }
    }
}
