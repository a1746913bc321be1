//! The teacher's choice among numbered items: which numbers it names, best first, in whatever form it answers.
//!
//! Numbers, `3. Title`, titles, JSON, prose with numbers in a row: all are read, digits of any script. Where a title stands
//! behind a number and the two disagree, the title is meant: many models number their answer anew.

use crate::retrieve::words;
use crate::titles::{Json, clean_answer, is_left_out, read_json, without_escapes};

/// Numbers in a row that make a list of them within a sentence.
const IN_A_ROW: usize = 3;

/// What an answer chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Places in the list that was shown, from 0, best first, each once.
    pub order: Vec<usize>,
    /// Entries that name an item a second time.
    pub repeated: u64,
    /// Entries that name nothing of the list.
    pub outside: u64,
}

/// One entry of an answer, as far as it can be told what it means.
enum Entry {
    Number(f64),
    Text(String),
}

/// What is known of the list that was shown.
struct Shown {
    /// The words of each name without its year, and of the whole of it.
    names: Vec<Vec<String>>,
    whole: Vec<Vec<String>>,
}

/// Reads `answer`, a choice of at most `most` of the items that were shown as `names`, from 1. Never panics.
pub(super) fn parse_choice(answer: &str, names: &[String], most: usize) -> Choice {
    let text = digits_in_ascii(&clean_answer(answer).into_text());
    let shown = Shown {
        names: names.iter().map(|name| words(without_year(name))).collect(),
        whole: names.iter().map(|name| words(name)).collect(),
    };
    let mut choice = Choice::default();
    let entries = json_entries(&text).unwrap_or_else(|| text_entries(&without_escapes(&text), &shown));
    for entry in entries {
        match shown.place(&entry) {
            _ if choice.order.len() == most => break,
            Some(place) if choice.order.contains(&place) => choice.repeated += 1,
            Some(place) => choice.order.push(place),
            None => choice.outside += 1,
        }
    }
    choice
}

impl Shown {
    /// The item that an entry means.
    fn place(&self, entry: &Entry) -> Option<usize> {
        match entry {
            Entry::Number(n) => self.number(*n),
            Entry::Text(text) => self.text(text),
        }
    }

    fn number(&self, n: f64) -> Option<usize> {
        let whole = n.fract() == 0.0 && n >= 1.0 && n <= self.names.len() as f64;
        whole.then(|| n as usize - 1)
    }

    /// Of `17`, `#17`, `17. Heat (1995)`, `Heat`, `1. 17. Heat`.
    fn text(&self, text: &str) -> Option<usize> {
        let (number, rest) = leading_number(text);
        let rest = rest.trim();
        let Some(number) = number else { return self.title(rest) };
        let place = self.number(number);
        if !rest.chars().any(char::is_alphanumeric) {
            return place;
        }
        if let Some(exact) = self.exact(rest, place) {
            return Some(exact);
        }
        let said = words(without_year(rest));
        if place.is_some_and(|p| begins_alike(&said, &self.names[p])) {
            return place;
        }
        // A rank, and then the number; a rank, and then the title; or a number with words that say nothing.
        match leading_number(rest) {
            (Some(_), _) => self.text(rest).or_else(|| self.title(text)),
            (None, _) => self.title(rest).or_else(|| self.title(text)),
        }
    }

    /// The item of just this name, `favoured` among several.
    fn exact(&self, text: &str, favoured: Option<usize>) -> Option<usize> {
        let (whole, bare) = (words(text.split(" | ").next().unwrap_or(text)), words(without_year(text)));
        let all = || favoured.into_iter().chain(0..self.names.len());
        let found = all().find(|p| self.whole[*p] == whole);
        found.or_else(|| all().find(|p| self.names[*p] == bare)).filter(|_| !bare.is_empty())
    }

    /// The item whose name a text begins with; the longest.
    fn title(&self, text: &str) -> Option<usize> {
        if let Some(exact) = self.exact(text, None) {
            return Some(exact);
        }
        let said = words(without_year(text));
        let fits = |name: &Vec<String>| {
            !name.is_empty() && (said.starts_with(name) || said.len() > 1 && name.starts_with(&said))
        };
        let places = (0..self.names.len()).filter(|p| fits(&self.names[*p]));
        places.max_by_key(|p| (self.names[*p].len().min(said.len()), std::cmp::Reverse(*p)))
    }
}

/// One is the beginning of the other, as far as the shorter goes.
fn begins_alike(said: &[String], name: &[String]) -> bool {
    let least = said.len().min(name.len());
    least > 0 && said[..least] == name[..least]
}

/// `Heat (1995) | Crime` → `Heat`: what stands before a year in brackets, or before an attribute.
pub(super) fn without_year(text: &str) -> &str {
    let text = text.split(" | ").next().unwrap_or(text);
    let year = |at: usize| {
        let inside = &text.as_bytes()[at + 1..];
        inside.len() > 4 && inside[..4].iter().all(u8::is_ascii_digit) && inside[4] == b')'
    };
    let cut = text.match_indices('(').map(|(at, _)| at).find(|at| *at > 0 && year(*at));
    cut.map_or(text, |at| &text[..at])
}

/// Digits of other scripts as those of ASCII; circled numbers and keycaps stay what they are.
pub(super) fn digits_in_ascii(text: &str) -> String {
    const ZEROS: [u32; 9] = [0xff10, 0x0660, 0x06f0, 0x0966, 0x09e6, 0x0e50, 0x0a66, 0x0ae6, 0x0be6];
    let ascii = |c: char| {
        let value = ZEROS.iter().find_map(|zero| (c as u32).checked_sub(*zero).filter(|d| *d < 10));
        value.and_then(|d| char::from_digit(d, 10)).unwrap_or(c)
    };
    text.chars().map(ascii).collect()
}

/// The number that a text begins with, behind marks (`#17.`, `[17]`, `- **17**`, `No. 17`), and what follows it and its mark.
fn leading_number(text: &str) -> (Option<f64>, &str) {
    let mut rest = text.trim_start_matches(|c: char| !c.is_alphanumeric());
    for word in ["number", "item", "no", "nr", "option", "movie", "product", "第"] {
        if let Some(head) = rest.get(..word.len())
            && head.eq_ignore_ascii_case(word)
        {
            let behind = rest[word.len()..].trim_start_matches(|c: char| !c.is_alphanumeric());
            if behind.starts_with(|c: char| c.is_ascii_digit()) {
                rest = behind;
            }
        }
    }
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let behind = &rest[length..];
    // `2nd`, `12angry`: a word. `12号` is a number.
    if length == 0 || length > 6 || behind.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return (None, text);
    }
    let mark = |c: char| !c.is_alphanumeric() && c != '(';
    (rest[..length].parse().ok(), behind.trim_start_matches(mark))
}

/// The entries of a JSON answer.
fn json_entries(text: &str) -> Option<Vec<Entry>> {
    let start = text.find(['[', '{'])?;
    let (value, length) = read_json(&text[start..])?;
    let entries = match &value {
        Json::List(list) => list.iter().filter_map(json_entry).collect(),
        Json::Object(fields) => {
            let mut values = fields.iter().filter(|(key, _)| !is_left_out(key)).map(|(_, value)| value);
            let list = values.clone().find_map(|value| match value {
                Json::List(list) => Some(list.iter().filter_map(json_entry).collect()),
                Json::Text(text) if text.contains(',') && text.chars().all(|c| !c.is_alphabetic()) => {
                    Some(numbers_in(text).into_iter().map(Entry::Number).collect())
                }
                Json::Null | Json::Bool | Json::Number(_) | Json::Text(_) | Json::Object(_) => None,
            });
            list.unwrap_or_else(|| values.by_ref().filter_map(json_entry).collect::<Vec<_>>())
        }
        Json::Null | Json::Bool | Json::Number(_) | Json::Text(_) => return None,
    };
    // `[17] Heat`, `[17], [3]`: no JSON.
    let more = text[start + length..].chars().any(char::is_alphanumeric);
    Some(entries).filter(|entries: &Vec<Entry>| entries.len() > 1 || entries.len() == 1 && !more)
}

/// A number, a text, or of an object its number, else its first text.
fn json_entry(value: &Json) -> Option<Entry> {
    match value {
        Json::Number(n) => Some(Entry::Number(*n)),
        Json::Text(text) => Some(Entry::Text(text.clone())),
        Json::Object(fields) => {
            let named = |names: &[&str]| fields.iter().find(|(key, _)| names.contains(&key.to_lowercase().as_str()));
            let number = named(&["number", "id", "item", "index", "no", "choice"]).map(|(_, v)| v);
            let first_text = || fields.iter().find_map(|(_, v)| v.text()).map(|t| Entry::Text(t.to_string()));
            match number {
                Some(Json::Number(n)) => Some(Entry::Number(*n)),
                Some(Json::Text(text)) => Some(Entry::Text(text.clone())),
                Some(Json::Null | Json::Bool | Json::List(_) | Json::Object(_)) | None => first_text(),
            }
        }
        Json::Null | Json::Bool | Json::List(_) => None,
    }
}

/// Every whole number of a text.
fn numbers_in(text: &str) -> Vec<f64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|d| !d.is_empty() && d.len() < 7)
        .filter_map(|d| d.parse().ok())
        .collect()
}

/// Words that stand between numbers.
fn is_filler(word: &str) -> bool {
    const FILLERS: [&str; 16] =
        ["and", "then", "number", "numbers", "no", "nr", "item", "items", "und", "et", "y", "e", "en", "i", "и", "和"];
    FILLERS.contains(&word)
}

/// A line of numbers alone: all of them; `1. 17` is a rank and a number.
fn line_of_numbers(line: &str) -> Option<Vec<f64>> {
    let has_words =
        line.to_lowercase().split(|c: char| !c.is_alphabetic()).any(|word| !word.is_empty() && !is_filler(word));
    let numbers = numbers_in(line);
    if has_words || numbers.is_empty() {
        return None;
    }
    let rank = numbers.len() == 2 && {
        let digit = |c: char| c.is_ascii_digit();
        let behind = line.trim_start_matches(|c: char| !digit(c)).trim_start_matches(digit);
        let behind_marks = behind.trim_start_matches(['.', ')', ':']);
        behind_marks.len() < behind.len() && behind_marks.starts_with([' ', '\t', '#'])
    };
    Some(if rank { numbers[1..].to_vec() } else { numbers })
}

/// The longest row of numbers in a sentence with nothing but marks and fillers between them.
fn row_of_numbers(line: &str) -> Vec<f64> {
    let (mut best, mut now): (Vec<f64>, Vec<f64>) = Default::default();
    for word in line.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '、' | '，' | '/' | '>' | '→')) {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        match bare.parse::<f64>() {
            Ok(n) if bare.len() < 7 && bare.bytes().all(|b| b.is_ascii_digit()) => now.push(n),
            Ok(_) | Err(_) if bare.is_empty() || is_filler(&bare.to_lowercase()) => {}
            Ok(_) | Err(_) => now.clear(),
        }
        if now.len() > best.len() {
            best = now.clone();
        }
    }
    if best.len() < IN_A_ROW { Vec::new() } else { best }
}

fn text_entries(text: &str, shown: &Shown) -> Vec<Entry> {
    let mut out = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        // Behind a number stands a title that is one itself: `2. 2012 (2009)`.
        let behind = leading_number(line);
        if behind.0.is_some() && shown.exact(behind.1, None).is_some() {
            out.push(Entry::Text(line.to_string()));
            continue;
        }
        if let Some(numbers) = line_of_numbers(line) {
            out.extend(numbers.into_iter().map(Entry::Number));
            continue;
        }
        // `Answer: 3, 5, 7`
        let behind = line.rsplit_once([':', '：']).and_then(|(_, behind)| line_of_numbers(behind));
        if let Some(numbers) = behind.filter(|n| n.len() > 1 || leading_number(line).0.is_none()) {
            out.extend(numbers.into_iter().map(Entry::Number));
            continue;
        }
        let row = row_of_numbers(line);
        if !row.is_empty() {
            out.extend(row.into_iter().map(Entry::Number));
            continue;
        }
        let numbered = leading_number(line).0.is_some();
        let bullet = line.starts_with(['-', '*', '•', '–', '"', '“', '「', '《']);
        // What is no entry is chatter, unless it begins with a title.
        if numbered || bullet || shown.title(line).is_some() {
            out.push(Entry::Text(line.to_string()));
        }
    }
    out
}

/// Kendall's tau of two orders of the same things: 1 the same, -1 reversed; `places`: the places in the one order, in the
/// order of the other. None of fewer than two.
pub(super) fn kendall_tau(places: &[usize]) -> Option<f64> {
    let pairs = places.len() * places.len().saturating_sub(1) / 2;
    let agree: usize =
        (0..places.len()).map(|i| places[i + 1..].iter().filter(|later| **later > places[i]).count()).sum();
    (pairs > 0).then(|| 2.0 * agree as f64 / pairs as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        let titles = [
            "Heat (1995)",
            "Alien (1979)",
            "Alien: Covenant (2017)",
            "12 Angry Men (1957)",
            "Se7en (1995)",
            "2012 (2009)",
        ];
        titles.iter().map(|t| t.to_string()).chain((7..=30).map(|n| format!("Film Number{n} (2000)"))).collect()
    }
    fn read(answer: &str) -> (Vec<usize>, u64, u64) {
        let choice = parse_choice(answer, &names(), 20);
        (choice.order.iter().map(|p| p + 1).collect(), choice.repeated, choice.outside)
    }

    #[test]
    fn numbers_are_read_in_every_form_that_models_give_them() {
        for answer in [
            "3, 1, 2",
            "3,1,2.",
            "3 1 2",
            "3 > 1 > 2",
            "3\n1\n2",
            "[3, 1, 2]",
            "{\"items\": [3, 1, 2]}",
            "{\"numbers\": [\"3\", \"1\", \"2\"]}",
            "{\"choice\": \"3, 1, 2\"}",
            "{\"1\": 3, \"2\": 1, \"3\": 2}",
            "[{\"number\": 3, \"title\": \"x\"}, {\"number\": 1}, {\"number\": 2}]",
            "```json\n[3, 1, 2]\n```",
            "Answer: 3, 1, 2",
            "Here are the numbers: 3, 1 and 2",
            "The best ones are 3, 1, and 2 in that order.",
            "1. 3\n2. 1\n3. 2",
            "1) 3\n2) 1\n3) 2",
            "#3, #1, #2",
            "[3], [1], [2]",
            "- 3\n- 1\n- 2",
            "**3**, **1**, **2**",
            "<think>maybe 9, 8, 7</think>3, 1, 2",
            "３、１、２",
            "٣، ١، ٢",
            "答案：3、1、2",
            "Die besten sind: 3, 1 und 2",
            "3. Alien: Covenant (2017)\n1. Heat (1995)\n2. Alien (1979)",
            "1. Alien: Covenant (2017)\n2. Heat\n3. Alien (1979)",
            "Sure!\n1. #3 Alien: Covenant\n2. #1 Heat\n3. #2 Alien",
            "Alien: Covenant\nHeat\nAlien",
            "- Alien: Covenant (2017) | Horror\n- Heat (1995) | Crime\n- Alien (1979)",
            "[\"Alien: Covenant\", \"Heat (1995)\", \"Alien\"]",
            "[\"3. Alien: Covenant\", \"1. Heat\", \"2. Alien\"]",
        ] {
            assert_eq!(read(answer), (vec![3, 1, 2], 0, 0), "{answer}");
        }
    }

    #[test]
    fn titles_that_begin_with_a_number_are_not_taken_for_one() {
        assert_eq!(read("1. 12 Angry Men (1957)\n2. 2012 (2009)\n3. Se7en").0, [4, 6, 5]);
        assert_eq!(read("4. 12 Angry Men\n6. 2012").0, [4, 6]);
        assert_eq!(read("12 Angry Men\nHeat").0, [4, 1]);
    }

    #[test]
    fn repeated_numbers_and_numbers_outside_the_list_are_dropped_and_counted() {
        assert_eq!(read(&"7, ".repeat(20)), (vec![7], 19, 0));
        assert_eq!(read("0, 31, 5, 99, -2, 5.0"), (vec![5, 2], 1, 4));
        assert_eq!(read("[1.5, 40, 2]"), (vec![2], 0, 2));
        // New titles are outside, whatever number they have: the numbers are ranks.
        assert_eq!(read("1. The Unknown One (1901)\n2. Another (1902)\n3. Heat"), (vec![1], 0, 2));
        let all: Vec<String> = (1..=30).map(|n| n.to_string()).collect();
        assert_eq!(read(&all.join(", ")).0.len(), 20, "no more than were asked for");
    }

    #[test]
    fn an_answer_in_words_chooses_nothing() {
        for answer in [
            "",
            "I am sorry, I cannot help with that.",
            "Ich kann leider keine Filme empfehlen.",
            "申し訳ありませんが、お答えできません。",
            "Of the 30 films I have seen 2 or so.",
            "<think>3, 1, 2</think>",
            "{",
            "[",
            "{\"items\": []}",
            "{\"items\": null}",
        ] {
            assert_eq!(read(answer).0, Vec::<usize>::new(), "{answer}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_fail() {
        let mut random = crate::math::Random::new(1, b"choice");
        let pieces = [
            "3", "1.", "[", "]", "{", "\"", ":", "(19", "95)", "Heat", "、", "é", "#", "\n", " ", "١", "\\n", "第", ",",
        ];
        for _ in 0..3000 {
            let text: String = (0..random.below(12)).map(|_| pieces[random.below(pieces.len())]).collect();
            let choice = parse_choice(&text, &names(), 20);
            assert!(choice.order.len() <= 20 && choice.order.iter().all(|p| *p < 30));
        }
        assert_eq!(parse_choice("1, 2", &[], 20).order, Vec::<usize>::new());
    }

    #[test]
    fn tau_is_that_of_its_definition() {
        // scipy.stats.kendalltau([0, 1, 2, 3], [1, 0, 3, 2]) = 0.333…
        assert_eq!(kendall_tau(&[0, 1, 2, 3]), Some(1.0));
        assert_eq!(kendall_tau(&[3, 2, 1, 0]), Some(-1.0));
        assert!((kendall_tau(&[1, 0, 3, 2]).unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((kendall_tau(&[]), kendall_tau(&[4])), (None, None));
    }
}
