//! Lists and tables in HTML → lines of text.

/// Tags that begin a line, each with what stands before it.
const LINES: [(&str, &str); 36] = [
    ("li", "- "),
    ("tr", "|"),
    ("br", ""),
    ("p", ""),
    ("div", ""),
    ("ol", ""),
    ("ul", ""),
    ("table", ""),
    ("tbody", ""),
    ("thead", ""),
    ("h1", "# "),
    ("h2", "## "),
    ("h3", "### "),
    ("h4", "#### "),
    ("h5", "##### "),
    ("h6", "###### "),
    // Not HTML: fields that models make up.
    ("movie", "- "),
    ("film", "- "),
    ("item", "- "),
    ("title", "- "),
    ("name", "- "),
    ("book", "- "),
    ("product", "- "),
    ("recommendation", "- "),
    ("year", "Year: "),
    ("reason", "Reason: "),
    ("rank", "Rank: "),
    ("movies", ""),
    ("films", ""),
    ("items", ""),
    ("titles", ""),
    ("books", ""),
    ("products", ""),
    ("recommendations", ""),
    ("list", ""),
    ("results", ""),
];
/// Tags within a line.
const INLINE: [&str; 17] = [
    "a", "b", "strong", "i", "em", "u", "span", "small", "code", "mark", "sup", "sub", "font", "cite", "html", "body",
    "td",
];
/// What stands in these is crossed out.
const STRUCK: [&str; 3] = ["del", "strike", "s"];

/// `answer` with its HTML as lines, and without what is crossed out.
pub(super) fn as_lines(answer: &str) -> String {
    let mut out = String::with_capacity(answer.len());
    let mut rest = answer;
    let (mut depth, mut struck) = (0usize, None);
    while let Some(at) = rest.find(['<', '~']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // `~~Alien~~`, within a line.
        if let Some(after) = rest.strip_prefix("~~") {
            let end = after.find("~~").filter(|end| *end > 0 && !after[..*end].contains('\n'));
            rest = end.map_or(after, |end| &after[end + 2..]);
            continue;
        }
        let Some((name, closes, length)) = tag(rest) else {
            out.push_str(&rest[..1]);
            rest = &rest[1..];
            continue;
        };
        rest = &rest[length..];
        if STRUCK.contains(&name.as_str()) {
            match struck.take() {
                None if !closes && rest[..rest.floor_char_boundary(300)].contains(&format!("</{name}>")) => {
                    struck = Some(out.len())
                }
                Some(from) if closes => out.truncate(from),
                other => struck = other,
            }
        } else if let Some((_, lead)) = LINES.iter().find(|(line, _)| *line == name) {
            if matches!(name.as_str(), "ol" | "ul") {
                depth = if closes { depth.saturating_sub(1) } else { depth + 1 };
            }
            out.push('\n');
            if !closes {
                out.push_str(&"  ".repeat(if name == "li" { depth.saturating_sub(1).min(20) } else { 0 }));
                out.push_str(lead);
            }
        } else if matches!(name.as_str(), "td" | "th") && closes {
            out.push('|');
        }
    }
    out.push_str(rest);
    out
}

/// The known tag at the beginning of a text: its name, whether it closes, its length.
fn tag(text: &str) -> Option<(String, bool, usize)> {
    let inside = text.strip_prefix('<')?;
    let inside = &inside[..inside.floor_char_boundary(300)];
    let inside = &inside[..inside.find('>')?];
    let closes = inside.starts_with('/');
    let name = inside.trim_start_matches('/').split([' ', '/', '\n', '\t']).next()?.to_ascii_lowercase();
    let known = LINES.iter().any(|(line, _)| *line == name)
        || INLINE.contains(&name.as_str())
        || STRUCK.contains(&name.as_str())
        || name == "th";
    known.then(|| (name, closes, inside.len() + 2))
}

/// The characters that HTML writes by name or number: `&amp;`, `&#39;`, `&#x27;`.
pub(super) fn without_entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest[1..].split(';').next().filter(|name| name.len() < 8 && rest.len() > name.len() + 1);
        let letter = name.and_then(|name| match name {
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "nbsp" => Some(' '),
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                char::from_u32(code.ok()?).filter(|c| !c.is_control())
            }
        });
        match (letter, name) {
            (Some(letter), Some(name)) => {
                out.push(letter);
                rest = &rest[name.len() + 2..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}
