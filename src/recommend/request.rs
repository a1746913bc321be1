//! A request: a conversation, what must not come back, what may; and the answer.

use super::{Mentions, Ranked, Recommender};
use crate::dataset::{Conversation, Items};
use crate::error::{Error, Result};
use crate::run::{Level, Run, log};

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
    pub fn masked(&self, items: &Items, mentions: &Mentions) -> Result<Vec<u32>> {
        warn_of_unknown(self.unknown(items));
        self.rows_masked(items, mentions)
    }

    /// Excluded ids that are not in the catalogue: how many, and the first.
    fn unknown(&self, items: &Items) -> Option<(usize, &str)> {
        let mut unknown = self.exclude.iter().filter(|id| items.find(id).is_none());
        let first = unknown.next()?;
        Some((1 + unknown.count(), first))
    }

    /// [`Request::masked`] without a word about unknown ids.
    fn rows_masked(&self, items: &Items, mentions: &Mentions) -> Result<Vec<u32>> {
        let mut masked = mentions.of_conversation(self.conversation);
        masked.extend(self.exclude.iter().filter_map(|id| items.find(id)));
        if !self.allow.is_empty() {
            let mut allowed: Vec<u32> = self.allow.iter().filter_map(|id| items.find(id)).collect();
            if allowed.is_empty() {
                return Err(Error::not_found(format!(
                    "recommend: none of the {} allowed ids is in the catalogue (the first is {:?})",
                    self.allow.len(),
                    self.allow[0]
                )));
            }
            allowed.sort_unstable();
            masked.extend((0..items.len() as u32).filter(|item| allowed.binary_search(item).is_err()));
        }
        masked.sort_unstable();
        masked.dedup();
        Ok(masked)
    }
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
    mentions: &Mentions,
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
    warn_of_unknown(requests.iter().filter_map(|r| r.unknown(items)).max_by_key(|(count, _)| *count));
    let masked = requests.iter().map(|r| r.rows_masked(items, mentions)).collect::<Result<Vec<_>>>()?;
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
        let mentions = Mentions::new(&dataset.items, &[]);
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
    fn a_recommender_of_another_catalogue_is_refused() {
        let dataset = movies();
        let mentions = Mentions::new(&dataset.items, &[]);
        let other = Popularity::new("p", vec![1.0]).unwrap();
        let e = recommend(&other, &[], &dataset.items, &mentions, &Run::new(1).unwrap()).unwrap_err();
        assert!(e.message().contains("scores 1 items"), "{e}");
    }
}
