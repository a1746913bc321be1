//! Generation elsewhere: the requests as the JSON lines of OpenAI's batch endpoint, and their answers back into the journal.
//!
//! Requests come in two waves (queries, then lists for them; with `synthesize.judge = teacher` a third, judgements), so:
//! export, have them answered, import; export the rest, import; then `synthesize` finds every answer in the journal and asks nobody. Ids are the journal's content hashes. The
//! same lines are read by `vllm run-batch`, Ray Data's batch jobs and every service that copies OpenAI's format. No key is
//! ever part of them.

use super::absent::AbsentTeacher;
use super::ask::RequestSource;
use super::completion::Completion;
use super::fields::Fields;
use super::filter::Filters;
use super::journal::{Import, Journal};
use super::judge::Judging;
use super::plan::Plan;
use super::prompts::Prompts;
use super::report::SynthesisReport;
use super::talk::talk_of;
use super::teacher::{Answer, Teacher};
use crate::artifact;
use crate::config::{Judge, SynthesizeConfig, TeacherKind};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::run::{Level, Run, log};
use crate::select::Selection;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Lines of an answers file that are told one by one.
const TOLD: u64 = 5;

/// What [`export_requests`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ExportReport {
    /// Requests written.
    pub requests: u64,
    /// Requests whose answers the journal holds.
    pub answered: u64,
    /// Requests in all, as far as known: lists can only be asked for once their queries are there.
    pub total: u64,
}

impl std::fmt::Display for ExportReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} requests, {} of about {} are answered", self.requests, self.answered, self.total)
    }
}

/// Writes every request that can be made now and is not answered in `journal` to `out`: one JSON line each,
/// `{"custom_id", "method": "POST", "url": "/v1/chat/completions", "body"}`. The journal notes them.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when `synthesize.teacher` is not `http`, or rows are no reviews; those of the prompts and
/// of the journal.
pub fn export_requests(
    dataset: &Dataset,
    selection: &Selection,
    config: &SynthesizeConfig,
    run: &Run,
    journal: &Path,
    out: &Path,
) -> Result<ExportReport> {
    if config.teacher != TeacherKind::Http {
        let why = "batches are for synthesize.teacher = \"http\" (with synthesize.model; no address is needed)";
        return Err(Error::invalid(format!("synthesize: {why}; it is {:?}", config.teacher)));
    }
    let teacher = AbsentTeacher::new(config)?;
    let prompts = Prompts::load(config)?;
    let talk = talk_of(config, &prompts)?;
    let mut journal = Journal::open(journal)?;
    let mut plan = Plan::new(dataset, selection, config, &prompts, talk.as_ref(), &teacher, run)?;
    let fields = Fields::of_batch(config);
    let mut exported = ExportReport::default();
    let mut seen = HashSet::new();
    artifact::write_atomic(out, |lines| {
        let mut write = |work: &mut dyn RequestSource, exported: &mut ExportReport| -> Result<()> {
            exported.total += work.total();
            while let Some((place, request)) = work.next() {
                run.step("export", "requests", exported.requests + exported.answered, exported.total)?;
                if let Some(answer) = journal.answer(&request.id) {
                    exported.answered += 1;
                    work.done(place, Ok(answer));
                    continue;
                }
                // Two places may share one request.
                if !seen.insert(request.id.clone()) {
                    continue;
                }
                journal.note(&request, &teacher.name())?;
                let line = json!({
                    "custom_id": request.id,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": fields.body(&config.model, &request),
                });
                writeln!(lines, "{line}").map_err(|e| Error::io(out, e))?;
                exported.requests += 1;
            }
            Ok(())
        };
        write(&mut plan, &mut exported)?;
        // Judgements are of dialogues that are whole.
        if config.judge == Judge::Teacher && exported.requests == 0 {
            let made = plan.dialogues(0, &mut SynthesisReport::default(), run)?;
            let rows = Filters::new(dataset, config, teacher.quotes())?.keep(made, &mut BTreeMap::new(), run)?;
            write(&mut Judging::new(dataset, &rows, config, &prompts, &teacher), &mut exported)?;
        }
        Ok(())
    })?;
    journal.sync()?;
    Ok(exported)
}

/// What [`import_answers`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ImportReport {
    /// Lines of the file.
    pub lines: u64,
    /// Answers taken into the journal.
    pub taken: u64,
    /// Answers to requests that were answered before, in this file or earlier: the first one stays.
    pub duplicate: u64,
    /// Answers to requests that this journal does not know.
    pub foreign: u64,
    /// Lines that are not of the format.
    pub malformed: u64,
    /// Requests that the endpoint failed, or whose answer cannot be used (half, empty, held back).
    pub failed: u64,
    /// Requests that the journal knows and that are not answered now.
    pub missing: u64,
}

impl std::fmt::Display for ImportReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} answers taken", self.taken, self.lines)?;
        for (count, what) in [
            (self.duplicate, "were there already"),
            (self.foreign, "foreign to this journal"),
            (self.malformed, "malformed"),
            (self.failed, "failed or not usable"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write!(f, "; {} requests are not answered", self.missing)
    }
}

/// Takes the answers of a batch endpoint at `answers` (JSON lines, `{"custom_id", "response": {"status_code", "body"},
/// "error"}`, plain or packed) into `journal`. What cannot be taken is counted and the first such lines are logged.
///
/// # Errors
/// [`crate::ErrorKind::Format`] when no line is of the format; [`crate::ErrorKind::Invalid`] when all answers are foreign;
/// those of the journal.
pub fn import_answers(journal: &Path, answers: &Path, run: &Run) -> Result<ImportReport> {
    let mut journal = Journal::open_there(journal)?;
    let mut imported = ImportReport::default();
    let mut told = 0;
    let mut tell = |line: u64, why: &str| {
        told += 1;
        if told <= TOLD {
            log(Level::Warn, &format!("{}:{line}: {why}", answers.display()));
        }
    };
    artifact::for_each_line(answers, |line, text| {
        imported.lines += 1;
        run.step("import", "answers", imported.lines, 0)?;
        let (id, outcome) = match line_of(text) {
            Ok(read) => read,
            Err(why) => {
                imported.malformed += 1;
                tell(line, &why);
                return Ok(());
            }
        };
        if !journal.knows(&id) {
            imported.foreign += 1;
            tell(line, &format!("request {id} is not of this journal (other settings, prompts or model?)"));
            return Ok(());
        }
        let answer = match outcome {
            Ok(answer) => answer,
            Err(why) => {
                imported.failed += 1;
                tell(line, &format!("request {id}: {why}"));
                return Ok(());
            }
        };
        match journal.take(&id, answer)? {
            Import::New => imported.taken += 1,
            Import::Same => imported.duplicate += 1,
            Import::Other => {
                imported.duplicate += 1;
                tell(line, &format!("request {id} has another answer already, which stays"));
            }
        }
        Ok(())
    })?;
    journal.sync()?;
    imported.missing = journal.unanswered();
    if imported.lines > 0 && imported.malformed == imported.lines {
        let cause = "no line of it is an answer of a batch endpoint ({\"custom_id\", \"response\": {\"body\"}})";
        return Err(Error::format(answers, 0, cause));
    }
    if imported.lines > 0 && imported.foreign + imported.malformed == imported.lines {
        return Err(Error::invalid(format!(
            "{}: none of {} answers belongs to this journal; export with the same settings, or name the journal of the export",
            answers.display(),
            imported.lines
        )));
    }
    Ok(imported)
}

/// The id and the answer of a line; why it brings none; or why it is no line of the format.
fn line_of(text: &str) -> std::result::Result<(String, std::result::Result<Answer, String>), String> {
    let line: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let id = line.get("custom_id").and_then(Value::as_str).ok_or("no custom_id")?.to_string();
    let short = |value: &Value| super::prompts::defuse(&value.to_string(), 200);
    if let Some(error) = line.get("error").filter(|e| !e.is_null()) {
        return Ok((id, Err(format!("the endpoint failed it: {}", short(error)))));
    }
    let response = line.get("response").filter(|r| r.is_object()).ok_or("neither response nor error")?;
    let status = response.get("status_code").and_then(Value::as_u64).unwrap_or(200);
    let body = response.get("body").ok_or("a response without body")?;
    if !(200..300).contains(&status) {
        return Ok((id, Err(format!("status {status}: {}", short(body)))));
    }
    // Some services pass the body on as text.
    let completion = match body {
        Value::String(text) => Completion::parse(text).map_err(|why| format!("a response whose body {why}"))?,
        body => Completion::of(body),
    };
    if let Some(error) = completion.error() {
        return Ok((id, Err(format!("the endpoint failed it: {}", short(error)))));
    }
    Ok((id, completion.answer(0).map_err(|why| why.to_string())))
}
