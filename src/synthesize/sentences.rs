//! What the built-in teacher takes from reviews: one telling sentence, and the mood.

use std::collections::HashMap;

/// Words of a review → how one asks for it. The first column is looked for as a prefix of a word.
const MOODS: &[(&str, &str)] = &[
    ("funn", "funny"),
    ("hilarious", "really funny"),
    ("laugh", "funny"),
    ("silly", "silly"),
    ("scar", "scary"),
    ("creepy", "creepy"),
    ("terrif", "scary"),
    ("suspens", "suspenseful"),
    ("tense", "tense"),
    ("tension", "tense"),
    ("gripping", "gripping"),
    ("thrill", "thrilling"),
    ("exciting", "exciting"),
    ("romantic", "romantic"),
    ("heartwarming", "heartwarming"),
    ("touching", "touching"),
    ("moving", "moving"),
    ("emotional", "emotional"),
    ("sad", "sad"),
    ("dark", "dark"),
    ("gritty", "gritty"),
    ("violent", "violent"),
    ("clever", "clever"),
    ("smart", "smart"),
    ("witty", "witty"),
    ("thought", "thoughtful"),
    ("intelligent", "smart"),
    ("twist", "surprising"),
    ("beautiful", "beautiful"),
    ("charming", "charming"),
    ("classic", "classic"),
    ("epic", "epic"),
    ("magical", "magical"),
    ("weird", "weird"),
    ("strange", "strange"),
    ("relax", "relaxing"),
    ("light-hearted", "light-hearted"),
    ("family", "family friendly"),
    ("inspir", "inspiring"),
    ("comfort", "comfortable"),
    ("comfy", "comfortable"),
    ("durable", "durable"),
    ("sturdy", "sturdy"),
    ("lightweight", "lightweight"),
    ("warm", "warm"),
    ("soft", "soft"),
    ("stylish", "stylish"),
    ("elegant", "elegant"),
    ("pretty", "pretty"),
    ("cute", "cute"),
    ("affordable", "affordable"),
    ("cheap", "cheap"),
    ("waterproof", "waterproof"),
    ("quiet", "quiet"),
    ("easy", "easy to use"),
];

/// Words before a mood that turn it round.
const NOT: &[&str] =
    &["not", "isn't", "wasn't", "never", "no", "hardly", "without", "nothing", "don't", "didn't", "isnt", "wasnt"];

/// Moods that the reviews speak of, most often named first; ties in the order of the table.
pub(super) fn moods<'a>(reviews: impl Iterator<Item = &'a str>) -> Vec<&'static str> {
    let mut counts: Vec<(usize, &'static str)> = Vec::new();
    for review in reviews {
        let lower = review.to_lowercase();
        let mut back = ["", ""];
        for word in lower.split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '-'))).filter(|w| !w.is_empty()) {
            let negated = back.iter().any(|w| NOT.contains(w));
            if !negated && let Some((_, mood)) = MOODS.iter().find(|(stem, _)| word.starts_with(stem)) {
                match counts.iter_mut().find(|(_, m)| m == mood) {
                    Some(entry) => entry.0 += 1,
                    None => counts.push((1, mood)),
                }
            }
            back = [back[1], word];
        }
    }
    let order = |mood: &str| MOODS.iter().position(|(_, m)| *m == mood);
    counts.sort_by_key(|(n, mood)| (std::cmp::Reverse(*n), order(mood)));
    counts.into_iter().map(|(_, mood)| mood).collect()
}

/// Words too common to tell anything.
const COMMON: &[&str] = &[
    "the", "and", "that", "this", "with", "for", "was", "are", "but", "not", "you", "all", "his", "her", "they", "one",
    "it's", "have", "has", "had", "from", "who", "what", "when", "which", "there", "their", "will", "would", "can",
    "could", "just", "about", "than", "then", "them", "very", "more", "some", "out", "into", "also", "been", "were",
    "its", "movie", "film", "movies", "films", "product", "really", "watch", "see", "seen", "like", "get", "did",
    "does", "don't", "only", "even",
];

/// What praises or blames: a sentence with such a word is an opinion.
const OPINION: &[&str] = &[
    "love",
    "great",
    "good",
    "best",
    "funny",
    "beautiful",
    "amazing",
    "excellent",
    "perfect",
    "enjoy",
    "fun",
    "brilliant",
    "wonderful",
    "story",
    "plot",
    "acting",
    "characters",
    "action",
    "humor",
    "suspense",
    "ending",
    "music",
    "emotional",
    "scary",
    "comfortable",
    "quality",
    "fits",
    "works",
    "size",
    "color",
    "soft",
    "sturdy",
    "easy",
    "bad",
    "boring",
    "poor",
    "worst",
    "slow",
];

/// The most telling sentence of the reviews: of readable length, an opinion, rich in words that the reviews share, and
/// without the item's title. None when no sentence will do.
pub(super) fn telling<'a>(reviews: impl Iterator<Item = &'a str>, may_say: &dyn Fn(&str) -> bool) -> Option<String> {
    let reviews: Vec<&str> = reviews.collect();
    let mut shared: HashMap<String, u32> = HashMap::new();
    for review in &reviews {
        let mut once: Vec<String> = content_words(review).collect();
        once.sort_unstable();
        once.dedup();
        for word in once {
            *shared.entry(word).or_default() += 1;
        }
    }
    let mut best: Option<(f64, String)> = None;
    for (n, review) in reviews.iter().enumerate() {
        for sentence in split(review) {
            if !is_quotable(sentence) {
                continue;
            }
            let words: Vec<String> = content_words(sentence).collect();
            if words.len() < 3 || !may_say(sentence) {
                continue;
            }
            let opinions = words.iter().filter(|w| OPINION.iter().any(|o| w.starts_with(o))).count().min(3);
            let in_common = words.iter().filter(|w| shared.get(*w).is_some_and(|n| *n > 1)).count().min(4);
            let capitals = sentence.chars().filter(|c| c.is_uppercase()).count();
            // The selected review is the first: its sentences are preferred.
            let score =
                opinions as f64 + 0.5 * in_common as f64 - 0.25 * capitals as f64 + if n == 0 { 0.75 } else { 0.0 };
            if best.as_ref().is_none_or(|(top, _)| score > *top) {
                best = Some((score, super::prompts::defuse(sentence, 200)));
            }
        }
    }
    best.map(|(_, sentence)| sentence)
}

/// What complains: beginnings of words.
const COMPLAINTS: &[&str] = &[
    "bad",
    "boring",
    "bored",
    "awful",
    "terribl",
    "horribl",
    "waste",
    "disappoint",
    "poor",
    "worst",
    "slow",
    "dull",
    "hate",
    "annoy",
    "stupid",
    "predictable",
    "weak",
    "pointless",
    "mess",
    "overrated",
    "ridiculous",
    "unfunny",
    "fail",
    "broke",
    "cheap",
    "thin",
    "uncomfortable",
    "tight",
    "flimsy",
    "return",
    "noisy",
    "useless",
    "confus",
];

/// A sentence of a bad review that says what was wrong and for which `may_say` holds; none: it has none.
pub(super) fn complaint(review: &str, may_say: &dyn Fn(&str) -> bool) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for sentence in split(review) {
        let complaints = content_words(sentence).filter(|w| COMPLAINTS.iter().any(|c| w.starts_with(c))).count().min(3);
        let more = best.is_none_or(|(most, _)| complaints > most);
        if complaints > 0 && more && is_quotable(sentence) && may_say(sentence) {
            best = Some((complaints, sentence));
        }
    }
    best.map(|(_, sentence)| super::prompts::defuse(sentence, 200))
}

/// A sentence that can stand by itself in somebody's mouth.
fn is_quotable(sentence: &str) -> bool {
    (30..=160).contains(&sentence.chars().count())
        && !sentence.contains("http")
        && !sentence.contains(['{', '}', '<', '>', '"'])
        && sentence.chars().next().is_some_and(char::is_uppercase)
}

fn content_words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|w| w.len() > 2)
        .map(str::to_lowercase)
        .filter(|w| !COMMON.contains(&w.as_str()))
}

/// Sentences, with their final mark.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '!', '?', '\n']).map(str::trim).filter(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::leak::Mask;
    use super::*;

    #[test]
    fn a_mood_is_taken_from_the_reviews_unless_denied() {
        assert_eq!(
            moods(["So funny, and FUNNY again. A dark tale.", "not scary at all"].into_iter()),
            ["funny", "dark"]
        );
        assert!(moods([""].into_iter()).is_empty());
    }

    #[test]
    fn the_telling_sentence_is_an_opinion_without_the_title() {
        let mask = Mask::new("Big Fish");
        let review = "I went on Tuesday with my aunt to town. Big Fish has a great story and great acting. \
                      The story is wonderful and the music is beautiful. See http://x.y for more of great music.";
        assert_eq!(
            telling([review].into_iter(), &|s| !mask.leaks(s)).as_deref(),
            Some("The story is wonderful and the music is beautiful.")
        );
        assert_eq!(telling(["short. no."].into_iter(), &|s| !mask.leaks(s)), None);
    }

    #[test]
    fn a_complaint_is_what_was_wrong_without_the_titles() {
        let mask = Mask::new("Big Fish");
        let review = "I saw it with my aunt on a Tuesday. Big Fish is a boring waste of an evening, really. \
                      The ending was dull and the jokes were stupid. Good music though, and nice colours.";
        let want = "The ending was dull and the jokes were stupid.";
        let may_say = |sentence: &str| !mask.leaks(sentence);
        assert_eq!(complaint(review, &may_say).as_deref(), Some(want));
        assert_eq!(complaint("A lovely evening with nothing to complain of at all.", &may_say), None);
    }
}
