//! Of several items with one title, the one that is meant.

use crate::dataset::Items;

/// When each item came out, and how often it is spoken of.
#[derive(Debug)]
pub(super) struct Editions {
    /// `[items]`; 0: unknown.
    years: Vec<u16>,
    /// `[items]`, or shorter: what is missing counts 0.
    counts: Vec<f32>,
}

impl Editions {
    pub fn new(items: &Items, counts: &[f32]) -> Editions {
        Editions { years: (0..items.len()).map(|i| items.year(i).unwrap_or(0)).collect(), counts: counts.to_vec() }
    }

    /// The item of `rows` that is meant. With a year: one of the same year, else of a year beside it, else one without a
    /// year; an item of another year is another work. Of several the one of most reviews, then the latest, then the lowest
    /// row.
    pub fn choose(&self, rows: impl Iterator<Item = u32> + Clone, year: Option<u16>) -> Option<u32> {
        let of = |row: u32| self.years.get(row as usize).copied().unwrap_or(0);
        let count = |row: u32| self.counts.get(row as usize).copied().unwrap_or(0.0);
        let best = |fits: &dyn Fn(u16) -> bool| {
            rows.clone()
                .filter(|r| fits(of(*r)))
                .max_by(|a, b| count(*a).total_cmp(&count(*b)).then(of(*a).cmp(&of(*b))).then(b.cmp(a)))
        };
        match year {
            None => best(&|_| true),
            Some(year) => best(&|y| y == year)
                .or_else(|| best(&|y| y != 0 && y.abs_diff(year) == 1))
                .or_else(|| best(&|y| y == 0)),
        }
    }

    /// True for an item of that year, or of a year beside it.
    pub fn is_of(&self, row: u32, year: u16) -> bool {
        self.years.get(row as usize).is_some_and(|own| *own != 0 && own.abs_diff(year) <= 1)
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        (self.years.len() * 2 + self.counts.len() * 4) as u64
    }
}
