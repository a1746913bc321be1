//! FISHER (paper §3.2.2), lazily: Lambda_0 = I, argmax log(1 + x' Lambda x), rank-one updates. Exact, a fraction of the work.
//!
//! Scores s_i = x_i' Lambda x_i only fall, so a score computed earlier is an upper bound. Two kinds of rows:
//! - the **pool**: some hundreds of rows with scores in f64 that are brought up to date when they matter;
//! - all **others**, with an upper bound as of some earlier pick, computed in f32 with its rounding error added on top.
//!
//! While the best of the pool stands above every bound outside, it is the pick. When it does not, a *refresh* brings those
//! others up to date whose bound is still high enough, chunk of update vectors by chunk, and lets the best into the pool.
//! Equal rows are one entry, of which the lowest row that may be picked stands for all.
//!
//! `precise` is Lambda in f64, `chunks` what bounds are made of, `certificate` what can be said of the whole.

mod certificate;
mod chunks;
mod precise;
mod strategy;

pub use certificate::{Certificate, Reason};
pub use strategy::{Fisher, FisherCounts};
