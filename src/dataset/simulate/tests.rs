//! What must hold of the simulated domain: determinism, shapes of distributions, and that it can be learned, not trivially.

use super::*;
use crate::config::DatasetConfig;
use crate::dataset::{import, load_conversations};
use std::collections::{HashMap, HashSet};

fn small() -> SimulateConfig {
    SimulateConfig { items: 120, users: 300, reviews: 1500, conversations: 60, ..SimulateConfig::default() }
}

fn run(threads: usize) -> Run {
    Run::new(threads).unwrap()
}

#[test]
fn one_seed_gives_one_domain_for_any_number_of_threads() {
    let one = simulate(&small(), &run(1)).unwrap();
    let three = simulate(&small(), &run(3)).unwrap();
    assert_eq!(one.dataset.fingerprint(), three.dataset.fingerprint());
    assert_eq!(one.conversations, three.conversations);
    let other = simulate(&SimulateConfig { seed: 1, ..small() }, &run(1)).unwrap();
    assert_ne!(one.dataset.fingerprint(), other.dataset.fingerprint());
    assert_ne!(one.conversations, other.conversations);
}

#[test]
fn importing_the_written_files_gives_the_simulated_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let twin = simulate(&small(), &run(2)).unwrap();
    for compress in ["none", "gz", "zst"] {
        let config = SimulateConfig { compress: compress.into(), ..small() };
        let files = simulate_to(folder.path(), &config, &run(2)).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_string();
        let paths = DatasetConfig {
            items: text(&files.items),
            reviews: text(&files.reviews),
            interactions: text(&files.interactions),
            max_bad_lines: 0,
            ..DatasetConfig::default()
        };
        let (dataset, _) = import(&paths, &run(2)).unwrap();
        assert_eq!(dataset.fingerprint(), twin.dataset.fingerprint(), "{compress}");
        assert_eq!(load_conversations(&files.conversations, 0).unwrap(), twin.conversations);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "stale or temporary files stayed");
    }
}

#[test]
fn a_cancelled_simulation_leaves_the_files_that_were_there() {
    let folder = tempfile::tempdir().unwrap();
    let files = simulate_to(folder.path(), &small(), &run(1)).unwrap();
    let before = std::fs::read(&files.reviews).unwrap();
    let cancelled = run(1);
    cancelled.cancel();
    let e = simulate_to(folder.path(), &SimulateConfig { seed: 9, ..small() }, &cancelled).unwrap_err();
    assert_eq!(e.kind(), crate::ErrorKind::Cancelled);
    assert_eq!(std::fs::read(&files.reviews).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn more_reviews_than_can_be_written_are_refused() {
    let config = SimulateConfig { items: 30, users: 10, reviews: 101, ..small() };
    let e = simulate(&config, &run(1)).unwrap_err();
    assert!(e.message().contains("simulate.users"), "{e}");
    let full = simulate(&SimulateConfig { reviews: 100, ..config }, &run(1)).unwrap();
    assert_eq!(full.dataset.reviews(), 100);
}

#[test]
fn the_catalogue_has_unique_titles_and_everything_asked_for() {
    let Simulated { dataset, conversations } = simulate(&SimulateConfig { items: 3000, ..small() }, &run(2)).unwrap();
    assert_eq!((dataset.items.len(), dataset.reviews(), conversations.len()), (3000, 1500, 60));
    let titles: HashSet<String> = (0..3000).map(|i| dataset.items.title(i).to_lowercase()).collect();
    assert_eq!(titles.len(), 3000);
    for i in 0..3000 {
        assert!(
            dataset.items.genres(i).count() >= 1
                && dataset.items.creators(i).count() >= 3
                && dataset.items.year(i).is_some()
        );
    }
    // No user has two reviews of one item.
    let mut pairs = HashSet::new();
    assert!((0..1500).all(|r| pairs.insert((dataset.review_user(r), dataset.review_item(r)))));
}

#[test]
fn reviews_vary_in_length_and_wording_and_ratings_use_the_scale() {
    let dataset = simulate(&small(), &run(2)).unwrap().dataset;
    let (mut short, mut long, mut sum) = (0, 0, 0.0);
    let mut texts = HashSet::new();
    let mut ratings = HashSet::new();
    for r in 0..dataset.reviews() {
        let text = dataset.review_text(r);
        let sentences = text.matches(['.', '?', '!']).count();
        assert!((1..=13).contains(&sentences), "{text}");
        short += usize::from(sentences <= 2);
        long += usize::from(sentences >= 6);
        sum += f64::from(dataset.review_rating10(r).unwrap());
        ratings.insert(dataset.review_rating10(r).unwrap() as u8);
        texts.insert(text.to_string());
        assert!(text.starts_with(|c: char| c.is_uppercase() || c.is_numeric()), "{text}");
    }
    let n = dataset.reviews();
    assert!(short > n / 10 && long > n / 10, "{short} short, {long} long of {n}");
    assert!(texts.len() > n * 85 / 100, "{} of {n} texts are distinct", texts.len());
    assert!((5.5..8.5).contains(&(sum / n as f64)), "mean rating {}", sum / n as f64);
    assert!(ratings.len() >= 9);
}

#[test]
fn few_items_have_most_of_the_interactions() {
    let config = SimulateConfig { items: 500, users: 2000, reviews: 8000, ..small() };
    let dataset = simulate(&config, &run(2)).unwrap().dataset;
    let mut counts = vec![0u64; dataset.items.len()];
    for n in 0..dataset.interactions() {
        counts[dataset.interaction(n).1] += 1;
    }
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let top: u64 = counts[..50].iter().sum();
    let share = top as f64 / dataset.interactions() as f64;
    // Zipf with exponent 0.75 over 500 items gives the first tenth 0.43; taste spreads it.
    assert!((0.25..0.75).contains(&share), "{share}");
    assert!(counts.iter().filter(|n| **n > 0).count() > 450);
}

/// Recall@10 over all (conversation, target) pairs of a ranking by `score`.
fn recall(simulated: &Simulated, score: impl Fn(&Conversation, usize) -> f64) -> f64 {
    let items = &simulated.dataset.items;
    let (mut hits, mut pairs) = (0, 0);
    for conversation in &simulated.conversations {
        let seen: HashSet<u32> =
            conversation.seen.iter().map(|s| items.find(s.item.as_deref().unwrap()).unwrap()).collect();
        let mut ranked: Vec<(f64, usize)> =
            (0..items.len()).filter(|i| !seen.contains(&(*i as u32))).map(|i| (score(conversation, i), i)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for target in &conversation.targets {
            let row = items.find(target.item.as_deref().unwrap()).unwrap() as usize;
            assert!(!seen.contains(&(row as u32)), "a target that was seen");
            pairs += 1;
            hits += usize::from(ranked[..10].iter().any(|(_, i)| *i == row));
        }
    }
    f64::from(hits as u32) / f64::from(pairs)
}

#[test]
fn wishes_and_likes_find_the_targets_better_than_popularity_and_not_always() {
    let config = SimulateConfig { items: 400, users: 2000, reviews: 6000, conversations: 400, ..small() };
    let simulated = simulate(&config, &run(2)).unwrap();
    let dataset = &simulated.dataset;
    let world = World::new(&config).unwrap();
    let mut popular = vec![0.0; 400];
    let mut by_user: HashMap<usize, Vec<usize>> = HashMap::new();
    for n in 0..dataset.interactions() {
        let (user, item, _, _) = dataset.interaction(n);
        popular[item] += 1.0;
        by_user.entry(user).or_default().push(item);
    }
    let mut together = vec![0.0; 400 * 400];
    for items in by_user.values() {
        for a in items {
            for b in items {
                together[a * 400 + b] += 1.0;
            }
        }
    }
    let popularity = recall(&simulated, |_, item| popular[item]);
    // What was seen alone, through the interactions: the share of its users who also took the item.
    let likes = |c: &Conversation, item: usize| -> f64 {
        c.seen.iter().fold(0.0, |sum, s| {
            let seen = dataset.items.find(s.item.as_deref().unwrap()).unwrap() as usize;
            sum + together[seen * 400 + item] / popular[seen].max(1.0)
        })
    };
    let collaborative = recall(&simulated, likes);
    // Words alone: cosine of TF-IDF between the conversation and all that is written of the item.
    let words = |text: &str| -> Vec<String> {
        text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| w.len() > 2).map(str::to_string).collect()
    };
    let mut documents: Vec<String> = (0..400).map(|i| dataset.items.text(i)).collect();
    for r in 0..dataset.reviews() {
        documents[dataset.review_item(r)].push_str(dataset.review_text(r));
    }
    let mut spread: HashMap<String, f64> = HashMap::new();
    let counts: Vec<HashMap<String, f64>> = documents
        .iter()
        .map(|document| {
            let mut counts = HashMap::new();
            words(document).into_iter().for_each(|word| *counts.entry(word).or_insert(0.0) += 1.0);
            counts.keys().for_each(|word| *spread.entry(word.clone()).or_insert(0.0) += 1.0);
            counts
        })
        .collect();
    let weight =
        |word: &str, count: f64| (1.0 + count.ln()) * (400.0 / spread.get(word).copied().unwrap_or(400.0)).ln();
    let norms: Vec<f64> =
        counts.iter().map(|c| c.iter().map(|(w, n)| weight(w, *n).powi(2)).sum::<f64>().sqrt().max(1e-9)).collect();
    let lexical = recall(&simulated, |c, item| {
        let text = c.turns.iter().map(|t| t.text.as_str()).collect::<Vec<_>>().join(" ");
        let shared =
            words(&text).into_iter().filter_map(|w| Some(weight(&w, *counts[item].get(&w)?) * weight(&w, 1.0)));
        shared.sum::<f64>() / norms[item]
    });
    // With the wishes understood perfectly: an upper bound for reading.
    let wishes = |c: &Conversation, item: usize| -> f64 {
        let text = c.turns.iter().map(|t| t.text.as_str()).collect::<Vec<_>>().join(" ");
        let said = |value: usize| {
            let words = world.values[value];
            words.wish.iter().any(|wish| text.contains(wish))
                || text.contains(&format!("the {} shelf", words.keyword.to_lowercase()))
        };
        world.items[item].values().iter().filter(|value| said(**value)).count() as f64
    };
    let reading = recall(&simulated, |c, item| wishes(c, item) + 0.3 * likes(c, item) + 1e-6 * popular[item]);
    println!(
        "popularity {popularity:.3}, collaborative {collaborative:.3}, lexical {lexical:.3}, understood {reading:.3}"
    );
    assert!(collaborative > 1.2 * popularity, "{collaborative} {popularity}");
    assert!(lexical > popularity, "{lexical} {popularity}");
    assert!(reading > 2.0 * popularity, "{reading} {popularity}");
    assert!(reading < 0.95, "{reading}");
}

#[test]
fn conversations_do_not_speak_as_reviews_do() {
    // Else matching words would do: hardly a wish is part of what reviewers say.
    let world = World::new(&small()).unwrap();
    let (mut pairs, mut alike) = (0, 0);
    for value in &world.values {
        for wish in value.wish {
            for phrase in value.review {
                pairs += 1;
                alike += usize::from(phrase.contains(wish) || wish.contains(phrase));
            }
        }
    }
    assert!(alike * 50 < pairs, "{alike} of {pairs}");
    let talk = talk::conversation(&world, 3);
    assert!(talk.turns.len() >= 5 && !talk.targets.is_empty() && !talk.seen.is_empty());
    assert!(talk.seen.iter().all(|seen| talk.turns.iter().any(|turn| turn.text.contains(&seen.title))));
}
