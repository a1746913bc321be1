//! Stage 4, synthesize: seeds to training pairs, through a built-in teacher or the host's own.

use super::config::{causerie_config, config_of};
use super::dataset::causerie_dataset;
use super::embeddings::Scratch;
use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, exclusive, free, noun, put, shared};
use super::run::{causerie_run, run_of};
use super::selection::causerie_selection;
use super::teacher::{Host, causerie_teacher_fn};
use super::text::{LentTexts, c_json, c_text, name, optional_path, path, text};
use super::version::UserData;
use crate::artifact;
use crate::dataset::{Dialogue, DialogueLines};
use crate::error::{Error, Result};
use crate::synthesize::{Dialogues, export_requests, import_answers, synthesize, synthesize_with};
use std::ffi::{CString, c_char, c_void};

/// Stage 4, synthesize: training pairs (a query, its ranked items).
pub struct causerie_dialogues {
    _opaque: [u8; 0],
}
noun!(causerie_dialogues, Pairs);

pub(super) struct Pairs {
    pub rows: Vec<Dialogue>,
    report: CString,
    lent: LentTexts,
}

impl Pairs {
    fn made(made: Dialogues) -> Result<Pairs> {
        Ok(Pairs { report: c_json(&made.report)?, rows: made.rows, lent: LentTexts::default() })
    }
    fn read(lines: DialogueLines) -> Result<Pairs> {
        let report = match lines.bad_lines {
            0 => c_text("{}"),
            bad_lines => c_json(&serde_json::json!({ "bad_lines": bad_lines }))?,
        };
        Ok(Pairs { rows: lines.rows, report, lent: LentTexts::default() })
    }
}

/// Makes dialogues of the selected reviews (paper §3.3, Algorithm 2) with the teacher of the settings (synthesize.teacher:
/// "offline" is built in, "http" an endpoint, "local" a GGUF). `round` stands in each dialogue and is part of what it is
/// drawn by. `journal` is a file that keeps every request and answer: a second call asks only what is not in it. NULL or ""
/// keeps nothing. CAUSERIE_TEACHER when the teacher cannot be reached or no dialogue came out.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_synthesize(
    dataset: *const causerie_dataset,
    selection: *const causerie_selection,
    config: *const causerie_config,
    round: u64,
    journal: *const c_char,
    run: *const causerie_run,
    out: *mut *mut causerie_dialogues,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (data, picks, config) = unsafe { (shared(dataset)?, shared(selection)?, config_of(config)?) };
        // SAFETY: rules 2 to 4 of the header.
        let (journal, out) = unsafe { (optional_path(journal, "synthesize")?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        let scratch = Scratch::new()?;
        let own = scratch.path().join("journal.jsonl");
        let (dataset, journal) = (data.filling.dataset(), journal.unwrap_or(&own));
        let made = synthesize(dataset, &picks.selection, &config.synthesize, round, &run, journal)?;
        out.set(Pairs::made(made.held_against(&config.tune))?);
        Ok(())
    })
}

/// causerie_synthesize with your own teacher: `callback` answers each request. `teacher` names it in every dialogue and in
/// the journal: answers of two names never mix.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_synthesize_with(
    dataset: *const causerie_dataset,
    selection: *const causerie_selection,
    teacher: *const c_char,
    callback: causerie_teacher_fn,
    user_data: *mut c_void,
    config: *const causerie_config,
    round: u64,
    journal: *const c_char,
    run: *const causerie_run,
    out: *mut *mut causerie_dialogues,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (data, picks, config) = unsafe { (shared(dataset)?, shared(selection)?, config_of(config)?) };
        // SAFETY: rules 2 to 4 of the header.
        let (teacher, journal) = unsafe { (name(teacher, "teacher")?, optional_path(journal, "synthesize")?) };
        // SAFETY: as above.
        let (run, out) = unsafe { (run_of(run, config.run.threads)?, Out::new(out)?) };
        let callback =
            callback.ok_or_else(|| Error::invalid("synthesize: NULL where the teacher's callback is needed"))?;
        if teacher.is_empty() {
            return Err(Error::invalid("synthesize: the teacher needs a name"));
        }
        let host = Host {
            name: format!("callback/{teacher}"),
            in_flight: config.synthesize.in_flight,
            callback,
            data: UserData(user_data),
        };
        let scratch = Scratch::new()?;
        let own = scratch.path().join("journal.jsonl");
        let (dataset, journal) = (data.filling.dataset(), journal.unwrap_or(&own));
        let made = synthesize_with(dataset, &picks.selection, &host, &config.synthesize, round, &run, journal)?;
        out.set(Pairs::made(made.held_against(&config.tune))?);
        Ok(())
    })
}

/// For a batch endpoint, whose tokens are cheaper: writes every request of causerie_synthesize that can be made now and is
/// not answered in `journal` to `file`, JSON lines of OpenAI's batch format; nothing is sent. Queries come first; after their
/// answers (causerie_synthesize_import) export again for the lists, then causerie_synthesize on the same journal makes the
/// dialogues. Writes the numbers of requests written, and of those answered already, to `requests` and `answered` (may be
/// NULL). CAUSERIE_INVALID unless synthesize.teacher is "http".
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_synthesize_export(
    dataset: *const causerie_dataset,
    selection: *const causerie_selection,
    config: *const causerie_config,
    journal: *const c_char,
    file: *const c_char,
    run: *const causerie_run,
    requests: *mut u64,
    answered: *mut u64,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (data, picks, config) = unsafe { (shared(dataset)?, shared(selection)?, config_of(config)?) };
        // SAFETY: rules 2 to 4 of the header.
        let (journal, file) = unsafe { (path(journal, "journal")?, path(file, "requests")?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        let dataset = data.filling.dataset();
        let done = export_requests(dataset, &picks.selection, &config.synthesize, &run, journal, file)?;
        // SAFETY: rule 2 of the header.
        unsafe {
            put(requests, done.requests);
            put(answered, done.answered);
        }
        Ok(())
    })
}

/// Takes a batch endpoint's answers (JSON lines, plain, .gz or .zst) into `journal`. What cannot be used is logged and asked
/// again by the next export. Writes the numbers of answers taken, and of requests still without one, to `taken` and `missing`
/// (may be NULL). CAUSERIE_FORMAT when no line is an answer; CAUSERIE_INVALID when all are another journal's.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_synthesize_import(
    journal: *const c_char,
    answers: *const c_char,
    run: *const causerie_run,
    taken: *mut u64,
    missing: *mut u64,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (journal, answers) = unsafe { (path(journal, "journal")?, path(answers, "answers")?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, 0)? };
        let done = import_answers(journal, answers, &run)?;
        // SAFETY: rule 2 of the header.
        unsafe {
            put(taken, done.taken);
            put(missing, done.missing);
        }
        Ok(())
    })
}

/// How many dialogues there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dialogues_count(dialogues: *const causerie_dialogues) -> usize {
    guard_or(0, || Ok(shared(dialogues)?.rows.len()))
}

/// Dialogue `i` as JSON: {"id", "messages": [{"role", "content"}], "items": [id, …], "seed", "teacher", "round"}. Borrowed
/// from the dialogues; NULL past the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dialogues_get(dialogues: *const causerie_dialogues, i: usize) -> *const c_char {
    guard_or(std::ptr::null(), || {
        let pairs = shared(dialogues)?;
        let Some(row) = pairs.rows.get(i) else { return Ok(std::ptr::null()) };
        Ok(pairs.lent.lend(serde_json::to_vec(row).map_err(|e| Error::bug(e.to_string()))?))
    })
}

/// Requests, tokens, cost, what was dropped and why, as JSON; for dialogues that were loaded "{}", or {"bad_lines": n} where
/// lines were passed over. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dialogues_report(dialogues: *const causerie_dialogues) -> *const c_char {
    guard_or(c"".as_ptr(), || Ok(shared(dialogues)?.report.as_ptr()))
}

/// Appends the dialogues of a later round.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dialogues_add(
    dialogues: *mut causerie_dialogues,
    more: *const causerie_dialogues,
) -> *mut causerie_error {
    guard(|| {
        if std::ptr::eq(dialogues, more) {
            return Err(Error::invalid("dialogues: these are the same dialogues"));
        }
        let (mut pairs, more) = (exclusive(dialogues)?, shared(more)?);
        pairs.rows.extend(more.rows.iter().cloned());
        Ok(())
    })
}

/// Writes JSON lines in chat format, all or nothing.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dialogues_save(
    dialogues: *const causerie_dialogues,
    file: *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (pairs, file) = unsafe { (shared(dialogues)?, path(file, "dialogues")?) };
        artifact::write_jsonl(file, &pairs.rows)
    })
}

/// Reads what causerie_dialogues_save (or a work directory's dialogues.jsonl) holds. A line that is no dialogue is passed
/// over, logged and counted in `dropped` (may be NULL); CAUSERIE_FORMAT when none is one.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dialogues_load(
    file: *const c_char,
    out: *mut *mut causerie_dialogues,
    dropped: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (file, out) = unsafe { (path(file, "dialogues")?, Out::new(out)?) };
        let lines = DialogueLines::load(file)?;
        let bad = lines.bad_lines as usize;
        out.set(Pairs::read(lines)?);
        // SAFETY: rule 2 of the header.
        unsafe { put(dropped, bad) };
        Ok(())
    })
}

/// The same from `len` bytes of JSON lines in memory.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dialogues_parse(
    jsonl: *const c_char,
    len: usize,
    out: *mut *mut causerie_dialogues,
    dropped: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (jsonl, out) = unsafe { (text(jsonl, len, "dialogues")?, Out::new(out)?) };
        let name = std::path::Path::new("dialogues in memory");
        let lines = DialogueLines::read(jsonl.as_bytes(), name)?;
        let bad = lines.bad_lines as usize;
        out.set(Pairs::read(lines)?);
        // SAFETY: rule 2 of the header.
        unsafe { put(dropped, bad) };
        Ok(())
    })
}

/// Ends dialogues; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_dialogues_free(dialogues: *mut causerie_dialogues) {
    free(dialogues)
}
