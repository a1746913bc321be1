//! What a language model's recommendation consists of.

use crate::recommend::RankedItem;

/// How the model's knowledge becomes a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Beam search over the catalogue's titles: only what is in the catalogue can be named.
    Constrained,
    /// The paper's way: a list as text, parsed and looked up.
    Generate,
    /// The ranking head on the last hidden state of the prompt.
    Head,
}

impl Mode {
    /// From `recommend.mode`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an unknown name.
    pub fn from_name(name: &str) -> crate::Result<Mode> {
        match name {
            "constrained" => Ok(Mode::Constrained),
            "generate" => Ok(Mode::Generate),
            "head" => Ok(Mode::Head),
            other => Err(crate::Error::invalid(format!(
                "recommend.mode = {other:?}: allowed is constrained | generate | head"
            ))),
        }
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Constrained => "constrained",
            Mode::Generate => "generate",
            Mode::Head => "head",
        }
    }
}

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
