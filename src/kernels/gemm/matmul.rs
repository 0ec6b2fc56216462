//! Products of two matrices that a run computed.

use super::{Isa, Job, PANEL, Panel, Pieces};
use crate::kernels::pack::{assert_within, extent, pack_into, packed_len};

/// Rows of A from which a copy of B in panels pays.
const PACK_FROM: usize = 192;

/// C = A · B, where no matrix was packed beforehand.
#[derive(Debug)]
pub struct Matmul<'a> {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of A, and rows of B.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
    /// A: row `i` is the `k` values from `i * lda` on.
    pub a: &'a [f32],
    /// How far its rows are apart.
    pub lda: usize,
    /// B: the element at row `p`, column `j` is at
    /// `p * b_row_stride + j * b_col_stride`. One of both should be 1.
    pub b: &'a [f32],
    /// How far the rows of B are apart.
    pub b_row_stride: usize,
    /// How far the columns of B are apart; 1 saves a copy where there are few
    /// rows.
    pub b_col_stride: usize,
    /// C: row `i` is the `n` values from `i * ldc` on. What lies between the rows
    /// stays as it is.
    pub c: Panel<'a>,
    /// How far its rows are apart, `n` at least.
    pub ldc: usize,
}

impl Matmul<'_> {
    /// Floats of scratch that such a product needs.
    ///
    /// # Panics
    ///
    /// When that is more than there can be.
    pub fn scratch(m: usize, k: usize, n: usize, b_col_stride: usize) -> usize {
        let direct = b_col_stride == 1 && m < PACK_FROM;
        if direct { 0 } else { packed_len(k, n) }
    }

    /// Writes C. The contents of `scratch` matter neither before nor after; it is
    /// fastest where it begins with a cache line.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than its matrix, `scratch` than
    /// [`Matmul::scratch`] says, rows of C overlap, or the processor has not
    /// `isa`.
    pub fn run(self, isa: Isa, scratch: &mut [f32]) {
        let Matmul { m, k, n, a, lda, b, b_row_stride, b_col_stride, c, ldc } = self;
        assert_within(b.len(), n, b_col_stride, extent(k, b_row_stride));
        let needed = Matmul::scratch(m, k, n, b_col_stride);
        let (b, panel, line) = if needed == 0 {
            (b, PANEL, b_row_stride)
        } else {
            let panels = &mut scratch[..needed];
            pack_into(isa, k, n, b, b_row_stride, b_col_stride, panels);
            (&*panels, k * PANEL, PANEL)
        };
        let (rows, band, pieces) = ([1, m], 0, Pieces::one(k));
        let (bias, residual, clamp) = (None, None, None);
        Job { rows, n, a, band, lda, pieces, b, panel, line, bias, residual, clamp, c, ldc }
            .run(isa);
    }
}
