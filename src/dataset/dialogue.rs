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

/// What is said of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Polarity {
    /// The user liked it.
    Liked,
    /// The user did not like it.
    Disliked,
    /// The user has seen (bought, read) it, and does not say how it was.
    Seen,
    /// It is spoken of: suggested, asked about, accepted; or nobody knows what the user thinks of it.
    Neutral,
}

/// What a message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// The user begins: a request.
    Open,
    /// The recommender asks.
    Ask,
    /// The user answers a question.
    Tell,
    /// The recommender suggests an item.
    Suggest,
    /// The user has seen what was suggested: see the mention's polarity.
    Seen,
    /// The user does not want what was suggested: see `unwanted`.
    Reject,
    /// The user wants something else besides: see `wanted`.
    Narrow,
    /// The recommender gives its list.
    List,
    /// The user takes the first item of the list.
    Accept,
}

/// One item that a message speaks of, by name or as "it".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MentionLabel {
    /// Its id.
    pub item: String,
    /// What is said of it.
    pub polarity: Polarity,
}

/// What one message is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageLabel {
    /// What it does.
    pub act: Act,
    /// The items that it speaks of, but for those of a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<MentionLabel>,
    /// What the user asks for in it: attributes as the catalogue writes them, decades as `1990s`, moods, `newer`, `older`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<String>,
    /// What the user does not want.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwanted: Vec<String>,
    /// `suggest`: ids of the items that would suit here, best first; those of `list` are the dialogue's own `items`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
}

impl MessageLabel {
    /// With nothing but its act.
    pub fn new(act: Act) -> MessageLabel {
        MessageLabel { act, mentions: Vec::new(), wanted: Vec::new(), unwanted: Vec::new(), items: Vec::new() }
    }
}

/// A dialogue to train on: a query and its ranked items (paper §3.1: s and 20 items), or several turns that end in them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dialogue {
    /// Content hash of what made it.
    #[serde(default)]
    pub id: String,
    /// The query (`user`), then the list of titles (`assistant`); of several turns (`synthesize.turns`): both in turn, and
    /// the user's acceptance at the end.
    pub messages: Vec<Message>,
    /// What each message is about, one entry a message; empty in rows that others made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<MessageLabel>,
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

/// One reply of the recommender, and what was said before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exchange<'a> {
    /// The messages before it.
    pub before: &'a [Message],
    /// What it says; trimmed.
    pub reply: &'a str,
    /// Ids of the items that suit here, best first; empty for a question.
    pub items: &'a [String],
    /// It gives the dialogue's list.
    pub is_list: bool,
}

impl Exchange<'_> {
    /// What the user said until then, a line a message.
    pub fn query(&self) -> String {
        said_by_user(self.before)
    }
    /// All that was said until then, a line a message.
    pub fn spoken(&self) -> String {
        self.before.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n")
    }
}

fn said_by_user(messages: &[Message]) -> String {
    messages.iter().filter(|m| m.role == "user").map(|m| m.content.trim()).collect::<Vec<_>>().join("\n")
}

impl Dialogue {
    /// The query: what the user says before the list, a line a message.
    pub fn query(&self) -> String {
        said_by_user(&self.messages[..self.list_at().unwrap_or(self.messages.len())])
    }

    /// Which message gives the list: the recommender's last.
    fn list_at(&self) -> Option<usize> {
        self.messages.iter().rposition(|m| m.role == "assistant")
    }

    /// The recommender's replies, in order; where it says nothing, one without words that gives the list.
    pub fn exchanges(&self) -> impl Iterator<Item = Exchange<'_>> {
        let list_at = self.list_at();
        // Without a label for each message there is one reply to learn from.
        let labelled = self.labels.len() == self.messages.len();
        let silent = list_at.is_none().then_some(Exchange {
            before: &self.messages,
            reply: "",
            items: &self.items,
            is_list: true,
        });
        let replies = self.messages.iter().enumerate().filter_map(move |(at, message)| {
            let is_list = Some(at) == list_at;
            if message.role != "assistant" || !(labelled || is_list) {
                return None;
            }
            let items = if is_list { &self.items } else { &self.labels[at].items };
            Some(Exchange { before: &self.messages[..at], reply: message.content.trim(), items, is_list })
        });
        replies.chain(silent)
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
        assert_eq!((got.rows[0].query().as_str(), got.rows[1].query().as_str()), ("slow?", ""));
        assert_eq!(got.rows[0], got.rows[2]);
        // Nothing at all is no dialogue; nothing but bad lines is an error that names the first.
        assert_eq!(read(b"\n").unwrap(), DialogueLines::default());
        let e = read(b"\n{}\n[]\n").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Format);
        assert!(e.message().contains("dialogues.jsonl:2"), "{e}");
    }

    #[test]
    fn a_dialogue_of_several_turns_has_an_exchange_for_each_reply() {
        let line = r#"{"messages":[{"role":"user","content":" Hi "},{"role":"assistant","content":"What kind?"},
            {"role":"user","content":"Slow"},{"role":"assistant","content":"How about A?"},
            {"role":"user","content":"Seen it"},{"role":"assistant","content":"1. B"},{"role":"user","content":"Fine"}],
            "labels":[{"act":"open"},{"act":"ask"},{"act":"tell","wanted":["slow"]},{"act":"suggest","items":["b"]},
            {"act":"seen","mentions":[{"item":"a","polarity":"liked"}]},{"act":"list"},{"act":"accept"}],"items":["b","c"]}"#
            .replace('\n', "");
        let got = read(line.as_bytes()).unwrap();
        let dialogue = &got.rows[0];
        assert_eq!(dialogue.query(), "Hi\nSlow\nSeen it");
        assert_eq!(dialogue.labels[4].mentions[0].polarity, Polarity::Liked);
        let exchanges: Vec<(String, &str, usize, bool)> =
            dialogue.exchanges().map(|e| (e.query(), e.reply, e.items.len(), e.is_list)).collect();
        let want = [("Hi", "What kind?", 0, false), ("Hi\nSlow", "How about A?", 1, false)];
        let want = want.iter().chain(&[("Hi\nSlow\nSeen it", "1. B", 2, true)]);
        assert_eq!(exchanges, want.map(|w| (w.0.to_string(), w.1, w.2, w.3)).collect::<Vec<_>>());
        // Labels that do not fit the messages say nothing: the list is what is learned.
        let short = Dialogue { labels: dialogue.labels[..3].to_vec(), ..dialogue.clone() };
        assert_eq!(short.exchanges().map(|e| e.is_list).collect::<Vec<_>>(), [true]);
        let silent = Dialogue { messages: short.messages[..1].to_vec(), ..short };
        let only: Vec<(String, &str, usize)> =
            silent.exchanges().map(|e| (e.query(), e.reply, e.items.len())).collect();
        assert_eq!(only, [("Hi".to_string(), "", 2)]);
        let again = serde_json::to_string(dialogue).unwrap();
        assert_eq!(&read(again.as_bytes()).unwrap().rows[0], dialogue);
    }
}
