//! The recommenders that a finished work directory holds: for the evaluation all of them, for serving one.

use super::stages::{Artifacts, Round};
use super::student::Student;
use crate::config::{Config, Mode, Objective, RankingSystem};
use crate::dataset::Dialogue;
use crate::embed::{Embedder, Remembering};
use crate::error::{Error, Result};
use crate::recommend::service::{Ingredients, fusion, open_language_model};
use crate::recommend::{Datastore, HeadRecommender, Nbcrs, Popularity, Posts, Recommender, Retrieval};
use crate::run::Run;
use crate::tune::Head;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A recommender and its label in the report.
pub(super) struct System {
    pub label: String,
    pub recommender: Arc<dyn Recommender>,
}

/// The label of the language model that has seen no dialogue.
const UNTUNED: &str = "language model, untuned";

fn system(label: impl Into<String>, recommender: impl Recommender + 'static) -> System {
    System { label: label.into(), recommender: Arc::new(recommender) }
}

/// Makes recommenders of what the stages made.
pub(super) struct Builder<'a> {
    made: &'a Artifacts,
    config: &'a Config,
    /// Embeds each conversation once, whoever asks.
    embedder: Arc<dyn Embedder>,
    retrieval: OnceLock<Arc<dyn Recommender>>,
}

impl<'a> Builder<'a> {
    pub fn new(made: &'a Artifacts, config: &'a Config) -> Builder<'a> {
        Builder::with_embedder(made, config, Arc::new(Remembering::new(made.embedder.clone())))
    }
    /// The same over an embedder of the caller's, which embeds as `made.embedder` does.
    pub fn with_embedder(made: &'a Artifacts, config: &'a Config, embedder: Arc<dyn Embedder>) -> Builder<'a> {
        Builder { made, config, embedder, retrieval: OnceLock::new() }
    }

    /// NBCRS over a datastore, its k chosen on held-out posts unless the settings give it.
    fn nbcrs(&self, label: &str, mut store: Datastore, run: &Run) -> Result<System> {
        store.choose_k(self.config.recommend.neighbours, self.config.tune.seed, run)?;
        let label = format!("{label}, k = {}", store.neighbours());
        Ok(system(label.clone(), Nbcrs::new(label, store, self.embedder.clone(), self.made.context)?))
    }

    /// NBCRS over synthetic dialogues.
    fn nbcrs_of(&self, label: &str, dialogues: &[Dialogue], run: &Run) -> Result<System> {
        let items = &self.made.dataset.items;
        let posts = Posts::from_dialogues(dialogues, items);
        self.nbcrs(label, Datastore::from_posts(posts, items.len(), &*self.embedder, run)?, run)
    }

    /// The retrieval, made once.
    fn retrieval(&self, run: &Run) -> Result<Arc<dyn Recommender>> {
        if let Some(made) = self.retrieval.get() {
            return Ok(made.clone());
        }
        let made = Retrieval::new(&self.made.dataset, self.made.mentions.clone(), self.made.context, run)?;
        Ok(self.retrieval.get_or_init(|| Arc::new(made)).clone())
    }

    /// The ranking head.
    fn head(&self, label: &str, head: Head) -> Result<System> {
        let mentions = self.config.recommend.mentions.then(|| self.made.mentions.clone());
        let items = &self.made.dataset.items;
        let head = HeadRecommender::new(label, head, items, self.embedder.clone(), mentions, self.made.context)?;
        Ok(system(label, head))
    }

    /// What needs no selection: popularity, NBCRS over every review, the untrained head, in-domain NBCRS.
    pub fn baselines(&self, run: &Run) -> Result<Vec<System>> {
        let made = self.made;
        let mut systems = vec![
            system("popularity (seed data)", Popularity::from_dataset(&made.dataset)?),
            System { label: "retrieval".to_string(), recommender: self.retrieval(run)? },
            self.nbcrs(
                "NBCRS (all reviews)",
                Datastore::from_reviews(&made.dataset, &made.reviews, &self.embedder.name())?,
                run,
            )?,
            self.head("head, untrained", Head::untrained(made.items.clone())?)?,
        ];
        if let Some(base) = &made.base_model {
            let (dataset, mentions) = (&made.dataset, &made.mentions);
            let recommender = base.open(Mode::Constrained, dataset, mentions, self.config, run)?;
            systems.push(System { label: UNTUNED.to_string(), recommender });
        }
        if let Some((dialogues, head)) = &made.naive {
            systems.push(self.nbcrs_of("NBCRS (naive pairs)", dialogues, run)?);
            systems.push(self.head("head (naive pairs)", head.clone())?);
        }
        if !self.config.evaluate.posts.is_empty() {
            let mut posts = Posts::default();
            for path in &self.config.evaluate.posts {
                let most = self.config.dataset.max_bad_lines;
                posts.extend(Posts::read(Path::new(path), &made.mentions, made.context, most)?);
            }
            let store = Datastore::from_posts(posts, made.dataset.items.len(), &*self.embedder, run)?;
            systems.push(self.nbcrs("NBCRS (in-domain)", store, run)?);
        }
        Ok(systems)
    }

    /// What one round of one strategy gives: popularity and NBCRS over its dialogues, NBCRS over its seeds, its head,
    /// the fusion of head and NBCRS, its language model.
    pub fn of_round(&self, round: &Round, run: &Run) -> Result<Vec<System>> {
        let made = self.made;
        let strategy = round.strategy;
        let popularity = Popularity::from_dialogues(&round.dialogues, &made.dataset.items)?;
        let seeds: Vec<usize> = round.seeds.iter().map(|r| *r as usize).collect();
        let mentions = seeds.iter().map(|r| vec![made.dataset.review_item(*r) as u32]).collect();
        let groups = seeds.iter().map(|r| made.dataset.review_item(*r) as u32).collect();
        let rows = made.reviews.gather(&seeds);
        let store = Datastore::new(&rows, mentions, groups, made.dataset.items.len(), &self.embedder.name())?;
        let seed_reviews = self.nbcrs(&format!("NBCRS (seed reviews, {strategy})"), store, run)?;
        let (head, synthetic, fusion) = self.fusion(&format!("fusion ({strategy})"), round, run)?;
        let popularity = system(format!("popularity (synthetic, {strategy})"), popularity);
        let mut systems = vec![popularity, seed_reviews, synthetic, head, fusion];
        if let Some(student) = &round.student {
            let (method, objective) = (self.config.tune.method, self.config.tune.objective);
            let modes = [
                (Mode::Constrained, format!("language model ({method}, {strategy})"), objective != Objective::Items),
                (
                    Mode::Generate,
                    format!("language model, its list ({method}, {strategy})"),
                    objective != Objective::Items,
                ),
                (Mode::Head, format!("language model, its head ({method}, {strategy})"), objective != Objective::Text),
            ];
            let asked = &self.config.evaluate.modes;
            for (mode, label, _) in modes.into_iter().filter(|(mode, _, trained)| *trained && asked.contains(mode)) {
                let recommender = student.open(mode, &made.dataset, &made.mentions, self.config, run)?;
                systems.push(System { label, recommender });
            }
        }
        Ok(systems)
    }

    /// One recommender of a round, for serving.
    pub fn one(&self, system: RankingSystem, round: &Round, run: &Run) -> Result<Arc<dyn Recommender>> {
        let made = self.made;
        if system == RankingSystem::Lm {
            let (student, mode) = self.student(round)?;
            return student.open(mode, &made.dataset, &made.mentions, self.config, run);
        }
        let from = Ingredients {
            dataset: &made.dataset,
            titles: &made.mentions,
            embedder: Some(&self.embedder),
            head: Some(&round.head),
            dialogues: Some(&round.dialogues),
            settings: &self.config.recommend,
            seed: self.config.tune.seed,
        };
        from.build(system, run)
    }

    /// The language model of a round, and the mode that suits what it was tuned for.
    fn student<'r>(&'r self, round: &'r Round) -> Result<(&'r Student, Mode)> {
        let student = round.student.as_ref().ok_or_else(|| {
            Error::invalid(
                "recommend.system = lm: this run tuned no language model; run it with tune.method = lora or full",
            )
        })?;
        let mode = match self.config.tune.objective {
            Objective::Items => Mode::Head,
            Objective::Text | Objective::Both => self.config.recommend.mode,
        };
        Ok((student, mode))
    }

    /// The language model of `recommend.model` and `recommend.adapter`, which no stage made.
    pub fn model(&self, model: &Path, run: &Run) -> Result<Arc<dyn Recommender>> {
        let settings = &self.config.recommend;
        let adapter = Some(Path::new(&settings.adapter)).filter(|path| !path.as_os_str().is_empty());
        open_language_model(model, adapter, &self.made.dataset, &self.made.mentions, settings, run)
    }

    /// Head, NBCRS over the dialogues, and both with the retrieval as one.
    fn fusion(&self, label: &str, round: &Round, run: &Run) -> Result<(System, System, System)> {
        let strategy = round.strategy;
        let synthetic = self.nbcrs_of(&format!("NBCRS (synthetic, {strategy})"), &round.dialogues, run)?;
        let head = self.head(&format!("head ({strategy})"), round.head.clone())?;
        let (first, second) = (head.recommender.clone(), synthetic.recommender.clone());
        let all = system(label, fusion(label, first, second, self.retrieval(run)?)?);
        Ok((head, synthetic, all))
    }
}
