//! Files that causerie makes and reads: written whole under a temporary name and renamed; read as plain, .gz or .zst.

mod write;

pub(crate) use write::TemporaryFolder;
pub use write::{
    Lock, Replacement, is_temporary, open_held, regular_file, remove_leftover, write_atomic, wrote_to_standard_output,
};

use crate::error::{Error, Result};
use crate::{json, unpack};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// The format number that every artifact carries; a reader refuses newer ones and names both.
pub const FORMAT: u64 = 1;

/// The release of llama.cpp's bindings, which Cargo.toml pins.
pub fn llama_version() -> &'static str {
    // `llama-cpp-sys-2 = { version = "=0.1.161", …`, or the section that `cargo package` makes of it.
    let pinned = |after: &'static str| {
        let rest = after.trim_start_matches([' ', '=', '{', ']', '\r', '\n']).strip_prefix("version = \"=")?;
        rest.split('"').next()
    };
    include_str!("../Cargo.toml").split("llama-cpp-sys-2").find_map(pinned).unwrap_or("?")
}

/// `causerie/0.1.0`, as artifacts carry it.
pub fn made_by() -> String {
    format!("causerie/{}", env!("CARGO_PKG_VERSION"))
}

/// Opens a file for reading, decompressing by its first bytes (gzip, zstd), whatever its name.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`].
pub fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    if file.metadata().map_err(|e| Error::io(path, e))?.is_dir() {
        return Err(Error::invalid(format!("{}: is a folder, a file is needed", path.display())));
    }
    let raw = BufReader::with_capacity(unpack::BUFFER_BYTES, file);
    unpack::unpacked(path, Box::new(raw)).map_err(|e| truncated(path, e))
}

/// Bytes of a line, and of a file that is read whole: a device such as /dev/zero has no end.
const MOST_BYTES: u64 = 1 << 28;

/// The whole file as text, decompressed.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`], [`crate::ErrorKind::Format`] when it is not UTF-8, or larger than
/// 256 MiB.
pub fn read_text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|e| truncated(path, e))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Error::format(
            path,
            0,
            format!("more than {} MiB; it is not the file that is meant", MOST_BYTES >> 20),
        ));
    }
    String::from_utf8(bytes).map_err(|e| Error::format(path, 0, format!("not UTF-8: {e}")))
}

/// A read error, told as what it most often is in a compressed file: cut short.
pub fn truncated(path: &Path, e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::format(path, 0, "the compressed file ends before its end: it was cut short; copy it again")
        }
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData | std::io::ErrorKind::Other => {
            Error::format(path, 0, format!("cannot be decompressed: {e}"))
        }
        _ => Error::io(path, e),
    }
}

/// # Errors
/// [`crate::ErrorKind::Format`] for a text in UTF-16, told by its first bytes: Excel's "Unicode text", PowerShell's output.
pub fn not_utf16(path: &Path, head: &[u8]) -> Result<()> {
    match head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        true => {
            Err(Error::format(path, 1, "in UTF-16, and UTF-8 is needed: save it so, or `iconv -f UTF-16 -t UTF-8`"))
        }
        false => Ok(()),
    }
}

/// Calls `each` with every line that is not blank, and its number from 1.
///
/// # Errors
/// Those of reading and of `each`.
pub fn for_each_line(path: &Path, mut each: impl FnMut(u64, &str) -> Result<()>) -> Result<()> {
    let mut reader = open(path)?;
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        let mut line = (&mut reader).take(MOST_BYTES + 1);
        if line.read_until(b'\n', &mut bytes).map_err(|e| truncated(path, e))? == 0 {
            return Ok(());
        }
        number += 1;
        if bytes.len() as u64 > MOST_BYTES {
            let why = format!("a line of more than {} MiB; it is not the file that is meant", MOST_BYTES >> 20);
            return Err(Error::format(path, number, why));
        }
        if number == 1 {
            not_utf16(path, &bytes)?;
        }
        let line = std::str::from_utf8(&bytes).map_err(|e| Error::format(path, number, format!("not UTF-8: {e}")))?;
        let line = line.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}');
        if !line.trim().is_empty() {
            each(number, line)?;
        }
    }
}

/// Reads JSON lines into a vector; the first bad line is the error.
///
/// # Errors
/// [`crate::ErrorKind::Format`] with file and line.
pub fn read_jsonl<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    for_each_line(path, |number, line| {
        rows.push(json::owned(line).map_err(|cause| Error::format(path, number, cause))?);
        Ok(())
    })?;
    Ok(rows)
}

/// Writes JSON lines, all or nothing.
///
/// # Errors
/// [`crate::ErrorKind::Io`].
pub fn write_jsonl<T: serde::Serialize>(path: &Path, rows: impl IntoIterator<Item = T>) -> Result<()> {
    write_atomic(path, |out| {
        for row in rows {
            serde_json::to_writer(&mut *out, &row).map_err(|e| Error::io(path, e.into()))?;
            out.write_all(b"\n").map_err(|e| Error::io(path, e))?;
        }
        Ok(())
    })
}

/// The first 16 hex digits of a BLAKE3 hash over `parts`, each preceded by its length.
pub fn content_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex()[..16].to_string()
}

/// The first 16 hex digits of a BLAKE3 hash over a file's bytes: about a second for a GiB.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`].
pub fn hash_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file).map_err(|e| Error::io(path, e))?;
    Ok(hasher.finalize().to_hex()[..16].to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A device that never ends was read into memory until there was none.
    #[test]
    fn a_file_without_an_end_was_read_until_memory_was_full() {
        let zero = Path::new("/dev/zero");
        let e = for_each_line(zero, |_, _| Ok(())).unwrap_err();
        assert!(
            e.kind() == crate::ErrorKind::Format && e.message().contains("/dev/zero:1: a line of more than"),
            "{e}"
        );
        assert!(read_text(zero).unwrap_err().message().contains("more than 256 MiB"));
    }

    #[test]
    fn one_changed_byte_changes_the_hash_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let mut bytes = vec![7u8; 100_000];
        std::fs::write(&path, &bytes).unwrap();
        let before = hash_file(&path).unwrap();
        assert_eq!(before, blake3::hash(&bytes).to_hex()[..16]);
        bytes[99_999] = 8;
        std::fs::write(&path, &bytes).unwrap();
        assert_ne!(hash_file(&path).unwrap(), before);
        assert!(hash_file(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_truncated_gz_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        for i in 0..5000 {
            writeln!(encoder, "{{\"a\": {i}}}").unwrap();
        }
        let bytes = encoder.finish().unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let e = read_jsonl::<serde_json::Value>(&path).unwrap_err();
        assert!(e.message().contains("cut short"), "{e}");
    }
}
