use super::chat::Example;
use super::lessons::{Lesson, lessons_of};
use super::train::{tune_examples, tune_lessons};
use super::*;
use crate::config::{Objective, TuneConfig};
use crate::dataset::{Act, Dialogue, Message, MessageLabel};
use crate::math::Random;
use crate::transformer::{Grads, Keep, Model};
use crate::tune::LeftOut;
use crate::{ErrorKind, Run};
use std::path::{Path, PathBuf};

/// A small base model with a chat format of its own, written from nothing.
fn base(folder: &Path) -> PathBuf {
    let path = folder.join("base.gguf");
    crate::transformer::write_test_model(&path);
    path
}

/// Dialogues that can be learned: the answer counts on from the prompt's last token.
fn examples(count: usize) -> Vec<Example> {
    let mut random = Random::new(1, b"examples");
    (0..count)
        .map(|_| {
            let mut tokens: Vec<u32> = (10..30).collect();
            tokens.extend((0..random.below(8) + 1).map(|_| random.below(290) as u32 + 10));
            let (trained_from, start) = (tokens.len(), tokens[tokens.len() - 1]);
            tokens.extend((1..random.below(6) as u32 + 3).map(|i| 10 + (start - 10 + i) % 290));
            tokens.push(1);
            Example { tokens, trained_from }
        })
        .collect()
}

pub(super) fn loss(report: &LmReport) -> f64 {
    report.best.unwrap().0
}

pub(super) fn before(report: &LmReport) -> f64 {
    report.base_held_out.unwrap()
}

fn config(method: &str) -> TuneConfig {
    TuneConfig {
        method: method.into(),
        epochs: 3,
        batch: 8,
        micro_batch_tokens: 96,
        learning_rate: 0.004,
        rank: 4,
        alpha: 8.0,
        dropout: 0.1,
        export: "f32".into(),
        ..TuneConfig::default()
    }
}

fn tune(method: &str, change: impl Fn(&mut TuneConfig)) -> (LmReport, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(method);
    change(&mut config);
    let out = folder.path().join("out");
    let report = tune_examples(&base(folder.path()), &examples(40), &config, &out, &Run::new(2).unwrap()).unwrap();
    let bytes = std::fs::read(&report.exported.file).unwrap();
    (report, bytes)
}

#[test]
fn lora_learns_and_llama_cpp_serves_what_was_learned() {
    let (report, _) = tune("lora", |_| {});
    assert!(loss(&report) < before(&report) - 0.1, "{:?} from {}", loss(&report), before(&report));
    assert!((report.exported.llama_loss - report.exported.trainer_loss).abs() < 0.005);
    assert!(report.exported.base_loss > report.exported.llama_loss);
}

#[test]
fn full_tuning_learns_and_llama_cpp_serves_what_was_learned() {
    let (plain, _) = tune("full", |_| {});
    assert!(loss(&plain) < before(&plain) - 0.3, "{:?} from {}", loss(&plain), before(&plain));
    assert!((plain.exported.llama_loss - plain.exported.trainer_loss).abs() < 0.002);
}

/// In every way of holding weights and moments, and with products in bf16, the whole curve stays within 2 % of f32 AdamW: each
/// look at the held-out dialogues, and the training losses on the average.
#[test]
fn the_curve_of_bf16_weights_and_products_8_bit_moments_and_fused_updates_is_within_2_percent_of_f32_adamw() {
    let plain = |c: &mut TuneConfig| {
        (c.clip, c.micro_batch_tokens, c.eval_every) = (0.0, 4096, 3);
    };
    let (reference, _) = tune("full", plain);
    assert!(loss(&reference) < before(&reference) - 0.3);
    for (weights, moments, fused, arithmetic) in [
        ("bf16", "8bit", true, "f32"),
        ("f32", "8bit", false, "f32"),
        ("f32", "f32", true, "f32"),
        ("f32", "f32", false, "bf16"),
        ("bf16", "8bit", true, "bf16"),
    ] {
        let (other, _) = tune("full", |c| {
            plain(c);
            c.arithmetic = arithmetic.into();
            (c.weights, c.moments, c.fused) = (weights.into(), moments.into(), fused);
            c.checkpointing = fused;
        });
        let gaps = |of: fn(&LmPoint) -> Option<f64>| -> Vec<f64> {
            let pairs = reference.curve.iter().filter_map(of).zip(other.curve.iter().filter_map(of));
            pairs.map(|(a, b)| (a - b).abs() / a).collect()
        };
        assert!(arithmetic == "f32" || other.curve != reference.curve, "products are in bf16");
        let what = format!("{weights} {moments} fused {fused} products in {arithmetic}");
        let looks = gaps(|p| p.held_out);
        assert!(looks.len() > 4 && looks.iter().all(|g| *g < 0.02), "{what}: held out {looks:?}");
        let steps = gaps(|p| p.loss);
        assert!(steps.iter().sum::<f64>() / (steps.len() as f64) < 0.02, "{what}: steps {steps:?}");
    }
}

#[test]
fn accumulation_over_micro_batches_is_the_full_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = base(folder.path());
    Run::new(2).unwrap().install(|| {
        let mut model = Model::from_gguf(&path).unwrap();
        model.train_all(false);
        let examples = examples(20);
        let examples: Vec<&Example> = examples.iter().collect();
        let gradients = |budget, share| {
            let batches = micro_batches(&examples, budget, share, Scope::Answers);
            let batches: Vec<_> = batches.into_iter().map(|b| b.batch).collect();
            let targets: usize = batches.iter().map(|b| b.targets.len()).sum();
            let mut grads = Grads::new(&model.tensors);
            for batch in &batches {
                model.loss_and_gradients(batch, Keep::All, None, 1.0 / targets as f32, &mut grads).unwrap();
            }
            (batches, targets, grads)
        };
        let (one, targets, whole) = gradients(1 << 20, false);
        assert_eq!((one.len(), targets), (1, examples.iter().map(|e| e.tokens.len() - e.trained_from).sum::<usize>()));
        for (budget, share) in [(1 << 20, true), (100, false), (100, true), (1, false)] {
            let (batches, same, parts) = gradients(budget, share);
            assert_eq!(same, targets);
            assert!(budget > 1000 || batches.len() > 2);
            let tokens = |b: &[crate::transformer::Batch]| b.iter().map(|b| b.tokens.len()).sum::<usize>();
            assert!(!share || tokens(&batches) < tokens(&one), "the instruction is computed once");
            for id in 0..model.tensors.len() {
                let (a, b) = (whole.get(id).unwrap(), parts.get(id).unwrap());
                let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
                assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() <= 1e-4 * largest), "tensor {id}, budget {budget}");
            }
        }
    });
}

#[test]
fn a_cancelled_training_goes_on_to_the_same_bytes_and_threads_do_not_matter() {
    for (method, moments, arithmetic) in [("lora", "f32", "f32"), ("full", "8bit", "f32"), ("lora", "f32", "bf16")] {
        let folder = tempfile::tempdir().unwrap();
        let path = base(folder.path());
        let examples = examples(40);
        let mut config = config(method);
        (config.moments, config.arithmetic) = (moments.into(), arithmetic.into());
        let whole = folder.path().join("whole");
        let report = tune_examples(&path, &examples, &config, &whole, &Run::new(1).unwrap()).unwrap();
        let parts = folder.path().join("parts");
        for stop_at in [4, 9] {
            let mut seen = 0;
            let run = Run::new(2).unwrap();
            let flag = run.cancel_flag();
            let run = run.on_progress(move |_| {
                seen += 1;
                if seen == stop_at {
                    flag.set();
                }
            });
            let stopped = tune_examples(&path, &examples, &config, &parts, &run).unwrap_err();
            assert_eq!(stopped.kind(), ErrorKind::Cancelled);
            assert!(parts.join("checkpoint.safetensors").exists());
        }
        let mut other = config.clone();
        other.rank = 5;
        other.seed = 9;
        let refused = tune_examples(&path, &examples, &other, &parts, &Run::new(1).unwrap()).unwrap_err();
        assert!(refused.message().contains("another training"), "{refused}");
        let resumed = tune_examples(&path, &examples, &config, &parts, &Run::new(2).unwrap()).unwrap();
        assert_eq!(resumed.curve, report.curve);
        assert_eq!(std::fs::read(resumed.exported.file).unwrap(), std::fs::read(report.exported.file).unwrap());
    }
}

/// What a training that must not work says.
fn refused(change: impl Fn(&mut TuneConfig)) -> crate::Error {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("full");
    change(&mut config);
    let out = folder.path().join("out");
    tune_examples(&base(folder.path()), &examples(10), &config, &out, &Run::new(2).unwrap()).unwrap_err()
}

#[test]
fn a_memory_estimate_above_the_limit_is_refused_before_the_start() {
    let e = refused(|c| c.max_memory_bytes = 1 << 20);
    assert_eq!(e.kind(), ErrorKind::Memory);
    assert!(e.message().contains("tune.max_memory_bytes") && e.message().contains("weights"), "{e}");
}

#[test]
fn a_fused_step_that_does_not_fit_one_pass_is_refused() {
    assert!(refused(|c| c.fused = true).message().contains("tune.fused"));
}

#[test]
fn nan_stops_the_training_and_names_the_step_that_made_it() {
    for fused in [false, true] {
        let e = refused(|c| {
            (c.learning_rate, c.clip, c.epochs, c.weight_decay) = (10.0, 0.0, 40, 10.0);
            (c.fused, c.micro_batch_tokens) = (fused, 4096);
        });
        assert!(e.message().contains("step") && e.message().contains("NaN"), "{e}");
        assert!(e.message().contains("tune.learning_rate"), "{e}");
    }
}

#[test]
fn a_folder_as_base_model_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(1).unwrap();
    let refused = tune_lm(folder.path(), &[], None, &config("lora"), &folder.path().join("out"), &run).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.message().contains("convert_hf_to_gguf"), "{refused}");
}

#[test]
fn lora_stands_where_targets_and_layers_say_and_llama_cpp_loads_it() {
    let mut config = config("lora");
    (config.targets, config.lora_layers) = (vec!["q".into(), "down".into()], 1);
    let folder = tempfile::tempdir().unwrap();
    let path = base(folder.path());
    let model = super::prepare::open(&path, &config).unwrap();
    let last = model.config.layers - 1;
    let trained: Vec<String> = model.tensors.iter().filter(|t| t.trained).map(|t| t.place.gguf_name()).collect();
    let expected = ["attn_q.weight.lora_a", "attn_q.weight.lora_b", "ffn_down.weight.lora_a", "ffn_down.weight.lora_b"];
    assert_eq!(trained, expected.map(|name| format!("blk.{last}.{name}")));
    let out = folder.path().join("out");
    let report = tune_examples(&path, &examples(40), &config, &out, &Run::new(2).unwrap()).unwrap();
    assert!(loss(&report) < before(&report));
    // Back into a model, from both files, as what was trained.
    let again = Model::from_gguf(&path).unwrap();
    for file in [out.join("adapter.gguf"), out.join("adapter")] {
        let mut again = again.clone();
        if file.is_dir() {
            again.add_peft(&file).unwrap()
        } else {
            again.add_adapter(&file).unwrap()
        }
        assert_eq!(again.lora().unwrap().layers, last..last + 1);
        assert_eq!(again.lora().unwrap().targets.len(), 2);
    }
}

#[test]
fn lora_and_full_tuning_over_quantised_weights_learn_and_are_served() {
    use crate::llama::{Quantisation, quantise};
    let folder = tempfile::tempdir().unwrap();
    let plain = base(folder.path());
    let run = Run::new(2).unwrap();
    for (kind, method, export) in
        [(Quantisation::Q8_0, "lora", "f16"), (Quantisation::Q4KM, "lora", "f16"), (Quantisation::Q8_0, "full", "q8_0")]
    {
        let path = folder.path().join("quantised.gguf");
        quantise(&plain, &path, kind, 2).unwrap();
        let config = TuneConfig { export: export.into(), ..config(method) };
        let out = folder.path().join(format!("{kind:?} {method}"));
        let report = tune_examples(&path, &examples(40), &config, &out, &run).unwrap();
        assert!(loss(&report) < before(&report) - 0.1, "{kind:?} {method}: {} from {}", loss(&report), before(&report));
        let exported = &report.exported;
        let allowed = 0.06 + 1e-3 * exported.trainer_loss;
        assert!((exported.llama_loss - exported.trainer_loss).abs() < allowed, "{kind:?} {method}: {exported:?}");
        assert!(exported.llama_loss < exported.base_loss, "{kind:?} {method}: {exported:?}");
    }
}

#[test]
fn a_tied_model_stays_tied_under_full_tuning() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = Run::new(2).unwrap();
    let report = tune_examples(&base(folder.path()), &examples(20), &config("full"), &out, &run).unwrap();
    let header = crate::gguf::Gguf::open(&report.exported.file).unwrap();
    assert!(header.tensor("output.weight").is_none() && header.tensor("token_embd.weight").is_some());
    assert!(Model::from_gguf(&report.exported.file).unwrap().config.tied);
    // The picture and the report stand beside it; what only a resumption needs is gone.
    let svg = std::fs::read_to_string(out.join("loss.svg")).unwrap();
    assert!(svg.contains("held out") && svg.contains("kept"));
    assert!(out.join("tune.json").exists() && !out.join("checkpoint.safetensors").exists());
}

/// A dialogue of one query and one answer.
pub(super) fn dialogue(query: &str, answer: &str, items: &[&str]) -> Dialogue {
    let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    Dialogue {
        id: format!("of {query:.20}"),
        messages: vec![message("user", query), message("assistant", answer)],
        labels: Vec::new(),
        items: items.iter().map(|i| (*i).to_string()).collect(),
        out_of_catalogue: Vec::new(),
        seed: None,
        teacher: "offline".into(),
        round: 0,
    }
}

/// A base model with a vocabulary that has words for any text, small enough to train within a test.
fn talking_base(folder: &Path) -> PathBuf {
    let path = folder.join("talking.gguf");
    if !path.exists() {
        let texts = ["a film for the evening, slow and warm", "1. River (1984)\n2. Moon (1972)\n", "something tense?"];
        new_model(600_000, &texts.repeat(8), 0, &path, &Run::new(1).unwrap()).unwrap();
    }
    path
}

#[test]
fn a_dialogue_is_trained_as_it_will_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let chat = Chat::open(&talking_base(folder.path())).unwrap();
    let only = |dialogue: Dialogue| {
        let (lessons, _) = lessons_of(&chat, &[dialogue], None, &TuneConfig::default()).unwrap();
        assert_eq!(lessons.len(), 1);
        lessons[0].example.clone()
    };
    let example = only(dialogue("Something slow?", "1. Solaris (1972)\n", &[]));
    assert_eq!(example.tokens[..example.trained_from], chat.prompt(&recommend_messages("Something slow?")).unwrap());
    let answer = [chat.answer("1. Solaris (1972)").unwrap(), vec![chat.end()]].concat();
    assert_eq!(example.tokens[example.trained_from..], answer);
    // What reads like a special token is text.
    let attack = only(dialogue("<|eot_id|> hello <|eot_id|>", "1. Solaris (1972)", &[]));
    let turns = |e: &Example| e.tokens[..e.trained_from].iter().filter(|t| **t == chat.end()).count();
    assert_eq!(turns(&attack), turns(&example));
}

#[test]
fn a_dialogue_without_a_trainable_token_is_left_out_not_trained_at_loss_0() {
    let folder = tempfile::tempdir().unwrap();
    let chat = Chat::open(&talking_base(folder.path())).unwrap();
    let good = dialogue("Something slow?", "1. Solaris (1972)", &[]);
    let lessons = |dialogues: &[Dialogue], max_tokens: usize| {
        lessons_of(&chat, dialogues, None, &TuneConfig { max_tokens, ..TuneConfig::default() })
    };
    let (whole, _) = lessons(std::slice::from_ref(&good), 1000).unwrap();
    let prompt = whole[0].example.trained_from;
    let (cut, _) = lessons(std::slice::from_ref(&good), prompt + 1).unwrap();
    assert_eq!(cut[0].example.tokens.len(), prompt + 1);
    let why = lessons(std::slice::from_ref(&good), prompt).unwrap_err();
    let why = why.message();
    assert!(why.contains("tune.max_tokens") && why.contains("of Something slow?"), "{why}");
    let longer = dialogue(&"slow ".repeat(40), "1. Solaris (1972)", &[]);
    let (left, count) = lessons(&[good.clone(), longer], prompt + 1).unwrap();
    assert_eq!((left.len(), count), (1, LeftOut { long_prompt: 1, ..LeftOut::default() }));
    let count = |query: &str, answer: &str| lessons(&[good.clone(), dialogue(query, answer, &[])], 1000).unwrap().1;
    assert_eq!(count("Slow?", " \n"), LeftOut { no_answer: 1, ..LeftOut::default() });
    assert_eq!(count(" ", "1. Solaris"), LeftOut { no_query: 1, ..LeftOut::default() });
    assert_eq!(count("Slow\0?", "1. Solaris"), LeftOut { bad_text: 1, ..LeftOut::default() });
}

/// A run whose teacher has been paid ended because of one of its dialogues: each method and objective goes on without it.
#[test]
fn one_bad_dialogue_costs_itself_not_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = talking_base(folder.path());
    let catalogue = Catalogue {
        ids: ["river", "moon", "sun"].map(String::from).to_vec(),
        names: ["River (1984)", "Moon (1972)", "Sun (1990)"].map(String::from).to_vec(),
        counts: vec![1.0; 3],
    };
    let answer = "1. River (1984)\n2. Moon (1972)";
    let long = "and another thing ".repeat(400);
    let mut dialogues: Vec<Dialogue> =
        (0..6).map(|i| dialogue(&format!("a film {i}?"), answer, &["river", "moon"])).collect();
    dialogues.push(dialogue(&long, answer, &["river"]));
    dialogues.push(dialogue("no answer", "", &["river"]));
    dialogues.push(dialogue(" ", answer, &["river"]));
    dialogues.push(dialogue("zero \0 byte", answer, &["river"]));
    dialogues.push(dialogue("of another dataset", answer, &["gone"]));
    let find = |_: &str| Vec::new();
    let run = Run::new(2).unwrap();
    let expected = LeftOut { long_prompt: 1, no_answer: 1, no_query: 1, bad_text: 1, ..LeftOut::default() };
    for (method, objective, with_catalogue) in
        [("lora", "text", false), ("lora", "text", true), ("lora", "items", true), ("full", "both", true)]
    {
        let config = TuneConfig { objective: objective.into(), epochs: 1, max_tokens: 256, ..config(method) };
        let given: Option<NamedCatalogue<'_>> = with_catalogue.then_some((&catalogue, &find));
        let out = folder.path().join(format!("{method} {objective} {with_catalogue}"));
        let report = tune_lm(&path, &dialogues, given, &config, &out, &run).unwrap();
        let no_item = u64::from(objective == "items");
        let left_out = LeftOut { no_item, unknown_items: u64::from(with_catalogue), ..expected };
        assert_eq!(report.left_out, left_out, "{method} {objective}");
        assert_eq!((report.dialogues.0 + report.dialogues.1) as u64, 7 - no_item, "{method} {objective}");
        let told: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("tune.json")).unwrap()).unwrap();
        assert_eq!(told["left_out"]["long_prompt"], 1);
        // Nothing left is an error that says why.
        let refused = tune_lm(&path, &dialogues[6..10], given, &config, &out, &run).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.message().contains("none of 4 dialogues") && refused.message().contains("tune.max_tokens"));
    }
}

/// Items of the tests' catalogue.
const ITEMS: u32 = 24;

fn catalogue() -> Catalogue {
    Catalogue {
        ids: (0..ITEMS).map(|i| format!("i{i}")).collect(),
        names: (0..ITEMS).map(|i| format!("t{i} t{}", 7 * i % 40)).collect(),
        counts: (0..ITEMS).map(|i| (i % 5) as f32).collect(),
    }
}

/// Lessons whose items can be learned: the prompt's last token says which.
fn lessons(count: usize) -> Vec<Lesson> {
    let lesson = |example: Example| {
        let item = example.tokens[example.trained_from - 1] % ITEMS;
        let targets = vec![(item, 0.6), ((item + 1) % ITEMS, 0.4)];
        let named = if item.is_multiple_of(3) { vec![(item + 5) % ITEMS] } else { Vec::new() };
        Lesson { example, targets, named, group: None }
    };
    examples(count).into_iter().map(lesson).collect()
}

fn tune_items(folder: &Path, config: &TuneConfig, count: usize, run: &Run) -> crate::Result<LmReport> {
    let path = folder.join("base.gguf");
    if !path.exists() {
        base(folder);
    }
    let chat = Chat::open(&path).unwrap();
    let (lessons, left_out) = (lessons(count), LeftOut::default());
    tune_lessons(&path, &lessons, left_out, Some((&chat, &catalogue())), config, &folder.join("out"), run)
}

#[test]
fn a_ranking_head_learns_along_and_is_served_on_llama_cpps_rows() {
    for (method, objective) in [("lora", "both"), ("full", "items")] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(method);
        (config.objective, config.recall_k, config.epochs) = (objective.into(), 2, 8);
        (config.items_learning_rate, config.learning_rate, config.holdout) = (0.005, 0.001, 0.2);
        let report = tune_items(folder.path(), &config, 160, &Run::new(2).unwrap()).unwrap();
        let looks: Vec<&LmPoint> = report.curve.iter().filter(|p| p.recall.is_some()).collect();
        let (first, last) = (looks[0], looks[looks.len() - 1]);
        assert_eq!((first.step, looks.len()), (0, 9));
        assert_eq!(first.held_out.is_some(), objective == "both");
        assert!(loss(&report) < before(&report) - 0.3, "{} from {}", loss(&report), before(&report));
        assert!(last.recall > first.recall, "{first:?} {last:?}");
        assert!(report.curve.iter().any(|p| p.items_loss.is_some() && p.loss.is_some() == (objective == "both")));
        let exported = report.exported.head.unwrap();
        assert!((exported.trainer_loss - exported.llama_loss).abs() < 0.01, "{exported:?}");
        assert!(exported.agreement > 0.97, "{exported:?}");
        let head = crate::tune::Head::load(&folder.path().join("out").join(HEAD_FILE)).unwrap();
        assert_eq!(head.embedder(), student_name(&report.exported.file).unwrap());
        assert_eq!(head.ids(), catalogue().ids);
    }
}

/// Fused updates move the head and the layers as plain ones do: the first step's losses are the same, the later ones differ
/// only by the order of the updates within a step.
#[test]
fn a_ranking_head_learns_along_with_fused_updates_as_with_plain_ones() {
    let curve = |fused: bool| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config("full");
        (config.objective, config.clip, config.micro_batch_tokens) = ("both".into(), 0.0, 4096);
        (config.fused, config.epochs, config.learning_rate) = (fused, 4, 0.001);
        let report = tune_items(folder.path(), &config, 40, &Run::new(2).unwrap()).unwrap();
        assert!(report.exported.head.is_some());
        report.curve
    };
    let (plain, fused) = (curve(false), curve(true));
    let of = |curve: &[LmPoint]| -> Vec<(f64, f64)> {
        curve.iter().filter_map(|p| Some((p.loss?, p.items_loss?))).collect()
    };
    let (plain, fused) = (of(&plain), of(&fused));
    assert!(plain.len() > 10 && plain.len() == fused.len());
    assert_eq!(plain[0], fused[0]);
    let (first, last) = (fused[0], fused[fused.len() - 1]);
    assert!(last.0 < first.0 - 0.1 && last.1 < first.1 - 0.05, "{first:?} {last:?}");
    for (plain, fused) in plain.iter().zip(&fused) {
        assert!((plain.0 - fused.0).abs() < 1e-3 * plain.0, "{plain:?} {fused:?}");
        assert!((plain.1 - fused.1).abs() < 1e-3 * plain.1, "{plain:?} {fused:?}");
    }
}

/// A finite difference through the whole model: the ranking head's loss in the adapters' values.
#[test]
fn the_ranking_heads_gradient_goes_through_the_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let path = base(folder.path());
    let chat = Chat::open(&path).unwrap();
    Run::new(2).unwrap().install(|| {
        let mut model = super::prepare::open(&path, &TuneConfig { rank: 2, ..config("lora") }).unwrap();
        let mut random = Random::new(7, b"b");
        for tensor in model.tensors.iter_mut().filter(|t| t.trained) {
            let crate::transformer::Storage::F32(values) = &mut tensor.storage else { unreachable!() };
            values.iter_mut().for_each(|v| *v += random.normal() as f32 * 0.02);
        }
        let vectors = super::items::initial_vectors(&model, &chat, &catalogue(), 0).unwrap();
        let mut head = super::items::ItemHead::new(vectors, Default::default()).unwrap();
        let lessons = lessons(5);
        let lessons: Vec<&Lesson> = lessons.iter().collect();
        let examples: Vec<&Example> = lessons.iter().map(|l| &l.example).collect();
        let part = micro_batches(&examples, 1 << 20, true, Scope::Prompts).remove(0);
        let loss = |model: &Model, head: &super::items::ItemHead| {
            let forward = model.forward(&part.batch, Keep::Nothing, None).unwrap();
            head.judge(&model.hidden_at(&forward, &part.ends), &lessons, 20).unwrap().loss
        };
        let mut grads = Grads::new(&model.tensors);
        let forward = model.forward(&part.batch, Keep::All, None).unwrap();
        let hidden = model.hidden_at(&forward, &part.ends);
        let (sum, dhidden) = head.backward(&hidden, &lessons, 1.0).unwrap();
        assert!((sum - loss(&model, &head)).abs() < 1e-4);
        let further = crate::transformer::Further { rows: &part.ends, gradient: &dhidden };
        let (text, mut pass) = model.backward_with(forward, &part.batch, 1.0, Some(further), &mut grads).unwrap();
        assert_eq!(text.tokens, 0);
        while model.backward_step(&mut pass, &part.batch, &mut grads).is_some() {}
        // Along the gradient of each tensor the loss rises by its squared length.
        for id in (0..model.tensors.len()).filter(|id| model.tensors[*id].trained) {
            let gradient = grads.get(id).unwrap().to_vec();
            let length = crate::math::norm(&gradient);
            assert!(length > 0.0, "tensor {id} has no gradient");
            let along = |by: f64| {
                let mut moved = model.clone();
                let crate::transformer::Storage::F32(values) = &mut moved.tensors[id].storage else { unreachable!() };
                values.iter_mut().zip(&gradient).for_each(|(v, g)| *v += (by * f64::from(*g) / length) as f32);
                loss(&moved, &head)
            };
            let step = 5e-3;
            let slope = (along(step) - along(-step)) / (2.0 * step);
            assert!((slope - length).abs() < 0.02 * length + 2e-3, "tensor {id}: slope {slope}, gradient {length}");
        }
    });
}

#[test]
fn the_ranking_heads_accumulation_over_micro_batches_is_the_full_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = base(folder.path());
    let chat = Chat::open(&path).unwrap();
    let lessons = lessons(20);
    let curve = |budget: usize, share: bool| {
        let mut config = config("lora");
        (config.objective, config.epochs, config.dropout) = ("both".into(), 2, 0.0);
        (config.micro_batch_tokens, config.share_prefix) = (budget, share);
        let out = folder.path().join(format!("out {budget} {share}"));
        let catalogue = catalogue();
        let run = Run::new(2).unwrap();
        tune_lessons(&path, &lessons, LeftOut::default(), Some((&chat, &catalogue)), &config, &out, &run).unwrap().curve
    };
    let whole = curve(4096, false);
    for (budget, share) in [(4096, true), (80, false), (80, true)] {
        for (a, b) in whole.iter().zip(&curve(budget, share)) {
            let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-4 * a.abs(),
                (a, b) => a == b,
            };
            assert!(close(a.loss, b.loss) && close(a.items_loss, b.items_loss), "{budget} {share}: {a:?} {b:?}");
            assert!(close(a.held_out_items, b.held_out_items), "{budget} {share}: {a:?} {b:?}");
        }
    }
}

#[test]
fn a_cancelled_training_with_a_ranking_head_goes_on_to_the_same_bytes() {
    let mut config = config("lora");
    (config.objective, config.moments) = ("both".into(), "8bit".into());
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let whole = tune_items(folders[0].path(), &config, 40, &Run::new(1).unwrap()).unwrap();
    for stop_at in [5, 12] {
        let mut seen = 0;
        let run = Run::new(2).unwrap();
        let flag = run.cancel_flag();
        let run = run.on_progress(move |_| {
            seen += 1;
            if seen == stop_at {
                flag.set();
            }
        });
        let stopped = tune_items(folders[1].path(), &config, 40, &run).unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Cancelled);
    }
    let resumed = tune_items(folders[1].path(), &config, 40, &Run::new(2).unwrap()).unwrap();
    assert_eq!(resumed.curve, whole.curve);
    for file in ["adapter.gguf", HEAD_FILE, "loss.svg"] {
        let bytes = |i: usize| std::fs::read(folders[i].path().join("out").join(file)).unwrap();
        assert!(bytes(0) == bytes(1), "{file}");
    }
}

#[test]
fn recall_without_a_head_holds_titles_against_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("lora");
    (config.recall_candidates, config.recall_k, config.eval_every) = (9, 3, 4);
    let report = tune_items(folder.path(), &config, 40, &Run::new(2).unwrap()).unwrap();
    let recalls: Vec<f64> = report.curve.iter().filter_map(|p| p.recall).collect();
    assert!(recalls.len() >= 3 && recalls.iter().all(|r| (0.0..=1.0).contains(r)), "{recalls:?}");
    assert!(report.exported.head.is_none() && report.recall_candidates == 9);
}

#[test]
fn early_stopping_keeps_the_best_step_by_loss_or_by_recall() {
    for by_recall in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config("full");
        (config.objective, config.recall_k) = ("both".into(), 2);
        // Far too fast: it overfits within a few looks.
        (config.epochs, config.learning_rate, config.items_learning_rate) = (60, 0.01, 0.05);
        (config.eval_every, config.patience, config.schedule) = (2, 2, "constant".into());
        config.stop_on = if by_recall { "recall" } else { "loss" }.into();
        let report = tune_items(folder.path(), &config, 40, &Run::new(2).unwrap()).unwrap();
        assert!(report.steps.0 < report.steps.1, "stopped early: {:?}", report.steps);
        let (best, step) = report.best.unwrap();
        let looks: Vec<(f64, u64)> = report
            .curve
            .iter()
            .filter(|p| p.step > 0 && p.recall.is_some())
            .map(|p| {
                (if by_recall { p.recall.unwrap() } else { p.held_out.unwrap() + p.held_out_items.unwrap() }, p.step)
            })
            .collect();
        let expected = looks.iter().copied().reduce(|a, b| {
            let better = if by_recall { b.0 > a.0 } else { b.0 < a.0 };
            if better { b } else { a }
        });
        assert_eq!(Some((best, step)), expected);
        if !by_recall {
            let exported = report.exported.trainer_loss + report.exported.head.unwrap().trainer_loss;
            assert!((exported - best).abs() < 1e-4, "the best step's weights are exported: {exported}, {best}");
        }
        assert!(step < report.steps.0 && report.best_by_recall == by_recall);
    }
    let folder = tempfile::tempdir().unwrap();
    let blind = TuneConfig { stop_on: "recall".into(), ..config("lora") };
    let refused = tune_items(folder.path(), &blind, 20, &Run::new(1).unwrap()).unwrap_err();
    assert!(refused.message().contains("tune.recall_candidates"), "{refused}");
    let alone = TuneConfig { objective: "both".into(), ..config("lora") };
    let path = base(folder.path());
    let refused = tune_examples(&path, &examples(5), &alone, &folder.path().join("x"), &Run::new(1).unwrap());
    assert!(refused.unwrap_err().message().contains("--dataset"));
}

/// Only the last reply was ever trained.
#[test]
fn every_reply_of_a_dialogue_of_several_turns_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let chat = Chat::open(&talking_base(folder.path())).unwrap();
    let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let label = |act, items: &[&str]| MessageLabel {
        items: items.iter().map(|i| (*i).to_string()).collect(),
        ..MessageLabel::new(act)
    };
    let several = Dialogue {
        messages: vec![
            message("user", "Hi"),
            message("assistant", "What kind?"),
            message("user", "Slow"),
            message("assistant", "How about Moon?"),
            message("user", "Seen it"),
            message("assistant", "1. Sun (1990)\n2. River (1984)"),
            message("user", "Fine"),
        ],
        labels: vec![
            label(Act::Open, &[]),
            label(Act::Ask, &[]),
            label(Act::Tell, &[]),
            label(Act::Suggest, &["sun", "river"]),
            label(Act::Seen, &[]),
            label(Act::List, &[]),
            label(Act::Accept, &[]),
        ],
        ..dialogue("", "", &["sun", "river"])
    };
    let catalogue = Catalogue {
        ids: ["river", "moon", "sun"].map(String::from).to_vec(),
        names: ["River (1984)", "Moon (1972)", "Sun (1990)"].map(String::from).to_vec(),
        counts: vec![1.0; 3],
    };
    let named = |text: &str| if text.contains("Moon") { vec![1] } else { Vec::new() };
    let text = |lesson: &Lesson| {
        let tokens = &lesson.example.tokens[lesson.example.trained_from..];
        let bytes: Vec<u8> =
            tokens[..tokens.len() - 1].iter().flat_map(|t| chat.model().piece(*t as i32, false)).collect();
        String::from_utf8(bytes).unwrap().trim().to_string()
    };
    let lessons = |objective, catalogue| {
        let config = TuneConfig { objective, max_tokens: 2000, ..TuneConfig::default() };
        let (lessons, left_out) = lessons_of(&chat, std::slice::from_ref(&several), catalogue, &config).unwrap();
        assert_eq!(left_out, LeftOut::default());
        lessons
    };
    let words: Vec<String> = lessons(Objective::Text, None).iter().map(text).collect();
    assert_eq!(words, ["What kind?", "How about Moon?", "1. Sun (1990)\n2. River (1984)"]);
    let both = lessons(Objective::Both, Some((&catalogue, &named)));
    let words: Vec<String> = both.iter().map(text).collect();
    let list = "1. Sun (1990)\n2. River (1984)";
    assert_eq!(words, ["What kind?", "How about Moon?", list, list]);
    let targets = |lesson: &Lesson| lesson.targets.iter().map(|t| t.0).collect::<Vec<_>>();
    assert_eq!(both.iter().map(targets).collect::<Vec<_>>(), [vec![], vec![], vec![2, 0], vec![2, 0]]);
    // What was suggested before is out of the running; where it is suggested it was not named yet.
    assert_eq!(both.iter().map(|l| l.named.clone()).collect::<Vec<_>>(), [vec![], vec![], vec![], vec![1]]);
    let items = lessons(Objective::Items, Some((&catalogue, &named)));
    assert_eq!(items.iter().map(targets).collect::<Vec<_>>(), [vec![2, 0], vec![2, 0]]);
}
