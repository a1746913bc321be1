//! Pieces of words, for texts without a word that the built-in embedder knows: a misspelt or a foreign word, an emoji, nothing
//! but stop words.
//!
//! A gram is three letters of a word with its ends (` lindo ` has `␣li`, `lin`, …), a sign or a pair of signs of a script that
//! writes without spaces, a run of ASCII punctuation, or any other sign alone. It stands for the mean row of the texts that
//! it was seen in; a text's row is their sum, weighed as words are ((1 + ln tf) idf) and scaled to unit length.

use super::words::{self, bucket_of};
use crate::math::{Matrix, norm};

/// Buckets of the hashed grams: four times what English reviews fill.
pub(super) const BUCKETS: usize = 1 << 17;
/// Characters of a text that are looked at: a thousand words of a review say what its grams can say.
const MOST_CHARS: usize = 2000;
/// Characters of a run of punctuation that tell it from others.
const RUN_CHARS: usize = 8;

/// Grams and the mean rows of the texts that have them.
pub(super) struct Grams {
    /// Smoothed inverse document frequency of every bucket; 0: not known. `[BUCKETS]`.
    pub idf: Vec<f32>,
    /// Row of `means` for every bucket; `u32::MAX`: none.
    known: Vec<u32>,
    /// `[known, dim]`.
    pub means: Matrix,
}

impl Grams {
    /// From texts and their rows `[texts, dim]`, zeros for texts without any; `least`: texts that must have a gram.
    pub fn fit(texts: &[&str], rows: &Matrix, least: u32) -> Grams {
        let mut in_texts = vec![0u32; BUCKETS];
        let found: Vec<Vec<(u32, f32)>> = texts.iter().map(|text| features(text)).collect();
        found.iter().flatten().for_each(|(bucket, _)| in_texts[*bucket as usize] += 1);
        let total = texts.len() as f32;
        let idf = |n: &u32| if *n < least { 0.0 } else { ((1.0 + total) / (1.0 + *n as f32)).ln() + 1.0 };
        let idf: Vec<f32> = in_texts.iter().map(idf).collect();
        let known = words::number_known(&idf);
        let mut means = Matrix::zeros(idf.iter().filter(|v| **v > 0.0).count(), rows.dim());
        for (i, found) in found.iter().enumerate() {
            for (bucket, _) in found {
                let (at, count) = (known[*bucket as usize], in_texts[*bucket as usize] as f32);
                if at != u32::MAX {
                    means.row_mut(at as usize).iter_mut().zip(rows.row(i)).for_each(|(m, v)| *m += v / count);
                }
            }
        }
        Grams { idf, known, means }
    }

    /// From what was saved; none when the parts do not fit together.
    pub fn from_parts(idf: Vec<f32>, means: Matrix) -> Option<Grams> {
        let known = words::number_known(&idf);
        let sound = idf.iter().all(|v| v.is_finite() && *v >= 0.0) && means.data().iter().all(|v| v.is_finite());
        let rows = idf.iter().filter(|v| **v > 0.0).count();
        (sound && idf.len() == BUCKETS && rows == means.rows()).then_some(Grams { idf, known, means })
    }

    /// Writes the row of `text` to `out` `[dim]`, zeros before; false, and zeros, when it has no known gram either.
    pub fn row(&self, text: &str, out: &mut [f32]) -> bool {
        for (bucket, frequency) in features(text) {
            let at = self.known[bucket as usize];
            if at != u32::MAX {
                let weight = frequency * self.idf[bucket as usize];
                out.iter_mut().zip(self.means.row(at as usize)).for_each(|(o, m)| *o += weight * m);
            }
        }
        unit(out)
    }
}

/// Scales a row to unit length; a row without one becomes zeros, and the answer false.
pub(super) fn unit(row: &mut [f32]) -> bool {
    let length = norm(row);
    if length == 0.0 || !length.is_finite() {
        row.fill(0.0);
        return false;
    }
    row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    true
}

/// A script whose words are not set apart by spaces.
fn without_spaces(c: char) -> bool {
    matches!(u32::from(c),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x2e80..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff
        | 0x20000..=0x3ffff)
}

/// The buckets of a text's grams with their sublinear frequency, by ascending bucket.
fn features(text: &str) -> Vec<(u32, f32)> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Letters,
        Signs,
        Punctuation,
        Other,
        Space,
    }
    let kind = |c: char| match c {
        c if c.is_whitespace() => Kind::Space,
        c if without_spaces(c) => Kind::Signs,
        c if c.is_alphanumeric() => Kind::Letters,
        c if c.is_ascii_punctuation() => Kind::Punctuation,
        _ => Kind::Other,
    };
    let chars: Vec<char> = text.chars().flat_map(char::to_lowercase).take(MOST_CHARS).collect();
    let mut buckets = Vec::with_capacity(chars.len());
    let mut piece = String::new();
    let mut add = |chars: &mut dyn Iterator<Item = char>| {
        piece.clear();
        piece.extend(chars);
        buckets.push(bucket_of(&piece, BUCKETS as u64 - 1));
    };
    for run in chars.chunk_by(|a, b| kind(*a) == kind(*b)) {
        match kind(run[0]) {
            Kind::Space => {}
            Kind::Letters => {
                let word: Vec<char> = [' '].iter().chain(run).chain(&[' ']).copied().collect();
                word.windows(3).for_each(|gram| add(&mut gram.iter().copied()));
            }
            Kind::Signs => {
                run.iter().for_each(|c| add(&mut [*c].into_iter()));
                run.windows(2).for_each(|pair| add(&mut pair.iter().copied()));
            }
            Kind::Punctuation => add(&mut run.iter().copied().take(RUN_CHARS)),
            Kind::Other => run.iter().for_each(|c| add(&mut [*c].into_iter())),
        }
    }
    words::count(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_signs_and_emoji_have_grams_and_blanks_have_none() {
        assert_eq!(features("Lindo").len(), 5);
        assert_eq!(features("LINDO"), features("lindo"));
        assert_eq!(features("😍😍").len(), 1);
        assert_eq!(features("とても").len(), 5);
        assert_eq!(features("!!! :)").len(), 2);
        assert!(features(" \n\t").is_empty());
    }

    #[test]
    fn an_unknown_word_is_near_the_texts_that_share_its_pieces() {
        let texts = ["linda blusa", "lindos zapatos", "terrible blender", "awful blender"];
        let rows = Matrix::from_vec(4, 2, vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]).unwrap();
        let grams = Grams::fit(&texts, &rows, 1);
        let mut row = [0f32; 2];
        assert!(grams.row("Lindo", &mut row));
        assert!(row[0] > 0.9, "{row:?}");
        let mut row = [0f32; 2];
        assert!(!grams.row("жжж", &mut row) && row == [0.0, 0.0]);
        let again = Grams::from_parts(grams.idf.clone(), grams.means.clone()).unwrap();
        assert_eq!(again.known, grams.known);
        assert!(Grams::from_parts(grams.idf, Matrix::zeros(1, 2)).is_none());
    }
}
