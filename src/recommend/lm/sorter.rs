//! The titles of a whole catalogue, sorted in little more memory than they take.
//!
//! A million titles are a hundred megabytes of tokens: to hold them as they came beside how they are sorted would be twice
//! that. So each goes at once into one of a few dozen buckets, whose borders are taken from a sample of the catalogue. At the
//! end one bucket after the other is sorted, joins the sorted titles, and gives its memory back. Buckets lie in anonymous
//! maps: what an allocator gets back, it keeps.

use super::trie::{Surfaces, Trie};
use crate::error::{Error, Result};
use crate::run::Run;
use memmap2::MmapMut;
use rayon::prelude::*;

/// Bytes of a map; memory only as far as they are written.
const BLOCK: usize = 1 << 20;
/// Bytes before a title's tokens: how many bytes of tokens there are, and the item.
const HEAD: usize = 8;

/// By what titles are sorted: the tokens, big-endian, so that their bytes compare as they do; then the item.
type Key<'a> = (&'a [u8], u32);

/// Takes surfaces in any order, gives the trie of them.
pub struct Sorter {
    /// First keys of all buckets but the first one.
    borders: Vec<(Vec<u8>, u32)>,
    buckets: Vec<Bucket>,
    titles: usize,
    tokens: usize,
}

/// Titles between two borders.
#[derive(Default)]
struct Bucket {
    blocks: Vec<MmapMut>,
    /// Bytes written of each block.
    written: Vec<usize>,
}

impl Sorter {
    /// A sorter with so many `buckets` at most: of the same size, where `sample` is like the rest.
    pub fn new(sample: &Surfaces, buckets: usize) -> Sorter {
        let mut keys: Vec<(Vec<u8>, u32)> = sample.iter().map(|(item, tokens)| (big_endian(tokens), item)).collect();
        keys.sort_unstable();
        keys.dedup();
        let count = buckets.clamp(1, keys.len().max(1));
        let borders: Vec<_> = (1..count).map(|n| keys[n * keys.len() / count].clone()).collect();
        let buckets = (0..count).map(|_| Bucket::default()).collect();
        Sorter { borders, buckets, titles: 0, tokens: 0 }
    }

    /// Adds all of `surfaces`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Memory`].
    pub fn add(&mut self, surfaces: &Surfaces) -> Result<()> {
        for (item, tokens) in surfaces.iter() {
            let bytes = big_endian(tokens);
            let at = self.borders.partition_point(|(key, of)| (key.as_slice(), *of) <= (bytes.as_slice(), item));
            self.buckets[at].push(item, &bytes)?;
            self.titles += 1;
            self.tokens += tokens.len();
        }
        Ok(())
    }

    /// The trie over a catalogue of `items` rows: that of [`Trie::build`].
    ///
    /// # Errors
    /// As [`Trie::build`] and [`Surfaces::push`].
    pub fn trie(self, items: usize, run: &Run) -> Result<Trie> {
        let mut sorted = Surfaces::default();
        sorted.reserve(self.titles, self.tokens);
        let mut tokens = Vec::new();
        for bucket in self.buckets {
            run.check()?;
            let mut keys: Vec<Key> = bucket.keys().collect();
            run.install(|| keys.par_sort_unstable());
            for (bytes, item) in keys {
                tokens.clear();
                tokens.extend(bytes.as_chunks().0.iter().map(|token| u32::from_be_bytes(*token)));
                sorted.push(item, &tokens)?;
            }
        }
        Trie::of_sorted(sorted, items)
    }
}

impl Bucket {
    fn push(&mut self, item: u32, tokens: &[u8]) -> Result<()> {
        let bytes = HEAD + tokens.len();
        let length = u32::try_from(tokens.len())
            .map_err(|_| Error::unsupported(format!("catalogue trie: item {item} has a title of a billion tokens")))?;
        let room = |(block, written): (&MmapMut, &usize)| block.len() - written >= bytes;
        if !self.blocks.last().zip(self.written.last()).is_some_and(room) {
            let block = MmapMut::map_anon(bytes.max(BLOCK))
                .map_err(|e| Error::memory(format!("catalogue trie: no memory for the titles: {e}")))?;
            self.blocks.push(block);
            self.written.push(0);
        }
        if let (Some(block), Some(written)) = (self.blocks.last_mut(), self.written.last_mut()) {
            let place = &mut block[*written..*written + bytes];
            place[..4].copy_from_slice(&length.to_le_bytes());
            place[4..HEAD].copy_from_slice(&item.to_le_bytes());
            place[HEAD..].copy_from_slice(tokens);
            *written += bytes;
        }
        Ok(())
    }

    fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        self.blocks.iter().zip(&self.written).flat_map(|(block, written)| {
            let mut rest = &block[..*written];
            std::iter::from_fn(move || {
                let (length, behind) = rest.split_first_chunk()?;
                let (item, behind) = behind.split_first_chunk()?;
                let (tokens, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                rest = behind;
                Some((tokens, u32::from_le_bytes(*item)))
            })
        })
    }
}

fn big_endian(tokens: &[u32]) -> Vec<u8> {
    tokens.iter().flat_map(|t| t.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;

    /// Titles of a few tokens out of few, so that they repeat and are the beginnings of each other; one is larger than a block.
    fn titles(random: &mut Random, count: usize, items: usize, long: bool) -> Surfaces {
        let mut all = Surfaces::default();
        for n in 0..count {
            let length = if long && n == count / 2 { BLOCK / 4 } else { 1 + random.below(6) };
            // Of all bytes' values, so that bytes in a wrong order would sort in a wrong order.
            let tokens: Vec<u32> =
                (0..length).map(|_| [1, 255, 256, 65_535, 128_000, u32::MAX][random.below(6)]).collect();
            all.push(random.below(items) as u32, &tokens).unwrap();
        }
        all
    }

    #[test]
    fn a_sorted_trie_is_the_one_that_is_built_in_one_piece() {
        let mut random = Random::new(5, b"sorter");
        let run = Run::new(2).unwrap();
        for round in 0..60 {
            let (count, items) = (random.below(400), 1 + random.below(50));
            let parts: Vec<Surfaces> =
                (0..3).map(|part| titles(&mut random, count, items, round == 0 && part == 1)).collect();
            // Any sample will do: none, one that is like the rest, one that is nothing like it.
            let sample = match round % 3 {
                0 => Surfaces::default(),
                1 => titles(&mut random, 64, items, false),
                _ => {
                    let mut same = Surfaces::default();
                    (0..64).for_each(|n| same.push(n % 2, &[7]).unwrap());
                    same
                }
            };
            let mut sorter = Sorter::new(&sample, 1 + random.below(40));
            parts.iter().for_each(|part| sorter.add(part).unwrap());
            let whole = Surfaces::concat(parts).unwrap();
            assert_eq!(sorter.trie(items, &run).unwrap(), Trie::build(whole, items, &run).unwrap(), "round {round}");
        }
    }

    #[test]
    fn buckets_are_of_one_size_where_the_sample_is_like_the_rest_even_of_one_title() {
        let run = Run::new(1).unwrap();
        let mut all = Surfaces::default();
        (0..20_000).for_each(|item| all.push(item, &[1, 2, 3]).unwrap());
        let mut sample = Surfaces::default();
        (0..20_000).step_by(50).for_each(|item| sample.push(item, &[1, 2, 3]).unwrap());
        let mut sorter = Sorter::new(&sample, 20);
        sorter.add(&all).unwrap();
        let sizes: Vec<usize> = sorter.buckets.iter().map(|b| b.keys().count()).collect();
        assert_eq!(sizes, [1000; 20]);
        assert_eq!(sorter.trie(20_000, &run).unwrap().titles(), 20_000);
        let mut beyond = Sorter::new(&sample, 20);
        beyond.add(&all).unwrap();
        assert_eq!(beyond.trie(19_999, &run).unwrap_err().kind(), crate::ErrorKind::Invalid);
    }
}
