//! The work directory: which stages are finished, under which settings, at what cost; one process at a time.
//!
//! `work.json` is written whole after each stage. A stage counts as finished when it stands there and its artifacts
//! stand on disk; a directory made with other settings is refused unless the caller asks to remake what differs.

use crate::artifact;
use crate::config::{Choice, Config, Strategy, TeacherKind, table};
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, Run};
use crate::tune::CHECKPOINT;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Settings that change no artifact (speed, access, prices, caps): they may differ from run to run.
const NEUTRAL: &[&str] = &[
    "run.threads",
    "dataset.max_bad_lines",
    "select.checkpoint_s",
    "select.compare_whole",
    "select.max_memory_bytes",
    "synthesize.base_url",
    "synthesize.api_key_env",
    "synthesize.ca_file",
    "synthesize.proxy",
    "synthesize.timeout_ms",
    "synthesize.retries",
    "synthesize.in_flight",
    "synthesize.backoff_ms",
    "synthesize.max_requests",
    "synthesize.max_tokens",
    "synthesize.price_in",
    "synthesize.price_out",
    "synthesize.judge_base_url",
    "synthesize.judge_api_key_env",
    "synthesize.compare_with",
    "tune.save_every",
    "tune.max_memory_bytes",
    "recommend.explain",
    "recommend.top_k",
    "recommend.system",
    "pipeline.title",
];

/// Sections that no stage of a run reads.
const NOT_OF_A_RUN: &[&str] = &["simulate", "serve"];

/// Whether artifacts depend on this setting.
fn counts(key: &str) -> bool {
    !NEUTRAL.contains(&key) && !key.split_once('.').is_some_and(|(section, _)| NOT_OF_A_RUN.contains(&section))
}

/// Sections in the order in which a change of theirs makes stages stale.
const SECTIONS: &[&str] = &["dataset", "embed", "select", "synthesize", "tune", "recommend", "evaluate", "pipeline"];

/// What a finished stage cost and found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The section of settings that it depends on first.
    pub section: String,
    /// Wall time, seconds.
    pub seconds: f64,
    /// Most memory held at once, bytes (0: not known).
    pub peak_rss_bytes: u64,
    /// One line for the report.
    pub note: String,
    /// Order of finishing, from 0.
    pub order: u64,
    /// Artifacts, relative to the directory.
    pub artifacts: Vec<String>,
    /// What later stages need of it, as JSON.
    #[serde(default)]
    pub result: serde_json::Value,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    format: u64,
    made_by: String,
    settings: BTreeMap<String, String>,
    /// Size and time of change of each file that was read.
    inputs: BTreeMap<String, String>,
    stages: BTreeMap<String, StageRecord>,
}

/// The file names of a round's artifacts.
pub(super) fn round_file(strategy: Strategy, number: usize, name: &str) -> String {
    format!("{strategy}/round-{number}/{name}")
}

/// An open work directory. Dropping it ends the lock.
pub struct WorkDirectory {
    dir: PathBuf,
    state: State,
    _lock: File,
}

impl WorkDirectory {
    /// Opens or makes `dir` for a run under `config`. `restart`: what was made with other settings is made again
    /// (the teacher's journal stays: nothing paid for is asked twice).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a directory of other settings, another format, or one that another process works in.
    pub fn open(dir: &Path, config: &Config, restart: bool) -> Result<WorkDirectory> {
        if dir.as_os_str().is_empty() || dir.is_file() {
            let what = if dir.is_file() { "is a file" } else { "is no name" };
            return Err(Error::invalid(format!("work directory {dir:?}: {what}; name a folder (\".\" is this one)")));
        }
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        let lock = lock(dir)?;
        let path = dir.join("work.json");
        let settings = settings_of(config);
        let inputs = inputs_of(config);
        let mut state = match artifact::read_text(&path) {
            Ok(text) => {
                let format = serde_json::from_str::<serde_json::Value>(&text)
                    .map_err(|e| Error::format(&path, 0, format!("not a causerie work directory: {e}")))?["format"]
                    .as_u64()
                    .unwrap_or(0);
                if format != artifact::FORMAT {
                    return Err(Error::invalid(format!(
                        "{}: made by a causerie of format {format}, this one ({}) reads and writes format {}; use another directory, or the causerie that made it",
                        dir.display(),
                        artifact::made_by(),
                        artifact::FORMAT
                    )));
                }
                serde_json::from_str::<State>(&text).map_err(|e| Error::format(&path, 0, e))?
            }
            Err(e) if e.kind() == ErrorKind::NotFound => State::default(),
            Err(e) => return Err(e),
        };
        remove_temporary(dir)?;
        // An earlier causerie may have kept settings that do not count.
        state.settings.retain(|key, _| counts(key));
        if !state.stages.is_empty() {
            let changes = changes(&state, &settings, &inputs);
            if !changes.is_empty() {
                if !restart {
                    let lines: Vec<&str> = changes.iter().map(|c| c.1.as_str()).collect();
                    return Err(Error::invalid(format!(
                        "{}: made with other settings:\n  {}\nuse another directory, or --restart to make again what depends on them (the teacher's journal is kept)",
                        dir.display(),
                        lines.join("\n  ")
                    )));
                }
                let first = changes.iter().map(|c| c.0).min().unwrap_or(0);
                state.stages.retain(|_, record| {
                    SECTIONS.iter().position(|s| *s == record.section).is_some_and(|at| at < first)
                });
                if SECTIONS.iter().position(|s| *s == "tune").is_some_and(|tune| first <= tune) {
                    forget_checkpoints(dir)?;
                }
            }
        }
        state.format = artifact::FORMAT;
        state.made_by = artifact::made_by();
        state.settings = settings;
        state.inputs = inputs;
        let work = WorkDirectory { dir: dir.to_path_buf(), state, _lock: lock };
        work.save()?;
        artifact::write_atomic(&dir.join("settings.toml"), |out| {
            out.write_all(config.to_toml().as_bytes()).map_err(|e| Error::io(dir, e))
        })?;
        Ok(work)
    }

    /// The path of an artifact.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs a stage, or passes over it when it is finished and its artifacts stand.
    ///
    /// `work` returns a line for the report and what later stages need.
    ///
    /// # Errors
    /// Those of `work`, with the stage's name in front; the stage then does not count as finished.
    pub fn stage(
        &mut self,
        name: &str,
        section: &str,
        artifacts: &[String],
        run: &Run,
        work: impl FnOnce(&WorkDirectory) -> Result<(String, serde_json::Value)>,
    ) -> Result<StageRecord> {
        run.check()?;
        if let Some(record) = self.state.stages.get(name)
            && record.artifacts == artifacts
            && artifacts.iter().all(|a| self.path(a).exists())
        {
            return Ok(record.clone());
        }
        run::log(run::Level::Info, &format!("stage {name}"));
        run::reset_peak_memory();
        let started = Instant::now();
        let (note, result) = work(self).map_err(|e| e.context(name))?;
        let order = self.state.stages.values().map(|r| r.order + 1).max().unwrap_or(0);
        let record = StageRecord {
            section: section.to_string(),
            seconds: started.elapsed().as_secs_f64(),
            peak_rss_bytes: run::peak_memory_bytes(),
            note,
            order,
            artifacts: artifacts.to_vec(),
            result,
        };
        self.state.stages.insert(name.to_string(), record.clone());
        self.save()?;
        Ok(record)
    }

    /// Finished stages in the order in which they were finished.
    pub fn stages(&self) -> Vec<(String, StageRecord)> {
        let mut all: Vec<_> = self.state.stages.iter().map(|(n, r)| (n.clone(), r.clone())).collect();
        all.sort_by_key(|(_, r)| r.order);
        all
    }

    fn save(&self) -> Result<()> {
        let path = self.path("work.json");
        artifact::write_atomic(&path, |out| {
            serde_json::to_writer_pretty(out, &self.state).map_err(|e| Error::io(&path, e.into()))
        })
    }
}

/// Folders of a work directory, beside those of the strategies.
const FOLDERS: &[&str] = &["dataset", "base", "naive"];

/// Removes what a process that was killed was writing: the directory's lock is held, so nobody writes it now. Looks into
/// folders of a run alone: the directory may hold other things of the user's.
fn remove_temporary(dir: &Path) -> Result<()> {
    let simulated = dir.join(super::demo::DATA).join(super::demo::STAMP).is_file();
    remove_temporary_in(dir, &|name| {
        FOLDERS.contains(&name) || Strategy::from_name(name).is_some() || (simulated && name == super::demo::DATA)
    })
}

fn remove_temporary_in(dir: &Path, ours: &dyn Fn(&str) -> bool) -> Result<()> {
    for entry in std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let entry = entry.map_err(|e| Error::io(dir, e))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(|e| Error::io(dir, e))?);
        let removed = match (artifact::is_temporary(&path), kind.is_dir()) {
            (true, _) => artifact::remove_leftover(&path),
            (false, true) if ours(&entry.file_name().to_string_lossy()) => {
                remove_temporary_in(&path, &|_| true)?;
                Ok(())
            }
            (false, _) => Ok(()),
        };
        removed.map_err(|e| Error::io(&path, e))?;
    }
    Ok(())
}

/// Removes what trainings that were stopped left to go on from: with other settings none of them can.
fn forget_checkpoints(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let entry = entry.map_err(|e| Error::io(dir, e))?;
        let path = entry.path();
        if entry.file_type().map_err(|e| Error::io(&path, e))?.is_dir() {
            forget_checkpoints(&path)?;
        } else if entry.file_name() == CHECKPOINT {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}

/// Takes the directory for this process.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| Error::io(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Error::invalid(format!("{}: another causerie is at work in this directory", dir.display())))
        }
        Err(std::fs::TryLockError::Error(e)) => Err(Error::io(&path, e)),
    }
}

fn settings_of(config: &Config) -> BTreeMap<String, String> {
    table()
        .iter()
        .filter(|s| counts(s.key))
        .map(|s| (s.key.to_string(), config.get(s.key).unwrap_or_default()))
        .collect()
}

/// Size and time of change of every file that the settings name.
fn inputs_of(config: &Config) -> BTreeMap<String, String> {
    let mut inputs = BTreeMap::new();
    let mut add = |section: &str, path: &str| {
        if path.is_empty() {
            return;
        }
        let state = match std::fs::metadata(path) {
            Ok(m) => {
                let changed = m.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
                format!("{} bytes, changed {}", m.len(), changed.map_or(0, |d| d.as_millis()))
            }
            Err(_) => "missing".to_string(),
        };
        inputs.insert(format!("{section} file {path}"), state);
    };
    let d = &config.dataset;
    for path in [&d.items, &d.reviews, &d.interactions, &d.tags] {
        add("dataset", path);
    }
    for entry in config.select.force.iter().chain(&config.select.exclude) {
        add("select", entry.strip_prefix('@').unwrap_or_default());
    }
    add("select", &config.select.centers);
    if config.synthesize.teacher == TeacherKind::Local {
        add("synthesize", &config.synthesize.model);
    }
    if !config.synthesize.prompts.is_empty() {
        let folder = std::fs::read_dir(&config.synthesize.prompts).into_iter().flatten().flatten();
        folder.for_each(|file| add("synthesize", &file.path().display().to_string()));
    }
    for path in [&config.embed.model, &config.embed.file] {
        add("embed", path);
    }
    add("tune", &config.tune.model);
    for path in config.evaluate.conversations.iter().chain(&config.evaluate.posts) {
        add("evaluate", path);
    }
    inputs
}

/// What differs: place of the section, and a line for people.
fn changes(
    state: &State,
    settings: &BTreeMap<String, String>,
    inputs: &BTreeMap<String, String>,
) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let initial = settings_of(&Config::default());
    let mut compare = |before: &BTreeMap<String, String>, now: &BTreeMap<String, String>| {
        let mut keys: Vec<&String> = before.keys().chain(now.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let (old, new) = (before.get(key), now.get(key));
            // A setting that is newer than the directory and stands at its default changes nothing.
            let is_default = |v: &String| initial.get(key.as_str()) == Some(v);
            if old != new && !(old.is_none() && new.is_some_and(is_default)) {
                let section = key.split(['.', ' ']).next().unwrap_or("");
                let at = SECTIONS.iter().position(|s| *s == section).unwrap_or(0);
                // The strategies and the budget live in `pipeline` but decide what is selected.
                let at = if section == "pipeline" { 2 } else { at };
                let show = |v: Option<&String>| v.map_or("not set".to_string(), String::clone);
                out.push((at, format!("{key} was {}, is {}", show(old), show(new))));
            }
        }
    };
    compare(&state.settings, settings);
    compare(&state.inputs, inputs);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(work: &mut WorkDirectory, name: &str, section: &str, made: &mut Vec<String>) {
        let run = Run::new(1).unwrap();
        let file = format!("{name}.txt");
        work.stage(name, section, std::slice::from_ref(&file), &run, |w| {
            made.push(name.to_string());
            std::fs::write(w.path(&file), name).unwrap();
            Ok((String::new(), serde_json::Value::Null))
        })
        .unwrap();
    }

    #[test]
    fn finished_stages_are_passed_over_and_lost_artifacts_are_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::default();
        let mut made = Vec::new();
        for _ in 0..2 {
            let mut work = WorkDirectory::open(dir.path(), &config, false).unwrap();
            stage(&mut work, "embed", "embed", &mut made);
            stage(&mut work, "tune", "tune", &mut made);
        }
        assert_eq!(made, ["embed", "tune"]);
        std::fs::remove_file(dir.path().join("tune.txt")).unwrap();
        let mut work = WorkDirectory::open(dir.path(), &config, false).unwrap();
        stage(&mut work, "embed", "embed", &mut made);
        stage(&mut work, "tune", "tune", &mut made);
        assert_eq!(made, ["embed", "tune", "tune"]);
    }

    #[test]
    fn a_directory_of_other_settings_is_refused_and_restart_remakes_only_what_depends_on_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let mut made = Vec::new();
        {
            let mut work = WorkDirectory::open(dir.path(), &config, false).unwrap();
            stage(&mut work, "embed", "embed", &mut made);
            stage(&mut work, "tune", "tune", &mut made);
        }
        config.set("run.threads", "1").unwrap();
        drop(WorkDirectory::open(dir.path(), &config, false).unwrap());
        config.set("tune.epochs", "77").unwrap();
        let e = WorkDirectory::open(dir.path(), &config, false).err().unwrap();
        assert!(e.message().contains("tune.epochs was 3, is 77"), "{e}");
        let mut work = WorkDirectory::open(dir.path(), &config, true).unwrap();
        stage(&mut work, "embed", "embed", &mut made);
        stage(&mut work, "tune", "tune", &mut made);
        assert_eq!(made, ["embed", "tune", "tune"]);
    }

    #[test]
    fn the_servers_settings_do_not_make_a_finished_directory_stale() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let mut made = Vec::new();
        stage(&mut WorkDirectory::open(dir.path(), &config, false).unwrap(), "embed", "embed", &mut made);
        // As an earlier causerie wrote it.
        let path = dir.path().join("work.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let old = text.replacen("\"settings\": {", "\"settings\": {\"serve.port\": \"8080\",", 1);
        assert_ne!(old, text);
        std::fs::write(&path, old).unwrap();
        for (key, value) in [("serve.port", "9"), ("select.checkpoint_s", "5"), ("recommend.explain", "2")] {
            config.set(key, value).unwrap();
            drop(WorkDirectory::open(dir.path(), &config, false).unwrap());
        }
    }

    #[test]
    fn changed_tags_prompts_and_lists_of_rows_are_noticed() {
        let (dir, inputs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = |name: &str| inputs.path().join(name).display().to_string();
        let mut config = Config::default();
        config.dataset.tags = file("tags.csv");
        config.select.force = vec![format!("@{}", file("force.txt"))];
        config.synthesize.prompts = inputs.path().display().to_string();
        let names = ["tags.csv", "force.txt", "query.txt"];
        names.iter().for_each(|name| std::fs::write(inputs.path().join(name), "before").unwrap());
        for name in names {
            stage(&mut WorkDirectory::open(dir.path(), &config, true).unwrap(), "embed", "embed", &mut Vec::new());
            drop(WorkDirectory::open(dir.path(), &config, false).unwrap());
            std::fs::write(inputs.path().join(name), format!("{name}, changed")).unwrap();
            let e = WorkDirectory::open(dir.path(), &config, false).err().unwrap();
            assert!(e.message().contains(name), "{e}");
        }
    }

    #[test]
    fn no_name_and_a_file_are_no_work_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (dir, says) in [(Path::new(""), "is no name"), (file.path(), "is a file")] {
            let e = WorkDirectory::open(dir, &Config::default(), false).err().unwrap();
            assert!(e.message().contains(says), "{e}");
        }
    }

    #[test]
    fn what_a_killed_process_was_writing_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let round = dir.path().join("fisher/round-1");
        std::fs::create_dir_all(round.join("simulate.77.tmp/inside")).unwrap();
        let half = round.join("head.safetensors.1234.tmp");
        std::fs::write(&half, "x").unwrap();
        std::fs::write(round.join("mine.tmp"), "x").unwrap();
        let mine = dir.path().join("mine/notes.77.tmp");
        std::fs::create_dir_all(dir.path().join("mine")).unwrap();
        std::fs::write(&mine, "x").unwrap();
        drop(WorkDirectory::open(dir.path(), &Config::default(), false).unwrap());
        assert!(!half.exists() && !round.join("simulate.77.tmp").exists() && round.join("mine.tmp").exists());
        assert!(mine.exists(), "a folder that no run made");

        // A folder of the user's may be called data, too.
        let killed = dir.path().join("data/simulate.77.tmp");
        std::fs::create_dir_all(&killed).unwrap();
        drop(WorkDirectory::open(dir.path(), &Config::default(), false).unwrap());
        assert!(killed.exists());
        std::fs::write(dir.path().join("data/made-with.json"), "{}").unwrap();
        drop(WorkDirectory::open(dir.path(), &Config::default(), false).unwrap());
        assert!(!killed.exists());
    }

    #[test]
    fn the_checkpoint_of_a_stopped_training_does_not_stand_in_the_way_of_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let mut made = Vec::new();
        stage(&mut WorkDirectory::open(dir.path(), &config, false).unwrap(), "embed", "embed", &mut made);
        let folder = dir.path().join("fisher/round 1/student");
        std::fs::create_dir_all(&folder).unwrap();
        let (checkpoint, other) = (folder.join(CHECKPOINT), folder.join("model.gguf"));
        let write = || [&checkpoint, &other].map(|path| std::fs::write(path, "x").unwrap());
        write();
        config.set("evaluate.bootstrap", "500").unwrap();
        drop(WorkDirectory::open(dir.path(), &config, true).unwrap());
        assert!(checkpoint.exists(), "a training with the same settings goes on from it");
        config.set("tune.epochs", "77").unwrap();
        assert!(WorkDirectory::open(dir.path(), &config, false).is_err() && checkpoint.exists());
        drop(WorkDirectory::open(dir.path(), &config, true).unwrap());
        assert!(!checkpoint.exists() && other.exists());
    }

    #[test]
    fn a_setting_newer_than_the_directory_and_at_its_default_is_no_other_setting() {
        let dir = tempfile::tempdir().unwrap();
        let mut made = Vec::new();
        stage(&mut WorkDirectory::open(dir.path(), &Config::default(), false).unwrap(), "embed", "embed", &mut made);
        let path = dir.path().join("work.json");
        let mut state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        state["settings"].as_object_mut().unwrap().remove("select.lambda").unwrap();
        std::fs::write(&path, state.to_string()).unwrap();
        drop(WorkDirectory::open(dir.path(), &Config::default(), false).unwrap());
        state["settings"].as_object_mut().unwrap().remove("select.lambda");
        std::fs::write(&path, state.to_string()).unwrap();
        let mut other = Config::default();
        other.set("select.lambda", "2.0").unwrap();
        assert!(WorkDirectory::open(dir.path(), &other, false).is_err());
    }

    #[test]
    fn a_directory_of_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("work.json"), r#"{"format": 999}"#).unwrap();
        let e = WorkDirectory::open(dir.path(), &Config::default(), false).err().unwrap();
        assert!(e.message().contains("format 999"), "{e}");
        std::fs::write(dir.path().join("work.json"), "garbage").unwrap();
        assert!(WorkDirectory::open(dir.path(), &Config::default(), true).is_err());
    }

    #[test]
    fn two_processes_do_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _first = WorkDirectory::open(dir.path(), &Config::default(), false).unwrap();
        assert!(WorkDirectory::open(dir.path(), &Config::default(), false).is_err());
    }
}
