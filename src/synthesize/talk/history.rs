//! What users think of items, from their interactions and reviews.

use crate::dataset::{Dataset, Polarity};

/// A rating from which on a user liked an item, and up to which they did not, out of 10.
const LIKED_FROM: f32 = 7.0;
pub(in crate::synthesize) const DISLIKED_TO: f32 = 4.0;

/// What one user thinks of one item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Taste {
    pub item: u32,
    pub polarity: Polarity,
    /// Row of the user's review of it.
    pub review: Option<u32>,
}

/// The tastes of all users.
pub(super) struct History {
    /// Where each user's tastes begin, and where the last one's end.
    starts: Vec<usize>,
    /// By user, then by item, each once.
    tastes: Vec<Taste>,
}

impl History {
    /// Reads the dataset once.
    pub(super) fn new(dataset: &Dataset) -> History {
        // Where nobody rates, who takes an item likes it.
        let rated = (0..dataset.interactions()).any(|n| dataset.interaction(n).2.is_some());
        let unrated = if rated { Polarity::Seen } else { Polarity::Liked };
        let of_rating = |rating: Option<f32>, unrated: Polarity| match rating {
            Some(rating) if rating >= LIKED_FROM => Polarity::Liked,
            Some(rating) if rating <= DISLIKED_TO => Polarity::Disliked,
            Some(_) => Polarity::Seen,
            None => unrated,
        };
        let mut all: Vec<(u32, Taste)> = Vec::with_capacity(dataset.interactions());
        for n in 0..dataset.interactions() {
            let (user, item, rating, _) = dataset.interaction(n);
            all.push((user as u32, Taste { item: item as u32, polarity: of_rating(rating, unrated), review: None }));
        }
        for row in 0..dataset.reviews() {
            if let Some(user) = dataset.review_user(row) {
                let polarity = of_rating(dataset.review_rating10(row), Polarity::Seen);
                let item = dataset.review_item(row) as u32;
                all.push((user as u32, Taste { item, polarity, review: Some(row as u32) }));
            }
        }
        // Of several of one user and item: an opinion before none, a review's before another.
        let rank = |t: &Taste| (t.polarity == Polarity::Seen, t.review.is_none(), t.review);
        all.sort_by_key(|(user, taste)| (*user, taste.item, rank(taste), taste.polarity as u8));
        all.dedup_by(|(user, taste), (kept_user, kept)| {
            let same = (*user, taste.item) == (*kept_user, kept.item);
            if same {
                kept.review = kept.review.or(taste.review);
            }
            same
        });
        let mut starts = vec![0; dataset.users() + 1];
        all.iter().for_each(|(user, _)| starts[*user as usize + 1] += 1);
        (0..dataset.users()).for_each(|user| starts[user + 1] += starts[user]);
        History { starts, tastes: all.into_iter().map(|(_, taste)| taste).collect() }
    }

    /// A user's tastes, by item.
    pub(super) fn of(&self, user: usize) -> &[Taste] {
        &self.tastes[self.starts[user]..self.starts[user + 1]]
    }

    /// Users.
    pub(super) fn users(&self) -> usize {
        self.starts.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Interaction, Item, Review};

    #[test]
    fn a_review_says_more_than_an_interaction_and_no_rating_is_no_opinion() {
        let mut data = Dataset::default();
        for id in ["a", "b", "c", "d"] {
            data.add_item(&Item { id: id.into(), title: id.into(), ..Default::default() }).unwrap();
        }
        let mut took = |user: &str, item: &str, rating10| {
            let (user, item) = (user.into(), item.into());
            data.add_interaction(&Interaction { user, item, rating10, ..Default::default() }).unwrap();
        };
        took("u", "a", Some(9.0));
        took("u", "b", None);
        took("v", "c", Some(4.0));
        took("v", "d", Some(5.0));
        let review = Review {
            item: "a".into(),
            user: Some("u".into()),
            rating10: Some(2.0),
            text: "No.".into(),
            ..Default::default()
        };
        data.add_review(&review).unwrap();
        let history = History::new(&data);
        let of = |user: &str| history.of(data.find_user(user).unwrap() as usize).to_vec();
        let taste = |item, polarity, review| Taste { item, polarity, review };
        assert_eq!(of("u"), [taste(0, Polarity::Disliked, Some(0)), taste(1, Polarity::Seen, None)]);
        assert_eq!(of("v"), [taste(2, Polarity::Disliked, None), taste(3, Polarity::Seen, None)]);
        assert_eq!(history.users(), 2);
        // A review without a rating does not make a rating forgotten.
        data.add_review(&Review { item: "c".into(), user: Some("v".into()), rating10: None, ..review }).unwrap();
        let v = data.find_user("v").unwrap() as usize;
        assert_eq!(History::new(&data).of(v)[0], taste(2, Polarity::Disliked, Some(1)));
    }

    #[test]
    fn where_nobody_rates_what_was_taken_was_liked() {
        let mut data = Dataset::default();
        data.add_item(&Item { id: "a".into(), title: "a".into(), ..Default::default() }).unwrap();
        let took = Interaction { user: "u".into(), item: "a".into(), rating10: None, ..Default::default() };
        data.add_interaction(&took).unwrap();
        assert_eq!(History::new(&data).of(0)[0].polarity, Polarity::Liked);
        assert_eq!(History::new(&Dataset::default()).users(), 0);
    }
}
