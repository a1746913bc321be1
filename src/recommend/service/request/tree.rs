//! JSON as it is written, and why a request is refused.

use crate::recommend::excerpt;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use std::fmt;

/// Objects and lists within one another; no request of ours needs a tenth of it.
pub(super) const MOST_DEEP: usize = 64;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// It is not JSON: the parser's own words.
    NotJson(String),
    /// It is nested too deep to be a request.
    TooDeep(String),
    /// A field is not what is needed.
    Field {
        /// Where: `seen[2].year`; empty: the request itself.
        field: String,
        /// What is wrong, and what to write.
        message: String,
    },
}

impl RequestError {
    /// `field` is at fault, for the reason and with the remedy in `message`.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> RequestError {
        RequestError::Field { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            RequestError::NotJson(why) => write!(f, "not JSON: {why}"),
            RequestError::TooDeep(why) => f.write_str(why),
            RequestError::Field { field, message } if field.is_empty() => f.write_str(message),
            RequestError::Field { field, message } => write!(f, "{field}: {message}"),
        }
    }
}

/// JSON with the keys of its objects in their order, also those that come twice: one of them would win in silence.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`: as if it were not there.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number, whole or not.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a text.
    ///
    /// # Errors
    /// [`RequestError::NotJson`], [`RequestError::TooDeep`].
    pub fn parse(text: &str) -> Result<Json, RequestError> {
        if too_deep(text.as_bytes()) {
            return Err(RequestError::TooDeep(format!(
                "the JSON is nested more than {MOST_DEEP} deep: send a flat request"
            )));
        }
        serde_json::from_str(text).map_err(|e| RequestError::NotJson(e.to_string()))
    }

    /// What it is, for a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Json::Null => "null".into(),
            Json::Flag(value) => value.to_string(),
            Json::Number(value) => value.to_string(),
            Json::Text(value) => format!("the text {:?}", excerpt(value, 40)),
            Json::List(_) => "a list".into(),
            Json::Object(_) => "an object".into(),
        }
    }
}

/// Counts brackets outside strings; what is not JSON at all is left to the parser.
fn too_deep(text: &[u8]) -> bool {
    let (mut depth, mut inside, mut escaped) = (0usize, false, false);
    for byte in text {
        match (inside, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => inside = false,
            (false, b'"') => inside = true,
            (false, b'[' | b'{') => {
                depth += 1;
                if depth > MOST_DEEP {
                    return true;
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (true | false, _) => {}
        }
    }
    false
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Flag(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_string()))
            }
            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = values.next_element()? {
                    list.push(value);
                }
                Ok(Json::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
                let mut object = Vec::new();
                while let Some(field) = values.next_entry()? {
                    object.push(field);
                }
                Ok(Json::Object(object))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_nesting_is_refused_and_brackets_in_strings_are_not_nesting() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(!too_deep(deep(MOST_DEEP).as_bytes()));
        assert!(too_deep(deep(MOST_DEEP + 1).as_bytes()));
        assert!(too_deep("[".repeat(1 << 20).as_bytes()));
        assert!(!too_deep(format!("\"{}\\\"{}\"", "[".repeat(100), "{".repeat(100)).as_bytes()));
        assert!(matches!(Json::parse(&deep(100)), Err(RequestError::TooDeep(_))));
    }

    #[test]
    fn it_holds_what_was_written() {
        let read =
            Json::parse(r#"{"b": [null, true, -1, 1.5, "\u0041"], "a": {}, "b": 18446744073709551615}"#).unwrap();
        let list = vec![
            Json::Null,
            Json::Flag(true),
            Json::Number((-1).into()),
            Json::Number(Number::from_f64(1.5).unwrap()),
            Json::Text("A".into()),
        ];
        let fields = [("b", Json::List(list)), ("a", Json::Object(vec![])), ("b", Json::Number(u64::MAX.into()))];
        assert_eq!(read, Json::Object(fields.map(|(key, value)| (key.to_string(), value)).to_vec()));
        for wrong in ["", "{", "[1,]", "NaN", "1 2", "{\"a\": 1e999}", "\"\\ud800\"", "\u{feff}[]"] {
            assert!(matches!(Json::parse(wrong), Err(RequestError::NotJson(_))), "{wrong}");
        }
    }
}
