//! Popularity: the same ranking for every conversation (paper §4.2.1, the first baseline).

use super::Recommender;
use crate::dataset::Dialogue;
use crate::dataset::{Conversation, Dataset, Items};
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;

/// Ranks items by a count.
#[derive(Debug, Clone, PartialEq)]
pub struct Popularity {
    name: String,
    counts: Vec<f32>,
}

impl Popularity {
    /// Counts of your own, `[items]`; `name` as reports show it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an empty catalogue or a count that is negative or NaN.
    pub fn new(name: impl Into<String>, counts: Vec<f32>) -> Result<Popularity> {
        if counts.is_empty() {
            return Err(Error::invalid("popularity: the catalogue is empty; import items first"));
        }
        if let Some(item) = counts.iter().position(|c| c.is_nan() || *c < 0.0) {
            return Err(Error::invalid(format!("popularity: item row {item} has count {}", counts[item])));
        }
        Ok(Popularity { name: name.into(), counts })
    }
    /// The seed data: one per interaction and one per review.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an empty catalogue.
    pub fn from_dataset(dataset: &Dataset) -> Result<Popularity> {
        let mut counts = vec![0f32; dataset.items.len()];
        (0..dataset.reviews()).for_each(|r| counts[dataset.review_item(r)] += 1.0);
        (0..dataset.interactions()).for_each(|n| counts[dataset.interaction(n).1] += 1.0);
        Popularity::new("popularity, seed data", counts)
    }
    /// The synthetic dialogues: one per list that an item stands in. Ids that are not in the catalogue count for nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an empty catalogue.
    pub fn from_dialogues(dialogues: &[Dialogue], items: &Items) -> Result<Popularity> {
        let mut counts = vec![0f32; items.len()];
        for row in dialogues.iter().flat_map(|d| &d.items).filter_map(|id| items.find(id)) {
            counts[row as usize] += 1.0;
        }
        Popularity::new("popularity, synthetic", counts)
    }
    /// The counts, `[items]`.
    pub fn counts(&self) -> &[f32] {
        &self.counts
    }
}

impl Recommender for Popularity {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn items(&self) -> usize {
        self.counts.len()
    }
    fn bytes(&self) -> u64 {
        size_of_val(self.counts.as_slice()) as u64
    }
    fn score(&self, conversations: &[&Conversation], run: &Run) -> Result<Matrix> {
        run.check()?;
        Matrix::from_vec(conversations.len(), self.counts.len(), self.counts.repeat(conversations.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{dialogue, movies};
    use super::*;
    use crate::dataset::{Interaction, Review};

    #[test]
    fn interactions_and_reviews_each_count_once() {
        let mut dataset = movies();
        let id = dataset.items.id(2).to_string();
        dataset.add_review(&Review { item: id.clone(), text: "good".into(), ..Review::default() }).unwrap();
        dataset.add_interaction(&Interaction { user: "u".into(), item: id, ..Interaction::default() }).unwrap();
        let popularity = Popularity::from_dataset(&dataset).unwrap();
        assert_eq!(popularity.counts()[..4], [0.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn dialogues_count_the_lists_an_item_stands_in() {
        let dataset = movies();
        let lists = [dialogue("a", "q", &["m1", "m0"]), dialogue("b", "q", &["m1", "gone"])];
        let popularity = Popularity::from_dialogues(&lists, &dataset.items).unwrap();
        assert_eq!(popularity.counts()[..3], [1.0, 2.0, 0.0]);
        assert!(Popularity::new("p", Vec::new()).is_err());
        assert!(Popularity::new("p", vec![f32::NAN]).is_err());
    }
}
