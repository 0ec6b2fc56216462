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
use super::pack::{PANEL, Packed, PackedRef, assert_within, extent};
use crate::kernels::fused;

mod matmul;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panel;
mod pieces;
#[cfg(test)]
mod tests;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use matmul::Matmul;
pub use panel::Panel;
pub use pieces::{Pieces, Windows};

/// A product with a packed matrix: C = A · B + bias + residual, kept within bounds.
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
    /// The least and the most that a sum may be; NaN stays NaN.
    pub clamp: Option<[f32; 2]>,
    /// C: row `i` is the `b.n()` values from `i * ldc` on. What lies between the
    /// rows stays as it is.
    pub c: Panel<'a>,
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
        let Gemm { m, a, lda, b, bias, residual, clamp, c, ldc } = self;
        let (rows, band, pieces) = ([1, m], 0, Pieces::one(b.k()));
        let (n, panel, line) = (b.n(), b.k() * PANEL, PANEL);
        let b = b.panels();
        Job { rows, n, a, band, lda, pieces, b, panel, line, bias, residual, clamp, c, ldc }
            .run(isa);
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
    let (clamp, c) = (relu.then_some(RELU), c.into());
    Gemm { m, a, lda: k, b, bias, residual: None, clamp, c, ldc: n }.run(isa);
}

/// The bounds of what is not negative. -0 stays -0.
pub const RELU: [f32; 2] = [0.0, f32::INFINITY];

/// A product, B packed or not.
struct Job<'a> {
    /// Rows of A and C: bands of so many.
    rows: [usize; 2],
    n: usize,
    a: &'a [f32],
    /// Floats from a band of A to the next, and from a row of a band to the next.
    band: usize,
    lda: usize,
    /// Where the floats of a row of A are.
    pieces: Pieces,
    /// Element `j` of row `p` is at `j / 16 * panel + p * line + j % 16`.
    b: &'a [f32],
    panel: usize,
    line: usize,
    bias: Option<&'a [f32]>,
    residual: Option<(&'a [f32], usize)>,
    clamp: Option<[f32; 2]>,
    c: Panel<'a>,
    ldc: usize,
}

impl Job<'_> {
    #[inline(always)]
    fn run(&mut self, isa: Isa) {
        let Job { rows: [bands, rows], n, .. } = *self;
        assert!(isa.is_there(), "{isa:?} is not there");
        if bands == 0 || rows == 0 || n == 0 {
            return;
        }
        let m = bands.checked_mul(rows).expect("rows that there can be");
        let k = self.pieces.floats();
        if k > 0 {
            let band = extent(rows, self.lda) - 1 + self.pieces.reach();
            assert_within(self.a.len(), bands, self.band, band);
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
        self.c.expect(m, self.ldc, n);
        match isa {
            Isa::Scalar => self.scalar(),
            // SAFETY: `isa` is there, and the slices were measured.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { x86::avx2(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { x86::avx512(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { neon::neon(self) },
            // (Not there: asserted above.)
            _ => self.scalar(),
        }
    }

    /// Whether A is one row in one piece.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline]
    fn is_one_row(&self) -> bool {
        self.rows == [1, 1] && self.pieces.count == [1, 1]
    }

    /// The reference.
    fn scalar(&mut self) {
        let k = self.pieces.floats();
        for i in 0..self.rows[0] * self.rows[1] {
            let from = i / self.rows[1] * self.band + i % self.rows[1] * self.lda;
            let row =
                |p: usize| self.a[from + self.pieces.at(p / self.pieces.len) + p % self.pieces.len];
            for j in 0..self.n {
                let column = |p: usize| self.b[j / PANEL * self.panel + p * self.line + j % PANEL];
                let start = self.bias.map_or(0.0, |bias| bias[j]);
                let sum = (0..k).fold(start, |sum, p| fused(row(p), column(p), sum));
                let sum = self.residual.map_or(sum, |(from, stride)| sum + from[i * stride + j]);
                let sum = self.clamp.map_or(sum, |bounds| within(sum, bounds));
                self.c.row(i, self.ldc, self.n)[j] = sum;
            }
        }
    }
}

/// As the vector instructions: NaN stays NaN, and -0 stays -0.
fn within(v: f32, [low, high]: [f32; 2]) -> f32 {
    let v = if low > v { low } else { v };
    if high < v { high } else { v }
}
