//! The ranking head on disk: one safetensors file that holds all that scoring needs.

use super::model::{Head, Weights};
use super::vectors::ItemVectors;
use crate::artifact;
use crate::error::{Error, Result};
use crate::map::Map;
use crate::math::Matrix;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::path::Path;

/// A tensor as these artifacts hold them.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor {
    /// Little-endian f32 of this shape.
    F32(Vec<usize>, Vec<f32>),
    /// Little-endian u32 of this shape.
    U32(Vec<usize>, Vec<u32>),
    /// Bytes.
    U8(Vec<u8>),
}

/// Writes `tensors` and `metadata` as safetensors; `kind` (`ranking head`), the format number and the maker are added.
///
/// # Errors
/// [`crate::ErrorKind::Io`].
pub fn write_tensors(path: &Path, kind: &str, metadata: &[(&str, String)], tensors: &[(&str, Tensor)]) -> Result<()> {
    let bytes: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| match tensor {
            Tensor::F32(shape, v) => {
                (*name, Dtype::F32, shape.clone(), v.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            Tensor::U32(shape, v) => {
                (*name, Dtype::U32, shape.clone(), v.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            Tensor::U8(v) => (*name, Dtype::U8, vec![v.len()], v.clone()),
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| Error::bug(format!("{name}: {e}")))?;
            Ok((*name, view))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut map: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).to_string(), v.clone())).collect();
    map.insert("format".into(), artifact::FORMAT.to_string());
    map.insert("made_by".into(), artifact::made_by());
    map.insert("kind".into(), kind.into());
    // The header's map has no fixed order in memory; one line of JSON keeps the file's bytes the same every time.
    let sorted: std::collections::BTreeMap<_, _> = map.into_iter().collect();
    let line = serde_json::to_string(&sorted).map_err(|e| Error::bug(e.to_string()))?;
    let header = HashMap::from([("causerie".to_string(), line)]);
    let file = safetensors::serialize(views, Some(header)).map_err(|e| Error::bug(format!("{kind}: {e}")))?;
    artifact::write_atomic(path, |out| out.write_all(&file).map_err(|e| Error::io(path, e)))
}

/// Reads what [`write_tensors`] wrote: metadata and tensors by name.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] for another kind of file, a newer format, damage.
pub fn read_tensors(path: &Path, kind: &str) -> Result<(HashMap<String, String>, HashMap<String, Tensor>)> {
    // Mapped: a head is of many megabytes, and every tensor is copied out of it.
    let file = Map::open(path)?;
    let file = file.bytes();
    let bad = |cause: &dyn std::fmt::Display| Error::format(path, 0, format!("not a whole {kind} file: {cause}"));
    let (_, header) = SafeTensors::read_metadata(file).map_err(|e| bad(&e))?;
    let line =
        header.metadata().as_ref().and_then(|m| m.get("causerie")).ok_or_else(|| bad(&"causerie did not write it"))?;
    let metadata: HashMap<String, String> = serde_json::from_str(line).map_err(|e| bad(&e))?;
    let found = metadata.get("kind").map_or("", String::as_str);
    if found != kind {
        return Err(bad(&format!("it is a {found:?}")));
    }
    let format: u64 = metadata.get("format").and_then(|f| f.parse().ok()).ok_or_else(|| bad(&"no format number"))?;
    if format > artifact::FORMAT {
        let made_by = metadata.get("made_by").map_or("", String::as_str);
        let known = artifact::FORMAT;
        return Err(bad(&format!(
            "format {format}, by {made_by}; this build reads up to {known}: use a newer causerie"
        )));
    }
    let mut tensors = HashMap::new();
    for (name, view) in SafeTensors::deserialize(file).map_err(|e| bad(&e))?.tensors() {
        let shape = view.shape().to_vec();
        let words = || view.data().as_chunks::<4>().0.iter().copied();
        let tensor = match view.dtype() {
            Dtype::F32 => Tensor::F32(shape, words().map(f32::from_le_bytes).collect()),
            Dtype::U32 => Tensor::U32(shape, words().map(u32::from_le_bytes).collect()),
            Dtype::U8 => Tensor::U8(view.data().to_vec()),
            other => return Err(bad(&format!("tensor {name} is of type {other:?}"))),
        };
        tensors.insert(name, tensor);
    }
    Ok((metadata, tensors))
}

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
