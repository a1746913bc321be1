//! The widest vector instructions that this CPU has, for plain loops over fixed lanes.

pub use faer::traits::pulp::{Simd, WithSimd};

/// Runs `work` compiled for the vector instructions of this CPU (AVX2 and FMA where there are such).
///
/// `work` is a struct and not a closure because only what is `#[inline(always)]` is compiled anew for those instructions,
/// and a closure cannot be. The loops fix their own order of sums, so results do not depend on the width.
#[inline]
pub fn widest<W: WithSimd>(work: W) -> W::Output {
    faer::traits::pulp::Arch::new().dispatch(work)
}

/// m ln m for 0 <= m <= 1, without a branch: fdlibm's `e_log.c` (2^k (1 + f), then a polynomial in f / (2 + f)).
#[inline(always)]
pub fn m_ln_m(m: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    // 2^52 with the exponent in its last bits: the way to a float without a conversion instruction.
    const MAGIC: u64 = 0x4330_0000_0000_0000;
    let bits = m.to_bits();
    let above = bits.wrapping_sub(SQRT_HALF).wrapping_add(1023 << 52);
    let exponent = above >> 52;
    let k = f64::from_bits(exponent | MAGIC) - (4_503_599_627_370_496.0 + 1023.0);
    let f = f64::from_bits(bits.wrapping_sub(exponent << 52).wrapping_add(1023 << 52)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = 1.479_819_860_511_658_6e-1;
    let r = z.mul_add(r, 1.531_383_769_920_937_3e-1);
    let r = z.mul_add(r, 1.818_357_216_161_805e-1);
    let r = z.mul_add(r, 2.222_219_843_214_978_4e-1);
    let r = z.mul_add(r, 2.857_142_874_366_239e-1);
    let r = z.mul_add(r, 3.999_999_999_940_942e-1);
    let r = z.mul_add(r, 6.666_666_666_666_735e-1) * z;
    let half = 0.5 * f * f;
    let ln = k.mul_add(std::f64::consts::LN_2, f - (half - s * (half + r)));
    // 0 ln 0 is 0: the logarithm above is finite for every bit pattern of 0 <= m <= 1.
    m * ln
}

/// ln m in f32 for 0 <= m <= 1, without a branch: fdlibm's `e_logf.c`; below 1e-37 the logarithm of 1e-37, so that a mass
/// of 0 has one.
#[inline(always)]
pub fn ln32(m: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let above = m.max(1e-37).to_bits().wrapping_sub(SQRT_HALF);
    // The last bits of an exponent that has fallen below 1 are those of its complement: a shift that keeps the sign.
    let k = (above as i32 >> 23) as f32;
    let f = f32::from_bits((above & 0x007f_ffff).wrapping_add(SQRT_HALF)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z.mul_add(0.242_790_79, 0.284_987_87);
    let r = z.mul_add(r, 0.400_009_72);
    let r = z.mul_add(r, 0.666_666_6) * z;
    let half = 0.5 * f * f;
    k.mul_add(std::f32::consts::LN_2, f - (half - s * (half + r)))
}

/// e^x for x <= 0, without a branch: 2^k e^r, |r| <= ln 2 / 2, e^r by its series to r^13 (the next term is below 1e-17).
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    // Adding 1.5 * 2^52 rounds to a whole number and leaves it in the last bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let clamped = x.max(-708.0);
    let shifted = clamped.mul_add(std::f64::consts::LOG2_E, MAGIC);
    let k = shifted - MAGIC;
    let r = k.mul_add(-LN_2_LOW, k.mul_add(-LN_2_HIGH, clamped));
    let mut sum = 1.0 / 6_227_020_800.0;
    for inverse in [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = r.mul_add(sum, inverse);
    }
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    // Below e^-708 there is nothing left of a probability.
    if x < -708.0 { 0.0 } else { sum * power }
}

/// ||a - b||^2 in f64, in sixteen lanes: exactly 0 for equal rows.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    widest(SquaredDistance { a, b })
}

struct SquaredDistance<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl WithSimd for SquaredDistance<'_> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0f64; 16];
        let (a, b) = (self.a.chunks_exact(16), self.b.chunks_exact(16));
        for (i, (a, b)) in a.remainder().iter().zip(b.remainder()).enumerate() {
            let difference = f64::from(*a) - f64::from(*b);
            lanes[i] = difference * difference;
        }
        for (a, b) in a.zip(b) {
            for i in 0..16 {
                let difference = f64::from(a[i]) - f64::from(b[i]);
                lanes[i] = difference.mul_add(difference, lanes[i]);
            }
        }
        let mut sum = 0.0;
        for lane in lanes {
            sum += lane;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectorised_logarithm_agrees_with_the_library() {
        let mut m = 1.0f64;
        while m > 1e-300 {
            for m in [m, 0.999_999 * m, 0.737 * m, 0.708 * m, 0.706 * m] {
                let error = (m_ln_m(m) - m * m.ln()).abs();
                assert!(error <= 4.0 * f64::EPSILON * m * (1.0 + m.ln().abs()), "{m}: {error}");
            }
            m *= 0.61;
        }
        assert_eq!(m_ln_m(0.0), 0.0);
        assert_eq!(m_ln_m(1.0), 0.0);
    }

    #[test]
    fn the_narrow_logarithm_agrees_with_the_library() {
        let mut m = 1f32;
        while m > 1e-36 {
            for m in [m, 0.999_999 * m, 0.737 * m, 0.708 * m, 0.706 * m] {
                let exact = f64::from(m).ln();
                let error = (f64::from(ln32(m)) - exact).abs();
                assert!(error <= f64::from(f32::EPSILON) * (0.1 + exact.abs()), "{m}: {error}");
            }
            m *= 0.961;
        }
        assert_eq!(ln32(1.0), 0.0);
        assert_eq!(ln32(0.0), ln32(1e-37));
    }

    #[test]
    fn the_vectorised_exponential_agrees_with_the_library() {
        for i in 0..70_000 {
            let x = -0.0101 * f64::from(i);
            assert!((exp(x) - x.exp()).abs() <= 4.0 * f64::EPSILON * x.exp(), "{x}: {} {}", exp(x), x.exp());
        }
        assert_eq!((exp(0.0), exp(-1e4), exp(f64::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn the_distance_is_that_of_the_formula() {
        for dim in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..dim).map(|i| (i as f32).sin()).collect();
            let b: Vec<f32> = (0..dim).map(|i| (i as f32 + 0.3).cos()).collect();
            let slow: f64 = a.iter().zip(&b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            assert!((squared_distance(&a, &b) - slow).abs() <= 1e-14 * slow);
            assert_eq!(squared_distance(&a, &a), 0.0);
        }
    }
}
