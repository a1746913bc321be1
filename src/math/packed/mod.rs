//! Products whose left side is packed beforehand: where training spends its time.
//!
//! out `[m, n]` = (or +=) the sum over terms of a b, with a `[m, k]` packed once and b `[k, n]` read a tile at a time, so
//! that b may be decoded from quantised weights on the way.
//!
//! The result is computed in tiles of 6 x 16: twelve AVX2 registers, two for a row of b, one for a value of a. A panel of b,
//! 16 columns by up to 512 of the inner dimension, stays in the first-level cache while all rows of a stream past it.
//! Every value of the result is one chain of additions along the inner dimension, so its bytes depend neither on how the
//! work is cut nor on the number of threads. Without AVX2 and FMA the same chain runs in plain code (other last digits).
//!
//! In [`Arithmetic::Bf16`] both sides are rounded to bf16 when they are packed, two values of the inner dimension to a word,
//! and summed in f32 ([`bf16`]): twice as fast where the processor multiplies bf16, and the same bytes where it does not.

mod bf16;
mod tile;

use super::gemm::{Into, ViewMut, view_mut};
pub use bf16::is_native as bf16_is_native;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;
use tile::{COLS, INNER, LeftPart, Line, NO_WORDS, Part, ROWS, Tile, Words, ZERO, pack_turned};
pub use tile::{RightTile, vectorised};

/// Columns of a task, where the right side does not ask for more.
const STRIPE: usize = 64;
/// Rows of a task, at most: its results stay in cache.
const TALL: usize = 1020;

pub use crate::config::Arithmetic;

impl Arithmetic {
    /// Values of the inner dimension in a word.
    fn pack(self) -> usize {
        match self {
            Arithmetic::F32 => 1,
            Arithmetic::Bf16 => 2,
        }
    }
}

/// Buffers of earlier left sides: fresh memory costs the kernel a pass over it.
static SPARE: Mutex<Vec<Vec<[u32; ROWS]>>> = Mutex::new(Vec::new());
/// Buffers kept, at most.
const SPARES: usize = 8;
/// Values of a kept buffer, at most: larger ones go back to the system.
const SPARE_LENGTH: usize = (64 << 20) / (4 * ROWS);

/// The left side of a product, in panels of six rows: `[m / 6, steps, 6]` words, a step being one value of the inner
/// dimension in f32 and two in bf16.
#[derive(Debug)]
pub struct Left {
    panels: Vec<[u32; ROWS]>,
    rows: usize,
    inner: usize,
    arithmetic: Arithmetic,
}

impl Left {
    fn empty(rows: usize, inner: usize, arithmetic: Arithmetic) -> Left {
        let length = rows.div_ceil(ROWS) * inner.div_ceil(arithmetic.pack());
        let spare = SPARE.lock().ok().and_then(|mut spare| {
            let fits = spare.iter().position(|s| s.capacity() >= length && s.capacity() < 4 * length.max(1));
            fits.map(|i| spare.swap_remove(i))
        });
        let mut panels = spare.unwrap_or_default();
        panels.resize(length, [0; ROWS]);
        Left { panels, rows, inner, arithmetic }
    }

    /// Words along the inner dimension.
    fn steps(&self) -> usize {
        self.inner.div_ceil(self.arithmetic.pack())
    }

    /// `scale` times `a` `[rows, inner]`.
    pub fn of_rows(a: &[f32], inner: usize, scale: f32, arithmetic: Arithmetic) -> Left {
        let rows = a.len() / inner.max(1);
        let mut left = Left::empty(rows, inner, arithmetic);
        let steps = left.steps().max(1);
        left.panels.par_chunks_mut(steps).zip(a.par_chunks(ROWS * inner.max(1))).for_each(|(panel, a)| {
            SCRATCH.with_borrow_mut(|scratch| {
                vectorised(
                    #[inline(always)]
                    || {
                        // A word each row at a time, then six rows side by side.
                        let words = &mut scratch.turned;
                        words.clear();
                        words.resize(ROWS * steps, 0);
                        for (words, row) in words.chunks_exact_mut(steps).zip(a.chunks_exact(inner)) {
                            match arithmetic {
                                Arithmetic::F32 => {
                                    words.iter_mut().zip(row).for_each(|(word, v)| *word = (v * scale).to_bits());
                                }
                                Arithmetic::Bf16 => bf16::pairs_along(words, row, scale),
                            }
                        }
                        let row = |i: usize| &words[i * steps..(i + 1) * steps];
                        let [r0, r1, r2, r3, r4, r5] = [row(0), row(1), row(2), row(3), row(4), row(5)];
                        for (t, p) in panel.iter_mut().enumerate() {
                            *p = [r0[t], r1[t], r2[t], r3[t], r4[t], r5[t]];
                        }
                    },
                );
            });
        });
        left
    }

    /// `scale` times the transpose of `a` `[inner, rows]`.
    pub fn of_columns(a: &[f32], rows: usize, scale: f32, arithmetic: Arithmetic) -> Left {
        /// Panels of a task.
        const GROUP: usize = 8;
        let inner = a.len() / rows.max(1);
        let mut left = Left::empty(rows, inner, arithmetic);
        let steps = left.steps().max(1);
        left.panels.par_chunks_mut(GROUP * steps).enumerate().for_each(|(group, panels)| {
            let start = group * GROUP * ROWS;
            let end = (start + GROUP * ROWS).min(rows);
            vectorised(
                #[inline(always)]
                || {
                    let mut words = [0u32; GROUP * ROWS];
                    for (t, pair) in a.chunks(arithmetic.pack() * rows).enumerate() {
                        let words = &mut words[..end - start];
                        match arithmetic {
                            Arithmetic::F32 => {
                                words
                                    .iter_mut()
                                    .zip(&pair[start..end])
                                    .for_each(|(word, v)| *word = (v * scale).to_bits());
                            }
                            Arithmetic::Bf16 => {
                                let second = if pair.len() > rows { &pair[rows + start..rows + end] } else { &[] };
                                bf16::pairs_across(words, &pair[start..end], second, scale);
                            }
                        }
                        for (p, words) in words.chunks(ROWS).enumerate() {
                            let mut six = [0; ROWS];
                            six[..words.len()].copy_from_slice(words);
                            panels[p * steps + t] = six;
                        }
                    }
                },
            );
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
    turned: Vec<u32>,
    panel: Vec<Words>,
    results: Vec<Tile>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `out` `[m, cols]` = (or +=) the sum of `terms`, on the current pool's threads. Terms must have m rows and `cols` columns,
/// and all the same arithmetic.
pub fn product(out: &mut [f32], cols: usize, into: Into, terms: &[Term<'_>]) {
    let rows = out.len() / cols.max(1);
    if rows == 0 {
        return;
    }
    for term in terms {
        assert!(
            term.left.rows == rows
                && term.left.inner == term.right.inner()
                && term.left.arithmetic == terms[0].left.arithmetic,
            "product of {} x {} in {:?} by {} for {rows} rows",
            term.left.rows,
            term.left.inner,
            term.left.arithmetic,
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
    let Some(arithmetic) = terms.first().map(|t| t.left.arithmetic) else { return };
    // A panel of b is as wide as a row of the tile: one line of f32, two of pairs of bf16.
    let lines = arithmetic.pack();
    let (tall, panels) = (out.nrows().div_ceil(ROWS), cols.len().div_ceil(lines * COLS));
    let Scratch { tile, turned, panel, results } = scratch;
    let needed = panels * lines * tall;
    results.resize(needed.max(results.len()), ZERO);
    let results = &mut results[..needed];
    let mut fresh = true;
    panel.resize(INNER, NO_WORDS);
    for term in terms {
        let left = term.left;
        for start in (0..left.inner).step_by(INNER) {
            let inner = start..(start + INNER).min(left.inner);
            let steps = start / lines..inner.end.div_ceil(lines);
            let tile = term.right.tile(inner.clone(), cols.clone(), tile);
            for (p, results) in results.chunks_exact_mut(lines * tall).enumerate() {
                let panel = &mut panel[..lines * steps.len()];
                let col = p * lines * COLS;
                let part = Part { tile, inner: inner.len(), col, width: (lines * COLS).min(cols.len() - col) };
                let left = LeftPart {
                    panels: &left.panels[first * left.steps()..],
                    length: left.steps(),
                    steps: steps.clone(),
                };
                match arithmetic {
                    Arithmetic::F32 => {
                        vectorised(
                            #[inline(always)]
                            || pack(panel, part, turned),
                        );
                        sweep(results, left, panel, fresh);
                    }
                    Arithmetic::Bf16 => {
                        vectorised(
                            #[inline(always)]
                            || bf16::pack(panel, part, turned),
                        );
                        bf16::sweep(results, left, panel, fresh);
                    }
                }
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

/// A part as a panel of f32; columns beyond its width are zero.
#[inline(always)]
fn pack(panel: &mut [Words], part: Part<'_>, turned: &mut Vec<u32>) {
    if part.tile.turned {
        return pack_turned(
            panel,
            1,
            part.width,
            turned,
            #[inline(always)]
            |to, j| {
                to.iter_mut().zip(part.column(j)).for_each(|(to, v)| *to = v.to_bits());
            },
        );
    }
    for (t, words) in panel.iter_mut().enumerate() {
        let from = part.row(t);
        match <&[f32; COLS]>::try_from(from) {
            Ok(whole) => words.0 = whole.map(f32::to_bits),
            Err(_) => {
                words.0 = [0; COLS];
                words.0.iter_mut().zip(from).for_each(|(to, v)| *to = v.to_bits());
            }
        }
    }
}

/// Adds the products of all panels of `left` with `panel` to `results`, or replaces them when they are `fresh`.
fn sweep(results: &mut [Tile], left: LeftPart<'_>, panel: &[Words], fresh: bool) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(Sweep { simd, results, left, panel, fresh });
    }
    sweep_plain(results, left, panel, fresh);
}

fn sweep_plain(results: &mut [Tile], left: LeftPart<'_>, panel: &[Words], fresh: bool) {
    for (tile, a) in results.iter_mut().zip(left.panels()) {
        if fresh {
            *tile = ZERO;
        }
        for (a, b) in a.iter().zip(panel) {
            for (line, a) in tile.iter_mut().zip(a) {
                line.0.iter_mut().zip(b.0).for_each(|(sum, b)| *sum += f32::from_bits(*a) * f32::from_bits(b));
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Sweep<'a> {
    simd: pulp::x86::V3,
    results: &'a mut [Tile],
    left: LeftPart<'a>,
    panel: &'a [Words],
    fresh: bool,
}

#[cfg(target_arch = "x86_64")]
impl pulp::NullaryFnOnce for Sweep<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        use pulp::{cast, f32x8};
        let Sweep { simd, results, left, panel, fresh } = self;
        for (tile, a) in results.iter_mut().zip(left.panels()) {
            let mut sums: [[f32x8; 2]; ROWS] =
                if fresh { [[simd.splat_f32x8(0.0); 2]; ROWS] } else { tile.map(|line| cast(line.0)) };
            for (a, b) in a.iter().zip(panel) {
                let [low, high]: [f32x8; 2] = cast(b.0);
                for i in 0..ROWS {
                    let a = simd.splat_f32x8(f32::from_bits(a[i]));
                    sums[i][0] = simd.mul_add_f32x8(a, low, sums[i][0]);
                    sums[i][1] = simd.mul_add_f32x8(a, high, sums[i][1]);
                }
            }
            *tile = sums.map(|sums| Line(cast(sums)));
        }
    }
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
            let layouts = [(false, false), (false, true), (true, false), (true, true)];
            let both = layouts.into_iter().flat_map(|layout| [(layout, Arithmetic::F32), (layout, Arithmetic::Bf16)]);
            for ((a_turned, b_turned), arithmetic) in both {
                let rounded = |v: f32| match arithmetic {
                    Arithmetic::F32 => f64::from(v),
                    Arithmetic::Bf16 => half::bf16::from_f32(v).to_f64(),
                };
                let compute = |threads| {
                    let mut out = start.clone();
                    Run::new(threads).unwrap().install(|| {
                        let left = if a_turned {
                            Left::of_columns(&a, m, 0.5, arithmetic)
                        } else {
                            Left::of_rows(&a, k, 0.5, arithmetic)
                        };
                        let right = Dense { values: &b, stride: if b_turned { k } else { n }, turned: b_turned };
                        let second = Left::of_rows(&c, 4, 1.0, arithmetic);
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
                            rounded(0.5 * a) * rounded(b[if b_turned { j * k + l } else { l * n + j }])
                        };
                        let second = (0..4).map(|l| rounded(c[i * 4 + l]) * rounded(d[l * n + j]));
                        let slow = (0..k).map(at).sum::<f64>() + second.sum::<f64>();
                        assert!((f64::from(out[i * n + j]) - slow).abs() < 1e-4, "{m}x{n}x{k} at {i},{j}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_plain_sweep_agrees_with_the_vector_one() {
        let (left, panel) = (random(2 * 40 * ROWS, b"l"), random(40 * COLS, b"p"));
        let bits: Vec<u32> = left.iter().map(|v| v.to_bits()).collect();
        let left: Vec<[u32; ROWS]> = bits.as_chunks().0.to_vec();
        let bits: Vec<u32> = panel.iter().map(|v| v.to_bits()).collect();
        let panel: Vec<Words> = bits.as_chunks().0.iter().map(|v| Words(*v)).collect();
        let (mut fast, mut plain) = (vec![[Line([7.0; COLS]); ROWS]; 2], vec![ZERO; 2]);
        let part = |steps| LeftPart { panels: &left, length: 40, steps };
        sweep(&mut fast, part(0..17), &panel[..17], true);
        sweep(&mut fast, part(17..40), &panel[17..], false);
        sweep_plain(&mut plain, part(0..40), &panel, true);
        for (a, b) in fast.iter().flatten().zip(plain.iter().flatten()) {
            assert!(a.0.iter().zip(b.0).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}
