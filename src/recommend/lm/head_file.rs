//! The ranking head that lies beside a tuned model: read, and checked against model and catalogue.

use crate::dataset::Items;
use crate::error::{Error, Result};
use crate::llama::Model;
use crate::tune::Head;
use crate::tune::lm::{HEAD_FILE, student_name};
use std::path::Path;

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
