//! Arrays and streams taken from a producer, and what their columns mean to us.

use super::column::{Column, Value};
use super::{ArrowArray, ArrowArrayStream, ArrowSchema};
use crate::dataset::{Interaction, Item, Review, Row, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::math::Matrix;
use std::ffi::CStr;

/// A schema that is ours to release.
struct OwnedSchema(ArrowSchema);
/// An array that is ours to release.
struct OwnedArray(ArrowArray);

impl Drop for OwnedSchema {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: the contract: called once, by the owner, which sets `release` to NULL.
            unsafe { release(&raw mut self.0) }
        }
    }
}

impl Drop for OwnedArray {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: as of OwnedSchema.
            unsafe { release(&raw mut self.0) }
        }
    }
}

/// An array with its schema, ours: released when it is dropped.
pub(in super::super) struct Batch<'s> {
    schema: SchemaOf<'s>,
    array: OwnedArray,
}

enum SchemaOf<'s> {
    Own(OwnedSchema),
    Stream(&'s ArrowSchema),
}

impl Batch<'_> {
    /// Takes both structs from the caller, which finds them released.
    ///
    /// # Safety
    /// NULL, or structs by the contract of the Arrow C Data Interface.
    pub unsafe fn take<'s>(schema: *mut ArrowSchema, array: *mut ArrowArray) -> Result<Batch<'s>> {
        // SAFETY: the caller's promise. What can be taken is taken, so that it is released whatever follows.
        let (schema, array) = unsafe {
            let schema = schema.as_mut().map(|s| OwnedSchema(std::mem::take(s)));
            (schema, array.as_mut().map(|a| OwnedArray(std::mem::take(a))))
        };
        let (Some(schema), Some(array)) = (schema, array) else {
            return Err(Error::invalid("Arrow: NULL where a schema and an array are needed"));
        };
        if schema.0.release.is_none() || array.0.release.is_none() {
            return Err(Error::invalid("Arrow: the schema or the array was released already"));
        }
        Ok(Batch { schema: SchemaOf::Own(schema), array })
    }

    fn column(&self) -> Result<Column<'_>> {
        let schema = match &self.schema {
            SchemaOf::Own(own) => &own.0,
            SchemaOf::Stream(schema) => schema,
        };
        // SAFETY: the promise of `take`; neither is released before this batch is dropped.
        unsafe { Column::new(schema, &self.array.0, 0) }
    }
}

/// A stream that is ours: released when it is dropped.
pub(in super::super) struct Stream {
    stream: ArrowArrayStream,
    schema: OwnedSchema,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(release) = self.stream.release {
            // SAFETY: as of OwnedSchema.
            unsafe { release(&raw mut self.stream) }
        }
    }
}

impl Stream {
    /// Takes the stream from the caller, which finds it released.
    ///
    /// # Safety
    /// NULL, or a stream by the contract of the Arrow C Stream Interface.
    pub unsafe fn take(stream: *mut ArrowArrayStream) -> Result<Stream> {
        if stream.is_null() {
            return Err(Error::invalid("Arrow: NULL where a stream is needed"));
        }
        let released = ArrowArrayStream {
            get_schema: None,
            get_next: None,
            get_last_error: None,
            release: None,
            private_data: std::ptr::null_mut(),
        };
        // SAFETY: not NULL; the caller's promise.
        let stream = std::mem::replace(unsafe { &mut *stream }, released);
        let mut taken = Stream { stream, schema: OwnedSchema(ArrowSchema::default()) };
        if taken.stream.release.is_none() {
            return Err(Error::invalid("Arrow: the stream was released already"));
        }
        let Some(get_schema) = taken.stream.get_schema else { return Err(Error::invalid("Arrow: no get_schema")) };
        // SAFETY: the contract of the stream.
        let code = unsafe { get_schema(&raw mut taken.stream, &raw mut taken.schema.0) };
        if code != 0 {
            return Err(taken.failed(code));
        }
        Ok(taken)
    }

    /// The next batch; none at the end.
    pub fn next(&mut self) -> Result<Option<Batch<'_>>> {
        let Some(get_next) = self.stream.get_next else { return Err(Error::invalid("Arrow: no get_next")) };
        let mut array = OwnedArray(ArrowArray::default());
        // SAFETY: the contract of the stream.
        let code = unsafe { get_next(&raw mut self.stream, &raw mut array.0) };
        if code != 0 {
            return Err(self.failed(code));
        }
        if array.0.release.is_none() {
            return Ok(None);
        }
        Ok(Some(Batch { schema: SchemaOf::Stream(&self.schema.0), array }))
    }

    fn failed(&mut self, code: i32) -> Error {
        let text = self.stream.get_last_error.map(|get| {
            // SAFETY: the contract of the stream.
            let text = unsafe { get(&raw mut self.stream) };
            if text.is_null() {
                return String::new();
            }
            // SAFETY: NUL-terminated, by the contract.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        });
        let text = text.unwrap_or_default();
        Error::new(ErrorKind::Format, format!("Arrow: the stream failed with code {code}: {text}"))
    }
}

/// The columns of a batch by name, row numbers beginning with its first row.
struct NamedColumn<'a> {
    columns: &'a [Column<'a>],
    offset: usize,
}

impl<'a> NamedColumn<'a> {
    fn find(&self, names: &[&str]) -> Option<&'a Column<'a>> {
        names.iter().find_map(|name| self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name)))
    }
    fn needed(&self, names: &[&str]) -> Result<&'a Column<'a>> {
        self.find(names).ok_or_else(|| {
            let there: Vec<&str> = self.columns.iter().map(|c| c.name).collect();
            Error::new(ErrorKind::Format, format!("Arrow: no column {}; there are {}", names[0], there.join(", ")))
        })
    }
    fn text(&self, column: Option<&Column<'_>>, row: usize) -> Result<String> {
        Ok(column.map(|c| c.text(self.offset + row)).transpose()?.flatten().unwrap_or_default().to_string())
    }
    /// An id: a text, or a whole number.
    fn id(&self, column: &Column<'_>, row: usize) -> Result<String> {
        match column.number(self.offset + row) {
            Ok(Some(Value::Whole(id))) => Ok(id.to_string()),
            // pandas makes floats of whole numbers in a column with gaps.
            Ok(Some(Value::Float(id))) if id.is_nan() => Ok(String::new()),
            Ok(Some(Value::Float(id))) if id.fract() == 0.0 && id.abs() < 9e15 => Ok(format!("{id:.0}")),
            Ok(Some(Value::Float(_))) => {
                Err(Error::new(ErrorKind::Format, format!("Arrow: {}: ids are no fractions", column.name)))
            }
            Ok(None) => Ok(String::new()),
            Err(_) => self.text(Some(column), row),
        }
    }
    fn texts(&self, column: Option<&Column<'_>>, row: usize) -> Result<Vec<String>> {
        column.map_or_else(|| Ok(Vec::new()), |c| c.texts(self.offset + row))
    }
    fn number(&self, column: Option<&Column<'_>>, row: usize) -> Result<Option<f64>> {
        let value = column.map(|c| c.number(self.offset + row)).transpose()?.flatten();
        // NaN stands for an absent value.
        let value = value.map(|v| match v {
            Value::Whole(v) => v as f64,
            Value::Float(v) => v,
        });
        Ok(value.filter(|v| !v.is_nan()))
    }
    fn whole(&self, column: Option<&Column<'_>>, row: usize) -> Result<Option<i64>> {
        let value = column.map(|c| c.number(self.offset + row)).transpose()?.flatten();
        Ok(value.and_then(|v| match v {
            Value::Whole(v) => Some(v),
            Value::Float(v) => (!v.is_nan()).then_some(v as i64),
        }))
    }
    /// The rating as 1 to 10, or why the row is a bad one.
    fn rating(&self, row: usize) -> Result<std::result::Result<Option<f32>, String>> {
        let (column, scale) = match self.find(&["rating10"]) {
            Some(column) => (Some(column), 1.0),
            None => (self.find(&["rating"]), 2.0),
        };
        Ok(match self.number(column, row)?.map(|v| v * scale) {
            None | Some(0.0) => Ok(None),
            Some(v) if v > 0.0 && v <= 10.0 => Ok(Some(v.max(1.0) as f32)),
            Some(v) => Err(format!("a rating of {} on a scale to {}", v / scale, 10.0 / scale)),
        })
    }
}

/// A row with its number, or why it is a bad one.
pub(in super::super) type Numbered = (u64, std::result::Result<Row, String>);

/// The rows of a batch of a table; `first`: rows before it in the stream.
pub(in super::super) fn rows(table: Table, batch: &Batch<'_>, first: u64) -> Result<Vec<Numbered>> {
    let column = batch.column()?;
    let Some(columns) = column.columns() else {
        return Err(Error::new(
            ErrorKind::Format,
            format!("Arrow: format {:?}; a struct of columns is needed (+s)", column.format),
        ));
    };
    let named = NamedColumn { columns, offset: column.offset() };
    let item = named.needed(match table {
        Table::Items => &["item", "id"],
        Table::Reviews | Table::Interactions => &["item"],
    })?;
    let (user, text) = match table {
        Table::Items => (None, None),
        Table::Reviews => (named.find(&["user"]), Some(named.needed(&["text"])?)),
        Table::Interactions => (Some(named.needed(&["user"])?), None),
    };
    let time = named.find(&["timestamp_ms", "timestamp"]);
    let mut rows = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        let number = first + row as u64 + 1;
        let id = named.id(item, row)?;
        let user = match user {
            Some(user) => Some(named.id(user, row)?).filter(|u| !u.is_empty()),
            None => None,
        };
        if id.is_empty() || (table == Table::Interactions && user.is_none()) {
            rows.push((number, Err(format!("no {} id", if id.is_empty() { "item" } else { "user" }))));
            continue;
        }
        let parsed = match table {
            Table::Items => Ok(Row::Item(Item {
                id,
                title: named.text(named.find(&["title"]), row)?,
                year: named.whole(named.find(&["year"]), row)?.and_then(|y| u16::try_from(y).ok()).filter(|y| *y > 0),
                genres: named.texts(named.find(&["genres"]), row)?,
                creators: named.texts(named.find(&["creators"]), row)?,
                keywords: named.texts(named.find(&["keywords"]), row)?,
                description: named.text(named.find(&["description", "plot", "overview"]), row)?,
                price: named.number(named.find(&["price"]), row)?.map(|p| p as f32).filter(|p| p.is_finite()),
            })),
            Table::Reviews => named.rating(row)?.and_then(|rating10| {
                let review = || -> Result<Review> {
                    Ok(Review {
                        item: id,
                        user,
                        rating10,
                        title: named.text(named.find(&["title"]), row)?,
                        text: named.text(text, row)?,
                        timestamp_ms: named.whole(time, row)?,
                        helpful: named
                            .whole(named.find(&["helpful"]), row)?
                            .map_or(0, |h| h.clamp(0, u32::MAX.into()) as u32),
                    })
                };
                review().map(Row::Review).map_err(|e| e.message().to_string())
            }),
            Table::Interactions => named.rating(row)?.and_then(|rating10| {
                let timestamp_ms = named.whole(time, row).map_err(|e| e.message().to_string())?;
                Ok(Row::Interaction(Interaction { user: user.unwrap_or_default(), item: id, rating10, timestamp_ms }))
            }),
        };
        rows.push((number, parsed));
    }
    Ok(rows)
}

/// Appends a batch of rows of f32 to `data`; the width must be that of the batches before. The batch is a fixed-size list, or
/// a struct with one such column.
pub(in super::super) fn floats(batch: &Batch<'_>, width: &mut Option<usize>, data: &mut Vec<f32>) -> Result<()> {
    let column = batch.column()?;
    let (size, bytes) = match column.columns() {
        Some([only]) if column.offset() == 0 && only.len() == column.len() => only.floats()?,
        Some(_) => {
            return Err(Error::new(ErrorKind::Format, "Arrow: one column of rows is needed, from its first row on"));
        }
        None => column.floats()?,
    };
    if width.is_some_and(|w| w != size) {
        return Err(Error::new(ErrorKind::Format, "Arrow: batches of different widths"));
    }
    *width = Some(size);
    data.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b)));
    Ok(())
}

/// The matrix of what [`floats`] collected.
pub(in super::super) fn matrix(width: Option<usize>, data: Vec<f32>) -> Result<Matrix> {
    let width = width.ok_or_else(|| Error::new(ErrorKind::Format, "Arrow: no batch in the stream"))?;
    Matrix::from_vec(data.len() / width, width, data)
}
