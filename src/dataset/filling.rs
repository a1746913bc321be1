//! A dataset that is being filled, a table at a time: from files, from lines in memory, or from rows.

use super::formats::{Reader, Tags};
use super::import::{Import, ImportReport};
use super::lines::{Parsed, Source};
use super::table::{Dataset, Interaction, Item, Review};
use crate::config::{DatasetConfig, UnknownItems};
use crate::error::{Error, Result};
use crate::run::{Level, Run, log};
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
    /// Goes on filling what [`super::import`] made.
    pub fn imported(config: &DatasetConfig, dataset: Dataset, report: ImportReport) -> Filling {
        Filling { report, ..Filling::of(config, dataset) }
    }
    /// Bad lines that may still come (`dataset.max_bad_lines`).
    pub fn bad_lines_left(&self) -> u64 {
        self.config.max_bad_lines.saturating_sub(self.report.bad_lines)
    }
    /// What is there so far. Who keeps this keeps it as it is now: later rows go to a copy.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }
    /// What was met besides what was kept.
    pub fn report(&self) -> ImportReport {
        ImportReport { summary: self.dataset.summary(), ..self.report.clone() }
    }

    /// Adds the rows of a file in the format of `dataset.format`; plain, .gz or .zst. Gives the number of rows left out.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Format`] with file and line (more than `dataset.max_bad_lines`
    /// bad ones, or nothing but rows that are bad or about unknown items), [`crate::ErrorKind::Cancelled`].
    pub fn add_file(&mut self, table: Table, path: &Path, run: &Run) -> Result<u64> {
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
        reader.warn_of_unfound(path);
        self.add(path, rows)
    }

    /// Adds the lines of `text`, which has the shape of such a file.
    ///
    /// # Errors
    /// Those of [`Filling::add_file`].
    pub fn add_lines(&mut self, table: Table, text: &str, run: &Run) -> Result<u64> {
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
    /// Gives the number of rows left out.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] for more than `dataset.max_bad_lines` bad rows in all, and where all are bad or about
    /// unknown items.
    pub fn add_rows(&mut self, source: &str, rows: Vec<(u64, std::result::Result<Row, String>)>) -> Result<u64> {
        let rows = rows.into_iter().map(|(number, row)| (number, row.map(Some))).collect();
        self.add(Path::new(source), rows)
    }

    fn reader(&self, table: Table, path: &Path, first: &str) -> Result<Reader> {
        let format = self.config.format;
        match table {
            Table::Items => Reader::of_items(&self.config, path, first),
            Table::Interactions => Reader::of_interactions(format, path, first),
            Table::Reviews => Reader::of_reviews(format, path, first),
        }
    }

    /// Whether `row` would be left out; `None` for a line that is no row, a header say.
    fn is_lost(&self, row: &Parsed<Option<Row>>, keep_unknown: bool) -> Option<bool> {
        let unknown = |id: &str| !keep_unknown && self.dataset.items.find(id).is_none();
        Some(match row.as_ref() {
            Err(_) => true,
            Ok(None) => return None,
            Ok(Some(Row::Item(_))) => false,
            Ok(Some(Row::Review(review))) => unknown(&review.item),
            Ok(Some(Row::Interaction(interaction))) => unknown(&interaction.item),
        })
    }

    fn add(&mut self, source: &Path, rows: Vec<(u64, Parsed<Option<Row>>)>) -> Result<u64> {
        let mut import = Import {
            config: &self.config,
            dataset: Dataset::default(),
            keep_unknown: !self.items_given || self.config.unknown_items == UnknownItems::Keep,
            report: self.report.clone(),
        };
        let (dropped_before, bad_before) = (self.report.dropped(), self.report.bad_lines);
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
        let mut lost = rows.iter().filter_map(|(_, row)| self.is_lost(row, import.keep_unknown)).peekable();
        if lost.peek().is_some() && lost.all(|lost| lost) {
            return Err(nothing_left(source, &rows));
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
        result?;
        if let Some((number, cause)) = rows.iter().find_map(|(number, row)| Some((*number, row.as_ref().err()?))) {
            let (bad, first) = (self.report.bad_lines - bad_before, Error::format(source, number, cause));
            log(Level::Warn, &format!("{}: {bad} bad lines passed over; the first: {first}", source.display()));
        }
        Ok(self.report.dropped() - dropped_before)
    }
}

/// What is said where every row is bad or about an unknown item.
fn nothing_left(source: &Path, rows: &[(u64, Parsed<Option<Row>>)]) -> Error {
    let bad = rows.iter().filter(|(_, row)| row.is_err()).count();
    let first = rows.iter().find_map(|(number, row)| match row {
        Err(cause) => Some(format!("the first bad one, {number}: {cause}")),
        Ok(Some(Row::Review(Review { item, .. }) | Row::Interaction(Interaction { item, .. }))) => {
            Some(format!("row {number} is about {item:?}, which is not among the items"))
        }
        Ok(Some(Row::Item(_)) | None) => None,
    });
    let unknown = rows.iter().filter(|(_, row)| matches!(row, Ok(Some(_)))).count();
    Error::new(
        crate::ErrorKind::Format,
        format!(
            "{}: none of {} rows can be kept: {bad} are bad, {unknown} about unknown items; nothing was changed. {}. Mend the \
             rows, add the items first, or set dataset.unknown_items = keep",
            source.display(),
            bad + unknown,
            first.unwrap_or_default(),
        ),
    )
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

    /// A misspelt column, NaN in every row, ids of another catalogue: all was passed over, and the call said nothing.
    #[test]
    fn rows_that_are_all_bad_or_about_unknown_items_were_added_without_a_word() {
        let run = Run::new(1).unwrap();
        let mut filling = Filling::new(&DatasetConfig::default());
        for lines in ["{\"itm\": \"a\"}", "{\"itm\": \"a\"}\nx\n"] {
            let e = filling.add_lines(Table::Items, lines, &run).unwrap_err();
            assert!(e.kind() == crate::ErrorKind::Format && e.message().contains("none of"), "{e}");
        }
        assert_eq!(filling.add_lines(Table::Items, "\n", &run).unwrap(), 0);
        // `a` stands twice.
        assert_eq!(filling.add_lines(Table::Items, ITEMS, &run).unwrap(), 1);
        assert_eq!(filling.add_lines(Table::Items, ITEMS, &run).unwrap(), 3);
        let before = (filling.dataset().fingerprint(), filling.report());
        let unknown = "{\"item\": \"z\", \"user\": \"u\", \"text\": \"a long and honest review of it\"}\n";
        let e = filling.add_lines(Table::Reviews, &unknown.repeat(2), &run).unwrap_err();
        assert!(e.message().contains("row 1 is about \"z\"") && e.message().contains("2 about unknown items"), "{e}");
        let nan = vec![(1, Err("no item id".to_string())), (2, Err("no item id".to_string()))];
        let e = filling.add_rows("Arrow array", nan).unwrap_err();
        assert!(e.message().contains("Arrow array") && e.message().contains("no item id"), "{e}");
        assert_eq!((filling.dataset().fingerprint(), filling.report()), before);
        // One that is good carries the others, which are counted.
        let known = unknown.replace("\"z\"", "\"a\"");
        assert_eq!(filling.add_lines(Table::Reviews, &format!("{unknown}{known}x\n"), &run).unwrap(), 2);
    }

    #[test]
    fn without_items_reviews_make_bare_ones() {
        let run = Run::new(1).unwrap();
        let mut filling = Filling::new(&DatasetConfig::default());
        filling.add_lines(Table::Reviews, REVIEWS, &run).unwrap();
        assert_eq!((filling.dataset().items.len(), filling.report().bare_items), (2, 2));
    }
}
