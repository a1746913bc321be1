//! A long forward pass on a thread of its own, so that whoever waits for it can leave.
//!
//! llama.cpp looks at its abort callback between two operations, and one operation can be long: the output layer of a model
//! of a billion parameters, for the 80 tokens of a round of search, is a third of a second of two cores. The caller waits
//! beside it, looks every few milliseconds whether it was cancelled or is late, and goes; the pass ends at the next
//! operation, and what it left is cleared before anything else is computed there.

use crate::error::{Error, ErrorKind, Result};
use crate::run::Run;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Weights times tokens of a pass from which it is long: some 20 ms of one core. Shorter ones are computed where they are
/// asked for.
pub const LONG: u64 = 1 << 30;

/// How often a waiting caller looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(5);

/// A pass that a caller left, if there is one. Dropping it waits for its end.
#[derive(Default)]
pub struct Away {
    left: Option<JoinHandle<()>>,
}

impl Away {
    /// Does `work` on a thread; gives its result, or leaves it there when the run is cancelled or the deadline comes.
    /// `work` must end soon after either by itself.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`]; those of `work`; [`ErrorKind::Io`] when there is no thread to be had.
    pub fn wait<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<T> {
        self.home();
        let (done, result) = mpsc::sync_channel(1);
        let thread = spawn(move || {
            // Nobody listens any more: then nobody wants it.
            let _ = done.send(work());
        })?;
        loop {
            match result.recv_timeout(LOOK) {
                Ok(result) => {
                    self.left = Some(thread);
                    self.home();
                    return result;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.left = Some(thread);
                    self.home();
                    return Err(Error::bug("a forward pass panicked"));
                }
                Err(RecvTimeoutError::Timeout) if run.is_cancelled() || late(deadline) => {
                    self.left = Some(thread);
                    return Err(Error::cancelled());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// True from when a pass was left until [`Away::home`].
    pub fn is_out(&self) -> bool {
        self.left.is_some()
    }

    /// Waits for the end of a pass that was left.
    pub fn home(&mut self) {
        if let Some(thread) = self.left.take() {
            // That it panicked was told when it did, or concerns nobody any more.
            let _ = thread.join();
        }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.home();
    }
}

/// A thread for a pass.
///
/// # Errors
/// [`ErrorKind::Io`] when there is none to be had.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = Builder::new().name("causerie-pass".into()).spawn(work);
    thread.map_err(|e| Error::new(ErrorKind::Io, format!("cannot start a thread for a forward pass: {e}")))
}

/// True past the deadline.
pub fn late(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|d| Instant::now() >= d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_cancel_and_a_deadline_leave_a_pass_that_does_not_listen() {
        for by_deadline in [false, true] {
            let run = Run::new(1).unwrap();
            let mut away = Away::default();
            let (go, gate) = mpsc::channel::<()>();
            let ended = Arc::new(AtomicBool::new(false));
            let deadline = by_deadline.then(|| Instant::now() + Duration::from_millis(10));
            if !by_deadline {
                run.cancel();
            }
            let mark = ended.clone();
            let work = move || {
                // Until it is let go, it hears of nothing.
                let _ = gate.recv();
                mark.store(true, Ordering::SeqCst);
                Ok(1)
            };
            let left = away.wait(work, deadline, &run);
            assert_eq!(left.unwrap_err().kind(), ErrorKind::Cancelled);
            assert!(away.is_out() && !ended.load(Ordering::SeqCst));
            go.send(()).unwrap();
            drop(away);
            assert!(ended.load(Ordering::SeqCst), "nothing goes on behind a place that was dropped");
        }
    }

    #[test]
    fn what_a_pass_gives_errs_or_panics_with_is_the_callers() {
        let run = Run::new(1).unwrap();
        let mut away = Away::default();
        assert_eq!(away.wait(|| Ok(7), None, &run).unwrap(), 7);
        let e = away.wait(|| Err::<u32, _>(Error::memory("full")), None, &run).unwrap_err();
        assert_eq!((e.kind(), e.message()), (ErrorKind::Memory, "full"));
        let e = away.wait(|| -> Result<u32> { panic!("broken") }, None, &run).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Bug);
        assert!(!away.is_out());
    }
}
