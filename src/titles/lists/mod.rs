//! What a teacher answered → the titles it lists, in order (§3.3). Nothing is looked up here: see [`super::Titles`].
//!
//! An answer is read as the first of these that it holds: JSON, a table, a numbered list, records of `Title: …`, headings, a
//! bulleted list, bold lines, plain lines, one line of quoted or comma-separated titles. A repeated title is given as often
//! as it is listed.

mod columns;
mod entry;
mod html;
mod json;
mod marks;
mod plain;
mod read;
#[cfg(test)]
mod tests;
mod title;

pub(super) use entry::title_and_year;
pub(crate) use json::{Json, is_left_out, read_json};
pub(crate) use marks::list_number;
pub use read::parse_titles;
pub(crate) use read::without_escapes;
pub use title::ParsedTitle;
