//! What the pool did, counted by shard so that threads do not meet at a counter.
//!
//! A thread counts in its own cells and adds them here when its outermost scope
//! ends, or when it goes to a shard anyway.

use super::mapping;
use super::shard::{COMMITTED, SHARDS};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// One shard's threads' counts; no other shard's lie in its cache lines.
#[repr(align(128))]
pub(super) struct Tally {
    live: AtomicI64,
    hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
}

static ALL: [Tally; SHARDS] = [const {
    Tally {
        live: AtomicI64::new(0),
        hits: AtomicU64::new(0),
        misses: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    }
}; SHARDS];

/// What a thread adds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) live: i64,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) refused: u64,
}

/// Adds what a thread of this shard counted.
pub(super) fn add(shard: usize, counts: Counts) {
    let tally = &ALL[shard];
    let more = |count: &AtomicU64, by| {
        if by != 0 {
            count.fetch_add(by, Ordering::Relaxed);
        }
    };
    // Most calls hold at their end what they held at their beginning.
    if counts.live != 0 {
        tally.live.fetch_add(counts.live, Ordering::Relaxed);
    }
    more(&tally.hits, counts.hits);
    more(&tally.misses, counts.misses);
    more(&tally.refused, counts.refused);
}

/// What the library holds, and what it took to get it. Threads that are inside
/// a call may not have counted it yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes taken and not given back.
    pub live_bytes: u64,
    /// Bytes of the pool that are in use, or were and may be resident still.
    pub committed_bytes: u64,
    /// Tensors that a thread had a block for.
    pub hits: u64,
    /// Tensors for which a thread went to its shard.
    pub misses: u64,
    /// How often the pool asked its source for memory, or gave some back.
    pub source_calls: u64,
    /// Requests that were not met as they were asked.
    pub refused: u64,
}

/// The sum over all threads.
pub fn stats() -> Stats {
    let sum = |count: fn(&Tally) -> &AtomicU64| {
        ALL.iter().map(|tally| count(tally).load(Ordering::Relaxed)).sum()
    };
    let live: i64 = ALL.iter().map(|tally| tally.live.load(Ordering::Relaxed)).sum();
    Stats {
        live_bytes: live.max(0) as u64,
        committed_bytes: COMMITTED.load(Ordering::Relaxed) as u64,
        hits: sum(|tally| &tally.hits),
        misses: sum(|tally| &tally.misses),
        source_calls: mapping::CALLS.load(Ordering::Relaxed),
        refused: sum(|tally| &tally.refused),
    }
}
