//! A helper's place: where it is offered a job, and where it sleeps.
//!
//! 1. `job` is null while the helper is free, [`ASLEEP`] while it sleeps, and else
//!    a job: as it is while that is offered, with [`STARTED`] from when the helper
//!    took it on, with [`AWAITED`] besides when the caller sleeps until it has
//!    ended. Every change is one compare-and-swap, or the helper's swap to null.
//! 2. A caller offers to who is free or sleeps (release). The helper takes on what
//!    is offered (acquire): it then sees the whole job.
//! 3. Before a job goes, its caller withdraws it: an offer that nobody took on is
//!    null again, and who took it on has ended with it, which is the swap to null
//!    (release, acquire). A helper does not touch a job after that.
//! 4. Who sleeps said so in `job` while it held the lock; who changes that takes
//!    the lock before it wakes the other. So no wake comes too early.
//!
//! The loom tests in `tests/loom` run these paths against each other.

use crate::sync::{AtomicPtr, AtomicUsize, Condvar, Gate, Ordering};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::PoisonError;

/// Parts of a call, to be done by whoever comes first.
#[repr(align(8))]
pub(crate) struct Job<'a> {
    next: AtomicUsize,
    parts: usize,
    /// Who came so far.
    workers: AtomicUsize,
    /// Does a part: the worker's number, and the part's. It does not panic.
    work: &'a (dyn Fn(usize, usize) + Sync),
}

impl<'a> Job<'a> {
    pub(crate) fn new(parts: usize, work: &'a (dyn Fn(usize, usize) + Sync)) -> Job<'a> {
        Job { next: AtomicUsize::new(0), parts, workers: AtomicUsize::new(0), work }
    }

    /// Does parts until all are taken. No two workers have the same number.
    pub(crate) fn work(&self) {
        let worker = self.workers.fetch_add(1, Ordering::Relaxed);
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= self.parts {
                return;
            }
            (self.work)(worker, part);
        }
    }

    /// As an offer: who makes it withdraws it while the job is there.
    pub(crate) fn offer(&self) -> Offer {
        Offer((&raw const *self).cast::<Job<'static>>().cast_mut())
    }
}

/// A job without its lifetime.
#[derive(Clone, Copy)]
pub(crate) struct Offer(*mut Job<'static>);

const STARTED: usize = 1;
const AWAITED: usize = 2;
const ASLEEP: *mut Job<'static> = without_provenance_mut(1);

fn started(job: *mut Job<'static>) -> *mut Job<'static> {
    job.map_addr(|at| at | STARTED)
}

fn awaited(job: *mut Job<'static>) -> *mut Job<'static> {
    job.map_addr(|at| at | STARTED | AWAITED)
}

/// How often a worker looks before it sleeps: a few microseconds.
const LOOKS: usize = if cfg!(loom) { 0 } else { 100 };

/// A helper's place.
pub(crate) struct Place {
    job: AtomicPtr<Job<'static>>,
    /// Whether the helper is to end.
    ends: Gate<bool>,
    changed: Condvar,
}

impl Place {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Place {
        Place {
            job: AtomicPtr::new(null_mut()),
            ends: Gate::new(false),
            changed: Condvar::new(),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Place {
        Place {
            job: AtomicPtr::new(null_mut()),
            ends: Gate::new(false),
            changed: Condvar::new(),
        }
    }

    /// Offers a job to the helper; false when it has one.
    pub(crate) fn offer(&self, offer: Offer) -> bool {
        let mut seen = self.job.load(Ordering::Relaxed);
        loop {
            if !seen.is_null() && seen != ASLEEP {
                return false;
            }
            let swap =
                self.job.compare_exchange(seen, offer.0, Ordering::Release, Ordering::Relaxed);
            match swap {
                Ok(_) if seen == ASLEEP => {
                    self.wake();
                    return true;
                }
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Takes an offer back, or waits until the helper has ended with it.
    pub(crate) fn withdraw(&self, offer: Offer) {
        let Offer(job) = offer;
        let swap = |from, to| {
            self.job.compare_exchange(from, to, Ordering::Acquire, Ordering::Acquire).is_ok()
        };
        if swap(job, null_mut()) {
            return;
        }
        for _ in 0..LOOKS {
            if self.job.load(Ordering::Acquire) != started(job) {
                return;
            }
            std::hint::spin_loop();
        }
        let mut gate = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if swap(started(job), awaited(job)) {
            while self.job.load(Ordering::Acquire) == awaited(job) {
                gate = self.changed.wait(gate).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Takes on an offer, if one is there.
    fn taken(&self) -> Option<Offer> {
        let job = self.job.load(Ordering::Relaxed);
        if job.is_null() || job == ASLEEP {
            return None;
        }
        let to = started(job);
        let swap = self.job.compare_exchange(job, to, Ordering::Acquire, Ordering::Relaxed);
        swap.is_ok().then_some(Offer(job))
    }

    /// The helper's next job: it sleeps until one is offered. None when it is to end.
    fn next(&self) -> Option<Offer> {
        loop {
            for _ in 0..LOOKS {
                if let Some(offer) = self.taken() {
                    return Some(offer);
                }
                std::hint::spin_loop();
            }
            let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            if *ends {
                return None;
            }
            let (free, order) = (null_mut(), Ordering::Relaxed);
            if self.job.compare_exchange(free, ASLEEP, order, order).is_ok() {
                while self.job.load(order) == ASLEEP && !*ends {
                    ends = self.changed.wait(ends).unwrap_or_else(PoisonError::into_inner);
                }
                let _ = self.job.compare_exchange(ASLEEP, free, order, order);
            }
            drop(ends);
            if let Some(offer) = self.taken() {
                return Some(offer);
            }
        }
    }

    /// What the helper does: one job after the other, until it is to end.
    pub(crate) fn help(&self) {
        while let Some(Offer(job)) = self.next() {
            // SAFETY: it was taken on, and its caller waits in `withdraw` until the
            // swap below.
            unsafe { &*job }.work();
            let before = self.job.swap(null_mut(), Ordering::AcqRel);
            if before == awaited(job) {
                self.wake();
            }
        }
    }

    /// Wakes whoever sleeps here.
    fn wake(&self) {
        drop(self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Whether the helper is to end when it has no job.
    pub(crate) fn end(&self, ends: bool) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
        self.changed.notify_all();
    }
}
