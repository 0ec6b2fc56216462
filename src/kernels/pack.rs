//! Matrices as the matrix kernels read them: in panels of 16 columns.

use super::deferred::Deferred;
use crate::error::{self, Result};
use crate::kernels::{Aligned, Isa};
use serde::{Deserialize, Serialize};

/// Columns of a panel.
pub(super) const PANEL: usize = 16;

/// A matrix of `k` rows and `n` columns in panels of 16 columns, each with its
/// rows one after the other; columns past `n` are zero. It does not depend on
/// the instruction set.
#[derive(Serialize, Deserialize)]
pub struct Packed {
    k: usize,
    n: usize,
    floats: Deferred,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.k, self.n)
    }
}

impl Packed {
    /// Packs the matrix whose element at row `p`, column `j` is `at(p, j)`.
    pub fn new(k: usize, n: usize, at: impl Fn(usize, usize) -> f32) -> Result<Packed> {
        Packed::written(k, n, |to| write(k, n, at, to))
    }

    /// The same when it is [finished](Packed::pack), of what `floats` has then: until
    /// then it cannot be read.
    ///
    /// Fails when there is no such matrix.
    pub fn later_of(
        k: usize,
        n: usize,
        floats: impl AsRef<[f32]> + Send + Sync + 'static,
        at: impl Fn(&[f32], usize, usize) -> f32 + Send + Sync + 'static,
    ) -> Result<Packed> {
        Packed::later(k, n, move |to| {
            let floats = floats.as_ref();
            write(k, n, |p, j| at(floats, p, j), to);
        })
    }

    /// A matrix that `pack` writes, as for [`Packed::later`].
    pub fn written(k: usize, n: usize, pack: impl FnOnce(&mut [f32])) -> Result<Packed> {
        let mut lines = room(k, n)?;
        pack(lines.floats_mut());
        Ok(Packed { k, n, floats: lines.into() })
    }

    /// Packs the matrix whose element at row `p`, column `j` is
    /// `data[p * row_stride + j * col_stride]`.
    ///
    /// # Panics
    ///
    /// When `data` is shorter than that.
    pub fn from_strided(
        k: usize,
        n: usize,
        data: &[f32],
        row_stride: usize,
        col_stride: usize,
    ) -> Result<Packed> {
        Packed::written(k, n, |to| pack_into(Isa::best(), k, n, data, row_stride, col_stride, to))
    }

    /// A matrix that `pack` writes when it is [finished](Packed::pack), over the zeros
    /// of [`packed_len`] floats, as [`pack_into`] would. Until then it cannot be read.
    ///
    /// Fails when there is no such matrix.
    pub fn later(
        k: usize,
        n: usize,
        pack: impl FnOnce(&mut [f32]) + Send + Sync + 'static,
    ) -> Result<Packed> {
        Ok(Packed { k, n, floats: Deferred::later(floats_of(k, n)?, pack) })
    }

    /// Packs it, unless it is. What it is made of is let go of.
    ///
    /// Fails when there is no memory.
    pub fn pack(&mut self) -> Result<()> {
        let Packed { k, n, floats } = self;
        floats.make().map_err(|e| e.at(format_args!("{k} by {n} packed floats")))
    }

    /// Multiplies each column with one of `by`.
    ///
    /// # Panics
    ///
    /// When there are not as many.
    pub fn scale_columns(&mut self, by: &[f32]) {
        assert!(by.len() == self.n, "{} factors for {} columns", by.len(), self.n);
        let (by, of_panel) = (by.to_vec(), (self.k * PANEL).max(1));
        self.floats.change(move |floats| {
            for (panel, by) in floats.chunks_exact_mut(of_panel).zip(by.chunks(PANEL)) {
                for line in panel.chunks_exact_mut(PANEL) {
                    line.iter_mut().zip(by).for_each(|(v, by)| *v *= by);
                }
            }
        });
    }

    /// Rows.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.floats.len() * size_of::<f32>()
    }

    /// The matrix, to multiply with.
    ///
    /// # Panics
    ///
    /// When it is not packed yet.
    #[inline]
    pub fn as_packed(&self) -> PackedRef<'_> {
        PackedRef { k: self.k, n: self.n, panels: &self.floats }
    }
}

/// Writes the matrix whose element at row `p`, column `j` is `at(p, j)`, over zeros.
fn write(k: usize, n: usize, at: impl Fn(usize, usize) -> f32, to: &mut [f32]) {
    for (panel, to) in (0..n).step_by(PANEL).zip(to.chunks_exact_mut((k * PANEL).max(1))) {
        for (p, line) in to.chunks_exact_mut(PANEL).enumerate() {
            let columns = line.iter_mut().zip(panel..n);
            columns.for_each(|(to, j)| *to = at(p, j));
        }
    }
}

/// Floats of a packed matrix of `k` by `n`.
fn floats_of(k: usize, n: usize) -> Result<usize> {
    let count = n.checked_next_multiple_of(PANEL).and_then(|columns| columns.checked_mul(k));
    count.ok_or_else(|| error::limit_exceeded(format!("a matrix of {k} by {n}")))
}

/// Memory for them, zeros.
fn room(k: usize, n: usize) -> Result<Aligned> {
    Aligned::zeros(floats_of(k, n)?).map_err(|e| e.at(format_args!("{k} by {n} packed floats")))
}

/// A packed matrix that lies somewhere: in a [`Packed`], or where [`pack_into`]
/// wrote it.
#[derive(Debug, Clone, Copy)]
pub struct PackedRef<'a> {
    k: usize,
    n: usize,
    panels: &'a [f32],
}

impl<'a> PackedRef<'a> {
    /// What [`pack_into`] wrote for `k` rows and `n` columns. It is fastest where
    /// `panels` begins with a cache line.
    ///
    /// # Panics
    ///
    /// When `panels` has less than [`packed_len`].
    pub fn new(k: usize, n: usize, panels: &'a [f32]) -> PackedRef<'a> {
        PackedRef { k, n, panels: &panels[..packed_len(k, n)] }
    }

    /// Rows.
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
    pub fn columns(self, from: usize, to: usize) -> PackedRef<'a> {
        let there = from.is_multiple_of(PANEL) && from <= to && to <= self.n;
        assert!(there, "columns {from} to {to} of {}", self.n);
        let panels = from / PANEL..to.div_ceil(PANEL);
        let panels = &self.panels[panels.start * PANEL * self.k..panels.end * PANEL * self.k];
        PackedRef { k: self.k, n: to - from, panels }
    }

    /// All panels, one after the other.
    pub(super) fn panels(self) -> &'a [f32] {
        self.panels
    }
}

impl<'a> From<&'a Packed> for PackedRef<'a> {
    fn from(packed: &'a Packed) -> PackedRef<'a> {
        packed.as_packed()
    }
}

/// Floats that [`pack_into`] writes for `k` rows and `n` columns.
///
/// # Panics
///
/// When that is more than there can be.
pub fn packed_len(k: usize, n: usize) -> usize {
    let len = n.div_ceil(PANEL).checked_mul(PANEL).and_then(|columns| columns.checked_mul(k));
    len.expect("a packed matrix of less than usize::MAX floats")
}

/// Packs the matrix whose element at row `p`, column `j` is
/// `b[p * row_stride + j * col_stride]` to the first [`packed_len`] of `to`. It
/// is fast where one of the strides is 1.
///
/// # Panics
///
/// When `b` or `to` is shorter than that, or the processor has not `isa`.
pub fn pack_into(
    isa: Isa,
    k: usize,
    n: usize,
    b: &[f32],
    row_stride: usize,
    col_stride: usize,
    to: &mut [f32],
) {
    assert!(isa.is_there(), "{isa:?} is not there");
    let to = &mut to[..packed_len(k, n)];
    if to.is_empty() {
        return;
    }
    assert_within(b.len(), n, col_stride, extent(k, row_stride));
    for (index, panel) in to.chunks_exact_mut(k * PANEL).enumerate() {
        let (b, columns) = (&b[index * PANEL * col_stride..], PANEL.min(n - index * PANEL));
        let lines = panel.as_chunks_mut::<PANEL>().0;
        if col_stride == 1 && columns == PANEL {
            for (p, line) in lines.iter_mut().enumerate() {
                line.copy_from_slice(&b[p * row_stride..][..PANEL]);
            }
            continue;
        }
        let done = match isa {
            // SAFETY: the processor has it; `columns` columns of `k` rows are
            // within `b`, as was asserted.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 if row_stride == 1 => unsafe {
                x86::transpose(b.as_ptr(), col_stride, columns, lines)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon if row_stride == 1 => unsafe {
                neon::transpose(b.as_ptr(), col_stride, columns, lines)
            },
            _ => 0,
        };
        for (p, line) in lines.iter_mut().enumerate().skip(done) {
            line[columns..].fill(0.0);
            let from = &b[p * row_stride..];
            for (j, to) in line[..columns].iter_mut().enumerate() {
                *to = from[j * col_stride];
            }
        }
    }
}

/// Elements from the first to the last of `count`, `stride` apart.
///
/// # Panics
///
/// When that is more than there can be.
#[inline]
pub(super) fn extent(count: usize, stride: usize) -> usize {
    let last = count.saturating_sub(1).checked_mul(stride).and_then(|last| last.checked_add(1));
    if count == 0 { 0 } else { last.expect("strides of an array that there can be") }
}

/// Asserts that `count` runs of `each` elements, `stride` apart, are within `len`.
#[inline]
#[track_caller]
pub(super) fn assert_within(len: usize, count: usize, stride: usize, each: usize) {
    if count > 0 && each > 0 {
        let end = (count - 1).checked_mul(stride).and_then(|last| last.checked_add(each));
        let fits = end.is_some_and(|end| end <= len);
        assert!(fits, "{count} times {each} floats, {stride} apart, in {len}");
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::PANEL;
    use crate::kernels::each::each;
    use std::arch::x86_64::*;

    /// Writes `columns` columns to as many whole blocks of 8 lines as there are,
    /// and zero to the columns after them; says how many lines that was.
    ///
    /// SAFETY: the processor has AVX2; column `j` begins at `b + j * stride` and
    /// has a value for each line; there are 16 columns at most.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn transpose(
        b: *const f32,
        stride: usize,
        columns: usize,
        lines: &mut [[f32; PANEL]],
    ) -> usize {
        let zero = _mm256_setzero_ps();
        let mut done = 0;
        for block in lines.as_chunks_mut::<8>().0 {
            for half in [0, 8] {
                let (mut v, mut low, mut high) = ([zero; 8], [zero; 4], [zero; 4]);
                each!(j < 8, {
                    if half + j < columns {
                        // SAFETY: eight values of a column that there is.
                        v[j] = unsafe { _mm256_loadu_ps(b.add((half + j) * stride + done)) };
                    }
                });
                // Pairs of columns, then fours, then halves of eight.
                each!(i < 4, {
                    low[i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
                    high[i] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
                });
                let mut fours = [[zero; 4]; 2];
                each!(i < 2, {
                    let (a, b, c, d) = (low[2 * i], low[2 * i + 1], high[2 * i], high[2 * i + 1]);
                    fours[i][0] = _mm256_shuffle_ps::<0x44>(a, b);
                    fours[i][1] = _mm256_shuffle_ps::<0xee>(a, b);
                    fours[i][2] = _mm256_shuffle_ps::<0x44>(c, d);
                    fours[i][3] = _mm256_shuffle_ps::<0xee>(c, d);
                });
                each!(i < 4, {
                    let (left, right) = (fours[0][i], fours[1][i]);
                    let upper = _mm256_permute2f128_ps::<0x20>(left, right);
                    let lower = _mm256_permute2f128_ps::<0x31>(left, right);
                    // SAFETY: halves of lines.
                    unsafe {
                        _mm256_storeu_ps(block[i].as_mut_ptr().add(half), upper);
                        _mm256_storeu_ps(block[i + 4].as_mut_ptr().add(half), lower);
                    }
                });
            }
            done += 8;
        }
        done
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::PANEL;
    use crate::kernels::each::each;
    use std::arch::aarch64::*;

    /// Writes `columns` columns to as many whole blocks of 4 lines as there are,
    /// and zero to the columns after them; says how many lines that was.
    ///
    /// SAFETY: the processor has NEON; column `j` begins at `b + j * stride` and
    /// has a value for each line; there are 16 columns at most.
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn transpose(
        b: *const f32,
        stride: usize,
        columns: usize,
        lines: &mut [[f32; PANEL]],
    ) -> usize {
        let mut done = 0;
        for block in lines.as_chunks_mut::<4>().0 {
            for first in (0..PANEL).step_by(4) {
                let mut v = [vdupq_n_f32(0.0); 4];
                each!(j < 4, {
                    if first + j < columns {
                        // SAFETY: four values of a column that there is.
                        v[j] = unsafe { vld1q_f32(b.add((first + j) * stride + done)) };
                    }
                });
                // Pairs of columns, then fours.
                let even = |i: usize| vreinterpretq_f64_f32(vtrn1q_f32(v[i], v[i + 1]));
                let odd = |i: usize| vreinterpretq_f64_f32(vtrn2q_f32(v[i], v[i + 1]));
                let (a, b, c, d) = (even(0), odd(0), even(2), odd(2));
                let fours =
                    [vtrn1q_f64(a, c), vtrn1q_f64(b, d), vtrn2q_f64(a, c), vtrn2q_f64(b, d)];
                each!(i < 4, {
                    // SAFETY: a quarter of a line.
                    unsafe {
                        vst1q_f32(block[i].as_mut_ptr().add(first), vreinterpretq_f32_f64(fours[i]))
                    }
                });
            }
            done += 4;
        }
        done
    }
}
