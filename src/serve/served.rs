//! What answers: an opened work directory, one generation of it at a time.

use super::engine::{Engine, Scoring};
use super::problem::{Outcome, Problem};
use super::voice::{ListVoice, Talk, Usage, Voice};
use crate::dataset::{Conversation, Dataset, ItemName};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::pipeline::Opened;
use crate::recommend::{Evidence, QueryWindow, Request, excerpt, query_text};
use crate::run::Run;
use crate::titles::Titles;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Characters of a review that an answer quotes.
const EXCERPT_CHARS: usize = 240;
/// Unknown ids that a warning quotes.
const QUOTED_IDS: usize = 5;

/// A recommender and what its answers are explained with, ready to be asked from any thread.
pub struct Served {
    dataset: Dataset,
    mentions: Arc<Titles>,
    embedder: Arc<dyn Embedder>,
    evidence: Evidence<'static>,
    engine: Arc<dyn Engine>,
    context: QueryWindow,
    voice: Arc<dyn Voice>,
    model: String,
    top_k: usize,
}

impl Served {
    /// `system`: the name that [`crate::pipeline::open`] was asked for; the model is called `causerie-SYSTEM`.
    /// `top_k`: items in an answer where a request does not say.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the parts are not of one catalogue.
    pub fn new(opened: Opened, system: &str, top_k: usize) -> Result<Served> {
        #[cfg(feature = "llama")]
        let language_model = opened.language_model;
        let Opened { dataset, mentions, embedder, reviews, recommender, config, .. } = opened;
        if recommender.items() != dataset.items.len() {
            return Err(Error::invalid(format!(
                "serve: {} scores {} items, the catalogue has {}; run the pipeline again",
                recommender.name(),
                recommender.items(),
                dataset.items.len()
            )));
        }
        let evidence = Evidence::owned(&dataset, reviews)?;
        let context = QueryWindow::from_config(&config.recommend)?;
        let (voice, model) = (Arc::new(ListVoice), format!("causerie-{system}"));
        // Popularity ranks alike whatever is said.
        let reads = Some(context).filter(|_| system != "popularity");
        let engine: Arc<dyn Engine> = Arc::new(Scoring { recommender, reads });
        // By its own type it also gives probabilities, tokens and what it had no time for.
        #[cfg(feature = "llama")]
        let engine = match language_model {
            Some(model) => model,
            None => engine,
        };
        Ok(Served { dataset, mentions, embedder, evidence, engine, context, voice, model, top_k })
    }
    /// The same catalogue and evidence, ranked by `engine` and called `causerie-NAME`.
    pub fn with_engine(mut self, name: &str, engine: Arc<dyn Engine>) -> Served {
        self.model = format!("causerie-{name}");
        self.engine = engine;
        self
    }
    /// The same, its replies said by `voice`.
    pub fn with_voice(mut self, voice: Arc<dyn Voice>) -> Served {
        self.voice = voice;
        self
    }
    /// The same, `model` saying a sentence of its own before the list.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a model in mode `head`, which computes no words.
    #[cfg(feature = "llama")]
    pub fn said_by(self, model: Arc<crate::recommend::lm::LmRecommender>) -> Result<Served> {
        if model.mode() == crate::recommend::lm::Mode::Head {
            return Err(Error::unsupported(
                "serve.voice = model: in mode head the model computes no words; use recommend.mode = constrained",
            ));
        }
        Ok(self.with_voice(Arc::new(super::voice::ModelVoice { model })))
    }
    /// The model's name in the API.
    pub fn model(&self) -> &str {
        &self.model
    }
    /// Items in the catalogue.
    pub fn items(&self) -> usize {
        self.dataset.items.len()
    }
    pub(super) fn voice(&self) -> &dyn Voice {
        &*self.voice
    }
    pub(super) fn knows(&self, id: &str) -> bool {
        self.dataset.items.find(id).is_some()
    }
}

/// What is served from one change to the next; a request sees one generation from beginning to end.
pub(super) struct Generation {
    /// 1 for the first; higher after every reload and every change of the catalogue.
    pub number: u64,
    pub served: Arc<Served>,
    /// Ids taken out of the catalogue for the time being.
    pub withdrawn: BTreeSet<String>,
}

/// One request, its fields checked one by one; what the catalogue has to say of them comes with the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub conversation: Conversation,
    /// Ids or titles of items already known to the user.
    pub seen: Vec<Seen>,
    pub exclude: Vec<String>,
    /// None: every item may come back.
    pub allow: Option<Vec<String>>,
    /// None: as many as the server gives by default.
    pub top_k: Option<usize>,
    /// Reviews behind each item.
    pub explain: usize,
    pub warnings: Vec<String>,
}

/// An item as a caller names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// An id, or a title with or without its year.
    Text(String),
    Named(ItemName),
}

/// A review that speaks for an item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Spoken {
    /// Row of the review in the dataset.
    pub review: u32,
    /// Cosine with what was said.
    pub similarity: f32,
    pub text: String,
}

/// One recommended item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Answered {
    pub id: String,
    pub title: String,
    pub year: Option<u16>,
    pub score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_probability: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<Spoken>>,
}

/// The answer to one [`Ask`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Answer {
    pub items: Vec<Answered>,
    /// The conversation was longer than what the recommender reads.
    pub truncated: bool,
    /// The time was up before the search was: these are the items found by then.
    pub partial: bool,
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub usage: Option<Usage>,
    /// Row and `Title (year)` of each item, for the reply.
    #[serde(skip)]
    pub rows: Vec<u32>,
    #[serde(skip)]
    pub names: Vec<String>,
}

impl Answer {
    /// What a voice is told.
    pub(super) fn talk<'a>(&'a self, conversation: &'a Conversation) -> Talk<'a> {
        Talk { conversation, rows: &self.rows, names: &self.names }
    }
}

/// An ask with its names looked up.
struct Resolved {
    conversation: Conversation,
    exclude: Vec<String>,
    allow: Vec<String>,
    top_k: usize,
    warnings: Vec<String>,
}

/// `3 of the ids in exclude are not in the catalogue: "a", "b", "c"`.
fn unknown(field: &str, ids: &[&str], out: &mut Vec<String>) {
    if ids.is_empty() {
        return;
    }
    let quoted: Vec<String> = ids.iter().take(QUOTED_IDS).map(|id| format!("{:?}", excerpt(id, 60))).collect();
    let more = if ids.len() > QUOTED_IDS { ", …" } else { "" };
    out.push(format!("{field}: {} not in the catalogue: {}{more}", ids.len(), quoted.join(", ")));
}

impl Served {
    fn resolve(&self, ask: &Ask, withdrawn: &BTreeSet<String>) -> Outcome<Resolved> {
        let items = &self.dataset.items;
        let mut warnings = ask.warnings.clone();
        let mut conversation = ask.conversation.clone();
        let mut gone = Vec::new();
        for seen in &ask.seen {
            let (row, said) = match seen {
                Seen::Text(text) => (self.mentions.resolve_text(text), text.as_str()),
                Seen::Named(name) => (self.mentions.resolve(name), name.item.as_deref().unwrap_or(&name.title)),
            };
            match row {
                Some(row) => conversation
                    .seen
                    .push(ItemName { item: Some(items.id(row as usize).to_string()), ..ItemName::default() }),
                None => gone.push(said),
            }
        }
        unknown("seen", &gone, &mut warnings);
        let known = |ids: &[String]| ids.iter().filter(|id| items.find(id).is_some()).cloned().collect::<Vec<_>>();
        let gone: Vec<&str> = ask.exclude.iter().filter(|id| items.find(id).is_none()).map(String::as_str).collect();
        unknown("exclude", &gone, &mut warnings);
        let mut exclude = known(&ask.exclude);
        exclude.extend(withdrawn.iter().filter(|id| items.find(id).is_some()).cloned());
        let mut allow = Vec::new();
        if let Some(asked) = &ask.allow {
            allow = known(asked);
            // An empty list would mean "all" to the recommender: it must never be reached by a caller who allows nothing.
            if asked.is_empty() {
                return Err(Problem::field("allow", "an empty list allows nothing; leave it out to allow every item"));
            }
            if allow.is_empty() {
                return Err(Problem::field("allow", "none of these ids is in the catalogue"));
            }
            let gone: Vec<&str> = asked.iter().filter(|id| items.find(id).is_none()).map(String::as_str).collect();
            unknown("allow", &gone, &mut warnings);
        }
        let top_k = ask.top_k.unwrap_or(self.top_k);
        Ok(Resolved { conversation, exclude, allow, top_k, warnings })
    }

    /// Answers `asks`, one answer each, of at most `most` items and reviews in all. Past `deadline` an
    /// engine that searches answers with what it has.
    pub(super) fn answer(
        &self,
        asks: &[Ask],
        withdrawn: &BTreeSet<String>,
        most: usize,
        deadline: Instant,
        run: &Run,
    ) -> Outcome<Vec<Answer>> {
        let place = |n: usize| move |p: Problem| if asks.len() > 1 { p.within(&format!("requests[{n}]")) } else { p };
        let parts = |ask: &Ask| ask.top_k.unwrap_or(self.top_k).min(self.items()).saturating_mul(1 + ask.explain);
        let asked = asks.iter().map(parts).fold(0, usize::saturating_add);
        if asked > most {
            return Err(Problem::new(
                422,
                "answer_too_large",
                format!(
                    "{asked} items and reviews are asked for, at most {most} go into one answer: ask in parts, or raise serve.max_answer"
                ),
            ));
        }
        let mut answers = Vec::with_capacity(asks.len());
        for (n, ask) in asks.iter().enumerate() {
            let mut resolved = self.resolve(ask, withdrawn).map_err(place(n))?;
            let request = Request {
                conversation: &resolved.conversation,
                exclude: &resolved.exclude,
                allow: &resolved.allow,
                top_k: resolved.top_k,
            };
            // One by one: the shape of a product changes its last digits, and an answer must not depend on its company.
            let masked = request.masked(&self.dataset.items, &self.mentions).map_err(|e| Problem::of(&e))?;
            let ranking = self
                .engine
                .rank(&resolved.conversation, &masked, resolved.top_k, deadline, run)
                .map_err(|e| Problem::of(&e))?;
            let truncated = ranking.window.is_some();
            if let Some(window) = &ranking.window {
                resolved.warnings.push(format!("the conversation is long: {window} were read"));
            }
            if ranking.partial {
                resolved.warnings.push("the time was up: these are the items found by then".into());
            }
            let query = match ask.explain {
                0 => None,
                _ => {
                    let text = query_text(&resolved.conversation, self.context);
                    Some(self.embedder.embed(&[&text], true, run).map_err(|e| Problem::of(&e))?)
                }
            };
            let mut items = Vec::with_capacity(ranking.items.len());
            let mut names = Vec::with_capacity(ranking.items.len());
            for one in &ranking.items {
                let row = one.item as usize;
                let evidence = match &query {
                    None => None,
                    Some(query) => Some(self.speaks_for(one.item, query.row(0), ask.explain)?),
                };
                items.push(Answered {
                    id: self.dataset.items.id(row).to_string(),
                    title: self.dataset.items.title(row).to_string(),
                    year: self.dataset.items.year(row),
                    score: one.score,
                    log_probability: one.log_probability,
                    evidence,
                });
                names.push(self.dataset.items.name(row));
            }
            if items.is_empty() && !ranking.partial {
                resolved
                    .warnings
                    .push("nothing is left: every item is seen, excluded, withdrawn or not allowed".into());
            }
            run.check().map_err(|e| Problem::of(&e))?;
            answers.push(Answer {
                items,
                truncated,
                partial: ranking.partial,
                warnings: resolved.warnings,
                usage: ranking.usage,
                rows: ranking.items.iter().map(|i| i.item).collect(),
                names,
            });
        }
        Ok(answers)
    }

    fn speaks_for(&self, item: u32, query: &[f32], count: usize) -> Outcome<Vec<Spoken>> {
        let found = self.evidence.of(item, query, count).map_err(|e| Problem::internal(e.to_string()))?;
        let spoken = |row: u32| excerpt(self.dataset.review_text(row as usize), EXCERPT_CHARS);
        Ok(found.iter().map(|n| Spoken { review: n.row, similarity: n.similarity, text: spoken(n.row) }).collect())
    }
}
