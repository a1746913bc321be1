//! A place for one request at a time: a prompt in sequence 0, a search in the others.
//!
//! A prompt is computed in chunks whose borders depend on its tokens alone (the instruction's end, then every [`CHUNK`]
//! tokens), and reuse stops at a border, or has the whole prompt with the row behind it. So, with an engine of its own, the same request has the same bits, whether its
//! beginning was computed before or not.

use super::adapters::Adapters;
use super::cache::{End, PrefixCache, common};
use super::engine::{Engine, LaneOptions};
use super::session::{Row, Session, Step, StepToken};
use crate::error::{Error, Result};
use crate::run::Run;
use std::sync::Arc;
use std::time::Instant;

/// Tokens of a prompt that are computed at once, and the grain of reuse.
pub const CHUNK: usize = 64;

/// An engine with what its sequence 0 holds.
pub struct Lane {
    engine: Box<dyn Engine>,
    options: LaneOptions,
    generation: Option<u64>,
    /// Tokens whose keys and values sequence 0 holds.
    held: Vec<u32>,
    /// What was computed behind the last of them.
    end: Option<Arc<End>>,
}

/// A prompt that was computed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prefilled {
    /// Tokens that were there.
    pub reused: usize,
    /// What was wanted behind the last token.
    pub row: Row,
}

/// A prompt with the place where its instruction ends.
#[derive(Debug, Clone, Copy)]
pub struct PromptTokens<'a> {
    /// All tokens.
    pub tokens: &'a [u32],
    /// So many first tokens are the same in every prompt.
    pub instruction: usize,
}

impl PromptTokens<'_> {
    /// The borders at which a prompt may be cut, ascending; the last one is before its last token.
    fn borders(&self) -> impl Iterator<Item = usize> {
        let last = self.tokens.len().saturating_sub(1);
        let first = self.instruction.min(last);
        std::iter::once(0).chain((first..=last).step_by(CHUNK)).filter(move |b| *b <= last)
    }
}

impl Lane {
    /// A lane on `engine`.
    pub fn new(engine: Box<dyn Engine>, options: LaneOptions) -> Lane {
        Lane { engine, options, generation: None, held: Vec::new(), end: None }
    }

    /// How much of a prompt is here already.
    pub fn shared(&self, generation: u64, tokens: &[u32]) -> usize {
        if self.generation == Some(generation) { common(&self.held, tokens) } else { 0 }
    }

    fn forget(&mut self) {
        self.engine.forget();
        self.held.clear();
        self.end = None;
    }

    /// Puts the prompt into sequence 0; gives what is wanted behind its last token.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a prompt that does not fit; [`crate::ErrorKind::Cancelled`].
    pub fn prefill(
        &mut self,
        adapters: &Arc<Adapters>,
        prompt: PromptTokens,
        wants: &[u32],
        cache: &PrefixCache,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Prefilled> {
        let tokens = prompt.tokens;
        if tokens.is_empty() || tokens.len() > self.options.prompt_tokens {
            return Err(Error::invalid(format!(
                "a prompt of {} tokens, {} fit; raise recommend.context_tokens",
                tokens.len(),
                self.options.prompt_tokens
            )));
        }
        if self.generation != Some(adapters.generation()) {
            self.forget();
            self.generation = Some(adapters.generation());
        }
        if let Some(row) = self.again(adapters.generation(), tokens, wants, cache)? {
            return Ok(Prefilled { reused: tokens.len(), row });
        }
        let at_border = |shared: usize| prompt.borders().take_while(|b| *b <= shared).last().unwrap_or(0);
        let mut from = at_border(common(&self.held, tokens));
        if let Some(known) = cache.find(adapters.generation(), tokens, from)
            && at_border(common(&known.tokens, tokens)) > from
        {
            self.forget();
            if self.engine.restore(&known.state)? {
                self.held = known.tokens.to_vec();
                from = at_border(common(&known.tokens, tokens));
            } else {
                from = 0;
            }
        }
        if from == 0 || !self.engine.keep(from) {
            self.forget();
            from = 0;
        }
        self.held.truncate(from);
        self.end = None;
        let result = self.compute(adapters, prompt, wants, cache, deadline, run);
        match &result {
            Ok(row) => self.end = Some(Arc::new(End { wants: wants.to_vec(), row: row.clone() })),
            Err(_) => self.forget(),
        }
        result.map(|row| Prefilled { reused: from, row })
    }

    /// The row behind a prompt that is here, or in the cache, as a whole.
    fn again(&mut self, generation: u64, tokens: &[u32], wants: &[u32], cache: &PrefixCache) -> Result<Option<Row>> {
        if self.held == tokens
            && let Some(row) = self.end.as_ref().and_then(|end| end.row_of(wants))
            && self.engine.keep(tokens.len())
        {
            return Ok(Some(row));
        }
        if let Some((state, end)) = cache.whole(generation, tokens)
            && let Some(row) = end.row_of(wants)
        {
            self.forget();
            if self.engine.restore(&state)? {
                self.held = tokens.to_vec();
                self.end = Some(end);
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn compute(
        &mut self,
        adapters: &Arc<Adapters>,
        prompt: PromptTokens,
        wants: &[u32],
        cache: &PrefixCache,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Row> {
        let tokens = prompt.tokens;
        let mut start = self.held.len();
        let ends: Vec<usize> = prompt.borders().filter(|b| *b > start).chain([tokens.len()]).collect();
        let mut row = Row::default();
        for end in ends {
            let of = |at: usize| StepToken {
                token: tokens[at],
                position: at,
                sequences: 0..1,
                wants: (at + 1 == tokens.len()).then(|| wants.to_vec()),
            };
            let step = Step { tokens: (start..end).map(of).collect(), ..Step::default() };
            row = self.engine.step(adapters, &step, deadline, run)?.pop().unwrap_or_default();
            self.held.extend_from_slice(&tokens[start..end]);
            if end == prompt.instruction && end < tokens.len() {
                let engine = &mut self.engine;
                cache.put(adapters.generation(), &tokens[..end], prompt.instruction, None, || engine.save())?;
            }
            start = end;
        }
        Ok(row)
    }

    /// Remembers the prompt for requests to come, on any lane.
    ///
    /// # Errors
    /// Those of [`Engine::save`].
    pub fn remember(&mut self, prompt: PromptTokens, cache: &PrefixCache) -> Result<()> {
        let (Some(generation), true) = (self.generation, self.held == prompt.tokens) else { return Ok(()) };
        let (engine, end) = (&mut self.engine, self.end.clone());
        cache.put(generation, prompt.tokens, prompt.instruction, end, || engine.save())
    }

    /// Goes on by one token at `position` behind the prompt, which is forgotten at the next prompt; gives the likeliest
    /// token behind it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`]; [`crate::ErrorKind::Memory`] when the context is full.
    pub fn advance(
        &mut self,
        adapters: &Arc<Adapters>,
        token: u32,
        position: usize,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<u32> {
        let token = StepToken { token, position, sequences: 0..1, wants: Some(Vec::new()) };
        let step = Step { tokens: vec![token], ..Step::default() };
        match self.engine.step(adapters, &step, deadline, run) {
            Ok(rows) => Ok(rows.first().map_or(0, |row| row.best)),
            Err(e) => {
                self.forget();
                Err(e)
            }
        }
    }

    /// The search's view of the lane.
    pub fn session<'a>(
        &'a mut self,
        adapters: &'a Arc<Adapters>,
        deadline: Option<Instant>,
        run: &'a Run,
    ) -> LaneSession<'a> {
        LaneSession { lane: self, adapters, deadline, run }
    }
}

/// A lane with its prompt, as a search sees it.
pub struct LaneSession<'a> {
    lane: &'a mut Lane,
    adapters: &'a Arc<Adapters>,
    deadline: Option<Instant>,
    run: &'a Run,
}

impl Session for LaneSession<'_> {
    fn sequences(&self) -> usize {
        self.lane.engine.sequences()
    }
    fn batch_tokens(&self) -> usize {
        self.lane.options.batch_tokens
    }
    fn room(&self) -> usize {
        self.lane.options.search_tokens
    }
    fn prompt_tokens(&self) -> usize {
        self.lane.held.len()
    }
    fn step(&mut self, step: &Step) -> Result<Vec<Row>> {
        let result = self.lane.engine.step(self.adapters, step, self.deadline, self.run);
        if result.is_err() {
            // What a broken pass left in the cells is not known.
            self.lane.forget();
        }
        result
    }
}
