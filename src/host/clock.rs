//! A clock that a run can afford to read twice.
//!
//! Where the processor counts at one rate whatever it does (an *invariant* time
//! stamp counter, which x86-64 processors of the last decade have), a reading is
//! one instruction of a few nanoseconds, and its rate is measured once against the
//! system's clock, over a millisecond at the least. Elsewhere the system's clock is
//! read. Neither is a system call.

#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the rate is measured at the least: an error of a reading of the
/// system's clock, some 50 ns, is then one part in 20,000.
const MEASURED: Duration = Duration::from_millis(1);

/// Two readings at the same moment, as close as can be.
static BEGIN: OnceLock<(u64, Instant)> = OnceLock::new();
static CLOCK: OnceLock<Clock> = OnceLock::new();

/// A clock that never goes back on one processor. Copied to where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds of 2^32 ticks; 0 when a tick is a nanosecond.
    rate: u64,
}

impl Clock {
    /// Begins to measure the rate; the later [`Clock::get`] then does not wait.
    pub fn begin() {
        BEGIN.get_or_init(pair);
    }

    /// The process's clock.
    pub fn get() -> Clock {
        *CLOCK
            .get_or_init(|| Clock { rate: counter::is_steady().then(rate).flatten().unwrap_or(0) })
    }

    /// Now, in ticks since some moment before the process began.
    #[inline]
    pub fn now(self) -> u64 {
        if self.rate != 0 { counter::read() } else { system_ns() }
    }

    /// How many nanoseconds so many ticks are.
    #[inline]
    pub fn ns(self, ticks: u64) -> u64 {
        if self.rate == 0 {
            return ticks;
        }
        ((u128::from(ticks) * u128::from(self.rate)) >> 32) as u64
    }
}

impl Clock {
    /// How many ticks so many nanoseconds are.
    pub fn ticks(self, ns: u64) -> u64 {
        if self.rate == 0 {
            return ns;
        }
        u64::try_from((u128::from(ns) << 32) / u128::from(self.rate)).unwrap_or(u64::MAX)
    }
}

fn system_ns() -> u64 {
    BEGIN.get_or_init(pair).1.elapsed().as_nanos() as u64
}

/// Both clocks, read while nothing came between if possible.
fn pair() -> (u64, Instant) {
    let one = || {
        let (before, at, after) = (counter::read(), Instant::now(), counter::read());
        (after.wrapping_sub(before), before, at)
    };
    let (_, ticks, at) = (0..8).map(|_| one()).min_by_key(|(width, ..)| *width).unwrap_or_else(one);
    (ticks, at)
}

/// Nanoseconds of 2^32 ticks, when that is a rate that a processor has.
fn rate() -> Option<u64> {
    let (from, since) = *BEGIN.get_or_init(pair);
    while since.elapsed() < MEASURED {
        std::hint::spin_loop();
    }
    let (to, now) = pair();
    let ticks = to.checked_sub(from).filter(|ticks| *ticks > 0)?;
    let ns = now.duration_since(since).as_nanos();
    let rate = u64::try_from((ns << 32) / u128::from(ticks)).ok()?;
    // From 100 MHz to 10 GHz.
    ((1 << 32) / 10..=(1u64 << 32) * 10).contains(&rate).then_some(rate)
}

/// The calling thread's sleeps end when they are to: the system may otherwise put them
/// off, by 50 µs on Linux, to wake several threads at once.
pub fn wake_on_time() {
    #[cfg(target_os = "linux")]
    // SAFETY: it sets a number of the calling thread's.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

#[cfg(target_arch = "x86_64")]
mod counter {
    use std::arch::x86_64::{__cpuid, _rdtsc};

    #[inline]
    pub(super) fn read() -> u64 {
        // SAFETY: every x86-64 processor has it.
        unsafe { _rdtsc() }
    }

    /// Whether it counts at one rate, asleep or not.
    pub(super) fn is_steady() -> bool {
        const POWER: u32 = 0x8000_0007;
        #[allow(unused_unsafe)]
        // SAFETY: every x86-64 processor has it.
        unsafe {
            __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & 1 << 8 != 0
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod counter {
    pub(super) fn read() -> u64 {
        0
    }

    pub(super) fn is_steady() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees(clock: Clock) {
        let (from, since) = (clock.now(), Instant::now());
        while since.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let (took, ns) = (since.elapsed().as_nanos() as u64, clock.ns(clock.now() - from));
        assert!(ns.abs_diff(took) < took / 100 + 100_000, "{ns} ns are {took}");
    }

    #[test]
    fn it_goes_as_the_system_clock_does() {
        Clock::begin();
        agrees(Clock::get());
        agrees(Clock { rate: 0 });
    }

    #[test]
    fn ticks_of_any_number_are_nanoseconds() {
        let clock = Clock { rate: 1 << 31 };
        assert_eq!(clock.ns(3_000_000_000), 1_500_000_000);
        assert_eq!(clock.ns(u64::MAX), u64::MAX / 2);
        assert_eq!(Clock { rate: 0 }.ns(7), 7);
        assert_eq!((clock.ticks(1_500_000_000), Clock { rate: 0 }.ticks(7)), (3_000_000_000, 7));
    }
}
