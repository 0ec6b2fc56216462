//! Sixteen floats at once, whatever the processor calls them.
//!
//! A kernel is written once, over [`Lanes`], and compiled for each instruction
//! set by [`for_isa`]. All operations are exact or correctly rounded, lane by
//! lane, so all instruction sets give the same bits.

use super::fused;

/// Floats in one value.
pub(super) const WIDTH: usize = 16;

/// Sixteen floats. The methods are only to be called in code that [`for_isa`]
/// made: where the processor has the instructions.
pub(super) trait Lanes: Copy {
    /// How many of them the processor's registers hold.
    const REGISTERS: usize;

    /// All the same.
    fn splat(v: f32) -> Self;
    /// The floats from `from` on.
    ///
    /// # Safety
    ///
    /// There are sixteen.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes the floats from `to` on.
    ///
    /// # Safety
    ///
    /// There are sixteen.
    unsafe fn store(self, to: *mut f32);
    /// The bytes from `from` on, as floats.
    ///
    /// # Safety
    ///
    /// There are sixteen.
    unsafe fn load_bytes(from: *const u8) -> Self;
    /// Writes lanes that are integers from 0 to 255 to the bytes from `to` on.
    ///
    /// # Safety
    ///
    /// There are sixteen.
    unsafe fn store_bytes(self, to: *mut u8);
    /// The integers from `from` on, each rounded to the nearest float.
    ///
    /// # Safety
    ///
    /// There are sixteen.
    unsafe fn load_ints(from: *const i32) -> Self;
    /// The 16-bit integers from `from` on, as floats.
    ///
    /// # Safety
    ///
    /// There are sixteen.
    unsafe fn load_shorts(from: *const i16) -> Self;
    /// Byte `BYTE`, the lowest being 0, of each number from `from` on, as floats.
    ///
    /// # Safety
    ///
    /// There are sixteen numbers.
    unsafe fn load_byte<const BYTE: usize>(from: *const u64) -> Self;

    fn add(self, y: Self) -> Self;
    fn sub(self, y: Self) -> Self;
    fn mul(self, y: Self) -> Self;
    fn div(self, y: Self) -> Self;
    /// x · y + z, rounded once.
    fn mul_add(self, y: Self, z: Self) -> Self;
    fn sqrt(self) -> Self;
    /// The larger; `y` when one is NaN, or both are zero.
    fn max(self, y: Self) -> Self;
    /// The smaller; `y` when one is NaN, or both are zero.
    fn min(self, y: Self) -> Self;
    /// To the nearest integer, ties to even.
    fn round(self) -> Self;
    /// To the nearest integer below.
    fn floor(self) -> Self;
    /// 2ˣ for integers from -126 to 127.
    fn power_of_two(self) -> Self;
    /// x · 2ⁿ for integers n from -250 to 250 and x from 0.5 to 2, rounded once.
    fn scale(self, n: Self) -> Self;
    /// m and e with x = m · 2ᵉ, m from 2/3 to 4/3 and e an integer, of a positive
    /// number that is normal.
    fn split(self) -> (Self, Self);
    /// Bits of the one and bits of the other.
    fn and(self, y: Self) -> Self;
    /// Bits of the one, of the other, or of both.
    fn or(self, y: Self) -> Self;
    /// Bits of either, but not of both.
    fn xor(self, y: Self) -> Self;
    /// Where `x < y`: `yes`; else, and for NaN: `no`.
    fn if_less(self, y: Self, yes: Self, no: Self) -> Self;
    /// Where it is NaN: `yes`; else `no`.
    fn if_nan(self, yes: Self, no: Self) -> Self;
    /// The lanes.
    fn array(self) -> [f32; WIDTH];

    /// The polynomial, its highest coefficient first.
    #[inline(always)]
    fn polynomial(self, coefficients: &[f32]) -> Self {
        let mut sum = Self::splat(coefficients[0]);
        for c in &coefficients[1..] {
            sum = sum.mul_add(self, Self::splat(*c));
        }
        sum
    }

    /// Without the sign.
    #[inline(always)]
    fn abs(self) -> Self {
        self.and(Self::splat(f32::from_bits(0x7fff_ffff)))
    }

    /// With the other sign.
    #[inline(always)]
    fn neg(self) -> Self {
        self.xor(Self::splat(-0.0))
    }

    /// The sum of all lanes: halves are added to halves.
    #[inline(always)]
    fn sum(self) -> f32 {
        fold(self.array(), |x, y| x + y)
    }

    /// The largest lane; whatever it may be when one is NaN.
    #[inline(always)]
    fn largest(self) -> f32 {
        fold(self.array(), |x, y| if x > y { x } else { y })
    }

    /// The first `count` floats from `from` on; the rest is `or`.
    ///
    /// # Safety
    ///
    /// There are so many.
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize, or: f32) -> Self {
        let mut lanes = [or; WIDTH];
        // SAFETY: the contract; `lanes` has at least as many.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count.min(WIDTH));
            Self::load(lanes.as_ptr())
        }
    }

    /// Writes the first `count` floats from `to` on.
    ///
    /// # Safety
    ///
    /// There are so many.
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, count: usize) {
        let lanes = self.array();
        // SAFETY: the contract; `lanes` has at least as many.
        unsafe { std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count.min(WIDTH)) };
    }
}

/// All lanes: halves are joined with halves.
#[inline(always)]
pub(super) fn fold(mut lanes: [f32; WIDTH], with: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = WIDTH / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = with(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n << 23).wrapping_add(0x3f80_0000) as u32)
}

/// The reference: one float after the other. Its methods are functions of their
/// own, so that kernels of it are small.
#[derive(Clone, Copy)]
pub(super) struct Scalar([f32; WIDTH]);

impl Scalar {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Scalar {
        Scalar(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, y: Scalar, f: impl Fn(f32, f32) -> f32) -> Scalar {
        Scalar(std::array::from_fn(|i| f(self.0[i], y.0[i])))
    }
}

impl Lanes for Scalar {
    const REGISTERS: usize = 0;

    #[inline(never)]
    fn splat(v: f32) -> Scalar {
        Scalar([v; WIDTH])
    }
    #[inline(never)]
    unsafe fn load(from: *const f32) -> Scalar {
        // SAFETY: the contract.
        Scalar(unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() })
    }
    #[inline(never)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the contract.
        unsafe { to.cast::<[f32; WIDTH]>().write_unaligned(self.0) };
    }
    #[inline(never)]
    unsafe fn load_bytes(from: *const u8) -> Scalar {
        // SAFETY: the contract.
        Scalar(unsafe { from.cast::<[u8; WIDTH]>().read() }.map(f32::from))
    }
    #[inline(never)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: the contract.
        unsafe { to.cast::<[u8; WIDTH]>().write(self.0.map(|v| v as u8)) };
    }
    #[inline(never)]
    unsafe fn load_ints(from: *const i32) -> Scalar {
        // SAFETY: the contract.
        Scalar(unsafe { from.cast::<[i32; WIDTH]>().read_unaligned() }.map(|v| v as f32))
    }
    #[inline(never)]
    unsafe fn load_shorts(from: *const i16) -> Scalar {
        // SAFETY: the contract.
        Scalar(unsafe { from.cast::<[i16; WIDTH]>().read_unaligned() }.map(f32::from))
    }
    #[inline(never)]
    unsafe fn load_byte<const BYTE: usize>(from: *const u64) -> Scalar {
        // SAFETY: the contract.
        let numbers = unsafe { from.cast::<[u64; WIDTH]>().read_unaligned() };
        Scalar(numbers.map(|n| f32::from(n.to_le_bytes()[BYTE])))
    }
    #[inline(never)]
    fn add(self, y: Scalar) -> Scalar {
        self.zip(y, |x, y| x + y)
    }
    #[inline(never)]
    fn sub(self, y: Scalar) -> Scalar {
        self.zip(y, |x, y| x - y)
    }
    #[inline(never)]
    fn mul(self, y: Scalar) -> Scalar {
        self.zip(y, |x, y| x * y)
    }
    #[inline(never)]
    fn div(self, y: Scalar) -> Scalar {
        self.zip(y, |x, y| x / y)
    }
    #[inline(never)]
    fn mul_add(self, y: Scalar, z: Scalar) -> Scalar {
        Scalar(std::array::from_fn(|i| fused(self.0[i], y.0[i], z.0[i])))
    }
    #[inline(never)]
    fn sqrt(self) -> Scalar {
        self.map(f32::sqrt)
    }
    #[inline(never)]
    fn max(self, y: Scalar) -> Scalar {
        self.zip(y, |x, y| if x > y { x } else { y })
    }
    #[inline(never)]
    fn min(self, y: Scalar) -> Scalar {
        self.zip(y, |x, y| if x < y { x } else { y })
    }
    #[inline(never)]
    fn round(self) -> Scalar {
        self.map(f32::round_ties_even)
    }
    #[inline(never)]
    fn floor(self) -> Scalar {
        self.map(f32::floor)
    }
    #[inline(never)]
    fn power_of_two(self) -> Scalar {
        self.map(|x| power_of_two(x as i32))
    }
    #[inline(never)]
    fn scale(self, n: Scalar) -> Scalar {
        self.zip(n, |x, n| {
            let (n, half) = (n as i32, n as i32 >> 1);
            x * power_of_two(half) * power_of_two(n - half)
        })
    }
    #[inline(never)]
    fn split(self) -> (Scalar, Scalar) {
        // From the least float that rounds to two thirds.
        let exponent = |x: f32| (x.to_bits() as i32).wrapping_sub(0x3f2a_aaab) >> 23;
        let mantissa = |x: f32| (x.to_bits() as i32).wrapping_sub(exponent(x) << 23);
        (self.map(|x| f32::from_bits(mantissa(x) as u32)), self.map(|x| exponent(x) as f32))
    }
    #[inline(never)]
    fn and(self, y: Scalar) -> Scalar {
        self.zip(y, |x, y| f32::from_bits(x.to_bits() & y.to_bits()))
    }
    #[inline(never)]
    fn or(self, y: Scalar) -> Scalar {
        self.zip(y, |x, y| f32::from_bits(x.to_bits() | y.to_bits()))
    }
    #[inline(never)]
    fn xor(self, y: Scalar) -> Scalar {
        self.zip(y, |x, y| f32::from_bits(x.to_bits() ^ y.to_bits()))
    }
    #[inline(never)]
    fn if_less(self, y: Scalar, yes: Scalar, no: Scalar) -> Scalar {
        Scalar(std::array::from_fn(|i| if self.0[i] < y.0[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(never)]
    fn if_nan(self, yes: Scalar, no: Scalar) -> Scalar {
        Scalar(std::array::from_fn(|i| if self.0[i].is_nan() { yes.0[i] } else { no.0[i] }))
    }
    #[inline(never)]
    fn polynomial(self, coefficients: &[f32]) -> Scalar {
        let of = |x: f32| coefficients[1..].iter().fold(coefficients[0], |s, c| fused(s, x, *c));
        self.map(of)
    }
    #[inline(never)]
    fn array(self) -> [f32; WIDTH] {
        self.0
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

/// `for_isa! { pub(super) fn name(args) = kernel; }` makes a function of an
/// [`Isa`](super::Isa) and `args` that calls `kernel::<V>(args)` for the lanes
/// of that instruction set; it panics when the processor has it not.
macro_rules! for_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $t:ty),* $(,)?) = $kernel:ident;) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::kernels::Isa, $($arg: $t),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($arg: $t),*) {
                $kernel::<$crate::kernels::lanes::Avx2>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($arg: $t),*) {
                $kernel::<$crate::kernels::lanes::Avx512>($($arg),*)
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            #[allow(clippy::too_many_arguments)]
            fn neon($($arg: $t),*) {
                $kernel::<$crate::kernels::lanes::Neon>($($arg),*)
            }
            assert!(isa.is_there(), "{isa:?} is not there");
            match isa {
                // SAFETY: the processor has the instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: the processor has the instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: the processor has the instructions.
                #[cfg(target_arch = "aarch64")]
                $crate::kernels::Isa::Neon => unsafe { neon($($arg),*) },
                _ => $kernel::<$crate::kernels::lanes::Scalar>($($arg),*),
            }
        }
    };
}
pub(super) use for_isa;
