//! The tensors of a model: their places and names, how their values are stored, and their gradients.

use super::config::Family;
use crate::error::{Error, Result};
use crate::map::Map;
use crate::math::packed::vectorised;
use half::bf16;
use half::slice::HalfFloatSliceExt;
use std::ops::Range;
use std::sync::Arc;

/// Which weight of a model or of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are those of the architecture's parts
pub enum Part {
    Embedding,
    Head,
    FinalNorm,
    AttnNorm,
    Q,
    K,
    V,
    O,
    QBias,
    KBias,
    VBias,
    QNorm,
    KNorm,
    PostAttnNorm,
    FfnNorm,
    Gate,
    Up,
    Down,
    PostFfnNorm,
}

/// The two halves of a LoRA: the weight gains scale * B A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoraHalf {
    /// `[rank, in]`.
    A,
    /// `[out, rank]`.
    B,
}

/// Where a tensor belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The layer; none for embedding, head and final norm.
    pub layer: Option<usize>,
    /// Which weight.
    pub part: Part,
    /// Which half of that weight's adapter; none: the weight itself.
    pub lora: Option<LoraHalf>,
}

impl Place {
    /// The name in Hugging Face's files; an adapter's tensor is named as PEFT names it.
    pub fn hf_name(&self, family: Family) -> String {
        let gemma = family == Family::Gemma2;
        let stem = match self.part {
            Part::Embedding => "model.embed_tokens",
            Part::Head => "lm_head",
            Part::FinalNorm => "model.norm",
            Part::AttnNorm => "input_layernorm",
            Part::Q | Part::QBias => "self_attn.q_proj",
            Part::K | Part::KBias => "self_attn.k_proj",
            Part::V | Part::VBias => "self_attn.v_proj",
            Part::O => "self_attn.o_proj",
            Part::QNorm => "self_attn.q_norm",
            Part::KNorm => "self_attn.k_norm",
            Part::PostAttnNorm => "post_attention_layernorm",
            Part::FfnNorm if gemma => "pre_feedforward_layernorm",
            Part::FfnNorm => "post_attention_layernorm",
            Part::Gate => "mlp.gate_proj",
            Part::Up => "mlp.up_proj",
            Part::Down => "mlp.down_proj",
            Part::PostFfnNorm => "post_feedforward_layernorm",
        };
        let stem = self.layer.map_or(stem.to_string(), |l| format!("model.layers.{l}.{stem}"));
        match self.lora {
            None => format!("{stem}.{}", self.kind()),
            Some(LoraHalf::A) => format!("base_model.model.{stem}.lora_A.weight"),
            Some(LoraHalf::B) => format!("base_model.model.{stem}.lora_B.weight"),
        }
    }

    /// The name in GGUF files, of models and of adapters.
    pub fn gguf_name(&self) -> String {
        let stem = match self.part {
            Part::Embedding => "token_embd",
            Part::Head => "output",
            Part::FinalNorm => "output_norm",
            Part::AttnNorm => "attn_norm",
            Part::Q | Part::QBias => "attn_q",
            Part::K | Part::KBias => "attn_k",
            Part::V | Part::VBias => "attn_v",
            Part::O => "attn_output",
            Part::QNorm => "attn_q_norm",
            Part::KNorm => "attn_k_norm",
            Part::PostAttnNorm => "post_attention_norm",
            Part::FfnNorm => "ffn_norm",
            Part::Gate => "ffn_gate",
            Part::Up => "ffn_up",
            Part::Down => "ffn_down",
            Part::PostFfnNorm => "post_ffw_norm",
        };
        let stem = self.layer.map_or(stem.to_string(), |l| format!("blk.{l}.{stem}"));
        match self.lora {
            None => format!("{stem}.{}", self.kind()),
            Some(LoraHalf::A) => format!("{stem}.weight.lora_a"),
            Some(LoraHalf::B) => format!("{stem}.weight.lora_b"),
        }
    }

    fn kind(&self) -> &'static str {
        if matches!(self.part, Part::QBias | Part::KBias | Part::VBias) { "bias" } else { "weight" }
    }
}

/// How values are stored.
#[derive(Debug, Clone)]
pub enum Storage {
    /// Plain values.
    F32(Vec<f32>),
    /// Rounded to 16 bits: half the memory of f32 in full fine-tuning.
    Bf16(Vec<bf16>),
    /// In a mapped file, as it stands there.
    Mapped(FileValues),
}

/// Values in a mapped file.
#[derive(Debug, Clone)]
pub struct FileValues {
    /// The file.
    pub map: Arc<Map>,
    /// First byte.
    pub start: usize,
    /// What the bytes mean.
    pub encoding: Encoding,
}

impl FileValues {
    /// The first `len` values as f32; they end at a block.
    pub(super) fn to_floats(&self, len: usize) -> Vec<f32> {
        let mut out = vec![0.0; len];
        self.decode(0, &mut out);
        out
    }

    /// Values `start..start + out.len()`, on block boundaries.
    fn decode(&self, start: usize, out: &mut [f32]) {
        let bytes = |values: usize| values / self.encoding.block_values() * self.encoding.block_bytes();
        let first = self.start + bytes(start);
        self.encoding.decode(&self.map.bytes()[first..first + bytes(out.len())], out);
    }
}

/// What the bytes of a mapped tensor mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoding {
    /// 32 bits.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// One of ggml's block formats.
    #[cfg(feature = "llama")]
    Blocks(crate::llama::dequant::BlockType),
}

impl Encoding {
    /// Values per block; a tile's columns begin and end at multiples of it.
    pub fn block_values(self) -> usize {
        match self {
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => 1,
            #[cfg(feature = "llama")]
            Encoding::Blocks(format) => format.block_values(),
        }
    }
    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        match self {
            Encoding::F32 => 4,
            Encoding::F16 | Encoding::Bf16 => 2,
            #[cfg(feature = "llama")]
            Encoding::Blocks(format) => format.block_bytes(),
        }
    }
    /// Bytes of `values` values; none when they are no whole number of blocks or overflow.
    pub fn bytes(self, values: usize) -> Option<usize> {
        if !values.is_multiple_of(self.block_values()) {
            return None;
        }
        (values / self.block_values()).checked_mul(self.block_bytes())
    }

    /// Decodes `bytes` into `out`: both hold the same whole number of blocks.
    fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        match self {
            Encoding::F32 => {
                let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                out.iter_mut().zip(values).for_each(|(o, v)| *o = v);
            }
            Encoding::F16 => {
                let mut halves = [half::f16::ZERO; 256];
                let mut bits = pairs();
                for out in out.chunks_mut(256) {
                    halves.iter_mut().zip(&mut bits).take(out.len()).for_each(|(h, b)| *h = half::f16::from_bits(b));
                    halves[..out.len()].convert_to_f32_slice(out);
                }
            }
            Encoding::Bf16 => out.iter_mut().zip(pairs()).for_each(|(o, b)| *o = f32::from_bits(u32::from(b) << 16)),
            #[cfg(feature = "llama")]
            Encoding::Blocks(format) => format.decode(bytes, out),
        }
    }
}

/// bf16 to f32, which it is the upper half of.
fn widen(values: &[bf16], out: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            out.iter_mut().zip(values).for_each(|(o, v)| *o = f32::from_bits(u32::from(v.to_bits()) << 16));
        },
    );
}

/// Index of a tensor in its model.
pub type TensorId = usize;

/// A matrix `[rows, cols]`, or a vector (one row).
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Where it belongs.
    pub place: Place,
    /// Outputs of a projection, tokens of an embedding; 1 for vectors.
    pub rows: usize,
    /// Inputs of a projection, width of an embedding, length of a vector.
    pub cols: usize,
    /// Its values, row-major.
    pub storage: Storage,
    /// Whether training moves it.
    pub trained: bool,
}

impl Tensor {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }
    /// True for no values; the loaders refuse such tensors.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values in place when they are stored as f32.
    pub fn floats(&self) -> Option<&[f32]> {
        match &self.storage {
            Storage::F32(values) => Some(values),
            Storage::Bf16(_) => None,
            Storage::Mapped(m) => match m.encoding {
                Encoding::F32 => m.map.floats(m.start..m.start + 4 * self.len()),
                _ => None,
            },
        }
    }

    /// The values of a vector (norms and biases are always held as f32).
    pub(super) fn vector(&self) -> &[f32] {
        self.floats().unwrap_or(&[])
    }

    /// Values per block of the storage.
    pub fn block_values(&self) -> usize {
        match &self.storage {
            Storage::F32(_) | Storage::Bf16(_) => 1,
            Storage::Mapped(m) => m.encoding.block_values(),
        }
    }

    /// Rows `rows`, columns `cols` as f32, in place or decoded into `scratch`: values from the first one on, and the
    /// distance of rows. `cols` begins and ends at blocks.
    pub fn tile<'a>(&'a self, rows: Range<usize>, cols: Range<usize>, scratch: &'a mut Vec<f32>) -> (&'a [f32], usize) {
        if let Some(values) = self.floats() {
            return (&values[rows.start * self.cols + cols.start..], self.cols);
        }
        let length = rows.len() * cols.len();
        scratch.resize(length.max(scratch.len()), 0.0);
        for (row, out) in rows.zip(scratch[..length].chunks_exact_mut(cols.len())) {
            self.decode(row * self.cols + cols.start, out);
        }
        (&scratch[..length], cols.len())
    }

    /// Values `start..start + out.len()` of the flat tensor, on block boundaries.
    pub fn decode(&self, start: usize, out: &mut [f32]) {
        match &self.storage {
            Storage::F32(values) => out.copy_from_slice(&values[start..start + out.len()]),
            Storage::Bf16(values) => widen(&values[start..start + out.len()], out),
            Storage::Mapped(mapped) => mapped.decode(start, out),
        }
    }

    /// A copy of all values as f32.
    pub fn to_floats(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        self.decode(0, &mut out);
        out
    }

    /// Holds the values in memory, to be trained: as f32, or rounded to bf16.
    pub fn own(&mut self, bf16: bool) {
        let values = self.to_floats();
        self.storage =
            if bf16 { Storage::Bf16(values.into_iter().map(bf16::from_f32).collect()) } else { Storage::F32(values) };
    }
}

/// Gradients of the trained tensors, made when first written.
#[derive(Debug, Default)]
pub struct Grads {
    slots: Vec<Slot>,
    /// Memory of freed gradients, for the next of the same length: fresh memory costs the kernel a pass over it.
    spare: Vec<Vec<f32>>,
}

#[derive(Debug)]
struct Slot {
    /// Number of values; none: not trained.
    len: Option<usize>,
    /// Empty until written.
    values: Vec<f32>,
}

impl Grads {
    /// Room for the gradients of `tensors`.
    pub fn new(tensors: &[Tensor]) -> Grads {
        let slot = |t: &Tensor| Slot { len: t.trained.then(|| t.len()), values: Vec::new() };
        Grads { slots: tensors.iter().map(slot).collect(), spare: Vec::new() }
    }
    /// The gradient to add to; none when the tensor is not trained.
    pub fn slot(&mut self, id: TensorId) -> Option<&mut [f32]> {
        let slot = &mut self.slots[id];
        let len = slot.len?;
        if slot.values.is_empty() {
            let spare = self.spare.iter().position(|s| s.capacity() == len);
            // Zeros are written: of memory that is only promised to be zero, what is read first and written then costs the
            // kernel two faults a page, the second with a message to every other core.
            slot.values = spare.map_or_else(|| Vec::with_capacity(len), |i| self.spare.swap_remove(i));
            slot.values.resize(len, 0.0);
        }
        Some(&mut slot.values)
    }
    /// The gradient so far; none when nothing was written.
    pub fn get(&self, id: TensorId) -> Option<&[f32]> {
        self.slots.get(id).map(|s| s.values.as_slice()).filter(|v| !v.is_empty())
    }
    /// Frees one gradient, for others of its length.
    pub fn free(&mut self, id: TensorId) {
        let mut values = std::mem::take(&mut self.slots[id].values);
        if values.capacity() > 0 {
            values.clear();
            self.spare.push(values);
        }
    }
    /// Sets all gradients to zero, keeping their memory.
    pub fn zero(&mut self) {
        self.slots.iter_mut().for_each(|s| s.values.fill(0.0));
    }
    /// Euclidean length over all gradients, in f64, in a fixed order.
    pub fn norm(&self) -> f64 {
        self.slots.iter().map(|s| norm_squared(&s.values)).sum::<f64>().sqrt()
    }
}

/// Sum of squares: chunks of fixed size, folded in order.
pub(super) fn norm_squared(values: &[f32]) -> f64 {
    use rayon::prelude::*;
    let parts: Vec<f64> = values.par_chunks(1 << 16).map(|c| crate::math::dot(c, c)).collect();
    parts.iter().sum()
}

/// The error for a tensor that a file should hold.
pub(super) fn missing(path: &std::path::Path, name: &str) -> Error {
    Error::format(path, 0, format!("tensor {name:?} is missing: is this a whole model of that architecture?"))
}

/// Checks a shape found in a file.
pub(super) fn check_shape(path: &std::path::Path, name: &str, found: &[usize], expected: &[usize]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let message = format!("tensor {name:?} has shape {found:?}; the model's configuration asks for {expected:?}");
    Err(Error::format(path, 0, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_freed_gradient_serves_the_next_of_its_length_and_begins_at_zero() {
        let tensor = |part, rows, cols| Tensor {
            place: Place { layer: Some(0), part, lora: None },
            rows,
            cols,
            storage: Storage::F32(vec![0.0; rows * cols]),
            trained: true,
        };
        let mut grads = Grads::new(&[tensor(Part::Q, 3, 4), tensor(Part::K, 4, 3), tensor(Part::O, 5, 5)]);
        grads.slot(0).unwrap().fill(7.0);
        let memory = grads.get(0).unwrap().as_ptr();
        grads.free(0);
        assert!(grads.get(0).is_none());
        grads.free(0);
        assert_eq!(grads.slot(2).unwrap(), [0.0; 25]);
        assert_eq!(grads.slot(1).unwrap(), [0.0; 12]);
        assert_eq!(grads.get(1).unwrap().as_ptr(), memory);
        assert!(grads.spare.is_empty());
    }
}
