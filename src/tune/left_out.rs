//! Dialogues that a training leaves out. One that teaches nothing costs itself: it is counted by its reason and told, and
//! only a training with no dialogue left is an error.

use crate::error::{Error, Result};
use crate::run::{Level, log};
use serde::Serialize;

/// How many dialogues a training left out, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// Nothing is asked in them.
    pub no_query: u64,
    /// The assistant says nothing in them.
    pub no_answer: u64,
    /// Their prompt alone has `tune.max_tokens` tokens or more, so that nothing of the answer would be trained.
    pub long_prompt: u64,
    /// Their text cannot be put into tokens: a zero byte, or the text of a special token.
    pub bad_text: u64,
    /// They list no item of the catalogue beside those that the query names (where items are learned).
    pub no_item: u64,
    /// No dialogues: listed items that are not in the catalogue. What else their dialogue lists is learned from.
    pub unknown_items: u64,
}

impl LeftOut {
    /// Dialogues left out, whatever the reason.
    pub fn dialogues(&self) -> u64 {
        self.no_query + self.no_answer + self.long_prompt + self.bad_text + self.no_item
    }

    /// Adds what else was left out.
    #[cfg(feature = "llama")]
    pub(super) fn add(&mut self, more: LeftOut) {
        self.no_query += more.no_query;
        self.no_answer += more.no_answer;
        self.long_prompt += more.long_prompt;
        self.bad_text += more.bad_text;
        self.no_item += more.no_item;
        self.unknown_items += more.unknown_items;
    }

    /// Logs what was left out of `all` dialogues. `first`: the first one, in words.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when none of them is left.
    pub(super) fn tell(&self, all: usize, first: Option<&str>) -> Result<()> {
        if self.unknown_items > 0 {
            log(
                Level::Warn,
                &format!(
                    "tune: {} listed items are not in the catalogue; they are no targets (the dialogues may be of \
                     another dataset)",
                    self.unknown_items
                ),
            );
        }
        let first = first.map_or_else(String::new, |first| format!(" ({first})"));
        if all as u64 <= self.dialogues() {
            let reasons = if all == 0 { "there are none".to_string() } else { format!("{self}{first}") };
            return Err(Error::invalid(format!("tune: none of {all} dialogues can be trained on: {reasons}")));
        }
        if self.dialogues() > 0 {
            let text = format!("tune: {} of {all} dialogues are left out: {self}{first}", self.dialogues());
            log(Level::Warn, &text);
        }
        Ok(())
    }
}

impl std::fmt::Display for LeftOut {
    /// `1 with a prompt longer than tune.max_tokens, 2 without an answer`; empty when nothing was left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reasons = [
            (self.no_query, "without a query"),
            (self.no_answer, "without an answer"),
            (self.long_prompt, "with a prompt longer than tune.max_tokens"),
            (self.bad_text, "with text that cannot be put into tokens"),
            (self.no_item, "without an item of the catalogue to learn from"),
        ];
        let words: Vec<String> =
            reasons.iter().filter(|(n, _)| *n > 0).map(|(n, reason)| format!("{n} {reason}")).collect();
        f.write_str(&words.join(", "))
    }
}
