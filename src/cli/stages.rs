//! One stage at a time, file to file: `causerie embed`, `select`, `synthesize`, `tune`.

use super::progress::{print, run_of};
use super::settings::{config_of, with_settings};
use causerie::config::Config;
use causerie::dataset::Dataset;
use causerie::embed::{self, Embedder, TextEmbedder};
use causerie::recommend::Mentions;
use causerie::run::{Level, log};
use causerie::select::{self, Selection, Terms};
use causerie::synthesize::{self, Dialogue};
use causerie::tune::{self, ItemVectors};
use causerie::{Error, Result, Run, artifact};
use clap::{Arg, ArgMatches, Command};
use std::path::{Path, PathBuf};

fn file(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("FILE").help(help)
}

fn dataset_arg() -> Arg {
    Arg::new("dataset").long("dataset").value_name("DIR").required(true).help("Folder that `causerie import` made")
}

fn path(matches: &ArgMatches, name: &str) -> PathBuf {
    PathBuf::from(matches.get_one::<String>(name).map(String::as_str).unwrap_or_default())
}

/// `causerie embed`.
pub fn embed_command() -> Command {
    let command =
        Command::new("embed").about("Texts to rows: reviews, or the features of the aware strategies; resumes");
    with_settings(command, "embed", &["file"])
        .arg(dataset_arg())
        .arg(
            Arg::new("what")
                .long("what")
                .default_value("reviews")
                .value_parser(["reviews", "metadata", "user"])
                .help("The reviews' texts, their items' metadata (§4.5), or collaborative factors (§4.6)"),
        )
        .arg(file("out", "safetensors file: one f32 tensor `embeddings` [reviews, dim]").required(true))
        .arg(file("embedder", "Keep the fitted built-in embedder here, or use the one that is there"))
}

/// Runs `causerie embed`.
pub fn embed(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let data = Dataset::load(&path(matches, "dataset"))?;
    let out = path(matches, "out");
    let features = match matches.get_one::<String>("what").map(String::as_str) {
        Some("metadata") => embed::metadata_rows(&data, &config.embed, &run)?,
        Some("user") => embed::collaborative(&data, &config.embed, &run)?.review_rows(&data),
        _ => {
            let fitted = matches.get_one::<String>("embedder").map(PathBuf::from);
            let done = embed::embed_reviews(&data, &*embedder(&config, &data, fitted.as_deref(), &run)?, &out, &run)?;
            let resumed =
                if done.resumed_rows > 0 { format!(" ({} were there)", done.resumed_rows) } else { String::new() };
            return print(&format!("{} reviews x {} dimensions{resumed}: {}", done.rows, done.dim, out.display()));
        }
    };
    embed::write_matrix(&out, embed::EMBEDDINGS, &features, &Default::default())?;
    print(&format!("{} reviews x {} dimensions: {}", features.rows(), features.dim(), out.display()))
}

/// The embedder of the settings; a fitted one is kept in `fitted`, or read from there.
fn embedder(config: &Config, data: &Dataset, fitted: Option<&Path>, run: &Run) -> Result<Box<dyn Embedder>> {
    match fitted {
        Some(path) if config.embed.method == "text" && path.exists() => Ok(Box::new(TextEmbedder::load(path)?)),
        Some(path) if config.embed.method == "text" => {
            let embedder = TextEmbedder::fit_dataset(data, &config.embed, run)?;
            embedder.save(path)?;
            Ok(Box::new(embedder))
        }
        Some(_) | None => embed::open(&config.embed, data, run),
    }
}

/// `causerie select`.
pub fn select_command() -> Command {
    let command = Command::new("select").about("Rows to seeds, most informative first (§3.2)");
    with_settings(command, "select", &[])
        .arg(file("embeddings", "safetensors file: one f32 tensor `embeddings` [rows, dim]").required(true))
        .arg(file("features", "The same for the features of an aware strategy"))
        .arg(file("centers", "JS: cluster centres [clusters, dim], in place of K-means"))
        .arg(file("continue", "An earlier selection.jsonl to continue to the larger budget"))
        .arg(file("out", "JSON lines: {\"rank\", \"row\", \"gain\"}").required(true))
}

/// Runs `causerie select`.
pub fn select(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let read = |name: &str| -> Result<Option<causerie::math::Matrix>> {
        matches.get_one::<String>(name).map(|p| embed::read_only_matrix(Path::new(p))).transpose()
    };
    let x = read("embeddings")?.ok_or_else(|| Error::invalid("select: --embeddings is needed"))?;
    let (features, centers) = (read("features")?, read("centers")?);
    let earlier = match matches.get_one::<String>("continue") {
        Some(path) => Selection::load(Path::new(path))?,
        None => Selection::default(),
    };
    let terms = Terms { centers: centers.as_ref(), ..Terms::default() };
    let selected = select::extend(&earlier, &x, features.as_ref(), &terms, &config.select, &run)?;
    let out = path(matches, "out");
    selected.selection.save(&out)?;
    print(&format!("{}\n{}", selected.report, out.display()))
}

/// `causerie synthesize`.
pub fn synthesize_command() -> Command {
    let command = Command::new("synthesize").about("Seeds to dialogues through a teacher (§3.3, Algorithm 2); resumes");
    with_settings(command, "synthesize", &[])
        .arg(dataset_arg())
        .arg(file("selection", "selection.jsonl of `causerie select`").required(true))
        .arg(file("journal", "Every request and answer; run again, nothing in it is asked twice").required(true))
        .arg(file("out", "Dialogues, JSON lines in chat format").required(true))
}

/// Runs `causerie synthesize`.
pub fn synthesize(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let data = Dataset::load(&path(matches, "dataset"))?;
    let selection = Selection::load(&path(matches, "selection"))?;
    let done = synthesize::synthesize(&data, &selection, &config.synthesize, 0, &run, &path(matches, "journal"))?;
    let out = path(matches, "out");
    artifact::write_jsonl(&out, &done.rows)?;
    if done.report.capped {
        log(
            Level::Warn,
            "a cap ended it early: raise synthesize.max_requests or .max_tokens and run again for the rest",
        );
    }
    print(&format!("{}\n{}", done.report, out.display()))
}

/// `causerie tune`.
pub fn tune_command() -> Command {
    let command =
        Command::new("tune").about("Dialogues to a ranking head, a LoRA adapter or a tuned language model (§3.4)");
    with_settings(command, "tune", &[])
        .arg(file("dialogues", "Dialogues of `causerie synthesize`").required(true))
        .arg(Arg::new("out").long("out").value_name("PATH").required(true).help("head: a file; lora, full: a folder"))
        .arg(
            Arg::new("dataset").long("dataset").value_name("DIR").help(
                "Folder that `causerie import` made; head: needed; lora, full: for Recall and to rank the catalogue",
            ),
        )
        .arg(file("embedder", "head: the fitted embedder of `causerie embed --embedder`; none: fit it again"))
}

/// Runs `causerie tune`.
pub fn tune(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let dialogues: Vec<Dialogue> = artifact::read_jsonl(&path(matches, "dialogues"))?;
    match config.tune.method.as_str() {
        "head" => tune_head(matches, &config, &dialogues, &run),
        _ => tune_model(matches, &config, &dialogues, &run),
    }
}

fn tune_head(matches: &ArgMatches, config: &Config, dialogues: &[Dialogue], run: &Run) -> Result<()> {
    if matches.get_one::<String>("dataset").is_none() {
        return Err(Error::invalid("tune: the ranking head needs --dataset DIR (of `causerie import --out DIR`)"));
    }
    let data = Dataset::load(&path(matches, "dataset"))?;
    let fitted = matches.get_one::<String>("embedder").map(PathBuf::from);
    let embedder = embedder(config, &data, fitted.as_deref(), run)?;
    let items = ItemVectors::from_items(&data.items, &*embedder, run)?.count(&data)?;
    let mentions = Mentions::new(&data.items, &items.counts);
    let find = |text: &str| mentions.rows(text);
    let (head, report) = tune::tune_head(dialogues, items, &*embedder, &find, &config.tune, run)?;
    let out = path(matches, "out");
    head.save(&out)?;
    print(&format!("{report}\n{}", out.display()))
}

/// What is said before and beside a long training, the memory that it will take first of all, goes to the terminal too.
#[cfg(feature = "llama")]
fn say_more() {
    causerie::run::set_log(Some(Box::new(|level, text| {
        if level <= Level::Info {
            eprintln!("causerie: {text}");
        }
    })));
}

#[cfg(feature = "llama")]
fn tune_model(matches: &ArgMatches, config: &Config, dialogues: &[Dialogue], run: &Run) -> Result<()> {
    if config.tune.model.is_empty() {
        return Err(Error::invalid(
            "tune: lora and full need --model BASE.gguf (`causerie new-model` makes a small one)",
        ));
    }
    say_more();
    let (base, out) = (PathBuf::from(&config.tune.model), path(matches, "out"));
    let report = if matches.get_one::<String>("dataset").is_some() {
        let data = Dataset::load(&path(matches, "dataset"))?;
        let catalogue = tune::lm::Catalogue::of(&data);
        let mentions = Mentions::new(&data.items, &catalogue.counts);
        let find = |text: &str| mentions.rows(text);
        tune::lm::tune_lm_with_catalogue(&base, dialogues, &catalogue, &find, &config.tune, &out, run)?
    } else {
        let messages = dialogues.iter().map(tune::lm::messages_of).collect::<Result<Vec<_>>>()?;
        tune::lm::tune_lm(&base, &messages, &config.tune, &out, run)?
    };
    print(&lm_summary(&report))
}

#[cfg(not(feature = "llama"))]
fn tune_model(_: &ArgMatches, _: &Config, _: &[Dialogue], _: &Run) -> Result<()> {
    Err(Error::unsupported("tune: lora and full need a build with the feature llama"))
}

/// What a tuning of a language model ends with.
#[cfg(feature = "llama")]
fn lm_summary(report: &tune::lm::LmReport) -> String {
    let exported = &report.exported;
    let mut text = format!(
        "{}: {} dialogues, {} held out, {} of {} steps, {:.1} tokens/s\nheld-out loss {:.4} (the base model {:.4}; llama.cpp on the exported file {:.4})\n",
        report.method,
        report.dialogues.0,
        report.dialogues.1,
        report.steps.0,
        report.steps.1,
        report.tokens_per_second,
        exported.trainer_loss,
        exported.base_loss,
        exported.llama_loss,
    );
    let recalls: Vec<(u64, f64)> = report.curve.iter().filter_map(|p| Some((p.step, p.recall?))).collect();
    if let (Some((_, first)), Some((_, step))) = (recalls.first(), report.best)
        && let Some((_, kept)) = recalls.iter().find(|(s, _)| *s == step)
    {
        text.push_str(&format!("held-out Recall@{} {first:.3} before, {kept:.3} after\n", report.recall_k));
    }
    text.push_str(&exported.file.display().to_string());
    if let Some(head) = &exported.head {
        text.push_str(&format!("\n{}", head.file.display()));
    }
    text
}

/// `causerie merge`.
#[cfg(feature = "llama")]
pub fn merge_command() -> Command {
    Command::new("merge")
        .about("An adapter into its base model: one GGUF, proven through llama.cpp")
        .arg(file("model", "The base model, a GGUF").required(true))
        .arg(
            Arg::new("adapter")
                .long("adapter")
                .value_name("PATH")
                .required(true)
                .help("adapter.gguf, or a PEFT folder (adapter_config.json and adapter_model.safetensors)"),
        )
        .arg(file("out", "The merged GGUF").required(true))
        .arg(
            Arg::new("type")
                .long("type")
                .default_value("f16")
                .value_parser(["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"])
                .help("How its weights are written"),
        )
        .arg(Arg::new("threads").long("threads").value_name("N").help("Threads; 0: what the CPU quota gives"))
}

/// Runs `causerie merge`.
#[cfg(feature = "llama")]
pub fn merge(matches: &ArgMatches) -> Result<()> {
    let mut config = Config::default();
    if let Some(threads) = matches.get_one::<String>("threads") {
        config.set("run.threads", threads)?;
    }
    let run = run_of(&config)?;
    let kind = matches.get_one::<String>("type").map_or("f16", String::as_str);
    let merged =
        tune::lm::merge(&path(matches, "model"), &path(matches, "adapter"), &path(matches, "out"), kind, &run)?;
    print(&format!(
        "logits within {:.4} of base and adapter (allowed {:.4}; the adapter moves them by {:.4})\n{}",
        merged.difference,
        merged.allowed,
        merged.effect,
        merged.file.display()
    ))
}

/// `causerie new-model`.
#[cfg(feature = "llama")]
pub fn new_model_command() -> Command {
    let command = Command::new("new-model")
        .about("A small language model from nothing: vocabulary and weights from your own text");
    with_settings(command, "tune", &[])
        .arg(
            Arg::new("params")
                .long("params")
                .default_value("5M")
                .value_name("N")
                .help("About so many parameters: 500k, 5M, 30M"),
        )
        .arg(
            Arg::new("text")
                .long("text")
                .value_name("FILE")
                .action(clap::ArgAction::Append)
                .help("Plain text, one text a line"),
        )
        .arg(
            Arg::new("dataset")
                .long("dataset")
                .value_name("DIR")
                .help("Or the reviews of a dataset that `causerie import` made"),
        )
        .arg(file("out", "The new GGUF").required(true))
        .arg(
            Arg::new("pretrain")
                .long("pretrain")
                .value_name("DIR")
                .help("Then train it on the same text by the settings of [tune], into this folder"),
        )
}

/// Runs `causerie new-model`.
#[cfg(feature = "llama")]
pub fn new_model(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let asked = matches.get_one::<String>("params").map(String::as_str).unwrap_or_default();
    let (digits, scale) = match asked.to_ascii_lowercase().as_str() {
        m if m.ends_with('m') => (asked[..asked.len() - 1].to_string(), 1e6),
        k if k.ends_with('k') => (asked[..asked.len() - 1].to_string(), 1e3),
        _ => (asked.to_string(), 1.0),
    };
    let params: f64 =
        digits.parse().map_err(|_| Error::invalid(format!("--params {asked}: write 500k, 5M or a number")))?;
    let mut texts: Vec<String> = Vec::new();
    for file in matches.get_many::<String>("text").into_iter().flatten() {
        artifact::for_each_line(Path::new(file), |_, line| {
            texts.push(line.to_string());
            Ok(())
        })?;
    }
    if matches.get_one::<String>("dataset").is_some() {
        let data = Dataset::load(&path(matches, "dataset"))?;
        texts.extend((0..data.reviews()).map(|r| embed::review_text(&data, r)));
    }
    if texts.is_empty() {
        return Err(Error::invalid("new-model: it learns from text; name --text FILE or --dataset DIR"));
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let out = path(matches, "out");
    let shape = tune::lm::new_model((params * scale) as u64, &texts, config.tune.seed, &out, &run)?;
    print(&format!("{} parameters in {} layers: {}", shape.parameters(), shape.layers, out.display()))?;
    say_more();
    match matches.get_one::<String>("pretrain") {
        Some(folder) => print(&lm_summary(&tune::lm::pretrain(&out, &texts, &config.tune, Path::new(folder), &run)?)),
        None => Ok(()),
    }
}
