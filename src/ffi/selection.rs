//! Stage 3, select: seed rows, most informative first.

use super::config::{causerie_config, config_of};
use super::dataset::causerie_dataset;
use super::embeddings::causerie_embeddings;
use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, free, noun, optional, put, shared};
use super::run::{causerie_run, run_of};
use super::text::{c_json, c_text, path};
use crate::config::Config;
use crate::dataset::Dataset;
use crate::embed;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;
use crate::select::{self, Selection, Terms};
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

/// The feature rows that an aware strategy needs, `[reviews, any]`; none for the others.
fn features(dataset: Option<&Dataset>, config: &Config, run: &Run) -> Result<Option<Matrix>> {
    let strategy = &config.select.strategy;
    let aware = strategy.starts_with("metadata_") || strategy.starts_with("user_");
    match dataset {
        _ if !aware => Ok(None),
        None => Err(Error::invalid(format!("select: strategy {strategy} needs the dataset beside the embeddings"))),
        Some(dataset) if strategy.starts_with("metadata_") => {
            embed::metadata_rows(dataset, &config.embed, run).map(Some)
        }
        Some(dataset) => Ok(Some(embed::collaborative(dataset, &config.embed, run)?.review_rows(dataset))),
    }
}

/// ---- 3 select ---------------------------------------------------------------------------------------------------
/// Selects select.budget rows by select.strategy (paper §3.2). `dataset` may be NULL for "random", "js" and "fisher".
/// `earlier`: a selection to continue to the larger budget, or NULL; its picks come first. The same arguments give the same
/// picks whatever the threads; ties go to the lowest row.
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
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (data, rows, earlier) = unsafe { (optional(dataset)?, shared(embeddings)?, optional(earlier)?) };
        // SAFETY: as above.
        let (config, out) = unsafe { (config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        let dataset = data.map(|d| &**d.filling.dataset());
        if let Some(dataset) = dataset.filter(|d| d.reviews() != rows.matrix.rows()) {
            return Err(Error::invalid(format!(
                "select: {} rows for {} reviews; embed this dataset again",
                rows.matrix.rows(),
                dataset.reviews()
            )));
        }
        let features = features(dataset, &config, &run)?;
        let none = Selection::default();
        let earlier = earlier.map_or(&none, |picks| &picks.selection);
        let terms = Terms::default();
        let selected = select::extend(earlier, &rows.matrix, features.as_ref(), &terms, &config.select, &run)?;
        let report = c_json(&selected.report)?;
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
        // SAFETY: rules 2 and 3 of the header.
        let picks = unsafe { shared(selection)? };
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
        // SAFETY: rules 2 and 3 of the header.
        let picks = unsafe { shared(selection)? };
        // SAFETY: rule 2 of the header.
        unsafe { put(count, picks.gains.len()) };
        Ok(picks.gains.as_ptr())
    })
}

/// Objective, certificate and settings as JSON; "{}" for a selection that was loaded. Borrowed from the selection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_selection_report(selection: *const causerie_selection) -> *const c_char {
    guard_or(c"".as_ptr(), || {
        // SAFETY: rules 2 and 3 of the header.
        Ok(unsafe { shared(selection)? }.report.as_ptr())
    })
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
    // SAFETY: rule 2 of the header.
    unsafe { free(selection) }
}
