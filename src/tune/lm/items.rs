//! The ranking head that is trained together with the language model (paper §3.4): a softmax over the catalogue, read off
//! the state of the prompt's last token, just before the answer begins.
//!
//! Of one dialogue: h `[dim]` that state after the output norm, x_i `[dim]` the item vectors, c_i the standardised log
//! popularity, t_i the targets' weights (they sum to 1):
//!
//! ```text
//! forward    e   = h / |h|                u = e + b
//!            z_i = s (u . x_i) + a c_i    s = exp(log_scale); z_i = -inf for items that the user names
//!            L   = - sum_i t_i log softmax(z)_i
//! backward   dz_i = softmax(z)_i - t_i
//!            dx_i = s dz_i u              du = s sum_i dz_i x_i      db = du
//!            dlog_scale = u . du          da = sum_i dz_i c_i
//!            dh  = (du - (du . e) e) / |h|
//! ```
//!
//! It is kept as a [`Head`] with W_q = 1 and W_m = 0 (the model reads the named items in the prompt itself): the head's row
//! of a conversation is e. x_i, b, s and a are trained, and the gradient dh goes on into the model.

use super::chat::Chat;
use super::lessons::{Catalogue, Lesson};
use super::store::{Arrays, Companion, Data, Reader};
use crate::error::{Error, Result};
use crate::math::{Matrix, Random, dot, norm, product, product_nt};
use crate::transformer::{AdamW, AdamWSettings, Batch, Keep, Model, Storage};
use crate::tune::head::best_rows;
use crate::tune::{Head, ItemVectors};
use rayon::prelude::*;

/// s and a are of size 1, the values of x_i and b of size 1 / sqrt(dim): they take steps so much longer.
const SCALAR_RATE: f64 = 10.0;

/// The head under training.
pub(super) struct ItemHead {
    head: Head,
    adam: AdamW,
    gradient: Gradient,
}

/// Gradients of what is trained.
#[derive(Debug, Clone, PartialEq)]
struct Gradient {
    /// `[items, dim]`.
    vectors: Vec<f32>,
    /// `[dim]`.
    bias: Vec<f32>,
    /// log s, a.
    scalars: [f32; 2],
}

/// What was found in some dialogues.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Tally {
    /// Sum of the losses, nats.
    pub loss: f64,
    /// Sum of the shares of targets among the best k.
    pub recall: f64,
    /// Dialogues.
    pub dialogues: usize,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.loss += other.loss;
        self.recall += other.recall;
        self.dialogues += other.dialogues;
    }
}

/// Where the item vectors start: the mean of the language-model head's rows over the tokens of the item's name, less the
/// mean over all items, at unit length. A state that is about to say the title then scores the item high. An item of
/// which this leaves nothing starts at random.
pub(super) fn initial_vectors(model: &Model, chat: &Chat, catalogue: &Catalogue, seed: u64) -> Result<ItemVectors> {
    catalogue.check()?;
    let dim = model.config.dim;
    let mut vectors = Matrix::zeros(catalogue.ids.len(), dim);
    for (item, name) in catalogue.names.iter().enumerate() {
        let tokens = chat.plain(name)?;
        let rows = model.head_rows(&tokens);
        let out = vectors.row_mut(item);
        for row in rows.chunks_exact(dim) {
            out.iter_mut().zip(row).for_each(|(sum, v)| *sum += v / tokens.len() as f32);
        }
    }
    let mut mean = vec![0f64; dim];
    for item in 0..vectors.rows() {
        mean.iter_mut().zip(vectors.row(item)).for_each(|(m, v)| *m += f64::from(*v) / catalogue.ids.len() as f64);
    }
    let mut random = Random::new(seed, b"item vectors");
    for item in 0..vectors.rows() {
        let row = vectors.row_mut(item);
        let before = norm(row);
        row.iter_mut().zip(&mean).for_each(|(v, m)| *v -= *m as f32);
        let left = norm(row);
        if !left.is_finite() {
            return Err(Error::invalid(format!("tune: the base model's weights give NaN for item {item}'s name")));
        }
        if left <= 1e-6 * before || left == 0.0 {
            row.iter_mut().for_each(|v| *v = random.normal() as f32);
        }
    }
    vectors.normalise_rows();
    Ok(ItemVectors {
        ids: catalogue.ids.clone(),
        vectors,
        counts: catalogue.counts.clone(),
        embedder: String::new(),
        text_dim: dim,
    })
}

impl ItemHead {
    /// An untrained head over `items`, rows in the model's own dimension. `settings`: moments and seed of its optimiser;
    /// its weights do not decay, so that an item nobody speaks of keeps its vector.
    pub fn new(items: ItemVectors, settings: AdamWSettings) -> Result<ItemHead> {
        let (n, dim) = (items.vectors.rows(), items.vectors.dim());
        let mut head = Head::untrained(items)?;
        head.weights.mention = Matrix::zeros(dim, dim);
        let gradient = Gradient { vectors: vec![0.0; n * dim], bias: vec![0.0; dim], scalars: [0.0; 2] };
        Ok(ItemHead { head, adam: AdamW::new(AdamWSettings { decay: 0.0, ..settings }, 3), gradient })
    }

    pub fn items(&self) -> usize {
        self.head.items()
    }

    /// The head as it is served, for rows made by `embedder`.
    pub fn served(&self, embedder: String) -> Head {
        let mut head = self.head.clone();
        head.items.embedder = embedder;
        head
    }

    /// e of states `[rows, dim]`, and |h|.
    fn unit(&self, hidden: &[f32]) -> Result<(Matrix, Vec<f64>)> {
        let dim = self.head.dim();
        let mut rows = Matrix::from_vec(hidden.len() / dim.max(1), dim, hidden.to_vec())?;
        let lengths: Vec<f64> = (0..rows.rows()).map(|i| norm(rows.row(i))).collect();
        if let Some(length) = lengths.iter().find(|l| !l.is_finite() || **l == 0.0) {
            return Err(Error::invalid(format!("tune: a prompt's last state has the length {length}")));
        }
        rows.normalise_rows();
        Ok((rows, lengths))
    }

    /// u and z of unit rows.
    fn scores(&self, mut rows: Matrix, lessons: &[&Lesson]) -> Result<(Matrix, Matrix)> {
        for row in 0..rows.rows() {
            rows.row_mut(row).iter_mut().zip(&self.head.weights.bias).for_each(|(u, b)| *u += b);
        }
        let mut z = product_nt(&rows, &self.head.items.vectors)?;
        for (row, lesson) in lessons.iter().enumerate() {
            self.head.weights.finish(z.row_mut(row), &self.head.popularity);
            lesson.named.iter().for_each(|item| z.row_mut(row)[*item as usize] = f32::NEG_INFINITY);
        }
        Ok((rows, z))
    }

    /// Losses and Recall@k on the states `[lessons, dim]`; every lesson has targets.
    pub fn judge(&self, hidden: &[f32], lessons: &[&Lesson], k: usize) -> Result<Tally> {
        let (_, mut z) = self.scores(self.unit(hidden)?.0, lessons)?;
        let items = self.items();
        let each: Vec<(f64, f64)> = z
            .data_mut()
            .par_chunks_mut(items)
            .zip(lessons)
            .map(|(z, lesson)| {
                let best = best_rows(z, k);
                let hits = lesson.targets.iter().filter(|(item, _)| best.contains(item)).count();
                let recall = hits as f64 / lesson.targets.len().clamp(1, k.max(1)) as f64;
                (softmax_loss(z, &lesson.targets, 0.0), recall)
            })
            .collect();
        let sum = |of: fn(&(f64, f64)) -> f64| each.iter().map(of).sum();
        Ok(Tally { loss: sum(|e| e.0), recall: sum(|e| e.1), dialogues: lessons.len() })
    }

    /// The `k` best items of each lesson, by the trainer.
    pub fn rankings(&self, model: &Model, lessons: &[&Lesson], k: usize) -> Result<Vec<Vec<u32>>> {
        let mut all = Vec::new();
        for lesson in lessons {
            let prompt = &lesson.example.tokens[..lesson.example.trained_from];
            let mut batch = Batch::default();
            batch.push(prompt, &vec![false; prompt.len()]);
            let forward = model.forward(&batch, Keep::Nothing, None)?;
            let hidden = model.hidden_at(&forward, &[prompt.len().saturating_sub(1)]);
            let (_, z) = self.scores(self.unit(&hidden)?.0, &[*lesson])?;
            all.push(best_rows(z.row(0), k));
        }
        Ok(all)
    }

    /// The losses' sum on the states `[lessons, dim]`, and dh of `scale` times it; the head's own gradients are added up.
    pub fn backward(&mut self, hidden: &[f32], lessons: &[&Lesson], scale: f64) -> Result<(f64, Vec<f32>)> {
        let (e, lengths) = self.unit(hidden)?;
        let (u, mut dz) = self.scores(e.clone(), lessons)?;
        let items = self.items();
        let chunks = dz.data_mut().par_chunks_mut(items).zip(lessons);
        let losses: Vec<f64> = chunks.map(|(z, lesson)| softmax_loss(z, &lesson.targets, scale)).collect();
        let s = self.head.weights.log_scale.exp();
        let mut du = product(&dz, &self.head.items.vectors)?;
        du.data_mut().iter_mut().for_each(|v| *v *= s);
        let dx = product(&transpose(&dz), &u)?;
        let g = &mut self.gradient;
        g.vectors.par_iter_mut().zip(dx.data()).for_each(|(sum, v)| *sum += s * v);
        let mut dh = vec![0.0; hidden.len()];
        let rows = dh.chunks_exact_mut(self.head.dim()).zip(&lengths).enumerate();
        for (row, (dh, length)) in rows {
            let (e, du) = (e.row(row), du.row(row));
            g.bias.iter_mut().zip(du).for_each(|(sum, v)| *sum += v);
            g.scalars[0] += dot(u.row(row), du) as f32;
            g.scalars[1] += dot(dz.row(row), &self.head.popularity) as f32;
            let along = dot(e, du);
            for ((dh, du), e) in dh.iter_mut().zip(du).zip(e) {
                *dh = ((f64::from(*du) - along * f64::from(*e)) / length) as f32;
            }
        }
        Ok((losses.iter().sum(), dh))
    }

    /// Euclidean length of the gradient.
    pub fn gradient_norm(&self) -> f64 {
        let g = &self.gradient;
        let parts: Vec<f64> = g.vectors.par_chunks(1 << 16).map(|c| dot(c, c)).collect();
        (parts.iter().sum::<f64>() + dot(&g.bias, &g.bias) + dot(&g.scalars, &g.scalars)).sqrt()
    }

    /// Drops what was added up.
    pub fn zero(&mut self) {
        self.gradient.vectors.fill(0.0);
        self.gradient.bias.fill(0.0);
        self.gradient.scalars = [0.0; 2];
    }

    /// Moves the head along its gradient times `factor`, and drops the gradient.
    pub fn step(&mut self, rate: f64, factor: f64) -> Result<()> {
        let (n, dim) = (self.items(), self.head.dim());
        self.adam.begin_step();
        let (weights, g) = (&mut self.head.weights, &self.gradient);
        let mut values = Storage::F32(std::mem::take(&mut self.head.items.vectors).into_data());
        self.adam.update_values(0, &mut values, &g.vectors, rate, factor);
        let Storage::F32(vectors) = values else { return Err(Error::bug("item vectors changed their kind")) };
        self.head.items.vectors = Matrix::from_vec(n, dim, vectors)?;
        let mut values = Storage::F32(std::mem::take(&mut weights.bias));
        self.adam.update_values(1, &mut values, &g.bias, rate, factor);
        let Storage::F32(bias) = values else { return Err(Error::bug("the bias changed its kind")) };
        weights.bias = bias;
        let mut values = Storage::F32(vec![weights.log_scale, weights.popularity]);
        self.adam.update_values(2, &mut values, &g.scalars, SCALAR_RATE * rate, factor);
        if let Storage::F32(scalars) = values {
            (weights.log_scale, weights.popularity) = (scalars[0], scalars[1]);
        }
        self.zero();
        Ok(())
    }

    /// Optimiser steps done.
    pub fn steps(&self) -> u64 {
        self.adam.steps()
    }
}

impl Companion for ItemHead {
    fn save<'a>(&'a self, arrays: &mut Arrays<'a>, moments: bool) {
        let w = &self.head.weights;
        let parts = [
            ("items.0.w", Data::F32(self.head.items.vectors.data())),
            ("items.1.w", Data::F32(&w.bias)),
            ("items.2.w", Data::Few(vec![w.log_scale, w.popularity])),
        ];
        for (id, (name, data)) in parts.into_iter().enumerate() {
            arrays.put(name.to_string(), data);
            if moments {
                arrays.put_moments(&format!("items.{id}"), &self.adam, id);
            }
        }
    }

    fn load(&mut self, reader: &Reader<'_>, steps: Option<u64>) -> Result<()> {
        let (n, dim) = (self.items(), self.head.dim());
        let vectors = reader.floats("items.0.w", n * dim)?;
        let (bias, scalars) = (reader.floats("items.1.w", dim)?, reader.floats("items.2.w", 2)?);
        self.head.items.vectors = Matrix::from_vec(n, dim, vectors)?;
        self.head.weights.bias = bias;
        (self.head.weights.log_scale, self.head.weights.popularity) = (scalars[0], scalars[1]);
        if let Some(steps) = steps {
            for (id, len) in [n * dim, dim, 2].into_iter().enumerate() {
                reader.moments(&format!("items.{id}"), &mut self.adam, id, len)?;
            }
            self.adam.set_steps(steps);
        }
        Ok(())
    }
}

/// Mean loss and the `k` best items of each lesson, by a head as it is served on rows `[lessons, dim]`.
pub(super) fn judge_served(head: &Head, rows: &Matrix, lessons: &[&Lesson], k: usize) -> Result<(f64, Vec<Vec<u32>>)> {
    let named: Vec<Vec<u32>> = lessons.iter().map(|l| l.named.clone()).collect();
    let mut z = head.score(rows, &named)?;
    let (mut loss, mut best) = (0.0, Vec::new());
    for (row, lesson) in lessons.iter().enumerate() {
        let z = z.row_mut(row);
        lesson.named.iter().for_each(|item| z[*item as usize] = f32::NEG_INFINITY);
        best.push(best_rows(z, k));
        loss += softmax_loss(z, &lesson.targets, 0.0) / lessons.len() as f64;
    }
    Ok((loss, best))
}

/// Scores become `scale` times (softmax - targets); returns the loss.
fn softmax_loss(z: &mut [f32], targets: &[(u32, f32)], scale: f64) -> f64 {
    let top = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = z.iter().map(|v| f64::from(*v - top).exp()).sum();
    let log_sum = f64::from(top) + sum.ln();
    let loss = -targets.iter().map(|(i, t)| f64::from(*t) * (f64::from(z[*i as usize]) - log_sum)).sum::<f64>();
    z.iter_mut().for_each(|v| *v = (scale * (f64::from(*v) - log_sum).exp()) as f32);
    targets.iter().for_each(|(i, t)| z[*i as usize] -= (scale * f64::from(*t)) as f32);
    loss
}

fn transpose(a: &Matrix) -> Matrix {
    let mut out = Matrix::zeros(a.dim(), a.rows());
    for i in 0..a.rows() {
        a.row(i).iter().enumerate().for_each(|(j, v)| out.row_mut(j)[i] = *v);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::head::loss;

    const ITEMS: usize = 23;
    const DIM: usize = 6;

    fn head() -> ItemHead {
        let mut r = Random::new(4, b"items");
        let vectors =
            Matrix::from_vec(ITEMS, DIM, (0..ITEMS * DIM).map(|_| r.normal() as f32 * 0.4).collect()).unwrap();
        let items = ItemVectors {
            ids: (0..ITEMS).map(|i| format!("i{i}")).collect(),
            vectors,
            counts: (0..ITEMS).map(|i| (i * i % 17) as f32).collect(),
            embedder: String::new(),
            text_dim: DIM,
        };
        let mut head = ItemHead::new(items, AdamWSettings::default()).unwrap();
        head.head.weights.bias = (0..DIM).map(|_| r.normal() as f32 * 0.1).collect();
        (head.head.weights.log_scale, head.head.weights.popularity) = (1.1, 0.3);
        head
    }

    fn lessons() -> Vec<Lesson> {
        let targets = [vec![(3, 0.5), (7, 0.3), (22, 0.2)], vec![(0, 1.0)], vec![(9, 0.75), (10, 0.25)]];
        let named = [vec![1, 2], vec![], vec![22]];
        let each = targets.into_iter().zip(named);
        each.map(|(targets, named)| Lesson { targets, named, ..Lesson::default() }).collect()
    }

    fn hidden() -> Vec<f32> {
        let mut r = Random::new(5, b"hidden");
        (0..3 * DIM).map(|_| r.normal() as f32 * 2.0).collect()
    }

    /// The slow twin: the formula at the top of this file, in f64, one number after the other.
    fn slow_loss(head: &ItemHead, hidden: &[f32], lessons: &[Lesson]) -> f64 {
        let w = &head.head.weights;
        let mut total = 0.0;
        for (h, lesson) in hidden.chunks(DIM).zip(lessons) {
            let length = h.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let z = |i: usize| {
                let x = head.head.items.vectors.row(i);
                let along: f64 =
                    (0..DIM).map(|d| (f64::from(h[d]) / length + f64::from(w.bias[d])) * f64::from(x[d])).sum();
                f64::from(w.log_scale).exp() * along + f64::from(w.popularity) * f64::from(head.head.popularity[i])
            };
            let open = (0..ITEMS).filter(|i| !lesson.named.contains(&(*i as u32)));
            let log_sum = open.map(|i| z(i).exp()).sum::<f64>().ln();
            total -= lesson.targets.iter().map(|(i, t)| f64::from(*t) * (z(*i as usize) - log_sum)).sum::<f64>();
        }
        total
    }

    #[test]
    fn the_loss_is_its_definition_and_gradients_agree_with_differences() {
        let (mut fast, lessons, hidden) = (head(), lessons(), hidden());
        let borrowed: Vec<&Lesson> = lessons.iter().collect();
        let (loss, dh) = fast.backward(&hidden, &borrowed, 0.5).unwrap();
        assert!((loss - slow_loss(&fast, &hidden, &lessons)).abs() < 1e-5);
        assert!((loss - fast.judge(&hidden, &borrowed, 20).unwrap().loss).abs() < 1e-9);
        let step = 1e-3;
        let close = |what: &str, at: usize, ours: f32, difference: &dyn Fn(f32) -> f64| {
            let expected = 0.5 * (difference(step) - difference(-step)) / (2.0 * f64::from(step));
            assert!((f64::from(ours) - expected).abs() < 2e-4, "{what}[{at}]: {ours}, differences give {expected}");
        };
        for at in 0..hidden.len() {
            close("hidden", at, dh[at], &|by| {
                let mut moved = hidden.clone();
                moved[at] += by;
                slow_loss(&fast, &moved, &lessons)
            });
        }
        for at in 0..ITEMS * DIM {
            close("vectors", at, fast.gradient.vectors[at], &|by| {
                let mut moved = head();
                moved.head.items.vectors.data_mut()[at] += by;
                slow_loss(&moved, &hidden, &lessons)
            });
        }
        for at in 0..DIM {
            close("bias", at, fast.gradient.bias[at], &|by| {
                let mut moved = head();
                moved.head.weights.bias[at] += by;
                slow_loss(&moved, &hidden, &lessons)
            });
        }
        close("log scale", 0, fast.gradient.scalars[0], &|by| {
            let mut moved = head();
            moved.head.weights.log_scale += by;
            slow_loss(&moved, &hidden, &lessons)
        });
        close("popularity", 0, fast.gradient.scalars[1], &|by| {
            let mut moved = head();
            moved.head.weights.popularity += by;
            slow_loss(&moved, &hidden, &lessons)
        });
    }

    /// The head on frozen embeddings computes the same loss and Recall from the same unit rows, and [`Head::score`] the
    /// same ranking: what is trained here is what is served.
    #[test]
    fn it_is_the_ranking_head_that_is_served() {
        let (head, lessons, hidden) = (head(), lessons(), hidden());
        let borrowed: Vec<&Lesson> = lessons.iter().collect();
        let judged = head.judge(&hidden, &borrowed, 20).unwrap();
        let served = head.served("student".into());
        let (rows, _) = head.unit(&hidden).unwrap();
        let batch = loss::Batch {
            queries: rows.clone(),
            mentioned: Matrix::zeros(3, DIM),
            masked: lessons.iter().map(|l| l.named.clone()).collect(),
            targets: lessons.iter().map(|l| l.targets.clone()).collect(),
        };
        let twin = loss::loss(&served.weights, &served.items.vectors, &served.popularity, &batch, false).unwrap();
        assert!((judged.loss / 3.0 - twin.loss).abs() < 1e-6);
        assert!((judged.recall / 3.0 - twin.recall20).abs() < 1e-9);
        let scores = served.score(&rows, &[vec![1, 2], vec![5], vec![]]).unwrap();
        let (_, z) = head.scores(rows, &borrowed).unwrap();
        for (ours, theirs) in z.data().iter().zip(scores.data()).filter(|(z, _)| z.is_finite()) {
            assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
        }
    }
}
