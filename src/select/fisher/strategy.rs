//! The strategy: the pool, the bounds of the others, and the refresh that brings them up to date.

use super::super::equals::Equals;
use super::super::field::Field;
use super::super::greedy::{Greedy, TIE};
use super::chunks::{BoundedRow, Chunks, Kind};
use super::precise::{Precise, mixed_dot};
use crate::error::Result;
use crate::math::Rows;
use crate::run::Run;
use rayon::prelude::*;

/// Rows that a refresh lets into the pool.
const POOL: usize = 512;

/// Not a number of chunks: the row does not wait outside the pool.
const AWAY: u32 = u32::MAX;
/// Rows that are scored in f64 at a time.
pub(super) const SCORED_ROWS: usize = 1024;
/// Update vectors that are put into chunks at a time, at most: turning them costs the cube of their number.
const BLOCK: usize = 256;
/// Rows looked through at a time: their list stays small.
const SLICE_ROWS: usize = 1 << 18;
/// A row that is looked at is brought this share of the best score below what is asked for, so that it can be left alone for
/// some refreshes: fetching it costs more than meeting some more vectors.
const MARGIN: f64 = 0.1;

/// A row of the pool.
pub(super) struct Entry {
    pub(super) row: u32,
    /// The row itself, `[dim]`.
    x: Vec<f32>,
    /// x . w_t for the first recent t: the score is as of then.
    coefficients: Vec<f64>,
    pub(super) score: f64,
}

/// FISHER under way.
pub struct Fisher<'a> {
    pub(super) x: &'a dyn Rows,
    /// |x_i|^2.
    pub(super) squares: Vec<f64>,
    pub(super) equals: Equals,
    pub(super) precise: Precise,
    chunks: Chunks,
    /// Recent update vectors that the chunks hold.
    closed: usize,
    /// The gain of each row folded.
    pub(super) gains: Vec<f64>,
    pub(super) pool: Vec<Entry>,
    /// Upper bounds on the scores of the rows outside the pool.
    pub(super) bounds: Vec<f64>,
    /// Strong chunks that each row has met; [`AWAY`]: it does not wait outside the pool, or another stands for it.
    strong_met: Vec<u32>,
    /// Weak chunks that each row has met.
    weak_met: Vec<u32>,
    /// Rows that wait outside the pool.
    waiting: usize,
    /// Rows that the caps closed, with their bounds: only the certificate still asks for them.
    pub(super) unavailable: Vec<u32>,
    /// No bound outside the pool is greater.
    threshold: f64,
    /// How far below the best of the pool a refresh reaches.
    reach: f64,
    tie: f64,
    work: FisherCounts,
}

/// What was done, for those who look for time.
#[derive(Debug, Clone, Copy, Default)]
pub struct FisherCounts {
    /// Refreshes.
    pub refreshes: u64,
    /// Rows fetched, over all refreshes.
    pub looked: u64,
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
        let mut strong_met = vec![AWAY; squares.len()];
        equals.first.iter().for_each(|&row| strong_met[row as usize] = 0);
        Ok(Fisher {
            x,
            bounds: squares.clone(),
            weak_met: vec![0; squares.len()],
            strong_met,
            waiting: equals.first.len(),
            squares,
            precise: Precise::new(x.width()),
            chunks: Chunks::new(x),
            closed: 0,
            gains: Vec::new(),
            pool: Vec::new(),
            equals,
            unavailable: Vec::new(),
            threshold: f64::INFINITY,
            reach: 0.05 * greatest,
            tie: TIE * greatest,
            work: FisherCounts::default(),
        })
    }

    /// Bytes held for `rows` x `dim` and `budget`, beside the rows themselves.
    pub fn bytes(rows: usize, dim: usize, budget: usize) -> u64 {
        // Squares and bounds; the row's place among the waiting and the weak chunks, among the sets of equals and in their
        // order; a refresh's or the certificate's list.
        let per_row = 8 + 8 + 4 + 4 + 4 + 4 + 16;
        let slice = (24 + 24) * rows.min(SLICE_ROWS) as u64;
        // An entry's coefficients may have room for twice as many; those of the rows that join, or of the certificate's, come
        // once more while they are computed.
        let (values, recent) = (dim as u64, dim.min(budget) as u64);
        let pool = 3 * POOL as u64 / 2 * (4 * values + 16 * recent) + SCORED_ROWS as u64 * 8 * recent;
        per_row * rows as u64 + slice + pool + Precise::bytes(dim, budget) + Chunks::bytes(dim, budget)
    }

    /// What was done so far.
    pub fn work(&self) -> FisherCounts {
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
        let rows: Vec<u32> = self.waiting().chain(self.unavailable.iter().copied()).collect();
        for rows in rows.chunks(SCORED_ROWS) {
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

    /// The rows that wait outside the pool, rising.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> + '_ {
        self.strong_met.iter().enumerate().filter(|(_, met)| **met != AWAY).map(|(row, _)| row as u32)
    }

    /// Brings the bounds of the waiting rows that are not below `floor` down until they are below it by a margin, or up to
    /// date; gives those that are up to date and not below `floor`, no longer waiting.
    fn lower(&mut self, floor: f64, margin: f64, run: &Run) -> Result<Vec<u32>> {
        let mut joining = Vec::new();
        for first in (0..self.squares.len()).step_by(SLICE_ROWS) {
            let rows = first..(first + SLICE_ROWS).min(self.squares.len());
            let high = |row: usize| self.strong_met[row] != AWAY && self.bounds[row] >= floor;
            let mut high: Vec<BoundedRow> = rows
                .filter(|&row| high(row))
                .map(|row| BoundedRow {
                    row: row as u32,
                    strong: self.strong_met[row],
                    weak: self.weak_met[row],
                    bound: self.bounds[row],
                })
                .collect();
            // Those that have met everything come last and are not fetched.
            let (strong, weak) = (self.chunks.count(Kind::Strong), self.chunks.count(Kind::Weak));
            let up_to_date = |l: &BoundedRow| (l.strong as usize, l.weak as usize) == (strong, weak);
            high.sort_by_key(|lowered| (up_to_date(lowered), lowered.strong));
            let stale = high.partition_point(|lowered| !up_to_date(lowered));
            let met = |high: &[BoundedRow]| {
                let sum = |met: (u64, u64), l: &BoundedRow| (met.0 + u64::from(l.strong), met.1 + u64::from(l.weak));
                high.iter().fold((0, 0), sum)
            };
            let before = met(&high);
            let result = self.chunks.lower(self.x, &self.squares, &mut high[..stale], floor - margin, run);
            let after = met(&high);
            self.work.looked += stale as u64;
            self.work.strong += after.0 - before.0;
            self.work.weak += after.1 - before.1;
            // What was lowered before a cancel stays so.
            for lowered in high {
                let row = lowered.row as usize;
                self.bounds[row] = lowered.bound;
                self.weak_met[row] = lowered.weak;
                self.strong_met[row] = lowered.strong;
                if lowered.bound >= floor && up_to_date(&lowered) && result.is_ok() {
                    self.strong_met[row] = AWAY;
                    self.waiting -= 1;
                    joining.push(lowered.row);
                }
            }
            if let Err(e) = result {
                // These go back: they joined nothing.
                joining.iter().for_each(|&row| self.wait(row));
                return Err(e);
            }
        }
        Ok(joining)
    }

    /// Sends a row that has met all chunks outside the pool.
    fn wait(&mut self, row: u32) {
        self.strong_met[row as usize] = self.chunks.count(Kind::Strong) as u32;
        self.weak_met[row as usize] = self.chunks.count(Kind::Weak) as u32;
        self.waiting += 1;
    }

    /// Lets into the pool the best of the rows outside; with `all`, every row that could be better than the pool's best.
    fn refresh(&mut self, all: bool, field: &Field, run: &Run) -> Result<()> {
        run.check()?;
        self.close(run)?;
        self.catch_up_all(run);
        let best = self.pool.iter().map(|e| e.score).fold(f64::NEG_INFINITY, f64::max);
        // Two ties below: what stays outside is then more than a tie below the best, and the next look ends.
        let floor = best - if all { 2.0 * self.tie } else { self.reach };
        for entry in self.pool.extract_if(.., |entry| entry.score < floor).collect::<Vec<_>>() {
            self.bounds[entry.row as usize] = entry.score + self.tie;
            self.wait(entry.row);
        }
        let margin = if best.is_finite() { MARGIN * best } else { 0.0 };
        let mut joining = self.lower(floor, margin, run)?;
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
            joining.drain(room..).collect::<Vec<_>>().into_iter().for_each(|row| self.wait(row));
        }
        if self.waiting == 0 {
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
        if self.precise.recent() - self.closed >= BLOCK {
            self.close(run)?;
        }
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
