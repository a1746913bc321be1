//! The command as a user meets it: what it prints, how it fails, what it leaves.

#[path = "../src/testing/mod.rs"]
mod testing;

use std::path::Path;
use std::process::{Command, Output};
use testing::shared;

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
fn parts_of_js_share_the_centres_that_were_fitted_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    matrix(Path::new(&at("x")), 400, 6, |i, j| ((1 + i % 7) as f32 * 0.9 + 1.7 * j as f32 + 0.001 * i as f32).sin());
    let x = at("x");
    let select = |out: &str, more: &[&str]| {
        let plain =
            ["select", "--embeddings", &x, "--strategy", "js", "--clusters", "7", "--budget", "12", "--out", out];
        [&plain[..], more].concat().into_iter().map(String::from).collect::<Vec<_>>()
    };
    let made = |out: &str, more: &[&str]| ok(&select(&at(out), more).iter().map(String::as_str).collect::<Vec<_>>());
    let refused =
        |out: &str, more: &[&str]| failure(&select(&at(out), more).iter().map(String::as_str).collect::<Vec<_>>());
    let told = made("c", &["--fit-centers"]);
    assert!(told.contains("7 centres of 6 values, inertia "), "{told}");
    made("kmeans.jsonl", &[]);
    let centers = ["--centers", &at("c")];
    assert!(made("given.jsonl", &centers).contains("K = 7 (centres "));
    let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    assert_eq!(read("kmeans.jsonl"), read("given.jsonl"));
    for part in 0..3 {
        let told = made(&format!("p{part}"), &[&centers[..], &["--partition", &format!("{part}/3")]].concat());
        assert!(told.contains("12 picks, ") && told.contains("peak memory"), "{told}");
        // A part is the same file whenever it is made.
        let first = read(&format!("p{part}"));
        made(&format!("p{part}"), &[&centers[..], &["--partition", &format!("{part}/3")]].concat());
        assert_eq!(first, read(&format!("p{part}")));
    }
    let parts = format!("{},{},{}", at("p0"), at("p1"), at("p2"));
    ok(&["select", "--merge", &parts, "--out", &at("merged")]);
    let told = made("parts.jsonl", &[&centers[..], &["--finalise", &at("merged")]].concat());
    assert!(told.contains("3 parts, 36 rows merged") && told.contains("% lost against"), "{told}");
    let told = refused("no", &["--finalise", &at("merged")]);
    assert!(told.contains("no centres given"), "{told}");
    made("p1", &["--partition", "1/3"]);
    let told = failure(&["select", "--merge", &parts, "--out", &at("merged")]);
    assert!(told.contains("give every part the same select.centers"), "{told}");
    // What would do nothing is refused.
    for more in [&["--partition", "0/3", "--report", &at("r")][..], &["--fit-centers", "--partition", "0/3"]] {
        refused("no", more);
    }
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
fn parts_shards_and_stored_formats_end_in_one_selection() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let ok = |arguments: &[&str]| {
        let output = causerie(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    ok(&["simulate", "--out", &at("sim"), "--items", "40", "--users", "100", "--reviews", "600"]);
    ok(&[
        "import",
        "--items",
        &at("sim/items.jsonl"),
        "--reviews",
        &at("sim/reviews.jsonl"),
        "--interactions",
        &at("sim/interactions.csv"),
        "--out",
        &at("data"),
    ]);
    // Embedded in one run, and in shards: the same rows.
    let embed = ["embed", "--dataset", &at("data"), "--dim", "16", "--embedder", &at("embedder")];
    let with = |more: &[&str]| ok(&[&embed[..], more].concat());
    with(&["--out", &at("whole.safetensors"), "--store", "f16"]);
    assert!(with(&["--out", &at("rows.json"), "--store", "f16", "--shard", "1/2"]).contains("the next is 0/2"));
    assert!(with(&["--out", &at("rows.json"), "--store", "f16", "--shard", "0/2"]).contains("2 shards, 600 reviews"));
    assert!(ok(&["embed", "--join", "2", "--out", &at("rows.json")]).contains("600 reviews"));
    let budget = ["--strategy", "fisher", "--budget", "30"];
    let select = |rows: &str, out: &str, more: &[&str]| {
        let (rows, out) = (at(rows), at(out));
        ok(&[&["select", "--embeddings", &rows, "--out", &out][..], &budget, more].concat())
    };
    let whole = select("whole.safetensors", "whole.jsonl", &["--checkpoint", &at("checkpoint.json")]);
    select("rows.json", "shards.jsonl", &[]);
    let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    assert_eq!(read("whole.jsonl"), read("shards.jsonl"));
    assert!(whole.contains("% of the best possible") && !folder.path().join("checkpoint.json").exists());
    // Packed into bytes: close, and exact for the bytes.
    ok(&["pack", "--embeddings", &at("rows.json"), "--store", "i8", "--out", &at("i8.safetensors")]);
    select("i8.safetensors", "i8.jsonl", &[]);

    // In parts: close to the whole, within the caps.
    for part in 0..3 {
        select("rows.json", &format!("part{part}.json"), &["--partition", &format!("{part}/3")]);
    }
    let parts = format!("{},{},{}", at("part0.json"), at("part1.json"), at("part2.json"));
    ok(&["select", "--merge", &parts, "--out", &at("merged.json")]);
    select("rows.json", "parts.jsonl", &["--finalise", &at("merged.json"), "--report", &at("report.json")]);
    let report: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(report["rows"], 600);
    // So few rows are selected once more in one go, to tell what the parts lost.
    let lost = &report["parts"];
    assert_eq!(lost["parts"], 3);
    let best = lost["best_part_objective"].as_f64().unwrap();
    match lost["best_part_stands"].as_bool().unwrap() {
        true => assert_eq!(best, report["objective"].as_f64().unwrap()),
        false => assert!(best <= report["objective"].as_f64().unwrap()),
    }
    let (whole_objective, loss) = (lost["whole_objective"].as_f64().unwrap(), lost["loss"].as_f64().unwrap());
    assert!((loss - (1.0 - report["objective"].as_f64().unwrap() / whole_objective)).abs() < 1e-12);
    assert!(
        report["cost"]["seconds"].as_f64().unwrap() > 0.0 && report["cost"]["peak_rss_bytes"].as_u64() > Some(1 << 20)
    );
    let sum = |name: &str| {
        let line = |l: &str| serde_json::from_str::<serde_json::Value>(l).unwrap()["gain"].as_f64().unwrap();
        read(name).lines().map(line).sum::<f64>()
    };
    assert!((whole_objective - sum("whole.jsonl")).abs() < 1e-9);
    assert!(whole.contains("peak memory") && whole.contains("said beforehand: about"), "{whole}");
    assert!(sum("parts.jsonl") > 0.95 * sum("whole.jsonl") && sum("parts.jsonl") <= sum("whole.jsonl") + 1e-9);
    assert!(report["upper_bound"].as_f64().unwrap() >= sum("whole.jsonl") - 1e-9);
    select("rows.json", "capped.jsonl", &["--max-per-item", "1", "--dataset", &at("data"), "--exclude", "0,1"]);
    let (rows, out) = (at("rows.json"), at("x.jsonl"));
    let needs = failure(&["select", "--embeddings", &rows, "--out", &out, "--max-per-item", "1"]);
    assert!(needs.contains("--dataset"), "{needs}");
    let refused = failure(&["select", "--embeddings", &rows, "--out", &out, "--max-memory-bytes", "1000"]);
    assert!(refused.contains("select.max_memory_bytes"), "{refused}");

    // What it would cost is told without a journal, and without anybody to ask.
    let (data, picks) = (at("data"), at("whole.jsonl"));
    let estimate = ["synthesize", "--dataset", &data, "--selection", &picks, "--teacher", "http", "--estimate"];
    let told = ok(&[&estimate[..], &["--in-flight", "9", "--seconds-per-request", "2"]].concat());
    assert!(told.contains("requests         90 (30 for queries, 60 for lists, 0 judgements)"), "{told}");
    assert!(told.contains("seconds          20\n") && told.contains("price            not known"), "{told}");
    // Requests leave as a file; answers to none of them are refused.
    let journal = at("journal.jsonl");
    let common = ["synthesize", "--dataset", &at("data"), "--selection", &at("whole.jsonl"), "--journal", &journal];
    let teacher = ["--teacher", "http", "--model", "m"];
    let export = ["--export-requests", &at("requests.jsonl")];
    assert!(ok(&[&common[..], &teacher, &export].concat()).contains("30 requests"));
    assert_eq!(read("requests.jsonl").lines().count(), 30);
    std::fs::write(at("answers.jsonl"), "{\"custom_id\": \"x\", \"response\": {\"body\": {}}}\n").unwrap();
    let foreign = failure(&["synthesize", "--journal", &journal, "--import-answers", &at("answers.jsonl")]);
    assert!(foreign.contains("none of 1 answers"), "{foreign}");
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

    // What a cap ended once ended well: a script went on with a part of the dialogues.
    let (journal, part) = (at("capped.jsonl"), at("part.jsonl"));
    let capped =
        ["synthesize", "--dataset", &files[3], "--selection", &selection, "--journal", &journal, "--out", &part];
    let said = failure(&[&capped[..], &["--max-requests", "40"]].concat());
    assert!(said.contains("raise synthesize.max_requests"), "{said}");
    let lines = |file: &str| std::fs::read_to_string(file).unwrap().lines().count();
    assert!((1..lines(&dialogues)).contains(&lines(&part)), "{}", lines(&part));
    ok(&capped);
    assert_eq!(std::fs::read(&part).unwrap(), first);
}

/// A small invented domain, and the arguments of a run over it into `work`.
fn little_run_arguments(folder: &Path) -> Vec<String> {
    let at = |name: &str| folder.join(name).display().to_string();
    ok(&[
        "simulate",
        "--items",
        "60",
        "--users",
        "200",
        "--reviews",
        "300",
        "--conversations",
        "20",
        "--out",
        &at("data"),
    ]);
    let set = |key: &str, value: &str| [String::from("--set"), format!("{key}={value}")];
    let settings = [
        set("dataset.items", &at("data/items.jsonl")),
        set("dataset.reviews", &at("data/reviews.jsonl")),
        set("evaluate.conversations", &at("data/conversations.jsonl")),
        set("embed.dim", "16"),
        set("embed.buckets", "1024"),
        set("embed.user_dim", "4"),
        set("tune.head_epochs", "1"),
        set("evaluate.bootstrap", "100"),
        set("pipeline.budget", "30"),
    ];
    let arguments = [String::from("run"), "--work".into(), at("work")];
    arguments.into_iter().chain(settings.into_iter().flatten()).collect()
}

/// A finished run over a small invented domain, and its conversations.
fn little_run(folder: &Path) -> (String, String) {
    let arguments = little_run_arguments(folder);
    ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let at = |name: &str| folder.join(name).display().to_string();
    (at("work"), at("data/conversations.jsonl"))
}

#[test]
fn plain_pairs_that_a_cap_ended_are_not_finished() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = little_run_arguments(folder.path());
    let with = |most: &'static str| {
        let more = ["--naive", "--budget", "10", "--set", most];
        arguments.iter().map(String::as_str).chain(more).collect::<Vec<_>>()
    };
    // 10 seeds of one request each, and as many plain pairs: 20 in all.
    let said = failure(&with("synthesize.max_requests=15"));
    assert!(said.contains("synthesize naive: the cap"), "{said}");
    ok(&with("synthesize.max_requests=20"));
}

#[test]
fn how_a_run_is_asked_is_heeded_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (work, conversations) = little_run(folder.path());
    let ask = |more: &[&str]| {
        let mut arguments = vec!["recommend", "--work", &work, "--conversations", &conversations, "--top-k", "5"];
        arguments.extend(more);
        ok(&arguments)
    };
    let plain = ask(&[]);
    for more in [["--context-chars", "5"], ["--mentions", "false"], ["--set", "recommend.context_turns=1"]] {
        assert_ne!(ask(&more), plain, "{more:?}");
    }
    assert_ne!(ask(&["--system", "nbcrs"]), ask(&["--system", "nbcrs", "--neighbours", "1"]));
    // What the run was made with stands where nothing else is said.
    assert_eq!(ask(&["--context-chars", "1000", "--set", "recommend.context=user"]), plain);
}

#[test]
fn unknown_excluded_ids_are_told_once_not_once_a_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let (work, conversations) = little_run(folder.path());
    let output =
        causerie(&["recommend", "--work", &work, "--conversations", &conversations, "--exclude", "nobody,knows"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("nobody").count(), 1, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// What `causerie` prints when it is told `said`.
fn told(arguments: &[&str], said: &str) -> String {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_causerie"))
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn masks_of_the_command_line_hold_in_a_chat() {
    let folder = tempfile::tempdir().unwrap();
    let (work, _) = little_run(folder.path());
    let chat = |more: &[&str]| {
        let mut arguments = vec!["recommend", "--quiet", "--work", &work];
        arguments.extend(more);
        told(&arguments, "something good\n")
    };
    assert_eq!(chat(&[]).lines().count(), 10);
    assert_eq!(chat(&["--top-k", "15"]).lines().count(), 15);
    let items = std::fs::read_to_string(folder.path().join("data/items.jsonl")).unwrap();
    let ids: Vec<String> = items
        .lines()
        .take(3)
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["item"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(chat(&["--allow", &ids.join(",")]).lines().count(), 3);
    assert_eq!(chat(&["--allow", &ids.join(","), "--exclude", &ids[1]]).lines().count(), 2);
    assert!(failure(&["recommend", "--work", &work, "--why", "2"]).contains("--conversations"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_gives_all_its_lines_to_an_import() {
    // Longer than what is read ahead for the first line.
    let items: String = (0..20_000).map(|i| format!("{{\"item\": \"i{i}\", \"title\": \"Film {i}\"}}\n")).collect();
    let said = told(&["import", "--items", "/dev/stdin"], &items);
    assert!(said.starts_with("items                     20000\n"), "{said}");
    assert!(!said.contains("bad lines"), "{said}");
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
    // The adapter that the bench made to exchange changed nothing, and was refused.
    let model = format!("recommend.model={base}");
    let bench = ["bench", "recommend", "--set", &model, "--items", "60", "--requests", "1", "--modes", "exchange"];
    let text = ok(&bench);
    assert!(text.contains("none failed"), "{text}");
}

/// The estimate was once too low for large budgets: what update vectors, their copies and the pool hold grows with the budget.
#[test]
fn a_selection_takes_no_more_memory_than_it_says_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.safetensors").display().to_string();
    let made = ok(&["bench", "select", "--make-rows", "6000", "--dim", "512", "--store", "f16", "--out", &rows]);
    assert!(made.contains("6000 rows x 512 values"), "{made}");
    let bytes = |text: &str| {
        let (number, unit) = text.split_once(' ').unwrap();
        let shift = ["bytes", "KiB", "MiB", "GiB"].iter().position(|u| *u == unit).unwrap();
        number.parse::<f64>().unwrap() * f64::powi(1024.0, shift as i32)
    };
    for (strategy, budget) in [("fisher", "3000"), ("js", "300")] {
        let told = ok(&[
            "bench",
            "select",
            "--embeddings",
            &rows,
            "--strategy",
            strategy,
            "--budget",
            budget,
            "--clusters",
            "400",
            "--runs",
            "1",
            "--threads",
            "2",
        ]);
        let part = |from: &str, to: &str| bytes(told.split(from).nth(1).unwrap().split(to).next().unwrap().trim());
        let taken = part("(mapped rows among it),", " of it working memory");
        let said = part("said beforehand: about", " of working memory");
        assert!(said > 20e6, "{strategy}: too small a case to tell: {told}");
        assert!(taken <= said, "{strategy}: {told}");
        // Not so high that nobody can use it.
        assert!(said < 6.0 * taken + 64e6, "{strategy}: {told}");
    }
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
