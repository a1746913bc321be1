//! What a teacher answered → the titles it lists, in order (§3.3). Nothing is looked up here: see [`super::ground`].
//!
//! An answer is read as the first of these that it holds: a JSON list, a table, a numbered list, a bulleted list, plain
//! lines, one line of quoted or comma-separated titles. A repeated title is given as often as it is listed.

use serde_json::Value;

/// A title as an answer lists it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ParsedTitle {
    /// The title without number, bullet, quotes, markdown, year and description; never empty.
    pub title: String,
    /// The year, when the answer gives one in 1870..=2100.
    pub year: Option<u16>,
}

/// The titles that `answer` lists, in order; empty when it lists none. Any text is accepted.
pub fn parse_titles(answer: &str) -> Vec<ParsedTitle> {
    if let Some(titles) = json_list(answer) {
        return titles;
    }
    let lines: Vec<&str> = answer.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("```")).collect();
    for read in [table, numbered, bulleted] {
        let titles = read(&lines);
        if !titles.is_empty() {
            return titles;
        }
    }
    plain(&lines)
}

// ---------------------------------------------------------------------------------------------------------------- JSON

/// Keys under which an object of a list holds its title, in order of preference.
const TITLE_KEYS: [&str; 8] = ["title", "name", "movie", "film", "item", "product", "book", "recommendation"];
/// Places where a list may begin that are tried: an answer is not searched for ever.
const LIST_STARTS: usize = 32;

/// The elements of the first JSON list of titles; a list that is cut short gives the elements before the cut.
fn json_list(answer: &str) -> Option<Vec<ParsedTitle>> {
    for (at, _) in answer.match_indices('[').take(LIST_STARTS) {
        let mut rest = answer[at + 1..].trim_start();
        let mut titles = Vec::new();
        while rest.starts_with(['"', '{']) {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let Some(Ok(value)) = values.next() else { break };
            let after = rest[values.byte_offset()..].trim_start();
            // `["The Matrix"](http://…)` or `["A" and "B"]` is prose, not JSON.
            if !(after.is_empty() || after.starts_with([',', ']'])) {
                titles.clear();
                break;
            }
            titles.extend(json_title(&value));
            rest = after.strip_prefix(',').unwrap_or("").trim_start();
        }
        if !titles.is_empty() {
            return Some(titles);
        }
    }
    // JSON lines: every object on a line of its own.
    let objects = answer.lines().map(|l| l.trim().trim_end_matches(','));
    let titles: Vec<_> = objects
        .filter(|l| l.starts_with('{'))
        .filter_map(|l| serde_json::from_str(l).ok())
        .filter_map(|v| json_title(&v))
        .collect();
    (!titles.is_empty()).then_some(titles)
}

fn json_title(value: &Value) -> Option<ParsedTitle> {
    match value {
        Value::String(text) => entry(numbered_body(text.trim()).map_or(text, |(_, body)| body)),
        Value::Object(fields) => {
            let field = |wanted: &str| fields.iter().find(|(k, _)| k.eq_ignore_ascii_case(wanted)).map(|(_, v)| v);
            let title = TITLE_KEYS.iter().find_map(|key| field(key)?.as_str())?;
            let year = ["year", "release_year"].iter().find_map(|key| match field(key)? {
                Value::Number(n) => n.as_u64().and_then(|y| u16::try_from(y).ok()).filter(|y| is_year(*y)),
                Value::String(text) => first_year(text),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            });
            let (title, told) = without_year(title.trim());
            let title = tidy(&title);
            (!title.is_empty()).then_some(ParsedTitle { title, year: year.or(told) })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

// --------------------------------------------------------------------------------------------------------------- lists

/// A markdown table: the first cell of each row that is no bare number, and the year in a cell of its own.
fn table(lines: &[&str]) -> Vec<ParsedTitle> {
    let is_rule = |l: &str| l.contains('-') && l.starts_with('|') && l.chars().all(|c| "|-: ".contains(c));
    let Some(rule) = lines.iter().position(|l| is_rule(l)) else { return Vec::new() };
    let rows = lines[rule + 1..].iter().take_while(|l| l.starts_with('|'));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let is_rank = |c: &str| cells.len() > 1 && c.trim_end_matches(['.', ')']).chars().all(|c| c.is_ascii_digit());
        let at = usize::from(cells.first().is_some_and(|c| is_rank(c)));
        let mut parsed = entry(cells.get(at)?)?;
        if parsed.year.is_none() {
            parsed.year = cells[at + 1..].iter().find(|c| c.len() == 4).and_then(|c| first_year(c));
        }
        Some(parsed)
    })
    .collect()
}

/// The lines that begin with a number; what stands before, between and after is passed over.
fn numbered(lines: &[&str]) -> Vec<ParsedTitle> {
    let mut bodies: Vec<&str> = Vec::new();
    let mut last = 0;
    for line in lines {
        let line = bullet_body(line).unwrap_or(line);
        if let Some((number, body)) = numbered_body(line) {
            // `300: Rise of an Empire` is a title: a weak mark counts only where it goes on counting.
            if mark_is_weak(line) && number != last + 1 {
                continue;
            }
            last = number;
            bodies.push(body);
        }
    }
    // Headings of categories over bulleted titles.
    let headings = bodies.iter().filter(|b| b.trim_end_matches(['*', '_']).ends_with(':')).count();
    let bullets = lines.iter().filter(|l| bullet_body(l).is_some()).count();
    if headings * 2 > bodies.len() && bullets > bodies.len() {
        return Vec::new();
    }
    match bodies[..] {
        [only] => split_numbers(only, last).into_iter().filter_map(entry).collect(),
        _ => bodies.into_iter().filter_map(entry).collect(),
    }
}

/// `The Matrix 2. Heat 3. Up`, after its first number: the parts between numbers that count on.
fn split_numbers(line: &str, first: u32) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    // No list that was asked for is longer: an endless answer is not searched through for every number.
    for number in (first + 1..).take(1000) {
        let found =
            [format!(" {number}. "), format!(" {number}) ")].iter().find_map(|m| Some((rest.find(m)?, m.len())));
        let Some((at, length)) = found else { break };
        parts.push(rest[..at].trim_end_matches([',', ';']));
        rest = &rest[at + length..];
    }
    parts.push(rest);
    parts
}

fn bulleted(lines: &[&str]) -> Vec<ParsedTitle> {
    lines.iter().filter_map(|l| bullet_body(l)).filter_map(entry).collect()
}

/// `- The Matrix` → `The Matrix`.
fn bullet_body(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(['-', '*', '+', '•', '·', '–', '—', '▪', '◦', '●', '○', '‣', '►', '✓', '→'])?;
    let body = rest.trim_start();
    (body.len() < rest.len() && !body.is_empty()).then_some(body)
}

/// `12. The Matrix`, `12) …`, `(12) …`, `[12] …`, `#12 …`, `12: …`, `12 - …`, `**12.** …` → the number and the rest.
fn numbered_body(line: &str) -> Option<(u32, &str)> {
    let bold = line.strip_prefix("**").filter(|inner| inner.starts_with(|c: char| c.is_ascii_digit()));
    let line = bold.unwrap_or(line);
    let open = line.strip_prefix(['(', '[', '#']);
    let text = open.unwrap_or(line);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 3 {
        return None;
    }
    let number = text[..digits].parse().ok()?;
    let rest = &text[digits..];
    let strong = rest.strip_prefix(['.', ')', ']']).map(|r| r.strip_prefix(['.', ':']).unwrap_or(r));
    let rest = match strong {
        Some(rest) => rest,
        None if line.starts_with('#') => rest.strip_prefix(':').unwrap_or(rest),
        None => rest.strip_prefix(':').or_else(|| rest.strip_prefix(" -")).or_else(|| rest.strip_prefix(" –"))?,
    };
    let unbold = rest.strip_prefix("**").filter(|_| bold.is_some());
    let gap = unbold.unwrap_or(rest);
    // `3.5 stars`, `(500) Days of Summer` without a mark: a space must follow, or quotes, bold, a link.
    let separated = gap.is_empty() || gap.starts_with(|c: char| c.is_whitespace() || "*_\"“'‘«[".contains(c));
    if !separated || (open.is_some() && number >= 300) {
        return None;
    }
    // `**1. Title** …`: the bold goes on over the title.
    let body =
        if bold.is_some() && unbold.is_none() { gap.trim_start().trim_start_matches('*') } else { gap.trim_start() };
    (!body.is_empty()).then_some((number, body))
}

/// Numbers marked by a colon or a dash alone also begin titles.
fn mark_is_weak(line: &str) -> bool {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < line.len() && (rest.starts_with(':') || rest.starts_with(" -") || rest.starts_with(" –"))
}

// --------------------------------------------------------------------------------------------------------- plain text

fn plain(lines: &[&str]) -> Vec<ParsedTitle> {
    let content: Vec<&str> = lines.iter().copied().filter(|l| !is_chatter(l)).collect();
    if content.len() > 1 {
        return content.into_iter().filter_map(|l| entry(l.trim_end_matches([',', ';']))).collect();
    }
    // One line of titles, perhaps inside a sentence.
    for line in content.iter().chain(lines) {
        let quoted = quoted_parts(line);
        if quoted.len() > 1 {
            return quoted.into_iter().filter_map(entry).collect();
        }
        let body = after_introduction(line);
        let pieces = split_list(body);
        if pieces.len() > 1 {
            return pieces.into_iter().filter_map(entry).collect();
        }
        if body.len() < line.len() && !body.is_empty() {
            return entry(body).into_iter().collect();
        }
    }
    content.first().and_then(|l| entry(l)).into_iter().collect()
}

/// A line that speaks to the reader instead of naming a title.
fn is_chatter(line: &str) -> bool {
    let lower = line.to_lowercase().replace('’', "'");
    let words = lower.split_whitespace().count();
    let speaks =
        ["user:", "system:", "assistant:", "sure", "certainly", "of course", "absolutely", "hello", "hi ", "hi!"];
    let opens = [
        "here are",
        "here is",
        "here's",
        "i ",
        "i'm",
        "i've",
        "i'd",
        "based on",
        "let me know",
        "hope",
        "these",
        "great",
        "thank",
        "you ",
        "if you",
        "enjoy",
        "as a",
        "as an",
        "please",
        "note:",
        "yes,",
        "no,",
        "okay",
        "ok,",
        "feel free",
        "what ",
        "have ",
    ];
    let ends = line.ends_with(['.', '!', '?', ':']);
    line.ends_with(':')
        || speaks.iter().any(|s| lower.starts_with(s)) && (words > 6 || ends)
        || opens.iter().any(|s| lower.starts_with(s)) && words > 3 && ends
        || words > 12 && line.ends_with(['.', '!', '?'])
}

/// `Sure! Here are some films: A, B` → `A, B`; a line without such an introduction is returned whole.
fn after_introduction(line: &str) -> &str {
    let Some((before, after)) = line.split_once(": ") else { return line };
    let lower = before.to_lowercase();
    let introduces = [
        "recommend",
        "here are",
        "here is",
        "suggest",
        "sure",
        "you might",
        "you may",
        "try",
        "titles",
        "movies",
        "films",
        "list",
    ];
    if introduces.iter().any(|w| lower.contains(w)) { after.trim() } else { line }
}

/// The parts of a line that stand in double quotes.
fn quoted_parts(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find(['"', '“', '«']) {
        let open = rest[at..].chars().next().unwrap_or('"');
        let after = &rest[at + open.len_utf8()..];
        let close = closing(open);
        let Some(end) = after.find(close) else { break };
        parts.push(after[..end].trim_end_matches([',', '.', ';']));
        rest = &after[end + close.len_utf8()..];
    }
    parts
}

/// Pieces of `A; B; C` or `A, B, C and D`, or the line itself when it is no list. Three commas at least, or a year after
/// every title, because titles hold commas too.
fn split_list(line: &str) -> Vec<&str> {
    let line = line.trim_end_matches(['.', ';']);
    for (separator, least) in [(";", 1), (" | ", 2), (" / ", 2)] {
        let pieces: Vec<&str> = line.split(separator).map(str::trim).filter(|p| !p.is_empty()).collect();
        if pieces.len() > least {
            return pieces;
        }
    }
    let dated: Vec<&str> = line.split_inclusive("), ").collect();
    let all_dated = dated.len() > 1
        && dated.iter().filter(|p| without_year(p.trim_end_matches(", ")).1.is_some()).count() * 4 >= dated.len() * 3;
    let mut pieces: Vec<&str> = if all_dated {
        dated.into_iter().map(|p| p.trim_end_matches(", ")).collect()
    } else if line.matches(", ").count() >= 3 {
        line.split(", ").collect()
    } else {
        return vec![line];
    };
    if let Some(last) = pieces.last_mut() {
        if let Some(bare) = last.strip_prefix("and ").or_else(|| last.strip_prefix("& ")) {
            *last = bare;
        } else if let Some((left, right)) = last.split_once(" and ").filter(|_| !all_dated) {
            *last = left;
            pieces.push(right);
        }
    }
    pieces
}

// ------------------------------------------------------------------------------------------------------------ one entry

/// One entry of a list → its title and year: markdown, quotes, year, author and description come off.
fn entry(text: &str) -> Option<ParsedTitle> {
    let text = text.trim();
    let (head, tail, enclosed) = match enclosed(text) {
        Some((inside, after)) => (inside.to_string(), after, true),
        None => (text.to_string(), "", false),
    };
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
    (!title.is_empty()).then_some(ParsedTitle { title, year })
}

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
    let open = text.chars().next().filter(|c| "\"“«‘'".contains(*c))?;
    let rest = &text[open.len_utf8()..];
    let close = closing(open);
    // The closing quote is the first one that a title could not go on after.
    let mut from = 0;
    while let Some(found) = rest[from..].find(close) {
        let end = from + found;
        let after = &rest[end + close.len_utf8()..];
        let follows = after.trim_start();
        let ends = follows.is_empty()
            || follows.starts_with(['(', '[', '-', '–', '—', ':', ',', '.', ';'])
            || after.starts_with(" by ")
            || after.starts_with(" directed ");
        if ends && end > 0 && !(close == '\'' && after.starts_with(|c: char| c.is_alphanumeric())) {
            return Some((rest[..end].trim_end_matches([',', ':']), after));
        }
        from = end + close.len_utf8();
    }
    None
}

fn closing(open: char) -> char {
    match open {
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
fn without_year(text: &str) -> (String, Option<u16>) {
    let mut from = 0;
    while let Some(found) = text[from..].find(['(', '[']) {
        let at = from + found;
        let close = if text[at..].starts_with('(') { ')' } else { ']' };
        let end = text[at..].find(close).map(|e| at + e);
        let inside = text[at + 1..end.unwrap_or(text.len())].trim();
        let year = first_year(inside);
        let is_note =
            inside.split(|c: char| c.is_whitespace() || c == ',').any(|w| NOTES.contains(&w.to_lowercase().as_str()));
        let only_numbers = !inside.chars().any(char::is_alphabetic);
        // `(19` at the end is a year cut short.
        let is_cut = end.is_none() && inside.len() < 5 && only_numbers;
        if at > 0
            && (year.is_some() && (only_numbers || is_note || inside.starts_with("released")) || is_note || is_cut)
        {
            let rest = end.map_or("", |e| &text[e + 1..]);
            return (
                text[..at].trim_end().to_string(),
                year.or_else(|| without_year(rest).1.or_else(|| leading_year(rest))),
            );
        }
        from = at + 1;
    }
    let ending = text.rsplit_once(", ").filter(|(before, after)| !before.is_empty() && after.trim().len() == 4);
    if let Some((before, year)) = ending.and_then(|(before, after)| Some((before, first_year(after)?))) {
        return (before.trim_end().to_string(), Some(year));
    }
    (text.to_string(), None)
}

/// The year at the beginning of what follows an enclosed title: `(1999) - why`, `, 1999`.
fn leading_year(tail: &str) -> Option<u16> {
    let tail = tail.trim_start_matches([' ', '(', '[', ',', '-', '–', '—', ':', '*', '_', '"']);
    let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 4 { first_year(&tail[..4]) } else { None }
}

/// A title that may end in its year: `Heat (1995)`, `Heat, 1995`.
pub(super) fn title_and_year(text: &str) -> (String, Option<u16>) {
    without_year(text.trim())
}

fn is_year(year: u16) -> bool {
    (1870..=2100).contains(&year)
}

/// The first run of exactly four digits that is a year.
fn first_year(text: &str) -> Option<u16> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|run| run.len() == 4)
        .find_map(|run| run.parse().ok().filter(|y| is_year(*y)))
}

/// Takes ` - why` and `: why` off, where what follows reads as a sentence and not as a subtitle: `Alien - a crew meets
/// something` loses its tail, `John Wick: Chapter 3 - Parabellum` does not.
fn without_description(text: &str) -> &str {
    for separator in [" - ", " – ", " — ", "—", ": "] {
        let mut from = 0;
        while let Some(found) = text[from..].find(separator) {
            let at = from + found;
            let tail = &text[at + separator.len()..];
            if at > 0 && is_description(tail) {
                return text[..at].trim_end();
            }
            from = at + separator.len();
        }
    }
    text
}

/// Titles are written with capitals, sentences are not: a tail of which most long words begin small is a description.
fn is_description(tail: &str) -> bool {
    let words: Vec<&str> =
        tail.split_whitespace().filter(|w| w.chars().filter(|c| c.is_alphabetic()).count() > 3).collect();
    let small = words.iter().filter(|w| w.chars().find(|c| c.is_alphabetic()).is_some_and(char::is_lowercase)).count();
    let lower = tail.to_lowercase();
    small >= 2 && small * 2 > words.len()
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
fn tidy(title: &str) -> String {
    let joined = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = joined.as_str();
    loop {
        let before = text.len();
        text =
            text.trim().trim_start_matches(['*', '`', '>', '|']).trim_end_matches(['*', '`', ',', ';', ':', '|', '\\']);
        text = text.strip_suffix([' ', '-', '–', '—']).unwrap_or(text);
        for open in ['"', '“', '«'] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn titles(answer: &str) -> Vec<String> {
        parse_titles(answer)
            .into_iter()
            .map(|p| p.year.map_or(p.title.clone(), |y| format!("{} @{y}", p.title)))
            .collect()
    }

    #[test]
    fn every_shape_of_list_gives_the_same_two_titles() {
        let shapes = [
            "1. Alien (1979)\n2. The Thing (1982)",
            "1) Alien (1979)\n2) The Thing (1982)",
            "(1) Alien (1979)\n(2) The Thing (1982)",
            "[1] Alien (1979)\n[2] The Thing (1982)",
            "#1: Alien (1979)\n#2: The Thing (1982)",
            "1: Alien (1979)\n2: The Thing (1982)",
            "1 - Alien (1979)\n2 - The Thing (1982)",
            "1.\"Alien\" (1979)\n2.\"The Thing\" (1982)",
            "- Alien (1979)\n- The Thing (1982)",
            "* Alien (1979)\n* The Thing (1982)",
            "• Alien (1979)\n• The Thing (1982)",
            "1. **Alien** (1979)\n2. **The Thing** (1982)",
            "**1. Alien** (1979)\n**2. The Thing** (1982)",
            "**1.** Alien (1979)\n**2.** The Thing (1982)",
            "1. **Alien (1979)**: why not\n2. **The Thing (1982)**: cold and strange",
            "1. **\"Alien\" (1979)** - a crew\n2. **\"The Thing\" (1982)** - a camp",
            "1. *Alien* (1979)\n2. _The Thing_ (1982)",
            "1. “Alien” (1979)\n2. “The Thing” (1982)",
            "1. 'Alien' (1979)\n2. ‘The Thing’ (1982)",
            "1. «Alien» (1979)\n2. «The Thing» (1982)",
            "1. Alien (1979) - a crew meets something\n2. The Thing (1982) – a camp in the ice",
            "1. Alien (1979): a crew meets something\n2. The Thing (1982): a camp in the ice",
            "1. Alien (1979) directed by Ridley Scott\n2. The Thing (1982), directed by John Carpenter",
            "1. Alien, 1979\n2. The Thing, 1982",
            "1. Alien [1979]\n2. The Thing (1982 film)",
            "1. [Alien](http://a.b/c) (1979)\n2. [The Thing (1982)](http://a.b/d)",
            "Sure! Here are some films:\n\n1. Alien (1979)\n2. The Thing (1982)\n\nEnjoy the evening! Let me know what you think.",
            "Here you go:\nAlien (1979)\nThe Thing (1982)",
            "Alien (1979), The Thing (1982)",
            "Alien (1979); The Thing (1982); ",
            "1. Alien (1979) 2. The Thing (1982)",
            "I would suggest \"Alien (1979)\" and \"The Thing (1982)\".",
            "```\n1. Alien (1979)\n2. The Thing (1982)\n```",
            "```json\n[\"Alien (1979)\", \"The Thing (1982)\"]\n```",
            "Here: [\"Alien (1979)\", \"The Thing (1982)\"] Enjoy!",
            "[\"1. Alien (1979)\", \"2. The Thing (1982)\"",
            "[{\"title\": \"Alien\", \"year\": 1979}, {\"Title\": \"The Thing\", \"year\": \"1982\", \"genres\": [\"horror\"]}]",
            "{\"movies\": [{\"name\": \"Alien\", \"year\": 1979}, {\"name\": \"The Thing\", \"year\": 1982}]}",
            "[{\"title\": \"Alien\", \"year\": 1979}, {\"title\": \"The Thing\", \"year\": 1982}, {\"title\": \"The Fl",
            "{\"title\": \"Alien\", \"year\": 1979}\n{\"title\": \"The Thing\", \"year\": 1982}",
            "| # | Title | Year |\n|---|-------|------|\n| 1 | Alien | 1979 |\n| 2 | The Thing | 1982 |",
            "1. Alien (1979)\n   - A crew meets something.\n2. The Thing (1982)\n   - A camp in the ice.",
            "1. Horror:\n   - Alien (1979)\n   - The Thing (1982)\n   - ",
        ];
        for shape in shapes {
            assert_eq!(titles(shape), ["Alien @1979", "The Thing @1982"], "{shape}");
        }
    }

    #[test]
    fn titles_keep_their_own_numbers_dashes_colons_and_parentheses() {
        for title in [
            "12 Angry Men",
            "300",
            "300: Rise of an Empire",
            "2001: A Space Odyssey",
            "Blade Runner 2049",
            "1917",
            "(500) Days of Summer",
            "10 Things I Hate About You",
            "Mission: Impossible - Fallout",
            "John Wick: Chapter 3 - Parabellum",
            "Stand by Me",
            "Star Wars: Episode IV - A New Hope",
            "Call Me by Your Name",
            "The Good, the Bad and the Ugly",
            "Paris, Texas",
            "The Meyerowitz Stories (New and Selected)",
            "What's Eating Gilbert Grape",
            "'Round Midnight",
            "9 to 5",
            "Kill Bill: Vol. 1",
            "I, Tonya",
            "Crazy, Stupid, Love",
            "*batteries not included",
            "Shazam!",
            "O Brother, Where Art Thou?",
            "Spider-Man: Homecoming",
            "\"Crocodile\" Dundee",
            "...And Justice for All",
            "8½",
            "K-19: The Widowmaker",
            "Face/Off",
        ] {
            assert_eq!(
                titles(&format!("1. {title}\n2. Heat")),
                [title, "Heat"].map(|t| t.trim_start_matches('*')),
                "{title}"
            );
            assert_eq!(
                titles(&format!("1. {title} (1999)\n2. Heat"))[0],
                format!("{} @1999", title.trim_start_matches('*'))
            );
        }
    }

    #[test]
    fn notes_authors_and_half_lines_come_off() {
        let one = |line: &str| titles(&format!("1. {line}\n2. Heat"))[0].clone();
        assert_eq!(one("The Haunting of Hill House (TV series)"), "The Haunting of Hill House");
        assert_eq!(one("Andor (TV Series 2022–2025)"), "Andor @2022");
        assert_eq!(one("Neuromancer (upcoming)"), "Neuromancer");
        assert_eq!(one("Dune by Frank Herbert"), "Dune");
        assert_eq!(one("\"Dune\" by Frank Herbert"), "Dune");
        assert_eq!(one("Amadeus - directed by Milos Forman"), "Amadeus");
        assert_eq!(one("Alien - a crew meets something in deep space"), "Alien");
        assert_eq!(one("Alien: In space, nobody hears you because there is nothing that carries sound."), "Alien");
        assert_eq!(titles("1. Heat\n2. Blade Runner (19"), ["Heat", "Blade Runner"]);
        assert_eq!(titles("1. Heat\n2."), ["Heat"]);
        assert_eq!(titles("1. Heat\n2. \"Blade Run"), ["Heat", "Blade Run"]);
    }

    #[test]
    fn answers_without_a_list_name_nothing_or_the_one_title() {
        assert_eq!(titles(""), [""; 0]);
        assert_eq!(titles("I'm sorry, I cannot recommend anything without knowing what you like."), [""; 0]);
        assert_eq!(titles("Sure! What kind of films do you like?"), [""; 0]);
        assert_eq!(titles("[]"), [""; 0]);
        assert_eq!(titles("Inception"), ["Inception"]);
        assert_eq!(titles("Heat, Ronin, Alien, The Thing and Up"), ["Heat", "Ronin", "Alien", "The Thing", "Up"]);
        assert_eq!(titles("You might like: Heat, Ronin, Alien, and Up."), ["Heat", "Ronin", "Alien", "Up"]);
    }

    /// Where the reference's own parse differs from ours, and why ours is right.
    fn explained(said: &str, ours: &ParsedTitle) -> bool {
        // The reference drops every parenthesis, whatever it holds; a subtitle in parentheses is part of the title …
        let subtitle = ours.title.strip_prefix(said).is_some_and(|rest| rest.starts_with(" (") && rest.ends_with(')'));
        // … and what follows the year in parentheses is a description.
        let description = said.strip_prefix(ours.title.as_str()).is_some_and(|rest| rest.starts_with(" - "));
        subtitle || description && ours.year.is_some()
    }

    /// All titles that differ from the reference's reading: enumerations and a subtitle in parentheses, and one description.
    const DIFFER: [&str; 5] = [
        "In Time",
        "The Before Trilogy (Before Sunrise, Before Sunset, Before Midnight)",
        "The Coen Brothers' films (Fargo, Burn After Reading, etc.)",
        "The Cornetto Trilogy (Shaun of the Dead, Hot Fuzz, The World's End)",
        "The Meyerowitz Stories (New and Selected)",
    ];

    #[test]
    fn all_real_answers_give_their_titles_as_the_reference_read_them() {
        let Some(path) = crate::testing::shared("data/llm_outputs/gpt4_inspired.jsonl") else { return };
        let rows: Vec<Value> = crate::artifact::read_jsonl(&path).unwrap();
        assert_eq!(rows.len(), 228);
        let mut differ = std::collections::BTreeSet::new();
        for row in &rows {
            let ours = parse_titles(row["text"].as_str().unwrap());
            let said: Vec<&str> =
                row["matched"].as_array().unwrap().iter().map(|m| m["said"].as_str().unwrap()).collect();
            assert_eq!(ours.len(), 20, "answer {}: {ours:?}", row["index"]);
            assert_eq!(said.len(), 20);
            for (said, ours) in said.iter().zip(&ours) {
                if *said != ours.title {
                    assert!(explained(said, ours), "answer {}: reference {said:?}, ours {ours:?}", row["index"]);
                    differ.insert(ours.title.clone());
                }
            }
        }
        assert_eq!(differ.iter().collect::<Vec<_>>(), DIFFER);
        // Every year that an answer states is read.
        let years =
            rows.iter().flat_map(|r| parse_titles(r["text"].as_str().unwrap())).filter(|p| p.year.is_some()).count();
        let year_in_parentheses =
            |l: &str| l.split('(').skip(1).any(|p| first_year(p.get(..4).unwrap_or("")).is_some());
        let stated = rows
            .iter()
            .flat_map(|r| r["text"].as_str().unwrap().lines())
            .filter(|l| l.starts_with(|c: char| c.is_ascii_digit()) && year_in_parentheses(l))
            .count();
        assert_eq!(years, stated);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_give_an_empty_title(text in "(?s).{0,300}") {
            for parsed in parse_titles(&text) {
                prop_assert!(!parsed.title.trim().is_empty());
            }
        }

        #[test]
        fn no_soup_of_marks_makes_it_panic(parts in proptest::collection::vec(prop_oneof![
            Just("["), Just("\""), Just("{"), Just("]"), Just("("), Just(")"), Just("1. "), Just("- "), Just("**"), Just("\n"), Just(" by "),
            Just(": "), Just(" - "), Just("1999"), Just("title"), Just(","), Just("é"), Just("“"), Just("”"), Just("'"), Just("|"), Just("19")
        ], 0..60)) {
            for parsed in parse_titles(&parts.concat()) {
                prop_assert!(!parsed.title.trim().is_empty());
            }
        }

        #[test]
        fn what_is_written_as_a_list_is_read_back(
            names in proptest::collection::vec("[A-Z][a-z]{1,8}(( |: |-| & |, )[A-Z][a-z]{1,8}){0,4}[!?]?", 2..20),
            year in proptest::option::of(1900u16..2030),
            style in 0..6usize,
        ) {
            let dated = |n: &str| year.map_or(n.to_string(), |y| format!("{n} ({y})"));
            let text: Vec<String> = names.iter().enumerate().map(|(i, n)| match style {
                0 => format!("{}. {}", i + 1, dated(n)),
                1 => format!("- {}", dated(n)),
                2 => format!("{}) **{n}**{}", i + 1, year.map_or(String::new(), |y| format!(" ({y}): because it is good"))),
                3 => format!("{}. \"{n}\"{}", i + 1, year.map_or(String::new(), |y| format!(" ({y}) - because it is good"))),
                4 => format!("* **{}**", dated(n)),
                _ => format!("{}. {}", i + 1, dated(n)),
            }).collect();
            let text = if style == 5 { serde_json::to_string(&names.iter().map(|n| dated(n)).collect::<Vec<_>>()).unwrap() } else { text.join("\n") };
            let expected: Vec<ParsedTitle> = names.iter().map(|n| ParsedTitle { title: n.clone(), year }).collect();
            prop_assert_eq!(parse_titles(&text), expected, "{}", text);
        }
    }
}
