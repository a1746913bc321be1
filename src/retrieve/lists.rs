//! Rows of numbers of differing lengths, and the best of a row of scores.

/// Rows of numbers of differing lengths.
#[derive(Default)]
pub(super) struct Lists {
    starts: Vec<usize>,
    values: Vec<u32>,
}

impl Lists {
    /// From pairs (row, value) sorted by row.
    pub(super) fn new(rows: usize, pairs: impl Iterator<Item = (u32, u32)>) -> Lists {
        let mut lists = Lists { starts: Vec::with_capacity(rows + 1), values: Vec::new() };
        lists.starts.push(0);
        for (row, value) in pairs {
            while lists.starts.len() <= row as usize {
                lists.starts.push(lists.values.len());
            }
            lists.values.push(value);
        }
        lists.starts.resize(rows + 1, lists.values.len());
        lists
    }
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.values)
    }
    pub(super) fn rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }
    pub(super) fn row(&self, i: usize) -> &[u32] {
        &self.values[self.starts[i]..self.starts[i + 1]]
    }
}

/// The `count` highest, best first, ties to the lowest row.
pub(crate) fn best(scores: impl Iterator<Item = (u32, f32)>, count: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = scores.collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if all.len() > count && count > 0 {
        all.select_nth_unstable_by(count - 1, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all.truncate(count);
    all
}

/// Divided by the first and highest one.
pub(super) fn relative(mut list: Vec<(u32, f32)>) -> Vec<(u32, f32)> {
    let top = list.first().map_or(1.0, |f| f.1);
    list.iter_mut().for_each(|e| e.1 /= top);
    list
}
