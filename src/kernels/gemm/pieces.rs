//! Rows of A that are not in one piece: the windows of a convolution, channels
//! last, in place.

use super::{Isa, Job, PANEL, PackedRef, Panel};
use crate::kernels::pack::extent;

/// Where the floats of a row of A are: pieces of `len`, in rows of pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    /// Rows of pieces, and pieces of a row.
    pub count: [usize; 2],
    /// Floats from a row of pieces to the next, and from a piece to the next.
    pub steps: [usize; 2],
    /// Floats of a piece.
    pub len: usize,
}

impl Pieces {
    /// All in one.
    pub(in crate::kernels) fn one(len: usize) -> Pieces {
        Pieces { count: [1, 1], steps: [0, 0], len }
    }

    /// Pieces that follow each other without a gap are one.
    pub(in crate::kernels) fn joined(self) -> Pieces {
        let Pieces { mut count, mut steps, mut len } = self;
        if count[1] == 1 || steps[1] == len {
            (len, count[1]) = (len * count[1], 1);
            if count[0] == 1 || steps[0] == len {
                (len, count[0]) = (len * count[0], 1);
            }
        }
        if count[1] == 1 {
            // What is left is one row of pieces.
            (count, steps) = ([1, count[0]], [0, steps[0]]);
        }
        Pieces { count, steps, len }
    }

    /// Floats of all pieces.
    pub(in crate::kernels) fn floats(&self) -> usize {
        self.count[0] * self.count[1] * self.len
    }

    /// Where a piece begins.
    pub(in crate::kernels) fn at(&self, index: usize) -> usize {
        index / self.count[1] * self.steps[0] + index % self.count[1] * self.steps[1]
    }

    /// Floats from the first of a row to the last, where there are any.
    pub(in crate::kernels) fn reach(&self) -> usize {
        let [down, across] = [0, 1].map(|axis| extent(self.count[axis], self.steps[axis]) - 1);
        down.checked_add(across).and_then(|sum| sum.checked_add(self.len)).expect("a row")
    }
}

/// Products of the windows of an image with a packed matrix: a convolution. What
/// is said of [`Gemm`](super::Gemm) holds for it.
#[derive(Debug)]
pub struct Windows<'a> {
    /// The image, with its pads.
    pub x: &'a [f32],
    /// Rows and columns of windows.
    pub to: [usize; 2],
    /// Floats from a window to the one below, and to the next.
    pub steps: [usize; 2],
    /// Where the floats of a window are.
    pub pieces: Pieces,
    /// The weights: a row for each float of a window, a column for each filter.
    pub b: PackedRef<'a>,
    /// One value a filter, or nothing for zero.
    pub bias: Option<&'a [f32]>,
    /// What is added after the products, and how far its rows are apart.
    pub residual: Option<(&'a [f32], usize)>,
    /// The least and the most that a sum may be; NaN stays NaN.
    pub clamp: Option<[f32; 2]>,
    /// What each window gives, one after the other: a value for each filter.
    pub c: Panel<'a>,
    /// How far those are apart, `b.n()` at least.
    pub ldc: usize,
}

impl Windows<'_> {
    /// Writes C.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than it must be, a window has not `b.k()` floats,
    /// the bias is not of `b.n()` values, rows of C overlap, or the processor has
    /// not `isa`.
    pub fn run(self, isa: Isa) {
        let Windows { x: a, to, steps, pieces, b, bias, residual, clamp, c, ldc } = self;
        let (k, n, pieces) = (b.k(), b.n(), pieces.joined());
        assert_eq!(pieces.floats(), k, "floats of a window, and rows of weights");
        // Bands that follow each other are one.
        let follows = to[0] == 1 || steps[0] == to[1] * steps[1];
        let rows = if follows { [1, to[0] * to[1]] } else { to };
        let [band, lda] = steps;
        let (b, panel, line) = (b.panels(), k * PANEL, PANEL);
        Job { rows, n, a, band, lda, pieces, b, panel, line, bias, residual, clamp, c, ldc }
            .run(isa);
    }
}
