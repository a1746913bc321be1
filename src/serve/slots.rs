//! Who stays connected when more come than may: those with a request under way, not those that keep a connection open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A connection without a whole request for so long may be closed for a new one. A client sends its request at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connections that are open, at most `most`.
pub(super) struct ConnectionSlots {
    most: usize,
    state: Mutex<State>,
}

struct State {
    next: u64,
    taken: BTreeMap<u64, OpenConnection>,
}

struct OpenConnection {
    /// Since when it has had no request under way; none while it has one.
    idle: Option<Instant>,
    close: Arc<Notify>,
}

/// An open connection's place; given back when dropped.
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    number: u64,
    close: Arc<Notify>,
}

/// A request under way: while it lives, its connection keeps its place.
pub(super) struct RequestGuard(Arc<ConnectionSlot>);

impl ConnectionSlots {
    pub fn new(most: usize) -> Arc<ConnectionSlots> {
        Arc::new(ConnectionSlots { most, state: Mutex::new(State { next: 0, taken: BTreeMap::new() }) })
    }

    /// A place for a connection that came at `now`: a free one, or that of the connection that has been idle longest, which
    /// is told to close. None where all have a request under way or came within the last second.
    pub fn take(self: &Arc<ConnectionSlots>, now: Instant) -> Option<ConnectionSlot> {
        let mut state = self.lock();
        if state.taken.len() >= self.most {
            let idle = state.taken.iter().filter_map(|(number, taken)| Some((taken.idle?, *number)));
            let (since, number) = idle.min()?;
            if now.saturating_duration_since(since) < PATIENCE {
                return None;
            }
            state.taken.remove(&number)?.close.notify_one();
        }
        let (number, close) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        state.taken.insert(number, OpenConnection { idle: Some(now), close: close.clone() });
        Some(ConnectionSlot { slots: self.clone(), number, close })
    }

    fn set_idle(&self, number: u64, idle: Option<Instant>) {
        // One that was told to close is no longer here.
        if let Some(taken) = self.lock().taken.get_mut(&number) {
            taken.idle = idle;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// Ends when the place was given to another.
    pub async fn lost(&self) {
        self.close.notified().await;
    }
    /// From now until the result is dropped a request is under way.
    pub fn under_way(self: &Arc<ConnectionSlot>) -> RequestGuard {
        self.slots.set_idle(self.number, None);
        RequestGuard(self.clone())
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.lock().taken.remove(&self.number);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.slots.set_idle(self.0.number, Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_to_close(slot: &ConnectionSlot) -> bool {
        let mut lost = std::pin::pin!(slot.lost());
        lost.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn the_longest_idle_makes_room_and_nobody_else() {
        let (slots, start) = (ConnectionSlots::new(2), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let (first, second) = (slots.take(at(0)).unwrap(), slots.take(at(500)).unwrap());
        assert!(slots.take(at(900)).is_none(), "both came within the last second");
        let third = slots.take(at(1000)).unwrap();
        assert!(told_to_close(&first) && !told_to_close(&second) && !told_to_close(&third));
        // What has lost its place gives back nobody else's.
        drop(first);
        assert!(slots.take(at(1400)).is_none());
        drop(third);
        assert!(slots.take(at(1400)).is_some_and(|_| !told_to_close(&second)));
    }

    #[test]
    fn a_request_under_way_keeps_its_connection() {
        let (slots, start) = (ConnectionSlots::new(1), Instant::now());
        let slot = Arc::new(slots.take(start).unwrap());
        let request = slot.under_way();
        assert!(slots.take(start + PATIENCE * 60).is_none());
        drop(request);
        assert!(slots.take(Instant::now()).is_none(), "it answered this moment");
        assert!(slots.take(Instant::now() + PATIENCE).is_some() && told_to_close(&slot));
    }
}
