//! One look at what is to be done, and doing it: a batch, and the answers.

#![allow(unsafe_code)]

use super::breaker::Health;
use super::core::{Core, Sched};
use super::engine::{Engine, Put};
use super::inbox::Taken;
use super::job::{Content, Input, Note, Outcome};
use super::policy::{NEVER, Next};
use super::telling;
use crate::error::{self, Error, Kind, Result};
use crate::kernels::FloatMode;
use crate::panics;
use crate::pool::Scope;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// What a thread that drives keeps from step to step.
#[derive(Default)]
pub(super) struct Scratch {
    batch: Vec<u32>,
    /// Jobs that end without a run, and how.
    gone: Vec<(u32, Kind)>,
    /// Jobs that are tried again.
    again: Vec<u32>,
    /// How jobs of the batch ended: so many with outputs, and the others.
    failed: Vec<(u32, bool)>,
    /// After a batch was taken while another could run: jobs that wait, and whether it
    /// is closed.
    handed: Option<(usize, bool)>,
    /// Jobs that gave outputs.
    good: u64,
    bells: u64,
}

/// What came of a step.
pub(super) enum Step {
    /// Something was done.
    Done,
    /// There was nothing to do: when to look again.
    Rest(Rest),
    /// What is to be done does not fit into the time that is left.
    Spent,
}

/// When to look again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    /// At this time,
    pub(super) until: u64,
    /// or when so many rows more are there.
    pub(super) rows: u32,
    pub(super) is_closed: bool,
    /// As many batches run as may: or when one has ended.
    pub(super) is_full: bool,
    /// Nothing waits, and nothing comes any more.
    pub(super) is_over: bool,
}

/// How a driver is bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Nobody waits for company.
    pub(super) is_hurried: bool,
    /// A batch that is expected to take longer does not begin.
    pub(super) within_ns: u64,
    /// The producer that drives, since it waits for a job of its own.
    pub(super) driver: Option<u64>,
}

/// Runs that fail for want of memory may go well later.
fn is_passing(e: &Error) -> bool {
    matches!(e.kind(), Kind::OutOfMemory | Kind::OutOfBudget)
}

impl<E: Engine, N: Note> Core<E, N> {
    /// Looks once, and does what is to be done.
    pub(super) fn step(&self, scratch: &mut Scratch, pace: Pace) -> Step {
        let (step, rows) = self.look(scratch, pace);
        if let Step::Done = step {
            if let Some((waiting, is_closed)) = scratch.handed.take() {
                self.gate.hand_over(&self.inbox, waiting, is_closed);
            }
            if rows > 0 {
                self.run(scratch);
            }
            for (job, kind) in std::mem::take(&mut scratch.gone) {
                self.drop_job(scratch, job, kind);
            }
            if scratch.good > 0 {
                self.meter.ended(None, std::mem::take(&mut scratch.good));
            }
            self.bells.ring(std::mem::take(&mut scratch.bells));
            self.busy.fetch_sub(1, Release);
            match self.inbox.is_closed() {
                // (Those who wait for the end, too.)
                true => self.gate.wake_all(),
                false => self.gate.wake_answered(|job| self.is_answered(job)),
            }
        }
        step
    }

    /// Takes what is to be done; a batch of so many rows.
    fn look(&self, scratch: &mut Scratch, pace: Pace) -> (Step, u32) {
        let mut sched = self.sched.lock();
        let sched = &mut *sched;
        let taken = self.inbox.take(&self.cells, |job| {
            sched.policy.add(job, self.cells[job as usize].arrival());
        });
        let ticks = self.clock.now();
        let now = self.clock.ns(ticks);
        self.sort_out(sched, scratch, &taken, now);
        let is_hurried = pace.is_hurried || taken.is_closed;
        let own = pace.driver.and_then(|producer| sched.policy.own(producer));
        let own = own.filter(|own| sched.costs.is_small(own.rows));
        let rows = match own {
            Some(own) => sched.costs.joined(own.rows, sched.policy.rows()),
            None => sched.costs.worth(sched.policy.rows()),
        };
        let expected = sched.costs.ns(rows);
        let next = match sched.policy.next(now, is_hurried, expected) {
            Next::Run if expected > pace.within_ns => Step::Spent,
            Next::Run => {
                let rows = sched.policy.take(rows, own, |job| scratch.batch.push(job));
                self.count(sched, scratch, rows, (ticks, now));
                self.busy.fetch_add(1, Relaxed);
                // (Who drives for a job of its own looks again sooner than others come.)
                let is_soon = pace.driver.is_some() && sched.costs.is_small(rows);
                if sched.policy.running() < self.options.settings.concurrency && !is_soon {
                    scratch.handed = Some((sched.policy.waiting(), taken.is_closed));
                }
                return (Step::Done, rows);
            }
            Next::Wait(until, rows) => Step::Rest(self.rest(sched, until, rows, &taken)),
            Next::Idle => {
                let is_full = sched.policy.running() >= self.options.settings.concurrency;
                let rest = self.rest(sched, NEVER, if is_full { u32::MAX } else { 1 }, &taken);
                Step::Rest(Rest { is_full, ..rest })
            }
        };
        if scratch.gone.is_empty() {
            return (next, 0);
        }
        self.busy.fetch_add(1, Relaxed);
        (Step::Done, 0)
    }

    fn rest(&self, sched: &Sched, until: u64, rows: u32, taken: &Taken) -> Rest {
        let waiting = sched.policy.waiting();
        self.meter.set_waiting(waiting);
        let is_closed = taken.is_closed;
        let is_over = is_closed && waiting == 0;
        Rest { until, rows, is_closed, is_full: false, is_over }
    }

    /// Takes out what ends without a run.
    fn sort_out(&self, sched: &mut Sched, scratch: &mut Scratch, taken: &Taken, now: u64) {
        let gone = &mut scratch.gone;
        if taken.is_nudged {
            let is_cancelled = |job: u32| self.cells[job as usize].phase.is_cancelled();
            sched.policy.drop_where(is_cancelled, |job| gone.push((job, Kind::Cancelled)));
        }
        if taken.is_closed && !sched.is_draining {
            sched.policy.drop_where(|_| true, |job| gone.push((job, Kind::Cancelled)));
        }
        if sched.breaker.health() == Health::Open {
            sched.policy.drop_where(|_| true, |job| gone.push((job, Kind::Unavailable)));
        }
        sched.policy.expire(now, |job| gone.push((job, Kind::DeadlineExceeded)));
    }

    fn count(&self, sched: &Sched, scratch: &Scratch, rows: u32, (ticks, now): (u64, u64)) {
        self.meter.took(rows, sched.policy.waiting());
        let is_traced = self.meter.is_traced();
        for job in &scratch.batch {
            let waited = now.saturating_sub(sched.policy.arrived(*job));
            self.meter.waited(waited);
            if is_traced {
                self.meter.trace(ticks.saturating_sub(self.clock.ticks(waited)), ticks);
            }
        }
    }

    /// Runs the batch of `scratch`, and answers its jobs.
    fn run(&self, scratch: &mut Scratch) {
        let mut batch = std::mem::take(&mut scratch.batch);
        batch.retain(|job| {
            let begins = self.cells[*job as usize].phase.begin();
            if !begins {
                scratch.gone.push((*job, Kind::Cancelled));
            }
            begins
        });
        let begun = self.now();
        let rows = batch.iter().map(|job| self.rows(*job)).sum();
        let together = if batch.is_empty() { Ok(()) } else { self.together(scratch, &batch, rows) };
        let took = self.now().saturating_sub(begun);
        match &together {
            Ok(()) => {}
            // One of them, who must not fail the others.
            Err(e) if batch.len() > 1 && !is_passing(e) => {
                for job in &batch {
                    let alone = self.together(scratch, &[*job], self.rows(*job));
                    alone.unwrap_or_else(|e| self.failed(scratch, *job, e));
                }
            }
            Err(e) => batch.iter().for_each(|job| self.failed(scratch, *job, e.clone())),
        }
        // (Once they wait again, another thread may have them.)
        batch.retain(|job| !scratch.again.contains(job));
        self.close_books(scratch, rows, took);
        for job in &batch {
            match together.is_ok() && self.cells[*job as usize].is_plain() {
                true => {
                    scratch.good += 1;
                    self.finish_job(scratch, *job, true);
                }
                false => self.answer(scratch, *job),
            }
        }
        batch.clear();
        scratch.batch = batch;
    }

    fn rows(&self, job: u32) -> u32 {
        self.cells[job as usize].arrival().rows
    }

    /// Runs jobs as one batch. Their outcomes are there when it goes well.
    fn together(&self, scratch: &mut Scratch, jobs: &[u32], rows: u32) -> Result<()> {
        let _mode = FloatMode::standard();
        let scope = Scope::open(u64::MAX);
        let ran = panics::caught(|| self.in_a_lane(jobs, rows));
        match (ran, scope.settle()) {
            (Ok(Ok(())), _) => {}
            (Ok(Err(e)), Err(short))
                if (e.kind(), short.kind()) == (Kind::OutOfMemory, Kind::OutOfBudget) =>
            {
                return Err(short);
            }
            (Ok(Err(e)), _) | (Err(_), Err(e)) => return Err(e),
            (Err(panic), Ok(())) => {
                return Err(error::internal(format!("caught a panic: {panic}")));
            }
        }
        scratch.failed.extend(jobs.iter().map(|job| (*job, false)));
        Ok(())
    }

    fn in_a_lane(&self, jobs: &[u32], rows: u32) -> Result<()> {
        let mut lane = self.content(jobs[0], |first| self.engine.lane(&first.inputs, rows))?;
        let mut all = jobs.iter();
        let put = &mut |put: Put<'_>| {
            all.try_for_each(|job| self.content(*job, |content| put(&content.inputs)))
        };
        self.engine.fill(&mut lane, put)?;
        self.engine.run(&mut lane)?;
        let mut row = 0;
        for job in jobs {
            let rows = self.rows(*job);
            let outputs = self.engine.outputs(&lane, row, rows);
            self.outcome_of(*job, |outcome| *outcome = Some(Ok(outputs)));
            row += rows;
        }
        Ok(())
    }

    /// Works with a job that this thread took out of the policy, and has not answered.
    fn content<R>(&self, job: u32, work: impl FnOnce(&mut Content<N>) -> R) -> R {
        // SAFETY: `phase` 1 and 5: who schedules has it alone until it is settled.
        unsafe { self.cells[job as usize].content.change(work) }
    }

    /// Works with what came of such a job.
    fn outcome_of<R>(&self, job: u32, work: impl FnOnce(&mut Outcome<E::Outputs>) -> R) -> R {
        // SAFETY: as above.
        unsafe { self.cells[job as usize].outcome.change(work) }
    }

    /// A job's run failed: it is tried again, or that is its outcome.
    fn failed(&self, scratch: &mut Scratch, job: u32, e: Error) {
        let cell = &self.cells[job as usize];
        if is_passing(&e) && cell.tries() < self.options.retries {
            cell.try_again();
            self.meter.retried();
            scratch.again.push(job);
            return;
        }
        self.outcome_of(job, |outcome| *outcome = Some(Err(e)));
        scratch.failed.push((job, true));
    }

    /// The batch has ended: what others schedule by is set right.
    fn close_books(&self, scratch: &mut Scratch, rows: u32, took_ns: u64) {
        let mut sched = self.sched.lock();
        let sched = &mut *sched;
        let now = self.now();
        sched.policy.ended();
        if rows > 0 {
            sched.costs.note(rows, took_ns);
        }
        for (job, is_failure) in scratch.failed.drain(..) {
            match is_failure {
                false => sched.breaker.succeeded(job),
                true => _ = sched.breaker.failed(job, now),
            }
        }
        let health = sched.breaker.health();
        self.is_guarded.store(health != Health::Closed, Relaxed);
        self.meter.set_health(health as u64);
        for job in scratch.again.drain(..) {
            let cell = &self.cells[job as usize];
            cell.phase.again();
            let wait = self.options.retry_delay_ns << (cell.tries() - 1).min(20);
            sched.policy.add_again(job, cell.arrival(), now.saturating_add(wait));
        }
    }

    /// A job ends without a run.
    fn drop_job(&self, scratch: &mut Scratch, job: u32, kind: Kind) {
        if self.is_guarded.load(Relaxed) {
            let now = self.now();
            self.sched.lock().breaker.dropped(job, now);
        }
        let why = match kind {
            Kind::Cancelled => error::cancelled("the job was cancelled before it ran"),
            Kind::DeadlineExceeded => {
                error::deadline_exceeded("the job's time was over before its turn came")
            }
            _ => error::unavailable("runs before this one failed: the queue's breaker is open"),
        };
        self.outcome_of(job, |outcome| *outcome = Some(Err(why)));
        self.answer(scratch, job);
    }

    /// Answers a job whose outcome is there.
    fn answer(&self, scratch: &mut Scratch, job: u32) {
        let cell = &self.cells[job as usize];
        let note = self.content(job, |Content { inputs, note }| {
            inputs.iter_mut().for_each(Input::let_go);
            note.take()
        });
        let failed = self.outcome_of(job, |outcome| {
            let failed = outcome.as_ref().and_then(|outcome| outcome.as_ref().err());
            failed.map(Error::kind)
        });
        match failed {
            None => scratch.good += 1,
            failed => self.meter.ended(failed, 1),
        }
        if let Some(note) = note {
            cell.phase.settle();
            telling::tell(|| note.tell(failed));
        }
        self.finish_job(scratch, job, failed.is_none());
    }

    /// Whoever is to be told of a job's end was.
    fn finish_job(&self, scratch: &mut Scratch, job: u32, is_good: bool) {
        let cell = &self.cells[job as usize];
        let bell = cell.bell.load(Relaxed);
        let answered = cell.phase.answer(is_good);
        if answered.is_watched {
            scratch.bells |= 1 << bell;
        }
        if answered.is_free {
            self.recycle(job);
        }
    }
}
