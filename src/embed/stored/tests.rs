//! Stored rows beside the matrix they were made of, and broken files.

use super::*;
use crate::math::Random;
use crate::run::Run;
use std::collections::BTreeMap;

fn matrix(rows: usize, dim: usize) -> Matrix {
    let mut random = Random::new(1, b"stored");
    let mut x = Matrix::from_vec(rows, dim, (0..rows * dim).map(|_| random.normal() as f32).collect()).unwrap();
    x.normalise_rows();
    x
}

fn same(stored: &StoredRows, x: &Matrix, error: f32) {
    assert_eq!((stored.count(), stored.width()), (x.rows(), x.dim()));
    let mut room = Vec::new();
    for i in 0..x.rows() {
        for (a, b) in stored.read(i, &mut room).iter().zip(x.row(i)) {
            assert!((a - b).abs() <= error, "row {i}: {a} {b}");
        }
    }
    // In blocks, over the seams of files, and whole: the same bits.
    let whole = stored.to_matrix().unwrap();
    for first in [0, 1, x.rows() / 2 - 1] {
        let rows = (x.rows() - first).min(9);
        let block = stored.block(first, rows, &mut room);
        assert_eq!(block, &whole.data()[first * x.dim()..(first + rows) * x.dim()]);
    }
}

#[test]
fn rows_come_back_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let (x, run) = (matrix(60, 17), Run::new(1).unwrap());
    for (format, error) in
        [(RowType::F32, 0.0), (RowType::F64, 0.0), (RowType::F16, 3e-4), (RowType::BF16, 3e-3), (RowType::I8, 4e-3)]
    {
        let path = folder.path().join(format!("{format:?}.safetensors"));
        pack(&x, &path, format, &BTreeMap::new(), &run).unwrap();
        let stored = StoredRows::open(&path).unwrap();
        assert_eq!((stored.format(), stored.row_bytes()), (format, 17 * format.bytes()));
        assert_eq!(stored.direct(3, 5).is_some(), format == RowType::F32);
        same(&stored, &x, error);
        // Whoever reads the whole file sees the same values.
        assert_eq!(super::super::read_only_matrix(&path).unwrap(), stored.to_matrix().unwrap());
        let left = std::fs::read_dir(folder.path())
            .unwrap()
            .filter(|f| f.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp"));
        assert_eq!(left.count(), 0, "a temporary file stays behind");
    }
}

#[test]
fn shards_read_as_one_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let (x, run) = (matrix(50, 8), Run::new(1).unwrap());
    let list = folder.path().join("rows.json");
    let mut shards = Shards { format: 1, made_by: "test".into(), fingerprint: "f".into(), dim: 8, shards: Vec::new() };
    let metadata: BTreeMap<String, String> = [("fingerprint".to_string(), "f".to_string())].into();
    for (i, rows) in [(0, 0..7), (1, 7..7), (2, 7..50)] {
        let file = std::path::PathBuf::from(format!("{i}.safetensors"));
        let part = x.gather(&rows.collect::<Vec<_>>());
        pack(&part, &folder.path().join(&file), RowType::F32, &metadata, &run).unwrap();
        shards.shards.push(ShardFile { file, rows: part.rows() as u64 });
    }
    shards.save(&list).unwrap();
    let stored = StoredRows::open(&list).unwrap();
    same(&stored, &x, 0.0);
    assert!(stored.direct(5, 2).is_some() && stored.direct(6, 2).is_none(), "rows of two files lie apart");
    shards.shards[2].rows = 42;
    shards.save(&list).unwrap();
    assert!(StoredRows::open(&list).unwrap_err().message().contains("2.safetensors"), "a shard of other rows");
    shards.shards[2].rows = 43;
    shards.fingerprint = "g".into();
    shards.save(&list).unwrap();
    assert!(StoredRows::open(&list).unwrap_err().message().contains("other reviews"));
    std::fs::write(&list, "{}").unwrap();
    assert!(StoredRows::open(&list).unwrap_err().message().contains("list of shards"));
}

#[test]
fn broken_files_are_refused_by_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let run = Run::new(1).unwrap();
    let refused = |says: &str| {
        let e = StoredRows::open(&path).unwrap_err();
        assert!(e.message().contains(says), "{e}");
    };
    pack(&matrix(9, 4), &path, RowType::I8, &BTreeMap::new(), &run).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    refused("cut short");
    std::fs::write(&path, [0u8; 3]).unwrap();
    refused("shorter than 8 bytes");
    let view = |dtype, shape: Vec<usize>, data: &'static [u8]| {
        safetensors::tensor::TensorView::new(dtype, shape, data).unwrap()
    };
    use safetensors::Dtype::{F32, I8, I32};
    let write = |tensors: Vec<(&str, safetensors::tensor::TensorView<'_>)>| {
        std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    };
    write(vec![("embeddings", view(I32, vec![1, 2], &[0; 8]))]);
    refused("I32");
    write(vec![("embeddings", view(I8, vec![1, 2], &[0; 2]))]);
    refused("no tensor \"scales\"");
    write(vec![("embeddings", view(I8, vec![2, 2], &[0; 4])), ("scales", view(F32, vec![1], &[0; 4]))]);
    refused("shape [2]");
    write(vec![("embeddings", view(F32, vec![2], &[0; 8]))]);
    refused("[rows, dim]");
    assert!(StoredRows::open(folder.path()).unwrap_err().message().contains("folder"));
    let mut large = matrix(3, 2);
    large.row_mut(1)[1] = 7e4;
    let e = pack(&large, &path, RowType::F16, &BTreeMap::new(), &run).unwrap_err();
    assert!(e.message().contains("row 1 holds 70000"), "{e}");
}
