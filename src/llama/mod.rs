//! Leaf: the only room that names llama-cpp-sys-2: models, tokens, hidden states, decoding, quantising.
//!
//! A thin safe wrapper. What llama.cpp throws is an error (`guarded`); but it answers some mistakes by aborting the process,
//! so everything that goes in is checked on this side first: the file ([`crate::gguf`]), the batch, the indices.
//! Its results are not bit-stable across batch shapes or thread counts (differences of 5e-6 in hidden states).

mod adapter;
mod backend;
mod context;
pub mod dequant;
mod generate;
mod guarded;
mod model;
mod quantise;

pub use adapter::Adapter;
pub(crate) use context::MAX_SEQUENCES;
pub use context::{Batch, Context, ContextOptions, Pooling, SavedSequence};
pub(crate) use generate::whole_characters;
pub use generate::{Generated, Sampling, sample};
pub use model::{Model, Token};
pub use quantise::{Quantisation, quantise};

#[cfg(test)]
pub(crate) mod tests;
