//! What a queue counts: waits, batches, and how jobs ended.
//!
//! Waits and batches are counted by the thread that takes a batch, under the queue's
//! own lock, so their cells are that thread's alone, as a session's are (`cells`).

use super::cells::{Counts, STATUSES, status_of};
use super::histogram::Histogram;
use super::meter::ModelMeter;
use super::switches;
use super::trace::{Category, Span};
use crate::error::Kind;
use crate::host::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The cells of one queue.
pub(crate) struct QueueCells {
    waits: Counts,
    batches: Counts,
    /// By status; 0 for those that gave outputs.
    jobs: [AtomicU64; STATUSES],
    retries: AtomicU64,
    waiting: AtomicU64,
    /// 0 while jobs run, else how the breaker stands.
    health: AtomicU64,
}

impl QueueCells {
    pub(super) fn new() -> QueueCells {
        QueueCells {
            waits: Counts::new(),
            batches: Counts::new(),
            jobs: [const { AtomicU64::new(0) }; STATUSES],
            retries: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            health: AtomicU64::new(0),
        }
    }

    /// Adds what was counted to `totals`.
    pub(super) fn read(&self, totals: &mut QueueTotals) {
        self.waits.read(&mut totals.waits);
        self.batches.read(&mut totals.batches);
        totals.jobs.iter_mut().zip(&self.jobs).for_each(|(to, from)| *to += from.load(Relaxed));
        totals.retries += self.retries.load(Relaxed);
        totals.waiting += self.waiting.load(Relaxed);
        totals.health = totals.health.max(self.health.load(Relaxed));
    }
}

/// What queues counted.
#[derive(Debug, Clone, Default)]
pub struct QueueTotals {
    /// How long jobs waited for their batch, in nanoseconds.
    pub waits: Histogram,
    /// Rows of batches.
    pub batches: Histogram,
    /// How jobs ended, or why they were refused, by status.
    pub jobs: [u64; STATUSES],
    /// Runs that were tried again.
    pub retries: u64,
    /// Jobs that wait.
    pub waiting: u64,
    /// The worst breaker: 0 closed, 1 open, 2 half open.
    pub health: u64,
}

impl QueueTotals {
    /// All that `other` counted, too.
    pub fn merge(&mut self, other: &QueueTotals) {
        self.waits.merge(&other.waits);
        self.batches.merge(&other.batches);
        self.jobs.iter_mut().zip(other.jobs).for_each(|(to, from)| *to += from);
        self.retries += other.retries;
        self.waiting += other.waiting;
        self.health = self.health.max(other.health);
    }

    /// Without what is only so now.
    pub(super) fn ended(&mut self) {
        (self.waiting, self.health) = (0, 0);
    }
}

/// What a queue is counted by.
pub struct QueueMeter {
    cells: Arc<QueueCells>,
    model: ModelMeter,
    clock: Clock,
}

impl QueueMeter {
    pub(super) fn new(cells: Arc<QueueCells>, model: ModelMeter, clock: Clock) -> QueueMeter {
        QueueMeter { cells, model, clock }
    }

    /// The clock that waits are measured by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A batch of so many rows is taken, and so many jobs go on waiting. One thread at
    /// a time, as the next one.
    pub fn took(&self, rows: u32, waiting: usize) {
        self.cells.batches.note(u64::from(rows));
        self.cells.waiting.store(waiting as u64, Relaxed);
    }

    /// A job of it waited so long.
    pub fn waited(&self, ns: u64) {
        self.cells.waits.note(ns);
    }

    /// So many jobs wait. One thread at a time.
    pub fn set_waiting(&self, waiting: usize) {
        self.cells.waiting.store(waiting as u64, Relaxed);
    }

    /// So many jobs ended so, or were refused.
    pub fn ended(&self, failed: Option<Kind>, jobs: u64) {
        self.cells.jobs[failed.map_or(0, status_of)].fetch_add(jobs, Relaxed);
    }

    /// A run is tried again.
    pub fn retried(&self) {
        self.cells.retries.fetch_add(1, Relaxed);
    }

    /// How the breaker stands.
    pub fn set_health(&self, health: u64) {
        self.cells.health.store(health, Relaxed);
    }

    /// What was counted.
    pub fn read(&self) -> QueueTotals {
        let mut totals = QueueTotals::default();
        self.cells.read(&mut totals);
        totals
    }

    /// Whether waits go into the trace.
    pub fn is_traced(&self) -> bool {
        switches::get() & switches::TRACE != 0
    }

    /// A job waited from then until now, in ticks.
    #[cold]
    pub fn trace(&self, begun: u64, end: u64) {
        self.model.add_span(|name| Span::new(name, Category::Wait, begun, end));
    }
}

impl Drop for QueueMeter {
    fn drop(&mut self) {
        self.model.queue_ended(&self.cells);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_batches_and_ends_are_read_as_they_were_counted() {
        let cells = QueueCells::new();
        cells.waits.note(1000);
        cells.waits.note(3000);
        cells.batches.note(2);
        cells.jobs[0].fetch_add(2, Relaxed);
        let mut totals = QueueTotals::default();
        cells.read(&mut totals);
        assert_eq!((totals.waits.count(), totals.waits.sum(), totals.batches.max()), (2, 4000, 2));
        let mut twice = totals.clone();
        twice.merge(&totals);
        assert_eq!((twice.jobs[0], twice.waits.max()), (4, 3000));
    }
}
