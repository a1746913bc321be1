//! exp and tanh in f32, written so that the compiler makes vector code of a loop over them.

/// e^x within 2 units in the last place for x in [-87, 88]; below: 0 or nearly so; above: about 1.6e38 (no infinity).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Cephes' expf: e^x = 2^n e^r, n the nearest whole number to x / ln 2, |r| <= ln 2 / 2.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    let x = if x > 88.0 { 88.0 } else { x };
    let x = if x < -87.3 { -87.3 } else { x };
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh, within 3e-7 absolutely.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// The largest value; NaN is passed over, as by [`f32::max`].
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let eights = values.chunks_exact(8);
    let rest = eights.remainder().iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    for values in eights {
        lanes.iter_mut().zip(values).for_each(|(lane, v)| *lane = if *v > *lane { *v } else { *lane });
    }
    lanes.iter().fold(rest, |a, b| a.max(*b))
}

/// Values become e^(value - top); returns their sum: 256 at a time in eight lanes, these in f64.
#[inline(always)]
pub fn exp_and_sum(values: &mut [f32], top: f32) -> f64 {
    let mut sum = 0f64;
    for chunk in values.chunks_mut(256) {
        let mut lanes = [0f32; 8];
        let mut eights = chunk.chunks_exact_mut(8);
        for values in eights.by_ref() {
            for (v, lane) in values.iter_mut().zip(&mut lanes) {
                *v = exp(*v - top);
                *lane += *v;
            }
        }
        for (v, lane) in eights.into_remainder().iter_mut().zip(&mut lanes) {
            *v = exp(*v - top);
            *lane += *v;
        }
        sum += lanes.iter().map(|v| f64::from(*v)).sum::<f64>();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_agree_with_f64() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let truth = f64::from(x).exp();
            assert!((f64::from(exp(x)) - truth).abs() <= 3e-7 * truth, "exp {x}");
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 3e-7, "tanh {x}");
            assert!((f64::from(sigmoid(x)) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs() < 3e-7, "sigmoid {x}");
        }
        assert!(exp(-1e30) < 1e-37 && exp(1e30).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_are_those_of_a_plain_loop() {
        for n in [0, 1, 7, 8, 9, 255, 256, 300, 1000] {
            let values: Vec<f32> = (0..n).map(|i| ((i * 7919) % 101) as f32 * 0.1 - 3.0).collect();
            let top = largest(&values);
            assert_eq!(top, values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let mut fast = values.clone();
            let sum = exp_and_sum(&mut fast, top);
            let slow: f64 = values.iter().map(|v| f64::from(v - top).exp()).sum();
            assert!((sum - slow).abs() <= 1e-6 * slow);
            assert!(fast.iter().zip(&values).all(|(f, v)| *f == exp(v - top)));
        }
    }
}
