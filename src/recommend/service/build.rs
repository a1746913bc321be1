//! Makes the recommenders of the house from what the stages made.

use crate::config::{RankingSystem, RecommendConfig};
use crate::dataset::{Dataset, Dialogue};
use crate::embed::Embedder;
use crate::error::{Error, Result};
use crate::recommend::{
    Datastore, Fusion, HeadRecommender, Nbcrs, Popularity, Posts, QueryWindow, Recommender, Retrieval,
};
use crate::run::Run;
use crate::titles::Titles;
use crate::tune::Head;
use std::path::Path;
use std::sync::Arc;

/// What recommenders are made from; what one does not need may be missing.
#[derive(Clone, Copy)]
pub struct Ingredients<'a> {
    /// Items, reviews, interactions.
    pub dataset: &'a Dataset,
    /// The catalogue's titles.
    pub titles: &'a Arc<Titles>,
    /// Embeds conversations.
    pub embedder: Option<&'a Arc<dyn Embedder>>,
    /// The tuned ranking head.
    pub head: Option<&'a Head>,
    /// The synthetic dialogues.
    pub dialogues: Option<&'a [Dialogue]>,
    /// How conversations are cut, and how many neighbours are asked.
    pub settings: &'a RecommendConfig,
    /// Of what is drawn by chance.
    pub seed: u64,
}

impl Ingredients<'_> {
    /// The recommender `head`, `nbcrs`, `retrieval`, `fusion` or `popularity`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for `lm`; [`crate::ErrorKind::Invalid`] for what is missing, and parts that do not belong together.
    pub fn build(&self, system: RankingSystem, run: &Run) -> Result<Arc<dyn Recommender>> {
        Ok(match system {
            RankingSystem::Head => Arc::new(self.head(system)?),
            RankingSystem::Popularity => Arc::new(Popularity::from_dataset(self.dataset)?),
            RankingSystem::Nbcrs => Arc::new(self.nbcrs(system, run)?),
            RankingSystem::Retrieval => Arc::new(self.retrieval(run)?),
            RankingSystem::Fusion => {
                let head: Arc<dyn Recommender> = Arc::new(self.head(system)?);
                let nbcrs: Arc<dyn Recommender> = Arc::new(self.nbcrs(system, run)?);
                Arc::new(fusion("fusion", head, nbcrs, Arc::new(self.retrieval(run)?))?)
            }
            RankingSystem::Lm => {
                return Err(Error::unsupported("recommender: recommend.system = lm cannot be made of parts"));
            }
        })
    }

    fn head(&self, system: RankingSystem) -> Result<HeadRecommender> {
        let head = self.head.ok_or_else(|| missing(system, "the model"))?.clone();
        let titles = self.settings.mentions.then(|| self.titles.clone());
        let window = QueryWindow::from_config(self.settings);
        HeadRecommender::new("head", head, &self.dataset.items, self.embedder(system)?, titles, window)
    }

    fn nbcrs(&self, system: RankingSystem, run: &Run) -> Result<Nbcrs> {
        let embedder = self.embedder(system)?;
        let dialogues = self.dialogues.ok_or_else(|| missing(system, "the dialogues"))?;
        let items = &self.dataset.items;
        let mut store = Datastore::from_posts(Posts::from_dialogues(dialogues, items), items.len(), &*embedder, run)?;
        store.choose_k(self.settings.neighbours, self.seed, run)?;
        Nbcrs::new("nbcrs", store, embedder, QueryWindow::from_config(self.settings))
    }

    fn retrieval(&self, run: &Run) -> Result<Retrieval> {
        Retrieval::new(self.dataset, self.titles.clone(), QueryWindow::from_config(self.settings), run)
    }

    fn embedder(&self, system: RankingSystem) -> Result<Arc<dyn Embedder>> {
        self.embedder.cloned().ok_or_else(|| missing(system, "the embeddings"))
    }
}

/// What each counts in a fusion: chosen on ReDial dev (docs/results.md).
const HEAD: f64 = 1.0;
const NBCRS: f64 = 0.2;
const RETRIEVAL: f64 = 3.0;

/// Head, NBCRS and retrieval as one.
///
/// # Errors
/// Those of [`Fusion::new`].
pub fn fusion(
    name: &str,
    head: Arc<dyn Recommender>,
    nbcrs: Arc<dyn Recommender>,
    retrieval: Arc<dyn Recommender>,
) -> Result<Fusion> {
    Fusion::new(name, vec![(head, HEAD), (nbcrs, NBCRS), (retrieval, RETRIEVAL)])
}

fn missing(system: RankingSystem, what: &str) -> Error {
    Error::invalid(format!("recommender: recommend.system = {system} needs {what}"))
}

/// The language model at `model` (a GGUF), with the adapter beside it where there is one, over a catalogue.
///
/// # Errors
/// Those of loading them; [`crate::ErrorKind::Unsupported`] in a build without llama.cpp.
#[cfg(feature = "llama")]
pub fn open_language_model(
    model: &Path,
    adapter: Option<&Path>,
    dataset: &Dataset,
    titles: &Arc<Titles>,
    settings: &RecommendConfig,
    run: &Run,
) -> Result<Arc<dyn Recommender>> {
    use crate::recommend::lm::LmRecommender;
    let adapter = adapter.map(|path| (path, settings.adapter_scale as f32));
    Ok(Arc::new(LmRecommender::open(model, adapter, &dataset.items, titles.clone(), settings, run)?))
}

/// Not without llama.cpp.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`].
#[cfg(not(feature = "llama"))]
pub fn open_language_model(
    _: &Path,
    _: Option<&Path>,
    _: &Dataset,
    _: &Arc<Titles>,
    _: &RecommendConfig,
    _: &Run,
) -> Result<Arc<dyn Recommender>> {
    Err(Error::unsupported("recommender: a language model needs a build with llama.cpp (feature llama)"))
}
