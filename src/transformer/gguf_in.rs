//! A model from a GGUF file, its weights left in the mapped file as they stand, quantised or not.

use super::config::{Family, ModelConfig, RopeLayout};
use super::hf::vectors_as_floats;
use super::model::Model;
use super::weights::{Encoding, FileValues, check_shape, missing};
use crate::error::{Error, Result};
use crate::gguf::{GgmlType, Gguf, TensorInfo, Value};
use crate::map::Map;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// Llama 3's divisors of the rotary frequencies.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

impl Model {
    /// Opens the GGUF at `path`, after checking its header. Nothing is trained yet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Format`] for a broken file,
    /// [`crate::ErrorKind::Unsupported`] for an architecture, an option or a tensor that causerie does not compute.
    pub fn from_gguf(path: &Path) -> Result<Model> {
        let header = Gguf::open(path)?;
        header.check_model()?;
        let map = Arc::new(Map::open(path)?);
        if map.bytes().len() as u64 != header.file_bytes() {
            return Err(header.bad("the file changed while it was being read"));
        }
        let config = config(&header, &map)?;
        let mut left: HashSet<&str> = header.tensors().iter().map(|t| t.name.as_str()).collect();
        left.remove(ROPE_FACTORS);
        let model = Model::assemble(config, |place, rows, cols| {
            let name = place.gguf_name();
            let info = header.tensor(&name).ok_or_else(|| missing(path, &name))?;
            let shape = if rows == 1 { vec![cols] } else { vec![cols, rows] };
            let found: Vec<usize> = info.dims.iter().map(|d| *d as usize).collect();
            check_shape(path, &name, &found, &shape)?;
            left.remove(name.as_str());
            Ok(vectors_as_floats(mapped(info, &map)?, rows, cols))
        })?;
        // A tensor that nobody reads would be a part of the network that is not computed.
        match left.into_iter().min() {
            None => Ok(model),
            Some(name) => Err(Error::unsupported(format!(
                "{}: tensor {name:?} is not one that causerie computes",
                path.display()
            ))),
        }
    }
}

pub(super) fn mapped(info: &TensorInfo, map: &Arc<Map>) -> Result<FileValues> {
    let encoding = match info.kind {
        GgmlType::F32 => Encoding::F32,
        GgmlType::F16 => Encoding::F16,
        GgmlType::BF16 => Encoding::Bf16,
        kind => blocks(kind)?,
    };
    Ok(FileValues { map: map.clone(), start: info.offset as usize, encoding })
}

#[cfg(feature = "llama")]
fn blocks(kind: GgmlType) -> Result<Encoding> {
    let format = crate::llama::dequant::BlockType::new(kind.id)?;
    if (format.block_values() as u64, format.block_bytes() as u64) != (kind.block_values, kind.block_bytes) {
        return Err(Error::bug(format!("{}: ggml and the header disagree on its blocks", kind.name)));
    }
    Ok(Encoding::Blocks(format))
}

#[cfg(not(feature = "llama"))]
fn blocks(kind: GgmlType) -> Result<Encoding> {
    Err(Error::unsupported(format!("{} weights need the feature \"llama\"", kind.name)))
}

fn config(header: &Gguf, map: &Arc<Map>) -> Result<ModelConfig> {
    let arch = header.architecture()?;
    let family = Family::from_name(arch).map_err(|e| e.context(header.path().display()))?;
    let key = |name: &str| format!("{arch}.{name}");
    let unsupported =
        |name: &str| Error::unsupported(format!("{}: {} is not supported", header.path().display(), key(name)));
    let size = |name: &str| -> Result<Option<usize>> {
        match header.get(&key(name)) {
            None => Ok(None),
            Some(Value::Integer(v)) => Ok(usize::try_from(*v).ok()),
            Some(_) => Err(unsupported(name)),
        }
    };
    let need = |name: &str| size(name)?.ok_or_else(|| header.bad(format!("{} is missing", key(name))));
    let float = |name: &str| header.float(&key(name));

    let (dim, heads) = (need("embedding_length")?, need("attention.head_count")?);
    let head_dim = match size("attention.key_length")? {
        Some(n) => n,
        None => dim.checked_div(heads).unwrap_or(0),
    };
    if size("attention.value_length")?.is_some_and(|n| n != head_dim) {
        return Err(unsupported("attention.value_length"));
    }
    if size("rope.dimension_count")?.is_some_and(|n| n != head_dim) {
        return Err(unsupported("rope.dimension_count"));
    }
    if size("expert_count")?.is_some_and(|n| n > 0) {
        return Err(unsupported("expert_count"));
    }
    if header.text(&key("rope.scaling.type"))?.is_some_and(|t| t != "none")
        && float("rope.scaling.factor")?.is_some_and(|f| f != 1.0)
    {
        return Err(unsupported("rope.scaling.type"));
    }
    let gemma = family == Family::Gemma2;
    if !gemma && size("attention.sliding_window")?.is_some_and(|w| w > 0) {
        return Err(unsupported("attention.sliding_window"));
    }
    let embedding = header.tensor("token_embd.weight").ok_or_else(|| missing(header.path(), "token_embd.weight"))?;
    let layers = need("block_count")?;
    // llama.cpp's rule for Gemma2: the 27B model (46 layers) scales by its width per head.
    let attention_width = if gemma && layers == 46 { dim as f64 / heads as f64 } else { head_dim as f64 };
    let cap = |name: &str, initial: f64| -> Result<Option<f32>> {
        Ok(if gemma { Some(float(name)?.unwrap_or(initial) as f32) } else { None })
    };
    let config = ModelConfig {
        family,
        vocabulary: embedding.dims.get(1).map_or(0, |v| *v as usize),
        dim,
        layers,
        heads,
        kv_heads: size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        ffn: need("feed_forward_length")?,
        context: need("context_length")?,
        norm_eps: float("attention.layer_norm_rms_epsilon")?.unwrap_or(0.0) as f32,
        // GGUF stores 1 + w.
        norm_offset: 0.0,
        rope_theta: float("rope.freq_base")?.unwrap_or(10_000.0),
        rope_factors: rope_factors(header, map)?,
        rope_layout: if family == Family::Llama { RopeLayout::Pairs } else { RopeLayout::Half },
        tied: header.tensor("output.weight").is_none(),
        embedding_scale: if gemma { (dim as f32).sqrt() } else { 1.0 },
        attention_scale: (1.0 / attention_width.sqrt()) as f32,
        attention_cap: cap("attn_logit_softcapping", 50.0)?,
        logit_cap: cap("final_logit_softcapping", 30.0)?,
        window: if gemma { Some(size("attention.sliding_window")?.unwrap_or(4096)) } else { None },
    };
    config.check(header.path())?;
    Ok(config)
}

fn rope_factors(header: &Gguf, map: &Map) -> Result<Option<Vec<f32>>> {
    let Some(info) = header.tensor(ROPE_FACTORS) else { return Ok(None) };
    let range = info.offset as usize..(info.offset + info.bytes) as usize;
    match map.floats(range) {
        Some(values) if info.kind == GgmlType::F32 => Ok(Some(values.to_vec())),
        _ => Err(header.bad(format!("{ROPE_FACTORS} is not f32"))),
    }
}
