//! A long selection that is stopped and goes on: the picks so far, and what they were picked from.
//!
//! Greedy picks are a prefix of every larger selection, and what an engine keeps follows from the rows folded alone. So the
//! picks are all that a checkpoint holds, and a selection that is resumed ends with the bytes of one that never stopped.

use super::field::NamedRows;
use super::{Order, Pick, Selection, SelectionResult, Terms, centers, extend_keeping};
use crate::artifact;
use crate::config::{CompareWhole, SelectConfig};
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows};
use crate::run::{Level, Run, log};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rows that stand for all in the fingerprint, evenly taken: all values of a file for a million rows would be a long read.
const SAMPLE_ROWS: usize = 4096;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Checkpoint {
    format: u64,
    made_by: String,
    fingerprint: String,
    picks: Vec<Pick>,
}

/// Writes the picks to a file now and then.
pub struct Keeper {
    path: PathBuf,
    fingerprint: String,
    earlier: Vec<Pick>,
    every: Duration,
    written: Instant,
}

impl Keeper {
    /// After a pick: writes when it is due.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn note(&mut self, picks: &[Pick]) -> Result<()> {
        if self.written.elapsed() < self.every {
            return Ok(());
        }
        self.write(picks)
    }
    /// Writes the picks, all or nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn write(&mut self, picks: &[Pick]) -> Result<()> {
        let done = self.earlier.len() as u64;
        let mut all = self.earlier.clone();
        all.extend(picks.iter().map(|p| Pick { rank: p.rank + done, ..p.clone() }));
        let checkpoint = Checkpoint {
            format: artifact::FORMAT,
            made_by: artifact::made_by(),
            fingerprint: self.fingerprint.clone(),
            picks: all,
        };
        artifact::write_atomic(&self.path, |out| {
            serde_json::to_writer(out, &checkpoint).map_err(|e| Error::io(&self.path, e.into()))
        })?;
        self.written = Instant::now();
        Ok(())
    }
}

/// What a selection hangs on, but for its budget: rows, settings and terms (their centres those of [`centers::given`]).
///
/// Files count by what they hold: named rows and centres may lie elsewhere on another machine.
///
/// # Errors
/// Those of [`NamedRows::of`].
pub(super) fn fingerprint(
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
) -> Result<String> {
    let named = NamedRows::of(terms, config, terms.already)?;
    let mut hasher = blake3::Hasher::new();
    let mut rows = |x: &dyn Rows| {
        hasher.update(&(x.count() as u64).to_le_bytes()).update(&(x.width() as u64).to_le_bytes());
        let mut room = Vec::new();
        for i in (0..x.count()).step_by(x.count().div_ceil(SAMPLE_ROWS).max(1)) {
            for value in x.read(i, &mut room) {
                hasher.update(&value.to_le_bytes());
            }
        }
    };
    rows(x);
    rows(features.unwrap_or(&Matrix::default()));
    hasher.update(terms.centers.map_or(String::new(), centers::hash).as_bytes());
    // Settings that change no pick may change.
    let config = SelectConfig {
        budget: 0,
        max_memory_bytes: 0,
        checkpoint_s: 0,
        compare_whole: CompareWhole::Auto,
        centers: String::new(),
        force: Vec::new(),
        exclude: Vec::new(),
        ..config.clone()
    };
    hasher.update(format!("{config:?}").as_bytes());
    for rows in [&named.forced[..], &named.excluded, terms.already] {
        hasher.update(&(rows.len() as u64).to_le_bytes());
        rows.iter().for_each(|row| {
            hasher.update(&row.to_le_bytes());
        });
    }
    for column in [terms.candidates, terms.items, terms.users] {
        hasher.update(&column.map_or(u64::MAX, |column| column.len() as u64).to_le_bytes());
        column.unwrap_or_default().iter().for_each(|value| {
            hasher.update(&value.to_le_bytes());
        });
    }
    Ok(hasher.finalize().to_hex()[..32].to_string())
}

/// The picks at `path`, if they are of this selection.
fn read(path: &Path, fingerprint: &str) -> Result<Selection> {
    if !path.exists() {
        return Ok(Selection::default());
    }
    let checkpoint: Checkpoint = serde_json::from_str(&artifact::read_text(path)?)
        .map_err(|e| Error::format(path, 0, format!("no checkpoint of a selection: {e}; remove it")))?;
    if checkpoint.format > artifact::FORMAT {
        let newer = format!("format {}, made by {}", checkpoint.format, checkpoint.made_by);
        return Err(Error::format(path, 0, format!("{newer}; this is {}", artifact::made_by())));
    }
    if checkpoint.fingerprint != fingerprint {
        return Err(Error::invalid(format!(
            "{}: a checkpoint of another selection (other rows, settings or terms); remove it or name another file",
            path.display()
        )));
    }
    Order::of(&checkpoint.picks).map_err(|cause| Error::format(path, 0, format!("{cause}; remove it")))?;
    Ok(Selection { picks: checkpoint.picks })
}

/// [`super::extend`] with a checkpoint at `path`: every `config.checkpoint_s` seconds, and when it is cancelled. The same
/// call goes on from there and ends with the same selection, bit by bit; then the checkpoint is removed, unless it holds more
/// picks than were asked for.
///
/// # Errors
/// Those of [`super::extend`]; [`crate::ErrorKind::Invalid`] for a checkpoint of another selection;
/// [`crate::ErrorKind::Io`] while another process writes it.
pub fn resume(
    path: &Path,
    earlier: &Selection,
    x: &dyn Rows,
    features: Option<&Matrix>,
    terms: &Terms,
    config: &SelectConfig,
    run: &Run,
) -> Result<SelectionResult> {
    super::check(x, config)?;
    let centers = centers::given(x, features, terms, config)?;
    let terms = &Terms { centers: centers.as_deref(), ..*terms };
    let fingerprint = fingerprint(x, features, terms, config)?;
    let _alone = artifact::Lock::of(&artifact::regular_file(path)?)?;
    let kept = read(path, &fingerprint)?;
    let begins = kept.picks.len().min(earlier.picks.len());
    if !kept.picks.is_empty() && kept.picks[..begins] != earlier.picks[..begins] {
        let other = "its first picks are not those of the earlier selection";
        return Err(Error::invalid(format!("{}: {other}; remove it or name another file", path.display())));
    }
    let from = if kept.picks.len() > earlier.picks.len() { kept } else { earlier.clone() };
    if from.picks.len() > earlier.picks.len() {
        log(Level::Info, &format!("{}: goes on after {} picks", path.display(), from.picks.len()));
    }
    let every = Duration::from_secs(config.checkpoint_s);
    let mut keeper = Some(Keeper {
        path: path.to_path_buf(),
        fingerprint,
        earlier: from.picks.clone(),
        every,
        written: Instant::now(),
    });
    let selected = extend_keeping(&from, x, features, terms, config, &mut keeper, run)?;
    // Of the hours that a larger selection took nothing is lost to a smaller one.
    if from.picks.len() <= config.budget && path.exists() {
        std::fs::remove_file(path).map_err(|e| Error::io(path, e))?;
    }
    Ok(selected)
}
