//! The update vectors in f32, sixteen at a time: what the many rows meet that only need an upper bound on their score.
//!
//! x' Lambda x = |x|^2 - sum (x . w_t)^2, and every chunk of vectors takes its share off a row's bound, less what rounding
//! could have added. A row meets chunk after chunk until its bound is below what is asked for; the vectors of a block are
//! rotated first so that those which take most come first.

use super::super::lanes::{Simd, WithSimd, widest};
use crate::error::{Error, Result};
use crate::math::{Matrix, Rows, gather, product_nt};
use crate::run::Run;
use faer::{Accum, Par, mat};
use rayon::prelude::*;

/// Columns of a full chunk: two vectors of AVX2, which leave room for the sums of six rows.
const WIDE: usize = 16;
/// Columns of the last chunk of a block when no more are left.
const NARROW: usize = 8;
/// Terms of a product that are summed in f32 before the sum is put away: the error grows with this and not with dim.
const RUN_LENGTH: usize = 128;
/// Rows per task, fixed.
const TASK_ROWS: usize = 96;
/// Tasks between two looks at the cancel flag.
const TASKS: usize = 2048;
/// Rows on which a block's directions are ordered.
const SAMPLE_ROWS: usize = 512;

/// All update vectors that the rows can meet.
pub struct Chunks {
    dim: usize,
    chunks: Vec<Chunk>,
    /// Some of the rows, evenly taken.
    sample: Matrix,
}

/// A few columns, rotated within their block, rounded to f32.
struct Chunk {
    width: usize,
    /// `[dim, width]`: the values that a row meets, in the order it meets them.
    w: Vec<f32>,
    /// Greatest length of a column.
    length: f64,
}

/// How far a row has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lowered {
    /// The upper bound on its score.
    pub bound: f64,
    /// Chunks that it has met.
    pub met: u32,
}

impl Chunks {
    /// None yet.
    pub fn new(x: &dyn Rows) -> Chunks {
        let step = x.count().div_ceil(SAMPLE_ROWS);
        let sample = gather(x, &(0..x.count()).step_by(step.max(1)).collect::<Vec<_>>());
        Chunks { dim: x.width(), chunks: Vec::new(), sample }
    }
    /// How many there are.
    pub fn count(&self) -> usize {
        self.chunks.len()
    }
    /// Bytes that the chunks of `budget` vectors take, about.
    pub fn bytes(dim: usize, budget: usize) -> u64 {
        5 * (dim as u64) * (budget as u64) + 4 * (SAMPLE_ROWS * dim) as u64
    }
    /// Cuts a block of update vectors `[count, dim]` into chunks, rotated so that the directions that lower the scores most
    /// come first: most rows then fall below the threshold after the first chunk and never meet the others.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bug`] when the rotation cannot be computed.
    pub fn close(&mut self, block: &[f64]) -> Result<()> {
        let count = block.len() / self.dim;
        if count == 0 {
            return Ok(());
        }
        let rotated = if count == 1 { block.to_vec() } else { rotate(block, count, &self.sample)? };
        let mut at = 0;
        while at < count {
            let width = if count - at <= NARROW { NARROW } else { WIDE };
            let real = width.min(count - at);
            let columns = &rotated[at * self.dim..(at + real) * self.dim];
            let mut w = vec![0f32; width * self.dim];
            for (j, column) in columns.chunks_exact(self.dim).enumerate() {
                column.iter().enumerate().for_each(|(k, v)| w[k * width + j] = *v as f32);
            }
            let square = |c: &[f64]| c.iter().map(|v| v * v).sum::<f64>();
            let length = columns.chunks_exact(self.dim).map(square).fold(0.0, f64::max).sqrt();
            self.chunks.push(Chunk { width, w, length });
            at += real;
        }
        Ok(())
    }
    /// Takes each row of each group through the chunks it has not met until its bound is below `floor` or none is left.
    /// `groups[c]`: rows that have met the first c chunks. Gives the rows of all groups, in order, with where they stand.
    /// `squares`: |x|^2 of all rows.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn lower(
        &self,
        x: &dyn Rows,
        squares: &[f64],
        bounds: &[f64],
        groups: &[Vec<u32>],
        floor: f64,
        run: &Run,
    ) -> Result<Vec<(u32, Lowered)>> {
        let tasks: Vec<(usize, &[u32])> =
            groups.iter().enumerate().flat_map(|(c, rows)| rows.chunks(TASK_ROWS).map(move |rows| (c, rows))).collect();
        let mut lowered = Vec::with_capacity(groups.iter().map(Vec::len).sum());
        for tasks in tasks.chunks(TASKS) {
            run.check()?;
            let one = |room: &mut Vec<f32>, (first, rows): &(usize, &[u32])| {
                self.task(x, squares, bounds, *first, rows, floor, room)
            };
            let done: Vec<Vec<Lowered>> = run.install(|| tasks.par_iter().map_init(Vec::new, one).collect());
            for ((_, rows), done) in tasks.iter().zip(done) {
                lowered.extend(rows.iter().copied().zip(done));
            }
        }
        Ok(lowered)
    }

    /// [`Chunks::lower`] for some rows that have met as many chunks.
    #[allow(clippy::too_many_arguments)]
    fn task(
        &self,
        x: &dyn Rows,
        squares: &[f64],
        bounds: &[f64],
        first: usize,
        rows: &[u32],
        floor: f64,
        room: &mut Vec<f32>,
    ) -> Vec<Lowered> {
        let mut out: Vec<Lowered> =
            rows.iter().map(|&row| Lowered { bound: bounds[row as usize], met: first as u32 }).collect();
        if first == self.chunks.len() {
            return out;
        }
        let dim = self.dim;
        if rows.iter().any(|&row| x.direct(row as usize, 1).is_none()) {
            room.resize(rows.len() * dim, 0.0);
            rows.iter().zip(room.chunks_exact_mut(dim)).for_each(|(&row, out)| x.decode(row as usize, out));
        }
        let room = &*room;
        let values: Vec<&[f32]> = (rows.iter().enumerate())
            .map(|(i, &row)| x.direct(row as usize, 1).unwrap_or_else(|| &room[i * dim..(i + 1) * dim]))
            .collect();
        // |computed - true| of one product: rounding of w, of each term and each sum, at most this often, in units of f32's.
        let roundings = (RUN_LENGTH + dim.div_ceil(RUN_LENGTH) + 3) as f64;
        let unit = 1.01 * roundings * f64::from(f32::EPSILON) / 2.0;
        let mut alive: Vec<usize> = (0..rows.len()).collect();
        let mut drops = vec![0f64; rows.len()];
        for (c, chunk) in self.chunks.iter().enumerate().skip(first) {
            widest(Drops { chunk, values: &values, alive: &alive, drops: &mut drops[..alive.len()] });
            let width = (chunk.width as f64).sqrt();
            for (drop, &i) in drops.iter().zip(&alive) {
                // sum (|a| - e)^2 >= sum a^2 - 2 e sum |a| >= A - 2 e sqrt(width A).
                let error = unit * chunk.length * squares[rows[i] as usize].sqrt();
                out[i].bound -= (*drop - 2.0 * error * width * drop.sqrt()).max(0.0);
                out[i].met = c as u32 + 1;
            }
            alive.retain(|&i| out[i].bound >= floor);
            if alive.is_empty() {
                break;
            }
        }
        out
    }
}

/// Sums of squares of some rows' products with one chunk.
struct Drops<'a> {
    chunk: &'a Chunk,
    values: &'a [&'a [f32]],
    /// Which of the rows; as many as there are drops.
    alive: &'a [usize],
    drops: &'a mut [f64],
}

impl WithSimd for Drops<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Vectors that hold the values of one line of the chunk.
        match self.chunk.width / S::F32_LANES {
            1 => tiles::<S, 1>(simd, self),
            2 => tiles::<S, 2>(simd, self),
            4 => tiles::<S, 4>(simd, self),
            _ => plain(self),
        }
    }
}

/// All rows against the chunk, as many at a time as registers allow: six rows and two vectors take twelve of sixteen.
#[inline(always)]
fn tiles<S: Simd, const V: usize>(simd: S, work: Drops<'_>) {
    let (w, _) = S::as_simd_f32s(&work.chunk.w);
    let at = |i: usize| work.values[work.alive[i]];
    let (count, mut done) = (work.alive.len(), 0);
    while done < count {
        let drops = &mut work.drops[done..];
        done += match count - done {
            1 => put(drops, tile::<S, V, 1>(simd, w, [at(done)])),
            2 => put(drops, tile::<S, V, 2>(simd, w, [at(done), at(done + 1)])),
            3 => put(drops, tile::<S, V, 3>(simd, w, [at(done), at(done + 1), at(done + 2)])),
            4 | 5 => put(drops, tile::<S, V, 4>(simd, w, [at(done), at(done + 1), at(done + 2), at(done + 3)])),
            _ => put(drops, tile::<S, V, 6>(simd, w, std::array::from_fn(|i| at(done + i)))),
        };
    }
}

#[inline(always)]
fn put<const R: usize>(drops: &mut [f64], squares: [f64; R]) -> usize {
    drops.iter_mut().zip(squares).for_each(|(drop, square)| *drop = square);
    R
}

/// `R` rows against one chunk of `V` vectors a line, `[dim, V]`. Sums stay in registers for [`RUN_LENGTH`] terms.
#[inline(always)]
fn tile<S: Simd, const V: usize, const R: usize>(simd: S, w: &[S::f32s], x: [&[f32]; R]) -> [f64; R] {
    let mut totals = [[simd.splat_f32s(0.0); V]; R];
    let dim = x[0].len();
    let mut first = 0;
    while first < dim {
        let last = (first + RUN_LENGTH).min(dim);
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        let lines = w[first * V..last * V].as_chunks::<V>().0;
        let x: [&[f32]; R] = std::array::from_fn(|r| &x[r][first..last][..lines.len()]);
        for (k, line) in lines.iter().enumerate() {
            for r in 0..R {
                let value = simd.splat_f32s(x[r][k]);
                for v in 0..V {
                    sums[r][v] = simd.mul_add_f32s(value, line[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                totals[r][v] = simd.add_f32s(totals[r][v], sums[r][v]);
            }
        }
        first = last;
    }
    // Every lane is a product of a row and a column; their squares are summed in the columns' order.
    totals.map(|totals| {
        let lanes = pulp::bytemuck::cast_slice::<S::f32s, f32>(&totals);
        lanes.iter().map(|a| f64::from(*a) * f64::from(*a)).sum()
    })
}

/// The same in plain loops, for vectors that are wider or narrower than a chunk.
fn plain(work: Drops<'_>) {
    let width = work.chunk.width;
    for (drop, &i) in work.drops.iter_mut().zip(work.alive) {
        let mut totals = vec![0f32; width];
        for (x, lines) in work.values[i].chunks(RUN_LENGTH).zip(work.chunk.w.chunks(RUN_LENGTH * width)) {
            let mut sums = vec![0f32; width];
            for (x, line) in x.iter().zip(lines.chunks_exact(width)) {
                sums.iter_mut().zip(line).for_each(|(sum, w)| *sum = x.mul_add(*w, *sum));
            }
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        *drop = totals.iter().map(|a| f64::from(*a) * f64::from(*a)).sum();
    }
}

/// The block's columns turned so that they stand in falling order of energy on the sample: `[count, dim]`. A rotation
/// changes no sum of squares over the block.
fn rotate(block: &[f64], count: usize, sample: &Matrix) -> Result<Vec<f64>> {
    let dim = block.len() / count;
    let narrow = Matrix::from_vec(count, dim, block.iter().map(|v| *v as f32).collect())?;
    let met = product_nt(sample, &narrow)?;
    let met = mat::MatRef::from_row_major_slice(met.data(), sample.rows(), count);
    let mut energy = faer::Mat::<f32>::zeros(count, count);
    faer::linalg::matmul::matmul(energy.as_mut(), Accum::Replace, met.transpose(), met, 1.0, Par::Seq);
    let energy = faer::Mat::<f64>::from_fn(count, count, |i, j| f64::from(energy[(i, j)]));
    let eigen = energy
        .self_adjoint_eigen(faer::Side::Lower)
        .map_err(|e| Error::bug(format!("select: no eigenvectors of a block of {count} columns: {e:?}")))?;
    let vectors = eigen.U();
    let mut rotated = vec![0f64; block.len()];
    faer::linalg::matmul::matmul(
        mat::MatMut::from_row_major_slice_mut(&mut rotated, count, dim),
        Accum::Replace,
        vectors.transpose(),
        mat::MatRef::from_row_major_slice(block, count, dim),
        1.0,
        Par::Seq,
    );
    // Eigenvalues rise; the greatest energy is to come first.
    Ok(rotated.chunks_exact(dim).rev().flatten().copied().collect())
}
