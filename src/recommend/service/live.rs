//! What is served from one change to the next: items withdrawn and restored, another service put in the place of the first.
//! A request sees one generation from beginning to end.

use super::answering::{Answer, Service};
use super::query::Query;
use crate::error::Result;
use crate::run::Run;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// What is served between two changes.
pub struct Generation {
    /// 1 for the first; higher after every change.
    pub number: u64,
    /// What answers.
    pub service: Arc<Service>,
    /// Ids taken out of the catalogue for the time being.
    pub withdrawn: BTreeSet<String>,
    rows: Vec<u32>,
}

impl Generation {
    fn new(number: u64, service: Arc<Service>, withdrawn: BTreeSet<String>) -> Generation {
        let rows = withdrawn.iter().filter_map(|id| service.items().find(id)).collect();
        Generation { number, service, withdrawn, rows }
    }
    /// [`Service::answer_all`] without what is withdrawn.
    ///
    /// # Errors
    /// As there.
    pub fn answer_all(
        &self,
        queries: &[&Query],
        top_k: usize,
        deadline: Option<Instant>,
        run: &Run,
    ) -> Result<Vec<Answer>> {
        self.service.answer_all(queries, top_k, &self.rows, deadline, run)
    }
}

/// A service that can be changed while it answers; nothing is served at first.
#[derive(Default)]
pub struct LiveService {
    current: RwLock<Option<Arc<Generation>>>,
}

/// Ids to take out of the catalogue for a time, and to put back.
#[derive(Debug, Clone, Default)]
pub struct CatalogueChange {
    /// Out, until they are restored.
    pub withdraw: Vec<String>,
    /// Back again.
    pub restore: Vec<String>,
    /// The generation that the caller knows; none: whichever it is.
    pub expected: Option<u64>,
}

/// Another generation is served than the caller knows: its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutdatedGeneration(pub u64);

impl LiveService {
    /// What is served now.
    pub fn current(&self) -> Option<Arc<Generation>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Serves `service` from now on; what was withdrawn stays so where the new one has it.
    pub fn install(&self, service: Service) -> Arc<Generation> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut withdrawn = current.as_ref().map_or_else(BTreeSet::new, |g| g.withdrawn.clone());
        withdrawn.retain(|id| service.items().find(id).is_some());
        let number = current.as_ref().map_or(1, |g| g.number + 1);
        let next = Arc::new(Generation::new(number, Arc::new(service), withdrawn));
        let before = current.replace(next.clone());
        // What was served goes after the lock, so that no request waits for it.
        drop(current);
        drop(before);
        next
    }
    /// Withdraws and restores items; the next request sees it. Gives what is served then, and how many ids are not in the
    /// catalogue; none where nothing is served.
    ///
    /// # Errors
    /// [`OutdatedGeneration`] where the caller decided on another one, with nothing changed.
    pub fn change(
        &self,
        change: &CatalogueChange,
    ) -> std::result::Result<Option<(Arc<Generation>, usize)>, OutdatedGeneration> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = current.clone() else { return Ok(None) };
        if change.expected.is_some_and(|e| e != now.number) {
            return Err(OutdatedGeneration(now.number));
        }
        let is_known = |id: &String| now.service.items().find(id).is_some();
        let (mut withdrawn, mut unknown) = (now.withdrawn.clone(), 0);
        for id in &change.withdraw {
            match is_known(id) {
                true => drop(withdrawn.insert(id.clone())),
                false => unknown += 1,
            }
        }
        for id in &change.restore {
            if !withdrawn.remove(id) && !is_known(id) {
                unknown += 1;
            }
        }
        if withdrawn == now.withdrawn {
            return Ok(Some((now, unknown)));
        }
        let next = Arc::new(Generation::new(now.number + 1, now.service.clone(), withdrawn));
        *current = Some(next.clone());
        Ok(Some((next, unknown)))
    }
}
