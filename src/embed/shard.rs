//! Embedding in shards: n machines each embed their rows, and a list lays the files end to end without a copy.

use super::file::TensorFile;
use super::stored::{ShardFile, Shards};
use crate::artifact;
use crate::error::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Shard `index` of `count`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 0.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

/// Shards of one embedding at most.
const MOST: usize = 1 << 16;

impl Shard {
    /// Shard `index` of `count`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an index that is not below `count`, and for more than 65,536.
    pub fn new(index: usize, count: usize) -> Result<Shard> {
        if index >= count || count > MOST {
            return Err(Error::invalid(format!(
                "shard {index} of {count}: of at most {MOST} shards, counted from 0; with 4 of them 0 to 3"
            )));
        }
        Ok(Shard { index, count })
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl std::str::FromStr for Shard {
    type Err = Error;
    /// `0/4` to `3/4`.
    fn from_str(text: &str) -> Result<Shard> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
        numbers.and_then(|(index, count)| Shard::new(index, count).ok()).ok_or_else(|| {
            Error::invalid(format!(
                "{text:?}: write I/N, with I from 0 to N-1 and N at most {MOST}: 0/4, 1/4, 2/4, 3/4"
            ))
        })
    }
}

impl Shard {
    /// Its rows among `rows`: as equal as can be, in whole chunks of `chunk` rows, so that every row is computed in the
    /// company in which it would have been computed in one run.
    pub fn rows(self, rows: usize, chunk: usize) -> Range<usize> {
        let chunks = rows.div_ceil(chunk);
        let at = |index: usize| (chunks * index / self.count * chunk).min(rows);
        at(self.index)..at(self.index + 1)
    }
}

/// The file of a shard beside its list: `rows.json` → `rows-0-of-4.safetensors`.
pub fn shard_file(list: &Path, shard: Shard) -> PathBuf {
    let stem = list.file_stem().unwrap_or_default().to_string_lossy();
    list.with_file_name(format!("{stem}-{}-of-{}.safetensors", shard.index, shard.count))
}

/// Writes the list of `count` shards at `list` once all are finished; gives the shards that are not.
///
/// # Errors
/// [`crate::ErrorKind::Format`] for shards that do not belong together; [`crate::ErrorKind::Invalid`] for a count of 0 or above
/// 65,536; [`crate::ErrorKind::Io`].
pub fn join_shards(list: &Path, count: usize) -> Result<Vec<Shard>> {
    Shard::new(0, count)?;
    let shards: Vec<Shard> = (0..count).map(|index| Shard { index, count }).collect();
    let missing: Vec<Shard> = shards.iter().copied().filter(|shard| !shard_file(list, *shard).exists()).collect();
    if !missing.is_empty() {
        return Ok(missing);
    }
    let mut joined = Shards {
        format: artifact::FORMAT,
        made_by: artifact::made_by(),
        fingerprint: String::new(),
        dim: 0,
        shards: Vec::with_capacity(count),
    };
    for shard in shards {
        let path = shard_file(list, shard);
        let bad = |cause: String| Error::format(&path, 0, cause);
        let file = TensorFile::open(&path)?;
        let place = file.place(&file.rows_name())?;
        let [rows, dim] = place.shape.as_slice() else {
            return Err(bad(format!("shape {:?}; [rows, dim] is needed", place.shape)));
        };
        let fingerprint = file.text("fingerprint")?;
        if file.metadata().get("shard").is_some_and(|name| *name != shard.to_string()) {
            return Err(bad(format!("is another shard than {shard}; it was renamed")));
        }
        if shard.index == 0 {
            (joined.fingerprint, joined.dim) = (fingerprint.to_string(), *dim as u64);
        } else if joined.fingerprint != fingerprint || joined.dim != *dim as u64 {
            return Err(bad("rows of other reviews or another embedder than shard 0".into()));
        }
        let name = PathBuf::from(path.file_name().unwrap_or_default());
        joined.shards.push(ShardFile { file: name, rows: *rows as u64 });
    }
    joined.save(list)?;
    Ok(Vec::new())
}
