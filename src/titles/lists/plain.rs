//! Titles in plain text: one a line, or several in one.

use super::entry::{closing, entry, first_year, is_detail, reads_as_sentence, short, without_year};
use super::title::ParsedTitle;

pub(super) fn titles(lines: &[&str]) -> Vec<ParsedTitle> {
    let content: Vec<&str> = lines.iter().copied().filter(|l| !is_chatter(l)).collect();
    let dated = |l: &&&str| without_year(short(l)).1.is_some();
    // Titles with their years, and sentences under them.
    let titled: Vec<&str> = content.iter().filter(dated).copied().collect();
    if titled.len() > 1
        && titled.len() < content.len()
        && content.iter().filter(|l| !dated(l)).all(|l| reads_as_sentence(l) || is_detail(l))
    {
        return titled.into_iter().filter_map(entry).collect();
    }
    if content.len() > 1 {
        return content.into_iter().filter_map(|l| entry(l.trim_end_matches([',', ';']))).collect();
    }
    // One line of titles, perhaps inside a sentence.
    let in_prose = || lines.iter().flat_map(|line| titles_with_years(line)).collect::<Vec<_>>();
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
        let named = titles_with_years(line);
        if named.len() > 1 {
            return in_prose();
        }
        if body.len() < line.len() && !body.is_empty() {
            return entry(body).into_iter().collect();
        }
    }
    if content.is_empty() {
        return in_prose();
    }
    content.first().and_then(|l| entry(l)).into_iter().collect()
}

/// A line that speaks to the reader instead of naming a title.
pub(super) fn is_chatter(line: &str) -> bool {
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
    while let Some(at) = rest.find(['"', '“', '«', '„', '「', '『', '《']) {
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
    for (separator, least) in [(";", 1), (" | ", 2), (" / ", 2), ("、", 2), ("；", 1)] {
        let pieces: Vec<&str> = line.split(separator).map(str::trim).filter(|p| !p.is_empty()).collect();
        if pieces.len() > least {
            return pieces;
        }
    }
    let dated: Vec<&str> = line.split_inclusive("), ").collect();
    let all_dated = dated.len() > 1
        && dated.iter().filter(|p| without_year(short(p.trim_end_matches(", "))).1.is_some()).count() * 4
            >= dated.len() * 3;
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

/// Small words within a title.
const SMALL: [&str; 26] = [
    "a", "an", "and", "the", "of", "in", "on", "to", "for", "with", "from", "at", "by", "or", "vs", "vs.", "de", "la",
    "le", "les", "der", "die", "das", "und", "et", "&",
];

/// The titles that stand in a sentence with their years: `I would take Heat (1995) and The Thing (1982).` A title is the words
/// with capitals right before its year.
fn titles_with_years(line: &str) -> Vec<ParsedTitle> {
    let mut out = Vec::new();
    let mut from = 0;
    for (at, _) in line.match_indices('(') {
        let inside = line.get(at + 1..at + 5).filter(|_| line[at + 5..].starts_with(')')).unwrap_or("");
        let Some(year) = first_year(inside).filter(|_| at > from) else { continue };
        let before = line[from..at].trim_end();
        from = at + inside.len() + 1;
        let mut title: &str = "";
        let mut end = before.len();
        while let Some(word) = before[..end].split(' ').next_back().filter(|w| !w.is_empty()) {
            let start = end - word.len();
            let bare = word.trim_start_matches(['"', '“', '*', '_', '\'', '«', '(']);
            let capital = bare
                .chars()
                .next()
                .is_some_and(|c| c.is_uppercase() || c.is_numeric() || !c.is_lowercase() && c.is_alphabetic());
            // The words before a comma or a full stop belong to something else.
            let stops = end < before.len() && word.ends_with([',', '.', ';', '!', '?', ')']);
            if stops || !(capital || SMALL.contains(&bare)) {
                break;
            }
            if capital && bare != "I" {
                title = &before[start..];
            }
            if bare.len() < word.len() || start == 0 {
                break;
            }
            end = start - 1;
        }
        out.extend(entry(title).map(|parsed| ParsedTitle { year: Some(year), ..parsed }));
    }
    out
}
