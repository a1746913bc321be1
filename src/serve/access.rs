//! One request from its head to the last byte of its answer: its id, its line in the log, its place in the metrics.

use super::answer::AnswerBody;
use super::problem::Problem;
use super::route::Route;
use super::shared::Shared;
use super::slots::{ConnectionSlot, RequestGuard};
use crate::recommend::service::Query;
use crate::run::Level;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The status of a request whose client left before the answer began.
pub(super) const CLIENT_LEFT: u16 = 499;
/// Ids of callers longer than this are replaced.
const LONGEST_ID: usize = 64;

/// Written to the log and counted when dropped.
pub(super) struct Access {
    shared: Arc<Shared>,
    slot: Arc<ConnectionSlot>,
    under_way: Option<RequestGuard>,
    pub id: String,
    pub method: &'static str,
    pub route: Route,
    peer: IpAddr,
    started: Instant,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Items in the answer.
    items: u64,
    /// Conversations in the request.
    conversations: u64,
    generation: u64,
    /// True once the last byte was handed over.
    pub complete: bool,
    /// The stream of the answer broke off.
    failed: bool,
    pub code: Option<&'static str>,
    pub cause: Option<String>,
    /// What users said; kept only where `serve.log_text` asks for it.
    text: Option<Value>,
}

impl Access {
    /// `id`: what the caller sent as `x-request-id`; `slot`: the connection that it came on.
    pub fn new(
        shared: Arc<Shared>,
        slot: Arc<ConnectionSlot>,
        method: &'static str,
        route: Route,
        peer: IpAddr,
        id: Option<&str>,
    ) -> Access {
        shared.metrics.begin();
        let fits = |id: &&str| {
            let sound = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(sound)
        };
        let id = id.filter(fits).map_or_else(new_id, str::to_string);
        Access {
            shared,
            slot,
            under_way: None,
            id,
            method,
            route,
            peer,
            started: Instant::now(),
            status: CLIENT_LEFT,
            bytes_in: 0,
            bytes_out: 0,
            items: 0,
            conversations: 0,
            generation: 0,
            complete: false,
            failed: false,
            code: None,
            cause: None,
            text: None,
        }
    }

    /// Takes an answer into account; what users said only where `serve.log_text` asks for it.
    pub fn answered(&mut self, asked: &[Query], answers: &[AnswerBody], generation: u64) {
        self.conversations = asked.len() as u64;
        self.items = answers.iter().map(|a| a.items.len() as u64).sum();
        self.generation = generation;
        if self.shared.config.log_text {
            self.text = Some(asked.iter().map(|one| json!(one.conversation.turns)).collect());
        }
    }

    /// The stream of its answer broke off: the client was told so in its last event, the status having gone before.
    pub fn stream_failed(&mut self, problem: &Problem) {
        self.code = Some(problem.code);
        self.cause = problem.cause.as_deref().map(str::to_string);
        self.failed = true;
        self.shared.metrics.stream_failed();
    }

    /// The request is here as a whole: its connection stays until it is answered.
    pub fn arrived(&mut self) {
        self.under_way = Some(self.slot.under_way());
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.shared.metrics.end(self.route, self.status, took, self.items);
        let level = match (self.status, self.failed) {
            (500, _) | (_, true) => Level::Error,
            (400.., false) => Level::Warn,
            (_, false) => Level::Info,
        };
        let mut line = json!({
            "event": "request", "id": self.id, "method": self.method, "route": self.route.label(), "status": self.status,
            "ms": (took.as_secs_f64() * 1e6).round() / 1e3, "bytes_in": self.bytes_in, "bytes_out": self.bytes_out,
            "peer": self.peer.to_string(),
        });
        if let Value::Object(line) = &mut line {
            if self.conversations > 0 {
                line.insert("conversations".into(), json!(self.conversations));
                line.insert("items".into(), json!(self.items));
                line.insert("generation".into(), json!(self.generation));
            }
            if self.status != CLIENT_LEFT && !self.complete {
                line.insert("cut_off".into(), json!(true));
            }
            for (key, value) in [("code", self.code.map(str::to_string)), ("cause", self.cause.take())] {
                if let Some(value) = value {
                    line.insert(key.into(), json!(value));
                }
            }
            if let Some(text) = self.text.take() {
                line.insert("text".into(), text);
            }
        }
        self.shared.log(level, line);
    }
}

/// Logs and counts a request that could not be read, or was turned away unread: its client was told `status` and no more.
pub(super) fn unread(shared: &Shared, peer: IpAddr, status: u16, code: &'static str, cause: Option<String>) {
    shared.metrics.unread(status);
    let mut line = json!({
        "event": "request", "id": new_id(), "method": "unread", "route": Route::Unknown.label(), "status": status,
        "peer": peer.to_string(), "code": code,
    });
    if let Some(cause) = cause {
        line["cause"] = json!(cause);
    }
    shared.log(Level::Warn, line);
}

/// Sixteen hexadecimal digits that do not come again in this process, nor, in practice, in another.
fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = blake3::hash(format!("{now} {count} {}", std::process::id()).as_bytes());
    hash.to_hex().as_str()[..16].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_come_twice() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
