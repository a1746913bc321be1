//! What the boundary costs: each call over C beside the same in Rust. A bench, not a test:
//! `cargo test --release -p causerie-capi --test overhead -- --ignored --nocapture`.

use causerie::dataset::{Conversation, Dataset, Item, Role, Turn};
use causerie::ffi::{config::*, dataset::*, recommender::*};
use causerie::recommend::{Mentions, Popularity, Recommender, Request, recommend};
use causerie::{Config, Run};
use std::hint::black_box;
use std::ptr::{null, null_mut};
use std::time::Instant;

const ITEMS: usize = 200;
const CALLS: u32 = 20_000;
const TALK: &str = r#"[{"role": "user", "text": "something funny and moving"}]"#;

/// Nanoseconds a call: the least of seven runs, for what else the machine does only adds.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let run = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    (0..7).map(|_| run(&mut call)).fold(f64::INFINITY, f64::min)
}

fn show(what: &str, c: f64, rust: f64) {
    println!("{what:<34} {c:>8.0} ns over C, {rust:>8.0} ns in Rust, {:>6.0} ns more", c - rust);
}

#[test]
#[ignore = "a bench"]
fn what_a_call_costs_beside_the_rust_call() {
    let item = |i: usize| Item { id: format!("i{i}"), title: format!("Title {i}"), ..Item::default() };
    let mut dataset = Dataset::default();
    let mut lines = String::new();
    for i in 0..ITEMS {
        dataset.add_item(&item(i)).unwrap();
        lines.push_str(&format!("{{\"item\": \"i{i}\", \"title\": \"Title {i}\"}}\n"));
    }
    let (mentions, popularity) = (Mentions::new(&dataset.items, &[]), Popularity::from_dataset(&dataset).unwrap());
    let turn = Turn { role: Role::User, text: "something funny and moving".into() };
    let talk = Conversation { id: String::new(), turns: vec![turn], targets: Vec::new(), seen: Vec::new() };
    let config = Config::default();
    // SAFETY: the rules of the header: handles are ours and freed once, texts are valid for their lengths.
    unsafe {
        let (mut settings, mut loaded, mut recommender) = (null_mut(), null_mut(), null_mut());
        assert!(causerie_config_new(&raw mut settings).is_null());
        assert!(causerie_config_set(settings, c"recommend.system".as_ptr(), c"popularity".as_ptr()).is_null());
        assert!(causerie_dataset_new(settings, &raw mut loaded).is_null());
        assert!(causerie_dataset_add(loaded, CAUSERIE_ITEMS, lines.as_ptr().cast(), lines.len()).is_null());
        let made = causerie_recommender_new(loaded, null(), null(), null(), settings, null(), &raw mut recommender);
        assert!(made.is_null());

        let c = nanoseconds(|| _ = black_box(causerie_dataset_count(black_box(loaded), CAUSERIE_ITEMS)));
        show("a number: dataset_count", c, nanoseconds(|| _ = black_box(black_box(&dataset).items.len())));
        let c = nanoseconds(|| _ = black_box(causerie_recommender_id(black_box(recommender), 7)));
        show("a text: recommender_id", c, nanoseconds(|| _ = black_box(black_box(&dataset).items.id(7))));
        let mut scores = vec![0f32; ITEMS];
        let c = nanoseconds(|| {
            let error =
                causerie_score(recommender, TALK.as_ptr().cast(), TALK.len(), null(), scores.as_mut_ptr(), ITEMS);
            assert!(error.is_null());
        });
        let rust = nanoseconds(|| {
            let run = Run::new(config.run.threads).unwrap();
            let mut scores = popularity.score(&[&talk], &run).unwrap().into_data();
            let request = Request { conversation: &talk, exclude: &[], allow: &[], top_k: 0 };
            for item in request.masked(&dataset.items, &mentions).unwrap() {
                scores[item as usize] = f32::NEG_INFINITY;
            }
            black_box(scores);
        });
        show("scores of 200 items: score", c, rust);
        let c = nanoseconds(|| {
            let mut reply = null_mut();
            let error = causerie_recommend(recommender, TALK.as_ptr().cast(), TALK.len(), 1, null(), &raw mut reply);
            assert!(error.is_null());
            causerie_reply_free(reply);
        });
        let rust = nanoseconds(|| {
            let run = Run::new(config.run.threads).unwrap();
            let request = Request { conversation: &talk, exclude: &[], allow: &[], top_k: 1 };
            black_box(recommend(&popularity, &[request], &dataset.items, &mentions, &run).unwrap());
        });
        show("an answer, JSON in and out: recommend", c, rust);
        causerie_recommender_free(recommender);
        causerie_dataset_free(loaded);
        causerie_config_free(settings);
    }
}
