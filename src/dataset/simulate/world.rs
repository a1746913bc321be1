//! The simulated world: a catalogue drawn from latent factors, and users with tastes in the same space.
//!
//! Every value of every facet (genre, mood, setting, theme) and every director is a direction in a space of [`super::vector::DIM`]
//! dimensions. An item lies where its values lie; a user's taste points to a few values; what a user picks follows
//! popularity x exp([`CHOOSINESS`] x taste·item), and the rating taste·item + quality + noise.

use super::catalogue::{Director, GENRES, MOODS, SETTINGS, THEMES, WorldItem, item, name, pick, related, unique};
use super::vector::{Vector, add, dot, normal, unit};
use super::words::{self, Value};
use crate::config::SimulateConfig;
use crate::dataset::{Interaction, Item};
use crate::error::{Error, Result};
use crate::math::Random;
use std::collections::HashSet;

/// How much taste outweighs popularity. 0: popularity alone.
const CHOOSINESS: f64 = 8.0;
/// Exponent of the items' popularity over their rank.
const ZIPF: f64 = 0.75;
/// 2015-01-01 and nine years, in milliseconds.
const FIRST_MS: i64 = 1_420_070_400_000;
const SPAN_MS: usize = 9 * 365 * 86_400_000;

/// A user: a taste, and a way to write.
pub(super) struct User {
    taste: Vector,
    /// Mean number of sentences beyond the first.
    pub verbosity: f64,
}

/// A user's pick: an item, and the rating it gets.
pub(super) struct Pick {
    pub item: usize,
    pub rating10: u8,
    pub timestamp_ms: i64,
}

/// Everything that is fixed before the first review is written.
pub(super) struct World {
    pub seed: u64,
    pub values: Vec<&'static Value>,
    factors: Vec<Vector>,
    directors: Vec<Director>,
    stars: Vec<String>,
    pub items: Vec<WorldItem>,
    by_director: Vec<Vec<usize>>,
    by_genre: Vec<Vec<usize>>,
    /// Cumulative popularity.
    popularity: Vec<f64>,
    /// Reviews that each user writes.
    pub reviews_of: Vec<u32>,
}

impl World {
    pub fn new(config: &SimulateConfig) -> Result<World> {
        let reviews_of = review_counts(config)?;
        let seed = config.seed;
        let values: Vec<&'static Value> =
            [words::GENRES, words::MOODS, words::SETTINGS, words::THEMES].into_iter().flatten().collect();
        let mut random = Random::new(seed, b"simulate factors");
        let factors: Vec<Vector> = values.iter().map(|_| unit(normal(&mut random))).collect();

        let mut random = Random::new(seed, b"simulate people");
        let mut taken = HashSet::new();
        let mut person = |random: &mut Random| {
            unique(&mut taken, || format!("{} {}", pick(random, words::FIRST_NAMES), name(random)))
        };
        let stars: Vec<String> = (0..config.items / 3 + 8).map(|_| person(&mut random)).collect();
        let mut directors = Vec::new();
        for _ in 0..config.items / 6 + 4 {
            let genre = random.below(words::GENRES.len());
            let mood = related(&mut random, &factors, genre, MOODS);
            let theme = related(&mut random, &factors, genre, THEMES);
            let name = person(&mut random);
            directors.push(Director { name, genre, mood, theme, vector: unit(normal(&mut random)) });
        }

        let mut random = Random::new(seed, b"simulate items");
        let mut taken = HashSet::new();
        let items: Vec<WorldItem> =
            (0..config.items).map(|_| item(&mut random, &mut taken, &factors, &directors, stars.len())).collect();
        let mut by_director = vec![Vec::new(); directors.len()];
        let mut by_genre = vec![Vec::new(); words::GENRES.len()];
        for (row, item) in items.iter().enumerate() {
            by_director[item.director].push(row);
            by_genre[item.genre].push(row);
        }
        // The better ones tend to be the popular ones.
        let mut order: Vec<(f64, usize)> =
            items.iter().enumerate().map(|(row, item)| (-(0.7 * item.quality + random.normal()), row)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut popularity = vec![0.0; items.len()];
        for (rank, (_, row)) in order.iter().enumerate() {
            popularity[*row] = (rank as f64 + 2.0).powf(-ZIPF);
        }
        let mut sum = 0.0;
        for weight in &mut popularity {
            sum += *weight;
            *weight = sum;
        }
        Ok(World { seed, values, factors, directors, stars, items, by_director, by_genre, popularity, reviews_of })
    }

    pub fn item_id(row: usize) -> String {
        format!("i{row:06}")
    }
    pub fn director(&self, item: &WorldItem) -> &str {
        &self.directors[item.director].name
    }
    pub fn star(&self, item: &WorldItem, n: usize) -> &str {
        &self.stars[item.stars[n % item.stars.len()]]
    }

    /// The row of the catalogue.
    pub fn catalogue_item(&self, row: usize) -> Item {
        let item = &self.items[row];
        let keyword = |value: usize| self.values[value].keyword.to_string();
        let [first, second] = item.themes.map(keyword);
        let themes = if first == second { first.clone() } else { format!("{first} and {second}") };
        let setting = keyword(item.setting);
        let plot = match row % 3 {
            0 => format!("In a {setting}, {} must face {themes}.", words::HEROES[item.hero]),
            1 => format!("A story of {themes}: {} and a {setting}.", words::HEROES[item.hero]),
            _ => format!("{} {} brings {} to a {setting}.", capital(&themes), "unexpectedly", words::HEROES[item.hero]),
        };
        let mut keywords = vec![keyword(item.mood), setting, first];
        if !keywords.contains(&second) {
            keywords.push(second);
        }
        let people = item.stars.iter().map(|star| self.stars[*star].clone());
        Item {
            id: World::item_id(row),
            title: item.title.clone(),
            year: Some(item.year),
            genres: std::iter::once(item.genre).chain(item.second_genre).map(keyword).collect(),
            creators: std::iter::once(self.director(item).to_string()).chain(people).collect(),
            keywords,
            description: plot,
            price: None,
            attributes: Vec::new(),
        }
    }

    /// The user of this random stream.
    pub fn user(&self, random: &mut Random) -> User {
        let mut taste = normal(random);
        taste.iter_mut().for_each(|x| *x *= 0.15);
        for (low, high, weight) in
            [(GENRES.0, GENRES.1, 1.2), (GENRES.0, GENRES.1, 0.6), (MOODS.0, MOODS.1, 0.8), (SETTINGS.0, THEMES.1, 0.8)]
        {
            add(&mut taste, weight, &self.factors[low + random.below(high - low)]);
        }
        User { taste: unit(taste), verbosity: 1.2 + 5.0 * random.uniform() }
    }

    /// How much a user likes a value, about -1 to 1.
    pub fn likes(&self, user: &User, value: usize) -> f64 {
        dot(&user.taste, &self.factors[value])
    }

    /// `count` distinct items that the user takes, best loved first.
    pub fn picks(&self, user: &User, count: usize, random: &mut Random) -> Vec<usize> {
        let total = self.popularity.last().copied().unwrap_or(0.0);
        let mut candidates: Vec<usize> = (0..6 * count + 40)
            .map(|_| {
                let at = random.uniform() * total;
                self.popularity.partition_point(|sum| *sum <= at).min(self.items.len() - 1)
            })
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        if candidates.len() < count {
            candidates = (0..self.items.len()).collect();
        }
        // Gumbel noise: the best are a draw without replacement from exp(score).
        let mut scored: Vec<(f64, usize)> = candidates
            .into_iter()
            .map(|item| {
                let gumbel = -(-random.uniform().max(1e-300).ln()).ln();
                (CHOOSINESS * dot(&user.taste, &self.items[item].vector) + gumbel, item)
            })
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        scored.truncate(count);
        scored.into_iter().map(|(_, item)| item).collect()
    }

    /// What the user with this number does: who she is, and her picks; the first [`World::reviews_of`] are reviewed.
    pub fn picks_of(&self, number: usize) -> (User, Vec<Pick>) {
        let mut random = Random::new(self.seed, format!("simulate user {number}").as_bytes());
        let user = self.user(&mut random);
        let count = (3 * self.reviews_of[number] as usize + 2).min(self.items.len());
        let mut items = self.picks(&user, count, &mut random);
        random.shuffle(&mut items);
        let picks = items
            .into_iter()
            .map(|row| {
                let item = &self.items[row];
                let liking = 5.0 + 4.0 * dot(&user.taste, &item.vector) + 1.1 * item.quality + random.normal();
                Pick {
                    item: row,
                    rating10: liking.round().clamp(1.0, 10.0) as u8,
                    timestamp_ms: FIRST_MS + random.below(SPAN_MS) as i64,
                }
            })
            .collect();
        (user, picks)
    }

    pub fn user_id(number: usize) -> String {
        format!("u{number:07}")
    }

    /// The interactions of user `number`, in the order of the file.
    pub fn interactions(&self, number: usize) -> Vec<Interaction> {
        let (_, picks) = self.picks_of(number);
        let user = World::user_id(number);
        picks
            .iter()
            .map(|pick| Interaction {
                user: user.clone(),
                item: World::item_id(pick.item),
                rating10: Some(f32::from(pick.rating10)),
                timestamp_ms: Some(pick.timestamp_ms),
            })
            .collect()
    }

    /// Another item that this one reminds of: by the same director, or the nearest of some of its genre.
    pub fn similar(&self, row: usize, random: &mut Random) -> Option<usize> {
        let item = &self.items[row];
        let same = &self.by_director[item.director];
        if same.len() > 1 && random.below(3) == 0 {
            return Some(pick(random, same)).filter(|other| *other != row);
        }
        let genre = &self.by_genre[item.genre];
        let mut best = None;
        for _ in 0..8 {
            let other = pick(random, genre);
            let nearness = dot(&item.vector, &self.items[other].vector);
            if other != row && best.is_none_or(|(_, n)| nearness > n) {
                best = Some((other, nearness));
            }
        }
        best.map(|(other, _)| other)
    }

    /// Whether a value is a genre.
    pub fn is_genre(&self, value: usize) -> bool {
        value < GENRES.1
    }

    /// How many values two items share.
    pub fn shared(&self, a: usize, b: usize) -> usize {
        let of_b = self.items[b].values();
        self.items[a].values().iter().filter(|value| of_b.contains(value)).count()
    }
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// How many reviews each user writes: log-normal shares of `config.reviews`, at most a third of the catalogue each.
fn review_counts(config: &SimulateConfig) -> Result<Vec<u32>> {
    let cap = (config.items / 3).max(1);
    if config.users.checked_mul(cap).is_none_or(|most| most < config.reviews) {
        return Err(Error::invalid(format!(
            "simulate: {} reviews are too many for {} users and {} items (a user reviews at most a third of the items); raise \
             simulate.users or simulate.items",
            config.reviews, config.users, config.items
        )));
    }
    let mut random = Random::new(config.seed, b"simulate activity");
    let mut shares: Vec<f64> = Vec::with_capacity(config.users);
    let mut sum = 0.0;
    for _ in 0..config.users {
        sum += (0.9 * random.normal()).exp();
        shares.push(sum);
    }
    let mut given = 0;
    let mut left = 0;
    let mut counts: Vec<u32> = Vec::with_capacity(config.users);
    for share in &shares {
        let until = (share / sum * config.reviews as f64).round() as usize;
        let wanted = until - given + left;
        given = until;
        let count = wanted.min(cap);
        left = wanted - count;
        counts.push(count as u32);
    }
    // What the last users could not take goes to the first ones that can.
    for count in &mut counts {
        let more = left.min(cap - *count as usize);
        *count += more as u32;
        left -= more;
    }
    Ok(counts)
}
