//! A whole dataset into a safetensors file, resumable: hours of a language model's work survive a kill.
//!
//! Rows are written in order to `X.partial`; `X.progress` says how many are there and what they were made from. At the
//! end `X.partial` is renamed to `X`. Chunks have a fixed size, so that a run that was interrupted ends with the bytes of
//! one that was not.

use super::embedder::Embedder;
use super::file;
use super::review_text::review_text;
use super::shard::Shard;
use super::stored::{RowType, RowsFile, StoredRows};
use crate::artifact;
use crate::config::EmbedConfig;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::math::squares;
use crate::run::{Level, Run, log};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Reviews per chunk: the unit of progress and of resuming.
const CHUNK: usize = 64;
/// How often the sidecar is brought up to date.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// The sidecar.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    format: u64,
    fingerprint: String,
    rows_done: u64,
    /// Of them, rows of zeros.
    #[serde(default)]
    passed_over: u64,
}

/// What [`embed_reviews`] did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Embedded {
    /// Rows in the file.
    pub rows: usize,
    /// Values per row.
    pub dim: usize,
    /// Rows that an earlier run had made.
    pub resumed_rows: usize,
    /// Rows of zeros: reviews of which the embedder knows nothing. No selection takes them.
    pub passed_over: usize,
}

impl std::fmt::Display for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} reviews x {} dimensions", self.rows, self.dim)?;
        match self.passed_over {
            0 => Ok(()),
            n => write!(f, ", {n} of them passed over (nothing in them is known to the embedder)"),
        }
    }
}

/// How the rows of a dataset are stored, and which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    /// The format of the values.
    pub format: RowType,
    /// One shard of several; none: all rows.
    pub shard: Option<Shard>,
}

impl Store {
    /// All rows in the format of the settings.
    pub fn of(config: &EmbedConfig) -> Store {
        Store { format: config.store.into(), shard: None }
    }
}

/// What rows of this dataset by this embedder are known by: changes when any review or the embedder changes.
pub fn fingerprint(dataset: &Dataset, embedder: &dyn Embedder) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [embedder.name().as_bytes(), &embedder.dim().to_le_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    for r in 0..dataset.reviews() {
        for part in [dataset.review_title(r), dataset.review_text(r)] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex()[..32].to_string()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    path.with_file_name(name)
}

/// Embeds every review of `dataset` into the safetensors file at `path`: one f32 tensor `embeddings` `[reviews, dim]`.
///
/// A finished file of the same reviews and embedder is left as it is; an unfinished one is continued; files made from
/// anything else are made anew.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for a dataset without reviews, or without one that the embedder knows anything of (a single
/// such review has a row of zeros, is counted and told); [`crate::ErrorKind::Io`], also while another process writes the file;
/// [`crate::ErrorKind::Cancelled`], after which the same call goes on where this one stopped.
pub fn embed_reviews(dataset: &Dataset, embedder: &dyn Embedder, path: &Path, run: &Run) -> Result<Embedded> {
    embed_reviews_as(dataset, embedder, path, Store { format: RowType::F32, shard: None }, run)
}

/// [`embed_reviews`] in any format, or one shard of the reviews alone. A shard's bytes are those of the same rows of the whole.
///
/// # Errors
/// Those of [`embed_reviews`]; [`crate::ErrorKind::Invalid`] for a shard without rows.
pub fn embed_reviews_as(
    dataset: &Dataset,
    embedder: &dyn Embedder,
    path: &Path,
    store: Store,
    run: &Run,
) -> Result<Embedded> {
    let (all, dim) = (dataset.reviews(), embedder.dim());
    if all == 0 {
        return Err(Error::invalid("embed: the dataset has no reviews"));
    }
    let path = &artifact::regular_file(path)?;
    let fingerprint = fingerprint(dataset, embedder);
    let mut metadata: BTreeMap<String, String> =
        [("fingerprint".to_string(), fingerprint.clone()), ("embedder".to_string(), embedder.name())].into();
    let range = match store.shard {
        None => 0..all,
        Some(shard) => {
            metadata.insert("shard".into(), shard.to_string());
            let range = shard.rows(all, CHUNK);
            if range.is_empty() {
                return Err(Error::invalid(format!(
                    "embed: shard {shard} of {all} reviews is empty; take fewer shards"
                )));
            }
            range
        }
    };
    let (start, rows) = (range.start, range.len());
    if is_finished(path, &metadata, store.format) {
        run.step("embed", "reviews", rows as u64, rows as u64)?;
        return finished(path, rows, dim, run);
    }
    let layout = RowsFile::new(store.format, rows, dim, &metadata)?;
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    let mut writer = Writer::open(path, layout, fingerprint)?;
    // Another process may have finished between the first look and the lock.
    if is_finished(path, &metadata, store.format) {
        writer.withdraw()?;
        return finished(path, rows, dim, run);
    }
    let resumed = writer.done.min(rows);
    if resumed > 0 {
        log(Level::Info, &format!("{}: goes on after {resumed} of {rows} reviews", path.display()));
    }
    let started = Instant::now();
    let mut at = resumed;
    while at < rows {
        let end = (at + CHUNK).min(rows);
        let result = chunk(dataset, embedder, start + at, start + end, run);
        let result = result.and_then(|values| writer.append(&values, end - at));
        let result = result.and_then(|()| {
            at = end;
            run.step_with("embed", "reviews", at as u64, rows as u64, || {
                format!("{:.1} reviews/s", (at - resumed) as f64 / started.elapsed().as_secs_f64().max(1e-6))
            })
        });
        if let Err(e) = result {
            // What was finished is kept; the first error is the one to tell.
            let _ = writer.note();
            return Err(e);
        }
    }
    let passed_over = writer.passed_over;
    // A shard may hold none of those that are known.
    if passed_over == rows && store.shard.is_none() {
        let next = "embed them with a language model (embed.method = \"lm\")";
        return Err(Error::invalid(format!("embed: the embedder knows nothing of any of {rows} reviews; {next}")));
    }
    if passed_over > 0 {
        let text = format!(
            "embed: the embedder knows nothing of {passed_over} of {rows} reviews: their rows are zeros, and no selection \
             takes them"
        );
        log(Level::Warn, &text);
    }
    writer.finish(path, rows)?;
    Ok(Embedded { rows, dim, resumed_rows: resumed, passed_over })
}

/// What there is to say of rows that were made before.
fn finished(path: &Path, rows: usize, dim: usize, run: &Run) -> Result<Embedded> {
    let squares = squares(&StoredRows::open(path)?, "embed", run)?;
    let passed_over = squares.iter().filter(|square| **square == 0.0).count();
    Ok(Embedded { rows, dim, resumed_rows: rows, passed_over })
}

/// A file of the same rows, whole, in the same format.
fn is_finished(path: &Path, metadata: &BTreeMap<String, String>, format: RowType) -> bool {
    let same = |file: file::TensorFile| {
        let format_fits = file.place(file::EMBEDDINGS).is_ok_and(|place| place.dtype == format.dtype());
        let keys = ["fingerprint", "shard"];
        format_fits && keys.iter().all(|key| file.metadata().get(*key) == metadata.get(*key))
    };
    path.exists() && file::TensorFile::open(path).is_ok_and(same)
}

fn chunk(dataset: &Dataset, embedder: &dyn Embedder, from: usize, to: usize, run: &Run) -> Result<Vec<f32>> {
    let texts: Vec<String> = (from..to).map(|r| review_text(dataset, r)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let matrix =
        embedder.embed(&texts, true, run).map_err(|e| e.context(format!("embed: in reviews {from} to {}", to - 1)))?;
    // On the run's threads: rayon's global pool is never ours to start, and would not survive a fork.
    run.install(|| matrix.check_rows(&format!("embed: reviews {from} to {}", to - 1)))?;
    Ok(matrix.into_data())
}

/// The unfinished file and its sidecar.
struct Writer {
    file: File,
    layout: RowsFile,
    partial: PathBuf,
    sidecar: PathBuf,
    fingerprint: String,
    done: usize,
    passed_over: usize,
    noted: Instant,
}

impl Writer {
    fn open(path: &Path, layout: RowsFile, fingerprint: String) -> Result<Writer> {
        let (partial, sidecar) = (beside(path, ".partial"), beside(path, ".progress"));
        let mut file = artifact::open_held(&partial)?;
        let length = file.metadata().map_err(|e| Error::io(&partial, e))?.len();
        // As many rows as both the sidecar claims and the file holds, in whole chunks: a killed run leaves a tail.
        let noted = std::fs::read(&sidecar)
            .ok()
            .and_then(|text| serde_json::from_slice::<Progress>(&text).ok())
            .filter(|p| p.format == artifact::FORMAT && p.fingerprint == fingerprint);
        let (claimed, passed_over) = noted.map_or((0, 0), |p| (p.rows_done, p.passed_over));
        let held = length.saturating_sub(layout.row_at(0)) / layout.row_bytes().max(1) as u64;
        let mut begins = vec![0u8; layout.header.len()];
        let same = file.read_exact(&mut begins).is_ok() && begins == layout.header;
        // Fewer rows than were noted, and the count of those passed over is that of others: all is made again.
        let done = if same && claimed <= held { claimed as usize / CHUNK * CHUNK } else { 0 };
        let passed_over = if done > 0 { passed_over as usize } else { 0 };
        if done == 0 {
            file.set_len(0).map_err(|e| Error::io(&partial, e))?;
            file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(&partial, e))?;
            std::io::Write::write_all(&mut file, &layout.header).map_err(|e| Error::io(&partial, e))?;
        }
        file.set_len(layout.row_at(done)).map_err(|e| Error::io(&partial, e))?;
        Ok(Writer { file, layout, partial, sidecar, fingerprint, done, passed_over, noted: Instant::now() })
    }
    fn append(&mut self, values: &[f32], rows: usize) -> Result<()> {
        self.layout.write(&mut self.file, &self.partial, self.done, values)?;
        self.done += rows;
        let dim = values.len() / rows.max(1);
        self.passed_over += values.chunks_exact(dim.max(1)).filter(|row| row.iter().all(|v| *v == 0.0)).count();
        if self.noted.elapsed() >= SYNC_EVERY {
            self.note()?;
        }
        Ok(())
    }
    /// Writes the sidecar, after the rows that it speaks of.
    fn note(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.partial, e))?;
        let progress = Progress {
            format: artifact::FORMAT,
            fingerprint: self.fingerprint.clone(),
            rows_done: self.done as u64,
            passed_over: self.passed_over as u64,
        };
        artifact::write_atomic(&self.sidecar, |out| {
            serde_json::to_writer(out, &progress).map_err(|e| Error::io(&self.sidecar, e.into()))
        })?;
        self.noted = Instant::now();
        Ok(())
    }
    /// Removes the files that this one opened and nobody needs.
    fn withdraw(self) -> Result<()> {
        let _ = std::fs::remove_file(&self.sidecar);
        std::fs::remove_file(&self.partial).map_err(|e| Error::io(&self.partial, e))
    }
    /// Puts the file in its place, once all its rows were written here or by those that it goes on from.
    fn finish(self, path: &Path, rows: usize) -> Result<()> {
        let length = self.file.metadata().map_err(|e| Error::io(&self.partial, e))?.len();
        if self.done != rows || length != self.layout.row_at(rows) {
            let cause = format!("{} of {rows} rows in {length} bytes: another program changed it", self.done);
            return Err(Error::format(&self.partial, 0, cause));
        }
        self.file.sync_all().map_err(|e| Error::io(&self.partial, e))?;
        std::fs::rename(&self.partial, path).map_err(|e| Error::io(path, e))?;
        let _ = std::fs::remove_file(&self.sidecar);
        Ok(())
    }
}
