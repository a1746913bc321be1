//! The ranking head on the model's last hidden state: one pass over the prompt, then a product with the item vectors.

use super::answer::{LmAnswer, LmItem};
use super::recommender::LmRecommender;
use crate::dataset::{Conversation, Items};
use crate::error::{Error, Result};
use crate::llama::Model;
use crate::math::Matrix;
use crate::recommend::rank;
use crate::run::Run;
use crate::tune::Head;
use crate::tune::lm::{HEAD_FILE, student_name};
use std::path::Path;
use std::time::Instant;

/// The ranking head that was trained along with `tuned` (an adapter, or a whole model) and lies beside it.
///
/// # Errors
/// Those of [`Head::load`]; [`crate::ErrorKind::Invalid`] when it belongs to another training.
pub(super) fn beside(tuned: &Path) -> Result<Head> {
    let path = tuned.with_file_name(HEAD_FILE);
    let head = Head::load(&path)?;
    if head.embedder().starts_with("student/") && head.embedder() != student_name(tuned)? {
        return Err(Error::invalid(format!(
            "{}: it was not trained along with {}, whose states it would misread; keep the files of one training together",
            path.display(),
            tuned.display()
        )));
    }
    Ok(head)
}

/// A head that fits the model and the catalogue.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when it does not.
pub(super) fn check(head: &Head, model: &Model, items: &Items) -> Result<()> {
    if head.text_dim() != model.width() {
        return Err(Error::invalid(format!(
            "ranking head: it reads rows of {} values (of {}), the model's hidden states have {}; tune it with this model",
            head.text_dim(),
            head.embedder(),
            model.width()
        )));
    }
    let same = head.items() == items.len() && head.ids().iter().enumerate().all(|(row, id)| id == items.id(row));
    if !same {
        return Err(Error::invalid(format!(
            "ranking head: its {} items are not the {} of the catalogue in their order; tune again, or add the new items",
            head.items(),
            items.len()
        )));
    }
    Ok(())
}

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
        let ranked = rank(scores.row(0), masked, top_k);
        let item = |r: &crate::recommend::Ranked| LmItem { item: r.item, score: r.score, log_probability: None };
        answer.items = ranked.iter().map(item).collect();
        Ok(())
    }
}
