//! The reply in words. Whoever says it is given the names of the returned items and may name no others.

use crate::dataset::Conversation;
use crate::error::Result;
use crate::run::Run;

/// Tokens that a language model read and wrote for one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// What a reply is about.
#[derive(Debug, Clone, Copy)]
pub struct Talk<'a> {
    /// What was said so far.
    pub conversation: &'a Conversation,
    /// The returned items, best first; may be empty.
    pub rows: &'a [u32],
    /// `Title (year)` of each.
    pub names: &'a [String],
}

/// Says a reply, piece by piece.
pub trait Voice: Send + Sync {
    /// Says why the items of `talk` answer its conversation, calling `say` with each piece as it is made, on this thread. The
    /// text names these items alone. Returns what it counted, where it counts tokens.
    ///
    /// # Errors
    /// Those of `say`, passed on at once (the caller has gone); [`crate::ErrorKind::Cancelled`]; the voice's own.
    fn speak(&self, talk: Talk<'_>, say: &mut dyn FnMut(&str) -> Result<()>, run: &Run) -> Result<Option<Usage>>;
}

/// The voice without a language model: a sentence and the list.
pub struct ListVoice;

impl Voice for ListVoice {
    fn speak(&self, talk: Talk<'_>, say: &mut dyn FnMut(&str) -> Result<()>, run: &Run) -> Result<Option<Usage>> {
        run.check()?;
        say(opening(talk))?;
        list(talk.names, say)?;
        Ok(None)
    }
}

fn opening(talk: Talk<'_>) -> &'static str {
    let asked = talk.conversation.turns.iter().any(|t| !t.text.trim().is_empty());
    match (talk.names, asked) {
        ([], _) => "There is nothing left that I may recommend.",
        (_, true) => "From what you said, I would suggest:",
        (_, false) => "To begin with, I would suggest:",
    }
}

fn list(names: &[String], say: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    for (place, name) in names.iter().enumerate() {
        // A title with a line break of its own must not look like two items.
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        say(&format!("\n{}. {name}", place + 1))?;
    }
    Ok(())
}

/// The language model says a sentence of its own about the best items, then comes the list. A sentence that would name
/// anything else stops short of it; one that comes to nothing is replaced by [`ListVoice`]'s.
#[cfg(feature = "llama")]
pub struct ModelVoice {
    /// Writes the sentence.
    pub model: std::sync::Arc<crate::recommend::lm::LmRecommender>,
}

#[cfg(feature = "llama")]
impl Voice for ModelVoice {
    fn speak(&self, talk: Talk<'_>, say: &mut dyn FnMut(&str) -> Result<()>, run: &Run) -> Result<Option<Usage>> {
        let said = self.model.say_why(talk.conversation, talk.rows, talk.names, None, say, run)?;
        match (said.bytes, said.whole) {
            (0, _) => say(opening(talk))?,
            (_, true) => {}
            (_, false) => say("…")?,
        }
        list(talk.names, say)?;
        Ok(Some(Usage { prompt_tokens: said.prompt_tokens as u64, completion_tokens: said.tokens as u64 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_a_line_of_its_own_whatever_its_title_holds() {
        let talk = Conversation { id: String::new(), turns: Vec::new(), targets: Vec::new(), seen: Vec::new() };
        let mut text = String::new();
        let mut say = |piece: &str| {
            text.push_str(piece);
            Ok(())
        };
        let names = ["Heat (1995)".to_string(), "Two\nLines".to_string()];
        let talk = Talk { conversation: &talk, rows: &[0, 1], names: &names };
        ListVoice.speak(talk, &mut say, &Run::new(1).unwrap()).unwrap();
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), ["1. Heat (1995)", "2. Two Lines"]);
    }

    #[test]
    fn a_caller_who_left_ends_the_reply() {
        let talk = Conversation { id: String::new(), turns: Vec::new(), targets: Vec::new(), seen: Vec::new() };
        let mut pieces = 0;
        let mut say = |_: &str| {
            pieces += 1;
            Err(crate::Error::cancelled())
        };
        let names = ["a".to_string(), "b".to_string()];
        let talk = Talk { conversation: &talk, rows: &[0, 1], names: &names };
        assert!(ListVoice.speak(talk, &mut say, &Run::new(1).unwrap()).is_err());
        assert_eq!(pieces, 1);
    }
}
