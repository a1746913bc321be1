//! Titles: an item's names in text. What comes in is text that people or models wrote; what goes out is rows of the
//! catalogue.
//!
//! [`normalise`] gives a title its normal form, [`Grounder`] finds the item of one written title, [`Mentions`] finds the
//! titles in running text, [`parse_titles`] reads the list in an answer.

mod ground;
mod lists;
mod mentions;

pub use ground::{Grounder, normalise};
pub use lists::{ParsedTitle, parse_titles};
pub use mentions::{Mention, Mentions};
