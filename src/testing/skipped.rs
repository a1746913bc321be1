//! A test that cannot run here says so.

use std::io::Write;

/// Says that the running test, or a part of it, is passed over for want of something that it needs. In CI it fails.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    left_out(why);
}

/// The same of what CI may lack as well: said on the terminal, and in the list that `make test` shows at its end.
pub fn left_out(why: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or("a test"));
    // Not by eprintln!, whose text the harness keeps to itself when a test passes.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os("CAUSERIE_SKIPPED") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
