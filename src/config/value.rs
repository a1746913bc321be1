//! What a setting can hold, and how it is read: from the text of a command line or of the C API, from TOML.

use super::choices::Choice;
use crate::error::{Error, Result};

/// The bounds of a number.
pub(super) enum Bounds {
    None,
    Integer(u64, u64),
    Number(f64, f64),
}

impl Bounds {
    fn words(&self) -> String {
        match self {
            Bounds::None => String::new(),
            Bounds::Integer(low, u64::MAX) => format!("at least {low}"),
            Bounds::Integer(low, high) => format!("{low} to {high}"),
            Bounds::Number(low, high) if *high == f64::INFINITY => format!("at least {low}"),
            Bounds::Number(low, high) => format!("{low} to {high}"),
        }
    }
}

/// A type that a setting can have.
pub(super) trait Value: Sized {
    const KIND: &'static str;
    /// From text that is no TOML: `fisher`, `a,b`, `0.5`.
    fn from_text(text: &str) -> std::result::Result<Self, String>;
    /// From a TOML value; a text stands for what it says.
    fn from_toml(value: &toml::Value) -> std::result::Result<Self, String> {
        match value {
            toml::Value::String(text) => Self::from_text(text),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                Self::from_text(&value.to_string())
            }
            // A list of one is that one, as it has always been.
            toml::Value::Array(list) if list.len() == 1 => Self::from_toml(&list[0]),
            toml::Value::Array(_) | toml::Value::Table(_) | toml::Value::Datetime(_) => {
                Err(format!("must be of the kind {}", Self::KIND))
            }
        }
    }
    fn to_toml(&self) -> toml::Value;
    /// Whether it is within the bounds of a number.
    fn is_within(&self, _: &Bounds) -> bool {
        true
    }
    /// The choices, `a | b`; empty: any value.
    fn choices() -> String {
        String::new()
    }
}

macro_rules! integer {
    ($($t:ty),*) => {$(
        impl Value for $t {
            const KIND: &'static str = "integer";
            fn from_text(text: &str) -> std::result::Result<Self, String> {
                text.trim().replace('_', "").parse().map_err(|_| "not a whole number that fits".to_string())
            }
            fn to_toml(&self) -> toml::Value {
                // TOML's whole numbers have 63 bits; the few above are written as text, which reads back.
                i64::try_from(*self).map_or_else(|_| toml::Value::String(self.to_string()), toml::Value::Integer)
            }
            fn is_within(&self, bounds: &Bounds) -> bool {
                match bounds {
                    Bounds::Integer(low, high) => (*low..=*high).contains(&(*self as u64)),
                    Bounds::None => true,
                    Bounds::Number(..) => false,
                }
            }
        }
    )*};
}
integer!(u64, usize);

impl Value for f64 {
    const KIND: &'static str = "number";
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        match text.trim().parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(v),
            Ok(_) | Err(_) => Err("not a finite number".to_string()),
        }
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::Float(*self)
    }
    fn is_within(&self, bounds: &Bounds) -> bool {
        match bounds {
            Bounds::Number(low, high) => (*low..=*high).contains(self),
            Bounds::None => true,
            Bounds::Integer(..) => false,
        }
    }
}

impl Value for bool {
    const KIND: &'static str = "boolean";
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        text.trim().parse().map_err(|_| "neither true nor false".to_string())
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::Boolean(*self)
    }
}

impl Value for String {
    const KIND: &'static str = "text";
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        Ok(text.to_string())
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::String(self.clone())
    }
}

impl<T: Choice> Value for T {
    const KIND: &'static str = "text";
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        T::from_name(text.trim()).ok_or_else(|| format!("must be one of {}", T::names()))
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::String(self.name().to_string())
    }
    fn choices() -> String {
        T::names()
    }
}

/// A list, written `a,b,c` on a command line and `["a", "b", "c"]` in TOML.
impl<T: Value> Value for Vec<T> {
    const KIND: &'static str = "list";
    fn from_text(text: &str) -> std::result::Result<Self, String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(T::from_text).collect()
    }
    fn from_toml(value: &toml::Value) -> std::result::Result<Self, String> {
        match value {
            toml::Value::Array(list) => list.iter().map(T::from_toml).collect(),
            toml::Value::String(text) => Self::from_text(text),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => Ok(vec![T::from_toml(value)?]),
            toml::Value::Table(_) | toml::Value::Datetime(_) => Err("must be of the kind list".to_string()),
        }
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::Array(self.iter().map(Value::to_toml).collect())
    }
    fn choices() -> String {
        T::choices()
    }
}

/// What `text` of a command line or of the C API says: TOML where it begins as a TOML text or list does, plain text elsewhere.
fn read<T: Value>(text: &str) -> std::result::Result<T, String> {
    let trimmed = text.trim();
    let list = T::KIND == "list";
    if let Some(value) = toml_value(trimmed) {
        return match value {
            toml::Value::Array(_) if !list => T::from_text(text),
            value => T::from_toml(&value),
        };
    }
    if list && trimmed.starts_with('[') && trimmed.ends_with(']') {
        let hint = "a list in brackets is written as in TOML, each text in quotes: [\"a\", \"b\"]";
        return Err(format!("{hint} (a shell takes the quotes away; put single quotes around the whole)"));
    }
    // `"a,b","c"`: the inside of a list.
    if let Some(value) = toml_value(&format!("[{trimmed}]")).filter(|_| list && trimmed.starts_with(['"', '\''])) {
        return T::from_toml(&value);
    }
    T::from_text(text)
}

/// A TOML text or list; none for anything else.
fn toml_value(text: &str) -> Option<toml::Value> {
    if !text.starts_with(['"', '\'', '[']) {
        return None;
    }
    let mut table: toml::Table = format!("value = {text}").parse().ok()?;
    // More than one key: the text held a line break and went on.
    (table.len() == 1).then(|| table.remove("value")).flatten()
}

fn checked<T: Value>(value: std::result::Result<T, String>, bounds: &Bounds) -> std::result::Result<T, String> {
    let value = value?;
    match value.is_within(bounds) {
        true => Ok(value),
        false => Err(format!("must be {}", bounds.words())),
    }
}

/// Characters of a settings file that an error quotes.
const QUOTED: usize = 80;

/// The beginning of a text, on one line: what an error quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(QUOTED).is_some() {
        quoted.push('…');
    }
    quoted
}

/// The value of the setting `key` from text.
pub(super) fn parse<T: Value>(key: &str, text: &str, bounds: &Bounds) -> Result<T> {
    checked(read(text), bounds)
        .map_err(|why| Error::invalid(format!("setting {key} = {}: {why}", quoted(&format!("{text:?}")))))
}

/// The value of the setting `key` from a settings file.
pub(super) fn parse_toml<T: Value>(key: &str, value: &toml::Value, bounds: &Bounds) -> Result<T> {
    checked(T::from_toml(value), bounds)
        .map_err(|why| Error::invalid(format!("setting {key} = {}: {why}", quoted(&value.to_string()))))
}

/// The bounds or the choices, in words; empty: none.
pub(super) fn words<T: Value>(bounds: &Bounds) -> String {
    let choices = T::choices();
    if choices.is_empty() { bounds.words() } else { choices }
}
