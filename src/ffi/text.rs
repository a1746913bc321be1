//! Text and slices across the boundary: (pointer, length) in, NUL-terminated out.

use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// `len` values at `data`; (NULL, 0) is an empty slice.
///
/// # Safety
/// Rule 2 of the header: `data` is NULL or valid for `len` values until the call ends.
pub(super) unsafe fn slice<'a, T>(data: *const T, len: usize, what: &str) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Error::invalid(format!("{what}: NULL with a length of {len}")));
    }
    if !data.is_aligned() {
        return Err(Error::invalid(format!("{what}: the pointer is not aligned to {} bytes", align_of::<T>())));
    }
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::invalid(format!("{what}: a length of {len} fits no memory")));
    }
    // SAFETY: the caller's promise; not NULL, aligned, not too long.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// UTF-8 text of `len` bytes.
///
/// # Safety
/// As [`slice`].
pub(super) unsafe fn text<'a>(data: *const c_char, len: usize, what: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice(data.cast::<u8>(), len, what)? };
    std::str::from_utf8(bytes).map_err(|e| Error::invalid(format!("{what}: not UTF-8 at byte {}", e.valid_up_to())))
}

/// A NUL-terminated key, name or path.
///
/// # Safety
/// Rule 4 of the header: `data` is NULL or NUL-terminated.
pub(super) unsafe fn name<'a>(data: *const c_char, what: &str) -> Result<&'a str> {
    if data.is_null() {
        return Err(Error::invalid(format!("{what}: NULL where text is needed")));
    }
    // SAFETY: not NULL; the caller's promise.
    let bytes = unsafe { CStr::from_ptr(data) };
    bytes.to_str().map_err(|e| Error::invalid(format!("{what}: not UTF-8 at byte {}", e.valid_up_to())))
}

/// A path that must not be empty.
///
/// # Safety
/// As [`name`].
pub(super) unsafe fn path<'a>(data: *const c_char, what: &str) -> Result<&'a Path> {
    // SAFETY: the caller's promise.
    let name = unsafe { name(data, what)? };
    if name.is_empty() {
        return Err(Error::invalid(format!("{what}: an empty path")));
    }
    Ok(Path::new(name))
}

/// A path, or none for NULL and "".
///
/// # Safety
/// As [`name`].
pub(super) unsafe fn optional_path<'a>(data: *const c_char, what: &str) -> Result<Option<&'a Path>> {
    if data.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let name = unsafe { name(data, what)? };
    Ok(Some(Path::new(name)).filter(|_| !name.is_empty()))
}

/// Text for C: it ends at its first zero byte, as C would read it.
pub(super) fn c_text(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes: Vec<u8> = text.into();
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    // No zero byte is left.
    CString::new(bytes).unwrap_or_default()
}

/// JSON of `value` for C.
pub(super) fn c_json(value: &impl serde::Serialize) -> Result<CString> {
    serde_json::to_vec(value).map(c_text).map_err(|e| Error::bug(e.to_string()))
}

/// Texts that were handed out and live as long as their handle.
#[derive(Default)]
pub(super) struct LentTexts(Mutex<BTreeSet<CString>>);

impl LentTexts {
    /// `text`, kept; each text once.
    pub fn lend(&self, text: impl Into<Vec<u8>>) -> *const c_char {
        let text = c_text(text);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.contains(&text) {
            kept.insert(text.clone());
        }
        // The bytes of a CString stay where they are when the set grows.
        kept.get(&text).map_or(std::ptr::null(), |t| t.as_ptr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_with_a_length_and_lengths_that_fit_no_memory_are_refused() {
        let data = [1.0f32; 4];
        // SAFETY: valid for its length, or refused before it is read.
        unsafe {
            assert_eq!(slice::<f32>(std::ptr::null(), 0, "x").unwrap(), &[0f32; 0]);
            assert!(slice::<f32>(std::ptr::null(), 3, "x").is_err());
            assert!(slice(data.as_ptr(), usize::MAX / 2, "x").is_err());
            assert!(slice(data.as_ptr().cast::<u8>().add(1).cast::<f32>(), 1, "x").is_err());
            assert_eq!(slice(data.as_ptr(), 4, "x").unwrap(), data);
            let e = text(c"a\xff".as_ptr(), 2, "title").unwrap_err();
            assert_eq!(e.message(), "title: not UTF-8 at byte 1");
            assert!(name(std::ptr::null(), "key").is_err());
            assert!(path(c"".as_ptr(), "path").is_err());
        }
    }

    #[test]
    fn lent_texts_stay_where_they_are() {
        let lent = LentTexts::default();
        let first = lent.lend("first");
        for i in 0..1000 {
            let _ = lent.lend(format!("{i}"));
        }
        // SAFETY: `lent` still lives.
        assert_eq!(unsafe { CStr::from_ptr(first) }, c"first");
        assert_eq!(lent.lend("first"), first);
        assert_eq!(c_text("a\0b"), c"a".to_owned());
    }
}
