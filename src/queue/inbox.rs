//! Where submitted jobs are until somebody looks: a stack that any thread pushes to,
//! and whoever schedules takes whole.
//!
//! 1. All of it is one word: the index of the newest job, the rows of all of them, at
//!    how many rows a sleeper is to be woken, NUDGED and CLOSED. Every change is one
//!    read-modify-write of it, so what is pushed is taken once, or refused for CLOSED.
//! 2. A push releases, a take acquires: who takes sees all that was written before any
//!    of the pushes, which are one release sequence.
//! 3. Who is about to sleep arms the word, which fails when a job or a nudge is there.
//!    Who then pushes the rows that make it enough disarms it and is told to wake the
//!    sleeper: one wake for many jobs.
//!
//! The loom tests in `tests/loom` run these paths against each other.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Jobs by index, each with a place for the index of the one below it.
pub trait Linked {
    /// One more than the index; 0 for none.
    fn below(&self) -> &AtomicU32;
}

/// No job is pushed any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

const HEAD: u64 = 0xffff_ffff;
const ROWS_AT: u32 = 32;
const ALARM_AT: u32 = 47;
/// Rows that are told apart.
const MOST: u64 = (1 << 15) - 1;
const NUDGED: u64 = 1 << 62;
const CLOSED: u64 = 1 << 63;

fn rows(word: u64) -> u64 {
    word >> ROWS_AT & MOST
}

fn alarm(word: u64) -> u64 {
    word >> ALARM_AT & MOST
}

fn with(word: u64, head: u64, rows: u64, alarm: u64) -> u64 {
    word & (NUDGED | CLOSED) | head | rows.min(MOST) << ROWS_AT | alarm.min(MOST) << ALARM_AT
}

/// The stack.
pub struct Inbox(AtomicU64);

/// What a take found besides jobs.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Somebody nudged: a job that was taken before changed.
    pub is_nudged: bool,
    /// No job comes any more.
    pub is_closed: bool,
}

impl Inbox {
    #[allow(clippy::new_without_default)]
    /// An empty one.
    pub fn new() -> Inbox {
        Inbox(AtomicU64::new(0))
    }

    /// Puts a job in. True when the caller has to wake a sleeper: enough rows are
    /// there, or this job is urgent.
    pub fn push<L: Linked>(
        &self,
        jobs: &[L],
        index: u32,
        more: u32,
        is_urgent: bool,
    ) -> Result<bool, Closed> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Err(Closed);
            }
            jobs[index as usize].below().store((word & HEAD) as u32, Ordering::Relaxed);
            let (rows, at) = (rows(word) + u64::from(more), alarm(word));
            let wakes = at != 0 && (is_urgent || rows >= at);
            let new = with(word, u64::from(index) + 1, rows, if wakes { 0 } else { at });
            match self.0.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(wakes),
                Err(now) => word = now,
            }
        }
    }

    /// Takes all jobs, and gives each to `each`, the oldest first. Nobody is woken any
    /// more until the next [`Inbox::arm`].
    pub fn take<L: Linked>(&self, jobs: &[L], mut each: impl FnMut(u32)) -> Taken {
        let word = self.0.fetch_and(CLOSED, Ordering::AcqRel);
        let (mut at, mut newer) = ((word & HEAD) as u32, 0);
        while at != 0 {
            let link = jobs[at as usize - 1].below();
            let below = link.load(Ordering::Relaxed);
            link.store(newer, Ordering::Relaxed);
            (newer, at) = (at, below);
        }
        while newer != 0 {
            let next = jobs[newer as usize - 1].below().load(Ordering::Relaxed);
            each(newer - 1);
            newer = next;
        }
        Taken { is_nudged: word & NUDGED != 0, is_closed: word & CLOSED != 0 }
    }

    /// A sleeper is to be woken when so many rows are there. False when there is
    /// something to look at first.
    pub fn arm(&self, rows: u32, is_closed: bool) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & (HEAD | NUDGED) != 0 || (word & CLOSED != 0) != is_closed {
                return false;
            }
            let before = if alarm(word) == 0 { MOST } else { alarm(word) };
            let new = with(word, 0, 0, before.min(u64::from(rows.max(1))));
            match self.0.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Whoever schedules is to look again. True when the caller has to wake a sleeper.
    pub fn nudge(&self) -> bool {
        let word = self.0.fetch_or(NUDGED, Ordering::AcqRel);
        alarm(word) != 0
    }

    /// No job comes any more.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether so many rows are there, or a nudge.
    pub fn has(&self, least: u32) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        word & NUDGED != 0 || rows(word) >= u64::from(least).min(MOST)
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CLOSED != 0
    }
}
