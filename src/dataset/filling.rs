//! A dataset that is being filled, a table at a time: from files, from lines in memory, or from rows.

use super::formats::{Reader, Tags};
use super::import::{Import, ImportReport};
use super::lines::{Parsed, Source};
use super::table::{Dataset, Interaction, Item, Review};
use crate::config::{DatasetConfig, UnknownItems};
use crate::error::{Error, Result};
use crate::run::Run;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// Lines between two reports of progress.
const CHUNK: usize = 8192;

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The catalogue.
    Items,
    /// Reviews of its items.
    Reviews,
    /// Interactions with its items.
    Interactions,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::Items => "items",
            Table::Reviews => "reviews",
            Table::Interactions => "interactions",
        }
    }
}

/// One row of one table.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// An item.
    Item(Item),
    /// A review.
    Review(Review),
    /// An interaction.
    Interaction(Interaction),
}

/// A dataset that is being filled by the rules of [`super::import`]: the settings of `dataset.*` say what is kept. Add the
/// items first: where there are none, items are made of the bare ids that reviews and interactions name. Every call adds
/// all that it was given or, when it fails, nothing.
#[derive(Debug, Clone)]
pub struct Filling {
    config: DatasetConfig,
    dataset: Arc<Dataset>,
    report: ImportReport,
    items_given: bool,
}

impl Filling {
    /// An empty dataset, filled by `config` (the files that it names are not read).
    pub fn new(config: &DatasetConfig) -> Filling {
        let dataset = Arc::new(Dataset::default());
        Filling { config: config.clone(), dataset, report: ImportReport::empty(), items_given: false }
    }
    /// Goes on filling `dataset`.
    pub fn of(config: &DatasetConfig, dataset: Dataset) -> Filling {
        let items_given = !dataset.items.is_empty();
        let report = ImportReport { summary: dataset.summary(), ..ImportReport::empty() };
        Filling { config: config.clone(), dataset: Arc::new(dataset), report, items_given }
    }
    /// What is there so far. Who keeps this keeps it as it is now: later rows go to a copy.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }
    /// What was met besides what was kept.
    pub fn report(&self) -> ImportReport {
        ImportReport { summary: self.dataset.summary(), ..self.report.clone() }
    }

    /// Adds the rows of a file in the format of `dataset.format`; plain, .gz or .zst.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Format`] with file and line (more than `dataset.max_bad_lines`
    /// bad ones), [`crate::ErrorKind::Cancelled`].
    pub fn add_file(&mut self, table: Table, path: &Path, run: &Run) -> Result<()> {
        let mut source = Source::open(path)?;
        let first = source.first_line()?.unwrap_or_default();
        let reader = self.reader(table, path, &first)?;
        let mut rows = Vec::new();
        let tags = Tags::new();
        let parse = |line: &str| parse(table, &reader, line, &tags);
        source.for_each_row(reader.rows(), table.name(), run, parse, |number, row| {
            rows.push((number, row));
            Ok(())
        })?;
        self.add(path, rows)
    }

    /// Adds the lines of `text`, which has the shape of such a file.
    ///
    /// # Errors
    /// Those of [`Filling::add_file`].
    pub fn add_lines(&mut self, table: Table, text: &str, run: &Run) -> Result<()> {
        let source = format!("{} in memory", table.name());
        let source = Path::new(&source);
        let text = text.trim_start_matches('\u{feff}');
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let reader = self.reader(table, source, first)?;
        let lines: Vec<(u64, &str)> = reader.rows().of(text).collect();
        let tags = Tags::new();
        let mut rows = Vec::with_capacity(lines.len());
        for chunk in lines.chunks(CHUNK) {
            let parsed: Vec<_> = run.install(|| {
                chunk.par_iter().map(|(number, line)| (*number, parse(table, &reader, line, &tags))).collect()
            });
            rows.extend(parsed);
            run.step("import", table.name(), rows.len() as u64, lines.len() as u64)?;
        }
        self.add(source, rows)
    }

    /// Adds rows as they are; `source` and each row's number stand in messages. A row that could not be read is its cause.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] for more than `dataset.max_bad_lines` bad rows in all.
    pub fn add_rows(&mut self, source: &str, rows: Vec<(u64, std::result::Result<Row, String>)>) -> Result<()> {
        let rows = rows.into_iter().map(|(number, row)| (number, row.map(Some))).collect();
        self.add(Path::new(source), rows)
    }

    fn reader(&self, table: Table, path: &Path, first: &str) -> Result<Reader> {
        let format = self.config.format;
        match table {
            Table::Items => Reader::of_items(format, path, first),
            Table::Interactions => Reader::of_interactions(format, path, first),
            Table::Reviews => Reader::of_reviews(format, path, first),
        }
    }

    fn add(&mut self, source: &Path, rows: Vec<(u64, Parsed<Option<Row>>)>) -> Result<()> {
        let mut import = Import {
            config: &self.config,
            dataset: Dataset::default(),
            keep_unknown: !self.items_given || self.config.unknown_items == UnknownItems::Keep,
            report: self.report.clone(),
        };
        // Everything that can be refused is refused before the first row is added.
        for (number, row) in &rows {
            match row {
                Err(cause) => import.bad(source, *number, cause)?,
                Ok(Some(Row::Item(item))) if item.id.is_empty() => {
                    return Err(Error::format(source, *number, "an item without an id"));
                }
                Ok(_) => {}
            }
        }
        let most =
            [self.dataset.items.len(), self.dataset.reviews(), self.dataset.interactions(), self.dataset.users()];
        if most.iter().any(|n| n.saturating_add(rows.len()) >= u32::MAX as usize) {
            return Err(Error::unsupported(format!("{}: too many rows for one dataset", source.display())));
        }
        import.dataset = std::mem::take(Arc::make_mut(&mut self.dataset));
        let mut result = Ok(());
        for (_, row) in &rows {
            result = match row {
                Ok(Some(Row::Item(item))) => {
                    self.items_given = true;
                    import.item(item)
                }
                Ok(Some(Row::Review(review))) => import.review(review),
                Ok(Some(Row::Interaction(interaction))) => import.interaction(interaction),
                Ok(None) | Err(_) => Ok(()),
            };
            if result.is_err() {
                break;
            }
        }
        self.dataset = Arc::new(import.dataset);
        self.report = import.report;
        // Nothing is left that could fail: ids were looked at, and rows counted.
        result
    }
}

fn parse(table: Table, reader: &Reader, line: &str, tags: &Tags) -> Parsed<Option<Row>> {
    match table {
        Table::Items => Ok(reader.item(line, tags)?.map(Row::Item)),
        Table::Interactions => Ok(reader.interaction(line)?.map(Row::Interaction)),
        Table::Reviews => Ok(Some(Row::Review(reader.review(line)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::import;

    const ITEMS: &str = "{\"item\": \"a\", \"title\": \"A\", \"year\": 1999}\n\n{\"item\": \"b\"}\n{\"item\": \"a\"}\n";
    const REVIEWS: &str =
        "{\"item\": \"a\", \"user\": \"u\", \"text\": \"good\"}\n{\"item\": \"zzz\", \"text\": \"lost\"}\n";
    const INTERACTIONS: &str = "user,item,rating10\nu,a,9\nv,b,\n";

    #[test]
    fn lines_in_memory_and_files_give_the_dataset_that_an_import_gives() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (items, reviews) = (write("i", ITEMS), write("r", REVIEWS));
        let interactions = write("x", INTERACTIONS);
        let text = |path: &Path| path.display().to_string();
        let config = DatasetConfig {
            items: text(&items),
            reviews: text(&reviews),
            interactions: text(&interactions),
            ..DatasetConfig::default()
        };
        let run = Run::new(2).unwrap();
        let (whole, report) = import(&config, &run).unwrap();
        let mut lines = Filling::new(&config);
        lines.add_lines(Table::Items, ITEMS, &run).unwrap();
        lines.add_lines(Table::Reviews, REVIEWS, &run).unwrap();
        lines.add_lines(Table::Interactions, INTERACTIONS, &run).unwrap();
        let mut files = Filling::new(&config);
        files.add_file(Table::Items, &items, &run).unwrap();
        files.add_file(Table::Reviews, &reviews, &run).unwrap();
        files.add_file(Table::Interactions, &interactions, &run).unwrap();
        for filled in [lines, files] {
            assert_eq!(filled.dataset().fingerprint(), whole.fingerprint());
            assert_eq!(filled.report(), report);
        }
    }

    #[test]
    fn a_call_that_fails_adds_nothing() {
        let run = Run::new(1).unwrap();
        let config = DatasetConfig { max_bad_lines: 1, ..DatasetConfig::default() };
        let mut filling = Filling::new(&config);
        filling.add_lines(Table::Items, ITEMS, &run).unwrap();
        let before = filling.dataset().fingerprint();
        let e = filling.add_lines(Table::Reviews, &format!("{REVIEWS}x\ny\n"), &run).unwrap_err();
        assert!(e.message().contains("reviews in memory:3"), "{e}");
        assert_eq!(filling.dataset().fingerprint(), before);
        assert_eq!(filling.report().bad_lines, 0);
        // Who kept the dataset keeps it.
        let kept = filling.dataset().clone();
        filling.add_lines(Table::Reviews, REVIEWS, &run).unwrap();
        assert_eq!((kept.reviews(), filling.dataset().reviews()), (0, 1));
    }

    #[test]
    fn without_items_reviews_make_bare_ones() {
        let run = Run::new(1).unwrap();
        let mut filling = Filling::new(&DatasetConfig::default());
        filling.add_lines(Table::Reviews, REVIEWS, &run).unwrap();
        assert_eq!((filling.dataset().items.len(), filling.report().bare_items), (2, 2));
    }
}
