//! The processor's floating-point state around a run and its steps.

use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    /// The host's mode, while this thread is in a mode of ours.
    static HOSTS: Cell<Option<Mode>> = const { Cell::new(None) };
}

/// While it lives, this thread's arithmetic is in another mode. The one before comes back
/// when it is dropped, a panic's unwinding included.
#[derive(Debug)]
#[must_use]
pub struct FloatMode {
    outer: Mode,
    hosts: Option<Mode>,
    /// Of this thread only.
    of: PhantomData<*const ()>,
}

impl FloatMode {
    /// As a run has it: what compiled code expects, but results and inputs that are
    /// denormal count as zero. They cost a hundred cycles each, and decaying states are
    /// full of them.
    pub fn flush_to_zero() -> FloatMode {
        FloatMode::ours(STANDARD | FLUSH)
    }

    /// As compiled code expects it, whatever the host has chosen: no exception is trapped,
    /// what is rounded goes to the nearest, and denormals are numbers. Most hosts have
    /// chosen nothing: then there is nothing to change, and it costs a comparison.
    #[inline]
    pub fn standard() -> Option<FloatMode> {
        (read() & CONTROL != STANDARD).then(|| FloatMode::ours(STANDARD))
    }

    /// The host's own, for what the host does on this thread.
    pub fn hosts() -> FloatMode {
        let (outer, hosts) = (read(), HOSTS.take());
        write(hosts.unwrap_or(outer));
        FloatMode { outer, hosts, of: PhantomData }
    }

    fn ours(mode: Mode) -> FloatMode {
        let (outer, hosts) = (read(), HOSTS.get());
        HOSTS.set(hosts.or(Some(outer)));
        write(mode);
        FloatMode { outer, hosts, of: PhantomData }
    }
}

impl Drop for FloatMode {
    fn drop(&mut self) {
        write(self.outer);
        HOSTS.set(self.hosts);
    }
}

#[cfg(target_arch = "x86_64")]
type Mode = u32;
/// MXCSR: flush to zero, and denormals are zero.
#[cfg(target_arch = "x86_64")]
const FLUSH: Mode = 1 << 15 | 1 << 6;
/// All exceptions masked, the rest is off.
#[cfg(target_arch = "x86_64")]
const STANDARD: Mode = 0x1f80;
/// All but what it notes of exceptions.
#[cfg(target_arch = "x86_64")]
const CONTROL: Mode = !0x3f;

#[cfg(target_arch = "x86_64")]
fn read() -> Mode {
    let mut mode: Mode = 0;
    // SAFETY: stores the register in four bytes of ours.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags));
    }
    mode
}

#[cfg(target_arch = "x86_64")]
fn write(mode: Mode) {
    // SAFETY: loads what `read` gave, or the standard mode with or without two bits
    // that are there on every x86-64. What the compiler computes beforehand keeps its
    // denormals, which is as right.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "aarch64")]
type Mode = u64;
/// FPCR: flush to zero.
#[cfg(target_arch = "aarch64")]
const FLUSH: Mode = 1 << 24;
/// No exception trapped, the rest is off.
#[cfg(target_arch = "aarch64")]
const STANDARD: Mode = 0;
#[cfg(target_arch = "aarch64")]
const CONTROL: Mode = !0;

#[cfg(target_arch = "aarch64")]
fn read() -> Mode {
    let mode: Mode;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack)) };
    mode
}

#[cfg(target_arch = "aarch64")]
fn write(mode: Mode) {
    // SAFETY: writes what `read` gave, or the standard mode with or without one bit.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) mode, options(nostack)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Mode = u32;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FLUSH: Mode = 0;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const STANDARD: Mode = 0;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CONTROL: Mode = 0;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn read() -> Mode {
    0
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn write(_: Mode) {}

/// Says that nobody needs the upper halves of the vector registers: code for
/// the 128-bit ones is slow for as long as they are in use, and tract's kernels
/// leave them so (Intel's optimization manual, "Mixing AVX and SSE").
#[inline]
pub fn clear_upper_halves() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the processor has the instruction, and no value is kept in
        // those halves across a call.
        unsafe { zero_upper() };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
fn zero_upper() {
    std::arch::x86_64::_mm256_zeroupper();
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn denormals_are_zero_inside_and_the_hosts_mode_comes_back() {
        let half = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        let before = read();
        assert!(half() > 0.0);
        {
            let _outer = FloatMode::flush_to_zero();
            {
                let _inner = FloatMode::flush_to_zero();
                assert_eq!(half(), 0.0);
            }
            assert_eq!(half(), 0.0, "an inner one does not end it");
            {
                let _hosts = FloatMode::hosts();
                assert!(half() > 0.0, "the host's own mode");
                let _again = FloatMode::flush_to_zero();
                assert_eq!(half(), 0.0);
            }
            assert_eq!(half(), 0.0);
            assert!(black_box(f32::NAN).is_nan() && black_box(-0.0f32).is_sign_negative());
            let caught = std::panic::catch_unwind(|| {
                let _mode = FloatMode::flush_to_zero();
                panic!("inside");
            });
            assert!(caught.is_err());
        }
        assert!(half() > 0.0);
        assert_eq!(read() & FLUSH, before & FLUSH);
        clear_upper_halves();
    }

    #[test]
    fn whatever_the_host_chose_is_put_aside_and_comes_back() {
        let before = read();
        // (Which way to round is at other bits, and as traps are elsewhere not allowed.)
        let up = if cfg!(target_arch = "x86_64") { 2 << 13 } else { 1 << 22 };
        let third = || black_box(black_box(1.0f32) / black_box(3.0));
        let nearest = third();
        write(STANDARD | up);
        let upwards = third();
        {
            let _standard = FloatMode::standard();
            assert_eq!(read() & CONTROL, STANDARD);
            let inside = third();
            let _run = FloatMode::flush_to_zero();
            assert_eq!((inside, third()), (nearest, nearest));
            let _hosts = FloatMode::hosts();
            assert_eq!(third(), upwards);
        }
        let after = read() & CONTROL;
        write(before);
        assert!(upwards >= nearest && after == STANDARD | up);
    }
}
