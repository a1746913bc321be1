//! `causerie serve`: a finished run over HTTP.

use super::progress::on_signal;
use super::settings::{config_on, with_settings};
use causerie::config::Strategy;
use causerie::pipeline::open_with;
use causerie::run::{Level, set_log};
use causerie::serve::{LogQueue, Server, Token};
use causerie::{Config, Result, Run};
use clap::{Arg, ArgMatches, Command};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// `causerie serve`.
pub fn serve_command() -> Command {
    let command = Command::new("serve")
        .about("Answer over HTTP: POST /v1/recommend, POST /v1/chat/completions, a chat page at /")
        .after_help(
            "The bearer token comes from the environment variable CAUSERIE_TOKEN (serve.token_env) or a file \
             (serve.token_file), never from the command line. The log goes to standard error, a JSON object a line, \
             without what users say. At SIGTERM or Ctrl-C /health/ready says 503, connections are taken for serve.drain_ms more, \
             and the requests under way are finished; a second signal skips the wait, a third ends at once.",
        );
    with_settings(command, "serve", &[])
        .arg(Arg::new("work").long("work").value_name("DIR").required(true).help("Work directory of a finished run"))
        .arg(
            Arg::new("recommend.system")
                .long("system")
                .value_name("NAME")
                .help("Who ranks: head | nbcrs | retrieval | fusion | popularity | lm [default: head]"),
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
    let log = Arc::new(LogQueue::new(std::io::stderr())?);
    let lines = log.clone();
    set_log(Some(Box::new(move |level, text| {
        if level <= Level::Warn {
            lines.push(&causerie::serve::log_line(level, text));
        }
    })));
    let done = serve_logged(work, strategy, &config, &log);
    // No line comes after these.
    set_log(None);
    log.close();
    done
}

fn serve_logged(work: PathBuf, strategy: Option<Strategy>, config: &Config, log: &Arc<LogQueue>) -> Result<()> {
    let token = Token::from_config(&config.serve)?;
    let lines = log.clone();
    let server = Server::bind(&config.serve, token, config.run.threads, Box::new(move |line| lines.push(line)))?;
    let stopper = server.stopper();
    // No progress: the log is JSON, and whoever loads must not wait for its reader.
    let run = Run::new(config.run.threads)?;
    let cancelled = run.cancel_flag();
    let stop = cancelled.clone();
    on_signal(move || {
        stop.set();
        if !stopper.stop() {
            std::process::exit(130);
        }
    });
    say(format!("causerie serves {} at http://{}/\n", work.display(), server.address()));
    let ranker = config.recommend.clone();
    match server.run(move || open_with(&work, &ranker, ranker.system, strategy, &run)) {
        // Stopped while still loading: that is what was asked for.
        Err(e) if e.kind() == causerie::ErrorKind::Cancelled && cancelled.is_set() => Ok(()),
        done => done,
    }
}

/// Writes to standard output, where somebody reads it: a server does not end, nor wait, because nobody does.
fn say(text: String) {
    let write = move || {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    };
    let _ = std::thread::Builder::new().name("causerie-say".into()).spawn(write);
}
