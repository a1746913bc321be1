//! What tests share: unit tests as `crate::testing`, those in `tests/` by its path.

mod skipped;

use skipped::skipped;
use std::path::{Path, PathBuf};

/// A file of the shared real data; none where it is not there, which is said as [`skipped`] says it.
pub fn shared(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CAUSERIE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(file);
    if path.exists() {
        return Some(path);
    }
    skipped(&format!("{} is missing; point CAUSERIE_SHARED at the shared data", path.display()));
    None
}
