//! Texts that are nearly the same: MinHash over runs of five words (Broder, 1997), candidates by bands of the signature
//! (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", ch. 3), and the exact similarity of each candidate.
//!
//! Because candidates are compared exactly, nothing is taken for a duplicate that is none. A pair at the threshold is missed
//! once in a thousand times at most, from a threshold of 0.06 on.

use std::collections::HashMap;

/// Words of a run.
const RUN: usize = 5;
/// Hashes of a signature.
const HASHES: usize = 128;
/// How often a pair at the threshold may be missed.
const MISSED: f64 = 1e-3;

/// The texts that were kept so far.
pub(super) struct NearDuplicates {
    threshold: f64,
    /// Hashes of one band.
    rows: usize,
    /// Runs of each text kept, in order.
    kept: Vec<Vec<u64>>,
    /// Texts by band and the band's hash.
    buckets: HashMap<(usize, u64), Vec<usize>>,
}

/// splitmix64's finaliser: spreads every bit over all.
fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The hashes of the runs of five words, in order, each once; of a shorter text, of all its words.
pub(super) fn runs(words: &[String]) -> Vec<u64> {
    let hash = |run: &[String]| {
        let bytes = run.iter().flat_map(|word| word.bytes().chain([0]));
        mixed(bytes.fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)))
    };
    let mut runs: Vec<u64> = match words.len() {
        0 => Vec::new(),
        1..=RUN => vec![hash(words)],
        _ => words.windows(RUN).map(hash).collect(),
    };
    runs.sort_unstable();
    runs.dedup();
    runs
}

/// Shared runs over all runs of two texts, within [0, 1]; 0 of two empty ones.
pub(super) fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, shared) = (i + 1, j + 1, shared + 1),
        }
    }
    shared as f64 / (a.len() + b.len() - shared).max(1) as f64
}

impl NearDuplicates {
    /// `threshold`: the similarity from which on two texts are nearly the same; 0 or 1: no two are.
    pub(super) fn new(threshold: f64) -> NearDuplicates {
        // The longest bands that miss few enough: a longer band finds fewer candidates that are none.
        let missed = |rows: usize| (1.0 - threshold.powi(rows as i32)).powi((HASHES / rows) as i32);
        let rows = [32, 16, 8, 4, 2].into_iter().find(|rows| missed(*rows) <= MISSED).unwrap_or(1);
        NearDuplicates { threshold, rows, kept: Vec::new(), buckets: HashMap::new() }
    }

    /// Whether a text is new; it is kept then. Otherwise one that was kept before is nearly the same.
    pub(super) fn is_new(&mut self, words: &[String]) -> bool {
        let runs = runs(words);
        if self.threshold <= 0.0 || self.threshold >= 1.0 || runs.is_empty() {
            return true;
        }
        let keys = self.bands(&runs);
        let mut others: Vec<usize> = keys.iter().filter_map(|key| self.buckets.get(key)).flatten().copied().collect();
        others.sort_unstable();
        others.dedup();
        let nearly = |other: &[u64]| {
            // Texts of very different lengths cannot share enough.
            let (short, long) = (runs.len().min(other.len()) as f64, runs.len().max(other.len()) as f64);
            short >= self.threshold * long && jaccard(&runs, other) >= self.threshold
        };
        if others.iter().any(|other| nearly(&self.kept[*other])) {
            return false;
        }
        for key in keys {
            self.buckets.entry(key).or_default().push(self.kept.len());
        }
        self.kept.push(runs);
        true
    }

    /// The bands of a text's signature: which one, and its hash.
    fn bands(&self, runs: &[u64]) -> Vec<(usize, u64)> {
        let least = |n: usize| {
            let salt = mixed((n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            runs.iter().map(|run| mixed(run ^ salt)).min().unwrap_or(u64::MAX)
        };
        let signature: Vec<u64> = (0..HASHES).map(least).collect();
        let bands = signature.chunks(self.rows).enumerate();
        bands.map(|(band, hashes)| (band, hashes.iter().fold(0, |h, x| mixed(h ^ x)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::words::words_of;
    use super::*;
    use crate::math::Random;
    use std::collections::HashSet;

    /// The slow twin: the sets themselves, without hashes.
    fn jaccard_of_sets(a: &[String], b: &[String]) -> f64 {
        let set = |words: &[String]| -> HashSet<Vec<String>> {
            if words.len() < RUN {
                [words.to_vec()].into()
            } else {
                words.windows(RUN).map(<[String]>::to_vec).collect()
            }
        };
        let (a, b) = (set(a), set(b));
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    /// Texts of 20 to 40 words of a small vocabulary, most of them copies of an earlier one with some words changed.
    fn texts(count: usize) -> Vec<Vec<String>> {
        let mut random = Random::new(3, b"texts");
        let mut out: Vec<Vec<String>> = Vec::new();
        for n in 0..count {
            let mut words = match n % 4 {
                0 => (0..20 + random.below(21)).map(|_| format!("w{}", random.below(300))).collect(),
                _ => out[random.below(out.len())].clone(),
            };
            for _ in 0..random.below(3) {
                let at = random.below(words.len());
                words[at] = format!("w{}", random.below(300));
            }
            out.push(words);
        }
        out
    }

    #[test]
    fn what_minhash_keeps_is_what_comparing_all_pairs_keeps() {
        let texts = texts(600);
        for threshold in [0.5, 0.7, 0.8, 0.95] {
            let mut fast = NearDuplicates::new(threshold);
            let fast: Vec<bool> = texts.iter().map(|text| fast.is_new(text)).collect();
            let mut kept: Vec<&Vec<String>> = Vec::new();
            let slow: Vec<bool> = texts
                .iter()
                .map(|text| {
                    let is_new = kept.iter().all(|other| jaccard_of_sets(text, other) < threshold);
                    kept.extend(is_new.then_some(text));
                    is_new
                })
                .collect();
            assert_eq!(fast, slow, "{threshold}");
            let dropped = slow.iter().filter(|new| !**new).count();
            assert!(dropped > 100 && dropped < 500, "{threshold}: {dropped}");
        }
    }

    #[test]
    fn similarity_is_that_of_the_sets_of_runs() {
        let texts = texts(80);
        for (a, b) in texts.iter().zip(texts.iter().skip(1)) {
            assert_eq!(jaccard(&runs(a), &runs(b)), jaccard_of_sets(a, b));
        }
        assert_eq!(jaccard(&[], &[]), 0.0);
    }

    #[test]
    fn the_first_stays_short_texts_are_compared_whole_and_0_and_1_keep_all() {
        let said =
            ["I want a quiet film about a lighthouse.", "i want a QUIET film, about a lighthouse", "Hi", "hi!", "Hey"];
        let kept = |threshold: f64| -> Vec<bool> {
            let mut near = NearDuplicates::new(threshold);
            said.iter().map(|text| near.is_new(&words_of(text))).collect()
        };
        assert_eq!(kept(0.8), [true, false, true, false, true]);
        assert_eq!(kept(0.0), [true; 5]);
        assert_eq!(kept(1.0), [true; 5]);
    }
}
