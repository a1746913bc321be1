//! One call under way: progress, cancel. A fresh engine run is made per call, so that a run survives a fork.

use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, free, noun, optional, shared};
use super::text::c_text;
use super::version::UserData;
use crate::error::{Error, Result};
use crate::run::{CancelFlag, Progress, Run, check_threads};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One call under way: its threads, its progress, its cancellation.
pub struct causerie_run {
    _opaque: [u8; 0],
}
noun!(causerie_run, RunControl);

/// How far a call is. Read-only; it grows at its end with later ABI numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct causerie_progress {
    /// Bytes of this struct as the library knows it
    pub size: u32,
    /// 1 while a call runs or has ended by itself, 0 before the first report
    pub started: i32,
    /// The stage at work: "import", "embed", "select", … Static; "" before the first report
    pub stage: *const c_char,
    /// What is counted: "reviews", "picks", "requests", … Static
    pub unit: *const c_char,
    /// Units finished
    pub done: u64,
    /// Units in all; 0: unknown
    pub total: u64,
    /// Seconds since the stage began
    pub seconds: f64,
    /// Seconds left at the pace so far; NaN: unknown
    pub seconds_left: f64,
    /// A short text (the loss, the spend so far); "" when there is none. Valid in the callback alone; "" in a poll
    pub note: *const c_char,
}

/// Gets the progress, on the thread that made the call. 0 goes on, anything else stops this call, which ends with
/// CAUSERIE_CANCELLED; other calls of the run go on.
pub type causerie_progress_fn =
    Option<unsafe extern "C-unwind" fn(progress: *const causerie_progress, user_data: *mut c_void) -> i32>;

/// Gets a piece of text while a language model writes it, on the thread that made the call: `len` bytes of UTF-8 in whole
/// characters, NUL-terminated as well. An empty piece says that the answer is at its end; the next one begins another.
/// 0 goes on, anything else stops this call, which ends with CAUSERIE_CANCELLED.
pub type causerie_token_fn =
    Option<unsafe extern "C-unwind" fn(text: *const c_char, len: usize, user_data: *mut c_void) -> i32>;

#[derive(Default)]
struct State {
    stage: &'static str,
    unit: &'static str,
    done: u64,
    total: u64,
    begun: Option<Instant>,
}

type Listener = (unsafe extern "C-unwind" fn(*const causerie_progress, *mut c_void) -> i32, UserData);
type Reader = (unsafe extern "C-unwind" fn(*const c_char, usize, *mut c_void) -> i32, UserData);

#[derive(Default)]
pub(super) struct RunControl {
    threads: usize,
    cancel: Arc<AtomicBool>,
    listener: Mutex<Option<Listener>>,
    reader: Mutex<Option<Reader>>,
    state: Arc<Mutex<State>>,
}

impl State {
    fn progress(&self, note: &CStr) -> causerie_progress {
        let seconds = self.begun.map_or(0.0, |t| t.elapsed().as_secs_f64());
        let left = match (self.done, self.total) {
            (done, total) if done > 0 && total >= done => seconds / done as f64 * (total - done) as f64,
            _ => f64::NAN,
        };
        causerie_progress {
            size: size_of::<causerie_progress>() as u32,
            started: i32::from(self.begun.is_some()),
            stage: interned(self.stage),
            unit: interned(self.unit),
            done: self.done,
            total: self.total,
            seconds,
            seconds_left: left,
            note: note.as_ptr(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A static text for C: there are a few dozen stages and units, each kept once.
fn interned(text: &'static str) -> *const c_char {
    static KEPT: Mutex<BTreeMap<&'static str, CString>> = Mutex::new(BTreeMap::new());
    if text.is_empty() {
        return c"".as_ptr();
    }
    let mut kept = locked(&KEPT);
    kept.entry(text).or_insert_with(|| c_text(text)).as_ptr()
}

/// The engine's run for one call; `threads`: of the settings, where no run says otherwise.
///
/// # Safety
/// As [`optional`].
pub(super) unsafe fn run_of(run: *const causerie_run, threads: usize) -> Result<Run> {
    let Some(watched) = optional(run)? else { return Run::new(threads) };
    let threads = if watched.threads == 0 { threads } else { watched.threads };
    let (state, listener) = (watched.state.clone(), *locked(&watched.listener));
    // A callback that says stop ends its own call; a cancel ends all calls of the run.
    let stop = CancelFlag::under(watched.cancel.clone());
    *locked(&state) = State::default();
    let mut engine = Run::new(threads)?.cancelled_by(stop.clone());
    if let Some((callback, data)) = *locked(&watched.reader) {
        let stop = stop.clone();
        engine = engine.on_token(move |piece: &str| {
            // A zero byte may be among what a model writes: the length says how far it goes.
            let text: Vec<u8> = piece.bytes().chain([0]).collect();
            // SAFETY: rule 5 of the header; `text` is valid for the length and the zero behind it.
            if unsafe { callback(text.as_ptr().cast(), piece.len(), data.get()) } != 0 {
                stop.set();
            }
        });
    }
    engine.check()?;
    Ok(engine.on_progress(move |p: &Progress| {
        // The run is in use until the call has ended.
        let _ = &watched;
        let told = {
            let mut state = locked(&state);
            if state.stage != p.stage || state.unit != p.unit || state.begun.is_none() {
                *state = State { stage: p.stage, unit: p.unit, begun: Some(Instant::now()), ..State::default() };
            }
            (state.done, state.total) = (p.done, p.total);
            listener
                .map(|listener| (listener, c_text(p.note.as_str())))
                .map(|(listener, note)| (listener, state.progress(&note), note))
        };
        // The state is free again: the callback may poll and cancel.
        if let Some(((callback, data), mut progress, note)) = told {
            progress.note = note.as_ptr();
            // SAFETY: rule 5 of the header.
            if unsafe { callback(&raw const progress, data.get()) } != 0 {
                stop.set();
            }
        }
    }))
}

/// ---- Runs -------------------------------------------------------------------------------------------------------
/// A run on `threads` threads; 0: what the settings of the call say (run.threads), and where they say nothing what the
/// CPU quota of the container gives. CAUSERIE_INVALID for more than 1,024. Wherever a function takes a run, NULL means: no
/// progress, no cancelling. One run serves any number of calls, one after another; calls at the same time share its cancel
/// and mix their progress.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_run_new(threads: u32, out: *mut *mut causerie_run) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rule 2 of the header.
        let out = unsafe { Out::new(out)? };
        let threads = threads as usize;
        check_threads(threads)?;
        out.set(RunControl { threads, ..RunControl::default() });
        Ok(())
    })
}

/// Reports to `callback` from the next call on; NULL: to nobody.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_run_on_progress(
    run: *const causerie_run,
    callback: causerie_progress_fn,
    user_data: *mut c_void,
) -> *mut causerie_error {
    guard(|| {
        let watched = shared(run)?;
        *locked(&watched.listener) = callback.map(|callback| (callback, UserData(user_data)));
        Ok(())
    })
}

/// Hands the text of language models to `callback` while they write it, from the next call on; NULL: to nobody. Those that
/// write are the teacher that is a GGUF (synthesize.teacher = "local") and a recommender with recommend.mode = "generate".
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_run_on_token(
    run: *const causerie_run,
    callback: causerie_token_fn,
    user_data: *mut c_void,
) -> *mut causerie_error {
    guard(|| {
        let watched = shared(run)?;
        *locked(&watched.reader) = callback.map(|callback| (callback, UserData(user_data)));
        Ok(())
    })
}

/// Writes how far the call is to the first `size` bytes of `out` (give sizeof *out): any thread, any time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_run_poll(
    run: *const causerie_run,
    out: *mut causerie_progress,
    size: usize,
) -> *mut causerie_error {
    guard(|| {
        let watched = shared(run)?;
        if out.is_null() {
            return Err(Error::invalid("run: NULL where the progress is to be written"));
        }
        let progress = locked(&watched.state).progress(c"");
        let bytes = size.min(size_of::<causerie_progress>());
        // SAFETY: rule 2 of the header: `out` is valid for `size` bytes, and no more than those are written.
        unsafe { std::ptr::copy_nonoverlapping((&raw const progress).cast::<u8>(), out.cast::<u8>(), bytes) };
        Ok(())
    })
}

/// Ends the calls of this run at their next step, with CAUSERIE_CANCELLED: any thread, any time. NULL is fine. The run stays
/// cancelled until causerie_run_reset.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_run_cancel(run: *const causerie_run) {
    guard_or((), || {
        if let Some(watched) = optional(run)? {
            watched.cancel.store(true, Ordering::Relaxed);
        }
        Ok(())
    });
}

/// Takes back a cancel, so that the run serves again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_run_reset(run: *const causerie_run) {
    guard_or((), || {
        if let Some(watched) = optional(run)? {
            watched.cancel.store(false, Ordering::Relaxed);
        }
        Ok(())
    });
}

/// Ends a run; NULL is fine. Calls under way on it go on to their end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_run_free(run: *mut causerie_run) {
    free(run)
}
