//! K-means: k-means++ seeding, then Lloyd's rounds with the assignment as a blocked product. Deterministic.

use super::lanes::squared_distance;
use crate::config::SelectConfig;
use crate::error::{Error, Result};
use crate::math::{Matrix, Random, Rows, dot, gather};
use crate::run::{self, Level, Run};
use faer::{Accum, Par, mat};
use rayon::prelude::*;

/// How to cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// K.
    pub clusters: usize,
    /// Rounds at most.
    pub iterations: usize,
    /// Rows that a round looks at, drawn anew for each; 0: all.
    pub batch: usize,
    /// Seed of the k-means++ draws.
    pub seed: u64,
}

impl Options {
    /// The options of `[select]`.
    pub fn of(config: &SelectConfig) -> Options {
        Options {
            clusters: config.clusters,
            iterations: config.kmeans_iterations,
            batch: config.kmeans_batch,
            seed: config.seed,
        }
    }
}

/// Centres and how well they fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// `[clusters, dim]`.
    pub centers: Matrix,
    /// Centre of each row, `[rows]`.
    pub nearest: Vec<u32>,
    /// Sum of squared distances of the rows to their centres.
    pub inertia: f64,
    /// Rounds done.
    pub iterations: usize,
}

/// A round that lowers the inertia by less than this share is the last.
const TOLERANCE: f64 = 1e-4;
/// Rows per cluster that the seeding looks at; more rows do not make better seeds, they only cost time.
const SEEDING_ROWS: usize = 256;
/// Partial sums held at a time, so that memory does not grow with the rows.
const PARTS: usize = 256;
/// Rows per task, fixed so that sums do not depend on the number of threads.
const BLOCK_ROWS: usize = 256;

/// Bytes that K-means of `rows` x `dim` takes, beside the rows.
pub fn bytes(rows: usize, dim: usize, options: &Options) -> u64 {
    let clusters = options.clusters.min(rows);
    let wanted = clusters.saturating_mul(SEEDING_ROWS);
    // The sample of the seeding, or a batch; nearest, squares and members of every row, those of the round before not yet gone.
    let sample = if wanted < rows { wanted } else { 0 }.max(if options.batch < rows { options.batch } else { 0 });
    let threads = 16 * BLOCK_ROWS * 4 * (clusters + dim);
    // Sums and centres; partial sums.
    let sums = (8 + 3 * 4) * clusters * dim + 8 * PARTS * dim;
    (4 + 8 + 4 + 8) * rows as u64 + (4 * sample * dim + threads + sums) as u64
}

/// Clusters the rows of `x`.
///
/// Ties go to the lowest cluster. A cluster that loses all its rows is seeded anew with the row that lies farthest from its
/// centre (the lowest of equals). More clusters than distinct rows: as many clusters as distinct rows, with a warning.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`]: no clusters, no rows. [`crate::ErrorKind::Cancelled`].
pub fn kmeans(x: &dyn Rows, options: &Options, run: &Run) -> Result<Clustering> {
    if options.clusters == 0 {
        return Err(Error::invalid("select.clusters must be at least 1"));
    }
    if x.count() == 0 {
        return Err(Error::invalid("kmeans: no rows"));
    }
    let mut centers = seed(x, options, run)?;
    if centers.rows() < options.clusters {
        let text = format!(
            "select: {} clusters asked for, but only {} rows differ: {} clusters are used",
            options.clusters,
            centers.rows(),
            centers.rows()
        );
        run::log(Level::Warn, &text);
    }
    if options.batch > 0 && options.batch < x.count() {
        return in_batches(x, centers, options, run);
    }
    let mut last = f64::INFINITY;
    let mut iterations = 0;
    loop {
        run.step("select", "k-means rounds", iterations as u64, options.iterations as u64)?;
        let (nearest, squares) = run.install(|| assign(x, &centers));
        let inertia = in_order_sum(&squares);
        if iterations == options.iterations || last - inertia <= TOLERANCE * inertia {
            return Ok(Clustering { centers, nearest, inertia, iterations });
        }
        last = inertia;
        centers = run.install(|| means(x, &centers, nearest, squares));
        iterations += 1;
    }
}

/// Rounds without a gain that end the rounds on batches.
const PATIENCE: usize = 10;

/// Mini-batches (Sculley 2010): each round draws rows and moves each centre to the mean of all rows it was ever given. Ends
/// when the running mean of the batches' inertia has not fallen for some rounds. The last assignment is of all rows.
fn in_batches(x: &dyn Rows, mut centers: Matrix, options: &Options, run: &Run) -> Result<Clustering> {
    let mut random = Random::new(options.seed, b"kmeans batches");
    let mut given = vec![0f64; centers.rows()];
    let share = (2.0 * options.batch as f64 / (x.count() as f64 + 1.0)).min(1.0);
    let (mut smooth, mut least, mut idle, mut iterations) = (None, f64::INFINITY, 0, 0);
    while iterations < options.iterations && idle < PATIENCE {
        run.step("select", "k-means rounds", iterations as u64, options.iterations as u64)?;
        let mut drawn = random.sample(x.count(), options.batch);
        drawn.sort_unstable();
        let batch = gather(x, &drawn);
        let (nearest, squares) = run.install(|| assign(&batch, &centers));
        let mean = in_order_sum(&squares) / options.batch as f64;
        let smoothed = smooth.map_or(mean, |before: f64| before * (1.0 - share) + mean * share);
        smooth = Some(smoothed);
        if smoothed < least {
            (least, idle) = (smoothed, 0);
        } else {
            idle += 1;
        }
        for (i, &j) in nearest.iter().enumerate() {
            let given = &mut given[j as usize];
            *given += 1.0;
            let rate = 1.0 / *given;
            for (c, v) in centers.row_mut(j as usize).iter_mut().zip(batch.row(i)) {
                *c = (f64::from(*c) + rate * (f64::from(*v) - f64::from(*c))) as f32;
            }
        }
        iterations += 1;
    }
    let (nearest, squares) = run.install(|| assign(x, &centers));
    Ok(Clustering { centers, nearest, inertia: in_order_sum(&squares), iterations })
}

/// k-means++: each seed is drawn with probability proportional to the squared distance from the seeds so far.
fn seed(x: &dyn Rows, options: &Options, run: &Run) -> Result<Matrix> {
    let mut random = Random::new(options.seed, b"kmeans");
    let wanted = options.clusters.saturating_mul(SEEDING_ROWS);
    if wanted < x.count() {
        let mut sample = random.sample(x.count(), wanted);
        sample.sort_unstable();
        let seeds = seed_from(&gather(x, &sample), options.clusters, &mut random, run)?;
        if seeds.rows() == options.clusters {
            return Ok(seeds);
        }
        // The sample had too few distinct rows; all rows may have more.
    }
    seed_from(x, options.clusters, &mut random, run)
}

fn seed_from(x: &dyn Rows, clusters: usize, random: &mut Random, run: &Run) -> Result<Matrix> {
    let mut chosen = vec![random.below(x.count())];
    let mut squares = vec![f64::INFINITY; x.count()];
    let mut room = Vec::new();
    loop {
        run.step("select", "k-means seeds", chosen.len() as u64, clusters as u64)?;
        let newest = x.read(chosen[chosen.len() - 1], &mut room);
        run.install(|| {
            squares.par_chunks_mut(BLOCK_ROWS).enumerate().for_each_init(Vec::new, |room, (block, squares)| {
                let values = x.block(block * BLOCK_ROWS, squares.len(), room);
                for (square, row) in squares.iter_mut().zip(values.chunks_exact(x.width())) {
                    // Exactly 0 for a row equal to a seed: such a row is never drawn.
                    *square = square.min(squared_distance(row, newest));
                }
            });
        });
        if chosen.len() == clusters {
            break;
        }
        let total = in_order_sum(&squares);
        if total <= 0.0 {
            break;
        }
        let mut left = random.uniform() * total;
        let drawn = squares.iter().position(|&square| {
            left -= square;
            left < 0.0 && square > 0.0
        });
        // Rounding can leave a hair at the end of the sum: the last row that can be drawn takes it.
        match drawn.or_else(|| squares.iter().rposition(|&square| square > 0.0)) {
            Some(row) => chosen.push(row),
            None => break,
        }
    }
    Ok(gather(x, &chosen))
}

/// The nearest centre of every row and the squared distance to it.
fn assign(x: &dyn Rows, centers: &Matrix) -> (Vec<u32>, Vec<f64>) {
    let (dim, clusters) = (x.width(), centers.rows());
    let lengths: Vec<f64> = (0..clusters).map(|j| dot(centers.row(j), centers.row(j))).collect();
    let transposed = mat::MatRef::from_row_major_slice(centers.data(), clusters, dim).transpose();
    let mut nearest = vec![0u32; x.count()];
    let mut squares = vec![0f64; x.count()];
    nearest.par_chunks_mut(BLOCK_ROWS).zip(squares.par_chunks_mut(BLOCK_ROWS)).enumerate().for_each_init(
        || (vec![0f32; BLOCK_ROWS * clusters], Vec::new()),
        |(products, room), (block, (nearest, squares))| {
            let rows = nearest.len();
            let values = x.block(block * BLOCK_ROWS, rows, room);
            let products = &mut products[..rows * clusters];
            faer::linalg::matmul::matmul(
                mat::MatMut::from_row_major_slice_mut(products, rows, clusters),
                Accum::Replace,
                mat::MatRef::from_row_major_slice(values, rows, dim),
                transposed,
                1.0,
                Par::Seq,
            );
            for (i, products) in products.chunks_exact(clusters).enumerate() {
                let mut best = (0, f64::INFINITY);
                for (j, (product, length)) in products.iter().zip(&lengths).enumerate() {
                    let square = length - 2.0 * f64::from(*product);
                    if square < best.1 {
                        best = (j, square);
                    }
                }
                nearest[i] = best.0 as u32;
                squares[i] = squared_distance(&values[i * dim..(i + 1) * dim], centers.row(best.0));
            }
        },
    );
    (nearest, squares)
}

/// The mean of each cluster's rows, in f64, in row order.
fn means(x: &dyn Rows, centers: &Matrix, mut nearest: Vec<u32>, mut squares: Vec<f64>) -> Matrix {
    let clusters = centers.rows();
    let mut counts = vec![0usize; clusters];
    nearest.iter().for_each(|&j| counts[j as usize] += 1);
    for empty in 0..clusters {
        if counts[empty] > 0 {
            continue;
        }
        let mut farthest = 0;
        for (i, &square) in squares.iter().enumerate() {
            if square > squares[farthest] && counts[nearest[i] as usize] > 1 {
                farthest = i;
            }
        }
        if counts[nearest[farthest] as usize] > 1 {
            counts[nearest[farthest] as usize] -= 1;
            counts[empty] = 1;
            nearest[farthest] = empty as u32;
            squares[farthest] = 0.0;
        }
    }
    let mut starts = vec![0usize; clusters + 1];
    for j in 0..clusters {
        starts[j + 1] = starts[j] + counts[j];
    }
    let mut next = starts.clone();
    let mut members = vec![0u32; x.count()];
    let dim = x.width();
    for (i, &j) in nearest.iter().enumerate() {
        members[next[j as usize]] = i as u32;
        next[j as usize] += 1;
    }
    // Partial sums of at most `BLOCK_ROWS` members, folded in order.
    let parts: Vec<(usize, &[u32])> = (0..clusters)
        .flat_map(|j| members[starts[j]..starts[j + 1]].chunks(BLOCK_ROWS).map(move |part| (j, part)))
        .collect();
    let mut sums = vec![0f64; clusters * dim];
    for parts in parts.chunks(PARTS) {
        let partial: Vec<Vec<f64>> = parts
            .par_iter()
            .map_init(Vec::new, |room, (_, part)| {
                let mut sum = vec![0f64; dim];
                for &i in *part {
                    sum.iter_mut().zip(x.read(i as usize, room)).for_each(|(s, v)| *s += f64::from(*v));
                }
                sum
            })
            .collect();
        for ((j, _), partial) in parts.iter().zip(&partial) {
            let sum = &mut sums[j * dim..(j + 1) * dim];
            sum.iter_mut().zip(partial).for_each(|(s, p)| *s += p);
        }
    }
    let mut moved = centers.clone();
    for j in 0..clusters {
        if counts[j] > 0 {
            let sum = &sums[j * dim..(j + 1) * dim];
            moved.row_mut(j).iter_mut().zip(sum).for_each(|(c, s)| *c = (s / counts[j] as f64) as f32);
        }
    }
    moved
}

/// A sum in row order: the same on any number of threads.
fn in_order_sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(clusters: usize) -> Options {
        Options { clusters, iterations: 100, batch: 0, seed: 0 }
    }

    /// `per` rows around each of `clusters` far corners.
    fn corners(clusters: usize, per: usize, dim: usize) -> Matrix {
        let mut random = Random::new(4, b"corners");
        let centres: Vec<f64> = (0..clusters * dim).map(|_| 20.0 * random.normal()).collect();
        let mut x = Matrix::zeros(clusters * per, dim);
        for i in 0..clusters * per {
            for k in 0..dim {
                x.row_mut(i)[k] = (centres[i % clusters * dim + k] + random.normal()) as f32;
            }
        }
        x
    }

    #[test]
    fn far_corners_are_found() {
        let x = corners(7, 100, 5);
        let fitted = kmeans(&x, &options(7), &Run::new(2).unwrap()).unwrap();
        for i in 0..x.rows() {
            assert_eq!(fitted.nearest[i], fitted.nearest[i % 7]);
        }
        // Unit variance about each of 7 fitted means: a chi-square of (700 - 7) * 5 degrees; five standard deviations.
        let degrees = 693.0 * 5.0;
        assert!((fitted.inertia - degrees).abs() < 5.0 * (2.0f64 * degrees).sqrt(), "{}", fitted.inertia);
    }

    #[test]
    fn centres_are_the_means_of_their_rows() {
        let x = corners(3, 600, 4);
        let fitted = kmeans(&x, &options(11), &Run::new(2).unwrap()).unwrap();
        let (nearest, squares) = assign(&x, &fitted.centers);
        assert_eq!(nearest, fitted.nearest);
        let slow: f64 = (0..x.rows())
            .map(|i| (0..11).map(|j| squared_distance(x.row(i), fitted.centers.row(j))).fold(f64::INFINITY, f64::min))
            .sum();
        assert!((slow - fitted.inertia).abs() < 1e-6 * slow);
        let moved = means(&x, &fitted.centers, nearest, squares);
        // Another round would gain less than the tolerance.
        let after = in_order_sum(&assign(&x, &moved).1);
        assert!(after <= fitted.inertia && fitted.inertia - after < 2.0 * TOLERANCE * fitted.inertia);
    }

    #[test]
    fn more_clusters_than_distinct_rows_are_as_many_as_those() {
        let x = Matrix::from_vec(40, 2, [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0].repeat(10)).unwrap();
        let fitted = kmeans(&x, &options(8), &Run::new(2).unwrap()).unwrap();
        assert_eq!((fitted.centers.rows(), fitted.inertia), (3, 0.0));
    }

    #[test]
    fn an_empty_cluster_is_seeded_with_the_farthest_row() {
        let x = Matrix::from_vec(5, 1, vec![0.0, 1.0, 2.0, 50.0, 3.0]).unwrap();
        let centers = Matrix::from_vec(2, 1, vec![2.0, 1e6]).unwrap();
        let (nearest, squares) = assign(&x, &centers);
        assert_eq!(nearest, [0; 5]);
        assert_eq!(means(&x, &centers, nearest, squares).data(), [1.5, 50.0]);
    }

    #[test]
    fn batches_find_far_corners_and_do_not_depend_on_threads() {
        let x = corners(7, 900, 5);
        let options = Options { batch: 500, ..options(7) };
        let fitted = kmeans(&x, &options, &Run::new(2).unwrap()).unwrap();
        assert_eq!(fitted, kmeans(&x, &options, &Run::new(1).unwrap()).unwrap());
        for i in 0..x.rows() {
            assert_eq!(fitted.nearest[i], fitted.nearest[i % 7]);
        }
        // All rows together fit their means best; a centre that has seen some thousands is a percent off at most.
        let whole = kmeans(&x, &self::options(7), &Run::new(2).unwrap()).unwrap();
        assert!(fitted.inertia >= whole.inertia * (1.0 - 1e-9) && fitted.inertia < 1.01 * whole.inertia);
    }

    #[test]
    fn no_clusters_or_no_rows_are_refused() {
        let run = Run::new(1).unwrap();
        assert!(kmeans(&corners(2, 2, 2), &options(0), &run).is_err());
        assert!(kmeans(&Matrix::zeros(0, 2), &options(1), &run).is_err());
    }
}
