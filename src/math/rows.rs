//! Rows of values wherever they lie: a matrix in memory, or a file that is mapped and decoded row by row.

use super::{Matrix, dot};
use crate::error::{Error, Result};
use crate::run::Run;
use rayon::prelude::*;
use std::sync::Arc;

/// Rows of f32 values, `[rows, dim]`, as one reads them; how they are stored is the implementor's.
///
/// The same row always reads as the same bits.
pub trait Rows: Sync {
    /// Number of rows.
    fn count(&self) -> usize;
    /// Values per row.
    fn width(&self) -> usize;
    /// Bytes that one row takes where it lies.
    fn row_bytes(&self) -> usize;
    /// Rows `first..first + rows` where they lie side by side as f32; none: they have to be decoded.
    fn direct(&self, first: usize, rows: usize) -> Option<&[f32]>;
    /// Writes the rows from `first` on to `out`, `[any, width]`.
    fn decode(&self, first: usize, out: &mut [f32]);
    /// Reads a little of every cache line of row `i`: what is read next lies near then. Rows that are far from one another
    /// are waited for together and not one after the other. Gives a sum of what was read, which means nothing.
    fn touch(&self, i: usize) -> u32;
    /// What row `i` is called when something is wrong with it: its number where the rows came from.
    fn name(&self, i: usize) -> u64 {
        i as u64
    }
    /// Rows `first..first + rows`, `[rows, width]`; decoded into `room` where need be.
    fn block<'a>(&'a self, first: usize, rows: usize, room: &'a mut Vec<f32>) -> &'a [f32] {
        match self.direct(first, rows) {
            Some(values) => values,
            None => {
                room.resize(rows * self.width(), 0.0);
                self.decode(first, room);
                room
            }
        }
    }
    /// Row `i`, `[width]`.
    fn read<'a>(&'a self, i: usize, room: &'a mut Vec<f32>) -> &'a [f32] {
        self.block(i, 1, room)
    }
}

impl Rows for Matrix {
    fn count(&self) -> usize {
        self.rows()
    }
    fn width(&self) -> usize {
        self.dim()
    }
    fn row_bytes(&self) -> usize {
        4 * self.dim()
    }
    fn direct(&self, first: usize, rows: usize) -> Option<&[f32]> {
        self.data().get(first * self.dim()..(first + rows) * self.dim())
    }
    fn decode(&self, first: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.data()[first * self.dim()..][..out.len()]);
    }
    fn touch(&self, i: usize) -> u32 {
        // Sixteen values are a line.
        self.row(i).iter().step_by(16).fold(0, |sum, v| sum ^ v.to_bits())
    }
}

impl<T: Rows + Send> Rows for Arc<T> {
    fn count(&self) -> usize {
        (**self).count()
    }
    fn width(&self) -> usize {
        (**self).width()
    }
    fn row_bytes(&self) -> usize {
        (**self).row_bytes()
    }
    fn name(&self, i: usize) -> u64 {
        (**self).name(i)
    }
    fn direct(&self, first: usize, rows: usize) -> Option<&[f32]> {
        (**self).direct(first, rows)
    }
    fn decode(&self, first: usize, out: &mut [f32]) {
        (**self).decode(first, out);
    }
    fn touch(&self, i: usize) -> u32 {
        (**self).touch(i)
    }
}

/// The rows named by `rows`, in that order: `[rows.len(), width]`.
pub fn gather(x: &dyn Rows, rows: &[usize]) -> Matrix {
    let mut gathered = Matrix::zeros(rows.len(), x.width());
    let mut room = Vec::new();
    for (i, &row) in rows.iter().enumerate() {
        gathered.row_mut(i).copy_from_slice(x.read(row, &mut room));
    }
    gathered
}

/// Rows per task, fixed.
const BLOCK_ROWS: usize = 256;

/// |x_i|^2 of every row, `[rows]`; refuses NaN and infinities, naming the first such row. `what` says whose rows they are.
/// A row of zeros is one of which nothing is known; its square is 0.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`]; [`crate::ErrorKind::Cancelled`].
pub fn squares(x: &dyn Rows, what: &str, run: &Run) -> Result<Vec<f64>> {
    let mut squares = vec![0f64; x.count()];
    // A few thousand blocks at a time, so that a cancel is seen while a disk is read.
    for (part, out) in squares.chunks_mut(4096 * BLOCK_ROWS).enumerate() {
        run.check()?;
        run.install(|| {
            out.par_chunks_mut(BLOCK_ROWS).enumerate().for_each_init(Vec::new, |room, (block, out)| {
                let first = (part * 4096 + block) * BLOCK_ROWS;
                let values = x.block(first, out.len(), room);
                for (out, row) in out.iter_mut().zip(values.chunks_exact(x.width())) {
                    *out = dot(row, row);
                }
            });
        });
    }
    match squares.iter().position(|square| !square.is_finite()) {
        None => Ok(squares),
        Some(row) => Err(Error::invalid(format!("{what}: row {} holds NaN or an infinity", x.name(row)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_those_of_the_rows_and_a_bad_row_is_named() {
        let run = Run::new(2).unwrap();
        let mut x = Matrix::from_vec(700, 3, (0..2100).map(|i| (i as f32).sin()).collect()).unwrap();
        let found = squares(&x, "rows", &run).unwrap();
        for i in 0..700 {
            assert_eq!(found[i], dot(x.row(i), x.row(i)));
        }
        x.row_mut(555).fill(0.0);
        assert_eq!(squares(&x, "rows", &run).unwrap()[555], 0.0);
        x.row_mut(300)[1] = f32::INFINITY;
        assert!(squares(&x, "rows", &run).unwrap_err().message().contains("row 300 holds"));
    }
}
