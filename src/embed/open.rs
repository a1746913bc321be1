//! The embedder that the settings ask for.

use super::embedder::Embedder;
#[cfg(feature = "llama")]
use super::lm::LmEmbedder;
use super::text::TextEmbedder;
use crate::config::{EmbedConfig, EmbedMethod};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::run::Run;

/// The embedder that `config` asks for; the built-in one is fitted on the dataset's reviews and item texts.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for settings that do not fit together (`file` embeds nothing new: read its rows with
/// [`super::read_embeddings`]); those of [`TextEmbedder::fit`] and of loading a model; [`crate::ErrorKind::Unsupported`] for
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
