//! JSON as models write it: cut short, with single quotes, with a comma too many, in objects by rank.

use super::entry::{entry, first_year, is_year, short, tidy, without_year};
use super::marks::numbered;
use super::title::ParsedTitle;

/// A JSON value; fields in the order in which they are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool,
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            Json::Null | Json::Bool | Json::Number(_) | Json::List(_) | Json::Object(_) => None,
        }
    }
}

/// Values inside values at most.
const MOST_DEPTH: usize = 40;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The text ended within the value.
    cut: bool,
}

/// The value at the beginning of `text`, and its length in bytes. One that is cut short holds what came before the cut.
pub(crate) fn read_json(text: &str) -> Option<(Json, usize)> {
    let mut reader = Reader { text, at: 0, cut: false };
    let value = reader.value(0)?;
    Some((value, reader.at))
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }
    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > MOST_DEPTH {
            return None;
        }
        match self.peek()? {
            '[' => self.list(depth),
            '{' => self.object(depth),
            '"' | '\'' | '“' => self.string().map(Json::Text),
            _ => self.word(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => {
                    self.cut = true;
                    return Some(Json::List(out));
                }
                Some(']') => {
                    self.at += 1;
                    return Some(Json::List(out));
                }
                Some(_) => {}
            }
            let value = match self.value(depth + 1) {
                Some(value) => value,
                None if self.cut => return Some(Json::List(out)),
                None => return None,
            };
            out.push(value);
            if !self.take(',') && !matches!(self.peek(), Some(']') | None) {
                return None;
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => {
                    self.cut = true;
                    return Some(Json::Object(out));
                }
                Some('}') => {
                    self.at += 1;
                    return Some(Json::Object(out));
                }
                Some(_) => {}
            }
            let key = match self.peek() {
                Some('"' | '\'' | '“') => self.string(),
                // `{1: "Heat"}`
                Some(_) => self.word().and_then(|word| match word {
                    Json::Number(n) => Some(n.to_string()),
                    Json::Null | Json::Bool | Json::Text(_) | Json::List(_) | Json::Object(_) => None,
                }),
                None => None,
            };
            let Some(key) = key else { return self.cut.then_some(Json::Object(out)) };
            if !self.take(':') {
                self.cut |= self.peek().is_none();
                return self.cut.then_some(Json::Object(out));
            }
            match self.value(depth + 1) {
                Some(value) => out.push((key, value)),
                None => {
                    self.cut |= self.peek().is_none();
                    return self.cut.then_some(Json::Object(out));
                }
            }
            if !self.take(',') && !matches!(self.peek(), Some('}') | None) {
                return None;
            }
        }
    }

    /// A string in double, single or curly quotes; a single quote ends it only where the value can end.
    fn string(&mut self) -> Option<String> {
        let open = self.peek()?;
        let close = if open == '“' { '”' } else { open };
        let start = self.at + open.len_utf8();
        let mut out = String::new();
        let mut letters = self.text[start..].char_indices().peekable();
        while let Some((at, c)) = letters.next() {
            let after = start + at + c.len_utf8();
            if c == close {
                let follows = self.text[after..].trim_start();
                if close != '\'' || follows.is_empty() || follows.starts_with([',', ']', '}', ':']) {
                    self.at = after;
                    return Some(out);
                }
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match letters.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t' | 'r' | 'b' | 'f') => out.push(' '),
                Some('u') => {
                    let unit = |letters: &mut std::iter::Peekable<std::str::CharIndices>| {
                        let mut code = 0u32;
                        for _ in 0..4 {
                            let digit = letters.peek().and_then(|(_, c)| c.to_digit(16))?;
                            letters.next();
                            code = code * 16 + digit;
                        }
                        Some(code)
                    };
                    let Some(mut code) = unit(&mut letters) else { continue };
                    if (0xd800..0xdc00).contains(&code) && self.text[start..].get(..).is_some() {
                        // The other half of a pair.
                        let mut ahead = letters.clone();
                        let escaped =
                            ahead.next().is_some_and(|(_, c)| c == '\\') && ahead.next().is_some_and(|(_, c)| c == 'u');
                        if let Some(low) = Some(()).filter(|()| escaped).and_then(|()| unit(&mut ahead))
                            && (0xdc00..0xe000).contains(&low)
                        {
                            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                            letters = ahead;
                        }
                    }
                    out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                Some(c) => out.push(c),
                None => {}
            }
        }
        self.cut = true;
        None
    }

    fn word(&mut self) -> Option<Json> {
        let rest = self.rest();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'))).unwrap_or(rest.len());
        let word = &rest[..end];
        let value = match word {
            "null" | "None" | "NaN" => Json::Null,
            "true" | "True" | "false" | "False" => Json::Bool,
            _ => Json::Number(word.parse().ok()?),
        };
        self.at += end;
        Some(value)
    }
}

// --------------------------------------------------------------------------------------------------------------- titles

/// Fields that hold a title, in order of preference.
const TITLE_KEYS: [&str; 18] = [
    "title",
    "name",
    "movie",
    "film",
    "item",
    "product",
    "book",
    "recommendation",
    "movietitle",
    "filmtitle",
    "moviename",
    "titel",
    "titre",
    "título",
    "片名",
    "标题",
    "タイトル",
    "제목",
];
/// Fields that hold the list.
const LIST_KEYS: [&str; 15] = [
    "recommendations",
    "recommendation",
    "movies",
    "films",
    "items",
    "titles",
    "list",
    "results",
    "ranking",
    "answer",
    "finalanswer",
    "final",
    "response",
    "output",
    "books",
];
/// Fields that hold what is not recommended.
const LEFT_OUT: [&str; 22] = [
    "thinking",
    "thoughts",
    "thought",
    "reasoning",
    "analysis",
    "rejected",
    "excluded",
    "considered",
    "alsoconsidered",
    "avoid",
    "avoided",
    "notrecommended",
    "disliked",
    "dislikes",
    "liked",
    "likes",
    "seen",
    "watched",
    "alreadyseen",
    "draft",
    "candidates",
    "mentioned",
];
/// Places where a value may begin that are tried: an answer is not searched for ever.
const STARTS: usize = 64;

/// A field's name in lower case, letters and digits alone.
fn plain(key: &str) -> String {
    key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// True for a field that holds thinking, or what is not recommended.
pub(crate) fn is_left_out(key: &str) -> bool {
    LEFT_OUT.contains(&plain(key).as_str())
}

/// The titles of the first JSON value of `answer` that lists any, and of the values that follow it.
pub(super) fn json_titles(answer: &str, read: &dyn Fn(&str) -> Vec<ParsedTitle>) -> Option<Vec<ParsedTitle>> {
    let mut at = 0;
    for _ in 0..STARTS {
        at += answer[at..].find(['[', '{'])?;
        let Some((value, length)) = read_json(&answer[at..]) else {
            at += 1;
            continue;
        };
        at += length;
        // `["The Matrix"](http://…)` is a link.
        if answer[at..].starts_with('(') {
            continue;
        }
        let mut titles = titles_of(&value, read);
        if titles.is_empty() {
            continue;
        }
        // JSON lines.
        loop {
            let rest = answer[at..].trim_start_matches([',', ' ', '\n', '\t']);
            at = answer.len() - rest.len();
            match Some(rest).filter(|r| r.starts_with(['[', '{'])).and_then(read_json) {
                Some((value, length)) => {
                    titles.extend(titles_of(&value, read));
                    at += length;
                }
                None => return Some(titles),
            }
        }
    }
    None
}

fn titles_of(value: &Json, read: &dyn Fn(&str) -> Vec<ParsedTitle>) -> Vec<ParsedTitle> {
    match value {
        Json::Null | Json::Bool | Json::Number(_) => Vec::new(),
        Json::Text(text) if text.trim().contains('\n') => read(text),
        Json::Text(text) => one(text).into_iter().collect(),
        // `["Heat", 1995]` and `[1, "Heat", 1995]` are one title; `["Heat", "Ronin"]` are two.
        Json::List(list) => match list.iter().filter_map(Json::text).collect::<Vec<_>>()[..] {
            [title]
                if list.len() > 1 && list.iter().all(|v| matches!(v, Json::Text(_) | Json::Number(_) | Json::Null)) =>
            {
                let year = list.iter().find_map(year_of_number);
                one(title).map(|t| ParsedTitle { year: t.year.or(year), ..t }).into_iter().collect()
            }
            _ => list.iter().flat_map(|v| titles_of(v, read)).collect(),
        },
        Json::Object(fields) => titles_of_object(fields, read),
    }
}

fn titles_of_object(fields: &[(String, Json)], read: &dyn Fn(&str) -> Vec<ParsedTitle>) -> Vec<ParsedTitle> {
    let fields: Vec<(String, &str, &Json)> = fields
        .iter()
        .map(|(key, value)| (plain(key), key.as_str(), value))
        .filter(|(_, key, _)| !is_left_out(key))
        .collect();
    let field = |wanted: &str| fields.iter().find(|(key, _, _)| key == wanted).map(|(_, _, value)| *value);
    if let Some(title) = TITLE_KEYS.iter().find_map(|key| field(key)?.text()).or_else(|| {
        // `movie_title`, `film_name`; not `director_name`.
        let ends = |key: &str| {
            key.ends_with("title")
                || ["movie", "film", "item", "product", "book"].iter().any(|w| key == format!("{w}name"))
        };
        fields.iter().find(|(key, _, _)| ends(key)).and_then(|(_, _, value)| value.text())
    }) {
        if title.trim().contains('\n') {
            return read(title);
        }
        let year = ["year", "releaseyear", "released", "releasedate", "date", "年份", "年", "jahr", "année", "año"]
            .iter()
            .find_map(|key| field(key).and_then(|v| year_of_number(v).or_else(|| first_year(v.text()?))));
        let (bare, told) = without_year(short(title.trim()));
        let bare = tidy(&bare);
        return if bare.is_empty() { Vec::new() } else { vec![ParsedTitle { title: bare, year: year.or(told) }] };
    }
    // By rank: `{"2": "Ronin", "1": "Heat"}`, `{"movie_1": {…}}`.
    let mut ranked: Vec<(u32, &Json)> =
        fields.iter().filter_map(|(key, _, value)| Some((rank(key)?, *value))).collect();
    if !ranked.is_empty() && ranked.len() == fields.len() {
        ranked.sort_by_key(|(rank, _)| *rank);
        return ranked.into_iter().flat_map(|(_, value)| titles_of(value, read)).collect();
    }
    if let Some(titles) =
        LIST_KEYS.iter().filter_map(|key| field(key)).map(|v| titles_of(v, read)).find(|t| !t.is_empty())
    {
        return titles;
    }
    let inner: Vec<ParsedTitle> = fields
        .iter()
        .filter(|(_, _, value)| matches!(value, Json::List(_) | Json::Object(_)))
        .flat_map(|(_, _, value)| titles_of(value, read))
        .collect();
    if !inner.is_empty() {
        return inner;
    }
    // `{"Heat (1995)": "a cat-and-mouse film", "Ronin": 1998}`
    let named =
        fields.len() > 1 && fields.iter().all(|(_, key, _)| key.chars().next().is_some_and(|c| !c.is_lowercase()));
    if !named {
        return Vec::new();
    }
    let title = |(_, key, value): &(String, &str, &Json)| {
        one(key).map(|t| ParsedTitle { year: t.year.or_else(|| year_of_number(value)), ..t })
    };
    fields.iter().filter_map(title).collect()
}

/// One title, perhaps with its number.
fn one(text: &str) -> Option<ParsedTitle> {
    let text = text.trim();
    // `300: Rise of an Empire` is a title, not a place in a list.
    entry(numbered(text).filter(|(value, weak, _)| !weak || *value < 100).map_or(text, |(_, _, body)| body))
}

fn year_of_number(value: &Json) -> Option<u16> {
    match value {
        Json::Number(n) if n.fract() == 0.0 && (0.0..9999.0).contains(n) => Some(*n as u16).filter(|y| is_year(*y)),
        Json::Null | Json::Bool | Json::Number(_) | Json::Text(_) | Json::List(_) | Json::Object(_) => None,
    }
}

/// `1`, `rank1`, `movie1`, `recommendation1`, `1st` → 1.
fn rank(key: &str) -> Option<u32> {
    const WORDS: [&str; 10] =
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
    if let Some(at) = WORDS.iter().position(|word| *word == key) {
        return Some(at as u32 + 1);
    }
    let letters = key.trim_start_matches(char::is_alphabetic);
    let digits = letters.trim_end_matches(char::is_alphabetic);
    if digits.is_empty() || digits.len() > 3 || letters.len() < key.len() && digits.len() < letters.len() {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_models_write_it() {
        let read = |text: &str| read_json(text).map(|(value, _)| value);
        let text = |t: &str| Json::Text(t.into());
        assert_eq!(read(r#"["a", 'b\'s', "c's", ]"#), Some(Json::List(vec![text("a"), text("b's"), text("c's")])));
        assert_eq!(read("['Ocean's Eleven', 'Up']"), Some(Json::List(vec![text("Ocean's Eleven"), text("Up")])));
        assert_eq!(
            read(r#"{"b": 1, "a": null, "c": [true"#),
            Some(Json::Object(vec![
                ("b".into(), Json::Number(1.0)),
                ("a".into(), Json::Null),
                ("c".into(), Json::List(vec![Json::Bool]))
            ]))
        );
        assert_eq!(read(r#"["a", "b"#), Some(Json::List(vec![text("a")])));
        assert_eq!(read(r#""\u00e9\ud83d\ude00\ud83d!\n""#), Some(text("é😀\u{fffd}!\n")));
        for not in ["", "[a]", "[\"a\" and \"b\"]", "{\"a\"}", "[1979 film]", "}"] {
            assert_eq!(read(not), None, "{not}");
        }
        assert_eq!(read(&"[".repeat(10_000)), None);
        assert_eq!(read(&"{".repeat(10_000)), None);
        assert_eq!(read(&"{\"a\":".repeat(10_000)), None);
    }
}
