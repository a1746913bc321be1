//! The JSON that callers send, and its checks. Fields that decide what may come back are refused when misspelt.

use super::message::{self, WireTurn};
use super::problem::{Outcome, Problem};
use crate::config::ServeConfig;
use crate::recommend::service::{ItemList, Query, SeenItem};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Objects and lists within one another; no request of ours needs a tenth of it.
const MOST_DEEP: usize = 64;
/// Reviews behind each item at most, and where a request says `true`.
const EXPLAIN_MOST: usize = 20;
const EXPLAIN_TRUE: usize = 3;

/// A body as JSON of the shape `T`.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Outcome<T> {
    let text = std::str::from_utf8(body).map_err(|e| {
        let at = e.valid_up_to();
        Problem::new(400, "not_utf8", format!("the body is not UTF-8 text (byte {at}): send JSON in UTF-8"))
    })?;
    if too_deep(body) {
        let message = format!("the JSON is nested more than {MOST_DEEP} deep: send a flat request");
        return Err(Problem::new(400, "too_deep", message));
    }
    // A list would be taken for the fields of a request in their order.
    if !text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return Err(Problem::new(
            422,
            "invalid_request",
            "the body is JSON but no object: send {\"conversation\": […]}",
        ));
    }
    serde_json::from_str(text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => Problem::new(422, "invalid_request", e.to_string()),
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof | serde_json::error::Category::Io => {
            Problem::new(400, "invalid_json", format!("the body is not JSON: {e}"))
        }
    })
}

/// Counts brackets outside strings; what is not JSON at all is left to the parser.
fn too_deep(body: &[u8]) -> bool {
    let (mut depth, mut inside, mut escaped) = (0usize, false, false);
    for byte in body {
        match (inside, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => inside = false,
            (false, b'"') => inside = true,
            (false, b'[' | b'{') => {
                depth += 1;
                if depth > MOST_DEEP {
                    return true;
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (true | false, _) => {}
        }
    }
    false
}

/// One conversation, its fields checked one by one; what the catalogue has to say of them comes with the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WireQuery {
    pub query: Query,
    /// What was sent and is not used.
    pub warnings: Vec<String>,
}

/// `true`, `false`, or a number of reviews.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Explain(u64);

impl<'de> Deserialize<'de> for Explain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Explain, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Explain;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("true, false, or the number of reviews behind each item")
            }
            fn visit_bool<E>(self, yes: bool) -> Result<Explain, E> {
                Ok(Explain(if yes { EXPLAIN_TRUE as u64 } else { 0 }))
            }
            fn visit_u64<E>(self, count: u64) -> Result<Explain, E> {
                Ok(Explain(count))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What a request asks for beside its conversation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    seen: Option<Vec<SeenItem>>,
    exclude: Option<Vec<String>>,
    allow: Option<Vec<String>>,
    top_k: Option<u64>,
    explain: Option<Explain>,
}

/// One conversation of `POST /v1/recommend`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Single {
    #[serde(alias = "turns", alias = "messages")]
    conversation: Vec<WireTurn>,
    seen: Option<Vec<SeenItem>>,
    exclude: Option<Vec<String>>,
    allow: Option<Vec<String>>,
    top_k: Option<u64>,
    explain: Option<Explain>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchRequest {
    requests: Vec<Single>,
}

#[derive(Debug, Deserialize)]
struct Probe {
    requests: Option<IgnoredAny>,
}

/// `POST /v1/recommend`.
#[derive(Debug)]
pub(super) enum Recommend {
    One(Box<WireQuery>),
    Many(Vec<WireQuery>),
}

/// Reads the body of `POST /v1/recommend`.
pub(super) fn recommend(body: &[u8], config: &ServeConfig) -> Outcome<Recommend> {
    let one = |single: Single| -> Outcome<WireQuery> {
        let Single { conversation, seen, exclude, allow, top_k, explain } = single;
        query(conversation, "conversation", Options { seen, exclude, allow, top_k, explain }, config)
    };
    if parse::<Probe>(body)?.requests.is_none() {
        return Ok(Recommend::One(Box::new(one(parse::<Single>(body)?)?)));
    }
    let requests = parse::<BatchRequest>(body)?.requests;
    if requests.is_empty() || requests.len() > config.max_batch {
        let message = format!("{} conversations; 1 to {} go in one batch", requests.len(), config.max_batch);
        return Err(Problem::field("requests", message));
    }
    let requests = requests.into_iter().enumerate();
    requests
        .map(|(n, single)| one(single).map_err(|p| p.within(&format!("requests[{n}]"))))
        .collect::<Result<_, _>>()
        .map(Recommend::Many)
}

/// `POST /v1/chat/completions`, the part of OpenAI's shape that means something here.
#[derive(Debug, Deserialize)]
struct ChatBody {
    model: Option<String>,
    messages: Vec<WireTurn>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u64>,
    causerie: Option<Options>,
    /// Sampling settings and the like: read over, and named in a warning.
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// A request for a reply.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub model: Option<String>,
    pub asked: WireQuery,
    pub stream: bool,
    pub include_usage: bool,
}

/// Reads the body of `POST /v1/chat/completions`.
pub(super) fn chat(body: &[u8], config: &ServeConfig) -> Outcome<ChatRequest> {
    let body: ChatBody = parse(body)?;
    if body.messages.is_empty() {
        return Err(Problem::field("messages", "empty: send at least one message"));
    }
    if body.n.is_some_and(|n| n != 1) {
        return Err(Problem::field(
            "n",
            "there is one answer to a conversation: send 1, or ask for a higher causerie.top_k",
        ));
    }
    let mut asked = query(body.messages, "messages", body.causerie.unwrap_or_default(), config)?;
    // Who calls does not change the answer, and needs no warning.
    let ignored: Vec<&str> =
        body.others.keys().map(String::as_str).filter(|k| !["user", "metadata", "store"].contains(k)).collect();
    if !ignored.is_empty() {
        let named = crate::recommend::excerpt(&ignored.join(", "), 200);
        asked.warnings.push(format!("not used by this recommender: {named}"));
    }
    let include_usage = body.stream_options.and_then(|o| o.include_usage).unwrap_or(false);
    Ok(ChatRequest { model: body.model, asked, stream: body.stream.unwrap_or(false), include_usage })
}

/// Ids to withdraw from and to restore to the catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogueRequest {
    #[serde(default)]
    pub withdraw: Vec<String>,
    #[serde(default)]
    pub restore: Vec<String>,
    /// The generation that the caller knows: another one is a conflict.
    pub generation: Option<u64>,
}

fn query(turns: Vec<WireTurn>, field: &str, options: Options, config: &ServeConfig) -> Outcome<WireQuery> {
    let (turns, warnings) = message::turns(turns, field)?;
    let top_k = match options.top_k {
        None => None,
        Some(k) => match usize::try_from(k) {
            Ok(k) if (1..=config.max_top_k).contains(&k) => Some(k),
            Ok(_) | Err(_) => {
                return Err(Problem::field("top_k", format!("{k}: 1 to {} can be asked for", config.max_top_k)));
            }
        },
    };
    let explain = options.explain.unwrap_or_default().0;
    if explain > EXPLAIN_MOST as u64 {
        return Err(Problem::field("explain", format!("{explain}: at most {EXPLAIN_MOST} reviews an item")));
    }
    let mut query = Query::of_turns(turns);
    query.conversation.seen = options.seen.unwrap_or_default().into_iter().map(|seen| seen.0).collect();
    query.exclude = ItemList::of_ids(options.exclude.unwrap_or_default());
    query.allow = options.allow.map(ItemList::of_ids);
    (query.top_k, query.explain) = (top_k, Some(explain as usize));
    Ok(WireQuery { query, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Outcome<WireQuery> {
        match recommend(text.as_bytes(), &ServeConfig::default())? {
            Recommend::One(one) => Ok(*one),
            Recommend::Many(_) => panic!("read as a batch"),
        }
    }

    #[test]
    fn both_spellings_of_a_conversation_say_the_same() {
        let ours =
            one(r#"{"conversation": [{"role": "user", "text": "hello"}], "top_k": 3, "explain": true}"#).unwrap();
        let theirs = one(
            r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}], "name": "x"}], "top_k": 3, "explain": 3}"#,
        )
        .unwrap();
        assert_eq!(ours, theirs);
        assert_eq!(ours.query.conversation.turns[0].text, "hello");
    }

    #[test]
    fn a_misspelt_mask_is_refused_and_not_passed_over() {
        let problem = one(r#"{"conversation": [], "exclud": ["a"]}"#).unwrap_err();
        assert_eq!(problem.status, 422);
        assert!(problem.message.contains("exclud"), "{}", problem.message);
        // Said twice, the second would silently win.
        assert_eq!(one(r#"{"conversation": [], "exclude": ["a"], "exclude": []}"#).unwrap_err().status, 422);
        let text = r#"{"messages": [{"role": "user", "content": "x"}], "causerie": {"alow": []}}"#;
        assert_eq!(chat(text.as_bytes(), &ServeConfig::default()).unwrap_err().status, 422);
    }

    #[test]
    fn what_is_not_json_is_400_and_what_does_not_fit_is_422() {
        for (text, status, code) in [
            ("", 400, "invalid_json"),
            ("{\"conversation\": [", 400, "invalid_json"),
            (r#"{"conversation": [{"role": "user", "text": "\ud800"}]}"#, 400, "invalid_json"),
            ("[]", 422, "invalid_request"),
            ("{}", 422, "invalid_request"),
            (r#"{"conversation": "hello"}"#, 422, "invalid_request"),
            (r#"{"conversation": [{"role": "robot", "text": "x"}]}"#, 422, "invalid_request"),
            (r#"{"conversation": [{"role": "user", "text": 7}]}"#, 422, "invalid_request"),
            (r#"{"conversation": [{"role": "user"}]}"#, 422, "invalid_request"),
            (r#"{"conversation": [], "top_k": 0}"#, 422, "invalid_request"),
            (r#"{"conversation": [], "top_k": 1001}"#, 422, "invalid_request"),
            (r#"{"conversation": [], "top_k": -1}"#, 422, "invalid_request"),
            (r#"{"conversation": [], "explain": 21}"#, 422, "invalid_request"),
            (r#"{"requests": []}"#, 422, "invalid_request"),
            (r#"{"conversation": [{"role": "user", "content": [{"type": "image_url"}]}]}"#, 422, "invalid_request"),
        ] {
            let problem = recommend(text.as_bytes(), &ServeConfig::default()).unwrap_err();
            assert_eq!((problem.status, problem.code), (status, code), "{text}: {}", problem.message);
        }
        assert_eq!(recommend(b"{\"conversation\": \"\xff\"}", &ServeConfig::default()).unwrap_err().code, "not_utf8");
        let bad = r#"{"requests": [{"conversation": []}, {"conversation": [], "top_k": 0}]}"#;
        let problem = recommend(bad.as_bytes(), &ServeConfig::default()).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("requests[1].top_k"));
    }

    #[test]
    fn deep_nesting_is_refused_and_brackets_in_strings_are_not_nesting() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(!too_deep(deep(MOST_DEEP).as_bytes()));
        assert!(too_deep(deep(MOST_DEEP + 1).as_bytes()));
        assert!(too_deep("[".repeat(1 << 20).as_bytes()));
        assert!(!too_deep(format!("\"{}\\\"{}\"", "[".repeat(100), "{".repeat(100)).as_bytes()));
        assert_eq!(parse::<IgnoredAny>(deep(100).as_bytes()).unwrap_err().code, "too_deep");
    }

    #[test]
    fn openai_settings_that_do_nothing_here_are_named() {
        let text = r#"{"model": "m", "temperature": 0.5, "user": "u", "messages": [{"role": "system", "content": "be kind"},
            {"role": "user", "content": "hi"}], "stream": true, "stream_options": {"include_usage": true}}"#;
        let chat = chat(text.as_bytes(), &ServeConfig::default()).unwrap();
        assert!(chat.stream && chat.include_usage);
        assert_eq!(chat.asked.query.conversation.turns.len(), 1);
        assert!(
            chat.asked.warnings.iter().any(|w| w.contains("temperature") && !w.contains("user,")),
            "{:?}",
            chat.asked.warnings
        );
        assert!(chat.asked.warnings.iter().any(|w| w.contains("system")));
        assert!(super::chat(br#"{"messages": [], "n": 1}"#, &ServeConfig::default()).is_err());
        let two = br#"{"messages": [{"role": "user", "content": "hi"}], "n": 2}"#;
        assert_eq!(super::chat(two, &ServeConfig::default()).unwrap_err().param.as_deref(), Some("n"));
    }
}
