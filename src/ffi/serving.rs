//! What stands behind a recommender's handle and a reply's: a service, and the texts that C borrows of it.

use super::dialogues::Pairs;
use super::embeddings::Rows;
use super::model::{Kind, TunedModel};
use super::text::{LentTexts, c_text};
use crate::config::{Config, RankingSystem, Strategy};
use crate::dataset::{Dataset, Item};
use crate::error::{Error, ErrorKind, Result};
use crate::math::Matrix;
use crate::pipeline;
use crate::recommend::service::{Answer, Ingredients, Parts, Query, Service, open_language_model};
use crate::recommend::{Neighbour, excerpt};
use crate::run::{Level, Run, log};
use crate::titles::Titles;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, TryLockError};

/// A service, and what C borrows of it.
pub(super) struct RecommenderHandle {
    pub service: Service,
    /// The caller's, of when it was opened.
    pub config: Config,
    /// Texts that were lent stay where they are when items join.
    pub ids: Arc<Vec<Arc<CStr>>>,
    pub name: Arc<CStr>,
}

/// What is behind a recommender's handle: the recommender of this moment. Items join while it serves; a call goes on with
/// the one that it began with.
pub(super) struct LiveRecommender {
    now: RwLock<Arc<RecommenderHandle>>,
    /// Held by the one who adds.
    joining: Mutex<()>,
}

impl LiveRecommender {
    pub fn new(recommender: RecommenderHandle) -> LiveRecommender {
        LiveRecommender { now: RwLock::new(Arc::new(recommender)), joining: Mutex::new(()) }
    }
    pub fn now(&self) -> Arc<RecommenderHandle> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Adds items, all or none.
    pub fn add(&self, items: &[Item], run: &Run) -> Result<()> {
        // Not waited for: the one who holds it may be the caller, in a callback of this very call.
        let _alone = match self.joining.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Busy,
                    "recommend: another call is adding items; call again after it",
                ));
            }
        };
        let mut next = Arc::new(self.now().with_items(items, run)?);
        // What was served goes after the lock, so that nobody waits for it.
        std::mem::swap(&mut *self.now.write().unwrap_or_else(PoisonError::into_inner), &mut next);
        Ok(())
    }
}

/// Characters of a review in an answer.
const EXCERPT_CHARS: usize = 240;

/// One answer. Its texts are made when they are first read: a host that keeps its own catalogue reads rows and scores.
pub(super) struct Reply {
    dataset: Arc<Dataset>,
    ids: Arc<Vec<Arc<CStr>>>,
    /// Best first, below `ids.len()`.
    pub rows: Vec<u64>,
    pub scores: Vec<f64>,
    pub partial: bool,
    pub truncated: bool,
    pub warnings: Vec<CString>,
    /// For each item, nearest first; empty where none were asked for.
    evidence: Vec<Vec<Neighbour>>,
    /// An excerpt of each of those reviews.
    excerpts: OnceLock<Vec<Vec<CString>>>,
    titles: OnceLock<Vec<CString>>,
    text: OnceLock<CString>,
    json: OnceLock<CString>,
    lent: LentTexts,
}

impl RecommenderHandle {
    fn new(service: Service, config: Config) -> RecommenderHandle {
        let items = service.items();
        let ids = Arc::new((0..items.len()).map(|i| c_text(items.id(i)).into()).collect());
        let name = c_text(service.recommender().name()).into();
        let explain = config.recommend.explain;
        let service = service.with_defaults(config.recommend.top_k, explain);
        let service = if explain > 0 { service } else { service.without_evidence() };
        RecommenderHandle { service, config, ids, name }
    }

    /// A finished work directory. The caller's own of what serving needs; the rest is what the directory was made with.
    pub fn open(
        dir: &Path,
        strategy: Option<Strategy>,
        system: RankingSystem,
        config: &Config,
        run: &Run,
    ) -> Result<RecommenderHandle> {
        Ok(RecommenderHandle::new(pipeline::open(dir, system, strategy, run)?, config.clone()))
    }

    /// From what the stages made.
    pub fn of_parts(
        dataset: Arc<Dataset>,
        rows: Option<&Rows>,
        model: Option<&TunedModel>,
        pairs: Option<&Pairs>,
        config: Config,
        run: &Run,
    ) -> Result<RecommenderHandle> {
        let system = config.recommend.system;
        let head = match model.map(|m| &m.kind) {
            Some(Kind::Head(head)) => Some(&**head),
            Some(Kind::Files(_)) if [RankingSystem::Head, RankingSystem::Fusion].contains(&system) => {
                return Err(Error::invalid(format!(
                    "recommender: recommend.system = {system} needs a ranking head; this model is a language model's files"
                )));
            }
            Some(Kind::Files(_)) | None => None,
        };
        let embedder = match rows.filter(|_| ![RankingSystem::Popularity, RankingSystem::Retrieval].contains(&system)) {
            Some(rows) => Some(rows.embedder("recommender")?),
            None => None,
        };
        let titles = Arc::new(Titles::of(&dataset));
        let from = Ingredients {
            dataset: &dataset,
            titles: &titles,
            embedder,
            head,
            dialogues: pairs.map(|pairs| pairs.rows.as_slice()),
            settings: &config.recommend,
            seed: config.tune.seed,
        };
        let recommender = from.build(system, run)?;
        let evidence = match (config.recommend.explain, rows) {
            (0, _) => None,
            (_, Some(rows)) => {
                Some((rows.matrix("recommend.explain")?.clone(), rows.embedder("recommend.explain")?.clone()))
            }
            (_, None) => {
                return Err(Error::invalid(
                    "recommender: recommend.explain needs the embeddings: their reviews speak for the items",
                ));
            }
        };
        let settings = config.recommend.clone();
        let service =
            Service::new(Parts { system: system.to_string(), dataset, titles, recommender, evidence, settings })?;
        Ok(RecommenderHandle::new(service, config))
    }

    /// A language model over the catalogue.
    pub fn of_lm(
        dataset: Arc<Dataset>,
        model: &Path,
        adapter: Option<&Path>,
        config: Config,
        run: &Run,
    ) -> Result<RecommenderHandle> {
        if config.recommend.explain > 0 {
            return Err(Error::unsupported(
                "recommender: recommend.explain needs the embeddings of a work directory; set it to 0 for a model alone",
            ));
        }
        let titles = Arc::new(Titles::of(&dataset));
        let settings = config.recommend.clone();
        let recommender = open_language_model(model, adapter, &dataset, &titles, &settings, run)?;
        let system = format!("lm-{}", settings.mode);
        let service =
            Service::new(Parts { system: system.to_string(), dataset, titles, recommender, evidence: None, settings })?;
        Ok(RecommenderHandle::new(service, config))
    }

    /// Answers queries, each with its `top_k` best items.
    pub fn answers(&self, queries: &[&Query], top_k: usize, run: &Run) -> Result<Vec<Reply>> {
        let answers = self.service.answer_all(queries, top_k, &[], None, run)?;
        answers.into_iter().map(|answer| Reply::new(self, answer)).collect()
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> u64 {
        let ids: usize = self.ids.iter().map(|id| id.to_bytes().len() + size_of::<Arc<CStr>>()).sum();
        self.service.bytes() + ids as u64
    }

    /// Scores of all items, `[queries, items]`; -infinity for those that a query masks.
    pub fn scores(&self, queries: &[&Query], run: &Run) -> Result<Matrix> {
        self.service.scores(queries, run)
    }

    /// The same recommender with further items, or nothing changed.
    pub fn with_items(&self, items: &[Item], run: &Run) -> Result<RecommenderHandle> {
        let service = self.service.with_items(items, run)?;
        let joined = (self.ids.len()..service.items().len()).map(|i| c_text(service.items().id(i)).into());
        let ids = Arc::new(self.ids.iter().cloned().chain(joined).collect());
        Ok(RecommenderHandle { service, config: self.config.clone(), ids, name: self.name.clone() })
    }

    /// A sentence about the first items of `reply` in the language model's own words, kept with the reply.
    pub fn say(&self, query: &Query, reply: &Reply, run: &Run) -> Result<*const std::ffi::c_char> {
        let rows = reply.rows_of(self)?;
        let mut text = String::new();
        let mut say = |piece: &str| {
            text += piece;
            run.token(piece)
        };
        let sentence = self.service.say_why(&query.conversation, &rows, &mut say, run)?;
        if sentence.bytes > 0 && !sentence.whole {
            say("…")?;
        }
        // The end, as of every text that is heard.
        run.token("")?;
        Ok(reply.lent.lend(text))
    }
}

impl Reply {
    fn new(handle: &RecommenderHandle, answer: Answer) -> Result<Reply> {
        if let Some(one) = answer.items.iter().find(|one| one.item as usize >= handle.ids.len()) {
            return Err(Error::bug(format!("recommend: item row {} of {}", one.item, handle.ids.len())));
        }
        for warning in &answer.warnings {
            log(Level::Warn, &format!("recommend: {warning}"));
        }
        Ok(Reply {
            dataset: handle.service.dataset().clone(),
            ids: handle.ids.clone(),
            rows: answer.items.iter().map(|one| u64::from(one.item)).collect(),
            scores: answer.items.iter().map(|one| f64::from(one.score)).collect(),
            partial: answer.partial,
            truncated: answer.truncated,
            warnings: answer.warnings.into_iter().map(c_text).collect(),
            evidence: answer.evidence,
            excerpts: OnceLock::new(),
            titles: OnceLock::new(),
            text: OnceLock::new(),
            json: OnceLock::new(),
            lent: LentTexts::default(),
        })
    }

    /// Its rows in the catalogue of `handle`, where it is a reply from that one.
    fn rows_of(&self, handle: &RecommenderHandle) -> Result<Vec<u32>> {
        let known = |row: &u64| {
            let row = usize::try_from(*row).ok()?;
            let same = self.ids.get(row)? == handle.ids.get(row)?;
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

    /// The year of item `i`, where it is known.
    pub fn year(&self, i: usize) -> Option<u16> {
        self.dataset.items.year(*self.rows.get(i)? as usize)
    }

    fn excerpts(&self) -> &[Vec<CString>] {
        let text = |review: &Neighbour| c_text(excerpt(self.dataset.review_text(review.row as usize), EXCERPT_CHARS));
        self.excerpts.get_or_init(|| self.evidence.iter().map(|of| of.iter().map(text).collect()).collect())
    }

    /// Review `n` of item `i`, and an excerpt of it.
    pub fn evidence(&self, i: usize, n: usize) -> Option<(Neighbour, &CString)> {
        let review = *self.evidence.get(i)?.get(n)?;
        Some((review, self.excerpts().get(i)?.get(n)?))
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
                if let (Some(reviews), Some(json)) = (self.evidence.get(i), json.as_object_mut()) {
                    let texts = self.excerpts().get(i).into_iter().flatten();
                    let reviews = reviews.iter().zip(texts).map(|(review, text)| {
                        let similarity = f64::from(review.similarity);
                        serde_json::json!({
                            "review": review.row, "similarity": similarity, "text": text.to_string_lossy()
                        })
                    });
                    json.insert("evidence".into(), reviews.collect());
                }
                json
            };
            let rows: Vec<serde_json::Value> = self.rows.iter().enumerate().map(one).collect();
            c_text(serde_json::Value::from(rows).to_string())
        })
    }
}
