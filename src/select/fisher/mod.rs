//! FISHER (paper §3.2.2), lazily: Lambda_0 = I, argmax log(1 + x' Lambda x), rank-one updates. Exact, a fraction of the work.
//!
//! Scores s_i = x_i' Lambda x_i only fall, so a score computed earlier is an upper bound. Two kinds of rows:
//! - the **pool**: some hundreds of rows with scores in f64 that are brought up to date when they matter;
//! - all **others**, with an upper bound as of some earlier pick, computed in f32 with its rounding error added on top.
//!
//! While the best of the pool stands above every bound outside, it is the pick. When it does not, a *refresh* brings those
//! others up to date whose bound is still high enough, chunk of update vectors by chunk, and lets the best into the pool.
//! Equal rows are one entry, of which the lowest row that may be picked stands for all.
//!
//! `precise` is Lambda in f64, `chunks` what bounds are made of, `certificate` what can be said of the whole.

mod certificate;
mod chunks;
mod precise;

pub use certificate::{Certificate, Reason};

use super::equals::Equals;
use super::field::Field;
use super::greedy::{Greedy, TIE};
use crate::error::Result;
use crate::math::Rows;
use crate::run::Run;
use chunks::{Chunks, Kind, Lowered};
use precise::{Precise, mixed_dot};
use rayon::prelude::*;

/// Rows that a refresh lets into the pool.
const POOL: usize = 512;

/// A row of the pool.
struct Entry {
    row: u32,
    /// The row itself, `[dim]`.
    x: Vec<f32>,
    /// x . w_t for the first recent t: the score is as of then.
    coefficients: Vec<f64>,
    score: f64,
}

/// FISHER under way.
pub struct Fisher<'a> {
    x: &'a dyn Rows,
    /// |x_i|^2.
    squares: Vec<f64>,
    equals: Equals,
    precise: Precise,
    chunks: Chunks,
    /// Recent update vectors that the chunks hold.
    closed: usize,
    /// The gain of each row folded.
    gains: Vec<f64>,
    pool: Vec<Entry>,
    /// Upper bounds on the scores of the rows outside the pool.
    bounds: Vec<f64>,
    /// `waiting[c]`: the rows outside the pool that have met the first c strong chunks.
    waiting: Vec<Vec<u32>>,
    /// Weak chunks that each row has met.
    weak_met: Vec<u32>,
    /// Rows that the caps closed, with their bounds: only the certificate still asks for them.
    unavailable: Vec<u32>,
    /// No bound outside the pool is greater.
    threshold: f64,
    /// How far below the best of the pool a refresh reaches.
    reach: f64,
    tie: f64,
    work: Work,
}

/// What was done, for those who look for time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// Refreshes.
    pub refreshes: u64,
    /// Rows taken through one strong chunk, over all refreshes.
    pub strong: u64,
    /// Rows taken through one weak chunk.
    pub weak: u64,
    /// Rows let into the pool.
    pub joined: u64,
}

impl<'a> Fisher<'a> {
    /// Nothing picked yet. `x`: `[rows, dim]`; `squares`: |x_i|^2 of every row ([`crate::math::squares`]).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn new(x: &'a dyn Rows, squares: Vec<f64>, run: &Run) -> Result<Fisher<'a>> {
        run.check()?;
        let greatest = squares.iter().copied().fold(0.0, f64::max);
        let equals = run.install(|| {
            let mut room = Vec::new();
            Equals::new(&squares, |row| x.read(row, &mut room).iter().map(|v| u64::from(v.to_bits())).collect())
        });
        Ok(Fisher {
            x,
            bounds: squares.clone(),
            weak_met: vec![0; squares.len()],
            squares,
            precise: Precise::new(x.width()),
            chunks: Chunks::new(x),
            closed: 0,
            gains: Vec::new(),
            pool: Vec::new(),
            waiting: vec![equals.first.clone()],
            equals,
            unavailable: Vec::new(),
            threshold: f64::INFINITY,
            reach: 0.05 * greatest,
            tie: TIE * greatest,
            work: Work::default(),
        })
    }

    /// Bytes held for `rows` x `dim` and `budget`, beside the rows themselves.
    pub fn bytes(rows: usize, dim: usize, budget: usize) -> u64 {
        // Squares and bounds; the row's place among the waiting and the weak chunks, among the sets of equals and in their
        // order; a refresh's or the certificate's list.
        let per_row = 8 + 8 + 4 + 4 + 4 + 4 + 2 * 16;
        let pool = 3 * POOL as u64 / 2 * (4 * dim as u64 + 8 * dim.min(budget) as u64);
        per_row * rows as u64 + pool + Precise::bytes(dim, budget) + Chunks::bytes(dim, budget)
    }

    /// What was done so far.
    pub fn work(&self) -> Work {
        self.work
    }

    /// Brings an entry's score up to date.
    fn catch_up(entry: &mut Entry, precise: &Precise) {
        for t in entry.coefficients.len()..precise.recent() {
            let a = mixed_dot(&entry.x, precise.column(t));
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
                self.unavailable.push(entry.row);
            } else if self.pool[at].coefficients.len() == self.precise.recent() {
                break self.pool[at].score;
            } else {
                Self::catch_up(&mut self.pool[at], &self.precise);
            }
        };
        let mut lowest = None;
        for at in 0..self.pool.len() {
            if self.pool[at].score >= best - self.tie {
                Self::catch_up(&mut self.pool[at], &self.precise);
                if self.pool[at].score >= best - self.tie {
                    let row = self.equals.stands_for(self.pool[at].row, field);
                    lowest = lowest.into_iter().chain(row).min();
                }
            }
        }
        lowest.map(|row| (row, best))
    }

    /// Puts the update vectors since the last call into chunks.
    fn close(&mut self, run: &Run) -> Result<()> {
        let block: Vec<f64> =
            (self.closed..self.precise.recent()).flat_map(|t| self.precise.column(t).to_vec()).collect();
        self.closed = self.precise.recent();
        let chunks = &mut self.chunks;
        run.install(|| chunks.close(&block))
    }

    /// Brings the scores of all rows outside the pool up to date, in f64: one pass over them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Cancelled`].
    pub fn settle(&mut self, run: &Run) -> Result<()> {
        self.catch_up_all(run);
        let rows: Vec<u32> = self.waiting.iter().flatten().chain(&self.unavailable).copied().collect();
        for rows in rows.chunks(1 << 14) {
            run.check()?;
            let (scores, _) = run.install(|| self.precise.scores(self.x, &self.squares, rows));
            rows.iter().zip(scores).for_each(|(&row, score)| self.bounds[row as usize] = score + self.tie);
        }
        Ok(())
    }

    /// Brings every entry of the pool up to date.
    fn catch_up_all(&mut self, run: &Run) {
        let (pool, precise) = (&mut self.pool, &self.precise);
        run.install(|| pool.par_iter_mut().for_each(|entry| Self::catch_up(entry, precise)));
    }

    /// Brings the bounds of the waiting rows down until they are below `floor` or up to date; gives those that are up to date
    /// and not below, no longer waiting.
    fn lower(&mut self, floor: f64, run: &Run) -> Result<Vec<u32>> {
        let last = self.chunks.count(Kind::Strong);
        let bounds = &self.bounds;
        let mut strong: Vec<Lowered> = Vec::new();
        for (met, waiting) in self.waiting.iter_mut().enumerate() {
            let high = waiting.extract_if(.., |row| bounds[*row as usize] >= floor);
            strong.extend(high.map(|row| Lowered { row, met: met as u32, bound: bounds[row as usize] }));
            // Most rows move on: what they leave behind here is given back, or every list would keep room for all rows.
            waiting.shrink_to(2 * waiting.len());
        }
        let before: u64 = strong.iter().map(|lowered| u64::from(lowered.met)).sum();
        let result = self.chunks.lower(Kind::Strong, self.x, &self.squares, &mut strong, floor, run);
        self.work.strong += strong.iter().map(|lowered| u64::from(lowered.met)).sum::<u64>() - before;
        // What was lowered before a cancel stays so; either way every row waits where it stands.
        let mut weak: Vec<Lowered> = Vec::new();
        for lowered in strong {
            let row = lowered.row as usize;
            self.bounds[row] = lowered.bound;
            if lowered.bound >= floor && lowered.met as usize == last {
                weak.push(Lowered { met: self.weak_met[row], ..lowered });
            } else {
                self.waiting[lowered.met as usize].push(lowered.row);
            }
        }
        weak.sort_unstable_by_key(|lowered| (lowered.met, lowered.row));
        let before: u64 = weak.iter().map(|lowered| u64::from(lowered.met)).sum();
        let result = result.and_then(|()| self.chunks.lower(Kind::Weak, self.x, &self.squares, &mut weak, floor, run));
        let mut joining = Vec::new();
        self.work.weak += weak.iter().map(|lowered| u64::from(lowered.met)).sum::<u64>() - before;
        for lowered in weak {
            let row = lowered.row as usize;
            (self.bounds[row], self.weak_met[row]) = (lowered.bound, lowered.met);
            if lowered.bound >= floor && result.is_ok() {
                joining.push(lowered.row);
            } else {
                self.waiting[last].push(lowered.row);
            }
        }
        result.map(|()| joining)
    }

    /// Lets into the pool the best of the rows outside; with `all`, every row that could be better than the pool's best.
    fn refresh(&mut self, all: bool, field: &Field, run: &Run) -> Result<()> {
        run.check()?;
        self.close(run)?;
        self.catch_up_all(run);
        let best = self.pool.iter().map(|e| e.score).fold(f64::NEG_INFINITY, f64::max);
        // Two ties below: what stays outside is then more than a tie below the best, and the next look ends.
        let floor = best - if all { 2.0 * self.tie } else { self.reach };
        let (last, weak) = (self.chunks.count(Kind::Strong), self.chunks.count(Kind::Weak) as u32);
        self.waiting.resize(last + 1, Vec::new());
        for entry in self.pool.extract_if(.., |entry| entry.score < floor) {
            self.bounds[entry.row as usize] = entry.score + self.tie;
            self.weak_met[entry.row as usize] = weak;
            self.waiting[last].push(entry.row);
        }
        let mut joining = self.lower(floor, run)?;
        let closed: Vec<u32> = joining.extract_if(.., |row| self.equals.stands_for(*row, field).is_none()).collect();
        self.unavailable.extend(closed);
        self.work.refreshes += 1;
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
        self.work.joined += joining.len() as u64;
        let recent = self.precise.recent();
        let (scores, coefficients) = run.install(|| self.precise.scores(self.x, &self.squares, &joining));
        let mut room = Vec::new();
        for (i, (&row, score)) in joining.iter().zip(scores).enumerate() {
            let coefficients = coefficients[i * recent..(i + 1) * recent].to_vec();
            let x = self.x.read(row as usize, &mut room).to_vec();
            self.pool.push(Entry { row, x, coefficients, score });
        }
        Ok(())
    }
}

impl Greedy for Fisher<'_> {
    fn fold(&mut self, row: usize, run: &Run) -> Result<f64> {
        if self.precise.is_full() {
            self.close(run)?;
            self.catch_up_all(run);
            let precise = &mut self.precise;
            run.install(|| precise.rebase());
            self.pool.iter_mut().for_each(|entry| entry.coefficients.clear());
            self.closed = 0;
        }
        let mut room = Vec::new();
        let x = self.x.read(row, &mut room);
        let (precise, square) = (&mut self.precise, self.squares[row]);
        let gain = run.install(|| precise.fold(x, square)).ln_1p();
        self.gains.push(gain);
        Ok(gain)
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
