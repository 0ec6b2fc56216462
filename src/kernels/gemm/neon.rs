//! The register tiles of 64-bit ARM.

use super::tiles::{Tile, one_row, tile, tiles};
use super::{Job, PANEL};
use crate::kernels::each::each;
use crate::kernels::lanes::neon::{larger, load_some, smaller, store_some};
use std::arch::aarch64::*;
use std::arch::asm;

/// Floats of a register.
const QUARTER: usize = 4;
const QUARTERS: usize = PANEL / QUARTER;

/// The sums of a row of A and a panel of B.
type Sums = [float32x4_t; QUARTERS];

/// SAFETY: the processor has NEON, and the job's slices have been measured.
#[target_feature(enable = "neon")]
pub(super) unsafe fn neon(job: &mut Job<'_>) {
    if job.is_one_row() {
        // SAFETY: the place is within the slices of a job that was measured.
        let tile = |panels: usize, place: &Tile| unsafe {
            tile!(tile_128, 1, panels, place, 1 => [1 2 3 4 5];)
        };
        return one_row(job, 3, tile);
    }
    // 24 of 32 registers are sums.
    let panels_of = |rows| [4, 4, 3, 2, 1, 1, 1][rows];
    let tile = |rows: usize, panels: usize, place: &Tile| {
        // SAFETY: the place is one of `tiles`, of a job that was measured.
        unsafe {
            tile!(tile_128, rows, panels, place,
                2 => [1 2 3];
                3 => [1 2];
                4 => [1];
                5 => [1];
                6 => [1];)
        }
    };
    tiles(job, 6, panels_of, tile);
}

/// `R` rows of A times `P` panels of B.
///
/// SAFETY: the processor has NEON, and the place is as it says.
#[target_feature(enable = "neon")]
unsafe fn tile_128<const R: usize, const P: usize>(place: &Tile) {
    // SAFETY: as this function's own contract.
    unsafe {
        if place.columns < P * PANEL {
            cut_128::<R, P, true>(place)
        } else {
            cut_128::<R, P, false>(place)
        }
    }
}

/// Addresses `stride` apart from `at` on, which the optimizer keeps a register for each of:
/// it would derive each from the one before, in a chain.
#[inline(always)]
fn apart<const N: usize>(at: *const f32, stride: usize) -> [*const f32; N] {
    let mut all = [at; N];
    each!(i < N, {
        let mut to = at.wrapping_add(i * stride);
        // SAFETY: no instruction at all.
        unsafe {
            asm!("/* {} */", inout(reg) to, options(pure, readonly, nostack, preserves_flags))
        };
        all[i] = to;
    });
    all
}

/// How many lines of a panel with `left` columns are followed by so many that sixteen floats
/// may be read of each.
#[inline(always)]
fn whole_lines(place: &Tile, left: usize) -> usize {
    let all = place.pieces.iter().map(|piece| piece.len).sum::<usize>();
    match place.line {
        0 => 0,
        line => all.saturating_sub((PANEL - left).div_ceil(line)),
    }
}

/// As [`tile_128`]; its last panel is not whole with `CUT`.
///
/// SAFETY: as for [`tile_128`].
#[target_feature(enable = "neon")]
unsafe fn cut_128<const R: usize, const P: usize, const CUT: bool>(place: &Tile) {
    let Tile { pieces, b, panel, line, a, lda, start, start_stride, .. } = *place;
    let zero = vdupq_n_f32(0.0);
    let mut sums = [[[zero; QUARTERS]; P]; R];
    // Only the last panel has fewer columns.
    let left = if CUT { place.columns - (P - 1) * PANEL } else { PANEL };
    let load = |q: usize, h: usize, from: *const f32| {
        let from = from.wrapping_add(h * QUARTER);
        let some = if CUT && q + 1 == P { left.saturating_sub(h * QUARTER) } else { QUARTER };
        // SAFETY: four floats, or those that are left, by the outer contract.
        unsafe { load_some(from, some, zero) }
    };
    // SAFETY: by this function's contract.
    unsafe {
        if !start.is_null() {
            each!(i < R, {
                each!(q < P, {
                    let from = start.add(i * start_stride + q * PANEL);
                    each!(h < QUARTERS, { sums[i][q][h] = load(q, h, from) });
                })
            });
        }
        let mut panels: [_; P] = apart(b, panel);
        let mut whole = if CUT { whole_lines(place, left) } else { 0 };
        for piece in pieces {
            let mut rows: [_; R] = apart(a.wrapping_add(piece.at), lda);
            for _ in 0..piece.len {
                each!(q < P, {
                    let mut lines = [zero; QUARTERS];
                    if CUT && q + 1 == P && whole == 0 {
                        each!(h < QUARTERS, { lines[h] = load(q, h, panels[q]) });
                    } else {
                        each!(h < QUARTERS, { lines[h] = vld1q_f32(panels[q].add(h * QUARTER)) });
                    }
                    each!(i < R, {
                        let x = *rows[i];
                        each!(h < QUARTERS, {
                            sums[i][q][h] = vfmaq_n_f32(sums[i][q][h], lines[h], x)
                        });
                    });
                    panels[q] = panels[q].wrapping_add(line);
                });
                each!(i < R, { rows[i] = rows[i].wrapping_add(1) });
                if CUT {
                    whole = usize::saturating_sub(whole, 1);
                }
            }
        }
        each!(i < R, {
            each!(q < P, { finish(place, i, q, sums[i][q], left, CUT && q + 1 == P) })
        });
    }
}

/// Writes the sums of a row of the tile and a panel of it: the first `left` of them with `cut`.
///
/// SAFETY: as for [`tile_128`]; there are such a row and such a panel.
#[inline(always)]
unsafe fn finish(place: &Tile, i: usize, q: usize, sums: Sums, left: usize, cut: bool) {
    let Tile { residual, ldr, c, ldc, clamp, .. } = *place;
    // SAFETY: by this function's contract.
    unsafe {
        each!(h < QUARTERS, {
            let (mut sum, at) = (sums[h], q * PANEL + h * QUARTER);
            let some = if cut { left.saturating_sub(h * QUARTER) } else { QUARTER };
            if !residual.is_null() {
                let from = residual.wrapping_add(i * ldr + at);
                sum = vaddq_f32(sum, load_some(from, some, vdupq_n_f32(0.0)));
            }
            if let Some([low, high]) = clamp {
                sum = larger(vdupq_n_f32(low), sum);
                sum = smaller(vdupq_n_f32(high), sum);
            }
            store_some(sum, c.wrapping_add(i * ldc + at), some);
        });
    }
}
