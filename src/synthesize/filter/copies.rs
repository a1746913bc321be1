//! Users who recite a review: a run of words that stands in one of those that the teacher saw.

use super::super::words::{is_unspaced, words_of};
use std::collections::HashSet;

/// Letters that make about a word, of scripts that are written without spaces.
const LETTERS_A_WORD: usize = 3;

/// The runs of the reviews of one seed.
pub(super) struct Copies {
    /// Words of a run: one more than may be shared; and letters, of scripts without spaces.
    run: usize,
    letters: usize,
    runs: HashSet<Vec<String>>,
    runs_of_letters: HashSet<Vec<String>>,
}

/// Whether most of a run are letters of a script without spaces, which count less than words.
fn in_letters(run: &[String]) -> bool {
    let letters = run.iter().filter(|word| word.chars().all(is_unspaced)).count();
    2 * letters > run.len()
}

impl Copies {
    /// Of `reviews`; runs of more than `most` words are copies.
    pub(super) fn new<'a>(reviews: impl Iterator<Item = &'a str>, most: usize) -> Copies {
        let (run, letters) = (most.saturating_add(1), most.saturating_mul(LETTERS_A_WORD).saturating_add(1));
        let mut copies = Copies { run, letters, runs: HashSet::new(), runs_of_letters: HashSet::new() };
        for review in reviews {
            let words = words_of(review);
            copies.runs.extend(words.windows(run).map(<[String]>::to_vec));
            copies.runs_of_letters.extend(words.windows(letters).filter(|run| in_letters(run)).map(<[String]>::to_vec));
        }
        copies
    }

    /// Whether a text recites one of them.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let words = words_of(text);
        words.windows(self.run).any(|run| !in_letters(run) && self.runs.contains(run))
            || words.windows(self.letters).any(|run| self.runs_of_letters.contains(run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_more_words_than_allowed_is_a_copy_however_it_is_written() {
        let review = "A slow, sad film. The ending made me cry for an hour!";
        let text = "I want one where \"the ENDING made me cry for an hour\", please";
        let copies = |most: usize| Copies::new([review, "short"].into_iter(), most).are_in(text);
        // Eight words are shared.
        assert!(copies(7) && copies(1));
        assert!(!copies(8) && !copies(100));
        assert!(!Copies::new([""].into_iter(), 3).are_in(text));
    }

    /// Twelve letters of Chinese are no twelve words.
    #[test]
    fn letters_of_scripts_without_spaces_count_for_a_third_of_a_word() {
        let review = "演员演得非常好故事很感人我和家人一起看了两遍每一次都哭了";
        let copies = |text: &str| Copies::new([review].into_iter(), 5).are_in(text);
        assert!(!copies("演员演得非常好故事很的电影"));
        assert!(copies("想看演员演得非常好故事很感人我和家人一起看的电影"));
    }
}
