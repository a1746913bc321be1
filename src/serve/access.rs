//! One request from its head to the last byte of its answer: its id, its line in the log, its place in the metrics.

use super::route::Route;
use super::server::Shared;
use super::slots::{ConnectionSlot, RequestGuard};
use crate::run::Level;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    pub items: u64,
    /// Conversations in the request.
    pub conversations: u64,
    pub generation: u64,
    /// True once the last byte was handed over.
    pub complete: bool,
    pub code: Option<&'static str>,
    pub cause: Option<String>,
    /// What users said; kept only where `serve.log_text` asks for it.
    pub text: Option<Value>,
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
            code: None,
            cause: None,
            text: None,
        }
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
        let level = match self.status {
            500 => Level::Error,
            400.. => Level::Warn,
            _ => Level::Info,
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

/// A line of the log: when and how grave, then what.
pub(super) fn line(level: Level, fields: Value) -> String {
    let mut out = Map::new();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    out.insert("time".into(), json!(rfc3339(since)));
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    out.insert("level".into(), json!(level));
    if let Value::Object(fields) = fields {
        out.extend(fields);
    }
    Value::Object(out).to_string()
}

/// A message of the library as a line of the same log.
pub fn log_line(level: Level, message: &str) -> String {
    line(level, json!({"event": "message", "message": message}))
}

/// Sixteen hexadecimal digits that do not come again in this process, nor, in practice, in another.
fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = blake3::hash(format!("{now} {count} {}", std::process::id()).as_bytes());
    hash.to_hex().as_str()[..16].to_string()
}

/// `2026-11-23T02:15:38.123Z`.
fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, "chrono-compatible low-level date algorithms": civil_from_days, for days from 1970 on.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second, ms) = (second / 3600, second / 60 % 60, second % 60, since_1970.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        // `date -u -d @N` gives these.
        for (seconds, says) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), says);
        }
    }

    #[test]
    fn ids_do_not_come_twice() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
