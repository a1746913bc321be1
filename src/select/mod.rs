//! Room 3, select: embeddings → seed rows, most informative first (paper §3.2, §4.5, §4.6).
//!
//! [`select`] is the whole room; [`select_with`] adds terms (centres from outside, rows forced in or out, caps, earlier
//! picks) and a report. One idea a file:
//! [`aware`] the blocks of the metadata- and user-aware strategies · [`centers`] clusters given from outside · [`field`] which rows may be picked ·
//! [`greedy`] the loop that every strategy shares · [`kmeans`], [`soft`] centres and p_ij · [`js`], [`fisher`] the
//! strategies · `stage` the whole of it · [`memory`] what it takes · [`checkpoint`] one that is stopped and goes on · [`partition`] one that
//! several machines share · [`twin`] the first two strategies written plainly, the tests' oracle.
//!
//! Rows come as [`Rows`]: a matrix in memory, or a file that is mapped ([`crate::embed::StoredRows`]).

pub mod aware;
pub mod centers;
pub mod checkpoint;
mod cost;
mod equals;
pub mod field;
pub mod fisher;
mod given_centers;
pub mod greedy;
mod inputs;
pub mod js;
pub mod kmeans;
mod keeper;
mod lanes;
pub mod memory;
pub mod partition;
mod picks;
mod report;
pub mod soft;
mod stage;
pub mod twin;

#[cfg(test)]
mod parts_tests;
#[cfg(test)]
mod scale_tests;
#[cfg(test)]
mod tests;

pub use cost::Cost;
pub use field::{Terms, item_and_user_of_reviews};
pub use picks::{Pick, Selection};
pub use report::{Parts, Report, Spread};
pub use stage::{ResultRecord, SelectionResult, extend, select, select_with};
