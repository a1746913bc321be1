//! Stage 5, tune: dialogues to a ranking head, a LoRA adapter, or all weights of a language model.

use super::config::{causerie_config, config_of};
use super::dataset::causerie_dataset;
use super::dialogues::causerie_dialogues;
use super::embeddings::{Rows, causerie_embeddings};
use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, free, noun, optional, shared};
use super::run::{causerie_run, run_of};
use super::text::{c_json, c_text, name, optional_path, path};
use crate::config::{Config, TuneMethod};
use crate::dataset::Dataset;
use crate::embed;
use crate::error::{Error, Result};
use crate::run::Run;
use crate::titles::Titles;
use crate::tune::{Head, ItemVectors, tune_head};
use std::ffi::{CString, c_char};

/// Stage 5, tune: a ranking head, or the files of a tuned language model.
pub struct causerie_model {
    _opaque: [u8; 0],
}
noun!(causerie_model, TunedModel);

pub(super) struct TunedModel {
    pub kind: Kind,
    report: CString,
}

pub(super) enum Kind {
    /// The ranking head.
    Head(Box<Head>),
    /// `adapter.gguf` or `model.gguf`.
    #[cfg_attr(not(feature = "llama"), expect(dead_code))]
    Files(CString),
}

#[cfg(feature = "llama")]
impl TunedModel {
    /// A language model's file, and what is to say of it.
    fn files(file: &std::path::Path, report: &impl serde::Serialize) -> Result<TunedModel> {
        let file = c_text(file.as_os_str().as_encoded_bytes());
        Ok(TunedModel { kind: Kind::Files(file), report: c_json(report)? })
    }
}

/// Item vectors as the ranking head sees them: the item's text, its reviews, its collaborative factors.
pub(super) fn item_vectors(dataset: &Dataset, rows: &Rows, config: &Config, run: &Run) -> Result<ItemVectors> {
    let embedder = rows.embedder("tune")?;
    let items = ItemVectors::from_items(&dataset.items, &**embedder, run)?.count(dataset)?.blend_reviews(
        dataset,
        rows.matrix("tune")?,
        config.tune.review_weight,
    )?;
    if dataset.users() == 0 || config.tune.user_weight <= 0.0 {
        return Ok(items);
    }
    items.append(&embed::collaborative(dataset, &config.embed, run)?.items, config.tune.user_weight)
}

/// ---- 5 tune -----------------------------------------------------------------------------------------------------
/// Tunes a ranking head on the dialogues (tune.method = "head"): seconds to minutes, no language model. The embeddings are
/// those of causerie_embed over the same dataset.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_tune(
    dialogues: *const causerie_dialogues,
    dataset: *const causerie_dataset,
    embeddings: *const causerie_embeddings,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_model,
) -> *mut causerie_error {
    guard(|| {
        let (pairs, data, rows) = (shared(dialogues)?, shared(dataset)?, shared(embeddings)?);
        // SAFETY: as above.
        let (config, out) = unsafe { (config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        if config.tune.method != TuneMethod::Head {
            return Err(Error::invalid(format!("tune.method = {}: use causerie_tune_lm", config.tune.method)));
        }
        let dataset = data.filling.dataset();
        let items = item_vectors(dataset, &rows, &config, &run)?;
        let mentions = Titles::of(dataset);
        let find = |text: &str| mentions.rows(text);
        let embedder = rows.embedder("tune")?;
        let (head, report) = tune_head(&pairs.rows, items, &**embedder, &find, &config.tune, &run)?;
        out.set(TunedModel { kind: Kind::Head(Box::new(head)), report: c_json(&report)? });
        Ok(())
    })
}

/// Fine-tunes the language model at `base` (a GGUF) on the dialogues (paper §3.4; tune.method = "lora" or "full") into
/// `folder`: adapter.gguf and adapter/ (PEFT), or model.gguf, proven through llama.cpp; checkpoints while it is under way, so
/// that a second call goes on. With a `dataset` (NULL: none) tune.objective "items" and "both" train a ranking head along,
/// and Recall is measured. CAUSERIE_MEMORY before anything is loaded when it would not fit; CAUSERIE_UNSUPPORTED on a CPU
/// without AVX2, FMA, F16C and BMI2.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_tune_lm(
    dialogues: *const causerie_dialogues,
    dataset: *const causerie_dataset,
    base: *const c_char,
    folder: *const c_char,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_model,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (pairs, base, folder) = unsafe { (shared(dialogues)?, path(base, "base")?, path(folder, "folder")?) };
        // SAFETY: as above.
        let (data, config, out) = unsafe { (optional(dataset)?, config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        let dataset = data.as_ref().map(|data| &**data.filling.dataset());
        out.set(tuned_files(&pairs.rows, dataset, base, folder, &config, &run)?);
        Ok(())
    })
}

#[cfg(feature = "llama")]
fn tuned_files(
    dialogues: &[crate::dataset::Dialogue],
    dataset: Option<&Dataset>,
    base: &std::path::Path,
    folder: &std::path::Path,
    config: &Config,
    run: &Run,
) -> Result<TunedModel> {
    use crate::tune::lm::{Catalogue, tune_lm};
    if config.tune.method == TuneMethod::Head {
        return Err(Error::invalid("tune.method = head: use causerie_tune, or set it to lora or full"));
    }
    let report = if let Some(dataset) = dataset {
        let catalogue = Catalogue::of(dataset);
        let mentions = Titles::new(&dataset.items, &catalogue.counts);
        let find = |text: &str| mentions.rows(text);
        tune_lm(base, dialogues, Some((&catalogue, &find)), &config.tune, folder, run)?
    } else {
        tune_lm(base, dialogues, None, &config.tune, folder, run)?
    };
    TunedModel::files(&report.exported.file, &report)
}

#[cfg(not(feature = "llama"))]
fn tuned_files(
    _: &[crate::dataset::Dialogue],
    _: Option<&Dataset>,
    _: &std::path::Path,
    _: &std::path::Path,
    _: &Config,
    _: &Run,
) -> Result<TunedModel> {
    Err(Error::unsupported("tune: lora and full need a build with llama.cpp"))
}

/// A language model from nothing, of about so many `parameters` (500,000 to some tens of millions), for those who have none:
/// a GGUF at `file` whose vocabulary is learned from the dataset's reviews, its weights drawn by tune.seed. With a `folder`
/// it is then trained on all tokens of the reviews by the settings of tune.*, into folder/model.gguf, which is the model's file
/// then; checkpoints as of causerie_tune_lm. NULL or "": it knows no word yet, and serves only to be tuned.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_model_new(
    dataset: *const causerie_dataset,
    parameters: u64,
    config: *const causerie_config,
    file: *const c_char,
    folder: *const c_char,
    run: *const causerie_run,
    out: *mut *mut causerie_model,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (data, config, file) = unsafe { (shared(dataset)?, config_of(config)?, path(file, "file")?) };
        // SAFETY: as above.
        let (folder, out) = unsafe { (optional_path(folder, "folder")?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        out.set(new_files(data.filling.dataset(), parameters, file, folder, &config, &run)?);
        Ok(())
    })
}

#[cfg(feature = "llama")]
fn new_files(
    dataset: &Dataset,
    parameters: u64,
    file: &std::path::Path,
    folder: Option<&std::path::Path>,
    config: &Config,
    run: &Run,
) -> Result<TunedModel> {
    use crate::tune::lm::{new_model, pretrain};
    let texts: Vec<String> = (0..dataset.reviews()).map(|review| embed::review_text(dataset, review)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let shape = new_model(parameters, &texts, config.tune.seed, file, run)?;
    let Some(folder) = folder else {
        let report = serde_json::json!({"parameters": shape.parameters(), "layers": shape.layers, "width": shape.dim});
        return TunedModel::files(file, &report);
    };
    let report = pretrain(file, &texts, &config.tune, folder, run)?;
    TunedModel::files(&report.exported.file, &report)
}

#[cfg(not(feature = "llama"))]
fn new_files(
    _: &Dataset,
    _: u64,
    _: &std::path::Path,
    _: Option<&std::path::Path>,
    _: &Config,
    _: &Run,
) -> Result<TunedModel> {
    Err(Error::unsupported("model: a language model needs a build with llama.cpp"))
}

/// Merges a LoRA adapter (a GGUF, or a PEFT folder) into its base: one GGUF at `file`, of `kind` "f32", "f16", "bf16" or a
/// quantisation of llama.cpp's ("q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"). It is proven through llama.cpp; the model's report
/// says how near it is. CAUSERIE_INVALID for an adapter of another base, or one that changes nothing.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_model_merge(
    base: *const c_char,
    adapter: *const c_char,
    kind: *const c_char,
    file: *const c_char,
    run: *const causerie_run,
    out: *mut *mut causerie_model,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (base, adapter) = unsafe { (path(base, "base")?, path(adapter, "adapter")?) };
        // SAFETY: as above.
        let (kind, file) = unsafe { (name(kind, "kind")?, path(file, "file")?) };
        // SAFETY: as above.
        let (run, out) = unsafe { (run_of(run, 0)?, Out::new(out)?) };
        out.set(merged_file(base, adapter, kind, file, &run)?);
        Ok(())
    })
}

#[cfg(feature = "llama")]
fn merged_file(
    base: &std::path::Path,
    adapter: &std::path::Path,
    kind: &str,
    file: &std::path::Path,
    run: &Run,
) -> Result<TunedModel> {
    TunedModel::files(file, &crate::tune::lm::merge(base, adapter, file, kind, run)?)
}

#[cfg(not(feature = "llama"))]
fn merged_file(_: &std::path::Path, _: &std::path::Path, _: &str, _: &std::path::Path, _: &Run) -> Result<TunedModel> {
    Err(Error::unsupported("model: a language model needs a build with llama.cpp"))
}

/// Losses, steps, what was kept, as JSON; "{}" for a model that was loaded. Borrowed from the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_model_report(model: *const causerie_model) -> *const c_char {
    guard_or(c"".as_ptr(), || Ok(shared(model)?.report.as_ptr()))
}

/// Of a language model: the file that was made, adapter.gguf or model.gguf; NULL for a ranking head. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_model_file(model: *const causerie_model) -> *const c_char {
    guard_or(std::ptr::null(), || {
        Ok(match &shared(model)?.kind {
            Kind::Head(_) => std::ptr::null(),
            Kind::Files(file) => file.as_ptr(),
        })
    })
}

/// Writes a ranking head to a file. CAUSERIE_INVALID for a language model: its files are in their folder already.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_model_save(model: *const causerie_model, file: *const c_char) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (tuned, file) = unsafe { (shared(model)?, path(file, "model")?) };
        match &tuned.kind {
            Kind::Head(head) => head.save(file),
            Kind::Files(there) => {
                Err(Error::invalid(format!("model: it stands in {} already", there.to_string_lossy())))
            }
        }
    })
}

/// Reads a ranking head that causerie_model_save wrote.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_model_load(
    file: *const c_char,
    out: *mut *mut causerie_model,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (file, out) = unsafe { (path(file, "model")?, Out::new(out)?) };
        out.set(TunedModel { kind: Kind::Head(Box::new(Head::load(file)?)), report: c_text("{}") });
        Ok(())
    })
}

/// Ends a model; NULL is fine. Files of a language model stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_model_free(model: *mut causerie_model) {
    free(model)
}
