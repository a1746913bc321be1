//! Retrieve: what a user says → the items worth a closer look.
//!
//! What comes in is a [`Wish`]: the items that somebody speaks of, and the words around them. What goes out is rows of the
//! catalogue, best first: [`Retriever`] fuses collaborative neighbours (`together`), nearness of text (`documents`), shared
//! and named attributes (`attributes`) and popularity by the [`WEIGHTS`] of its [`Signal`]s. Every signal works without the
//! others: a catalogue without interactions, without reviews or without metadata is answered by what is left.
//!
//! Nothing here learns from conversations but the weights. The same dataset and wish give the same rows on any
//! number of threads.

mod attributes;
mod documents;
mod lists;
mod retriever;
mod together;
mod wish;

pub use retriever::{Retriever, SIGNALS, Signal, WEIGHTS};
pub use wish::Wish;

pub(crate) use attributes::words;
pub(crate) use lists::best;
pub(crate) use together::{KEPT, Together};
