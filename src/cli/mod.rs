//! Commands and their flags; each command is one file, and a body is: read flags, call the library, print.

mod data;
mod progress;
mod settings;
mod whole;

use causerie::{Error, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};

/// The command line.
pub fn command() -> Command {
    Command::new("causerie")
        .version(env!("CARGO_PKG_VERSION"))
        .about("From reviews to a conversational recommender of your own")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("config")
                .about("Print every setting: key, default, bounds, what it does")
                .arg(Arg::new("toml").long("toml").action(ArgAction::SetTrue).help("As a TOML file to start from")),
        )
        .subcommand(data::import_command())
        .subcommand(whole::run_command())
}

/// Runs the command that was asked for.
///
/// # Errors
/// Those of the command.
pub fn dispatch(matches: &ArgMatches) -> Result<()> {
    match matches.subcommand() {
        Some(("config", m)) => progress::print(&settings::table_text(m.get_flag("toml"))),
        Some(("import", m)) => data::import(m),
        Some(("run", m)) => whole::run(m),
        _ => Err(Error::invalid("no such command; `causerie --help` lists them")),
    }
}
