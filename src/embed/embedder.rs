//! What every embedder does.

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

pub(super) fn empty_text(row: usize) -> Error {
    Error::invalid(format!("embed: text {row} is empty; leave it out, or set dataset.min_review_chars"))
}
