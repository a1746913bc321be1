//! Titles: an item's names in text.
//!
//! What comes in is text that people or models wrote; what goes out is rows of the catalogue. [`Titles`] is made once per
//! catalogue and says which item a name means, and which items running text names: whoever asks that asks there.
//! [`clean_answer`] takes thinking and control tokens off a model's answer, [`parse_titles`] reads the list in it, and
//! [`normalise`] gives a title its normal form.
//!
//! Nothing here panics, whatever the text; the same catalogue and text give the same
//! rows on every thread.

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
