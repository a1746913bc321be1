//! Users who recite a review: a run of words that stands in one of those that the teacher saw.

use super::super::words::words_of;
use std::collections::HashSet;

/// The runs of the reviews of one seed.
pub(super) struct Copies {
    /// Words of a run: one more than may be shared.
    run: usize,
    runs: HashSet<Vec<String>>,
}

impl Copies {
    /// Of `reviews`; runs of more than `most` words are copies.
    pub(super) fn new<'a>(reviews: impl Iterator<Item = &'a str>, most: usize) -> Copies {
        let run = most + 1;
        let runs = reviews.flat_map(|review| {
            let words = words_of(review);
            words.windows(run).map(<[String]>::to_vec).collect::<Vec<_>>()
        });
        Copies { run, runs: runs.collect() }
    }

    /// Whether a text recites one of them.
    pub(super) fn are_in(&self, text: &str) -> bool {
        words_of(text).windows(self.run).any(|run| self.runs.contains(run))
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
}
