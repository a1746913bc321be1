//! `causerie import` and `causerie simulate`: seed data in.

use super::progress::{print, run_of};
use super::settings::{config_of, with_settings};
use causerie::{Result, dataset};
use clap::{Arg, ArgMatches, Command};
use std::path::Path;

/// `causerie import`.
pub fn import_command() -> Command {
    let command = Command::new("import").about("Read items, reviews and interactions; print what was found");
    with_settings(command, "dataset", &[]).arg(
        Arg::new("out")
            .long("out")
            .value_name("DIR")
            .help("Folder for the dataset (a good one there is kept until the new one is whole)"),
    )
}

/// Runs `causerie import`.
pub fn import(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let run = run_of(&config)?;
    let (data, report) = dataset::import(&config.dataset, &run)?;
    if let Some(out) = matches.get_one::<String>("out") {
        data.save(Path::new(out))?;
    }
    print(report.to_string().trim_end())
}
