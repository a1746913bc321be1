//! The Arrow C Data Interface and C Stream Interface: three structs, and a reader that trusts little.
//!
//! The structs are those of the specification (<https://arrow.apache.org/docs/format/CDataInterface.html>), which are meant
//! to be copied. The specification gives no sizes of buffers: what can be checked without them is.

pub(super) mod read;
mod column;

use std::ffi::{c_char, c_int, c_void};

/// A column's type, as the producer describes it.
#[repr(C)]
pub struct ArrowSchema {
    /// The type as a format string: `u`, `+s`, `+w:384`.
    pub format: *const c_char,
    /// The column's name.
    pub name: *const c_char,
    /// Key-value metadata; not read.
    pub metadata: *const c_char,
    /// Flags; not read.
    pub flags: i64,
    /// Number of children.
    pub n_children: i64,
    /// The children.
    pub children: *mut *mut ArrowSchema,
    /// The type of a dictionary's values; `format` is then the type of the indices.
    pub dictionary: *mut ArrowSchema,
    /// Ends the schema and its children; NULL once it was called.
    pub release: Option<unsafe extern "C-unwind" fn(*mut ArrowSchema)>,
    /// The producer's own.
    pub private_data: *mut c_void,
}

/// A column's values.
#[repr(C)]
pub struct ArrowArray {
    /// Rows.
    pub length: i64,
    /// Rows that are null; -1: not counted.
    pub null_count: i64,
    /// Rows in front of the first.
    pub offset: i64,
    /// Number of buffers.
    pub n_buffers: i64,
    /// Number of children.
    pub n_children: i64,
    /// The buffers, the first one the validity bits.
    pub buffers: *mut *const c_void,
    /// The children.
    pub children: *mut *mut ArrowArray,
    /// A dictionary's values.
    pub dictionary: *mut ArrowArray,
    /// Ends the array and its children; NULL once it was called.
    pub release: Option<unsafe extern "C-unwind" fn(*mut ArrowArray)>,
    /// The producer's own.
    pub private_data: *mut c_void,
}

/// A sequence of arrays of one schema.
#[repr(C)]
pub struct ArrowArrayStream {
    /// Gives the schema; 0 is success.
    pub get_schema: Option<unsafe extern "C-unwind" fn(*mut ArrowArrayStream, *mut ArrowSchema) -> c_int>,
    /// Gives the next array, a released one at the end; 0 is success.
    pub get_next: Option<unsafe extern "C-unwind" fn(*mut ArrowArrayStream, *mut ArrowArray) -> c_int>,
    /// What went wrong last; may be NULL.
    pub get_last_error: Option<unsafe extern "C-unwind" fn(*mut ArrowArrayStream) -> *const c_char>,
    /// Ends the stream; NULL once it was called.
    pub release: Option<unsafe extern "C-unwind" fn(*mut ArrowArrayStream)>,
    /// The producer's own.
    pub private_data: *mut c_void,
}

impl Default for ArrowSchema {
    fn default() -> Self {
        // SAFETY: null pointers, no callbacks, zeros: what the specification calls a released schema.
        unsafe { std::mem::zeroed() }
    }
}

impl Default for ArrowArray {
    fn default() -> Self {
        // SAFETY: as of ArrowSchema.
        unsafe { std::mem::zeroed() }
    }
}
