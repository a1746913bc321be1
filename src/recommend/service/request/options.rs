//! What must and what may come back, how many of it, and why; and the request as a whole.

use super::fields::{Fields, list, not, number, text, texts};
use super::tree::{Json, RequestError};
use super::turns::read_turns;
use crate::dataset::ItemName;
use crate::recommend::service::query::{ItemList, Query};

/// Reviews behind each item at most, and where a request says `true`.
pub const EXPLAIN_MOST: u64 = 100;
const EXPLAIN_TRUE: u64 = 3;

/// The names of the conversation: any one of them.
pub const TURNS: [&str; 3] = ["turns", "conversation", "messages"];
/// What a request may say beside its conversation.
pub const OPTIONS: [&str; 5] = ["seen", "exclude", "allow", "top_k", "explain"];

const SEEN: &str = "an id or a title, \"…\", or {\"id\": \"…\"}, or {\"title\": \"…\", \"year\": 1995}";

/// An item that the user has seen: an id or a title (with or without its year) in one text, or an object with `id` (`item`
/// and `imdb` are other words for it), `title` and `year`.
fn seen_item(value: Json, field: &str) -> Result<ItemName, RequestError> {
    if let Json::Text(text) = value {
        return Ok(ItemName { title: text.clone(), year: None, item: Some(text) });
    }
    let mut fields = Fields::of(value, field, SEEN)?;
    let id = match fields.take_one(&["id", "item", "imdb"])? {
        Some((name, Json::Number(number))) => {
            let message = format!("{number} is a number: write the id as a text, \"{number}\"");
            return Err(RequestError::field(fields.place(name), message));
        }
        Some((name, value)) => Some(text(value, &fields.place(name), "an id, \"…\"")?),
        None => None,
    };
    let title = fields.take("title").map(|value| text(value, &fields.place("title"), "a title, \"…\"")).transpose()?;
    let year = fields.take("year").map(|value| number(value, &fields.place("year"), 0..=9999)).transpose()?;
    fields.end(&["id", "title", "year"])?;
    let blank = |text: &Option<String>| text.as_deref().is_none_or(|text| text.trim().is_empty());
    if blank(&id) && blank(&title) {
        return Err(RequestError::field(field, format!("names no item: write {SEEN}")));
    }
    // Within 9999, as was checked; 0 is how some say that they do not know.
    let year = year.and_then(|year| u16::try_from(year).ok()).filter(|year| *year > 0);
    Ok(ItemName { title: title.unwrap_or_default(), year, item: id })
}

/// `explain`: true, false, or a number of reviews.
fn reviews(value: Json, field: &str) -> Result<usize, RequestError> {
    let count = match &value {
        Json::Flag(true) => Some(EXPLAIN_TRUE),
        Json::Flag(false) => Some(0),
        Json::Number(count) => count.as_u64().filter(|count| *count <= EXPLAIN_MOST),
        Json::Null | Json::Text(_) | Json::List(_) | Json::Object(_) => None,
    };
    count.map(|count| count as usize).ok_or_else(|| {
        not(&value, field, &format!("true, false, or how many reviews of each item, 0 to {EXPLAIN_MOST}"))
    })
}

/// Takes what must and what may come back out of `fields` into `query`: `seen`, `exclude`, `allow`, `top_k` (at most
/// `most`), `explain`; null is as if it were not there.
///
/// # Errors
/// [`RequestError::Field`].
pub fn read_options(fields: &mut Fields, most: usize, query: &mut Query) -> Result<(), RequestError> {
    if let Some(value) = fields.take("seen") {
        let at = fields.place("seen");
        let items = list(value, &at, "a list of items, [{\"id\": \"…\"}, …]")?.into_iter().enumerate();
        let items = items.map(|(n, value)| seen_item(value, &format!("{at}[{n}]")));
        query.conversation.seen = items.collect::<Result<_, _>>()?;
    }
    if let Some(value) = fields.take("exclude") {
        query.exclude = ItemList::of_ids(texts(value, &fields.place("exclude"))?);
    }
    if let Some(value) = fields.take("allow") {
        query.allow = Some(ItemList::of_ids(texts(value, &fields.place("allow"))?));
    }
    if let Some(value) = fields.take("top_k") {
        query.top_k = Some(number(value, &fields.place("top_k"), 1..=most as u64)? as usize);
    }
    if let Some(value) = fields.take("explain") {
        query.explain = Some(reviews(value, &fields.place("explain"))?);
    }
    Ok(())
}

/// One request: `turns` (or `conversation`, or `messages`), what [`read_options`] takes, and `id`, the caller's own name for
/// the conversation.
///
/// # Errors
/// [`RequestError::Field`].
pub fn read_request(mut fields: Fields, most: usize) -> Result<Query, RequestError> {
    let Some((name, turns)) = fields.take_one(&TURNS)? else {
        // A misspelt name of it says more than that it is missing.
        let known = [&TURNS[..], &OPTIONS, &["id"]].concat();
        let mut query = Query::default();
        let place = fields.place("turns");
        fields.take("id");
        read_options(&mut fields, most, &mut query)?;
        fields.end(&known)?;
        let message = "missing: write what was said, [{\"role\": \"user\", \"text\": \"…\"}, …]";
        return Err(RequestError::field(place, message));
    };
    let mut query = read_turns(turns, &fields.place(name))?;
    if let Some(id) = fields.take("id") {
        query.conversation.id = text(id, &fields.place("id"), "a text of your own, \"…\"")?;
    }
    read_options(&mut fields, most, &mut query)?;
    fields.end(&[&[name][..], &OPTIONS, &["id"]].concat())?;
    Ok(query)
}
