//! MovieLens: `movies.csv` (`movieId,title,genres`), `ratings.csv` (`userId,movieId,rating,timestamp`), `tags.csv`
//! (`userId,movieId,tag,timestamp`).

use super::super::clean;
use super::super::lines::{Parsed, Rows, Source};
use super::super::loose;
use super::super::table::Item;
use super::csv::Columns;
use crate::error::Result;
use crate::run::Run;
use std::collections::HashMap;
use std::path::Path;

/// Keywords per item at most: those that most users gave.
const TAGS_PER_ITEM: usize = 12;

/// The tags of each item, most frequent first.
pub(in super::super) type Tags = HashMap<String, Vec<String>>;

/// Reads `tags.csv`. A bad line goes to `bad` with its number and cause.
pub(in super::super) fn read_tags(
    path: &Path,
    run: &Run,
    mut bad: impl FnMut(u64, String) -> Result<()>,
) -> Result<Tags> {
    let mut source = Source::open(path)?;
    let Some(first) = source.first_line()? else { return Ok(Tags::new()) };
    let columns = Columns::of_tags(path, &first)?;
    let parse = |line: &str| -> Parsed<Option<(String, String)>> {
        if columns.is_header(line) {
            return Ok(None);
        }
        let [item, tag, _, _] = columns.row(line)?;
        let item = loose::id(&item).ok_or("no item id (`movieId`)")?;
        Ok(Some((item.to_string(), tag.trim().to_lowercase())))
    };
    let mut counts: HashMap<String, HashMap<String, u32>> = HashMap::new();
    let rows = Rows::Records { separator: columns.separator() };
    source.for_each_row(rows, "tags", run, parse, |number, row| {
        match row {
            Ok(Some((item, tag))) => *counts.entry(item).or_default().entry(tag).or_default() += 1,
            Ok(None) => {}
            Err(cause) => bad(number, cause)?,
        }
        Ok(())
    })?;
    let ranked = |tags: HashMap<String, u32>| {
        let mut tags: Vec<(String, u32)> = tags.into_iter().collect();
        tags.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        tags.into_iter().take(TAGS_PER_ITEM).map(|(tag, _)| tag).collect()
    };
    Ok(counts.into_iter().map(|(item, tags)| (item, ranked(tags))).collect())
}

/// A line of `movies.csv`; none for the line of names.
pub(super) fn item(columns: &Columns, line: &str, tags: &Tags) -> Parsed<Option<Item>> {
    if columns.is_header(line) {
        return Ok(None);
    }
    let [id, title, genres, _] = columns.row(line)?;
    let id = loose::id(&id).ok_or("no item id (`movieId`)")?;
    let (title, year) = clean::title_and_year(&title);
    let genres = genres.split('|').map(str::trim).filter(|genre| !genre.is_empty() && *genre != "(no genres listed)");
    Ok(Some(Item {
        id: id.to_string(),
        title,
        year,
        genres: genres.map(str::to_string).collect(),
        keywords: tags.get(id).cloned().unwrap_or_default(),
        attributes: columns.attributes(line)?,
        ..Item::default()
    }))
}
