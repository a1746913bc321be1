//! Stage 2, embed: rows of reviews, and the embedder that made them.

use super::arrow::{ArrowArray, ArrowArrayStream, ArrowSchema, read};
use super::config::{causerie_config, config_of};
use super::dataset::causerie_dataset;
use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, free, noun, put, shared};
use super::run::{causerie_run, run_of};
use super::text::{name, optional_path, path, slice};
use crate::config::{Config, EmbedMethod, StoreType};
use crate::dataset::Dataset;
use crate::embed::{self, EMBEDDINGS, Embedder, Shard, Store, StoredRows, TextEmbedder};
use crate::error::{Error, Result};
use crate::math::{self, Matrix};
use crate::run::Run;
use std::ffi::c_char;
use std::path::Path;
use std::sync::Arc;

/// Stage 2, embed: f32 [rows, dim], row-major, one row per review; and what made them.
pub struct causerie_embeddings {
    _opaque: [u8; 0],
}
noun!(causerie_embeddings, Rows);

#[derive(Clone)]
pub(super) struct Rows {
    /// `[reviews, dim]`.
    kept: RowStorage,
    /// None for rows that were given.
    pub embedder: Option<Arc<dyn Embedder>>,
}

/// Where rows are.
#[derive(Clone)]
enum RowStorage {
    Whole(Arc<Matrix>),
    Mapped(Arc<StoredRows>),
}

impl Rows {
    fn given(matrix: Matrix, run: &Run) -> Result<Rows> {
        run.install(|| matrix.check_rows("embeddings"))?;
        Ok(Rows::whole(matrix, None))
    }
    fn whole(matrix: Matrix, embedder: Option<Arc<dyn Embedder>>) -> Rows {
        Rows { kept: RowStorage::Whole(Arc::new(matrix)), embedder }
    }
    /// The rows, wherever they are.
    pub fn rows(&self) -> &dyn math::Rows {
        match &self.kept {
            RowStorage::Whole(matrix) => &**matrix,
            RowStorage::Mapped(stored) => &**stored,
        }
    }
    /// The rows in memory, where they are needed there.
    pub fn matrix(&self, what: &str) -> Result<&Arc<Matrix>> {
        match &self.kept {
            RowStorage::Whole(matrix) => Ok(matrix),
            RowStorage::Mapped(_) => Err(Error::invalid(format!(
                "{what}: these rows are mapped from a file, which is for selecting; use causerie_embed"
            ))),
        }
    }
    /// The embedder, where one is needed.
    pub fn embedder(&self, what: &str) -> Result<&Arc<dyn Embedder>> {
        self.embedder.as_ref().ok_or_else(|| {
            Error::invalid(format!(
                "{what}: these rows were given, so that no conversation can be embedded beside them; use causerie_embed"
            ))
        })
    }
}

/// A folder of our own under the system's temporary one, which nobody else may read: gone when it is dropped.
pub(super) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Result<Scratch> {
        // A name of the process and a count alone would be taken for ever once a process was killed: in a container the
        // first process has the same number each time.
        let mut folder = tempfile::Builder::new();
        folder.prefix("causerie-").permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder = folder.tempdir().map_err(|e| {
            Error::io(std::env::temp_dir(), e).context("no room for files of a moment; set TMPDIR, or give a folder")
        })?;
        Ok(Scratch(folder))
    }
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The embedder of the settings; the built-in one is read from `folder` where it stands, else fitted and kept there.
fn embedder(config: &Config, dataset: &Dataset, folder: &Path, run: &Run) -> Result<Arc<dyn Embedder>> {
    if config.embed.method != EmbedMethod::Text {
        return Ok(Arc::from(embed::open(&config.embed, dataset, run)?));
    }
    let kept = folder.join("embedder.safetensors");
    if kept.exists() {
        return Ok(Arc::new(TextEmbedder::load(&kept)?));
    }
    let fitted = TextEmbedder::fit_dataset(dataset, &config.embed, run)?;
    fitted.save(&kept)?;
    Ok(Arc::new(fitted))
}

/// ---- 2 embed ----------------------------------------------------------------------------------------------------
/// Embeds every review: [reviews, dim], unit length (paper §3.2). The settings of `embed.*` say how: "text" is built in,
/// "lm" takes the GGUF embed.model. `folder` keeps the rows and the fitted embedder, so that an embedding that was stopped
/// goes on, and one that is finished is read; NULL or "" keeps nothing: files of the moment lie in a private folder (0700)
/// under TMPDIR, which goes when the call ends. Rows are as embed.store keeps them ("f16" and "i8" are rounded so in memory as
/// well).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embed(
    dataset: *const causerie_dataset,
    config: *const causerie_config,
    folder: *const c_char,
    run: *const causerie_run,
    out: *mut *mut causerie_embeddings,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (data, config, out) = unsafe { (shared(dataset)?, config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let (folder, run) = unsafe { (optional_path(folder, "embed")?, run_of(run, config.run.threads)?) };
        let dataset = data.filling.dataset();
        if config.embed.method == EmbedMethod::File {
            let matrix = embed::read_embeddings(Path::new(&config.embed.file), dataset.reviews(), &run)?;
            out.set(Rows::whole(matrix, None));
            return Ok(());
        }
        let scratch = Scratch::new()?;
        let folder = folder.unwrap_or(scratch.path());
        let embedder = embedder(&config, dataset, folder, &run)?;
        let file = folder.join("embeddings.safetensors");
        embed::embed_reviews_as(dataset, &*embedder, &file, Store::of(&config.embed), &run)?;
        let matrix = embed::read_embeddings(&file, dataset.reviews(), &run)?;
        out.set(Rows::whole(matrix, Some(embedder)));
        Ok(())
    })
}

/// The list of shards in a folder of causerie_embed_shard.
const LIST: &str = "embeddings.json";

/// Embeds the reviews of shard `index` (from 0) of `count` alone, so that many machines share the work: each has the same
/// dataset and settings, and a `folder` in which it leaves embeddings-I-of-N.safetensors, a shard that was stopped goes on.
/// Rows are, bit for bit, those of causerie_embed. Once all shards lie in the folder its embeddings.json lists them, for
/// causerie_embeddings_open. Writes how many are still to be made to `missing` (may be NULL).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embed_shard(
    dataset: *const causerie_dataset,
    config: *const causerie_config,
    folder: *const c_char,
    index: usize,
    count: usize,
    run: *const causerie_run,
    missing: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (data, config, folder) = unsafe { (shared(dataset)?, config_of(config)?, path(folder, "folder")?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        let shard = Shard::new(index, count)?;
        if config.embed.method == EmbedMethod::File {
            return Err(Error::invalid("embed: embed.method = file has nothing to embed; open the file instead"));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let (dataset, list) = (data.filling.dataset(), folder.join(LIST));
        let embedder = embedder(&config, dataset, folder, &run)?;
        let store = Store { shard: Some(shard), ..Store::of(&config.embed) };
        embed::embed_reviews_as(dataset, &*embedder, &embed::shard_file(&list, shard), store, &run)?;
        let left = embed::join_shards(&list, count)?.len();
        // SAFETY: rule 2 of the header.
        unsafe { put(missing, left) };
        Ok(())
    })
}

/// Lists `count` finished shards that were brought together in `folder` (embeddings.json); writes how many are not there to
/// `missing` (may be NULL): with any, nothing is written. CAUSERIE_FORMAT for shards that do not belong together.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embed_join(
    folder: *const c_char,
    count: usize,
    missing: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rule 4 of the header.
        let folder = unsafe { path(folder, "folder")? };
        let left = embed::join_shards(&folder.join(LIST), count)?.len();
        // SAFETY: rule 2 of the header.
        unsafe { put(missing, left) };
        Ok(())
    })
}

/// Rows of your own, copied: `data` is [rows, dim], row-major. No row may be zeros or hold NaN. They can be selected on;
/// tuning and recommending need rows of causerie_embed.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embeddings_from_rows(
    data: *const f32,
    rows: usize,
    dim: usize,
    out: *mut *mut causerie_embeddings,
) -> *mut causerie_error {
    guard(|| {
        let count = rows.checked_mul(dim).ok_or_else(|| Error::invalid("embeddings: rows x dim fits no memory"))?;
        // SAFETY: rule 2 of the header.
        let (values, out) = unsafe { (slice(data, count, "embeddings")?, Out::new(out)?) };
        out.set(Rows::given(Matrix::from_vec(rows, dim, values.to_vec())?, &Run::new(0)?)?);
        Ok(())
    })
}

/// Rows from an Arrow array: lists of f32, f64 or f16, fixed-size (+w:DIM) or of one length (+l, +L), or a struct with one such
/// column. No nulls. Both structs are taken, as by causerie_dataset_add_arrow.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embeddings_from_arrow(
    schema: *mut ArrowSchema,
    array: *mut ArrowArray,
    out: *mut *mut causerie_embeddings,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rule 2 of the header, and the contract of the Arrow C Data Interface.
        let (batch, out) = unsafe { (read::Batch::take(schema, array)?, Out::new(out)?) };
        let (mut width, mut data) = (None, Vec::new());
        read::floats(&batch, &mut width, &mut data)?;
        out.set(Rows::given(read::matrix(width, data)?, &Run::new(0)?)?);
        Ok(())
    })
}

/// The same from an Arrow stream, which is taken.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embeddings_from_arrow_stream(
    stream: *mut ArrowArrayStream,
    out: *mut *mut causerie_embeddings,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rule 2 of the header, and the contract of the Arrow C Stream Interface.
        let (mut stream, out) = unsafe { (read::Stream::take(stream)?, Out::new(out)?) };
        let (mut width, mut data) = (None, Vec::new());
        while let Some(batch) = stream.next()? {
            read::floats(&batch, &mut width, &mut data)?;
        }
        out.set(Rows::given(read::matrix(width, data)?, &Run::new(0)?)?);
        Ok(())
    })
}

/// Opens rows too many for memory: a safetensors file in f32, f16, bf16, f64 or i8 with scales, or the list of the shards of
/// one embedding (`causerie embed --shard`, `--join`). The file is mapped and read as rows are needed; it must not be changed
/// while the handle lives. For causerie_select and its kin alone; what is selected is exact for the values as they are stored.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embeddings_open(
    file: *const c_char,
    out: *mut *mut causerie_embeddings,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 4 of the header.
        let (file, out) = unsafe { (path(file, "embeddings")?, Out::new(out)?) };
        out.set(Rows { kept: RowStorage::Mapped(Arc::new(StoredRows::open(file)?)), embedder: None });
        Ok(())
    })
}

/// The values, [rows, dim], row-major; `rows` and `dim` may be NULL. Borrowed from the embeddings. NULL for NULL, and for rows
/// of causerie_embeddings_open, whose numbers alone are told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embeddings_data(
    embeddings: *const causerie_embeddings,
    rows: *mut usize,
    dim: *mut usize,
) -> *const f32 {
    guard_or(std::ptr::null(), || {
        let kept = shared(embeddings)?;
        // SAFETY: rule 2 of the header.
        unsafe {
            put(rows, kept.rows().count());
            put(dim, kept.rows().width());
        }
        Ok(match &kept.kept {
            RowStorage::Whole(matrix) => matrix.data().as_ptr(),
            RowStorage::Mapped(_) => std::ptr::null(),
        })
    })
}

/// Writes the rows to a safetensors file: one f32 tensor "embeddings" [rows, dim].
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embeddings_save(
    embeddings: *const causerie_embeddings,
    file: *const c_char,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (rows, file) = unsafe { (shared(embeddings)?, path(file, "embeddings")?) };
        embed::write_matrix(file, EMBEDDINGS, rows.matrix("embeddings")?, &Default::default())
    })
}

/// The same with values of another kind, as embed.store says: "f32", "f16" (half the bytes, three digits) or "i8" (a quarter,
/// one scale a row). What it writes causerie_embeddings_open maps. It takes mapped rows as well, and passes over them once.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embeddings_pack(
    embeddings: *const causerie_embeddings,
    store: *const c_char,
    file: *const c_char,
    run: *const causerie_run,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (rows, store, file) = unsafe { (shared(embeddings)?, name(store, "store")?, path(file, "embeddings")?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, 0)? };
        let store: StoreType = store.parse().map_err(|e: Error| e.context("embeddings: store"))?;
        embed::pack(rows.rows(), file, store.into(), &Default::default(), &run)
    })
}

/// Ends embeddings; NULL is fine. What was made of them goes on working.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_embeddings_free(embeddings: *mut causerie_embeddings) {
    free(embeddings)
}
