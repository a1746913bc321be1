//! The plan of one dialogue: who makes which move, about which items, and what is to be recommended at each.

use super::history::History;
use super::persona::{Cast, Persona, skewed};
use super::words::{Move, Talk, say};
use crate::config::SynthesizeConfig;
use crate::dataset::{Act, Dataset, MentionLabel, MessageLabel, Polarity};
use crate::error::Result;
use crate::math::Random;
use crate::retrieve::{Retriever, Wish};
use crate::run::Run;
use crate::synthesize::leak::{Mask, same_title, spoken};
use crate::synthesize::length::tokens_of;
use crate::titles::Titles;
use std::collections::HashMap;
use std::sync::Arc;

/// Share of dialogues in which the recommender asks before it suggests.
const ASKS: f64 = 0.3;
/// Share of suggestions that are of the user's history, where the retrieval finds some of it.
const KNOWN: f64 = 0.6;
/// Items that a recommender might suggest, and the first so many among which it does.
const MIGHT_SUGGEST: usize = 60;
const SUGGESTS: usize = 12;
/// Years between two items of which one is called newer.
const YEARS_APART: u16 = 8;
/// Items that the user liked and does not name that stand behind the target.
const ALSO_LIKED: usize = 3;

/// One message of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::synthesize) struct PlannedMessage {
    /// `user` or `assistant`.
    pub role: &'static str,
    /// What it is about.
    pub label: MessageLabel,
    /// Rows of the items that its words name.
    pub named: Vec<u32>,
    /// The domain's own words for it.
    pub draft: String,
}

/// A planned dialogue. The list itself is no message of it: it comes before the last one.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::synthesize) struct Outline {
    /// All messages but the list; the last is the user's acceptance.
    pub messages: Vec<PlannedMessage>,
    /// The item that is looked for.
    pub target: u32,
    /// The seed's review complains: another item is looked for.
    pub avoids: bool,
    /// Rows of the items that are spoken of before the list.
    pub said: Vec<u32>,
    /// Rows of the items to recommend at the end, best first, the target leading.
    pub ranking: Vec<u32>,
}

/// Plans dialogues.
pub(in crate::synthesize) struct Outliner<'a> {
    cast: Cast<'a>,
    retriever: Arc<Retriever>,
    talk: &'a Talk,
    turns: usize,
    items: usize,
    ranked: usize,
    /// Tokens that the user's words may have before the recommender stops to suggest, by estimate; 0: any number.
    query_tokens: usize,
    seed: u64,
}

/// What has been said so far.
struct State {
    messages: Vec<PlannedMessage>,
    /// Items spoken of.
    said: Vec<u32>,
    /// Of these, those that the user likes.
    liked: Vec<u32>,
    /// The user's words, for the retrieval.
    words: Vec<String>,
    /// Genres that the user does not want.
    unwanted: Vec<String>,
    /// The year after which, and before which, it must be, and the decade.
    after: Option<u16>,
    before: Option<u16>,
    decade: Option<u16>,
}

/// What dialogues are planned from, beside the dataset.
pub(in crate::synthesize) struct Sources<'a> {
    /// The domain's sentences.
    pub talk: &'a Talk,
    /// What a recommender would find.
    pub retriever: Arc<Retriever>,
    /// Finds titles in sentences of reviews.
    pub titles: Arc<Titles>,
    /// How deep the list at the end goes.
    pub ranked: usize,
    /// Personal data in reviews is masked.
    pub masks: bool,
}

/// What one sentence says.
#[derive(Default)]
struct Sentence {
    text: String,
    liked: Vec<u32>,
    disliked: Option<u32>,
    wanted: Vec<String>,
    decade: Option<u16>,
    named: Vec<u32>,
}

/// From what a sentence may take its attributes.
#[derive(Default)]
struct Pools {
    genres: Vec<String>,
    creators: Vec<String>,
    keywords: Vec<String>,
    moods: Vec<String>,
    decade: Option<u16>,
    item: Option<u32>,
    unwanted: Option<String>,
}

impl State {
    /// Tokens of what the user said, by estimate.
    fn tokens(&self) -> usize {
        self.messages.iter().filter(|m| m.role == "user").map(|m| tokens_of(&m.draft)).sum()
    }
}

impl<'a> Outliner<'a> {
    /// Reads the dataset once.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub(in crate::synthesize) fn new(
        dataset: &'a Dataset,
        config: &SynthesizeConfig,
        from: Sources<'a>,
        run: &Run,
    ) -> Result<Outliner<'a>> {
        run.check()?;
        let history = History::new(dataset);
        run.check()?;
        let Sources { talk, retriever, titles, ranked, masks } = from;
        let cast = Cast { dataset, history, reviews_by_item: dataset.reviews_by_item(), titles, masks };
        let (turns, items, query_tokens, seed) = (config.turns, config.items, config.query_tokens, config.seed);
        Ok(Outliner { cast, retriever, talk, turns, items, ranked, query_tokens, seed })
    }

    /// The plan of dialogue `k` of a seed. `item`, `reviews`: the seed's, none for the baseline without seeds; `draw` tells
    /// seeds apart. None: there is nothing to look for.
    pub(in crate::synthesize) fn outline(
        &self,
        item: Option<u32>,
        reviews: &[u32],
        draw: u64,
        k: usize,
    ) -> Option<Outline> {
        let mut random = Random::new(self.seed, format!("talk/{draw}/{k}/{item:?}").as_bytes());
        let persona = self.cast.persona(&self.retriever, item, reviews, &mut random)?;
        let mut state = State {
            messages: Vec::new(),
            said: Vec::new(),
            liked: Vec::new(),
            words: Vec::new(),
            unwanted: Vec::new(),
            after: None,
            before: None,
            decade: None,
        };
        let mut left = self.turns.saturating_sub(1);
        let asks = left > 0 && random.uniform() < ASKS;
        let whole = self.all_of(&persona);
        if let Some(avoided) = persona.avoided {
            let sentence = self.sentence(Move::Avoid, &persona, &state, &whole, &mut random)?;
            self.speak(&mut state, Act::Open, sentence);
            if !state.said.contains(&avoided) {
                return None;
            }
        } else {
            let opening = if asks { Move::Greet } else { Move::Open };
            let opening = self.sentence(opening, &persona, &state, &whole, &mut random);
            let opening = opening.or_else(|| self.sentence(Move::Greet, &persona, &state, &whole, &mut random))?;
            self.speak(&mut state, Act::Open, opening);
        }
        if asks {
            left -= 1;
            let question = self.sentence(Move::Ask, &persona, &state, &Pools::default(), &mut random)?;
            self.reply(&mut state, Act::Ask, question, Vec::new(), None);
            if let Some(answer) = self.sentence(Move::Tell, &persona, &state, &whole, &mut random) {
                self.speak(&mut state, Act::Tell, answer);
            } else {
                state.messages.pop();
            }
        }
        for _ in 0..left {
            let long = self.query_tokens > 0 && state.tokens() > self.query_tokens;
            if long || !self.suggest(&persona, &mut state, &mut random) {
                break;
            }
        }
        let ranking = self.ranking(&persona, &state, self.ranked);
        let taken = Pools { item: Some(persona.target), ..Pools::default() };
        let thanks = self.sentence(Move::Accept, &persona, &state, &taken, &mut random)?;
        let mut label = MessageLabel::new(Act::Accept);
        label.mentions.push(self.mention(persona.target, Polarity::Neutral));
        state.messages.push(PlannedMessage { role: "user", label, named: thanks.named, draft: thanks.text });
        let (target, avoids) = (persona.target, persona.avoided.is_some());
        Some(Outline { messages: state.messages, target, avoids, said: state.said, ranking })
    }

    fn mention(&self, item: u32, polarity: Polarity) -> MentionLabel {
        MentionLabel { item: self.cast.dataset.items.id(item as usize).to_string(), polarity }
    }

    /// Everything that speaks for the target.
    fn all_of(&self, persona: &Persona) -> Pools {
        Pools {
            genres: persona.genres.clone(),
            creators: persona.creators.clone(),
            keywords: persona.keywords.clone(),
            moods: persona.moods.iter().map(|m| (*m).to_string()).collect(),
            decade: persona.decade,
            ..Pools::default()
        }
    }

    /// A suggestion and what the user says to it; false: nothing is left to suggest.
    fn suggest(&self, persona: &Persona, state: &mut State, random: &mut Random) -> bool {
        let wish = Wish { items: state.liked.clone(), words: state.words.join(" ") };
        let might = self.retriever.candidates(&wish, None, MIGHT_SUGGEST);
        let items = &self.cast.dataset.items;
        let label = items.label(persona.target as usize);
        let target = Mask::new(label);
        let might: Vec<u32> = might
            .into_iter()
            .filter(|item| *item != persona.target && !state.said.contains(item) && self.fits(state, *item))
            .filter(|item| {
                let other = items.label(*item as usize);
                !target.leaks(&spoken(other)) && !same_title(label, other)
            })
            .collect();
        let known = might.iter().copied().find(|item| persona.taste(*item).is_some());
        let by_chance = might.get(skewed(might.len().min(SUGGESTS), random)).copied();
        let suggested = known.filter(|_| random.uniform() < KNOWN).or(by_chance);
        let Some(suggested) = suggested else { return false };
        let mut suits = self.ranking(persona, state, self.items + 1);
        suits.retain(|item| *item != suggested);
        suits.truncate(self.items);
        let pools = Pools { item: Some(suggested), ..Pools::default() };
        let Some(words) = self.sentence(Move::Suggest, persona, state, &pools, random) else { return false };
        self.reply(state, Act::Suggest, words, suits, Some(suggested));
        if self.respond(persona, state, suggested, random) {
            return true;
        }
        // Nobody knows what to say to it: it was not suggested.
        state.messages.pop();
        state.said.pop();
        false
    }

    /// What the user says to a suggestion.
    fn respond(&self, persona: &Persona, state: &mut State, suggested: u32, random: &mut Random) -> bool {
        let pools = Pools { item: Some(suggested), ..Pools::default() };
        if let Some(taste) = persona.taste(suggested) {
            let which = match taste.polarity {
                Polarity::Liked => Move::Liked,
                Polarity::Disliked => Move::Disliked,
                Polarity::Seen | Polarity::Neutral => Move::Seen,
            };
            let Some(said) = self.sentence(which, persona, state, &pools, random) else { return false };
            self.answer(state, Act::Seen, said, (suggested, taste.polarity), Vec::new(), Vec::new());
            if taste.polarity == Polarity::Liked {
                state.liked.push(suggested);
            }
            return true;
        }
        // What tells the two apart is a reason.
        let items = &self.cast.dataset.items;
        let (own, other) = (persona.target as usize, suggested as usize);
        let lacks = |has: &[String], theirs: Vec<&str>| -> Vec<String> {
            has.iter().filter(|v| !theirs.contains(&v.as_str())).cloned().collect()
        };
        // A genre of something that the user likes is none that they do not want.
        let liked = persona.tastes.iter().filter(|t| t.polarity == Polarity::Liked).map(|t| t.item);
        let liked: Vec<u32> = liked.chain(state.liked.iter().copied()).chain([persona.target]).collect();
        let has = |item: u32, genre: &str| items.genres(item as usize).any(|own| own.eq_ignore_ascii_case(genre));
        let surplus: Vec<&str> = items
            .genres(other)
            .filter(|g| !liked.iter().any(|item| has(*item, g)))
            .filter(|g| !state.unwanted.iter().any(|known| known == g))
            .collect();
        let mut moves: Vec<(Move, Pools)> = Vec::new();
        if let Some(genre) = surplus.get(random.below(surplus.len().max(1))) {
            moves.push((Move::Reject, Pools { unwanted: Some((*genre).to_string()), ..Pools::default() }));
        }
        if let (Some(own), Some(other)) = (items.year(own), items.year(other)) {
            let (newer, older) = (own >= other.saturating_add(YEARS_APART), own.saturating_add(YEARS_APART) <= other);
            if newer && state.after.is_none() {
                moves.push((Move::Newer, Pools::default()));
            } else if older && state.before.is_none() {
                moves.push((Move::Older, Pools::default()));
            }
        }
        let narrow = Pools {
            genres: lacks(&persona.genres, items.genres(other).collect()),
            creators: lacks(&persona.creators, items.creators(other).collect()),
            keywords: lacks(&persona.keywords, items.keywords(other).collect()),
            decade: persona.decade.filter(|d| items.year(other).map(|year| year / 10 * 10) != Some(*d)),
            moods: persona.moods.iter().map(|m| (*m).to_string()).collect(),
            ..Pools::default()
        };
        moves.push((Move::Narrow, narrow));
        let first = random.below(moves.len());
        moves.swap(0, first);
        for (which, pools) in moves {
            let Some(said) = self.sentence(which, persona, state, &pools, random) else { continue };
            let (act, wanted, unwanted) = match which {
                Move::Reject => (Act::Reject, Vec::new(), pools.unwanted.clone().into_iter().collect()),
                Move::Newer => (Act::Narrow, vec!["newer".to_string()], Vec::new()),
                Move::Older => (Act::Narrow, vec!["older".to_string()], Vec::new()),
                _ => (Act::Narrow, Vec::new(), Vec::new()),
            };
            match which {
                Move::Newer => state.after = items.year(other),
                Move::Older => state.before = items.year(other),
                _ => {}
            }
            state.unwanted.extend(pools.unwanted);
            self.answer(state, act, said, (suggested, Polarity::Neutral), wanted, unwanted);
            return true;
        }
        let Some(said) = self.sentence(Move::Seen, persona, state, &pools, random) else { return false };
        self.answer(state, Act::Seen, said, (suggested, Polarity::Seen), Vec::new(), Vec::new());
        true
    }

    /// Whether an item is what the user still wants.
    fn fits(&self, state: &State, item: u32) -> bool {
        let items = &self.cast.dataset.items;
        let year = items.year(item as usize);
        !items.genres(item as usize).any(|g| state.unwanted.iter().any(|u| u == g))
            && state.decade.is_none_or(|decade| year.is_none_or(|year| year / 10 * 10 == decade))
            && state.after.is_none_or(|after| year.is_none_or(|year| year > after))
            && state.before.is_none_or(|before| year.is_none_or(|year| year < before))
    }

    /// What suits what has been said, and the target: that first, then what the user also liked, then what the retrieval
    /// finds; nothing that was spoken of, nothing that the user does not like or want.
    fn ranking(&self, persona: &Persona, state: &State, count: usize) -> Vec<u32> {
        let mut items = state.liked.clone();
        items.push(persona.target);
        let wish = Wish { items, words: state.words.join(" ") };
        let found = self.retriever.candidates(&wish, Some(persona.target), count.saturating_mul(2).saturating_add(20));
        let hated = |item: u32| persona.taste(item).is_some_and(|t| t.polarity == Polarity::Disliked);
        let also: Vec<u32> = persona
            .tastes
            .iter()
            .filter(|t| t.polarity == Polarity::Liked && found.contains(&t.item))
            .map(|t| t.item)
            .filter(|item| !state.said.contains(item) && self.fits(state, *item))
            .take(ALSO_LIKED)
            .collect();
        let mut out = vec![persona.target];
        for item in also.into_iter().chain(found) {
            if out.len() >= count {
                break;
            }
            if !out.contains(&item) && !state.said.contains(&item) && !hated(item) && self.fits(state, item) {
                out.push(item);
            }
        }
        out
    }

    /// The user says a sentence.
    fn speak(&self, state: &mut State, act: Act, sentence: Sentence) {
        let mut label = MessageLabel::new(act);
        label.mentions.extend(sentence.liked.iter().map(|item| self.mention(*item, Polarity::Liked)));
        label.mentions.extend(sentence.disliked.iter().map(|item| self.mention(*item, Polarity::Disliked)));
        label.wanted.clone_from(&sentence.wanted);
        state.said.extend(&sentence.named);
        state.liked.extend(&sentence.liked);
        state.words.extend(sentence.wanted);
        state.decade = sentence.decade.or(state.decade);
        state.messages.push(PlannedMessage { role: "user", label, named: sentence.named, draft: sentence.text });
    }

    /// The user says a sentence about what was suggested.
    fn answer(
        &self,
        state: &mut State,
        act: Act,
        sentence: Sentence,
        (item, polarity): (u32, Polarity),
        wanted: Vec<String>,
        unwanted: Vec<String>,
    ) {
        self.speak(state, act, sentence);
        if let Some(message) = state.messages.last_mut() {
            message.label.mentions.insert(0, self.mention(item, polarity));
            message.label.wanted.extend(wanted);
            message.label.unwanted.extend(unwanted);
        }
    }

    /// The recommender says a sentence.
    fn reply(&self, state: &mut State, act: Act, sentence: Sentence, suits: Vec<u32>, suggested: Option<u32>) {
        let mut label = MessageLabel::new(act);
        label.mentions.extend(suggested.map(|item| self.mention(item, Polarity::Neutral)));
        label.items = suits.iter().map(|item| self.cast.dataset.items.id(*item as usize).to_string()).collect();
        state.said.extend(&sentence.named);
        state.messages.push(PlannedMessage { role: "assistant", label, named: sentence.named, draft: sentence.text });
    }

    /// One of the domain's sentences for a move, all of whose slots can be filled, that does not say the target's title
    /// before its time; none: there is no such sentence.
    fn sentence(
        &self,
        which: Move,
        persona: &Persona,
        state: &State,
        pools: &Pools,
        random: &mut Random,
    ) -> Option<Sentence> {
        let templates = self.talk.of(which);
        let mut order: Vec<usize> = (0..templates.len()).collect();
        random.shuffle(&mut order);
        let mask = Mask::new(self.cast.dataset.items.label(persona.target as usize));
        order.into_iter().find_map(|at| {
            let template = &templates[at];
            let mut said = Sentence::default();
            let mut values: HashMap<&str, String> = HashMap::new();
            for slot in template.slots() {
                if !values.contains_key(slot) {
                    values.insert(slot, self.value(slot, persona, state, pools, &mut said, random)?);
                }
            }
            said.text = template.say(|slot| values.get(slot).cloned().unwrap_or_default());
            (which == Move::Accept || !mask.leaks(&said.text)).then_some(said)
        })
    }

    fn value(
        &self,
        slot: &str,
        persona: &Persona,
        state: &State,
        pools: &Pools,
        said: &mut Sentence,
        random: &mut Random,
    ) -> Option<String> {
        let fresh = |values: &[String], said: &Sentence| -> Vec<String> {
            let new = |v: &&String| !state.words.contains(v) && !said.wanted.contains(v);
            values.iter().filter(new).cloned().collect()
        };
        let mut wish = |values: Vec<String>, said: &mut Sentence| -> Option<String> {
            let value = values.get(random.below(values.len().max(1)))?.clone();
            said.wanted.push(value.clone());
            Some(value)
        };
        let one_of = match slot {
            "genre" | "genre2" => Some(fresh(&pools.genres, said)),
            "creator" => Some(fresh(&pools.creators, said)),
            "keyword" => Some(fresh(&pools.keywords, said)),
            "mood" => Some(fresh(&pools.moods, said)),
            "decade" => {
                let decade: Vec<String> = pools.decade.iter().map(|decade| format!("{decade}s")).collect();
                let decade = fresh(&decade, said);
                said.decade = pools.decade.filter(|_| !decade.is_empty());
                Some(decade)
            }
            _ => None,
        };
        if let Some(values) = one_of {
            let value = wish(values, said)?;
            return Some(if slot == "creator" { value } else { value.to_lowercase() });
        }
        let item = match slot {
            "liked" | "liked2" | "liked3" => {
                let taken: Vec<u32> = state.said.iter().chain(&said.named).copied().collect();
                let item = persona.draw_liked(&taken, |item| self.retriever.popularity(item), random)?;
                said.liked.push(item);
                item
            }
            "disliked" => {
                let avoided = persona.avoided.filter(|item| !state.said.contains(item));
                let item = avoided.or_else(|| persona.draw_disliked(&state.said, random))?;
                said.disliked = Some(item);
                item
            }
            "item" => pools.item?,
            "sentence" => return persona.sentence.clone(),
            "complaint" => return persona.complaint.clone(),
            "unwanted" => return pools.unwanted.as_ref().map(|genre| genre.to_lowercase()),
            _ => return None,
        };
        if !said.named.contains(&item) {
            said.named.push(item);
        }
        Some(say(self.cast.dataset, item, random))
    }
}
