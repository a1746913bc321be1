//! `causerie bench`: what things cost on this machine.

#[cfg(feature = "llama")]
mod parts;
#[cfg(feature = "llama")]
mod recommend;
mod retrieve;
mod rows;
mod select;

use causerie::{Error, Result};
use clap::{ArgMatches, Command};

/// `causerie bench`.
pub fn bench_command() -> Command {
    let command = Command::new("bench").about("Measure on this machine").subcommand_required(true);
    let command = command.subcommand(select::bench_select_command()).subcommand(retrieve::bench_retrieve_command());
    #[cfg(feature = "llama")]
    let command = command.subcommand(recommend::bench_recommend_command());
    command
}

/// Runs `causerie bench`.
pub fn bench(matches: &ArgMatches) -> Result<()> {
    match matches.subcommand() {
        #[cfg(feature = "llama")]
        Some(("recommend", m)) => recommend::recommend(m),
        Some(("retrieve", m)) => retrieve::retrieve(m),
        Some(("select", m)) => select::select(m),
        _ => Err(Error::invalid("no such measurement; `causerie bench --help` lists them")),
    }
}
