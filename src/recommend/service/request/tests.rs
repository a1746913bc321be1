//! What is taken and what is refused. The C API and the server run the same table (tests/serve.rs).

use super::*;
use crate::recommend::service::Query;

/// A request's fields behind its turns, and the field at fault where it is refused.
const TABLE: &str = include_str!("table.txt");

fn read(json: &str) -> Result<Query, RequestError> {
    read_request(Fields::of(Json::parse(json)?, "", "an object")?, 1000)
}

#[test]
fn every_spelling_of_the_table_is_taken_or_refused_by_the_name_of_its_field() {
    let mut lines = 0;
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (verdict, fields) = line.split_once('\t').unwrap();
        let json = format!(r#"{{"turns": [{{"role": "user", "text": "hello"}}]{fields}}}"#);
        match (read(&json), verdict) {
            (Ok(_), "ok") => {}
            (Err(RequestError::Field { field, message }), at) => {
                assert_eq!(field, at, "{line}: {message}");
                assert!(message.contains(':') || message.contains("no such field"), "{line}: {message}");
            }
            (read, _) => panic!("{line}: {read:?}"),
        }
        lines += 1;
    }
    assert!(lines > 80, "{lines} spellings");
}

#[test]
fn what_is_misspelt_is_named_with_what_is_meant() {
    let says = |json: &str| read(json).unwrap_err().to_string();
    assert_eq!(
        says(r#"{"turns": [], "exclud": ["a"]}"#),
        "exclud: no such field: there is turns, seen, exclude, allow, top_k, explain, id; is exclude meant?"
    );
    assert_eq!(
        says(r#"{"turns": [], "seen": [{"id": "a", "titel": "b"}]}"#),
        "seen[0].titel: no such field: there is id, title, year; is title meant?"
    );
    assert!(
        says(r#"{"turns": [], "allow": "tt1"}"#)
            .contains("the text \"tt1\" is not what is needed: write a list of ids")
    );
    assert!(says(r#"{"turn": []}"#).starts_with("turn: no such field"));
    assert!(says(r#"{"seen": []}"#).starts_with("turns: missing"));
    assert!(says(r#"{"turns": null}"#).starts_with("turns: missing"));
    assert!(says("[]").contains("write an object"));
    let long = says(&format!(r#"{{"turns": [], "{}": 1}}"#, "x".repeat(10_000)));
    assert!(long.len() < 300, "{long}");
}

#[test]
fn what_is_taken_means_what_it_says() {
    let query = read(
        r#"{"messages": [{"role": "user", "content": "hi"}], "id": "c1", "seen": ["Heat (1995)", {"imdb": "tt1"},
            {"title": "Alien", "year": 1979, "id": null}], "exclude": ["a", "b"], "allow": [], "top_k": 7, "explain": true}"#,
    )
    .unwrap();
    assert_eq!(query.conversation.turns[0].text, "hi");
    assert_eq!((query.conversation.id.as_str(), query.top_k, query.explain), ("c1", Some(7), Some(3)));
    let seen: Vec<(Option<&str>, &str, Option<u16>)> =
        query.conversation.seen.iter().map(|s| (s.item.as_deref(), s.title.as_str(), s.year)).collect();
    assert_eq!(
        seen,
        [(Some("Heat (1995)"), "Heat (1995)", None), (Some("tt1"), "", None), (None, "Alien", Some(1979))]
    );
    assert_eq!(query.exclude.ids, ["a", "b"]);
    assert_eq!(query.allow.map(|allow| allow.ids), Some(vec![]));
    let absent = read(r#"{"turns": [], "seen": null, "exclude": null, "allow": null, "top_k": null, "explain": null}"#);
    assert_eq!(absent.unwrap(), Query::default());
}
