//! The body of an answer: whole, or in pieces as they are made.

use super::access::Access;
use super::problem::Problem;
use hyper::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

/// Sets a run's cancel flag when dropped: nobody waits for its work any more.
pub(super) struct CancelOnDrop(pub Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An event of a stream: what it says, and the items that it names for the first time.
pub(super) enum Piece {
    /// Sent as `data: …`.
    Event(String),
    /// `data: [DONE]`: the stream is whole.
    Done,
}

enum Content {
    Whole(Option<Bytes>),
    Stream { pieces: mpsc::Receiver<Piece>, _cancel: CancelOnDrop, deadline: Pin<Box<Sleep>>, over: bool },
}

/// A body that, once it is over, writes its request into the log.
pub(super) struct Reply {
    content: Content,
    access: Access,
}

impl Reply {
    pub fn whole(access: Access, bytes: impl Into<Bytes>) -> Reply {
        Reply { content: Content::Whole(Some(bytes.into()).filter(|b: &Bytes| !b.is_empty())), access }
    }
    /// Server-sent events until [`Piece::Done`] or `deadline`; the work is cancelled when the client leaves.
    pub fn stream(access: Access, pieces: mpsc::Receiver<Piece>, cancel: CancelOnDrop, deadline: Instant) -> Reply {
        let deadline = Box::pin(sleep_until(deadline));
        Reply { content: Content::Stream { pieces, _cancel: cancel, deadline, over: false }, access }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let bytes = match &mut this.content {
            Content::Whole(bytes) => {
                this.access.complete = true;
                bytes.take()
            }
            Content::Stream { over: true, .. } => None,
            Content::Stream { pieces, deadline, over, .. } => match pieces.poll_recv(cx) {
                Poll::Ready(Some(Piece::Event(event))) => Some(format!("data: {event}\n\n").into()),
                Poll::Ready(Some(Piece::Done)) => {
                    *over = true;
                    this.access.complete = true;
                    Some(Bytes::from_static(b"data: [DONE]\n\n"))
                }
                // Whoever made the pieces stopped without a word: the stream ends without [DONE].
                Poll::Ready(None) => None,
                Poll::Pending if deadline.as_mut().poll(cx).is_ready() => {
                    *over = true;
                    let problem = Problem::timed_out();
                    this.access.code = Some(problem.code);
                    Some(format!("data: {}\n\n", problem.body()).into())
                }
                Poll::Pending => return Poll::Pending,
            },
        };
        if let Some(bytes) = &bytes {
            this.access.bytes_out += bytes.len() as u64;
        }
        Poll::Ready(bytes.map(|b| Ok(Frame::data(b))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Stream { over, .. } => *over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Content::Stream { .. } => SizeHint::default(),
        }
    }
}

/// An answer with the headers that all have.
pub(super) fn response(status: u16, content_type: &'static str, mut reply: Reply) -> Response<Reply> {
    reply.access.status = status;
    let id = HeaderValue::from_str(&reply.access.id);
    let mut response = Response::new(reply);
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Ok(id) = id {
        headers.insert("x-request-id", id);
    }
    response
}

/// A JSON answer.
pub(super) fn json(access: Access, status: u16, value: &impl serde::Serialize) -> Response<Reply> {
    match serde_json::to_string(value) {
        Ok(mut text) => {
            text.push('\n');
            response(status, "application/json", Reply::whole(access, text))
        }
        Err(e) => refusal(access, Problem::internal(format!("an answer that is no JSON: {e}"))),
    }
}

/// The answer to what cannot be done.
pub(super) fn refusal(mut access: Access, problem: Problem) -> Response<Reply> {
    access.code = Some(problem.code);
    access.cause = problem.cause.as_deref().map(str::to_string);
    let body = format!("{}\n", problem.body());
    let mut response = response(problem.status, "application/json", Reply::whole(access, body));
    let headers = response.headers_mut();
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(methods) = problem.allow {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    if problem.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"causerie\""));
    }
    // What is left of a body that was not read must not be taken for the next request.
    if matches!(problem.status, 408 | 413) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
