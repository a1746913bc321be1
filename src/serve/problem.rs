//! What is answered when a request cannot be: a status, and an OpenAI-shaped JSON error that says what to do.

use crate::error::{Error, ErrorKind};
use serde_json::{Value, json};

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    pub status: u16,
    /// A short name for programs: `invalid_json`, `body_too_large`.
    pub code: &'static str,
    /// For people: where, what, what next. It may quote the request; it goes to the caller, never into the log.
    pub message: Box<str>,
    /// The field at fault, where one is.
    pub param: Option<Box<str>>,
    /// Seconds after which another try makes sense.
    pub retry_after_s: Option<u32>,
    /// The methods that the route takes (405).
    pub allow: Option<&'static str>,
    /// The cause, for the log alone: an error of causerie's own, without user text.
    pub cause: Option<Box<str>>,
}

/// What a request comes to: an answer or a refusal.
pub(super) type Outcome<T> = std::result::Result<T, Problem>;

impl Problem {
    pub fn new(status: u16, code: &'static str, message: impl Into<Box<str>>) -> Problem {
        let message = message.into();
        Problem { status, code, message, param: None, retry_after_s: None, allow: None, cause: None }
    }
    /// A field that is well-formed JSON and still not what is needed.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Problem {
        let (param, message) = (param.into(), message.into());
        Problem {
            param: Some(param.as_str().into()),
            ..Problem::new(422, "invalid_request", format!("{param}: {message}"))
        }
    }
    pub fn retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after_s = Some(seconds);
        self
    }
    pub fn allow(mut self, methods: &'static str) -> Problem {
        self.allow = Some(methods);
        self
    }
    /// The same with `what` in front of the field: `requests[3]`.
    pub fn within(mut self, what: &str) -> Problem {
        self.message = format!("{what}: {}", self.message).into();
        self.param = Some(self.param.map_or_else(|| what.into(), |p| format!("{what}.{p}").into()));
        self
    }
    /// The answer to an error of the library.
    pub fn of(error: &Error) -> Problem {
        match error.kind() {
            ErrorKind::Invalid => Problem::new(422, "invalid_request", error.message()),
            ErrorKind::NotFound => Problem::new(422, "not_in_catalogue", error.message()),
            ErrorKind::Cancelled => Problem::timed_out(),
            ErrorKind::Memory => Problem {
                cause: Some(error.to_string().into()),
                ..Problem::new(503, "out_of_memory", "no memory for this request; send a smaller one, or try again")
                    .retry_after(1)
            },
            ErrorKind::Io
            | ErrorKind::Format
            | ErrorKind::Teacher
            | ErrorKind::Unsupported
            | ErrorKind::Busy
            | ErrorKind::Closed
            | ErrorKind::Bug => Problem::internal(error.to_string()),
        }
    }
    pub fn timed_out() -> Problem {
        let message = "not answered within serve.timeout_ms: ask for less, try again, or raise serve.timeout_ms";
        Problem::new(503, "timed_out", message).retry_after(1)
    }
    pub fn internal(cause: String) -> Problem {
        let message = "the recommender failed; the server's log says why, under this answer's x-request-id";
        Problem { cause: Some(cause.into()), ..Problem::new(500, "internal", message) }
    }
    /// Another model was asked for than the one there is.
    pub fn no_such_model(there_is: &str) -> Problem {
        let message = format!("no such model: this server has {there_is:?}; ask for that, or leave the field out");
        Problem { param: Some("model".into()), ..Problem::new(404, "model_not_found", message) }
    }
    /// OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.
    pub fn body(&self) -> Value {
        let kind = match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_causes_go_to_the_log_and_not_to_the_caller() {
        let problem = Problem::of(&Error::bug("row 7 of /srv/secret"));
        assert_eq!(problem.status, 500);
        assert!(!problem.body().to_string().contains("secret"));
        assert!(problem.cause.unwrap().contains("secret"));
        assert_eq!(Problem::of(&Error::cancelled()).status, 503);
        assert_eq!(Problem::of(&Error::not_found("no such item")).status, 422);
    }

    #[test]
    fn a_field_is_named_from_the_outside_in() {
        let problem = Problem::field("top_k", "at least 1").within("requests[3]");
        assert_eq!(problem.param.as_deref(), Some("requests[3].top_k"));
        assert_eq!(&*problem.message, "requests[3]: top_k: at least 1");
        assert_eq!(problem.body()["error"]["type"], "invalid_request_error");
    }
}
