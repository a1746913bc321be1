//! A request: a conversation, what must not come back, what may; and the answer.

use super::{Ranked, Recommender};
use crate::dataset::{Conversation, Items};
use crate::error::{Error, Result};
use crate::run::{Level, Run, log};
use crate::titles::Titles;

/// What is asked of a recommender.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The conversation; what it names or lists as seen is not recommended again.
    pub conversation: &'a Conversation,
    /// Ids that must not come back.
    pub exclude: &'a [String],
    /// Ids that may come back; empty: all.
    pub allow: &'a [String],
    /// Items in the answer.
    pub top_k: usize,
}

impl Request<'_> {
    /// The item rows that must not come back, sorted, each once: for [`rank`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when `allow` names no item of the catalogue.
    pub fn masked(&self, items: &Items, mentions: &Titles) -> Result<Vec<u32>> {
        self.masked_with(&excluded_rows(items, self.exclude), items, mentions)
    }

    /// [`Request::masked`] of the rows that are excluded.
    fn masked_with(&self, excluded: &[u32], items: &Items, mentions: &Titles) -> Result<Vec<u32>> {
        let named = mentions.of_conversation(self.conversation);
        let allowed = if self.allow.is_empty() { None } else { Some(allowed_rows(items, self.allow)?) };
        Ok(mask(items.len(), named, excluded, allowed.as_deref()))
    }
}

/// The rows of those ids that are in the catalogue.
fn known_rows(items: &Items, ids: &[String]) -> Vec<u32> {
    ids.iter().filter_map(|id| items.find(id)).collect()
}

/// Ids that are not in the catalogue: how many, and the first.
fn unknown<'a>(items: &Items, ids: &'a [String]) -> Option<(usize, &'a str)> {
    let mut unknown = ids.iter().filter(|id| items.find(id).is_none());
    let first = unknown.next()?;
    Some((1 + unknown.count(), first))
}

/// The rows of ids that must not come back; of those that are not in the catalogue the log tells.
pub(crate) fn excluded_rows(items: &Items, ids: &[String]) -> Vec<u32> {
    warn_of_unknown(unknown(items, ids));
    known_rows(items, ids)
}

/// The rows of ids that alone may come back.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] when there are ids and none of them is in the catalogue.
pub(crate) fn allowed_rows(items: &Items, ids: &[String]) -> Result<Vec<u32>> {
    let rows = known_rows(items, ids);
    match ids.first() {
        Some(first) if rows.is_empty() => Err(Error::not_found(format!(
            "recommend: none of the {} allowed ids is in the catalogue (the first is {first:?})",
            ids.len()
        ))),
        Some(_) | None => Ok(rows),
    }
}

/// What must not come back of a catalogue of `items` rows: what is `named`, what is `excluded`, and where `allowed` is given
/// all but that. Sorted, each once; every row given is below `items`.
pub(crate) fn mask(items: usize, named: Vec<u32>, excluded: &[u32], allowed: Option<&[u32]>) -> Vec<u32> {
    let Some(allowed) = allowed else {
        let mut masked = named;
        masked.extend(excluded);
        masked.sort_unstable();
        masked.dedup();
        return masked;
    };
    // An allow list may be as long as the catalogue: one pass over it, and one over the rows.
    let mut may = vec![false; items];
    allowed.iter().for_each(|row| may[*row as usize] = true);
    named.iter().chain(excluded).for_each(|row| may[*row as usize] = false);
    (0..items as u32).filter(|row| !may[*row as usize]).collect()
}

fn warn_of_unknown(unknown: Option<(usize, &str)>) {
    if let Some((count, first)) = unknown {
        log(
            Level::Warn,
            &format!("recommend: excluded ids that are not in the catalogue: {count}, the first {first:?}"),
        );
    }
}

/// Answers requests: one ranked list each.
///
/// # Errors
/// Those of the recommender; [`crate::ErrorKind::Invalid`] when it scores another catalogue;
/// [`crate::ErrorKind::NotFound`] as in [`Request::masked`].
pub fn recommend(
    recommender: &dyn Recommender,
    requests: &[Request],
    items: &Items,
    mentions: &Titles,
    run: &Run,
) -> Result<Vec<Vec<Ranked>>> {
    if recommender.items() != items.len() {
        return Err(Error::invalid(format!(
            "recommend: {} scores {} items, the catalogue has {}; build it again for this catalogue",
            recommender.name(),
            recommender.items(),
            items.len()
        )));
    }
    let conversations: Vec<&Conversation> = requests.iter().map(|r| r.conversation).collect();
    // Many requests mostly exclude the same: it is said once.
    warn_of_unknown(requests.iter().filter_map(|r| unknown(items, r.exclude)).max_by_key(|(count, _)| *count));
    let masked = requests
        .iter()
        .map(|r| r.masked_with(&known_rows(items, r.exclude), items, mentions))
        .collect::<Result<Vec<_>>>()?;
    let most = requests.iter().map(|r| r.top_k).max().unwrap_or(0);
    let mut answers = recommender.rank_all(&conversations, &masked, most, run)?;
    answers.iter_mut().zip(requests).for_each(|(answer, request)| answer.truncate(request.top_k));
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::super::Popularity;
    use super::super::testing::{conversation, movies};
    use super::*;
    use crate::dataset::ItemName;

    #[test]
    fn seen_named_and_excluded_items_never_come_back_and_only_allowed_ones_do() {
        let dataset = movies();
        let mentions = Titles::new(&dataset.items, &[]);
        let all = Popularity::new("p", (0..dataset.items.len()).map(|i| i as f32).collect()).unwrap();
        let mut talk = conversation(&["I liked Mars Voyage"]);
        talk.seen = vec![ItemName { item: Some("m1".into()), ..ItemName::default() }];
        let (exclude, allow) = (vec!["m2".to_string(), "gone".into()], vec!["m0", "m1", "m2", "m3", "m5"]);
        let allow: Vec<String> = allow.into_iter().map(str::to_string).collect();
        let run = Run::new(1).unwrap();
        let ask = |exclude: &[String], allow: &[String]| -> Result<Vec<u32>> {
            let request = Request { conversation: &talk, exclude, allow, top_k: 100 };
            let answer = recommend(&all, &[request], &dataset.items, &mentions, &run)?;
            Ok(answer[0].iter().map(|r| r.item).collect())
        };
        let named = mentions.rows("Mars Voyage");
        assert_eq!(named.len(), 1);
        let free = ask(&[], &[]).unwrap();
        assert_eq!(free.len(), dataset.items.len() - 2);
        assert!(!free.contains(&1) && !free.contains(&named[0]));
        assert!(!ask(&exclude, &[]).unwrap().contains(&2));
        let mut expected = vec![5, 3, 0];
        expected.retain(|i| *i != named[0]);
        assert_eq!(ask(&exclude, &allow).unwrap(), expected);
        assert_eq!(ask(&[], &["gone".to_string()]).unwrap_err().kind(), crate::ErrorKind::NotFound);
    }

    #[test]
    fn a_mask_is_what_a_set_says() {
        let (named, excluded) = (vec![7, 3, 3], [9, 0, 7]);
        assert_eq!(mask(10, named.clone(), &excluded, None), [0, 3, 7, 9]);
        for allowed in [&[][..], &[1, 2, 7, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]] {
            let kept = |row: &u32| allowed.contains(row) && !named.contains(row) && !excluded.contains(row);
            let expected: Vec<u32> = (0..10).filter(|row| !kept(row)).collect();
            assert_eq!(mask(10, named.clone(), &excluded, Some(allowed)), expected);
        }
    }

    #[test]
    fn a_recommender_of_another_catalogue_is_refused() {
        let dataset = movies();
        let mentions = Titles::new(&dataset.items, &[]);
        let other = Popularity::new("p", vec![1.0]).unwrap();
        let e = recommend(&other, &[], &dataset.items, &mentions, &Run::new(1).unwrap()).unwrap_err();
        assert!(e.message().contains("scores 1 items"), "{e}");
    }
}
