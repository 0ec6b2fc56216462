//! The integer products of 64-bit ARM: dot products of four bytes where there are such
//! instructions, else products as words, summed by pairs.
//!
//! Both are of signed bytes. So 128 is taken from each byte of A, and what the sums begin
//! with has 128 times the sum of each column of B more: integers wrap, so nothing is lost.

use super::depthwise::{Job as Windows, QDepthwise};
use super::gemm::Job;
use crate::kernels::each::each;
use crate::kernels::lanes::{Neon, WIDTH};
use crate::kernels::pack::PANEL;
use std::arch::aarch64::*;
use std::arch::asm;

/// Rows of a tile at the most.
const ROWS: usize = 6;

/// Bytes of a line of B, and of a register.
const LINE: usize = 64;
const QUARTER: usize = 16;

/// The sums of the rows of a tile.
type Sums = [[i32; WIDTH]; ROWS];

/// Whether the processor multiplies four bytes at once.
pub(super) fn has_dot() -> bool {
    std::arch::is_aarch64_feature_detected!("dotprod")
}

/// Where a tile reads: rows of A, a panel of B, and what the sums begin with.
struct Tile<'a> {
    job: &'a Job<'a>,
    a: *const u8,
    b: *const i8,
    start: &'a [i32; WIDTH],
}

/// # Safety
///
/// The processor has dot products, and the job's slices have been measured.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn dot(job: &Job<'_>) {
    // 24 of 32 registers are sums.
    tiles(job, ROWS, |rows, place, sums| {
        // SAFETY: the place is one of `tiles`, of a job that was measured.
        unsafe {
            match rows {
                1 => tile_dot::<1>(place, sums),
                2 => tile_dot::<2>(place, sums),
                3 => tile_dot::<3>(place, sums),
                4 => tile_dot::<4>(place, sums),
                5 => tile_dot::<5>(place, sums),
                _ => tile_dot::<6>(place, sums),
            }
        }
    });
}

/// # Safety
///
/// The processor has NEON, and the job's slices have been measured.
#[target_feature(enable = "neon")]
pub(super) unsafe fn words(job: &Job<'_>) {
    tiles(job, 3, |rows, place, sums| {
        // SAFETY: the place is one of `tiles`, of a job that was measured.
        unsafe {
            match rows {
                1 => tile_words::<1>(place, sums),
                2 => tile_words::<2>(place, sums),
                _ => tile_words::<3>(place, sums),
            }
        }
    });
}

/// Calls `tile` for all of C, with so many rows, and writes what it gives. The places are
/// within the slices of the job.
#[inline(always)]
fn tiles(job: &Job<'_>, most: usize, tile: impl Fn(usize, &Tile, &mut Sums)) {
    let mut sums = [[0; WIDTH]; ROWS];
    for column in (0..job.n).step_by(PANEL) {
        let panel = &job.b[column / PANEL * job.panel..][..job.panel];
        let start = start(panel, &job.start[column..column + PANEL]);
        for band in 0..job.rows[0] {
            for row in (0..job.rows[1]).step_by(most) {
                let rows = most.min(job.rows[1] - row);
                let a = job.a.as_ptr().wrapping_add(band * job.steps[0] + row * job.steps[1]);
                tile(rows, &Tile { job, a, b: panel.as_ptr(), start: &start }, &mut sums);
                for (i, sums) in sums.iter_mut().take(rows).enumerate() {
                    // SAFETY: there are such a row and such a column.
                    unsafe { job.write::<Neon>(band * job.rows[1] + row + i, column, sums) };
                }
            }
        }
    }
}

/// What the sums of a panel begin with: `from`, and 128 times the sum of each column.
#[inline(always)]
fn start(panel: &[i8], from: &[i32]) -> [i32; WIDTH] {
    let mut start = [0; WIDTH];
    // SAFETY: the processor has NEON; lines of 64 bytes, and sixteen of the others.
    unsafe {
        let mut sums = [vdupq_n_s32(0); 4];
        for line in panel.as_chunks::<LINE>().0 {
            each!(h < 4, {
                let pairs = vpaddlq_s8(vld1q_s8(line.as_ptr().add(h * QUARTER)));
                sums[h] = vpadalq_s16(sums[h], pairs);
            });
        }
        let from: *const i32 = from[..WIDTH].as_ptr();
        each!(h < 4, {
            let all = vaddq_s32(vld1q_s32(from.add(4 * h)), vshlq_n_s32::<7>(sums[h]));
            vst1q_s32(start.as_mut_ptr().add(4 * h), all);
        });
    }
    start
}

/// Calls `add` for every four bytes of the rows: where they are in them, and their line.
///
/// # Safety
///
/// `add` may be called with those.
#[inline(always)]
unsafe fn quads(place: &Tile, mut add: impl FnMut(usize, *const i8)) {
    let (pieces, mut line) = (&place.job.pieces, place.b);
    for down in 0..pieces.count[0] {
        for across in 0..pieces.count[1] {
            let from = down * pieces.steps[0] + across * pieces.steps[1];
            let (mut at, end) = (from, from + pieces.len);
            while at < end {
                add(at, line);
                at += 4;
                line = line.wrapping_add(LINE);
            }
        }
    }
}

/// Four bytes, each 128 less.
///
/// # Safety
///
/// There are four.
#[inline(always)]
unsafe fn four(from: *const u8) -> u32 {
    // SAFETY: the contract.
    unsafe { from.cast::<u32>().read_unaligned() ^ 0x8080_8080 }
}

/// The products of each four bytes of a line with those of `x`, added to the sums.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_dot(mut sums: int32x4_t, line: int8x16_t, x: int8x8_t) -> int32x4_t {
    // SAFETY: arithmetic on registers, which the processor has. (The intrinsic is not stable.)
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[0]", inout(vreg) sums, in(vreg) line,
            in(vreg) x, options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// `R` rows of A times a panel of B.
///
/// # Safety
///
/// As for [`dot`], and the place is as it says.
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile_dot<const R: usize>(place: &Tile, to: &mut Sums) {
    let mut sums = [[vdupq_n_s32(0); 4]; R];
    let mut rows = [place.a; R];
    each!(i < R, { rows[i] = place.a.wrapping_add(i * place.job.steps[1]) });
    // SAFETY: by this function's contract.
    unsafe {
        each!(h < 4, {
            let start = vld1q_s32(place.start.as_ptr().add(4 * h));
            each!(i < R, { sums[i][h] = start });
        });
        quads(place, |at, line| {
            let mut lines = [vdupq_n_s8(0); 4];
            each!(h < 4, { lines[h] = vld1q_s8(line.add(h * QUARTER)) });
            each!(i < R, {
                let x = vcreate_s8(u64::from(four(rows[i].add(at))));
                each!(h < 4, { sums[i][h] = add_dot(sums[i][h], lines[h], x) });
            });
        });
        let to = to.as_mut_ptr().cast::<i32>();
        each!(i < R, { each!(h < 4, { vst1q_s32(to.add(i * WIDTH + 4 * h), sums[i][h]) }) });
    }
}

/// `R` rows of A times a panel of B.
///
/// # Safety
///
/// As for [`words`], and the place is as it says.
#[target_feature(enable = "neon")]
unsafe fn tile_words<const R: usize>(place: &Tile, to: &mut Sums) {
    // Of two columns each: two halves of the sum of each.
    let mut sums = [[vdupq_n_s32(0); 8]; R];
    let mut rows = [place.a; R];
    each!(i < R, { rows[i] = place.a.wrapping_add(i * place.job.steps[1]) });
    // SAFETY: by this function's contract.
    unsafe {
        quads(place, |at, line| {
            let mut x = [vdupq_n_s8(0); R];
            each!(i < R, { x[i] = vreinterpretq_s8_u32(vdupq_n_u32(four(rows[i].add(at)))) });
            each!(h < 4, {
                let w = vld1q_s8(line.add(h * QUARTER));
                each!(i < R, {
                    let low = vmull_s8(vget_low_s8(x[i]), vget_low_s8(w));
                    sums[i][2 * h] = vpadalq_s16(sums[i][2 * h], low);
                    sums[i][2 * h + 1] = vpadalq_s16(sums[i][2 * h + 1], vmull_high_s8(x[i], w));
                });
            });
        });
        let to = to.as_mut_ptr().cast::<i32>();
        each!(i < R, {
            each!(h < 4, {
                let all = vpaddq_s32(sums[i][2 * h], sums[i][2 * h + 1]);
                let start = vld1q_s32(place.start.as_ptr().add(4 * h));
                vst1q_s32(to.add(i * WIDTH + 4 * h), vaddq_s32(all, start));
            })
        });
    }
}

/// # Safety
///
/// The processor has NEON, and the job's slices have been measured.
#[target_feature(enable = "neon")]
pub(super) unsafe fn depthwise(job: &Windows<'_>) {
    let QDepthwise { channels, weights, start, .. } = *job.d;
    job.spans(|span| {
        job.write::<Neon>(span, |window, channel, sums, some| {
            if some < WIDTH {
                return job.sums(span, window, channel, &mut sums[..some]);
            }
            // SAFETY: sixteen channels of each tap, and of what the sums begin with.
            unsafe {
                let start = start.as_ptr().add(channel);
                let mut all = [vdupq_n_s32(0); 4];
                each!(h < 4, { all[h] = vld1q_s32(start.add(4 * h)) });
                for (tap, of) in span.taps[..job.taps()].iter().enumerate() {
                    let x = vld1q_u8(of.x.as_ptr().add(window * of.step + channel));
                    let w = vld1q_s8(weights.as_ptr().add(tap * channels + channel));
                    let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x)));
                    let high = vreinterpretq_s16_u16(vmovl_high_u8(x));
                    let (w_low, w_high) = (vmovl_s8(vget_low_s8(w)), vmovl_high_s8(w));
                    all[0] = vmlal_s16(all[0], vget_low_s16(low), vget_low_s16(w_low));
                    all[1] = vmlal_high_s16(all[1], low, w_low);
                    all[2] = vmlal_s16(all[2], vget_low_s16(high), vget_low_s16(w_high));
                    all[3] = vmlal_high_s16(all[3], high, w_high);
                }
                each!(h < 4, { vst1q_s32(sums.as_mut_ptr().add(4 * h), all[h]) });
            }
        });
    });
}
