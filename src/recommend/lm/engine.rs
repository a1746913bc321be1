//! What computes a lane's steps: a context of its own, or a part of one that several callers share (`hub`).

use super::adapters::Adapters;
use super::away::Away;
use super::session::{Row, Step, StepToken};
use crate::error::{Error, Result};
use crate::llama::{Batch, Context, ContextOptions, Model, Pooling, SavedSequence, Token};
use crate::run::Run;
use rayon::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Sequences 0, 1, … of one request at a time.
pub trait Engine: Send {
    /// Sequences.
    fn sequences(&self) -> usize;
    /// Computes a step under `adapters`; what other adapters computed must have been forgotten.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`], for the deadline too; [`crate::ErrorKind::Memory`] when there is no room.
    fn step(&mut self, adapters: &Arc<Adapters>, step: &Step, deadline: Option<Instant>, run: &Run)
    -> Result<Vec<Row>>;
    /// Forgets all but the first `tokens` of sequence 0; false when the model cannot forget a part.
    fn keep(&mut self, tokens: usize) -> bool;
    /// Forgets everything, at the latest before the next call: it waits for no pass that was left.
    fn forget(&mut self);
    /// What sequence 0 holds.
    ///
    /// # Errors
    /// Those of [`Context::save_sequence`].
    fn save(&mut self) -> Result<SavedSequence>;
    /// Puts what was saved into sequence 0; false when there is no room.
    ///
    /// # Errors
    /// Those of [`Context::restore_sequence`].
    fn restore(&mut self, saved: &SavedSequence) -> Result<bool>;
}

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
    /// Logits, or hidden states, of what is asked.
    pub pooling: Pooling,
    /// Weights times tokens from which a pass has a thread of its own, see `away`.
    pub long: u64,
    /// Contexts that compute at the same time, and share the threads. llama.cpp's threads wait for each other by spinning: one
    /// more of them than there are cores, and each waits for whole time slices of the others.
    pub contexts: usize,
}

impl LaneOptions {
    /// A context for `lanes` of these.
    ///
    /// # Errors
    /// Those of [`Context::new`].
    pub fn context(&self, model: &Model, lanes: usize, run: &Run) -> Result<Context> {
        let options = ContextOptions {
            tokens: lanes * (self.prompt_tokens + self.search_tokens),
            batch_tokens: self.batch_tokens,
            sequences: lanes * self.sequences,
            pooling: self.pooling,
            exact: self.exact,
        };
        Context::new(model, options, run)
    }
}

/// A context of one's own. Nobody else's tokens are in its batches, and its cells are filled from the first one on: the
/// same steps give the same bits.
pub struct Alone {
    context: Arc<Mutex<Context>>,
    /// Dropped with the place, it waits for the end of a pass that was left.
    away: Away,
    /// What a pass that was left put into the cells is not known: it goes before anything else.
    stale: bool,
    sequences: usize,
    generation: Option<u64>,
    long: u64,
    weights: u64,
    contexts: usize,
}

impl Alone {
    /// A context of `model`.
    ///
    /// # Errors
    /// Those of [`Context::new`].
    pub fn new(model: &Model, options: &LaneOptions, run: &Run) -> Result<Alone> {
        Ok(Alone {
            context: Arc::new(Mutex::new(options.context(model, 1, run)?)),
            away: Away::default(),
            stale: false,
            sequences: options.sequences,
            generation: None,
            long: options.long,
            weights: model.parameters(),
            contexts: options.contexts.max(1),
        })
    }

    /// What a pass is computed under: this context's share of the threads, whoever else asks or does not, so that an answer
    /// has the same bits.
    pub(super) fn share(&self, run: &Run) -> Result<Run> {
        Ok(Run::new((run.threads() / self.contexts).max(1))?.cancelled_by(run.cancel_flag()))
    }

    /// The context, once nobody computes in it.
    fn context(&mut self) -> Arc<Mutex<Context>> {
        self.away.home();
        if std::mem::take(&mut self.stale) {
            lock(&self.context).forget_all();
        }
        self.context.clone()
    }
}

fn lock(context: &Mutex<Context>) -> MutexGuard<'_, Context> {
    context.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine for Alone {
    fn sequences(&self) -> usize {
        self.sequences
    }
    fn step(
        &mut self,
        adapters: &Arc<Adapters>,
        step: &Step,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Vec<Row>> {
        let place = self.context();
        let mut context = lock(&place);
        if self.generation != Some(adapters.generation()) {
            self.generation = None;
            // The lane has forgotten what the old ones computed, and may have restored what the new ones did: that stays.
            context.exchange_adapters(adapters.list())?;
            self.generation = Some(adapters.generation());
        }
        prepare(&mut context, step, 0)?;
        let share = self.share(run)?;
        if self.weights.saturating_mul(step.tokens.len() as u64) < self.long {
            return compute(&mut context, &step.tokens, 0, deadline, &share);
        }
        drop(context);
        let tokens = step.tokens.clone();
        self.away.wait(move || compute(&mut lock(&place), &tokens, 0, deadline, &share), deadline, run)
    }
    fn keep(&mut self, tokens: usize) -> bool {
        let place = self.context();
        let mut context = lock(&place);
        for sequence in 1..self.sequences {
            context.forget_from(sequence, 0);
        }
        context.forget_from(0, tokens)
    }
    fn forget(&mut self) {
        if self.away.is_out() {
            self.stale = true;
        } else {
            lock(&self.context()).forget_all();
        }
    }
    fn save(&mut self) -> Result<SavedSequence> {
        lock(&self.context()).save_sequence(0)
    }
    fn restore(&mut self, saved: &SavedSequence) -> Result<bool> {
        lock(&self.context()).restore_sequence(0, saved)
    }
}

/// Forgets and copies sequences, which begin at `base` in the context.
///
/// # Errors
/// Those of [`Context::copy_sequence`].
pub fn prepare(context: &mut Context, step: &Step, base: usize) -> Result<()> {
    for sequence in &step.drop {
        context.forget_from(base + sequence, 0);
    }
    for (from, to) in &step.fork {
        context.copy_sequence(base + from, base + to)?;
    }
    Ok(())
}

/// Computes tokens, as many forward passes as they need; their sequences begin at `base`.
///
/// # Errors
/// Those of [`Context::run_batch_until`].
pub fn compute(
    context: &mut Context,
    tokens: &[StepToken],
    base: usize,
    deadline: Option<Instant>,
    run: &Run,
) -> Result<Vec<Row>> {
    let mut rows = Vec::with_capacity(tokens.len());
    for some in tokens.chunks(context.batch_tokens()) {
        let mut batch = Batch::default();
        for t in some {
            let token = Token::try_from(t.token).map_err(|_| Error::bug(format!("token {}", t.token)))?;
            batch.push_shared(token, t.position, base + t.sequences.start..base + t.sequences.end, t.wants.is_some());
        }
        context.run_batch_until(&batch, deadline, run)?;
        rows.extend(read(context, some, run)?);
    }
    Ok(rows)
}

fn read(context: &mut Context, tokens: &[StepToken], run: &Run) -> Result<Vec<Row>> {
    if context.pooling() != Pooling::Logits {
        let one = |(i, t): (usize, &StepToken)| match t.wants {
            Some(_) => Ok(Row { values: context.hidden(i)?.to_vec(), best: 0 }),
            None => Ok(Row::default()),
        };
        return tokens.iter().enumerate().map(one).collect();
    }
    let asked: Vec<usize> = (0..tokens.len()).filter(|i| tokens[*i].wants.is_some()).collect();
    let pairs: Vec<(&[f32], &[u32])> = context
        .logit_rows(&asked)?
        .into_iter()
        .zip(&asked)
        .map(|(row, i)| (row, tokens[*i].wants.as_deref().unwrap_or_default()))
        .collect();
    let read: Vec<Row> = run.install(|| pairs.into_par_iter().map(|(row, wants)| Row::of(row, wants)).collect());
    let mut rows = vec![Row::default(); tokens.len()];
    asked.into_iter().zip(read).for_each(|(at, row)| rows[at] = row);
    Ok(rows)
}
