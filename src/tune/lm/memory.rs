//! How much memory a fine-tuning will take, told before it starts.

pub use crate::os::available_memory_bytes as available_bytes;

use crate::config::{Moments, TuneConfig, TuneMethod, WeightType};
use crate::transformer::{Model, Storage};

/// Bytes by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Weights: mapped ones count with their size in the file.
    pub weights: u64,
    /// Gradients.
    pub gradients: u64,
    /// The optimiser's moments.
    pub moments: u64,
    /// What the forward pass keeps, and the largest layer's own needs.
    pub activations: u64,
    /// Logits of a chunk of tokens.
    pub logits: u64,
    /// The ranking head that is trained along: its weights, gradients, moments and scores.
    pub items: u64,
}

impl Estimate {
    /// Of `model`, with its adapters or before a full tuning takes its weights into memory, under `config`; `items`: those of the ranking head trained along, or 0.
    pub fn of(model: &Model, config: &TuneConfig, items: usize) -> Estimate {
        let c = &model.config;
        let full = config.method == TuneMethod::Full;
        let (mut weights, mut gradients, mut moments) = (0u64, 0u64, 0u64);
        let mut largest_layer = 0u64;
        let mut layer_gradients = vec![0u64; c.layers];
        for tensor in &model.tensors {
            let values = tensor.len() as u64;
            weights += match &tensor.storage {
                _ if full && config.weights == WeightType::Bf16 && tensor.rows > 1 => 2 * values,
                _ if full => 4 * values,
                Storage::F32(_) => 4 * values,
                Storage::Bf16(_) => 2 * values,
                Storage::Mapped(m) => m.encoding.bytes(tensor.len()).unwrap_or(0) as u64,
            };
            if full || tensor.trained {
                match tensor.place.layer.filter(|_| config.fused) {
                    Some(layer) => {
                        layer_gradients[layer] += 4 * values;
                        largest_layer = largest_layer.max(layer_gradients[layer]);
                    }
                    None => gradients += 4 * values,
                }
                moments += match config.moments {
                    Moments::Bits8 => 2 * values + values / 32,
                    Moments::F32 => 8 * values,
                };
            }
        }
        gradients += largest_layer;
        let tokens = config.micro_batch_tokens as u64;
        let (dim, wide, ffn) = (c.dim as u64, (c.heads * c.head_dim) as u64, c.ffn as u64);
        let narrow = (c.kv_heads * c.head_dim) as u64;
        let kept = 4 * tokens * (2 * dim + 2 * wide + 2 * narrow + 2 * ffn);
        let working = 4 * tokens * (6 * dim + 4 * wide + 2 * ffn);
        let layers = c.layers as u64;
        let activations = working + if config.checkpointing { kept + 4 * tokens * dim * layers } else { kept * layers };
        let rows = (tokens).min(((128u64 << 20) / 4 / c.vocabulary as u64).clamp(1, 1024));
        // Vectors, their gradient and a product of that shape, moments; scores of up to 64 prompts; W_q and W_m.
        let moment_bytes = match config.moments {
            Moments::Bits8 => 2,
            Moments::F32 => 8,
        };
        let items = match items as u64 {
            0 => 0,
            n => n * (dim * (12 + moment_bytes) + 8 * 64) + 8 * dim * dim,
        };
        Estimate { weights, gradients, moments, activations, logits: 4 * rows * c.vocabulary as u64, items }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.moments + self.activations + self.logits + self.items
    }

    /// `2.31 GiB: weights 1.22, gradients 0.04, …`
    pub fn words(&self) -> String {
        let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        let items = if self.items > 0 { format!(", ranking head {:.2}", gib(self.items)) } else { String::new() };
        format!(
            "{:.2} GiB: weights {:.2}, gradients {:.2}, moments {:.2}, activations {:.2}, logits {:.2}{items}",
            gib(self.total()),
            gib(self.weights),
            gib(self.gradients),
            gib(self.moments),
            gib(self.activations),
            gib(self.logits)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The estimate of a model still in its file is that of the same model taken into memory, part by part.
    #[test]
    fn a_full_tuning_is_estimated_before_its_weights_are_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.gguf");
        crate::transformer::write_test_model(&path);
        for weights in ["f32", "bf16"] {
            let method = TuneMethod::Full;
            let config = TuneConfig { method, weights: weights.into(), ..TuneConfig::default() };
            let mut model = Model::from_gguf(&path).unwrap();
            let before = Estimate::of(&model, &config, 0);
            super::super::prepare::own(&mut model, &config);
            assert_eq!(before, Estimate::of(&model, &config, 0));
            let values: u64 = model.tensors.iter().map(|t| t.len() as u64).sum();
            assert_eq!((before.gradients, before.moments), (4 * values, 8 * values));
            assert!(before.weights <= 4 * values && before.weights >= 2 * values);
            // A ranking head counts with its vectors, their gradient and moments.
            let dim = model.config.dim as u64;
            assert!(Estimate::of(&model, &config, 1000).items >= 1000 * dim * 20);
        }
    }
}
