//! The three scores of a judge's answer, in whatever form it gives them: JSON, `grounded: 4`, `4/5`, three numbers in a row.
//! What is not a whole number from 1 to 5 is no score: an 8 of ten is not a 5.

use super::super::choice::digits_in_ascii;
use crate::titles::{Json, clean_answer, is_left_out, read_json};

/// What is judged, in order.
pub(in crate::synthesize) const CRITERIA: [&str; 3] = ["grounded", "natural", "fits"];
/// The beginnings by which they are known in answers: `groundedness`, `naturalness`, `fit of the list`.
const STEMS: [&str; 3] = ["ground", "natur", "fit"];
/// The highest score.
pub(in crate::synthesize) const BEST: u8 = 5;
/// Words around three numbers in a row, at most.
const WORDS_MOST: usize = 9;
/// Bytes of an answer that are looked at.
const MOST_BYTES: usize = 1 << 16;

/// The scores of an answer, in the order of [`CRITERIA`]; none: they cannot be read. Never panics.
pub(super) fn parse_scores(answer: &str) -> Option<[u8; 3]> {
    let text = clean_answer(answer).into_text();
    let text = digits_in_ascii(&text[..text.floor_char_boundary(MOST_BYTES)]);
    let json = text.find(['{', '[']).and_then(|at| read_json(&text[at..])).and_then(|(value, _)| of_json(&value, 0));
    json.or_else(|| named(&text)).or_else(|| in_a_row(&text))
}

fn score(number: f64) -> Option<u8> {
    (number.fract() == 0.0 && (1.0..=f64::from(BEST)).contains(&number)).then_some(number as u8)
}

/// `4`, `4/5`, `4 out of 5`, `four`, `4.0`, with marks around it.
fn score_in(text: &str) -> Option<u8> {
    let bare = text.trim_matches(|c: char| !c.is_alphanumeric());
    let lower = bare.to_lowercase();
    let word = lower.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    if let Some(at) = ["one", "two", "three", "four", "five"].iter().position(|name| *name == word) {
        return Some(at as u8 + 1);
    }
    let (number, behind) = leading(bare)?;
    match of_how_many(behind) {
        // Of ten: another scale.
        Some((of, _)) if of != f64::from(BEST) => None,
        Some(_) | None => score(number),
    }
}

/// The number that a text begins with, and what follows.
fn leading(text: &str) -> Option<(f64, &str)> {
    let whole = text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = whole;
    let decimals = text[whole..].strip_prefix('.').map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    if let Some(decimals) = decimals.filter(|decimals| *decimals > 0) {
        length += 1 + decimals;
    }
    let number = text.get(..length).filter(|_| (1..8).contains(&whole))?.parse().ok()?;
    Some((number, &text[length..]))
}

/// `/5`, ` out of 5`, ` of 5`: the scale behind a score, and what follows it.
fn of_how_many(behind: &str) -> Option<(f64, &str)> {
    let behind = behind.trim_start();
    let of = ["/", "out of", "of", "von", "sur", "de", "из"].iter().find_map(|mark| behind.strip_prefix(mark))?;
    leading(of.trim_start())
}

/// Of `{"grounded": 4, …}`, `{"scores": {…}}`, `[4, 5, 3]`, `{"grounded": {"score": 4, "reason": "…"}}`.
fn of_json(value: &Json, depth: usize) -> Option<[u8; 3]> {
    let one = |value: &Json| match value {
        Json::Number(number) => score(*number),
        Json::Text(text) => score_in(text),
        Json::Object(fields) => {
            let named =
                fields.iter().find(|(key, _)| ["score", "value", "rating"].contains(&key.to_lowercase().as_str()));
            match named.map(|(_, value)| value) {
                Some(Json::Number(number)) => score(*number),
                Some(Json::Text(text)) => score_in(text),
                Some(Json::Null | Json::Bool | Json::List(_) | Json::Object(_)) | None => None,
            }
        }
        Json::Null | Json::Bool | Json::List(_) => None,
    };
    let three = |values: &[&Json]| match values {
        [a, b, c] => Some([one(a)?, one(b)?, one(c)?]),
        _ => None,
    };
    match value {
        Json::List(list) => three(&list.iter().collect::<Vec<_>>()),
        Json::Object(fields) => {
            let fields: Vec<&(String, Json)> = fields.iter().filter(|(key, _)| !is_left_out(key)).collect();
            let of = |stem: &str| {
                let found = fields.iter().find(|(key, _)| key.trim().to_lowercase().starts_with(stem));
                found.map(|(_, value)| value)
            };
            if let [Some(a), Some(b), Some(c)] = STEMS.map(of) {
                return three(&[a, b, c]);
            }
            // Under names of its own, in the order that was asked for; or one deeper.
            let values: Vec<&Json> = fields.iter().map(|(_, value)| value).collect();
            let deeper = || values.iter().filter(|_| depth < 3).find_map(|value| of_json(value, depth + 1));
            three(&values).or_else(deeper)
        }
        Json::Null | Json::Bool | Json::Number(_) | Json::Text(_) => None,
    }
}

/// `Grounded: 4. Natural: 5/5 …`: the first number behind each name, before the next name. A name that is given twice counts
/// where it stands last: reasons come before scores.
fn named(text: &str) -> Option<[u8; 3]> {
    let lower = text.to_lowercase();
    let starts_word = |at: usize| !lower[..at].chars().next_back().is_some_and(char::is_alphanumeric);
    let mut names: Vec<(usize, usize)> = Vec::new();
    for (criterion, stem) in STEMS.iter().enumerate() {
        names.extend(lower.match_indices(stem).filter(|(at, _)| starts_word(*at)).map(|(at, _)| (at, criterion)));
    }
    names.sort_unstable();
    let mut found: [Option<Option<u8>>; 3] = [None; 3];
    for (n, (at, criterion)) in names.iter().enumerate() {
        let end = names.get(n + 1).map_or(lower.len(), |(next, _)| *next);
        let behind = lower[*at..end].trim_start_matches(char::is_alphabetic);
        // Words count as numbers right behind the name alone.
        let direct = score_in(behind.split(['\n', ',', ';']).next().unwrap_or(""));
        let number = || behind.find(|c: char| c.is_ascii_digit()).map(|at| score_in(&behind[at..]));
        if let Some(score) = direct.map(Some).or_else(number) {
            found[*criterion] = Some(score);
        }
    }
    let [a, b, c] = found;
    Some([a??, b??, c??])
}

/// Three numbers and no other, in the order that was asked for: `4, 5, 3`, `4/5 5/5 3/5`, or a list with ranks.
fn in_a_row(text: &str) -> Option<[u8; 3]> {
    // A sentence that holds three numbers is none of scores: "reviews 1, 2 and 3 do not let me judge".
    let words = |text: &str| text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).count();
    let behind = text.rfind(|c: char| c.is_ascii_digit()).map_or("", |at| &text[at + 1..]);
    if words(text) > WORDS_MOST || words(behind) > 1 {
        return None;
    }
    let (mut numbers, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (number, behind) = leading(&rest[at..])?;
        let (of, behind) = of_how_many(behind).map_or((None, behind), |(of, behind)| (Some(of), behind));
        if of.is_some_and(|of| of != f64::from(BEST)) {
            return None;
        }
        numbers.push(number);
        rest = behind;
    }
    let ranked = numbers.len() == 6 && [0, 2, 4].iter().enumerate().all(|(n, at)| numbers[*at] == n as f64 + 1.0);
    match (ranked, numbers.as_slice()) {
        (true, [_, a, _, b, _, c]) | (false, [a, b, c]) => Some([score(*a)?, score(*b)?, score(*c)?]),
        (true | false, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_read_in_every_form_that_models_give_them() {
        for answer in [
            r#"{"grounded": 4, "natural": 5, "fits": 3}"#,
            r#"{"fits": 3, "natural": "5", "grounded": 4.0}"#,
            r#"{"scores": {"grounded": 4, "natural": 5, "fits": 3}}"#,
            r#"{"groundedness": {"score": 4, "reason": "it follows from review 2"}, "naturalness": {"score": 5}, "fit": {"score": "3/5"}}"#,
            r#"{"a": 4, "b": 5, "c": 3}"#,
            "```json\n[4, 5, 3]\n```",
            "grounded: 4, natural: 5, fits: 3",
            "**Grounded:** 4/5\n**Natural:** 5/5\n**Fits:** 3/5",
            "Grounded: four\nNatural: five\nFits: three",
            "grounded = 4 out of 5; natural = 5 out of 5; fits = 3 out of 5",
            "The request is grounded in reviews 1 and 2, and natural, and it fits.\n\nGrounded: 4\nNatural: 5\nFits: 3",
            "4, 5, 3",
            "4 5 3",
            "4/5, 5/5, 3/5",
            "1. 4\n2. 5\n3. 3",
            "<think>grounded: 1, natural: 1, fits: 1?</think>grounded: 4, natural: 5, fits: 3",
            "４、５、３",
            "Fundiert 4, natürlich 5, passend 3",
            "根拠：4、自然さ：5、適合：3",
        ] {
            assert_eq!(parse_scores(answer), Some([4, 5, 3]), "{answer}");
        }
    }

    /// A judge that refused was read as 1, 2 and 3, and all dialogues were dropped.
    #[test]
    fn a_sentence_with_three_numbers_is_no_judgement() {
        assert_eq!(parse_scores("I am sorry: reviews 1, 2 and 3 do not let me judge this conversation."), None);
        assert_eq!(parse_scores("Reviews 1, 2 and 3 say nothing."), None);
        assert_eq!(parse_scores("4, 5 and 3"), Some([4, 5, 3]));
        assert_eq!(parse_scores("Scores: 4/5, 5 out of 5, 3"), Some([4, 5, 3]));
    }

    #[test]
    fn what_is_no_score_from_1_to_5_is_none() {
        for answer in [
            "",
            "I cannot judge that.",
            "very good, very good, poor",
            "申し訳ありませんが、評価できません。",
            "grounded: 0, natural: 5, fits: 3",
            "grounded: 6, natural: 5, fits: 3",
            "grounded: 8/10, natural: 9/10, fits: 7/10",
            "4.5, 5, 3",
            "-4, 12, 3",
            "4, 5",
            "4, 5, 3, 2",
            "grounded: 4, natural: 5",
            r#"{"grounded": 4, "natural": 5}"#,
            r#"{"grounded": "high", "natural": 5, "fits": 3}"#,
            r#"{"grounded": null, "natural": 5, "fits": 3}"#,
            "[4, 5, 30]",
            "999999999999999999999, 5, 3",
        ] {
            assert_eq!(parse_scores(answer), None, "{answer}");
        }
        // Endless, and deep.
        assert_eq!(parse_scores(&"great ".repeat(1 << 18)), None);
        assert_eq!(parse_scores(&"[".repeat(1 << 16)), None);
        assert_eq!(parse_scores(&"1.".repeat(1 << 16)), None);
    }
}
