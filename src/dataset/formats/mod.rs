//! What a line of each format means. Every function takes one line and gives one row, or the cause why not.

mod amazon;
mod csv;
mod movielens;
mod own;

use super::lines::Parsed;
use super::loose::Loose;
use super::table::{Interaction, Item, Review};
use crate::error::{Error, Result};
pub(super) use csv::Columns;
pub(super) use movielens::{Tags, read_tags};
use std::path::Path;

/// The formats that an import reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// causerie's own JSON lines.
    #[default]
    Causerie,
    /// Amazon Reviews '23: reviews and meta, joined by `parent_asin`.
    Amazon2023,
    /// Amazon reviews of 2018 and of 2014, joined by `asin`; the metadata of 2014 is Python, not JSON, and read too.
    Amazon2018,
    /// MovieLens: `movies.csv` as items, `ratings.csv` as interactions, `tags.csv` as keywords.
    MovieLens,
}

impl Format {
    /// The format that `dataset.format` names.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an unknown name.
    pub fn parse(name: &str) -> Result<Format> {
        match name {
            "causerie" => Ok(Format::Causerie),
            "amazon2023" => Ok(Format::Amazon2023),
            "amazon2018" => Ok(Format::Amazon2018),
            "movielens" => Ok(Format::MovieLens),
            _ => Err(Error::invalid(format!(
                "dataset.format = {name:?}: known are causerie, amazon2023, amazon2018, movielens"
            ))),
        }
    }
}

/// How the lines of one file are read: settled by the format and the file's first line.
pub(super) enum Reader {
    Json(Format),
    Csv(Columns),
}

impl Reader {
    pub fn of_items(format: Format, path: &Path, first: &str) -> Result<Reader> {
        match format {
            Format::MovieLens => Ok(Reader::Csv(Columns::of_movies(path, first)?)),
            Format::Causerie | Format::Amazon2023 | Format::Amazon2018 => Ok(Reader::Json(format)),
        }
    }
    /// Interactions come as CSV or as JSON lines in every format.
    pub fn of_interactions(format: Format, path: &Path, first: &str) -> Result<Reader> {
        if first.trim_start().starts_with('{') {
            return Ok(Reader::Json(format));
        }
        Ok(Reader::Csv(Columns::of_interactions(path, first)?))
    }
    /// An item; none for the line of column names.
    pub fn item(&self, line: &str, tags: &Tags) -> Parsed<Option<Item>> {
        match self {
            Reader::Json(Format::Amazon2023 | Format::Amazon2018) => amazon::item(line).map(Some),
            Reader::Json(Format::Causerie | Format::MovieLens) => own::item(line).map(Some),
            Reader::Csv(columns) => movielens::item(columns, line, tags),
        }
    }
    /// An interaction; none for the line of column names.
    pub fn interaction(&self, line: &str) -> Parsed<Option<Interaction>> {
        match self {
            Reader::Json(_) => own::interaction(line).map(Some),
            Reader::Csv(columns) => columns.interaction(line),
        }
    }
}

/// A review, as the reviews file of `format` has it.
pub(super) fn review(format: Format, line: &str) -> Parsed<Review> {
    match format {
        // MovieLens has no reviews; a file of them comes in our own shape.
        Format::Causerie | Format::MovieLens => own::review(line),
        Format::Amazon2023 => amazon::review_2023(line),
        Format::Amazon2018 => amazon::review_2018(line),
    }
}

/// The JSON object in `line`.
fn json<'a, T: serde::Deserialize<'a>>(line: &'a str) -> Parsed<T> {
    if !line.trim_start().starts_with('{') {
        return Err("not a JSON object".into());
    }
    serde_json::from_str(line).map_err(|e| {
        // The line is known; serde's own count of lines would only confuse.
        let cause = e.to_string();
        format!("bad JSON: {}", cause.replace(" at line 1 column", ", column"))
    })
}

/// A rating times `scale` as 1 to 10. Absent and 0 (Amazon's and others' "not rated") are none; what is no number, or out
/// of the scale, makes the line a bad one.
fn rating10(value: &Loose<'_>, scale: f64) -> Parsed<Option<f32>> {
    let number = match value {
        Loose::Null => return Ok(None),
        Loose::Text(text) if text.trim().is_empty() => return Ok(None),
        Loose::Text(text) => text.trim().parse::<f64>().ok().filter(|v| v.is_finite()),
        Loose::Integer(_) | Loose::Float(_) => value.number(),
        Loose::Bool(_) | Loose::List(_) | Loose::Map(_) => None,
    };
    match number.map(|v| v * scale) {
        None => Err("the rating is not a number".into()),
        Some(0.0) => Ok(None),
        Some(v) if v > 0.0 && v <= 10.0 => Ok(Some(v.max(1.0) as f32)),
        Some(v) => Err(format!("a rating of {} on a scale to {}", v / scale, 10.0 / scale)),
    }
}

/// The texts without repetitions and without empty ones, in their order.
fn distinct(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for text in texts {
        if !text.is_empty() && !out.contains(&text) {
            out.push(text);
        }
    }
    out
}
