//! Held-out conversations, in the shape of `conversations.jsonl`.

use crate::artifact;
use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use std::path::Path;

/// The value, or the default for null.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person who seeks.
    User,
    /// The recommender.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said; may be empty.
    pub text: String,
}

/// An item as a conversation names it: by title, and by year and id where known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ItemName {
    /// The title as written.
    #[serde(default, deserialize_with = "or_default")]
    pub title: String,
    /// Year of release.
    #[serde(default)]
    pub year: Option<u16>,
    /// The item's id in the catalogue; also read under the name `imdb`.
    #[serde(default, alias = "imdb")]
    pub item: Option<String>,
}

/// A conversation that ends with a request, and what was then accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its name in reports; in a file without ids, the number of its line.
    #[serde(default, deserialize_with = "or_default")]
    pub id: String,
    /// The turns, oldest first.
    pub turns: Vec<Turn>,
    /// The items to be found; each makes one (context, target) pair. One with neither title nor id occurs in genuine
    /// files: a pair that nothing can hit.
    #[serde(default, deserialize_with = "or_default")]
    pub targets: Vec<ItemName>,
    /// Items already mentioned.
    #[serde(default, deserialize_with = "or_default")]
    pub seen: Vec<ItemName>,
}

impl Conversation {
    /// The conversation as one text: `User: …` and `System: …` lines.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for turn in &self.turns {
            out.push_str(match turn.role {
                Role::User => "User: ",
                Role::Assistant => "System: ",
            });
            out.push_str(turn.text.trim());
            out.push('\n');
        }
        out
    }
}

/// A recorded text with the items it mentions: what NBCRS keeps in its datastore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Post {
    /// Its name in reports; in a file without ids, the number of its line.
    #[serde(default, deserialize_with = "or_default")]
    pub id: String,
    /// The text.
    pub text: String,
    /// Titles mentioned in it.
    #[serde(default, deserialize_with = "or_default")]
    pub mentions: Vec<String>,
}

/// Reads JSON lines, all of which must be good; none at all is an error.
fn load<T: serde::de::DeserializeOwned>(
    path: &Path,
    what: &str,
    mut finish: impl FnMut(&mut T, u64) -> std::result::Result<(), String>,
) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    artifact::for_each_line(path, |number, line| {
        let mut row: T = serde_json::from_str(line).map_err(|e| {
            let cause = e.to_string();
            Error::format(path, number, cause.replace(" at line 1 column", ", column"))
        })?;
        finish(&mut row, number).map_err(|cause| Error::format(path, number, cause))?;
        rows.push(row);
        Ok(())
    })?;
    if rows.is_empty() {
        return Err(Error::format(path, 0, format!("no {what} in it")));
    }
    Ok(rows)
}

/// Reads conversations, one JSON object a line: `{"id", "turns": [{"role": "user" | "assistant", "text"}], "targets":
/// [{"title", "year", "item" | "imdb"}], "seen": […]}`. A turn's text may be empty, and so may the list of turns (the
/// recommender opened with the target); `targets` and `seen` may be absent.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] with file and line of the first bad one, and for a
/// file without conversations.
pub fn load_conversations(path: &Path) -> Result<Vec<Conversation>> {
    load(path, "conversations", |conversation: &mut Conversation, number| {
        if conversation.id.is_empty() {
            conversation.id = number.to_string();
        }
        Ok(())
    })
}

/// Reads posts, one JSON object a line: `{"id", "text", "mentions": ["title", …]}`.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] with file and line of the first bad one, and for a file
/// without posts.
pub fn load_posts(path: &Path) -> Result<Vec<Post>> {
    load(path, "posts", |post: &mut Post, number| {
        if post.id.is_empty() {
            post.id = number.to_string();
        }
        Ok(())
    })
}

/// Reads a list of items by name, one JSON object a line: `{"title", "year", "item" | "imdb"}`; ids may be null.
///
/// # Errors
/// Those of [`load_conversations`].
pub fn load_item_names(path: &Path) -> Result<Vec<ItemName>> {
    load(path, "items", |name: &mut ItemName, _| match name.title.trim().is_empty() && name.item.is_none() {
        true => Err("neither title nor id".into()),
        false => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::shared_file;

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.jsonl");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn an_empty_turn_and_absent_lists_and_nulls_are_allowed() {
        let (_folder, path) = written(concat!(
            r#"{"id": null, "turns": [{"role": "user", "text": ""}], "seen": null}"#,
            "\n\n",
            r#"{"turns": [{"role": "assistant", "text": "x"}], "targets": [{"title": null, "imdb": "tt1"}]}"#
        ));
        let rows = load_conversations(&path).unwrap();
        assert_eq!((rows[0].id.as_str(), rows[1].id.as_str()), ("1", "3"));
        assert_eq!(rows[1].targets[0].item.as_deref(), Some("tt1"));
        assert_eq!(rows[0].text(), "User: \n");
    }

    #[test]
    fn bad_conversations_are_errors_with_their_line() {
        for (text, says) in [
            ("", "no conversations"),
            ("\n \n", "no conversations"),
            (r#"{"targets": []}"#, "c.jsonl:1: missing field `turns`"),
            (r#"{"turns": [{"role": "robot", "text": "x"}]}"#, "c.jsonl:1: unknown variant `robot`"),
            ("{\"turns\": ", "c.jsonl:1"),
        ] {
            let (_folder, path) = written(text);
            let e = load_conversations(&path).unwrap_err();
            assert!(e.message().contains(says), "{e}");
        }
        assert_eq!(load_conversations(Path::new("/none")).unwrap_err().kind(), crate::ErrorKind::NotFound);
        let (_folder, path) = written("");
        assert!(load_posts(&path).unwrap_err().message().contains("no posts"));
    }

    #[test]
    fn conversations_round_trip() {
        let name = ItemName { title: "A".into(), year: Some(1999), item: Some("i1".into()) };
        let row = Conversation {
            id: "c".into(),
            turns: vec![Turn { role: Role::User, text: "hi".into() }],
            targets: vec![name.clone()],
            seen: vec![name],
        };
        let (_folder, path) = written(&serde_json::to_string(&row).unwrap());
        assert_eq!(load_conversations(&path).unwrap(), [row]);
    }

    #[test]
    fn the_genuine_conversations_have_the_documented_numbers_of_pairs() {
        // The numbers are those that the data's own description gives.
        for (file, contexts, pairs) in [
            ("data/conversations/inspired_test.jsonl", Some(191), Some(211)),
            ("data/conversations/redial_dev.jsonl", None, Some(1740)),
            ("data/conversations/redial_train.jsonl", None, Some(4678)),
        ] {
            let Some(path) = shared_file(file) else { return };
            let rows = load_conversations(&path).unwrap();
            assert!(contexts.is_none_or(|n| n == rows.len()), "{file}: {}", rows.len());
            assert_eq!(Some(rows.iter().map(|c| c.targets.len()).sum::<usize>()), pairs, "{file}");
        }
        let Some(path) = shared_file("data/conversations/inspired_train.jsonl") else { return };
        assert_eq!(load_posts(&path).unwrap().len(), 731);
        let Some(path) = shared_file("data/conversations/inspired_items.jsonl") else { return };
        assert!(load_item_names(&path).unwrap().iter().any(|name| name.item.as_deref() == Some("tt0058150")));
    }
}
