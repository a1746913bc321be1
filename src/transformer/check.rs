//! For the tests of this room: random values, and a gradient beside central differences.

use crate::math::Random;

/// `n` standard normal values.
pub fn random(n: usize, stream: &[u8]) -> Vec<f32> {
    let mut random = Random::new(17, stream);
    (0..n).map(|_| random.normal() as f32).collect()
}

/// The weighted sum that the tests take as their loss: it makes `weights` the gradient of `values`.
pub fn weighted(values: &[f32], weights: &[f32]) -> f64 {
    values.iter().zip(weights).map(|(v, w)| f64::from(*v) * f64::from(*w)).sum()
}

/// Holds `gradient` against central differences of `loss` at `x`, in up to 40 places: within 5e-3 of the largest.
pub fn gradient_agrees(what: &str, x: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{what}");
    let largest = gradient.iter().fold(0f32, |a, g| a.max(g.abs()));
    assert!(largest > 0.0, "{what}: the gradient is all zeros");
    let step = 4e-3f32;
    let mut moved = x.to_vec();
    for i in (0..x.len()).step_by(x.len().div_ceil(40)) {
        let (up, down) = (x[i] + step, x[i] - step);
        moved[i] = up;
        let high = loss(&moved);
        moved[i] = down;
        let low = loss(&moved);
        moved[i] = x[i];
        let slope = (high - low) / f64::from(up - down);
        let error = (slope - f64::from(gradient[i])).abs();
        assert!(error < 5e-3 * f64::from(largest), "{what}[{i}]: {} but the slope is {slope}", gradient[i]);
    }
}
