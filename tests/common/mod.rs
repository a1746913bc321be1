//! What the tests of the whole loop share.

use causerie::evaluate::{CUTOFFS, Evaluation, Metric};

/// Recall at `k`, seen items removed, of the first system whose label starts with `label`.
pub fn recall(set: &Evaluation, label: &str, k: usize) -> f64 {
    let system = set.systems.iter().find(|s| s.label.starts_with(label)).unwrap_or_else(|| panic!("no {label}"));
    let place = CUTOFFS.iter().position(|c| *c == k).unwrap();
    system.seen_removed.get(Metric::Recall, place).mean
}
