//! Convolutions of each channel on its own: four taps of a channel are brought
//! together, and multiplied by one instruction.

use super::{packed, store_some, to_ints};
use crate::kernels::each::each;
use crate::kernels::lanes::{Avx2, Avx512, WIDTH};
use crate::kernels::quant::depthwise::{Job, QDepthwise};
use crate::kernels::quant::finish::Bytes;
use std::arch::x86_64::*;

/// Channels of a vector.
const WIDE: usize = 64;

/// The four vectors of four channels each of every sixteen.
type Quad = [__m512i; 4];

/// Where in a [`Quad`] a channel of 64 is.
fn place(channel: usize) -> usize {
    channel % 16 / 4 * 16 + channel / 16 * 4 + channel % 4
}

/// # Safety
///
/// The processor has AVX-512 with VNNI, and the job's slices have been measured.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(in crate::kernels::quant) unsafe fn depthwise_512(job: &Job<'_>) {
    for channel in (0..job.d.channels).step_by(WIDE) {
        // SAFETY: the contract, and there is such a channel.
        unsafe {
            match job.taps() {
                0..=9 => channels_512::<3>(job, channel),
                10..=25 => channels_512::<7>(job, channel),
                _ => channels_512::<13>(job, channel),
            }
        }
    }
}

/// The bytes of four vectors, those of a place together.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn together(t: [__m512i; 4]) -> Quad {
    let (a, b) = (_mm512_unpacklo_epi8(t[0], t[1]), _mm512_unpackhi_epi8(t[0], t[1]));
    let (c, d) = (_mm512_unpacklo_epi8(t[2], t[3]), _mm512_unpackhi_epi8(t[2], t[3]));
    [
        _mm512_unpacklo_epi16(a, c),
        _mm512_unpackhi_epi16(a, c),
        _mm512_unpacklo_epi16(b, d),
        _mm512_unpackhi_epi16(b, d),
    ]
}

/// Up to 64 channels of all windows, `Q` times four taps.
///
/// # Safety
///
/// As for [`depthwise_512`]; there are no more taps, and there is such a channel.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
unsafe fn channels_512<const Q: usize>(job: &Job<'_>, channel: usize) {
    let QDepthwise { channels, weights, start, .. } = *job.d;
    let (taps, count) = (job.taps(), (channels - channel).min(WIDE));
    let mask: __mmask64 = if count == WIDE { u64::MAX } else { (1 << count) - 1 };
    let zero = _mm512_setzero_si512();
    let mut by = [[zero; 4]; Q];
    for (q, by) in by.iter_mut().enumerate() {
        let mut four = [zero; 4];
        for (i, one) in four.iter_mut().enumerate().filter(|(i, _)| 4 * q + i < taps) {
            let row = weights[(4 * q + i) * channels + channel..].as_ptr();
            // SAFETY: so many weights of a tap.
            *one = unsafe { _mm512_maskz_loadu_epi8(mask, row) };
        }
        *by = together(four);
    }
    let mut begin = [0i32; WIDE];
    (0..count).for_each(|i| begin[place(i)] = start[channel + i]);
    let bytes = job.finish.bytes(channel, count, place);
    job.spans(|span| {
        let mut at = [std::ptr::null::<u8>(); QDepthwise::MOST_TAPS];
        for (at, tap) in at.iter_mut().zip(&span.taps[..taps]) {
            *at = tap.x[channel..].as_ptr();
        }
        for window in span.first..span.first + span.count {
            // SAFETY: by this function's contract: a tap has all channels, and the window
            // is written.
            unsafe {
                let mut sums = [zero; 4];
                each!(v < 4, { sums[v] = _mm512_loadu_si512(begin.as_ptr().add(16 * v).cast()) });
                for (q, by) in by.iter().enumerate() {
                    let mut four = [zero; 4];
                    each!(i < 4, {
                        let tap = 4 * q + i;
                        if tap < taps {
                            four[i] = match count {
                                WIDE => _mm512_loadu_si512(at[tap].cast()),
                                _ => _mm512_maskz_loadu_epi8(mask, at[tap].cast()),
                            };
                            at[tap] = at[tap].wrapping_add(span.taps[tap].step);
                        }
                    });
                    let four = together(four);
                    each!(v < 4, { sums[v] = _mm512_dpbusd_epi32(sums[v], four[v], by[v]) });
                }
                if let Some(bytes) = &bytes {
                    let to = job.finish.byte(window, channel);
                    store_some(quantized(bytes, sums), to, count);
                } else {
                    write(job, window, channel, count, sums);
                }
            }
        }
    });
}

/// Writes sums that do not become bytes.
///
/// # Safety
///
/// As for [`depthwise_512`]; the window and the channels are there.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
unsafe fn write(job: &Job<'_>, window: usize, channel: usize, count: usize, sums: Quad) {
    let mut all = [0i32; WIDE];
    // SAFETY: four times sixteen; then the contract.
    unsafe {
        each!(v < 4, { _mm512_storeu_si512(all.as_mut_ptr().add(16 * v).cast(), sums[v]) });
        for from in (0..count).step_by(WIDTH) {
            let own: [i32; WIDTH] = std::array::from_fn(|i| all[place(from + i)]);
            let some = (count - from).min(WIDTH);
            job.finish.write::<Avx512>(window, channel + from, &own, some);
        }
    }
}

/// Sums as bytes, in the order of the channels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
fn quantized(of: &Bytes<WIDE>, sums: Quad) -> __m512i {
    let mut q = [_mm512_setzero_si512(); 4];
    each!(v < 4, {
        // SAFETY: four times sixteen.
        let (scale, bias) = unsafe {
            let scale = _mm512_loadu_ps(of.scale.as_ptr().add(16 * v));
            (scale, _mm512_loadu_ps(of.bias.as_ptr().add(16 * v)))
        };
        let mut x = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[v]), scale);
        if of.has_bias {
            x = _mm512_add_ps(x, bias);
        }
        q[v] = to_ints(x);
    });
    packed(q, of.zero)
}

/// # Safety
///
/// The processor has AVX2, and the job's slices have been measured.
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernels::quant) unsafe fn depthwise_256(job: &Job<'_>) {
    let QDepthwise { channels, weights, start, .. } = *job.d;
    job.spans(|span| {
        job.write::<Avx2>(span, |window, channel, sums, some| {
            if some < WIDTH {
                return job.sums(span, window, channel, &mut sums[..some]);
            }
            // SAFETY: sixteen channels of each tap, and of what the sums begin with.
            unsafe {
                let begin: *const __m256i = start.as_ptr().add(channel).cast();
                let mut both = [_mm256_loadu_si256(begin), _mm256_loadu_si256(begin.add(1))];
                for (tap, of) in span.taps[..job.taps()].iter().enumerate() {
                    let x = of.x.as_ptr().add(window * of.step + channel);
                    let w = weights.as_ptr().add(tap * channels + channel);
                    let (x, w) = (_mm_loadu_si128(x.cast()), _mm_loadu_si128(w.cast()));
                    let (x, w) = (_mm256_cvtepu8_epi16(x), _mm256_cvtepi8_epi16(w));
                    // A product of a byte and a signed one fits in a word.
                    let product = _mm256_mullo_epi16(x, w);
                    let low = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(product));
                    let high = _mm256_cvtepi16_epi32(_mm256_extracti128_si256::<1>(product));
                    both[0] = _mm256_add_epi32(both[0], low);
                    both[1] = _mm256_add_epi32(both[1], high);
                }
                let to: *mut __m256i = sums.as_mut_ptr().cast();
                _mm256_storeu_si256(to, both[0]);
                _mm256_storeu_si256(to.add(1), both[1]);
            }
        });
    });
}
