//! Evaluation, and the whole loop in one call.

use super::config::{causerie_config, config_of};
use super::embeddings::Scratch;
use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, free, noun, put, shared};
use super::recommender::causerie_recommender;
use super::run::{causerie_run, run_of};
use super::text::{LentTexts, c_json, name, path, slice, text};
use crate::artifact;
use crate::dataset::{Conversation, load_conversations, parse_conversations};
use crate::error::{Error, Result};
use crate::evaluate::{CUTOFFS, Metric, ReportData, evaluate, write_report};
use crate::pipeline::pipeline;
use crate::recommend::Recommender;
use std::ffi::{CString, c_char};
use std::path::Path;

/// What came of an evaluation, or of the whole loop.
pub struct causerie_report {
    _opaque: [u8; 0],
}
noun!(causerie_report, Report);

pub(super) struct Report {
    data: ReportData,
    json: CString,
    lent: LentTexts,
}

impl Report {
    fn new(data: ReportData) -> Result<Report> {
        Ok(Report { json: c_json(&data)?, data, lent: LentTexts::default() })
    }
}

/// ---- 7 evaluate -------------------------------------------------------------------------------------------------
/// Scores `count` recommenders of one catalogue on the same held-out conversations (paper §4.2.1): Recall, NDCG, MRR with
/// standard errors, four variants, paired tests. `conversations` is `len` bytes of JSON lines, {"turns": [{"role", "text"}],
/// "targets": [{"title", "year", "item"}], "seen": […]}; with none, the files of evaluate.conversations are read.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_evaluate(
    recommenders: *const *const causerie_recommender,
    count: usize,
    conversations: *const c_char,
    len: usize,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_report,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (handles, lines) =
            unsafe { (slice(recommenders, count, "evaluate")?, text(conversations, len, "conversations")?) };
        // SAFETY: as above.
        let (config, out) = unsafe { (config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        let systems = handles.iter().map(|h| Ok(shared(*h)?.now())).collect::<Result<Vec<_>>>()?;
        let Some(first) = systems.first() else { return Err(Error::invalid("evaluate: no recommender is given")) };
        let ids = |i: usize| systems[i].service.items().len();
        if let Some(other) = (0..systems.len()).find(|i| ids(*i) != first.service.items().len()) {
            let (a, b) = (first.service.items().len(), ids(other));
            return Err(Error::invalid(format!("evaluate: recommender 0 ranks {a} items, recommender {other} {b}")));
        }
        let sets: Vec<(String, Vec<Conversation>)> = match lines {
            "" => config
                .evaluate
                .conversations
                .iter()
                .map(|file| {
                    let stem =
                        Path::new(file).file_stem().map_or_else(|| file.clone(), |s| s.to_string_lossy().into_owned());
                    Ok((stem, load_conversations(Path::new(file), config.dataset.max_bad_lines)?))
                })
                .collect::<Result<_>>()?,
            lines => vec![(
                "conversations".to_string(),
                parse_conversations(lines, "conversations in memory", config.dataset.max_bad_lines)?,
            )],
        };
        if sets.is_empty() {
            return Err(Error::invalid("evaluate: no conversations; give them, or set evaluate.conversations"));
        }
        // Two of one name are told apart by their place.
        let labels: Vec<String> = systems
            .iter()
            .enumerate()
            .map(|(i, s)| {
                let name = s.service.recommender().name();
                match systems.iter().filter(|other| other.service.recommender().name() == name).count() {
                    1 => name,
                    _ => format!("{name} {}", i + 1),
                }
            })
            .collect();
        let pairs: Vec<(&str, &dyn Recommender)> =
            labels.iter().map(String::as_str).zip(systems.iter().map(|s| s.service.recommender())).collect();
        let mut data = ReportData { title: "Evaluation".into(), settings: config.to_toml(), ..ReportData::default() };
        data.versions = vec![("causerie".into(), env!("CARGO_PKG_VERSION").into())];
        for (name, set) in &sets {
            data.evaluations.push(evaluate(
                name,
                &pairs,
                set,
                first.service.items(),
                first.service.titles(),
                &config.evaluate,
                &run,
            )?);
        }
        out.set(Report::new(data)?);
        Ok(())
    })
}

/// All stages in rounds (paper §3.1, Algorithm 1) by the settings; each leaves its artifact in `work_dir`, and a second call
/// goes on after the last finished one. `restart` other than 0: what was made with other settings is made again instead of
/// being refused (the teacher's journal is kept). Ends with report.json and report.html in `work_dir`; open the result with
/// causerie_recommender_open. `out` may be NULL.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_pipeline(
    config: *const causerie_config,
    work_dir: *const c_char,
    restart: i32,
    run: *const causerie_run,
    out: *mut *mut causerie_report,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (config, dir) = unsafe { (config_of(config)?, path(work_dir, "work_dir")?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        let data = pipeline(&config, dir, restart != 0, &run)?;
        if !out.is_null() {
            // SAFETY: rule 2 of the header; not NULL.
            unsafe { Out::new(out)? }.set(Report::new(data)?);
        }
        Ok(())
    })
}

/// The report as JSON: {"title", "stages", "curves", "evaluations": [{"name", "n", "systems": […], …}], …}. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_report_json(report: *const causerie_report) -> *const c_char {
    guard_or(c"".as_ptr(), || Ok(shared(report)?.json.as_ptr()))
}

/// The report as one self-contained HTML page: it loads nothing. Borrowed.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_report_html(
    report: *const causerie_report,
    out: *mut *const c_char,
) -> *mut causerie_error {
    guard(|| {
        let told = shared(report)?;
        let scratch = Scratch::new()?;
        write_report(scratch.path(), &told.data)?;
        let page = artifact::read_text(&scratch.path().join("report.html"))?;
        // SAFETY: rule 2 of the header.
        unsafe { put(out, told.lent.lend(page)) };
        Ok(())
    })
}

/// Writes report.json and report.html into `folder`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_report_save(
    report: *const causerie_report,
    folder: *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (told, folder) = unsafe { (shared(report)?, path(folder, "folder")?) };
        write_report(folder, &told.data)
    })
}

/// One number of recommender `system` (from 0) on the first set of conversations, items already mentioned removed: `metric` is
/// "recall@K", "ndcg@K" or "mrr@K", K one of 1, 5, 10, 20. `mean` and its standard error `se`, 0 to 1, may be NULL.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_report_metric(
    report: *const causerie_report,
    system: usize,
    metric: *const c_char,
    mean: *mut f64,
    se: *mut f64,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (told, asked) = unsafe { (shared(report)?, name(metric, "metric")?) };
        let unknown =
            || Error::invalid(format!("report: no metric {asked}; recall@K, ndcg@K, mrr@K with K of {CUTOFFS:?}"));
        let (kind, cutoff) = asked.split_once('@').ok_or_else(unknown)?;
        let kind = match kind {
            "recall" => Metric::Recall,
            "ndcg" => Metric::Ndcg,
            "mrr" => Metric::Mrr,
            _ => return Err(unknown()),
        };
        let place = CUTOFFS.iter().position(|c| c.to_string() == cutoff).ok_or_else(unknown)?;
        let systems = told.data.evaluations.first().map(|e| e.systems.as_slice()).unwrap_or_default();
        let found = systems
            .get(system)
            .ok_or_else(|| Error::not_found(format!("report: no recommender {system}; there are {}", systems.len())))?;
        let estimate = found.seen_removed.get(kind, place);
        // SAFETY: rule 2 of the header.
        unsafe {
            put(mean, estimate.mean);
            put(se, estimate.se);
        }
        Ok(())
    })
}

/// Ends a report; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_report_free(report: *mut causerie_report) {
    free(report)
}
