//! The seed data in memory: columns, no allocation per row.

use super::attributes::{self, Tidy};
use super::column::Column;
use super::row_index::RowIndex;
use super::text::{SEPARATOR, TextColumn};
use crate::error::{Error, Result};

/// "No user", "no item" in index columns.
pub const NONE: u32 = u32::MAX;

/// One item as it is added. Lists keep their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item {
    /// The id in the user's catalogue: unique, not empty.
    pub id: String,
    /// The title; may be empty.
    pub title: String,
    /// Year of release.
    pub year: Option<u16>,
    /// Genres or categories.
    pub genres: Vec<String>,
    /// Directors, writers, actors, authors, brand, store.
    pub creators: Vec<String>,
    /// Keywords, features.
    pub keywords: Vec<String>,
    /// Plot, overview, description.
    pub description: String,
    /// Price in the user's currency.
    pub price: Option<f32>,
    /// Named attributes, name and value: brand, material, colour, platform. A name may come several times. A dataset keeps
    /// names in lower case, 64 attributes of an item, 60 characters of a name and 200 of a value.
    pub attributes: Vec<(String, String)>,
}

/// One review as it is added.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Review {
    /// The item's id.
    pub item: String,
    /// The user's id.
    pub user: Option<String>,
    /// Rating on a scale of 1 to 10 (five stars are doubled).
    pub rating10: Option<f32>,
    /// The headline.
    pub title: String,
    /// The text.
    pub text: String,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Readers who found it helpful.
    pub helpful: u32,
}

/// One interaction as it is added.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interaction {
    /// The user's id.
    pub user: String,
    /// The item's id.
    pub item: String,
    /// Rating on a scale of 1 to 10; none for a view or a purchase.
    pub rating10: Option<f32>,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
}

/// Characters of the attributes in an item's text: the description is behind them, and a model reads the beginning.
const ATTRIBUTE_CHARS: usize = 400;

/// The catalogue.
#[derive(Debug, Clone, Default)]
pub struct Items {
    pub(super) ids: TextColumn,
    pub(super) titles: TextColumn,
    /// 0: unknown.
    pub(super) years: Column<u16>,
    pub(super) genres: TextColumn,
    pub(super) creators: TextColumn,
    pub(super) keywords: TextColumn,
    pub(super) descriptions: TextColumn,
    /// NaN: unknown.
    pub(super) prices: Column<f32>,
    pub(super) attributes: TextColumn,
    pub(super) index: RowIndex,
}

/// The entries of a list as one text. Empty entries are left out: they cannot be told from no entry.
fn join(parts: &[String]) -> String {
    let mut out = String::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        if !out.is_empty() {
            out.push(SEPARATOR);
        }
        out.extend(part.chars().map(|c| if c == SEPARATOR { ' ' } else { c }));
    }
    out
}

/// Row numbers are 32 bits wide, and the last one means "none".
fn next_row(rows: usize, what: &str) -> Result<u32> {
    u32::try_from(rows).ok().filter(|row| *row != NONE).ok_or_else(|| {
        Error::new(crate::ErrorKind::Unsupported, format!("more than {} {what} do not fit one dataset", NONE - 1))
    })
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(SEPARATOR).filter(|part| !part.is_empty())
}

impl Items {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.ids.len()
    }
    /// No items.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
    /// Id of item `i`.
    pub fn id(&self, i: usize) -> &str {
        self.ids.get(i)
    }
    /// Title of item `i`; may be empty.
    pub fn title(&self, i: usize) -> &str {
        self.titles.get(i)
    }
    /// Year of item `i`.
    pub fn year(&self, i: usize) -> Option<u16> {
        Some(self.years.at(i)).filter(|y| *y != 0)
    }
    /// Genres of item `i`.
    pub fn genres(&self, i: usize) -> impl Iterator<Item = &str> {
        list(self.genres.get(i))
    }
    /// Directors, writers, actors, authors, brand, store of item `i`.
    pub fn creators(&self, i: usize) -> impl Iterator<Item = &str> {
        list(self.creators.get(i))
    }
    /// Keywords of item `i`.
    pub fn keywords(&self, i: usize) -> impl Iterator<Item = &str> {
        list(self.keywords.get(i))
    }
    /// Description of item `i`; may be empty.
    pub fn description(&self, i: usize) -> &str {
        self.descriptions.get(i)
    }
    /// Price of item `i`.
    pub fn price(&self, i: usize) -> Option<f32> {
        Some(self.prices.at(i)).filter(|p| !p.is_nan())
    }
    /// Attributes of item `i`, name and value; names are in lower case and may come several times.
    pub fn attributes(&self, i: usize) -> impl Iterator<Item = (&str, &str)> {
        attributes::pairs(self.attributes.get(i))
    }
    /// Attributes of item `i` whose values its genres, creators and keywords do not say.
    pub fn further_attributes(&self, i: usize) -> impl Iterator<Item = (&str, &str)> {
        let said = move |value: &str| {
            self.genres(i)
                .chain(self.creators(i))
                .chain(self.keywords(i))
                .any(|other| other.eq_ignore_ascii_case(value))
        };
        self.attributes(i).filter(move |(_, value)| !said(value))
    }
    /// Whether any item has an attribute.
    pub fn have_attributes(&self) -> bool {
        self.attributes.bytes() > 0
    }
    /// What people call it: the title, or the id when there is no title.
    pub fn label(&self, i: usize) -> &str {
        match self.title(i) {
            "" => self.id(i),
            title => title,
        }
    }
    /// `Title (1999)`, or the title alone, or the id when there is no title.
    pub fn name(&self, i: usize) -> String {
        match (self.title(i), self.year(i)) {
            ("", _) => self.id(i).to_string(),
            (title, Some(year)) => format!("{title} ({year})"),
            (title, None) => title.to_string(),
        }
    }
    /// Everything the item says of itself, as one text: title, year, genres, creators, keywords, then attributes that
    /// these do not say (400 characters at most), description.
    pub fn text(&self, i: usize) -> String {
        let mut out = self.name(i);
        for part in [self.genres.get(i), self.creators.get(i), self.keywords.get(i)] {
            if !part.is_empty() {
                out.push_str(". ");
                out.push_str(&part.replace(SEPARATOR, ", "));
            }
        }
        let (mut left, mut before) = (ATTRIBUTE_CHARS, None);
        for (name, value) in self.further_attributes(i) {
            let part = match before {
                Some(other) if other == name => format!(", {value}"),
                Some(_) | None => format!(". {name}: {value}"),
            };
            let Some(rest) = left.checked_sub(part.chars().count()) else { continue };
            out.push_str(&part);
            (left, before) = (rest, Some(name));
        }
        if !self.description(i).is_empty() {
            out.push_str(". ");
            out.push_str(self.description(i));
        }
        out
    }
    /// The row of the item with this id.
    pub fn find(&self, id: &str) -> Option<u32> {
        self.index.find(&self.ids, id)
    }
    /// Row `i` as it was added, its attributes as they are kept.
    pub fn get(&self, i: usize) -> Item {
        let owned = |part: &TextColumn| list(part.get(i)).map(str::to_string).collect();
        Item {
            id: self.id(i).to_string(),
            title: self.title(i).to_string(),
            year: self.year(i),
            genres: owned(&self.genres),
            creators: owned(&self.creators),
            keywords: owned(&self.keywords),
            description: self.description(i).to_string(),
            price: self.price(i),
            attributes: self.attributes(i).map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        }
    }
}

/// Items, reviews and interactions, joined by row numbers.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// The catalogue.
    pub items: Items,
    /// Rows of [`Items`].
    pub(super) review_items: Column<u32>,
    /// Rows of `users`, or [`NONE`].
    pub(super) review_users: Column<u32>,
    /// NaN: none.
    pub(super) review_ratings: Column<f32>,
    pub(super) review_titles: TextColumn,
    pub(super) review_texts: TextColumn,
    /// `i64::MIN`: none.
    pub(super) review_timestamps: Column<i64>,
    pub(super) review_helpful: Column<u32>,
    pub(super) interaction_users: Column<u32>,
    pub(super) interaction_items: Column<u32>,
    pub(super) interaction_ratings: Column<f32>,
    pub(super) interaction_timestamps: Column<i64>,
    pub(super) users: TextColumn,
    pub(super) user_index: RowIndex,
}

impl Dataset {
    /// Adds an item; an id that is there already is refused.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an empty or repeated id.
    pub fn add_item(&mut self, item: &Item) -> Result<u32> {
        self.add_tidied(item).map(|(row, _)| row)
    }
    /// [`Dataset::add_item`], with the number of attributes that were left out or cut.
    pub(super) fn add_tidied(&mut self, item: &Item) -> Result<(u32, u64)> {
        if item.id.is_empty() {
            return Err(Error::invalid("an item without an id"));
        }
        if self.items.find(&item.id).is_some() {
            return Err(Error::invalid(format!("item {} is there already", item.id)));
        }
        let row = next_row(self.items.len(), "items")?;
        let items = &mut self.items;
        items.ids.push(&item.id);
        items.index.insert(&items.ids, row);
        items.titles.push(&item.title);
        items.years.push(item.year.unwrap_or(0));
        items.genres.push(&join(&item.genres));
        items.creators.push(&join(&item.creators));
        items.keywords.push(&join(&item.keywords));
        items.descriptions.push(&item.description);
        items.prices.push(item.price.unwrap_or(f32::NAN));
        let Tidy { kept, lost } = attributes::tidy(&item.attributes);
        items.attributes.push(&attributes::join(&kept));
        Ok((row, lost))
    }
    /// Adds a review of a known item.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] for an unknown item; nothing is added then.
    pub fn add_review(&mut self, review: &Review) -> Result<()> {
        let item = self.item_row(&review.item)?;
        next_row(self.reviews(), "reviews")?;
        let user = match review.user.as_deref() {
            Some(user) => self.user_row(user)?,
            None => NONE,
        };
        self.review_items.push(item);
        self.review_users.push(user);
        self.review_ratings.push(review.rating10.unwrap_or(f32::NAN));
        self.review_titles.push(&review.title);
        self.review_texts.push(&review.text);
        self.review_timestamps.push(review.timestamp_ms.unwrap_or(i64::MIN));
        self.review_helpful.push(review.helpful);
        Ok(())
    }
    /// Adds an interaction with a known item.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] for an unknown item; nothing is added then.
    pub fn add_interaction(&mut self, interaction: &Interaction) -> Result<()> {
        let item = self.item_row(&interaction.item)?;
        let user = self.user_row(&interaction.user)?;
        self.interaction_users.push(user);
        self.interaction_items.push(item);
        self.interaction_ratings.push(interaction.rating10.unwrap_or(f32::NAN));
        self.interaction_timestamps.push(interaction.timestamp_ms.unwrap_or(i64::MIN));
        Ok(())
    }
    fn item_row(&self, id: &str) -> Result<u32> {
        self.items.find(id).ok_or_else(|| Error::not_found(format!("item {id:?} is not in the catalogue")))
    }
    fn user_row(&mut self, id: &str) -> Result<u32> {
        if let Some(row) = self.user_index.find(&self.users, id) {
            return Ok(row);
        }
        let row = next_row(self.users.len(), "users")?;
        self.users.push(id);
        self.user_index.insert(&self.users, row);
        Ok(row)
    }
    /// The row of the user with this id.
    pub fn find_user(&self, id: &str) -> Option<u32> {
        self.user_index.find(&self.users, id)
    }
    /// Number of reviews.
    pub fn reviews(&self) -> usize {
        self.review_items.len()
    }
    /// Number of interactions.
    pub fn interactions(&self) -> usize {
        self.interaction_items.len()
    }
    /// Number of users known from reviews and interactions.
    pub fn users(&self) -> usize {
        self.users.len()
    }
    /// Id of user `u`.
    pub fn user_id(&self, u: usize) -> &str {
        self.users.get(u)
    }
    /// Item row of review `r`.
    pub fn review_item(&self, r: usize) -> usize {
        self.review_items.at(r) as usize
    }
    /// User row of review `r`.
    pub fn review_user(&self, r: usize) -> Option<usize> {
        Some(self.review_users.at(r)).filter(|u| *u != NONE).map(|u| u as usize)
    }
    /// Rating of review `r`, 1 to 10.
    pub fn review_rating10(&self, r: usize) -> Option<f32> {
        Some(self.review_ratings.at(r)).filter(|v| !v.is_nan())
    }
    /// Headline of review `r`.
    pub fn review_title(&self, r: usize) -> &str {
        self.review_titles.get(r)
    }
    /// Text of review `r`.
    pub fn review_text(&self, r: usize) -> &str {
        self.review_texts.get(r)
    }
    /// Time of review `r`, milliseconds since 1970.
    pub fn review_timestamp_ms(&self, r: usize) -> Option<i64> {
        Some(self.review_timestamps.at(r)).filter(|t| *t != i64::MIN)
    }
    /// Helpful votes of review `r`.
    pub fn review_helpful(&self, r: usize) -> u32 {
        self.review_helpful.at(r)
    }
    /// Review rows of every item: `[items]` lists, each in ascending order.
    pub fn reviews_by_item(&self) -> Vec<Vec<u32>> {
        let mut lists = vec![Vec::new(); self.items.len()];
        for (row, item) in self.review_items.iter().enumerate() {
            lists[item as usize].push(row as u32);
        }
        lists
    }
    /// Interaction `n`: user row, item row, rating 1 to 10, time in ms.
    pub fn interaction(&self, n: usize) -> (usize, usize, Option<f32>, Option<i64>) {
        (
            self.interaction_users.at(n) as usize,
            self.interaction_items.at(n) as usize,
            Some(self.interaction_ratings.at(n)).filter(|v| !v.is_nan()),
            Some(self.interaction_timestamps.at(n)).filter(|t| *t != i64::MIN),
        )
    }
    /// What an import prints.
    pub fn summary(&self) -> Summary {
        let mut per_item = vec![0u64; self.items.len()];
        for item in self.review_items.iter() {
            per_item[item as usize] += 1;
        }
        let rich = per_item.iter().filter(|n| **n >= 3).count();
        let items = self.items.len() as u64;
        let reviews = self.reviews() as u64;
        Summary {
            items,
            reviews,
            users: self.users() as u64,
            interactions: self.interactions() as u64,
            reviews_per_item: if items == 0 { 0.0 } else { reviews as f64 / items as f64 },
            share_with_3_reviews: if items == 0 { 0.0 } else { rich as f64 / items as f64 },
            text_bytes: self.review_texts.bytes() + self.review_titles.bytes() + self.items.descriptions.bytes(),
        }
    }
}

/// What an import prints.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Items in the catalogue.
    pub items: u64,
    /// Reviews kept.
    pub reviews: u64,
    /// Users known from reviews and interactions.
    pub users: u64,
    /// Interactions kept.
    pub interactions: u64,
    /// Mean number of reviews per item.
    pub reviews_per_item: f64,
    /// Share of items with at least 3 reviews, 0 to 1.
    pub share_with_3_reviews: f64,
    /// Bytes of text kept.
    pub text_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_stand_in_an_items_text_once_and_one_without_says_what_it_said() {
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        let plain = Item {
            id: "a".into(),
            title: "Lamp".into(),
            year: Some(1999),
            genres: vec!["Light".into(), "Home".into()],
            creators: vec!["Acme".into()],
            keywords: vec!["desk".into()],
            description: "Bright.".into(),
            ..Item::default()
        };
        let long = (0..40).map(|n| pair(&format!("n{n}"), "a value of twenty ch")).collect();
        let attributes =
            vec![pair("Brand", "ACME"), pair("Colour", "red"), pair("Colour", "blue"), pair("Style", "Deco")];
        let mut dataset = Dataset::default();
        dataset.add_item(&plain).unwrap();
        dataset.add_item(&Item { id: "b".into(), attributes, ..plain.clone() }).unwrap();
        dataset.add_item(&Item { id: "c".into(), attributes: long, ..plain }).unwrap();
        let items = &dataset.items;
        assert_eq!(items.text(0), "Lamp (1999). Light, Home. Acme. desk. Bright.");
        assert_eq!(items.text(1), "Lamp (1999). Light, Home. Acme. desk. colour: red, blue. style: Deco. Bright.");
        let of_attributes = items.text(2).chars().count() - items.text(0).chars().count();
        assert!((ATTRIBUTE_CHARS - 26..=ATTRIBUTE_CHARS).contains(&of_attributes), "{of_attributes}");
        assert!(items.text(2).ends_with(". Bright."));
        assert_eq!(items.attributes(1).next(), Some(("brand", "ACME")));
    }
}
