//! Rows to measure on, made where they are read: clustered, of unit length, one in a hundred a copy of another. Files of tens of
//! millions of them are written as fast as a disk takes them, and the same number gives the same row on any machine.

use causerie::math::{Random, Rows};
use causerie::{Error, Result};

/// Centres, of which a few hold most rows.
const CENTRES: usize = 300;
/// One row in so many is a copy.
const COPIES: u64 = 100;

/// ClusteredRows rows, `[rows, dim]`.
///
/// x = 0.7 c_z + 0.6 spread + 0.6 / sqrt(dim), z by Zipf's law; centres and spread each with a spectrum that falls as a power
/// of its rank, turned by a Hadamard matrix so that no value is special; scaled to unit length.
pub struct ClusteredRows {
    rows: usize,
    dim: usize,
    /// Size of a Hadamard block: the largest power of two that divides dim.
    block: usize,
    /// `[CENTRES, dim]`, as they are before they are turned.
    centres: Vec<f32>,
    spread: Vec<f32>,
    /// The share of rows in the centres up to each.
    shares: Vec<f64>,
}

/// Mixes a number so that neighbours have nothing in common (splitmix64).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A draw that is nearly normal: the sum of four uniform ones of sixteen bits.
fn nearly_normal(state: &mut u64) -> f32 {
    *state = mix(*state);
    let sum = (0..4).map(|i| (*state >> (16 * i) & 0xffff) as i32).sum::<i32>();
    // The sum of four uniform numbers has mean 2 and variance 1/3.
    ((sum as f32 / 65536.0) - 2.0) * 1.732_050_8
}

/// Square roots of a spectrum (j + from)^-power that sums to 1.
fn spectrum(dim: usize, from: f64, power: f64) -> Vec<f32> {
    let values: Vec<f64> = (0..dim).map(|j| (j as f64 + from).powf(-power)).collect();
    let sum: f64 = values.iter().sum();
    values.iter().map(|v| (v / sum).sqrt() as f32).collect()
}

impl ClusteredRows {
    /// `rows` x `dim`, always the same.
    ///
    /// # Errors
    /// [`causerie::ErrorKind::Invalid`] for none.
    pub fn new(rows: usize, dim: usize) -> Result<ClusteredRows> {
        if rows == 0 || dim == 0 {
            return Err(Error::invalid("--make-rows and --dim are whole numbers from 1"));
        }
        let mut random = Random::new(0, b"made rows");
        let weights = spectrum(dim, 4.0, 1.1);
        let centres = (0..CENTRES * dim).map(|i| 0.7 * random.normal() as f32 * weights[i % dim]).collect();
        let sum: f64 = (1..=CENTRES).map(|rank| 1.0 / rank as f64).sum();
        let shares = (1..=CENTRES).scan(0.0, |share, rank| {
            *share += 1.0 / (rank as f64 * sum);
            Some(*share)
        });
        let block = 1 << dim.trailing_zeros();
        Ok(ClusteredRows { rows, dim, block, centres, spread: spectrum(dim, 30.0, 0.8), shares: shares.collect() })
    }

    fn make(&self, row: usize, out: &mut [f32]) {
        let mut state = mix(row as u64);
        // A copy of an earlier row; that one may be a copy itself.
        let mut row = row as u64;
        while state.is_multiple_of(COPIES) && row > 0 {
            row = mix(state) % row;
            state = mix(row);
        }
        state = mix(state ^ 0x5eed);
        let at = (state >> 11) as f64 / (1u64 << 53) as f64;
        let centre = self.shares.partition_point(|share| *share <= at).min(CENTRES - 1);
        let centre = &self.centres[centre * self.dim..(centre + 1) * self.dim];
        let (block, blocks) = (self.block, self.dim / self.block);
        for (j, centre) in centre.iter().enumerate() {
            // Neighbours of the spectrum go to different blocks.
            let to = j % blocks * block + j / blocks;
            out[to] = 0.6 * nearly_normal(&mut state) * self.spread[j] + centre;
        }
        for (b, out) in out.chunks_exact_mut(block).enumerate() {
            // Signs of their own, or all energy of a constant would meet in one value.
            out.iter_mut()
                .enumerate()
                .for_each(|(j, v)| *v *= if mix((b * block + j) as u64) & 1 == 0 { 1.0 } else { -1.0 });
            let mut half = 1;
            while half < block {
                for pair in out.chunks_exact_mut(2 * half) {
                    let (low, high) = pair.split_at_mut(half);
                    for (a, b) in low.iter_mut().zip(high) {
                        (*a, *b) = (*a + *b, *a - *b);
                    }
                }
                half *= 2;
            }
        }
        let (scale, offset) = (1.0 / (block as f32).sqrt(), 0.6 / (self.dim as f32).sqrt());
        let mut square = 0f64;
        for v in out.iter_mut() {
            *v = *v * scale + offset;
            square += f64::from(*v) * f64::from(*v);
        }
        let inverse = 1.0 / square.sqrt();
        out.iter_mut().for_each(|v| *v = (f64::from(*v) * inverse) as f32);
    }
}

impl Rows for ClusteredRows {
    fn count(&self) -> usize {
        self.rows
    }
    fn width(&self) -> usize {
        self.dim
    }
    fn row_bytes(&self) -> usize {
        4 * self.dim
    }
    fn direct(&self, _: usize, _: usize) -> Option<&[f32]> {
        None
    }
    fn decode(&self, first: usize, out: &mut [f32]) {
        out.chunks_exact_mut(self.dim).enumerate().for_each(|(i, out)| self.make(first + i, out));
    }
    fn touch(&self, _: usize) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_rows_are_of_unit_length_in_clusters_and_some_are_copies() {
        for dim in [1, 7, 384] {
            let made = ClusteredRows::new(2000, dim).unwrap();
            let mut values = vec![0f32; 2000 * dim];
            made.decode(0, &mut values);
            let rows: Vec<&[f32]> = values.chunks_exact(dim).collect();
            for (i, row) in rows.iter().enumerate() {
                let square: f64 = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
                assert!((square - 1.0).abs() < 1e-5, "row {i}: {square}");
            }
            let mut alone = vec![0f32; dim];
            made.decode(1234, &mut alone);
            assert_eq!(alone, rows[1234], "a row hangs on its number alone");
            if dim == 384 {
                let distinct: std::collections::HashSet<Vec<u32>> =
                    rows.iter().map(|row| row.iter().map(|v| v.to_bits()).collect()).collect();
                // One in a hundred: 20 of 2,000, five standard deviations about it.
                let copies = 2000 - distinct.len();
                assert!((1..=42).contains(&copies), "{copies}");
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
                // Two rows share a centre with the sum of the squared shares, 0.042, and lie near each other then: 83 of
                // 2,000. Rows of different centres have a cosine of about 0.6^2 / (0.7^2 + 2 * 0.6^2) = 0.3.
                let near = |i: usize| (0..2000).filter(|j| *j != i && dot(rows[i], rows[*j]) > 0.6).count();
                let mean = (0..200).map(near).sum::<usize>() as f64 / 200.0;
                assert!((40.0..130.0).contains(&mean), "{mean} rows are near a row");
            }
        }
    }
}
