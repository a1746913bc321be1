//! The C API: a shell around the Rust one. A body is guard, convert, call; one file per noun, in pipeline order.
//!
//! `include/causerie.h` is generated from these files: their doc comments are the header's. Its five rules (errors,
//! ownership, threads, text, callbacks) hold for every function and are what each `SAFETY` comment relies on.
//!
//! [`guard`] failures become error objects · [`panics`] panics become errors · [`handle`] opaque pointers, checked · [`text`] pointers and lengths ·
//! [`arrow`] the Arrow C Data Interface, read without a dependency.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod guard;
mod handle;
mod panics;
mod text;

pub mod arrow;
pub mod error;
pub mod version;
pub mod config;
pub mod run;
pub mod dataset;
pub mod embeddings;
pub mod selection;
pub mod teacher;
pub mod dialogues;
pub mod model;
pub mod query;
pub mod recommender;
mod serving;
pub mod report;
