//! The plan of Algorithm 2 (paper §3.3): which requests a selection leads to, and which dialogues their answers make.

use super::ask::RequestSource;
use super::choice::{kendall_tau, parse_choice};
use super::leak::{Mask, same_title};
use super::length::{shorten, tokens_of};
use super::personal::{PersonalData, mask_personal};
use super::prompts::{Prompts, defuse, delimit};
use super::queries::{is_query, normal, parse_queries};
use super::report::SynthesisReport;
use super::shortlist::{Shortlist, Shortlists, lists_of};
use super::talk::{DISLIKED_TO, Outline, Outliner, Sources, Talk, one_line, read_lines, says};
use super::teacher::{Answer, Class, Facts, Kind, Request, Teacher};
use crate::artifact::content_hash;
use crate::config::{Lists, Masking, SynthesizeConfig};
use crate::dataset::{Act, Dataset, Dialogue, MentionLabel, Message, MessageLabel, Polarity, Seed};
use crate::error::Error;
use crate::math::Random;
use crate::retrieve::Retriever;
use crate::run::Run;
use crate::select::Selection;
use crate::titles::{Reply, Titles, clean_answer, parse_titles};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

/// One query of a seed.
struct PlannedQuery {
    /// What the user says; of several turns, all that is said before the list.
    query: String,
    /// The dialogue without its list; none: one turn.
    talk: Option<Talked>,
    /// Id of the second request; empty before it is made.
    id: String,
    /// The second answer, or the failure that it was given up for; none: not asked, or not answered yet.
    answer: Option<Result<String, Class>>,
    /// What it is chosen from; empty: from memory.
    shortlist: Shortlist,
}

/// A dialogue of several turns in words, without its list, which comes before the last message.
struct Talked {
    messages: Vec<Message>,
    labels: Vec<MessageLabel>,
}

/// One seed under way; with several turns, one dialogue of a seed.
struct SeedState {
    /// Id of the first request.
    id: String,
    item: Option<u32>,
    reviews: Vec<u32>,
    /// The selected review complains: the item is to be avoided.
    avoids: bool,
    /// What is planned; none: one turn.
    outline: Option<Outline>,
    queries: Vec<PlannedQuery>,
}

impl SeedState {
    /// The item that lists may lead with.
    fn target(&self) -> Option<u32> {
        match &self.outline {
            Some(outline) => Some(outline.target),
            None => self.item.filter(|_| !self.avoids),
        }
    }
}

/// What a dialogue of several turns is planned from.
struct Cue {
    item: Option<u32>,
    reviews: Vec<u32>,
    styles: String,
    draw: u64,
    k: usize,
}

/// Tokens of an answer for each line of a dialogue, at least.
const LINE_TOKENS: usize = 60;

/// Dialogues that are planned at once.
const AHEAD: usize = 64;

pub(super) struct Plan<'a> {
    dataset: &'a Dataset,
    selection: &'a Selection,
    config: &'a SynthesizeConfig,
    prompts: &'a Prompts,
    teacher: String,
    by_item: Vec<Vec<u32>>,
    lists: Lists,
    /// Titles in words are looked up by it.
    titles: Arc<Titles>,
    /// None: the teacher's memory.
    shortlists: Option<Shortlists<'a>>,
    /// None: one turn.
    outliner: Option<Outliner<'a>>,
    /// Dialogues that are planned and not asked for yet.
    ahead: VecDeque<(Cue, Option<Outline>)>,
    run: &'a Run,
    /// The built-in teacher: its words are the plan's own.
    offline: bool,
    /// Seeds whose first request was made, in the selection's order.
    seeds: Vec<SeedState>,
    /// Second requests that can be made: (seed, query). They go before first requests, so that a cap leaves few halves.
    recommendations: VecDeque<(usize, usize)>,
    dropped: BTreeMap<String, u64>,
    /// Personal data is masked.
    masks: bool,
    /// What of it there was.
    pub(super) personal_data: PersonalData,
    /// Queries in which the seed's title was masked.
    pub(super) masked: u64,
    /// Queries that were too long and were shortened.
    pub(super) shortened: u64,
    /// Messages in the domain's own words, since the teacher's did not say what was planned.
    pub(super) reworded: u64,
}

/// Under which name requests that were given up are counted.
fn not_answered(what: &str, class: Class) -> String {
    let why = match class {
        Class::Thinking => ": only thinking",
        Class::Cut => ": cut at the limit of tokens",
        Class::Withheld => ": held back by the teacher",
        Class::Stop | Class::Throttled | Class::Refused | Class::Broken | Class::Lost | Class::Useless => "",
        Class::Cancelled => "",
    };
    format!("{what} not answered{why}")
}

/// A place: the seed, and 0 for its first request or 1 + the query's number.
fn place(seed: usize, slot: usize) -> u64 {
    (seed as u64) << 16 | slot as u64
}

impl RequestSource for Plan<'_> {
    fn next(&mut self) -> Option<(u64, Request)> {
        if let Some((seed, query)) = self.recommendations.pop_front() {
            let request = self.second(seed, query);
            self.seeds[seed].queries[query].id = request.id.clone();
            return Some((place(seed, query + 1), request));
        }
        if self.outliner.is_some() {
            return self.next_dialogue();
        }
        let seed = self.seeds.len();
        let pick = self.selection.picks.get(seed)?;
        let (state, request) = self.first(seed, pick.row as usize);
        self.seeds.push(state);
        Some((place(seed, 0), request))
    }

    fn done(&mut self, place: u64, outcome: Result<&Answer, Class>) {
        let (seed, slot) = ((place >> 16) as usize, (place & 0xffff) as usize);
        match (slot.checked_sub(1), outcome) {
            (None, Ok(answer)) if self.outliner.is_some() => self.take_dialogue(seed, &answer.text),
            // The words are there without the teacher's.
            (None, Err(_)) if self.outliner.is_some() => self.take_dialogue(seed, ""),
            (None, Ok(answer)) => self.take_queries(seed, &answer.text),
            (None, Err(class)) => self.drop_for(&not_answered("queries", class), self.config.queries as u64),
            (Some(query), outcome) => {
                self.seeds[seed].queries[query].answer = Some(outcome.map(|answer| answer.text.clone()));
            }
        }
    }

    fn total(&self) -> u64 {
        let lists = match self.lists {
            Lists::Auto | Lists::Open | Lists::Candidates => self.config.queries as u64,
            Lists::Collaborative => 0,
        };
        let first = if self.outliner.is_some() { self.config.queries as u64 } else { 1 };
        self.selection.picks.len() as u64 * (first + lists)
    }
}

impl<'a> Plan<'a> {
    /// Nothing asked yet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for rows that are no reviews; [`crate::ErrorKind::Cancelled`].
    pub(super) fn new(
        dataset: &'a Dataset,
        selection: &'a Selection,
        config: &'a SynthesizeConfig,
        prompts: &'a Prompts,
        talk: Option<&'a Talk>,
        teacher: &dyn Teacher,
        run: &'a Run,
    ) -> crate::Result<Plan<'a>> {
        if let Some(pick) = selection.picks.iter().find(|p| !config.naive && p.row >= dataset.reviews() as u64) {
            let reviews = dataset.reviews();
            return Err(Error::invalid(format!("synthesize: selected row {} of {reviews} reviews", pick.row)));
        }
        let by_item = if config.naive { Vec::new() } else { dataset.reviews_by_item() };
        let (lists, titles) = (lists_of(config, teacher.is_built_in()), Arc::new(Titles::of(dataset)));
        let masks = match config.mask {
            Masking::Auto => teacher.is_remote(),
            Masking::On => true,
            Masking::Off => false,
        };
        let retriever = match (lists, talk) {
            (Lists::Auto | Lists::Open, None) => None,
            (Lists::Candidates | Lists::Collaborative, _) | (_, Some(_)) => {
                Some(Arc::new(Retriever::new(dataset, run)?))
            }
        };
        let shortlists = match (&retriever, lists) {
            (Some(retriever), Lists::Candidates | Lists::Collaborative) => {
                Some(Shortlists::new(dataset, config, lists, titles.clone(), retriever.clone()))
            }
            (_, Lists::Auto | Lists::Open) | (None, _) => None,
        };
        let outliner = match (talk, retriever) {
            (Some(talk), Some(retriever)) => {
                let ranked = shortlists.as_ref().map_or(config.items, Shortlists::count);
                let from = Sources { talk, retriever, titles: titles.clone(), ranked, masks };
                Some(Outliner::new(dataset, config, from, run)?)
            }
            (None, _) | (_, None) => None,
        };
        Ok(Plan {
            dataset,
            selection,
            config,
            prompts,
            teacher: teacher.name(),
            by_item,
            lists,
            titles,
            shortlists,
            outliner,
            ahead: VecDeque::new(),
            run,
            offline: teacher.is_built_in(),
            seeds: Vec::new(),
            recommendations: VecDeque::new(),
            dropped: BTreeMap::new(),
            masks,
            personal_data: PersonalData::default(),
            masked: 0,
            shortened: 0,
            reworded: 0,
        })
    }

    fn drop_for(&mut self, why: &str, count: u64) {
        if count > 0 {
            *self.dropped.entry(why.to_string()).or_default() += count;
        }
    }

    /// The first request of a seed: its reviews and some style queries → K queries.
    fn first(&mut self, seed: usize, row: usize) -> (SeedState, Request) {
        let (config, dataset) = (self.config, self.dataset);
        // Drawn by the seed's row (naive: its number), so that a seed's prompt does not hang on the others'.
        let draw = if config.naive { seed } else { row };
        let mut random = Random::new(config.seed, format!("synthesize/{draw}").as_bytes());
        let styles = self.styles(&mut random);
        let count = config.queries;
        if config.naive {
            let prompt = self.prompts.naive.fill(|slot| match slot {
                "styles" => styles.clone(),
                _ => count.to_string(),
            });
            let facts = Facts { count, draw: seed as u64, ..Default::default() };
            let request = self.request(Kind::Query, prompt, "", seed as u64, facts);
            let state = SeedState {
                id: request.id.clone(),
                item: None,
                reviews: Vec::new(),
                avoids: false,
                outline: None,
                queries: Vec::new(),
            };
            return (state, request);
        }
        let item = dataset.review_item(row);
        let avoids = dataset.review_rating10(row).is_some_and(|rating| rating <= DISLIKED_TO);
        let reviews = self.reviews_shown(row, &mut random);
        let texts = self.texts(&reviews);
        let template = if avoids { &self.prompts.avoid } else { &self.prompts.query };
        let prompt = template.fill(|slot| match slot {
            "title" => defuse(&dataset.items.name(item), 200),
            "genres" => defuse(&dataset.items.genres(item).collect::<Vec<_>>().join(", "), 200),
            "creators" => defuse(&dataset.items.creators(item).collect::<Vec<_>>().join(", "), 200),
            "attributes" => {
                let pairs: Vec<String> = dataset.items.attributes(item).map(|(n, v)| format!("{n}: {v}")).collect();
                defuse(&pairs.join(", "), 300)
            }
            "reviews" => delimit(texts.iter().map(String::as_str), config.review_chars),
            "styles" => styles.clone(),
            _ => count.to_string(),
        });
        let facts = Facts {
            item: Some(item as u32),
            reviews: reviews.clone(),
            count,
            avoids,
            draw: row as u64,
            ..Default::default()
        };
        let request = self.request(Kind::Query, prompt, dataset.items.id(item), 0, facts);
        let state = SeedState {
            id: request.id.clone(),
            item: Some(item as u32),
            reviews,
            avoids,
            outline: None,
            queries: Vec::new(),
        };
        (state, request)
    }

    /// The reviews of an item that the teacher sees, the selected one first.
    fn reviews_shown(&self, row: usize, random: &mut Random) -> Vec<u32> {
        let others = &self.by_item[self.dataset.review_item(row)];
        let others: Vec<u32> = others.iter().copied().filter(|r| *r as usize != row).collect();
        let mut reviews = vec![row as u32];
        let more = random.sample(others.len(), self.config.reviews.saturating_sub(1));
        reviews.extend(more.into_iter().map(|i| others[i]));
        reviews
    }

    /// The texts of reviews, personal data masked where the teacher is elsewhere.
    fn texts(&mut self, reviews: &[u32]) -> Vec<String> {
        let mut text_of = |review: &u32| {
            let row = *review as usize;
            let text = format!("{} {}", self.dataset.review_title(row), self.dataset.review_text(row));
            if !self.masks {
                return text;
            }
            let (masked, found) = mask_personal(&text);
            self.personal_data.add(found);
            masked.into_owned()
        };
        reviews.iter().map(&mut text_of).collect()
    }

    /// Sample requests, a line each.
    fn styles(&self, random: &mut Random) -> String {
        let styles = random.sample(self.prompts.styles.len(), self.config.style_queries);
        styles.iter().map(|s| format!("- {}", self.prompts.styles[*s])).collect::<Vec<_>>().join("\n")
    }

    /// Plans the next dialogues, on all threads: each by itself, so that their number changes nothing.
    fn plan_ahead(&mut self) {
        let (config, seeds) = (self.config, self.seeds.len());
        let cue = |n: usize| {
            let (pick, k) = (n / config.queries, n % config.queries);
            let row = self.selection.picks.get(pick)?.row as usize;
            let draw = if config.naive { pick } else { row } as u64;
            let mut random = Random::new(config.seed, format!("synthesize/{draw}").as_bytes());
            let styles = self.styles(&mut random);
            let (item, reviews) = match config.naive {
                true => (None, Vec::new()),
                false => (Some(self.dataset.review_item(row) as u32), self.reviews_shown(row, &mut random)),
            };
            Some(Cue { item, reviews, styles, draw, k })
        };
        let cues: Vec<Cue> = (seeds..seeds + AHEAD).map_while(cue).collect();
        let Some(outliner) = &self.outliner else { return };
        let plan = |cue: &Cue| outliner.outline(cue.item, &cue.reviews, cue.draw, cue.k);
        let outlines: Vec<Option<Outline>> = self.run.install(|| cues.par_iter().map(plan).collect());
        self.ahead.extend(cues.into_iter().zip(outlines));
    }

    /// The request for the words of the next dialogue; those that cannot be planned are counted and passed over.
    fn next_dialogue(&mut self) -> Option<(u64, Request)> {
        let (config, dataset) = (self.config, self.dataset);
        loop {
            let seed = self.seeds.len();
            if self.ahead.is_empty() {
                self.plan_ahead();
            }
            let (cue, outline) = self.ahead.pop_front()?;
            let Cue { item, reviews, styles, draw, k } = cue;
            let mut state =
                SeedState { id: String::new(), item, reviews, avoids: false, outline: None, queries: Vec::new() };
            let Some(outline) = outline else {
                self.drop_for("dialogues without an item to look for", 1);
                self.seeds.push(state);
                continue;
            };
            state.avoids = outline.avoids;
            let counted = self.personal_data;
            let texts = self.texts(&state.reviews);
            if k > 0 {
                // What a seed's reviews hold is counted once.
                self.personal_data = counted;
            }
            let draft: Vec<String> = outline.messages.iter().map(|m| m.draft.clone()).collect();
            let count = draft.len();
            let lines = outline.messages.iter().enumerate().map(|(n, message)| {
                let speaker = if message.role == "user" { "User" } else { "Recommender" };
                format!("{}. {speaker}: {}", n + 1, defuse(&message.draft, usize::MAX))
            });
            let lines = lines.collect::<Vec<_>>().join("\n");
            let prompt = self.prompts.rewrite.fill(|slot| match slot {
                "draft" => lines.clone(),
                "reviews" => delimit(texts.iter().map(String::as_str), config.review_chars),
                "styles" => styles.clone(),
                _ => count.to_string(),
            });
            let facts = Facts { item, reviews: state.reviews.clone(), count, draft, draw, ..Default::default() };
            let subject = item.map_or("", |item| dataset.items.id(item as usize));
            let request = self.request(Kind::Dialogue, prompt, subject, k as u64, facts);
            state.id.clone_from(&request.id);
            state.outline = Some(outline);
            self.seeds.push(state);
            return Some((place(seed, 0), request));
        }
    }

    /// The words of a dialogue: the teacher's where they say what is planned, else the domain's own.
    fn take_dialogue(&mut self, seed: usize, answer: &str) {
        let Some(outline) = self.seeds[seed].outline.clone() else { return };
        let mut lines = read_lines(answer);
        if lines.len() != outline.messages.len() {
            // Which line is whose nobody knows.
            lines.clear();
        }
        let mask = Mask::new(self.dataset.items.label(outline.target as usize));
        let (mut messages, mut labels) = (Vec::new(), Vec::new());
        for (n, planned) in outline.messages.into_iter().enumerate() {
            let hidden = (planned.label.act != Act::Accept).then_some(&mask);
            let own = lines.get(n).filter(|_| !self.offline);
            let words = own.filter(|line| says(line, &planned, hidden, self.dataset, &self.titles));
            self.reworded += u64::from(words.is_none() && !self.offline);
            messages.push(Message {
                role: planned.role.into(),
                content: words.map_or(planned.draft, |line| one_line(&line.words)),
            });
            labels.push(planned.label);
        }
        let said = messages[..messages.len().saturating_sub(1)].iter().map(|m| {
            let speaker = if m.role == "user" { "User" } else { "Recommender" };
            format!("{speaker}: {}", m.content.replace('\n', " "))
        });
        let query = said.collect::<Vec<_>>().join("\n");
        let shortlist = match &self.shortlists {
            Some(lists) => lists.shuffled(outline.ranking, &query, 0),
            None => Shortlist { ranking: outline.ranking, ..Shortlist::default() },
        };
        let talk = Some(Talked { messages, labels });
        self.seeds[seed].queries.push(PlannedQuery { query, talk, id: String::new(), answer: None, shortlist });
        match self.lists {
            Lists::Auto | Lists::Open | Lists::Candidates => self.recommendations.push_back((seed, 0)),
            Lists::Collaborative => {}
        }
    }

    /// The second request: one query → ranked items.
    fn second(&self, seed: usize, query: usize) -> Request {
        let state = &self.seeds[seed];
        let PlannedQuery { query: text, shortlist, .. } = &state.queries[query];
        let candidates = self.shortlists.as_ref().map(|lists| (lists.lines(shortlist), lists.names(shortlist)));
        let (template, count) = match &candidates {
            Some(_) => (&self.prompts.choose, self.config.items.min(shortlist.shown.len())),
            None => (&self.prompts.recommend, self.config.items),
        };
        let (lines, names) = candidates.unwrap_or_default();
        let prompt = template.fill(|slot| match slot {
            "query" => text.lines().map(|line| defuse(line, usize::MAX)).collect::<Vec<_>>().join("\n"),
            "candidates" => lines.clone(),
            _ => count.to_string(),
        });
        let facts = Facts {
            item: state.target().or(state.item),
            reviews: state.reviews.clone(),
            query: text.clone(),
            count,
            avoids: state.avoids && state.outline.is_none(),
            draft: Vec::new(),
            candidates: shortlist.shown.clone(),
            names,
            draw: state.reviews.first().map_or(seed as u64, |row| u64::from(*row)),
        };
        let subject = state.item.map_or("", |item| self.dataset.items.id(item as usize));
        self.request(Kind::Recommend, prompt, subject, 0, facts)
    }

    fn request(&self, kind: Kind, prompt: String, subject: &str, index: u64, facts: Facts) -> Request {
        let c = self.config;
        // A dialogue's lines need room of their own.
        let least = if kind == Kind::Dialogue { facts.count * LINE_TOKENS } else { 0 };
        let tokens = c.answer_tokens.max(least);
        Request::new(&self.teacher, kind, prompt, subject, index, c.temperature, tokens, c.seed, facts)
    }

    /// The queries of a first answer: distinct, the seed's title masked.
    fn take_queries(&mut self, seed: usize, answer: &str) {
        let wanted = self.config.queries;
        if clean_answer(answer) == Reply::OnlyThinking {
            return self.drop_for(&not_answered("queries", Class::Thinking), wanted as u64);
        }
        let mut queries = parse_queries(answer);
        self.drop_for("queries missing in an answer", wanted.saturating_sub(queries.len()) as u64);
        queries.truncate(wanted);
        // Who avoids an item may name it: it is no answer.
        let mask = self.seeds[seed].target().map(|item| Mask::new(self.dataset.items.label(item as usize)));
        let mut seen = HashSet::new();
        for query in queries {
            let (query, leaked) = match &mask {
                Some(mask) => mask.apply(&query),
                None => (query, false),
            };
            if leaked && query.split_whitespace().count() < 5 {
                self.drop_for("queries that only name the seed's item", 1);
                continue;
            }
            let most = self.config.query_tokens;
            let short = match most > 0 && tokens_of(&query) > most {
                true => shorten(&query, most).map(str::to_string),
                false => Some(query.clone()),
            };
            let Some(short) = short else {
                self.drop_for("queries too long", 1);
                continue;
            };
            self.shortened += u64::from(short != query);
            let query = short;
            if !is_query(&query) {
                self.drop_for("queries empty", 1);
            } else if !seen.insert(normal(&query)) {
                self.drop_for("queries repeated", 1);
            } else {
                let shortlist = self.shortlist(seed, &query);
                if self.shortlists.is_some() && shortlist.ranking.is_empty() {
                    self.drop_for("queries without an item to choose", 1);
                    continue;
                }
                self.masked += u64::from(leaked);
                let number = self.seeds[seed].queries.len();
                let asked = PlannedQuery { query, talk: None, id: String::new(), answer: None, shortlist };
                self.seeds[seed].queries.push(asked);
                match self.lists {
                    Lists::Auto | Lists::Open | Lists::Candidates => self.recommendations.push_back((seed, number)),
                    Lists::Collaborative => {}
                }
            }
        }
    }

    /// What the items for a query are chosen from.
    fn shortlist(&self, seed: usize, query: &str) -> Shortlist {
        let state = &self.seeds[seed];
        let draw = state.reviews.first().map_or(seed as u64, |row| u64::from(*row));
        let avoided = state.item.filter(|_| state.avoids);
        self.shortlists.as_ref().map(|lists| lists.of(state.target(), avoided, query, draw)).unwrap_or_default()
    }

    /// The text of a second answer; none: it is none, and counted.
    fn answer_text(&mut self, asked: &PlannedQuery) -> Option<String> {
        match &asked.answer {
            Some(Ok(answer)) if clean_answer(answer) == Reply::OnlyThinking => {
                self.drop_for(&not_answered("recommendations", Class::Thinking), 1);
                None
            }
            Some(Ok(answer)) => Some(answer.clone()),
            Some(Err(class)) => {
                self.drop_for(&not_answered("recommendations", *class), 1);
                None
            }
            None => None,
        }
    }

    /// The rows that an answer names from memory, and what it names that the catalogue does not have; none: not enough of
    /// them, and counted.
    fn grounded(
        &mut self,
        answer: &str,
        catalogue: &Titles,
        report: &mut SynthesisReport,
    ) -> Option<(Vec<u32>, Vec<String>)> {
        let mut titles = parse_titles(answer);
        titles.truncate(self.config.items);
        let (mut listed, mut out_of_catalogue, mut once) = (Vec::new(), Vec::new(), HashSet::new());
        for title in &titles {
            match catalogue.ground(&title.title, title.year) {
                Some(item) if once.insert(item) => listed.push(item),
                Some(_) => self.drop_for("items repeated in a list", 1),
                None => out_of_catalogue.push(match title.year {
                    Some(year) => format!("{} ({year})", title.title),
                    None => title.title.clone(),
                }),
            }
        }
        report.listed += titles.len() as u64;
        report.unknown += out_of_catalogue.len() as u64;
        if titles.is_empty() {
            self.drop_for("lists empty", 1);
            return None;
        }
        let known = (listed.len() + out_of_catalogue.len()).max(1);
        if listed.is_empty() || (listed.len() as f64) < self.config.min_grounded * known as f64 {
            self.drop_for("lists with too few items of the catalogue", 1);
            return None;
        }
        Some((listed, out_of_catalogue))
    }

    /// The rows that an answer chooses of a shortlist, completed from the retrieval's own ranking.
    fn chosen(&self, answer: &str, shortlist: &Shortlist, item: Option<u32>, report: &mut SynthesisReport) -> Vec<u32> {
        let names: Vec<String> = shortlist.shown.iter().map(|i| self.dataset.items.name(*i as usize)).collect();
        let most = self.config.items.min(names.len());
        let choice = parse_choice(answer, &names, most);
        let mut listed: Vec<u32> = choice.order.iter().map(|place| shortlist.shown[*place]).collect();
        let own = |item: &u32| shortlist.ranking.iter().position(|other| other == item);
        // The seed's item leads the retrieval's ranking by rule: it tells nothing of two opinions.
        let places: Vec<usize> = listed.iter().filter(|i| Some(**i) != item).filter_map(own).collect();
        report.choices.add(most, &choice, kendall_tau(&places));
        for own in &shortlist.ranking {
            if listed.len() < most && !listed.contains(own) {
                listed.push(*own);
            }
        }
        report.listed += listed.len() as u64;
        listed
    }

    /// What is known of the items that a query names: the avoided one is disliked; what the built-in teacher names else is
    /// liked; of another teacher's words nobody knows.
    fn opening_label(&self, state: &SeedState, query: &str) -> MessageLabel {
        let mut label = MessageLabel::new(Act::Open);
        let items = &self.dataset.items;
        // Of items with one title the text may find another.
        let avoided = |row: u32| {
            let own = state.item.filter(|_| state.avoids);
            own.is_some_and(|own| own == row || same_title(items.label(own as usize), items.label(row as usize)))
        };
        let mut rows = self.titles.rows(query);
        rows.sort_unstable();
        rows.dedup();
        label.mentions = rows
            .into_iter()
            .map(|row| MentionLabel {
                item: items.id(state.item.filter(|_| avoided(row)).unwrap_or(row) as usize).to_string(),
                polarity: match (avoided(row), self.offline) {
                    (true, _) => Polarity::Disliked,
                    (false, true) => Polarity::Liked,
                    (false, false) => Polarity::Neutral,
                },
            })
            .collect();
        label
    }

    /// Parses, grounds and filters the second answers, in the selection's order.
    pub(super) fn dialogues(
        mut self,
        round: u64,
        report: &mut SynthesisReport,
        run: &Run,
    ) -> crate::Result<Vec<Dialogue>> {
        let items = &self.dataset.items;
        let catalogue = self.shortlists.is_none().then(|| self.titles.clone());
        let mut rows = Vec::new();
        let mut seen = HashSet::new();
        let (mut with_seed, mut findable, mut found) = (0u64, 0u64, 0u64);
        let seeds = std::mem::take(&mut self.seeds);
        for state in &seeds {
            run.check()?;
            for asked in &state.queries {
                let list = match (self.lists, &catalogue) {
                    (Lists::Collaborative, _) => {
                        let listed = asked.shortlist.ranking.clone();
                        report.listed += listed.len() as u64;
                        Some((listed, Vec::new()))
                    }
                    (_, Some(catalogue)) => {
                        let answer = self.answer_text(asked);
                        answer.and_then(|answer| self.grounded(&answer, catalogue, report))
                    }
                    (_, None) => {
                        let answer = self.answer_text(asked);
                        let target = state.target();
                        answer.map(|answer| (self.chosen(&answer, &asked.shortlist, target, report), Vec::new()))
                    }
                };
                let Some((mut listed, out_of_catalogue)) = list else { continue };
                // What was spoken of is no answer.
                let said = state.outline.as_ref().map_or(&[][..], |outline| &outline.said);
                let avoided = state.item.filter(|_| state.avoids);
                listed.retain(|item| !said.contains(item) && avoided != Some(*item));
                if listed.is_empty() {
                    self.drop_for("lists empty", 1);
                    continue;
                }
                if !seen.insert(normal(&asked.query)) {
                    self.drop_for("queries repeated", 1);
                    continue;
                }
                findable += u64::from(asked.shortlist.seed_found.is_some());
                found += u64::from(asked.shortlist.seed_found == Some(true));
                with_seed += u64::from(state.target().is_some_and(|item| listed.contains(&item)));
                let list = listed.iter().enumerate();
                let list = list.map(|(i, item)| format!("{}. {}", i + 1, one_line(&items.name(*item as usize))));
                let list = list.collect::<Vec<_>>().join("\n");
                let reply = Message { role: "assistant".into(), content: self.prompts.reply.fill(|_| list.clone()) };
                let (messages, labels) = match &asked.talk {
                    None => {
                        let opening = self.opening_label(state, &asked.query);
                        let query = Message { role: "user".into(), content: asked.query.clone() };
                        (vec![query, reply], vec![opening, MessageLabel::new(Act::List)])
                    }
                    Some(talk) => {
                        let (mut messages, mut labels) = (talk.messages.clone(), talk.labels.clone());
                        let last = messages.len().saturating_sub(1);
                        messages.insert(last, reply);
                        labels.insert(last, MessageLabel::new(Act::List));
                        (messages, labels)
                    }
                };
                rows.push(Dialogue {
                    id: match asked.id.as_str() {
                        // Nothing was asked: the query stands for it.
                        "" => content_hash([state.id.as_bytes(), b"collaborative", asked.query.as_bytes()]),
                        id => content_hash([state.id.as_bytes(), id.as_bytes()]),
                    },
                    messages,
                    labels,
                    items: listed.iter().map(|item| items.id(*item as usize).to_string()).collect(),
                    out_of_catalogue,
                    seed: state.item.map(|item| Seed {
                        row: u64::from(state.reviews[0]),
                        item: items.id(item as usize).to_string(),
                        reviews: state.reviews.iter().map(|r| u64::from(*r)).collect(),
                    }),
                    teacher: self.teacher.clone(),
                    round,
                });
            }
        }
        report.teacher = self.teacher;
        report.dropped = self.dropped;
        report.lists = self.lists.to_string();
        report.out_of_catalogue = report.unknown as f64 / report.listed.max(1) as f64;
        report.seed_found = found as f64 / findable.max(1) as f64;
        report.seed_listed = with_seed as f64 / rows.len().max(1) as f64;
        Ok(rows)
    }
}
