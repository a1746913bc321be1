//! The grammar of a request in JSON: one for the C API and for HTTP, so that what one takes the other takes, and what one
//! refuses the other refuses.
//!
//! `tree` JSON as it is written · `fields` an object taken apart, with nothing left over · `turns` what was said · `options`
//! what must and what may come back, and the request as a whole.

mod fields;
mod options;
#[cfg(test)]
mod tests;
mod tree;
mod turns;

pub use fields::{Fields, flag, list, number, text, texts};
pub use options::{EXPLAIN_MOST, OPTIONS, TURNS, read_options, read_request};
pub use tree::{Json, RequestError};
pub use turns::read_turns;
