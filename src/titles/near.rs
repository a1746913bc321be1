//! Titles by their pairs of letters: the one near title, without a look at them all.

use super::table::{Spelling, Table};

/// The index of those texts of a [`Table`] that are one spelling of a title.
#[derive(Debug, Default)]
pub(super) struct NearTitles {
    /// Texts by length, then in the table's order: their places in the table.
    keys: Vec<u32>,
    /// Pairs of letters with the text's length, as [`packed`], ascending.
    pairs: Vec<u64>,
    /// `[pairs + 1]`: where each pair's texts begin in `postings`.
    starts: Vec<u32>,
    /// Places in `keys`, ascending within a pair.
    postings: Vec<u32>,
}

/// The best title must be nearer than any other by this much.
const MARGIN: usize = 2;
/// Longer titles are found by their own letters only.
const MOST_CHARS: usize = 200;

/// Edits that are forgiven in a title of so many characters: none in short ones, where one letter makes another title.
fn allowed_edits(chars: usize) -> usize {
    match chars {
        0..=7 => 0,
        8..=12 => 1,
        13..=20 => 2,
        21..=MOST_CHARS => 3,
        _ => 0,
    }
}

impl NearTitles {
    /// Of the texts of `table` that are `spelling` of some row.
    pub fn new(table: &Table, spelling: Spelling) -> NearTitles {
        let mut keys: Vec<(u8, u32)> = (0..table.len())
            .filter(|at| table.rows(*at, spelling).next().is_some())
            .filter_map(|at| {
                let chars = table.text(at).chars().take(MOST_CHARS + 1).count();
                // The length is at most 200 here.
                (chars <= MOST_CHARS).then_some((chars as u8, at as u32))
            })
            .collect();
        keys.sort_unstable();
        let mut near = NearTitles::default();
        // One length after the other: the pairs of all titles at once would take more than the index itself.
        for same in keys.chunk_by(|a, b| a.0 == b.0) {
            let mut pairs: Vec<(u64, u32)> = Vec::new();
            for (chars, at) in same {
                let key = near.keys.len() as u32;
                near.keys.push(*at);
                let letters: Vec<char> = table.text(*at as usize).chars().collect();
                let chars = usize::from(*chars);
                pairs.extend(letter_pairs(&letters).into_iter().map(|(a, b)| (packed(a, b, chars), key)));
            }
            pairs.sort_unstable();
            for (pair, key) in pairs {
                if near.pairs.last() != Some(&pair) {
                    near.pairs.push(pair);
                    near.starts.push(near.postings.len() as u32);
                }
                near.postings.push(key);
            }
        }
        near.starts.push(near.postings.len() as u32);
        near
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        (self.keys.len() * 4 + self.pairs.len() * 8 + self.starts.len() * 4 + self.postings.len() * 4) as u64
    }

    /// The keys of so many characters that hold this pair.
    fn holding(&self, a: char, b: char, chars: usize) -> &[u32] {
        match self.pairs.binary_search(&packed(a, b, chars)) {
            Ok(at) => &self.postings[self.starts[at] as usize..self.starts[at + 1] as usize],
            Err(_) => &[],
        }
    }

    /// The place in `table` of the one title within the allowed edits of `folded`, when every other title is farther by
    /// [`MARGIN`]. Titles of other numbers are other titles.
    pub fn nearest(&self, table: &Table, folded: &str) -> Option<usize> {
        let letters: Vec<char> = folded.chars().take(MOST_CHARS + 1).collect();
        let allowed = allowed_edits(letters.len());
        if allowed == 0 {
            return None;
        }
        // Two titles at distance d share all but 3 d of their pairs (a swap of neighbours touches three). Rivals matter up
        // to `reach`, so that is what the search has to find.
        let reach = allowed + MARGIN - 1;
        let mine = letter_pairs(&letters);
        let needed = mine.len().saturating_sub(3 * reach).max(1);
        let mut hits: Vec<u32> = Vec::new();
        for length in letters.len().saturating_sub(reach)..=letters.len() + reach {
            for &(a, b) in &mine {
                hits.extend(self.holding(a, b, length));
            }
        }
        hits.sort_unstable();
        let mut best: Option<(usize, u32)> = None;
        let mut second = usize::MAX;
        for same in hits.chunk_by(|a, b| a == b) {
            let text = table.text(self.keys[same[0] as usize] as usize);
            if same.len() < needed || !numbers(text).eq(numbers(folded)) {
                continue;
            }
            let distance = strsim::osa_distance(folded, text);
            match best {
                Some((nearest, _)) if distance >= nearest => second = second.min(distance),
                _ => {
                    second = best.map_or(second, |(nearest, _)| nearest);
                    best = Some((distance, same[0]));
                }
            }
        }
        let (distance, key) = best?;
        (distance <= allowed && second >= distance + MARGIN).then(|| self.keys[key as usize] as usize)
    }
}

/// A pair of letters and a length up to [`MOST_CHARS`] in one number, the length first; a char has 21 bits.
fn packed(a: char, b: char, chars: usize) -> u64 {
    (chars as u64) << 42 | u64::from(u32::from(a)) << 21 | u64::from(u32::from(b))
}

/// Each pair of neighbouring letters once.
fn letter_pairs(letters: &[char]) -> Vec<(char, char)> {
    let mut pairs: Vec<(char, char)> = letters.windows(2).map(|w| (w[0], w[1])).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// The words with digits: `Rocky 2` is never a slip for `Rocky 3`.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|w| w.contains(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::super::table::Builder;
    use super::*;
    use proptest::prelude::*;

    /// The definition, without an index: every title of the catalogue is compared.
    fn slow_nearest(titles: &[String], folded: &str) -> Option<String> {
        let allowed = allowed_edits(folded.chars().count());
        let mut near: Vec<(usize, &String)> = titles
            .iter()
            .filter(|t| numbers(t).eq(numbers(folded)))
            .map(|t| (strsim::osa_distance(t, folded), t))
            .collect();
        near.sort();
        let best = near.first().filter(|(d, _)| allowed > 0 && *d <= allowed)?;
        near.get(1).is_none_or(|(d, _)| *d >= best.0 + MARGIN).then(|| best.1.clone())
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_full_scan_finds(
            titles in proptest::collection::btree_set("[ab]{3,5}( [ab]{3,5}){1,4}( [12])?", 1..12),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4usize, prop::sample::select(vec!['a', 'b', 'c'])), 0..4),
            which in any::<prop::sample::Index>(),
        ) {
            let titles: Vec<String> = titles.into_iter().collect();
            let mut text: Vec<char> = which.get(&titles).chars().collect();
            for (at, kind, letter) in edits {
                let at = at.index(text.len());
                match kind {
                    0 => text[at] = letter,
                    1 => { text.remove(at); }
                    2 => text.insert(at, letter),
                    _ => if at > 0 { text.swap(at - 1, at) },
                }
                if text.is_empty() { break }
            }
            let text: String = text.into_iter().collect();
            let mut builder = Builder::default();
            titles.iter().enumerate().for_each(|(i, t)| builder.add(t, i as u32, 1));
            let table = builder.build();
            let fast = NearTitles::new(&table, 1).nearest(&table, &text).map(|at| table.text(at).to_string());
            prop_assert_eq!(fast, slow_nearest(&titles, &text));
        }
    }
}
