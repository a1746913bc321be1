//! Columns that grow without moving what they hold.

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
}
