//! One context for several callers: their steps are computed together, in the order in which they came.
//!
//! There is no thread of its own: whoever finds the context free takes everything that waits and fits one forward pass,
//! computes it and hands the rows out; a long pass has a thread of its own (`away`), so that every caller can leave while it
//! is under way. It is broken off when all of them did. A long prompt comes in chunks, between which others get their turn.
//! Requests under different adapters never share a pass.

use super::adapters::Adapters;
use super::away::{late, spawn};
use super::engine::{Engine, LaneOptions, compute, prepare};
use super::session::{Row, Step, StepToken};
use crate::error::{Error, Result};
use crate::llama::{Context, Model, SavedSequence};
use crate::run::{CancelFlag, Run};
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a waiting caller looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(20);

/// The shared context.
pub struct Hub {
    work: Mutex<SharedContext>,
    queue: Mutex<Queue>,
    changed: Condvar,
    clients: usize,
    taken: AtomicUsize,
    sequences: usize,
    batch_tokens: usize,
    weights: u64,
    long: u64,
}

struct SharedContext {
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
    /// Who is in the pass that is computed now, and what breaks it off.
    under_way: Vec<u64>,
    stop: Arc<AtomicBool>,
    /// The last pass that had a thread.
    thread: Option<JoinHandle<()>>,
}

struct Ticket {
    id: u64,
    base: usize,
    step: Step,
    adapters: Arc<Adapters>,
}

/// A caller's part of the sequences.
pub struct HubClient {
    hub: Arc<Hub>,
    base: usize,
    /// Sequences to forget before they are used again: others computed when they were given up.
    given_up: Vec<usize>,
    /// A ticket that its caller left while it was computed.
    left: Option<u64>,
}

impl Hub {
    /// A context for `clients` callers.
    ///
    /// # Errors
    /// Those of [`Context::new`].
    pub fn new(model: &Model, options: &LaneOptions, clients: usize, run: &Run) -> Result<Hub> {
        let context = options.context(model, clients, run)?;
        Ok(Hub {
            batch_tokens: context.batch_tokens(),
            work: Mutex::new(SharedContext { context, generation: None }),
            queue: Mutex::default(),
            changed: Condvar::new(),
            clients,
            taken: AtomicUsize::new(0),
            sequences: options.sequences,
            weights: model.parameters(),
            long: options.long,
        })
    }

    /// The next client.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bug`] when all are taken.
    pub fn client(self: &Arc<Hub>) -> Result<HubClient> {
        let client = self.taken.fetch_add(1, Ordering::Relaxed);
        if client >= self.clients {
            return Err(Error::bug(format!("client {client} of {}", self.clients)));
        }
        Ok(HubClient { hub: self.clone(), base: client * self.sequences, given_up: Vec::new(), left: None })
    }

    fn work(&self) -> MutexGuard<'_, SharedContext> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(
        self: &Arc<Hub>,
        base: usize,
        step: Step,
        adapters: &Arc<Adapters>,
        deadline: Option<Instant>,
        left: &mut Option<u64>,
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
            if run.is_cancelled() || late(deadline) {
                if queue.leave(id) {
                    *left = Some(id);
                }
                return Err(Error::cancelled());
            }
            if queue.busy || queue.waiting.is_empty() {
                queue = self.changed.wait_timeout(queue, LOOK).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            queue.busy = true;
            let tickets = Arc::new(queue.take(self.batch_tokens));
            queue.under_way = tickets.iter().map(|t| t.id).collect();
            queue.stop = Arc::new(AtomicBool::new(false));
            let stop = queue.stop.clone();
            let tokens: usize = tickets.iter().map(|t| t.step.tokens.len()).sum();
            if self.weights.saturating_mul(tokens as u64) < self.long {
                drop(queue);
                // Alone in the pass, one's own cancel and deadline hold within it.
                let mine = matches!(tickets.as_slice(), [only] if only.id == id);
                let (stop, deadline) = if mine { (run.cancel_flag(), deadline) } else { (stop.into(), None) };
                self.compute(&tickets, deadline, stop, run.threads());
                queue = self.queue();
                continue;
            }
            if let Some(before) = queue.thread.take() {
                // It has handed out its rows, or there would be no turn for this pass; it needs the queue no more.
                let _ = before.join();
            }
            let (hub, taken, threads) = (self.clone(), tickets.clone(), run.threads());
            match spawn(move || hub.compute(&taken, None, stop.into(), threads)) {
                Ok(thread) => queue.thread = Some(thread),
                Err(e) => {
                    drop(queue);
                    self.finish(&tickets, tickets.iter().map(|_| Err(e.clone())).collect());
                    queue = self.queue();
                }
            }
        }
    }

    /// Hands out what a pass gave; the next one may begin.
    fn finish(&self, tickets: &[Ticket], results: Vec<Result<Vec<Row>>>) {
        let mut queue = self.queue();
        queue.busy = false;
        queue.under_way.clear();
        for (ticket, result) in tickets.iter().zip(results) {
            if !queue.abandoned.remove(&ticket.id) {
                queue.done.insert(ticket.id, result);
            }
        }
        drop(queue);
        self.changed.notify_all();
    }

    fn compute(&self, tickets: &[Ticket], deadline: Option<Instant>, stop: CancelFlag, threads: usize) {
        let pass = || match Run::new(threads) {
            Ok(run) => self.pass(tickets, deadline, &run.cancelled_by(stop)),
            Err(e) => tickets.iter().map(|_| Err(e.clone())).collect(),
        };
        // A pass that panicked would leave all others waiting for ever.
        let results = catch_unwind(AssertUnwindSafe(pass))
            .unwrap_or_else(|_| tickets.iter().map(|_| Err(Error::bug("a forward pass panicked"))).collect());
        self.finish(tickets, results);
    }

    fn pass(&self, tickets: &[Ticket], deadline: Option<Instant>, run: &Run) -> Vec<Result<Vec<Row>>> {
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
    /// A caller goes: its ticket too, or (then true) its part of the pass, which is broken off once nobody waits for it.
    fn leave(&mut self, id: u64) -> bool {
        if let Some(at) = self.waiting.iter().position(|t| t.id == id) {
            self.waiting.remove(at);
            return false;
        }
        self.abandoned.insert(id);
        if self.under_way.iter().all(|id| self.abandoned.contains(id)) {
            self.stop.store(true, Ordering::Relaxed);
        }
        true
    }
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

impl SharedContext {
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

impl HubClient {
    /// True when no pass computes for this client any more.
    fn is_quiet(&mut self) -> bool {
        let hub = &self.hub;
        self.left = self.left.filter(|id| hub.queue().abandoned.contains(id));
        self.left.is_none()
    }
    /// Forgets `sequences`: now, or before they are used again where that would mean to wait.
    fn give_up(&mut self, sequences: impl Iterator<Item = usize>) {
        let quiet = self.is_quiet();
        match self.hub.work.try_lock() {
            Ok(mut work) if quiet => {
                for sequence in sequences {
                    work.context.forget_from(self.base + sequence, 0);
                }
            }
            Ok(_) | Err(_) => self.given_up.extend(sequences),
        }
    }
    /// The context, once the pass under way is over.
    fn work(&mut self) -> MutexGuard<'_, SharedContext> {
        if let Some(id) = self.left.take() {
            let mut queue = self.hub.queue();
            while queue.abandoned.contains(&id) {
                queue = self.hub.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let mut work = self.hub.work();
        for sequence in self.given_up.drain(..) {
            work.context.forget_from(self.base + sequence, 0);
        }
        work
    }
}

impl Drop for HubClient {
    fn drop(&mut self) {
        // No pass goes on behind a recommender that is gone.
        let thread = self.hub.queue().thread.take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Engine for HubClient {
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
        if step.tokens.is_empty() && step.fork.is_empty() {
            self.give_up(step.drop.iter().copied());
            return Ok(Vec::new());
        }
        let mut step = step.clone();
        step.drop.append(&mut self.given_up);
        self.hub.submit(self.base, step, adapters, deadline, &mut self.left, run)
    }
    fn keep(&mut self, tokens: usize) -> bool {
        let (base, sequences) = (self.base, self.hub.sequences);
        let mut work = self.work();
        for sequence in 1..sequences {
            work.context.forget_from(base + sequence, 0);
        }
        work.context.forget_from(base, tokens)
    }
    fn forget(&mut self) {
        self.give_up(0..self.hub.sequences);
    }
    fn save(&mut self) -> Result<SavedSequence> {
        let base = self.base;
        self.work().context.save_sequence(base)
    }
    fn restore(&mut self, saved: &SavedSequence) -> Result<bool> {
        let base = self.base;
        self.work().context.restore_sequence(base, saved)
    }
}
