//! Room 7, evaluate: recommenders + held-out conversations → report (paper §4.2.1).

mod answers;
mod bootstrap;
mod chart;
mod compare;
mod html;
mod markup;
mod metrics;
mod report;
mod report_files;

pub use answers::{
    Answer, AnswerReport, NEAREST_EDITS, Prefer, Variants, catalogue, score_answer_files, score_answers,
};
pub use compare::{Coverage, Evaluation, Example, ExampleList, PairedDifference, SystemReport, TESTED, evaluate};
pub use metrics::{CUTOFFS, Estimate, METRICS, Metric, Metrics};
pub use report::{CurvePoint, DatasetFacts, LossPoint, ReportData, SelectionFacts, Stage};
pub use report_files::{read_report, write_report};
