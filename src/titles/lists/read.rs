//! Which shape an answer has, and the titles in it.

use super::entry::{entry, is_detail, reads_as_sentence, title_label, year_label};
use super::marks::{self, Line, Mark};
use super::title::ParsedTitle;
use super::{columns, html, json, plain};
use crate::titles::answer::clean_answer;

/// Lists within texts within lists that are read.
const MOST_DEPTH: usize = 3;

/// The titles that `answer` lists, in order; empty when it lists none. Any text is accepted; thinking and control tokens are
/// no part of it ([`clean_answer`]).
pub fn parse_titles(answer: &str) -> Vec<ParsedTitle> {
    read(&clean_answer(answer).into_text(), 0)
}

fn read(text: &str, depth: usize) -> Vec<ParsedTitle> {
    if depth > MOST_DEPTH {
        return Vec::new();
    }
    if let Some(titles) = json::json_titles(text, &|inner| read(inner, depth + 1)) {
        return titles;
    }
    let text = without_escapes(&html::as_lines(text));
    let lines: Vec<&str> = text
        .lines()
        .flat_map(introduced)
        .filter(|l| !l.trim().is_empty() && !l.trim_start().starts_with("```"))
        .collect();
    let titles = columns::table(&lines);
    if !titles.is_empty() {
        return titles;
    }
    let lines: Vec<Line> = lines.into_iter().map(Line::of).filter(|l| !l.text.is_empty()).collect();
    for reader in [numbered, lettered, labelled, headings, bulleted, bold] {
        let titles = reader(&lines);
        if !titles.is_empty() {
            return titles;
        }
    }
    let rest: Vec<&str> = lines.iter().filter(|l| l.heading == 0 && !is_drawn(l.text)).map(|l| l.text).collect();
    plain::titles(&rest)
}

/// `Here are two: 1. Heat (1995)` → the introduction and the entry.
fn introduced(line: &str) -> impl Iterator<Item = &str> {
    let marked = Line::of(line).mark.is_some();
    let at = [": 1. ", ": 1) ", ": (1) ", "! 1. ", "? 1. ", ": **1. ", "：1. ", "：1、"]
        .iter()
        .filter(|_| !marked)
        .find_map(|mark| Some(line.find(mark)? + mark.chars().next().map_or(1, char::len_utf8)));
    let (before, entry) = at.map_or((line, ""), |at| line.split_at(at));
    [before, entry.trim_start()].into_iter().filter(|part| !part.is_empty())
}

/// A horizontal rule.
fn is_drawn(line: &str) -> bool {
    !line.chars().any(char::is_alphanumeric)
}

/// Markdown's escapes: `1\. M\*A\*S\*H` → `1. M*A*S*H`.
pub(crate) fn without_escapes(text: &str) -> String {
    let text = text.replace("\\boxed{", "").replace("\\text{", "");
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        match letters.peek() {
            Some(next) if c == '\\' && next.is_ascii_punctuation() => {}
            Some(_) | None => out.push(c),
        }
    }
    out
}

/// Lines that begin with a number; what stands before, between and after is passed over.
fn numbered(lines: &[Line]) -> Vec<ParsedTitle> {
    let all: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].number().is_some()).collect();
    let in_headings = all.iter().filter(|at| lines[**at].heading > 0).count() > 1;
    let least = all.iter().map(|at| lines[*at].indent).min().unwrap_or(0);
    let (outer, inner): (Vec<usize>, Vec<usize>) =
        all.iter().partition(|at| if in_headings { lines[**at].heading > 0 } else { lines[**at].indent <= least + 1 });
    let outer = counted(lines, &outer);
    let categories = outer.iter().filter(|at| is_category(lines[**at].body)).count();
    let mut picked = outer;
    // Headings of categories over the titles.
    if categories * 2 > picked.len() {
        let inner = counted(lines, &inner);
        if inner.len() > picked.len() {
            picked = inner;
        } else if lines.iter().filter(|l| l.is_bullet()).count() > picked.len() {
            return Vec::new();
        }
    }
    if let [only] = picked[..] {
        let last = lines[only].number().unwrap_or(1);
        let parts = split_numbers(lines[only].body, last);
        if parts.len() > 1 {
            return parts.into_iter().filter_map(entry).collect();
        }
    }
    entries(lines, &picked)
}

fn is_category(body: &str) -> bool {
    body.trim_end_matches(['*', '_', ' ']).ends_with([':', '：'])
}

/// Of these lines, those whose number counts: weak marks only where they count on.
fn counted(lines: &[Line], at: &[usize]) -> Vec<usize> {
    let mut last = 0;
    let counts = |at: &&usize| match lines[**at].mark {
        Some(Mark::Number { value, weak }) if !weak || value == last + 1 => {
            last = value;
            true
        }
        Some(_) | None => false,
    };
    at.iter().filter(counts).copied().collect()
}

/// The entries of the picked lines; what a line lacks is looked for in those that follow it.
fn entries(lines: &[Line], picked: &[usize]) -> Vec<ParsedTitle> {
    let read = |(n, at): (usize, &usize)| {
        let end = picked.get(n + 1).copied().unwrap_or(lines.len());
        let mut below = lines[at + 1..end].iter().take(4);
        let mut parsed = match lines[*at].body {
            // The number stands alone; the title is the next line.
            "" => entry(below.next().filter(|l| !is_detail(l.body))?.body)?,
            body => entry(body)?,
        };
        if parsed.year.is_none() {
            parsed.year = below.take_while(|l| l.heading == 0).find_map(|l| year_label(l.body));
        }
        Some(parsed)
    };
    picked.iter().enumerate().filter_map(read).collect()
}

/// `The Matrix 2. Heat 3. Up`, after its first number: the parts between numbers that count on.
fn split_numbers(line: &str, first: u32) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    // No list that was asked for is longer: an endless answer is not searched through for every number.
    for number in (first + 1..).take(1000) {
        let marks = [format!(" {number}. "), format!(" {number}) "), format!(" ({number}) "), format!("{number}、")];
        let found = marks.iter().find_map(|m| Some((rest.find(m)?, m.len())));
        let Some((at, length)) = found else { break };
        parts.push(rest[..at].trim_end_matches([',', ';', '，', '；', ' ']));
        rest = &rest[at + length..];
    }
    parts.push(rest);
    parts
}

/// `a) Heat`, `II. Ronin`, `三、…`, and numbers without a mark: `1 Heat`, `2 Ronin`. At least two lines that count on.
fn lettered(lines: &[Line]) -> Vec<ParsedTitle> {
    let mut bodies: Vec<&str> = Vec::new();
    for line in lines {
        let next = bodies.len() as u32 + 1;
        let bare = || {
            let (number, body) = line.text.split_once([' ', '\t'])?;
            (number.parse() == Ok(next)).then_some(body.trim())
        };
        let counts = marks::lettered(line.text).filter(|(values, _)| values.contains(&next)).map(|(_, body)| body);
        bodies.extend(counts.or_else(bare).filter(|body| !body.is_empty()));
    }
    let most = lines.len() >= bodies.len() && bodies.len() * 2 >= lines.iter().filter(|l| l.mark.is_none()).count();
    if bodies.len() > 1 && most { bodies.into_iter().filter_map(entry).collect() } else { Vec::new() }
}

/// Records: a line `Title: …`, perhaps followed by `Year: …`, and so on.
fn labelled(lines: &[Line]) -> Vec<ParsedTitle> {
    let picked: Vec<usize> = (0..lines.len()).filter(|at| title_label(lines[*at].body).is_some()).collect();
    let others = lines.iter().filter(|l| l.is_bullet() && !is_detail(l.body) && title_label(l.body).is_none()).count();
    if others > picked.len() { Vec::new() } else { entries(lines, &picked) }
}

/// Markdown headings over paragraphs: `### Heat (1995)`.
fn headings(lines: &[Line]) -> Vec<ParsedTitle> {
    let at_level = |level: usize| (0..lines.len()).filter(move |at| lines[*at].heading == level);
    // The level with the most headings; of several the deepest.
    let Some(level) = (1..=6).max_by_key(|level| (at_level(*level).count(), *level)) else { return Vec::new() };
    let picked: Vec<usize> =
        at_level(level).filter(|at| !is_category(lines[*at].text) && !plain::is_chatter(lines[*at].text)).collect();
    let below = || lines.iter().filter(|l| l.heading == 0);
    let dated = |text: &str| entry(text).is_some_and(|t| t.year.is_some());
    // Headings of categories: what stands under them are titles.
    let titled = below().filter(|l| l.is_bullet() && !reads_as_sentence(l.body) && !is_detail(l.body)).count();
    let bullets = below().filter(|l| l.is_bullet()).count();
    let dated_below = below().filter(|l| dated(l.body)).count();
    let none_dated = !picked.iter().any(|at| dated(lines[*at].text));
    if picked.len() < 2 || titled * 2 > bullets && (dated_below > 0 || none_dated) || none_dated && dated_below > 0 {
        return Vec::new();
    }
    entries(lines, &picked)
}

fn bulleted(lines: &[Line]) -> Vec<ParsedTitle> {
    let kind = |l: &Line| match l.mark {
        Some(Mark::Bullet(c)) => Some(c),
        Some(Mark::Number { .. }) | None => None,
    };
    let mut all: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].is_bullet()).collect();
    // Pictograms are bullets where there are no others.
    if all.iter().any(|at| kind(&lines[*at]).is_some_and(|c| !marks::is_pictogram(c))) {
        all.retain(|at| kind(&lines[*at]).is_some_and(|c| !marks::is_pictogram(c)));
    }
    all.retain(|at| !is_detail(lines[*at].body));
    let Some(least) = all.iter().map(|at| lines[*at].indent).min() else { return Vec::new() };
    let (outer, inner): (Vec<usize>, Vec<usize>) = all.iter().partition(|at| lines[**at].indent <= least + 1);
    let dated = |at: &&usize| entry(lines[**at].body).is_some_and(|t| t.year.is_some());
    let years = |list: &[usize]| list.iter().filter(dated).count();
    let categories = outer.iter().filter(|at| is_category(lines[**at].body)).count();
    let mut picked = outer;
    if categories * 2 > picked.len() && !inner.is_empty() || years(&inner) * 2 > inner.len() && years(&picked) == 0 {
        picked = inner;
    } else if let Some(first) = picked.first().and_then(|at| kind(&lines[*at])) {
        // Under a title, other bullets say why.
        let others = picked.iter().filter(|at| kind(&lines[**at]) != Some(first));
        if others.clone().count() > 0 && others.clone().all(|at| reads_as_sentence(lines[*at].body)) {
            picked.retain(|at| kind(&lines[*at]) == Some(first));
        }
    }
    picked.retain(|at| !is_category(lines[*at].body));
    entries(lines, &picked)
}

/// Lines in bold over paragraphs: `**Heat (1995)**`.
fn bold(lines: &[Line]) -> Vec<ParsedTitle> {
    let is_bold = |text: &str| {
        let inside = text.strip_prefix("**").and_then(|t| t.split_once("**"));
        inside.is_some_and(|(inside, after)| {
            !is_category(inside) && !after.starts_with([':', '：']) && !is_detail(inside)
        })
    };
    let picked: Vec<usize> =
        (0..lines.len()).filter(|at| lines[*at].heading == 0 && is_bold(lines[*at].text)).collect();
    let others = lines.iter().filter(|l| l.heading == 0 && !is_bold(l.text));
    let sentences = others.clone().filter(|l| reads_as_sentence(l.text) || is_detail(l.text)).count();
    if picked.len() < 2 || sentences * 2 < others.count() { Vec::new() } else { entries(lines, &picked) }
}
