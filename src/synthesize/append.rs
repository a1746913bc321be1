//! A file that grows by whole lines: what could not be written whole is taken back.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// What [`Appender`] asks of a file beside writing.
pub(super) trait Truncate: Write + Seek {
    /// Cuts it off at `length`.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Truncate for File {
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The end of a file, at which lines are added.
pub(super) struct Appender<F> {
    pub file: F,
    /// Where the last whole line ends.
    end: u64,
    /// Something of a line that failed stands behind `end`.
    torn: bool,
}

impl<F: Truncate> Appender<F> {
    /// Appends at `end`; what follows there is cut off.
    pub(super) fn new(file: F, end: u64) -> io::Result<Appender<F>> {
        let mut appender = Appender { file, end, torn: true };
        appender.take_back()?;
        Ok(appender)
    }

    /// Adds `line`, or leaves the file as it was.
    ///
    /// # Errors
    /// The disk's. Whatever was written of the line is cut off again, now or before the next one.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.take_back()?;
        // Until the whole line is there.
        self.torn = true;
        if let Err(e) = self.file.write_all(line) {
            // The write's error is the one to tell.
            let _ = self.take_back();
            return Err(e);
        }
        self.end += line.len() as u64;
        self.torn = false;
        Ok(())
    }

    fn take_back(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.truncate(self.end)?;
            self.file.seek(SeekFrom::Start(self.end))?;
            self.torn = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A disk with room for so many bytes, and a number of cuts that fail.
    struct Disk {
        bytes: Cursor<Vec<u8>>,
        room: u64,
        bad_cuts: usize,
    }

    impl Write for Disk {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let left = self.room.saturating_sub(self.bytes.position()) as usize;
            match left {
                0 => Err(io::ErrorKind::StorageFull.into()),
                left => self.bytes.write(&data[..data.len().min(left)]),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.bytes.seek(to)
        }
    }
    impl Truncate for Disk {
        fn truncate(&mut self, length: u64) -> io::Result<()> {
            if self.bad_cuts > 0 {
                self.bad_cuts -= 1;
                return Err(io::ErrorKind::Other.into());
            }
            self.bytes.get_mut().truncate(length as usize);
            Ok(())
        }
    }

    #[test]
    fn a_line_that_fails_half_way_is_taken_back_and_the_next_one_stands_whole() {
        for bad_cuts in [0, 1] {
            let disk = Disk { bytes: Cursor::new(b"whole\nrest of a ki".to_vec()), room: 20, bad_cuts: 0 };
            let mut appender = Appender::new(disk, 6).unwrap();
            appender.append(b"second\n").unwrap();
            appender.file.bad_cuts = bad_cuts;
            let e = appender.append(b"a line too long for it\n").unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::StorageFull);
            appender.append(b"third\n").unwrap();
            assert_eq!(appender.file.bytes.get_ref(), b"whole\nsecond\nthird\n", "{bad_cuts}");
        }
    }

    #[test]
    fn while_a_torn_line_cannot_be_cut_off_nothing_is_written_behind_it() {
        let disk = Disk { bytes: Cursor::new(Vec::new()), room: 10, bad_cuts: 0 };
        let mut appender = Appender::new(disk, 0).unwrap();
        appender.append(b"first\n").unwrap();
        appender.file.bad_cuts = 2;
        assert!(appender.append(b"too long\n").is_err());
        assert!(appender.append(b"x\n").is_err());
        appender.append(b"y\n").unwrap();
        assert_eq!(appender.file.bytes.get_ref(), b"first\ny\n");
    }
}
