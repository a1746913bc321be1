//! The journal: append-only JSON lines that hold every request and every answer, so that a run goes on where it stopped.
//!
//! An answer that is here is never asked for again. A request that was under way when the process was killed may have been
//! paid for without its answer being here: it is sent once more, under the same idempotency key, and counted as in doubt.
//!
//! A line is `{"check":"16 hex digits","entry":{…}}`, where `check` is the content hash of the entry's bytes: a line that
//! a kill or a power cut left half written does not pass for a whole one. Entries:
//! `journal` (the first line: format and maker), `request` (written before it is first sent), `sent` (before each
//! attempt), `released` (the attempt cost nothing), `spent` (it cost something and brought nothing), `answer`.
//! Only answers are ever replayed; a failure is never taken for one.
//!
//! Every line is in the operating system's hands before the next step is taken (so kill -9 loses nothing), and is forced
//! to the disk at least once a second of writing and when the journal is closed.

use super::append::Appender;
use super::teacher::{Answer, Request};
use crate::artifact;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Entry {
    Journal {
        format: u64,
        made_by: String,
    },
    Request {
        id: String,
        teacher: String,
        kind: super::teacher::Kind,
        messages: Vec<crate::dataset::Message>,
        temperature: f64,
        max_tokens: usize,
    },
    Sent {
        id: String,
        tokens_at_most: u64,
    },
    Released {
        id: String,
    },
    Spent {
        id: String,
        prompt_tokens: u64,
        completion_tokens: u64,
        why: String,
    },
    Answer {
        id: String,
        #[serde(flatten)]
        answer: Answer,
    },
}

/// What the journal has seen spent, over all runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spending {
    /// Attempts that were sent and not refused at the door: answered, useless, lost, and those still under way.
    pub requests: u64,
    /// Prompt tokens of answers.
    pub prompt_tokens: u64,
    /// Answer tokens of answers.
    pub completion_tokens: u64,
    /// Attempts under way or lost: they may have been paid for.
    pub in_doubt: u64,
    /// Tokens that these may have cost.
    pub reserved: u64,
}

impl Spending {
    /// Tokens spent or possibly spent.
    pub(super) fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens).saturating_add(self.reserved)
    }
}

/// What became of an answer from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Import {
    /// It is in the journal now.
    New,
    /// The journal held the same.
    Same,
    /// The journal held another, which stays.
    Other,
}

/// How often a request was tried.
#[derive(Debug, Clone, Copy, Default)]
struct Attempts {
    sent: u64,
    /// Those whose outcome is known.
    ended: u64,
}

/// An open journal; locked against a second process.
pub(super) struct Journal {
    path: PathBuf,
    lines: Appender<File>,
    answers: HashMap<String, Answer>,
    /// Attempts at requests that are not answered, over all runs.
    attempts: HashMap<String, Attempts>,
    /// Requests whose text is in the journal.
    known: std::collections::HashSet<String>,
    /// Attempts sent whose outcome is not written: id → tokens at most, one entry per attempt.
    open: HashMap<String, Vec<u64>>,
    spent: Spending,
    synced: Instant,
    dirty: bool,
}

const HEAD: &str = "{\"check\":\"";
const MIDDLE: &str = "\",\"entry\":";

fn line_of(entry: &Entry) -> Result<String> {
    let entry = serde_json::to_string(entry).map_err(|e| Error::bug(format!("journal entry: {e}")))?;
    let check = artifact::content_hash([entry.as_bytes()]);
    Ok(format!("{HEAD}{check}{MIDDLE}{entry}}}\n"))
}

/// The entry's JSON of a whole and unharmed line.
fn entry_of(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("}\n")?.strip_prefix(HEAD)?;
    let check = line.get(..16)?;
    let entry = line.get(16..)?.strip_prefix(MIDDLE)?;
    (artifact::content_hash([entry.as_bytes()]) == check).then_some(entry)
}

/// The entry of a whole line that follows half of another one without a line break: a write that failed was once not taken
/// back. Within an entry's JSON the mark cannot stand: its quotes would be escaped.
fn entry_behind_a_torn_one(line: &[u8]) -> Option<&str> {
    let starts = line.windows(HEAD.len()).enumerate().skip(1).filter(|(_, bytes)| *bytes == HEAD.as_bytes());
    starts.filter_map(|(at, _)| entry_of(&line[at..])).next()
}

impl Journal {
    /// Opens or makes the journal at `path`, locks it, reads it, and cuts off a torn end.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] when another process holds it or the disk refuses; [`crate::ErrorKind::Format`] for a line
    /// that was altered (with its number) and for a newer format.
    pub(super) fn open(path: &Path) -> Result<Journal> {
        let path = &artifact::regular_file(path)?;
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        // A device or a pipe can neither be read back nor cut.
        artifact::regular_file(path)?;
        let file = artifact::open_held(path)?;
        let io = |e| Error::io(path, e);
        let whole = file.metadata().map_err(io)?.len();
        let mut journal = Journal {
            path: path.to_path_buf(),
            lines: Appender::new(file, whole).map_err(io)?,
            answers: HashMap::new(),
            attempts: HashMap::new(),
            known: Default::default(),
            open: HashMap::new(),
            spent: Spending::default(),
            synced: Instant::now(),
            dirty: false,
        };
        journal.replay()?;
        Ok(journal)
    }

    /// [`Journal::open`] of a journal that must be there.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; those of [`Journal::open`].
    pub(super) fn open_there(path: &Path) -> Result<Journal> {
        if !path.exists() {
            let next = "export the requests first (--export-requests), with this journal";
            return Err(Error::not_found(format!("{}: no such journal; {next}", path.display())));
        }
        Journal::open(path)
    }

    fn replay(&mut self) -> Result<()> {
        let path = self.path.clone();
        let io = |e| Error::io(&path, e);
        let file = self.lines.file.try_clone().map_err(io)?;
        (&file).rewind().map_err(io)?;
        let mut reader = BufReader::with_capacity(1 << 18, &file);
        let (mut line, mut number, mut at, mut unended) = (Vec::new(), 0u64, 0u64, false);
        let mut torn: Option<(u64, u64)> = None;
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(io)? as u64;
            if read == 0 {
                break;
            }
            number += 1;
            // The very last byte, of a line that is whole without it.
            unended = !line.ends_with(b"\n");
            if unended {
                line.push(b'\n');
            }
            let entry = entry_of(&line).or_else(|| {
                let entry = entry_behind_a_torn_one(&line)?;
                let why = "a line that was half written stands before a whole one and is passed over";
                crate::run::log(crate::run::Level::Warn, &format!("{}:{number}: {why}", path.display()));
                Some(entry)
            });
            match entry {
                Some(_) if torn.is_some() => {
                    let (bad, _) = torn.unwrap_or_default();
                    let why = "this line was altered or damaged, and good lines follow it; remove it (its answer, if it \
                               was one, is then asked again)";
                    return Err(Error::format(&path, bad, why));
                }
                Some(entry) => {
                    let entry: Entry = serde_json::from_str(entry).map_err(|e| {
                        Error::format(&path, number, format!("{e}; was it written by a newer causerie?"))
                    })?;
                    if number == 1 && !matches!(entry, Entry::Journal { .. }) {
                        return Err(Error::format(&path, 1, "not a journal of causerie: its first line is missing"));
                    }
                    self.apply(entry, number)?;
                }
                None => torn = torn.or(Some((number, at))),
            }
            at += read;
        }
        drop(reader);
        if let Some((bad, start)) = torn {
            if bad == 1 && line_is_foreign(&path)? {
                return Err(Error::format(&path, 1, "not a journal of causerie; name another file"));
            }
            crate::run::log(
                crate::run::Level::Warn,
                &format!("{}:{bad}: cut off here, the last line was half written", path.display()),
            );
            at = start;
        }
        self.lines = Appender::new(file, at).map_err(io)?;
        if unended && torn.is_none() {
            self.lines.append(b"\n").map_err(io)?;
        }
        // Attempts that a killed run left open may have been paid for: they stay counted.
        self.open.clear();
        if at == 0 {
            self.append(&Entry::Journal { format: artifact::FORMAT, made_by: artifact::made_by() })?;
        }
        Ok(())
    }

    fn apply(&mut self, entry: Entry, line: u64) -> Result<()> {
        match entry {
            Entry::Journal { format, made_by } if format > artifact::FORMAT => {
                return Err(Error::format(
                    &self.path,
                    line,
                    format!(
                        "format {format}, made by {made_by}; this is {}, which knows up to {}",
                        artifact::made_by(),
                        artifact::FORMAT
                    ),
                ));
            }
            Entry::Journal { .. } => {}
            Entry::Request { id, .. } => {
                self.known.insert(id);
            }
            Entry::Sent { id, tokens_at_most } => {
                self.spent.requests += 1;
                self.spent.in_doubt += 1;
                self.attempts.entry(id.clone()).or_default().sent += 1;
                self.spent.reserved = self.spent.reserved.saturating_add(tokens_at_most);
                self.open.entry(id).or_default().push(tokens_at_most);
            }
            Entry::Released { id } => {
                self.end(&id);
                self.spent.requests = self.spent.requests.saturating_sub(1);
            }
            Entry::Spent { id, prompt_tokens, completion_tokens, .. } => {
                self.end(&id);
                self.add(prompt_tokens, completion_tokens);
            }
            Entry::Answer { id, answer } => {
                self.end(&id);
                self.attempts.remove(&id);
                self.add(answer.prompt_tokens, answer.completion_tokens);
                self.answers.insert(id, answer);
            }
        }
        Ok(())
    }

    fn add(&mut self, prompt_tokens: u64, completion_tokens: u64) {
        self.spent.prompt_tokens = self.spent.prompt_tokens.saturating_add(prompt_tokens);
        self.spent.completion_tokens = self.spent.completion_tokens.saturating_add(completion_tokens);
    }

    /// Ends the latest attempt at `id`: it is no longer in doubt, its tokens are no longer reserved.
    fn end(&mut self, id: &str) {
        self.attempts.entry(id.to_string()).or_default().ended += 1;
        if let Some(tokens) = self.open.get_mut(id).and_then(Vec::pop) {
            self.spent.in_doubt = self.spent.in_doubt.saturating_sub(1);
            self.spent.reserved = self.spent.reserved.saturating_sub(tokens);
        }
    }

    fn append(&mut self, entry: &Entry) -> Result<()> {
        let line = line_of(entry)?;
        self.lines.append(line.as_bytes()).map_err(|e| Error::io(&self.path, e))?;
        self.dirty = true;
        if self.synced.elapsed() >= Duration::from_secs(1) {
            self.sync()?;
        }
        Ok(())
    }

    fn record(&mut self, entry: Entry) -> Result<()> {
        self.append(&entry)?;
        self.apply(entry, 0)
    }

    /// Forces everything written to the disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.dirty {
            self.lines.file.sync_data().map_err(|e| Error::io(&self.path, e))?;
            self.dirty = false;
        }
        self.synced = Instant::now();
        Ok(())
    }

    /// The answer to `id`, if it is there.
    pub(super) fn answer(&self, id: &str) -> Option<&Answer> {
        self.answers.get(id)
    }

    /// Attempts at an unanswered request, over all runs on this journal.
    pub(super) fn attempts(&self, id: &str) -> u64 {
        self.attempts.get(id).map_or(0, |a| a.sent)
    }

    /// Those of them whose outcome is known: they failed.
    pub(super) fn ended(&self, id: &str) -> u64 {
        self.attempts.get(id).map_or(0, |a| a.ended)
    }

    /// What was spent, over all runs on this journal.
    pub(super) fn spent(&self) -> Spending {
        self.spent
    }

    /// Notes a request without sending it: its answer may come from elsewhere.
    pub(super) fn note(&mut self, request: &Request, teacher: &str) -> Result<()> {
        if !self.known.contains(&request.id) {
            self.record(Entry::Request {
                id: request.id.clone(),
                teacher: teacher.to_string(),
                kind: request.kind,
                messages: request.messages.clone(),
                temperature: request.temperature,
                max_tokens: request.max_tokens,
            })?;
        }
        Ok(())
    }

    /// To be called before each attempt.
    pub(super) fn sent(&mut self, request: &Request, teacher: &str) -> Result<()> {
        self.note(request, teacher)?;
        self.record(Entry::Sent { id: request.id.clone(), tokens_at_most: request.tokens_at_most() })
    }

    /// Is this a request of this journal?
    pub(super) fn knows(&self, id: &str) -> bool {
        self.known.contains(id)
    }

    /// Requests of this journal without an answer.
    pub(super) fn unanswered(&self) -> u64 {
        self.known.iter().filter(|id| !self.answers.contains_key(*id)).count() as u64
    }

    /// Takes an answer that came from elsewhere; the first one stays.
    pub(super) fn take(&mut self, id: &str, answer: Answer) -> Result<Import> {
        match self.answers.get(id) {
            Some(there) if there.text == answer.text => Ok(Import::Same),
            Some(_) => Ok(Import::Other),
            None => {
                // Counted like an attempt of our own.
                self.record(Entry::Sent { id: id.to_string(), tokens_at_most: 0 })?;
                self.answered(id, answer)?;
                Ok(Import::New)
            }
        }
    }

    /// The attempt cost nothing.
    pub(super) fn released(&mut self, id: &str) -> Result<()> {
        self.record(Entry::Released { id: id.to_string() })
    }

    /// The attempt cost these tokens and brought nothing.
    pub(super) fn wasted(&mut self, id: &str, tokens: (u64, u64), why: &str) -> Result<()> {
        let (prompt_tokens, completion_tokens) = tokens;
        self.record(Entry::Spent { id: id.to_string(), prompt_tokens, completion_tokens, why: why.to_string() })
    }

    /// The attempt brought this answer.
    pub(super) fn answered(&mut self, id: &str, answer: Answer) -> Result<()> {
        self.record(Entry::Answer { id: id.to_string(), answer })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.sync();
    }
}

/// True when the file does not even begin like a journal: it is somebody else's file, and nothing of it may be cut.
fn line_is_foreign(path: &Path) -> Result<bool> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let head = &bytes[..bytes.len().min(HEAD.len())];
    Ok(!HEAD.as_bytes().starts_with(head) && head.iter().any(|b| *b != 0))
}

#[cfg(test)]
mod tests {
    use super::super::teacher::{Facts, Kind};
    use super::*;

    fn request(n: u64) -> Request {
        Request::new("t", Kind::Query, format!("prompt {n} ä\n\"q\""), "i", n, 0.8, 10, 0, Facts::default())
    }
    fn answer(n: u64) -> Answer {
        Answer { text: format!("answer\n{n}"), prompt_tokens: 5, completion_tokens: n }
    }

    #[test]
    fn a_journal_cut_at_any_byte_opens_and_keeps_every_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        {
            let mut journal = Journal::open(&path).unwrap();
            for n in 0..4 {
                journal.sent(&request(n), "t").unwrap();
                journal.answered(&request(n).id, answer(n)).unwrap();
            }
        }
        let whole = std::fs::read(&path).unwrap();
        let cut = folder.path().join("cut.jsonl");
        for length in 0..=whole.len() {
            std::fs::write(&cut, &whole[..length]).unwrap();
            // A line is whole without the break that ends it.
            let ended = whole.get(length) == Some(&b'\n') || length == whole.len();
            let kept = whole[..length].iter().filter(|b| **b == b'\n').count()
                + usize::from(ended && !whole[..length].ends_with(b"\n"));
            {
                let mut journal = Journal::open(&cut).unwrap();
                // A header, then three lines a request: request, sent, answer.
                assert_eq!(journal.answers.len(), kept.saturating_sub(1) / 3, "cut at {length}");
                journal.sent(&request(9), "t").unwrap();
                journal.answered(&request(9).id, answer(9)).unwrap();
            }
            let journal = Journal::open(&cut).unwrap();
            assert_eq!(journal.answer(&request(9).id), Some(&answer(9)));
        }
    }

    #[test]
    fn an_attempt_that_a_kill_left_open_stays_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        {
            let mut journal = Journal::open(&path).unwrap();
            journal.sent(&request(0), "t").unwrap();
            journal.sent(&request(1), "t").unwrap();
            journal.released(&request(1).id).unwrap();
            journal.sent(&request(2), "t").unwrap();
            journal.wasted(&request(2).id, (3, 4), "empty").unwrap();
        }
        let before = Journal::open(&path).unwrap().spent();
        let expected = Spending {
            requests: 2,
            prompt_tokens: 3,
            completion_tokens: 4,
            in_doubt: 1,
            reserved: request(0).tokens_at_most(),
        };
        assert_eq!(before, expected);
        {
            let mut journal = Journal::open(&path).unwrap();
            journal.sent(&request(0), "t").unwrap();
            journal.answered(&request(0).id, answer(7)).unwrap();
            assert_eq!(journal.spent().requests, 3);
        }
        let live = Spending { requests: 3, prompt_tokens: 8, completion_tokens: 11, ..expected };
        assert_eq!(Journal::open(&path).unwrap().spent(), live, "counts after a replay are those before it");
        assert_eq!(Journal::open(&path).unwrap().spent(), live, "opening again counts nothing twice");
    }

    #[test]
    fn a_half_written_line_before_a_whole_one_costs_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        {
            let mut journal = Journal::open(&path).unwrap();
            for n in 0..3 {
                journal.sent(&request(n), "t").unwrap();
                journal.answered(&request(n).id, answer(n)).unwrap();
            }
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        // As the first release left it: half of a line, then the next one behind it.
        let glued = format!("{}{}{}", lines[..4].concat(), &lines[4][..lines[4].len() / 2], lines[4..].concat());
        std::fs::write(&path, glued).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!((0..3).all(|n| journal.answer(&request(n).id) == Some(&answer(n))));
    }

    #[test]
    fn an_attempt_that_ended_makes_the_next_one_another_sample_and_a_lost_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let id = request(0).id;
        {
            let mut journal = Journal::open(&path).unwrap();
            journal.sent(&request(0), "t").unwrap();
            assert_eq!((journal.attempts(&id), journal.ended(&id)), (1, 0));
        }
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!((journal.attempts(&id), journal.ended(&id)), (1, 0), "a kill");
        journal.sent(&request(0), "t").unwrap();
        journal.wasted(&id, (1, 1), "empty").unwrap();
        assert_eq!((journal.attempts(&id), journal.ended(&id), journal.spent().in_doubt), (2, 1, 1));
    }

    #[test]
    fn a_device_or_a_pipe_is_no_journal() {
        let e = Journal::open(Path::new("/dev/full")).err().unwrap();
        assert!(e.message().contains("needs a regular file"), "{e}");
    }

    /// Run by `a_full_disk_leaves_whole_lines`, in a process whose files may not grow far.
    #[test]
    #[ignore = "a part of another test"]
    fn child_of_the_full_disk_test() {
        let mut journal = Journal::open(Path::new(&std::env::var("CAUSERIE_TEST_JOURNAL").unwrap())).unwrap();
        let long = |n| Answer { text: format!("{n} ").repeat(200), ..answer(n) };
        let written = (0..1000).find(|n| {
            let sent = journal.sent(&request(*n), "t");
            sent.and_then(|()| journal.answered(&request(*n).id, long(*n))).is_err()
        });
        let n = written.expect("the limit on a file's size was never reached");
        assert!(n > 2 && journal.answer(&request(n - 1).id) == Some(&long(n - 1)));
    }

    #[test]
    #[cfg(unix)]
    fn a_full_disk_leaves_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        // Without the signal, a write over the limit is cut short and then fails, as on a full disk.
        let script = "trap '' XFSZ; ulimit -f 20; exec \"$0\" \"$@\"";
        let status = std::process::Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "synthesize::journal::tests::child_of_the_full_disk_test", "--ignored"])
            .env("CAUSERIE_TEST_JOURNAL", &path)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() > 4000 && bytes.split_inclusive(|b| *b == b'\n').all(|line| entry_of(line).is_some()));
        let mut journal = Journal::open(&path).unwrap();
        let n = (0..1000).find(|n| journal.answer(&request(*n).id).is_none()).unwrap();
        assert!(n > 2);
        journal.answered(&request(n).id, answer(n)).unwrap();
    }

    #[test]
    fn a_line_altered_in_the_middle_is_an_error_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        {
            let mut journal = Journal::open(&path).unwrap();
            journal.sent(&request(0), "t").unwrap();
            journal.answered(&request(0).id, answer(0)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("prompt 0", "prompt 1")).unwrap();
        let e = Journal::open(&path).err().unwrap();
        assert!(e.message().contains("journal.jsonl:2: this line was altered"), "{e}");
    }

    #[test]
    fn a_foreign_file_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thesis.txt");
        std::fs::write(&path, "chapter one\n").unwrap();
        assert!(Journal::open(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "chapter one\n");
    }

    #[test]
    fn a_second_writer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let _first = Journal::open(&path).unwrap();
        let e = Journal::open(&path).err().unwrap();
        assert!(e.message().contains("another process is writing"), "{e}");
    }

    #[test]
    fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let entry = Entry::Journal { format: artifact::FORMAT + 1, made_by: "causerie/9".into() };
        std::fs::write(&path, line_of(&entry).unwrap()).unwrap();
        let e = Journal::open(&path).err().unwrap();
        assert!(e.message().contains("made by causerie/9"), "{e}");
    }
}
