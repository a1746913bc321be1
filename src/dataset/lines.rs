//! A file as blocks of whole rows, which are lines or records of CSV: one batch is parsed on the run's threads while the next
//! is being read; the rows come back in the file's order, whatever the number of threads.

use crate::artifact;
use crate::error::Result;
use crate::run::Run;
use rayon::prelude::*;
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// Bytes per block. Small, because [`BATCH_BLOCKS`] of them are held twice, raw and parsed.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks parsed at once.
const BATCH_BLOCKS: usize = 8;
/// A longer line is no row of any of our formats; it is passed over without being held.
const LINE_BYTES: usize = 16 << 20;

/// A quoted cell that is longer is taken for a quote that somebody forgot to close.
const CELL_BYTES: usize = 1 << 20;

/// What the rows of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// A line each.
    Lines,
    /// A record of CSV each: a line, or several where a cell in quotes holds line breaks.
    Records { separator: u8 },
}

/// How far a record reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    /// Bytes of it, with its line break.
    Whole(usize),
    /// A cell in quotes goes on behind what is there.
    Open,
    /// Its quotes make no sense.
    Broken,
}

/// The record at the beginning of `bytes`.
fn record(bytes: &[u8], separator: u8) -> Record {
    let mut at = 0;
    loop {
        if bytes.get(at) == Some(&b'"') {
            // To the quote that closes the cell; two of them are one within it.
            at += 1;
            let cell = at;
            loop {
                let quote = memchr::memchr(b'"', &bytes[at..]);
                at = quote.map_or(bytes.len(), |quote| at + quote + 1);
                if at - cell > CELL_BYTES {
                    return Record::Broken;
                }
                if quote.is_none() {
                    return Record::Open;
                }
                if bytes.get(at) != Some(&b'"') {
                    break;
                }
                at += 1;
            }
            at += bytes[at..].iter().take_while(|b| matches!(**b, b' ' | b'\r')).count();
            match bytes.get(at) {
                None => return Record::Whole(at),
                Some(b'\n') => return Record::Whole(at + 1),
                Some(b) if *b == separator => at += 1,
                Some(_) => return Record::Broken,
            }
            continue;
        }
        match memchr::memchr2(separator, b'\n', &bytes[at..]) {
            None => return Record::Whole(bytes.len()),
            Some(n) if bytes[at + n] == b'\n' => return Record::Whole(at + n + 1),
            Some(n) => at += n + 1,
        }
    }
}

/// Whether the quotes of one record are as RFC 4180 has them.
pub(super) fn well_quoted(text: &str, separator: u8) -> bool {
    record(text.as_bytes(), separator) == Record::Whole(text.len())
}

impl Rows {
    /// Bytes of the row at the beginning of `bytes`, with its line break. Where quotes make no sense, or stay open to the
    /// end, the first line alone is the row: it costs no other line.
    fn first(self, bytes: &[u8]) -> usize {
        let line = || memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        match self {
            Rows::Lines => line(),
            Rows::Records { separator } => match record(bytes, separator) {
                Record::Whole(length) => length,
                Record::Open | Record::Broken => line(),
            },
        }
    }
    /// The rows of a text that are not blank, with the number of their first line, from 1.
    pub fn of(self, text: &str) -> impl Iterator<Item = (u64, &str)> {
        let (mut rest, mut number) = (text, 1);
        std::iter::from_fn(move || {
            let (row, more) = (!rest.is_empty()).then(|| rest.split_at(self.first(rest.as_bytes())))?;
            let this = number;
            number += row.bytes().filter(|b| *b == b'\n').count() as u64;
            rest = more;
            Some((this, row.trim_end_matches(['\n', '\r'])))
        })
        .filter(|(_, row)| !row.trim().is_empty())
    }
    /// Bytes of `bytes` that are whole rows; `bytes` ends with a line break. The cell that may be open behind them is
    /// completed by what comes next.
    fn whole(self, bytes: &[u8]) -> usize {
        let Rows::Records { separator } = self else { return bytes.len() };
        // The rows before the first quote are lines.
        let Some(quote) = memchr::memchr(b'"', bytes) else { return bytes.len() };
        let mut at = memchr::memrchr(b'\n', &bytes[..quote]).map_or(0, |line| line + 1);
        while at < bytes.len() {
            match record(&bytes[at..], separator) {
                Record::Open => break,
                Record::Whole(_) | Record::Broken => at += self.first(&bytes[at..]),
            }
        }
        at
    }
}

/// Whole rows.
struct Block {
    bytes: Vec<u8>,
    /// Number of the first line, from 1.
    first_line: u64,
    /// In place of its lines: one line longer than [`LINE_BYTES`].
    oversized: bool,
}

/// What a line gave: a row, or the cause why not.
pub(super) type Parsed<T> = std::result::Result<T, String>;

struct BlockReader {
    path: PathBuf,
    rows: Rows,
    input: Box<dyn BufRead + Send>,
    /// The beginning of a row whose end has not been read yet.
    rest: Vec<u8>,
    next_line: u64,
    ended: bool,
}

impl BlockReader {
    /// Appends what comes next to `bytes`, about a block; false at the end of the file.
    fn fill(&mut self, bytes: &mut Vec<u8>) -> Result<bool> {
        let before = bytes.len();
        let wanted = (bytes.len() / BLOCK_BYTES + 1) * BLOCK_BYTES;
        while bytes.len() < wanted {
            let piece = match self.input.fill_buf() {
                Ok(piece) => piece,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(artifact::truncated(&self.path, e)),
            };
            if piece.is_empty() {
                self.ended = true;
                break;
            }
            let used = piece.len().min(wanted - bytes.len());
            bytes.extend_from_slice(&piece[..used]);
            self.input.consume(used);
        }
        Ok(bytes.len() > before)
    }
    fn next(&mut self) -> Result<Option<Block>> {
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        bytes.append(&mut self.rest);
        // Whole rows at hand are a block: what follows them may be a line too long to be held beside them.
        if let Some(length) = self.whole(&bytes, 0) {
            self.rest = bytes.split_off(length);
            return Ok(Some(self.block(bytes)));
        }
        let mut oversized = false;
        loop {
            let from = bytes.len();
            if self.ended || !self.fill(&mut bytes)? {
                break;
            }
            if let Some(length) = self.whole(&bytes, from) {
                self.rest.extend_from_slice(&bytes[length..]);
                bytes.truncate(length);
                break;
            }
            if bytes.len() > LINE_BYTES {
                oversized = true;
                bytes.clear();
            }
        }
        if oversized {
            // What was kept of it ends the long line; lines after its end go back to be read.
            match bytes.iter().position(|b| *b == b'\n') {
                Some(at) => {
                    let mut rest = bytes.split_off(at + 1);
                    rest.append(&mut self.rest);
                    self.rest = rest;
                }
                None => bytes.clear(),
            }
            let block = Block { bytes: Vec::new(), first_line: self.next_line, oversized };
            self.next_line += 1;
            return Ok(Some(block));
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.block(bytes)))
    }
    /// Bytes of `bytes` that are whole rows, if any; there is no line break before `from`, or a cell was open there.
    fn whole(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let lines = from + memchr::memrchr(b'\n', &bytes[from..])? + 1;
        Some(self.rows.whole(&bytes[..lines])).filter(|length| *length > 0)
    }
    /// The next rows as a block.
    fn block(&mut self, bytes: Vec<u8>) -> Block {
        let block = Block { first_line: self.next_line, oversized: false, bytes };
        self.next_line += block.bytes.iter().filter(|b| **b == b'\n').count() as u64;
        block
    }
    fn batch(&mut self) -> Result<Vec<Block>> {
        let mut blocks = Vec::new();
        while blocks.len() < BATCH_BLOCKS {
            match self.next()? {
                Some(block) => blocks.push(block),
                None => break,
            }
        }
        Ok(blocks)
    }
}

/// One line as text, without its end, without a byte order mark.
fn line_text(bytes: &[u8], number: u64) -> Parsed<&str> {
    let line =
        std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8 (byte {} of the line)", e.valid_up_to() + 1))?;
    let line = if number == 1 { line.trim_start_matches('\u{feff}') } else { line };
    Ok(line.trim_end_matches(['\n', '\r']))
}

fn parse_block<T>(block: &Block, rows: Rows, parse: &impl Fn(&str) -> Parsed<T>) -> Vec<(u64, Parsed<T>)> {
    if block.oversized {
        return vec![(block.first_line, Err(format!("a line of more than {} MiB", LINE_BYTES >> 20)))];
    }
    let (mut rest, mut number) = (&block.bytes[..], block.first_line);
    let rows = std::iter::from_fn(|| {
        let (row, more) = (!rest.is_empty()).then(|| rest.split_at(rows.first(rest)))?;
        let this = number;
        number += memchr::memchr_iter(b'\n', row).count().max(1) as u64;
        rest = more;
        Some((row, this))
    });
    rows.filter_map(|(bytes, number)| match line_text(bytes, number) {
        Ok(line) if line.trim().is_empty() => None,
        Ok(line) => Some((number, parse(line))),
        Err(cause) => Some((number, Err(cause))),
    })
    .collect()
}

/// A file that is open for [`Source::for_each_row`]: opened once, so that a pipe serves as well.
pub(super) struct Source {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    /// What [`Source::first_line`] has read of it.
    read: Vec<u8>,
}

impl Source {
    /// Opens a file, plain or packed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Invalid`] for a folder;
    /// [`crate::ErrorKind::Format`] for UTF-16.
    pub(super) fn open(path: &Path) -> Result<Source> {
        let mut input = artifact::open(path)?;
        artifact::not_utf16(path, input.fill_buf().map_err(|e| artifact::truncated(path, e))?)?;
        Ok(Source { path: path.into(), input, read: Vec::new() })
    }

    /// The first line of the file that is not blank, as text; none in an empty file. The rows still begin with it.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn first_line(&mut self) -> Result<Option<String>> {
        loop {
            let before = self.read.len();
            let mut limited = std::io::Read::take(&mut self.input, LINE_BYTES as u64);
            let read = limited.read_until(b'\n', &mut self.read).map_err(|e| artifact::truncated(&self.path, e))?;
            if read == 0 {
                break;
            }
            // Only looked at here; as a row it is judged like any other.
            let line = String::from_utf8_lossy(&self.read[before..]);
            let line = line.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
            if !line.trim().is_empty() {
                return Ok(Some(line.to_string()));
            }
        }
        Ok(None)
    }

    /// Calls `sink` on this thread with every row that is not blank, in order: the number of its first line from 1, and what `parse` made of it
    /// on the run's threads. Reports progress as stage `import`, counting `unit`s.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] and [`crate::ErrorKind::Io`] of the file, [`crate::ErrorKind::Format`] when it is a
    /// damaged .gz or .zst, [`crate::ErrorKind::Cancelled`], and those of `sink`.
    pub(super) fn for_each_row<T: Send>(
        self,
        rows: Rows,
        unit: &'static str,
        run: &Run,
        parse: impl Fn(&str) -> Parsed<T> + Sync,
        mut sink: impl FnMut(u64, Parsed<T>) -> Result<()>,
    ) -> Result<()> {
        let Source { path, input, read } = self;
        let mut reader = BlockReader { path, rows, input, rest: read, next_line: 1, ended: false };
        let mut batch = reader.batch()?;
        let mut done = 0;
        while !batch.is_empty() {
            let (parsed, next) = run.install(|| {
                rayon::join(
                    || batch.par_iter().map(|block| parse_block(block, rows, &parse)).collect::<Vec<_>>(),
                    || reader.batch(),
                )
            });
            for (number, row) in parsed.into_iter().flatten() {
                sink(number, row)?;
                done += 1;
            }
            run.step("import", unit, done, 0)?;
            batch = next?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORDS: Rows = Rows::Records { separator: b',' };

    fn rows(bytes: &[u8], threads: usize) -> Vec<(u64, Parsed<String>)> {
        rows_of(Rows::Lines, bytes, threads)
    }

    fn rows_of(kind: Rows, bytes: &[u8], threads: usize) -> Vec<(u64, Parsed<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, bytes).unwrap();
        let mut rows = Vec::new();
        let mut source = Source::open(&path).unwrap();
        let _ = source.first_line();
        source
            .for_each_row(
                kind,
                "lines",
                &Run::new(threads).unwrap(),
                |line| Ok(line.to_string()),
                |number, row| {
                    rows.push((number, row));
                    Ok(())
                },
            )
            .unwrap();
        rows
    }

    #[test]
    fn a_byte_order_mark_and_crlf_and_a_missing_last_newline_change_nothing() {
        let got = rows(b"\xef\xbb\xbfone\r\n\r\n  \ntwo\n\xff\nthree", 2);
        let texts: Vec<_> = got.iter().map(|(n, row)| (*n, row.as_deref().unwrap_or("bad"))).collect();
        assert_eq!(texts, [(1, "one"), (4, "two"), (5, "bad"), (6, "three")]);
    }

    #[test]
    fn a_line_break_in_a_quoted_cell_was_the_end_of_the_row() {
        let long = "x\n".repeat(BLOCK_BYTES);
        let text = format!("a,\"b\nc\",d\r\n\n\"{long}\"\ne\"f,\"\"\"\n\"\"\"\ng\n");
        let got = rows_of(RECORDS, text.as_bytes(), 2);
        let texts: Vec<_> = got.iter().map(|(n, row)| (*n, row.as_deref().unwrap())).collect();
        let after = 4 + BLOCK_BYTES as u64 + 1;
        let quoted = format!("\"{long}\"");
        assert_eq!(texts, [(1, "a,\"b\nc\",d"), (4, &quoted), (after, "e\"f,\"\"\"\n\"\"\""), (after + 2, "g")]);
        assert_eq!(RECORDS.of(&text).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn a_quote_that_is_not_closed_costs_its_own_line() {
        for text in ["a\n\"b\nc\nd\n", "a\n\"b\nc,\"x\"\nd\n", "a\n\"b\" c\nc\nd"] {
            let got = rows_of(RECORDS, text.as_bytes(), 1);
            assert_eq!(got.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 3, 4], "{text:?}");
        }
        // A long file is not read to its end for it.
        let text = format!("a\n\"b\n{}", "c,d\n".repeat(1 << 20));
        assert_eq!(rows_of(RECORDS, text.as_bytes(), 1).len(), 2 + (1 << 20));
    }

    #[test]
    fn blocks_give_the_lines_that_one_reading_gives() {
        let text: String = (0..200_000).map(|i| format!("{i} {}\n", "x".repeat(i % 41))).collect();
        let got = rows(text.as_bytes(), 3);
        assert_eq!(got.len(), 200_000);
        for ((number, row), (twin, line)) in got.iter().zip((1..).zip(text.lines())) {
            assert_eq!((*number, row.as_deref().unwrap()), (twin, line));
        }
    }

    #[test]
    fn a_huge_line_is_one_bad_line_and_its_neighbours_stay() {
        for length in [LINE_BYTES - 7, LINE_BYTES + (1 << 20), 3 * LINE_BYTES] {
            let mut bytes = b"one\n".to_vec();
            bytes.resize(4 + length, b'x');
            bytes.extend_from_slice(b"\nthree\nfour\n");
            let got = rows(&bytes, 1);
            let texts: Vec<_> = got.iter().map(|(n, row)| (*n, row.as_ref().map_or(0, String::len))).collect();
            let second = if length > LINE_BYTES { 0 } else { length };
            assert_eq!(texts, [(1, 3), (2, second), (3, 5), (4, 4)], "{length}");
        }
    }

    #[test]
    fn a_line_between_two_huge_ones_is_not_lost() {
        let huge = "x".repeat(LINE_BYTES + (1 << 20));
        let got = rows(format!("{huge}\ntwo\nthree\n{huge}\nfive").as_bytes(), 1);
        let texts: Vec<_> = got.iter().map(|(n, row)| (*n, row.as_deref().unwrap_or("bad"))).collect();
        assert_eq!(texts, [(1, "bad"), (2, "two"), (3, "three"), (4, "bad"), (5, "five")]);
        let got = rows(format!("one\n{huge}\nthree").as_bytes(), 1);
        let texts: Vec<_> = got.iter().map(|(n, row)| (*n, row.as_deref().unwrap_or("bad"))).collect();
        assert_eq!(texts, [(1, "one"), (2, "bad"), (3, "three")]);
    }

    proptest! {
        #[test]
        fn the_rows_of_a_file_are_those_of_the_text(text in "[a,\"\n ]{0,60}") {
            let got = rows_of(RECORDS, text.as_bytes(), 2);
            let got: Vec<_> = got.iter().map(|(n, row)| (*n, row.as_deref().unwrap())).collect();
            prop_assert_eq!(got, RECORDS.of(&text).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_give_the_lines_that_a_plain_split_gives(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assume!(![&[0x1f, 0x8b][..], &[0x28, 0xb5, 0x2f, 0xfd], &[0xff, 0xfe], &[0xfe, 0xff]].iter().any(|m| bytes.starts_with(m)));
            let twin = bytes.split(|b| *b == b'\n').filter(|line| match std::str::from_utf8(line) {
                Ok(text) => !text.trim().trim_start_matches('\u{feff}').trim().is_empty(),
                Err(_) => true,
            }).count();
            prop_assert_eq!(rows(&bytes, 2).len(), twin);
        }
    }
}
