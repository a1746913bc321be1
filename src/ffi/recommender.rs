//! Stage 6, recommend: open, answer, score, take new items.

use super::config::{causerie_config, config_of};
use super::dataset::causerie_dataset;
use super::dialogues::causerie_dialogues;
use super::embeddings::causerie_embeddings;
use super::error::causerie_error;
use super::guard::{guard, guard_or};
use super::handle::{Out, Shared, free, noun, optional, put, shared};
use super::model::causerie_model;
use super::query::{causerie_query, parse};
use super::run::{causerie_run, run_of};
use super::serving::{LiveRecommender, RecommenderHandle, Reply};
use super::text::{name, optional_path, path, slice, text};
use crate::config::{DatasetConfig, SourceFormat, Strategy};
use crate::dataset::{Filling, Item, Table};
use crate::error::Error;
use crate::recommend::service::Query;
use std::ffi::c_char;

/// Stage 6, recommend: ranks the catalogue for a conversation. `const` functions may run on many threads at once.
pub struct causerie_recommender {
    _opaque: [u8; 0],
}
noun!(causerie_recommender, LiveRecommender);

/// One answer: ranked items.
pub struct causerie_reply {
    _opaque: [u8; 0],
}
noun!(causerie_reply, Reply);

/// ---- 6 recommend ------------------------------------------------------------------------------------------------
/// Opens a work directory that causerie_pipeline (or `causerie run`) finished, with the recommender recommend.system of
/// `strategy` (NULL or "": the first one of the run). Everything but run.threads and recommend.system, .top_k and .explain
/// is as the directory was made. "lm" is the language model that the run tuned: it takes items and adapters while it serves.
/// CAUSERIE_NOT_FOUND where the run did not get so far.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_open(
    work_dir: *const c_char,
    strategy: *const c_char,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_recommender,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (dir, config, out) = unsafe { (path(work_dir, "work_dir")?, config_of(config)?, Out::new(out)?) };
        let strategy = match strategy.is_null() {
            true => None,
            // SAFETY: rule 4 of the header.
            false => Strategy::asked(unsafe { name(strategy, "strategy")? })?,
        };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        out.set(LiveRecommender::new(RecommenderHandle::open(dir, strategy, config.recommend.system, &config, &run)?));
        Ok(())
    })
}

/// A recommender from what the stages made, by recommend.system: "head" needs embeddings and model, "nbcrs" embeddings and
/// dialogues, "fusion" all three, "popularity" and "retrieval" none. What is not needed may be NULL. Nothing is kept of the handles given.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_new(
    dataset: *const causerie_dataset,
    embeddings: *const causerie_embeddings,
    model: *const causerie_model,
    dialogues: *const causerie_dialogues,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_recommender,
) -> *mut causerie_error {
    guard(|| {
        let (data, rows, model) = (shared(dataset)?, optional(embeddings)?, optional(model)?);
        // SAFETY: as above.
        let (pairs, config, out) = unsafe { (optional(dialogues)?, config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        out.set(LiveRecommender::new(RecommenderHandle::of_parts(
            data.filling.dataset().clone(),
            rows.as_deref(),
            model.as_deref(),
            pairs.as_deref(),
            config,
            &run,
        )?));
        Ok(())
    })
}

/// A language model that names items of the catalogue alone: the GGUF at `model`, with a LoRA adapter (`adapter`, NULL: none)
/// at scale recommend.adapter_scale. recommend.mode says how it ranks ("constrained", "generate", "head"), and
/// recommend.context_tokens, .contexts, .cache_bytes, .timeout_ms what it may take. CAUSERIE_UNSUPPORTED on a CPU without
/// AVX2, FMA, F16C and BMI2.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_open_lm(
    dataset: *const causerie_dataset,
    model: *const c_char,
    adapter: *const c_char,
    config: *const causerie_config,
    run: *const causerie_run,
    out: *mut *mut causerie_recommender,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (data, model, adapter) =
            unsafe { (shared(dataset)?, path(model, "model")?, optional_path(adapter, "adapter")?) };
        // SAFETY: as above.
        let (config, out) = unsafe { (config_of(config)?, Out::new(out)?) };
        // SAFETY: as above.
        let run = unsafe { run_of(run, config.run.threads)? };
        out.set(LiveRecommender::new(RecommenderHandle::of_lm(
            data.filling.dataset().clone(),
            model,
            adapter,
            config,
            &run,
        )?));
        Ok(())
    })
}

/// The number of the adapters that serve: 1 at first, one more with each exchange. CAUSERIE_UNSUPPORTED for what is no
/// language model.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_generation(
    recommender: *const causerie_recommender,
    generation: *mut u64,
) -> *mut causerie_error {
    guard(|| {
        let serving = shared(recommender)?.now();
        let number = serving.service.adapter_generation()?;
        // SAFETY: rule 2 of the header.
        unsafe { put(generation, number) };
        Ok(())
    })
}

/// Puts another LoRA adapter (NULL: none, the base model alone) in the place of generation `expected`, while requests are
/// answered: those in flight finish with what they started with, none fails. Writes the new number to `generation` (may be
/// NULL). CAUSERIE_INVALID when somebody else exchanged them meanwhile.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_swap_adapter(
    recommender: *const causerie_recommender,
    expected: u64,
    adapter: *const c_char,
    scale: f32,
    generation: *mut u64,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (serving, adapter) = unsafe { (shared(recommender)?.now(), optional_path(adapter, "adapter")?) };
        let number = serving.service.swap_adapter(expected, adapter, scale)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(generation, number) };
        Ok(())
    })
}

/// Puts the adapters before generation `expected` back, under a new number.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_roll_back(
    recommender: *const causerie_recommender,
    expected: u64,
    generation: *mut u64,
) -> *mut causerie_error {
    guard(|| {
        let serving = shared(recommender)?.now();
        let number = serving.service.roll_back_adapter(expected)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(generation, number) };
        Ok(())
    })
}

/// How many items it ranks; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_count(recommender: *const causerie_recommender) -> usize {
    guard_or(0, || Ok(shared(recommender)?.now().ids.len()))
}

/// The id of item row `i`; NULL past the end. Borrowed from the recommender.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_id(recommender: *const causerie_recommender, i: usize) -> *const c_char {
    guard_or(std::ptr::null(), || Ok(shared(recommender)?.now().ids.get(i).map_or(std::ptr::null(), |id| id.as_ptr())))
}

/// Writes the row of the item of this id (`len` bytes) to `row`: what causerie_recommender_id takes, and what queries and
/// replies know it by. CAUSERIE_NOT_FOUND for an id that is not in the catalogue.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_find(
    recommender: *const causerie_recommender,
    id: *const c_char,
    len: usize,
    row: *mut u64,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (serving, id) = unsafe { (shared(recommender)?.now(), text(id, len, "id")?) };
        let found = serving.service.items().find(id);
        let found = found.ok_or_else(|| Error::not_found(format!("recommender: no item has the id {id:?}")))?;
        // SAFETY: rule 2 of the header.
        unsafe { put(row, u64::from(found)) };
        Ok(())
    })
}

/// Its name in reports: "head", "nbcrs", … Borrowed from the recommender.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_name(recommender: *const causerie_recommender) -> *const c_char {
    guard_or(c"".as_ptr(), || Ok(shared(recommender)?.now().name.as_ptr()))
}

/// About how many bytes of memory it holds: dataset, review rows and head, or the language model's weights (the whole mapped
/// file) and its computed prompts; not the keys and values of recommend.contexts contexts. What other handles hold as well
/// is counted in each. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_bytes(recommender: *const causerie_recommender) -> u64 {
    guard_or(0, || Ok(shared(recommender)?.now().bytes()))
}

/// Answers a query with the `top_k` best items of the catalogue (0: recommend.top_k). What its turns name, what it has seen,
/// what it excludes and, where it allows some, all others never come back. The reply makes its texts when they are first read.
/// CAUSERIE_INVALID for a row past the end; CAUSERIE_NOT_FOUND when no allowed id is in the catalogue;
/// CAUSERIE_UNSUPPORTED for reasons where recommend.explain was 0 when the recommender was opened.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommend_query(
    recommender: *const causerie_recommender,
    query: *const causerie_query,
    top_k: u32,
    run: *const causerie_run,
    out: *mut *mut causerie_reply,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (serving, query, out) = unsafe { (shared(recommender)?.now(), shared(query)?, Out::new(out)?) };
        // SAFETY: as above.
        unsafe { answer(&serving, &query, top_k, run, out) }
    })
}

/// One sentence about the best items of `reply`, in the language model's own words: it names items of the reply and nothing
/// else of the catalogue, and stops short ("…") where it would. `query` is what the reply answered. Heard while it is written
/// by causerie_run_on_token; "" where not a word came. Borrowed from the reply. CAUSERIE_UNSUPPORTED for what is no language
/// model, and in mode "head", which computes no words.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_say(
    recommender: *const causerie_recommender,
    query: *const causerie_query,
    reply: *const causerie_reply,
    run: *const causerie_run,
    out: *mut *const c_char,
) -> *mut causerie_error {
    guard(|| {
        let (serving, query, reply) = (shared(recommender)?.now(), shared(query)?, shared(reply)?);
        // SAFETY: as above.
        let run = unsafe { run_of(run, serving.config.run.threads)? };
        let said = serving.say(&query, &reply, &run)?;
        // SAFETY: rule 2 of the header.
        unsafe { put(out, said) };
        Ok(())
    })
}

/// The reply to one query.
///
/// # Safety
/// As [`run_of`].
unsafe fn answer(
    serving: &RecommenderHandle,
    query: &Query,
    top_k: u32,
    run: *const causerie_run,
    out: Out<causerie_reply>,
) -> crate::error::Result<()> {
    // SAFETY: the caller's promise.
    let run = unsafe { run_of(run, serving.config.run.threads)? };
    let reply = serving.answers(&[query], items_asked(top_k, query, serving)?, &run)?.pop();
    out.set(reply.ok_or_else(|| Error::bug("recommend: one query and no answer"))?);
    Ok(())
}

/// Items in the answer to `query`: `top_k`, or where that is 0 as many as itself asks for, or recommend.top_k.
fn items_asked(top_k: u32, query: &Query, serving: &RecommenderHandle) -> crate::error::Result<usize> {
    match top_k {
        0 => Ok(query.top_k.unwrap_or(serving.config.recommend.top_k)),
        // -1, on its way through a number without a sign.
        top_k if top_k > i32::MAX as u32 => {
            Err(Error::invalid(format!("recommend: top_k = {top_k}: 1 to {}, or 0 for recommend.top_k", i32::MAX)))
        }
        top_k => Ok(top_k as usize),
    }
}

/// The same for `count` queries in one call, which costs less than as many calls. Writes `count` replies to `replies`, all of
/// them yours, or, where anything fails, none. A score may differ in its last digits from that of the query alone: sums are
/// taken in another order.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommend_many(
    recommender: *const causerie_recommender,
    queries: *const *const causerie_query,
    count: usize,
    top_k: u32,
    run: *const causerie_run,
    replies: *mut *mut causerie_reply,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (serving, queries) = unsafe { (shared(recommender)?.now(), all(queries, count)?) };
        if count > 0 && (replies.is_null() || !replies.is_aligned()) {
            return Err(Error::invalid(format!("recommend: NULL where {count} replies are to be written")));
        }
        // SAFETY: as above.
        let run = unsafe { run_of(run, serving.config.run.threads)? };
        let queries = refs(&queries);
        let asked = queries.iter().map(|query| items_asked(top_k, query, &serving)).collect::<Result<Vec<_>, _>>()?;
        let mut made = Vec::with_capacity(count);
        // In one call those that ask for as many, which are all of them as a rule.
        for same in asked.chunk_by(|one, next| one == next) {
            made.extend(serving.answers(&queries[made.len()..][..same.len()], same[0], &run)?);
        }
        for (i, reply) in made.into_iter().enumerate() {
            // SAFETY: rule 2 of the header: valid for `count` pointers, and there is one answer to each query.
            unsafe { Out::new(replies.add(i))? }.set(reply);
        }
        Ok(())
    })
}

/// The queries behind `count` handles.
///
/// # Safety
/// Rules 2 and 3 of the header, for the array and for each handle in it.
unsafe fn all(
    queries: *const *const causerie_query,
    count: usize,
) -> crate::error::Result<Vec<Shared<causerie_query>>> {
    // SAFETY: the caller's promise.
    let handles = unsafe { slice(queries, count, "queries")? };
    handles.iter().map(|handle| shared(*handle)).collect()
}

fn refs(queries: &[Shared<causerie_query>]) -> Vec<&Query> {
    queries.iter().map(|query| &**query).collect()
}

/// Scores of the whole catalogue in the order of causerie_recommender_id, higher is better, written to `scores`, [count]:
/// count must be causerie_recommender_count. Items that the query masks get -infinity. Errors as of
/// causerie_recommend_query.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_score_query(
    recommender: *const causerie_recommender,
    query: *const causerie_query,
    run: *const causerie_run,
    scores: *mut f32,
    count: usize,
) -> *mut causerie_error {
    guard(|| {
        let (serving, query) = (shared(recommender)?.now(), shared(query)?);
        // SAFETY: as above.
        unsafe { score(&serving, &[&query], run, scores, count) }
    })
}

/// The same for several queries in one call: `scores` is [queries, items], row-major, `count` = queries x items values.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_score_many(
    recommender: *const causerie_recommender,
    queries: *const *const causerie_query,
    rows: usize,
    run: *const causerie_run,
    scores: *mut f32,
    count: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (serving, queries) = unsafe { (shared(recommender)?.now(), all(queries, rows)?) };
        // SAFETY: as above.
        unsafe { score(&serving, &refs(&queries), run, scores, count) }
    })
}

/// The scores of queries, where there is room for them.
///
/// # Safety
/// As [`run_of`]; `scores` is NULL or valid for `count` values.
unsafe fn score(
    serving: &RecommenderHandle,
    queries: &[&Query],
    run: *const causerie_run,
    scores: *mut f32,
    count: usize,
) -> crate::error::Result<()> {
    let items = serving.ids.len();
    if queries.is_empty() && count == 0 {
        return Ok(());
    }
    if queries.len().checked_mul(items) != Some(count) || scores.is_null() || !scores.is_aligned() {
        return Err(Error::invalid(format!(
            "score: room for {count} scores is given (NULL: none); {} queries are scored on {items} items",
            queries.len()
        )));
    }
    // SAFETY: the caller's promise.
    let run = unsafe { run_of(run, serving.config.run.threads)? };
    let made = serving.scores(queries, &run)?;
    // SAFETY: valid for `count` values, and as many were made.
    unsafe { std::ptr::copy_nonoverlapping(made.data().as_ptr(), scores, count) };
    Ok(())
}

/// causerie_recommend_query for a request in JSON, `len` bytes: the turns, oldest first, [{"role": "user" | "assistant",
/// "text": "…"}, …]; or an object {"turns": […], "seen": [{"id": id} | {"title", "year"} | "id or title", …], "exclude":
/// [id, …], "allow": [id, …], "top_k": n (where the argument is 0; of two the smaller one holds), "explain": n}. null is as if
/// it were not there; an empty "allow" allows nothing. The same grammar as of `causerie serve`. CAUSERIE_INVALID for what is
/// not JSON, unknown or misspelt keys, and values of another kind: the message names the field and says what to write.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommend(
    recommender: *const causerie_recommender,
    request: *const c_char,
    len: usize,
    top_k: u32,
    run: *const causerie_run,
    out: *mut *mut causerie_reply,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (serving, request, out) =
            unsafe { (shared(recommender)?.now(), text(request, len, "request")?, Out::new(out)?) };
        // SAFETY: as above.
        unsafe { answer(&serving, &parse(request)?, top_k, run, out) }
    })
}

/// causerie_score_query for a request in JSON, as of causerie_recommend.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_score(
    recommender: *const causerie_recommender,
    request: *const c_char,
    len: usize,
    run: *const causerie_run,
    scores: *mut f32,
    count: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (serving, request) = unsafe { (shared(recommender)?.now(), text(request, len, "request")?) };
        // SAFETY: as above.
        unsafe { score(&serving, &[&parse(request)?], run, scores, count) }
    })
}

/// Adds items (JSON lines as of causerie_dataset_add) to a ranking head or a language model ("constrained") that serves,
/// without tuning anew: they are recommended from now on by what they say of themselves. All or nothing. Other threads may
/// use the recommender meanwhile: a call under way goes on without them. An id that stands twice among them is taken once; the
/// others are counted in `dropped` (may be NULL). CAUSERIE_UNSUPPORTED for other recommenders; CAUSERIE_INVALID for an id that
/// is there already; CAUSERIE_FORMAT for a bad line.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_add(
    recommender: *const causerie_recommender,
    lines: *const c_char,
    len: usize,
    run: *const causerie_run,
    dropped: *mut usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (recommender, lines) = unsafe { (shared(recommender)?, text(lines, len, "items")?) };
        let serving = recommender.now();
        // SAFETY: as above.
        let run = unsafe { run_of(run, serving.config.run.threads)? };
        let attributes = serving.config.dataset.attributes.clone();
        let own = DatasetConfig { max_bad_lines: 0, format: SourceFormat::Causerie, attributes, ..Default::default() };
        let mut filling = Filling::new(&own);
        let count = filling.add_lines(Table::Items, lines, &run)?;
        let items = &filling.dataset().items;
        if !items.is_empty() {
            let items: Vec<Item> = (0..items.len()).map(|i| items.get(i)).collect();
            recommender.add(&items, &run)?;
        }
        // SAFETY: rule 2 of the header.
        unsafe { put(dropped, count as usize) };
        Ok(())
    })
}

/// Ends a recommender; NULL is fine. Replies live on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_recommender_free(recommender: *mut causerie_recommender) {
    free(recommender)
}

/// How many items an answer has; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_count(reply: *const causerie_reply) -> usize {
    guard_or(0, || Ok(shared(reply)?.rows.len()))
}

/// The rows of an answer's items in the catalogue (the order of causerie_recommender_id), best first, [count] (`count` may be
/// NULL); NULL where there are none. Borrowed from the reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_rows(reply: *const causerie_reply, count: *mut usize) -> *const u64 {
    guard_or(std::ptr::null(), || {
        let rows = &shared(reply)?.rows;
        // SAFETY: rule 2 of the header.
        unsafe { put(count, rows.len()) };
        Ok(if rows.is_empty() { std::ptr::null() } else { rows.as_ptr() })
    })
}

/// Their scores, as causerie_reply_rows: falling, of the recommender's own scale. Borrowed from the reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_scores(reply: *const causerie_reply, count: *mut usize) -> *const f64 {
    guard_or(std::ptr::null(), || {
        let scores = &shared(reply)?.scores;
        // SAFETY: rule 2 of the header.
        unsafe { put(count, scores.len()) };
        Ok(if scores.is_empty() { std::ptr::null() } else { scores.as_ptr() })
    })
}

/// The id of item `i` of an answer, best first, and its score (`score` may be NULL); NULL past the end. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_item(reply: *const causerie_reply, i: usize, score: *mut f64) -> *const c_char {
    guard_or(std::ptr::null(), || {
        let reply = shared(reply)?;
        let (Some(id), Some(value)) = (reply.id(i), reply.scores.get(i)) else { return Ok(std::ptr::null()) };
        // SAFETY: rule 2 of the header.
        unsafe { put(score, *value) };
        Ok(id.as_ptr())
    })
}

/// "Title (1999)" of item `i` of an answer; NULL past the end. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_title(reply: *const causerie_reply, i: usize) -> *const c_char {
    guard_or(std::ptr::null(), || Ok(shared(reply)?.title(i).map_or(std::ptr::null(), |title| title.as_ptr())))
}

/// The year of item `i` of an answer; 0 where it is not known, and past the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_year(reply: *const causerie_reply, i: usize) -> u32 {
    guard_or(0, || Ok(shared(reply)?.year(i).map_or(0, u32::from)))
}

/// Review `n` of those that speak for item `i` of an answer, nearest to what was said first: an excerpt of 240 characters at
/// most, and its cosine to the query (`similarity` may be NULL). NULL past the end, or where no reasons were asked for.
/// Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_evidence(
    reply: *const causerie_reply,
    i: usize,
    n: usize,
    similarity: *mut f64,
) -> *const c_char {
    guard_or(std::ptr::null(), || {
        let reply = shared(reply)?;
        let Some((review, text)) = reply.evidence(i, n) else { return Ok(std::ptr::null()) };
        // SAFETY: rule 2 of the header.
        unsafe { put(similarity, f64::from(review.similarity)) };
        Ok(text.as_ptr())
    })
}

/// The row of that review in the dataset; UINT64_MAX where causerie_reply_evidence is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_evidence_row(reply: *const causerie_reply, i: usize, n: usize) -> u64 {
    guard_or(u64::MAX, || Ok(shared(reply)?.evidence(i, n).map_or(u64::MAX, |(review, _)| u64::from(review.row))))
}

/// 1 where the time was up before the search was (recommend.timeout_ms): these are the items found by then; else 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_partial(reply: *const causerie_reply) -> i32 {
    guard_or(0, || Ok(i32::from(shared(reply)?.partial)))
}

/// 1 where the conversation was longer than what the recommender reads, which is its latest part; else 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_truncated(reply: *const causerie_reply) -> i32 {
    guard_or(0, || Ok(i32::from(shared(reply)?.truncated)))
}

/// What is to be said of an answer, one sentence each: names that are not in the catalogue, what was cut, what is missing.
/// NULL past the end. Borrowed from the reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_warning(reply: *const causerie_reply, i: usize) -> *const c_char {
    guard_or(std::ptr::null(), || {
        Ok(shared(reply)?.warnings.get(i).map_or(std::ptr::null(), |warning| warning.as_ptr()))
    })
}

/// The answer as text to show: "1. Title (1999)" a line. Borrowed from the reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_text(reply: *const causerie_reply) -> *const c_char {
    guard_or(c"".as_ptr(), || Ok(shared(reply)?.text().as_ptr()))
}

/// The answer as JSON: [{"item", "title", "year", "score"}, …], best first; with reasons each has "evidence": [{"review" (the
/// row in the dataset), "similarity", "text"}, …]. Borrowed from the reply.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_json(reply: *const causerie_reply) -> *const c_char {
    guard_or(c"".as_ptr(), || Ok(shared(reply)?.json().as_ptr()))
}

/// Ends an answer; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_reply_free(reply: *mut causerie_reply) {
    free(reply)
}
