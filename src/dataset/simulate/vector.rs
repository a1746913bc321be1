//! Directions in the space in which items and tastes lie.

use crate::math::Random;

/// Dimensions of the space.
pub(super) const DIM: usize = 12;

pub(super) type Vector = [f64; DIM];

pub(super) fn dot(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

pub(super) fn normal(random: &mut Random) -> Vector {
    std::array::from_fn(|_| random.normal())
}

pub(super) fn add(sum: &mut Vector, weight: f64, term: &Vector) {
    for (s, t) in sum.iter_mut().zip(term) {
        *s += weight * t;
    }
}

pub(super) fn unit(mut v: Vector) -> Vector {
    let norm = dot(&v, &v).sqrt().max(1e-12);
    v.iter_mut().for_each(|x| *x /= norm);
    v
}
