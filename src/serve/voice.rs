//! The reply in words. Whoever says it is given the names of the returned items and may name no others.

pub(super) use crate::config::ReplyVoice as Voice;
use crate::dataset::Conversation;
use crate::error::{Error, ErrorKind, Result};
use crate::recommend::service::Service;
use crate::recommend::{LanguageModel, TokenCount};
use crate::run::Run;

/// What a reply is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplySubject<'a> {
    /// What was said so far.
    pub conversation: &'a Conversation,
    /// The returned items, best first; may be empty.
    pub rows: &'a [u32],
    /// `Title (year)` of each.
    pub names: &'a [String],
}

impl Voice {
    /// Whether `service` can be heard in this voice.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] without a language model, [`ErrorKind::Unsupported`] for one that computes no words.
    pub(super) fn check(self, service: &Service) -> Result<()> {
        match self {
            Voice::List => Ok(()),
            Voice::Model => {
                writer(service)?.can_write().map_err(|e| Error::new(e.kind(), format!("serve.voice = model: {e}")))
            }
        }
    }

    /// Says why the items of `subject` answer its conversation, calling `say` with each piece as it is made, on this thread.
    /// The text names these items alone. Gives what a language model read and wrote for it.
    ///
    /// # Errors
    /// Those of `say`, passed on at once (the caller has gone); [`ErrorKind::Cancelled`]; the language model's own.
    pub(super) fn speak(
        self,
        service: &Service,
        subject: ReplySubject<'_>,
        say: &mut dyn FnMut(&str) -> Result<()>,
        run: &Run,
    ) -> Result<TokenCount> {
        run.check()?;
        let tokens = match self {
            Voice::List => {
                say(opening(subject))?;
                TokenCount::default()
            }
            Voice::Model => {
                let ReplySubject { conversation, rows, names } = subject;
                let sentence = writer(service)?.say_why(conversation, rows, names, say, run)?;
                match (sentence.bytes, sentence.whole) {
                    (0, _) => say(opening(subject))?,
                    (_, true) => {}
                    (_, false) => say("…")?,
                }
                TokenCount { read: sentence.prompt_tokens as u64, written: sentence.tokens as u64 }
            }
        };
        list(subject.names, say)?;
        Ok(tokens)
    }
}

/// The language model that ranks.
fn writer(service: &Service) -> Result<&dyn LanguageModel> {
    service.recommender().language_model().ok_or_else(|| {
        let system = service.system();
        let what =
            format!("serve.voice = model: {system} is no language model; serve with --system lm or --model FILE");
        Error::new(ErrorKind::Invalid, what)
    })
}

fn opening(subject: ReplySubject<'_>) -> &'static str {
    let asked = subject.conversation.turns.iter().any(|t| !t.text.trim().is_empty());
    match (subject.names, asked) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::testing::{conversation, movies, service};

    #[test]
    fn every_item_is_a_line_of_its_own_whatever_its_title_holds() {
        let (talk, service) = (conversation(&["hello"]), service(movies(), None));
        let mut text = String::new();
        let mut say = |piece: &str| {
            text.push_str(piece);
            Ok(())
        };
        let names = ["Heat (1995)".to_string(), "Two\nLines".to_string()];
        let subject = ReplySubject { conversation: &talk, rows: &[0, 1], names: &names };
        Voice::List.speak(&service, subject, &mut say, &Run::new(1).unwrap()).unwrap();
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), ["1. Heat (1995)", "2. Two Lines"]);
        assert_eq!(Voice::Model.check(&service).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_caller_who_left_ends_the_reply() {
        let (talk, service) = (conversation(&["hello"]), service(movies(), None));
        let mut pieces = 0;
        let mut say = |_: &str| {
            pieces += 1;
            Err(Error::cancelled())
        };
        let names = ["a".to_string(), "b".to_string()];
        let subject = ReplySubject { conversation: &talk, rows: &[0, 1], names: &names };
        assert!(Voice::List.speak(&service, subject, &mut say, &Run::new(1).unwrap()).is_err());
        assert_eq!(pieces, 1);
    }
}
