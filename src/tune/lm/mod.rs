//! The small language model: supervised fine-tuning on the synthetic dialogues, LoRA or all weights (paper §3.4, §4.2.2).
//!
//! `chat` turns dialogues into tokens, `lessons` adds the catalogue items they name, `pack` puts them into batches, `train`
//! is the loop, `step` one step of it, `items` the ranking head that can be trained along, `look` and `recall` measure what was held out, `chart`
//! draws it, `store` keeps checkpoints, `memory` estimates, `export` writes what comes out, proven through llama.cpp, `merge` puts an adapter into its base. `new_model` makes a base from nothing, with a
//! vocabulary from `bpe`.

mod bpe;
mod chart;
mod chat;
mod export;
mod items;
mod lessons;
mod look;
mod memory;
mod merge;
mod new_model;
mod pack;
mod prepare;
mod recall;
mod report;
mod step;
mod store;
#[cfg(test)]
mod tests;
mod train;

pub use chat::{Chat, Example, INSTRUCTION, recommend_messages};
pub use export::{Export, HEAD_FILE, HeadExport, llama_loss, prompt_rows, student_name};
pub use lessons::{Catalogue, NamedCatalogue};
pub use memory::{Estimate, available_bytes};
pub use merge::{MergeReport, merge};
pub use new_model::{new_model, pretrain, shape_of};
pub use pack::{MicroBatch, Scope, micro_batches};
pub use report::{LmPoint, LmReport};
pub use train::tune_lm;
