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

use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Condvar, Gate, Ordering};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Parts that a job has at most.
pub const MOST_PARTS: usize = 128;

/// Parts of a call, to be done by whoever comes first.
#[repr(align(8))]
pub(crate) struct Job<'a> {
    /// A bit for each part that is taken.
    taken: [AtomicU64; MOST_PARTS / 64],
    parts: usize,
    /// How many may come, and helpers that came so far.
    workers: usize,
    helpers: AtomicUsize,
    /// Does a part: the worker's number, and the part's. It does not panic.
    work: &'a (dyn Fn(usize, usize) + Sync),
}

impl<'a> Job<'a> {
    /// # Panics
    ///
    /// When there are more parts than [`MOST_PARTS`], or no workers.
    pub(crate) fn new(
        parts: usize,
        workers: usize,
        work: &'a (dyn Fn(usize, usize) + Sync),
    ) -> Job<'a> {
        assert!(parts <= MOST_PARTS && workers > 0, "{parts} parts for {workers}");
        let taken = std::array::from_fn(|_| AtomicU64::new(0));
        Job { taken, parts, workers, helpers: AtomicUsize::new(0), work }
    }

    /// Whether this part is now the caller's.
    fn take(&self, part: usize) -> bool {
        let (word, bit) = (&self.taken[part / 64], 1 << (part % 64));
        word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Does parts until all are taken; no two workers have the same number. Each
    /// begins with a share of its own, so that it finds what it wrote the time before
    /// in its cache, and goes on with what others have last.
    fn work(&self, worker: usize) {
        let first = worker * self.parts / self.workers;
        for part in (first..self.parts).take(self.own(worker)) {
            if self.take(part) {
                (self.work)(worker, part);
            }
        }
        for part in (0..first).rev().chain((first..self.parts).rev()) {
            if self.take(part) {
                (self.work)(worker, part);
            }
        }
    }

    /// The caller's part of it.
    pub(crate) fn lead(&self) {
        self.work(0);
    }

    /// A helper's.
    fn help(&self) {
        self.work(1 + self.helpers.fetch_add(1, Ordering::Relaxed));
    }

    /// A host's thread: the workers' numbers go round once, and who comes later has
    /// nothing to do.
    pub(crate) fn join(&self) {
        let worker = self.helpers.fetch_add(1, Ordering::Relaxed);
        if worker < self.workers {
            self.work(worker);
        }
    }

    /// Parts that a worker begins with.
    fn own(&self, worker: usize) -> usize {
        (worker + 1) * self.parts / self.workers - worker * self.parts / self.workers
    }

    /// As an offer: who makes it withdraws it while the job is there.
    pub(crate) fn offer(&self) -> Offer {
        Offer((&raw const *self).cast::<Job<'static>>().cast_mut())
    }
}

/// A job without its lifetime.
#[derive(Clone, Copy)]
pub(crate) struct Offer(pub(super) *mut Job<'static>);

const STARTED: usize = 1;
const AWAITED: usize = 2;
const ASLEEP: *mut Job<'static> = without_provenance_mut(1);

fn started(job: *mut Job<'static>) -> *mut Job<'static> {
    job.map_addr(|at| at | STARTED)
}

fn awaited(job: *mut Job<'static>) -> *mut Job<'static> {
    job.map_addr(|at| at | STARTED | AWAITED)
}

/// How long a worker looks before it sleeps. The steps of a run follow each other
/// sooner, and to wake a processor may take as long: where it is a virtual one, tens
/// of microseconds. An idle helper sleeps.
const AWAKE: Duration = Duration::from_micros(60);
/// How often it looks before it looks at the clock.
const LOOKS: usize = 32;

/// Looks for what `seen` finds, for as long as a worker stays awake.
fn look<T>(mut seen: impl FnMut() -> Option<T>) -> Option<T> {
    if cfg!(loom) {
        return None;
    }
    let begun = Instant::now();
    loop {
        for _ in 0..LOOKS {
            let found = seen();
            if found.is_some() {
                return found;
            }
            std::hint::spin_loop();
        }
        if begun.elapsed() >= AWAKE {
            return None;
        }
    }
}

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
        Place { job: AtomicPtr::new(null_mut()), ends: Gate::new(false), changed: Condvar::new() }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Place {
        Place { job: AtomicPtr::new(null_mut()), ends: Gate::new(false), changed: Condvar::new() }
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
        let ended = || (self.job.load(Ordering::Acquire) != started(job)).then_some(());
        if look(ended).is_some() {
            return;
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
            let offered = look(|| self.taken());
            if offered.is_some() {
                return offered;
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
            unsafe { &*job }.help();
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
