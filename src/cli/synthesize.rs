//! `causerie synthesize`: seeds to dialogues through a teacher; or its requests away as a file, and the answers back; or what
//! it would cost.

use super::progress::{print, run_of};
use super::settings::{config_of, with_settings};
use super::stages::{dataset_arg, file, path};
use causerie::dataset::Dataset;
use causerie::select::Selection;
use causerie::synthesize;
use causerie::{Result, artifact};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::Path;

/// `causerie synthesize`.
pub fn synthesize_command() -> Command {
    let command = Command::new("synthesize").about("Seeds to dialogues through a teacher (§3.3, Algorithm 2); resumes");
    with_settings(command, "synthesize", &[])
        .arg(dataset_arg().required(false).required_unless_present("import-answers"))
        .arg(file("selection", "selection.jsonl of `causerie select`").required_unless_present("import-answers"))
        .arg(
            file("journal", "Every request and answer; run again, no answer in it is asked for again")
                .required_unless_present("estimate"),
        )
        .arg(
            Arg::new("estimate")
                .long("estimate")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["export-requests", "import-answers"])
                .help("Ask nobody: say how many requests, tokens, what price and what time it would take, from a sample of prompts"),
        )
        .arg(
            Arg::new("seconds-per-request")
                .long("seconds-per-request")
                .value_name("SECONDS")
                .value_parser(clap::value_parser!(f64))
                .help("With --estimate: how long the teacher takes for one answer"),
        )
        .arg(
            file(
                "export-requests",
                "Send nothing: write what can be asked now and is not answered as JSON lines of a batch endpoint \
                 (custom_id: the request's hash). Queries come first; after their answers, export again for the lists, and for judgements",
            )
            .conflicts_with("import-answers"),
        )
        .arg(file("import-answers", "Send nothing: take a batch endpoint's answers into the journal"))
        .arg(
            file("out", "Dialogues, JSON lines in chat format")
                .required_unless_present_any(["export-requests", "import-answers", "estimate"]),
        )
}

/// Runs `causerie synthesize`.
pub fn synthesize(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    if matches.get_flag("estimate") {
        let (data, selection) =
            (Dataset::load(&path(matches, "dataset"))?, Selection::load(&path(matches, "selection"))?);
        let journal = matches.get_one::<String>("journal").map(Path::new);
        let seconds = matches.get_one::<f64>("seconds-per-request").copied();
        let told = synthesize::estimate(&data, &selection, &config.synthesize, seconds, &run, journal)?;
        return print(&told.to_string());
    }
    let journal = path(matches, "journal");
    if matches.get_one::<String>("import-answers").is_some() {
        let imported = synthesize::import_answers(&journal, &path(matches, "import-answers"), &run)?;
        return print(&format!("{imported}\n{}", journal.display()));
    }
    let data = Dataset::load(&path(matches, "dataset"))?;
    let selection = Selection::load(&path(matches, "selection"))?;
    if matches.get_one::<String>("export-requests").is_some() {
        let out = path(matches, "export-requests");
        let exported = synthesize::export_requests(&data, &selection, &config.synthesize, &run, &journal, &out)?;
        return print(&format!("{exported}\n{}", out.display()));
    }
    let done = synthesize::synthesize(&data, &selection, &config.synthesize, 0, &run, &journal)?;
    let done = done.held_against(&config.tune);
    let out = path(matches, "out");
    artifact::write_jsonl(&out, &done.rows)?;
    print(&format!("{}\n{}\n{}", done.report, done.report.diversity_table(), out.display()))?;
    // What is there is kept and was said; a script that goes on would take a part for the whole.
    done.report.whole()
}
