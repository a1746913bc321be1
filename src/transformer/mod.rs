//! Leaf: the small LM as we train it: weights, forward and backward of each operation side by side (paper §3.4).
//!
//! The decoder family Llama, Qwen2, Qwen3, Gemma2. `config` describes an architecture, `weights` holds its tensors (f32,
//! bf16, or quantised blocks in a mapped file), one file per operation holds its formula, its forward, its backward and a
//! finite-difference test, `model` strings them together, `adamw` moves the weights.
//!
//! Activations are row-major `[tokens, dim]`; the tokens of several sequences lie one after the other without padding
//! (see [`Batch`]). Everything runs on the current rayon pool: call it inside [`crate::Run::install`].

mod activation;
mod adamw;
mod adapter_in;
mod attention;
mod batch;
mod config;
mod elementary;
mod gguf_in;
mod gguf_out;
mod output_loss;
mod hf;
mod layer;
mod likeness;
mod linear;
mod lora;
mod model;
mod peft;
mod rmsnorm;
mod rope;
mod weights;

#[cfg(test)]
mod check;
#[cfg(all(test, feature = "llama"))]
mod llama_tests;

pub use crate::config::{Moments, Schedule};
pub use crate::map::Map;
pub use activation::Activation;
pub use adamw::{AdamW, AdamWSettings, MomentData};
pub use batch::{Batch, Segment, Target};
pub use config::{Family, ModelConfig, RopeLayout};
pub use gguf_out::{Metadata, Precision};
pub use lora::LoraSettings;
pub use model::{Backward, Forward, Further, Keep, Model};
pub use output_loss::Loss;
pub use weights::{Grads, LoraHalf, Part, Place, Storage, Tensor, TensorId};

#[cfg(all(test, feature = "llama"))]
pub(crate) use llama_tests::write_test_model;
