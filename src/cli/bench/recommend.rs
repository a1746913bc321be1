//! `causerie bench recommend`: what a recommendation by a language model costs, beside what one would do without causerie:
//! let llama.cpp write the list, token after token.

use super::super::progress::{print, run_of};
use super::super::settings::{config_of, with_settings};
use causerie::config::{Choice, Mode, RecommendConfig};
use causerie::dataset::{Conversation, Dataset, Item, Role, Turn};
use causerie::llama::{self, Batch, Model, Pooling, Token};
use causerie::math::{Matrix, Random};
use causerie::os::{cpu_seconds, peak_memory_bytes, reset_peak_memory};
use causerie::recommend::lm::LmRecommender;
use causerie::titles::Titles;
use causerie::tune::lm::{Chat, recommend_messages};
use causerie::tune::{Head, ItemVectors};
use causerie::{Error, Result, Run};
use clap::{Arg, ArgMatches, Command};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// `causerie bench recommend`.
pub fn bench_recommend_command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).value_name("N").help(help)
    };
    let recommend = Command::new("recommend")
        .about("Latency, throughput and memory of generate, constrained and head, on a synthetic catalogue");
    // The model is an argument here as elsewhere: --model.
    with_settings(recommend, "recommend", &["mode", "system"])
        .arg(number("items", "10000", "Titles in the catalogue"))
        .arg(number("tokens", "200", "Tokens of a conversation"))
        .arg(number("requests", "8", "Requests per caller and case"))
        .arg(
            Arg::new("callers")
                .long("callers")
                .default_value("1,4")
                .value_delimiter(',')
                .value_name("N,…")
                .help("Threads that ask at the same time"),
        )
        .arg(
            Arg::new("modes")
                .long("modes")
                .default_value("generate,constrained,head")
                .value_delimiter(',')
                .help("What is measured, of generate, constrained, head, trie, raw, masks, exchange, cancel"),
        )
}

fn numbers(matches: &ArgMatches, name: &str) -> Result<Vec<usize>> {
    let of = |text: &String| text.parse().map_err(|_| Error::invalid(format!("--{name} {text}: not a whole number")));
    matches.get_many::<String>(name).into_iter().flatten().map(of).collect()
}

fn number(matches: &ArgMatches, name: &str) -> Result<usize> {
    numbers(matches, name)?.first().copied().ok_or_else(|| Error::invalid(format!("--{name} is missing")))
}

const WORDS: [&str; 40] = [
    "slow", "funny", "tense", "warm", "bleak", "clever", "gentle", "strange", "film", "comedy", "drama", "horror",
    "western", "musical", "noir", "romance", "river", "moon", "harbour", "orchard", "winter", "summer", "night",
    "garden", "letter", "thunder", "harvest", "island", "mirror", "station", "captain", "daughter", "stranger",
    "mountain", "silver", "paper", "glass", "window", "forest", "train",
];

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect())
}

/// Titles of two to four words with a year.
fn catalogue(count: usize) -> Result<Dataset> {
    let mut dataset = Dataset::default();
    let mut random = Random::new(1, b"bench titles");
    for i in 0..count {
        let words: Vec<String> = (0..2 + random.below(3)).map(|_| capital(WORDS[random.below(WORDS.len())])).collect();
        dataset.add_item(&Item {
            id: format!("b{i}"),
            title: format!("The {}", words.join(" ")),
            year: Some(1930 + random.below(95) as u16),
            ..Item::default()
        })?;
    }
    Ok(dataset)
}

/// A conversation of one turn with about so many tokens.
fn conversation(model: &Model, tokens: usize, seed: u64) -> Result<Conversation> {
    let mut random = Random::new(seed, b"bench talk");
    let mut text = String::from("I am looking for something");
    while model.tokenise(&text, false, false)?.len() < tokens {
        text.push(' ');
        text.push_str(WORDS[random.below(WORDS.len())]);
    }
    let turns = vec![Turn { role: Role::User, text }];
    Ok(Conversation { id: format!("bench {seed}"), turns, targets: Vec::new(), seen: Vec::new() })
}

/// Runs `causerie bench recommend`.
pub fn recommend(matches: &ArgMatches) -> Result<()> {
    let mut config = config_of(matches)?;
    // A conversation is as long as it was asked to be.
    config.recommend.context_chars = 0;
    let run = run_of(&config)?;
    let path = config.recommend.model.clone();
    if path.is_empty() {
        return Err(Error::invalid("bench recommend: name a GGUF with --model"));
    }
    let (items, tokens, requests) =
        (number(matches, "items")?, number(matches, "tokens")?, number(matches, "requests")?.max(1));
    let dataset = catalogue(items)?;
    let model = Model::load(Path::new(&path))?;
    let modes: Vec<&String> = matches.get_many::<String>("modes").into_iter().flatten().collect();
    print(&format!(
        "{path}, {:.0}M parameters; {items} titles, {tokens} tokens a conversation, {requests} requests a caller, {} \
         threads\n",
        model.parameters() as f64 / 1e6,
        run.threads()
    ))?;
    print(
        "| mode | callers | prompt | p50 ms | p99 ms | requests/s | CPU ms a request | peak RSS MiB | tokens computed \
         |\n|---|---|---|---|---|---|---|---|---|",
    )?;
    let callers = numbers(matches, "callers")?;
    let case = Case { config: &config.recommend, dataset: &dataset, model: &model, tokens, requests, run: &run };
    for mode in modes {
        match mode.as_str() {
            "generate" => {
                for callers in &callers {
                    case.generate(*callers)?;
                }
            }
            "raw" => case.raw()?,
            "masks" => case.masks()?,
            "exchange" => case.exchange()?,
            "cancel" => case.cancel()?,
            "trie" => {
                reset_peak_memory();
                let before = peak_memory_bytes();
                let started = Instant::now();
                let lm = case.open(Mode::Constrained)?;
                let trie = lm.trie();
                print(&format!(
                    "\ntrie of {} titles: {:.2} s, {:.1} MiB; peak of the build {:.1} MiB above what was held before\n",
                    trie.titles(),
                    started.elapsed().as_secs_f64(),
                    trie.bytes() as f64 / (1 << 20) as f64,
                    peak_memory_bytes().saturating_sub(before) as f64 / (1 << 20) as f64
                ))?;
            }
            ranked => {
                let mode = ranked.parse()?;
                for callers in &callers {
                    case.measure(mode, *callers)?;
                }
            }
        }
    }
    Ok(())
}

/// Greedy decoding's choice.
fn likeliest(logits: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, z) in logits.iter().enumerate() {
        if *z > best.1 {
            best = (token, *z);
        }
    }
    best.0
}

/// What one case took: seconds of each request, and tokens computed, seconds and CPU seconds of all together.
struct Measurement {
    times: Vec<f64>,
    tokens: usize,
    wall: f64,
    cpu: f64,
}

/// What is measured, on what.
pub(super) struct Case<'a> {
    pub config: &'a RecommendConfig,
    pub dataset: &'a Dataset,
    pub model: &'a Model,
    tokens: usize,
    pub requests: usize,
    pub run: &'a Run,
}

impl Case<'_> {
    pub(super) fn conversation(&self, seed: u64) -> Result<Conversation> {
        conversation(self.model, self.tokens, seed)
    }

    pub(super) fn open(&self, mode: Mode) -> Result<LmRecommender> {
        let config = RecommendConfig { mode, ..self.config.clone() };
        let items = &self.dataset.items;
        let head = match mode {
            Mode::Head => Some(self.head()?),
            Mode::Constrained | Mode::Generate => None,
        };
        // Nothing of what is said names an item here: an empty index keeps the figures those of the model.
        let mentions = Arc::new(Titles::new(&Dataset::default().items, &[]));
        LmRecommender::of(self.model.clone(), Vec::new(), head, items, mentions, &config, self.run)
    }

    /// A head of random item vectors: the same work as a tuned one.
    fn head(&self) -> Result<Head> {
        let (items, dim) = (self.dataset.items.len(), self.model.width());
        let mut random = Random::new(2, b"bench head");
        let mut vectors = Matrix::from_vec(items, dim, (0..items * dim).map(|_| random.normal() as f32).collect())?;
        vectors.normalise_rows();
        Head::untrained(ItemVectors {
            ids: (0..items).map(|i| self.dataset.items.id(i).to_string()).collect(),
            vectors,
            counts: vec![0.0; items],
            embedder: "bench".into(),
            text_dim: dim,
        })
    }

    fn row(&self, mode: &str, callers: usize, prompt: &str, measured: Measurement) -> Result<()> {
        let Measurement { mut times, tokens, wall, cpu } = measured;
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[(((times.len() - 1) as f64) * share).round() as usize] * 1e3;
        let each = times.len() as f64;
        print(&format!(
            "| {mode} | {callers} | {prompt} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} |",
            at(0.5),
            at(0.99),
            each / wall,
            cpu / each * 1e3,
            peak_memory_bytes() as f64 / (1 << 20) as f64,
            tokens as f64 / each
        ))
    }

    /// New conversations (of which the instruction alone is known), then the same ones again.
    fn measure(&self, mode: Mode, callers: usize) -> Result<()> {
        let lm = self.open(mode)?;
        let talks: Vec<Vec<Conversation>> = (0..callers)
            .map(|c| (0..self.requests).map(|r| self.conversation((c * 1000 + r) as u64)).collect())
            .collect::<Result<_>>()?;
        let warm_up = self.conversation(u64::MAX)?;
        lm.answer(&warm_up, &[], self.config.top_k, self.run)?;
        for prompt in ["new", "cached"] {
            reset_peak_memory();
            let (started, cpu) = (Instant::now(), cpu_seconds());
            let results: Vec<Result<Vec<(f64, usize)>>> = std::thread::scope(|scope| {
                let ask = |talks: &Vec<Conversation>| {
                    let mut times = Vec::new();
                    for talk in talks {
                        let started = Instant::now();
                        let answer = lm.answer(talk, &[], self.config.top_k, self.run)?;
                        if answer.items.len() != self.config.top_k.min(self.dataset.items.len()) {
                            return Err(Error::bug(format!("{} items", answer.items.len())));
                        }
                        let tokens = answer.prompt_tokens - answer.reused_tokens + answer.searched_tokens;
                        times.push((started.elapsed().as_secs_f64(), tokens));
                    }
                    Ok(times)
                };
                let threads: Vec<_> = talks.iter().map(|talks| scope.spawn(move || ask(talks))).collect();
                let gone = |_| Err(Error::bug("a caller of the bench panicked"));
                threads.into_iter().map(|t| t.join().unwrap_or_else(gone)).collect()
            });
            let wall = started.elapsed().as_secs_f64();
            let cpu = cpu_seconds() - cpu;
            let (times, tokens): (Vec<f64>, Vec<usize>) =
                results.into_iter().collect::<Result<Vec<_>>>()?.concat().into_iter().unzip();
            self.row(mode.name(), callers, prompt, Measurement { times, tokens: tokens.iter().sum(), wall, cpu })?;
        }
        Ok(())
    }

    /// What one would do today: the prompt, then 20 lines token by token, greedily, every caller in a context of its own. A
    /// model without tuning would never end a line, so the lines are given: 20 of the catalogue; the work is the same. Callers
    /// share the threads: more of them than there are cores would wait for each other most of the time.
    fn generate(&self, callers: usize) -> Result<()> {
        let chat = Chat::of(self.model.clone())?;
        let run = &Run::new((self.run.threads() / callers.max(1)).max(1))?;
        let lines: Vec<String> =
            (0..self.config.top_k).map(|i| format!("{}. {}", i + 1, self.dataset.items.name(i * 7))).collect();
        let list = chat.answer(&lines.join("\n"))?;
        reset_peak_memory();
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let results: Vec<Result<Vec<(f64, f64, usize)>>> = std::thread::scope(|scope| {
            let work: Vec<_> = (0..callers)
                .map(|c| {
                    scope.spawn({
                        let (chat, list) = (&chat, &list);
                        move || self.write_lists(chat, list, c, run)
                    })
                })
                .collect();
            let gone = |_| Err(Error::bug("a caller of the bench panicked"));
            work.into_iter().map(|t| t.join().unwrap_or_else(gone)).collect()
        });
        let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let times: Vec<(f64, f64, usize)> = results.into_iter().collect::<Result<Vec<_>>>()?.concat();
        let read: Vec<f64> = times.iter().map(|t| t.0).collect();
        let written: Vec<f64> = times.iter().map(|t| t.1).collect();
        let both: Vec<f64> = times.iter().map(|t| t.0 + t.1).collect();
        let prompts: usize = times.iter().map(|t| t.2).sum();
        let lists = list.len() * times.len();
        // Of the whole, each part has the share of its time.
        let share = |part: &[f64]| part.iter().sum::<f64>() / both.iter().sum::<f64>();
        let row = |prompt, mode, times: &Vec<f64>, tokens| {
            let share = share(times);
            let measured = Measurement { times: times.clone(), tokens, wall: wall * share, cpu: cpu * share };
            self.row(mode, callers, prompt, measured)
        };
        row("new", "generate", &both, prompts + lists)?;
        row("cached", "generate", &written, lists)?;
        row("new", "bare prefill", &read, prompts)
    }

    /// Seconds of each prompt and of each list behind it, and the prompt's tokens.
    fn write_lists(&self, chat: &Chat, list: &[u32], caller: usize, run: &Run) -> Result<Vec<(f64, f64, usize)>> {
        let sizes = llama::ContextOptions {
            tokens: self.tokens + list.len() + 256,
            batch_tokens: 512,
            sequences: 1,
            pooling: Pooling::Logits,
            exact: false,
        };
        let mut context = llama::Context::new(self.model, sizes, run)?;
        let mut times = Vec::new();
        for request in 0..self.requests.min(4) {
            let talk = self.conversation((caller * 1000 + request) as u64)?;
            let prompt = chat.prompt(&recommend_messages(&talk.turns[0].text))?;
            let started = Instant::now();
            context.clear();
            let mut batch = Batch::default();
            for (at, token) in prompt.iter().enumerate() {
                batch.push(*token as Token, at, 0, at + 1 == prompt.len());
            }
            let last = batch.len() - 1;
            context.run_batch(&batch, run)?;
            let mut chosen = likeliest(context.logits(last)?);
            let prefilled = Instant::now();
            for (n, token) in list.iter().enumerate() {
                let mut batch = Batch::default();
                batch.push(*token as Token, prompt.len() + n, 0, true);
                context.run_batch(&batch, run)?;
                chosen = chosen.max(likeliest(context.logits(0)?));
            }
            std::hint::black_box(chosen);
            times.push(((prefilled - started).as_secs_f64(), prefilled.elapsed().as_secs_f64(), prompt.len()));
        }
        Ok(times)
    }
}
