//! How a product is cut into tiles, whatever the registers are.

use super::{Job, PANEL, Pieces};
use std::ptr;

/// Rows of B that are worked through at once.
const K_BLOCK: usize = 512;
/// Pieces of the rows of A that are worked through at once.
const MOST_PIECES: usize = 32;
/// Floats of B that are worked through at once: some of a second-level cache.
const B_BLOCK: usize = 128 * 1024;

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

pub(super) use tile;

/// A piece of the rows of A: where it begins in each, and its floats.
#[derive(Clone, Copy, Default)]
pub(super) struct Piece {
    pub(super) at: usize,
    pub(super) len: usize,
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
pub(super) struct Tile<'a> {
    /// The pieces of the rows of A that are multiplied, a float with a row of B.
    pub(super) pieces: &'a [Piece],
    /// B: the panels are `panel` floats apart, and the lines of each `line`.
    pub(super) b: *const f32,
    pub(super) panel: usize,
    pub(super) line: usize,
    /// The rows of A that go with it, `lda` apart.
    pub(super) a: *const f32,
    pub(super) lda: usize,
    /// What the sums start with: rows `start_stride` apart, or null for zero.
    pub(super) start: *const f32,
    pub(super) start_stride: usize,
    /// What is added to them in the end: rows `ldr` apart, or null for nothing.
    pub(super) residual: *const f32,
    pub(super) ldr: usize,
    /// Where they go: rows `ldc` apart of `columns` floats, or as many as the
    /// panels have.
    pub(super) c: *mut f32,
    pub(super) ldc: usize,
    pub(super) columns: usize,
    pub(super) clamp: Option<[f32; 2]>,
}

/// As equal parts of `count` as can be, of `most` each.
fn part(count: usize, most: usize) -> usize {
    if count <= most { count } else { count.div_ceil(count.div_ceil(most)) }
}

/// Calls `tile` for all of C, with so many rows and panels at once as `panels_of`
/// says: the number of rows, and of panels for them. The places are within the
/// slices of the job where those are as long as it says.
#[inline(always)]
pub(super) fn tiles(
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
pub(super) fn one_row(job: &mut Job<'_>, few: usize, tile: impl Fn(usize, &Tile)) {
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
