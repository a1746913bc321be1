//! Reading a request's body: its kind, its size, its time.

use super::problem::{Outcome, Problem};
use crate::config::ServeConfig;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of a body that is too large that are still taken and thrown away, so that a client that writes before it reads
/// sees the answer and not a broken connection.
const THROWN_AWAY: u64 = 16 << 20;

/// Of a body that nobody needed, so much is still read, for so long, that its connection can carry the next request: clients
/// often send it in a later packet than the head.
const REST: u64 = 256 << 10;
const REST_TIME: Duration = Duration::from_millis(250);

/// The whole body of a JSON request.
pub(super) async fn read_json(request: &Request<()>, body: &mut Incoming, config: &ServeConfig) -> Outcome<Vec<u8>> {
    let header = |name| request.headers().get(name).map(|v| v.to_str().unwrap_or("").trim().to_ascii_lowercase());
    let kind = header(CONTENT_TYPE).unwrap_or_default();
    let (kind, parameters) = kind.split_once(';').unwrap_or((&kind, ""));
    let charset = parameters.split(';').filter_map(|p| p.trim().strip_prefix("charset=")).next();
    if kind.trim() != "application/json" || charset.is_some_and(|c| c.trim_matches('"') != "utf-8") {
        let message = "send JSON in UTF-8, with the header `Content-Type: application/json`";
        return Err(Problem::new(415, "not_json_content", message));
    }
    if header(CONTENT_ENCODING).is_some_and(|e| !e.is_empty() && e != "identity") {
        return Err(Problem::new(
            415,
            "encoded_content",
            "packed bodies are not read: send it without Content-Encoding",
        ));
    }
    let waits = header(EXPECT).is_some();
    let most = config.body_bytes as u64;
    // A client that waits is told at once; and one that will never be read to its end.
    let claimed = body.size_hint().lower();
    if claimed > most && (waits || claimed > most.saturating_add(THROWN_AWAY)) {
        return Err(too_large(most));
    }
    let limit = Duration::from_millis(config.read_timeout_ms);
    match timeout(limit, read(body, most)).await {
        Ok(read) => read,
        Err(_) => {
            let message =
                "the body did not arrive within serve.read_timeout_ms: send it at once, or raise that setting";
            Err(Problem::new(408, "body_timeout", message))
        }
    }
}

/// Reads what was left of the body of an answered request. False where that is too much, late or broken: what comes of it must
/// not be taken for the next request.
pub(super) async fn take_rest(request: &Request<()>, body: &mut Incoming) -> bool {
    if body.is_end_stream() {
        return true;
    }
    // A client that waits to be asked for its body has its answer: it need not send it.
    if body.size_hint().lower() > REST || request.headers().contains_key(EXPECT) {
        return false;
    }
    timeout(REST_TIME, read(body, REST)).await.is_ok_and(|read| read.is_ok())
}

fn too_large(most: u64) -> Problem {
    let message = format!("the body has more than {most} bytes: send the latest turns only, or raise serve.body_bytes");
    Problem::new(413, "body_too_large", message)
}

async fn read(body: &mut Incoming, most: u64) -> Outcome<Vec<u8>> {
    // A length that is claimed is not yet sent: memory grows with what arrives.
    let mut bytes = Vec::new();
    let mut arrived = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let frame = frame
            .map_err(|_| Problem::new(400, "broken_body", "the body broke off or is not well formed: send it again"))?;
        let Some(data) = frame.data_ref() else { continue };
        arrived += data.len() as u64;
        if arrived <= most {
            bytes.extend_from_slice(data);
        } else if arrived > most.saturating_add(THROWN_AWAY) {
            break;
        } else {
            bytes = Vec::new();
        }
    }
    if arrived > most { Err(too_large(most)) } else { Ok(bytes) }
}
