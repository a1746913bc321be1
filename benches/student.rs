//! Speed and memory of the student's training step, beside `peer_train.py` (see docs/performance.md):
//!
//! ```text
//! cargo bench --bench student -- 1b.gguf lora 512 1 3
//! ```
//!
//! The words: GGUF, method (`lora`: rank 16 on all seven projections; `full`: f32 AdamW; `tiny`: bf16 weights, 8-bit
//! moments, fused updates; `mixed`: the same with f32 weights), tokens a sequence, sequences a step, steps; then any of `checkpointing`, `threads=1`, and
//! `bf16`: products in bf16;
//! `prompt=P,shared=S`: only what follows P tokens is trained, and of them S are an instruction shared by all sequences.
//! Prints one JSON line: tokens/s of the best step after the first, its processor time, trained tokens/s, the peak RSS in GiB.

use causerie::Run;
use causerie::math::Random;
use causerie::math::packed::Arithmetic;
use causerie::os::{cpu_seconds, peak_memory_bytes};
use causerie::transformer::{AdamW, AdamWSettings, Batch, Grads, Keep, LoraSettings, Model, Moments, Segment, Target};
use std::time::Instant;

fn main() {
    // `cargo bench` adds --bench.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.len() < 5 {
        println!("cargo bench --bench student -- MODEL.gguf lora|full|tiny|mixed TOKENS SEQUENCES STEPS [WORDS]");
        return;
    }
    let (path, method) = (words[0], words[1]);
    let [length, sequences, steps] = [2, 3, 4].map(|i| words[i].parse::<usize>().unwrap());
    let option = |name: &str| {
        let found = words[5..].iter().flat_map(|w| w.split(',')).find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
        found.map(|v| v.parse::<usize>().unwrap())
    };
    let keep = if words.contains(&"checkpointing") { Keep::Inputs } else { Keep::All };
    let (prompt, shared) = (option("prompt").unwrap_or(1), option("shared").unwrap_or(0));
    let run = Run::new(option("threads").unwrap_or(2)).unwrap();

    let mut model = run.install(|| Model::from_gguf(path.as_ref())).unwrap();
    if words.contains(&"bf16") {
        model.arithmetic = Arithmetic::Bf16;
    }
    match method {
        "lora" => model
            .add_lora(LoraSettings {
                rank: 16,
                alpha: 32.0,
                dropout: 0.0,
                targets: LoraSettings::PROJECTIONS.to_vec(),
                layers: 0..usize::MAX,
                seed: 0,
            })
            .unwrap(),
        "full" | "mixed" => run.install(|| model.train_all(false)),
        "tiny" => run.install(|| model.train_all(true)),
        other => panic!("method {other}"),
    }
    let fused = ["tiny", "mixed"].contains(&method);
    let moments = if fused { Moments::Bits8 } else { Moments::F32 };
    let mut adam = AdamW::new(AdamWSettings { moments, ..AdamWSettings::default() }, model.tensors.len());
    let mut grads = Grads::new(&model.tensors);
    let mut random = Random::new(0, b"bench");
    let mut batch = Batch::default();
    let mut draw = |n: usize| -> Vec<u32> { (0..n).map(|_| random.below(model.config.vocabulary) as u32).collect() };
    if shared > 0 {
        batch.push(&draw(shared), &vec![false; shared]);
    }
    for _ in 0..sequences {
        let tokens = draw(length - shared);
        let start = batch.tokens.len();
        batch.tokens.extend(&tokens);
        let prefix = (shared > 0).then_some(0..shared);
        batch.segments.push(Segment { rows: start..start + tokens.len(), prefix });
        let trained = prompt.max(shared + 1) - shared;
        batch.targets.extend((trained..tokens.len()).map(|t| Target { row: start + t - 1, token: tokens[t] }));
    }
    let scale = 1.0 / batch.targets.len() as f32;
    let (mut best, mut least_cpu, mut losses) = (f64::INFINITY, f64::INFINITY, Vec::new());
    for step in 0..steps {
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let loss = run.install(|| {
            let forward = model.forward(&batch, keep, None).unwrap();
            let forward_seconds = started.elapsed().as_secs_f64();
            let (loss, mut pass) = model.backward(forward, &batch, scale, &mut grads).unwrap();
            let head_seconds = started.elapsed().as_secs_f64() - forward_seconds;
            if fused {
                adam.begin_step();
            }
            loop {
                let layer = model.backward_step(&mut pass, &batch, &mut grads);
                if fused {
                    for (id, tensor) in model.tensors.iter_mut().enumerate().filter(|(_, t)| t.place.layer == layer) {
                        if let Some(gradient) = grads.get(id) {
                            adam.update(id, tensor, gradient, 1e-5, 1.0);
                        }
                        grads.free(id);
                    }
                }
                if layer.is_none() {
                    break;
                }
            }
            let all = started.elapsed().as_secs_f64();
            if !fused {
                let factor = AdamW::clip_factor(grads.norm(), 1.0);
                adam.step(&mut model.tensors, &grads, 1e-5, factor);
                grads.zero();
            }
            let end = started.elapsed().as_secs_f64();
            eprintln!(
                "step {step}: forward {forward_seconds:.3} s, head and loss {head_seconds:.3}, layers backward {:.3}, \
                 update {:.3}",
                all - forward_seconds - head_seconds,
                end - all
            );
            loss
        });
        losses.push(loss.mean());
        if step > 0 || steps == 1 {
            best = best.min(started.elapsed().as_secs_f64());
            least_cpu = least_cpu.min(cpu_seconds() - cpu);
        }
    }
    assert!(losses.iter().all(|l| l.is_finite()));
    let tokens = sequences * length;
    println!(
        "{{\"file\": {path:?}, \"method\": {method:?}, \"tokens\": {length}, \"batch\": {sequences}, \"threads\": {}, \
         \"arithmetic\": \"{:?}\", \"checkpointing\": {}, \"seconds\": {best:.3}, \"cpu_seconds\": {least_cpu:.2}, \"tokens_per_s\": {:.2}, \"completion_tokens_per_s\": {:.2}, \
         \"peak_rss_gib\": {:.2}}}",
        run.threads(),
        model.arithmetic,
        keep == Keep::Inputs,
        tokens as f64 / best,
        batch.targets.len() as f64 / best,
        peak_memory_bytes() as f64 / (1u64 << 30) as f64
    );
}
