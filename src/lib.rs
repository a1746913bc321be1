//! causerie: from reviews to a conversational recommender of your own.
//!
//! **load → embed → select → synthesize → tune → recommend → evaluate**, after "From Reviews to Dialogues: Active
//! Synthesis for Zero-Shot LLM-based Conversational Recommender System" (Surana et al.). Rooms in pipeline order; a room
//! uses the leaves and the rooms above it, never one below. `docs/architecture.md` is the map.

// Leaves.
pub mod artifact;
pub mod config;
pub mod error;
pub mod gguf;
mod json;
mod map;
#[cfg(feature = "llama")]
pub mod llama;
pub mod math;
#[doc(hidden)]
pub mod os;
pub mod run;
mod tensors;
pub mod transformer;
mod unpack;

// Rooms, in pipeline order.
pub mod dataset;
pub mod titles;
pub mod embed;
pub mod select;
pub mod synthesize;
pub mod tune;
pub mod recommend;
pub mod evaluate;
pub mod pipeline;
#[cfg(feature = "serve")]
pub mod serve;

// The outer shell.
#[cfg(feature = "capi")]
pub mod ffi;

#[cfg(test)]
mod testing;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use run::Run;
