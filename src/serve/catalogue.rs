//! Changes while serving: items taken out and put back, and the work directory read again. Requests under way end with
//! what they began with.

use super::problem::{Outcome, Problem};
use super::server::Shared;
use super::wire::{self, CatalogueChange};
use crate::run::Level;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `GET /v1/catalogue`.
pub(super) fn show(shared: &Shared) -> Outcome<Value> {
    let current = shared.current()?;
    Ok(json!({"generation": current.number, "items": current.served.items(), "withdrawn": current.withdrawn}))
}

/// `POST /v1/catalogue`: withdraws and restores ids; the next request sees it.
pub(super) fn change(shared: &Shared, body: &[u8]) -> Outcome<Value> {
    let CatalogueChange { withdraw, restore, generation } = wire::parse(body)?;
    if let Some(id) = withdraw.iter().find(|id| restore.contains(id)) {
        return Err(Problem::field("restore", format!("{id:?} is to be withdrawn as well: send one or the other")));
    }
    let changed = shared.change(generation, |current, withdrawn| {
        let mut unknown = 0;
        for id in &withdraw {
            match current.knows(id) {
                true => drop(withdrawn.insert(id.clone())),
                false => unknown += 1,
            }
        }
        for id in &restore {
            if !withdrawn.remove(id) && !current.knows(id) {
                unknown += 1;
            }
        }
        unknown
    })?;
    let (now, unknown) = changed;
    let warnings = match unknown {
        0 => Vec::new(),
        n => vec![format!("{n} ids are not in the catalogue and were passed over")],
    };
    let withdrawn = now.withdrawn.len();
    shared.log(Level::Info, json!({"event": "catalogue", "generation": now.number, "withdrawn": withdrawn}));
    Ok(json!({"generation": now.number, "items": now.served.items(), "withdrawn": now.withdrawn, "warnings": warnings}))
}

/// True while a reload is under way; false again when dropped.
struct Reloading<'a>(&'a AtomicBool);

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// `POST /v1/reload`: opens the work directory again and serves what is in it now. The old generation answers until the
/// new one is whole, and goes on answering when there is none.
pub(super) async fn reload(shared: &Arc<Shared>) -> Outcome<Value> {
    shared.current()?;
    if shared.reloading.swap(true, Ordering::AcqRel) {
        return Err(Problem::new(409, "reloading", "a reload is under way: wait for it").retry_after(1));
    }
    let done = Reloading(&shared.reloading);
    let load = shared.clone();
    let loaded = tokio::task::spawn_blocking(move || (load.load)()).await;
    drop(done);
    let failed = |cause: String| {
        let message = "the work directory did not open; what was served before goes on. The log says why";
        Problem { cause: Some(cause.into()), ..Problem::new(500, "reload_failed", message) }
    };
    match loaded {
        Ok(Ok(served)) => {
            let now = shared.install(served);
            Ok(json!({"generation": now.number, "items": now.served.items(), "model": now.served.model()}))
        }
        Ok(Err(e)) => Err(failed(e.to_string())),
        Err(_) => Err(failed("the loader panicked".into())),
    }
}
