//! A training pair in chat format: one line of `dialogues.jsonl`.

use crate::artifact;
use crate::error::{Error, Result};
use crate::json;
use crate::run::{Level, log};
use serde::{Deserialize, Serialize};
use std::io::BufRead;
use std::path::Path;

/// One message, in the chat format that fine-tuning tools read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

/// What a dialogue was made from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Seed {
    /// Row of the selected review.
    #[serde(deserialize_with = "json::whole")]
    pub row: u64,
    /// Id of its item.
    pub item: String,
    /// Rows of the reviews shown to the teacher.
    pub reviews: Vec<u64>,
}

/// A training pair: a query and its ranked items (paper §3.1: s and 20 items).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dialogue {
    /// Content hash of what made it.
    #[serde(default)]
    pub id: String,
    /// The query (`user`), then the list of titles (`assistant`).
    pub messages: Vec<Message>,
    /// Ids of the listed items that are in the catalogue, best first, each once.
    #[serde(default)]
    pub items: Vec<String>,
    /// Listed titles that are not in the catalogue.
    #[serde(default)]
    pub out_of_catalogue: Vec<String>,
    /// What it was made from; none for `naive`.
    #[serde(default)]
    pub seed: Option<Seed>,
    /// The teacher that made it.
    #[serde(default)]
    pub teacher: String,
    /// The round that made it, from 0.
    #[serde(default, deserialize_with = "json::whole")]
    pub round: u64,
}

impl Dialogue {
    /// The query: what the user says.
    pub fn query(&self) -> &str {
        self.messages.iter().find(|m| m.role == "user").map_or("", |m| &m.content)
    }
}

/// The dialogues of some lines. A bad line costs itself: it is counted and told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DialogueLines {
    /// Those that could be read, in order.
    pub rows: Vec<Dialogue>,
    /// Lines that are no dialogues.
    pub bad_lines: u64,
}

impl DialogueLines {
    /// Reads `dialogues.jsonl`, plain or compressed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Format`] when there are lines and none
    /// of them is a dialogue.
    pub fn load(path: &Path) -> Result<DialogueLines> {
        DialogueLines::read(artifact::open(path)?, path)
    }

    /// Reads the lines of `input`, which messages call `name`.
    ///
    /// # Errors
    /// As [`DialogueLines::load`].
    pub fn read(mut input: impl BufRead, name: &Path) -> Result<DialogueLines> {
        let (mut read, mut first_bad) = (DialogueLines::default(), None);
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            if input.read_until(b'\n', &mut bytes).map_err(|e| artifact::truncated(name, e))? == 0 {
                break;
            }
            let line = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes).trim_ascii();
            if line.is_empty() {
                continue;
            }
            let line = std::str::from_utf8(line).map_err(|e| e.to_string());
            match line.and_then(json::owned) {
                Ok(dialogue) => read.rows.push(dialogue),
                Err(e) => {
                    read.bad_lines += 1;
                    first_bad.get_or_insert_with(|| Error::format(name, number, format!("no dialogue: {e}")));
                }
            }
        }
        match first_bad {
            Some(bad) if read.rows.is_empty() => return Err(bad),
            Some(bad) => {
                let text = format!("{} lines are passed over; the first: {}", read.bad_lines, bad.message());
                log(Level::Warn, &text);
            }
            None => {}
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const GOOD: &str = r#"{"id":"a","messages":[{"role":"user","content":"slow?"}],"items":["i"],"teacher":"t"}"#;

    fn read(bytes: &[u8]) -> Result<DialogueLines> {
        DialogueLines::read(bytes, Path::new("dialogues.jsonl"))
    }

    #[test]
    fn a_bad_line_of_dialogues_costs_itself() {
        // Cut short, another shape, not UTF-8, no object; between good ones, one of them with the messages alone.
        let mut bytes = format!("\u{feff}{GOOD}\r\n\n{}\n{{\"messages\": 3}}\n", &GOOD[..30]).into_bytes();
        bytes.extend_from_slice(b"{\"messages\": [], \"id\": \"\xff\"}\n7\n{\"messages\": []}\n");
        bytes.extend_from_slice(GOOD.as_bytes());
        let got = read(&bytes).unwrap();
        assert_eq!((got.rows.len(), got.bad_lines), (3, 4));
        assert_eq!((got.rows[0].query(), got.rows[1].query()), ("slow?", ""));
        assert_eq!(got.rows[0], got.rows[2]);
        // Nothing at all is no dialogue; nothing but bad lines is an error that names the first.
        assert_eq!(read(b"\n").unwrap(), DialogueLines::default());
        let e = read(b"\n{}\n[]\n").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Format);
        assert!(e.message().contains("dialogues.jsonl:2"), "{e}");
    }
}
