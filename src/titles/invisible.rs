//! Characters that are not seen: byte order marks, marks of the writing direction, zero-width characters.

/// A character that is never seen and never needed within a title.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// A joiner (U+200C, U+200D): some scripts and emoji are written with it.
pub(super) fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// True for the letters of scripts that are written with joiners, and for emoji.
fn takes_joiner(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{1aff}' | '\u{a800}'..='\u{abff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe00}'..='\u{fefe}'
        | '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}' | '\u{11000}'..='\u{11fff}')
}

/// True where a text has something to be seen.
pub(super) fn visible(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !c.is_control() && !is_invisible(c) && !is_joiner(c))
}

/// True for a character that two spellings of one title may differ in.
pub(super) fn is_ignorable(c: char) -> bool {
    is_invisible(c) || is_joiner(c)
}

/// The text without invisible and control characters. Joiners stay between letters of the scripts that need them. All line
/// breaks are `\n`.
pub(super) fn without_invisible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '\r' => {
                if letters.peek() != Some(&'\n') {
                    out.push('\n');
                }
            }
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{b}' | '\u{c}' => out.push('\n'),
            '\n' | '\t' => out.push(c),
            c if is_joiner(c) => {
                let needed = |c: Option<char>| c.is_some_and(takes_joiner);
                if needed(out.chars().next_back()) && needed(letters.peek().copied()) {
                    out.push(c);
                }
            }
            c if c.is_control() || is_invisible(c) => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joiners_stay_where_a_script_needs_them_and_go_elsewhere() {
        assert_eq!(without_invisible("He\u{200b}at\u{200d} \u{feff}(1995)\u{200e}\r\nUp\rX"), "Heat (1995)\nUp\nX");
        let persian = "می\u{200c}خواهم";
        assert_eq!(without_invisible(persian), persian);
        let family = "👨\u{200d}👩";
        assert_eq!(without_invisible(family), family);
        assert!(!visible(" \u{200b}\u{feff}\n") && visible("\u{200b}x"));
    }
}
