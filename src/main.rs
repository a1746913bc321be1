//! The command `causerie`.
fn main() {}
