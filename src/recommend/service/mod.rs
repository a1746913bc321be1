//! A recommender that serves: opened from parts (a work directory is opened by `pipeline`), it answers, masks, explains, takes
//! new items, and exchanges a language model's adapters. The C API, the HTTP server and the chat all stand on it.
//!
//! `query` what is asked · `request` the same in JSON · `mask` what must not come back · `answering` the service · `build` the
//! recommenders of the house · `live` what is served from one change to
//! the next: items withdrawn for a time, another service put in its place.

mod answering;
mod build;
mod live;
mod mask;
mod query;
pub mod request;
#[cfg(test)]
mod tests;

pub use answering::{Answer, Parts, Service};
pub use build::{Ingredients, fusion, open_language_model};
pub use live::{CatalogueChange, Generation, LiveService, OutdatedGeneration};
pub use query::{ItemList, Query};
