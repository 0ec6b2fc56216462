//! Where a run is counted: cells of the session's own.
//!
//! A session lets one thread in at a time, so nobody else writes to its cells
//! meanwhile: a count is a load, an addition and a store, no read-modify-write that
//! locks the bus, and no cell shares a cache line with another session's. A reader
//! may look at any time; what it sees of a run under way is its bucket or not.
//!
//! What is rare (a second thread that is sent away) is counted with an addition
//! that several threads may do at once.

use super::histogram::{BUCKETS, Histogram, bucket};
use crate::error::Kind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// More than there are statuses.
pub const STATUSES: usize = 32;

/// The number of a status, as the C ABI has it.
pub fn status_of(kind: Kind) -> usize {
    kind as usize + 1
}

/// The room that keeps others' lines away: two, since processors fetch lines in
/// pairs. (An alignment would do the same, but aligned memory is what tensors have,
/// and may be refused: see [`crate::pool`].)
const APART: usize = 128;

/// A histogram that one thread at a time counts in.
#[repr(C)]
pub(super) struct Counts {
    sum: AtomicU64,
    max: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Counts {
    pub(super) fn new() -> Counts {
        Counts {
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    #[inline]
    pub(super) fn note(&self, value: u64) {
        add(&self.buckets[bucket(value)], 1);
        add(&self.sum, value);
        if value > self.max.load(Relaxed) {
            self.max.store(value, Relaxed);
        }
    }

    /// Adds what was counted to `to`.
    pub(super) fn read(&self, to: &mut Histogram) {
        for (at, count) in self.buckets.iter().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 {
                to.add(at, count);
            }
        }
        to.note(self.sum.load(Relaxed), self.max.load(Relaxed));
    }
}

/// The cells of one session.
#[repr(C)]
pub(crate) struct Cells {
    _before: [u8; APART],
    /// Successful runs, by nanoseconds.
    runs: Counts,
    /// By status.
    failures: [AtomicU64; STATUSES],
    _after: [u8; APART],
}

/// One more, where nobody else writes.
#[inline]
fn add(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(more), Relaxed);
}

impl Cells {
    pub(super) fn new() -> Cells {
        Cells {
            _before: [0; APART],
            runs: Counts::new(),
            failures: [const { AtomicU64::new(0) }; STATUSES],
            _after: [0; APART],
        }
    }

    /// A run that took so long. One thread at a time.
    #[inline]
    pub(super) fn ran(&self, ns: u64) {
        self.runs.note(ns);
    }

    /// A run that failed.
    pub(super) fn failed(&self, kind: Kind) {
        self.failures[status_of(kind)].fetch_add(1, Relaxed);
    }

    /// Adds what was counted to `totals`.
    pub(super) fn read(&self, totals: &mut Totals) {
        self.runs.read(&mut totals.runs);
        for (to, from) in totals.failures.iter_mut().zip(&self.failures) {
            *to += from.load(Relaxed);
        }
    }
}

/// What cells counted, of one session or of many.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Successful runs, in nanoseconds.
    pub runs: Histogram,
    /// Runs that failed, by status.
    pub failures: [u64; STATUSES],
}

impl Totals {
    /// All that `other` counted, too.
    pub fn merge(&mut self, other: &Totals) {
        self.runs.merge(&other.runs);
        self.failures.iter_mut().zip(other.failures).for_each(|(to, from)| *to += from);
    }

    /// Runs that failed.
    pub fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Totals) -> Totals {
        let mut lately = Totals { runs: self.runs.since(&before.runs), failures: self.failures };
        let pairs = lately.failures.iter_mut().zip(before.failures);
        pairs.for_each(|(to, from)| *to = to.saturating_sub(from));
        lately
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn eight_threads_write_to_no_line_of_each_other() {
        let cells: Vec<Arc<Cells>> = (0..8).map(|_| Arc::new(Cells::new())).collect();
        // The lines that one's counts are in.
        let lines = |cells: &Arc<Cells>| {
            let from = (&raw const cells.runs.sum).addr() / 128;
            let to = (&raw const cells.failures[STATUSES - 1]).addr() / 128;
            (Arc::as_ptr(cells).addr() / 128, from, to)
        };
        let mut all: Vec<_> = cells.iter().map(lines).collect();
        all.sort_unstable();
        assert!(all.iter().all(|(header, from, _)| header < from), "{all:?}");
        assert!(all.windows(2).all(|pair| pair[0].2 < pair[1].0.max(pair[1].1)), "{all:?}");
        std::thread::scope(|scope| {
            for (own, ns) in cells.iter().zip(1u64..) {
                scope.spawn(move || (0..10_000).for_each(|_| own.ran(ns * 100)));
            }
        });
        let mut totals = Totals::default();
        cells.iter().for_each(|own| own.read(&mut totals));
        assert_eq!((totals.runs.count(), totals.runs.max()), (80_000, 800));
        assert_eq!(totals.runs.sum(), 36 * 100 * 10_000);
    }

    #[test]
    fn failures_go_by_status() {
        let cells = Cells::new();
        cells.failed(Kind::Busy);
        cells.failed(Kind::OutOfBudget);
        let mut totals = Totals::default();
        cells.read(&mut totals);
        assert_eq!((totals.failures[3], totals.failures[17], totals.failed()), (1, 1, 2));
        let before = totals.clone();
        cells.failed(Kind::Busy);
        let mut now = Totals::default();
        cells.read(&mut now);
        assert_eq!((now.since(&before).failures[3], now.since(&before).failed()), (1, 1));
    }
}
