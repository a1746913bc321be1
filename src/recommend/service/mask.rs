//! What must not come back: what a conversation names or lists as seen, what a query excludes, what is withdrawn, and where
//! some items alone may come back all others. The one place that decides it.

use super::query::{ItemList, Query};
use crate::dataset::{Conversation, ItemName, Items};
use crate::error::{Error, Result};
use crate::recommend::excerpt;
use crate::titles::Titles;

/// Unknown names that a warning quotes.
const QUOTED: usize = 5;

/// A query's names, looked up in the catalogue.
pub(super) struct Mask {
    /// Rows that must not come back, sorted, each once; none: nothing may come back.
    pub rows: Option<Vec<u32>>,
    /// Names that are not in the catalogue.
    pub warnings: Vec<String>,
    /// The conversation with what it has seen by id, where that was said in another way.
    resolved: Option<Conversation>,
}

impl Mask {
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a row past the end; [`crate::ErrorKind::NotFound`] when some ids alone may come back
    /// and none of them is in the catalogue.
    pub fn new(query: &Query, withdrawn: &[u32], items: &Items, titles: &Titles) -> Result<Mask> {
        let mut warnings = Vec::new();
        let resolved = resolve_seen(&query.conversation, items, titles, &mut warnings);
        let mut named = titles.of_conversation(resolved.as_ref().unwrap_or(&query.conversation));
        named.extend(withdrawn);
        let excluded = known(items, "exclude", &query.exclude, &mut warnings)?;
        let rows = match &query.allow {
            None => Some(union(named, &excluded)),
            Some(allow) if allow.is_empty() => None,
            Some(allow) => {
                let allowed = known(items, "allow", allow, &mut warnings)?;
                if let (true, Some(first)) = (allowed.is_empty(), allow.ids.first()) {
                    return Err(Error::not_found(format!(
                        "recommend: none of the {} allowed ids is in the catalogue (the first is {first:?})",
                        allow.ids.len()
                    )));
                }
                Some(all_but(items.len(), &allowed, named.iter().chain(&excluded)))
            }
        };
        Ok(Mask { rows, warnings, resolved })
    }
    /// The conversation to be ranked for.
    pub fn conversation<'a>(&'a self, query: &'a Query) -> &'a Conversation {
        self.resolved.as_ref().unwrap_or(&query.conversation)
    }
}

/// The conversation with seen items by their ids where they are named in one text, as an id or as `Heat (1995)`; none where
/// nothing changes. Seen items that are not in the catalogue are told.
fn resolve_seen(
    conversation: &Conversation,
    items: &Items,
    titles: &Titles,
    warnings: &mut Vec<String>,
) -> Option<Conversation> {
    let (mut unknown, mut other) = (Vec::new(), Vec::new());
    for (n, name) in conversation.seen.iter().enumerate() {
        if titles.resolve(name).is_some() {
            continue;
        }
        match titles.resolve_title(&name.title).filter(|_| name.year.is_none()) {
            Some(row) => other.push((n, row)),
            None => unknown.push(name.item.as_deref().filter(|i| !i.is_empty()).unwrap_or(&name.title)),
        }
    }
    warn(warnings, "seen", &unknown);
    if other.is_empty() {
        return None;
    }
    let mut conversation = conversation.clone();
    for (n, row) in other {
        conversation.seen[n] = ItemName { item: Some(items.id(row as usize).to_string()), ..ItemName::default() };
    }
    Some(conversation)
}

/// The rows of a list; ids that are not in the catalogue are told.
fn known(items: &Items, field: &str, list: &ItemList, warnings: &mut Vec<String>) -> Result<Vec<u32>> {
    let mut rows: Vec<u32> = Vec::with_capacity(list.ids.len() + list.rows.len());
    let mut unknown = Vec::new();
    for id in &list.ids {
        match items.find(id) {
            Some(row) => rows.push(row),
            None => unknown.push(id.as_str()),
        }
    }
    warn(warnings, field, &unknown);
    for row in &list.rows {
        match u32::try_from(*row).ok().filter(|row| (*row as usize) < items.len()) {
            Some(row) => rows.push(row),
            None => {
                let count = items.len();
                return Err(Error::invalid(format!(
                    "recommend: row {row} of a query; the catalogue has {count} items"
                )));
            }
        }
    }
    Ok(rows)
}

/// `exclude: 6 not in the catalogue: "a", "b", "c", "d", "e", …`.
fn warn(warnings: &mut Vec<String>, field: &str, unknown: &[&str]) {
    if unknown.is_empty() {
        return;
    }
    let quoted: Vec<String> = unknown.iter().take(QUOTED).map(|id| format!("{:?}", excerpt(id, 60))).collect();
    let more = if unknown.len() > QUOTED { ", …" } else { "" };
    warnings.push(format!("{field}: {} not in the catalogue: {}{more}", unknown.len(), quoted.join(", ")));
}

/// Rows of both, sorted, each once.
fn union(mut rows: Vec<u32>, more: &[u32]) -> Vec<u32> {
    rows.extend(more);
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Of a catalogue of `items` rows all that are not `allowed`, and all that are `out`. Every row given is below `items`.
fn all_but<'a>(items: usize, allowed: &[u32], out: impl Iterator<Item = &'a u32>) -> Vec<u32> {
    // An allow list may be as long as the catalogue: one pass over it, and one over the rows.
    let mut may = vec![false; items];
    allowed.iter().for_each(|row| may[*row as usize] = true);
    out.for_each(|row| may[*row as usize] = false);
    (0..items as u32).filter(|row| !may[*row as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_what_a_set_says() {
        let (named, excluded) = (vec![7, 3, 3], [9, 0, 7]);
        assert_eq!(union(named.clone(), &excluded), [0, 3, 7, 9]);
        for allowed in [&[][..], &[1, 2, 7, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]] {
            let kept = |row: &u32| allowed.contains(row) && !named.contains(row) && !excluded.contains(row);
            let expected: Vec<u32> = (0..10).filter(|row| !kept(row)).collect();
            assert_eq!(all_but(10, allowed, named.iter().chain(&excluded)), expected);
        }
    }
}
