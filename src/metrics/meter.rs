//! What a model and a session hold to be counted by.
//!
//! Models of one name share a meter: a name is what a person, and a label of a time
//! series, knows a model by; and its count of loads is the model's version. What a
//! session counted is added to its meter when it ends, and a meter's to the
//! process's when its last use ends, under one lock each, so that no reader ever
//! sees a count fall.

use super::cells::{Cells, Totals};
use super::collector::Collector;
use super::event::{Event, Happened};
use super::queue::{QueueCells, QueueMeter, QueueTotals};
use super::snapshot::{ModelSnapshot, add};
use super::switches;
use super::trace::{Category, Span};
use crate::error::{Error, Kind};
use crate::host::Clock;
use crate::pool::{Account, Stats};
use crate::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// What is counted of the models of one name.
pub(crate) struct Meter {
    name: Arc<str>,
    /// How many [`ModelMeter`]s there are. Changed under the lock of all meters.
    uses: AtomicU64,
    compiled: AtomicU64,
    reused: AtomicU64,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    sessions: Vec<Arc<Cells>>,
    queues: Vec<Arc<QueueCells>>,
    /// What sessions and queues counted that are gone.
    ended: Totals,
    queues_ended: QueueTotals,
    loads: u64,
    load_ns: u64,
    hash: [u8; 32],
    /// Of the models in use.
    accounts: Vec<Weak<Account>>,
}

impl Meter {
    pub(super) fn new(name: &str) -> Meter {
        Meter {
            name: Arc::from(name),
            uses: AtomicU64::new(0),
            compiled: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            inside: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn read(&self) -> ModelSnapshot {
        let inside = self.inside.lock();
        let mut totals = inside.ended.clone();
        inside.sessions.iter().for_each(|cells| cells.read(&mut totals));
        let mut queued = inside.queues_ended.clone();
        inside.queues.iter().for_each(|cells| cells.read(&mut queued));
        let accounts: Vec<_> = inside.accounts.iter().filter_map(Weak::upgrade).collect();
        let mut snapshot = ModelSnapshot {
            name: self.name.clone(),
            hash: inside.hash,
            version: inside.loads,
            load_ns: inside.load_ns,
            totals,
            queued,
            queues: inside.queues.len() as u64,
            loads: inside.loads,
            in_use: accounts.len() as u64,
            sessions: inside.sessions.len() as u64,
            compiled: self.compiled.load(Relaxed),
            reused: self.reused.load(Relaxed),
            memory: Stats::default(),
        };
        drop(inside);
        accounts.iter().for_each(|account| add(&mut snapshot.memory, &account.stats()));
        snapshot
    }
}

/// A use of the meter of a model's name.
pub struct ModelMeter {
    collector: Collector,
    meter: Arc<Meter>,
}

impl ModelMeter {
    /// The caller has the lock of all meters.
    pub(super) fn of(collector: Collector, meter: Arc<Meter>) -> ModelMeter {
        meter.uses.fetch_add(1, Relaxed);
        ModelMeter { collector, meter }
    }

    /// A model of this name was loaded in so many nanoseconds. Says the hash of the
    /// one before, when that is another and still in use.
    pub(super) fn loaded(
        &self,
        hash: [u8; 32],
        load_ns: u64,
        account: &Arc<Account>,
    ) -> Option<[u8; 32]> {
        let mut inside = self.meter.inside.lock();
        inside.accounts.retain(|account| account.strong_count() > 0);
        let is_swap = !inside.accounts.is_empty() && inside.hash != hash;
        let before = is_swap.then_some(inside.hash);
        inside.accounts.push(Arc::downgrade(account));
        (inside.loads, inside.load_ns, inside.hash) = (inside.loads + 1, load_ns, hash);
        before
    }

    /// A program begins to be compiled.
    pub fn compiling(&self) -> u64 {
        self.collector.hub.clock.now()
    }

    /// The compilation that began then has ended.
    pub fn compiled(&self, begun: u64) {
        self.meter.compiled.fetch_add(1, Relaxed);
        if switches::get() & switches::TRACE != 0 {
            let hub = &self.collector.hub;
            let name = self.meter.name.clone();
            hub.trace.add([Span::new(name, Category::Compile, begun, hub.clock.now())]);
        }
    }

    /// A program was found compiled.
    pub fn reused(&self) {
        self.meter.reused.fetch_add(1, Relaxed);
    }

    /// What the models of this name counted.
    pub fn read(&self) -> ModelSnapshot {
        self.meter.read()
    }

    /// The meter of a queue of such a model.
    pub fn queue(&self) -> QueueMeter {
        let cells = Arc::new(QueueCells::new());
        let model = self.clone();
        model.meter.inside.lock().queues.push(cells.clone());
        let clock = model.collector.hub.clock;
        QueueMeter::new(cells, model, clock)
    }

    /// The queue with these cells has ended.
    pub(super) fn queue_ended(&self, ended: &Arc<QueueCells>) {
        let mut inside = self.meter.inside.lock();
        inside.queues.retain(|cells| !Arc::ptr_eq(cells, ended));
        ended.read(&mut inside.queues_ended);
        inside.queues_ended.ended();
    }

    /// Puts a span into the trace, under the models' name.
    pub(super) fn add_span(&self, span: impl FnOnce(Arc<str>) -> Span) {
        self.collector.hub.trace.add([span(self.meter.name.clone())]);
    }

    /// The meter of a session of such a model.
    pub fn session(&self) -> SessionMeter {
        let cells = Arc::new(Cells::new());
        let model = self.clone();
        model.meter.inside.lock().sessions.push(cells.clone());
        let clock = model.collector.hub.clock;
        SessionMeter { clock, cells, is_profiled: AtomicBool::new(false), model }
    }
}

impl Clone for ModelMeter {
    fn clone(&self) -> Self {
        let _meters = self.collector.hub.meters.lock();
        ModelMeter::of(self.collector.clone(), self.meter.clone())
    }
}

impl Drop for ModelMeter {
    fn drop(&mut self) {
        let mut meters = self.collector.hub.meters.lock();
        if self.meter.uses.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        meters.used.retain(|meter| !Arc::ptr_eq(meter, &self.meter));
        let inside = self.meter.inside.lock();
        let gone = &mut meters.gone;
        gone.totals.merge(&inside.ended);
        gone.queued.merge(&inside.queues_ended);
        gone.loads += inside.loads;
        gone.compiled += self.meter.compiled.load(Relaxed);
        gone.reused += self.meter.reused.load(Relaxed);
    }
}

/// What a session is counted by.
pub struct SessionMeter {
    clock: Clock,
    cells: Arc<Cells>,
    is_profiled: AtomicBool,
    model: ModelMeter,
}

/// A run that began.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    pub(super) at: u64,
    switches: u32,
}

impl Begun {
    /// Whether the time of its steps is wanted, too.
    #[inline]
    pub fn is_watched(self) -> bool {
        self.switches & !switches::COUNT != 0
    }

    /// Whether its session's steps are summed up.
    pub(super) fn is_profiled(self) -> bool {
        self.switches & switches::PROFILE != 0
    }

    /// Whether the run is to be in the trace.
    pub(super) fn is_traced(self) -> bool {
        self.switches & switches::TRACE != 0
    }
}

impl Begun {
    /// The same run, which earlier slices spent so many ticks on.
    pub fn after(self, spent: u64) -> Begun {
        Begun { at: self.at.wrapping_sub(spent), ..self }
    }
}

impl SessionMeter {
    /// A slice of a run ends here; the ticks that it and those before it took.
    pub fn spent(&self, begun: Begun) -> u64 {
        let ticks = self.clock.now().wrapping_sub(begun.at);
        if begun.switches == 0 || ticks > i64::MAX as u64 { 0 } else { ticks }
    }

    /// A run begins. One thread at a time.
    #[inline]
    pub fn begin(&self) -> Begun {
        let mut switches = switches::get();
        if self.is_profiled.load(Relaxed) {
            switches |= switches::PROFILE;
        }
        let at = if switches == 0 { 0 } else { self.clock.now() };
        Begun { at, switches }
    }

    /// The run that began has ended. One thread at a time.
    #[inline]
    pub fn end(&self, begun: Begun, failed: Option<&Error>) {
        if begun.switches & switches::COUNT == 0 {
            return;
        }
        match failed {
            // (Two processors' counters may differ by a little.)
            None => {
                let ticks = self.clock.now().wrapping_sub(begun.at);
                self.cells.ran(if ticks > i64::MAX as u64 { 0 } else { self.clock.ns(ticks) });
            }
            Some(e) => self.failed(e),
        }
    }

    #[cold]
    fn failed(&self, e: &Error) {
        self.cells.failed(e.kind());
        let event =
            Event { model: self.model.meter.name.clone(), ..Event::new(Happened::RunFailed) };
        self.model.collector.record(event.failed(e));
    }

    /// A thread was sent away: another one was inside.
    #[cold]
    pub fn busy(&self) {
        self.cells.failed(Kind::Busy);
    }

    /// Whether its runs are profiled.
    pub fn set_profiled(&self, on: bool) {
        self.is_profiled.store(on, Relaxed);
    }

    /// What its runs came to.
    pub fn read(&self) -> Totals {
        let mut totals = Totals::default();
        self.cells.read(&mut totals);
        totals
    }

    /// What its model is called.
    pub fn model_name(&self) -> Arc<str> {
        self.model.meter.name.clone()
    }

    pub(super) fn collector(&self) -> &Collector {
        &self.model.collector
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }
}

impl Drop for SessionMeter {
    fn drop(&mut self) {
        let mut inside = self.model.meter.inside.lock();
        inside.sessions.retain(|cells| !Arc::ptr_eq(cells, &self.cells));
        self.cells.read(&mut inside.ended);
    }
}
