//! The room as a whole: teachers that fail in every way, caps, kills, cancels.

use super::mock::{Mock, Reply, completion};
use super::*;
use crate::config::SynthesizeConfig;
use crate::dataset::{Dataset, Interaction, Item, Review};
use crate::select::{Pick, Selection};
use crate::{ErrorKind, Run};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(super) const ITEMS: usize = 40;

/// 40 films with reviews, and users who like those of one parity.
pub(super) fn dataset() -> Dataset {
    let mut dataset = Dataset::default();
    for i in 0..ITEMS {
        let (genre, star) = if i % 2 == 0 { ("Comedy", "Ann Even") } else { ("Horror", "Bob Odd") };
        dataset
            .add_item(&Item {
                id: format!("i{i}"),
                title: format!("The {} of {}", ["Garden", "Tower", "Secret", "Winter", "Road"][i % 5], NAMES[i / 5]),
                year: Some(1990 + i as u16),
                genres: vec![genre.into(), "Drama".into()],
                creators: vec![star.into()],
                ..Default::default()
            })
            .unwrap();
    }
    for i in 0..ITEMS {
        for r in 0..4 {
            let text =
                format!("The story number {r} is really funny and the acting is great. Nothing {{styles}} was {i}.");
            dataset
                .add_review(&Review { item: format!("i{i}"), user: Some(format!("u{r}")), text, ..Default::default() })
                .unwrap();
        }
    }
    for user in 0..60 {
        for i in (user % 2..ITEMS).step_by(2).filter(|i| (i * 7 + user) % 3 > 0) {
            let rating10 = Some(8.0);
            dataset
                .add_interaction(&Interaction {
                    user: format!("v{user}"),
                    item: format!("i{i}"),
                    rating10,
                    timestamp_ms: None,
                })
                .unwrap();
        }
    }
    dataset
}
const NAMES: [&str; 8] = ["Alma", "Boris", "Clara", "Dmitri", "Elena", "Fausto", "Greta", "Hugo"];

pub(super) fn selection(count: usize) -> Selection {
    Selection {
        picks: (0..count).map(|n| Pick { rank: n as u64, row: (n * 3 % (ITEMS * 4)) as u64, gain: 0.0 }).collect(),
    }
}

pub(super) fn http(url: &str) -> SynthesizeConfig {
    SynthesizeConfig {
        teacher: "http".into(),
        base_url: url.into(),
        model: "mock-1".into(),
        backoff_ms: 1,
        retries: 3,
        timeout_ms: 5000,
        in_flight: 4,
        items: 5,
        lists: "open".into(),
        structured: "off".into(),
        ..Default::default()
    }
}

/// What a good server answers to this body: always the same.
pub(super) fn good(body: &str) -> String {
    let hash = crate::artifact::content_hash([body.as_bytes()]);
    let number = usize::from_str_radix(&hash[..6], 16).unwrap();
    if body.contains("different requests") || body.contains("Invent") {
        return format!("Sure:\n1. I want something like {hash} please\n2. Do you know a film about {}?", &hash[..8]);
    }
    let data = dataset();
    (0..5).map(|n| format!("{}. {}\n", n + 1, data.items.name((number + n * 3) % ITEMS))).collect()
}

pub(super) fn well(_: usize, body: &str) -> Reply {
    Reply::Text(good(body))
}

pub(super) fn go(config: &SynthesizeConfig, seeds: usize, journal: &Path) -> crate::Result<Dialogues> {
    synthesize(&dataset(), &selection(seeds), config, 0, &Run::new(2).unwrap(), journal)
}

pub(super) fn bytes(dialogues: &Dialogues) -> String {
    dialogues.rows.iter().map(|d| serde_json::to_string(d).unwrap() + "\n").collect()
}

pub(super) struct Folder(pub(super) tempfile::TempDir);
impl Folder {
    pub(super) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }
    pub(super) fn journal(&self) -> std::path::PathBuf {
        self.0.path().join("journal.jsonl")
    }
}

#[test]
fn a_second_run_asks_nothing_and_gives_the_same_bytes_without_network() {
    let folder = Folder::new();
    let (first, url) = {
        let mock = Mock::new(well);
        let first = go(&http(&mock.url), 10, &folder.journal()).unwrap();
        // 10 first requests, then one for each of two queries.
        assert_eq!(mock.count(), 30);
        (first, mock.url.clone())
    };
    assert_eq!(first.rows.len(), 20);
    assert_eq!(first.report.requests, 30);
    assert_eq!((first.report.prompt_tokens, first.report.completion_tokens), (1500, 600));
    assert_eq!(first.rows[0].items.len(), 5);
    let second = go(&http(&url), 10, &folder.journal()).unwrap();
    assert_eq!(bytes(&first), bytes(&second));
    assert_eq!((second.report.answered, second.report.replayed, second.report.requests), (0, 30, 30));
}

#[test]
fn the_offline_teacher_gives_the_same_bytes_for_any_number_of_threads() {
    let config = SynthesizeConfig { items: 10, ..Default::default() };
    let mut all = Vec::new();
    for threads in [1, 2, 5] {
        let folder = Folder::new();
        let run = Run::new(threads).unwrap();
        let made = synthesize(&dataset(), &selection(30), &config, 3, &run, &folder.journal()).unwrap();
        let repeated = made.report.dropped.get("queries repeated").copied().unwrap_or(0) as usize;
        assert_eq!(made.rows.len() + repeated, 60, "{:?}", made.report);
        assert!(repeated < 10, "{repeated}");
        assert_eq!(made.report.out_of_catalogue, 0.0);
        for row in &made.rows {
            let seed = row.seed.as_ref().unwrap();
            assert_eq!(row.items[0], seed.item, "the seed's item leads");
            assert_eq!(row.items.len(), 10);
            assert_eq!(row.round, 3);
            let data = dataset();
            let title = data.items.title(data.items.find(&seed.item).unwrap() as usize).to_string();
            assert!(!row.query().contains(&title), "{title} in {}", row.query());
        }
        let parity = |id: &str| id[1..].parse::<usize>().unwrap() % 2;
        let same = made.rows.iter().flat_map(|r| r.items.iter().map(|i| parity(i) == parity(&r.items[0])));
        let (hits, total) = same.fold((0, 0), |(h, n), s| (h + usize::from(s), n + 1));
        assert!(hits * 10 > total * 9, "{hits} of {total} listed items are of the seed's kind");
        all.push(bytes(&made));
    }
    assert!(all.windows(2).all(|w| w[0] == w[1]));
}

#[test]
fn the_offline_teacher_works_on_bare_reviews() {
    let mut bare = Dataset::default();
    for i in 0..12 {
        bare.add_item(&Item { id: format!("i{i}"), title: format!("Thing number {i}x"), ..Default::default() })
            .unwrap();
        let text = "Soft and warm, I love it and it works. The color is great and the size is right.".to_string();
        bare.add_review(&Review { item: format!("i{i}"), text, ..Default::default() }).unwrap();
    }
    for naive in [false, true] {
        let config = SynthesizeConfig { domain: "products".into(), items: 4, naive, ..Default::default() };
        let picks = Selection { picks: (0..12).map(|row| Pick { rank: row, row, gain: 0.0 }).collect() };
        let folder = Folder::new();
        let made = synthesize(&bare, &picks, &config, 0, &Run::new(1).unwrap(), &folder.journal()).unwrap();
        assert!(!made.rows.is_empty());
        assert!(made.rows.iter().all(|r| r.items.len() == 4 && r.seed.is_none() == naive));
    }
}

/// One failing reply to the first request, good ones after it: what does it cost?
fn once(reply: fn() -> Reply, timeout_ms: u64) -> (crate::Result<Dialogues>, usize, String) {
    let mock = Mock::new(move |n, body| if n == 0 { reply() } else { well(n, body) });
    let folder = Folder::new();
    let result = go(&SynthesizeConfig { timeout_ms, ..http(&mock.url) }, 3, &folder.journal());
    (result, mock.count(), std::fs::read_to_string(folder.journal()).unwrap())
}

#[test]
fn passing_failures_are_asked_again_and_never_kept_as_answers() {
    type Case = (&'static str, fn() -> Reply);
    let cases: Vec<Case> = vec![
        ("500", || Reply::Status(500, "", "oops".into())),
        ("502", || Reply::Status(502, "content-type: text/html\r\n", "<html>bad gateway</html>".into())),
        ("503", || Reply::Status(503, "", String::new())),
        ("429", || Reply::Status(429, "retry-after: 0\r\n", "{}".into())),
        ("garbage", || Reply::Status(200, "", "\u{1}not json".into())),
        ("html", || Reply::Status(200, "content-type: text/html\r\n", "<html>login</html>".into())),
        ("empty body", || Reply::Status(200, "", String::new())),
        ("no choices", || Reply::Status(200, "", "{\"choices\": []}".into())),
        ("null content", || Reply::Status(200, "", "{\"choices\": [{\"message\": {\"content\": null}}]}".into())),
        ("empty content", || Reply::Status(200, "", completion(" \n", "stop"))),
        ("half an answer", || Reply::Status(200, "", completion("1. Half", "length"))),
        ("error in 200", || Reply::Status(200, "", "{\"error\": {\"message\": \"overloaded\"}}".into())),
        ("nothing at all", || Reply::Raw(Vec::new())),
        ("half a response", || Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [".to_vec())),
        ("no HTTP", || Reply::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec())),
        ("huge", || Reply::Status(200, "", " ".repeat((16 << 20) + 2))),
    ];
    for (name, reply) in cases {
        let (result, asked, journal) = once(reply, 600_000);
        let made = result.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(made.rows.len(), 6, "{name}");
        assert_eq!(asked, 10, "{name}: nine requests, one of them twice");
        assert_eq!(journal.matches("\"type\":\"answer\"").count(), 9, "{name}");
    }
}

#[test]
fn an_answer_that_does_not_come_in_time_is_asked_again() {
    for reply in [|| Reply::Drip, || Reply::Never] {
        let (result, asked, journal) = once(reply, 1500);
        assert_eq!(result.unwrap().rows.len(), 6);
        // On a busy machine good answers may be late as well.
        assert!(asked >= 10, "{asked}");
        assert_eq!(journal.matches("\"type\":\"answer\"").count(), 9);
    }
}

#[test]
fn what_no_retry_mends_stops_at_once_and_says_what_to_set() {
    let cases: [(u16, &'static str, &str, &str); 7] = [
        (401, "", "{}", "401 from http://127.0.0.1"),
        (401, "", "{}", "set synthesize.api_key_env"),
        (403, "", "{}", "set synthesize.api_key_env"),
        (404, "", "{\"error\": {\"message\": \"no model mock-1\"}}", "synthesize.model; it says: no model mock-1"),
        (402, "", "{}", "no credit"),
        (429, "", "{\"error\": {\"code\": \"insufficient_quota\"}}", "quota is used up"),
        (307, "location: http://127.0.0.1:1/else\r\n", "", "redirects are not followed"),
    ];
    for (status, headers, body, says) in cases {
        let mock = Mock::new(move |_, _| Reply::Status(status, headers, body.to_string()));
        let folder = Folder::new();
        let config = SynthesizeConfig { in_flight: 1, ..http(&mock.url) };
        let e = go(&config, 3, &folder.journal()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Teacher, "{e}");
        assert!(e.message().contains(says), "{status}: {e}");
        assert_eq!(mock.count(), 1, "{status} was asked again");
    }
}

#[test]
fn a_prompt_too_long_is_given_up_and_the_others_go_on() {
    let message = "{\"error\": {\"message\": \"maximum context length is 4096\"}}";
    let mock = Mock::new(move |n, body| if n == 0 { Reply::Status(400, "", message.into()) } else { well(n, body) });
    let folder = Folder::new();
    let made = go(&SynthesizeConfig { in_flight: 1, ..http(&mock.url) }, 3, &folder.journal()).unwrap();
    assert_eq!(made.rows.len(), 4);
    assert_eq!(made.report.dropped["queries not answered"], 2);
    // The next run asks for what failed, and for nothing else.
    let mock = Mock::new(well);
    let again = go(&http(&mock.url), 3, &folder.journal()).unwrap();
    assert_eq!((again.rows.len(), mock.count()), (6, 3));
}

#[test]
fn a_teacher_that_refuses_everything_is_an_error_not_an_empty_result() {
    let mock = Mock::new(|_, _| Reply::Status(400, "", "no".into()));
    let folder = Folder::new();
    let e = go(&http(&mock.url), 4, &folder.journal()).unwrap_err();
    assert!(e.message().contains("4 seeds gave no dialogue; dropped: 8 queries not answered"), "{e}");
    let e = go(&http(&mock.url), 60, &folder.journal()).unwrap_err();
    assert!(e.message().contains("20 requests in a row"), "{e}");
}

#[test]
fn a_dead_address_is_told_after_the_retries() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = Folder::new();
    let e = go(&http(&format!("http://127.0.0.1:{port}/v1")), 2, &folder.journal()).unwrap_err();
    assert!(e.message().contains("cannot reach") && e.message().contains("after 4 attempts"), "{e}");
}

#[test]
fn retry_after_is_waited_out_by_all_and_fewer_go_at_once() {
    let mock = Mock::new(|n, body| match n {
        0..4 => Reply::Status(429, "retry-after: 1\r\n", "{}".into()),
        _ => Reply::Text(good(body)),
    });
    let folder = Folder::new();
    let made = go(&http(&mock.url), 4, &folder.journal()).unwrap();
    assert_eq!(made.rows.len(), 8);
    // Refused at the door: not counted, not paid.
    assert_eq!((made.report.requests, mock.count()), (12, 16));
    let seen = mock.seen.lock().unwrap();
    let last_refusal = seen[..4].iter().map(|s| s.at).max().unwrap();
    let first_after = seen[4..].iter().map(|s| s.at).min().unwrap();
    assert!(first_after - last_refusal >= Duration::from_millis(950), "{:?}", first_after - last_refusal);
}

#[test]
fn no_more_are_in_flight_than_set() {
    // The first ones wait for each other.
    let (arrived, all) = (std::sync::Mutex::new(0), std::sync::Condvar::new());
    let mock = Mock::new(move |_, body| {
        let mut count = arrived.lock().unwrap();
        *count += 1;
        all.notify_all();
        drop(all.wait_while(count, |count| *count < 3).unwrap());
        Reply::Text(good(body))
    });
    let folder = Folder::new();
    go(&SynthesizeConfig { in_flight: 3, ..http(&mock.url) }, 10, &folder.journal()).unwrap();
    assert_eq!(mock.at_once_most.load(Ordering::SeqCst), 3);
}

#[test]
fn the_key_is_sent_and_appears_nowhere_else() {
    let key = "sk-secret-0123456789";
    for status in [200, 401, 400, 500] {
        let echo = format!("1. you sent {key} to me, thanks\n2. and {key} again it was");
        let mock = Mock::new(move |_, _| match status {
            200 => Reply::Text(echo.clone()),
            other => Reply::Status(other, "", format!("{{\"error\": {{\"message\": \"bad key {key}\"}}}}")),
        });
        let folder = Folder::new();
        let config = http(&mock.url);
        let teacher = HttpTeacher::with_key(&config, Some(key.into())).unwrap();
        let run = Run::new(1).unwrap();
        let result = synthesize_with(&dataset(), &selection(2), &teacher, &config, 0, &run, &folder.journal());
        assert!(mock.seen.lock().unwrap()[0].headers.contains(&format!("Bearer {key}")));
        let error = result.err().map(|e| format!("{e} {e:?}")).unwrap_or_default();
        assert!(status == 200 || !error.is_empty());
        let journal = std::fs::read_to_string(folder.journal()).unwrap();
        // What the teacher answered is data, and stays as it is.
        assert_eq!(journal.contains("secret"), status == 200);
        for text in [error, format!("{teacher:?}")] {
            assert!(!text.contains("secret"), "{text}");
        }
    }
}

#[test]
fn a_key_is_never_cut_out_of_an_answer() {
    for key in ["EMPTY", "1", "sk-no-key-required", "sk-secret-0123456789"] {
        let query = format!("I liked 12 Monkeys (1995) and EMPTY rooms, with {key} in it");
        let text = format!("1. {query}\n2. Something quiet, please");
        let mock = Mock::new(move |n, body| if n == 0 { Reply::Text(text.clone()) } else { well(n, body) });
        let folder = Folder::new();
        let config = http(&mock.url);
        let teacher = HttpTeacher::with_key(&config, Some(key.into())).unwrap();
        let run = Run::new(1).unwrap();
        let made = synthesize_with(&dataset(), &selection(1), &teacher, &config, 0, &run, &folder.journal()).unwrap();
        assert_eq!(made.rows[0].query(), query);
    }
}

#[test]
fn who_puts_the_key_in_place_of_its_variables_name_does_not_read_it_in_an_error() {
    for name in ["sk-proj-0123456789", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"] {
        let config = SynthesizeConfig { api_key_env: name.into(), ..http("http://h/v1") };
        let e = HttpTeacher::new(&config).unwrap_err();
        assert!(e.message().contains("name of an environment variable") && !e.message().contains("0123"), "{e}");
    }
}

#[test]
fn addresses_that_cannot_be_are_refused_without_a_word_of_a_password() {
    for (url, says) in [
        ("", "an address like"),
        ("10.0.0.5:8000", "an address like"),
        ("ftp://host/v1", "an address like"),
        ("http://user:hunter2@host/v1", "holds a user or password"),
    ] {
        let e = HttpTeacher::new(&http(url)).unwrap_err();
        assert!(e.message().contains(says) && !e.message().contains("hunter2"), "{e}");
    }
    let config = SynthesizeConfig { api_key_env: "CAUSERIE_NO_SUCH_KEY".into(), ..http("http://h/v1") };
    assert!(HttpTeacher::new(&config).unwrap_err().message().contains("no such environment variable"));
    let folder = Folder::new();
    std::fs::write(folder.journal(), "no pem").unwrap();
    let config = SynthesizeConfig { ca_file: folder.journal().display().to_string(), ..http("https://h/v1") };
    assert!(HttpTeacher::new(&config).unwrap_err().message().contains("no certificate in it"));
}

#[test]
fn a_cap_on_requests_is_never_passed_over_all_runs() {
    let mock = Mock::new(|n, body| if n % 5 == 4 { Reply::Raw(Vec::new()) } else { well(n, body) });
    let folder = Folder::new();
    // Every fifth connection breaks, and one request may be struck several times.
    let config = SynthesizeConfig { max_requests: 17, retries: 30, ..http(&mock.url) };
    let first = go(&config, 20, &folder.journal()).unwrap();
    assert!(first.report.capped && !first.rows.is_empty());
    assert_eq!(mock.count(), 17);
    let second = go(&config, 20, &folder.journal()).unwrap();
    assert_eq!((bytes(&second), mock.count()), (bytes(&first), 17));
    let third = go(&SynthesizeConfig { max_requests: 0, ..config }, 20, &folder.journal()).unwrap();
    assert!(!third.report.capped);
    assert_eq!(third.rows.len(), 40);
}

#[test]
fn a_cap_on_tokens_is_never_passed() {
    let mock = Mock::new(well);
    let folder = Folder::new();
    let config =
        SynthesizeConfig { max_tokens: 8000, answer_tokens: 100, price_in: 1.0, price_out: 2.0, ..http(&mock.url) };
    let made = go(&config, 200, &folder.journal()).unwrap();
    let report = &made.report;
    assert!(report.capped && !made.rows.is_empty());
    let spent = report.prompt_tokens + report.completion_tokens;
    assert_eq!(spent, mock.count() as u64 * 70);
    assert!(spent <= 8000 && spent > 4000, "{spent}");
    // Prices per million tokens.
    assert!((report.cost - (report.prompt_tokens as f64 + 2.0 * report.completion_tokens as f64) / 1e6).abs() < 1e-12);
}

#[test]
fn a_title_that_leaks_is_masked_and_counted() {
    let title = "The Garden of Alma";
    let mock = Mock::new(move |n, body| match body.contains("different requests") {
        true => Reply::Text(format!("1. I loved {title} (1990), what else is there?\n2. {title}?")),
        false => well(n, body),
    });
    let folder = Folder::new();
    let made = go(&http(&mock.url), 1, &folder.journal()).unwrap();
    assert_eq!(made.rows.len(), 1);
    assert_eq!(made.rows[0].query(), "I loved that one, what else is there?");
    assert_eq!((made.report.masked, made.report.dropped["queries that only name the seed's item"]), (1, 1));
}

#[test]
fn lists_outside_the_catalogue_are_dropped_and_counted() {
    let mock = Mock::new(move |n, body| match body.contains("Act as") {
        true if n % 2 == 0 => Reply::Text("1. Zzyzx Quux (1901)\n2. Wholly Unknown Stuff (1902)".into()),
        _ => well(n, body),
    });
    let folder = Folder::new();
    let made = go(&SynthesizeConfig { in_flight: 1, ..http(&mock.url) }, 4, &folder.journal()).unwrap();
    let dropped = made.report.dropped["lists with too few items of the catalogue"];
    assert!(dropped > 0);
    assert_eq!(made.rows.len() as u64 + dropped, 8);
    assert!(made.report.out_of_catalogue > 0.0);
}

#[test]
fn naive_asks_without_seeds() {
    let mock = Mock::new(well);
    let folder = Folder::new();
    let made = go(&SynthesizeConfig { naive: true, ..http(&mock.url) }, 4, &folder.journal()).unwrap();
    assert_eq!(made.rows.len(), 8);
    assert!(made.rows.iter().all(|d| d.seed.is_none()));
    assert!(mock.seen.lock().unwrap().iter().all(|s| !s.body.contains("review")));
}

#[test]
fn a_row_that_is_no_review_is_refused() {
    let picks = Selection { picks: vec![Pick { rank: 0, row: 1_000_000, gain: 0.0 }] };
    let run = Run::new(1).unwrap();
    let folder = Folder::new();
    let e = synthesize(&dataset(), &picks, &SynthesizeConfig::default(), 0, &run, &folder.journal()).unwrap_err();
    assert!(e.message().contains("selected row 1000000 of 160 reviews"), "{e}");
}

#[test]
fn a_cancel_ends_soon_and_leaves_a_journal_to_go_on_from() {
    let mock = Mock::new(|n, body| if n < 10 { well(n, body) } else { Reply::Never });
    let folder = Folder::new();
    let run = Run::new(1).unwrap();
    let flag = run.cancel_flag();
    // Without the cancel it would take hours.
    let config = SynthesizeConfig { timeout_ms: 10_000_000, ..http(&mock.url) };
    let e = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Ten answered, four under way.
            mock.wait_for(14);
            flag.set();
        });
        synthesize(&dataset(), &selection(20), &config, 0, &run, &folder.journal()).unwrap_err()
    });
    assert_eq!(e.kind(), ErrorKind::Cancelled);
    let good = Mock::new(well);
    let made = go(&http(&good.url), 20, &folder.journal()).unwrap();
    assert_eq!((made.rows.len(), good.count()), (40, 50), "ten answers were kept");
    assert_eq!((made.report.requests, made.report.requests_in_doubt), (64, 4));
    assert!(made.report.to_string().contains("4 requests in doubt"), "{}", made.report);
}

#[test]
fn progress_tells_requests_tokens_and_cost() {
    let mock = Mock::new(well);
    let folder = Folder::new();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = seen.clone();
    let run = Run::new(1).unwrap().on_progress(move |p| sink.lock().unwrap().push(p.clone()));
    let config = SynthesizeConfig { price_in: 3.0, ..http(&mock.url) };
    synthesize(&dataset(), &selection(5), &config, 0, &run, &folder.journal()).unwrap();
    let last = seen.lock().unwrap().last().unwrap().clone();
    assert_eq!((last.stage, last.unit, last.done, last.total), ("synthesize", "requests", 15, 15));
    assert!(
        last.note.starts_with("750 + 300 tokens, cost 0.0023")
            || last.note.starts_with("750 + 300 tokens, cost 0.0022"),
        "{}",
        last.note
    );
}

/// Run by `a_kill_at_any_moment_loses_no_answer_and_repeats_what_was_under_way_under_the_same_key`, in a process of its own.
#[test]
#[ignore = "a part of another test"]
fn child_of_the_kill_test() {
    let url = std::env::var("CAUSERIE_TEST_URL").unwrap();
    let journal = std::env::var("CAUSERIE_TEST_JOURNAL").unwrap();
    go(&http(&url), 40, Path::new(&journal)).unwrap();
}

#[test]
fn a_kill_at_any_moment_loses_no_answer_and_repeats_what_was_under_way_under_the_same_key() {
    // How many requests are answered before the child's life ends; the rest are held back, so that it cannot finish.
    let answers_left = Arc::new(AtomicUsize::new(0));
    let left = answers_left.clone();
    let mock = Mock::new(move |_, body| {
        let one_less = |n: usize| n.checked_sub(1);
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => Reply::Text(good(body)),
            Err(_) => Reply::Never,
        }
    });
    let folder = Folder::new();
    let mut random = crate::math::Random::new(7, b"kill");
    let mut kept: std::collections::HashSet<String> = Default::default();
    for _ in 0..6 {
        let before = mock.count();
        let answers = random.below(17);
        answers_left.store(answers, Ordering::SeqCst);
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "synthesize::tests::child_of_the_kill_test", "--ignored", "--test-threads=1"])
            .env("CAUSERIE_TEST_URL", &mock.url)
            .env("CAUSERIE_TEST_JOURNAL", folder.journal())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Wherever it is by then: waiting, or writing answers down.
        while mock.count() < before + answers + 1 {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        for seen in &mock.seen.lock().unwrap()[before..] {
            let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
            let prompt = body["messages"][0]["content"].as_str().unwrap();
            assert!(!kept.contains(prompt), "asked again although its answer was in the journal");
        }
        // What is in the journal now must never be asked again.
        let journal = std::fs::read_to_string(folder.journal()).unwrap_or_default();
        let entries: Vec<serde_json::Value> = journal
            .lines()
            .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
            .map(|l| l["entry"].clone())
            .collect();
        let answered: Vec<&serde_json::Value> =
            entries.iter().filter(|e| e["type"] == "answer").map(|e| &e["id"]).collect();
        for entry in entries.iter().filter(|e| e["type"] == "request" && answered.contains(&&e["id"])) {
            kept.insert(entry["messages"][0]["content"].as_str().unwrap().to_string());
        }
    }
    assert!(!kept.is_empty());
    answers_left.store(usize::MAX, Ordering::SeqCst);
    let before = mock.count();
    let made = go(&http(&mock.url), 40, &folder.journal()).unwrap();
    assert_eq!(mock.count() - before, 120 - kept.len());
    assert!(made.report.requests_in_doubt >= 6, "{}", made.report.requests_in_doubt);
    let mut keys: std::collections::HashMap<String, String> = Default::default();
    let sent = mock.header("idempotency-key");
    for (seen, key) in mock.seen.lock().unwrap().iter().zip(sent) {
        assert!(key.starts_with("causerie-"));
        assert_eq!(keys.entry(seen.body.clone()).or_insert(key.clone()), &key);
    }
    let distinct: std::collections::HashSet<&String> = keys.values().collect();
    assert_eq!(distinct.len(), 120, "one key a request");
    let clean = Folder::new();
    let whole = go(&http(&mock.url), 40, &clean.journal()).unwrap();
    assert_eq!(bytes(&made), bytes(&whole));
}

#[cfg(feature = "llama")]
#[test]
fn a_local_teacher_is_heard_while_it_writes_on_the_callers_thread() {
    let Some(model) = crate::testing::shared("models/stories260K.gguf") else { return };
    let folder = Folder::new();
    let config = SynthesizeConfig {
        teacher: "local".into(),
        model: model.display().to_string(),
        lists: "open".into(),
        structured: "off".into(),
        answer_tokens: 12,
        queries: 1,
        ..Default::default()
    };
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let (kept, caller) = (heard.clone(), std::thread::current().id());
    let run = Run::new(1).unwrap().on_token(move |piece| {
        assert_eq!(std::thread::current().id(), caller);
        kept.lock().unwrap().push(piece.to_string());
    });
    let result = synthesize(&dataset(), &selection(1), &config, 0, &run, &folder.journal());
    // A story model of 260,000 parameters is no teacher: what is asserted is that its answers, of twelve tokens and so
    // never finished, were heard and taken for what they are.
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Teacher);
    let heard = heard.lock().unwrap();
    let answers: Vec<String> = heard.split(String::is_empty).map(<[String]>::concat).collect();
    assert!(answers.len() >= 2 && !answers[0].is_empty(), "{heard:?}");
    assert_eq!(heard.last().map(String::as_str), Some(""), "{heard:?}");
}

/// A teacher of the test's own that keeps what it is asked.
struct Hears {
    prompts: std::sync::Mutex<Vec<String>>,
    remote: bool,
}

impl Teacher for Hears {
    fn name(&self) -> String {
        "hears".into()
    }
    fn is_remote(&self) -> bool {
        self.remote
    }
    fn in_flight(&self) -> usize {
        1
    }
    fn answer(&self, request: &Request, _: usize, _: &Run) -> Result<Answer, Failure> {
        let prompt: Vec<&str> = request.messages.iter().map(|m| m.content.as_str()).collect();
        self.prompts.lock().unwrap().push(prompt.join("\n"));
        let text = match request.kind {
            Kind::Query => {
                "I want something slow and sad with a good ending\nAnything warm and funny for a rainy evening"
            }
            Kind::Dialogue => unreachable!("one turn"),
            Kind::Recommend => "1. The Garden of Alma\n2. The Tower of Alma\n3. The Secret of Alma",
            Kind::Judge => "5, 5, 5",
        };
        Ok(Answer { text: text.into(), prompt_tokens: 1, completion_tokens: 1 })
    }
}

/// Addresses and numbers of people who wrote reviews went to the endpoint as they stood.
#[test]
fn personal_data_left_the_machine_with_the_reviews() {
    let mut data = dataset();
    let item = data.items.id(0).to_string();
    let text = "A quiet film that stays. Write to jane.doe@example.org or call +44 20 7946 0958, says @jane";
    let review = Review { item, text: text.into(), ..Default::default() };
    data.add_review(&review).unwrap();
    let row = data.reviews() as u64 - 1;
    let selection = Selection { picks: vec![Pick { rank: 0, row, gain: 1.0 }] };
    for (mask, remote, masked) in
        [("auto", true, true), ("auto", false, false), ("on", false, true), ("off", true, false)]
    {
        let folder = Folder::new();
        let config = SynthesizeConfig { mask: mask.into(), lists: "open".into(), ..Default::default() };
        let teacher = Hears { prompts: Default::default(), remote };
        let run = Run::new(1).unwrap();
        let made = synthesize_with(&data, &selection, &teacher, &config, 0, &run, &folder.journal()).unwrap();
        let prompts = teacher.prompts.into_inner().unwrap().join("\n");
        let (found, personal) = (["jane.doe@example.org", "7946", "@jane"], made.report.personal_data);
        assert!(found.iter().all(|part| prompts.contains(part) != masked), "{mask}: {prompts}");
        assert_eq!(prompts.contains("Write to [email] or call [phone], says [handle]"), masked);
        assert_eq!((personal.emails, personal.phones, personal.handles), if masked { (1, 1, 1) } else { (0, 0, 0) });
        assert_eq!(made.report.to_string().contains("3 pieces of personal data masked"), masked);
    }
}
