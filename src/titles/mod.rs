//! Titles: an item's names in text. What comes in is text that people or models wrote; what goes out is rows of the
//! catalogue.
//!
//! [`normalise`] gives a title its normal form, [`Titles`] finds the item of one name and the items that running text
//! names, [`parse_titles`] reads the list in an answer. Nothing here panics, whatever the text.

mod answer;
mod context;
mod edition;
mod ground;
mod invisible;
mod lists;
mod mentions;
mod near;
mod normal;
mod resolve;
mod table;
mod words;

pub use answer::{Reply, clean_answer};
pub(crate) use lists::{Json, is_left_out, list_number, read_json, without_escapes};
pub use lists::{ParsedTitle, parse_titles};
pub use mentions::Mention;
pub use normal::normalise;
pub use resolve::Titles;
