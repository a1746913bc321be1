//! The wire format of OpenAI-compatible endpoints: a request's body, and the answer in a chat completion.

use super::teacher::{Answer, Request};
use serde_json::{Value, json};

/// The body of a request to `/chat/completions`, without `stream`. Another `attempt` after a useless answer is another
/// sample.
pub(super) fn request_body(model: &str, request: &Request, attempt: usize) -> Value {
    json!({
        "model": model,
        "messages": request.messages,
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        // 31 bits survive every server.
        "seed": request.seed.wrapping_add(attempt as u64) & ((1 << 31) - 1),
    })
}

/// Why a completion holds no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There are no choices.
    NoChoices,
    /// It reached its limit of tokens.
    Half,
    /// The server held it back.
    Filtered,
    /// The text is blank.
    Empty,
}

/// The answer in a chat completion, and the tokens it cost. `request_bytes`: what stands for the prompt's tokens where the
/// server does not count them.
pub(super) fn answer_of(completion: &Value, request_bytes: usize) -> (Result<String, Unusable>, (u64, u64)) {
    let count = |name: &str| completion.pointer(&format!("/usage/{name}")).and_then(Value::as_u64);
    let choice = completion.pointer("/choices/0");
    let text = match choice.and_then(|c| c.pointer("/message/content")) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("")
        }
        Some(_) | None => String::new(),
    };
    // Three bytes a token where the server does not count: more than there are, for nearly all text.
    let tokens = (
        count("prompt_tokens").unwrap_or(request_bytes as u64 / 3 + 1),
        count("completion_tokens").unwrap_or(text.len() as u64 / 3 + 1),
    );
    let usable = match choice {
        None => Err(Unusable::NoChoices),
        Some(choice) => match choice.get("finish_reason").and_then(Value::as_str) {
            Some("length") => Err(Unusable::Half),
            Some("content_filter") => Err(Unusable::Filtered),
            Some(_) | None if text.trim().is_empty() => Err(Unusable::Empty),
            Some(_) | None => Ok(text),
        },
    };
    (usable, tokens)
}

/// [`answer_of`] as an answer; what is unusable in words.
pub(super) fn read(completion: &Value, request_bytes: usize) -> Result<Answer, &'static str> {
    match answer_of(completion, request_bytes) {
        (Ok(text), (prompt_tokens, completion_tokens)) => Ok(Answer { text, prompt_tokens, completion_tokens }),
        (Err(Unusable::NoChoices), _) => Err("no choices"),
        (Err(Unusable::Half), _) => Err("half an answer: it reached its limit; raise synthesize.answer_tokens"),
        (Err(Unusable::Filtered), _) => Err("held back (content_filter)"),
        (Err(Unusable::Empty), _) => Err("an empty answer"),
    }
}
