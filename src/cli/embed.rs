//! `causerie embed`: texts to rows, all of them or one shard.

use super::progress::{print, run_of};
use super::settings::{config_of, with_settings};
use super::stages::{dataset_arg, embedder, file, path};
use causerie::Result;
use causerie::dataset::Dataset;
use causerie::embed::{self, Shard, Store};
use causerie::math::Rows;
use clap::{Arg, ArgMatches, Command};
use std::path::PathBuf;

/// `causerie embed`.
pub fn embed_command() -> Command {
    let command =
        Command::new("embed").about("Texts to rows: reviews, or the features of the aware strategies; resumes");
    with_settings(command, "embed", &["file"])
        .arg(dataset_arg().required(false).required_unless_present("join"))
        .arg(
            Arg::new("what")
                .long("what")
                .default_value("reviews")
                .value_parser(["reviews", "metadata", "user"])
                .help("The reviews' texts, their items' metadata (§4.5), or collaborative factors (§4.6)"),
        )
        .arg(
            Arg::new("shard")
                .long("shard")
                .value_name("I/N")
                .help("Embed the reviews of shard I of N alone; --out X.json names the list of all shards"),
        )
        .arg(
            Arg::new("join")
                .long("join")
                .value_name("N")
                .conflicts_with("shard")
                .help("Only write the list --out of N finished shards that lie beside it"),
        )
        .arg(
            file("out", "safetensors file: one tensor `embeddings` [reviews, dim]; shards: the list of them")
                .required(true),
        )
        .arg(file("embedder", "Keep the fitted built-in embedder here, or use the one that is there"))
}

/// The list of shards at `out`, once all are there; and what to say of it.
fn joined(out: &std::path::Path, count: usize) -> Result<String> {
    let missing = embed::join_shards(out, count)?;
    Ok(match missing.first() {
        None => {
            let rows = embed::StoredRows::open(out)?;
            format!("{count} shards, {} reviews x {} dimensions: {}", rows.count(), rows.width(), out.display())
        }
        Some(next) => format!("{} of {count} shards are still to be made, the next is {next}", missing.len()),
    })
}

/// Runs `causerie embed`.
pub fn embed(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let out = path(matches, "out");
    if let Some(count) = matches.get_one::<String>("join") {
        let shard: Shard = format!("0/{count}").parse().map_err(|e: causerie::Error| e.context("--join"))?;
        return print(&joined(&out, shard.count)?);
    }
    let data = Dataset::load(&path(matches, "dataset"))?;
    let features = match matches.get_one::<String>("what").map(String::as_str) {
        Some("metadata") => embed::metadata_rows(&data, &config.embed, &run)?,
        Some("user") => embed::collaborative(&data, &config.embed, &run)?.review_rows(&data),
        _ => {
            let fitted = matches.get_one::<String>("embedder").map(PathBuf::from);
            let embedder = embedder(&config, &data, fitted.as_deref(), &run)?;
            let shard = matches.get_one::<String>("shard").map(|text| text.parse::<Shard>()).transpose();
            let shard = shard.map_err(|e| e.context("--shard"))?;
            let store = Store { shard, ..Store::of(&config.embed) };
            let file = shard.map_or_else(|| out.clone(), |shard| embed::shard_file(&out, shard));
            let done = embed::embed_reviews_as(&data, &*embedder, &file, store, &run)?;
            let resumed =
                if done.resumed_rows > 0 { format!(" ({} were there)", done.resumed_rows) } else { String::new() };
            print(&format!("{done}{resumed}: {}", file.display()))?;
            return match shard {
                Some(shard) => print(&joined(&out, shard.count)?),
                None => Ok(()),
            };
        }
    };
    embed::pack(&features, &out, config.embed.store.into(), &Default::default(), &run)?;
    print(&format!("{} reviews x {} dimensions: {}", features.rows(), features.dim(), out.display()))
}
