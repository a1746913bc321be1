//! What stands behind a recommender's handle: a catalogue, who ranks it, and what its answers are explained with.

use super::dialogues::Pairs;
use super::embeddings::Rows;
use super::model::{Kind, Tuned};
use super::text::c_text;
use crate::config::Config;
use crate::dataset::{Conversation, Dataset, Item, ItemName, Turn};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::pipeline;
#[cfg(feature = "llama")]
use crate::recommend::lm::LmRecommender;
use crate::recommend::{
    Context, Datastore, Evidence, Fusion, HeadRecommender, Mentions, Nbcrs, Popularity, Posts, Ranked, Recommender,
    Request, excerpt, query_text, recommend,
};
use crate::run::Run;
use crate::tune::{Head, NewItem};
use serde::Deserialize;
use std::ffi::CString;
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub(super) struct Serving {
    pub dataset: Arc<Dataset>,
    mentions: Arc<Mentions>,
    pub recommender: Arc<dyn Recommender>,
    live: Live,
    why: Option<Why>,
    pub config: Config,
    pub ids: Vec<CString>,
    pub name: CString,
}

/// What says why an item: the reviews, and what embeds a conversation beside them.
#[derive(Clone)]
struct Why {
    rows: Arc<Matrix>,
    embedder: Arc<dyn Embedder>,
    evidence: Arc<Evidence<'static>>,
    context: Context,
}

impl Why {
    fn new(dataset: &Dataset, rows: Arc<Matrix>, embedder: Arc<dyn Embedder>, config: &Config) -> Result<Why> {
        let evidence = Arc::new(Evidence::shared(dataset, rows.clone())?);
        Ok(Why { rows, embedder, evidence, context: Context::from_config(&config.recommend)? })
    }
}

/// A review that speaks for an item.
pub(super) struct Spoken {
    review: u32,
    pub similarity: f64,
    pub text: CString,
}

/// Characters of a review in an answer.
const EXCERPT_CHARS: usize = 240;

/// The same recommender as what can be changed while it serves.
#[derive(Clone)]
enum Live {
    /// A ranking head takes new items.
    Head(Arc<HeadRecommender>, Arc<dyn Embedder>),
    /// A language model takes new items and other adapters.
    #[cfg(feature = "llama")]
    Lm(Arc<LmRecommender>),
    /// Nothing.
    No,
}

impl Live {
    /// What can be exchanged of a recommender that a work directory gave.
    #[cfg(feature = "llama")]
    fn of(recommender: &Arc<dyn Recommender>) -> Live {
        recommender.clone().language_model().map_or(Live::No, Live::Lm)
    }
    #[cfg(not(feature = "llama"))]
    fn of(_: &Arc<dyn Recommender>) -> Live {
        Live::No
    }
}

/// One item of an answer.
pub(super) struct Recommended {
    pub id: CString,
    pub title: CString,
    pub score: f64,
    /// Nearest first; none where none were asked for.
    pub evidence: Vec<Spoken>,
}

pub(super) struct Answered {
    pub items: Vec<Recommended>,
    text: OnceLock<CString>,
    pub json: CString,
}

/// What is asked: turns alone, or with what must and what may come back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    #[serde(default)]
    id: String,
    turns: Vec<Turn>,
    #[serde(default)]
    seen: Vec<ItemName>,
    #[serde(default)]
    exclude: Vec<String>,
    /// None: all; an empty list: nothing.
    #[serde(default)]
    allow: Option<Vec<String>>,
    /// Reviews for each item; None: as set.
    #[serde(default)]
    explain: Option<usize>,
}

impl Ask {
    fn parse(json: &str) -> Result<Ask> {
        let bad = |e: serde_json::Error| {
            Error::invalid(format!(
                "recommend: the request does not parse: {e}; it is [{{\"role\": \"user\", \"text\": \"…\"}}, …] or {{\"turns\": \
                 […], \"seen\": [{{\"item\": id}}], \"exclude\": [id], \"allow\": [id], \"explain\": 2}}"
            ))
        };
        if json.trim_start().starts_with('[') {
            let turns = serde_json::from_str(json).map_err(bad)?;
            return Ok(Ask {
                id: String::new(),
                turns,
                seen: Vec::new(),
                exclude: Vec::new(),
                allow: None,
                explain: None,
            });
        }
        serde_json::from_str(json).map_err(bad)
    }
    fn conversation(&mut self) -> Conversation {
        let (id, turns) = (std::mem::take(&mut self.id), std::mem::take(&mut self.turns));
        Conversation { id, turns, targets: Vec::new(), seen: std::mem::take(&mut self.seen) }
    }
}

impl Serving {
    fn new(
        dataset: Arc<Dataset>,
        mentions: Arc<Mentions>,
        recommender: Arc<dyn Recommender>,
        live: Live,
        config: Config,
    ) -> Serving {
        let ids = (0..dataset.items.len()).map(|i| c_text(dataset.items.id(i))).collect();
        let name = c_text(recommender.name());
        Serving { dataset, mentions, recommender, live, why: None, config, ids, name }
    }

    /// The same, with what its answers are explained with, where the settings ask for it.
    fn explained(mut self, rows: impl FnOnce() -> Result<(Arc<Matrix>, Arc<dyn Embedder>)>) -> Result<Serving> {
        if self.config.recommend.explain > 0 {
            let (rows, embedder) = rows()?;
            self.why = Some(Why::new(&self.dataset, rows, embedder, &self.config)?);
        }
        Ok(self)
    }

    /// Of a ranking head.
    fn of_head(
        dataset: Arc<Dataset>,
        counts: &[f32],
        head: Head,
        embedder: Arc<dyn Embedder>,
        config: Config,
    ) -> Result<Serving> {
        let mentions = Arc::new(Mentions::new(&dataset.items, counts));
        let said = config.recommend.mentions.then(|| mentions.clone());
        let context = Context::from_config(&config.recommend)?;
        let head = Arc::new(HeadRecommender::new("head", head, &dataset.items, embedder.clone(), said, context)?);
        Ok(Serving::new(dataset, mentions, head.clone(), Live::Head(head, embedder), config))
    }

    /// A finished work directory.
    pub fn open(dir: &Path, strategy: &str, system: &str, config: &Config, run: &Run) -> Result<Serving> {
        let opened = pipeline::open(dir, system, strategy, run)?;
        let mut settings = opened.config;
        // The caller's own of what serving needs; the rest is what the directory was made with.
        settings.recommend.top_k = config.recommend.top_k;
        settings.recommend.explain = config.recommend.explain;
        settings.run = config.run.clone();
        let dataset = Arc::new(opened.dataset);
        let (reviews, embedder) = (opened.reviews, opened.embedder.clone());
        let why = move || Ok((Arc::new(reviews), embedder));
        if system == "head" {
            let strategy = settings.pipeline.strategies.first().cloned().unwrap_or_default();
            let file = dir.join(format!("{strategy}/round-{}/head.safetensors", settings.pipeline.rounds));
            let counts = counts(&dataset);
            return Serving::of_head(dataset, &counts, Head::load(&file)?, opened.embedder, settings)?.explained(why);
        }
        let live = Live::of(&opened.recommender);
        Serving::new(dataset, opened.mentions, opened.recommender, live, settings).explained(why)
    }

    /// From what the stages made.
    pub fn of_parts(
        dataset: Arc<Dataset>,
        rows: Option<&Rows>,
        model: Option<&Tuned>,
        pairs: Option<&Pairs>,
        config: Config,
        run: &Run,
    ) -> Result<Serving> {
        let counts = counts(&dataset);
        let system = config.recommend.system.clone();
        let needs = |what: &str| Error::invalid(format!("recommender: recommend.system = {system} needs {what}"));
        let embedder = || rows.ok_or_else(|| needs("the embeddings"))?.embedder("recommender").cloned();
        let head = || match model.map(|m| &m.kind) {
            Some(Kind::Head(head)) => Ok(Head::clone(head)),
            Some(Kind::Files(_)) => Err(needs("a ranking head; this model is a language model's files")),
            None => Err(needs("the model")),
        };
        let nbcrs = |embedder: &Arc<dyn Embedder>| -> Result<Nbcrs> {
            let pairs = pairs.ok_or_else(|| needs("the dialogues"))?;
            let posts = Posts::from_dialogues(&pairs.rows, &dataset.items);
            let mut store = Datastore::from_posts(posts, dataset.items.len(), &**embedder, run)?;
            store.choose_k(config.recommend.neighbours, config.tune.seed, run)?;
            Nbcrs::new("nbcrs", store, embedder.clone(), Context::from_config(&config.recommend)?)
        };
        let why = || {
            let rows = rows.ok_or_else(|| {
                Error::invalid("recommender: recommend.explain needs the embeddings: their reviews speak for the items")
            })?;
            Ok((rows.matrix.clone(), rows.embedder("recommend.explain")?.clone()))
        };
        let recommender: Arc<dyn Recommender> = match system.as_str() {
            "head" => return Serving::of_head(dataset, &counts, head()?, embedder()?, config)?.explained(why),
            "popularity" => Arc::new(Popularity::from_dataset(&dataset)?),
            "nbcrs" => Arc::new(nbcrs(&embedder()?)?),
            "fusion" => {
                let embedder = embedder()?;
                let nbcrs: Arc<dyn Recommender> = Arc::new(nbcrs(&embedder)?);
                let head = Serving::of_head(dataset.clone(), &counts, head()?, embedder, config.clone())?.recommender;
                Arc::new(Fusion::new("fusion", vec![(head, 1.0), (nbcrs, 1.0)])?)
            }
            other => {
                return Err(Error::unsupported(format!(
                    "recommender: recommend.system = {other} cannot be made of parts"
                )));
            }
        };
        let mentions = Arc::new(Mentions::new(&dataset.items, &counts));
        Serving::new(dataset, mentions, recommender, Live::No, config).explained(why)
    }

    /// Answers a request, in JSON as of `causerie_recommend`.
    pub fn answer(&self, json: &str, top_k: usize, run: &Run) -> Result<Answered> {
        let mut ask = Ask::parse(json)?;
        let explain = ask.explain.unwrap_or(self.config.recommend.explain);
        if explain > 0 && self.why.is_none() {
            return Err(Error::unsupported(format!(
                "recommend: {} keeps no reviews to explain with; set recommend.explain before it is opened, on a work \
                 directory or with embeddings",
                self.recommender.name()
            )));
        }
        let conversation = ask.conversation();
        if ask.allow.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Answered::new(&[], Vec::new(), &self.dataset));
        }
        let allow = ask.allow.unwrap_or_default();
        let request = Request { conversation: &conversation, exclude: &ask.exclude, allow: &allow, top_k };
        let answers = recommend(&*self.recommender, &[request], &self.dataset.items, &self.mentions, run)?;
        let ranked = answers.into_iter().next().ok_or_else(|| Error::bug("recommend: one request and no answer"))?;
        let evidence = match &self.why {
            Some(why) if explain > 0 => self.evidence(why, &conversation, &ranked, explain, run)?,
            _ => Vec::new(),
        };
        Ok(Answered::new(&ranked, evidence, &self.dataset))
    }

    /// For each item at most `count` of its reviews, nearest to what was said first.
    fn evidence(
        &self,
        why: &Why,
        conversation: &Conversation,
        ranked: &[Ranked],
        count: usize,
        run: &Run,
    ) -> Result<Vec<Vec<Spoken>>> {
        let query = why.embedder.embed(&[&query_text(conversation, why.context)], true, run)?;
        let spoken = |item: &Ranked| -> Result<Vec<Spoken>> {
            let found = why.evidence.of(item.item, query.row(0), count)?;
            let text = |row: u32| c_text(excerpt(self.dataset.review_text(row as usize), EXCERPT_CHARS));
            let spoken =
                found.iter().map(|n| Spoken { review: n.row, similarity: f64::from(n.similarity), text: text(n.row) });
            Ok(spoken.collect())
        };
        ranked.iter().map(spoken).collect()
    }

    /// About how many bytes it holds: the dataset, the rows and weights of who ranks, what explains.
    pub fn bytes(&self) -> u64 {
        let why = self.why.as_ref().map_or(0, |why| size_of_val(why.rows.data()) as u64 + why.embedder.bytes());
        let ids: usize = self.ids.iter().map(|id| id.as_bytes().len() + size_of::<CString>()).sum();
        self.dataset.bytes() + self.mentions.bytes() + self.recommender.bytes() + why + ids as u64
    }

    /// Scores of all items, `[items]`; -infinity for those that the request masks.
    pub fn scores(&self, json: &str, run: &Run) -> Result<Vec<f32>> {
        let mut ask = Ask::parse(json)?;
        let conversation = ask.conversation();
        let mut scores = self.recommender.score(&[&conversation], run)?.into_data();
        if ask.allow.as_ref().is_some_and(Vec::is_empty) {
            scores.fill(f32::NEG_INFINITY);
            return Ok(scores);
        }
        let allow = ask.allow.unwrap_or_default();
        let request = Request { conversation: &conversation, exclude: &ask.exclude, allow: &allow, top_k: 0 };
        for item in request.masked(&self.dataset.items, &self.mentions)? {
            if let Some(score) = scores.get_mut(item as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
        Ok(scores)
    }

    /// The same recommender with further items, or nothing changed.
    pub fn with_items(&self, items: &[Item], run: &Run) -> Result<Serving> {
        if let Live::No = self.live {
            return Err(Error::unsupported(format!(
                "recommender: {} takes no new items; a ranking head and a language model do",
                self.recommender.name()
            )));
        }
        let mut dataset = Dataset::clone(&self.dataset);
        let first = dataset.items.len();
        for item in items {
            dataset.add_item(item)?;
        }
        let counts = counts(&dataset);
        let mut serving = match &self.live {
            Live::Head(recommender, embedder) => {
                let texts: Vec<String> = (first..dataset.items.len()).map(|i| dataset.items.text(i)).collect();
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                let rows = embedder.embed(&texts, false, run)?;
                let mut head = recommender.head().clone();
                for (row, item) in items.iter().enumerate() {
                    head.add_item(&NewItem { id: item.id.clone(), vector: rows.row(row).to_vec(), count: 0.0 })?;
                }
                Serving::of_head(Arc::new(dataset), &counts, head, embedder.clone(), self.config.clone())?
            }
            #[cfg(feature = "llama")]
            Live::Lm(model) => {
                let rows: Vec<u32> = (first as u32..dataset.items.len() as u32).collect();
                model.add_items(&dataset.items, &rows, run)?;
                let mentions = Arc::new(Mentions::new(&dataset.items, &counts));
                let dataset = Arc::new(dataset);
                Serving::new(dataset, mentions, model.clone(), self.live.clone(), self.config.clone())
            }
            Live::No => return Err(Error::bug("recommender: it takes no items, and was asked to")),
        };
        if let Some(why) = &self.why {
            // New items have no reviews yet.
            serving.why = Some(Why::new(&serving.dataset, why.rows.clone(), why.embedder.clone(), &self.config)?);
        }
        Ok(serving)
    }

    /// A language model over the catalogue.
    #[cfg(feature = "llama")]
    pub fn of_lm(
        dataset: Arc<Dataset>,
        model: &Path,
        adapter: Option<&Path>,
        config: Config,
        run: &Run,
    ) -> Result<Serving> {
        let mentions = Arc::new(Mentions::new(&dataset.items, &counts(&dataset)));
        let adapter = adapter.map(|path| (path, config.recommend.adapter_scale as f32));
        let recommend = &config.recommend;
        let lm = LmRecommender::open(model, adapter, &dataset.items, mentions.clone(), recommend, run)?;
        let lm = Arc::new(lm);
        Serving::new(dataset, mentions, lm.clone(), Live::Lm(lm), config).explained(|| {
            Err(Error::unsupported(
                "recommender: recommend.explain needs the embeddings of a work directory; set it to 0 for a model alone",
            ))
        })
    }

    #[cfg(not(feature = "llama"))]
    pub fn of_lm(_: Arc<Dataset>, _: &Path, _: Option<&Path>, _: Config, _: &Run) -> Result<Serving> {
        Err(Error::unsupported("recommender: a language model needs a build with llama.cpp"))
    }

    #[cfg(feature = "llama")]
    fn lm(&self) -> Result<&LmRecommender> {
        match &self.live {
            Live::Lm(model) => Ok(model),
            Live::Head(..) | Live::No => {
                Err(Error::unsupported(format!("recommender: {} has no adapters", self.recommender.name())))
            }
        }
    }

    /// Puts an adapter (none: the base alone) in the place of generation `expected`; gives the new one.
    #[cfg(feature = "llama")]
    pub fn swap(&self, expected: u64, adapter: Option<&Path>, scale: f32) -> Result<u64> {
        let adapters: Vec<(&Path, f32)> = adapter.map(|path| (path, scale)).into_iter().collect();
        self.lm()?.swap_adapters(expected, &adapters)
    }
    #[cfg(feature = "llama")]
    pub fn roll_back(&self, expected: u64) -> Result<u64> {
        self.lm()?.roll_back_adapters(expected)
    }
    #[cfg(feature = "llama")]
    pub fn generation(&self) -> Result<u64> {
        Ok(self.lm()?.generation())
    }
    #[cfg(not(feature = "llama"))]
    pub fn swap(&self, _: u64, _: Option<&Path>, _: f32) -> Result<u64> {
        Err(Error::unsupported("recommender: a language model needs a build with llama.cpp"))
    }
    #[cfg(not(feature = "llama"))]
    pub fn roll_back(&self, _: u64) -> Result<u64> {
        Err(Error::unsupported("recommender: a language model needs a build with llama.cpp"))
    }
    #[cfg(not(feature = "llama"))]
    pub fn generation(&self) -> Result<u64> {
        Err(Error::unsupported("recommender: a language model needs a build with llama.cpp"))
    }
}

/// Reviews and interactions of every item, `[items]`.
fn counts(dataset: &Dataset) -> Vec<f32> {
    Popularity::from_dataset(dataset).map(|p| p.counts().to_vec()).unwrap_or_default()
}

impl Answered {
    /// `evidence`: of every item, or none at all.
    fn new(ranked: &[Ranked], evidence: Vec<Vec<Spoken>>, dataset: &Dataset) -> Answered {
        let items = &dataset.items;
        let mut evidence = evidence.into_iter();
        let mut json = Vec::with_capacity(ranked.len());
        let mut answered = Vec::with_capacity(ranked.len());
        for one in ranked {
            let at = one.item as usize;
            let mut row = serde_json::json!({
                "item": items.id(at), "title": items.title(at), "year": items.year(at), "score": one.score
            });
            let spoken = evidence.next();
            if let (Some(spoken), Some(row)) = (&spoken, row.as_object_mut()) {
                let spoken = spoken.iter().map(|s| {
                    serde_json::json!({"review": s.review, "similarity": s.similarity, "text": s.text.to_string_lossy()})
                });
                row.insert("evidence".into(), spoken.collect());
            }
            json.push(row);
            answered.push(Recommended {
                id: c_text(items.id(at)),
                title: c_text(items.name(at)),
                score: f64::from(one.score),
                evidence: spoken.unwrap_or_default(),
            });
        }
        let json = c_text(serde_json::Value::from(json).to_string());
        Answered { items: answered, text: OnceLock::new(), json }
    }

    /// "1. Title (1999)" a line.
    pub fn text(&self) -> &CString {
        self.text.get_or_init(|| {
            let line = |(i, item): (usize, &Recommended)| format!("{}. {}", i + 1, item.title.to_string_lossy());
            c_text(self.items.iter().enumerate().map(line).collect::<Vec<_>>().join("\n"))
        })
    }
}
