//! Speed and peak memory of reading and writing data, one measurement a process:
//!
//! ```text
//! cargo bench --bench files -- simulate
//! cargo bench --bench files -- import ITEMS REVIEWS
//! ```

use causerie::Run;
use causerie::config::{DatasetConfig, SimulateConfig};
use causerie::dataset::{import, simulate_to};
use causerie::os::peak_memory_bytes;
use std::time::Instant;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let (run, start) = (Run::new(0).unwrap(), Instant::now());
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["simulate"] => {
            let folder = tempfile::tempdir().unwrap();
            let config = SimulateConfig {
                items: 10_000,
                users: 100_000,
                reviews: 1_000_000,
                conversations: 1000,
                ..SimulateConfig::default()
            };
            let files = simulate_to(folder.path(), &config, &run).unwrap();
            let bytes = std::fs::metadata(&files.reviews).unwrap().len();
            println!(
                "1,000,000 reviews, {} MB, in {:.1} s; peak {} MB",
                bytes / 1_000_000,
                start.elapsed().as_secs_f64(),
                peak_memory_bytes() / 1_000_000
            );
        }
        ["import", items, reviews] => {
            let config = DatasetConfig { items: items.into(), reviews: reviews.into(), ..DatasetConfig::default() };
            let (dataset, _) = import(&config, &run).unwrap();
            let (seconds, peak) = (start.elapsed().as_secs_f64(), peak_memory_bytes() as f64);
            let text = dataset.summary().text_bytes as f64;
            println!(
                "{:.0} reviews/s, peak {:.1} MB, text {:.1} MB, ratio {:.2}",
                dataset.reviews() as f64 / seconds,
                peak / 1e6,
                text / 1e6,
                peak / text
            );
        }
        _ => println!("cargo bench --bench files -- simulate | import ITEMS REVIEWS"),
    }
}
