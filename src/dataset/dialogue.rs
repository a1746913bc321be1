//! A training pair in chat format: one line of `dialogues.jsonl`.

use serde::{Deserialize, Serialize};

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
    pub id: String,
    /// The query (`user`), then the list of titles (`assistant`).
    pub messages: Vec<Message>,
    /// Ids of the listed items that are in the catalogue, best first, each once.
    pub items: Vec<String>,
    /// Listed titles that are not in the catalogue.
    #[serde(default)]
    pub out_of_catalogue: Vec<String>,
    /// What it was made from; none for `naive`.
    #[serde(default)]
    pub seed: Option<Seed>,
    /// The teacher that made it.
    pub teacher: String,
    /// The round that made it, from 0.
    #[serde(default)]
    pub round: u64,
}

impl Dialogue {
    /// The query: what the user says.
    pub fn query(&self) -> &str {
        self.messages.iter().find(|m| m.role == "user").map_or("", |m| &m.content)
    }
}
