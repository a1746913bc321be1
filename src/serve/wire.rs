//! The JSON that callers send: the bodies of the routes around the requests of [`crate::recommend::service::request`].
//! Fields that decide what may come back are refused when misspelt.

use super::problem::{Outcome, Problem};
use crate::config::ServeConfig;
use crate::recommend::service::Query;
use crate::recommend::service::request::{
    Fields, Json, OPTIONS, RequestError, flag, list, number, read_options, read_request, read_turns, text, texts,
};

const REQUEST: &str = "an object, {\"conversation\": […]}";

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Problem {
        match error {
            RequestError::NotJson(why) => Problem::new(400, "invalid_json", format!("the body is not JSON: {why}")),
            RequestError::TooDeep(why) => Problem::new(400, "too_deep", why),
            RequestError::Field { field, message } if field.is_empty() => {
                Problem::new(422, "invalid_request", format!("the body: {message}"))
            }
            RequestError::Field { field, message } => Problem::field(field, message),
        }
    }
}

/// The fields of a body that is a JSON object; `write`: what is to be sent.
fn parse(body: &[u8], write: &str) -> Outcome<Fields> {
    let text = std::str::from_utf8(body).map_err(|e| {
        let at = e.valid_up_to();
        Problem::new(400, "not_utf8", format!("the body is not UTF-8 text (byte {at}): send JSON in UTF-8"))
    })?;
    Ok(Fields::of(Json::parse(text)?, "", write)?)
}

/// Whether it was said, and what the server itself has to add to a request.
fn heard(mut query: Query) -> Query {
    // Reasons cost an answer its speed: they are given to those who ask.
    query.explain.get_or_insert(0);
    if query.conversation.turns.iter().all(|turn| turn.text.trim().is_empty()) {
        query.warnings.push("nothing was said: the ranking rests on nothing but the catalogue".into());
    }
    query
}

/// `POST /v1/recommend`.
#[derive(Debug)]
pub(super) enum Recommend {
    One(Box<Query>),
    Many(Vec<Query>),
}

/// Reads the body of `POST /v1/recommend`.
pub(super) fn recommend(body: &[u8], config: &ServeConfig) -> Outcome<Recommend> {
    let mut fields = parse(body, REQUEST)?;
    let Some(requests) = fields.take("requests") else {
        return Ok(Recommend::One(Box::new(heard(read_request(fields, config.max_top_k)?))));
    };
    fields.end(&["requests"])?;
    let requests = list(requests, "requests", "a list of requests, [{\"conversation\": […]}, …]")?;
    if requests.is_empty() || requests.len() > config.max_batch {
        let message = format!("{} conversations; 1 to {} go in one batch", requests.len(), config.max_batch);
        return Err(Problem::field("requests", message));
    }
    let one = |(n, request): (usize, Json)| -> Result<Query, RequestError> {
        let fields = Fields::of(request, &format!("requests[{n}]"), REQUEST)?;
        Ok(heard(read_request(fields, config.max_top_k)?))
    };
    Ok(Recommend::Many(requests.into_iter().enumerate().map(one).collect::<Result<_, _>>()?))
}

/// A request for a reply.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub model: Option<String>,
    pub asked: Query,
    pub stream: bool,
    pub include_usage: bool,
}

/// Reads the body of `POST /v1/chat/completions`, the part of OpenAI's shape that means something here. Sampling settings and
/// the like are read over, and named in a warning.
pub(super) fn chat(body: &[u8], config: &ServeConfig) -> Outcome<ChatRequest> {
    let mut fields = parse(body, "an object, {\"messages\": […]}")?;
    let Some(messages) = fields.take("messages") else {
        return Err(Problem::field("messages", "missing: write [{\"role\": \"user\", \"content\": \"…\"}, …]"));
    };
    if messages == Json::List(Vec::new()) {
        return Err(Problem::field("messages", "empty: send at least one message"));
    }
    if let Some(count) = fields.take("n") {
        number(count, "n", 1..=1).map_err(|_| {
            Problem::field("n", "there is one answer to a conversation: send 1, or ask for a higher causerie.top_k")
        })?;
    }
    let mut asked = read_turns(messages, "messages")?;
    if let Some(options) = fields.take("causerie") {
        let mut options = Fields::of(options, "causerie", "an object, {\"top_k\": 5}")?;
        read_options(&mut options, config.max_top_k, &mut asked)?;
        options.end(&OPTIONS)?;
    }
    let mut asked = heard(asked);
    let model = fields.take("model").map(|model| text(model, "model", "its name, \"causerie\"")).transpose()?;
    let stream = fields.take("stream").map(|stream| flag(stream, "stream")).transpose()?;
    let include_usage = match fields.take("stream_options") {
        Some(options) => {
            let mut options = Fields::of(options, "stream_options", "an object, {\"include_usage\": true}")?;
            options.take("include_usage").map(|usage| flag(usage, "stream_options.include_usage")).transpose()?
        }
        None => None,
    };
    // Who calls does not change the answer, and needs no warning; nor does what is null.
    let ignored: Vec<String> =
        fields.into_names().into_iter().filter(|k| !["user", "metadata", "store"].contains(&k.as_str())).collect();
    if let Some((name, mask)) = ignored.iter().find_map(|name| Some((name, misplaced_mask(name)?))) {
        let message = format!("beside the messages it keeps nothing out: write it under causerie.{mask}");
        return Err(Problem::field(crate::recommend::excerpt(name, 40), message));
    }
    if !ignored.is_empty() {
        let named = crate::recommend::excerpt(&ignored.join(", "), 200);
        asked.warnings.push(format!("not used by this recommender: {named}"));
    }
    Ok(ChatRequest { model, asked, stream: stream.unwrap_or(false), include_usage: include_usage.unwrap_or(false) })
}

/// The option that a field beside the messages was meant for, where it decides what may come back; misspelt as well.
fn misplaced_mask(name: &str) -> Option<&'static str> {
    let said: String = name.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect();
    // One letter from `seen` is OpenAI's `seed`.
    let masks = [("exclude", 2), ("allow", 2), ("seen", 0)];
    masks.into_iter().find(|(mask, most)| strsim::damerau_levenshtein(&said, mask) <= *most).map(|(mask, _)| mask)
}

/// Ids to withdraw from and to restore to the catalogue.
#[derive(Debug)]
pub(super) struct CatalogueRequest {
    pub withdraw: Vec<String>,
    pub restore: Vec<String>,
    /// The generation that the caller knows: another one is a conflict.
    pub generation: Option<u64>,
}

/// Reads the body of `POST /v1/catalogue`.
pub(super) fn catalogue(body: &[u8]) -> Outcome<CatalogueRequest> {
    let mut fields = parse(body, "an object, {\"withdraw\": [\"id\"], \"restore\": [\"id\"]}")?;
    let mut ids = |name: &str| -> Result<Vec<String>, RequestError> {
        fields.take(name).map_or(Ok(Vec::new()), |value| texts(value, name))
    };
    let (withdraw, restore) = (ids("withdraw")?, ids("restore")?);
    let generation = fields.take("generation").map(|value| number(value, "generation", 0..=u64::MAX)).transpose()?;
    fields.end(&["withdraw", "restore", "generation"])?;
    Ok(CatalogueRequest { withdraw, restore, generation })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Outcome<Query> {
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
        assert_eq!(ours.conversation.turns[0].text, "hello");
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
            (r#"{"conversation": [], "explain": 101}"#, 422, "invalid_request"),
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
    fn openai_settings_that_do_nothing_here_are_named() {
        let text = r#"{"model": "m", "temperature": 0.5, "user": "u", "messages": [{"role": "system", "content": "be kind"},
            {"role": "user", "content": "hi"}], "stream": true, "stream_options": {"include_usage": true}}"#;
        let chat = chat(text.as_bytes(), &ServeConfig::default()).unwrap();
        assert!(chat.stream && chat.include_usage);
        assert_eq!(chat.asked.conversation.turns.len(), 1);
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

    /// They were named in a warning, and what was to be left out came back.
    #[test]
    fn a_mask_beside_the_messages_is_refused_and_told_its_place() {
        let ask = |field: &str| {
            let text = format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"hi\"}}], \"{field}\": [\"a\"]}}");
            chat(text.as_bytes(), &ServeConfig::default())
        };
        for (field, mask) in [
            ("exclude", "exclude"),
            ("exclud", "exclude"),
            ("Excluded", "exclude"),
            ("allow", "allow"),
            ("allowed", "allow"),
            ("seen", "seen"),
        ] {
            let problem = ask(field).unwrap_err();
            assert_eq!((problem.status, problem.param.as_deref()), (422, Some(field)));
            assert!(problem.message.contains(&format!("write it under causerie.{mask}")), "{}", problem.message);
        }
        // OpenAI's own, and those of servers that speak like it.
        for field in [
            "audio",
            "echo",
            "frequency_penalty",
            "function_call",
            "functions",
            "guided_json",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
            "max_tokens",
            "metadata",
            "min_p",
            "modalities",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "prompt_cache_key",
            "reasoning_effort",
            "response_format",
            "safety_identifier",
            "seed",
            "service_tier",
            "stop",
            "store",
            "temperature",
            "tool_choice",
            "tools",
            "top_k",
            "top_logprobs",
            "top_p",
            "user",
            "verbosity",
            "web_search_options",
        ] {
            assert!(ask(field).is_ok(), "{field}");
        }
    }
}
