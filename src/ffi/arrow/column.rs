//! One column: texts, lists of texts, numbers, rows of floats, out of buffers whose sizes nobody tells.

use super::{ArrowArray, ArrowSchema};
use crate::dataset::attributes_of;
use crate::error::{Error, Result};
use std::ffi::{CStr, c_void};

/// Rows that one array may have: their row numbers are 32 bits wide.
const MAX_ROWS: i64 = u32::MAX as i64;
/// How deep dictionaries and lists may lie in one another.
const MAX_DEPTH: usize = 4;

/// A column whose shape fits its format: rows, buffers and children are there.
pub(super) struct Column<'a> {
    pub name: &'a str,
    pub format: &'a str,
    schema: &'a ArrowSchema,
    array: &'a ArrowArray,
    offset: usize,
    length: usize,
    kind: Kind<'a>,
}

/// What the buffers hold.
enum Kind<'a> {
    /// Offsets of 4 or 8 bytes, then bytes.
    Utf8 {
        wide: bool,
    },
    /// Views of 16 bytes, then data buffers, whose sizes stand in the last buffer.
    Utf8View {
        sizes: &'a [i64],
    },
    /// Offsets of 4 or 8 bytes into a child.
    List {
        wide: bool,
        child: Box<Column<'a>>,
    },
    /// `size` values of a child per row.
    Fixed {
        size: usize,
        child: Box<Column<'a>>,
    },
    Number(Number),
    Struct(Vec<Column<'a>>),
    /// Indices into values.
    Dictionary {
        index: Number,
        values: Box<Column<'a>>,
    },
    /// Rows that are all null.
    Null,
    /// A type that nothing of ours reads.
    Other,
}

#[derive(Clone, Copy)]
enum Number {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F16,
    F32,
    F64,
    /// Days since 1970, in 32 bits.
    Days,
    /// A whole number of `bytes` bytes, of which the last `scale` digits are behind the point.
    Decimal {
        bytes: usize,
        scale: i32,
    },
    /// 64-bit times: how many of them make a millisecond (or the other way round).
    Time {
        multiply: i64,
        divide: i64,
    },
}

impl Number {
    fn of(format: &str) -> Option<Number> {
        Some(match format {
            "c" => Number::I8,
            "C" => Number::U8,
            "s" => Number::I16,
            "S" => Number::U16,
            "i" => Number::I32,
            "I" => Number::U32,
            "l" => Number::I64,
            "L" => Number::U64,
            "e" => Number::F16,
            "f" => Number::F32,
            "g" => Number::F64,
            "tdD" => Number::Days,
            "tdm" => Number::Time { multiply: 1, divide: 1 },
            decimal if decimal.starts_with("d:") => {
                // Precision, scale and, where it is not 128, the number of bits.
                let mut numbers = decimal[2..].split(',');
                let (_, scale) = (numbers.next()?, numbers.next()?.parse().ok()?);
                let bits: usize = numbers.next().map_or(Ok(128), str::parse).ok()?;
                let known = [32, 64, 128, 256].contains(&bits) && (-308..=308).contains(&scale);
                return known.then_some(Number::Decimal { bytes: bits / 8, scale });
            }
            _ => match format.get(..4)? {
                "tss:" => Number::Time { multiply: 1000, divide: 1 },
                "tsm:" => Number::Time { multiply: 1, divide: 1 },
                "tsu:" => Number::Time { multiply: 1, divide: 1000 },
                "tsn:" => Number::Time { multiply: 1, divide: 1_000_000 },
                _ => return None,
            },
        })
    }
}

/// A number as a row has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(i64),
    Float(f64),
}

/// A whole number in two's complement, least byte first, over ten to the power `scale`.
fn decimal(bytes: &[u8], scale: i32) -> Value {
    let negative = bytes.last().is_some_and(|b| b >> 7 == 1);
    if scale == 0 && bytes.len() <= 16 {
        let mut whole = [if negative { 0xff } else { 0 }; 16];
        whole[..bytes.len()].copy_from_slice(bytes);
        if let Ok(whole) = i64::try_from(i128::from_le_bytes(whole)) {
            return Value::Whole(whole);
        }
    }
    // The size of a negative number is that of its complement and one.
    let flip = if negative { 0xff } else { 0 };
    let size = bytes.iter().rev().fold(0.0, |sum, b| sum * 256.0 + f64::from(b ^ flip));
    let value = if negative { -(size + 1.0) } else { size };
    Value::Float(if scale >= 0 { value / 10f64.powi(scale) } else { value * 10f64.powi(-scale) })
}

/// # Safety
/// `pointer` is NULL or NUL-terminated.
unsafe fn c_str<'a>(pointer: *const std::ffi::c_char, what: &str) -> Result<&'a str> {
    if pointer.is_null() {
        return Ok("");
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(pointer) }.to_str().map_err(|_| bad(what, "not UTF-8"))
}

fn bad(column: &str, cause: impl std::fmt::Display) -> Error {
    let column = if column.is_empty() { "the array" } else { column };
    Error::new(crate::ErrorKind::Format, format!("Arrow: {column}: {cause}"))
}

fn number(value: i64, column: &str, what: &str) -> Result<usize> {
    if !(0..=MAX_ROWS).contains(&value) {
        return Err(bad(column, format!("its {what} is {value}")));
    }
    Ok(value as usize)
}

impl<'a> Column<'a> {
    /// Checks a schema and an array against each other.
    ///
    /// # Safety
    /// The contract of the Arrow C Data Interface: pointers that are not NULL are valid, counts tell their lengths, buffers
    /// are as long as the format, the length and the offsets in them say.
    pub unsafe fn new(schema: &'a ArrowSchema, array: &'a ArrowArray, depth: usize) -> Result<Column<'a>> {
        // SAFETY: the caller's promise.
        let name = unsafe { c_str(schema.name, "a column's name")? };
        if schema.format.is_null() || schema.release.is_none() || array.release.is_none() {
            return Err(bad(name, "it was released, or has no format"));
        }
        // SAFETY: the caller's promise.
        let format = unsafe { c_str(schema.format, name)? };
        let (length, offset) = (number(array.length, name, "length")?, number(array.offset, name, "offset")?);
        number(array.null_count.max(0), name, "count of nulls")?;
        if depth > MAX_DEPTH {
            return Err(bad(name, "nested too deep"));
        }
        let children = number(schema.n_children, name, "number of children")?;
        if array.n_children != schema.n_children {
            return Err(bad(
                name,
                format!("{} children by the schema, {} in the array", schema.n_children, array.n_children),
            ));
        }
        if children > 0 && (schema.children.is_null() || array.children.is_null()) {
            return Err(bad(name, "NULL where its children are"));
        }
        let mut column = Column { name, format, schema, array, offset, length, kind: Kind::Other };
        // SAFETY: the caller's promise.
        column.kind = unsafe { column.kind(children, depth)? };
        Ok(column)
    }

    /// # Safety
    /// As [`Column::new`].
    unsafe fn child(&self, i: usize, depth: usize) -> Result<Column<'a>> {
        // SAFETY: `i` is below the number of children, whose lists are not NULL.
        let (schema, array) = unsafe { (*self.schema.children.add(i), *self.array.children.add(i)) };
        if schema.is_null() || array.is_null() {
            return Err(bad(self.name, format!("child {i} is NULL")));
        }
        // SAFETY: the caller's promise.
        unsafe { Column::new(&*schema, &*array, depth + 1) }
    }

    /// # Safety
    /// As [`Column::new`].
    unsafe fn kind(&self, children: usize, depth: usize) -> Result<Kind<'a>> {
        let one_child = |what: &str| match children {
            1 => Ok(()),
            n => Err(bad(self.name, format!("a {what} with {n} children"))),
        };
        let end = self.offset + self.length;
        if !self.schema.dictionary.is_null() {
            if self.array.dictionary.is_null() {
                return Err(bad(self.name, "the array has no dictionary"));
            }
            let index = Number::of(self.format).filter(|n| {
                use Number::{I8, I16, I32, I64, U8, U16, U32, U64};
                matches!(n, I8 | U8 | I16 | U16 | I32 | U32 | I64 | U64)
            });
            let index = index.ok_or_else(|| bad(self.name, format!("indices of type {:?}", self.format)))?;
            self.needs(2)?;
            // SAFETY: the caller's promise.
            let values = unsafe { Column::new(&*self.schema.dictionary, &*self.array.dictionary, depth + 1)? };
            return Ok(Kind::Dictionary { index, values: Box::new(values) });
        }
        Ok(match self.format {
            "u" | "U" => {
                self.needs(3)?;
                Kind::Utf8 { wide: self.format == "U" }
            }
            "vu" => {
                let buffers = number(self.array.n_buffers, self.name, "number of buffers")?;
                if buffers < 3 || self.array.buffers.is_null() {
                    return Err(bad(self.name, format!("{buffers} buffers; a view has at least 3")));
                }
                let data = buffers - 3;
                // SAFETY: the last buffer holds the sizes of the data buffers.
                let sizes = unsafe { *self.array.buffers.add(buffers - 1) }.cast::<i64>();
                let sizes = match data {
                    0 => &[],
                    _ if sizes.is_null() || !sizes.is_aligned() => {
                        return Err(bad(self.name, "no sizes of its buffers"));
                    }
                    // SAFETY: one size per data buffer, by the format.
                    _ => unsafe { std::slice::from_raw_parts(sizes, data) },
                };
                if self.length > 0 {
                    self.buffer(1)?;
                }
                Kind::Utf8View { sizes }
            }
            // A map is a list of structs: key and value.
            "+l" | "+L" | "+m" => {
                one_child("list")?;
                self.needs(2)?;
                // SAFETY: the caller's promise.
                let child = Box::new(unsafe { self.child(0, depth)? });
                Kind::List { wide: self.format == "+L", child }
            }
            "+s" => {
                let mut columns = Vec::with_capacity(children.min(1024));
                for i in 0..children {
                    // SAFETY: the caller's promise.
                    let child = unsafe { self.child(i, depth)? };
                    if child.length < end {
                        return Err(bad(child.name, format!("{} rows of {end}", child.length)));
                    }
                    columns.push(child);
                }
                Kind::Struct(columns)
            }
            "n" => Kind::Null,
            fixed if fixed.starts_with("+w:") => {
                one_child("fixed-size list")?;
                let size = fixed[3..].parse().ok().filter(|n: &usize| *n > 0 && *n <= 1 << 20);
                let size = size.ok_or_else(|| bad(self.name, format!("a list size in {fixed:?}")))?;
                // SAFETY: the caller's promise.
                let child = unsafe { self.child(0, depth)? };
                if end.checked_mul(size).is_none_or(|values| child.length < values) {
                    return Err(bad(self.name, format!("{} values for {end} rows of {size}", child.length)));
                }
                Kind::Fixed { size, child: Box::new(child) }
            }
            other => match Number::of(other) {
                Some(kind) => {
                    self.needs(2)?;
                    Kind::Number(kind)
                }
                None => Kind::Other,
            },
        })
    }

    /// As many buffers as the format has, and where there are rows, none but the validity and the bytes is NULL.
    fn needs(&self, buffers: i64) -> Result<()> {
        if self.array.n_buffers != buffers || self.array.buffers.is_null() {
            return Err(bad(self.name, format!("{} buffers for format {:?}", self.array.n_buffers, self.format)));
        }
        if self.length > 0 {
            self.buffer(1)?;
        }
        Ok(())
    }

    /// Buffer `i`, which must be there.
    fn buffer(&self, i: usize) -> Result<*const c_void> {
        // SAFETY: `i` is below the number of buffers.
        let buffer = unsafe { *self.array.buffers.add(i) };
        if buffer.is_null() {
            return Err(bad(self.name, format!("buffer {i} is NULL")));
        }
        Ok(buffer)
    }

    /// Value `at` of the buffer `i`, which holds values of type `T`; buffers of producers need not be aligned.
    fn value<T: Copy>(&self, i: usize, at: usize) -> Result<T> {
        // SAFETY: the contract: the buffer holds a value for every row up to offset + length.
        Ok(unsafe { self.buffer(i)?.cast::<T>().add(at).read_unaligned() })
    }

    pub fn len(&self) -> usize {
        self.length
    }

    /// The columns of a struct; none for another type.
    pub fn columns(&self) -> Option<&[Column<'a>]> {
        match &self.kind {
            Kind::Struct(columns) => Some(columns),
            _ => None,
        }
    }

    /// True for texts, in a dictionary too.
    pub fn is_text(&self) -> bool {
        match &self.kind {
            Kind::Utf8 { .. } | Kind::Utf8View { .. } => true,
            Kind::Dictionary { values, .. } => values.is_text(),
            _ => false,
        }
    }

    /// True for dates and timestamps.
    pub fn is_time(&self) -> bool {
        matches!(self.kind, Kind::Number(Number::Days | Number::Time { .. }))
    }

    /// Rows in front of the first: a struct's children are read from there on.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// True when row `row` (counted from the offset) has a value.
    pub fn is_valid(&self, row: usize) -> bool {
        if matches!(self.kind, Kind::Null) {
            return false;
        }
        if self.array.null_count == 0 || self.array.n_buffers < 1 || self.array.buffers.is_null() {
            return true;
        }
        // SAFETY: there is at least one buffer.
        let bits = unsafe { *self.array.buffers }.cast::<u8>();
        let at = self.offset + row;
        // SAFETY: the contract: a bit for every row up to offset + length.
        bits.is_null() || unsafe { *bits.add(at / 8) } >> (at % 8) & 1 == 1
    }

    /// Where a variable-sized row begins and ends.
    fn span(&self, row: usize, wide: bool) -> Result<(usize, usize)> {
        let at = self.offset + row;
        let (from, to) = match wide {
            true => (self.value::<i64>(1, at)?, self.value::<i64>(1, at + 1)?),
            false => (i64::from(self.value::<i32>(1, at)?), i64::from(self.value::<i32>(1, at + 1)?)),
        };
        if from < 0 || to < from {
            return Err(bad(self.name, format!("row {row} goes from byte {from} to {to}")));
        }
        Ok((from as usize, to as usize))
    }

    /// The text of a row; none for null.
    pub fn text(&self, row: usize) -> Result<Option<&'a str>> {
        if !self.is_valid(row) {
            return Ok(None);
        }
        let bytes: &'a [u8] = match &self.kind {
            Kind::Utf8 { wide } => {
                let (from, to) = self.span(row, *wide)?;
                if from == to {
                    &[]
                } else {
                    // SAFETY: the contract: the bytes buffer is as long as the last offset says.
                    unsafe { std::slice::from_raw_parts(self.buffer(2)?.cast::<u8>().add(from), to - from) }
                }
            }
            Kind::Utf8View { sizes } => self.view(row, sizes)?,
            Kind::Dictionary { index, values } => return values.text(self.entry(row, *index, values)?),
            Kind::Null | Kind::List { .. } | Kind::Fixed { .. } | Kind::Number(_) | Kind::Struct(_) | Kind::Other => {
                return Err(bad(self.name, format!("format {:?} where text is needed (u, U, vu)", self.format)));
            }
        };
        std::str::from_utf8(bytes).map(Some).map_err(|_| bad(self.name, format!("row {row} is not UTF-8")))
    }

    /// The entry of a dictionary that a row names.
    fn entry(&self, row: usize, index: Number, values: &Column<'_>) -> Result<usize> {
        match self.number_at(row, index)? {
            Value::Whole(at) if at >= 0 && (at as usize) < values.length => Ok(at as usize),
            other => Err(bad(self.name, format!("row {row} has index {other:?} of {} values", values.length))),
        }
    }

    /// A row of views: twelve bytes in place, or a prefix, a buffer's number and an offset in it.
    fn view(&self, row: usize, sizes: &[i64]) -> Result<&'a [u8]> {
        let at = self.offset + row;
        let words: [i32; 4] = self.value(1, at)?;
        let broken = |what: &str| bad(self.name, format!("row {row}: {what}"));
        let length = usize::try_from(words[0]).map_err(|_| broken("a negative length"))?;
        if length <= 12 {
            // SAFETY: the contract: a view of 16 bytes for every row, of which the last 12 are the text.
            return Ok(unsafe { std::slice::from_raw_parts(self.buffer(1)?.cast::<u8>().add(16 * at + 4), length) });
        }
        let buffer =
            usize::try_from(words[2]).ok().filter(|b| *b < sizes.len()).ok_or_else(|| broken("no such buffer"))?;
        let from = usize::try_from(words[3]).map_err(|_| broken("a negative offset"))?;
        if (from + length) as i64 > sizes[buffer] {
            return Err(broken("it goes beyond its buffer"));
        }
        // SAFETY: within the buffer's size, which the producer states.
        Ok(unsafe { std::slice::from_raw_parts(self.buffer(2 + buffer)?.cast::<u8>().add(from), length) })
    }

    fn number_at(&self, row: usize, kind: Number) -> Result<Value> {
        let at = self.offset + row;
        Ok(match kind {
            Number::I8 => Value::Whole(self.value::<i8>(1, at)?.into()),
            Number::U8 => Value::Whole(self.value::<u8>(1, at)?.into()),
            Number::I16 => Value::Whole(self.value::<i16>(1, at)?.into()),
            Number::U16 => Value::Whole(self.value::<u16>(1, at)?.into()),
            Number::I32 => Value::Whole(self.value::<i32>(1, at)?.into()),
            Number::U32 => Value::Whole(self.value::<u32>(1, at)?.into()),
            Number::I64 => Value::Whole(self.value::<i64>(1, at)?),
            Number::U64 => {
                let value = self.value::<u64>(1, at)?;
                i64::try_from(value).map_or(Value::Float(value as f64), Value::Whole)
            }
            Number::F16 => Value::Float(self.value::<half::f16>(1, at)?.into()),
            Number::F32 => Value::Float(self.value::<f32>(1, at)?.into()),
            Number::F64 => Value::Float(self.value::<f64>(1, at)?),
            Number::Days => Value::Whole(i64::from(self.value::<i32>(1, at)?) * 86_400_000),
            Number::Decimal { bytes, scale } => {
                // SAFETY: the contract: `bytes` bytes for every row up to offset + length.
                let digits = unsafe { std::slice::from_raw_parts(self.buffer(1)?.cast::<u8>().add(at * bytes), bytes) };
                decimal(digits, scale)
            }
            Number::Time { multiply, divide } => {
                let value = self.value::<i64>(1, at)?;
                Value::Whole(value.saturating_mul(multiply).div_euclid(divide))
            }
        })
    }

    /// The number of a row; none for null.
    pub fn number(&self, row: usize) -> Result<Option<Value>> {
        if !self.is_valid(row) {
            return Ok(None);
        }
        match &self.kind {
            Kind::Number(kind) => self.number_at(row, *kind).map(Some),
            Kind::Dictionary { index, values } if matches!(values.kind, Kind::Number(_)) => {
                values.number(self.entry(row, *index, values)?)
            }
            Kind::Utf8 { .. }
            | Kind::Utf8View { .. }
            | Kind::List { .. }
            | Kind::Fixed { .. }
            | Kind::Struct(_)
            | Kind::Dictionary { .. }
            | Kind::Null
            | Kind::Other => Err(bad(self.name, format!("format {:?} where a number is needed", self.format))),
        }
    }

    /// The texts of a row of a list, or the one text of a row; empty for null.
    pub fn texts(&self, row: usize) -> Result<Vec<String>> {
        if !self.is_valid(row) {
            return Ok(Vec::new());
        }
        let (child, from, to) = match &self.kind {
            Kind::List { wide, child } => {
                let (from, to) = self.span(row, *wide)?;
                (child, from, to)
            }
            Kind::Fixed { size, child } => (child, (self.offset + row) * size, (self.offset + row + 1) * size),
            Kind::Utf8 { .. }
            | Kind::Utf8View { .. }
            | Kind::Dictionary { .. }
            | Kind::Number(_)
            | Kind::Struct(_)
            | Kind::Null
            | Kind::Other => {
                return Ok(self.text(row)?.into_iter().filter(|t| !t.is_empty()).map(str::to_string).collect());
            }
        };
        if to > child.length {
            return Err(bad(self.name, format!("row {row} ends at {to} of {} values", child.length)));
        }
        let mut texts = Vec::with_capacity((to - from).min(1024));
        for at in from..to {
            texts.extend(child.text(at)?.filter(|t| !t.is_empty()).map(str::to_string));
        }
        Ok(texts)
    }

    /// What a row says, as texts: texts, numbers, lists of texts; none for null. An empty text stands for a type that says
    /// nothing to us.
    fn said(&self, row: usize) -> Result<Vec<String>> {
        if !self.is_valid(row) {
            return Ok(Vec::new());
        }
        let one = |text: String| Ok(vec![text]);
        match &self.kind {
            Kind::Number(_) if self.is_time() => one(String::new()),
            Kind::Number(_) => Ok(match self.number(row)? {
                Some(Value::Whole(value)) => vec![value.to_string()],
                Some(Value::Float(value)) if value.is_finite() => vec![value.to_string()],
                Some(Value::Float(_)) | None => Vec::new(),
            }),
            Kind::List { child, .. } | Kind::Fixed { child, .. } if !child.is_text() => one(String::new()),
            Kind::Dictionary { values, .. } if !values.is_text() => one(String::new()),
            Kind::Utf8 { .. }
            | Kind::Utf8View { .. }
            | Kind::Dictionary { .. }
            | Kind::List { .. }
            | Kind::Fixed { .. } => self.texts(row),
            Kind::Struct(_) | Kind::Null | Kind::Other => one(String::new()),
        }
    }

    /// The names and values of a row: a struct's columns by their names, a map's entries, those of a JSON object in a text. A
    /// pair without a name stands for what is neither.
    pub fn pairs(&self, row: usize) -> Result<Vec<(String, String)>> {
        if !self.is_valid(row) {
            return Ok(Vec::new());
        }
        let mut pairs = Vec::new();
        let of = |name: &str, column: &Column<'_>, at: usize| -> Result<Vec<(String, String)>> {
            Ok(column.said(at)?.into_iter().map(|value| (name.to_string(), value)).collect())
        };
        let entries = match &self.kind {
            Kind::List { wide, child } => child.columns().map(|columns| (*wide, child, columns)),
            _ => None,
        };
        match (&self.kind, entries) {
            (Kind::Struct(columns), _) => {
                for column in columns {
                    pairs.extend(of(column.name, column, self.offset + row)?);
                }
            }
            (_, Some((wide, child, [key, value]))) => {
                let (from, to) = self.span(row, wide)?;
                if to > child.length {
                    return Err(bad(self.name, format!("row {row} ends at {to} of {} entries", child.length)));
                }
                for at in from..to {
                    pairs.extend(of(key.text(child.offset + at)?.unwrap_or_default(), value, child.offset + at)?);
                }
            }
            _ if self.is_text() => pairs.extend(self.text(row)?.map_or(Vec::new(), attributes_of)),
            _ => pairs.push(Default::default()),
        }
        Ok(pairs)
    }

    /// The rows of lists of floats, `[len, size]` with `size`: of one length, without nulls. None where there are no rows and
    /// nothing says how long they are.
    pub fn floats(&self) -> Result<(Option<usize>, Vec<f32>)> {
        let (child, known) = match &self.kind {
            Kind::Fixed { size, child } => (child, Some(*size)),
            Kind::List { child, .. } => (child, None),
            _ => {
                return Err(bad(
                    self.name,
                    format!("format {:?} where rows of floats are needed (+w:N, +l, +L)", self.format),
                ));
            }
        };
        if !matches!(child.kind, Kind::Number(Number::F16 | Number::F32 | Number::F64)) {
            return Err(bad(child.name, format!("format {:?} where floats are needed (e, f, g)", child.format)));
        }
        if let Some(row) = (0..self.length).find(|row| !self.is_valid(*row)) {
            return Err(bad(self.name, format!("row {row} is null")));
        }
        let span = |row: usize| match (&self.kind, known) {
            (Kind::List { wide, .. }, _) => self.span(row, *wide),
            (_, size) => {
                let size = size.unwrap_or_default();
                Ok(((self.offset + row) * size, (self.offset + row + 1) * size))
            }
        };
        let size = match (known, self.length) {
            (Some(size), _) => size,
            (None, 0) => return Ok((None, Vec::new())),
            (None, _) => span(0).map(|(from, to)| to - from)?,
        };
        let mut values = Vec::new();
        for row in 0..self.length {
            let (from, to) = span(row)?;
            if to - from != size || size == 0 {
                return Err(bad(self.name, format!("row {row} has {} values, the first one {size}", to - from)));
            }
            if to > child.length {
                return Err(bad(self.name, format!("row {row} ends at {to} of {} values", child.length)));
            }
            if row == 0 {
                values.reserve(size.saturating_mul(self.length));
            }
            for at in from..to {
                match child.number(at)? {
                    Some(Value::Float(value)) => values.push(value as f32),
                    Some(Value::Whole(value)) => values.push(value as f32),
                    None => return Err(bad(child.name, format!("value {at} is null"))),
                }
            }
        }
        Ok((Some(size), values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_of_any_width_and_sign_are_read() {
        for value in [0i128, 1, -1, 1299, -1299, i64::MAX.into(), i64::MIN.into()] {
            assert_eq!(decimal(&value.to_le_bytes(), 0), Value::Whole(value as i64));
            let Value::Float(got) = decimal(&value.to_le_bytes(), 2) else { panic!("{value}") };
            let expected = value as f64 / 100.0;
            assert!((got - expected).abs() <= expected.abs() * 1e-12, "{value}: {got}");
        }
        assert_eq!(decimal(&1299i32.to_le_bytes(), 2), Value::Float(12.99));
        assert_eq!(decimal(&(-5i64).to_le_bytes(), -2), Value::Float(-500.0));
        let mut wide = [0xffu8; 32];
        wide[0] = 0xfe;
        assert_eq!(decimal(&wide, 0), Value::Float(-2.0));
        assert!(matches!(Number::of("d:10,2"), Some(Number::Decimal { bytes: 16, scale: 2 })));
        assert!(matches!(Number::of("d:10,2,256"), Some(Number::Decimal { bytes: 32, scale: 2 })));
        assert!(Number::of("d:10").is_none() && Number::of("d:9,2,48").is_none());
    }
}
