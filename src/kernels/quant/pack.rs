//! Matrices of signed bytes as the integer products read them.

use super::QUAD;
use crate::error::{self, Result};
#[cfg(target_arch = "x86_64")]
use crate::kernels::each::each;
use crate::kernels::pack::PANEL;
use crate::kernels::{Aligned, Floats, as_bytes_mut, as_ints, as_ints_mut, as_signed_mut};
use serde::{Deserialize, Serialize};

/// A line of a panel, which has four rows: the bytes of each column.
type Line = [i32; PANEL];

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
    /// Zeros.
    fn zeros(k: usize, n: usize) -> Result<QPacked> {
        let (each, panels) = (k.div_ceil(QUAD), n.div_ceil(PANEL));
        let count = each.checked_mul(panels).and_then(|lines| lines.checked_mul(PANEL));
        let count =
            count.ok_or_else(|| error::limit_exceeded(format!("a matrix of {k} by {n}")))?;
        let what = format_args!("{k} by {n} packed bytes");
        let floats = Aligned::zeros(count).map_err(|e| e.at(what))?.into();
        Ok(QPacked { k, n, floats, sums: room(panels * PANEL, 0i32)? })
    }

    /// The lines of each panel, and the sums of its columns.
    fn panels_mut(&mut self) -> impl Iterator<Item = (&mut [Line], &mut [i32; PANEL])> {
        let floats = self.floats.floats_mut().expect("weights that nobody else has yet");
        let lines = as_ints_mut(floats).as_chunks_mut::<PANEL>().0;
        let sums = self.sums.as_chunks_mut::<PANEL>().0;
        lines.chunks_exact_mut(self.k.div_ceil(QUAD).max(1)).zip(sums)
    }

    /// Packs the matrix whose columns `column` writes: it is given the number of one, and its
    /// `k` elements as the sixteenth before left them, zeros at first.
    pub fn from_columns(
        k: usize,
        n: usize,
        mut column: impl FnMut(usize, &mut [i8]),
    ) -> Result<QPacked> {
        let mut packed = QPacked::zeros(k, n)?;
        let each = k.div_ceil(QUAD);
        let mut columns = Aligned::zeros(each * PANEL)?;
        for (first, (lines, sums)) in (0..n).step_by(PANEL).zip(packed.panels_mut()) {
            let there = (n - first).min(PANEL);
            columns.floats_mut()[there * each..].fill(0.0);
            let bytes = as_signed_mut(as_bytes_mut(columns.floats_mut()));
            for (at, to) in bytes.chunks_exact_mut(each * QUAD).enumerate().take(there) {
                column(first + at, &mut to[..k]);
            }
            let fours = as_ints(columns.floats());
            for (quad, line) in lines.iter_mut().enumerate() {
                let mut from = quad;
                for to in &mut *line {
                    *to = fours[from];
                    from += each;
                }
                add(line, sums);
            }
        }
        Ok(packed)
    }

    /// Packs the matrix whose rows `row` writes: it is given the number of one, and its `n`
    /// elements as the fourth before left them, zeros at first.
    pub fn from_rows(k: usize, n: usize, mut row: impl FnMut(usize, &mut [i8])) -> Result<QPacked> {
        let mut packed = QPacked::zeros(k, n)?;
        let width = n.next_multiple_of(PANEL);
        let mut four = room(width * QUAD, 0i8)?;
        for first in (0..k).step_by(QUAD) {
            for (p, to) in (first..).zip(four.chunks_exact_mut(width.max(1))) {
                if p < k { row(p, &mut to[..n]) } else { to.fill(0) }
            }
            let [a, b, c, d] = [0, 1, 2, 3].map(|at| four[at * width..][..width].as_chunks().0);
            let columns = a.iter().zip(b).zip(c.iter().zip(d));
            for (((a, b), (c, d)), (lines, sums)) in columns.zip(packed.panels_mut()) {
                interleave([a, b, c, d], &mut lines[first / QUAD]);
                add(&lines[first / QUAD], sums);
            }
        }
        Ok(packed)
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

/// So many of `with`.
fn room<T: Clone>(count: usize, with: T) -> Result<Vec<T>> {
    let mut all = Vec::new();
    let no_memory = |_| error::out_of_memory(format!("no memory to pack {count} columns or rows"));
    all.try_reserve_exact(count).map_err(no_memory)?;
    all.resize(count, with);
    Ok(all)
}

/// Writes four rows of a panel to a line.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn interleave(rows: [&[i8; PANEL]; QUAD], line: &mut Line) {
    use std::arch::x86_64::*;
    // SAFETY: sixteen bytes of each row, and four vectors of a line; every x86-64 has SSE2.
    unsafe {
        let at = |row: usize| _mm_loadu_si128(rows[row].as_ptr().cast());
        let (a, b, c, d) = (at(0), at(1), at(2), at(3));
        let (ab, cd) = (_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d));
        let (ef, gh) = (_mm_unpackhi_epi8(a, b), _mm_unpackhi_epi8(c, d));
        let to = line.as_mut_ptr().cast::<__m128i>();
        _mm_storeu_si128(to, _mm_unpacklo_epi16(ab, cd));
        _mm_storeu_si128(to.add(1), _mm_unpackhi_epi16(ab, cd));
        _mm_storeu_si128(to.add(2), _mm_unpacklo_epi16(ef, gh));
        _mm_storeu_si128(to.add(3), _mm_unpackhi_epi16(ef, gh));
    }
}

/// Adds the bytes of each column of a line to its sum.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn add(line: &Line, sums: &mut [i32; PANEL]) {
    use std::arch::x86_64::*;
    // SAFETY: four vectors of a line, and of the sums; every x86-64 has SSE2.
    unsafe {
        let (from, to) = (line.as_ptr().cast::<__m128i>(), sums.as_mut_ptr().cast::<__m128i>());
        each!(i < 4, {
            let four = _mm_loadu_si128(from.add(i));
            let even = _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(four));
            let twos = _mm_add_epi16(even, _mm_srai_epi16::<8>(four));
            let sum = _mm_madd_epi16(twos, _mm_set1_epi16(1));
            _mm_storeu_si128(to.add(i), _mm_add_epi32(_mm_loadu_si128(to.add(i)), sum));
        });
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn interleave([a, b, c, d]: [&[i8; PANEL]; QUAD], line: &mut Line) {
    for (j, to) in line.iter_mut().enumerate() {
        *to = i32::from_ne_bytes([a[j], b[j], c[j], d[j]].map(|v| v as u8));
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn add(line: &Line, sums: &mut [i32; PANEL]) {
    for (sum, four) in sums.iter_mut().zip(line) {
        let all: i32 = four.to_ne_bytes().iter().map(|v| i32::from(*v as i8)).sum();
        *sum = sum.wrapping_add(all);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_pack_the_same() {
        for (k, n) in [(0, 3), (1, 1), (4, 16), (7, 33), (130, 50), (3, 0), (9, 48)] {
            let at = |p: usize, j: usize| (p * 37 + j * 101) as i8;
            let columns = QPacked::from_columns(k, n, |j, to| {
                to.iter_mut().enumerate().for_each(|(p, to)| *to = at(p, j));
            });
            let rows = QPacked::from_rows(k, n, |p, to| {
                to.iter_mut().enumerate().for_each(|(j, to)| *to = at(p, j));
            });
            let (columns, rows) = (columns.unwrap(), rows.unwrap());
            assert_eq!(columns.as_packed().bytes, rows.as_packed().bytes);
            assert_eq!(columns.sums, rows.sums);
            for j in 0..n {
                let (line, each) = (PANEL * QUAD, k.div_ceil(QUAD) * PANEL * QUAD);
                for p in 0..k {
                    let index = j / PANEL * each + p / QUAD * line + j % PANEL * QUAD + p % QUAD;
                    assert_eq!(rows.as_packed().bytes[index], at(p, j), "{p}, {j} of {k} by {n}");
                }
                let sum = (0..k).map(|p| i32::from(at(p, j))).sum::<i32>();
                assert_eq!(rows.sums[j], sum, "column {j} of {k} by {n}");
            }
        }
    }
}
