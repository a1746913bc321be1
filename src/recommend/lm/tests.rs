//! Against a real model of 260,000 parameters and a random one with a chat template; the slow twin scores each title in a
//! context of its own, token after token.

use super::*;
use crate::config::RecommendConfig;
use crate::dataset::{Conversation, Dataset, Item};
use crate::llama::{Batch, ContextOptions, Model, Pooling};
use crate::math::Random;
use crate::recommend::testing::conversation;
use crate::recommend::{Mentions, Recommender, Request, query_text, recommend};
use crate::testing::shared;
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
    RecommendConfig { exact_kv: true, exact_items: 0, context_tokens: 256, ..RecommendConfig::default() }
}

pub(super) fn open(model: &Path, dataset: &Dataset, config: &RecommendConfig) -> LmRecommender {
    let mentions = Arc::new(Mentions::new(&dataset.items, &[]));
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

/// log P of the line of an item behind the prompt, one context and one token at a time.
fn slow_twin(model: &Path, conversation: &Conversation, dataset: &Dataset, rows: &[u32]) -> Vec<f64> {
    let model = Model::load(model).unwrap();
    let chat = Chat::of(model.clone()).unwrap();
    let config = settings();
    let text = query_text(conversation, crate::recommend::Context::from_config(&config).unwrap());
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
            let mut sum = 0.0;
            for at in 0..prompt.len() + answer.len() - tail - 1 {
                let mut batch = Batch::default();
                batch.push(tokens[at] as i32, at, 0, true);
                context.run_batch(&batch, &run).unwrap();
                if at + 1 >= prompt.len() + lead {
                    let mut softmax: Vec<f64> = context.logits(0).unwrap().iter().map(|z| f64::from(*z)).collect();
                    crate::math::softmax(&mut softmax, 1.0);
                    sum += softmax[tokens[at + 1] as usize].ln();
                }
            }
            sum
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
                let (ours, slow) = (f64::from(item.log_probability.unwrap()), twin[item.item as usize]);
                assert!((ours - slow).abs() < 1e-4 * slow.abs().max(1.0), "item {}: {ours} {slow}", item.item);
            }
        }
        // Two items of one name and year: both, with one probability.
        let of = |row: u32| by_beam.items.iter().find(|i| i.item == row).unwrap().log_probability;
        assert_eq!(of(3), of(4));
        assert_ne!(of(2), of(3));
    }
}
