//! Errors: a kind that programs act on, and a message that people act on (where, what, what to do next).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What went wrong, as a program sees it. The numbers are those of the C API and are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorKind {
    /// The caller asked for something that cannot be: a bad setting, a shape that does not fit.
    Invalid = 1,
    /// A file, an item or a key that is not there.
    NotFound = 2,
    /// The operating system refused: permissions, a full disk, a broken pipe.
    Io = 3,
    /// Data from outside that does not parse or does not hold together.
    Format = 4,
    /// The teacher did not answer, or did not answer usefully.
    Teacher = 5,
    /// A memory limit would be passed.
    Memory = 6,
    /// The caller cancelled; what was finished is kept.
    Cancelled = 7,
    /// This build or this machine cannot do it.
    Unsupported = 8,
    /// Another call uses the handle at this moment; nothing was done.
    Busy = 9,
    /// The handle was closed.
    Closed = 10,
    /// A defect of causerie itself.
    Bug = 99,
}

/// An error with its kind and a message: stage, file and line, cause, what to do.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    /// What the operating system said, where it was that.
    source: Option<Arc<std::io::Error>>,
}

/// Bytes of a message at most.
pub const MESSAGE_BYTES: usize = 8192;

fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
    message
}

/// The result of everything that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind`. A message of more than [`MESSAGE_BYTES`] ends there with `…`: it may quote what somebody sent.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: bounded(message.into()), source: None }
    }
    /// A request that cannot be met as it was put.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message)
    }
    /// Something named is not there.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotFound, message)
    }
    /// Outside data that does not parse; `line` counts from 1, 0 means "not a line".
    pub fn format(path: impl AsRef<Path>, line: u64, cause: impl fmt::Display) -> Error {
        let path = path.as_ref().display();
        let message = if line == 0 { format!("{path}: {cause}") } else { format!("{path}:{line}: {cause}") };
        Error::new(ErrorKind::Format, message)
    }
    /// The operating system refused something about `path`. A missing file becomes [`ErrorKind::NotFound`].
    pub fn io(path: impl AsRef<Path>, cause: std::io::Error) -> Error {
        let path = path.as_ref().display();
        let error = match cause.kind() {
            std::io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("{path}: no such file or folder")),
            std::io::ErrorKind::StorageFull => Error::new(
                ErrorKind::Io,
                format!("{path}: the disk is full; free some space and run the same command again, it resumes"),
            ),
            std::io::ErrorKind::PermissionDenied => Error::new(
                ErrorKind::Io,
                format!("{path}: permission denied; let this user read and write it, or name another place"),
            ),
            std::io::ErrorKind::IsADirectory => {
                Error::new(ErrorKind::Io, format!("{path}: is a folder, a file is needed"))
            }
            std::io::ErrorKind::NotADirectory => {
                Error::new(ErrorKind::Io, format!("{path}: a part of this path is a file, a folder is needed"))
            }
            _ => Error::new(ErrorKind::Io, format!("{path}: {cause}")),
        };
        Error { source: Some(Arc::new(cause)), ..error }
    }
    /// The teacher failed.
    pub fn teacher(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Teacher, message)
    }
    /// Not in this build or not on this machine.
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unsupported, message)
    }
    /// A limit on memory would be passed.
    pub fn memory(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Memory, message)
    }
    /// The caller cancelled.
    pub fn cancelled() -> Error {
        Error::new(ErrorKind::Cancelled, "cancelled; what was finished is kept")
    }
    /// A defect of causerie itself.
    pub fn bug(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Bug, message)
    }
    /// What went wrong, as a program sees it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
    /// The message alone.
    pub fn message(&self) -> &str {
        &self.message
    }
    /// The same error with `what` in front of its message, unless it stands there already: `select: …`.
    pub fn context(self, what: impl fmt::Display) -> Error {
        let front = format!("{what}: ");
        if self.message.starts_with(&front) {
            return self;
        }
        Error { message: bounded(front + &self.message), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_not_found_and_names_the_path() {
        let e = Error::io("a/b", std::io::Error::from(std::io::ErrorKind::NotFound));
        assert_eq!(e.kind(), ErrorKind::NotFound);
        assert!(e.message().starts_with("a/b"));
    }

    /// The cause was put into words and lost.
    #[test]
    fn an_error_of_the_operating_system_keeps_its_source() {
        let e = Error::io("a/b", std::io::Error::from_raw_os_error(28)).context("embed");
        let source = std::error::Error::source(&e).and_then(|s| s.downcast_ref::<std::io::Error>());
        assert_eq!(source.and_then(std::io::Error::raw_os_error), Some(28));
    }

    #[test]
    fn a_stage_is_not_named_twice_in_front_of_its_error() {
        let e = Error::invalid("import: no file is named").context("import");
        assert_eq!(e.message(), "import: no file is named");
        assert_eq!(e.context("run").message(), "run: import: no file is named");
    }

    /// An id of ten megabytes that was not found came back in a message of ten megabytes.
    #[test]
    fn a_message_quoted_what_it_was_sent_without_a_bound() {
        let long = Error::not_found("ä".repeat(1_000_000)).context("x".repeat(1_000_000));
        assert!(long.message().len() <= MESSAGE_BYTES + 3 && long.message().ends_with('…'), "{}", long.message().len());
        assert_eq!(Error::invalid("short").message(), "short");
    }

    #[test]
    fn a_refused_permission_says_what_to_do() {
        let e = Error::io("a/b", std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        assert!(e.kind() == ErrorKind::Io && e.message().contains("or name another place"), "{e}");
    }

    #[test]
    fn a_format_error_gives_file_and_line() {
        assert_eq!(Error::format("f.jsonl", 7, "missing item id").message(), "f.jsonl:7: missing item id");
    }
}
