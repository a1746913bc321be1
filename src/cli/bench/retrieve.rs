//! `causerie bench retrieve`: how often what people took up is among the candidates that retrieval finds for what they had
//! said, and which weights of its signals find it most often.

use super::super::progress::{print, run_of};
use super::super::settings::{config_of, with_settings};
use super::super::stages::{dataset_arg, path};
use causerie::dataset::{Conversation, Dataset, Role, load_conversations};
use causerie::retrieve::{Retriever, SIGNALS, WEIGHTS, Wish};
use causerie::titles::Titles;
use causerie::{Result, Run};
use clap::{Arg, ArgAction, ArgMatches, Command};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Depths that are told.
const DEPTHS: [usize; 4] = [20, 60, 100, 200];
/// Depths that weights are chosen by: around the one that is wanted, so that a few conversations decide nothing.
const TUNED_AT: [usize; 3] = [40, 60, 90];
/// What a weight is tried at, as a multiple.
const STEPS: [f32; 8] = [0.0, 0.5, 0.7, 0.85, 1.2, 1.4, 2.0, 3.0];
const ROUNDS: usize = 6;

/// `causerie bench retrieve`.
pub fn bench_retrieve_command() -> Command {
    let command = Command::new("retrieve")
        .about("Share of (conversation, target) pairs whose target is among the first candidates of the retrieval");
    with_settings(command, "run", &[])
        .arg(dataset_arg())
        .arg(
            Arg::new("conversations")
                .long("conversations")
                .value_name("FILE")
                .required(true)
                .action(ArgAction::Append)
                .help("Conversations with targets, JSON lines; several times for several files"),
        )
        .arg(
            Arg::new("tune")
                .long("tune")
                .value_name("FILE")
                .help("Search the signals' weights on these conversations first; they are printed, and then judged"),
        )
}

/// One conversation of which some target is in the catalogue.
struct Asked {
    wish: Wish,
    targets: Vec<u32>,
}

/// What conversations ask: those with a target in the catalogue, and the number of all targets.
fn asked(file: &Path, titles: &Titles) -> Result<(Vec<Asked>, usize)> {
    let conversations = load_conversations(file, 0)?;
    let mut out = Vec::new();
    for talk in &conversations {
        let targets: Vec<u32> = talk.targets.iter().filter_map(|name| titles.resolve(name)).collect();
        if !targets.is_empty() {
            out.push(Asked { wish: wish_of(talk, titles), targets });
        }
    }
    Ok((out, conversations.iter().map(|c| c.targets.len()).sum()))
}

/// The items that anybody spoke of, and the user's words.
fn wish_of(talk: &Conversation, titles: &Titles) -> Wish {
    let user: Vec<&str> = talk.turns.iter().filter(|t| t.role == Role::User).map(|t| t.text.as_str()).collect();
    let said = Wish::read(titles, &user.join("\n"));
    Wish { items: titles.of_conversation(talk), words: said.words }
}

/// Where each target stands among the items that are not spoken of, from 0; none: it is spoken of.
fn places(scores: &[f32], asked: &Asked) -> Vec<Option<usize>> {
    let open = |item: usize| !asked.wish.items.contains(&(item as u32));
    let mut masked = scores.to_vec();
    asked.wish.items.iter().for_each(|item| masked[*item as usize] = f32::NEG_INFINITY);
    let place = |target: u32| {
        let own = scores[target as usize];
        let before = masked.iter().enumerate();
        before.filter(|(i, s)| **s > own || **s == own && (*i as u32) < target).count()
    };
    asked.targets.iter().map(|target| open(*target as usize).then(|| place(*target))).collect()
}

/// Runs `causerie bench retrieve`.
pub fn retrieve(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let dataset = Dataset::load(&path(matches, "dataset"))?;
    let titles = Titles::of(&dataset);
    let mut weights = WEIGHTS;
    if matches.get_one::<String>("tune").is_some() {
        weights = tuned(&dataset, &titles, &path(matches, "tune"), &run)?;
        let shown: Vec<String> = SIGNALS.iter().zip(weights).map(|(s, w)| format!("{s:?} {w:.3}")).collect();
        print(&format!("weights: {}\n", shown.join(", ")))?;
    }
    let started = Instant::now();
    let retriever = Retriever::with_weights(&dataset, weights, &run)?;
    print(&format!("{} items read in {:.1} s\n", dataset.items.len(), started.elapsed().as_secs_f64()))?;
    print(
        "| file | pairs | in catalogue | among 20 | 60 | 100 | 200 | the 60 candidates | ms a wish |\n|---|---|---|---|---|---|---|---|---|",
    )?;
    for file in matches.get_many::<String>("conversations").into_iter().flatten().map(PathBuf::from) {
        let (all, pairs) = asked(&file, &titles)?;
        let (mut hits, mut among) = ([0usize; DEPTHS.len()], 0usize);
        let started = Instant::now();
        for asked in &all {
            run.check()?;
            for place in places(&retriever.scores(&asked.wish), asked).into_iter().flatten() {
                DEPTHS.iter().zip(&mut hits).for_each(|(depth, hits)| *hits += usize::from(place < *depth));
            }
        }
        let ms = started.elapsed().as_secs_f64() * 1e3 / all.len().max(1) as f64;
        for asked in &all {
            let candidates = retriever.candidates(&asked.wish, None, 60);
            among += asked.targets.iter().filter(|t| candidates.contains(t)).count();
        }
        let share = |n: usize| format!("{:.2} %", 100.0 * n as f64 / pairs.max(1) as f64);
        let inside: usize = all.iter().map(|a| a.targets.len()).sum();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hits: Vec<String> = hits.iter().map(|h| share(*h)).collect();
        print(&format!("| {name} | {pairs} | {inside} | {} | {} | {ms:.1} |", hits.join(" | "), share(among)))?;
    }
    Ok(())
}

/// The weights that find most targets: one after another is changed by [`STEPS`] while that helps.
fn tuned(dataset: &Dataset, titles: &Titles, file: &Path, run: &Run) -> Result<[f32; SIGNALS.len()]> {
    let retriever = Retriever::new(dataset, run)?;
    let (all, _) = asked(file, titles)?;
    let signals: Vec<Vec<Vec<f32>>> = run
        .install(|| all.par_iter().map(|a| SIGNALS.iter().map(|s| retriever.signal(*s, &a.wish)).collect()).collect());
    let found = |weights: &[f32; SIGNALS.len()]| -> usize {
        let of_one = |(asked, signals): (&Asked, &Vec<Vec<f32>>)| -> usize {
            let mut scores = vec![0f32; dataset.items.len()];
            for (signal, weight) in signals.iter().zip(weights) {
                scores.iter_mut().zip(signal).for_each(|(s, x)| *s += weight * x);
            }
            let places = places(&scores, asked);
            places.iter().flatten().map(|p| TUNED_AT.iter().filter(|depth| p < *depth).count()).sum()
        };
        run.install(|| all.par_iter().zip(&signals).map(of_one).sum())
    };
    let mut weights = WEIGHTS;
    let mut best = found(&weights);
    for round in 0..ROUNDS {
        let before = best;
        for i in 0..SIGNALS.len() {
            run.step("tune", "weights", (round * SIGNALS.len() + i) as u64, (ROUNDS * SIGNALS.len()) as u64)?;
            let start = if weights[i] == 0.0 { 0.1 } else { weights[i] };
            for step in STEPS {
                let mut tried = weights;
                tried[i] = start * step;
                let now = found(&tried);
                if now > best {
                    (best, weights) = (now, tried);
                }
            }
        }
        if best == before {
            break;
        }
    }
    Ok(weights)
}
