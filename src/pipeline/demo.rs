//! The demonstration: the whole loop on the simulated domain, with nothing but this machine.

use crate::artifact;
use crate::config::{Compression, Config, Quantisation, Strategy, TuneMethod};
use crate::dataset::{SimulatedFiles, simulate_to};
use crate::error::{Error, ErrorKind, Result};
use crate::run::Run;
use std::path::Path;

/// The settings of the demonstration: two rounds of three strategies, the built-in embedder, the offline teacher; and a
/// language model made of nothing but the reviews and the dialogues of one strategy, where the build has llama.cpp.
pub fn demo_defaults() -> Config {
    let mut config = Config::default();
    config.pipeline.title = "Simulated domain".to_string();
    config.pipeline.strategies = vec![Strategy::Random, Strategy::Js, Strategy::Fisher];
    config.pipeline.rounds = 2;
    config.pipeline.budget = 250;
    config.pipeline.naive = true;
    if cfg!(feature = "llama") {
        config.tune.method = TuneMethod::Full;
        config.pipeline.students = vec![Strategy::Fisher];
        config.tune.new_parameters = 800_000;
        config.tune.pretrain_max_tokens = 96;
        config.tune.epochs = 2;
        config.tune.learning_rate = 0.002;
        config.tune.micro_batch_tokens = 4096;
        config.tune.export = Quantisation::F32;
    }
    config
}

/// The folder of the simulated domain in the demonstration's directory.
pub(super) const DATA: &str = "data";
/// The file in it that says what it was made with.
pub(super) const STAMP: &str = "made-with.json";

/// `base` pointed at the simulated domain in `dir/data`, which is made unless it is there.
///
/// # Errors
/// Those of the simulator and of the disk.
pub fn demo_config(dir: &Path, base: &Config, run: &Run) -> Result<Config> {
    let data = dir.join(DATA);
    let stamp = data.join(STAMP);
    let made_with = serde_json::json!({
        "format": artifact::FORMAT, "made_by": artifact::made_by(),
        "settings": (base.simulate.items, base.simulate.users, base.simulate.reviews, base.simulate.conversations, base.simulate.seed),
        "compress": base.simulate.compress,
    })
    .to_string();
    let there = match artifact::read_text(&stamp) {
        Ok(text) => text == made_with,
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(e) => return Err(e),
    };
    let files = if there {
        let extension = match base.simulate.compress {
            Compression::Gz => ".gz",
            Compression::Zst => ".zst",
            Compression::None => "",
        };
        SimulatedFiles {
            items: data.join("items.jsonl"),
            reviews: data.join(format!("reviews.jsonl{extension}")),
            interactions: data.join("interactions.csv"),
            conversations: data.join("conversations.jsonl"),
        }
    } else {
        let files = simulate_to(&data, &base.simulate, run)?;
        artifact::write_atomic(&stamp, |out| out.write_all(made_with.as_bytes()).map_err(|e| Error::io(&stamp, e)))?;
        files
    };
    let text = |path: &Path| path.display().to_string();
    let mut config = base.clone();
    config.dataset.items = text(&files.items);
    config.dataset.reviews = text(&files.reviews);
    config.dataset.interactions = text(&files.interactions);
    config.evaluate.conversations = vec![text(&files.conversations)];
    // Where other strategies are asked for, the first of them has the language model.
    let pipeline = &mut config.pipeline;
    if pipeline.students == demo_defaults().pipeline.students
        && !pipeline.students.iter().all(|s| pipeline.strategies.contains(s))
    {
        pipeline.students = pipeline.strategies.first().copied().into_iter().collect();
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demonstration_of_other_strategies_tunes_the_first_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut base = demo_defaults();
        (base.simulate.items, base.simulate.users, base.simulate.reviews) = (20, 30, 50);
        base.simulate.conversations = 5;
        base.pipeline.students = vec![Strategy::Fisher];
        base.pipeline.strategies = vec![Strategy::Js, Strategy::Random];
        let config = demo_config(folder.path(), &base, &Run::new(1).unwrap()).unwrap();
        let wanted = if demo_defaults().pipeline.students.is_empty() { Strategy::Fisher } else { Strategy::Js };
        assert_eq!(config.pipeline.students, [wanted]);
    }
}
