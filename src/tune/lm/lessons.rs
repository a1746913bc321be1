//! What a model learns from: dialogues in tokens, with the catalogue items that they name where a catalogue is given.

use super::chat::{Chat, Example, Unusable, recommend_messages, talk_messages};
use crate::config::{Objective, TuneConfig};
use crate::dataset::Dataset;
use crate::dataset::Dialogue;
use crate::error::{Error, Result};
use crate::math::Random;
use crate::run::{Level, log};
use crate::tune::LeftOut;
use crate::tune::head::listed;
use std::collections::{BTreeMap, HashMap};

/// The catalogue that a ranking head is trained over and that Recall is measured in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    /// Ids, `[items]`, in catalogue order.
    pub ids: Vec<String>,
    /// Names as answers list them (`Heat (1995)`), `[items]`.
    pub names: Vec<String>,
    /// Reviews and interactions of each item, `[items]`.
    pub counts: Vec<f32>,
}

impl Catalogue {
    /// The items of `dataset` with their reviews and interactions counted.
    pub fn of(dataset: &Dataset) -> Catalogue {
        let items = dataset.items.len();
        let mut counts = vec![0f32; items];
        (0..dataset.reviews()).for_each(|r| counts[dataset.review_item(r)] += 1.0);
        (0..dataset.interactions()).for_each(|n| counts[dataset.interaction(n).1] += 1.0);
        Catalogue {
            ids: (0..items).map(|i| dataset.items.id(i).to_string()).collect(),
            names: (0..items).map(|i| dataset.items.name(i)).collect(),
            counts,
        }
    }

    /// Refuses columns of different lengths and counts that count nothing.
    pub(super) fn check(&self) -> Result<()> {
        let n = self.ids.len();
        let counted = self.counts.iter().all(|c| c.is_finite() && *c >= 0.0);
        if n == 0 || self.names.len() != n || self.counts.len() != n || !counted {
            return Err(Error::invalid(format!(
                "tune: a catalogue of {n} ids, {} names and {} counts does not hold together",
                self.names.len(),
                self.counts.len()
            )));
        }
        Ok(())
    }
}

/// One reply of a dialogue.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Lesson {
    pub example: Example,
    /// Listed items with their weights, best first; the weights sum to 1. Empty: nothing for a ranking head.
    pub targets: Vec<(u32, f32)>,
    /// Items that the user names, sorted: they are out of the running.
    pub named: Vec<u32>,
    /// Dialogues of one group (those of one seed item) are held out together.
    pub group: Option<String>,
}

/// A catalogue, and the item rows that a text names (order and repeats do not matter).
pub type NamedCatalogue<'a> = (&'a Catalogue, &'a dyn Fn(&str) -> Vec<u32>);

/// A numbered list of names, as replies give it.
fn list_text(names: &[String], rows: &[(u32, f64)]) -> String {
    let lines = rows.iter().filter_map(|(row, _)| names.get(*row as usize)).enumerate();
    lines.map(|(n, name)| format!("{}. {name}", n + 1)).collect::<Vec<_>>().join("\n")
}

/// Dialogues as lessons, and what was left out. Every reply of the recommender is one: the list and, in dialogues of several
/// turns, its questions and suggestions in words; with a catalogue, also the list that would suit where an item is suggested.
/// The targets are weighed as for the ranking head on frozen embeddings: 1 / log2(rank + 2), the seed item's twice.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when no dialogue is left.
pub(super) fn lessons_of(
    chat: &Chat,
    dialogues: &[Dialogue],
    catalogue: Option<NamedCatalogue<'_>>,
    config: &TuneConfig,
) -> Result<(Vec<Lesson>, LeftOut)> {
    let ids = catalogue.map_or(&[][..], |(catalogue, _)| &catalogue.ids);
    let rows: HashMap<&str, u32> = ids.iter().enumerate().map(|(i, id)| (id.as_str(), i as u32)).collect();
    let learns_text = config.objective != Objective::Items;
    let (mut lessons, mut left_out, mut first) = (Vec::with_capacity(dialogues.len()), LeftOut::default(), None);
    let mut replies = 0;
    for dialogue in dialogues {
        let group = dialogue.seed.as_ref().map(|s| s.item.clone());
        let mut own = Vec::new();
        let mut unusable = |left_out: &mut LeftOut, (count, why): Unusable| {
            left_out.add(count);
            first.get_or_insert(why);
        };
        for exchange in dialogue.exchanges() {
            let query = exchange.query();
            if !exchange.is_list && learns_text {
                replies += 1;
                let prompt = talk_messages(exchange.before);
                match chat.example(&dialogue.id, &prompt, exchange.reply, config.max_tokens) {
                    Ok(example) => own.push(Lesson { example, group: group.clone(), ..Lesson::default() }),
                    Err(why) => unusable(&mut left_out, why),
                }
            }
            if !exchange.is_list && (catalogue.is_none() || exchange.items.is_empty()) {
                continue;
            }
            replies += 1;
            if query.trim().is_empty() {
                let why = format!("dialogue {:?} has no query", dialogue.id);
                unusable(&mut left_out, (LeftOut { no_query: 1, ..LeftOut::default() }, why));
                continue;
            }
            let (mut named, mut list) = (Vec::new(), Vec::new());
            let mut answer = exchange.reply.to_string();
            if let Some((catalogue, mentions)) = catalogue {
                named = mentions(&exchange.spoken());
                named.retain(|item| (*item as usize) < ids.len());
                named.sort_unstable();
                named.dedup();
                let (listed, unknown) = listed(dialogue, exchange.items, &rows, &named);
                left_out.unknown_items += unknown;
                list = listed;
                if !exchange.is_list {
                    answer = list_text(&catalogue.names, &list);
                }
                if list.is_empty() && (!learns_text || !exchange.is_list) {
                    let why = format!("dialogue {:?} lists no item to learn from", dialogue.id);
                    unusable(&mut left_out, (LeftOut { no_item: 1, ..LeftOut::default() }, why));
                    continue;
                }
            }
            match chat.example(&dialogue.id, &recommend_messages(&query), &answer, config.max_tokens) {
                Ok(example) => {
                    let sum: f64 = list.iter().map(|(_, w)| w).sum();
                    let targets = list.into_iter().map(|(item, w)| (item, (w / sum) as f32)).collect();
                    own.push(Lesson { example, targets, named, group: group.clone() });
                }
                Err(why) => unusable(&mut left_out, why),
            }
        }
        lessons.append(&mut own);
    }
    left_out.tell(replies, first.as_deref())?;
    Ok((lessons, left_out))
}

/// Training and held-out lessons: a seeded draw of whole groups, at least one of each side where there are two and a share
/// is held out.
pub(super) fn split<'a>(lessons: &'a [Lesson], config: &TuneConfig) -> (Vec<&'a Lesson>, Vec<&'a Lesson>) {
    let mut by_name: BTreeMap<(Option<&str>, usize), Vec<&Lesson>> = BTreeMap::new();
    for (i, lesson) in lessons.iter().enumerate() {
        let key = match &lesson.group {
            Some(group) => (Some(group.as_str()), 0),
            None => (None, i),
        };
        by_name.entry(key).or_default().push(lesson);
    }
    let mut groups: Vec<Vec<&Lesson>> = by_name.into_values().collect();
    if groups.len() == 1 {
        if lessons.len() > 1 && config.holdout > 0.0 {
            log(Level::Warn, "tune: all dialogues have one seed item; those held out are not of another one");
        }
        groups = lessons.iter().map(|l| vec![l]).collect();
    }
    Random::new(config.seed, b"lm holdout").shuffle(&mut groups);
    let wanted = (lessons.len() as f64 * config.holdout).round() as usize;
    let least = usize::from(config.holdout > 0.0 && groups.len() > 1);
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    // The smallest group always fits, so that something is held out.
    let smallest = groups.iter().map(Vec::len).min().unwrap_or(0);
    let most = wanted.max(least * smallest).min(lessons.len().saturating_sub(1));
    for group in groups {
        let side = if held_out.len() + group.len() <= most { &mut held_out } else { &mut train };
        side.extend(group);
    }
    (train, held_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lesson(i: usize, group: Option<usize>) -> Lesson {
        let example = Example { tokens: vec![i as u32; 4], trained_from: 2 };
        Lesson { example, group: group.map(|g| format!("item {g}")), ..Lesson::default() }
    }

    #[test]
    fn dialogues_of_one_seed_item_stand_on_one_side() {
        let config = TuneConfig { holdout: 0.2, ..TuneConfig::default() };
        let lessons: Vec<Lesson> = (0..60).map(|i| lesson(i, Some(i / 3))).collect();
        let (train, held_out) = split(&lessons, &config);
        assert_eq!((train.len(), held_out.len()), (48, 12));
        assert!(held_out.iter().all(|h| train.iter().all(|t| t.group != h.group)));
        assert_eq!(split(&lessons, &config), (train, held_out));
        let alone: Vec<Lesson> = (0..10).map(|i| lesson(i, None)).collect();
        assert_eq!(split(&alone, &config).1.len(), 2);
        // Groups larger than the share, one group alone, one dialogue alone, nothing to hold out.
        let large: Vec<Lesson> = (0..30).map(|i| lesson(i, Some(i / 10))).collect();
        assert_eq!(split(&large, &config).1.len(), 10);
        let one: Vec<Lesson> = (0..10).map(|i| lesson(i, Some(0))).collect();
        assert_eq!(split(&one, &config).1.len(), 2);
        assert_eq!(split(&one[..1], &config).1.len(), 0);
        assert_eq!(split(&alone, &TuneConfig { holdout: 0.0, ..config }).1.len(), 0);
    }
}
