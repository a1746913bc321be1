//! A JSON value as it occurs in genuine files: the field is there or not, null, a number, a string, a list.

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
    /// The value as an id: a string or a whole number that is not empty.
    pub fn id(&self) -> Option<String> {
        match self {
            Loose::Text(_) | Loose::Integer(_) => Some(self.text()).filter(|id| !id.is_empty()),
            Loose::Null | Loose::Bool(_) | Loose::Float(_) | Loose::List(_) | Loose::Map(_) => None,
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
    /// A time: whole numbers as they are, else [`Loose::number`] cut to a whole one.
    pub fn time(&self) -> Option<i64> {
        match self {
            Loose::Integer(v) => Some(*v),
            Loose::Float(_) | Loose::Text(_) => self.number().map(|v| v as i64),
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
