//! The integer products of x86-64: VNNI where there is one, else pairs of products as
//! words, which cannot overflow.

mod depthwise;

pub(super) use depthwise::{depthwise_256, depthwise_512};

use super::gemm::Job;
use crate::kernels::each::each;
use crate::kernels::lanes::{Avx2, Avx512, WIDTH};
use crate::kernels::pack::PANEL;
use std::arch::asm;
use std::arch::x86_64::*;

/// Rows and panels of a tile at the most.
const ROWS: usize = 6;
const PANELS: usize = 4;

/// Bytes of a line of B.
const LINE: usize = 64;

/// The sums of a tile: of each row, those of each panel.
type Sums = [[[i32; WIDTH]; PANELS]; ROWS];

/// Whether the processor multiplies four bytes at once, in AVX-512.
pub(super) fn has_vnni() -> bool {
    std::arch::is_x86_feature_detected!("avx512vnni")
        && std::arch::is_x86_feature_detected!("avx512bw")
}

/// As equal parts of `count` as can be, of `most` each.
fn part(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most).max(1))
}

/// Where a tile reads.
struct Tile<'a> {
    job: &'a Job<'a>,
    a: *const u8,
    b: *const i8,
    start: *const i32,
}

/// An address of its own: the optimizer does not know what it has to do with others,
/// and keeps each in a register.
#[inline(always)]
fn apart<T>(at: *const T) -> *const T {
    let mut to = at;
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {} */", inout(reg) to, options(pure, readonly, nostack, preserves_flags)) };
    to
}

/// Calls `tile` for all of C, with so many rows and panels, and `write` for what it
/// gives: a row, a column and the sums of panels. The places are within the slices of the job.
#[inline(always)]
fn tiles(
    job: &Job<'_>,
    [most_rows, most_panels]: [usize; 2],
    tile: impl Fn(usize, usize, &Tile, &mut Sums),
    write: impl Fn(usize, usize, &mut [[i32; WIDTH]]),
) {
    let all = job.n.div_ceil(PANEL);
    let mut sums = [[[0; WIDTH]; PANELS]; ROWS];
    let wide = part(all, most_panels);
    for first in (0..all).step_by(wide) {
        let panels = wide.min(all - first);
        let b = job.b.as_ptr().wrapping_add(first * job.panel);
        let start = job.start.as_ptr().wrapping_add(first * PANEL);
        for band in 0..job.rows[0] {
            let mut row = 0;
            while row < job.rows[1] {
                let rows = part(job.rows[1] - row, most_rows);
                let a = job.a.as_ptr().wrapping_add(band * job.steps[0] + row * job.steps[1]);
                tile(rows, panels, &Tile { job, a, b, start }, &mut sums);
                for (i, sums) in sums.iter_mut().take(rows).enumerate() {
                    write(band * job.rows[1] + row + i, first * PANEL, &mut sums[..panels]);
                }
                row += rows;
            }
        }
    }
}

/// The tile with as many rows and panels as there are.
macro_rules! tile {
    ($tile:ident, $rows:expr, $panels:expr, $place:expr, $sums:expr, $p:tt, $($r:literal)+) => {
        match $rows {
            $($r => tile!(@ $tile, $r, $panels, $place, $sums, $p),)+
            _ => unreachable!("rows that no tile has"),
        }
    };
    (@ $tile:ident, $r:literal, $panels:expr, $place:expr, $sums:expr, [$($p:literal)+]) => {
        match $panels {
            $($p => $tile::<$r, $p>($place, $sums),)+
            _ => unreachable!("panels that no tile has"),
        }
    };
}

/// # Safety
///
/// The processor has AVX-512 with VNNI, and the job's slices have been measured.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn avx512(job: &Job<'_>) {
    tiles(
        job,
        [ROWS, PANELS],
        |rows, panels, place, sums| {
            // SAFETY: the place is one of `tiles`, of a job that was measured.
            unsafe { tile!(tile_512, rows, panels, place, sums, [1 2 3 4], 1 2 3 4 5 6) }
        },
        // SAFETY: as above; the sums are those of the tile.
        |row, column, sums| unsafe {
            if job.finish.gives_bytes() && job.less.is_none() {
                return bytes_512(job, row, column, sums);
            }
            for (q, sums) in sums.iter_mut().enumerate() {
                job.write::<Avx512>(row, column + q * PANEL, sums);
            }
        },
    );
}

/// Writes the sums of up to four panels of a row as bytes.
///
/// # Safety
///
/// As for [`avx512`]; there are such a row and such panels, and bytes are written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
unsafe fn bytes_512(job: &Job<'_>, row: usize, column: usize, sums: &[[i32; WIDTH]]) {
    let count = (job.n - column).min(sums.len() * PANEL);
    let mut q = [_mm512_setzero_si512(); PANELS];
    let from = sums.as_ptr().cast::<i32>();
    each!(at < PANELS, {
        let first = at * PANEL;
        if first < count {
            let some = count - first;
            let mask: __mmask16 = if some >= PANEL { u16::MAX } else { (1 << some) - 1 };
            // SAFETY: the contract.
            unsafe {
                let scale = match job.finish.scale(column + first) {
                    (true, each) => _mm512_maskz_loadu_ps(mask, each),
                    (false, one) => _mm512_set1_ps(*one),
                };
                let sums = _mm512_cvtepi32_ps(_mm512_loadu_si512(from.add(first).cast()));
                let mut x = _mm512_mul_ps(sums, scale);
                if let Some(bias) = job.finish.bias(column + first) {
                    x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, bias));
                }
                q[at] = to_ints(x);
            }
        }
    });
    // Each quarter has four of every panel.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let bytes = _mm512_permutexvar_epi32(order, packed(q, job.finish.zero()));
    // SAFETY: the contract.
    unsafe { store_some(bytes, job.finish.byte(row, column), count) };
}

/// Writes the first `count` bytes of a vector. (A masked store of bytes is slow on some
/// processors.)
///
/// # Safety
///
/// There are so many, 64 at most.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn store_some(bytes: __m512i, to: *mut u8, count: usize) {
    // SAFETY: the contract.
    unsafe {
        if count == LINE {
            return _mm512_storeu_si512(to.cast(), bytes);
        }
        let quarters = [
            _mm512_castsi512_si128(bytes),
            _mm512_extracti32x4_epi32::<1>(bytes),
            _mm512_extracti32x4_epi32::<2>(bytes),
            _mm512_extracti32x4_epi32::<3>(bytes),
        ];
        each!(at < 4, {
            if count >= 16 * (at + 1) {
                _mm_storeu_si128(to.add(16 * at).cast(), quarters[at]);
            } else if count > 16 * at {
                let mut last = [0u8; 16];
                _mm_storeu_si128(last.as_mut_ptr().cast(), quarters[at]);
                let from = last.as_ptr();
                std::ptr::copy_nonoverlapping(from, to.add(16 * at), count - 16 * at);
            }
        });
    }
}

/// The nearest integers, ties to even; NaN and what is far below zero are the least one,
/// what is far above is far above.
#[inline]
#[target_feature(enable = "avx512f")]
fn to_ints(x: __m512) -> __m512i {
    _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(FAR), x))
}

/// More than any byte, and than any that a zero is taken from.
const FAR: f32 = 1024.0;

/// Integers plus zero as bytes, from 0 to 255: in each quarter, four of each vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn packed(q: [__m512i; 4], zero: f32) -> __m512i {
    let zero = _mm512_set1_epi16(zero as i16);
    let low = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), zero);
    let high = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), zero);
    _mm512_packus_epi16(low, high)
}

/// `R` rows of A times `P` panels of B.
///
/// # Safety
///
/// As for [`avx512`], and the place is as it says.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
unsafe fn tile_512<const R: usize, const P: usize>(place: &Tile, to: &mut Sums) {
    let Tile { job, a, mut b, start } = *place;
    let mut sums = [[_mm512_setzero_si512(); P]; R];
    // SAFETY: by this function's contract.
    unsafe {
        each!(q < P, {
            let start = _mm512_loadu_si512(start.add(q * PANEL).cast());
            each!(i < R, { sums[i][q] = start });
        });
        let mut rows = [a; R];
        each!(i < R, { rows[i] = apart(a.wrapping_add(i * job.steps[1])) });
        for down in 0..job.pieces.count[0] {
            for across in 0..job.pieces.count[1] {
                let from = down * job.pieces.steps[0] + across * job.pieces.steps[1];
                let end = from + job.pieces.len;
                let mut at = from;
                while at < end {
                    let mut lines = [_mm512_setzero_si512(); P];
                    each!(q < P, {
                        lines[q] = _mm512_load_si512(b.add(q * job.panel).cast());
                    });
                    each!(i < R, {
                        let four = rows[i].add(at).cast::<i32>().read_unaligned();
                        let x = _mm512_set1_epi32(four);
                        each!(q < P, { sums[i][q] = _mm512_dpbusd_epi32(sums[i][q], x, lines[q]) });
                    });
                    at += 4;
                    b = b.add(LINE);
                }
            }
        }
        let to = to.as_mut_ptr().cast::<i32>();
        each!(i < R, {
            each!(q < P, {
                _mm512_storeu_si512(to.add((i * PANELS + q) * WIDTH).cast(), sums[i][q])
            })
        });
    }
}

/// # Safety
///
/// The processor has AVX2, and the job's slices have been measured.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn avx2(job: &Job<'_>) {
    tiles(
        job,
        [3, 1],
        |rows, panels, place, sums| {
            // SAFETY: the place is one of `tiles`, of a job that was measured.
            unsafe { tile!(tile_256, rows, panels, place, sums, [1], 1 2 3) }
        },
        // SAFETY: as above.
        |row, column, sums| unsafe { job.write::<Avx2>(row, column, &mut sums[0]) },
    );
}

/// `R` rows of A times a panel of B.
///
/// # Safety
///
/// As for [`avx2`], and the place is as it says.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_256<const R: usize, const P: usize>(place: &Tile, to: &mut Sums) {
    let Tile { job, a, mut b, start } = *place;
    // Of four columns each: two halves of the sum of each.
    let mut sums = [[_mm256_setzero_si256(); 4]; R];
    // SAFETY: by this function's contract.
    unsafe {
        for down in 0..job.pieces.count[0] {
            for across in 0..job.pieces.count[1] {
                let from = down * job.pieces.steps[0] + across * job.pieces.steps[1];
                for at in (from..from + job.pieces.len).step_by(4) {
                    let mut x = [_mm256_setzero_si256(); R];
                    each!(i < R, {
                        let four = a.add(i * job.steps[1] + at).cast::<i32>().read_unaligned();
                        let words = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(four));
                        x[i] = _mm256_broadcastq_epi64(words);
                    });
                    each!(c < 4, {
                        let w = _mm256_cvtepi8_epi16(_mm_load_si128(b.add(16 * c).cast()));
                        each!(i < R, {
                            sums[i][c] = _mm256_add_epi32(sums[i][c], _mm256_madd_epi16(x[i], w))
                        });
                    });
                    b = b.add(LINE);
                }
            }
        }
        let to = to.as_mut_ptr().cast::<i32>();
        each!(i < R, {
            each!(h < 2, {
                let both = _mm256_hadd_epi32(sums[i][2 * h], sums[i][2 * h + 1]);
                let both = _mm256_permute4x64_epi64::<0xd8>(both);
                let start = _mm256_loadu_si256(start.add(8 * h).cast());
                let to = to.add(i * PANELS * WIDTH + 8 * h);
                _mm256_storeu_si256(to.cast(), _mm256_add_epi32(both, start));
            })
        });
    }
}
