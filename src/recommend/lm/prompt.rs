//! A conversation as the prompt that the model was tuned on.
//!
//! The text is that of every recommender ([`query_text`]), in the message and the chat format of training
//! ([`crate::tune::lm::recommend_messages`], [`Chat`]). A conversation that does not fit loses its oldest turns, then the
//! oldest words of what is left. Empty turns say nothing; an empty conversation is the bare instruction.

use super::lane::PromptTokens;
use crate::dataset::Conversation;
use crate::error::{Error, Result};
use crate::recommend::{QueryWindow, query_text};
use crate::tune::lm::{Chat, recommend_messages};

/// Turns that are looked at, at most: the latest ones. Beyond them no context reaches.
const MAX_TURNS: usize = 4096;

/// A prompt in tokens, and what was left out for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// All tokens, the answer's beginning included.
    pub tokens: Vec<u32>,
    /// First tokens that every prompt shares.
    pub instruction: usize,
    /// The conversation was too long: its oldest part is not in the prompt.
    pub truncated: bool,
}

impl Prompt {
    /// For a lane.
    pub fn view(&self) -> PromptTokens<'_> {
        PromptTokens { tokens: &self.tokens, instruction: self.instruction }
    }
}

/// What the model is to say in one sentence.
#[derive(Debug, Clone, Copy)]
pub struct SentenceRequest<'a> {
    pub conversation: &'a Conversation,
    /// The items to recommend, as the catalogue names them.
    pub names: &'a [String],
}

/// Makes prompts.
pub struct Prompter {
    chat: Chat,
    context: QueryWindow,
    /// Tokens with which every answer begins.
    lead: Vec<u32>,
    instruction: usize,
    /// Tokens of a prompt at most.
    limit: usize,
}

impl Prompter {
    /// `limit`: tokens of a prompt at most.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when not even the instruction fits.
    pub fn new(chat: Chat, context: QueryWindow, lead: Vec<u32>, limit: usize) -> Result<Prompter> {
        let probe = |text: &str| chat.prompt(&recommend_messages(text));
        let instruction = super::cache::common(&probe("a")?, &probe("9 z")?);
        let bare = probe("")?.len() + lead.len();
        if bare + 8 > limit {
            return Err(Error::invalid(format!(
                "recommend: the instruction alone has {bare} tokens, a prompt may have {limit}; raise \
                 recommend.context_tokens, or use a model with a longer context"
            )));
        }
        Ok(Prompter { chat, context, lead, instruction, limit })
    }
    /// The chat format.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }
    /// The prompt for one sentence that recommends some items. What was said is cut from its beginning until it fits.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when not even the names fit; as [`Prompter::prompt`].
    pub fn sentence(&self, what: &SentenceRequest<'_>) -> Result<Prompt> {
        let names: Vec<String> =
            what.names.iter().map(|n| n.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let mut text = query_text(what.conversation, self.context);
        let mut truncated = false;
        loop {
            let ask = format!(
                "{}\n\nRecommend {} to this user: write one friendly sentence that says why, and name no other title.",
                text.trim(),
                names.join(", ")
            );
            let tokens = self.chat.prompt(&[("user".to_string(), ask)])?;
            if tokens.len() <= self.limit {
                return Ok(Prompt { tokens, instruction: 0, truncated });
            }
            if text.is_empty() {
                return Err(Error::invalid(format!(
                    "the titles to be recommended take {} tokens, a prompt may have {}; raise recommend.context_tokens",
                    tokens.len(),
                    self.limit
                )));
            }
            truncated = true;
            text = text.chars().skip(text.chars().count().div_ceil(2)).collect();
        }
    }
    /// The prompt of a conversation; `lead`: with the answer's beginning behind it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for text that holds one of the model's special tokens in a way that cannot be defused.
    pub fn prompt(&self, conversation: &Conversation, lead: bool) -> Result<Prompt> {
        let behind: &[u32] = if lead { &self.lead } else { &[] };
        let recent;
        let (conversation, mut truncated) = if conversation.turns.len() > MAX_TURNS {
            let mut cut = conversation.clone();
            cut.turns.drain(..conversation.turns.len() - MAX_TURNS);
            recent = cut;
            let window = self.context.turns > 0 || self.context.chars > 0;
            (&recent, !window || self.context.cuts(conversation))
        } else {
            (conversation, self.context.cuts(conversation))
        };
        let tokens = |context: QueryWindow| -> Result<Option<Vec<u32>>> {
            let text = query_text(conversation, context);
            // A token is a byte at least as a rule; no need to tokenise what is out of question.
            if text.len() / 64 > self.limit {
                return Ok(None);
            }
            let mut tokens = self.chat.prompt(&recommend_messages(&text))?;
            tokens.extend_from_slice(behind);
            Ok((tokens.len() <= self.limit).then_some(tokens))
        };
        let done = |tokens, truncated| Ok(Prompt { tokens, instruction: self.instruction, truncated });
        if let Some(all) = tokens(self.context)? {
            return done(all, truncated);
        }
        truncated = true;
        let turns = match self.context.turns {
            0 => conversation.turns.len(),
            turns => turns.min(conversation.turns.len()),
        };
        // The most turns that fit, then the most characters of the last one.
        let fit = |low: usize, high: usize, of: &dyn Fn(usize) -> QueryWindow| -> Result<Option<Vec<u32>>> {
            let (mut low, mut high, mut best) = (low, high, None);
            while low < high {
                let middle = low + (high - low) / 2;
                match tokens(of(middle))? {
                    Some(fits) => {
                        best = Some(fits);
                        low = middle + 1;
                    }
                    None => high = middle,
                }
            }
            Ok(best)
        };
        if let Some(some) = fit(1, turns, &|turns| QueryWindow { turns, ..self.context })? {
            return done(some, truncated);
        }
        let chars = self.limit.saturating_mul(64);
        let chars = if self.context.chars == 0 { chars } else { chars.min(self.context.chars) };
        if let Some(some) = fit(1, chars, &|chars| QueryWindow { turns: 1, chars, ..self.context })? {
            return done(some, truncated);
        }
        let mut bare = self.chat.prompt(&recommend_messages(""))?;
        bare.extend_from_slice(behind);
        done(bare, truncated)
    }
}
