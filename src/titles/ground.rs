//! A title as somebody wrote it → the item of the catalogue, or none: out of catalogue (§3.3, §4.2.1).
//!
//! Looked up in this order; the first step that finds an item of a fitting year decides:
//! 1. the normalised title (case, accents, punctuation, `&`);
//! 2. the same without a leading article (`Movie, The` = `The Movie` = `Movie`);
//! 3. the same with numbers in digits (`Rocky II` = `Rocky 2`, `Ocean's Eleven` = `Ocean's 11`);
//! 4. other names of an item (`(a.k.a. …)`, a title in parentheses), and the written title without its parentheses;
//! 5. bounded edit distance with a margin, numbers being equal, when no step before knew the title at all.
//!
//! Years, at every step: an item of the same year wins, then one of a year beside it, then one without a year; an item of
//! another year is another work (a remake). Asked without a year, the item of most reviews wins where
//! [`Grounder::with_popularity`] was given counts, then the latest, then the lowest row.

use crate::dataset::{ItemName, Items};
use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;

/// Finds items by their written titles. Made once per catalogue; lookups are read-only and may be made on any thread.
pub struct Grounder {
    /// Of each item, the preference when no year is asked for: higher first.
    rank: Vec<(u64, u16, std::cmp::Reverse<u32>)>,
    years: Vec<u16>,
    ids: HashMap<Box<str>, u32>,
    /// Item rows by key, one map per step 1 to 4.
    steps: [HashMap<Box<str>, Vec<u32>>; 4],
    fuzzy: Fuzzy,
}

impl Grounder {
    /// The index of a catalogue.
    pub fn new(items: &Items) -> Grounder {
        Grounder::with_popularity(items, &[])
    }

    /// The index of a catalogue; `popularity`: `[items]` counts (of reviews, say), or empty.
    pub fn with_popularity(items: &Items, popularity: &[u64]) -> Grounder {
        let mut steps: [HashMap<Box<str>, Vec<u32>>; 4] = Default::default();
        let mut fuzzy = HashMap::<Box<str>, Vec<u32>>::new();
        let mut years = Vec::with_capacity(items.len());
        let mut rank = Vec::with_capacity(items.len());
        let mut ids = HashMap::with_capacity(items.len());
        for row in 0..items.len() {
            let (number, year) = (row as u32, items.year(row).unwrap_or(0));
            years.push(year);
            rank.push((popularity.get(row).copied().unwrap_or(0), year, std::cmp::Reverse(number)));
            ids.insert(items.id(row).into(), number);
            let names = names(items.title(row));
            for (n, name) in names.iter().enumerate() {
                let full = normalise(name);
                let bare = without_article(&full).to_string();
                let folded = numbers_in_digits(&bare);
                if n == 0 {
                    add(&mut steps[0], &full, number);
                    add(&mut steps[1], &bare, number);
                    add(&mut steps[2], &folded, number);
                    add(&mut fuzzy, &folded, number);
                }
                add(&mut steps[3], &folded, number);
            }
        }
        Grounder { rank, years, ids, steps, fuzzy: Fuzzy::new(fuzzy) }
    }

    /// The item row that `title` names, with `year` where one was given; none: out of catalogue.
    pub fn find(&self, title: &str, year: Option<u16>) -> Option<u32> {
        let written = moved_article(title);
        let full = normalise(&written);
        let bare = without_article(&full);
        let folded = numbers_in_digits(bare);
        let mut known = false;
        for (step, key) in self.steps.iter().zip([full.as_str(), bare, folded.as_str(), folded.as_str()]) {
            if let Some(rows) = step.get(key) {
                known = true;
                if let Some(row) = self.of_year(rows, year) {
                    return Some(row);
                }
            }
        }
        // `Birdman (The Unexpected Virtue of Ignorance)`: what stands in parentheses may be left out, or be the name.
        for name in names(title).into_iter().skip(1) {
            let key = numbers_in_digits(without_article(&normalise(&name)));
            if let Some(rows) = self.steps[2].get(key.as_str()) {
                known = true;
                if let Some(row) = self.of_year(rows, year) {
                    return Some(row);
                }
            }
        }
        // A title of the catalogue with another year is a remake, not a slip of the pen.
        if known {
            return None;
        }
        let rows = self.fuzzy.nearest(&folded)?;
        self.of_year(rows, year)
    }

    /// The item that a conversation names: by its id where the catalogue has that id, else by title and year.
    pub fn find_name(&self, name: &ItemName) -> Option<u32> {
        let by_id = name.item.as_deref().and_then(|id| self.ids.get(id).copied());
        by_id.or_else(|| if name.title.trim().is_empty() { None } else { self.find(&name.title, name.year) })
    }

    /// Of items of one title, the one of that year.
    fn of_year(&self, rows: &[u32], year: Option<u16>) -> Option<u32> {
        let best = |fits: &dyn Fn(u16) -> bool| {
            rows.iter().copied().filter(|r| fits(self.years[*r as usize])).max_by_key(|r| self.rank[*r as usize])
        };
        match year {
            None => best(&|_| true),
            Some(year) => best(&|y| y == year)
                .or_else(|| best(&|y| y != 0 && y.abs_diff(year) == 1))
                .or_else(|| best(&|y| y == 0)),
        }
    }
}

fn add(map: &mut HashMap<Box<str>, Vec<u32>>, key: &str, row: u32) {
    if key.is_empty() {
        return;
    }
    let rows = map.entry(key.into()).or_default();
    if rows.last() != Some(&row) {
        rows.push(row);
    }
}

// -------------------------------------------------------------------------------------------------------- normal forms

/// A title in lower case without accents, punctuation and double spaces; `&` is `and`. Titles that are nothing but
/// punctuation keep it, so that they can be found.
pub fn normalise(title: &str) -> String {
    let mut out = String::with_capacity(title.len());
    let letters: Vec<char> = title.nfkd().collect();
    let mut gap = false;
    let at = |i: usize| letters.get(i).copied().unwrap_or(' ');
    for (i, &c) in letters.iter().enumerate() {
        if unicode_normalization::char::is_combining_mark(c) || matches!(c, '\'' | '’' | '‘' | '`' | '´' | 'ʻ') {
            continue;
        }
        // Initials: `U.N.C.L.E.`, `E.T.`; and thousands: `20,000 Leagues`.
        let single = i > 0 && at(i - 1).is_alphabetic() && (i < 2 || !at(i - 2).is_alphanumeric());
        if c == '.' && single || c == ',' && i > 0 && at(i - 1).is_ascii_digit() && at(i + 1).is_ascii_digit() {
            continue;
        }
        let word = match c {
            '&' => Some(" and "),
            'ß' | 'ẞ' => Some("ss"),
            'æ' | 'Æ' => Some("ae"),
            'œ' | 'Œ' => Some("oe"),
            'ø' | 'Ø' => Some("o"),
            'ł' | 'Ł' => Some("l"),
            'đ' | 'Đ' | 'ð' | 'Ð' => Some("d"),
            'þ' | 'Þ' => Some("th"),
            'ı' => Some("i"),
            _ => None,
        };
        let push = |out: &mut String, gap: &mut bool, c: char| {
            if *gap && !out.is_empty() {
                out.push(' ');
            }
            *gap = false;
            out.push(c);
        };
        match word {
            Some(word) => {
                for c in word.chars() {
                    if c == ' ' {
                        gap = true;
                    } else {
                        push(&mut out, &mut gap, c);
                    }
                }
            }
            None if c.is_alphanumeric() => {
                c.to_lowercase().filter(|c| c.is_alphanumeric()).for_each(|c| push(&mut out, &mut gap, c));
            }
            None => gap = true,
        }
    }
    if out.is_empty() { title.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase() } else { out }
}

/// `the matrix` → `matrix`. A title that is an article stays.
fn without_article(normal: &str) -> &str {
    let rest = ["the ", "a ", "an "].iter().find_map(|article| normal.strip_prefix(article));
    rest.filter(|rest| !rest.is_empty()).unwrap_or(normal)
}

/// Articles that catalogues move to the end.
const ARTICLES: [&str; 22] = [
    "the", "a", "an", "le", "la", "les", "l'", "un", "une", "el", "los", "las", "il", "lo", "i", "gli", "der", "die",
    "das", "den", "det", "een",
];

/// `Outlaw and His Wife;The` → `The Outlaw and His Wife`; `Dolce vita, La` → `La Dolce vita`.
fn moved_article(title: &str) -> String {
    let title = title.trim();
    if let Some((before, after)) = title.rsplit_once([',', ';']) {
        let article = after.trim();
        if !before.trim().is_empty() && ARTICLES.contains(&article.to_lowercase().as_str()) {
            let gap = if article.ends_with('\'') { "" } else { " " };
            return format!("{article}{gap}{}", before.trim());
        }
    }
    title.to_string()
}

/// The names that a title holds: itself, itself without its parentheses, and what stands in each of them
/// (`(a.k.a. You and I)`, `(Berg-Ejvind och hans hustru)`). The first is the one to be preferred.
fn names(title: &str) -> Vec<String> {
    let mut outside = String::new();
    let mut inside: Vec<String> = Vec::new();
    let mut depth = 0usize;
    for c in title.chars() {
        match c {
            '(' => {
                if depth == 0 {
                    inside.push(String::new());
                }
                depth += 1;
            }
            ')' if depth > 0 => depth -= 1,
            _ if depth > 0 => inside.iter_mut().last().into_iter().for_each(|s| s.push(c)),
            _ => outside.push(c),
        }
    }
    if inside.is_empty() {
        return vec![moved_article(title)];
    }
    let outside = outside.trim();
    let outside = outside.strip_suffix(" or").unwrap_or(outside);
    let mut names = vec![moved_article(title), moved_article(outside)];
    for name in inside {
        let name = name.trim();
        let other = ["a.k.a. ", "a.k.a ", "aka ", "AKA ", "also known as "]
            .iter()
            .find_map(|m| name.strip_prefix(m))
            .unwrap_or(name);
        // A single letter or a number in parentheses is no name.
        if other.chars().filter(|c| c.is_alphabetic()).count() > 2 {
            names.push(moved_article(other));
        }
    }
    names.retain(|n| !n.is_empty());
    names
}

/// Number words and Roman numerals in digits, in a normalised title. `i`, `v` and `x` are numerals only as the last word of
/// several, or after `part`, `episode`, `chapter`, `volume`, `vol`; both sides of a comparison are folded alike.
fn numbers_in_digits(normal: &str) -> String {
    let words: Vec<&str> = normal.split(' ').collect();
    let fold = |i: usize| {
        let counted = i > 0 && matches!(words[i - 1], "part" | "episode" | "chapter" | "volume" | "vol");
        match words[i] {
            "one" => "1",
            "two" => "2",
            "three" => "3",
            "four" => "4",
            "five" => "5",
            "six" => "6",
            "seven" => "7",
            "eight" => "8",
            "nine" => "9",
            "ten" => "10",
            "eleven" => "11",
            "twelve" => "12",
            "thirteen" => "13",
            "ii" if i > 0 => "2",
            "iii" if i > 0 => "3",
            "iv" if i > 0 => "4",
            "vi" if i > 0 => "6",
            "vii" if i > 0 => "7",
            "viii" if i > 0 => "8",
            "ix" if i > 0 => "9",
            "xi" if i > 0 => "11",
            "xii" if i > 0 => "12",
            "xiii" if i > 0 => "13",
            "v" if counted || (i > 0 && i + 1 == words.len()) => "5",
            "i" if counted => "1",
            "x" if counted => "10",
            "volume" => "vol",
            other => other,
        }
    };
    (0..words.len()).map(fold).collect::<Vec<_>>().join(" ")
}

// ------------------------------------------------------------------------------------------------------- edit distance

/// Titles by their pairs of letters, for the search of near ones without a look at them all.
struct Fuzzy {
    keys: Vec<Key>,
    /// Pairs of letters with the key's length, as [`packed`], ascending.
    pairs: Vec<u64>,
    /// `[pairs + 1]`: where each pair's keys begin in `postings`.
    starts: Vec<u32>,
    /// Keys, ascending within a pair.
    postings: Vec<u32>,
}

struct Key {
    text: Box<str>,
    numbers: Box<str>,
    rows: Vec<u32>,
}

/// The best title must be nearer than any other by this much.
const MARGIN: usize = 2;
/// Longer titles are found by their own letters only.
const MOST_CHARS: usize = 200;

/// Edits that are forgiven in a title of so many characters: none in short ones, where one letter makes another title.
fn allowed_edits(chars: usize) -> usize {
    match chars {
        0..=7 => 0,
        8..=12 => 1,
        13..=20 => 2,
        21..=MOST_CHARS => 3,
        _ => 0,
    }
}

impl Fuzzy {
    fn new(titles: HashMap<Box<str>, Vec<u32>>) -> Fuzzy {
        let mut titles: Vec<(Box<str>, Vec<u32>)> = titles.into_iter().collect();
        titles.sort();
        let mut keys = Vec::with_capacity(titles.len());
        let mut pairs: Vec<(u64, u32)> = Vec::new();
        for (text, rows) in titles {
            let key = keys.len() as u32;
            let letters: Vec<char> = text.chars().take(MOST_CHARS + 1).collect();
            if letters.len() <= MOST_CHARS {
                pairs.extend(letter_pairs(&letters).into_iter().map(|(a, b)| (packed(a, b, letters.len()), key)));
            }
            let numbers = numbers(&text);
            keys.push(Key { text, numbers, rows });
        }
        pairs.sort_unstable();
        let mut fuzzy =
            Fuzzy { keys, pairs: Vec::new(), starts: Vec::new(), postings: Vec::with_capacity(pairs.len()) };
        for (pair, key) in pairs {
            if fuzzy.pairs.last() != Some(&pair) {
                fuzzy.pairs.push(pair);
                fuzzy.starts.push(fuzzy.postings.len() as u32);
            }
            fuzzy.postings.push(key);
        }
        fuzzy.starts.push(fuzzy.postings.len() as u32);
        fuzzy
    }

    /// The keys of so many characters that hold this pair.
    fn holding(&self, a: char, b: char, chars: usize) -> &[u32] {
        match self.pairs.binary_search(&packed(a, b, chars)) {
            Ok(at) => &self.postings[self.starts[at] as usize..self.starts[at + 1] as usize],
            Err(_) => &[],
        }
    }

    /// The items of the one title within the allowed edits of `folded`, when every other title is farther by [`MARGIN`].
    fn nearest(&self, folded: &str) -> Option<&[u32]> {
        let letters: Vec<char> = folded.chars().take(MOST_CHARS + 1).collect();
        let allowed = allowed_edits(letters.len());
        if allowed == 0 {
            return None;
        }
        // Two titles at distance d share all but 3 d of their pairs (a swap of neighbours touches three). Rivals matter up
        // to `reach`, so that is what the search has to find.
        let reach = allowed + MARGIN - 1;
        let mine = letter_pairs(&letters);
        let needed = mine.len().saturating_sub(3 * reach).max(1);
        let mut hits: Vec<u32> = Vec::new();
        for length in letters.len().saturating_sub(reach)..=letters.len() + reach {
            for &(a, b) in &mine {
                hits.extend(self.holding(a, b, length));
            }
        }
        hits.sort_unstable();
        let numbers = numbers(folded);
        let mut best: Option<(usize, u32)> = None;
        let mut second = usize::MAX;
        for same in hits.chunk_by(|a, b| a == b) {
            let key = &self.keys[same[0] as usize];
            if same.len() < needed || key.numbers != numbers {
                continue;
            }
            let distance = strsim::osa_distance(folded, &key.text);
            match best {
                Some((nearest, _)) if distance >= nearest => second = second.min(distance),
                _ => {
                    second = best.map_or(second, |(nearest, _)| nearest);
                    best = Some((distance, same[0]));
                }
            }
        }
        let (distance, key) = best?;
        (distance <= allowed && second >= distance + MARGIN).then(|| self.keys[key as usize].rows.as_slice())
    }
}

/// A pair of letters and a length up to [`MOST_CHARS`] in one number; a char has 21 bits.
fn packed(a: char, b: char, chars: usize) -> u64 {
    u64::from(u32::from(a)) << 43 | u64::from(u32::from(b)) << 22 | chars as u64
}

/// Each pair of neighbouring letters once.
fn letter_pairs(letters: &[char]) -> Vec<(char, char)> {
    let mut pairs: Vec<(char, char)> = letters.windows(2).map(|w| (w[0], w[1])).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// The words with digits: `Rocky 2` is never a slip for `Rocky 3`.
fn numbers(text: &str) -> Box<str> {
    text.split(' ').filter(|w| w.contains(|c: char| c.is_ascii_digit())).collect::<Vec<_>>().join(" ").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, Item};
    use proptest::prelude::*;

    fn catalogue(titles: &[(&str, u16)]) -> Items {
        let mut dataset = Dataset::default();
        for (i, (title, year)) in titles.iter().enumerate() {
            let year = Some(*year).filter(|y| *y != 0);
            dataset.add_item(&Item { id: format!("i{i}"), title: title.to_string(), year, ..Item::default() }).unwrap();
        }
        dataset.items
    }

    #[test]
    fn titles_are_found_whatever_their_dress() {
        let items = catalogue(&[
            ("Outlaw and His Wife;The (a.k.a. You and I) (Berg-Ejvind och hans hustru)", 1918),
            ("Amélie", 2001),
            ("Fast & Furious", 2009),
            ("The Man from U.N.C.L.E.", 2015),
            ("Rocky II", 1979),
            ("Ocean's Eleven", 2001),
            ("Birdman or (The Unexpected Virtue of Ignorance)", 2014),
            ("Matrix, The", 1999),
            ("Dolce vita, La", 1960),
            ("20,000 Leagues Under the Sea", 1954),
            ("Sunset Blvd. (a.k.a. Sunset Boulevard)", 1950),
            ("Malcolm X", 1992),
        ]);
        let grounder = Grounder::new(&items);
        for (written, row) in [
            ("The Outlaw and His Wife", 0),
            ("You and I", 0),
            ("Berg-Ejvind och hans hustru", 0),
            ("amelie", 1),
            ("Fast and Furious", 2),
            ("The Man From UNCLE", 3),
            ("Rocky 2", 4),
            ("Oceans 11", 5),
            ("Birdman", 6),
            ("Birdman (The Unexpected Virtue of Ignorance)", 6),
            ("Birdman: Or (The Unexpected Virtue of Ignorance)", 6),
            ("The Matrix", 7),
            ("Matrix", 7),
            ("La Dolce Vita", 8),
            ("20000 Leagues under the sea", 9),
            ("Sunset Boulevard", 10),
            ("Sunset Blvd", 10),
            ("Malcolm X", 11),
        ] {
            assert_eq!(grounder.find(written, None), Some(row), "{written}");
        }
        for absent in ["", "  ", "Rocky", "Rocky III", "Malcolm", "The", "Matrix Reloaded", "Ocean's Twelve"] {
            assert_eq!(grounder.find(absent, None), None, "{absent}");
        }
    }

    #[test]
    fn remakes_are_told_apart_by_their_year() {
        let items = catalogue(&[
            ("Halloween", 1978),
            ("Halloween", 2018),
            ("Halloween", 0),
            ("The Mask", 1994),
            ("Mask", 1985),
        ]);
        let grounder = Grounder::new(&items);
        assert_eq!(grounder.find("Halloween", Some(1978)), Some(0));
        assert_eq!(grounder.find("Halloween", Some(2019)), Some(1), "a year beside it");
        assert_eq!(grounder.find("Halloween", Some(2007)), Some(2), "then the one without a year");
        assert_eq!(grounder.find("Halloween", None), Some(1), "without a year: the latest");
        assert_eq!(
            Grounder::with_popularity(&items, &[9, 3, 1, 0, 0]).find("Halloween", None),
            Some(0),
            "the most reviewed"
        );
        assert_eq!(grounder.find("The Mask", None), Some(3));
        assert_eq!(grounder.find("Mask", None), Some(4));
        assert_eq!(grounder.find("Mask", Some(1994)), Some(3), "an article left out, the year says which");
        assert_eq!(grounder.find("The Mask", Some(2020)), None, "a remake that is not in the catalogue");
    }

    #[test]
    fn slips_are_forgiven_only_in_long_titles_that_are_alone() {
        let items = catalogue(&[
            ("The Shawshank Redemption", 1994),
            ("Iron Man", 2008),
            ("Iron Man 2", 2010),
            ("Terminator Salvation", 2009),
            ("Terminator Salvations", 2010),
            ("Cats", 2019),
            ("Aliens", 1986),
        ]);
        let grounder = Grounder::new(&items);
        assert_eq!(grounder.find("The Shawshenk Redemtion", None), Some(0));
        assert_eq!(grounder.find("The Shawshenk Redemtion", Some(2010)), None, "the year does not fit");
        assert_eq!(grounder.find("Iron Man 3", None), None, "another number is another film");
        assert_eq!(grounder.find("Terminator Salvatoon", None), None, "two are too near to each other");
        assert_eq!(grounder.find("Cars", None), None, "a short title needs all its letters");
        assert_eq!(grounder.find("Alien", None), None);
    }

    #[test]
    fn a_conversation_names_an_item_by_id_first() {
        let items = catalogue(&[("Heat", 1995), ("Up", 2009)]);
        let grounder = Grounder::new(&items);
        let name = |title: &str, year, item: Option<&str>| ItemName {
            title: title.into(),
            year,
            item: item.map(str::to_string),
        };
        assert_eq!(grounder.find_name(&name("Heat", None, Some("i1"))), Some(1));
        assert_eq!(grounder.find_name(&name("Heat", None, Some("tt9"))), Some(0));
        assert_eq!(grounder.find_name(&name("Heat", Some(1986), Some("tt9"))), None);
        assert_eq!(grounder.find_name(&name("", None, None)), None);
    }

    /// The definition, without an index: every title of the catalogue is compared.
    fn slow_nearest(titles: &[String], folded: &str) -> Option<String> {
        let allowed = allowed_edits(folded.chars().count());
        let mut near: Vec<(usize, &String)> = titles
            .iter()
            .filter(|t| numbers(t) == numbers(folded))
            .map(|t| (strsim::osa_distance(t, folded), t))
            .collect();
        near.sort();
        let best = near.first().filter(|(d, _)| allowed > 0 && *d <= allowed)?;
        near.get(1).is_none_or(|(d, _)| *d >= best.0 + MARGIN).then(|| best.1.clone())
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(title in "(?s).{0,80}", other in "(?s).{0,80}", year in proptest::option::of(any::<u16>())) {
            let grounder = Grounder::new(&catalogue(&[(&other, 1999), ("Heat", 1995)]));
            grounder.find(&title, year);
            normalise(&title);
        }

        #[test]
        fn the_index_finds_what_a_full_scan_finds(
            titles in proptest::collection::btree_set("[ab]{3,5}( [ab]{3,5}){1,4}( [12])?", 1..12),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4usize, prop::sample::select(vec!['a', 'b', 'c'])), 0..4),
            which in any::<prop::sample::Index>(),
        ) {
            let titles: Vec<String> = titles.into_iter().collect();
            let mut text: Vec<char> = which.get(&titles).chars().collect();
            for (at, kind, letter) in edits {
                let at = at.index(text.len());
                match kind {
                    0 => text[at] = letter,
                    1 => { text.remove(at); }
                    2 => text.insert(at, letter),
                    _ => if at > 0 { text.swap(at - 1, at) },
                }
                if text.is_empty() { break }
            }
            let text: String = text.into_iter().collect();
            let index = Fuzzy::new(titles.iter().enumerate().map(|(i, t)| (t.as_str().into(), vec![i as u32])).collect());
            let fast = index.nearest(&text).map(|rows| titles[rows[0] as usize].clone());
            prop_assert_eq!(fast, slow_nearest(&titles, &text));
        }
    }

    #[test]
    fn a_large_catalogue_is_searched_without_a_look_at_every_title() {
        let mut random = crate::math::Random::new(0, b"titles");
        let words: Vec<String> = (0..4000)
            .map(|_| {
                (0..3 + random.below(6)).map(|_| char::from(b"etaoinshrdlucmfwypvbgk"[random.below(22)])).collect()
            })
            .collect();
        let mut dataset = Dataset::default();
        for i in 0..100_000 {
            let title = (0..2 + random.below(4))
                .map(|_| words[random.below(words.len())].as_str())
                .collect::<Vec<_>>()
                .join(" ");
            dataset.add_item(&Item { id: i.to_string(), title, ..Item::default() }).unwrap();
        }
        let items = dataset.items;
        let started = std::time::Instant::now();
        let grounder = Grounder::new(&items);
        let made = started.elapsed();
        let started = std::time::Instant::now();
        let mut found = 0;
        for row in (0..items.len()).step_by(100) {
            // One letter doubled: a slip.
            let mut slip = items.title(row).to_string();
            let at = slip.len() / 2;
            slip.insert(at, slip.chars().nth(at).unwrap_or('e'));
            let hit = grounder.find(&slip, None);
            assert!(hit.is_none_or(|hit| items.title(hit as usize) == items.title(row)), "{slip}");
            found += usize::from(hit.is_some());
        }
        eprintln!("index of 100,000: {made:?}; a slip looked up: {:?}", started.elapsed() / 1000);
        // Slips in titles of 8 letters and more are forgiven, all but those with a near neighbour or an odd gap.
        assert!(found > 850, "{found} of 1000");
    }

    fn real_catalogue(file: &str) -> Option<Items> {
        let path = crate::testing::shared(file)?;
        let rows: Vec<serde_json::Value> = crate::artifact::read_jsonl(&path).unwrap();
        let mut dataset = Dataset::default();
        for (i, row) in rows.iter().enumerate() {
            let title = row["title"].as_str().unwrap().to_string();
            let year = row["year"].as_u64().map(|y| y as u16);
            dataset.add_item(&Item { id: i.to_string(), title, year, ..Item::default() }).unwrap();
        }
        Some(dataset.items)
    }

    #[test]
    fn every_real_item_is_found_by_its_own_name_as_an_answer_would_write_it() {
        for file in ["data/movies/meta.jsonl.gz", "data/conversations/inspired_items.jsonl"] {
            let Some(items) = real_catalogue(file) else { return };
            let grounder = Grounder::new(&items);
            // The item itself, or one of the same title and year (of any year, where the name gives none).
            let same = |found: usize, row: usize| {
                assert_eq!(normalise(items.title(found)), normalise(items.title(row)));
                assert!(items.year(row).is_none_or(|year| items.year(found) == Some(year)), "{}", items.name(row));
            };
            for row in 0..items.len() {
                let (title, year) = (items.title(row), items.year(row));
                let found = grounder.find(title, year).unwrap_or_else(|| panic!("{title:?} {year:?}")) as usize;
                same(found, row);
                // … and through an answer that lists it.
                let answer = format!("1. {}\n2. {}", items.name(row), items.name(row));
                let parsed = crate::titles::parse_titles(&answer);
                assert_eq!(parsed.len(), 2, "{answer}");
                let found = grounder.find(&parsed[0].title, parsed[0].year);
                let found = found.unwrap_or_else(|| panic!("{title:?} {year:?} read as {:?}", parsed[0])) as usize;
                same(found, row);
            }
        }
    }
}
