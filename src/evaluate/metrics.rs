//! Recall, NDCG and MRR over (context, unseen target) pairs, with standard errors (§4.2.1; He et al. 2023).
//!
//! A pair has one relevant item, so with r the target's rank from 1 and k the cutoff: Recall@k = 1 when r <= k;
//! NDCG@k = 1 / log2(1 + r) when r <= k; MRR@k = 1 / r when r <= k; else 0.

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use std::collections::BTreeMap;

/// The cutoffs k of every table.
pub const CUTOFFS: [usize; 4] = [1, 5, 10, 20];

/// What is measured at a cutoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Share of targets within the first k.
    Recall,
    /// Normalised discounted cumulative gain.
    Ndcg,
    /// Mean reciprocal rank.
    Mrr,
}

/// All metrics, in the order of reports.
pub const METRICS: [Metric; 3] = [Metric::Recall, Metric::Ndcg, Metric::Mrr];

impl Metric {
    /// Its name in JSON: `recall`, `ndcg`, `mrr`.
    pub fn key(self) -> &'static str {
        match self {
            Metric::Recall => "recall",
            Metric::Ndcg => "ndcg",
            Metric::Mrr => "mrr",
        }
    }
    /// Its name for readers.
    pub fn title(self) -> &'static str {
        match self {
            Metric::Recall => "Recall",
            Metric::Ndcg => "NDCG",
            Metric::Mrr => "MRR",
        }
    }
    /// The value of one pair: `rank` counts from 0, none is a miss.
    pub fn of(self, rank: Option<usize>, cutoff: usize) -> f64 {
        match rank.filter(|r| *r < cutoff) {
            None => 0.0,
            Some(rank) => match self {
                Metric::Recall => 1.0,
                Metric::Ndcg => 1.0 / ((rank + 2) as f64).log2(),
                Metric::Mrr => 1.0 / (rank + 1) as f64,
            },
        }
    }
}

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean; 0 of nothing.
    pub mean: f64,
    /// s / sqrt(n), s the sample's standard deviation with n - 1; 0 when n < 2.
    pub se: f64,
}

impl Estimate {
    /// Of `values`, summed in order.
    pub fn of(values: &[f64]) -> Estimate {
        let n = values.len() as f64;
        if values.is_empty() {
            return Estimate::default();
        }
        let mean = values.iter().sum::<f64>() / n;
        if values.len() < 2 {
            return Estimate { mean, se: 0.0 };
        }
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
        Estimate { mean, se: (variance / n).sqrt() }
    }
}

/// All metrics at all cutoffs. In JSON: `{"n": 211, "recall@1_mean": …, "recall@1_se": …, …}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics {
    /// Number of pairs.
    pub n: u64,
    /// `[METRICS][CUTOFFS]`.
    values: [[Estimate; 4]; 3],
}

impl Metrics {
    /// From each pair's rank, from 0; none is a miss.
    pub fn of(ranks: &[Option<usize>]) -> Metrics {
        let at = |metric: Metric, k| Estimate::of(&ranks.iter().map(|r| metric.of(*r, k)).collect::<Vec<_>>());
        Metrics { n: ranks.len() as u64, values: METRICS.map(|metric| CUTOFFS.map(|k| at(metric, k))) }
    }
    /// The estimate of `metric` at the cutoff of index `cutoff` in [`CUTOFFS`].
    pub fn get(&self, metric: Metric, cutoff: usize) -> Estimate {
        self.values[metric as usize][cutoff]
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("n", &self.n)?;
        for (i, k) in CUTOFFS.iter().enumerate() {
            for metric in METRICS {
                let estimate = self.get(metric, i);
                map.serialize_entry(&format!("{}@{k}_mean", metric.key()), &estimate.mean)?;
                map.serialize_entry(&format!("{}@{k}_se", metric.key()), &estimate.se)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, f64>::deserialize(deserializer)?;
        let get = |key: String| map.get(&key).copied().ok_or_else(|| serde::de::Error::custom(format!("no {key}")));
        let mut metrics = Metrics { n: get("n".into())? as u64, ..Metrics::default() };
        for (i, k) in CUTOFFS.iter().enumerate() {
            for metric in METRICS {
                let (mean, se) = (get(format!("{}@{k}_mean", metric.key()))?, get(format!("{}@{k}_se", metric.key()))?);
                metrics.values[metric as usize][i] = Estimate { mean, se };
            }
        }
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_those_of_the_formulas() {
        // Ranks 1, 3, 20, 21 and a miss.
        let metrics = Metrics::of(&[Some(0), Some(2), Some(19), Some(20), None]);
        let close = |e: Estimate, mean: f64| assert!((e.mean - mean).abs() < 1e-15, "{e:?} {mean}");
        for (i, hits) in [1.0, 2.0, 2.0, 3.0].iter().enumerate() {
            close(metrics.get(Metric::Recall, i), hits / 5.0);
        }
        close(metrics.get(Metric::Ndcg, 0), 1.0 / 5.0);
        close(metrics.get(Metric::Ndcg, 1), (1.0 + 0.5) / 5.0);
        close(metrics.get(Metric::Ndcg, 3), (1.0 + 0.5 + 1.0 / 21f64.log2()) / 5.0);
        close(metrics.get(Metric::Mrr, 1), (1.0 + 1.0 / 3.0) / 5.0);
        close(metrics.get(Metric::Mrr, 3), (1.0 + 1.0 / 3.0 + 1.0 / 20.0) / 5.0);
        // Of h hits in n: s^2 = n/(n-1) p (1-p), se = sqrt(p (1-p) / (n-1)).
        assert!((metrics.get(Metric::Recall, 3).se - (0.6f64 * 0.4 / 4.0).sqrt()).abs() < 1e-15);
        assert_eq!(metrics.n, 5);
    }

    #[test]
    fn nothing_and_one_pair_have_no_error_and_no_nan() {
        assert_eq!(Metrics::of(&[]).get(Metric::Ndcg, 2), Estimate { mean: 0.0, se: 0.0 });
        assert_eq!(Metrics::of(&[Some(0)]).get(Metric::Mrr, 0), Estimate { mean: 1.0, se: 0.0 });
    }

    #[test]
    fn json_keeps_every_value() {
        let metrics = Metrics::of(&[Some(1), None, Some(7)]);
        let json = serde_json::to_string(&metrics).unwrap();
        assert!(json.starts_with(r#"{"n":3,"recall@1_mean":0.0,"recall@1_se":0.0,"ndcg@1_mean""#), "{json}");
        assert_eq!(serde_json::from_str::<Metrics>(&json).unwrap(), metrics);
        assert!(serde_json::from_str::<Metrics>(r#"{"n": 3}"#).is_err());
    }
}
