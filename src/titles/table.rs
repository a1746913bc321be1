//! Texts with the item rows that bear them: sorted, in a few long buffers, so that a million titles are tens of megabytes
//! and no million allocations.

/// Which spelling of a title a text is; a set of them in one byte.
pub(super) type Spelling = u8;

/// Texts, each with its rows and what spelling of the row's title it is.
#[derive(Debug, Default)]
pub(super) struct Table {
    texts: String,
    /// `[texts + 1]`: where each text begins in `texts`.
    starts: Vec<usize>,
    /// `[texts + 1]`: where each text's rows begin in `rows`.
    firsts: Vec<u32>,
    rows: Vec<u32>,
    /// `[rows]`.
    spellings: Vec<Spelling>,
}

struct Entry {
    start: usize,
    length: u32,
    row: u32,
    spelling: Spelling,
}

/// Entries of a [`Table`] in any order.
#[derive(Default)]
pub(super) struct Builder {
    texts: String,
    entries: Vec<Entry>,
}

impl Builder {
    /// Adds `text` as a spelling of row `row`; an empty text is passed over.
    pub fn add(&mut self, text: &str, row: u32, spelling: Spelling) {
        if text.is_empty() {
            return;
        }
        // The spellings of one title are mostly the same text.
        for entry in self.entries.iter_mut().rev().take_while(|e| e.row == row) {
            if &self.texts[entry.start..entry.start + entry.length as usize] == text {
                entry.spelling |= spelling;
                return;
            }
        }
        let Ok(length) = u32::try_from(text.len()) else { return };
        self.entries.push(Entry { start: self.texts.len(), length, row, spelling });
        self.texts.push_str(text);
    }

    /// The table. Rows of one text are in ascending order, each once.
    pub fn build(self) -> Table {
        let Builder { texts, mut entries } = self;
        let text = |e: &Entry| &texts[e.start..e.start + e.length as usize];
        entries.sort_unstable_by(|a, b| text(a).cmp(text(b)).then(a.row.cmp(&b.row)));
        let mut table = Table::default();
        let mut last: Option<&Entry> = None;
        for entry in &entries {
            match last {
                Some(before) if text(before) == text(entry) => {
                    if before.row == entry.row {
                        table.spellings.iter_mut().last().into_iter().for_each(|s| *s |= entry.spelling);
                        continue;
                    }
                }
                Some(_) | None => {
                    table.starts.push(table.texts.len());
                    table.firsts.push(table.rows.len() as u32);
                    table.texts.push_str(text(entry));
                }
            }
            table.rows.push(entry.row);
            table.spellings.push(entry.spelling);
            last = Some(entry);
        }
        table.starts.push(table.texts.len());
        table.firsts.push(table.rows.len() as u32);
        table.texts.shrink_to_fit();
        table
    }
}

impl Table {
    /// Number of texts.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }
    /// Text `at`.
    pub fn text(&self, at: usize) -> &str {
        &self.texts[self.starts[at]..self.starts[at + 1]]
    }
    /// The rows of text `at` that bear it as one of `spellings`.
    pub fn rows(&self, at: usize, spellings: Spelling) -> impl Iterator<Item = u32> + Clone + '_ {
        let range = self.firsts[at] as usize..self.firsts[at + 1] as usize;
        let rows = self.rows[range.clone()].iter().zip(&self.spellings[range]);
        rows.filter(move |(_, s)| **s & spellings != 0).map(|(row, _)| *row)
    }
    /// The place of a text.
    pub fn find(&self, text: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.text(middle).cmp(text) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        (self.texts.len() + self.starts.len() * 8 + self.firsts.len() * 4 + self.rows.len() * 5) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_rows_and_spellings() {
        let mut builder = Builder::default();
        for (text, row, spelling) in
            [("heat", 7, 1), ("up", 1, 1), ("heat", 3, 2), ("heat", 7, 4), ("", 9, 1), ("up", 1, 1)]
        {
            builder.add(text, row, spelling);
        }
        let table = builder.build();
        assert_eq!(table.len(), 2);
        let rows = |text: &str, spelling| table.rows(table.find(text).unwrap(), spelling).collect::<Vec<_>>();
        assert_eq!(rows("heat", 7), [3, 7]);
        assert_eq!(rows("heat", 4), [7]);
        assert_eq!(rows("up", 1), [1]);
        assert_eq!(rows("up", 2), [0u32; 0]);
        assert!(table.find("").is_none() && table.find("hea").is_none() && table.find("zz").is_none());
        assert!(Builder::default().build().find("x").is_none());
    }
}
