//! Room 5, tune: dialogues → a tuned recommender: ranking head, LoRA, full SFT (paper §3.4).

mod head;
mod head_loss;
mod head_store;
mod head_train;
#[cfg(feature = "llama")]
pub mod lm;
#[cfg(test)]
mod head_tests;
mod vectors;

/// What a training that was stopped leaves in its folder, to go on from.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

pub use head::{Head, MENTION_GATE, NewItem};
pub use head_store::{Tensor, read_tensors, write_tensors};
pub use head_train::{CurvePoint, HeadReport, tune_head};
pub use vectors::ItemVectors;
