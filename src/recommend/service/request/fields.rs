//! An object taken apart field by field: what is asked for, and then nothing that is left over.

use super::tree::{Json, RequestError};
use crate::recommend::excerpt;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// The fields of an object that were not yet taken.
#[derive(Debug)]
pub struct Fields {
    /// Where the object stands; empty: the request itself.
    at: String,
    left: Vec<(String, Json)>,
}

/// Fields that are looked through faster than sorted.
const FEW: usize = 16;

/// A key that comes twice.
fn twice(fields: &[(String, Json)]) -> Option<&str> {
    if fields.len() <= FEW {
        let again = |(n, (key, _)): &(usize, &(String, Json))| fields[..*n].iter().any(|(other, _)| other == key);
        return fields.iter().enumerate().find(again).map(|(_, (key, _))| key.as_str());
    }
    let mut known = BTreeSet::new();
    fields.iter().map(|(key, _)| key.as_str()).find(|key| !known.insert(*key))
}

impl Fields {
    /// The fields of `json`, which stands at `at`; `write`: what is to be written there.
    ///
    /// # Errors
    /// [`RequestError::Field`] for what is no object, and for a key that comes twice.
    pub fn of(json: Json, at: &str, write: &str) -> Result<Fields, RequestError> {
        let Json::Object(fields) = json else { return Err(not(&json, at, write)) };
        let fields = Fields { at: at.to_string(), left: fields };
        match twice(&fields.left) {
            Some(key) => Err(RequestError::field(fields.place(&excerpt(key, 40)), "written twice: write it once")),
            None => Ok(fields),
        }
    }

    /// Where its field `name` stands.
    pub fn place(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_string() } else { format!("{}.{name}", self.at) }
    }

    /// Takes a field; none where it is missing or null.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.swap_remove(at).1).filter(|value| *value != Json::Null)
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
        self.left.iter().any(|(key, _)| key == name)
    }

    /// Drops it, with nothing left over. `known`: the names that there are.
    ///
    /// # Errors
    /// [`RequestError::Field`] for a field that was not taken: what is misspelt would be passed over.
    pub fn end(self, known: &[&str]) -> Result<(), RequestError> {
        let Some(name) = self.left.iter().map(|(key, _)| key).min() else { return Ok(()) };
        let nearest = known.iter().map(|k| (strsim::damerau_levenshtein(name, k), *k)).min();
        let meant = match nearest {
            Some((distance, meant)) if distance <= 2 => format!("; is {meant} meant?"),
            Some(_) | None => String::new(),
        };
        let message = format!("no such field: there is {}{meant}", known.join(", "));
        Err(RequestError::field(self.place(&excerpt(name, 40)), message))
    }

    /// The names of the fields that are left and not null, sorted.
    pub fn into_names(self) -> Vec<String> {
        let said = self.left.into_iter().filter(|(_, value)| *value != Json::Null);
        let mut names: Vec<String> = said.map(|(key, _)| key).collect();
        names.sort_unstable();
        names
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_found_among_few_and_among_many() {
        for count in [2, FEW, FEW + 1, 50_000] {
            let keys =
                |last: &str| (1..count).map(|n| (format!("k{n}"), Json::Null)).chain([(last.to_string(), Json::Null)]);
            assert_eq!(twice(&keys("other").collect::<Vec<_>>()), None);
            assert_eq!(twice(&keys("k1").collect::<Vec<_>>()), Some("k1"), "{count}");
        }
    }
}
