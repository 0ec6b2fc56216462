//! The register tiles of x86-64.

use super::tiles::{Tile, one_row, tile, tiles};
use super::{Job, PANEL};
use crate::kernels::each::each;
use std::arch::asm;
use std::arch::x86_64::*;

/// Rows of B that are fetched before they are needed, where a tile has so many
/// rows of A that there is time for it.
const AHEAD: usize = 32;
const FETCH_FROM: usize = 7;

/// Every third of what is `stride` apart from `at` on: an address of the
/// processor reaches the two after each.
///
/// The optimizer does not know that they belong together: it would derive each
/// from the one before, in a chain that takes longer than the products.
#[inline(always)]
fn thirds(at: *const f32, stride: usize) -> [*const f32; 3] {
    let apart = |index: usize| {
        let mut to = at.wrapping_add(index * stride);
        // SAFETY: no instruction at all.
        unsafe {
            asm!("/* {} */", inout(reg) to, options(pure, readonly, nostack, preserves_flags))
        };
        to
    };
    [apart(0), apart(3), apart(6)]
}

/// SAFETY: the processor has AVX-512 F, and the job's slices have been measured.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn avx512(job: &mut Job<'_>) {
    if job.is_one_row() {
        // SAFETY: the place is within the slices of a job that was measured.
        let tile = |panels: usize, place: &Tile| unsafe {
            tile!(tile_512, 1, panels, place, 1 => [1 2 3 4 5 6 7];)
        };
        return one_row(job, 4, tile);
    }
    // At least eight sums at once, to hide the latency; 27 at most, for the
    // other registers hold what is multiplied.
    let panels_of = |rows| [4, 4, 4, 4, 4, 4, 4, 3, 3, 3][rows];
    let tile = |rows: usize, panels: usize, place: &Tile| {
        // SAFETY: the place is one of `tiles`, of a job that was measured.
        unsafe {
            tile!(tile_512, rows, panels, place,
                2 => [1 2 3 4];
                3 => [1 2 3 4];
                4 => [1 2 3 4];
                5 => [1 2 3 4];
                6 => [1 2 3 4];
                7 => [1 2 3];
                8 => [1 2 3];
                9 => [1 2 3];)
        }
    };
    // Four panels at once are better than two and two.
    let most_rows = if job.n.div_ceil(PANEL) == 4 { 6 } else { 9 };
    tiles(job, most_rows, panels_of, tile);
}

/// `R` rows of A times `P` panels of B.
///
/// SAFETY: the processor has AVX-512 F, and the place is as it says.
#[target_feature(enable = "avx512f")]
unsafe fn tile_512<const R: usize, const P: usize>(place: &Tile) {
    let Tile { pieces, b, panel, line, a, lda, start, start_stride, .. } = *place;
    let Tile { residual, ldr, c, ldc, columns, clamp, .. } = *place;
    let zero = _mm512_setzero_ps();
    let mut sums = [[zero; P]; R];
    // Masks keep to the columns of C, and only the last panel has fewer.
    let left = columns - (P - 1) * PANEL;
    let cut: __mmask16 = if left >= PANEL { u16::MAX } else { (1 << left) - 1 };
    let mask = |q| if q + 1 == P { cut } else { u16::MAX };
    // SAFETY: by this function's contract.
    unsafe {
        if !start.is_null() {
            each!(i < R, {
                each!(q < P, {
                    let from = start.add(i * start_stride + q * PANEL);
                    sums[i][q] = _mm512_maskz_loadu_ps(mask(q), from);
                })
            });
        }
        let mut panels = thirds(b, panel);
        for piece in pieces {
            let mut rows = thirds(a.wrapping_add(piece.at), lda);
            for _ in 0..piece.len {
                let mut lines = [zero; P];
                each!(q < P, {
                    lines[q] = _mm512_maskz_loadu_ps(mask(q), panels[q / 3].add(q % 3 * panel))
                });
                if R >= FETCH_FROM {
                    each!(q < P, {
                        let next = panels[q / 3].wrapping_add(q % 3 * panel + AHEAD * line);
                        _mm_prefetch::<_MM_HINT_T0>(next.cast());
                    });
                }
                each!(i < R, {
                    let x = _mm512_set1_ps(*rows[i / 3].add(i % 3 * lda));
                    each!(q < P, { sums[i][q] = _mm512_fmadd_ps(x, lines[q], sums[i][q]) })
                });
                each!(i < R, {
                    if i.is_multiple_of(3) {
                        rows[i / 3] = rows[i / 3].wrapping_add(1);
                    }
                });
                each!(q < P, {
                    if q.is_multiple_of(3) {
                        panels[q / 3] = panels[q / 3].wrapping_add(line);
                    }
                });
            }
        }
        each!(i < R, {
            each!(q < P, {
                let mut sum = sums[i][q];
                if !residual.is_null() {
                    let from = residual.add(i * ldr + q * PANEL);
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask(q), from));
                }
                if let Some([low, high]) = clamp {
                    sum = _mm512_max_ps(_mm512_set1_ps(low), sum);
                    sum = _mm512_min_ps(_mm512_set1_ps(high), sum);
                }
                _mm512_mask_storeu_ps(c.add(i * ldc + q * PANEL), mask(q), sum);
            })
        });
    }
}

/// SAFETY: the processor has AVX2 and FMA, and the job's slices have been
/// measured.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn avx2(job: &mut Job<'_>) {
    if job.is_one_row() {
        // SAFETY: the place is within the slices of a job that was measured.
        let tile = |panels: usize, place: &Tile| unsafe {
            tile!(tile_256, 1, panels, place, 1 => [1 2 3 4 5];)
        };
        return one_row(job, 3, tile);
    }
    // Twelve of sixteen registers are sums.
    let panels_of = |rows| [4, 4, 3, 2, 1, 1, 1][rows];
    let tile = |rows: usize, panels: usize, place: &Tile| {
        // SAFETY: the place is one of `tiles`, of a job that was measured.
        unsafe {
            tile!(tile_256, rows, panels, place,
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
/// SAFETY: the processor has AVX2 and FMA, and the place is as it says.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_256<const R: usize, const P: usize>(place: &Tile) {
    // SAFETY: as this function's own contract.
    unsafe {
        if place.columns < P * PANEL {
            cut_256::<R, P, true>(place)
        } else {
            cut_256::<R, P, false>(place)
        }
    }
}

/// As [`tile_256`]; its last panel is not whole with `CUT`.
///
/// SAFETY: as for [`tile_256`].
#[target_feature(enable = "avx2,fma")]
unsafe fn cut_256<const R: usize, const P: usize, const CUT: bool>(place: &Tile) {
    let Tile { pieces, b, panel, line, a, lda, start, start_stride, .. } = *place;
    let Tile { residual, ldr, c, ldc, columns, clamp, .. } = *place;
    let zero = _mm256_setzero_ps();
    let mut sums = [[[zero; 2]; P]; R];
    // Masks keep to the columns of C, and only the last panel has fewer.
    let left = (columns - (P - 1) * PANEL).min(PANEL) as i32;
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let cut = [
        _mm256_cmpgt_epi32(_mm256_set1_epi32(left), lanes),
        _mm256_cmpgt_epi32(_mm256_set1_epi32(left - 8), lanes),
    ];
    let load = |q: usize, h: usize, from: *const f32| {
        // SAFETY: eight floats, or those of the mask, by the outer contract.
        unsafe {
            let from = from.wrapping_add(8 * h);
            if CUT && q + 1 == P { _mm256_maskload_ps(from, cut[h]) } else { _mm256_loadu_ps(from) }
        }
    };
    // SAFETY: by this function's contract.
    unsafe {
        if !start.is_null() {
            each!(i < R, {
                each!(q < P, {
                    let from = start.add(i * start_stride + q * PANEL);
                    sums[i][q] = [load(q, 0, from), load(q, 1, from)];
                })
            });
        }
        let mut panels = thirds(b, panel);
        for piece in pieces {
            let mut rows = thirds(a.wrapping_add(piece.at), lda);
            for _ in 0..piece.len {
                each!(q < P, {
                    let from = panels[q / 3].add(q % 3 * panel);
                    let halves = [load(q, 0, from), load(q, 1, from)];
                    each!(i < R, {
                        let x = _mm256_set1_ps(*rows[i / 3].add(i % 3 * lda));
                        sums[i][q][0] = _mm256_fmadd_ps(x, halves[0], sums[i][q][0]);
                        sums[i][q][1] = _mm256_fmadd_ps(x, halves[1], sums[i][q][1]);
                    })
                });
                each!(i < R, {
                    if i.is_multiple_of(3) {
                        rows[i / 3] = rows[i / 3].wrapping_add(1);
                    }
                });
                each!(q < P, {
                    if q.is_multiple_of(3) {
                        panels[q / 3] = panels[q / 3].wrapping_add(line);
                    }
                });
            }
        }
        each!(i < R, {
            each!(q < P, {
                each!(h < 2, {
                    let mut sum = sums[i][q][h];
                    if !residual.is_null() {
                        sum = _mm256_add_ps(sum, load(q, h, residual.add(i * ldr + q * PANEL)));
                    }
                    if let Some([low, high]) = clamp {
                        sum = _mm256_max_ps(_mm256_set1_ps(low), sum);
                        sum = _mm256_min_ps(_mm256_set1_ps(high), sum);
                    }
                    let to = c.wrapping_add(i * ldc + q * PANEL + 8 * h);
                    if CUT && q + 1 == P {
                        _mm256_maskstore_ps(to, cut[h], sum);
                    } else {
                        _mm256_storeu_ps(to, sum);
                    }
                })
            })
        });
    }
}
