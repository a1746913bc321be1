//! An object taken apart field by field: what is asked for, and then nothing that is left over.

use super::tree::{Json, RequestError};
use crate::recommend::excerpt;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The fields of an object that were not yet taken.
#[derive(Debug)]
pub struct Fields {
    /// Where the object stands; empty: the request itself.
    at: String,
    left: BTreeMap<String, Json>,
}

impl Fields {
    /// The fields of `json`, which stands at `at`; `write`: what is to be written there.
    ///
    /// # Errors
    /// [`RequestError::Field`] for what is no object, and for a key that comes twice.
    pub fn of(json: Json, at: &str, write: &str) -> Result<Fields, RequestError> {
        let Json::Object(fields) = json else { return Err(not(&json, at, write)) };
        let mut taken = Fields { at: at.to_string(), left: BTreeMap::new() };
        for (key, value) in fields {
            if taken.left.contains_key(&key) {
                let field = taken.place(&key);
                return Err(RequestError::field(field, "written twice: write it once"));
            }
            taken.left.insert(key, value);
        }
        Ok(taken)
    }

    /// Where its field `name` stands.
    pub fn place(&self, name: &str) -> String {
        let name = excerpt(name, 40);
        if self.at.is_empty() { name } else { format!("{}.{name}", self.at) }
    }

    /// Takes a field; none where it is missing or null.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        self.left.remove(name).filter(|value| *value != Json::Null)
    }

    /// Takes a field that has several names, with the one that was used; none where it is missing or null.
    ///
    /// # Errors
    /// [`RequestError::Field`] where two of them are there.
    pub fn take_one<'a>(&mut self, names: &[&'a str]) -> Result<Option<(&'a str, Json)>, RequestError> {
        let mut found: Option<(&str, Json)> = None;
        for name in names {
            let Some(value) = self.take(name) else { continue };
            if let Some((other, _)) = found {
                let message = format!("says the same as {other}: send one of them");
                return Err(RequestError::field(self.place(name), message));
            }
            found = Some((name, value));
        }
        Ok(found)
    }

    /// True where a field of this name is left.
    pub fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// Drops it, with nothing left over. `known`: the names that there are.
    ///
    /// # Errors
    /// [`RequestError::Field`] for a field that was not taken: what is misspelt would be passed over.
    pub fn end(self, known: &[&str]) -> Result<(), RequestError> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let nearest = known.iter().map(|k| (strsim::damerau_levenshtein(name, k), *k)).min();
        let meant = match nearest {
            Some((distance, meant)) if distance <= 2 => format!("; is {meant} meant?"),
            Some(_) | None => String::new(),
        };
        let message = format!("no such field: there is {}{meant}", known.join(", "));
        Err(RequestError::field(self.place(name), message))
    }

    /// The names of the fields that are left.
    pub fn into_names(self) -> impl Iterator<Item = String> {
        self.left.into_keys()
    }
}

/// The refusal of a value that is something else than what is to be written at `field`.
pub(super) fn not(value: &Json, field: &str, write: &str) -> RequestError {
    RequestError::field(field, format!("{} is not what is needed: write {write}", value.shown()))
}

/// A text.
///
/// # Errors
/// [`RequestError::Field`] for anything else.
pub fn text(value: Json, field: &str, write: &str) -> Result<String, RequestError> {
    match value {
        Json::Text(text) => Ok(text),
        other => Err(not(&other, field, write)),
    }
}

/// A list.
///
/// # Errors
/// [`RequestError::Field`] for anything else.
pub fn list(value: Json, field: &str, write: &str) -> Result<Vec<Json>, RequestError> {
    match value {
        Json::List(values) => Ok(values),
        other => Err(not(&other, field, write)),
    }
}

/// A list of ids.
///
/// # Errors
/// [`RequestError::Field`] for anything else.
pub fn texts(value: Json, field: &str) -> Result<Vec<String>, RequestError> {
    let write = "a list of ids, [\"id\", …]";
    let one = |(n, value): (usize, Json)| match value {
        Json::Text(id) => Ok(id),
        Json::Number(number) => {
            let message = format!("{number} is a number: write the id as a text, \"{number}\"");
            Err(RequestError::field(format!("{field}[{n}]"), message))
        }
        other => Err(not(&other, &format!("{field}[{n}]"), "an id, \"id\"")),
    };
    list(value, field, write)?.into_iter().enumerate().map(one).collect()
}

/// True or false.
///
/// # Errors
/// [`RequestError::Field`] for anything else.
pub fn flag(value: Json, field: &str) -> Result<bool, RequestError> {
    match value {
        Json::Flag(value) => Ok(value),
        other => Err(not(&other, field, "true or false")),
    }
}

/// A whole number within `bounds`, written without a point.
///
/// # Errors
/// [`RequestError::Field`] for anything else.
pub fn number(value: Json, field: &str, bounds: RangeInclusive<u64>) -> Result<u64, RequestError> {
    match &value {
        Json::Number(number) => match number.as_u64().filter(|n| bounds.contains(n)) {
            Some(number) => Ok(number),
            None => Err(not(&value, field, &format!("a whole number from {} to {}", bounds.start(), bounds.end()))),
        },
        other => Err(not(other, field, &format!("a whole number from {} to {}", bounds.start(), bounds.end()))),
    }
}
