use super::*;
use crate::ErrorKind;
use crate::config::EmbedConfig;
use crate::dataset::Dataset;
use crate::dataset::{Interaction, Item, Review};
use crate::error::Result;
use crate::math::Matrix;
use crate::math::{dot, norm};
use crate::run::Run;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn run() -> Run {
    Run::new(2).unwrap()
}

/// A catalogue of two kinds of films, with reviews in two vocabularies and users of two tastes.
fn dataset() -> Dataset {
    let mut dataset = Dataset::default();
    let words = [
        ["ghost", "scream", "blood", "haunted", "terror", "night"],
        ["laugh", "joke", "funny", "comedy", "silly", "romance"],
    ];
    let mut random = crate::math::Random::new(5, b"embed tests");
    for i in 0..20usize {
        let kind = i % 2;
        let (genre, year) = (["Horror", "Comedy"][kind], Some(1980 + i as u16));
        dataset
            .add_item(&Item {
                id: format!("f{i}"),
                title: format!("Film number {i}"),
                year,
                genres: if i == 19 { Vec::new() } else { vec![genre.into()] },
                description: format!("A film of {} and {}", words[kind][i % 6], words[kind][(i + 1) % 6]),
                ..Item::default()
            })
            .unwrap();
        for n in 0..8 {
            let text: Vec<&str> = (0..12).map(|_| words[kind][random.below(6)]).collect();
            dataset
                .add_review(&Review {
                    item: format!("f{i}"),
                    user: (n % 2 == 0).then(|| format!("u{}", 2 * n + kind)),
                    rating10: Some(8.0),
                    title: "Seen it".into(),
                    text: text.join(" "),
                    ..Review::default()
                })
                .unwrap();
        }
    }
    for n in 0..60usize {
        let user = format!("u{n}");
        for _ in 0..3 {
            // The last two films are chosen by nobody and reviewed by known users only.
            let item = format!("f{}", random.below(9) * 2 + n % 2);
            dataset
                .add_interaction(&Interaction { user: user.clone(), item, rating10: Some(9.0), timestamp_ms: None })
                .unwrap();
        }
    }
    dataset
}

fn config() -> EmbedConfig {
    EmbedConfig { dim: 8, buckets: 1 << 12, metadata_dim: 6, user_dim: 4, ..EmbedConfig::default() }
}

#[test]
fn the_text_embedder_knows_like_from_unlike() {
    let dataset = dataset();
    let embedder = open(&config(), &dataset, &run()).unwrap();
    let texts: Vec<String> = (0..dataset.reviews()).map(|r| review_text(&dataset, r)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let rows = embedder.embed(&texts, false, &run()).unwrap();
    assert!((0..rows.rows()).all(|i| (norm(rows.row(i)) - 1.0).abs() < 1e-6));
    // Items 0, 2, 4, … are of one kind, with eight reviews each.
    let mean = |same: bool| {
        let pairs = (0..160usize).flat_map(|i| (0..i).map(move |j| (i, j)));
        let wanted = pairs.filter(|(i, j)| (i / 8 % 2 == j / 8 % 2) == same);
        let values: Vec<f64> = wanted.map(|(i, j)| dot(rows.row(i), rows.row(j))).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    assert!(mean(true) > mean(false) + 0.1, "{} {}", mean(true), mean(false));
}

#[test]
fn the_text_embedder_gives_the_same_bytes_for_any_threads_and_after_loading() {
    let one = Run::new(1).unwrap();
    let dataset = dataset();
    let texts: Vec<String> = (0..dataset.reviews()).map(|r| review_text(&dataset, r)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let a = TextEmbedder::fit(&texts, &config(), &one).unwrap();
    let b = TextEmbedder::fit(&texts, &config(), &run()).unwrap();
    assert_eq!(a.name(), b.name());
    let rows = a.embed(&texts, false, &one).unwrap();
    assert_eq!(rows, b.embed(&texts, false, &run()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("embedder.safetensors");
    a.save(&path).unwrap();
    let loaded = TextEmbedder::load(&path).unwrap();
    assert_eq!(loaded.name(), a.name());
    assert_eq!(loaded.embed(&texts, false, &run()).unwrap(), rows);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(TextEmbedder::load(&path).err().map(|e| e.kind()), Some(ErrorKind::Format));
    write_matrix(&path, EMBEDDINGS, &rows, &Default::default()).unwrap();
    assert!(TextEmbedder::load(&path).is_err());
}

#[test]
fn empty_text_is_refused_not_embedded_unless_lenient() {
    let embedder = open(&config(), &dataset(), &run()).unwrap();
    let e = embedder.embed(&["ghost", " \n"], false, &run()).unwrap_err();
    assert!(e.message().contains("text 1 is empty"), "{e}");
    let rows = embedder.embed(&["ghost", ""], true, &run()).unwrap();
    assert!(norm(rows.row(0)) > 0.99 && norm(rows.row(1)) == 0.0);
    let none = TextEmbedder::fit(&["!", "?"], &config(), &run());
    assert_eq!(none.err().map(|e| e.kind()), Some(ErrorKind::Invalid));
}

/// Counts what it is asked for, and cancels after some calls.
struct Counting<'a> {
    inner: &'a dyn Embedder,
    asked: AtomicUsize,
    cancel_after: usize,
}

impl Embedder for Counting<'_> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }
    fn name(&self) -> String {
        self.inner.name()
    }
    fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix> {
        if self.asked.fetch_add(texts.len(), Ordering::Relaxed) + texts.len() >= self.cancel_after {
            run.cancel();
        }
        self.inner.embed(texts, lenient, &Run::new(1)?)
    }
}

#[test]
fn an_interrupted_embedding_goes_on_and_ends_with_the_same_bytes() {
    let dataset = dataset();
    let inner = open(&config(), &dataset, &run()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole.safetensors"), folder.path().join("parts.safetensors"));
    let done = embed_reviews(&dataset, inner.as_ref(), &whole, &run()).unwrap();
    assert_eq!((done.rows, done.dim, done.resumed_rows), (160, 8, 0));

    let first = Counting { inner: inner.as_ref(), asked: AtomicUsize::new(0), cancel_after: 100 };
    let e = embed_reviews(&dataset, &first, &parts, &run()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Cancelled);
    assert!(!parts.exists(), "an unfinished file must not look finished");
    // A killed run leaves more in the file than the sidecar knows of.
    let partial = folder.path().join("parts.safetensors.partial");
    let mut bytes = std::fs::read(&partial).unwrap();
    bytes.extend([7; 33]);
    std::fs::write(&partial, bytes).unwrap();
    let second = Counting { inner: inner.as_ref(), asked: AtomicUsize::new(0), cancel_after: usize::MAX };
    let done = embed_reviews(&dataset, &second, &parts, &run()).unwrap();
    assert_eq!(done.resumed_rows, 128);
    assert_eq!(second.asked.load(Ordering::Relaxed), 32, "nothing is computed twice");
    assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&parts).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no sidecar stays behind");

    // Finished: nothing is asked again. Other reviews: everything is.
    let third = Counting { inner: inner.as_ref(), asked: AtomicUsize::new(0), cancel_after: usize::MAX };
    embed_reviews(&dataset, &third, &parts, &run()).unwrap();
    assert_eq!(third.asked.load(Ordering::Relaxed), 0);
    let mut other = dataset.clone();
    other.add_review(&Review { item: "f1".into(), text: "a funny joke".into(), ..Review::default() }).unwrap();
    embed_reviews(&other, &third, &parts, &run()).unwrap();
    assert_eq!(third.asked.load(Ordering::Relaxed), 161);
    assert_eq!(read_embeddings(&parts, 161, &run()).unwrap().rows(), 161);
}

#[test]
fn shards_are_the_rows_of_the_whole_laid_end_to_end() {
    let dataset = dataset();
    let embedder = open(&config(), &dataset, &run()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (list, path) = (folder.path().join("rows.json"), folder.path().join("whole.safetensors"));
    for format in [RowType::F32, RowType::F16, RowType::I8] {
        embed_reviews_as(&dataset, embedder.as_ref(), &path, Store { format, shard: None }, &run()).unwrap();
        let whole = StoredRows::open(&path).unwrap().to_matrix().unwrap();
        // 160 reviews are three chunks: a shard each.
        for index in [1usize, 2, 0] {
            let shard = Shard { index, count: 3 };
            assert!(!join_shards(&list, 3).unwrap().is_empty());
            let file = shard_file(&list, shard);
            let store = Store { format, shard: Some(shard) };
            // Stopped and continued, one chunk is whole or not there: the scales of i8 too.
            let flagged = Counting { inner: embedder.as_ref(), asked: AtomicUsize::new(0), cancel_after: 10 };
            let stopped = embed_reviews_as(&dataset, &flagged, &file, store, &run());
            assert!(stopped.is_err());
            let done = embed_reviews_as(&dataset, embedder.as_ref(), &file, store, &run()).unwrap();
            assert_eq!(done.rows, if index == 2 { 32 } else { 64 });
            let again = embed_reviews_as(&dataset, embedder.as_ref(), &file, store, &run()).unwrap();
            assert_eq!(again.resumed_rows, again.rows, "a finished shard is left as it is");
        }
        assert_eq!(join_shards(&list, 3).unwrap(), []);
        assert_eq!(StoredRows::open(&list).unwrap().to_matrix().unwrap(), whole, "{format:?}");
        assert_eq!(read_embeddings(&list, 160, &run()).unwrap(), whole);
        // A shard of other reviews does not pass for one of these.
        let mut other = dataset.clone();
        other.add_review(&Review { item: "f1".into(), text: "a funny joke".into(), ..Review::default() }).unwrap();
        let file = shard_file(&list, Shard { index: 1, count: 3 });
        let store = Store { format, shard: Some(Shard { index: 1, count: 3 }) };
        embed_reviews_as(&other, embedder.as_ref(), &file, store, &run()).unwrap();
        assert!(join_shards(&list, 3).unwrap_err().message().contains("another embedder"));
        for index in 0..3 {
            std::fs::remove_file(shard_file(&list, Shard { index, count: 3 })).unwrap();
        }
        std::fs::remove_file(&list).unwrap();
    }
    let store = Store { format: RowType::F32, shard: Some(Shard { index: 0, count: 300 }) };
    let e = embed_reviews_as(&dataset, embedder.as_ref(), &path, store, &run()).unwrap_err();
    assert!(e.message().contains("take fewer shards"), "{e}");
    for wrong in ["", "3", "3/3", "-1/2", "a/b", "0/0"] {
        assert!(wrong.parse::<Shard>().unwrap_err().message().contains("I/N"), "{wrong}");
    }
}

/// A review without a known word ("Lindo", an emoji, another script, stop words only) stopped `embed` and `run`.
#[test]
fn a_review_without_a_known_word_stops_no_embedding() {
    let mut dataset = dataset();
    let known = dataset.reviews();
    let fitted = open(&config(), &dataset, &run()).unwrap();
    let before: Vec<String> = (0..known).map(|r| review_text(&dataset, r)).collect();
    let before = fitted.embed(&before.iter().map(String::as_str).collect::<Vec<_>>(), false, &run()).unwrap();
    for text in ["ghosst screams", "😍", "とても", "the of and", " "] {
        for _ in 0..2 {
            dataset.add_review(&Review { item: "f3".into(), text: text.into(), ..Review::default() }).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.safetensors");
    // By an embedder that never saw them, and by one that did.
    let done = embed_reviews(&dataset, fitted.as_ref(), &path, &run()).unwrap();
    assert_eq!(done.rows, known + 10);
    assert!(done.passed_over >= 6 && done.to_string().contains("passed over"), "{done}");
    assert_eq!(embed_reviews(&dataset, fitted.as_ref(), &path, &run()).unwrap().passed_over, done.passed_over);
    let rows = read_embeddings(&path, known + 10, &run()).unwrap();
    assert_eq!(rows.data()[..before.data().len()], *before.data(), "rows of known texts changed");
    // A misspelt word is near what it was meant to be.
    assert!((norm(rows.row(known)) - 1.0).abs() < 1e-6);
    assert!(dot(rows.row(known), rows.row(0)) > dot(rows.row(known), rows.row(8)));
    let seen = open(&config(), &dataset, &run()).unwrap();
    let again = folder.path().join("again.safetensors");
    assert!(embed_reviews(&dataset, seen.as_ref(), &again, &run()).unwrap().passed_over < done.passed_over);

    let mut nothing = Dataset::default();
    nothing.add_item(&Item { id: "a".into(), title: "A".into(), ..Item::default() }).unwrap();
    nothing.add_review(&Review { item: "a".into(), text: "\u{3042}".into(), ..Review::default() }).unwrap();
    let e = embed_reviews(&nothing, fitted.as_ref(), &again, &run()).unwrap_err();
    assert!(e.message().contains("knows nothing of any"), "{e}");
    let none = embed_reviews(&Dataset::default(), fitted.as_ref(), &folder.path().join("e.safetensors"), &run());
    assert_eq!(none.unwrap_err().kind(), ErrorKind::Invalid);
}

/// Files of before the grams came are read, and give the same rows.
#[test]
fn an_embedder_without_grams_is_still_read() {
    let texts: Vec<String> = (0..dataset().reviews()).map(|r| review_text(&dataset(), r)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let new = TextEmbedder::fit(&texts, &config(), &run()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.safetensors");
    new.save(&path).unwrap();
    let mut file = TensorFile::open(&path).unwrap();
    let ((idf_shape, idf), (shape, projection)) = (file.read("idf").unwrap(), file.read("projection").unwrap());
    let mut hasher = blake3::Hasher::new();
    idf.iter().chain(&projection).for_each(|v| {
        hasher.update(&v.to_le_bytes());
    });
    let name = format!("text/{}/{}", shape[1], &hasher.finalize().to_hex()[..16]);
    let metadata = [("kind".to_string(), "text embedder".to_string()), ("name".to_string(), name.clone())].into();
    write_tensors(&path, &[("idf", idf_shape, &idf), ("projection", shape, &projection)], &metadata).unwrap();
    let old = TextEmbedder::load(&path).unwrap();
    assert_eq!(old.name(), name);
    assert_eq!(old.embed(&texts, false, &run()).unwrap(), new.embed(&texts, false, &run()).unwrap());
    assert!(norm(old.embed(&["ghosst"], false, &run()).unwrap().row(0)) == 0.0);
    assert!(norm(new.embed(&["ghosst"], false, &run()).unwrap().row(0)) > 0.99);
}

/// Two processes that embedded into one file at the same time left rows of zeros.
#[test]
fn two_that_embed_into_one_file_at_once_leave_it_whole() {
    let dataset = dataset();
    let embedder: Arc<dyn Embedder> = Arc::from(open(&config(), &dataset, &run()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.safetensors");
    let alone = folder.path().join("alone.safetensors");
    embed_reviews(&dataset, embedder.as_ref(), &alone, &run()).unwrap();
    let held = crate::artifact::open_held(&folder.path().join("e.safetensors.partial")).unwrap();
    let e = embed_reviews(&dataset, embedder.as_ref(), &path, &run()).unwrap_err();
    assert!(e.message().contains("another process is writing it") && e.kind() == ErrorKind::Io, "{e}");
    drop(held);
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| match embed_reviews(&dataset, embedder.as_ref(), &path, &run()) {
                    Ok(done) => assert_eq!(done.rows, dataset.reviews()),
                    Err(e) => assert!(e.message().contains("another process is writing it"), "{e}"),
                });
            }
        });
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&alone).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
    #[cfg(unix)]
    {
        let e = embed_reviews(&dataset, embedder.as_ref(), std::path::Path::new("/dev/null"), &run()).unwrap_err();
        assert!(e.message().contains("needs a regular file"), "{e}");
    }
}

#[test]
fn metadata_features_bring_films_of_a_genre_together() {
    let dataset = dataset();
    let features = metadata_features(&dataset, &config(), &run()).unwrap();
    features.check_rows("metadata").unwrap();
    let mean = |same: bool| {
        let pairs = (0..18usize).flat_map(|i| (0..i).map(move |j| (i, j))).filter(|(i, j)| (i % 2 == j % 2) == same);
        let values: Vec<f64> = pairs.map(|(i, j)| dot(features.row(i), features.row(j))).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    assert!(mean(true) > mean(false) + 0.2, "{} {}", mean(true), mean(false));
    let rows = metadata_rows(&dataset, &config(), &run()).unwrap();
    assert_eq!((rows.rows(), rows.row(9)), (160, features.row(1)));
    let one = metadata_features(&dataset, &config(), &Run::new(1).unwrap()).unwrap();
    assert_eq!(features, one);
}

#[test]
fn named_attributes_bring_items_together_in_the_metadata_features() {
    let plain = dataset();
    let mut with = Dataset::default();
    for i in 0..plain.items.len() {
        // The materials cut across the two genres.
        let attributes = vec![("Material".into(), ["oak", "brass"][i / 2 % 2].into())];
        with.add_item(&Item { attributes, ..plain.items.get(i) }).unwrap();
    }
    let gap = |dataset: &Dataset| {
        let features = metadata_features(dataset, &config(), &run()).unwrap();
        let mean = |same: bool| {
            let alike = |i: usize, j: usize| (i / 2 % 2 == j / 2 % 2) == same;
            let pairs =
                (0..18usize).flat_map(|i| (0..i).map(move |j| (i, j))).filter(|(i, j)| i % 2 == j % 2 && alike(*i, *j));
            let values: Vec<f64> = pairs.map(|(i, j)| dot(features.row(i), features.row(j))).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        mean(true) - mean(false)
    };
    assert!(gap(&with) > gap(&plain) + 0.1, "{} {}", gap(&with), gap(&plain));
}

#[test]
fn collaborative_features_bring_films_of_the_same_users_together_by_either_method() {
    let mut dataset = dataset();
    dataset.add_item(&Item { id: "unseen".into(), ..Item::default() }).unwrap();
    for method in ["als", "svd"] {
        let config = EmbedConfig { user_method: method.into(), ..config() };
        let features = collaborative(&dataset, &config, &run()).unwrap();
        features.items.check_rows(method).unwrap();
        let same = dot(features.items.row(0), features.items.row(2));
        let other = dot(features.items.row(0), features.items.row(1));
        assert!(same > other + 0.15, "{method}: {same} {other}");
        let rows = collaborative(&dataset, &config, &run()).unwrap().review_rows(&dataset);
        rows.check_rows(method).unwrap();
        assert!((0..160).all(|r| (norm(rows.row(r)) - 1.0).abs() < 1e-5), "{method}");
        // A review without a user has its item's row.
        assert_eq!(dataset.review_user(1), None);
        assert_eq!(rows.row(1), features.items.row(0));
        // The item that nobody chose has the mean direction: nearer to both kinds than they are to each other.
        let unseen = features.items.row(20);
        assert!(dot(unseen, features.items.row(0)) > other && dot(unseen, features.items.row(1)) > other, "{method}");
    }
    let nobody = collaborative(&Dataset::default(), &config(), &run());
    assert_eq!(nobody.unwrap_err().kind(), ErrorKind::Invalid);
}

#[cfg(feature = "llama")]
mod lm {
    use super::*;
    use crate::testing::shared;

    fn minilm(change: impl Fn(&mut EmbedConfig)) -> Option<LmEmbedder> {
        let mut config = EmbedConfig { max_tokens: 128, batch_tokens: 512, ..EmbedConfig::default() };
        change(&mut config);
        Some(LmEmbedder::open(&shared("models/minilm-l6-q8_0.gguf")?, &config, &run()).unwrap())
    }

    #[test]
    fn a_sentence_model_knows_like_from_unlike() {
        let Some(embedder) = minilm(|_| ()) else { return };
        let texts = ["The film was scary and dark.", "A frightening, gloomy movie.", "The blender makes good soup."];
        let rows = embedder.embed(&texts, false, &run()).unwrap();
        assert_eq!(rows.dim(), 384);
        assert!((0..3).all(|i| (norm(rows.row(i)) - 1.0).abs() < 1e-6));
        assert!(dot(rows.row(0), rows.row(1)) > dot(rows.row(0), rows.row(2)) + 0.3);
    }

    #[test]
    fn a_text_alone_and_among_others_has_the_same_row_in_an_encoder() {
        let Some(embedder) = minilm(|_| ()) else { return };
        let texts: Vec<String> =
            (0..40).map(|i| format!("Review {i}: {}", "a long and winding plot. ".repeat(i))).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let together = embedder.embed(&texts, false, &run()).unwrap();
        for i in [0, 7, 39] {
            let alone = embedder.embed(&texts[i..=i], false, &run()).unwrap();
            assert_eq!(alone.row(0), together.row(i), "text {i}");
        }
        let two = Run::new(2).unwrap();
        assert_eq!(together, embedder.embed(&texts, false, &two).unwrap(), "two threads give the same bytes");
    }

    #[test]
    fn long_texts_are_cut_and_empty_ones_refused() {
        let Some(embedder) = minilm(|c| c.max_tokens = 16) else { return };
        let long = format!("{} {}", "good film ".repeat(30), "terrible blender");
        let longer = format!("{} {}", "good film ".repeat(3000), "awful soup");
        let rows = embedder.embed(&[&long, &longer], false, &run()).unwrap();
        assert!(dot(rows.row(0), rows.row(1)) > 1.0 - 1e-6);
        let e = embedder.embed(&["a", ""], false, &run()).unwrap_err();
        assert!(e.message().contains("text 1 is empty"), "{e}");
        let rows = embedder.embed(&["", "a"], true, &run()).unwrap();
        assert!(norm(rows.row(0)) == 0.0 && norm(rows.row(1)) > 0.99);
        assert!(embedder.name().starts_with("lm/minilm-l6-q8_0/"), "{}", embedder.name());
    }

    #[test]
    fn a_decoder_embeds_by_mean_or_by_last_token() {
        let Some(path) = shared("models/stories260K.gguf") else { return };
        let texts = ["Once upon a time there was a dog.", "The dog ran to the park.", "Mom made a big cake."];
        let mut rows = Vec::new();
        for pooling in ["auto", "mean", "last"] {
            let config =
                EmbedConfig { pooling: pooling.into(), max_tokens: 64, batch_tokens: 16, ..EmbedConfig::default() };
            let embedder = LmEmbedder::open(&path, &config, &run()).unwrap();
            rows.push(embedder.embed(&texts, false, &run()).unwrap());
        }
        assert_eq!(rows[0], rows[1]);
        // 16-token batches above; here all three texts share one.
        let config = EmbedConfig { max_tokens: 64, ..EmbedConfig::default() };
        let together = LmEmbedder::open(&path, &config, &run()).unwrap().embed(&texts, false, &run()).unwrap();
        // The order of sums in f32, 5e-6 in a value.
        assert!((0..3).all(|i| dot(rows[0].row(i), together.row(i)) > 1.0 - 1e-6));
        assert!(dot(rows[1].row(0), rows[2].row(0)) < 0.999);
        rows[2].check_rows("last").unwrap();
    }

    #[test]
    fn a_cancelled_embedding_stops() {
        let Some(embedder) = minilm(|_| ()) else { return };
        let run = run();
        run.cancel();
        assert_eq!(embedder.embed(&["a"], false, &run).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
