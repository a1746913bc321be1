//! Equal rows score equally for ever: the engines keep one entry for each set of them.

use super::field::Field;
use rayon::prelude::*;
use std::collections::HashMap;

/// The sets of equal rows.
pub struct Equals {
    /// The lowest row of each set, in rising order; a row that has no equal is a set of its own.
    pub first: Vec<u32>,
    /// All rows of a set in rising order, by its first; only sets of more than one.
    sets: HashMap<u32, Vec<u32>>,
}

impl Equals {
    /// `keys`: one a row, equal for equal rows and mostly different for others. `bits`: the row itself, to be sure. To be
    /// called on a run's threads.
    pub fn new(keys: &[f64], mut bits: impl FnMut(usize) -> Vec<u64>) -> Equals {
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.par_sort_unstable_by(|&a, &b| keys[a as usize].total_cmp(&keys[b as usize]).then(a.cmp(&b)));
        let mut equals = Equals { first: Vec::with_capacity(order.len()), sets: HashMap::new() };
        for rows in order.chunk_by(|a, b| keys[*a as usize] == keys[*b as usize]) {
            if let [row] = rows {
                equals.first.push(*row);
                continue;
            }
            // 0 and -0 differ in bits and not in value: such rows merely stay two sets.
            let mut distinct: HashMap<Vec<u64>, u32> = HashMap::new();
            for &at in rows {
                let first = *distinct.entry(bits(at as usize)).or_insert(at);
                if first == at {
                    equals.first.push(at);
                } else {
                    equals.sets.entry(first).or_insert_with(|| vec![first]).push(at);
                }
            }
        }
        equals.first.sort_unstable();
        equals
    }
    /// All rows of the set whose first is `first`.
    pub fn of<'a>(&'a self, first: &'a u32) -> &'a [u32] {
        self.sets.get(first).map_or(std::slice::from_ref(first), Vec::as_slice)
    }
    /// The lowest row of the set of `first` that may still be picked.
    pub fn stands_for(&self, first: u32, field: &Field) -> Option<usize> {
        self.of(&first).iter().map(|&row| row as usize).find(|&row| field.allows(row))
    }
}
