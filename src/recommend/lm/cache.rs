//! Prompts computed before, as llama.cpp saves them: what a conversation's next turn, and every conversation's instruction, begin with.
//!
//! An entry is good for any prompt that begins with the same tokens: keys and values of a token depend on what stands
//! before it alone. Entries are kept per adapter generation and never cross it; the cache belongs to one model. The entry
//! used longest ago goes first when the bytes are over.

use super::session::Row;
use crate::error::Result;
use crate::llama::SavedSequence;
use std::sync::{Arc, Mutex, PoisonError};

/// Computed prompts, bounded in bytes.
pub struct PrefixCache {
    limit: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    bytes: u64,
    clock: u64,
}

struct Entry {
    generation: u64,
    tokens: Arc<Vec<u32>>,
    state: Arc<SavedSequence>,
    end: Option<Arc<End>>,
    used: u64,
}

impl Entry {
    fn bytes(&self) -> u64 {
        let end = self.end.as_ref().map_or(0, |e| e.wants.len() + e.row.values.len());
        (self.state.bytes() + 4 * (self.tokens.len() + end)) as u64
    }
}

/// A computed prompt.
pub struct CachedPrompt {
    /// Its tokens.
    pub tokens: Arc<Vec<u32>>,
    /// Their keys and values, as [`crate::llama::Context::save_sequence`] gives them.
    pub state: Arc<SavedSequence>,
}

/// What was computed behind a prompt's last token: the same prompt again, under other masks for instance, needs no pass.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Tokens whose log-probabilities the row holds, ascending.
    pub wants: Vec<u32>,
    /// The row.
    pub row: Row,
}

impl End {
    /// The row of `wants`; none where it does not hold them all.
    pub fn row_of(&self, wants: &[u32]) -> Option<Row> {
        if wants == self.wants {
            return Some(self.row.clone());
        }
        let value = |want: &u32| self.row.values.get(self.wants.binary_search(want).ok()?).copied();
        Some(Row { values: wants.iter().map(value).collect::<Option<_>>()?, best: self.row.best })
    }
}

/// How many first tokens are the same.
pub fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl PrefixCache {
    /// An empty cache of `limit` bytes; 0: nothing is kept.
    pub fn new(limit: u64) -> PrefixCache {
        PrefixCache { limit, inner: Mutex::new(Inner::default()) }
    }

    /// The entry that shares the most first tokens with `tokens`, more than `more_than`: its tokens and its state.
    pub fn find(&self, generation: u64, tokens: &[u32], more_than: usize) -> Option<CachedPrompt> {
        let mut inner = self.lock();
        inner.clock += 1;
        let clock = inner.clock;
        let of_it = inner.entries.iter_mut().filter(|e| e.generation == generation);
        // The shortest of those that share the most: less to copy.
        let best = of_it
            .map(|e| (common(&e.tokens, tokens), e))
            .filter(|(shared, _)| *shared > more_than)
            .min_by_key(|(shared, e)| (std::cmp::Reverse(*shared), e.tokens.len()))?;
        best.1.used = clock;
        Some(CachedPrompt { tokens: best.1.tokens.clone(), state: best.1.state.clone() })
    }

    /// The entry of just these tokens, with what stands behind them.
    pub fn whole(&self, generation: u64, tokens: &[u32]) -> Option<(Arc<SavedSequence>, Arc<End>)> {
        let mut inner = self.lock();
        inner.clock += 1;
        let clock = inner.clock;
        let entry = inner.entries.iter_mut().find(|e| e.generation == generation && *e.tokens == tokens)?;
        entry.used = clock;
        Some((entry.state.clone(), entry.end.clone()?))
    }

    /// Keeps the state of `tokens`, which `save` gives; entries whose tokens it begins with are not needed any more, but
    /// for those of up to `keep` tokens (the instruction, which other conversations begin with).
    ///
    /// # Errors
    /// Those of `save`.
    pub fn put(
        &self,
        generation: u64,
        tokens: &[u32],
        keep: usize,
        end: Option<Arc<End>>,
        save: impl FnOnce() -> Result<SavedSequence>,
    ) -> Result<()> {
        if self.limit == 0 || tokens.is_empty() {
            return Ok(());
        }
        {
            let mut inner = self.lock();
            inner.clock += 1;
            let clock = inner.clock;
            let there = inner.entries.iter_mut().find(|e| e.generation == generation && e.tokens.starts_with(tokens));
            if let Some(there) = there
                && (tokens.len() > keep || there.tokens.len() == tokens.len())
            {
                there.used = clock;
                if there.tokens.len() == tokens.len() && end.is_some() {
                    there.end = end;
                }
                return Ok(());
            }
        }
        let state = Arc::new(save()?);
        let mut inner = self.lock();
        let entry = Entry { generation, tokens: Arc::new(tokens.to_vec()), state, end, used: inner.clock };
        if entry.bytes() > self.limit {
            return Ok(());
        }
        inner.entries.retain(|e| {
            e.generation != generation || e.tokens.len() <= keep || !tokens.starts_with(e.tokens.as_slice())
        });
        inner.entries.push(entry);
        inner.shrink(self.limit);
        Ok(())
    }

    /// Drops what was computed before `generation`.
    pub fn forget_before(&self, generation: u64) {
        let mut inner = self.lock();
        let (kept, gone) = std::mem::take(&mut inner.entries).into_iter().partition(|e| e.generation >= generation);
        inner.entries = kept;
        inner.shrink(self.limit);
        // Every request passes this lock, and to free states takes milliseconds.
        drop(inner);
        drop::<Vec<Entry>>(gone);
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn shrink(&mut self, limit: u64) {
        self.bytes = self.entries.iter().map(Entry::bytes).sum();
        while self.bytes > limit {
            let Some(oldest) = (0..self.entries.len()).min_by_key(|i| self.entries[*i].used) else { return };
            self.bytes -= self.entries.remove(oldest).bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &PrefixCache, generation: u64, tokens: &[u32], bytes: usize) {
        cache.put(generation, tokens, 2, None, || Ok(SavedSequence::of_no_model(bytes))).unwrap();
    }

    #[test]
    fn the_longest_shared_beginning_is_found_and_never_of_another_adapter() {
        let cache = PrefixCache::new(10_000);
        put(&cache, 1, &[1, 2], 10);
        put(&cache, 1, &[1, 2, 3, 4], 20);
        put(&cache, 1, &[1, 2, 9, 9], 30);
        let found = |generation, tokens: &[u32], more| cache.find(generation, tokens, more).map(|f| f.state.bytes());
        assert_eq!(found(1, &[1, 2, 9, 8, 7], 0), Some(30));
        assert_eq!(found(1, &[1, 2, 5], 0), Some(10));
        assert_eq!(found(1, &[1, 2, 5], 2), None);
        assert_eq!(found(2, &[1, 2, 9, 8, 7], 0), None);
        // The next turn takes the place of the last one, the instruction stays.
        put(&cache, 1, &[1, 2, 3, 4, 5], 40);
        assert_eq!(found(1, &[1, 2, 3, 4], 2), Some(40));
        assert_eq!(cache.bytes(), 10 + 30 + 40 + 4 * (2 + 4 + 5));
        cache.forget_before(2);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn what_stands_behind_a_prompt_is_found_for_that_prompt_and_generation_alone() {
        let cache = PrefixCache::new(10_000);
        let row = Row { values: vec![-1.0, -2.0, -3.0], best: 9 };
        let end = Arc::new(End { wants: vec![2, 5, 9], row: row.clone() });
        cache.put(1, &[1, 2, 3, 4], 2, Some(end), || Ok(SavedSequence::of_no_model(10))).unwrap();
        let (state, found) = cache.whole(1, &[1, 2, 3, 4]).unwrap();
        assert_eq!((state.bytes(), found.row_of(&[2, 5, 9])), (10, Some(row)));
        assert_eq!(found.row_of(&[2, 9]), Some(Row { values: vec![-1.0, -3.0], best: 9 }));
        assert_eq!(found.row_of(&[]), Some(Row { values: vec![], best: 9 }));
        assert_eq!(found.row_of(&[2, 4]), None);
        assert!(cache.whole(2, &[1, 2, 3, 4]).is_none());
        assert!(cache.whole(1, &[1, 2, 3]).is_none() && cache.whole(1, &[1, 2, 3, 4, 5]).is_none());
        assert_eq!(cache.bytes(), 10 + 4 * (4 + 6));
    }

    #[test]
    fn bytes_stay_below_the_limit_and_the_oldest_goes_first() {
        let cache = PrefixCache::new(250);
        put(&cache, 0, &[1, 1, 1], 80);
        put(&cache, 0, &[2, 2, 2], 80);
        assert!(cache.find(0, &[1, 1, 1], 0).is_some());
        put(&cache, 0, &[3, 3, 3], 80);
        assert!(cache.bytes() <= 250);
        assert!(cache.find(0, &[2, 2, 2], 0).is_none());
        assert!(cache.find(0, &[1, 1, 1], 0).is_some());
        put(&cache, 0, &[4, 4, 4], 1000);
        assert!(cache.find(0, &[4, 4, 4], 0).is_none());
        put(&PrefixCache::new(0), 0, &[1], 1);
    }
}
