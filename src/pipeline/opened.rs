//! A finished work directory, opened to recommend from.

use super::stages::{self, Artifacts};
use super::systems::Builder;
use crate::artifact;
use crate::config::{Choice, Config, RankingSystem, RecommendConfig, Strategy, listed};
use crate::embed::{Embedder, Remembering};
use crate::error::{Error, ErrorKind, Result};
use crate::recommend::{Parts, Service};
use crate::run::Run;
use std::path::Path;
use std::sync::Arc;

/// Conversations whose embeddings are kept at hand.
const REMEMBERED: usize = 1024;

fn unfinished(dir: &Path, e: Error) -> Error {
    match e.kind() {
        ErrorKind::NotFound => Error::not_found(format!(
            "{}: no finished run here ({}); `causerie run --config … --work {}` makes or resumes one",
            dir.display(),
            e.message(),
            dir.display()
        )),
        _ => e,
    }
}

/// The settings that the work directory `dir` was made with.
///
/// # Errors
/// [`ErrorKind::NotFound`] when no run was begun there; [`ErrorKind::Invalid`] for settings that are none.
pub fn settings_of(dir: &Path) -> Result<Config> {
    let mut config = Config::default();
    let settings = dir.join("settings.toml");
    config
        .read_toml(&artifact::read_text(&settings).map_err(|e| unfinished(dir, e))?)
        .map_err(|e| e.context(settings.display()))?;
    Ok(config)
}

/// Opens `dir` for the recommender `system` of `strategy` (none: the first one of the run), tuned on all its rounds, under the settings that the directory was made with.
///
/// # Errors
/// [`ErrorKind::NotFound`] when the run did not get so far; [`ErrorKind::Invalid`] for a strategy that was not run.
pub fn open(dir: &Path, system: RankingSystem, strategy: Option<Strategy>, run: &Run) -> Result<Service> {
    let ranking = RecommendConfig { model: String::new(), ..settings_of(dir)?.recommend };
    open_with(dir, &ranking, system, strategy, run)
}

/// [`open`] with other settings of `recommend`, such as [`settings_of`] the directory with the caller's on top. A language
/// model that they name (`recommend.model`) ranks in the place of the directory's own recommenders.
///
/// # Errors
/// Those of [`open`].
pub fn open_with(
    dir: &Path,
    ranking: &RecommendConfig,
    system: RankingSystem,
    strategy: Option<Strategy>,
    run: &Run,
) -> Result<Service> {
    let mut config = settings_of(dir)?;
    config.recommend = ranking.clone();
    let strategies = &config.pipeline.strategies;
    let strategy = match strategy.or(strategies.first().copied()) {
        Some(named) if strategies.contains(&named) => named,
        named => {
            return Err(Error::invalid(format!(
                "{}: was not run with strategy {}; it has {}",
                dir.display(),
                named.map_or("", Choice::name),
                listed(strategies)
            )));
        }
    };
    config.pipeline.strategies = vec![strategy];
    let made = stages::load_finished(dir, &config, run).map_err(|e| unfinished(dir, e))?;
    // The recommender and the evidence embed the same conversation; what serves for months remembers only the latest.
    let embedder: Arc<dyn Embedder> = Arc::new(Remembering::at_most(made.embedder.clone(), REMEMBERED));
    let builder = Builder::with_embedder(&made, &config, embedder.clone());
    let last =
        made.rounds.last().ok_or_else(|| Error::not_found(format!("{}: no round is finished", dir.display())))?;
    let (system, recommender) = match ranking.model.as_str() {
        "" => (system.to_string(), builder.one(system, last, run)?),
        model => (format!("lm-{}", ranking.mode), builder.model(Path::new(model), run)?),
    };
    let Artifacts { dataset, mentions, reviews, .. } = made;
    Service::new(Parts {
        system,
        dataset: Arc::new(dataset),
        titles: mentions,
        recommender,
        evidence: Some((Arc::new(reviews), embedder)),
        settings: config.recommend,
    })
}
