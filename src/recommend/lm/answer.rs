//! What a language model's recommendation consists of.

use crate::recommend::RankedItem;

pub use crate::config::Mode;

/// An answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LmAnswer {
    /// Best first; each item once, all allowed.
    pub items: Vec<RankedItem>,
    /// The deadline came first: these are the items that were finished by then.
    pub partial: bool,
    /// These are the best items of the whole catalogue by the model's probability, proven (`constrained`).
    pub exact: bool,
    /// The conversation was longer than the context: its oldest turns were not read.
    pub truncated: bool,
    /// `generate`: titles that the model wrote and the catalogue does not have.
    pub out_of_catalogue: Vec<String>,
    /// The adapter generation that answered.
    pub generation: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, taken from the cache.
    pub reused_tokens: usize,
    /// Tokens computed behind the prompt.
    pub searched_tokens: usize,
    /// Forward passes behind the prompt.
    pub passes: usize,
}
