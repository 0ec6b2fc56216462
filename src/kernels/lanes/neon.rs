//! The lanes of 64-bit ARM: NEON.

use super::{Lanes, WIDTH};
use std::arch::aarch64::*;

/// Four registers of four floats.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Neon(float32x4_t, float32x4_t, float32x4_t, float32x4_t);

macro_rules! all {
    ($f:expr, $($x:expr),+) => {
        // SAFETY: the trait's contract: the processor has NEON.
        unsafe { Neon($f($($x.0),+), $f($($x.1),+), $f($($x.2),+), $f($($x.3),+)) }
    };
}

/// Floats of a register.
const QUARTER: usize = 4;

impl Lanes for Neon {
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(v: f32) -> Neon {
        // SAFETY: as for `all`.
        let one = unsafe { vdupq_n_f32(v) };
        Neon(one, one, one, one)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Neon {
        // SAFETY: the contract.
        unsafe {
            let quarter = |q| vld1q_f32(from.add(q * QUARTER));
            Neon(quarter(0), quarter(1), quarter(2), quarter(3))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the contract.
        unsafe {
            vst1q_f32(to, self.0);
            vst1q_f32(to.add(QUARTER), self.1);
            vst1q_f32(to.add(2 * QUARTER), self.2);
            vst1q_f32(to.add(3 * QUARTER), self.3);
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Neon {
        // SAFETY: the contract.
        unsafe {
            let all = vld1q_u8(from);
            let (low, high) = (vmovl_u8(vget_low_u8(all)), vmovl_high_u8(all));
            Neon(
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
                vcvtq_f32_u32(vmovl_high_u16(low)),
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
                vcvtq_f32_u32(vmovl_high_u16(high)),
            )
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: the contract.
        unsafe {
            let words = |low, high| {
                vcombine_u16(vqmovn_u32(vcvtq_u32_f32(low)), vqmovn_u32(vcvtq_u32_f32(high)))
            };
            let (low, high) = (words(self.0, self.1), words(self.2, self.3));
            vst1q_u8(to, vcombine_u8(vqmovn_u16(low), vqmovn_u16(high)));
        }
    }
    #[inline(always)]
    unsafe fn load_ints(from: *const i32) -> Neon {
        // SAFETY: the contract.
        unsafe {
            let quarter = |q| vcvtq_f32_s32(vld1q_s32(from.add(q * QUARTER)));
            Neon(quarter(0), quarter(1), quarter(2), quarter(3))
        }
    }
    #[inline(always)]
    unsafe fn load_shorts(from: *const i16) -> Neon {
        // SAFETY: the contract.
        unsafe {
            let quarter = |q| vcvtq_f32_s32(vmovl_s16(vld1_s16(from.add(q * QUARTER))));
            Neon(quarter(0), quarter(1), quarter(2), quarter(3))
        }
    }
    #[inline(always)]
    unsafe fn load_byte<const BYTE: usize>(from: *const u64) -> Neon {
        // SAFETY: the contract.
        unsafe {
            Neon(
                byte_of_four::<BYTE>(from),
                byte_of_four::<BYTE>(from.add(QUARTER)),
                byte_of_four::<BYTE>(from.add(2 * QUARTER)),
                byte_of_four::<BYTE>(from.add(3 * QUARTER)),
            )
        }
    }
    #[inline(always)]
    fn add(self, y: Neon) -> Neon {
        all!(vaddq_f32, self, y)
    }
    #[inline(always)]
    fn sub(self, y: Neon) -> Neon {
        all!(vsubq_f32, self, y)
    }
    #[inline(always)]
    fn mul(self, y: Neon) -> Neon {
        all!(vmulq_f32, self, y)
    }
    #[inline(always)]
    fn div(self, y: Neon) -> Neon {
        all!(vdivq_f32, self, y)
    }
    #[inline(always)]
    fn mul_add(self, y: Neon, z: Neon) -> Neon {
        all!(vfmaq_f32, z, self, y)
    }
    #[inline(always)]
    fn sqrt(self) -> Neon {
        all!(vsqrtq_f32, self)
    }
    #[inline(always)]
    fn max(self, y: Neon) -> Neon {
        all!(larger, self, y)
    }
    #[inline(always)]
    fn min(self, y: Neon) -> Neon {
        all!(smaller, self, y)
    }
    #[inline(always)]
    fn round(self) -> Neon {
        all!(vrndnq_f32, self)
    }
    #[inline(always)]
    fn floor(self) -> Neon {
        all!(vrndmq_f32, self)
    }
    #[inline(always)]
    fn power_of_two(self) -> Neon {
        all!(power_of_two, self)
    }
    #[inline(always)]
    fn scale(self, n: Neon) -> Neon {
        all!(scale, self, n)
    }
    #[inline(always)]
    fn split(self) -> (Neon, Neon) {
        (all!(mantissa, self), all!(exponent, self))
    }
    #[inline(always)]
    fn and(self, y: Neon) -> Neon {
        all!(and, self, y)
    }
    #[inline(always)]
    fn or(self, y: Neon) -> Neon {
        all!(or, self, y)
    }
    #[inline(always)]
    fn xor(self, y: Neon) -> Neon {
        all!(xor, self, y)
    }
    #[inline(always)]
    fn if_less(self, y: Neon, yes: Neon, no: Neon) -> Neon {
        all!(if_less, self, y, yes, no)
    }
    #[inline(always)]
    fn if_nan(self, yes: Neon, no: Neon) -> Neon {
        all!(if_nan, self, yes, no)
    }
    #[inline(always)]
    fn array(self) -> [f32; WIDTH] {
        let mut lanes = [0.0; WIDTH];
        // SAFETY: `lanes` has sixteen.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: as for `all`.
        unsafe {
            let four = vaddq_f32(vaddq_f32(self.0, self.2), vaddq_f32(self.1, self.3));
            vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)))
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: as for `all`.
        unsafe {
            let four = larger(larger(self.0, self.2), larger(self.1, self.3));
            let two = larger(four, vextq_f32::<2>(four, four));
            vgetq_lane_f32::<0>(larger(two, vextq_f32::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize, or: f32) -> Neon {
        // SAFETY: the contract.
        unsafe {
            let or = vdupq_n_f32(or);
            let quarter = |q: usize| {
                let at = q * QUARTER;
                load_some(from.wrapping_add(at), count.saturating_sub(at), or)
            };
            Neon(quarter(0), quarter(1), quarter(2), quarter(3))
        }
    }
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, count: usize) {
        // SAFETY: the contract.
        unsafe {
            let quarter = |q: usize, v| {
                let at = q * QUARTER;
                store_some(v, to.wrapping_add(at), count.saturating_sub(at));
            };
            quarter(0, self.0);
            quarter(1, self.1);
            quarter(2, self.2);
            quarter(3, self.3);
        }
    }
}

/// The bits of the least float that rounds to two thirds.
const TWO_THIRDS: i32 = 0x3f2a_aaab;

/// The larger; `y` when one is NaN, or both are zero: so is not the instruction for it.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn larger(x: float32x4_t, y: float32x4_t) -> float32x4_t {
    vbslq_f32(vcgtq_f32(x, y), x, y)
}

/// The smaller; `y` when one is NaN, or both are zero.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn smaller(x: float32x4_t, y: float32x4_t) -> float32x4_t {
    vbslq_f32(vcltq_f32(x, y), x, y)
}

/// 2ⁿ of an integer n from -126 to 127.
#[inline]
#[target_feature(enable = "neon")]
fn power(n: int32x4_t) -> float32x4_t {
    vreinterpretq_f32_s32(vaddq_s32(vshlq_n_s32::<23>(n), vdupq_n_s32(0x3f80_0000)))
}

#[inline]
#[target_feature(enable = "neon")]
fn power_of_two(n: float32x4_t) -> float32x4_t {
    power(vcvtq_s32_f32(n))
}

/// x · 2ⁿ in two steps, of which the first is exact.
#[inline]
#[target_feature(enable = "neon")]
fn scale(x: float32x4_t, n: float32x4_t) -> float32x4_t {
    let n = vcvtq_s32_f32(n);
    let half = vshrq_n_s32::<1>(n);
    vmulq_f32(vmulq_f32(x, power(half)), power(vsubq_s32(n, half)))
}

#[inline]
#[target_feature(enable = "neon")]
fn bits_of_exponent(x: float32x4_t) -> int32x4_t {
    vshrq_n_s32::<23>(vsubq_s32(vreinterpretq_s32_f32(x), vdupq_n_s32(TWO_THIRDS)))
}

#[inline]
#[target_feature(enable = "neon")]
fn exponent(x: float32x4_t) -> float32x4_t {
    vcvtq_f32_s32(bits_of_exponent(x))
}

#[inline]
#[target_feature(enable = "neon")]
fn mantissa(x: float32x4_t) -> float32x4_t {
    let exponent = vshlq_n_s32::<23>(bits_of_exponent(x));
    vreinterpretq_f32_s32(vsubq_s32(vreinterpretq_s32_f32(x), exponent))
}

macro_rules! bitwise {
    ($($name:ident = $f:ident;)+) => {$(
        #[inline]
        #[target_feature(enable = "neon")]
        fn $name(x: float32x4_t, y: float32x4_t) -> float32x4_t {
            vreinterpretq_f32_u32($f(vreinterpretq_u32_f32(x), vreinterpretq_u32_f32(y)))
        }
    )+};
}
bitwise! { and = vandq_u32; or = vorrq_u32; xor = veorq_u32; }

#[inline]
#[target_feature(enable = "neon")]
fn if_less(x: float32x4_t, y: float32x4_t, yes: float32x4_t, no: float32x4_t) -> float32x4_t {
    vbslq_f32(vcltq_f32(x, y), yes, no)
}

#[inline]
#[target_feature(enable = "neon")]
fn if_nan(x: float32x4_t, yes: float32x4_t, no: float32x4_t) -> float32x4_t {
    vbslq_f32(vceqq_f32(x, x), no, yes)
}

/// Byte `BYTE` of each of four numbers.
///
/// # Safety
///
/// There are four, and the processor has NEON.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn byte_of_four<const BYTE: usize>(from: *const u64) -> float32x4_t {
    // SAFETY: the contract.
    let (low, high) = unsafe { (vld1q_u32(from.cast()), vld1q_u32(from.add(2).cast())) };
    let halves = match BYTE / 4 {
        0 => vuzp1q_u32(low, high),
        _ => vuzp2q_u32(low, high),
    };
    let bytes = match BYTE % 4 {
        0 => halves,
        1 => vshrq_n_u32::<8>(halves),
        2 => vshrq_n_u32::<16>(halves),
        _ => vshrq_n_u32::<24>(halves),
    };
    vcvtq_f32_u32(vandq_u32(bytes, vdupq_n_u32(0xff)))
}

/// The first `count` floats from `from` on, four at the most; the rest is `or`.
///
/// # Safety
///
/// There are so many, and the processor has NEON.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_some(from: *const f32, count: usize, or: float32x4_t) -> float32x4_t {
    // SAFETY: the contract.
    unsafe {
        match count {
            0 => or,
            1 => vld1q_lane_f32::<0>(from, or),
            2 => vcombine_f32(vld1_f32(from), vget_high_f32(or)),
            3 => {
                let two = vcombine_f32(vld1_f32(from), vget_high_f32(or));
                vld1q_lane_f32::<2>(from.add(2), two)
            }
            _ => vld1q_f32(from),
        }
    }
}

/// Writes the first `count` floats from `to` on, four at the most.
///
/// # Safety
///
/// There are so many, and the processor has NEON.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_some(v: float32x4_t, to: *mut f32, count: usize) {
    // SAFETY: the contract.
    unsafe {
        match count {
            0 => {}
            1 => vst1q_lane_f32::<0>(to, v),
            2 => vst1_f32(to, vget_low_f32(v)),
            3 => {
                vst1_f32(to, vget_low_f32(v));
                vst1q_lane_f32::<2>(to.add(2), v);
            }
            _ => vst1q_f32(to, v),
        }
    }
}
