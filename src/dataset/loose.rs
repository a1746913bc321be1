//! A JSON value as it occurs in genuine files: the field is there or not, null, a number, a string, a list.

use super::lines::Parsed;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A JSON value that borrows its text from the line where it can.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Loose<'a> {
    #[default]
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Loose<'a>>),
    Map(Vec<(Cow<'a, str>, Loose<'a>)>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Loose<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Loose<'de>, E> {
                Ok(Loose::Null)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Loose<'de>, E> {
                Ok(Loose::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Loose<'de>, E> {
                Ok(Loose::Integer(v))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Loose<'de>, E> {
                Ok(i64::try_from(v).map_or(Loose::Float(v as f64), Loose::Integer))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Loose<'de>, E> {
                Ok(Loose::Float(v))
            }
            fn visit_str<E>(self, v: &str) -> Result<Loose<'de>, E> {
                Ok(Loose::Text(Cow::Owned(v.to_string())))
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Loose<'de>, E> {
                Ok(Loose::Text(Cow::Borrowed(v)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose<'de>, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = seq.next_element()? {
                    list.push(value);
                }
                Ok(Loose::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Loose::Text(key), value)) = map.next_entry::<Loose<'de>, Loose<'de>>()? {
                    entries.push((key, value));
                }
                Ok(Loose::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Loose<'_> {
    /// The value as text: strings and numbers as they are, lists joined by spaces; else empty.
    pub fn text(&self) -> String {
        match self {
            Loose::Null | Loose::Bool(_) | Loose::Map(_) => String::new(),
            Loose::Integer(v) => v.to_string(),
            Loose::Float(v) => v.to_string(),
            Loose::Text(text) => text.trim().to_string(),
            Loose::List(list) => {
                let parts: Vec<String> = list.iter().map(Loose::text).filter(|part| !part.is_empty()).collect();
                parts.join(" ")
            }
        }
    }
    /// The value as an id: a text, or a whole number, also one written `123.0`.
    pub fn id(&self) -> Option<String> {
        match self {
            Loose::Text(text) => id(text).map(str::to_string),
            Loose::Integer(v) => Some(v.to_string()),
            Loose::Float(v) => (v.fract() == 0.0 && v.abs() < 9e15).then(|| format!("{v:.0}")),
            Loose::Null | Loose::Bool(_) | Loose::List(_) | Loose::Map(_) => None,
        }
    }
    /// The value as a list of texts: lists flattened, a single value is a list of one.
    pub fn list(&self) -> Vec<String> {
        match self {
            Loose::List(list) => list.iter().flat_map(Loose::list).collect(),
            Loose::Null | Loose::Bool(_) | Loose::Integer(_) | Loose::Float(_) | Loose::Text(_) | Loose::Map(_) => {
                Some(self.text()).filter(|text| !text.is_empty()).into_iter().collect()
            }
        }
    }
    /// The value as a finite number: a number, or the first number in a text (`$1,299.00`, `3 people`).
    pub fn number(&self) -> Option<f64> {
        match self {
            Loose::Integer(v) => Some(*v as f64),
            Loose::Float(v) => Some(*v).filter(|v| v.is_finite()),
            Loose::Text(text) => first_number(text),
            Loose::Null | Loose::Bool(_) | Loose::List(_) | Loose::Map(_) => None,
        }
    }
    /// A time in milliseconds; none for what is no time. A bare number is in `unit`.
    pub fn time(&self, unit: TimeUnit) -> Option<i64> {
        match self {
            Loose::Integer(v) => Some(unit.milliseconds(*v)),
            Loose::Float(v) => whole(*v).map(|v| unit.milliseconds(v)),
            Loose::Text(text) => time(text, unit).ok().flatten(),
            Loose::Null | Loose::Bool(_) | Loose::List(_) | Loose::Map(_) => None,
        }
    }
    /// The entry of a map whose key is one of `keys`, ignoring case.
    pub fn entry(&self, keys: &[&str]) -> Option<&Self> {
        match self {
            Loose::Map(entries) => {
                entries.iter().find(|(key, _)| keys.iter().any(|k| key.eq_ignore_ascii_case(k))).map(|(_, value)| value)
            }
            Loose::Null | Loose::Bool(_) | Loose::Integer(_) | Loose::Float(_) | Loose::Text(_) | Loose::List(_) => {
                None
            }
        }
    }
}

/// Whether a text stands for an absent value, as pandas, numpy, R, Excel and Python write one.
pub(super) fn is_missing(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    matches!(text.as_str(), "" | "nan" | "none" | "<na>" | "nat" | "null" | "na" | "n/a" | "#n/a" | "-")
}

/// The same for ids: somebody may be called `NA`.
fn is_missing_id(text: &str) -> bool {
    matches!(text, "" | "NaN" | "nan" | "None" | "<NA>" | "NaT" | "null")
}

/// The id in a text. pandas makes floats of whole numbers in a column with gaps: `123.0` is 123.
pub(super) fn id(text: &str) -> Option<&str> {
    let text = text.trim();
    let whole = text.strip_suffix(".0").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    Some(whole.filter(|digits| !digits.is_empty()).unwrap_or(text)).filter(|text| !is_missing_id(text))
}

/// What a bare number counts where it is a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUnit {
    Milliseconds,
    /// Seconds below 10^11, milliseconds from there on (10^11 ms is 1973, 10^11 s is the year 5138), microseconds from 10^14,
    /// nanoseconds from 10^17.
    BySize,
}

impl TimeUnit {
    fn milliseconds(self, time: i64) -> i64 {
        match self {
            TimeUnit::Milliseconds => time,
            TimeUnit::BySize if time.unsigned_abs() < 100_000_000_000 => time * 1000,
            TimeUnit::BySize if time.unsigned_abs() >= 100_000_000_000_000_000 => time / 1_000_000,
            TimeUnit::BySize if time.unsigned_abs() >= 100_000_000_000_000 => time / 1000,
            TimeUnit::BySize => time,
        }
    }
}

/// A float as a whole number, cut.
fn whole(value: f64) -> Option<i64> {
    (value.is_finite() && value.abs() < 9e18).then_some(value as i64)
}

/// The time that a text tells, in milliseconds since 1970: a number in `unit`, also as a float (`1.5e12`), or an ISO date with
/// or without a time of day and an offset (without one: UTC). None where it is absent.
pub(super) fn time(text: &str, unit: TimeUnit) -> Parsed<Option<i64>> {
    let text = text.trim();
    if is_missing(text) {
        return Ok(None);
    }
    let number = text.parse::<i64>().ok().or_else(|| text.parse::<f64>().ok().and_then(whole));
    if let Some(number) = number {
        return Ok(Some(unit.milliseconds(number)));
    }
    let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        // A date alone, or a time without an offset.
        let civil: jiff::civil::DateTime = text.trim_end_matches(" UTC").parse().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    });
    let unknown =
        || format!("the time {:?} is neither a number nor an ISO date", text.chars().take(40).collect::<String>());
    instant.map(|instant| Some(instant.as_millisecond())).ok_or_else(unknown)
}

/// The time that a text tells, in milliseconds since 1970: a number of them, or an ISO date with or without a time of day and
/// an offset (without one: UTC). None where it is absent.
///
/// # Errors
/// Why it cannot be read.
pub fn time_of(text: &str) -> std::result::Result<Option<i64>, String> {
    time(text, TimeUnit::Milliseconds)
}

/// The year of a time in milliseconds since 1970, in UTC; none where it is no time.
pub fn year_of(milliseconds: i64) -> Option<i64> {
    let instant = jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(instant.to_zoned(jiff::tz::TimeZone::UTC).year().into())
}

/// The first number in a text; commas between digits are thousands.
pub(super) fn first_number(text: &str) -> Option<f64> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let end =
        text[start..].find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').map_or(text.len(), |n| start + n);
    let digits: String = text[start..end].trim_end_matches(['.', ',']).replace(',', "");
    let value: f64 = digits.parse().ok().filter(|v: &f64| v.is_finite())?;
    Some(if text[..start].ends_with('-') { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_the_texts_that_prices_are() {
        for (text, value) in [
            ("$12.99", Some(12.99)),
            ("$1,299.00 - $2,000", Some(1299.0)),
            ("from 7.", Some(7.0)),
            ("-3", Some(-3.0)),
            ("1.2.3", None),
            (".a-box-inner{background-color:#fff}", None),
            ("", None),
            ("—", None),
        ] {
            assert_eq!(first_number(text), value, "{text}");
        }
    }

    #[test]
    fn times_and_ids_of_pandas_are_floats_and_dates_are_iso() {
        for (text, ms) in [
            ("1548806400000", Some(1_548_806_400_000)),
            ("1548806400000.0", Some(1_548_806_400_000)),
            ("1.5488064e12", Some(1_548_806_400_000)),
            ("1548806400", Some(1_548_806_400_000)),
            ("1548806400.7", Some(1_548_806_400_000)),
            ("-5", Some(-5000)),
            ("2019-01-30", Some(1_548_806_400_000)),
            ("2019-01-30 00:00:00", Some(1_548_806_400_000)),
            ("2019-01-30T00:00:00Z", Some(1_548_806_400_000)),
            ("2019-01-30 01:00:00+01:00", Some(1_548_806_400_000)),
            ("2019-01-29T19:00:00.250-05:00", Some(1_548_806_400_250)),
            ("2019-01-30 00:00:00 UTC", Some(1_548_806_400_000)),
            ("", None),
            (" NaT ", None),
            ("nan", None),
            ("<NA>", None),
            ("None", None),
        ] {
            assert_eq!(time(text, TimeUnit::BySize), Ok(ms), "{text}");
        }
        for text in ["x", "30.01.2019", "2019-13-01", "inf", "1e400"] {
            assert!(time(text, TimeUnit::BySize).is_err(), "{text}");
        }
        assert_eq!(time("7.0", TimeUnit::Milliseconds), Ok(Some(7)));
        for (text, wanted) in [
            ("123.0", Some("123")),
            (" tt1 ", Some("tt1")),
            ("v1.0", Some("v1.0")),
            (".0", Some(".0")),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(id(text), wanted, "{text}");
        }
        assert_eq!(Loose::Float(123.0).id().as_deref(), Some("123"));
        assert_eq!((Loose::Float(1.5).id(), Loose::Float(f64::NAN).id()), (None, None));
    }

    #[test]
    fn a_value_of_any_type_gives_what_it_has() {
        let value: Loose<'_> =
            serde_json::from_str(r#"{"a": ["x", ["y", 3, null]], "b": 1e3, "c": null, "D": "d\"q"}"#).unwrap();
        assert_eq!(value.entry(&["a"]).unwrap().list(), ["x", "y", "3"]);
        assert_eq!(value.entry(&["b"]).unwrap().number(), Some(1000.0));
        assert_eq!(value.entry(&["c"]).unwrap().text(), "");
        assert_eq!(value.entry(&["d"]).unwrap().id().unwrap(), "d\"q");
        assert_eq!(value.text(), "");
    }
}
