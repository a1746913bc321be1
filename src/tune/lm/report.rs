//! How a fine-tuning went: for its reader, and for the checkpoint that it goes on from.

use super::export::Exported;
use serde::{Deserialize, Serialize};

/// One point of the loss curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LmPoint {
    /// Optimiser steps done.
    pub step: u64,
    /// Mean loss over the step's tokens, before the step; none at the looks at the held-out loss.
    pub loss: Option<f64>,
    /// Mean loss over the held-out dialogues.
    pub held_out: Option<f64>,
    /// Learning rate of the step.
    pub learning_rate: f64,
}

/// How a fine-tuning went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LmReport {
    /// `lora` or `full`.
    pub method: String,
    /// Dialogues trained on and held out.
    pub dialogues: (usize, usize),
    /// Optimiser steps done, and planned.
    pub steps: (u64, u64),
    /// The curve.
    pub curve: Vec<LmPoint>,
    /// Held-out loss of the base model; none when nothing is held out.
    pub base_held_out: Option<f64>,
    /// The lowest held-out loss, and its step: the weights that were kept. None: the last weights were kept.
    pub best: Option<(f64, u64)>,
    /// Tokens that went through the model, of them trained, and per second in this call.
    pub tokens: (u64, u64),
    /// Tokens per second in this call, loading and export aside.
    pub tokens_per_second: f64,
    /// The memory that was foreseen, in words.
    pub memory: String,
    /// The files, proven through llama.cpp.
    pub exported: Exported,
}

/// What a checkpoint holds beside weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Hash of settings, data and base model: a checkpoint of anything else is not resumed.
    pub inputs: String,
    pub step: u64,
    pub adam_steps: u64,
    pub curve: Vec<LmPoint>,
    pub base_held_out: Option<f64>,
    pub best: Option<(f64, u64)>,
    /// The step of the last look at the held-out loss.
    pub looked: u64,
    pub looks_without_gain: u64,
    pub tokens: (u64, u64),
    /// Early stopping has ended the training.
    pub stopped: bool,
}
