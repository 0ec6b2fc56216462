//! Tensors: which requests are pooled, and by what part of the pool.

use super::accounts::Id;
use super::cache::Cache;
use super::chunk::{self, Chunk, Kind};
use super::class::{self, SMALL_MAX};
use super::{block, ledger, shard, source};
use std::alloc::Layout;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU8, Ordering};

/// From this alignment on, a request is a tensor's: its asker looks at NULL. (tract aligns
/// to a vector. Rust's tables of hashes are aligned to half as much on ARM.)
pub(super) const TENSOR_ALIGN: usize =
    if cfg!(any(target_arch = "aarch64", target_arch = "arm")) { 16 } else { 32 };

/// No page of the pool is aligned to more.
const MOST_ALIGN: usize = 4 << 10;

const UNKNOWN: u8 = 0;
const ON: u8 = 1;
const OFF: u8 = 2;
static MODE: AtomicU8 = AtomicU8::new(if cfg!(fuzzing) { OFF } else { UNKNOWN });

/// Whether blocks of this layout are the pool's. It depends on nothing else and
/// never changes in a process: a block is given back as it was taken.
#[inline]
pub(super) fn is_pooled(layout: Layout) -> bool {
    (TENSOR_ALIGN..=MOST_ALIGN).contains(&layout.align())
        && match MODE.load(Ordering::Relaxed) {
            ON => true,
            OFF => false,
            _ => decide(),
        }
}

/// Checkers of memory want to see every block: `INFERNO_POOL=0` is for them.
#[cold]
fn decide() -> bool {
    #[cfg(any(unix, windows))]
    // SAFETY: names and values are NUL-terminated.
    let off = unsafe {
        let value = libc::getenv(c"INFERNO_POOL".as_ptr());
        !value.is_null() && value.read() as u8 == b'0'
    };
    #[cfg(not(any(unix, windows)))]
    let off = false;
    let mode = if off { OFF } else { ON };
    match MODE.compare_exchange(UNKNOWN, mode, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => !off,
        Err(first) => first == ON,
    }
}

/// The size by which a block of this layout has its class: what is aligned to
/// more than a cache line begins at a page.
#[inline]
fn rounded(layout: Layout) -> usize {
    if layout.align() > 64 { layout.size().max(SMALL_MAX + 1) } else { layout.size() }
}

/// The largest block that is a run of pages.
const PAGES_MAX: usize = 1 << 20;

/// How many bytes a block of a pooled layout takes.
pub fn block_bytes(layout: Layout) -> usize {
    match rounded(layout) {
        0 => 0,
        size if size <= SMALL_MAX => class::bytes(class::of(size)),
        size => run_bytes(size).next_multiple_of(kind(size).unit()),
    }
}

/// How much longer a run is than its block, which begins at some cache line of
/// the first page: blocks that all began at a page would share the few cache sets
/// that such lines have. (jemalloc does so, too.)
const COLOURS: usize = 64;

/// Where in its first page the block of a run begins: a run at the same place has
/// the same lines again, so a run that is like the last one finds them near.
fn colour(run: *mut u8) -> usize {
    // The uppermost bits of a product with the golden ratio are spread the most
    // (Knuth, "The Art of Computer Programming", 6.4).
    let page = (run.addr() / MOST_ALIGN) as u64;
    (page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - COLOURS.ilog2())) as usize * 64
}
/// From this size on, so that a page more is little.
const COLOURED: usize = 128 << 10;

/// The bytes of the run that a block without a class lies in.
const fn run_bytes(size: usize) -> usize {
    if size < COLOURED { size } else { size + (COLOURS - 1) * 64 }
}

/// The largest block that lies in the pool.
pub(super) const LARGEST: usize = 127 << 20;
const _: () = assert!(Kind::Region.units(run_bytes(LARGEST)) <= chunk::longest_run(Kind::Region));

/// Makes so many bytes resident for blocks of up to `block_bytes`; whether there
/// were as many.
pub(super) fn reserve(cache: &Cache, bytes: usize, block_bytes: usize) -> bool {
    let layout = Layout::new::<Line>();
    !is_pooled(layout) || cache.reserve(kind(block_bytes), bytes)
}

#[repr(align(64))]
struct Line;

/// What a block without a class is a run of.
fn kind(size: usize) -> Kind {
    if size <= PAGES_MAX { Kind::Pages } else { Kind::Region }
}

/// A block of a pooled layout for the account `owner`, or NULL; how many bytes
/// of the pool it takes.
#[inline]
pub(super) fn take(cache: &Cache, owner: Id, layout: Layout, zeroed: bool) -> (*mut u8, i64) {
    let size = rounded(layout);
    if size == 0 {
        return (null_mut(), 0);
    }
    let (block, bytes) = match size <= SMALL_MAX {
        true => take_small(cache, owner, class::of(size)),
        false => take_run(cache, owner, layout, size),
    };
    if block.is_null() {
        return (apart(cache, owner, layout, zeroed), 0);
    }
    if zeroed {
        // SAFETY: the block has at least this many bytes.
        unsafe { block.write_bytes(0, layout.size()) };
    }
    (block, bytes)
}

#[inline]
fn take_small(cache: &Cache, owner: Id, class: usize) -> (*mut u8, i64) {
    let block = cache.take(class);
    if !block.is_null() {
        // SAFETY: a block of a class, ours (invariant 10).
        unsafe { Chunk::block_owner(block, class).store(owner, Ordering::Relaxed) };
    }
    (block, class::bytes(class) as i64)
}

fn take_run(cache: &Cache, owner: Id, layout: Layout, size: usize) -> (*mut u8, i64) {
    let kind = kind(size);
    let run = cache.take_run(kind, run_bytes(size));
    if run.is_null() {
        return (run, 0);
    }
    let coloured = layout.align() <= 64 && size >= COLOURED;
    let begin = if coloured { colour(run) } else { 0 };
    // SAFETY: a run of this kind, ours (invariant 10); it is longer than the
    // block by as much.
    let block = unsafe {
        Chunk::run_owner(run, kind).store(owner, Ordering::Relaxed);
        run.add(begin)
    };
    (block, (kind.units(run_bytes(size)) * kind.unit()) as i64)
}

/// A block of its own, where no region has room; otherwise NULL.
#[cold]
fn apart(cache: &Cache, owner: Id, layout: Layout, zeroed: bool) -> *mut u8 {
    if rounded(layout) <= PAGES_MAX {
        return null_mut();
    }
    cache.count_apart();
    ledger::count_source_call();
    block::take(source::current(), owner, layout, zeroed)
}

/// Gives it back: whose it was, and how many bytes of the pool it took.
///
/// SAFETY: `block` is live and came from `take` with this layout.
#[inline]
pub(super) unsafe fn give(cache: &Cache, block: *mut u8, layout: Layout) -> (Id, i64) {
    let size = rounded(layout);
    // SAFETY: as this function's own contract; invariant 10.
    unsafe {
        if size <= SMALL_MAX {
            let class = class::of(size);
            let owner = Chunk::block_owner(block, class).load(Ordering::Relaxed);
            cache.give(block, class);
            (owner, class::bytes(class) as i64)
        } else if size <= PAGES_MAX || shard::is_in_region(block) {
            let (kind, bytes) = (kind(size), run_bytes(size));
            let run = block.map_addr(|at| at & !(MOST_ALIGN - 1));
            let owner = Chunk::run_owner(run, kind).load(Ordering::Relaxed);
            shard::give_run(run, kind, bytes);
            (owner, (kind.units(bytes) * kind.unit()) as i64)
        } else {
            ledger::count_source_call();
            (block::give(block, layout), 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::ledger::{give, take};
    use std::sync::mpsc;

    /// A block full of one byte.
    struct Filled(*mut u8, Layout, u8);

    // SAFETY: a block is its holder's, on whatever thread.
    unsafe impl Send for Filled {}

    impl Filled {
        fn new(size: usize, align: usize, byte: u8, zeroed: bool) -> Filled {
            let layout = Layout::from_size_align(size, align).unwrap();
            assert!(is_pooled(layout));
            let block = take(layout, zeroed);
            assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}");
            // SAFETY: a block of this size.
            unsafe {
                if zeroed {
                    let bytes = std::slice::from_raw_parts(block, size);
                    assert!(bytes.iter().all(|b| *b == 0));
                }
                block.write_bytes(byte, size);
            }
            Filled(block, layout, byte)
        }

        /// Nobody else wrote to it.
        fn give(self) {
            // SAFETY: a live block of this size.
            unsafe {
                let bytes = std::slice::from_raw_parts(self.0, self.1.size());
                assert!(bytes.iter().all(|b| *b == self.2), "{:?} was overwritten", self.1);
                give(self.0, self.1);
            }
        }
    }

    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*state >> 33) as usize
    }

    #[test]
    fn blocks_are_disjoint_whatever_their_size_and_alignment() {
        let (mut live, mut state) = (Vec::new(), 3);
        let turns = if cfg!(miri) { 300 } else { 20_000 };
        for turn in 0..turns {
            if next(&mut state) % 5 < 3 {
                let most = [64, 600, 5_000, 70_000, 3 << 20][next(&mut state) % 5];
                let most = if cfg!(miri) { most.min(5_000) } else { most };
                let (size, align) = (1 + next(&mut state) % most, 32 << (next(&mut state) % 8));
                live.push(Filled::new(size, align, turn as u8, turn % 16 == 0));
            } else if !live.is_empty() {
                live.swap_remove(next(&mut state) % live.len()).give();
            }
            if live.len() > 200 {
                live.drain(..100).for_each(Filled::give);
            }
            if turn % 5_000 == 0 {
                crate::pool::trim();
            }
        }
        live.into_iter().for_each(Filled::give);
    }

    #[test]
    fn what_one_thread_takes_another_gives_back() {
        let threads = if cfg!(miri) { 2 } else { 4 };
        let turns = if cfg!(miri) { 60 } else { 4_000 };
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..threads).map(|_| mpsc::channel::<Filled>()).unzip();
        std::thread::scope(|scope| {
            for (at, receiver) in receivers.into_iter().enumerate() {
                let next_one = senders[(at + 1) % threads].clone();
                scope.spawn(move || {
                    let mut state = at as u64;
                    for turn in 0..turns {
                        let size = 1 + next(&mut state) % (100 << (next(&mut state) % 12));
                        let size = if cfg!(miri) { size.min(3_000) } else { size };
                        // (Who has ended gives back what was not received.)
                        let sent = next_one.send(Filled::new(size, 64, turn as u8, false));
                        if let Err(mpsc::SendError(back)) = sent {
                            back.give();
                        }
                        receiver.try_iter().for_each(Filled::give);
                    }
                    drop(next_one);
                    receiver.try_iter().for_each(Filled::give);
                    crate::pool::trim();
                });
            }
            drop(senders);
        });
    }

    #[test]
    fn the_largest_have_a_place_of_their_own() {
        for size in [PAGES_MAX + 1, 5 << 20, 127 << 20, 200 << 20] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            let block = take(layout, false);
            assert!(!block.is_null(), "{size}");
            // SAFETY: the block has this many bytes.
            unsafe {
                block.write(1);
                block.add(size - 1).write(2);
                give(block, layout);
            }
        }
    }
}
