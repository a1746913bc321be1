//! How the catalogue is drawn: invented names and titles, facets that hang together, directors with a signature.

use super::vector::{DIM, Vector, add, dot, unit};
use super::words;
use crate::math::Random;
use std::collections::HashSet;

/// A director: a name and a signature.
pub(super) struct Director {
    pub name: String,
    pub genre: usize,
    pub mood: usize,
    pub theme: usize,
    pub vector: Vector,
}

/// An item of the world. Values are rows of [`super::world::World::values`].
pub(super) struct WorldItem {
    pub title: String,
    pub year: u16,
    pub genre: usize,
    pub second_genre: Option<usize>,
    pub mood: usize,
    pub setting: usize,
    pub themes: [usize; 2],
    pub director: usize,
    pub stars: Vec<usize>,
    pub hero: usize,
    pub vector: Vector,
    /// Standard normal.
    pub quality: f64,
}

impl WorldItem {
    /// The values that people speak of.
    pub fn values(&self) -> [usize; 5] {
        [self.genre, self.mood, self.setting, self.themes[0], self.themes[1]]
    }
}

/// Draws a row of `weights` (not cumulative).
fn draw(random: &mut Random, weights: impl Iterator<Item = f64> + Clone) -> usize {
    let total: f64 = weights.clone().fold(0.0, |sum, w| sum + w);
    let mut left = random.uniform() * total;
    let mut last = 0;
    for (row, weight) in weights.enumerate() {
        last = row;
        left -= weight;
        if left < 0.0 {
            break;
        }
    }
    last
}

pub(super) fn pick<T: Copy>(random: &mut Random, list: &[T]) -> T {
    list[random.below(list.len())]
}

/// An invented word of two or three syllables.
pub(super) fn name(random: &mut Random) -> String {
    let mut name = pick(random, words::STARTS).to_string();
    name.push_str(pick(random, words::MIDDLES));
    name.push_str(pick(random, words::ENDS));
    name
}

/// `make`'s text, made again until it is new; after many tries with a number behind it.
pub(super) fn unique(taken: &mut HashSet<String>, mut make: impl FnMut() -> String) -> String {
    for _ in 0..20 {
        let text = make();
        if taken.insert(text.clone()) {
            return text;
        }
    }
    let text = make();
    let numbered = (2..).map(|n| format!("{text} {n}")).find(|text| taken.insert(text.clone()));
    numbered.unwrap_or(text)
}

fn title(random: &mut Random) -> String {
    let noun = pick(random, words::TITLE_NOUNS);
    let adjective = pick(random, words::TITLE_ADJECTIVES);
    match random.below(8) {
        0 | 1 => name(random),
        2 => format!("The {noun} of {}", name(random)),
        3 => format!("{} and the {noun}", name(random)),
        4 => format!("The {adjective} {noun} of {}", name(random)),
        5 => format!("A {noun} for {}", name(random)),
        6 => format!("{} {}", name(random), name(random)),
        _ => format!("{}'s {adjective} {noun}", name(random)),
    }
}

/// First and last+1 row of each facet in [`super::world::World::values`].
pub(super) const GENRES: (usize, usize) = (0, words::GENRES.len());
pub(super) const MOODS: (usize, usize) = (GENRES.1, GENRES.1 + words::MOODS.len());
pub(super) const SETTINGS: (usize, usize) = (MOODS.1, MOODS.1 + words::SETTINGS.len());
pub(super) const THEMES: (usize, usize) = (SETTINGS.1, SETTINGS.1 + words::THEMES.len());

/// A value of `facet` that goes with `value`: nearer ones are likelier, so that facets hang together as they do in life.
pub(super) fn related(random: &mut Random, factors: &[Vector], value: usize, facet: (usize, usize)) -> usize {
    let weights = (facet.0..facet.1).map(|other| (2.0 * dot(&factors[value], &factors[other])).exp());
    facet.0 + draw(random, weights)
}

pub(super) fn item(
    random: &mut Random,
    taken: &mut HashSet<String>,
    factors: &[Vector],
    directors: &[Director],
    stars: usize,
) -> WorldItem {
    // Some directors make many films.
    let director = ((random.uniform().powf(1.5)) * directors.len() as f64) as usize;
    let signature = &directors[director];
    let own = |value: usize, facet: (usize, usize), random: &mut Random| {
        if random.uniform() < 0.6 { value } else { facet.0 + random.below(facet.1 - facet.0) }
    };
    let genre = own(signature.genre, GENRES, random);
    let mood = if genre == signature.genre {
        own(signature.mood, MOODS, random)
    } else {
        related(random, factors, genre, MOODS)
    };
    let second_genre = (random.below(3) == 0).then(|| random.below(GENRES.1)).filter(|second| *second != genre);
    let setting = related(random, factors, genre, SETTINGS);
    let themes = [own(signature.theme, THEMES, random), related(random, factors, mood, THEMES)];
    let mut vector = [0.0; DIM];
    for (value, weight) in [(genre, 1.0), (mood, 0.8), (setting, 0.7), (themes[0], 0.6), (themes[1], 0.6)] {
        add(&mut vector, weight, &factors[value]);
    }
    if let Some(second) = second_genre {
        add(&mut vector, 0.5, &factors[second]);
    }
    add(&mut vector, 0.5, &signature.vector);
    let cast = 2 + random.below(2);
    WorldItem {
        title: unique(taken, || title(random)),
        year: 2014 - (random.uniform().powi(2) * 60.0) as u16,
        genre,
        second_genre,
        mood,
        setting,
        themes,
        director,
        stars: random.sample(stars, cast),
        hero: random.below(words::HEROES.len()),
        vector: unit(vector),
        quality: random.normal(),
    }
}
