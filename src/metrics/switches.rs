//! What is counted, traced, profiled: one word, which a run reads once.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Runs are counted.
pub(super) const COUNT: u32 = 1;
/// Runs, their steps and loads go into the trace.
pub(super) const TRACE: u32 = 2;
/// The steps of a session are timed; a session's own switch.
pub(super) const PROFILE: u32 = 4;

static SWITCHES: AtomicU32 = AtomicU32::new(COUNT);

#[inline]
pub(super) fn get() -> u32 {
    SWITCHES.load(Relaxed)
}

pub(super) fn set(switch: u32, on: bool) {
    if on {
        SWITCHES.fetch_or(switch, Relaxed);
    } else {
        SWITCHES.fetch_and(!switch, Relaxed);
    }
}

/// Counts runs, or not, from the next one on.
pub fn set_counting(on: bool) {
    set(COUNT, on);
}

/// Whether runs are counted.
pub fn is_counting() -> bool {
    get() & COUNT != 0
}
