//! What a service answers, masks and explains.

use super::request::{Fields, Json, read_request};
use super::*;
use crate::dataset::{Dataset, Item, ItemName, Review};
use crate::embed::Embedder;
use crate::recommend::testing::{BagOfWords, conversation, movies, service};
use crate::recommend::{Popularity, Recommender};
use crate::{ErrorKind, Run};
use std::sync::Arc;

fn items(answer: &Answer) -> Vec<u32> {
    answer.items.iter().map(|r| r.item).collect()
}

#[test]
fn seen_named_and_excluded_items_never_come_back_and_only_allowed_ones_do() {
    let service = service(movies(), None);
    let run = Run::new(1).unwrap();
    let mut talk = conversation(&["I liked Mars Voyage"]);
    talk.seen = vec![ItemName { item: Some("m1".into()), ..ItemName::default() }];
    let named = service.titles().rows("Mars Voyage");
    assert_eq!(named.len(), 1);
    let ask = |exclude: &[&str], allow: Option<&[&str]>| {
        let list = |ids: &[&str]| ItemList::of_ids(ids.iter().copied());
        let query =
            Query { exclude: list(exclude), allow: allow.map(list), top_k: Some(100), ..Query::new(talk.clone()) };
        service.answer(&query, &run)
    };
    let free = items(&ask(&[], None).unwrap());
    assert_eq!(free.len(), service.items().len() - 2);
    assert!(!free.contains(&1) && !free.contains(&named[0]));
    let out = ask(&["m2", "gone"], None).unwrap();
    assert!(!items(&out).contains(&2));
    assert_eq!(out.warnings, ["exclude: 1 not in the catalogue: \"gone\""]);
    let mut expected = vec![5, 3, 0];
    expected.retain(|i| *i != named[0]);
    assert_eq!(items(&ask(&["m2"], Some(&["m0", "m1", "m2", "m3", "m5"])).unwrap()), expected);
    assert_eq!(ask(&[], Some(&["gone"])).unwrap_err().kind(), ErrorKind::NotFound);
    let nothing = ask(&[], Some(&[])).unwrap();
    assert!(nothing.items.is_empty() && nothing.warnings[0].contains("nothing is left"));
    let past = Query { exclude: ItemList { rows: vec![24], ..ItemList::default() }, ..Query::new(talk.clone()) };
    assert_eq!(service.answer(&past, &run).unwrap_err().kind(), ErrorKind::Invalid);
}

/// One way of asking masked what another recommended: each named what was seen by rules of its own.
#[test]
fn what_is_seen_by_id_text_or_title_is_one_item() {
    let service = service(movies(), None);
    let run = Run::new(1).unwrap();
    let (id, title, name) = ("m3", service.items().title(3).to_string(), service.items().name(3));
    for json in [
        format!("\"{id}\""),
        format!("\"{title}\""),
        format!("\"{name}\""),
        format!("{{\"id\": \"{id}\"}}"),
        format!("{{\"title\": \"{title}\"}}"),
        format!("{{\"title\": \"{name}\"}}"),
        format!("{{\"id\": \"not there\", \"title\": \"{title}\"}}"),
    ] {
        let request = Json::parse(&format!(r#"{{"turns": [], "seen": [{json}], "top_k": 100}}"#)).unwrap();
        let query = read_request(Fields::of(request, "", "").unwrap(), 100).unwrap();
        let answer = service.answer(&query, &run).unwrap();
        assert!(!items(&answer).contains(&3) && answer.items.len() == 23, "{json}");
        assert!(answer.warnings.is_empty(), "{json}: {:?}", answer.warnings);
    }
}

#[test]
fn a_recommender_of_another_catalogue_is_refused() {
    let dataset = Arc::new(movies());
    let recommender: Arc<dyn Recommender> = Arc::new(Popularity::new("p", vec![1.0]).unwrap());
    let parts = Parts {
        system: "popularity".into(),
        titles: Arc::new(crate::titles::Titles::of(&dataset)),
        dataset,
        recommender,
        evidence: None,
        settings: Default::default(),
    };
    let e = Service::new(parts).err().unwrap();
    assert!(e.message().contains("scores 1 items"), "{e}");
}

#[test]
fn an_answer_is_explained_by_reviews_of_its_items_and_by_none_where_they_are_not_kept() {
    let mut dataset = movies();
    let texts = ["ghosts at night", "a planet far away", "rocket to a planet"];
    for (item, text) in [("m23", texts[0]), ("m23", texts[1]), ("m22", texts[2])] {
        dataset.add_review(&Review { item: item.into(), text: text.into(), ..Review::default() }).unwrap();
    }
    let run = Run::new(1).unwrap();
    let rows = BagOfWords.embed(&texts, false, &run).unwrap();
    let service = service(dataset, Some(rows));
    let query = Query { explain: Some(2), top_k: Some(3), ..Query::new(conversation(&["a planet far away"])) };
    let answer = service.answer(&query, &run).unwrap();
    let rows: Vec<Vec<u32>> = answer.evidence.iter().map(|of| of.iter().map(|n| n.row).collect()).collect();
    assert_eq!(rows, [vec![1, 0], vec![2], vec![]]);
    let silent = service.without_evidence();
    assert_eq!(silent.answer(&query, &run).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(silent.answer(&Query { explain: None, ..query }, &run).unwrap().evidence.is_empty());
}

#[test]
fn items_that_leave_and_return_are_seen_by_the_next_request_and_survive_another_service() {
    let live = LiveService::default();
    assert!(live.current().is_none() && live.change(&CatalogueChange::default()).unwrap().is_none());
    assert_eq!(live.install(service(movies(), None)).number, 1);
    let run = Run::new(1).unwrap();
    let query = Query { top_k: Some(2), explain: Some(0), ..Query::new(conversation(&["hello"])) };
    let best = || items(&live.current().unwrap().answer_all(&[&query], 2, None, &run).unwrap()[0]);
    assert_eq!(best(), [23, 22]);
    let out = CatalogueChange { withdraw: vec!["m23".into(), "gone".into()], expected: Some(1), ..Default::default() };
    let (now, unknown) = live.change(&out).unwrap().unwrap();
    assert_eq!((now.number, unknown), (2, 1));
    assert_eq!(best(), [22, 21]);
    assert_eq!(live.change(&out).err(), Some(OutdatedGeneration(2)));
    // Another service: what is withdrawn stays so, and what it does not have is forgotten.
    assert_eq!(live.install(service(movies(), None)).number, 3);
    assert_eq!(best(), [22, 21]);
    let back = CatalogueChange { restore: vec!["m23".into()], ..Default::default() };
    assert_eq!(live.change(&back).unwrap().unwrap().0.number, 4);
    assert_eq!(best(), [23, 22]);
    assert_eq!(live.change(&back).unwrap().unwrap().0.number, 4, "nothing changed");
    let mut small = Dataset::default();
    small.add_item(&Item { id: "m0".into(), title: "One".into(), ..Item::default() }).unwrap();
    live.change(&CatalogueChange { withdraw: vec!["m23".into()], ..Default::default() }).unwrap();
    assert!(live.install(service(small, None)).withdrawn.is_empty());
}
