//! Who ranks: a recommender that scores the catalogue, or a language model that searches it, behind one call.

use super::voice::Usage;
use crate::dataset::Conversation;
use crate::error::Result;
use crate::recommend::{QueryWindow, Recommender, Speakers, query_text};
use crate::run::Run;
use std::sync::Arc;
use std::time::Instant;

/// One item of a ranking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Row in the catalogue.
    pub item: u32,
    /// What it was ranked by; higher is better.
    pub score: f32,
    /// log P(title | conversation), in nats, where a language model was asked for it.
    pub log_probability: Option<f32>,
}

/// What an engine found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ranking {
    /// Best first, each once, none masked.
    pub items: Vec<Placed>,
    /// The deadline came first: these are the items found by then.
    pub partial: bool,
    /// Where not all of the conversation was read: what was, in words.
    pub window: Option<String>,
    /// Tokens, where a language model counted them.
    pub usage: Option<Usage>,
}

/// Ranks the catalogue for one conversation, from any thread.
pub trait Engine: Send + Sync {
    /// The `top_k` best items, none of `masked` (sorted item rows). Past `deadline` it may answer with what it has, marked
    /// partial.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`]; the engine's own.
    fn rank(
        &self,
        conversation: &Conversation,
        masked: &[u32],
        top_k: usize,
        deadline: Instant,
        run: &Run,
    ) -> Result<Ranking>;
}

/// A recommender that scores every item.
pub(super) struct Scoring {
    pub recommender: Arc<dyn Recommender>,
    /// How it cuts a conversation; none where it does not read it.
    pub reads: Option<QueryWindow>,
}

impl Engine for Scoring {
    fn rank(
        &self,
        conversation: &Conversation,
        masked: &[u32],
        top_k: usize,
        _deadline: Instant,
        run: &Run,
    ) -> Result<Ranking> {
        let masked = [masked.to_vec()];
        let ranked = self.recommender.rank_all(&[conversation], &masked, top_k, run)?.pop().unwrap_or_default();
        let place = |r: crate::recommend::Ranked| Placed { item: r.item, score: r.score, log_probability: None };
        let window = self.reads.filter(|context| {
            let whole = QueryWindow { speakers: context.speakers, turns: 0, chars: 0 };
            query_text(conversation, whole) != query_text(conversation, *context)
        });
        let items = ranked.into_iter().map(place).collect();
        Ok(Ranking { items, window: window.map(words), ..Ranking::default() })
    }
}

/// What a recommender reads of a conversation.
fn words(context: QueryWindow) -> String {
    let whose = match context.speakers {
        Speakers::User => "the user's",
        Speakers::All => "everybody's",
    };
    match (context.turns, context.chars) {
        (0, chars) => format!("{whose} latest {chars} characters"),
        (turns, 0) => format!("{whose} latest {turns} turns"),
        (turns, chars) => format!("{whose} latest {turns} turns, at most {chars} characters,"),
    }
}

#[cfg(feature = "llama")]
impl Engine for crate::recommend::lm::LmRecommender {
    fn rank(
        &self,
        conversation: &Conversation,
        masked: &[u32],
        top_k: usize,
        deadline: Instant,
        run: &Run,
    ) -> Result<Ranking> {
        let answer = self.answer_until(conversation, masked, top_k, Some(deadline), run)?;
        let place = |i: &crate::recommend::lm::LmItem| Placed {
            item: i.item,
            score: i.score,
            log_probability: i.log_probability,
        };
        let window = answer.truncated.then(|| "the latest turns that fit into recommend.context_tokens".to_string());
        let usage =
            Usage { prompt_tokens: answer.prompt_tokens as u64, completion_tokens: answer.searched_tokens as u64 };
        let items = answer.items.iter().map(place).collect();
        Ok(Ranking { items, partial: answer.partial, window, usage: Some(usage) })
    }
}
