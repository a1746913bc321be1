//! Opaque pointers: what is behind them is marked with its noun, so that a wrong handle is an error and not a crash.
//!
//! Rule 3 of the header: no handle is tied to a thread, and `const T *` may be shared between threads. So what is behind one
//! must be `Send`, and where it is handed out as shared, `Sync`: the compiler checks both for every noun.

use crate::error::{Error, Result};

/// What a C type stands for.
pub(super) trait Noun {
    /// What is behind the pointer: made on one thread, used and freed on others, by several at once where they only read.
    type Value: Send + Sync + 'static;
    /// `causerie_dataset`.
    const NAME: &'static str;
    /// What the memory behind a handle of this noun begins with.
    const MARK: u64 = mark(Self::NAME);
}

/// FNV-1a of the noun's name: no memory begins with it by chance.
const fn mark(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

/// Declares the C type of a noun and what it stands for.
macro_rules! noun {
    ($name:ident, $value:ty) => {
        impl $crate::ffi::handle::Noun for $name {
            type Value = $value;
            const NAME: &'static str = stringify!($name);
        }
    };
}
pub(super) use noun;

#[repr(C)]
struct Marked<T> {
    mark: u64,
    value: T,
}

/// # Safety
/// Rule 2 of the header: `handle` is NULL or one of ours, of any noun, not freed.
unsafe fn checked<N: Noun>(handle: *const N) -> Result<*mut Marked<N::Value>> {
    let name = N::NAME;
    if handle.is_null() {
        return Err(Error::invalid(format!("{name}: NULL where a handle is needed")));
    }
    let marked = handle.cast_mut().cast::<Marked<N::Value>>();
    if !marked.is_aligned() {
        return Err(Error::invalid(format!("{name}: this pointer is no handle")));
    }
    // SAFETY: rule 2: a handle that is not NULL came from one of our functions and was not freed; every such memory
    // begins with a mark, whatever its noun.
    let mark = unsafe { (*marked).mark };
    if mark != N::MARK {
        return Err(Error::invalid(format!("{name}: this is a handle of something else, or it was freed")));
    }
    Ok(marked)
}

/// The value behind `const T *`.
///
/// # Safety
/// Rules 2 and 3 of the header: `handle` is NULL or one of ours, not freed during the call, not changed by another thread.
pub(super) unsafe fn shared<'a, N: Noun>(handle: *const N) -> Result<&'a N::Value> {
    // SAFETY: the caller's promise; checked; rule 3, and the value is `Sync`.
    unsafe { Ok(&(*checked(handle)?).value) }
}

/// The value behind `const T *`, or none for NULL.
///
/// # Safety
/// As [`shared`].
pub(super) unsafe fn optional<'a, N: Noun>(handle: *const N) -> Result<Option<&'a N::Value>> {
    if handle.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise is ours.
    unsafe { shared(handle).map(Some) }
}

/// The value behind `T *`.
///
/// # Safety
/// Rules 2 and 3 of the header: as [`shared`], and nobody else uses the handle during the call.
pub(super) unsafe fn exclusive<'a, N: Noun>(handle: *mut N) -> Result<&'a mut N::Value> {
    // SAFETY: the caller's promise; checked; rule 3, and the value is `Send`.
    unsafe { Ok(&mut (*checked(handle)?).value) }
}

/// Where a new handle goes, written only on success.
pub(super) struct Out<N: Noun>(*mut *mut N);

impl<N: Noun> Out<N> {
    /// # Safety
    /// `slot` is NULL or valid to write one pointer to until the call ends.
    pub unsafe fn new(slot: *mut *mut N) -> Result<Out<N>> {
        if slot.is_null() {
            return Err(Error::invalid(format!("{}: NULL where the new handle is to be written", N::NAME)));
        }
        Ok(Out(slot))
    }
    /// Hands `value` to the caller.
    pub fn set(self, value: N::Value) {
        let handle = Box::into_raw(Box::new(Marked { mark: N::MARK, value })).cast::<N>();
        // SAFETY: the promise of `new`.
        unsafe { self.0.write(handle) }
    }
}

/// Ends a handle; NULL and what is no handle of this noun are left alone.
///
/// # Safety
/// Rule 2 of the header: nobody uses the handle any more.
pub(super) unsafe fn free<N: Noun>(handle: *mut N) {
    if handle.is_null() {
        return;
    }
    super::panics::guard_or((), || {
        // SAFETY: the caller's promise.
        let marked = unsafe { checked(handle)? };
        // SAFETY: checked: it came from `Out::set`. The mark goes first, so that a second free is seen as long as the
        // memory is not in other use.
        unsafe {
            (&raw mut (*marked).mark).write_volatile(0);
            drop(Box::from_raw(marked));
        }
        Ok(())
    });
}

/// Writes `value` to `slot` unless that is NULL.
///
/// # Safety
/// `slot` is NULL or valid to write a `T` to.
pub(super) unsafe fn put<T>(slot: *mut T, value: T) {
    if !slot.is_null() {
        // SAFETY: the caller's promise.
        unsafe { slot.write(value) }
    }
}
