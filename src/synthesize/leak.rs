//! The seed's own title must not stand in its query: it would give the answer away.

/// Whether two titles are one as people say them.
pub(super) fn same_title(a: &str, b: &str) -> bool {
    let said = |title: &str| words(&spoken(title)).into_iter().map(|w| w.2).collect::<Vec<_>>();
    said(a) == said(b)
}

/// Finds one title in texts.
pub(super) struct Mask {
    /// Spellings of the title, each as its words.
    spellings: Vec<Vec<String>>,
    /// The title as written when it is one word: such a word counts only in capitals.
    single: bool,
}

/// A word of a text: its place, and its letters and digits in lower case.
fn words(text: &str) -> Vec<(usize, usize, String)> {
    let mut out: Vec<(usize, usize, String)> = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        // An apostrophe within a word belongs to it: Ender's.
        let inside = c.is_alphanumeric() || (matches!(c, '\'' | '’') && start.is_some());
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                let word: String = text[from..at].chars().filter(|c| c.is_alphanumeric()).collect();
                out.push((from, at, word.to_lowercase()));
                start = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    out
}

/// `Outlaw and His Wife;The (a.k.a. You and I)` or `Matrix, The` → the title as people say it.
pub(super) fn spoken(title: &str) -> String {
    let title = title.split(" (").next().unwrap_or(title).trim();
    for article in ["The", "A", "An"] {
        for separator in [", ", ";", "; "] {
            if let Some(rest) = title.strip_suffix(article).and_then(|rest| rest.strip_suffix(separator)) {
                return format!("{article} {rest}");
            }
        }
    }
    title.to_string()
}

impl Mask {
    /// For this title.
    pub(super) fn new(title: &str) -> Mask {
        let said = spoken(title);
        let only_words = |text: &str| words(text).into_iter().map(|w| w.2).collect::<Vec<_>>();
        let mut spellings = vec![only_words(title), only_words(&said)];
        let mut short = only_words(&said);
        if short.len() > 2 && matches!(short[0].as_str(), "the" | "a" | "an") {
            short.remove(0);
            spellings.push(short);
        }
        // `Alien: Covenant` → `Alien: Covenant` only; a main title before a colon of two words and more counts alone.
        if let Some((main, _)) = said.split_once(':') {
            let main = only_words(main);
            if main.len() > 1 {
                spellings.push(main);
            }
        }
        spellings.retain(|s| !s.is_empty());
        spellings.sort_by_key(|s| std::cmp::Reverse(s.len()));
        spellings.dedup();
        let single = spellings.iter().all(|s| s.len() == 1);
        Mask { spellings, single }
    }

    /// The text without the title, and whether it was there.
    pub(super) fn apply(&self, text: &str) -> (String, bool) {
        let words = words(text);
        let mut out = String::new();
        let (mut copied, mut at, mut leaked) = (0, 0, false);
        while at < words.len() {
            let hit = self.spellings.iter().find(|s| {
                let here = words.get(at..at + s.len());
                let own = |w: &(usize, usize, String), s: &String| {
                    // "Malcolm X's"
                    let owner = text[w.0..w.1].ends_with("'s") || text[w.0..w.1].ends_with("’s");
                    w.2 == *s || owner && w.2.strip_suffix('s') == Some(s)
                };
                here.is_some_and(|here| here.iter().zip(s.iter()).all(|(w, s)| own(w, s)))
                    && (s.len() > 1 || self.single && stands_out(text, words[at].0))
            });
            let Some(hit) = hit else {
                at += 1;
                continue;
            };
            let mut end = words[at + hit.len() - 1].1;
            // The year that follows goes as well.
            let rest = &text[end..];
            let trimmed = rest.trim_start();
            if let Some(year) = trimmed.get(..6)
                && year.starts_with('(')
                && year.ends_with(')')
                && year[1..5].bytes().all(|b| b.is_ascii_digit())
            {
                end += rest.len() - trimmed.len() + 6;
            }
            out.push_str(&text[copied..words[at].0]);
            out.push_str("that one");
            copied = end;
            leaked = true;
            while at < words.len() && words[at].0 < end {
                at += 1;
            }
        }
        out.push_str(&text[copied..]);
        (out, leaked)
    }

    /// Whether the title stands in the text.
    pub(super) fn leaks(&self, text: &str) -> bool {
        self.apply(text).1
    }
}

/// A capital that does not merely begin a sentence.
fn stands_out(text: &str, at: usize) -> bool {
    let first = text[at..].chars().next();
    // A script without capitals: its words always stand out.
    if first.is_some_and(|c| c.is_alphabetic() && !c.is_uppercase() && !c.is_lowercase()) {
        return true;
    }
    let capital = first.is_some_and(|c| c.is_uppercase() || c.is_numeric());
    let before = text[..at].trim_end();
    capital && !(before.is_empty() || before.ends_with(['.', '!', '?', ':', '\n']) || text[..at].ends_with('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_masked_in_any_spelling_with_its_year() {
        let mask = Mask::new("Ender's Game");
        assert_eq!(mask.apply("I loved enders game (2013)!"), ("I loved that one!".into(), true));
        assert_eq!(mask.apply("like ENDER’S GAME or so"), ("like that one or so".into(), true));
        assert!(!mask.leaks("a game for an ender"));
        let mask = Mask::new("Matrix, The");
        assert_eq!(mask.apply("Is The Matrix good?").0, "Is that one good?");
        let mask = Mask::new("The Dark Knight: Redux");
        assert!(mask.leaks("as good as the Dark Knight"));
    }

    #[test]
    fn a_title_of_one_common_word_is_only_found_where_it_stands_out() {
        let mask = Mask::new("Up");
        assert_eq!(
            mask.apply("Up to you. I give up. I liked Up (2009)."),
            ("Up to you. I give up. I liked that one.".into(), true)
        );
        assert!(!Mask::new("It").leaks("It was fine and it is long"));
        // Scripts without capitals, and what belongs to it.
        assert!(Mask::new("英雄").leaks("我想看 英雄 这样的"));
        assert!(Mask::new("Malcolm X").leaks("I liked Malcolm X's story"));
        assert!(Mask::new("Enders Game").leaks("I liked Enders Game"));
    }

    #[test]
    fn titles_are_said_as_people_say_them() {
        assert_eq!(spoken("Outlaw and His Wife;The (a.k.a. You and I)"), "The Outlaw and His Wife");
        assert_eq!(spoken("Matrix, The"), "The Matrix");
        assert_eq!(spoken("Se7en"), "Se7en");
        assert_eq!(Mask::new("").apply("anything"), ("anything".into(), false));
    }
}
