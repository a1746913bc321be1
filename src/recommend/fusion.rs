//! Several recommenders as one: reciprocal rank fusion (Cormack et al. 2009).

use super::query_window::QueryWindow;
use super::ranking::rank;
use super::recommender::Recommender;
use crate::dataset::Conversation;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;
use rayon::prelude::*;
use std::sync::Arc;

/// The constant of the paper on reciprocal rank fusion: how little the first places stand out.
const RANK_OFFSET: f64 = 60.0;

/// score(item) = sum over the parts of weight / (60 + rank), rank from 1; an item that a part never recommends gets nothing
/// from it.
pub struct Fusion {
    name: String,
    parts: Vec<(Arc<dyn Recommender>, f64)>,
}

impl Fusion {
    /// `parts`: recommenders of one catalogue with their weights.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for no parts, catalogues that differ in size, a weight that is not above zero.
    pub fn new(name: impl Into<String>, parts: Vec<(Arc<dyn Recommender>, f64)>) -> Result<Fusion> {
        let Some((first, _)) = parts.first() else { return Err(Error::invalid("fusion: no recommenders to fuse")) };
        let items = first.items();
        if let Some((part, weight)) = parts.iter().find(|(p, w)| p.items() != items || !(*w > 0.0 && w.is_finite())) {
            return Err(Error::invalid(format!(
                "fusion: {} scores {} items with weight {weight}; all must score {items} items with weights above 0",
                part.name(),
                part.items()
            )));
        }
        Ok(Fusion { name: name.into(), parts })
    }
}

impl Recommender for Fusion {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn items(&self) -> usize {
        self.parts.first().map_or(0, |(p, _)| p.items())
    }
    /// An embedder that its parts share is counted with each.
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|(part, _)| part.bytes()).sum()
    }
    fn window(&self) -> Option<QueryWindow> {
        self.parts.iter().find_map(|(part, _)| part.window())
    }
    fn score(&self, conversations: &[&Conversation], run: &Run) -> Result<Matrix> {
        let items = self.items();
        let mut fused = Matrix::zeros(conversations.len(), items);
        for (part, weight) in &self.parts {
            let scores = part.score(conversations, run)?;
            run.install(|| {
                fused.data_mut().par_chunks_exact_mut(items.max(1)).enumerate().for_each(|(row, fused)| {
                    let ranked = rank(scores.row(row), &[], items);
                    for (place, ranked) in ranked.iter().enumerate() {
                        fused[ranked.item as usize] += (weight / (RANK_OFFSET + place as f64 + 1.0)) as f32;
                    }
                });
            });
        }
        for score in fused.data_mut().iter_mut().filter(|s| **s == 0.0) {
            *score = f32::NEG_INFINITY;
        }
        Ok(fused)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Popularity;
    use super::super::testing::conversation;
    use super::*;

    #[test]
    fn an_item_that_two_recommenders_rank_second_beats_two_that_one_ranks_first() {
        let part = |counts: [f32; 4]| Arc::new(Popularity::new("p", counts.to_vec()).unwrap()) as Arc<dyn Recommender>;
        let fused = Fusion::new("f", vec![(part([9., 8., 0., 1.]), 1.0), (part([0., 8., 9., 1.]), 1.0)]).unwrap();
        let talk = conversation(&["hello"]);
        let scores = fused.score(&[&talk], &Run::new(1).unwrap()).unwrap();
        // By the formula: 2/62, against 1/61 + 1/64 and, for the last, 2/63.
        assert_eq!(rank(scores.row(0), &[], 4).iter().map(|r| r.item).collect::<Vec<_>>(), [1, 0, 2, 3]);
        assert!((f64::from(scores.row(0)[0]) - (1.0 / 61.0 + 1.0 / 64.0)).abs() < 1e-7);
        assert!(Fusion::new("f", Vec::new()).is_err());
        assert!(Fusion::new("f", vec![(part([1.; 4]), 0.0)]).is_err());
    }
}
