//! `causerie serve`: a finished run over HTTP.

use super::progress::{print, run_until};
use super::settings::{config_on, with_settings};
use causerie::config::Strategy;
use causerie::pipeline::open_with;
use causerie::run::{Level, set_log};
use causerie::serve::{LogQueue, Server, Token};
use causerie::{Config, Result};
use clap::{Arg, ArgMatches, Command};
use std::path::PathBuf;
use std::sync::Arc;

/// `causerie serve`.
pub fn serve_command() -> Command {
    let command = Command::new("serve")
        .about("Answer over HTTP: POST /v1/recommend, POST /v1/chat/completions, a chat page at /")
        .after_help(
            "The bearer token comes from the environment variable CAUSERIE_TOKEN (serve.token_env) or a file \
             (serve.token_file), never from the command line. The log goes to standard error, a JSON object a line, \
             without what users say. SIGTERM or Ctrl-C finishes the requests under way; a second one ends at once.",
        );
    with_settings(command, "serve", &[])
        .arg(Arg::new("work").long("work").value_name("DIR").required(true).help("Work directory of a finished run"))
        .arg(
            Arg::new("recommend.system")
                .long("system")
                .value_name("NAME")
                .help("Who ranks: head | nbcrs | fusion | popularity | lm [default: head]"),
        )
        .arg(
            Arg::new("recommend.model")
                .long("model")
                .value_name("GGUF")
                .help("A language model ranks, in place of --system"),
        )
        .arg(
            Arg::new("recommend.adapter")
                .long("adapter")
                .value_name("GGUF")
                .help("A LoRA adapter beside the language model"),
        )
        .arg(
            Arg::new("recommend.mode")
                .long("mode")
                .value_name("NAME")
                .help("How the language model ranks: constrained | generate | head [default: constrained]"),
        )
        .arg(
            Arg::new("strategy")
                .long("strategy")
                .value_name("NAME")
                .help("Strategy whose recommender answers; default: the first"),
        )
}

/// Runs `causerie serve`.
pub fn serve(matches: &ArgMatches) -> Result<()> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let (work, strategy) = (PathBuf::from(text("work")), Strategy::asked(&text("strategy"))?);
    let config: Config = config_on(&work, matches)?;
    let token = Token::from_config(&config.serve)?;
    let log = Arc::new(LogQueue::new(std::io::stderr())?);
    let lines = log.clone();
    let server = Server::bind(&config.serve, token, config.run.threads, Box::new(move |line| lines.push(line)))?;
    let lines = log.clone();
    set_log(Some(Box::new(move |level, text| {
        if level <= Level::Warn {
            lines.push(&causerie::serve::log_line(level, text));
        }
    })));
    let stopper = server.stopper();
    let run = run_until(&config, move || stopper.stop())?;
    print(&format!("causerie serves {} at http://{}/", work.display(), server.address()))?;
    let cancelled = run.cancel_flag();
    let ranker = config.recommend.clone();
    let done = server.run(move || open_with(&work, &ranker, ranker.system, strategy, &run));
    // No line comes after these.
    set_log(None);
    log.close();
    match done {
        // Stopped while still loading: that is what was asked for.
        Err(e) if e.kind() == causerie::ErrorKind::Cancelled && cancelled.is_set() => Ok(()),
        done => done,
    }
}
