//! What a server says when it does not answer: in which field the words stand, which field of the request it does not take,
//! and what a user can do about it.

use super::fields::Field;
use super::prompts::defuse;
use serde_json::Value;

/// Characters of a server's message that an error quotes.
const QUOTED_CHARS: usize = 300;

/// Ways to say that a field, or its value, is not for this model.
const UNSUPPORTED: [&str; 24] = [
    "unsupported",
    "not supported",
    "not support",
    "n't support",
    "n’t support",
    "unrecognized",
    "unrecognised",
    "unknown",
    "unexpected",
    "extra_forbidden",
    "extra inputs",
    "extra fields",
    "not permitted",
    "not allowed",
    "is allowed for this model",
    "additional properties",
    "deprecated",
    "cannot find field",
    "no such field",
    "not a valid parameter",
    "only the default",
    "may only be set",
    "not available",
    "cannot be used",
];

/// Ways to say that prompt and answer do not fit the model.
const TOO_LONG: [&str; 16] = [
    "context length",
    "context_length",
    "context window",
    "context size",
    "context_size",
    "maximum context",
    "max context",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input too long",
    "input length",
    "input tokens",
    "reduce the length",
    "request too large",
    "max_model_len",
];

/// Names of what holds an answer to its form; no message speaks of them otherwise.
const FORM: [&str; 10] = [
    "response_format",
    "response format",
    "json_schema",
    "json schema",
    "json_object",
    "guided_",
    "guided decoding",
    "grammar",
    "structured output",
    "structured_output",
];

/// A server's error.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ServerError {
    message: String,
    /// The field of the request that it names beside the message.
    param: Option<String>,
    /// Its codes, types and states, in lower case.
    codes: String,
    /// A status that it names, in place of the response's.
    pub status: Option<u16>,
}

impl ServerError {
    /// Reads a body, which may be JSON, a stream's piece, a page of HTML or plain words.
    pub(super) fn parse(body: &str) -> ServerError {
        let body = body.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
        let first = body.strip_prefix("data:").map_or(body, |rest| rest.lines().next().unwrap_or("").trim());
        match serde_json::from_str::<Value>(first) {
            Ok(value) => {
                let error = ServerError::of(&value);
                let message = if error.message.is_empty() { first.to_string() } else { error.message };
                ServerError { message, ..error }
            }
            Err(_) if body.starts_with('<') => ServerError { message: without_tags(body), ..Default::default() },
            Err(_) => ServerError { message: body.to_string(), ..Default::default() },
        }
    }

    /// Reads JSON: `{"error": {"message", "param", "code"}}` and its many kin.
    pub(super) fn of(value: &Value) -> ServerError {
        let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        let inner = value.get("error").filter(|e| !e.is_null()).unwrap_or(value);
        let inner = inner.as_array().and_then(|list| list.first()).unwrap_or(inner);
        let mut message = words(inner);
        if message.is_empty() {
            message = words(value);
        }
        // A gateway passes on the JSON of the server behind it as its message.
        if let Some(at) = message.find("{\"error\"")
            && let Some(Ok(nested)) = serde_json::Deserializer::from_str(&message[at..]).into_iter::<Value>().next()
        {
            return ServerError { status: status_of(inner), ..ServerError::of(&nested) };
        }
        let mut codes = String::new();
        for code in [inner, value].iter().flat_map(|v| ["code", "type", "status"].map(|name| v.get(name))).flatten() {
            codes.push_str(&code.as_str().map_or_else(|| code.to_string(), str::to_lowercase));
            codes.push(' ');
        }
        let param = inner.get("param").and_then(Value::as_str).filter(|p| !p.is_empty()).map(str::to_string);
        ServerError { message, param, codes, status: status_of(inner).or_else(|| status_of(value)) }
    }

    fn lower(&self) -> String {
        format!("{} {}", self.codes, self.message.to_lowercase())
    }

    /// The field of a request that the server does not take; none: it complains of something else.
    pub(super) fn refused_field(&self) -> Option<Field> {
        let text = self.lower();
        let streams_only =
            ["only support stream", "only supports stream", "enable the stream", "stream must be set to true"];
        if streams_only.iter().any(|way| text.contains(way)) {
            return Some(Field::Stream);
        }
        let named = self.param.as_deref().unwrap_or(&self.message).to_lowercase();
        if !self.speaks_of_length() && FORM.iter().any(|name| named.contains(name)) {
            return Some(Field::Form);
        }
        if self.speaks_of_length() || !UNSUPPORTED.iter().any(|way| text.contains(way)) {
            return None;
        }
        if let Some(param) = &self.param {
            return Field::ALL.into_iter().find(|field| field.name() == param);
        }
        // "Use 'max_completion_tokens' instead": the refused one is named first.
        let named = Field::ALL.into_iter().filter(|f| !matches!(f, Field::Stream | Field::Form));
        named.filter_map(|field| Some((position(&self.message, field.name())?, field))).min_by_key(|n| n.0).map(|n| n.1)
    }

    fn speaks_of_length(&self) -> bool {
        let text = self.lower();
        TOO_LONG.iter().any(|way| text.contains(way))
    }

    /// What to do about a request that is refused: `: do this`, or nothing.
    pub(super) fn advice(&self, status: u16) -> &'static str {
        let text = self.lower();
        let names = |field: Field| {
            position(&self.message, field.name()).is_some() || self.param.as_deref() == Some(field.name())
        };
        if text.contains("output limit was reached") {
            ": the model came to no answer; raise synthesize.answer_tokens"
        } else if status == 413 || self.speaks_of_length() {
            ": the prompt is too long for the model; lower synthesize.reviews, synthesize.review_chars or \
             synthesize.answer_tokens"
        } else if self.refused_field() == Some(Field::Form) {
            ": the server does not take this form of answers; see synthesize.structured"
        } else if self.refused_field().is_some() {
            ": the server does not take a field of the request; see synthesize.token_field and synthesize.omit"
        } else if names(Field::MaxTokens) || names(Field::MaxCompletionTokens) {
            ": change synthesize.answer_tokens"
        } else if names(Field::Temperature) {
            ": change synthesize.temperature"
        } else {
            ""
        }
    }

    /// No retry will help: the account is used up.
    pub(super) fn quota_is_used_up(&self) -> bool {
        self.lower().contains("insufficient_quota")
    }

    /// The status that it stands for where the response said 200.
    pub(super) fn status_in_place_of_200(&self) -> u16 {
        let has = |what: &[&str]| what.iter().any(|w| self.codes.contains(w));
        self.status.unwrap_or(match () {
            () if has(&["rate_limit", "too_many", "throttl", "insufficient_quota"]) => 429,
            () if has(&["authentication", "invalid_api_key", "permission"]) => 401,
            () if has(&["model_not_found", "not_found"]) => 404,
            () if has(&["context_length", "unsupported", "invalid_request", "invalid_argument", "badrequest"]) => 400,
            () => 500,
        })
    }

    /// Its words, shortened, on one line: `; it says: …`, or nothing.
    pub(super) fn quoted(&self) -> String {
        let text = defuse(&self.message, QUOTED_CHARS);
        if text.is_empty() { text } else { format!("; it says: {text}") }
    }
}

/// The words of an error, wherever they stand in it.
fn words(error: &Value) -> String {
    match error {
        Value::String(text) => text.clone(),
        // Of each wrong field its path and what is wrong.
        Value::Array(list) => list.iter().map(words).filter(|w| !w.is_empty()).collect::<Vec<_>>().join("; "),
        Value::Object(map) => {
            let names =
                ["message", "msg", "detail", "details", "errors", "error_description", "error_msg", "reason", "title"];
            let found = names.iter().filter_map(|name| map.get(*name)).map(words).find(|w| !w.is_empty());
            let path = match map.get("loc").and_then(Value::as_array) {
                Some(path) => path.iter().map(|p| p.as_str().map_or_else(|| p.to_string(), str::to_string)).collect(),
                None => Vec::new(),
            };
            match found {
                Some(found) if path.is_empty() => found,
                Some(found) => format!("{}: {found}", path.join(".")),
                None => String::new(),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// 429 or "429".
fn status_of(error: &Value) -> Option<u16> {
    let number = |v: &Value| v.as_u64().or_else(|| v.as_str()?.parse().ok()).filter(|n| (400..600).contains(n));
    ["code", "status", "status_code"].iter().filter_map(|name| error.get(*name)).find_map(number).map(|n| n as u16)
}

/// Where `name` stands in `text` as a word of its own.
fn position(text: &str, name: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .map(|(at, _)| at)
        .find(|at| !text[..*at].ends_with(part) && !text[at + name.len()..].starts_with(part))
}

/// The words of a page of HTML.
fn without_tags(page: &str) -> String {
    let mut out = String::new();
    for piece in page.split('<') {
        let (tag, text) = piece.split_once('>').unwrap_or(("", ""));
        if !tag.starts_with("style") && !tag.starts_with("script") {
            out.push_str(text);
            out.push(' ');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_a_server_does_not_take_is_found_in_its_words() {
        let cases = [
            (
                Some(Field::MaxTokens),
                r#"{"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "param": "max_tokens", "code": "unsupported_parameter"}}"#,
            ),
            (
                Some(Field::MaxTokens),
                r#"{"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "code": "invalid_request_body"}}"#,
            ),
            (
                Some(Field::MaxTokens),
                r#"{"error":{"message":"[openai/x] [400]: {\n  \"error\": {\n \"message\": \"Unsupported parameter: 'max_tokens'\", \"code\": \"unsupported_parameter\"}}"}}"#,
            ),
            (
                Some(Field::Temperature),
                r#"{"error": {"message": "Unsupported value: 'temperature' does not support 0.8 with this model. Only the default (1) value is supported.", "param": "temperature", "code": "unsupported_value"}}"#,
            ),
            (
                Some(Field::Temperature),
                r#"{"error": {"message": "invalid temperature: only 1 is allowed for this model", "type": "invalid_request_error"}}"#,
            ),
            (
                Some(Field::Seed),
                r#"{"error": {"message": "Unrecognized request argument supplied: seed", "param": null}}"#,
            ),
            (
                Some(Field::Seed),
                r#"{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 1}]}"#,
            ),
            (
                Some(Field::Seed),
                r#"{"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]", "code": 400}"#,
            ),
            (
                Some(Field::Seed),
                r#"[{"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \"seed\": Cannot find field.", "status": "INVALID_ARGUMENT"}}]"#,
            ),
            (
                Some(Field::Seed),
                r#"{"error": {"message": "litellm.UnsupportedParamsError: m does not support parameters: ['seed']"}}"#,
            ),
            (Some(Field::Seed), "property 'seed' is unsupported"),
            (
                Some(Field::MaxCompletionTokens),
                r#"{"error": {"message": "Unrecognized request argument supplied: max_completion_tokens"}}"#,
            ),
            (
                Some(Field::Stream),
                r#"{"error": {"message": "This model only support stream mode, please enable the stream parameter"}}"#,
            ),
            (
                None,
                r#"{"error": {"message": "Unsupported value: 'messages[0].role' does not support 'user'", "param": "messages[0].role"}}"#,
            ),
            (
                None,
                r#"{"error": {"message": "max_tokens is too large: 60000. This model supports at most 16384 completion tokens", "param": "max_tokens", "code": "invalid_value"}}"#,
            ),
            (None, r#"{"error": {"message": "temperature must be between 0 and 1"}}"#),
            (
                None,
                r#"{"error": {"message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens; max_tokens not supported"}}"#,
            ),
            (None, r#"{"error": "model not supported"}"#),
            (None, "<html>unsupported</html>"),
        ];
        for (expected, body) in cases {
            assert_eq!(ServerError::parse(body).refused_field(), expected, "{body}");
        }
    }

    #[test]
    fn the_prompts_length_is_blamed_only_where_the_server_speaks_of_it() {
        let too_long = "prompt is too long";
        for (advice, body) in [
            (too_long, r#"{"error": {"message": "x", "code": "context_length_exceeded"}}"#),
            (
                too_long,
                r#"{"error": {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}"#,
            ),
            (
                too_long,
                r#"{"error": {"message": "'max_tokens' is too large: 600. This model's maximum context length is 512 tokens"}}"#,
            ),
            (
                "answer_tokens",
                r#"{"error": {"message": "max_tokens is too large: 60000. This model supports at most 16384 completion tokens"}}"#,
            ),
            (
                "raise synthesize.answer_tokens",
                r#"{"error": {"message": "Could not finish the message because max_tokens or model output limit was reached."}}"#,
            ),
            ("synthesize.temperature", r#"{"error": {"message": "temperature must be between 0 and 1"}}"#),
            (
                "synthesize.token_field",
                r#"{"error": {"message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens"}}"#,
            ),
            ("", r#"{"error": {"message": "in this context a tool is needed"}}"#),
        ] {
            let got = ServerError::parse(body).advice(400);
            assert!(if advice.is_empty() { got.is_empty() } else { got.contains(advice) }, "{body}: {got}");
            assert_eq!(got.contains(too_long), advice == too_long, "{body}: {got}");
        }
    }

    #[test]
    fn a_servers_words_are_found_wherever_they_stand() {
        for body in [
            r#"{"error": {"message": "no model"}}"#,
            r#"{"error": "no model"}"#,
            r#"{"message": "no model"}"#,
            r#"{"detail": "no model"}"#,
            r#"[{"error": {"message": "no model"}}]"#,
            r#"{"errors": ["no model"]}"#,
            "data: {\"error\": {\"message\": \"no model\"}}\n\n",
            "\u{feff}{\"error\": \"no model\"}",
            "<html><style>p {}</style><p>no model</p></html>",
            "no model",
        ] {
            assert_eq!(ServerError::parse(body).quoted(), "; it says: no model", "{body}");
        }
        assert_eq!(ServerError::parse("").quoted(), "");
        assert_eq!(ServerError::parse(r#"{"error": {"code": "429", "message": "slow"}}"#).status, Some(429));
    }
}
