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
    let command = Command::new("tune").about("Dialogues to a tuned ranking head (§3.4)");
    with_settings(command, "tune", &[])
        .arg(dataset_arg())
        .arg(file("dialogues", "Dialogues of `causerie synthesize`").required(true))
        .arg(file("embedder", "The fitted built-in embedder of `causerie embed --embedder`; none: fit it again"))
        .arg(file("out", "head.safetensors").required(true))
}

/// Runs `causerie tune`.
pub fn tune(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let data = Dataset::load(&path(matches, "dataset"))?;
    let dialogues: Vec<Dialogue> = artifact::read_jsonl(&path(matches, "dialogues"))?;
    let fitted = matches.get_one::<String>("embedder").map(PathBuf::from);
    let embedder = embedder(&config, &data, fitted.as_deref(), &run)?;
    let items = ItemVectors::from_items(&data.items, &*embedder, &run)?.count(&data)?;
    let mentions = Mentions::new(&data.items, &items.counts);
    let find = |text: &str| mentions.rows(text);
    let (head, report) = tune::tune_head(&dialogues, items, &*embedder, &find, &config.tune, &run)?;
    let out = path(matches, "out");
    head.save(&out)?;
    print(&format!("{report}\n{}", out.display()))
}
