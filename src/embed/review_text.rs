//! What of a review is embedded.

use crate::dataset::Dataset;

/// The text of review `r` that is embedded: its headline, then its body.
pub fn review_text(dataset: &Dataset, r: usize) -> String {
    let (title, text) = (dataset.review_title(r).trim(), dataset.review_text(r).trim());
    match (title.is_empty(), text.is_empty()) {
        (true, _) => text.to_string(),
        (false, true) => title.to_string(),
        (false, false) if text.starts_with(title) => text.to_string(),
        (false, false) if title.ends_with(['.', '!', '?', '…']) => format!("{title} {text}"),
        (false, false) => format!("{title}. {text}"),
    }
}
