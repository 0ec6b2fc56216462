//! Products on several threads: by rows of C, by columns where B has more floats
//! than A, or by the loops around.

use super::{Loop, Mapped, Packed, Product, each};
use crate::error::Result;
use crate::kernels::{self, Isa, Panel};
use crate::plan::region::split::{LINE, Team};

/// Columns that a part has a multiple of.
const COLUMNS: usize = 32;
/// Rows that a part has a multiple of: whole register tiles.
const ROWS: usize = 12;

/// The operands of one product.
#[derive(Clone, Copy)]
struct Operands<'a> {
    a: &'a [f32],
    b: &'a [f32],
    residual: Option<&'a [f32]>,
}

impl Product {
    /// As [`Product::run`], on the threads of a team.
    pub(in crate::plan::region) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        c: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let of = Operands {
            a: reads.get(self.sides[0]),
            b: if self.weights.is_some() { &[] } else { reads.get(self.sides[1]) },
            residual: self.tail.residual.map(|at| reads.get(at)),
        };
        match (&self.loops[..], &self.weights) {
            ([], Some(weights)) => self.split_one(isa, of, weights, c, cost, team),
            ([], None) if self.is_dense() => self.split_rows(isa, of, c, cost, team),
            ([outer, inner @ ..], None) => self.split_loop(isa, of, (*outer, inner), c, cost, team),
            _ => Ok(false),
        }
    }

    fn split_one(
        &self,
        isa: Isa,
        of: Operands<'_>,
        weights: &Packed,
        c: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let Product { m, k, n, lda, ldc, .. } = *self;
        if self.is_dense() && m >= ROWS * team.threads() && n < m {
            return team.rows(cost, c, [n, ROWS], |_, first, c| {
                let (m, a) = (c.len() / n, &of.a[first * lda..]);
                let residual = of.residual.map(|all| &all[first * n..]);
                self.rows(isa, m, a, weights, residual, c);
                self.finish(isa, m, c);
            });
        }
        team.columns(cost, c, [m, ldc, n], COLUMNS, |_, (from, to), mut c| {
            let gemm = kernels::Gemm {
                m,
                a: of.a,
                lda,
                b: weights.as_packed().columns(from, to),
                bias: self.bias.as_deref().map(|bias| &bias[from..to]),
                residual: of.residual.map(|all| (&all[from..], n)),
                clamp: self.tail.clamp,
                c: c.reborrow(),
                ldc,
            };
            debug_assert!(gemm.b.k() == k);
            gemm.run(isa);
            if !self.tail.then.is_empty() {
                (0..m).for_each(|row| self.tail.finish(isa, c.row(row, ldc, to - from)));
            }
        })
    }

    /// Without weights or loops.
    fn split_rows(
        &self,
        isa: Isa,
        of: Operands<'_>,
        c: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let Product { k, n, lda, ldc, b: [b_row_stride, b_col_stride], .. } = *self;
        // Each part may make a copy of B.
        if self.m < 4 * ROWS * team.threads() {
            return Ok(false);
        }
        team.rows(cost, c, [n, ROWS], |scratch, first, c| {
            let (m, a, b, to) = (c.len() / n, &of.a[first * lda..], of.b, (&mut *c).into());
            kernels::Matmul { m, k, n, a, lda, b, b_row_stride, b_col_stride, c: to, ldc }
                .run(isa, scratch);
            self.finish(isa, m, c);
        })
    }

    /// By turns of the outer loop, where each writes one piece of C or columns of it.
    fn split_loop(
        &self,
        isa: Isa,
        of: Operands<'_>,
        (outer, inner): (Loop, &[Loop]),
        c: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let Product { m, n, ldc, .. } = *self;
        let [step_a, step_b, step] = outer.steps;
        let reach = inner.iter().map(|l| (l.count - 1) * l.steps[2]).sum::<usize>();
        let reach = reach + (m - 1) * ldc + n;
        if step >= reach && c.len() == outer.count * step {
            return team.rows(cost, c, [step, 1], |scratch, first, c| {
                for (turn, c) in (first..).zip(c.chunks_exact_mut(step)) {
                    let (a, b) = (&of.a[turn * step_a..], &of.b[turn * step_b..]);
                    each(inner, &mut |[at_a, at_b, at_c]| {
                        let own = (&a[at_a..], &b[at_b..]);
                        self.turn(isa, own, scratch, (&mut c[at_c..]).into());
                    });
                }
            });
        }
        if !inner.is_empty() || step < n || ldc < outer.count * step || step % LINE != 0 {
            return Ok(false);
        }
        let columns = (outer.count - 1) * step + n;
        team.columns(cost, c, [m, ldc, columns], step, |scratch, (from, to), mut c| {
            for at in (from..to).step_by(step) {
                let turn = at / step;
                let own = (&of.a[turn * step_a..], &of.b[turn * step_b..]);
                let (_, c) = c.reborrow().split_columns([m, ldc, to - from], at - from);
                self.turn(isa, own, scratch, c);
            }
        })
    }

    /// One turn of all loops.
    fn turn(&self, isa: Isa, (a, b): (&[f32], &[f32]), scratch: &mut [f32], mut c: Panel<'_>) {
        let Product { m, k, n, lda, ldc, b: [b_row_stride, b_col_stride], .. } = *self;
        let to = c.reborrow();
        kernels::Matmul { m, k, n, a, lda, b, b_row_stride, b_col_stride, c: to, ldc }
            .run(isa, scratch);
        if !self.tail.then.is_empty() {
            (0..m).for_each(|row| self.tail.finish(isa, c.row(row, ldc, n)));
        }
    }
}
