//! A title's normal forms and the names that it holds: what two spellings of one title share.

use super::invisible::is_ignorable;
use unicode_normalization::UnicodeNormalization;

/// A title in lower case without accents, punctuation and double spaces; `&` is `and`. Titles that are nothing but
/// punctuation keep it, so that they can be found.
pub fn normalise(title: &str) -> String {
    let mut out = String::with_capacity(title.len());
    let letters: Vec<char> = title.nfkd().collect();
    let mut gap = false;
    let at = |i: usize| letters.get(i).copied().unwrap_or(' ');
    for (i, &c) in letters.iter().enumerate() {
        if unicode_normalization::char::is_combining_mark(c)
            || is_ignorable(c)
            || matches!(c, '\'' | '’' | '‘' | '`' | '´' | 'ʻ')
        {
            continue;
        }
        // Initials: `U.N.C.L.E.`, `E.T.`; and thousands: `20,000 Leagues`.
        let single = i > 0 && at(i - 1).is_alphabetic() && (i < 2 || !at(i - 2).is_alphanumeric());
        if c == '.' && single || c == ',' && i > 0 && at(i - 1).is_ascii_digit() && at(i + 1).is_ascii_digit() {
            continue;
        }
        let word = if c == '&' { Some(" and ") } else { folded(c) };
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

/// Letters that have no accent to take off, as they are spelled without them.
pub(super) fn folded(c: char) -> Option<&'static str> {
    match c {
        'ß' | 'ẞ' => Some("ss"),
        'æ' | 'Æ' => Some("ae"),
        'œ' | 'Œ' => Some("oe"),
        'ø' | 'Ø' => Some("o"),
        'ł' | 'Ł' => Some("l"),
        'đ' | 'Đ' | 'ð' | 'Ð' => Some("d"),
        'þ' | 'Þ' => Some("th"),
        'ı' => Some("i"),
        _ => None,
    }
}

/// `the matrix` → `matrix`. A title that is an article stays.
pub(super) fn without_article(normal: &str) -> &str {
    let rest = ["the ", "a ", "an "].iter().find_map(|article| normal.strip_prefix(article));
    rest.filter(|rest| !rest.is_empty()).unwrap_or(normal)
}

/// Articles that catalogues move to the end.
pub(super) const ARTICLES: [&str; 22] = [
    "the", "a", "an", "le", "la", "les", "l'", "un", "une", "el", "los", "las", "il", "lo", "i", "gli", "der", "die",
    "das", "den", "det", "een",
];

/// `Outlaw and His Wife;The` → `The Outlaw and His Wife`; `Dolce vita, La` → `La Dolce vita`.
pub(super) fn moved_article(title: &str) -> String {
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
pub(super) fn names(title: &str) -> Vec<String> {
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
pub(super) fn numbers_in_digits(normal: &str) -> String {
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

/// A folded title without its spaces: `x men` → `xmen`, `m a s h` → `mash`. Empty where that would be too short to tell
/// titles apart, or so long that a missing space is a slip like any other.
pub(super) fn squeezed(folded: &str) -> String {
    let joined: String = folded.split(' ').collect();
    if (4..=12).contains(&joined.chars().count()) { joined } else { String::new() }
}
