//! The ranking head: a small model over frozen embeddings that scores every item (paper §3.4).
//!
//! In: item vectors (`vectors`) and dialogues with the embedder of both. Out: a [`Head`] that scores every item for an
//! embedded conversation, and a report of its training (`train`, by the loss and gradient in `loss`). Promised: the same
//! bytes for the same input and seed; never worse than the untrained head on what was held out; a file (`store`) that holds
//! all that scoring needs.

pub(super) mod loss;
mod model;
mod store;
#[cfg(test)]
mod tests;
mod train;
mod vectors;

#[cfg(feature = "llama")]
pub(super) use model::best_rows;
#[cfg(feature = "llama")]
pub(super) use train::listed;

pub use model::{Head, MENTION_GATE, NewItem};
pub use train::{CurvePoint, HeadReport, tune_head};
pub use vectors::ItemVectors;
