//! The recommender over HTTP/1.1 (feature `serve`): for those who link nothing.
//!
//! - `server.rs` listens, on loopback unless told otherwise, and ends in order; `stall.rs` drops clients that take nothing.
//! - `route.rs` says what can be asked for, `handler.rs` answers it, `auth.rs` who may, `body.rs` and `wire.rs` read and check
//!   the request.
//! - `admission.rs` has requests compute in fair turns; `answer.rs` answers them through [`crate::recommend::service`];
//!   `voice.rs` puts an answer into words; `chat.rs` is OpenAI's shape.
//! - `catalogue.rs` takes items out and puts them back, `reload.rs` loads what is served, while it is served.
//! - `access.rs`, `log_line.rs`, `metrics.rs`: a JSON line and a count for every request, without what users say; `log_queue.rs`: nobody waits for the
//!   log; `problem.rs`: refusals.
//!
//! The one room that listens; it connects to nobody. TLS is left to a proxy in front.

mod access;
mod admission;
mod answer;
mod auth;
mod body;
mod catalogue;
mod chat;
mod handler;
mod log_line;
mod log_queue;
mod metrics;
mod problem;
mod reload;
mod reply;
mod route;
mod server;
mod shared;
mod slots;
mod stall;
mod voice;
mod wire;

pub use auth::Token;
pub use log_line::log_line;
pub use log_queue::LogQueue;
pub use server::{Server, Stopper};
pub use shared::LogLine;
