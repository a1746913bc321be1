//! The widest vector instructions that this CPU has, for plain loops over fixed lanes.

pub use faer::traits::pulp::{Simd, WithSimd};

/// Runs `work` compiled for the vector instructions of this CPU (AVX2 and FMA where there are such).
///
/// `work` is a struct and not a closure because only what is `#[inline(always)]` is compiled anew for those instructions,
/// and a closure cannot be. The loops fix their own order of sums, so results do not depend on the width.
#[inline]
pub fn widest<W: WithSimd>(work: W) -> W::Output {
    faer::traits::pulp::Arch::new().dispatch(work)
}
