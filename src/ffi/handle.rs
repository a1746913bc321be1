//! Handles: what C holds is a number that names a slot of a table, not an address.
//!
//! So any value that a caller hands in can be checked: NULL, a handle of another noun, one that was freed, a pointer that
//! never was a handle. Each slot counts who uses it. Sharing calls may be many at once; an exclusive call is alone, or is
//! refused with [`crate::ErrorKind::Busy`]; a handle that is freed while it is used is closed for new calls at once, and its
//! value goes with the last call.

use crate::error::{Error, ErrorKind, Result};
use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// What a C type stands for.
pub(super) trait Noun: 'static {
    /// What is behind the handle: it may be read by many threads at once, and freed by any.
    type Value: Send + Sync + 'static;
    /// `causerie_dataset`.
    const NAME: &'static str;
    /// Where the name stands: what a slot knows its noun by.
    const PLACE: &'static &'static str = &Self::NAME;
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

// ------------------------------------------------------------------------------------------------------------- the table

/// One place for a value. `state`: generation (30 bits), closed (1), exclusive (1), calls that share it (32).
struct Slot {
    state: AtomicU64,
    /// The noun's name; null before the first life.
    noun: AtomicPtr<&'static str>,
    value: UnsafeCell<Option<Box<dyn Any + Send + Sync>>>,
}

// SAFETY: `value` is written only by the one who holds the slot alone: before its state is published, under the exclusive
// bit, or after the last call has left a closed slot. Others read it while they are counted.
unsafe impl Sync for Slot {}

const SHARED: u64 = 0xFFFF_FFFF;
const EXCLUSIVE: u64 = 1 << 32;
const CLOSED: u64 = 1 << 33;
const GENERATION: u32 = 34;
/// A slot that has had so many lives is not used again, so that no old handle ever fits a new value.
const LAST_GENERATION: u64 = (1 << 30) - 1;

/// Slots of the first chunk; each chunk is twice the one before, four billion in all. Chunks are never given back.
const FIRST: usize = 64;
static CHUNKS: [OnceLock<Box<[Slot]>>; 26] = [const { OnceLock::new() }; 26];
/// Slots that are free, and how many there are in all.
static FREE: Mutex<(Vec<u32>, u32)> = Mutex::new((Vec::new(), 0));

/// Chunk of a slot, and its place there.
fn place(index: u32) -> (usize, usize) {
    let at = index as usize + FIRST;
    let chunk = (at / FIRST).ilog2() as usize;
    (chunk, at - (FIRST << chunk))
}

fn slot(index: u32) -> Option<&'static Slot> {
    let (chunk, at) = place(index);
    CHUNKS.get(chunk)?.get()?.get(at)
}

// A handle is no address of this process: bit 62 is set, which no pointer of a program on x86-64 or AArch64 has.
const TAG: u64 = 1 << 62;
const _: () = assert!(usize::BITS == 64, "a handle needs a pointer of 64 bits");

fn number(index: u32, generation: u64) -> u64 {
    TAG | generation << 32 | u64::from(index)
}

/// Puts a value into the table; the handle's number.
fn insert(noun: &'static &'static str, value: Box<dyn Any + Send + Sync>) -> u64 {
    let index = {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        match free.0.pop() {
            Some(index) => index,
            None => {
                let index = free.1;
                let (chunk, _) = place(index);
                let (chunk, size) = (&CHUNKS[chunk], FIRST << chunk);
                let empty = || Slot {
                    state: AtomicU64::new(CLOSED),
                    noun: AtomicPtr::new(std::ptr::null_mut()),
                    value: UnsafeCell::new(None),
                };
                chunk.get_or_init(|| (0..size).map(|_| empty()).collect());
                free.1 += 1;
                index
            }
        }
    };
    let slot = slot(index).expect("a free slot is in the table");
    let generation = slot.state.load(Ordering::Acquire) >> GENERATION;
    // SAFETY: the slot was in the list of free ones, and we alone took it; its state is closed, so that nobody gets in.
    unsafe { *slot.value.get() = Some(value) };
    slot.noun.store(std::ptr::from_ref(noun).cast_mut(), Ordering::Relaxed);
    slot.state.store(generation << GENERATION, Ordering::Release);
    number(index, generation)
}

/// The slot that a handle names, and the generation it asks for; what is no handle of this noun is refused.
fn named(name: &str, handle: u64) -> Result<(&'static Slot, u64)> {
    if handle == 0 {
        return Err(Error::invalid(format!("{name}: NULL where a handle is needed")));
    }
    let generation = (handle & !TAG) >> 32;
    let slot = if handle & TAG != 0 && generation <= LAST_GENERATION { slot(handle as u32) } else { None };
    let noun = slot.map(|s| s.noun.load(Ordering::Relaxed)).filter(|noun| !noun.is_null());
    let (Some(slot), Some(noun)) = (slot, noun) else {
        return Err(Error::invalid(format!("{name}: this pointer is no handle")));
    };
    // Of a handle that was freed the slot may have another noun by now: then its generation is another one, too.
    if slot.state.load(Ordering::Acquire) >> GENERATION != generation {
        return Err(closed(name));
    }
    // SAFETY: only `insert` writes it, from a reference that lives for ever.
    let noun = unsafe { *noun };
    if noun != name {
        return Err(Error::invalid(format!("{name}: this is a handle of {noun}")));
    }
    Ok((slot, generation))
}

fn closed(name: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("{name}: this handle was freed; make a new one"))
}

/// Counts one call in: a sharing one, or one that is alone.
fn enter(name: &str, handle: u64, exclusive: bool) -> Result<&'static Slot> {
    let (slot, generation) = named(name, handle)?;
    let mut state = slot.state.load(Ordering::Acquire);
    loop {
        if state >> GENERATION != generation || state & CLOSED != 0 {
            return Err(closed(name));
        }
        let (busy, next) = match exclusive {
            true => (state & (EXCLUSIVE | SHARED) != 0, state | EXCLUSIVE),
            false => (state & EXCLUSIVE != 0 || state & SHARED == SHARED, state + 1),
        };
        if busy {
            let what = if exclusive { "another call uses it" } else { "another call changes it" };
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{name}: {what} at this moment; call again when that has ended, or give each thread its own"),
            ));
        }
        match slot.state.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => break,
            Err(now) => state = now,
        }
    }
    Ok(slot)
}

/// Counts one call out; the last one of a closed slot ends its value.
fn leave(slot: &'static Slot, exclusive: bool) {
    let mut state = slot.state.load(Ordering::Acquire);
    loop {
        let left = if exclusive { state & !EXCLUSIVE } else { state - 1 };
        let last = left & CLOSED != 0 && left & (EXCLUSIVE | SHARED) == 0;
        let next = if last { after(left) } else { left };
        match slot.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) if last => return reclaim(slot),
            Ok(_) => return,
            Err(now) => state = now,
        }
    }
}

/// The state of an empty slot whose last value was of `state`: closed, one generation on.
fn after(state: u64) -> u64 {
    let generation = (state >> GENERATION).min(LAST_GENERATION - 1) + 1;
    generation << GENERATION | CLOSED
}

/// Ends the value of a slot that nobody can enter any more, and gives the slot back.
fn reclaim(slot: &'static Slot) {
    // SAFETY: the state was set to an empty slot's by us alone; no call is counted in, and none can be.
    let value = unsafe { &mut *slot.value.get() }.take();
    if slot.state.load(Ordering::Relaxed) >> GENERATION < LAST_GENERATION
        && let Some(index) = index_of(slot)
    {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).0.push(index);
    }
    drop(value);
}

fn index_of(slot: &'static Slot) -> Option<u32> {
    let address = std::ptr::from_ref(slot).addr();
    CHUNKS.iter().enumerate().find_map(|(n, chunk)| {
        let chunk = chunk.get()?;
        let at = address.checked_sub(chunk.as_ptr().addr())? / size_of::<Slot>();
        (at < chunk.len()).then(|| ((FIRST << n) - FIRST + at) as u32)
    })
}

// --------------------------------------------------------------------------------------------------------------- the face

/// A value that a call reads, counted in until this goes.
pub(super) struct Shared<N: Noun> {
    slot: &'static Slot,
    noun: PhantomData<fn() -> N>,
}

impl<N: Noun> Deref for Shared<N> {
    type Target = N::Value;
    fn deref(&self) -> &N::Value {
        // SAFETY: counted in: nobody changes or ends the value.
        let value = unsafe { &*self.slot.value.get() };
        value.as_ref().and_then(|v| v.downcast_ref()).expect("a noun has one type of value")
    }
}

impl<N: Noun> Drop for Shared<N> {
    fn drop(&mut self) {
        leave(self.slot, false);
    }
}

/// A value that a call changes, alone until this goes.
pub(super) struct Exclusive<N: Noun> {
    slot: &'static Slot,
    noun: PhantomData<fn() -> N>,
}

impl<N: Noun> Deref for Exclusive<N> {
    type Target = N::Value;
    fn deref(&self) -> &N::Value {
        // SAFETY: we are alone with the value until this guard goes.
        let value = unsafe { &*self.slot.value.get() };
        value.as_ref().and_then(|v| v.downcast_ref()).expect("a noun has one type of value")
    }
}

impl<N: Noun> DerefMut for Exclusive<N> {
    fn deref_mut(&mut self) -> &mut N::Value {
        // SAFETY: as above, and the guard is borrowed mutably.
        let value = unsafe { &mut *self.slot.value.get() };
        value.as_mut().and_then(|v| v.downcast_mut()).expect("a noun has one type of value")
    }
}

impl<N: Noun> Drop for Exclusive<N> {
    fn drop(&mut self) {
        leave(self.slot, true);
    }
}

/// The value behind `const T *`, shared with other calls.
///
/// # Errors
/// [`ErrorKind::Invalid`] for NULL and what is no handle of this noun, [`ErrorKind::Closed`] for a freed one,
/// [`ErrorKind::Busy`] while an exclusive call is under way.
pub(super) fn shared<N: Noun>(handle: *const N) -> Result<Shared<N>> {
    Ok(Shared { slot: enter(N::NAME, handle.addr() as u64, false)?, noun: PhantomData })
}

/// The value behind `const T *`, or none for NULL.
///
/// # Errors
/// As [`shared`].
pub(super) fn optional<N: Noun>(handle: *const N) -> Result<Option<Shared<N>>> {
    if handle.is_null() { Ok(None) } else { shared(handle).map(Some) }
}

/// The value behind `T *`, alone.
///
/// # Errors
/// As [`shared`], and [`ErrorKind::Busy`] while any other call is under way.
pub(super) fn exclusive<N: Noun>(handle: *mut N) -> Result<Exclusive<N>> {
    Ok(Exclusive { slot: enter(N::NAME, handle.addr() as u64, true)?, noun: PhantomData })
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
        // SAFETY: the promise of `new`.
        unsafe { self.0.write(new(value)) };
    }
}

/// A new handle.
pub(super) fn new<N: Noun>(value: N::Value) -> *mut N {
    std::ptr::without_provenance_mut(insert(N::PLACE, Box::new(value)) as usize)
}

/// Closes a handle: its value goes now, or with the last call that uses it. NULL, what is no handle of this noun and what was
/// freed already are left alone.
pub(super) fn free<N: Noun>(handle: *mut N) {
    super::panics::guard_or((), || {
        let Ok((slot, generation)) = named(N::NAME, handle.addr() as u64) else { return Ok(()) };
        let mut state = slot.state.load(Ordering::Acquire);
        while state >> GENERATION == generation && state & CLOSED == 0 {
            let idle = state & (EXCLUSIVE | SHARED) == 0;
            let next = if idle { after(state) } else { state | CLOSED };
            match slot.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if idle => reclaim(slot),
                Ok(_) => {}
                Err(now) => {
                    state = now;
                    continue;
                }
            }
            break;
        }
        Ok(())
    });
}

/// Handles alive at this moment.
pub(super) fn alive() -> usize {
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    (0..free.1).filter_map(slot).filter(|slot| slot.state.load(Ordering::Acquire) & CLOSED == 0).count()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    struct Jar;
    noun!(Jar, Counted);
    struct Box2;
    noun!(Box2, u32);

    /// Says when it goes.
    struct Counted(Arc<AtomicUsize>, u64);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
        result.err().map(|e| e.kind())
    }

    #[test]
    fn a_pointer_that_is_no_handle_is_an_error_whatever_it_is() {
        let local = 7u64;
        for address in [
            1usize,
            8,
            4096,
            usize::MAX,
            1 << 62 | (LAST_GENERATION as usize) << 32,
            (1 << 62) | 0xFFFF_FFFF,
            std::ptr::from_ref(&local).addr(),
        ] {
            let handle = std::ptr::without_provenance_mut::<Jar>(address);
            assert!(matches!(kind(shared(handle)), Some(ErrorKind::Invalid | ErrorKind::Closed)), "{address:x}");
            assert!(matches!(kind(exclusive(handle)), Some(ErrorKind::Invalid | ErrorKind::Closed)), "{address:x}");
            free(handle);
        }
        assert_eq!(kind(shared(std::ptr::null::<Jar>())), Some(ErrorKind::Invalid));
        assert!(optional(std::ptr::null::<Jar>()).unwrap().is_none());
    }

    #[test]
    fn a_handle_of_another_noun_is_refused_and_not_freed() {
        let handle = new::<Box2>(5);
        assert_eq!(kind(shared(handle.cast::<Jar>())), Some(ErrorKind::Invalid));
        free(handle.cast::<Jar>());
        assert_eq!(*shared(handle).unwrap(), 5);
        free(handle);
        assert_eq!(kind(shared(handle)), Some(ErrorKind::Closed));
        free(handle);
    }

    #[test]
    fn an_exclusive_call_beside_others_is_busy_not_undefined() {
        let handle = new::<Box2>(5);
        let reader = shared(handle).unwrap();
        assert_eq!(kind(exclusive(handle)), Some(ErrorKind::Busy));
        drop(reader);
        let mut writer = exclusive(handle).unwrap();
        *writer = 6;
        assert_eq!(kind(shared(handle)), Some(ErrorKind::Busy));
        assert_eq!(kind(exclusive(handle)), Some(ErrorKind::Busy));
        drop(writer);
        assert_eq!(*shared(handle).unwrap(), 6);
        free(handle);
    }

    #[test]
    fn what_is_freed_while_it_is_used_goes_with_its_last_call() {
        let gone = Arc::new(AtomicUsize::new(0));
        let handle = new::<Jar>(Counted(gone.clone(), 3));
        let (one, two) = (shared(handle).unwrap(), shared(handle).unwrap());
        free(handle);
        assert_eq!(kind(shared(handle)), Some(ErrorKind::Closed));
        drop(one);
        assert_eq!((gone.load(Ordering::SeqCst), two.1), (0, 3));
        drop(two);
        assert_eq!(gone.load(Ordering::SeqCst), 1);
        let handle = new::<Jar>(Counted(gone.clone(), 4));
        let writer = exclusive(handle).unwrap();
        free(handle);
        free(handle);
        drop(writer);
        assert_eq!(gone.load(Ordering::SeqCst), 2);
    }

    /// Eight threads read, change, free and make anew; each value ends exactly once, and no call sees another's.
    #[test]
    fn threads_that_use_and_free_the_same_handles_end_each_value_once() {
        let gone = Arc::new(AtomicUsize::new(0));
        let made = AtomicUsize::new(0);
        let slots: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (slots, gone, made) = (&slots, &gone, &made);
                scope.spawn(move || {
                    let mut random = crate::math::Random::new(thread, b"handles");
                    for step in 0..20_000u64 {
                        let cell = &slots[random.below(8)];
                        let value = cell.load(Ordering::SeqCst);
                        let handle = std::ptr::without_provenance_mut::<Jar>(value as usize);
                        match random.below(4) {
                            0 => {
                                let content = Counted(gone.clone(), thread << 32 | step);
                                let fresh = new::<Jar>(content);
                                made.fetch_add(1, Ordering::SeqCst);
                                let old = cell.swap(fresh.addr() as u64, Ordering::SeqCst);
                                free(std::ptr::without_provenance_mut::<Jar>(old as usize));
                            }
                            1 => {
                                if let Ok(mut jar) = exclusive(handle) {
                                    jar.1 += 1;
                                    let seen = jar.1;
                                    std::thread::yield_now();
                                    assert_eq!(jar.1, seen);
                                }
                            }
                            _ => {
                                if let Ok(jar) = shared(handle) {
                                    let seen = jar.1;
                                    std::thread::yield_now();
                                    assert_eq!(jar.1, seen);
                                }
                            }
                        }
                    }
                });
            }
        });
        for cell in &slots {
            free(std::ptr::without_provenance_mut::<Jar>(cell.load(Ordering::SeqCst) as usize));
        }
        assert_eq!(gone.load(Ordering::SeqCst), made.load(Ordering::SeqCst));
    }
}
