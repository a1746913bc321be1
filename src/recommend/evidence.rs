//! Why an item: the seed reviews of it that lie nearest to what was said.

use super::Neighbour;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::math::{Matrix, dot};
use std::sync::Arc;

/// The seed reviews with their embeddings.
#[derive(Clone)]
pub struct Evidence {
    rows: Arc<Matrix>,
    by_item: Arc<Vec<Vec<u32>>>,
}

impl Evidence {
    /// `rows`: `[dataset.reviews(), dim]`, unit length, of the embedder that embeds the queries.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when there is not one row per review.
    pub fn new(dataset: &Dataset, rows: Arc<Matrix>) -> Result<Evidence> {
        if rows.rows() != dataset.reviews() {
            return Err(Error::invalid(format!(
                "evidence: {} embeddings for {} reviews; embed them again",
                rows.rows(),
                dataset.reviews()
            )));
        }
        Ok(Evidence { rows, by_item: Arc::new(dataset.reviews_by_item()) })
    }
    /// The same over a catalogue of `items` items: those that joined have no reviews yet.
    pub fn grown(&self, items: usize) -> Evidence {
        let mut by_item = Vec::clone(&self.by_item);
        by_item.resize(items, Vec::new());
        Evidence { rows: self.rows.clone(), by_item: Arc::new(by_item) }
    }
    /// Bytes of the embeddings.
    pub fn bytes(&self) -> u64 {
        size_of_val(self.rows.data()) as u64
    }
    /// At most `count` reviews of `item`, nearest to `query` (`[dim]`) by cosine first, ties to the lowest row.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a query of another dimension or an item row outside the catalogue.
    pub fn of(&self, item: u32, query: &[f32], count: usize) -> Result<Vec<Neighbour>> {
        if query.len() != self.rows.dim() {
            return Err(Error::invalid(format!(
                "evidence: a query of {} dimensions among reviews of {}; embed both the same way",
                query.len(),
                self.rows.dim()
            )));
        }
        let reviews = self
            .by_item
            .get(item as usize)
            .ok_or_else(|| Error::invalid(format!("evidence: item row {item} of {} items", self.by_item.len())))?;
        let mut found: Vec<Neighbour> = reviews
            .iter()
            .map(|&row| Neighbour { row, similarity: dot(self.rows.row(row as usize), query) as f32 })
            .collect();
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.row.cmp(&b.row)));
        found.truncate(count);
        Ok(found)
    }
}

/// The part of a review that says most in few words: `chars` characters at most, cut at a word, `…` where cut.
pub fn excerpt(text: &str, chars: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= chars {
        return text;
    }
    let cut: String = text.chars().take(chars).collect();
    let end = cut.rfind(' ').unwrap_or(cut.len());
    format!("{}…", &cut[..end])
}

#[cfg(test)]
mod tests {
    use super::super::testing::movies;
    use super::*;
    use crate::dataset::Review;

    #[test]
    fn the_nearest_reviews_of_the_item_itself_speak_for_it() {
        let mut dataset = movies();
        for item in ["m0", "m1", "m0", "m0"] {
            dataset.add_review(&Review { item: item.into(), text: "t".into(), ..Review::default() }).unwrap();
        }
        let rows = Matrix::from_vec(4, 2, vec![0.0, 1.0, 1.0, 0.0, 0.6, 0.8, 0.6, 0.8]).unwrap();
        let rows = Arc::new(rows);
        let evidence = Evidence::new(&dataset, rows.clone()).unwrap();
        let found: Vec<u32> = evidence.of(0, &[1.0, 0.0], 2).unwrap().iter().map(|n| n.row).collect();
        assert_eq!(found, [2, 3]);
        assert!(evidence.of(2, &[1.0, 0.0], 2).unwrap().is_empty());
        assert!(evidence.of(0, &[1.0], 2).is_err());
        assert!(evidence.of(9999, &[1.0, 0.0], 2).is_err());
        assert!(Evidence::new(&movies(), rows).is_err());
    }

    #[test]
    fn an_excerpt_is_cut_at_a_word() {
        assert_eq!(excerpt("one  two\nthree", 20), "one two three");
        assert_eq!(excerpt("one two three", 9), "one two…");
        assert_eq!(excerpt("ééééé", 3), "ééé…");
    }
}
