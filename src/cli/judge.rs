//! `causerie evaluate`: somebody's answers against conversations.

use super::progress::print;
use super::settings::{config_of, with_settings};
use causerie::evaluate::{Prefer, score_answer_files};
use causerie::{Error, ErrorKind, Result};
use clap::{Arg, ArgMatches, Command};
use std::path::Path;

/// `causerie evaluate`.
pub fn evaluate_command() -> Command {
    let command =
        Command::new("evaluate").about("Score raw answers: Recall, NDCG, MRR in four variants, as JSON (§4.2.1)");
    with_settings(command, "evaluate", &["posts", "modes", "bootstrap", "examples", "seed"])
        .arg(
            Arg::new("items")
                .long("items")
                .value_name("FILE")
                .required(true)
                .help("The candidate items, JSON lines: {\"title\", \"year\", \"item\"}"),
        )
        .arg(
            Arg::new("answers")
                .long("answers")
                .value_name("FILE")
                .required(true)
                .help("JSON lines: {\"id\" or \"index\", \"text\"}, or with already \"matched\" titles"),
        )
        .arg(
            Arg::new("prefer")
                .long("prefer")
                .default_value("matched")
                .value_parser(["matched", "text"])
                .help("Which to score where a row has both"),
        )
}

/// Runs `causerie evaluate`.
pub fn evaluate(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let [conversations] = config.evaluate.conversations.as_slice() else {
        return Err(Error::invalid("evaluate: name one file of conversations: --conversations FILE"));
    };
    let path = |name: &str| Path::new(matches.get_one::<String>(name).map(String::as_str).unwrap_or_default());
    let prefer = match matches.get_one::<String>("prefer").map(String::as_str) {
        Some("text") => Prefer::Text,
        _ => Prefer::Matched,
    };
    let report = score_answer_files(Path::new(conversations), path("items"), path("answers"), prefer)?;
    let text = serde_json::to_string_pretty(&report).map_err(|e| Error::new(ErrorKind::Bug, e.to_string()))?;
    print(&text)
}
