//! Items taken out and put back while serving. Requests under way end with what they began with.

use super::problem::{Outcome, Problem};
use super::shared::Shared;
use super::wire;
use crate::recommend::service::{CatalogueChange, Generation};
use crate::run::Level;
use serde_json::{Value, json};

fn shown(now: &Generation) -> Value {
    json!({"generation": now.number, "items": now.service.items().len(), "withdrawn": now.withdrawn})
}

/// `GET /v1/catalogue`.
pub(super) fn show(shared: &Shared) -> Outcome<Value> {
    Ok(shown(&*shared.current()?))
}

/// `POST /v1/catalogue`: withdraws and restores ids; the next request sees it.
pub(super) fn change(shared: &Shared, body: &[u8]) -> Outcome<Value> {
    let wire::CatalogueRequest { withdraw, restore, generation } = wire::catalogue(body)?;
    if let Some(id) = withdraw.iter().find(|id| restore.contains(id)) {
        return Err(Problem::field("restore", format!("{id:?} is to be withdrawn as well: send one or the other")));
    }
    shared.current()?;
    let changed = shared.live.change(&CatalogueChange { withdraw, restore, expected: generation });
    let changed = changed.map_err(|now| {
        let message = format!("generation {} is served: read /v1/catalogue and decide again", now.0);
        Problem { param: Some("generation".into()), ..Problem::new(409, "other_generation", message) }
    })?;
    let (now, unknown) = changed.ok_or_else(|| Problem::internal("nothing is served".into()))?;
    let warnings = match unknown {
        0 => Vec::new(),
        n => vec![format!("{n} ids are not in the catalogue and were passed over")],
    };
    let withdrawn = now.withdrawn.len();
    shared.log(Level::Info, json!({"event": "catalogue", "generation": now.number, "withdrawn": withdrawn}));
    let mut shown = shown(&now);
    shown["warnings"] = json!(warnings);
    Ok(shown)
}
