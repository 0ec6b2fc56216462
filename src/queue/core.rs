//! A queue without its threads: jobs come in here, and whoever schedules works here.

#![allow(unsafe_code)]

use super::apart::Apart;
use super::breaker::{Breaker, Health};
use super::costs::Costs;
use super::engine::Engine;
use super::gate::Gate;
use super::inbox::{Closed, Inbox};
use super::job::{Cell, Content, Input, Note, Outcome, Request};
use super::linger::Linger;
use super::phase::Cancel;
use super::policy::{Arrival, NEVER, Policy, Settings};
use super::rest::Bells;
use super::shelves::Shelves;
use super::step::Scratch;
use crate::error::{self, Kind, Result};
use crate::host::Clock;
use crate::metrics::QueueMeter;
use crate::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::available_parallelism;

/// How a queue works.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Jobs that there may be: they wait, run, or have ended and are not freed.
    pub capacity: u32,
    /// Threads of the queue's own.
    pub workers: u32,
    /// Rows, delay, batches at once.
    pub settings: Settings,
    /// So many failures in a row open the breaker, 0 for never; how long it is open.
    pub breaker_failures: u32,
    /// See `breaker_failures`.
    pub breaker_open_ns: u64,
    /// How often a run that memory was short for is tried again, and after how long
    /// the first time; then after twice as long.
    pub retries: u32,
    /// See `retries`.
    pub retry_delay_ns: u64,
}

/// The most jobs that a queue may have.
pub const MOST_JOBS: u32 = 1 << 16;
/// The most rows of a batch.
pub const MOST_ROWS: u32 = 1 << 12;
/// The most threads.
pub const MOST_WORKERS: u32 = 64;
/// The most retries.
pub const MOST_RETRIES: u32 = 32;

/// Who names jobs to the host.
pub trait Door<N> {
    /// A job begins: it may be named from now on, and until it is released.
    fn open(&self, job: u32, note: &mut Option<N>);
    /// A job that was opened was refused after all: to be released.
    fn shut(&self, job: u32);
    /// A place is none any more, since the queue has ended.
    fn lost(&self, job: u32);
}

/// What is scheduled; under one lock, which nobody holds while a batch runs or
/// somebody is told.
pub(super) struct Sched {
    pub(super) policy: Policy,
    pub(super) breaker: Breaker,
    /// After the end of submissions: what waits still runs.
    pub(super) is_draining: bool,
    pub(super) costs: Costs,
}

/// See the module.
pub struct Core<E: Engine, N: Note> {
    pub(super) engine: E,
    pub(super) cells: Box<[Cell<E::Outputs, N>]>,
    pub(super) inbox: Apart<Inbox>,
    free: Shelves,
    pub(super) sched: Apart<Mutex<Sched>>,
    /// The breaker is not closed.
    pub(super) is_guarded: AtomicBool,
    /// Threads that run a batch, or answer.
    pub(super) busy: Apart<AtomicU32>,
    pub(super) gate: Apart<Gate>,
    pub(super) bells: Bells,
    pub(super) linger: Linger,
    pub(super) scratch: Mutex<Vec<Scratch>>,
    arrivals: Apart<AtomicU32>,
    /// There is another processor to wait for: to look is worth more than to sleep.
    pub(super) is_watchful: bool,
    /// Whose workers they are: a child after `fork` has none.
    pub(super) process: u32,
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) meter: QueueMeter,
}

impl<E: Engine, N: Note> Core<E, N> {
    /// A queue that nobody drives yet.
    pub fn new(engine: E, options: Options, meter: QueueMeter) -> Result<Self> {
        let refused = |what: &str, value: u64, most: u64| {
            error::invalid_argument(format!("{what} is {value}: expected 1 to {most}"))
        };
        let Options { capacity, workers, settings, .. } = options;
        for (what, value, most) in [
            ("capacity", capacity, MOST_JOBS),
            ("max_batch", settings.max_rows, MOST_ROWS),
            ("workers", workers.max(1), MOST_WORKERS),
            ("concurrency", settings.concurrency, MOST_WORKERS),
            ("retries", options.retries.max(1), MOST_RETRIES),
        ] {
            if !(1..=most).contains(&value) {
                return Err(refused(what, value.into(), most.into()));
            }
        }
        let cells: Box<[_]> = (0..capacity).map(|_| Cell::new(engine.inputs())).collect();
        Ok(Core {
            engine,
            free: Shelves::all(&cells),
            cells,
            inbox: Apart::new(Inbox::new()),
            sched: Apart::new(Mutex::new(Sched {
                policy: Policy::new(settings, capacity as usize),
                breaker: Breaker::new(options.breaker_failures, options.breaker_open_ns),
                is_draining: false,
                costs: Costs::default(),
            })),
            is_guarded: AtomicBool::new(false),
            busy: Apart::new(AtomicU32::new(0)),
            gate: Apart::new(Gate::default()),
            bells: Bells::default(),
            linger: Linger::default(),
            scratch: Mutex::default(),
            arrivals: Apart::new(AtomicU32::new(0)),
            is_watchful: available_parallelism().is_ok_and(|processors| processors.get() > 1),
            process: std::process::id(),
            options,
            clock: meter.clock(),
            meter,
        })
    }

    /// Nanoseconds since some moment.
    pub(super) fn now(&self) -> u64 {
        self.clock.ns(self.clock.now())
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What it runs with.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// What it counted.
    pub fn meter(&self) -> &QueueMeter {
        &self.meter
    }

    /// How its breaker stands.
    pub fn health(&self) -> Health {
        self.sched.lock().breaker.health()
    }

    /// Puts a job in; `fill` gives its inputs. Takes no lock that is held while a batch
    /// runs, and makes no system call unless somebody has to be woken.
    pub fn submit(
        &self,
        request: Request<N>,
        fill: impl FnOnce(&mut [Input]) -> Result<()>,
        door: &impl Door<N>,
    ) -> Result<u32> {
        let index = self
            .place(request.producer, door)
            .inspect_err(|e| self.meter.ended(Some(e.kind()), 1))?;
        let cell = &self.cells[index as usize];
        let begun = |content: &mut Content<N>| {
            fill(&mut content.inputs)?;
            let arrival = self.arrival(&content.inputs, &request)?;
            cell.phase.open();
            let is_plain = request.note.is_none() && !content.inputs.iter().any(Input::is_lent);
            content.note = request.note;
            door.open(index, &mut content.note);
            Ok((arrival, is_plain))
        };
        // SAFETY: `phase` 5: taken from the free places, and not pushed yet.
        let (arrival, is_plain) = match unsafe { cell.content.change(begun) } {
            Ok(begun) => begun,
            Err(e) => {
                self.give_up(index, door);
                return Err(e);
            }
        };
        cell.set_arrival(&arrival, is_plain);
        if self.has_workers() {
            let number = self.arrivals.fetch_add(1, Relaxed);
            cell.bell.store(self.bells.of(number, self.options.settings.max_rows), Relaxed);
        }
        let is_urgent = arrival.deadline != NEVER;
        match self.inbox.push(&self.cells, index, arrival.rows, is_urgent) {
            Ok(wakes) => {
                if wakes {
                    self.gate.wake_one();
                }
                Ok(index)
            }
            Err(Closed) => {
                // SAFETY: `phase` 5: the push was refused, so nobody else has seen it.
                unsafe { cell.content.change(|content| content.note = None) };
                cell.phase.answer(false);
                door.shut(index);
                self.meter.ended(Some(Kind::Unavailable), 1);
                Err(shut_down())
            }
        }
    }

    /// A place for a job, which the breaker admits.
    fn place(&self, producer: u64, door: &impl Door<N>) -> Result<u32> {
        let Ok(place) = self.free.take(&self.cells, producer) else {
            return Err(shut_down());
        };
        let index = place.ok_or_else(|| {
            error::queue_full(format!(
                "the queue holds {} jobs, as many as it may: expected that some are answered and freed first",
                self.options.capacity
            ))
        })?;
        if self.is_guarded.load(Relaxed) {
            let now = self.now();
            let mut sched = self.sched.lock();
            let is_admitted = sched.breaker.admit(index, now);
            self.meter.set_health(sched.breaker.health() as u64);
            drop(sched);
            if !is_admitted {
                self.give_up(index, door);
                return Err(error::unavailable(format!(
                    "{} runs in a row failed: the queue takes no jobs for {} ns after that",
                    self.options.breaker_failures, self.options.breaker_open_ns
                )));
            }
        }
        Ok(index)
    }

    fn arrival(&self, inputs: &[Input], request: &Request<N>) -> Result<Arrival> {
        let fit = self.engine.fit(inputs)?;
        let most = self.options.settings.max_rows;
        if fit.rows > most {
            return Err(error::invalid_argument(format!(
                "the job has {} rows: expected at most {most}, a batch of this queue",
                fit.rows
            )));
        }
        let at = self.now();
        let deadline = match request.timeout_ns {
            0 => NEVER,
            ns => at.saturating_add(ns).min(NEVER - 1),
        };
        let (producer, level) = (request.producer, request.level);
        Ok(Arrival { producer, level, at, deadline, rows: fit.rows, key: fit.key })
    }

    /// A place that no job came to.
    fn give_up(&self, index: u32, door: &impl Door<N>) {
        if self.is_guarded.load(Relaxed) {
            let now = self.now();
            self.sched.lock().breaker.dropped(index, now);
        }
        if !self.recycle(index) {
            door.lost(index);
        }
    }

    /// Asks that a job that waits does not run. Fails when it runs already.
    pub fn cancel(&self, job: u32) -> Result<()> {
        match self.cells[job as usize].phase.cancel() {
            Cancel::Over => {}
            Cancel::Asked => self.nudge(),
            Cancel::Running => {
                return Err(error::busy("the job runs already: it is answered when it has run"));
            }
        }
        Ok(())
    }

    fn nudge(&self) {
        if self.inbox.nudge() {
            self.gate.wake_one();
        }
    }

    /// The host lets go of a job, which then does not run if it waits. False when its
    /// place is none any more: the queue has ended.
    pub fn release(&self, job: u32) -> bool {
        let phase = &self.cells[job as usize].phase;
        if phase.cancel() == Cancel::Asked {
            self.nudge();
        }
        !phase.release() || self.recycle(job)
    }

    /// A place is free again: of a job that is answered and not held any more, or of none.
    /// False when the queue has ended.
    pub(super) fn recycle(&self, job: u32) -> bool {
        let cell = &self.cells[job as usize];
        // SAFETY: `phase` 3 and 5: the caller alone recycles it.
        unsafe { cell.outcome.change(|outcome| *outcome = None) };
        self.free.give(&self.cells, job, cell.producer()).is_ok()
    }

    /// Ends the places that are free: each of the others ends with its release.
    pub fn retire(&self, each: impl FnMut(u32)) {
        self.free.close(&self.cells, each);
    }

    /// Whether a job is answered.
    pub fn is_answered(&self, job: u32) -> bool {
        self.cells[job as usize].phase.is_answered()
    }

    /// Whether a job ended well, when its outcome is there.
    pub fn verdict(&self, job: u32) -> Result<()> {
        if self.cells[job as usize].phase.is_good() {
            return Ok(());
        }
        self.outcome(job, |outcome| match outcome {
            Ok(_) => Ok(()),
            Err(e) => Err(e.clone()),
        })
    }

    /// How a job ended, when its outcome is there. The caller holds the job.
    pub fn outcome<T>(
        &self,
        job: u32,
        look: impl FnOnce(&Result<E::Outputs>) -> Result<T>,
    ) -> Result<T> {
        let cell = &self.cells[job as usize];
        if !cell.phase.is_settled() {
            return Err(error::not_ready("the job is not answered yet: wait for it"));
        }
        let look = |outcome: &Outcome<_>| match outcome {
            Some(outcome) => look(outcome),
            None => Err(error::internal("a job without an outcome")),
        };
        // SAFETY: `phase` 5: settled, and held by the caller.
        unsafe { cell.outcome.read(look) }
    }
}

fn shut_down() -> error::Error {
    error::unavailable("the queue was shut down: it takes no jobs")
}
