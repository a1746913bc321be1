//! Softmax, entropy, Jensen-Shannon divergence: in f64, in nats.

use crate::error::{Error, Result};

/// Softmax of `scores / temperature`, in place. `scores`: finite, any length; `temperature` > 0.
pub fn softmax(scores: &mut [f64], temperature: f64) {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for s in scores.iter_mut() {
        *s = ((*s - top) / temperature).exp();
        sum += *s;
    }
    for s in scores.iter_mut() {
        *s /= sum;
    }
}

/// Shannon entropy H(p) = -sum p log p, in nats, within [0, ln n]. The paper (§3.2.1) prints it without the minus sign.
pub fn entropy(p: &[f64]) -> f64 {
    -p.iter().map(|&p| if p > 0.0 { p * p.ln() } else { 0.0 }).sum::<f64>()
}

/// Jensen-Shannon divergence of two distributions, in nats, within [0, ln 2].
///
/// `p`, `q`: `[clusters]`, each summing to 1 within 1e-3. Symmetric; zero only when equal. Paper: §3.2.1.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when lengths differ, or a mass is negative or NaN, or a sum is not 1.
pub fn jensen_shannon(p: &[f64], q: &[f64]) -> Result<f64> {
    if p.len() != q.len() {
        return Err(Error::invalid(format!("distributions of {} and {} masses", p.len(), q.len())));
    }
    for side in [p, q] {
        if side.iter().any(|m| m.is_nan() || *m < 0.0) || (side.iter().sum::<f64>() - 1.0).abs() > 1e-3 {
            return Err(Error::invalid("not a distribution: a negative or NaN mass, or a sum that is not 1"));
        }
    }
    let middle: Vec<f64> = p.iter().zip(q).map(|(a, b)| (a + b) / 2.0).collect();
    Ok((entropy(&middle) - (entropy(p) + entropy(q)) / 2.0).clamp(0.0, std::f64::consts::LN_2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::LN_2;

    #[test]
    fn the_extremes_follow_from_the_formulas() {
        assert_eq!(entropy(&[1.0, 0.0]), 0.0);
        assert!((entropy(&[0.25; 4]) - 4f64.ln()).abs() < 1e-15);
        assert_eq!(jensen_shannon(&[0.5, 0.5], &[0.5, 0.5]).unwrap(), 0.0);
        assert!((jensen_shannon(&[1.0, 0.0], &[0.0, 1.0]).unwrap() - LN_2).abs() < 1e-15);
        let mut p = [1e4, 1e4 + LN_2];
        softmax(&mut p, 1.0);
        assert!((p[0] - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        assert!(jensen_shannon(&[1.0], &[0.5, 0.5]).is_err());
        assert!(jensen_shannon(&[1.5, -0.5], &[0.5, 0.5]).is_err());
        assert!(jensen_shannon(&[f64::NAN, 1.0], &[0.5, 0.5]).is_err());
    }
}
