//! Against a real model of 260,000 parameters and a random one with a chat template; the slow twin scores each title in a
//! context of its own, token after token.

use super::*;
use crate::config::RecommendConfig;
use crate::dataset::{Conversation, Dataset, Item};
use crate::llama::{Batch, ContextOptions, Model, Pooling};
use crate::math::Random;
use crate::recommend::testing::conversation;
use crate::recommend::{ItemList, Parts, Query, Recommender, Service, query_text};
use crate::testing::shared;
use crate::titles::Titles;
use crate::tune::lm::{Chat, new_model, recommend_messages};
use crate::{ErrorKind, Run};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thread: llama.cpp's threads wait for each other by spinning, which crawls where tests run side by side.
pub(super) fn run() -> Run {
    Run::new(1).unwrap()
}

/// Titles that share beginnings, are prefixes of others, come twice with two years, twice with one, have odd bytes.
pub(super) fn catalogue(count: usize) -> Dataset {
    let odd = [
        ("The Dog", None),
        ("The Dog and the Cat", None),
        ("The Dog and the Cat", Some(1999)),
        ("The Dog and the Cat", Some(2005)),
        ("The Dog and the Cat", Some(2005)),
        ("Amélie", Some(2001)),
        ("千と千尋の神隠し", Some(2001)),
        ("Lily", None),
        ("Lily's Red Ball 2", Some(1987)),
        ("🎈", None),
        ("A  title\nof two lines", Some(1950)),
        ("</s>", None),
    ];
    let mut random = Random::new(12, b"catalogue");
    let words = ["red", "dog", "sun", "park", "little", "happy", "ball", "tree", "Tom", "friend", "day", "big"];
    let mut dataset = Dataset::default();
    for i in 0..count {
        let (title, year) = match odd.get(i) {
            Some((title, year)) => ((*title).to_string(), *year),
            None => {
                let some: Vec<&str> = (0..1 + random.below(4)).map(|_| words[random.below(words.len())]).collect();
                (some.join(" "), (random.below(3) > 0).then(|| 1950 + random.below(60) as u16))
            }
        };
        dataset.add_item(&Item { id: format!("i{i}"), title, year, ..Item::default() }).unwrap();
    }
    dataset
}

pub(super) fn settings() -> RecommendConfig {
    RecommendConfig {
        exact_kv: true,
        exact_items: 0,
        context_tokens: 256,
        ranked_by: "title".into(),
        ..RecommendConfig::default()
    }
}

pub(super) fn open(model: &Path, dataset: &Dataset, config: &RecommendConfig) -> LmRecommender {
    let mentions = Arc::new(Titles::new(&dataset.items, &[]));
    LmRecommender::open(model, None, &dataset.items, mentions, config, &run()).unwrap()
}

/// A random model with a byte-level vocabulary and a chat template, as `causerie new-model` writes it.
pub(super) fn random_model(folder: &Path) -> PathBuf {
    let path = folder.join("new.gguf");
    let texts: Vec<String> = (0..catalogue(80).items.len()).map(|i| catalogue(80).items.name(i)).collect();
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.push(crate::tune::lm::INSTRUCTION);
    new_model(400_000, &texts, 5, &path, &run()).unwrap();
    path
}

#[test]
fn the_trie_of_a_whole_catalogue_is_the_one_built_in_one_piece() {
    let folder = tempfile::tempdir().unwrap();
    let chat = Chat::of(Model::load(&random_model(folder.path())).unwrap()).unwrap();
    let speller = super::catalogue::Speller::new(&chat, "1.").unwrap();
    let mut dataset = Dataset::default();
    for n in 0..40_000u32 {
        // In the order of the titles, as a catalogue may be; every title twice.
        let title = format!("Film {:05} of the {}", n / 2, ["dog", "river", "moon"][n as usize % 3]);
        dataset.add_item(&Item { id: format!("i{n}"), title, ..Item::default() }).unwrap();
    }
    let rows: Vec<u32> = (0..40_000).collect();
    let surfaces = speller.surfaces(&dataset.items, &rows, &run()).unwrap();
    let whole = Trie::build(surfaces, rows.len(), &run()).unwrap();
    assert_eq!(speller.trie(&dataset.items, &run()).unwrap(), whole);
}

/// The tokens of the line of each item, and log P of its first 1, 2, … tokens behind the prompt; one token at a time.
fn slow_twin(model: &Path, conversation: &Conversation, dataset: &Dataset, rows: &[u32]) -> Vec<(Vec<u32>, Vec<f64>)> {
    let model = Model::load(model).unwrap();
    let chat = Chat::of(model.clone()).unwrap();
    let config = settings();
    let text = query_text(conversation, crate::recommend::QueryWindow::from_config(&config));
    let prompt = chat.prompt(&recommend_messages(&text)).unwrap();
    let run = run();
    let sizes = ContextOptions { tokens: 512, batch_tokens: 256, sequences: 1, pooling: Pooling::Logits, exact: true };
    let mut context = crate::llama::Context::new(&model, sizes, &run).unwrap();
    rows.iter()
        .map(|row| {
            // As training writes an answer of several lines.
            let name = dataset.items.name(*row as usize).split_whitespace().collect::<Vec<_>>().join(" ");
            let answer = chat.answer(&format!("1. {name}\n2.")).unwrap();
            let (lead, tail) = (chat.answer("1.").unwrap().len(), model.tokenise("2.", false, false).unwrap().len());
            let tail = if chat.prompt_text(&[]).unwrap().starts_with("Assistant") { tail.min(2) } else { tail };
            let text_before = String::from_utf8_lossy(
                &answer[lead..answer.len() - tail]
                    .iter()
                    .flat_map(|t| model.piece(*t as i32, true))
                    .collect::<Vec<_>>(),
            )
            .into_owned();
            assert!(text_before.ends_with('\n'), "{text_before:?}");
            let tokens: Vec<u32> = prompt.iter().chain(&answer).copied().collect();
            context.clear();
            let (mut sum, mut sums) = (0.0, Vec::new());
            for at in 0..prompt.len() + answer.len() - tail - 1 {
                let mut batch = Batch::default();
                batch.push(tokens[at] as i32, at, 0, true);
                context.run_batch(&batch, &run).unwrap();
                if at + 1 >= prompt.len() + lead {
                    let mut softmax: Vec<f64> = context.logits(0).unwrap().iter().map(|z| f64::from(*z)).collect();
                    crate::math::softmax(&mut softmax, 1.0);
                    sum += softmax[tokens[at + 1] as usize].ln();
                    sums.push(sum);
                }
            }
            (answer[lead..answer.len() - tail].to_vec(), sums)
        })
        .collect()
}

#[test]
fn a_full_beam_the_exact_scores_and_the_slow_twin_agree_on_two_models() {
    let folder = tempfile::tempdir().unwrap();
    let models = [shared("models/stories260K.gguf"), Some(random_model(folder.path()))];
    let dataset = catalogue(60);
    let talk = conversation(&["I like stories about a dog", "What else?", "Something with the sun"]);
    for model in models.into_iter().flatten() {
        let beam = open(&model, &dataset, &RecommendConfig { beam: 100, ..settings() });
        let by_beam = beam.answer(&talk, &[], 60, &run()).unwrap();
        assert!(by_beam.exact && !by_beam.partial && by_beam.passes > 1);
        assert_eq!(by_beam.items.len(), 60);
        let exact = open(&model, &dataset, &RecommendConfig { exact_items: 1000, ..settings() });
        let by_exact = exact.answer(&talk, &[], 60, &run()).unwrap();
        let rows: Vec<u32> = (0..60).collect();
        let twin = slow_twin(&model, &talk, &dataset, &rows);
        for answer in [&by_beam, &by_exact, &beam.rerank(&talk, &rows, &run()).unwrap()] {
            assert_eq!(answer.items.len(), 60);
            for item in &answer.items {
                let slow = twin[item.item as usize].1.last().copied().unwrap();
                let ours = f64::from(item.log_probability.unwrap());
                assert!((ours - slow).abs() < 1e-4 * slow.abs().max(1.0), "item {}: {ours} {slow}", item.item);
            }
        }
        // RankedItem by the tokens that tell a title from all others.
        let telling = RecommendConfig { beam: 100, ranked_by: "telling".into(), ..settings() };
        let telling = open(&model, &dataset, &telling);
        let (wide, each) =
            (telling.answer(&talk, &[], 60, &run()).unwrap(), telling.rerank(&talk, &rows, &run()).unwrap());
        assert!(wide.exact && wide.searched_tokens < by_beam.searched_tokens * 3 / 4, "{}", wide.searched_tokens);
        for answer in [&wide, &each] {
            assert_eq!(answer.items.len(), 60);
            for item in &answer.items {
                let (own, sums) = &twin[item.item as usize];
                let others = twin.iter().filter(|(other, _)| other != own);
                let shared = others.map(|(other, _)| other.iter().zip(own).take_while(|(a, b)| a == b).count()).max();
                let (ours, slow) = (f64::from(item.log_probability.unwrap()), sums[shared.unwrap()]);
                assert!((ours - slow).abs() < 1e-4 * slow.abs().max(1.0), "item {}: {ours} {slow}", item.item);
            }
        }
        // A mask does not change what an item is worth.
        let masked = telling.answer(&talk, &[0, 1, 2, 9], 56, &run()).unwrap();
        for item in &masked.items {
            let free = wide.items.iter().find(|i| i.item == item.item).unwrap();
            assert!((item.score - free.score).abs() < 1e-4 * free.score.abs().max(1.0));
        }
        // Two items of one name and year: both, with one probability.
        let of = |row: u32| by_beam.items.iter().find(|i| i.item == row).unwrap().log_probability;
        assert_eq!(of(3), of(4));
        assert_ne!(of(2), of(3));
    }
}

#[test]
fn no_mask_no_context_and_no_beam_lets_an_invalid_repeated_or_masked_item_through() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let cases: usize = std::env::var("CAUSERIE_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    let dataset = catalogue(120);
    let items = dataset.items.len() as u32;
    let config = RecommendConfig { beam: 3, context_tokens: 128, cache_bytes: 1 << 20, ..settings() };
    let mut lm = open(&model, &dataset, &config);
    let mut random = Random::new(9, b"fuzz");
    let run = run();
    let alphabet: Vec<char> = "ab dog 1.\n\"<|>é千🎈\u{0}\u{202e}[".chars().collect();
    let mut gone: Vec<u32> = Vec::new();
    let mut given = 0;
    for case in 0..cases {
        let turns: Vec<String> = (0..random.below(4))
            .map(|_| (0..random.below(30)).map(|_| alphabet[random.below(alphabet.len())]).collect())
            .collect();
        let turns: Vec<&str> = turns.iter().map(String::as_str).collect();
        let share = random.below(101);
        let masked: Vec<u32> = (0..items).filter(|_| random.below(100) < share).collect();
        if case % 37 == 0 {
            lm.add_items(&dataset.items, lm.titles(), &gone, &run).unwrap();
            gone = (0..items).filter(|_| random.below(10) == 0).collect();
            lm.remove_items(&gone);
        }
        if case % 50 == 0 {
            lm.config.beam = random.below(9);
            lm.config.exact_items = random.below(2) * 40;
            lm.config.length_power = random.below(2) as f64;
            lm.telling = random.below(2) == 0;
        }
        let top_k = random.below(12);
        let answer = match lm.answer(&conversation(&turns), &masked, top_k, &run) {
            Ok(answer) => answer,
            // Text that llama.cpp cannot take is refused, not answered.
            Err(e) if turns.iter().any(|t| t.contains('\u{0}')) => {
                assert_eq!(e.kind(), ErrorKind::Invalid, "{e}");
                continue;
            }
            Err(e) => panic!("{turns:?}: {e}"),
        };
        let open = (0..items).filter(|i| masked.binary_search(i).is_err() && !gone.contains(i)).count();
        assert_eq!(answer.items.len(), top_k.min(open), "case {case}: as many as there are");
        let mut rows: Vec<u32> = answer.items.iter().map(|i| i.item).collect();
        assert!(rows.iter().all(|r| *r < items && masked.binary_search(r).is_err() && !gone.contains(r)), "{case}");
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), answer.items.len(), "case {case}: repeated");
        assert!(answer.items.windows(2).all(|w| w[0].score >= w[1].score));
        assert!(answer.items.iter().all(|i| i.log_probability.is_some_and(|p| p.is_finite() && p <= 1e-4)));
        given += rows.len();
    }
    assert!(given > cases, "{given} items in {cases} answers: the fuzz must ask for something");
}

#[test]
fn the_same_request_has_the_same_bits_whatever_was_asked_before_and_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let dataset = catalogue(100);
    let first = "a long wish for a film about a dog, a tree and the sun; ".repeat(6);
    let talks = [
        conversation(&[first.as_str()]),
        conversation(&[first.as_str(), "How about this?", "No, another one, shorter and with more dogs in it"]),
        conversation(&["something else"]),
    ];
    let config = RecommendConfig { context_tokens: 900, contexts: 2, exact_kv: false, ..settings() };
    let fresh: Vec<LmAnswer> =
        talks.iter().map(|t| open(&model, &dataset, &config).answer(t, &[5], 10, &run()).unwrap()).collect();
    let lm = open(&model, &dataset, &config);
    let mut reused = 0;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let (lm, talks, fresh) = (&lm, &talks, &fresh);
                scope.spawn(move || {
                    let mut reused = 0;
                    for n in 0..6 {
                        let which = (n + worker) % talks.len();
                        let answer = lm.answer(&talks[which], &[5], 10, &run()).unwrap();
                        assert_eq!(answer.items, fresh[which].items);
                        reused += answer.reused_tokens;
                    }
                    reused
                })
            })
            .collect();
        reused = workers.into_iter().map(|w| w.join().unwrap()).sum();
    });
    assert!(reused > 1000, "{reused} tokens came from the cache");
    // The very prompt again needs no pass, under the same masks or others.
    for (which, mask) in [(0, &[5][..]), (0, &[5, 7, 30, 31]), (2, &[5]), (1, &[]), (1, &[])] {
        let again = lm.answer(&talks[which], mask, 10, &run()).unwrap();
        let fresh = open(&model, &dataset, &config).answer(&talks[which], mask, 10, &run()).unwrap();
        assert_eq!(again.items, fresh.items, "{which} {mask:?}");
        if mask.contains(&5) {
            assert_eq!(again.reused_tokens, again.prompt_tokens, "{which} {mask:?}");
        }
    }
    assert!(lm.cached_bytes() > 0 && lm.cached_bytes() <= config.cache_bytes);
}

#[test]
fn a_recommender_of_the_pipeline_masks_what_was_seen_named_and_excluded() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = catalogue(60);
    let lm = open(&random_model(folder.path()), &dataset, &settings());
    let mentions = Titles::new(&dataset.items, &[]);
    let talk = conversation(&["Amélie was fine, \"Lily's Red Ball 2\" too"]);
    let named = mentions.of_conversation(&talk);
    assert_eq!(named, [5, 8]);
    let service = Service::new(Parts {
        system: "lm".into(),
        dataset: Arc::new(dataset),
        titles: Arc::new(mentions),
        recommender: Arc::new(lm),
        evidence: None,
        settings: settings(),
    })
    .unwrap();
    let query = Query { top_k: Some(57), explain: Some(0), ..Query::new(talk.clone()) };
    let ask = |query: Query| service.answer(&query, &run()).unwrap();
    let answer = ask(Query { exclude: ItemList::of_ids(["i7"]), ..query.clone() });
    assert_eq!(answer.items.len(), 57);
    assert!(answer.items.iter().all(|r| ![5, 7, 8].contains(&r.item)));
    assert!(answer.tokens.read > 0 && answer.tokens.written > 0, "{:?}", answer.tokens);
    let answer = ask(Query { allow: Some(ItemList::of_ids(["i1", "i5", "i9"])), ..query });
    let mut rows: Vec<u32> = answer.items.iter().map(|r| r.item).collect();
    rows.sort_unstable();
    assert_eq!(rows, [1, 9]);
    // Scores: the items reached, -inf for the others.
    let scores = service.recommender().score(&[&talk], &run()).unwrap();
    let reached = scores.row(0).iter().filter(|s| s.is_finite()).count();
    assert_eq!((scores.dim(), reached), (60, 20 + named.len()));
}

#[test]
fn an_answer_that_calls_itself_exact_is_that_of_scoring_everything() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(folder.path());
    let dataset = catalogue(150);
    let mut lm = open(&model, &dataset, &settings());
    let mut random = Random::new(3, b"exact");
    let (mut exact, mut not) = (0, 0);
    for case in 0..60 {
        let talk = conversation(&[["a dog", "the sun", "a friend of Tom"][case % 3]]);
        let masked: Vec<u32> = (0..150).filter(|_| random.below(3) == 0).collect();
        lm.config.beam = 1 + random.below(60);
        lm.telling = case % 2 == 0;
        let answer = lm.answer(&talk, &masked, 4, &run()).unwrap();
        if !answer.exact {
            not += 1;
            continue;
        }
        exact += 1;
        let open: Vec<u32> = (0..150).filter(|i| masked.binary_search(i).is_err()).collect();
        let all = lm.rerank(&talk, &open, &run()).unwrap();
        for (ours, best) in answer.items.iter().zip(&all.items) {
            // Not by row: two items of one name and year have one probability.
            let (ours, best) = (f64::from(ours.score), f64::from(best.score));
            assert!((ours - best).abs() < 1e-4 * best.abs(), "{ours} {best}");
        }
    }
    assert!(exact > 5 && not > 5, "{exact} proven, {not} not");
}

/// Workers of a pool took up a second conversation while they held a context, and waited for it for ever.
#[test]
fn many_conversations_over_several_contexts_end_and_get_the_answers_that_each_gets_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (model, dataset) = (random_model(folder.path()), catalogue(80));
    let talks: Vec<Conversation> =
        (0..70).map(|i| conversation(&[&format!("something like number {i}, but happy")])).collect();
    let talks: Vec<&Conversation> = talks.iter().collect();
    let several = open(&model, &dataset, &RecommendConfig { contexts: 3, ..settings() });
    let together = several.rank_all(&talks, &[], 5, None, &Run::new(3).unwrap()).unwrap();
    let alone = open(&model, &dataset, &settings());
    let one_by_one = alone.rank_all(&talks, &[], 5, None, &run()).unwrap();
    assert_eq!(together, one_by_one);
}
