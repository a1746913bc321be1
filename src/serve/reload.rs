//! Loading what is served: once at the start, and again at every `POST /v1/reload`. One load at a time, on a thread of its own:
//! whoever asked for it may leave, it goes on to its end, and what it gave is served.

use super::problem::{Outcome, Problem};
use super::shared::{Shared, model_name};
use crate::error::{Error, ErrorKind, Result};
use crate::recommend::service::Generation;
use crate::run::Level;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::oneshot;

/// True while a load is under way; false again when dropped, by the thread that loads.
struct Loading(Arc<Shared>);

impl Loading {
    fn begin(shared: &Arc<Shared>) -> Option<Loading> {
        let flag: &AtomicBool = &shared.loading;
        (!flag.swap(true, Ordering::AcqRel)).then(|| Loading(shared.clone()))
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.loading.store(false, Ordering::Release);
    }
}

/// What is told when a load has ended, whether or not anybody still listens.
pub(super) type Loaded = oneshot::Receiver<Result<Arc<Generation>>>;

/// Begins to load and to serve what was loaded; none where a load is under way. What was served before goes on until then,
/// and after a load that failed.
pub(super) fn begin(shared: &Arc<Shared>) -> Option<Loaded> {
    let loading = Loading::begin(shared)?;
    let (tell, loaded) = oneshot::channel();
    let load = move || {
        let shared = loading.0.clone();
        let began = Instant::now();
        shared.log(Level::Info, json!({"event": "loading"}));
        let service = catch_unwind(AssertUnwindSafe(|| (shared.load)()))
            .unwrap_or_else(|_| Err(Error::bug("serve: the loader panicked")));
        let outcome = service.map(|service| shared.install(service));
        let ms = (began.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        shared.metrics.loaded(outcome.is_ok());
        match &outcome {
            Ok(now) => shared.log(Level::Info, json!({"event": "loaded", "generation": now.number, "ms": ms})),
            Err(e) => shared.log(Level::Error, json!({"event": "load_failed", "cause": e.to_string(), "ms": ms})),
        }
        // First, so that whoever hears of the end may ask for the next one.
        drop(loading);
        let _ = tell.send(outcome);
    };
    let failed = |e: std::io::Error| Error::new(ErrorKind::Io, format!("serve: cannot start a thread to load: {e}"));
    match std::thread::Builder::new().name("causerie-load".into()).spawn(load) {
        Ok(_) => Some(loaded),
        Err(e) => {
            let (tell, loaded) = oneshot::channel();
            let _ = tell.send(Err(failed(e)));
            Some(loaded)
        }
    }
}

/// `POST /v1/reload`: opens the work directory again and serves what is in it now. The old generation answers until the
/// new one is whole, and goes on answering when there is none.
pub(super) async fn reload(shared: &Arc<Shared>) -> Outcome<Value> {
    shared.current()?;
    let stopping = || Problem::new(503, "stopping", "the server is about to end: ask another one").retry_after(1);
    if shared.draining.load(Ordering::Relaxed) {
        return Err(stopping());
    }
    let Some(loaded) = begin(shared) else {
        return Err(Problem::new(409, "reloading", "a reload is under way: wait for it").retry_after(1));
    };
    match loaded.await {
        Ok(Ok(now)) => Ok(json!({
            "generation": now.number, "items": now.service.items().len(), "model": model_name(&now.service),
        })),
        // The signal that ends the server ends the load.
        Ok(Err(e)) if e.kind() == ErrorKind::Cancelled => Err(stopping()),
        other => {
            let cause = match other {
                Ok(Err(e)) => e.to_string(),
                Ok(Ok(_)) | Err(_) => "the load ended without a word".to_string(),
            };
            let message = "the work directory did not open; what was served before goes on. The log says why";
            Err(Problem { cause: Some(cause.into()), ..Problem::new(500, "reload_failed", message) })
        }
    }
}
