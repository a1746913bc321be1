//! Tables as text (CSV): columns found by the names in the first line, in any order, whatever their case and spaces; separated
//! by commas, semicolons, tabs or bars, as that line shows.

use super::super::lines::{Parsed, well_quoted};
use super::super::loose::{self, Loose, TimeUnit};
use super::super::table::Interaction;
use super::attributes::Fields;
use super::field::rating10;
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
    /// What a time without a unit counts: the column may say that it is milliseconds.
    unit: TimeUnit,
    separator: u8,
    /// Names and places of the columns that `dataset.attributes` names.
    attributes: Vec<(String, usize)>,
}

// Names as `plain` makes them.
const USER: &[&str] = &["user", "userid", "reviewerid"];
const ITEM: &[&str] = &["item", "itemid", "movieid", "parentasin", "asin"];
const TIME: &[&str] = &["timestamp", "time", "datetime", "date"];
/// What may stand between two columns.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// A column's name without case, spaces and marks: `User ID`, `user_id` and `userId` are one.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The names in a header and what separates them.
struct Header {
    names: Vec<String>,
    separator: u8,
}

impl Header {
    /// Of the separators the one that gives most of the `needed` columns, and then most columns.
    fn read(path: &Path, line: &str, needed: &[&[&str]]) -> Result<Header> {
        let mut best: Option<((usize, usize), Header)> = None;
        let mut broken = None;
        for separator in SEPARATORS {
            let names = match fields(line, separator) {
                Ok(fields) => fields.iter().map(|name| plain(name)).collect(),
                Err(cause) => {
                    broken.get_or_insert(cause);
                    continue;
                }
            };
            let header = Header { names, separator };
            let found = needed.iter().filter(|known| header.column(known).is_some()).count();
            let rank = (found, header.names.len());
            if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = Some((rank, header));
            }
        }
        best.map(|(_, header)| header).ok_or_else(|| Error::format(path, 1, broken.unwrap_or_default()))
    }
    fn column(&self, known: &[&str]) -> Option<usize> {
        known.iter().find_map(|known| self.names.iter().position(|name| name == known))
    }
}

fn missing(path: &Path, needed: &str, header: &str) -> Error {
    let header: String = header.chars().take(80).collect();
    let text = format!(
        "the first line must name the columns, with at least {needed}, separated by commas, semicolons, tabs or bars; it is \
         {header:?}"
    );
    Error::format(path, 1, text)
}

impl Columns {
    pub fn of_interactions(path: &Path, line: &str) -> Result<Columns> {
        let header = Header::read(path, line, &[USER, ITEM])?;
        let (user, item) = (header.column(USER), header.column(ITEM));
        if user.is_none() || item.is_none() {
            return Err(missing(path, "`user` and `item`", line));
        }
        let of_ten = header.column(&["rating10"]);
        let in_ms = header.column(&["timestampms"]);
        Ok(Columns {
            header: line.to_string(),
            at: [user, item, of_ten.or(header.column(&["rating"])), in_ms.or(header.column(TIME))],
            scale: if of_ten.is_some() { 1.0 } else { 2.0 },
            unit: if in_ms.is_some() { TimeUnit::Milliseconds } else { TimeUnit::BySize },
            separator: header.separator,
            attributes: Vec::new(),
        })
    }
    pub fn of_movies(path: &Path, line: &str, attributes: &Fields) -> Result<Columns> {
        let header = Header::read(path, line, &[ITEM, &["title"]])?;
        let (item, title) = (header.column(ITEM), header.column(&["title"]));
        if item.is_none() || title.is_none() {
            return Err(missing(path, "`movieId` and `title`", line));
        }
        let place = |wanted: &str| header.column(&[plain(wanted).as_str()]);
        let attributes = attributes.iter().map(|field| match place(&field.path) {
            Some(at) => Ok((field.name.clone(), at)),
            None => Err(missing(path, &format!("`{}` (dataset.attributes)", field.path), line)),
        });
        let attributes = attributes.collect::<Result<_>>()?;
        let columns = Columns::texts(line, [item, title, header.column(&["genres"]), None], header.separator);
        Ok(Columns { attributes, ..columns })
    }
    pub fn of_tags(path: &Path, line: &str) -> Result<Columns> {
        let header = Header::read(path, line, &[ITEM, &["tag"]])?;
        let (item, tag) = (header.column(ITEM), header.column(&["tag"]));
        if item.is_none() || tag.is_none() {
            return Err(missing(path, "`movieId` and `tag`", line));
        }
        Ok(Columns::texts(line, [item, tag, None, None], header.separator))
    }
    /// Columns without ratings and times.
    fn texts(line: &str, at: [Option<usize>; 4], separator: u8) -> Columns {
        let header = line.to_string();
        Columns { header, at, scale: 1.0, unit: TimeUnit::BySize, separator, attributes: Vec::new() }
    }
    /// What separates the columns.
    pub fn separator(&self) -> u8 {
        self.separator
    }
    pub fn is_header(&self, line: &str) -> bool {
        line == self.header
    }
    /// The fields of `line` in the order of [`Columns::at`]; empty where there is no such column.
    pub fn row<'a>(&self, line: &'a str) -> Parsed<[Cow<'a, str>; 4]> {
        let mut fields = fields(line, self.separator)?;
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
    /// The attributes in `line`: a cell's values are separated by bars, as genres are. A cell that is not there says nothing.
    pub fn attributes(&self, line: &str) -> Parsed<Vec<(String, String)>> {
        if self.attributes.is_empty() {
            return Ok(Vec::new());
        }
        let cells = fields(line, self.separator)?;
        let values = |(name, at): &(String, usize)| {
            let cell = cells.get(*at).map_or("", |cell| cell.as_ref());
            let values = cell.split('|').map(str::trim).filter(|value| !loose::is_missing(value));
            values.map(|value| (name.clone(), value.to_string())).collect::<Vec<_>>()
        };
        Ok(self.attributes.iter().flat_map(values).collect())
    }
    pub fn interaction(&self, line: &str) -> Parsed<Option<Interaction>> {
        if self.is_header(line) {
            return Ok(None);
        }
        let [user, item, rating, time] = self.row(line)?;
        let user = loose::id(&user).ok_or("no user id")?;
        let item = loose::id(&item).ok_or("no item id")?;
        // Where commas do not separate columns, they may stand in numbers: `4,5`.
        let rating = match self.separator != b',' && rating.contains(',') {
            true => Cow::Owned(rating.replace(',', ".")),
            false => rating,
        };
        Ok(Some(Interaction {
            user: user.to_string(),
            item: item.to_string(),
            rating10: rating10(&Loose::Text(rating), self.scale)?,
            timestamp_ms: loose::time(&time, self.unit)?,
        }))
    }
}

/// The fields of one record (RFC 4180): in double quotes where they hold separators or line breaks, quotes doubled inside.
pub(super) fn fields(record: &str, separator: u8) -> Parsed<Vec<Cow<'_, str>>> {
    // Most records hold no quote.
    if !record.contains('"') {
        return Ok(record.split(char::from(separator)).map(Cow::Borrowed).collect());
    }
    if !well_quoted(record, separator) {
        return Err("a quote that is opened and not closed, or text after a closing quote".into());
    }
    let mut reader = csv_core::ReaderBuilder::new().delimiter(separator).build();
    // No field is longer than the record, and each but the first has a separator before it.
    let (mut text, mut ends) = (vec![0; record.len()], vec![0; record.len() + 1]);
    let (mut input, mut written, mut fields) = (record.as_bytes(), 0, 0);
    loop {
        let (result, read, bytes, count) = reader.read_record(input, &mut text[written..], &mut ends[fields..]);
        (input, written, fields) = (&input[read..], written + bytes, fields + count);
        match result {
            // An empty input ends the record.
            csv_core::ReadRecordResult::InputEmpty => {}
            csv_core::ReadRecordResult::Record | csv_core::ReadRecordResult::End => break,
            csv_core::ReadRecordResult::OutputFull | csv_core::ReadRecordResult::OutputEndsFull => {
                return Err("a record that is longer than itself".into());
            }
        }
    }
    let mut start = 0;
    ends[..fields]
        .iter()
        .map(|end| {
            let field = std::str::from_utf8(&text[start..*end]).map_err(|e| e.to_string())?;
            start = *end;
            Ok(Cow::Owned(field.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quoted_fields_come_back(texts in proptest::collection::vec("[a-z\",é\n ]{0,6}", 1..6)) {
            let line = texts.iter().map(|t| format!("\"{}\"", t.replace('"', "\"\""))).collect::<Vec<_>>().join(",");
            prop_assert_eq!(fields(&line, b',').unwrap(), texts);
        }

        #[test]
        fn no_line_panics(line in "[a,\"é\n ]{0,20}") {
            let _ = fields(&line, b',');
        }
    }

    #[test]
    fn semicolons_tabs_and_bars_separate_and_names_may_have_case_and_spaces() {
        for header in [
            "User ID;Item Id;Rating;Timestamp MS",
            "user\titem\trating\ttimestamp_ms",
            "\"user\"|\"item\"|\"rating\"|\"timestamp_ms\"",
        ] {
            let columns = Columns::of_interactions(Path::new("r.csv"), header).unwrap();
            let separator = char::from(columns.separator());
            let line = ["\"u1\"", "7.0", "4,5", "1548806400000.0"].join(&separator.to_string());
            let row = columns.interaction(&line).unwrap().unwrap();
            assert_eq!((row.user.as_str(), row.item.as_str()), ("u1", "7"), "{header}");
            assert_eq!((row.rating10, row.timestamp_ms), (Some(9.0), Some(1_548_806_400_000)), "{header}");
        }
        // Semicolons within a cell of a file with commas.
        let columns = Columns::of_interactions(Path::new("r.csv"), "user,item,a;b;c;d,rating").unwrap();
        assert_eq!(columns.interaction("u,i,x;y,nan").unwrap().unwrap().rating10, None);
    }

    #[test]
    fn named_columns_of_items_are_attributes_and_a_missing_one_is_told() {
        let wanted = |names: &[&str]| Fields::of(&names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        let (path, header) = (Path::new("m.csv"), "movieId,title,Studio Name,lang");
        let columns = Columns::of_movies(path, header, &wanted(&["studio=studio_name", "lang"])).unwrap();
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        let got = columns.attributes("1,\"A, B\",\"Acme | Bolt\",n/a").unwrap();
        assert_eq!(got, [pair("studio", "Acme"), pair("studio", "Bolt")]);
        assert!(columns.attributes("1,A").unwrap().is_empty());
        let e = Columns::of_movies(path, header, &wanted(&["color"])).unwrap_err();
        assert!(e.message().contains("m.csv:1") && e.message().contains("`color` (dataset.attributes)"), "{e}");
    }

    #[test]
    fn columns_are_found_by_name_in_any_order_and_times_by_size() {
        let columns = Columns::of_interactions(Path::new("r.csv"), "timestamp,movieId,rating,userId").unwrap();
        let row = columns.interaction("964982703,1,3.5,7").unwrap().unwrap();
        assert_eq!((row.user.as_str(), row.item.as_str()), ("7", "1"));
        assert_eq!((row.rating10, row.timestamp_ms), (Some(7.0), Some(964_982_703_000)));
        assert_eq!(columns.interaction("timestamp,movieId,rating,userId").unwrap(), None);
        for bad in ["964982703,1,x,7", "964982703,1,3.5", "x,1,3.5,7", "1,,3,7", "1,2,11,7", "1,2,3,\"7"] {
            assert!(columns.interaction(bad).is_err(), "{bad}");
        }
        let e = Columns::of_interactions(Path::new("r.csv"), "1,2,3").unwrap_err();
        assert!(e.message().contains("r.csv:1") && e.message().contains("`user`"), "{e}");
    }
}
