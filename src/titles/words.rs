//! Running text as words. Scripts that are written without spaces, and Korean, whose particles are glued to words, give one
//! word a letter; Russian and Ukrainian words carry their stem beside them.

use super::invisible::is_ignorable;
use super::normal::folded;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// How a word is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// With spaces between words.
    Spaced,
    Han,
    Hiragana,
    Katakana,
    Hangul,
    /// Thai and its neighbours.
    Thai,
}

/// A word of a text.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// In lower case, without accents.
    pub text: String,
    /// Without the ending that cases give it, where that is another text.
    pub stem: Option<String>,
    pub start: usize,
    pub end: usize,
    /// It begins with a capital or a digit.
    pub capital: bool,
    pub script: Script,
}

impl Word {
    pub fn is_number(&self) -> bool {
        self.text.bytes().all(|b| b.is_ascii_digit())
    }
    pub fn stem(&self) -> &str {
        self.stem.as_deref().unwrap_or(&self.text)
    }
}

fn script(c: char) -> Script {
    match c {
        '\u{3005}'..='\u{3007}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}' => Script::Han,
        '\u{3041}'..='\u{309f}' => Script::Hiragana,
        '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9f}' => {
            Script::Katakana
        }
        '\u{ac00}'..='\u{d7a3}' => Script::Hangul,
        '\u{0e01}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' => Script::Thai,
        _ => Script::Spaced,
    }
}

/// Elided words before an apostrophe: `l'avventura`, `d'Amélie`, `dell'arte`.
const ELIDED: [&str; 16] =
    ["l", "d", "j", "m", "n", "s", "t", "c", "qu", "dell", "nell", "sull", "all", "dall", "un", "quell"];

/// The words of a text: runs of letters, digits and apostrophes, or single letters of scripts without spaces; `&` is the word
/// `and`.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    let apostrophe = |c: char| matches!(c, '\'' | '’');
    let mut rest = text.char_indices().peekable();
    while let Some((start, c)) = rest.next() {
        let mut end = start + c.len_utf8();
        if c == '&' {
            let text = "and".to_string();
            out.push(Word { text, stem: None, start, end, capital: false, script: Script::Spaced });
        }
        if !c.is_alphanumeric() {
            continue;
        }
        let script = script(c);
        if script != Script::Spaced {
            // Marks over and under a letter belong to it, in half width too.
            while let Some((at, c)) =
                rest.next_if(|(_, c)| is_combining_mark(*c) || matches!(c, '\u{ff9e}' | '\u{ff9f}'))
            {
                end = at + c.len_utf8();
            }
            let word: String = text[start..end].nfkc().collect();
            out.push(Word { text: word, stem: None, start, end, capital: false, script });
            continue;
        }
        let inside = |c: char| {
            c.is_alphanumeric() && self::script(c) == Script::Spaced
                || apostrophe(c)
                || is_combining_mark(c)
                || is_ignorable(c)
        };
        let mut elided = None;
        while let Some((at, c)) = rest.next_if(|(_, c)| inside(*c)) {
            if apostrophe(c) && elided.is_none() && ELIDED.contains(&text[start..at].to_lowercase().as_str()) {
                elided = Some((at, at + c.len_utf8()));
            }
            end = at + c.len_utf8();
        }
        let parts = match elided.filter(|(_, from)| text[*from..end].chars().any(char::is_alphanumeric)) {
            Some((to, from)) => vec![(start, to), (from, end)],
            None => vec![(start, end)],
        };
        for (from, to) in parts {
            let written = text[from..to].trim_end_matches(['\'', '’']);
            let mut word = String::with_capacity(written.len());
            for c in written.nfkd().filter(|c| c.is_alphanumeric()) {
                match folded(c) {
                    Some(letters) => word.push_str(letters),
                    None => word.extend(c.to_lowercase().filter(|c| c.is_alphanumeric())),
                }
            }
            if word.is_empty() {
                continue;
            }
            let capital = written.chars().next().is_some_and(|c| c.is_uppercase() || c.is_numeric());
            let stem = stem(&word).map(str::to_string);
            out.push(Word {
                text: word,
                stem,
                start: from,
                end: from + written.len(),
                capital,
                script: Script::Spaced,
            });
        }
    }
    out
}

/// Endings of Russian and Ukrainian nouns and adjectives, without accents (`й` is `и`), longest first.
const ENDINGS: [&str; 62] = [
    "иями", "ього", "ьому", "ами", "ями", "иях", "иям", "иеи", "ием", "ого", "его", "ому", "ему", "ыми", "ими", "іми",
    "ові", "еві", "єві", "ьми", "ая", "яя", "ое", "ее", "ые", "ие", "ыи", "ии", "ои", "еи", "ом", "ем", "ам", "ям",
    "ах", "ях", "ов", "ев", "ью", "ия", "ию", "ую", "юю", "ою", "ею", "их", "ых", "им", "ым", "оі", "іи", "ів", "ію",
    "ія", "єю", "а", "е", "и", "о", "у", "ы", "ь",
];
/// Endings of one letter beside those above.
const LETTERS: [&str; 4] = ["ю", "я", "і", "є"];

/// A Cyrillic word without its ending; none: it has none, or would be too short.
fn stem(word: &str) -> Option<&str> {
    let letters = word.chars().count();
    if letters < 4 || !word.chars().all(|c| ('\u{400}'..='\u{52f}').contains(&c)) {
        return None;
    }
    let ending = ENDINGS.iter().chain(&LETTERS).find(|e| word.ends_with(**e) && letters - e.chars().count() >= 3)?;
    Some(&word[..word.len() - ending.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_of_a_word_share_its_stem() {
        let stems = |text: &str| words(text).iter().map(|w| w.stem().to_string()).collect::<Vec<_>>();
        for (title, spoken) in [
            ("Ирония судьбы", "Иронию судьбы"),
            ("Ирония судьбы", "Иронией судьбы"),
            ("Бриллиантовая рука", "Бриллиантовую руку"),
            ("Служебный роман", "Служебного романа"),
            ("Война и мир", "Войне и мире"),
            ("Тіні забутих предків", "Тіней забутих предків"),
        ] {
            if title.starts_with("Тіні") {
                assert_eq!(stems(title)[1..], stems(spoken)[1..]);
            } else {
                assert_eq!(stems(title), stems(spoken), "{title}");
            }
        }
    }

    #[test]
    fn letters_of_scripts_without_spaces_are_words_of_their_own() {
        let texts = |text: &str| words(text).iter().map(|w| w.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts("Shall we ﾀﾞﾝｽ?"), ["shall", "we", "ダ", "ン", "ス"]);
        assert_eq!(texts("기생충을 ABC봤어"), ["기", "생", "충", "을", "abc", "봤", "어"]);
        assert_eq!(
            texts("L'Avventura d’Amélie O'Brien's Straße"),
            ["l", "avventura", "d", "amelie", "obriens", "strasse"]
        );
        let thai = "พี่มาก";
        assert_eq!(words(thai).iter().map(|w| &thai[w.start..w.end]).collect::<String>(), thai);
    }
}
