//! The table of settings as flags: `select.budget` is `--budget` of `causerie select` and `--set select.budget=…` anywhere.

use causerie::{Config, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::Path;

/// Adds `--config FILE`, `--set KEY=VALUE`, `--threads N` and one flag for every setting of `section`
/// but those in `but`, which the command takes in a way of its own.
pub fn with_settings(mut command: Command, section: &'static str, but: &[&str]) -> Command {
    command = command
        .arg(Arg::new("config").long("config").value_name("FILE").help("Settings file (TOML); flags come on top of it"))
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help("Any setting by its key; `causerie config` prints them all"),
        )
        .arg(Arg::new("threads").long("threads").value_name("N").help("Threads; 0: what the CPU quota gives"));
    for setting in causerie::config::table() {
        let Some((this, name)) = setting.key.split_once('.') else { continue };
        if this != section || but.contains(&name) {
            continue;
        }
        let bounds = if setting.bounds.is_empty() { String::new() } else { format!(" ({})", setting.bounds) };
        let long = name.replace('_', "-");
        let mut arg = Arg::new(setting.key)
            .long(long.clone())
            .value_name(setting.kind)
            .help(format!("{}{bounds} [default: {}]", setting.doc, setting.initial))
            .help_heading("Settings");
        if long != name {
            arg = arg.alias(name);
        }
        if setting.kind == "boolean" {
            arg = arg.num_args(0..=1).default_missing_value("true");
        }
        command = command.arg(arg);
    }
    command
}

/// The settings that a command line asks for: defaults, then `--config`, then `--set`, then flags.
pub fn config_of(matches: &ArgMatches) -> Result<Config> {
    config_over(Config::default(), matches)
}

/// [`config_of`] for a command that ranks with what `work` holds: how it ranks is as the directory was made, unless the
/// command line says otherwise.
pub fn config_on(work: &Path, matches: &ArgMatches) -> Result<Config> {
    let recommend = causerie::pipeline::settings_of(work)?.recommend;
    config_over(Config { recommend, ..Config::default() }, matches)
}

/// [`config_of`] with other defaults.
pub fn config_over(mut config: Config, matches: &ArgMatches) -> Result<Config> {
    // Not every command has them all.
    if let Ok(Some(path)) = matches.try_get_one::<String>("config") {
        let path = Path::new(path);
        config.read_toml(&causerie::artifact::read_text(path)?).map_err(|e| e.context(path.display()))?;
    }
    for pair in matches.try_get_many::<String>("set").ok().flatten().into_iter().flatten() {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(causerie::Error::invalid(format!("--set {pair}: write KEY=VALUE")));
        };
        config.set(key.trim(), value.trim())?;
    }
    if let Ok(Some(threads)) = matches.try_get_one::<String>("threads") {
        config.set("run.threads", threads)?;
    }
    for setting in causerie::config::table() {
        if let Ok(Some(value)) = matches.try_get_one::<String>(setting.key) {
            config.set(setting.key, value)?;
        }
    }
    Ok(config)
}

/// `causerie config`: the table with the values of `config`, or these as a TOML file.
pub fn table_text(config: &Config, as_toml: bool) -> Result<String> {
    if as_toml {
        return Ok(config.to_toml());
    }
    let mut out = String::new();
    let mut section = "";
    for setting in causerie::config::table() {
        let (this, _) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if this != section {
            out.push_str(&format!("{}[{this}]\n", if section.is_empty() { "" } else { "\n" }));
            section = this;
        }
        let bounds = if setting.bounds.is_empty() { String::new() } else { format!("  ({})", setting.bounds) };
        let value = config.get(setting.key)?;
        out.push_str(&format!("  {:<32} {:<8} = {value}{bounds}\n", setting.key, setting.kind));
        out.push_str(&format!("      {}\n", setting.doc));
    }
    out.truncate(out.trim_end().len());
    Ok(out)
}
