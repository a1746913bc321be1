//! Requests that leave as a file and come back: the dialogues are those of asking directly.

use super::mock::{Mock, completion};
use super::tests::{Folder, bytes, dataset, go, good, http, selection, well};
use super::*;
use crate::config::SynthesizeConfig;
use crate::{ErrorKind, Run};
use serde_json::{Value, json};
use std::path::Path;

const SEEDS: usize = 12;

fn run() -> Run {
    Run::new(2).unwrap()
}

/// The settings of an export: the endpoint's model, no address.
fn away() -> SynthesizeConfig {
    SynthesizeConfig { base_url: String::new(), ..http("") }
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// What a batch endpoint makes of requests: the answers of the mock teacher, in another order.
fn answered(requests: &[Value]) -> Vec<String> {
    let answer = |request: &Value| {
        // Asked directly, the body also says that nothing is streamed.
        let mut body = request["body"].clone();
        body["stream"] = false.into();
        let completion: Value = serde_json::from_str(&completion(&good(&body.to_string()), "stop")).unwrap();
        json!({
            "id": "batch_req_1",
            "custom_id": request["custom_id"],
            "response": {"status_code": 200, "request_id": "r", "body": completion},
            "error": null,
        })
        .to_string()
    };
    requests.iter().rev().map(answer).collect()
}

fn write(path: &Path, lines: &[String]) {
    std::fs::write(path, lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
}

#[test]
fn a_round_trip_gives_the_dialogues_of_asking_directly() {
    let folder = Folder::new();
    let at = |name: &str| folder.0.path().join(name);
    let direct = {
        let mock = Mock::new(well);
        go(&http(&mock.url), SEEDS, &at("direct.jsonl")).unwrap()
    };
    let (data, picks, journal) = (dataset(), selection(SEEDS), folder.journal());
    for (wave, expected) in [(1, SEEDS), (2, 2 * SEEDS), (3, 0)] {
        let out = at("requests.jsonl");
        let exported = export_requests(&data, &picks, &away(), &run(), &journal, &out).unwrap();
        assert_eq!(exported.requests, expected as u64, "wave {wave}");
        let requests = lines(&out);
        assert_eq!(requests.len(), expected);
        for request in &requests {
            assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!("/v1/chat/completions")));
            assert_eq!(request["body"]["model"], "mock-1");
            assert_eq!(request["custom_id"].as_str().unwrap().len(), 16);
        }
        if expected > 0 {
            // Exported again before it is answered: the same bytes.
            let again = at("again.jsonl");
            export_requests(&data, &picks, &away(), &run(), &journal, &again).unwrap();
            assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&out).unwrap());
            write(&at("answers.jsonl"), &answered(&requests));
            let imported = import_answers(&journal, &at("answers.jsonl"), &run()).unwrap();
            assert_eq!((imported.taken, imported.missing), (expected as u64, 0));
        }
    }
    // No address is set: nobody is asked.
    let collected = go(&away(), SEEDS, &journal).unwrap();
    assert_eq!(bytes(&collected), bytes(&direct));
    assert_eq!((collected.report.answered, collected.report.requests), (0, 3 * SEEDS as u64));
    assert_eq!(collected.report.prompt_tokens, direct.report.prompt_tokens);
}

#[test]
fn half_a_batch_is_told_and_the_rest_can_be_asked_directly() {
    let folder = Folder::new();
    let at = |name: &str| folder.0.path().join(name);
    let journal = folder.journal();
    export_requests(&dataset(), &selection(SEEDS), &away(), &run(), &journal, &at("r.jsonl")).unwrap();
    let answers = answered(&lines(&at("r.jsonl")));
    write(&at("a.jsonl"), &answers[..5]);
    let imported = import_answers(&journal, &at("a.jsonl"), &run()).unwrap();
    assert_eq!((imported.taken, imported.missing), (5, SEEDS as u64 - 5));
    let e = go(&away(), SEEDS, &journal).unwrap_err();
    assert!(e.message().contains("--export-requests") && e.kind() == ErrorKind::Teacher, "{e}");
    let mock = Mock::new(well);
    let made = go(&http(&mock.url), SEEDS, &journal).unwrap();
    assert_eq!((made.rows.len(), mock.count()), (2 * SEEDS, 3 * SEEDS - 5));
}

#[test]
fn bad_answers_are_counted_by_what_is_wrong_and_harm_nothing() {
    let folder = Folder::new();
    let at = |name: &str| folder.0.path().join(name);
    let journal = folder.journal();
    let e = import_answers(&journal, &at("a.jsonl"), &run()).unwrap_err();
    assert!(e.kind() == ErrorKind::NotFound && e.message().contains("--export-requests"), "{e}");
    export_requests(&dataset(), &selection(SEEDS), &away(), &run(), &journal, &at("r.jsonl")).unwrap();
    let requests = lines(&at("r.jsonl"));
    let id = |n: usize| requests[n]["custom_id"].as_str().unwrap().to_string();
    let respond = |id: &str, status: u16, body: Value| {
        json!({"custom_id": id, "response": {"status_code": status, "body": body}, "error": null}).to_string()
    };
    let text = |text: &str, finish: &str| -> Value { serde_json::from_str(&completion(text, finish)).unwrap() };
    let batch = [
        respond(&id(0), 200, text("1. one\n2. two", "stop")),
        respond(&id(0), 200, text("1. one\n2. two", "stop")),
        respond(&id(0), 200, text("another answer", "stop")),
        respond("0123456789abcdef", 200, text("1. of somebody else", "stop")),
        respond(&id(1), 200, text("half an ans", "length")),
        respond(&id(2), 200, text("", "stop")),
        respond(&id(3), 429, json!({"error": {"message": "slow down"}})),
        json!({"custom_id": id(4), "response": null, "error": {"code": "batch_expired"}}).to_string(),
        "no json".to_string(),
        json!({"response": {"body": {}}}).to_string(),
        json!({"custom_id": id(5)}).to_string(),
        respond(&id(6), 200, text("1. half an ans", "error")),
        respond(&id(6), 200, text("1. half an ans", "MAX_TOKENS")),
        respond(&id(6), 200, text("1. half an ans", "content_filter")),
        respond(&id(6), 200, json!({"error": {"message": "lost"}})),
        respond(&id(6), 200, json!(text("1. whole and well\n2. as text", "eos").to_string())),
    ];
    write(&at("a.jsonl"), &batch);
    let imported = import_answers(&journal, &at("a.jsonl"), &run()).unwrap();
    let expected = ImportReport {
        lines: 16,
        taken: 2,
        duplicate: 2,
        foreign: 1,
        malformed: 3,
        failed: 8,
        missing: SEEDS as u64 - 2,
    };
    assert_eq!(imported, expected);
    assert!(imported.to_string().contains("3 malformed"), "{imported}");
    // The first answer stays.
    assert!(std::fs::read_to_string(&journal).unwrap().contains("1. one"));
    assert!(!std::fs::read_to_string(&journal).unwrap().contains("another answer"));

    write(&at("a.jsonl"), &batch[3..4]);
    assert!(import_answers(&journal, &at("a.jsonl"), &run()).unwrap_err().message().contains("none of 1 answers"));
    write(&at("a.jsonl"), &batch[8..10]);
    let e = import_answers(&journal, &at("a.jsonl"), &run()).unwrap_err();
    assert!(e.kind() == ErrorKind::Format && e.message().contains("custom_id"), "{e}");
}

#[test]
fn a_key_is_in_no_export_and_other_teachers_export_nothing() {
    let folder = Folder::new();
    let at = |name: &str| folder.0.path().join(name);
    // The variable is never read: PATH stands for it.
    let config = SynthesizeConfig { api_key_env: "PATH".into(), ..away() };
    export_requests(&dataset(), &selection(2), &config, &run(), &folder.journal(), &at("r.jsonl")).unwrap();
    let path = std::env::var("PATH").unwrap();
    for file in [at("r.jsonl"), folder.journal()] {
        assert!(!std::fs::read_to_string(file).unwrap().contains(&path));
    }
    let config = SynthesizeConfig { teacher: "offline".into(), ..away() };
    let e = export_requests(&dataset(), &selection(2), &config, &run(), &folder.journal(), &at("x.jsonl")).unwrap_err();
    assert!(e.message().contains("synthesize.teacher = \"http\""), "{e}");
    assert!(!at("x.jsonl").exists());
}
