//! Room 6, recommend: a conversation → ranked items, only ones that are in the catalogue and allowed.
//!
//! A [`Recommender`] scores the catalogue; a [`Service`] is one with its catalogue and reviews: it masks, answers, explains,
//! and takes new items while it serves.

pub mod chat;
mod evidence;
mod fusion;
mod head_recommender;
mod language_model;
#[cfg(feature = "llama")]
pub mod lm;
mod nbcrs;
mod nbcrs_store;
mod neighbours;
mod popularity;
mod query_window;
mod ranking;
mod recommender;
mod retrieval;
pub mod service;
#[cfg(test)]
pub(crate) mod testing;

pub use evidence::{Evidence, excerpt};
pub use fusion::Fusion;
pub use head_recommender::HeadRecommender;
pub use language_model::{LanguageModel, Sentence};
pub use nbcrs::{CANDIDATES, Datastore, Nbcrs, Posts};
pub use neighbours::Neighbour;
pub use popularity::Popularity;
pub use query_window::{QueryWindow, Speakers, query_text};
pub use ranking::{RankedItem, Ranking, TokenCount, rank};
pub use recommender::Recommender;
pub use retrieval::Retrieval;
pub use service::{Answer, ItemList, Parts, Query, Service};
