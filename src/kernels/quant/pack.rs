//! Matrices of signed bytes as the integer products read them.

use super::QUAD;
use crate::error::{self, Result};
use crate::kernels::pack::PANEL;

/// Four rows of a panel: a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; PANEL * QUAD]);

/// A matrix of `k` rows and `n` columns of signed bytes, in panels of 16 columns;
/// a line of a panel has four rows, those of a column together. What is past the
/// last row or column is zero.
pub struct QPacked {
    k: usize,
    n: usize,
    lines: Vec<Line>,
    sums: Vec<i32>,
}

impl std::fmt::Debug for QPacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {} bytes", self.k, self.n)
    }
}

impl QPacked {
    /// Packs the matrix whose element at row `p`, column `j` is `at(p, j)`.
    pub fn new(k: usize, n: usize, at: impl Fn(usize, usize) -> i8) -> Result<QPacked> {
        let (each, panels) = (k.div_ceil(QUAD), n.div_ceil(PANEL));
        let count = each.checked_mul(panels);
        let count =
            count.ok_or_else(|| error::limit_exceeded(format!("a matrix of {k} by {n}")))?;
        let no_memory = |_| error::out_of_memory(format!("no memory to pack {k} by {n} bytes"));
        let (mut lines, mut sums) = (Vec::new(), Vec::new());
        lines.try_reserve_exact(count).map_err(no_memory)?;
        sums.try_reserve_exact(panels * PANEL).map_err(no_memory)?;
        sums.resize(panels * PANEL, 0i32);
        for panel in 0..panels {
            for quad in 0..each {
                let mut line = [0; PANEL * QUAD];
                for (i, to) in line.iter_mut().enumerate() {
                    let (p, j) = (quad * QUAD + i % QUAD, panel * PANEL + i / QUAD);
                    if p < k && j < n {
                        *to = at(p, j);
                        sums[j] = sums[j].wrapping_add(i32::from(*to));
                    }
                }
                lines.push(Line(line));
            }
        }
        Ok(QPacked { k, n, lines, sums })
    }

    /// Rows.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The sum of each column, and zeros up to a multiple of 16.
    pub fn sums(&self) -> &[i32] {
        &self.sums
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// The matrix, to multiply with.
    pub fn as_packed(&self) -> QPackedRef<'_> {
        let (from, count) = (self.lines.as_ptr().cast(), size_of_val(self.lines.as_slice()));
        // SAFETY: a line is so many bytes and nothing else.
        let bytes = unsafe { std::slice::from_raw_parts(from, count) };
        QPackedRef { k: self.k.next_multiple_of(QUAD), n: self.n, bytes }
    }
}

/// Some columns of a packed matrix.
#[derive(Debug, Clone, Copy)]
pub struct QPackedRef<'a> {
    k: usize,
    n: usize,
    bytes: &'a [i8],
}

impl<'a> QPackedRef<'a> {
    /// Rows, those of zeros included that make them a multiple of four.
    pub fn k(self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(self) -> usize {
        self.n
    }

    /// The columns from `from`, a multiple of 16, up to `to`.
    ///
    /// # Panics
    ///
    /// When there are no such columns, or a panel would be cut.
    pub fn columns(self, from: usize, to: usize) -> QPackedRef<'a> {
        let there = from.is_multiple_of(PANEL) && from <= to && to <= self.n;
        assert!(there, "columns {from} to {to} of {}", self.n);
        let bytes = &self.bytes[from * self.k..to.div_ceil(PANEL) * PANEL * self.k];
        QPackedRef { k: self.k, n: to - from, bytes }
    }

    /// All panels, one after the other.
    pub(super) fn panels(self) -> &'a [i8] {
        self.bytes
    }
}
