//! A look at some dialogues: the mean loss of their text, the ranking head's loss, Recall.

use super::chat::Example;
use super::items::{ItemHead, Tally};
use super::lessons::Lesson;
use super::pack::{Scope, micro_batches};
use super::recall::Candidates;
use crate::config::{LossOn, Objective, TuneConfig};
use crate::error::{Error, Result};
use crate::run::Run;
use crate::transformer::{Keep, Loss, Model};

/// Who looks.
pub(super) struct Judge<'a> {
    pub model: &'a Model,
    pub items: Option<&'a ItemHead>,
    pub config: &'a TuneConfig,
    pub run: &'a Run,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Look {
    /// Mean loss over the trained tokens.
    pub text: Option<f64>,
    /// Mean loss of the ranking head over the dialogues.
    pub items: Option<f64>,
    pub recall: Option<f64>,
}

impl Look {
    /// The loss that the settings ask to lower; none when there was nothing to look at.
    pub fn objective(&self, config: &TuneConfig) -> Option<f64> {
        match (self.text, self.items) {
            (Some(text), Some(items)) => Some(text + config.items_weight * items),
            (one, other) => one.or(other),
        }
    }
}

/// What of the examples is run and trained under `config`.
pub(super) fn trained(config: &TuneConfig) -> Scope {
    match (config.objective, config.loss_on) {
        (Objective::Items, _) => Scope::Prompts,
        (Objective::Text | Objective::Both, LossOn::All) => Scope::AllTokens,
        (Objective::Text | Objective::Both, LossOn::Answer) => Scope::Answers,
    }
}

/// The rows of a micro-batch that the ranking head reads, and their lessons: those that have targets.
pub(super) fn rows_of<'a>(ends: &[usize], lessons: &[&'a Lesson]) -> (Vec<usize>, Vec<&'a Lesson>) {
    ends.iter()
        .zip(lessons)
        .filter(|(_, lesson)| !lesson.targets.is_empty())
        .map(|(end, lesson)| (*end, *lesson))
        .unzip()
}

impl Judge<'_> {
    /// Looks at `lessons` with what of them is `trained`; `candidates`: theirs, for Recall without a ranking head.
    pub fn look(&self, lessons: &[&Lesson], trained: Scope, candidates: Option<&Candidates>) -> Result<Look> {
        let examples: Vec<&Example> = lessons.iter().map(|l| &l.example).collect();
        let (mut text, mut judged) = (Loss::default(), Tally::default());
        let config = self.config;
        for part in micro_batches(&examples, config.micro_batch_tokens, config.share_prefix, trained) {
            self.run.check()?;
            let (rows, read) = rows_of(&part.ends, &lessons[part.examples.clone()]);
            self.run.install(|| {
                let forward = self.model.forward(&part.batch, Keep::Nothing, None)?;
                text.add(self.model.loss(&forward, &part.batch));
                if let Some(items) = self.items.filter(|_| !rows.is_empty()) {
                    judged.add(items.judge(&self.model.hidden_at(&forward, &rows), &read, config.recall_k)?);
                }
                Ok::<_, Error>(())
            })?;
        }
        let of = |sum: f64| (judged.dialogues > 0).then(|| sum / judged.dialogues as f64);
        let recall = match candidates {
            Some(candidates) if self.items.is_none() => {
                candidates.recall(self.model, lessons, config.recall_k, config.micro_batch_tokens, self.run)?
            }
            Some(_) | None => of(judged.recall),
        };
        Ok(Look { text: (text.tokens > 0).then(|| text.mean()), items: of(judged.loss), recall })
    }
}
