//! What the integration tests share.
#![allow(dead_code)]

use causerie::evaluate::{CUTOFFS, Evaluation, Metric};
use std::path::{Path, PathBuf};

/// A file of the shared real data; none (with a word on stderr) where it is not there, a failure in CI.
pub fn shared(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CAUSERIE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(file);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing; point CAUSERIE_SHARED at the shared data",
        path.display()
    );
    eprintln!("skipped: {} is missing; point CAUSERIE_SHARED at the shared data", path.display());
    None
}

/// Recall at `k`, seen items removed, of the first system whose label starts with `label`.
pub fn recall(set: &Evaluation, label: &str, k: usize) -> f64 {
    let system = set.systems.iter().find(|s| s.label.starts_with(label)).unwrap_or_else(|| panic!("no {label}"));
    let place = CUTOFFS.iter().position(|c| *c == k).unwrap();
    system.seen_removed.get(Metric::Recall, place).mean
}
