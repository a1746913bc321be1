//! A teacher's words for a plan: read, and held against it.

use super::outline::PlannedMessage;
use crate::dataset::{Dataset, Polarity};
use crate::synthesize::leak::{Mask, spoken};
use crate::synthesize::queries::parse_entries;
use crate::titles::Titles;

/// Characters of one message at most.
const CHARS_MOST: usize = 600;

/// Who speaks, as an answer may write it before a line, and whose messages these are.
const SPEAKERS: [(&str, &str); 9] = [
    ("user", "user"),
    ("customer", "user"),
    ("seeker", "user"),
    ("reader", "user"),
    ("recommender", "assistant"),
    ("assistant", "assistant"),
    ("system", "assistant"),
    ("shop assistant", "assistant"),
    ("bookseller", "assistant"),
];

/// What is said of things that are not liked: in words, as parts of them.
const AGAINST: [&str; 24] = [
    "hate",
    "dislike",
    "didn't",
    "didn’t",
    "did not",
    "don't",
    "don’t",
    "do not",
    "couldn't",
    "couldn’t",
    "could not",
    "not for",
    "wasn't",
    "wasn’t",
    "was not",
    "nothing like",
    "awful",
    "terrible",
    "horrible",
    "boring",
    "disappoint",
    "worst",
    "gave up",
    "not happy",
];

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::synthesize) struct Line {
    /// Whose it says it is: `user` or `assistant`; none: it does not say.
    pub role: Option<&'static str>,
    /// The words.
    pub words: String,
}

/// The lines of an answer, in order, without their numbers and speakers.
pub(in crate::synthesize) fn read_lines(answer: &str) -> Vec<Line> {
    parse_entries(answer).iter().map(|line| parted(line)).collect()
}

fn parted(line: &str) -> Line {
    let bare = line.trim().trim_start_matches(['*', '_']);
    let speaker = SPEAKERS.iter().find_map(|(name, role)| {
        let head = bare.get(..name.len())?;
        let rest = bare[name.len()..].trim_start_matches(['*', '_']);
        let rest = head.eq_ignore_ascii_case(name).then(|| rest.strip_prefix(':')).flatten()?;
        Some((*role, rest.trim_start_matches(['*', '_', ' ']).trim()))
    });
    match speaker {
        Some((role, words)) => Line { role: Some(role), words: words.to_string() },
        None => Line { role: None, words: line.trim().to_string() },
    }
}

/// Whether a teacher's words for a message name what it must name (titles, and what is not wanted), nothing else of the
/// catalogue, and not the target (where `target` is given); and whether they speak against something where, and only where,
/// something is disliked or not wanted. Finer meanings are not looked at.
pub(in crate::synthesize) fn says(
    line: &Line,
    planned: &PlannedMessage,
    target: Option<&Mask>,
    dataset: &Dataset,
    titles: &Titles,
) -> bool {
    let words = line.words.as_str();
    if line.role.is_some_and(|role| role != planned.role) {
        return false;
    }
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
    let lower = words.to_lowercase();
    let wants = planned.label.unwanted.iter().all(|name| lower.contains(&name.to_lowercase()));
    named && !others && wants && speaks_alike(&lower, planned) && !target.is_some_and(|mask| mask.leaks(words))
}

/// Likes where the plan likes, and dislikes where it dislikes.
fn speaks_alike(lower: &str, planned: &PlannedMessage) -> bool {
    let of = |polarity: Polarity| planned.label.mentions.iter().any(|m| m.polarity == polarity);
    let against = |text: &str| AGAINST.iter().any(|part| text.contains(part));
    match (of(Polarity::Liked), of(Polarity::Disliked)) {
        (true, false) => !against(lower) || against(&planned.draft.to_lowercase()),
        (false, true) => {
            against(lower) || [" no ", "no,", "not "].iter().any(|part| format!(" {lower}").contains(part))
        }
        (true, true) | (false, false) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Act, Item, MentionLabel, MessageLabel};

    #[test]
    fn lines_lose_their_numbers_and_speakers_but_not_their_words() {
        let answer = "Sure:\n1. User: Hi there\n2. **Recommender:** How about Heat (1995)?\n3. Thanks!\n4. Thanks!";
        let words = |answer: &str| read_lines(answer).into_iter().map(|line| line.words).collect::<Vec<_>>();
        assert_eq!(words(answer), ["Hi there", "How about Heat (1995)?", "Thanks!", "Thanks!"]);
        let roles: Vec<Option<&str>> = read_lines(answer).iter().map(|line| line.role).collect();
        assert_eq!(roles, [Some("user"), Some("assistant"), None, None]);
        assert_eq!(words(r#"{"requests": ["user: a", "b"]}"#), ["a", "b"]);
        assert_eq!(words("1. User friendly: yes"), ["User friendly: yes"]);
        assert!(words("").is_empty());
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
        let line = |role, words: &str| Line { role, words: words.into() };
        let says = |words: &str| super::says(&line(None, words), &planned, Some(&target), &data, &titles);
        assert!(says("Have you come across blade runner yet?"));
        assert!(!says("Have you come across that one?"));
        assert!(!says("Blade Runner, or The Garden of Alma?"));
        assert!(!says("Blade Runner is no Big Fish."));
        assert!(!says(&format!("Blade Runner {}", "very ".repeat(200))));
        assert!(!says("?"));
        // In another's mouth.
        let own = line(Some("user"), "Have you come across Blade Runner?");
        assert!(!super::says(&own, &planned, None, &data, &titles));
    }

    #[test]
    fn words_that_turn_the_meaning_round_are_not_what_was_planned() {
        let data = Dataset::default();
        let titles = Titles::of(&data);
        let says = |words: &str, polarity, unwanted: &[&str]| {
            let mut label = MessageLabel::new(Act::Seen);
            label.mentions.push(MentionLabel { item: "a".into(), polarity });
            label.unwanted = unwanted.iter().map(|u| (*u).to_string()).collect();
            let planned = PlannedMessage { role: "user", label, named: Vec::new(), draft: "Yes, I know it.".into() };
            super::says(&Line { role: None, words: words.into() }, &planned, None, &data, &titles)
        };
        assert!(says("I saw it twice and loved it", Polarity::Liked, &[]));
        assert!(!says("I hated every minute of it", Polarity::Liked, &[]));
        assert!(says("I really did not enjoy it", Polarity::Disliked, &[]));
        assert!(!says("I adored it", Polarity::Disliked, &[]));
        assert!(says("Please no Horror tonight", Polarity::Neutral, &["Horror"]));
        assert!(!says("Something else please", Polarity::Neutral, &["Horror"]));
    }
}
