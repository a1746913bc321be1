//! Products of values rounded to bf16, summed in f32.
//!
//! A step takes two values of the inner dimension: sum = fma(a1, b1, sum), then sum = fma(a0, b0, sum). That is what the
//! instruction vdpbf16ps does (AVX512_BF16: AMD from Zen 4, Intel from Cooper Lake on), at twice the rate of f32. Where the
//! processor lacks it the same chain runs on f32: a product of two bf16 fits f32 exactly, so the bytes are the same. (But
//! for sums below 2^-126, which the instruction takes for zero; values that small are taken for zero in either when they
//! are packed.)

use super::tile::{COLS, LeftPart, Part, ROWS, Tile, Words, ZERO, pack_turned, vectorised};

/// Whether the processor multiplies bf16 itself: without it [`super::Arithmetic::Bf16`] is slower than f32, not faster.
pub fn is_native() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `value` rounded to the nearest bf16, ties to even, in the upper half of a word; the lower half is zero.
#[inline(always)]
fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // NaN stays one; what is smaller than any normal number is zero.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let rounded = if magnitude > 0x7f80_0000 { bits | 0x40_0000 } else { rounded };
    let rounded = if magnitude < 0x0080_0000 { bits & 0x8000_0000 } else { rounded };
    rounded & 0xffff_0000
}

/// Two values as a word.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    round(first) >> 16 | round(second)
}

/// `scale` times values next to each other in `row`, in pairs; a last one alone stands beside zero.
#[inline(always)]
pub(super) fn pairs_along(words: &mut [u32], row: &[f32], scale: f32) {
    let (pairs, rest) = row.as_chunks::<2>();
    for (word, [first, second]) in words.iter_mut().zip(pairs) {
        *word = pair(first * scale, second * scale);
    }
    if let (Some(word), [alone]) = (words.get_mut(pairs.len()), rest) {
        *word = pair(alone * scale, 0.0);
    }
}

/// `scale` times values of two rows, in pairs; without a second row beside zero.
#[inline(always)]
pub(super) fn pairs_across(words: &mut [u32], first: &[f32], second: &[f32], scale: f32) {
    if second.is_empty() {
        return words.iter_mut().zip(first).for_each(|(word, a)| *word = pair(a * scale, 0.0));
    }
    for ((word, a), b) in words.iter_mut().zip(first).zip(second) {
        *word = pair(a * scale, b * scale);
    }
}

/// A part as a panel of pairs, `[steps, 2, 16]`; columns beyond its width are zero.
#[inline(always)]
pub(super) fn pack(panel: &mut [Words], part: Part<'_>, turned: &mut Vec<u32>) {
    if part.tile.turned {
        return pack_turned(
            panel,
            2,
            part.width,
            turned,
            #[inline(always)]
            |to, j| pairs_along(to, part.column(j), 1.0),
        );
    }
    for (step, lines) in panel.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let first = part.row(2 * step);
        let second = if 2 * step + 1 < part.inner { part.row(2 * step + 1) } else { &[] };
        for (line, words) in lines.iter_mut().enumerate() {
            let cols = (line * COLS).min(part.width)..((line + 1) * COLS).min(part.width);
            if cols.len() < COLS {
                words.0 = [0; COLS];
            }
            let second = if second.is_empty() { second } else { &second[cols.clone()] };
            pairs_across(&mut words.0, &first[cols], second, 1.0);
        }
    }
}

/// Adds the products of all panels of `left` with `panel` to `results`, or replaces them when they are `fresh`. `results`:
/// the tiles of the panel's first 16 columns, then those of its last 16.
pub(super) fn sweep(results: &mut [Tile], left: LeftPart<'_>, panel: &[Words], fresh: bool) {
    let half = results.len() / 2;
    let (first, second) = results.split_at_mut(half);
    let panel = panel.as_chunks::<2>().0;
    #[cfg(target_arch = "x86_64")]
    if is_native() {
        for ((first, second), a) in first.iter_mut().zip(second).zip(left.panels()) {
            // SAFETY: the processor has the instructions that `native` is compiled for: `is_native` asked it.
            unsafe { native([first, second], a, panel, fresh) };
        }
        return;
    }
    vectorised(
        #[inline(always)]
        || {
            for ((first, second), a) in first.iter_mut().zip(second).zip(left.panels()) {
                plain([first, second], a, panel, fresh);
            }
        },
    );
}

/// The two tiles of one panel of the left side.
#[inline(always)]
fn plain(tiles: [&mut Tile; 2], a: &[[u32; ROWS]], b: &[[Words; 2]], fresh: bool) {
    let halves = |word: u32| (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000));
    for (line, tile) in tiles.into_iter().enumerate() {
        let mut sums = if fresh { ZERO } else { *tile };
        for (a, b) in a.iter().zip(b) {
            for (sums, a) in sums.iter_mut().zip(a) {
                let (a0, a1) = halves(*a);
                for (sum, b) in sums.0.iter_mut().zip(b[line].0) {
                    let (b0, b1) = halves(b);
                    *sum = a0.mul_add(b0, a1.mul_add(b1, *sum));
                }
            }
        }
        *tile = sums;
    }
}

/// [`plain`] with vdpbf16ps.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn native(tiles: [&mut Tile; 2], a: &[[u32; ROWS]], b: &[[Words; 2]], fresh: bool) {
    use std::arch::x86_64::{
        __m512bh, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };
    use std::mem::transmute;
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    if !fresh {
        for i in 0..ROWS {
            for line in 0..2 {
                // SAFETY: a line is 16 values of f32.
                sums[i][line] = unsafe { _mm512_loadu_ps(tiles[line][i].0.as_ptr()) };
            }
        }
    }
    for (a, b) in a.iter().zip(b) {
        // SAFETY: a line of words is 64 bytes; every pattern of bits is a vector of bf16.
        let b: [__m512bh; 2] =
            unsafe { [0, 1].map(|line: usize| transmute(_mm512_loadu_si512(b[line].0.as_ptr().cast()))) };
        for i in 0..ROWS {
            // SAFETY: as above.
            let a: __m512bh = unsafe { transmute(_mm512_set1_epi32(a[i] as i32)) };
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], a, b[0]);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], a, b[1]);
        }
    }
    for i in 0..ROWS {
        for line in 0..2 {
            // SAFETY: as when they were read.
            unsafe { _mm512_storeu_ps(tiles[line][i].0.as_mut_ptr(), sums[i][line]) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;

    #[test]
    fn rounding_is_that_of_half_and_takes_the_smallest_for_zero() {
        let mut random = Random::new(3, b"bits");
        // Halfway between two bf16, with an even and with an odd one below.
        let (tie, odd_tie) = (1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8));
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, tie, odd_tie, -tie];
        let any = (0..200_000).map(|_| f32::from_bits(random.below(1 << 32) as u32));
        for value in special.into_iter().chain(any) {
            let ours = round(value);
            if value.is_nan() {
                assert!(f32::from_bits(ours).is_nan());
            } else if value.is_subnormal() {
                assert_eq!(f32::from_bits(ours), 0.0);
            } else {
                assert_eq!(ours >> 16, u32::from(half::bf16::from_f32(value).to_bits()), "{value:e}");
            }
        }
    }

    /// On a processor without the instruction both run the same code: there is nothing to compare, and nothing to fear.
    #[test]
    fn the_instruction_and_the_plain_chain_give_the_same_bytes() {
        let mut random = Random::new(4, b"tiles");
        let mut word = || {
            let [a, b] = [(); 2].map(|()| (random.normal() * 2f64.powi(random.below(40) as i32 - 20)) as f32);
            pair(a, b)
        };
        let steps = 37;
        let left: Vec<[u32; ROWS]> = (0..2 * steps).map(|_| [(); ROWS].map(|()| word())).collect();
        let panel: Vec<[Words; 2]> = (0..steps).map(|_| [(); 2].map(|()| Words([(); COLS].map(|()| word())))).collect();
        let part = |steps| LeftPart { panels: &left, length: 37, steps };
        let (mut swept, mut slow) = (vec![[super::super::tile::Line([7.0; COLS]); ROWS]; 4], vec![ZERO; 4]);
        sweep(&mut swept, part(0..20), panel[..20].as_flattened(), true);
        sweep(&mut swept, part(20..steps), panel[20..].as_flattened(), false);
        let (first, second) = slow.split_at_mut(2);
        for ((first, second), a) in first.iter_mut().zip(second).zip(left.chunks_exact(steps)) {
            plain([first, second], a, &panel, true);
        }
        for (a, b) in swept.iter().flatten().zip(slow.iter().flatten()) {
            assert_eq!(a.0.map(f32::to_bits), b.0.map(f32::to_bits));
        }
    }
}
