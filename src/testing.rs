//! What the unit tests of several rooms share.

/// A file of the shared real data; none (with a word on stderr) where it is not there, a failure in CI.
pub fn shared(file: &str) -> Option<std::path::PathBuf> {
    let root = std::env::var_os("CAUSERIE_SHARED")
        .map_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), std::path::PathBuf::from);
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
