//! The turns of a conversation as callers write them: ours, `{role, text}`, and every shape of OpenAI's messages, `{role,
//! content}` with text, parts, tool calls or nothing.
//!
//! What user and assistant say is read. What cannot be read (instructions, tool results, refusals, pictures) is passed over
//! and named in a warning; only a user's turn of which nothing can be read is refused, for it is what is to be answered.

use super::fields::{Fields, list, not, text};
use super::tree::{Json, RequestError};
use crate::dataset::{Role, Turn};
use crate::recommend::excerpt;
use crate::recommend::service::query::Query;
use std::collections::BTreeSet;

const TURN: &str = "a turn, {\"role\": \"user\", \"text\": \"…\"}";

/// What an assistant's turn may hold in place of a text.
const NO_TEXT: [&str; 4] = ["tool_calls", "function_call", "refusal", "audio"];

/// The parts of a content that hold text, in the APIs that have them.
const TEXT_PARTS: [&str; 3] = ["text", "input_text", "output_text"];

/// What is said in a content, and the types of its parts that cannot be read.
struct Content {
    text: String,
    unread: Vec<String>,
}

/// Reads a content: a text, null, or a list of parts. `field`: where it stands.
fn content(value: Json, field: &str) -> Result<Content, RequestError> {
    let parts = match value {
        Json::Null => Vec::new(),
        Json::Text(text) => return Ok(Content { text, unread: Vec::new() }),
        Json::List(parts) => parts,
        other @ (Json::Flag(_) | Json::Number(_) | Json::Object(_)) => {
            return Err(not(&other, field, "a text, or a list of {\"type\": \"text\", \"text\": \"…\"}"));
        }
    };
    let (mut texts, mut unread) = (Vec::new(), Vec::new());
    for (n, part) in parts.into_iter().enumerate() {
        let at = format!("{field}[{n}]");
        if let Json::Text(text) = part {
            texts.push(text);
            continue;
        }
        let mut part = Fields::of(part, &at, "a part, {\"type\": \"text\", \"text\": \"…\"}")?;
        let kind = match part.take("type") {
            Some(Json::Text(kind)) => kind,
            None if part.has("text") => "text".to_string(),
            Some(_) | None => return Err(RequestError::field(at, "a part has a \"type\", such as \"text\"")),
        };
        if !TEXT_PARTS.contains(&kind.as_str()) {
            unread.push(kind);
            continue;
        }
        let at = part.place("text");
        match part.take("text") {
            Some(Json::Text(text)) => texts.push(text),
            Some(_) | None => return Err(RequestError::field(at, "a text part has its text in \"text\"")),
        }
    }
    Ok(Content { text: texts.join("\n"), unread })
}

/// A turn, not yet looked into.
struct RawTurn {
    role: String,
    /// What is said, null too, and the word that it stands under.
    content: Option<(&'static str, Json)>,
    /// It holds something else in place of a text.
    no_text: bool,
}

/// A turn: `{role, text}`, or as OpenAI writes it `{role, content}`; names, tool calls and the like beside it are not read.
fn raw_turn(value: Json, field: &str) -> Result<RawTurn, RequestError> {
    let mut turn = Fields::of(value, field, TURN)?;
    let at = turn.place("role");
    let Some(role) = turn.take("role") else {
        return Err(RequestError::field(at, "missing: write \"user\" or \"assistant\""));
    };
    let role = text(role, &at, "\"user\" or \"assistant\"")?;
    let null = ["text", "content"].into_iter().find(|word| turn.has(word)).map(|word| (word, Json::Null));
    let content = turn.take_one(&["text", "content"])?.or(null);
    Ok(RawTurn { role, content, no_text: NO_TEXT.iter().any(|name| turn.has(name)) })
}

/// A query for the turns that user and assistant say, with what was passed over among its warnings. `field`: the name of the
/// list.
///
/// # Errors
/// [`RequestError::Field`].
pub fn read_turns(turns: Json, field: &str) -> Result<Query, RequestError> {
    let turns =
        list(turns, field, "a list of turns, [{\"role\": \"user\", \"text\": \"…\"}, …]")?.into_iter().enumerate();
    let turns: Vec<RawTurn> =
        turns.map(|(n, turn)| raw_turn(turn, &format!("{field}[{n}]"))).collect::<Result<_, _>>()?;
    let (mut read, mut warnings) = (Vec::new(), Vec::new());
    let (mut instructions, mut silent, mut unread) = (0, 0, BTreeSet::new());
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
                return Err(RequestError::field(
                    format!("{field}[{n}].role"),
                    format!("{other:?}: must be one of user | assistant | system | developer | tool | function"),
                ));
            }
        };
        let (word, value) = match (turn.content, role) {
            // Tool calls, a refusal, a reply in sound: there is nothing said beside them.
            (None, Role::Assistant) => {
                silent += usize::from(!turn.no_text);
                continue;
            }
            (None, Role::User) => {
                let word = if field.ends_with("messages") { "content" } else { "text" };
                return Err(RequestError::field(format!("{field}[{n}].{word}"), "missing: what the user says"));
            }
            (Some(content), _) => content,
        };
        let at = format!("{field}[{n}].{word}");
        let said = content(value, &at)?;
        // What is to be answered; a picture of long ago does not end a conversation.
        if Some(n) == latest && said.text.trim().is_empty() && !said.unread.is_empty() {
            return Err(RequestError::field(
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
    if silent > 0 {
        warnings.push(format!("{silent} turns of the assistant have neither text nor content: they were passed over"));
    }
    if !unread.is_empty() {
        let kinds: Vec<String> = unread.into_iter().collect();
        warnings.push(format!("parts that are no text were not read: {}", excerpt(&kinds.join(", "), 100)));
    }
    Ok(Query { warnings, ..Query::of_turns(read) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(Vec<Turn>, Vec<String>), RequestError> {
        let query = read_turns(Json::parse(json)?, "messages")?;
        Ok((query.conversation.turns, query.warnings))
    }
    fn said(json: &str) -> Vec<String> {
        let (turns, _) = read(json).unwrap_or_else(|e| panic!("{json}: {e}"));
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
            let e = read(&format!("[{turn}]")).unwrap_err();
            assert!(matches!(&e, RequestError::Field { field, .. } if field == param), "{turn}: {e}");
        }
    }

    /// A misspelt word for what the assistant said took it out of the conversation without a word.
    #[test]
    fn an_assistants_turn_without_any_text_is_told() {
        let (turns, warnings) = read(
            r#"[{"role": "assistant", "txt": "Alien?"}, {"role": "assistant", "tool_calls": []},
                {"role": "user", "content": "yes"}]"#,
        )
        .unwrap();
        assert_eq!(turns.len(), 1);
        assert!(warnings.len() == 1 && warnings[0].starts_with("1 turns of the assistant"), "{warnings:?}");
    }
}
