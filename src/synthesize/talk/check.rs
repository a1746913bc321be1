//! A teacher's words for a plan: read, and held against it.

use super::outline::PlannedMessage;
use crate::dataset::Dataset;
use crate::synthesize::leak::{Mask, spoken};
use crate::synthesize::queries::parse_entries;
use crate::titles::Titles;

/// Characters of one message at most.
const CHARS_MOST: usize = 600;

/// Who speaks, as an answer may write it before a line.
const SPEAKERS: [&str; 7] = ["user", "recommender", "assistant", "system", "customer", "seeker", "shop assistant"];

/// The lines of an answer, in order, without their numbers and speakers.
pub(in crate::synthesize) fn read_lines(answer: &str) -> Vec<String> {
    parse_entries(answer).iter().map(|line| without_speaker(line).to_string()).collect()
}

fn without_speaker(line: &str) -> &str {
    let bare = line.trim().trim_start_matches(['*', '_']);
    let speaker = SPEAKERS.iter().find_map(|name| {
        let head = bare.get(..name.len())?;
        let rest = bare[name.len()..].trim_start_matches(['*', '_']);
        head.eq_ignore_ascii_case(name).then(|| rest.strip_prefix(':')).flatten()
    });
    speaker.map_or(line.trim(), |rest| rest.trim_start_matches(['*', '_', ' ']).trim())
}

/// Whether a teacher's words for a message name what it must name, nothing else of the catalogue, and not the target (where
/// `target` is given).
pub(in crate::synthesize) fn says(
    words: &str,
    planned: &PlannedMessage,
    target: Option<&Mask>,
    dataset: &Dataset,
    titles: &Titles,
) -> bool {
    let length = words.chars().count();
    if !(2..=CHARS_MOST).contains(&length) || !words.chars().any(char::is_alphanumeric) {
        return false;
    }
    let found = titles.rows(words);
    let named = planned.named.iter().all(|item| {
        let title = spoken(dataset.items.label(*item as usize));
        found.contains(item) || Mask::new(&title).leaks(words) || words.to_lowercase().contains(&title.to_lowercase())
    });
    // A film called "Great" is in the draft's own "great" too.
    let in_draft = titles.rows(&planned.draft);
    let others = found.iter().any(|item| !planned.named.contains(item) && !in_draft.contains(item));
    named && !others && !target.is_some_and(|mask| mask.leaks(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Act, Item, MessageLabel};

    #[test]
    fn lines_lose_their_numbers_and_speakers_but_not_their_words() {
        let answer = "Sure:\n1. User: Hi there\n2. **Recommender:** How about Heat (1995)?\n3. Thanks!\n4. Thanks!";
        assert_eq!(read_lines(answer), ["Hi there", "How about Heat (1995)?", "Thanks!", "Thanks!"]);
        assert_eq!(read_lines(r#"{"requests": ["user: a", "b"]}"#), ["a", "b"]);
        assert_eq!(read_lines("1. User friendly: yes"), ["User friendly: yes"]);
        assert!(read_lines("").is_empty());
    }

    #[test]
    fn words_that_name_another_item_or_the_target_are_not_what_was_planned() {
        let mut data = Dataset::default();
        for (id, title) in [("a", "Blade Runner"), ("b", "The Garden of Alma"), ("c", "Big Fish")] {
            data.add_item(&Item { id: id.into(), title: title.into(), year: Some(1990), ..Default::default() })
                .unwrap();
        }
        let titles = Titles::of(&data);
        let planned = PlannedMessage {
            role: "assistant",
            label: MessageLabel::new(Act::Suggest),
            named: vec![0],
            draft: "How about Blade Runner?".into(),
        };
        let target = Mask::new("Big Fish");
        let says = |words: &str| says(words, &planned, Some(&target), &data, &titles);
        assert!(says("Have you come across blade runner yet?"));
        assert!(!says("Have you come across that one?"));
        assert!(!says("Blade Runner, or The Garden of Alma?"));
        assert!(!says("Blade Runner is no Big Fish."));
        assert!(!says(&format!("Blade Runner {}", "very ".repeat(200))));
        assert!(!says("?"));
    }
}
