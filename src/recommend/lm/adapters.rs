//! Which LoRA adapters serve, with the ranking head that was trained along: exchanged while requests are in flight.
//!
//! A request takes the current set when it starts and keeps it to its end. A set has a generation number, given once and
//! never again; an exchange names the generation that it means to replace, and fails when another came first.

use crate::error::{Error, Result};
use crate::llama::Adapter;
use crate::tune::Head;
use std::sync::{Arc, Mutex, PoisonError};

/// What is exchanged as one.
#[derive(Clone, Default)]
pub struct Set {
    /// Adapters with their scales.
    pub list: Vec<(Adapter, f32)>,
    /// The ranking head that reads the states of the model with just these adapters; mode `head` has one.
    pub head: Option<Arc<Head>>,
}

/// A set, and its number.
pub struct Adapters {
    generation: u64,
    set: Set,
}

impl Adapters {
    /// The number of this set.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// Adapters with their scales.
    pub fn list(&self) -> &[(Adapter, f32)] {
        &self.set.list
    }
    /// The ranking head of this set.
    pub fn head(&self) -> Option<&Head> {
        self.set.head.as_deref()
    }
}

/// The set that serves, and the one before it.
pub struct Switch {
    inner: Mutex<(Arc<Adapters>, Option<Arc<Adapters>>)>,
}

impl Switch {
    /// Generation 1.
    pub fn new(set: Set) -> Switch {
        Switch { inner: Mutex::new((Arc::new(Adapters { generation: 1, set }), None)) }
    }
    /// The set that serves now.
    pub fn current(&self) -> Arc<Adapters> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
    /// Puts `set` in the place of generation `expected`; gives its number.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when generation `expected` does not serve any more.
    pub fn swap(&self, expected: u64, set: Set) -> Result<u64> {
        self.exchange(expected, |_| Ok(set))
    }
    /// Puts the adapters before generation `expected` back, under a new number.
    ///
    /// # Errors
    /// As [`Switch::swap`], and when there are none before it.
    pub fn roll_back(&self, expected: u64) -> Result<u64> {
        self.exchange(expected, |previous| {
            let previous = previous.ok_or_else(|| Error::invalid("adapters: nothing served before these"))?;
            Ok(previous.set.clone())
        })
    }
    fn exchange(&self, expected: u64, set: impl FnOnce(Option<&Arc<Adapters>>) -> Result<Set>) -> Result<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let serving = inner.0.generation;
        if serving != expected {
            return Err(Error::invalid(format!(
                "adapters: generation {serving} serves, not {expected}: somebody else exchanged them; look again"
            )));
        }
        let next = Arc::new(Adapters { generation: serving + 1, set: set(inner.1.as_ref())? });
        let before = std::mem::replace(&mut inner.0, next);
        let gone = inner.1.replace(before);
        // Every request passes this lock, and to free adapters takes milliseconds.
        drop(inner);
        drop(gone);
        Ok(serving + 1)
    }
}
