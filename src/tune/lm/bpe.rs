//! A byte-level BPE vocabulary trained on texts, in the form that llama.cpp calls `gpt2` with the pre-tokeniser of Llama 3.
//!
//! Texts are split into words (a word keeps the space before it), words into bytes; then the most frequent pair of
//! neighbours becomes a token, again and again. Ties go to the lower pair of token numbers: the same texts give the same
//! vocabulary. llama.cpp applies the merges in the order in which they were learned.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// A trained vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bpe {
    /// The bytes of each token: the 256 single bytes, then one per merge.
    pub tokens: Vec<Vec<u8>>,
    /// The pairs of tokens that were merged, in order.
    pub merges: Vec<(u32, u32)>,
}

/// GPT-2's printable characters for bytes: a vocabulary file holds text.
pub fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|b| printable_byte(*b)).collect()
}

fn printable_byte(byte: u8) -> char {
    let plain = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if plain(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !plain(*b)).count() as u32;
    char::from_u32(256 + before).unwrap_or('?')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Newline,
    Space,
    Other,
}

fn class(c: char) -> Class {
    match c {
        '\r' | '\n' => Class::Newline,
        c if c.is_whitespace() => Class::Space,
        c if c.is_numeric() => Class::Digit,
        c if c.is_alphabetic() => Class::Letter,
        _ => Class::Other,
    }
}

/// Splits `text` into words as Llama 3's pre-tokeniser does:
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
pub fn words(text: &str) -> Vec<&str> {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let at = |i: usize| chars.get(i).map(|(_, c)| *c);
    let run = |from: usize, wanted: Class| (from..).take_while(|i| at(*i).is_some_and(|c| class(c) == wanted)).count();
    let mut out = Vec::new();
    let mut start = 0;
    while let Some(first) = at(start) {
        let next;
        let suffix = contraction(at(start), at(start + 1), at(start + 2));
        let kind = class(first);
        if suffix > 0 {
            next = start + suffix;
        } else if kind == Class::Letter {
            next = start + run(start, Class::Letter);
        } else if matches!(kind, Class::Space | Class::Other) && run(start + 1, Class::Letter) > 0 {
            next = start + 1 + run(start + 1, Class::Letter);
        } else if kind == Class::Digit {
            next = start + run(start, Class::Digit).min(3);
        } else {
            let sign = if first == ' ' { start + 1 } else { start };
            let signs = run(sign, Class::Other);
            if signs > 0 {
                next = sign + signs + run(sign + signs, Class::Newline);
            } else {
                let blank = |i: usize| at(i).is_some_and(char::is_whitespace);
                let blanks = (start..).take_while(|i| blank(*i)).count();
                let newline =
                    (start..start + blanks).rev().find(|i| at(*i).is_some_and(|c| class(c) == Class::Newline));
                next = match newline {
                    Some(last) => last + 1,
                    // Before a word the last blank stays with the word.
                    None if at(start + blanks).is_some() && blanks > 1 => start + blanks - 1,
                    None => start + blanks,
                };
            }
        }
        let byte = |i: usize| chars.get(i).map_or(text.len(), |(at, _)| *at);
        out.push(&text[byte(start)..byte(next)]);
        start = next;
    }
    out
}

/// Characters of an English contraction that begins here: 0, 2 or 3.
fn contraction(a: Option<char>, b: Option<char>, c: Option<char>) -> usize {
    let lower = |c: Option<char>| c.map(|c| c.to_ascii_lowercase());
    match (a, lower(b), lower(c)) {
        (Some('\''), Some('r'), Some('e')) | (Some('\''), Some('v'), Some('e')) => 3,
        (Some('\''), Some('l'), Some('l')) => 3,
        (Some('\''), Some('s' | 't' | 'm' | 'd'), _) => 2,
        _ => 0,
    }
}

impl Bpe {
    /// Learns up to `size` tokens (at least the 256 bytes) from `texts`; pairs seen once are not merged.
    pub fn train<'a>(texts: impl IntoIterator<Item = &'a str>, size: usize) -> Bpe {
        let mut counts: HashMap<&str, i64> = HashMap::new();
        for text in texts {
            words(text).into_iter().for_each(|w| *counts.entry(w).or_default() += 1);
        }
        let mut sorted: Vec<(&str, i64)> = counts.into_iter().collect();
        sorted.sort_unstable();
        let mut all: Vec<(Vec<u32>, i64)> =
            sorted.into_iter().map(|(w, n)| (w.bytes().map(u32::from).collect(), n)).collect();
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        let mut merges = Vec::new();

        let mut pairs: HashMap<(u32, u32), (i64, HashSet<usize>)> = HashMap::new();
        for (i, (word, count)) in all.iter().enumerate() {
            for pair in word.windows(2) {
                let entry = pairs.entry((pair[0], pair[1])).or_default();
                entry.0 += count;
                entry.1.insert(i);
            }
        }
        // Entries may be out of date: the true count is looked up when one comes out.
        let mut heap: BinaryHeap<(i64, Reverse<(u32, u32)>)> =
            pairs.iter().map(|(p, (n, _))| (*n, Reverse(*p))).collect();
        while tokens.len() < size {
            let Some((count, Reverse(pair))) = heap.pop() else { break };
            let Some((now, places)) = pairs.get(&pair).map(|(n, places)| (*n, places)) else { continue };
            if now != count {
                if now > 1 {
                    heap.push((now, Reverse(pair)));
                }
                continue;
            }
            if now < 2 {
                break;
            }
            let new = tokens.len() as u32;
            let joined = [tokens[pair.0 as usize].as_slice(), tokens[pair.1 as usize].as_slice()].concat();
            let mut places: Vec<usize> = places.iter().copied().collect();
            places.sort_unstable();
            tokens.push(joined);
            merges.push(pair);
            let mut touched: HashSet<(u32, u32)> = HashSet::new();
            for i in places {
                let (word, count) = &mut all[i];
                for p in word.windows(2) {
                    if let Some(entry) = pairs.get_mut(&(p[0], p[1])) {
                        entry.0 -= *count;
                    }
                }
                merge(word, pair, new);
                for p in word.windows(2) {
                    let entry = pairs.entry((p[0], p[1])).or_default();
                    entry.0 += *count;
                    entry.1.insert(i);
                    if p[0] == new || p[1] == new {
                        touched.insert((p[0], p[1]));
                    }
                }
            }
            pairs.remove(&pair);
            heap.extend(touched.into_iter().filter_map(|p| Some((pairs.get(&p)?.0, Reverse(p)))));
        }
        Bpe { tokens, merges }
    }

    /// `text` as tokens: what llama.cpp must give, too.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let ranks: HashMap<(u32, u32), usize> = self.merges.iter().enumerate().map(|(i, p)| (*p, i)).collect();
        let mut out = Vec::new();
        for word in words(text) {
            let mut symbols: Vec<u32> = word.bytes().map(u32::from).collect();
            while let Some(rank) = symbols.windows(2).filter_map(|p| ranks.get(&(p[0], p[1]))).min() {
                merge(&mut symbols, self.merges[*rank], 256 + *rank as u32);
            }
            out.extend(symbols);
        }
        out
    }
}

/// Every `pair` in `word` becomes `new`, from the left.
fn merge(word: &mut Vec<u32>, pair: (u32, u32), new: u32) {
    let (mut read, mut write) = (0, 0);
    while read < word.len() {
        if read + 1 < word.len() && (word[read], word[read + 1]) == pair {
            word[write] = new;
            read += 2;
        } else {
            word[write] = word[read];
            read += 1;
        }
        write += 1;
    }
    word.truncate(write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_the_pattern_says() {
        let split = |t: &str| words(t).join("|");
        assert_eq!(split("It's slow, isn't it?  Well… 2026!"), "It|'s| slow|,| isn|'t| it|?| | Well|…| |202|6|!");
        assert_eq!(split("a\n\n b  \n c"), "a|\n\n| b|  \n| c");
        assert_eq!(split("  x"), " | x");
        assert_eq!(split("end.  "), "end|.|  ");
        assert_eq!(split("(hello) \"Oh!\"\n"), "(hello|)| \"|Oh|!\"\n");
    }

    #[test]
    fn frequent_pairs_become_tokens_and_encoding_is_undone_by_joining() {
        let texts = ["low lower lowest", "low low slow", "newer wider"];
        let bpe = Bpe::train(texts, 270);
        // "lo" and "ow" are equally frequent (6); "lo" has the lower pair of bytes.
        assert_eq!(bpe.tokens[256], b"lo");
        assert_eq!(bpe.tokens[257], b"low");
        assert_eq!(bpe, Bpe::train(texts, 270));
        for text in ["slower lows", "Война и мир ☕", ""] {
            let bytes: Vec<u8> = bpe.encode(text).iter().flat_map(|t| bpe.tokens[*t as usize].clone()).collect();
            assert_eq!(bytes, text.as_bytes());
        }
        assert!(bpe.encode("lowest").len() < 6);
        assert_eq!(printable(b" a\n"), "ĠaĊ");
    }
}
