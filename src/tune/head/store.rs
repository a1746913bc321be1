//! The ranking head on disk: one safetensors file that holds all that scoring needs.

use super::model::{Head, Weights};
use super::vectors::ItemVectors;
use crate::artifact;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::tensors::{Tensor, read_tensors, write_tensors};
use std::path::Path;

const KIND: &str = "ranking head";

impl Head {
    /// Writes the head, its item vectors and ids: `head.safetensors`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let ids = serde_json::to_vec(self.ids()).map_err(|e| Error::bug(e.to_string()))?;
        let (w, dim, text_dim) = (&self.weights, self.dim(), self.text_dim());
        let [mean, deviation] = self.popularity_moments;
        let metadata = [
            ("embedder", self.embedder().to_string()),
            ("text_dim", text_dim.to_string()),
            ("items", artifact::content_hash(self.ids().iter().map(String::as_bytes))),
            ("popularity_mean", mean.to_string()),
            ("popularity_deviation", deviation.to_string()),
        ];
        let tensors = [
            ("bias", Tensor::F32(vec![dim], w.bias.clone())),
            ("counts", Tensor::F32(vec![self.items()], self.items.counts.clone())),
            ("ids", Tensor::U8(ids)),
            ("items", Tensor::F32(vec![self.items(), dim], self.items.vectors.data().to_vec())),
            ("mention", Tensor::F32(vec![dim, dim], w.mention.data().to_vec())),
            ("query", Tensor::F32(vec![dim, text_dim], w.query.data().to_vec())),
            ("scalars", Tensor::F32(vec![2], vec![w.log_scale, w.popularity])),
        ];
        write_tensors(path, KIND, &metadata, &tensors)
    }

    /// Reads a head. The embedder's name is compared when the head is put to use.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] for a file that does not hold together.
    pub fn load(path: &Path) -> Result<Head> {
        let (metadata, mut tensors) = read_tensors(path, KIND)?;
        let bad = |cause: String| Error::format(path, 0, format!("{cause}; tune again"));
        let text = |key: &str| metadata.get(key).ok_or_else(|| bad(format!("no {key}")));
        let number = |key: &str| text(key)?.parse::<f64>().map_err(|e| bad(format!("{key}: {e}")));
        let text_dim: usize = text("text_dim")?.parse().map_err(|e| bad(format!("text_dim: {e}")))?;
        let mut take = |name: &str| match tensors.remove(name) {
            Some(Tensor::F32(shape, values)) if values.iter().all(|v| v.is_finite()) => Ok((shape, values)),
            Some(_) => Err(bad(format!("tensor {name} is of another type or holds NaN"))),
            None => Err(bad(format!("no tensor {name}"))),
        };
        let matrix = |(shape, values): (Vec<usize>, Vec<f32>)| match shape[..] {
            [rows, dim] => Matrix::from_vec(rows, dim, values),
            _ => Err(bad("a tensor that is no matrix".into())),
        };
        let vectors = matrix(take("items")?)?;
        let (query, mention) = (matrix(take("query")?)?, matrix(take("mention")?)?);
        let (bias, counts, scalars) = (take("bias")?.1, take("counts")?.1, take("scalars")?.1);
        let Some(Tensor::U8(ids)) = tensors.remove("ids") else { return Err(bad("no ids".into())) };
        let ids: Vec<String> = serde_json::from_slice(&ids).map_err(|e| bad(format!("ids: {e}")))?;
        if *text("items")? != artifact::content_hash(ids.iter().map(String::as_bytes)) {
            return Err(bad("the item ids are not those it was made with".into()));
        }
        let (dim, moments) = (vectors.dim(), [number("popularity_mean")?, number("popularity_deviation")?]);
        let [log_scale, popularity] = scalars[..] else { return Err(bad("scalars are not two".into())) };
        let fits = [query.rows(), mention.rows(), mention.dim(), bias.len()] == [dim; 4] && query.dim() == text_dim;
        if !fits || !moments.iter().all(|m| m.is_finite()) {
            return Err(bad("its tensors do not fit together".into()));
        }
        let items = ItemVectors { ids, vectors, counts, embedder: text("embedder")?.clone(), text_dim };
        let mut head = Head::untrained(items).map_err(|e| bad(e.message().to_string()))?;
        head.weights = Weights { query, mention, bias, log_scale, popularity };
        head.set_popularity_moments(moments);
        Ok(head)
    }
}
