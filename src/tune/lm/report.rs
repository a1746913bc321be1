//! How a fine-tuning went: for its reader, and for the checkpoint that it goes on from.

use super::export::Export;
use crate::config::{Arithmetic, Objective, TuneMethod};
use crate::transformer::Loss;
use crate::tune::LeftOut;
use serde::{Deserialize, Serialize};

/// One point of the loss curve.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LmPoint {
    /// Optimiser steps done.
    pub step: u64,
    /// Mean loss over the step's tokens, before the step; none at the looks at the held-out dialogues.
    pub loss: Option<f64>,
    /// Mean loss of the ranking head over the step's dialogues.
    #[serde(default)]
    pub items_loss: Option<f64>,
    /// Mean loss over the held-out dialogues' tokens.
    pub held_out: Option<f64>,
    /// Mean loss of the ranking head over the held-out dialogues.
    #[serde(default)]
    pub held_out_items: Option<f64>,
    /// Held-out Recall@k: by the ranking head, the share of the listed items among the best k of the catalogue; without
    /// one, the share of dialogues whose best listed item is among the best k of the sampled titles.
    #[serde(default)]
    pub recall: Option<f64>,
    /// Learning rate of the step.
    pub learning_rate: f64,
}

/// How a fine-tuning went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LmReport {
    /// `lora` or `full`.
    pub method: TuneMethod,
    /// In which numbers products multiplied: `f32` or `bf16`.
    pub arithmetic: Arithmetic,
    /// `text`, `items` or `both`.
    pub objective: Objective,
    /// k of the curve's Recall@k.
    pub recall_k: usize,
    /// Titles that stood beside the sought one for Recall without a ranking head; 0: the whole catalogue, or not measured.
    pub recall_candidates: usize,
    /// Dialogues trained on and held out.
    pub dialogues: (usize, usize),
    /// Dialogues left out, by reason.
    pub left_out: LeftOut,
    /// Optimiser steps done, and planned.
    pub steps: (u64, u64),
    /// The curve.
    pub curve: Vec<LmPoint>,
    /// Held-out loss of the base model (that of the objective, as `best`); none when nothing is held out.
    pub base_held_out: Option<f64>,
    /// The best held-out value and its step, whose weights were kept: the lowest loss (text, items, or text plus
    /// `tune.items_weight` times items), or the highest Recall with `tune.stop_on = "recall"`. None: the last were kept.
    pub best: Option<(f64, u64)>,
    /// The best step was chosen by Recall.
    pub best_by_recall: bool,
    /// Tokens that went through the model, of them trained, and per second in this call.
    pub tokens: (u64, u64),
    /// Tokens per second in this call, loading and export aside.
    pub tokens_per_second: f64,
    /// The memory that was foreseen, in words.
    pub memory: String,
    /// The files, proven through llama.cpp.
    pub exported: Export,
}

/// What a checkpoint holds beside weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Hash of settings, data and base model: a checkpoint of anything else is not resumed.
    pub inputs: String,
    pub step: u64,
    pub adam_steps: u64,
    /// Steps of the ranking head's optimiser.
    pub items_steps: u64,
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

/// What the passes of one step have found so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StepLoss {
    pub text: Loss,
    /// Sum of the ranking head's losses, and its dialogues.
    pub items: (f64, usize),
}

impl StepLoss {
    pub fn items_mean(&self) -> Option<f64> {
        (self.items.1 > 0).then(|| self.items.0 / self.items.1 as f64)
    }
    pub fn text_mean(&self) -> Option<f64> {
        (self.text.tokens > 0).then(|| self.text.mean())
    }
    pub fn is_finite(&self) -> bool {
        self.text.sum.is_finite() && self.items.0.is_finite()
    }
}
