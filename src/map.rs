//! Leaf: a file mapped into memory; beside `llama/` and `ffi/` the one place that needs `unsafe`. Model weights and rows that
//! are too many for memory are read through it.

use crate::error::{Error, Result};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A file, mapped read-only. Its pages are the operating system's: they count once, whoever else maps the file.
///
/// The file must not be cut short or written to while it is mapped: to read a page that is gone ends the process (SIGBUS), and
/// no check of ours can prevent that. Models and embeddings are written once and renamed into place, so that a new one leaves
/// the old one whole for whoever has it mapped; on network file systems another machine's write is seen here.
pub struct Map {
    map: memmap2::Mmap,
    path: PathBuf,
}

impl Map {
    /// Maps `path`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`].
    pub fn open(path: &Path) -> Result<Map> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: mapped read-only and never as anything but bytes and f32, for which every bit pattern is a value. A
        // writer that changes the file meanwhile changes values; one that truncates it is excluded by the rule above.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        Ok(Map { map, path: path.to_path_buf() })
    }
    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
    /// The little-endian f32 values in `range` (bytes); none when it is out of bounds or not aligned to 4.
    pub fn floats(&self, range: Range<usize>) -> Option<&[f32]> {
        let bytes = self.map.get(range)?;
        // SAFETY: any four bytes are an f32; align_to leaves unaligned ends out, and those are refused below.
        let (before, values, after) = unsafe { bytes.align_to::<f32>() };
        (before.is_empty() && after.is_empty() && cfg!(target_endian = "little")).then_some(values)
    }
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Map({})", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_read_in_place_and_bad_ranges_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat()).unwrap();
        let map = Map::open(&path).unwrap();
        assert_eq!(map.floats(0..8).unwrap(), [1.0, 2.0]);
        assert!(map.floats(1..5).is_none() && map.floats(4..12).is_none());
    }
}
