//! Writing rows in order, in any format: the file of `causerie embed`, and the rows of one file in another format.

use super::super::file;
use super::{EMBEDDINGS, Format, SCALES};
use crate::artifact;
use crate::error::{Error, Result};
use crate::math::Rows;
use crate::run::Run;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// Where things stand in a file of rows: the header, the scales of i8, then the rows, so that rows are appended in order.
#[derive(Debug, Clone)]
pub struct RowsFile {
    /// Its first bytes.
    pub header: Vec<u8>,
    format: Format,
    rows: usize,
    dim: usize,
}

impl RowsFile {
    /// A file of `rows` x `dim`; `metadata` gains the format number and the version that made it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a shape that fits no file.
    pub fn new(format: Format, rows: usize, dim: usize, metadata: &BTreeMap<String, String>) -> Result<RowsFile> {
        let mut tensors = Vec::new();
        if format == Format::I8 {
            tensors.push((SCALES, Format::F32.dtype(), vec![rows]));
        }
        tensors.push((EMBEDDINGS, format.dtype(), vec![rows, dim]));
        Ok(RowsFile { header: file::header_of(&tensors, metadata)?, format, rows, dim })
    }
    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.dim * self.format.bytes()
    }
    /// Where row `row` begins.
    pub fn row_at(&self, row: usize) -> u64 {
        let scales = if self.format == Format::I8 { 4 * self.rows } else { 0 };
        (self.header.len() + scales) as u64 + row as u64 * self.row_bytes() as u64
    }
    /// Writes `values` `[any, dim]` as rows `first…`; the file's place is then behind them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn write(&self, out: &mut File, path: &Path, first: usize, values: &[f32]) -> Result<()> {
        let io = |e| Error::io(path, e);
        let mut bytes = Vec::with_capacity(values.len() * self.format.bytes());
        let mut scales = Vec::new();
        for row in values.chunks_exact(self.dim) {
            let scale = self.format.encode(row, &mut bytes);
            scales.extend_from_slice(&scale.to_le_bytes());
        }
        if self.format == Format::I8 {
            out.seek(SeekFrom::Start((self.header.len() + 4 * first) as u64)).map_err(io)?;
            out.write_all(&scales).map_err(io)?;
        }
        out.seek(SeekFrom::Start(self.row_at(first))).map_err(io)?;
        out.write_all(&bytes).map_err(io)
    }
}

/// Rows read and written at once.
const BLOCK_ROWS: usize = 4096;

/// Writes the rows of `x` to the safetensors file at `path` in `format`, all or nothing.
///
/// # Errors
/// [`crate::ErrorKind::Io`], [`crate::ErrorKind::Cancelled`]; [`crate::ErrorKind::Invalid`] for a value that f16 cannot hold.
pub fn pack(x: &dyn Rows, path: &Path, format: Format, metadata: &BTreeMap<String, String>, run: &Run) -> Result<()> {
    let (rows, dim) = (x.count(), x.width());
    let layout = RowsFile::new(format, rows, dim, metadata)?;
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    let temporary = artifact::temporary_name(path);
    let result = (|| {
        let mut out = File::create(&temporary).map_err(|e| Error::io(&temporary, e))?;
        out.write_all(&layout.header).map_err(|e| Error::io(&temporary, e))?;
        let mut room = Vec::new();
        for first in (0..rows).step_by(BLOCK_ROWS) {
            let count = BLOCK_ROWS.min(rows - first);
            let values = x.block(first, count, &mut room);
            if format == Format::F16
                && let Some(at) = values.iter().position(|v| v.abs() > 65504.0)
            {
                let row = first + at / dim;
                return Err(Error::invalid(format!(
                    "row {row} holds {}, f16 ends at 65504; use f32, or normalise the rows",
                    values[at]
                )));
            }
            layout.write(&mut out, &temporary, first, values)?;
            run.step("pack", "rows", (first + count) as u64, rows as u64)?;
        }
        out.sync_all().map_err(|e| Error::io(&temporary, e))?;
        std::fs::rename(&temporary, path).map_err(|e| Error::io(path, e))
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result
}
