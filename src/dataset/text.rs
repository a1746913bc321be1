//! A column of texts: one row after the other in blocks, no allocation per row.

use super::column::Column;

/// Separates the entries of a list inside one text (the ASCII unit separator).
pub(super) const SEPARATOR: char = '\u{1f}';
/// Bytes per block once the column is large. A longer text gets a block of its own.
pub(super) const BLOCK_BYTES: usize = 4 << 20;

/// An append-only column of texts.
#[derive(Debug, Clone, Default)]
pub struct TextColumn {
    blocks: Vec<String>,
    /// Of each row: block (high 32 bits) and first byte in it (low 32 bits). A row ends where the next one of its block
    /// starts, or with the block.
    starts: Column<u64>,
}

impl TextColumn {
    /// A column of so many empty texts.
    pub(super) fn of_empty(rows: usize) -> TextColumn {
        let mut column = TextColumn::default();
        (0..rows).for_each(|_| column.push(""));
        column
    }
    /// Appends a row (texts of 4 GiB and more are cut).
    pub fn push(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(u32::MAX as usize)];
        if self.blocks.last().is_none_or(|block| block.capacity() - block.len() < text.len()) {
            // The first blocks are small: a small column stays small.
            let bytes = BLOCK_BYTES >> (6usize.saturating_sub(self.blocks.len()));
            self.blocks.push(String::with_capacity(text.len().max(bytes)));
        }
        let at = self.blocks.len() - 1;
        let block = &mut self.blocks[at];
        self.starts.push((at as u64) << 32 | block.len() as u64);
        block.push_str(text);
    }
    /// Appends many rows at once: `block`, and the first byte in it of each row. The caller has checked that the starts
    /// ascend from 0, lie on character boundaries, and that the block is shorter than 4 GiB.
    pub(super) fn push_block(&mut self, block: String, starts: &[u64]) {
        let at = self.blocks.len() as u64;
        self.blocks.push(block);
        for start in starts {
            self.starts.push(at << 32 | start);
        }
    }
    /// Row `i`, which must be there.
    pub fn get(&self, i: usize) -> &str {
        let start = self.starts.at(i);
        let block = &self.blocks[(start >> 32) as usize];
        let end = if i + 1 < self.len() && self.starts.at(i + 1) >> 32 == start >> 32 {
            (self.starts.at(i + 1) & 0xffff_ffff) as usize
        } else {
            block.len()
        };
        &block[(start & 0xffff_ffff) as usize..end]
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.len()
    }
    /// No rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of text held.
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|b| b.len() as u64).sum()
    }
    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|i| self.get(i))
    }
}

impl<S: AsRef<str>> FromIterator<S> for TextColumn {
    fn from_iter<I: IntoIterator<Item = S>>(rows: I) -> Self {
        let mut column = TextColumn::default();
        for row in rows {
            column.push(row.as_ref());
        }
        column
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_across_blocks() {
        let long = "ä".repeat(3 << 20);
        let rows = ["", "one", &long, "two", "", &long, "", ""];
        let column: TextColumn = rows.iter().collect();
        assert_eq!(column.iter().collect::<Vec<_>>(), rows);
        assert_eq!(column.bytes(), rows.iter().map(|r| r.len() as u64).sum::<u64>());
    }
}
