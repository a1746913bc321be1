//! Load to tune: each stage takes the artifacts before it and leaves its own.

use super::student::{self, Student};
use super::work_directory::{WorkDirectory, round_file};
use crate::artifact;
use crate::config::{Config, EmbedMethod, Features, SelectConfig, Strategy};
use crate::dataset::{self, Dataset, Summary};
use crate::dataset::{Dialogue, DialogueLines};
use crate::embed::{self, Collaborative, Embedder, TextEmbedder};
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::recommend::QueryWindow;
use crate::run::Run;
use crate::select::{self, Selection, Terms};
use crate::synthesize;
use crate::titles::Titles;
use crate::tune::{self, Head, ItemVectors};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// What the stages made, loaded.
pub(super) struct Artifacts {
    pub dataset: Dataset,
    pub summary: Summary,
    pub embedder: Arc<dyn Embedder>,
    /// `[reviews, dim]`.
    pub reviews: Matrix,
    /// Given rows to select on, where `embed.method` is `file`.
    pub given: Option<Matrix>,
    pub items: ItemVectors,
    pub collaborative: Option<Collaborative>,
    pub mentions: Arc<Titles>,
    pub context: QueryWindow,
    /// The language model before its tuning, where one is tuned.
    pub base_model: Option<Student>,
    /// One per strategy and round, in that order.
    pub rounds: Vec<Round>,
    /// The baseline of plainly generated pairs, when asked for.
    pub naive: Option<(Vec<Dialogue>, Head)>,
}

/// What one round of one strategy made.
pub(super) struct Round {
    pub strategy: Strategy,
    /// From 1.
    pub number: usize,
    /// Seeds of this and all earlier rounds.
    pub budget: usize,
    /// Rows of those seeds.
    pub seeds: Vec<u64>,
    /// Dialogues of this and all earlier rounds.
    pub dialogues: Vec<Dialogue>,
    pub head: Head,
    /// The language model tuned on them, where `tune.method` asks for one.
    pub student: Option<Student>,
}

/// Runs what is not finished.
pub(super) fn run_stages(work: &mut WorkDirectory, config: &Config, run: &Run) -> Result<Artifacts> {
    let (dataset, summary) = load(work, config, run)?;
    let Embeddings { embedder, reviews, given, items, collaborative } = embed_all(work, config, &dataset, run)?;
    let context = QueryWindow::from_config(&config.recommend);
    let mentions = Arc::new(Titles::of(&dataset));
    let base_model = student::wanted(config).then(|| student::base(&work.path("."), config));
    if base_model.is_some() {
        student::make_base(work, config, &dataset, run)?;
    }
    let mut made = Artifacts {
        dataset,
        summary,
        embedder,
        reviews,
        given,
        items,
        collaborative,
        mentions,
        context,
        base_model,
        rounds: Vec::new(),
        naive: None,
    };
    for &strategy in &config.pipeline.strategies {
        let features = features(work, config, &made, strategy, run)?;
        let mut earlier: Option<Round> = None;
        for number in 1..=config.pipeline.rounds {
            let round = round(work, config, &made, strategy, number, features.as_ref(), earlier.as_ref(), run)?;
            if let Some(done) = earlier.replace(round) {
                made.rounds.push(done);
            }
        }
        made.rounds.extend(earlier);
    }
    if config.pipeline.naive {
        made.naive = Some(plain_pairs(work, config, &made, run)?);
    }
    Ok(made)
}

fn load(work: &mut WorkDirectory, config: &Config, run: &Run) -> Result<(Dataset, Summary)> {
    let mut fresh = None;
    let folder = work.path("dataset");
    work.stage("import", "dataset", &["dataset".to_string()], run, |_| {
        let (dataset, report) = dataset::import(&config.dataset, run)?;
        dataset.save(&folder)?;
        let note = report.to_string();
        let summary = dataset.summary();
        fresh = Some(dataset);
        Ok((note, json!({ "summary": summary })))
    })?;
    let dataset = match fresh {
        Some(dataset) => dataset,
        None => Dataset::load(&folder)?,
    };
    let summary = dataset.summary();
    Ok((dataset, summary))
}

/// What the embedding stages made.
struct Embeddings {
    embedder: Arc<dyn Embedder>,
    /// `[reviews, dim]` of that embedder.
    reviews: Matrix,
    /// Given rows to select on, where `embed.method` is `file`.
    given: Option<Matrix>,
    items: ItemVectors,
    collaborative: Option<Collaborative>,
}

fn embed_all(work: &mut WorkDirectory, config: &Config, dataset: &Dataset, run: &Run) -> Result<Embeddings> {
    let given = match config.embed.method {
        EmbedMethod::File => Some(embed::read_embeddings(Path::new(&config.embed.file), dataset.reviews(), run)?),
        EmbedMethod::Text | EmbedMethod::Lm => None,
    };
    let embedder = open_embedder(work, config, dataset, run)?;
    let rows = work.path("embeddings.safetensors");
    work.stage("embed", "embed", &["embeddings.safetensors".to_string()], run, |_| {
        let store = embed::Store::of(&config.embed);
        let done = embed::embed_reviews_as(dataset, &*embedder, &rows, store, run)?;
        Ok((format!("{done}, {}", embedder.name()), json!({ "passed_over": done.passed_over })))
    })?;
    let reviews = embed::read_embeddings(&rows, dataset.reviews(), run)?;

    let file = work.path("items.safetensors");
    work.stage("embed items", "embed", &["items.safetensors".to_string()], run, |_| {
        let items = ItemVectors::from_items(&dataset.items, &*embedder, run)?;
        let metadata = [("embedder".to_string(), embedder.name())].into();
        embed::write_matrix(&file, "items", &items.vectors, &metadata)?;
        Ok((format!("{} items", dataset.items.len()), json!({})))
    })?;
    let rows = embed::read_matrix(&file, "items")?;
    let collaborative = collaborative(work, config, dataset, run)?;
    let items = item_vectors(config, dataset, rows, &*embedder, &reviews, collaborative.as_ref())?;
    Ok(Embeddings { embedder, reviews, given, items, collaborative })
}

/// Item vectors as the ranking head sees them: the item's text, its reviews, its collaborative factors.
fn item_vectors(
    config: &Config,
    dataset: &Dataset,
    rows: Matrix,
    embedder: &dyn Embedder,
    reviews: &Matrix,
    collaborative: Option<&Collaborative>,
) -> Result<ItemVectors> {
    let items = ItemVectors::from_rows(&dataset.items, rows, embedder)?.count(dataset)?.blend_reviews(
        dataset,
        reviews,
        config.tune.review_weight,
    )?;
    match collaborative {
        Some(factors) if config.tune.user_weight > 0.0 => items.append(&factors.items, config.tune.user_weight),
        Some(_) | None => Ok(items),
    }
}

/// The embedder of the settings; the built-in one is fitted once and kept.
fn open_embedder(work: &mut WorkDirectory, config: &Config, dataset: &Dataset, run: &Run) -> Result<Arc<dyn Embedder>> {
    if config.embed.method == EmbedMethod::Lm {
        return Ok(Arc::from(embed::open(&config.embed, dataset, run)?));
    }
    let path = work.path("embedder.safetensors");
    work.stage("fit embedder", "embed", &["embedder.safetensors".to_string()], run, |_| {
        let embedder = TextEmbedder::fit_dataset(dataset, &config.embed, run)?;
        embedder.save(&path)?;
        Ok((embedder.name(), json!({})))
    })?;
    Ok(Arc::new(TextEmbedder::load(&path)?))
}

/// Collaborative factors, where the dataset knows users.
fn collaborative(
    work: &mut WorkDirectory,
    config: &Config,
    dataset: &Dataset,
    run: &Run,
) -> Result<Option<Collaborative>> {
    if dataset.users() == 0 {
        return Ok(None);
    }
    let path = work.path("collaborative.safetensors");
    work.stage("collaborative features", "embed", &["collaborative.safetensors".to_string()], run, |_| {
        let features = embed::collaborative(dataset, &config.embed, run)?;
        features.save(&path)?;
        Ok((format!("{} users, {} dimensions", dataset.users(), features.items.dim()), json!({})))
    })?;
    Ok(Some(Collaborative::load(&path)?))
}

/// The feature rows of an aware strategy, `[reviews, any]`; none for the others.
fn features(
    work: &mut WorkDirectory,
    config: &Config,
    made: &Artifacts,
    strategy: Strategy,
    run: &Run,
) -> Result<Option<Matrix>> {
    match strategy.features() {
        Features::None => Ok(None),
        Features::Metadata => {
            let path = work.path("metadata.safetensors");
            work.stage("metadata features", "embed", &["metadata.safetensors".to_string()], run, |_| {
                let rows = embed::metadata_features(&made.dataset, &config.embed, run)?;
                embed::write_matrix(&path, "items", &rows, &Default::default())?;
                Ok((format!("{} dimensions", rows.dim()), json!({})))
            })?;
            let items: Vec<usize> = (0..made.dataset.reviews()).map(|r| made.dataset.review_item(r)).collect();
            Ok(Some(embed::read_matrix(&path, "items")?.gather(&items)))
        }
        Features::Users => match &made.collaborative {
            Some(collaborative) => Ok(Some(collaborative.review_rows(&made.dataset))),
            None => Err(Error::invalid(format!(
                "strategy {strategy} needs interactions or reviews with users, and the dataset has none; import interactions, or leave it out"
            ))),
        },
    }
}

/// One round: select, synthesize, tune.
#[allow(clippy::too_many_arguments)]
fn round(
    work: &mut WorkDirectory,
    config: &Config,
    made: &Artifacts,
    strategy: Strategy,
    number: usize,
    features: Option<&Matrix>,
    earlier: Option<&Round>,
    run: &Run,
) -> Result<Round> {
    let name = |stage: &str| format!("{stage} {strategy} {number}");
    let dataset = &made.dataset;

    // From the second round on, the reviews may be seen through the model of the round before (paper §3.2), where there is one.
    let again = match earlier {
        Some(_) if config.pipeline.reembed && student::wanted_in(config, strategy, number - 1) => {
            Some(student::embed_again(work, config, dataset, strategy, number, run)?)
        }
        Some(_) | None => None,
    };
    let file = round_file(strategy, number, "selection.jsonl");
    let path = work.path(&file);
    work.stage(&name("select"), "select", &[file], run, |w| {
        let budget = config.pipeline.budget.saturating_mul(number);
        let settings = SelectConfig { strategy, budget, ..config.select.clone() };
        let before = match earlier {
            Some(e) => Selection::load(&w.path(&round_file(strategy, e.number, "selection.jsonl")))?,
            None => Selection::default(),
        };
        let x = again.as_ref().or(made.given.as_ref()).unwrap_or(&made.reviews);
        let capped = settings.max_per_item > 0 || settings.max_per_user > 0;
        let columns = capped.then(|| select::item_and_user_of_reviews(dataset));
        let (items, users) = (columns.as_ref().map(|c| &c.0[..]), columns.as_ref().map(|c| &c.1[..]));
        let terms = Terms { items, users, ..Terms::default() };
        let selected = select::extend(&before, x, features, &terms, &settings, run)?;
        selected.selection.save(&path)?;
        let note = format!("{} seeds; {}", selected.selection.picks.len(), selected.report);
        Ok((note, json!({ "report": selected.report, "cost": selected.cost })))
    })?;
    let selection = Selection::load(&path)?;
    let before = earlier.map_or(0, |e| e.seeds.len());
    let new = Selection { picks: selection.picks.get(before..).unwrap_or_default().to_vec() };

    let file = round_file(strategy, number, "dialogues.jsonl");
    let path = work.path(&file);
    let journal = work.path("journal.jsonl");
    work.stage(&name("synthesize"), "synthesize", &[file], run, |_| {
        let done = synthesize::synthesize(dataset, &new, &config.synthesize, number as u64, run, &journal)?;
        let done = done.held_against(&config.tune);
        done.report.whole()?;
        if done.rows.is_empty() && !new.picks.is_empty() {
            return Err(Error::teacher(format!(
                "no dialogue came of {} seeds: {:?}",
                new.picks.len(),
                done.report.dropped
            )));
        }
        artifact::write_jsonl(&path, &done.rows)?;
        Ok((done.report.to_string(), json!({ "report": done.report })))
    })?;
    let mut dialogues = earlier.map_or_else(Vec::new, |e| e.dialogues.clone());
    dialogues.extend(DialogueLines::load(&path)?.rows);

    let file = round_file(strategy, number, "head.safetensors");
    let head = tuned_head(work, config, made, &name("tune"), &file, &dialogues, run)?;
    let student = match student::wanted_in(config, strategy, number) {
        true => Some(student::tune(work, config, dataset, &made.mentions, strategy, number, &dialogues, run)?),
        false => None,
    };
    let seeds = selection.rows();
    Ok(Round { strategy, number, budget: seeds.len(), seeds, dialogues, head, student })
}

/// The ranking head tuned on `dialogues`, in `file`.
fn tuned_head(
    work: &mut WorkDirectory,
    config: &Config,
    made: &Artifacts,
    stage: &str,
    file: &str,
    dialogues: &[Dialogue],
    run: &Run,
) -> Result<Head> {
    let path = work.path(file);
    work.stage(stage, "tune", &[file.to_string()], run, |_| {
        let mentions = |text: &str| made.mentions.rows(text);
        let (head, report) =
            tune::tune_head(dialogues, made.items.clone(), &*made.embedder, &mentions, &config.tune, run)?;
        head.save(&path)?;
        Ok((report.to_string(), json!({ "report": report })))
    })?;
    Head::load(&path)
}

/// The paper's "naive" baseline: as many pairs, from a teacher that saw no seed.
fn plain_pairs(
    work: &mut WorkDirectory,
    config: &Config,
    made: &Artifacts,
    run: &Run,
) -> Result<(Vec<Dialogue>, Head)> {
    let file = "naive/dialogues.jsonl".to_string();
    let path = work.path(&file);
    let journal = work.path("journal.jsonl");
    let count = config.pipeline.budget.saturating_mul(config.pipeline.rounds);
    work.stage("synthesize naive", "synthesize", &[file], run, |_| {
        let settings = crate::config::SynthesizeConfig { naive: true, ..config.synthesize.clone() };
        let draws =
            (0..count.min(made.dataset.reviews()) as u64).map(|rank| select::Pick { rank, row: rank, gain: 0.0 });
        let draws = Selection { picks: draws.collect() };
        let done = synthesize::synthesize(&made.dataset, &draws, &settings, 0, run, &journal)?;
        let done = done.held_against(&config.tune);
        done.report.whole()?;
        artifact::write_jsonl(&path, &done.rows)?;
        Ok((done.report.to_string(), json!({ "report": done.report })))
    })?;
    let dialogues = DialogueLines::load(&path)?.rows;
    let head = tuned_head(work, config, made, "tune naive", "naive/head.safetensors", &dialogues, run)?;
    Ok((dialogues, head))
}

/// What a finished run made, without running anything: the last round of the one strategy in `config`.
pub(super) fn load_finished(dir: &Path, config: &Config, run: &Run) -> Result<Artifacts> {
    let dataset = Dataset::load(&dir.join("dataset"))?;
    let embedder: Arc<dyn Embedder> = if config.embed.method == EmbedMethod::Lm {
        Arc::from(embed::open(&config.embed, &dataset, run)?)
    } else {
        Arc::new(TextEmbedder::load(&dir.join("embedder.safetensors"))?)
    };
    let reviews = embed::read_embeddings(&dir.join("embeddings.safetensors"), dataset.reviews(), run)?;
    let rows = embed::read_matrix(&dir.join("items.safetensors"), "items")?;
    let collaborative = match dataset.users() {
        0 => None,
        _ => Some(Collaborative::load(&dir.join("collaborative.safetensors"))?),
    };
    let items = item_vectors(config, &dataset, rows, &*embedder, &reviews, collaborative.as_ref())?;
    let mentions = Arc::new(Titles::of(&dataset));
    let context = QueryWindow::from_config(&config.recommend);
    let mut rounds = Vec::new();
    for &strategy in &config.pipeline.strategies {
        let number = config.pipeline.rounds;
        let mut dialogues = Vec::new();
        for earlier in 1..=number {
            dialogues.extend(DialogueLines::load(&dir.join(round_file(strategy, earlier, "dialogues.jsonl")))?.rows);
        }
        let seeds = Selection::load(&dir.join(round_file(strategy, number, "selection.jsonl")))?.rows();
        let head = Head::load(&dir.join(round_file(strategy, number, "head.safetensors")))?;
        let student =
            student::wanted_in(config, strategy, number).then(|| student::of_round(dir, config, strategy, number));
        rounds.push(Round { strategy, number, budget: seeds.len(), seeds, dialogues, head, student });
    }
    let summary = dataset.summary();
    let base_model = student::wanted(config).then(|| student::base(dir, config));
    let (given, naive) = (None, None);
    Ok(Artifacts {
        dataset,
        summary,
        embedder,
        reviews,
        given,
        items,
        collaborative,
        mentions,
        context,
        base_model,
        rounds,
        naive,
    })
}
