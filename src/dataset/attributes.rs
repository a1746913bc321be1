//! Named attributes of an item (`brand: Acme`): what one may be, and how those of an item lie in a column.

use super::text::SEPARATOR;

/// Attributes of one item at most, and characters of a name and of a value.
const MOST: usize = 64;
const NAME_CHARS: usize = 60;
const VALUE_CHARS: usize = 200;
/// Between a name and its value (the ASCII record separator).
const OF: char = '\u{1e}';

/// Attributes as a dataset keeps them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tidy {
    /// Names in lower case, no pair twice, whatever its case.
    pub kept: Vec<(String, String)>,
    /// Those that were left out, having no name or no value or being too many, and those that were cut.
    pub lost: u64,
}

/// One line without control and direction-changing characters, at most `chars` long; whether it was longer.
fn line(text: &str, chars: usize) -> (String, bool) {
    let mut out = String::new();
    let mut count = 0;
    for c in text.chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        let unseen =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if unseen || c.is_control() || (c == ' ' && (out.is_empty() || out.ends_with(' '))) {
            continue;
        }
        if count == chars {
            out.truncate(out.trim_end().len());
            return (out, true);
        }
        out.push(c);
        count += 1;
    }
    out.truncate(out.trim_end().len());
    (out, false)
}

/// Attributes as they are given → as they are kept. Tidying what is tidy changes nothing.
pub(super) fn tidy(given: &[(String, String)]) -> Tidy {
    let mut out = Tidy::default();
    for (name, value) in given {
        // `Color:` of a table that was printed.
        let (name, name_cut) = line(&name.to_lowercase(), NAME_CHARS);
        let name = name.trim_end_matches([':', ' ']);
        let (value, value_cut) = line(value, VALUE_CHARS);
        if name.is_empty() || value.is_empty() {
            out.lost += 1;
            continue;
        }
        let folded = value.to_lowercase();
        if out.kept.iter().any(|(n, v)| n == name && v.to_lowercase() == folded) {
            continue;
        }
        if out.kept.len() == MOST {
            out.lost += 1;
            continue;
        }
        out.lost += u64::from(name_cut || value_cut);
        out.kept.push((name.to_string(), value));
    }
    out
}

/// Tidy attributes as one text.
pub(super) fn join(attributes: &[(String, String)]) -> String {
    let one = |(name, value): &(String, String)| format!("{name}{OF}{value}");
    attributes.iter().map(one).collect::<Vec<_>>().join(&SEPARATOR.to_string())
}

/// The attributes in such a text.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(SEPARATOR).filter_map(|pair| pair.split_once(OF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn given(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn names_are_lower_case_and_no_pair_stands_twice() {
        let tidied = tidy(&given(&[
            (" Colour: ", "Red"),
            ("colour", "RED"),
            ("COLOUR", "dark\n  blue "),
            ("", "x"),
            ("size", " \u{202e}\u{0} "),
            ("si\u{1f}ze\u{1e}", "1\u{1e}0\u{1f}"),
        ]));
        assert_eq!(tidied.kept, given(&[("colour", "Red"), ("colour", "dark blue"), ("size", "10")]));
        assert_eq!(tidied.lost, 2);
        let text = join(&tidied.kept);
        assert_eq!(pairs(&text).collect::<Vec<_>>(), [("colour", "Red"), ("colour", "dark blue"), ("size", "10")]);
        assert_eq!(pairs("").count(), 0);
    }

    #[test]
    fn a_thousand_attributes_and_long_ones_are_cut_and_counted() {
        let many: Vec<(String, String)> = (0..1000).map(|n| (format!("n{n}"), "v".into())).collect();
        let tidied = tidy(&many);
        assert_eq!((tidied.kept.len(), tidied.lost), (MOST, 1000 - MOST as u64));
        let tidied = tidy(&[("ä".repeat(NAME_CHARS + 1), "ö".repeat(VALUE_CHARS + 1))]);
        assert_eq!(tidied.kept, [("ä".repeat(NAME_CHARS), "ö".repeat(VALUE_CHARS))]);
        assert_eq!(tidied.lost, 1);
    }

    proptest! {
        #[test]
        fn tidying_twice_is_tidying_once(pairs in proptest::collection::vec((".{0,70}", ".{0,220}"), 0..70)) {
            let once = tidy(&pairs);
            let again = tidy(&once.kept);
            prop_assert_eq!(&again.kept, &once.kept);
            prop_assert_eq!(again.lost, 0);
            let text = join(&once.kept);
            let back: Vec<(String, String)> = self::pairs(&text).map(|(n, v)| (n.into(), v.into())).collect();
            prop_assert_eq!(back, once.kept);
        }
    }
}
