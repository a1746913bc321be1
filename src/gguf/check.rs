//! What a header must say for llama.cpp to run the model without aborting the process: an assertion or a C++ exception
//! on its side cannot be caught on ours, so each of these is checked before llama.cpp sees the file.

use super::{GgmlType, Gguf, List, Value, first_duplicate};
use crate::error::{Error, Result};

/// llama.cpp's bounds (`LLAMA_MAX_LAYERS`, `LLAMA_MAX_EXPERTS`).
const MAX_LAYERS: i64 = 512;
const MAX_EXPERTS: i64 = 1024;
/// No model of ours or anybody's is wider; a product of two such sizes still fits 64 bits.
const MAX_WIDTH: i64 = 1 << 20;
const MAX_VOCABULARY: usize = 1 << 22;

impl Gguf {
    /// Refuses a header that llama.cpp would abort on, and models that it cannot run from this one file.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] saying which key or tensor; [`crate::ErrorKind::Unsupported`] for split files.
    pub fn check_model(&self) -> Result<()> {
        let arch = self.architecture()?.to_string();
        if self.integer("split.count")?.unwrap_or(1) > 1 {
            return Err(Error::unsupported(format!(
                "{}: one part of a split model; join the parts with llama-gguf-split --merge",
                self.path().display()
            )));
        }
        self.check_sizes(&arch)?;
        self.check_floats(&arch)?;
        self.check_tensors()?;
        self.check_vocabulary()
    }

    /// True when the file has no weights at all: a vocabulary that can tokenise and nothing else.
    pub fn is_vocabulary_only(&self) -> bool {
        self.tensors().is_empty()
    }

    fn within(&self, key: &str, low: i64, high: i64) -> Result<Option<i64>> {
        match self.integer(key)? {
            Some(v) if v < low || v > high => Err(self.bad(format!("{key} is {v}; a model has {low} to {high}"))),
            other => Ok(other),
        }
    }
    /// A whole number, or one per layer.
    fn per_layer(&self, key: &str, low: i64, high: i64) -> Result<Option<i64>> {
        match self.get(key) {
            Some(Value::List(List::Integers(values))) => match values.iter().find(|v| **v < 0 || **v > high) {
                Some(v) => Err(self.bad(format!("{key} holds {v}; a model has {low} to {high}"))),
                None => Ok(None),
            },
            _ => self.within(key, low, high),
        }
    }

    fn check_sizes(&self, arch: &str) -> Result<()> {
        if self.is_vocabulary_only() {
            return Ok(());
        }
        let key = |name: &str| format!("{arch}.{name}");
        let need = |name: &str, high: i64| -> Result<i64> {
            self.within(&key(name), 1, high)?.ok_or_else(|| self.bad(format!("{arch}.{name} is missing")))
        };
        let layers = need("block_count", MAX_LAYERS)?;
        if layers as usize > self.tensors().len() {
            return Err(
                self.bad(format!("{arch}.block_count is {layers}, with {} tensors in all", self.tensors().len()))
            );
        }
        let width = need("embedding_length", MAX_WIDTH)?;
        need("context_length", i64::from(i32::MAX))?;
        self.within(&key("embedding_length_out"), 1, MAX_WIDTH)?;
        self.within(&key("nextn_predict_layers"), 0, layers - 1)?;
        self.per_layer(&key("feed_forward_length"), 0, 1 << 24)?;
        let heads = self.per_layer(&key("attention.head_count"), 1, 1 << 16)?;
        let kv_heads = self.per_layer(&key("attention.head_count_kv"), 1, 1 << 16)?;
        if let Some(heads) = heads {
            if let Some(kv) = kv_heads
                && heads % kv != 0
            {
                return Err(self.bad(format!("{arch}: {heads} heads cannot share {kv} key-value heads")));
            }
            let head_width = self.within(&key("attention.key_length"), 1, 1 << 16)?;
            if head_width.is_none() && width % heads != 0 {
                return Err(self.bad(format!("{arch}: a width of {width} does not divide into {heads} heads")));
            }
            self.within(&key("attention.value_length"), 1, 1 << 16)?;
            let head_width = head_width.unwrap_or(width / heads);
            if let Some(rotated) = self.within(&key("rope.dimension_count"), 0, 1 << 16)?
                && (rotated % 2 != 0 || rotated > head_width)
            {
                return Err(self.bad(format!("{arch}.rope.dimension_count is {rotated} of a head of {head_width}")));
            }
        }
        self.within(&key("pooling_type"), 0, 4)?;
        self.per_layer(&key("attention.sliding_window"), 0, i64::from(i32::MAX))?;
        self.within(&key("rope.scaling.original_context_length"), 0, i64::from(i32::MAX))?;
        let experts = self.within(&key("expert_count"), 0, MAX_EXPERTS)?.unwrap_or(0);
        let used = self.per_layer(&key("expert_used_count"), 0, experts)?;
        if experts > 0 && used == Some(0) {
            return Err(self.bad(format!("{arch}.expert_used_count is 0 of {experts} experts")));
        }
        let groups = self.within(&key("expert_group_count"), 0, (experts - 1).max(0))?.unwrap_or(0);
        let used = self.within(&key("expert_group_used_count"), 0, (groups - 1).max(0))?.unwrap_or(0);
        if groups > 1 && (experts % groups != 0 || used == 0) {
            return Err(self.bad(format!("{arch}: {experts} experts in {groups} groups, {used} used")));
        }
        match self.text(&key("rope.scaling.type"))? {
            None | Some("none" | "linear" | "yarn" | "longrope") => Ok(()),
            Some(other) => Err(self.bad(format!("{arch}.rope.scaling.type is {other:?}, which is unknown"))),
        }
    }

    /// Every number that goes into the arithmetic is finite; the ones that are divided by, or under a root, are sound.
    fn check_floats(&self, arch: &str) -> Result<()> {
        for (key, value) in self.entries() {
            let Some(name) = key.strip_prefix(arch).and_then(|rest| rest.strip_prefix('.')) else { continue };
            if let Value::List(List::Floats(values)) = value
                && values.iter().any(|v| !v.is_finite())
            {
                return Err(self.bad(format!("{key} holds NaN or an infinity")));
            }
            let is_float = name.ends_with("epsilon") || name == "rope.freq_base";
            let number = match value {
                Value::Float(v) => *v,
                _ if is_float => return Err(self.bad(format!("{key} is no float"))),
                _ => continue,
            };
            if !number.is_finite() {
                return Err(self.bad(format!("{key} is {number}")));
            }
            if name.ends_with("epsilon") && !(0.0..1.0).contains(&number) {
                return Err(self.bad(format!("{key} is {number}; a norm's epsilon is at least 0 and far below 1")));
            }
            if name == "rope.freq_base" && number <= 0.0 {
                return Err(self.bad(format!("{key} is {number}; it must be above 0")));
            }
        }
        Ok(())
    }

    pub(crate) fn check_tensors(&self) -> Result<()> {
        for tensor in self.tensors() {
            // llama.cpp has no arithmetic for these as weights: integers, and the types of activations.
            if matches!(tensor.kind.name, "i8" | "i16" | "i32" | "i64" | "f64" | "q8_1" | "q8_K") {
                return Err(self.bad(format!("tensor {:?} has type {}: no weight", tensor.name, tensor.kind.name)));
            }
            if tensor.dims.len() == 1 && tensor.kind != GgmlType::F32 {
                let cause =
                    format!("tensor {:?} is a vector of type {}; vectors are f32", tensor.name, tensor.kind.name);
                return Err(self.bad(cause));
            }
            if tensor.dims.iter().any(|d| *d > i32::MAX as u64) {
                return Err(self.bad(format!("tensor {:?} has the sizes {:?}", tensor.name, tensor.dims)));
            }
        }
        Ok(())
    }

    fn check_vocabulary(&self) -> Result<()> {
        let Some(model) = self.text("tokenizer.ggml.model")? else {
            return Err(self.bad("no tokenizer.ggml.model: the file has no vocabulary"));
        };
        if matches!(model, "no_vocab" | "none") {
            return Err(self.bad("tokenizer.ggml.model is none: texts cannot be read without a vocabulary"));
        }
        let tokens =
            self.texts("tokenizer.ggml.tokens")?.ok_or_else(|| self.bad("tokenizer.ggml.tokens is missing"))?;
        if tokens.is_empty() || tokens.len() > MAX_VOCABULARY {
            return Err(self.bad(format!("a vocabulary of {} tokens", tokens.len())));
        }
        // llama.cpp names an empty token after its place; two of them are therefore no duplicates.
        let empty_free: Vec<String> = tokens
            .iter()
            .enumerate()
            .map(|(i, t)| if t.is_empty() { format!("[EMPTY_{i}]") } else { t.clone() })
            .collect();
        if let Some((at, token)) = first_duplicate(&empty_free) {
            return Err(self.bad(format!("the vocabulary has the token {token:?} twice, again at {at}")));
        }
        if let Some(scores) = self.list("tokenizer.ggml.scores")? {
            let numbers = matches!(scores, List::Floats(_) | List::Integers(_));
            let finite = !matches!(scores, List::Floats(v) if v.iter().any(|s| s.is_nan()));
            if !numbers || !finite || scores.len() < tokens.len() {
                return Err(self.bad("tokenizer.ggml.scores does not hold one number per token"));
            }
        }
        let kinds = match self.list("tokenizer.ggml.token_type")? {
            None => None,
            Some(List::Integers(kinds)) if kinds.len() >= tokens.len() => Some(kinds),
            Some(_) => return Err(self.bad("tokenizer.ggml.token_type does not hold one number per token")),
        };
        if let Some(kinds) = kinds {
            const BYTE: i64 = 6;
            let broken = tokens.iter().zip(kinds).find(|(t, k)| **k == BYTE && byte_of(t).is_none());
            if let Some((token, _)) = broken {
                return Err(self.bad(format!("the byte token {token:?} is not of the form <0x0A>")));
            }
        }
        let special = |name: &str, initial: i64| -> Result<bool> {
            let in_range = |id: i64| id >= 0 && (id as usize) < tokens.len();
            let given = self.integer(&format!("tokenizer.ggml.{name}_token_id"))?;
            Ok(given.is_some_and(in_range) || in_range(initial))
        };
        let adds = |name: &str| self.bool(&format!("tokenizer.ggml.add_{name}_token"));
        match model {
            "llama" => {
                let set: std::collections::HashSet<&str> = tokens.iter().map(String::as_str).collect();
                let missing = (0u8..=255).find(|b| {
                    let plain = if b.is_ascii() { char::from(*b).to_string() } else { String::new() };
                    !set.contains(format!("<0x{b:02X}>").as_str()) && !set.contains(plain.as_str())
                });
                if let Some(byte) = missing {
                    return Err(self.bad(format!("a \"llama\" tokenizer without a token for the byte <0x{byte:02X}>")));
                }
                if adds("bos")?.unwrap_or(true) && !special("bos", 1)? {
                    return Err(self.bad("the tokenizer wants a BOS token and has none"));
                }
                if adds("eos")?.unwrap_or(false) && !special("eos", 2)? {
                    return Err(self.bad("the tokenizer wants an EOS token and has none"));
                }
            }
            "bert" => {
                if !special("bos", 101)? || !special("seperator", 102)? && !special("separator", 102)? {
                    return Err(self.bad("a \"bert\" tokenizer without its [CLS] and [SEP] tokens"));
                }
            }
            _ => {
                let initial = if model == "gpt2" { 11 } else { -1 };
                let eos = if model == "t5" { 1 } else { initial };
                if adds("bos")?.unwrap_or(false) && !special("bos", initial)? {
                    return Err(self.bad("the tokenizer wants a BOS token and has none"));
                }
                if adds("eos")?.unwrap_or(model == "t5") && !special("eos", eos)? {
                    return Err(self.bad("the tokenizer wants an EOS token and has none"));
                }
            }
        }
        if let Some(merges) = self.list("tokenizer.ggml.merges")?
            && !matches!(merges, List::Texts(_))
        {
            return Err(self.bad("tokenizer.ggml.merges is no list of texts"));
        }
        Ok(())
    }
}

/// The byte that `<0x0A>` stands for.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}
