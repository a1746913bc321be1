//! An embedder that remembers: the same conversations are asked of many recommenders.

use super::embedder::Embedder;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Wraps an embedder and keeps the rows of the texts it was asked for.
pub struct Remembering {
    inner: Arc<dyn Embedder>,
    rows: Mutex<HashMap<String, Arc<[f32]>>>,
    most: usize,
}

impl Remembering {
    /// Remembers what `inner` makes for as long as it lives.
    pub fn new(inner: Arc<dyn Embedder>) -> Remembering {
        Remembering::at_most(inner, usize::MAX)
    }
    /// Remembers at most `most` texts; when they are passed, all are forgotten. For what runs without end.
    pub fn at_most(inner: Arc<dyn Embedder>, most: usize) -> Remembering {
        Remembering { inner, rows: Mutex::new(HashMap::new()), most }
    }
}

impl Embedder for Remembering {
    fn dim(&self) -> usize {
        self.inner.dim()
    }
    fn name(&self) -> String {
        self.inner.name()
    }
    fn bytes(&self) -> u64 {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = rows.iter().map(|(text, row)| text.len() + size_of_val(&**row) + 64).sum();
        self.inner.bytes() + kept as u64
    }
    fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix> {
        if !lenient {
            // A row of zeros may be remembered; only the embedder itself says which text has none.
            return self.inner.embed(texts, false, run);
        }
        // What is known is taken at once: another caller may make room before this one is done.
        let mut found: HashMap<&str, Arc<[f32]>> = HashMap::new();
        let mut new = Vec::new();
        {
            let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            let mut once = HashSet::new();
            for text in texts.iter().copied().filter(|t| once.insert(*t)) {
                match rows.get(text) {
                    Some(row) => drop(found.insert(text, row.clone())),
                    None => new.push(text),
                }
            }
        }
        if !new.is_empty() {
            let made = self.inner.embed(&new, true, run)?;
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            if rows.len().saturating_add(new.len()) > self.most {
                rows.clear();
            }
            for (i, text) in new.into_iter().enumerate() {
                let row: Arc<[f32]> = made.row(i).into();
                found.insert(text, row.clone());
                if rows.len() < self.most {
                    rows.insert(text.to_string(), row);
                }
            }
        }
        let mut data = Vec::with_capacity(texts.len() * self.dim());
        for text in texts {
            let row = found.get(*text).ok_or_else(|| Error::bug("embed: a remembered text is gone"))?;
            data.extend_from_slice(row);
        }
        Matrix::from_vec(texts.len(), self.dim(), data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Rows of one value, the length of the text; counts the texts it is asked for.
    struct Lengths(AtomicUsize);
    impl Embedder for Lengths {
        fn dim(&self) -> usize {
            1
        }
        fn name(&self) -> String {
            "lengths".into()
        }
        fn embed(&self, texts: &[&str], _: bool, _: &Run) -> Result<Matrix> {
            self.0.fetch_add(texts.len(), Ordering::Relaxed);
            Matrix::from_vec(texts.len(), 1, texts.iter().map(|t| t.len() as f32).collect())
        }
    }

    #[test]
    fn texts_are_embedded_once_and_no_more_than_asked_are_kept() {
        let inner = Arc::new(Lengths(AtomicUsize::new(0)));
        let run = Run::new(1).unwrap();
        let asked = || inner.0.load(Ordering::Relaxed);
        let embedder = Remembering::at_most(inner.clone(), 2);
        assert_eq!(embedder.embed(&["a", "bb", "a"], true, &run).unwrap().data(), [1.0, 2.0, 1.0]);
        assert_eq!(asked(), 2);
        embedder.embed(&["bb", "a"], true, &run).unwrap();
        assert_eq!(asked(), 2);
        // More than are kept: all are right all the same, and what is kept stays within the bound.
        assert_eq!(embedder.embed(&["a", "ccc", "dddd", "ee"], true, &run).unwrap().data(), [1.0, 3.0, 4.0, 2.0]);
        assert_eq!(embedder.rows.lock().unwrap().len(), 2);
    }
}
