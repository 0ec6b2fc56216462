//! The lanes of x86-64: AVX2 and AVX-512.

use super::{Lanes, WIDTH};
use std::arch::x86_64::*;

/// Two registers of eight floats.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Avx2(__m256, __m256);

/// One register of sixteen.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Avx512(__m512);

macro_rules! both {
    ($f:ident, $($x:expr),+) => {
        // SAFETY: the trait's contract: the processor has AVX2 and FMA.
        unsafe { Avx2($f($($x.0),+), $f($($x.1),+)) }
    };
}

impl Lanes for Avx2 {
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(v: f32) -> Avx2 {
        // SAFETY: as for `both`.
        let one = unsafe { _mm256_set1_ps(v) };
        Avx2(one, one)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Avx2 {
        // SAFETY: the contract.
        unsafe { Avx2(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the contract.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Avx2 {
        // SAFETY: the contract.
        unsafe {
            let all = _mm_loadu_si128(from.cast());
            let high = _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(all));
            Avx2(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(all)), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: the contract.
        unsafe {
            let (low, high) = (_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1));
            // Halves of each half, then in their order.
            let words = _mm256_permute4x64_epi64::<0xd8>(_mm256_packs_epi32(low, high));
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), _mm_packus_epi16(low, high));
        }
    }
    #[inline(always)]
    unsafe fn load_ints(from: *const i32) -> Avx2 {
        // SAFETY: the contract.
        unsafe {
            let (low, high) =
                (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast()));
            Avx2(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn load_shorts(from: *const i16) -> Avx2 {
        // SAFETY: the contract.
        unsafe {
            let low = _mm256_cvtepi16_epi32(_mm_loadu_si128(from.cast()));
            let high = _mm256_cvtepi16_epi32(_mm_loadu_si128(from.add(8).cast()));
            Avx2(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn load_byte<const BYTE: usize>(from: *const u64) -> Avx2 {
        // SAFETY: the contract.
        unsafe {
            let low = halves_256::<BYTE>(from);
            let high = halves_256::<BYTE>(from.add(8));
            Avx2(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    fn add(self, y: Avx2) -> Avx2 {
        both!(_mm256_add_ps, self, y)
    }
    #[inline(always)]
    fn sub(self, y: Avx2) -> Avx2 {
        both!(_mm256_sub_ps, self, y)
    }
    #[inline(always)]
    fn mul(self, y: Avx2) -> Avx2 {
        both!(_mm256_mul_ps, self, y)
    }
    #[inline(always)]
    fn div(self, y: Avx2) -> Avx2 {
        both!(_mm256_div_ps, self, y)
    }
    #[inline(always)]
    fn mul_add(self, y: Avx2, z: Avx2) -> Avx2 {
        both!(_mm256_fmadd_ps, self, y, z)
    }
    #[inline(always)]
    fn sqrt(self) -> Avx2 {
        both!(_mm256_sqrt_ps, self)
    }
    #[inline(always)]
    fn max(self, y: Avx2) -> Avx2 {
        both!(_mm256_max_ps, self, y)
    }
    #[inline(always)]
    fn min(self, y: Avx2) -> Avx2 {
        both!(_mm256_min_ps, self, y)
    }
    #[inline(always)]
    fn round(self) -> Avx2 {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: as for `both`.
        unsafe { Avx2(_mm256_round_ps::<NEAREST>(self.0), _mm256_round_ps::<NEAREST>(self.1)) }
    }
    #[inline(always)]
    fn floor(self) -> Avx2 {
        const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
        // SAFETY: as for `both`.
        unsafe { Avx2(_mm256_round_ps::<DOWN>(self.0), _mm256_round_ps::<DOWN>(self.1)) }
    }
    #[inline(always)]
    fn scale(self, n: Avx2) -> Avx2 {
        both!(scale_256, self, n)
    }
    #[inline(always)]
    fn split(self) -> (Avx2, Avx2) {
        // SAFETY: as for `both`.
        let (low, high) = unsafe { (split_256(self.0), split_256(self.1)) };
        (Avx2(low.0, high.0), Avx2(low.1, high.1))
    }
    #[inline(always)]
    fn power_of_two(self) -> Avx2 {
        // SAFETY: as for `both`.
        unsafe {
            let one = _mm256_set1_epi32(0x3f80_0000);
            let low = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(self.0));
            let high = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(self.1));
            Avx2(
                _mm256_castsi256_ps(_mm256_add_epi32(low, one)),
                _mm256_castsi256_ps(_mm256_add_epi32(high, one)),
            )
        }
    }
    #[inline(always)]
    fn and(self, y: Avx2) -> Avx2 {
        both!(_mm256_and_ps, self, y)
    }
    #[inline(always)]
    fn or(self, y: Avx2) -> Avx2 {
        both!(_mm256_or_ps, self, y)
    }
    #[inline(always)]
    fn xor(self, y: Avx2) -> Avx2 {
        both!(_mm256_xor_ps, self, y)
    }
    #[inline(always)]
    fn if_less(self, y: Avx2, yes: Avx2, no: Avx2) -> Avx2 {
        // SAFETY: as for `both`.
        unsafe {
            let low = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, y.0);
            let high = _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, y.1);
            Avx2(_mm256_blendv_ps(no.0, yes.0, low), _mm256_blendv_ps(no.1, yes.1, high))
        }
    }
    #[inline(always)]
    fn if_nan(self, yes: Avx2, no: Avx2) -> Avx2 {
        // SAFETY: as for `both`.
        unsafe {
            let low = _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0);
            let high = _mm256_cmp_ps::<_CMP_UNORD_Q>(self.1, self.1);
            Avx2(_mm256_blendv_ps(no.0, yes.0, low), _mm256_blendv_ps(no.1, yes.1, high))
        }
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
        // SAFETY: as for `both`.
        unsafe { sum_256(_mm256_add_ps(self.0, self.1)) }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: as for `both`.
        unsafe { largest_256(_mm256_max_ps(self.0, self.1)) }
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize, or: f32) -> Avx2 {
        // SAFETY: the contract; what the mask leaves out is not read.
        unsafe {
            let (low, high) = masks_256(count);
            let or = _mm256_set1_ps(or);
            let first = _mm256_maskload_ps(from, low);
            let second = _mm256_maskload_ps(from.wrapping_add(8), high);
            Avx2(
                _mm256_blendv_ps(or, first, _mm256_castsi256_ps(low)),
                _mm256_blendv_ps(or, second, _mm256_castsi256_ps(high)),
            )
        }
    }
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, count: usize) {
        // SAFETY: the contract; what the mask leaves out is not written.
        unsafe {
            // A masked store is slow on some processors.
            if count < 8 {
                _mm256_maskstore_ps(to, masks_256(count).0, self.0);
            } else {
                _mm256_storeu_ps(to, self.0);
                if count > 8 {
                    _mm256_maskstore_ps(to.add(8), masks_256(count).1, self.1);
                }
            }
        }
    }
}

macro_rules! one {
    ($f:ident, $($x:expr),+) => {
        // SAFETY: the trait's contract: the processor has AVX-512 F.
        unsafe { Avx512($f($($x.0),+)) }
    };
}

impl Lanes for Avx512 {
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn splat(v: f32) -> Avx512 {
        // SAFETY: as for `one`.
        unsafe { Avx512(_mm512_set1_ps(v)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Avx512 {
        // SAFETY: the contract.
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the contract.
        unsafe { _mm512_storeu_ps(to, self.0) };
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Avx512 {
        // SAFETY: the contract.
        unsafe {
            let all = _mm_loadu_si128(from.cast());
            Avx512(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(all)))
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: the contract.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn load_ints(from: *const i32) -> Avx512 {
        // SAFETY: the contract.
        unsafe { Avx512(_mm512_cvtepi32_ps(_mm512_loadu_si512(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_shorts(from: *const i16) -> Avx512 {
        // SAFETY: the contract.
        unsafe {
            let all = _mm256_loadu_si256(from.cast());
            Avx512(_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(all)))
        }
    }
    #[inline(always)]
    unsafe fn load_byte<const BYTE: usize>(from: *const u64) -> Avx512 {
        // SAFETY: the contract.
        unsafe {
            // Every second one of two registers' halves of numbers.
            let first =
                _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let which = match BYTE / 4 {
                0 => first,
                _ => _mm512_add_epi32(first, _mm512_set1_epi32(1)),
            };
            let (low, high) =
                (_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(8).cast()));
            let halves = _mm512_permutex2var_epi32(low, which, high);
            let bytes = match BYTE % 4 {
                0 => halves,
                1 => _mm512_srli_epi32::<8>(halves),
                2 => _mm512_srli_epi32::<16>(halves),
                _ => _mm512_srli_epi32::<24>(halves),
            };
            Avx512(_mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(0xff))))
        }
    }
    #[inline(always)]
    fn add(self, y: Avx512) -> Avx512 {
        one!(_mm512_add_ps, self, y)
    }
    #[inline(always)]
    fn sub(self, y: Avx512) -> Avx512 {
        one!(_mm512_sub_ps, self, y)
    }
    #[inline(always)]
    fn mul(self, y: Avx512) -> Avx512 {
        one!(_mm512_mul_ps, self, y)
    }
    #[inline(always)]
    fn div(self, y: Avx512) -> Avx512 {
        one!(_mm512_div_ps, self, y)
    }
    #[inline(always)]
    fn mul_add(self, y: Avx512, z: Avx512) -> Avx512 {
        one!(_mm512_fmadd_ps, self, y, z)
    }
    #[inline(always)]
    fn sqrt(self) -> Avx512 {
        one!(_mm512_sqrt_ps, self)
    }
    #[inline(always)]
    fn max(self, y: Avx512) -> Avx512 {
        one!(_mm512_max_ps, self, y)
    }
    #[inline(always)]
    fn min(self, y: Avx512) -> Avx512 {
        one!(_mm512_min_ps, self, y)
    }
    #[inline(always)]
    fn round(self) -> Avx512 {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: as for `one`.
        unsafe { Avx512(_mm512_roundscale_ps::<NEAREST>(self.0)) }
    }
    #[inline(always)]
    fn floor(self) -> Avx512 {
        const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
        // SAFETY: as for `one`.
        unsafe { Avx512(_mm512_roundscale_ps::<DOWN>(self.0)) }
    }
    #[inline(always)]
    fn scale(self, n: Avx512) -> Avx512 {
        one!(_mm512_scalef_ps, self, n)
    }
    #[inline(always)]
    fn split(self) -> (Avx512, Avx512) {
        // SAFETY: as for `one`.
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let above = _mm512_sub_epi32(bits, _mm512_set1_epi32(TWO_THIRDS));
            let exponent = _mm512_srai_epi32::<23>(above);
            let mantissa = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(exponent));
            (Avx512(_mm512_castsi512_ps(mantissa)), Avx512(_mm512_cvtepi32_ps(exponent)))
        }
    }
    #[inline(always)]
    fn power_of_two(self) -> Avx512 {
        Avx512::splat(1.0).scale(self)
    }
    #[inline(always)]
    fn and(self, y: Avx512) -> Avx512 {
        // SAFETY: as for `one`.
        unsafe {
            let (x, y) = (_mm512_castps_si512(self.0), _mm512_castps_si512(y.0));
            Avx512(_mm512_castsi512_ps(_mm512_and_si512(x, y)))
        }
    }
    #[inline(always)]
    fn or(self, y: Avx512) -> Avx512 {
        // SAFETY: as for `one`.
        unsafe {
            let (x, y) = (_mm512_castps_si512(self.0), _mm512_castps_si512(y.0));
            Avx512(_mm512_castsi512_ps(_mm512_or_si512(x, y)))
        }
    }
    #[inline(always)]
    fn xor(self, y: Avx512) -> Avx512 {
        // SAFETY: as for `one`.
        unsafe {
            let (x, y) = (_mm512_castps_si512(self.0), _mm512_castps_si512(y.0));
            Avx512(_mm512_castsi512_ps(_mm512_xor_si512(x, y)))
        }
    }
    #[inline(always)]
    fn if_less(self, y: Avx512, yes: Avx512, no: Avx512) -> Avx512 {
        // SAFETY: as for `one`.
        unsafe {
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, y.0);
            Avx512(_mm512_mask_blend_ps(less, no.0, yes.0))
        }
    }
    #[inline(always)]
    fn if_nan(self, yes: Avx512, no: Avx512) -> Avx512 {
        // SAFETY: as for `one`.
        unsafe {
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            Avx512(_mm512_mask_blend_ps(nan, no.0, yes.0))
        }
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
        // SAFETY: as for `one`.
        unsafe {
            sum_256({
                let (low, high) = halves_512(self.0);
                _mm256_add_ps(low, high)
            })
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: as for `one`.
        unsafe {
            largest_256({
                let (low, high) = halves_512(self.0);
                _mm256_max_ps(low, high)
            })
        }
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize, or: f32) -> Avx512 {
        // SAFETY: the contract; what the mask leaves out is not read.
        unsafe { Avx512(_mm512_mask_loadu_ps(_mm512_set1_ps(or), mask_512(count), from)) }
    }
    #[inline(always)]
    unsafe fn store_some(self, to: *mut f32, count: usize) {
        // SAFETY: the contract; what the mask leaves out is not written.
        unsafe { _mm512_mask_storeu_ps(to, mask_512(count), self.0) };
    }
}

/// The bits of the least float that rounds to two thirds.
const TWO_THIRDS: i32 = 0x3f2a_aaab;

/// x · 2ⁿ in two steps, of which the first is exact.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn scale_256(x: __m256, n: __m256) -> __m256 {
    let one = _mm256_set1_epi32(0x3f80_0000);
    let n = _mm256_cvtps_epi32(n);
    let half = _mm256_srai_epi32::<1>(n);
    let rest = _mm256_sub_epi32(n, half);
    let power = |n| _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32::<23>(n), one));
    _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(rest))
}

/// Byte `BYTE` of each of eight numbers.
///
/// # Safety
///
/// There are eight, and the processor has AVX2.
#[inline(always)]
unsafe fn halves_256<const BYTE: usize>(from: *const u64) -> __m256i {
    // SAFETY: the contract.
    unsafe {
        let (low, high) = (_mm256_loadu_ps(from.cast()), _mm256_loadu_ps(from.add(4).cast()));
        // Halves of numbers 0, 1, 4, 5, 2, 3, 6, 7; then in their order.
        let halves = match BYTE / 4 {
            0 => _mm256_shuffle_ps::<0x88>(low, high),
            _ => _mm256_shuffle_ps::<0xdd>(low, high),
        };
        let halves = _mm256_permute4x64_epi64::<0xd8>(_mm256_castps_si256(halves));
        let bytes = match BYTE % 4 {
            0 => halves,
            1 => _mm256_srli_epi32::<8>(halves),
            2 => _mm256_srli_epi32::<16>(halves),
            _ => _mm256_srli_epi32::<24>(halves),
        };
        _mm256_and_si256(bytes, _mm256_set1_epi32(0xff))
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn split_256(x: __m256) -> (__m256, __m256) {
    let bits = _mm256_castps_si256(x);
    let above = _mm256_sub_epi32(bits, _mm256_set1_epi32(TWO_THIRDS));
    let exponent = _mm256_srai_epi32::<23>(above);
    let mantissa = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(exponent));
    (_mm256_castsi256_ps(mantissa), _mm256_cvtepi32_ps(exponent))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_256(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn largest_256(x: __m256) -> f32 {
    let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
}

#[inline]
#[target_feature(enable = "avx512f,avx2,fma")]
fn halves_512(x: __m512) -> (__m256, __m256) {
    let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x));
    (_mm512_castps512_ps256(x), _mm256_castpd_ps(high))
}

/// The first `count` lanes of sixteen.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn masks_256(count: usize) -> (__m256i, __m256i) {
    let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let count = _mm256_set1_epi32(count.min(WIDTH) as i32);
    let low = _mm256_cmpgt_epi32(count, lane);
    (low, _mm256_cmpgt_epi32(count, _mm256_add_epi32(lane, _mm256_set1_epi32(8))))
}

/// The first `count` lanes of sixteen.
#[inline(always)]
fn mask_512(count: usize) -> __mmask16 {
    if count >= WIDTH { u16::MAX } else { (1 << count) - 1 }
}
