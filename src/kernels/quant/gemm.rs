//! Products of unsigned bytes with signed ones, summed as integers.

use super::finish::Finish;
use super::{Correction, QOut, QPackedRef, QUAD};
use crate::kernels::Isa;
use crate::kernels::gemm::Pieces;
use crate::kernels::lanes::{Lanes, Scalar, WIDTH};
use crate::kernels::pack::{PANEL, assert_within, extent};

/// A product with a packed matrix. Rows of A may be the windows of an image.
#[derive(Debug)]
pub struct QGemm<'a> {
    /// Bands of rows, and rows of each.
    pub rows: [usize; 2],
    /// A.
    pub a: &'a [u8],
    /// Bytes from a band of A to the next, and from a row of a band to the next.
    pub steps: [usize; 2],
    /// Where the bytes of a row of A are: in pieces of a multiple of four.
    pub pieces: Pieces,
    /// B.
    pub b: QPackedRef<'a>,
    /// What the sums of each column begin with, `b.n()` of them and as many more as
    /// make them a multiple of 16.
    pub start: &'a [i32],
    /// What is taken from them in the end.
    pub less: Option<Correction<'a>>,
    /// What they become.
    pub c: QOut<'a>,
    /// Elements from a row of that to the next.
    pub ldc: usize,
}

/// A product that has been measured.
pub(super) struct Job<'a> {
    pub(super) rows: [usize; 2],
    pub(super) a: &'a [u8],
    pub(super) steps: [usize; 2],
    pub(super) pieces: Pieces,
    pub(super) b: &'a [i8],
    /// Bytes of a panel.
    pub(super) panel: usize,
    pub(super) n: usize,
    pub(super) start: &'a [i32],
    pub(super) less: Option<Correction<'a>>,
    pub(super) finish: Finish,
}

impl QGemm<'_> {
    /// Writes C.
    ///
    /// # Panics
    ///
    /// When a slice is shorter than it must be, a row has not `b.k()` bytes, a piece
    /// is no multiple of four, rows of C overlap, or the processor has not `isa`.
    pub fn run(self, isa: Isa) {
        let QGemm { rows, a, steps, pieces, b, start, less, mut c, ldc } = self;
        assert!(isa.is_there(), "{isa:?} is not there");
        let (k, n, pieces) = (b.k(), b.n(), pieces.joined());
        assert!(pieces.floats() == k, "{} bytes of a row, for {k}", pieces.floats());
        assert!(pieces.len.is_multiple_of(QUAD), "pieces of {} bytes", pieces.len);
        // Bands that follow each other are one.
        let follows = rows[0] == 1 || steps[0] == rows[1] * steps[1];
        let rows = if follows { [1, rows[0] * rows[1]] } else { rows };
        let m = rows[0].checked_mul(rows[1]).expect("rows that there can be");
        if m == 0 || n == 0 {
            return;
        }
        if k > 0 {
            let band = extent(rows[1], steps[1]) - 1 + pieces.reach();
            assert_within(a.len(), rows[0], steps[0], band);
        }
        assert!(start.len() == n.next_multiple_of(PANEL), "{} sums for {n}", start.len());
        let fits = |less: &Correction| less.zeros.len() >= n && less.sums.len() >= m;
        assert!(less.as_ref().is_none_or(fits), "too few zeros, or sums of rows");
        let finish = c.measured(m, n, ldc);
        let (b, panel) = (b.panels(), k * PANEL);
        assert!(b.len() >= n.div_ceil(PANEL) * panel, "too few panels");
        Job { rows, a, steps, pieces, b, panel, n, start, less, finish }.run(isa);
    }
}

impl Job<'_> {
    fn run(&self, isa: Isa) {
        match isa {
            Isa::Scalar => self.scalar(),
            // SAFETY: `isa` is there, and has what an earlier one has; the slices were
            // measured.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if super::x86::has_vnni() => unsafe { super::x86::avx512(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            _ => unsafe { super::x86::avx2(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon if super::neon::has_dot() => unsafe { super::neon::dot(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            _ => unsafe { super::neon::words(self) },
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            _ => self.scalar(),
        }
    }

    /// Corrects the sums of a row, and writes those that there are.
    ///
    /// # Safety
    ///
    /// The row and the column are there.
    #[inline(always)]
    pub(super) unsafe fn write<V: Lanes>(
        &self,
        row: usize,
        column: usize,
        sums: &mut [i32; WIDTH],
    ) {
        if let Some(less) = &self.less {
            less.apply(row, column, sums);
        }
        // SAFETY: the contract.
        unsafe { self.finish.write::<V>(row, column, sums, (self.n - column).min(WIDTH)) };
    }

    /// The reference.
    fn scalar(&self) {
        let Pieces { len, .. } = self.pieces;
        for row in 0..self.rows[0] * self.rows[1] {
            let from = row / self.rows[1] * self.steps[0] + row % self.rows[1] * self.steps[1];
            for column in (0..self.n).step_by(PANEL) {
                let panel = &self.b[column * self.panel / PANEL..];
                let mut sums: [i32; WIDTH] = std::array::from_fn(|j| self.start[column + j]);
                for p in 0..self.panel / PANEL {
                    let x = i32::from(self.a[from + self.pieces.at(p / len) + p % len]);
                    let line = &panel[p / QUAD * QUAD * PANEL..];
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let w = i32::from(line[j * QUAD + p % QUAD]);
                        *sum = sum.wrapping_add(x * w);
                    }
                }
                // SAFETY: `run` has measured where they go.
                unsafe { self.write::<Scalar>(row, column, &mut sums) };
            }
        }
    }
}

/// The sum of each row of A, whose bytes are where `pieces` says.
///
/// # Panics
///
/// When A is shorter than that, or there are not as many sums as rows.
pub fn row_sums(a: &[u8], rows: [usize; 2], steps: [usize; 2], pieces: Pieces, sums: &mut [i32]) {
    assert!(sums.len() == rows[0] * rows[1], "{} sums of {rows:?}", sums.len());
    let pieces = pieces.joined();
    for (row, sum) in sums.iter_mut().enumerate() {
        let from = row / rows[1] * steps[0] + row % rows[1] * steps[1];
        let of = |piece| {
            let from = from + pieces.at(piece);
            a[from..from + pieces.len].iter().fold(0i32, |s, x| s.wrapping_add(i32::from(*x)))
        };
        *sum = (0..pieces.count[0] * pieces.count[1]).fold(0, |s, p| i32::wrapping_add(s, of(p)));
    }
}
