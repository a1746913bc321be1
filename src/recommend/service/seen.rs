//! An item that a user has seen, as a request names it.

use crate::dataset::ItemName;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;

/// An id or a title in one text, or `{"id", "title", "year"}` (`item` and `imdb` are other words for `id`). A word that it
/// does not know is an error: what is misspelt would come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenItem(pub ItemName);

impl SeenItem {
    /// What a text names: an id, or a title with or without its year.
    pub fn of_text(text: &str) -> SeenItem {
        SeenItem(ItemName { title: text.to_string(), year: None, item: Some(text.to_string()) })
    }
}

impl<'de> Deserialize<'de> for SeenItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SeenItem, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct SeenObject {
            #[serde(alias = "item", alias = "imdb")]
            id: Option<String>,
            title: Option<String>,
            year: Option<u16>,
        }
        struct TextOrObject;
        impl<'de> Visitor<'de> for TextOrObject {
            type Value = SeenItem;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an id, a title, or {\"id\", \"title\", \"year\"}")
            }
            fn visit_str<E>(self, text: &str) -> Result<SeenItem, E> {
                Ok(SeenItem::of_text(text))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SeenItem, A::Error> {
                let SeenObject { id, title, year } = SeenObject::deserialize(MapAccessDeserializer::new(map))?;
                if id.is_none() && title.is_none() {
                    return Err(A::Error::custom("a seen item without id and title"));
                }
                Ok(SeenItem(ItemName { title: title.unwrap_or_default(), year, item: id }))
            }
        }
        deserializer.deserialize_any(TextOrObject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"id": …}`, which the server takes, was passed over by the C API without a word: the seen item came back.
    #[test]
    fn a_seen_item_that_is_misspelt_or_empty_is_refused_not_passed_over() {
        let read = |json: &str| serde_json::from_str::<SeenItem>(json);
        for key in ["id", "item", "imdb"] {
            assert_eq!(read(&format!(r#"{{"{key}": "tt1"}}"#)).unwrap().0.item.as_deref(), Some("tt1"));
        }
        assert_eq!(read(r#"{"title": "Heat", "year": 1995}"#).unwrap().0.year, Some(1995));
        assert_eq!(read(r#""Heat (1995)""#).unwrap(), SeenItem::of_text("Heat (1995)"));
        for wrong in ["{}", r#"{"year": 1995}"#, r#"{"ids": "tt1"}"#, r#"{"id": "a", "titel": "b"}"#, "7", "null"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
