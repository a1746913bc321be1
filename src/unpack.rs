//! Compressed files as they genuinely are: several members one after the other, zeros as padding behind the last (tapes and
//! object stores add them), or something else behind it, which is left out and told, as gzip does.

use crate::run::{self, Level};
use std::io::{BufRead, BufReader, Cursor, Error, Read, Result};
use std::path::{Path, PathBuf};

type Raw = Box<dyn BufRead + Send>;

/// Bytes read at a time.
pub const BUFFER_BYTES: usize = 1 << 18;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[derive(Clone, Copy, PartialEq)]
enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// The packing whose files begin with `head`.
    fn of(head: &[u8]) -> Option<Packing> {
        if head.starts_with(&GZIP) {
            return Some(Packing::Gzip);
        }
        head.starts_with(&ZSTD).then_some(Packing::Zstd)
    }
    /// Whether another member begins with `head`.
    fn goes_on(self, head: &[u8]) -> bool {
        match self {
            Packing::Gzip => head.starts_with(&GZIP),
            // A frame, or one of those that are to be skipped.
            Packing::Zstd => {
                head.starts_with(&ZSTD)
                    || (head.len() > 3 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18])
            }
        }
    }
}

enum Member {
    Gzip(flate2::bufread::GzDecoder<Raw>),
    Zstd(Box<zstd::Decoder<'static, Raw>>),
}

impl Member {
    fn new(packing: Packing, raw: Raw) -> Result<Member> {
        Ok(match packing {
            Packing::Gzip => Member::Gzip(flate2::bufread::GzDecoder::new(raw)),
            Packing::Zstd => Member::Zstd(Box::new(zstd::Decoder::with_buffer(raw)?.single_frame())),
        })
    }
}

/// The members of a compressed file, one after the other.
struct Members {
    path: PathBuf,
    packing: Packing,
    /// None once the last member has ended.
    member: Option<Member>,
}

impl Members {
    /// The next member, if one follows; what follows else is left out.
    fn next(&mut self, mut raw: Raw) -> Result<Option<Member>> {
        let mut head = Vec::new();
        let zeros = loop {
            let piece = raw.fill_buf()?;
            match piece.iter().position(|b| *b != 0) {
                Some(at) => break at,
                None if piece.is_empty() => return Ok(None),
                None => {
                    let read = piece.len();
                    raw.consume(read);
                }
            }
        };
        raw.consume(zeros);
        (&mut raw).take(4).read_to_end(&mut head)?;
        if self.packing.goes_on(&head) {
            return Member::new(self.packing, Box::new(Cursor::new(head).chain(raw))).map(Some);
        }
        let left_out = head.len() as u64 + std::io::copy(&mut raw, &mut std::io::sink())?;
        let text = format!("{}: {left_out} bytes behind the compressed data were left out", self.path.display());
        run::log(Level::Warn, &text);
        Ok(None)
    }
}

impl Read for Members {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let read = match member {
                Member::Gzip(decoder) => decoder.read(out)?,
                Member::Zstd(decoder) => decoder.read(out)?,
            };
            if read > 0 {
                return Ok(read);
            }
            let raw = match self.member.take() {
                Some(Member::Gzip(decoder)) => decoder.into_inner(),
                Some(Member::Zstd(decoder)) => decoder.finish(),
                None => return Err(Error::other("a member without an end")),
            };
            self.member = self.next(raw)?;
        }
        Ok(0)
    }
}

/// What `raw` holds, unpacked where its first bytes say that it is packed (gzip, zstd).
///
/// # Errors
/// Those of reading.
pub fn unpacked(path: &Path, mut raw: Raw) -> Result<Raw> {
    let head = raw.fill_buf()?;
    let Some(packing) = Packing::of(head) else { return Ok(raw) };
    let members = Members { path: path.into(), packing, member: Some(Member::new(packing, raw)?) };
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, members)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], buffer: usize) -> Result<Vec<u8>> {
        let raw = BufReader::with_capacity(buffer, Cursor::new(bytes.to_vec()));
        let mut out = Vec::new();
        unpacked(Path::new("a"), Box::new(raw))?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn zeros_behind_a_gzip_file_were_taken_for_a_cut() {
        let zst = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        for pack in [&gz as &dyn Fn(&[u8]) -> Vec<u8>, &zst] {
            let two = [pack(b"one\n"), pack(b"two\n")].concat();
            for behind in [&[][..], &[0; 8], &[0; 5000], b"garbage behind it", b"\x1f", b"\0\0\x1f garbage", b"("] {
                for buffer in [4, 5, 7, 64, 1 << 16] {
                    let got = read(&[&two, behind].concat(), buffer).unwrap();
                    assert_eq!(got, b"one\ntwo\n", "{behind:?} {buffer}");
                }
            }
            // What is cut is still an error, in the first member and in the second.
            for length in [two.len() - 3, two.len() / 2 + 12, 12] {
                assert!(read(&two[..length], 1 << 16).is_err(), "{length}");
            }
        }
        assert_eq!(read(b"plain", 64).unwrap(), b"plain");
        assert_eq!(read(&[gz(b"a"), vec![0; 512], gz(b"b")].concat(), 64).unwrap(), b"ab");
    }
}
