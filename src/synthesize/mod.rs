//! Room 4, synthesize: seeds → dialogues (query, ranked items) through a teacher (paper §3.3, Algorithm 2).

mod dialogue;
mod ground;
mod parse;

pub use dialogue::{Dialogue, Message, Seed};
pub use ground::{Grounder, normalise};
pub use parse::{ParsedTitle, parse_titles};

#[cfg(test)]
mod testing {
    /// A file of the shared real data; none (with a word on stderr) where it is not there, a failure in CI.
    pub fn shared(file: &str) -> Option<std::path::PathBuf> {
        let root = std::env::var_os("CAUSERIE_SHARED").map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
            std::path::PathBuf::from,
        );
        let path = root.join(file);
        if path.exists() {
            return Some(path);
        }
        assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
        eprintln!("skipped: {} is missing", path.display());
        None
    }
}
