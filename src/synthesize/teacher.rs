//! What a teacher is: a request in, one answer or one failure out. Waiting, retrying and counting are `ask`'s work.

use crate::artifact::content_hash;
use crate::dataset::Message;
use crate::error::Error;
use crate::run::Run;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// K queries of a user (the paper's first prompt).
    Query,
    /// The ranked items for one query (its second prompt).
    Recommend,
    /// The words of a planned dialogue of several turns.
    Dialogue,
    /// Three scores of a dialogue that was made.
    Judge,
}

/// What a request is about, for a teacher that knows the dataset itself and reads no prompt (`offline`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Row of the seed's item; none in naive mode.
    pub item: Option<u32>,
    /// Rows of the reviews shown, the selected one first.
    pub reviews: Vec<u32>,
    /// The query, for [`Kind::Recommend`] and [`Kind::Judge`]; empty otherwise.
    pub query: String,
    /// Queries, items, lines or scores wanted.
    pub count: usize,
    /// The selected review complains: the queries avoid the seed's item.
    pub avoids: bool,
    /// The plan in the domain's own words, a line a message, for [`Kind::Dialogue`].
    pub draft: Vec<String>,
    /// Rows of the items that the answer is chosen from, as numbered in the prompt from 1; empty: from memory.
    pub candidates: Vec<u32>,
    /// Their names.
    pub names: Vec<String>,
    /// Row of the selected review; in naive mode the number of the draw.
    pub draw: u64,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Content hash of the teacher's name, the messages, the sampling settings and the sample's index: the key of the
    /// journal, and a name for batch endpoints.
    pub id: String,
    /// What is asked for.
    pub kind: Kind,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Sampling temperature.
    pub temperature: f64,
    /// Tokens of the answer at most.
    pub max_tokens: usize,
    /// Seed of the sampling, for teachers that take one.
    pub seed: u64,
    /// Attempts at it that ended, over all runs on the journal: the next one is another sample. An attempt whose outcome nobody
    /// saw does not count: it is made again as it was.
    pub sample: u64,
    /// What it is about.
    pub facts: Facts,
}

impl Request {
    /// A request with its id. `subject`: the item's id, or empty; `index` tells samples of one prompt apart.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        teacher: &str,
        kind: Kind,
        prompt: String,
        subject: &str,
        index: u64,
        temperature: f64,
        max_tokens: usize,
        seed: u64,
        facts: Facts,
    ) -> Request {
        let kind_name: &[u8] = match kind {
            Kind::Query => b"query",
            Kind::Recommend => b"recommend",
            Kind::Dialogue => b"dialogue",
            Kind::Judge => b"judge",
        };
        let id = content_hash([
            teacher.as_bytes(),
            kind_name,
            prompt.as_bytes(),
            subject.as_bytes(),
            &index.to_le_bytes(),
            &temperature.to_bits().to_le_bytes(),
            &(max_tokens as u64).to_le_bytes(),
            &seed.to_le_bytes(),
        ]);
        let sampling_seed = u64::from_str_radix(&id[..8], 16).unwrap_or(0);
        let messages = vec![Message { role: "user".into(), content: prompt }];
        Request { id, kind, messages, temperature, max_tokens, seed: sampling_seed, sample: 0, facts }
    }
    /// Tokens that this request can cost at most: no tokenizer makes more tokens than there are bytes, and a chat
    /// template adds a few per message.
    pub fn tokens_at_most(&self) -> u64 {
        let prompt: usize = self.messages.iter().map(|m| m.content.len() + m.role.len() + 16).sum();
        (prompt + self.max_tokens) as u64
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The text; never blank.
    pub text: String,
    /// Tokens of the prompt, as the teacher counts them.
    pub prompt_tokens: u64,
    /// Tokens of the answer, as the teacher counts them.
    pub completion_tokens: u64,
}

/// What kind of failure it was: this decides what happens next and what was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No request will succeed: a wrong key, a wrong address. Everything stops. Nothing was spent.
    Stop,
    /// Too many requests: wait, then send fewer at once. Nothing was spent.
    Throttled,
    /// This request will never be answered (too long for the model); others may be. Nothing was spent.
    Refused,
    /// The teacher broke (5xx): try again. Nothing was spent.
    Broken,
    /// Sent, and no answer seen (time-out, closed connection): try again. The answer may have been paid for.
    Lost,
    /// An answer came that cannot be used (empty, garbage): try again a few times. It was paid for.
    Useless,
    /// An answer came that reached its limit of tokens: try again a few times. It was paid for.
    Cut,
    /// The model thought and came to no answer: try again a few times. It was paid for.
    Thinking,
    /// A filter, or the model itself, held the answer back: another try brings the same. It was paid for.
    Withheld,
    /// The run was cancelled while the answer was awaited. It may be paid for.
    Cancelled,
}

/// A failed attempt.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What decides what happens next.
    pub class: Class,
    /// What to tell people.
    pub error: Error,
    /// The pause that the teacher asked for.
    pub retry_after: Option<Duration>,
    /// Tokens known to have been spent: prompt and answer.
    pub tokens: (u64, u64),
}

impl Failure {
    /// A failure without a pause or known cost.
    pub fn new(class: Class, message: impl Into<String>) -> Failure {
        Failure { class, error: Error::teacher(message), retry_after: None, tokens: (0, 0) }
    }
}

/// Answers requests. One call is one attempt.
pub trait Teacher: Send + Sync {
    /// Who answers: `offline/…`, `http/gpt-4o`. Part of every request's id: answers of two names never mix.
    fn name(&self) -> String;
    /// Whether what it is asked leaves this machine, or may: personal data is masked then (`synthesize.mask`).
    fn is_remote(&self) -> bool {
        true
    }
    /// Whether it quotes reviews on purpose: its dialogues are no copies then (`synthesize.copied_words`).
    fn quotes(&self) -> bool {
        false
    }
    /// Whether it is the built-in one, which knows the dataset, whatever `synthesize.teacher` says.
    fn is_built_in(&self) -> bool {
        false
    }
    /// Whether it can be asked to judge what was made.
    fn judges(&self) -> bool {
        true
    }
    /// Requests that it takes at once.
    fn in_flight(&self) -> usize;
    /// One attempt at one answer; returns soon after `run` is cancelled. `attempt` counts from 0.
    ///
    /// # Errors
    /// A [`Failure`], whose class says whether another attempt makes sense.
    fn answer(&self, request: &Request, attempt: usize, run: &Run) -> Result<Answer, Failure>;
}
