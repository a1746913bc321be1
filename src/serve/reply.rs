//! The body of an answer: whole, or in pieces as they are made.

use super::access::Access;
use super::problem::Problem;
use super::shared::CancelOnDrop;
use hyper::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

/// A piece of a stream.
pub(super) enum Piece {
    /// Sent as `data: …`.
    Event(String),
    /// `data: [DONE]`: the stream is whole.
    Done,
    /// Sent as `data: {"error": …}`: there is no more to come, and what came is not whole.
    Failed(Problem),
}

enum BodyContent {
    Whole(Option<Bytes>),
    Stream { pieces: mpsc::Receiver<Piece>, _cancel: CancelOnDrop, deadline: Pin<Box<Sleep>>, over: bool },
}

/// A body that, once it is over, writes its request into the log.
pub(super) struct ReplyBody {
    content: BodyContent,
    access: Access,
}

impl ReplyBody {
    pub fn whole(access: Access, bytes: impl Into<Bytes>) -> ReplyBody {
        ReplyBody { content: BodyContent::Whole(Some(bytes.into()).filter(|b: &Bytes| !b.is_empty())), access }
    }
    /// Server-sent events until [`Piece::Done`] or `deadline`; the work is cancelled when the client leaves.
    pub fn stream(access: Access, pieces: mpsc::Receiver<Piece>, cancel: CancelOnDrop, deadline: Instant) -> ReplyBody {
        let deadline = Box::pin(sleep_until(deadline));
        ReplyBody { content: BodyContent::Stream { pieces, _cancel: cancel, deadline, over: false }, access }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let bytes = match &mut this.content {
            BodyContent::Whole(bytes) => {
                this.access.complete = true;
                bytes.take()
            }
            BodyContent::Stream { over: true, .. } => None,
            BodyContent::Stream { pieces, deadline, over, .. } => match pieces.poll_recv(cx) {
                Poll::Ready(Some(Piece::Event(event))) => Some(format!("data: {event}\n\n").into()),
                Poll::Ready(Some(Piece::Done)) => {
                    *over = true;
                    this.access.complete = true;
                    Some(Bytes::from_static(b"data: [DONE]\n\n"))
                }
                Poll::Ready(Some(Piece::Failed(problem))) => {
                    *over = true;
                    Some(failed(&mut this.access, problem))
                }
                // Whoever made the pieces stopped without a word, by a panic most likely.
                Poll::Ready(None) => {
                    *over = true;
                    let problem = Problem::internal("the stream stopped without a word".into());
                    Some(failed(&mut this.access, problem))
                }
                Poll::Pending if deadline.as_mut().poll(cx).is_ready() => {
                    *over = true;
                    Some(failed(&mut this.access, Problem::timed_out()))
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
            BodyContent::Whole(bytes) => bytes.is_none(),
            BodyContent::Stream { over, .. } => *over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            BodyContent::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            BodyContent::Stream { .. } => SizeHint::default(),
        }
    }
}

/// The last event of a stream that is not whole; its request's line of the log says why, and it is counted.
fn failed(access: &mut Access, problem: Problem) -> Bytes {
    access.stream_failed(&problem);
    format!("data: {}\n\n", problem.body()).into()
}

/// An answer with the headers that all have.
pub(super) fn response(status: u16, content_type: &'static str, mut reply: ReplyBody) -> Response<ReplyBody> {
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
pub(super) fn json(access: Access, status: u16, value: &impl serde::Serialize) -> Response<ReplyBody> {
    match serde_json::to_string(value) {
        Ok(mut text) => {
            text.push('\n');
            response(status, "application/json", ReplyBody::whole(access, text))
        }
        Err(e) => refusal(access, Problem::internal(format!("an answer that is no JSON: {e}"))),
    }
}

/// The answer to what cannot be done.
pub(super) fn refusal(mut access: Access, problem: Problem) -> Response<ReplyBody> {
    access.code = Some(problem.code);
    access.cause = problem.cause.as_deref().map(str::to_string);
    let body = format!("{}\n", problem.body());
    let mut response = response(problem.status, "application/json", ReplyBody::whole(access, body));
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

#[cfg(test)]
mod tests {
    use super::super::metrics::Now;
    use super::super::route::Route;
    use super::super::shared::Shared;
    use super::super::slots::ConnectionSlots;
    use super::*;
    use crate::error::Error;
    use std::sync::{Arc, Mutex};
    use std::task::Waker;
    use std::time::Duration;

    /// What came of a stream of `pieces`: its bytes, the log, the page of metrics.
    fn streamed(pieces: Vec<Piece>) -> (String, String, String) {
        let log = Arc::new(Mutex::new(String::new()));
        let into = log.clone();
        let shared = Shared::for_tests(Box::new(move |line| *into.lock().unwrap() += line));
        let slot = Arc::new(ConnectionSlots::new(1).take(std::time::Instant::now()).unwrap());
        let peer = [127, 0, 0, 1].into();
        let access = Access::new(shared.clone(), slot, "POST", Route::Chat, peer, Some("trace-1"));
        let (sender, receiver) = mpsc::channel(8);
        pieces.into_iter().for_each(|piece| assert!(sender.try_send(piece).is_ok()));
        drop(sender);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let cancel = CancelOnDrop(Default::default());
        let reply = ReplyBody::stream(access, receiver, cancel, Instant::now() + Duration::from_secs(60));
        let mut response = response(200, "text/event-stream", reply);
        let mut text = String::new();
        while let Poll::Ready(Some(Ok(frame))) =
            Pin::new(response.body_mut()).poll_frame(&mut Context::from_waker(Waker::noop()))
        {
            text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
        drop(response);
        let now = Now { ready: true, computing: 0, waiting: 0, serving: None };
        let log = log.lock().unwrap().clone();
        (text, log, shared.metrics.text(&now))
    }

    /// The status had gone out as 200: neither the log nor the metrics said that the reply broke off.
    #[test]
    fn a_stream_that_fails_is_logged_as_an_error_and_counted() {
        for (last, code) in [
            (vec![Piece::Failed(Problem::of(&Error::bug("row 7 of /srv/secret")))], "internal"),
            (vec![Piece::Failed(Problem::timed_out())], "timed_out"),
            // The thread that made the pieces panicked.
            (vec![], "internal"),
        ] {
            let mut pieces = vec![Piece::Event("{}".into())];
            pieces.extend(last);
            let (text, log, metrics) = streamed(pieces);
            assert!(text.starts_with("data: {}\n\ndata: {\"error\"") && !text.contains("[DONE]"), "{text}");
            assert!(!text.contains("secret"));
            let line: serde_json::Value = serde_json::from_str(&log).unwrap();
            assert_eq!((&line["level"], &line["code"]), (&"error".into(), &code.into()), "{log}");
            assert_eq!(line["cut_off"], true);
            assert!(metrics.contains("causerie_streams_failed_total 1\n"), "{metrics}");
        }
        let (text, log, metrics) = streamed(vec![Piece::Event("{}".into()), Piece::Done]);
        assert!(text.ends_with("data: [DONE]\n\n"));
        assert!(log.contains("\"level\":\"info\"") && !log.contains("cut_off"), "{log}");
        assert!(metrics.contains("causerie_streams_failed_total 0\n"));
    }
}
