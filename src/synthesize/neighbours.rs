//! Which items go together: collaborative neighbours (users who liked both), content (genres, creators, keywords,
//! attributes, the words of descriptions and reviews), and a little popularity. Each works without the others.

use crate::dataset::Dataset;
use crate::math::Random;
use crate::retrieve::{KEPT, Together, best};
use std::collections::HashMap;
use std::sync::OnceLock;

/// Reviews whose words describe an item.
const REVIEWS_MOST: usize = 12;
/// Words that describe an item.
const WORDS_MOST: usize = 40;
/// A feature that more items have tells nothing.
const FEATURE_ITEMS_MOST: usize = 20_000;

/// Of the combined score: the collaborative share (the rest is content).
const COLLABORATIVE: f32 = 0.7;

/// Item-to-item similarity, computed when first asked for and kept.
pub(super) struct Neighbours {
    together: Together,
    items: usize,
    /// Features of an item with weights (unit length), and items of a feature with theirs.
    features_of: Vec<Vec<(u32, f32)>>,
    having: Vec<Vec<(u32, f32)>>,
    cache: Vec<OnceLock<Vec<(u32, f32)>>>,
}

impl Neighbours {
    /// Reads the dataset once.
    pub(super) fn new(dataset: &Dataset) -> Neighbours {
        let items = dataset.items.len();
        let (features_of, having) = features(dataset);
        let cache = (0..items).map(|_| OnceLock::new()).collect();
        Neighbours { together: Together::new(dataset), items, features_of, having, cache }
    }

    /// 0 to 1: the logarithm of the number of interactions and reviews, over that of the most popular item.
    pub(super) fn popularity(&self, item: u32) -> f32 {
        self.together.popularity(item)
    }

    /// All items, the most popular first.
    pub(super) fn by_popularity(&self) -> &[u32] {
        self.together.by_popularity()
    }

    /// The items most like `item`, itself left out, best first, scores 0 to 1.
    pub(super) fn of(&self, item: u32) -> &[(u32, f32)] {
        self.cache[item as usize].get_or_init(|| {
            let mut scores = vec![0f32; self.items];
            let mut touched = Vec::new();
            let collaborative = self.together.of(item);
            let content = self.content(item as usize);
            let share = match (collaborative.is_empty(), content.is_empty()) {
                (false, false) => {
                    // Few users: the collaborative side is noise.
                    let users = self.together.users(item) as f32;
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

fn relative(mut list: Vec<(u32, f32)>) -> Vec<(u32, f32)> {
    let top = list.first().map_or(1.0, |f| f.1);
    list.iter_mut().for_each(|e| e.1 /= top);
    list
}

type Weighted = Vec<Vec<(u32, f32)>>;

/// TF-IDF of genres, creators, keywords, attributes and words: per item (unit length), and turned round.
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
        items.attributes(i).for_each(|(name, value)| add('a', &format!("{name}: {value}"), 1.0));
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
