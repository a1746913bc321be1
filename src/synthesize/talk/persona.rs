//! Who speaks: an item that is looked for, and what speaks for it.

use super::history::{DISLIKED_TO, History, Taste};
use super::words::say;
use crate::dataset::{Dataset, Polarity};
use crate::math::Random;
use crate::retrieve::{Retriever, Wish};
use crate::synthesize::leak::{Mask, spoken};
use crate::synthesize::sentences::{complaint, moods, telling};

/// Items like the target among which liked ones are drawn where the history has none left.
const NEAR: usize = 25;
/// A keyword that is said has so many characters at most.
const KEYWORD_CHARS: usize = 40;
/// Draws at an item that is well known.
const DRAWS: usize = 40;

/// A persona.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Persona {
    /// The item that is looked for.
    pub target: u32,
    /// The item of a review that complains.
    pub avoided: Option<u32>,
    /// What the user knows, those most like the target first.
    pub tastes: Vec<Taste>,
    /// Items like the target that others like.
    pub near: Vec<u32>,
    /// Attributes of the target.
    pub genres: Vec<String>,
    pub creators: Vec<String>,
    pub keywords: Vec<String>,
    pub decade: Option<u16>,
    /// What reviews say: moods, a telling sentence, a complaint of the avoided item.
    pub moods: Vec<&'static str>,
    pub sentence: Option<String>,
    pub complaint: Option<String>,
}

/// What personas are made of.
pub(super) struct Cast<'a> {
    pub dataset: &'a Dataset,
    pub history: History,
    pub reviews_by_item: Vec<Vec<u32>>,
}

impl Cast<'_> {
    /// The author of the seed's review; without a seed, somebody from the interactions. None: there is nothing to look for.
    pub(super) fn persona(
        &self,
        retriever: &Retriever,
        item: Option<u32>,
        reviews: &[u32],
        random: &mut Random,
    ) -> Option<Persona> {
        let dataset = self.dataset;
        let seed = reviews.first().map(|row| *row as usize);
        let user = match seed {
            Some(row) => dataset.review_user(row),
            None => (self.history.users() > 0).then(|| random.below(self.history.users())),
        };
        let tastes: Vec<Taste> = user.map_or(&[][..], |user| self.history.of(user)).to_vec();
        let bad = seed.and_then(|row| dataset.review_rating10(row)).is_some_and(|rating| rating <= DISLIKED_TO);
        let avoided = item.filter(|_| bad);
        let target = match (item, avoided) {
            (Some(item), None) => item,
            (_, avoided) => self.target(retriever, avoided, &tastes, random)?,
        };
        let like_target = retriever.scores(&Wish { items: vec![target], words: String::new() });
        let mut tastes: Vec<Taste> =
            tastes.into_iter().filter(|t| t.item != target && Some(t.item) != avoided).collect();
        let score = |item: u32| like_target.get(item as usize).copied().unwrap_or(0.0);
        tastes.sort_by(|a, b| score(b.item).total_cmp(&score(a.item)).then(a.item.cmp(&b.item)));
        let (items, mask) = (&dataset.items, Mask::new(dataset.items.label(target as usize)));
        let wish = Wish { items: vec![target], words: String::new() };
        let near = retriever.candidates(&wish, None, NEAR * 2).into_iter();
        let near = near.filter(|other| Some(*other) != avoided);
        let near = near.filter(|other| !mask.leaks(&spoken(items.label(*other as usize)))).take(NEAR).collect();
        // The reviews of what is looked for: the seed's, or, where that one complains of another item, the target's own.
        let own: Vec<u32> = match avoided.is_none() && !reviews.is_empty() {
            true => reviews.to_vec(),
            false => self.reviews_by_item.get(target as usize).map_or(&[][..], |r| r).iter().take(5).copied().collect(),
        };
        let texts = || own.iter().map(|row| dataset.review_text(*row as usize));
        let target_at = target as usize;
        let free = |values: Vec<&str>| -> Vec<String> {
            values.into_iter().filter(|v| !mask.leaks(v)).map(str::to_string).collect()
        };
        let said = |keyword: &&str| keyword.len() <= KEYWORD_CHARS && !keyword.contains(|c: char| c.is_ascii_digit());
        let complaint = avoided.and_then(|avoided| {
            let own = Mask::new(items.label(avoided as usize));
            let text = seed.map_or("", |row| dataset.review_text(row));
            complaint(text, &[&own, &mask])
        });
        Some(Persona {
            target,
            avoided,
            tastes,
            near,
            genres: free(items.genres(target_at).collect()),
            creators: free(items.creators(target_at).take(4).collect()),
            keywords: free(items.keywords(target_at).filter(said).take(10).collect()),
            decade: items.year(target_at).map(|year| year / 10 * 10),
            moods: moods(texts()).into_iter().take(3).collect(),
            sentence: telling(texts(), &mask),
            complaint,
        })
    }

    /// What to look for where the seed is what to avoid, or where there is none: what the user liked most like it.
    fn target(
        &self,
        retriever: &Retriever,
        avoided: Option<u32>,
        tastes: &[Taste],
        random: &mut Random,
    ) -> Option<u32> {
        let liked: Vec<u32> = tastes
            .iter()
            .filter(|t| t.polarity == Polarity::Liked && Some(t.item) != avoided)
            .map(|t| t.item)
            .collect();
        let wish = Wish { items: avoided.into_iter().collect(), words: String::new() };
        if liked.is_empty() {
            let near = retriever.candidates(&wish, None, NEAR);
            let near: Vec<u32> = near.into_iter().filter(|item| Some(*item) != avoided).collect();
            return near.get(skewed(near.len(), random)).copied();
        }
        if avoided.is_none() {
            return liked.get(random.below(liked.len())).copied();
        }
        let scores = retriever.scores(&wish);
        liked.into_iter().max_by(|a, b| scores[*a as usize].total_cmp(&scores[*b as usize]).then(b.cmp(a)))
    }
}

impl Persona {
    /// An item that the user liked and that is not in `said`: of the history, or what goes with the target; the better
    /// known, the likelier.
    pub(super) fn draw_liked(&self, said: &[u32], known: impl Fn(u32) -> f32, random: &mut Random) -> Option<u32> {
        let free = |item: &u32| !said.contains(item) && *item != self.target;
        let own: Vec<u32> = self
            .tastes
            .iter()
            .filter(|t| t.polarity == Polarity::Liked)
            .map(|t| t.item)
            .filter(free)
            .take(NEAR)
            .collect();
        let hated = |item: &u32| self.tastes.iter().any(|t| t.item == *item && t.polarity == Polarity::Disliked);
        let near: Vec<u32> = self.near.iter().copied().filter(|item| free(item) && !hated(item)).collect();
        let pool = if !own.is_empty() && (near.is_empty() || random.uniform() < 0.5) { own } else { near };
        for _ in 0..DRAWS.min(pool.len() * 4) {
            let item = *pool.get(skewed(pool.len(), random))?;
            if random.uniform() < 0.2 + 0.8 * f64::from(known(item)).powi(2) {
                return Some(item);
            }
        }
        pool.first().copied()
    }

    /// An item of the history that the user did not like.
    pub(super) fn draw_disliked(&self, said: &[u32], random: &mut Random) -> Option<u32> {
        let pool: Vec<u32> = self
            .tastes
            .iter()
            .filter(|t| t.polarity == Polarity::Disliked && !said.contains(&t.item))
            .map(|t| t.item)
            .collect();
        pool.get(random.below(pool.len().max(1))).copied()
    }

    /// What the user thinks of an item.
    pub(super) fn taste(&self, item: u32) -> Option<Taste> {
        self.tastes.iter().find(|t| t.item == item).copied()
    }
}

/// A place among `count`, the first ones likelier.
pub(super) fn skewed(count: usize, random: &mut Random) -> usize {
    (count as f64 * random.uniform().powf(1.5)) as usize
}

/// Items by name, as sentences take them.
pub(super) fn named(dataset: &Dataset, item: u32, random: &mut Random) -> String {
    say(dataset, item, random)
}
