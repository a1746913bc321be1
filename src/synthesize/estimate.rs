//! What a synthesis would cost, told before anybody is asked: requests, tokens, price and time.
//!
//! What the journal holds is not counted again. Prompts are made for a sample of the seeds that are left, with sample requests
//! of the domain in the place of the queries that nobody has written yet. Tokens are a range, because tokenizers differ; where
//! the journal holds answers, their tokens say how this teacher counts and how long it answers.

use super::ask::{RequestSource, cost};
use super::filter::{Filters, check_language};
use super::http;
use super::journal::Journal;
use super::judge::{Judging, judges_nothing, twice_of};
use super::length::tokens_of;
use super::offline::OfflineTeacher;
use super::plan::Plan;
use super::prompts::Prompts;
use super::report::SynthesisReport;
use super::talk::{Talk, talk_of};
use super::teacher::{Answer, Class, Failure, Kind, Request, Teacher};
use crate::config::{Judge, Lists, SynthesizeConfig, TeacherKind};
use crate::dataset::{Dataset, Dialogue};
use crate::error::{Error, Result};
use crate::math::Random;
use crate::run::Run;
use crate::select::{Pick, Selection};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Seeds whose prompts are made.
const SAMPLE: usize = 100;
/// Answers in the journal from which on they say how long answers are.
const ENOUGH: usize = 5;
/// Tokens by the estimate of a prompt's text that a tokenizer makes of it: of five characters of English one, or of three.
const TOKENIZERS: (f64, f64) = (0.6, 1.0);
/// How far the rest may be from what the journal shows.
const MARGIN: f64 = 0.1;
/// Tokens that a chat template adds to a message.
const MESSAGE_TOKENS: usize = 8;

/// From the least to the most that is likely.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Span {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Span {
    fn new(low: f64, high: f64) -> Span {
        Span { low, high }
    }
    fn times(self, by: f64) -> Span {
        Span { low: self.low * by, high: self.high * by }
    }
    fn plus(self, other: Span) -> Span {
        Span { low: self.low + other.low, high: self.high + other.high }
    }
}

/// What a synthesis would cost.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// The teacher.
    pub teacher: String,
    /// Seeds.
    pub seeds: u64,
    /// Requests that the journal answers.
    pub answered: u64,
    /// Requests for queries that are left; of dialogues of several turns, for their words.
    pub queries: u64,
    /// Requests for lists that are left, if every answer holds all queries that it is asked for.
    pub lists: u64,
    /// Judgements that are left, if no dialogue is dropped.
    pub judgements: u64,
    /// Seeds whose prompts were made.
    pub sampled: u64,
    /// Tokens of the prompts.
    pub prompt_tokens: Span,
    /// Tokens of the answers.
    pub answer_tokens: Span,
    /// Price of both; none: no price is set.
    pub cost: Option<Span>,
    /// Seconds, with `synthesize.in_flight` requests at once.
    pub seconds: Span,
    /// What the ranges rest on, in words.
    pub assumptions: Vec<String>,
}

impl Estimate {
    /// Requests to send at most, but for tries after failures.
    pub fn requests(&self) -> u64 {
        self.queries + self.lists + self.judgements
    }
}

/// A teacher that has a name and is never asked.
struct Unasked {
    name: String,
    remote: bool,
}

impl Teacher for Unasked {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn is_remote(&self) -> bool {
        self.remote
    }
    fn in_flight(&self) -> usize {
        1
    }
    fn answer(&self, _: &Request, _: usize, _: &Run) -> std::result::Result<Answer, Failure> {
        Err(Failure::new(Class::Stop, "synthesize: an estimate asks nobody; please report it"))
    }
}

/// What is known of the requests of one kind.
#[derive(Debug, Clone, Default)]
struct OfKind {
    /// Estimated prompt tokens of requests that are left, as far as their prompts are known.
    known: Vec<f64>,
    /// Of sampled ones, and how many more are left in all.
    sampled: Vec<f64>,
    to_come: u64,
    /// Of answered ones: estimated and counted prompt tokens, and counted answer tokens.
    answered: Vec<(f64, f64, f64)>,
}

impl OfKind {
    fn left(&self) -> u64 {
        self.known.len() as u64 + self.to_come
    }

    /// Estimated prompt tokens of all that is left; the sample's error at two standard errors.
    fn estimated(&self) -> Span {
        let known: f64 = self.known.iter().sum();
        let (mean, error) = mean_and_error(&self.sampled);
        let error = if self.sampled.len() as u64 >= self.to_come { 0.0 } else { error };
        let of = |mean: f64| known + mean.max(0.0) * self.to_come as f64;
        Span::new(of(mean - 2.0 * error), of(mean + 2.0 * error))
    }

    /// Tokens of one answer; none: the journal holds too few.
    fn measured_answer(&self) -> Option<Span> {
        let tokens: Vec<f64> =
            self.answered.iter().map(|(_, _, answer)| *answer).filter(|tokens| *tokens > 0.0).collect();
        (tokens.len() >= ENOUGH).then(|| around(&tokens))
    }
}

/// The mean, and its standard error; 0 of nothing.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

/// The mean with its margin.
fn around(values: &[f64]) -> Span {
    let (mean, error) = mean_and_error(values);
    Span::new((mean * (1.0 - MARGIN) - 2.0 * error).max(0.0), mean * (1.0 + MARGIN) + 2.0 * error)
}

/// What `synthesize` with these arguments would cost. Nobody is asked; a journal that is not there is not made.
///
/// `seconds_per_request`: how long the teacher takes for one answer; none: assumed, within a wide range.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for rows that are no reviews; those of the prompts and of the journal;
/// [`crate::ErrorKind::Cancelled`].
pub fn estimate(
    dataset: &Dataset,
    selection: &Selection,
    config: &SynthesizeConfig,
    seconds_per_request: Option<f64>,
    run: &Run,
    journal: Option<&Path>,
) -> Result<Estimate> {
    if seconds_per_request.is_some_and(|s| !s.is_finite() || s < 0.0) {
        return Err(Error::invalid("--seconds-per-request must be a number of seconds, 0 or more"));
    }
    check_language(&config.language)?;
    if config.judge == Judge::Endpoint && (config.judge_base_url.is_empty() || config.judge_model.is_empty()) {
        let next = "name the endpoint that judges, and its model";
        return Err(Error::invalid(format!("synthesize.judge_base_url or synthesize.judge_model is empty: {next}")));
    }
    let prompts = Prompts::load(config)?;
    let teacher: Box<dyn Teacher + '_> = match config.teacher {
        TeacherKind::Offline => Box::new(OfflineTeacher::new(dataset, config, run)?),
        TeacherKind::Http => Box::new(Unasked { name: http::name_of(&config.model), remote: true }),
        TeacherKind::Local => Box::new(Unasked { name: local_name(config)?, remote: false }),
    };
    let own_judge = Unasked { name: http::name_of(&config.judge_model), remote: true };
    let judge: Option<&dyn Teacher> = match config.judge {
        Judge::Off => None,
        Judge::Teacher if !teacher.judges() => return Err(judges_nothing()),
        Judge::Teacher => Some(&*teacher),
        Judge::Endpoint => Some(&own_judge),
    };
    let journal = match journal {
        Some(path) if path.exists() => Some(Journal::open(path)?),
        Some(_) | None => None,
    };
    let talk = talk_of(config, &prompts)?;
    let mut counted = Counted { answered: 0, firsts: 0, judged: 0, kinds: Default::default() };
    let left =
        counted.walk(dataset, selection, config, &prompts, talk.as_ref(), &*teacher, judge, journal.as_ref(), run)?;
    let sampled = counted.sample(dataset, &left, config, &prompts, talk.as_ref(), &*teacher, judge, run)?;
    let free = config.teacher == TeacherKind::Offline;
    Ok(counted.told(selection, config, teacher.name(), free, seconds_per_request, sampled, journal.as_ref()))
}

#[cfg(feature = "llama")]
fn local_name(config: &SynthesizeConfig) -> Result<String> {
    super::local::name_of(config)
}

#[cfg(not(feature = "llama"))]
fn local_name(config: &SynthesizeConfig) -> Result<String> {
    Ok(format!("local/{}", config.model))
}

/// Where a kind stands among four.
fn at(kind: Kind) -> usize {
    match kind {
        Kind::Query => 0,
        Kind::Recommend => 1,
        Kind::Judge => 2,
        Kind::Dialogue => 3,
    }
}

fn prompt_tokens(request: &Request) -> f64 {
    request.messages.iter().map(|m| tokens_of(&m.content) + MESSAGE_TOKENS).sum::<usize>() as f64
}

/// What is left and what is known.
struct Counted {
    answered: u64,
    /// First requests that are left: for the queries of a seed, or the words of a dialogue of several turns.
    firsts: u64,
    /// Dialogues that are there to be judged.
    judged: usize,
    kinds: [OfKind; 4],
}

impl Counted {
    /// Goes through everything that the journal answers; the seeds whose first request it does not.
    #[allow(clippy::too_many_arguments)]
    fn walk(
        &mut self,
        dataset: &Dataset,
        selection: &Selection,
        config: &SynthesizeConfig,
        prompts: &Prompts,
        talk: Option<&Talk>,
        teacher: &dyn Teacher,
        judge: Option<&dyn Teacher>,
        journal: Option<&Journal>,
        run: &Run,
    ) -> Result<Vec<Pick>> {
        let Some(journal) = journal else {
            // Rows are looked at all the same.
            Plan::new(dataset, selection, config, prompts, talk, teacher, run)?;
            let per_seed = if talk.is_some() { config.queries as u64 } else { 1 };
            self.firsts = selection.picks.len() as u64 * per_seed;
            return Ok(selection.picks.clone());
        };
        let mut plan = Plan::new(dataset, selection, config, prompts, talk, teacher, run)?;
        // The selection's place of each row; of a naive draw its number is known.
        let places: HashMap<u64, usize> = selection.picks.iter().enumerate().map(|(at, pick)| (pick.row, at)).collect();
        let mut left = BTreeSet::new();
        while let Some((place, request)) = plan.next() {
            run.step("estimate", "requests", self.answered, plan.total())?;
            if let Some(answer) = self.known(&request, journal) {
                plan.done(place, Ok(answer));
                continue;
            }
            match request.kind {
                Kind::Query | Kind::Dialogue => {
                    self.firsts += 1;
                    let draw = request.facts.draw;
                    left.extend(if config.naive { Some(draw as usize) } else { places.get(&draw).copied() });
                }
                Kind::Recommend | Kind::Judge => self.kinds[at(request.kind)].known.push(prompt_tokens(&request)),
            }
        }
        if let Some(judge) = judge {
            let made = plan.dialogues(0, &mut SynthesisReport::default(), run)?;
            let rows = Filters::new(dataset, config, teacher.quotes())?.keep(made, &mut BTreeMap::new(), run)?;
            self.judged = rows.iter().filter(|row| row.seed.is_some()).count();
            let mut judging = Judging::new(dataset, &rows, config, prompts, judge);
            while let Some((_, request)) = judging.next() {
                if self.known(&request, journal).is_none() {
                    self.kinds[at(Kind::Judge)].known.push(prompt_tokens(&request));
                }
            }
        }
        Ok(left.into_iter().filter_map(|at| selection.picks.get(at).cloned()).collect())
    }

    /// The journal's answer, which is counted.
    fn known<'j>(&mut self, request: &Request, journal: &'j Journal) -> Option<&'j Answer> {
        let answer = journal.answer(&request.id)?;
        self.answered += 1;
        let counted = (prompt_tokens(request), answer.prompt_tokens as f64, answer.completion_tokens as f64);
        self.kinds[at(request.kind)].answered.push(counted);
        Some(answer)
    }

    /// Makes the prompts of some seeds of `left`, as if all were answered; how many.
    #[allow(clippy::too_many_arguments)]
    fn sample(
        &mut self,
        dataset: &Dataset,
        left: &[Pick],
        config: &SynthesizeConfig,
        prompts: &Prompts,
        talk: Option<&Talk>,
        teacher: &dyn Teacher,
        judge: Option<&dyn Teacher>,
        run: &Run,
    ) -> Result<u64> {
        let mut random = Random::new(config.seed, b"estimate");
        let mut drawn = random.sample(left.len(), SAMPLE);
        drawn.sort_unstable();
        let picks: Vec<Pick> = drawn.into_iter().map(|at| left[at].clone()).collect();
        let sampled = picks.len() as u64;
        let some = Selection { picks };
        let mut plan = Plan::new(dataset, &some, config, prompts, talk, teacher, run)?;
        while let Some((place, request)) = plan.next() {
            run.check()?;
            self.kinds[at(request.kind)].sampled.push(prompt_tokens(&request));
            let text = stand_in(&request, dataset, config, prompts, &mut random);
            plan.done(place, Ok(&Answer { text, prompt_tokens: 0, completion_tokens: 0 }));
        }
        let waiting = self.kinds[at(Kind::Recommend)].known.len() as u64;
        let (first, each) = if talk.is_some() { (Kind::Dialogue, 1) } else { (Kind::Query, config.queries as u64) };
        self.kinds[at(first)].to_come = self.firsts;
        self.kinds[at(Kind::Recommend)].to_come = match super::shortlist::lists_of(config, true) {
            Lists::Auto | Lists::Open | Lists::Candidates => self.firsts * each,
            Lists::Collaborative => 0,
        };
        let Some(judge) = judge.filter(|_| !config.naive) else { return Ok(sampled) };
        let rows: Vec<Dialogue> = plan.dialogues(0, &mut SynthesisReport::default(), run)?;
        let mut judging = Judging::new(dataset, &rows, config, prompts, judge);
        while let Some((_, request)) = judging.next() {
            self.kinds[at(Kind::Judge)].sampled.push(prompt_tokens(&request));
        }
        let dialogues = (self.firsts * each + waiting) as usize;
        // Those that are there already are counted with theirs.
        let twice = twice_of(self.judged + dialogues).saturating_sub(twice_of(self.judged));
        let kind = &mut self.kinds[at(Kind::Judge)];
        // Nothing was sampled where all queries are there: what is known of others stands for it.
        if kind.sampled.is_empty() {
            kind.sampled = kind.known.iter().copied().chain(kind.answered.iter().map(|a| a.0)).collect();
        }
        kind.to_come = (dialogues + twice) as u64;
        Ok(sampled)
    }

    /// The tokens of one answer of a kind: as the journal shows, or as is assumed.
    fn answer_of(&self, kind: Kind, config: &SynthesizeConfig, assumptions: &mut Vec<String>) -> Span {
        let most = config.answer_tokens as f64;
        let left = self.kinds[at(kind)].left() > 0;
        if let Some(measured) = self.kinds[at(kind)].measured_answer() {
            if left {
                let answers = self.kinds[at(kind)].answered.len();
                assumptions.push(format!("an answer for {} is as long as the journal's {answers}", name_of(kind)));
            }
            return measured;
        }
        let (queries, items) = (config.queries as f64, config.items as f64);
        let (low, high) = match kind {
            Kind::Query => (15.0 * queries, 80.0 * queries),
            Kind::Recommend => match super::shortlist::lists_of(config, true) {
                Lists::Auto | Lists::Open => (6.0 * items, 15.0 * items),
                Lists::Candidates => (2.0 * items, 4.0 * items + 20.0),
                Lists::Collaborative => (0.0, 0.0),
            },
            Kind::Judge => (10.0, 60.0),
            Kind::Dialogue => (20.0 * config.turns as f64, 80.0 * config.turns as f64),
        };
        let (low, high) = (f64::min(low, most), f64::min(high, most));
        if left {
            assumptions.push(format!("an answer for {} takes {low:.0} to {high:.0} tokens", name_of(kind)));
        }
        Span::new(low, high)
    }

    #[allow(clippy::too_many_arguments)]
    fn told(
        &self,
        selection: &Selection,
        config: &SynthesizeConfig,
        teacher: String,
        free: bool,
        seconds_per_request: Option<f64>,
        sampled: u64,
        journal: Option<&Journal>,
    ) -> Estimate {
        let left = |kind: Kind| self.kinds[at(kind)].left();
        let mut estimate = Estimate {
            teacher,
            seeds: selection.picks.len() as u64,
            answered: self.answered,
            queries: left(Kind::Query) + left(Kind::Dialogue),
            lists: left(Kind::Recommend),
            judgements: left(Kind::Judge),
            sampled,
            ..Default::default()
        };
        let asked = [Kind::Query, Kind::Dialogue, Kind::Recommend, Kind::Judge];
        // The built-in teacher counts no tokens; a judge of its own does.
        let asked = asked.into_iter().filter(|kind| !free || *kind == Kind::Judge);
        let mut assumptions = Vec::new();
        let (mut prompts, mut answers) = (Span::default(), Span::default());
        for kind in asked {
            let of_kind = &self.kinds[at(kind)];
            prompts = prompts.plus(of_kind.estimated());
            answers = answers.plus(self.answer_of(kind, config, &mut assumptions).times(of_kind.left() as f64));
        }
        let ratios: Vec<f64> =
            self.kinds.iter().flat_map(|kind| &kind.answered).filter(|a| a.1 > 0.0).map(|a| a.1 / a.0).collect();
        let tokens = match ratios.len() >= ENOUGH {
            true => around(&ratios),
            false => Span::new(TOKENIZERS.0, TOKENIZERS.1),
        };
        estimate.prompt_tokens = Span::new(prompts.low * tokens.low, prompts.high * tokens.high);
        estimate.answer_tokens = answers;
        if prompts.high > 0.0 {
            assumptions.push(match ratios.len() >= ENOUGH {
                true => format!("prompts are counted as in the journal's {} answers", ratios.len()),
                false => {
                    "the tokenizer makes a token of three to five characters of English, of one of Chinese".to_string()
                }
            });
            let most = config.answer_tokens;
            assumptions
                .push(format!("no request fails, and no model thinks before it answers (up to {most} tokens each)"));
        }
        if config.price_in > 0.0 || config.price_out > 0.0 {
            let of = |prompts: f64, answers: f64| cost(config, prompts.ceil() as u64, answers.ceil() as u64);
            let (p, a) = (estimate.prompt_tokens, estimate.answer_tokens);
            estimate.cost = Some(Span::new(of(p.low, a.low), of(p.high, a.high)));
        }
        estimate.seconds = self.seconds(&estimate, config, free, seconds_per_request, &mut assumptions);
        let spent = journal.map(Journal::spent).unwrap_or_default();
        let some_left = estimate.requests() > 0;
        if some_left
            && config.max_requests > 0
            && spent.requests.saturating_add(estimate.requests()) > config.max_requests
        {
            let left = config.max_requests.saturating_sub(spent.requests);
            assumptions.push(format!("not so: synthesize.max_requests ends it after {left} more requests"));
        }
        if some_left
            && config.max_tokens > 0
            && spent.tokens() as f64 + estimate.prompt_tokens.low + answers.low > config.max_tokens as f64
        {
            let left = config.max_tokens.saturating_sub(spent.tokens());
            assumptions.push(format!("not so: synthesize.max_tokens ends it after {left} more tokens"));
        }
        estimate.assumptions = assumptions;
        estimate
    }

    fn seconds(
        &self,
        estimate: &Estimate,
        config: &SynthesizeConfig,
        free: bool,
        seconds_per_request: Option<f64>,
        assumptions: &mut Vec<String>,
    ) -> Span {
        let requests = if free { estimate.judgements } else { estimate.requests() } as f64;
        let alone = config.teacher == TeacherKind::Local;
        let at_once = if alone { 1.0 } else { (config.in_flight as f64).min(requests).max(1.0) };
        if requests == 0.0 {
            return Span::default();
        }
        if let Some(seconds) = seconds_per_request {
            return Span::new(requests * seconds / at_once, requests * seconds / at_once);
        }
        let (p, a) = (estimate.prompt_tokens, estimate.answer_tokens);
        let (low, high, said) = match alone {
            true => (
                p.low / 1000.0 + a.low / 100.0,
                p.high / 30.0 + a.high / 3.0,
                "this machine reads 30 to 1000 tokens a second and writes 3 to 100",
            ),
            false => (
                0.3 * requests + a.low / 100.0,
                2.0 * requests + a.high / 20.0,
                "an answer takes 0.3 to 2 seconds and one for 20 to 100 tokens",
            ),
        };
        assumptions.push(format!("{said} (--seconds-per-request says better)"));
        Span::new(low / at_once, high / at_once)
    }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Query => "queries",
        Kind::Recommend => "a list",
        Kind::Judge => "a judgement",
        Kind::Dialogue => "a dialogue",
    }
}

/// What stands for an answer that nobody gave: sample requests of the domain, numbers, or titles of the catalogue.
fn stand_in(
    request: &Request,
    dataset: &Dataset,
    config: &SynthesizeConfig,
    prompts: &Prompts,
    random: &mut Random,
) -> String {
    match request.kind {
        Kind::Query => {
            let styles = random.sample(prompts.styles.len(), config.queries);
            let styles: Vec<&String> = styles.into_iter().map(|at| &prompts.styles[at]).collect();
            // Told apart by their seed, so that none counts as repeated.
            let said: Vec<String> = styles.iter().map(|style| format!("{style} ({})", request.facts.draw)).collect();
            serde_json::to_string(&said).unwrap_or_default()
        }
        Kind::Recommend if request.facts.candidates.is_empty() => {
            let items = random.sample(dataset.items.len(), config.items);
            let names =
                items.into_iter().enumerate().map(|(n, item)| format!("{}. {}", n + 1, dataset.items.name(item)));
            names.collect::<Vec<_>>().join("\n")
        }
        Kind::Recommend => (1..=request.facts.count).map(|n| n.to_string()).collect::<Vec<_>>().join(", "),
        Kind::Judge => "5, 5, 5".to_string(),
        Kind::Dialogue => serde_json::to_string(&request.facts.draft).unwrap_or_default(),
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = |span: Span| match span.low.round() == span.high.round() {
            true => format!("{:.0}", span.low),
            false => format!("{:.0} to {:.0}", span.low, span.high),
        };
        writeln!(f, "{}: {} seeds, {} requests are answered in the journal", self.teacher, self.seeds, self.answered)?;
        writeln!(
            f,
            "requests         {} ({} for queries, {} for lists, {} judgements)",
            self.requests(),
            self.queries,
            self.lists,
            self.judgements
        )?;
        writeln!(f, "prompt tokens    {}", whole(self.prompt_tokens))?;
        writeln!(f, "answer tokens    {}", whole(self.answer_tokens))?;
        match self.cost {
            Some(cost) => writeln!(f, "price            {:.2} to {:.2}", cost.low, cost.high)?,
            None => writeln!(f, "price            not known: set synthesize.price_in and synthesize.price_out")?,
        }
        writeln!(f, "seconds          {}", whole(self.seconds))?;
        write!(f, "nobody was asked; prompts of {} seeds were made", self.sampled)?;
        for assumption in &self.assumptions {
            write!(f, "\n  {assumption}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::mock::{Mock, Reply};
    use super::super::synthesize;
    use super::super::tests::{Folder, dataset, http as settings, selection, well};
    use super::*;

    fn of(config: &SynthesizeConfig, seeds: usize, journal: Option<&Path>) -> Estimate {
        estimate(&dataset(), &selection(seeds), config, None, &Run::new(2).unwrap(), journal).unwrap()
    }

    /// As [`well`], but with the tokens that its texts have by four characters a token.
    fn counting(n: usize, body: &str) -> Reply {
        let Reply::Text(text) = well(n, body) else { return well(n, body) };
        let prompt: serde_json::Value = serde_json::from_str(body).unwrap();
        let prompt = prompt["messages"][0]["content"].as_str().unwrap();
        let answer = serde_json::json!({
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": prompt.len() / 4, "completion_tokens": text.len() / 4},
        });
        Reply::Status(200, "content-type: application/json\r\n", answer.to_string())
    }

    #[test]
    fn what_is_told_beforehand_is_what_it_costs() {
        for lists in ["candidates", "open", "collaborative"] {
            let mock = Mock::new(counting);
            let config = SynthesizeConfig {
                lists: lists.into(),
                price_in: 1.0,
                price_out: 2.0,
                candidates: 10,
                ..settings(&mock.url)
            };
            let told = of(&config, 60, None);
            assert_eq!(mock.count(), 0, "nobody is asked");
            let folder = Folder::new();
            let run = Run::new(2).unwrap();
            let made = synthesize(&dataset(), &selection(60), &config, 0, &run, &folder.journal()).unwrap().report;
            assert_eq!((told.requests(), told.queries), (made.requests, 60), "{lists}");
            let within = |span: Span, value: u64| span.low <= value as f64 && value as f64 <= span.high;
            assert!(within(told.prompt_tokens, made.prompt_tokens), "{lists}: {told} {}", made.prompt_tokens);
            let priced = told.cost.unwrap();
            assert!(priced.low <= made.cost * 1.5 && made.cost <= priced.high, "{lists}: {told} {}", made.cost);
            // All of it is in the journal now.
            let again = of(&config, 60, Some(&folder.journal()));
            assert_eq!((again.requests(), again.answered), (0, made.requests), "{lists}: {again}");
            assert_eq!((again.prompt_tokens, again.seconds), (Span::default(), Span::default()));
        }
    }

    #[test]
    fn a_half_finished_journal_leaves_the_other_half_and_says_how_this_teacher_counts() {
        let mock = Mock::new(counting);
        let config = SynthesizeConfig { lists: "candidates".into(), candidates: 10, ..settings(&mock.url) };
        let folder = Folder::new();
        let run = Run::new(2).unwrap();
        let capped = SynthesizeConfig { max_requests: 61, ..config.clone() };
        let first = synthesize(&dataset(), &selection(60), &capped, 0, &run, &folder.journal()).unwrap().report;
        let told = of(&config, 60, Some(&folder.journal()));
        let asked = mock.count();
        assert_eq!((told.answered, told.requests()), (61, 180 - 61));
        assert!(told.assumptions.iter().any(|a| a.contains("as long as the journal's")), "{told}");
        // A cap that is in the way is told.
        let capped = of(&SynthesizeConfig { max_requests: 100, ..config.clone() }, 60, Some(&folder.journal()));
        assert!(capped.to_string().contains("ends it after 39 more requests"), "{capped}");
        let whole = synthesize(&dataset(), &selection(60), &config, 0, &run, &folder.journal()).unwrap().report;
        assert_eq!(mock.count() - asked, 119);
        let (prompts, answers) =
            (whole.prompt_tokens - first.prompt_tokens, whole.completion_tokens - first.completion_tokens);
        for (span, value) in [(told.prompt_tokens, prompts), (told.answer_tokens, answers)] {
            let value = value as f64;
            assert!(span.low <= value && value <= span.high && span.high < 1.5 * span.low, "{told}: {value}");
        }
    }

    #[test]
    fn every_teacher_can_be_estimated_without_being_there() {
        // No address, no model, a file that is not there for the judge; the built-in one costs nothing.
        let away = SynthesizeConfig { teacher: "http".into(), ..Default::default() };
        let told = of(&away, 10, None);
        assert_eq!((told.requests(), told.sampled, told.cost), (30, 10, None));
        assert!(told.seconds.low > 0.0 && told.seconds.high > told.seconds.low);
        let built_in = of(&SynthesizeConfig { price_in: 5.0, lists: "open".into(), ..Default::default() }, 10, None);
        assert_eq!(
            (built_in.requests(), built_in.prompt_tokens, built_in.cost),
            (30, Span::default(), Some(Span::default()))
        );
        // Dialogues of several turns: one request for the words of each, one for its list.
        let turns = of(&SynthesizeConfig { turns: 2, ..away.clone() }, 10, None);
        assert_eq!((turns.queries, turns.lists, turns.judgements), (20, 20, 0));
        assert!(turns.prompt_tokens.low > 0.0);
        // 150 seeds, a hundred of which are drawn: the same each time.
        let many = of(&away, 150, None);
        assert_eq!((many.requests(), many.sampled), (450, 100));
        assert_eq!(many, of(&away, 150, None));
        // Twice as many at once, half the time; as long as is said.
        let slow = |in_flight| {
            let config = SynthesizeConfig { in_flight, ..away.clone() };
            estimate(&dataset(), &selection(10), &config, Some(3.0), &Run::new(1).unwrap(), None).unwrap().seconds
        };
        assert_eq!((slow(1), slow(2)), (Span::new(90.0, 90.0), Span::new(45.0, 45.0)));
        let bad = estimate(&dataset(), &selection(1), &away, Some(f64::NAN), &Run::new(1).unwrap(), None);
        assert!(bad.unwrap_err().message().contains("--seconds-per-request"));
    }

    #[test]
    fn judgements_are_counted_too() {
        let mock = Mock::new(|n, body| match body.contains("You judge") {
            true => Reply::Text("5, 5, 5".into()),
            false => counting(n, body),
        });
        let config = SynthesizeConfig { judge: "teacher".into(), ..settings(&mock.url) };
        let told = of(&config, 30, None);
        // 60 dialogues, 20 of them twice.
        assert_eq!((told.queries, told.lists, told.judgements), (30, 60, 80));
        let (folder, run) = (Folder::new(), Run::new(2).unwrap());
        let made = synthesize(&dataset(), &selection(30), &config, 0, &run, &folder.journal()).unwrap().report;
        assert_eq!(made.requests, 170);
        assert_eq!(of(&config, 30, Some(&folder.journal())).requests(), 0);
    }
}
