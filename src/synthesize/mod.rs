//! Room 4, synthesize: seeds → dialogues (query, ranked items) through a teacher (paper §3.3, Algorithm 2).

mod dialogue;
mod ground;
mod parse;

pub use dialogue::{Dialogue, Message, Seed};
pub use ground::{Grounder, normalise};
pub use parse::{ParsedTitle, parse_titles};
