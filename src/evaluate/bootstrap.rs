//! The paired bootstrap: is the difference of two systems on the same pairs more than luck?
//!
//! Pairs are drawn with replacement, the same draw for every system; the interval is the percentile one. The p value is
//! two-sided: twice the smaller share of resamples on either side of zero, ties counted on both, (count + 1) / (B + 1).

use crate::error::Result;
use crate::math::Random;
use crate::run::Run;
use rayon::prelude::*;

/// Below this p value a difference is called significant.
pub const LEVEL: f64 = 0.05;

/// The difference of two systems, a minus b.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Difference of the means over the pairs.
    pub mean: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Two-sided p value.
    pub p: f64,
}

/// Means of resamples: `[columns][resamples]`, the same draws for every column.
pub struct Resamples {
    columns: Vec<Vec<f64>>,
    means: Vec<f64>,
}

/// Resamples per task: fixed, so that the numbers do not depend on the threads.
const CHUNK: usize = 32;

impl Resamples {
    /// Draws `resamples` times from the pairs. `values`: `[columns][pairs]`, all of one length.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn draw(values: &[Vec<f64>], resamples: usize, seed: u64, run: &Run) -> Result<Resamples> {
        let pairs = values.first().map_or(0, Vec::len);
        let mean = |column: &Vec<f64>| column.iter().sum::<f64>() / (pairs.max(1) as f64);
        let mut out = Resamples {
            columns: vec![Vec::with_capacity(resamples); values.len()],
            means: values.iter().map(mean).collect(),
        };
        if pairs == 0 {
            return Ok(out);
        }
        // Rows of pairs side by side: one cache line holds a pair's values in all columns.
        let width = values.len();
        let rows: Vec<f64> = (0..pairs).flat_map(|pair| values.iter().map(move |column| column[pair])).collect();
        let chunks = resamples.div_ceil(CHUNK);
        let at_once = 4 * run.threads();
        for first in (0..chunks).step_by(at_once) {
            let batch: Vec<Vec<f64>> = run.install(|| {
                (first..chunks.min(first + at_once))
                    .into_par_iter()
                    .map(|chunk| {
                        let mut random = Random::new(seed, format!("bootstrap {chunk}").as_bytes());
                        let mut means = Vec::with_capacity(CHUNK * width);
                        for _ in 0..CHUNK.min(resamples - chunk * CHUNK) {
                            let mut sums = vec![0.0; width];
                            for _ in 0..pairs {
                                let pair = random.below(pairs) * width;
                                sums.iter_mut().zip(&rows[pair..pair + width]).for_each(|(sum, value)| *sum += value);
                            }
                            means.extend(sums.into_iter().map(|sum| sum / pairs as f64));
                        }
                        means
                    })
                    .collect()
            });
            for means in batch {
                for resample in means.chunks_exact(width.max(1)) {
                    out.columns.iter_mut().zip(resample).for_each(|(column, mean)| column.push(*mean));
                }
            }
            run.step("evaluate", "resamples", (CHUNK * (first + at_once)).min(resamples) as u64, resamples as u64)?;
        }
        Ok(out)
    }

    /// The difference of column `a` minus column `b`.
    pub fn difference(&self, a: usize, b: usize) -> Difference {
        let mean = self.means[a] - self.means[b];
        let mut drawn: Vec<f64> = self.columns[a].iter().zip(&self.columns[b]).map(|(a, b)| a - b).collect();
        drawn.sort_by(f64::total_cmp);
        if drawn.is_empty() {
            return Difference { mean, low: mean, high: mean, p: 1.0 };
        }
        // Rounding of sums must not turn a tie into a difference.
        let tie = 1e-12;
        let below = drawn.iter().filter(|d| **d <= tie).count();
        let above = drawn.iter().filter(|d| **d >= -tie).count();
        let p = (2.0 * (below.min(above) + 1) as f64 / (drawn.len() + 1) as f64).min(1.0);
        Difference { mean, low: percentile(&drawn, 0.025), high: percentile(&drawn, 0.975), p }
    }
}

/// The percentile of sorted values, interpolated between neighbours.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(n: usize, mean: f64, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed, b"bootstrap test");
        (0..n).map(|_| mean + random.normal()).collect()
    }

    #[test]
    fn intervals_and_p_agree_with_the_normal_case() {
        let run = Run::new(2).unwrap();
        for (shift, seed) in [(0.0, 1), (0.1, 2), (0.15, 3), (0.3, 4)] {
            let (a, b) = (normal(400, shift, seed), normal(400, 0.0, seed + 100));
            let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            let estimate = crate::evaluate::Estimate::of(&differences);
            let found = Resamples::draw(&[a, b], 8000, 0, &run).unwrap().difference(0, 1);
            assert!((found.mean - estimate.mean).abs() < 1e-12);
            // Mean ± 1.96 se, within a tenth of a standard error.
            assert!(
                (found.low - (estimate.mean - 1.96 * estimate.se)).abs() < 0.1 * estimate.se,
                "{found:?} {estimate:?}"
            );
            assert!(
                (found.high - (estimate.mean + 1.96 * estimate.se)).abs() < 0.1 * estimate.se,
                "{found:?} {estimate:?}"
            );
            // p = 2 (1 - Phi(|z|)), by the series of the error function's complement.
            let z = (estimate.mean / estimate.se).abs();
            let steps = 20_000;
            let tail: f64 = (0..steps)
                .map(|i| z + (i as f64 + 0.5) * 10.0 / steps as f64)
                .map(|x| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * 10.0 / steps as f64)
                .sum();
            let analytic = 2.0 * tail;
            assert!((found.p - analytic).abs() < 0.02 + 0.1 * analytic, "p {} and {analytic}", found.p);
        }
    }

    #[test]
    fn equal_systems_do_not_differ_and_threads_do_not_matter() {
        let a: Vec<f64> = (0..300).map(|i| f64::from(i % 7 == 0)).collect();
        let b: Vec<f64> = (0..300).map(|i| f64::from(i % 5 == 0)).collect();
        let one = Resamples::draw(&[a.clone(), a.clone(), b.clone()], 500, 3, &Run::new(1).unwrap()).unwrap();
        let two = Resamples::draw(&[a.clone(), a, b], 500, 3, &Run::new(2).unwrap()).unwrap();
        assert_eq!(one.difference(0, 1), Difference { mean: 0.0, low: 0.0, high: 0.0, p: 1.0 });
        assert_eq!(one.difference(0, 2), two.difference(0, 2));
        let (there, back) = (one.difference(0, 2), one.difference(2, 0));
        assert!((there.low + back.high).abs() < 1e-12 && there.p == back.p);
    }

    #[test]
    fn no_pairs_are_no_difference() {
        let none = Resamples::draw(&[vec![], vec![]], 100, 0, &Run::new(1).unwrap()).unwrap();
        assert_eq!(none.difference(0, 1).p, 1.0);
    }
}
