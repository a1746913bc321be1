//! What stands before the entries of a list: numbers in their many forms, bullets, headings.

/// The mark of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// A number. Weak: its mark also begins titles (`300: Rise of an Empire`), so that it counts only where it goes on
    /// counting.
    Number { value: u32, weak: bool },
    /// A bullet.
    Bullet(char),
}

/// A line of an answer.
#[derive(Debug, Clone)]
pub(super) struct Line<'a> {
    /// Columns before its text.
    pub indent: usize,
    /// Level of a markdown heading; 0: none.
    pub heading: usize,
    pub mark: Option<Mark>,
    /// The line without heading marks, quote marks and spaces around.
    pub text: &'a str,
    /// The same without its mark; may be empty.
    pub body: &'a str,
}

impl<'a> Line<'a> {
    pub fn of(line: &'a str) -> Line<'a> {
        let bare = line.trim_start().trim_start_matches(['>', ' ']);
        let indent = line[..line.len() - bare.len()].chars().map(|c| if c == '\t' { 4 } else { 1 }).sum();
        let hashes = bare.bytes().take_while(|b| *b == b'#').count();
        let after = &bare[hashes..];
        let (heading, text) = match hashes {
            1..=6 if after.starts_with([' ', '\t']) => (hashes, after.trim().trim_end_matches('#').trim_end()),
            _ => (0, bare.trim()),
        };
        let (mark, body) = marked(text).map_or((None, text), |(mark, body)| (Some(mark), body));
        Line { indent, heading, mark, text, body }
    }
    pub fn is_bullet(&self) -> bool {
        matches!(self.mark, Some(Mark::Bullet(_)))
    }
    pub fn number(&self) -> Option<u32> {
        match self.mark {
            Some(Mark::Number { value, .. }) => Some(value),
            Some(Mark::Bullet(_)) | None => None,
        }
    }
}

/// The mark of a line and what follows it. A bullet before a number is passed over.
fn marked(line: &str) -> Option<(Mark, &str)> {
    if let Some((bullet, body)) = bullet(line) {
        return match numbered(body) {
            Some((value, weak, body)) if !weak => Some((Mark::Number { value, weak }, body)),
            Some(_) | None => Some((Mark::Bullet(bullet), body)),
        };
    }
    numbered(line).map(|(value, weak, body)| (Mark::Number { value, weak }, body))
}

/// `- The Matrix`, `• …`, `🎬 …`, `- [ ] …` → the bullet and the rest.
fn bullet(line: &str) -> Option<(char, &str)> {
    let c = line.chars().next()?;
    let rest = line[c.len_utf8()..].trim_start_matches('\u{fe0f}');
    let known = "-*+•·–—▪◦●○‣►▶✓✔→■□◆◇♦➤➢➔➜›∙⁃❖☑✦✧☐※－".contains(c);
    let body = rest.trim_start();
    if body.is_empty() {
        return None;
    }
    // A middle dot of Japanese needs no space.
    if enclosed_number(c).is_some() {
        return None;
    }
    if !(known || is_pictogram(c)) || body.len() == rest.len() {
        return (c == '・').then_some((c, body));
    }
    let unchecked = ["[ ]", "[x]", "[X]", "[]"].iter().find_map(|b| body.strip_prefix(b)).unwrap_or(body).trim_start();
    (!unchecked.is_empty()).then_some((c, unchecked))
}

/// Emoji and dingbats.
pub(super) fn is_pictogram(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2600}'..='\u{2764}' | '\u{2794}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}')
}

/// The value of a decimal digit of any script that lists are numbered in.
fn digit(c: char) -> Option<u32> {
    let zeros = ['0', '０', '٠', '۰', '०', '০', '๐', '᠐'];
    zeros.iter().find_map(|zero| u32::from(c).checked_sub(u32::from(*zero)).filter(|d| *d < 10))
}

/// The value of a character that is a whole number with its mark: `①`, `⑴`, `⒈`, `❶`, `🔟`, `🥇`.
fn enclosed_number(c: char) -> Option<u32> {
    let ranges = [
        ('①', 20, 1),
        ('⑴', 20, 1),
        ('⒈', 20, 1),
        ('⓫', 10, 11),
        ('⓵', 10, 1),
        ('❶', 10, 1),
        ('➀', 10, 1),
        ('➊', 10, 1),
        ('㉑', 15, 21),
        ('㊱', 15, 36),
        ('㈠', 10, 1),
        ('㊀', 10, 1),
        ('🔟', 1, 10),
        ('🥇', 3, 1),
    ];
    let offset = |first: char| u32::from(c).checked_sub(u32::from(first));
    ranges.iter().find_map(|(first, count, value)| Some(offset(*first).filter(|n| n < count)? + value))
}

/// Words before the number of an entry.
const COUNTED: [&str; 16] = [
    "no.",
    "nr.",
    "n.",
    "number",
    "rank",
    "top",
    "pick",
    "choice",
    "movie",
    "film",
    "recommendation",
    "option",
    "item",
    "title",
    "book",
    "product",
];

/// What follows the number of a list's entry: `2) A comedy` → `A comedy`; none: the line has no such number. A dash behind a
/// number is no mark here: texts go on over several lines.
pub(crate) fn list_number(line: &str) -> Option<&str> {
    let (_, weak, body) = numbered(line)?;
    let mark = line.trim_start_matches(|c: char| c.is_ascii_digit()).chars().next();
    (!weak || mark.is_some_and(|c| matches!(c, '.' | ')' | ':' | '：'))).then_some(body)
}

/// `12. The Matrix`, `12) …`, `(12) …`, `[12] …`, `#12 …`, `12: …`, `12 - …`, `**12.** …`, `12、…`, `１２．…`, `1️⃣ …`, `① …`,
/// `【1】…`, `No. 1: …`, `第1位：…` → the number, whether its mark is weak, and the rest.
pub(super) fn numbered(line: &str) -> Option<(u32, bool, &str)> {
    let starts = |t: &str| {
        t.starts_with(|c: char| digit(c).is_some() || "([#（【{<".contains(c) || enclosed_number(c).is_some())
    };
    let bold =
        ["**", "__"].iter().find_map(|mark| Some((*mark, line.strip_prefix(mark).filter(|inner| starts(inner))?)));
    let unmarked = bold.map_or(line, |(_, inner)| inner);
    let (value, weak, body) = number_and_mark(unmarked)?;
    let Some((mark, _)) = bold else { return Some((value, weak, body)) };
    // `**12.** Title`, or `**1. Title** …`: the bold goes on over the title.
    match body.strip_prefix(mark) {
        Some(rest) => Some((value, weak, rest.trim_start_matches([':', '：']).trim_start())),
        None => Some((value, weak, body.trim_start_matches('*'))),
    }
}

fn number_and_mark(line: &str) -> Option<(u32, bool, &str)> {
    // `1️⃣`, `①`, `🥇`: the number is its own mark.
    if let Some((value, rest)) = self_marked(line) {
        return Some((value, false, rest.trim_start_matches(['.', ')', ':', '、', '：', '-']).trim_start()));
    }
    let words = COUNTED.iter().find_map(|word| {
        let head = line.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word))?;
        Some(line[head.len()..].trim_start_matches([' ', '#']))
    });
    let place = line.strip_prefix('第');
    let counted = words.or(place);
    let line = counted.unwrap_or(line);
    let open = line.chars().next().filter(|c| "([#（【〔{<".contains(*c));
    let text = open.map_or(line, |c| &line[c.len_utf8()..]);
    let (mut value, mut end, mut count) = (0u32, 0, 0);
    for (at, c) in text.char_indices() {
        let Some(digit) = digit(c) else { break };
        (value, end, count) = (value.saturating_mul(10).saturating_add(digit), at + c.len_utf8(), count + 1);
    }
    if count == 0 || count > 3 || open.is_some() && value >= 300 {
        return None;
    }
    let rest = &text[end..];
    // `1 .`, `1.)`, `1-)`, `1°`
    let rest = rest.strip_prefix(' ').filter(|r| r.starts_with(['.', ')'])).unwrap_or(rest);
    let rest =
        ["-)", ".)", ".-", "°)"].iter().find_map(|mark| rest.strip_prefix(mark).map(|_| &rest[1..])).unwrap_or(rest);
    let gap_needed = |rest: &str| {
        rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || "*_\"“'‘«[„《「『【（".contains(c))
    };
    if let Some(mark) = rest.chars().next().filter(|c| ".)]、．）】〕}>".contains(*c)) {
        let after = &rest[mark.len_utf8()..];
        let after = after.strip_prefix(['.', ':', '：', '、']).unwrap_or(after);
        let wide = !mark.is_ascii() || after.starts_with(|c: char| !c.is_ascii() && c.is_alphabetic());
        // `3.5 stars` is no entry; `1.Heat` is one where it goes on counting.
        let glued = !wide && !gap_needed(after);
        if glued && !after.starts_with(char::is_alphabetic) {
            return None;
        }
        // `【2】`, `[2]` close what was opened; `2]` alone is no mark.
        let closes = !matches!(mark, ']' | '】' | '〕' | '}' | '>') || open.is_some();
        return closes.then_some((value, glued || counted.is_some(), after.trim_start()));
    }
    if open == Some('#') {
        let after = rest.strip_prefix([':', '：', '.', ')']).unwrap_or(rest);
        let after = [" -", " –", " —"].iter().find_map(|m| after.strip_prefix(m)).unwrap_or(after);
        return gap_needed(after).then_some((value, counted.is_some(), after.trim_start()));
    }
    if open.is_some() {
        return None;
    }
    let rest = ["st", "nd", "rd", "th", "ª", "位", "위", "번"]
        .iter()
        .find_map(|suffix| rest.strip_prefix(suffix))
        .unwrap_or(rest);
    let after = [":", "：", " -", " –", " —", " :", "-", "–", "—", "/", "° -", "º -", "° –", "º –", "°", "º"]
        .iter()
        .find_map(|mark| rest.strip_prefix(mark))?;
    let wide = rest.starts_with('：') || place.is_some();
    (wide || gap_needed(after)).then_some((value, true, after.trim_start()))
}

/// Keycaps and numbers in circles at the beginning of a line.
fn self_marked(line: &str) -> Option<(u32, &str)> {
    let first = line.chars().next()?;
    if let Some(value) = enclosed_number(first) {
        return Some((value, line[first.len_utf8()..].trim_start_matches('\u{fe0f}').trim_start()));
    }
    let (mut value, mut rest, mut count) = (0u32, line, 0);
    while let Some(digit) = rest.chars().next().filter(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
        let after = &rest[1..];
        let Some(after) = after.trim_start_matches('\u{fe0f}').strip_prefix('\u{20e3}') else { break };
        (value, rest, count) = (value * 10 + digit, after, count + 1);
        if count == 3 {
            break;
        }
    }
    (count > 0).then(|| (value, rest.trim_start_matches('\u{fe0f}').trim_start()))
}

/// `a) …`, `B. …`, `I. …`, `IV) …`, `一、…` → the number and the rest. Weak marks all of them: they count where they go on
/// counting.
pub(super) fn lettered(line: &str) -> Option<([u32; 2], &str)> {
    let end = line.find(['.', ')', '、', '．', '）'])?;
    let (head, rest) = line.split_at(end);
    let mark = rest.chars().next()?;
    let body = &rest[mark.len_utf8()..];
    if mark.is_ascii() && !body.starts_with(char::is_whitespace) {
        return None;
    }
    let letter = match head.as_bytes() {
        [c] if c.is_ascii_alphabetic() => u32::from(c.to_ascii_lowercase() - b'a') + 1,
        _ => 0,
    };
    let roman = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv"];
    let chinese = ["一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二", "十三", "十四", "十五"];
    let lower = head.to_ascii_lowercase();
    let place = |list: &[&str]| list.iter().position(|n| *n == lower).map_or(0, |at| at as u32 + 1);
    let other = place(&roman).max(place(&chinese));
    (letter + other > 0).then_some(([letter, other], body.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_form() {
        for line in [
            "2. Heat",
            "2) Heat",
            "(2) Heat",
            "[2] Heat",
            "#2 Heat",
            "#2: Heat",
            "2: Heat",
            "2 - Heat",
            "2 – Heat",
            "2、Heat",
            "２．Heat",
            "２、Heat",
            "（2）Heat",
            "【2】Heat",
            "2️⃣ Heat",
            "2\u{20e3}Heat",
            "② Heat",
            "②Heat",
            "⑵ Heat",
            "⒉Heat",
            "❷ Heat",
            "🥈 Heat",
            "**2.** Heat",
            "**2. Heat",
            "No. 2: Heat",
            "第2位：Heat",
            "2nd: Heat",
            "٢. Heat",
            "2.Heat",
            "- 2. Heat",
            "Movie 2: Heat",
            "Film #2 - Heat",
            "2： Heat",
            "2位：Heat",
        ] {
            let line = Line::of(line);
            assert_eq!((line.number(), line.body), (Some(2), "Heat"), "{line:?}");
        }
        assert_eq!(Line::of("1️⃣0️⃣ Heat").number(), Some(10));
        for line in
            ["3.5 stars", "300", "(500) Days of Summer", "12 Angry Men", "1917", "2] Heat", "9 to 5", "8½", "Heat"]
        {
            assert_eq!(Line::of(line).number(), None, "{line}");
        }
    }
}
