//! Matrices read whole, however they were stored: floats, i8 with scales, or a list of shards.

use super::file::{EMBEDDINGS, SCALES, TensorFile};
use super::stored::{Shards, StoredRows};
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::run::Run;
use safetensors::tensor::Dtype;
use std::path::Path;

/// Reads the tensor `name` of the safetensors file at `path` as a matrix.
///
/// # Errors
/// As [`TensorFile::open`] and [`TensorFile::read_matrix`].
pub fn read_matrix(path: &Path, name: &str) -> Result<Matrix> {
    let mut file = TensorFile::open(path)?;
    if file.has(SCALES) && file.place(name).is_ok_and(|place| place.dtype == Dtype::I8) {
        return StoredRows::open(path)?.to_matrix();
    }
    file.read_matrix(name)
}

/// The matrix of a given file: its tensor `embeddings`, or the only one that it holds; of a list of shards, all of it.
///
/// # Errors
/// Those of [`read_matrix`]; [`crate::ErrorKind::Format`] for several tensors of which none is called `embeddings`.
pub fn read_only_matrix(path: &Path) -> Result<Matrix> {
    if Shards::is_list(path)? {
        return StoredRows::open(path)?.to_matrix();
    }
    let name = TensorFile::open(path)?.rows_name();
    read_matrix(path, &name)
}

/// Reads rows for `rows` texts and checks them: that many, none NaN. A row of zeros is one of which
/// nothing is known; all of them are refused.
///
/// # Errors
/// As [`read_matrix`]; [`crate::ErrorKind::Invalid`] naming the path and the number or the row that is wrong.
pub fn read_embeddings(path: &Path, rows: usize, run: &Run) -> Result<Matrix> {
    if path.as_os_str().is_empty() {
        return Err(Error::invalid(
            "embed.method = \"file\" needs embed.file, the path of a safetensors file or a list of shards",
        ));
    }
    let matrix = match Shards::is_list(path)? {
        true => StoredRows::open(path)?.to_matrix()?,
        false => read_matrix(path, EMBEDDINGS)?,
    };
    if matrix.rows() != rows {
        return Err(Error::invalid(format!(
            "{}: {} rows for {rows} reviews; embed this dataset again",
            path.display(),
            matrix.rows()
        )));
    }
    run.install(|| matrix.check_rows(&path.display().to_string()))?;
    if matrix.data().iter().all(|v| *v == 0.0) && rows > 0 {
        return Err(Error::invalid(format!("{}: every row is all zeros; embed this dataset again", path.display())));
    }
    Ok(matrix)
}
