//! A long selection that is stopped and goes on: the picks so far, and what they were picked from.
//!
//! Greedy picks are a prefix of every larger selection, and what an engine keeps follows from the rows folded alone. So the
//! picks are all that a checkpoint holds, and a selection that is resumed ends with the bytes of one that never stopped.

use super::field::Terms;
use super::given_centers as centers;
use super::inputs::check;
use super::keeper::{Keeper, fingerprint, read};
use super::picks::Selection;
use super::stage::{SelectionResult, extend_keeping};
use crate::artifact;
use crate::config::SelectConfig;
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows};
use crate::run::{Level, Run, log};
use std::path::Path;
use std::time::{Duration, Instant};

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
    check(x, config)?;
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
