//! What was counted, at one moment: plain values.

use super::{QueueTotals, STATUSES, Totals};
use crate::pool::Stats;
use std::sync::Arc;
use std::time::Duration;

/// Everything there is to know at a moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When, in nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// Since the runtime began to count.
    pub uptime: Duration,
    /// Runs of all models, of those that are gone, too.
    pub totals: Totals,
    /// Jobs of all queues, of those that are gone, too.
    pub queued: QueueTotals,
    /// Loads that succeeded.
    pub loads: u64,
    /// Loads that failed, by status.
    pub load_failures: [u64; STATUSES],
    /// Programs compiled, and found compiled.
    pub compiled: u64,
    /// See `compiled`.
    pub reused: u64,
    /// Events that were recorded.
    pub recorded: u64,
    /// Of them, those that found no room.
    pub dropped: u64,
    /// Of them, those that were received.
    pub counted: u64,
    /// What the library holds.
    pub memory: Stats,
    /// The models in use, by name.
    pub models: Vec<ModelSnapshot>,
}

/// What is known of the models of one name.
#[derive(Debug, Clone, Default)]
pub struct ModelSnapshot {
    /// What they are called.
    pub name: Arc<str>,
    /// The BLAKE3 hash of the last one loaded.
    pub hash: [u8; 32],
    /// The how manieth load of this name that one was.
    pub version: u64,
    /// Its last load, in nanoseconds.
    pub load_ns: u64,
    /// Runs of their sessions.
    pub totals: Totals,
    /// Jobs of their queues.
    pub queued: QueueTotals,
    /// How many queues they have.
    pub queues: u64,
    /// Loads.
    pub loads: u64,
    /// How many of them are in use.
    pub in_use: u64,
    /// How many sessions they have.
    pub sessions: u64,
    /// Programs compiled, and found compiled.
    pub compiled: u64,
    /// See `compiled`.
    pub reused: u64,
    /// What they and their sessions hold.
    pub memory: Stats,
}

impl Snapshot {
    /// Adds what the models counted to the totals.
    pub(super) fn sum_up(&mut self) {
        for model in &self.models {
            self.totals.merge(&model.totals);
            self.queued.merge(&model.queued);
            self.loads += model.loads;
            self.compiled += model.compiled;
            self.reused += model.reused;
        }
    }

    /// The models called `name`.
    pub fn model(&self, name: &str) -> Option<&ModelSnapshot> {
        self.models.iter().find(|model| &*model.name == name)
    }

    /// Sessions of all models.
    pub fn sessions(&self) -> u64 {
        self.models.iter().map(|model| model.sessions).sum()
    }

    /// Models in use.
    pub fn in_use(&self) -> u64 {
        self.models.iter().map(|model| model.in_use).sum()
    }
}

/// Adds `other` to `stats`, of two models of one name.
pub(super) fn add(stats: &mut Stats, other: &Stats) {
    stats.live_bytes += other.live_bytes;
    stats.peak_bytes += other.peak_bytes;
    stats.committed_bytes += other.committed_bytes;
    stats.hits += other.hits;
    stats.shared_hits += other.shared_hits;
    stats.misses += other.misses;
    stats.source_calls += other.source_calls;
    stats.refused += other.refused;
    stats.soft_passed += other.soft_passed;
}
