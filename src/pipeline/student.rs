//! The language model in the loop: its base (made of the reviews where none is given), its tuning on a round's dialogues,
//! reviews embedded by it for the next round (paper §3.2, §3.4).

use super::work_directory::{WorkDirectory, round_file};
use crate::config::{Config, Mode, RecommendConfig, Strategy, TuneMethod};
use crate::dataset::Dataset;
use crate::dataset::Dialogue;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::recommend::Recommender;
use crate::recommend::service::open_language_model;
use crate::run::Run;
use crate::titles::Titles;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A language model that recommends: a GGUF, and the adapter beside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Student {
    pub model: PathBuf,
    pub adapter: Option<PathBuf>,
}

/// Where the base stands: given by `tune.model`, or made in the work directory.
fn base_path(dir: &Path, config: &Config) -> PathBuf {
    match config.tune.model.as_str() {
        "" => dir.join("base/model.gguf"),
        given => PathBuf::from(given),
    }
}

/// Whether a language model is tuned at all.
pub(super) fn wanted(config: &Config) -> bool {
    config.tune.method != TuneMethod::Head
}

/// Whether one is tuned in round `number` of `strategy`.
pub(super) fn wanted_in(config: &Config, strategy: Strategy, number: usize) -> bool {
    let pipeline = &config.pipeline;
    wanted(config)
        && (pipeline.students.is_empty() || pipeline.students.contains(&strategy))
        && (pipeline.reembed || number == pipeline.rounds)
}

/// The model before any tuning on dialogues.
pub(super) fn base(dir: &Path, config: &Config) -> Student {
    Student { model: base_path(dir, config), adapter: None }
}

/// The model tuned in round `number` of `strategy`.
pub(super) fn of_round(dir: &Path, config: &Config, strategy: Strategy, number: usize) -> Student {
    let folder = dir.join(round_file(strategy, number, "student"));
    if config.tune.method == TuneMethod::Lora {
        Student { model: base_path(dir, config), adapter: Some(folder.join("adapter.gguf")) }
    } else {
        Student { model: folder.join("model.gguf"), adapter: None }
    }
}

#[cfg(feature = "llama")]
mod with_llama {
    use super::*;
    use crate::config::{Objective, StopOn, TuneConfig};
    use crate::embed::{self, LmEmbedder};
    use crate::tune::lm::{Catalogue, new_model, pretrain, tune_lm};
    use serde_json::json;

    /// Makes the base out of the reviews and the items' own texts, unless `tune.model` names one.
    pub fn make_base(work: &mut WorkDirectory, config: &Config, dataset: &Dataset, run: &Run) -> Result<()> {
        if !config.tune.model.is_empty() {
            return Ok(());
        }
        let (folder, fresh) = (work.path("base"), work.path("base/new.gguf"));
        let artifacts = ["base/new.gguf", "base/model.gguf"].map(String::from);
        work.stage("tune base model", "tune", &artifacts, run, |_| {
            let reviews = (0..dataset.reviews()).map(|r| embed::review_text(dataset, r));
            let items = (0..dataset.items.len()).map(|i| dataset.items.text(i));
            let of_items = items.filter(|t| !t.trim().is_empty()).collect::<Vec<String>>();
            let reviews = reviews.filter(|t| !t.trim().is_empty()).collect::<Vec<String>>();
            let texts: Vec<&str> = of_items.iter().chain(&reviews).map(String::as_str).collect();
            std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
            let tune = &config.tune;
            let shape = new_model(tune.new_parameters, &texts, tune.seed, &fresh, run)?;
            let settings = TuneConfig {
                epochs: tune.pretrain_epochs,
                learning_rate: tune.pretrain_learning_rate,
                max_tokens: tune.pretrain_max_tokens,
                objective: Objective::Text,
                recall_candidates: 0,
                stop_on: StopOn::Loss,
                ..tune.clone()
            };
            let read = match tune.pretrain_reviews {
                0 => reviews.len(),
                most => most.min(reviews.len()),
            };
            // Spread evenly: a file is often sorted by item or by time.
            let spread = (0..read).map(|i| reviews[i * reviews.len() / read].as_str());
            let texts: Vec<&str> = of_items.iter().map(String::as_str).chain(spread).collect();
            let report = pretrain(&fresh, &texts, &settings, &folder, run)?;
            let note = format!(
                "{:.1} million parameters from {} texts; held-out loss {:.3}, before {:.3}",
                shape.parameters() as f64 / 1e6,
                texts.len(),
                report.exported.trainer_loss,
                report.exported.base_loss
            );
            Ok((note, json!({ "report": report })))
        })?;
        Ok(())
    }

    /// Tunes the base on `dialogues`.
    #[allow(clippy::too_many_arguments)]
    pub fn tune(
        work: &mut WorkDirectory,
        config: &Config,
        dataset: &Dataset,
        mentions: &Titles,
        strategy: Strategy,
        number: usize,
        dialogues: &[Dialogue],
        run: &Run,
    ) -> Result<Student> {
        let folder = round_file(strategy, number, "student");
        let file = if config.tune.method == TuneMethod::Lora { "adapter.gguf" } else { "model.gguf" };
        let artifacts = [format!("{folder}/{file}"), format!("{folder}/tune.json")];
        let (base, folder) = (base_path(&work.path("."), config), work.path(&folder));
        work.stage(&format!("tune model {strategy} {number}"), "tune", &artifacts, run, |_| {
            std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
            let catalogue = Catalogue::of(dataset);
            let find = |text: &str| mentions.rows(text);
            let report = tune_lm(&base, dialogues, Some((&catalogue, &find)), &config.tune, &folder, run)?;
            let mut note = format!(
                "{}: {} dialogues, {} steps, {:.0} tokens/s; held-out loss {:.3}, before {:.3}",
                report.method,
                report.dialogues.0,
                report.steps.0,
                report.tokens_per_second,
                report.exported.trainer_loss,
                report.exported.base_loss
            );
            if report.left_out.dialogues() > 0 {
                note.push_str(&format!("; left out: {}", report.left_out));
            }
            Ok((note, json!({ "report": report })))
        })?;
        Ok(of_round(&work.path("."), config, strategy, number))
    }

    /// The reviews as the model of the round before sees them, `[reviews, dim]`.
    pub fn embed_again(
        work: &mut WorkDirectory,
        config: &Config,
        dataset: &Dataset,
        strategy: Strategy,
        number: usize,
        run: &Run,
    ) -> Result<Matrix> {
        let student = of_round(&work.path("."), config, strategy, number - 1);
        let file = round_file(strategy, number, "embeddings.safetensors");
        let path = work.path(&file);
        work.stage(&format!("embed {strategy} {number}"), "tune", &[file], run, |_| {
            let embedder = LmEmbedder::open_adapted(&student.model, student.adapter.as_deref(), &config.embed, run)?;
            let done = embed::embed_reviews(dataset, &embedder, &path, run)?;
            Ok((format!("{} reviews, {} dimensions, by the student", done.rows, done.dim), json!({})))
        })?;
        embed::read_embeddings(&path, dataset.reviews(), run)
    }
}

#[cfg(not(feature = "llama"))]
mod with_llama {
    use super::*;

    fn missing<T>() -> Result<T> {
        Err(Error::unsupported("a language model needs a build with the feature llama; tune.method = head does not"))
    }
    pub fn make_base(_: &mut WorkDirectory, _: &Config, _: &Dataset, _: &Run) -> Result<()> {
        missing()
    }
    #[allow(clippy::too_many_arguments)]
    pub fn tune(
        _: &mut WorkDirectory,
        _: &Config,
        _: &Dataset,
        _: &Titles,
        _: Strategy,
        _: usize,
        _: &[Dialogue],
        _: &Run,
    ) -> Result<Student> {
        missing()
    }
    pub fn embed_again(
        _: &mut WorkDirectory,
        _: &Config,
        _: &Dataset,
        _: Strategy,
        _: usize,
        _: &Run,
    ) -> Result<Matrix> {
        missing()
    }
}

impl Student {
    /// As a recommender over the catalogue that ranks by `mode` (as `recommend.mode`).
    pub fn open(
        &self,
        mode: Mode,
        dataset: &Dataset,
        titles: &Arc<Titles>,
        config: &Config,
        run: &Run,
    ) -> Result<Arc<dyn Recommender>> {
        let contexts = config.recommend.contexts.max(run.threads());
        let settings = RecommendConfig { contexts, mode, ..config.recommend.clone() };
        open_language_model(&self.model, self.adapter.as_deref(), dataset, titles, &settings, run)
    }
}

pub(super) use with_llama::{embed_again, make_base, tune};
