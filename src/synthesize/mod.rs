//! Room 4, synthesize: seeds → dialogues (query, ranked items) through a teacher (paper §3.3, Algorithm 2).
//!
//! `algorithm2` plans the requests and makes dialogues of the answers; `ask` sends them, several at once, at the `pace`
//! the teacher bears; `journal` keeps every request and answer; `prompts`, `queries` and `leak` turn
//! seeds into requests and answers into queries; [`crate::titles`] reads the lists. Teachers: `offline` (with `neighbours` and `sentences`), `http` (wire format:
//! `completion`), `local`; `batch` sends requests away as a file and takes the answers back.

mod algorithm2;
mod ask;
mod batch;
mod completion;
mod http;
mod journal;
mod leak;
#[cfg(feature = "llama")]
mod local;
mod neighbours;
mod offline;
mod pace;
mod prompts;
mod queries;
mod sentences;
mod teacher;
#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;

pub use algorithm2::{Dialogues, SynthesisReport, check_teacher, synthesize, synthesize_with};
pub use batch::{Exported, Imported, export_requests, import_answers};
pub use http::HttpTeacher;
#[cfg(feature = "llama")]
pub use local::LocalTeacher;
pub use offline::OfflineTeacher;
pub use queries::parse_queries;
pub use teacher::{Answer, Class, Facts, Failure, Kind, Request, Teacher};
