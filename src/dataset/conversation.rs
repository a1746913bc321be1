//! Held-out conversations, in the shape of `conversations.jsonl`.

use serde::{Deserialize, Serialize};

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
    #[serde(default)]
    pub title: String,
    /// Year of release.
    #[serde(default)]
    pub year: Option<u16>,
    /// The item's id in the catalogue (the shared conversations call it `imdb`).
    #[serde(default, alias = "imdb")]
    pub item: Option<String>,
}

/// A conversation that ends with a request, and what was then accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its name in reports.
    pub id: String,
    /// The turns, oldest first.
    pub turns: Vec<Turn>,
    /// The items to be found; each makes one (context, target) pair.
    #[serde(default)]
    pub targets: Vec<ItemName>,
    /// Items already mentioned.
    #[serde(default)]
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
    /// Its name in reports.
    #[serde(default)]
    pub id: String,
    /// The text.
    pub text: String,
    /// Titles mentioned in it.
    #[serde(default)]
    pub mentions: Vec<String>,
}
