//! One call under way: its threads, its progress, its cancellation; and the log.
//!
//! A long loop calls [`Run::step`] once per unit of work, on the thread that made the call: it reports and it is the
//! place where a cancel takes effect.

pub use crate::os::{default_threads, memory_bytes, peak_memory_bytes, reset_peak_memory};

use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// What a progress callback sees.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The stage at work: `import`, `embed`, `select`, …
    pub stage: &'static str,
    /// What is counted: `reviews`, `picks`, `requests`, `tokens`, …
    pub unit: &'static str,
    /// Units finished.
    pub done: u64,
    /// Units in all; 0: unknown.
    pub total: u64,
    /// A short free text: the loss, the spend so far. Empty: none.
    pub note: String,
}

type ProgressFn = dyn FnMut(&Progress) + Send;
type TokenFn = dyn FnMut(&str) + Send;

/// What cancels a run: a flag of its own, and one that it may share with other runs. Clones are the same flag; any thread may
/// set it, a signal handler too.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag {
    own: Arc<AtomicBool>,
    shared: Option<Arc<AtomicBool>>,
}

impl CancelFlag {
    /// A flag that is set as well whenever `shared` is.
    pub fn under(shared: Arc<AtomicBool>) -> CancelFlag {
        CancelFlag { own: Arc::default(), shared: Some(shared) }
    }
    /// Sets the flag of this run, not the shared one.
    pub fn set(&self) {
        self.own.store(true, Ordering::Relaxed);
    }
    /// True once one of the two is set.
    pub fn is_set(&self) -> bool {
        self.own.load(Ordering::Relaxed) || self.shared.as_ref().is_some_and(|shared| shared.load(Ordering::Relaxed))
    }
}

impl From<Arc<AtomicBool>> for CancelFlag {
    fn from(own: Arc<AtomicBool>) -> CancelFlag {
        CancelFlag { own, shared: None }
    }
}

/// One call under way. Cheap to make; shared by reference with everything the call does.
pub struct Run {
    cancel: CancelFlag,
    progress: Option<Mutex<Box<ProgressFn>>>,
    tokens: Option<Mutex<Box<TokenFn>>>,
    pool: Arc<rayon::ThreadPool>,
}

impl Run {
    /// A run without progress, on `threads` threads (0: what the cgroup's quota gives).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for more than [`MAX_THREADS`]; [`crate::ErrorKind::Io`] when the operating system gives no
    /// threads.
    pub fn new(threads: usize) -> Result<Run> {
        Ok(Run { cancel: CancelFlag::default(), progress: None, tokens: None, pool: pool(threads)? })
    }
    /// The same run, reporting to `callback` (called on the thread that made the call).
    pub fn on_progress(mut self, callback: impl FnMut(&Progress) + Send + 'static) -> Run {
        self.progress = Some(Mutex::new(Box::new(callback)));
        self
    }
    /// The same run, handing text to `callback` while a language model writes it: the teacher that is a GGUF, and a
    /// recommender in mode `generate`. Whole characters, in order, on the thread that made the call; an empty text says
    /// that the answer is at its end, and the next piece begins another (a request that is tried again is told again).
    pub fn on_token(mut self, callback: impl FnMut(&str) + Send + 'static) -> Run {
        self.tokens = Some(Mutex::new(Box::new(callback)));
        self
    }
    /// The same run, cancelled by this flag.
    pub fn cancelled_by(mut self, flag: impl Into<CancelFlag>) -> Run {
        self.cancel = flag.into();
        self
    }
    /// The flag that cancels this run; any thread may set it at any time.
    pub fn cancel_flag(&self) -> CancelFlag {
        self.cancel.clone()
    }
    /// Ends the run at its next step.
    pub fn cancel(&self) {
        self.cancel.set();
    }
    /// True once cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_set()
    }
    /// Stops here when cancelled, reports nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
    /// Reports `done` of `total` (0: unknown) and stops here when cancelled.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn step(&self, stage: &'static str, unit: &'static str, done: u64, total: u64) -> Result<()> {
        self.step_with(stage, unit, done, total, String::new)
    }
    /// [`Run::step`] with a note, made only when somebody listens.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn step_with(
        &self,
        stage: &'static str,
        unit: &'static str,
        done: u64,
        total: u64,
        note: impl FnOnce() -> String,
    ) -> Result<()> {
        if let Some(callback) = &self.progress {
            let mut callback = callback.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            callback(&Progress { stage, unit, done, total, note: note() });
        }
        self.check()
    }
    /// Somebody listens to [`Run::token`].
    pub fn wants_tokens(&self) -> bool {
        self.tokens.is_some()
    }
    /// Hands on a piece of text that a model wrote (empty: its answer ends here), and stops here when cancelled.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn token(&self, text: &str) -> Result<()> {
        if let Some(callback) = &self.tokens {
            let mut callback = callback.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            callback(text);
        }
        self.check()
    }
    /// Runs `work` on this run's threads; rayon inside uses them, and so does faer.
    ///
    /// Keep the loop that calls [`Run::step`] outside: callbacks belong on the caller's thread.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }
    /// How many threads this run has.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }
}

/// Threads that one run may have.
pub const MAX_THREADS: usize = 1024;
/// Pools that are kept while nobody uses them.
const IDLE_POOLS: usize = 4;

/// Refuses more threads than a run may have.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`].
pub fn check_threads(threads: usize) -> Result<()> {
    if threads > MAX_THREADS {
        return Err(Error::invalid(format!(
            "run: {threads} threads; at most {MAX_THREADS}, or 0 for what the machine gives ({})",
            default_threads()
        )));
    }
    Ok(())
}

/// The thread pool of `threads` threads (0: [`default_threads`]), made at first use; never rayon's global one. The last few are
/// kept; others end when nobody uses them.
fn pool(threads: usize) -> Result<Arc<rayon::ThreadPool>> {
    check_threads(threads)?;
    static POOLS: Mutex<Vec<(u32, Arc<rayon::ThreadPool>)>> = Mutex::new(Vec::new());
    let threads = if threads == 0 { default_threads() } else { threads };
    let pid = std::process::id();
    let mut pools = POOLS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // After a fork the threads of the parent's pools do not exist: such pools are leaked, never joined.
    if let Some(at) = pools.iter().position(|(owner, _)| *owner != pid) {
        for stale in pools.drain(at..) {
            std::mem::forget(stale.1);
        }
    }
    // The last one used stands last.
    if let Some(at) = pools.iter().position(|(_, p)| p.current_num_threads() == threads) {
        let kept = pools.remove(at);
        let pool = kept.1.clone();
        pools.push(kept);
        return Ok(pool);
    }
    while let Some(at) = pools.iter().position(|(_, p)| Arc::strong_count(p) == 1).filter(|_| pools.len() >= IDLE_POOLS)
    {
        pools.remove(at);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("causerie-{i}"))
        .build()
        .map_err(|e| Error::new(crate::ErrorKind::Io, format!("cannot start {threads} threads: {e}")))?;
    let pool = Arc::new(pool);
    pools.push((pid, pool.clone()));
    Ok(pool)
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is not as the user will have meant it; work goes on.
    Warn = 2,
    /// What is being done.
    Info = 3,
    /// For those who look for a fault.
    Debug = 4,
}

type LogFn = dyn Fn(Level, &str) + Send + Sync;
static LOG: RwLock<Option<Box<LogFn>>> = RwLock::new(None);

/// Sends the library's log to `callback`, from any thread; `None` silences it (the default).
pub fn set_log(callback: Option<Box<LogFn>>) {
    *LOG.write().unwrap_or_else(std::sync::PoisonError::into_inner) = callback;
}

/// One line to whoever listens.
pub fn log(level: Level, text: &str) {
    if let Some(callback) = &*LOG.read().unwrap_or_else(std::sync::PoisonError::into_inner) {
        callback(level, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_run_stops_at_its_next_step() {
        let run = Run::new(1).unwrap();
        run.step("test", "units", 1, 2).unwrap();
        run.cancel();
        assert_eq!(run.step("test", "units", 2, 2).unwrap_err().kind(), crate::ErrorKind::Cancelled);
    }

    #[test]
    fn text_goes_to_whoever_listens_and_a_cancel_ends_it() {
        let heard = Arc::new(Mutex::new(String::new()));
        let kept = heard.clone();
        let run = Run::new(1).unwrap().on_token(move |text| kept.lock().unwrap().push_str(text));
        assert!(run.wants_tokens() && !Run::new(1).unwrap().wants_tokens());
        run.token("a ").unwrap();
        run.cancel();
        assert_eq!(run.token("dog").unwrap_err().kind(), crate::ErrorKind::Cancelled);
        assert_eq!(*heard.lock().unwrap(), "a dog");
    }

    #[test]
    fn pools_of_one_size_are_made_once() {
        assert!(Arc::ptr_eq(&pool(2).unwrap(), &pool(2).unwrap()));
        assert_eq!(Run::new(2).unwrap().threads(), 2);
    }

    /// Every number of threads ever asked for kept a pool of its own to the end of the process.
    #[test]
    fn pools_of_many_sizes_were_all_kept_for_ever() {
        let first = Arc::downgrade(&pool(31).unwrap());
        for threads in 32..=31 + IDLE_POOLS {
            pool(threads).unwrap();
        }
        assert!(first.upgrade().is_none());
        let e = Run::new(4096).map(drop).unwrap_err();
        assert!(e.kind() == crate::ErrorKind::Invalid && e.message().contains("at most 1024"), "{e}");
    }

    #[test]
    fn a_shared_flag_ends_all_runs_and_a_runs_own_flag_ends_it_alone() {
        let shared = Arc::new(AtomicBool::new(false));
        let (one, other) = (CancelFlag::under(shared.clone()), CancelFlag::under(shared.clone()));
        one.set();
        assert!(one.is_set() && !other.is_set() && !shared.load(Ordering::Relaxed));
        shared.store(true, Ordering::Relaxed);
        assert!(other.is_set() && CancelFlag::under(shared).is_set());
    }
}
