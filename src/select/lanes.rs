//! The widest vector instructions that this CPU has, for plain loops over fixed lanes.

/// Runs `work` compiled for the vector instructions of this CPU (AVX2 and FMA where there are such). Loops that `work`
/// inlines are vectorised; their results do not depend on the width, because every loop fixes its own order of sums.
#[inline(always)]
pub fn widest<T>(work: impl FnOnce() -> T) -> T {
    faer::traits::pulp::Arch::new().dispatch(work)
}
