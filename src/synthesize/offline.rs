//! The built-in teacher: no model, no network. It reads a request's facts, not its prompt, and answers in text like any
//! other teacher, so that its answers go through the same journal, parser, grounding and filters.
//!
//! A query is composed from the domain's `compose.txt`: liked titles are neighbours of the seed's item, genre, creator,
//! keyword, decade and attributes are its metadata, mood and sentence come from its reviews. `{attribute:brand}` is its brand,
//! `{attribute}` the value of any attribute that tells something; a request that speaks of what no item of the catalogue has
//! is not among the requests. The ranked items are the seed's item, then what goes with it, with the liked titles and with
//! what the query asks for; liked titles themselves are left out. Of a review that complains it makes requests that avoid the
//! item (`talk.txt`, \[avoid\]), which is then not listed. The words of a planned dialogue of several turns are those of its
//! draft.

use super::attributes::Attributes;
use super::leak::{Mask, spoken};
use super::neighbours::Neighbours;
use super::personal::mask_personal;
use super::prompts::{Prompts, Template, defuse};
use super::queries::normal;
use super::sentences::{complaint as complaint_of, moods, telling};
use super::talk::{Talk, say};
use super::teacher::{Answer, Class, Facts, Failure, Kind, Request, Teacher};
use crate::config::{Masking, SynthesizeConfig};
use crate::dataset::Dataset;
use crate::error::Result;
use crate::math::Random;
use crate::retrieve::best;
use crate::run::Run;
use crate::titles::Titles;
use std::borrow::Cow;
use std::collections::HashMap;

/// Neighbours of the seed's item among which liked titles are drawn.
const LIKED_AMONG: usize = 25;
/// Tries to find titles that fit.
const DRAWS: usize = 40;
/// Weight of a liked title's neighbours beside those of the seed's item.
const LIKED_WEIGHT: f32 = 0.6;
/// Added for the genre that the query names, for each creator, for each attribute, for its decade, and for popularity.
const GENRE_BONUS: f32 = 0.15;
const CREATOR_BONUS: f32 = 0.5;
const ATTRIBUTE_BONUS: f32 = 0.3;
const DECADE_BONUS: f32 = 0.1;
const POPULARITY: f32 = 0.5;
/// Characters of an attribute's value that is said, and attributes among which one is drawn.
const VALUE_CHARS: usize = 40;
const ATTRIBUTES_AMONG: usize = 6;

/// The built-in teacher. Deterministic: the same dataset, settings and facts give the same text.
pub struct OfflineTeacher<'a> {
    dataset: &'a Dataset,
    compose: Vec<Template>,
    /// How somebody speaks who did not like the seed's item.
    avoid: Vec<Template>,
    neighbours: Neighbours,
    titles: Titles,
    masks: bool,
    attributes: Attributes<'a>,
    /// Items of each creator, and of each genre, by name.
    by_creator: HashMap<&'a str, Vec<u32>>,
    by_genre: HashMap<&'a str, Vec<u32>>,
    queries: usize,
    seed: u64,
    threads: usize,
    name: String,
}

/// A query and what it speaks of.
#[derive(Default)]
struct Composition {
    text: String,
    liked: Vec<u32>,
    genres: Vec<String>,
    creator: Option<String>,
    /// Name and value.
    attributes: Vec<(String, String)>,
    decade: Option<u16>,
}

/// The attribute that a slot asks for: of a name, or any (the empty name).
fn asked_attribute(slot: &str) -> Option<&str> {
    if slot == "attribute" { Some("") } else { slot.strip_prefix("attribute:") }
}

impl<'a> OfflineTeacher<'a> {
    /// Reads the dataset once; about a second per million interactions.
    ///
    /// # Errors
    /// Those of the prompts; [`crate::ErrorKind::Cancelled`].
    pub fn new(dataset: &'a Dataset, config: &SynthesizeConfig, run: &Run) -> Result<OfflineTeacher<'a>> {
        run.check()?;
        let mut prompts = Prompts::load(config)?;
        let attributes = Attributes::new(dataset);
        // What no item has could never be said; a catalogue without attributes is spoken of as ever.
        prompts
            .compose
            .retain(|template| template.slots().filter_map(asked_attribute).all(|name| attributes.any(name)));
        let mut by_creator: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut by_genre: HashMap<&str, Vec<u32>> = HashMap::new();
        // Answers hang on the whole dataset: its fingerprint is part of the name, and so of every request's id.
        let mut fingerprint = blake3::Hasher::new();
        for i in 0..dataset.items.len() {
            fingerprint.update(dataset.items.id(i).as_bytes()).update(dataset.items.text(i).as_bytes());
            dataset.items.attributes(i).for_each(|(name, value)| {
                fingerprint.update(name.as_bytes()).update(value.as_bytes());
            });
            dataset.items.creators(i).for_each(|c| by_creator.entry(c).or_default().push(i as u32));
            dataset.items.genres(i).for_each(|g| by_genre.entry(g).or_default().push(i as u32));
        }
        for n in 0..dataset.interactions() {
            let (user, item, rating, _) = dataset.interaction(n);
            let rating = rating.unwrap_or(0.0).to_le_bytes();
            fingerprint.update(&(user as u32).to_le_bytes()).update(&(item as u32).to_le_bytes()).update(&rating);
        }
        for r in 0..dataset.reviews() {
            fingerprint
                .update(&(dataset.review_item(r) as u32).to_le_bytes())
                .update(dataset.review_text(r).as_bytes());
        }
        fingerprint.update(format!("{} {} {:?}", config.domain, config.queries, prompts.compose).as_bytes());
        let (path, talk) = &prompts.talk;
        let avoid = Talk::parse(path, talk)?.avoiding().to_vec();
        if !config.prompts.is_empty() {
            // The built-in ones change with the version alone.
            fingerprint.update(format!("{avoid:?}").as_bytes());
        }
        run.check()?;
        Ok(OfflineTeacher {
            dataset,
            compose: prompts.compose,
            avoid,
            neighbours: Neighbours::new(dataset),
            titles: Titles::of(dataset),
            masks: config.mask == Masking::On,
            attributes,
            by_creator,
            by_genre,
            queries: config.queries,
            seed: config.seed,
            threads: run.threads(),
            name: format!("offline/1/{}", &fingerprint.finalize().to_hex()[..12]),
        })
    }

    /// A review's text; personal data masked only where that is asked for: nothing leaves the machine.
    fn text(&self, row: u32) -> Cow<'_, str> {
        let text = self.dataset.review_text(row as usize);
        if self.masks { mask_personal(text).0 } else { Cow::Borrowed(text) }
    }

    /// The K queries of a seed. `row`: the selected review's row, or the number of a draw without a seed.
    fn queries(&self, facts: &Facts, draw: u64) -> Vec<Composition> {
        let mut random = Random::new(self.seed, format!("offline/{draw}/{:?}", facts.item).as_bytes());
        // Without a seed: an item drawn from the more popular half stands in for one, and is not listed first.
        let item = facts.item.or_else(|| {
            let popular = self.neighbours.by_popularity();
            popular.get(random.below(popular.len().div_ceil(2).max(1))).copied()
        });
        let Some(item) = item else { return Vec::new() };
        let items = &self.dataset.items;
        let mask = Mask::new(items.label(item as usize));
        let texts: Vec<Cow<'_, str>> = facts.reviews.iter().map(|r| self.text(*r)).collect();
        let texts = || texts.iter().map(|text| &**text);
        let moods = moods(texts());
        // A title in a quoted sentence would pass for one that the user likes.
        let may_say = |sentence: &str| !mask.leaks(sentence) && self.titles.rows(sentence).is_empty();
        let sentence = telling(texts(), &may_say);
        let genres: Vec<&str> = items.genres(item as usize).filter(|g| !mask.leaks(g)).collect();
        let mut creators: Vec<&str> = items.creators(item as usize).filter(|c| !mask.leaks(c)).collect();
        // Those of whom the catalogue has most, the first named where equal.
        creators.sort_by_key(|c| std::cmp::Reverse(self.by_creator.get(c).map_or(0, Vec::len)));
        creators.truncate(4);
        let keywords: Vec<&str> = items
            .keywords(item as usize)
            .filter(|k| !mask.leaks(k) && k.len() <= 40 && !k.contains(|c: char| c.is_ascii_digit()))
            .take(10)
            .collect();
        let near: Vec<u32> = self
            .neighbours
            .of(item)
            .iter()
            .map(|(other, _)| *other)
            .filter(|other| !mask.leaks(&spoken(items.label(*other as usize))))
            .take(LIKED_AMONG)
            .collect();
        let templates = if facts.avoids { &self.avoid } else { &self.compose };
        let complaint = facts.reviews.first().filter(|_| facts.avoids);
        let complaint = complaint.and_then(|row| complaint_of(&self.text(*row), &may_say));
        let mut order: Vec<usize> = (0..templates.len()).collect();
        random.shuffle(&mut order);
        let mut out: Vec<Composition> = Vec::new();
        // Twice round: a small set of templates is used again with other fillings.
        for template in order.iter().chain(&order).chain(&order).map(|t| &templates[*t]) {
            if out.len() == self.queries {
                break;
            }
            let mut composed = Composition::default();
            let mut values: HashMap<&str, String> = HashMap::new();
            for slot in template.slots() {
                if values.contains_key(slot) {
                    continue;
                }
                let value = match slot {
                    "liked" | "liked2" | "liked3" => {
                        self.draw_liked(&near, &composed.liked, &mut random).map(|liked| {
                            composed.liked.push(liked);
                            say(self.dataset, liked, &mut random)
                        })
                    }
                    "genre" | "genre2" => {
                        let left: Vec<&str> =
                            genres.iter().copied().filter(|g| !composed.genres.iter().any(|used| used == g)).collect();
                        (!left.is_empty()).then(|| {
                            let genre = left[random.below(left.len())];
                            composed.genres.push(genre.to_string());
                            genre.to_lowercase()
                        })
                    }
                    "creator" => (!creators.is_empty()).then(|| {
                        let creator = creators[random.below(creators.len())];
                        composed.creator = Some(creator.to_string());
                        creator.to_string()
                    }),
                    "keyword" => (!keywords.is_empty()).then(|| keywords[random.below(keywords.len())].to_lowercase()),
                    "mood" => (!moods.is_empty()).then(|| moods[random.below(moods.len().min(3))].to_string()),
                    "sentence" => sentence.clone(),
                    "disliked" => facts.avoids.then(|| say(self.dataset, item, &mut random)),
                    "complaint" => complaint.clone(),
                    "decade" => items.year(item as usize).map(|year| {
                        composed.decade = Some(year / 10);
                        format!("{}s", year / 10 * 10)
                    }),
                    slot => asked_attribute(slot).and_then(|name| {
                        let (name, value) =
                            self.draw_attribute(item, name, &composed.attributes, &mask, &mut random)?;
                        composed.attributes.push((name.to_string(), value.to_string()));
                        Some(defuse(value, VALUE_CHARS))
                    }),
                };
                let Some(value) = value else { break };
                values.insert(slot, value);
            }
            if template.slots().any(|slot| !values.contains_key(slot)) {
                continue;
            }
            composed.text = template.say(|slot| values.get(slot).cloned().unwrap_or_default());
            if (facts.avoids || !mask.leaks(&composed.text))
                && !out.iter().any(|c| normal(&c.text) == normal(&composed.text))
            {
                out.push(composed);
            }
        }
        out
    }

    /// An attribute of this name (an empty one: of any) that is short, not yet named and does not tell the title.
    fn draw_attribute(
        &self,
        item: u32,
        name: &str,
        used: &[(String, String)],
        mask: &Mask,
        random: &mut Random,
    ) -> Option<(&'a str, &'a str)> {
        let mut all = match name {
            "" => self.attributes.sayable(item as usize),
            name => self.attributes.named(item as usize, name),
        };
        all.retain(|(_, value)| {
            value.chars().count() <= VALUE_CHARS && !mask.leaks(value) && !used.iter().any(|(_, other)| other == value)
        });
        all.truncate(ATTRIBUTES_AMONG);
        (!all.is_empty()).then(|| all[random.below(all.len())])
    }

    /// A neighbour that is not yet named; the nearer and the more popular, the likelier.
    fn draw_liked(&self, near: &[u32], used: &[u32], random: &mut Random) -> Option<u32> {
        for _ in 0..DRAWS.min(near.len() * 4) {
            let at = (near.len() as f64 * random.uniform().powf(1.5)) as usize;
            let liked = *near.get(at)?;
            let keep = 0.2 + 0.8 * f64::from(self.neighbours.popularity(liked)).powi(2);
            if random.uniform() < keep && !used.contains(&liked) {
                return Some(liked);
            }
        }
        near.iter().copied().find(|liked| !used.contains(liked))
    }

    /// The places of the best candidates, from 0, best first.
    fn chosen(&self, facts: &Facts, composed: &Composition) -> Vec<usize> {
        // Deep enough to tell nearly all candidates apart; the others follow as they stand.
        let ranked = self.ranked(&Facts { count: self.dataset.items.len(), ..facts.clone() }, composed);
        let mut places: HashMap<u32, usize> = HashMap::new();
        ranked.iter().enumerate().for_each(|(place, item)| _ = places.entry(*item).or_insert(place));
        let mut order: Vec<usize> = (0..facts.candidates.len()).collect();
        order.sort_by_key(|c| places.get(&facts.candidates[*c]).copied().unwrap_or(usize::MAX));
        order.truncate(facts.count);
        order
    }

    /// The ranked items for one query.
    fn ranked(&self, facts: &Facts, composed: &Composition) -> Vec<u32> {
        let mut scores: HashMap<u32, f32> = HashMap::new();
        let mut add = |item: u32, score: f32| *scores.entry(item).or_default() += score;
        // What is like an item to avoid counts where nothing else is named.
        let lead = facts.item.filter(|_| !facts.avoids);
        let anchor = facts.item.filter(|_| !facts.avoids || composed.liked.is_empty());
        let liked_weight = if anchor.is_some() { LIKED_WEIGHT } else { 1.0 };
        let anchors = anchor.iter().map(|i| (*i, 1.0)).chain(composed.liked.iter().map(|i| (*i, liked_weight)));
        for (anchor, weight) in anchors {
            self.neighbours.of(anchor).iter().for_each(|(other, score)| add(*other, weight * score));
        }
        for genre in &composed.genres {
            self.by_genre.get(genre.as_str()).into_iter().flatten().for_each(|i| add(*i, GENRE_BONUS));
        }
        if let Some(creator) = &composed.creator {
            self.by_creator.get(creator.as_str()).into_iter().flatten().for_each(|i| add(*i, CREATOR_BONUS));
        }
        for (name, value) in &composed.attributes {
            let has = |item: u32| {
                let mut all = self.dataset.items.attributes(item as usize);
                all.any(|(other, theirs)| other == name && theirs.eq_ignore_ascii_case(value))
            };
            scores.iter_mut().filter(|(item, _)| has(**item)).for_each(|(_, score)| *score += ATTRIBUTE_BONUS);
        }
        if let Some(decade) = composed.decade {
            let years = &self.dataset.items;
            for (item, score) in scores.iter_mut() {
                if years.year(*item as usize).map(|y| y / 10) == Some(decade) {
                    *score += DECADE_BONUS;
                }
            }
        }
        let left_out = |item: &u32| composed.liked.contains(item) || facts.item == Some(*item);
        let scored = scores.into_iter().filter(|(item, _)| !left_out(item));
        let scored = scored.map(|(item, score)| (item, score + POPULARITY * self.neighbours.popularity(item)));
        let mut ranked: Vec<u32> = lead.into_iter().collect();
        ranked.extend(best(scored, facts.count.saturating_sub(ranked.len())).into_iter().map(|(item, _)| item));
        // A lonely item: what is popular fills the list.
        for item in self.neighbours.by_popularity() {
            if ranked.len() >= facts.count {
                break;
            }
            if !left_out(item) && !ranked.contains(item) {
                ranked.push(*item);
            }
        }
        ranked
    }
}

impl Teacher for OfflineTeacher<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn is_remote(&self) -> bool {
        false
    }
    fn is_built_in(&self) -> bool {
        true
    }
    fn quotes(&self) -> bool {
        true
    }
    fn judges(&self) -> bool {
        false
    }
    fn in_flight(&self) -> usize {
        self.threads
    }
    fn answer(&self, request: &Request, _attempt: usize, _run: &Run) -> std::result::Result<Answer, Failure> {
        let facts = &request.facts;
        let draw = facts.draw;
        let text = match request.kind {
            Kind::Query => {
                let queries: Vec<String> = self.queries(facts, draw).into_iter().map(|c| c.text).collect();
                // A list in JSON keeps the line breaks within a query.
                serde_json::to_string(&queries).unwrap_or_default()
            }
            Kind::Dialogue => serde_json::to_string(&facts.draft).unwrap_or_default(),
            Kind::Recommend => {
                let composed = self.queries(facts, draw).into_iter().find(|c| normal(&c.text) == normal(&facts.query));
                if !facts.candidates.is_empty() {
                    let chosen = self.chosen(facts, &composed.unwrap_or_default());
                    let numbers: Vec<String> = chosen.iter().map(|place| (place + 1).to_string()).collect();
                    return Ok(Answer { text: numbers.join(", "), prompt_tokens: 0, completion_tokens: 0 });
                }
                let ranked = self.ranked(facts, &composed.unwrap_or_default());
                let names = ranked.iter().map(|item| self.dataset.items.name(*item as usize));
                names.enumerate().map(|(i, name)| format!("{}. {name}", i + 1)).collect::<Vec<_>>().join("\n")
            }
            Kind::Judge => return Err(Failure::new(Class::Refused, "the built-in teacher judges nothing")),
        };
        Ok(Answer { text, prompt_tokens: 0, completion_tokens: 0 })
    }
}
