//! Blocks that a thread keeps for itself: taken and given back without a lock.
//!
//! One list a class, in the style of Bonwick's magazines ("Magazines and Vmem",
//! USENIX 2001): it is filled from the thread's shard and half of it goes back
//! when it is full, at 128 KiB or 128 blocks; a thread that ends gives back what
//! it has. Blocks of a host's allocator are not kept: at shutdown all of them go
//! back, whatever its threads do.

use super::balance::Counts;
use super::chunk::Kind;
use super::class::{self, CLASSES, SMALL_MAX};
use super::shard::Taken;
use super::source::{self, SourceId};
use super::{ledger, mapping, shard};
use std::cell::Cell;
use std::ptr::null_mut;

#[derive(Clone, Copy)]
struct List {
    first: *mut u8,
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unused,
    /// It has a shard, and gives its blocks back when the thread ends.
    Open,
    /// The thread is ending: nothing is kept any more.
    Closed,
}

/// A thread's blocks. `const`, and without a destructor of its own (invariant 4).
pub(super) struct Cache {
    lists: [Cell<List>; CLASSES],
    shard: Cell<usize>,
    state: Cell<State>,
    hits: Cell<u64>,
    shared_hits: Cell<u64>,
    misses: Cell<u64>,
    pub(super) source_calls: Cell<u64>,
}

thread_local! {
    static LAST: Last = const { Last };
}

/// The last thing of a thread: it keeps nothing, and all that it counted is told.
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        if !mapping::is_ending() {
            ledger::leave();
        }
    }
}

/// How many blocks of each class are kept, at most.
static MOST: [usize; CLASSES] = {
    let mut most = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        let count = (128 << 10) / class::bytes(class);
        most[class] = if count > 128 { 128 } else { count };
        class += 1;
    }
    most
};

/// How many are taken from a shard at once. Linking them makes their pages
/// resident, so they are few.
const fn batch(class: usize) -> usize {
    let count = SMALL_MAX / class::bytes(class);
    if count > 32 { 32 } else { count }
}

impl Cache {
    pub(super) const fn new() -> Cache {
        Cache {
            lists: [const { Cell::new(List { first: null_mut(), count: 0 }) }; CLASSES],
            shard: Cell::new(0),
            state: Cell::new(State::Unused),
            hits: Cell::new(0),
            shared_hits: Cell::new(0),
            misses: Cell::new(0),
            source_calls: Cell::new(0),
        }
    }

    /// A block of `class`, or NULL.
    #[inline]
    pub(super) fn take(&self, class: usize) -> *mut u8 {
        if source::current() != SourceId::SYSTEM {
            return self.pass(class);
        }
        let list = self.lists[class].get();
        if list.first.is_null() {
            return self.fill(class);
        }
        // SAFETY: a kept block holds the next one's address (invariant 8).
        let next = unsafe { list.first.cast::<*mut u8>().read() };
        self.lists[class].set(List { first: next, count: list.count - 1 });
        self.hits.set(self.hits.get() + 1);
        list.first
    }

    /// SAFETY: `block` came from `take` with this class, on whatever thread, and
    /// belongs to the caller.
    #[inline]
    pub(super) unsafe fn give(&self, block: *mut u8, class: usize) {
        // SAFETY: as this function's own contract.
        if source::hosts_were_used() && unsafe { shard::source_of(block) } != SourceId::SYSTEM {
            // SAFETY: a chain of one, the caller's.
            return unsafe {
                block.cast::<*mut u8>().write(null_mut());
                shard::give(block, class);
            };
        }
        let list = self.lists[class].get();
        // SAFETY: the block is free now, and at least a pointer long
        // (invariant 8).
        unsafe { block.cast::<*mut u8>().write(list.first) };
        self.lists[class].set(List { first: block, count: list.count + 1 });
        if list.count >= MOST[class] || !self.is_open() {
            self.spill(class);
        }
    }

    /// A run of so many bytes of the thread's shard, or NULL.
    pub(super) fn take_run(&self, kind: Kind, bytes: usize) -> *mut u8 {
        self.open();
        let taken = shard::take_run(self.shard.get(), source::current(), kind, bytes);
        self.counted(&taken)
    }

    /// A block that the shard gave.
    fn counted(&self, taken: &Taken) -> *mut u8 {
        let count = if taken.is_fresh { &self.misses } else { &self.shared_hits };
        if !taken.first.is_null() {
            count.set(count.get() + 1);
        }
        taken.first
    }

    /// A block that came from the source.
    pub(super) fn count_apart(&self) {
        self.misses.set(self.misses.get() + 1);
    }

    /// Makes so many bytes resident for runs of the thread's shard.
    pub(super) fn reserve(&self, kind: Kind, bytes: usize) -> bool {
        self.open();
        shard::reserve(self.shard.get(), source::current(), kind, bytes)
    }

    /// What it counted since it was last asked.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            hits: self.hits.take(),
            shared_hits: self.shared_hits.take(),
            misses: self.misses.take(),
            source_calls: self.source_calls.take(),
            refused: 0,
        }
    }

    /// Whether it counted anything since it was last asked.
    #[inline]
    pub(super) fn has_counted(&self) -> bool {
        let counts = [&self.hits, &self.shared_hits, &self.misses, &self.source_calls];
        counts.into_iter().any(|count| count.get() != 0)
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.state.get() == State::Closed
    }

    /// Begins to keep blocks, if it ever may.
    pub(super) fn open(&self) {
        if self.state.get() == State::Unused {
            // A thread that is ending already gives back at once.
            let lasts = LAST.try_with(|_| ()).is_ok();
            self.state.set(if lasts { State::Open } else { State::Closed });
            if lasts {
                self.shard.set(shard::assign());
            }
        }
    }

    /// The thread's shard.
    pub(super) fn shard(&self) -> usize {
        self.open();
        self.shard.get()
    }

    /// Takes from `shard` from now on, as the thread does that waits for this one: what
    /// that one gave back is here at hand.
    pub(super) fn join(&self, shard: usize) {
        self.open();
        if self.is_open() && self.shard.get() != shard {
            shard::join(shard);
            shard::leave(self.shard.replace(shard));
        }
    }

    /// A block of the host's: what is the host's is never kept.
    #[cold]
    fn pass(&self, class: usize) -> *mut u8 {
        self.open();
        self.counted(&shard::take(self.shard.get(), source::current(), class, 1))
    }

    #[cold]
    #[inline(never)]
    fn fill(&self, class: usize) -> *mut u8 {
        self.open();
        let want = if self.is_open() { batch(class) } else { 1 };
        let taken = shard::take(self.shard.get(), SourceId::SYSTEM, class, want);
        let (block, count) = (self.counted(&taken), taken.count);
        if block.is_null() {
            return block;
        }
        // SAFETY: the first of a chain of `count` blocks that are ours.
        let first = unsafe { block.cast::<*mut u8>().read() };
        self.lists[class].set(List { first, count: count - 1 });
        block
    }

    /// Gives the older half of a list back; all of it when nothing may be kept.
    #[cold]
    #[inline(never)]
    fn spill(&self, class: usize) {
        self.open();
        let list = self.lists[class].get();
        let keep = if self.is_open() { list.count / 2 } else { 0 };
        self.cut(class, list, keep);
    }

    fn cut(&self, class: usize, list: List, keep: usize) {
        let mut rest = list.first;
        let mut last: *mut u8 = null_mut();
        // SAFETY: a chain of `list.count` blocks that are ours (invariant 8).
        unsafe {
            for _ in 0..keep {
                last = rest;
                rest = rest.cast::<*mut u8>().read();
            }
            if !last.is_null() {
                last.cast::<*mut u8>().write(null_mut());
            }
            let first = if keep == 0 { null_mut() } else { list.first };
            self.lists[class].set(List { first, count: keep });
            shard::give(rest, class);
        }
    }

    /// Gives back what the thread keeps; from now on it keeps nothing.
    pub(super) fn close(&self) {
        if self.state.replace(State::Closed) == State::Open {
            shard::leave(self.shard.get());
        }
        self.empty();
    }

    /// Gives back what the thread keeps.
    pub(super) fn empty(&self) {
        for class in 0..CLASSES {
            let list = self.lists[class].get();
            if list.count > 0 {
                self.cut(class, list, 0);
            }
        }
    }
}
