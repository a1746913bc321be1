//! Held-out conversations, in the shape of `conversations.jsonl`.

use super::loose::Loose;
use crate::artifact;
use crate::error::{Error, Result};
use crate::json;
use crate::run::{self, Level};
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

/// Reads JSON lines; one that `parse` cannot read costs itself, and is counted and told in the log.
fn load<T>(
    path: &Path,
    what: &str,
    max_bad_lines: u64,
    parse: impl Fn(&str, u64) -> std::result::Result<T, String>,
) -> Result<Vec<T>> {
    collect(path, what, max_bad_lines, parse, |sink| artifact::for_each_line(path, sink))
}

/// [`load`] of the lines that `each` hands out; `path` names their source.
fn collect<T>(
    path: &Path,
    what: &str,
    max_bad_lines: u64,
    parse: impl Fn(&str, u64) -> std::result::Result<T, String>,
    each: impl FnOnce(&mut dyn FnMut(u64, &str) -> Result<()>) -> Result<()>,
) -> Result<Vec<T>> {
    let (mut rows, mut bad, mut first) = (Vec::new(), 0u64, None);
    let mut at_start = true;
    each(&mut |number, line| {
        if let Some(hint) = json::array_hint(line).filter(|_| std::mem::take(&mut at_start)) {
            return Err(Error::format(path, number, hint));
        }
        at_start = false;
        match parse(line, number) {
            Ok(row) => rows.push(row),
            Err(cause) => {
                bad += 1;
                let first = first.get_or_insert_with(|| Error::format(path, number, cause));
                if bad > max_bad_lines {
                    let why = format!(
                        "more than dataset.max_bad_lines = {max_bad_lines} bad lines; the first: {}",
                        first.message()
                    );
                    return Err(Error::format(path, 0, why));
                }
            }
        }
        Ok(())
    })?;
    match first {
        Some(first) if rows.is_empty() => Err(Error::format(path, 0, format!("no {what} in it; {}", first.message()))),
        None if rows.is_empty() => Err(Error::format(path, 0, format!("no {what} in it"))),
        Some(first) => {
            let text = format!("{}: {bad} bad lines passed over, the first: {}", path.display(), first.message());
            run::log(Level::Warn, &text);
            Ok(rows)
        }
        None => Ok(rows),
    }
}

/// A JSON object with fields of any type.
fn object<'a>(line: &'a str, spare: &'a mut String) -> std::result::Result<Loose<'a>, String> {
    match json::parse(line, spare)? {
        object @ Loose::Map(_) => Ok(object),
        Loose::Null | Loose::Bool(_) | Loose::Integer(_) | Loose::Float(_) | Loose::Text(_) | Loose::List(_) => {
            Err("not a JSON object".into())
        }
    }
}

/// What is said: a text, null, or OpenAI's list of `{"type": "text", "text"}`, of which other types are passed over.
fn spoken(value: Option<&Loose<'_>>) -> String {
    let part = |part: &Loose<'_>| match part {
        Loose::Map(_) => part.entry(&["text"]).map_or_else(String::new, Loose::text),
        other => other.text(),
    };
    match value {
        Some(Loose::List(parts)) => {
            let parts: Vec<String> = parts.iter().map(part).filter(|text| !text.is_empty()).collect();
            parts.join("\n")
        }
        // As it is written, blanks and all.
        Some(Loose::Text(text)) => text.to_string(),
        Some(value) => part(value),
        None => String::new(),
    }
}

/// Who speaks, by a role's name.
enum Speaker {
    Of(Role),
    /// `system`: in recorded dialogues the recommender, in the chat format an instruction to it.
    System,
    /// Neither: a tool, a developer's instruction.
    Nobody,
}

impl Speaker {
    fn of(role: &str) -> std::result::Result<Speaker, String> {
        Ok(match role.trim().to_lowercase().as_str() {
            "user" | "human" | "seeker" | "customer" => Speaker::Of(Role::User),
            "assistant" | "bot" | "recommender" | "gpt" | "ai" | "model" | "agent" => Speaker::Of(Role::Assistant),
            "system" => Speaker::System,
            "developer" | "tool" | "function" => Speaker::Nobody,
            _ => return Err(format!("a turn's role {role:?} must be one of user | assistant (or a known synonym)")),
        })
    }
}

/// The turns of a conversation: `role` and `text`, or `content` as in the chat format.
fn turns(value: &Loose<'_>) -> std::result::Result<Vec<Turn>, String> {
    let Loose::List(list) = value else { return Err("`turns` is not a list".into()) };
    let mut turns = Vec::with_capacity(list.len());
    for turn in list {
        let role = turn.entry(&["role", "from", "speaker"]).ok_or("a turn without a role (`role`)")?;
        let text = ["text", "content", "value"].iter().find_map(|key| turn.entry(&[key]));
        turns.push((Speaker::of(&role.text())?, spoken(text)));
    }
    let assists = turns.iter().any(|(speaker, _)| matches!(speaker, Speaker::Of(Role::Assistant)));
    let turn = |(speaker, text)| match speaker {
        Speaker::Of(role) => Some(Turn { role, text }),
        Speaker::System if assists => None,
        Speaker::System => Some(Turn { role: Role::Assistant, text }),
        Speaker::Nobody => None,
    };
    Ok(turns.into_iter().filter_map(turn).collect())
}

/// An item as it is named: an object, or a title alone.
fn item_name(value: &Loose<'_>) -> ItemName {
    if let Loose::Map(_) = value {
        let year = value.entry(&["year"]).and_then(Loose::number);
        return ItemName {
            title: value.entry(&["title"]).map_or_else(String::new, Loose::text),
            year: year.filter(|year| (1.0..=9999.0).contains(year)).map(|year| year as u16),
            item: ["item", "imdb"].iter().find_map(|key| value.entry(&[key])?.id()),
        };
    }
    ItemName { title: value.text(), ..ItemName::default() }
}

fn item_names(value: Option<&Loose<'_>>) -> Vec<ItemName> {
    match value {
        None | Some(Loose::Null) => Vec::new(),
        Some(Loose::List(names)) => names.iter().map(item_name).collect(),
        Some(one) => vec![item_name(one)],
    }
}

/// The id of a row, or the number of its line.
fn id_or_line(row: &Loose<'_>, number: u64) -> String {
    row.entry(&["id"]).and_then(Loose::id).unwrap_or_else(|| number.to_string())
}

/// Reads conversations, one JSON object a line: `{"id", "turns": [{"role": "user" | "assistant", "text"}], "targets":
/// [{"title", "year", "item" | "imdb"}], "seen": […]}`. A turn's text may be empty, and so may the list of turns (the
/// recommender opened with the target); `targets` and `seen` may be absent. Ids and years may be numbers, floats too; the
/// turns may be those of the chat format (`messages`, `content`) and of recorded dialogues (`human`, `recommender`, …).
/// A line that cannot be read is passed over and told in the log.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] with file and line of the first bad one, for more than
/// `max_bad_lines` of them (`dataset.max_bad_lines`), and for a file without conversations.
pub fn load_conversations(path: &Path, max_bad_lines: u64) -> Result<Vec<Conversation>> {
    load(path, "conversations", max_bad_lines, conversation)
}

/// [`load_conversations`] of lines in memory; `source` names them in messages.
///
/// # Errors
/// Those of [`load_conversations`].
pub fn parse_conversations(lines: &str, source: &str, max_bad_lines: u64) -> Result<Vec<Conversation>> {
    collect(Path::new(source), "conversations", max_bad_lines, conversation, |sink| {
        let mut lines = (1..).zip(lines.lines()).filter(|(_, line)| !line.trim().is_empty());
        lines.try_for_each(|(number, line)| sink(number, line))
    })
}

fn conversation(line: &str, number: u64) -> std::result::Result<Conversation, String> {
    let mut spare = String::new();
    let row = object(line, &mut spare)?;
    let said = row.entry(&["turns"]).or_else(|| row.entry(&["messages", "conversation", "conversations"]));
    Ok(Conversation {
        id: id_or_line(&row, number),
        turns: turns(said.ok_or("no turns (`turns`)")?)?,
        targets: item_names(row.entry(&["targets"])),
        seen: item_names(row.entry(&["seen"])),
    })
}

/// Reads posts, one JSON object a line: `{"id", "text", "mentions": ["title", …]}`; as lenient as [`load_conversations`].
///
/// # Errors
/// Those of [`load_conversations`].
pub fn load_posts(path: &Path, max_bad_lines: u64) -> Result<Vec<Post>> {
    load(path, "posts", max_bad_lines, |line, number| {
        let mut spare = String::new();
        let row = object(line, &mut spare)?;
        let text = row.entry(&["text"]).ok_or("no text (`text`)")?;
        let mentions = row.entry(&["mentions"]).map_or_else(Vec::new, Loose::list);
        Ok(Post { id: id_or_line(&row, number), text: spoken(Some(text)), mentions })
    })
}

/// Reads a list of items by name, one JSON object a line: `{"title", "year", "item" | "imdb"}`; ids may be null. As lenient
/// as [`load_conversations`].
///
/// # Errors
/// Those of [`load_conversations`].
pub fn load_item_names(path: &Path, max_bad_lines: u64) -> Result<Vec<ItemName>> {
    load(path, "items", max_bad_lines, |line, _| {
        let mut spare = String::new();
        let name = item_name(&object(line, &mut spare)?);
        match name.title.trim().is_empty() && name.item.is_none() {
            true => Err("neither title nor id".into()),
            false => Ok(name),
        }
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
        let rows = load_conversations(&path, 0).unwrap();
        assert_eq!((rows[0].id.as_str(), rows[1].id.as_str()), ("1", "3"));
        assert_eq!(rows[1].targets[0].item.as_deref(), Some("tt1"));
        assert_eq!(rows[0].text(), "User: \n");
    }

    #[test]
    fn bad_conversations_are_errors_with_their_line() {
        for (text, says) in [
            ("", "no conversations"),
            ("\n \n", "no conversations"),
            (r#"{"targets": []}"#, "c.jsonl:1: no turns (`turns`)"),
            (r#"{"turns": [{"role": "robot", "text": "x"}]}"#, "c.jsonl:1: a turn's role \"robot\" must be one of"),
            (r#"{"turns": [{"text": "x"}]}"#, "c.jsonl:1: a turn without a role"),
            ("[{\"turns\": []}, {}]", "c.jsonl:1: a JSON array"),
            ("{\"turns\": ", "c.jsonl:1"),
        ] {
            let (_folder, path) = written(text);
            let e = load_conversations(&path, 0).unwrap_err();
            assert!(e.message().contains(says), "{e}");
        }
        assert_eq!(load_conversations(Path::new("/none"), 0).unwrap_err().kind(), crate::ErrorKind::NotFound);
        let (_folder, path) = written("");
        assert!(load_posts(&path, 0).unwrap_err().message().contains("no posts"));
    }

    #[test]
    fn one_bad_conversation_refused_the_whole_file() {
        let good = r#"{"turns": [{"role": "user", "text": "hi"}]}"#;
        let (_folder, path) = written(&format!("{good}\n{{\"turns\": 3}}\n{good}\nx\n"));
        assert_eq!(load_conversations(&path, 2).unwrap().len(), 2);
        let e = load_conversations(&path, 1).unwrap_err();
        assert!(e.message().contains("dataset.max_bad_lines = 1") && e.message().contains("c.jsonl:2"), "{e}");
        let (_folder, path) = written("{\"title\": \"A\"}\n{\"title\": null}\n");
        assert_eq!(load_item_names(&path, 1).unwrap().len(), 1);
    }

    #[test]
    fn conversations_of_pandas_and_of_the_chat_format_were_refused() {
        let (_folder, path) = written(concat!(
            r#"{"id": 7.0, "turns": [{"role": "User", "text": null}, {"role": "System", "text": "hello"}], "#,
            r#""targets": [{"title": "Heat", "year": 1995.0, "imdb": 12}, {"title": "Up", "year": "2009.0", "item": NaN}, "Alien"]}"#,
            "\n",
            r#"{"id": NaN, "messages": [{"role": "system", "content": "You recommend."}, {"role": "user", "content": "a \ud83d"}, "#,
            r#"{"role": "assistant", "content": [{"type": "text", "text": "b"}, {"type": "image_url"}, {"type": "text", "text": "c"}]}, "#,
            r#"{"role": "tool", "content": "x"}], "targets": null, "seen": [{"title": "Up", "year": NaN}]}"#,
            "\n",
            r#"{"id": "x", "turns": [{"from": "human", "value": "d"}, {"speaker": "RECOMMENDER", "text": "e"}, {"role": "seeker", "text": 5}]}"#,
        ));
        let rows = load_conversations(&path, 0).unwrap();
        let turn = |role, text: &str| Turn { role, text: text.into() };
        let (user, assistant) = (Role::User, Role::Assistant);
        assert_eq!(rows.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["7", "2", "x"]);
        assert_eq!(rows[0].turns, [turn(user, ""), turn(assistant, "hello")]);
        let name = |title: &str, year, item: Option<&str>| ItemName {
            title: title.into(),
            year,
            item: item.map(str::to_string),
        };
        let targets = [name("Heat", Some(1995), Some("12")), name("Up", Some(2009), None), name("Alien", None, None)];
        assert_eq!(rows[0].targets, targets);
        assert_eq!(rows[1].turns, [turn(user, "a \u{fffd}"), turn(assistant, "b\nc")]);
        assert_eq!((&rows[1].targets[..], &rows[1].seen[..]), (&[][..], &[name("Up", None, None)][..]));
        assert_eq!(rows[2].turns, [turn(user, "d"), turn(assistant, "e"), turn(user, "5")]);
        let (_folder, path) = written(r#"{"id": 3, "text": "x", "mentions": null}"#);
        assert_eq!(load_posts(&path, 0).unwrap(), [Post { id: "3".into(), text: "x".into(), mentions: Vec::new() }]);
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
        assert_eq!(load_conversations(&path, 0).unwrap(), [row]);
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
            let rows = load_conversations(&path, 0).unwrap();
            assert!(contexts.is_none_or(|n| n == rows.len()), "{file}: {}", rows.len());
            assert_eq!(Some(rows.iter().map(|c| c.targets.len()).sum::<usize>()), pairs, "{file}");
        }
        let Some(path) = shared_file("data/conversations/inspired_train.jsonl") else { return };
        assert_eq!(load_posts(&path, 0).unwrap().len(), 731);
        let Some(path) = shared_file("data/conversations/inspired_items.jsonl") else { return };
        assert!(load_item_names(&path, 0).unwrap().iter().any(|name| name.item.as_deref() == Some("tt0058150")));
    }
}
