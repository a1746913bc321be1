//! The turns of a conversation as callers write them: ours, `{role, text}`, and every shape of OpenAI's messages, `{role,
//! content}` with text, parts, tool calls or nothing.
//!
//! What user and assistant say is read. What cannot be read (instructions, tool results, refusals, pictures) is passed over
//! and named in a warning; only a user's turn of which nothing can be read is refused, for it is what is to be answered.

use super::problem::{Outcome, Problem};
use crate::dataset::{Role, Turn};
use crate::recommend::excerpt;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// A turn: `{role, text}`, or as OpenAI writes it `{role, content}`; names, tool calls and the like beside it are not read.
#[derive(Debug, Deserialize)]
pub(super) struct WireTurn {
    role: String,
    #[serde(default, alias = "content", deserialize_with = "present")]
    text: Option<Value>,
}

/// A field that is there, `null` too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The parts of a content that hold text, in the APIs that have them.
const TEXT_PARTS: [&str; 3] = ["text", "input_text", "output_text"];

/// What is said in a content, and the types of its parts that cannot be read.
struct Content {
    text: String,
    unread: Vec<String>,
}

/// Reads a content: a text, null, or a list of parts. `field`: where it stands.
fn content(value: Value, field: &str) -> Outcome<Content> {
    let parts = match value {
        Value::Null => Vec::new(),
        Value::String(text) => return Ok(Content { text, unread: Vec::new() }),
        Value::Array(parts) => parts,
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(Problem::field(field, "must be a text, null, or a list of {\"type\": \"text\", \"text\": …}"));
        }
    };
    let (mut texts, mut unread) = (Vec::new(), Vec::new());
    for (n, part) in parts.into_iter().enumerate() {
        let at = format!("{field}[{n}]");
        match part {
            Value::String(text) => texts.push(text),
            Value::Object(mut part) => {
                let kind = match part.get("type") {
                    Some(Value::String(kind)) => kind.clone(),
                    None if part.contains_key("text") => "text".to_string(),
                    Some(_) | None => return Err(Problem::field(at, "a part has a \"type\", such as \"text\"")),
                };
                if !TEXT_PARTS.contains(&kind.as_str()) {
                    unread.push(kind);
                    continue;
                }
                match part.remove("text") {
                    Some(Value::String(text)) => texts.push(text),
                    Some(_) | None => {
                        return Err(Problem::field(format!("{at}.text"), "a text part has its text in \"text\""));
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                return Err(Problem::field(at, "a part is {\"type\": \"text\", \"text\": …}"));
            }
        }
    }
    Ok(Content { text: texts.join("\n"), unread })
}

/// The turns that user and assistant say, and what was passed over. `field`: the name of the list.
pub(super) fn turns(turns: Vec<WireTurn>, field: &str) -> Outcome<(Vec<Turn>, Vec<String>)> {
    let (mut read, mut warnings) = (Vec::new(), Vec::new());
    let (mut instructions, mut unread) = (0, BTreeSet::new());
    let latest = turns.iter().rposition(|turn| turn.role == "user");
    for (n, turn) in turns.into_iter().enumerate() {
        let role = match turn.role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" | "developer" | "tool" | "function" => {
                instructions += 1;
                continue;
            }
            other => {
                let other = excerpt(other, 40);
                return Err(Problem::field(
                    format!("{field}[{n}].role"),
                    format!("{other:?}: must be one of user | assistant | system | developer | tool | function"),
                ));
            }
        };
        let at = format!("{field}[{n}].content");
        let said = match (turn.text, role) {
            // Tool calls, a refusal, a reply in sound: there is nothing said beside them.
            (None, Role::Assistant) => continue,
            (None, Role::User) => return Err(Problem::field(at, "missing: what the user says")),
            (Some(value), _) => content(value, &at)?,
        };
        // What is to be answered; a picture of long ago does not end a conversation.
        if Some(n) == latest && said.text.trim().is_empty() && !said.unread.is_empty() {
            return Err(Problem::field(
                at,
                format!("nothing in it can be read: only parts of type text can, not {}", said.unread.join(", ")),
            ));
        }
        unread.extend(said.unread);
        read.push(Turn { role, text: said.text });
    }
    if instructions > 0 {
        warnings
            .push(format!("{instructions} turns of system or tool were not read: only what user and assistant say is"));
    }
    if !unread.is_empty() {
        let kinds: Vec<String> = unread.into_iter().collect();
        warnings.push(format!("parts that are no text were not read: {}", excerpt(&kinds.join(", "), 100)));
    }
    if read.iter().all(|t| t.text.trim().is_empty()) {
        warnings.push("nothing was said: the ranking rests on nothing but the catalogue".into());
    }
    Ok((read, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Outcome<(Vec<Turn>, Vec<String>)> {
        turns(serde_json::from_str(json).unwrap(), "messages")
    }
    fn said(json: &str) -> Vec<String> {
        let (turns, _) = read(json).unwrap_or_else(|e| panic!("{json}: {}", e.message));
        turns.into_iter().map(|t| t.text).collect()
    }

    /// Conversations of agents were refused with `missing field `text``, a field that their writers never heard of.
    #[test]
    fn a_turn_with_tool_calls_or_a_refusal_and_no_content_is_passed_over() {
        let hello = r#"{"role": "user", "content": "hello"}"#;
        for (turn, said_by_it) in [
            (
                r#"{"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]}"#,
                None,
            ),
            (r#"{"role": "assistant", "content": null, "tool_calls": []}"#, Some("")),
            (r#"{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}"#, None),
            (r#"{"role": "assistant", "refusal": "I will not", "content": null}"#, Some("")),
            (r#"{"role": "assistant", "audio": {"id": "a"}}"#, None),
            (r#"{"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not"}]}"#, Some("")),
            (
                r#"{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]}"#,
                Some("a"),
            ),
            (r#"{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}"#, Some("")),
            (
                r#"{"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]}"#,
                Some("a"),
            ),
            (r#"{"role": "assistant", "content": []}"#, Some("")),
        ] {
            let mut expected = vec!["hello"];
            expected.extend(said_by_it);
            assert_eq!(said(&format!("[{hello}, {turn}]")), expected, "{turn}");
        }
    }

    #[test]
    fn turns_that_are_not_read_may_hold_anything() {
        for turn in [
            r#"{"role": "tool", "tool_call_id": "c", "content": "42"}"#,
            r#"{"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "42"}]}"#,
            r#"{"role": "tool", "content": {"answer": 42}}"#,
            r#"{"role": "tool"}"#,
            r#"{"role": "function", "name": "f", "content": null}"#,
            r#"{"role": "developer", "content": "be kind"}"#,
            r#"{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}"#,
            r#"{"role": "system", "content": [7, null, {"kind": "other"}]}"#,
        ] {
            let (turns, warnings) = read(&format!("[{turn}, {{\"role\": \"user\", \"content\": \"hi\"}}]")).unwrap();
            assert_eq!(turns.len(), 1, "{turn}");
            assert!(warnings[0].contains("1 turns of system or tool"), "{warnings:?}");
        }
    }

    #[test]
    fn what_a_user_says_is_read_from_every_shape_and_pictures_beside_it_are_told() {
        for (content, text) in [
            (r#""hi""#, "hi"),
            (r#"[{"type": "text", "text": "hi"}]"#, "hi"),
            (r#"[{"type": "input_text", "text": "hi"}]"#, "hi"),
            (r#"[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]"#, "a\nb"),
            (r#"[{"text": "hi"}]"#, "hi"),
            (r#"["hi"]"#, "hi"),
            ("null", ""),
            ("[]", ""),
        ] {
            assert_eq!(
                said(&format!(r#"[{{"role": "user", "name": "Ann", "content": {content}}}]"#)),
                [text],
                "{content}"
            );
        }
        let beside = r#"[{"role": "user", "content": [{"type": "text", "text": "like this"},
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]"#;
        let (turns, warnings) = read(beside).unwrap();
        assert_eq!(turns[0].text, "like this");
        assert!(warnings[0].contains("image_url"), "{warnings:?}");
    }

    /// It refused the conversation for ever after.
    #[test]
    fn a_picture_of_an_earlier_turn_is_passed_over() {
        let (turns, warnings) = read(
            r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
                {"role": "assistant", "content": "nice"}, {"role": "user", "content": "a heist film"}]"#,
        )
        .unwrap();
        assert_eq!(turns.len(), 3);
        assert!(warnings[0].contains("image_url"), "{warnings:?}");
    }

    #[test]
    fn a_user_turn_of_which_nothing_can_be_read_is_refused_by_the_name_of_its_field() {
        for (turn, param) in [
            (r#"{"role": "user"}"#, "messages[0].content"),
            (
                r#"{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}"#,
                "messages[0].content",
            ),
            (
                r#"{"role": "user", "content": [{"type": "input_image"}, {"type": "text", "text": " "}]}"#,
                "messages[0].content",
            ),
            (r#"{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}"#, "messages[0].content"),
            (r#"{"role": "user", "content": 7}"#, "messages[0].content"),
            (r#"{"role": "user", "content": {"type": "text", "text": "hi"}}"#, "messages[0].content"),
            (r#"{"role": "user", "content": [{"type": "text"}]}"#, "messages[0].content[0].text"),
            (r#"{"role": "user", "content": [{"type": "text", "text": null}]}"#, "messages[0].content[0].text"),
            (r#"{"role": "user", "content": [7]}"#, "messages[0].content[0]"),
            (r#"{"role": "user", "content": [{"type": 7}]}"#, "messages[0].content[0]"),
            (r#"{"role": "robot", "content": "hi"}"#, "messages[0].role"),
        ] {
            let problem = read(&format!("[{turn}]")).unwrap_err();
            assert_eq!((problem.status, problem.param.as_deref()), (422, Some(param)), "{turn}: {}", problem.message);
        }
    }
}
