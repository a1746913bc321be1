//! The small language model: supervised fine-tuning on the synthetic dialogues, LoRA or all weights (paper §3.4, §4.2.2).
//!
//! `chat` turns dialogues into tokens, `pack` puts them into batches, `train` is the loop, `store` its checkpoints,
//! `memory` its estimate, `export` what comes out, proven through llama.cpp. `new_model` makes a base from nothing, with a
//! vocabulary from `bpe`.

mod bpe;
mod chat;
mod export;
mod memory;
mod new_model;
mod pack;
mod prepare;
mod report;
mod store;
#[cfg(test)]
mod tests;
mod train;

pub use chat::{Chat, Example, INSTRUCTION, messages_of, recommend_messages};
pub use export::{Exported, llama_loss};
pub use memory::{Estimate, available_bytes};
pub use new_model::{new_model, pretrain, shape_of};
pub use pack::micro_batches;
pub use report::{LmPoint, LmReport};
pub use train::tune_lm;
