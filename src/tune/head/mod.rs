//! The ranking head: a small model over frozen embeddings that scores every item (paper §3.4).

pub(super) mod loss;
mod model;
mod store;
#[cfg(test)]
mod tests;
mod train;
mod vectors;

pub(super) use model::best_rows;
pub(super) use train::listed;

pub use model::{Head, MENTION_GATE, NewItem};
pub use store::{Tensor, read_tensors, write_tensors};
pub use train::{CurvePoint, HeadReport, tune_head};
pub use vectors::ItemVectors;
