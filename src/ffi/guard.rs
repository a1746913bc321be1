//! What every entry does first: a panic becomes an error with its message, and nothing is printed.

use super::error::{causerie_error, raise};
use crate::error::{Error, Result};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

thread_local! {
    /// How many guarded calls are under way on this thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic on this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the body of an entry; what fails becomes an error object, success is NULL.
pub(super) fn guard(body: impl FnOnce() -> Result<()>) -> *mut causerie_error {
    match contained(body) {
        Ok(()) => std::ptr::null_mut(),
        Err(e) => raise(e),
    }
}

/// Runs the body of an entry that cannot fail; a panic leaves `fallback`.
pub(super) fn guard_or<T>(fallback: T, body: impl FnOnce() -> Result<T>) -> T {
    let mut out = None;
    let result = contained(|| {
        out = Some(body()?);
        Ok(())
    });
    match (result, out) {
        (Ok(()), Some(value)) => value,
        (Ok(()), None) => fallback,
        (Err(e), _) => {
            crate::run::log(crate::run::Level::Error, e.message());
            fallback
        }
    }
}

fn contained(body: impl FnOnce() -> Result<()>) -> Result<()> {
    hook();
    DEPTH.set(DEPTH.get() + 1);
    // What a panic leaves half done is behind a handle that the caller owns and can free.
    let result = catch_unwind(AssertUnwindSafe(body));
    DEPTH.set(DEPTH.get() - 1);
    result.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let what = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let place = PLACE.with_borrow_mut(std::mem::take);
    let place = if place.is_empty() { "on a thread of the pool".to_string() } else { place };
    Error::bug(format!(
        "panic at {place}: {}; this is a defect of causerie, please report it",
        what.unwrap_or("(no message)")
    ))
}

/// Rust's own hook prints to stderr. Ours keeps the place for the error's message; panics of other threads than those
/// that work for us go on to the hook that was there.
fn hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let ours = std::thread::current().name().is_some_and(|n| n.starts_with("causerie-"));
            let guarded = DEPTH.try_with(Cell::get).is_ok_and(|depth| depth > 0);
            if !ours && !guarded {
                return before(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let _ = PLACE.try_with(|p| p.replace(place));
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::super::error::{causerie_error_code, causerie_error_free, causerie_error_message};
    use super::*;

    /// Code and message of an error, freed.
    fn read(error: *mut causerie_error) -> (i32, String) {
        // SAFETY: rule 2: the error is ours until it is freed below.
        unsafe {
            let code = causerie_error_code(error);
            let message = std::ffi::CStr::from_ptr(causerie_error_message(error)).to_str().unwrap().to_string();
            causerie_error_free(error);
            (code, message)
        }
    }

    #[test]
    fn a_panic_is_an_error_with_its_message_and_place() {
        let (code, message) = read(guard(|| panic!("row {} is out of range", 7)));
        assert_eq!(code, 99);
        assert!(message.contains("row 7 is out of range") && message.contains("guard.rs"), "{message}");
    }

    #[test]
    fn a_panic_on_a_thread_of_the_pool_is_an_error_of_the_call() {
        let run = crate::Run::new(2).unwrap();
        let (code, message) = read(guard(|| {
            run.install(|| {
                if run.threads() == 2 {
                    panic!("in the pool")
                }
            });
            Ok(())
        }));
        assert_eq!(code, 99);
        assert!(message.contains("in the pool"), "{message}");
        assert_eq!(read(guard(|| Err(Error::memory("too much")))), (6, "too much".to_string()));
        assert_eq!(guard_or(5, || panic!("x")), 5);
    }
}
