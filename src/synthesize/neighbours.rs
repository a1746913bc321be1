//! Which items go together: collaborative neighbours (users who liked both), content (genres, creators, keywords, the
//! words of descriptions and reviews), and a little popularity. Each works without the others.

use crate::dataset::Dataset;
use crate::math::Random;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Neighbours kept per item.
const KEPT: usize = 400;
/// Users of one item looked at, spread evenly over all of them.
const USERS_MOST: usize = 4000;
/// Items of a user who counts: one who rated everything says nothing about two of them.
const ITEMS_MOST: usize = 1500;
/// A rating from which on an item was liked, out of 10.
const LIKED: f32 = 6.0;
/// Reviews whose words describe an item.
const REVIEWS_MOST: usize = 12;
/// Words that describe an item.
const WORDS_MOST: usize = 40;
/// A feature that more items have tells nothing.
const FEATURE_ITEMS_MOST: usize = 20_000;

/// Of the combined score: the collaborative share (the rest is content), and the weight of popularity.
const COLLABORATIVE: f32 = 0.7;
/// The exponent of a neighbour's own count: 0.5 is the cosine, less favours what is popular.
const DAMPING: f32 = 0.4;

/// Rows of numbers of differing lengths.
#[derive(Default)]
struct Lists {
    starts: Vec<usize>,
    values: Vec<u32>,
}

impl Lists {
    /// From pairs (row, value) sorted by row.
    fn new(rows: usize, pairs: impl Iterator<Item = (u32, u32)>) -> Lists {
        let mut lists = Lists { starts: Vec::with_capacity(rows + 1), values: Vec::new() };
        lists.starts.push(0);
        for (row, value) in pairs {
            while lists.starts.len() <= row as usize {
                lists.starts.push(lists.values.len());
            }
            lists.values.push(value);
        }
        lists.starts.resize(rows + 1, lists.values.len());
        lists
    }
    fn row(&self, i: usize) -> &[u32] {
        &self.values[self.starts[i]..self.starts[i + 1]]
    }
}

/// Item-to-item similarity, computed when first asked for and kept.
pub(super) struct Neighbours {
    items: usize,
    /// Users who liked an item, and items that a user liked.
    users_of: Lists,
    items_of: Lists,
    /// Features of an item with weights (unit length), and items of a feature with theirs.
    features_of: Vec<Vec<(u32, f32)>>,
    having: Vec<Vec<(u32, f32)>>,
    popularity: Vec<f32>,
    by_popularity: Vec<u32>,
    cache: Vec<OnceLock<Vec<(u32, f32)>>>,
}

impl Neighbours {
    /// Reads the dataset once.
    pub(super) fn new(dataset: &Dataset) -> Neighbours {
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
        let (features_of, having) = features(dataset);
        let cache = (0..items).map(|_| OnceLock::new()).collect();
        Neighbours { items, users_of, items_of, features_of, having, popularity, by_popularity, cache }
    }

    /// 0 to 1: the logarithm of the number of interactions and reviews, over that of the most popular item.
    pub(super) fn popularity(&self, item: u32) -> f32 {
        self.popularity[item as usize]
    }

    /// All items, the most popular first.
    pub(super) fn by_popularity(&self) -> &[u32] {
        &self.by_popularity
    }

    /// The items most like `item`, itself left out, best first, scores 0 to 1.
    pub(super) fn of(&self, item: u32) -> &[(u32, f32)] {
        self.cache[item as usize].get_or_init(|| {
            let mut scores = vec![0f32; self.items];
            let mut touched = Vec::new();
            let collaborative = self.collaborative(item as usize);
            let content = self.content(item as usize);
            let share = match (collaborative.is_empty(), content.is_empty()) {
                (false, false) => {
                    // Few users: the collaborative side is noise.
                    let users = self.users_of.row(item as usize).len() as f32;
                    COLLABORATIVE * users / (users + 10.0)
                }
                (false, true) => 1.0,
                (true, _) => 0.0,
            };
            for (list, weight) in [(&collaborative, share), (&content, 1.0 - share)] {
                for (other, score) in list {
                    if scores[*other as usize] == 0.0 {
                        touched.push(*other);
                    }
                    scores[*other as usize] += weight * score;
                }
            }
            touched.sort_unstable();
            touched.dedup();
            best(touched.into_iter().map(|i| (i, scores[i as usize])), KEPT)
        })
    }

    /// Users who liked both, over the counts of both; scores relative to the best.
    fn collaborative(&self, item: usize) -> Vec<(u32, f32)> {
        let users = self.users_of.row(item);
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
        sums[item] = 0.0;
        let scored = sums.iter().enumerate().filter(|(_, s)| **s > 0.0).map(|(other, s)| {
            let count = self.users_of.row(other).len() as f32;
            // Two users in common by chance must not beat a hundred: the count is smoothed.
            (other as u32, s / (count + 20.0).powf(DAMPING))
        });
        relative(best(scored, KEPT))
    }

    /// Cosine of the features; scores relative to the best.
    fn content(&self, item: usize) -> Vec<(u32, f32)> {
        let mut sums = vec![0f32; self.items];
        for (feature, weight) in &self.features_of[item] {
            for (other, theirs) in &self.having[*feature as usize] {
                sums[*other as usize] += weight * theirs;
            }
        }
        sums[item] = 0.0;
        let scored = sums.iter().enumerate().filter(|(_, s)| **s > 0.0).map(|(other, s)| (other as u32, *s));
        relative(best(scored, KEPT))
    }
}

/// The `count` highest, best first, ties to the lowest row.
pub(super) fn best(scores: impl Iterator<Item = (u32, f32)>, count: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = scores.collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if all.len() > count && count > 0 {
        all.select_nth_unstable_by(count - 1, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all.truncate(count);
    all
}

fn relative(mut list: Vec<(u32, f32)>) -> Vec<(u32, f32)> {
    let top = list.first().map_or(1.0, |f| f.1);
    list.iter_mut().for_each(|e| e.1 /= top);
    list
}

type Weighted = Vec<Vec<(u32, f32)>>;

/// TF-IDF of genres, creators, keywords and words: per item (unit length), and turned round.
fn features(dataset: &Dataset) -> (Weighted, Weighted) {
    let items = &dataset.items;
    let mut names: HashMap<String, u32> = HashMap::new();
    let mut raw: Vec<Vec<(u32, f32)>> = Vec::with_capacity(items.len());
    let reviews = dataset.reviews_by_item();
    for (i, reviews) in reviews.iter().enumerate() {
        let mut own: HashMap<u32, f32> = HashMap::new();
        let mut add = |kind: char, name: &str, weight: f32| {
            let next = names.len() as u32;
            let id = *names.entry(format!("{kind}{}", name.to_lowercase())).or_insert(next);
            *own.entry(id).or_default() += weight;
        };
        items.genres(i).for_each(|g| add('g', g, 2.0));
        items.creators(i).for_each(|c| add('c', c, 1.5));
        items.keywords(i).for_each(|k| add('k', k, 1.0));
        if let Some(year) = items.year(i) {
            add('y', &(year / 10).to_string(), 1.0);
        }
        words(items.description(i)).chain(words(items.title(i))).for_each(|w| add('w', &w, 0.5));
        // The words that most reviews of the item use.
        let mut spoken: HashMap<String, u32> = HashMap::new();
        let mut chosen = Random::new(0, items.id(i).as_bytes()).sample(reviews.len(), REVIEWS_MOST);
        chosen.sort_unstable();
        for r in chosen {
            let mut once: Vec<String> = words(dataset.review_text(reviews[r] as usize)).collect();
            once.sort_unstable();
            once.dedup();
            once.into_iter().for_each(|w| *spoken.entry(w).or_default() += 1);
        }
        let mut spoken: Vec<(String, u32)> = spoken.into_iter().filter(|(_, n)| *n > 1 || reviews.len() < 3).collect();
        spoken.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        spoken.iter().take(WORDS_MOST).for_each(|(w, n)| add('w', w, 0.2 * (*n as f32).sqrt()));
        let mut own: Vec<(u32, f32)> = own.into_iter().collect();
        own.sort_unstable_by_key(|e| e.0);
        raw.push(own);
    }
    let mut counts = vec![0usize; names.len()];
    raw.iter().flatten().for_each(|(f, _)| counts[*f as usize] += 1);
    let mut having: Weighted = vec![Vec::new(); names.len()];
    for (i, own) in raw.iter_mut().enumerate() {
        own.retain(|(f, _)| (2..=FEATURE_ITEMS_MOST).contains(&counts[*f as usize]));
        for (f, weight) in own.iter_mut() {
            *weight *= (1.0 + items.len() as f32 / counts[*f as usize] as f32).ln();
        }
        let norm = own.iter().map(|(_, w)| w * w).sum::<f32>().sqrt();
        for (f, weight) in own.iter_mut() {
            *weight /= norm;
            having[*f as usize].push((i as u32, *weight));
        }
    }
    (raw, having)
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| w.len() > 3).map(str::to_lowercase)
}
