//! The loop: epochs of shuffled dialogues, token-weighted accumulation, warm-up, clipping, looks at the held-out dialogues,
//! the best weights kept, checkpoints from which a training goes on to the same bytes.

use super::chart::loss_chart;
use super::chat::{Chat, Example};
use super::export::export;
use super::items::{ItemHead, initial_vectors};
use super::lessons::{Catalogue, Lesson, lessons_of, split};
use super::look::{Judge, Look, rows_of, trained};
use super::memory::{Estimate, available_bytes};
use super::pack::{MicroBatch, Trained, micro_batches};
use super::prepare::{inputs_hash, prepare};
use super::recall::Candidates;
use super::report::{LmPoint, LmReport, Progress};
use super::store;
use crate::artifact;
use crate::config::TuneConfig;
use crate::error::{Error, Result};
use crate::math::Random;
use crate::run::{Level, Run, log};
use crate::synthesize::Dialogue;
use crate::transformer::{AdamW, AdamWSettings, Forward, Further, Grads, Keep, Loss, Model, Moments, Schedule};
use std::path::Path;
use std::time::Instant;

/// Dialogues that the export is held against llama.cpp with.
const PROBE: usize = 8;

/// Fine-tunes the GGUF at `base` on `dialogues` (each: (role, content) messages, the assistant's answer last) with
/// `config.method` `lora` or `full`, and writes into `folder`: `adapter.gguf` and `adapter/` (PEFT), or `model.gguf`;
/// `tune.json` and `loss.svg`; `checkpoint.safetensors` and `best.safetensors` while it is under way. Paper: §3.4, §4.2.2.
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

/// [`tune_lm`] on synthetic dialogues whose items stand in `catalogue`: as `tune.objective` asks, a ranking head over it is
/// trained along (`head.safetensors`, see [`super::HEAD_FILE`]), Recall is measured on the held-out dialogues, and
/// dialogues of one seed item are held out together. `mentions` gives the item rows that a text names: they are no targets.
///
/// # Errors
/// Those of [`tune_lm`]; [`crate::ErrorKind::NotFound`] for a listed item that is not in the catalogue.
pub fn tune_lm_with_catalogue(
    base: &Path,
    dialogues: &[Dialogue],
    catalogue: &Catalogue,
    mentions: &dyn Fn(&str) -> Vec<u32>,
    config: &TuneConfig,
    folder: &Path,
    run: &Run,
) -> Result<LmReport> {
    catalogue.check()?;
    let chat = Chat::open(base)?;
    let lessons = lessons_of(&chat, dialogues, catalogue, mentions, config.max_tokens)?;
    tune_lessons(base, lessons, Some((&chat, catalogue)), config, folder, run)
}

/// [`tune_lm`] on dialogues that are tokens already.
pub(super) fn tune_examples(
    base: &Path,
    examples: &[Example],
    config: &TuneConfig,
    folder: &Path,
    run: &Run,
) -> Result<LmReport> {
    let lessons = examples.iter().map(|e| Lesson { example: e.clone(), ..Lesson::default() }).collect();
    tune_lessons(base, lessons, None, config, folder, run)
}

/// The training itself; the catalogue comes with the chat format that its titles are read in.
pub(super) fn tune_lessons(
    base: &Path,
    mut lessons: Vec<Lesson>,
    catalogue: Option<(&Chat, &Catalogue)>,
    config: &TuneConfig,
    folder: &Path,
    run: &Run,
) -> Result<LmReport> {
    let ranks = config.objective != "text";
    if ranks && catalogue.is_none() {
        return Err(Error::invalid(format!(
            "tune.objective = {:?} ranks a catalogue, and none is given (`causerie tune --dataset DIR`)",
            config.objective
        )));
    }
    if config.objective == "items" {
        let all = lessons.len();
        lessons.retain(|l| !l.targets.is_empty());
        if lessons.len() < all {
            let without = all - lessons.len();
            log(
                Level::Warn,
                &format!("tune: {without} of {all} dialogues list no item to learn from; they are left out"),
            );
        }
    }
    let mut model = run.install(|| prepare(base, config))?;
    let estimate = Estimate::of(&model, config, catalogue.filter(|_| ranks).map_or(0, |(_, c)| c.ids.len()));
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
    let (train, held_out) = split(&lessons, config);
    if train.is_empty() {
        return Err(Error::invalid("no dialogues to train on"));
    }
    let moments = if config.moments == "8bit" { Moments::Bits8 } else { Moments::F32 };
    let settings = AdamWSettings { decay: config.weight_decay, moments, seed: config.seed, ..Default::default() };
    let (mut items, mut candidates) = (None, None);
    if let Some((chat, catalogue)) = catalogue {
        if ranks {
            items = Some(ItemHead::new(initial_vectors(&model, chat, catalogue, config.seed)?, settings)?);
        } else if config.recall_candidates > 0 && !held_out.is_empty() {
            candidates = Some(Candidates::draw(chat, catalogue, &held_out, config)?);
        }
    }
    let inputs = inputs_hash(base, config, catalogue.map(|(_, c)| c), train.iter().chain(&held_out).copied())?;
    let mut training =
        Training::new(&mut model, items, candidates, settings, inputs, base, config, folder, run, (train, held_out))?;
    training.resume()?;
    let started = (Instant::now(), training.progress.tokens.0);
    training.run_all()?;
    let seconds = started.0.elapsed().as_secs_f64();
    let tokens_per_second = (training.progress.tokens.0 - started.1) as f64 / seconds.max(1e-9);
    training.finish(&estimate, tokens_per_second)
}

struct Training<'a> {
    model: &'a mut Model,
    items: Option<ItemHead>,
    candidates: Option<Candidates>,
    base: &'a Path,
    config: &'a TuneConfig,
    folder: &'a Path,
    run: &'a Run,
    train: Vec<&'a Lesson>,
    held_out: Vec<&'a Lesson>,
    adam: AdamW,
    grads: Grads,
    progress: Progress,
    schedule: Schedule,
    learning_rate: f64,
    steps_per_epoch: u64,
    steps: u64,
    warmup: u64,
}

/// What the passes of one step have found so far.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    text: Loss,
    /// Sum of the ranking head's losses, and its dialogues.
    items: (f64, usize),
}

impl Found {
    fn items_mean(&self) -> Option<f64> {
        (self.items.1 > 0).then(|| self.items.0 / self.items.1 as f64)
    }
    fn text_mean(&self) -> Option<f64> {
        (self.text.tokens > 0).then(|| self.text.mean())
    }
    fn is_finite(&self) -> bool {
        self.text.sum.is_finite() && self.items.0.is_finite()
    }
}

/// By what the losses of one step are multiplied, so that the step's loss is a mean, and how fast it goes.
#[derive(Debug, Clone, Copy)]
struct Scales {
    text: f32,
    items: f64,
    rate: f64,
    items_rate: f64,
    seed: u64,
}

impl<'a> Training<'a> {
    #[allow(clippy::too_many_arguments)] // one caller; what it gives is what a training is
    fn new(
        model: &'a mut Model,
        items: Option<ItemHead>,
        candidates: Option<Candidates>,
        settings: AdamWSettings,
        inputs: String,
        base: &'a Path,
        config: &'a TuneConfig,
        folder: &'a Path,
        run: &'a Run,
        (train, held_out): (Vec<&'a Lesson>, Vec<&'a Lesson>),
    ) -> Result<Training<'a>> {
        let steps_per_epoch = train.len().div_ceil(config.batch) as u64;
        let steps = steps_per_epoch * config.epochs as u64;
        let schedule = match config.schedule.as_str() {
            "linear" => Schedule::Linear,
            "cosine" => Schedule::Cosine,
            "constant" => Schedule::Constant,
            other => return Err(Error::invalid(format!("tune.schedule = {other:?}"))),
        };
        let learning_rate = match (config.learning_rate > 0.0, config.method.as_str()) {
            (true, _) => config.learning_rate,
            (false, "lora") => 2e-4,
            (false, _) => 1e-5,
        };
        let sought = held_out.iter().any(|l| !l.targets.is_empty());
        if config.stop_on == "recall" && !(sought && (items.is_some() || candidates.is_some())) {
            return Err(Error::invalid(
                "tune.stop_on = \"recall\" needs held-out dialogues that list items of a catalogue, and tune.objective = \
                 \"items\" or \"both\", or tune.recall_candidates",
            ));
        }
        let progress = Progress {
            inputs,
            step: 0,
            adam_steps: 0,
            items_steps: 0,
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
            items,
            candidates,
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
            let look = self.look_at_held_out()?;
            self.progress.base_held_out = look.objective(self.config);
            self.note_look(look);
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
        let steps = [there.adam_steps, there.items_steps];
        store::load(&path, self.model, self.items.as_mut(), Some((&mut self.adam, steps)))?;
        log(Level::Info, &format!("tune: goes on after step {} of {}", there.step, self.steps));
        self.progress = there;
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.progress.adam_steps = self.adam.steps();
        self.progress.items_steps = self.items.as_ref().map_or(0, ItemHead::steps);
        let meta = serde_json::to_value(&self.progress).map_err(|e| Error::bug(e.to_string()))?;
        let path = self.folder.join("checkpoint.safetensors");
        store::save(&path, self.model, self.items.as_ref(), Some(&self.adam), &meta)
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
            let group: Vec<&Lesson> = order.1[first..last].iter().map(|i| self.train[*i]).collect();
            self.step(&group, started)?;
        }
    }

    /// One optimiser step over `group`.
    fn step(&mut self, group: &[&Lesson], started: (Instant, u64)) -> Result<()> {
        let config = self.config;
        let what = trained(config);
        let examples: Vec<&Example> = group.iter().map(|l| &l.example).collect();
        let batches = micro_batches(&examples, config.micro_batch_tokens, config.share_prefix, what);
        let targets: usize = batches.iter().map(|b| b.batch.targets.len()).sum();
        let ranked = group.iter().filter(|l| self.items.is_some() && !l.targets.is_empty()).count();
        if targets == 0 && what != Trained::Prompts {
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
        let items_weight = if config.objective == "both" { config.items_weight } else { 1.0 };
        let mut scales = Scales {
            text: 1.0 / targets.max(1) as f32,
            items: items_weight / ranked.max(1) as f64,
            rate: self.learning_rate * factor,
            items_rate: config.items_learning_rate * factor,
            seed: 0,
        };
        let mut found = Found::default();
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
    fn finish_step(&mut self, found: &Found, tokens: u64, scales: Scales) -> Result<()> {
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
    fn pass(&mut self, batch: &MicroBatch, lessons: &[&Lesson], scales: Scales, found: &mut Found) -> Result<()> {
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
    fn fused_pass(&mut self, batch: &MicroBatch, lessons: &[&Lesson], scales: Scales, found: &mut Found) -> Result<()> {
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

    /// `loss 1.234, items 4.56, held-out 1.41, recall@20 0.31, 812 tokens/s, 0:12 left`
    fn note(&self, found: &Found, started: (Instant, u64)) -> String {
        let seconds = started.0.elapsed().as_secs_f64();
        let done = (self.progress.step - started.1) as f64 + 0.5;
        let left = seconds / done * (self.steps - self.progress.step) as f64;
        let per_step = self.progress.tokens.0 as f64 / (self.progress.step.max(1)) as f64;
        let mut parts = Vec::new();
        let mut put = |name: &str, value: Option<f64>| parts.extend(value.map(|v| format!("{name} {v:.3}")));
        put("loss", found.text_mean());
        put("items", found.items_mean());
        let looks = || self.progress.curve.iter().rev();
        put("held-out", looks().find_map(|p| p.held_out.or(p.held_out_items)));
        put(&format!("recall@{}", self.config.recall_k), looks().find_map(|p| p.recall));
        parts.push(format!("{:.0} tokens/s", per_step * done / seconds.max(1e-9)));
        parts.push(format!("{}:{:02} left", left as u64 / 60, left as u64 % 60));
        parts.join(", ")
    }

    fn judge(&self) -> Judge<'_> {
        Judge { model: self.model, items: self.items.as_ref(), config: self.config, run: self.run }
    }

    fn look_at_held_out(&self) -> Result<Look> {
        self.judge().look(&self.held_out, trained(self.config), self.candidates.as_ref())
    }

    /// Puts what was seen into the curve.
    fn note_look(&mut self, look: Look) {
        if look.objective(self.config).is_some() {
            self.progress.curve.push(LmPoint {
                step: self.progress.step,
                held_out: look.text,
                held_out_items: look.items,
                recall: look.recall,
                ..LmPoint::default()
            });
        }
    }

    /// A look at the held-out dialogues: keeps the best weights, and stops when nothing was gained for long. When nothing
    /// is held out the last weights are the ones to keep.
    fn look(&mut self) -> Result<()> {
        let look = self.look_at_held_out()?;
        let step = self.progress.step;
        self.note_look(look);
        let by_recall = self.config.stop_on == "recall";
        let value = if by_recall { look.recall } else { look.objective(self.config) };
        let better = match (value, self.progress.best) {
            (Some(value), Some((best, _))) => {
                if by_recall {
                    value > best
                } else {
                    value < best
                }
            }
            (Some(_), None) | (None, _) => true,
        };
        if better {
            self.progress.best = value.map(|value| (value, step));
            self.progress.looks_without_gain = 0;
            let meta = serde_json::json!({"step": step, "held_out": value});
            store::save(&self.folder.join("best.safetensors"), self.model, self.items.as_ref(), None, &meta)?;
        } else {
            self.progress.looks_without_gain += 1;
            let patience = self.config.patience;
            self.progress.stopped = patience > 0 && self.progress.looks_without_gain >= patience;
        }
        self.progress.looked = step;
        self.draw()
    }

    /// `loss.svg` as far as the curve goes.
    fn draw(&self) -> Result<()> {
        let path = self.folder.join("loss.svg");
        let best = self.progress.best.map(|(_, step)| step);
        let svg = loss_chart(&self.progress.curve, best, self.config.recall_k)?;
        artifact::write_atomic(&path, |out| out.write_all(svg.as_bytes()).map_err(|e| Error::io(&path, e)))
    }

    /// Takes the best weights, exports and proves them, and writes the report.
    fn finish(mut self, estimate: &Estimate, tokens_per_second: f64) -> Result<LmReport> {
        let best = self.folder.join("best.safetensors");
        store::load(&best, self.model, self.items.as_mut(), None)?;
        let mut probe: Vec<&Lesson> = if self.held_out.is_empty() { self.train.clone() } else { self.held_out.clone() };
        probe.truncate(PROBE);
        let seen = self.judge().look(&probe, Trained::Answers, None)?;
        let exported =
            export(self.model, self.items.as_ref(), self.base, self.folder, self.config, &probe, seen, self.run)?;
        self.draw()?;
        let report = LmReport {
            method: self.config.method.clone(),
            objective: self.config.objective.clone(),
            recall_k: self.config.recall_k,
            recall_candidates: self.candidates.as_ref().map_or(0, |_| self.config.recall_candidates),
            dialogues: (self.train.len(), self.held_out.len()),
            steps: (self.progress.step, self.steps),
            curve: self.progress.curve.clone(),
            base_held_out: self.progress.base_held_out,
            best: self.progress.best,
            best_by_recall: self.config.stop_on == "recall",
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

/// The ranking head's part of a pass: the rows that it reads and the gradient of `scale` times its losses in their states.
fn rank(
    model: &Model,
    items: Option<&mut ItemHead>,
    forward: &Forward,
    batch: &MicroBatch,
    lessons: &[&Lesson],
    scale: f64,
    found: &mut Found,
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
