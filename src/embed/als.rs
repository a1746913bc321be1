//! Implicit alternating least squares (Hu, Koren and Volinsky 2008): factors of users and items from who chose what.
//!
//! Minimises sum_ui c_ui (p_ui - x_u . y_i)^2 + lambda (sum |x_u|^2 + sum |y_i|^2) with c_ui = 1 + alpha r_ui, and p_ui = 1
//! where r_ui > 0. With the item factors Y fixed, every user's factor solves
//!
//! (Y'Y + lambda I + Y_u' D Y_u) x = Y_u' (D + I) 1,   D = diag(alpha r_u), Y_u the rows of the user's items.
//!
//! A user with n < dim items is solved in n unknowns instead (the push-through identity): with G = Y'Y + lambda I,
//! x = G^-1 Y_u' z, (D^-1 + Y_u G^-1 Y_u') z = D^-1 1 + 1. Most users have two or three items: this is the whole speed.

use crate::error::{Error, Result};
use crate::math::{Matrix, Random, Sparse, gram};
use crate::run::Run;
use rayon::prelude::*;

/// The settings of [`implicit_als`].
#[derive(Debug, Clone, Copy)]
pub struct AlsOptions {
    /// Length of a factor.
    pub dim: usize,
    /// How much more an interaction counts than its absence: c = 1 + alpha r.
    pub alpha: f64,
    /// Regularisation.
    pub lambda: f64,
    /// Rounds (users, then items).
    pub iterations: usize,
    /// Seed of the first item factors.
    pub seed: u64,
}

/// Factors of users `[users, dim]` and items `[items, dim]` from `strengths` `[users, items]`, r > 0. Rows without
/// entries get zeros. Same bytes for any number of threads.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for a strength that is not above 0, or options out of bounds;
/// [`crate::ErrorKind::Cancelled`].
pub fn implicit_als(strengths: &Sparse, options: &AlsOptions, run: &Run) -> Result<(Matrix, Matrix)> {
    let AlsOptions { dim, alpha, lambda, iterations, seed } = *options;
    let sound = dim > 0 && alpha > 0.0 && lambda > 0.0 && alpha.is_finite() && lambda.is_finite();
    if !sound {
        return Err(Error::invalid(format!("ALS with dim {dim}, alpha {alpha}, lambda {lambda}: all must be above 0")));
    }
    if (0..strengths.rows()).any(|i| strengths.row(i).iter().any(|(_, r)| *r <= 0.0)) {
        return Err(Error::invalid("ALS: a strength of 0 or less"));
    }
    let by_item = strengths.transpose();
    let mut random = Random::new(seed, b"als");
    let scale = 0.1 / (dim as f64).sqrt();
    let data = (0..strengths.columns() * dim).map(|_| (random.normal() * scale) as f32).collect();
    let mut items = Matrix::from_vec(strengths.columns(), dim, data)?;
    let mut users = Matrix::zeros(strengths.rows(), dim);
    let total = 2 * iterations as u64;
    for n in 0..iterations as u64 {
        users = run.install(|| solve(strengths, &items, alpha, lambda, run))?;
        run.step("embed", "ALS half-rounds", 2 * n + 1, total)?;
        items = run.install(|| solve(&by_item, &users, alpha, lambda, run))?;
        run.step("embed", "ALS half-rounds", 2 * n + 2, total)?;
    }
    Ok((users, items))
}

/// The factors of `entries`' rows, `fixed` being the factors of its columns.
fn solve(entries: &Sparse, fixed: &Matrix, alpha: f64, lambda: f64, run: &Run) -> Result<Matrix> {
    let dim = fixed.dim();
    let mut base = gram(fixed);
    (0..dim).for_each(|i| base[i * dim + i] += lambda);
    let mut factor = base.clone();
    if !cholesky(&mut factor, dim) {
        return Err(Error::bug("ALS: a matrix that must be positive definite is not"));
    }
    // Rows of Y G^-1, worth their time only when many rows share few columns.
    let few = fixed.rows() <= entries.rows();
    let mut inverse = vec![0f64; if few { fixed.rows() * dim } else { 0 }];
    inverse.par_chunks_mut(dim).enumerate().for_each(|(i, out)| {
        out.iter_mut().zip(fixed.row(i)).for_each(|(o, v)| *o = f64::from(*v));
        substitute(&factor, dim, out);
    });
    let mut out = Matrix::zeros(entries.rows(), dim);
    out.data_mut().par_chunks_mut(dim).enumerate().for_each(|(i, out)| {
        let row = entries.row(i);
        if row.is_empty() || run.is_cancelled() {
            return;
        }
        let x = if few && row.len() < dim {
            few_entries(row, fixed, &inverse, alpha)
        } else {
            many_entries(row, fixed, &base, alpha)
        };
        out.iter_mut().zip(&x).for_each(|(o, v)| *o = *v as f32);
    });
    run.check()?;
    if out.data().iter().any(|v| !v.is_finite()) {
        return Err(Error::invalid("ALS diverges: make the regularisation larger (embed.als_lambda)"));
    }
    Ok(out)
}

/// The n x n system of the module's head.
fn few_entries(row: &[(u32, f32)], fixed: &Matrix, inverse: &[f64], alpha: f64) -> Vec<f64> {
    let (n, dim) = (row.len(), fixed.dim());
    let w = |j: usize| &inverse[row[j].0 as usize * dim..(row[j].0 as usize + 1) * dim];
    let mut matrix = vec![0f64; n * n];
    let mut z = vec![0f64; n];
    for i in 0..n {
        let y = fixed.row(row[i].0 as usize);
        for j in 0..=i {
            matrix[i * n + j] = y.iter().zip(w(j)).map(|(a, b)| f64::from(*a) * b).sum();
        }
        let d = alpha * f64::from(row[i].1);
        matrix[i * n + i] += 1.0 / d;
        z[i] = 1.0 / d + 1.0;
    }
    let mut x = vec![0f64; dim];
    if cholesky(&mut matrix, n) {
        substitute(&matrix, n, &mut z);
        for (j, z) in z.iter().enumerate() {
            x.iter_mut().zip(w(j)).for_each(|(x, w)| *x += z * w);
        }
    } else {
        x.fill(f64::NAN);
    }
    x
}

/// The dim x dim system of the module's head.
fn many_entries(row: &[(u32, f32)], fixed: &Matrix, base: &[f64], alpha: f64) -> Vec<f64> {
    let dim = fixed.dim();
    let mut matrix = base.to_vec();
    let mut x = vec![0f64; dim];
    let mut wide = vec![0f64; dim];
    for (column, r) in row {
        let d = alpha * f64::from(*r);
        wide.iter_mut().zip(fixed.row(*column as usize)).for_each(|(w, y)| *w = f64::from(*y));
        for i in 0..dim {
            let scaled = d * wide[i];
            matrix[i * dim..=i * dim + i].iter_mut().zip(&wide).for_each(|(m, w)| *m += scaled * w);
        }
        x.iter_mut().zip(&wide).for_each(|(x, w)| *x += (1.0 + d) * w);
    }
    if cholesky(&mut matrix, dim) {
        substitute(&matrix, dim, &mut x);
    } else {
        x.fill(f64::NAN);
    }
    x
}

/// L of m = L L', in the lower triangle of `m` `[n, n]`; false when `m` is not positive definite.
fn cholesky(m: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        let (above, rest) = m.split_at_mut(i * n);
        let row = &mut rest[..n];
        for j in 0..i {
            let other = &above[j * n..j * n + n];
            let sum: f64 = row[..j].iter().zip(&other[..j]).map(|(a, b)| a * b).sum();
            row[j] = (row[j] - sum) / other[j];
        }
        let pivot = row[i] - row[..i].iter().map(|v| v * v).sum::<f64>();
        if pivot.is_nan() || pivot <= 0.0 {
            return false;
        }
        row[i] = pivot.sqrt();
    }
    true
}

/// Solves L L' x = b in place.
fn substitute(l: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let sum: f64 = l[i * n..i * n + i].iter().zip(&b[..i]).map(|(a, b)| a * b).sum();
        b[i] = (b[i] - sum) / l[i * n + i];
    }
    for i in (0..n).rev() {
        let x = b[i] / l[i * n + i];
        b[i] = x;
        b[..i].iter_mut().zip(&l[i * n..i * n + i]).for_each(|(b, l)| *b -= x * l);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(users: usize, items: usize, seed: u64) -> Sparse {
        let mut random = Random::new(seed, b"als example");
        let mut sparse = Sparse::new(items);
        for u in 0..users {
            let share = if u % 7 == 0 { 0.6 } else { 0.08 };
            let row: Vec<(u32, f32)> = (0..items as u32)
                .filter_map(|i| if random.uniform() < share { Some((i, 0.1 + random.uniform() as f32)) } else { None })
                .collect();
            sparse.push_row(&row).unwrap();
        }
        sparse
    }

    /// The definition: every user's normal equations over all items, dense, by Gauss with faer's LU.
    fn dense_twin(entries: &Sparse, fixed: &Matrix, alpha: f64, lambda: f64) -> Vec<Vec<f64>> {
        use faer::linalg::solvers::Solve;
        let dim = fixed.dim();
        (0..entries.rows())
            .map(|u| {
                let mut r = vec![0f64; entries.columns()];
                entries.row(u).iter().for_each(|(i, v)| r[*i as usize] = f64::from(*v));
                let mut a = faer::Mat::<f64>::from_fn(dim, dim, |i, j| if i == j { lambda } else { 0.0 });
                let mut b = faer::Mat::<f64>::zeros(dim, 1);
                for (i, r) in r.iter().enumerate() {
                    let (c, p) = (1.0 + alpha * r, if *r > 0.0 { 1.0 } else { 0.0 });
                    for k in 0..dim {
                        b[(k, 0)] += c * p * f64::from(fixed.row(i)[k]);
                        for l in 0..dim {
                            a[(k, l)] += c * f64::from(fixed.row(i)[k]) * f64::from(fixed.row(i)[l]);
                        }
                    }
                }
                let x = a.partial_piv_lu().solve(&b);
                (0..dim).map(|k| x[(k, 0)]).collect()
            })
            .collect()
    }

    #[test]
    fn both_ways_to_solve_agree_with_the_dense_definition() {
        let entries = example(60, 40, 1);
        let mut random = Random::new(2, b"factors");
        let fixed = Matrix::from_vec(40, 8, (0..320).map(|_| random.normal() as f32).collect()).unwrap();
        let fast = solve(&entries, &fixed, 3.0, 0.5, &Run::new(1).unwrap()).unwrap();
        let slow = dense_twin(&entries, &fixed, 3.0, 0.5);
        let (mut few, mut many) = (0, 0);
        for u in 0..60 {
            match entries.row(u).len() {
                0..8 => few += 1,
                _ => many += 1,
            }
            for k in 0..8 {
                assert!(
                    (f64::from(fast.row(u)[k]) - slow[u][k]).abs() < 1e-5,
                    "user {u}: {} entries",
                    entries.row(u).len()
                );
            }
        }
        assert!(few > 5 && many > 5, "the example must take both ways: {few}, {many}");
    }

    #[test]
    fn every_round_lowers_the_loss_and_threads_do_not_change_a_byte() {
        let entries = example(120, 30, 3);
        let options = |iterations| AlsOptions { dim: 5, alpha: 4.0, lambda: 0.3, iterations, seed: 1 };
        let run = Run::new(2).unwrap();
        let loss = |users: &Matrix, items: &Matrix| -> f64 {
            let mut sum = 0.0;
            for u in 0..120 {
                for i in 0..30u32 {
                    let r = entries.row(u).iter().find(|(c, _)| *c == i).map_or(0.0, |(_, r)| f64::from(*r));
                    let p = if r > 0.0 { 1.0 } else { 0.0 };
                    let dot = crate::math::dot(users.row(u), items.row(i as usize));
                    sum += (1.0 + 4.0 * r) * (p - dot).powi(2);
                }
            }
            let squares = |m: &Matrix| crate::math::dot(m.data(), m.data());
            sum + 0.3 * (squares(users) + squares(items))
        };
        let mut last = f64::INFINITY;
        for iterations in 1..6 {
            let (users, items) = implicit_als(&entries, &options(iterations), &run).unwrap();
            let now = loss(&users, &items);
            assert!(now <= last * (1.0 + 1e-6), "round {iterations}: {now} after {last}");
            last = now;
        }
        let one = implicit_als(&entries, &options(4), &Run::new(1).unwrap()).unwrap();
        assert_eq!(one, implicit_als(&entries, &options(4), &run).unwrap());
    }

    #[test]
    fn strengths_that_are_not_positive_are_refused() {
        let mut entries = Sparse::new(2);
        entries.push_row(&[(0, 0.0)]).unwrap();
        let options = AlsOptions { dim: 2, alpha: 1.0, lambda: 1.0, iterations: 1, seed: 0 };
        assert!(implicit_als(&entries, &options, &Run::new(1).unwrap()).is_err());
    }
}
