//! Rows too many for memory: safetensors files, mapped and decoded row by row as they are read ([`StoredRows`]).
//!
//! [`Format`] is how values are stored (`embed.store`); [`Shards`] lists several files whose rows follow one another, so that
//! an embedding made in shards is one matrix without being copied; [`pack`] writes the rows of one file in another format.

mod format;
mod pack;
mod shards;

pub use format::RowType;
pub use pack::{RowsFile, pack};
pub use shards::{ShardFile, Shards};

use super::file::{SCALES, TensorFile};
use crate::error::{Error, Result};
use crate::map::Map;
use crate::math::{Matrix, Rows};
use std::ops::Range;
use std::path::Path;

/// Rows in one file or several, mapped: `[rows, dim]`.
///
/// Nothing is read before it is asked for; the pages are the operating system's and are dropped when memory is short. The
/// files must not be cut short meanwhile.
#[derive(Debug)]
pub struct StoredRows {
    parts: Vec<Part>,
    rows: usize,
    dim: usize,
}

/// The rows of one file.
#[derive(Debug)]
struct Part {
    map: Map,
    first: usize,
    rows: usize,
    format: RowType,
    /// Where the values lie, in bytes.
    values: Range<usize>,
    /// Where the scales lie, for i8.
    scales: Range<usize>,
}

impl StoredRows {
    /// Opens a safetensors file (its tensor `embeddings`, or the only one), or a list of such files ([`Shards`]).
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Format`] for what holds no rows in f32,
    /// f16, bf16, f64 or i8 with scales, and for shards that do not belong together.
    pub fn open(path: &Path) -> Result<StoredRows> {
        let mut stored = StoredRows { parts: Vec::new(), rows: 0, dim: 0 };
        if Shards::is_list(path)? {
            for file in Shards::load(path)?.files(path)? {
                stored.add(&file)?;
            }
        } else {
            stored.add(path)?;
        }
        Ok(stored)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let bad = |cause: String| Error::format(path, 0, cause);
        let file = TensorFile::open(path)?;
        let name = file.rows_name();
        let tensor = file.place(&name)?;
        let [rows, dim] = tensor.shape.as_slice() else {
            return Err(bad(format!("tensor {name:?} has shape {:?}; [rows, dim] is needed", tensor.shape)));
        };
        let (rows, dim) = (*rows, *dim);
        let format = RowType::of(tensor.dtype).ok_or_else(|| {
            bad(format!(
                "tensor {name:?} is {:?}; rows in f32, f16, bf16, f64 or i8 with scales are needed",
                tensor.dtype
            ))
        })?;
        let scales = match format {
            RowType::I8 => {
                let scales = file.place(SCALES).map_err(|e| e.context("rows in i8 need one f32 scale each"))?;
                if scales.shape != [rows] || RowType::of(scales.dtype) != Some(RowType::F32) {
                    return Err(bad(format!("tensor {SCALES:?} must be f32 of shape [{rows}]")));
                }
                scales.bytes
            }
            RowType::F32 | RowType::F16 | RowType::BF16 | RowType::F64 => 0..0,
        };
        if !self.parts.is_empty() && self.dim != dim {
            return Err(bad(format!("rows of {dim} values after shards with {}", self.dim)));
        }
        let map = Map::open(path)?;
        if tensor.bytes.end.max(scales.end) > map.bytes().len() {
            return Err(bad("was cut short while it was opened".into()));
        }
        self.parts.push(Part { map, first: self.rows, rows, format, values: tensor.bytes, scales });
        self.rows = self.rows.checked_add(rows).ok_or_else(|| bad("more rows than a machine can count".into()))?;
        self.dim = dim;
        Ok(())
    }

    /// The format of the rows; that of the first file where they differ.
    pub fn format(&self) -> RowType {
        self.parts.first().map_or(RowType::F32, |part| part.format)
    }

    /// All rows in memory, as f32.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Memory`] for more values than a machine can count.
    pub fn to_matrix(&self) -> Result<Matrix> {
        let values = self.rows.checked_mul(self.dim).filter(|n| n.checked_mul(4).is_some());
        let values =
            values.ok_or_else(|| Error::memory(format!("{} x {} values fit no memory", self.rows, self.dim)))?;
        let mut data = vec![0f32; values];
        self.decode(0, &mut data);
        Matrix::from_vec(self.rows, self.dim, data)
    }

    /// The part that holds row `i`. Panics for a row that is not there.
    fn part(&self, i: usize) -> &Part {
        let at = self.parts.partition_point(|part| part.first + part.rows <= i);
        &self.parts[at]
    }
}

impl Part {
    fn row_bytes(&self, dim: usize) -> usize {
        dim * self.format.bytes()
    }
    fn decode(&self, row: usize, dim: usize, out: &mut [f32]) {
        let bytes = self.map.bytes();
        let width = self.row_bytes(dim);
        let from = self.values.start + row * width;
        let scale = match bytes.get(self.scales.start + 4 * row..self.scales.start + 4 * row + 4) {
            Some([a, b, c, d]) if self.format == RowType::I8 => f32::from_le_bytes([*a, *b, *c, *d]),
            Some(_) | None => 1.0,
        };
        self.format.decode(&bytes[from..from + width], scale, out);
    }
}

impl Rows for StoredRows {
    fn count(&self) -> usize {
        self.rows
    }
    fn width(&self) -> usize {
        self.dim
    }
    fn row_bytes(&self) -> usize {
        self.parts.first().map_or(0, |part| part.row_bytes(self.dim))
    }
    fn direct(&self, first: usize, rows: usize) -> Option<&[f32]> {
        if first + rows > self.rows || rows == 0 {
            return None;
        }
        let part = self.part(first);
        let row = first - part.first;
        if part.format != RowType::F32 || row + rows > part.rows {
            return None;
        }
        let from = part.values.start + row * 4 * self.dim;
        part.map.floats(from..from + rows * 4 * self.dim)
    }
    fn decode(&self, first: usize, out: &mut [f32]) {
        if self.dim == 0 {
            return;
        }
        for (i, out) in out.chunks_exact_mut(self.dim).enumerate() {
            let part = self.part(first + i);
            part.decode(first + i - part.first, self.dim, out);
        }
    }
    fn touch(&self, i: usize) -> u32 {
        let part = self.part(i);
        let width = part.row_bytes(self.dim);
        let from = part.values.start + (i - part.first) * width;
        part.map.bytes()[from..from + width].iter().step_by(64).fold(0, |sum, b| sum ^ u32::from(*b))
    }
}

#[cfg(test)]
mod tests;
