//! Writing rows in order, in any format: the file of `causerie embed`, and the rows of one file in another format.

use super::super::file::{self, EMBEDDINGS, SCALES};
use super::format::RowType;
use crate::artifact::Replacement;
use crate::error::{Error, Result};
use crate::math::Rows;
use crate::run::Run;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// Where things stand in a file of rows: the header, the scales of i8, then the rows, so that rows are appended in order.
#[derive(Debug, Clone)]
pub struct RowsFile {
    /// Its first bytes.
    pub header: Vec<u8>,
    format: RowType,
    rows: usize,
    dim: usize,
}

impl RowsFile {
    /// A file of `rows` x `dim`; `metadata` gains the format number and the version that made it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a shape that fits no file.
    pub fn new(format: RowType, rows: usize, dim: usize, metadata: &BTreeMap<String, String>) -> Result<RowsFile> {
        let mut tensors = Vec::new();
        if format == RowType::I8 {
            tensors.push((SCALES, RowType::F32.dtype(), vec![rows]));
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
        let scales = if self.format == RowType::I8 { 4 * self.rows } else { 0 };
        (self.header.len() + scales) as u64 + row as u64 * self.row_bytes() as u64
    }
    /// Writes `values` `[any, dim]` as rows `first…`; the file's place is then behind them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn write(&self, out: &mut File, path: &Path, first: usize, values: &[f32]) -> Result<()> {
        self.put(out, path, first, &self.encode(values))
    }
    /// The bytes of some rows, `values` `[any, dim]`.
    fn encode(&self, values: &[f32]) -> Encoded {
        let mut encoded = Encoded { bytes: Vec::with_capacity(values.len() * self.format.bytes()), scales: Vec::new() };
        for row in values.chunks_exact(self.dim) {
            let scale = self.format.encode(row, &mut encoded.bytes);
            encoded.scales.extend_from_slice(&scale.to_le_bytes());
        }
        encoded
    }
    /// Writes encoded rows as rows `first…`.
    fn put(&self, out: &mut File, path: &Path, first: usize, Encoded { bytes, scales }: &Encoded) -> Result<()> {
        let io = |e| Error::io(path, e);
        if self.format == RowType::I8 {
            out.seek(SeekFrom::Start((self.header.len() + 4 * first) as u64)).map_err(io)?;
            out.write_all(scales).map_err(io)?;
        }
        out.seek(SeekFrom::Start(self.row_at(first))).map_err(io)?;
        out.write_all(bytes).map_err(io)
    }
}

/// Rows as they stand in a file.
struct Encoded {
    bytes: Vec<u8>,
    /// Four bytes a row.
    scales: Vec<u8>,
}

/// Values that one task reads and encodes, about.
const BLOCK_VALUES: usize = 1 << 19;
/// Tasks whose rows are written at once.
const BLOCKS: usize = 16;

/// Writes the rows of `x` to the safetensors file at `path` in `format`, all or nothing.
///
/// # Errors
/// [`crate::ErrorKind::Io`], [`crate::ErrorKind::Cancelled`]; [`crate::ErrorKind::Invalid`] for a value that f16 cannot hold.
pub fn pack(x: &dyn Rows, path: &Path, format: RowType, metadata: &BTreeMap<String, String>, run: &Run) -> Result<()> {
    let (rows, dim) = (x.count(), x.width());
    let layout = RowsFile::new(format, rows, dim, metadata)?;
    let mut replacement = Replacement::of(path)?;
    let out = replacement.file();
    out.write_all(&layout.header).map_err(|e| Error::io(path, e))?;
    let block = (BLOCK_VALUES / dim.max(1)).max(1);
    let encode = |first: usize, room: &mut Vec<f32>| {
        let values = x.block(first, block.min(rows - first), room);
        if format == RowType::F16
            && let Some(at) = values.iter().position(|v| v.abs() > 65504.0)
        {
            let row = first + at / dim;
            return Err(Error::invalid(format!(
                "row {row} holds {}, f16 ends at 65504; use f32, or normalise the rows",
                values[at]
            )));
        }
        Ok(layout.encode(values))
    };
    for first in (0..rows).step_by(BLOCKS * block) {
        let end = (first + BLOCKS * block).min(rows);
        let firsts: Vec<usize> = (first..end).step_by(block).collect();
        let encoded: Vec<Result<Encoded>> =
            run.install(|| firsts.par_iter().map_init(Vec::new, |room, &first| encode(first, room)).collect());
        for (first, encoded) in firsts.iter().zip(encoded) {
            layout.put(out, path, *first, &encoded?)?;
        }
        run.step("pack", "rows", end as u64, rows as u64)?;
    }
    replacement.finish()
}
