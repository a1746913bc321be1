//! Leaf: the arithmetic that several rooms share. Every sum has a fixed order, whatever the number of threads.

mod distribution;
pub mod gemm;
pub mod packed;
mod matrix;
mod random;
mod rows;
mod svd;

pub use distribution::{entropy, jensen_shannon, softmax};
pub use matrix::{Matrix, dot, norm, product, product_nt};
pub use random::Random;
pub use rows::{Rows, gather, squares};
pub use svd::{Sparse, Svd, gram, truncated_svd};
