//! Stage 6, recommend: open, answer, score, take new items.

use super::config::{causerie_config, config_of};
use super::dataset::causerie_dataset;
use super::dialogues::{Pairs, causerie_dialogues};
use super::embeddings::{Rows, causerie_embeddings};
use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, exclusive, free, noun, optional, put, shared};
use super::model::{Kind, Tuned, causerie_model};
use super::run::{causerie_run, run_of};
use super::text::{c_text, name, optional_path, path, text};
use crate::config::Config;
use crate::dataset::{Conversation, Dataset, Filling, Item, ItemName, Table, Turn};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::pipeline;
#[cfg(feature = "llama")]
use crate::recommend::lm::LmRecommender;
use crate::recommend::{
    Context, Datastore, Fusion, HeadRecommender, Mentions, Nbcrs, Popularity, Posts, Ranked, Recommender, Request,
    recommend,
};
use crate::run::Run;
use crate::tune::{Head, NewItem};
use serde::Deserialize;
use std::ffi::{CString, c_char};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Stage 6, recommend: ranks the catalogue for a conversation. `const` functions may run on many threads at once.
pub struct causerie_recommender {
    _opaque: [u8; 0],
}
noun!(causerie_recommender, Serving);

/// One answer: ranked items.
pub struct causerie_reply {
    _opaque: [u8; 0],
}
noun!(causerie_reply, Answered);

pub(super) struct Serving {
    pub dataset: Arc<Dataset>,
    mentions: Arc<Mentions>,
    pub recommender: Arc<dyn Recommender>,
    live: Live,
    pub config: Config,
    ids: Vec<CString>,
    name: CString,
}

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

pub(super) struct Answered {
    items: Vec<(CString, CString, f64)>,
    text: OnceLock<CString>,
    json: CString,
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
}

impl Ask {
    fn parse(json: &str) -> Result<Ask> {
        let bad = |e: serde_json::Error| {
            Error::invalid(format!(
                "recommend: the request does not parse: {e}; it is [{{\"role\": \"user\", \"text\": \"…\"}}, …] or {{\"turns\": \
                 […], \"seen\": [{{\"item\": id}}], \"exclude\": [id], \"allow\": [id]}}"
            ))
        };
        if json.trim_start().starts_with('[') {
            let turns = serde_json::from_str(json).map_err(bad)?;
            return Ok(Ask { id: String::new(), turns, seen: Vec::new(), exclude: Vec::new(), allow: None });
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
        Serving { dataset, mentions, recommender, live, config, ids, name }
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
    fn open(dir: &Path, strategy: &str, system: &str, config: &Config, run: &Run) -> Result<Serving> {
        let opened = pipeline::open(dir, system, strategy, run)?;
        let mut settings = opened.config;
        // The caller's own of what serving needs; the rest is what the directory was made with.
        settings.recommend.top_k = config.recommend.top_k;
        settings.run = config.run.clone();
        let dataset = Arc::new(opened.dataset);
        if system == "head" {
            let strategy = settings.pipeline.strategies.first().cloned().unwrap_or_default();
            let file = dir.join(format!("{strategy}/round-{}/head.safetensors", settings.pipeline.rounds));
            let counts = counts(&dataset);
            return Serving::of_head(dataset, &counts, Head::load(&file)?, opened.embedder, settings);
        }
        Ok(Serving::new(dataset, opened.mentions, opened.recommender, Live::No, settings))
    }

    /// From what the stages made.
    fn of_parts(
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
        let recommender: Arc<dyn Recommender> = match system.as_str() {
            "head" => return Serving::of_head(dataset, &counts, head()?, embedder()?, config),
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
        Ok(Serving::new(dataset, mentions, recommender, Live::No, config))
    }

    fn answer(&self, json: &str, top_k: usize, run: &Run) -> Result<Vec<Ranked>> {
        let mut ask = Ask::parse(json)?;
        let conversation = ask.conversation();
        if ask.allow.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let allow = ask.allow.unwrap_or_default();
        let request = Request { conversation: &conversation, exclude: &ask.exclude, allow: &allow, top_k };
        let answers = recommend(&*self.recommender, &[request], &self.dataset.items, &self.mentions, run)?;
        answers.into_iter().next().ok_or_else(|| Error::bug("recommend: one request and no answer"))
    }

    /// Scores of all items, `[items]`; -infinity for those that the request masks.
    fn scores(&self, json: &str, run: &Run) -> Result<Vec<f32>> {
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
    fn with_items(&self, items: &[Item], run: &Run) -> Result<Serving> {
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
        match &self.live {
            Live::Head(recommender, embedder) => {
                let texts: Vec<String> = (first..dataset.items.len()).map(|i| dataset.items.text(i)).collect();
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                let rows = embedder.embed(&texts, false, run)?;
                let mut head = recommender.head().clone();
                for (row, item) in items.iter().enumerate() {
                    head.add_item(&NewItem { id: item.id.clone(), vector: rows.row(row).to_vec(), count: 0.0 })?;
                }
                Serving::of_head(Arc::new(dataset), &counts, head, embedder.clone(), self.config.clone())
            }
            #[cfg(feature = "llama")]
            Live::Lm(model) => {
                let rows: Vec<u32> = (first as u32..dataset.items.len() as u32).collect();
                model.add_items(&dataset.items, &rows, run)?;
                let mentions = Arc::new(Mentions::new(&dataset.items, &counts));
                let dataset = Arc::new(dataset);
                Ok(Serving::new(dataset, mentions, model.clone(), self.live.clone(), self.config.clone()))
            }
            Live::No => Err(Error::bug("recommender: it takes no items, and was asked to")),
        }
    }

    /// A language model over the catalogue.
    #[cfg(feature = "llama")]
    fn of_lm(
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
        Ok(Serving::new(dataset, mentions, lm.clone(), Live::Lm(lm), config))
    }

    #[cfg(not(feature = "llama"))]
    fn of_lm(_: Arc<Dataset>, _: &Path, _: Option<&Path>, _: Config, _: &Run) -> Result<Serving> {
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
    fn swap(&self, expected: u64, adapter: Option<&Path>, scale: f32) -> Result<u64> {
        let adapters: Vec<(&Path, f32)> = adapter.map(|path| (path, scale)).into_iter().collect();
        self.lm()?.swap_adapters(expected, &adapters)
    }
    #[cfg(feature = "llama")]
    fn roll_back(&self, expected: u64) -> Result<u64> {
        self.lm()?.roll_back_adapters(expected)
    }
    #[cfg(feature = "llama")]
    fn generation(&self) -> Result<u64> {
        Ok(self.lm()?.generation())
    }
    #[cfg(not(feature = "llama"))]
    fn swap(&self, _: u64, _: Option<&Path>, _: f32) -> Result<u64> {
        Err(Error::unsupported("recommender: a language model needs a build with llama.cpp"))
    }
    #[cfg(not(feature = "llama"))]
    fn roll_back(&self, _: u64) -> Result<u64> {
        Err(Error::unsupported("recommender: a language model needs a build with llama.cpp"))
    }
    #[cfg(not(feature = "llama"))]
    fn generation(&self) -> Result<u64> {
        Err(Error::unsupported("recommender: a language model needs a build with llama.cpp"))
    }
}

/// Reviews and interactions of every item, `[items]`.
fn counts(dataset: &Dataset) -> Vec<f32> {
    Popularity::from_dataset(dataset).map(|p| p.counts().to_vec()).unwrap_or_default()
}

impl Answered {
    fn new(ranked: &[Ranked], dataset: &Dataset) -> Answered {
        let items = &dataset.items;
        let row = |r: &Ranked| {
            let at = r.item as usize;
            serde_json::json!({"item": items.id(at), "title": items.title(at), "year": items.year(at), "score": r.score})
        };
        let json = serde_json::Value::from(ranked.iter().map(row).collect::<Vec<_>>());
        let row = |r: &Ranked| {
            let at = r.item as usize;
            (c_text(items.id(at)), c_text(items.name(at)), f64::from(r.score))
        };
        Answered { items: ranked.iter().map(row).collect(), text: OnceLock::new(), json: c_text(json.to_string()) }
    }
}

/// ---- 6 recommend ------------------------------------------------------------------------------------------------
/// Opens a work directory that causerie_pipeline (or `causerie run`) finished, with the recommender recommend.system of
/// `strategy` (NULL or "": the first one of the run). Everything but run.threads and recommend.system and .top_k is as the
/// directory was made. CAUSERIE_NOT_FOUND where the run did not get so far.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_open(
    work_dir: *const c_char,
    strategy: *const c_char,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_recommender,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (dir, config, out) = unsafe { (path(work_dir, "work_dir")?, config_of(config)?, Out::new(out)?) };
        let strategy = match strategy.is_null() {
            true => "",
            // SAFETY: rule 4 of the header.
            false => unsafe { name(strategy, "strategy")? },
        };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        out.set(Serving::open(dir, strategy, &config.recommend.system, &config, &run)?);
        Ok(())
    })
}

/// A recommender from what the stages made, by recommend.system: "head" needs embeddings and model, "nbcrs" embeddings and
/// dialogues, "fusion" all three, "popularity" none. What is not needed may be NULL. Nothing is kept of the handles given.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_new(
    dataset: *const causerie_dataset,
    embeddings: *const causerie_embeddings,
    model: *const causerie_model,
    dialogues: *const causerie_dialogues,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_recommender,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (data, rows, model) = unsafe { (shared(dataset)?, optional(embeddings)?, optional(model)?) };
        // SAFETY: as above.
        let (pairs, config, out) = unsafe { (optional(dialogues)?, config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        out.set(Serving::of_parts(data.filling.dataset().clone(), rows, model, pairs, config, &run)?);
        Ok(())
    })
}

/// A language model that names items of the catalogue alone: the GGUF at `model`, with a LoRA adapter (`adapter`, NULL: none)
/// at scale recommend.adapter_scale. recommend.mode says how it ranks ("constrained", "generate", "head"), and
/// recommend.context_tokens, .contexts, .cache_bytes, .timeout_ms what it may take. CAUSERIE_UNSUPPORTED on a CPU without
/// AVX2, FMA, F16C and BMI2.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_open_lm(
    dataset: *const causerie_dataset,
    model: *const c_char,
    adapter: *const c_char,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_recommender,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (data, model, adapter) =
            unsafe { (shared(dataset)?, path(model, "model")?, optional_path(adapter, "adapter")?) };
        // SAFETY: as above.
        let (config, out) = unsafe { (config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        out.set(Serving::of_lm(data.filling.dataset().clone(), model, adapter, config, &run)?);
        Ok(())
    })
}

/// The number of the adapters that serve: 1 at first, one more with each exchange. CAUSERIE_UNSUPPORTED for what is no
/// language model.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_generation(
    recommender: *const causerie_recommender,
    generation: *mut u64,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let serving = unsafe { shared(recommender)? };
        let number = serving.generation()?;
        // SAFETY: rule 2 of the header.
        unsafe { put(generation, number) };
        Ok(())
    })
}

/// Puts another LoRA adapter (NULL: none, the base model alone) in the place of generation `expected`, while requests are
/// answered: those in flight finish with what they started with, none fails. Writes the new number to `generation` (may be
/// NULL). CAUSERIE_INVALID when somebody else exchanged them meanwhile.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_swap_adapter(
    recommender: *const causerie_recommender,
    expected: u64,
    adapter: *const c_char,
    scale: f32,
    generation: *mut u64,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (serving, adapter) = unsafe { (shared(recommender)?, optional_path(adapter, "adapter")?) };
        let number = serving.swap(expected, adapter, scale)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(generation, number) };
        Ok(())
    })
}

/// Puts the adapters before generation `expected` back, under a new number.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_roll_back(
    recommender: *const causerie_recommender,
    expected: u64,
    generation: *mut u64,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let serving = unsafe { shared(recommender)? };
        let number = serving.roll_back(expected)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(generation, number) };
        Ok(())
    })
}

/// How many items it ranks; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_count(recommender: *const causerie_recommender) -> usize {
    guard_or(0, || {
        // SAFETY: rules 2 and 3 of the header.
        Ok(unsafe { shared(recommender)? }.ids.len())
    })
}

/// The id of item row `i`; NULL past the end. Borrowed from the recommender.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_id(recommender: *const causerie_recommender, i: usize) -> *const c_char {
    guard_or(std::ptr::null(), || {
        // SAFETY: rules 2 and 3 of the header.
        Ok(unsafe { shared(recommender)? }.ids.get(i).map_or(std::ptr::null(), |id| id.as_ptr()))
    })
}

/// Its name in reports: "head", "nbcrs", … Borrowed from the recommender.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_name(recommender: *const causerie_recommender) -> *const c_char {
    guard_or(c"".as_ptr(), || {
        // SAFETY: rules 2 and 3 of the header.
        Ok(unsafe { shared(recommender)? }.name.as_ptr())
    })
}

/// Answers a conversation with the `top_k` best items of the catalogue (0: recommend.top_k). `request` is `len` bytes of
/// JSON: the turns, oldest first, [{"role": "user" | "assistant", "text": "…"}, …]; or an object {"turns": […], "seen":
/// [{"item": id} | {"title", "year"}, …], "exclude": [id, …], "allow": [id, …]}. What is named in the turns, seen, excluded
/// or (where "allow" is given) not allowed never comes back; an empty "allow" allows nothing. CAUSERIE_INVALID for JSON that
/// does not parse; CAUSERIE_NOT_FOUND when no allowed id is in the catalogue.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommend(
    recommender: *const causerie_recommender,
    request: *const c_char,
    len: usize,
    top_k: u32,
    run: *const causerie_run,
    out: *mut *mut causerie_reply,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (serving, request, out) = unsafe { (shared(recommender)?, text(request, len, "request")?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, serving.config.run.threads)? };
        let top_k = if top_k == 0 { serving.config.recommend.top_k } else { top_k as usize };
        out.set(Answered::new(&serving.answer(request, top_k, &run)?, &serving.dataset));
        Ok(())
    })
}

/// Scores of the whole catalogue in the order of causerie_recommender_id, higher is better, written to `scores`, [count]:
/// count must be causerie_recommender_count. Items that the request masks get -infinity. Request and errors as of
/// causerie_recommend.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_score(
    recommender: *const causerie_recommender,
    request: *const c_char,
    len: usize,
    run: *const causerie_run,
    scores: *mut f32,
    count: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (serving, request) = unsafe { (shared(recommender)?, text(request, len, "request")?) };
        if count != serving.ids.len() || scores.is_null() || !scores.is_aligned() {
            return Err(Error::invalid(format!(
                "score: room for {count} scores is given (NULL: none); {} items are scored",
                serving.ids.len()
            )));
        }
        // SAFETY: as above.
        let run = unsafe { run_of(run, serving.config.run.threads)? };
        let made = serving.scores(request, &run)?;
        if made.len() != count {
            return Err(Error::bug(format!("score: {} scores for {count} items", made.len())));
        }
        // SAFETY: rule 2 of the header: valid for `count` values, and as many were made.
        unsafe { std::ptr::copy_nonoverlapping(made.as_ptr(), scores, count) };
        Ok(())
    })
}

/// Adds items (JSON lines as of causerie_dataset_add) to a ranking head or a language model ("constrained") that serves,
/// without tuning anew: they are recommended from now on by what they say of themselves. All or nothing. Nobody else may
/// use the recommender meanwhile. CAUSERIE_UNSUPPORTED for other recommenders; CAUSERIE_INVALID for an id that is there.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_add(
    recommender: *mut causerie_recommender,
    lines: *const c_char,
    len: usize,
    run: *const causerie_run,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (serving, lines) = unsafe { (exclusive(recommender)?, text(lines, len, "items")?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, serving.config.run.threads)? };
        let own = crate::config::DatasetConfig { max_bad_lines: 0, format: "causerie".into(), ..Default::default() };
        let mut filling = Filling::new(&own);
        filling.add_lines(Table::Items, lines, &run)?;
        let items = &filling.dataset().items;
        if items.is_empty() {
            return Ok(());
        }
        let items: Vec<Item> = (0..items.len()).map(|i| items.get(i)).collect();
        *serving = serving.with_items(&items, &run)?;
        Ok(())
    })
}

/// Ends a recommender; NULL is fine. Replies live on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_free(recommender: *mut causerie_recommender) {
    // SAFETY: rule 2 of the header.
    unsafe { free(recommender) }
}

/// How many items an answer has; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_count(reply: *const causerie_reply) -> usize {
    guard_or(0, || {
        // SAFETY: rules 2 and 3 of the header.
        Ok(unsafe { shared(reply)? }.items.len())
    })
}

/// The id of item `i` of an answer, best first, and its score (`score` may be NULL); NULL past the end. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_item(reply: *const causerie_reply, i: usize, score: *mut f64) -> *const c_char {
    guard_or(std::ptr::null(), || {
        // SAFETY: rules 2 and 3 of the header.
        let Some((id, _, value)) = unsafe { shared(reply)? }.items.get(i) else { return Ok(std::ptr::null()) };
        // SAFETY: rule 2 of the header.
        unsafe { put(score, *value) };
        Ok(id.as_ptr())
    })
}

/// "Title (1999)" of item `i` of an answer; NULL past the end. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_title(reply: *const causerie_reply, i: usize) -> *const c_char {
    guard_or(std::ptr::null(), || {
        // SAFETY: rules 2 and 3 of the header.
        Ok(unsafe { shared(reply)? }.items.get(i).map_or(std::ptr::null(), |(_, title, _)| title.as_ptr()))
    })
}

/// The answer as text to show: "1. Title (1999)" a line. Borrowed from the reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_text(reply: *const causerie_reply) -> *const c_char {
    guard_or(c"".as_ptr(), || {
        // SAFETY: rules 2 and 3 of the header.
        let answered = unsafe { shared(reply)? };
        let text = answered.text.get_or_init(|| {
            let line = |(i, (_, title, _)): (usize, &(CString, CString, f64))| {
                format!("{}. {}", i + 1, title.to_string_lossy())
            };
            c_text(answered.items.iter().enumerate().map(line).collect::<Vec<_>>().join("\n"))
        });
        Ok(text.as_ptr())
    })
}

/// The answer as JSON: [{"item", "title", "year", "score"}, …], best first. Borrowed from the reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_json(reply: *const causerie_reply) -> *const c_char {
    guard_or(c"".as_ptr(), || {
        // SAFETY: rules 2 and 3 of the header.
        Ok(unsafe { shared(reply)? }.json.as_ptr())
    })
}

/// Ends an answer; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_free(reply: *mut causerie_reply) {
    // SAFETY: rule 2 of the header.
    unsafe { free(reply) }
}
