//! `causerie recommend`: conversations in, ranked items out; or a chat in the terminal.

use super::progress::{for_a_terminal, print, run_of};
use super::settings::{config_on, with_settings};
use causerie::config::RecommendConfig;
use causerie::dataset::load_conversations;
use causerie::pipeline::{Opened, open_with};
use causerie::recommend::chat::{Chat, Resources};
use causerie::recommend::{Evidence, Recommender, Request, excerpt, query_text, recommend};
use causerie::{Config, Error, ErrorKind, Result, Run};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

/// `causerie recommend`.
pub fn recommend_command() -> Command {
    let command = Command::new("recommend").about("Answer conversations, from a file or typed here");
    with_settings(command, "recommend", &[])
        .arg(Arg::new("work").long("work").value_name("DIR").required(true).help("Work directory of a finished run"))
        .arg(
            Arg::new("strategy")
                .long("strategy")
                .value_name("NAME")
                .help("Strategy whose recommender answers; default: the first"),
        )
        .arg(
            Arg::new("conversations")
                .long("conversations")
                .value_name("FILE")
                .help("Conversations, JSON lines; answers go to standard output, one JSON object a line. None: chat"),
        )
        .arg(
            Arg::new("exclude")
                .long("exclude")
                .value_name("ID,…")
                .value_delimiter(',')
                .help("Items that must not come back"),
        )
        .arg(
            Arg::new("allow")
                .long("allow")
                .value_name("ID,…")
                .value_delimiter(',')
                .help("The only items that may come back"),
        )
        .arg(
            Arg::new("why")
                .long("why")
                .value_name("N")
                .value_parser(clap::value_parser!(usize))
                .requires("conversations")
                .help("Reviews given behind each item of a file's answers (in a chat: /why) [default: 0]"),
        )
        .arg(Arg::new("quiet").long("quiet").action(ArgAction::SetTrue).help("Chat without the greeting"))
}

/// Runs `causerie recommend`.
pub fn talk(matches: &ArgMatches) -> Result<()> {
    let work = Path::new(matches.get_one::<String>("work").map(String::as_str).unwrap_or_default());
    let config = config_on(work, matches)?;
    let run = run_of(&config)?;
    let strategy = matches.get_one::<String>("strategy").map(String::as_str).unwrap_or_default();
    // A language model takes the place of the work directory's own recommender.
    let by_model = !config.recommend.model.is_empty();
    let system = if by_model { "popularity" } else { config.recommend.system.as_str() };
    let mut opened = open_with(work, &config.recommend, system, strategy, &run)?;
    if by_model {
        opened.recommender = language_model(&config.recommend, &opened, &run)?;
    }
    let top_k = config.recommend.top_k;
    match matches.get_one::<String>("conversations") {
        Some(path) => answer_file(matches, &opened, Path::new(path), top_k, &run),
        // A screen holds ten; who asks for another number gets it.
        None if top_k == Config::default().recommend.top_k => chat(matches, &opened, top_k.min(10), &run),
        None => chat(matches, &opened, top_k, &run),
    }
}

/// The recommender of `recommend.model` and `recommend.adapter`.
#[cfg(feature = "llama")]
fn language_model(config: &RecommendConfig, opened: &Opened, run: &Run) -> Result<Arc<dyn Recommender>> {
    use causerie::recommend::lm::LmRecommender;
    let scale = config.adapter_scale as f32;
    let adapter = (!config.adapter.is_empty()).then(|| (Path::new(&config.adapter), scale));
    let (model, items) = (Path::new(&config.model), &opened.dataset.items);
    Ok(Arc::new(LmRecommender::open(model, adapter, items, opened.mentions.clone(), config, run)?))
}

#[cfg(not(feature = "llama"))]
fn language_model(_: &RecommendConfig, _: &Opened, _: &Run) -> Result<Arc<dyn Recommender>> {
    Err(Error::unsupported("recommend.model: this build has no llama.cpp; build it with the feature llama"))
}

fn ids(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

fn answer_file(matches: &ArgMatches, opened: &Opened, path: &Path, top_k: usize, run: &Run) -> Result<()> {
    let conversations = load_conversations(path)?;
    let (exclude, allow) = (ids(matches, "exclude"), ids(matches, "allow"));
    let why = matches.get_one::<usize>("why").copied().unwrap_or(0);
    let context = causerie::recommend::QueryWindow::from_config(&opened.config.recommend)?;
    let evidence = Evidence::new(&opened.dataset, &opened.reviews)?;
    let items = &opened.dataset.items;
    // A few at a time: an answer comes soon, and memory does not grow with the file.
    for some in conversations.chunks(64) {
        let requests: Vec<Request> =
            some.iter().map(|conversation| Request { conversation, exclude: &exclude, allow: &allow, top_k }).collect();
        let answers = recommend(&*opened.recommender, &requests, items, &opened.mentions, run)?;
        for (conversation, ranked) in some.iter().zip(answers) {
            let query = match why {
                0 => None,
                _ => Some(opened.embedder.embed(&[&query_text(conversation, context)], true, run)?),
            };
            let mut rows = Vec::new();
            for item in ranked {
                let at = item.item as usize;
                let mut row = json!({"item": items.id(at), "title": items.title(at), "year": items.year(at), "score": item.score});
                if let Some(query) = &query {
                    let reviews = evidence.of(item.item, query.row(0), why)?;
                    row["reviews"] = reviews
                        .iter()
                        .map(
                            |r| json!({"row": r.row, "text": excerpt(opened.dataset.review_text(r.row as usize), 240)}),
                        )
                        .collect();
                }
                rows.push(row);
            }
            print(&json!({"id": conversation.id, "items": rows}).to_string())?;
        }
        run.check()?;
    }
    Ok(())
}

fn chat(matches: &ArgMatches, opened: &Opened, top_k: usize, run: &Run) -> Result<()> {
    let evidence = Evidence::new(&opened.dataset, &opened.reviews)?;
    let resources = Resources {
        recommender: &*opened.recommender,
        dataset: &opened.dataset,
        mentions: &opened.mentions,
        evidence: Some((&evidence, &*opened.embedder)),
        top_k,
    };
    // Said once, not at every turn.
    let (known, unknown): (Vec<String>, Vec<String>) =
        ids(matches, "exclude").into_iter().partition(|id| opened.dataset.items.find(id).is_some());
    if !unknown.is_empty() {
        eprintln!("causerie: excluded ids that are not in the catalogue: {}", for_a_terminal(&unknown.join(", ")));
    }
    let mut chat = Chat::new(resources).masked(known, ids(matches, "allow"));
    let terminal = std::io::stdin().is_terminal();
    if !matches.get_flag("quiet") {
        print("Say what you are looking for; /help lists the commands, /quit leaves.")?;
    }
    let mut line = String::new();
    loop {
        if terminal {
            let mut out = std::io::stdout();
            let _ = write!(out, "> ").and_then(|()| out.flush());
        }
        line.clear();
        let read = std::io::stdin().lock().read_line(&mut line);
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                print("that line is not UTF-8 text; say it again")?;
                continue;
            }
            Err(e) => return Err(Error::new(ErrorKind::Io, format!("standard input: {e}"))),
        }
        let reply = chat.reply(&line, run)?;
        if !reply.text.is_empty() {
            print(&for_a_terminal(&reply.text))?;
        }
        if reply.done {
            return Ok(());
        }
    }
}
