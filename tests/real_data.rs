//! The whole loop on the real reviews with one strategy, judged on real conversations.

mod common;
#[path = "../src/testing/mod.rs"]
mod testing;

use causerie::pipeline::pipeline;
use causerie::{Config, Run};
use common::recall;
use testing::shared;

#[test]
fn synthetic_dialogues_beat_their_seed_reviews_and_popularity_on_real_conversations() {
    let mut config = Config::default();
    let mut point = |key: &str, file: &str| match shared(file) {
        Some(path) => {
            config.set(key, &path.display().to_string()).unwrap();
            true
        }
        None => false,
    };
    if !(point("dataset.items", "data/movies/meta.jsonl.gz")
        && point("dataset.reviews", "data/movies/reviews.jsonl.gz")
        && point("dataset.interactions", "data/movies/interactions.csv.gz")
        && point("evaluate.conversations", "data/conversations/redial_dev.jsonl"))
    {
        return;
    }
    for (key, value) in [
        ("embed.als_iterations", "5"),
        ("pipeline.strategies", "random"),
        ("pipeline.budget", "2000"),
        ("tune.head_epochs", "5"),
        ("evaluate.bootstrap", "100"),
    ] {
        config.set(key, value).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let report = pipeline(&config, folder.path(), false, &Run::new(0).unwrap()).unwrap();
    let set = &report.evaluations[0];
    // The pairs that the data's own description counts.
    assert_eq!(set.n, 1740);
    let popularity = recall(set, "popularity (seed data)", 20);
    let synthetic = recall(set, "NBCRS (synthetic, random)", 20);
    // The paper's own finding, at the same budget: dialogues made of the seeds say more than the seeds.
    assert!(synthetic > recall(set, "NBCRS (seed reviews, random)", 20));
    assert!(synthetic > popularity);
    assert!(recall(set, "head (random)", 20) > synthetic);
}
