//! What every entry does first: a failure becomes an error object, a panic too, and nothing is printed.

use super::error::{causerie_error, raise};
use super::panics::contained;
use crate::error::Result;

pub(super) use super::panics::guard_or;

/// Runs the body of an entry; what fails becomes an error object, success is NULL.
pub(super) fn guard(body: impl FnOnce() -> Result<()>) -> *mut causerie_error {
    match contained(body) {
        Ok(()) => std::ptr::null_mut(),
        Err(e) => raise(e),
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::{causerie_error_code, causerie_error_free, causerie_error_message};
    use super::*;
    use crate::error::Error;

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
