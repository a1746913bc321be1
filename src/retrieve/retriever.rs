//! The signals, and their sum.

use super::attributes::{Attribute, words};
use super::documents::Documents;
use super::lists::best;
use super::together::Together;
use super::wish::Wish;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::run::Run;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reviews of an item that are read, spread evenly over all of them.
const REVIEWS_MOST: usize = 20;
/// Bytes of a review that are read.
const REVIEW_BYTES: usize = 600;
/// Items kept that are like one.
const LIKE_MOST: usize = 2000;
/// Items whose like is kept at hand; of others it is found again each time.
const REMEMBERED: usize = 20_000;
/// One candidate in so many is there for being popular alone.
const POPULAR_ONE_IN: usize = 20;

/// What speaks for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Users who liked the items spoken of liked it.
    Together,
    /// Its reviews are like theirs.
    ReviewsLike,
    /// What it says of itself is like theirs.
    DetailsLike,
    /// It shares creators with them.
    CreatorsShared,
    /// It shares genres with them.
    GenresShared,
    /// It shares named attributes with them.
    AttributesShared,
    /// Its title is like theirs.
    TitleLike,
    /// Its reviews are near the words.
    ReviewsNear,
    /// What it says of itself is near the words.
    DetailsNear,
    /// The words name one of its creators.
    CreatorNamed,
    /// The words speak of its genres.
    GenreNamed,
    /// The words name values of its attributes.
    AttributeNamed,
    /// Many know it.
    Popular,
}

/// Every signal, in the order of [`WEIGHTS`].
pub const SIGNALS: [Signal; 13] = [
    Signal::Together,
    Signal::ReviewsLike,
    Signal::DetailsLike,
    Signal::CreatorsShared,
    Signal::GenresShared,
    Signal::AttributesShared,
    Signal::TitleLike,
    Signal::ReviewsNear,
    Signal::DetailsNear,
    Signal::CreatorNamed,
    Signal::GenreNamed,
    Signal::AttributeNamed,
    Signal::Popular,
];

/// What a signal counts. Chosen on ReDial's training conversations so that their targets are among 60 (docs/results.md);
/// that of named attributes with the films' people given as such, that of shared ones, for which people say nothing, by reason.
pub const WEIGHTS: [f32; SIGNALS.len()] = [0.5, 5.6, 1.0, 0.1, 0.15, 0.1, 0.05, 3.2, 0.6, 2.2, 0.12, 1.6, 0.9];

/// Letters of a creator and of an attribute's value, at least, where one word alone names it.
const CREATOR_LETTERS: usize = 5;
const VALUE_LETTERS: usize = 3;

/// The first so many signals come of the items spoken of, each of which has its share.
const OF_ITEMS: usize = 7;

/// An item's name as far as it is heard.
fn said(dataset: &Dataset, item: usize) -> String {
    let name = dataset.items.name(item);
    let heard = words(&name).join(" ");
    if heard.is_empty() { name } else { heard }
}

/// Finds items for wishes.
pub struct Retriever {
    names: Vec<String>,
    together: Together,
    reviews: Documents,
    details: Documents,
    titles: Documents,
    genres: Attribute,
    creators: Attribute,
    /// Attributes as pairs of name and value, and their values alone.
    pairs: Attribute,
    values: Attribute,
    weights: [f32; SIGNALS.len()],
    /// What is like an item, by the weighted sum, computed when first asked for.
    like: Vec<OnceLock<Vec<(u32, f32)>>>,
    /// So many of them are kept.
    kept: AtomicUsize,
}

impl Retriever {
    /// Reads the dataset: about a second per 100 MB of its texts.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn new(dataset: &Dataset, run: &Run) -> Result<Retriever> {
        Retriever::with_weights(dataset, WEIGHTS, run)
    }

    /// [`Retriever::new`] with weights of one's own, in the order of [`SIGNALS`].
    ///
    /// # Errors
    /// As [`Retriever::new`].
    pub fn with_weights(dataset: &Dataset, weights: [f32; SIGNALS.len()], run: &Run) -> Result<Retriever> {
        let items = &dataset.items;
        let count = items.len();
        let of_item = dataset.reviews_by_item();
        run.check()?;
        let reviews = Documents::new(count, 3, |item| {
            let rows = &of_item[item];
            let step = rows.len().div_ceil(REVIEWS_MOST).max(1);
            let mut out = String::new();
            for row in rows.iter().step_by(step) {
                let text = dataset.review_text(*row as usize);
                out.push_str(dataset.review_title(*row as usize));
                out.push('\n');
                out.push_str(&text[..text.floor_char_boundary(REVIEW_BYTES)]);
                out.push('\n');
            }
            out
        });
        run.check()?;
        let details = Documents::new(count, 2, |item| items.text(item));
        let titles = Documents::new(count, 2, |item| items.title(item).to_string());
        run.check()?;
        Ok(Retriever {
            names: (0..count).map(|i| said(dataset, i)).collect(),
            together: Together::new(dataset),
            reviews,
            details,
            titles,
            genres: Attribute::new(dataset, |i| items.genres(i)),
            creators: Attribute::new(dataset, |i| items.creators(i)),
            pairs: Attribute::new(dataset, |i| items.attributes(i).map(|(name, value)| format!("{name} {value}"))),
            // What a genre, a creator or a keyword says is named as such, and "yes" names nothing.
            values: Attribute::new(dataset, |i| {
                items
                    .further_attributes(i)
                    .map(|(_, value)| value)
                    .filter(|value| !["yes", "no"].iter().any(|plain| value.eq_ignore_ascii_case(plain)))
            }),
            weights,
            like: (0..count).map(|_| OnceLock::new()).collect(),
            kept: AtomicUsize::new(0),
        })
    }

    /// About how many bytes of memory it holds, what is like each item included as far as somebody asked.
    pub fn bytes(&self) -> u64 {
        let texts = self.reviews.bytes() + self.details.bytes() + self.titles.bytes();
        let names: usize = self.names.iter().map(|name| name.len() + size_of::<String>()).sum();
        let like: usize = self.like.iter().filter_map(OnceLock::get).map(|list| size_of_val(&**list)).sum();
        let attributes = [&self.genres, &self.creators, &self.pairs, &self.values].map(Attribute::bytes);
        (texts + names + like + self.together.bytes() + attributes.iter().sum::<usize>()) as u64
    }

    /// 0 to 1: the logarithm of the number of an item's interactions and reviews, over that of the most popular one.
    pub fn popularity(&self, item: u32) -> f32 {
        self.together.popularity(item)
    }

    /// Adds one item's share of a signal to `out`.
    fn add_like(&self, signal: Signal, item: u32, weight: f32, out: &mut [f32]) {
        match signal {
            Signal::Together => self.together.of(item).iter().for_each(|(other, s)| out[*other as usize] += weight * s),
            Signal::ReviewsLike => self.reviews.add_like(item, weight, out),
            Signal::DetailsLike => self.details.add_like(item, weight, out),
            Signal::TitleLike => self.titles.add_like(item, weight, out),
            Signal::CreatorsShared => self.creators.add_shared(item, |shared, _, _| weight * shared.ln_1p(), out),
            Signal::GenresShared => {
                self.genres.add_shared(item, |shared, theirs, own| weight * shared / (theirs * own).sqrt(), out);
            }
            Signal::AttributesShared => self.pairs.add_shared_telling(item, weight, out),
            Signal::ReviewsNear
            | Signal::DetailsNear
            | Signal::CreatorNamed
            | Signal::GenreNamed
            | Signal::AttributeNamed
            | Signal::Popular => {}
        }
    }

    /// Adds what the words, and nobody's words, say.
    fn add_near(&self, signal: Signal, text: &str, weight: f32, out: &mut [f32]) {
        match signal {
            Signal::ReviewsNear => self.reviews.add_near(text, weight, out),
            Signal::DetailsNear => self.details.add_near(text, weight, out),
            Signal::CreatorNamed => {
                self.creators.add_having(&self.creators.named(&words(text), CREATOR_LETTERS), weight, out)
            }
            Signal::GenreNamed => self.genres.add_having(&self.genres.spoken_of(&words(text)), weight, out),
            Signal::AttributeNamed => {
                self.values.add_having_telling(&self.values.named(&words(text), VALUE_LETTERS), weight, out);
            }
            Signal::Popular => {
                out.iter_mut().enumerate().for_each(|(i, s)| *s += weight * self.together.popularity(i as u32));
            }
            Signal::Together
            | Signal::ReviewsLike
            | Signal::DetailsLike
            | Signal::TitleLike
            | Signal::CreatorsShared
            | Signal::GenresShared
            | Signal::AttributesShared => {}
        }
    }

    /// One signal of all items, unweighted.
    pub fn signal(&self, signal: Signal, wish: &Wish) -> Vec<f32> {
        let mut out = vec![0.0; self.names.len()];
        for item in &wish.items {
            self.add_like(signal, *item, 1.0 / wish.items.len() as f32, &mut out);
        }
        self.add_near(signal, &wish.words, 1.0, &mut out);
        out
    }

    /// The items like `item`, best first, by the weighted sum of what comes of it.
    fn like(&self, item: u32) -> Cow<'_, [(u32, f32)]> {
        let find = || {
            let mut out = vec![0.0; self.names.len()];
            for (signal, weight) in SIGNALS.iter().zip(self.weights).take(OF_ITEMS) {
                self.add_like(*signal, item, weight, &mut out);
            }
            best(out.into_iter().enumerate().map(|(i, s)| (i as u32, s)).filter(|(_, s)| *s > 0.0), LIKE_MOST)
        };
        let own = &self.like[item as usize];
        if own.get().is_none() && self.kept.load(Ordering::Relaxed) >= REMEMBERED {
            return Cow::Owned(find());
        }
        let like = own.get_or_init(|| {
            self.kept.fetch_add(1, Ordering::Relaxed);
            find()
        });
        Cow::Borrowed(like)
    }

    /// The fused score of every item.
    pub fn scores(&self, wish: &Wish) -> Vec<f32> {
        let mut out = vec![0.0; self.names.len()];
        for item in &wish.items {
            let share = 1.0 / wish.items.len() as f32;
            self.like(*item).iter().for_each(|(other, score)| out[*other as usize] += share * score);
        }
        for (signal, weight) in SIGNALS.iter().zip(self.weights).skip(OF_ITEMS) {
            self.add_near(*signal, &wish.words, weight, &mut out);
        }
        out
    }

    /// At most `count` items for a wish, best first; the items it speaks of are left out, but for `but`, and of items with
    /// one name the best is there. The last of them, one in twenty, are there for being popular.
    pub fn candidates(&self, wish: &Wish, but: Option<u32>, count: usize) -> Vec<u32> {
        let scores = self.scores(wish);
        let left_out = |item: u32| wish.items.contains(&item) && but != Some(item);
        let open = scores.iter().enumerate().map(|(i, s)| (i as u32, *s)).filter(|(i, _)| !left_out(*i));
        let fused = best(open, count.saturating_mul(2).saturating_add(wish.items.len()));
        let name = |item: u32| self.names[item as usize].as_str();
        let mut names: HashSet<&str> = but.into_iter().map(name).collect();
        let mut fresh = |item: u32| but == Some(item) || names.insert(name(item));
        let by_score = count - count / POPULAR_ONE_IN;
        let mut out: Vec<u32> = fused.iter().map(|(i, _)| *i).filter(|i| fresh(*i)).take(by_score).collect();
        let popular = self.together.by_popularity().iter().copied().filter(|i| !left_out(*i));
        for item in popular.take(count.saturating_mul(4)).chain(fused.iter().map(|(i, _)| *i)) {
            if out.len() >= count {
                break;
            }
            if !out.contains(&item) && fresh(item) {
                out.push(item);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Item;

    fn items(attributes: [&[(&str, &str)]; 5]) -> Dataset {
        let mut dataset = Dataset::default();
        for (n, attributes) in attributes.iter().enumerate() {
            let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let genres = vec!["Lamps".to_string()];
            dataset.add_item(&Item { id: format!("i{n}"), genres, attributes, ..Default::default() }).unwrap();
        }
        dataset
    }

    #[test]
    fn attributes_are_shared_by_name_and_value_and_named_by_value() {
        let run = Run::new(1).unwrap();
        let data = items([
            &[("colour", "red"), ("brand", "Acme"), ("wireless", "yes")],
            &[("colour", "red"), ("country", "Spain"), ("wireless", "yes")],
            &[("trim", "Red"), ("brand", "Acme Light")],
            &[("genre", "lamps")],
            &[],
        ]);
        let retriever = Retriever::new(&data, &run).unwrap();
        let shared = |item| retriever.signal(Signal::AttributesShared, &Wish { items: vec![item], ..Wish::default() });
        // Two of five items have each: 1 - ln 2 / ln 5 for each of two names.
        let told = 1.0 - 2f32.ln() / 5f32.ln();
        assert!((shared(0)[1] - 2.0 * told).abs() < 1e-6, "{:?}", shared(0));
        assert_eq!((shared(0)[2], shared(2)[0], shared(3)[0]), (0.0, 0.0, 0.0));
        let named =
            |text: &str| retriever.signal(Signal::AttributeNamed, &Wish { words: text.into(), ..Wish::default() });
        let red = 1.0 - 3f32.ln() / 5f32.ln();
        assert!(named("a RED one").iter().zip([red, red, red, 0.0, 0.0]).all(|(a, b)| (a - b).abs() < 1e-6));
        // Each brand is that of one item.
        assert_eq!(named("by acme light"), [1.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(named("yes, lamps"), [0.0; 5]);
        let wished = retriever.candidates(&Wish { words: "one from Spain".into(), ..Wish::default() }, None, 5);
        assert_eq!(wished[0], 1);
    }

    #[test]
    fn a_catalogue_without_attributes_is_scored_as_it_was() {
        let run = Run::new(1).unwrap();
        let data = items([&[], &[], &[], &[], &[]]);
        let wish = Wish { items: vec![1], words: "red lamps by acme".into() };
        let with = Retriever::new(&data, &run).unwrap().scores(&wish);
        let mut weights = WEIGHTS;
        for (signal, weight) in SIGNALS.iter().zip(&mut weights) {
            if matches!(signal, Signal::AttributesShared | Signal::AttributeNamed) {
                *weight = 0.0;
            }
        }
        assert_eq!(with, Retriever::with_weights(&data, weights, &run).unwrap().scores(&wish));
    }
}
