//! A column of texts: one row after the other in blocks, no allocation per row.

/// Bytes per block. A longer text gets a block of its own.
const BLOCK_BYTES: usize = 4 << 20;

/// An append-only column of texts.
#[derive(Debug, Clone, Default)]
pub struct TextColumn {
    blocks: Vec<String>,
    /// Of each row: block (high 32 bits) and first byte in it (low 32 bits).
    starts: Vec<u64>,
    lengths: Vec<u32>,
}

impl TextColumn {
    /// Appends a row (texts of 4 GiB and more are cut).
    pub fn push(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(u32::MAX as usize)];
        if self.blocks.last().is_none_or(|block| block.capacity() - block.len() < text.len()) {
            self.blocks.push(String::with_capacity(text.len().max(BLOCK_BYTES)));
        }
        let at = self.blocks.len() - 1;
        let block = &mut self.blocks[at];
        self.starts.push((at as u64) << 32 | block.len() as u64);
        self.lengths.push(text.len() as u32);
        block.push_str(text);
    }
    /// Row `i`.
    pub fn get(&self, i: usize) -> &str {
        let start = self.starts[i];
        let from = (start & 0xffff_ffff) as usize;
        &self.blocks[(start >> 32) as usize][from..from + self.lengths[i] as usize]
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.len()
    }
    /// No rows.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
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
        let rows = ["", "one", &long, "two", &long, ""];
        let column: TextColumn = rows.iter().collect();
        assert_eq!(column.iter().collect::<Vec<_>>(), rows);
        assert_eq!(column.bytes(), rows.iter().map(|r| r.len() as u64).sum::<u64>());
    }
}
