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
use super::gate::{locked, sleep};
use super::job::Note;
use super::policy::NEVER;
use super::punctual::Punctual;
use super::step::{Pace, Rest, Scratch, Step};
use super::telling::is_telling;
use crate::error::{self, Result};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Condvar, Mutex};

/// How long a worker looks for jobs before it sleeps: to be woken may take as long.
const AWAKE_NS: u64 = 50_000;
/// How long who waits for a job looks before it sleeps.
const LINGER_NS: u64 = 2_000;

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
            self.drive(until, Some(job), || cell.phase.is_answered());
            return Ok(cell.phase.is_answered());
        }
        let bell = &self.bells.0[cell.bell.load(Relaxed) as usize];
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

    /// Whether as many batches ran as may, and do not any more.
    fn has_room_again(&self, rest: &Rest) -> bool {
        rest.is_full && self.busy.load(Relaxed) < self.options.settings.concurrency
    }

    pub(super) fn has_workers(&self) -> bool {
        self.options.workers > 0
    }

    /// Sleeps until something is to be done, or `until`, unless `is_over`.
    fn sleep(&self, rest: &Rest, until: u64, job: Option<u32>, is_over: impl Fn() -> bool) {
        let Some(ns) = self.left(rest.until.min(until)) else { return };
        // (Who ended a batch meanwhile, and found nobody asleep, hands nothing over.)
        let is_awake =
            || is_over() || self.has_room_again(rest) || !self.inbox.arm(rest.rows, rest.is_closed);
        self.gate.sleep(job, ns, is_awake);
    }

    /// Works until `is_over`, when the job is answered if it is for one, or the time is.
    fn drive(&self, until: u64, job: Option<u32>, is_over: impl Fn() -> bool) {
        let mut scratch = self.scratch();
        let driver = job.map(|job| self.cells[job as usize].producer());
        let pace = Pace { is_hurried: false, within_ns: u64::MAX, driver };
        while !is_over() && self.left(until).is_some() {
            if let Step::Rest(rest) = self.step(&mut scratch, pace)
                && !self.linger(&rest, until, &is_over)
            {
                self.sleep(&rest, until, job, &is_over);
            }
        }
        self.leave(scratch);
    }

    /// Looks for a while, where that pays: another's batch may end about as soon as this
    /// thread would sleep. Whether there is something to do.
    fn linger(&self, rest: &Rest, until: u64, is_over: impl Fn() -> bool) -> bool {
        if !self.linger.pays() {
            return false;
        }
        let awake = self.now().saturating_add(LINGER_NS).min(rest.until).min(until);
        let found = self.look_out(rest, awake, is_over);
        self.linger.learn(found);
        found
    }

    fn scratch(&self) -> Scratch {
        self.scratch.lock().pop().unwrap_or_default()
    }

    /// A driver goes: others look after what is left. (Who is busy does so soon, or when it
    /// goes itself.)
    fn leave(&self, scratch: Scratch) {
        self.scratch.lock().push(scratch);
        let (waiting, are_small) = {
            let sched = self.sched.lock();
            (sched.policy.waiting(), sched.costs.are_small())
        };
        if are_small && self.is_busy() {
            return;
        }
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
        while let Step::Done =
            self.step(&mut scratch, Pace { is_hurried: true, within_ns, driver: None })
        {
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
        crate::host::wake_on_time();
        let mut scratch = Scratch::default();
        let mut punctual = Punctual::new(AWAKE_NS);
        let pace = Pace { is_hurried: false, within_ns: u64::MAX, driver: None };
        loop {
            if let Step::Rest(rest) = self.step(&mut scratch, pace) {
                if rest.is_over {
                    return self.gate.wake_all();
                }
                let early = match self.is_watchful {
                    true => punctual.early(rest.until),
                    false => rest.until,
                };
                let soon = self.now() + AWAKE_NS;
                let awake = if early <= soon { rest.until } else { soon };
                if !self.look_out(&rest, awake, || false) {
                    self.sleep(&rest, early, None, || false);
                    punctual.woke(early, self.now());
                }
            }
        }
    }

    /// Looks for jobs until then before it comes to sleep, with a pause between two looks.
    /// Whether there is something to do.
    fn look_out(&self, rest: &Rest, until: u64, is_over: impl Fn() -> bool) -> bool {
        loop {
            let is_closed = self.inbox.is_closed();
            if self.has_room_again(rest)
                || self.inbox.has(rest.rows)
                || is_closed != rest.is_closed
                || is_over()
            {
                return true;
            }
            let now = self.now();
            if now >= until || !self.is_watchful {
                return now >= rest.until;
            }
            std::hint::spin_loop();
        }
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
        self.drive(until, None, is_over);
        Ok(is_over())
    }
}

pub(super) fn inside(what: &str) -> error::Error {
    error::busy(format!("{what} from inside a callback of a queue: expected it from elsewhere"))
}
