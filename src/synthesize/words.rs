//! The words of running text, as filters and measures count them.

use crate::retrieve::words;

/// The words of a text in lower case, without marks; of scripts that are written without spaces, the letters.
pub(super) fn words_of(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for word in words(text) {
        if !word.chars().any(is_unspaced) {
            out.push(word);
            continue;
        }
        let mut run = String::new();
        for c in word.chars() {
            if !is_unspaced(c) {
                run.push(c);
                continue;
            }
            if !run.is_empty() {
                out.push(std::mem::take(&mut run));
            }
            out.push(c.to_string());
        }
        out.extend(Some(run).filter(|run| !run.is_empty()));
    }
    out
}

/// Han, kana, Thai and its neighbours: no spaces tell their words.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e01}'..='\u{0eff}'
        | '\u{1000}'..='\u{109f}'
        | '\u{1780}'..='\u{17ff}'
        | '\u{3005}'..='\u{3007}'
        | '\u{3041}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_by_spaces_or_are_letters() {
        assert_eq!(words_of("Don't stop, it's 1999!"), ["dont", "stop", "its", "1999"]);
        assert_eq!(words_of("面白いfilmを2本"), ["面", "白", "い", "film", "を", "2", "本"]);
        assert_eq!(words_of(" … "), Vec::<String>::new());
    }
}
