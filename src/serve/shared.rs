//! What all connections share: the settings, what is served, who computes when.

use super::admission::{Admission, Permit};
use super::auth::Token;
use super::log_line::line;
use super::metrics::Metrics;
use super::problem::{Outcome, Problem};
use super::voice::Voice;
use crate::config::ServeConfig;
use crate::error::Result;
use crate::recommend::service::{Generation, LiveService, Service};
use crate::run::{CancelFlag, Level, Run};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Takes the server's log, a JSON object a line, from any thread.
pub type LogLine = dyn Fn(&str) + Send + Sync;
pub(super) type Loader = dyn Fn() -> Result<Service> + Send + Sync;

/// Of the time that is left to a request, what a search may take; the rest is for its last step and the answer.
const SEARCH_SHARE: f64 = 0.9;

/// What a service is called in the API.
pub(super) fn model_name(service: &Service) -> String {
    format!("causerie-{}", service.system())
}

/// Sets a run's cancel flag when dropped: nobody waits for its work any more.
pub(super) struct CancelOnDrop(pub CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub config: ServeConfig,
    pub token: Option<Token>,
    /// Without a token, on loopback: the Host header is checked.
    pub open_loopback: bool,
    pub admission: Arc<Admission>,
    pub metrics: Metrics,
    pub live: LiveService,
    pub voice: Voice,
    pub loading: AtomicBool,
    pub load: Box<Loader>,
    pub started_s: u64,
    pub threads: usize,
    pub log_line: Box<LogLine>,
    pub draining: AtomicBool,
}

/// A request whose turn has come.
pub(super) struct ComputeTurn {
    /// Dropped by the thread that computes, when it is done.
    pub permit: Permit,
    pub run: Run,
    pub generation: Arc<Generation>,
    pub cancel: CancelOnDrop,
    /// When the caller is told that there is no answer.
    pub deadline: Instant,
    /// When a recommender that searches gives what it has, a little before that.
    pub soon: std::time::Instant,
}

impl Shared {
    pub fn log(&self, level: Level, fields: Value) {
        (self.log_line)(&line(level, fields));
    }
    pub fn is_ready(&self) -> bool {
        self.current().is_ok() && !self.draining.load(Ordering::Relaxed)
    }
    /// What is served now.
    pub fn current(&self) -> Outcome<Arc<Generation>> {
        self.live.current().ok_or_else(|| {
            Problem::new(503, "loading", "the recommender is being loaded: try again in a moment").retry_after(1)
        })
    }
    /// Serves `service` from now on; what was withdrawn stays so.
    pub fn install(&self, service: Service) -> Arc<Generation> {
        let next = self.live.install(service);
        let (items, model) = (next.service.items().len(), model_name(&next.service));
        self.log(Level::Info, json!({"event": "serving", "model": model, "items": items, "generation": next.number}));
        next
    }

    /// Waits for a turn to compute.
    pub async fn start(&self, peer: IpAddr) -> Outcome<ComputeTurn> {
        self.current()?;
        let deadline = Instant::now() + Duration::from_millis(self.config.timeout_ms);
        let permit = match timeout_at(deadline, self.admission.enter(peer)).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => {
                let message = format!(
                    "{} requests wait already: try again after the time in Retry-After, or raise serve.max_waiting",
                    self.config.max_waiting
                );
                return Err(Problem::new(429, "too_many_waiting", message).retry_after(1));
            }
            Err(_) => return Err(Problem::timed_out()),
        };
        let run = Run::new(self.threads).map_err(|e| Problem::of(&e))?;
        let cancel = CancelOnDrop(run.cancel_flag());
        let left = deadline.saturating_duration_since(Instant::now());
        let soon = std::time::Instant::now() + left.mul_f64(SEARCH_SHARE);
        Ok(ComputeTurn { permit, run, generation: self.current()?, cancel, deadline, soon })
    }

    /// Computes on a thread of its own when the turn has come. Dropping the future (the client left), or the deadline,
    /// cancels the work.
    pub async fn compute<T: Send + 'static>(
        &self,
        peer: IpAddr,
        work: impl FnOnce(&Generation, std::time::Instant, &Run) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let ComputeTurn { permit, run, generation, cancel, deadline, soon } = self.start(peer).await?;
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&generation, soon, &run)
        });
        let done = timeout_at(deadline, task).await;
        drop(cancel);
        match done {
            Ok(Ok(done)) => done,
            Ok(Err(e)) => Err(Problem::internal(format!("the work ended early: {e}"))),
            Err(_) => Err(Problem::timed_out()),
        }
    }
}

#[cfg(test)]
impl Shared {
    /// One that serves nothing and logs to `log`.
    pub fn for_tests(log: Box<LogLine>) -> Arc<Shared> {
        Arc::new(Shared {
            config: ServeConfig::default(),
            token: None,
            open_loopback: true,
            admission: Admission::new(1, 1),
            metrics: Metrics::new(),
            live: LiveService::default(),
            voice: Voice::List,
            loading: AtomicBool::new(false),
            load: Box::new(|| Err(crate::Error::bug("nothing to load"))),
            started_s: 0,
            threads: 1,
            log_line: log,
            draining: AtomicBool::new(false),
        })
    }
}
