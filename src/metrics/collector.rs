//! The end that records: shared, cheap, never blocked.

use super::event::{Event, Happened, unix_ns};
use super::meter::{Meter, ModelMeter};
use super::processor::Processor;
use super::subscription::Subscriptions;
use super::trace::Trace;
use super::{AuditLog, QueueTotals, STATUSES, Snapshot, Totals, status_of};
use crate::error::Kind;
use crate::host::Clock;
use crate::pool;
use crate::sync::Mutex;
use crossbeam_channel::{Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The end that records. Its clones are of one collector.
#[derive(Clone)]
pub struct Collector {
    pub(super) hub: Arc<Hub>,
}

/// What collector and processor share.
pub(crate) struct Hub {
    sender: Sender<Box<Event>>,
    /// Events that were recorded, and of them: that found no room, that were
    /// received.
    pub(super) recorded: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) counted: AtomicU64,
    /// Meters in use, one a name, and what those counted that are gone.
    pub(super) meters: Mutex<Meters>,
    pub(super) subscriptions: Subscriptions,
    pub(super) audit: Mutex<AuditLog>,
    pub(super) trace: Trace,
    pub(super) stop: AtomicBool,
    since: Instant,
    pub(super) clock: Clock,
}

/// Meters, and what is known of models whose last use ended.
#[derive(Default)]
pub(super) struct Meters {
    pub(super) used: Vec<Arc<Meter>>,
    pub(super) gone: Gone,
}

/// What is known of models whose last use ended, and of loads that failed.
#[derive(Default)]
pub(super) struct Gone {
    pub(super) totals: Totals,
    pub(super) queued: QueueTotals,
    pub(super) loads: u64,
    pub(super) compiled: u64,
    pub(super) reused: u64,
    /// By status.
    pub(super) load_failures: [u64; STATUSES],
}

/// A collector and its processor, with room for so many events between them.
pub fn channel(capacity: usize) -> (Collector, Processor) {
    Clock::begin();
    let (sender, receiver) = bounded(capacity);
    let hub = Arc::new(Hub {
        sender,
        recorded: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        counted: AtomicU64::new(0),
        meters: Mutex::default(),
        subscriptions: Subscriptions::default(),
        audit: Mutex::default(),
        trace: Trace::default(),
        stop: AtomicBool::new(false),
        since: Instant::now(),
        clock: Clock::get(),
    });
    (Collector { hub: hub.clone() }, Processor::new(hub, receiver))
}

impl Hub {
    /// Sees to it that a sleeping processor looks at what is due. (One whose channel
    /// is full is not asleep.)
    pub(super) fn wake(&self) {
        let _ = self.sender.try_send(Box::new(Event::new(Happened::Woken)));
    }
}

impl Collector {
    /// Hands an event on, or drops it when there is no room. It never waits.
    pub fn record(&self, event: Event) {
        self.hub.recorded.fetch_add(1, Relaxed);
        if self.hub.sender.try_send(Box::new(event)).is_err() {
            self.hub.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Events that wait to be received.
    pub(super) fn waiting(&self) -> usize {
        self.hub.sender.len()
    }

    /// One use more of the meter of the models called `name`.
    pub fn meter(&self, name: &str) -> ModelMeter {
        let mut meters = self.hub.meters.lock();
        let found = meters.used.iter().find(|meter| meter.name() == name).cloned();
        let meter = found.unwrap_or_else(|| {
            let made = Arc::new(Meter::new(name));
            meters.used.push(made.clone());
            made
        });
        ModelMeter::of(self.clone(), meter)
    }

    /// A load that came to nothing.
    pub(super) fn load_failed(&self, kind: Kind) {
        self.hub.meters.lock().gone.load_failures[status_of(kind)] += 1;
    }

    /// What there is to know now.
    pub fn snapshot(&self) -> Snapshot {
        let hub = &self.hub;
        let mut snapshot = Snapshot {
            at_unix_ns: unix_ns(),
            uptime: hub.since.elapsed(),
            recorded: hub.recorded.load(Relaxed),
            dropped: hub.dropped.load(Relaxed),
            counted: hub.counted.load(Relaxed),
            memory: pool::stats(),
            ..Snapshot::default()
        };
        let meters = hub.meters.lock();
        snapshot.totals = meters.gone.totals.clone();
        snapshot.queued = meters.gone.queued.clone();
        snapshot.load_failures = meters.gone.load_failures;
        (snapshot.loads, snapshot.compiled, snapshot.reused) =
            (meters.gone.loads, meters.gone.compiled, meters.gone.reused);
        snapshot.models = meters.used.iter().map(|meter| meter.read()).collect();
        drop(meters);
        snapshot.sum_up();
        snapshot
    }
}
