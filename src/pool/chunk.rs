//! A chunk: a mapping cut into [`UNITS`] units, some of them taken as runs.
//!
//! It begins with its header and is aligned to its size, so that the header of
//! any block is found by masking the block's address. Two sizes exist: of
//! [`Kind::Pages`], whose runs are blocks of a class or slabs of small blocks,
//! and of [`Kind::Region`], for runs of megabytes. Pages are resident from their
//! first use only, so a large chunk costs address space, not memory.

use super::class;
use super::source::SourceId;
use std::mem::offset_of;
use std::ptr::null_mut;
use std::sync::atomic::AtomicU16;

/// Units of a chunk, its header's among them.
pub(super) const UNITS: usize = 512;
const WORDS: usize = UNITS / 64;

/// What a chunk is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 512 units of 4 KiB.
    Pages,
    /// 512 units of 256 KiB.
    Region,
}

impl Kind {
    pub(super) const fn unit(self) -> usize {
        match self {
            Kind::Pages => 4 << 10,
            Kind::Region => 256 << 10,
        }
    }

    /// Bytes of a chunk, and their alignment.
    pub(super) const fn bytes(self) -> usize {
        self.unit() * UNITS
    }

    /// Units of a run of so many bytes.
    pub(super) const fn units(self, bytes: usize) -> usize {
        bytes.div_ceil(self.unit())
    }

    /// The chunk that `block` lies in.
    pub(super) fn chunk_of(self, block: *mut u8) -> *mut Chunk {
        block.map_addr(|at| at & !(self.bytes() - 1)).cast()
    }
}

/// The first bytes of a chunk.
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// Written once, before the chunk is shared.
    pub(super) head: Head,
    /// Its shard's, under the shard's lock (invariant 7).
    pub(super) body: Body,
    /// Whose each run and each block of a page or more is, by the unit it begins in.
    run_owners: [AtomicU16; UNITS],
    /// Whose each smaller block is, by the cache line it begins at. Only what
    /// belongs to slabs is ever touched; chunks of regions have none.
    block_owners: Owners,
}

#[repr(C, align(4096))]
struct Owners([AtomicU16; Kind::Pages.bytes() / 64]);

/// What never changes while the chunk is mapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) shard: u32,
    pub(super) source: SourceId,
}

/// What its shard keeps of it.
pub(super) struct Body {
    pub(super) next: *mut Chunk,
    pub(super) prev: *mut Chunk,
    /// A set bit is a free unit.
    free: [u64; WORDS],
    /// A set bit is a unit that was in use since it was mapped or purged.
    touched: [u64; WORDS],
    free_units: usize,
    /// No free run is longer.
    longest: usize,
    /// When it became empty, in the pool's milliseconds.
    pub(super) idle_since: u64,
    /// It stays when it is empty: it was taken beforehand.
    pub(super) kept: bool,
    /// Runs given back.
    pub(super) gives: u32,
    /// When the period began whose most units in use `high` is.
    pub(super) since: u64,
    high: usize,
    /// Where the slab begins that a page belongs to.
    firsts: [u16; UNITS],
    /// By the first page of each slab, which is no shorter than `class::LEAST_PAGES`.
    slabs: [Slab; UNITS / class::LEAST_PAGES],
}

/// Where in a chunk a run is looked for. Runs are taken from its front and slabs
/// from its back: what lies long between runs keeps them from being joined again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Front,
    Back,
}

/// A run of pages cut into blocks of one class.
#[derive(Clone, Copy)]
pub(super) struct Slab {
    /// Neighbours in the shard's list of slabs with room.
    pub(super) next: *mut Slab,
    pub(super) prev: *mut Slab,
    /// Blocks given back, linked through their first bytes.
    free: *mut u8,
    /// Blocks that were never taken begin at this one.
    fresh: u16,
    used: u16,
    first: u16,
}

const _: () = assert!(size_of::<Slab>() == 3 * size_of::<usize>() + 8);
const HEADER_UNITS: usize = Kind::Pages.units(size_of::<Chunk>());
/// The bytes that the header takes of a chunk of either kind at the least: whole pages.
#[cfg(windows)]
pub(super) const HEADER_BYTES: usize = HEADER_UNITS * Kind::Pages.unit();
const _: () = assert!(size_of::<Chunk>() <= Kind::Region.unit() && HEADER_UNITS < 64);
/// Where the owners of blocks begin: what is before it is written at once.
const OWNERS_UNIT: usize = offset_of!(Chunk, block_owners) / Kind::Pages.unit();
/// Units whose blocks have their owners in one unit.
const OWNED: usize = Kind::Pages.unit() / size_of::<AtomicU16>() * 64 / Kind::Pages.unit();

/// The longest run of a chunk.
pub(super) const fn longest_run(kind: Kind) -> usize {
    match kind {
        Kind::Pages => UNITS - HEADER_UNITS,
        Kind::Region => UNITS - 1,
    }
}

impl Chunk {
    /// Writes the header of a fresh mapping.
    ///
    /// SAFETY: `chunk` is a mapping of `head.kind.bytes()`, aligned to as much,
    /// and nobody else's.
    pub(super) unsafe fn init(chunk: *mut Chunk, head: Head) {
        // SAFETY: by this function's contract. The slabs stay unwritten until
        // they are made: they are plain data, and their page is left alone.
        unsafe {
            (&raw mut (*chunk).head).write(head);
            let body = &raw mut (*chunk).body;
            (&raw mut (*body).next).write(null_mut());
            (&raw mut (*body).prev).write(null_mut());
            (&raw mut (*body).idle_since).write(0);
            (&raw mut (*body).kept).write(false);
            (&raw mut (*body).gives).write(0);
            (&raw mut (*body).since).write(0);
            (&raw mut (*body).high).write(0);
            let header = UNITS - longest_run(head.kind);
            let (mut free, mut touched) = ([u64::MAX; WORDS], [0; WORDS]);
            free[0] <<= header;
            touched[0] = match head.kind {
                Kind::Pages => (1 << OWNERS_UNIT) - 1,
                Kind::Region => 1,
            };
            (&raw mut (*body).free).write(free);
            (&raw mut (*body).touched).write(touched);
            (&raw mut (*body).free_units).write(UNITS - header);
            (&raw mut (*body).longest).write(UNITS - header);
        }
    }

    /// The first byte of a unit.
    ///
    /// SAFETY: `chunk` is a chunk of `kind`.
    pub(super) unsafe fn unit(chunk: *mut Chunk, kind: Kind, unit: usize) -> *mut u8 {
        // SAFETY: a unit of the chunk's.
        unsafe { chunk.cast::<u8>().add(unit * kind.unit()) }
    }

    /// Whose a run is.
    ///
    /// SAFETY: in the unit of `run`, in a chunk of `kind`, one run or block begins.
    pub(super) unsafe fn run_owner<'a>(run: *mut u8, kind: Kind) -> &'a AtomicU16 {
        let chunk = kind.chunk_of(run);
        let unit = (run.addr() - chunk.addr()) / kind.unit();
        // SAFETY: an index below the number of units; the chunk stays mapped
        // for as long as the run is taken.
        unsafe { &*(&raw const (*chunk).run_owners).cast::<AtomicU16>().add(unit) }
    }

    /// Whose a block of a slab is.
    ///
    /// SAFETY: `block` is a block of a slab of `class`.
    pub(super) unsafe fn block_owner<'a>(block: *mut u8, class: usize) -> &'a AtomicU16 {
        if !class::shares_pages(class) {
            // SAFETY: no two such blocks begin in one page, nor does a run there.
            return unsafe { Chunk::run_owner(block, Kind::Pages) };
        }
        let chunk = Kind::Pages.chunk_of(block);
        let line = (block.addr() - chunk.addr()) / 64;
        // SAFETY: an index below the number of lines; the chunk stays mapped
        // for as long as the block is taken.
        unsafe { &*(&raw const (*chunk).block_owners).cast::<AtomicU16>().add(line) }
    }

    /// The entry of the slab that begins at page `first`.
    ///
    /// SAFETY: `chunk` is a chunk of pages.
    pub(super) unsafe fn slab(chunk: *mut Chunk, first: usize) -> *mut Slab {
        // SAFETY: an index below the number of slabs.
        unsafe { (&raw mut (*chunk).body.slabs).cast::<Slab>().add(first / class::LEAST_PAGES) }
    }
}

impl Body {
    /// Whether nothing of it is taken.
    pub(super) fn is_empty(&self, kind: Kind) -> bool {
        self.free_units == longest_run(kind)
    }

    /// Takes the run of `count` units that is nearest to `side`, if there is one.
    pub(super) fn take(&mut self, count: usize, side: Side) -> Option<usize> {
        if self.longest < count {
            return None;
        }
        let (mut found, mut longest) = (None, 0);
        for (begin, free) in self.free_runs() {
            longest = longest.max(free);
            if free < count {
                continue;
            }
            match side {
                Side::Front => {
                    found = Some(begin);
                    break;
                }
                Side::Back => found = Some(begin + free - count),
            }
        }
        let Some(begin) = found else {
            // (Everything was looked at.)
            self.longest = longest;
            return None;
        };
        self.flip(begin, count);
        self.free_units -= count;
        self.high = self.high.max(UNITS - self.free_units);
        Some(begin)
    }

    /// Gives a run back.
    pub(super) fn give(&mut self, begin: usize, count: usize) {
        self.flip(begin, count);
        self.free_units += count;
        // Joined with its neighbours it may be any length.
        self.longest = self.free_units;
    }

    /// How many resident units were not in use since the period began.
    pub(super) fn idle_units(&self) -> usize {
        self.touched().saturating_sub(self.high)
    }

    pub(super) fn begin_period(&mut self, now: u64) {
        self.since = now;
        self.high = UNITS - self.free_units;
    }

    /// How many units are resident, as far as the pool knows.
    pub(super) fn touched(&self) -> usize {
        self.touched.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether all units of a run are marked as in use.
    pub(super) fn is_touched(&self, begin: usize, count: usize) -> bool {
        words(begin, count).all(|(word, mask)| self.touched[word] & mask == mask)
    }

    /// Marks a run as in use; how many of its units were not before.
    pub(super) fn touch(&mut self, begin: usize, count: usize) -> usize {
        let fresh = words(begin, count).map(|(word, mask)| {
            let fresh = mask & !self.touched[word];
            self.touched[word] |= mask;
            fresh.count_ones() as usize
        });
        fresh.sum()
    }

    /// Forgets that the free units were in use, and calls `purge` with each run
    /// of them; how many units were.
    pub(super) fn purge(&mut self, mut purge: impl FnMut(usize, usize)) -> usize {
        let before = self.touched();
        if self.touched.iter().zip(&self.free).any(|(touched, free)| touched & free != 0) {
            self.free_runs().for_each(|(begin, count)| purge(begin, count));
            let all = self.touched.iter_mut().zip(&self.free);
            all.for_each(|(touched, free)| *touched &= !free);
        }
        before - self.touched()
    }

    /// The first unit from `at` on that is free (`flip` 0), or taken (all ones).
    fn next(&self, at: usize, flip: u64) -> Option<usize> {
        let mut word = at / 64;
        let mut bits = (self.free.get(word)? ^ flip) & (u64::MAX << (at % 64));
        while bits == 0 {
            word += 1;
            bits = self.free.get(word)? ^ flip;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    fn flip(&mut self, begin: usize, count: usize) {
        words(begin, count).for_each(|(word, mask)| self.free[word] ^= mask);
    }

    /// Each run of free units: begin and length.
    fn free_runs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let begin = self.next(at, 0)?;
            at = self.next(begin, u64::MAX).unwrap_or(UNITS);
            Some((begin, at - begin))
        })
    }

    /// Makes a slab of `class` of the run that begins at `first`; how many pages
    /// of owners come into use with it.
    pub(super) fn make_slab(&mut self, first: usize, class: usize) -> usize {
        let pages = class::slab_pages(class, Kind::Pages.unit());
        let slab = Slab {
            next: null_mut(),
            prev: null_mut(),
            free: null_mut(),
            fresh: 0,
            used: 0,
            first: first as u16,
        };
        self.firsts[first..first + pages].fill(first as u16);
        self.slabs[first / class::LEAST_PAGES] = slab;
        if !class::shares_pages(class) {
            return 0;
        }
        let owners = first / OWNED..(first + pages - 1) / OWNED + 1;
        self.touch(OWNERS_UNIT + owners.start, owners.len())
    }

    /// The first page of the slab that a page belongs to.
    pub(super) fn slab_of(&self, page: usize) -> usize {
        self.firsts[page] as usize
    }
}

/// The bits of a run, by word.
fn words(begin: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    let (mut at, end) = (begin, begin + count);
    std::iter::from_fn(move || {
        let bits = (end - at).min(64 - at % 64);
        let ones = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        let word = (at / 64, ones << (at % 64));
        at += bits;
        (bits > 0).then_some(word)
    })
}

/// How many blocks a slab of `class` has.
pub(super) const fn slab_blocks(class: usize) -> usize {
    let page = Kind::Pages.unit();
    class::slab_pages(class, page) * page / class::bytes(class)
}

impl Slab {
    pub(super) fn first(&self) -> usize {
        self.first as usize
    }

    pub(super) fn is_full(&self, class: usize) -> bool {
        self.used as usize == slab_blocks(class)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Takes a block of a slab that is not full.
    ///
    /// SAFETY: `start` is where this slab of `class` begins.
    pub(super) unsafe fn take(&mut self, start: *mut u8, class: usize) -> *mut u8 {
        self.used += 1;
        if self.free.is_null() {
            self.fresh += 1;
            // SAFETY: less than `slab_blocks` were taken, so it is in the slab.
            return unsafe { start.add((self.fresh as usize - 1) * class::bytes(class)) };
        }
        let block = self.free;
        // SAFETY: a free block holds the next one (invariant 8).
        self.free = unsafe { block.cast::<*mut u8>().read() };
        block
    }

    /// SAFETY: `block` was taken from this slab and not given back since.
    pub(super) unsafe fn give(&mut self, block: *mut u8) {
        self.used -= 1;
        // SAFETY: the block is free now, and at least a pointer long
        // (invariant 8).
        unsafe { block.cast::<*mut u8>().write(self.free) };
        self.free = block;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::{Layout, alloc, dealloc};

    /// The body of an empty chunk: its header alone, for nothing looks behind it.
    fn with_body(test: impl FnOnce(&mut Body)) {
        let layout = Layout::new::<Chunk>();
        let head = Head { kind: Kind::Pages, shard: 0, source: SourceId::SYSTEM };
        // SAFETY: the header's own size, and nothing else of the chunk is touched.
        unsafe {
            let chunk = alloc(layout).cast::<Chunk>();
            Chunk::init(chunk, head);
            test(&mut (*chunk).body);
            dealloc(chunk.cast(), layout);
        }
    }

    #[test]
    fn runs_are_disjoint_and_join_again() {
        with_body(|body| {
            let mut owner = [usize::MAX; UNITS];
            let mut runs = Vec::new();
            let mut state = 7usize;
            for turn in 0..20_000 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let count = 1 + (state >> 40) % 90;
                if (state >> 33).is_multiple_of(2) {
                    // (The header's units are nobody's, and not free.)
                    let longest = owner[UNITS - longest_run(Kind::Pages)..]
                        .chunk_by(|a, b| (*a == usize::MAX) == (*b == usize::MAX))
                        .filter(|run| run[0] == usize::MAX)
                        .map(<[usize]>::len)
                        .max();
                    let side = [Side::Front, Side::Back][turn % 2];
                    let taken = body.take(count, side);
                    assert_eq!(taken.is_some(), longest.unwrap_or(0) >= count, "{turn}: {count}");
                    let Some(begin) = taken else { continue };
                    assert!(owner[begin..begin + count].iter().all(|o| *o == usize::MAX));
                    owner[begin..begin + count].fill(turn);
                    runs.push((begin, count));
                } else if !runs.is_empty() {
                    let (begin, count) = runs.swap_remove((state >> 45) % runs.len());
                    owner[begin..begin + count].fill(usize::MAX);
                    body.give(begin, count);
                }
            }
            runs.drain(..).for_each(|(begin, count)| body.give(begin, count));
            assert!(body.is_empty(Kind::Pages));
            let all = longest_run(Kind::Pages);
            let header = body.touched();
            assert_eq!((header, body.touch(100, 70), body.touch(90, 20)), (OWNERS_UNIT, 70, 10));
            let mut purged = Vec::new();
            assert_eq!(body.purge(|begin, count| purged.push((begin, count))), 80);
            assert_eq!((purged, body.touched()), (vec![(UNITS - all, all)], header));
            assert_eq!(body.free_runs().collect::<Vec<_>>(), [(UNITS - all, all)]);
            assert_eq!(body.take(8, Side::Back), Some(UNITS - 8));
            body.give(UNITS - 8, 8);
            assert_eq!(body.take(all, Side::Front), Some(UNITS - all));
            assert_eq!(body.take(1, Side::Back), None);
        });
    }
}
