//! Who is told what, and when.

use super::openmetrics::Format;
use super::threshold::{Crossing, Threshold};
use super::{Event, Snapshot, Totals, exporter};
use crate::log::log_line;
use crate::sync::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a subscriber is told at each interval.
pub struct Report<'a> {
    /// What there is to know now.
    pub now: &'a Snapshot,
    /// What was counted since the report before.
    pub lately: &'a Totals,
    /// How long that was.
    pub elapsed: Duration,
}

/// What is done for a subscriber. Callbacks run one at a time, without a lock that
/// anybody else needs.
pub enum Task {
    /// A report at each interval.
    Report(Box<dyn FnMut(&Report<'_>) + Send>),
    /// A threshold is looked at, at each interval.
    Watch(Threshold, Box<dyn FnMut(&Crossing) + Send>),
    /// A file is written at each interval.
    Export(PathBuf, Format),
    /// Every event, as it is received.
    Events(Box<dyn FnMut(&Event) + Send>),
}

/// A subscriber's task, with what it was told last.
pub(crate) struct Subscription {
    id: u64,
    interval: Duration,
    state: Mutex<State>,
}

struct State {
    task: Task,
    /// When it is due next, and was last.
    due: Instant,
    told: Instant,
    before: Totals,
}

impl Subscription {
    /// How long until it is due; none when no time makes it so.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let state = self.state.lock();
        match state.task {
            Task::Events(_) => None,
            _ => Some(state.due.saturating_duration_since(now)),
        }
    }

    /// Does what is due at `now`, and says whether a threshold was crossed. Times
    /// that were missed are not made up for.
    pub(super) fn tell(&self, now: Instant, snapshot: &Snapshot) -> Option<(Crossing, String)> {
        let mut state = self.state.lock();
        let elapsed = now.saturating_duration_since(state.told);
        (state.told, state.due) = (now, now + self.interval);
        let State { task, before, .. } = &mut *state;
        match task {
            Task::Report(callback) => {
                let lately = snapshot.totals.since(before);
                before.clone_from(&snapshot.totals);
                callback(&Report { now: snapshot, lately: &lately, elapsed });
                None
            }
            Task::Watch(threshold, callback) => {
                let (totals, live_bytes) = threshold.of(snapshot)?;
                let lately = totals.since(before);
                before.clone_from(totals);
                let value = threshold.metric.value(&lately, elapsed, live_bytes)?;
                let crossing = threshold.look(value)?;
                callback(&crossing);
                Some((crossing, threshold.model.clone().unwrap_or_default()))
            }
            Task::Export(path, format) => {
                if let Err(e) = exporter::write(path, &format.text(snapshot)) {
                    log_line!(Warn, "{e}");
                }
                None
            }
            Task::Events(_) => None,
        }
    }

    pub(super) fn event(&self, event: &Event) {
        if let Task::Events(callback) = &mut self.state.lock().task {
            callback(event);
        }
    }
}

/// All subscribers.
#[derive(Default)]
pub(crate) struct Subscriptions {
    all: Mutex<Vec<Arc<Subscription>>>,
    made: AtomicU64,
}

impl Subscriptions {
    /// Adds one, which is due after its interval, and gives its number.
    pub(super) fn add(&self, task: Task, interval: Duration, now: Instant, before: Totals) -> u64 {
        let id = self.made.fetch_add(1, Relaxed) + 1;
        let state = State { task, due: now + interval, told: now, before };
        self.all.lock().push(Arc::new(Subscription { id, interval, state: Mutex::new(state) }));
        id
    }

    /// Takes one away, and waits until nobody is inside it. False when there is none.
    pub(super) fn remove(&self, id: u64) -> bool {
        let found = {
            let mut all = self.all.lock();
            let at = all.iter().position(|subscription| subscription.id == id);
            at.map(|at| all.remove(at))
        };
        let is_found = found.is_some();
        let mut left = found;
        while let Some(still) = left {
            left = Arc::try_unwrap(still).err();
            if left.is_some() {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        is_found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// All of them; none is let go while the answer lives.
    pub(super) fn all(&self) -> Vec<Arc<Subscription>> {
        self.all.lock().clone()
    }
}
