//! A request as a handle: built once, asked often, without text to parse.

use super::error::causerie_error;
use super::guard::guard;
use super::handle::{Out, exclusive, free, noun};
use super::text::{slice, text};
use crate::dataset::{ItemName, Role, Turn};
use crate::error::{Error, Result};
use crate::recommend::service::Query;
use crate::recommend::service::request::{EXPLAIN_MOST, Fields, Json, RequestError, read_request, read_turns};
use std::ffi::c_char;

/// A request: what was said, what was seen, what may come back. It belongs to no recommender; any may be asked with it.
pub struct causerie_query {
    _opaque: [u8; 0],
}
noun!(causerie_query, Query);

/// Who speaks: the person who seeks.
pub const CAUSERIE_USER: i32 = 0;
/// Who speaks: the recommender.
pub const CAUSERIE_ASSISTANT: i32 = 1;

/// The greatest `top_k`: that of a signed number of 32 bits, which every language has.
const TOP_K_MOST: usize = i32::MAX as usize;

/// A query of JSON, as of `causerie_recommend`: turns alone, or with what must and what may come back.
pub(super) fn parse(json: &str) -> Result<Query> {
    let query = match Json::parse(json)? {
        turns @ Json::List(_) => read_turns(turns, "turns")?,
        request => {
            let write = "[{\"role\": \"user\", \"text\": \"…\"}, …] or {\"turns\": […], \"seen\": [{\"id\": \"…\"}], \
                         \"exclude\": [\"id\"], \"allow\": [\"id\"], \"explain\": 2}";
            read_request(Fields::of(request, "", write)?, TOP_K_MOST)?
        }
    };
    Ok(query)
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Error {
        Error::invalid(format!("recommend: the request does not parse: {error}"))
    }
}

/// ---- 6 recommend: queries ---------------------------------------------------------------------------------------
/// An empty query. The functions below fill it, without JSON; causerie_recommend_query asks it. Kept between the turns of a
/// conversation, it grows by a turn at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_new(out: *mut *mut causerie_query) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rule 2 of the header.
        unsafe { Out::new(out)? }.set(Query::default());
        Ok(())
    })
}

/// A query of `len` bytes of JSON, as causerie_recommend takes them. CAUSERIE_INVALID where it does not parse.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_parse(
    request: *const c_char,
    len: usize,
    out: *mut *mut causerie_query,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 4 of the header.
        let (request, out) = unsafe { (text(request, len, "request")?, Out::new(out)?) };
        out.set(parse(request)?);
        Ok(())
    })
}

/// Adds the next turn: `role` is CAUSERIE_USER or CAUSERIE_ASSISTANT, `words` what was said, `len` bytes. What a turn names
/// does not come back.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_turn(
    query: *mut causerie_query,
    role: i32,
    words: *const c_char,
    len: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut query, words) = unsafe { (exclusive(query)?, text(words, len, "words")?) };
        let role = match role {
            CAUSERIE_USER => Role::User,
            CAUSERIE_ASSISTANT => Role::Assistant,
            other => return Err(Error::invalid(format!("query: role {other}; CAUSERIE_USER or CAUSERIE_ASSISTANT"))),
        };
        query.conversation.turns.push(Turn { role, text: words.to_string() });
        Ok(())
    })
}

/// Adds an item that the user has seen, by its id, `len` bytes: it tells of taste, and does not come back. One that is not in
/// the catalogue is passed over.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_seen(
    query: *mut causerie_query,
    id: *const c_char,
    len: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut query, id) = unsafe { (exclusive(query)?, text(id, len, "id")?) };
        query.conversation.seen.push(ItemName { item: Some(id.to_string()), ..ItemName::default() });
        Ok(())
    })
}

/// The same by title, `len` bytes, and year of release (0: unknown), as people and other catalogues name it.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_seen_title(
    query: *mut causerie_query,
    title: *const c_char,
    len: usize,
    year: u32,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut query, title) = unsafe { (exclusive(query)?, text(title, len, "title")?) };
        let year = match year {
            0 => None,
            year => Some(u16::try_from(year).map_err(|_| Error::invalid(format!("query: a year of {year}")))?),
        };
        query.conversation.seen.push(ItemName { title: title.to_string(), year, item: None });
        Ok(())
    })
}

/// Adds an id that must not come back, `len` bytes. One that is not in the catalogue is passed over (the log tells).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_exclude(
    query: *mut causerie_query,
    id: *const c_char,
    len: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut query, id) = unsafe { (exclusive(query)?, text(id, len, "id")?) };
        query.exclude.ids.push(id.to_string());
        Ok(())
    })
}

/// Adds `count` items that must not come back, by their rows (the order of causerie_recommender_id; items that are added
/// while it serves come behind). A row past the end is CAUSERIE_INVALID when the query is asked.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_exclude_rows(
    query: *mut causerie_query,
    rows: *const u64,
    count: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (mut query, rows) = unsafe { (exclusive(query)?, slice(rows, count, "rows")?) };
        query.exclude.rows.extend_from_slice(rows);
        Ok(())
    })
}

/// Adds an id that may come back, `len` bytes: from the first one on, nothing else may. When it is asked, one that is not in
/// the catalogue is passed over; CAUSERIE_NOT_FOUND where that is all of them.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_allow(
    query: *mut causerie_query,
    id: *const c_char,
    len: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut query, id) = unsafe { (exclusive(query)?, text(id, len, "id")?) };
        query.allow.get_or_insert_default().ids.push(id.to_string());
        Ok(())
    })
}

/// Adds `count` items that may come back, by their rows, as causerie_query_exclude_rows; (NULL, 0) alone allows nothing.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_allow_rows(
    query: *mut causerie_query,
    rows: *const u64,
    count: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 and 3 of the header.
        let (mut query, rows) = unsafe { (exclusive(query)?, slice(rows, count, "rows")?) };
        query.allow.get_or_insert_default().rows.extend_from_slice(rows);
        Ok(())
    })
}

/// Has every item come with the `reviews` of it that lie nearest to what was said, at most 100 (else recommend.explain says).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_explain(query: *mut causerie_query, reviews: u32) -> *mut causerie_error {
    guard(|| {
        let mut query = exclusive(query)?;
        if u64::from(reviews) > EXPLAIN_MOST {
            return Err(Error::invalid(format!(
                "query: explain = {reviews}: at most {EXPLAIN_MOST} reviews of each item"
            )));
        }
        query.explain = Some(reviews as usize);
        Ok(())
    })
}

/// Empties a query, for the next conversation.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_clear(query: *mut causerie_query) -> *mut causerie_error {
    guard(|| {
        let mut query = exclusive(query)?;
        let mut turns = std::mem::take(&mut query.conversation.turns);
        turns.clear();
        *query = Query::of_turns(turns);
        Ok(())
    })
}

/// Ends a query; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_query_free(query: *mut causerie_query) {
    free(query)
}
