//! Room 1, load: files → items, reviews, interactions, conversations (paper §3.1: D = {(m_i, r_i, u_i, a_i)}).
//!
//! [`import`] streams files of four formats ([`crate::config::SourceFormat`]) into a [`Dataset`]: `lines` reads blocks of whole lines and has
//! them parsed in parallel, `formats` knows what a line means, `loose` and `clean` take fields as they genuinely occur.
//! [`Filling`] takes the same rows a table at a time, from memory as well. [`Dataset::save`] and [`Dataset::load`] (`store`) keep it in a work directory; [`Dataset::fingerprint`] names its
//! content. [`load_conversations`] and [`load_posts`] read what recommenders are judged on and learn from.
//! [`simulate`] and [`simulate_to`] make a domain from latent factors, with known targets.

mod attributes;
mod clean;
mod column;
mod conversation;
mod dialogue;
mod filling;
mod formats;
mod import;
#[cfg(test)]
mod import_tests;
mod lines;
mod loose;
mod row_index;
mod simulate;
mod store;
mod table;
mod text;

pub use conversation::{
    Conversation, ItemName, Post, Role, Turn, load_conversations, load_item_names, load_posts, parse_conversations,
};
pub use dialogue::{Act, Dialogue, DialogueLines, Exchange, MentionLabel, Message, MessageLabel, Polarity, Seed};
pub use filling::{Filling, Row, Table};
pub use formats::attributes_of;
pub use import::{ImportReport, import};
pub use loose::{time_of, year_of};
pub use simulate::{Simulated, SimulatedFiles, simulate, simulate_to};
pub use table::{Dataset, Interaction, Item, Items, NONE, Review, Summary};
pub use text::TextColumn;

#[cfg(test)]
pub(crate) use crate::testing::shared as shared_file;
