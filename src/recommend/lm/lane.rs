//! One llama.cpp context at work for one request at a time: a prompt in sequence 0, a search in the others.
//!
//! Bit-stable: a prompt is computed in chunks whose borders depend on its tokens alone (the instruction's end, then every
//! [`CHUNK`] tokens), reuse stops at a border, the cells of the cache are filled from the first one on, and nobody else's
//! tokens are in the batch. So the same request has the same bits, whether its beginning was cached or not.

use super::adapters::Adapters;
use super::cache::{PrefixCache, common};
use super::session::{Session, Step, log_probabilities};
use crate::error::{Error, Result};
use crate::llama::{Batch, Context, ContextOptions, Model, Pooling, Token};
use crate::run::Run;
use rayon::prelude::*;
use std::time::Instant;

/// Tokens of a prompt that are computed at once, and the grain of reuse.
pub const CHUNK: usize = 64;

/// The sizes of a lane.
#[derive(Debug, Clone, Copy)]
pub struct LaneOptions {
    /// Tokens of a prompt at most.
    pub prompt_tokens: usize,
    /// Tokens that a search may hold at once.
    pub search_tokens: usize,
    /// Sequences of a search, and the prompt's.
    pub sequences: usize,
    /// Tokens of a forward pass.
    pub batch_tokens: usize,
    /// Keys and values in f32.
    pub exact: bool,
    /// Logits, or the last hidden state.
    pub pooling: Pooling,
}

/// A context with what its sequence 0 holds.
pub struct Lane {
    context: Context,
    options: LaneOptions,
    generation: Option<u64>,
    /// Tokens whose keys and values sequence 0 holds.
    held: Vec<u32>,
    /// Place of the prompt's last token in the batch it was computed in.
    last: usize,
}

/// What computing a prompt took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prefilled {
    /// Tokens that were there.
    pub reused: usize,
    /// Tokens computed now.
    pub computed: usize,
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
    /// A context of `model`.
    ///
    /// # Errors
    /// Those of [`Context::new`].
    pub fn new(model: &Model, options: LaneOptions, run: &Run) -> Result<Lane> {
        let context = ContextOptions {
            tokens: options.prompt_tokens + options.search_tokens,
            batch_tokens: options.batch_tokens,
            sequences: options.sequences,
            pooling: options.pooling,
            exact: options.exact,
        };
        let context = Context::new(model, context, run)?;
        Ok(Lane { context, options, generation: None, held: Vec::new(), last: 0 })
    }

    /// How much of a prompt is here already.
    pub fn shared(&self, generation: u64, tokens: &[u32]) -> usize {
        if self.generation == Some(generation) { common(&self.held, tokens) } else { 0 }
    }

    /// Puts the adapters of a generation on.
    fn wear(&mut self, adapters: &Adapters) -> Result<()> {
        if self.generation != Some(adapters.generation()) {
            self.generation = None;
            self.held.clear();
            self.context.set_adapters(adapters.list())?;
            self.generation = Some(adapters.generation());
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.context.forget_all();
        self.held.clear();
    }

    /// Puts the prompt into sequence 0; the outputs of its last token stand ready.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a prompt that does not fit; [`crate::ErrorKind::Cancelled`].
    pub fn prefill(
        &mut self,
        adapters: &Adapters,
        prompt: PromptTokens,
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
        self.wear(adapters)?;
        let at_border = |shared: usize| prompt.borders().take_while(|b| *b <= shared).last().unwrap_or(0);
        let mut from = at_border(common(&self.held, tokens));
        if let Some(known) = cache.find(adapters.generation(), tokens, from)
            && at_border(common(&known.tokens, tokens)) > from
        {
            self.forget();
            if self.context.restore_sequence(0, &known.state)? {
                self.held = known.tokens.to_vec();
                from = at_border(common(&known.tokens, tokens));
            } else {
                self.forget();
                from = 0;
            }
        }
        if from == 0 || !self.context.forget_from(0, from) {
            self.forget();
            from = 0;
        }
        self.held.truncate(from);
        let computed = tokens.len() - from;
        let result = self.compute(adapters.generation(), prompt, from, cache, deadline, run);
        if result.is_err() {
            self.forget();
        }
        result.map(|()| Prefilled { reused: from, computed })
    }

    fn compute(
        &mut self,
        generation: u64,
        prompt: PromptTokens,
        from: usize,
        cache: &PrefixCache,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<()> {
        let tokens = prompt.tokens;
        let ends: Vec<usize> = prompt.borders().filter(|b| *b > from).chain([tokens.len()]).collect();
        let mut start = from;
        for end in ends {
            // A chunk may still be more than a batch: the instruction, or a small batch.
            let mut at = start;
            for some in tokens[start..end].chunks(self.context.batch_tokens()) {
                let mut batch = Batch::default();
                for token in some {
                    batch.push(token_of(*token)?, at, 0, at + 1 == tokens.len());
                    at += 1;
                }
                self.context.run_batch_until(&batch, deadline, run)?;
                self.last = batch.len() - 1;
            }
            self.held.extend_from_slice(&tokens[start..end]);
            if end == prompt.instruction && end < tokens.len() {
                let context = &mut self.context;
                cache.put(generation, &tokens[..end], prompt.instruction, || context.save_sequence(0))?;
            }
            start = end;
        }
        Ok(())
    }

    /// Remembers the prompt for requests to come, on any lane.
    ///
    /// # Errors
    /// Those of [`Context::save_sequence`].
    pub fn remember(&mut self, prompt: PromptTokens, cache: &PrefixCache) -> Result<()> {
        let (Some(generation), true) = (self.generation, self.held == prompt.tokens) else { return Ok(()) };
        let context = &mut self.context;
        cache.put(generation, prompt.tokens, prompt.instruction, || context.save_sequence(0))
    }

    /// The last hidden state of the prompt just computed: `[width]`. Only of a lane with [`Pooling::Last`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when there is none.
    pub fn hidden(&mut self) -> Result<Vec<f32>> {
        Ok(self.context.pooled(0)?.to_vec())
    }

    /// Log-probabilities of `wants` behind the prompt just computed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when no prompt was computed.
    pub fn first(&mut self, wants: &[u32]) -> Result<Vec<f32>> {
        let last = self.last;
        Ok(log_probabilities(self.context.logits(last)?, wants))
    }

    /// Logits behind the prompt just computed, `[vocabulary]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when no prompt was computed.
    pub fn logits(&mut self) -> Result<&[f32]> {
        let last = self.last;
        self.context.logits(last)
    }

    /// Goes on behind what sequence 0 holds by one token, which is forgotten at the next prompt; its logits are
    /// [`Lane::logits`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`]; [`crate::ErrorKind::Memory`] when the context is full.
    pub fn advance(&mut self, token: u32, position: usize, deadline: Option<Instant>, run: &Run) -> Result<()> {
        let mut batch = Batch::default();
        batch.push(token_of(token)?, position, 0, true);
        let result = self.context.run_batch_until(&batch, deadline, run);
        self.last = 0;
        if result.is_err() {
            self.forget();
        }
        result
    }

    /// The search's view of the lane.
    pub fn session<'a>(&'a mut self, deadline: Option<Instant>, run: &'a Run) -> LaneSession<'a> {
        LaneSession { lane: self, deadline, run }
    }
}

fn token_of(token: u32) -> Result<Token> {
    Token::try_from(token).map_err(|_| Error::bug(format!("token {token}")))
}

/// A lane with its prompt, as a search sees it.
pub struct LaneSession<'a> {
    lane: &'a mut Lane,
    deadline: Option<Instant>,
    run: &'a Run,
}

impl Session for LaneSession<'_> {
    fn sequences(&self) -> usize {
        self.lane.options.sequences
    }
    fn batch_tokens(&self) -> usize {
        self.lane.context.batch_tokens()
    }
    fn room(&self) -> usize {
        self.lane.options.search_tokens
    }
    fn prompt_tokens(&self) -> usize {
        self.lane.held.len()
    }
    fn step(&mut self, step: &Step) -> Result<Vec<Vec<f32>>> {
        let result = self.work(step);
        if result.is_err() {
            // What a broken pass left in the cells is not known.
            self.lane.forget();
        }
        result
    }
}

impl LaneSession<'_> {
    fn work(&mut self, step: &Step) -> Result<Vec<Vec<f32>>> {
        let context = &mut self.lane.context;
        for sequence in &step.drop {
            context.forget_from(*sequence, 0);
        }
        for (from, to) in &step.fork {
            context.copy_sequence(*from, *to)?;
        }
        let mut rows = Vec::with_capacity(step.tokens.len());
        for some in step.tokens.chunks(context.batch_tokens()) {
            let mut batch = Batch::default();
            for t in some {
                batch.push_shared(token_of(t.token)?, t.position, t.sequences.clone(), !t.wants.is_empty());
            }
            context.run_batch_until(&batch, self.deadline, self.run)?;
            let asked: Vec<usize> = (0..some.len()).filter(|i| !some[*i].wants.is_empty()).collect();
            let logits = context.logit_rows(&asked)?;
            let mut read: Vec<Vec<f32>> = self.run.install(|| {
                let pairs: Vec<_> = logits.into_iter().zip(&asked).collect();
                pairs.into_par_iter().map(|(row, i)| log_probabilities(row, &some[*i].wants)).collect()
            });
            let mut read = read.drain(..);
            for t in some {
                rows.push(if t.wants.is_empty() { Vec::new() } else { read.next().unwrap_or_default() });
            }
        }
        Ok(rows)
    }
}
