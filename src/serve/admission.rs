//! Who is computed when: so many at once, the rest in fair turns, and no more waiting than is of use.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Lets `places` requests compute at once. Those that wait are taken in turns by the address they came from, so that one
/// caller with a hundred requests does not stand in front of another with one.
pub(super) struct Admission {
    state: Mutex<State>,
    places: usize,
    most_waiting: usize,
}

struct State {
    free: usize,
    waiting: usize,
    /// Callers with somebody waiting, next one first.
    turns: VecDeque<IpAddr>,
    queues: HashMap<IpAddr, VecDeque<oneshot::Sender<Permit>>>,
}

/// A place among those that compute; given back when dropped.
pub(super) struct Permit {
    admission: Option<Arc<Admission>>,
}

/// As many wait as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueueFull;

impl Admission {
    pub fn new(places: usize, most_waiting: usize) -> Arc<Admission> {
        let places = places.max(1);
        let state = State { free: places, waiting: 0, turns: VecDeque::new(), queues: HashMap::new() };
        Arc::new(Admission { state: Mutex::new(state), places, most_waiting })
    }

    /// Waits for a place. Dropping the future gives up the wait.
    pub async fn enter(self: &Arc<Admission>, caller: IpAddr) -> Result<Permit, QueueFull> {
        let turn = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit { admission: Some(self.clone()) });
            }
            // Those who gave up still stand in the queues: they count until they are found out.
            if state.waiting >= self.most_waiting {
                state.forget_gone();
                if state.waiting >= self.most_waiting {
                    return Err(QueueFull);
                }
            }
            let (sender, turn) = oneshot::channel();
            if !state.queues.contains_key(&caller) {
                state.turns.push_back(caller);
            }
            state.queues.entry(caller).or_default().push_back(sender);
            state.waiting += 1;
            turn
        };
        turn.await.map_err(|_| QueueFull)
    }

    /// How many compute.
    pub fn computing(&self) -> usize {
        self.places - self.lock().free
    }
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a place to the next caller in turn, or keeps it free.
    fn leave(self: &Arc<Admission>) {
        let mut permit = Permit { admission: Some(self.clone()) };
        loop {
            // The lock is let go before a permit is sent: one that comes back unsent must not give back its place here.
            let Some(next) = self.next() else { break };
            match next.send(permit) {
                Ok(()) => return,
                Err(unsent) => permit = unsent,
            }
        }
        permit.admission = None;
    }

    /// The next who waits; none: the place is free again.
    fn next(&self) -> Option<oneshot::Sender<Permit>> {
        let mut state = self.lock();
        let Some(caller) = state.turns.pop_front() else {
            state.free += 1;
            return None;
        };
        let queue = state.queues.get_mut(&caller)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            state.queues.remove(&caller);
        } else {
            state.turns.push_back(caller);
        }
        state.waiting -= 1;
        next
    }
}

impl State {
    fn forget_gone(&mut self) {
        for queue in self.queues.values_mut() {
            queue.retain(|sender| !sender.is_closed());
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        self.turns.retain(|caller| self.queues.contains_key(caller));
        self.waiting = self.queues.values().map(VecDeque::len).sum();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn enter(admission: &Arc<Admission>, caller: IpAddr) -> Pin<Box<impl Future<Output = Result<Permit, QueueFull>>>> {
        let admission = admission.clone();
        Box::pin(async move { admission.enter(caller).await })
    }

    #[test]
    fn a_caller_with_one_request_does_not_wait_behind_all_of_another() {
        let admission = Admission::new(1, 10);
        let Poll::Ready(Ok(first)) = poll(enter(&admission, ONE).as_mut()) else {
            panic!("a free place was not given")
        };
        let mut many = [enter(&admission, ONE), enter(&admission, ONE), enter(&admission, ONE)];
        assert!(many.iter_mut().all(|w| poll(w.as_mut()).is_pending()));
        let mut other = enter(&admission, TWO);
        assert!(poll(other.as_mut()).is_pending());
        assert_eq!(admission.waiting(), 4);
        drop(first);
        let Poll::Ready(Ok(second)) = poll(many[0].as_mut()) else { panic!("the first in line was passed over") };
        drop(second);
        let Poll::Ready(Ok(third)) = poll(other.as_mut()) else { panic!("the other caller's turn did not come") };
        assert!(poll(many[1].as_mut()).is_pending());
        drop(third);
        let Poll::Ready(Ok(_fourth)) = poll(many[1].as_mut()) else { panic!("the second in line was passed over") };
        assert_eq!(admission.waiting(), 1);
    }

    #[test]
    fn too_many_waiting_are_refused_and_those_who_gave_up_do_not_count() {
        let admission = Admission::new(1, 1);
        let Poll::Ready(Ok(first)) = poll(enter(&admission, ONE).as_mut()) else {
            panic!("a free place was not given")
        };
        let mut waits = enter(&admission, ONE);
        assert!(poll(waits.as_mut()).is_pending());
        let refused = pin!(admission.enter(TWO));
        assert!(matches!(poll(refused), Poll::Ready(Err(QueueFull))));
        drop(waits);
        let mut again = enter(&admission, TWO);
        assert!(poll(again.as_mut()).is_pending());
        drop(again);
        // Nobody is left: the place is free, not lost.
        drop(first);
        assert!(matches!(poll(enter(&admission, ONE).as_mut()), Poll::Ready(Ok(_))));
    }

    #[test]
    fn a_place_sent_to_one_who_left_goes_to_the_next() {
        let admission = Admission::new(1, 5);
        let Poll::Ready(Ok(first)) = poll(enter(&admission, ONE).as_mut()) else {
            panic!("a free place was not given")
        };
        let (mut gone, mut stays) = (enter(&admission, ONE), enter(&admission, ONE));
        assert!(poll(gone.as_mut()).is_pending() && poll(stays.as_mut()).is_pending());
        drop(first);
        // `gone` has been sent its place, and leaves without having looked.
        drop(gone);
        assert!(matches!(poll(stays.as_mut()), Poll::Ready(Ok(_))));
    }
}
