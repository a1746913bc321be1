//! Room 5, tune: dialogues → a tuned recommender: ranking head, LoRA, full SFT (paper §3.4).

mod head;
mod left_out;
#[cfg(feature = "llama")]
pub mod lm;

/// What a training that was stopped leaves in its folder, to go on from.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

pub use head::{CurvePoint, Head, HeadReport, ItemVectors, MENTION_GATE, NewItem, tune_head};
pub use left_out::LeftOut;
