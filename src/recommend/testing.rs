//! What the tests of this room share: a small catalogue, an embedder without a model, a world with a known answer.

use super::Popularity;
use super::service::{Parts, Service};
use crate::config::RecommendConfig;
use crate::dataset::{Conversation, Dataset, Item, Role, Turn};
use crate::dataset::{Dialogue, Message, Seed};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;
use crate::titles::Titles;
use std::sync::Arc;

const THEMES: [&str; 4] =
    ["ghost haunted scream dread", "rocket planet alien orbit", "wedding kiss heart tender", "heist gang bullet chase"];
const NAMES: [&str; 6] = ["Voyage", "Night", "Garden", "Letters", "Thunder", "Harvest"];
const PLANETS: [&str; 4] = ["Mercury", "Saturn", "Venus", "Mars"];

/// 24 films: film i has theme i % 4, which its description spells out.
pub fn movies() -> Dataset {
    let mut dataset = Dataset::default();
    for i in 0..24 {
        let item = Item {
            id: format!("m{i}"),
            title: format!("{} {}", PLANETS[i % 4], NAMES[i / 4]),
            year: Some(1990 + i as u16),
            description: THEMES[i % 4].into(),
            ..Item::default()
        };
        dataset.add_item(&item).unwrap();
    }
    dataset
}

/// A conversation whose turns alternate, the user first.
pub fn conversation(turns: &[&str]) -> Conversation {
    let role = |n: usize| if n.is_multiple_of(2) { Role::User } else { Role::Assistant };
    let turns = turns.iter().enumerate().map(|(n, text)| Turn { role: role(n), text: (*text).into() }).collect();
    Conversation { id: "c".into(), turns, targets: Vec::new(), seen: Vec::new() }
}

/// A dialogue with this list; its first item is the seed.
pub fn dialogue(id: &str, query: &str, items: &[&str]) -> Dialogue {
    Dialogue {
        id: id.into(),
        messages: vec![Message { role: "user".into(), content: query.into() }],
        labels: Vec::new(),
        items: items.iter().map(|i| (*i).into()).collect(),
        out_of_catalogue: Vec::new(),
        seed: items.first().map(|item| Seed { row: 0, item: (*item).into(), reviews: Vec::new() }),
        teacher: "test".into(),
        round: 0,
    }
}

/// Hashed words, one bucket and one sign each.
pub struct BagOfWords;

impl Embedder for BagOfWords {
    fn dim(&self) -> usize {
        64
    }
    fn name(&self) -> String {
        "bag/64".into()
    }
    fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix> {
        run.check()?;
        let mut rows = Matrix::zeros(texts.len(), 64);
        for (row, text) in texts.iter().enumerate() {
            if text.trim().is_empty() && !lenient {
                return Err(Error::invalid(format!("text {row} is empty")));
            }
            for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
                let hash = blake3::hash(word.to_lowercase().as_bytes());
                let [bucket, sign, ..] = hash.as_bytes();
                rows.row_mut(row)[usize::from(*bucket) % 64] += if sign % 2 == 0 { 1.0 } else { -1.0 };
            }
        }
        rows.normalise_rows();
        Ok(rows)
    }
}

/// A service of `dataset` that ranks the latest items first; `rows`: of its reviews, by [`BagOfWords`].
pub fn service(dataset: Dataset, rows: Option<Matrix>) -> Service {
    let recommender = Popularity::new("p", (0..dataset.items.len()).map(|i| i as f32).collect()).unwrap();
    let embedder: Arc<dyn Embedder> = Arc::new(BagOfWords);
    Service::new(Parts {
        system: "popularity".into(),
        titles: Arc::new(Titles::of(&dataset)),
        dataset: Arc::new(dataset),
        recommender: Arc::new(recommender),
        evidence: rows.map(|rows| (Arc::new(rows), embedder)),
        settings: RecommendConfig { explain: 0, ..RecommendConfig::default() },
    })
    .unwrap()
}
