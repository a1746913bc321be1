//! One context for several callers: their steps are computed together, in the order in which they came.
//!
//! There is no thread of its own: whoever finds the context free takes everything that waits and fits one forward pass,
//! computes it and hands the rows out. A long prompt comes in chunks, between which others get their turn. Requests under
//! different adapters never share a pass.

use super::adapters::Adapters;
use super::engine::{Engine, LaneOptions, compute, prepare};
use super::session::{Row, Step, StepToken};
use crate::error::{Error, Result};
use crate::llama::{Context, Model};
use crate::run::Run;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a waiting caller looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(20);

/// The shared context.
pub struct Hub {
    work: Mutex<Work>,
    queue: Mutex<Queue>,
    changed: Condvar,
    seats: usize,
    taken: AtomicUsize,
    sequences: usize,
    batch_tokens: usize,
}

struct Work {
    context: Context,
    generation: Option<u64>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Ticket>,
    done: HashMap<u64, Result<Vec<Row>>>,
    /// Their callers went away while they were computed.
    abandoned: HashSet<u64>,
    next: u64,
    busy: bool,
}

struct Ticket {
    id: u64,
    base: usize,
    step: Step,
    adapters: Arc<Adapters>,
}

/// A caller's part of the sequences.
pub struct Seat {
    hub: Arc<Hub>,
    base: usize,
}

impl Hub {
    /// A context for `seats` callers.
    ///
    /// # Errors
    /// Those of [`Context::new`].
    pub fn new(model: &Model, options: &LaneOptions, seats: usize, run: &Run) -> Result<Hub> {
        let context = options.context(model, seats, run)?;
        Ok(Hub {
            batch_tokens: context.batch_tokens(),
            work: Mutex::new(Work { context, generation: None }),
            queue: Mutex::default(),
            changed: Condvar::new(),
            seats,
            taken: AtomicUsize::new(0),
            sequences: options.sequences,
        })
    }

    /// The next seat.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bug`] when all are taken.
    pub fn seat(self: &Arc<Hub>) -> Result<Seat> {
        let seat = self.taken.fetch_add(1, Ordering::Relaxed);
        if seat >= self.seats {
            return Err(Error::bug(format!("seat {seat} of {}", self.seats)));
        }
        Ok(Seat { hub: self.clone(), base: seat * self.sequences })
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(
        &self,
        base: usize,
        step: Step,
        adapters: &Arc<Adapters>,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Vec<Row>> {
        let mut queue = self.queue();
        let id = queue.next;
        queue.next += 1;
        queue.waiting.push_back(Ticket { id, base, step, adapters: adapters.clone() });
        loop {
            if let Some(result) = queue.done.remove(&id) {
                return result;
            }
            if run.is_cancelled() || deadline.is_some_and(|d| Instant::now() >= d) {
                match queue.waiting.iter().position(|t| t.id == id) {
                    Some(at) => drop(queue.waiting.remove(at)),
                    None => drop(queue.abandoned.insert(id)),
                }
                return Err(Error::cancelled());
            }
            if queue.busy || queue.waiting.is_empty() {
                queue = self.changed.wait_timeout(queue, LOOK).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            queue.busy = true;
            let tickets = queue.take(self.batch_tokens);
            drop(queue);
            // Alone in the pass, one's own cancel and deadline hold within it.
            let mine = matches!(tickets.as_slice(), [only] if only.id == id);
            let results =
                self.compute(&tickets, if mine { deadline } else { None }, mine.then_some(run), run.threads());
            queue = self.queue();
            queue.busy = false;
            for (ticket, result) in tickets.iter().zip(results) {
                if !queue.abandoned.remove(&ticket.id) {
                    queue.done.insert(ticket.id, result);
                }
            }
            self.changed.notify_all();
        }
    }

    fn compute(
        &self,
        tickets: &[Ticket],
        deadline: Option<Instant>,
        run: Option<&Run>,
        threads: usize,
    ) -> Vec<Result<Vec<Row>>> {
        let quiet;
        let run = match run {
            Some(run) => run,
            None => match Run::new(threads) {
                Ok(run) => {
                    quiet = run;
                    &quiet
                }
                Err(e) => return tickets.iter().map(|_| Err(e.clone())).collect(),
            },
        };
        let mut work = self.work();
        let together = work.pass(tickets, deadline, run);
        match together {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(e) if tickets.len() == 1 => vec![Err(e)],
            // Whose fault it was shows when each goes alone; llama.cpp refuses a pass before it computes any of it.
            Err(_) => tickets
                .iter()
                .map(|t| {
                    let rows = work.pass(std::slice::from_ref(t), None, run)?;
                    rows.into_iter().next().ok_or_else(|| Error::bug("a pass without rows"))
                })
                .collect(),
        }
    }
}

impl Queue {
    /// What is computed next: the first that waits, and those behind it that fit the same pass.
    fn take(&mut self, batch_tokens: usize) -> Vec<Ticket> {
        let mut taken: Vec<Ticket> = self.waiting.pop_front().into_iter().collect();
        let Some(generation) = taken.first().map(|t| t.adapters.generation()) else { return taken };
        let mut tokens: usize = taken.iter().map(|t| t.step.tokens.len()).sum();
        let mut at = 0;
        while let Some(next) = self.waiting.get(at) {
            let more = next.step.tokens.len();
            if next.adapters.generation() == generation && tokens + more <= batch_tokens {
                tokens += more;
                taken.extend(self.waiting.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }
}

impl Work {
    fn pass(&mut self, tickets: &[Ticket], deadline: Option<Instant>, run: &Run) -> Result<Vec<Vec<Row>>> {
        let Some(first) = tickets.first() else { return Ok(Vec::new()) };
        if self.generation != Some(first.adapters.generation()) {
            self.generation = None;
            self.context.exchange_adapters(first.adapters.list())?;
            self.generation = Some(first.adapters.generation());
        }
        let mut all: Vec<StepToken> = Vec::new();
        for ticket in tickets {
            prepare(&mut self.context, &ticket.step, ticket.base)?;
            all.extend(ticket.step.tokens.iter().cloned().map(|mut t| {
                t.sequences = ticket.base + t.sequences.start..ticket.base + t.sequences.end;
                t
            }));
        }
        let mut rows = compute(&mut self.context, &all, 0, deadline, run)?.into_iter();
        Ok(tickets.iter().map(|t| rows.by_ref().take(t.step.tokens.len()).collect()).collect())
    }
}

impl Engine for Seat {
    fn sequences(&self) -> usize {
        self.hub.sequences
    }
    fn step(
        &mut self,
        adapters: &Arc<Adapters>,
        step: &Step,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Vec<Row>> {
        if step.tokens.is_empty() {
            prepare(&mut self.hub.work().context, step, self.base)?;
            return Ok(Vec::new());
        }
        self.hub.submit(self.base, step.clone(), adapters, deadline, run)
    }
    fn keep(&mut self, tokens: usize) -> bool {
        let mut work = self.hub.work();
        for sequence in 1..self.hub.sequences {
            work.context.forget_from(self.base + sequence, 0);
        }
        work.context.forget_from(self.base, tokens)
    }
    fn forget(&mut self) {
        self.keep(0);
    }
    fn save(&mut self) -> Result<Vec<u8>> {
        self.hub.work().context.save_sequence(self.base)
    }
    fn restore(&mut self, bytes: &[u8]) -> Result<bool> {
        self.hub.work().context.restore_sequence(self.base, bytes)
    }
}
