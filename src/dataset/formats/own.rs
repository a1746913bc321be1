//! causerie's own JSON lines.
//!
//! - items: `{"item", "title", "year", "genres", "plot" | "overview" | "description", "director", "writer", "stars" |
//!   "creators", "keywords", "price", "attributes": {"brand": "Acme", "colour": ["red", "blue"]}}`; only `item` (or `id`) must be there.
//! - reviews: `{"item", "user", "rating10" | "rating", "title", "text", "timestamp", "helpful"}`; `item` and `text` must be
//!   there. `rating` is of five stars. Times are in milliseconds since 1970, or ISO dates.
//! - interactions: `{"user", "item", "rating10" | "rating", "timestamp_ms" | "timestamp"}`.

use super::super::clean;
use super::super::lines::Parsed;
use super::super::loose::{Loose, TimeUnit};
use super::super::table::{Interaction, Item, Review};
use super::attributes;
use super::field::{distinct, helpful, json, rating10};
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(default)]
struct ItemLine<'a> {
    #[serde(borrow)]
    item: Loose<'a>,
    #[serde(borrow)]
    id: Loose<'a>,
    #[serde(borrow)]
    title: Loose<'a>,
    #[serde(borrow)]
    year: Loose<'a>,
    #[serde(borrow)]
    genres: Loose<'a>,
    #[serde(borrow)]
    creators: Loose<'a>,
    #[serde(borrow)]
    director: Loose<'a>,
    #[serde(borrow)]
    writer: Loose<'a>,
    #[serde(borrow)]
    stars: Loose<'a>,
    #[serde(borrow)]
    keywords: Loose<'a>,
    #[serde(borrow)]
    plot: Loose<'a>,
    #[serde(borrow)]
    overview: Loose<'a>,
    #[serde(borrow)]
    description: Loose<'a>,
    #[serde(borrow)]
    price: Loose<'a>,
    #[serde(borrow)]
    attributes: Loose<'a>,
}

pub(super) fn item(line: &str) -> Parsed<Item> {
    let mut spare = String::new();
    let row: ItemLine<'_> = json(line, &mut spare)?;
    let id = row.item.id().or_else(|| row.id.id()).ok_or("no item id (`item`)")?;
    let year = row.year.number().filter(|year| (1.0..=9999.0).contains(year)).map(|year| year as u16);
    let texts = [&row.plot, &row.overview, &row.description].map(|text| clean::html(&text.text()));
    let creators = [&row.creators, &row.director, &row.writer, &row.stars];
    let mut attributes = Vec::new();
    // What has no name is left out, and counted, by the dataset.
    attributes::add("", &row.attributes, &mut attributes);
    Ok(Item {
        id,
        title: clean::html(&row.title.text()),
        year,
        genres: distinct(row.genres.list()),
        creators: distinct(creators.into_iter().flat_map(Loose::list)),
        keywords: distinct(row.keywords.list()),
        description: distinct(texts).join(" "),
        price: row.price.number().map(|price| price as f32).filter(|price| price.is_finite()),
        attributes,
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ReviewLine<'a> {
    #[serde(borrow)]
    item: Loose<'a>,
    #[serde(borrow)]
    user: Loose<'a>,
    #[serde(borrow)]
    rating10: Loose<'a>,
    #[serde(borrow)]
    rating: Loose<'a>,
    #[serde(borrow)]
    title: Loose<'a>,
    #[serde(borrow)]
    text: Loose<'a>,
    #[serde(borrow)]
    timestamp: Loose<'a>,
    #[serde(borrow)]
    timestamp_ms: Loose<'a>,
    #[serde(borrow)]
    helpful: Loose<'a>,
}

pub(super) fn review(line: &str) -> Parsed<Review> {
    let mut spare = String::new();
    let row: ReviewLine<'_> = json(line, &mut spare)?;
    let item = row.item.id().ok_or("no item id (`item`)")?;
    if !matches!(row.text, Loose::Text(_)) {
        return Err("no review text (`text`)".into());
    }
    Ok(Review {
        item,
        user: row.user.id(),
        rating10: stars(&row.rating10, &row.rating)?,
        title: clean::html(&row.title.text()),
        text: clean::html(&row.text.text()),
        timestamp_ms: own_time(&row.timestamp_ms, &row.timestamp),
        helpful: helpful(&row.helpful),
    })
}

fn own_time(timestamp_ms: &Loose<'_>, timestamp: &Loose<'_>) -> Option<i64> {
    [timestamp_ms, timestamp].iter().find_map(|time| time.time(TimeUnit::Milliseconds))
}

fn stars(of_ten: &Loose<'_>, of_five: &Loose<'_>) -> Parsed<Option<f32>> {
    match rating10(of_ten, 1.0)? {
        Some(rating) => Ok(Some(rating)),
        None => rating10(of_five, 2.0),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct InteractionLine<'a> {
    #[serde(borrow)]
    item: Loose<'a>,
    #[serde(borrow)]
    user: Loose<'a>,
    #[serde(borrow)]
    rating10: Loose<'a>,
    #[serde(borrow)]
    rating: Loose<'a>,
    #[serde(borrow)]
    timestamp: Loose<'a>,
    #[serde(borrow)]
    timestamp_ms: Loose<'a>,
}

pub(super) fn interaction(line: &str) -> Parsed<Interaction> {
    let mut spare = String::new();
    let row: InteractionLine<'_> = json(line, &mut spare)?;
    Ok(Interaction {
        user: row.user.id().ok_or("no user id (`user`)")?,
        item: row.item.id().ok_or("no item id (`item`)")?,
        rating10: stars(&row.rating10, &row.rating)?,
        timestamp_ms: own_time(&row.timestamp_ms, &row.timestamp),
    })
}
