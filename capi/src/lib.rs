//! The C library: the functions of `causerie::ffi`, exported. `include/causerie.h` is their header.

pub use causerie::ffi::*;
