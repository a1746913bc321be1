//! The file of a checkpoint: the picks so far, and a fingerprint of what they were picked from.

use super::field::{NamedRows, Terms};
use super::given_centers as centers;
use super::picks::{Order, Pick, Selection};
use crate::artifact;
use crate::config::{CompareWhole, SelectConfig};
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows};
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
    pub(super) path: PathBuf,
    pub(super) fingerprint: String,
    pub(super) earlier: Vec<Pick>,
    pub(super) every: Duration,
    pub(super) written: Instant,
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
pub(super) fn read(path: &Path, fingerprint: &str) -> Result<Selection> {
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
