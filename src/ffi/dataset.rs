//! Stage 1, load: items, reviews, interactions from files, from memory, from Arrow.

use super::arrow::{ArrowArray, ArrowArrayStream, ArrowSchema, read};
use super::config::{causerie_config, config_of};
use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, exclusive, free, noun, put, shared};
use super::run::{causerie_run, run_of};
use super::text::{LentTexts, path, text};
use crate::dataset::{Dataset, Filling, Table, import, simulate_to};
use crate::error::{Error, Result};
use std::ffi::c_char;

/// Stage 1, load: items, reviews, interactions.
pub struct causerie_dataset {
    _opaque: [u8; 0],
}
noun!(causerie_dataset, Data);

pub(super) struct Data {
    pub filling: Filling,
    /// `run.threads` of the settings that it was made with.
    pub threads: usize,
    lent: LentTexts,
}

/// The catalogue.
pub const CAUSERIE_ITEMS: i32 = 0;
/// Reviews of its items.
pub const CAUSERIE_REVIEWS: i32 = 1;
/// Interactions with its items.
pub const CAUSERIE_INTERACTIONS: i32 = 2;

fn table_of(number: i32) -> Result<Table> {
    match number {
        CAUSERIE_ITEMS => Ok(Table::Items),
        CAUSERIE_REVIEWS => Ok(Table::Reviews),
        CAUSERIE_INTERACTIONS => Ok(Table::Interactions),
        other => {
            Err(Error::invalid(format!("dataset: there is no table {other}; CAUSERIE_ITEMS, _REVIEWS, _INTERACTIONS")))
        }
    }
}

/// ---- 1 load -----------------------------------------------------------------------------------------------------
/// An empty dataset, filled by the settings of `dataset.*` (format, what is kept). Add the items first; where there are
/// none, items are made of the bare ids that reviews and interactions name.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_new(
    config: *const causerie_config,
    out: *mut *mut causerie_dataset,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (config, out) = unsafe { (config_of(config)?, Out::new(out)?) };
        let filling = Filling::new(&config.dataset);
        out.set(Data { filling, threads: config.run.threads, lent: LentTexts::default() });
        Ok(())
    })
}

/// Reads the files that the settings name (dataset.items, .reviews, .interactions; plain, .gz, .zst), in parallel, holding
/// no more than the dataset itself. Writes how many rows were left out to `dropped` (may be NULL); causerie_dataset_report says
/// why. CAUSERIE_NOT_FOUND, CAUSERIE_FORMAT with file and line.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_import(
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_dataset,
    dropped: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (config, out) = unsafe { (config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        let (dataset, report) = import(&config.dataset, &run)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(dropped, report.dropped() as usize) };
        let filling = Filling::imported(&config.dataset, dataset, report);
        out.set(Data { filling, threads: config.run.threads, lent: LentTexts::default() });
        Ok(())
    })
}

impl Data {
    fn of(config: &crate::Config, dataset: Dataset) -> Data {
        Data { filling: Filling::of(&config.dataset, dataset), threads: config.run.threads, lent: LentTexts::default() }
    }
}

/// Adds `len` bytes of JSON lines (or CSV with column names, for interactions) to a table (CAUSERIE_ITEMS, …): what stands
/// in such a file. Adds all of it or, when it fails, nothing. Bad lines up to dataset.max_bad_lines are passed over, and so are
/// repeated items, rows about unknown items (dataset.unknown_items) and short reviews (dataset.min_review_chars): their number
/// is written to `dropped` (may be NULL), and causerie_dataset_report says why. CAUSERIE_FORMAT where nothing is left because
/// rows are bad or about unknown items.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_add(
    dataset: *mut causerie_dataset,
    table: i32,
    lines: *const c_char,
    len: usize,
    dropped: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut data, lines) = unsafe { (exclusive(dataset)?, text(lines, len, "dataset")?) };
        // SAFETY: no run is given.
        let run = unsafe { run_of(std::ptr::null(), data.threads)? };
        let count = data.filling.add_lines(table_of(table)?, lines, &run)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(dropped, count as usize) };
        Ok(())
    })
}

/// Adds a file to a table: plain, .gz or .zst. As causerie_dataset_add.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_add_file(
    dataset: *mut causerie_dataset,
    table: i32,
    file: *const c_char,
    run: *const causerie_run,
    dropped: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut data, file) = unsafe { (exclusive(dataset)?, path(file, "dataset")?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, data.threads)? };
        let count = data.filling.add_file(table_of(table)?, file, &run)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(dropped, count as usize) };
        Ok(())
    })
}

/// Adds an Arrow struct array (a record batch) to a table. Columns by name, in any order, others ignored: items: item (or
/// id), title, year, genres, creators, keywords, description, price, attributes; reviews: item, user, rating10 (or rating, of
/// five), title, text, timestamp_ms, helpful; interactions: user, item, rating10 (or rating), timestamp_ms. Texts are Utf8,
/// LargeUtf8, Utf8View or a dictionary of these; genres, creators and keywords a text or a list of texts; attributes a struct or
/// a map of texts, numbers or lists of texts, or a JSON object as text; numbers any integer, float (f16 too) or decimal; times
/// integers in ms, Arrow timestamps or dates. Both structs are taken: their release callbacks are called before this returns,
/// whatever it returns (unless one of them is NULL or released already). Adds all or nothing; `dropped` as of
/// causerie_dataset_add.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_add_arrow(
    dataset: *mut causerie_dataset,
    table: i32,
    schema: *mut ArrowSchema,
    array: *mut ArrowArray,
    dropped: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rule 2 of the header, and the contract of the Arrow C Data Interface.
        let batch = unsafe { read::Batch::take(schema, array)? };
        let mut data = exclusive(dataset)?;
        let table = table_of(table)?;
        let rows = read::rows(table, &batch, 0, data.filling.bad_lines_left())?;
        let count = data.filling.add_rows("Arrow array", rows)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(dropped, count as usize) };
        Ok(())
    })
}

/// Adds all batches of an Arrow stream to a table, as causerie_dataset_add_arrow. The stream is taken: released before this
/// returns.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_add_arrow_stream(
    dataset: *mut causerie_dataset,
    table: i32,
    stream: *mut ArrowArrayStream,
    run: *const causerie_run,
    dropped: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rule 2 of the header, and the contract of the Arrow C Stream Interface.
        let mut stream = unsafe { read::Stream::take(stream)? };
        let mut data = exclusive(dataset)?;
        // SAFETY: as above.
        let run = unsafe { run_of(run, data.threads)? };
        let table = table_of(table)?;
        let (mut rows, mut left) = (Vec::new(), data.filling.bad_lines_left());
        while let Some(batch) = stream.next()? {
            let some = read::rows(table, &batch, rows.len() as u64, left)?;
            left = left.saturating_sub(some.iter().filter(|(_, row)| row.is_err()).count() as u64);
            rows.extend(some);
            run.step("import", "rows", rows.len() as u64, 0)?;
        }
        let count = data.filling.add_rows("Arrow stream", rows)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(dropped, count as usize) };
        Ok(())
    })
}

/// How many rows a table has; 0 for NULL and for a table that does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_count(dataset: *const causerie_dataset, table: i32) -> usize {
    guard_or(0, || {
        let data = shared(dataset)?;
        let dataset = data.filling.dataset();
        Ok(match table_of(table)? {
            Table::Items => dataset.items.len(),
            Table::Reviews => dataset.reviews(),
            Table::Interactions => dataset.interactions(),
        })
    })
}

/// "Title (1999)" of item `i` (its id where it has no title); NULL past the end. Borrowed from the dataset.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_title(dataset: *const causerie_dataset, i: usize) -> *const c_char {
    guard_or(std::ptr::null(), || {
        let data = shared(dataset)?;
        let items = &data.filling.dataset().items;
        Ok(if i < items.len() { data.lent.lend(items.name(i)) } else { std::ptr::null() })
    })
}

/// What was kept and what was left out, as JSON: {"summary": {"items", "reviews", …}, "bad_lines", "bad_examples",
/// "unknown_reviews", …}. Borrowed from the dataset.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_report(
    dataset: *const causerie_dataset,
    out: *mut *const c_char,
) -> *mut causerie_error {
    guard(|| {
        let data = shared(dataset)?;
        let text = serde_json::to_string(&data.filling.report()).map_err(|e| Error::bug(e.to_string()))?;
        // SAFETY: rule 2 of the header.
        unsafe { put(out, data.lent.lend(text)) };
        Ok(())
    })
}

/// Writes the dataset into `folder`, all or nothing.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_save(
    dataset: *const causerie_dataset,
    folder: *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (data, folder) = unsafe { (shared(dataset)?, path(folder, "dataset")?) };
        data.filling.dataset().save(folder)
    })
}

/// Reads what causerie_dataset_save (or `causerie import --out`) wrote. Lengths, hashes and row numbers are checked.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_load(
    folder: *const c_char,
    config: *const causerie_config,
    out: *mut *mut causerie_dataset,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (folder, config, out) = unsafe { (path(folder, "dataset")?, config_of(config)?, Out::new(out)?) };
        out.set(Data::of(&config, Dataset::load(folder)?));
        Ok(())
    })
}

/// Writes a simulated domain into `folder`: items.jsonl, reviews.jsonl (.gz or .zst by simulate.compress),
/// interactions.csv, conversations.jsonl. The settings of `simulate.*` say how much. To try the rest without data.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_simulate(
    config: *const causerie_config,
    folder: *const c_char,
    run: *const causerie_run,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (config, folder) = unsafe { (config_of(config)?, path(folder, "simulate")?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        simulate_to(folder, &config.simulate, &run).map(drop)
    })
}

/// Ends a dataset; NULL is fine. What was made of it goes on working.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dataset_free(dataset: *mut causerie_dataset) {
    free(dataset)
}
