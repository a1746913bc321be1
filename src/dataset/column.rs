//! Columns that grow without moving what they hold, and the index from an id to its row.

use super::text::TextColumn;
use std::hash::{BuildHasher, RandomState};

/// Rows per block.
const BLOCK_ROWS: usize = 1 << 15;

/// An append-only column of numbers, in blocks: growing never copies the whole column, so that the peak of memory is
/// what is kept and not twice that.
#[derive(Debug, Clone)]
pub(super) struct Column<T> {
    /// All full ([`BLOCK_ROWS`]) but the last.
    blocks: Vec<Vec<T>>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Column { blocks: Vec::new() }
    }
}

impl<T: Copy> Column<T> {
    pub fn push(&mut self, value: T) {
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK_ROWS => block.push(value),
            Some(_) => {
                let mut block = Vec::with_capacity(BLOCK_ROWS);
                block.push(value);
                self.blocks.push(block);
            }
            // The first block grows as vectors do: a small column stays small.
            None => self.blocks.push(vec![value]),
        }
    }
    /// Row `i`, which must be there.
    pub fn at(&self, i: usize) -> T {
        self.blocks[i / BLOCK_ROWS][i % BLOCK_ROWS]
    }
    pub fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * BLOCK_ROWS + last.len())
    }
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.blocks.iter().flatten().copied()
    }
}

impl<T: Copy> FromIterator<T> for Column<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut column = Column::default();
        for value in values {
            column.push(value);
        }
        column
    }
}

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
    fn numbers_come_back_across_blocks() {
        let column: Column<u32> = (0..100_000).collect();
        assert_eq!(column.len(), 100_000);
        assert!(column.iter().eq(0..100_000));
        assert_eq!(
            (column.at(0), column.at(32_767), column.at(32_768), column.at(99_999)),
            (0, 32_767, 32_768, 99_999)
        );
        assert_eq!(Column::<u8>::default().len(), 0);
    }

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
