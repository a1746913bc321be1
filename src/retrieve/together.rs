//! Which items the same users liked, and how popular each is.

use super::lists::{Lists, best, relative};
use crate::dataset::Dataset;

/// Neighbours kept per item.
pub(crate) const KEPT: usize = 400;
/// Users of one item looked at, spread evenly over all of them.
const USERS_MOST: usize = 4000;
/// Items of a user who counts: one who rated everything says nothing about two of them.
const ITEMS_MOST: usize = 1500;
/// A rating from which on an item was liked, out of 10.
const LIKED: f32 = 6.0;
/// The exponent of a neighbour's own count: 0.5 is the cosine, less favours what is popular.
const DAMPING: f32 = 0.4;

/// Who liked what, from interactions and reviews.
pub(crate) struct Together {
    items: usize,
    /// Users who liked an item, and items that a user liked.
    users_of: Lists,
    items_of: Lists,
    popularity: Vec<f32>,
    by_popularity: Vec<u32>,
}

impl Together {
    /// Reads the dataset once.
    pub(crate) fn new(dataset: &Dataset) -> Together {
        let items = dataset.items.len();
        let liked = |rating: Option<f32>| rating.is_none_or(|r| r >= LIKED);
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(dataset.interactions());
        let mut counts = vec![0u32; items];
        for n in 0..dataset.interactions() {
            let (user, item, rating, _) = dataset.interaction(n);
            counts[item] += 1;
            if liked(rating) {
                pairs.push((user as u32, item as u32));
            }
        }
        for r in 0..dataset.reviews() {
            counts[dataset.review_item(r)] += 1;
            if let Some(user) = dataset.review_user(r).filter(|_| liked(dataset.review_rating10(r))) {
                pairs.push((user as u32, dataset.review_item(r) as u32));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let items_of = Lists::new(dataset.users(), pairs.iter().copied());
        pairs.iter_mut().for_each(|p| *p = (p.1, p.0));
        pairs.sort_unstable();
        let users_of = Lists::new(items, pairs.into_iter());
        let most = counts.iter().copied().max().unwrap_or(0).max(1) as f32;
        let popularity: Vec<f32> = counts.iter().map(|c| (*c as f32).ln_1p() / most.ln_1p()).collect();
        let mut by_popularity: Vec<u32> = (0..items as u32).collect();
        by_popularity.sort_by_key(|i| (std::cmp::Reverse(counts[*i as usize]), *i));
        Together { items, users_of, items_of, popularity, by_popularity }
    }

    /// About how many bytes of memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.users_of.bytes() + self.items_of.bytes() + self.items * (size_of::<f32>() + size_of::<u32>())
    }

    /// 0 to 1: the logarithm of the number of interactions and reviews, over that of the most popular item.
    pub(crate) fn popularity(&self, item: u32) -> f32 {
        self.popularity[item as usize]
    }

    /// All items, the most popular first.
    pub(crate) fn by_popularity(&self) -> &[u32] {
        &self.by_popularity
    }

    /// Users who liked it.
    pub(crate) fn users(&self, item: u32) -> usize {
        self.users_of.row(item as usize).len()
    }

    /// The items that the users of `item` liked, itself left out, best first, at most [`KEPT`]: users who liked both, over
    /// the counts of both; scores relative to the best.
    pub(crate) fn of(&self, item: u32) -> Vec<(u32, f32)> {
        let users = self.users_of.row(item as usize);
        let mut sums = vec![0f32; self.items];
        let step = users.len().div_ceil(USERS_MOST).max(1);
        for user in users.iter().step_by(step) {
            let liked = self.items_of.row(*user as usize);
            if liked.len() > ITEMS_MOST {
                continue;
            }
            // Who liked few things tells more about each pair.
            let weight = 1.0 / (2.0 + liked.len() as f32).ln();
            for other in liked {
                sums[*other as usize] += weight;
            }
        }
        sums[item as usize] = 0.0;
        let scored = sums.iter().enumerate().filter(|(_, s)| **s > 0.0).map(|(other, s)| {
            let count = self.users_of.row(other).len() as f32;
            // Two users in common by chance must not beat a hundred: the count is smoothed.
            (other as u32, s / (count + 20.0).powf(DAMPING))
        });
        relative(best(scored, KEPT))
    }
}
