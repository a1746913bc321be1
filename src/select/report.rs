//! What a selection says of itself: the objective, how far it can be from the best, the settings that made it.

use super::Pick;
use super::soft::Soft;
use crate::config::SelectConfig;
use crate::math::Matrix;
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
    /// Sum of the gains. Fisher: log det(I + X_S' X_S), less that of the picks given as earlier; JS: the sum of H + lambda JS.
    pub objective: f64,
    /// Fisher: no selection of `picked` rows on the same terms has a greater objective than this.
    pub upper_bound: Option<f64>,
    /// Fisher: `objective / upper_bound`: the selection is at least this share of the best one.
    pub share_of_best: Option<f64>,
    /// JS: K, after K-means (it is lowered where there are fewer distinct rows).
    pub clusters: Option<usize>,
    /// JS: lambda.
    pub lambda: Option<f64>,
    /// JS: T.
    pub temperature: Option<f64>,
    /// JS: H(p_i) over all rows, in nats. When its ends meet, T is too high for these embeddings: the ranking hangs on noise.
    pub entropy: Option<Spread>,
    /// JS with K-means: sum of squared distances of the rows to their centres.
    pub inertia: Option<f64>,
    /// JS with K-means: rounds done.
    pub kmeans_iterations: Option<usize>,
    /// Aware strategies: w.
    pub weight: Option<f64>,
    /// Seed of K-means and of the random strategy.
    pub seed: u64,
}

impl std::fmt::Display for Report {
    /// One line: the objective and what bounds or shapes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} of {} rows, objective {:.4}", self.strategy, self.picked, self.rows, self.objective)?;
        if let Some(share) = self.share_of_best {
            write!(f, ", at least {:.1} % of the best possible", share * 100.0)?;
        }
        if let Some(clusters) = self.clusters {
            write!(f, ", K = {clusters}")?;
        }
        if let Some(entropy) = &self.entropy {
            write!(f, ", H from {:.3} to {:.3} nats", entropy.min, entropy.max)?;
        }
        Ok(())
    }
}

impl Report {
    pub(super) fn new(x: &Matrix, config: &SelectConfig) -> Report {
        let aware = config.strategy.starts_with("metadata_") || config.strategy.starts_with("user_");
        Report {
            strategy: config.strategy.clone(),
            rows: x.rows(),
            dim: x.dim(),
            budget: config.budget,
            picked: 0,
            objective: 0.0,
            upper_bound: None,
            share_of_best: None,
            clusters: None,
            lambda: None,
            temperature: None,
            entropy: None,
            inertia: None,
            kmeans_iterations: None,
            weight: aware.then_some(config.weight),
            seed: config.seed,
        }
    }
    pub(super) fn js(&mut self, p: &Soft, config: &SelectConfig) {
        self.clusters = Some(p.clusters());
        self.lambda = Some(config.lambda);
        self.temperature = Some(config.temperature);
        self.entropy = Spread::of(p.entropy());
    }
    pub(super) fn certify(&mut self, objective: f64, upper_bound: f64) {
        // Rounding can put the bound of a complete selection a hair below its own objective.
        let upper_bound = upper_bound.max(objective);
        self.upper_bound = Some(upper_bound);
        self.share_of_best = Some(if upper_bound > 0.0 { objective / upper_bound } else { 1.0 });
    }
    pub(super) fn finish(&mut self, picks: &[Pick]) {
        self.picked = picks.len();
        self.objective = picks.iter().map(|p| p.gain).sum();
    }
}
