//! One optimiser step: forward and backward over its micro-batches, with the ranking head where there is one; then the
//! update, or in a fused pass an update of every layer as soon as its gradients are complete.

use super::chat::Example;
use super::items::ItemHead;
use super::lessons::Lesson;
use super::look::{rows_of, trained};
use super::pack::{MicroBatch, Scope, micro_batches};
use super::report::{LmPoint, StepLoss};
use super::train::Training;
use crate::config::Objective;
use crate::error::{Error, Result};
use crate::transformer::{AdamW, Forward, Further, Keep, Model};
use std::time::Instant;

/// By what the losses of one step are multiplied, so that the step's loss is a mean, and how fast it goes.
#[derive(Debug, Clone, Copy)]
struct Scales {
    text: f32,
    items: f64,
    rate: f64,
    items_rate: f64,
    seed: u64,
}

impl Training<'_> {
    /// One optimiser step over `group`.
    pub(super) fn step(&mut self, group: &[&Lesson], started: (Instant, u64)) -> Result<()> {
        let config = self.config;
        let what = trained(config);
        let examples: Vec<&Example> = group.iter().map(|l| &l.example).collect();
        let batches = micro_batches(&examples, config.micro_batch_tokens, config.share_prefix, what);
        let targets: usize = batches.iter().map(|b| b.batch.targets.len()).sum();
        let ranked = group.iter().filter(|l| self.items.is_some() && !l.targets.is_empty()).count();
        if targets == 0 && what != Scope::Prompts {
            return Err(Error::invalid("a step without a single token to be trained"));
        }
        if config.fused && batches.len() > 1 {
            return Err(Error::invalid(format!(
                "tune.fused updates weights within the backward pass, so a step must fit one forward pass; these {} \
                 dialogues need {}: raise tune.micro_batch_tokens or lower tune.batch",
                group.len(),
                batches.len()
            )));
        }
        let step = self.progress.step;
        let factor = self.schedule.factor(step + 1, self.warmup, self.steps + 1);
        let items_weight = if config.objective == Objective::Both { config.items_weight } else { 1.0 };
        let mut scales = Scales {
            text: 1.0 / targets.max(1) as f32,
            items: items_weight / ranked.max(1) as f64,
            rate: self.learning_rate * factor,
            items_rate: config.items_learning_rate * factor,
            seed: 0,
        };
        let mut found = StepLoss::default();
        let mut tokens = self.progress.tokens.0;
        for (i, batch) in batches.iter().enumerate() {
            scales.seed = config.seed ^ (step << 20) ^ i as u64;
            let lessons = &group[batch.examples.clone()];
            if config.fused {
                self.fused_pass(batch, lessons, scales, &mut found)?;
            } else {
                self.pass(batch, lessons, scales, &mut found)?;
            }
            tokens += batch.batch.tokens.len() as u64;
            if !found.is_finite() {
                return Err(not_a_number(step, scales.rate));
            }
            let note = || self.note(&found, started);
            if let Err(e) = self.run.step_with("tune", "steps", step, self.steps, note) {
                // Half a step is no step: what it added is dropped. A fused pass has moved the weights already.
                self.grads.zero();
                if config.fused {
                    self.finish_step(&found, tokens, scales)?;
                } else if let Some(items) = &mut self.items {
                    items.zero();
                }
                return Err(e);
            }
        }
        if !config.fused {
            let (model, grads, adam) = (&mut *self.model, &mut self.grads, &mut self.adam);
            self.run.install(|| {
                let norm = grads.norm();
                if !norm.is_finite() {
                    return Err(not_a_number(step, scales.rate));
                }
                adam.step(&mut model.tensors, grads, scales.rate, AdamW::clip_factor(norm, config.clip));
                grads.zero();
                Ok(())
            })?;
        }
        self.finish_step(&found, tokens, scales)
    }

    /// Moves the ranking head (its gradient is clipped by itself) and counts the step.
    fn finish_step(&mut self, found: &StepLoss, tokens: u64, scales: Scales) -> Result<()> {
        if let Some(items) = self.items.as_mut().filter(|_| found.items.1 > 0) {
            let (step, clip) = (self.progress.step, self.config.clip);
            self.run.install(|| {
                let norm = items.gradient_norm();
                if !norm.is_finite() {
                    return Err(not_a_number(step, scales.items_rate));
                }
                items.step(scales.items_rate, AdamW::clip_factor(norm, clip))
            })?;
        }
        self.progress.step += 1;
        self.progress.tokens = (tokens, self.progress.tokens.1 + found.text.tokens as u64);
        self.progress.curve.push(LmPoint {
            step: self.progress.step,
            loss: found.text_mean(),
            items_loss: found.items_mean(),
            learning_rate: scales.rate,
            ..LmPoint::default()
        });
        Ok(())
    }

    fn keep(&self) -> Keep {
        if self.config.checkpointing { Keep::Inputs } else { Keep::All }
    }

    /// A forward and backward pass whose gradients are added up.
    fn pass(&mut self, batch: &MicroBatch, lessons: &[&Lesson], scales: Scales, found: &mut StepLoss) -> Result<()> {
        let keep = self.keep();
        let (model, items, grads) = (&*self.model, self.items.as_mut(), &mut self.grads);
        self.run.install(|| {
            let forward = model.forward(&batch.batch, keep, Some(scales.seed))?;
            let (rows, dhidden) = rank(model, items, &forward, batch, lessons, scales.items, found)?;
            let further = Further { rows: &rows, gradient: &dhidden };
            let (loss, mut pass) = model.backward_with(forward, &batch.batch, scales.text, Some(further), grads)?;
            while model.backward_step(&mut pass, &batch.batch, grads).is_some() {}
            found.text.add(loss);
            Ok(())
        })
    }

    /// A pass in which every layer is updated as soon as its gradients are complete.
    fn fused_pass(
        &mut self,
        batch: &MicroBatch,
        lessons: &[&Lesson],
        scales: Scales,
        found: &mut StepLoss,
    ) -> Result<()> {
        let (step, clip, keep) = (self.progress.step, self.config.clip, self.keep());
        let (model, items) = (&mut *self.model, self.items.as_mut());
        let (grads, adam, batch, ends) = (&mut self.grads, &mut self.adam, &batch.batch, batch);
        self.run.install(|| {
            let forward = model.forward(batch, keep, Some(scales.seed))?;
            let (rows, dhidden) = rank(model, items, &forward, ends, lessons, scales.items, found)?;
            let further = Further { rows: &rows, gradient: &dhidden };
            let (loss, mut pass) = model.backward_with(forward, batch, scales.text, Some(further), grads)?;
            found.text.add(loss);
            if !found.is_finite() {
                return Err(not_a_number(step, scales.rate));
            }
            adam.begin_step();
            loop {
                let layer = model.backward_step(&mut pass, batch, grads);
                for (id, tensor) in model.tensors.iter_mut().enumerate() {
                    // The last call, for the embedding, is also the turn of all that belongs to no layer.
                    if tensor.place.layer != layer {
                        continue;
                    }
                    if let Some(gradient) = grads.get(id) {
                        let norm = crate::math::norm(gradient);
                        if !norm.is_finite() {
                            return Err(not_a_number(step, scales.rate));
                        }
                        let factor = AdamW::clip_factor(norm, clip);
                        adam.update(id, tensor, gradient, scales.rate, factor);
                    }
                    grads.free(id);
                }
                if layer.is_none() {
                    return Ok(());
                }
            }
        })
    }
}

/// The ranking head's part of a pass: the rows that it reads and the gradient of `scale` times its losses in their states.
fn rank(
    model: &Model,
    items: Option<&mut ItemHead>,
    forward: &Forward,
    batch: &MicroBatch,
    lessons: &[&Lesson],
    scale: f64,
    found: &mut StepLoss,
) -> Result<(Vec<usize>, Vec<f32>)> {
    let Some(items) = items else { return Ok((Vec::new(), Vec::new())) };
    let (rows, lessons) = rows_of(&batch.ends, lessons);
    if rows.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let (loss, dhidden) = items.backward(&model.hidden_at(forward, &rows), &lessons, scale)?;
    found.items = (found.items.0 + loss, found.items.1 + rows.len());
    Ok((rows, dhidden))
}

fn not_a_number(step: u64, rate: f64) -> Error {
    Error::invalid(format!(
        "tune: step {} gives NaN or infinity at a learning rate of {rate:.3e}; the last checkpoint stands; lower \
         tune.learning_rate",
        step + 1
    ))
}
