//! Room 2, embed: texts → rows `[texts, dim]` (paper §3.2: x_i, mean-pooled last hidden states of the small LM).

use crate::error::Result;
use crate::math::Matrix;
use crate::run::Run;

/// Turns texts into rows of unit length; the same text always gives the same row.
pub trait Embedder: Send + Sync {
    /// Values per row.
    fn dim(&self) -> usize;
    /// What made the rows, for reports and for the refusal of rows of another embedder: `text/128/9f…`, `lm/minilm…`.
    fn name(&self) -> String;
    /// One row per text: `[texts.len(), dim]`, f32, unit length. An empty text gives an error that names it,
    /// unless `lenient`, where it gives a row of zeros (a conversation may well be empty).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for rows that cannot be embedded; [`crate::ErrorKind::Cancelled`].
    fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix>;
}
