//! Against a real, trained model of 260,000 parameters, and a plain forward pass written from the definition.

use super::*;
use crate::gguf::{GgmlType, Gguf};
use crate::run::Run;
use crate::testing::shared;
use crate::{Error, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TEXT: &str = "Once upon a time there was a little dog named Max.";

fn stories() -> Option<Model> {
    Some(Model::load(&shared("models/stories260K.gguf")?).unwrap())
}

/// One thread: llama.cpp's threads wait for each other by spinning, which crawls where tests run side by side.
fn run() -> Run {
    Run::new(1).unwrap()
}

fn options(pooling: Pooling) -> ContextOptions {
    ContextOptions { tokens: 512, batch_tokens: 256, sequences: 8, pooling, exact: true }
}

fn batch_of(texts: &[&[Token]]) -> Batch {
    let mut batch = Batch::default();
    for (s, tokens) in texts.iter().enumerate() {
        tokens.iter().enumerate().for_each(|(p, t)| batch.push(*t, p, s, true));
    }
    batch
}

/// The weights as f64, read without llama.cpp.
fn weights(gguf: &Gguf, bytes: &[u8], name: &str) -> Vec<f64> {
    let info = gguf.tensor(name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(info.kind, GgmlType::F32, "{name}: the twin reads f32 only");
    let data = &bytes[info.offset as usize..(info.offset + info.bytes) as usize];
    data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

fn times(w: &[f64], x: &[f64]) -> Vec<f64> {
    w.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

/// Slow twin: Llama's forward pass as its paper defines it, token by token, in f64. Returns the hidden states after the
/// output norm `[tokens][width]`. `q_delta` is added to the first layer's query projection.
fn forward(path: &Path, tokens: &[Token], q_delta: Option<&[f64]>) -> Vec<Vec<f64>> {
    let gguf = Gguf::open(path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let number = |key: &str| gguf.integer(&format!("llama.{key}")).unwrap().unwrap() as usize;
    let float = |key: &str| gguf.float(&format!("llama.{key}")).unwrap();
    let (layers, width, heads) = (number("block_count"), number("embedding_length"), number("attention.head_count"));
    let kv_heads = gguf.integer("llama.attention.head_count_kv").unwrap().map_or(heads, |n| n as usize);
    let epsilon = float("attention.layer_norm_rms_epsilon").unwrap();
    let base = float("rope.freq_base").unwrap_or(10000.0);
    let head = width / heads;
    let norm = |x: &[f64], w: &[f64]| -> Vec<f64> {
        let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        x.iter().zip(w).map(|(v, w)| v / (mean + epsilon).sqrt() * w).collect()
    };
    // RoPE in GGUF turns adjacent pairs.
    let rotate = |x: &mut [f64], position: usize| {
        for h in x.chunks_exact_mut(head) {
            for i in 0..head / 2 {
                let angle = position as f64 * base.powf(-2.0 * i as f64 / head as f64);
                let (a, b) = (h[2 * i], h[2 * i + 1]);
                h[2 * i] = a * angle.cos() - b * angle.sin();
                h[2 * i + 1] = a * angle.sin() + b * angle.cos();
            }
        }
    };
    let embedding = weights(&gguf, &bytes, "token_embd.weight");
    let mut x: Vec<Vec<f64>> =
        tokens.iter().map(|t| embedding[*t as usize * width..(*t as usize + 1) * width].to_vec()).collect();
    for layer in 0..layers {
        let w = |name: &str| weights(&gguf, &bytes, &format!("blk.{layer}.{name}.weight"));
        let mut wq = w("attn_q");
        if let (0, Some(delta)) = (layer, q_delta) {
            wq.iter_mut().zip(delta).for_each(|(w, d)| *w += d);
        }
        let (wk, wv, wo) = (w("attn_k"), w("attn_v"), w("attn_output"));
        let (gate, up, down) = (w("ffn_gate"), w("ffn_up"), w("ffn_down"));
        let (attention_norm, ffn_norm) = (w("attn_norm"), w("ffn_norm"));
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (position, x) in x.iter_mut().enumerate() {
            let n = norm(x, &attention_norm);
            let (mut q, mut k) = (times(&wq, &n), times(&wk, &n));
            rotate(&mut q, position);
            rotate(&mut k, position);
            keys.push(k);
            values.push(times(&wv, &n));
            let mut mixed = vec![0.0; width];
            for h in 0..heads {
                let g = h / (heads / kv_heads) * head;
                let q = &q[h * head..(h + 1) * head];
                let mut scores: Vec<f64> = keys
                    .iter()
                    .map(|k: &Vec<f64>| {
                        q.iter().zip(&k[g..g + head]).map(|(a, b)| a * b).sum::<f64>() / (head as f64).sqrt()
                    })
                    .collect();
                crate::math::softmax(&mut scores, 1.0);
                for (score, v) in scores.iter().zip(&values) {
                    let v: &Vec<f64> = v;
                    (0..head).for_each(|i| mixed[h * head + i] += score * v[g + i]);
                }
            }
            x.iter_mut().zip(times(&wo, &mixed)).for_each(|(x, o)| *x += o);
            let n = norm(x, &ffn_norm);
            let inner: Vec<f64> =
                times(&gate, &n).iter().zip(times(&up, &n)).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            x.iter_mut().zip(times(&down, &inner)).for_each(|(x, o)| *x += o);
        }
    }
    let output_norm = weights(&gguf, &bytes, "output_norm.weight");
    x.iter().map(|x| norm(x, &output_norm)).collect()
}

fn assert_near(ours: &[f32], theirs: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let scale = theirs.iter().fold(0f64, |m, v| m.max(v.abs()));
    for (a, b) in ours.iter().zip(theirs) {
        assert!((f64::from(*a) - b).abs() <= tolerance * scale, "{what}: {a} against {b}");
    }
}

#[test]
fn hidden_states_are_those_of_the_slow_twin() {
    let Some(model) = stories() else { return };
    let tokens = model.tokenise(TEXT, true, false).unwrap();
    let twin = forward(model.header().path(), &tokens, None);
    let mut context = Context::new(&model, options(Pooling::None), &run()).unwrap();
    context.run_batch(&batch_of(&[&tokens]), &run()).unwrap();
    for (i, twin) in twin.iter().enumerate() {
        // f32 against f64 through five layers.
        assert_near(context.hidden(i).unwrap(), twin, 1e-5, &format!("token {i}"));
    }
}

/// Four callers that shared a context of the default width had more sequences than it took tokens at a time, and the first
/// pass ended the process.
#[test]
fn more_sequences_than_tokens_a_batch_do_not_end_the_process() {
    let Some(model) = stories() else { return };
    let tokens = model.tokenise(TEXT, true, false).unwrap();
    let logits = |batch_tokens, sequences| {
        let options = ContextOptions { tokens: 64, batch_tokens, sequences, pooling: Pooling::Logits, exact: true };
        let mut context = Context::new(&model, options, &run()).unwrap();
        context.run_batch(&batch_of(&[&tokens[..8]]), &run()).unwrap();
        context.logits(7).unwrap().to_vec()
    };
    assert_eq!(logits(8, 40), logits(8, 1));
}

/// Bytes from elsewhere, which llama.cpp trusts, could be restored: it crashed.
#[test]
fn a_saved_sequence_is_restored_in_its_own_model_and_kind_of_context_alone() {
    let (Some(model), Some(again)) = (stories(), stories()) else { return };
    let tokens = model.tokenise(TEXT, true, false).unwrap();
    let context = |model: &Model, exact| {
        Context::new(model, ContextOptions { exact, ..options(Pooling::Logits) }, &run()).unwrap()
    };
    let mut first = context(&model, true);
    first.run_batch(&batch_of(&[&tokens[..6]]), &run()).unwrap();
    let saved = first.save_sequence(0).unwrap();
    let next = |context: &mut Context| {
        let mut batch = Batch::default();
        batch.push(tokens[6], 6, 0, true);
        context.run_batch(&batch, &run()).unwrap();
        context.logits(0).unwrap().to_vec()
    };
    let expected = next(&mut first);
    let mut second = context(&model, true);
    assert!(second.restore_sequence(0, &saved).unwrap());
    assert_eq!(next(&mut second), expected);
    for mut other in [context(&again, true), context(&model, false)] {
        let e = other.restore_sequence(0, &saved).unwrap_err();
        assert!(e.message().contains("another model"), "{e}");
    }
    assert!(second.restore_sequence(0, &SavedSequence::of_no_model(64)).is_err());
    assert!(second.restore_sequence(8, &saved).is_err());
}

#[test]
fn mean_pooling_is_the_mean_and_neighbours_in_the_batch_change_it_by_rounding_only() {
    let Some(model) = stories() else { return };
    let texts = [TEXT, "The sun was hot.", "Lily had a big red ball and she liked to play with it in the park."];
    let tokens: Vec<Vec<Token>> = texts.iter().map(|t| model.tokenise(t, true, false).unwrap()).collect();
    let all: Vec<&[Token]> = tokens.iter().map(Vec::as_slice).collect();
    let mut context = Context::new(&model, options(Pooling::Mean), &run()).unwrap();
    context.run_batch(&batch_of(&all), &run()).unwrap();
    for (s, tokens) in tokens.iter().enumerate() {
        let hidden = forward(model.header().path(), tokens, None);
        let mean: Vec<f64> =
            (0..model.width()).map(|i| hidden.iter().map(|h| h[i]).sum::<f64>() / hidden.len() as f64).collect();
        assert_near(context.pooled(s).unwrap(), &mean, 1e-5, &format!("text {s} of three"));
        let mut alone = Context::new(&model, options(Pooling::Mean), &run()).unwrap();
        alone.run_batch(&batch_of(&[tokens]), &run()).unwrap();
        assert_near(alone.pooled(0).unwrap(), &mean, 1e-5, &format!("text {s} alone"));
    }
    assert!(context.pooled(3).is_err());
}

#[test]
fn tokens_come_back_as_text_and_special_ones_only_when_asked() {
    let Some(model) = stories() else { return };
    let tokens = model.tokenise(TEXT, true, false).unwrap();
    assert_eq!(tokens.first().copied(), model.begin());
    assert_eq!(model.detokenise(&tokens, false).trim(), TEXT);
    let plain = model.tokenise("a</s>b", false, false).unwrap();
    let parsed = model.tokenise("a</s>b", false, true).unwrap();
    assert!(!plain.contains(&2) && parsed.contains(&2), "{plain:?} {parsed:?}");
    assert_eq!(model.tokenise("", false, false).unwrap(), Vec::<Token>::new());
    assert!(model.piece(-1, true).is_empty() && model.piece(1 << 20, true).is_empty());
}

#[test]
fn what_would_abort_llama_cpp_is_an_error() {
    let Some(model) = stories() else { return };
    let run = run();
    let mut context = Context::new(&model, options(Pooling::Logits), &run).unwrap();
    let kind = |batch: &Batch, context: &mut Context| context.run_batch(batch, &run).unwrap_err().kind();
    assert_eq!(kind(&Batch::default(), &mut context), ErrorKind::Invalid);
    assert_eq!(kind(&batch_of(&[&[5; 257]]), &mut context), ErrorKind::Invalid);
    assert_eq!(kind(&batch_of(&[&[512]]), &mut context), ErrorKind::Invalid);
    assert_eq!(kind(&batch_of(&[&[-1]]), &mut context), ErrorKind::Invalid);
    assert_eq!(kind(&batch_of(&[[5].as_slice(); 9]), &mut context), ErrorKind::Invalid);
    let mut far = Batch::default();
    far.push(5, 1 << 20, 0, true);
    assert_eq!(kind(&far, &mut context), ErrorKind::Invalid);
    let mut half = Batch::default();
    half.push(1, 0, 0, false);
    half.push(5, 1, 0, true);
    context.run_batch(&half, &run).unwrap();
    assert!(context.logits(0).is_err() && context.logits(2).is_err());
    assert_eq!(context.logits(1).unwrap().len(), 512);
    assert!(context.hidden(1).is_err() && context.pooled(0).is_err());
    // A gap in the positions: llama.cpp's own refusal.
    let mut gap = Batch::default();
    gap.push(5, 40, 0, true);
    assert_eq!(kind(&gap, &mut context), ErrorKind::Invalid);
    for broken in [
        ContextOptions { tokens: 0, ..options(Pooling::Logits) },
        ContextOptions { sequences: 257, ..options(Pooling::Logits) },
    ] {
        assert!(Context::new(&model, broken, &run).is_err());
    }
    let vocabulary = Model::load_vocabulary(model.header().path()).unwrap();
    assert!(!vocabulary.tokenise("a dog", true, false).unwrap().is_empty());
}

#[test]
fn the_same_seed_tells_the_same_story_and_stop_texts_end_it() {
    let Some(model) = stories() else { return };
    let heard = Arc::new(Mutex::new(Vec::<String>::new()));
    let kept = heard.clone();
    let run = run().on_token(move |piece| kept.lock().unwrap().push(piece.to_string()));
    let mut context = Context::new(&model, options(Pooling::Logits), &run).unwrap();
    let mut tell = |sampling: &Sampling| {
        let told = context.generate("Once upon a time", sampling, &run).unwrap();
        let pieces = std::mem::take(&mut *heard.lock().unwrap());
        assert_eq!(pieces.concat(), told.text);
        assert!(pieces.len() > 2 && pieces.iter().position(String::is_empty) == Some(pieces.len() - 1), "{pieces:?}");
        told
    };
    let greedy = tell(&Sampling { max_tokens: 40, ..Sampling::default() });
    assert_eq!(greedy, tell(&Sampling { max_tokens: 40, seed: 9, ..Sampling::default() }));
    assert!(greedy.text.contains("there was"), "{}", greedy.text);
    assert_eq!((greedy.tokens, greedy.finished), (40, false));
    let warm = |seed| Sampling { max_tokens: 40, temperature: 1.0, top_p: 0.95, seed, stop: Vec::new() };
    assert_eq!(tell(&warm(1)), tell(&warm(1)));
    assert_ne!(tell(&warm(1)).text, tell(&warm(2)).text);
    let stopped = tell(&Sampling { max_tokens: 200, stop: vec![".".into()], ..Sampling::default() });
    assert!(stopped.finished && !stopped.text.contains('.') && greedy.text.starts_with(&stopped.text));
    assert!(context.generate(&"dog ".repeat(2000), &Sampling::default(), &run).is_err());
}

#[test]
fn sampling_follows_the_probabilities() {
    let mut random = crate::math::Random::new(0, b"sampling");
    let logits = [0.0, 3f32.ln(), f32::NAN, f32::NEG_INFINITY];
    let draws = 20_000;
    let ones = (0..draws).filter(|_| sample(&logits, 1.0, 1.0, &mut random).unwrap() == 1).count();
    // p = 3/4; five standard errors.
    assert!((ones as f64 / f64::from(draws) - 0.75).abs() < 5.0 * (0.75 * 0.25 / f64::from(draws)).sqrt());
    assert!((0..1000).all(|_| sample(&logits, 1.0, 0.7, &mut random).unwrap() == 1));
    assert_eq!(sample(&[1.0, 1.0], 0.0, 1.0, &mut random).unwrap(), 0);
    assert!(sample(&[f32::NAN; 3], 1.0, 1.0, &mut random).is_err());
}

#[test]
fn a_cancelled_run_stops_decoding() {
    let Some(model) = stories() else { return };
    let run = run();
    let mut context = Context::new(&model, options(Pooling::Logits), &run).unwrap();
    run.cancel();
    let e = context.generate("Once", &Sampling::default(), &run).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Cancelled);
}

#[test]
fn an_adapter_adds_its_product_and_leaves_no_trace_when_removed() {
    let Some(model) = stories() else { return };
    let (run, width, rank, alpha) = (run(), model.width(), 2usize, 4f32);
    let mut random = crate::math::Random::new(1, b"adapter");
    let a: Vec<f32> = (0..rank * width).map(|_| random.normal() as f32 * 0.1).collect();
    let b: Vec<f32> = (0..width * rank).map(|_| random.normal() as f32 * 0.1).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    std::fs::write(&path, adapter_bytes(&a, &b, width, rank, alpha)).unwrap();
    let adapter = Adapter::load(&model, &path).unwrap();
    let tokens = model.tokenise(TEXT, true, false).unwrap();
    let mut context = Context::new(&model, options(Pooling::None), &run).unwrap();
    let mut last = |adapters: &[(Adapter, f32)]| {
        context.set_adapters(adapters).unwrap();
        context.run_batch(&batch_of(&[&tokens]), &run).unwrap();
        context.hidden(tokens.len() - 1).unwrap().to_vec()
    };
    let base = last(&[]);
    let with = last(&[(adapter.clone(), 1.0)]);
    assert_eq!(base, last(&[(adapter.clone(), 0.0)]));
    assert_eq!(base, last(&[]));
    // W + alpha / rank B A, in the slow twin.
    let delta: Vec<f64> = (0..width * width)
        .map(|at| {
            let (o, i) = (at / width, at % width);
            (0..rank).map(|r| f64::from(b[o * rank + r]) * f64::from(a[r * width + i])).sum::<f64>() * f64::from(alpha)
                / rank as f64
        })
        .collect();
    let twin = forward(model.header().path(), &tokens, Some(&delta));
    assert_near(&with, &twin[tokens.len() - 1], 1e-5, "with the adapter");
    assert_ne!(base, with);
    for length in (0..std::fs::metadata(&path).unwrap().len() as usize).step_by(97) {
        let cut = folder.path().join("cut.gguf");
        std::fs::write(&cut, &std::fs::read(&path).unwrap()[..length]).unwrap();
        assert!(Adapter::load(&model, &cut).is_err(), "{length} bytes");
    }
    assert!(Adapter::load(&model, model.header().path()).err().unwrap().message().contains("no LoRA adapter"));
}

#[test]
fn hidden_states_that_are_asked_for_are_those_of_these_tokens() {
    let Some(model) = stories() else { return };
    let tokens = model.tokenise(TEXT, true, false).unwrap();
    let (half, last) = (tokens.len() / 2, tokens.len() - 1);
    let mut whole = Context::new(&model, options(Pooling::None), &run()).unwrap();
    whole.run_batch(&batch_of(&[&tokens]), &run()).unwrap();
    let mut context = Context::new(&model, options(Pooling::Asked), &run()).unwrap();
    let mut first = Batch::default();
    (0..half).for_each(|p| first.push(tokens[p], p, 0, false));
    context.run_batch(&first, &run()).unwrap();
    assert_eq!(context.hidden(half - 1).unwrap_err().kind(), ErrorKind::Invalid, "nothing was asked for");
    // The rest of it, and another sequence beside it: three of many tokens.
    let mut rest = Batch::default();
    (half..=last).for_each(|p| rest.push(tokens[p], p, 0, p == last));
    (0..=last).for_each(|p| rest.push(tokens[p], p, 1, p == half || p == 1));
    context.run_batch(&rest, &run()).unwrap();
    let of_two = last + 1 - half;
    for (token, place) in [(last, last - half), (1, of_two + 1), (half, of_two + half)] {
        let twin: Vec<f64> = whole.hidden(token).unwrap().iter().map(|v| f64::from(*v)).collect();
        assert_near(context.hidden(place).unwrap(), &twin, 1e-5, "asked for");
    }
    assert_eq!(context.hidden(0).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(context.logits(last - half).is_err() && context.pooled(0).is_err());
}

/// What a load of an adapter holds up: the beginning of a context's first pass under other adapters, and nothing else.
#[test]
fn passes_and_freed_adapters_wait_for_no_adapter_that_is_being_loaded() {
    let Some(model) = stories() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    let some = vec![0.1; 2 * model.width()];
    std::fs::write(&path, adapter_bytes(&some, &some, model.width(), 2, 4.0)).unwrap();
    let (one, two) = (Adapter::load(&model, &path).unwrap(), Adapter::load(&model, &path).unwrap());
    let batch = batch_of(&[&model.tokenise(TEXT, true, false).unwrap()]);
    let mut context = Context::new(&model, options(Pooling::None), &run()).unwrap();
    context.set_adapters(&[(one, 1.0)]).unwrap();
    context.run_batch(&batch, &run()).unwrap();
    // As long as this is held, an adapter is being loaded.
    let load = model.change_adapters();
    let (tell, told) = std::sync::mpsc::channel();
    let caller = std::thread::spawn(move || {
        context.clear();
        context.run_batch(&batch, &run()).unwrap();
        // The first adapter is dropped here.
        context.set_adapters(&[(two.clone(), 1.0)]).unwrap();
        tell.send("gone on").unwrap();
        context.run_batch(&batch, &run()).unwrap();
        tell.send("computed").unwrap();
        context.set_adapters(&[(two, 1.0)]).unwrap();
        context.run_batch(&batch, &run()).unwrap();
    });
    let while_loading = told.recv_timeout(Duration::from_secs(120)).expect("a pass waits for a load, or a drop does");
    assert_eq!(while_loading, "gone on");
    assert_eq!(model.adapters_to_free(), 1);
    assert!(told.recv_timeout(Duration::from_millis(200)).is_err(), "a graph is made while the list changes");
    drop(load);
    assert_eq!(told.recv_timeout(Duration::from_secs(120)).unwrap(), "computed");
    caller.join().unwrap();
    drop(Adapter::load(&model, &path).unwrap());
    assert_eq!(model.adapters_to_free(), 0);
}

/// A LoRA adapter of the first query projection, in llama.cpp's layout (A [r, in], B [out, r] in numpy's order).
pub(crate) fn adapter_bytes(a: &[f32], b: &[f32], width: usize, rank: usize, alpha: f32) -> Vec<u8> {
    let text = |t: &str| [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat();
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    out.extend(4u64.to_le_bytes());
    for (key, value) in [("general.architecture", "llama"), ("general.type", "adapter"), ("adapter.type", "lora")] {
        out.extend([text(key), 8u32.to_le_bytes().to_vec(), text(value)].concat());
    }
    out.extend([text("adapter.lora.alpha"), 6u32.to_le_bytes().to_vec(), alpha.to_le_bytes().to_vec()].concat());
    let first = (a.len() * 4).next_multiple_of(32) as u64;
    let name = "blk.0.attn_q.weight.lora_";
    for (which, dims, offset) in [("a", [width, rank], 0), ("b", [rank, width], first)] {
        out.extend(text(&format!("{name}{which}")));
        out.extend(2u32.to_le_bytes());
        dims.iter().for_each(|d| out.extend((*d as u64).to_le_bytes()));
        out.extend(0u32.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    for values in [a, b] {
        out.resize(out.len().next_multiple_of(32), 0);
        values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    }
    out
}

#[test]
fn a_quantised_model_is_smaller_and_says_nearly_the_same() {
    let Some(model) = stories() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q8.gguf");
    quantise(model.header().path(), &path, Quantisation::Q8_0, 2).unwrap();
    let small = Model::load(&path).unwrap();
    assert!(small.header().file_bytes() < model.header().file_bytes() / 2);
    let tokens = model.tokenise(TEXT, true, false).unwrap();
    let hidden = |model: &Model| {
        let mut context = Context::new(model, options(Pooling::None), &run()).unwrap();
        context.run_batch(&batch_of(&[&tokens]), &run()).unwrap();
        context.hidden(tokens.len() - 1).unwrap().to_vec()
    };
    let (a, b) = (hidden(&model), hidden(&small));
    let cosine = crate::math::dot(&a, &b) / (crate::math::norm(&a) * crate::math::norm(&b));
    assert!(cosine > 0.999 && cosine < 1.0, "{cosine}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!("q3".parse::<Quantisation>().is_err());
}

/// Loads and, when it loads, uses the model: a broken file is an error or a model, never the end of the process.
fn survive(path: &Path) -> crate::Result<()> {
    let model = Model::load(path)?;
    let tokens = model.tokenise("a dog's día\n", true, true)?;
    let tokens = tokens.get(..tokens.len().min(16)).unwrap_or(&tokens);
    let run = Run::new(1)?;
    let small = ContextOptions { tokens: 64, batch_tokens: 32, sequences: 2, pooling: Pooling::Logits, exact: true };
    let mut context = Context::new(&model, small, &run)?;
    context.run_batch(&batch_of(&[tokens]), &run)?;
    let last = tokens.len().checked_sub(1).ok_or_else(|| Error::invalid("no tokens"))?;
    context.logits(last)?;
    model.detokenise(tokens, true);
    Ok(())
}

#[test]
fn truncated_and_damaged_files_never_end_the_process() {
    let Some(model) = stories() else { return };
    let bytes = std::fs::read(model.header().path()).unwrap();
    let header = model.header().data_offset() as usize;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.gguf");
    for length in (0..bytes.len()).step_by(if header > 20_000 { 4096 } else { 1024 }).chain([header, bytes.len() - 1]) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(Model::load(&path).err().map(|e| e.kind()), Some(ErrorKind::Format), "{length} bytes");
    }
    let mut random = crate::math::Random::new(7, b"flips");
    let mut refused = 0;
    for _ in 0..300 {
        let mut broken = bytes.clone();
        for _ in 0..1 + random.below(3) {
            broken[random.below(header)] ^= 1 << random.below(8);
        }
        std::fs::write(&path, &broken).unwrap();
        refused += usize::from(survive(&path).is_err());
    }
    assert!(refused > 20, "{refused} of 300 refused: the flips must hit something");
}

#[test]
fn the_types_have_ggmls_own_sizes() {
    for kind in crate::gguf::GGML_TYPES {
        // SAFETY: plain look-ups in ggml's table, for numbers below its count.
        let (block, bytes, name) = unsafe {
            let name = std::ffi::CStr::from_ptr(llama_cpp_sys_2::ggml_type_name(kind.id as _));
            (llama_cpp_sys_2::ggml_blck_size(kind.id as _), llama_cpp_sys_2::ggml_type_size(kind.id as _), name)
        };
        assert_eq!((block as u64, bytes as u64), (kind.block_values, kind.block_bytes), "{}", kind.name);
        assert_eq!(name.to_string_lossy(), kind.name);
    }
}
