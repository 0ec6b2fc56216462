//! C = A · B + bias + residual.
//!
//! Every element of C starts as its bias, or as zero, and adds its products in
//! the order of k, each fused with its addition: one rounding a product. So the
//! answer is the same to the bit for every instruction set, however many rows A
//! has, however C is cut and however B is stored. Blocks of B stay in the
//! second-level cache; the register tiles are those of Goto and van de Geijn,
//! "Anatomy of High-Performance Matrix Multiplication" (ACM TOMS 34, 2008),
//! without a copy of A.

use super::isa::Isa;
use super::pack::{PANEL, Packed, PackedRef, assert_within};

mod matmul;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use matmul::Matmul;

/// A product with a packed matrix: C = A · B + bias + residual, and zero for what
/// is less with `relu`.
#[derive(Debug)]
pub struct Gemm<'a> {
    /// Rows of A and C.
    pub m: usize,
    /// A: row `i` is the `b.k()` values from `i * lda` on. Rows may overlap.
    pub a: &'a [f32],
    /// How far its rows are apart.
    pub lda: usize,
    /// B.
    pub b: PackedRef<'a>,
    /// One value a column, or nothing for zero.
    pub bias: Option<&'a [f32]>,
    /// What is added after the products, and how far its rows are apart: row `i`
    /// is the `b.n()` values from `i` times that on.
    pub residual: Option<(&'a [f32], usize)>,
    /// Whether negative sums become zero; NaN stays NaN, and -0 stays -0.
    pub relu: bool,
    /// C: row `i` is the `b.n()` values from `i * ldc` on. What lies between the
    /// rows stays as it is.
    pub c: &'a mut [f32],
    /// How far its rows are apart, `b.n()` at least.
    pub ldc: usize,
}

impl Gemm<'_> {
    /// Writes C.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than its rows, the bias is not of `b.n()` values,
    /// rows of C overlap, or the processor has not `isa`.
    #[inline]
    pub fn run(self, isa: Isa) {
        let Gemm { m, a, lda, b, bias, residual, relu, c, ldc } = self;
        let (k, n) = (b.k(), b.n());
        let (b, panel, line) = (b.panels(), k * PANEL, PANEL);
        Job { m, k, n, a, lda, b, panel, line, bias, residual, relu, c, ldc }.run(isa);
    }
}

/// Writes A · B + bias to `c`, and zero for what is less with `relu`: `a` has `m`
/// rows of `b.k()`, `c` as many of `b.n()`, one after the other; `bias` is one
/// value a column, or nothing for zero.
///
/// # Panics
///
/// When a slice has another length, or the processor has not `isa`.
pub fn gemm(
    isa: Isa,
    m: usize,
    a: &[f32],
    b: &Packed,
    bias: Option<&[f32]>,
    relu: bool,
    c: &mut [f32],
) {
    let (k, n) = (b.k(), b.n());
    assert!(a.len() == m * k && c.len() == m * n, "{m}×{k}×{n} of {} and {}", a.len(), c.len());
    let b = b.as_packed();
    Gemm { m, a, lda: k, b, bias, residual: None, relu, c, ldc: n }.run(isa);
}

/// A product, B packed or not.
struct Job<'a> {
    m: usize,
    k: usize,
    n: usize,
    a: &'a [f32],
    lda: usize,
    /// Element `j` of row `p` is at `j / 16 * panel + p * line + j % 16`.
    b: &'a [f32],
    panel: usize,
    line: usize,
    bias: Option<&'a [f32]>,
    residual: Option<(&'a [f32], usize)>,
    relu: bool,
    c: &'a mut [f32],
    ldc: usize,
}

impl Job<'_> {
    #[inline(always)]
    fn run(&mut self, isa: Isa) {
        let Job { m, k, n, .. } = *self;
        assert!(isa.is_there(), "{isa:?} is not there");
        if m == 0 || n == 0 {
            return;
        }
        assert_within(self.a.len(), m, self.lda, k);
        if k > 0 {
            // The last panel reaches farthest, for they do not overlap.
            let (last, columns) = ((n - 1) / PANEL, (n - 1) % PANEL + 1);
            let from = last.checked_mul(self.panel).filter(|from| *from <= self.b.len());
            let from = from.expect("fewer panels than columns");
            assert_within(self.b.len() - from, k, self.line, columns);
        }
        assert!(self.bias.is_none_or(|bias| bias.len() == n), "a bias of another length than {n}");
        if let Some((residual, stride)) = self.residual {
            assert_within(residual.len(), m, stride, n);
        }
        assert!(m == 1 || self.ldc >= n, "rows of {n}, {} apart", self.ldc);
        assert_within(self.c.len(), m, self.ldc, n);
        match isa {
            Isa::Scalar => self.scalar(),
            // SAFETY: `isa` is there, and the slices were measured.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { x86::avx2(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { x86::avx512(self) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => self.scalar(),
        }
    }

    /// The reference.
    fn scalar(&mut self) {
        for i in 0..self.m {
            let row = &self.a[i * self.lda..];
            for j in 0..self.n {
                let column = |p: usize| self.b[j / PANEL * self.panel + p * self.line + j % PANEL];
                let start = self.bias.map_or(0.0, |bias| bias[j]);
                let sum = (0..self.k).fold(start, |sum, p| row[p].mul_add(column(p), sum));
                let sum = self.residual.map_or(sum, |(from, stride)| sum + from[i * stride + j]);
                self.c[i * self.ldc + j] = if self.relu { at_least_zero(sum) } else { sum };
            }
        }
    }
}

/// As the vector instruction: NaN stays NaN, and -0 stays -0.
fn at_least_zero(v: f32) -> f32 {
    if 0.0 > v { 0.0 } else { v }
}
