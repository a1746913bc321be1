//! What endpoints send: odd bodies, refused fields, attempts that are lost; and queries and answers that cannot be used.

use super::mock::{Mock, Reply, completion};
use super::tests::{Folder, go, http, well};
use crate::ErrorKind;
use crate::config::SynthesizeConfig;
use serde_json::{Value, json};
use std::io::Write;

/// What comes of a reply to the first request, when all others are answered well.
enum Outcome {
    /// It is an answer.
    Answered,
    /// It is asked for again.
    AskedAgain,
    /// It is given up, and counted under this name.
    GivenUp(&'static str),
    /// It ends the run with an error that says this.
    Stopped(&'static str),
}
use Outcome::{Answered, AskedAgain, GivenUp, Stopped};

const QUERIES: &str = "1. I want something odd, please\n2. Another odd wish, please";
const JSON: &str = "content-type: application/json\r\n";
const HTML: &str = "content-type: text/html; charset=utf-8\r\n";
const EVENTS: &str = "content-type: text/event-stream\r\n";

/// A chunk of a stream.
fn chunk(text: &str, finish: Value) -> String {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})
        .to_string()
}

/// A completion with this message.
fn message(message: Value, finish: Value) -> String {
    json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": {"prompt_tokens": 5, "completion_tokens": 5}})
        .to_string()
}

fn raw(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body.as_ref()].concat()
}

fn status(status: u16, headers: &'static str, body: &str) -> Vec<u8> {
    raw(&format!("{status} X\r\n{headers}content-length: {}", body.len()), body)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

/// Names, replies as they stand on the wire, and what must come of them.
fn odd_replies() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let whole = completion(QUERIES, "stop");
    let (a, b) = QUERIES.split_at(20);
    let (first, last) = (chunk(a, Value::Null), chunk(b, "stop".into()));
    let ok = |body: &str| status(200, JSON, body);
    let text = |finish: Value| ok(&message(json!({"content": QUERIES}), finish));
    let ollama =
        |text: &str, done: bool| json!({"message": {"role": "assistant", "content": text}, "done": done}).to_string();
    let packed = gzip(&whole);
    let chunked = |data: &str, end: &str| {
        raw("200 OK\r\ntransfer-encoding: chunked", format!("{:x}\r\n{data}\r\n{end}", data.len()))
    };
    vec![
        // Whole answers, whatever their dress.
        ("plain", ok(&whole), Answered),
        ("no finish reason", text(Value::Null), Answered),
        ("eos", text("eos".into()), Answered),
        ("STOP", text("STOP".into()), Answered),
        ("end_turn", text("end_turn".into()), Answered),
        ("COMPLETE", text("COMPLETE".into()), Answered),
        ("a byte order mark", ok(&format!("\u{feff}{whole}")), Answered),
        ("blank lines before and after", ok(&format!("\r\n \n{whole}\n\n")), Answered),
        ("parts", ok(&message(json!({"content": [{"type": "text", "text": a}, {"type": "text", "text": b}]}), "stop".into())), Answered),
        ("thinking beside the answer", ok(&message(json!({"content": QUERIES, "reasoning_content": "hm"}), "stop".into())), Answered),
        ("no usage", ok(&json!({"choices": [{"message": {"content": QUERIES}}]}).to_string()), Answered),
        ("a null error", ok(&whole.replacen('{', "{\"error\": null, ", 1)), Answered),
        ("a completion of the old kind", ok(&json!({"choices": [{"text": QUERIES, "finish_reason": "stop"}]}).to_string()), Answered),
        ("packed, and said so", raw(&format!("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}", packed.len()), &packed), Answered),
        ("packed, and not said so", raw(&format!("200 OK\r\ncontent-length: {}", packed.len()), &packed), Answered),
        ("a charset that is not so", status(200, "content-type: application/json; charset=iso-8859-1\r\n", &whole), Answered),
        ("events", status(200, EVENTS, &format!("data: {first}\n\ndata: {last}\n\ndata: [DONE]\n\n")), Answered),
        ("events called JSON", ok(&format!(": hello\r\n\r\ndata:{first}\r\n\r\ndata:{last}\r\n\r\n")), Answered),
        ("events without a reason", status(200, EVENTS, &format!("data: {first}\n\ndata: {}\n\ndata: [DONE]\n\n", chunk(b, Value::Null))), Answered),
        ("lines of JSON", status(200, "content-type: application/x-ndjson\r\n", &format!("{}\n{}\n{}\n", ollama(a, false), ollama(b, false), ollama("", true))), Answered),
        ("Ollama's own form", ok(&ollama(QUERIES, true)), Answered),
        ("chunks without the last mark", chunked(&whole, ""), Answered),
        ("fewer bytes than announced", raw("200 OK\r\ncontent-length: 99999", &whole), Answered),
        // Halves and failures: never an answer.
        ("length", text("length".into()), AskedAgain),
        ("MAX_TOKENS", text("MAX_TOKENS".into()), AskedAgain),
        ("model_length", text("model_length".into()), AskedAgain),
        ("max_output_tokens", text("max_output_tokens".into()), AskedAgain),
        ("error", text("error".into()), AskedAgain),
        ("a reason that nobody knows", text("weather".into()), AskedAgain),
        ("tool_calls", ok(&message(json!({"content": null, "tool_calls": [{"id": "1"}]}), "tool_calls".into())), AskedAgain),
        ("null content", ok(&message(json!({"content": null}), "stop".into())), AskedAgain),
        ("only thinking", ok(&message(json!({"content": null, "reasoning_content": "hm"}), "stop".into())), AskedAgain),
        ("no choices", ok("{\"choices\": []}"), AskedAgain),
        ("a word", ok("\"hello\""), AskedAgain),
        ("an empty body", ok(""), AskedAgain),
        ("HTML", status(200, HTML, "<!doctype html><title>Sign in</title>"), AskedAgain),
        ("an error in a 200", ok("{\"error\": {\"message\": \"overloaded\", \"type\": \"server_error\"}}"), AskedAgain),
        ("a 429 in a 200", ok("{\"error\": {\"message\": \"slow down\", \"code\": 429}}"), AskedAgain),
        ("an error in a choice", ok(&json!({"choices": [{"error": {"code": 502, "message": "lost"}, "message": {"content": "1. Ha"}, "finish_reason": "error"}]}).to_string()), AskedAgain),
        ("events cut short", status(200, EVENTS, &format!("data: {first}\n\n")), AskedAgain),
        ("events cut in an event", status(200, EVENTS, &format!("data: {first}\n\ndata: {{\"choi")), AskedAgain),
        ("an error among events", status(200, EVENTS, &format!("data: {first}\n\ndata: {{\"error\": {{\"message\": \"lost\"}}}}\n\ndata: [DONE]\n\n")), AskedAgain),
        ("an error event", status(200, EVENTS, &format!("data: {first}\n\nevent: error\ndata: {{\"message\": \"lost\"}}\n\n")), AskedAgain),
        ("events that end with length", status(200, EVENTS, &format!("data: {first}\n\ndata: {}\n\ndata: [DONE]\n\n", chunk(b, "length".into()))), AskedAgain),
        ("lines of JSON cut short", ok(&format!("{}\n{}\n", ollama(a, false), ollama(b, false))), AskedAgain),
        ("chunks cut short", raw("200 OK\r\ntransfer-encoding: chunked", "ff\r\n{\"choices\": ["), AskedAgain),
        ("chunks that are none", raw("200 OK\r\ntransfer-encoding: chunked", "zz\r\n"), AskedAgain),
        ("packed and cut short", raw(&format!("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}", packed.len() / 2), &packed[..packed.len() / 2]), AskedAgain),
        ("not packed, though it says so", status(200, "content-encoding: gzip\r\n", &whole), AskedAgain),
        ("429 in HTML", status(429, "content-type: text/html\r\nretry-after: 0\r\n", "<html><h1>Too many requests</h1></html>"), AskedAgain),
        ("429 with a date", status(429, "retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n", ""), AskedAgain),
        ("429 in milliseconds", status(429, "retry-after-ms: 3\r\n", "{}"), AskedAgain),
        ("500 with a stream's piece", status(500, EVENTS, "data: {\"error\": {\"message\": \"lost\"}}\n\n"), AskedAgain),
        ("502 in HTML", status(502, HTML, "<html>bad gateway</html>"), AskedAgain),
        ("524", status(524, HTML, "<html>a timeout occurred</html>"), AskedAgain),
        ("529", status(529, JSON, "{\"type\": \"error\", \"error\": {\"type\": \"overloaded_error\", \"message\": \"Overloaded\"}}"), AskedAgain),
        // No answer, and none to be had.
        ("content_filter", text("content_filter".into()), GivenUp(": held back by the teacher")),
        ("SAFETY", ok(&message(json!({"content": ""}), "SAFETY".into())), GivenUp(": held back by the teacher")),
        ("a refusal", ok(&message(json!({"content": null, "refusal": "I cannot"}), "stop".into())), GivenUp(": held back by the teacher")),
        ("400", status(400, JSON, "{\"error\": {\"message\": \"no\"}}"), GivenUp("")),
        ("context length", status(400, JSON, "{\"error\": {\"message\": \"maximum context length is 4096\"}}"), GivenUp("")),
        ("context length in a 200", ok("{\"error\": {\"message\": \"too long\", \"code\": \"context_length_exceeded\"}}"), GivenUp("")),
        ("no quota in a 200", ok("{\"error\": {\"message\": \"pay\", \"type\": \"insufficient_quota\"}}"), Stopped("quota is used up")),
        ("a wrong key in a 200", ok("{\"error\": {\"message\": \"wrong key\", \"code\": 401}}"), Stopped("set synthesize.api_key_env")),
        ("404 in JSON's list", status(404, JSON, "[{\"error\": {\"code\": 404, \"message\": \"no such model\"}}]"), Stopped("it says: no such model")),
        ("422 of a field that was set", status(422, JSON, "{\"detail\": [{\"type\": \"extra_forbidden\", \"loc\": [\"body\", \"max_completion_tokens\"], \"msg\": \"Extra inputs are not permitted\"}]}"), Stopped("synthesize.token_field")),
    ]
}

#[test]
fn an_odd_reply_is_an_answer_or_asked_again_or_told_and_never_half_an_answer() {
    let cases = odd_replies();
    assert!(cases.len() > 60);
    for (name, bytes, outcome) in cases {
        let reply = bytes.clone();
        let mock = Mock::new(move |n, body| if n == 0 { Reply::Raw(reply.clone()) } else { well(n, body) });
        let folder = Folder::new();
        let config = SynthesizeConfig { in_flight: 1, timeout_ms: 600_000, ..http(&mock.url) };
        let result = go(&config, 1, &folder.journal());
        let journal = std::fs::read_to_string(folder.journal()).unwrap();
        let answers = journal.matches("\"type\":\"answer\"").count();
        match (outcome, result) {
            (Answered, Ok(made)) => {
                assert_eq!(made.rows[0].query(), "I want something odd, please", "{name}");
                assert_eq!((mock.count(), answers, made.rows.len()), (3, 3, 2), "{name}");
            }
            (AskedAgain, Ok(made)) => {
                assert!(!made.rows[0].query().contains("odd"), "{name}");
                assert_eq!((mock.count(), answers, made.rows.len()), (4, 3, 2), "{name}");
            }
            (GivenUp(why), Err(e)) => {
                assert!(e.message().contains(&format!("dropped: 2 queries not answered{why};")), "{name}: {e}");
                assert_eq!((mock.count(), answers), (1, 0), "{name}");
            }
            (Stopped(says), Err(e)) => {
                assert!(e.kind() == ErrorKind::Teacher && e.message().contains(says), "{name}: {e}");
                assert_eq!((mock.count(), answers), (1, 0), "{name}");
            }
            (_, result) => panic!("{name}: {result:?}"),
        }
    }
}

/// A server that refuses these fields, in words of its own.
fn refusing(refuse: fn(&Value) -> Option<String>) -> Mock {
    Mock::new(move |n, body| match refuse(&serde_json::from_str(body).unwrap()) {
        Some(message) => Reply::Status(400, JSON, message),
        None => well(n, body),
    })
}

#[test]
fn a_field_that_the_server_refuses_is_left_out_from_then_on_at_no_cost() {
    let mock = refusing(|body| {
        let says = |message: &str, param: Value| {
            Some(json!({"error": {"message": message, "param": param, "type": "invalid_request_error"}}).to_string())
        };
        match body {
            body if body.get("max_tokens").is_some() => says(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "max_tokens".into(),
            ),
            body if body.get("temperature").is_some() => says(
                "Unsupported value: 'temperature' does not support 0.8 with this model. Only the default (1) value is supported.",
                "temperature".into(),
            ),
            body if body.get("seed").is_some() => says("Unrecognized request argument supplied: seed", Value::Null),
            _ => None,
        }
    });
    let folder = Folder::new();
    // Not one retry is allowed, and not one request more than there are.
    let config = SynthesizeConfig { retries: 0, in_flight: 1, max_requests: 9, ..http(&mock.url) };
    let made = go(&config, 3, &folder.journal()).unwrap();
    assert_eq!((made.rows.len(), made.report.requests, mock.count()), (6, 9, 12), "three refusals, then none");
    for body in &mock.bodies()[3..] {
        let names: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(names, ["max_completion_tokens", "messages", "model", "stream"]);
    }
    // Several at once learn it together.
    let before = mock.count();
    let folder = Folder::new();
    let made = go(&SynthesizeConfig { retries: 0, ..http(&mock.url) }, 3, &folder.journal()).unwrap();
    assert_eq!((made.rows.len(), made.report.requests), (6, 9));
    assert!(mock.count() - before <= 9 + 3 * 4);
}

#[test]
fn settings_name_the_field_and_no_request_is_refused() {
    let mock = refusing(|body| {
        let refused = ["max_tokens", "temperature", "seed"].iter().find(|f| body.get(**f).is_some());
        refused.map(|field| format!("{{\"error\": \"{field} is not supported\"}}"))
    });
    let folder = Folder::new();
    let config = SynthesizeConfig {
        token_field: "max_completion_tokens".into(),
        omit: vec!["temperature".into(), "seed".into()],
        ..http(&mock.url)
    };
    assert_eq!(go(&config, 3, &folder.journal()).unwrap().rows.len(), 6);
    assert_eq!(mock.count(), 9);
}

#[test]
fn a_server_that_only_streams_is_asked_to_stream() {
    let mock = Mock::new(|n, body| match serde_json::from_str::<Value>(body).unwrap()["stream"] == true {
        false => Reply::Status(400, JSON, "{\"error\": {\"message\": \"This model only support stream mode\"}}".into()),
        true => match well(n, body) {
            Reply::Text(text) => {
                Reply::Status(200, EVENTS, format!("data: {}\n\ndata: [DONE]\n\n", chunk(&text, "stop".into())))
            }
            other => other,
        },
    });
    let folder = Folder::new();
    assert_eq!(go(&SynthesizeConfig { in_flight: 1, ..http(&mock.url) }, 2, &folder.journal()).unwrap().rows.len(), 4);
    assert_eq!(mock.count(), 7);
}

#[test]
fn a_server_that_refuses_a_field_whatever_is_sent_is_told_without_blame_of_the_prompt() {
    let body = r#"{"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "param": "max_tokens", "code": "unsupported_parameter"}}"#;
    let mock = Mock::new(move |_, _| Reply::Status(400, JSON, body.into()));
    let folder = Folder::new();
    let e = go(&SynthesizeConfig { in_flight: 1, ..http(&mock.url) }, 2, &folder.journal()).unwrap_err();
    assert!(e.message().contains("synthesize.token_field") && !e.message().contains("too long"), "{e}");
    assert_eq!(mock.count(), 2);
}

#[test]
fn a_lost_attempt_keeps_its_key_and_a_useless_one_does_not() {
    let cases: [(fn() -> Reply, bool); 4] = [
        (|| Reply::Raw(Vec::new()), true),
        (|| Reply::Status(200, JSON, completion("", "stop")), false),
        (|| Reply::Status(504, "", String::new()), true),
        (|| Reply::Status(500, "", String::new()), false),
    ];
    for (reply, same) in cases {
        let mock = Mock::new(move |n, body| if n == 0 { reply() } else { well(n, body) });
        let folder = Folder::new();
        let config = SynthesizeConfig { in_flight: 1, ..http(&mock.url) };
        let made = go(&config, 1, &folder.journal()).unwrap();
        let keys = mock.header("idempotency-key");
        assert_eq!(keys[0] == keys[1], same);
        let bodies = mock.bodies();
        assert_eq!(bodies[0] == bodies[1], same, "one key, one body");
        assert_eq!(made.report.requests_in_doubt, u64::from(same));
    }
}

#[test]
fn one_request_that_the_server_always_fails_at_does_not_end_the_run() {
    let mock = Mock::new(|n, body| match body.contains("different requests") && body.contains("The Tower of Alma") {
        true => Reply::Status(500, "", "tokenizer".into()),
        false => well(n, body),
    });
    let folder = Folder::new();
    // Others are answered while it waits for its next try.
    let config = SynthesizeConfig { in_flight: 1, backoff_ms: 50, ..http(&mock.url) };
    let made = go(&config, 4, &folder.journal()).unwrap();
    assert_eq!((made.rows.len(), made.report.dropped["queries not answered"]), (6, 2));
    // Alone, it ends one run more, and is passed over then.
    for run in 0..2 {
        let result = go(&http(&mock.url), 4, &folder.journal());
        assert_eq!(result.is_err(), run == 0, "{run}");
    }
}

#[test]
fn a_query_too_long_for_a_student_is_shortened_or_left_out_and_counted() {
    let long = "I want a comedy. ".repeat(400);
    let endless = "word ".repeat(800);
    let text = json!([long, endless, "Something sad, please"]).to_string();
    let mock = Mock::new(move |n, body| match body.contains("different requests") {
        true => Reply::Text(text.clone()),
        false => well(n, body),
    });
    let folder = Folder::new();
    let config = SynthesizeConfig { queries: 3, ..http(&mock.url) };
    let made = go(&config, 1, &folder.journal()).unwrap();
    assert_eq!(made.rows.len(), 2);
    let query = made.rows[0].query();
    assert!(query.len() > 700 && query.len() <= 256 * 3 && query.ends_with("a comedy."), "{query}");
    assert_eq!((made.report.shortened, made.report.dropped["queries too long"]), (1, 1));
    assert!(made.report.to_string().contains("1 queries shortened"), "{}", made.report);
    // What the teacher was asked is what stands in the dialogue.
    assert!(mock.bodies().iter().any(|b| b["messages"][0]["content"].as_str().unwrap().contains(&query)));
    let all = go(&SynthesizeConfig { query_tokens: 0, ..config }, 1, &Folder::new().journal()).unwrap();
    assert_eq!((all.rows.len(), all.report.shortened), (3, 0));
}

#[test]
fn an_answer_that_is_only_thinking_is_counted_as_that() {
    let mock = Mock::new(|n, body| match body.contains("different requests") {
        true if body.contains("The Tower of Alma") => Reply::Text("<think>1. Hm, what\n2. to ask?</think>".into()),
        true => well(n, body),
        false if n % 2 == 0 => Reply::Text("<think>1. The Garden of Alma (1990)\n2. no".into()),
        false => well(n, body),
    });
    let folder = Folder::new();
    let made = go(&SynthesizeConfig { in_flight: 1, ..http(&mock.url) }, 4, &folder.journal()).unwrap();
    assert_eq!(made.report.dropped["queries not answered: only thinking"], 2);
    let lists = made.report.dropped["recommendations not answered: only thinking"];
    assert_eq!(made.rows.len() as u64 + lists, 6);
}
