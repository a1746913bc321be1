//! Products whose left side is packed beforehand: where training spends its time.
//!
//! out `[m, n]` = (or +=) the sum over terms of a b, with a `[m, k]` packed once and b `[k, n]` read a tile at a time, so
//! that b may be decoded from quantised weights on the way.
//!
//! The result is computed in tiles of 6 x 16: twelve AVX2 registers, two for a row of b, one for a value of a. A panel of b,
//! 16 columns by up to 512 of the inner dimension, stays in the first-level cache while all rows of a stream past it.
//! Every value of the result is one chain of additions along the inner dimension, so its bytes depend neither on how the
//! work is cut nor on the number of threads. Without AVX2 and FMA the same chain runs in plain code (other last digits).

use super::gemm::{Into, ViewMut, view_mut};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;

/// Rows of a tile.
const ROWS: usize = 6;
/// Columns of a tile.
const COLS: usize = 16;
/// Inner dimension of a panel: a multiple of every quantisation's block.
const INNER: usize = 512;
/// Columns of a task, where the right side does not ask for more.
const STRIPE: usize = 64;
/// Rows of a task, at most: its results stay in cache.
const TALL: usize = 1020;

/// A row of a tile, one line of cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([f32; COLS]);

/// A tile of results.
type Tile = [Line; ROWS];

const ZERO: Tile = [Line([0.0; COLS]); ROWS];

/// Buffers of earlier left sides: fresh memory costs the kernel a pass over it.
static SPARE: Mutex<Vec<Vec<[f32; ROWS]>>> = Mutex::new(Vec::new());
/// Buffers kept, at most.
const SPARES: usize = 8;
/// Values of a kept buffer, at most: larger ones go back to the system.
const SPARE_LENGTH: usize = (64 << 20) / (4 * ROWS);

/// The left side of a product, in panels of six rows: `[m / 6, k, 6]`.
#[derive(Debug)]
pub struct Left {
    panels: Vec<[f32; ROWS]>,
    rows: usize,
    inner: usize,
}

impl Left {
    fn empty(rows: usize, inner: usize) -> Left {
        let length = rows.div_ceil(ROWS) * inner;
        let spare = SPARE.lock().ok().and_then(|mut spare| {
            let fits = spare.iter().position(|s| s.capacity() >= length && s.capacity() < 4 * length.max(1));
            fits.map(|i| spare.swap_remove(i))
        });
        let mut panels = spare.unwrap_or_default();
        panels.resize(length, [0.0; ROWS]);
        Left { panels, rows, inner }
    }

    /// `scale` times `a` `[rows, inner]`.
    pub fn of_rows(a: &[f32], inner: usize, scale: f32) -> Left {
        let rows = a.len() / inner.max(1);
        let mut left = Left::empty(rows, inner);
        left.panels.par_chunks_mut(inner.max(1)).zip(a.par_chunks(ROWS * inner.max(1))).for_each(|(panel, a)| {
            if a.len() < ROWS * inner {
                panel.fill([0.0; ROWS]);
                for (i, row) in a.chunks_exact(inner).enumerate() {
                    panel.iter_mut().zip(row).for_each(|(p, v)| p[i] = v * scale);
                }
                return;
            }
            let row = |i: usize| &a[i * inner..(i + 1) * inner];
            let [r0, r1, r2, r3, r4, r5] = [row(0), row(1), row(2), row(3), row(4), row(5)];
            for (t, p) in panel.iter_mut().enumerate() {
                *p = [r0[t] * scale, r1[t] * scale, r2[t] * scale, r3[t] * scale, r4[t] * scale, r5[t] * scale];
            }
        });
        left
    }

    /// `scale` times the transpose of `a` `[inner, rows]`.
    pub fn of_columns(a: &[f32], rows: usize, scale: f32) -> Left {
        /// Panels of a task.
        const GROUP: usize = 8;
        let inner = a.len() / rows.max(1);
        let mut left = Left::empty(rows, inner);
        left.panels.par_chunks_mut(GROUP * inner.max(1)).enumerate().for_each(|(group, panels)| {
            let start = group * GROUP * ROWS;
            let end = (start + GROUP * ROWS).min(rows);
            for (t, row) in a.chunks_exact(rows).enumerate() {
                for (p, values) in row[start..end].chunks(ROWS).enumerate() {
                    let mut six = [0.0; ROWS];
                    six.iter_mut().zip(values).for_each(|(six, v)| *six = v * scale);
                    panels[p * inner + t] = six;
                }
            }
        });
        left
    }

    /// m.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Ok(mut spare) = SPARE.lock()
            && spare.len() < SPARES
            && self.panels.capacity() <= SPARE_LENGTH
        {
            spare.push(std::mem::take(&mut self.panels));
        }
    }
}

/// Some values of a right side: b(t, j) is `values[t * stride + j]`, or `values[j * stride + t]` when it is turned.
#[derive(Debug, Clone, Copy)]
pub struct RightTile<'a> {
    /// From the first value of the tile on.
    pub values: &'a [f32],
    /// Distance of rows in `values`.
    pub stride: usize,
    /// Whether rows of `values` are columns of b.
    pub turned: bool,
}

/// The right side of a product, b `[inner, cols]`.
pub trait Right: Sync {
    /// Its inner dimension.
    fn inner(&self) -> usize;
    /// The columns of a tile begin and end at multiples of this (or at the last column).
    fn grain(&self) -> usize {
        1
    }
    /// A tile, in place or decoded into `scratch`; `inner` begins at a multiple of 512.
    fn tile<'a>(&'a self, inner: Range<usize>, cols: Range<usize>, scratch: &'a mut Vec<f32>) -> RightTile<'a>;
}

/// A right side of plain values.
#[derive(Debug, Clone, Copy)]
pub struct Dense<'a> {
    /// `[inner, stride]`, or `[cols, stride]` when turned.
    pub values: &'a [f32],
    /// Length of a row.
    pub stride: usize,
    /// Whether rows of `values` are columns of b.
    pub turned: bool,
}

impl Right for Dense<'_> {
    fn inner(&self) -> usize {
        if self.turned { self.stride } else { self.values.len() / self.stride.max(1) }
    }
    fn tile<'a>(&'a self, inner: Range<usize>, cols: Range<usize>, _: &'a mut Vec<f32>) -> RightTile<'a> {
        let (row, col) = if self.turned { (cols.start, inner.start) } else { (inner.start, cols.start) };
        RightTile { values: &self.values[row * self.stride + col..], stride: self.stride, turned: self.turned }
    }
}

/// One summand a b.
pub struct Term<'a> {
    /// a.
    pub left: &'a Left,
    /// b.
    pub right: Box<dyn Right + 'a>,
}

impl<'a> Term<'a> {
    /// a b.
    pub fn new(left: &'a Left, right: impl Right + 'a) -> Term<'a> {
        Term { left, right: Box::new(right) }
    }
}

/// What a thread works in.
#[derive(Default)]
struct Scratch {
    tile: Vec<f32>,
    turned: Vec<f32>,
    panel: Vec<Line>,
    results: Vec<Tile>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `out` `[m, cols]` = (or +=) the sum of `terms`, on the current pool's threads. Terms must have m rows and `cols` columns.
pub fn product(out: &mut [f32], cols: usize, into: Into, terms: &[Term<'_>]) {
    let rows = out.len() / cols.max(1);
    if rows == 0 {
        return;
    }
    for term in terms {
        assert!(
            term.left.rows == rows && term.left.inner == term.right.inner(),
            "product of {} x {} by {} for {rows} rows",
            term.left.rows,
            term.left.inner,
            term.right.inner()
        );
    }
    let width = terms.iter().map(|t| t.right.grain()).max().unwrap_or(1).max(STRIPE);
    // How the work is cut changes no byte, so it may follow the number of threads.
    let stripes = cols.div_ceil(width);
    let blocks = (4 * rayon::current_num_threads()).div_ceil(stripes).min(rows.div_ceil(96)).max(rows.div_ceil(TALL));
    let height = rows.div_ceil(blocks).next_multiple_of(ROWS);
    // Every task may go to another thread: cut in the middle, as rayon would, the threads wait for each other at the end.
    view_mut(out, rows, cols).par_row_chunks_mut(height).with_max_len(1).enumerate().for_each(|(block, out)| {
        out.par_col_chunks_mut(width).with_max_len(1).enumerate().for_each(|(stripe, out)| {
            let cols = stripe * width..stripe * width + out.ncols();
            SCRATCH.with_borrow_mut(|scratch| task(out, into, terms, block * (height / ROWS), cols, scratch));
        });
    });
}

/// The part of the result at columns `cols`, from panel `first` of the left sides on.
fn task(mut out: ViewMut<'_>, into: Into, terms: &[Term<'_>], first: usize, cols: Range<usize>, scratch: &mut Scratch) {
    let (tall, panels) = (out.nrows().div_ceil(ROWS), cols.len().div_ceil(COLS));
    let Scratch { tile, turned, panel, results } = scratch;
    results.resize((panels * tall).max(results.len()), ZERO);
    let results = &mut results[..panels * tall];
    let mut fresh = true;
    panel.resize(INNER, Line([0.0; COLS]));
    for term in terms {
        let left = term.left;
        for start in (0..left.inner).step_by(INNER) {
            let inner = start..(start + INNER).min(left.inner);
            let tile = term.right.tile(inner.clone(), cols.clone(), tile);
            for (p, results) in results.chunks_exact_mut(tall).enumerate() {
                let panel = &mut panel[..inner.len()];
                vectorised(|| pack(panel, tile, p * COLS, COLS.min(cols.len() - p * COLS), turned));
                let left =
                    LeftPart { panels: &left.panels[first * left.inner..], length: left.inner, inner: inner.clone() };
                sweep(results, left, panel, fresh);
            }
            fresh = false;
        }
    }
    for i in 0..out.nrows() {
        let Some(row) = out.as_mut().row_mut(i).try_as_row_major_mut() else { continue };
        let lines = results.chunks_exact(tall).map(|r| &r[i / ROWS][i % ROWS].0);
        for (out, line) in row.as_slice_mut().chunks_mut(COLS).zip(lines) {
            // Whole lines are copied as such, not by a call for some number of bytes.
            match (into, <&mut [f32; COLS]>::try_from(&mut *out)) {
                (Into::Replace, Ok(whole)) => *whole = *line,
                (Into::Replace, Err(_)) => out.copy_from_slice(&line[..out.len()]),
                (Into::Add, Ok(whole)) => whole.iter_mut().zip(line).for_each(|(out, v)| *out += v),
                (Into::Add, Err(_)) => out.iter_mut().zip(line).for_each(|(out, v)| *out += v),
            }
        }
    }
}

/// Columns `col..col + width` of `tile` as a panel; columns beyond `width` are zero.
#[inline(always)]
fn pack(panel: &mut [Line], tile: RightTile<'_>, col: usize, width: usize, turned: &mut Vec<f32>) {
    let RightTile { values, stride, turned: turn } = tile;
    if !turn {
        for (t, line) in panel.iter_mut().enumerate() {
            let from = &values[t * stride + col..][..width];
            match <&[f32; COLS]>::try_from(from) {
                Ok(whole) => line.0 = *whole,
                Err(_) => {
                    line.0 = [0.0; COLS];
                    line.0[..width].copy_from_slice(from);
                }
            }
        }
        return;
    }
    // Rows are copied whole first: their distance is often a power of two, and then they share few sets of the cache.
    const DISTANCE: usize = INNER + 16;
    turned.resize(COLS * DISTANCE, 0.0);
    for (j, to) in turned.chunks_exact_mut(DISTANCE).enumerate() {
        let to = &mut to[..panel.len().next_multiple_of(8)];
        to.fill(0.0);
        if j < width {
            to[..panel.len()].copy_from_slice(&values[(col + j) * stride..][..panel.len()]);
        }
    }
    for (block, lines) in panel.chunks_mut(8).enumerate() {
        let mut rows = [[0f32; 8]; COLS];
        for (row, from) in rows.iter_mut().zip(turned.chunks_exact(DISTANCE)) {
            row.copy_from_slice(&from[block * 8..block * 8 + 8]);
        }
        for (t, line) in lines.iter_mut().enumerate() {
            for (to, row) in line.0.iter_mut().zip(&rows) {
                *to = row[t];
            }
        }
    }
}

/// Panels of a left side, each of `length` values of the inner dimension, of which `inner` are meant.
struct LeftPart<'a> {
    panels: &'a [[f32; ROWS]],
    length: usize,
    inner: Range<usize>,
}

/// Adds the products of all panels of `left` with `panel` to `results`, or replaces them when they are `fresh`.
fn sweep(results: &mut [Tile], left: LeftPart<'_>, panel: &[Line], fresh: bool) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(Sweep { simd, results, left, panel, fresh });
    }
    sweep_plain(results, left, panel, fresh);
}

fn sweep_plain(results: &mut [Tile], left: LeftPart<'_>, panel: &[Line], fresh: bool) {
    for (tile, a) in results.iter_mut().zip(left.panels.chunks_exact(left.length)) {
        if fresh {
            *tile = ZERO;
        }
        for (a, b) in a[left.inner.clone()].iter().zip(panel) {
            for (line, a) in tile.iter_mut().zip(a) {
                line.0.iter_mut().zip(b.0).for_each(|(sum, b)| *sum += a * b);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Sweep<'a> {
    simd: pulp::x86::V3,
    results: &'a mut [Tile],
    left: LeftPart<'a>,
    panel: &'a [Line],
    fresh: bool,
}

#[cfg(target_arch = "x86_64")]
impl pulp::NullaryFnOnce for Sweep<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        use pulp::{cast, f32x8};
        let Sweep { simd, results, left, panel, fresh } = self;
        for (tile, a) in results.iter_mut().zip(left.panels.chunks_exact(left.length)) {
            let mut sums: [[f32x8; 2]; ROWS] =
                if fresh { [[simd.splat_f32x8(0.0); 2]; ROWS] } else { tile.map(|line| cast(line.0)) };
            for (a, b) in a[left.inner.clone()].iter().zip(panel) {
                let [low, high]: [f32x8; 2] = cast(b.0);
                for i in 0..ROWS {
                    let a = simd.splat_f32x8(a[i]);
                    sums[i][0] = simd.mul_add_f32x8(a, low, sums[i][0]);
                    sums[i][1] = simd.mul_add_f32x8(a, high, sums[i][1]);
                }
            }
            *tile = sums.map(|sums| Line(cast(sums)));
        }
    }
}

/// Runs `work`, compiled for AVX2 and FMA where the processor has them: for loops over floats that the compiler
/// vectorises. What `work` calls must be inlined into it. The results are those of the plain code: no sum is reordered.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(work);
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;
    use crate::run::Run;

    fn random(n: usize, stream: &[u8]) -> Vec<f32> {
        let mut random = Random::new(5, stream);
        (0..n).map(|_| random.normal() as f32).collect()
    }

    #[test]
    fn products_agree_with_the_slow_twin_in_all_layouts_and_for_any_threads() {
        for (m, n, k) in
            [(1, 1, 1), (3, 5, 7), (6, 16, 512), (301, 40, 33), (40, 300, 1065), (257, 259, 31), (130, 16, 700)]
        {
            let (a, b, start) = (random(m * k, b"a"), random(k * n, b"b"), random(m * n, b"c"));
            let (c, d) = (random(m * 4, b"d"), random(4 * n, b"e"));
            for (a_turned, b_turned) in [(false, false), (false, true), (true, false), (true, true)] {
                let compute = |threads| {
                    let mut out = start.clone();
                    Run::new(threads).unwrap().install(|| {
                        let left = if a_turned { Left::of_columns(&a, m, 0.5) } else { Left::of_rows(&a, k, 0.5) };
                        let right = Dense { values: &b, stride: if b_turned { k } else { n }, turned: b_turned };
                        let second = Left::of_rows(&c, 4, 1.0);
                        let terms = [
                            Term::new(&left, right),
                            Term::new(&second, Dense { values: &d, stride: n, turned: false }),
                        ];
                        product(&mut out, n, Into::Add, &terms);
                        let added = out.clone();
                        product(&mut out, n, Into::Replace, &terms);
                        for (i, (added, replaced)) in added.iter().zip(&out).enumerate() {
                            assert_eq!(*added, start[i] + replaced);
                        }
                    });
                    out
                };
                let out = compute(2);
                assert_eq!(out, compute(1));
                assert_eq!(out, compute(5));
                for i in 0..m {
                    for j in 0..n {
                        let at = |l: usize| {
                            let a = a[if a_turned { l * m + i } else { i * k + l }];
                            f64::from(a) * f64::from(b[if b_turned { j * k + l } else { l * n + j }])
                        };
                        let slow = 0.5 * (0..k).map(at).sum::<f64>();
                        let slow =
                            slow + (0..4).map(|l| f64::from(c[i * 4 + l]) * f64::from(d[l * n + j])).sum::<f64>();
                        assert!((f64::from(out[i * n + j]) - slow).abs() < 1e-4, "{m}x{n}x{k} at {i},{j}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_plain_sweep_agrees_with_the_vector_one() {
        let (left, panel) = (random(2 * 40 * ROWS, b"l"), random(40 * COLS, b"p"));
        let left: Vec<[f32; ROWS]> = left.chunks_exact(ROWS).map(|v| v.try_into().unwrap()).collect();
        let panel: Vec<Line> = panel.chunks_exact(COLS).map(|v| Line(v.try_into().unwrap())).collect();
        let (mut fast, mut plain) = (vec![[Line([7.0; COLS]); ROWS]; 2], vec![ZERO; 2]);
        let part = |inner| LeftPart { panels: &left, length: 40, inner };
        sweep(&mut fast, part(0..17), &panel[..17], true);
        sweep(&mut fast, part(17..40), &panel[17..], false);
        sweep_plain(&mut plain, part(0..40), &panel, true);
        for (a, b) in fast.iter().flatten().zip(plain.iter().flatten()) {
            assert!(a.0.iter().zip(b.0).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    /// `cargo test --release --lib math::packed -- --ignored --nocapture`: GFLOP/s beside faer's, packing included.
    #[test]
    #[ignore = "a measurement"]
    fn speed() {
        for (m, n, k) in [(512, 2048, 2048), (512, 8192, 2048), (512, 2048, 8192), (2048, 1536, 512), (2048, 512, 1536)]
        {
            let (a, b) = (random(m * k, b"a"), random(k * n, b"b"));
            let mut out = vec![0.0; m * n];
            for threads in [1, 2] {
                let run = Run::new(threads).unwrap();
                let measure = |work: &mut (dyn FnMut() + Send)| {
                    let mut best = f64::INFINITY;
                    for _ in 0..5 {
                        let start = std::time::Instant::now();
                        run.install(&mut *work);
                        best = best.min(start.elapsed().as_secs_f64());
                    }
                    2.0 * (m * n * k) as f64 / best / 1e9
                };
                let ours = measure(&mut || {
                    let left = Left::of_rows(&a, k, 1.0);
                    product(
                        &mut out,
                        n,
                        Into::Replace,
                        &[Term::new(&left, Dense { values: &b, stride: k, turned: true })],
                    );
                });
                let (av, bv) = (super::super::gemm::view(&a, m, k), super::super::gemm::view(&b, n, k).transpose());
                let par = if threads == 1 { faer::Par::Seq } else { faer::Par::rayon(threads) };
                let faer = measure(&mut || {
                    let out = view_mut(&mut out, m, n);
                    faer::linalg::matmul::matmul(out, faer::Accum::Replace, av, bv, 1.0, par);
                });
                println!("{m} x {k} x {n}, {threads} threads: ours {ours:.0}, faer {faer:.0}");
            }
        }
    }
}
