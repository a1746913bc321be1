//! The ranking head's loss and its gradient, by hand.
//!
//! Of one dialogue: e `[text_dim]` the query's embedding, m `[dim]` the mean vector of the items it mentions (zeros: none),
//! x_i `[dim]` the item vectors, c_i the standardised log popularity, t_i the targets' weights (they sum to 1):
//!
//! ```text
//! forward    u   = W_q e + b + W_m m
//!            z_i = s (u . x_i) + a c_i           s = exp(log_scale); z_i = -inf for items that the query mentions
//!            L   = - sum_i t_i log softmax(z)_i
//! backward   dz_i = softmax(z)_i - t_i
//!            du   = s sum_i dz_i x_i             dlog_scale = u . du         da = sum_i dz_i c_i
//!            dW_q = du e'     dW_m = du m'       db = du
//! ```
//!
//! The loss of a batch is the mean over its dialogues.

use super::model::Weights;
use crate::error::Result;
use crate::math::{Matrix, dot, product, product_nt};
use rayon::prelude::*;

/// Dialogues per task: fixed, so that the bytes do not depend on the number of threads.
const TASK_ROWS: usize = 16;

/// A batch, ready for the arithmetic.
pub(in crate::tune) struct Batch {
    /// Embeddings of the queries, `[batch, text_dim]`.
    pub queries: Matrix,
    /// Mean vectors of the mentioned items, `[batch, dim]`.
    pub mentioned: Matrix,
    /// Mentioned items of each query, sorted: they are out of the running.
    pub masked: Vec<Vec<u32>>,
    /// Targets of each query: item row and weight; the weights of one query sum to 1.
    pub targets: Vec<Vec<(u32, f32)>>,
}

/// What [`loss`] gives.
pub(in crate::tune) struct Loss {
    /// Mean loss over the batch, in nats.
    pub loss: f64,
    /// Share of the targets among the best 20, mean over the batch.
    pub recall20: f64,
    /// The gradient, when asked for.
    pub gradient: Option<Weights>,
}

struct Part {
    loss: f64,
    recall: f64,
    /// du, `[rows, dim]`; zeros when no gradient is asked for.
    du: Matrix,
    log_scale: f64,
    popularity: f64,
}

/// Loss of a batch, and its gradient if `backward`. `items`: `[items, dim]`; `popularity`: `[items]`.
pub(in crate::tune) fn loss(
    weights: &Weights,
    items: &Matrix,
    popularity: &[f32],
    batch: &Batch,
    backward: bool,
) -> Result<Loss> {
    let size = batch.queries.rows();
    let u = weights.project(&batch.queries, &batch.mentioned)?;
    let starts: Vec<usize> = (0..size).step_by(TASK_ROWS).collect();
    let parts: Vec<Part> = starts
        .par_iter()
        .map(|&start| part(weights, items, popularity, batch, &u, start..(start + TASK_ROWS).min(size), backward))
        .collect::<Result<_>>()?;

    let n = size.max(1) as f64;
    let loss = parts.iter().map(|p| p.loss).sum::<f64>() / n;
    let recall20 = parts.iter().map(|p| p.recall).sum::<f64>() / n;
    if !backward {
        return Ok(Loss { loss, recall20, gradient: None });
    }
    let mut du = Vec::with_capacity(size * items.dim());
    parts.iter().for_each(|p| du.extend_from_slice(p.du.data()));
    let du = Matrix::from_vec(size, items.dim(), du)?;
    let mut bias = vec![0f64; items.dim()];
    for row in 0..size {
        bias.iter_mut().zip(du.row(row)).for_each(|(sum, v)| *sum += f64::from(*v));
    }
    let du_t = transpose(&du);
    let gradient = Weights {
        query: product(&du_t, &batch.queries)?,
        mention: product(&du_t, &batch.mentioned)?,
        bias: bias.into_iter().map(|v| v as f32).collect(),
        log_scale: parts.iter().map(|p| p.log_scale).sum::<f64>() as f32,
        popularity: parts.iter().map(|p| p.popularity).sum::<f64>() as f32,
    };
    Ok(Loss { loss, recall20, gradient: Some(gradient) })
}

fn part(
    weights: &Weights,
    items: &Matrix,
    popularity: &[f32],
    batch: &Batch,
    u: &Matrix,
    rows: std::ops::Range<usize>,
    backward: bool,
) -> Result<Part> {
    let n = batch.queries.rows().max(1) as f64;
    let own = u.gather(&rows.clone().collect::<Vec<_>>());
    let mut z = product_nt(&own, items)?;
    let mut part = Part { loss: 0.0, recall: 0.0, du: Matrix::default(), log_scale: 0.0, popularity: 0.0 };
    for (local, row) in rows.clone().enumerate() {
        let z = z.row_mut(local);
        weights.finish(z, popularity);
        for &item in &batch.masked[row] {
            z[item as usize] = f32::NEG_INFINITY;
        }
        let top = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = z.iter().map(|v| f64::from(*v - top).exp()).sum();
        let log_sum = f64::from(top) + sum.ln();
        let targets = &batch.targets[row];
        part.loss -= targets.iter().map(|(i, t)| f64::from(*t) * (f64::from(z[*i as usize]) - log_sum)).sum::<f64>();
        if !backward {
            let best = super::model::best_rows(z, 20);
            let hits = targets.iter().filter(|(i, _)| best.contains(i)).count();
            part.recall += hits as f64 / targets.len().clamp(1, 20) as f64;
            continue;
        }
        // z becomes dz / n, in place.
        z.iter_mut().for_each(|v| *v = ((f64::from(*v) - log_sum).exp() / n) as f32);
        for (item, weight) in targets {
            z[*item as usize] -= (f64::from(*weight) / n) as f32;
        }
        part.popularity += dot(z, popularity);
    }
    if backward {
        part.du = product(&z, items)?;
        let scale = weights.log_scale.exp();
        part.du.data_mut().iter_mut().for_each(|v| *v *= scale);
        part.log_scale = rows.enumerate().map(|(local, row)| dot(part.du.row(local), u.row(row))).sum();
    }
    Ok(part)
}

fn transpose(a: &Matrix) -> Matrix {
    let mut out = Matrix::zeros(a.dim(), a.rows());
    for i in 0..a.rows() {
        for (j, v) in a.row(i).iter().enumerate() {
            out.row_mut(j)[i] = *v;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;

    fn random(rows: usize, dim: usize, scale: f64, random: &mut Random) -> Matrix {
        Matrix::from_vec(rows, dim, (0..rows * dim).map(|_| (random.normal() * scale) as f32).collect()).unwrap()
    }

    /// 37 dialogues (three tasks), 11 items, text_dim 3, dim 5.
    fn setting() -> (Weights, Matrix, Vec<f32>, Batch) {
        let mut r = Random::new(5, b"head loss");
        let items = random(11, 5, 0.7, &mut r);
        let popularity: Vec<f32> = (0..11).map(|_| r.normal() as f32).collect();
        let mut weights = Weights::identity(3, 5);
        for (w, noise) in weights.query.data_mut().iter_mut().zip(random(5, 3, 0.4, &mut r).data()) {
            *w += noise;
        }
        for (w, noise) in weights.mention.data_mut().iter_mut().zip(random(5, 5, 0.4, &mut r).data()) {
            *w += noise;
        }
        weights.bias = random(1, 5, 0.3, &mut r).into_data();
        weights.log_scale = 0.4;
        weights.popularity = 0.3;
        let masked: Vec<Vec<u32>> = (0..37).map(|i| if i % 3 == 0 { vec![i % 11] } else { Vec::new() }).collect();
        let targets = (0..37u32)
            .map(
                |i| if i % 2 == 0 { vec![((i + 1) % 11, 0.7), ((i + 4) % 11, 0.3)] } else { vec![((i + 2) % 11, 1.0)] },
            )
            .collect();
        let batch =
            Batch { queries: random(37, 3, 1.0, &mut r), mentioned: random(37, 5, 1.0, &mut r), masked, targets };
        (weights, items, popularity, batch)
    }

    /// The formula at the head of this file, one sum after the other, in f64.
    fn slow_loss(w: &Weights, items: &Matrix, popularity: &[f32], batch: &Batch) -> f64 {
        let mut total = 0.0;
        for row in 0..batch.queries.rows() {
            let u: Vec<f64> = (0..items.dim())
                .map(|d| {
                    f64::from(w.bias[d])
                        + dot(w.query.row(d), batch.queries.row(row))
                        + dot(w.mention.row(d), batch.mentioned.row(row))
                })
                .collect();
            let z: Vec<f64> = (0..items.rows())
                .map(|i| {
                    let product: f64 = u.iter().zip(items.row(i)).map(|(a, b)| a * f64::from(*b)).sum();
                    let masked = batch.masked[row].contains(&(i as u32));
                    if masked {
                        f64::NEG_INFINITY
                    } else {
                        f64::from(w.log_scale).exp() * product + f64::from(w.popularity * popularity[i])
                    }
                })
                .collect();
            let log_sum = z.iter().map(|z| z.exp()).sum::<f64>().ln();
            total -= batch.targets[row].iter().map(|(i, t)| f64::from(*t) * (z[*i as usize] - log_sum)).sum::<f64>();
        }
        total / batch.queries.rows() as f64
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (weights, items, popularity, batch) = setting();
        let fast = loss(&weights, &items, &popularity, &batch, true).unwrap();
        assert!((fast.loss - slow_loss(&weights, &items, &popularity, &batch)).abs() < 1e-5);
        let gradient = fast.gradient.unwrap().flat();
        let h = 1e-3f32;
        for (at, g) in gradient.iter().enumerate() {
            let at_offset = |h: f32| {
                let mut moved = weights.clone();
                let mut flat = moved.flat();
                flat[at] += h;
                moved.set_flat(&flat);
                slow_loss(&moved, &items, &popularity, &batch)
            };
            let difference = (at_offset(h) - at_offset(-h)) / (2.0 * f64::from(h));
            assert!(
                (difference - f64::from(*g)).abs() < 2e-4,
                "weight {at}: {difference} by differences, {g} by formula"
            );
        }
    }
}
