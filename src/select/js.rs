//! JS (paper §3.2.1): argmax H(p_i) first, then argmax H(p_i) + lambda JS(p_i || q_t), q_t the mean of the picks' p.
//!
//! Exact without looking at every row at every pick: all rows are scored at some q_s, an *epoch*, and put in order. From
//! then on two bounds tell which rows could be the best at q_t:
//! - sqrt(JS) is a metric: JS(p, q_t) <= (sqrt JS(p, q_s) + sqrt JS(q_s, q_t))^2;
//! - JS is convex and at most ln 2: with q_t = a q_s + (1-a) m, JS(p, q_t) <= a JS(p, q_s) + (1-a) ln 2.
//!
//! q_t moves as 1/t, so epochs get longer as the selection grows. A row that passes becomes *hot*: the logarithms L of its
//! m = (p + q_r) / 2 are kept, r being the pick at which it was last scored. Entropy is at most any cross entropy (Gibbs),
//! H((p + q_t) / 2) <= -(p L + q_t L) / 2, so that one product of q_t with L bounds the score anew at every pick, off by the
//! square of how far q has moved; only rows that this bound lets through are scored again.
//!
//! Epochs and hot rows are in f32 with what rounding could take added on top; then f64 with a vectorised logarithm; rows
//! within its error of the best are scored by the definition.

use super::equals::Equals;
use super::field::Field;
use super::greedy::{Greedy, TIE};
use super::lanes::{Simd, WithSimd, ln32, m_ln_m, widest};
use super::soft::SoftAssignment;
use crate::error::Result;
use crate::math::entropy;
use crate::run::Run;
use rayon::prelude::*;
use std::f64::consts::LN_2;

/// Scores in f64 lanes are this close to the definition's, per unit of 1 + lambda: a thousand roundings.
const SCREEN: f64 = 2e-13;
/// Rows scored per task, fixed.
const TASK_ROWS: usize = 128;
/// Lanes of f32.
const LANES: usize = 16;
/// Rows of an epoch that are put in order at a time: the rest is rarely asked for.
const ORDERED: usize = 8192;
/// What a look costs, in rows scored in f32: a row passed in the order, a hot row's product, a row scored in f64.
const PASSED: f64 = 0.02;
const PRODUCT: f64 = 0.1;
const SCORED: f64 = 4.0;

/// Hot rows at most.
fn most_hot(rows: usize) -> usize {
    (rows / 8).max(1024)
}

/// JS under way.
pub struct Js<'a> {
    p: &'a SoftAssignment,
    lambda: f64,
    equals: Equals,
    /// Sum of the picks' p, `[clusters]`, and their number.
    sum: Vec<f64>,
    count: usize,
    epoch: Option<Epoch>,
    work: JsCounts,
}

/// What was done, for those who look for time.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsCounts {
    /// Epochs.
    pub epochs: u64,
    /// Rows that became hot.
    pub hot: u64,
    /// Products of a hot row with q.
    pub products: u64,
    /// Rows scored in f64 lanes.
    pub scored: u64,
    /// Rows scored by the definition.
    pub defined: u64,
}

/// All rows as they stood at q_s.
struct Epoch {
    q: Vec<f64>,
    /// s, the number of picks that q_s is the mean of.
    count: usize,
    /// Score and JS; the first `ordered` in falling order of the score, no other above them.
    rows: Vec<CandidateScore>,
    ordered: usize,
    hot: Vec<Hot>,
    /// The hot rows' logarithms, `[hot, clusters up to whole lanes]`.
    logs: Vec<f32>,
    /// What was done since, in rows scored: when that is as much as the epoch cost, a new one is due.
    spent: f64,
}

#[derive(Clone, Copy)]
struct CandidateScore {
    row: u32,
    hot: bool,
    /// H + lambda JS and JS, both within the error of f32.
    score: f64,
    js: f64,
}

/// A row whose tangent is kept.
#[derive(Clone, Copy)]
struct Hot {
    row: u32,
    /// p L.
    own: f64,
}

/// q_t and what goes with it.
struct Mean {
    q: Vec<f64>,
    entropy: f64,
    /// q in f32, up to whole lanes.
    narrow: Vec<f32>,
}

impl Epoch {
    /// Puts more rows in order so that row `at` is.
    fn order(&mut self, at: usize) {
        let falling = |a: &CandidateScore, b: &CandidateScore| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row));
        while at >= self.ordered && self.ordered < self.rows.len() {
            let rest = &mut self.rows[self.ordered..];
            let next = ORDERED.min(rest.len());
            if next < rest.len() {
                rest.select_nth_unstable_by(next, falling);
            }
            rest[..next].sort_unstable_by(falling);
            self.ordered += next;
        }
    }
}

impl<'a> Js<'a> {
    /// Nothing picked yet. `p`: `[rows, clusters]`.
    pub fn new(p: &'a SoftAssignment, lambda: f64, run: &Run) -> Js<'a> {
        let equals = run.install(|| Equals::new(p.entropy(), |row| p.row(row).iter().map(|v| v.to_bits()).collect()));
        Js { p, lambda, equals, sum: vec![0.0; p.clusters()], count: 0, epoch: None, work: JsCounts::default() }
    }

    /// What was done so far.
    pub fn work(&self) -> JsCounts {
        self.work
    }

    /// Bytes held for `rows` x `clusters`, beside p.
    pub fn bytes(rows: usize, clusters: usize) -> u64 {
        // An epoch's rows as they are scored; the sets of equals and their order; the hot rows.
        let hot = 4 * clusters.next_multiple_of(LANES) + 16;
        (4 + 8 + 24 + 4 + 4) * rows as u64 + (hot * most_hot(rows)) as u64
    }

    fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|s| s / self.count as f64).collect()
    }

    /// The definition.
    fn score(&self, row: usize, q: &[f64], entropy_q: f64) -> f64 {
        let h = self.p.entropy()[row];
        if self.count == 0 {
            return h;
        }
        h + self.lambda * divergence(self.p.row(row), h, q, entropy_q)
    }

    /// What f32 can have done to a divergence whose cross entropy is `cross`: every term of it has one sign, so sums err by
    /// their roundings as a share; and the logarithms may be those of masses that sum to a hair more than 1.
    fn narrow_error(&self, cross: f64) -> f64 {
        let clusters = self.p.clusters();
        let roundings = (clusters.div_ceil(LANES) + 4) as f64;
        let unit = f64::from(f32::EPSILON) / 2.0;
        1.01 * unit * (roundings * cross + 6.0 * (2.0 + (clusters as f64).ln())) + SCREEN
    }

    /// Scores every row that may be picked at q.
    fn begin_epoch(&self, field: &Field, mean: &Mean) -> Epoch {
        let open: Vec<u32> =
            self.equals.first.iter().copied().filter(|&row| self.equals.stands_for(row, field).is_some()).collect();
        let mut crosses = vec![0f64; open.len()];
        (crosses.par_chunks_mut(TASK_ROWS).zip(open.par_chunks(TASK_ROWS))).for_each(|(out, rows)| {
            widest(Crosses { p: self.p, rows, q: &mean.narrow, out });
        });
        let rows = (open.iter().zip(crosses))
            .map(|(&row, cross)| {
                let entropy = self.p.entropy()[row as usize];
                let js = cross - (entropy + mean.entropy) / 2.0;
                CandidateScore { row, hot: false, score: entropy + self.lambda * js, js }
            })
            .collect();
        let (hot, logs) = (Vec::new(), Vec::new());
        Epoch { q: mean.q.clone(), count: self.count, rows, ordered: 0, hot, logs, spent: 0.0 }
    }

    /// The upper bound on the score at q_t that a hot row's tangent gives.
    fn tangent(&self, hot: &Hot, logs: &[f32], mean: &Mean) -> f64 {
        let cross = -0.5 * (hot.own + widest(Product { logs, q: &mean.narrow }));
        let entropy = self.p.entropy()[hot.row as usize];
        entropy + self.lambda * (cross + self.narrow_error(cross) - (entropy + mean.entropy) / 2.0)
    }

    /// Scores at q of all rows that can be the best, within `slack` of the greatest.
    fn contenders(&mut self, epoch: &mut Epoch, field: &Field, mean: &Mean, slack: f64) -> Vec<(u32, f64)> {
        let width = mean.narrow.len();
        let mut work = self.work;
        let mut found: Vec<(u32, f64)> = Vec::new();
        let mut best = f64::NEG_INFINITY;
        // Rows that were closed since are hot no longer.
        epoch.logs.truncate(epoch.hot.len() * width);
        let mut at = 0;
        while at < epoch.hot.len() {
            if self.equals.stands_for(epoch.hot[at].row, field).is_some() {
                at += 1;
                continue;
            }
            epoch.hot.swap_remove(at);
            let last = epoch.hot.len() * width;
            epoch.logs.copy_within(last..last + width, at * width);
            epoch.logs.truncate(last);
        }
        let bounds = epoch.hot.iter().zip(epoch.logs.chunks_exact(width));
        let bounds: Vec<f64> = bounds.map(|(hot, logs)| self.tangent(hot, logs, mean)).collect();
        work.products += bounds.len() as u64;
        epoch.spent += PRODUCT * bounds.len() as f64;
        let mut consider = |row: u32, best: &mut f64, spent: &mut f64| {
            let score = self.scored(row, mean);
            *best = best.max(score);
            *spent += SCORED;
            work.scored += 1;
            found.push((row, score));
        };
        // The likeliest first: what it reaches keeps most others out.
        let likeliest = (0..bounds.len()).reduce(|a, b| if bounds[b] > bounds[a] { b } else { a });
        for at in likeliest.into_iter().chain(0..bounds.len()) {
            if (bounds[at] >= best - slack && Some(at) != likeliest) || best == f64::NEG_INFINITY {
                let hot = &mut epoch.hot[at];
                consider(hot.row, &mut best, &mut epoch.spent);
                let logs = &mut epoch.logs[at * width..(at + 1) * width];
                hot.own = widest(Logs { p: self.p.row(hot.row as usize), q: &mean.narrow, logs });
            }
        }
        let drift = divergence(&epoch.q, entropy(&epoch.q), &mean.q, mean.entropy) + SCREEN;
        let drift = drift.sqrt();
        let kept = epoch.count as f64 / self.count as f64;
        let lambda = self.lambda;
        // The cross entropy of a row is at most H + ln 2 with its own m, that is ln K + ln 2.
        let error = self.narrow_error((self.p.clusters() as f64).ln() + LN_2);
        // What the divergence of a row can have grown by since the epoch began, beyond what was computed then.
        let growth = |js: f64| {
            let root = (js + error).max(0.0).sqrt();
            let metric = drift * (2.0 * root + drift);
            let convex = (1.0 - kept) * (LN_2 - (js - error).clamp(0.0, LN_2));
            metric.min(convex) + error
        };
        let most = lambda * ((drift * (2.0 * LN_2.sqrt() + drift)).min((1.0 - kept) * LN_2) + 2.0 * error);
        for at in 0..epoch.rows.len() {
            epoch.order(at);
            let CandidateScore { row, hot, score, js } = epoch.rows[at];
            if score + most < best - slack {
                break;
            }
            epoch.spent += PASSED;
            if hot || score + lambda * growth(js) < best - slack || self.equals.stands_for(row, field).is_none() {
                continue;
            }
            // Of more hot rows than are worth their place, the further ones are not kept.
            let keep = epoch.hot.len() < most_hot(self.p.rows());
            epoch.rows[at].hot = keep;
            let first = epoch.hot.len() * width;
            epoch.logs.resize(first + width, 0.0);
            let logs = &mut epoch.logs[first..];
            let own = widest(Logs { p: self.p.row(row as usize), q: &mean.narrow, logs });
            let hot = Hot { row, own };
            if self.tangent(&hot, logs, mean) >= best - slack {
                consider(row, &mut best, &mut epoch.spent);
            }
            if keep {
                epoch.hot.push(hot);
                work.hot += 1;
            }
            epoch.spent += 1.0;
        }
        found.retain(|&(_, score)| score >= best - slack);
        self.work = work;
        found
    }

    /// The score at q in f64 lanes.
    fn scored(&self, row: u32, mean: &Mean) -> f64 {
        let entropy = self.p.entropy()[row as usize];
        let cross = widest(Cross { p: self.p.row(row as usize), q: &mean.q });
        entropy + self.lambda * (cross - (entropy + mean.entropy) / 2.0).clamp(0.0, LN_2)
    }
}

impl Greedy for Js<'_> {
    fn fold(&mut self, row: usize, _: &Run) -> Result<f64> {
        let q = self.mean();
        let gain = self.score(row, &q, entropy(&q));
        for (s, p) in self.sum.iter_mut().zip(self.p.row(row)) {
            *s += p;
        }
        self.count += 1;
        Ok(gain)
    }

    fn best(&mut self, field: &Field, run: &Run) -> Result<Option<usize>> {
        let tie = TIE * (1.0 + self.lambda);
        let slack = tie + 2.0 * SCREEN * (1.0 + self.lambda);
        let q = self.mean();
        let mut narrow: Vec<f32> = q.iter().map(|v| *v as f32).collect();
        narrow.resize(q.len().next_multiple_of(LANES), 0.0);
        let mean = Mean { entropy: entropy(&q), q, narrow };
        let found: Vec<u32> = if self.count == 0 {
            let h = self.p.entropy();
            let open = || self.equals.first.iter().copied().filter(|&r| self.equals.stands_for(r, field).is_some());
            let greatest = open().map(|row| h[row as usize]).fold(f64::NEG_INFINITY, f64::max);
            open().filter(|&row| h[row as usize] >= greatest - tie).collect()
        } else {
            let kept = self.epoch.take().filter(|epoch| epoch.spent < epoch.rows.len().max(1024) as f64);
            let mut epoch = match kept {
                Some(epoch) => epoch,
                None => {
                    self.work.epochs += 1;
                    let this = &*self;
                    run.install(|| this.begin_epoch(field, &mean))
                }
            };
            let found = self.contenders(&mut epoch, field, &mean, slack);
            self.epoch = Some(epoch);
            found.into_iter().map(|(row, _)| row).collect()
        };
        self.work.defined += found.len() as u64;
        let scores: Vec<f64> = found.iter().map(|&row| self.score(row as usize, &mean.q, mean.entropy)).collect();
        let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let tied = found.iter().zip(&scores).filter(|(_, score)| **score >= greatest - tie);
        Ok(tied.filter_map(|(&row, _)| self.equals.stands_for(row, field)).min())
    }
}

/// JS(p || q), the entropies given.
fn divergence(p: &[f64], entropy_p: f64, q: &[f64], entropy_q: f64) -> f64 {
    let middle: Vec<f64> = p.iter().zip(q).map(|(a, b)| (a + b) / 2.0).collect();
    (entropy(&middle) - (entropy_p + entropy_q) / 2.0).clamp(0.0, LN_2)
}

/// H((p + q) / 2) in f64, in lanes, with a vectorised logarithm.
struct Cross<'a> {
    p: &'a [f64],
    q: &'a [f64],
}

impl WithSimd for Cross<'_> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0f64; 8];
        let (p, q) = (self.p.chunks_exact(8), self.q.chunks_exact(8));
        for (i, (p, q)) in p.remainder().iter().zip(q.remainder()).enumerate() {
            lanes[i] = m_ln_m(0.5 * (p + q));
        }
        for (p, q) in p.zip(q) {
            for i in 0..8 {
                lanes[i] += m_ln_m(0.5 * (p[i] + q[i]));
            }
        }
        let mut sum = 0.0;
        for lane in lanes {
            sum += lane;
        }
        -sum
    }
}

/// p of sixteen clusters in f32; what a last few lack is 0.
#[inline(always)]
fn narrow(p: &[f64]) -> [f32; LANES] {
    let mut out = [0f32; LANES];
    for (out, p) in out.iter_mut().zip(p) {
        *out = *p as f32;
    }
    out
}

/// lanes += m ln m, m = (p + q) / 2.
#[inline(always)]
fn add_m_ln_m(lanes: &mut [f32; LANES], p: &[f32; LANES], q: &[f32; LANES]) {
    for i in 0..LANES {
        let m = 0.5 * (p[i] + q[i]);
        lanes[i] = m.mul_add(ln32(m), lanes[i]);
    }
}

/// H((p_i + q) / 2) of some rows in f32.
struct Crosses<'a> {
    p: &'a SoftAssignment,
    rows: &'a [u32],
    /// Up to whole lanes.
    q: &'a [f32],
    out: &'a mut [f64],
}

impl WithSimd for Crosses<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, &row) in self.out.iter_mut().zip(self.rows) {
            let mut lanes = [0f32; LANES];
            let p = self.p.row(row as usize).chunks_exact(LANES);
            let (q, rest) = (self.q.as_chunks::<LANES>().0, narrow(p.remainder()));
            for (p, q) in p.zip(q) {
                let mut wide = [0f32; LANES];
                for i in 0..LANES {
                    wide[i] = p[i] as f32;
                }
                add_m_ln_m(&mut lanes, &wide, q);
            }
            if let Some(q) = q.get(self.p.clusters() / LANES) {
                add_m_ln_m(&mut lanes, &rest, q);
            }
            let mut sum = 0.0;
            for lane in lanes {
                sum += f64::from(lane);
            }
            *out = -sum;
        }
    }
}

/// ln((p + q) / 2) in f32 to `logs`; gives the sum of p times that.
struct Logs<'a> {
    p: &'a [f64],
    q: &'a [f32],
    logs: &'a mut [f32],
}

impl WithSimd for Logs<'_> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0f32; LANES];
        let chunks = self.p.chunks(LANES).zip(self.q.as_chunks::<LANES>().0);
        for ((p, q), logs) in chunks.zip(self.logs.as_chunks_mut::<LANES>().0) {
            let p = narrow(p);
            for i in 0..LANES {
                logs[i] = ln32(0.5 * (p[i] + q[i]));
                lanes[i] = p[i].mul_add(logs[i], lanes[i]);
            }
        }
        let mut sum = 0.0;
        for lane in lanes {
            sum += f64::from(lane);
        }
        sum
    }
}

/// q times logarithms.
struct Product<'a> {
    logs: &'a [f32],
    q: &'a [f32],
}

impl WithSimd for Product<'_> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0f32; LANES];
        for (logs, q) in self.logs.as_chunks::<LANES>().0.iter().zip(self.q.as_chunks::<LANES>().0) {
            for i in 0..LANES {
                lanes[i] = logs[i].mul_add(q[i], lanes[i]);
            }
        }
        let mut sum = 0.0;
        for lane in lanes {
            sum += f64::from(lane);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::{Random, softmax};

    /// Distributions from flat to nearly one-hot, with masses of exactly 0 in some.
    fn distributions(rows: usize, clusters: usize) -> SoftAssignment {
        let mut random = Random::new(clusters as u64, b"distributions");
        let mut p = Vec::new();
        for i in 0..rows {
            let mut row: Vec<f64> = (0..clusters).map(|_| random.normal()).collect();
            softmax(&mut row, [3.0, 0.3, 0.03, 0.003][i % 4]);
            if i % 3 == 0 {
                row.iter_mut().filter(|m| **m < 1e-3).for_each(|m| *m = 0.0);
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|m| *m /= sum);
            }
            p.extend(row);
        }
        SoftAssignment::new(clusters, p).unwrap()
    }

    fn mean_of(q: &[f64]) -> Mean {
        let mut narrow: Vec<f32> = q.iter().map(|v| *v as f32).collect();
        narrow.resize(q.len().next_multiple_of(LANES), 0.0);
        Mean { q: q.to_vec(), entropy: entropy(q), narrow }
    }

    #[test]
    fn narrow_scores_are_within_their_error_and_tangents_stay_above() {
        let run = Run::new(1).unwrap();
        for clusters in [1, 2, 16, 37, 100, 700] {
            let p = distributions(60, clusters);
            let js = Js::new(&p, 1.0, &run);
            let rows: Vec<u32> = (0..60).collect();
            let close = js.narrow_error((clusters as f64).ln() + LN_2);
            assert!(close < 1e-4, "{clusters}: {close}");
            for step in 0..40 {
                let (at, then) = (mean_of(p.row(step)), mean_of(p.row(step + 7)));
                let mut crosses = vec![0f64; 60];
                widest(Crosses { p: &p, rows: &rows, q: &at.narrow, out: &mut crosses });
                for i in 0..60 {
                    let exact = divergence(p.row(i), p.entropy()[i], &at.q, at.entropy);
                    let found = crosses[i] - (p.entropy()[i] + at.entropy) / 2.0;
                    assert!((found - exact).abs() <= close, "K {clusters}, row {i}: {found} {exact}");
                    let lanes = js.scored(i as u32, &at) - p.entropy()[i];
                    assert!((lanes - exact).abs() <= SCREEN, "K {clusters}, row {i}: {lanes} {exact}");
                    // Of the q it was made at, near ones and far ones.
                    let mut logs = vec![0f32; at.narrow.len()];
                    let own = widest(Logs { p: p.row(i), q: &at.narrow, logs: &mut logs });
                    for far in [0.0, 1e-3, 0.1, 1.0] {
                        let q: Vec<f64> = at.q.iter().zip(&then.q).map(|(a, b)| a + far * (b - a)).collect();
                        let q = mean_of(&q);
                        let exact = p.entropy()[i] + divergence(p.row(i), p.entropy()[i], &q.q, q.entropy);
                        let bound = js.tangent(&Hot { row: i as u32, own }, &logs, &q);
                        assert!(bound >= exact, "K {clusters}, row {i}, {far}: {bound} {exact}");
                        assert!(far > 0.0 || bound <= exact + 3.0 * close, "K {clusters}, row {i}: {bound} {exact}");
                    }
                }
            }
        }
    }
}
