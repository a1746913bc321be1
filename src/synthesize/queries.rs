//! The teacher's answer to the first prompt → distinct queries.

use crate::titles::{Json, clean_answer, is_left_out, list_number, read_json, without_escapes};
use std::collections::HashSet;

/// The queries in `answer`, in order, each once: a JSON list, a numbered or bulleted list, or paragraphs; quotes, bold
/// marks, code fences, thinking and chatter before and after are taken off. Never panics, whatever the text.
pub fn parse_queries(answer: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    parse_entries(answer).into_iter().filter(|q| is_query(q) && seen.insert(normal(q))).collect()
}

/// The entries of `answer` as they come, short ones and repeated ones too.
pub(super) fn parse_entries(answer: &str) -> Vec<String> {
    let answer = clean_answer(answer).into_text();
    let found = json_list(&answer).unwrap_or_else(|| {
        let answer = without_escapes(&answer);
        let listed = listed(&answer);
        if listed.is_empty() { paragraphs(&answer) } else { listed }
    });
    found.iter().map(|q| strip(q)).collect()
}

/// What two spellings of one query share: letters and digits, in lower case.
pub(super) fn normal(text: &str) -> String {
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The texts of the first JSON list, of the first list in an object, or of an object by number.
fn json_list(answer: &str) -> Option<Vec<String>> {
    let start = answer.find(['[', '{'])?;
    let (value, _) = read_json(&answer[start..])?;
    let text = |v: &Json| match v {
        Json::Text(text) => Some(text.clone()),
        Json::Object(fields) => fields.iter().find_map(|(_, v)| v.text()).map(str::to_string),
        Json::Null | Json::Bool | Json::Number(_) | Json::List(_) => None,
    };
    let queries: Vec<String> = match &value {
        Json::List(list) => list.iter().filter_map(text).collect(),
        Json::Object(fields) => {
            let mut values = fields.iter().filter(|(key, _)| !is_left_out(key)).map(|(_, value)| value);
            let list = values.clone().find_map(|v| match v {
                Json::List(list) => Some(list.iter().filter_map(text).collect()),
                Json::Null | Json::Bool | Json::Number(_) | Json::Text(_) | Json::Object(_) => None,
            });
            list.unwrap_or_else(|| values.by_ref().filter_map(text).collect())
        }
        Json::Null | Json::Bool | Json::Number(_) | Json::Text(_) => return None,
    };
    Some(queries).filter(|queries| queries.iter().any(|q| is_query(q)))
}

/// The rest of a line after `1.`, `2)`, `- `, `* `, `Query 3:`; none: not the first line of an entry.
fn after_marker(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches(['*', '_', '#']).trim_start();
    let line = ["query", "request"]
        .iter()
        .find_map(|word| {
            let head = line.get(..word.len())?;
            head.eq_ignore_ascii_case(word).then(|| line[word.len()..].trim_start_matches([' ', '#']))
        })
        .unwrap_or(line);
    list_number(line).map(|body| body.trim_start_matches(['*', '_']).trim())
}

fn bullet(line: &str) -> Option<&str> {
    let line = line.trim();
    line.strip_prefix(['-', '*', '•', '–']).and_then(|rest| rest.strip_prefix([' ', '\t'])).map(str::trim)
}

/// Entries that begin with a marker, with the lines that continue them; a blank line ends an entry.
fn listed(answer: &str) -> Vec<String> {
    let numbered = answer.lines().any(|line| after_marker(line).is_some());
    let marker = |line| if numbered { after_marker(line) } else { bullet(line) };
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for line in answer.lines() {
        if let Some(rest) = marker(line) {
            out.push(rest.to_string());
            open = true;
        } else if line.trim().is_empty() {
            // An entry whose text begins on a later line stays open.
            open = open && out.last().is_some_and(|q| q.is_empty());
        } else if let Some(last) = out.last_mut().filter(|_| open) {
            if !last.is_empty() {
                last.push('\n');
            }
            last.push_str(line.trim());
        }
    }
    out
}

fn paragraphs(answer: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for line in answer.lines().map(str::trim).filter(|line| !line.starts_with("```")) {
        if line.is_empty() {
            open = false;
        } else if let Some(last) = out.last_mut().filter(|_| open) {
            last.push('\n');
            last.push_str(line);
        } else {
            out.push(line.to_string());
            open = true;
        }
    }
    // A lead-in: "Here are two requests:".
    out.retain(|q| !q.ends_with(':'));
    out
}

fn strip(text: &str) -> String {
    let mut text = text.trim();
    loop {
        let before = text;
        for (open, close) in [("**", "**"), ("__", "__"), ("\"", "\""), ("“", "”"), ("«", "»"), ("`", "`"), ("*", "*")]
        {
            if let Some(inner) = text.strip_prefix(open).and_then(|t| t.strip_suffix(close)) {
                // `"A" and "B"` keeps its quotes.
                if !inner.contains(open) && !inner.contains(close) {
                    text = inner.trim();
                }
            }
        }
        if text == before {
            break;
        }
    }
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect::<String>().trim().to_string()
}

/// Two words at least; in a script that puts no spaces between them, what is as long as two short words.
pub(super) fn is_query(text: &str) -> bool {
    let unspaced = |c: &char| matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..);
    let words = text.split_whitespace().count();
    (words >= 2 || text.chars().filter(unspaced).count() >= 4) && text.chars().any(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shapes_that_models_answer_in_are_read() {
        let want = ["I want a good comedy.", "Anything scary, like \"The Ring\"?"];
        for answer in [
            "1. I want a good comedy.\n2. Anything scary, like \"The Ring\"?",
            "Sure! Here are two requests:\n\n1) \"I want a good comedy.\"\n\n2) Anything scary, like \"The Ring\"?\n\nHope it helps!",
            "**1.** **I want a good comedy.**\n**2.** Anything scary, like \"The Ring\"?",
            "- I want a good comedy.\n- Anything scary, like \"The Ring\"?",
            "```json\n[\"I want a good comedy.\", \"Anything scary, like \\\"The Ring\\\"?\"]\n```",
            "{\"queries\": [{\"query\": \"I want a good comedy.\"}, {\"query\": \"Anything scary, like \\\"The Ring\\\"?\"}]}",
            "<think>1. hmm so\n2. what now</think>I want a good comedy.\n\nAnything scary, like \"The Ring\"?",
            "<|channel|>analysis<|message|>1. hmm so it goes\n2. what now then<|end|><|start|>assistant<|channel|>final<|message|>1. I want a good comedy.\n2. Anything scary, like \"The Ring\"?<|return|>",
            "[THINK]1. A draft of it[/THINK]1\\. I want a good comedy.\n2\\. Anything scary, like \"The Ring\"?",
            "{\"1\": \"I want a good comedy.\", \"2\": \"Anything scary, like \\\"The Ring\\\"?\"}",
            "['I want a good comedy.', 'Anything scary, like \"The Ring\"?']",
            "1、I want a good comedy.\n2、Anything scary, like \"The Ring\"?",
            "1️⃣ I want a good comedy.\n2️⃣ Anything scary, like \"The Ring\"?",
            "## 1. I want a good comedy.\n\n## 2. Anything scary, like \"The Ring\"?",
            "(1) I want a good comedy.\n(2) Anything scary, like \"The Ring\"?",
            "Query 1: I want a good comedy.\nQuery 2: Anything scary, like \"The Ring\"?",
            "Query 1:\nI want a good comedy.\n\nQuery 2:\n\nAnything scary, like \"The Ring\"?",
        ] {
            assert_eq!(parse_queries(answer), want, "{answer}");
        }
    }

    #[test]
    fn a_query_in_a_script_without_spaces_is_a_query() {
        let want = ["面白い映画を教えてください", "추천해 줄 영화가 있나요"];
        for answer in [
            "1. 面白い映画を教えてください\n2. 추천해 줄 영화가 있나요",
            "1、面白い映画を教えてください\n2、추천해 줄 영화가 있나요",
            "（1）面白い映画を教えてください\n（2）추천해 줄 영화가 있나요",
            "1\u{fe0f}\u{20e3} 面白い映画を教えてください\n2\u{fe0f}\u{20e3} 추천해 줄 영화가 있나요",
            "1\\. 面白い映画を教えてください\n2\\. 추천해 줄 영화가 있나요",
        ] {
            assert_eq!(parse_queries(answer), want, "{answer}");
        }
        assert!(!is_query("映画") && !is_query("Comedy"));
    }

    #[test]
    fn a_conversation_stays_one_query() {
        let answer = serde_json::to_string(&["User: Hi!\nSystem: Hello.\nUser: A 1.5 hour comedy?"]).unwrap();
        assert_eq!(parse_queries(&answer), ["User: Hi!\nSystem: Hello.\nUser: A 1.5 hour comedy?"]);
        assert_eq!(
            parse_queries("1. User: Hi!\nSystem: Hello.\n2. Something sad"),
            ["User: Hi!\nSystem: Hello.", "Something sad"]
        );
    }

    #[test]
    fn repeated_and_empty_queries_are_left_out() {
        assert_eq!(parse_queries("1. A good comedy!\n2. a good  comedy\n3.\n4. ---"), ["A good comedy!"]);
        assert!(parse_queries("").is_empty());
        assert!(parse_queries(" \n\t").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_gives_distinct_queries_without_panic(answer in "(?s).{0,400}") {
            let queries = parse_queries(&answer);
            let distinct: HashSet<_> = queries.iter().map(|q| normal(q)).collect();
            prop_assert_eq!(distinct.len(), queries.len());
            prop_assert!(queries.iter().all(|q| !q.trim().is_empty()));
        }

        #[test]
        fn a_numbered_list_comes_back_whole(words in proptest::collection::vec("[a-z]{3,9} [a-z]{3,9} [A-Za-z',!?]{1,12}", 1..12)) {
            let distinct: HashSet<_> = words.iter().map(|q| normal(q)).collect();
            prop_assume!(distinct.len() == words.len());
            prop_assume!(words.iter().all(|w| !w.starts_with("query") && !w.starts_with("request")));
            let answer: String = words.iter().enumerate().map(|(i, w)| format!("{}. {w}\n", i + 1)).collect();
            prop_assert_eq!(parse_queries(&answer), words.iter().map(|w| w.trim().to_string()).collect::<Vec<_>>());
        }
    }
}
