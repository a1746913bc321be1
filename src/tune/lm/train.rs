//! The loop: epochs of shuffled dialogues, token-weighted accumulation, warm-up, clipping, looks at the held-out dialogues,
//! the best weights kept, checkpoints from which a training goes on to the same bytes.

use super::chart::loss_chart;
use super::chat::{Chat, Example};
use super::export::export;
use super::items::{ItemHead, initial_vectors};
use super::lessons::{Catalogue, Lesson, NamedCatalogue, lessons_of, split};
use super::look::{Judge, Look, trained};
use super::memory::{Estimate, available_bytes};
use super::pack::Scope;
use super::prepare::{gguf_base, inputs_hash, open, own};
use super::recall::Candidates;
use super::report::{LmPoint, LmReport, Progress, StepLoss};
use super::store::{self, Companion};
use crate::artifact;
use crate::config::{Objective, StopOn, TuneConfig, TuneMethod};
use crate::dataset::Dialogue;
use crate::error::{Error, Result};
use crate::math::Random;
use crate::math::packed::Arithmetic;
use crate::run::{Level, Run, log};
use crate::transformer::{AdamW, AdamWSettings, Grads, Model, Schedule};
use crate::tune::{CHECKPOINT, LeftOut};
use std::path::Path;
use std::time::Instant;

/// Dialogues that the export is held against llama.cpp with.
const PROBE: usize = 8;

/// Fine-tunes the GGUF at `base` on `dialogues` with `config.method` `lora` or `full`, and writes into `folder`:
/// `adapter.gguf` and `adapter/` (PEFT), or `model.gguf`; `tune.json` and `loss.svg`; `checkpoint.safetensors` and
/// `best.safetensors` while it is under way. Paper: §3.4, §4.2.2.
///
/// With the catalogue that the dialogues' items stand in, a ranking head over it is trained along as `tune.objective` asks
/// (`head.safetensors`, see [`super::HEAD_FILE`]), Recall is measured on the held-out dialogues, and items that a query
/// names are no targets. Dialogues of one seed item are held out together. A dialogue that teaches nothing is left out,
/// counted in the report and told.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when no dialogue can be trained on, and for settings that do not go together;
/// [`crate::ErrorKind::Memory`] when it would not fit; [`crate::ErrorKind::Cancelled`] after saving a checkpoint;
/// [`crate::ErrorKind::Format`] for a base model that cannot be read; NaN is [`crate::ErrorKind::Invalid`] and names the
/// step.
pub fn tune_lm(
    base: &Path,
    dialogues: &[Dialogue],
    catalogue: Option<NamedCatalogue<'_>>,
    config: &TuneConfig,
    folder: &Path,
    run: &Run,
) -> Result<LmReport> {
    catalogue.map_or(Ok(()), |(catalogue, _)| catalogue.check())?;
    let chat = Chat::open(gguf_base(base)?)?;
    let (lessons, left_out) = lessons_of(&chat, dialogues, catalogue, config)?;
    let catalogue = catalogue.map(|(catalogue, _)| (&chat, catalogue));
    tune_lessons(base, &lessons, left_out, catalogue, config, folder, run)
}

/// [`tune_lm`] on dialogues that are tokens already.
pub(super) fn tune_examples(
    base: &Path,
    examples: &[Example],
    config: &TuneConfig,
    folder: &Path,
    run: &Run,
) -> Result<LmReport> {
    let lessons: Vec<Lesson> = examples.iter().map(|e| Lesson { example: e.clone(), ..Lesson::default() }).collect();
    tune_lessons(base, &lessons, LeftOut::default(), None, config, folder, run)
}

/// The training itself; the catalogue comes with the chat format that its titles are read in.
pub(super) fn tune_lessons(
    base: &Path,
    lessons: &[Lesson],
    left_out: LeftOut,
    catalogue: Option<(&Chat, &Catalogue)>,
    config: &TuneConfig,
    folder: &Path,
    run: &Run,
) -> Result<LmReport> {
    let ranks = config.objective != Objective::Text;
    if ranks && catalogue.is_none() {
        return Err(Error::invalid(format!(
            "tune.objective = {:?} ranks a catalogue, and none is given (`causerie tune --dataset DIR`)",
            config.objective
        )));
    }
    let mut model = run.install(|| open(base, config))?;
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
    if ranks && lessons.iter().all(|l| l.targets.is_empty()) {
        return Err(Error::invalid(format!(
            "tune: none of {} dialogues lists an item of the catalogue to learn from: give the dataset that they were made \
             of, or take tune.objective = \"text\"",
            lessons.len()
        )));
    }
    let (train, held_out) = split(lessons, config);
    if train.is_empty() {
        return Err(Error::invalid("no dialogues to train on"));
    }
    // Two trainings into one folder would exchange their checkpoints.
    let _alone = artifact::Lock::of(&folder.join(CHECKPOINT))?;
    run.install(|| own(&mut model, config));
    let moments = config.moments;
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
    training.finish(left_out, &estimate, tokens_per_second)
}

/// A training under way.
pub(super) struct Training<'a> {
    pub model: &'a mut Model,
    pub items: Option<ItemHead>,
    pub candidates: Option<Candidates>,
    pub base: &'a Path,
    pub config: &'a TuneConfig,
    pub folder: &'a Path,
    pub run: &'a Run,
    pub train: Vec<&'a Lesson>,
    pub held_out: Vec<&'a Lesson>,
    pub adam: AdamW,
    pub grads: Grads,
    pub progress: Progress,
    pub schedule: Schedule,
    pub learning_rate: f64,
    pub steps_per_epoch: u64,
    pub steps: u64,
    pub warmup: u64,
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
        let schedule = config.schedule;
        let learning_rate = match (config.learning_rate > 0.0, config.method) {
            (true, _) => config.learning_rate,
            (false, TuneMethod::Lora) => 2e-4,
            (false, TuneMethod::Head | TuneMethod::Full) => 1e-5,
        };
        let sought = held_out.iter().any(|l| !l.targets.is_empty());
        if config.stop_on == StopOn::Recall && !(sought && (items.is_some() || candidates.is_some())) {
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
        let path = self.folder.join(CHECKPOINT);
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
        store::load(&path, self.model, companion_mut(&mut self.items), Some((&mut self.adam, steps)))?;
        log(Level::Info, &format!("tune: goes on after step {} of {}", there.step, self.steps));
        self.progress = there;
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.progress.adam_steps = self.adam.steps();
        self.progress.items_steps = self.items.as_ref().map_or(0, ItemHead::steps);
        let meta = serde_json::to_value(&self.progress).map_err(|e| Error::bug(e.to_string()))?;
        let path = self.folder.join(CHECKPOINT);
        store::save(&path, self.model, companion(&self.items), Some(&self.adam), &meta)
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

    /// `loss 1.234, items 4.56, held-out 1.41, recall@20 0.31, 812 tokens/s, 0:12 left`
    pub fn note(&self, found: &StepLoss, started: (Instant, u64)) -> String {
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
        let by_recall = self.config.stop_on == StopOn::Recall;
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
            store::save(&self.folder.join("best.safetensors"), self.model, companion(&self.items), None, &meta)?;
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

    /// The dialogues that the export is proven with; among them one that lists an item, where a ranking head is to be proven.
    fn probe(&self) -> Vec<&'a Lesson> {
        let mut probe = if self.held_out.is_empty() { self.train.clone() } else { self.held_out.clone() };
        if self.items.is_some() {
            let lists = |lesson: &&&'a Lesson| !lesson.targets.is_empty();
            if !probe.iter().any(|l| lists(&l)) {
                probe.extend(self.train.iter().find(lists).copied());
            }
            probe.sort_by_key(|lesson| lesson.targets.is_empty());
        }
        probe.truncate(PROBE);
        probe
    }

    /// Takes the best weights, exports and proves them, and writes the report.
    fn finish(mut self, left_out: LeftOut, estimate: &Estimate, tokens_per_second: f64) -> Result<LmReport> {
        let best = self.folder.join("best.safetensors");
        store::load(&best, self.model, companion_mut(&mut self.items), None)?;
        let probe = self.probe();
        // What is proven is the weights, in f32, however they were come by.
        self.model.arithmetic = Arithmetic::F32;
        let seen = self.judge().look(&probe, Scope::Answers, None)?;
        let exported =
            export(self.model, self.items.as_ref(), self.base, self.folder, self.config, &probe, seen, self.run)?;
        self.draw()?;
        let report = LmReport {
            method: self.config.method,
            arithmetic: self.config.arithmetic,
            objective: self.config.objective,
            recall_k: self.config.recall_k,
            recall_candidates: self.candidates.as_ref().map_or(0, |_| self.config.recall_candidates),
            dialogues: (self.train.len(), self.held_out.len()),
            left_out,
            steps: (self.progress.step, self.steps),
            curve: self.progress.curve.clone(),
            base_held_out: self.progress.base_held_out,
            best: self.progress.best,
            best_by_recall: self.config.stop_on == StopOn::Recall,
            tokens: self.progress.tokens,
            tokens_per_second,
            memory: estimate.words(),
            exported,
        };
        let path = self.folder.join("tune.json");
        let text = serde_json::to_string_pretty(&report).map_err(|e| Error::bug(e.to_string()))?;
        artifact::write_atomic(&path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(&path, e)))?;
        // What is finished needs neither.
        for done in [CHECKPOINT, "best.safetensors"] {
            let _ = std::fs::remove_file(self.folder.join(done));
        }
        Ok(report)
    }
}

fn companion(items: &Option<ItemHead>) -> Option<&dyn Companion> {
    items.as_ref().map(|items| items as &dyn Companion)
}

fn companion_mut(items: &mut Option<ItemHead>) -> Option<&mut dyn Companion> {
    items.as_mut().map(|items| items as &mut dyn Companion)
}
