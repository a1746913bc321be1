//! The whole loop on the simulated domain: it learns, it resumes, it repeats itself to the byte.

mod common;

use causerie::config::{RankingSystem, Strategy};
use causerie::pipeline::{demo_config, demo_defaults, open, pipeline};
use causerie::recommend::{ItemList, Query};
use causerie::{Config, Run};
use common::recall;
use std::fs;
use std::path::Path;

/// A small demo; `threads` must not change a byte.
fn settings(dir: &Path, run: &Run) -> Config {
    let mut config = demo_defaults();
    for (key, value) in [
        ("simulate.items", "300"),
        ("simulate.users", "1500"),
        ("simulate.reviews", "8000"),
        ("simulate.conversations", "300"),
        ("embed.dim", "48"),
        ("embed.user_dim", "16"),
        ("pipeline.strategies", "random,fisher"),
        ("pipeline.budget", "200"),
        ("pipeline.naive", "false"),
        ("evaluate.bootstrap", "200"),
        ("tune.method", "head"),
    ] {
        config.set(key, value).unwrap();
    }
    demo_config(dir, &config, run).unwrap()
}

#[test]
fn the_loop_learns_resumes_and_repeats_itself_whatever_the_threads() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let run = Run::new(2).unwrap();
    let config = settings(&one, &run);
    let report = pipeline(&config, &one, false, &run).unwrap();

    // It learns: what was tuned on the dialogues beats popularity, and beats itself untrained.
    let set = &report.evaluations[0];
    let popularity = recall(set, "popularity (seed data)", 10);
    for label in ["head (fisher)", "head (random)"] {
        assert!(recall(set, label, 10) > popularity, "{label}: {} against {popularity}", recall(set, label, 10));
        assert!(recall(set, label, 10) > recall(set, "head, untrained", 10));
    }
    assert!(report.curves.iter().any(|p| p.strategy == "fisher" && p.budget == 400));
    let page = fs::read_to_string(one.join("report.html")).unwrap();
    assert!(page.contains("<svg"));
    // The page opens without a network: it loads nothing (the name of the SVG namespace is no address to fetch).
    for foreign in ["src=\"http", "href=\"http", "url(http", "<script", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }

    // It resumes: with all stages finished nothing is done again; with one artifact lost, that one comes back the same.
    let head = "fisher/round-2/head.safetensors";
    let before = fs::read(one.join(head)).unwrap();
    let journal = fs::read(one.join("journal.jsonl")).unwrap();
    fs::remove_file(one.join(head)).unwrap();
    pipeline(&config, &one, false, &run).unwrap();
    assert_eq!(fs::read(one.join(head)).unwrap(), before);
    assert_eq!(fs::read(one.join("journal.jsonl")).unwrap(), journal);

    // It repeats itself: one thread, another folder, the same bytes.
    let single = Run::new(1).unwrap();
    pipeline(&settings(&two, &single), &two, false, &single).unwrap();
    for file in [
        "embeddings.safetensors",
        "collaborative.safetensors",
        "fisher/round-1/selection.jsonl",
        "fisher/round-2/selection.jsonl",
        "random/round-2/dialogues.jsonl",
        head,
        "evaluation.json",
    ] {
        assert!(fs::read(one.join(file)).unwrap() == fs::read(two.join(file)).unwrap(), "{file} differs");
    }

    // It recommends: what was said and what is excluded never comes back.
    let opened = open(&one, RankingSystem::Head, Some(Strategy::Fisher), &run).unwrap();
    let conversations = causerie::dataset::load_conversations(&one.join("data/conversations.jsonl"), 0).unwrap();
    let conversation = conversations.iter().find(|c| !c.seen.is_empty()).unwrap();
    let items = opened.items();
    let exclude = ItemList::of_ids([items.id(3)]);
    let query = Query { exclude, top_k: Some(1000), explain: Some(0), ..Query::new(conversation.clone()) };
    let answer = opened.answer(&query, &run).unwrap().items;
    assert!(answer.len() > 100);
    assert!(answer.iter().all(|r| r.item != 3));
    for seen in &conversation.seen {
        let row = items.find(seen.item.as_deref().unwrap()).unwrap();
        assert!(answer.iter().all(|r| r.item != row));
    }
}

#[test]
fn a_budget_above_the_reviews_selects_them_all_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(2).unwrap();
    let mut config = settings(folder.path(), &run);
    for (key, value) in [
        ("pipeline.strategies", "js"),
        ("pipeline.rounds", "1"),
        ("pipeline.budget", "100000"),
        ("synthesize.queries", "1"),
        ("tune.head_epochs", "1"),
    ] {
        config.set(key, value).unwrap();
    }
    let report = pipeline(&config, folder.path(), false, &run).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("all were selected")), "{:?}", report.warnings);
}

#[test]
fn a_cancelled_run_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(2).unwrap();
    let config = settings(folder.path(), &run);
    let cancelled = Run::new(2).unwrap();
    let flag = cancelled.cancel_flag();
    let cancelled = cancelled.on_progress(move |p| {
        if p.stage == "tune" {
            flag.set();
        }
    });
    let stopped = pipeline(&config, folder.path(), false, &cancelled).unwrap_err();
    assert_eq!(stopped.kind(), causerie::ErrorKind::Cancelled);
    let dialogues = folder.path().join("random/round-1/dialogues.jsonl");
    let made = fs::metadata(&dialogues).unwrap().modified().unwrap();
    pipeline(&config, folder.path(), false, &run).unwrap();
    assert_eq!(fs::metadata(&dialogues).unwrap().modified().unwrap(), made, "dialogues were made twice");
    assert!(folder.path().join("report.html").exists());
}

/// A language model in the loop: made of the reviews, tuned by LoRA in every round, the reviews seen through it.
#[test]
#[cfg(feature = "llama")]
fn a_language_model_made_of_the_reviews_is_tuned_in_rounds_and_recommends() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let student = |dir: &Path, run: &Run| {
        let mut config = settings(dir, run);
        for (key, value) in [
            ("simulate.items", "60"),
            ("simulate.users", "200"),
            ("simulate.reviews", "600"),
            ("simulate.conversations", "60"),
            ("pipeline.strategies", "fisher,random"),
            ("pipeline.students", "fisher"),
            ("pipeline.budget", "40"),
            ("pipeline.reembed", "true"),
            ("tune.method", "lora"),
            ("tune.objective", "both"),
            ("tune.new_parameters", "400000"),
            ("tune.pretrain_max_tokens", "64"),
            ("tune.learning_rate", "0.005"),
            ("tune.epochs", "2"),
            ("embed.max_tokens", "32"),
        ] {
            config.set(key, value).unwrap();
        }
        demo_config(dir, &config, run).unwrap()
    };
    let run = Run::new(2).unwrap();
    let config = student(&one, &run);
    let report = pipeline(&config, &one, false, &run).unwrap();
    let set = &report.evaluations[0];
    let recall_of = |label: &str| recall(set, label, 20);
    let labels =
        ["language model (lora, fisher)", "language model, its head (lora, fisher)", "language model, untuned"];
    assert!(labels.iter().all(|label| (0.0..=1.0).contains(&recall_of(label))));
    assert!(report.losses.iter().any(|p| p.label == "model fisher 2" && p.loss.is_finite()));
    for file in ["base/model.gguf", "fisher/round-1/student/adapter.gguf", "fisher/round-2/embeddings.safetensors"] {
        assert!(one.join(file).exists(), "{file}");
    }
    // A strategy without a model of its own goes on with the rows that it has.
    assert!(one.join("random/round-2/head.safetensors").exists());
    assert!(!one.join("random/round-2/embeddings.safetensors").exists());

    // The weights are the same for one thread and two; a lost adapter comes back the same.
    let adapter = "fisher/round-1/student/adapter.gguf";
    let before = fs::read(one.join(adapter)).unwrap();
    fs::remove_file(one.join(adapter)).unwrap();
    pipeline(&config, &one, false, &run).unwrap();
    assert!(fs::read(one.join(adapter)).unwrap() == before, "a second tuning gave another adapter");
    let single = Run::new(1).unwrap();
    pipeline(&student(&two, &single), &two, false, &single).unwrap();
    for file in ["base/model.gguf", adapter] {
        assert!(
            fs::read(two.join(file)).unwrap() == fs::read(one.join(file)).unwrap(),
            "{file} depends on the threads"
        );
    }

    // It serves from the finished directory, only what is in the catalogue, and nothing that was excluded.
    let opened = open(&one, RankingSystem::Lm, Some(Strategy::Fisher), &run).unwrap();
    let conversations = causerie::dataset::load_conversations(Path::new(&config.evaluate.conversations[0]), 0).unwrap();
    let exclude = ItemList::of_ids([opened.items().id(3)]);
    let query = Query { exclude, top_k: Some(60), explain: Some(0), ..Query::new(conversations[0].clone()) };
    let answer = opened.answer(&query, &run).unwrap().items;
    let mut items: Vec<u32> = answer.iter().map(|r| r.item).collect();
    items.sort_unstable();
    let distinct = items.len();
    items.dedup();
    assert!(distinct == items.len() && distinct > 20 && items.iter().all(|i| *i < 60 && *i != 3), "{items:?}");

    // Asked for at the command line, another way to rank is taken: it was not, without a word.
    let file = folder.path().join("one.jsonl");
    let talk = fs::read_to_string(&config.evaluate.conversations[0]).unwrap();
    fs::write(&file, talk.lines().next().unwrap()).unwrap();
    let said = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_causerie"));
        command.args(["recommend", "--system", "lm", "--strategy", "fisher", "--threads", "1", "--work"]).arg(&one);
        let output = command.arg("--conversations").arg(&file).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        line["items"].as_array().unwrap().iter().map(|i| i["score"].as_f64().unwrap()).collect::<Vec<f64>>()
    };
    // Log-probabilities by search; places in the list, 0, -1, -2, …, where the model writes one.
    let searched = said(&[]);
    assert!(searched.len() == 20 && searched.iter().all(|s| *s < 0.0 && s.fract() != 0.0), "{searched:?}");
    let written = said(&["--set", "recommend.mode=generate"]);
    assert!(written.iter().enumerate().all(|(n, s)| *s == -(n as f64)), "{written:?}");
}
