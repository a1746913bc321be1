//! `causerie serve`: a finished run over HTTP.

use super::progress::{print, run_until};
use super::settings::{config_on, with_settings};
use causerie::config::RecommendConfig;
use causerie::pipeline::open_with;
use causerie::run::{Level, set_log};
use causerie::serve::{Served, Server, Token};
use causerie::{Config, Result, Run};
use clap::{Arg, ArgMatches, Command};
use std::io::Write;
use std::path::{Path, PathBuf};

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

/// One line of the log.
fn log_line(line: &str) {
    // Where nobody reads the log any more, serving goes on.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The catalogue and evidence of a work directory, ranked by the language model `recommend.model`.
#[cfg(feature = "llama")]
fn language_model(work: &Path, strategy: &str, ranker: &RecommendConfig, voice: &str, run: &Run) -> Result<Served> {
    use causerie::recommend::lm::LmRecommender;
    // Popularity needs nothing that the model does not: it is only there to open the directory with.
    let opened = open_with(work, ranker, "popularity", strategy, run)?;
    let adapter = Path::new(&ranker.adapter);
    let adapter = (!ranker.adapter.is_empty()).then_some((adapter, ranker.adapter_scale as f32));
    let (items, mentions) = (&opened.dataset.items, opened.mentions.clone());
    let model = LmRecommender::open(Path::new(&ranker.model), adapter, items, mentions, ranker, run)?;
    let (name, model) = (format!("lm-{}", ranker.mode), std::sync::Arc::new(model));
    let served = Served::new(opened, "popularity", ranker.top_k)?.with_engine(&name, model.clone());
    if voice == "model" { served.said_by(model) } else { Ok(served) }
}

/// What `system` of a work directory ranks.
fn finished(work: &Path, strategy: &str, ranker: &RecommendConfig, voice: &str, run: &Run) -> Result<Served> {
    let (system, top_k) = (ranker.system.as_str(), ranker.top_k);
    let opened = open_with(work, ranker, system, strategy, run)?;
    #[cfg(feature = "llama")]
    if let (Some(model), "model") = (opened.language_model.clone(), voice) {
        return Served::new(opened, system, top_k)?.said_by(model);
    }
    if voice == "model" {
        return Err(causerie::Error::invalid(format!(
            "serve.voice = model: {system} is no language model; serve with --system lm or --model FILE"
        )));
    }
    Served::new(opened, system, top_k)
}

#[cfg(not(feature = "llama"))]
fn language_model(_: &Path, _: &str, _: &RecommendConfig, _: &str, _: &Run) -> Result<Served> {
    Err(causerie::Error::unsupported("recommend.model needs a build with the feature llama"))
}

/// Runs `causerie serve`.
pub fn serve(matches: &ArgMatches) -> Result<()> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let (work, strategy) = (PathBuf::from(text("work")), text("strategy"));
    let config: Config = config_on(&work, matches)?;
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
    let (ranker, voice) = (config.recommend.clone(), config.serve.voice.clone());
    let done = server.run(move || {
        if ranker.model.is_empty() {
            return finished(&work, &strategy, &ranker, &voice, &run);
        }
        language_model(&work, &strategy, &ranker, &voice, &run)
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
