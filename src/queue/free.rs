//! The places of jobs that nobody uses: a stack that any thread takes from and gives
//! back to.
//!
//! One word holds the index on top, CLOSED, and a number that every take raises, so
//! that a take which slept meanwhile fails instead of seeing an old top again. After
//! `close`, which takes all there are, nothing is taken, and what is given back is the
//! giver's to end: every place ends once.

use super::inbox::{Closed, Linked};
use crate::sync::{AtomicU64, Ordering};

const HEAD: u64 = 0x7fff_ffff;
const CLOSED: u64 = 1 << 31;
const TAKE: u64 = 1 << 32;

/// The stack.
pub struct Free(AtomicU64);

impl Free {
    /// One that has these of `jobs`, the last on top.
    pub fn of<L: Linked>(jobs: &[L], indices: impl Iterator<Item = u32>) -> Free {
        let mut top = 0;
        for index in indices {
            jobs[index as usize].below().store(top, Ordering::Relaxed);
            top = index + 1;
        }
        Free(AtomicU64::new(u64::from(top)))
    }

    /// A place, when there is one.
    pub fn take<L: Linked>(&self, jobs: &[L]) -> Result<Option<u32>, Closed> {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if word & CLOSED != 0 {
                return Err(Closed);
            }
            let top = word & HEAD;
            if top == 0 {
                return Ok(None);
            }
            let below = jobs[top as usize - 1].below().load(Ordering::Relaxed);
            let new = (word & !(HEAD | CLOSED)).wrapping_add(TAKE) | u64::from(below) & HEAD;
            match self.0.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(Some(top as u32 - 1)),
                Err(now) => word = now,
            }
        }
    }

    /// Gives a place back; refused when it is closed.
    pub fn give<L: Linked>(&self, jobs: &[L], index: u32) -> Result<(), Closed> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Err(Closed);
            }
            jobs[index as usize].below().store((word & HEAD) as u32, Ordering::Relaxed);
            let new = word & !HEAD | (u64::from(index) + 1);
            match self.0.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Takes all that are there, once and for all.
    pub fn close<L: Linked>(&self, jobs: &[L], mut each: impl FnMut(u32)) {
        let word = self.0.fetch_or(CLOSED, Ordering::AcqRel);
        let mut at = if word & CLOSED != 0 { 0 } else { word & HEAD };
        while at != 0 {
            let below = jobs[at as usize - 1].below().load(Ordering::Relaxed);
            each(at as u32 - 1);
            at = u64::from(below);
        }
    }
}
