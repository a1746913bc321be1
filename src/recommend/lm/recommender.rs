//! The language model as a recommender: a conversation in, items of the catalogue out.

use super::adapters::{Adapters, Set, Switch};
use super::answer::{LmAnswer, Mode};
use super::beam::width_of;
use super::cache::PrefixCache;
use super::catalogue::Speller;
use super::engine::{Alone, LaneOptions};
use super::head_file;
use super::hub::Hub;
use super::lane::Lane;
use super::pool::{Loan, Pool};
use super::prompt::{Prompt, Prompter};
use super::session::Row;
use super::trie::{Surfaces, Trie};
use crate::config::{Batching, RankedBy, RecommendConfig};
use crate::dataset::{Conversation, Items};
use crate::error::{Error, ErrorKind, Result};
use crate::llama::{Adapter, Model, Pooling};
use crate::math::Matrix;
use crate::recommend::{LanguageModel, QueryWindow, Ranking, Recommender, TokenCount};
use crate::run::{Level, Run, log};
use crate::titles::Titles;
use crate::tune::Head;
use crate::tune::lm::Chat;
use std::ops::Range;
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

/// A scale that is a number.
pub(super) fn finite(scale: f32) -> Result<f32> {
    if scale.is_finite() { Ok(scale) } else { Err(Error::invalid("an adapter's scale must be finite")) }
}

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
        let mode = config.mode;
        let head = match mode {
            Mode::Head => Some(head_file::beside(adapter.map_or(model, |(path, _)| path))?),
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
        let mode = config.mode;
        if items.is_empty() {
            return Err(Error::invalid("recommend: the catalogue is empty; import items first"));
        }
        if model.is_encoder() {
            let path = model.header().path().display();
            return Err(Error::invalid(format!("{path}: an encoder: it embeds texts, it cannot name items")));
        }
        match (mode, &head) {
            (Mode::Head, None) => return Err(Error::invalid("recommend.mode = head without a ranking head")),
            (Mode::Head, Some(head)) => head_file::check(head, &model, items)?,
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
        let shared = config.batching == Batching::Shared;
        let telling = config.ranked_by == RankedBy::Telling;
        let width = width_of(config, config.top_k);
        let longest = trie.longest().max(1);
        let limit = config.context_tokens.min(model.trained_context().saturating_sub(longest));
        let prompter = Prompter::new(chat, QueryWindow::from_config(config), lead, limit)?;
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
            name: format!("language model, {mode}"),
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
    /// Looks names up in another catalogue's titles from now on.
    pub(super) fn set_titles(&self, titles: Arc<Titles>) {
        *self.titles.write().unwrap_or_else(PoisonError::into_inner) = titles;
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
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Vec<Ranking>> {
        let answers = self.each(conversations, run, |at, conversation, run| {
            let masked = masked.get(at).map_or(&[][..], Vec::as_slice);
            match deadline {
                None => self.answer(conversation, masked, top_k, run),
                Some(_) => self.answer_until(conversation, masked, top_k, deadline, run),
            }
        })?;
        if answers.iter().any(|a| a.partial) {
            log(Level::Warn, "recommend: the time was over; an answer holds what was finished by then");
        }
        let ranking = |answer: LmAnswer| Ranking {
            items: answer.items,
            partial: answer.partial,
            window: answer.truncated.then(|| {
                "the latest words that fit into recommend.context_turns, .context_chars and .context_tokens".to_string()
            }),
            tokens: TokenCount { read: answer.prompt_tokens as u64, written: answer.searched_tokens as u64 },
        };
        Ok(answers.into_iter().map(ranking).collect())
    }
    fn with_items(
        self: Arc<Self>,
        items: &Items,
        fresh: Range<usize>,
        titles: &Arc<Titles>,
        run: &Run,
    ) -> Result<Arc<dyn Recommender>> {
        let rows: Vec<u32> = (fresh.start as u32..fresh.end as u32).collect();
        self.add_items(items, titles.clone(), &rows, run)?;
        Ok(self)
    }
    fn language_model(&self) -> Option<&dyn LanguageModel> {
        Some(self)
    }
}
