//! Sleeping and waking: those who drive a queue at its gate, those who wait for a job
//! at a bell.
//!
//! A driver sleeps after it armed the inbox, which tells who has to wake it. A waiter
//! has set WATCHED in the job's phase, under the lock of its bell; who answers the job
//! sees that, and rings. Jobs that came one after the other have the same bell, so that
//! the answers of a batch are one or two wakes, whoever waits for them.
//!
//! Locks are taken in the order gate, then what is scheduled.

use super::core::Core;
use super::engine::Engine;
use super::inbox::Inbox;
use super::job::Note;
use super::policy::NEVER;
use super::step::{Pace, Rest, Scratch, Step};
use super::telling::is_telling;
use crate::error::{self, Result};
use std::sync::atomic::Ordering::Acquire;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker looks for jobs before it sleeps: to be woken may take as long.
const AWAKE: Duration = Duration::from_micros(50);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sleeps until woken, or for so long.
fn sleep<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, ns: Option<u64>) -> MutexGuard<'a, T> {
    match ns {
        None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(ns) => {
            let woken = condvar.wait_timeout(guard, Duration::from_nanos(ns));
            woken.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

/// Where drivers sleep; how many do.
#[derive(Default)]
pub(super) struct Gate {
    sleepers: Mutex<u32>,
    opened: Condvar,
}

impl Gate {
    pub(super) fn wake_one(&self) {
        if *locked(&self.sleepers) > 0 {
            self.opened.notify_one();
        }
    }

    pub(super) fn wake_all(&self) {
        if *locked(&self.sleepers) > 0 {
            self.opened.notify_all();
        }
    }

    /// The caller looks after the queue no more for a while, in which so many jobs
    /// wait: a sleeper does, now or when one comes.
    pub(super) fn hand_over(&self, inbox: &Inbox, waiting: usize, is_closed: bool) {
        let sleepers = locked(&self.sleepers);
        if *sleepers > 0 && (waiting > 0 || !inbox.arm(1, is_closed)) {
            drop(sleepers);
            self.opened.notify_one();
        }
    }
}

/// Where those sleep who wait for a job.
#[derive(Default)]
pub(super) struct Bells([Bell; BELLS as usize]);

#[derive(Default)]
struct Bell {
    rope: Mutex<()>,
    rung: Condvar,
    /// Others' lines are elsewhere.
    _apart: [u64; 16],
}

const BELLS: u32 = 16;

impl Bells {
    /// The bell of the how manieth job.
    pub(super) fn of(&self, number: u32, batch: u32) -> u32 {
        number / batch % BELLS
    }

    /// Wakes all who sleep at the bells of these bits.
    pub(super) fn ring(&self, mut which: u64) {
        while which != 0 {
            let bell = &self.0[which.trailing_zeros() as usize];
            drop(locked(&bell.rope));
            bell.rung.notify_all();
            which &= which - 1;
        }
    }
}

impl<E: Engine, N: Note> Core<E, N> {
    /// Waits until a job is answered; false when that takes longer than `timeout_ns`.
    /// On a queue without workers the caller runs what is due meanwhile.
    pub fn wait(&self, job: u32, timeout_ns: u64) -> Result<bool> {
        let cell = &self.cells[job as usize];
        if cell.phase.is_answered() {
            return Ok(true);
        }
        if is_telling() {
            // (Inside its own callback.)
            return match cell.phase.is_settled() {
                true => Ok(true),
                false if timeout_ns == 0 => Ok(false),
                false => Err(inside("waiting for a job")),
            };
        }
        if timeout_ns == 0 {
            return Ok(false);
        }
        let until =
            if timeout_ns == u64::MAX { NEVER } else { self.now().saturating_add(timeout_ns) };
        if !self.has_workers() || self.process != std::process::id() {
            self.drive(until, || cell.phase.watch());
            return Ok(cell.phase.is_answered());
        }
        let bell = &self.bells.0[cell.bell.load(std::sync::atomic::Ordering::Relaxed) as usize];
        let mut rope = locked(&bell.rope);
        while !cell.phase.watch() {
            let Some(left) = self.left(until) else { return Ok(false) };
            rope = sleep(&bell.rung, rope, left);
        }
        Ok(true)
    }

    /// Nanoseconds until then, none of them for [`NEVER`]; nothing when it is past.
    fn left(&self, until: u64) -> Option<Option<u64>> {
        if until == NEVER {
            return Some(None);
        }
        until.checked_sub(self.now()).filter(|ns| *ns > 0).map(Some)
    }

    /// Whether a thread runs a batch, or answers.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Acquire) > 0
    }

    pub(super) fn has_workers(&self) -> bool {
        self.options.workers > 0
    }

    /// Sleeps until something is to be done, or `until`, unless `is_over`.
    fn sleep(&self, rest: &Rest, until: u64, is_over: impl Fn() -> bool) {
        let Some(ns) = self.left(rest.until.min(until)) else { return };
        let mut sleepers = locked(&self.gate.sleepers);
        if is_over() || !self.inbox.arm(rest.rows, rest.is_closed) {
            return;
        }
        *sleepers += 1;
        sleepers = sleep(&self.gate.opened, sleepers, ns);
        *sleepers -= 1;
    }

    /// Works until `is_over`, or the time is.
    fn drive(&self, until: u64, is_over: impl Fn() -> bool) {
        let mut scratch = self.scratch();
        let pace = Pace { is_hurried: false, within_ns: u64::MAX };
        while !is_over() && self.left(until).is_some() {
            if let Step::Rest(rest) = self.step(&mut scratch, pace) {
                self.sleep(&rest, until, &is_over);
            }
        }
        self.leave(scratch);
    }

    fn scratch(&self) -> Scratch {
        self.scratch.lock().pop().unwrap_or_default()
    }

    /// A driver goes: others look after what is left.
    fn leave(&self, scratch: Scratch) {
        self.scratch.lock().push(scratch);
        let waiting = self.sched.lock().policy.waiting();
        self.gate.hand_over(&self.inbox, waiting, self.inbox.is_closed());
    }

    /// Runs what waits, company or not, on this thread, as long as it is expected to fit
    /// into `budget_ns`; the first batch runs in any case. 0 is no bound. Says how many
    /// batches ran or jobs ended without one.
    pub fn pump(&self, budget_ns: u64) -> Result<u64> {
        if is_telling() {
            return Err(inside("pumping"));
        }
        let begun = self.now();
        let mut scratch = self.scratch();
        let (mut within_ns, mut steps) = (u64::MAX, 0);
        while let Step::Done = self.step(&mut scratch, Pace { is_hurried: true, within_ns }) {
            steps += 1;
            if budget_ns > 0 {
                match budget_ns.checked_sub(self.now().saturating_sub(begun)) {
                    None | Some(0) => break,
                    Some(left) => within_ns = left,
                }
            }
        }
        self.leave(scratch);
        Ok(steps)
    }

    /// What a worker does until the queue has ended.
    pub(super) fn work(&self) {
        let mut scratch = Scratch::default();
        let pace = Pace { is_hurried: false, within_ns: u64::MAX };
        loop {
            if let Step::Rest(rest) = self.step(&mut scratch, pace) {
                if rest.is_over {
                    return self.gate.wake_all();
                }
                if !self.look_out(&rest) {
                    // (Woken late by a timer, it would be late for the batch.)
                    let early = match rest.until {
                        NEVER => NEVER,
                        until => until.saturating_sub(AWAKE.as_nanos() as u64),
                    };
                    self.sleep(&rest, early, || false);
                }
            }
        }
    }

    /// Looks for jobs before it comes to sleep, and lets others run meanwhile.
    fn look_out(&self, rest: &Rest) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < AWAKE {
            if self.inbox.has(rest.rows) || self.inbox.is_closed() != rest.is_closed {
                return true;
            }
            if rest.until != NEVER && self.left(rest.until).is_none() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    /// Ends submissions. What waits then runs, when it drains, or is cancelled. May be
    /// called again, to cancel what drains.
    pub fn close(&self, is_draining: bool) {
        self.sched.lock().is_draining = is_draining;
        self.inbox.close();
        self.inbox.nudge();
        self.gate.wake_all();
    }

    /// Waits until every job of a closed queue is answered. False when that takes
    /// longer than `timeout_ns`.
    pub fn finish(&self, timeout_ns: u64) -> Result<bool> {
        if is_telling() {
            return Err(inside("waiting for the end of a queue"));
        }
        let until =
            if timeout_ns == u64::MAX { NEVER } else { self.now().saturating_add(timeout_ns) };
        let is_over = || {
            let waiting = self.sched.lock().policy.waiting();
            waiting == 0 && !self.inbox.has(1) && !self.is_busy()
        };
        self.drive(until, is_over);
        Ok(is_over())
    }
}

pub(super) fn inside(what: &str) -> error::Error {
    error::busy(format!("{what} from inside a callback of a queue: expected it from elsewhere"))
}
