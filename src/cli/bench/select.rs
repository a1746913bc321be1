//! `causerie bench select`: a selection on a file of rows, beside what a peer said of the same file and beside the least
//! time in which its bytes can be read.

use super::super::progress::{print, run_of};
use super::super::settings::{config_of, with_settings};
use super::super::stages::{file, path};
use super::rows::ClusteredRows;
use causerie::config::{Choice, StoreType};
use causerie::embed::{self, StoredRows};
use causerie::math::{Rows, squares};
use causerie::os::{cpu_seconds, peak_memory_bytes, reset_peak_memory};
use causerie::select::memory::{estimate, human};
use causerie::select::{Terms, centers, kmeans, select_with};
use causerie::{Error, Result, Run, artifact};
use clap::{Arg, ArgMatches, Command};
use std::path::Path;
use std::time::Instant;

/// `causerie bench select`.
pub fn bench_select_command() -> Command {
    let command = Command::new("select")
        .about("Seconds, CPU seconds and memory of a selection, beside a peer and the memory's speed");
    with_settings(command, "select", &[])
        .arg(file("embeddings", "safetensors file of rows, mapped").required_unless_present("make-rows"))
        .arg(
            Arg::new("make-rows")
                .long("make-rows")
                .value_name("N")
                .value_parser(clap::value_parser!(u32))
                .requires("out")
                .conflicts_with("embeddings")
                .help("Measure nothing: write N made rows, clustered and of unit length, always the same, to --out"),
        )
        .arg(
            Arg::new("dim")
                .long("dim")
                .default_value("384")
                .value_name("D")
                .value_parser(clap::value_parser!(u32))
                .help("Values of a made row"),
        )
        .arg(
            Arg::new("store")
                .long("store")
                .default_value("f32")
                .value_parser(StoreType::ALL.iter().map(|store| store.name()).collect::<Vec<_>>())
                .help("How made rows are stored"),
        )
        .arg(file("out", "Where made rows are written").requires("make-rows"))
        .arg(
            Arg::new("what")
                .long("what")
                .default_value("select")
                .value_parser(["select", "kmeans"])
                .help("The whole selection, or K-means alone"),
        )
        .arg(Arg::new("runs").long("runs").default_value("3").value_name("N").help("Times; the fastest is told"))
        .arg(file("peer", "What the peer printed: one JSON line with `seconds` and `objective`"))
        .arg(file("peer-picks", "The peer's picks, one row a line"))
        .arg(file("picks", "Write the picks here, one row a line"))
}

/// What one run took.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu_seconds: f64,
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let done = work()?;
    Ok((done, Cost { seconds: begun.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu }))
}

/// Bytes a second that all threads together read from memory: the best of five passes over half a GiB.
fn bandwidth(run: &Run) -> f64 {
    const WORDS: usize = 1 << 26;
    let words: Vec<u64> = (0..WORDS as u64).collect();
    let share = WORDS.div_ceil(run.threads());
    let mut best = 0f64;
    for _ in 0..5 {
        let begun = Instant::now();
        let sums: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = words
                .chunks(share)
                .map(|part| {
                    scope.spawn(move || {
                        let mut lanes = [0u64; 16];
                        for words in part.as_chunks::<16>().0 {
                            lanes.iter_mut().zip(words).for_each(|(lane, word)| *lane = lane.wrapping_add(*word));
                        }
                        lanes.iter().fold(0u64, |a, b| a.wrapping_add(*b))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(0)).collect()
        });
        std::hint::black_box(sums);
        best = best.max((8 * WORDS) as f64 / begun.elapsed().as_secs_f64());
    }
    best
}

/// Runs `causerie bench select`.
pub fn select(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    if let Some(rows) = matches.get_one::<u32>("make-rows") {
        let dim = matches.get_one::<u32>("dim").map_or(0, |dim| *dim as usize);
        let made = ClusteredRows::new(*rows as usize, dim)?;
        let store: StoreType = matches.get_one::<String>("store").map_or("f32", String::as_str).parse()?;
        let out = path(matches, "out");
        embed::pack(&made, &out, store.into(), &Default::default(), &run)?;
        return print(&format!("{rows} rows x {dim} values: {}", out.display()));
    }
    let speed = bandwidth(&run);
    let x = StoredRows::open(&path(matches, "embeddings"))?;
    let centers = centers::given(&x, None, &Terms::default(), &config.select)?;
    let terms = Terms { centers: centers.as_deref(), ..Terms::default() };
    let runs = matches.get_one::<String>("runs").and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
    if runs == 0 {
        return Err(Error::invalid("--runs: a whole number from 1"));
    }
    let rows_bytes = (x.count() * x.row_bytes()) as f64;
    let mut best: Option<(Cost, f64, Vec<u64>, String)> = None;
    let kmeans_alone = matches.get_one::<String>("what").is_some_and(|what| what == "kmeans");
    let mut working = 0;
    // Every row is in memory before anything is measured.
    squares(&x, "bench", &run)?;
    for _ in 0..runs {
        reset_peak_memory();
        let before = peak_memory_bytes();
        let (cost, objective, picks, text) = if kmeans_alone {
            let (fitted, cost) = timed(|| kmeans::kmeans(&x, &kmeans::Options::of(&config.select), &run))?;
            let text = format!(
                "K-means: {} x {}, K = {}, {} rounds, inertia {:.1}",
                x.count(),
                x.width(),
                fitted.centers.rows(),
                fitted.iterations,
                fitted.inertia
            );
            (cost, fitted.inertia, Vec::new(), text)
        } else {
            let (selected, cost) = timed(|| select_with(&x, None, &terms, &config.select, &run))?;
            (cost, selected.report.objective, selected.selection.rows(), selected.report.to_string())
        };
        working = working.max(peak_memory_bytes().saturating_sub(before));
        if best.as_ref().is_none_or(|b| cost.seconds < b.0.seconds) {
            best = Some((cost, objective, picks, text));
        }
    }
    let Some((cost, objective, picks, text)) = best else { return Ok(()) };
    let limit = rows_bytes / speed;
    let mut out = vec![
        text,
        format!(
            "{:.3} s, {:.2} CPU seconds, best of {runs}, {} threads",
            cost.seconds,
            cost.cpu_seconds,
            run.threads()
        ),
        format!(
            "peak RSS {} (mapped rows among it), {} of it working memory; said beforehand: {}",
            human(peak_memory_bytes()),
            human(working),
            estimate(&x, None, &terms, &config.select)?
        ),
        format!(
            "memory reads {:.1} GB/s: all rows once take {limit:.4} s; this took {:.0} times as long",
            speed / 1e9,
            cost.seconds / limit
        ),
    ];
    if let Some(peer) = matches.get_one::<String>("peer") {
        out.push(beside(Path::new(peer), cost, objective)?);
    }
    if let Some(theirs) = matches.get_one::<String>("peer-picks") {
        let mut rows: Vec<u64> = Vec::new();
        artifact::for_each_line(Path::new(theirs), |line, text| {
            rows.push(text.trim().parse().map_err(|e| Error::format(theirs, line, e))?);
            Ok(())
        })?;
        let same = picks.iter().zip(&rows).take_while(|(a, b)| a == b).count();
        out.push(match rows == picks {
            true => format!("identical picks: yes, all {}", picks.len()),
            false => format!("identical picks: no, the first {same} of {} and {}", picks.len(), rows.len()),
        });
    }
    if let Some(to) = matches.get_one::<String>("picks") {
        let lines: String = picks.iter().map(|row| format!("{row}\n")).collect();
        artifact::write_atomic(Path::new(to), |out| {
            std::io::Write::write_all(out, lines.as_bytes()).map_err(|e| Error::io(to, e))
        })?;
    }
    print(&out.join("\n"))
}

/// Our figures beside those of the last JSON line of the peer's output.
fn beside(path: &Path, cost: Cost, objective: f64) -> Result<String> {
    let text = artifact::read_text(path)?;
    let line = text.lines().rfind(|line| line.starts_with('{'));
    let bad = || Error::format(path, 0, "no JSON line with `seconds` and `objective` in it");
    let peer: serde_json::Value = line.and_then(|line| serde_json::from_str(line).ok()).ok_or_else(bad)?;
    let number = |key: &str| peer[key].as_f64().ok_or_else(bad);
    let (seconds, theirs) = (number("seconds")?, number("objective")?);
    Ok(format!(
        "peer {}: {seconds:.3} s, {:.1} times as long; objective {theirs:.6}, ours {objective:.6} ({:+.2e} of it)",
        peer["what"].as_str().unwrap_or(""),
        seconds / cost.seconds,
        (objective - theirs) / theirs.abs().max(f64::MIN_POSITIVE)
    ))
}
