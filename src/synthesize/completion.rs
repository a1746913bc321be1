//! The answer in what an endpoint sends back: a chat completion, pieces of one (server-sent events, or a JSON object a line,
//! as some servers stream although they were not asked to), or Ollama's own form of both.
//!
//! One rule stands over all of it: an answer is whole only when the server says so by a reason that is known to mean it, or
//! says nothing where nothing was streamed. What is cut, held back or broken off is never taken for an answer.

use super::teacher::{Answer, Class};
use serde_json::Value;
use std::fmt;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    Whole,
    /// At a limit of tokens.
    Cut,
    /// By a filter, or by the model itself.
    Withheld,
    /// In some other way.
    Failed,
}

/// The names that servers have for the ends of a generation. A name that is not known is a failure.
fn finish_of(reason: &str) -> Finish {
    let reason = reason.trim().to_lowercase().replace(['-', ' '], "_");
    match reason.strip_prefix("finish_reason_").unwrap_or(&reason) {
        "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" | "stop_token" | "complete" | "completed"
        | "endoftext" | "end_of_text" => Finish::Whole,
        "length"
        | "max_tokens"
        | "max_output_tokens"
        | "max_completion_tokens"
        | "max_new_tokens"
        | "max_length"
        | "model_length"
        | "token_limit"
        | "model_context_window_exceeded"
        | "truncated"
        | "incomplete" => Finish::Cut,
        "content_filter"
        | "content_filtered"
        | "safety"
        | "recitation"
        | "blocklist"
        | "blacklist"
        | "prohibited_content"
        | "spii"
        | "refusal"
        | "guardrail_intervened"
        | "error_toxic"
        | "sensitive" => Finish::Withheld,
        _ => Finish::Failed,
    }
}

/// Why a completion holds no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There are no choices.
    NoChoices,
    /// It reached its limit of tokens.
    Cut,
    /// The model thought, and did not come to an answer.
    Thinking,
    /// A filter held it back, or the model refused; in its words, where there are any.
    Withheld(String),
    /// A call of a tool, where none was offered.
    ToolCall,
    /// The text is blank.
    Empty,
    /// The generation ended for another reason than being finished.
    Failed(String),
    /// A stream ended without saying that the answer is finished.
    Interrupted,
}

impl Unusable {
    /// What happens next.
    pub(super) fn class(&self) -> Class {
        match self {
            Unusable::NoChoices | Unusable::ToolCall | Unusable::Empty | Unusable::Failed(_) => Class::Useless,
            Unusable::Cut => Class::Cut,
            Unusable::Thinking => Class::Thinking,
            Unusable::Withheld(_) => Class::Withheld,
            Unusable::Interrupted => Class::Lost,
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::NoChoices => f.write_str("an answer without choices"),
            Unusable::Cut => f.write_str("half an answer: it reached its limit; raise synthesize.answer_tokens"),
            Unusable::Thinking => f.write_str(
                "no answer: the model spent its tokens on thinking; raise synthesize.answer_tokens, or turn its thinking off",
            ),
            Unusable::Withheld(words) => write!(f, "the answer was held back ({words})"),
            Unusable::ToolCall => f.write_str("a call of a tool in place of an answer, and no tool was offered"),
            Unusable::Empty => f.write_str("an empty answer"),
            Unusable::Failed(reason) => write!(f, "the answer ended with {reason:?}, which does not mean that it is whole"),
            Unusable::Interrupted => f.write_str("the answer's stream ended before the answer did"),
        }
    }
}

/// What came back, put together.
#[derive(Debug, Default)]
pub(super) struct Completion {
    text: String,
    /// Bytes of thinking that stood beside the text.
    thinking: usize,
    refusal: String,
    tool_call: bool,
    choices: bool,
    finish: Option<String>,
    /// It came in pieces, and the last one is not seen yet.
    open: bool,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    error: Option<Value>,
}

impl Completion {
    /// Reads a body: its form is told by what stands in it, not by its content type.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(body: &str) -> Result<Completion, String> {
        let body = body.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
        let mut completion = Completion::default();
        if is_event_stream(body) {
            completion.open = true;
            completion.read_events(body);
            return Ok(completion);
        }
        let mut values = Vec::new();
        let mut stream = serde_json::Deserializer::from_str(body).into_iter::<Value>();
        let cut = loop {
            match stream.next() {
                Some(Ok(Value::Array(list))) => values.extend(list),
                Some(Ok(value)) => values.push(value),
                // A line that broke off, after good ones.
                Some(Err(e)) if e.is_eof() && !values.is_empty() => break true,
                Some(Err(e)) => return Err(format!("is not JSON ({e})")),
                None => break false,
            }
        };
        if values.is_empty() {
            return Err("is empty".to_string());
        }
        completion.open = cut || values.len() > 1 || values.iter().any(is_piece);
        values.iter().for_each(|value| completion.add(value));
        completion.open |= cut;
        Ok(completion)
    }

    /// A completion that is JSON already.
    pub(super) fn of(value: &Value) -> Completion {
        let mut completion = Completion { open: is_piece(value), ..Default::default() };
        completion.add(value);
        completion
    }

    /// The server's own error, in place of an answer or after a part of it.
    pub(super) fn error(&self) -> Option<&Value> {
        self.error.as_ref()
    }

    /// Something of an answer had come.
    pub(super) fn begun(&self) -> bool {
        !self.text.is_empty() || self.thinking > 0
    }

    /// Tokens of prompt and answer. Three bytes a token where the server does not count: more than there are, for nearly
    /// all text. `request_bytes`: what stands for the prompt's.
    pub(super) fn tokens(&self, request_bytes: usize) -> (u64, u64) {
        let answer_bytes = self.text.len() + self.thinking;
        (
            self.prompt_tokens.unwrap_or(request_bytes as u64 / 3 + 1),
            self.completion_tokens.unwrap_or(answer_bytes as u64 / 3 + 1),
        )
    }

    /// The answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn answer(&self, request_bytes: usize) -> Result<Answer, Unusable> {
        let blank = self.text.trim().is_empty();
        if !self.choices {
            return Err(if self.open { Unusable::Interrupted } else { Unusable::NoChoices });
        }
        let finish = self.finish.as_deref().unwrap_or("");
        match self.finish.as_deref().map(finish_of) {
            Some(Finish::Cut) if blank && self.thinking > 0 => return Err(Unusable::Thinking),
            Some(Finish::Cut) => return Err(Unusable::Cut),
            Some(Finish::Withheld) if self.refusal.is_empty() => return Err(Unusable::Withheld(finish.to_string())),
            Some(Finish::Withheld) => return Err(Unusable::Withheld(self.refusal.clone())),
            Some(Finish::Failed) if blank && self.tool_call => return Err(Unusable::ToolCall),
            Some(Finish::Failed) => return Err(Unusable::Failed(finish.to_string())),
            None if self.open => return Err(Unusable::Interrupted),
            Some(Finish::Whole) | None => {}
        }
        if !blank {
            let (prompt_tokens, completion_tokens) = self.tokens(request_bytes);
            return Ok(Answer { text: self.text.clone(), prompt_tokens, completion_tokens });
        }
        Err(match () {
            () if !self.refusal.is_empty() => Unusable::Withheld(self.refusal.clone()),
            () if self.thinking > 0 => Unusable::Thinking,
            () if self.tool_call => Unusable::ToolCall,
            () => Unusable::Empty,
        })
    }

    /// Server-sent events: fields and values by line, an event up to each blank line, comments after a colon.
    fn read_events(&mut self, body: &str) {
        let body = body.replace("\r\n", "\n").replace('\r', "\n");
        let (mut data, mut failed) = (Vec::<&str>::new(), false);
        for line in body.split('\n').chain([""]) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    self.read_event(&std::mem::take(&mut data), failed);
                    failed = false;
                }
                "data" => data.push(value),
                "event" => failed = value.trim() == "error",
                // Not of the standard, but sent.
                "error" => {
                    failed = true;
                    data.push(value);
                }
                // Bare JSON among the events.
                _ if line.starts_with('{') => data.push(line),
                _ => {}
            }
        }
    }

    fn read_event(&mut self, data: &[&str], failed: bool) {
        let joined = data.join("\n");
        if joined.trim().is_empty() {
            return;
        }
        // One object over several lines; or several events that no blank line parts.
        let pieces = match serde_json::from_str::<Value>(&joined) {
            Ok(value) => vec![Ok(value)],
            Err(_) => data.iter().map(|line| serde_json::from_str(line).map_err(|_| line.trim())).collect(),
        };
        for piece in pieces {
            match piece {
                Ok(value) if failed && self.error.is_none() => {
                    self.error = Some(value.get("error").cloned().unwrap_or(value));
                }
                Ok(value) => self.add(&value),
                Err("[DONE]") => self.open = false,
                Err("") => {}
                // Words where a piece of an answer is due are a failure told in words.
                Err(words) => self.error = self.error.take().or_else(|| Some(Value::String(words.to_string()))),
            }
        }
    }

    /// Adds a whole completion, or a piece.
    fn add(&mut self, value: &Value) {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let error = value.get("error").filter(|e| !is_nothing(e));
        let error = error.or_else(|| (text("object") == Some("error")).then_some(value));
        if let Some(error) = error {
            self.error.get_or_insert_with(|| error.clone());
        }
        let usage = value.get("usage").unwrap_or(&Value::Null);
        self.prompt_tokens =
            count(usage.get("prompt_tokens")).or(count(value.get("prompt_eval_count"))).or(self.prompt_tokens);
        self.completion_tokens =
            count(usage.get("completion_tokens")).or(count(value.get("eval_count"))).or(self.completion_tokens);
        if let Some(choices) = value.get("choices").and_then(Value::as_array) {
            // One answer was asked for.
            for choice in choices.iter().filter(|c| c.get("index").and_then(Value::as_u64).unwrap_or(0) == 0) {
                self.choices = true;
                let said = choice.get("delta").filter(|d| d.is_object()).or_else(|| choice.get("message"));
                self.add_message(said.unwrap_or(choice));
                if let Some(error) = choice.get("error").filter(|e| !is_nothing(e)) {
                    self.error.get_or_insert_with(|| error.clone());
                }
                let named = ["finish_reason", "native_finish_reason", "stop_reason"];
                self.end(named.iter().filter_map(|name| choice.get(*name)).find(|reason| !is_nothing(reason)));
            }
        } else if let Some(message) = value.get("message").filter(|m| m.is_object()) {
            self.choices = true;
            self.add_message(message);
        } else if let Some(response) = text("response") {
            self.choices = true;
            self.text.push_str(response);
        }
        if value.get("done") == Some(&Value::Bool(true)) {
            self.open = false;
            self.end(value.get("done_reason"));
        }
    }

    fn add_message(&mut self, message: &Value) {
        match message.get("content").or_else(|| message.get("text")) {
            Some(Value::Array(parts)) => parts.iter().for_each(|part| self.add_part(part)),
            Some(content) => self.add_part(content),
            None => {}
        }
        // One of them: some servers send the same thinking under two names.
        let names = ["reasoning_content", "reasoning", "thinking", "reasoning_details"];
        let thinking = names.iter().filter_map(|name| message.get(*name)).find(|v| !is_nothing(v));
        self.thinking += thinking.map_or(0, |v| v.as_str().map_or_else(|| v.to_string().len(), str::len));
        self.refusal.push_str(message.get("refusal").and_then(Value::as_str).unwrap_or(""));
        let calls = ["tool_calls", "function_call"];
        self.tool_call |= calls.iter().filter_map(|name| message.get(*name)).any(|v| !is_nothing(v));
    }

    /// A text, or a part of one: `{"type": "text", "text": …}`.
    fn add_part(&mut self, part: &Value) {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
        // `reasoning_text`, `summary_text`, Gemini's `"thought": true`.
        let thought = part.get("thought") == Some(&Value::Bool(true))
            || ["thinking", "thought", "reasoning", "summary"].iter().any(|word| kind.contains(word));
        match (part, part.get("text")) {
            (Value::String(text), _) => self.text.push_str(text),
            (Value::Object(_), _) if thought => self.thinking += part.to_string().len(),
            (_, Some(Value::String(text))) if kind.ends_with("text") => self.text.push_str(text),
            (Value::Object(_), _) if kind == "refusal" => {
                self.refusal.push_str(part.get("refusal").and_then(Value::as_str).unwrap_or(""));
            }
            _ => {}
        }
    }

    fn end(&mut self, reason: Option<&Value>) {
        let Some(reason) = reason.filter(|r| !is_nothing(r)) else { return };
        // A number is a gateway's own code: nothing that says that the answer is whole.
        let words = reason.as_str().or_else(|| reason.get("type").and_then(Value::as_str));
        let words = words.map_or_else(|| reason.to_string(), str::to_string);
        // Some say "null" while they go on.
        if words != "null" {
            self.finish = Some(words);
        }
    }
}

/// Whether a body begins with a line of server-sent events.
fn is_event_stream(body: &str) -> bool {
    ["data:", "event:", "id:", "retry:", "error:", ":"].iter().any(|field| body.starts_with(field))
}

/// Whether more pieces are to follow.
fn is_piece(value: &Value) -> bool {
    value.pointer("/choices/0/delta").is_some_and(Value::is_object) || value.get("done") == Some(&Value::Bool(false))
}

/// null, false, and whatever is empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// A number of tokens, 50 or 50.0.
fn count(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_f64().filter(|v| *v >= 0.0).map(|v| v as u64))
}

/// A body as text: packed or not, in whatever encoding of Unicode, or in Latin-1 where it says so. What is none of that is
/// read as UTF-8, with a mark for each bad byte.
pub(super) fn decode(bytes: &[u8], content_type: &str, bytes_most: u64) -> String {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        use std::io::Read;
        let mut plain = Vec::new();
        // What could be unpacked of a torn body is judged like any other text.
        let _ = flate2::read::MultiGzDecoder::new(bytes).take(bytes_most).read_to_end(&mut plain);
        return decode(&plain, content_type, 0);
    }
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        // JSON begins with ASCII.
        [1..=255, 0, ..] => wide(bytes, u16::from_le_bytes),
        [0, 1..=255, ..] => wide(bytes, u16::from_be_bytes),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_string(),
            Err(_) if ["8859-1", "latin1", "1252"].iter().any(|c| content_type.to_lowercase().contains(c)) => {
                bytes.iter().map(|b| char::from(*b)).collect()
            }
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &str) -> Result<String, Unusable> {
        Completion::parse(body).unwrap().answer(0).map(|a| a.text)
    }

    #[test]
    fn only_a_known_reason_makes_an_answer_whole() {
        let with = |reason: Value| {
            json!({"choices": [{"message": {"content": "1. Half of a qu"}, "finish_reason": reason}]}).to_string()
        };
        for whole in [
            "stop",
            "STOP",
            "eos",
            "eos_token",
            "end_turn",
            "stop_sequence",
            "COMPLETE",
            "",
            "null",
            "FINISH_REASON_STOP",
        ] {
            assert!(read(&with(whole.into())).is_ok(), "{whole}");
        }
        assert!(read(&with(Value::Null)).is_ok());
        for cut in ["length", "MAX_TOKENS", "max_tokens", "model_length", "MAX_OUTPUT_TOKENS", "max_output_tokens"] {
            assert_eq!(read(&with(cut.into())), Err(Unusable::Cut), "{cut}");
        }
        for withheld in ["content_filter", "SAFETY", "refusal", "RECITATION", "guardrail_intervened"] {
            assert_eq!(read(&with(withheld.into())), Err(Unusable::Withheld(withheld.into())), "{withheld}");
        }
        for failed in ["error", "tool_calls", "abort", "OTHER", "cancelled", "whatever"] {
            assert_eq!(read(&with(failed.into())), Err(Unusable::Failed(failed.into())), "{failed}");
        }
    }

    #[test]
    fn a_stream_that_nobody_asked_for_is_put_together_whatever_its_form() {
        let chunk = |text: &str, finish: Value| json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]});
        let (a, b) = (chunk("1. He", Value::Null), chunk("at", "stop".into()));
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}});
        let role = json!({"choices": [{"delta": {"role": "assistant", "content": null}, "finish_reason": "null"}]});
        for body in [
            format!("data: {role}\n\ndata: {a}\n\ndata: {b}\n\ndata: {usage}\n\ndata: [DONE]\n\n"),
            format!("\u{feff}: comment\r\n\r\nevent: message\r\nid: 1\r\ndata:{a}\r\n\r\ndata:{b}\r\n\r\ndata:{usage}"),
            format!("retry: 3000\n\ndata: {a}\ndata: {b}\ndata: {usage}\ndata: [DONE]"),
            format!("data: {}\n\ndata: {b}\n\ndata: {usage}\n", a.to_string().replacen(',', ",\ndata: ", 1)),
            format!("{a}\n{b}\n{usage}\n"),
            format!("[{a},{b},{usage}]"),
            "{\"message\":{\"role\":\"assistant\",\"content\":\"1. He\"},\"done\":false}\n\
             {\"message\":{\"content\":\"at\"},\"done\":false}\n\
             {\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":7,\"eval_count\":3}"
                .to_string(),
            "{\"response\":\"1. He\",\"done\":false}\n{\"response\":\"at\",\"done\":true,\"prompt_eval_count\":7,\"eval_count\":3}"
                .to_string(),
        ] {
            let completion = Completion::parse(&body).unwrap();
            let answer = completion.answer(0).unwrap_or_else(|e| panic!("{e}: {body}"));
            assert_eq!(answer, Answer { text: "1. Heat".into(), prompt_tokens: 7, completion_tokens: 3 }, "{body}");
        }
        for body in [
            format!("data: {a}\n\n"),
            format!("data: {a}\n\ndata: {{\"choices\": [{{\"del"),
            format!("{a}\n"),
            format!("{a}\n{{\"choices\": [{{\"del"),
            "{\"message\":{\"content\":\"1. He\"},\"done\":false}".to_string(),
            ": only comments\n\n".to_string(),
        ] {
            let completion = Completion::parse(&body).unwrap();
            assert!(completion.error().is_some() || completion.answer(0) == Err(Unusable::Interrupted), "{body}");
        }
        for body in [
            format!("data: {a}\n\ndata: {{\"error\": {{\"message\": \"lost\"}}}}\n\ndata: [DONE]\n\n"),
            format!("data: {a}\n\nevent: error\ndata: {{\"message\": \"lost\"}}\n\n"),
            format!("data: {a}\n\nerror: {{\"message\": \"lost\"}}\n\n"),
            format!("data: {a}\n\ndata: error: lost\n\n"),
            format!("{a}\n{{\"error\": \"lost\"}}\n"),
        ] {
            let completion = Completion::parse(&body).unwrap();
            assert!(completion.error().unwrap().to_string().contains("lost") && completion.begun(), "{body}");
        }
    }

    #[test]
    fn thinking_beside_no_content_is_told_as_that() {
        for (message, finish) in [
            (json!({"content": null, "reasoning_content": "hm, so"}), "stop"),
            (json!({"content": "", "reasoning": "hm, so"}), "length"),
            (json!({"content": " \n", "thinking": "hm"}), "stop"),
            (json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}), "stop"),
            (json!({"reasoning_details": [{"text": "hm"}]}), "length"),
        ] {
            let body = json!({"choices": [{"message": message, "finish_reason": finish}]}).to_string();
            let e = read(&body).unwrap_err();
            assert_eq!(e, Unusable::Thinking, "{body}");
            assert!(e.to_string().contains("raise synthesize.answer_tokens"), "{e}");
        }
        let parts = json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "1. He"}, {"type": "output_text", "text": "at"}]);
        let body = json!({"choices": [{"message": {"content": parts, "reasoning": "hm"}}]}).to_string();
        assert_eq!(read(&body).unwrap(), "1. Heat");
    }

    #[test]
    fn text_in_any_unicode_or_in_the_encoding_that_it_names_is_read() {
        let text = "{\"a\": \"Amélie\"}";
        let wide = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
        for (bytes, kind) in [
            (text.as_bytes().to_vec(), "application/json; charset=iso-8859-1"),
            (wide(u16::to_le_bytes), "application/json"),
            ([vec![0xfe, 0xff], wide(u16::to_be_bytes)].concat(), "application/json"),
            (latin, "application/json; charset=ISO-8859-1"),
            (packed.finish().unwrap(), "application/json"),
        ] {
            assert_eq!(decode(&bytes, kind, 1 << 20), text);
        }
    }
}
