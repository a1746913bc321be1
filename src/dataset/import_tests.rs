//! Imports of small hand-made files, hostile ones included, and of genuine samples.

use super::*;
use crate::config::DatasetConfig;
use crate::error::ErrorKind;
use crate::run::Run;
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;

const ITEMS: &str = r#"{"item": "a", "title": "Alpha &amp; Co", "year": 1999, "genres": ["Drama"], "plot": "P.", "director": ["D"], "stars": ["S", "D"]}
{"item": "b", "title": "Beta", "year": null, "price": "$3.50"}
"#;
const REVIEWS: &str = r#"{"item": "a", "user": "u1", "rating10": 7, "title": "T", "text": "Good.<br />Yes.", "timestamp": 5, "helpful": 2, "total": 3}
{"item": "b", "user": null, "rating10": null, "title": null, "text": "Fine", "timestamp": null}
{"item": "zzz", "user": "u2", "text": "of nothing"}
{"item": "a", "user": "u2", "text": "  "}
"#;

fn config(folder: &Path, files: &[(&str, &[u8])]) -> DatasetConfig {
    let mut config = DatasetConfig::default();
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap().to_string();
        match name.split('.').next().unwrap() {
            "items" => config.items = path,
            "reviews" => config.reviews = path,
            "interactions" => config.interactions = path,
            "tags" => config.tags = path,
            other => panic!("{other}"),
        }
    }
    config
}

fn run() -> Run {
    Run::new(2).unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn own_files_are_read_and_every_row_left_out_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let interactions = "\u{feff}user,item,rating10,timestamp_ms\r\nu1,a,8,1000\r\nu3,\"b\",,\r\nu3,zzz,3,4\r\n";
    let files: [(&str, &[u8]); 3] = [
        ("items.jsonl", ITEMS.as_bytes()),
        ("reviews.jsonl", REVIEWS.as_bytes()),
        ("interactions.csv", interactions.as_bytes()),
    ];
    let mut config = config(folder.path(), &files);
    let (dataset, report) = import(&config, &run()).unwrap();
    assert_eq!((dataset.items.len(), dataset.reviews(), dataset.interactions(), dataset.users()), (2, 2, 2, 2));
    assert_eq!(
        (report.bad_lines, report.unknown_reviews, report.unknown_interactions, report.short_reviews),
        (0, 1, 1, 1)
    );
    assert_eq!(dataset.items.name(0), "Alpha & Co (1999)");
    assert_eq!(dataset.items.creators(0).collect::<Vec<_>>(), ["D", "S"]);
    assert_eq!(dataset.items.price(1), Some(3.5));
    assert_eq!(dataset.review_text(0), "Good.\nYes.");
    assert_eq!(dataset.review_rating10(0), Some(7.0));
    assert_eq!((dataset.review_timestamp_ms(0), dataset.review_helpful(0)), (Some(5), 2));
    assert_eq!(
        (dataset.review_user(1), dataset.review_rating10(1), dataset.review_timestamp_ms(1)),
        (None, None, None)
    );
    assert_eq!(dataset.interaction(0), (0, 0, Some(8.0), Some(1000)));
    assert_eq!(dataset.interaction(1).2, None);
    let text = report.to_string();
    assert!(text.contains("1 reviews of unknown items") && text.contains("items                     2"), "{text}");

    config.unknown_items = "keep".into();
    let (dataset, report) = import(&config, &run()).unwrap();
    assert_eq!((dataset.items.len(), dataset.reviews(), report.bare_items, report.unknown_reviews), (3, 3, 1, 0));
    config.items.clear();
    config.unknown_items = "drop".into();
    assert_eq!(import(&config, &run()).unwrap().0.items.len(), 3);
}

#[test]
fn plain_gz_and_zst_give_the_same_whatever_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let plain = config(folder.path(), &[("items.a", ITEMS.as_bytes()), ("reviews.a", REVIEWS.as_bytes())]);
    let zst = zstd::encode_all(REVIEWS.as_bytes(), 3).unwrap();
    let packed = config(folder.path(), &[("items.b", &gz(ITEMS.as_bytes())), ("reviews.b", &zst)]);
    let one = import(&plain, &run()).unwrap().0.fingerprint();
    assert_eq!(import(&packed, &run()).unwrap().0.fingerprint(), one);
}

#[test]
fn bad_lines_are_counted_and_told_and_past_the_limit_the_import_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut reviews = REVIEWS.as_bytes().to_vec();
    let nested = format!("{{\"item\": \"a\", \"text\": \"x\", \"title\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
    for bad in [
        "{\"item\": \"a\", \"text\": \"x\", \"rating10\": Nan}",
        "{\"item\": \"a\", \"text\": \"x\", \"rating10\": 11}",
        "{\"item\": \"a\", \"text\": \"x\", \"rating10\": \"many\"}",
        "{\"item\": \"a\", \"text\": \"x\", \"rating10\": 1e999}",
        "{\"item\": \"a\"}",
        "{\"text\": \"x\"}",
        "{\"item\": \"\", \"text\": \"x\"}",
        "[1, 2]",
        "{\"item\": \"a\", \"text\": \"x\"",
        &nested,
    ] {
        reviews.extend_from_slice(bad.as_bytes());
        reviews.push(b'\n');
    }
    reviews.extend_from_slice(b"{\"item\": \"a\", \"text\": \"\xff\"}\n");
    let mut config = config(folder.path(), &[("items.jsonl", ITEMS.as_bytes()), ("reviews.jsonl", &reviews)]);
    let (dataset, report) = import(&config, &run()).unwrap();
    assert_eq!((dataset.reviews(), report.bad_lines, report.bad_examples.len()), (2, 11, 10));
    assert!(report.bad_examples[0].contains("reviews.jsonl:5: bad JSON"), "{:?}", report.bad_examples);
    assert!(report.bad_examples[5].contains("reviews.jsonl:10: no item id"), "{:?}", report.bad_examples);
    config.max_bad_lines = 10;
    let e = import(&config, &run()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Format);
    assert!(e.message().contains("dataset.max_bad_lines = 10") && e.message().contains(":5: bad JSON"), "{e}");
    config.max_bad_lines = 11;
    assert!(import(&config, &run()).is_ok());
}

#[test]
fn times_and_ids_that_pandas_writes_as_floats_were_bad_lines() {
    let folder = tempfile::tempdir().unwrap();
    let items = "{\"item\": 12.0, \"title\": \"Heat\", \"year\": 1995.0}\n{\"item\": \"b\", \"year\": \"2009.0\", \"price\": NaN}\n";
    let interactions = "User ID,item,rating10,timestamp_ms\nu1,12,7,1548806400000.0\nu2,b,5,\nu3,12.0,nan,1.5488064e12\n4.0,b,,2019-01-30\n,b,1,NaT\n";
    let reviews = "{\"item\": 12.0, \"user\": NaN, \"rating10\": NaN, \"text\": \"cut \\ud83d\", \"timestamp\": \"2019-01-30T00:00:00Z\"}\n";
    let files: [(&str, &[u8]); 3] = [
        ("items.jsonl", items.as_bytes()),
        ("interactions.csv", interactions.as_bytes()),
        ("reviews.jsonl", reviews.as_bytes()),
    ];
    let (dataset, report) = import(&config(folder.path(), &files), &run()).unwrap();
    assert_eq!((dataset.items.name(0), dataset.items.year(1)), ("Heat (1995)".into(), Some(2009)));
    let rows: Vec<_> = (0..4).map(|i| dataset.interaction(i)).collect();
    let time = Some(1_548_806_400_000);
    assert_eq!(
        rows.iter().map(|row| (row.1, row.2, row.3)).collect::<Vec<_>>(),
        [(0, Some(7.0), time), (1, Some(5.0), None), (0, None, time), (1, None, time)]
    );
    assert_eq!((report.bad_lines, dataset.interactions()), (1, 4));
    assert!(report.bad_examples[0].contains("interactions.csv:6: no user id"), "{:?}", report.bad_examples);
    assert_eq!((dataset.review_user(0), dataset.review_rating10(0)), (None, None));
    assert_eq!((dataset.review_text(0), dataset.review_timestamp_ms(0)), ("cut \u{fffd}", time));
}

#[test]
fn a_line_break_in_a_cell_and_other_separators_were_bad_lines() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        "user,item,rating,comment\nu1,a,4,\"two\n\nlines\"\nu2,b,4,ok\n",
        "\"user\";\"item\";\"rating\"\r\n\"u1\";\"a\";\"4,0\"\r\n\"u2\";\"b\";\"4\"\r\n",
        "\u{feff}User\tItem\tRating\nu1\ta\t4\nu2\tb\t4.0",
        "Rating|Item|User\n4|a|u1\n\"4\"|\"b\"|u2\n",
    ] {
        let (dataset, report) =
            import(&config(folder.path(), &[("interactions.csv", text.as_bytes())]), &run()).unwrap();
        assert_eq!((dataset.interactions(), report.bad_lines), (2, 0), "{text:?}: {report}");
        assert_eq!((dataset.interaction(0).2, dataset.interaction(1).2), (Some(8.0), Some(8.0)), "{text:?}");
    }
    // Where a quote is not closed, its own line is the bad one, by its number in the file.
    let text = "user,item,rating\n\"u1\n\",a,4\nu2,\"b,4\nu3,b,4\n";
    let (dataset, report) = import(&config(folder.path(), &[("interactions.csv", text.as_bytes())]), &run()).unwrap();
    assert_eq!((dataset.interactions(), report.bad_lines), (2, 1), "{report}");
    assert!(report.bad_examples[0].contains("interactions.csv:4: a quote"), "{report}");
}

#[test]
fn files_of_another_shape_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let utf16: Vec<u8> = "\u{feff}user,item\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes, says) in [
        ("reviews.jsonl", &b"[{\"item\": \"a\", \"text\": \"x\"},\n{\"item\": \"b\"}]"[..], "jq -c"),
        ("items.jsonl", b"[\n{\"item\": \"a\"}\n]", "one JSON object a line"),
        ("interactions.csv", b" [ {\"user\": 1}]", "jq -c"),
        ("interactions.csv", &utf16, "UTF-16"),
        ("reviews.jsonl", &utf16, "UTF-16"),
        ("interactions.csv", b"a:b\n1:2\n", "separated by commas, semicolons, tabs or bars"),
    ] {
        let e = import(&config(folder.path(), &[(name, bytes)]), &run()).unwrap_err();
        assert!(e.message().contains(says) && e.message().contains(&format!("{name}:1")), "{e}");
    }
}

#[test]
fn a_truncated_gz_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let many: String =
        (0..20_000).map(|i| format!("{{\"item\": \"a\", \"text\": \"{i} {}\"}}\n", i * 7919 % 10_007)).collect();
    let packed = gz(many.as_bytes());
    let config = config(folder.path(), &[("reviews.gz", &packed[..packed.len() * 2 / 3])]);
    let e = import(&config, &run()).unwrap_err();
    assert!(e.kind() == ErrorKind::Format && e.message().contains("cut short"), "{e}");
    assert!(e.message().contains("reviews.gz"), "{e}");
}

#[test]
fn missing_and_empty_files_and_no_file_are_errors_that_say_which() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(import(&DatasetConfig::default(), &run()).unwrap_err().kind(), ErrorKind::Invalid);
    let mut missing = DatasetConfig { reviews: "/no/such".into(), ..DatasetConfig::default() };
    let e = import(&missing, &run()).unwrap_err();
    assert!(e.kind() == ErrorKind::NotFound && e.message().contains("/no/such"), "{e}");
    missing.reviews = folder.path().to_str().unwrap().into();
    assert!(import(&missing, &run()).unwrap_err().message().contains("folder"));
    for (name, bytes) in [
        ("reviews.jsonl", &b""[..]),
        ("items.jsonl", b"\n\n"),
        ("interactions.csv", b""),
        ("interactions.csv", b"user,item\n"),
    ] {
        let e = import(&config(folder.path(), &[(name, bytes)]), &run()).unwrap_err();
        assert!(e.message().contains(name) && e.message().contains("in it"), "{e}");
    }
    // All reviews are of unknown items.
    let files: [(&str, &[u8]); 2] = [("items.jsonl", b"{\"item\": \"q\"}"), ("reviews.jsonl", REVIEWS.as_bytes())];
    let e = import(&config(folder.path(), &files), &run()).unwrap_err();
    assert!(e.message().contains("3 reviews of items that the items file lacks"), "{e}");
}

#[test]
fn the_first_of_repeated_items_wins() {
    let folder = tempfile::tempdir().unwrap();
    let items = "{\"item\": \"a\", \"title\": \"One\"}\n{\"item\": \"a\", \"title\": \"Two\"}\n{\"item\": 5}\n";
    let (dataset, report) = import(&config(folder.path(), &[("items.jsonl", items.as_bytes())]), &run()).unwrap();
    assert_eq!(
        (dataset.items.len(), dataset.items.title(0), dataset.items.id(1), report.repeated_items),
        (2, "One", "5", 1)
    );
}

#[test]
fn movielens_files_are_read_with_tags_as_keywords() {
    let folder = tempfile::tempdir().unwrap();
    let movies = "movieId,title,genres\r\n1,Toy Story (1995),Adventure|Animation\r\n2,\"Matrix, The (1999)\",(no genres listed)\r\n";
    let ratings = "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,0.5,964981247\n2,99,5,964981247\n";
    let tags = "userId,movieId,tag,timestamp\n1,1,Pixar,1\n2,1,pixar,1\n2,1,\"fun, toys\",1\n3,2\n";
    let files: [(&str, &[u8]); 3] =
        [("items.csv", movies.as_bytes()), ("interactions.csv", ratings.as_bytes()), ("tags.csv", tags.as_bytes())];
    let mut config = config(folder.path(), &files);
    config.format = "movielens".into();
    let (dataset, report) = import(&config, &run()).unwrap();
    assert_eq!((dataset.items.name(0), dataset.items.name(1)), ("Toy Story (1995)".into(), "The Matrix (1999)".into()));
    assert_eq!(dataset.items.genres(0).collect::<Vec<_>>(), ["Adventure", "Animation"]);
    assert_eq!(dataset.items.genres(1).count(), 0);
    assert_eq!(dataset.items.keywords(0).collect::<Vec<_>>(), ["pixar", "fun, toys"]);
    assert_eq!(dataset.interaction(0), (0, 0, Some(8.0), Some(964_982_703_000)));
    assert_eq!(dataset.interaction(1).2, Some(1.0));
    assert_eq!((report.unknown_interactions, report.bad_lines), (1, 1));
}

fn genuine(format: &str, items: &str, reviews: &str, interactions: &str) -> Option<DatasetConfig> {
    let path = |name: &str| match name {
        "" => Some(String::new()),
        name => Some(shared_file(name)?.to_str()?.to_string()),
    };
    Some(DatasetConfig {
        items: path(items)?,
        reviews: path(reviews)?,
        interactions: path(interactions)?,
        format: format.into(),
        max_bad_lines: 0,
        ..DatasetConfig::default()
    })
}

#[test]
fn genuine_amazon_2023_is_read_without_a_bad_line() {
    let reviews = "data/amazon/Amazon_Fashion.sample.jsonl";
    let Some(config) = genuine("amazon2023", "data/amazon/meta_Amazon_Fashion.sample.jsonl", reviews, "") else {
        return;
    };
    let (dataset, report) = import(&config, &run()).unwrap();
    // Counted with another JSON parser: 5,000 reviews, 4,128 items, 207 of them with a price.
    assert_eq!(dataset.items.len() as u64 + report.repeated_items, 4128);
    assert_eq!(dataset.reviews() as u64 + report.short_reviews + report.unknown_reviews, 5000);
    assert_eq!((0..dataset.items.len()).filter(|i| dataset.items.price(*i).is_some()).count(), 207);
    let row = dataset.items.find("B07B3VP66F").unwrap() as usize;
    let review = (0..dataset.reviews()).find(|r| dataset.review_item(*r) == row).unwrap();
    assert_eq!(
        dataset.review_text(review),
        "This perfect!  Classy enough to wear to work or out on the town.  Night light weight material.  Go by the size chart and you will be fine."
    );
    assert_eq!((dataset.review_rating10(review), dataset.review_helpful(review)), (Some(10.0), 1));
    assert_eq!(dataset.review_timestamp_ms(review), Some(1_583_032_084_430));
}

#[test]
fn genuine_amazon_metadata_gives_years_people_genres() {
    let reviews = "data/amazon/Movies_and_TV.first3.jsonl";
    let Some(mut config) = genuine("amazon2023", "data/amazon/meta_Movies_and_TV.first3.jsonl", reviews, "") else {
        return;
    };
    config.unknown_items = "keep".into();
    let (dataset, _) = import(&config, &run()).unwrap();
    let items = &dataset.items;
    assert_eq!(
        (0..3).map(|i| items.name(i)).collect::<Vec<_>>(),
        [
            "Glee (2013)",
            "One Perfect Wedding (2021)",
            "How to Make Animatronic Characters - Organic Mechanics Part 2 (2012)"
        ]
    );
    assert_eq!(items.genres(1).collect::<Vec<_>>(), ["Comedy", "Drama", "Romance"]);
    assert_eq!(items.creators(1).collect::<Vec<_>>(), ["Gary Yates"]);
    assert_eq!(items.creators(2).collect::<Vec<_>>(), ["Rick Lazzarini", "Stan Winston School of Character Arts"]);
    assert_eq!((items.price(0), items.price(1), items.price(2)), (Some(22.39), None, Some(64.99)));
    assert!(items.description(2).starts_with("In PART TWO"));
}

#[test]
fn genuine_amazon_2018_is_read_and_its_reviews_without_text_are_short_not_bad() {
    let Some(config) = genuine("amazon2018", "", "data/amazon/AMAZON_FASHION_5.json", "") else { return };
    let (dataset, report) = import(&config, &run()).unwrap();
    // Counted with another JSON parser: 3,176 lines, reviewText missing in 16, vote in 297.
    assert_eq!((dataset.reviews(), report.short_reviews, report.bad_lines), (3160, 16, 0));
    assert_eq!(dataset.review_timestamp_ms(0), Some(1_441_324_800_000));
    assert_eq!(dataset.review_rating10(0), Some(10.0));
}

#[test]
fn genuine_movie_reviews_are_the_same_for_any_number_of_threads() {
    let Some(config) = genuine(
        "causerie",
        "data/movies/meta.jsonl.gz",
        "data/movies/reviews.jsonl.gz",
        "data/movies/interactions.csv.gz",
    ) else {
        return;
    };
    let (one, report) = import(&config, &Run::new(1).unwrap()).unwrap();
    let (three, _) = import(&config, &Run::new(3).unwrap()).unwrap();
    assert_eq!(one.fingerprint(), three.fingerprint());
    // The numbers are those that the data's own description gives.
    assert_eq!((one.items.len(), one.interactions()), (2303, 811_366));
    assert_eq!(one.reviews() as u64 + report.short_reviews, 89_455);
}

fn own_text() -> impl Strategy<Value = String> {
    // Without & and <, which are cleaned, and without blanks at the ends, which are trimmed.
    "[a-zé\"\\\\,.ß☃\u{1F600}]{1,12}( [a-z\n\t'{}]{1,8}x)?"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn own_rows_round_trip(texts in proptest::collection::vec((own_text(), own_text(), 0..4usize, proptest::option::of(1u8..=10)), 1..20)) {
        let folder = tempfile::tempdir().unwrap();
        let items: String = (0..4).map(|i| format!("{}\n", serde_json::json!({"item": format!("i{i}"), "title": texts[0].0, "keywords": [texts[0].1]}))).collect();
        let reviews: String = texts.iter().map(|(title, text, item, rating)| {
            format!("{}\n", serde_json::json!({"item": format!("i{item}"), "user": title, "title": title, "text": text, "rating10": rating}))
        }).collect();
        let (dataset, _) = import(&config(folder.path(), &[("items.jsonl", items.as_bytes()), ("reviews.jsonl", reviews.as_bytes())]), &run()).unwrap();
        prop_assert_eq!(dataset.reviews(), texts.len());
        for (r, (title, text, item, rating)) in texts.iter().enumerate() {
            prop_assert_eq!(dataset.review_title(r), title);
            prop_assert_eq!(dataset.review_text(r), text);
            prop_assert_eq!(dataset.review_item(r), *item);
            prop_assert_eq!(dataset.review_rating10(r), rating.map(f32::from));
            prop_assert_eq!(dataset.user_id(dataset.review_user(r).unwrap()), title);
        }
    }

    #[test]
    fn no_bytes_panic_in_any_format(bytes in proptest::collection::vec(any::<u8>(), 0..300), format in 0..4usize) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["items.x", "reviews.x", "interactions.x"] {
            let mut config = config(folder.path(), &[(name, &bytes)]);
            config.format = ["causerie", "amazon2023", "amazon2018", "movielens"][format].into();
            let _ = import(&config, &run());
        }
    }

    #[test]
    fn no_json_object_panics_in_any_format(values in proptest::collection::vec((0..12usize, 0..9usize), 0..8), format in 0..4usize) {
        let keys = ["item", "text", "rating", "parent_asin", "asin", "details", "features", "year", "title", "helpful", "price", "timestamp"];
        let shapes = ["null", "1e308", "-9223372036854775808", "\"\\u0000\"", "[]", "{}", "[[\"(\",{\"a\":[1]}]]", "\"$,.\"", "true"];
        let line: Vec<String> = values.iter().map(|(key, shape)| format!("\"{}\":{}", keys[*key], shapes[*shape])).collect();
        let line = format!("{{{}}}\n", line.join(","));
        let folder = tempfile::tempdir().unwrap();
        for name in ["items.x", "reviews.x", "interactions.x"] {
            let mut config = config(folder.path(), &[(name, line.as_bytes())]);
            config.format = ["causerie", "amazon2023", "amazon2018", "movielens"][format].into();
            let _ = import(&config, &run());
        }
    }
}

#[test]
fn attributes_of_every_shape_are_kept_or_cost_themselves_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let many: Vec<String> = (0..1000).map(|n| format!("\"n{n}\": \"v{n}\"")).collect();
    let items = [
        r#"{"item": "id only"}"#.to_string(),
        r#"{"item": "a", "title": "Same", "attributes": {"Brand": "Acme", "colour": ["red", "Red", "blue"], "": "x", "size": ""}}"#.into(),
        r#"{"item": "b", "title": "Same", "attributes": {"brand": {"x": {}}, "note": "<b>bold</b>\u0007 {count}\n\u202e"}}"#.into(),
        r#"{"item": "c", "attributes": "{\"brand\": \"Bolt\"}", "specs": [{"name": "Legs", "value": 4}], "wireless": true}"#.into(),
        format!(r#"{{"item": "d", "attributes": {{{}}}}}"#, many.join(", ")),
        r#"{"item": "e", "attributes": ["red", 7], "specs": {"legs": null}}"#.into(),
        r#"{"item": "f", "attributes": 1e999}"#.into(),
        r#"{"item": "g", "attributes": null}"#.into(),
    ];
    let mut config = config(folder.path(), &[("items.jsonl", items.join("\n").as_bytes())]);
    config.attributes = ["specs", "cordless=wireless", "misspelt"].map(str::to_string).to_vec();
    let (dataset, report) = import(&config, &run()).unwrap();
    let of = |id: &str| dataset.items.attributes(dataset.items.find(id).unwrap() as usize).collect::<Vec<_>>();
    assert!(of("id only").is_empty() && of("e").is_empty() && of("g").is_empty());
    assert_eq!(of("a"), [("brand", "Acme"), ("colour", "red"), ("colour", "blue")]);
    assert_eq!(of("b"), [("note", "bold {count}")]);
    assert_eq!(of("c"), [("brand", "Bolt"), ("legs", "4"), ("cordless", "yes")]);
    assert_eq!(of("d").len(), 64);
    // a: the one without a name and the one without a value (a text that is empty is absent); b: the object; d: all beyond
    // 64; e: two values without a name.
    assert_eq!((dataset.items.len(), report.bad_lines, report.lost_attributes), (7, 1, 1 + 1 + (1000 - 64) + 2));
    assert!(report.to_string().contains("940 attributes of items cut or left out"), "{report}");
    // Lines in memory give the same.
    let mut filling = Filling::new(&config);
    filling.add_lines(Table::Items, &items.join("\n"), &run()).unwrap();
    assert_eq!(filling.dataset().fingerprint(), dataset.fingerprint());
    assert_eq!(filling.report().lost_attributes, 940);
    config.attributes = vec!["=".into()];
    assert_eq!(import(&config, &run()).unwrap_err().kind(), ErrorKind::Invalid);
}
