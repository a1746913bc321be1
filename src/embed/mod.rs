//! Room 2, embed: texts → rows `[texts, dim]` (paper §3.2: x_i, mean-pooled last hidden states of the small LM).
//!
//! - `text.rs`: built in, no model: hashed TF-IDF and a truncated SVD ([`TextEmbedder`]).
//! - `grams.rs`: its pieces of words, for texts without a known one.
//! - `lm.rs`: hidden states of a GGUF through llama.cpp (`LmEmbedder`, with the feature `llama`).
//! - `reviews.rs`: a whole dataset into a file, resumable ([`embed_reviews`]).
//! - `features.rs`, `als.rs`: metadata (§4.5) and collaborative (§4.6) features of the aware strategies.
//! - `file.rs`, `read.rs`: matrices in safetensors files, ours and given ones.
//! - `stored/`: rows in f32, f16 or i8, mapped where they are too many for memory ([`StoredRows`]); `shard.rs`: made in parts.

mod als;
mod features;
mod file;
mod grams;
#[cfg(feature = "llama")]
mod lm;
mod read;
mod remember;
mod reviews;
mod shard;
mod stored;
mod text;
mod words;

#[cfg(test)]
mod tests;

pub use als::{AlsOptions, implicit_als};
pub use features::{Collaborative, collaborative, metadata_features, metadata_rows};
pub use file::{EMBEDDINGS, SCALES, TensorData, TensorFile, write_matrix, write_tensors};
#[cfg(feature = "llama")]
pub use lm::LmEmbedder;
pub use read::{read_embeddings, read_matrix, read_only_matrix};
pub use remember::Remembering;
pub use reviews::{Embedded, Store, embed_reviews, embed_reviews_as, fingerprint, review_text};
pub use shard::{Shard, join_shards, shard_file};
pub use stored::{RowType, RowsFile, ShardFile, Shards, StoredRows, pack};
pub use text::TextEmbedder;

use crate::config::{EmbedConfig, EmbedMethod};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;

/// Turns texts into rows of unit length; the same text always gives the same row.
pub trait Embedder: Send + Sync {
    /// Values per row.
    fn dim(&self) -> usize;
    /// What made the rows, for reports and for the refusal of rows of another embedder: `text/128/9f…`, `lm/minilm…`.
    fn name(&self) -> String;
    /// One row per text: `[texts.len(), dim]`, f32, unit length; zeros for a text in which the embedder finds nothing that it
    /// knows. An empty text gives an error that names it, unless `lenient`, where it gives zeros (a conversation may well be
    /// empty), and so does one that a model makes NaN of.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for rows that cannot be embedded; [`crate::ErrorKind::Cancelled`].
    fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix>;
    /// About how many bytes of memory it holds; of a mapped file: all of it.
    fn bytes(&self) -> u64 {
        0
    }
}

fn empty_text(row: usize) -> Error {
    Error::invalid(format!("embed: text {row} is empty; leave it out, or set dataset.min_review_chars"))
}

/// The embedder that `config` asks for; the built-in one is fitted on the dataset's reviews and item texts.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for settings that do not fit together (`file` embeds nothing new: read its rows with
/// [`read_embeddings`]); those of [`TextEmbedder::fit`] and of loading a model; [`crate::ErrorKind::Unsupported`] for
/// `lm` in a build without llama.cpp.
pub fn open(config: &EmbedConfig, dataset: &Dataset, run: &Run) -> Result<Box<dyn Embedder>> {
    match config.method {
        EmbedMethod::Text => Ok(Box::new(TextEmbedder::fit_dataset(dataset, config, run)?)),
        EmbedMethod::Lm => open_lm(config, run),
        EmbedMethod::File => Err(Error::invalid(
            "embed.method = \"file\" gives rows for the reviews and cannot embed other texts; set \"text\" or \"lm\"",
        )),
    }
}

#[cfg(feature = "llama")]
fn open_lm(config: &EmbedConfig, run: &Run) -> Result<Box<dyn Embedder>> {
    if config.model.is_empty() {
        return Err(Error::invalid("embed.method = \"lm\" needs embed.model, the path of a GGUF"));
    }
    Ok(Box::new(LmEmbedder::open(std::path::Path::new(&config.model), config, run)?))
}

#[cfg(not(feature = "llama"))]
fn open_lm(_: &EmbedConfig, _: &Run) -> Result<Box<dyn Embedder>> {
    Err(Error::unsupported("embed.method = \"lm\" needs a build with the feature llama"))
}
