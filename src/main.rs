//! The command `causerie`, over the same public API that a Rust program uses. It prints; the library never does.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    match cli::dispatch(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("causerie: {}", cli::for_a_terminal(e.message()));
            match e.kind() {
                causerie::ErrorKind::Cancelled => ExitCode::from(130),
                causerie::ErrorKind::Invalid => ExitCode::from(2),
                _ => ExitCode::from(1),
            }
        }
    }
}
