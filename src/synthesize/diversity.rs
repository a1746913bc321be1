//! How various a set of dialogues is, and how far its users' speech is from that of recorded people.
//!
//! A user's turn is a line of what a user says. Measures that hang on the size of a set are taken on as much of each set that
//! is compared: distinct-n on the same number of words, self-BLEU on the same number of turns, drawn by seed.

use super::filter::said;
use super::words::words_of;
use crate::dataset::{Conversation, Dataset, Dialogue, Role};
use crate::math::Random;
use crate::titles::Titles;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

/// Words on which distinct-n is taken, at most.
const DISTINCT_WORDS: usize = 20_000;
/// Turns among which self-BLEU is taken, at most.
const BLEU_TURNS: usize = 500;
/// The longest n-grams of BLEU.
const BLEU_ORDER: usize = 4;
/// In place of a precision of no match (method 1 of Chen and Cherry, 2014).
const BLEU_EPSILON: f64 = 0.1;
/// Parts of the catalogue by popularity.
const DECILES: usize = 10;

/// How various the users' turns and the lists of a set are.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Diversity {
    /// Turns of users: lines with at least one word.
    pub turns: u64,
    /// Their mean length in words.
    pub words_per_turn: f64,
    /// Words of the turns that the next two are taken on.
    pub distinct_of_words: u64,
    /// Different words over all words (distinct-1; Li et al., 2016).
    pub distinct_1: f64,
    /// Different pairs of neighbouring words over all pairs (distinct-2).
    pub distinct_2: f64,
    /// Turns that the next one is taken among.
    pub self_bleu_of_turns: u64,
    /// Mean BLEU-4 of a turn against all others (self-BLEU; Zhu et al., 2018), smoothed by method 1 of Chen and Cherry (2014):
    /// 1 where all say the same.
    pub self_bleu: f64,
    /// What of the catalogue the lists cover.
    pub coverage: Coverage,
}

/// What of the catalogue the lists of a set cover; of recorded conversations, the items that they name and accept.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Coverage {
    /// Entries of all lists.
    pub entries: u64,
    /// Share of the catalogue's items that are listed.
    pub items: f64,
    /// Share of them that stand first in a list; of recorded conversations, that are accepted.
    pub first: f64,
    /// Share of the catalogue's genres that a listed item has.
    pub genres: f64,
    /// Share of the items that are listed, of each tenth of the catalogue by popularity, the most popular first.
    pub deciles: [f64; DECILES],
    /// Share of the entries that name an item of each tenth.
    pub entries_by_decile: [f64; DECILES],
}

/// A set to be measured.
pub(super) struct Set {
    /// The words of each turn.
    turns: Vec<Vec<String>>,
    /// Rows of the listed items, the first of a list apart.
    first: Vec<u32>,
    others: Vec<u32>,
}

impl Set {
    /// Of dialogues.
    pub(super) fn of_dialogues(rows: &[Dialogue], dataset: &Dataset) -> Set {
        let turns = rows.iter().flat_map(said).flat_map(str::lines).map(words_of);
        let (mut first, mut others) = (Vec::new(), Vec::new());
        for row in rows {
            let mut items = row.items.iter().filter_map(|id| dataset.items.find(id));
            first.extend(items.next());
            others.extend(items);
        }
        Set { turns: turns.filter(|words| !words.is_empty()).collect(), first, others }
    }

    /// Of recorded conversations. Files give one conversation several times, each a turn or more longer, for each of its
    /// targets: what the one before it holds is not counted again.
    pub(super) fn of_conversations(conversations: &[Conversation], titles: &Titles) -> Set {
        let mut set = Set { turns: Vec::new(), first: Vec::new(), others: Vec::new() };
        let mut before: Option<&Conversation> = None;
        for conversation in conversations {
            let known = before.filter(|b| conversation.turns.starts_with(&b.turns));
            let new = conversation.turns.iter().skip(known.map_or(0, |b| b.turns.len()));
            let said = new.filter(|turn| turn.role == Role::User).flat_map(|turn| turn.text.lines());
            set.turns.extend(said.map(words_of).filter(|words| !words.is_empty()));
            set.first.extend(conversation.targets.iter().filter_map(|name| titles.resolve(name)));
            let new = conversation.seen.iter().filter(|name| !known.is_some_and(|b| b.seen.contains(name)));
            set.others.extend(new.filter_map(|name| titles.resolve(name)));
            before = Some(conversation);
        }
        set
    }

    fn words(&self) -> usize {
        self.turns.iter().map(Vec::len).sum()
    }
}

/// Measures sets, each on as much as the smallest has.
pub(super) fn measure(sets: &[Set], dataset: &Dataset, seed: u64) -> Vec<Diversity> {
    let words = sets.iter().map(Set::words).min().unwrap_or(0).min(DISTINCT_WORDS);
    let most = sets.iter().map(|set| set.turns.len()).min().unwrap_or(0).min(BLEU_TURNS);
    let deciles = deciles(dataset);
    let measured = sets.iter().map(|set| {
        let mut order: Vec<usize> = (0..set.turns.len()).collect();
        Random::new(seed, b"diversity").shuffle(&mut order);
        let turns: Vec<&[String]> = order.iter().map(|at| set.turns[*at].as_slice()).collect();
        let cut = first_words(&turns, words);
        Diversity {
            turns: set.turns.len() as u64,
            words_per_turn: set.words() as f64 / set.turns.len().max(1) as f64,
            distinct_of_words: words as u64,
            distinct_1: distinct(&cut, 1),
            distinct_2: distinct(&cut, 2),
            self_bleu_of_turns: most as u64,
            self_bleu: self_bleu(&turns[..most]),
            coverage: coverage(set, dataset, &deciles),
        }
    });
    measured.collect()
}

/// The turns as far as they have `words` words; the last one may be cut.
fn first_words<'a>(turns: &[&'a [String]], words: usize) -> Vec<&'a [String]> {
    let mut left = words;
    let mut out = Vec::new();
    for turn in turns {
        let taken = turn.len().min(left);
        if taken == 0 {
            break;
        }
        out.push(&turn[..taken]);
        left -= taken;
    }
    out
}

/// Different n-grams over all of them; 0 of none.
fn distinct(turns: &[&[String]], n: usize) -> f64 {
    let grams = || turns.iter().flat_map(|turn| turn.windows(n));
    let all = grams().count();
    let different: HashSet<&[String]> = grams().collect();
    different.len() as f64 / all.max(1) as f64
}

/// The n-grams of a turn, and how often each occurs.
fn counts(turn: &[String], n: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    turn.windows(n).for_each(|gram| *counts.entry(gram).or_default() += 1);
    counts
}

/// How often an n-gram occurs in one turn at most: in which, how often, and how often in any other.
#[derive(Clone, Copy, Default)]
struct Most {
    turn: usize,
    count: usize,
    elsewhere: usize,
}

impl Most {
    fn add(&mut self, turn: usize, count: usize) {
        if count > self.count {
            *self = Most { turn, count, elsewhere: self.count };
        } else {
            self.elsewhere = self.elsewhere.max(count);
        }
    }
    fn without(self, turn: usize) -> usize {
        if self.turn == turn { self.elsewhere } else { self.count }
    }
}

/// Mean BLEU-4 of a turn against all others; 0 of fewer than two turns.
fn self_bleu(turns: &[&[String]]) -> f64 {
    if turns.len() < 2 {
        return 0.0;
    }
    let mut most: Vec<HashMap<&[String], Most>> = vec![HashMap::new(); BLEU_ORDER];
    for (n, most) in most.iter_mut().enumerate() {
        for (at, turn) in turns.iter().enumerate() {
            counts(turn, n + 1).into_iter().for_each(|(gram, count)| most.entry(gram).or_default().add(at, count));
        }
    }
    let mut lengths: Vec<usize> = turns.iter().map(|turn| turn.len()).collect();
    lengths.sort_unstable();
    let bleu = |(at, turn): (usize, &&[String])| {
        let mut log_sum = 0.0;
        for (n, most) in most.iter().enumerate() {
            let own = counts(turn, n + 1);
            // Whole numbers: their order does not matter.
            let matched: usize =
                own.iter().map(|(gram, count)| (*count).min(most.get(gram).map_or(0, |most| most.without(at)))).sum();
            if n == 0 && matched == 0 {
                return 0.0;
            }
            let all = (turn.len() + 1).saturating_sub(n + 1).max(1);
            let matched = if matched == 0 { BLEU_EPSILON } else { matched as f64 };
            log_sum += (matched / all as f64).ln() / BLEU_ORDER as f64;
        }
        let (own, closest) = (turn.len() as f64, closest(&lengths, turn.len()) as f64);
        let brevity = if own > closest { 1.0 } else { (1.0 - closest / own).exp() };
        brevity * log_sum.exp()
    };
    turns.iter().enumerate().map(bleu).sum::<f64>() / turns.len() as f64
}

/// Of sorted lengths, the one closest to `own` beside `own` itself, which is among them; the shorter of two.
fn closest(lengths: &[usize], own: usize) -> usize {
    let at = lengths.partition_point(|length| *length < own);
    let (before, after) = (at.checked_sub(1).map(|at| lengths[at]), lengths.get(at + 1).copied());
    match (before, after) {
        (Some(before), Some(after)) if own - before <= after - own => before,
        (_, Some(after)) => after,
        (Some(before), None) => before,
        (None, None) => own,
    }
}

/// The tenth of the catalogue by popularity (interactions, then reviews) that each item belongs to, from 0.
fn deciles(dataset: &Dataset) -> Vec<usize> {
    let items = dataset.items.len();
    let mut counts = vec![(0u64, 0u64); items];
    (0..dataset.interactions()).for_each(|n| counts[dataset.interaction(n).1].0 += 1);
    (0..dataset.reviews()).for_each(|r| counts[dataset.review_item(r)].1 += 1);
    let mut order: Vec<usize> = (0..items).collect();
    order.sort_by_key(|item| std::cmp::Reverse(counts[*item]));
    let mut deciles = vec![0; items];
    order.iter().enumerate().for_each(|(place, item)| deciles[*item] = place * DECILES / items.max(1));
    deciles
}

fn coverage(set: &Set, dataset: &Dataset, deciles: &[usize]) -> Coverage {
    let items = dataset.items.len();
    let entries = || set.first.iter().chain(&set.others).map(|item| *item as usize).filter(|item| *item < items);
    let listed: HashSet<usize> = entries().collect();
    let first: HashSet<u32> = set.first.iter().copied().collect();
    let genres_of = |item: usize| dataset.items.genres(item);
    let all_genres: HashSet<&str> = (0..items).flat_map(genres_of).collect();
    let genres: HashSet<&str> = listed.iter().flat_map(|item| genres_of(*item)).collect();
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    let by_decile = |items: &mut dyn Iterator<Item = usize>| {
        let mut counts = [0usize; DECILES];
        items.for_each(|item| counts[deciles[item]] += 1);
        counts
    };
    let size = by_decile(&mut (0..items));
    let (there, all) = (by_decile(&mut listed.iter().copied()), by_decile(&mut entries()));
    let total = entries().count();
    Coverage {
        entries: total as u64,
        items: share(listed.len(), items),
        first: share(first.len(), items),
        genres: share(genres.len(), all_genres.len()),
        deciles: std::array::from_fn(|d| share(there[d], size[d])),
        entries_by_decile: std::array::from_fn(|d| share(all[d], total)),
    }
}

/// The measures of named sets side by side, a line each.
pub(super) fn table(sets: &[(&str, &Diversity)]) -> String {
    type Row = (&'static str, fn(&Diversity) -> String);
    let share = |d: f64| format!("{:.1} %", 100.0 * d);
    let rows: [Row; 10] = [
        ("user turns", |d| d.turns.to_string()),
        ("words per turn", |d| format!("{:.1}", d.words_per_turn)),
        ("distinct-1", |d| format!("{:.3}", d.distinct_1)),
        ("distinct-2", |d| format!("{:.3}", d.distinct_2)),
        ("self-BLEU", |d| format!("{:.3}", d.self_bleu)),
        ("entries of lists", |d| d.coverage.entries.to_string()),
        ("items listed", |d| format!("{:.1} %", 100.0 * d.coverage.items)),
        ("items first", |d| format!("{:.1} %", 100.0 * d.coverage.first)),
        ("genres listed", |d| format!("{:.1} %", 100.0 * d.coverage.genres)),
        ("entries of the most popular tenth", |d| format!("{:.1} %", 100.0 * d.coverage.entries_by_decile[0])),
    ];
    let mut out = String::new();
    let width = |name: &str| name.chars().count().max(10);
    let mut line = |name: &str, values: &[String]| {
        let _ = write!(out, "{name:<34}");
        for ((set, _), value) in sets.iter().zip(values) {
            let _ = write!(out, "  {value:>width$}", width = width(set));
        }
        out.push('\n');
    };
    line("diversity", &sets.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>());
    for (name, value) in rows {
        line(name, &sets.iter().map(|(_, d)| value(d)).collect::<Vec<_>>());
    }
    for decile in 0..DECILES {
        let name = match decile {
            0 => "items listed, most popular tenth".to_string(),
            d => format!("items listed, tenth {}", d + 1),
        };
        line(&name, &sets.iter().map(|(_, d)| share(d.coverage.deciles[decile])).collect::<Vec<_>>());
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::dataset;
    use super::*;
    use crate::dataset::{ItemName, Turn};

    /// Values of tests/oracle/diversity_oracle.py.
    #[test]
    fn distinct_and_self_bleu_are_those_of_the_definitions() {
        let oracle: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/oracle/diversity.json")).unwrap();
        let turns: Vec<Vec<String>> =
            oracle["turns"].as_array().unwrap().iter().map(|turn| words_of(turn.as_str().unwrap())).collect();
        let turns: Vec<&[String]> = turns.iter().map(Vec::as_slice).collect();
        for (name, value) in
            [("distinct_1", distinct(&turns, 1)), ("distinct_2", distinct(&turns, 2)), ("self_bleu", self_bleu(&turns))]
        {
            let expected = oracle[name].as_f64().unwrap();
            assert!((value - expected).abs() < 1e-12, "{name}: {value}, expected {expected}");
        }
    }

    fn set(turns: &[&str], lists: &[&[u32]]) -> Set {
        Set {
            turns: turns.iter().map(|turn| words_of(turn)).collect(),
            first: lists.iter().map(|list| list[0]).collect(),
            others: lists.iter().flat_map(|list| &list[1..]).copied().collect(),
        }
    }

    #[test]
    fn the_same_turn_again_and_again_is_the_least_various_there_is() {
        let data = dataset();
        let same = set(&["a slow film by the sea please"; 50], &[&[0]]);
        let words = ["a", "b", "c", "d", "e"];
        let other: Vec<String> = (0..50).map(|n| words.map(|w| format!("{w}{n}")).join(" ")).collect();
        let other = set(&other.iter().map(String::as_str).collect::<Vec<_>>(), &[&[1]]);
        let measured = measure(&[same, other], &data, 0);
        assert!((measured[0].self_bleu - 1.0).abs() < 1e-12 && measured[1].self_bleu == 0.0);
        // Both on 250 words: 7 different ones against 250.
        assert_eq!((measured[0].distinct_of_words, measured[1].distinct_of_words), (250, 250));
        assert_eq!((measured[0].distinct_1, measured[1].distinct_1), (7.0 / 250.0, 1.0));
        assert_eq!(measured[1].words_per_turn, 5.0);
        // Nothing at all.
        let none = measure(&[set(&[], &[])], &Dataset::default(), 0);
        assert_eq!((none[0].self_bleu, none[0].distinct_2, none[0].coverage.items), (0.0, 0.0, 0.0));
    }

    /// 40 items: even ones are comedies, odd ones horror, all dramas.
    #[test]
    fn coverage_is_of_items_genres_and_tenths_of_the_catalogue() {
        let data = dataset();
        let measured = measure(&[set(&["hi"], &[&[0, 2, 4], &[0, 6]])], &data, 0);
        let coverage = &measured[0].coverage;
        assert_eq!((coverage.entries, coverage.items, coverage.first), (5, 4.0 / 40.0, 1.0 / 40.0));
        assert_eq!(coverage.genres, 2.0 / 3.0);
        let sum = |shares: &[f64]| shares.iter().sum::<f64>();
        // Four of each tenth's four items are one tenth of the catalogue.
        assert!((sum(&coverage.deciles) - 1.0).abs() < 1e-12 && (sum(&coverage.entries_by_decile) - 1.0).abs() < 1e-12);
        let tenths = deciles(&data);
        assert!((0..DECILES).all(|d| tenths.iter().filter(|t| **t == d).count() == 4));
    }

    #[test]
    fn a_conversation_that_goes_on_is_counted_once() {
        let data = dataset();
        let turn = |role, text: &str| Turn { role, text: text.into() };
        let name = |title: &str| ItemName { title: title.into(), ..Default::default() };
        let short = Conversation {
            id: "1/1".into(),
            turns: vec![turn(Role::User, "Hello there"), turn(Role::Assistant, "Hi, what do you like?")],
            targets: vec![name("The Garden of Alma")],
            seen: vec![name("The Tower of Alma")],
        };
        let mut long = short.clone();
        long.turns.push(turn(Role::User, "Quiet films\n\nand slow ones"));
        long.targets = vec![name("The Secret of Alma")];
        let other = Conversation {
            turns: vec![turn(Role::User, "Hello there")],
            ..Conversation { seen: vec![], targets: vec![], ..short.clone() }
        };
        let set = Set::of_conversations(&[short, long, other], &Titles::of(&data));
        let turns: Vec<String> = set.turns.iter().map(|words| words.join(" ")).collect();
        assert_eq!(turns, ["hello there", "quiet films", "and slow ones", "hello there"]);
        assert_eq!((set.first.len(), set.others.len()), (2, 1));
    }

    #[test]
    fn the_table_names_every_set() {
        let measured = measure(&[set(&["hi you"], &[&[0]]), set(&["a b"], &[&[1]])], &dataset(), 0);
        let table = table(&[("synthetic", &measured[0]), ("recorded.jsonl", &measured[1])]);
        assert!(
            table.starts_with("diversity") && table.contains("recorded.jsonl") && table.contains("self-BLEU"),
            "{table}"
        );
        assert_eq!(table.lines().count(), 21);
    }
}
