//! `causerie recommend`: conversations in, ranked items out; or a chat in the terminal.

use super::progress::{for_a_terminal, print, run_of};
use super::settings::{config_on, with_settings};
use causerie::config::Strategy;
use causerie::dataset::{Conversation, load_conversations};
use causerie::pipeline::open_with;
use causerie::recommend::chat::Chat;
use causerie::recommend::{ItemList, Neighbour, Query, Service, excerpt};
use causerie::{Config, Error, ErrorKind, Result, Run};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

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
    let strategy = Strategy::asked(strategy)?;
    let service = open_with(work, &config.recommend, config.recommend.system, strategy, &run)?;
    let top_k = config.recommend.top_k;
    match matches.get_one::<String>("conversations") {
        Some(path) => answer_file(matches, &service, Path::new(path), &config, &run),
        // A screen holds ten; who asks for another number gets it.
        None if top_k == Config::default().recommend.top_k => chat(matches, &service, top_k.min(10), &run),
        None => chat(matches, &service, top_k, &run),
    }
}

fn ids(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

fn answer_file(matches: &ArgMatches, service: &Service, path: &Path, config: &Config, run: &Run) -> Result<()> {
    let conversations = load_conversations(path, config.dataset.max_bad_lines)?;
    let top_k = config.recommend.top_k;
    let exclude = ItemList::of_ids(ids(matches, "exclude"));
    let allow = Some(ItemList::of_ids(ids(matches, "allow"))).filter(|allow| !allow.is_empty());
    let why = matches.get_one::<usize>("why").copied().unwrap_or(0);
    let dataset = service.dataset();
    let items = &dataset.items;
    let mut warned = BTreeSet::new();
    // A few at a time: an answer comes soon, and memory does not grow with the file.
    for some in conversations.chunks(64) {
        let query = |conversation: &Conversation| Query {
            exclude: exclude.clone(),
            allow: allow.clone(),
            explain: Some(why),
            ..Query::new(conversation.clone())
        };
        let queries: Vec<Query> = some.iter().map(query).collect();
        let answers = service.answer_all(&queries.iter().collect::<Vec<_>>(), top_k, &[], None, run)?;
        for (conversation, answer) in some.iter().zip(answers) {
            // Most conversations exclude the same: it is said once.
            for warning in answer.warnings.iter().filter(|w| w.starts_with("exclude") || w.starts_with("allow")) {
                if warned.insert(warning.clone()) {
                    eprintln!("causerie: {}", for_a_terminal(warning));
                }
            }
            let mut rows = Vec::new();
            for (n, item) in answer.items.iter().enumerate() {
                let at = item.item as usize;
                let mut row = json!({"item": items.id(at), "title": items.title(at), "year": items.year(at), "score": item.score});
                if why > 0 {
                    let reviews = answer.evidence.get(n).into_iter().flatten();
                    let review = |r: &Neighbour| json!({"row": r.row, "text": excerpt(dataset.review_text(r.row as usize), 240)});
                    row["reviews"] = reviews.map(review).collect();
                }
                rows.push(row);
            }
            let mut line = json!({"id": conversation.id, "items": rows});
            if answer.partial {
                line["partial"] = true.into();
            }
            print(&line.to_string())?;
        }
        run.check()?;
    }
    Ok(())
}

fn chat(matches: &ArgMatches, service: &Service, top_k: usize, run: &Run) -> Result<()> {
    // Said once, not at every turn.
    let (known, unknown): (Vec<String>, Vec<String>) =
        ids(matches, "exclude").into_iter().partition(|id| service.items().find(id).is_some());
    if !unknown.is_empty() {
        eprintln!("causerie: excluded ids that are not in the catalogue: {}", for_a_terminal(&unknown.join(", ")));
    }
    let mut chat = Chat::new(service, top_k).masked(known, ids(matches, "allow"));
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
