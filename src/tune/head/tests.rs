//! Tests of the ranking head as a whole: what it learns, keeps and refuses.

use super::*;
use crate::config::TuneConfig;
use crate::dataset::{Dialogue, Message, Seed};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::math::{Matrix, Random};
use crate::run::Run;
use crate::tensors::read_tensors;
use crate::tune::LeftOut;

const DIM: usize = 16;
const ITEMS: usize = 60;

/// Reads numbers: a text is its own embedding, as a model's would be.
struct Numbers;

impl Embedder for Numbers {
    fn dim(&self) -> usize {
        DIM
    }
    fn name(&self) -> String {
        "numbers".into()
    }
    fn embed(&self, texts: &[&str], lenient: bool, _: &Run) -> Result<Matrix> {
        let mut rows = Matrix::zeros(texts.len(), DIM);
        for (row, text) in texts.iter().enumerate() {
            if text.is_empty() && !lenient {
                return Err(Error::invalid("empty"));
            }
            for (out, word) in rows.row_mut(row).iter_mut().zip(text.split_whitespace()) {
                *out = word.parse().map_err(|_| Error::invalid("not a number"))?;
            }
        }
        rows.normalise_rows();
        Ok(rows)
    }
}

/// A world with a known law: people speak in another basis than items are described in (the coordinates are reversed and
/// every second one is negated), so cosine knows nothing and the law must be learned.
fn spoken(vector: &[f32], noise: f64, random: &mut Random) -> String {
    let turned = vector.iter().rev().enumerate().map(|(d, v)| if d % 2 == 0 { *v } else { -*v });
    turned.map(|v| format!("{:.4}", f64::from(v) + noise * random.normal())).collect::<Vec<_>>().join(" ")
}

fn world(seed: u64) -> (ItemVectors, Vec<Dialogue>) {
    let mut random = Random::new(seed, b"world");
    let data = (0..ITEMS * DIM).map(|_| random.normal() as f32).collect();
    let mut vectors = Matrix::from_vec(ITEMS, DIM, data).unwrap();
    vectors.normalise_rows();
    let ids: Vec<String> = (0..ITEMS).map(|i| format!("i{i}")).collect();
    let counts = (0..ITEMS).map(|i| (ITEMS - i) as f32).collect();
    let items = ItemVectors { ids: ids.clone(), vectors, counts, embedder: "numbers".into(), text_dim: DIM };
    let dialogues = (0..600)
        .map(|n| {
            let seed_item = n % (ITEMS - 10);
            let own = items.vectors.row(seed_item);
            let mut near: Vec<usize> = (0..ITEMS).collect();
            near.sort_by(|a, b| {
                let similarity = |i: usize| crate::math::dot(own, items.vectors.row(i));
                similarity(*b).total_cmp(&similarity(*a)).then(a.cmp(b))
            });
            Dialogue {
                id: format!("d{n}"),
                messages: vec![Message { role: "user".into(), content: spoken(own, 0.1, &mut random) }],
                labels: Vec::new(),
                items: near[..5].iter().map(|i| ids[*i].clone()).collect(),
                out_of_catalogue: Vec::new(),
                seed: Some(Seed { row: 0, item: ids[seed_item].clone(), reviews: Vec::new() }),
                teacher: "test".into(),
                round: 0,
            }
        })
        .collect();
    (items, dialogues)
}

fn config() -> TuneConfig {
    TuneConfig { head_learning_rate: 0.01, head_epochs: 25, batch: 32, ..TuneConfig::default() }
}

fn train(
    items: ItemVectors,
    dialogues: &[Dialogue],
    config: &TuneConfig,
    threads: usize,
) -> Result<(Head, HeadReport)> {
    tune_head(dialogues, items, &Numbers, &|_| Vec::new(), config, &Run::new(threads)?)
}

/// Share of fresh queries about item i (of `about`) that find it among the best 3.
fn recall3(head: &Head, about: std::ops::Range<usize>, vectors: &Matrix) -> f64 {
    let mut random = Random::new(77, b"fresh");
    let texts: Vec<String> = about.clone().map(|i| spoken(vectors.row(i), 0.1, &mut random)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let queries = Numbers.embed(&texts, false, &Run::new(1).unwrap()).unwrap();
    let scores = head.score(&queries, &vec![Vec::new(); texts.len()]).unwrap();
    let found =
        about.clone().enumerate().filter(|(row, item)| model::best_rows(scores.row(*row), 3).contains(&(*item as u32)));
    found.count() as f64 / about.len() as f64
}

#[test]
fn the_head_learns_the_law_and_beats_chance_popularity_and_zero_shot_on_items_it_never_saw_as_seeds() {
    let (items, dialogues) = world(1);
    let vectors = items.vectors.clone();
    let zero_shot = Head::untrained(items.clone()).unwrap();
    let (head, report) = train(items, &dialogues, &config(), 2).unwrap();
    let unseen = ITEMS - 10..ITEMS;
    // Chance is 3 of 60; popularity finds the same three items always, 0 of these ten.
    let (tuned, untuned) = (recall3(&head, unseen.clone(), &vectors), recall3(&zero_shot, unseen, &vectors));
    assert!(tuned >= 0.8, "{tuned}");
    assert!(untuned <= 0.4, "{untuned}");
    assert!(recall3(&head, 0..ITEMS - 10, &vectors) > 0.9);
    let first = report.curve.first().unwrap().held_out.unwrap();
    let best = report.curve.iter().filter_map(|p| p.held_out).fold(first, f64::min);
    assert!(best < first - 0.5, "{report:?}");
    assert_eq!(report.curve.iter().find(|p| p.held_out == Some(best)).unwrap().step, report.best_step);
    assert_eq!(report.dialogues + report.held_out, 600);
    assert!(report.held_out >= 48 && report.held_out <= 60);
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let (items, dialogues) = world(2);
    let config = TuneConfig { head_epochs: 3, ..config() };
    let (one, report) = train(items.clone(), &dialogues, &config, 1).unwrap();
    let (two, same) = train(items, &dialogues, &config, 2).unwrap();
    assert_eq!((&one, &report), (&two, &same));
    let folder = tempfile::tempdir().unwrap();
    let paths = [folder.path().join("1"), folder.path().join("2")];
    one.save(&paths[0]).unwrap();
    two.save(&paths[1]).unwrap();
    assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
}

#[test]
fn an_item_added_after_training_is_found_and_the_others_keep_their_scores() {
    let (items, dialogues) = world(3);
    let (mut head, _) = train(items, &dialogues, &config(), 2).unwrap();
    let mut random = Random::new(4, b"new item");
    let vector: Vec<f32> = (0..DIM).map(|_| random.normal() as f32).collect();
    let query = Numbers.embed(&[&spoken(&vector, 0.05, &mut random)], false, &Run::new(1).unwrap()).unwrap();
    let before = head.score(&query, &[Vec::new()]).unwrap();
    let new = NewItem { id: "new".into(), vector, count: 30.0 };
    let row = head.add_item(&new).unwrap();
    assert_eq!(row as usize, ITEMS);
    let after = head.score(&query, &[Vec::new()]).unwrap();
    assert!(after.row(0)[..ITEMS].iter().zip(before.row(0)).all(|(a, b)| (a - b).abs() < 1e-4));
    assert!(model::best_rows(after.row(0), 3).contains(&row));
    assert!(head.add_item(&new).unwrap_err().message().contains("there already"));
    let short = NewItem { id: "short".into(), vector: vec![1.0], count: 0.0 };
    assert!(head.add_item(&short).is_err());
    let empty = NewItem { id: "empty".into(), vector: vec![0.0; DIM], count: 0.0 };
    assert!(head.add_item(&empty).is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.safetensors");
    head.save(&path).unwrap();
    assert_eq!(Head::load(&path).unwrap(), head);
}

#[test]
fn items_that_the_user_names_pull_their_like_even_when_the_text_says_nothing() {
    let (items, dialogues) = world(5);
    let vectors = items.vectors.clone();
    let (head, _) = train(items, &dialogues, &config(), 2).unwrap();
    let scores = head.score(&Matrix::zeros(1, DIM), &[vec![3]]).unwrap();
    let nearest = (0..ITEMS).filter(|i| *i != 3).max_by(|a, b| {
        let similarity = |i: usize| crate::math::dot(vectors.row(3), vectors.row(i));
        similarity(*a).total_cmp(&similarity(*b))
    });
    assert!(model::best_rows(scores.row(0), 6).contains(&(nearest.unwrap() as u32)));
    assert!(head.score(&Matrix::zeros(1, DIM), &[vec![ITEMS as u32]]).is_err());
}

#[test]
fn untrained_it_ranks_by_cosine() {
    let (items, _) = world(6);
    let head = Head::untrained(items.clone()).unwrap();
    let query = items.vectors.gather(&[7]);
    let scores = head.score(&query, &[Vec::new()]).unwrap();
    for item in 0..ITEMS {
        let cosine = crate::math::dot(query.row(0), items.vectors.row(item));
        assert!((f64::from(scores.row(0)[item]) - 20.0 * cosine).abs() < 1e-4);
    }
}

#[test]
fn dialogues_that_teach_nothing_are_refused_not_trained_on() {
    let (items, dialogues) = world(7);
    let refusal = |dialogues: &[Dialogue]| train(items.clone(), dialogues, &config(), 1).unwrap_err();
    assert!(refusal(&[]).message().contains("none of 0 dialogues"));
    let mut blank = dialogues[..4].to_vec();
    blank.iter_mut().for_each(|d| d.messages.clear());
    assert!(refusal(&blank).message().contains("none of 4 dialogues"));
    let mut unknown = dialogues[..4].to_vec();
    unknown.iter_mut().for_each(|d| d.items = vec!["gone".into()]);
    assert!(refusal(&unknown).message().contains("4 without an item of the catalogue"));
    let mut some = dialogues[..40].to_vec();
    some[0].items.clear();
    some[1].items = vec!["gone".into()];
    some[2].items.insert(0, "gone".into());
    some[3].messages[0].content = " \n".into();
    let config = TuneConfig { head_epochs: 1, ..config() };
    let (_, report) = train(items.clone(), &some, &config, 1).unwrap();
    let left_out = LeftOut { no_query: 1, no_item: 2, unknown_items: 2, ..LeftOut::default() };
    assert_eq!((report.left_out, report.dialogues + report.held_out), (left_out, 37));
    assert!(report.to_string().contains("left out: 1 without a query, 2 without an item"), "{report}");
    // A query that names all that is listed leaves nothing to learn.
    let all = |_: &str| (0..ITEMS as u32).collect::<Vec<u32>>();
    let run = Run::new(1).unwrap();
    assert!(tune_head(&some, items, &Numbers, &all, &config, &run).is_err());
}

#[test]
fn a_loss_that_is_not_finite_stops_with_its_step() {
    let (items, dialogues) = world(8);
    let config =
        TuneConfig { head_learning_rate: 10.0, head_epochs: 50, weight_decay: 10.0, head_patience: 1000, ..config() };
    let e = train(items, &dialogues, &config, 1).unwrap_err();
    assert!(e.message().contains("at step") && e.message().contains("head_learning_rate"), "{e}");
}

#[test]
fn rows_of_another_embedder_and_damaged_files_are_refused() {
    let (mut items, dialogues) = world(9);
    let head = Head::untrained(items.clone()).unwrap();
    items.embedder = "another".into();
    assert!(train(items, &dialogues, &config(), 1).unwrap_err().message().contains("one embedder for both"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.safetensors");
    head.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for end in [0, 7, 40, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..end]).unwrap();
        assert_eq!(Head::load(&path).unwrap_err().kind(), crate::ErrorKind::Format);
    }
    let e = read_tensors(&path, "something else").unwrap_err();
    assert_eq!(e.kind(), crate::ErrorKind::Format);
    assert_eq!(Head::load(&folder.path().join("none")).unwrap_err().kind(), crate::ErrorKind::NotFound);
}

#[test]
fn a_cancelled_training_stops() {
    let (items, dialogues) = world(10);
    let run = Run::new(1).unwrap();
    run.cancel();
    let e = tune_head(&dialogues, items, &Numbers, &|_| Vec::new(), &config(), &run).unwrap_err();
    assert_eq!(e.kind(), crate::ErrorKind::Cancelled);
}

#[test]
fn reviews_blend_into_the_item_vectors() {
    use crate::dataset::{Dataset, Item, Review};
    let mut dataset = Dataset::default();
    for id in ["a", "b"] {
        dataset.add_item(&Item { id: id.into(), title: "1 0".into(), ..Item::default() }).unwrap();
    }
    for text in ["0 1", "0 3"] {
        dataset.add_review(&Review { item: "a".into(), text: text.into(), ..Review::default() }).unwrap();
    }
    let run = Run::new(1).unwrap();
    let reviews = Numbers.embed(&["0 1", "0 3"], false, &run).unwrap();
    let items = ItemVectors::from_items(&dataset.items, &Numbers, &run).unwrap();
    let items = items.count(&dataset).unwrap().blend_reviews(&dataset, &reviews, 0.5).unwrap();
    let half = std::f32::consts::FRAC_1_SQRT_2;
    assert!((items.vectors.row(0)[0] - half).abs() < 1e-6 && (items.vectors.row(0)[1] - half).abs() < 1e-6);
    assert_eq!(items.vectors.row(1)[..2], [1.0, 0.0]);
    assert_eq!(items.counts, [2.0, 0.0]);
    let features = Matrix::from_vec(2, 1, vec![5.0, 0.0]).unwrap();
    let wide = items.append(&features, 0.5).unwrap();
    assert_eq!((wide.vectors.dim(), wide.vectors.row(0)[DIM], wide.vectors.row(1)[DIM]), (DIM + 1, 0.5, 0.0));
    let mut head = Head::untrained(wide).unwrap();
    head.add_item(&NewItem { id: "c".into(), vector: vec![1.0; DIM], count: 0.0 }).unwrap();
    assert_eq!(head.score(&Matrix::zeros(1, DIM), &[vec![2]]).unwrap().dim(), 3);
    assert!(ItemVectors::from_items(&Dataset::default().items, &Numbers, &run).is_err());
}
