//! What a name means is one thing everywhere: what an evaluation takes for seen is what serving and the C API mask.

use causerie::Run;
use causerie::dataset::{Conversation, Dataset, Item, ItemName};
use causerie::evaluate::evaluate;
use causerie::ffi::{config::*, dataset::*, query::*, recommender::*};
use causerie::recommend::service::{Parts, Service};
use causerie::recommend::{Popularity, Query, Recommender};
use causerie::titles::Titles;
use std::ptr::{null, null_mut};
use std::sync::Arc;

const FILMS: [(&str, u16); 10] = [
    ("Ocean's Eleven", 2001),
    ("Rocky II", 1979),
    ("Spider-Man", 2002),
    ("The Shawshank Redemption", 1994),
    ("Heat", 1986),
    ("Heat", 1995),
    ("Amélie", 2001),
    ("Matrix, The", 1999),
    ("霸王别姬", 1993),
    ("", 0),
];

/// Rows that an evaluation takes for seen: as a target such an item is not scored.
fn seen_by_evaluation(name: &ItemName, dataset: &Dataset, titles: &Titles, run: &Run) -> Vec<u32> {
    let popular = Popularity::from_dataset(dataset).unwrap();
    let systems: [(&str, &dyn Recommender); 1] = [("popular", &popular)];
    let scored = |row: u32| {
        let target = ItemName { item: Some(dataset.items.id(row as usize).into()), ..ItemName::default() };
        let talk = Conversation { id: "a".into(), turns: Vec::new(), targets: vec![target], seen: vec![name.clone()] };
        let config = causerie::Config::default().evaluate;
        evaluate("test", &systems, &[talk], &dataset.items, titles, &config, run).is_ok()
    };
    (0..dataset.items.len() as u32).filter(|row| !scored(*row)).collect()
}

/// Rows that a query over C masks.
fn masked_over_c(name: &ItemName, lines: &str) -> Vec<u32> {
    let (mut settings, mut loaded, mut recommender, mut query) = (null_mut(), null_mut(), null_mut(), null_mut());
    let mut scores = vec![0f32; FILMS.len()];
    let (title, year) = (name.title.as_bytes(), u32::from(name.year.unwrap_or(0)));
    // SAFETY: the rules of the header: handles are ours and freed once, texts are valid for their lengths.
    unsafe {
        assert!(causerie_config_new(&raw mut settings).is_null());
        assert!(causerie_config_set(settings, c"recommend.system".as_ptr(), c"popularity".as_ptr()).is_null());
        assert!(causerie_dataset_new(settings, &raw mut loaded).is_null());
        assert!(causerie_dataset_add(loaded, CAUSERIE_ITEMS, lines.as_ptr().cast(), lines.len(), null_mut()).is_null());
        let made = causerie_recommender_new(loaded, null(), null(), null(), settings, null(), &raw mut recommender);
        assert!(made.is_null());
        assert!(causerie_query_new(&raw mut query).is_null());
        assert!(causerie_query_seen_title(query, title.as_ptr().cast(), title.len(), year).is_null());
        assert!(causerie_score_query(recommender, query, null(), scores.as_mut_ptr(), scores.len()).is_null());
        causerie_query_free(query);
        causerie_recommender_free(recommender);
        causerie_dataset_free(loaded);
        causerie_config_free(settings);
    }
    (0..FILMS.len() as u32).filter(|row| scores[*row as usize] == f32::NEG_INFINITY).collect()
}

/// "Ocean's 11" was masked in a report and recommended in production.
#[test]
fn what_an_evaluation_takes_for_seen_is_masked_when_served_and_over_c() {
    let mut dataset = Dataset::default();
    let mut lines = String::new();
    for (row, (title, year)) in FILMS.iter().enumerate() {
        let year = Some(*year).filter(|y| *y != 0);
        dataset.add_item(&Item { id: format!("i{row}"), title: (*title).into(), year, ..Item::default() }).unwrap();
        let item = serde_json::json!({ "item": format!("i{row}"), "title": title, "year": year });
        lines.push_str(&format!("{item}\n"));
    }
    let (dataset, titles) = (Arc::new(dataset.clone()), Arc::new(Titles::of(&dataset)));
    let run = Run::new(1).unwrap();
    let service = Service::new(Parts {
        system: "popularity".into(),
        dataset: dataset.clone(),
        titles: titles.clone(),
        recommender: Arc::new(Popularity::from_dataset(&dataset).unwrap()),
        evidence: None,
        settings: causerie::Config::default().recommend,
    })
    .unwrap();
    for (title, year, row) in [
        ("Ocean's 11", None, Some(0)),
        ("oceans eleven", Some(2001), Some(0)),
        ("Rocky 2", None, Some(1)),
        ("Spiderman", None, Some(2)),
        ("Spider Man 2002", None, Some(2)),
        ("The Shawshenk Redemption", None, Some(3)),
        ("Heat", None, Some(5)),
        ("HEAT", Some(1986), Some(4)),
        ("Amelie", Some(2002), Some(6)),
        ("The Matrix", None, Some(7)),
        ("Matrix", Some(1999), Some(7)),
        ("霸王别姬", None, Some(8)),
        ("i9", None, Some(9)),
        ("Rocky 3", None, None),
        ("Heat", Some(1950), None),
        ("Heat (1995)", None, Some(5)),
        ("Heat (1986)", None, Some(4)),
        ("Unheard of", None, None),
    ] {
        let name = ItemName { title: title.into(), year, item: None };
        let expected: Vec<u32> = row.into_iter().collect();
        let talk = Conversation { id: "a".into(), turns: Vec::new(), targets: Vec::new(), seen: vec![name.clone()] };
        let scores = service.scores(&[&Query::new(talk)], &run).unwrap();
        let masked = |row: &u32| scores.row(0)[*row as usize] == f32::NEG_INFINITY;
        let masked: Vec<u32> = (0..FILMS.len() as u32).filter(masked).collect();
        assert_eq!(masked, expected, "served: {title} {year:?}");
        assert_eq!(seen_by_evaluation(&name, &dataset, &titles, &run), expected, "evaluated: {title} {year:?}");
        assert_eq!(masked_over_c(&name, &lines), expected, "over C: {title} {year:?}");
    }
}
