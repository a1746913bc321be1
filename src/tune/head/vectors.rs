//! Item vectors from the items' own words: what the ranking head compares a conversation with.

use crate::dataset::{Dataset, Items};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::{Level, Run, log};

/// The catalogue as rows: what an item says of itself, what its reviews say of it, and how often it was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemVectors {
    /// Ids of the items, `[items]`, in catalogue order.
    pub ids: Vec<String>,
    /// `[items, dim]`; the first `text_dim` columns lie in the embedder's space and have unit length (or are zeros).
    pub vectors: Matrix,
    /// Reviews and interactions of each item, `[items]`.
    pub counts: Vec<f32>,
    /// Name of the embedder.
    pub embedder: String,
    /// Dimension of the embedder.
    pub text_dim: usize,
}

impl ItemVectors {
    /// Embeds [`Items::text`] of every item; `counts` are zero until [`ItemVectors::count`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an empty catalogue; those of the embedder.
    pub fn from_items(items: &Items, embedder: &dyn Embedder, run: &Run) -> Result<ItemVectors> {
        if items.is_empty() {
            return Err(Error::invalid("item vectors: the catalogue is empty; import items first"));
        }
        let texts: Vec<String> = (0..items.len()).map(|i| items.text(i)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        ItemVectors::from_rows(items, embedder.embed(&texts, true, run)?, embedder)
    }

    /// The same from rows made before by [`ItemVectors::from_items`] of the same embedder: `[items, dim]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the shape does not fit the catalogue or the embedder.
    pub fn from_rows(items: &Items, rows: Matrix, embedder: &dyn Embedder) -> Result<ItemVectors> {
        if rows.rows() != items.len() || rows.dim() != embedder.dim() || items.is_empty() {
            return Err(Error::invalid(format!(
                "item vectors: {} x {} rows for {} items and {} dimensions; embed the items again",
                rows.rows(),
                rows.dim(),
                items.len(),
                embedder.dim()
            )));
        }
        Ok(ItemVectors {
            ids: (0..items.len()).map(|i| items.id(i).to_string()).collect(),
            vectors: rows,
            counts: vec![0.0; items.len()],
            embedder: embedder.name(),
            text_dim: embedder.dim(),
        })
    }

    /// The same with the popularity of `dataset`: its reviews and interactions, counted per item.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the dataset has another number of items.
    pub fn count(mut self, dataset: &Dataset) -> Result<ItemVectors> {
        self.same_items(dataset)?;
        for review in 0..dataset.reviews() {
            self.counts[dataset.review_item(review)] += 1.0;
        }
        for n in 0..dataset.interactions() {
            self.counts[dataset.interaction(n).1] += 1.0;
        }
        Ok(self)
    }

    /// Blends in the reviews: x = unit((1 - weight) x_text + weight unit(mean of the item's review rows)).
    ///
    /// `reviews`: `[dataset.reviews(), text_dim]`, rows of the same embedder. An item without reviews keeps its text alone.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the shapes do not fit.
    pub fn blend_reviews(mut self, dataset: &Dataset, reviews: &Matrix, weight: f64) -> Result<ItemVectors> {
        self.same_items(dataset)?;
        if reviews.rows() != dataset.reviews() || reviews.dim() != self.text_dim {
            return Err(Error::invalid(format!(
                "item vectors: {} x {} review embeddings for {} reviews and {} dimensions; embed them again",
                reviews.rows(),
                reviews.dim(),
                dataset.reviews(),
                self.text_dim
            )));
        }
        let mut means = Matrix::zeros(self.ids.len(), self.text_dim);
        for review in 0..dataset.reviews() {
            let mean = means.row_mut(dataset.review_item(review));
            mean.iter_mut().zip(reviews.row(review)).for_each(|(sum, v)| *sum += v);
        }
        means.normalise_rows();
        let mut text = Matrix::zeros(self.ids.len(), self.text_dim);
        for item in 0..self.ids.len() {
            let own = &self.vectors.row(item)[..self.text_dim];
            for ((out, own), mean) in text.row_mut(item).iter_mut().zip(own).zip(means.row(item)) {
                *out = ((1.0 - weight) * f64::from(*own) + weight * f64::from(*mean)) as f32;
            }
        }
        text.normalise_rows();
        let mut silent = 0;
        for item in 0..self.ids.len() {
            silent += usize::from(text.row(item).iter().all(|v| *v == 0.0));
            self.vectors.row_mut(item)[..self.text_dim].copy_from_slice(text.row(item));
        }
        if silent > 0 {
            log(
                Level::Warn,
                &format!("item vectors: {silent} items have no words and no reviews; only popularity ranks them"),
            );
        }
        Ok(self)
    }

    /// Appends columns that do not come from text, such as collaborative factors: each row scaled to length `weight`.
    ///
    /// `features`: `[items, any]`. A new item without such features takes zeros there.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the number of rows differs.
    pub fn append(mut self, features: &Matrix, weight: f64) -> Result<ItemVectors> {
        if features.rows() != self.ids.len() {
            return Err(Error::invalid(format!(
                "item vectors: {} features for {} items",
                features.rows(),
                self.ids.len()
            )));
        }
        let mut features = features.clone();
        features.normalise_rows();
        let mut data = Vec::with_capacity(self.ids.len() * (self.vectors.dim() + features.dim()));
        for item in 0..self.ids.len() {
            data.extend_from_slice(self.vectors.row(item));
            data.extend(features.row(item).iter().map(|v| (f64::from(*v) * weight) as f32));
        }
        self.vectors = Matrix::from_vec(self.ids.len(), self.vectors.dim() + features.dim(), data)?;
        Ok(self)
    }

    fn same_items(&self, dataset: &Dataset) -> Result<()> {
        if dataset.items.len() == self.ids.len() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "item vectors of {} items, but the dataset has {}; embed the catalogue again",
            self.ids.len(),
            dataset.items.len()
        )))
    }
}
