//! Dialogues of several turns (`synthesize.turns`): planned first, from data, then put into words.
//!
//! `history` says what a user liked and did not like; `persona` is who speaks: a review's author, an item that is looked for,
//! and what speaks for it; `outline` lets the persona and the retrieval talk, move by move, so that every label is exact;
//! `words` are the domain's sentences for each move. What comes out is a [`Outline`] with a draft in words. A teacher may put
//! the draft into its own words; `check` keeps those that say what the plan says.

mod check;
mod history;
mod outline;
mod persona;
mod words;

pub(super) use check::{read_lines, says};
pub(super) use history::DISLIKED_TO;
pub(super) use outline::{Outline, Outliner, Sources};
pub(super) use words::{Talk, one_line, say, talk_of};
