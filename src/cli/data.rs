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

/// `causerie simulate`.
pub fn simulate_command() -> Command {
    let command = Command::new("simulate")
        .about("Make a domain of items, reviews, interactions and conversations with known targets");
    with_settings(command, "simulate", &[])
        .arg(Arg::new("out").long("out").value_name("DIR").required(true).help("Folder for the four files"))
}

/// Runs `causerie simulate`.
pub fn simulate(matches: &ArgMatches) -> Result<()> {
    let config = config_of(matches)?;
    let out = matches.get_one::<String>("out").map(String::as_str).unwrap_or_default();
    let files = dataset::simulate_to(Path::new(out), &config.simulate, &run_of(&config)?)?;
    for file in [&files.items, &files.reviews, &files.interactions, &files.conversations] {
        print(&file.display().to_string())?;
    }
    Ok(())
}
