//! Handles: typed opaque pointers whose bits are a slot, a generation and a
//! kind. Nobody dereferences them.
//!
//! A [`Table`] holds one kind of object. A handle is pinned and let go with one
//! atomic operation each, on its own slot, and no lock. What makes that sound:
//!
//! 1. A slot's `state` is `generation << 32 | LIVE | pins`. A handle names a
//!    generation; a slot is *live* for it while the generations agree and LIVE
//!    is set.
//! 2. The slot's value is written before LIVE is set (release), by the one
//!    thread that took the slot from the free list.
//! 3. A reader adds a pin by compare-and-swap, which succeeds only while the
//!    slot is live (acquire); while it holds the pin the value is not touched
//!    by anybody but other readers, who only look at it or clone the `Arc`.
//! 4. `remove` clears LIVE by compare-and-swap: one thread wins. Whoever brings
//!    the pins of a slot that is not live to zero, the remover or the last
//!    reader, takes the value out, and is alone in doing so: no pin can be
//!    added to a slot that is not live. It then raises the generation and
//!    puts the slot on the free list.
//! 5. Chunks of slots are never freed or moved.
//! 6. A *kept* table's slots belong to a pool: their values stay when a handle ends,
//!    and whoever brought the pins to zero tells `kept`, after the generation was
//!    raised; false from there means that the slot is nobody's, and it is emptied as
//!    others are. Only who has the slot from the pool may open it, which is when it is
//!    neither live nor pinned.
//!
//! The loom tests in `tests/loom` run these paths against each other.

use crate::error::{self, Result};
use crate::sync::{AtomicU64, Mutex, Ordering, UnsafeCell};
use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::{self, null};
use std::sync::{Arc, OnceLock};

/// What a handle is a handle of: the low bits of every handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An `inferno_model`.
    Model = 1,
    /// An `inferno_session`.
    Session = 2,
    /// An `inferno_queue`.
    Queue = 3,
    /// An `inferno_job`.
    Job = 4,
}

const KINDS: [Kind; 4] = [Kind::Model, Kind::Session, Kind::Queue, Kind::Job];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Model => "inferno_model",
            Kind::Session => "inferno_session",
            Kind::Queue => "inferno_queue",
            Kind::Job => "inferno_job",
        }
    }

    fn of(bits: usize) -> Option<Kind> {
        KINDS.into_iter().find(|k| bits & KIND_MASK == k.tag())
    }

    /// Odd, so that no handle is ever an aligned pointer.
    fn tag(self) -> usize {
        (self as usize) << 1 | 1
    }
}

const KIND_BITS: u32 = 4;
const KIND_MASK: usize = (1 << KIND_BITS) - 1;
#[cfg(target_pointer_width = "64")]
const SLOT_BITS: u32 = 20;
#[cfg(not(target_pointer_width = "64"))]
const SLOT_BITS: u32 = 14;
const GENERATION_BITS: u32 = {
    let left = usize::BITS - KIND_BITS - SLOT_BITS;
    if left > 31 { 31 } else { left }
};
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

/// Slots come in chunks of doubling size: 64, 64, 128, 256, …
const FIRST_CHUNK: usize = 64;
const CHUNKS: usize = (SLOT_BITS - FIRST_CHUNK.ilog2()) as usize + 1;

const LIVE: u64 = 1 << 31;
const PINS: u64 = LIVE - 1;

/// (As far from the next one as cache lines are: threads have handles of their own.)
#[repr(C)]
struct Slot<T> {
    state: AtomicU64,
    value: UnsafeCell<Option<Arc<T>>>,
    _apart: [u64; 6],
}

fn generation_of(state: u64) -> u64 {
    state >> 32
}

/// All live objects of one kind.
pub struct Table<T> {
    kind: Kind,
    /// Of a kept table: a handle ended; whether the slot stays its pool's.
    kept: Option<fn(&T) -> bool>,
    chunks: [OnceLock<Box<[Slot<T>]>>; CHUNKS],
    free: Mutex<Free>,
}

/// Slots to take next, and how many were ever made.
struct Free {
    slots: Vec<u32>,
    made: usize,
}

// SAFETY: by the invariants above the table hands out clones of an `Arc<T>` to
// several threads and drops values on any of them.
unsafe impl<T: Send + Sync> Sync for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Table<T> {}

impl<T> Table<T> {
    /// An empty table.
    #[cfg(not(loom))]
    pub const fn new(kind: Kind) -> Self {
        Table {
            kind,
            kept: None,
            chunks: [const { OnceLock::new() }; CHUNKS],
            free: Mutex::new(Free { slots: Vec::new(), made: 0 }),
        }
    }

    /// An empty table.
    #[cfg(loom)]
    pub fn new(kind: Kind) -> Self {
        Table {
            kind,
            kept: None,
            chunks: [const { OnceLock::new() }; CHUNKS],
            free: Mutex::new(Free { slots: Vec::new(), made: 0 }),
        }
    }

    /// The same table, but kept.
    #[cfg(not(loom))]
    pub const fn keeping(mut self, kept: fn(&T) -> bool) -> Self {
        self.kept = Some(kept);
        self
    }

    /// The same table, but kept.
    #[cfg(loom)]
    pub fn keeping(mut self, kept: fn(&T) -> bool) -> Self {
        self.kept = Some(kept);
        self
    }

    /// A slot for a pool, with a value that stays in it.
    pub fn reserve(&self, value: Arc<T>) -> Result<u32> {
        let slot_index = self.take_slot()?;
        let slot = self.slot(slot_index).expect("a slot that was made");
        slot.value.with_mut(|v| {
            // SAFETY: invariant 2: this thread alone has the slot.
            unsafe { *v = Some(value) };
        });
        Ok(slot_index as u32)
    }

    /// A new handle of a slot that the caller has from its pool.
    pub fn open(&self, slot_index: u32) -> *mut c_void {
        let slot = self.slot(slot_index as usize).expect("a slot that was made");
        let generation = generation_of(slot.state.load(Ordering::Acquire));
        slot.state.store(generation << 32 | LIVE, Ordering::Release);
        self.handle(slot_index as usize, generation)
    }

    /// Empties a slot that the caller has from its pool, which has no handle.
    pub fn discard(&self, slot_index: u32) {
        if let Some(slot) = self.slot(slot_index as usize) {
            drop(self.empty(slot_index as usize, slot));
        }
    }

    fn handle(&self, slot_index: usize, generation: u64) -> *mut c_void {
        let bits = (generation as usize) << (KIND_BITS + SLOT_BITS)
            | slot_index << KIND_BITS
            | self.kind.tag();
        std::ptr::without_provenance_mut(bits)
    }

    /// Puts `value` in and gives its handle.
    pub fn insert(&self, value: Arc<T>) -> Result<*mut c_void> {
        let slot_index = self.take_slot()?;
        let slot = self.slot(slot_index).expect("a slot that was made");
        let generation = generation_of(slot.state.load(Ordering::Acquire));
        slot.value.with_mut(|v| {
            // SAFETY: invariant 2: this thread alone has the slot.
            unsafe { *v = Some(value) };
        });
        slot.state.store(generation << 32 | LIVE, Ordering::Release);
        Ok(self.handle(slot_index, generation))
    }

    /// The object behind `handle`, kept alive by the answer.
    pub fn resolve(&self, handle: *const c_void) -> Result<Arc<T>> {
        let pinned = self.pin(handle)?;
        let value = pinned.slot.value.with(|v| {
            // SAFETY: invariant 3: pinned, so the value stays; only read.
            unsafe { (*v).clone() }
        });
        value.ok_or_else(empty)
    }

    /// The object behind `handle`, which stays where it is until the answer is
    /// dropped. (Inlined, for what is handed back by memory is slow to read at once.)
    #[inline(always)]
    pub fn pin(&self, handle: *const c_void) -> Result<Pinned<'_, T>> {
        let (index, slot, generation) = self.locate(handle)?;
        let mut state = slot.state.load(Ordering::Acquire);
        loop {
            if generation_of(state) != generation || state & LIVE == 0 {
                return Err(self.stale(handle));
            }
            if state & PINS == PINS {
                return Err(crowded());
            }
            match slot.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        let value = slot.value.with(|v| {
            // SAFETY: invariant 3: pinned, so the value stays; only read.
            unsafe { (*v).as_deref().map_or(null(), ptr::from_ref) }
        });
        let pinned = Pinned { table: self, index, slot, value };
        if value.is_null() {
            return Err(empty());
        }
        Ok(pinned)
    }

    /// Ends `handle`. NULL is no error.
    pub fn remove(&self, handle: *const c_void) -> Result<()> {
        if handle.is_null() {
            return Ok(());
        }
        let (slot_index, slot, generation) = self.locate(handle)?;
        if !self.end(slot_index, slot, generation) {
            return Err(self.stale(handle));
        }
        Ok(())
    }

    /// Ends every handle; says how many there were.
    pub fn clear(&self) -> usize {
        let made = self.free.lock().made;
        let mut ended = 0;
        for index in 0..made {
            let Some(slot) = self.slot(index) else {
                continue;
            };
            let generation = generation_of(slot.state.load(Ordering::Acquire));
            ended += usize::from(self.end(index, slot, generation));
        }
        ended
    }

    /// Takes LIVE away; false when this generation is not live.
    fn end(&self, slot_index: usize, slot: &Slot<T>, generation: u64) -> bool {
        let mut state = slot.state.load(Ordering::Acquire);
        loop {
            if generation_of(state) != generation || state & LIVE == 0 {
                return false;
            }
            match slot.state.compare_exchange_weak(
                state,
                state & !LIVE,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state & PINS == 0 {
            drop(self.retire(slot_index, slot));
        }
        true
    }

    /// A slot is not live and has no pins any more: it is emptied, unless a pool keeps it.
    fn retire(&self, slot_index: usize, slot: &Slot<T>) -> Option<Arc<T>> {
        if let Some(kept) = self.kept {
            let value = slot.value.with(|v| {
                // SAFETY: invariant 4: this thread alone may touch the value.
                unsafe { (*v).clone() }
            });
            Self::raise(slot);
            if value.is_none_or(|value| kept(&value)) {
                return None;
            }
        }
        self.empty(slot_index, slot)
    }

    fn raise(slot: &Slot<T>) {
        let generation = generation_of(slot.state.load(Ordering::Acquire));
        let next = (generation + 1) & GENERATION_MASK;
        // Generation 0 stands for "never": a handle is never all kind and slot.
        slot.state.store(next.max(1) << 32, Ordering::Release);
    }

    /// Takes the value out, and gives the slot back.
    fn empty(&self, slot_index: usize, slot: &Slot<T>) -> Option<Arc<T>> {
        let value = slot.value.with_mut(|v| {
            // SAFETY: invariant 4: this thread alone may touch the value.
            unsafe { (*v).take() }
        });
        Self::raise(slot);
        self.free.lock().slots.push(slot_index as u32);
        value
    }

    /// Shows every live value.
    pub fn visit(&self, each: impl Fn(&T)) {
        let made = self.free.lock().made;
        for index in 0..made {
            let Some(slot) = self.slot(index) else { continue };
            let generation = generation_of(slot.state.load(Ordering::Acquire));
            if let Ok(value) = self.pin(self.handle(index, generation)) {
                each(&value);
            }
        }
    }

    fn take_slot(&self) -> Result<usize> {
        let mut free = self.free.lock();
        // The oldest first would make handles last longer against reuse, but a
        // generation of 31 bits is enough; the newest is warm in cache.
        if let Some(index) = free.slots.pop() {
            return Ok(index as usize);
        }
        let index = free.made;
        if index >= 1 << SLOT_BITS {
            return Err(error::limit_exceeded(format!(
                "{} {} handles are open: no more can be",
                1usize << SLOT_BITS,
                self.kind.name()
            )));
        }
        let (chunk, _) = place(index);
        self.chunks[chunk].get_or_init(|| {
            (0..chunk_len(chunk))
                .map(|_| Slot {
                    state: AtomicU64::new(1 << 32),
                    value: UnsafeCell::new(None),
                    _apart: [0; 6],
                })
                .collect()
        });
        free.made += 1;
        Ok(index)
    }

    fn slot(&self, index: usize) -> Option<&Slot<T>> {
        let (chunk, offset) = place(index);
        self.chunks.get(chunk)?.get()?.get(offset)
    }

    #[inline(always)]
    fn locate(&self, handle: *const c_void) -> Result<(usize, &Slot<T>, u64)> {
        let bits = handle.addr();
        let index = bits >> KIND_BITS & ((1 << SLOT_BITS) - 1);
        let generation = bits as u64 >> (KIND_BITS + SLOT_BITS);
        let is_ours = bits & KIND_MASK == self.kind.tag();
        if !is_ours || generation == 0 || generation > GENERATION_MASK {
            return Err(self.misnamed(handle));
        }
        let slot = self.slot(index).ok_or_else(|| self.foreign(handle))?;
        Ok((index, slot, generation))
    }

    /// No handle of this table's, live or not.
    #[cold]
    fn misnamed(&self, handle: *const c_void) -> error::Error {
        if handle.is_null() {
            return error::invalid_handle(format!("the {} handle is NULL", self.kind.name()));
        }
        match Kind::of(handle.addr()) {
            Some(kind) if kind != self.kind => error::invalid_handle(format!(
                "expected a handle of {}, this is one of {}",
                self.kind.name(),
                kind.name()
            )),
            _ => self.foreign(handle),
        }
    }

    #[cold]
    fn foreign(&self, handle: *const c_void) -> error::Error {
        error::invalid_handle(format!(
            "{:#x} is no {} handle: expected one that Inferno gave",
            handle.addr(),
            self.kind.name()
        ))
    }

    #[cold]
    fn stale(&self, handle: *const c_void) -> error::Error {
        error::invalid_handle(format!(
            "the {} handle {:#x} is not open: it was freed, or ended by inferno_shutdown",
            self.kind.name(),
            handle.addr()
        ))
    }
}

#[cold]
fn crowded() -> error::Error {
    error::busy("too many threads resolve one handle at once")
}

#[cold]
fn empty() -> error::Error {
    error::internal("a live handle without a value")
}

/// An object whose handle is pinned, of this thread only.
pub struct Pinned<'t, T> {
    table: &'t Table<T>,
    index: usize,
    slot: &'t Slot<T>,
    value: *const T,
}

impl<T> Deref for Pinned<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: not NULL, or `pin` had answered an error; invariant 3: pinned, so
        // what the slot's `Arc` leads to stays.
        unsafe { &*self.value }
    }
}

impl<T> Drop for Pinned<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let before = self.slot.state.fetch_sub(1, Ordering::AcqRel);
        if before & LIVE == 0 && before & PINS == 1 {
            drop(self.table.retire(self.index, self.slot));
        }
    }
}

/// Puts `value` into `table`. (A free function so that callers read
/// `handle::insert(&MODELS, model)`.)
pub(super) fn insert<T>(table: &Table<T>, value: Arc<T>) -> Result<*mut c_void> {
    table.insert(value)
}

fn chunk_len(chunk: usize) -> usize {
    if chunk == 0 { FIRST_CHUNK } else { FIRST_CHUNK << (chunk - 1) }
}

/// Which chunk a slot is in, and where.
fn place(index: usize) -> (usize, usize) {
    match index / FIRST_CHUNK {
        0 => (0, index),
        n => {
            let chunk = n.ilog2() as usize + 1;
            (chunk, index - chunk_len(chunk))
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    static TABLE: Table<u32> = Table::new(Kind::Model);

    #[test]
    fn every_index_has_one_place() {
        let mut seen = std::collections::HashSet::new();
        for index in 0..10_000 {
            let (chunk, offset) = place(index);
            assert!(offset < chunk_len(chunk), "{index}");
            assert!(seen.insert((chunk, offset)));
        }
        assert_eq!(place((1 << SLOT_BITS) - 1).0, CHUNKS - 1);
    }

    #[test]
    fn a_handle_lives_once() {
        let table = Table::new(Kind::Session);
        let h = table.insert(Arc::new(5u32)).unwrap();
        assert_eq!(*table.resolve(h).unwrap(), 5);
        let pinned = table.pin(h).unwrap();
        table.remove(h).unwrap();
        assert!(table.resolve(h).is_err() && table.pin(h).is_err());
        assert_eq!(*pinned, 5, "it stays for who has it");
        drop(pinned);
        assert!(table.remove(h).is_err());
        let again = table.insert(Arc::new(6)).unwrap();
        assert_ne!(h, again, "the slot is used again, the handle is not");
        assert!(table.resolve(h).is_err());
        assert_eq!(table.clear(), 1);
        assert!(table.resolve(again).is_err());
    }

    #[test]
    fn a_kept_slot_is_opened_again_until_its_pool_lets_go() {
        static KEEPS: AtomicU64 = AtomicU64::new(1);
        let table = Table::new(Kind::Job).keeping(|value: &u32| {
            assert_eq!(*value, 5);
            KEEPS.load(Ordering::Relaxed) != 0
        });
        let value = Arc::new(5u32);
        let slot = table.reserve(value.clone()).unwrap();
        let first = table.open(slot);
        assert_eq!(*table.pin(first).unwrap(), 5);
        table.remove(first).unwrap();
        assert!(table.pin(first).is_err() && Arc::strong_count(&value) == 2);
        let second = table.open(slot);
        assert!(first != second && table.pin(first).is_err() && table.pin(second).is_ok());
        KEEPS.store(0, Ordering::Relaxed);
        table.remove(second).unwrap();
        assert_eq!(Arc::strong_count(&value), 1, "emptied");
        let slot = table.reserve(value.clone()).unwrap();
        table.discard(slot);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn foreign_bits_are_refused() {
        let table: Table<u32> = Table::new(Kind::Session);
        let h = TABLE.insert(Arc::new(1)).unwrap();
        let e = table.resolve(h).unwrap_err();
        assert!(e.detail().contains("one of inferno_model"), "{e}");
        let mut x = 1usize;
        for _ in 0..10_000 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            assert!(table.resolve(std::ptr::without_provenance(x)).is_err());
        }
        assert!(table.resolve((&raw const x).cast()).is_err());
    }

    #[test]
    fn many_threads_resolve_while_one_frees() {
        let table: Arc<Table<Vec<u8>>> = Arc::new(Table::new(Kind::Model));
        for _ in 0..200 {
            let h = table.insert(Arc::new(vec![7; 64])).unwrap().addr();
            std::thread::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        while let Ok(v) = table.resolve(std::ptr::without_provenance(h)) {
                            assert_eq!(v[63], 7);
                        }
                        assert!(table.pin(std::ptr::without_provenance(h)).is_err());
                    });
                    s.spawn(|| {
                        while let Ok(v) = table.pin(std::ptr::without_provenance(h)) {
                            assert_eq!(v[63], 7);
                        }
                    });
                }
                s.spawn(|| table.remove(std::ptr::without_provenance(h)).unwrap());
            });
        }
    }
}
