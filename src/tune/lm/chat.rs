//! Dialogues as tokens: the prompt in the model's own chat format, the answer with the token that ends it.
//!
//! Training and serving share this file, so that the tuned model sees at work what it saw in training.

use crate::dataset::Message;
use crate::error::{Error, Result};
use crate::llama::Model;
use crate::run::{Level, log};
use crate::tune::LeftOut;
use std::path::Path;

/// What the recommender is asked, before every conversation (paper §3.3 asks its teacher in the same manner).
pub const INSTRUCTION: &str = "You are a recommender. Read the conversation and reply with 20 titles that suit the user, \
                               numbered, one per line, without further sentences.";

/// The messages of a request: the instruction with the conversation (its text or its last query).
pub fn recommend_messages(conversation: &str) -> Vec<(String, String)> {
    vec![("user".to_string(), format!("{INSTRUCTION}\n\n{}", conversation.trim()))]
}

/// What the recommender is asked where its next words are no list: a question, or a suggestion. Only dialogues of several
/// turns teach it.
const TALK: &str = "You are a recommender. Read the conversation and reply with your next words alone: a question to the \
                    user, or one suggestion.";

/// The messages of a request for words: the instruction with the conversation, each turn under its speaker's name.
pub(super) fn talk_messages(before: &[Message]) -> Vec<(String, String)> {
    let mut text = TALK.to_string();
    for message in before {
        let name = if message.role == "assistant" { "Recommender" } else { "User" };
        text.push_str(&format!("\n\n{name}: {}", message.content.trim()));
    }
    vec![("user".to_string(), text)]
}

/// Why there is no example of a dialogue: what it counts as, and in words.
pub(super) type Unusable = (LeftOut, String);

/// A dialogue in tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Example {
    /// Prompt, then answer, then the end of the turn.
    pub tokens: Vec<u32>,
    /// First token that is trained: the answer's first.
    pub trained_from: usize,
}

/// A model's vocabulary and chat format.
pub struct Chat {
    model: Model,
    /// The model has a chat template that llama.cpp knows.
    templated: bool,
    /// Ends the assistant's turn.
    end: u32,
}

impl Chat {
    /// The chat format of the GGUF at `path`. A model without one (or with one that llama.cpp does not know) gets a plain
    /// format: `User: …`, `Assistant: …`.
    ///
    /// # Errors
    /// Those of [`Model::load_vocabulary`]; [`crate::ErrorKind::Unsupported`] for a vocabulary without a token that ends
    /// a text.
    pub fn open(path: &Path) -> Result<Chat> {
        Chat::of(Model::load_vocabulary(path)?)
    }

    /// The chat format of a loaded model.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a vocabulary without a token that ends a text.
    pub fn of(model: Model) -> Result<Chat> {
        let templated = model.chat_prompt(&[("user", "a")]).is_ok();
        if !templated && model.chat_template().is_some() {
            let path = model.header().path().display();
            log(
                Level::Warn,
                &format!("{path}: its chat template is none that llama.cpp knows; a plain format is used"),
            );
        }
        let end = match templated {
            true => end_of_turn(&model)?,
            false => None,
        };
        let end = end.or_else(|| model.end().and_then(|t| u32::try_from(t).ok())).ok_or_else(|| {
            Error::unsupported(format!("{}: no token that ends a text", model.header().path().display()))
        })?;
        Ok(Chat { model, templated, end })
    }

    /// The token that ends the assistant's turn.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// `messages` (role, content) as the text that the assistant answers.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for text with a zero byte.
    pub fn prompt_text(&self, messages: &[(String, String)]) -> Result<String> {
        let clean: Vec<(&str, String)> =
            messages.iter().map(|(role, content)| Ok((role.as_str(), self.clean(content)?))).collect::<Result<_>>()?;
        if self.templated {
            let borrowed: Vec<(&str, &str)> = clean.iter().map(|(role, content)| (*role, content.as_str())).collect();
            return self.model.chat_prompt(&borrowed);
        }
        let mut text = String::new();
        for (role, content) in &clean {
            let name = if *role == "assistant" { "Assistant" } else { "User" };
            text.push_str(&format!("{name}: {}\n", content.trim()));
        }
        text.push_str("Assistant:");
        Ok(text)
    }

    /// The prompt in tokens.
    ///
    /// # Errors
    /// As [`Chat::prompt_text`].
    pub fn prompt(&self, messages: &[(String, String)]) -> Result<Vec<u32>> {
        as_u32(self.model.tokenise(&self.prompt_text(messages)?, true, true)?)
    }

    /// An answer (or its beginning) in tokens, without the one that ends it. Serving tokenises the prompt alone and lets the
    /// model go on: so does training. A template ends in a new line or a special token; the plain format wants a space.
    ///
    /// # Errors
    /// Those of [`Model::tokenise`].
    pub fn answer(&self, text: &str) -> Result<Vec<u32>> {
        let spaced = if self.templated { text.to_string() } else { format!(" {text}") };
        as_u32(self.model.tokenise(&spaced, false, false)?)
    }

    /// The model whose chat format this is.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A reply as it is trained: `prompt`, then `answer`, cut at its end to `max_tokens`. Or why there is nothing to train:
    /// without a token of the answer the loss would be 0. `id`: the dialogue's, for messages.
    pub(super) fn example(
        &self,
        id: &str,
        prompt: &[(String, String)],
        answer: &str,
        max_tokens: usize,
    ) -> std::result::Result<Example, Unusable> {
        let unusable = |count, why: &str| (count, format!("dialogue {id:?} {why}"));
        let none = LeftOut::default();
        let bad_text = |e: Error| {
            unusable(LeftOut { bad_text: 1, ..none }, &format!("cannot be put into tokens: {}", e.message()))
        };
        if answer.trim().is_empty() {
            return Err(unusable(LeftOut { no_answer: 1, ..none }, "has no answer"));
        }
        let mut tokens = self.prompt(prompt).map_err(bad_text)?;
        let trained_from = tokens.len();
        if trained_from >= max_tokens {
            let why = format!(
                "has a prompt of {trained_from} tokens, which leaves nothing of the answer to be trained; \
                 tune.max_tokens is {max_tokens}"
            );
            return Err(unusable(LeftOut { long_prompt: 1, ..none }, &why));
        }
        tokens.extend(self.answer(answer.trim()).map_err(bad_text)?);
        tokens.push(self.end);
        tokens.truncate(max_tokens);
        Ok(Example { tokens, trained_from })
    }

    /// Text in tokens, none of them special.
    pub(super) fn plain(&self, text: &str) -> Result<Vec<u32>> {
        as_u32(self.model.tokenise(text, false, false)?)
    }

    /// Content in which nothing reads as a special token: a review could otherwise close the turn it stands in.
    fn clean(&self, content: &str) -> Result<String> {
        if self.model.tokenise(content, false, true)? == self.model.tokenise(content, false, false)? {
            return Ok(content.to_string());
        }
        let mut clean = String::with_capacity(content.len() + 16);
        for c in content.chars() {
            clean.push(c);
            if matches!(c, '<' | '[' | '|') {
                clean.push(' ');
            }
        }
        if self.model.tokenise(&clean, false, true)? != self.model.tokenise(&clean, false, false)? {
            return Err(Error::invalid("a message holds the text of one of the model's special tokens"));
        }
        Ok(clean)
    }
}

/// The first token after an assistant's message in the model's template that ends a turn.
fn end_of_turn(model: &Model) -> Result<Option<u32>> {
    const MARK: &str = "zqzqzq";
    let text = model.chat_prompt(&[("user", "a"), ("assistant", MARK), ("user", "b")])?;
    let after = text.rsplit_once(MARK).map_or("", |(_, after)| after);
    let tokens = model.tokenise(after, false, true)?;
    Ok(tokens.into_iter().find(|t| model.is_end(*t)).and_then(|t| u32::try_from(t).ok()))
}

fn as_u32(tokens: Vec<crate::llama::Token>) -> Result<Vec<u32>> {
    let convert = |t| u32::try_from(t).map_err(|_| Error::bug(format!("token {t}")));
    tokens.into_iter().map(convert).collect()
}
