//! A line of JSON as other programs write it: Python's `NaN` and `Infinity` are null, half of a cut emoji is U+FFFD.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// The value in `line`, which may borrow from it, or from `spare`, the line as it is mended. The fast way first: only a line
/// that does not parse is looked at again.
///
/// # Errors
/// The parser's own cause, about the line as it is written.
pub fn parse<'a, T: Deserialize<'a>>(line: &'a str, spare: &'a mut String) -> Result<T, String> {
    let cause = match serde_json::from_str(line) {
        Ok(value) => return Ok(value),
        // The line is known; serde's own count of lines would only confuse.
        Err(e) => e.to_string().replace(" at line 1 column", ", column"),
    };
    *spare = mended(line).ok_or_else(|| cause.clone())?;
    serde_json::from_str(spare).map_err(|_| cause)
}

/// [`parse`] of a value that borrows nothing.
///
/// # Errors
/// Those of [`parse`].
pub fn owned<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    parse(line, &mut String::new())
}

/// A whole number, also where it is written as pandas writes one in a column with gaps: `5.0`.
///
/// # Errors
/// The deserialiser's, for what is no whole number.
pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    // 2^53: above it a float does not tell one whole number from the next.
    let of_float = |v: f64| (v.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&v)).then_some(v as u64);
    let value = number.as_u64().or_else(|| number.as_f64().and_then(of_float));
    value.ok_or_else(|| serde::de::Error::custom(format!("{number} is not a whole number")))
}

/// [`whole`], or null.
///
/// # Errors
/// Those of [`whole`].
pub fn optional_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Whole(#[serde(deserialize_with = "whole")] u64);
    Ok(Option::<Whole>::deserialize(deserializer)?.map(|value| value.0))
}

/// An id: a text, or a whole number, which may be written `7.0`; null: none.
///
/// # Errors
/// The deserialiser's, for what is no id.
pub fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Whole(#[serde(deserialize_with = "whole")] u64),
    }
    Ok(Option::<Id>::deserialize(deserializer)?.map(|id| match id {
        Id::Text(text) => text,
        Id::Whole(number) => number.to_string(),
    }))
}

/// The line with null for `NaN` and the infinities, and with U+FFFD for lone surrogates; none where there is nothing to mend.
fn mended(line: &str) -> Option<String> {
    const WORDS: [&str; 4] = ["-Infinity", "Infinity", "NaN", "-NaN"];
    let mut out = String::with_capacity(line.len() + 8);
    let mut changed = false;
    let mut rest = line;
    let mut in_text = false;
    while let Some(at) = rest.find(['"', '\\', 'N', 'I', '-']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match rest.as_bytes()[0] {
            b'"' => {
                in_text = !in_text;
                1
            }
            b'\\' if in_text => match surrogate(rest) {
                Some(0xd800..0xdc00) if matches!(rest.get(6..).and_then(surrogate), Some(0xdc00..0xe000)) => 12,
                Some(_) => {
                    out.push_str("\\ufffd");
                    changed = true;
                    rest = &rest[6..];
                    continue;
                }
                // Another escape: its character is none of ours.
                None => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            },
            _ => match WORDS.iter().find(|word| !in_text && rest.starts_with(**word)) {
                Some(word) => {
                    out.push_str("null");
                    changed = true;
                    rest = &rest[word.len()..];
                    continue;
                }
                None => 1,
            },
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// The surrogate that the escape at the beginning of `text` stands for.
fn surrogate(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u32::from_str_radix(digits, 16).ok().filter(|code| (0xd800..0xe000).contains(code))
}

/// What to do with a file whose first line begins a JSON array, in which nothing can be read a line at a time.
pub fn array_hint(first_line: &str) -> Option<&'static str> {
    let rest = first_line.trim().strip_prefix('[')?.trim_start();
    (rest.is_empty() || rest.starts_with('{')).then_some(
        "a JSON array, and one JSON object a line is needed: `jq -c '.[]' FILE` writes it so, or in pandas \
         to_json(FILE, orient=\"records\", lines=True)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn nan_and_infinity_of_python_were_bad_json() {
        let line = r#"{"a": NaN, "b": [-Infinity, Infinity, 1e3], "c": "NaN \" Infinity", "d": -1}"#;
        let value: Value = owned(line).unwrap();
        assert_eq!(value, json!({"a": null, "b": [null, null, 1000.0], "c": "NaN \" Infinity", "d": -1}));
        // What is wrong otherwise is told as it was written.
        assert!(owned::<Value>(r#"{"a": NaN, "b"}"#).unwrap_err().contains(", column 7"));
        assert!(owned::<Value>(r#"{"a": Nan}"#).is_err());
    }

    #[test]
    fn half_of_a_cut_emoji_was_bad_json() {
        for (line, wanted) in [
            (r#""cut \ud83d""#, "cut \u{fffd}"),
            (r#""\ud83d\ude00 whole \ude00 half \\ud83d""#, "😀 whole \u{fffd} half \\ud83d"),
            (r#""\ud83d\ud83d\ude00\n\"""#, "\u{fffd}😀\n\""),
            (r#""\ud83d\u00e9""#, "\u{fffd}é"),
        ] {
            assert_eq!(owned::<String>(line).unwrap(), wanted, "{line}");
        }
        assert!(owned::<String>("\"\\ud83\"").is_err());
    }

    #[test]
    fn whole_numbers_with_a_point_are_read() {
        #[derive(serde::Deserialize)]
        struct Row {
            #[serde(deserialize_with = "whole")]
            n: u64,
            #[serde(default, deserialize_with = "optional_id")]
            id: Option<String>,
        }
        let id = |text: &str| owned::<Row>(&format!("{{\"n\": 1, \"id\": {text}}}")).unwrap().id;
        assert_eq!([id("7"), id("7.0"), id("\"a\"")], ["7", "7", "a"].map(|id| Some(id.to_string())));
        assert_eq!(id("NaN"), None);
        let read = |text: &str| owned::<Row>(&format!("{{\"n\": {text}}}")).map(|row| row.n);
        assert_eq!((read("5"), read("5.0"), read("1e3")), (Ok(5), Ok(5), Ok(1000)));
        assert!(read("5.5").is_err() && read("-1").is_err() && read("1e300").is_err());
    }

    proptest! {
        #[test]
        fn what_parses_is_never_mended_and_nothing_panics(text in "[NIa\\\\\"ud8fé{}:,0-9 -]{0,30}") {
            let _ = owned::<Value>(&text);
            let line = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(owned::<String>(&line).unwrap(), text);
            prop_assert_eq!(mended(&line), None);
        }
    }
}
