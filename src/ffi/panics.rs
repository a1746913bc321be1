//! A panic becomes an error with its message and its place, and nothing is printed.

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

/// Runs `body`; a panic in it is an error with its message.
pub(super) fn contained(body: impl FnOnce() -> Result<()>) -> Result<()> {
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
