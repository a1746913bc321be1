//! The command as a user meets it: what it prints, how it fails, what it leaves.

mod common;

use common::shared;
use std::path::Path;
use std::process::{Command, Output};

fn causerie(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causerie")).args(arguments).output().unwrap()
}

fn failure(arguments: &[&str]) -> String {
    let output = causerie(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// A safetensors file of one f32 tensor `embeddings`.
fn matrix(path: &Path, rows: usize, dim: usize, value: impl Fn(usize, usize) -> f32) {
    let data: Vec<u8> =
        (0..rows).flat_map(|i| (0..dim).map(move |j| (i, j))).flat_map(|(i, j)| value(i, j).to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![rows, dim], &data).unwrap();
    std::fs::write(path, safetensors::serialize([("embeddings", view)], None).unwrap()).unwrap();
}

#[test]
fn config_prints_every_setting() {
    let output = causerie(&["config"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for setting in causerie::config::table() {
        assert!(text.contains(setting.key), "{}", setting.key);
    }
}

#[test]
fn an_unknown_setting_names_the_nearest_one_and_a_missing_file_its_path() {
    assert!(failure(&["run", "--work", "x", "--set", "select.lamda=1"]).contains("select.lambda"));
    assert!(failure(&["import", "--reviews", "nowhere.jsonl"]).contains("nowhere.jsonl"));
    assert!(failure(&["recommend", "--work", "nowhere"]).contains("no finished run"));
}

#[test]
fn select_writes_the_stable_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.safetensors"), folder.path().join("s.jsonl"));
    // Rows e_0, 2 e_1, e_0: the longest first, then ties to the lowest row. Gains: ln 5, ln 2, ln 1.5 (log(1 + x' Lambda x)).
    matrix(&x, 3, 2, |i, j| if i == 1 { 2.0 * j as f32 } else { 1.0 - j as f32 });
    let (x, out) = (x.to_str().unwrap(), out.to_str().unwrap());
    let output = causerie(&["select", "--embeddings", x, "--strategy", "fisher", "--budget", "9", "--out", out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains('9'), "nothing was said of a budget above the rows");
    let lines: Vec<serde_json::Value> =
        std::fs::read_to_string(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let rows: Vec<u64> = lines.iter().map(|l| l["row"].as_u64().unwrap()).collect();
    assert_eq!(rows, [1, 0, 2]);
    for (line, gain) in lines.iter().zip([5f64.ln(), 2f64.ln(), 1.5f64.ln()]) {
        assert!((line["gain"].as_f64().unwrap() - gain).abs() < 1e-9);
    }
    assert_eq!(lines[2]["rank"], 2);
    assert!(failure(&["select", "--embeddings", x, "--out", out, "--clusters", "0"]).contains("clusters"));
}

#[test]
fn nan_in_a_given_matrix_is_refused_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let (x, out) = (folder.path().join("x.safetensors"), folder.path().join("s.jsonl"));
    matrix(&x, 5, 4, |i, j| if (i, j) == (3, 2) { f32::NAN } else { 1.0 });
    let text = failure(&["select", "--embeddings", x.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(text.contains("row 3"), "{text}");
    assert!(!out.exists());
}

#[test]
fn the_published_gpt4_numbers_come_back() {
    let file = |name: &str| shared(&format!("data/{name}"));
    let (Some(conversations), Some(items), Some(answers), Some(published)) = (
        file("conversations/inspired_test.jsonl"),
        file("conversations/inspired_items.jsonl"),
        file("llm_outputs/gpt4_inspired.jsonl"),
        file("llm_outputs/gpt4_inspired_published.json"),
    ) else {
        return;
    };
    let text = |p: &Path| p.display().to_string();
    let output = causerie(&[
        "evaluate",
        "--conversations",
        &text(&conversations),
        "--items",
        &text(&items),
        "--answers",
        &text(&answers),
    ]);
    let ours: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let theirs: serde_json::Value = serde_json::from_slice(&std::fs::read(published).unwrap()).unwrap();
    let mut compared = 0;
    for (variant, values) in theirs["variants"].as_object().unwrap() {
        for (key, value) in values.as_object().unwrap() {
            let ours = ours["variants"][variant][key].as_f64().unwrap();
            assert!((ours - value.as_f64().unwrap()).abs() < 1e-6, "{variant} {key}: {ours}");
            compared += 1;
        }
    }
    assert_eq!(compared, 96);
}

/// The standard output of a call that succeeds.
fn ok(arguments: &[&str]) -> String {
    let output = causerie(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `dataset`, `embedder.safetensors` and `dialogues.jsonl` of a small invented domain in `folder`, made stage by stage.
fn little_domain(folder: &Path) {
    let at = |name: &str| folder.join(name).display().to_string();
    ok(&[
        "simulate",
        "--items",
        "60",
        "--users",
        "200",
        "--reviews",
        "900",
        "--conversations",
        "20",
        "--out",
        &at("data"),
    ]);
    let files = [at("data/items.jsonl"), at("data/reviews.jsonl"), at("data/interactions.csv"), at("dataset")];
    ok(&["import", "--items", &files[0], "--reviews", &files[1], "--interactions", &files[2], "--out", &files[3]]);
    let (rows, fitted) = (at("e.safetensors"), at("embedder.safetensors"));
    ok(&["embed", "--dataset", &files[3], "--dim", "32", "--out", &rows, "--embedder", &fitted]);
    ok(&["embed", "--dataset", &files[3], "--what", "user", "--user-dim", "8", "--out", &at("u.safetensors")]);
    let selection = at("selection.jsonl");
    ok(&[
        "select",
        "--embeddings",
        &rows,
        "--features",
        &at("u.safetensors"),
        "--strategy",
        "user_js",
        "--clusters",
        "8",
        "--budget",
        "50",
        "--out",
        &selection,
    ]);
    let (journal, dialogues) = (at("journal.jsonl"), at("dialogues.jsonl"));
    ok(&["synthesize", "--dataset", &files[3], "--selection", &selection, "--journal", &journal, "--out", &dialogues]);
    let first = std::fs::read(&dialogues).unwrap();
    ok(&["synthesize", "--dataset", &files[3], "--selection", &selection, "--journal", &journal, "--out", &dialogues]);
    assert_eq!(std::fs::read(&dialogues).unwrap(), first);
}

#[test]
fn stage_by_stage_from_files_to_a_head() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    little_domain(folder.path());
    let (dataset, dialogues, fitted) = (at("dataset"), at("dialogues.jsonl"), at("embedder.safetensors"));
    let text = ok(&[
        "tune",
        "--dataset",
        &dataset,
        "--dialogues",
        &dialogues,
        "--embedder",
        &fitted,
        "--head-epochs",
        "3",
        "--out",
        &at("head.safetensors"),
    ]);
    assert!(text.contains("held-out loss"), "{text}");
    // An import that fails leaves the good dataset.
    std::fs::write(at("bad.jsonl"), "{}\n{}\n{}\n").unwrap();
    let text = failure(&["import", "--reviews", &at("bad.jsonl"), "--max-bad-lines", "1", "--out", &dataset]);
    assert!(text.contains("bad.jsonl:1"), "{text}");
    causerie::dataset::Dataset::load(Path::new(&dataset)).unwrap();
}

#[cfg(feature = "llama")]
#[test]
fn a_language_model_from_nothing_is_tuned_with_the_catalogue_and_its_adapter_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    little_domain(folder.path());
    let (dataset, dialogues, base) = (at("dataset"), at("dialogues.jsonl"), at("base.gguf"));
    ok(&["new-model", "--params", "400k", "--dataset", &dataset, "--out", &base]);
    let out = at("out");
    let start = ["tune", "--method", "lora", "--model", &base, "--dialogues", &dialogues, "--out", &out];
    let how = ["--epochs", "1", "--learning-rate", "0.002", "--objective", "both"];
    fn joined<'a>(parts: [&[&'a str]; 3]) -> Vec<&'a str> {
        parts.concat()
    }
    let tune = |more| joined([&start, &how, more]);
    let text = failure(&tune(&[]));
    assert!(text.contains("--dataset"), "{text}");
    let text = ok(&tune(&["--dataset", &dataset]));
    assert!(text.contains("held-out loss"), "{text}");
    for file in ["adapter.gguf", "adapter/adapter_config.json", "head.safetensors", "loss.svg", "tune.json"] {
        assert!(folder.path().join("out").join(file).exists(), "{file}");
    }
    let adapter = at("out/adapter.gguf");
    let text = ok(&["merge", "--model", &base, "--adapter", &adapter, "--out", &at("merged.gguf"), "--type", "f32"]);
    assert!(text.contains("merged.gguf"), "{text}");
    assert!(folder.path().join("merged.gguf").exists());
    // A second file of the same name is not a base: the adapter does not fit, and nothing is left behind.
    ok(&["new-model", "--params", "800k", "--dataset", &dataset, "--out", &at("other.gguf")]);
    let text = failure(&["merge", "--model", &at("other.gguf"), "--adapter", &adapter, "--out", &at("wrong.gguf")]);
    assert!(text.contains("another base"), "{text}");
    assert!(!folder.path().join("wrong.gguf").exists());
}

/// `tune` once had two options of that name, and read the one that nobody had given.
#[test]
fn no_command_has_two_options_of_one_name() {
    let top = ok(&["--help"]);
    let commands = top.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let commands: Vec<&str> = commands
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands.iter().filter(|c| !["help", "bench"].contains(c)) {
        let help = ok(&[command, "--help"]);
        let mut options: Vec<&str> =
            help.lines().filter_map(|l| l.trim().strip_prefix("--")?.split([' ', ',', '[']).next()).collect();
        options.sort_unstable();
        assert!(!options.is_empty(), "{command}");
        for pair in options.windows(2) {
            assert_ne!(pair[0], pair[1], "causerie {command} --help");
        }
    }
}
