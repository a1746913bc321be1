//! The loop: epochs of shuffled dialogues, token-weighted accumulation, warm-up, clipping, held-out loss, the best
//! weights kept, checkpoints from which a training goes on to the same bytes.

use super::chat::{Chat, Example};
use super::export::export;
use super::memory::{Estimate, available_bytes};
use super::pack::micro_batches;
use super::prepare::{inputs_hash, prepare, split};
use super::report::{LmPoint, LmReport, Progress};
use super::store;
use crate::artifact;
use crate::config::TuneConfig;
use crate::error::{Error, Result};
use crate::math::Random;
use crate::run::{Level, Run, log};
use crate::transformer::{AdamW, AdamWSettings, Batch, Grads, Keep, Loss, Model, Moments, Schedule};
use std::path::Path;
use std::time::Instant;

/// Dialogues that the export is held against llama.cpp with.
const PROBE: usize = 8;

/// Fine-tunes the GGUF at `base` on `dialogues` (each: (role, content) messages, the assistant's answer last) with
/// `config.method` `lora` or `full`, and writes into `folder`: `adapter.gguf` and `adapter/` (PEFT), or `model.gguf`;
/// `tune.json`; `checkpoint.safetensors` and `best.safetensors` while it is under way. Paper: §3.4, §4.2.2.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for dialogues without a trainable token, and for settings that do not go together;
/// [`crate::ErrorKind::Memory`] when it would not fit; [`crate::ErrorKind::Cancelled`] after saving a checkpoint;
/// [`crate::ErrorKind::Format`] for a base model that cannot be read; NaN is [`crate::ErrorKind::Invalid`] and names the
/// step.
pub fn tune_lm(
    base: &Path,
    dialogues: &[Vec<(String, String)>],
    config: &TuneConfig,
    folder: &Path,
    run: &Run,
) -> Result<LmReport> {
    let chat = Chat::open(base)?;
    let examples = dialogues
        .iter()
        .enumerate()
        .map(|(i, d)| chat.example(d, config.max_tokens).map_err(|e| e.context(format!("dialogue {}", i + 1))))
        .collect::<Result<Vec<_>>>()?;
    tune_examples(base, &examples, config, folder, run)
}

/// [`tune_lm`] on dialogues that are tokens already.
pub(super) fn tune_examples(
    base: &Path,
    examples: &[Example],
    config: &TuneConfig,
    folder: &Path,
    run: &Run,
) -> Result<LmReport> {
    let mut model = run.install(|| prepare(base, config))?;
    let estimate = Estimate::of(&model, config);
    log(Level::Info, &format!("tune: about {}", estimate.words()));
    let limit = Some(config.max_memory_bytes).filter(|b| *b > 0).or_else(available_bytes);
    if limit.is_some_and(|limit| estimate.total() > limit) {
        return Err(Error::memory(format!(
            "tune: about {} are needed, {:.2} GiB are allowed (tune.max_memory_bytes) or available; take \
             tune.checkpointing, a smaller tune.micro_batch_tokens, tune.weights = \"bf16\", tune.moments = \"8bit\" or \
             tune.fused",
            estimate.words(),
            limit.unwrap_or(0) as f64 / (1u64 << 30) as f64
        )));
    }
    let (train, held_out) = split(examples, config);
    if train.is_empty() {
        return Err(Error::invalid("no dialogues to train on"));
    }
    let mut training = Training::new(&mut model, base, config, folder, run, train, held_out)?;
    training.resume()?;
    let started = (Instant::now(), training.progress.tokens.0);
    training.run_all()?;
    let seconds = started.0.elapsed().as_secs_f64();
    let tokens_per_second = (training.progress.tokens.0 - started.1) as f64 / seconds.max(1e-9);
    training.finish(&estimate, tokens_per_second)
}

struct Training<'a> {
    model: &'a mut Model,
    base: &'a Path,
    config: &'a TuneConfig,
    folder: &'a Path,
    run: &'a Run,
    train: Vec<&'a Example>,
    held_out: Vec<&'a Example>,
    adam: AdamW,
    grads: Grads,
    progress: Progress,
    schedule: Schedule,
    learning_rate: f64,
    steps_per_epoch: u64,
    steps: u64,
    warmup: u64,
}

impl<'a> Training<'a> {
    fn new(
        model: &'a mut Model,
        base: &'a Path,
        config: &'a TuneConfig,
        folder: &'a Path,
        run: &'a Run,
        train: Vec<&'a Example>,
        held_out: Vec<&'a Example>,
    ) -> Result<Training<'a>> {
        let steps_per_epoch = train.len().div_ceil(config.batch) as u64;
        let steps = steps_per_epoch * config.epochs as u64;
        let schedule = match config.schedule.as_str() {
            "linear" => Schedule::Linear,
            "cosine" => Schedule::Cosine,
            "constant" => Schedule::Constant,
            other => return Err(Error::invalid(format!("tune.schedule = {other:?}"))),
        };
        let moments = if config.moments == "8bit" { Moments::Bits8 } else { Moments::F32 };
        let settings = AdamWSettings { decay: config.weight_decay, moments, seed: config.seed, ..Default::default() };
        let learning_rate = match (config.learning_rate > 0.0, config.method.as_str()) {
            (true, _) => config.learning_rate,
            (false, "lora") => 2e-4,
            (false, _) => 1e-5,
        };
        let inputs = inputs_hash(base, config, &train, &held_out)?;
        let progress = Progress {
            inputs,
            step: 0,
            adam_steps: 0,
            curve: Vec::new(),
            base_held_out: None,
            best: None,
            looked: 0,
            looks_without_gain: 0,
            tokens: (0, 0),
            stopped: false,
        };
        Ok(Training {
            adam: AdamW::new(settings, model.tensors.len()),
            grads: Grads::new(&model.tensors),
            warmup: (steps as f64 * config.warmup).ceil() as u64,
            model,
            base,
            config,
            folder,
            run,
            train,
            held_out,
            progress,
            schedule,
            learning_rate,
            steps_per_epoch,
            steps,
        })
    }

    /// Goes on from a checkpoint of the same settings, data and base, when there is one.
    fn resume(&mut self) -> Result<()> {
        let path = self.folder.join("checkpoint.safetensors");
        if !path.exists() {
            self.progress.base_held_out = self.look_at(&self.held_out, self.config.loss_on == "all")?;
            return Ok(());
        }
        let meta = store::read_meta(&path)?;
        let there: Progress = serde_json::from_value(meta).map_err(|e| Error::format(&path, 0, e))?;
        if there.inputs != self.progress.inputs {
            return Err(Error::invalid(format!(
                "{}: a checkpoint of another training (its settings, dialogues or base model differ); choose another \
                 folder or remove the file",
                path.display()
            )));
        }
        store::load(&path, self.model, Some(&mut self.adam))?;
        self.adam.set_steps(there.adam_steps);
        log(Level::Info, &format!("tune: goes on after step {} of {}", there.step, self.steps));
        self.progress = there;
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.progress.adam_steps = self.adam.steps();
        let meta = serde_json::to_value(&self.progress).map_err(|e| Error::bug(e.to_string()))?;
        store::save(&self.folder.join("checkpoint.safetensors"), self.model, Some(&self.adam), &meta)
    }

    /// Runs to the end; a cancelled run saves a checkpoint first.
    fn run_all(&mut self) -> Result<()> {
        match self.go_on() {
            Err(e) if e.kind() == crate::ErrorKind::Cancelled => {
                self.save()?;
                Err(e)
            }
            result => result,
        }
    }

    fn go_on(&mut self) -> Result<()> {
        let mut order: (u64, Vec<usize>) = (u64::MAX, Vec::new());
        let started = (Instant::now(), self.progress.step);
        loop {
            let done = self.progress.step;
            let epoch_steps = self.steps_per_epoch;
            let at = |every: u64| done.is_multiple_of(if every == 0 { epoch_steps } else { every });
            if self.progress.looked < done && (at(self.config.eval_every) || done == self.steps) {
                self.look()?;
            }
            if done == self.steps || self.progress.stopped {
                return Ok(());
            }
            if done > started.1 && at(self.config.save_every) {
                self.save()?;
            }
            let epoch = done / self.steps_per_epoch;
            if order.0 != epoch {
                order = (epoch, (0..self.train.len()).collect());
                Random::new(self.config.seed.wrapping_add(epoch), b"lm order").shuffle(&mut order.1);
            }
            let first = (done % self.steps_per_epoch) as usize * self.config.batch;
            let last = (first + self.config.batch).min(order.1.len());
            let group: Vec<&Example> = order.1[first..last].iter().map(|i| self.train[*i]).collect();
            self.step(&group, started)?;
        }
    }

    /// One optimiser step over `group`.
    fn step(&mut self, group: &[&Example], started: (Instant, u64)) -> Result<()> {
        let config = self.config;
        let batches = micro_batches(group, config.micro_batch_tokens, config.share_prefix, config.loss_on == "all");
        let targets: usize = batches.iter().map(|b| b.targets.len()).sum();
        if targets == 0 {
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
        let rate = self.learning_rate * self.schedule.factor(step + 1, self.warmup, self.steps + 1);
        let scale = 1.0 / targets as f32;
        let keep = if config.checkpointing { Keep::Inputs } else { Keep::All };
        let mut total = Loss::default();
        let mut tokens = self.progress.tokens.0;
        for (i, batch) in batches.iter().enumerate() {
            let seed = Some(config.seed ^ (step << 20) ^ i as u64);
            let loss = if config.fused {
                self.fused_pass(batch, keep, seed, scale, rate)?
            } else {
                let (model, grads) = (&*self.model, &mut self.grads);
                self.run.install(|| model.loss_and_gradients(batch, keep, seed, scale, grads))?
            };
            total.add(loss);
            tokens += batch.tokens.len() as u64;
            if !loss.sum.is_finite() {
                return Err(not_a_number(step, rate));
            }
            let note = || self.note(total, started);
            if let Err(e) = self.run.step_with("tune", "steps", step, self.steps, note) {
                // Half a step is no step: what it added is dropped. A fused pass has moved the weights already.
                self.grads.zero();
                if config.fused {
                    self.finish_step(total, tokens, rate);
                }
                return Err(e);
            }
        }
        if !config.fused {
            let (model, grads, adam) = (&mut *self.model, &mut self.grads, &mut self.adam);
            self.run.install(|| {
                let norm = grads.norm();
                if !norm.is_finite() {
                    return Err(not_a_number(step, rate));
                }
                adam.step(&mut model.tensors, grads, rate, AdamW::clip_factor(norm, config.clip));
                grads.zero();
                Ok(())
            })?;
        }
        self.finish_step(total, tokens, rate);
        Ok(())
    }

    fn finish_step(&mut self, total: Loss, tokens: u64, rate: f64) {
        self.progress.step += 1;
        self.progress.tokens = (tokens, self.progress.tokens.1 + total.tokens as u64);
        let step = self.progress.step;
        self.progress.curve.push(LmPoint { step, loss: Some(total.mean()), held_out: None, learning_rate: rate });
    }

    /// A pass in which every layer is updated as soon as its gradients are complete.
    fn fused_pass(&mut self, batch: &Batch, keep: Keep, seed: Option<u64>, scale: f32, rate: f64) -> Result<Loss> {
        let (model, grads, adam) = (&mut *self.model, &mut self.grads, &mut self.adam);
        let (step, clip) = (self.progress.step, self.config.clip);
        self.run.install(|| {
            let forward = model.forward(batch, keep, seed)?;
            let (loss, mut pass) = model.backward(forward, batch, scale, grads)?;
            if !loss.sum.is_finite() {
                return Err(not_a_number(step, rate));
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
                            return Err(not_a_number(step, rate));
                        }
                        adam.update(id, tensor, gradient, rate, AdamW::clip_factor(norm, clip));
                    }
                    grads.free(id);
                }
                if layer.is_none() {
                    return Ok(loss);
                }
            }
        })
    }

    /// `loss 1.234, 812 tokens/s, 0:12 left`
    fn note(&self, total: Loss, started: (Instant, u64)) -> String {
        let seconds = started.0.elapsed().as_secs_f64();
        let done = (self.progress.step - started.1) as f64 + 0.5;
        let left = seconds / done * (self.steps - self.progress.step) as f64;
        let per_step = self.progress.tokens.0 as f64 / (self.progress.step.max(1)) as f64;
        format!(
            "loss {:.3}, {:.0} tokens/s, {}:{:02} left",
            total.mean(),
            per_step * done / seconds.max(1e-9),
            left as u64 / 60,
            left as u64 % 60
        )
    }

    /// Mean loss over `examples`, over `all` tokens or the answers'; none without examples.
    fn look_at(&self, examples: &[&Example], all: bool) -> Result<Option<f64>> {
        let mut total = Loss::default();
        for batch in micro_batches(examples, self.config.micro_batch_tokens, self.config.share_prefix, all) {
            self.run.check()?;
            total.add(self.run.install(|| {
                let forward = self.model.forward(&batch, Keep::Nothing, None)?;
                Ok::<_, Error>(self.model.loss(&forward, &batch))
            })?);
        }
        Ok((total.tokens > 0).then(|| total.mean()))
    }

    /// A look at the held-out loss: keeps the best weights, and stops when nothing was gained for long. When nothing is
    /// held out the last weights are the ones to keep.
    fn look(&mut self) -> Result<()> {
        let loss = self.look_at(&self.held_out, self.config.loss_on == "all")?;
        let step = self.progress.step;
        if let Some(held_out) = loss {
            let point = LmPoint { step, loss: None, held_out: Some(held_out), learning_rate: 0.0 };
            self.progress.curve.push(point);
        }
        let better = match (loss, self.progress.best) {
            (Some(loss), Some((best, _))) => loss < best,
            (Some(_), None) | (None, _) => true,
        };
        if better {
            self.progress.best = loss.map(|loss| (loss, step));
            self.progress.looks_without_gain = 0;
            let meta = serde_json::json!({"step": step, "held_out": loss});
            store::save(&self.folder.join("best.safetensors"), self.model, None, &meta)?;
        } else {
            self.progress.looks_without_gain += 1;
            let patience = self.config.patience;
            self.progress.stopped = patience > 0 && self.progress.looks_without_gain >= patience;
        }
        self.progress.looked = step;
        Ok(())
    }

    /// Takes the best weights, exports and proves them, and writes the report.
    fn finish(self, estimate: &Estimate, tokens_per_second: f64) -> Result<LmReport> {
        let best = self.folder.join("best.safetensors");
        store::load(&best, self.model, None)?;
        let mut probe: Vec<&Example> =
            if self.held_out.is_empty() { self.train.clone() } else { self.held_out.clone() };
        probe.truncate(PROBE);
        let trainer_loss =
            self.look_at(&probe, false)?.ok_or_else(|| Error::invalid("no dialogue to hold the export against"))?;
        let exported = export(self.model, self.base, self.folder, self.config, &probe, trainer_loss, self.run)?;
        let report = LmReport {
            method: self.config.method.clone(),
            dialogues: (self.train.len(), self.held_out.len()),
            steps: (self.progress.step, self.steps),
            curve: self.progress.curve.clone(),
            base_held_out: self.progress.base_held_out,
            best: self.progress.best,
            tokens: self.progress.tokens,
            tokens_per_second,
            memory: estimate.words(),
            exported,
        };
        let path = self.folder.join("tune.json");
        let text = serde_json::to_string_pretty(&report).map_err(|e| Error::bug(e.to_string()))?;
        artifact::write_atomic(&path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(&path, e)))?;
        // What is finished needs neither.
        for done in ["checkpoint.safetensors", "best.safetensors"] {
            let _ = std::fs::remove_file(self.folder.join(done));
        }
        Ok(report)
    }
}

fn not_a_number(step: u64, rate: f64) -> Error {
    Error::invalid(format!(
        "tune: step {} gives NaN or infinity at a learning rate of {rate:.3e}; the last checkpoint stands; lower \
         tune.learning_rate",
        step + 1
    ))
}
