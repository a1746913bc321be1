//! One stage at a time, file to file: `causerie tune`; and what the others of that kind share.

use super::progress::{print, run_of};
use super::settings::{config_of, with_settings};
use causerie::config::{Config, EmbedMethod, TuneMethod};
use causerie::dataset::Dataset;
use causerie::dataset::{Dialogue, DialogueLines};
use causerie::embed::{self, Embedder, TextEmbedder};
#[cfg(feature = "llama")]
use causerie::run::Level;
use causerie::titles::Titles;
use causerie::tune::{self, ItemVectors};
use causerie::{Error, Result, Run, artifact};
use clap::{Arg, ArgMatches, Command};
use std::path::{Path, PathBuf};

pub(super) fn file(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("FILE").help(help)
}

pub(super) fn dataset_arg() -> Arg {
    Arg::new("dataset").long("dataset").value_name("DIR").required(true).help("Folder that `causerie import` made")
}

pub(super) fn path(matches: &ArgMatches, name: &str) -> PathBuf {
    PathBuf::from(matches.get_one::<String>(name).map(String::as_str).unwrap_or_default())
}

/// The embedder of the settings; a fitted one is kept in `fitted`, or read from there.
pub(super) fn embedder(config: &Config, data: &Dataset, fitted: Option<&Path>, run: &Run) -> Result<Box<dyn Embedder>> {
    match fitted {
        Some(path) if config.embed.method == EmbedMethod::Text && path.exists() => {
            Ok(Box::new(TextEmbedder::load(path)?))
        }
        Some(path) if config.embed.method == EmbedMethod::Text => {
            let embedder = TextEmbedder::fit_dataset(data, &config.embed, run)?;
            embedder.save(path)?;
            Ok(Box::new(embedder))
        }
        Some(_) | None => embed::open(&config.embed, data, run),
    }
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
    let dialogues = DialogueLines::load(&path(matches, "dialogues"))?;
    match config.tune.method {
        TuneMethod::Head => tune_head(matches, &config, &dialogues.rows, &run),
        _ => tune_model(matches, &config, &dialogues.rows, &run),
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
    let mentions = Titles::new(&data.items, &items.counts);
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
        let mentions = Titles::new(&data.items, &catalogue.counts);
        let find = |text: &str| mentions.rows(text);
        tune::lm::tune_lm(&base, dialogues, Some((&catalogue, &find)), &config.tune, &out, run)?
    } else {
        tune::lm::tune_lm(&base, dialogues, None, &config.tune, &out, run)?
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
    if report.left_out.dialogues() > 0 {
        text.push_str(&format!("left out: {}\n", report.left_out));
    }
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
