//! What is not worth training on: dialogues that are dropped once they stand, each for one reason, which is counted.
//!
//! All of what users say is looked at, in dialogues of several turns as well. Lists are what they are: that two dialogues have
//! the same one, or that it names the seed's item, is no fault.

mod copies;
mod language;
mod near_duplicates;

use super::leak::Mask;
use super::length::tokens_of;
use super::words::words_of;
use crate::config::SynthesizeConfig;
use crate::dataset::{Act, Dataset, Dialogue, Seed};
use crate::error::Result;
use crate::run::Run;
use crate::titles::{Titles, list_number};
use copies::Copies;
use language::Language;
use near_duplicates::NearDuplicates;
use std::collections::BTreeMap;

/// Tokens that a chat template adds to a message, about.
const MESSAGE_TOKENS: usize = 5;

/// The filters of some settings.
pub(super) struct Filters<'a> {
    dataset: &'a Dataset,
    language: Option<Language>,
    /// Titles are in any language, and stand in reviews as well as in requests; none: nobody asks for them.
    titles: Option<Titles>,
    /// Words in a row of a review at most; none: any number.
    copied_words: Option<usize>,
    dialogue_tokens: usize,
    near: NearDuplicates,
}

/// Whether `code` (`synthesize.language`) can be looked for.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for a code that is not known.
pub(super) fn check_language(code: &str) -> Result<()> {
    Language::of(code).map(drop)
}

/// What users say in a dialogue, a turn each.
pub(super) fn said(dialogue: &Dialogue) -> impl Iterator<Item = &str> {
    dialogue.messages.iter().filter(|m| m.role == "user").map(|m| m.content.as_str())
}

/// Tokens of a whole dialogue, by estimate.
pub(super) fn dialogue_tokens(dialogue: &Dialogue) -> usize {
    dialogue.messages.iter().map(|m| tokens_of(&m.content) + MESSAGE_TOKENS).sum()
}

impl<'a> Filters<'a> {
    /// `quotes`: the teacher quotes reviews on purpose.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a language that is not known.
    pub(super) fn new(dataset: &'a Dataset, config: &SynthesizeConfig, quotes: bool) -> Result<Filters<'a>> {
        let language = Language::of(&config.language)?;
        let copied_words = (config.copied_words > 0 && !quotes).then_some(config.copied_words);
        Ok(Filters {
            dataset,
            titles: (language.is_some() || copied_words.is_some()).then(|| Titles::of(dataset)),
            language,
            copied_words,
            dialogue_tokens: config.dialogue_tokens,
            near: NearDuplicates::new(config.near_duplicates),
        })
    }

    /// The rows that stay, in order; what is dropped is counted by reason.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub(super) fn keep(
        mut self,
        rows: Vec<Dialogue>,
        dropped: &mut BTreeMap<String, u64>,
        run: &Run,
    ) -> Result<Vec<Dialogue>> {
        let mut kept = Vec::with_capacity(rows.len());
        // Dialogues of one seed follow each other.
        let mut copies: Option<(Seed, Copies)> = None;
        for row in rows {
            run.check()?;
            if let (Some(most), Some(seed)) = (self.copied_words, &row.seed)
                && copies.as_ref().is_none_or(|(of, _)| of != seed)
            {
                copies = Some((seed.clone(), self.copies(seed, most)));
            }
            match self.fault(&row, copies.as_ref().filter(|(of, _)| row.seed.as_ref() == Some(of)).map(|(_, c)| c)) {
                Some(why) => *dropped.entry(why.to_string()).or_default() += 1,
                None => kept.push(row),
            }
        }
        Ok(kept)
    }

    /// Why a dialogue is dropped; none: it is kept. Duplicates come last, so that what is dropped for another reason stands
    /// in nobody's way.
    fn fault(&mut self, row: &Dialogue, copies: Option<&Copies>) -> Option<&'static str> {
        let said: Vec<&str> = said(row).collect();
        if row.seed.as_ref().is_some_and(|seed| self.names_its_seed(row, seed)) {
            return Some("dialogues that name the seed's item");
        }
        if let Some(titles) = &self.titles {
            let bare: Vec<String> = said.iter().map(|text| without_titles(text, titles)).collect();
            if self.language.as_ref().is_some_and(|language| language.is_not_of(&bare.join("\n"))) {
                return Some("dialogues in another language");
            }
            if copies.is_some_and(|copies| bare.iter().any(|text| copies.are_in(text))) {
                return Some("dialogues that copy a review");
            }
        }
        if self.dialogue_tokens > 0 && dialogue_tokens(row) > self.dialogue_tokens {
            return Some("dialogues too long");
        }
        let words: Vec<String> = said.iter().flat_map(|text| words_of(text)).collect();
        (!self.near.is_new(&words)).then_some("dialogues nearly repeated")
    }

    fn copies(&self, seed: &Seed, most: usize) -> Copies {
        let rows = seed.reviews.iter().filter_map(|row| usize::try_from(*row).ok());
        let rows = rows.filter(|row| *row < self.dataset.reviews()).collect::<Vec<_>>();
        let texts = rows.iter().flat_map(|row| [self.dataset.review_title(*row), self.dataset.review_text(*row)]);
        Copies::new(texts, most)
    }

    /// Whether the seed's title, where it is an answer, is said before a list names it: afterwards it gives nothing away, and
    /// neither does the name of what is to be avoided.
    fn names_its_seed(&self, row: &Dialogue, seed: &Seed) -> bool {
        let answer = self.dataset.items.find(&seed.item).filter(|_| row.items.contains(&seed.item));
        let Some(item) = answer else { return false };
        let mask = Mask::new(self.dataset.items.label(item as usize));
        let list_at = row.messages.iter().rposition(|m| m.role == "assistant");
        for (n, message) in row.messages.iter().enumerate() {
            // The list names it: `items` say so. A title of one word that begins a line is not found by its text.
            let free = |line: &&str| list_number(line).is_none() && mask.leaks(line);
            if Some(n) == list_at {
                return message.content.lines().any(|line| free(&line));
            }
            // Who suggests it by name answers with it.
            let suggests = row.labels.get(n).is_some_and(|label| matches!(label.act, Act::Suggest | Act::List));
            let listed = |line: &&str| message.role == "assistant" && (suggests || list_number(line).is_some());
            if message.content.lines().filter(listed).any(|line| mask.leaks(line)) {
                return false;
            }
            let free: Vec<&str> = message.content.lines().filter(|line| !listed(line)).collect();
            if mask.leaks(&free.join("\n")) {
                return true;
            }
        }
        false
    }
}

/// The text without the titles that it names.
fn without_titles(text: &str, titles: &Titles) -> String {
    let mut out = String::new();
    let mut at = 0;
    for mention in titles.find(text) {
        if let Some(before) = text.get(at..mention.start) {
            out.push_str(before);
            out.push(' ');
            at = mention.end;
        }
    }
    out.push_str(text.get(at..).unwrap_or(""));
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::dataset;
    use super::*;
    use crate::dataset::{Message, MessageLabel};

    fn dialogue(seed: Option<u32>, messages: &[&str]) -> Dialogue {
        let role = |n: usize| if n & 1 == 0 { "user" } else { "assistant" };
        Dialogue {
            id: messages.join("|"),
            messages: messages
                .iter()
                .enumerate()
                .map(|(n, text)| Message { role: role(n).into(), content: text.to_string() })
                .collect(),
            labels: Vec::new(),
            items: seed.map(|item| format!("i{item}")).into_iter().collect(),
            out_of_catalogue: Vec::new(),
            seed: seed.map(|item| Seed { row: 0, item: format!("i{item}"), reviews: vec![0, 1, 99_999_999] }),
            teacher: "t".into(),
            round: 0,
        }
    }

    fn kept(config: &SynthesizeConfig, quotes: bool, rows: &[Dialogue]) -> (usize, BTreeMap<String, u64>) {
        let data = dataset();
        let mut dropped = BTreeMap::new();
        let filters = Filters::new(&data, config, quotes).unwrap();
        let kept = filters.keep(rows.to_vec(), &mut dropped, &Run::new(1).unwrap()).unwrap();
        (kept.len(), dropped)
    }

    #[test]
    fn every_turn_of_a_user_is_looked_at_and_lists_are_not() {
        let list = "1. The Garden of Alma (1990)\n2. The Tower of Alma (1991)";
        // Of two turns, which differ in one word of the second, with the same list.
        let first =
            ["I want a slow drama with a garden in it, please", list, "Less sad than those, and from the nineties"];
        let second = [first[0], list, "Less sad than those, and from the eighties"];
        let rows = [first, second].map(|turns| dialogue(None, &[turns[0], turns[1], turns[2], list]));
        let (count, dropped) = kept(&SynthesizeConfig::default(), false, &rows);
        assert_eq!((count, dropped["dialogues nearly repeated"]), (1, 1));
        let other = dialogue(
            None,
            &["Anything with a big fight at its end?", list, "Shorter than those, my evening is short", list],
        );
        let (count, dropped) = kept(&SynthesizeConfig::default(), false, &[rows[0].clone(), other]);
        assert_eq!((count, dropped.len()), (2, 0), "the same lists are no fault");
    }

    /// `The Garden of Alma` is item 0 of the test's dataset.
    #[test]
    fn the_seeds_title_is_a_fault_until_a_list_names_it() {
        let list = "Here you are:\n1. The Garden of Alma (1990)";
        let other = "Nothing like the Garden of Alma:\n1. The Tower of Alma (1991)";
        for (messages, fault) in [
            (["Something quiet?", list, "Not the Garden of Alma, another", list], false),
            (["Like the garden of Alma?", list, "Another?", list], true),
            (["Something quiet?", other, "Another?", list], true),
            (["Something quiet?", "1. The Tower of Alma (1991)", "Is The Garden of Alma good?", list], true),
        ] {
            let (count, dropped) = kept(&SynthesizeConfig::default(), false, &[dialogue(Some(0), &messages)]);
            assert_eq!(count, usize::from(!fault), "{messages:?}: {dropped:?}");
            assert_eq!(dropped.contains_key("dialogues that name the seed's item"), fault);
            // What is to be avoided may be named, and so may another item.
            let avoided = Dialogue { items: vec!["i9".into()], ..dialogue(Some(0), &messages) };
            assert_eq!(kept(&SynthesizeConfig::default(), false, &[avoided]).0, 1);
            assert_eq!(kept(&SynthesizeConfig::default(), false, &[dialogue(Some(7), &messages)]).0, 1);
        }
    }

    /// In a dialogue of several turns the recommender suggests items by name.
    #[test]
    fn a_suggestion_is_an_answer_and_a_question_is_none() {
        let said =
            ["Something quiet?", "How about The Garden of Alma?", "I have seen it.", "1. The Garden of Alma (1990)"];
        for (act, count) in [(Act::Suggest, 1), (Act::Ask, 0)] {
            let labels = [Act::Open, act, Act::Tell, Act::List].map(MessageLabel::new).to_vec();
            let row = Dialogue { labels, ..dialogue(Some(0), &said) };
            assert_eq!(kept(&SynthesizeConfig::default(), false, &[row]).0, count, "{act:?}");
        }
    }

    /// Of 3,988 dialogues 300 were dropped: a title of one word was not seen at the beginning of a list's line, and so the user's
    /// thanks gave it away.
    #[test]
    fn thanks_for_a_title_of_one_word_are_no_leak() {
        let mut data = dataset();
        data.add_item(&crate::dataset::Item { id: "one".into(), title: "Alien".into(), ..Default::default() }).unwrap();
        let faults = |messages: &[&str]| {
            let mut row = dialogue(Some(0), messages);
            row.items = vec!["one".into()];
            row.seed = Some(Seed { item: "one".into(), ..Seed::default() });
            let (mut dropped, run) = (BTreeMap::new(), Run::new(1).unwrap());
            let filters = Filters::new(&data, &SynthesizeConfig::default(), true).unwrap();
            filters.keep(vec![row], &mut dropped, &run).unwrap().is_empty()
        };
        assert!(!faults(&["Something in space?", "1. Alien", "Oh, Alien! Thanks"]));
        assert!(faults(&["Something like Alien?", "1. Alien", "Thanks"]));
        assert!(faults(&["Something in space?", "It can only be Alien:\n1. Alien", "Thanks"]));
    }

    #[test]
    fn copies_other_languages_and_long_dialogues_are_dropped_where_asked_for() {
        // The first review: "The story number 0 is really funny and the acting is great. Nothing {styles} was 0."
        let copy = dialogue(
            Some(3),
            &["Where the story number 0 is really funny and the acting is great, nothing less", "1. X"],
        );
        let config = SynthesizeConfig { copied_words: 12, ..Default::default() };
        assert_eq!(kept(&config, false, std::slice::from_ref(&copy)).1["dialogues that copy a review"], 1);
        assert_eq!(kept(&config, true, std::slice::from_ref(&copy)).0, 1, "who quotes on purpose may");
        // Thirteen words are shared.
        for copied_words in [0, 13] {
            assert_eq!(
                kept(&SynthesizeConfig { copied_words, ..Default::default() }, false, std::slice::from_ref(&copy)).0,
                1
            );
        }
        // A title in another language does not make it one.
        let german = dialogue(
            None,
            &[
                "Ich suche einen ruhigen Film über zwei Brüder, die einen kleinen Hof bewirtschaften, bitte nicht zu traurig, wie The Garden of Alma",
                "",
            ],
        );
        for (language, dropped) in [("en", 1), ("de", 0), ("", 0)] {
            let config = SynthesizeConfig { language: language.into(), ..Default::default() };
            let (_, counts) = kept(&config, false, std::slice::from_ref(&german));
            assert_eq!(counts.get("dialogues in another language").copied().unwrap_or(0), dropped, "{language}");
        }
        // 60 characters are 20 tokens, and each message takes five more.
        let long = dialogue(None, &[&"abcde ".repeat(10), &"abcde ".repeat(10)]);
        assert_eq!(dialogue_tokens(&long), 50);
        for (most, count) in [(50, 1), (49, 0), (0, 1)] {
            assert_eq!(
                kept(
                    &SynthesizeConfig { dialogue_tokens: most, ..Default::default() },
                    false,
                    std::slice::from_ref(&long)
                )
                .0,
                count
            );
        }
    }

    #[test]
    fn an_unknown_language_is_refused() {
        let config = SynthesizeConfig { language: "klingon".into(), ..Default::default() };
        assert!(Filters::new(&dataset(), &config, false).is_err());
    }
}
