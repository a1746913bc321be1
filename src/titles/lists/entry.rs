//! One entry of a list → its title and year.

use super::html::without_entities;
use super::marks::is_pictogram;
use super::title::ParsedTitle;

/// One entry of a list → its title and year: labels, markdown, quotes, year, author and description come off.
pub(super) fn entry(text: &str) -> Option<ParsedTitle> {
    let text =
        text.trim().trim_start_matches(|c: char| is_pictogram(c) || matches!(c, '\u{fe0f}' | '\u{200d}')).trim_start();
    let text = short(text);
    let text = title_label(text).unwrap_or(text);
    let (text, told) = match detail_at(text) {
        Some((at, year)) => {
            (text[..at].trim_end_matches([' ', '-', '–', '—', '|', ',', ';', '(', '•', '/', '*', '_']), year)
        }
        None => (text, None),
    };
    // `Heat | 1995 | crime`
    let (text, cells) = text.split_once(" | ").map_or((text, ""), |(text, cells)| (text, cells));
    let told = told.or_else(|| leading_year(cells));
    // `Watch 《Heat》`: these brackets are put round titles and nothing else.
    let text = text.find('《').filter(|at| text[*at..].contains('》')).map_or(text, |at| &text[at..]);
    let (head, tail, enclosed) = match enclosed(text) {
        Some((inside, after)) => (inside.to_string(), after, true),
        None => (text.to_string(), "", false),
    };
    let head = title_label(&head).map_or(head.clone(), str::to_string);
    let (mut title, mut year) = without_year(&head);
    if enclosed {
        // Bold or quotes around the quotes: `**"Title" (1999)**`.
        if let Some((inside, after)) = self::enclosed(title.trim()) {
            year = year.or(without_year(after).1);
            title = inside.to_string();
        }
        year = year.or_else(|| leading_year(tail));
    } else {
        title = without_author(without_description(&title)).to_string();
    }
    let title = tidy(&title);
    (!title.is_empty()).then_some(ParsedTitle { title, year: year.or(told) })
}

/// Bytes of an entry that are looked at: no title is longer, and some of what follows takes its time.
const MOST_BYTES: usize = 2000;

pub(super) fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_BYTES)]
}

// --------------------------------------------------------------------------------------------------------------- labels

/// Words before a title: `Title: Heat`.
const TITLE_LABELS: [&str; 27] = [
    "title",
    "movie",
    "film",
    "movie title",
    "film title",
    "movie name",
    "name",
    "book",
    "book title",
    "product",
    "item",
    "recommendation",
    "recommended",
    "pick",
    "titel",
    "título",
    "titre",
    "titolo",
    "片名",
    "标题",
    "电影",
    "書名",
    "タイトル",
    "映画",
    "作品名",
    "제목",
    "название",
];
/// Words before what is said of a title: `Year: 1995`.
const DETAIL_LABELS: [&str; 41] = [
    "year",
    "released",
    "release",
    "release date",
    "release year",
    "genre",
    "genres",
    "director",
    "directors",
    "directed by",
    "rating",
    "reason",
    "why",
    "why you'll like it",
    "why it fits",
    "why watch",
    "rank",
    "description",
    "plot",
    "synopsis",
    "starring",
    "stars",
    "cast",
    "author",
    "runtime",
    "overview",
    "summary",
    "note",
    "imdb",
    "explanation",
    "brand",
    "price",
    "mood",
    "jahr",
    "année",
    "año",
    "年份",
    "导演",
    "理由",
    "簡介",
    "감독",
];
const YEAR_LABELS: [&str; 9] =
    ["year", "released", "release", "release date", "release year", "jahr", "année", "año", "年份"];

/// `**Title:** Heat`, `Title: Heat`, `**Movie 2**: Heat` → what follows the label.
pub(super) fn title_label(text: &str) -> Option<&str> {
    let (label, rest) = text.split_once([':', '：'])?;
    if label.len() > 40 {
        return None;
    }
    let marks = ['*', '_', '"', '`', ' '];
    let label = label.trim_matches(marks).trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['#', ' ']);
    let known = TITLE_LABELS.contains(&label.to_lowercase().as_str());
    // `**Title:**` closes its bold behind the colon.
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("**").filter(|_| text.starts_with("**")).unwrap_or(rest).trim_start();
    (known && !rest.is_empty() && !rest.starts_with("//")).then_some(rest)
}

/// The detail's label at the beginning of a text, and what follows its colon.
fn detail_label(text: &str) -> Option<(String, &str)> {
    let head = &text[..text.floor_char_boundary(48)];
    let at = head.find([':', '：'])?;
    let label = head[..at].trim_matches(['*', '_', '"', '`', ' ']).replace('’', "'").to_lowercase();
    let rest = text[at..].trim_start_matches([':', '：', '*', '_', ' ', '"']);
    DETAIL_LABELS.contains(&label.as_str()).then_some((label, rest))
}

/// True for a line that says something of a title: `Year: 1995`, `**Why:** …`.
pub(super) fn is_detail(text: &str) -> bool {
    detail_label(text).is_some()
}

/// The year of a line `Year: 1995`, `Released: May 1995`, `(1995)`.
pub(super) fn year_label(text: &str) -> Option<u16> {
    if let Some(inside) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        return first_year(inside).filter(|_| inside.len() == 4);
    }
    let (label, rest) = detail_label(text)?;
    if YEAR_LABELS.contains(&label.as_str()) { first_year(rest) } else { None }
}

/// Where the first detail begins behind a title, ` - **Year:** 1995`, and the year that the details give.
fn detail_at(text: &str) -> Option<(usize, Option<u16>)> {
    let separators = ['|', ',', ';', '(', '-', '–', '—', '•', '/', '.', ')', '*'];
    let mut first = None;
    let mut year = None;
    for (at, c) in text.char_indices().filter(|(_, c)| separators.contains(c)) {
        let rest = text[at + c.len_utf8()..].trim_start_matches([' ', '*', '_', '"']);
        if let Some((label, after)) = detail_label(rest).filter(|_| at > 0) {
            first.get_or_insert(at);
            if YEAR_LABELS.contains(&label.as_str()) {
                year = year.or_else(|| first_year(after));
            }
        }
    }
    first.map(|at| (at, year))
}

/// True for a line that is a sentence about something rather than a title.
pub(super) fn reads_as_sentence(text: &str) -> bool {
    let words = text.split_whitespace().count();
    words > 3 && text.trim_end_matches(['*', '_', '"', '”', ')']).ends_with(['.', '!', '?', '。'])
        || is_description(text) && words > 2
}

// ---------------------------------------------------------------------------------------------------------- what encloses

/// `**Title**: why`, `"Title" (1999)`, `[Title](address)` → the inside and what follows. None when the text is not
/// enclosed, or the quotes are a part of the title.
fn enclosed(text: &str) -> Option<(&str, &str)> {
    for mark in ["***", "**", "__", "*", "_", "`"] {
        if let Some(rest) = text.strip_prefix(mark) {
            let end = rest.find(mark).filter(|end| *end > 0)?;
            return Some((rest[..end].trim_end_matches(':'), &rest[end + mark.len()..]));
        }
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once("](")?;
        return Some((inside, after.split_once(')').map_or("", |(_, after)| after)));
    }
    let open = text.chars().next().filter(|c| "\"“«‘'„‹「『《〈【〖＂".contains(*c))?;
    let rest = &text[open.len_utf8()..];
    let close = closing(open);
    // The closing quote is the first one that a title could not go on after.
    let mut from = 0;
    while let Some(found) = rest[from..].find(close) {
        let end = from + found;
        let after = &rest[end + close.len_utf8()..];
        let follows = after.trim_start();
        let ends = follows.is_empty()
            || follows.starts_with(['(', '[', '-', '–', '—', ':', ',', '.', ';', '|', '*'])
            || follows.starts_with(['（', '［', '：', '，', '、', '。', '；', '·', '－', '~', '〜'])
            || matches!(open, '《' | '〈' | '【' | '〖')
            || after.starts_with(" by ")
            || after.starts_with(" directed ");
        if ends && end > 0 && !(close == '\'' && after.starts_with(|c: char| c.is_alphanumeric())) {
            return Some((rest[..end].trim_end_matches([',', ':']), after));
        }
        from = end + close.len_utf8();
    }
    None
}

pub(super) fn closing(open: char) -> char {
    match open {
        '„' => '“',
        '‹' => '›',
        '「' => '」',
        '『' => '』',
        '《' => '》',
        '〈' => '〉',
        '【' => '】',
        '〖' => '〗',
        '“' => '”',
        '«' => '»',
        '‘' => '’',
        other => other,
    }
}

/// Words that a parenthesis may hold beside a year without being a part of the title.
const NOTES: [&str; 24] = [
    "film",
    "movie",
    "movies",
    "tv",
    "series",
    "miniseries",
    "mini-series",
    "show",
    "upcoming",
    "remake",
    "version",
    "original",
    "animated",
    "live-action",
    "dir.",
    "directed",
    "documentary",
    "short",
    "novel",
    "book",
    "album",
    "trilogy",
    "franchise",
    "reboot",
];

/// Takes a year off: `(1999)`, `[1999]`, `(1999 film)`, `(TV series, 2008–2013)`, `, 1999` at the end. What follows the
/// parenthesis is description and goes too. Parentheses without a year or such a note are part of the title and stay.
pub(super) fn without_year(text: &str) -> (String, Option<u16>) {
    let mut from = 0;
    while let Some(found) = text[from..].find(['(', '[', '（', '［', '【']) {
        let at = from + found;
        let open = text[at..].chars().next().unwrap_or('(');
        let close = match open {
            '[' => ']',
            '（' => '）',
            '［' => '］',
            '【' => '】',
            _ => ')',
        };
        let start = at + open.len_utf8();
        let end = text[at..].find(close).map(|e| at + e);
        let inside = text[start..end.unwrap_or(text.len())].trim();
        let year = first_year(inside);
        let is_note =
            inside.split(|c: char| c.is_whitespace() || c == ',').any(|w| NOTES.contains(&w.to_lowercase().as_str()));
        let number = ["年", "년", "г.", "год", "г"].iter().find_map(|word| inside.strip_suffix(word)).unwrap_or(inside);
        let only_numbers = !number.chars().any(char::is_alphabetic);
        // `(Michael Mann, 1995)`
        let listed = || {
            inside
                .split([',', ';', '·', '/', '|', '，', '、'])
                .any(|part| part.trim().len() == 4 && first_year(part).is_some())
        };
        // `(19` at the end is a year cut short.
        let is_cut = end.is_none() && inside.len() < 5 && only_numbers;
        let rest = end.map_or("", |e| &text[e + close.len_utf8()..]);
        if at == 0 && end.is_some() && inside.len() == 4 && year.is_some() && rest.chars().any(char::is_alphanumeric) {
            // `(1995) Heat`
            let (title, other) = without_year(rest.trim_start_matches([' ', '-', '–', '—', ':']));
            return (title, other.or(year));
        }
        if at > 0
            && (year.is_some() && (only_numbers || is_note || inside.starts_with("released") || listed())
                || is_note
                || is_cut)
        {
            return (
                text[..at].trim_end().to_string(),
                year.or_else(|| without_year(rest).1.or_else(|| leading_year(rest))),
            );
        }
        from = start;
    }
    // `Heat, 1995`, `Heat — 1995 — Michael Mann`
    for separator in [", ", " - ", " – ", " — ", " · ", "，"] {
        for (at, _) in text.match_indices(separator).filter(|(at, _)| *at > 0) {
            let tail = text[at + separator.len()..].trim_start();
            let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
            let rest = tail[digits..].trim_end();
            let ends =
                rest.is_empty() || rest.starts_with([',', '，']) || rest.trim_start().starts_with(separator.trim());
            if let Some(year) = Some(tail).filter(|_| digits == 4 && ends).and_then(|tail| first_year(&tail[..4])) {
                return (text[..at].trim_end().to_string(), Some(year));
            }
        }
    }
    (text.to_string(), None)
}

/// The year at the beginning of what follows an enclosed title: `(1999) - why`, `, 1999`.
fn leading_year(tail: &str) -> Option<u16> {
    let tail = tail
        .trim_start_matches([' ', '(', '[', ',', '-', '–', '—', ':', '*', '_', '"', '（', '［', '，', '|', '·', '`']);
    let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 4 { first_year(&tail[..4]) } else { None }
}

/// A title that may end in its year: `Heat (1995)`, `Heat, 1995`.
pub(in crate::titles) fn title_and_year(text: &str) -> (String, Option<u16>) {
    without_year(short(text.trim()))
}

pub(super) fn is_year(year: u16) -> bool {
    (1870..=2100).contains(&year)
}

/// The first run of exactly four digits that is a year.
pub(super) fn first_year(text: &str) -> Option<u16> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|run| run.len() == 4)
        .find_map(|run| run.parse().ok().filter(|y| is_year(*y)))
}

/// Takes ` - why` and `: why` off, where what follows reads as a sentence and not as a subtitle: `Alien - a crew meets
/// something` loses its tail, `John Wick: Chapter 3 - Parabellum` does not.
fn without_description(text: &str) -> &str {
    for separator in [" - ", " – ", " — ", "—", ": ", "：", " － ", " ~ ", ". "] {
        let mut from = 0;
        while let Some(found) = text[from..].find(separator) {
            let at = from + found;
            let tail = &text[at + separator.len()..];
            // `a.k.a. `, `Mr. `, `Vol. 2`: a point behind a short word ends no title.
            let word = text[..at].rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
            let abbreviated = separator == ". " && (word.len() < 4 || text[..at].contains('('));
            if at > 0 && !abbreviated && is_description(tail) {
                return text[..at].trim_end();
            }
            from = at + separator.len();
        }
    }
    text
}

/// Letters of the scripts that are written without spaces and capitals.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// Titles are written with capitals, sentences are not: a tail of which most long words begin small is a description.
fn is_description(tail: &str) -> bool {
    let words: Vec<&str> =
        tail.split_whitespace().filter(|w| w.chars().filter(|c| c.is_alphabetic()).count() > 3).collect();
    let small = words.iter().filter(|w| w.chars().find(|c| c.is_alphabetic()).is_some_and(char::is_lowercase)).count();
    let lower = tail.to_lowercase();
    // Scripts without capitals: what is long, or has the marks of a sentence.
    let wide = tail.chars().filter(|c| is_wide(*c)).count();
    wide * 2 > tail.chars().count() && (wide > 14 || tail.contains(['。', '，', '、', '！']))
        || small >= 2 && small * 2 > words.len()
        || small == 1 && words.len() <= 2 && tail.chars().next().is_some_and(char::is_lowercase)
        || lower.starts_with("directed by ")
        || lower.starts_with("starring ")
        || lower.starts_with("dir. ")
}

/// Takes `directed by …`, `starring …` and `by Two Names` off.
fn without_author(text: &str) -> &str {
    let lower = text.to_ascii_lowercase();
    for mark in [" directed by ", ", dir. ", " starring "] {
        if let Some(at) = lower.find(mark).filter(|at| *at > 0) {
            return text[..at].trim_end_matches([' ', ',', '-', '–', '—']);
        }
    }
    if let Some(at) = text.rfind(" by ").filter(|at| *at > 0) {
        let names: Vec<&str> = text[at + 4..].split_whitespace().collect();
        let common = ["The", "A", "An", "My", "Your", "His", "Her", "Our", "Their", "Me", "You"];
        let is_name = |w: &&str| w.starts_with(char::is_uppercase) && !common.contains(w) && !w.contains(':');
        if (2..=4).contains(&names.len()) && names.iter().all(is_name) {
            return text[..at].trim_end_matches([' ', ',', '-', '–', '—']);
        }
    }
    text
}

/// Spaces made single; markdown, quotes around the whole and stray punctuation at the ends taken off.
pub(super) fn tidy(title: &str) -> String {
    let joined = without_entities(title).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = joined.as_str();
    loop {
        let before = text.len();
        text =
            text.trim().trim_start_matches(['*', '`', '>', '|']).trim_end_matches(['*', '`', ',', ';', ':', '|', '\\']);
        text = text.strip_suffix([' ', '-', '–', '—', '，', '、', '；', '：']).unwrap_or(text);
        text = text.trim_matches(|c: char| is_pictogram(c) || matches!(c, '\u{fe0f}' | '\u{200d}'));
        for open in ['"', '“', '«', '„', '「', '『', '《', '【'] {
            let inner = text.strip_prefix(open).and_then(|t| t.strip_suffix(closing(open)));
            text = inner.filter(|t| !t.contains(open)).unwrap_or(text);
        }
        if text.len() == before {
            break;
        }
    }
    // One lone quote is what is left of a line cut short.
    let quotes = text.matches('"').count();
    let text = if quotes == 1 { text.trim_matches('"') } else { text };
    if text.chars().any(char::is_alphanumeric) { text.trim().to_string() } else { String::new() }
}
