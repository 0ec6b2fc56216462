//! How long what a thread does may take: a deadline, and a word from another thread
//! to end early. Both are looked at between steps.

use crate::error::{self, Result};
use crate::pool::{self, Boundary};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// The moment that is `time` from now; none when `time` is zero, for ever.
pub fn moment(time: Duration) -> Option<Instant> {
    if time.is_zero() { None } else { Instant::now().checked_add(time) }
}

/// The nearer of two moments, each of which may be never.
fn nearer(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

/// What this thread is held to.
struct Limits {
    until: Cell<Option<Instant>>,
    /// Null, or of a run that this thread is in.
    stop: Cell<*const Stop>,
}

thread_local! {
    static HERE: Limits =
        const { Limits { until: Cell::new(None), stop: Cell::new(ptr::null()) } };
}

/// The moment at which what this thread does must have ended.
pub struct Deadline {
    outer: Option<Instant>,
    /// Of this thread only.
    of: PhantomData<*const ()>,
}

impl Deadline {
    /// Sets a deadline for this thread, until dropped; never a later one than
    /// it has. Zero sets none.
    pub fn after(time: Duration) -> Deadline {
        HERE.with(|here| {
            let outer = here.until.get();
            here.until.set(nearer(outer, moment(time)));
            Deadline { outer, of: PhantomData }
        })
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        HERE.with(|here| here.until.set(self.outer));
    }
}

/// Whether a run is under way, and is to end early. It is asked for from any thread.
#[derive(Debug)]
pub struct Stop(AtomicU8);

const AT_REST: u8 = 0;
const UNDER_WAY: u8 = 1;
const CANCELLED: u8 = 2;

impl Stop {
    /// Nothing is under way.
    pub const fn new() -> Stop {
        Stop(AtomicU8::new(AT_REST))
    }

    /// A run begins. It is nobody's, yet.
    #[inline]
    pub fn begin(&self) {
        self.0.store(UNDER_WAY, Ordering::Relaxed);
    }

    /// It has ended, one way or the other.
    #[inline]
    pub fn end(&self) {
        self.0.store(AT_REST, Ordering::Relaxed);
    }

    /// Asks the run under way, if there is one, to end.
    pub fn cancel(&self) {
        let order = Ordering::Relaxed;
        let _ = self.0.compare_exchange(UNDER_WAY, CANCELLED, order, order);
    }

    /// Whether the run under way is to end.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CANCELLED
    }
}

impl Default for Stop {
    fn default() -> Stop {
        Stop::new()
    }
}

/// What the thread was held to before.
struct Outer(Option<Instant>, *const Stop);

impl Drop for Outer {
    fn drop(&mut self) {
        HERE.with(|here| {
            here.until.set(self.0);
            here.stop.set(self.1);
        });
    }
}

fn held<T>(until: Option<Instant>, stop: *const Stop, work: impl FnOnce() -> T) -> T {
    let _outer = HERE.with(|here| Outer(here.until.replace(until), here.stop.replace(stop)));
    work()
}

/// Does a run that ends early after `time` (zero: never), or when `stop` says so.
#[inline]
pub fn within_limits<T>(time: Duration, stop: &Stop, run: impl FnOnce() -> T) -> T {
    let outer = HERE.with(|here| here.until.get());
    held(nearer(outer, moment(time)), stop, run)
}

/// Does what this thread is not held to anything for: it may be somebody else's.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    held(None, ptr::null(), work)
}

/// What a thread is held to, for another one that works for it.
#[derive(Clone, Copy)]
pub(crate) struct Inherited(Option<Instant>, *const Stop);

// SAFETY: a `Stop` may be read from any thread; `during` says for how long.
unsafe impl Send for Inherited {}

impl Inherited {
    pub(super) fn here() -> Inherited {
        HERE.with(|here| Inherited(here.until.get(), here.stop.get()))
    }

    /// Does `work` held to this, and to the deadline that its own thread has.
    ///
    /// # Safety
    ///
    /// The thread that it was taken from waits until this has ended.
    pub(super) unsafe fn during<T>(self, work: impl FnOnce() -> T) -> T {
        let own = HERE.with(|here| here.until.get());
        held(nearer(own, self.0), self.1, work)
    }
}

/// Between two steps: whether there is time for the next, and all memory that
/// was asked for was there.
#[inline]
pub fn check() -> Result<()> {
    between(|checks| checks.check())
}

/// What [`check`] looks at, found once for the steps of a run.
#[derive(Clone, Copy)]
pub struct Checks<'a> {
    boundary: Boundary<'a>,
    here: &'a Limits,
}

/// Calls `steps`, which may ask between any two.
#[inline]
pub fn between<T>(steps: impl FnOnce(Checks<'_>) -> T) -> T {
    pool::between(|boundary| HERE.with(|here| steps(Checks { boundary, here })))
}

impl Checks<'_> {
    /// As [`check`].
    #[inline]
    pub fn check(self) -> Result<()> {
        self.boundary.check()?;
        // SAFETY: null, or of a run that this thread is in: `held` takes it back before
        // that ends.
        if unsafe { self.here.stop.get().as_ref() }.is_some_and(Stop::is_cancelled) {
            return Err(cancelled());
        }
        match self.here.until.get() {
            Some(until) if Instant::now() >= until => {
                Err(error::deadline_exceeded("the time for this call is over"))
            }
            _ => Ok(()),
        }
    }
}

/// What a run ends with that was asked to.
#[cold]
pub fn cancelled() -> error::Error {
    error::cancelled("the run was cancelled: nothing was written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_run_under_way_is_cancelled_and_no_other() {
        let stop = Stop::new();
        stop.cancel();
        assert!(!stop.is_cancelled(), "there is none");
        stop.begin();
        let checked = within_limits(Duration::ZERO, &stop, || {
            assert!(check().is_ok());
            stop.cancel();
            (check(), aside(check))
        });
        assert_eq!(checked.0.unwrap_err().kind(), Kind::Cancelled);
        assert!(checked.1.is_ok(), "what is somebody else's goes on");
        assert!(check().is_ok(), "and what comes after");
        stop.begin();
        assert!(!stop.is_cancelled());
    }

    #[test]
    fn a_thread_that_works_for_another_is_held_to_both() {
        let (stop, hour) = (Stop::new(), Duration::from_secs(3600));
        let during = |theirs: Inherited, own: Duration| {
            let _own = Deadline::after(own);
            // SAFETY: it was taken from this thread.
            unsafe { theirs.during(check) }
        };
        let none = Inherited::here();
        assert!(during(none, hour).is_ok());
        assert!(during(none, Duration::from_nanos(1)).is_err());
        let late = within_limits(Duration::from_nanos(1), &stop, Inherited::here);
        assert!(during(late, hour).is_err());
        stop.begin();
        stop.cancel();
        let cancelled = within_limits(hour, &stop, Inherited::here);
        assert_eq!(during(cancelled, hour).unwrap_err().kind(), Kind::Cancelled);
    }

    #[test]
    fn the_nearer_deadline_holds_and_comes_back() {
        let stop = Stop::new();
        let hour = Duration::from_secs(3600);
        within_limits(Duration::from_nanos(1), &stop, || {
            let e = within_limits(hour, &stop, check).unwrap_err();
            assert_eq!(e.kind(), Kind::DeadlineExceeded);
            let _later = Deadline::after(hour);
            assert!(check().is_err());
            assert!(aside(check).is_ok());
        });
        assert!(within_limits(hour, &stop, check).is_ok());
    }
}
