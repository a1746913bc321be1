//! `causerie serve`: a finished run over HTTP.

use super::progress::{print, run_until};
use super::settings::{config_of, with_settings};
use causerie::pipeline::open;
use causerie::run::{Level, set_log};
use causerie::serve::{Served, Server, Token};
use causerie::{Config, Result};
use clap::{Arg, ArgMatches, Command};
use std::io::Write;
use std::path::PathBuf;

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
                .help("Who ranks: head | nbcrs | fusion | popularity [default: head]"),
        )
        .arg(
            Arg::new("strategy")
                .long("strategy")
                .value_name("NAME")
                .help("Strategy whose recommender answers; default: the first"),
        )
}

/// One line of the log.
fn log_line(line: &str) {
    // Where nobody reads the log any more, serving goes on.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs `causerie serve`.
pub fn serve(matches: &ArgMatches) -> Result<()> {
    let config: Config = config_of(matches)?;
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let (work, strategy) = (PathBuf::from(text("work")), text("strategy"));
    let token = Token::from_config(&config.serve)?;
    let server = Server::bind(&config.serve, token, config.run.threads, Box::new(log_line))?;
    set_log(Some(Box::new(|level, text| {
        if level <= Level::Warn {
            log_line(&causerie::serve::log_line(level, text));
        }
    })));
    let stopper = server.stopper();
    let run = run_until(&config, move || stopper.stop())?;
    print(&format!("causerie serves {} at http://{}/", work.display(), server.address()))?;
    let cancelled = run.cancel_flag();
    let system = config.recommend.system.clone();
    let top_k = config.recommend.top_k;
    let done = server.run(move || {
        let opened = open(&work, &system, &strategy, &run)?;
        Served::new(opened, &system, top_k)
    });
    match done {
        // Stopped while still loading: that is what was asked for.
        Err(e)
            if e.kind() == causerie::ErrorKind::Cancelled && cancelled.load(std::sync::atomic::Ordering::Relaxed) =>
        {
            Ok(())
        }
        done => done,
    }
}
