//! Who speaks: an item that is looked for, and what speaks for it.

use super::history::{DISLIKED_TO, History, Taste};
use crate::dataset::{Dataset, Polarity};
use crate::math::Random;
use crate::retrieve::{Retriever, Wish};
use crate::synthesize::leak::{Mask, same_title, spoken};
use crate::synthesize::personal::mask_personal;
use crate::synthesize::sentences::{complaint, moods, telling};
use crate::titles::Titles;
use std::borrow::Cow;
use std::sync::Arc;

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
    pub titles: Arc<Titles>,
    /// Personal data in reviews is masked.
    pub masks: bool,
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
        let is_target = |other: u32| {
            let (label, other) = (items.label(target as usize), items.label(other as usize));
            mask.leaks(&spoken(other)) || same_title(label, other)
        };
        tastes.retain(|t| !is_target(t.item));
        let opinion = |other: u32| tastes.iter().find(|t| t.item == other).map(|t| t.polarity);
        let wish = Wish { items: vec![target], words: String::new() };
        let near = retriever.candidates(&wish, None, NEAR * 2).into_iter();
        let near = near.filter(|other| Some(*other) != avoided && !is_target(*other));
        let near = near.filter(|other| opinion(*other).is_none_or(|p| p == Polarity::Liked)).take(NEAR).collect();
        // The reviews of what is looked for: the seed's, or, where that one complains of another item, the target's own.
        // Without a seed there are none.
        let own: Vec<u32> = match avoided.is_none() {
            true => reviews.to_vec(),
            false => self.reviews_by_item.get(target as usize).map_or(&[][..], |r| r).iter().take(5).copied().collect(),
        };
        let texts: Vec<Cow<'_, str>> = own.iter().map(|row| self.text(*row)).collect();
        let texts = || texts.iter().map(|text| &**text);
        // A title in a quoted sentence would be spoken of without a label.
        let may_say = |sentence: &str| !mask.leaks(sentence) && self.titles.rows(sentence).is_empty();
        let target_at = target as usize;
        let free = |values: Vec<&str>| -> Vec<String> {
            values.into_iter().filter(|v| !mask.leaks(v)).map(str::to_string).collect()
        };
        let said = |keyword: &&str| keyword.len() <= KEYWORD_CHARS && !keyword.contains(|c: char| c.is_ascii_digit());
        let complaint = avoided.and_then(|avoided| {
            let own = Mask::new(items.label(avoided as usize));
            let text = reviews.first().map(|row| self.text(*row)).unwrap_or_default();
            complaint(&text, &|sentence| may_say(sentence) && !own.leaks(sentence))
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
            sentence: telling(texts(), &may_say),
            complaint,
        })
    }

    /// A review's text, personal data masked where it may leave the machine.
    fn text(&self, row: u32) -> Cow<'_, str> {
        let text = self.dataset.review_text(row as usize);
        if self.masks { mask_personal(text).0 } else { Cow::Borrowed(text) }
    }

    /// What to look for where the seed is what to avoid, or where there is none: what the user liked most like it.
    fn target(
        &self,
        retriever: &Retriever,
        avoided: Option<u32>,
        tastes: &[Taste],
        random: &mut Random,
    ) -> Option<u32> {
        // Its title must not stand in that of what is avoided, which is said: "Toy Story" in "Toy Story 2".
        let items = &self.dataset.items;
        let may_be = |item: u32| {
            avoided.is_none_or(|avoided| {
                let (own, other) = (items.label(item as usize), items.label(avoided as usize));
                item != avoided && !same_title(own, other) && !Mask::new(own).leaks(&spoken(other))
            })
        };
        let liked: Vec<u32> =
            tastes.iter().filter(|t| t.polarity == Polarity::Liked && may_be(t.item)).map(|t| t.item).collect();
        let wish = Wish { items: avoided.into_iter().collect(), words: String::new() };
        if liked.is_empty() {
            let near = retriever.candidates(&wish, None, NEAR);
            let near: Vec<u32> = near.into_iter().filter(|item| may_be(*item)).collect();
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
    /// An item that the user liked and that is not in `said`, the better known, the likelier: of the history; where that has
    /// none left, of what goes with the target.
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
        let pool = if own.is_empty() { self.near.iter().copied().filter(free).collect() } else { own };
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
