//! A language model that can only name what is in the catalogue.
//!
//! `catalogue` spells the titles as training wrote them, `trie` holds them, `beam` and `exact` search it through a
//! `session`; a `lane` is one llama.cpp context, `pool` lends lanes to callers, `cache` keeps computed prompts, `prompt`
//! makes them, `adapters` exchanges LoRA adapters; `generate` and `head` are the other two ways to rank; `recommender` is
//! all of it behind one type.

mod adapters;
mod answer;
mod beam;
mod cache;
mod catalogue;
mod engine;
mod exact;
mod generate;
mod head;
mod hub;
mod lane;
mod pool;
mod prompt;
mod recommender;
#[cfg(test)]
mod serve_tests;
mod session;
#[cfg(test)]
mod tests;
mod trie;

pub use answer::{LmAnswer, LmItem, Mode};
pub use recommender::LmRecommender;
pub use trie::{Allowed, Surfaces, Trie};
