//! What a selection took: apart from its report, which is the same for the same rows and settings.

use super::memory::{Estimate, human};
use crate::run::{self, Run};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What a selection took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Wall time, seconds; of a selection finished from parts the second round alone.
    pub seconds: f64,
    /// Threads.
    pub threads: usize,
    /// Working memory beside the rows, as it was estimated before the selection began, bytes.
    pub estimated_bytes: u64,
    /// The rows where they lie (in memory, or mapped), bytes.
    pub rows_bytes: u64,
    /// What the process held when the selection began, bytes; 0: not known.
    pub before_rss_bytes: u64,
    /// The most that the process held at once, mapped rows among it, bytes: since it began or [`run::reset_peak_memory`] was
    /// last called, as the command does before a selection. 0: not known.
    pub peak_rss_bytes: u64,
}

impl std::fmt::Display for Cost {
    /// One line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(f, "{:.2} s on {} {threads}", self.seconds, self.threads)?;
        if self.peak_rss_bytes > 0 {
            write!(f, ", peak memory {}", human(self.peak_rss_bytes))?;
        }
        let (working, rows) = (human(self.estimated_bytes), human(self.rows_bytes));
        write!(f, " (said beforehand: about {working} beside rows of {rows})")
    }
}

/// A selection under way.
pub struct Meter {
    /// Said beforehand.
    pub estimate: Estimate,
    threads: usize,
    begun: Instant,
    before: u64,
}

impl Meter {
    pub fn begin(estimate: Estimate, run: &Run) -> Meter {
        Meter { estimate, threads: run.threads(), begun: Instant::now(), before: run::memory_bytes() }
    }
    pub fn end(&self) -> Cost {
        Cost {
            seconds: self.begun.elapsed().as_secs_f64(),
            threads: self.threads,
            estimated_bytes: self.estimate.working_bytes,
            rows_bytes: self.estimate.rows_bytes,
            before_rss_bytes: self.before,
            peak_rss_bytes: run::peak_memory_bytes().max(self.before),
        }
    }
}
