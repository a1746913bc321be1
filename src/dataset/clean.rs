//! Small repairs of genuine texts: HTML remnants, years in titles, articles moved behind a comma.

/// The text without HTML remnants: entities decoded, `<br />` and paragraphs as line breaks, other tags taken out; trimmed.
pub(super) fn html(text: &str) -> String {
    let text = text.trim();
    if !text.contains(['&', '<']) {
        return text.to_string();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let decoded = if rest.starts_with('&') { entity(rest) } else { tag(rest) };
        match decoded {
            Some((replacement, length)) => {
                if replacement == '\n' {
                    while out.ends_with(' ') {
                        out.pop();
                    }
                }
                // '\0' stands for nothing at all.
                if replacement != '\0' {
                    out.push(replacement);
                }
                rest = &rest[length..];
            }
            None => {
                out.push_str(&rest[..1]);
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out.trim().to_string()
}

/// The character that an entity at the beginning of `text` stands for, and the entity's length.
fn entity(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(12).position(|b| b == b';')?;
    let name = &text[1..end];
    let decoded = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" | "ldquo" | "rdquo" => '"',
        "apos" | "lsquo" | "rsquo" => '\'',
        "nbsp" => ' ',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "ccedil" => 'ç',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "ntilde" => 'ñ',
        "pound" => '£',
        "euro" => '€',
        "reg" => '®',
        "trade" => '™',
        "copy" => '©',
        "deg" => '°',
        "frac12" => '½',
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code).filter(|c| !c.is_control() || *c == '\n')?
        }
    };
    Some((decoded, end + 1))
}

/// Tags that reviews and descriptions carry. Anything else in angle brackets is text: `a < b`, `<3`, `<sigh>`.
const TAGS: &[&str] = &[
    "br", "p", "div", "li", "ul", "ol", "i", "b", "em", "strong", "u", "a", "span", "font", "img", "h1", "h2", "h3",
    "h4", "h5", "h6", "hr", "table", "tr", "td", "tbody", "small", "center", "input", "sub", "sup",
];

/// What a tag at the beginning of `text` becomes, and its length: a line break, or nothing ('\0').
fn tag(text: &str) -> Option<(char, usize)> {
    // A tag is short, but for links.
    let end = text.bytes().take(2000).position(|b| b == b'>')?;
    let inside = text[1..end].trim_start_matches('/');
    let name: String = inside.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let after = inside[name.len()..].chars().next();
    if !TAGS.contains(&name.as_str()) || after.is_some_and(|c| c != '/' && !c.is_whitespace()) {
        return None;
    }
    let breaks =
        matches!(name.as_str(), "br" | "p" | "div" | "li" | "hr" | "tr" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6");
    Some((if breaks { '\n' } else { '\0' }, end + 1))
}

/// `Matrix, The (1999)` → (`The Matrix`, 1999). Foreign articles of MovieLens too; other commas stay.
pub(super) fn title_and_year(text: &str) -> (String, Option<u16>) {
    let text = text.trim();
    let mut title = text;
    let mut found = None;
    if let Some((head, tail)) = text.rsplit_once('(') {
        // `(1999)`, and of series `(1999–2004)`, `(2010- )`.
        let inside = tail.trim_end().strip_suffix(')').unwrap_or("");
        let four = inside.get(..4).unwrap_or("");
        let others = inside.get(4..).unwrap_or("x");
        if others.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '–' | ' '))
            && others.chars().next().is_none_or(|c| !c.is_ascii_digit())
        {
            found = year(four);
        }
        if found.is_some() {
            title = head.trim_end();
        }
    }
    // The article stands before the first parenthesis: `City of Lost Children, The (Cité des enfants perdus, La)`.
    let (main, more) = title.split_at(title.find(" (").unwrap_or(title.len()));
    let moved = main.rsplit_once(", ").filter(|(_, article)| {
        ["The", "A", "An", "Le", "La", "Les", "L'", "Il", "Das", "Der", "Die", "El", "Los", "Las"].contains(article)
    });
    let title = match moved {
        Some((rest, article)) if article.ends_with('\'') => format!("{article}{rest}{more}"),
        Some((rest, article)) => format!("{article} {rest}{more}"),
        None => title.to_string(),
    };
    (title, found)
}

/// A year of four digits, 1850 to 2100, in the text alone.
pub(super) fn year(text: &str) -> Option<u16> {
    let text = text.trim();
    if text.len() != 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|year| (1850..=2100).contains(year))
}

/// The year in a date such as `August 19, 2012` or `2012-08-19`.
pub(super) fn year_of_date(text: &str) -> Option<u16> {
    text.split(|c: char| !c.is_ascii_digit()).find_map(year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn html_remnants_go_and_text_in_angle_brackets_stays() {
        for (text, clean) in [
            ("Good.<br /><br />Bad.", "Good.\n\nBad."),
            ("Tom &amp; Jerry &#34;quoted&#34; &quot;x&quot; &#x27;y&#39;", "Tom & Jerry \"quoted\" \"x\" 'y'"),
            ("a < b && c > d &unknown; &", "a < b && c > d &unknown; &"),
            ("I <3 it <sigh>", "I <3 it <sigh>"),
            ("see <a data-hook=\"x\" href=\"/dp/1\">this</a> <BR>now", "see this\nnow"),
            ("&#0;&#1114112;&#xD800;", "&#0;&#1114112;&#xD800;"),
            ("  plain ", "plain"),
        ] {
            assert_eq!(html(text), clean);
        }
    }

    #[test]
    fn titles_lose_their_year_and_get_their_article_back() {
        for (text, title, year) in [
            ("Toy Story (1995)", "Toy Story", Some(1995)),
            ("Matrix, The (1999)", "The Matrix", Some(1999)),
            (
                "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
                "The City of Lost Children (Cité des enfants perdus, La)",
                Some(1995),
            ),
            ("Avventura, L' (Adventure, The) (1960)", "L'Avventura (Adventure, The)", Some(1960)),
            ("Eat, Pray, Love", "Eat, Pray, Love", None),
            ("2001 (A Space Odyssey)", "2001 (A Space Odyssey)", None),
            ("Big Bang Theory, The (2007-)", "The Big Bang Theory", Some(2007)),
            ("Odd (19999)", "Odd (19999)", None),
            ("(", "(", None),
            ("", "", None),
        ] {
            assert_eq!(title_and_year(text), (title.to_string(), year));
        }
        assert_eq!(year_of_date("August 19, 2012"), Some(2012));
        assert_eq!(year_of_date("12345"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[&<>#;/a-zé0-9x() ,]{0,40}") {
            html(&text);
            title_and_year(&text);
        }
    }
}
