//! `causerie serve` as its users meet it: the built command, a small work directory, raw sockets.
#![cfg(feature = "serve")]

#[path = "../src/testing/mod.rs"]
mod testing;

use causerie::Run;
use causerie::dataset::{Role, Turn};
use causerie::pipeline::{demo_config, demo_defaults, open, pipeline};
use causerie::recommend::{ItemList, Query, Service};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const SECRET: &str = "a-token-for-these-tests-0123";

/// A finished run over the simulated domain, made once for all tests of this file.
fn work() -> &'static Path {
    static WORK: OnceLock<PathBuf> = OnceLock::new();
    WORK.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("serve");
        let _ = std::fs::remove_dir_all(&dir);
        let run = Run::new(2).unwrap();
        let mut config = demo_defaults();
        for (key, value) in [
            ("simulate.items", "150"),
            ("simulate.users", "400"),
            ("simulate.reviews", "2500"),
            ("simulate.conversations", "40"),
            ("embed.dim", "32"),
            ("embed.user_dim", "8"),
            ("pipeline.strategies", "random,fisher"),
            ("pipeline.rounds", "1"),
            ("pipeline.budget", "100"),
            ("pipeline.naive", "false"),
            ("tune.head_epochs", "5"),
            ("evaluate.bootstrap", "100"),
        ] {
            config.set(key, value).unwrap();
        }
        let config = demo_config(&dir, &config, &run).unwrap();
        pipeline(&config, &dir, false, &run).unwrap();
        dir
    })
}

fn opened() -> &'static Service {
    static OPENED: OnceLock<Service> = OnceLock::new();
    OPENED.get_or_init(|| open(work(), causerie::config::RankingSystem::Head, None, &Run::new(2).unwrap()).unwrap())
}

/// The command, serving; killed when dropped.
struct Served {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    said: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
    command.args(["serve", "--work"]).arg(work()).args(["--port", "0"]).args(arguments);
    command.env_remove("CAUSERIE_TOKEN").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start_with(mut command: Command) -> Served {
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let log = Arc::new(Mutex::new(String::new()));
    let (lines, into) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|l| *into.lock().unwrap() += &format!("{l}\n")));
    let port = said.trim().trim_end_matches('/').rsplit(':').next().unwrap().parse();
    let served =
        Served { child, port: port.unwrap_or_else(|_| panic!("said {said:?}, {}", log.lock().unwrap())), log, said };
    let until = Instant::now() + Duration::from_secs(60);
    while served.ask("GET", "/health/ready", &[], b"").status != 200 {
        assert!(Instant::now() < until, "not ready: {}", served.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    served
}

fn start(arguments: &[&str]) -> Served {
    start_with(command(arguments))
}

#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|l| l.split_once(':'));
        lines.filter(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).next()
    }
    fn ids(&self) -> Vec<String> {
        ids(&self.json()["items"])
    }
}

fn ids(items: &Value) -> Vec<String> {
    items.as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap().to_string()).collect()
}

/// Reads an answer to its end: the connection closes after it.
fn read_answer(stream: &mut TcpStream) -> Answer {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Answer { status: 0, head: text, body: String::new() };
    };
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let mut answer = Answer { status, head: head.to_string(), body: body.to_string() };
    if answer.header("transfer-encoding") == Some("chunked") {
        let (mut rest, mut whole) = (body, String::new());
        while let Some((length, after)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).unwrap();
            if length == 0 {
                break;
            }
            whole += &after[..length];
            rest = &after[length + 2..];
        }
        answer.body = whole;
    }
    answer
}

impl Served {
    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }
    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
    /// The log, once it says `what`.
    fn log_with(&self, what: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(what) {
            assert!(Instant::now() < until, "the log does not say {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.log()
    }
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: 127.0.0.1:{}\r\n", self.port);
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "Transfer-Encoding") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        // A refused body may find the connection closed before its end: the answer is what counts.
        let _ = stream.write_all(body);
        stream
    }
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        read_answer(&mut self.send(method, path, headers, body))
    }
    fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[JSON], body.to_string().as_bytes())
    }
    fn recommend(&self, body: &Value) -> Answer {
        self.post("/v1/recommend", body)
    }
    fn metric(&self, line: &str) -> f64 {
        let text = self.ask("GET", "/metrics", &[], b"").body;
        let found = text.lines().find_map(|l| l.strip_prefix(line)).map(|v| v.trim().parse().unwrap());
        found.unwrap_or_else(|| panic!("no {line} in\n{text}"))
    }
    /// Waits until `line` of the metrics is `value`.
    fn wait_for(&self, line: &str, value: f64) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.metric(line) != value {
            assert!(Instant::now() < until, "{line} is not {value}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    fn terminate(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
    }
    fn exit_code(&mut self) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "still running: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn says(text: &str) -> Value {
    json!([{"role": "user", "text": text}])
}

/// Work of many seconds, should nobody stop it: thousands of conversations, every review looked at.
fn heavy() -> String {
    let one = json!({"conversation": says("a haunted lighthouse"), "top_k": 150, "explain": 20});
    json!({"requests": vec![one; 4000]}).to_string()
}
const COMPUTING: &str = "causerie_requests_computing ";
const HEAVY: [&str; 6] = ["--max-batch", "5000", "--max-concurrent", "1", "--max-answer", "100000000"];

#[test]
fn an_answer_is_the_librarys_own_with_the_reviews_of_each_item() {
    let served = start(&[]);
    let opened = opened();
    let items = opened.items();
    let text = "I loved something dreamlike about redemption";
    let (exclude, seen) = (items.id(3).to_string(), items.name(5));
    let body = json!({
        "conversation": says(text), "top_k": 40, "explain": 2, "exclude": [exclude, "no such id"],
        "seen": [seen, {"id": items.id(7)}, {"title": items.title(9), "year": items.year(9)}, "Nowhere To Be Found"],
    });
    let answer = served.recommend(&body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let rows: Vec<u32> = answer.ids().iter().map(|id| items.find(id).unwrap()).collect();
    for out in [3, 5, 7, 9] {
        assert!(!rows.contains(&out), "{out} came back");
    }
    let said = answer.json();
    let warnings = said["warnings"].to_string();
    assert!(warnings.contains("no such id") && warnings.contains("Nowhere To Be Found"), "{warnings}");

    // The library, asked the same.
    let seen = [5usize, 7, 9]
        .map(|row| causerie::dataset::ItemName { item: Some(items.id(row).to_string()), ..Default::default() });
    let turns = vec![Turn { role: Role::User, text: text.into() }];
    let mut query = Query { exclude: ItemList::of_ids([exclude]), top_k: Some(40), ..Query::of_turns(turns) };
    query.conversation.seen = seen.to_vec();
    let run = Run::new(2).unwrap();
    let expected = opened.answer(&Query { explain: Some(0), ..query }, &run).unwrap().items;
    assert_eq!(rows, expected.iter().map(|r| r.item).collect::<Vec<_>>());
    for (item, expected) in said["items"].as_array().unwrap().iter().zip(&expected) {
        assert_eq!(item["score"].as_f64().unwrap() as f32, expected.score);
        assert_eq!(item["title"], items.title(expected.item as usize));
        let evidence = item["evidence"].as_array().unwrap();
        assert!(evidence.len() <= 2);
        for spoken in evidence {
            let row = spoken["review"].as_u64().unwrap() as usize;
            assert_eq!(
                opened.dataset().review_item(row),
                expected.item as usize,
                "a review of another item speaks for it"
            );
            let start = spoken["text"].as_str().unwrap().chars().take(20).collect::<String>();
            let review = opened.dataset().review_text(row).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(review.starts_with(start.trim_end_matches('…')));
        }
    }
    assert!(said["items"].as_array().unwrap().iter().any(|i| !i["evidence"].as_array().unwrap().is_empty()));
}

#[test]
fn only_allowed_items_come_back_and_nothing_allowed_is_nothing_not_everything() {
    let served = start(&["--system", "popularity"]);
    let items = opened().items();
    let allow = [1, 4, 8].map(|i| items.id(i));
    let ask = |allow: Value| served.recommend(&json!({"conversation": says("hello"), "allow": allow, "top_k": 50}));
    let mut found = ask(json!([allow[0], allow[1], allow[2], "gone"])).ids();
    found.sort();
    assert_eq!(found, allow);
    let answer = ask(json!(["gone"]));
    assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (422, Some("allow")), "{}", answer.body);
    // As through C: an empty list means what it says.
    let nothing = ask(json!([]));
    assert_eq!((nothing.status, nothing.ids()), (200, vec![]), "{}", nothing.body);
    assert!(nothing.json()["warnings"][0].as_str().unwrap().contains("allow"), "{}", nothing.body);
    let all = served.recommend(&json!({"conversation": says("hello"), "allow": allow, "exclude": allow}));
    assert_eq!(all.ids(), [""; 0]);
    assert!(all.json()["warnings"][0].as_str().unwrap().contains("nothing is left"));
}

/// `"seen": [{"id": …}]` was taken by the server and passed over by C; an empty allow list, `explain: true`, a list in the
/// place of an object: each had its own answer, here and there.
#[test]
#[cfg(feature = "capi")]
fn what_c_takes_http_takes_on_every_route_and_what_one_refuses_the_other_refuses() {
    use causerie::ffi::{error::*, query::*};
    let in_c = |request: &str| -> Option<String> {
        let mut query = std::ptr::null_mut();
        // SAFETY: the rules of the header: the text is valid for its length, handles are ours and freed once.
        unsafe {
            let error = causerie_query_parse(request.as_ptr().cast(), request.len(), &mut query);
            if error.is_null() {
                causerie_query_free(query);
                return None;
            }
            assert_eq!(causerie_error_code(error), CAUSERIE_INVALID, "{request}");
            let message = std::ffi::CStr::from_ptr(causerie_error_message(error)).to_str().unwrap().to_string();
            causerie_error_free(error);
            Some(message)
        }
    };
    let served = start(&["--system", "popularity"]);
    let turns = says("hello").to_string();
    let post = |path: &str, body: &str| served.ask("POST", path, &[JSON], body.as_bytes());
    let (mut taken, mut refused) = (0, 0);
    for line in include_str!("../src/recommend/service/request/table.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (verdict, fields) = line.split_once('\t').unwrap();
        let request = format!("{{\"turns\": {turns}{fields}}}");
        let alone = post("/v1/recommend", &request);
        let batch = post("/v1/recommend", &format!("{{\"requests\": [{{\"turns\": {turns}}}, {request}]}}"));
        let options = fields.strip_prefix(", ").unwrap_or_default();
        let chat = post("/v1/chat/completions", &format!("{{\"messages\": {turns}, \"causerie\": {{{options}}}}}"));
        let error = in_c(&request);
        if verdict == "ok" {
            assert_eq!(error, None, "{line}");
            // The id of a conversation is no option of a chat.
            let has_id = line.ends_with(", \"id\": null") || fields.starts_with(", \"id\"");
            for (route, answer, wanted) in
                [("alone", &alone, 200), ("batch", &batch, 200), ("chat", &chat, if has_id { 422 } else { 200 })]
            {
                assert_eq!(answer.status, wanted, "{route}: {line}: {}", answer.body);
            }
            taken += 1;
            continue;
        }
        let message = error.unwrap_or_else(|| panic!("C takes {line}"));
        assert!(message.contains(&format!("{verdict}: ")), "{line}: {message}");
        let at = |answer: &Answer, within: &str| {
            assert_eq!(answer.status, 422, "{within} {line}: {}", answer.body);
            let error = answer.json()["error"].clone();
            assert_eq!(error["code"], "invalid_request", "{line}");
            // A key that is empty has no name to be told by.
            let wanted = format!("{within}{verdict}");
            assert!(error["param"] == wanted.as_str() || verdict.is_empty(), "{line}: {error}");
        };
        at(&alone, "");
        at(&batch, "requests[1].");
        at(&chat, "causerie.");
        refused += 1;
    }
    assert!(taken >= 20 && refused >= 80, "{taken} taken, {refused} refused");

    // Around the requests: the same rules.
    for (path, body, param) in [
        ("/v1/recommend", r#"{"requests": {}}"#, "requests"),
        ("/v1/recommend", r#"{"requests": [[]]}"#, "requests[0]"),
        ("/v1/recommend", r#"{"requests": [[[], [], [], [], 3]]}"#, "requests[0]"),
        ("/v1/recommend", r#"{"requests": [], "top_k": 3}"#, "top_k"),
        ("/v1/recommend", r#"{"conversation": ["hello"]}"#, "conversation[0]"),
        ("/v1/recommend", r#"{"conversation": [["user", "hello"]]}"#, "conversation[0]"),
        ("/v1/recommend", r#"{"conversation": [{}]}"#, "conversation[0].role"),
        ("/v1/recommend", r#"{"conversation": {}}"#, "conversation"),
        ("/v1/recommend", r#"{"turns": [{"role": "user", "text": "a", "content": "b"}]}"#, "turns[0].content"),
        ("/v1/chat/completions", r#"{"messages": [["user", "hello"]]}"#, "messages[0]"),
        ("/v1/chat/completions", r#"{"messages": [{"role": "user", "content": "a"}], "causerie": []}"#, "causerie"),
        (
            "/v1/chat/completions",
            r#"{"messages": [{"role": "user", "content": "a"}], "causerie": [[], ["x"]]}"#,
            "causerie",
        ),
        (
            "/v1/chat/completions",
            r#"{"messages": [{"role": "user", "content": "a"}], "stream_options": [true]}"#,
            "stream_options",
        ),
        ("/v1/chat/completions", r#"{"messages": [{"role": "user", "content": "a"}], "stream": "yes"}"#, "stream"),
        ("/v1/chat/completions", r#"{"messages": [{"role": "user", "content": "a"}], "n": 1.5}"#, "n"),
        ("/v1/chat/completions", r#"{"messages": [{"role": "user", "content": "a"}], "model": 7}"#, "model"),
        ("/v1/catalogue", r#"{"withdraw": "x"}"#, "withdraw"),
        ("/v1/catalogue", r#"{"withdraw": [7]}"#, "withdraw[0]"),
        ("/v1/catalogue", r#"{"restore": {}}"#, "restore"),
        ("/v1/catalogue", r#"{"generation": -1}"#, "generation"),
        ("/v1/catalogue", r#"{"withdrawn": []}"#, "withdrawn"),
    ] {
        let answer = post(path, body);
        assert_eq!(
            (answer.status, answer.json()["error"]["param"].as_str()),
            (422, Some(param)),
            "{body}: {}",
            answer.body
        );
    }
    for (path, body) in [
        ("/v1/recommend", r#"{"requests": null, "conversation": []}"#),
        (
            "/v1/chat/completions",
            r#"{"messages": [{"role": "user", "content": "a"}], "causerie": null, "stream": null, "stream_options": null,
                "n": null, "model": null}"#,
        ),
        ("/v1/catalogue", r#"{"withdraw": null, "restore": null, "generation": null}"#),
    ] {
        let answer = post(path, body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    }
}

#[test]
fn every_system_and_strategy_serves_and_unknown_ones_say_what_there_is() {
    for arguments in [["--system", "nbcrs"], ["--system", "fusion"], ["--strategy", "fisher"]] {
        let served = start(&arguments);
        let answer = served.recommend(&json!({"conversation": says("something gentle"), "top_k": 5}));
        assert_eq!(answer.ids().len(), 5, "{arguments:?}");
    }
    for (arguments, says) in [(["--system", "oracle"], "nbcrs"), (["--strategy", "js"], "random, fisher")] {
        let output = command(&arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(says), "{text}");
    }
}

#[test]
fn a_batch_gives_what_each_conversation_gets_alone() {
    let served = start(&[]);
    let texts = ["a tense jungle", "robots and revenge", "", "a wedding in a theatre"];
    let one = |text: &str| json!({"conversation": says(text), "top_k": 7, "explain": 1});
    let batch = served.recommend(&json!({"requests": texts.map(one)}));
    assert_eq!(batch.status, 200, "{}", batch.body);
    for (text, part) in texts.iter().zip(batch.json()["data"].as_array().unwrap()) {
        assert_eq!(part["items"], served.recommend(&one(text)).json()["items"], "{text}");
    }
}

#[test]
fn eight_callers_at_once_get_the_answers_that_each_gets_alone() {
    let served = start(&["--max-concurrent", "4"]);
    let body =
        |n: usize| json!({"conversation": says(&format!("number {n}: a tense jungle, revenge")), "explain": true});
    let alone: Vec<Value> = (0..8).map(|n| served.recommend(&body(n)).json()["items"].clone()).collect();
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|n| {
                let (served, alone, body) = (&served, &alone, &body);
                scope.spawn(move || {
                    for _ in 0..10 {
                        let answer = served.recommend(&body(n));
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        assert_eq!(answer.json()["items"], alone[n]);
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|c| c.join().unwrap());
    });
}

#[test]
fn a_chat_reply_names_the_returned_items_and_no_others_whole_and_streamed() {
    let served = start(&[]);
    let opened = opened();
    let body = json!({
        "model": "causerie-head", "causerie": {"top_k": 6, "explain": 1},
        "messages": [{"role": "user", "content": "I want something dreamlike about revenge"}],
    });
    let whole = served.post("/v1/chat/completions", &body);
    assert_eq!(whole.status, 200, "{}", whole.body);
    let whole = whole.json();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    let mut rows: Vec<u32> =
        ids(&whole["causerie"]["items"]).iter().map(|id| opened.items().find(id).unwrap()).collect();
    for row in &rows {
        assert!(text.contains(&opened.items().name(*row as usize)), "{text}");
    }
    rows.sort();
    assert_eq!(opened.titles().rows(text), rows, "{text}");
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    // No language model read or wrote anything, and OpenAI's clients need the numbers.
    let none = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
    assert_eq!(whole["usage"], none);

    let mut streaming = body.clone();
    streaming["stream"] = json!(true);
    let answer = served.post("/v1/chat/completions", &streaming);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let events: Vec<&str> = answer.body.split_terminator("\n\n").map(|e| e.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let events: Vec<Value> = events[..events.len() - 1].iter().map(|e| serde_json::from_str(e).unwrap()).collect();
    let words: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(words, text);
    assert_eq!(events[0]["causerie"]["items"], whole["causerie"]["items"]);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(events.iter().all(|e| e["object"] == "chat.completion.chunk" && e["id"] == events[0]["id"]));

    assert!(events.iter().all(|e| e.get("usage").is_none()));
    streaming["stream_options"] = json!({"include_usage": true});
    let answer = served.post("/v1/chat/completions", &streaming);
    let mut events: Vec<Value> = answer
        .body
        .split_terminator("\n\n")
        .filter_map(|e| serde_json::from_str(e.strip_prefix("data: ")?).ok())
        .collect();
    let last = events.pop().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &none), "{last}");
    assert!(events.iter().all(|e| e.get("usage") == Some(&Value::Null)), "{events:?}");

    // The next turn brings others: what was suggested has been mentioned.
    let mut next = body.clone();
    let messages = next["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": text}));
    messages.push(json!({"role": "user", "content": "What else?"}));
    let next = served.post("/v1/chat/completions", &next).json();
    for id in ids(&next["causerie"]["items"]) {
        assert!(!rows.contains(&opened.items().find(&id).unwrap()), "{id} was suggested twice");
    }

    let mut other = body;
    other["model"] = json!("gpt-5");
    let answer = served.post("/v1/chat/completions", &other);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    let models = served.ask("GET", "/v1/models", &[], b"").json();
    assert_eq!(models["data"][0]["id"], "causerie-head");
    assert_eq!(served.ask("GET", "/v1/models/causerie-head", &[], b"").status, 200);
    assert_eq!(served.ask("GET", "/v1/models/other", &[], b"").status, 404);
}

#[test]
fn every_refusal_has_its_status_its_code_and_says_what_to_do() {
    let served = start(&["--body-bytes", "20000", "--max-answer", "3000"]);
    let good = json!({"conversation": says("hello")}).to_string();
    let long = json!({"conversation": says(&"x".repeat(30_000))}).to_string();
    let deep = format!("{{\"conversation\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
    let chunked = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let chunks = [JSON, ("Transfer-Encoding", "chunked")];
    let gzip = [JSON, ("Content-Encoding", "gzip")];
    let expects = [JSON, ("Expect", "100-continue")];
    // Never sent: it is refused before it is waited for.
    let claims = [JSON, ("Content-Length", "90000000000")];
    let text: [(&str, &str); 1] = [("Content-Type", "text/plain")];
    let latin: [(&str, &str); 1] = [("Content-Type", "application/json; charset=latin1")];
    let origin = [JSON, ("Origin", "https://elsewhere.example")];
    let host = [JSON, ("Host", "elsewhere.example")];
    let r = "/v1/recommend";
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);
    let cases: &[Case] = &[
        ("POST", r, &[JSON], b"{\"conversation\": [", 400, "invalid_json"),
        ("POST", r, &[JSON], b"{\"conversation\": \"\xff\xfe\"}", 400, "not_utf8"),
        ("POST", r, &[JSON], deep.as_bytes(), 400, "too_deep"),
        ("POST", r, &[JSON], b"", 400, "invalid_json"),
        ("POST", r, &chunks, b"zz\r\n", 400, "broken_body"),
        ("POST", r, &origin, good.as_bytes(), 403, "cross_origin"),
        ("POST", r, &host, good.as_bytes(), 403, "wrong_host"),
        ("GET", "/v2/recommend", &[], b"", 404, "no_such_route"),
        ("GET", "/../etc/passwd", &[], b"", 404, "no_such_route"),
        ("GET", r, &[], b"", 405, "method_not_allowed"),
        ("DELETE", "/health", &[], b"", 405, "method_not_allowed"),
        ("OPTIONS", r, &[], b"", 405, "method_not_allowed"),
        ("POST", r, &[JSON], long.as_bytes(), 413, "body_too_large"),
        ("POST", r, &claims, b"", 413, "body_too_large"),
        ("POST", r, &expects, long.as_bytes(), 413, "body_too_large"),
        ("POST", r, &chunks, chunked.as_bytes(), 413, "body_too_large"),
        ("POST", r, &text, good.as_bytes(), 415, "not_json_content"),
        ("POST", r, &[], good.as_bytes(), 415, "not_json_content"),
        ("POST", r, &latin, good.as_bytes(), 415, "not_json_content"),
        ("POST", r, &gzip, good.as_bytes(), 415, "encoded_content"),
        ("POST", r, &[JSON], b"[[], [], [], [], 3]", 422, "invalid_request"),
        ("POST", r, &[JSON], b"[null]", 422, "invalid_request"),
        ("POST", r, &[JSON], b"{\"conversation\": [], \"exclud\": []}", 422, "invalid_request"),
        ("POST", r, &[JSON], b"{\"conversation\": [], \"top_k\": 100000}", 422, "invalid_request"),
        ("POST", r, &[JSON], b"{\"conversation\": [], \"top_k\": 1000, \"explain\": 20}", 422, "answer_too_large"),
        ("POST", "/v1/chat/completions", &[JSON], b"{\"messages\": []}", 422, "invalid_request"),
        ("POST", "/v1/catalogue", &[JSON], b"{\"generation\": 77}", 409, "other_generation"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = served.ask(method, path, headers, body);
        let what = format!("{method} {path} {headers:?} {}", String::from_utf8_lossy(&body[..body.len().min(60)]));
        assert_eq!(answer.status, *status, "{what}: {}", answer.body);
        let error = &answer.json()["error"];
        assert_eq!(error["code"], *code, "{what}");
        assert!(error["message"].as_str().unwrap().len() > 15 && error["type"].is_string(), "{what}: {error}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
        assert!(answer.header("x-request-id").is_some());
        if *status == 405 {
            assert!(answer.header("allow").is_some(), "{what}");
        }
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    // The server is as well as before.
    assert_eq!(served.ask("POST", r, &[JSON], good.as_bytes()).status, 200);
    assert!(!served.log().contains("panicked"), "{}", served.log());
}

#[test]
fn ten_thousand_turns_and_odd_texts_are_answered() {
    let served = start(&["--body-bytes", "4000000"]);
    let turn = |n: usize| json!({"role": if n.is_multiple_of(2) { "user" } else { "assistant" }, "text": format!("turn {n} of many, a jungle")});
    let long = served.recommend(&json!({"conversation": (0..10_000).map(turn).collect::<Vec<_>>(), "top_k": 3}));
    assert_eq!(long.status, 200, "{}", long.body);
    assert_eq!(long.json()["truncated"], true);
    assert!(long.json()["warnings"].to_string().contains("latest 1000 characters"));
    for text in ["", " ", "\u{0}", "\u{202e}\u{feff}", "🜁".repeat(3000).as_str(), "\n\n\n", "{\"role\": \"system\"}"]
    {
        let answer = served.recommend(&json!({"conversation": says(text), "top_k": 3, "explain": 1}));
        assert_eq!(answer.status, 200, "{text:?}: {}", answer.body);
        assert_eq!(answer.ids().len(), 3);
    }
    assert_eq!(served.recommend(&json!({"conversation": []})).status, 200);
}

#[test]
fn without_the_token_nothing_is_answered_and_the_token_is_never_shown() {
    let mut with_token = command(&[]);
    with_token.env("CAUSERIE_TOKEN", SECRET);
    let served = start_with(with_token);
    let body = json!({"conversation": says("hello")}).to_string();
    let bearer = format!("Bearer {SECRET}");
    for path in ["/v1/models", "/v1/catalogue", "/metrics"] {
        assert_eq!(served.ask("GET", path, &[], b"").status, 401, "{path}");
        assert_eq!(served.ask("GET", path, &[("Authorization", &bearer)], b"").status, 200, "{path}");
    }
    for (authorization, status) in [
        (bearer.as_str(), 200),
        (&bearer[..bearer.len() - 1], 401),
        (&format!("{bearer}x"), 401),
        ("Bearer", 401),
        (&format!("Basic {SECRET}"), 401),
    ] {
        let answer = served.ask("POST", "/v1/recommend", &[JSON, ("Authorization", authorization)], body.as_bytes());
        assert_eq!(answer.status, status, "{authorization}");
        if status == 401 {
            assert!(answer.header("www-authenticate").is_some_and(|v| v.starts_with("Bearer")));
            assert_eq!(answer.json()["error"]["type"], "authentication_error");
        }
    }
    // Not even the body is read of one who may not ask.
    assert_eq!(served.ask("POST", "/v1/recommend", &[("Content-Type", "text/plain")], b"x").status, 401);
    assert_eq!(served.ask("GET", "/", &[], b"").status, 200);
    assert_eq!(served.ask("GET", "/health", &[], b"").status, 200);
    // With a token, other names for this machine are fine.
    let named = [("Host", "reco.example"), ("Authorization", bearer.as_str())];
    assert_eq!(served.ask("GET", "/v1/models", &named, b"").status, 200);
    assert!(!served.log().contains(SECRET) && !served.said.contains(SECRET));
}

#[test]
fn a_token_can_come_from_a_file_and_a_bad_one_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let served = start(&["--token-file", file.to_str().unwrap()]);
    assert_eq!(served.ask("GET", "/v1/models", &[], b"").status, 401);
    let bearer = format!("Bearer {SECRET}");
    assert_eq!(served.ask("GET", "/v1/models", &[("Authorization", &bearer)], b"").status, 200);

    let fails = |arguments: &[&str], says: &str| {
        let output = command(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(says), "{arguments:?}: {text}");
    };
    std::fs::write(&file, "short").unwrap();
    fails(&["--token-file", file.to_str().unwrap()], "at least 16");
    fails(&["--token-file", "/nowhere/token"], "/nowhere/token");
    fails(&["--token-env", "NO_SUCH_VARIABLE_HERE"], "NO_SUCH_VARIABLE_HERE");
    fails(&["--address", "0.0.0.0"], "CAUSERIE_TOKEN");
    fails(&["--address", "192.0.2.250"], "no token");
    fails(&["--token", "x"], "unexpected argument");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
    let output = command.args(["serve", "--port", &port, "--work"]).arg(work()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("serve.port"), "{output:?}");
    // Said out loud, everybody may come in.
    let open = start(&["--address", "0.0.0.0", "--allow-no-token"]);
    assert_eq!(open.ask("GET", "/v1/models", &[("Host", "reco.example")], b"").status, 200);
}

#[test]
fn slow_clients_are_not_waited_for() {
    let served = start(&["--read-timeout-ms", "300", "--write-timeout-ms", "300", "--max-answer", "1000000"]);
    // Half a head; nothing at all; a body that does not come.
    for (sent, status) in [
        ("POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-", 0),
        ("", 0),
        (
            "POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"conv",
            408,
        ),
    ] {
        let began = Instant::now();
        let mut stream = served.connect();
        stream.write_all(sent.as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        assert_eq!(answer.status, status, "{sent:?}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{sent:?}");
        if status == 408 {
            assert_eq!(answer.json()["error"]["code"], "body_timeout");
        }
    }
    // One byte at a time buys no more time than that.
    let (mut stream, began) = (served.connect(), Instant::now());
    while began.elapsed() < Duration::from_secs(5) {
        if stream.write_all(b"G").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "a head of one byte at a time was read for ever");

    // A client that asks for megabytes and takes none of them.
    let one = json!({"conversation": says("a jungle"), "top_k": 150, "explain": 20});
    let body = json!({"requests": vec![one; 60]}).to_string();
    let stalled = served.send("POST", "/v1/recommend", &[JSON], body.as_bytes());
    served.log_with("\"conversations\":60");
    let until = Instant::now() + Duration::from_secs(10);
    while served.metric("causerie_connections ") > 1.0 {
        assert!(Instant::now() < until, "a client that takes nothing keeps its connection");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(stalled);
}

#[test]
fn more_than_can_be_computed_is_refused_in_time_with_retry_after() {
    let served = start(&[&HEAVY[..], &["--max-waiting", "0", "--timeout-ms", "2500"]].concat());
    let heavy = heavy();
    let began = Instant::now();
    let mut first = served.send("POST", "/v1/recommend", &[JSON], heavy.as_bytes());
    // Not before the long one has the only place: asked earlier, the short one could take it.
    served.wait_for(COMPUTING, 1.0);
    let busy = served.recommend(&json!({"conversation": says("hello")}));
    assert_eq!(busy.status, 429, "{}", busy.body);
    assert_eq!(busy.json()["error"]["type"], "rate_limit_error");
    assert_eq!(busy.header("retry-after"), Some("1"));
    // Health answers all the while.
    assert_eq!(served.ask("GET", "/health", &[], b"").status, 200);
    // The long one meets its own limit, and its place is free again soon after.
    let late = read_answer(&mut first);
    assert_eq!((late.status, late.json()["error"]["code"].as_str()), (503, Some("timed_out")), "{}", late.body);
    assert!(began.elapsed() < Duration::from_secs(30));
    served.wait_for(COMPUTING, 0.0);
    assert_eq!(served.recommend(&json!({"conversation": says("hello")})).status, 200);
}

#[test]
fn a_client_who_leaves_takes_its_work_along() {
    let served = start(&HEAVY);
    let stream = served.send("POST", "/v1/recommend", &[JSON], heavy().as_bytes());
    served.wait_for(COMPUTING, 1.0);
    drop(stream);
    let began = Instant::now();
    // It waits for the one place, which the abandoned work gives up.
    assert_eq!(served.recommend(&json!({"conversation": says("hello")})).status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "waited {:?}", began.elapsed());
    served.log_with("\"status\":499");
}

#[test]
fn too_many_connections_are_told_so() {
    let served = start(&["--max-connections", "2"]);
    let until = Instant::now() + Duration::from_secs(30);
    let mut held: Vec<TcpStream> = Vec::new();
    loop {
        // New ones, which are not yet idle.
        held.extend((0..2).map(|_| served.connect()));
        let answer = served.ask("GET", "/health", &[], b"");
        if answer.status == 503 {
            assert_eq!(answer.json()["error"]["code"], "too_many_connections");
            assert!(answer.header("retry-after").is_some());
            break;
        }
        assert!(Instant::now() < until, "the third connection was served: {answer:?}");
    }
    drop(held);
    while served.ask("GET", "/health", &[], b"").status != 200 {
        assert!(Instant::now() < until, "connections that closed keep their places");
    }
}

#[test]
fn slow_connections_that_held_every_place_make_room() {
    let served = start(&["--max-connections", "4", "--read-timeout-ms", "600000"]);
    let slow = |part: &str| {
        let mut stream = served.connect();
        stream.write_all(part.as_bytes()).unwrap();
        stream
    };
    let head = "POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    let waits_for_body = format!("{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{");
    let mut held = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    // A connection that was closed a moment ago may still have its place when the first slow ones come: once more, then.
    while !served.log().contains("\"event\":\"made_room\"") {
        assert!(Instant::now() < until, "{}", served.log());
        held.extend([slow(""), slow(head), slow(&waits_for_body), slow(&waits_for_body)]);
        // Turned away at first, while the slow ones are new; soon one of them is idle for long enough.
        while served.recommend(&json!({"conversation": says("a jungle")})).status != 200 {
            assert!(Instant::now() < until, "{}", served.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    drop(held);
}

#[test]
fn a_refusal_before_the_body_came_was_lost_with_the_connection() {
    let served = start(&[]);
    let mut stream = served.connect();
    let head = "POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 262144\r\n\r\n";
    // A server that refuses at the head and closes over the rest resets the connection, often before this is written.
    let _ = stream.write_all(&[head.as_bytes(), &[b' '; 262_144]].concat());
    served.log_with("\"status\":404");
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

/// The connection was closed behind such an answer without a word, and what came next on it was lost: clients often send the
/// body in a later packet than the head.
#[test]
fn behind_an_answer_that_needed_no_body_the_next_request_was_lost() {
    let open = start(&["--system", "popularity"]);
    let mut locked = command(&["--system", "popularity"]);
    locked.env("CAUSERIE_TOKEN", SECRET);
    let locked = start_with(locked);
    let head = |line: &str, fields: &str, length: usize| {
        format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: {length}\r\n\r\n")
    };
    // Sends a head, its body later, and another request right behind it: what came back.
    let exchange_late = |served: &Served, head: &str, body: &[u8]| {
        let mut stream = served.connect();
        stream.set_nodelay(true).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(40));
        let next = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(&[body, next].concat());
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap().to_ascii_lowercase()
    };
    let json = "Content-Type: application/json\r\n";
    let cases = [
        (&open, "POST /nope", json.to_string(), 404),
        (&open, "POST /health", json.to_string(), 405),
        (&open, "GET /health", json.to_string(), 200),
        (&open, "POST /v1/recommend", "Content-Type: text/plain\r\n".into(), 415),
        (&open, "POST /v1/recommend", format!("{json}Content-Encoding: gzip\r\n"), 415),
        (&open, "POST /v1/recommend", format!("{json}Origin: https://elsewhere.example\r\n"), 403),
        (&open, "POST /v1/reload", json.to_string(), 200),
        (&locked, "POST /v1/recommend", json.to_string(), 401),
    ];
    for (served, line, fields, status) in &cases {
        for length in [2, 1000, 500_000] {
            let body = [b"{".to_vec(), vec![b' '; length - 2], b"}".to_vec()].concat();
            let answer = exchange_late(served, &head(line, fields, length), &body);
            let what = format!("{line} {fields:?} {length}: {answer}");
            assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{what}");
            let (first, rest) = answer.split_once("\r\n\r\n").unwrap();
            if length < 100_000 {
                assert!(!first.contains("connection: close"), "{what}");
                assert_eq!(rest.matches("http/1.1 200 ok").count(), 1, "the next request was lost: {what}");
            } else {
                // Too much to read for nothing: it is said.
                assert!(first.contains("connection: close"), "{what}");
                assert_eq!(answer.matches("http/1.1 ").count(), 1, "{what}");
            }
        }
    }
    // A body that does not come, and one that waits to be asked for, are not waited for.
    for fields in [json.to_string(), format!("{json}Expect: 100-continue\r\n")] {
        let began = Instant::now();
        let answer = exchange(&open, head("POST /nope", &fields, 50).as_bytes()).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 404 ") && answer.contains("connection: close"), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

/// It was named in a warning, and what was to be left out came back.
#[test]
fn a_mask_beside_the_messages_of_a_chat_was_passed_over() {
    let served = start(&["--system", "popularity"]);
    let ask = |field: &str, value: Value| {
        let mut body = json!({"messages": says("hello")});
        body[field] = value;
        served.post("/v1/chat/completions", &body)
    };
    let first = ask("temperature", json!(0.5)).json()["causerie"]["items"][0]["id"].clone();
    for field in ["exclude", "exclud", "Exclude", "excluded", "allow", "allowed", "seen"] {
        let answer = ask(field, json!([first]));
        assert_eq!(answer.status, 422, "{field}: {}", answer.body);
        let error = answer.json()["error"].clone();
        assert_eq!((error["code"].as_str(), error["param"].as_str()), (Some("invalid_request"), Some(field)));
        assert!(error["message"].as_str().unwrap().contains("write it under causerie."), "{error}");
    }
    let items = ask("causerie", json!({"exclude": [first]})).json()["causerie"]["items"].clone();
    assert!(!ids(&items).is_empty() && !ids(&items).contains(&first.as_str().unwrap().to_string()), "{items}");
    // OpenAI's own settings are read over, and what is null is not said.
    for (field, value) in [("seed", json!(7)), ("top_k", json!(40)), ("exclude", Value::Null)] {
        assert_eq!(ask(field, value).status, 200, "{field}");
    }
}

/// What waited to be accepted, and what had arrived and was not yet read, was reset when the listener closed.
#[test]
#[cfg(unix)]
fn connections_that_waited_at_the_end_of_the_drain_were_reset() {
    let mut served = start(&["--system", "popularity", "--drain-ms", "0"]);
    let get = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let mut kept: Vec<TcpStream> = (0..10).map(|_| served.connect()).collect();
    for stream in &mut kept {
        stream.write_all(get).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    }
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &served.child.id().to_string()]).status().unwrap().success());
    };
    // It stands still while they come, and hears of the end and of them at once.
    signal("-STOP");
    let mut waiting: Vec<TcpStream> = (0..60).map(|_| served.connect()).collect();
    waiting.append(&mut kept);
    for stream in &mut waiting {
        stream.write_all(get).unwrap();
    }
    signal("-TERM");
    signal("-CONT");
    for (n, stream) in waiting.iter_mut().enumerate() {
        // Some may be answered before it has heard of the end.
        let answer = read_answer(stream);
        assert_eq!(answer.status, 200, "{n}: {answer:?}");
    }
    assert_eq!(served.exit_code(), Some(0));
}

#[test]
fn sigterm_finishes_what_is_under_way_and_takes_no_more() {
    let mut served = start(&["--max-answer", "1000000", "--drain-ms", "0"]);
    let one = json!({"conversation": says("a jungle"), "top_k": 150, "explain": 20});
    let body = json!({"requests": vec![one; 60]}).to_string();
    // Sent all but its last byte: it is under way when the signal comes.
    let mut stream = served.connect();
    let head = format!(
        "POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..body.len() - 1]).unwrap();
    let idle = served.connect();
    // The one under way and the one that asks for the metrics; both of these and the idle one.
    served.wait_for("causerie_requests_in_flight ", 2.0);
    served.wait_for("causerie_connections ", 3.0);
    served.terminate();
    served.log_with("\"stopping\"");
    assert!(TcpStream::connect(("127.0.0.1", served.port)).is_err(), "a new connection was taken");
    stream.write_all(&body.as_bytes()[body.len() - 1..]).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 60);
    assert_eq!(served.exit_code(), Some(0));
    assert!(served.log().contains("\"stopped\""));
    drop(idle);
}

#[test]
fn what_does_not_finish_within_the_grace_is_cut_off() {
    let mut served = start(&[&HEAVY[..], &["--shutdown-ms", "300", "--drain-ms", "0"]].concat());
    let mut stream = served.send("POST", "/v1/recommend", &[JSON], heavy().as_bytes());
    served.wait_for(COMPUTING, 1.0);
    let began = Instant::now();
    served.terminate();
    assert_eq!(served.exit_code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(read_answer(&mut stream).status, 0);
}

#[test]
fn metrics_count_what_was_asked() {
    let served = start(&[]);
    for _ in 0..3 {
        assert_eq!(served.recommend(&json!({"conversation": says("hello"), "top_k": 4})).status, 200);
    }
    served.ask("POST", "/v1/recommend", &[JSON], b"{");
    served.ask("GET", "/some/secret/path", &[], b"");
    assert_eq!(served.metric("causerie_requests_total{route=\"/v1/recommend\",status=\"200\"}"), 3.0);
    assert_eq!(served.metric("causerie_requests_total{route=\"/v1/recommend\",status=\"400\"}"), 1.0);
    assert_eq!(served.metric("causerie_requests_total{route=\"unknown\",status=\"404\"}"), 1.0);
    assert_eq!(served.metric("causerie_request_seconds_count{route=\"/v1/recommend\"}"), 4.0);
    assert_eq!(served.metric("causerie_items_recommended_total"), 12.0);
    assert_eq!(served.metric("causerie_catalogue_items"), 150.0);
    assert_eq!(served.metric("causerie_requests_in_flight"), 1.0);
    assert_eq!(served.metric("causerie_generation"), 1.0);
    let page = served.ask("GET", "/metrics", &[], b"");
    assert!(page.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(!page.body.contains("secret"), "a caller's path became a label");
}

#[test]
fn the_log_has_a_line_for_each_request_and_no_word_of_the_users() {
    let ask = |served: &Served| {
        let body = json!({"conversation": says("my secret wish"), "exclude": ["hidden-id"]}).to_string();
        let answer =
            served.ask("POST", "/v1/recommend?q=query-text", &[JSON, ("X-Request-Id", "trace-7")], body.as_bytes());
        assert_eq!(answer.header("x-request-id"), Some("trace-7"));
        let chat = json!({"messages": [{"role": "user", "content": "my secret wish"}], "stream": true});
        served.post("/v1/chat/completions", &chat);
        served.ask("POST", "/v1/recommend", &[JSON], b"{\"conversation\": \"my secret wish\"}");
        served.log_with("\"route\":\"/v1/chat/completions\"");
        served.log_with("\"status\":422")
    };
    let quiet = ask(&start(&[]));
    for word in ["secret", "wish", "hidden-id", "query-text"] {
        assert!(!quiet.contains(word), "{quiet}");
    }
    let line = quiet.lines().find(|l| l.contains("trace-7")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["status"], &line["method"], &line["items"]), (&json!(200), &json!("POST"), &json!(20)));
    assert!(quiet.lines().all(|l| serde_json::from_str::<Value>(l).is_ok_and(|v| v["time"].is_string())), "{quiet}");
    // Asked for, the words are there.
    assert!(ask(&start(&["--log-text"])).contains("my secret wish"));
    // An id that could break a line is replaced.
    let served = start(&[]);
    let answer = served.ask("GET", "/health", &[("X-Request-Id", "a\"b c")], b"");
    assert_eq!(answer.header("x-request-id").unwrap().len(), 16);
}

#[test]
fn items_leave_and_return_while_it_serves_and_a_reload_keeps_what_is_withdrawn() {
    let served = start(&["--system", "popularity"]);
    let all = || served.recommend(&json!({"conversation": says("hello"), "top_k": 150}));
    let best = all().ids().remove(0);
    let change = |body: Value| served.post("/v1/catalogue", &body);
    let out = change(json!({"withdraw": [best, "gone"], "generation": 1}));
    assert_eq!((out.status, &out.json()["generation"]), (200, &json!(2)), "{}", out.body);
    assert_eq!(out.json()["withdrawn"], json!([best]));
    assert!(out.json()["warnings"][0].as_str().unwrap().starts_with("1 ids"));
    assert!(!all().ids().contains(&best));
    // Even for one who allows it.
    assert_eq!(served.recommend(&json!({"conversation": says("hello"), "allow": [best]})).ids(), [""; 0]);
    assert_eq!(change(json!({"restore": [best], "generation": 1})).status, 409);
    let reloaded = served.ask("POST", "/v1/reload", &[], b"");
    assert_eq!((reloaded.status, &reloaded.json()["generation"]), (200, &json!(3)), "{}", reloaded.body);
    assert!(!all().ids().contains(&best));
    assert_eq!(change(json!({"restore": [best], "generation": 3})).status, 200);
    assert_eq!(all().ids()[0], best);
    assert_eq!(all().json()["generation"], 4);
    assert_eq!(served.ask("GET", "/v1/catalogue", &[], b"").json()["withdrawn"], json!([]));
}

/// A reload whose client left went on loading with nobody holding its place: reloads piled up, and no answer was computed.
#[test]
fn reloads_whose_clients_left_run_one_at_a_time_to_their_end_and_cost_nobody_an_answer() {
    let served = start(&["--max-concurrent", "1"]);
    let loads = "causerie_loads_total{outcome=\"ok\"}";
    assert_eq!(served.metric(loads), 1.0);
    for _ in 0..30 {
        let stream = served.send("POST", "/v1/reload", &[], b"");
        drop(stream);
        assert_eq!(served.recommend(&json!({"conversation": says("hello"), "top_k": 2})).status, 200);
    }
    // One that stays, once those are over: it is told of its own load.
    let until = Instant::now() + Duration::from_secs(60);
    let last = loop {
        let answer = served.ask("POST", "/v1/reload", &[], b"");
        match answer.status {
            200 => break answer.json(),
            409 => assert_eq!(answer.json()["error"]["code"], "reloading"),
            other => panic!("{other}: {}", answer.body),
        }
        assert!(Instant::now() < until, "{}", served.log());
    };
    let loaded = served.metric(loads);
    assert!(loaded >= 3.0, "what a client that left had asked for came to nothing: {loaded}");
    assert_eq!(last["generation"].as_f64(), Some(loaded), "each load was served");
    assert!(served.metric("causerie_requests_total{route=\"/v1/reload\",status=\"200\"}") >= 1.0);
    let log = served.log();
    let mut under_way = 0;
    for line in log.lines().filter(|l| l.contains("\"event\":\"load")) {
        under_way += if line.contains("\"loading\"") { 1 } else { -1 };
        assert!((0..=1).contains(&under_way), "two loads at a time: {log}");
    }
    // A client may have left before its request was taken up; every load but the first had one that was.
    assert!(log.lines().filter(|l| l.contains("\"route\":\"/v1/reload\"")).count() + 1 >= loaded as usize, "{log}");
}

#[test]
fn a_reload_that_fails_leaves_what_was_served_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("work");
    copy_folder(work(), &copy);
    let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
    command.args(["serve", "--port", "0", "--system", "popularity", "--work"]).arg(&copy);
    command.env_remove("CAUSERIE_TOKEN").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let served = start_with(command);
    std::fs::remove_file(copy.join("embeddings.safetensors")).unwrap();
    let failed = served.ask("POST", "/v1/reload", &[], b"");
    assert_eq!((failed.status, failed.json()["error"]["code"].as_str()), (500, Some("reload_failed")));
    assert!(!failed.body.contains("embeddings"), "{}", failed.body);
    served.log_with("\"load_failed\"");
    assert_eq!(served.metric("causerie_loads_total{outcome=\"failed\"}"), 1.0);
    assert_eq!(served.recommend(&json!({"conversation": says("hello")})).json()["generation"], 1);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// With a log that nobody read, every request hung once the pipe was full, and the signal was not obeyed.
#[test]
fn a_stalled_reader_of_the_log_stops_neither_answers_nor_the_end() {
    let mut child = command(&["--system", "popularity"]).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let port = said.trim().trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    // Kept open, and never read.
    let stalled = child.stderr.take().unwrap();
    let mut served = Served { child, port, log: Arc::default(), said };
    for n in 0..800 {
        assert_ne!(served.ask("GET", "/health/live", &[], b"").status, 0, "request {n} was not answered");
    }
    served.terminate();
    assert_eq!(served.exit_code(), Some(0));
    drop(stalled);
}

/// The messages of agents, which call tools, refuse, and send pictures in turns that are not read.
#[test]
fn conversations_with_tool_calls_refusals_and_pictures_are_answered() {
    let served = start(&["--system", "popularity"]);
    let user = json!({"role": "user", "content": "something funny"});
    let picture = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    let call = json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}});
    for messages in [
        json!([user, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "42"}, user]),
        json!([user, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, user]),
        json!([{"role": "system", "content": picture}, user]),
        json!([{"role": "developer", "content": "be kind"}, {"role": "tool", "content": picture}, user]),
    ] {
        let answer = served.post("/v1/chat/completions", &json!({"messages": messages}));
        assert_eq!(answer.status, 200, "{messages}: {}", answer.body);
    }
    let only_a_picture =
        served.post("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": picture}]}));
    assert_eq!(only_a_picture.status, 422);
    assert_eq!(only_a_picture.json()["error"]["param"], "messages[0].content");
}

#[test]
fn one_connection_carries_many_requests() {
    let served = start(&[]);
    let mut stream = served.connect();
    let body = json!({"conversation": says("hello"), "top_k": 2}).to_string();
    let request = |close: &str| {
        let length = body.len();
        format!(
            "POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{close}\r\n{body}"
        )
    };
    // Both at once, the second before the first is answered.
    stream.write_all((request("") + &request("Connection: close\r\n")).as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    let head = served.ask("HEAD", "/health", &[], b"");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn the_page_is_whole_in_itself_and_may_run_no_script_but_its_own() {
    let served = start(&[]);
    let page = served.ask("GET", "/", &[], b"");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    let nonce = policy.split("script-src 'nonce-").nth(1).and_then(|r| r.split('\'').next()).unwrap();
    assert!(page.body.contains(&format!("<script nonce=\"{nonce}\">")), "the page's script has another nonce");
    assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"));
    let again = served.ask("GET", "/", &[], b"");
    assert!(!again.body.contains(nonce), "the nonce came twice");
    for needed in ["lang=\"en\"", "aria-live", "<label", "prefers-color-scheme: dark", "viewport"] {
        assert!(page.body.contains(needed), "{needed}");
    }
    assert!(!page.body.contains(" onclick=\"") && !page.body.contains("innerHTML"), "text could become markup");
}

#[test]
#[cfg(feature = "llama")]
fn a_language_model_ranks_with_probabilities_masks_and_token_counts() {
    let Some(model) = testing::shared("models/stories260K.gguf") else { return };
    let served = start(&["--model", model.to_str().unwrap()]);
    let items = opened().items();
    let exclude: Vec<&str> = (0..140).map(|i| items.id(i)).collect();
    let ask = |k: u64, exclude: &[&str]| {
        let body = json!({"conversation": says("a story of the sea"), "top_k": k, "exclude": exclude, "explain": 1});
        let answer = served.recommend(&body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    };
    let best = ask(5, &[]);
    assert_eq!(best.json()["model"], "causerie-lm-constrained");
    let probabilities: Vec<f64> =
        best.json()["items"].as_array().unwrap().iter().map(|i| i["log_probability"].as_f64().unwrap()).collect();
    assert_eq!(probabilities.len(), 5);
    assert!(probabilities.is_sorted_by(|a, b| a >= b) && probabilities[0] < 0.0, "{probabilities:?}");
    let mut left = ask(20, &exclude).ids();
    left.sort();
    assert_eq!(left, (140..150).map(|i| items.id(i).to_string()).collect::<Vec<_>>());
    let chat =
        served.post("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": "the sea"}]})).json();
    let usage = &chat["usage"];
    assert!(usage["prompt_tokens"].as_u64().unwrap() > 0);
    assert_eq!(
        usage["total_tokens"].as_u64().unwrap(),
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap()
    );
    // Not a model at all: the server does not start, and says which file.
    let output = command(&["--model", file!()]).output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("serve.rs"), "{output:?}");
}

/// Sends `bytes` as they are, and reads all that comes back until the server closes.
fn exchange(served: &Served, bytes: &[u8]) -> String {
    let mut stream = served.connect();
    let _ = stream.write_all(bytes);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Of two Host headers the first was checked; without one, or with one that was not ASCII, none was.
#[test]
fn a_request_without_one_sound_host_is_refused() {
    let served = start(&["--system", "popularity"]);
    let get = |version: &str, hosts: &[&[u8]]| {
        let mut request = format!("GET /health HTTP/{version}\r\nConnection: close\r\n").into_bytes();
        for host in hosts {
            request.extend([b"Host: ", *host, b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        exchange(&served, &request)
    };
    let mut refused = 0.0;
    let cases: [&[&[u8]]; 14] = [
        &[],
        &[b"127.0.0.1", b"127.0.0.1"],
        &[b"127.0.0.1", b"evil.example"],
        &[b""],
        &[b" "],
        &[b"127.0.0.1 evil.example"],
        &[b"127.0.0.1,evil.example"],
        &[b"user@127.0.0.1"],
        &[b"http://127.0.0.1"],
        &[b":8080"],
        &[b"127.0.0.1:http"],
        &[b"127.0.0.1:99999"],
        &["bücher.example".as_bytes()],
        &[b"\xff\xfe"],
    ];
    for hosts in cases {
        let answer = get("1.1", hosts);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"bad_host\""), "{hosts:?}: {answer}");
        refused += 1.0;
    }
    assert!(get("1.0", &[b"127.0.0.1", b"evil.example"]).starts_with("HTTP/1.0 400 "));
    refused += 1.0;
    for hosts in [&b"127.0.0.1"[..], b"localhost:1", b"[::1]:80", b"LOCALHOST", b"127.0.0.1:"] {
        assert!(get("1.1", &[hosts]).starts_with("HTTP/1.1 200 "), "{hosts:?}");
    }
    assert!(get("1.0", &[]).starts_with("HTTP/1.0 200 "));
    // The host of a whole URL is the one that was asked for.
    let whole =
        exchange(&served, b"GET http://evil.example/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    assert!(whole.starts_with("HTTP/1.1 403 ") && whole.contains("wrong_host"), "{whole}");
    assert_eq!(served.metric("causerie_requests_total{route=\"/health\",status=\"400\"}"), refused);
    let lines = || served.log().lines().filter(|line| line.contains("\"bad_host\"")).count() as f64;
    let until = Instant::now() + Duration::from_secs(20);
    while lines() < refused {
        assert!(Instant::now() < until, "{refused} were refused: {}", served.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// They were answered by the HTTP library alone: no line of the log, no count.
#[test]
fn what_cannot_be_read_as_a_request_is_logged_and_counted() {
    let served = start(&["--system", "popularity"]);
    let head = "Host: 127.0.0.1\r\nConnection: close\r\n";
    let json = format!("{head}Content-Type: application/json\r\n");
    let post =
        |fields: &str, body: &str| format!("POST /v1/recommend HTTP/1.1\r\n{json}{fields}\r\n\r\n{body}").into_bytes();
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (b"BAD\r\n\r\n".to_vec(), 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400, "bad_request"),
        (format!("GET /health HTTP/7.3\r\n{head}\r\n").into_bytes(), 400, "bad_request"),
        (format!("GET /health HTTP/1.1\r\n{head}No colon here\r\n\r\n").into_bytes(), 400, "bad_request"),
        (format!("GET /health HTTP/1.1\r\n{head}Spaced : x\r\n\r\n").into_bytes(), 400, "bad_request"),
        (post("Content-Length: -1", ""), 400, "bad_request"),
        (post("Content-Length: 5\r\nContent-Length: 6", "abcdef"), 400, "bad_request"),
        (post("Content-Length: 99999999999999999999", ""), 400, "bad_request"),
        (post("Transfer-Encoding: gzip", "x"), 400, "bad_request"),
        (post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), 400, "transfer_encoding"),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400, "transfer_encoding"),
        (
            format!("POST /v1/recommend HTTP/1.0\r\n{json}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into_bytes(),
            400,
            "bad_request",
        ),
        (post("Transfer-Encoding: chunked", "zz\r\n"), 400, "broken_body"),
        (post("Transfer-Encoding: chunked", "-5\r\nabcde\r\n0\r\n\r\n"), 400, "broken_body"),
        (post("Transfer-Encoding: chunked", "ffffffffffffffffff\r\nabcde\r\n0\r\n\r\n"), 400, "broken_body"),
        (
            post("Transfer-Encoding: chunked", &format!("5;{}\r\nabcde\r\n0\r\n\r\n", "a".repeat(100_000))),
            400,
            "broken_body",
        ),
        (format!("GET /{} HTTP/1.1\r\n{head}\r\n", "a".repeat(20_000)).into_bytes(), 414, "uri_too_long"),
        // Longer than any head may be, it is a head that is too large.
        (format!("GET /{} HTTP/1.1\r\n{head}\r\n", "a".repeat(100_000)).into_bytes(), 431, "head_too_large"),
        (
            format!("GET /health HTTP/1.1\r\n{head}X: {}\r\n\r\n", "a".repeat(100_000)).into_bytes(),
            431,
            "head_too_large",
        ),
        (format!("GET /health HTTP/1.1\r\n{head}{}\r\n", "X: a\r\n".repeat(300)).into_bytes(), 431, "head_too_large"),
        // Closed without an answer.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 0, "http2"),
    ];
    let count = |what: &str| served.log().lines().filter(|l| l.contains(what)).count();
    for (bytes, status, code) in &cases {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let before = count(&format!("\"code\":\"{code}\""));
        let answer = exchange(&served, bytes);
        let wanted = if *status == 0 { String::new() } else { format!("HTTP/1.1 {status} ") };
        assert!(answer.starts_with(&wanted) || answer.starts_with(&wanted.replace("1.1", "1.0")), "{what:?}: {answer}");
        assert!(!answer.is_empty() || *status == 0, "{what:?}");
        let until = Instant::now() + Duration::from_secs(20);
        while count(&format!("\"code\":\"{code}\"")) == before {
            assert!(Instant::now() < until, "{what:?} has no line {code}: {}", served.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let of = |status: u16| {
        cases.iter().filter(|(_, s, code)| *s == status && (*code == "bad_request" || status > 400)).count()
    };
    // The preface of HTTP/2 counts as what it is, a bad request.
    assert_eq!(served.metric("causerie_requests_total{route=\"unknown\",status=\"400\"}"), of(400) as f64 + 1.0);
    assert_eq!(served.metric("causerie_requests_total{route=\"unknown\",status=\"414\"}"), of(414) as f64);
    assert_eq!(served.metric("causerie_requests_total{route=\"unknown\",status=\"431\"}"), of(431) as f64);
    assert!(!served.log().contains("aaaaaaaa"), "what a caller wrote came into the log");
    assert_eq!(served.recommend(&json!({"conversation": says("hello")})).status, 200);
}

/// A request inside the body of another, for a proxy that goes by the length where the server goes by the chunks.
#[test]
fn a_request_hidden_in_the_body_of_another_is_not_answered() {
    let served = start(&["--system", "popularity"]);
    let hidden = "GET /v1/catalogue HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let (length, chunked) = (format!("Content-Length: {}\r\n", 5 + hidden.len()), "Transfer-Encoding: chunked\r\n");
    for fields in
        [format!("{length}{chunked}"), format!("{chunked}{length}"), format!("Transfer-Encoding:\tchunked\r\n{length}")]
    {
        let head = "POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
        let answer = exchange(&served, format!("{head}{fields}\r\n0\r\n\r\n{hidden}").as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{fields:?}: {answer}");
    }
    assert!(!served.log().contains("\"route\":\"/v1/catalogue\""));
}

/// It was passed over, and everybody who could reach the server came in.
#[test]
fn an_empty_token_is_said_aloud() {
    for blank in ["", " \t"] {
        let mut with_blank = command(&["--system", "popularity"]);
        with_blank.env("CAUSERIE_TOKEN", blank);
        let served = start_with(with_blank);
        let line = served.log_with("CAUSERIE_TOKEN");
        let line = line.lines().find(|l| l.contains("CAUSERIE_TOKEN")).unwrap();
        assert!(line.contains("\"warn\"") && line.contains("empty"), "{line}");
        // Where others can reach it, it does not start.
        let mut open = command(&["--address", "0.0.0.0"]);
        let output = open.env("CAUSERIE_TOKEN", blank).output().unwrap();
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("no token"), "{output:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    for (text, address) in [("", "127.0.0.1"), (" \n\n", "127.0.0.1"), ("", "0.0.0.0")] {
        std::fs::write(&file, text).unwrap();
        let output = command(&["--token-file", file.to_str().unwrap(), "--address", address]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("the file is empty"), "{said}");
    }
}

/// The listener closed at the signal: what a balancer sent before it had heard of it was lost.
#[test]
fn a_drain_says_not_ready_and_answers_on_until_it_is_over() {
    let mut served = start(&["--system", "popularity", "--drain-ms", "3000"]);
    let mut kept = served.connect();
    let get = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    kept.write_all(get).unwrap();
    let mut buffer = [0; 4096];
    assert!(kept.read(&mut buffer).unwrap() > 0);
    let began = Instant::now();
    served.terminate();
    served.log_with("\"draining\"");
    // While new ones come, they are answered.
    let mut asked = 0;
    while began.elapsed() < Duration::from_millis(2000) {
        let ready = served.ask("GET", "/health/ready", &[], b"");
        assert_eq!(ready.status, 503, "{ready:?}");
        assert_eq!(served.ask("GET", "/health/live", &[], b"").status, 200);
        let answer = served.recommend(&json!({"conversation": says("hello"), "top_k": 2}));
        assert_eq!(answer.status, 200, "{answer:?}");
        asked += 1;
    }
    assert!(asked > 3);
    assert_eq!(served.metric("causerie_ready"), 0.0);
    // A reload would be for nobody.
    assert_eq!(served.ask("POST", "/v1/reload", &[], b"").json()["error"]["code"], "stopping");
    // A connection from before is answered, and told to go elsewhere.
    kept.write_all(get).unwrap();
    let answer = read_answer(&mut kept);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer:?}");
    assert_eq!(served.exit_code(), Some(0));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2900) && took < Duration::from_secs(15), "{took:?}");
    let log = served.log();
    let at = |event: &str| log.find(&format!("\"event\":\"{event}\"")).unwrap_or_else(|| panic!("no {event}: {log}"));
    assert!(at("draining") < at("stopping") && at("stopping") < at("stopped"));
}

#[test]
fn a_second_signal_ends_the_drain_and_finishes_what_is_under_way_and_a_third_ends_at_once() {
    let mut served = start(&[&HEAVY[..], &["--drain-ms", "600000", "--shutdown-ms", "600000"]].concat());
    let mut stream = served.send("POST", "/v1/recommend", &[JSON], heavy().as_bytes());
    served.wait_for(COMPUTING, 1.0);
    served.terminate();
    served.log_with("\"draining\"");
    served.terminate();
    served.log_with("\"stopping\"");
    assert!(TcpStream::connect(("127.0.0.1", served.port)).is_err(), "a new connection was taken");
    assert!(served.child.try_wait().unwrap().is_none(), "what was under way was not waited for");
    served.terminate();
    assert_eq!(served.exit_code(), Some(130));
    assert_eq!(read_answer(&mut stream).status, 0);

    // With nothing under way, it is over with the second.
    let mut served = start(&["--system", "popularity", "--drain-ms", "600000"]);
    served.terminate();
    served.log_with("\"draining\"");
    served.terminate();
    assert_eq!(served.exit_code(), Some(0));
}

#[test]
fn a_signal_during_a_reload_ends_in_order() {
    for n in 0..5 {
        let mut served = start(&["--system", "popularity", "--drain-ms", "100"]);
        let loads: Vec<TcpStream> = (0..3).map(|_| served.send("POST", "/v1/reload", &[], b"")).collect();
        std::thread::sleep(Duration::from_millis(n * 7));
        let began = Instant::now();
        served.terminate();
        assert_eq!(served.exit_code(), Some(0), "{}", served.log());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        for mut stream in loads {
            let answer = read_answer(&mut stream);
            assert!([0, 200, 409, 503].contains(&answer.status), "{answer:?}");
        }
        assert!(!served.log().contains("panicked"), "{}", served.log());
    }
}

#[test]
fn a_work_directory_that_is_gone_fails_the_reload_alone() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("work");
    copy_folder(work(), &copy);
    let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
    command.args(["serve", "--port", "0", "--work"]).arg(&copy);
    command.env_remove("CAUSERIE_TOKEN").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let served = start_with(command);
    let ask = || served.recommend(&json!({"conversation": says("hello"), "explain": 2}));
    let before = ask().json()["items"].clone();
    std::thread::scope(|scope| {
        let reloads =
            scope.spawn(|| (0..20).map(|_| served.ask("POST", "/v1/reload", &[], b"").status).collect::<Vec<_>>());
        std::fs::remove_dir_all(&copy).unwrap();
        let statuses = reloads.join().unwrap();
        assert!(statuses.iter().all(|s| [200, 500].contains(s)) && statuses.contains(&500), "{statuses:?}");
    });
    assert_eq!(ask().json()["items"], before);
    served.log_with("\"load_failed\"");
}

#[test]
fn two_thousand_connections_that_say_nothing_keep_nobody_out() {
    let served = start(&["--system", "popularity", "--max-connections", "64", "--read-timeout-ms", "600000"]);
    let until = Instant::now() + Duration::from_secs(120);
    let mut held = Vec::new();
    // As many as this process may open.
    while held.len() < 2000 {
        match TcpStream::connect(("127.0.0.1", served.port)) {
            Ok(stream) => held.push(stream),
            Err(_) => break,
        }
    }
    assert!(held.len() > 400, "{} connections", held.len());
    held.truncate(held.len() - 20);
    while served.ask("GET", "/health", &[], b"").status != 200 {
        assert!(Instant::now() < until, "nobody else is let in: {}", served.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    assert!(served.log().contains("\"too_many_connections\""));
    assert!(served.metric("causerie_requests_total{route=\"unknown\",status=\"503\"}") > 0.0);
    assert!(served.metric("causerie_connections ") <= 64.0);
}

#[test]
fn a_client_that_closes_its_half_is_done_with_and_holds_nothing() {
    let served = start(&["--system", "popularity"]);
    for part in ["", "POST /v1/rec", "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"] {
        let mut stream = served.connect();
        stream.write_all(part.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let began = Instant::now();
        let answer = read_answer(&mut stream);
        assert!(began.elapsed() < Duration::from_secs(8), "{part:?}: {answer:?}");
    }
    served.wait_for("causerie_connections ", 1.0);
    served.wait_for("causerie_requests_in_flight ", 1.0);
}

/// It ended, with 0, when nobody read what it said; and it waited for a reader who did not.
#[test]
fn nobody_has_to_read_what_it_says_or_write_what_it_does_not_read() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let with_port = |stdin: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
        command
            .args(["serve", "--system", "popularity", "--drain-ms", "0", "--port", &port.to_string(), "--work"])
            .arg(work());
        command.env_remove("CAUSERIE_TOKEN").stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut child = with_port(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stdin.take(), child.stderr.take()));
    let mut served = Served { child, port, log: Arc::default(), said: String::new() };
    let until = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() || served.ask("GET", "/health/ready", &[], b"").status != 200
    {
        assert!(served.child.try_wait().unwrap().is_none() && Instant::now() < until, "it ended, or is not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(served.recommend(&json!({"conversation": says("hello")})).status, 200);
    served.terminate();
    assert_eq!(served.exit_code(), Some(0));
}

/// The terminal's end ended a server that `nohup` had started to outlive it.
#[test]
#[cfg(unix)]
fn nohup_outlives_its_terminal_and_without_it_a_hangup_ends_in_order() {
    let hang_up = |served: &Served| {
        assert!(Command::new("kill").args(["-HUP", &served.child.id().to_string()]).status().unwrap().success());
    };
    let mut nohup = Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_causerie")).args([
        "serve",
        "--system",
        "popularity",
        "--drain-ms",
        "0",
        "--port",
        "0",
    ]);
    nohup.arg("--work").arg(work()).env_remove("CAUSERIE_TOKEN");
    nohup.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut served = start_with(nohup);
    hang_up(&served);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(served.ask("GET", "/health/ready", &[], b"").status, 200);
    served.terminate();
    assert_eq!(served.exit_code(), Some(0));
    let mut served = start(&["--system", "popularity", "--drain-ms", "0"]);
    hang_up(&served);
    assert_eq!(served.exit_code(), Some(0));
}

#[test]
fn it_listens_on_ipv6_and_takes_the_address_with_and_without_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This machine has no IPv6.
    }
    for address in ["::1", "[::1]"] {
        let mut child = command(&["--system", "popularity", "--address", address]).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains("http://[::1]:"), "{said}");
        let port = said.trim().trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
        let served = Served { child, port, log: Arc::default(), said };
        let mut stream = TcpStream::connect(("::1", served.port)).unwrap();
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut stream).status, 200);
    }
}

/// A conversation that a language model reads the end of alone was answered as if all of it had been read.
#[test]
#[cfg(feature = "llama")]
fn a_language_model_says_that_a_long_conversation_was_cut() {
    let Some(model) = testing::shared("models/stories260K.gguf") else { return };
    let served = start(&["--model", model.to_str().unwrap()]);
    let turn = |n: usize| json!({"role": if n.is_multiple_of(2) { "user" } else { "assistant" }, "text": format!("turn {n}, a jungle")});
    let many: Vec<Value> = (0..2000).map(turn).collect();
    for conversation in [json!(many), says(&"I liked a film a lot. ".repeat(2000))] {
        let answer = served.recommend(&json!({"conversation": conversation, "top_k": 1}));
        assert_eq!((answer.status, &answer.json()["truncated"]), (200, &json!(true)), "{}", answer.body);
        assert!(answer.json()["warnings"].to_string().contains("is long"), "{}", answer.body);
    }
    assert_eq!(served.recommend(&json!({"conversation": says("a jungle"), "top_k": 1})).json()["truncated"], false);
}
