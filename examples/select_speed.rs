//! Times one selection on a safetensors matrix, for `docs/performance.md`:
//! `cargo run --release --example select_speed -- x.safetensors select.strategy=fisher select.budget=1000`.

use causerie::math::Matrix;
use causerie::select::{Terms, select_with};
use causerie::{Config, Run};
use std::time::Instant;

fn load(path: &str) -> Result<Matrix, Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    let tensor = tensors.tensor("embeddings")?;
    let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok(Matrix::from_vec(tensor.shape()[0], tensor.shape()[1], values)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path =
        arguments.next().ok_or("usage: select_speed x.safetensors [setting=value ...] [centers=c.safetensors]")?;
    let (mut config, mut centers, mut out) = (Config::default(), None, None);
    for argument in arguments {
        match argument.split_once('=').ok_or("setting=value")? {
            ("centers", path) => centers = Some(load(path)?),
            ("out", path) => out = Some(path.to_string()),
            (key, value) => config.set(key, value)?,
        }
    }
    let x = load(&path)?;
    let run = Run::new(2)?;
    let terms = Terms { centers: centers.as_ref(), ..Terms::default() };
    let begun = Instant::now();
    let selected = select_with(&x, None, &terms, &config.select, &run)?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{seconds:.3} s  {}", serde_json::to_string(&selected.report)?);
    if let Some(out) = out {
        let rows: Vec<String> = selected.selection.rows().iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(out, rows.concat())?;
    }
    Ok(())
}
