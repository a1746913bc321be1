//! What a selection says of itself: the objective, how far it can be from the best, the settings that made it.

use super::fisher::{Certificate, Reason};
use super::picks::Pick;
use super::soft::SoftAssignment;
use crate::config::SelectConfig;
use crate::math::Rows;
use serde::{Deserialize, Serialize};

/// Least, middle and greatest of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle (the upper one of two).
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of `values`; `None` when there are none.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Some(Spread { min: *sorted.first()?, median: *sorted.get(sorted.len() / 2)?, max: *sorted.last()? })
    }
}

/// What is to say of a selection that was finished from parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// How many parts there were.
    pub parts: u64,
    /// Rows that any part picked: the second round chose among them.
    pub merged_rows: usize,
    /// Sum of the gains of the best part alone.
    pub best_part_objective: f64,
    /// Fisher: the picks of the best part stand, for they were better than those from all parts.
    pub best_part_stands: bool,
    /// The objective of the selection from all rows in one go; none: it was not made (`select.compare_whole`).
    pub whole_objective: Option<f64>,
    /// What the parts lost of it, as a share: 1 - `objective` / `whole_objective`. Below 0 where the parts did better: greedy
    /// over fewer rows can be luckier.
    pub loss: Option<f64>,
}

impl Parts {
    pub(super) fn new(parts: u64, merged_rows: usize, best_part_objective: f64) -> Parts {
        let (best_part_stands, whole_objective, loss) = (false, None, None);
        Parts { parts, merged_rows, best_part_objective, best_part_stands, whole_objective, loss }
    }
    pub(super) fn compare(&mut self, objective: f64, whole: f64) {
        self.whole_objective = Some(whole);
        self.loss = Some(if whole > 0.0 { 1.0 - objective / whole } else { 0.0 });
    }
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// The report of one selection, for `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The strategy.
    pub strategy: String,
    /// Rows of the embeddings.
    pub rows: usize,
    /// Values per row, without the feature block.
    pub dim: usize,
    /// Picks asked for.
    pub budget: usize,
    /// Picks made.
    pub picked: usize,
    /// Rows of zeros, of which nothing is known: none of them is picked unless it is forced.
    #[serde(default, skip_serializing_if = "is_none")]
    pub passed_over: usize,
    /// Sum of the gains. Fisher: log det(I + X_S' X_S), less that of the picks given as earlier; JS: the sum of H + lambda JS.
    pub objective: f64,
    /// Fisher: no selection of `picked` rows on the same terms has a greater objective than this.
    pub upper_bound: Option<f64>,
    /// Fisher: `objective / upper_bound`: the selection is at least this share of the best one.
    pub share_of_best: Option<f64>,
    /// Fisher: which argument gave `upper_bound`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_by: Option<Reason>,
    /// JS: K, after K-means (it is lowered where there are fewer distinct rows).
    pub clusters: Option<usize>,
    /// JS: lambda.
    pub lambda: Option<f64>,
    /// JS: T.
    pub temperature: Option<f64>,
    /// JS: H(p_i) over all rows, in nats. When its ends meet, T is too high for these embeddings: the ranking hangs on noise.
    /// None after [`super::partition::finalise`], which sees the merged rows alone.
    pub entropy: Option<Spread>,
    /// JS on centres that were given: what they hold ([`super::centers::hash`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centers: Option<String>,
    /// JS with K-means: sum of squared distances of the rows to their centres.
    pub inertia: Option<f64>,
    /// JS with K-means: rounds done.
    pub kmeans_iterations: Option<usize>,
    /// Aware strategies: w.
    pub weight: Option<f64>,
    /// Seed of K-means and of the random strategy.
    pub seed: u64,
    /// Finished from parts: how many, and what they lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
}

impl std::fmt::Display for Report {
    /// One line: the objective and what bounds or shapes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} of {} rows, objective {:.4}", self.strategy, self.picked, self.rows, self.objective)?;
        if let Some(share) = self.share_of_best {
            write!(f, ", at least {:.1} % of the best possible", share * 100.0)?;
        }
        if let Some(reason) = &self.bound_by {
            write!(f, " ({reason})")?;
        }
        if let Some(clusters) = self.clusters {
            write!(f, ", K = {clusters}")?;
        }
        if let Some(centers) = &self.centers {
            write!(f, " (centres {})", centers.get(..8).unwrap_or(centers))?;
        }
        if let Some(entropy) = &self.entropy {
            write!(f, ", H from {:.3} to {:.3} nats", entropy.min, entropy.max)?;
        }
        if let Some(parts) = &self.parts {
            write!(f, "; {} parts, {} rows merged", parts.parts, parts.merged_rows)?;
            if let (Some(whole), Some(loss)) = (parts.whole_objective, parts.loss) {
                write!(f, ", {:.3} % lost against {whole:.4} of all rows in one go", 100.0 * loss)?;
            }
        }
        Ok(())
    }
}

impl Report {
    pub(super) fn new(x: &dyn Rows, config: &SelectConfig) -> Report {
        let aware = config.strategy.is_aware();
        Report {
            strategy: config.strategy.to_string(),
            rows: x.count(),
            dim: x.width(),
            budget: config.budget,
            picked: 0,
            passed_over: 0,
            objective: 0.0,
            upper_bound: None,
            share_of_best: None,
            bound_by: None,
            clusters: None,
            lambda: None,
            temperature: None,
            entropy: None,
            centers: None,
            inertia: None,
            kmeans_iterations: None,
            weight: aware.then_some(config.weight),
            seed: config.seed,
            parts: None,
        }
    }
    pub(super) fn js(&mut self, p: &SoftAssignment, config: &SelectConfig) {
        self.clusters = Some(p.clusters());
        self.lambda = Some(config.lambda);
        self.temperature = Some(config.temperature);
        self.entropy = Spread::of(p.entropy());
    }
    pub(super) fn certify(&mut self, certificate: &Certificate) {
        // Rounding can put the bound of a complete selection a hair below its own objective.
        let upper_bound = certificate.upper_bound.max(certificate.objective);
        self.upper_bound = Some(upper_bound);
        self.share_of_best = Some(if upper_bound > 0.0 { certificate.objective / upper_bound } else { 1.0 });
        self.bound_by = Some(certificate.reason);
    }
    pub(super) fn finish(&mut self, picks: &[Pick]) {
        self.picked = picks.len();
        self.objective = picks.iter().map(|p| p.gain).sum();
    }
}
