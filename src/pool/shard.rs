//! The shards: chunks, each behind one lock with those of the same shard.
//!
//! A thread takes from the shard that it was given, so threads meet at a lock
//! only where one gives back what another took, or where there are more than
//! [`SHARDS`] of them.

use super::chunk::{self, Body, Chunk, Head, Kind, Side, Slab};
use super::class::{self, CLASSES};
use super::mapping;
use super::regions::Regions;
use super::source::SourceId;
use crate::sync::Mutex;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub(super) const SHARDS: usize = 16;

/// How long an empty chunk is kept, in milliseconds.
pub(super) static DECAY: AtomicU64 = AtomicU64::new(DEFAULT_DECAY);
/// How long what is not used is kept when nobody says otherwise.
pub const DEFAULT_DECAY: u64 = 10_000;

/// How many runs are given back before the clock is looked at.
const LOOKED_AT: u32 = 32;
/// Bytes that have to be idle for their pages to be given back: fewer are not
/// worth the call.
const WORTH_A_CALL: usize = 128 << 10;

static ALL: [Mutex<Shard>; SHARDS] = [const { Mutex::new(Shard::new()) }; SHARDS];

/// Bytes of chunks that are in use, or were and may be resident still.
static COMMITTED: AtomicUsize = AtomicUsize::new(0);

static REGIONS: Regions<64> = Regions::new();

/// What a shard's lock guards: lists of chunks and of slabs that have room.
pub(crate) struct Shard {
    pages: *mut Chunk,
    regions: *mut Chunk,
    room: [*mut Slab; CLASSES],
    /// Bytes of blocks that were taken and not given back.
    out: usize,
    /// Memory was taken that was not in use before.
    took_fresh: bool,
}

// SAFETY: what the pointers lead to is touched under the shard's lock only
// (invariant 7), on whatever thread.
unsafe impl Send for Shard {}

/// How many threads each shard has.
static THREADS: [AtomicUsize; SHARDS] = [const { AtomicUsize::new(0) }; SHARDS];

/// The shard of a new thread: the first of those that have the fewest. So few
/// threads at a time use few shards, however many come and go.
pub(super) fn assign() -> usize {
    let fewest = |at: &usize| THREADS[*at].load(Ordering::Relaxed);
    let shard = (0..SHARDS).min_by_key(fewest).unwrap_or(0);
    THREADS[shard].fetch_add(1, Ordering::Relaxed);
    shard
}

/// Another thread of this shard, which works while one of its threads waits.
pub(super) fn join(shard: usize) {
    THREADS[shard].fetch_add(1, Ordering::Relaxed);
}

/// A thread of this shard ends.
pub(super) fn leave(shard: usize) {
    THREADS[shard].fetch_sub(1, Ordering::Relaxed);
}

/// What a shard answers: blocks, and whether it took fresh memory for them.
pub(super) struct Taken {
    pub(super) first: *mut u8,
    pub(super) count: usize,
    pub(super) is_fresh: bool,
}

/// Takes up to `want` blocks of `class`, each holding the next one's address.
pub(super) fn take(shard: usize, source: SourceId, class: usize, want: usize) -> Taken {
    let mut held = ALL[shard].lock();
    held.took_fresh = false;
    let (mut first, mut count) = (null_mut(), 0);
    while count < want {
        // SAFETY: the lock is held.
        let block = unsafe { held.take(shard, source, class) };
        if block.is_null() {
            break;
        }
        // SAFETY: a block holds a pointer at least, and is nobody's yet.
        unsafe { block.cast::<*mut u8>().write(first) };
        first = block;
        count += 1;
    }
    held.out += count * class::bytes(class);
    Taken { first, count, is_fresh: held.took_fresh }
}

/// Gives a chain of blocks of `class` back, each to its own shard.
///
/// SAFETY: each block was taken from a shard with this class, and belongs to
/// the caller; each holds the next one's address, the last one NULL.
pub(super) unsafe fn give(mut block: *mut u8, class: usize) {
    if mapping::is_ending() {
        return;
    }
    while !block.is_null() {
        // SAFETY: a chunk's head does not change while it has blocks in use.
        let shard = unsafe { (*Kind::Pages.chunk_of(block)).head.shard };
        let mut held = ALL[shard as usize].lock();
        loop {
            // SAFETY: by this function's contract; the lock is held.
            unsafe {
                let next = block.cast::<*mut u8>().read();
                held.give(block, class);
                held.out -= class::bytes(class);
                block = next;
                if block.is_null() || (*Kind::Pages.chunk_of(block)).head.shard != shard {
                    break;
                }
            }
        }
    }
}

/// Takes a run of so many bytes, or none: no chunk of `kind` can have it.
pub(super) fn take_run(shard: usize, source: SourceId, kind: Kind, bytes: usize) -> Taken {
    let units = kind.units(bytes);
    if units > chunk::longest_run(kind) {
        return Taken { first: null_mut(), count: 0, is_fresh: false };
    }
    let mut held = ALL[shard].lock();
    held.took_fresh = false;
    // SAFETY: the lock is held.
    let first = unsafe { held.run(Head { kind, shard: shard as u32, source }, units, Side::Front) };
    let count = usize::from(!first.is_null());
    held.out += count * units * kind.unit();
    Taken { first, count, is_fresh: held.took_fresh }
}

/// Gives a run back.
///
/// SAFETY: `block` was taken by `take_run` with this kind and size, and is the
/// caller's.
pub(super) unsafe fn give_run(block: *mut u8, kind: Kind, bytes: usize) {
    if mapping::is_ending() {
        return;
    }
    // SAFETY: a chunk's head does not change while it has blocks in use; the
    // lock is held.
    unsafe {
        let shard = (*kind.chunk_of(block)).head.shard as usize;
        let mut held = ALL[shard].lock();
        held.give_run(block, kind, kind.units(bytes));
        held.out -= kind.units(bytes) * kind.unit();
    }
}

/// Makes so many bytes of `kind` resident for blocks to come, until the next
/// trim; false when the source has not as much.
pub(super) fn reserve(shard: usize, source: SourceId, kind: Kind, bytes: usize) -> bool {
    let (mut left, mut first, mut enough) = (kind.units(bytes), null_mut::<u8>(), true);
    // Runs are taken first, each holding the next one's address and its own
    // length, so that none of them is found twice.
    while left > 0 && enough {
        let units = left.min(chunk::longest_run(kind));
        let run = take_run(shard, source, kind, units * kind.unit()).first;
        enough = !run.is_null();
        if enough {
            // SAFETY: a run of so many units, ours; a page has room for both.
            unsafe {
                for page in (0..units * kind.unit()).step_by(Kind::Pages.unit()) {
                    run.add(page).write_volatile(0);
                }
                run.cast::<(*mut u8, usize)>().write((first, units));
            }
            (first, left) = (run, left - units);
        }
    }
    while !first.is_null() {
        // SAFETY: a run of ours, which says what was written above.
        unsafe {
            let (next, units) = first.cast::<(*mut u8, usize)>().read();
            let mut held = ALL[shard].lock();
            (*kind.chunk_of(first)).body.kept = true;
            held.give_run(first, kind, units);
            held.out -= units * kind.unit();
            first = next;
        }
    }
    enough
}

/// Whether `block`, which is live, lies in a region.
pub(super) fn is_in_region(block: *mut u8) -> bool {
    REGIONS.has(Kind::Region.chunk_of(block).addr())
}

/// Where the chunk of a block of a class came from.
///
/// SAFETY: `block` was taken from a shard.
pub(super) unsafe fn source_of(block: *mut u8) -> SourceId {
    // SAFETY: a chunk's head does not change while it has blocks in use.
    unsafe { (*Kind::Pages.chunk_of(block)).head.source }
}

/// Bytes of chunks that are in use, or were and may be resident still; and
/// bytes of the blocks that were taken and not given back.
pub(super) fn committed() -> (u64, u64) {
    let out: usize = ALL.iter().map(|shard| shard.lock().out).sum();
    (COMMITTED.load(Ordering::Relaxed) as u64, out as u64)
}

/// Gives every empty chunk back, and every free page of the others.
pub(super) fn trim() {
    for shard in &ALL {
        let mut held = shard.lock();
        // SAFETY: the lock is held.
        unsafe {
            held.keep(Kind::Pages, false);
            held.keep(Kind::Region, false);
            held.release(Kind::Pages, |_| true);
            held.release(Kind::Region, |_| true);
            held.purge();
        }
    }
}

impl Shard {
    const fn new() -> Shard {
        Shard {
            pages: null_mut(),
            regions: null_mut(),
            room: [null_mut(); CLASSES],
            out: 0,
            took_fresh: false,
        }
    }

    fn list(&mut self, kind: Kind) -> &mut *mut Chunk {
        match kind {
            Kind::Pages => &mut self.pages,
            Kind::Region => &mut self.regions,
        }
    }

    /// SAFETY: as all that follow, the shard's lock is held (invariant 7).
    unsafe fn take(&mut self, shard: usize, source: SourceId, class: usize) -> *mut u8 {
        // SAFETY: slabs of the list lie in mapped chunks of this shard.
        unsafe {
            let mut slab = self.room[class];
            while !slab.is_null() && (*chunk_of(slab)).head.source != source {
                slab = (*slab).next;
            }
            if slab.is_null() {
                slab = self.slab(shard, source, class);
                if slab.is_null() {
                    return null_mut();
                }
            }
            let start = Chunk::unit(chunk_of(slab), Kind::Pages, (*slab).first());
            let block = (*slab).take(start, class);
            if (*slab).is_full(class) {
                self.unlink(slab, class);
            }
            block
        }
    }

    /// A slab with room, or NULL.
    unsafe fn slab(&mut self, shard: usize, source: SourceId, class: usize) -> *mut Slab {
        let pages = class::slab_pages(class, Kind::Pages.unit());
        // SAFETY: as this function's own contract.
        unsafe {
            let head = Head { kind: Kind::Pages, shard: shard as u32, source };
            let run = self.run(head, pages, Side::Back);
            if run.is_null() {
                return null_mut();
            }
            let chunk = Kind::Pages.chunk_of(run);
            let first = (run.addr() - chunk.addr()) / Kind::Pages.unit();
            let fresh = (*chunk).body.make_slab(first, class);
            COMMITTED.fetch_add(fresh * Kind::Pages.unit(), Ordering::Relaxed);
            let slab = Chunk::slab(chunk, first);
            self.link(slab, class);
            slab
        }
    }

    unsafe fn link(&mut self, slab: *mut Slab, class: usize) {
        let next = self.room[class];
        // SAFETY: slabs of the list are of this shard.
        unsafe {
            (*slab).next = next;
            (*slab).prev = null_mut();
            if !next.is_null() {
                (*next).prev = slab;
            }
        }
        self.room[class] = slab;
    }

    unsafe fn unlink(&mut self, slab: *mut Slab, class: usize) {
        // SAFETY: slabs of the list are of this shard.
        unsafe {
            let Slab { next, prev, .. } = *slab;
            if !next.is_null() {
                (*next).prev = prev;
            }
            match prev.is_null() {
                true => self.room[class] = next,
                false => (*prev).next = next,
            }
        }
    }

    /// Takes a run of units, from a new chunk when none has one, or NULL.
    unsafe fn run(&mut self, head: Head, units: usize, side: Side) -> *mut u8 {
        let kind = head.kind;
        let mut chunk = *self.list(kind);
        // SAFETY: chunks of the list are mapped.
        unsafe {
            while !chunk.is_null() {
                if (*chunk).head.source == head.source
                    && let Some(unit) = (*chunk).body.take(units, side)
                {
                    return self.begin(chunk, kind, unit, units);
                }
                chunk = (*chunk).body.next;
            }
            let chunk = self.chunk(head);
            if chunk.is_null() {
                return null_mut();
            }
            match (*chunk).body.take(units, side) {
                Some(unit) => self.begin(chunk, kind, unit, units),
                None => null_mut(),
            }
        }
    }

    /// Where a run begins that was just taken, or NULL: there is no memory for it, and it
    /// was given back.
    unsafe fn begin(
        &mut self,
        chunk: *mut Chunk,
        kind: Kind,
        unit: usize,
        units: usize,
    ) -> *mut u8 {
        // SAFETY: a chunk of this shard.
        unsafe {
            let (run, bytes) = (Chunk::unit(chunk, kind, unit), units * kind.unit());
            if !(*chunk).body.is_touched(unit, units)
                && !mapping::commit((*chunk).head.source, run, bytes)
            {
                (*chunk).body.give(unit, units);
                return null_mut();
            }
            let fresh = (*chunk).body.touch(unit, units);
            self.took_fresh |= fresh > 0;
            COMMITTED.fetch_add(fresh * kind.unit(), Ordering::Relaxed);
            run
        }
    }

    /// A new chunk in its list, or NULL.
    unsafe fn chunk(&mut self, head: Head) -> *mut Chunk {
        let chunk = mapping::map(head.source, head.kind).cast::<Chunk>();
        if chunk.is_null() {
            return chunk;
        }
        // SAFETY: a mapping of this kind, nobody's yet; the list is ours.
        unsafe {
            if head.kind == Kind::Region && !REGIONS.add(chunk.addr()) {
                mapping::unmap(head.source, head.kind, chunk.cast());
                return null_mut();
            }
            Chunk::init(chunk, head);
            let header = (*chunk).body.touched() * head.kind.unit();
            COMMITTED.fetch_add(header, Ordering::Relaxed);
            self.enlist(chunk);
        }
        chunk
    }

    /// Puts a chunk into its list. Regions are few and large: the oldest is first, so that
    /// its holes are filled before fresh memory is touched, and the newest becomes empty.
    /// Of the many of pages the newest is first, which has room.
    unsafe fn enlist(&mut self, chunk: *mut Chunk) {
        // SAFETY: chunks of the list are mapped, and this one is.
        unsafe {
            let kind = (*chunk).head.kind;
            let (mut before, mut after) = (null_mut::<Chunk>(), *self.list(kind));
            while kind == Kind::Region && !after.is_null() {
                (before, after) = (after, (*after).body.next);
            }
            ((*chunk).body.prev, (*chunk).body.next) = (before, after);
            if !after.is_null() {
                (*after).body.prev = chunk;
            }
            match before.is_null() {
                true => *self.list(kind) = chunk,
                false => (*before).body.next = chunk,
            }
        }
    }

    unsafe fn give(&mut self, block: *mut u8, class: usize) {
        // SAFETY: a block of a chunk of this shard.
        unsafe {
            let chunk = Kind::Pages.chunk_of(block);
            let page = (block.addr() - chunk.addr()) / Kind::Pages.unit();
            let first = (*chunk).body.slab_of(page);
            let slab = Chunk::slab(chunk, first);
            if (*slab).is_full(class) {
                self.link(slab, class);
            }
            (*slab).give(block);
            if (*slab).is_empty() {
                self.unlink(slab, class);
                let pages = class::slab_pages(class, Kind::Pages.unit());
                self.give_run(Chunk::unit(chunk, Kind::Pages, first), Kind::Pages, pages);
            }
        }
    }

    unsafe fn give_run(&mut self, run: *mut u8, kind: Kind, units: usize) {
        let chunk = kind.chunk_of(run);
        let begin = (run.addr() - chunk.addr()) / kind.unit();
        // SAFETY: a run of a chunk of this shard.
        unsafe {
            (*chunk).body.give(begin, units);
            self.age(chunk, kind);
            if (*chunk).body.is_empty(kind) {
                let (now, decay) = (mapping::now(), DECAY.load(Ordering::Relaxed));
                (*chunk).body.idle_since = now;
                self.release(kind, |body| !body.kept && now - body.idle_since >= decay);
            }
        }
    }

    /// Gives back what of a chunk was not in use for a whole decay, now and then.
    unsafe fn age(&mut self, chunk: *mut Chunk, kind: Kind) {
        // SAFETY: a chunk of this shard.
        unsafe {
            let body = &mut (*chunk).body;
            body.gives = body.gives.wrapping_add(1);
            if !body.gives.is_multiple_of(LOOKED_AT) || body.kept {
                return;
            }
            let now = mapping::now();
            if now - body.since < DECAY.load(Ordering::Relaxed) {
                return;
            }
            let idle = body.idle_units() * kind.unit();
            body.begin_period(now);
            if idle >= WORTH_A_CALL && (*chunk).head.source == SourceId::SYSTEM {
                Self::purge_chunk(chunk, kind);
            }
        }
    }

    /// Gives back the free pages of a chunk of the system's.
    unsafe fn purge_chunk(chunk: *mut Chunk, kind: Kind) {
        // SAFETY: a chunk of this shard; nobody has its free runs.
        unsafe {
            let purged = (*chunk).body.purge(|begin, count| {
                let run = Chunk::unit(chunk, kind, begin);
                mapping::purge(run, count * kind.unit());
            });
            COMMITTED.fetch_sub(purged * kind.unit(), Ordering::Relaxed);
        }
    }

    /// Gives back the empty chunks of which `old` says so.
    unsafe fn release(&mut self, kind: Kind, old: impl Fn(&Body) -> bool) {
        let mut chunk = *self.list(kind);
        // SAFETY: chunks of the list are mapped; an empty one has no blocks
        // that anybody could have (invariant 6).
        unsafe {
            while !chunk.is_null() {
                let (next, prev) = ((*chunk).body.next, (*chunk).body.prev);
                if (*chunk).body.is_empty(kind) && old(&(*chunk).body) {
                    if !next.is_null() {
                        (*next).body.prev = prev;
                    }
                    match prev.is_null() {
                        true => *self.list(kind) = next,
                        false => (*prev).body.next = next,
                    }
                    if kind == Kind::Region {
                        REGIONS.remove(chunk.addr());
                    }
                    let committed = (*chunk).body.touched() * kind.unit();
                    COMMITTED.fetch_sub(committed, Ordering::Relaxed);
                    mapping::unmap((*chunk).head.source, kind, chunk.cast());
                }
                chunk = next;
            }
        }
    }

    /// Whether empty chunks stay whatever their age.
    unsafe fn keep(&mut self, kind: Kind, kept: bool) {
        let mut chunk = *self.list(kind);
        while !chunk.is_null() {
            // SAFETY: chunks of the list are mapped.
            unsafe {
                (*chunk).body.kept = kept;
                chunk = (*chunk).body.next;
            }
        }
    }

    /// Gives back the free pages of all chunks of the system's.
    unsafe fn purge(&mut self) {
        for kind in [Kind::Pages, Kind::Region] {
            let mut chunk = *self.list(kind);
            // SAFETY: chunks of the list are mapped; nobody has their free runs.
            unsafe {
                while !chunk.is_null() {
                    if (*chunk).head.source == SourceId::SYSTEM {
                        Self::purge_chunk(chunk, kind);
                    }
                    chunk = (*chunk).body.next;
                }
            }
        }
    }
}

/// The chunk that a slab's entry lies in.
fn chunk_of(slab: *mut Slab) -> *mut Chunk {
    Kind::Pages.chunk_of(slab.cast())
}
