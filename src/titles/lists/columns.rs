//! Tables: with and without outer bars, drawn with lines, by tabs, by commas.

use super::entry::{entry, first_year};
use super::marks::{Line, numbered};
use super::title::ParsedTitle;

/// Names of the column that holds the titles.
const TITLE: [&str; 22] = [
    "title",
    "titles",
    "movie",
    "movies",
    "movie title",
    "film",
    "film title",
    "movie name",
    "name",
    "item",
    "product",
    "book",
    "recommendation",
    "recommended movie",
    "recommended film",
    "titel",
    "titre",
    "título",
    "片名",
    "电影",
    "タイトル",
    "제목",
];
/// Names of other columns; with [`TITLE`] they tell a heading from a row.
const OTHER: [&str; 22] = [
    "#",
    "no",
    "no.",
    "nr",
    "rank",
    "number",
    "year",
    "release year",
    "released",
    "genre",
    "genres",
    "director",
    "reason",
    "why",
    "description",
    "rating",
    "jahr",
    "année",
    "año",
    "年份",
    "年",
    "연도",
];
const YEAR: [&str; 9] = ["year", "release year", "released", "jahr", "année", "año", "年份", "年", "연도"];

/// The titles of the first table among `lines`; empty: there is none.
pub(super) fn table(lines: &[&str]) -> Vec<ParsedTitle> {
    for separator in ['|', '\t', ';', ','] {
        let mut at = 0;
        while at < lines.len() {
            let end =
                lines[at..].iter().position(|l| !(is_row(l, separator) || is_rule(l))).map_or(lines.len(), |n| at + n);
            if end > at {
                let titles = read(&lines[at..end], separator);
                if !titles.is_empty() {
                    return titles;
                }
            }
            at = end.max(at + 1);
        }
    }
    Vec::new()
}

fn is_row(line: &str, separator: char) -> bool {
    line.trim().contains(separator) || separator == '|' && line.contains(['│', '┃', '｜'])
}

/// A line that is drawn: `|---|---|`, `--- | ---`, `+----+`, `├───┼───┤`.
fn is_rule(line: &str) -> bool {
    let line = line.trim();
    line.chars().filter(|c| matches!(c, '-' | '=' | '─' | '━' | '═')).count() > 1
        && line.chars().all(|c| "|-:+= \t".contains(c) || ('\u{2500}'..='\u{257f}').contains(&c))
}

/// The cells of a row: outer bars are no cells, quoted cells hold separators.
fn cells(line: &str, separator: char) -> Vec<String> {
    let line = match separator {
        '|' => line.replace(['│', '┃', '｜'], "|").trim().trim_matches('|').to_string(),
        _ => line.trim().to_string(),
    };
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        if c == '"' && matches!(separator, ',' | ';') {
            quoted = !quoted;
        } else if c == separator && !quoted {
            out.push(String::new());
        } else {
            out.iter_mut().last().into_iter().for_each(|cell| cell.push(c));
        }
    }
    out.iter().map(|cell| cell.trim().to_string()).collect()
}

fn named(cell: &str, names: &[&str]) -> bool {
    let cell = cell.trim_matches(['*', '_', '`', ' ', ':']).to_lowercase();
    names.contains(&cell.as_str())
}

fn read(lines: &[&str], separator: char) -> Vec<ParsedTitle> {
    let rule = lines.iter().enumerate().position(|(at, l)| at > 0 && is_rule(l));
    let rows: Vec<(usize, Vec<String>)> =
        lines.iter().enumerate().filter(|(_, l)| !is_rule(l)).map(|(at, l)| (at, cells(l, separator))).collect();
    let Some((_, first)) = rows.first() else { return Vec::new() };
    let heads = first.iter().filter(|cell| named(cell, &TITLE) || named(cell, &OTHER)).count();
    let is_headed = heads > 0 && heads * 2 >= first.len() && first.len() > 1;
    // What is parted by commas is a table only under a heading; a rule parts a heading from rows.
    let barred = separator == '|' && lines.iter().filter(|l| l.trim().starts_with(['|', '│', '┃'])).count() > 1;
    let is_table = match separator {
        '|' => {
            rule.is_some()
                || barred
                || is_headed
                || rows.len() > 1 && rows.iter().all(|(_, c)| c.len() == first.len() && c.len() > 1)
        }
        '\t' => rows.len() > 1 && (is_headed || rows.iter().all(|(_, c)| c.len() == first.len())),
        _ => is_headed && first.iter().any(|cell| named(cell, &TITLE)),
    };
    // `1. Heat | 1995` is a list.
    let listed = rows.iter().filter(|(_, c)| Line::of(&c[0]).mark.is_some() && !is_rank(&c[0])).count();
    if !is_table || listed * 2 > rows.len() {
        return Vec::new();
    }
    let header = if is_headed || rule.is_some() && separator == '|' { Some(first.clone()) } else { None };
    let rows = &rows[usize::from(header.is_some())..];
    let column = |names: &[&str]| header.as_ref().and_then(|h| h.iter().position(|cell| named(cell, names)));
    // Without a name it is the first column that holds no ranks.
    let ranks = |at: usize| rows.iter().all(|(_, c)| c.get(at).is_none_or(|c| c.is_empty() || is_rank(c)));
    let width = rows.iter().map(|(_, c)| c.len()).max().unwrap_or(0);
    let title = column(&TITLE).or_else(|| (0..width.min(64)).find(|at| width == 1 || !ranks(*at))).unwrap_or(0);
    let year = column(&YEAR);
    let read = |cells: &Vec<String>| {
        let mut parsed = entry(cells.get(title).filter(|cell| !cell.is_empty())?)?;
        if parsed.year.is_none() {
            let named = year.and_then(|at| first_year(cells.get(at)?));
            let other = || cells.iter().enumerate().filter(|(at, _)| *at != title).map(|(_, c)| c);
            parsed.year = named.or_else(|| {
                other().find(|c| c.trim_matches(['*', '_', '(', ')']).len() == 4).and_then(|c| first_year(c))
            });
        }
        Some(parsed)
    };
    rows.iter().filter_map(|(_, cells)| read(cells)).collect()
}

/// A cell that is nothing but a rank: `1`, `1.`, `#1`, `1️⃣`, `🥇`.
fn is_rank(cell: &str) -> bool {
    let bare = cell.trim_matches(['*', '_', ' ']);
    let digits = bare.trim_start_matches('#').trim_end_matches(['.', ')']);
    digits.len() < 4 && !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
        || numbered(bare).is_some_and(|(_, _, body)| body.is_empty())
}
