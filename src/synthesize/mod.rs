//! Room 4, synthesize: seeds → dialogues (query, ranked items) through a teacher (paper §3.3, Algorithm 2).

mod dialogue;

pub use dialogue::{Dialogue, Message, Seed};
