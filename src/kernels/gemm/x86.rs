//! The register tiles.

use super::{Job, PANEL, Pieces};
use crate::kernels::each::each;
use std::arch::asm;
use std::arch::x86_64::*;
use std::ptr;

/// Rows of B that are worked through at once.
const K_BLOCK: usize = 512;
/// Pieces of the rows of A that are worked through at once.
const MOST_PIECES: usize = 32;
/// Floats of B that are worked through at once: some of a second-level cache.
const B_BLOCK: usize = 128 * 1024;

/// Rows of B that are fetched before they are needed, where a tile has so many
/// rows of A that there is time for it.
const AHEAD: usize = 32;
const FETCH_FROM: usize = 7;

/// The tile with as many rows and panels as there are.
macro_rules! tile {
    ($tile:ident, $rows:expr, $panels:expr, $place:expr, $($r:literal => $p:tt;)+) => {
        match $rows {
            $($r => tile!(@ $tile, $r, $panels, $place, $p),)+
            _ => unreachable!("rows that no tile has"),
        }
    };
    (@ $tile:ident, $r:literal, $panels:expr, $place:expr, [$($p:literal)+]) => {
        match $panels {
            $($p => $tile::<$r, $p>($place),)+
            _ => unreachable!("panels that no tile has"),
        }
    };
}

/// A piece of the rows of A: where it begins in each, and its floats.
#[derive(Clone, Copy, Default)]
struct Piece {
    at: usize,
    len: usize,
}

/// The pieces of the rows of A that are worked through at once.
struct Block {
    pieces: [Piece; MOST_PIECES],
    count: usize,
    /// Floats of all of them.
    len: usize,
}

impl Block {
    /// What comes after the first `done` floats of a row: `most` of them, or fewer.
    fn new(all: &Pieces, done: usize, most: usize) -> Block {
        let mut block = Block { pieces: [Piece::default(); MOST_PIECES], count: 0, len: 0 };
        let most = most.min(all.floats() - done);
        while block.len < most && block.count < MOST_PIECES {
            let from = done + block.len;
            let (index, within) = (from / all.len, from % all.len);
            let len = (all.len - within).min(most - block.len);
            let at = all.at(index) + within;
            block.pieces[block.count] = Piece { at, len };
            block.count += 1;
            block.len += len;
        }
        block
    }
}

/// Where a tile reads and writes.
#[derive(Clone, Copy)]
struct Tile<'a> {
    /// The pieces of the rows of A that are multiplied, a float with a row of B.
    pieces: &'a [Piece],
    /// B: the panels are `panel` floats apart, and the lines of each `line`.
    b: *const f32,
    panel: usize,
    line: usize,
    /// The rows of A that go with it, `lda` apart.
    a: *const f32,
    lda: usize,
    /// What the sums start with: rows `start_stride` apart, or null for zero.
    start: *const f32,
    start_stride: usize,
    /// What is added to them in the end: rows `ldr` apart, or null for nothing.
    residual: *const f32,
    ldr: usize,
    /// Where they go: rows `ldc` apart of `columns` floats, or as many as the
    /// panels have.
    c: *mut f32,
    ldc: usize,
    columns: usize,
    clamp: Option<[f32; 2]>,
}

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

/// As equal parts of `count` as can be, of `most` each.
fn part(count: usize, most: usize) -> usize {
    if count <= most { count } else { count.div_ceil(count.div_ceil(most)) }
}

/// Calls `tile` for all of C, with so many rows and panels at once as `panels_of`
/// says: the number of rows, and of panels for them. The places are within the
/// slices of the job where those are as long as it says.
#[inline(always)]
fn tiles(
    job: &mut Job<'_>,
    most_rows: usize,
    panels_of: impl Fn(usize) -> usize,
    tile: impl Fn(usize, usize, &Tile),
) {
    let Job { rows: [bands, m], n, band, lda, panel, line, ldc, clamp, .. } = *job;
    let k = job.pieces.floats();
    let (a, b, c) = (job.a.as_ptr(), job.b.as_ptr(), job.c.as_mut_ptr());
    let (residual, ldr) = job.residual.map_or((ptr::null(), 0), |(r, ldr)| (r.as_ptr(), ldr));
    let bias = job.bias.map_or(ptr::null(), <[f32]>::as_ptr);
    let all = n.div_ceil(PANEL);
    let most = part(k, K_BLOCK);
    let mut p = 0;
    loop {
        let block = Block::new(&job.pieces, p, most);
        let (pieces, len) = (&block.pieces[..block.count], block.len);
        let last = p + len == k;
        let all_at_once = all * len <= B_BLOCK / PANEL;
        let wide = if all_at_once { all } else { (B_BLOCK / PANEL / len).max(1) };
        for first in (0..all).step_by(wide) {
            let end = all.min(first + wide);
            for at_band in 0..bands {
                let mut row = 0;
                while row < m {
                    let rows = part(m - row, most_rows);
                    let mut at = first;
                    while at < end {
                        let panels = part(end - at, panels_of(rows));
                        let (column, row_c) = (at * PANEL, at_band * m + row);
                        let to = c.wrapping_add(row_c * ldc + column);
                        let of = |from: *const f32, at: usize| {
                            if from.is_null() { from } else { from.wrapping_add(at) }
                        };
                        let (start, start_stride) =
                            if p == 0 { (of(bias, column), 0) } else { (to.cast_const(), ldc) };
                        let residual = if last { residual } else { ptr::null() };
                        let place = Tile {
                            pieces,
                            b: b.wrapping_add(at * panel + p * line),
                            panel,
                            line,
                            a: a.wrapping_add(at_band * band + row * lda),
                            lda,
                            start,
                            start_stride,
                            residual: of(residual, row_c * ldr + column),
                            ldr,
                            c: to,
                            ldc,
                            columns: n - column,
                            clamp: clamp.filter(|_| last),
                        };
                        tile(rows, panels, &place);
                        at += panels;
                    }
                    row += rows;
                }
            }
        }
        p += len;
        if last {
            return;
        }
    }
}

/// Calls `tile` for all of C where A has one row: B is read once whatever the
/// order, so neither it nor k is cut for the caches. With more panels at once than
/// hide the latency, lines that are as far apart as panels are push each other out
/// of the first-level cache; so `tile` gets `few` to twice as many less one, or all.
#[inline(always)]
fn one_row(job: &mut Job<'_>, few: usize, tile: impl Fn(usize, &Tile)) {
    let Job { n, lda, panel, line, ldc, clamp, .. } = *job;
    let pieces = &[Piece { at: 0, len: job.pieces.floats() }][..];
    let of = |from: Option<*const f32>, at: usize| {
        from.map_or(ptr::null(), |from| from.wrapping_add(at))
    };
    let (bias, residual) = (job.bias.map(<[f32]>::as_ptr), job.residual.map(|(r, _)| r.as_ptr()));
    let all = n.div_ceil(PANEL);
    let mut at = 0;
    while at < all {
        let left = all - at;
        let panels = left.div_ceil((left / few).max(1));
        let column = at * PANEL;
        let place = Tile {
            pieces,
            b: job.b.as_ptr().wrapping_add(at * panel),
            panel,
            line,
            a: job.a.as_ptr(),
            lda,
            start: of(bias, column),
            start_stride: 0,
            residual: of(residual, column),
            ldr: 0,
            c: job.c.as_mut_ptr().wrapping_add(column),
            ldc,
            columns: n - column,
            clamp,
        };
        tile(panels, &place);
        at += panels;
    }
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
