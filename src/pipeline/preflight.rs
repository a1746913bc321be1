//! What would stop a run only after hours, told before its first stage.

use crate::config::{Config, TuneMethod, listed};
use crate::dataset::{load_conversations, load_posts};
use crate::error::{Error, Result};
use crate::synthesize;
use std::path::Path;

/// The strategies, and the files that only the last stages read.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for strategies that are none, named twice or not run; those of the files.
pub(super) fn check(config: &Config) -> Result<()> {
    let (strategies, students) = (&config.pipeline.strategies, &config.pipeline.students);
    if strategies.is_empty() {
        return Err(Error::invalid("pipeline.strategies is empty; name at least one, such as fisher"));
    }
    if let Some((_, twice)) = strategies.iter().enumerate().find(|(at, name)| strategies[..*at].contains(name)) {
        return Err(Error::invalid(format!("pipeline.strategies names {twice} twice; once is enough")));
    }
    let tunes = config.tune.method != TuneMethod::Head;
    if let Some(absent) = students.iter().find(|name| tunes && !strategies.contains(name)) {
        return Err(Error::invalid(format!(
            "pipeline.students names {absent}, which pipeline.strategies ({}) does not run; name it there too",
            listed(strategies)
        )));
    }
    if config.pipeline.reembed && !tunes {
        return Err(Error::invalid(
            "pipeline.reembed sees the reviews through the language model of the round before, and tune.method = \"head\" makes none; set it to lora or full",
        ));
    }
    for path in &config.evaluate.conversations {
        load_conversations(Path::new(path), config.dataset.max_bad_lines)
            .map_err(|e| e.context("evaluate.conversations"))?;
    }
    for path in config.evaluate.posts.iter().map(Path::new) {
        if load_posts(path, config.dataset.max_bad_lines).is_err() {
            load_conversations(path, config.dataset.max_bad_lines).map_err(|e| e.context("evaluate.posts"))?;
        }
    }
    let model = Path::new(&config.tune.model);
    if tunes && !config.tune.model.is_empty() {
        std::fs::metadata(model).map_err(|e| Error::io(model, e).context("tune.model"))?;
    }
    Ok(())
}

/// The teacher: its prompts, its address, its key. Nothing is asked yet.
///
/// # Errors
/// Those of [`synthesize::check_teacher`].
pub(super) fn check_teacher(config: &Config) -> Result<()> {
    synthesize::check_teacher(&config.synthesize).map_err(|e| e.context("synthesize"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_stop_a_run_after_hours_stops_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let bad = folder.path().join("bad.jsonl");
        std::fs::write(&bad, "{\"turns\": 3}\n").unwrap();
        let bad = bad.display().to_string();
        for (key, value, says) in [
            ("pipeline.strategies", "", "is empty"),
            ("pipeline.strategies", "js,fisher,js", "js twice"),
            ("pipeline.students", "js", "does not run"),
            ("evaluate.conversations", "/no/such/file", "/no/such/file"),
            ("evaluate.conversations", bad.as_str(), "bad.jsonl:1"),
            ("evaluate.posts", bad.as_str(), "bad.jsonl:1"),
        ] {
            let mut config = Config::default();
            config.set("tune.method", "lora").unwrap();
            config.set(key, value).unwrap();
            let e = check(&config).unwrap_err();
            assert!(e.message().contains(says), "{key} = {value}: {e}");
        }
        for (key, value, says) in [
            ("synthesize.prompts", "/no/such/folder", "/no/such/folder"),
            ("synthesize.teacher", "http", "synthesize.model"),
            ("synthesize.teacher", "local", "synthesize.model"),
        ] {
            let mut config = Config::default();
            config.set(key, value).unwrap();
            let e = check_teacher(&config).unwrap_err();
            assert!(e.message().contains(says), "{key} = {value}: {e}");
        }
        check(&Config::default()).unwrap();
        let mut again = Config::default();
        again.set("pipeline.reembed", "true").unwrap();
        assert!(check(&again).unwrap_err().message().contains("tune.method"));
        // Where no language model is tuned it does not matter on what.
        let mut head = Config::default();
        head.set("pipeline.students", "js").unwrap();
        check(&head).unwrap();
        check_teacher(&Config::default()).unwrap();
    }
}
