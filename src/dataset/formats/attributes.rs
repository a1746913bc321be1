//! Attributes out of JSON values as they occur, and the fields that `dataset.attributes` names.

use super::super::clean;
use super::super::lines::Parsed;
use super::super::loose::{Loose, is_missing};
use super::field::json;
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};

/// Attributes as they are read: what has no name or no value is left out, and counted, by the dataset.
pub(super) type Read = Vec<(String, String)>;

/// The JSON value in a text that holds an object or a list of them, as tables with such a column have it.
fn within(text: &str) -> Option<Loose<'_>> {
    text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str(text).ok()).flatten()
}

/// Adds what `value` says under `name`: a text, a number, yes or no; each of a list; an object's entries under their own names,
/// `{"name": "Brand", "value": "Acme"}` too. An object within an object is no value.
pub(super) fn add(name: &str, value: &Loose<'_>, out: &mut Read) {
    let mut one = |value: &str| out.push((name.to_string(), value.to_string()));
    match value {
        Loose::Null => {}
        Loose::Bool(true) => one("yes"),
        Loose::Bool(false) => one("no"),
        Loose::Integer(number) => one(&number.to_string()),
        // NaN stands for an absent value.
        Loose::Float(number) if number.is_nan() => {}
        Loose::Float(number) => one(&if number.is_finite() { number.to_string() } else { String::new() }),
        Loose::Text(text) if is_missing(text) => {}
        Loose::Text(text) => match within(text) {
            Some(inner) => add(name, &inner, out),
            None => one(&clean::html(text)),
        },
        Loose::List(list) => list.iter().for_each(|value| add(name, value, out)),
        Loose::Map(entries) => add_entries(entries, out),
    }
}

/// The attributes in a text that holds a JSON object, `{"brand": "Acme"}`; one without a name for any other text.
pub fn attributes_of(text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    add("", &Loose::Text(text.into()), &mut out);
    out
}

fn add_entries(entries: &[(std::borrow::Cow<'_, str>, Loose<'_>)], out: &mut Read) {
    let of = |key: &str| entries.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)).map(|(_, value)| value);
    if let (2, Some(Loose::Text(name)), Some(value)) = (entries.len(), of("name").or_else(|| of("key")), of("value")) {
        return add_flat(name, value, out);
    }
    entries.iter().for_each(|(name, value)| add_flat(name, value, out));
}

/// [`add`] of a value that may hold no further object.
fn add_flat(name: &str, value: &Loose<'_>, out: &mut Read) {
    match value {
        Loose::Map(_) => out.push((name.to_string(), String::new())),
        Loose::List(list) => list.iter().for_each(|value| add_flat(name, value, out)),
        Loose::Null | Loose::Bool(_) | Loose::Integer(_) | Loose::Float(_) | Loose::Text(_) => add(name, value, out),
    }
}

/// One field of `dataset.attributes`.
#[derive(Debug)]
pub(super) struct Field {
    /// The name that its values get.
    pub name: String,
    /// `details.Brand`.
    pub path: String,
    /// Whether an item had it.
    found: AtomicBool,
}

/// The fields of `dataset.attributes`.
#[derive(Debug, Default)]
pub(in super::super) struct Fields(Vec<Field>);

impl Fields {
    /// Reads `field` and `name=field`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an entry without a field or a name.
    pub(super) fn of(entries: &[String]) -> Result<Fields> {
        let field = |entry: &String| {
            let (name, path) = match entry.split_once('=') {
                Some((name, path)) => (name.trim(), path.trim()),
                None => (entry.rsplit('.').next().unwrap_or_default().trim(), entry.trim()),
            };
            if name.is_empty() || path.is_empty() {
                return Err(Error::invalid(format!(
                    "dataset.attributes: {entry:?} is neither a field (`brand`, `details.Brand`) nor `name=field`"
                )));
            }
            Ok(Field { name: name.to_string(), path: path.to_string(), found: AtomicBool::new(false) })
        };
        Ok(Fields(entries.iter().map(field).collect::<Result<_>>()?))
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }
    /// The fields that no item had.
    pub(in super::super) fn unfound(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|field| !field.found.load(Ordering::Relaxed)).map(|field| field.path.as_str())
    }
    /// Adds what the object in `line` has of these fields.
    pub(super) fn add(&self, line: &str, out: &mut Read) -> Parsed<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut spare = String::new();
        let object: Loose<'_> = json(line, &mut spare)?;
        for field in &self.0 {
            if look(&object, &field.path, &field.name, out) {
                field.found();
            }
        }
        Ok(())
    }
}

impl Field {
    pub(super) fn found(&self) {
        self.found.store(true, Ordering::Relaxed);
    }
}

/// Goes down `path` from `value` and adds what is there; whether anything is. A key may itself hold dots, lists are gone
/// through, and a text that holds an object is that object.
fn look(value: &Loose<'_>, path: &str, name: &str, out: &mut Read) -> bool {
    match value {
        Loose::Map(_) => {
            if let Some(found) = value.entry(&[path]) {
                add(name, found, out);
                return *found != Loose::Null;
            }
            path.match_indices('.')
                .any(|(at, _)| value.entry(&[&path[..at]]).is_some_and(|inner| look(inner, &path[at + 1..], name, out)))
        }
        // All of them, not only the first that has it.
        Loose::List(list) => list.iter().filter(|inner| look(inner, path, name, out)).count() > 0,
        Loose::Text(text) => within(text).is_some_and(|inner| look(&inner, path, name, out)),
        Loose::Null | Loose::Bool(_) | Loose::Integer(_) | Loose::Float(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(json: &str) -> Vec<(String, String)> {
        let mut out = Vec::new();
        add("n", &serde_json::from_str(json).unwrap(), &mut out);
        out
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn values_of_any_type_become_attributes_or_are_left_empty() {
        assert_eq!(
            added(r#"["a", 7, 2.5, true, null, ["b"], "n/a"]"#),
            pairs(&[("n", "a"), ("n", "7"), ("n", "2.5"), ("n", "yes"), ("n", "b"),])
        );
        let nested = r#"{"Brand": "A &amp; B", "Colour": ["red", "blue"], "Size": {"eu": 42}, "Sets": [[{"x": 1}]]}"#;
        let wanted = pairs(&[("Brand", "A & B"), ("Colour", "red"), ("Colour", "blue"), ("Size", ""), ("Sets", "")]);
        assert_eq!(added(nested), wanted);
        assert_eq!(added(&serde_json::to_string(nested).unwrap()), wanted);
        let listed =
            r#"[{"name": "Brand", "value": "Acme"}, {"value": 3, "name": "Legs"}, {"name": "Ann", "role": "x"}]"#;
        assert_eq!(added(listed), pairs(&[("Brand", "Acme"), ("Legs", "3"), ("name", "Ann"), ("role", "x")]));
        assert_eq!(added("\"{broken\""), pairs(&[("n", "{broken")]));
        assert!(added("{}").is_empty() && added("null").is_empty());
    }

    #[test]
    fn fields_are_found_by_path_and_those_of_no_item_are_told() {
        let entries = ["details.Brand", "colour=variants.color", "a.b", "platform", "nothing.there", "x.y.z"];
        let fields = Fields::of(&entries.map(str::to_string)).unwrap();
        let mut out = Vec::new();
        let line = r#"{"Details": "{\"brand\": \"Acme\"}", "variants": [{"color": "red"}, {"color": ["blue"]}, 4],
            "a.b": 1, "platform": null, "x.y": {"z": false}}"#;
        fields.add(&line.replace('\n', ""), &mut out).unwrap();
        let wanted = [("Brand", "Acme"), ("colour", "red"), ("colour", "blue"), ("b", "1"), ("z", "no")];
        assert_eq!(out, pairs(&wanted));
        assert_eq!(fields.unfound().collect::<Vec<_>>(), ["platform", "nothing.there"]);
        for bad in ["", "=x", "x=", " = ", "a."] {
            let e = Fields::of(&[bad.to_string()]).unwrap_err();
            assert!(e.message().contains("dataset.attributes"), "{bad:?} {e}");
        }
    }
}
