//! What is asked of a service.

use crate::dataset::{Conversation, Turn};

/// Items by their ids, and by their rows in the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemList {
    /// By id; one that is not in the catalogue is passed over, with a warning.
    pub ids: Vec<String>,
    /// By row; one past the end is an error.
    pub rows: Vec<u64>,
}

impl ItemList {
    /// Items by their ids.
    pub fn of_ids<S: Into<String>>(ids: impl IntoIterator<Item = S>) -> ItemList {
        ItemList { ids: ids.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }
    /// True when it names nothing.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.rows.is_empty()
    }
}

/// A request: what was said, what was seen, what may come back.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What it names or lists as seen does not come back.
    pub conversation: Conversation,
    /// What must not come back.
    pub exclude: ItemList,
    /// The only items that may come back; none: all of them, an empty list: nothing.
    pub allow: Option<ItemList>,
    /// Items in the answer at most; none: `recommend.top_k`.
    pub top_k: Option<usize>,
    /// Reviews for each item; none: `recommend.explain`.
    pub explain: Option<usize>,
    /// What was sent and is not used: said again with the answer.
    pub warnings: Vec<String>,
}

impl Query {
    /// A query for what is said in `conversation`.
    pub fn new(conversation: Conversation) -> Query {
        Query {
            conversation,
            exclude: ItemList::default(),
            allow: None,
            top_k: None,
            explain: None,
            warnings: Vec::new(),
        }
    }
    /// A query for what is said in `turns`.
    pub fn of_turns(turns: Vec<Turn>) -> Query {
        Query::new(Conversation { id: String::new(), turns, targets: Vec::new(), seen: Vec::new() })
    }
}

impl Default for Query {
    fn default() -> Query {
        Query::of_turns(Vec::new())
    }
}
