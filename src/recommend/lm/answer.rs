//! What a language model's recommendation consists of.

use crate::dataset::Items;

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

/// One item of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LmItem {
    /// Row in the catalogue.
    pub item: u32,
    /// What it was ranked by; higher is better.
    pub score: f32,
    /// log P(title | conversation), in nats, of the title's telling tokens or of all (`recommend.ranked_by`); none where the model was not asked for it (`generate`, `head`).
    pub log_probability: Option<f32>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LmAnswer {
    /// Best first; each item once, all allowed.
    pub items: Vec<LmItem>,
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

/// A reply in one sentence that names the first `most` items of an answer and nothing else, in pieces as a stream would
/// send them. Empty for an answer without items.
pub fn reply(items: &Items, answer: &LmAnswer, most: usize) -> Vec<String> {
    let named: Vec<String> = answer.items.iter().take(most).map(|i| items.name(i.item as usize)).collect();
    let Some((last, before)) = named.split_last() else { return Vec::new() };
    let mut pieces = vec!["You may like ".to_string()];
    for (n, name) in before.iter().enumerate() {
        pieces.push(if n + 1 == before.len() { format!("{name} or ") } else { format!("{name}, ") });
    }
    pieces.push(format!("{last}."));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_names_the_items_of_the_answer_and_nothing_else() {
        let dataset = super::super::tests::catalogue(9);
        let item = |item| LmItem { item, score: 0.0, log_probability: None };
        let mut answer = LmAnswer { items: vec![item(5), item(3), item(0)], ..LmAnswer::default() };
        let said = |answer: &LmAnswer, most| reply(&dataset.items, answer, most).concat();
        assert_eq!(said(&answer, 3), "You may like Amélie (2001), The Dog and the Cat (2005) or The Dog.");
        assert_eq!(said(&answer, 2), "You may like Amélie (2001) or The Dog and the Cat (2005).");
        assert_eq!(said(&answer, 1), "You may like Amélie (2001).");
        answer.items.clear();
        assert_eq!(said(&answer, 3), "");
    }
}
