//! A third domain out of files alone: the catalogue of `examples/books.toml` and the prompts of `prompts/books`.

use causerie::dataset::{Dataset, ImportReport, import};
use causerie::select::{Pick, Selection};
use causerie::synthesize::synthesize;
use causerie::{Config, Run};

/// Cargo runs tests in the folder of the package, to which the example's paths are relative.
fn books() -> (Config, Dataset, ImportReport) {
    let mut config = Config::default();
    config.read_toml(&std::fs::read_to_string("examples/books.toml").unwrap()).unwrap();
    let (dataset, report) = import(&config.dataset, &Run::new(2).unwrap()).unwrap();
    (config, dataset, report)
}

#[test]
fn fields_that_the_settings_name_are_attributes() {
    let (_, dataset, report) = books();
    assert_eq!((dataset.items.len(), dataset.reviews(), report.dropped(), report.lost_attributes), (12, 32, 0, 0));
    let first = dataset.items.find("b01").unwrap() as usize;
    let wanted = [
        ("author", "Orla Finch"),
        ("series", "Harbour Row"),
        ("subject", "harbours"),
        ("subject", "smuggling"),
        ("subject", "family secrets"),
        ("setting", "Kilbrae"),
    ];
    assert_eq!(dataset.items.attributes(first).collect::<Vec<_>>(), wanted);
    assert!(dataset.items.text(first).contains(". subject: harbours, smuggling, family secrets. "));
}

#[test]
fn the_offline_teacher_asks_for_authors_series_and_subjects() {
    let (mut config, dataset, _) = books();
    config.synthesize.queries = 6;
    let picks = (0..dataset.reviews() as u64).map(|n| Pick { rank: n, row: n, gain: 0.0 }).collect();
    let folder = tempfile::tempdir().unwrap();
    let made = |threads: usize| {
        let journal = folder.path().join(format!("journal-{threads}.jsonl"));
        let (run, selection) = (Run::new(threads).unwrap(), Selection { picks: Vec::clone(&picks) });
        synthesize(&dataset, &selection, &config.synthesize, 1, &run, &journal).unwrap().rows
    };
    let rows = made(2);
    assert!(rows.len() >= 150, "{}", rows.len());
    for (name, least) in [("author", 10), ("series", 2), ("subject", 10)] {
        let said = rows.iter().filter(|row| {
            let seed = dataset.items.find(&row.seed.as_ref().unwrap().item).unwrap() as usize;
            dataset.items.attributes(seed).any(|(n, value)| n == name && row.query().contains(value))
        });
        assert!(said.count() >= least, "{name}: {:#?}", rows.iter().map(|row| row.query()).collect::<Vec<_>>());
    }
    assert!(rows.iter().any(|row| row.query().starts_with("I want to read more by ")));
    assert!(rows.iter().all(|row| row.items.len() == 5 && !row.query().contains(['{', '}'])));
    assert_eq!(rows, made(1));
}
