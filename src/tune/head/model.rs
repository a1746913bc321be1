//! The ranking head: a softmax over the catalogue on top of frozen embeddings.
//!
//! score_i = s (u . x_i) + a c_i with u = W_q e + b + W_m m (symbols: `loss.rs`). The item vectors x_i come from the
//! items' own text and reviews, so a new item is scored as soon as it is described: [`Head::add_item`].
//! Untrained, W_q is the identity, b and a are zero: the head ranks by cosine, the zero-shot baseline.

use super::vectors::ItemVectors;
use crate::error::{Error, Result};
use crate::math::{Matrix, norm, product_nt};

/// How much the mean vector of mentioned items counts beside the text, before training: W_m = gate x identity.
pub const MENTION_GATE: f32 = 0.5;

/// s of the untrained head: 1 / tau with tau = 0.05, as contrastive sentence models use.
const INITIAL_SCALE: f32 = 20.0;

/// What is learned.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::tune) struct Weights {
    /// W_q, `[dim, text_dim]`.
    pub query: Matrix,
    /// W_m, `[dim, dim]`.
    pub mention: Matrix,
    /// b, `[dim]`.
    pub bias: Vec<f32>,
    /// log s.
    pub log_scale: f32,
    /// a.
    pub popularity: f32,
}

impl Weights {
    /// W_q = I over the text columns, W_m = gate I, b = 0, a = 0.
    pub fn identity(text_dim: usize, dim: usize) -> Weights {
        let mut query = Matrix::zeros(dim, text_dim);
        (0..text_dim.min(dim)).for_each(|i| query.row_mut(i)[i] = 1.0);
        let mut mention = Matrix::zeros(dim, dim);
        (0..dim).for_each(|i| mention.row_mut(i)[i] = MENTION_GATE);
        Weights { query, mention, bias: vec![0.0; dim], log_scale: INITIAL_SCALE.ln(), popularity: 0.0 }
    }
    /// u = W_q e + b + W_m m, `[queries, dim]`.
    pub fn project(&self, queries: &Matrix, mentioned: &Matrix) -> Result<Matrix> {
        let mut u = product_nt(queries, &self.query)?;
        let m = product_nt(mentioned, &self.mention)?;
        for row in 0..u.rows() {
            let parts = m.row(row).iter().zip(&self.bias);
            u.row_mut(row).iter_mut().zip(parts).for_each(|(u, (m, b))| *u += m + b);
        }
        Ok(u)
    }
    /// u . x_i, in place, becomes s (u . x_i) + a c_i.
    pub fn finish(&self, z: &mut [f32], popularity: &[f32]) {
        let scale = self.log_scale.exp();
        z.iter_mut().zip(popularity).for_each(|(z, c)| *z = *z * scale + self.popularity * c);
    }
    /// All weights in a row: W_q, W_m, b, log s, a.
    pub fn flat(&self) -> Vec<f32> {
        let mut flat = Vec::with_capacity(self.query.data().len() + self.mention.data().len() + self.bias.len() + 2);
        flat.extend_from_slice(self.query.data());
        flat.extend_from_slice(self.mention.data());
        flat.extend_from_slice(&self.bias);
        flat.extend([self.log_scale, self.popularity]);
        flat
    }
    /// The inverse of [`Weights::flat`], of the same shapes.
    pub fn set_flat(&mut self, flat: &[f32]) {
        let (query, rest) = flat.split_at(self.query.data().len());
        let (mention, rest) = rest.split_at(self.mention.data().len());
        let (bias, rest) = rest.split_at(self.bias.len());
        self.query.data_mut().copy_from_slice(query);
        self.mention.data_mut().copy_from_slice(mention);
        self.bias.copy_from_slice(bias);
        if let [log_scale, popularity] = rest {
            (self.log_scale, self.popularity) = (*log_scale, *popularity);
        }
    }
}

/// An item that joins the catalogue after training.
#[derive(Debug, Clone, PartialEq)]
pub struct NewItem {
    /// Its id.
    pub id: String,
    /// Its vector, `[text_dim]` (the embedder's row of its text) or `[dim]`; need not have unit length.
    pub vector: Vec<f32>,
    /// Its reviews and interactions so far.
    pub count: f32,
}

/// A ranking head with the catalogue that it ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub(in crate::tune) weights: Weights,
    pub(in crate::tune) items: ItemVectors,
    /// c_i, `[items]`.
    pub(in crate::tune) popularity: Vec<f32>,
    /// Mean and deviation of log(1 + count) over the catalogue at the time of training.
    pub(in crate::tune) popularity_moments: [f64; 2],
}

impl Head {
    /// The untrained head: cosine of the conversation with the item's words.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an empty catalogue, shapes that do not fit, NaN.
    pub fn untrained(items: ItemVectors) -> Result<Head> {
        let (n, dim) = (items.vectors.rows(), items.vectors.dim());
        if n == 0 || n != items.ids.len() || n != items.counts.len() || items.text_dim == 0 || dim < items.text_dim {
            return Err(Error::invalid(format!(
                "ranking head: {n} x {dim} item vectors, {} ids, {} counts and text dimension {} do not fit together",
                items.ids.len(),
                items.counts.len(),
                items.text_dim
            )));
        }
        if let Some(row) = (0..n).find(|i| !norm(items.vectors.row(*i)).is_finite()) {
            return Err(Error::invalid(format!(
                "ranking head: the vector of item {} holds NaN or an infinity",
                items.ids[row]
            )));
        }
        if let Some(row) = items.counts.iter().position(|c| !c.is_finite() || *c < 0.0) {
            return Err(Error::invalid(format!(
                "ranking head: item {} was counted {} times",
                items.ids[row], items.counts[row]
            )));
        }
        let logs: Vec<f64> = items.counts.iter().map(|c| f64::from(*c).ln_1p()).collect();
        let mean = logs.iter().sum::<f64>() / n as f64;
        let deviation = (logs.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        let popularity_moments = [mean, if deviation > 1e-9 { deviation } else { 1.0 }];
        let popularity = items.counts.iter().map(|c| standardised(*c, popularity_moments)).collect();
        Ok(Head { weights: Weights::identity(items.text_dim, dim), items, popularity, popularity_moments })
    }

    /// Number of items that it ranks.
    pub fn items(&self) -> usize {
        self.items.ids.len()
    }
    /// Ids of the items, in row order.
    pub fn ids(&self) -> &[String] {
        &self.items.ids
    }
    /// Name of the embedder whose rows it reads.
    pub fn embedder(&self) -> &str {
        &self.items.embedder
    }
    /// About how many bytes of memory it holds.
    pub fn bytes(&self) -> u64 {
        let ids: usize = self.items.ids.iter().map(|id| id.len() + size_of::<String>()).sum();
        let weights = size_of_val(self.weights.query.data()) + size_of_val(self.weights.mention.data());
        let rows = size_of_val(self.items.vectors.data()) + self.popularity.len() * 8;
        (ids + weights + rows) as u64
    }
    /// Dimension of the embedder whose rows it reads.
    pub fn text_dim(&self) -> usize {
        self.items.text_dim
    }
    /// Dimension of the item vectors.
    pub fn dim(&self) -> usize {
        self.items.vectors.dim()
    }

    /// Takes the catalogue statistics of the time of training: those of today may count items that joined later.
    pub(in crate::tune) fn set_popularity_moments(&mut self, moments: [f64; 2]) {
        self.popularity_moments = moments;
        self.popularity = self.items.counts.iter().map(|c| standardised(*c, moments)).collect();
    }

    /// Adds an item without training anew; gives its row.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an id that is there already, a vector of another length, zeros, or NaN.
    pub fn add_item(&mut self, item: &NewItem) -> Result<u32> {
        if item.id.is_empty() || self.items.ids.contains(&item.id) {
            return Err(Error::invalid(format!("ranking head: item {:?} has no id or is there already", item.id)));
        }
        let dim = self.dim();
        if item.vector.len() != self.text_dim() && item.vector.len() != dim {
            return Err(Error::invalid(format!(
                "ranking head: the vector of item {} has {} values, needed are {} (of embedder {})",
                item.id,
                item.vector.len(),
                self.text_dim(),
                self.embedder()
            )));
        }
        let length = norm(&item.vector[..self.text_dim()]);
        if !norm(&item.vector).is_finite() || length == 0.0 || !(item.count >= 0.0 && item.count.is_finite()) {
            return Err(Error::invalid(format!(
                "ranking head: item {} has an empty vector, NaN, or no valid count",
                item.id
            )));
        }
        let mut row: Vec<f32> = item.vector.clone();
        row[..self.items.text_dim].iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        row.resize(dim, 0.0);
        let mut data = std::mem::take(&mut self.items.vectors).into_data();
        data.extend_from_slice(&row);
        self.items.vectors = Matrix::from_vec(self.items.ids.len() + 1, dim, data)?;
        self.items.ids.push(item.id.clone());
        self.items.counts.push(item.count);
        self.popularity.push(standardised(item.count, self.popularity_moments));
        Ok((self.items.ids.len() - 1) as u32)
    }

    /// Mean vectors of the mentioned items, `[lists, dim]`; zeros for an empty list.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a row that is not in the catalogue.
    pub fn mean_of(&self, mentions: &[Vec<u32>]) -> Result<Matrix> {
        let mut means = Matrix::zeros(mentions.len(), self.dim());
        for (list, items) in mentions.iter().enumerate() {
            if let Some(item) = items.iter().find(|i| **i as usize >= self.items()) {
                return Err(Error::invalid(format!("ranking head: item row {item} of {} items", self.items())));
            }
            for &item in items {
                let vector = self.items.vectors.row(item as usize);
                means.row_mut(list).iter_mut().zip(vector).for_each(|(m, v)| *m += v / items.len() as f32);
            }
        }
        Ok(means)
    }

    /// Scores, `[queries, items]`.
    ///
    /// `queries`: `[queries, text_dim]`, rows of the embedder (zeros for an empty text); `mentions`: item rows that each
    /// conversation mentions. Nothing is masked here.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the shapes do not fit.
    pub fn score(&self, queries: &Matrix, mentions: &[Vec<u32>]) -> Result<Matrix> {
        if queries.dim() != self.text_dim() || queries.rows() != mentions.len() {
            return Err(Error::invalid(format!(
                "ranking head: queries of {} x {} with {} lists of mentions; the head was made for {} with {} dimensions",
                queries.rows(),
                queries.dim(),
                mentions.len(),
                self.embedder(),
                self.text_dim()
            )));
        }
        let u = self.weights.project(queries, &self.mean_of(mentions)?)?;
        let mut scores = product_nt(&u, &self.items.vectors)?;
        for row in 0..scores.rows() {
            let nothing_known = self.weights.popularity == 0.0 && u.row(row).iter().all(|v| *v == 0.0);
            match nothing_known {
                // All would be equal: what is most popular comes first.
                true => scores.row_mut(row).copy_from_slice(&self.popularity),
                false => self.weights.finish(scores.row_mut(row), &self.popularity),
            }
        }
        Ok(scores)
    }
}

fn standardised(count: f32, [mean, deviation]: [f64; 2]) -> f32 {
    ((f64::from(count).ln_1p() - mean) / deviation) as f32
}

/// The `k` best rows of `scores`, in no order of use; ties go to the lowest row.
pub(in crate::tune) fn best_rows(scores: &[f32], k: usize) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..scores.len() as u32).collect();
    let order = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
    if k < rows.len() && k > 0 {
        rows.select_nth_unstable_by(k - 1, order);
    }
    rows.truncate(k);
    rows
}
