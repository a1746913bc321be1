//! `causerie run`: all stages in rounds, over the user's own data.

use super::progress::{for_a_terminal, print, run_of};
use super::settings::{config_of, config_over, with_settings};
use causerie::config::{Choice, RankingSystem, Strategy, TuneMethod};
use causerie::dataset::{Role, load_conversations};
use causerie::evaluate::{Metric, ReportData};
use causerie::recommend::Query;
use causerie::{Result, Run, pipeline};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::fmt::Write as _;
use std::path::Path;

/// `causerie run`.
pub fn run_command() -> Command {
    let command =
        Command::new("run").about("All stages in rounds, from reviews to the report; resumes what is unfinished");
    with_settings(command, "pipeline", &[])
        .arg(
            Arg::new("work").long("work").value_name("DIR").required(true).help("Work directory: artifacts and report"),
        )
        .arg(
            Arg::new("restart")
                .long("restart")
                .action(ArgAction::SetTrue)
                .help("Make again what was made with other settings (the teacher's journal is kept)"),
        )
}

/// Runs `causerie run`.
pub fn run(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let work = matches.get_one::<String>("work").map(String::as_str).unwrap_or_default();
    let report = pipeline::pipeline(&config, Path::new(work), matches.get_flag("restart"), &run_of(&config)?)?;
    print(&for_a_terminal(&summary(&report, Path::new(work))))
}

/// What a run ends with on the terminal: stages, then each set's systems by Recall@10.
pub fn summary(report: &ReportData, work: &Path) -> String {
    let mut out = String::new();
    for stage in &report.stages {
        let memory = stage.peak_rss_bytes as f64 / (1 << 20) as f64;
        let _ = writeln!(out, "{:<28} {:>7.1} s {:>6.0} MiB  {}", stage.name, stage.seconds, memory, stage.output);
    }
    for set in &report.evaluations {
        let _ = writeln!(
            out,
            "\n{}: {} pairs ({} with the target in the catalogue), seen items removed, % ± standard error",
            set.name, set.n, set.n_in_catalogue
        );
        let _ =
            writeln!(out, "{:<44} {:>12} {:>12} {:>12} {:>12}", "", "Recall@1", "Recall@10", "Recall@20", "NDCG@10");
        let mut systems: Vec<_> = set.systems.iter().collect();
        let at10 = |s: &&causerie::evaluate::SystemReport| s.seen_removed.get(Metric::Recall, 2).mean;
        systems.sort_by(|a, b| at10(b).total_cmp(&at10(a)));
        for system in systems {
            // By place in CUTOFFS: 1, 5, 10, 20.
            let cell = |metric, cutoff| {
                let e = system.seen_removed.get(metric, cutoff);
                format!("{:.2} ± {:.2}", e.mean * 100.0, e.se * 100.0)
            };
            let _ = writeln!(
                out,
                "{:<44} {:>12} {:>12} {:>12} {:>12}",
                system.label,
                cell(Metric::Recall, 0),
                cell(Metric::Recall, 2),
                cell(Metric::Recall, 3),
                cell(Metric::Ndcg, 2)
            );
        }
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "\nnote: {warning}");
    }
    let _ = write!(out, "\nThe report: {}", work.join("report.html").display());
    out
}

/// `causerie demo`.
pub fn demo_command() -> Command {
    let command = Command::new("demo")
        .about("The whole loop on a simulated domain: no network, no model, no key; ends with a report worth a look");
    with_settings(command, "pipeline", &[])
        .arg(Arg::new("work").long("work").value_name("DIR").default_value("demo").help("Work directory"))
        .arg(
            Arg::new("restart")
                .long("restart")
                .action(ArgAction::SetTrue)
                .help("Make again what was made with other settings"),
        )
}

/// Runs `causerie demo`.
pub fn demo(matches: &ArgMatches) -> Result<()> {
    let base = config_over(pipeline::demo_defaults(), matches)?;
    let work = Path::new(matches.get_one::<String>("work").map(String::as_str).unwrap_or("demo"));
    let run = run_of(&base)?;
    let config = pipeline::demo_config(work, &base, &run)?;
    let report = pipeline::pipeline(&config, work, matches.get_flag("restart"), &run)?;
    print(&for_a_terminal(&summary(&report, work)))?;
    if config.tune.method != TuneMethod::Head {
        let strategy = config.pipeline.students.first().or(config.pipeline.strategies.first()).copied();
        print(&for_a_terminal(&model_says(&config, work, strategy, &run)?))?;
        let show = quoted(work);
        print(&format!(
            "\nTalk to it:  causerie recommend --work {show}   (the language model: --system lm --strategy {})",
            strategy.map_or("", Choice::name)
        ))
    } else {
        print(&format!("\nTalk to it:  causerie recommend --work {}", quoted(work)))
    }
}

/// A path to be pasted into a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    match text.chars().all(|c| c.is_alphanumeric() || "/._-+=:,@%".contains(c)) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// What the language model answers to the first held-out conversation.
fn model_says(config: &causerie::Config, work: &Path, strategy: Option<Strategy>, run: &Run) -> Result<String> {
    let service = pipeline::open(work, RankingSystem::Lm, strategy, run)?;
    let conversations = match config.evaluate.conversations.first() {
        Some(path) => load_conversations(Path::new(path), config.dataset.max_bad_lines)?,
        None => Vec::new(),
    };
    let Some(conversation) = conversations.first() else { return Ok(String::new()) };
    let query = Query { top_k: Some(5), explain: Some(0), ..Query::new(conversation.clone()) };
    let items = service.items();
    let answer = service.answer(&query, run)?;
    let mut out =
        String::from("\nThe language model, made a moment ago of the reviews and dialogues alone, is asked:\n");
    for turn in &conversation.turns {
        let _ = writeln!(out, "  {}: {}", if turn.role == Role::User { "user" } else { "assistant" }, turn.text);
    }
    let _ = write!(out, "and answers:");
    for ranked in &answer.items {
        let item = ranked.item as usize;
        let _ = write!(out, "\n  {}  ({:.1} %)", items.name(item), f64::from(ranked.score).exp() * 100.0);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_can_be_pasted() {
        assert_eq!(quoted(Path::new("work/mine")), "work/mine");
        assert_eq!(quoted(Path::new("my demo's")), "'my demo'\\''s'");
    }
}
