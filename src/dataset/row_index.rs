//! The index from an id to its row.

use super::text::TextColumn;
use std::hash::{BuildHasher, RandomState};

/// No row in this slot.
const FREE: u32 = u32::MAX;

/// From a text to its row in a [`TextColumn`]: a hash table of row numbers alone, 4 to 8 bytes per row; the texts stay in
/// the column. The hash is keyed at random, so that no file can be made to collide.
#[derive(Debug, Clone, Default)]
pub(super) struct RowIndex {
    /// A power of two of slots, at most three quarters taken; linear probing.
    slots: Vec<u32>,
    taken: usize,
    hasher: RandomState,
}

impl RowIndex {
    /// The row whose text is `key`.
    pub fn find(&self, texts: &TextColumn, key: &str) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.hasher.hash_one(key) as usize & (self.slots.len() - 1);
        loop {
            match self.slots[at] {
                FREE => return None,
                row if texts.get(row as usize) == key => return Some(row),
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }
    /// Adds `row`, whose text is in `texts` and not yet in the index.
    pub fn insert(&mut self, texts: &TextColumn, row: u32) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            let bigger = vec![FREE; (self.slots.len() * 2).max(64)];
            for row in std::mem::replace(&mut self.slots, bigger).into_iter().filter(|row| *row != FREE) {
                self.place(texts, row);
            }
        }
        self.place(texts, row);
        self.taken += 1;
    }
    fn place(&mut self, texts: &TextColumn, row: u32) {
        let mut at = self.hasher.hash_one(texts.get(row as usize)) as usize & (self.slots.len() - 1);
        while self.slots[at] != FREE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = row;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_finds_what_a_hash_map_finds() {
        let mut texts = TextColumn::default();
        let mut index = RowIndex::default();
        let mut twin = std::collections::HashMap::new();
        for i in 0..20_000u32 {
            let key = format!("k{}", i.wrapping_mul(2_654_435_761) % 9_973);
            assert_eq!(index.find(&texts, &key), twin.get(&key).copied());
            if let std::collections::hash_map::Entry::Vacant(free) = twin.entry(key) {
                let row = texts.len() as u32;
                texts.push(free.key());
                index.insert(&texts, row);
                free.insert(row);
            }
        }
        assert_eq!(twin.len(), texts.len());
        assert_eq!(index.find(&texts, ""), None);
    }
}
