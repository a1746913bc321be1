//! Comma-separated lines: columns found by the names in the first line, in any order. A row is one line.

use super::super::clean;
use super::super::lines::Parsed;
use super::super::loose::Loose;
use super::super::table::Interaction;
use super::rating10;
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::path::Path;

/// Where the columns of a file are.
#[derive(Debug, Clone)]
pub(in super::super) struct Columns {
    /// The line of names, which is no row.
    header: String,
    /// Interactions: user, item, rating, time. Movies: id, title, genres.
    at: [Option<usize>; 4],
    /// What a rating is multiplied with.
    scale: f64,
    /// The column says that its times are milliseconds.
    in_ms: bool,
}

const USER: &[&str] = &["user", "userid", "user_id", "reviewerid"];
const ITEM: &[&str] = &["item", "itemid", "item_id", "movieid", "parent_asin", "asin"];

fn column(names: &[Cow<'_, str>], known: &[&str]) -> Option<usize> {
    known.iter().find_map(|known| names.iter().position(|name| name.trim().eq_ignore_ascii_case(known)))
}

fn missing(path: &Path, needed: &str, header: &str) -> Error {
    let header: String = header.chars().take(80).collect();
    Error::format(path, 1, format!("the first line must name the columns, with at least {needed}; it is {header:?}"))
}

impl Columns {
    pub fn of_interactions(path: &Path, header: &str) -> Result<Columns> {
        let names = fields(header).map_err(|cause| Error::format(path, 1, cause))?;
        let (user, item) = (column(&names, USER), column(&names, ITEM));
        if user.is_none() || item.is_none() {
            return Err(missing(path, "`user` and `item`", header));
        }
        let of_ten = column(&names, &["rating10"]);
        let in_ms = column(&names, &["timestamp_ms"]);
        Ok(Columns {
            header: header.to_string(),
            at: [user, item, of_ten.or(column(&names, &["rating"])), in_ms.or(column(&names, &["timestamp"]))],
            scale: if of_ten.is_some() { 1.0 } else { 2.0 },
            in_ms: in_ms.is_some(),
        })
    }
    pub fn of_movies(path: &Path, header: &str) -> Result<Columns> {
        let names = fields(header).map_err(|cause| Error::format(path, 1, cause))?;
        let (item, title) = (column(&names, ITEM), column(&names, &["title"]));
        if item.is_none() || title.is_none() {
            return Err(missing(path, "`movieId` and `title`", header));
        }
        let at = [item, title, column(&names, &["genres"]), None];
        Ok(Columns { header: header.to_string(), at, scale: 2.0, in_ms: false })
    }
    pub fn of_tags(path: &Path, header: &str) -> Result<Columns> {
        let names = fields(header).map_err(|cause| Error::format(path, 1, cause))?;
        let (item, tag) = (column(&names, ITEM), column(&names, &["tag"]));
        if item.is_none() || tag.is_none() {
            return Err(missing(path, "`movieId` and `tag`", header));
        }
        Ok(Columns { header: header.to_string(), at: [item, tag, None, None], scale: 2.0, in_ms: false })
    }
    pub fn is_header(&self, line: &str) -> bool {
        line == self.header
    }
    /// The fields of `line` in the order of [`Columns::at`]; empty where there is no such column.
    pub fn row<'a>(&self, line: &'a str) -> Parsed<[Cow<'a, str>; 4]> {
        let mut fields = fields(line)?;
        let mut row = [const { Cow::Borrowed("") }; 4];
        for (field, at) in row.iter_mut().zip(self.at) {
            if let Some(at) = at {
                let columns = fields.len();
                let found =
                    fields.get_mut(at).ok_or_else(|| format!("{columns} columns, column {} is needed", at + 1))?;
                *field = std::mem::take(found);
            }
        }
        Ok(row)
    }
    pub fn interaction(&self, line: &str) -> Parsed<Option<Interaction>> {
        if self.is_header(line) {
            return Ok(None);
        }
        let [user, item, rating, time] = self.row(line)?;
        let (user, item) = (user.trim(), item.trim());
        if user.is_empty() || item.is_empty() {
            return Err(format!("no {} id", if user.is_empty() { "user" } else { "item" }));
        }
        let timestamp_ms = match time.trim() {
            "" => None,
            text => Some(text.parse::<i64>().map_err(|_| format!("the time {text:?} is not a whole number"))?),
        };
        Ok(Some(Interaction {
            user: user.to_string(),
            item: item.to_string(),
            rating10: rating10(&Loose::Text(rating), self.scale)?,
            timestamp_ms: if self.in_ms { timestamp_ms } else { timestamp_ms.map(clean::milliseconds) },
        }))
    }
}

/// The fields of one line: separated by commas; in double quotes where they hold commas, quotes doubled inside.
pub(super) fn fields(line: &str) -> Parsed<Vec<Cow<'_, str>>> {
    if !line.contains('"') {
        return Ok(line.split(',').map(Cow::Borrowed).collect());
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            match rest.split_once(',') {
                Some((field, more)) => {
                    fields.push(Cow::Borrowed(field));
                    rest = more;
                    continue;
                }
                None => {
                    fields.push(Cow::Borrowed(rest));
                    return Ok(fields);
                }
            }
        };
        let mut field = String::new();
        let mut inside = quoted;
        loop {
            let (part, more) = inside.split_once('"').ok_or("a quote that is opened and not closed on its line")?;
            field.push_str(part);
            inside = more;
            match inside.strip_prefix('"') {
                Some(more) => {
                    field.push('"');
                    inside = more;
                }
                None => break,
            }
        }
        fields.push(Cow::Owned(field));
        match inside.strip_prefix(',') {
            Some(more) => rest = more,
            None if inside.trim().is_empty() => return Ok(fields),
            None => return Err("text after a closing quote".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quoted_fields_come_back(texts in proptest::collection::vec("[a-z\",é ]{0,6}", 1..6)) {
            let line = texts.iter().map(|t| format!("\"{}\"", t.replace('"', "\"\""))).collect::<Vec<_>>().join(",");
            prop_assert_eq!(fields(&line).unwrap(), texts);
        }

        #[test]
        fn no_line_panics(line in "[a,\"é ]{0,20}") {
            let _ = fields(&line);
        }
    }

    #[test]
    fn columns_are_found_by_name_in_any_order_and_times_by_size() {
        let columns = Columns::of_interactions(Path::new("r.csv"), "timestamp,movieId,rating,userId").unwrap();
        let row = columns.interaction("964982703,1,3.5,7").unwrap().unwrap();
        assert_eq!((row.user.as_str(), row.item.as_str()), ("7", "1"));
        assert_eq!((row.rating10, row.timestamp_ms), (Some(7.0), Some(964_982_703_000)));
        assert_eq!(columns.interaction("timestamp,movieId,rating,userId").unwrap(), None);
        for bad in ["964982703,1,NaN,7", "964982703,1,3.5", "x,1,3.5,7", "1,,3,7", "1,2,11,7", "1,2,3,\"7"] {
            assert!(columns.interaction(bad).is_err(), "{bad}");
        }
        let e = Columns::of_interactions(Path::new("r.csv"), "1,2,3").unwrap_err();
        assert!(e.message().contains("r.csv:1") && e.message().contains("`user`"), "{e}");
    }
}
