//! The language model as a recommender: a conversation in, items of the catalogue out.

use super::adapters::{Adapters, Set, Switch};
use super::answer::{LmAnswer, LmItem, Mode};
use super::beam::{BeamOptions, ScoredTitle, beam, length_score};
use super::cache::PrefixCache;
use super::catalogue::Speller;
use super::engine::{Alone, LaneOptions};
use super::exact::score_titles;
use super::hub::Hub;
use super::lane::Lane;
use super::pool::{Loan, Pool};
use super::prompt::{Prompt, Prompter};
use super::session::Row;
use super::trie::{Surfaces, Trie};
use crate::config::RecommendConfig;
use crate::dataset::{Conversation, Items};
use crate::error::{Error, ErrorKind, Result};
use crate::llama::{Adapter, Model, Pooling};
use crate::math::Matrix;
use crate::recommend::{QueryWindow, Ranked, Recommender};
use crate::run::{Level, Run, log};
use crate::titles::Titles;
use crate::tune::Head;
use crate::tune::lm::Chat;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Sequences of a lane at least and at most.
const SEQUENCES: (usize, usize) = (65, 256);
/// Tokens that a search may hold, at least and at most.
const SEARCH_TOKENS: (usize, usize) = (1024, 16_384);
/// Conversations between two signs of progress.
const WINDOW: usize = 32;
/// Logits of a forward pass at most: 64 MiB of f32.
const PASS_LOGITS: usize = 1 << 24;

/// A language model that names items of one catalogue. Any number of threads may ask at once.
pub struct LmRecommender {
    pub(super) name: String,
    pub(super) model: Model,
    pub(super) prompter: Prompter,
    pub(super) trie: RwLock<Arc<Trie>>,
    titles: RwLock<Arc<Titles>>,
    pub(super) adapters: Switch,
    pub(super) cache: PrefixCache,
    pub(super) pool: Pool,
    pub(super) lane: LaneOptions,
    /// Titles are ranked by the tokens that tell them from each other.
    pub(super) telling: bool,
    /// Callers share forward passes.
    shared: bool,
    /// Made at first need, where they do.
    hub: Mutex<Option<Arc<Hub>>>,
    pub(super) mode: Mode,
    pub(super) config: RecommendConfig,
}

impl LmRecommender {
    /// The GGUF at `model` over the catalogue `items`, with a LoRA adapter and its scale. The mode is
    /// `recommend.mode`; for `head` the file `head.safetensors` is read beside the adapter or the model.
    ///
    /// # Errors
    /// Those of loading model, adapter and head; [`ErrorKind::Invalid`] for an empty catalogue, an encoder, a context too
    /// short for the instruction.
    pub fn open(
        model: &Path,
        adapter: Option<(&Path, f32)>,
        items: &Items,
        titles: Arc<Titles>,
        config: &RecommendConfig,
        run: &Run,
    ) -> Result<LmRecommender> {
        let mode = Mode::from_name(&config.mode)?;
        let head = match mode {
            Mode::Head => Some(super::state_head::beside(adapter.map_or(model, |(path, _)| path))?),
            Mode::Constrained | Mode::Generate => None,
        };
        let model = Model::load(model)?;
        let adapters = match adapter {
            Some((path, scale)) => vec![(Adapter::load(&model, path)?, finite(scale)?)],
            None => Vec::new(),
        };
        LmRecommender::of(model, adapters, head, items, titles, config, run)
    }

    /// [`LmRecommender::open`] of what is loaded already.
    ///
    /// # Errors
    /// As [`LmRecommender::open`].
    pub fn of(
        model: Model,
        adapters: Vec<(Adapter, f32)>,
        head: Option<Head>,
        items: &Items,
        titles: Arc<Titles>,
        config: &RecommendConfig,
        run: &Run,
    ) -> Result<LmRecommender> {
        let mode = Mode::from_name(&config.mode)?;
        if items.is_empty() {
            return Err(Error::invalid("recommend: the catalogue is empty; import items first"));
        }
        if model.is_encoder() {
            let path = model.header().path().display();
            return Err(Error::invalid(format!("{path}: an encoder: it embeds texts, it cannot name items")));
        }
        match (mode, &head) {
            (Mode::Head, None) => return Err(Error::invalid("recommend.mode = head without a ranking head")),
            (Mode::Head, Some(head)) => super::state_head::check(head, &model, items)?,
            (Mode::Constrained | Mode::Generate, _) => {}
        }
        let chat = Chat::of(model.clone())?;
        let speller = Speller::new(&chat, &config.answer_start)?;
        let lead = speller.lead().to_vec();
        let trie = match mode {
            Mode::Constrained => speller.trie(items, run)?,
            // Neither names items by the trie; it still says which items there are.
            Mode::Generate | Mode::Head => Trie::build(Surfaces::default(), items.len(), run)?,
        };
        let shared = match config.batching.as_str() {
            "alone" => false,
            "shared" => true,
            other => {
                return Err(Error::invalid(format!("recommend.batching = {other:?}: allowed is alone | shared")));
            }
        };
        let telling = match config.ranked_by.as_str() {
            "telling" => true,
            "title" => false,
            other => {
                return Err(Error::invalid(format!("recommend.ranked_by = {other:?}: allowed is telling | title")));
            }
        };
        let width = width_of(config, config.top_k);
        let longest = trie.longest().max(1);
        let limit = config.context_tokens.min(model.trained_context().saturating_sub(longest));
        let prompter = Prompter::new(chat, QueryWindow::from_config(config)?, lead, limit)?;
        let lane = LaneOptions {
            prompt_tokens: limit,
            search_tokens: (2 * width * longest.min(64)).clamp(SEARCH_TOKENS.0, SEARCH_TOKENS.1),
            sequences: if shared {
                // All clients together have llama.cpp's 256.
                (1 + 2 * width).min(SEQUENCES.1 / config.contexts.min(SEQUENCES.1 / 3))
            } else {
                (1 + 2 * width).clamp(SEQUENCES.0, SEQUENCES.1)
            },
            batch_tokens: match mode {
                Mode::Constrained | Mode::Generate => (PASS_LOGITS / model.vocabulary().max(1)).clamp(64, 512),
                Mode::Head => 512,
            },
            exact: config.exact_kv,
            pooling: match mode {
                Mode::Constrained | Mode::Generate => Pooling::Logits,
                Mode::Head => Pooling::Asked,
            },
            long: super::away::LONG,
            contexts: if shared { 1 } else { config.contexts },
        };
        let set = Set { list: adapters, head: head.map(Arc::new) };
        Ok(LmRecommender {
            name: format!("language model, {}", mode.name()),
            model,
            prompter,
            trie: RwLock::new(Arc::new(trie)),
            titles: RwLock::new(titles),
            adapters: Switch::new(set),
            cache: PrefixCache::new(config.cache_bytes),
            pool: Pool::new(config.contexts),
            lane,
            telling,
            shared,
            hub: Mutex::new(None),
            mode,
            config: config.clone(),
        })
    }

    /// The same under another name in reports.
    pub fn named(mut self, name: impl Into<String>) -> LmRecommender {
        self.name = name.into();
        self
    }
    /// How it ranks.
    pub fn mode(&self) -> Mode {
        self.mode
    }
    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }
    /// Bytes of computed prompts held now.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }
    /// The titles of the catalogue as it is now.
    pub(super) fn titles(&self) -> Arc<Titles> {
        self.titles.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// The catalogue trie as it is now.
    pub fn trie(&self) -> Arc<Trie> {
        self.trie.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers a conversation with at most `top_k` items, none of `masked` (sorted item rows).
    ///
    /// Past `recommend.timeout_ms` the answer holds what is finished and says so. [`Run::cancel`] ends the request within
    /// 100 ms, whatever is being computed for it: a long pass is left to end by itself.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`]; those of the prompt.
    pub fn answer(&self, conversation: &Conversation, masked: &[u32], top_k: usize, run: &Run) -> Result<LmAnswer> {
        let deadline = match self.config.timeout_ms {
            0 => None,
            ms => Instant::now().checked_add(Duration::from_millis(ms)),
        };
        self.answer_until(conversation, masked, top_k, deadline, run)
    }

    /// [`LmRecommender::answer`] with a deadline of the caller's.
    ///
    /// # Errors
    /// As [`LmRecommender::answer`].
    pub fn answer_until(
        &self,
        conversation: &Conversation,
        masked: &[u32],
        top_k: usize,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<LmAnswer> {
        run.check()?;
        let mut answer = LmAnswer { generation: self.adapters.current().generation(), ..LmAnswer::default() };
        if top_k == 0 {
            return Ok(answer);
        }
        let late = || deadline.is_some_and(|d| Instant::now() >= d);
        let result = match self.mode {
            Mode::Constrained => self.constrained(conversation, masked, top_k, deadline, &mut answer, run),
            Mode::Generate => self.generate(conversation, masked, top_k, deadline, &mut answer, run),
            Mode::Head => self.by_head(conversation, masked, top_k, deadline, &mut answer, run),
        };
        match result {
            Ok(()) => Ok(answer),
            Err(e) if e.kind() == ErrorKind::Cancelled && late() && !run.is_cancelled() => {
                answer.partial = true;
                answer.exact = false;
                Ok(answer)
            }
            Err(e) => Err(e),
        }
    }

    /// A lane with the prompt of `conversation` in it.
    pub(super) fn prompted(
        &self,
        adapters: &Arc<Adapters>,
        prompt: &Prompt,
        wants: &[u32],
        deadline: Option<Instant>,
        answer: &mut LmAnswer,
        run: &Run,
    ) -> Result<(Loan<'_>, Row)> {
        if prompt.truncated && !answer.truncated {
            answer.truncated = true;
            log(Level::Info, "recommend: a conversation longer than the context; its oldest part was not read");
        }
        answer.generation = adapters.generation();
        answer.prompt_tokens = prompt.tokens.len();
        let mut lane = self.pool.take(
            |lane| lane.shared(adapters.generation(), &prompt.tokens),
            || self.new_lane(run),
            deadline,
            run,
        )?;
        let prefilled = lane.prefill(adapters, prompt.view(), wants, &self.cache, deadline, run)?;
        answer.reused_tokens = prefilled.reused;
        Ok((lane, prefilled.row))
    }

    fn new_lane(&self, run: &Run) -> Result<Lane> {
        if !self.shared {
            return Ok(Lane::new(Box::new(Alone::new(&self.model, &self.lane, run)?), self.lane));
        }
        let mut hub = self.hub.lock().unwrap_or_else(PoisonError::into_inner);
        let hub = match hub.as_ref() {
            Some(hub) => hub.clone(),
            None => hub.insert(Arc::new(Hub::new(&self.model, &self.lane, self.config.contexts, run)?)).clone(),
        };
        Ok(Lane::new(Box::new(hub.client()?), self.lane))
    }

    fn constrained(
        &self,
        conversation: &Conversation,
        masked: &[u32],
        top_k: usize,
        deadline: Option<Instant>,
        answer: &mut LmAnswer,
        run: &Run,
    ) -> Result<()> {
        let trie = self.trie();
        let mut allowed = trie.allowed(masked);
        let wanted = top_k.min(trie.live());
        if allowed.count() == 0 {
            answer.exact = true;
            return Ok(());
        }
        let prompt = self.prompter.prompt(conversation, true)?;
        let adapters = self.adapters.current();
        let mut root: Vec<u32> = trie.children(&trie.root(), &allowed).map(|(token, _)| token).collect();
        let (mut lane, row) = self.prompted(&adapters, &prompt, &root, deadline, answer, run)?;
        let mut first = row.values;
        if first.iter().any(|p| p.is_nan()) {
            let path = self.model.header().path();
            return Err(Error::format(path, 0, "the model's logits are NaN: its weights are broken"));
        }
        lane.remember(prompt.view(), &self.cache)?;
        let late = || deadline.is_some_and(|d| Instant::now() >= d);
        let mut found: Vec<ScoredTitle> = Vec::new();
        let mut width = width_of(&self.config, wanted);
        answer.exact = true;
        if allowed.count() <= self.config.exact_items {
            let titles: Vec<u32> = allowed.within(trie.root().titles).collect();
            let of = |token: u32| root.binary_search(&token).map_or(f32::NEG_INFINITY, |at| first[at]);
            let mut session = lane.session(&adapters, deadline, run);
            let done = |title, log_probability| found.push(ScoredTitle { title, log_probability });
            let result = score_titles(&mut session, &trie, &titles, self.telling, &of, done);
            match result {
                Err(e) if e.kind() == ErrorKind::Cancelled && late() => answer.partial = true,
                other => other?,
            }
        } else {
            loop {
                let pairs: Vec<(u32, f32)> = root.iter().copied().zip(first.iter().copied()).collect();
                let options =
                    BeamOptions { width, top_k: wanted, length_power: self.config.length_power, telling: self.telling };
                let mut session = lane.session(&adapters, deadline, run);
                match beam(&mut session, &trie, &allowed, &pairs, options, &late) {
                    Ok(search) => {
                        answer.partial |= search.partial;
                        answer.exact &= search.exact;
                        answer.passes += search.passes;
                        answer.searched_tokens += search.tokens;
                        found.extend(search.found);
                    }
                    // The context is full: titles longer than most.
                    Err(e) if e.kind() == ErrorKind::Memory && width > 1 => {
                        width /= 2;
                        lane.prefill(&adapters, prompt.view(), &[], &self.cache, deadline, run)?;
                        continue;
                    }
                    Err(e) => return Err(e),
                }
                // A beam narrower than the answer: search again among what is left.
                let some = rank_found(&trie, &found, self.config.length_power, self.telling);
                if some.len() >= wanted || answer.partial {
                    break;
                }
                let mut left_out: Vec<u32> = masked.to_vec();
                left_out.extend(some.iter().map(|i| i.item));
                left_out.sort_unstable();
                left_out.dedup();
                allowed = trie.allowed(&left_out);
                if allowed.count() == 0 {
                    break;
                }
                answer.exact = false;
                let mut kept = Vec::new();
                let now: Vec<u32> = trie.children(&trie.root(), &allowed).map(|(token, _)| token).collect();
                for token in &now {
                    if let Ok(at) = root.binary_search(token) {
                        kept.push(first[at]);
                    }
                }
                (root, first) = (now, kept);
            }
        }
        answer.exact &= !answer.partial;
        answer.items = rank_found(&trie, &found, self.config.length_power, self.telling);
        answer.items.truncate(top_k);
        Ok(())
    }

    /// Ranks the items `rows` that the caller has, best first, each with its log-probability.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] in another mode than `constrained`, and for rows beyond the catalogue or removed;
    /// [`ErrorKind::Cancelled`].
    pub fn rerank(&self, conversation: &Conversation, rows: &[u32], run: &Run) -> Result<LmAnswer> {
        match self.mode {
            Mode::Constrained => {}
            Mode::Generate | Mode::Head => {
                return Err(Error::invalid("a list is reranked with recommend.mode = constrained"));
            }
        }
        let trie = self.trie();
        let mut answer = LmAnswer { exact: true, ..LmAnswer::default() };
        let mut titles = Vec::new();
        for row in rows {
            let of_it = trie.titles_of(*row);
            if of_it.is_empty() || trie.is_removed(*row) {
                return Err(Error::invalid(format!("item row {row} is not in the catalogue")));
            }
            titles.extend_from_slice(of_it);
        }
        titles.sort_unstable();
        titles.dedup();
        if titles.is_empty() {
            return Ok(answer);
        }
        let prompt = self.prompter.prompt(conversation, true)?;
        let adapters = self.adapters.current();
        let mut wants: Vec<u32> = titles.iter().filter_map(|t| trie.tokens(*t).first().copied()).collect();
        wants.sort_unstable();
        wants.dedup();
        let (mut lane, row) = self.prompted(&adapters, &prompt, &wants, None, &mut answer, run)?;
        let first = row.values;
        lane.remember(prompt.view(), &self.cache)?;
        let of = |token: u32| wants.binary_search(&token).map_or(f32::NEG_INFINITY, |at| first[at]);
        let mut found = Vec::new();
        let mut session = lane.session(&adapters, None, run);
        score_titles(&mut session, &trie, &titles, self.telling, &of, |title, log_probability| {
            found.push(ScoredTitle { title, log_probability });
        })?;
        answer.items = rank_found(&trie, &found, self.config.length_power, self.telling);
        Ok(answer)
    }

    /// The adapter generation that serves now.
    pub fn generation(&self) -> u64 {
        self.adapters.current().generation()
    }
    /// Loads adapters (files with scales) and puts them in the place of generation `expected`; gives the new number.
    /// Requests in flight finish with the adapters they started with; none fails. In mode `head` the ranking head beside
    /// the adapter (beside the model, where there is none) comes along: it reads the states of no other weights.
    ///
    /// # Errors
    /// Those of [`Adapter::load`] and of the head, with nothing changed; [`ErrorKind::Invalid`] for a scale that is not
    /// finite, for several adapters in mode `head`, or when generation `expected` does not serve any more.
    pub fn swap_adapters(&self, expected: u64, adapters: &[(&Path, f32)]) -> Result<u64> {
        // All is read before the exchange, and while it is, answers go on.
        let load = |(path, scale): &(&Path, f32)| Ok((Adapter::load(&self.model, path)?, finite(*scale)?));
        let tuned = match (self.mode, adapters) {
            (Mode::Constrained | Mode::Generate, _) => None,
            (Mode::Head, []) => Some(self.model.header().path()),
            (Mode::Head, [(path, _)]) => Some(*path),
            (Mode::Head, _) => return Err(Error::invalid("a ranking head belongs to one adapter, not to several")),
        };
        let (list, head) = std::thread::scope(|scope| {
            let read =
                |tuned| std::thread::Builder::new().spawn_scoped(scope, move || super::state_head::beside(tuned));
            let head = tuned.map(read);
            let list = adapters.iter().map(load).collect::<Result<Vec<_>>>();
            let head = head.map(|thread| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err(Error::bug("reading a ranking head panicked"))),
                Err(e) => Err(Error::new(ErrorKind::Io, format!("cannot start a thread to read a ranking head: {e}"))),
            });
            (list, head.transpose())
        });
        let (list, head) = (list?, head?);
        if let (Some(head), Some(now)) = (&head, self.adapters.current().head())
            && (head.ids() != now.ids() || head.text_dim() != now.text_dim())
        {
            return Err(Error::invalid("the ranking head beside this adapter is of another catalogue or model"));
        }
        let generation = self.adapters.swap(expected, Set { list, head: head.map(Arc::new) })?;
        self.cache.forget_before(generation);
        Ok(generation)
    }
    /// Puts the adapters before generation `expected` back, under a new number.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when generation `expected` does not serve any more, or nothing served before it.
    pub fn roll_back_adapters(&self, expected: u64) -> Result<u64> {
        let generation = self.adapters.roll_back(expected)?;
        self.cache.forget_before(generation);
        Ok(generation)
    }

    /// Adds items of a catalogue that has grown (rows of `items`, its `titles`), or puts removed ones back; visible from the next
    /// request on. Rows that are neither there yet nor among `rows` stay out.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for rows beyond `items`, or in mode `head`, whose head has a catalogue of its own.
    pub fn add_items(&self, items: &Items, titles: Arc<Titles>, rows: &[u32], run: &Run) -> Result<()> {
        if let Some(row) = rows.iter().find(|r| **r as usize >= items.len()) {
            return Err(Error::invalid(format!("item row {row} of {}", items.len())));
        }
        let surfaces = match self.mode {
            Mode::Constrained => {
                Speller::new(self.prompter.chat(), &self.config.answer_start)?.surfaces(items, rows, run)?
            }
            // What it names is looked up in `titles`; the trie only says which items are there.
            Mode::Generate => Surfaces::default(),
            Mode::Head => {
                return Err(Error::invalid(
                    "an item joins a ranking head by its own vector: tune again with the grown catalogue, or add items \
                     with recommend.mode = constrained or generate",
                ));
            }
        };
        let mut trie = self.trie.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = trie.with(surfaces, items.len(), run)?;
        let mut asked = rows.to_vec();
        asked.sort_unstable();
        let beyond = trie.items() as u32..items.len() as u32;
        let missing: Vec<u32> = beyond.filter(|row| asked.binary_search(row).is_err()).collect();
        next.remove(&missing);
        next.restore(rows);
        *trie = Arc::new(next);
        *self.titles.write().unwrap_or_else(PoisonError::into_inner) = titles;
        Ok(())
    }
    /// Takes items out of the catalogue; from the next request on they are not named.
    pub fn remove_items(&self, rows: &[u32]) {
        let mut trie = self.trie.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut trie).remove(rows);
    }
}

fn finite(scale: f32) -> Result<f32> {
    if scale.is_finite() { Ok(scale) } else { Err(Error::invalid("an adapter's scale must be finite")) }
}

/// Nodes kept per round for an answer of `top_k` items: a quarter more, so that a title with a dull first word is
/// not lost at once.
pub(super) fn width_of(config: &RecommendConfig, top_k: usize) -> usize {
    match config.beam {
        0 => (top_k + top_k / 4).max(8),
        beam => beam,
    }
}

/// Items of the found titles, best first. An item found under several names has the sum of their probabilities.
pub(super) fn rank_found(trie: &Trie, found: &[ScoredTitle], power: f64, telling: bool) -> Vec<LmItem> {
    let mut found = found.to_vec();
    found.sort_unstable_by_key(|f| (trie.item(f.title), f.title));
    found.dedup_by_key(|f| f.title);
    let mut items: Vec<(LmItem, f64)> = Vec::with_capacity(found.len());
    for names in found.chunk_by(|a, b| trie.item(a.title) == trie.item(b.title)) {
        let top = names.iter().map(|f| f.log_probability).fold(f64::NEG_INFINITY, f64::max);
        let total = match names {
            [one] => one.log_probability,
            _ => top + names.iter().map(|f| (f.log_probability - top).exp()).sum::<f64>().ln(),
        };
        let tokens = names.iter().map(|f| trie.ranked_tokens(f.title, telling).len()).min().unwrap_or(1);
        let score = length_score(total, tokens, power);
        if score.is_nan() || total == f64::NEG_INFINITY {
            continue;
        }
        let item = trie.item(names[0].title);
        items.push((LmItem { item, score: score as f32, log_probability: Some(total as f32) }, score));
    }
    items.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.item.cmp(&b.0.item)));
    items.into_iter().map(|(item, _)| item).collect()
}

impl LmRecommender {
    /// `answer` for every conversation. With several contexts each works on one thread: nobody waits for anybody, where
    /// threads that share a small model's layers wait most of the time.
    fn each(
        &self,
        conversations: &[&Conversation],
        run: &Run,
        answer: impl Fn(usize, &Conversation, &Run) -> Result<LmAnswer> + Sync,
    ) -> Result<Vec<LmAnswer>> {
        let total = conversations.len() as u64;
        let workers = self.config.contexts.min(run.threads());
        if workers < 2 || conversations.len() < 2 {
            let mut answers = Vec::with_capacity(conversations.len());
            for (at, conversation) in conversations.iter().enumerate() {
                run.step("recommend", "conversations", at as u64, total)?;
                answers.push(answer(at, conversation, run)?);
            }
            return Ok(answers);
        }
        let one = Run::new(1)?.cancelled_by(run.cancel_flag());
        let mut answers = Vec::with_capacity(conversations.len());
        for (window, chunk) in conversations.chunks(WINDOW).enumerate() {
            let first = window * WINDOW;
            run.step("recommend", "conversations", first as u64, total)?;
            // Threads of their own: a worker of a pool that waits inside an answer takes up another one, and that one
            // would wait for the context that the first still holds.
            let next = AtomicUsize::new(0);
            let worker = || {
                let mut found = Vec::new();
                while let Some((at, conversation)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    chunk.get(at).map(|c| (at, c))
                } {
                    found.push((at, answer(first + at, conversation, &one)));
                }
                found
            };
            let mut found = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..workers.min(chunk.len())).map(|_| scope.spawn(worker)).collect();
                let joined = workers.into_iter().map(|w| w.join().map_err(|_| Error::bug("an answer panicked")));
                joined.collect::<Result<Vec<_>>>()
            })?
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
            found.sort_unstable_by_key(|(at, _)| *at);
            answers.extend(found.into_iter().map(|(_, answer)| answer).collect::<Result<Vec<_>>>()?);
        }
        Ok(answers)
    }
}

impl Recommender for LmRecommender {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn items(&self) -> usize {
        self.trie().items()
    }
    /// The weights (all of the mapped file), the trie, the computed prompts; not the contexts.
    fn bytes(&self) -> u64 {
        self.model.header().file_bytes() + self.trie().bytes() as u64 + self.cached_bytes()
    }
    fn language_model(self: Arc<Self>) -> Option<Arc<LmRecommender>> {
        Some(self)
    }
    /// Scores of the items that the search reached; all others have `-inf`.
    fn score(&self, conversations: &[&Conversation], run: &Run) -> Result<Matrix> {
        let answers = self.each(conversations, run, |_, conversation, run| {
            // What was seen is taken out of the ranking later: so many more are asked for.
            let seen = self.titles().of_conversation(conversation).len();
            self.answer(conversation, &[], self.config.top_k + seen, run)
        })?;
        let mut scores = Matrix::zeros(conversations.len(), self.items());
        scores.data_mut().fill(f32::NEG_INFINITY);
        for (row, answer) in answers.iter().enumerate() {
            let row = scores.row_mut(row);
            for found in &answer.items {
                if let Some(score) = row.get_mut(found.item as usize) {
                    *score = found.score;
                }
            }
        }
        Ok(scores)
    }
    fn rank_all(
        &self,
        conversations: &[&Conversation],
        masked: &[Vec<u32>],
        top_k: usize,
        run: &Run,
    ) -> Result<Vec<Vec<Ranked>>> {
        let answers = self.each(conversations, run, |at, conversation, run| {
            self.answer(conversation, masked.get(at).map_or(&[], Vec::as_slice), top_k, run)
        })?;
        if answers.iter().any(|a| a.partial) {
            log(Level::Warn, "recommend: the time was over; an answer holds what was finished by then");
        }
        let ranked = |answer: &LmAnswer| answer.items.iter().map(|i| Ranked { item: i.item, score: i.score }).collect();
        Ok(answers.iter().map(ranked).collect())
    }
}
