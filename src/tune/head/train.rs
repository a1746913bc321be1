//! Training of the ranking head: dialogues → weights (paper §3.4, with a softmax over items in place of one over tokens).
//!
//! AdamW (Loshchilov and Hutter) with warm-up and cosine, whose decay pulls towards the untrained head rather than towards
//! zero: without evidence the head stays the cosine baseline. Some dialogues are held out, all of a seed item together, and
//! the weights of the lowest held-out loss are kept; the untrained weights are among the candidates.

use super::loss::{Batch, loss};
use super::model::{Head, Weights};
use super::vectors::ItemVectors;
use crate::config::TuneConfig;
use crate::dataset::{Dialogue, Exchange};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::math::{Matrix, Random};
use crate::run::{Level, Run, log};
use crate::tune::LeftOut;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// The seed item of a dialogue counts this much more than its rank alone says: the query was written about it.
const SEED_WEIGHT: f64 = 2.0;
/// At most so many items of a list are treated as if the user had named them (see `tune.mention_rate`).
const MAX_NAMED: usize = 3;
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// One point of the loss curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Optimiser steps so far.
    pub step: u64,
    /// Mean training loss since the last point, nats; none at step 0.
    pub train: Option<f64>,
    /// Held-out loss, nats; none when nothing is held out.
    pub held_out: Option<f64>,
    /// Held-out share of the listed items among the best 20.
    pub held_out_recall20: Option<f64>,
}

/// What a training did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadReport {
    /// Dialogues trained on; of several turns: their recommending replies.
    pub dialogues: u64,
    /// The same, held out.
    pub held_out: u64,
    /// Dialogues that teach nothing: no words in the query, or no listed item left beside those it mentions.
    pub left_out: LeftOut,
    /// Optimiser steps done.
    pub steps: u64,
    /// The step whose weights were kept.
    pub best_step: u64,
    /// True when the held-out loss stopped falling before the last epoch.
    pub stopped_early: bool,
    /// The loss, once per epoch.
    pub curve: Vec<CurvePoint>,
}

impl std::fmt::Display for HeadReport {
    /// One line: dialogues, steps, the losses before and at the kept step.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} dialogues, {} held out, kept step {} of {}",
            self.dialogues, self.held_out, self.best_step, self.steps
        )?;
        let held_out = |step: u64| self.curve.iter().find(|p| p.step == step).and_then(|p| p.held_out);
        if let (Some(first), Some(best)) = (self.curve.first().and_then(|p| p.held_out), held_out(self.best_step)) {
            write!(f, ", held-out loss {first:.3} to {best:.3}")?;
        }
        if self.left_out.dialogues() > 0 {
            write!(f, "; left out: {}", self.left_out)?;
        }
        Ok(())
    }
}

struct Example {
    /// Row of the embedded queries.
    query: usize,
    /// Item rows that the query names, sorted.
    mentions: Vec<u32>,
    /// Listed item rows with their weights (not yet summing to 1), best first, none of them mentioned.
    list: Vec<(u32, f64)>,
}

/// Trains a head on `dialogues`. `mentions` gives the item rows that a text names (order and repeats do not matter).
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when no dialogue can be trained on, for another embedder, or a loss that is not finite
/// (with its step); [`crate::ErrorKind::Cancelled`].
pub fn tune_head(
    dialogues: &[Dialogue],
    items: ItemVectors,
    embedder: &dyn Embedder,
    mentions: &(dyn Fn(&str) -> Vec<u32> + Sync),
    config: &TuneConfig,
    run: &Run,
) -> Result<(Head, HeadReport)> {
    if items.embedder != embedder.name() {
        return Err(Error::invalid(format!(
            "tune: the item vectors were made by {}, the queries would be by {}; use one embedder for both",
            items.embedder,
            embedder.name()
        )));
    }
    let mut head = Head::untrained(items)?;
    let Lessons { groups, queries, left_out } = examples(dialogues, &head, mentions)?;
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    let queries = embedder.embed(&queries, true, run)?;
    let (train, held_out) = split(groups, config);
    let held_out: Option<Batch> = if held_out.is_empty() {
        None
    } else {
        let mut random = Random::new(config.seed, b"head held-out mentions");
        let drawn: Vec<&Example> = held_out.iter().collect();
        Some(batch(&head, &queries, &drawn, config.mention_rate, &mut random)?)
    };
    let mut report = HeadReport {
        dialogues: train.len() as u64,
        held_out: held_out.as_ref().map_or(0, |b| b.queries.rows() as u64),
        left_out,
        steps: 0,
        best_step: 0,
        stopped_early: false,
        curve: Vec::new(),
    };
    let trained = fit(&mut head, &queries, &train, held_out.as_ref(), config, run, &mut report)?;
    head.weights = trained;
    Ok((head, report))
}

/// The training loop; gives the best weights.
fn fit(
    head: &mut Head,
    queries: &Matrix,
    train: &[Example],
    held_out: Option<&Batch>,
    config: &TuneConfig,
    run: &Run,
    report: &mut HeadReport,
) -> Result<Weights> {
    let steps_per_epoch = train.len().div_ceil(config.batch);
    let total = steps_per_epoch as u64 * config.head_epochs as u64;
    let mut optimiser = AdamW::new(&head.weights, config, total);
    let mut best = head.weights.clone();
    let mut best_loss = f64::INFINITY;
    let mut epochs_without_gain = 0;
    let judge = |head: &Head, step: u64, train: Option<f64>| -> Result<CurvePoint> {
        let Some(batch) = held_out else {
            return Ok(CurvePoint { step, train, held_out: None, held_out_recall20: None });
        };
        let judged = run.install(|| loss(&head.weights, &head.items.vectors, &head.popularity, batch, false))?;
        Ok(CurvePoint { step, train, held_out: Some(judged.loss), held_out_recall20: Some(judged.recall20) })
    };
    let start = judge(head, 0, None)?;
    best_loss = start.held_out.unwrap_or(best_loss);
    report.curve.push(start);

    for epoch in 0..config.head_epochs {
        let mut random = Random::new(config.seed, format!("head epoch {epoch}").as_bytes());
        let mut order: Vec<usize> = (0..train.len()).collect();
        random.shuffle(&mut order);
        let mut sum = 0.0;
        for rows in order.chunks(config.batch) {
            let drawn: Vec<&Example> = rows.iter().map(|&i| &train[i]).collect();
            let batch = batch(head, queries, &drawn, config.mention_rate, &mut random)?;
            let step = report.steps + 1;
            let found = run.install(|| loss(&head.weights, &head.items.vectors, &head.popularity, &batch, true))?;
            let Some(gradient) = found.gradient else { return Err(Error::bug("tune: a step without a gradient")) };
            optimiser.step(&mut head.weights, &gradient);
            if !found.loss.is_finite() || head.weights.flat().iter().any(|w| !w.is_finite()) {
                return Err(Error::invalid(format!(
                    "tune: the loss is {} at step {step} of {total}; lower tune.head_learning_rate ({})",
                    found.loss, config.head_learning_rate
                )));
            }
            report.steps = step;
            sum += found.loss * rows.len() as f64;
            run.step_with("tune", "steps", step, total, || format!("loss {:.4}", found.loss))?;
        }
        let point = judge(head, report.steps, Some(sum / train.len() as f64))?;
        report.curve.push(point);
        // Without held-out dialogues the last weights are the best that is known.
        if point.held_out.is_none_or(|l| l < best_loss) {
            best_loss = point.held_out.unwrap_or(best_loss);
            best = head.weights.clone();
            report.best_step = report.steps;
            epochs_without_gain = 0;
        } else {
            epochs_without_gain += 1;
            if epochs_without_gain >= config.head_patience {
                report.stopped_early = epoch + 1 < config.head_epochs;
                break;
            }
        }
    }
    if held_out.is_some() && report.best_step == 0 {
        log(Level::Warn, "tune: no epoch lowered the held-out loss; the untrained head is kept");
    }
    Ok(best)
}

/// The rows of `items`, listed in a reply of `dialogue`, best first, each once, but those of `named` (sorted): with their
/// weights, 1 / log2(rank + 2), the seed item's [`SEED_WEIGHT`] times as much. `rows`: catalogue rows by id. And how many
/// listed items are not in the catalogue.
pub(in crate::tune) fn listed(
    dialogue: &Dialogue,
    items: &[String],
    rows: &HashMap<&str, u32>,
    named: &[u32],
) -> (Vec<(u32, f64)>, u64) {
    let seed = dialogue.seed.as_ref().map(|s| s.item.as_str());
    let mut list: Vec<(u32, f64)> = Vec::new();
    let mut unknown = 0;
    for (rank, id) in items.iter().enumerate() {
        let Some(&row) = rows.get(id.as_str()) else {
            unknown += 1;
            continue;
        };
        let boost = if seed == Some(id.as_str()) { SEED_WEIGHT } else { 1.0 };
        if named.binary_search(&row).is_err() && list.iter().all(|(r, _)| *r != row) {
            list.push((row, boost / ((rank + 2) as f64).log2()));
        }
    }
    (list, unknown)
}

/// Examples with their queries.
#[derive(Default)]
struct Lessons {
    /// By seed item; a dialogue without a seed is a group of its own.
    groups: BTreeMap<String, Vec<Example>>,
    /// The text of each query.
    queries: Vec<String>,
    left_out: LeftOut,
}

/// An example for each recommending reply.
fn examples(dialogues: &[Dialogue], head: &Head, mentions: &(dyn Fn(&str) -> Vec<u32> + Sync)) -> Result<Lessons> {
    let rows: HashMap<&str, u32> = head.ids().iter().enumerate().map(|(row, id)| (id.as_str(), row as u32)).collect();
    let mut lessons = Lessons::default();
    let mut replies = 0;
    for dialogue in dialogues {
        let exchanges: Vec<Exchange<'_>> = dialogue.exchanges().filter(|e| e.is_list || !e.items.is_empty()).collect();
        replies += exchanges.len();
        let seed = dialogue.seed.as_ref().map(|s| s.item.as_str());
        for exchange in exchanges {
            let mut named = mentions(&exchange.spoken());
            named.retain(|item| (*item as usize) < head.items());
            named.sort_unstable();
            named.dedup();
            let (list, unknown) = listed(dialogue, exchange.items, &rows, &named);
            lessons.left_out.unknown_items += unknown;
            let text = exchange.query();
            if text.trim().is_empty() {
                lessons.left_out.no_query += 1;
                continue;
            }
            if list.is_empty() {
                lessons.left_out.no_item += 1;
                continue;
            }
            let group = seed.map_or_else(|| format!("dialogue {}", dialogue.id), |item| format!("item {item}"));
            let query = lessons.queries.len();
            lessons.queries.push(text);
            lessons.groups.entry(group).or_default().push(Example { query, mentions: named, list });
        }
    }
    lessons.left_out.tell(replies, None)?;
    Ok(lessons)
}

/// Whole groups are held out, drawn by `tune.seed`, until `tune.holdout` of the examples is reached.
fn split(groups: BTreeMap<String, Vec<Example>>, config: &TuneConfig) -> (Vec<Example>, Vec<Example>) {
    let total: usize = groups.values().map(Vec::len).sum();
    let wanted = (total as f64 * config.holdout).floor() as usize;
    let mut groups: Vec<Vec<Example>> = groups.into_values().collect();
    Random::new(config.seed, b"head holdout").shuffle(&mut groups);
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for group in groups {
        let side = if held_out.len() + group.len() <= wanted { &mut held_out } else { &mut train };
        side.extend(group);
    }
    train.sort_by_key(|e| e.query);
    held_out.sort_by_key(|e| e.query);
    (train, held_out)
}

/// Draws which listed items count as named by the user, and gathers the batch.
///
/// Reviews seldom say "I liked X and Y", conversations do. With probability `mention_rate` one to three of the listed items
/// are moved from the targets to the mentions, so that W_m learns which items go together.
fn batch(head: &Head, queries: &Matrix, drawn: &[&Example], mention_rate: f64, random: &mut Random) -> Result<Batch> {
    let mut masked = Vec::with_capacity(drawn.len());
    let mut targets = Vec::with_capacity(drawn.len());
    for example in drawn {
        let mut named = example.mentions.clone();
        let mut list = example.list.clone();
        let most = MAX_NAMED.min(list.len() - 1);
        if most > 0 && random.uniform() < mention_rate {
            let mut moved = {
                let count = 1 + random.below(most);
                random.sample(list.len(), count)
            };
            moved.sort_unstable_by(|a, b| b.cmp(a));
            named.extend(moved.into_iter().map(|at| list.remove(at).0));
            named.sort_unstable();
        }
        let sum: f64 = list.iter().map(|(_, w)| w).sum();
        targets.push(list.into_iter().map(|(item, w)| (item, (w / sum) as f32)).collect());
        masked.push(named);
    }
    let rows: Vec<usize> = drawn.iter().map(|e| e.query).collect();
    Ok(Batch { queries: queries.gather(&rows), mentioned: head.mean_of(&masked)?, masked, targets })
}

/// AdamW over all weights; the decay pulls towards `origin`, and leaves the scale and the popularity weight alone.
struct AdamW {
    origin: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    step: u64,
    total: u64,
    warm_up: u64,
    learning_rate: f64,
    decay: f64,
}

impl AdamW {
    fn new(weights: &Weights, config: &TuneConfig, total: u64) -> AdamW {
        let origin = weights.flat();
        AdamW {
            first: vec![0.0; origin.len()],
            second: vec![0.0; origin.len()],
            origin,
            step: 0,
            total,
            warm_up: (total / 20).max(1),
            learning_rate: config.head_learning_rate,
            decay: config.weight_decay,
        }
    }
    /// Linear warm-up over a twentieth of the steps, then half a cosine down to zero.
    fn rate(&self) -> f64 {
        let step = self.step as f64;
        if self.step <= self.warm_up {
            return self.learning_rate * step / self.warm_up as f64;
        }
        let share = (step - self.warm_up as f64) / (self.total - self.warm_up).max(1) as f64;
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())
    }
    fn step(&mut self, weights: &mut Weights, gradient: &Weights) {
        self.step += 1;
        let rate = self.rate();
        let (bias1, bias2) = (1.0 - BETA1.powf(self.step as f64), 1.0 - BETA2.powf(self.step as f64));
        let mut flat = weights.flat();
        let decayed = flat.len() - 2;
        for (i, g) in gradient.flat().into_iter().enumerate() {
            let g = f64::from(g);
            let m = BETA1 * f64::from(self.first[i]) + (1.0 - BETA1) * g;
            let v = BETA2 * f64::from(self.second[i]) + (1.0 - BETA2) * g * g;
            (self.first[i], self.second[i]) = (m as f32, v as f32);
            let mut w = f64::from(flat[i]);
            if i < decayed {
                w -= rate * self.decay * (w - f64::from(self.origin[i]));
            }
            flat[i] = (w - rate * (m / bias1) / ((v / bias2).sqrt() + EPSILON)) as f32;
        }
        weights.set_flat(&flat);
    }
}
