//! A few lanes for any number of callers: first come, first served.

use super::lane::Lane;
use crate::error::{Error, Result};
use crate::run::Run;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a waiting caller looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(20);

/// Lanes, made at first need.
pub struct Pool {
    lanes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Lane>,
    made: usize,
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// A lane on loan; it goes back when dropped.
pub struct Loan<'a> {
    pool: &'a Pool,
    lane: Option<Lane>,
}

impl Pool {
    /// At most `lanes` lanes.
    pub fn new(lanes: usize) -> Pool {
        Pool { lanes: lanes.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    /// A lane, in the order in which callers came: of the idle ones the one that `fits` best (higher is better), else a
    /// new one by `make`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`] when the run is cancelled or the deadline comes first; those of `make`.
    pub fn take(
        &self,
        fits: impl Fn(&Lane) -> usize,
        make: impl FnOnce() -> Result<Lane>,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Loan<'_>> {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(ticket);
        loop {
            let late = deadline.is_some_and(|d| Instant::now() >= d);
            if late || run.is_cancelled() {
                state.waiting.retain(|t| *t != ticket);
                self.changed.notify_all();
                return Err(Error::cancelled());
            }
            let first = state.waiting.front() == Some(&ticket);
            if first && (!state.idle.is_empty() || state.made < self.lanes) {
                state.waiting.pop_front();
                // The next one may find another lane free.
                self.changed.notify_all();
                break;
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        let best = (0..state.idle.len()).max_by_key(|i| fits(&state.idle[*i]));
        if let Some(best) = best {
            let lane = state.idle.swap_remove(best);
            return Ok(Loan { pool: self, lane: Some(lane) });
        }
        state.made += 1;
        drop(state);
        match make() {
            Ok(lane) => Ok(Loan { pool: self, lane: Some(lane) }),
            Err(e) => {
                self.lock().made -= 1;
                self.changed.notify_all();
                Err(e)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.pool.lock().idle.push(lane);
            self.pool.changed.notify_all();
        }
    }
}

impl Deref for Loan<'_> {
    type Target = Lane;
    fn deref(&self) -> &Lane {
        // It is there until `drop`.
        match &self.lane {
            Some(lane) => lane,
            None => unreachable!("a loan holds its lane until it is dropped"),
        }
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut Lane {
        match &mut self.lane {
            Some(lane) => lane,
            None => unreachable!("a loan holds its lane until it is dropped"),
        }
    }
}
