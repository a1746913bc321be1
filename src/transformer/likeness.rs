//! Does an adapter belong to this base model? Shapes do not tell: two models of one family have the same.
//!
//! An adapter carries a sample of the base's weights, of some matrices 24 values each, at unit length. The base at hand is
//! the same one, perhaps quantised otherwise, when the samples point the same way: rounding to 4 bits leaves a cosine above
//! 0.97, other weights give one near 0. (A base and its own fine-tuned descendants are too alike to be told apart.)

use super::model::Model;
use super::weights::{Part, Place, Tensor};
use crate::error::{Error, Result};
use crate::math::dot;
use half::bf16;
use std::path::Path;

/// The key of the sample in an adapter's metadata.
pub(super) const KEY: &str = "causerie.base";
/// Values of each matrix.
const VALUES: usize = 24;
/// Mean cosine above which two samples are of one model.
const ALIKE: f64 = 0.9;

/// Matrices that stand in the same order in GGUF and in Hugging Face's files (rows of q and k do not).
const PARTS: [Part; 5] = [Part::V, Part::O, Part::Gate, Part::Up, Part::Down];

impl Model {
    /// The sample of the base's weights, `[matrices * VALUES]`.
    fn sample(&self) -> Vec<f32> {
        let last = self.config.layers.saturating_sub(1);
        let layers = if last > 0 { vec![0, last] } else { vec![0] };
        let in_layers = layers.into_iter().flat_map(|l| PARTS.map(|part| (Some(l), part)));
        let places = [(None, Part::Embedding)].into_iter().chain(in_layers);
        let ids = places.filter_map(|(layer, part)| self.find(Place { layer, part, lora: None }));
        ids.flat_map(|id| values_of(&self.tensors[id])).collect()
    }

    /// The sample as text: four hexadecimal digits, a bf16, per value.
    pub(super) fn likeness(&self) -> String {
        self.sample().into_iter().map(|v| format!("{:04x}", bf16::from_f32(v).to_bits())).collect()
    }

    /// Refuses an adapter whose sample (from the file at `path`) is not of this model.
    pub(super) fn check_likeness(&self, text: &str, path: &Path) -> Result<()> {
        let own = self.sample();
        let digits: Option<Vec<f32>> = (0..text.len() / 4)
            .map(|i| Some(bf16::from_bits(u16::from_str_radix(text.get(4 * i..4 * i + 4)?, 16).ok()?).to_f32()))
            .collect();
        let theirs = digits.ok_or_else(|| Error::format(path, 0, format!("{KEY} cannot be read")))?;
        let matrices = own.chunks(VALUES).zip(theirs.chunks(VALUES));
        let alike = matrices.map(|(a, b)| if a.len() == b.len() { dot(a, b) } else { 0.0 }).sum::<f64>();
        let alike = alike / (own.len() / VALUES).max(1) as f64;
        if own.len() == theirs.len() && alike > ALIKE {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{}: an adapter of another base model (its sample of the base's weights has a cosine of {alike:.2} with this \
             model's); name the base that it was tuned on",
            path.display()
        )))
    }
}

/// Values spread over a matrix, scaled to unit length together.
fn values_of(tensor: &Tensor) -> Vec<f32> {
    let block = tensor.block_values();
    let mut scratch = vec![0.0; block];
    let mut values: Vec<f32> = (0..VALUES)
        .map(|i| {
            let at = (i * 2 + 1) * tensor.len() / (2 * VALUES);
            tensor.decode(at / block * block, &mut scratch);
            scratch[at % block]
        })
        .collect();
    let length = crate::math::norm(&values).max(f64::MIN_POSITIVE);
    values.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    values
}
