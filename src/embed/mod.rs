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
mod embedder;
mod features;
mod file;
mod grams;
#[cfg(feature = "llama")]
mod lm;
mod open;
mod read;
mod remember;
mod review_text;
mod reviews;
mod shard;
mod stored;
mod text;
mod words;

#[cfg(test)]
mod tests;

pub use als::{AlsOptions, implicit_als};
pub use embedder::Embedder;
pub use features::{Collaborative, collaborative, metadata_features, metadata_rows};
pub use file::{EMBEDDINGS, SCALES, TensorData, TensorFile, write_matrix, write_tensors};
#[cfg(feature = "llama")]
pub use lm::LmEmbedder;
pub use open::open;
pub use read::{read_embeddings, read_matrix, read_only_matrix};
pub use remember::Remembering;
pub use review_text::review_text;
pub use reviews::{Embedded, Store, embed_reviews, embed_reviews_as, fingerprint};
pub use shard::{Shard, join_shards, shard_file};
pub use stored::{RowType, RowsFile, ShardFile, Shards, StoredRows, pack};
pub use text::TextEmbedder;
