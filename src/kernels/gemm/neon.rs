//! The register tiles of 64-bit ARM.

use super::tiles::{Tile, one_row, tile, tiles};
use super::{Job, PANEL};
use crate::kernels::each::each;
use crate::kernels::lanes::neon::{larger, smaller};
use std::arch::aarch64::*;
use std::arch::asm;
use std::ptr;

/// Floats of a register.
const QUARTER: usize = 4;
const QUARTERS: usize = PANEL / QUARTER;

/// A line of a panel of B, or the sums of a row of A and a panel.
type Line = [float32x4_t; QUARTERS];

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
    let panels_of = |rows| [4, 4, 3, 1, 1, 1, 1][rows];
    let tile = |rows: usize, panels: usize, place: &Tile| {
        // SAFETY: the place is one of `tiles`, of a job that was measured.
        unsafe {
            tile!(tile_128, rows, panels, place,
                2 => [1 2 3];
                3 => [1];
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

/// The float at an address, which then is that of the next one. The optimizer would copy it to
/// all lanes, which takes the unit that multiplies; a product with one lane does not need that.
///
/// # Safety
///
/// There is one.
#[inline(always)]
unsafe fn next(at: &mut *const f32) -> f32 {
    let x;
    // SAFETY: the contract.
    unsafe {
        asm!("ldr {x:s}, [{at}], #4", x = out(vreg) x, at = inout(reg) *at,
            options(pure, readonly, nostack, preserves_flags));
    }
    x
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

/// As [`tile_128`]; its last panel is not whole with `CUT`.
///
/// SAFETY: as for [`tile_128`].
#[target_feature(enable = "neon")]
unsafe fn cut_128<const R: usize, const P: usize, const CUT: bool>(place: &Tile) {
    let Tile { pieces, b, panel, line, a, lda, start, start_stride, .. } = *place;
    let mut sums = [[[vdupq_n_f32(0.0); QUARTERS]; P]; R];
    let left = if CUT { place.columns - (P - 1) * PANEL } else { PANEL };
    // SAFETY: by this function's contract.
    unsafe {
        if !start.is_null() {
            each!(i < R, {
                each!(q < P, {
                    let from = start.add(i * start_stride + q * PANEL);
                    sums[i][q] = match CUT && q + 1 == P {
                        true => load(some(from, left).as_ptr()),
                        false => load(from),
                    };
                })
            });
        }
        let mut panels: [_; P] = apart(b, panel);
        let mut end = End::default();
        if CUT {
            end.fill(place, panels[P - 1], left);
        }
        // Lines until there, and how far those of the last panel are apart.
        let (mut until, mut step) = (end.from, line);
        for piece in pieces {
            let mut rows: [_; R] = apart(a.wrapping_add(piece.at), lda);
            for _ in 0..piece.len {
                if CUT {
                    if until == 0 {
                        (panels[P - 1], step) = (end.lines.as_ptr().cast(), end.step);
                    }
                    until = until.wrapping_sub(1);
                }
                let mut x = [0.0; R];
                each!(q < P, {
                    let of = load(panels[q]);
                    each!(i < R, {
                        if q == 0 {
                            x[i] = next(&mut rows[i]);
                        }
                        each!(h < QUARTERS, {
                            sums[i][q][h] = vfmaq_n_f32(sums[i][q][h], of[h], x[i])
                        });
                    });
                    let step = if CUT && q + 1 == P { step } else { line };
                    panels[q] = panels[q].wrapping_add(step);
                });
            }
        }
        each!(i < R, {
            each!(q < P, {
                let (residual, c) = (place.residual, place.c.add(i * place.ldc + q * PANEL));
                let residual = match residual.is_null() {
                    true => residual,
                    false => residual.add(i * place.ldr + q * PANEL),
                };
                match CUT && q + 1 == P {
                    true => write_some(place, sums[i][q], residual, c, left),
                    false => write(place, sums[i][q], residual, c),
                }
            })
        });
    }
}

/// The last lines of a panel that is not whole, filled up with zeros: of those, sixteen floats
/// cannot be read where they are, as what follows may not be B's.
#[derive(Default)]
struct End {
    lines: [[f32; PANEL]; PANEL - 1],
    /// The first of them, and how far they are apart here.
    from: usize,
    step: usize,
}

impl End {
    /// SAFETY: the panel has the lines of the place, each of `left` floats.
    #[inline(always)]
    unsafe fn fill(&mut self, place: &Tile, panel: *const f32, left: usize) {
        let all = place.pieces.iter().fold(0, |all, piece| all + piece.len);
        // (Lines that are not apart at all are one.)
        let (count, step) = match place.line {
            0 => (all.min(1), 0),
            line => (all.min((PANEL - left).div_ceil(line)), PANEL),
        };
        (self.from, self.step) = (if step == 0 { 0 } else { all - count }, step);
        for (i, to) in self.lines[..count].iter_mut().enumerate() {
            // SAFETY: the contract.
            *to = unsafe { some(panel.add((self.from + i) * place.line), left) };
        }
    }
}

/// The first `left` floats of a line, and zeros.
///
/// SAFETY: there are so many, sixteen at most.
#[inline(always)]
unsafe fn some(from: *const f32, left: usize) -> [f32; PANEL] {
    let mut line = [0.0; PANEL];
    // SAFETY: the contract.
    unsafe { ptr::copy_nonoverlapping(from, line.as_mut_ptr(), left) };
    line
}

/// Sixteen floats.
///
/// SAFETY: there are so many, and the processor has NEON.
#[inline(always)]
unsafe fn load(from: *const f32) -> Line {
    // SAFETY: the contract.
    unsafe {
        [
            vld1q_f32(from),
            vld1q_f32(from.add(QUARTER)),
            vld1q_f32(from.add(2 * QUARTER)),
            vld1q_f32(from.add(3 * QUARTER)),
        ]
    }
}

/// Writes sums, with a residual that there is unless it is null.
///
/// SAFETY: there are sixteen of each, and the processor has NEON.
#[inline(always)]
unsafe fn write(place: &Tile, sums: Line, residual: *const f32, c: *mut f32) {
    each!(h < QUARTERS, {
        let mut sum = sums[h];
        // SAFETY: the contract.
        unsafe {
            if !residual.is_null() {
                sum = vaddq_f32(sum, vld1q_f32(residual.add(h * QUARTER)));
            }
            if let Some([low, high]) = place.clamp {
                sum = larger(vdupq_n_f32(low), sum);
                sum = smaller(vdupq_n_f32(high), sum);
            }
            vst1q_f32(c.add(h * QUARTER), sum);
        }
    });
}

/// As [`write`], of the first `left` sums.
///
/// SAFETY: as for that; there are so many.
#[inline(always)]
unsafe fn write_some(place: &Tile, sums: Line, residual: *const f32, c: *mut f32, left: usize) {
    let mut to = [0.0; PANEL];
    // SAFETY: the contract.
    unsafe {
        let of = match residual.is_null() {
            true => to,
            false => some(residual, left),
        };
        let residual = if residual.is_null() { residual } else { of.as_ptr() };
        write(place, sums, residual, to.as_mut_ptr());
        ptr::copy_nonoverlapping(to.as_ptr(), c, left);
    }
}
