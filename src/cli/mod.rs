//! Commands and their flags; each file a few commands, and a body is: read flags, call the library, print.

mod bench;
mod pack;
mod data;
mod embed;
mod judge;
mod progress;
mod select;
#[cfg(feature = "serve")]
mod serve;
mod settings;
mod stages;
mod synthesize;
mod talk;
mod whole;

pub use progress::for_a_terminal;

use causerie::{Error, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};

/// The command line.
pub fn command() -> Command {
    let command = Command::new("causerie")
        .version(env!("CARGO_PKG_VERSION"))
        .about("From reviews to a conversational recommender of your own")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(whole::demo_command())
        .subcommand(whole::run_command())
        .subcommand(talk::recommend_command())
        .subcommand(judge::evaluate_command())
        .subcommand(data::import_command())
        .subcommand(data::simulate_command())
        .subcommand(embed::embed_command())
        .subcommand(select::select_command())
        .subcommand(synthesize::synthesize_command())
        .subcommand(stages::tune_command())
        .subcommand(pack::pack_command())
        .subcommand(bench::bench_command())
        .subcommand(
            settings::with_settings(Command::new("config"), "", &[])
                .about("Print every setting: key, value (the default, unless --config or --set says otherwise), bounds, what it does")
                .arg(Arg::new("toml").long("toml").action(ArgAction::SetTrue).help("As a TOML file to start from")),
        );
    #[cfg(feature = "llama")]
    let command = command.subcommand(stages::new_model_command()).subcommand(stages::merge_command());
    #[cfg(feature = "serve")]
    let command = command.subcommand(serve::serve_command());
    command
}

/// Runs the command that was asked for.
///
/// # Errors
/// Those of the command.
pub fn dispatch(matches: &ArgMatches) -> Result<()> {
    match matches.subcommand() {
        Some(("demo", m)) => whole::demo(m),
        Some(("run", m)) => whole::run(m),
        Some(("recommend", m)) => talk::talk(m),
        Some(("evaluate", m)) => judge::evaluate(m),
        Some(("import", m)) => data::import(m),
        Some(("simulate", m)) => data::simulate(m),
        Some(("embed", m)) => embed::embed(m),
        Some(("select", m)) => select::select(m),
        Some(("synthesize", m)) => synthesize::synthesize(m),
        Some(("tune", m)) => stages::tune(m),
        #[cfg(feature = "llama")]
        Some(("new-model", m)) => stages::new_model(m),
        #[cfg(feature = "llama")]
        Some(("merge", m)) => stages::merge(m),
        #[cfg(feature = "serve")]
        Some(("serve", m)) => serve::serve(m),
        Some(("pack", m)) => pack::pack(m),
        Some(("bench", m)) => bench::bench(m),
        Some(("config", m)) => progress::print(&settings::table_text(&settings::config_of(m)?, m.get_flag("toml"))?),
        _ => Err(Error::invalid("no such command; `causerie --help` lists them")),
    }
}
