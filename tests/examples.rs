//! The story of `examples/`, in Rust; the C library's tests run it in the other languages.

use std::path::Path;
use std::process::Command;

#[test]
fn the_loop_runs_from_data_to_evaluation() {
    // Cargo builds examples beside the command before it runs tests.
    let example = Path::new(env!("CARGO_BIN_EXE_causerie")).parent().unwrap().join("examples/loop");
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(example).arg(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("popularity: Recall@10"), "{text}");
}
