//! Errors as objects: a code for programs, a message for people. No "last error" of a thread: Go moves between threads.

use super::handle::{free, new, noun, shared};
use super::text::c_text;
use crate::error::{Error, ErrorKind};
use std::ffi::{CString, c_char};

/// What went wrong: a code and a message. Immutable; any thread may read it.
pub struct causerie_error {
    _opaque: [u8; 0],
}
noun!(causerie_error, Failure);

pub(super) struct Failure {
    code: i32,
    message: CString,
}

/// The caller asked for something that cannot be: a bad setting, a NULL handle, a shape that does not fit.
pub const CAUSERIE_INVALID: i32 = 1;
/// A file, an item or a key that is not there.
pub const CAUSERIE_NOT_FOUND: i32 = 2;
/// The operating system refused: permissions, a full disk.
pub const CAUSERIE_IO: i32 = 3;
/// Data from outside that does not parse or does not hold together.
pub const CAUSERIE_FORMAT: i32 = 4;
/// The teacher did not answer, or did not answer usefully.
pub const CAUSERIE_TEACHER: i32 = 5;
/// A limit on memory would be passed.
pub const CAUSERIE_MEMORY: i32 = 6;
/// The caller cancelled, or a callback asked to stop; what was finished is kept.
pub const CAUSERIE_CANCELLED: i32 = 7;
/// This build or this machine cannot do it.
pub const CAUSERIE_UNSUPPORTED: i32 = 8;
/// Another call uses this handle at this moment, and one of the two needs it alone. Nothing was done: call again later, or give
/// each thread a handle of its own.
pub const CAUSERIE_BUSY: i32 = 9;
/// The handle was freed. Nothing was done.
pub const CAUSERIE_CLOSED: i32 = 10;
/// A defect of causerie: a panic that was caught. The handles of that call can still be freed.
pub const CAUSERIE_BUG: i32 = 99;

fn code_of(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::Invalid => CAUSERIE_INVALID,
        ErrorKind::NotFound => CAUSERIE_NOT_FOUND,
        ErrorKind::Io => CAUSERIE_IO,
        ErrorKind::Format => CAUSERIE_FORMAT,
        ErrorKind::Teacher => CAUSERIE_TEACHER,
        ErrorKind::Memory => CAUSERIE_MEMORY,
        ErrorKind::Cancelled => CAUSERIE_CANCELLED,
        ErrorKind::Unsupported => CAUSERIE_UNSUPPORTED,
        ErrorKind::Busy => CAUSERIE_BUSY,
        ErrorKind::Closed => CAUSERIE_CLOSED,
        ErrorKind::Bug => CAUSERIE_BUG,
    }
}

pub(super) fn raise(error: Error) -> *mut causerie_error {
    new(Failure { code: code_of(error.kind()), message: c_text(error.message()) })
}

/// ---- Errors ----------------------------------------------------------------------------------------------------
/// The code: one of CAUSERIE_INVALID … CAUSERIE_BUG; 0 for NULL. The numbers are frozen; expect new ones.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_error_code(error: *const causerie_error) -> i32 {
    shared(error).map_or(0, |failure| failure.code)
}

/// The message: stage, file and line, cause, what to do. "" for NULL. Borrowed from the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_error_message(error: *const causerie_error) -> *const c_char {
    shared(error).map_or(c"".as_ptr(), |failure| failure.message.as_ptr())
}

/// Ends an error; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_error_free(error: *mut causerie_error) {
    free(error)
}
