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
/// gives: a row, a column and sums. The places are within the slices of the job.
#[inline(always)]
fn tiles(
    job: &Job<'_>,
    [most_rows, most_panels]: [usize; 2],
    tile: impl Fn(usize, usize, &Tile, &mut Sums),
    write: impl Fn(usize, usize, &mut [i32; WIDTH]),
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
                    for (q, sums) in sums.iter_mut().take(panels).enumerate() {
                        write(band * job.rows[1] + row + i, (first + q) * PANEL, sums);
                    }
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
        // SAFETY: as above.
        |row, column, sums| unsafe { job.write::<Avx512>(row, column, sums) },
    );
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
                        each!(q < P, {
                            sums[i][q] = _mm512_dpbusd_epi32(sums[i][q], x, lines[q])
                        });
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
        |row, column, sums| unsafe { job.write::<Avx2>(row, column, sums) },
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
