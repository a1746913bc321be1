//! Matrices in safetensors files: ours, and the ones that users bring.
//!
//! The format: eight bytes with the header's length, a JSON header, the numbers. Rows are streamed, so that reading takes
//! no more memory than the matrix itself.

use crate::artifact;
use crate::error::{Error, Result};
use crate::math::Matrix;
use safetensors::tensor::{Dtype, TensorInfo};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The name of the tensor that holds embeddings.
pub const EMBEDDINGS: &str = "embeddings";
/// The name of the tensor that holds the scales of i8 rows, `[rows]` f32.
pub const SCALES: &str = "scales";
/// Bytes of a JSON header at most (the safetensors library's own bound).
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A tensor to write: name, shape, values in row-major order.
pub type TensorData<'a> = (&'a str, Vec<usize>, &'a [f32]);

/// The header's bytes (length included) of a file with tensors of these names, types and shapes in this order. `metadata`
/// gains the format number and the version that made it.
pub(super) fn header_of(tensors: &[(&str, Dtype, Vec<usize>)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut metadata = metadata.clone();
    metadata.insert("format".into(), artifact::FORMAT.to_string());
    metadata.insert("made_by".into(), artifact::made_by());
    let mut json = serde_json::Map::new();
    json.insert("__metadata__".into(), serde_json::json!(metadata));
    let mut at = 0usize;
    for (name, dtype, shape) in tensors {
        let bits = shape.iter().try_fold(dtype.bitsize(), |bits, n| bits.checked_mul(*n));
        let end = bits.and_then(|bits| at.checked_add(bits / 8));
        let end = end.ok_or_else(|| Error::invalid(format!("a tensor {name} of shape {shape:?} fits no file")))?;
        let info = TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets: (at, end) };
        json.insert((*name).into(), serde_json::to_value(&info).map_err(|e| Error::bug(e.to_string()))?);
        at = end;
    }
    let mut text = serde_json::to_vec(&json).map_err(|e| Error::bug(e.to_string()))?;
    // Spaces up to a multiple of eight: the numbers are aligned for whoever maps the file.
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

/// [`header_of`] f32 tensors.
fn header(tensors: &[(&str, Vec<usize>)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let tensors: Vec<_> = tensors.iter().map(|(name, shape)| (*name, Dtype::F32, shape.clone())).collect();
    header_of(&tensors, metadata)
}

/// Values as little-endian bytes.
fn write_values(out: &mut dyn Write, values: &[f32], path: &Path) -> Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    for chunk in values.chunks(CHUNK_BYTES / 4) {
        bytes.clear();
        chunk.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        out.write_all(&bytes).map_err(|e| Error::io(path, e))?;
    }
    Ok(())
}

/// Writes f32 tensors to a safetensors file, all or nothing.
///
/// # Errors
/// [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Invalid`] when values and shape disagree.
pub fn write_tensors(path: &Path, tensors: &[TensorData<'_>], metadata: &BTreeMap<String, String>) -> Result<()> {
    let shapes: Vec<(&str, Vec<usize>)> = tensors.iter().map(|(name, shape, _)| (*name, shape.clone())).collect();
    for (name, shape, values) in tensors {
        if shape.iter().product::<usize>() != values.len() {
            return Err(Error::invalid(format!("tensor {name}: {} values for the shape {shape:?}", values.len())));
        }
    }
    let header = header(&shapes, metadata)?;
    artifact::write_atomic(path, |out| {
        out.write_all(&header).map_err(|e| Error::io(path, e))?;
        tensors.iter().try_for_each(|(_, _, values)| write_values(out, values, path))
    })
}

/// Writes `matrix` as the one tensor `name`, `[rows, dim]`.
///
/// # Errors
/// [`crate::ErrorKind::Io`].
pub fn write_matrix(path: &Path, name: &str, matrix: &Matrix, metadata: &BTreeMap<String, String>) -> Result<()> {
    write_tensors(path, &[(name, vec![matrix.rows(), matrix.dim()], matrix.data())], metadata)
}

/// Where a tensor lies.
pub(super) struct Place {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// From the beginning of the file.
    pub bytes: Range<usize>,
}

/// A safetensors file with its header read and checked.
pub struct TensorFile {
    path: PathBuf,
    file: BufReader<File>,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
    data_offset: u64,
}

impl TensorFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Format`] for what is no safetensors
    /// file, or was cut short, or was made by a newer format of ours.
    pub fn open(path: &Path) -> Result<TensorFile> {
        let bad = |cause: String| Error::format(path, 0, cause);
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let about = file.metadata().map_err(|e| Error::io(path, e))?;
        if about.is_dir() {
            return Err(Error::invalid(format!("{}: is a folder, a safetensors file is needed", path.display())));
        }
        let mut file = BufReader::with_capacity(CHUNK_BYTES, file);
        let mut length = [0u8; 8];
        file.read_exact(&mut length).map_err(|_| bad("not a safetensors file: shorter than 8 bytes".into()))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES || length + 8 > about.len() {
            return Err(bad(format!(
                "not a safetensors file, or cut short: a header of {length} bytes in a file of {}",
                about.len()
            )));
        }
        let mut text = vec![0u8; length as usize];
        file.read_exact(&mut text).map_err(|e| artifact::truncated(path, e))?;
        let mut json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&text).map_err(|e| bad(format!("the safetensors header is no JSON: {e}")))?;
        let metadata: BTreeMap<String, String> = match json.remove("__metadata__") {
            None => BTreeMap::new(),
            Some(value) => serde_json::from_value(value).map_err(|e| bad(format!("the safetensors metadata: {e}")))?,
        };
        if metadata.contains_key("made_by")
            && let Some(format) = metadata.get("format").and_then(|f| f.parse::<u64>().ok())
            && format > artifact::FORMAT
        {
            return Err(bad(format!(
                "has format {format}, this causerie reads up to {}: use a newer causerie or make the file again",
                artifact::FORMAT
            )));
        }
        let data_offset = length + 8;
        let mut tensors = BTreeMap::new();
        for (name, value) in json {
            let info: TensorInfo =
                serde_json::from_value(value).map_err(|e| bad(format!("the safetensors entry {name:?}: {e}")))?;
            let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, n| bits.checked_mul(*n));
            let (from, to) = info.data_offsets;
            if bits.is_none_or(|bits| to.checked_sub(from) != Some(bits / 8)) {
                return Err(bad(format!(
                    "tensor {name:?}: bytes {from} to {to} do not hold the shape {:?}",
                    info.shape
                )));
            }
            if (to as u64).checked_add(data_offset).is_none_or(|end| end > about.len()) {
                return Err(bad(format!("tensor {name:?} ends behind the end of the file: it was cut short")));
            }
            tensors.insert(name, info);
        }
        Ok(TensorFile { path: path.to_path_buf(), file, metadata, tensors, data_offset })
    }
    /// The texts in the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
    /// The text `key` of the header.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] when it is missing.
    pub fn text(&self, key: &str) -> Result<&str> {
        let missing = || Error::format(&self.path, 0, format!("the header has no {key:?}"));
        self.metadata.get(key).map(String::as_str).ok_or_else(missing)
    }
    /// Whether it has a tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
    /// The tensor that holds rows: `embeddings`, or the only one.
    pub(super) fn rows_name(&self) -> String {
        match self.tensors.keys().next() {
            Some(only) if self.tensors.len() == 1 => only.clone(),
            Some(_) | None => EMBEDDINGS.to_string(),
        }
    }
    /// Where tensor `name` lies in the file, within its bounds when it was opened.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] when it is missing.
    pub(super) fn place(&self, name: &str) -> Result<Place> {
        let info = self.tensors.get(name).ok_or_else(|| self.missing(name))?;
        let at = self.data_offset as usize;
        let bytes = at + info.data_offsets.0..at + info.data_offsets.1;
        Ok(Place { dtype: info.dtype, shape: info.shape.clone(), bytes })
    }
    fn missing(&self, name: &str) -> Error {
        let names: Vec<&str> = self.tensors.keys().map(String::as_str).take(8).collect();
        Error::format(&self.path, 0, format!("no tensor {name:?}; the file holds {}", names.join(", ")))
    }
    /// Tensor `name` as f32 (f16, bf16 and f64 are converted), with its shape.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] when it is missing or holds no floats; [`crate::ErrorKind::Io`].
    pub fn read(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let path = self.path.clone();
        let bad = |cause: String| Error::format(&path, 0, cause);
        let info = self.tensors.get(name).ok_or_else(|| self.missing(name))?;
        let width = match info.dtype {
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
            other => {
                return Err(bad(format!("tensor {name:?} is {other:?}; f32 is needed (f16, bf16, f64 are converted)")));
            }
        };
        let (shape, dtype) = (info.shape.clone(), info.dtype);
        let (from, to) = info.data_offsets;
        self.file.seek(SeekFrom::Start(self.data_offset + from as u64)).map_err(|e| Error::io(&path, e))?;
        let mut values = Vec::with_capacity((to - from) / width);
        let mut bytes = vec![0u8; CHUNK_BYTES.min(to - from)];
        let mut left = to - from;
        while left > 0 {
            let chunk = bytes.get_mut(..left.min(CHUNK_BYTES)).unwrap_or_default();
            self.file.read_exact(chunk).map_err(|e| artifact::truncated(&path, e))?;
            left -= chunk.len();
            match dtype {
                Dtype::F16 => values.extend(le::<2>(chunk).map(|b| half::f16::from_le_bytes(b).to_f32())),
                Dtype::BF16 => values.extend(le::<2>(chunk).map(|b| half::bf16::from_le_bytes(b).to_f32())),
                Dtype::F64 => values.extend(le::<8>(chunk).map(|b| f64::from_le_bytes(b) as f32)),
                _ => values.extend(le::<4>(chunk).map(f32::from_le_bytes)),
            }
        }
        Ok((shape, values))
    }
    /// Tensor `name` as a matrix.
    ///
    /// # Errors
    /// As [`TensorFile::read`]; [`crate::ErrorKind::Format`] when it has not two dimensions.
    pub fn read_matrix(&mut self, name: &str) -> Result<Matrix> {
        let (shape, values) = self.read(name)?;
        match shape.as_slice() {
            [rows, dim] => Matrix::from_vec(*rows, *dim, values),
            _ => {
                Err(Error::format(&self.path, 0, format!("tensor {name:?} has shape {shape:?}; [rows, dim] is needed")))
            }
        }
    }
}

fn le<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::super::{read_embeddings, read_matrix};
    use super::*;
    use crate::run::Run;
    use safetensors::SafeTensors;
    use safetensors::tensor::{TensorView, serialize_to_file};

    fn matrix() -> Matrix {
        Matrix::from_vec(3, 2, vec![1.0, -2.0, 0.5, 4.0, 8.0, -0.25]).unwrap()
    }

    #[test]
    fn what_we_write_the_safetensors_library_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        write_matrix(&path, EMBEDDINGS, &matrix(), &BTreeMap::new()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = theirs.tensor(EMBEDDINGS).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, [3usize, 2].as_slice()));
        assert_eq!(&tensor.data()[..4], 1f32.to_le_bytes());
        assert_eq!(read_matrix(&path, EMBEDDINGS).unwrap(), matrix());
    }

    #[test]
    fn what_the_safetensors_library_writes_in_any_float_we_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let halves: Vec<u8> = matrix().data().iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        let brains: Vec<u8> = matrix().data().iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
        let doubles: Vec<u8> = matrix().data().iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
        let view = |dtype, data| TensorView::new(dtype, vec![3, 2], data).unwrap();
        let tensors =
            [("a", view(Dtype::F16, &halves)), ("b", view(Dtype::BF16, &brains)), ("c", view(Dtype::F64, &doubles))];
        serialize_to_file(tensors, None, &path).unwrap();
        for name in ["a", "b", "c"] {
            assert_eq!(read_matrix(&path, name).unwrap(), matrix(), "{name}");
        }
        let e = read_matrix(&path, EMBEDDINGS).unwrap_err();
        assert!(e.message().contains("no tensor \"embeddings\"; the file holds a, b, c"), "{e}");
    }

    #[test]
    fn wrong_files_are_refused_by_what_is_wrong_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let run = Run::new(1).unwrap();
        let ints = [0u8; 24];
        serialize_to_file([("embeddings", TensorView::new(Dtype::I32, vec![3, 2], &ints).unwrap())], None, &path)
            .unwrap();
        assert!(read_matrix(&path, EMBEDDINGS).unwrap_err().message().contains("I32"));
        serialize_to_file([("embeddings", TensorView::new(Dtype::F32, vec![6], &ints).unwrap())], None, &path).unwrap();
        assert!(read_matrix(&path, EMBEDDINGS).unwrap_err().message().contains("shape [6]"));
        let mut bad = matrix();
        bad.row_mut(1)[0] = f32::NAN;
        write_matrix(&path, EMBEDDINGS, &bad, &BTreeMap::new()).unwrap();
        assert!(read_embeddings(Path::new(""), 3, &run).unwrap_err().message().contains("embed.file"));
        assert!(read_embeddings(&path, 3, &run).unwrap_err().message().contains("row 1 holds NaN"));
        assert!(read_embeddings(&path, 4, &run).unwrap_err().message().contains("3 rows for 4 reviews"));
        write_matrix(&path, EMBEDDINGS, &matrix(), &BTreeMap::new()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read_matrix(&path, EMBEDDINGS).unwrap_err().kind(), crate::ErrorKind::Format, "{length} bytes");
        }
        std::fs::write(&path, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
        assert!(read_matrix(&path, EMBEDDINGS).is_err());
    }

    #[test]
    fn a_file_of_a_newer_format_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let metadata = [("format".to_string(), "99".to_string()), ("made_by".to_string(), "causerie/9".to_string())];
        let floats = [0u8; 24];
        let view = TensorView::new(Dtype::F32, vec![3, 2], &floats).unwrap();
        serialize_to_file([("embeddings", view)], Some(metadata.into_iter().collect()), &path).unwrap();
        assert!(read_matrix(&path, EMBEDDINGS).unwrap_err().message().contains("format 99"));
    }
}
