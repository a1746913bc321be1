//! The student beside llama.cpp on the same files: logits and mean loss, base, quantised, adapted, exported.
//!
//! Two sources of difference: llama.cpp rounds activations to 8 bits before it multiplies them with a quantised weight
//! (f16 weights: to f16), we do not; and it sums in another order. Hence a tolerance for each kind of weight: the first is
//! for f32 weights (sums only), the others follow from rounding activations to 1 part in 254 of their block's largest,
//! which measured here moves a logit by up to the figure given, and the mean loss by a tenth of it.

use super::*;
use crate::Run;
use crate::llama::{self, Quantisation};
use crate::math::Random;
use crate::testing::shared;
use std::path::Path;

/// Logits of every position of `tokens`, by llama.cpp with exact attention.
fn llama_logits(path: &Path, adapter: Option<&Path>, tokens: &[u32]) -> Vec<f32> {
    let model = llama::Model::load(path).unwrap();
    let options = llama::ContextOptions {
        tokens: tokens.len(),
        batch_tokens: tokens.len(),
        sequences: 1,
        pooling: llama::Pooling::Logits,
        exact: true,
    };
    let run = Run::new(2).unwrap();
    let mut context = llama::Context::new(&model, options, &run).unwrap();
    if let Some(path) = adapter {
        context.set_adapters(&[(llama::Adapter::load(&model, path).unwrap(), 1.0)]).unwrap();
    }
    let mut batch = llama::Batch::default();
    tokens.iter().enumerate().for_each(|(i, t)| batch.push(*t as i32, i, 0, true));
    context.run_batch(&batch, &run).unwrap();
    (0..tokens.len()).flat_map(|i| context.logits(i).unwrap().to_vec()).collect()
}

fn our_logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    Run::new(2).unwrap().install(|| {
        let mut batch = Batch::default();
        batch.push(tokens, &vec![true; tokens.len()]);
        let forward = model.forward(&batch, Keep::Nothing, None).unwrap();
        model.logits(&model.final_norm(&forward.state))
    })
}

fn mean_loss(logits: &[f32], tokens: &[u32]) -> f64 {
    let width = logits.len() / tokens.len();
    let losses = logits.chunks_exact(width).zip(&tokens[1..]).map(|(row, next)| {
        let mut p: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
        crate::math::softmax(&mut p, 1.0);
        -p[*next as usize].ln()
    });
    losses.sum::<f64>() / (tokens.len() - 1) as f64
}

fn agree(what: &str, ours: &[f32], theirs: &[f32], tokens: &[u32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let worst = ours.iter().zip(theirs).fold(0f32, |a, (x, y)| a.max((x - y).abs()));
    let (a, b) = (mean_loss(ours, tokens), mean_loss(theirs, tokens));
    assert!(worst <= tolerance, "{what}: a logit differs by {worst}");
    assert!((a - b).abs() <= f64::from(tolerance) / 10.0, "{what}: mean loss {a}, llama.cpp has {b}");
}

/// For f32 weights. ggml takes GELU from a table of half floats, good to 1 part in 2048.
fn float_tolerance(family: Family) -> f32 {
    if family == Family::Gemma2 { 4e-3 } else { 2e-4 }
}

fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    let mut random = Random::new(3, b"tokens");
    (0..count).map(|_| random.below(vocabulary) as u32).collect()
}

/// A small Llama for the tests of other rooms.
pub(crate) fn write_test_model(path: &Path) {
    write_random(path, Family::Llama);
}

/// A model of random weights, large enough that every part shows, as a GGUF whose vocabulary reads printable ASCII.
fn write_random(path: &Path, family: Family) -> Model {
    write_random_with(path, family, family == Family::Llama)
}

/// The same, with or without divisors of the rotary frequencies.
fn write_random_with(path: &Path, family: Family, rope_factors: bool) -> Model {
    let mut config = ModelConfig::tiny();
    (config.family, config.vocabulary, config.dim, config.ffn) = (family, 300, 256, 512);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 64);
    config.attention_scale = 0.125;
    config.rope_layout = if family == Family::Llama { RopeLayout::Pairs } else { RopeLayout::Half };
    config.tied = family != Family::Qwen2;
    if family == Family::Gemma2 {
        config.embedding_scale = 16.0;
        (config.attention_cap, config.logit_cap, config.window) = (Some(3.0), Some(4.0), Some(8));
    }
    if rope_factors {
        config.rope_factors = Some((0..32).map(|i| 1.0 + i as f32 * 0.2).collect());
    }
    let mut model = Model::random(config, 4).unwrap();
    let mut random = Random::new(9, b"noise");
    for tensor in &mut model.tensors {
        let Storage::F32(values) = &mut tensor.storage else { unreachable!() };
        let scale = if tensor.rows == 1 { 0.2 } else { 0.07 };
        values.iter_mut().for_each(|v| *v += (random.normal() * scale) as f32);
    }
    let mut metadata = Metadata::default();
    metadata.llama(&model.config);
    let arch = family.name();
    if let (Some(a), Some(l), Some(w)) = (model.config.attention_cap, model.config.logit_cap, model.config.window) {
        metadata.float(&format!("{arch}.attn_logit_softcapping"), a);
        metadata.float(&format!("{arch}.final_logit_softcapping"), l);
        metadata.integer(&format!("{arch}.attention.sliding_window"), w as u32);
    }
    metadata.text("tokenizer.ggml.model", "gpt2");
    metadata.text("tokenizer.ggml.pre", "llama-bpe");
    let name = |i: u8| match i {
        10 => "\u{10a}".to_string(),
        32 => "\u{120}".to_string(),
        33..=126 => char::from(i).to_string(),
        _ => format!("t{i}"),
    };
    let names: Vec<String> = (0..300u16).map(|i| u8::try_from(i).map_or_else(|_| format!("t{i}"), name)).collect();
    metadata.texts("tokenizer.ggml.tokens", names.iter().map(String::as_str));
    metadata.integers("tokenizer.ggml.token_type", &[1; 300]);
    metadata.texts("tokenizer.ggml.merges", ["t1 t2"].into_iter());
    metadata.integer("tokenizer.ggml.bos_token_id", 0);
    metadata.integer("tokenizer.ggml.eos_token_id", 1);
    model.write_gguf(path, &metadata, Precision::F32).unwrap();
    model
}

#[test]
fn every_architecture_and_kind_of_weight_agrees_with_llama_cpp() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma2] {
        let base = folder.path().join("base.gguf");
        let written = write_random(&base, family);
        let tokens = tokens(40, 300);
        assert_eq!(our_logits(&written, &tokens), our_logits(&Model::from_gguf(&base).unwrap(), &tokens));
        for (kind, tolerance) in [
            (None, float_tolerance(family)),
            (Some(Quantisation::F16), 2e-2),
            (Some(Quantisation::Q8_0), 0.3),
            (Some(Quantisation::Q4KM), 0.4),
            (Some(Quantisation::Q6K), 0.4),
        ] {
            let path = match kind {
                None => base.clone(),
                Some(kind) => {
                    let path = folder.path().join("quantised.gguf");
                    llama::quantise(&base, &path, kind, 2).unwrap();
                    path
                }
            };
            let ours = our_logits(&Model::from_gguf(&path).unwrap(), &tokens);
            agree(&format!("{family:?} {kind:?}"), &ours, &llama_logits(&path, None, &tokens), &tokens, tolerance);
        }
    }
}

#[test]
fn a_trained_small_model_agrees_with_llama_cpp() {
    let Some(path) = shared("models/stories260K.gguf") else { return };
    let folder = tempfile::tempdir().unwrap();
    let text =
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her dog.";
    let tokens = llama::Model::load(&path).unwrap().tokenise(text, true, false).unwrap();
    let tokens: Vec<u32> = tokens.into_iter().map(|t| t as u32).collect();
    let ours = our_logits(&Model::from_gguf(&path).unwrap(), &tokens);
    agree("stories260K", &ours, &llama_logits(&path, None, &tokens), &tokens, 1e-3);
    assert!(mean_loss(&ours, &tokens) < 2.5, "a trained model predicts its own kind of text");
    let quantised = folder.path().join("q8.gguf");
    llama::quantise(&path, &quantised, Quantisation::Q8_0, 2).unwrap();
    let ours = our_logits(&Model::from_gguf(&quantised).unwrap(), &tokens);
    agree("stories260K Q8_0", &ours, &llama_logits(&quantised, None, &tokens), &tokens, 0.4);
}

#[test]
fn adapters_and_merged_models_are_the_same_model_in_llama_cpp_and_in_peft() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Llama, Family::Gemma2] {
        let (base, adapter) = (folder.path().join("base.gguf"), folder.path().join("adapter.gguf"));
        write_random(&base, family);
        let mut model = Model::from_gguf(&base).unwrap();
        let settings = LoraSettings {
            rank: 4,
            alpha: 8.0,
            dropout: 0.0,
            targets: LoraSettings::PROJECTIONS.to_vec(),
            layers: 0..99,
            seed: 1,
        };
        model.add_lora(settings).unwrap();
        assert!(model.write_adapter(&adapter).unwrap_err().message().contains("changes nothing"));
        let mut random = Random::new(2, b"b");
        for tensor in model.tensors.iter_mut().filter(|t| t.place.lora == Some(LoraHalf::B)) {
            let Storage::F32(values) = &mut tensor.storage else { unreachable!() };
            values.iter_mut().for_each(|v| *v = (random.normal() * 0.1) as f32);
        }
        let tokens = tokens(40, 300);
        let ours = our_logits(&model, &tokens);
        let plain = our_logits(&Model::from_gguf(&base).unwrap(), &tokens);
        assert!(ours.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 0.05), "the adapter shows");
        model.write_adapter(&adapter).unwrap();
        agree("adapter", &ours, &llama_logits(&base, Some(&adapter), &tokens), &tokens, float_tolerance(family));
        let merged = folder.path().join("merged.gguf");
        let metadata = Metadata::of(&Map::open(&base).unwrap()).unwrap();
        model.write_gguf(&merged, &metadata, Precision::F32).unwrap();
        agree("merged", &ours, &llama_logits(&merged, None, &tokens), &tokens, float_tolerance(family));
        model.write_peft(&folder.path().join("peft"), "base").unwrap();
        let mut again = Model::from_gguf(&base).unwrap();
        again.add_peft(&folder.path().join("peft")).unwrap();
        assert_eq!(again.lora().unwrap().rank, 4);
        assert_eq!(our_logits(&again, &tokens), ours, "PEFT's order of rows is undone when it is read");
    }
}

#[test]
fn hostile_adapters_are_refused_before_they_take_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (base, adapter) = (folder.path().join("base.gguf"), folder.path().join("adapter.gguf"));
    write_random(&base, Family::Llama);
    let plain = Model::from_gguf(&base).unwrap();
    let mut model = plain.clone();
    let targets = vec![Part::Q, Part::Down];
    model.add_lora(LoraSettings { rank: 4, alpha: 8.0, dropout: 0.0, targets, layers: 0..2, seed: 1 }).unwrap();
    for tensor in model.tensors.iter_mut().filter(|t| t.place.lora == Some(LoraHalf::B)) {
        let Storage::F32(values) = &mut tensor.storage else { unreachable!() };
        values.fill(0.5);
    }
    model.write_adapter(&adapter).unwrap();
    let bytes = std::fs::read(&adapter).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&adapter, bytes).unwrap();
        plain.clone().add_adapter(&adapter).unwrap_err().message().to_string()
    };
    for length in [0, 7, 40, 400, bytes.len() / 2, bytes.len() - 1] {
        refused(&bytes[..length]);
    }
    let with = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to);
        changed
    };
    // A tensor that the model does not have; one half without the other; values that are none.
    assert!(refused(&with(b"blk.1.ffn_down.weight.lora_a", b"blk.7.ffn_down.weight.lora_a")).contains("blk.7"));
    assert!(!refused(&with(b"blk.1.ffn_down.weight.lora_a", b"blk.1.ffn_gate.weight.lora_a")).is_empty());
    let mut nan = bytes.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused(&nan).contains("NaN"));
    // PEFT: a rank that its tensors do not have, another kind of adapter, a shape of another model.
    let peft = folder.path().join("peft");
    model.write_peft(&peft, "base").unwrap();
    let settings = peft.join("adapter_config.json");
    let text = std::fs::read_to_string(&settings).unwrap();
    for (from, to) in [("\"r\": 4", "\"r\": 60000"), ("\"LORA\"", "\"IA3\""), ("\"q_proj\"", "\"v_proj\"")] {
        assert!(text.contains(from), "{text}");
        std::fs::write(&settings, text.replace(from, to)).unwrap();
        assert!(plain.clone().add_peft(&peft).is_err(), "{from} as {to}");
    }
    std::fs::write(&settings, text).unwrap();
    plain.clone().add_peft(&peft).unwrap();
}

#[test]
fn truncated_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.gguf");
    write_random(&path, Family::Llama);
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 3, 20, 500, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(Model::from_gguf(&path).is_err(), "{length} bytes");
    }
    std::fs::write(&path, &bytes).unwrap();
    // A tensor under a name that the network does not have: it would silently not be computed.
    let at = bytes.windows(15).position(|w| w == b"blk.1.ffn_gate.").unwrap();
    let mut renamed = bytes.clone();
    renamed[at + 6..at + 14].copy_from_slice(b"ffn_gatx");
    std::fs::write(&path, &renamed).unwrap();
    assert!(Model::from_gguf(&path).is_err());
}

/// Writes the base of `model`, which came from a GGUF, as a Hugging Face folder.
fn write_hf(model: &Model, folder: &Path) {
    use super::gguf_out::{Order, reorder_rows};
    use safetensors::tensor::{Dtype, TensorView};
    std::fs::create_dir_all(folder).unwrap();
    let c = &model.config;
    let gemma = c.family == Family::Gemma2;
    let own = model.tensors.iter().filter(|t| t.place.lora.is_none());
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = own
        .map(|t| {
            let mut values = reorder_rows(c, t.place.part, t.to_floats(), t.cols, Order::ToHf);
            if gemma && t.rows == 1 {
                values.iter_mut().for_each(|v| *v -= 1.0);
            }
            let shape = if t.rows == 1 { vec![t.cols] } else { vec![t.rows, t.cols] };
            (t.place.hf_name(c.family), shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let views: Vec<_> =
        tensors.iter().map(|(n, s, b)| (n, TensorView::new(Dtype::F32, s.clone(), b).unwrap())).collect();
    let metadata = std::collections::HashMap::from([("format".to_string(), "pt".to_string())]);
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
    let (kind, class) = match c.family {
        Family::Llama => ("llama", "LlamaForCausalLM"),
        Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
        Family::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        Family::Gemma2 => ("gemma2", "Gemma2ForCausalLM"),
    };
    let mut config = serde_json::json!({
        "model_type": kind, "architectures": [class], "vocab_size": c.vocabulary, "hidden_size": c.dim,
        "intermediate_size": c.ffn, "num_hidden_layers": c.layers, "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads, "head_dim": c.head_dim, "max_position_embeddings": c.context,
        "rms_norm_eps": c.norm_eps, "rope_theta": c.rope_theta, "tie_word_embeddings": c.tied,
        "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu",
    });
    if gemma {
        config["hidden_activation"] = "gelu_pytorch_tanh".into();
        config["hidden_act"] = "gelu_pytorch_tanh".into();
        config["query_pre_attn_scalar"] = ((1.0 / c.attention_scale.powi(2)).round() as u64).into();
        config["attn_logit_softcapping"] = c.attention_cap.into();
        config["final_logit_softcapping"] = c.logit_cap.into();
        config["sliding_window"] = c.window.into();
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// An adapter tuned over a GGUF, loaded by PEFT over the Hugging Face form of the same base: the same logits. Needs Python
/// with torch, transformers and peft.
#[test]
fn peft_computes_what_we_do_with_an_exported_adapter() {
    let Some(python) = std::env::var_os("CAUSERIE_PYTHON") else {
        eprintln!("skipped: CAUSERIE_PYTHON names no Python with torch, transformers and peft");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/peft_logits.py");
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma2] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write_random_with(&at("base.gguf"), family, false);
        let mut model = Model::from_gguf(&at("base.gguf")).unwrap();
        let targets = LoraSettings::PROJECTIONS.to_vec();
        let layers = if family == Family::Llama { 1..2 } else { 0..99 };
        model.add_lora(LoraSettings { rank: 4, alpha: 8.0, dropout: 0.1, targets, layers, seed: 1 }).unwrap();
        let mut random = Random::new(2, b"b");
        for tensor in model.tensors.iter_mut().filter(|t| t.place.lora == Some(LoraHalf::B)) {
            let Storage::F32(values) = &mut tensor.storage else { unreachable!() };
            values.iter_mut().for_each(|v| *v = (random.normal() * 0.1) as f32);
        }
        write_hf(&model, &at("hf"));
        model.write_peft(&at("peft"), "base").unwrap();
        let tokens = tokens(40, 300);
        // Our own reading of the Hugging Face folder and of the PEFT folder, first.
        let ours = our_logits(&model, &tokens);
        let mut again = Model::from_hf(&at("hf")).unwrap();
        again.add_peft(&at("peft")).unwrap();
        agree("from_hf", &ours, &our_logits(&again, &tokens), &tokens, 2e-4);
        std::fs::write(at("tokens.json"), serde_json::to_string(&tokens).unwrap()).unwrap();
        let done = std::process::Command::new(&python)
            .arg(&script)
            .args([at("hf"), at("peft"), at("tokens.json"), at("logits.f32")])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let bytes = std::fs::read(at("logits.f32")).unwrap();
        let theirs: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let worst = ours.iter().zip(&theirs).fold(0f32, |a, (x, y)| a.max((x - y).abs()));
        let largest = theirs.iter().fold(0f32, |a, v| a.max(v.abs()));
        eprintln!("{family:?}: a logit differs by at most {worst:.2e}, the largest is {largest:.2}");
        let plain = our_logits(&Model::from_gguf(&at("base.gguf")).unwrap(), &tokens);
        assert!(ours.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 0.05), "the adapter shows");
        agree(&format!("{family:?} in PEFT"), &ours, &theirs, &tokens, 1e-4 * largest.max(1.0));
    }
}
