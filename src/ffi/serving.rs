//! What stands behind a recommender's handle: a catalogue, who ranks it, and what its answers are explained with.

use super::dialogues::Pairs;
use super::embeddings::Rows;
use super::model::{Kind, TunedModel};
use super::query::{ItemList, Query};
use super::text::{LentTexts, c_text};
use crate::config::Config;
use crate::dataset::{Conversation, Dataset, Item};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::pipeline;
#[cfg(feature = "llama")]
use crate::recommend::lm::LmRecommender;
use crate::recommend::{
    Datastore, Evidence, Fusion, HeadRecommender, Nbcrs, Popularity, Posts, QueryWindow, Ranked, Recommender,
    allowed_rows, excerpt, excluded_rows, mask, query_text,
};
use crate::run::Run;
use crate::titles::Titles;
use crate::tune::{Head, NewItem};
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub(super) struct Serving {
    pub dataset: Arc<Dataset>,
    pub mentions: Arc<Titles>,
    pub recommender: Arc<dyn Recommender>,
    live: Live,
    why: Option<Why>,
    pub config: Config,
    /// Texts that were lent stay where they are when items join.
    pub ids: Arc<Vec<Arc<CStr>>>,
    pub name: Arc<CStr>,
}

/// What says why an item: the reviews, and what embeds a conversation beside them.
#[derive(Clone)]
struct Why {
    rows: Arc<Matrix>,
    embedder: Arc<dyn Embedder>,
    evidence: Arc<Evidence<'static>>,
    context: QueryWindow,
}

impl Why {
    fn new(dataset: &Dataset, rows: Arc<Matrix>, embedder: Arc<dyn Embedder>, config: &Config) -> Result<Why> {
        let evidence = Arc::new(Evidence::shared(dataset, rows.clone())?);
        Ok(Why { rows, embedder, evidence, context: QueryWindow::from_config(&config.recommend)? })
    }
}

/// A review that speaks for an item.
struct Spoken {
    review: u32,
    similarity: f64,
    /// An excerpt, made when it is first read.
    text: OnceLock<CString>,
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

/// One answer. Its texts are made when they are first read: a host that keeps its own catalogue reads rows and scores.
pub(super) struct Reply {
    dataset: Arc<Dataset>,
    ids: Arc<Vec<Arc<CStr>>>,
    /// Best first, below `ids.len()`.
    pub rows: Vec<u64>,
    pub scores: Vec<f64>,
    /// For each item, nearest first; empty where none were asked for.
    evidence: Vec<Vec<Spoken>>,
    titles: OnceLock<Vec<CString>>,
    text: OnceLock<CString>,
    json: OnceLock<CString>,
    lent: LentTexts,
}

impl Serving {
    fn new(
        dataset: Arc<Dataset>,
        mentions: Arc<Titles>,
        recommender: Arc<dyn Recommender>,
        live: Live,
        config: Config,
    ) -> Serving {
        let ids = Arc::new((0..dataset.items.len()).map(|i| c_text(dataset.items.id(i)).into()).collect());
        let name = c_text(recommender.name()).into();
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
        let mentions = Arc::new(Titles::new(&dataset.items, counts));
        let said = config.recommend.mentions.then(|| mentions.clone());
        let context = QueryWindow::from_config(&config.recommend)?;
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
        model: Option<&TunedModel>,
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
            Nbcrs::new("nbcrs", store, embedder.clone(), QueryWindow::from_config(&config.recommend)?)
        };
        let why = || {
            let rows = rows.ok_or_else(|| {
                Error::invalid("recommender: recommend.explain needs the embeddings: their reviews speak for the items")
            })?;
            Ok((rows.matrix("recommend.explain")?.clone(), rows.embedder("recommend.explain")?.clone()))
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
        let mentions = Arc::new(Titles::new(&dataset.items, &counts));
        Serving::new(dataset, mentions, recommender, Live::No, config).explained(why)
    }

    /// Answers queries, each with its `top_k` best items.
    pub fn answers(&self, queries: &[&Query], top_k: usize, run: &Run) -> Result<Vec<Reply>> {
        let explain = |query: &Query| query.explain.unwrap_or(self.config.recommend.explain);
        if self.why.is_none() && queries.iter().any(|query| explain(query) > 0) {
            return Err(Error::unsupported(format!(
                "recommend: {} keeps no reviews to explain with; set recommend.explain before it is opened, on a work \
                 directory or with embeddings",
                self.recommender.name()
            )));
        }
        let masked = queries.iter().map(|query| self.masked(query)).collect::<Result<Vec<_>>>()?;
        // What may name nothing is not asked.
        let asked: Vec<usize> = (0..queries.len()).filter(|i| masked[*i].is_some()).collect();
        let conversations: Vec<&Conversation> = asked.iter().map(|i| &queries[*i].conversation).collect();
        let masked: Vec<Vec<u32>> = masked.into_iter().flatten().collect();
        let mut ranked = vec![Vec::new(); queries.len()];
        if !asked.is_empty() {
            let found = self.recommender.rank_all(&conversations, &masked, top_k, run)?;
            if found.len() != asked.len() {
                return Err(Error::bug(format!("recommend: {} answers to {} queries", found.len(), asked.len())));
            }
            asked.iter().zip(found).for_each(|(i, found)| ranked[*i] = found);
        }
        let answer = |(query, mut ranked): (&&Query, Vec<Ranked>)| {
            ranked.truncate(top_k);
            let evidence = match (&self.why, explain(query)) {
                (Some(why), count) if count > 0 => self.evidence(why, &query.conversation, &ranked, count, run)?,
                _ => Vec::new(),
            };
            Reply::new(self, &ranked, evidence)
        };
        queries.iter().zip(ranked).map(answer).collect()
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
            let one = |row: u32, similarity: f32| Spoken {
                review: row,
                similarity: f64::from(similarity),
                text: OnceLock::new(),
            };
            Ok(found.iter().map(|n| one(n.row, n.similarity)).collect())
        };
        ranked.iter().map(spoken).collect()
    }

    /// The rows that must not come back, sorted, each once; none where nothing may.
    fn masked(&self, query: &Query) -> Result<Option<Vec<u32>>> {
        let items = &self.dataset.items;
        if self.recommender.items() != items.len() {
            return Err(Error::invalid(format!(
                "recommend: {} scores {} items, the catalogue has {}; build it again for this catalogue",
                self.recommender.name(),
                self.recommender.items(),
                items.len()
            )));
        }
        let rows = |named: &ItemList, found: Vec<u32>| -> Result<Vec<u32>> {
            let mut rows = found;
            for row in &named.rows {
                match u32::try_from(*row).ok().filter(|row| (*row as usize) < items.len()) {
                    Some(row) => rows.push(row),
                    None => {
                        return Err(Error::invalid(format!(
                            "recommend: row {row} of a query; the catalogue has {} items",
                            items.len()
                        )));
                    }
                }
            }
            Ok(rows)
        };
        let excluded = rows(&query.exclude, excluded_rows(items, &query.exclude.ids))?;
        let allowed = match &query.allow {
            None => None,
            Some(allow) if allow.ids.is_empty() && allow.rows.is_empty() => return Ok(None),
            Some(allow) => {
                // Rows are there: ids that are not do no harm beside them.
                let found = match allowed_rows(items, &allow.ids) {
                    Err(_) if !allow.rows.is_empty() => Vec::new(),
                    found => found?,
                };
                Some(rows(allow, found)?)
            }
        };
        let named = self.mentions.of_conversation(&query.conversation);
        Ok(Some(mask(items.len(), named, &excluded, allowed.as_deref())))
    }

    /// About how many bytes it holds: the dataset, the rows and weights of who ranks, what explains.
    pub fn bytes(&self) -> u64 {
        let why = self.why.as_ref().map_or(0, |why| size_of_val(why.rows.data()) as u64 + why.embedder.bytes());
        let ids: usize = self.ids.iter().map(|id| id.to_bytes().len() + size_of::<Arc<CStr>>()).sum();
        self.dataset.bytes() + self.mentions.bytes() + self.recommender.bytes() + why + ids as u64
    }

    /// Scores of all items, `[queries, items]`; -infinity for those that a query masks.
    pub fn scores(&self, queries: &[&Query], run: &Run) -> Result<Matrix> {
        let masked = queries.iter().map(|query| self.masked(query)).collect::<Result<Vec<_>>>()?;
        let conversations: Vec<&Conversation> = queries.iter().map(|query| &query.conversation).collect();
        let mut scores = self.recommender.score(&conversations, run)?;
        if (scores.rows(), scores.dim()) != (queries.len(), self.ids.len()) {
            return Err(Error::bug(format!("score: [{}, {}] scores", scores.rows(), scores.dim())));
        }
        for (i, masked) in masked.iter().enumerate() {
            let scores = scores.row_mut(i);
            match masked {
                None => scores.fill(f32::NEG_INFINITY),
                Some(masked) => masked.iter().for_each(|item| scores[*item as usize] = f32::NEG_INFINITY),
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
                let mentions = Arc::new(Titles::new(&dataset.items, &counts));
                model.add_items(&dataset.items, mentions.clone(), &rows, run)?;
                let dataset = Arc::new(dataset);
                Serving::new(dataset, mentions, model.clone(), self.live.clone(), self.config.clone())
            }
            Live::No => return Err(Error::bug("recommender: it takes no items, and was asked to")),
        };
        let joined = serving.ids.iter().skip(first);
        serving.ids = Arc::new(self.ids.iter().chain(joined).cloned().collect());
        serving.name = self.name.clone();
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
        let mentions = Arc::new(Titles::new(&dataset.items, &counts(&dataset)));
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

    /// A sentence about the first items of `answer` in the language model's own words, kept with the answer.
    #[cfg(feature = "llama")]
    pub fn say(&self, query: &Query, answer: &Reply, run: &Run) -> Result<*const std::ffi::c_char> {
        let rows = answer.rows_of(self)?;
        let names: Vec<String> = rows.iter().map(|row| self.dataset.items.name(*row as usize)).collect();
        let mut text = String::new();
        let mut say = |piece: &str| {
            text += piece;
            run.token(piece)
        };
        let Live::Lm(model) = &self.live else {
            return Err(Error::unsupported(format!(
                "recommender: {} has no words of its own; a language model has",
                self.recommender.name()
            )));
        };
        let said = model.say_why(&query.conversation, &rows, &names, None, &mut say, run)?;
        if said.bytes > 0 && !said.whole {
            say("…")?;
        }
        // The end, as of every text that is heard.
        run.token("")?;
        Ok(answer.lent.lend(text))
    }

    #[cfg(not(feature = "llama"))]
    pub fn say(&self, _: &Query, answer: &Reply, _: &Run) -> Result<*const std::ffi::c_char> {
        answer.rows_of(self)?;
        Err(Error::unsupported("recommender: a language model needs a build with llama.cpp"))
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

impl Reply {
    /// `evidence`: of every item, or none at all.
    fn new(serving: &Serving, ranked: &[Ranked], evidence: Vec<Vec<Spoken>>) -> Result<Reply> {
        if let Some(one) = ranked.iter().find(|one| one.item as usize >= serving.ids.len()) {
            return Err(Error::bug(format!("recommend: item row {} of {}", one.item, serving.ids.len())));
        }
        Ok(Reply {
            dataset: serving.dataset.clone(),
            ids: serving.ids.clone(),
            rows: ranked.iter().map(|one| u64::from(one.item)).collect(),
            scores: ranked.iter().map(|one| f64::from(one.score)).collect(),
            evidence,
            titles: OnceLock::new(),
            text: OnceLock::new(),
            json: OnceLock::new(),
            lent: LentTexts::default(),
        })
    }

    /// Its rows in the catalogue of `serving`, where it is an answer from that one.
    fn rows_of(&self, serving: &Serving) -> Result<Vec<u32>> {
        let known = |row: &u64| {
            let row = usize::try_from(*row).ok()?;
            let same = self.ids.get(row)? == serving.ids.get(row)?;
            same.then_some(row as u32)
        };
        self.rows.iter().map(known).collect::<Option<Vec<u32>>>().ok_or_else(|| {
            Error::invalid("recommender: the reply is of another catalogue; give the recommender that made it")
        })
    }

    /// The id of item `i`.
    pub fn id(&self, i: usize) -> Option<&CStr> {
        self.ids.get(*self.rows.get(i)? as usize).map(|id| &**id)
    }

    fn titles(&self) -> &[CString] {
        let title = |row: &u64| c_text(self.dataset.items.name(*row as usize));
        self.titles.get_or_init(|| self.rows.iter().map(title).collect())
    }

    /// "Title (1999)" of item `i`.
    pub fn title(&self, i: usize) -> Option<&CString> {
        self.titles().get(i)
    }

    fn excerpt<'a>(&self, spoken: &'a Spoken) -> &'a CString {
        let text = || c_text(excerpt(self.dataset.review_text(spoken.review as usize), EXCERPT_CHARS));
        spoken.text.get_or_init(text)
    }

    /// Review `n` of item `i`: its row, its cosine, an excerpt.
    pub fn evidence(&self, i: usize, n: usize) -> Option<(u32, f64, &CString)> {
        let spoken = self.evidence.get(i)?.get(n)?;
        Some((spoken.review, spoken.similarity, self.excerpt(spoken)))
    }

    /// "1. Title (1999)" a line.
    pub fn text(&self) -> &CString {
        self.text.get_or_init(|| {
            let line = |(i, title): (usize, &CString)| format!("{}. {}", i + 1, title.to_string_lossy());
            c_text(self.titles().iter().enumerate().map(line).collect::<Vec<_>>().join("\n"))
        })
    }

    /// As of `causerie_reply_json`.
    pub fn json(&self) -> &CString {
        self.json.get_or_init(|| {
            let items = &self.dataset.items;
            let one = |(i, row): (usize, &u64)| {
                let at = *row as usize;
                let mut json = serde_json::json!({
                    "item": items.id(at), "title": items.title(at), "year": items.year(at), "score": self.scores[i]
                });
                if let (Some(spoken), Some(json)) = (self.evidence.get(i), json.as_object_mut()) {
                    let spoken = spoken.iter().map(|s| {
                        let text = self.excerpt(s).to_string_lossy();
                        serde_json::json!({"review": s.review, "similarity": s.similarity, "text": text})
                    });
                    json.insert("evidence".into(), spoken.collect());
                }
                json
            };
            let rows: Vec<serde_json::Value> = self.rows.iter().enumerate().map(one).collect();
            c_text(serde_json::Value::from(rows).to_string())
        })
    }
}
