//! The one-time start of llama.cpp: the processor check, its log, its last words.

use super::guarded;
use crate::error::{Error, Result};
use crate::run::{Level, log};
use llama_cpp_sys_2 as sys;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while models and contexts are made or freed: llama.cpp does not promise that these may overlap.
static SETUP: Mutex<()> = Mutex::new(());
thread_local! {
    /// The last complaint of llama.cpp on this thread, for the message of the error that follows it. llama.cpp makes models,
    /// contexts and adapters, and reports a failed pass, on the thread that called; what its worker threads write goes to the
    /// log alone.
    static COMPLAINT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Starts llama.cpp at the first call; later calls cost nothing.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] on a processor without AVX2, FMA, F16C and BMI2: the first instruction of
/// llama.cpp would end the process there; [`crate::ErrorKind::Memory`].
pub(super) fn start() -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    {
        let missing: Vec<&str> = [
            ("AVX2", is_x86_feature_detected!("avx2")),
            ("FMA", is_x86_feature_detected!("fma")),
            ("F16C", is_x86_feature_detected!("f16c")),
            ("BMI2", is_x86_feature_detected!("bmi2")),
        ]
        .iter()
        .filter(|(_, there)| !there)
        .map(|(name, _)| *name)
        .collect();
        if !missing.is_empty() {
            return Err(Error::unsupported(format!(
                "this processor lacks {}, which llama.cpp was built for; use embed.method = \"text\" here",
                missing.join(", ")
            )));
        }
    }
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*started {
        // SAFETY: plain functions that store a function pointer; both callbacks live as long as the program and never
        // unwind. The log goes through our callback, so that nothing of llama.cpp reaches stderr; the same for the
        // message of an assertion that fails, which otherwise would start a debugger for a backtrace.
        unsafe {
            sys::llama_log_set(Some(on_log), std::ptr::null_mut());
            sys::ggml_set_abort_callback(Some(on_abort));
            guarded::llama_backend_init()?;
        }
        *started = true;
    }
    Ok(())
}

/// The lock under which models and contexts are made and freed.
pub(super) fn setup() -> MutexGuard<'static, ()> {
    SETUP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What llama.cpp last complained of on this thread, with a colon in front; empty when it said nothing. Asked before a call it
/// forgets what an earlier one left.
pub(super) fn complaint() -> String {
    let text = COMPLAINT.take();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// A path for C.
pub(super) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| Error::invalid(format!("{}: a path with a zero byte", path.display())))
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a zero-ended text that lives for this call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let text = text.trim_end();
    if text.is_empty() || text.chars().all(|c| c == '.') {
        return;
    }
    let level = match level {
        sys::GGML_LOG_LEVEL_ERROR if is_break_off(text) => Level::Debug,
        sys::GGML_LOG_LEVEL_ERROR => {
            // A thread that ends has nobody to tell.
            let _ = COMPLAINT.try_with(|complaint| text.clone_into(&mut complaint.borrow_mut()));
            Level::Warn
        }
        // What llama.cpp warns of is seldom of use to a user; what it refuses is told in our own errors.
        sys::GGML_LOG_LEVEL_WARN => Level::Info,
        _ => Level::Debug,
    };
    // A user's log callback that panics must not unwind through C++.
    let _ = std::panic::catch_unwind(|| log(level, &format!("llama.cpp: {text}")));
}

/// True for what llama.cpp says of a pass that was broken off because it was asked to: GGML_STATUS_ABORTED is 1, and
/// llama_decode then returns 2. Who cancels knows it.
fn is_break_off(text: &str) -> bool {
    text.ends_with("graph_compute_async failed with error 1")
        || text.ends_with("failed to compute graph, compute status: 1")
        || text.ends_with("failed to decode, ret = 2")
}

unsafe extern "C" fn on_abort(message: *const c_char) {
    if !message.is_null() {
        // SAFETY: ggml passes a zero-ended text that lives for this call.
        let text = unsafe { CStr::from_ptr(message) }.to_string_lossy();
        let _ = std::panic::catch_unwind(|| log(Level::Error, &format!("llama.cpp ends the process: {text}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two threads that failed at once told each other's causes.
    #[test]
    fn a_complaint_belongs_to_the_thread_that_llama_cpp_made_it_on() {
        let say = |text: &CStr| {
            // SAFETY: a zero-ended text that lives for the call.
            unsafe { on_log(sys::GGML_LOG_LEVEL_ERROR, text.as_ptr(), std::ptr::null_mut()) }
        };
        say(c"mine\n");
        std::thread::spawn(move || {
            say(c"another's");
            assert_eq!(complaint(), ": another's");
        })
        .join()
        .unwrap();
        assert_eq!((complaint(), complaint()), (": mine".to_string(), String::new()));
    }

    /// The three lines as llama.cpp writes them, and their sisters that tell of a failure.
    #[test]
    fn a_cancelled_pass_is_no_warning_and_a_failed_one_is() {
        for text in [
            "graph_compute: ggml_backend_sched_graph_compute_async failed with error 1",
            "process_ubatch: failed to compute graph, compute status: 1",
            "llama_decode: failed to decode, ret = 2",
        ] {
            assert!(is_break_off(text));
        }
        for text in [
            "graph_compute: ggml_backend_sched_graph_compute_async failed with error -1",
            "process_ubatch: failed to compute graph, compute status: -1",
            "llama_decode: failed to decode, ret = -3",
        ] {
            assert!(!is_break_off(text));
        }
    }
}
