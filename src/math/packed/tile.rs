//! What the kernels of f32 and of bf16 share: tiles of results, panels of both sides, the parts that a task works on.

use std::ops::Range;

/// Rows of a tile.
pub(super) const ROWS: usize = 6;
/// Columns of a tile.
pub(super) const COLS: usize = 16;
/// Inner dimension of a panel: a multiple of every quantisation's block.
pub(super) const INNER: usize = 512;

/// A row of a tile, one line of cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(pub [f32; COLS]);

/// A row of a panel of b: words that are f32, or pairs of bf16, the earlier of the inner dimension in the lower half.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Words(pub [u32; COLS]);

/// A tile of results.
pub(super) type Tile = [Line; ROWS];

pub(super) const ZERO: Tile = [Line([0.0; COLS]); ROWS];
pub(super) const NO_WORDS: Words = Words([0; COLS]);

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

/// Columns `col..col + width` of a tile of b, and `inner` of its inner dimension.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub tile: RightTile<'a>,
    pub inner: usize,
    pub col: usize,
    pub width: usize,
}

impl Part<'_> {
    /// Row `t`: `[width]`. Of a tile that is not turned.
    #[inline(always)]
    pub fn row(&self, t: usize) -> &[f32] {
        &self.tile.values[t * self.tile.stride + self.col..][..self.width]
    }
    /// Column `j`: `[inner]`. Of a tile that is turned.
    #[inline(always)]
    pub fn column(&self, j: usize) -> &[f32] {
        &self.tile.values[(self.col + j) * self.tile.stride..][..self.inner]
    }
}

/// A panel whose columns `write` gives, the first `width` of `lines` times 16: `[steps, lines, 16]`.
#[inline(always)]
pub(super) fn pack_turned(
    panel: &mut [Words],
    lines: usize,
    width: usize,
    turned: &mut Vec<u32>,
    write: impl Fn(&mut [u32], usize),
) {
    // Columns are written whole first: their distance is often a power of two, and then they share few sets of the cache.
    const DISTANCE: usize = INNER + 16;
    let steps = panel.len() / lines;
    turned.resize(turned.len().max(lines * COLS * DISTANCE), 0);
    for (j, to) in turned.chunks_exact_mut(DISTANCE).take(lines * COLS).enumerate() {
        let to = &mut to[..steps.next_multiple_of(8)];
        if j < width {
            to[steps..].fill(0);
            write(&mut to[..steps], j);
        } else {
            to.fill(0);
        }
    }
    for (block, panel) in panel.chunks_mut(8 * lines).enumerate() {
        for line in 0..lines {
            let mut rows = [[0u32; 8]; COLS];
            for (row, from) in rows.iter_mut().zip(turned.chunks_exact(DISTANCE).skip(line * COLS)) {
                row.copy_from_slice(&from[block * 8..block * 8 + 8]);
            }
            for (t, words) in panel.iter_mut().skip(line).step_by(lines).enumerate() {
                for (to, row) in words.0.iter_mut().zip(&rows) {
                    *to = row[t];
                }
            }
        }
    }
}

/// Panels of a left side, each of `length` words along the inner dimension, of which `steps` are meant.
pub(super) struct LeftPart<'a> {
    pub panels: &'a [[u32; ROWS]],
    pub length: usize,
    pub steps: Range<usize>,
}

impl LeftPart<'_> {
    /// The words of each panel that are meant.
    pub fn panels(&self) -> impl Iterator<Item = &[[u32; ROWS]]> {
        self.panels.chunks_exact(self.length).map(|panel| &panel[self.steps.clone()])
    }
}

/// Runs `work`, compiled for AVX2 and FMA where the processor has them: for loops over floats that the compiler
/// vectorises. `work` and what it calls must be inlined, or it stays what it is without: write `#[inline(always)] ||`
/// (`tests/architecture.rs` looks). The results are those of the plain code: no sum is reordered.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(work);
    }
    work()
}
