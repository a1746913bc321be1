//! causerie: from reviews to a conversational recommender of your own, without one recorded conversation.
//!
//! **load → embed → select → synthesize → tune → recommend → evaluate**, after "From Reviews to Dialogues: Active
//! Synthesis for Zero-Shot LLM-based Conversational Recommender System" (Surana et al.). The whole loop, on a simulated
//! domain, with the built-in embedder and the built-in teacher:
//!
//! ```
//! use causerie::dataset::{import, load_conversations, simulate_to};
//! use causerie::embed::{TextEmbedder, embed_reviews, read_embeddings};
//! use causerie::recommend::{HeadRecommender, QueryWindow, Recommender};
//! use causerie::{Config, Run, evaluate::evaluate, select::select, synthesize::synthesize, titles::Titles};
//! use causerie::tune::{ItemVectors, tune_head};
//! use std::sync::Arc;
//!
//! # fn main() -> causerie::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path();
//! let (mut config, run) = (Config::default(), Run::new(2)?);
//! config.read_toml("simulate = { items = 60, users = 80, reviews = 400, conversations = 20 }\nselect.budget = 20")?;
//! let files = simulate_to(folder, &config.simulate, &run)?; // in place of files of your own
//! config.set("dataset.items", &files.items.display().to_string())?;
//! config.set("dataset.reviews", &files.reviews.display().to_string())?;
//! let (dataset, _) = import(&config.dataset, &run)?; // 1 load
//! let embedder = Arc::new(TextEmbedder::fit_dataset(&dataset, &config.embed, &run)?);
//! let rows = folder.join("embeddings.safetensors");
//! embed_reviews(&dataset, &*embedder, &rows, &run)?; // 2 embed
//! let reviews = read_embeddings(&rows, dataset.reviews(), &run)?;
//! let selection = select(&reviews, None, &config.select, &run)?; // 3 select
//! let journal = folder.join("journal.jsonl");
//! let dialogues = synthesize(&dataset, &selection, &config.synthesize, 1, &run, &journal)?.rows; // 4 synthesize
//! let items = ItemVectors::from_items(&dataset.items, &*embedder, &run)?.count(&dataset)?;
//! let titles = Arc::new(Titles::of(&dataset));
//! let named = |text: &str| titles.rows(text);
//! let (head, _) = tune_head(&dialogues, items, &*embedder, &named, &config.tune, &run)?; // 5 tune
//! let window = QueryWindow::from_config(&config.recommend);
//! let head = HeadRecommender::new("head", head, &dataset.items, embedder, Some(titles.clone()), window)?;
//! let conversations = load_conversations(&files.conversations, 0)?;
//! let best = head.rank_all(&[&conversations[0]], &[vec![]], 5, None, &run)?; // 6 recommend
//! assert_eq!(best[0].items.len(), 5);
//! let systems: [(&str, &dyn Recommender); 1] = [("head", &head)];
//! let report = evaluate("simulated", &systems, &conversations, &dataset.items, &titles, &config.evaluate, &run)?; // 7
//! assert_eq!(report.systems.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! All of it into one folder, resumable: [`pipeline::pipeline`]; from there [`pipeline::open`] gives what answers
//! ([`recommend::service::Service`]).
//!
//! The modules below stand in the order of the data; `docs/architecture.md` is the map. What is not shown in this
//! documentation is public for the command and the tests alone, and may change at any time.

// Leaves.
#[doc(hidden)]
pub mod artifact;
pub mod config;
pub mod error;
#[doc(hidden)]
pub mod gguf;
mod json;
mod map;
#[doc(hidden)]
#[cfg(feature = "llama")]
pub mod llama;
pub mod math;
#[doc(hidden)]
pub mod os;
pub mod run;
mod tensors;
#[doc(hidden)]
pub mod transformer;
mod unpack;

// Rooms, in pipeline order.
pub mod dataset;
pub mod titles;
pub mod embed;
pub mod select;
pub mod retrieve;
pub mod synthesize;
pub mod tune;
pub mod recommend;
pub mod evaluate;
pub mod pipeline;
#[doc(hidden)]
#[cfg(feature = "serve")]
pub mod serve;

// The outer shell.
#[doc(hidden)]
#[cfg(feature = "capi")]
pub mod ffi;

#[cfg(test)]
mod testing;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use run::Run;
