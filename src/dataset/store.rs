//! The dataset on disk: a folder with `manifest.json` and one file per column.
//!
//! Numbers are little-endian. A column of texts is its rows' ends (u64 each, counted from the first text byte), then the
//! texts. The columns of one save lie in a folder of their own; the manifest names that folder and is replaced by rename,
//! after everything else is on the disk: whatever happens before, the dataset that was there still stands.

use super::column::Column;
use super::row_index::RowIndex;
use super::table::{Dataset, Items, NONE};
use super::text::{BLOCK_BYTES, TextColumn};
use crate::artifact;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest.json";
/// The newest format of a dataset. 1 has no column of attributes, and is written where no item has any: its bytes and its
/// fingerprint are then those of every version.
const FORMAT: u64 = 2;
/// The column that format 2 adds.
const ATTRIBUTES: &str = "item_attributes";
const COLUMNS_PREFIX: &str = "columns-";

#[derive(Serialize, Deserialize)]
struct Manifest {
    /// At most [`FORMAT`].
    format: u64,
    /// The program that wrote it.
    made_by: String,
    /// The folder that holds the columns, beside the manifest.
    folder: String,
    items: u64,
    reviews: u64,
    interactions: u64,
    users: u64,
    /// Of each column: bytes and BLAKE3 hash.
    columns: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    blake3: String,
}

/// A number as a column file holds it.
trait Number: Copy {
    const BYTES: usize;
    fn write(self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}
macro_rules! numbers {
    ($($t:ty),*) => {$(
        impl Number for $t {
            const BYTES: usize = size_of::<$t>();
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn read(bytes: &[u8]) -> $t {
                let mut own = [0; size_of::<$t>()];
                own.copy_from_slice(bytes);
                <$t>::from_le_bytes(own)
            }
        }
    )*};
}
numbers!(u16, u32, f32, i64, u64);

/// A column of a dataset, of whatever type: what saving and hashing need of it.
trait Stored {
    /// Bytes of memory it takes.
    fn held(&self) -> u64;
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()>;
}

fn write_numbers<T: Number>(numbers: impl Iterator<Item = T>, out: &mut dyn Write) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(1 << 16);
    for number in numbers {
        number.write(&mut bytes);
        if bytes.len() >= (1 << 16) - 8 {
            out.write_all(&bytes)?;
            bytes.clear();
        }
    }
    out.write_all(&bytes)
}

impl<T: Number> Stored for Column<T> {
    fn held(&self) -> u64 {
        (self.len() * T::BYTES) as u64
    }
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        write_numbers(self.iter(), out)
    }
}

impl Stored for TextColumn {
    fn held(&self) -> u64 {
        self.bytes() + self.len() as u64 * 8
    }
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let ends = self.iter().scan(0u64, |end, text| {
            *end += text.len() as u64;
            Some(*end)
        });
        write_numbers(ends, out)?;
        self.iter().try_for_each(|text| out.write_all(text.as_bytes()))
    }
}

fn columns(dataset: &Dataset) -> Vec<(&'static str, &dyn Stored)> {
    let Dataset {
        items: Items { ids, titles, years, genres, creators, keywords, descriptions, prices, attributes, index: _ },
        review_items,
        review_users,
        review_ratings,
        review_titles,
        review_texts,
        review_timestamps,
        review_helpful,
        interaction_users,
        interaction_items,
        interaction_ratings,
        interaction_timestamps,
        users,
        user_index: _,
    } = dataset;
    let of_attributes: Option<(&'static str, &dyn Stored)> =
        dataset.items.have_attributes().then_some((ATTRIBUTES, attributes));
    let all: [(&'static str, &dyn Stored); 20] = [
        ("item_ids", ids),
        ("item_titles", titles),
        ("item_years", years),
        ("item_genres", genres),
        ("item_creators", creators),
        ("item_keywords", keywords),
        ("item_descriptions", descriptions),
        ("item_prices", prices),
        ("users", users),
        ("review_items", review_items),
        ("review_users", review_users),
        ("review_ratings", review_ratings),
        ("review_titles", review_titles),
        ("review_texts", review_texts),
        ("review_timestamps", review_timestamps),
        ("review_helpful", review_helpful),
        ("interaction_users", interaction_users),
        ("interaction_items", interaction_items),
        ("interaction_ratings", interaction_ratings),
        ("interaction_timestamps", interaction_timestamps),
    ];
    all.into_iter().chain(of_attributes).collect()
}

/// Hashes and counts what passes through.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Hashing { inner, hasher: blake3::Hasher::new(), bytes: 0 }
    }
    fn entry(&self) -> Entry {
        Entry { bytes: self.bytes, blake3: self.hasher.finalize().to_hex().to_string() }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

fn fingerprint(columns: &BTreeMap<String, Entry>) -> String {
    artifact::content_hash(columns.iter().flat_map(|(name, entry)| [name.as_bytes(), entry.blake3.as_bytes()]))
}

impl Dataset {
    /// About how many bytes of memory it takes: all columns, and 6 bytes for each id in an index.
    pub fn bytes(&self) -> u64 {
        let columns: u64 = columns(self).iter().map(|(_, column)| column.held()).sum();
        columns + 6 * (self.items.len() + self.users()) as u64
    }
    /// A hash of everything the dataset holds, rows' order included: 16 hex digits, the same on every machine.
    pub fn fingerprint(&self) -> String {
        let hashed = columns(self).into_iter().map(|(name, column)| {
            let mut out = BufWriter::with_capacity(1 << 16, Hashing::new(std::io::sink()));
            // A sink refuses nothing.
            let _ = column.write(&mut out).and_then(|()| out.flush());
            (name.to_string(), out.get_ref().entry())
        });
        fingerprint(&hashed.collect())
    }

    /// Writes the dataset into `folder`, all or nothing: one that was there stands until the new one is complete.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] when the disk refuses.
    pub fn save(&self, folder: &Path) -> Result<()> {
        if folder.is_file() {
            return Err(Error::invalid(format!("{}: is a file, a folder is needed; name another", folder.display())));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let _alone = artifact::Lock::of(&folder.join("import"))?;
        let mut name = format!("{COLUMNS_PREFIX}{}", self.fingerprint());
        // A save that was killed left its columns under the name that they would have again.
        let stands = read_manifest(&folder.join(MANIFEST)).map(|m| m.folder).unwrap_or_default();
        if stands != name && folder.join(&name).exists() {
            std::fs::remove_dir_all(folder.join(&name)).map_err(|e| Error::io(folder.join(&name), e))?;
        }
        while folder.join(&name).exists() {
            name.push('+');
        }
        let inside = folder.join(&name);
        let result = self.save_columns(&inside).and_then(|columns| {
            let manifest = Manifest {
                format: if self.items.have_attributes() { FORMAT } else { 1 },
                made_by: artifact::made_by(),
                folder: name.clone(),
                items: self.items.len() as u64,
                reviews: self.reviews() as u64,
                interactions: self.interactions() as u64,
                users: self.users() as u64,
                columns,
            };
            let path = folder.join(MANIFEST);
            artifact::write_atomic(&path, |out| {
                serde_json::to_writer_pretty(out, &manifest).map_err(|e| Error::io(&path, e.into()))
            })
        });
        if result.is_err() {
            let _ = std::fs::remove_dir_all(&inside);
            return result;
        }
        // What earlier saves left, finished or not, is not needed any more.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let other = entry.file_name();
            if other != name.as_str() && other.to_string_lossy().starts_with(COLUMNS_PREFIX) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    fn save_columns(&self, inside: &Path) -> Result<BTreeMap<String, Entry>> {
        std::fs::create_dir(inside).map_err(|e| Error::io(inside, e))?;
        let mut entries = BTreeMap::new();
        for (name, column) in columns(self) {
            let path = inside.join(name);
            let write = || {
                let mut out = BufWriter::with_capacity(1 << 18, Hashing::new(File::create(&path)?));
                column.write(&mut out)?;
                let hashing = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
                hashing.inner.sync_all()?;
                Ok(hashing.entry())
            };
            entries.insert(name.to_string(), write().map_err(|e| Error::io(&path, e))?);
        }
        Ok(entries)
    }

    /// Reads what [`Dataset::save`] wrote, to the same fingerprint. Lengths, hashes, text encoding, row numbers and the
    /// uniqueness of ids are checked; memory is taken only for bytes that are in the files.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when there is none; [`crate::ErrorKind::Format`] when it is damaged, cut, or of a
    /// newer format.
    pub fn load(folder: &Path) -> Result<Dataset> {
        let manifest = read_manifest(&folder.join(MANIFEST))?;
        let load = Load { folder: folder.join(&manifest.folder), manifest };
        load.dataset().map_err(|e| e.context("the saved dataset (import it again)"))
    }
}

/// Reads a manifest; what it names is a folder beside it.
fn read_manifest(path: &Path) -> Result<Manifest> {
    let text = artifact::read_text(path)?;
    // The format number first: a newer manifest may have other fields.
    let newer = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|m| m.get("format")?.as_u64());
    if let Some(format) = newer.filter(|format| *format > FORMAT) {
        return Err(Error::format(path, 0, format!("format {format}; {} reads up to {FORMAT}", artifact::made_by())));
    }
    let manifest: Manifest = serde_json::from_str(&text).map_err(|e| Error::format(path, 0, e))?;
    if !manifest.folder.starts_with(COLUMNS_PREFIX) || manifest.folder.contains(['/', '\\']) {
        return Err(Error::format(path, 0, format!("the folder of columns is called {:?}", manifest.folder)));
    }
    Ok(manifest)
}

struct Load {
    folder: PathBuf,
    manifest: Manifest,
}

impl Load {
    /// Opens the column `name`, whose length is checked against the manifest.
    fn open(&self, name: &str) -> Result<(PathBuf, u64, Hashing<BufReader<File>>)> {
        let path = self.folder.join(name);
        let entry = self.entry(name, &path)?;
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        let bytes = file.metadata().map_err(|e| Error::io(&path, e))?.len();
        if bytes != entry.bytes {
            return Err(Error::format(&path, 0, format!("{bytes} bytes, {} were written", entry.bytes)));
        }
        Ok((path, bytes, Hashing::new(BufReader::with_capacity(1 << 18, file))))
    }
    fn entry(&self, name: &str, path: &Path) -> Result<&Entry> {
        self.manifest.columns.get(name).ok_or_else(|| Error::format(path, 0, "not in the manifest"))
    }
    fn close(&self, name: &str, path: &Path, input: &Hashing<BufReader<File>>) -> Result<()> {
        if input.entry().blake3 != self.entry(name, path)?.blake3 {
            return Err(Error::format(path, 0, "its hash is not that of what was written: it is damaged"));
        }
        Ok(())
    }

    fn numbers<T: Number>(&self, name: &str, rows: u64) -> Result<Column<T>> {
        let (path, bytes, mut input) = self.open(name)?;
        if rows.checked_mul(T::BYTES as u64) != Some(bytes) {
            return Err(Error::format(
                &path,
                0,
                format!("{bytes} bytes do not hold {rows} rows of {} bytes", T::BYTES),
            ));
        }
        let column = read_numbers(&mut input, rows, &path)?;
        self.close(name, &path, &input)?;
        Ok(column)
    }

    fn texts(&self, name: &str, rows: u64) -> Result<TextColumn> {
        let (path, bytes, mut input) = self.open(name)?;
        let broken = |what: &str| Error::format(&path, 0, format!("not a column of {rows} texts: {what}"));
        let text_bytes =
            rows.checked_mul(8).and_then(|ends| bytes.checked_sub(ends)).ok_or_else(|| broken("too short"))?;
        let ends: Column<u64> = read_numbers(&mut input, rows, &path)?;
        let mut column = TextColumn::default();
        let (mut row, mut from) = (0, 0u64);
        while row < ends.len() {
            // As many rows as fit one block; at least one.
            let (mut starts, mut to) = (Vec::new(), from);
            while row < ends.len() {
                let end = ends.at(row);
                if end < to || end > text_bytes || end - to >= u64::from(u32::MAX) {
                    return Err(broken("its rows' ends do not ascend within the file"));
                }
                if !starts.is_empty() && end - from > BLOCK_BYTES as u64 {
                    break;
                }
                starts.push(to - from);
                to = end;
                row += 1;
            }
            let mut block = vec![0; (to - from) as usize];
            input.read_exact(&mut block).map_err(|e| Error::io(&path, e))?;
            let block = String::from_utf8(block).map_err(|_| broken("not UTF-8"))?;
            if !starts.iter().all(|start| block.is_char_boundary(*start as usize)) {
                return Err(broken("a row ends within a character"));
            }
            column.push_block(block, &starts);
            from = to;
        }
        if from != text_bytes {
            return Err(broken("bytes after the last row"));
        }
        self.close(name, &path, &input)?;
        Ok(column)
    }

    /// The index over a column of ids that must be distinct.
    fn index(&self, name: &str, ids: &TextColumn) -> Result<RowIndex> {
        let mut index = RowIndex::default();
        for (row, id) in ids.iter().enumerate() {
            if index.find(ids, id).is_some() {
                return Err(Error::format(self.folder.join(name), 0, format!("{id:?} twice")));
            }
            index.insert(ids, row as u32);
        }
        Ok(index)
    }

    fn rows_within(&self, name: &str, column: &Column<u32>, rows: u64, or_none: bool) -> Result<()> {
        match column.iter().find(|row| u64::from(*row) >= rows && !(or_none && *row == NONE)) {
            Some(row) => Err(Error::format(self.folder.join(name), 0, format!("row {row} of {rows}"))),
            None => Ok(()),
        }
    }

    fn dataset(&self) -> Result<Dataset> {
        let &Manifest { items, reviews, interactions, users, .. } = &self.manifest;
        if [items, reviews, users].iter().any(|rows| *rows >= u64::from(NONE)) {
            return Err(Error::format(self.folder.with_file_name(MANIFEST), 0, "more rows than a dataset can have"));
        }
        let ids = self.texts("item_ids", items)?;
        let index = self.index("item_ids", &ids)?;
        let user_ids = self.texts("users", users)?;
        let user_index = self.index("users", &user_ids)?;
        let dataset = Dataset {
            items: Items {
                ids,
                titles: self.texts("item_titles", items)?,
                years: self.numbers("item_years", items)?,
                genres: self.texts("item_genres", items)?,
                creators: self.texts("item_creators", items)?,
                keywords: self.texts("item_keywords", items)?,
                descriptions: self.texts("item_descriptions", items)?,
                prices: self.numbers("item_prices", items)?,
                attributes: match self.manifest.format {
                    ..FORMAT => TextColumn::of_empty(items as usize),
                    FORMAT.. => self.texts(ATTRIBUTES, items)?,
                },
                index,
            },
            review_items: self.numbers("review_items", reviews)?,
            review_users: self.numbers("review_users", reviews)?,
            review_ratings: self.numbers("review_ratings", reviews)?,
            review_titles: self.texts("review_titles", reviews)?,
            review_texts: self.texts("review_texts", reviews)?,
            review_timestamps: self.numbers("review_timestamps", reviews)?,
            review_helpful: self.numbers("review_helpful", reviews)?,
            interaction_users: self.numbers("interaction_users", interactions)?,
            interaction_items: self.numbers("interaction_items", interactions)?,
            interaction_ratings: self.numbers("interaction_ratings", interactions)?,
            interaction_timestamps: self.numbers("interaction_timestamps", interactions)?,
            users: user_ids,
            user_index,
        };
        self.rows_within("review_items", &dataset.review_items, items, false)?;
        self.rows_within("review_users", &dataset.review_users, users, true)?;
        self.rows_within("interaction_items", &dataset.interaction_items, items, false)?;
        self.rows_within("interaction_users", &dataset.interaction_users, users, false)?;
        Ok(dataset)
    }
}

/// Reads `rows` numbers; the caller knows that the file holds so many.
fn read_numbers<T: Number>(input: &mut impl Read, rows: u64, path: &Path) -> Result<Column<T>> {
    let mut column = Column::default();
    let mut left = rows;
    let mut bytes = vec![0; (1 << 13) * T::BYTES];
    while left > 0 {
        let now = left.min(1 << 13);
        let bytes = &mut bytes[..now as usize * T::BYTES];
        input.read_exact(bytes).map_err(|e| Error::io(path, e))?;
        for number in bytes.chunks_exact(T::BYTES) {
            column.push(T::read(number));
        }
        left -= now;
    }
    Ok(column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Interaction, Item, Review};
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    fn sample(reviews: usize) -> Dataset {
        let mut dataset = Dataset::default();
        for i in 0..20 {
            let item = Item {
                id: format!("i{i}"),
                title: format!("Tïtle {i}"),
                year: (i % 3 != 0).then_some(1990 + i),
                genres: vec!["a".into(), "b c".into()],
                price: (i % 2 == 0).then_some(f32::from(i)),
                ..Item::default()
            };
            dataset.add_item(&item).unwrap();
        }
        for r in 0..reviews {
            let review = Review {
                item: format!("i{}", r % 20),
                user: (r % 5 != 0).then(|| format!("u{}", r % 77)),
                rating10: (r % 4 != 0).then_some((r % 10 + 1) as f32),
                text: "wört ".repeat(r % 300),
                timestamp_ms: (r % 3 != 0).then_some(r as i64),
                ..Review::default()
            };
            dataset.add_review(&review).unwrap();
        }
        let one = Interaction { user: "x".into(), item: "i3".into(), ..Interaction::default() };
        dataset.add_interaction(&one).unwrap();
        dataset
    }

    fn column_file(folder: &Path, name: &str) -> PathBuf {
        let inside = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir()).unwrap();
        inside.join(name)
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = sample(12_000);
        dataset.save(folder.path()).unwrap();
        let back = Dataset::load(folder.path()).unwrap();
        assert_eq!(back.fingerprint(), dataset.fingerprint());
        assert_eq!(back.summary(), dataset.summary());
        for r in [0, 1, 5_999, 11_999] {
            assert_eq!(back.review_text(r), dataset.review_text(r));
            assert_eq!(back.review_user(r), dataset.review_user(r));
            assert_eq!(back.review_rating10(r), dataset.review_rating10(r));
        }
        assert_eq!(back.items.get(4), dataset.items.get(4));
        assert_eq!(back.items.find("i7"), Some(7));
        assert_eq!(back.find_user("x"), dataset.find_user("x"));
        // A loaded dataset can grow.
        let mut back = back;
        back.add_item(&Item { id: "new".into(), ..Item::default() }).unwrap();
        assert_eq!(back.items.id(20), "new");
        assert_ne!(back.fingerprint(), dataset.fingerprint());
    }

    #[test]
    fn an_empty_dataset_is_saved_and_loaded() {
        let folder = tempfile::tempdir().unwrap();
        Dataset::default().save(folder.path()).unwrap();
        assert_eq!(Dataset::load(folder.path()).unwrap().fingerprint(), Dataset::default().fingerprint());
    }

    #[test]
    fn a_second_save_replaces_the_first_and_leaves_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        sample(10).save(folder.path()).unwrap();
        sample(11).save(folder.path()).unwrap();
        sample(11).save(folder.path()).unwrap();
        assert_eq!(Dataset::load(folder.path()).unwrap().reviews(), 11);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_save_that_was_killed_before_its_manifest_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        sample(10).save(folder.path()).unwrap();
        let half = folder.path().join("columns-half");
        std::fs::create_dir(&half).unwrap();
        std::fs::write(half.join("item_ids"), b"xx").unwrap();
        assert_eq!(Dataset::load(folder.path()).unwrap().reviews(), 10);
        sample(12).save(folder.path()).unwrap();
        assert!(!half.exists());
    }

    #[test]
    fn a_save_that_was_killed_leaves_no_trace_in_the_next_ones_bytes() {
        let (killed, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let half = killed.path().join(format!("{COLUMNS_PREFIX}{}", sample(10).fingerprint()));
        std::fs::create_dir(&half).unwrap();
        std::fs::write(half.join("item_ids"), b"xx").unwrap();
        for folder in [&killed, &plain] {
            sample(10).save(folder.path()).unwrap();
        }
        let manifest = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(MANIFEST)).unwrap();
        assert_eq!(manifest(&killed), manifest(&plain));
        assert_eq!(Dataset::load(killed.path()).unwrap().reviews(), 10);
        let e = sample(10).save(&killed.path().join(MANIFEST)).unwrap_err();
        assert!(e.message().contains("a folder is needed"), "{e}");
    }

    #[test]
    fn a_cut_or_changed_column_is_an_error_that_names_it() {
        for name in ["review_texts", "item_years", "users", "review_items", "interaction_timestamps"] {
            let folder = tempfile::tempdir().unwrap();
            sample(50).save(folder.path()).unwrap();
            let file = column_file(folder.path(), name);
            let good = std::fs::read(&file).unwrap();
            std::fs::write(&file, &good[..good.len() - 1]).unwrap();
            let e = Dataset::load(folder.path()).unwrap_err();
            assert!(e.kind() == ErrorKind::Format && e.message().contains(name), "{e}");
            let mut bad = good.clone();
            *bad.last_mut().unwrap() ^= 1;
            std::fs::write(&file, &bad).unwrap();
            let e = Dataset::load(folder.path()).unwrap_err();
            assert!(e.kind() == ErrorKind::Format && e.message().contains(name), "{e}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        sample(5).save(folder.path()).unwrap();
        let path = folder.path().join(MANIFEST);
        let text = std::fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 99");
        std::fs::write(&path, text).unwrap();
        let e = Dataset::load(folder.path()).unwrap_err();
        assert!(e.message().contains("format 99") && e.message().contains("up to 2"), "{e}");
        assert_eq!(Dataset::load(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    /// Writes `bytes` as column `name` and makes the manifest agree with them, as an attacker would.
    fn forge(folder: &Path, name: &str, bytes: &[u8]) {
        std::fs::write(column_file(folder, name), bytes).unwrap();
        let path = folder.join(MANIFEST);
        let mut manifest: Manifest = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let entry = Entry { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() };
        manifest.columns.insert(name.into(), entry);
        std::fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    }

    #[test]
    fn attributes_make_it_format_2_and_without_any_it_is_format_1() {
        let format = |folder: &Path| {
            let text = std::fs::read_to_string(folder.join(MANIFEST)).unwrap();
            serde_json::from_str::<Manifest>(&text).unwrap().format
        };
        let (plain, with) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut dataset = sample(5);
        dataset.save(plain.path()).unwrap();
        assert_eq!(format(plain.path()), 1);
        assert!(!column_file(plain.path(), ATTRIBUTES).exists());
        let before = dataset.fingerprint();
        let brand = |value: &str| Item {
            id: format!("with {value}"),
            attributes: vec![("Brand".into(), value.into())],
            ..Item::default()
        };
        dataset.add_item(&brand("Acme")).unwrap();
        let other = {
            let mut other = sample(5);
            other.add_item(&Item { id: "with Acme".into(), attributes: vec![], ..Item::default() }).unwrap();
            other
        };
        assert!(dataset.fingerprint() != before && dataset.fingerprint() != other.fingerprint());
        dataset.save(with.path()).unwrap();
        assert_eq!(format(with.path()), 2);
        let back = Dataset::load(with.path()).unwrap();
        assert_eq!(back.fingerprint(), dataset.fingerprint());
        assert_eq!(back.items.get(20).attributes, [("brand".to_string(), "Acme".to_string())]);
        assert!(back.items.get(3).attributes.is_empty());
        // A dataset of format 1 can get items that have some.
        let mut grown = Dataset::load(plain.path()).unwrap();
        grown.add_item(&brand("Acme")).unwrap();
        assert_eq!(grown.fingerprint(), dataset.fingerprint());
        // Marks that nobody wrote are no attributes.
        let bytes: Vec<u8> = (0..21u64).flat_map(|_| 3u64.to_le_bytes()).chain(*b"\x1f\x1f\x1e").collect();
        forge(with.path(), ATTRIBUTES, &bytes);
        let forged = Dataset::load(with.path()).unwrap();
        assert!((0..21).all(|i| forged.items.attributes(i).all(|(name, value)| name.is_empty() && value.is_empty())));
        std::fs::remove_file(column_file(with.path(), ATTRIBUTES)).unwrap();
        assert!(Dataset::load(with.path()).unwrap_err().message().contains(ATTRIBUTES));
    }

    #[test]
    fn forged_rows_beyond_the_tables_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        sample(5).save(folder.path()).unwrap();
        forge(folder.path(), "review_items", &[0xff; 20]);
        assert!(Dataset::load(folder.path()).unwrap_err().message().contains("review_items"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn forged_columns_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..160) {
            let folder = tempfile::tempdir().unwrap();
            sample(5).save(folder.path()).unwrap();
            forge(folder.path(), "review_texts", &bytes);
            let _ = Dataset::load(folder.path());
            // Ends that are nearly right.
            sample(5).save(folder.path()).unwrap();
            let mut good = std::fs::read(column_file(folder.path(), "item_titles")).unwrap();
            if let Some(byte) = good.get_mut(at) {
                *byte = byte.wrapping_add(1);
            }
            forge(folder.path(), "item_titles", &good);
            if let Ok(dataset) = Dataset::load(folder.path()) {
                for i in 0..dataset.items.len() {
                    dataset.items.text(i);
                }
            }
        }
    }
}
