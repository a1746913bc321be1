//! Stage 3, select: seed rows, most informative first.

use super::config::{causerie_config, config_of};
use super::dataset::causerie_dataset;
use super::embeddings::{Rows, causerie_embeddings};
use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, free, noun, optional, put, shared};
use super::run::{causerie_run, run_of};
use super::text::{c_json, c_text, optional_path, path, slice};
use crate::config::{Config, Features};
use crate::dataset::Dataset;
use crate::embed;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;
use crate::select::partition::{self, MergedPicks, Part};
use crate::select::{self, Selection, Terms, centers, checkpoint};
use std::ffi::{CString, c_char};

/// Stage 3, select: seed rows, most informative first.
pub struct causerie_selection {
    _opaque: [u8; 0],
}
noun!(causerie_selection, Picks);

pub(super) struct Picks {
    pub selection: Selection,
    rows: Vec<u64>,
    gains: Vec<f64>,
    report: CString,
}

impl Picks {
    fn new(selection: Selection, report: CString) -> Picks {
        let gains = selection.picks.iter().map(|p| p.gain).collect();
        Picks { rows: selection.rows(), gains, selection, report }
    }
}

/// What a selection is made from, beside the rows.
#[derive(Default)]
struct SelectionInputs {
    /// `[reviews, any]`, for the aware strategies.
    features: Option<Matrix>,
    /// `[reviews]` each, for the caps.
    items: Option<Vec<u32>>,
    users: Option<Vec<u32>>,
}

impl SelectionInputs {
    fn new(dataset: Option<&Dataset>, rows: &Rows, config: &Config, run: &Run) -> Result<SelectionInputs> {
        let strategy = config.select.strategy;
        let aware = strategy.is_aware();
        let capped = config.select.max_per_item > 0 || config.select.max_per_user > 0;
        let Some(dataset) = dataset else {
            return match (aware, capped) {
                (true, _) => {
                    Err(Error::invalid(format!("select: strategy {strategy} needs the dataset beside the embeddings")))
                }
                (false, true) => Err(Error::invalid(
                    "select: select.max_per_item and select.max_per_user need the dataset beside the embeddings",
                )),
                (false, false) => Ok(SelectionInputs::default()),
            };
        };
        if dataset.reviews() != rows.rows().count() {
            return Err(Error::invalid(format!(
                "select: {} rows for {} reviews; embed this dataset again",
                rows.rows().count(),
                dataset.reviews()
            )));
        }
        let features = match strategy.features() {
            Features::None => None,
            Features::Metadata => Some(embed::metadata_rows(dataset, &config.embed, run)?),
            Features::Users => Some(embed::collaborative(dataset, &config.embed, run)?.review_rows(dataset)),
        };
        let (items, users) = match capped {
            true => Some(select::item_and_user_of_reviews(dataset)).unzip(),
            false => (None, None),
        };
        Ok(SelectionInputs { features, items, users })
    }
    fn terms(&self) -> Terms<'_> {
        Terms { items: self.items.as_deref(), users: self.users.as_deref(), ..Terms::default() }
    }
}

/// ---- 3 select ---------------------------------------------------------------------------------------------------
/// Selects select.budget rows by select.strategy (paper §3.2). `dataset` may be NULL for "random", "js" and "fisher" without
/// caps per item and per user. `earlier`: a selection to continue to the larger budget, or NULL; its picks come first. The
/// same arguments give the same picks whatever the threads; ties go to the lowest row. CAUSERIE_MEMORY, before anything is
/// begun, where more memory would be needed than select.max_memory_bytes allows.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_select(
    dataset: *const causerie_dataset,
    embeddings: *const causerie_embeddings,
    earlier: *const causerie_selection,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_selection,
) -> *mut causerie_error {
    // SAFETY: the same rules of the header.
    unsafe { causerie_select_keeping(dataset, embeddings, earlier, std::ptr::null(), config, run, out) }
}

/// causerie_select with its picks so far kept in the file `checkpoint` (NULL or "": none), every select.checkpoint_s seconds
/// and when it is cancelled: the same call goes on from there and ends with the same picks; then the file is removed.
/// CAUSERIE_INVALID for a checkpoint of another selection.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_select_keeping(
    dataset: *const causerie_dataset,
    embeddings: *const causerie_embeddings,
    earlier: *const causerie_selection,
    checkpoint: *const c_char,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_selection,
) -> *mut causerie_error {
    guard(|| {
        let (data, rows, earlier) = (optional(dataset)?, shared(embeddings)?, optional(earlier)?);
        // SAFETY: rules 2 to 4 of the header.
        let (config, out, kept) =
            unsafe { (config_of(config)?, Out::new(out)?, optional_path(checkpoint, "checkpoint")?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        let given = SelectionInputs::new(data.as_ref().map(|d| &**d.filling.dataset()), &rows, &config, &run)?;
        let none = Selection::default();
        let earlier = earlier.as_ref().map_or(&none, |picks| &picks.selection);
        let (x, features, terms) = (rows.rows(), given.features.as_ref(), given.terms());
        let selected = match kept {
            Some(file) => checkpoint::resume(file, earlier, x, features, &terms, &config.select, &run)?,
            None => select::extend(earlier, x, features, &terms, &config.select, &run)?,
        };
        let report = c_json(&selected.record())?;
        out.set(Picks::new(selected.selection, report));
        Ok(())
    })
}

/// Writes the centres of K-means over all rows to `file`, as "js", "metadata_js" and "user_js" make them: for select.centers,
/// here or on other machines.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_select_centers(
    dataset: *const causerie_dataset,
    embeddings: *const causerie_embeddings,
    config: *const causerie_config,
    run: *const causerie_run,
    file: *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (data, rows, config) = unsafe { (optional(dataset)?, shared(embeddings)?, config_of(config)?) };
        // SAFETY: rules 2 to 4 of the header.
        let (run, file) = unsafe { (run_of(run, config.run.threads)?, path(file, "centers")?) };
        let given = SelectionInputs::new(data.as_ref().map(|d| &**d.filling.dataset()), &rows, &config, &run)?;
        let fitted = centers::fit(rows.rows(), given.features.as_ref(), &config.select, &run)?;
        centers::save(&fitted.centers, file)
    })
}

/// A selection that several machines share, the first of three calls: part `part` (from 0) of `parts` selects select.budget
/// of its own rows, and writes its picks to `file`. Every machine has the same embeddings (mapped ones cost no memory) and
/// settings. "js" fits its clusters from all rows in every part, unless select.centers holds them; "metadata_js" and "user_js"
/// need select.centers (causerie_select_centers).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_select_part(
    dataset: *const causerie_dataset,
    embeddings: *const causerie_embeddings,
    part: u64,
    parts: u64,
    config: *const causerie_config,
    run: *const causerie_run,
    file: *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (data, rows, config) = unsafe { (optional(dataset)?, shared(embeddings)?, config_of(config)?) };
        // SAFETY: rules 2 to 4 of the header.
        let (run, file) = unsafe { (run_of(run, config.run.threads)?, path(file, "part")?) };
        let given = SelectionInputs::new(data.as_ref().map(|d| &**d.filling.dataset()), &rows, &config, &run)?;
        let (features, terms) = (given.features.as_ref(), given.terms());
        partition::select_part((part, parts), rows.rows(), features, &terms, &config.select, &run)?.save(file)
    })
}

/// The second call: lays the picks of all parts, `count` files of causerie_select_part, together in the file `merged`.
/// CAUSERIE_INVALID for parts of different selections or on different centres, and where one is missing or there twice.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_select_merge(
    files: *const *const c_char,
    count: usize,
    merged: *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 4 of the header.
        let (files, merged) = unsafe { (slice(files, count, "files")?, path(merged, "merged")?) };
        // SAFETY: as above, for each of them.
        let part = |file: &*const c_char| Part::load(unsafe { path(*file, "part")? });
        let parts = files.iter().map(part).collect::<Result<Vec<_>>>()?;
        partition::merge(&parts)?.save(merged)
    })
}

/// The third call: selects from what causerie_select_merge wrote to `merged`; "fisher" certifies it over all rows. Dataset,
/// embeddings and settings as of causerie_select_part, else CAUSERIE_INVALID. select.compare_whole says whether the report is to
/// tell what the parts lost against the selection from all rows.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_select_finalise(
    dataset: *const causerie_dataset,
    embeddings: *const causerie_embeddings,
    merged: *const c_char,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_selection,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (data, rows, config) = unsafe { (optional(dataset)?, shared(embeddings)?, config_of(config)?) };
        // SAFETY: rules 2 to 4 of the header.
        let (run, merged, out) = unsafe { (run_of(run, config.run.threads)?, path(merged, "merged")?, Out::new(out)?) };
        let given = SelectionInputs::new(data.as_ref().map(|d| &**d.filling.dataset()), &rows, &config, &run)?;
        let (features, terms) = (given.features.as_ref(), given.terms());
        let merged = MergedPicks::load(merged)?;
        let selected = partition::finalise(&merged, rows.rows(), features, &terms, &config.select, &run)?;
        let report = c_json(&selected.record())?;
        out.set(Picks::new(selected.selection, report));
        Ok(())
    })
}

/// The selected rows, most informative first: [count]. Borrowed from the selection. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_selection_rows(
    selection: *const causerie_selection,
    count: *mut usize,
) -> *const u64 {
    guard_or(std::ptr::null(), || {
        let picks = shared(selection)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(count, picks.rows.len()) };
        Ok(picks.rows.as_ptr())
    })
}

/// What each pick added: [count], nats (0 for "random"). Borrowed from the selection. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_selection_gains(
    selection: *const causerie_selection,
    count: *mut usize,
) -> *const f64 {
    guard_or(std::ptr::null(), || {
        let picks = shared(selection)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(count, picks.gains.len()) };
        Ok(picks.gains.as_ptr())
    })
}

/// Objective, certificate, settings, and as "cost" the time and memory it took, as JSON; "{}" for a selection that was loaded.
/// Borrowed from the selection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_selection_report(selection: *const causerie_selection) -> *const c_char {
    guard_or(c"".as_ptr(), || Ok(shared(selection)?.report.as_ptr()))
}

/// Writes `selection.jsonl`: {"rank", "row", "gain"} a line.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_selection_save(
    selection: *const causerie_selection,
    file: *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (picks, file) = unsafe { (shared(selection)?, path(file, "selection")?) };
        picks.selection.save(file)
    })
}

/// Reads what causerie_selection_save wrote.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_selection_load(
    file: *const c_char,
    out: *mut *mut causerie_selection,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (file, out) = unsafe { (path(file, "selection")?, Out::new(out)?) };
        out.set(Picks::new(Selection::load(file)?, c_text("{}")));
        Ok(())
    })
}

/// Ends a selection; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_selection_free(selection: *mut causerie_selection) {
    free(selection)
}
