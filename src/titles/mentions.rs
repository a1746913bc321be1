//! Which catalogue items a text names: titles found in running words.
//!
//! Words are lower-cased and stripped of accents and punctuation; at each place the longest title wins. A year behind a
//! title (`Heat (1995)`) must fit it within a year. A title that could be plain speech (`It`, `Her`, `Get Out`: one or two
//! words, all of them common; a number) counts only with a year, in quotes, capitalised where a sentence would not be, or
//! where the words around it speak of films ([`super::context`]).
//!
//! Titles are also found as they are spoken: without an article, the series alone (`Mad Max`), joined (`Spiderman`, `MASH`),
//! in another case (`Иронию судьбы`), and in scripts without spaces in the midst of other letters.

use super::context::{
    film_before, is_list_gap, is_quote, is_quoted, no_amount, no_count, sentence_ended, stands_out_unspaced,
};
use super::edition::Editions;
use super::normal::{ARTICLES, moved_article};
use super::words::{Script, Word, words};
use crate::dataset::Items;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Words that say nothing by themselves; beside these, words that stand uncapitalised in descriptions are common.
const PLAIN: &str = "a about after again all am an and any are as at away back be because been before best big but by can come \
    could day did do does down enough ever family first for from fun get girl give go gone good got great had happy has have \
    he heat help her here hero hi high him his hot house how i if in into is it its just kids know last life like little long \
    look lost love made man me more movie much my never new night no not now of off old on once one only open or other our \
    out over people please real red right room run same saw say scary seen she show sing small so some soon speed stay still \
    super take taken than thanks that the their them then there they thing this three time to too traffic true two up us loved liked enjoyed watched \
    very war was watch way we well were what when where who why will with woman wonder work would yes you your";

/// The fewest catalogue descriptions in which a word stands uncapitalised for it to be common.
const COMMON_IN: usize = 2;

/// A title found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mention {
    /// Row in the catalogue.
    pub item: u32,
    /// First byte of the title in the text.
    pub start: usize,
    /// Byte after its last.
    pub end: usize,
}

/// How the words at the end of a path spell the titles that end there; the first is the one preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Spelling {
    Whole,
    /// Written in one word: `spiderman`.
    Joined,
    /// By the stems of its words.
    Stems,
    /// The series alone.
    Short,
    /// The id of an item without a title.
    Id,
}

#[derive(Debug, Clone)]
struct End {
    items: Vec<u32>,
    /// The best by which any item reaches this place; only these are kept.
    spelling: Spelling,
}

/// A title that the words at some place spell.
struct Hit<'a> {
    /// Words of the text.
    length: usize,
    end: &'a End,
    /// The words are not as the title has them, but in another case.
    inflected: bool,
}

/// The titles of a catalogue, as a trie of words.
#[derive(Debug)]
pub(super) struct Mentions {
    editions: Arc<Editions>,
    words: HashMap<String, u32>,
    edges: HashMap<(u32, u32), u32>,
    ends: HashMap<u32, End>,
    common: HashSet<String>,
}

/// Words of one title that may be written as one, or of one that may be written as several.
const MOST_JOINED: usize = 8;
/// Letters of a joined title that could not be another word by chance.
const TELLING_JOINED: usize = 7;
/// Digits of an id that cannot well be a number in plain speech.
const TELLING_DIGITS: usize = 5;

/// The article of the dictionary for one in another case: `den Untergang`, `du Bonheur`.
fn other_articles(word: &str) -> &'static [&'static str] {
    match word {
        "den" | "dem" | "des" => &["der", "das", "die"],
        "der" => &["die"],
        "einen" | "einem" | "eines" | "einer" => &["ein", "eine"],
        "du" | "au" => &["le"],
        "aux" => &["les"],
        "del" | "al" => &["el", "il"],
        "nel" | "sul" | "dal" => &["il"],
        "della" | "nella" | "sulla" => &["la"],
        _ => &[],
    }
}

/// A title as written, as spoken, and shortened.
fn spellings(title: &str) -> Vec<(Vec<String>, Spelling)> {
    let mut out: Vec<(Vec<String>, Spelling)> = Vec::new();
    let bare = moved_article(title.split(" (").next().unwrap_or(title));
    // `Birdman or (The Unexpected Virtue of Ignorance)`, `Dr. Strangelove or: How …`
    let without_or = |text: &str| {
        let text = text.trim_end();
        let cut = text.len().saturating_sub(3);
        match text.get(cut..) {
            Some(tail) if tail.eq_ignore_ascii_case(" or") && cut > 0 => text[..cut].to_string(),
            Some(_) | None => text.to_string(),
        }
    };
    let bare = if bare.len() < title.len() { without_or(&bare) } else { bare };
    let bare = bare.replace(';', ", ");
    let aka = title.split('(').skip(1).filter_map(|inside| {
        let inside = inside.split(')').next()?.trim();
        let head = inside.get(..7).unwrap_or(inside).to_ascii_lowercase();
        let known = ["a.k.a. ", "a.k.a ", "aka "].iter().find(|mark| head.starts_with(**mark))?;
        Some(moved_article(inside.get(known.len()..)?))
    });
    let names: Vec<String> = std::iter::once(bare.clone()).chain(aka).collect();
    for name in &names {
        let found = words(name);
        let texts = |words: &[Word]| words.iter().map(|w| w.text.clone()).collect::<Vec<_>>();
        let full = texts(&found);
        if full.len() > 2 && ARTICLES.iter().any(|a| a.trim_end_matches('\'') == full[0]) {
            out.push((full[1..].to_vec(), Spelling::Whole));
        }
        let stems: Vec<String> = found.iter().map(|w| w.stem().to_string()).collect();
        if stems != full {
            out.push((stems, Spelling::Stems));
        }
        if let Some(joined) = joined(name, &found) {
            out.push((joined, Spelling::Joined));
        }
        out.push((full, Spelling::Whole));
    }
    if let Some((series, _)) = bare.split_once(": ").or_else(|| bare.split_once(" - ")) {
        let series = without_or(series);
        let found = words(&series);
        let is_whole = series.len() + 1 < bare.split(": ").next().unwrap_or("").len();
        if found.len() >= 2 || is_whole {
            let spelling = if is_whole { Spelling::Whole } else { Spelling::Short };
            out.push((found.into_iter().map(|w| w.text).collect(), spelling));
        }
    }
    out
}

/// Marks within a name that people leave out.
fn is_joint(gap: &str) -> bool {
    let mut letters = gap.chars();
    matches!(
        (letters.next(), letters.next()),
        (Some('-' | '·' | '•' | '*' | '.' | ':' | '/' | '‐' | '‑' | '–' | '・' | '+'), None)
    )
}

/// The words of a name with what is joined by marks in one word: `Spider-Man: No Way Home` → `spiderman no way home`. None:
/// nothing is, or it would be too short to be told from other words.
fn joined(name: &str, found: &[Word]) -> Option<Vec<String>> {
    let mut out: Vec<String> = Vec::new();
    let mut count = 0;
    for (n, word) in found.iter().enumerate() {
        let glued = n > 0 && word.script == Script::Spaced && is_joint(&name[found[n - 1].end..word.start]);
        match out.last_mut().filter(|_| glued) {
            Some(last) => {
                last.push_str(&word.text);
                count += 1;
            }
            None => out.push(word.text.clone()),
        }
    }
    let long = out.iter().all(|w| w.chars().count() > 2) || out.len() > 1;
    (count > 0 && long).then_some(out)
}

impl Mentions {
    /// About how many bytes of memory it takes; hash tables are counted at a third more than their entries.
    pub fn bytes(&self) -> u64 {
        let texts = |n: usize, bytes: usize| bytes + n * (size_of::<String>() + 4);
        let words = texts(self.words.len(), self.words.keys().map(String::len).sum());
        let common = texts(self.common.len(), self.common.iter().map(String::len).sum());
        let ends: usize = self.ends.values().map(|end| size_of::<End>() + 4 + 4 * end.items.len()).sum();
        let tables = words + common + ends + self.edges.len() * 12;
        (tables + tables / 3) as u64
    }
    /// The titles of `items`.
    pub fn new(items: &Items, editions: Arc<Editions>) -> Mentions {
        let mut mentions = Mentions {
            editions,
            words: HashMap::new(),
            edges: HashMap::new(),
            ends: HashMap::new(),
            common: common_words(items),
        };
        for item in 0..items.len() {
            if items.title(item).trim().is_empty() {
                let words: Vec<String> = words(items.id(item)).into_iter().map(|w| w.text).collect();
                mentions.insert(&words, item as u32, Spelling::Id);
                continue;
            }
            for (words, spelling) in spellings(items.title(item)) {
                mentions.insert(&words, item as u32, spelling);
            }
        }
        mentions
    }

    fn insert(&mut self, words: &[String], item: u32, spelling: Spelling) {
        if words.is_empty() {
            return;
        }
        let mut node = 0;
        for word in words {
            let next_word = self.words.len() as u32;
            let word = match self.words.get(word.as_str()) {
                Some(word) => *word,
                None => *self.words.entry(word.clone()).or_insert(next_word),
            };
            let next_node = self.edges.len() as u32 + 1;
            node = *self.edges.entry((node, word)).or_insert(next_node);
        }
        match self.ends.get_mut(&node) {
            // A whole title takes the place of other spellings.
            Some(end) if spelling < end.spelling => *end = End { items: vec![item], spelling },
            // Items come in the order of their rows, so that only the last one can be this one.
            Some(end) if spelling == end.spelling && end.items.last() != Some(&item) => end.items.push(item),
            Some(_) => {}
            None => {
                self.ends.insert(node, End { items: vec![item], spelling });
            }
        }
    }

    fn step(&self, node: u32, word: &str) -> Option<u32> {
        self.edges.get(&(node, *self.words.get(word)?)).copied()
    }

    /// The titles in `text`, in order, none overlapping another.
    pub fn find(&self, text: &str) -> Vec<Mention> {
        let text = Text::of(text);
        let mut found: Vec<Mention> = Vec::new();
        let mut at = 0;
        while at < text.words.len() {
            match self.longest(&text, at, found.last(), true) {
                Some((length, item)) => {
                    let (start, end) = (text.words[at].start, text.words[at + length - 1].end);
                    found.push(Mention { item, start, end });
                    at += length;
                }
                None => at += 1,
            }
        }
        found
    }

    /// The longest title that begins at word `at` and stands out: its words and its item. `last`: the mention before it;
    /// `ahead`: whether what follows may be looked at for one.
    fn longest(&self, text: &Text, at: usize, last: Option<&Mention>, ahead: bool) -> Option<(usize, u32)> {
        self.hits(text, at).into_iter().find_map(|hit| {
            let after = at + hit.length;
            let year = text.words.get(after).and_then(|t| year_behind(text.text, text.words[after - 1].end, t));
            let item = self.choose(hit.end, year)?;
            (year.is_some() || self.stands_out(text, at, &hit, last, ahead)).then_some((hit.length, item))
        })
    }

    /// The titles that the words from `at` on spell, the longest first.
    fn hits<'a>(&'a self, text: &Text, at: usize) -> Vec<Hit<'a>> {
        let mut hits = Vec::new();
        self.walk(text, at, &mut |length, node, inflected| {
            // An article alone is no title in another case.
            let article = length == 1 && inflected && text.words[at].stem.is_none();
            if let Some(end) = self.ends.get(&node).filter(|_| !article) {
                hits.push(Hit { length, end, inflected });
            }
        });
        hits.sort_by_key(|hit| (std::cmp::Reverse(hit.length), hit.inflected, hit.end.spelling));
        hits
    }

    /// Walks every path that the words from `at` on may take; tells the words walked, the node, and whether they are in
    /// another case than the title's.
    fn walk(&self, text: &Text, at: usize, tell: &mut dyn FnMut(usize, u32, bool)) {
        let words = &text.words[at..];
        let mut on = |from: usize, mut node: u32, stems: bool| {
            let mut inflected = false;
            // Several words of the text as one of the title, or an article in another case.
            if from > 0 {
                tell(from, node, from == 1);
            }
            for (n, word) in words.iter().enumerate().skip(from) {
                let next = if stems { self.step(node, word.stem()) } else { self.step(node, &word.text) };
                // `Heat's ending`: the title ends before the ending of the possessive.
                let slice = &text.text[word.start..word.end];
                if !stems
                    && (slice.ends_with("'s") || slice.ends_with("’s"))
                    && let Some(bare) = word.text.strip_suffix('s')
                    && let Some(owner) = self.step(node, bare)
                {
                    tell(n + 1, owner, inflected);
                }
                let Some(next) = next else { break };
                inflected |= stems && word.stem.is_some();
                node = next;
                tell(n + 1, node, inflected);
            }
        };
        on(0, 0, false);
        let Some(first) = words.first() else { return };
        if text.has_stems {
            on(0, 0, true);
        }
        for article in other_articles(&first.text) {
            if let Some(node) = self.step(0, article) {
                on(1, node, false);
            }
        }
        // `Spider-Man` for a title `Spiderman`.
        let mut joined = first.text.clone();
        for (n, pair) in words.windows(2).enumerate().take(MOST_JOINED - 1) {
            if !is_joint(&text.text[pair[0].end..pair[1].start]) {
                break;
            }
            joined.push_str(&pair[1].text);
            if let Some(node) = self.step(0, &joined) {
                on(n + 2, node, false);
            }
        }
    }

    /// The first byte of `text` from which on a title may still be under way: what comes next may make, lengthen or rule out
    /// a title that begins there, and none that begins before. For text that is being written.
    pub fn settled(&self, text: &str) -> usize {
        let text = Text::of(text);
        let Some(last) = text.words.len().checked_sub(1) else { return text.text.len() };
        // The last word may go on; whether a title ends before it depends on it. And what the rest of a sentence decides is
        // open until the sentence ends.
        let open = |at: &usize| {
            // All in capitals so far: whether these stand out is told by what follows.
            let own = &text.words[*at];
            if text.shouted && text.text[own.start..own.end].chars().any(char::is_uppercase) {
                return true;
            }
            let joint = |p: &[Word]| is_joint(&text.text[p[0].end..p[1].start]);
            let mut reached = last - at < MOST_JOINED && text.words[*at..=last].windows(2).all(joint);
            let mut undecided = false;
            self.walk(&text, *at, &mut |length, node, inflected| {
                reached |= at + length >= last;
                undecided |= self.ends.get(&node).is_some_and(|end| {
                    let words = &text.words[*at..at + length];
                    let by_context = words.iter().any(|w| w.script != Script::Spaced)
                        || words.iter().all(Word::is_number)
                        || inflected
                        || matches!(end.spelling, Spelling::Joined | Spelling::Id);
                    by_context && !sentence_ended(text.text, words[length - 1].end)
                });
            });
            reached || undecided
        };
        let at = (0..last).find(open).unwrap_or(last);
        // A quotation mark in front belongs to the title.
        text.text[..text.words[at].start].trim_end_matches(|c| is_quote(c) || matches!(c, '\'' | '’')).len()
    }

    /// The item meant at the end of a title, if any.
    fn choose(&self, end: &End, year: Option<u16>) -> Option<u32> {
        // The name of a series means a film only where the catalogue has but one of it.
        if end.spelling == Spelling::Short && end.items.len() > 1 && year.is_none() {
            return None;
        }
        self.editions.choose(end.items.iter().copied(), year)
    }

    /// True when the words at `at` cannot well be plain speech or a part of a longer name.
    fn stands_out(&self, text: &Text, at: usize, hit: &Hit, last: Option<&Mention>, ahead: bool) -> bool {
        let length = hit.length;
        let (all, shouted) = (&text.words, text.shouted);
        let words = &all[at..at + length];
        let (before, after) = (&text.text[..words[0].start], &text.text[words[length - 1].end..]);
        if is_quoted(before, after) {
            return true;
        }
        if words.iter().any(|w| w.script != Script::Spaced) {
            return stands_out_unspaced(text.text, all, at, length);
        }
        let begins = before.trim_end().chars().next_back().is_none_or(|c| matches!(c, '.' | '!' | '?' | ':' | ')'))
            || before.trim_end_matches([' ', '\t']).ends_with('\n');
        // `I` is a capital in plain speech too.
        let capital = words.iter().all(|t| t.capital && t.text != "i");
        let named = capital && !shouted && !begins;
        let digits = words.iter().all(Word::is_number);
        // A turn that is nothing but the title: what people reply to "which film did you like?".
        let alone = |text: &str| !text.chars().any(char::is_alphanumeric);
        if (capital || digits) && !shouted && alone(before) && alone(after) {
            return true;
        }
        if hit.end.spelling == Spelling::Id {
            let slice = &text.text[words[0].start..words[length - 1].end];
            if slice.contains(char::is_whitespace) {
                return false;
            }
            let telling = slice.bytes().any(|b| b.is_ascii_digit()) && slice.chars().any(char::is_alphabetic);
            return telling && slice.len() > 1
                || digits
                    && (slice.len() >= TELLING_DIGITS && no_amount(text.text, all, at)
                        || self.number(text, at, length, last, ahead))
                || !digits && named;
        }
        if digits {
            return self.number(text, at, length, last, ahead);
        }
        let letters = words.iter().map(|w| w.text.chars().count()).sum::<usize>();
        let whole_capitals = || {
            let slice = &text.text[words[0].start..words[length - 1].end];
            !shouted && slice.chars().filter(|c| c.is_alphabetic()).all(char::is_uppercase)
        };
        // `potato mash` is no `M*A*S*H`.
        if hit.end.spelling == Spelling::Joined && length == 1 && letters < TELLING_JOINED {
            return named || whole_capitals() || film_before(text.text, all, at);
        }
        // One word in another case, and not a capital: `с братом`.
        if hit.inflected && length == 1 && !named {
            return film_before(text.text, all, at) && capital;
        }
        let joined = |from: usize, to: usize| matches!(text.text.get(from..to), Some(" " | "-"));
        let next = all.get(at + length).filter(|t| joined(words[length - 1].end, t.start));
        let previous = at.checked_sub(1).map(|p| &all[p]).filter(|t| joined(t.end, words[0].start));
        // `Despicable Me 3`: another film of the series.
        let numbered = |t: &Word| t.text.len() <= 2 && t.is_number();
        let telling = words.iter().filter(|t| !self.common.contains(&t.text)).count();
        if next.is_some_and(numbered) {
            return false;
        }
        // `Rush Hour`, `Red October`, `Jack Black`: one word of a name that goes on.
        let core = words.iter().filter(|t| !matches!(t.text.as_str(), "the" | "a" | "an")).count();
        let part = next.is_some_and(|t| t.capital && t.text != "i")
            || previous.is_some_and(|t| t.capital && !PLAIN.split_whitespace().any(|plain| plain == t.text));
        if (core <= 1 || telling == 0) && length <= 2 && part && !shouted {
            return false;
        }
        if length > 2 || telling > 0 {
            return true;
        }
        capital && !shouted && (!begins || length > 1)
    }

    /// True when a bare number is a title: `I loved 1917`, `Heat, 300 and Alien`; not `in 1917`, `300 people`.
    fn number(&self, text: &Text, at: usize, length: usize, last: Option<&Mention>, ahead: bool) -> bool {
        let all = &text.words;
        if !ahead || !no_amount(text.text, all, at) || !no_count(text.text, all, at, length) {
            return false;
        }
        if film_before(text.text, all, at) || last.is_some_and(|m| is_list_gap(&text.text[m.end..all[at].start])) {
            return true;
        }
        // The next title of a list, perhaps behind an `and`.
        let end = all[at + length - 1].end;
        (at + length..all.len().min(at + length + 2)).any(|next| {
            is_list_gap(&text.text[end..all[next].start]) && self.longest(text, next, None, false).is_some()
        })
    }
}

/// A text with its words.
struct Text<'a> {
    text: &'a str,
    words: Vec<Word>,
    has_stems: bool,
    /// All in capitals: they tell nothing.
    shouted: bool,
}

impl<'a> Text<'a> {
    fn of(text: &'a str) -> Text<'a> {
        let words = words(text);
        let has_stems = words.iter().any(|w| w.stem.is_some());
        let shouted = text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase);
        Text { text, words, has_stems, shouted }
    }
}

/// The year that stands right behind a title: `Heat (1995)`, `Heat 1995`.
fn year_behind(text: &str, end: usize, token: &Word) -> Option<u16> {
    let between = text.get(end..token.start)?;
    let year: u16 = token.text.parse().ok().filter(|y| (1880..2100).contains(y))?;
    (token.text.len() == 4
        && between
            .chars()
            .all(|c| matches!(c, ' ' | '(' | ',' | '[' | '"' | '（' | '「' | '」' | '》' | '』' | '”' | '*')))
    .then_some(year)
}

fn common_words(items: &Items) -> HashSet<String> {
    let mut seen_in: HashMap<String, usize> = HashMap::new();
    for item in 0..items.len() {
        let words: HashSet<String> =
            words(items.description(item)).into_iter().filter(|t| !t.capital).map(|t| t.text).collect();
        for word in words {
            *seen_in.entry(word).or_default() += 1;
        }
    }
    let plain = PLAIN.split_whitespace().map(str::to_string);
    seen_in.into_iter().filter(|(_, n)| *n >= COMMON_IN).map(|(word, _)| word).chain(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, Item};

    fn mentions_of(items: &Items) -> Mentions {
        Mentions::new(items, Arc::new(Editions::new(items, &[])))
    }

    fn rows(mentions: &Mentions, text: &str) -> Vec<u32> {
        let rows: std::collections::BTreeSet<u32> = mentions.find(text).into_iter().map(|m| m.item).collect();
        rows.into_iter().collect()
    }

    fn catalogue() -> (Dataset, Mentions) {
        let mut dataset = Dataset::default();
        for (n, (title, year)) in [
            ("It", 1990),
            ("It", 2017),
            ("Get Out", 2017),
            ("The Matrix", 1999),
            ("Moana", 2016),
            ("Star Wars: Episode IV - A New Hope", 1977),
            ("Star Wars: Episode V - The Empire Strikes Back", 1980),
            ("Amélie", 2001),
            ("Usual Suspects, The", 1995),
            ("Alien", 1979),
            ("Alien Resurrection", 1997),
            ("Her", 2013),
            ("Mad Max: Fury Road", 2015),
        ]
        .into_iter()
        .enumerate()
        {
            let item = Item { id: format!("m{n}"), title: title.into(), year: Some(year), ..Item::default() };
            dataset.add_item(&item).unwrap();
        }
        let mentions = mentions_of(&dataset.items);
        (dataset, mentions)
    }

    /// Each of many items of one title was looked for among those before it: this took minutes.
    #[test]
    fn a_hundred_thousand_items_of_one_title_are_taken_in_one_pass() {
        let mut dataset = Dataset::default();
        for n in 0..100_000 {
            dataset.add_item(&Item { id: format!("m{n}"), title: "Moana Returns".into(), ..Item::default() }).unwrap();
        }
        let mentions = mentions_of(&dataset.items);
        let listed: Vec<usize> = mentions.ends.values().map(|end| end.items.len()).collect();
        assert!(listed.contains(&100_000), "{listed:?}");
        assert_eq!(mentions.find("I loved Moana Returns").len(), 1);
    }

    #[test]
    fn plain_speech_is_not_taken_for_titles() {
        let (_, mentions) = catalogue();
        for text in
            ["I love it", "It was fun.", "I told her to get out", "Her taste is like mine", "GET OUT NOW", "", "1999"]
        {
            assert!(mentions.find(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_longer_name_is_not_taken_for_a_title() {
        let (_, mentions) = catalogue();
        for text in ["I saw Alien Covenant", "with Jane Her", "Moana 2 is out", "(2018) It was good", "Cowboys-Alien"] {
            assert!(mentions.find(text).is_empty(), "{text}");
        }
        assert_eq!(rows(&mentions, "I saw Alien, then Moana!"), [4, 9]);
        assert_eq!(rows(&mentions, "Loved Moana"), [4]);
    }

    #[test]
    fn titles_are_found_by_year_quotes_capitals_and_rare_words() {
        let (_, mentions) = catalogue();
        for (text, expected) in [
            ("have you seen It (2017) ?", vec![1]),
            ("It (1990) scared me", vec![0]),
            ("I saw \"It\" yesterday", vec![1]),
            ("we watched Her together", vec![11]),
            ("I liked Get Out", vec![2]),
            ("something like moana please", vec![4]),
            ("The matrix and AMELIE", vec![3, 7]),
            ("the usual suspects", vec![8]),
            ("alien resurrection, not Alien (1979)", vec![9, 10]),
            ("Star Wars is great", vec![]),
            ("star wars: episode v - the empire strikes back", vec![6]),
            ("I adored Mad Max.", vec![12]),
            ("Alien (2050)", vec![]),
        ] {
            assert_eq!(rows(&mentions, text), expected, "{text}");
        }
    }

    #[test]
    fn the_place_of_a_mention_is_its_bytes() {
        let (_, mentions) = catalogue();
        let text = "über Amélie (2001)!";
        let found = mentions.find(text);
        assert_eq!(found.len(), 1);
        assert_eq!(&text[found[0].start..found[0].end], "Amélie");
    }

    fn mentions_among(titles: &[(&str, u16)]) -> Mentions {
        let mut dataset = Dataset::default();
        for (n, (title, year)) in titles.iter().enumerate() {
            let year = Some(*year).filter(|y| *y != 0);
            dataset.add_item(&Item { id: format!("m{n}"), title: (*title).into(), year, ..Item::default() }).unwrap();
        }
        mentions_of(&dataset.items)
    }

    fn check(mentions: &Mentions, cases: &[(&str, &[u32])]) {
        for (text, expected) in cases {
            assert_eq!(rows(mentions, text), *expected, "{text}");
        }
    }

    fn wide() -> Mentions {
        mentions_among(&[
            ("千と千尋の神隠し", 2001),
            ("となりのトトロ", 1988),
            ("リング", 1998),
            ("呪怨", 2002),
            ("霸王别姬", 1993),
            ("英雄", 2002),
            ("无间道", 2002),
            ("기생충", 2019),
            ("올드보이", 2003),
            ("살인의 추억", 2003),
            ("พี่มาก..พระโขนง", 2013),
            ("Shall we ダンス?", 1996),
            ("七人の侍", 1954),
            ("家族", 2001),
        ])
    }

    /// A film that a user saw yesterday came back at rank 1.
    #[test]
    fn titles_in_running_japanese_chinese_korean_and_thai_are_found() {
        check(
            &wide(),
            &[
                ("千と千尋の神隠しが好きです。似た映画はありますか", &[0]),
                ("「千と千尋の神隠し」が好きです", &[0]),
                ("となりのトトロを昨日見ました", &[1]),
                ("昨日、となりのトトロを見た", &[1]),
                ("リングを見て怖かった", &[2]),
                ("呪怨を見た", &[3]),
                ("『英雄』は良かった", &[5]),
                ("我喜欢霸王别姬这部电影", &[4]),
                ("我喜欢《霸王别姬》这部电影", &[4]),
                ("我昨天看了无间道，很好看", &[6]),
                ("我看过英雄", &[5]),
                ("기생충을 봤어요", &[7]),
                ("기생충은 재미있었어요. 올드보이도 좋아요", &[7, 8]),
                ("올드 보이 같은 영화", &[8]),
                ("살인의추억처럼 무서운 영화", &[9]),
                ("ฉันชอบพี่มากพระโขนงมาก", &[10]),
                ("Shall we ﾀﾞﾝｽ?を見た", &[11]),
                ("七人の侍（1954）と羅生門", &[12]),
                ("千と千尋の神隠しとトトロと七人の侍", &[0, 12]),
            ],
        );
    }

    #[test]
    fn words_of_scripts_without_spaces_are_not_taken_for_titles() {
        check(
            &wide(),
            &[
                ("イヤリングを見た", &[]),
                ("リングを買った", &[]),
                ("彼は英雄的な人だ", &[]),
                ("家族で映画を見た", &[]),
                ("我的家族很大", &[]),
                ("他是我们的英雄", &[]),
                ("기생충학을 공부해요", &[]),
                ("벌레나 기생충 무서워요", &[]),
                ("ฉันชอบหนังมาก", &[]),
                ("侍が七人いる", &[]),
            ],
        );
    }

    #[test]
    fn russian_titles_are_found_in_every_case() {
        let mentions = mentions_among(&[
            ("Ирония судьбы, или С лёгким паром!", 1975),
            ("Ирония судьбы", 1976),
            ("Брат", 1997),
            ("Иди и смотри", 1985),
            ("Бриллиантовая рука", 1969),
            ("Тіні забутих предків", 1965),
        ]);
        check(
            &mentions,
            &[
                ("Я люблю Иронию судьбы", &[1]),
                ("после Иронии судьбы", &[1]),
                ("Мне понравился Брат, что ещё?", &[2]),
                ("что-то вроде Брата", &[2]),
                ("Я смотрел фильм Иди и смотри вчера", &[3]),
                ("недавно видел Бриллиантовую руку", &[4]),
                ("мы говорили о бриллиантовой руке", &[4]),
                ("Я дивився Тіні забутих предків", &[5]),
                ("мы с братом ходили в кино", &[]),
                ("Братья пришли", &[]),
                ("ирония это хорошо", &[]),
                ("дай мне руку", &[]),
            ],
        );
    }

    #[test]
    fn titles_written_in_one_word_or_in_several_are_found() {
        let mentions = mentions_among(&[
            ("Spider-Man", 2002),
            ("X-Men", 2000),
            ("WALL·E", 2008),
            ("M*A*S*H", 1970),
            ("Se7en", 1995),
            ("Birdman or (The Unexpected Virtue of Ignorance)", 2014),
            ("Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb", 1964),
            ("Sunset Blvd. (a.k.a. Sunset Boulevard)", 1950),
            ("Spider-Man: No Way Home", 2021),
            ("Batman", 1989),
            ("Face/Off", 1997),
            ("Robocop", 1987),
        ]);
        check(
            &mentions,
            &[
                ("i like spiderman", &[0]),
                ("Spiderman was great", &[0]),
                ("spider man and batman", &[0, 9]),
                ("I loved spiderman no way home", &[8]),
                ("I saw X Men, then Xmen", &[1]),
                ("movies like xmen", &[1]),
                ("i loved walle", &[2]),
                ("WALL E is cute", &[2]),
                ("Wall-E is cute", &[2]),
                ("We watched MASH together", &[3]),
                ("we watched mash", &[3]),
                ("M.A.S.H. is old", &[3]),
                ("Se7en was dark", &[4]),
                ("I adored Birdman", &[5]),
                ("Birdman or (The Unexpected Virtue of Ignorance)", &[5]),
                ("Dr. Strangelove is funny", &[6]),
                ("have you seen sunset boulevard", &[7]),
                ("FaceOff or faceoff", &[10]),
                ("I like Robo-Cop", &[11]),
                ("bangers and mash for dinner", &[]),
                ("she is a batwoman", &[]),
                ("the wall he built", &[]),
            ],
        );
    }

    #[test]
    fn german_french_and_spanish_articles_may_be_in_another_case() {
        let mentions = mentions_among(&[
            ("Der Untergang", 2004),
            ("Das Leben der Anderen", 2006),
            ("Le Bonheur", 1965),
            ("El laberinto del fauno", 2006),
            ("L'Avventura", 1960),
            ("Dolce vita, La", 1960),
            ("Der Himmel über Berlin", 1987),
        ]);
        check(
            &mentions,
            &[
                ("ich habe den Untergang gesehen", &[0]),
                ("Kennst du Das Leben der Anderen?", &[1]),
                ("ein Film wie Leben der Anderen", &[1]),
                ("au sujet du Bonheur de Varda", &[2]),
                ("me gustó el laberinto del fauno", &[3]),
                ("algo como laberinto del fauno", &[3]),
                ("I saw L’avventura", &[4]),
                ("la dolce vita", &[5]),
                ("dem Himmel über Berlin", &[6]),
                ("der Untergang", &[0]),
                ("das Leben ist schön", &[]),
            ],
        );
    }

    #[test]
    fn bare_numbers_are_titles_where_the_words_around_speak_of_films() {
        let mentions = mentions_among(&[
            ("1917", 2019),
            ("300", 2006),
            ("1408", 2007),
            ("21", 2008),
            ("Alien", 1979),
            ("2012", 2009),
        ]);
        check(
            &mentions,
            &[
                ("I loved 1917", &[0]),
                ("I loved 1917.", &[0]),
                ("have you seen 300?", &[1]),
                ("movies like 1917", &[0]),
                ("something like 1408 or 300", &[1, 2]),
                ("the movie 300 was fun", &[1]),
                ("\"300\" was fun", &[1]),
                ("'300' was fun", &[1]),
                ("Alien, 300 and 1917", &[0, 1, 4]),
                ("300, Alien", &[1, 4]),
                ("I watched 21 yesterday and liked it", &[3]),
                ("I enjoyed 2012, too", &[5]),
                ("my favorite movie is 1917", &[0]),
                ("1917 (2019) please", &[0]),
                ("in 1917", &[]),
                ("It was made in 2012", &[]),
                ("a film from 2012", &[]),
                ("films of 1917", &[]),
                ("300 people", &[]),
                ("I saw 300 people", &[]),
                ("it cost 300", &[]),
                ("I paid $300", &[]),
                ("I watched 300 movies", &[]),
                ("I have seen 21 of them", &[]),
                ("seen 21 times", &[]),
                ("since 2012 I like films", &[]),
                ("I am 21", &[]),
                ("I liked 300 of these", &[]),
                ("something from 2012 or 1917", &[]),
                ("I loved 1,408 of them", &[]),
                ("watched 21%", &[]),
                ("like 300 bucks", &[]),
                ("at 21:00 we watched Alien", &[4]),
            ],
        );
    }

    #[test]
    fn items_without_titles_are_found_by_their_ids() {
        let mut dataset = Dataset::default();
        for id in ["m0", "B000-12", "12345678", "42", "drama", "tt0113277"] {
            dataset.add_item(&Item { id: id.into(), ..Item::default() }).unwrap();
        }
        let mentions = mentions_of(&dataset.items);
        check(
            &mentions,
            &[
                ("I liked m0 and M0", &[0]),
                ("B000-12 was good", &[1]),
                ("b000 12", &[]),
                ("I bought 12345678", &[2]),
                ("I loved 42", &[3]),
                ("I have 42 of them", &[]),
                ("some drama please", &[]),
                ("I liked \"drama\"", &[4]),
                ("like tt0113277, please", &[5]),
            ],
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_places_are_in_order(
            text in "\\PC{0,60}|(It|Her|the|Matrix|&|é|\"|\\(2017\\)| |\n){0,30}|(リング|を|見|英雄|기생충|을| |300|loved|den|Брат|а|-|M|l'|·|。|\u{309b}){0,30}"
        ) {
            let mentions = every_kind();
            let mut last = 0;
            for m in mentions.find(&text) {
                proptest::prop_assert!(m.start >= last && text.get(m.start..m.end).is_some());
                last = m.end;
            }
        }
    }

    /// One title of each kind.
    fn every_kind() -> Mentions {
        mentions_among(&[
            ("It", 1990),
            ("It", 2017),
            ("The Matrix", 1999),
            ("Her", 2013),
            ("リング", 1998),
            ("英雄", 2002),
            ("千と千尋の神隠し", 2001),
            ("기생충", 2019),
            ("300", 2006),
            ("1917", 2019),
            ("Alien", 1979),
            ("Der Untergang", 2004),
            ("Брат", 1997),
            ("Ирония судьбы", 1976),
            ("M*A*S*H", 1970),
            ("Spider-Man", 2002),
            ("Robocop", 1987),
            ("", 0),
        ])
    }

    #[test]
    fn a_text_in_any_script_that_is_being_written_is_settled_only_where_nothing_can_change() {
        let mentions = every_kind();
        for text in [
            "リングと英雄の話です。リングを見た。英雄を見た人と、千と千尋の神隠しが好き。",
            "기생충을 알아요. 기생충을 봤어요, 그리고 기생충학. The Matrix is next.",
            "You may like 300, Alien and 1917. In 1917 300 people saw 300. I watched 1917 movies.",
            "Try den Untergang or MASH, mash and Spider-Man, Robo-Cop and Spiderman; m17 is one, too.",
            "Я видел Брата и Иронию судьбы. С братом, после Иронии судьбы, видел Брат.",
        ] {
            let last = mentions.find(text);
            assert!(last.len() > 1, "{text}: {last:?}");
            let mut before = 0;
            for (end, _) in text.char_indices().skip(1).chain([(text.len(), ' ')]) {
                let written = &text[..end];
                let settled = mentions.settled(written);
                assert!(
                    settled >= before && written.is_char_boundary(settled),
                    "{written:?}: {settled} after {before}"
                );
                before = settled;
                let until = |found: Vec<Mention>| found.into_iter().filter(|m| m.start < settled).collect::<Vec<_>>();
                assert_eq!(
                    until(mentions.find(written)),
                    until(last.clone()),
                    "{written:?} is settled up to {settled}"
                );
            }
        }
    }

    /// Whatever is written later, the titles of what is settled stay what they are.
    #[test]
    fn a_text_that_is_being_written_is_settled_up_to_the_title_under_way() {
        let (_, mentions) = catalogue();
        for text in [
            "For a quiet evening I would pick The Matrix (1999), or Mad Max: Fury Road; not \"It\" (1990), nor Her.",
            "MOANA IS GREAT, Alien Resurrection too, and so are Star Wars: Episode IV - A New Hope and Alien 3, Amélie!",
            "Get Out is a film. The Usual Suspects and Alien",
        ] {
            let last = mentions.find(text);
            assert!(last.len() > 1);
            let mut before = 0;
            for (end, _) in text.char_indices().skip(1) {
                let written = &text[..end];
                let settled = mentions.settled(written);
                assert!(settled >= before && written.is_char_boundary(settled), "{written:?}: {settled}");
                before = settled;
                let until = |found: Vec<Mention>| found.into_iter().filter(|m| m.start < settled).collect::<Vec<_>>();
                assert_eq!(
                    until(mentions.find(written)),
                    until(last.clone()),
                    "{written:?} is settled up to {settled}"
                );
            }
            assert!(before + 40 > text.len(), "it lags by a title, not by the text: {before} of {}", text.len());
        }
    }
}
