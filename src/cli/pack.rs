//! `causerie pack`: the rows of a file in fewer bytes.

use super::progress::{print, run_of};
use super::settings::config_of;
use super::stages::{file, path};
use causerie::Result;
use causerie::config::{Choice, StoreType};
use causerie::embed::{self, StoredRows};
use causerie::math::Rows;
use clap::{Arg, ArgMatches, Command};

/// `causerie pack`.
pub fn pack_command() -> Command {
    Command::new("pack")
        .about("The rows of a safetensors file, or of all shards of a list, in f32, f16 or i8")
        .arg(file("embeddings", "What to read").required(true))
        .arg(
            Arg::new("store")
                .long("store")
                .default_value("f16")
                .value_parser(StoreType::ALL.iter().map(|store| store.name()).collect::<Vec<_>>())
                .help("f16: half the bytes, three digits; i8: a quarter, one scale a row"),
        )
        .arg(Arg::new("threads").long("threads").value_name("N").help("Threads; 0: what the CPU quota gives"))
        .arg(file("out", "What to write").required(true))
}

/// Runs `causerie pack`.
pub fn pack(matches: &ArgMatches) -> Result<()> {
    let run = run_of(&config_of(matches)?)?;
    let x = StoredRows::open(&path(matches, "embeddings"))?;
    let store: StoreType = matches.get_one::<String>("store").map_or("f16", String::as_str).parse()?;
    let out = path(matches, "out");
    embed::pack(&x, &out, store.into(), &Default::default(), &run)?;
    print(&format!("{} rows x {} values: {}", x.count(), x.width(), out.display()))
}
