//! What only a language model can, beside ranking: LoRA adapters exchanged while it serves, and words of its own.

use crate::dataset::Conversation;
use crate::error::Result;
use crate::run::Run;
use std::path::Path;

/// What became of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sentence {
    /// It is whole: it ended by itself, with its last character out.
    pub whole: bool,
    /// Bytes let out.
    pub bytes: usize,
    /// Tokens read.
    pub prompt_tokens: usize,
    /// Tokens written.
    pub tokens: usize,
}

/// A recommender that is a language model.
pub trait LanguageModel {
    /// The number of the adapters that serve now: 1 at first, one more with each exchange.
    fn generation(&self) -> u64;
    /// Loads adapters (files with scales) and puts them in the place of generation `expected`; gives the new number.
    /// Requests in flight finish with the adapters they started with; none fails.
    ///
    /// # Errors
    /// Those of loading, with nothing changed; [`crate::ErrorKind::Invalid`] when generation `expected` serves no longer.
    fn swap_adapters(&self, expected: u64, adapters: &[(&Path, f32)]) -> Result<u64>;
    /// Puts the adapters before generation `expected` back, under a new number.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when generation `expected` serves no longer, or nothing served before it.
    fn roll_back_adapters(&self, expected: u64) -> Result<u64>;
    /// Whether it can write at all: one that ranks by a head on its hidden states computes no words.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] where it cannot.
    fn can_write(&self) -> Result<()>;
    /// Writes one sentence that recommends the first of `rows` (an answer's items, best first; their `names` as the catalogue
    /// has them) and passes it to `say` piece by piece, as it is written. It names no item of the catalogue beside `rows`: at
    /// such a title it stops short, and [`Sentence::whole`] is false. Greedy, so the same request has the same sentence.
    ///
    /// # Errors
    /// Those of `say` and of [`LanguageModel::can_write`]; [`crate::ErrorKind::Cancelled`]; those of the prompt.
    fn say_why(
        &self,
        conversation: &Conversation,
        rows: &[u32],
        names: &[String],
        say: &mut dyn FnMut(&str) -> Result<()>,
        run: &Run,
    ) -> Result<Sentence>;
}
