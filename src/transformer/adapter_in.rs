//! LoRA adapters from llama.cpp's GGUF files.

use super::gguf_in::mapped;
use super::likeness;
use super::lora::{LoraSettings, padded};
use super::model::Model;
use super::weights::{LoraHalf, Part, Place, Storage, TensorId, check_shape};
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::map::Map;
use std::path::Path;
use std::sync::Arc;

impl Model {
    /// Reads the adapter at `path` (a GGUF as llama.cpp and [`Model::write_adapter`] write it) over this model's weights.
    /// A projection that the file leaves out gets an adapter of zeros.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] for a broken file, one that is no LoRA adapter, or one
    /// whose shapes are another model's; [`crate::ErrorKind::Invalid`] for one of another base (where it says which), and
    /// for a model that has adapters; [`crate::ErrorKind::Unsupported`] for adapters of other weights than the seven
    /// projections.
    pub fn add_adapter(&mut self, path: &Path) -> Result<()> {
        let header = Gguf::open(path)?;
        header.check_tensors()?;
        for (key, wanted) in [("general.type", "adapter"), ("adapter.type", "lora")] {
            if header.text(key)? != Some(wanted) {
                return Err(header.bad(format!("no LoRA adapter: {key} is not {wanted:?}")));
            }
        }
        let (theirs, ours) = (header.architecture()?, self.config.family.name());
        if theirs != ours {
            return Err(header.bad(format!("an adapter for {theirs}, the model is a {ours}")));
        }
        if let Some(sample) = header.text(likeness::KEY)? {
            self.check_likeness(sample, path)?;
        }
        let alpha = header.float("adapter.lora.alpha")?.unwrap_or(0.0);
        if !(alpha.is_finite() && alpha > 0.0) {
            return Err(header.bad(format!("adapter.lora.alpha is {alpha}")));
        }
        let found = self.places_in(&header)?;
        // llama.cpp scales each adapter by alpha over its own rank; here all have the largest one, filled up with zeros.
        let Some(rank) = found.iter().map(|f| f.2).max() else { return Err(header.bad("it holds no adapters")) };
        let layers = found.iter().filter_map(|f| f.1.layer);
        let range = layers.clone().min().unwrap_or(0)..layers.max().unwrap_or(0) + 1;
        let named = |part: &Part| found.iter().any(|f| f.1.part == *part);
        let targets = LoraSettings::PROJECTIONS.into_iter().filter(named).collect();
        self.add_lora(LoraSettings { rank, alpha, dropout: 0.0, targets, layers: range, seed: 0 })?;
        let map = Arc::new(Map::open(path)?);
        if map.bytes().len() as u64 != header.file_bytes() {
            return Err(header.bad("the file changed while it was being read"));
        }
        for (index, place, own) in found {
            let id: TensorId = self.find(place).ok_or_else(|| Error::bug(format!("no adapter at {place:?}")))?;
            let info = &header.tensors()[index];
            let tensor = &mut self.tensors[id];
            let shape = match place.lora {
                Some(LoraHalf::A) => [own, tensor.cols],
                Some(LoraHalf::B) | None => [tensor.rows, own],
            };
            let mut values = mapped(info, &map)?.to_floats(shape[0] * shape[1]);
            if values.iter().any(|v| !v.is_finite()) {
                return Err(header.bad(format!("{} holds NaN or an infinity", info.name)));
            }
            if place.lora == Some(LoraHalf::B) && own != rank {
                values.iter_mut().for_each(|v| *v *= rank as f32 / own as f32);
            }
            tensor.storage = Storage::F32(padded(values, shape, [tensor.rows, tensor.cols]));
        }
        Ok(())
    }

    /// The file's tensors: index, place, rank; each adapter has both halves.
    fn places_in(&self, header: &Gguf) -> Result<Vec<(usize, Place, usize)>> {
        let mut known = std::collections::HashMap::new();
        for layer in 0..self.config.layers {
            for part in LoraSettings::PROJECTIONS {
                for half in [LoraHalf::A, LoraHalf::B] {
                    let place = Place { layer: Some(layer), part, lora: Some(half) };
                    known.insert(place.gguf_name(), (place, half));
                }
            }
        }
        let mut found = Vec::new();
        for (index, info) in header.tensors().iter().enumerate() {
            let Some((place, half)) = known.remove(&info.name) else {
                return Err(Error::unsupported(format!(
                    "{}: {:?} is no adapter of one of this model's projections",
                    header.path().display(),
                    info.name
                )));
            };
            // ggml's order: A is [in, rank], B is [rank, out].
            let rank = match half {
                LoraHalf::A => info.dims.get(1),
                LoraHalf::B => info.dims.first(),
            };
            let rank = rank.and_then(|r| usize::try_from(*r).ok()).filter(|r| (1..=65_536).contains(r));
            let rank = rank.ok_or_else(|| header.bad(format!("{} has no usable rank", info.name)))?;
            // Before anything is made: what a file may ask for is bounded by the model that it is for.
            let base = self.find(Place { lora: None, ..place }).map(|id| &self.tensors[id]);
            let base = base.ok_or_else(|| Error::bug(format!("no weight at {place:?}")))?;
            let expected = match half {
                LoraHalf::A => [base.cols, rank],
                LoraHalf::B => [rank, base.rows],
            };
            let dims: Vec<usize> = info.dims.iter().map(|d| usize::try_from(*d).unwrap_or(usize::MAX)).collect();
            check_shape(header.path(), &info.name, &dims, &expected)?;
            found.push((index, place, rank));
        }
        let whole = |place: &Place| {
            [LoraHalf::A, LoraHalf::B].iter().all(|h| found.iter().any(|f| f.1 == Place { lora: Some(*h), ..*place }))
        };
        match found.iter().find(|f| !whole(&f.1)) {
            Some(half) => Err(header.bad(format!("{} has no other half", half.1.gguf_name()))),
            None => Ok(found),
        }
    }
}
