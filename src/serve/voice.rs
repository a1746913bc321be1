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

/// Says a reply, piece by piece.
pub trait Voice: Send + Sync {
    /// Says why `names` (`Title (year)`, best first; may be empty) answer `conversation`, calling `say` with each piece as it
    /// is made, on this thread. The text names items of `names` alone. Returns what it counted, where it counts tokens.
    ///
    /// # Errors
    /// Those of `say`, passed on at once (the caller has gone); [`crate::ErrorKind::Cancelled`]; the voice's own.
    fn speak(
        &self,
        conversation: &Conversation,
        names: &[String],
        say: &mut dyn FnMut(&str) -> Result<()>,
        run: &Run,
    ) -> Result<Option<Usage>>;
}

/// The voice without a language model: a sentence and the list.
pub struct ListVoice;

impl Voice for ListVoice {
    fn speak(
        &self,
        conversation: &Conversation,
        names: &[String],
        say: &mut dyn FnMut(&str) -> Result<()>,
        run: &Run,
    ) -> Result<Option<Usage>> {
        run.check()?;
        if names.is_empty() {
            say("There is nothing left that I may recommend.")?;
            return Ok(None);
        }
        let asked = conversation.turns.iter().any(|t| !t.text.trim().is_empty());
        say(if asked { "From what you said, I would suggest:" } else { "To begin with, I would suggest:" })?;
        for (place, name) in names.iter().enumerate() {
            // A title with a line break of its own must not look like two items.
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            say(&format!("\n{}. {name}", place + 1))?;
        }
        Ok(None)
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
        ListVoice.speak(&talk, &names, &mut say, &Run::new(1).unwrap()).unwrap();
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
        assert!(ListVoice.speak(&talk, &["a".into(), "b".into()], &mut say, &Run::new(1).unwrap()).is_err());
        assert_eq!(pieces, 1);
    }
}
