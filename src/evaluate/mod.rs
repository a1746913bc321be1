//! Room 7, evaluate: recommenders + held-out conversations → report (paper §4.2.1).

mod answers;
mod bootstrap;
mod chart;
mod compare;
mod html;
mod metrics;
mod report;

pub use answers::{
    Answer, AnswerReport, NEAREST_EDITS, Prefer, Variants, catalogue, score_answer_files, score_answers,
};
pub use compare::{Coverage, Evaluation, Example, ExampleList, PairedDifference, SystemReport, TESTED, evaluate};
pub use metrics::{CUTOFFS, Estimate, METRICS, Metric, Metrics};
pub use report::{CurvePoint, DatasetFacts, LossPoint, ReportData, Stage, read_report, write_report};

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
