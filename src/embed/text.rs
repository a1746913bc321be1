//! The built-in embedder: hashed TF-IDF of words and pairs of words, then a truncated SVD. No model, no download.

use super::embedder::{Embedder, empty_text};
use super::file::{self, TensorFile};
use super::grams::{self, Grams};
use super::review_text::review_text;
use super::words::{self, number_known};

use crate::artifact;
use crate::config::EmbedConfig;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::math::{Matrix, Random, Sparse, truncated_svd};
use crate::run::{Level, Run, log};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Texts that the SVD is fitted on at most, drawn at random: more change the leading directions little.
const FIT_TEXTS: usize = 32_768;
/// Texts that the grams are fitted on at most.
const GRAM_TEXTS: usize = 8192;
/// Words that fewer texts have say nothing that another text could share.
const MIN_TEXTS: u32 = 2;
/// Rounds of power iteration.
const POWER: usize = 2;
/// Texts per task: fixed, so that the bytes do not depend on the number of threads.
const BLOCK: usize = 256;
/// Texts between two steps.
const STEP: usize = 4096;

/// Hashed TF-IDF and truncated SVD, fitted on a dataset's own texts (latent semantic analysis).
///
/// A text's weight in a bucket is (1 + ln tf) * idf, the row scaled to unit length; its embedding is that row times
/// V S^(-1/2), scaled to unit length. V S^0 lets the few strongest directions ("this is a film review") rule the cosine,
/// V S^(-1) lets the noise in; the square root is between. A text without a known word has the row of its grams
/// (`grams.rs`), and zeros when it has none of those either.
pub struct TextEmbedder {
    /// Smoothed inverse document frequency of every bucket, 0 for those that too few texts have: `[buckets]`.
    idf: Vec<f32>,
    /// V S^(-1/2) of the buckets that have an idf: `[known, dim]`.
    projection: Matrix,
    /// Row of `projection` for every bucket; `u32::MAX`: none.
    known: Vec<u32>,
    /// For texts without a known word; files of before they came have none.
    grams: Option<Grams>,
    name: String,
}

impl TextEmbedder {
    /// Fits on `texts`: reviews and item texts, of one domain or several.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the texts share no words; [`crate::ErrorKind::Cancelled`].
    pub fn fit(texts: &[&str], config: &EmbedConfig, run: &Run) -> Result<TextEmbedder> {
        let buckets = config.buckets.clamp(256, 1 << 28).next_power_of_two();
        let mask = buckets as u64 - 1;
        let mut in_texts = vec![0u32; buckets];
        for (n, chunk) in texts.chunks(STEP).enumerate() {
            run.step("embed", "texts read", (n * STEP) as u64, texts.len() as u64)?;
            let rows: Vec<Vec<(u32, f32)>> =
                run.install(|| chunk.par_iter().map(|text| words::features(text, mask)).collect());
            rows.iter().flatten().for_each(|(bucket, _)| in_texts[*bucket as usize] += 1);
        }
        let total = texts.len() as f32;
        // Few texts: every word counts, or nothing would be left.
        let least = if texts.len() < 100 { 1 } else { MIN_TEXTS };
        let idf: Vec<f32> = in_texts
            .iter()
            .map(|n| if *n < least { 0.0 } else { ((1.0 + total) / (1.0 + *n as f32)).ln() + 1.0 })
            .collect();
        let known = number_known(&idf);
        let columns = idf.iter().filter(|v| **v > 0.0).count();
        if columns == 0 {
            return Err(Error::invalid("embed: no words in the texts to fit the built-in embedder on"));
        }
        let mut random = Random::new(config.seed, b"text embedder");
        let mut sample = random.sample(texts.len(), FIT_TEXTS);
        sample.sort_unstable();
        run.step("embed", "texts fitted", 0, sample.len() as u64)?;
        let rows: Vec<Vec<(u32, f32)>> = run.install(|| {
            sample.par_iter().map(|i| weighted(texts.get(*i).copied().unwrap_or(""), &idf, &known)).collect()
        });
        let mut matrix = Sparse::new(columns);
        for row in rows.iter().filter(|row| !row.is_empty()) {
            matrix.push_row(row)?;
        }
        drop(rows);
        let svd = run.install(|| truncated_svd(&matrix, config.dim, POWER, &mut random, run))?;
        run.step("embed", "texts fitted", sample.len() as u64, sample.len() as u64)?;
        if svd.values.len() < config.dim {
            let message = format!(
                "embed: the texts span {} dimensions, fewer than embed.dim = {}: rows have that many",
                svd.values.len(),
                config.dim
            );
            log(Level::Warn, &message);
        }
        let mut projection = svd.right;
        for i in 0..projection.rows() {
            projection.row_mut(i).iter_mut().zip(&svd.values).for_each(|(v, s)| *v /= s.sqrt());
        }
        let mut embedder = TextEmbedder::assemble(idf, known, projection, None);
        sample.truncate(GRAM_TEXTS);
        let sample: Vec<&str> = sample.iter().filter_map(|i| texts.get(*i).copied()).collect();
        let rows = embedder.embed(&sample, true, run)?;
        let grams = Grams::fit(&sample, &rows, least);
        let TextEmbedder { idf, known, projection, .. } = embedder;
        embedder = TextEmbedder::assemble(idf, known, projection, Some(grams));
        Ok(embedder)
    }

    fn assemble(idf: Vec<f32>, known: Vec<u32>, projection: Matrix, grams: Option<Grams>) -> TextEmbedder {
        let mut hasher = blake3::Hasher::new();
        let of_grams = grams.iter().flat_map(|grams| grams.idf.iter().chain(grams.means.data()));
        idf.iter().chain(projection.data()).chain(of_grams).for_each(|v| {
            hasher.update(&v.to_le_bytes());
        });
        let name = format!("text/{}/{}", projection.dim(), &hasher.finalize().to_hex()[..16]);
        TextEmbedder { idf, projection, known, grams, name }
    }

    /// Writes it to a safetensors file.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let metadata: BTreeMap<String, String> =
            [("kind".to_string(), "text embedder".to_string()), ("name".to_string(), self.name.clone())].into();
        let shape = vec![self.projection.rows(), self.projection.dim()];
        let mut tensors =
            vec![("idf", vec![self.idf.len()], &self.idf[..]), ("projection", shape, self.projection.data())];
        if let Some(Grams { idf, means, .. }) = &self.grams {
            tensors.push(("gram_idf", vec![idf.len()], idf));
            tensors.push(("gram_means", vec![means.rows(), means.dim()], means.data()));
        }
        file::write_tensors(path, &tensors, &metadata)
    }

    /// The embedder fitted on a dataset: its reviews and what its items say of themselves.
    ///
    /// # Errors
    /// Those of [`TextEmbedder::fit`].
    pub fn fit_dataset(dataset: &Dataset, config: &EmbedConfig, run: &Run) -> Result<TextEmbedder> {
        let texts: Vec<String> = (0..dataset.reviews())
            .map(|r| review_text(dataset, r))
            .chain((0..dataset.items.len()).map(|i| dataset.items.text(i)))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        TextEmbedder::fit(&texts, config, run)
    }

    /// Reads what [`TextEmbedder::save`] wrote: the same texts then give the same bytes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Format`] for another kind of file, a
    /// newer format, or values that no fit gives.
    pub fn load(path: &Path) -> Result<TextEmbedder> {
        let mut file = TensorFile::open(path)?;
        if file.text("kind")? != "text embedder" {
            return Err(Error::format(path, 0, "is no text embedder of causerie"));
        }
        let saved = file.text("name")?.to_string();
        let (_, idf) = file.read("idf")?;
        let projection = file.read_matrix("projection")?;
        let columns = idf.iter().filter(|v| **v > 0.0).count();
        let sound = idf.iter().all(|v| v.is_finite() && *v >= 0.0) && projection.data().iter().all(|v| v.is_finite());
        if !idf.len().is_power_of_two() || !sound || projection.rows() != columns || projection.dim() == 0 {
            return Err(Error::format(path, 0, "a text embedder whose parts do not fit together"));
        }
        let grams = match file.has("gram_idf") {
            false => None,
            true => {
                let (idf, means) = (file.read("gram_idf")?.1, file.read_matrix("gram_means")?);
                let fits = means.dim() == projection.dim();
                let grams = Grams::from_parts(idf, means).filter(|_| fits);
                Some(grams.ok_or_else(|| Error::format(path, 0, "a text embedder whose grams do not fit together"))?)
            }
        };
        let known = number_known(&idf);
        let embedder = TextEmbedder::assemble(idf, known, projection, grams);
        if embedder.name != saved {
            let cause = format!("was changed after it was made: its values are {}, its name is {saved}", embedder.name);
            return Err(Error::format(path, 0, cause));
        }
        Ok(embedder)
    }

    fn row(&self, text: &str, out: &mut [f32]) -> bool {
        for (column, weight) in weighted(text, &self.idf, &self.known) {
            for (o, p) in out.iter_mut().zip(self.projection.row(column as usize)) {
                *o += weight * p;
            }
        }
        grams::unit(out) || self.grams.as_ref().is_some_and(|grams| grams.row(text, out))
    }
}

/// (column, (1 + ln tf) idf), the whole scaled to unit length.
fn weighted(text: &str, idf: &[f32], known: &[u32]) -> Vec<(u32, f32)> {
    let mut row = words::features(text, idf.len() as u64 - 1);
    row.retain_mut(|(bucket, value)| {
        let at = *bucket as usize;
        let (column, weight) = (known.get(at).copied().unwrap_or(u32::MAX), idf.get(at).copied().unwrap_or(0.0));
        *bucket = column;
        *value *= weight;
        column != u32::MAX
    });
    let length = row.iter().map(|(_, v)| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    row.iter_mut().for_each(|(_, v)| *v = (f64::from(*v) / length) as f32);
    row
}

impl Embedder for TextEmbedder {
    fn dim(&self) -> usize {
        self.projection.dim()
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn bytes(&self) -> u64 {
        let grams = self.grams.as_ref().map_or(0, |grams| 8 * grams.idf.len() + 4 * grams.means.data().len());
        let words = 4 * (self.idf.len() + self.projection.data().len() + self.known.len());
        (words + grams) as u64
    }
    fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix> {
        let dim = self.dim();
        let mut out = Matrix::zeros(texts.len(), dim);
        if let Some(blank) = texts.iter().position(|t| t.trim().is_empty()).filter(|_| !lenient) {
            return Err(empty_text(blank));
        }
        for (chunk, rows) in texts.chunks(STEP).zip(out.data_mut().chunks_mut(STEP * dim)) {
            run.check()?;
            run.install(|| {
                chunk.par_chunks(BLOCK).zip(rows.par_chunks_mut(BLOCK * dim)).for_each(|(texts, rows)| {
                    texts.iter().zip(rows.chunks_mut(dim)).for_each(|(text, row)| {
                        self.row(text, row);
                    });
                });
            });
        }
        Ok(out)
    }
}

/// The format number stands in the header that [`file::write_tensors`] writes; this keeps the two together.
const _: () = assert!(artifact::FORMAT == 1, "a new format: TextEmbedder::load must say what it does with old files");
