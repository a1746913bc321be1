//! Answers that somebody else's model gave → the same metrics in the four variants (§4.2.1).
//!
//! An answer is either raw text, whose titles are parsed and grounded in the catalogue, or a list of titles that were
//! matched before, which are taken as they stand. A listed title keeps its place in the ranking even when it is not in
//! the catalogue, unless the variant removes it.

use super::metrics::Metrics;
use crate::artifact;
use crate::config::DatasetConfig;
use crate::dataset::{Conversation, Dataset, Item, ItemName, Items, load_conversations, load_item_names};
use crate::error::{Error, Result};
use crate::json;
use crate::titles::{Titles, normalise, parse_titles};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// A matched title farther than this from the nearest name of the catalogue is out of catalogue (He et al. 2023).
pub const NEAREST_EDITS: u64 = 2;

/// One line of an answers file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Answer {
    /// The conversation's id.
    #[serde(default, deserialize_with = "json::optional_id")]
    pub id: Option<String>,
    /// In place of the id: the number at the end of the id (`test_0/1`), or the conversation's line, from 0.
    #[serde(default, deserialize_with = "json::optional_whole")]
    pub index: Option<u64>,
    /// The raw answer.
    #[serde(default)]
    pub text: Option<String>,
    /// Titles matched before: names, or `{"nearest", "edit_distance"}`, or `{"title", "year"}`, or `{"item"}`.
    #[serde(default)]
    pub matched: Option<Vec<Value>>,
}

/// Which of the two an answer that holds both is scored by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// The matched titles.
    Matched,
    /// The raw text.
    Text,
}

/// The four variants, never mixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variants {
    /// The lists as they are.
    pub raw: Metrics,
    /// Without items that the conversation mentions.
    pub seen_removed: Metrics,
    /// Without titles that are not in the catalogue.
    pub out_of_catalogue_removed: Metrics,
    /// Without either.
    pub both_removed: Metrics,
}

/// What scoring answers gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerReport {
    /// (context, unseen target) pairs.
    pub n: u64,
    /// Conversations with at least one pair.
    pub contexts: u64,
    /// Pairs whose target is in the catalogue.
    pub targets_in_catalogue: u64,
    /// Titles listed in the scored answers.
    pub titles: u64,
    /// Of these, in the catalogue.
    pub titles_in_catalogue: u64,
    /// Conversations without an answer; their pairs are misses.
    pub missing: u64,
    /// Answers to no conversation (or to one without an unseen target); not scored.
    pub extra: u64,
    /// Answers in which no title was found; their pairs are misses.
    pub empty: u64,
    /// How answers were joined to conversations: `id`, `index in the id`, `line`.
    pub joined_by: String,
    /// The metrics.
    pub variants: Variants,
    /// What a reader of the numbers should know.
    pub warnings: Vec<String>,
}

/// Reads the three files and scores; items as `{"title", "year", "imdb" or "item"}` per line.
///
/// # Errors
/// Those of reading, with file and line, and those of [`score_answers`].
pub fn score_answer_files(conversations: &Path, items: &Path, answers: &Path, prefer: Prefer) -> Result<AnswerReport> {
    let max_bad_lines = DatasetConfig::default().max_bad_lines;
    // Those without an id are called by their line.
    let talks = load_conversations(conversations, max_bad_lines)?;
    let names = load_item_names(items, max_bad_lines)?;
    let lines: Vec<Answer> = artifact::read_jsonl(answers)?;
    let catalogue = catalogue(&names).map_err(|e| e.context(items.display()))?;
    score_answers(&talks, &catalogue, &lines, prefer).map_err(|e| e.context(answers.display()))
}

/// A catalogue of names alone. Names without an id get one; of names with one id, each stays a row of its own.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when there is no name at all.
pub fn catalogue(names: &[ItemName]) -> Result<Items> {
    let mut dataset = Dataset::default();
    for (row, name) in names.iter().enumerate() {
        let given = name.item.as_deref().filter(|id| !id.is_empty() && dataset.items.find(id).is_none());
        let id = given.map_or_else(|| format!("line:{}", row + 1), str::to_string);
        dataset.add_item(&Item { id, title: name.title.clone(), year: name.year, ..Item::default() })?;
    }
    if dataset.items.is_empty() {
        return Err(Error::invalid("no items: the catalogue is empty"));
    }
    Ok(dataset.items)
}

/// Scores `answers` to `conversations` over the catalogue `items`.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for two answers or two conversations of one id, an answer without id and index or without
/// text and titles, no conversation with an unseen target, or no answer to any conversation.
pub fn score_answers(
    conversations: &[Conversation],
    items: &Items,
    answers: &[Answer],
    prefer: Prefer,
) -> Result<AnswerReport> {
    let titles = Titles::new(items, &[]);
    let names = Names { items, titles: &titles };
    let (of_conversation, joined_by, mut extra) = join(conversations, answers)?;

    let mut ranks: [Vec<Option<usize>>; 4] = Default::default();
    let mut report = AnswerReport {
        n: 0,
        contexts: 0,
        targets_in_catalogue: 0,
        titles: 0,
        titles_in_catalogue: 0,
        missing: 0,
        extra: 0,
        empty: 0,
        joined_by: joined_by.to_string(),
        variants: Variants {
            raw: Metrics::default(),
            seen_removed: Metrics::default(),
            out_of_catalogue_removed: Metrics::default(),
            both_removed: Metrics::default(),
        },
        warnings: Vec::new(),
    };
    for (conversation, answer) in conversations.iter().zip(&of_conversation) {
        let seen: Vec<KnownItem> = conversation.seen.iter().map(|name| names.known(name)).collect();
        let mut targets: Vec<KnownItem> = conversation.targets.iter().map(|name| names.known(name)).collect();
        targets.retain(|target| !seen.iter().any(|s| s.same(target)));
        if targets.is_empty() {
            extra += u64::from(answer.is_some());
            continue;
        }
        report.contexts += 1;
        let listed = match answer {
            None => {
                report.missing += 1;
                Vec::new()
            }
            Some(answer) => {
                let listed = names.listed(answer, prefer)?;
                report.empty += u64::from(listed.is_empty());
                listed
            }
        };
        report.titles += listed.len() as u64;
        report.titles_in_catalogue += listed.iter().filter(|slot| slot.in_catalogue).count() as u64;
        let removed: Vec<bool> = listed.iter().map(|slot| seen.iter().any(|s| slot.is(s))).collect();
        for target in &targets {
            report.targets_in_catalogue += u64::from(target.row.is_some());
            for (variant, ranks) in ranks.iter_mut().enumerate() {
                let (no_seen, no_foreign) = (variant & 1 != 0, variant & 2 != 0);
                let left = listed
                    .iter()
                    .zip(&removed)
                    .filter(|(slot, removed)| !(no_seen && **removed || no_foreign && !slot.in_catalogue));
                ranks.push(left.map(|(slot, _)| slot).position(|slot| slot.is(target)));
            }
        }
    }
    report.n = ranks[0].len() as u64;
    report.extra = extra;
    if report.n == 0 {
        return Err(Error::invalid("no conversation has an unseen target: there is nothing to score"));
    }
    let [raw, seen_removed, out_of_catalogue_removed, both_removed] = ranks.map(|r| Metrics::of(&r));
    report.variants = Variants { raw, seen_removed, out_of_catalogue_removed, both_removed };
    let mut warn = |count: u64, what: &str| {
        if count > 0 {
            report.warnings.push(format!("{count} {what}"));
        }
    };
    warn(report.missing, "conversations have no answer: their targets count as misses");
    warn(report.extra, "answers belong to no conversation with an unseen target: not scored");
    warn(report.empty, "answers list no title: their targets count as misses");
    warn(report.n - report.targets_in_catalogue, "targets are not in the catalogue");
    Ok(report)
}

/// Each conversation's answer, how they were joined, and the number of answers without a conversation.
fn join<'a>(
    conversations: &[Conversation],
    answers: &'a [Answer],
) -> Result<(Vec<Option<&'a Answer>>, &'static str, u64)> {
    let mut by_id = HashMap::new();
    for (row, conversation) in conversations.iter().enumerate() {
        if by_id.insert(conversation.id.as_str(), row).is_some() {
            return Err(Error::invalid(format!("two conversations have the id {:?}", conversation.id)));
        }
    }
    // An index is the number at the end of the ids where those are all different, or the line: whichever finds more.
    let suffixes: Option<HashMap<u64, usize>> = conversations
        .iter()
        .enumerate()
        .map(|(row, c)| Some((c.id.rsplit_once('/')?.1.parse().ok()?, row)))
        .collect::<Option<HashMap<u64, usize>>>()
        .filter(|map| map.len() == conversations.len());
    let by_line = |index: u64| usize::try_from(index).ok().filter(|row| *row < conversations.len());
    let by_suffix = |index: u64| suffixes.as_ref().and_then(|map| map.get(&index).copied());
    let indices = || answers.iter().filter(|a| a.id.is_none()).filter_map(|a| a.index);
    let found = |lookup: &dyn Fn(u64) -> Option<usize>| indices().filter(|i| lookup(*i).is_some()).count();
    let use_suffix = suffixes.is_some() && found(&by_suffix) >= found(&by_line);
    let joined_by = match (indices().next(), use_suffix) {
        (None, _) => "id",
        (Some(_), true) => "index in the id",
        (Some(_), false) => "line",
    };

    let mut joined: Vec<Option<&Answer>> = vec![None; conversations.len()];
    let mut extra = 0;
    for (line, answer) in answers.iter().enumerate() {
        let row = match (&answer.id, answer.index) {
            (Some(id), _) => by_id.get(id.as_str()).copied(),
            (None, Some(index)) if use_suffix => by_suffix(index),
            (None, Some(index)) => by_line(index),
            (None, None) => return Err(Error::invalid(format!("answer {} has neither id nor index", line + 1))),
        };
        let Some(row) = row else {
            extra += 1;
            continue;
        };
        if joined[row].replace(answer).is_some() {
            let id = &conversations[row].id;
            return Err(Error::invalid(format!(
                "two answers to conversation {id:?}: keep one (the second is answer {})",
                line + 1
            )));
        }
    }
    if joined.iter().all(Option::is_none) {
        return Err(Error::invalid(format!(
            "none of the {} answers belongs to one of the {} conversations: compare the ids",
            answers.len(),
            conversations.len()
        )));
    }
    Ok((joined, joined_by, extra))
}

/// A name as conversations and matched lists give it.
struct Name {
    title: String,
    year: Option<u16>,
    item: Option<String>,
}

impl Name {
    fn of(name: &ItemName) -> Name {
        Name { title: normalise(&name.title), year: name.year, item: name.item.clone().filter(|id| !id.is_empty()) }
    }
    fn same(&self, other: &Name) -> bool {
        if let (Some(a), Some(b)) = (&self.item, &other.item) {
            return a == b;
        }
        let years_agree = self.year.is_none_or(|a| other.year.is_none_or(|b| a.abs_diff(b) <= 1));
        !self.title.is_empty() && self.title == other.title && years_agree
    }
}

/// A target or a seen item: its name, and its row where it is in the catalogue.
struct KnownItem {
    name: Name,
    row: Option<u32>,
}

impl KnownItem {
    fn same(&self, other: &KnownItem) -> bool {
        self.name.same(&other.name) || self.row.is_some() && self.row == other.row
    }
}

/// One place of an answer's list.
struct Slot {
    content: Content,
    in_catalogue: bool,
}

enum Content {
    /// Parsed and grounded: an item, or out of catalogue.
    Row(Option<u32>),
    /// Matched before.
    Name(Name),
}

impl Slot {
    fn is(&self, known: &KnownItem) -> bool {
        match &self.content {
            Content::Row(row) => row.is_some() && *row == known.row,
            Content::Name(name) => name.same(&known.name),
        }
    }
}

struct Names<'a> {
    items: &'a Items,
    titles: &'a Titles,
}

impl Names<'_> {
    /// One row for all rows of one title and year, so that a catalogue may hold an item twice.
    fn canonical(&self, row: u32) -> u32 {
        let at = row as usize;
        self.titles.ground(self.items.title(at), self.items.year(at)).unwrap_or(row)
    }
    fn known(&self, name: &ItemName) -> KnownItem {
        KnownItem { name: Name::of(name), row: self.titles.resolve(name).map(|row| self.canonical(row)) }
    }
    /// The list of an answer, best first.
    fn listed(&self, answer: &Answer, prefer: Prefer) -> Result<Vec<Slot>> {
        let matched = answer.matched.as_deref().filter(|_| prefer == Prefer::Matched || answer.text.is_none());
        if let Some(matched) = matched {
            return matched.iter().map(|entry| self.matched(entry)).collect();
        }
        let Some(text) = &answer.text else {
            let which = answer.id.clone().or(answer.index.map(|i| i.to_string())).unwrap_or_default();
            return Err(Error::invalid(format!("answer {which:?} has neither \"text\" nor \"matched\"")));
        };
        let grounded = parse_titles(text).into_iter().map(|parsed| {
            let row = self.titles.ground(&parsed.title, parsed.year).map(|row| self.canonical(row));
            Slot { content: Content::Row(row), in_catalogue: row.is_some() }
        });
        Ok(grounded.collect())
    }
    fn matched(&self, entry: &Value) -> Result<Slot> {
        let field = |key: &str| entry.get(key).filter(|v| !v.is_null());
        let text = |key: &str| field(key).and_then(Value::as_str).map(str::to_string);
        let name = match entry {
            Value::Null => return Ok(Slot { content: Content::Row(None), in_catalogue: false }),
            Value::String(title) => ItemName { title: title.clone(), ..ItemName::default() },
            Value::Object(_) => ItemName {
                title: text("nearest").or_else(|| text("title")).unwrap_or_default(),
                year: field("year").and_then(Value::as_u64).and_then(|y| u16::try_from(y).ok()),
                item: text("item").or_else(|| text("imdb")),
            },
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                return Err(Error::invalid(format!("a matched title is a name or an object, not {entry}")));
            }
        };
        if name.title.is_empty() && name.item.is_none() {
            return Err(Error::invalid(format!("a matched title without \"nearest\", \"title\" or \"item\": {entry}")));
        }
        let in_catalogue = match field("edit_distance").and_then(Value::as_u64) {
            Some(distance) => distance <= NEAREST_EDITS,
            None => self.titles.resolve(&name).is_some(),
        };
        Ok(Slot { content: Content::Name(Name::of(&name)), in_catalogue })
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{CUTOFFS, METRICS, Metric};
    use super::*;
    use crate::testing::shared;

    fn name(title: &str) -> ItemName {
        ItemName { title: title.into(), ..ItemName::default() }
    }

    fn talk(id: &str, targets: &[&str], seen: &[&str]) -> Conversation {
        let names = |titles: &[&str]| titles.iter().map(|t| name(t)).collect();
        Conversation { id: id.into(), turns: Vec::new(), targets: names(targets), seen: names(seen) }
    }

    fn text(id: &str, text: &str) -> Answer {
        Answer { id: Some(id.into()), text: Some(text.into()), ..Answer::default() }
    }

    fn films() -> Items {
        catalogue(&["Heat", "Ronin", "Alien", "The Thing", "Up"].map(name)).unwrap()
    }

    #[test]
    fn the_four_variants_move_the_target_up_as_counted_by_hand() {
        let talks = [talk("a", &["The Thing"], &["Ronin"])];
        let answers = [text("a", "1. Ronin\n2. Some Unknown Film\n3. Heat\n4. The Thing")];
        let report = score_answers(&talks, &films(), &answers, Prefer::Text).unwrap();
        let v = &report.variants;
        // Rank 4 raw, 3 without Ronin, 3 without the unknown film, 2 without both.
        for (metrics, rank) in
            [(&v.raw, 4.0f64), (&v.seen_removed, 3.0), (&v.out_of_catalogue_removed, 3.0), (&v.both_removed, 2.0)]
        {
            assert_eq!(metrics.get(Metric::Mrr, 1).mean, 1.0 / rank);
            assert_eq!(metrics.get(Metric::Ndcg, 1).mean, 1.0 / (1.0f64 + rank).log2());
        }
        assert_eq!((report.n, report.titles, report.titles_in_catalogue), (1, 4, 3));
    }

    #[test]
    fn missing_and_extra_answers_are_counted_and_missing_ones_are_misses() {
        let talks = [talk("a", &["Heat"], &[]), talk("b", &["Up", "Nowhere"], &[]), talk("c", &["Up"], &["up"])];
        let answers = [text("a", "1. Heat"), text("c", "1. Up"), text("z", "1. Up")];
        let report = score_answers(&talks, &films(), &answers, Prefer::Text).unwrap();
        assert_eq!(
            (report.n, report.contexts, report.missing, report.extra, report.targets_in_catalogue),
            (3, 2, 1, 2, 2)
        );
        assert!((report.variants.raw.get(Metric::Recall, 0).mean - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(report.warnings.len(), 3, "{:?}", report.warnings);
    }

    #[test]
    fn what_cannot_be_joined_is_refused() {
        let talks = [talk("a", &["Heat"], &[]), talk("b", &["Up"], &[])];
        let refused = |answers: &[Answer], word: &str| {
            let e = score_answers(&talks, &films(), answers, Prefer::Text).unwrap_err();
            assert!(e.message().contains(word), "{e}");
        };
        refused(&[text("a", "x"), text("a", "y")], "two answers");
        refused(&[text("q", "x")], "none of the 1 answers");
        refused(&[Answer { text: Some("x".into()), ..Answer::default() }], "neither id nor index");
        refused(&[Answer { id: Some("a".into()), ..Answer::default() }], "neither \"text\" nor \"matched\"");
        let twice = [talk("a", &["Heat"], &[]), talk("a", &["Up"], &[])];
        assert!(score_answers(&twice, &films(), &[text("a", "x")], Prefer::Text).is_err());
        let nothing = [talk("a", &["Heat"], &["Heat"])];
        assert!(
            score_answers(&nothing, &films(), &[text("a", "x")], Prefer::Text)
                .unwrap_err()
                .message()
                .contains("nothing to score")
        );
        assert!(catalogue(&[]).is_err());
    }

    #[test]
    fn an_index_is_the_number_in_the_ids_or_the_line_whichever_fits() {
        let indexed = |index, text: &str| Answer { index: Some(index), text: Some(text.into()), ..Answer::default() };
        let talks = [talk("t/1", &["Heat"], &[]), talk("t/3", &["Up"], &[]), talk("t/4", &["Alien"], &[])];
        let by_suffix = [indexed(1, "1. Heat"), indexed(3, "1. Up"), indexed(4, "1. Alien")];
        let by_line = [indexed(0, "1. Heat"), indexed(1, "1. Up"), indexed(2, "1. Alien")];
        for (answers, joined_by) in [(by_suffix, "index in the id"), (by_line, "line")] {
            let report = score_answers(&talks, &films(), &answers, Prefer::Text).unwrap();
            assert_eq!(report.joined_by, joined_by);
            assert_eq!(report.variants.raw.get(Metric::Recall, 0).mean, 1.0);
        }
    }

    #[test]
    fn matched_titles_come_in_several_shapes() {
        let talks = [talk("a", &["The Thing"], &[])];
        let matched = serde_json::json!([
            {"said": "Roni", "nearest": "Ronin", "edit_distance": 1}, {"nearest": "Up", "edit_distance": 3}, null, "Heat", {"title": "The Thing", "year": 1982}
        ]);
        let answer =
            Answer { id: Some("a".into()), matched: serde_json::from_value(matched).unwrap(), ..Answer::default() };
        let report = score_answers(&talks, &films(), &[answer], Prefer::Text).unwrap();
        assert_eq!(report.variants.raw.get(Metric::Mrr, 1).mean, 1.0 / 5.0);
        assert_eq!(report.variants.both_removed.get(Metric::Mrr, 1).mean, 1.0 / 3.0);
        let bad = Answer { id: Some("a".into()), matched: Some(vec![Value::Bool(true)]), ..Answer::default() };
        assert!(score_answers(&talks, &films(), &[bad], Prefer::Matched).is_err());
    }

    #[test]
    fn the_published_numbers_come_back_from_the_matched_titles() {
        let Some(answers) = shared("data/llm_outputs/gpt4_inspired.jsonl") else { return };
        let Some(published) = shared("data/llm_outputs/gpt4_inspired_published.json") else { return };
        let Some(conversations) = shared("data/conversations/inspired_test.jsonl") else { return };
        let Some(items) = shared("data/conversations/inspired_items.jsonl") else { return };
        let report = score_answer_files(&conversations, &items, &answers, Prefer::Matched).unwrap();
        assert_eq!((report.n, report.contexts, report.missing, report.extra), (211, 191, 0, 37));
        let published: Value = serde_json::from_str(&artifact::read_text(&published).unwrap()).unwrap();
        let ours = serde_json::to_value(&report.variants).unwrap();
        let mut compared = 0;
        for (variant, values) in published["variants"].as_object().unwrap() {
            for (key, value) in values.as_object().unwrap() {
                let (theirs, ours) = (value.as_f64().unwrap(), ours[variant][key].as_f64().unwrap());
                assert!((theirs - ours).abs() < 1e-6, "{variant} {key}: published {theirs}, ours {ours}");
                compared += 1;
            }
        }
        assert_eq!(compared, 4 * 2 * METRICS.len() * CUTOFFS.len());
    }

    #[test]
    fn the_raw_text_of_the_same_answers_scores_within_a_standard_error_of_the_published_numbers() {
        let Some(answers) = shared("data/llm_outputs/gpt4_inspired.jsonl") else { return };
        let Some(conversations) = shared("data/conversations/inspired_test.jsonl") else { return };
        let Some(items) = shared("data/conversations/inspired_items.jsonl") else { return };
        let text = score_answer_files(&conversations, &items, &answers, Prefer::Text).unwrap();
        let matched = score_answer_files(&conversations, &items, &answers, Prefer::Matched).unwrap();
        assert_eq!((text.n, text.titles), (211, 191 * 20));
        for metric in METRICS {
            for k in 0..CUTOFFS.len() {
                let (a, b) = (text.variants.both_removed.get(metric, k), matched.variants.both_removed.get(metric, k));
                assert!((a.mean - b.mean).abs() < b.se, "{metric:?} {k}: {a:?} {b:?}");
            }
        }
    }
}
