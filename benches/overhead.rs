//! What the boundary costs: each call over C beside the same in Rust, in CPU time of the calling thread:
//! `cargo bench -p causerie-capi`.

use causerie::dataset::{Dataset, Item, Role, Turn};
use causerie::ffi::{config::*, dataset::*, query::*, recommender::*, run::*};
use causerie::recommend::{Parts, Popularity, Query, Service};
use causerie::titles::Titles;
use causerie::{Config, Run};
use std::hint::black_box;
use std::ptr::{null, null_mut};
use std::sync::Arc;

const ITEMS: usize = 200;
const CALLS: u32 = 5_000;
const SAID: &str = "something funny and moving";
const TALK: &str = r#"[{"role": "user", "text": "something funny and moving"}]"#;

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}
unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
}

/// CPU time of this thread, in ns: what other programs do meanwhile is not in it.
fn cpu_nanoseconds() -> f64 {
    const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the layout of the C library on 64 bits; valid to write to.
    assert_eq!(unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    time.seconds as f64 * 1e9 + time.nanoseconds as f64
}

/// CPU nanoseconds a call: the least of twenty runs, for what else the machine does only adds.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let run = |call: &mut dyn FnMut()| {
        let start = cpu_nanoseconds();
        (0..CALLS).for_each(|_| call());
        (cpu_nanoseconds() - start) / f64::from(CALLS)
    };
    (0..20).map(|_| run(&mut call)).fold(f64::INFINITY, f64::min)
}

fn show(what: &str, c: f64, rust: f64) {
    println!("{what:<46} {c:>8.0} ns over C, {rust:>8.0} ns in Rust, {:>6.0} ns more", c - rust);
}

fn main() {
    let item = |i: usize| Item { id: format!("i{i}"), title: format!("Title {i}"), ..Item::default() };
    let mut dataset = Dataset::default();
    let mut lines = String::new();
    for i in 0..ITEMS {
        dataset.add_item(&item(i)).unwrap();
        lines.push_str(&format!("{{\"item\": \"i{i}\", \"title\": \"Title {i}\"}}\n"));
    }
    let config = Config::default();
    let dataset = Arc::new(dataset);
    let service = Service::new(Parts {
        system: "popularity".into(),
        titles: Arc::new(Titles::of(&dataset)),
        recommender: Arc::new(Popularity::from_dataset(&dataset).unwrap()),
        dataset: dataset.clone(),
        evidence: None,
        settings: config.recommend.clone(),
    })
    .unwrap();
    let turn = Turn { role: Role::User, text: "something funny and moving".into() };
    let talk = Query::of_turns(vec![turn]);
    // SAFETY: the rules of the header: handles are ours and freed once, texts are valid for their lengths.
    unsafe {
        let (mut settings, mut loaded, mut recommender) = (null_mut(), null_mut(), null_mut());
        assert!(causerie_config_new(&raw mut settings).is_null());
        assert!(causerie_config_set(settings, c"recommend.system".as_ptr(), c"popularity".as_ptr()).is_null());
        assert!(causerie_dataset_new(settings, &raw mut loaded).is_null());
        assert!(causerie_dataset_add(loaded, CAUSERIE_ITEMS, lines.as_ptr().cast(), lines.len(), null_mut()).is_null());
        let made = causerie_recommender_new(loaded, null(), null(), null(), settings, null(), &raw mut recommender);
        assert!(made.is_null());

        let c = nanoseconds(|| _ = black_box(causerie_dataset_count(black_box(loaded), CAUSERIE_ITEMS)));
        show("a number: dataset_count", c, nanoseconds(|| _ = black_box(black_box(&dataset).items.len())));
        let c = nanoseconds(|| _ = black_box(causerie_recommender_id(black_box(recommender), 7)));
        show("a text: recommender_id", c, nanoseconds(|| _ = black_box(black_box(&dataset).items.id(7))));
        let (mut query, mut watched) = (null_mut(), null_mut());
        assert!(causerie_query_new(&raw mut query).is_null());
        assert!(causerie_query_turn(query, CAUSERIE_USER, SAID.as_ptr().cast(), SAID.len()).is_null());
        assert!(causerie_run_new(0, &raw mut watched).is_null());

        let mut scores = vec![0f32; ITEMS];
        let rust = nanoseconds(|| {
            let run = Run::new(config.run.threads).unwrap();
            black_box(service.scores(&[&talk], &run).unwrap());
        });
        let c = nanoseconds(|| {
            assert!(causerie_score_query(recommender, query, null(), scores.as_mut_ptr(), ITEMS).is_null());
        });
        show("scores of 200 items: score_query", c, rust);
        let c = nanoseconds(|| {
            let (talk, len) = (TALK.as_ptr().cast(), TALK.len());
            assert!(causerie_score(recommender, talk, len, null(), scores.as_mut_ptr(), ITEMS).is_null());
        });
        show("the same of a request in JSON: score", c, rust);

        for top_k in [1u32, 10] {
            let rust = nanoseconds(|| {
                let run = Run::new(config.run.threads).unwrap();
                black_box(service.answer_all(&[&talk], top_k as usize, &[], None, &run).unwrap());
            });
            let read = |reply: *mut causerie_reply| {
                let mut count = 0;
                black_box((causerie_reply_rows(reply, &raw mut count), causerie_reply_scores(reply, null_mut())));
                assert_eq!(count, top_k as usize);
                causerie_reply_free(reply);
            };
            for (run, how) in [(null(), ""), (watched.cast_const(), ", under a run")] {
                let c = nanoseconds(|| {
                    let mut reply = null_mut();
                    assert!(causerie_recommend_query(recommender, query, top_k, run, &raw mut reply).is_null());
                    read(reply);
                });
                show(&format!("{top_k} of 200, rows and scores{how}: recommend_query"), c, rust);
            }
            let c = nanoseconds(|| {
                let mut fresh = null_mut();
                assert!(causerie_query_new(&raw mut fresh).is_null());
                assert!(causerie_query_turn(fresh, CAUSERIE_USER, SAID.as_ptr().cast(), SAID.len()).is_null());
                let mut reply = null_mut();
                assert!(causerie_recommend_query(recommender, fresh, top_k, null(), &raw mut reply).is_null());
                causerie_query_free(fresh);
                for i in 0..top_k as usize {
                    black_box((causerie_reply_item(reply, i, null_mut()), causerie_reply_title(reply, i)));
                }
                read(reply);
            });
            show(&format!("{top_k} of 200, a new query, ids and titles read"), c, rust);
            let c = nanoseconds(|| {
                let (talk, len) = (TALK.as_ptr().cast(), TALK.len());
                let mut reply = null_mut();
                assert!(causerie_recommend(recommender, talk, len, top_k, null(), &raw mut reply).is_null());
                black_box(causerie_reply_json(reply));
                read(reply);
            });
            show(&format!("{top_k} of 200, JSON in and out: recommend"), c, rust);
        }
        causerie_query_free(query);
        causerie_run_free(watched);
        causerie_recommender_free(recommender);
        causerie_dataset_free(loaded);
        causerie_config_free(settings);
    }
}
