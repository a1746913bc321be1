//! Words of a text, hashed: the part of the built-in features whose bytes must never change between versions.

/// Words that say nothing of a film or a product. Kept short: what is everywhere has a low idf anyway.
const STOP: &[&str] = &[
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "from", "had", "has", "have", "he", "her", "his",
    "i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "she", "so", "that", "the", "their", "them",
    "they", "this", "to", "was", "we", "were", "which", "with", "you",
];

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Spreads the bits (the finaliser of splitmix64): FNV's low bits alone are poor.
fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

/// Calls `each` with the hash of every word of `text`, lower-cased, and whether it is a stop word. A word is a run of
/// letters and digits of any script; apostrophes inside it are dropped (`don't` is `dont`).
pub(super) fn for_each_word(text: &str, mut each: impl FnMut(u64, bool)) {
    let mut word = String::new();
    let mut flush = |word: &mut String| {
        if !word.is_empty() {
            each(fnv(word.as_bytes()), STOP.binary_search(&word.as_str()).is_ok());
            word.clear();
        }
    };
    for c in text.chars() {
        if c.is_ascii() {
            if c.is_ascii_alphanumeric() {
                word.push(c.to_ascii_lowercase());
            } else if c != '\'' {
                flush(&mut word);
            }
        } else if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        } else if c != '’' {
            flush(&mut word);
        }
    }
    flush(&mut word);
}

/// The buckets of a text's words and pairs of neighbouring words, with their sublinear frequency 1 + ln(count), by
/// ascending bucket. `mask`: number of buckets - 1, the number being a power of two. Words have the lower half of the
/// buckets and pairs the upper one: there are far more pairs, and they would drown the words. Stop words count only in
/// pairs with a word that is none.
pub(super) fn features(text: &str, mask: u64) -> Vec<(u32, f32)> {
    let half = mask >> 1;
    let mut buckets: Vec<u32> = Vec::with_capacity(text.len() / 3);
    let mut before: Option<(u64, bool)> = None;
    for_each_word(text, |hash, stop| {
        if !stop {
            buckets.push((mix(hash) & half) as u32);
        }
        if let Some((last, last_stop)) = before
            && !(stop && last_stop)
        {
            let pair = mix(last.rotate_left(23) ^ hash.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            buckets.push((half + 1 + (pair & half)) as u32);
        }
        before = Some((hash, stop));
    });
    count(buckets)
}

/// Counts what comes several times: (bucket, 1 + ln(count)), by ascending bucket.
pub(super) fn count(mut buckets: Vec<u32>) -> Vec<(u32, f32)> {
    buckets.sort_unstable();
    buckets.chunk_by(|a, b| a == b).filter_map(|run| Some((*run.first()?, 1.0 + (run.len() as f32).ln()))).collect()
}

/// Numbers the buckets that have an idf.
pub(super) fn number_known(idf: &[f32]) -> Vec<u32> {
    let mut next = 0;
    idf.iter()
        .map(|v| {
            if *v > 0.0 {
                next += 1;
                next - 1
            } else {
                u32::MAX
            }
        })
        .collect()
}

/// The bucket of a piece of text as it stands.
pub(super) fn bucket_of(piece: &str, mask: u64) -> u32 {
    (mix(fnv(piece.as_bytes())) & mask) as u32
}

/// The bucket of one whole phrase (`genre:drama`), for the metadata features.
pub(super) fn phrase(kind: &str, text: &str, mask: u64) -> Option<u32> {
    let mut hash = fnv(kind.as_bytes());
    let mut any = false;
    for_each_word(text, |word, _| {
        hash = hash.rotate_left(23) ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        any = true;
    });
    any.then(|| (mix(hash) & mask) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stop_words_are_sorted_for_the_binary_search() {
        assert!(STOP.is_sorted());
    }

    #[test]
    fn words_are_lower_cased_in_any_script_and_split_at_punctuation() {
        let words = |text: &str| {
            let mut out = Vec::new();
            for_each_word(text, |hash, _| out.push(hash));
            out
        };
        assert_eq!(words("Don't PANIC, École!"), words("dont…panic-école"));
        assert_eq!(words("Война и мир").len(), 3);
        assert!(words("  ,.!? ").is_empty());
    }

    #[test]
    fn pairs_tell_the_order_of_words_and_counts_grow_by_the_logarithm() {
        let mask = (1 << 20) - 1;
        assert_ne!(features("dog bites man", mask), features("man bites dog", mask));
        let three = features("spam spam spam", mask);
        let unigram = three.iter().map(|(_, v)| *v).fold(0.0, f32::max);
        assert!((unigram - (1.0 + 3f32.ln())).abs() < 1e-6);
        assert!(features("the and of", mask).is_empty());
    }

    #[test]
    fn the_hashes_are_those_of_the_file_format() {
        // FNV-1a of "a", from its published test vectors (Fowler, Noll, Vo: 0xaf63dc4c8601ec8c).
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
