//! Where a job lies while a host's threads are asked to do parts of it.
//!
//! 1. `state` is the desk's turn, whether it is open, and how many are inside. Who
//!    comes with that turn while it is open goes inside by one compare-and-swap
//!    (acquire: it sees the job), and leaves by a subtraction (release).
//! 2. Who laid the job there closes the desk, and waits until nobody is inside
//!    (acquire) before the job goes. Who comes later finds it closed, or another turn,
//!    and touches nothing.
//!
//! The loom tests in `tests/loom` run these paths against each other.

use super::place::{Job, Offer};
use crate::sync::{AtomicPtr, AtomicU64, Ordering, yield_now};
use std::ptr::null_mut;

/// A desk.
pub(crate) struct Desk {
    /// The turn from bit 32 on, [`OPEN`], and who is inside.
    state: AtomicU64,
    job: AtomicPtr<Job<'static>>,
}

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

impl Desk {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Desk {
        Desk { state: AtomicU64::new(0), job: AtomicPtr::new(null_mut()) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Desk {
        Desk { state: AtomicU64::new(0), job: AtomicPtr::new(null_mut()) }
    }

    /// Lays a job there; the turn it has, which has no other bits than `turns`. Whoever
    /// does that closes the desk while the job is there.
    pub(crate) fn open(&self, Offer(job): Offer, turns: u64) -> u64 {
        let turn = ((self.state.load(Ordering::Relaxed) >> 32) + 1) & turns;
        self.job.store(job, Ordering::Relaxed);
        self.state.store(turn << 32 | OPEN, Ordering::Release);
        turn
    }

    /// Does parts of the job of this turn, if it is still there, until none is left.
    pub(crate) fn help(&self, turn: u64) {
        let inside = |state: u64| (state >> 32 == turn && state & OPEN != 0).then_some(state + 1);
        if self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, inside).is_err() {
            return;
        }
        let job = self.job.load(Ordering::Relaxed);
        // SAFETY: who laid it there waits in `close` until the subtraction below. A job
        // does not panic.
        unsafe { &*job }.join();
        self.state.fetch_sub(1, Ordering::Release);
    }

    /// Lets nobody in any more, and waits for who is inside: nobody is, when the host is
    /// true to its word.
    pub(crate) fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::Relaxed);
        while self.state.load(Ordering::Acquire) & INSIDE != 0 {
            yield_now();
        }
    }
}
