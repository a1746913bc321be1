//! `causerie select`: rows to seeds. In one go; with a checkpoint; or in partitions: `--partition`, `--merge`, `--finalise`.

use super::progress::{print, run_of};
use super::settings::{config_of, with_settings};
use super::stages::{file, path};
use causerie::config::Config;
use causerie::dataset::Dataset;
use causerie::embed::{self, Shard, StoredRows};
use causerie::math::Matrix;
use causerie::run::{peak_memory_bytes, reset_peak_memory};
use causerie::select::partition::{self, MergedPicks, Part};
use causerie::select::{self, Selection, Terms, centers, checkpoint, memory};
use causerie::{Error, Result, Run, artifact};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::borrow::Cow;
use std::path::Path;
use std::time::Instant;

/// `causerie select`.
pub fn select_command() -> Command {
    let command = Command::new("select").about("Rows to seeds, most informative first (§3.2)");
    with_settings(command, "select", &[])
        .arg(
            file(
                "embeddings",
                "safetensors file, mapped: one tensor `embeddings` [rows, dim] in f32, f16, bf16, or i8 with `scales`; or \
                 the list of its shards",
            )
            .required_unless_present("merge"),
        )
        .arg(file("features", "The features of an aware strategy, [rows, any]"))
        .arg(
            Arg::new("dataset")
                .long("dataset")
                .value_name("DIR")
                .help("Folder that `causerie import` made: the item and user of each row, for the caps"),
        )
        .arg(file("continue", "An earlier selection.jsonl to continue to the larger budget"))
        .arg(file("checkpoint", "Picks so far, written now and then and at Ctrl-C; the same command goes on from there"))
        .arg(
            Arg::new("partition")
                .long("partition")
                .value_name("I/N")
                .conflicts_with_all(["continue", "checkpoint", "merge", "finalise", "report"])
                .help("Select from part I of N alone (rows are dealt by a hash); --out is then for --merge"),
        )
        .arg(
            Arg::new("fit-centers")
                .long("fit-centers")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["continue", "checkpoint", "partition", "merge", "finalise", "report"])
                .help("JS: select nothing; write the centres of K-means to --out, for --centers of every part"),
        )
        .arg(
            Arg::new("merge")
                .long("merge")
                .value_name("FILE,…")
                .value_delimiter(',')
                .num_args(1..)
                .action(ArgAction::Append)
                .conflicts_with_all(["continue", "checkpoint", "finalise", "report"])
                .help("Lay the picks of all parts together; --out is then for --finalise"),
        )
        .arg(
            file("finalise", "Select from the merged picks of all parts")
                .conflicts_with_all(["continue", "checkpoint"]),
        )
        .arg(file("report", "Write the report (objective, certificate, settings, time and memory) here as JSON"))
        .arg(file("out", "JSON lines: {\"rank\", \"row\", \"gain\"}").required(true))
}

/// What a selection is made from.
struct Inputs {
    x: StoredRows,
    features: Option<Matrix>,
    centers: Option<Matrix>,
    items: Option<Vec<u32>>,
    users: Option<Vec<u32>>,
}

impl Inputs {
    fn read(matches: &ArgMatches, config: &Config) -> Result<Inputs> {
        let read = |name: &str| -> Result<Option<Matrix>> {
            matches.get_one::<String>(name).map(|p| embed::read_only_matrix(Path::new(p))).transpose()
        };
        let x = StoredRows::open(&path(matches, "embeddings"))?;
        let features = read("features")?;
        let unused =
            |what: &str| eprintln!("causerie: select: {what} are not used by strategy {}", config.select.strategy);
        if features.is_some() && !config.select.strategy.is_aware() {
            unused("features");
        }
        if !config.select.centers.is_empty() && !config.select.strategy.has_clusters() {
            unused("centres");
        }
        let centers = centers::given(&x, features.as_ref(), &Terms::default(), &config.select)?.map(Cow::into_owned);
        let mut given = Inputs { x, features, centers, items: None, users: None };
        let capped = config.select.max_per_item > 0 || config.select.max_per_user > 0;
        if capped && matches.get_one::<String>("dataset").is_some() {
            let data = Dataset::load(&path(matches, "dataset"))?;
            let (items, users) = select::item_and_user_of_reviews(&data);
            (given.items, given.users) = (Some(items), Some(users));
        } else if capped {
            return Err(Error::invalid(
                "select: caps per item and per user need --dataset DIR (of `causerie import --out DIR`)",
            ));
        }
        Ok(given)
    }
    fn terms(&self) -> Terms<'_> {
        Terms {
            centers: self.centers.as_ref(),
            items: self.items.as_deref(),
            users: self.users.as_deref(),
            ..Terms::default()
        }
    }
}

/// Runs `causerie select`.
pub fn select(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let out = path(matches, "out");
    if let Some(parts) = matches.get_many::<String>("merge") {
        let parts = parts.map(|p| Part::load(Path::new(p))).collect::<Result<Vec<_>>>()?;
        let merged = partition::merge(&parts)?;
        merged.save(&out)?;
        return print(&format!("{} rows of {} parts: {}", merged.rows.len(), merged.parts, out.display()));
    }
    let given = Inputs::read(matches, &config)?;
    if matches.get_flag("fit-centers") {
        let fitted = centers::fit(&given.x, given.features.as_ref(), &config.select, &run)?;
        centers::save(&fitted.centers, &out)?;
        let (clusters, dim) = (fitted.centers.rows(), fitted.centers.dim());
        let told = format!("{clusters} centres of {dim} values, inertia {:.4}", fitted.inertia);
        return print(&format!("{told}: {}", out.display()));
    }
    let estimate = memory::estimate(&given.x, given.features.as_ref(), &given.terms(), &config.select)?;
    eprintln!("causerie: select: {estimate}");
    reset_peak_memory();
    if let Some(part) = matches.get_one::<String>("partition") {
        let part: Shard = part.parse().map_err(|e: Error| e.context("--partition"))?;
        let numbers = (part.index as u64, part.count as u64);
        let (terms, begun) = (given.terms(), Instant::now());
        let done = partition::select_part(numbers, &given.x, given.features.as_ref(), &terms, &config.select, &run)?;
        done.save(&out)?;
        let (seconds, peak) = (begun.elapsed().as_secs_f64(), memory::human(peak_memory_bytes()));
        let took = format!("{seconds:.2} s on {} threads, peak memory {peak}", run.threads());
        return print(&format!("part {part}: {} picks, {took}: {}", done.picks.len(), out.display()));
    }
    let selected = selected(matches, &given, &config, &run)?;
    selected.selection.save(&out)?;
    if let Some(report) = matches.get_one::<String>("report") {
        artifact::write_jsonl(Path::new(report), &[selected.record()])?;
    }
    print(&format!("{}\n{}\n{}", selected.report, selected.cost, out.display()))
}

fn selected(matches: &ArgMatches, given: &Inputs, config: &Config, run: &Run) -> Result<select::SelectionResult> {
    let (terms, features) = (given.terms(), given.features.as_ref());
    if let Some(merged) = matches.get_one::<String>("finalise") {
        let merged = MergedPicks::load(Path::new(merged))?;
        return partition::finalise(&merged, &given.x, features, &terms, &config.select, run);
    }
    let earlier = match matches.get_one::<String>("continue") {
        Some(path) => Selection::load(Path::new(path))?,
        None => Selection::default(),
    };
    match matches.get_one::<String>("checkpoint") {
        Some(path) => checkpoint::resume(Path::new(path), &earlier, &given.x, features, &terms, &config.select, run),
        None => select::extend(&earlier, &given.x, features, &terms, &config.select, run),
    }
}
