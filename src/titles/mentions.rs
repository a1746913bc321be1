//! Which catalogue items a text names: titles found in running words.
//!
//! Words are lower-cased and stripped of accents and punctuation; at each place the longest title wins. A year behind a
//! title (`Heat (1995)`) must fit it within a year. A title that could be plain speech (`It`, `Her`, `Get Out`: one or two
//! words, all of them common) counts only with a year, in quotes, or capitalised where a sentence would not be.

use super::edition::Editions;
use crate::dataset::Items;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

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

#[derive(Debug, Clone, Default)]
struct End {
    items: Vec<u32>,
    /// Every item reaches this place by a shortened title only.
    short: bool,
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

struct Token {
    word: String,
    start: usize,
    end: usize,
    capital: bool,
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '“' | '”' | '‘' | '*' | '«' | '»')
}

/// The words of a text: runs of letters, digits and apostrophes; `&` is the word `and`.
fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '’') || is_combining_mark(c);
    let mut rest = text.char_indices().peekable();
    while let Some((start, c)) = rest.next() {
        let mut end = start + c.len_utf8();
        if c == '&' {
            out.push(Token { word: "and".into(), start, end, capital: false });
        }
        if !c.is_alphanumeric() {
            continue;
        }
        while let Some((at, c)) = rest.next_if(|(_, c)| inside(*c)) {
            end = at + c.len_utf8();
        }
        let word: String = text[start..end]
            .trim_end_matches(['\'', '’'])
            .nfkd()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect();
        if !word.is_empty() {
            out.push(Token { word, start, end, capital: c.is_uppercase() || c.is_numeric() });
        }
    }
    out
}

/// A title as written, as spoken, and shortened: `(words, short)`.
fn spellings(title: &str) -> Vec<(Vec<String>, bool)> {
    let bare = title.split(" (").next().unwrap_or(title);
    let mut bare = bare.replace(';', ", ");
    // `Matrix, The` is how MovieLens writes it.
    for article in ["The", "A", "An"] {
        if let Some(rest) = bare.strip_suffix(article).and_then(|rest| rest.trim_end().strip_suffix(',')) {
            bare = format!("{article} {rest}");
            break;
        }
    }
    let words = |text: &str| tokens(text).into_iter().map(|t| t.word).collect::<Vec<_>>();
    let full = words(&bare);
    let mut out = Vec::new();
    if full.len() > 2 && matches!(full[0].as_str(), "the" | "a" | "an") {
        out.push((full[1..].to_vec(), false));
    }
    if let Some((series, _)) = bare.split_once(": ").or_else(|| bare.split_once(" - ")) {
        let series = words(series);
        if series.len() >= 2 {
            out.push((series, true));
        }
    }
    out.push((full, false));
    out
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
            for (words, short) in spellings(items.title(item)) {
                mentions.insert(&words, item as u32, short);
            }
        }
        mentions
    }

    fn insert(&mut self, words: &[String], item: u32, short: bool) {
        if words.is_empty() {
            return;
        }
        let mut node = 0;
        for word in words {
            let next_word = self.words.len() as u32;
            let word = *self.words.entry(word.clone()).or_insert(next_word);
            let next_node = self.edges.len() as u32 + 1;
            node = *self.edges.entry((node, word)).or_insert(next_node);
        }
        let end = self.ends.entry(node).or_default();
        // A whole title takes the place of shortened ones.
        if end.items.is_empty() || (end.short && !short) {
            *end = End { items: vec![item], short };
        } else if end.short == short && end.items.last() != Some(&item) {
            // Items come in the order of their rows, so that only the last one can be this one.
            end.items.push(item);
        }
    }

    /// The titles in `text`, in order, none overlapping another.
    pub fn find(&self, text: &str) -> Vec<Mention> {
        let tokens = tokens(text);
        let shouted = !text.chars().any(char::is_lowercase);
        let mut found = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let mut node = 0;
            let mut longest = None;
            for (length, token) in tokens[at..].iter().enumerate() {
                let Some(next) = self.words.get(&token.word).and_then(|w| self.edges.get(&(node, *w))) else { break };
                node = *next;
                if let Some(end) = self.ends.get(&node) {
                    let year = tokens.get(at + length + 1).and_then(|t| year_behind(text, token.end, t));
                    if let Some(item) = self.choose(end, year)
                        && (year.is_some() || self.stands_out(text, &tokens, at, length + 1, shouted))
                    {
                        longest = Some((length + 1, item));
                    }
                }
            }
            match longest {
                Some((length, item)) => {
                    found.push(Mention { item, start: tokens[at].start, end: tokens[at + length - 1].end });
                    at += length;
                }
                None => at += 1,
            }
        }
        found
    }

    /// The first byte of `text` from which on a title may still be under way: what comes next may make, lengthen or rule out
    /// a title that begins there, and none that begins before. For text that is being written.
    pub fn settled(&self, text: &str) -> usize {
        if !text.chars().any(char::is_lowercase) {
            // All in capitals so far: whether these stand out is told by what follows.
            return 0;
        }
        let tokens = tokens(text);
        let Some(last) = tokens.len().checked_sub(1) else { return text.len() };
        // The last word may go on; whether a title ends before it depends on it.
        let open = |at: &usize| {
            let mut node = 0;
            for token in &tokens[*at..last] {
                match self.words.get(&token.word).and_then(|w| self.edges.get(&(node, *w))) {
                    Some(next) => node = *next,
                    None => return false,
                }
            }
            true
        };
        let at = (0..last).find(open).unwrap_or(last);
        // A quotation mark in front belongs to the title.
        text[..tokens[at].start].trim_end_matches(is_quote).len()
    }

    /// The item meant at the end of a title, if any.
    fn choose(&self, end: &End, year: Option<u16>) -> Option<u32> {
        // The name of a series means a film only where the catalogue has but one of it.
        if end.short && end.items.len() > 1 && year.is_none() {
            return None;
        }
        self.editions.choose(end.items.iter().copied(), year)
    }

    /// True when the words at `at` cannot well be plain speech or a part of a longer name.
    fn stands_out(&self, text: &str, tokens: &[Token], at: usize, length: usize, shouted: bool) -> bool {
        let words = &tokens[at..at + length];
        let (before, after) = (&text[..words[0].start], &text[words[length - 1].end..]);
        if before.ends_with(is_quote) && after.trim_start_matches(['.', ',', '!', '?']).starts_with(is_quote) {
            return true;
        }
        let begins = before.trim_end().chars().next_back().is_none_or(|c| matches!(c, '.' | '!' | '?' | ':' | ')'))
            || before.trim_end_matches([' ', '\t']).ends_with('\n');
        let joined = |from: usize, to: usize| matches!(text.get(from..to), Some(" " | "-"));
        let next = tokens.get(at + length).filter(|t| joined(words[length - 1].end, t.start));
        let previous = at.checked_sub(1).map(|p| &tokens[p]).filter(|t| joined(t.end, words[0].start));
        // `Despicable Me 3`: another film of the series.
        let numbered = |t: &Token| t.word.len() <= 2 && t.word.chars().all(|c| c.is_ascii_digit());
        let telling = words.iter().filter(|t| !self.common.contains(&t.word)).count();
        let digits = words.iter().all(|t| t.word.chars().all(|c| c.is_ascii_digit()));
        if next.is_some_and(numbered) {
            return false;
        }
        // `Rush Hour`, `Red October`, `Jack Black`: one word of a name that goes on.
        let core = words.iter().filter(|t| !matches!(t.word.as_str(), "the" | "a" | "an")).count();
        let part = next.is_some_and(|t| t.capital && t.word != "i")
            || previous.is_some_and(|t| t.capital && !PLAIN.split_whitespace().any(|plain| plain == t.word));
        if (core <= 1 || telling == 0) && length <= 2 && part && !shouted {
            return false;
        }
        if (length > 2 || telling > 0) && !digits {
            return true;
        }
        // `I` is a capital in plain speech too.
        let capital = words.iter().all(|t| t.capital && t.word != "i");
        capital && !shouted && !digits && (!begins || length > 1)
    }
}

/// The year that stands right behind a title: `Heat (1995)`, `Heat 1995`.
fn year_behind(text: &str, end: usize, token: &Token) -> Option<u16> {
    let between = text.get(end..token.start)?;
    let year: u16 = token.word.parse().ok().filter(|y| (1880..2100).contains(y))?;
    (token.word.len() == 4 && between.chars().all(|c| matches!(c, ' ' | '(' | ',' | '[' | '"'))).then_some(year)
}

fn common_words(items: &Items) -> HashSet<String> {
    let mut seen_in: HashMap<String, usize> = HashMap::new();
    for item in 0..items.len() {
        let words: HashSet<String> =
            tokens(items.description(item)).into_iter().filter(|t| !t.capital).map(|t| t.word).collect();
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

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_places_are_in_order(text in "\\PC{0,60}|(It|Her|the|Matrix|&|é|\"|\\(2017\\)| |\n){0,30}") {
            let (_, mentions) = catalogue();
            let mut last = 0;
            for m in mentions.find(&text) {
                proptest::prop_assert!(m.start >= last && text.get(m.start..m.end).is_some());
                last = m.end;
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
