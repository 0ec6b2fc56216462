//! Matrices of signed bytes as the integer products read them.

use super::QUAD;
use crate::error::{self, Result};
use crate::kernels::pack::PANEL;
use crate::kernels::{Aligned, Floats, as_bytes_mut};
use serde::{Deserialize, Serialize};

/// Bytes of a line of a panel, which has four rows: a cache line.
const LINE: usize = PANEL * QUAD;

/// A matrix of `k` rows and `n` columns of signed bytes, in panels of 16 columns;
/// a line of a panel has four rows, those of a column together. What is past the
/// last row or column is zero.
#[derive(Serialize, Deserialize)]
pub struct QPacked {
    k: usize,
    n: usize,
    /// Four bytes are one of them.
    floats: Floats,
    sums: Vec<i32>,
}

impl std::fmt::Debug for QPacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {} bytes", self.k, self.n)
    }
}

impl QPacked {
    /// Packs the matrix whose columns `column` writes: it is given the number of one, and its
    /// `k` elements as the one before left them, zeros at first.
    pub fn new(k: usize, n: usize, mut column: impl FnMut(usize, &mut [i8])) -> Result<QPacked> {
        let (each, panels) = (k.div_ceil(QUAD), n.div_ceil(PANEL));
        let count = each.checked_mul(panels).and_then(|lines| lines.checked_mul(PANEL));
        let count =
            count.ok_or_else(|| error::limit_exceeded(format!("a matrix of {k} by {n}")))?;
        let what = format_args!("{k} by {n} packed bytes");
        let mut floats = Aligned::zeros(count).map_err(|e| e.at(what))?;
        let (mut sums, mut one) = (Vec::new(), Vec::new());
        let no_memory = |_| error::out_of_memory(format!("no memory to pack {what}"));
        sums.try_reserve_exact(panels * PANEL).map_err(no_memory)?;
        sums.resize(panels * PANEL, 0i32);
        one.try_reserve_exact(each * QUAD).map_err(no_memory)?;
        one.resize(each * QUAD, 0i8);
        let to = as_bytes_mut(floats.floats_mut());
        for (j, sum) in sums.iter_mut().enumerate().take(n) {
            column(j, &mut one[..k]);
            *sum = one.iter().fold(0, |sum, v| sum.wrapping_add(i32::from(*v)));
            let Some(panel) = to.get_mut(j / PANEL * each * LINE + j % PANEL * QUAD..) else {
                break;
            };
            for (quad, four) in one.as_chunks::<QUAD>().0.iter().enumerate() {
                let four = [four[0] as u8, four[1] as u8, four[2] as u8, four[3] as u8];
                *panel[quad * LINE..].first_chunk_mut().expect("a line") = four;
            }
        }
        Ok(QPacked { k, n, floats: floats.into(), sums })
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
        size_of_val(&*self.floats)
    }

    /// The matrix, to multiply with.
    pub fn as_packed(&self) -> QPackedRef<'_> {
        let (from, count) = (self.floats.as_ptr().cast(), size_of_val(&*self.floats));
        // SAFETY: a float is four bytes, signed or not.
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
