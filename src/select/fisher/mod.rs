//! FISHER (paper §3.2.2), lazily: Lambda_0 = I, argmax log(1 + x' Lambda x), rank-one updates. Exact, a fraction of the work.
//!
//! Scores s_i = x_i' Lambda x_i only fall, so a score computed earlier is an upper bound. Two kinds of rows:
//! - the **pool**: some hundreds of rows with scores in f64 that are brought up to date when they matter;
//! - all **others**, with an upper bound as of some earlier pick, computed in f32 with its rounding error added on top.
//!
//! While the best of the pool stands above every bound outside, it is the pick. When it does not, a *refresh* brings those
//! others up to date whose bound is still high enough, chunk of update vectors by chunk, and lets the best into the pool.
//! Equal rows are one entry, of which the lowest row that may be picked stands for all.

mod columns;

use super::Pick;
use super::equals::Equals;
use super::field::Field;
use super::greedy::{Greedy, TIE};
use crate::error::Result;
use crate::math::{Matrix, dot};
use crate::run::Run;
use columns::{Columns, mixed_dot};
use rayon::prelude::*;

/// Rows that a refresh lets into the pool.
const POOL: usize = 256;

/// A row of the pool.
struct Entry {
    row: u32,
    /// x . w_t for the first t columns: the score is as of then.
    coefficients: Vec<f64>,
    score: f64,
}

/// FISHER under way.
pub struct Fisher<'a> {
    x: &'a Matrix,
    /// |x_i|^2.
    squares: Vec<f64>,
    equals: Equals,
    columns: Columns,
    /// The gain of each row folded.
    gains: Vec<f64>,
    pool: Vec<Entry>,
    /// Upper bounds on the scores of the rows outside the pool.
    bounds: Vec<f64>,
    /// `waiting[c]`: the rows outside the pool that have met the first c chunks.
    waiting: Vec<Vec<u32>>,
    /// Rows that the caps closed, with their bounds: only the certificate still asks for them.
    closed: Vec<u32>,
    /// No bound outside the pool is greater.
    threshold: f64,
    /// How far below the best of the pool a refresh reaches.
    reach: f64,
    tie: f64,
}

impl<'a> Fisher<'a> {
    /// Nothing picked yet. `x`: `[rows, dim]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn new(x: &'a Matrix, run: &Run) -> Result<Fisher<'a>> {
        run.check()?;
        let squares: Vec<f64> =
            run.install(|| (0..x.rows()).into_par_iter().map(|i| dot(x.row(i), x.row(i))).collect());
        let greatest = squares.iter().copied().fold(0.0, f64::max);
        let equals = Equals::new(&squares, |row| x.row(row), |v| u64::from(v.to_bits()));
        Ok(Fisher {
            x,
            bounds: squares.clone(),
            squares,
            columns: Columns::new(x.dim()),
            gains: Vec::new(),
            pool: Vec::new(),
            waiting: vec![equals.first.clone()],
            equals,
            closed: Vec::new(),
            threshold: f64::INFINITY,
            reach: 0.05 * greatest,
            tie: TIE * greatest,
        })
    }

    /// Brings an entry's score up to date.
    fn catch_up(entry: &mut Entry, x: &Matrix, columns: &Columns) {
        let x = x.row(entry.row as usize);
        for t in entry.coefficients.len()..columns.count() {
            let a = mixed_dot(x, columns.column(t));
            entry.score -= a * a;
            entry.coefficients.push(a);
        }
    }

    /// The best row of the pool, the lowest of a tie, and the greatest score.
    fn best_of_pool(&mut self, field: &Field) -> Option<(usize, f64)> {
        let best = loop {
            // Stale scores are upper bounds: once the greatest is up to date, it is the greatest of all.
            let at = (0..self.pool.len()).reduce(|a, b| if self.pool[b].score > self.pool[a].score { b } else { a })?;
            if self.equals.stands_for(self.pool[at].row, field).is_none() {
                let entry = self.pool.swap_remove(at);
                self.bounds[entry.row as usize] = entry.score + self.tie;
                self.closed.push(entry.row);
            } else if self.pool[at].coefficients.len() == self.columns.count() {
                break self.pool[at].score;
            } else {
                Self::catch_up(&mut self.pool[at], self.x, &self.columns);
            }
        };
        let mut lowest = None;
        for at in 0..self.pool.len() {
            if self.pool[at].score >= best - self.tie {
                Self::catch_up(&mut self.pool[at], self.x, &self.columns);
                if self.pool[at].score >= best - self.tie {
                    let row = self.equals.stands_for(self.pool[at].row, field);
                    lowest = lowest.into_iter().chain(row).min();
                }
            }
        }
        lowest.map(|row| (row, best))
    }

    /// Lets into the pool the best of the rows outside; with `all`, every row that could be better than the pool's best.
    fn refresh(&mut self, all: bool, field: &Field, run: &Run) -> Result<()> {
        run.check()?;
        let (x, columns) = (self.x, &mut self.columns);
        run.install(|| columns.close(x))?;
        let columns = &self.columns;
        run.install(|| self.pool.par_iter_mut().for_each(|entry| Self::catch_up(entry, x, columns)));
        let best = self.pool.iter().map(|e| e.score).fold(f64::NEG_INFINITY, f64::max);
        // Two ties below: what stays outside is then more than a tie below the best, and the next look ends.
        let floor = best - if all { 2.0 * self.tie } else { self.reach };
        self.waiting.resize(columns.chunks() + 1, Vec::new());
        for entry in self.pool.extract_if(.., |entry| entry.score < floor) {
            self.bounds[entry.row as usize] = entry.score + self.tie;
            self.waiting[columns.chunks()].push(entry.row);
        }
        for c in 0..columns.chunks() {
            let high: Vec<u32> = self.waiting[c].extract_if(.., |row| self.bounds[*row as usize] >= floor).collect();
            let drops = run.install(|| columns.drops(c, x, &self.squares, &high));
            for (row, drop) in high.iter().zip(drops) {
                self.bounds[*row as usize] -= drop;
            }
            self.waiting[c + 1].extend(high);
            run.check()?;
        }
        let last = columns.chunks();
        let mut joining: Vec<u32> =
            self.waiting[last].extract_if(.., |row| self.bounds[*row as usize] >= floor).collect();
        let closed: Vec<u32> = joining.extract_if(.., |row| self.equals.stands_for(*row, field).is_none()).collect();
        self.closed.extend(closed);
        let found = self.pool.len() + joining.len();
        self.threshold = floor;
        let room = POOL.saturating_sub(self.pool.len()).max(POOL / 4);
        if !all && joining.len() > room {
            let bounds = &self.bounds;
            let order = |a: &u32, b: &u32| bounds[*b as usize].total_cmp(&bounds[*a as usize]).then(a.cmp(b));
            joining.select_nth_unstable_by(room, order);
            self.threshold = self.threshold.max(bounds[joining[room] as usize]);
            self.waiting[last].extend(joining.drain(room..));
        }
        if self.waiting.iter().all(Vec::is_empty) {
            self.threshold = f64::NEG_INFINITY;
        }
        if found > POOL * 3 / 2 {
            self.reach *= 0.7;
        } else if found < POOL / 2 {
            self.reach *= 1.4;
        }
        let count = columns.count();
        let coefficients = run.install(|| columns.coefficients(x, &joining));
        for (i, &row) in joining.iter().enumerate() {
            let coefficients = coefficients[i * count..(i + 1) * count].to_vec();
            let score = self.squares[row as usize] - coefficients.iter().map(|a| a * a).sum::<f64>();
            self.pool.push(Entry { row, coefficients, score });
        }
        Ok(())
    }

    /// The objective f(S) of `earlier` and `picks` together, the last rows folded, and an upper bound on that of any
    /// selection of as many rows on the same terms.
    ///
    /// The least of: what submodularity says, f(S) plus the greatest remaining gains; what concavity of log det says,
    /// f(S) + d log(1 + (T - U) / d), T the greatest sum of x' Lambda x over as many rows, U its sum over the picks; and
    /// for plain greedy f(S) / (1 - (1 - 1/k)^k) (Nemhauser, Wolsey, Fisher).
    pub fn certificate(&self, earlier: &[Pick], picks: &[Pick], field: &Field, run: &Run) -> (f64, f64) {
        let k = earlier.len() + picks.len();
        let objective: f64 = self.gains[self.gains.len() - k..].iter().sum();
        let mut scores: Vec<(u32, f64)> = Vec::new();
        let outside = self.waiting.iter().flatten().chain(&self.closed).map(|&row| (row, self.bounds[row as usize]));
        for (row, score) in outside.chain(self.pool.iter().map(|e| (e.row, e.score))) {
            let score = score.max(0.0);
            let open = self.equals.of(&row).iter().filter(|&&row| field.is_open(row as usize));
            scores.extend(open.map(|&row| (row, score)));
        }
        let gains = scores.iter().map(|&(row, s)| (row, s.ln_1p())).collect();
        let mut bound = objective + field.top_sum(gains, k);
        // Earlier picks may be those of another matrix, forced rows and caps are not greedy's choice.
        if field.is_plain() && earlier.is_empty() && k > 0 {
            bound = bound.min(objective / (1.0 - (1.0 - 1.0 / k as f64).powf(k as f64)));
        }
        let rows: Vec<u32> = earlier.iter().chain(picks).map(|p| p.row as u32).collect();
        let (count, dim) = (self.columns.count(), self.x.dim() as f64);
        let mut own = 0.0;
        // Some rows at a time: the coefficients of all picks would be picks^2 values.
        for rows in rows.chunks(1024) {
            let coefficients = run.install(|| self.columns.coefficients(self.x, rows));
            for (i, &row) in rows.iter().enumerate() {
                let used: f64 = coefficients[i * count..(i + 1) * count].iter().map(|a| a * a).sum();
                let score = (self.squares[row as usize] - used).max(0.0);
                own += score;
                scores.push((row, score));
            }
        }
        let top = field.top_sum(scores, k);
        (objective, bound.min(objective + dim * ((top - own).max(0.0) / dim).ln_1p()))
    }
}

impl Greedy for Fisher<'_> {
    fn fold(&mut self, row: usize, run: &Run) -> Result<f64> {
        let first = self.equals.first_of(row as u32);
        let pooled = self.pool.iter_mut().find(|entry| entry.row == first);
        let (coefficients, score) = match pooled {
            Some(entry) => {
                Self::catch_up(entry, self.x, &self.columns);
                (entry.coefficients.clone(), entry.score)
            }
            None => {
                let coefficients = run.install(|| self.columns.coefficients(self.x, &[row as u32]));
                let used: f64 = coefficients.iter().map(|a| a * a).sum();
                (coefficients, self.squares[row] - used)
            }
        };
        let score = score.max(0.0);
        let (x, columns) = (self.x.row(row), &mut self.columns);
        run.install(|| columns.push(x, &coefficients, (1.0 + score).sqrt()));
        self.gains.push(score.ln_1p());
        Ok(score.ln_1p())
    }

    fn best(&mut self, field: &Field, run: &Run) -> Result<Option<usize>> {
        for attempt in 0.. {
            let best = self.best_of_pool(field);
            if self.threshold == f64::NEG_INFINITY {
                return Ok(best.map(|(row, _)| row));
            }
            if let Some((row, _)) = best.filter(|(_, score)| score - self.tie > self.threshold) {
                return Ok(Some(row));
            }
            self.refresh(attempt > 0 && best.is_some(), field, run)?;
        }
        Ok(None)
    }
}
