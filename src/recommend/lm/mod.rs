//! A language model that can only name what is in the catalogue.
//!
//! `catalogue` spells the titles as training wrote them, `sorter` sorts them, `trie` holds them, `beam` and `exact` search it through a
//! `session`; a `lane` is one llama.cpp context, `pool` lends lanes to callers, `cache` keeps computed prompts, `prompt`
//! makes them, `adapters` exchanges LoRA adapters; `generate` and `state_head` are the other two ways to rank; `sentence` puts an answer into words; `recommender` is
//! all of it behind one type, which ranks by its titles (`constrained`) and changes while it serves (`live`).
//!
//! # What a user's input cannot do
//!
//! llama.cpp answers some mistakes by ending the process. From here they are out of reach, each by a check of ours:
//!
//! | llama.cpp ends the process when | excluded by |
//! |---|---|
//! | a GGUF lies about its sizes, types or offsets | [`crate::gguf`] reads and checks the header before llama.cpp sees the file |
//! | a model without weights, or an encoder, is asked to decode | `Context::new`, `LmRecommender::of` |
//! | a batch is empty, larger than `n_batch`, or larger than `n_ubatch` where it is pooled | `Context::check`; steps and prompts are cut to `batch_tokens` |
//! | a token is not in the vocabulary | `Context::check`; titles and prompts come from the model's own tokeniser |
//! | a sequence number is beyond `n_seq_max` (256 at most) | `Context::check`; a search's width is cut to the sequences there are |
//! | a position is negative or beyond the context | `Context::check`; prompts leave room for the longest title, longer conversations lose their oldest turns |
//! | logits are read of a token that had no output | `Context::logit_rows` |
//! | a special token is hidden in what a user says | `Chat` defuses it or refuses the message; titles are tokenised as plain text |
//! | a text holds a zero byte | refused before it becomes a C string |
//! | an adapter is no LoRA adapter, of another architecture, of other shapes | `Adapter::load`; llama.cpp's own refusal of shapes is an error, not an abort |
//! | a saved state of another model or context is restored | states never leave the process; the cache belongs to one model and one adapter generation |
//! | the cache is full | status 1, an error: the search is made again, half as wide |
//!
//! Gaps in a sequence's positions, sequences that are shared and then diverge, and a batch that is aborted in the middle
//! are refused by llama.cpp with a status; the lane then forgets all it holds. Text that is no UTF-8 cannot be passed: a
//! Rust string is UTF-8, and the dataset and the command refuse other bytes by name.
//!
//! # The same request, the same bits
//!
//! llama.cpp's sums depend in the last digits on the shape of a batch and on the cells that its cache fills. With
//! `recommend.batching = "alone"` (the default, because an answer that cannot be repeated cannot be looked into, and because
//! a search fills the cores by itself) a request's batches hold its own tokens only, prompts are computed in chunks whose
//! borders depend on their tokens alone, and cells are filled from the first one on: the answer is the same to the bit,
//! whatever was asked before or beside it. With `"shared"`, requests under way at the same time share forward passes: more
//! answers a second, equal to about six digits (keys and values in f32) or three (f16, the default).

mod adapters;
mod answer;
mod away;
mod beam;
mod cache;
mod catalogue;
mod constrained;
mod engine;
mod exact;
mod generate;
mod head_file;
mod state_head;
mod hub;
mod lane;
mod live;
mod pool;
mod prompt;
mod recommender;
mod sentence;
#[cfg(test)]
mod serve_tests;
mod session;
mod sorter;
#[cfg(test)]
mod tests;
mod trie;

pub use answer::{LmAnswer, Mode};
pub use recommender::LmRecommender;
pub use trie::{Allowed, Surfaces, Trie};
