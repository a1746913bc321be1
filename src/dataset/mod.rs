//! Room 1, load: files → items, reviews, interactions, conversations (paper §3.1: D = {(m_i, r_i, u_i, a_i)}).

mod conversation;
mod table;
mod text;

pub use conversation::{Conversation, ItemName, Post, Role, Turn};
pub use table::{Dataset, Interaction, Item, Items, NONE, Review, Summary};
pub use text::TextColumn;
