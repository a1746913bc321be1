//! Arrays and streams taken from a producer, and what their columns mean to us.

use super::column::{Column, Value};
use super::{ArrowArray, ArrowArrayStream, ArrowSchema};
use crate::dataset::{Interaction, Item, Review, Row, Table, time_of, year_of};
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
    fn pairs(&self, column: Option<&Column<'_>>, row: usize) -> Result<Vec<(String, String)>> {
        column.map_or_else(|| Ok(Vec::new()), |c| c.pairs(self.offset + row))
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
            Value::Float(v) => v.is_finite().then_some(v as i64),
        }))
    }
    /// A time in milliseconds since 1970: a number, or an ISO date as text.
    fn time(&self, column: Option<&Column<'_>>, row: usize) -> Result<Option<i64>> {
        let Some(column) = column else { return Ok(None) };
        if column.is_text() {
            let text = column.text(self.offset + row)?.unwrap_or_default();
            return time_of(text).map_err(|cause| Error::new(ErrorKind::Format, cause));
        }
        self.whole(Some(column), row)
    }
    /// A year: a number, the year of a date or a timestamp, or one in a text.
    fn year(&self, column: Option<&Column<'_>>, row: usize) -> Result<Option<u16>> {
        let year = match column {
            Some(column) if column.is_text() => {
                let text = column.text(self.offset + row)?.unwrap_or_default();
                text.trim().parse().ok().or_else(|| year_of(time_of(text).ok()??))
            }
            Some(column) if column.is_time() => self.whole(Some(column), row)?.and_then(year_of),
            column => self.whole(column, row)?,
        };
        Ok(year.and_then(|year| u16::try_from(year).ok()).filter(|year| (1..=9999).contains(year)))
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

/// Rows that are made room for before any is seen: a column of nulls costs its producer nothing, however long it is.
const ROOM: usize = 1 << 16;

/// The rows of a batch of a table; `first`: rows before it in the stream; `bad_lines_left`: bad rows that may still come. What
/// comes behind one more than those is not read: it is refused as a whole.
pub(in super::super) fn rows(
    table: Table,
    batch: &Batch<'_>,
    first: u64,
    bad_lines_left: u64,
) -> Result<Vec<Numbered>> {
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
    let mut rows = Vec::with_capacity(column.len().min(ROOM));
    let mut bad = 0;
    for row in 0..column.len() {
        if bad > bad_lines_left {
            break;
        }
        let number = first + row as u64 + 1;
        let id = named.id(item, row)?;
        let user = match user {
            Some(user) => Some(named.id(user, row)?).filter(|u| !u.is_empty()),
            None => None,
        };
        if id.is_empty() || (table == Table::Interactions && user.is_none()) {
            bad += 1;
            rows.push((number, Err(format!("no {} id", if id.is_empty() { "item" } else { "user" }))));
            continue;
        }
        let parsed = match table {
            Table::Items => Ok(Row::Item(Item {
                id,
                title: named.text(named.find(&["title"]), row)?,
                year: named.year(named.find(&["year"]), row)?,
                genres: named.texts(named.find(&["genres"]), row)?,
                creators: named.texts(named.find(&["creators"]), row)?,
                keywords: named.texts(named.find(&["keywords"]), row)?,
                description: named.text(named.find(&["description", "plot", "overview"]), row)?,
                price: named.number(named.find(&["price"]), row)?.map(|p| p as f32).filter(|p| p.is_finite()),
                attributes: named.pairs(named.find(&["attributes"]), row)?,
            })),
            Table::Reviews => named.rating(row)?.and_then(|rating10| {
                let review = || -> Result<Review> {
                    Ok(Review {
                        item: id,
                        user,
                        rating10,
                        title: named.text(named.find(&["title"]), row)?,
                        text: named.text(text, row)?,
                        timestamp_ms: named.time(time, row)?,
                        helpful: named
                            .whole(named.find(&["helpful"]), row)?
                            .map_or(0, |h| h.clamp(0, u32::MAX.into()) as u32),
                    })
                };
                review().map(Row::Review).map_err(|e| e.message().to_string())
            }),
            Table::Interactions => named.rating(row)?.and_then(|rating10| {
                let timestamp_ms = named.time(time, row).map_err(|e| e.message().to_string())?;
                Ok(Row::Interaction(Interaction { user: user.unwrap_or_default(), item: id, rating10, timestamp_ms }))
            }),
        };
        bad += u64::from(parsed.is_err());
        rows.push((number, parsed));
    }
    Ok(rows)
}

/// Appends a batch of rows to `data`; the width must be that of the batches before. The batch is a list of floats, or a
/// struct with one such column.
pub(in super::super) fn floats(batch: &Batch<'_>, width: &mut Option<usize>, data: &mut Vec<f32>) -> Result<()> {
    let column = batch.column()?;
    let (size, values) = match column.columns() {
        Some([only]) if column.offset() == 0 && only.len() == column.len() => only.floats()?,
        Some(_) => {
            return Err(Error::new(ErrorKind::Format, "Arrow: one column of rows is needed, from its first row on"));
        }
        None => column.floats()?,
    };
    if let (Some(before), Some(size)) = (*width, size)
        && before != size
    {
        return Err(Error::new(ErrorKind::Format, format!("Arrow: batches of different widths: {before} and {size}")));
    }
    *width = size.or(*width);
    data.extend(values);
    Ok(())
}

/// The matrix of what [`floats`] collected.
pub(in super::super) fn matrix(width: Option<usize>, data: Vec<f32>) -> Result<Matrix> {
    let width = width.ok_or_else(|| Error::new(ErrorKind::Format, "Arrow: no batch in the stream"))?;
    Matrix::from_vec(data.len() / width, width, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{CString, c_char, c_void};

    unsafe extern "C-unwind" fn end_schema(schema: *mut ArrowSchema) {
        // SAFETY: given by the owner.
        unsafe { (*schema).release = None }
    }
    unsafe extern "C-unwind" fn end_array(array: *mut ArrowArray) {
        // SAFETY: as above.
        unsafe { (*array).release = None }
    }

    /// A column of `length` rows; what it points to is leaked, as tests may.
    fn column(name: &str, format: &str, length: i64, buffers: Vec<Vec<u8>>) -> (ArrowSchema, ArrowArray) {
        let text = |text: &str| CString::new(text).unwrap().into_raw().cast::<c_char>().cast_const();
        let mut pointers = vec![std::ptr::null::<c_void>()];
        pointers.extend(buffers.into_iter().map(|b| b.leak().as_ptr().cast::<c_void>()));
        let count = if format == "n" { 0 } else { pointers.len() as i64 };
        let schema =
            ArrowSchema { format: text(format), name: text(name), release: Some(end_schema), ..ArrowSchema::default() };
        let array = ArrowArray {
            length,
            n_buffers: count,
            buffers: pointers.leak().as_mut_ptr(),
            release: Some(end_array),
            ..ArrowArray::default()
        };
        (schema, array)
    }

    fn of(format: &str, length: i64, columns: Vec<(ArrowSchema, ArrowArray)>) -> Batch<'static> {
        let (mut schema, mut array) = column("", format, length, Vec::new());
        let (schemas, arrays): (Vec<_>, Vec<_>) =
            columns.into_iter().map(|(s, a)| (Box::into_raw(Box::new(s)), Box::into_raw(Box::new(a)))).unzip();
        (schema.n_children, array.n_children) = (schemas.len() as i64, arrays.len() as i64);
        (schema.children, array.children) = (schemas.leak().as_mut_ptr(), arrays.leak().as_mut_ptr());
        // SAFETY: both follow the contract.
        unsafe { Batch::take(&raw mut schema, &raw mut array).unwrap() }
    }

    fn bytes<T: Copy, const N: usize>(values: &[T], one: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|v| one(*v)).collect()
    }

    fn texts(name: &str, texts: &[&str]) -> (ArrowSchema, ArrowArray) {
        let mut ends = vec![0i32];
        texts.iter().for_each(|text| ends.push(ends[ends.len() - 1] + text.len() as i32));
        column(name, "u", texts.len() as i64, vec![bytes(&ends, i32::to_ne_bytes), texts.concat().into_bytes()])
    }

    #[test]
    fn dates_decimals_half_floats_and_times_as_text_are_read() {
        let halves = [3.5f32, 5.0].map(|v| half::f16::from_f32(v).to_bits());
        let time = |column: (ArrowSchema, ArrowArray)| {
            let columns = vec![
                texts("item", &["a", "b"]),
                texts("text", &["good", "bad"]),
                column,
                self::column("rating", "e", 2, vec![bytes(&halves, u16::to_ne_bytes)]),
            ];
            let rows = rows(Table::Reviews, &of("+s", 2, columns), 0, 0).unwrap();
            rows.into_iter()
                .map(|(_, row)| match row {
                    Ok(Row::Review(review)) => (review.timestamp_ms, review.rating10),
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
        };
        // 2020-01-01 is day 18,262.
        let expected = vec![(Some(18_262 * 86_400_000), Some(7.0)), (Some(0), Some(10.0))];
        let days = bytes(&[18_262i32, 0], i32::to_ne_bytes);
        assert_eq!(time(column("timestamp", "tdD", 2, vec![days])), expected);
        let milliseconds = bytes(&[18_262i64 * 86_400_000, 0], i64::to_ne_bytes);
        assert_eq!(time(column("timestamp", "tdm", 2, vec![milliseconds])), expected);
        assert_eq!(time(texts("timestamp", &["2020-01-01", "1970-01-01T00:00:00Z"])), expected);
        // A year that was a date was left out without a word.
        for year in [
            column("year", "tdD", 2, vec![bytes(&[18_262i32, -1], i32::to_ne_bytes)]),
            column("year", "tsn:", 2, vec![bytes(&[18_262i64 * 86_400_000_000_000, -1], i64::to_ne_bytes)]),
            column("year", "s", 2, vec![bytes(&[2020i16, 1969], i16::to_ne_bytes)]),
            texts("year", &["2020", "1969-12-31"]),
        ] {
            let prices = bytes(&[1299i128, -1], i128::to_le_bytes);
            let columns = vec![texts("item", &["a", "b"]), column("price", "d:10,2", 2, vec![prices]), year];
            let rows = rows(Table::Items, &of("+s", 2, columns), 0, 0).unwrap();
            let (Ok(Row::Item(one)), Ok(Row::Item(other))) = (&rows[0].1, &rows[1].1) else { panic!("{rows:?}") };
            assert_eq!((one.price, one.year, other.year), (Some(12.99), Some(2020), Some(1969)));
        }
    }

    /// Room was made for as many rows as the producer said there were: the process ended.
    #[test]
    fn four_billion_rows_of_nulls_are_refused_as_soon_as_they_are_too_many() {
        let most = i64::from(u32::MAX);
        for table in [Table::Items, Table::Reviews, Table::Interactions] {
            let columns = ["item", "user", "text"].map(|name| column(name, "n", most, Vec::new()));
            let rows = rows(table, &of("+s", most, columns.into()), 0, 1000).unwrap();
            assert!(rows.len() == 1001 && rows.iter().all(|(_, row)| row.is_err()));
        }
    }

    #[test]
    fn rows_of_floats_of_any_width_and_list_are_read_and_ragged_ones_refused() {
        let list = |format: &str, child: (ArrowSchema, ArrowArray), ends: &[i32]| {
            let rows = if ends.is_empty() { child.1.length / 2 } else { ends.len() as i64 - 1 };
            let (mut schema, mut array) = column("rows", format, rows, vec![bytes(ends, i32::to_ne_bytes)]);
            if ends.is_empty() {
                array.n_buffers = 1;
            }
            (schema.n_children, array.n_children) = (1, 1);
            schema.children = vec![Box::into_raw(Box::new(child.0))].leak().as_mut_ptr();
            array.children = vec![Box::into_raw(Box::new(child.1))].leak().as_mut_ptr();
            let batch = of("+s", rows, vec![(schema, array)]);
            let (mut width, mut data) = (None, Vec::new());
            floats(&batch, &mut width, &mut data).map(|()| (width, data))
        };
        let values = [1.0f64, 2.0, 3.0, 4.0];
        let children = || {
            let halves = values.map(|v| half::f16::from_f64(v).to_bits());
            [
                column("item", "g", 4, vec![bytes(&values, f64::to_ne_bytes)]),
                column("item", "f", 4, vec![bytes(&values.map(|v| v as f32), f32::to_ne_bytes)]),
                column("item", "e", 4, vec![bytes(&halves, u16::to_ne_bytes)]),
            ]
        };
        let expected = (Some(2), vec![1.0f32, 2.0, 3.0, 4.0]);
        for child in children() {
            assert_eq!(list("+w:2", child, &[]).unwrap(), expected);
        }
        for child in children() {
            assert_eq!(list("+l", child, &[0, 2, 4]).unwrap(), expected);
        }
        for child in children() {
            let e = list("+l", child, &[0, 1, 4]).unwrap_err();
            assert!(e.message().contains("row 1 has 3 values, the first one 1"), "{e}");
        }
        let e =
            list("+l", column("item", "i", 4, vec![bytes(&[1, 2, 3, 4], i32::to_ne_bytes)]), &[0, 2, 4]).unwrap_err();
        assert!(e.message().contains("floats are needed"), "{e}");
    }
}
