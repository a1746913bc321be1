//! What a service needs: adapters exchanged in flight, deadlines, cancels, shared passes, errors that say what is wrong.

use super::engine::Alone;
use super::tests::{catalogue, open, random_model, run, settings};
use super::*;
use crate::config::RecommendConfig;
use crate::dataset::{Dataset, Role, Turn};
use crate::llama::tests::adapter_bytes;
use crate::llama::{Adapter, Model};
use crate::math::{Matrix, Random};
use crate::recommend::LanguageModel;
use crate::recommend::testing::conversation;
use crate::testing::shared;
use crate::titles::Titles;
use crate::tune::{Head, ItemVectors};
use crate::{ErrorKind, Run};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An adapter of the first query projection, strong enough to change a ranking.
fn adapter(folder: &Path, name: &str, width: usize, seed: u64) -> PathBuf {
    let mut random = Random::new(seed, b"adapter");
    let mut draw = |n: usize| (0..n).map(|_| random.normal() as f32).collect::<Vec<f32>>();
    let (a, b) = (draw(2 * width), draw(2 * width));
    let path = folder.join(name);
    std::fs::write(&path, adapter_bytes(&a, &b, width, 2, 8.0)).unwrap();
    path
}

/// The error of an opening that must fail.
fn try_open(model: &Path, adapter: Option<&Path>, dataset: &Dataset, config: &RecommendConfig) -> crate::Error {
    let mentions = Arc::new(Titles::new(&dataset.items, &[]));
    let adapter = adapter.map(|a| (a, 1.0));
    LmRecommender::open(model, adapter, &dataset.items, mentions, config, &run()).err().unwrap()
}

#[test]
fn adapters_are_exchanged_in_flight_and_an_answer_is_of_one_generation() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let width = Model::load(&model).unwrap().width();
    let (one, two) = (adapter(folder.path(), "1.gguf", width, 1), adapter(folder.path(), "2.gguf", width, 2));
    let dataset = catalogue(80);
    let talk = conversation(&["a film about a dog that finds a friend"]);
    for batching in ["alone", "shared"] {
        let config = RecommendConfig { contexts: 3, batching: batching.into(), ..settings() };
        let lm = open(&model, &dataset, &config);
        let answer = |lm: &LmRecommender| lm.answer(&talk, &[], 8, &run()).unwrap();
        let base = answer(&lm);
        let sets: [&[(&Path, f32)]; 3] = [&[(&one, 1.0)], &[(&two, 1.0)], &[(&one, 0.5), (&two, -0.5)]];
        let mut expected = vec![(1, base.clone())];
        for (n, set) in sets.iter().enumerate() {
            let generation = lm.swap_adapters(n as u64 + 1, set).unwrap();
            assert_eq!(generation, n as u64 + 2);
            expected.push((generation, answer(&lm)));
        }
        assert!(expected.windows(2).all(|w| w[0].1.items != w[1].1.items), "each set ranks in its own way");
        // Back to the second set, then to the third again.
        let back = lm.roll_back_adapters(4).unwrap();
        let close = |a: &LmAnswer, b: &LmAnswer| {
            a.items
                .iter()
                .zip(&b.items)
                .all(|(a, b)| a.item == b.item && (a.score - b.score).abs() < 1e-4 * b.score.abs())
        };
        assert!(close(&answer(&lm), &expected[2].1));
        assert_eq!(answer(&lm).generation, back);
        assert_eq!(lm.swap_adapters(4, &[]).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(lm.swap_adapters(back, &[(Path::new("none.gguf"), 1.0)]).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(lm.swap_adapters(back, &[(&one, f32::NAN)]).is_err());
        assert_eq!(lm.generation(), back, "what fails changes nothing");
        // In flight: three callers, adapters coming and going, no failed request, no mixture.
        let slowest = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..12 {
                            let got = answer(&lm);
                            let even = got.generation.is_multiple_of(2);
                            let like = if even { &base } else { &expected[1].1 };
                            assert!(got.generation == back || close(&got, like), "generation {}", got.generation);
                        }
                    })
                })
                .collect();
            let mut slowest = Duration::ZERO;
            let mut generation = back;
            for _ in 0..6 {
                let next: &[(&Path, f32)] = if (generation + 1).is_multiple_of(2) { &[] } else { sets[0] };
                let started = Instant::now();
                generation = lm.swap_adapters(generation, next).unwrap();
                slowest = slowest.max(started.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            callers.into_iter().for_each(|c| c.join().unwrap());
            slowest
        });
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    }
}

#[test]
fn callers_who_share_passes_get_what_they_would_get_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let dataset = catalogue(100);
    let talks: Vec<_> = ["a dog", "a tree in the park and the sun", "happy day", "a big red ball, Tom!", "friends"]
        .iter()
        .map(|text| conversation(&[text]))
        .collect();
    let alone = open(&model, &dataset, &settings());
    let expected: Vec<LmAnswer> = talks.iter().map(|t| alone.answer(t, &[1, 2], 10, &run()).unwrap()).collect();
    let config = RecommendConfig { contexts: 4, batching: "shared".into(), ..settings() };
    let shared = open(&model, &dataset, &config);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..talks.len())
            .map(|caller| {
                let (talks, expected, shared) = (&talks, &expected, &shared);
                scope.spawn(move || {
                    for n in 0..5 {
                        let which = (caller + n) % talks.len();
                        let answer = shared.answer(&talks[which], &[1, 2], 10, &run()).unwrap();
                        for (ours, theirs) in answer.items.iter().zip(&expected[which].items) {
                            assert!((ours.score - theirs.score).abs() < 1e-4 * theirs.score.abs());
                        }
                        assert_eq!(answer.items.len(), 10);
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|c| c.join().unwrap());
    });
}

/// Other conversations and masks, adapters that come and go, callers that leave in the middle of a pass; passes computed where
/// they are asked for, and on threads of their own.
#[test]
fn an_answer_is_the_same_whatever_other_callers_ask_exchange_or_break_off() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let width = Model::load(&model).unwrap().width();
    let one = adapter(folder.path(), "1.gguf", width, 1);
    let dataset = catalogue(80);
    let long_talk = "a tree in the park and the sun, please; ".repeat(5);
    let asked = [
        (conversation(&["a dog"]), Vec::new()),
        (conversation(&[long_talk.as_str(), "or a big red ball?"]), vec![1, 2, 3]),
        (conversation(&["happy day"]), (0..40).collect()),
    ];
    let sets: [&[(&Path, f32)]; 2] = [&[(&one, 1.0)], &[]];
    let config =
        |batching: &str| RecommendConfig { contexts: 3, batching: batching.into(), context_tokens: 512, ..settings() };
    // Of a recommender that nobody else uses. Odd generations serve the bare model, even ones the adapter.
    let expected: Vec<Vec<LmAnswer>> = (0..2)
        .map(|odd| {
            let of = |(talk, masked): &(_, Vec<u32>)| {
                let lm = open(&model, &dataset, &config("alone"));
                if odd == 0 {
                    lm.swap_adapters(1, sets[0]).unwrap();
                }
                lm.answer(talk, masked, 10, &run()).unwrap()
            };
            asked.iter().map(of).collect()
        })
        .collect();
    assert_ne!(expected[0][0].items, expected[1][0].items, "the adapter changes the ranking");
    for (batching, long) in [("alone", u64::MAX), ("alone", 0), ("shared", u64::MAX), ("shared", 0)] {
        let mut lm = open(&model, &dataset, &config(batching));
        lm.lane.long = long;
        let lm = &lm;
        let same = |which: usize, got: &LmAnswer| {
            let like = &expected[(got.generation % 2) as usize][which];
            if batching == "alone" {
                assert_eq!(got.items, like.items, "{batching} {long}: generation {}", got.generation);
                return;
            }
            assert_eq!(got.items.len(), like.items.len());
            for (ours, theirs) in got.items.iter().zip(&like.items) {
                assert!((ours.score - theirs.score).abs() < 1e-4 * theirs.score.abs(), "{batching} {long}");
            }
        };
        let left = std::thread::scope(|scope| {
            for caller in 0..3 {
                let (asked, same) = (&asked, &same);
                scope.spawn(move || {
                    for n in 0..8 {
                        let which = (caller + n) % asked.len();
                        same(which, &lm.answer(&asked[which].0, &asked[which].1, 10, &run()).unwrap());
                    }
                });
            }
            let leaver = scope.spawn(|| {
                let mut left = 0;
                for n in 0..24u64 {
                    let (talk, masked) = &asked[n as usize % asked.len()];
                    let wait = Duration::from_micros(300 * n);
                    if n % 2 == 0 {
                        let got = lm.answer_until(talk, masked, 10, Some(Instant::now() + wait), &run()).unwrap();
                        assert!(got.items.iter().all(|i| masked.binary_search(&i.item).is_err()));
                        left += usize::from(got.partial);
                        continue;
                    }
                    let run = run();
                    let flag = run.cancel_flag();
                    let got = std::thread::scope(|inner| {
                        let asking = inner.spawn(|| lm.answer(talk, masked, 10, &run));
                        std::thread::sleep(wait);
                        flag.set();
                        asking.join().unwrap()
                    });
                    match got {
                        Ok(got) => same(n as usize % asked.len(), &got),
                        Err(e) => {
                            assert_eq!(e.kind(), ErrorKind::Cancelled);
                            left += 1;
                        }
                    }
                }
                left
            });
            for n in 0..6 {
                lm.swap_adapters(n as u64 + 1, sets[n % 2]).unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
            leaver.join().unwrap()
        });
        assert!(left > 0, "{batching} {long}: somebody left");
        // And when all is quiet again.
        for (which, (talk, masked)) in asked.iter().enumerate() {
            same(which, &lm.answer(talk, masked, 10, &run()).unwrap());
        }
    }
}

#[test]
fn a_deadline_gives_what_is_finished_and_a_cancel_ends_the_request_soon() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let dataset = catalogue(2000);
    let talk = conversation(&["a film about the sun"]);
    for batching in ["alone", "shared"] {
        let config = RecommendConfig { beam: 60, batching: batching.into(), ..settings() };
        let lm = open(&model, &dataset, &config);
        let whole = lm.answer(&talk, &[], 50, &run()).unwrap();
        assert!(!whole.partial && whole.items.len() == 50);
        // Deadlines from nothing to too late: never an error, never an item that is not allowed, always said.
        let mut partial = 0;
        for step in 0..12 {
            let deadline = Instant::now() + Duration::from_millis(step * 3);
            let answer = lm.answer_until(&talk, &[7], 50, Some(deadline), &run()).unwrap();
            assert!(answer.partial || answer.items.len() == 50);
            assert!(!answer.partial || !answer.exact);
            assert!(answer.items.iter().all(|i| i.item != 7));
            partial += usize::from(answer.partial);
        }
        assert!(partial > 0);
        assert_eq!(lm.answer(&talk, &[], 50, &run()).unwrap().items.len(), 50, "the lane is whole afterwards");
        let run = Run::new(1).unwrap();
        let flag = run.cancel_flag();
        let took = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                for _ in 0..10_000 {
                    if let Err(e) = lm.answer(&talk, &[], 50, &run) {
                        assert_eq!(e.kind(), ErrorKind::Cancelled);
                        return Instant::now();
                    }
                }
                panic!("never cancelled");
            });
            std::thread::sleep(Duration::from_millis(30));
            let cancelled = Instant::now();
            flag.set();
            asking.join().unwrap().duration_since(cancelled)
        });
        // 100 ms are promised; the test machine may be busy.
        assert!(took < Duration::from_millis(1000), "{took:?}");
    }
}

/// A conversation of 10,000 turns was answered as if it had been read whole: only the cut to the model's context counted.
#[test]
fn a_conversation_that_the_window_cuts_is_told_as_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let dataset = catalogue(60);
    let turn = |n: usize| Turn { role: Role::User, text: format!("I liked film {n} a lot") };
    for config in [
        RecommendConfig { context_chars: 100, ..settings() },
        RecommendConfig { context_chars: 0, context_turns: 3, ..settings() },
    ] {
        let lm = open(&model, &dataset, &config);
        for (turns, truncated) in [(2, false), (20, true), (10_000, true)] {
            let mut talk = conversation(&[]);
            talk.turns = (0..turns).map(turn).collect();
            assert_eq!(lm.answer(&talk, &[], 5, &run()).unwrap().truncated, truncated, "{turns}");
        }
    }
}

#[test]
fn long_empty_and_silent_conversations_are_answered_and_the_cut_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let dataset = catalogue(60);
    let config = RecommendConfig { context_chars: 0, ..settings() };
    let lm = open(&model, &dataset, &config);
    for turns in [&[][..], &[""][..], &["  ", ""][..]] {
        let answer = lm.answer(&conversation(turns), &[], 5, &run()).unwrap();
        assert_eq!((answer.items.len(), answer.truncated), (5, false));
    }
    let mut many = conversation(&[]);
    many.turns = (0..10_000).map(|n| Turn { role: Role::User, text: format!("turn {n} of a long talk") }).collect();
    let answer = lm.answer(&many, &[], 5, &run()).unwrap();
    assert!(answer.truncated && answer.items.len() == 5 && answer.prompt_tokens > 128, "{}", answer.prompt_tokens);
    // The latest turns are those that were read: without the oldest ones the answer is the same.
    let mut latest = many.clone();
    latest.turns.drain(..9_000);
    assert_eq!(lm.answer(&latest, &[], 5, &run()).unwrap().items, answer.items);
    // One turn longer than everything.
    let endless = "word ".repeat(200_000);
    let answer = lm.answer(&conversation(&[&endless]), &[], 5, &run()).unwrap();
    assert!(answer.truncated && answer.items.len() == 5);
}

#[test]
fn what_cannot_serve_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let dataset = catalogue(20);
    let config = settings();
    let broken = folder.path().join("broken.gguf");
    std::fs::write(&broken, &std::fs::read(&model).unwrap()[..5000]).unwrap();
    assert_eq!(try_open(&broken, None, &dataset, &config).kind(), ErrorKind::Format);
    std::fs::write(&broken, b"not a model").unwrap();
    assert_eq!(try_open(&broken, None, &dataset, &config).kind(), ErrorKind::Format);
    let missing = folder.path().join("missing.gguf");
    assert_eq!(try_open(&missing, None, &dataset, &config).kind(), ErrorKind::NotFound);
    let e = try_open(&model, Some(&missing), &dataset, &config);
    assert!(e.kind() == ErrorKind::NotFound && e.message().contains("missing.gguf"), "{e}");
    let width = Model::load(&model).unwrap().width();
    let other = adapter(folder.path(), "other.gguf", width * 2, 3);
    let e = try_open(&model, Some(&other), &dataset, &config);
    assert!(e.kind() == ErrorKind::Format && e.message().contains("other.gguf"), "{e}");
    assert!(try_open(&model, Some(&model), &dataset, &config).message().contains("no LoRA adapter"));
    let e = try_open(&model, None, &Dataset::default(), &config);
    assert!(e.message().contains("catalogue is empty"), "{e}");
    let short = RecommendConfig { context_tokens: 64, ..settings() };
    assert!(try_open(&model, None, &dataset, &short).message().contains("recommend.context_tokens"));
    let by_head = RecommendConfig { mode: "head".into(), ..settings() };
    let e = try_open(&model, None, &dataset, &by_head);
    assert!(e.kind() == ErrorKind::NotFound && e.message().contains("head.safetensors"), "{e}");
    if let Some(encoder) = shared("models/minilm-l6-q8_0.gguf") {
        assert!(try_open(&encoder, None, &dataset, &config).message().contains("an encoder"));
    }
    let lm = open(&model, &dataset, &config);
    assert!(lm.rerank(&conversation(&["hi"]), &[20], &run()).is_err());
    assert_eq!(lm.rerank(&conversation(&["hi"]), &[], &run()).unwrap().items, []);
    assert!(lm.add_items(&dataset.items, lm.titles(), &[20], &run()).is_err());
    lm.remove_items(&[3, 99]);
    assert!(lm.rerank(&conversation(&["hi"]), &[3], &run()).is_err());
    // Everything masked: an empty answer, which is exact.
    let all: Vec<u32> = (0..20).collect();
    let answer = lm.answer(&conversation(&["hi"]), &all, 5, &run()).unwrap();
    assert!(answer.items.is_empty() && answer.exact);
}

/// A head of random vectors for the model's hidden states.
fn head_for(model: &Model, dataset: &Dataset) -> Head {
    head_reading(model, dataset, "states")
}

/// The same, of rows called `embedder`.
fn head_reading(model: &Model, dataset: &Dataset, embedder: &str) -> Head {
    let (items, dim) = (dataset.items.len(), model.width());
    let mut random = Random::new(6, b"head");
    let values = (0..items * dim).map(|_| random.normal() as f32).collect();
    let mut vectors = Matrix::from_vec(items, dim, values).unwrap();
    vectors.normalise_rows();
    let ids = (0..items).map(|i| dataset.items.id(i).to_string()).collect();
    let items = ItemVectors { ids, vectors, counts: vec![1.0; items], embedder: embedder.into(), text_dim: dim };
    Head::untrained(items).unwrap()
}

#[test]
fn the_head_ranks_by_the_last_hidden_state_of_the_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let path = random_model(folder.path());
    let model = Model::load(&path).unwrap();
    let dataset = catalogue(50);
    let head = head_for(&model, &dataset);
    let text = "something warm with a dog in it. ".repeat(8);
    let talk = conversation(&[&text]);
    // By hand: the whole prompt in one batch.
    let chat = crate::tune::lm::Chat::of(model.clone()).unwrap();
    let prompt = chat.prompt(&crate::tune::lm::recommend_messages(&text)).unwrap();
    let sizes = crate::llama::ContextOptions {
        tokens: 512,
        batch_tokens: 512,
        sequences: 1,
        pooling: crate::llama::Pooling::None,
        exact: true,
    };
    let mut context = crate::llama::Context::new(&model, sizes, &run()).unwrap();
    let mut batch = crate::llama::Batch::default();
    prompt.iter().enumerate().for_each(|(p, t)| batch.push(*t as i32, p, 0, true));
    context.run_batch(&batch, &run()).unwrap();
    let hidden = context.hidden(prompt.len() - 1).unwrap().to_vec();
    let mut query = Matrix::from_vec(1, hidden.len(), hidden).unwrap();
    query.normalise_rows();
    let by_hand = head.score(&query, &[Vec::new()]).unwrap();
    head.save(&folder.path().join("head.safetensors")).unwrap();
    for batching in ["alone", "shared"] {
        // The text alone: a title found in it would count beside it.
        let batching = batching.into();
        let config =
            RecommendConfig { mode: "head".into(), batching, mentions: false, context_tokens: 900, ..settings() };
        let lm = open(&path, &dataset, &config);
        for _ in 0..2 {
            let answer = lm.answer(&talk, &[9], 20, &run()).unwrap();
            let expected = crate::recommend::rank(by_hand.row(0), &[9], 20);
            assert_eq!((answer.items.len(), answer.truncated, answer.prompt_tokens), (20, false, prompt.len()));
            for (ours, slow) in answer.items.iter().zip(&expected) {
                assert_eq!(ours.item, slow.item);
                assert!((ours.score - slow.score).abs() < 1e-3, "{} {}", ours.score, slow.score);
            }
        }
    }
    // Another catalogue, another width.
    let mentions = Arc::new(Titles::new(&dataset.items, &[]));
    let config = RecommendConfig { mode: "head".into(), ..settings() };
    let with = |head: Head, dataset: &Dataset| {
        LmRecommender::of(
            model.clone(),
            Vec::<(Adapter, f32)>::new(),
            Some(head),
            &dataset.items,
            mentions.clone(),
            &config,
            &run(),
        )
    };
    assert!(with(head_for(&model, &dataset), &catalogue(51)).is_err());
}

/// Each took all threads: four of llama.cpp's, which wait for each other by spinning, on two cores were thirteen times slower.
#[test]
fn contexts_that_compute_at_the_same_time_share_the_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = random_model(folder.path());
    let threads = |contexts: usize, batching: &str| {
        let config = RecommendConfig { contexts, batching: batching.into(), ..settings() };
        let lm = open(&path, &catalogue(20), &config);
        let lane = Alone::new(&Model::load(&path).unwrap(), &lm.lane, &run()).unwrap();
        lane.share(&Run::new(4).unwrap()).unwrap().threads()
    };
    let asked = [(1, "alone"), (2, "alone"), (3, "alone"), (8, "alone"), (8, "shared")];
    assert_eq!(asked.map(|(contexts, batching)| threads(contexts, batching)), [4, 2, 1, 1, 4]);
}

#[test]
fn the_heads_scores_have_the_same_bits_whatever_was_asked_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = random_model(folder.path());
    let dataset = catalogue(50);
    head_for(&Model::load(&path).unwrap(), &dataset).save(&folder.path().join("head.safetensors")).unwrap();
    let config =
        RecommendConfig { mode: "head".into(), mentions: false, context_tokens: 900, exact_kv: false, ..settings() };
    let first = "something warm with a dog in it. ".repeat(8);
    let talks = [
        conversation(&[&first]),
        conversation(&[&first, "How about this?", "No, another one, shorter and with more dogs in it"]),
    ];
    let fresh: Vec<LmAnswer> =
        talks.iter().map(|t| open(&path, &dataset, &config).answer(t, &[], 20, &run()).unwrap()).collect();
    let lm = open(&path, &dataset, &config);
    for (which, known) in [(0, false), (1, true), (0, true), (1, true)] {
        let answer = lm.answer(&talks[which], &[], 20, &run()).unwrap();
        assert_eq!(answer.items, fresh[which].items);
        assert_eq!(answer.reused_tokens > 0, known);
    }
}

#[test]
fn a_generated_list_is_looked_up_and_what_the_catalogue_lacks_is_reported() {
    let Some(model) = shared("models/stories260K.gguf") else { return };
    let dataset = catalogue(60);
    let config = RecommendConfig { mode: "generate".into(), ..settings() };
    let lm = open(&model, &dataset, &config);
    let talk = conversation(&["Once upon a time there was a little dog"]);
    let answer = lm.answer(&talk, &[0], 5, &run()).unwrap();
    // A story model writes no list of this catalogue: whatever comes is valid, distinct and allowed, the rest is told.
    assert!(answer.items.iter().all(|i| i.item < 60 && i.item != 0));
    assert!(answer.searched_tokens > 0);
    assert!(!answer.items.is_empty() || !answer.out_of_catalogue.is_empty());
    // Who listens hears the text that was read, as it is written, and the same answer comes.
    let heard = Arc::new(Mutex::new(Vec::<String>::new()));
    let kept = heard.clone();
    let listening = run().on_token(move |piece| kept.lock().unwrap().push(piece.to_string()));
    let again = lm.answer(&talk, &[0], 5, &listening).unwrap();
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    assert!(again.out_of_catalogue.iter().all(|title| heard.concat().contains(title)), "{heard:?}");
    assert!(heard.len() > 5 && heard.iter().position(String::is_empty) == Some(heard.len() - 1), "{heard:?}");
    assert_eq!((again.items, again.out_of_catalogue), (answer.items, answer.out_of_catalogue));
    // And a listener that has heard enough ends it, in the middle.
    let pieces = Arc::new(Mutex::new(0));
    let (flag, count) = (Arc::new(AtomicBool::new(false)), pieces.clone());
    let stop = flag.clone();
    let enough = run().cancelled_by(flag).on_token(move |_| {
        *count.lock().unwrap() += 1;
        stop.store(*count.lock().unwrap() == 3, Ordering::Relaxed);
    });
    assert_eq!(lm.answer(&talk, &[0], 5, &enough).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(*pieces.lock().unwrap(), 3);
    assert!(lm.rerank(&talk, &[1], &run()).is_err());
}

#[test]
fn a_sentence_of_the_model_names_returned_items_alone_and_comes_in_pieces() {
    let Some(model) = shared("models/stories260K.gguf") else { return };
    // Words that the story model cannot do without are titles here.
    let mut dataset = catalogue(20);
    for (n, title) in ["Little Girl", "Once Upon a Time", "Lily", "Doggy", "I Can Help You"].iter().enumerate() {
        let item = crate::dataset::Item { id: format!("w{n}"), title: (*title).into(), ..Default::default() };
        dataset.add_item(&item).unwrap();
    }
    let lm = open(&model, &dataset, &settings());
    let talk =
        conversation(&["Once upon a time there was a little girl named Lily, who went to the park with her mom"]);
    let names = |rows: &[u32]| rows.iter().map(|r| dataset.items.name(*r as usize)).collect::<Vec<_>>();
    let say = |rows: &[u32]| {
        let (mut text, mut pieces) = (String::new(), 0);
        let mut out = |piece: &str| {
            text.push_str(piece);
            pieces += 1;
            Ok(())
        };
        let said = lm.say_why_until(&talk, rows, &names(rows), None, &mut out, &run()).unwrap();
        assert_eq!(said.bytes, text.len());
        assert!(said.tokens > 0 && said.tokens <= 80 && pieces <= said.tokens + 1, "{said:?}");
        (text, said)
    };
    let all: Vec<u32> = (0..dataset.items.len() as u32).collect();
    let (free, said) = say(&all);
    assert!(said.whole && free.len() > 12, "{free:?} {said:?}");
    assert_eq!(say(&all), (free.clone(), said), "greedy: the same again");
    let named = lm.titles().rows(&free);
    assert!(!named.is_empty(), "{free:?}: the story names titles of this catalogue");
    // What it named may not be named: it stops before it.
    let others: Vec<u32> = all.iter().copied().filter(|r| !named.contains(r)).collect();
    let (cut, said) = say(&others);
    assert!(!said.whole, "{cut:?}");
    assert!(lm.titles().rows(&cut).iter().all(|r| others.contains(r)), "{cut:?}");
    // A listener who leaves ends it; nothing to recommend says nothing.
    let mut gone = |_: &str| Err(crate::Error::cancelled());
    assert_eq!(
        lm.say_why_until(&talk, &all, &names(&all), None, &mut gone, &run()).unwrap_err().kind(),
        ErrorKind::Cancelled
    );
    assert_eq!(lm.say_why_until(&talk, &[], &[], None, &mut gone, &run()).unwrap().bytes, 0);
    let past = Instant::now();
    assert!(!lm.say_why_until(&talk, &all, &names(&all), Some(past), &mut |_| Ok(()), &run()).unwrap().whole);
}

#[test]
fn a_ranking_head_of_another_training_is_refused_and_the_right_one_comes_with_its_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let path = random_model(folder.path());
    let model = Model::load(&path).unwrap();
    let dataset = catalogue(40);
    let place = |name: &str, seed: u64| {
        let at = folder.path().join(name);
        std::fs::create_dir(&at).unwrap();
        adapter(&at, "adapter.gguf", model.width(), seed)
    };
    let (one, two, wrong) = (place("one", 1), place("two", 2), place("wrong", 3));
    for (file, like) in [(&one, &one), (&two, &two), (&wrong, &one)] {
        let head = head_reading(&model, &dataset, &crate::tune::lm::student_name(like).unwrap());
        head.save(&file.with_file_name("head.safetensors")).unwrap();
    }
    let config = RecommendConfig { mode: "head".into(), mentions: false, ..settings() };
    let e = try_open(&path, Some(&wrong), &dataset, &config);
    assert!(e.kind() == ErrorKind::Invalid && e.message().contains("trained along"), "{e}");
    let mentions = Arc::new(Titles::new(&dataset.items, &[]));
    let lm = LmRecommender::open(&path, Some((&one, 1.0)), &dataset.items, mentions, &config, &run()).unwrap();
    let talk = conversation(&["a dog"]);
    let before = lm.answer(&talk, &[], 5, &run()).unwrap();
    assert!(lm.swap_adapters(1, &[(&wrong, 1.0)]).is_err());
    assert!(lm.swap_adapters(1, &[(&one, 1.0), (&two, 1.0)]).is_err());
    assert_eq!(lm.swap_adapters(1, &[]).unwrap_err().kind(), ErrorKind::NotFound, "no head lies beside the bare model");
    assert_eq!(lm.generation(), 1);
    lm.swap_adapters(1, &[(&two, 1.0)]).unwrap();
    assert_ne!(lm.answer(&talk, &[], 5, &run()).unwrap().items, before.items);
    lm.roll_back_adapters(2).unwrap();
    let back = lm.answer(&talk, &[], 5, &run()).unwrap();
    assert_eq!((back.items, back.generation), (before.items, 3));
    assert!(
        lm.say_why_until(&talk, &[1], &["x".into()], None, &mut |_| Ok(()), &run())
            .unwrap_err()
            .message()
            .contains("mode head")
    );
}

#[test]
fn items_join_a_model_that_writes_its_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = random_model(folder.path());
    let config = RecommendConfig { mode: "generate".into(), ..settings() };
    let lm = open(&path, &catalogue(20), &config);
    let grown = catalogue(24);
    lm.add_items(&grown.items, Arc::new(Titles::of(&grown)), &[20, 22], &run()).unwrap();
    let trie = lm.trie();
    assert_eq!((trie.items(), trie.live()), (24, 22));
    assert!(trie.is_removed(21) && trie.is_removed(23) && !trie.is_removed(22));
    lm.remove_items(&[3, 22]);
    assert_eq!(lm.trie().live(), 20);
    lm.add_items(&grown.items, lm.titles(), &[22], &run()).unwrap();
    assert!(!lm.trie().is_removed(22) && lm.trie().is_removed(3));
}
