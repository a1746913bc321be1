//! Room 4, synthesize: seeds → dialogues (query, ranked items) through a teacher (paper §3.3, Algorithm 2).
//!
//! `algorithm2` is the whole: a `plan` of requests, which `ask` sends, several at once, at the `pace` that the teacher bears,
//! and whose answers become dialogues, with a `report`. `journal` keeps every request and answer. `prompts`, `queries`,
//! `personal` (data, masked) and `leak` turn seeds into requests and answers into queries; [`crate::titles`] reads the lists that a teacher names from
//! memory, `choice` those that it chooses from a `shortlist` of the catalogue ([`crate::retrieve`]). Teachers: `offline` (with
//! `neighbours`, `sentences` and `attributes`), `http` (its wire format: `fields` and the `form` of answers out, `completion` and `server_error` back;
//! `secrets` stay out of both), `local` (with `lines` and
//! `likelihood`); `batch` writes the requests to a file and
//! reads the answers back, and `absent` stands for the teacher meanwhile. What is made goes through the `filter`s, a `judge` may
//! score it, and its `diversity` is measured. `estimate` tells
//! beforehand what it would cost.

mod absent;
mod algorithm2;
mod append;
mod ask;
mod attributes;
mod batch;
mod choice;
mod completion;
mod diversity;
mod estimate;
mod fields;
mod filter;
mod form;
mod http;
mod journal;
mod judge;
mod leak;
mod length;
#[cfg(feature = "llama")]
mod likelihood;
#[cfg(feature = "llama")]
mod lines;
#[cfg(feature = "llama")]
mod local;
mod neighbours;
mod offline;
mod pace;
mod personal;
mod plan;
mod prompts;
mod queries;
mod report;
mod secrets;
mod sentences;
mod server_error;
mod shortlist;
mod talk;
mod teacher;
mod words;
#[cfg(test)]
mod attributes_tests;
#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod http_tests;
#[cfg(test)]
mod judge_tests;
#[cfg(test)]
mod lists_tests;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod talk_tests;
#[cfg(test)]
mod tests;

pub use algorithm2::{check_teacher, synthesize, synthesize_with};
pub use batch::{ExportReport, ImportReport, export_requests, import_answers};
pub use diversity::{Coverage, Diversity};
pub use estimate::{Estimate, Span, estimate};
pub use http::HttpTeacher;
pub use judge::{Agreement, Criteria, Judged};
#[cfg(feature = "llama")]
pub use local::LocalTeacher;
pub use offline::OfflineTeacher;
pub use personal::PersonalData;
pub use queries::parse_queries;
pub use report::{Choices, Compared, Dialogues, SynthesisReport};
pub use teacher::{Answer, Class, Facts, Failure, Kind, Request, Teacher};
