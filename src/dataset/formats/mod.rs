//! What a line of each format means. Every function takes one line and gives one row, or the cause why not.

mod amazon;
mod attributes;
mod csv;
mod field;
mod movielens;
mod own;

use super::lines::{Parsed, Rows};
use super::table::{Interaction, Item, Review};
use crate::config::{DatasetConfig, SourceFormat};
use crate::error::{Error, Result};
use crate::json;
use crate::run::{Level, log};
use attributes::Fields;
pub use attributes::attributes_of;
pub(super) use csv::Columns;
pub(super) use movielens::{Tags, read_tags};
use std::path::Path;

/// How the rows of one file are read: settled by the format and the file's first line.
pub(super) enum Reader {
    /// With the fields of items that `dataset.attributes` names.
    Json(SourceFormat, Fields),
    Csv(Columns),
}

/// JSON lines, as the first of them shows.
fn json_lines(format: SourceFormat, fields: Fields, path: &Path, first: &str) -> Result<Reader> {
    match json::array_hint(first) {
        Some(hint) => Err(Error::format(path, 1, hint)),
        None => Ok(Reader::Json(format, fields)),
    }
}

impl Reader {
    pub fn of_items(config: &DatasetConfig, path: &Path, first: &str) -> Result<Reader> {
        let (format, fields) = (config.format, Fields::of(&config.attributes)?);
        match format {
            SourceFormat::MovieLens => Ok(Reader::Csv(Columns::of_movies(path, first, &fields)?)),
            SourceFormat::Causerie | SourceFormat::Amazon2023 | SourceFormat::Amazon2018 => {
                json_lines(format, fields, path, first)
            }
        }
    }
    /// Tells of the fields of `dataset.attributes` that no item read so far had: a misspelt one, say.
    pub fn warn_of_unfound(&self, path: &Path) {
        let fields = match self {
            Reader::Json(_, fields) => fields,
            // A column that is not there was told at once.
            Reader::Csv(_) => return,
        };
        for field in fields.unfound() {
            log(Level::Warn, &format!("{}: no item has the field {field:?} (dataset.attributes)", path.display()));
        }
    }
    /// Reviews are JSON lines in every format.
    pub fn of_reviews(format: SourceFormat, path: &Path, first: &str) -> Result<Reader> {
        json_lines(format, Fields::default(), path, first)
    }
    /// What the rows of the file are: lines, or records of CSV, whose quoted cells may hold line breaks.
    pub fn rows(&self) -> Rows {
        match self {
            Reader::Json(..) => Rows::Lines,
            Reader::Csv(columns) => Rows::Records { separator: columns.separator() },
        }
    }
    /// Interactions come as CSV or as JSON lines in every format.
    pub fn of_interactions(format: SourceFormat, path: &Path, first: &str) -> Result<Reader> {
        match first.trim_start().starts_with(['{', '[']) || first.is_empty() {
            true => json_lines(format, Fields::default(), path, first),
            false => Ok(Reader::Csv(Columns::of_interactions(path, first)?)),
        }
    }
    /// A review, as the reviews file of the format has it.
    pub fn review(&self, line: &str) -> Parsed<Review> {
        match self {
            // MovieLens has no reviews; a file of them comes in our own shape.
            Reader::Json(SourceFormat::Causerie | SourceFormat::MovieLens, _) => own::review(line),
            Reader::Json(SourceFormat::Amazon2023, _) => amazon::review_2023(line),
            Reader::Json(SourceFormat::Amazon2018, _) => amazon::review_2018(line),
            Reader::Csv(_) => Err("reviews are JSON lines".into()),
        }
    }
    /// An item; none for the line of column names.
    pub fn item(&self, line: &str, tags: &Tags) -> Parsed<Option<Item>> {
        match self {
            Reader::Json(format, fields) => {
                let line = amazon::as_json(line);
                let mut item = match format {
                    SourceFormat::Amazon2023 | SourceFormat::Amazon2018 => amazon::item(&line)?,
                    SourceFormat::Causerie | SourceFormat::MovieLens => own::item(&line)?,
                };
                fields.add(&line, &mut item.attributes)?;
                Ok(Some(item))
            }
            Reader::Csv(columns) => movielens::item(columns, line, tags),
        }
    }
    /// An interaction; none for the line of column names.
    pub fn interaction(&self, line: &str) -> Parsed<Option<Interaction>> {
        match self {
            Reader::Json(..) => own::interaction(line).map(Some),
            Reader::Csv(columns) => columns.interaction(line),
        }
    }
}
