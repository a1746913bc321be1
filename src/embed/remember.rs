//! An embedder that remembers: the same conversations are asked of many recommenders.

use super::Embedder;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Wraps an embedder and keeps each text's row for as long as it lives.
pub struct Remembering {
    inner: Arc<dyn Embedder>,
    rows: Mutex<HashMap<String, Box<[f32]>>>,
}

impl Remembering {
    /// Remembers what `inner` makes.
    pub fn new(inner: Arc<dyn Embedder>) -> Remembering {
        Remembering { inner, rows: Mutex::new(HashMap::new()) }
    }
}

impl Embedder for Remembering {
    fn dim(&self) -> usize {
        self.inner.dim()
    }
    fn name(&self) -> String {
        self.inner.name()
    }
    fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix> {
        if !lenient {
            // A row of zeros may be remembered; only the embedder itself says which text has none.
            return self.inner.embed(texts, false, run);
        }
        let new: Vec<&str> = {
            let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            let mut once = HashSet::new();
            texts.iter().copied().filter(|t| !rows.contains_key(*t) && once.insert(*t)).collect()
        };
        let made = if new.is_empty() { None } else { Some(self.inner.embed(&new, true, run)?) };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made {
            for (i, text) in new.into_iter().enumerate() {
                rows.insert(text.to_string(), made.row(i).into());
            }
        }
        let mut data = Vec::with_capacity(texts.len() * self.dim());
        for text in texts {
            let row = rows.get(*text).ok_or_else(|| Error::bug("embed: a remembered text is gone"))?;
            data.extend_from_slice(row);
        }
        Matrix::from_vec(texts.len(), self.dim(), data)
    }
}
