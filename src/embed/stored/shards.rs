//! A list of files whose rows follow one another: what `causerie embed --shard i/n` leaves, taken together without a copy.

use crate::artifact;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// One file of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardFile {
    /// Its path, from the folder of the list.
    pub file: PathBuf,
    /// Rows in it.
    pub rows: u64,
}

/// The list, a JSON file; it stands wherever a safetensors file of rows may stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shards {
    /// Format number.
    pub format: u64,
    /// Version that made it.
    pub made_by: String,
    /// What the rows of all shards were made from.
    pub fingerprint: String,
    /// Values per row.
    pub dim: u64,
    /// In the order of the rows.
    pub shards: Vec<ShardFile>,
}

impl Shards {
    /// True for a file that begins like JSON: a safetensors file begins with a length, whose eighth byte is 0.
    pub(in super::super) fn is_list(path: &Path) -> Result<bool> {
        let mut head = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        if file.metadata().map_err(|e| Error::io(path, e))?.is_dir() {
            return Err(Error::invalid(format!("{}: is a folder, a file of rows is needed", path.display())));
        }
        file.take(8).read_to_end(&mut head).map_err(|e| Error::io(path, e))?;
        Ok(head.first() == Some(&b'{') && head.last() != Some(&0))
    }
    /// Reads a list.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] for what is no list, or a newer one.
    pub fn load(path: &Path) -> Result<Shards> {
        let list: Shards = serde_json::from_str(&artifact::read_text(path)?)
            .map_err(|e| Error::format(path, 0, format!("neither safetensors nor a list of shards: {e}")))?;
        if list.format > artifact::FORMAT {
            let newer = format!("format {}, made by {}", list.format, list.made_by);
            return Err(Error::format(path, 0, format!("{newer}; this is {}", artifact::made_by())));
        }
        if list.shards.is_empty() {
            return Err(Error::format(path, 0, "a list of no shards"));
        }
        Ok(list)
    }
    /// Writes the list, all or nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        artifact::write_atomic(path, |out| {
            serde_json::to_writer_pretty(out, self).map_err(|e| Error::io(path, e.into()))
        })
    }
    /// The files, each checked to hold the rows that the list says.
    pub(super) fn files(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut files = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let file = folder.join(&shard.file);
            let tensors = super::TensorFile::open(&file)?;
            let place = tensors.place(&tensors.rows_name())?;
            if place.shape != [shard.rows as usize, self.dim as usize] {
                return Err(Error::format(
                    &file,
                    0,
                    format!("shape {:?} where the list says [{}, {}]", place.shape, shard.rows, self.dim),
                ));
            }
            if !self.fingerprint.is_empty() && tensors.text("fingerprint").is_ok_and(|f| f != self.fingerprint) {
                return Err(Error::format(&file, 0, "rows of other reviews or another embedder than the list's"));
            }
            files.push(file);
        }
        Ok(files)
    }
}
