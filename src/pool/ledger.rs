//! What the current thread holds for the call it is in, and how a request is
//! answered that goes past its limit.

use super::block;
use super::cache::Cache;
use super::heap::{self, TENSOR_ALIGN};
use super::keeper::Keeper;
use super::source::{self, SourceId};
use super::tally::{self, Counts, Stats};
use crate::error::{self, Error, Result};
use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::{null, null_mut};

/// How far over the limit requests go that must not be refused.
const OVERDRAFT: i64 = 16 << 20;

/// Why a request was not met as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It would have gone past the limit.
    Limit,
    /// Its source had no memory.
    Source,
}

/// The first request of a scope that was not met as it was asked.
#[derive(Debug, Clone, Copy)]
pub struct Shortage {
    /// Bytes asked for.
    pub bytes: usize,
    /// Bytes held by the scope at that moment.
    pub held: i64,
    /// Why.
    pub cause: Cause,
}

/// One thread's ledger. `const`, without a destructor (invariant 4).
struct Ledger {
    /// A scope is open.
    open: Cell<bool>,
    live: Cell<i64>,
    /// What of it the tally knows.
    told: Cell<i64>,
    refused: Cell<u64>,
    limit: Cell<i64>,
    short: Cell<Option<Shortage>>,
    keeper: Cell<*const Keeper>,
    cache: Cache,
}

thread_local! {
    static LEDGER: Ledger = const {
        Ledger {
            open: Cell::new(false),
            live: Cell::new(0),
            told: Cell::new(0),
            refused: Cell::new(0),
            limit: Cell::new(i64::MAX),
            short: Cell::new(None),
            keeper: Cell::new(null()),
            cache: Cache::new(),
        }
    };
}

/// Bytes this thread took and did not give back, since it began: in a scope or
/// not, whoever gave back what it took.
pub fn live_bytes() -> i64 {
    LEDGER.with(|l| l.live.get())
}

impl Ledger {
    fn note(&self, bytes: usize, cause: Cause) {
        self.refused.set(self.refused.get() + 1);
        if self.short.get().is_none() {
            self.short.set(Some(Shortage { bytes, held: self.live.get(), cause }));
        }
    }

    /// Adds what this thread counted to the tally.
    fn tell(&self) {
        let (shard, counts) = self.cache.counts();
        let live = self.live.get() - self.told.replace(self.live.get());
        tally::add(shard, Counts { live, refused: self.refused.take(), ..counts });
    }

    fn keeper(&self) -> Option<&Keeper> {
        // SAFETY: NULL, or a keeper that outlives the scope (invariant 5).
        unsafe { self.keeper.get().as_ref() }
    }

    fn credit(&self, block: *mut u8, bytes: i64) -> *mut u8 {
        if !block.is_null() {
            self.count(bytes);
        }
        block
    }

    #[inline]
    fn count(&self, bytes: i64) {
        self.live.set(self.live.get() + bytes);
        // A thread that is ending has no later moment to tell.
        if self.cache.is_closed() {
            self.tell();
        }
    }

    /// A request past the limit, or one whose source failed.
    #[cold]
    fn short_of(&self, layout: Layout, zeroed: bool, cause: Cause) -> *mut u8 {
        let (bytes, tensor) = (layout.size(), layout.align() >= TENSOR_ALIGN);
        if self.open.get() {
            self.note(bytes, cause);
            if tensor {
                return null_mut();
            }
        }
        if heap::is_pooled(layout) {
            return null_mut();
        }
        let over = self.live.get().saturating_add_unsigned(bytes as u64);
        let bounded = cause == Cause::Source || over <= self.limit.get().saturating_add(OVERDRAFT);
        let ours = self.keeper();
        if bounded || ours.is_none() {
            let first = match cause {
                Cause::Limit => source::current(),
                Cause::Source => SourceId::SYSTEM,
            };
            for source in [first, SourceId::SYSTEM, SourceId::RESERVE] {
                let block = block::take(source, layout, zeroed);
                if !block.is_null() {
                    return self.credit(block, bytes as i64);
                }
            }
        }
        match ours {
            Some(keeper) => keeper.keep(),
            None => null_mut(),
        }
    }

    /// A request on a thread that nobody waits for any more: a tensor is
    /// refused, so that it unwinds and ends; what never asks for one is kept
    /// when its grace is over.
    #[cold]
    fn abandoned(&self, layout: Layout, keeper: &Keeper) -> bool {
        if layout.align() >= TENSOR_ALIGN && !std::thread::panicking() {
            self.note(layout.size(), Cause::Limit);
            return true;
        }
        if keeper.is_overdue() {
            keeper.keep();
        }
        false
    }
}

/// Gives back what the calling thread keeps for itself.
pub(super) fn empty_cache() {
    LEDGER.with(|ledger| ledger.cache.empty());
}

/// The calling thread ends.
pub(super) fn leave() {
    LEDGER.with(|ledger| {
        ledger.cache.close();
        ledger.tell();
    });
}

/// What the library holds, the calling thread's part up to now.
pub fn stats() -> Stats {
    LEDGER.with(Ledger::tell);
    tally::stats()
}

/// A block, or NULL where the asker looks at it.
pub(super) fn take(layout: Layout, zeroed: bool) -> *mut u8 {
    LEDGER.with(|ledger| {
        if let Some(keeper) = ledger.keeper()
            && keeper.is_abandoned()
            && ledger.abandoned(layout, keeper)
        {
            return null_mut();
        }
        let bytes = layout.size() as i64;
        if ledger.live.get().saturating_add(bytes) > ledger.limit.get() {
            return ledger.short_of(layout, zeroed, Cause::Limit);
        }
        let block = match heap::is_pooled(layout) {
            true => heap::take(&ledger.cache, layout, zeroed),
            false => block::take(source::current(), layout, zeroed),
        };
        if block.is_null() {
            return ledger.short_of(layout, zeroed, Cause::Source);
        }
        ledger.credit(block, bytes)
    })
}

/// SAFETY: `block` is live and came from this module with this layout.
pub(super) unsafe fn give(block: *mut u8, layout: Layout) {
    LEDGER.with(|ledger| {
        ledger.count(-(layout.size() as i64));
        // SAFETY: as this function's own contract.
        unsafe {
            match heap::is_pooled(layout) {
                true => heap::give(&ledger.cache, block, layout),
                false => block::give(block, layout),
            }
        }
    });
}

/// SAFETY: `block` is live and came from this module with this layout; `size`
/// is not 0, and fits the alignment.
pub(super) unsafe fn resize(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    let more = size as i64 - layout.size() as i64;
    let moved = LEDGER.with(|ledger| {
        let fits = ledger.live.get().saturating_add(more) <= ledger.limit.get();
        // Where it is not the plain case, it is a new request.
        if !fits || ledger.keeper().is_some_and(Keeper::is_abandoned) {
            return null_mut();
        }
        // SAFETY: as this function's own contract.
        let moved = unsafe {
            match heap::is_pooled(layout) {
                true => null_mut(),
                false => block::resize(block, layout, size),
            }
        };
        ledger.credit(moved, more)
    });
    if !moved.is_null() {
        return moved;
    }
    // SAFETY: the caller promises that `size` fits the alignment; both blocks
    // have at least the copied bytes and do not overlap.
    unsafe {
        let fresh = take(Layout::from_size_align_unchecked(size, layout.align()), false);
        if !fresh.is_null() {
            fresh.copy_from_nonoverlapping(block, size.min(layout.size()));
            give(block, layout);
        }
        fresh
    }
}

/// A part of a call whose memory is watched, on this thread. Scopes nest; an
/// inner one does not widen the outer one's limit.
#[must_use]
pub struct Scope<'a> {
    outer: (bool, i64, Option<Shortage>, *const Keeper),
    /// What the thread held when the scope began.
    base: i64,
    limit: u64,
    keeper: std::marker::PhantomData<&'a Keeper>,
}

impl<'a> Scope<'a> {
    /// Opens a scope that may hold `limit` bytes more than the thread does.
    pub fn open(limit: u64) -> Scope<'a> {
        LEDGER.with(|l| {
            let outer = (l.open.get(), l.limit.get(), l.short.get(), l.keeper.get());
            let base = l.live.get();
            let most = base.saturating_add_unsigned(limit);
            l.open.set(true);
            l.limit.set(most.min(l.limit.get()));
            l.short.set(None);
            Scope { outer, base, limit, keeper: std::marker::PhantomData }
        })
    }

    /// The same on a thread of ours, which `keeper` watches.
    pub fn kept(limit: u64, keeper: &'a Keeper) -> Scope<'a> {
        let scope = Scope::open(limit);
        LEDGER.with(|l| l.keeper.set(keeper));
        scope
    }

    /// What was not met as it was asked since the scope began, if anything.
    pub fn shortage(&self) -> Option<Shortage> {
        LEDGER.with(|l| l.short.get())
    }

    /// The boundary where a noted shortage becomes an error.
    pub fn settle(&self) -> Result<()> {
        match self.shortage() {
            None => Ok(()),
            Some(short) => Err(self.error(short)),
        }
    }

    fn error(&self, short: Shortage) -> Error {
        let (bytes, held) = (short.bytes, short.held.saturating_sub(self.base).max(0));
        match short.cause {
            Cause::Source => {
                error::out_of_memory(format!("no memory for {bytes} bytes, with {held} held"))
            }
            Cause::Limit => error::limit_exceeded(format!(
                "{bytes} bytes more than the {held} held: expected at most max_memory_bytes, {}",
                self.limit
            )),
        }
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        LEDGER.with(|l| {
            let (open, limit, short, keeper) = self.outer;
            let noted = l.short.get();
            l.open.set(open);
            l.limit.set(limit);
            l.short.set(short.or(if open { noted } else { None }));
            l.keeper.set(keeper);
            if !open {
                l.tell();
            }
        });
    }
}

#[cfg(all(test, feature = "capi"))]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::alloc::{alloc, dealloc};
    use std::hint::black_box;

    fn tensor(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 64).unwrap()
    }

    #[test]
    fn a_tensor_past_the_limit_is_refused_and_a_vec_is_granted_and_noted() {
        let scope = Scope::open(1 << 20);
        // SAFETY: the layout is not empty; what is given is given back.
        unsafe {
            // What is not looked at, the compiler may not ask for.
            let fits = black_box(alloc(tensor(1 << 19)));
            assert!(!fits.is_null() && scope.settle().is_ok());
            assert!(black_box(alloc(tensor(1 << 20))).is_null());
            dealloc(fits, tensor(1 << 19));
        }
        let e = scope.settle().unwrap_err();
        assert_eq!(e.kind(), Kind::LimitExceeded);
        assert!(e.detail().contains("1048576"), "{e}");
        drop(scope);

        let scope = Scope::open(1 << 20);
        let v: Vec<u8> = black_box(Vec::with_capacity(2 << 20));
        assert!(scope.settle().is_err());
        drop(v);
        drop(scope);
        assert!(Scope::open(1 << 20).settle().is_ok(), "the next scope is a fresh one");
    }

    #[test]
    fn a_growing_vec_is_counted_once() {
        let before = live_bytes();
        let mut v: Vec<u64> = Vec::new();
        for i in 0..100_000 {
            v.push(i);
        }
        assert_eq!(live_bytes() - before, (v.capacity() * 8) as i64);
        assert!(v.iter().enumerate().all(|(i, n)| i as u64 == *n));
        drop(v);
        assert_eq!(live_bytes(), before);
    }

    #[test]
    fn alignments_are_kept() {
        for align in [1, 8, 16, 32, 64, 128, 4096] {
            let layout = Layout::from_size_align(100, align).unwrap();
            // SAFETY: the layout is not empty; the block is given back.
            unsafe {
                let block = alloc(layout);
                assert!(block.addr().is_multiple_of(align));
                dealloc(block, layout);
            }
        }
    }
}
