//! Where a job is in its life, in one word.
//!
//! ```text
//! free → WAITING → RUNNING → SETTLED → ANSWERED → free
//! ```
//!
//! 1. Whoever schedules has the job alone from the inbox on: it alone begins, settles
//!    and answers it. So a job is answered once, whatever else happens to it.
//! 2. `cancel` only asks: it sets CANCELLED while the job is WAITING, which `begin`
//!    then finds, or fails, by one compare-and-swap each.
//! 3. HELD is what names the job: the host's handle, or the callback's. The job's place is
//!    free again when it is ANSWERED and not HELD: of `answer` and `release` the later one
//!    sees both, and alone recycles.
//! 4. Who waits sets WATCHED, and sees ANSWERED or is seen by `answer`.
//! 5. What a job is made of ([`super::owned`]) is one thread's at a time: who took the
//!    place from the free ones has it until the push, who schedules until it is SETTLED,
//!    who recycles it until it is a free place. Between SETTLED and the end of HELD, which
//!    is when no call is inside the handle any more, nobody changes it, and all who hold
//!    the job read it. Each of these hands it on by a release that the next one acquires.

use crate::sync::{AtomicU32, Ordering};

const WAITING: u32 = 1;
const RUNNING: u32 = 2;
const SETTLED: u32 = 4;
const ANSWERED: u32 = 8;
const CANCELLED: u32 = 16;
const WATCHED: u32 = 32;
const HELD: u32 = 64;
const GOOD: u32 = 128;

/// The word.
pub struct Phase(AtomicU32);

/// What became of a request to cancel.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancel {
    /// It will not run.
    Asked,
    /// It runs already.
    Running,
    /// It has ended, or was cancelled before.
    Over,
}

/// What is to be done after an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered {
    /// Somebody waits for it.
    pub is_watched: bool,
    /// Its place is free: the caller recycles it.
    pub is_free: bool,
}

impl Phase {
    #[allow(clippy::new_without_default)]
    /// Of a free place.
    pub fn new() -> Phase {
        Phase(AtomicU32::new(0))
    }

    /// A job begins to wait, and is held. The caller has the place alone.
    pub fn open(&self) {
        self.0.store(WAITING | HELD, Ordering::Relaxed);
    }

    /// Asks for it not to run.
    pub fn cancel(&self) -> Cancel {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & (WAITING | CANCELLED | SETTLED) != WAITING {
                return if word & (RUNNING | SETTLED) == RUNNING {
                    Cancel::Running
                } else {
                    Cancel::Over
                };
            }
            let to = word | CANCELLED;
            match self.0.compare_exchange_weak(word, to, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Cancel::Asked,
                Err(now) => word = now,
            }
        }
    }

    /// Whether it was asked for not to run.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CANCELLED != 0
    }

    /// From waiting to running. False when it is not to run.
    pub fn begin(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & CANCELLED != 0 {
                return false;
            }
            let to = word & !WAITING | RUNNING;
            match self.0.compare_exchange_weak(word, to, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// From running back to waiting: it is tried again.
    pub fn again(&self) {
        self.0.fetch_xor(WAITING | RUNNING, Ordering::AcqRel);
    }

    /// Its outcome may be read from now on.
    pub fn settle(&self) {
        self.0.fetch_or(SETTLED, Ordering::AcqRel);
    }

    /// It is answered, with outputs or without: its callback, if it has one, has returned.
    pub fn answer(&self, is_good: bool) -> Answered {
        let end = SETTLED | ANSWERED | if is_good { GOOD } else { 0 };
        let word = self.0.fetch_or(end, Ordering::AcqRel);
        Answered { is_watched: word & WATCHED != 0, is_free: word & HELD == 0 }
    }

    /// Whether its outcome may be read.
    pub fn is_settled(&self) -> bool {
        self.0.load(Ordering::Acquire) & SETTLED != 0
    }

    /// Whether it is answered with outputs.
    pub fn is_good(&self) -> bool {
        self.0.load(Ordering::Acquire) & GOOD != 0
    }

    /// Whether it is answered.
    pub fn is_answered(&self) -> bool {
        self.0.load(Ordering::Acquire) & ANSWERED != 0
    }

    /// As [`Phase::is_answered`]; when not, `answer` tells who answers that somebody
    /// waits.
    pub fn watch(&self) -> bool {
        self.0.fetch_or(WATCHED, Ordering::AcqRel) & ANSWERED != 0
    }

    /// The host has let go of it. True when its place is free: the caller recycles it.
    pub fn release(&self) -> bool {
        self.0.fetch_and(!HELD, Ordering::AcqRel) & ANSWERED != 0
    }
}
