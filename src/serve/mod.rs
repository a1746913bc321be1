//! The recommender over HTTP/1.1 (feature `serve`): for those who link nothing.
//!
//! - `server.rs` listens, on loopback unless told otherwise, and ends in order; `stall.rs` drops clients that take nothing.
//! - `route.rs` finds what is asked for, `auth.rs` who may, `body.rs` and `wire.rs` read and check the request.
//! - `admission.rs` has requests compute in fair turns; `served.rs` answers them through [`crate::recommend`],
//!   whoever ranks (`engine.rs`); `voice.rs` puts an
//!   answer into words; `chat.rs` is OpenAI's shape, `catalogue.rs` changes what is served while it is served.
//! - `access.rs`, `metrics.rs`: a JSON line and a count for every request, without what users say; `problem.rs`: refusals.
//!
//! The one room that listens; it connects to nobody. TLS is left to a proxy in front.

mod access;
mod auth;
mod body;
mod catalogue;
mod chat;
mod engine;
mod admission;
mod metrics;
mod problem;
mod reply;
mod route;
mod slots;
mod served;
mod server;
mod stall;
mod voice;
mod wire;

pub use access::log_line;
pub use auth::Token;
pub use engine::{Engine, Placed, Ranking};
pub use served::Served;
pub use server::{LogLine, Server, Stopper};
#[cfg(feature = "llama")]
pub use voice::ModelVoice;
pub use voice::{ListVoice, Talk, Usage, Voice};
