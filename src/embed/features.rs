//! Features of the aware strategies: what an item says of itself (§4.5) and who chose it (§4.6). The paper leaves their
//! construction open; ours:
//!
//! - **metadata** `[items, metadata_dim]`: hashed phrases (genres, creators, keywords, decade, attributes with their names) and
//!   words of title and description, each block TF-IDF weighted and scaled to unit length, then a truncated SVD, U S^(1/2).
//! - **collaborative** `[items, user_dim]`: implicit ALS (or a truncated SVD) of the user-item matrix, whose entries are
//!   the ratings of interactions and of reviews whose user is known: r = rating10 / 10, or 0.7 without a rating, the
//!   largest where there are several. A low rating is a weak sign of interest, as in Hu et al., not a dislike.
//!
//! Every row has unit length. An item without any signal gets the mean direction of those that have one: it is then as
//! near to everything as an unknown thing can be, and neither zero nor NaN. A review's row is that of its item; in the
//! collaborative case the mean of its item's and its user's unit vectors where the user is known, scaled to unit length.

use super::als::{AlsOptions, implicit_als};
use super::{file, words};
use crate::config::{EmbedConfig, UserMethod};
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::math::{Matrix, Random, Sparse, norm, truncated_svd};
use crate::run::Run;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Strength of an interaction without a rating: that of a film one rather likes.
const UNRATED: f32 = 0.7;
/// Hash buckets of the metadata's phrases and words.
const BUCKETS: usize = 1 << 18;
/// Rounds of power iteration.
const POWER: usize = 4;

/// Metadata features of every item: `[items, dim]`, unit rows; `dim` is `metadata_dim`, or less when the catalogue says
/// less.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when no item says anything of itself; [`crate::ErrorKind::Cancelled`].
pub fn metadata_features(dataset: &Dataset, config: &EmbedConfig, run: &Run) -> Result<Matrix> {
    let count = dataset.items.len();
    run.step("embed", "items described", 0, count as u64)?;
    let blocks: Vec<[Vec<(u32, f32)>; 6]> =
        run.install(|| (0..count).into_par_iter().map(|i| item_blocks(dataset, i)).collect());
    let mut in_items = vec![0u32; BUCKETS];
    blocks.iter().flatten().flatten().for_each(|(bucket, _)| in_items[*bucket as usize] += 1);
    let idf = |bucket: u32| ((1.0 + count as f32) / (1.0 + in_items[bucket as usize] as f32)).ln() + 1.0;
    let mut matrix = Sparse::new(BUCKETS);
    for blocks in &blocks {
        let mut row: Vec<(u32, f32)> = Vec::new();
        for block in blocks {
            let weighted: Vec<(u32, f32)> = block.iter().map(|(b, v)| (*b, v * idf(*b))).collect();
            let length = weighted.iter().map(|(_, v)| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            row.extend(weighted.iter().map(|(b, v)| (*b, (f64::from(*v) / length) as f32)));
        }
        row.sort_unstable_by_key(|(b, _)| *b);
        matrix.push_row(&row)?;
    }
    let mut random = Random::new(config.seed, b"metadata features");
    let svd =
        run.install(|| truncated_svd(&matrix, config.metadata_dim, POWER, &mut random, run)).map_err(|e| {
            match e.kind() {
                ErrorKind::Cancelled => e,
                _ => Error::invalid(
                    "embed: no item has a title, genres, creators, keywords, attributes or a description",
                ),
            }
        })?;
    let mut features = svd.left;
    scale_columns(&mut features, &svd.values);
    finish(&mut features, "metadata")?;
    run.step("embed", "items described", count as u64, count as u64)?;
    Ok(features)
}

/// Genres, creators, keywords, decade, attributes, words of title and description.
fn item_blocks(dataset: &Dataset, i: usize) -> [Vec<(u32, f32)>; 6] {
    let items = &dataset.items;
    let mask = BUCKETS as u64 - 1;
    let phrases = |kind: &str, texts: &mut dyn Iterator<Item = &str>| {
        words::count(texts.filter_map(|t| words::phrase(kind, t, mask)).collect())
    };
    // A film of 1989 is near to one of 1990: it counts in its decade and in the half-shifted one.
    let decades =
        items.year(i).map_or(Vec::new(), |y| vec![format!("{}", y / 10), format!("{} shifted", (y + 5) / 10)]);
    let attributes: Vec<String> = items.attributes(i).map(|(name, value)| format!("{name}: {value}")).collect();
    let text = format!("{}. {}", items.title(i), items.description(i));
    [
        phrases("genre", &mut items.genres(i)),
        phrases("creator", &mut items.creators(i)),
        phrases("keyword", &mut items.keywords(i)),
        phrases("decade", &mut decades.iter().map(String::as_str)),
        phrases("attribute", &mut attributes.iter().map(String::as_str)),
        words::features(&text, mask),
    ]
}

fn scale_columns(matrix: &mut Matrix, values: &[f32]) {
    for i in 0..matrix.rows() {
        matrix.row_mut(i).iter_mut().zip(values).for_each(|(v, s)| *v *= s.sqrt());
    }
}

/// Unit rows; rows without signal become the mean direction of the others.
fn finish(matrix: &mut Matrix, what: &str) -> Result<()> {
    let dim = matrix.dim();
    // What the SVD leaves of a row outside its directions is rounding, not signal.
    let lengths: Vec<f64> = (0..matrix.rows()).map(|i| norm(matrix.row(i))).collect();
    let least = lengths.iter().copied().fold(0.0, f64::max) * 1e-6;
    let mut mean = vec![0f64; dim];
    for (i, length) in lengths.iter().enumerate().filter(|(_, l)| **l > least) {
        for (m, v) in mean.iter_mut().zip(matrix.row_mut(i)) {
            *v = (f64::from(*v) / length) as f32;
            *m += f64::from(*v);
        }
    }
    let Some(first) = lengths.iter().position(|l| *l > least) else {
        return Err(Error::invalid(format!("embed: no item has any {what} signal; choose another strategy")));
    };
    let length = mean.iter().map(|v| v * v).sum::<f64>().sqrt();
    let direction: Vec<f32> =
        if length > 1e-9 { mean.iter().map(|v| (v / length) as f32).collect() } else { matrix.row(first).to_vec() };
    for (i, _) in lengths.iter().enumerate().filter(|(_, l)| **l <= least) {
        matrix.row_mut(i).copy_from_slice(&direction);
    }
    Ok(())
}

/// Collaborative features.
#[derive(Debug, Clone, PartialEq)]
pub struct Collaborative {
    /// `[items, dim]`, unit rows.
    pub items: Matrix,
    /// `[users, dim]`, unit rows; zeros for users without signal.
    pub users: Matrix,
}

/// Collaborative features of every item and user, from interactions and reviews.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when the dataset knows no user; [`crate::ErrorKind::Cancelled`].
pub fn collaborative(dataset: &Dataset, config: &EmbedConfig, run: &Run) -> Result<Collaborative> {
    let strengths = strengths(dataset)?;
    let (mut users, mut items) = match config.user_method {
        UserMethod::Als => {
            let options = AlsOptions {
                dim: config.user_dim,
                alpha: config.als_alpha,
                lambda: config.als_lambda,
                iterations: config.als_iterations,
                seed: config.seed,
            };
            implicit_als(&strengths, &options, run)?
        }
        UserMethod::Svd => {
            run.step("embed", "SVD of users and items", 0, 1)?;
            let mut random = Random::new(config.seed, b"user features");
            let svd = run.install(|| truncated_svd(&strengths, config.user_dim, POWER, &mut random, run))?;
            let (mut users, mut items) = (svd.left, svd.right);
            scale_columns(&mut users, &svd.values);
            scale_columns(&mut items, &svd.values);
            run.step("embed", "SVD of users and items", 1, 1)?;
            (users, items)
        }
    };
    finish(&mut items, "collaborative")?;
    run.install(|| users.normalise_rows());
    Ok(Collaborative { items, users })
}

/// r of every user and item: `[users, items]`.
fn strengths(dataset: &Dataset) -> Result<Sparse> {
    let strength = |rating10: Option<f32>| rating10.map_or(UNRATED, |r| (r / 10.0).clamp(0.05, 1.0));
    let interactions = (0..dataset.interactions()).map(|n| {
        let (user, item, rating10, _) = dataset.interaction(n);
        (user as u32, item as u32, strength(rating10))
    });
    let reviews = (0..dataset.reviews()).filter_map(|r| {
        let user = dataset.review_user(r)?;
        Some((user as u32, dataset.review_item(r) as u32, strength(dataset.review_rating10(r))))
    });
    let mut entries: Vec<(u32, u32, f32)> = interactions.chain(reviews).collect();
    if entries.is_empty() {
        return Err(Error::invalid(
            "embed: no interaction and no review with a user: collaborative features need either",
        ));
    }
    entries.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.total_cmp(&a.2)));
    // The strongest of each pair comes first.
    entries.dedup_by_key(|e| (e.0, e.1));
    let mut matrix = Sparse::new(dataset.items.len());
    let mut row: Vec<(u32, f32)> = Vec::new();
    let mut entries = entries.iter().peekable();
    for user in 0..dataset.users() as u32 {
        row.clear();
        while let Some((_, item, r)) = entries.next_if(|e| e.0 == user) {
            row.push((*item, *r));
        }
        matrix.push_row(&row)?;
    }
    Ok(matrix)
}

/// Metadata features of every review's item, for METADATA_JS and METADATA_FISHER: `[reviews, dim]`, unit rows.
///
/// # Errors
/// As [`metadata_features`].
pub fn metadata_rows(dataset: &Dataset, config: &EmbedConfig, run: &Run) -> Result<Matrix> {
    let features = metadata_features(dataset, config, run)?;
    let items: Vec<usize> = (0..dataset.reviews()).map(|r| dataset.review_item(r)).collect();
    Ok(features.gather(&items))
}

impl Collaborative {
    /// Collaborative features of every review (its item's, and its user's where known), for USER_JS and USER_FISHER:
    /// `[reviews, dim]`, unit rows.
    pub fn review_rows(&self, dataset: &Dataset) -> Matrix {
        let items: Vec<usize> = (0..dataset.reviews()).map(|r| dataset.review_item(r)).collect();
        let mut rows = self.items.gather(&items);
        for r in 0..dataset.reviews() {
            let Some(user) = dataset.review_user(r) else { continue };
            let row = rows.row_mut(r);
            let sum: Vec<f64> =
                row.iter().zip(self.users.row(user)).map(|(i, u)| f64::from(*i) + f64::from(*u)).collect();
            let length = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
            // Opposite vectors cancel: the item's stays.
            if length > 1e-6 {
                row.iter_mut().zip(&sum).for_each(|(v, s)| *v = (s / length) as f32);
            }
        }
        rows
    }
    /// Writes both to one safetensors file, all or nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let shape = |m: &Matrix| vec![m.rows(), m.dim()];
        let tensors =
            [("items", shape(&self.items), self.items.data()), ("users", shape(&self.users), self.users.data())];
        file::write_tensors(path, &tensors, &BTreeMap::new())
    }
    /// Reads what [`Collaborative::save`] wrote.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`], [`crate::ErrorKind::Format`].
    pub fn load(path: &Path) -> Result<Collaborative> {
        let mut file = file::TensorFile::open(path)?;
        Ok(Collaborative { items: file.read_matrix("items")?, users: file.read_matrix("users")? })
    }
}
