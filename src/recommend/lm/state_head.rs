//! The ranking head on the model's last hidden state: one pass over the prompt, then a product with the item vectors.

use super::answer::LmAnswer;
use super::recommender::LmRecommender;
use crate::dataset::Conversation;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::recommend::rank;
use crate::run::Run;
use std::time::Instant;

impl LmRecommender {
    pub(super) fn by_head(
        &self,
        conversation: &Conversation,
        masked: &[u32],
        top_k: usize,
        deadline: Option<Instant>,
        answer: &mut LmAnswer,
        run: &Run,
    ) -> Result<()> {
        let prompt = self.prompter.prompt(conversation, false)?;
        let adapters = self.adapters.current();
        let head = adapters.head().ok_or_else(|| Error::bug("mode head without a head"))?;
        let (mut lane, row) = self.prompted(&adapters, &prompt, &[], deadline, answer, run)?;
        let hidden = row.values;
        lane.remember(prompt.view(), &self.cache)?;
        drop(lane);
        let mut query = Matrix::from_vec(1, hidden.len(), hidden)?;
        query.normalise_rows();
        let named = if self.config.mentions { self.titles().of_conversation(conversation) } else { Vec::new() };
        let scores = run.install(|| head.score(&query, &[named]))?;
        answer.items = rank(scores.row(0), masked, top_k);
        Ok(())
    }
}
