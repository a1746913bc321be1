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
pub use report::{CurvePoint, DatasetFacts, LossPoint, ReportData, SelectionFacts, Stage, read_report, write_report};
