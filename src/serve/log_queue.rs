//! Log lines on their way out: through a bounded queue and a thread of its own, so that nobody who answers waits for whoever
//! reads the log. Lines that find the queue full are dropped and counted.

use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that wait at most.
const LINES: usize = 8192;
/// Bytes that wait at most: lines may hold what users say.
const BYTES: usize = 16 << 20;
/// At the end, what waits has this long to be written.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What ends the log: no line, for it has no line break.
const END: &str = "end";

/// A log that never blocks.
pub struct LogQueue {
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
    waiting: Arc<AtomicUsize>,
    ended: Mutex<Receiver<()>>,
}

impl LogQueue {
    /// Lines go to `out`, one at a time, from a thread of their own.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] when the system gives no thread.
    pub fn new(out: impl Write + Send + 'static) -> crate::Result<LogQueue> {
        let (lines, queue) = sync_channel::<String>(LINES);
        let (end, ended) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let waiting = Arc::new(AtomicUsize::new(0));
        let (lost, written) = (dropped.clone(), waiting.clone());
        let write = move || {
            write_all(out, &queue, &lost, &written);
            let _ = end.send(());
        };
        std::thread::Builder::new().name("causerie-log".into()).spawn(write).map_err(|e| {
            crate::Error::new(crate::ErrorKind::Io, format!("serve: cannot start a thread for the log: {e}"))
        })?;
        Ok(LogQueue { lines, dropped, waiting, ended: Mutex::new(ended) })
    }
    /// Adds a line, or drops it where too many wait.
    pub fn push(&self, line: &str) {
        let bytes = line.len() + 1;
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= BYTES {
            match self.lines.try_send(format!("{line}\n")) {
                Ok(()) => return,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
    /// Waits until what was pushed is written, unless that takes too long.
    pub fn close(&self) {
        let until = Instant::now() + LAST_LINES;
        while let Err(TrySendError::Full(_)) = self.lines.try_send(END.to_string()) {
            if Instant::now() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write_all(mut out: impl Write, queue: &Receiver<String>, dropped: &AtomicU64, waiting: &AtomicUsize) {
    while let Ok(line) = queue.recv() {
        if line == END {
            break;
        }
        // Where nobody reads the log any more, serving goes on.
        let _ = out.write_all(line.as_bytes());
        waiting.fetch_sub(line.len(), Ordering::Relaxed);
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let fields = serde_json::json!({"event": "log_lines_dropped", "lines": lost});
            let _ = writeln!(out, "{}", super::log_line::line(crate::run::Level::Warn, fields));
        }
    }
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks until it may write.
    struct Stalled(Arc<Mutex<Vec<u8>>>);
    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// With a pipe that nobody read, every request waited for its line of the log, and no signal was obeyed.
    #[test]
    fn a_log_that_nobody_reads_blocks_nobody_and_what_was_lost_is_counted() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let log = LogQueue::new(Stalled(written.clone())).unwrap();
        let held = written.lock().unwrap();
        for n in 0..LINES + 100 {
            log.push(&format!("line {n}"));
        }
        assert!(log.dropped.load(Ordering::Relaxed) >= 98);
        drop(held);
        log.close();
        // A busy machine may need longer than the end of a server waits.
        let text = || String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while !text().contains("\"log_lines_dropped\"") {
            assert!(Instant::now() < until, "{} bytes", text().len());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(text().starts_with("line 0\n"));
    }
}
