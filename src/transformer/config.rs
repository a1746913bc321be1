//! The description of one decoder of the family, read from Hugging Face's `config.json` (older and newer spelling).

use super::activation::Activation;
use super::attention::AttentionShape;
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// Which architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 2, 3, 3.1, 3.2.
    Llama,
    /// Qwen2, Qwen2.5: biases on q, k, v.
    Qwen2,
    /// Qwen3: norms on each head of q and k.
    Qwen3,
    /// Gemma2: sandwich norms, soft caps, every other layer with a window.
    Gemma2,
}

impl Family {
    /// The name in `config.json` (`model_type`) and in GGUF (`general.architecture`).
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Gemma2 => "gemma2",
        }
    }
    /// The family of that name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`].
    pub fn from_name(name: &str) -> Result<Family> {
        let all = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma2];
        all.into_iter().find(|f| f.name() == name).ok_or_else(|| {
            Error::unsupported(format!("architecture {name:?}: causerie tunes llama, qwen2, qwen3 and gemma2"))
        })
    }
}

/// Which values of a head are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// i with i + n/2.
    Half,
    /// 2i with 2i + 1: how GGUF stores Llama.
    Pairs,
}

/// One architecture with its sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which architecture.
    pub family: Family,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Width of the MLP.
    pub ffn: usize,
    /// Most positions of a sequence.
    pub context: usize,
    /// Epsilon of the norms.
    pub norm_eps: f32,
    /// What is added to a norm's weight: 1 for Gemma's files from Hugging Face, else 0 (GGUF stores the sum).
    pub norm_offset: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Divisors of the frequencies, `[head_dim / 2]` (Llama 3's scaling).
    pub rope_factors: Option<Vec<f32>>,
    /// Which values of a head are turned together.
    pub rope_layout: RopeLayout,
    /// The head is the embedding, transposed.
    pub tied: bool,
    /// The embedding is multiplied by this.
    pub embedding_scale: f32,
    /// Scale of the attention scores.
    pub attention_scale: f32,
    /// Soft cap of the attention scores.
    pub attention_cap: Option<f32>,
    /// Soft cap of the logits.
    pub logit_cap: Option<f32>,
    /// Keys that a query sees in the layers with a window.
    pub window: Option<usize>,
}

impl ModelConfig {
    /// The gate's activation.
    pub fn activation(&self) -> Activation {
        match self.family {
            Family::Llama | Family::Qwen2 | Family::Qwen3 => Activation::SwiGlu,
            Family::Gemma2 => Activation::GeGluTanh,
        }
    }
    /// Gemma2 normalises the output of attention and MLP too.
    pub fn sandwich(&self) -> bool {
        self.family == Family::Gemma2
    }
    /// Qwen2 adds biases to q, k, v.
    pub fn qkv_bias(&self) -> bool {
        self.family == Family::Qwen2
    }
    /// Qwen3 normalises each head of q and k.
    pub fn qk_norm(&self) -> bool {
        self.family == Family::Qwen3
    }
    /// The attention of `layer`. Gemma2: the window is on layers 0, 2, 4, …
    pub(super) fn attention(&self, layer: usize) -> AttentionShape {
        AttentionShape {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.attention_scale,
            cap: self.attention_cap,
            window: self.window.filter(|_| layer.is_multiple_of(2)),
        }
    }

    /// From the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] for what is missing or does not hold together, [`crate::ErrorKind::Unsupported`]
    /// for what causerie does not compute.
    pub fn from_hf(text: &str, path: &Path) -> Result<ModelConfig> {
        let json: Value = serde_json::from_str(text).map_err(|e| Error::format(path, 0, e))?;
        let fields = Fields { json: &json, path };
        let family = Family::from_name(fields.text("model_type")?)?;
        for (key, refused) in
            [("attention_bias", family != Family::Qwen2), ("mlp_bias", true), ("use_sliding_window", true)]
        {
            if refused && json[key] == Value::Bool(true) {
                return Err(fields.unsupported(key));
            }
        }
        let activation = ["hidden_activation", "hidden_act"].iter().find_map(|k| json[k].as_str()).unwrap_or("silu");
        let expected = if family == Family::Gemma2 { "gelu_pytorch_tanh" } else { "silu" };
        if activation != expected {
            return Err(fields.unsupported("hidden_act"));
        }
        // Newer files: everything in rope_parameters; older ones: rope_theta beside rope_scaling.
        let newer = &json["rope_parameters"];
        let scaling = if newer.is_object() { newer } else { &json["rope_scaling"] };
        let rope = Fields { json: scaling, path };
        let theta = if newer.is_object() { &newer["rope_theta"] } else { &json["rope_theta"] };
        let rope_theta = theta.as_f64().unwrap_or(10_000.0);
        let (dim, heads) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
        let head_dim = fields.optional_size("head_dim")?.unwrap_or(dim.checked_div(heads).unwrap_or(0));
        let kind = scaling["rope_type"].as_str().or(scaling["type"].as_str()).unwrap_or("default");
        let rope_factors = match kind {
            "default" => None,
            "llama3" => {
                let scaling = Llama3Scaling {
                    factor: rope.number("factor")?,
                    low: rope.number("low_freq_factor")?,
                    high: rope.number("high_freq_factor")?,
                    context: rope.number("original_max_position_embeddings")?,
                };
                Some(scaling.factors(rope_theta, head_dim))
            }
            _ => return Err(fields.unsupported("rope_scaling")),
        };
        let gemma = family == Family::Gemma2;
        let attention_width = if gemma { fields.number("query_pre_attn_scalar")? } else { head_dim as f64 };
        let optional = |key: &str| json[key].as_f64().map(|v| v as f32);
        let config = ModelConfig {
            family,
            vocabulary: fields.size("vocab_size")?,
            dim,
            layers: fields.size("num_hidden_layers")?,
            heads,
            kv_heads: fields.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            ffn: fields.size("intermediate_size")?,
            context: fields.optional_size("max_position_embeddings")?.unwrap_or(2048),
            norm_eps: fields.number("rms_norm_eps")? as f32,
            norm_offset: if gemma { 1.0 } else { 0.0 },
            rope_theta,
            rope_factors,
            rope_layout: RopeLayout::Half,
            // transformers' default where the key is absent: tied for Gemma, untied for the others.
            tied: json["tie_word_embeddings"].as_bool().unwrap_or(gemma),
            embedding_scale: if gemma { (dim as f32).sqrt() } else { 1.0 },
            attention_scale: (1.0 / attention_width.sqrt()) as f32,
            attention_cap: if gemma { optional("attn_logit_softcapping") } else { None },
            logit_cap: if gemma { optional("final_logit_softcapping") } else { None },
            window: if gemma { fields.optional_size("sliding_window")? } else { None },
        };
        config.check(path)?;
        Ok(config)
    }

    /// Refuses sizes that no model has, before anything is allocated by them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`].
    pub fn check(&self, path: &Path) -> Result<()> {
        let wrong = |what: &str| Err(Error::format(path, 0, format!("not a usable model: {what}")));
        let sizes = [self.vocabulary, self.dim, self.heads, self.kv_heads, self.head_dim, self.ffn, self.context];
        if sizes.iter().any(|s| *s == 0 || *s > 1 << 24) || self.layers == 0 || self.layers > 1 << 10 {
            return wrong("a size is 0 or absurdly large");
        }
        if !self.heads.is_multiple_of(self.kv_heads)
            || !self.head_dim.is_multiple_of(2)
            || self.heads * self.head_dim > 1 << 24
        {
            return wrong("its heads do not divide");
        }
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if !positive(self.norm_eps.into()) || !positive(self.rope_theta) || !positive(self.attention_scale.into()) {
            return wrong("norm epsilon, rope base and attention scale must be above 0");
        }
        if self.attention_cap.iter().chain(&self.logit_cap).any(|c| !positive((*c).into())) || self.window == Some(0) {
            return wrong("caps and window must be above 0");
        }
        let factors_fit = |f: &Vec<f32>| f.len() == self.head_dim / 2 && f.iter().all(|v| positive((*v).into()));
        if !self.rope_factors.as_ref().is_none_or(factors_fit) {
            return wrong("its rope factors are not head_dim / 2 numbers above 0");
        }
        Ok(())
    }

    /// Numbers of a model of this shape, embeddings and an own head included.
    pub fn parameters(&self) -> usize {
        let attention = 2 * self.dim * self.head_dim * (self.heads + self.kv_heads);
        let layer = attention + 3 * self.dim * self.ffn + 2 * self.dim;
        self.layers * layer + self.vocabulary * self.dim * if self.tied { 1 } else { 2 } + self.dim
    }

    #[cfg(test)]
    pub(crate) fn tiny() -> ModelConfig {
        ModelConfig {
            family: Family::Llama,
            vocabulary: 50,
            dim: 16,
            layers: 2,
            heads: 2,
            kv_heads: 1,
            head_dim: 8,
            ffn: 24,
            context: 64,
            norm_eps: 1e-5,
            norm_offset: 0.0,
            rope_theta: 1e4,
            rope_factors: None,
            rope_layout: RopeLayout::Half,
            tied: true,
            embedding_scale: 1.0,
            attention_scale: 0.35,
            attention_cap: None,
            logit_cap: None,
            window: None,
        }
    }
}

/// Llama 3's stretching of the low frequencies.
struct Llama3Scaling {
    factor: f64,
    low: f64,
    high: f64,
    context: f64,
}

impl Llama3Scaling {
    /// The divisors: 1 for wavelengths below context/high, `factor` above context/low, and in between a mixture.
    fn factors(&self, theta: f64, head_dim: usize) -> Vec<f32> {
        (0..head_dim / 2)
            .map(|i| {
                let wavelength = std::f64::consts::TAU * theta.powf(2.0 * i as f64 / head_dim as f64);
                let mix = (self.context / wavelength - self.low) / (self.high - self.low);
                let mix = mix.clamp(0.0, 1.0);
                (1.0 / ((1.0 - mix) / self.factor + mix)) as f32
            })
            .collect()
    }
}

/// Reading of a JSON object with messages that name file and key.
struct Fields<'a> {
    json: &'a Value,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    fn missing(&self, key: &str, what: &str) -> Error {
        Error::format(self.path, 0, format!("{key:?} is missing or not {what}"))
    }
    fn unsupported(&self, key: &str) -> Error {
        let value = &self.json[key];
        Error::unsupported(format!("{}: {key} = {value} is not supported", self.path.display()))
    }
    fn text(&self, key: &str) -> Result<&'a str> {
        self.json[key].as_str().ok_or_else(|| self.missing(key, "a text"))
    }
    fn number(&self, key: &str) -> Result<f64> {
        self.json[key].as_f64().ok_or_else(|| self.missing(key, "a number"))
    }
    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key, "a whole number"))
    }
    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match &self.json[key] {
            Value::Null => Ok(None),
            value => match value.as_u64().and_then(|v| usize::try_from(v).ok()) {
                Some(v) => Ok(Some(v)),
                None => Err(self.missing(key, "a whole number")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_spelling_say_the_same() {
        for family in ["llama", "qwen2", "qwen3", "gemma2"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(family);
            let read = |name: &str| {
                let path = folder.join(name);
                ModelConfig::from_hf(&std::fs::read_to_string(&path).unwrap(), &path).unwrap()
            };
            assert_eq!(read("config.json"), read("config_v4.json"));
        }
    }

    #[test]
    fn what_is_not_computed_is_refused_and_so_are_absurd_sizes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/llama/config.json");
        let good: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for (key, value) in [
            ("model_type", Value::from("mamba")),
            ("mlp_bias", Value::from(true)),
            ("hidden_act", Value::from("relu")),
            ("rope_parameters", serde_json::json!({"rope_type": "yarn", "rope_theta": 1e4})),
            ("num_key_value_heads", Value::from(3)),
            ("num_key_value_heads", Value::from(0)),
            ("num_hidden_layers", Value::from(1u64 << 40)),
            ("hidden_size", Value::from(-1)),
            ("rms_norm_eps", Value::from(-1.0)),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(ModelConfig::from_hf(&bad.to_string(), &path).is_err(), "{key}");
        }
    }
}
