//! The update vectors in f32, sixteen at a time: what the many rows meet that only need an upper bound on their score.
//!
//! x' Lambda x = |x|^2 - sum (x . w_t)^2, and every chunk of vectors takes its share off a row's bound, less what rounding
//! could have added. The vectors of a block are rotated first so that those which take most come first: the first chunk of a
//! block is *strong*, the others are *weak*. A row meets the strong chunks of all blocks before any weak one, and stops as
//! soon as its bound is below what is asked for: most rows never need the weak ones.

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
/// Values of a task's rows, about: they are to stay in a core's own cache.
const TASK_VALUES: usize = 1 << 17;
/// Tasks between two looks at the cancel flag.
const TASKS: usize = 2048;
/// Rows on which a block's directions are ordered.
const SAMPLE_ROWS: usize = 512;

/// All update vectors that the rows can meet.
pub struct Chunks {
    dim: usize,
    /// The first chunk of every block.
    strong: Vec<Chunk>,
    /// The others.
    weak: Vec<Chunk>,
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

/// Which of the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first of every block.
    Strong,
    /// The others.
    Weak,
}

/// How far a row has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoundedRow {
    /// The row.
    pub row: u32,
    /// Strong chunks that it has met.
    pub strong: u32,
    /// Weak chunks that it has met.
    pub weak: u32,
    /// The upper bound on its score.
    pub bound: f64,
}

impl BoundedRow {
    fn met(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Strong => &mut self.strong,
            Kind::Weak => &mut self.weak,
        }
    }
}

impl Chunks {
    /// None yet.
    pub fn new(x: &dyn Rows) -> Chunks {
        let step = x.count().div_ceil(SAMPLE_ROWS);
        let sample = gather(x, &(0..x.count()).step_by(step.max(1)).collect::<Vec<_>>());
        Chunks { dim: x.width(), strong: Vec::new(), weak: Vec::new(), sample }
    }
    fn of(&self, kind: Kind) -> &[Chunk] {
        match kind {
            Kind::Strong => &self.strong,
            Kind::Weak => &self.weak,
        }
    }
    /// How many there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.of(kind).len()
    }
    /// Bytes that the chunks of `budget` vectors take, about.
    pub fn bytes(dim: usize, budget: usize) -> u64 {
        // The last chunk of a block may be half empty; threads decode a task's rows each.
        let tasks = 16 * 4 * TASK_VALUES.max(24 * dim) as u64;
        6 * (dim as u64) * (budget as u64) + 4 * (SAMPLE_ROWS * dim) as u64 + tasks
    }
    /// Cuts a block of update vectors `[count, dim]` into chunks, rotated so that the directions that lower the scores most
    /// come first.
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
            let chunks = if at == 0 { &mut self.strong } else { &mut self.weak };
            chunks.push(Chunk { width, w, length });
            at += real;
        }
        Ok(())
    }
    /// Takes each row through the strong chunks that it has not met, then through the weak ones, until its bound is below
    /// `floor` or none is left. `rows`: in rising order of `strong`. `squares`: |x|^2 of all rows.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn lower(&self, x: &dyn Rows, squares: &[f64], rows: &mut [BoundedRow], floor: f64, run: &Run) -> Result<()> {
        let task_rows = (TASK_VALUES / self.dim.max(1) / 6 * 6).clamp(24, 96);
        for rows in rows.chunks_mut(TASKS * task_rows) {
            run.check()?;
            run.install(|| {
                rows.par_chunks_mut(task_rows).for_each_init(Room::default, |room, rows| {
                    self.task(x, squares, rows, floor, room);
                });
            });
        }
        Ok(())
    }

    /// [`Chunks::lower`] for some rows.
    fn task(&self, x: &dyn Rows, squares: &[f64], rows: &mut [BoundedRow], floor: f64, room: &mut Room) {
        let dim = self.dim;
        std::hint::black_box(rows.iter().fold(0, |sum, row| sum ^ x.touch(row.row as usize)));
        if rows.iter().any(|row| x.direct(row.row as usize, 1).is_none()) {
            room.decoded.resize(rows.len() * dim, 0.0);
            rows.iter().zip(room.decoded.chunks_exact_mut(dim)).for_each(|(row, out)| x.decode(row.row as usize, out));
        }
        let decoded = &room.decoded;
        let values: Vec<&[f32]> = (rows.iter().enumerate())
            .map(|(i, row)| x.direct(row.row as usize, 1).unwrap_or_else(|| &decoded[i * dim..(i + 1) * dim]))
            .collect();
        let lengths: Vec<f64> = rows.iter().map(|row| squares[row.row as usize].sqrt()).collect();
        let task = Task { dim, values: &values, lengths: &lengths, floor };
        let order: Vec<usize> = (0..rows.len()).collect();
        task.through(Kind::Strong, &self.strong, rows, &order, &mut room.totals);
        let mut order = order;
        order.retain(|&i| rows[i].bound >= floor);
        order.sort_by_key(|&i| rows[i].weak);
        task.through(Kind::Weak, &self.weak, rows, &order, &mut room.totals);
    }
}

/// The rows of a task.
struct Task<'a> {
    dim: usize,
    values: &'a [&'a [f32]],
    /// |x|.
    lengths: &'a [f64],
    floor: f64,
}

impl Task<'_> {
    /// Takes the rows of `order`, in rising order of what they have met, through chunks of a kind.
    fn through(&self, kind: Kind, chunks: &[Chunk], rows: &mut [BoundedRow], order: &[usize], totals: &mut Vec<f32>) {
        let dim = self.dim;
        // |computed - true| of one product: rounding of w, of each term and each sum, at most this often, in units of f32's.
        let roundings = (RUN_LENGTH + dim.div_ceil(RUN_LENGTH) + 3) as f64;
        let unit = 1.01 * roundings * f64::from(f32::EPSILON) / 2.0;
        let mut alive: Vec<usize> = Vec::with_capacity(order.len());
        let (mut next, mut c) = (0, 0);
        loop {
            if alive.is_empty() {
                // On to the first chunk that any row has not met.
                let Some(&row) = order.get(next) else { return };
                c = *rows[row].met(kind) as usize;
            }
            let Some(chunk) = chunks.get(c) else { return };
            while let Some(&row) = order.get(next)
                && *rows[row].met(kind) as usize <= c
            {
                alive.push(row);
                next += 1;
            }
            totals.clear();
            totals.resize(alive.len() * chunk.width, 0.0);
            widest(Products { chunk, values: self.values, alive: &alive, dim, totals });
            let width = (chunk.width as f64).sqrt();
            for (products, &i) in totals.chunks_exact(chunk.width).zip(&alive) {
                let mut squares = [0f64; NARROW];
                for products in products.as_chunks::<NARROW>().0 {
                    for j in 0..NARROW {
                        squares[j] += f64::from(products[j]) * f64::from(products[j]);
                    }
                }
                let drop: f64 = squares.iter().sum();
                // sum (|a| - e)^2 >= sum a^2 - 2 e sum |a| >= A - 2 e sqrt(width A).
                let error = unit * chunk.length * self.lengths[i];
                rows[i].bound -= (drop - 2.0 * error * width * drop.sqrt()).max(0.0);
                *rows[i].met(kind) = c as u32 + 1;
            }
            alive.retain(|&i| rows[i].bound >= self.floor);
            c += 1;
        }
    }
}

/// What a thread needs again and again.
#[derive(Default)]
struct Room {
    decoded: Vec<f32>,
    totals: Vec<f32>,
}

/// The products of some rows with the columns of one chunk.
struct Products<'a> {
    chunk: &'a Chunk,
    values: &'a [&'a [f32]],
    /// Which of the rows.
    alive: &'a [usize],
    dim: usize,
    /// `[alive, width]`, zeros.
    totals: &'a mut [f32],
}

impl WithSimd for Products<'_> {
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

/// All rows against the chunk, as many at a time as registers allow: six rows and two vectors take twelve of sixteen. The
/// terms that are summed in one go are the outer loop: their part of the chunk then stays in the first cache.
#[inline(always)]
fn tiles<S: Simd, const V: usize>(simd: S, work: Products<'_>) {
    let (w, _) = S::as_simd_f32s(&work.chunk.w);
    let (totals, _) = S::as_mut_simd_f32s(work.totals);
    let totals = totals.as_chunks_mut::<V>().0;
    let count = work.alive.len();
    let mut first = 0;
    while first < work.dim {
        let last = (first + RUN_LENGTH).min(work.dim);
        let lines = w[first * V..last * V].as_chunks::<V>().0;
        let at = |i: usize| &work.values[work.alive[i]][first..last];
        let mut i = 0;
        while i < count {
            let out = &mut totals[i..];
            i += match count - i {
                1 => tile::<S, V, 1>(simd, lines, [at(i)], out),
                2 => tile::<S, V, 2>(simd, lines, [at(i), at(i + 1)], out),
                3 => tile::<S, V, 3>(simd, lines, [at(i), at(i + 1), at(i + 2)], out),
                4 | 5 => tile::<S, V, 4>(simd, lines, [at(i), at(i + 1), at(i + 2), at(i + 3)], out),
                _ => tile::<S, V, 6>(simd, lines, std::array::from_fn(|r| at(i + r)), out),
            };
        }
        first = last;
    }
}

/// totals += the sums over these lines, for `R` rows against `V` vectors a line; gives R. Sums stay in registers.
#[inline(always)]
fn tile<S: Simd, const V: usize, const R: usize>(
    simd: S,
    lines: &[[S::f32s; V]],
    x: [&[f32]; R],
    totals: &mut [[S::f32s; V]],
) -> usize {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let x: [&[f32]; R] = std::array::from_fn(|r| &x[r][..lines.len()]);
    for (k, line) in lines.iter().enumerate() {
        for r in 0..R {
            let value = simd.splat_f32s(x[r][k]);
            for v in 0..V {
                sums[r][v] = simd.mul_add_f32s(value, line[v], sums[r][v]);
            }
        }
    }
    for (total, sum) in totals.iter_mut().zip(sums) {
        for v in 0..V {
            total[v] = simd.add_f32s(total[v], sum[v]);
        }
    }
    R
}

/// The same in plain loops, for vectors that are wider or narrower than a chunk.
fn plain(work: Products<'_>) {
    let width = work.chunk.width;
    for (totals, &i) in work.totals.chunks_exact_mut(width).zip(work.alive) {
        for (x, lines) in work.values[i].chunks(RUN_LENGTH).zip(work.chunk.w.chunks(RUN_LENGTH * width)) {
            let mut sums = vec![0f32; width];
            for (x, line) in x.iter().zip(lines.chunks_exact(width)) {
                sums.iter_mut().zip(line).for_each(|(sum, w)| *sum = x.mul_add(*w, *sum));
            }
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
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
