//! Matrix products: every Einsum of two operands.
//!
//! Its axes are batch (in both operands and the result), m (in the first), n (in
//! the second) or k (in both, summed). Neighbouring axes that are one axis in
//! memory are merged; what is left beside one m, n and k is looped over. Rows of
//! the first operand and of the result have to be contiguous; where they are
//! not, the operands change sides, or a transposed copy is made.

mod split;

use super::fuse::Tail;
use super::loops::{Loop, each};
use super::lower::{Context, Lowered, Ref};
use super::memory::Mapped;
use super::ops::Op;
use crate::error::Result;
use crate::kernels::{self, Isa, Packed};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::DatumType;
use tract_onnx::tract_core::ops::einsum::EinSum;

/// Products C = A · B of `m` by `k` and `k` by `n`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Product {
    m: usize,
    k: usize,
    n: usize,
    /// Floats from a row of A to the next.
    lda: usize,
    /// Floats from an element of B to the next one of its column, and of its row.
    b: [usize; 2],
    ldc: usize,
    loops: Vec<Loop>,
    /// B, when it is a constant.
    weights: Option<Packed>,
    /// Which value read is A, and which is B.
    sides: [usize; 2],
    pub(super) bias: Option<Box<[f32]>>,
    pub(super) tail: Tail,
}

/// Rows of C that are computed before `then` is done to them, in floats: they stay
/// in the second-level cache, and the weights are not read more often than needed.
const BLOCK: usize = 64 << 10;

impl Product {
    /// `m` rows of A, `lda` floats apart, times `weights`, plus `bias`.
    pub(super) fn dense(
        m: usize,
        lda: usize,
        weights: Packed,
        bias: Box<[f32]>,
        loops: Vec<Loop>,
    ) -> Product {
        let (k, n) = (weights.k(), weights.n());
        Product {
            m,
            k,
            n,
            lda,
            b: [n, 1],
            ldc: n,
            loops,
            weights: Some(weights),
            sides: [0, 0],
            bias: Some(bias),
            tail: Tail::default(),
        }
    }

    /// Rows, depth and columns.
    pub(super) fn dims(&self) -> [usize; 3] {
        [self.m, self.k, self.n]
    }

    /// Floats from a row of A to the next.
    pub(super) fn lda(&self) -> usize {
        self.lda
    }

    /// Floats from a row of C to the next.
    pub(super) fn ldc(&self) -> usize {
        self.ldc
    }

    /// Floats from an element of B to the next one of its column, and of its row.
    pub(super) fn b(&self) -> [usize; 2] {
        self.b
    }

    /// What is around the product.
    pub(super) fn loops(&self) -> &[Loop] {
        &self.loops
    }

    /// Which value read is A, and which is B.
    pub(super) fn sides(&self) -> [usize; 2] {
        self.sides
    }

    /// Whether it is of two values and nothing else.
    pub(super) fn is_plain(&self) -> bool {
        self.weights.is_none() && self.bias.is_none() && self.tail.is_empty()
    }

    /// The columns of the result, where they are those of the weights.
    pub(super) fn columns(&self) -> Option<usize> {
        // Columns of all products are the last axis of the result.
        let last = self.loops.iter().all(|l| l.steps[2].is_multiple_of(self.n))
            && self.ldc.is_multiple_of(self.n);
        (last && self.weights.is_some()).then_some(self.n)
    }

    /// Multiplies each column with one of `by`.
    pub(super) fn scale(&mut self, by: &[f32]) {
        let weights = self.weights.iter_mut();
        weights.for_each(|packed| packed.scale_columns(by));
        let bias = self.bias.iter_mut().flatten();
        bias.zip(by).for_each(|(v, by)| *v *= by);
    }

    /// Adds one of `by` to each column.
    pub(super) fn shift(&mut self, by: &[f32]) {
        let bias = self.bias.get_or_insert_with(|| vec![0.0; by.len()].into());
        bias.iter_mut().zip(by).for_each(|(v, by)| *v += by);
    }

    /// Whether as many elements can be added to it.
    pub(super) fn takes_residual(&self) -> bool {
        self.tail.is_empty() && self.weights.is_some() && self.loops.is_empty() && self.is_dense()
    }

    /// Whether bounds cost nothing.
    pub(super) fn takes_clamp(&self) -> bool {
        self.weights.is_some() && self.tail.then.is_empty()
    }

    /// Whether all of the result is rows one after the other.
    fn is_dense(&self) -> bool {
        self.ldc == self.n
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, c: &mut [f32], scratch: &mut [f32]) {
        let a = reads.get(self.sides[0]);
        let b = match self.weights {
            Some(_) => &[],
            None => reads.get(self.sides[1]),
        };
        if let (Some(packed), []) = (&self.weights, &self.loops[..]) {
            return self.weighted(isa, reads, a, packed, c);
        }
        each(&self.loops, &mut |[at_a, at_b, at_c]| {
            let (a, c) = (&a[at_a..], &mut c[at_c..]);
            match &self.weights {
                Some(packed) => self.weighted(isa, reads, a, packed, c),
                None => {
                    let (b, [b_row_stride, b_col_stride]) = (&b[at_b..], self.b);
                    let Product { m, k, n, lda, ldc, .. } = *self;
                    let to = (&mut *c).into();
                    kernels::Matmul { m, k, n, a, lda, b, b_row_stride, b_col_stride, c: to, ldc }
                        .run(isa, scratch);
                    self.finish(isa, self.m, c);
                }
            }
        });
    }

    /// With weights, in blocks of rows that `then` finds in the cache.
    #[inline]
    fn weighted(&self, isa: Isa, reads: &Mapped, a: &[f32], packed: &Packed, c: &mut [f32]) {
        let residual = self.tail.residual.map(|at| reads.get(at));
        if self.tail.then.is_empty() {
            return self.rows(isa, self.m, a, packed, residual, c);
        }
        let rows = (BLOCK / self.n).next_multiple_of(12).min(self.m);
        for from in (0..self.m).step_by(rows.max(1)) {
            let m = rows.min(self.m - from);
            let (a, c) = (&a[from * self.lda..], &mut c[from * self.ldc..]);
            self.rows(isa, m, a, packed, residual.map(|all| &all[from * self.n..]), c);
            self.finish(isa, m, c);
        }
    }

    /// `m` rows with weights, without `then`.
    #[inline]
    fn rows(
        &self,
        isa: Isa,
        m: usize,
        a: &[f32],
        packed: &Packed,
        residual: Option<&[f32]>,
        c: &mut [f32],
    ) {
        let (bias, clamp) = (self.bias.as_deref(), self.tail.clamp);
        let (b, c, lda, ldc) = (packed.as_packed(), c.into(), self.lda, self.ldc);
        let residual = residual.map(|all| (all, self.n));
        kernels::Gemm { m, a, lda, b, bias, residual, clamp, c, ldc }.run(isa);
    }

    fn finish(&self, isa: Isa, m: usize, c: &mut [f32]) {
        match self.is_dense() {
            true => self.tail.finish(isa, &mut c[..m * self.n]),
            false if self.tail.then.is_empty() => {}
            false => {
                let rows = c.chunks_mut(self.ldc).take(m);
                rows.for_each(|row| self.tail.finish(isa, &mut row[..self.n]));
            }
        }
    }
}

/// One axis of an Einsum: its length, and its stride in the operands and the
/// result that have it.
#[derive(Debug, Clone, Copy)]
struct Axis {
    dim: usize,
    at: [Option<usize>; 3],
}

impl Axis {
    /// The stride in A, B or C; zero where it is not.
    fn stride(&self, side: usize) -> usize {
        self.at[side].unwrap_or(0)
    }

    /// Batch, m, n or k; none for what is summed in one operand alone.
    fn role(&self) -> Option<Role> {
        Some(match self.at.map(|s| s.is_some()) {
            [true, true, true] => Role::Batch,
            [true, false, true] => Role::M,
            [false, true, true] => Role::N,
            [true, true, false] => Role::K,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Batch,
    M,
    N,
    K,
}

/// Those axes of `role` that are one in memory, the innermost of `side` first;
/// and those that are not.
fn merged(axes: &[Axis], role: Role, side: usize) -> (Option<Axis>, Vec<Axis>) {
    let mut of: Vec<Axis> = axes.iter().filter(|a| a.role() == Some(role)).copied().collect();
    of.sort_by_key(|a| a.stride(side));
    let mut of = of.into_iter();
    let Some(mut one) = of.next() else { return (None, Vec::new()) };
    let mut rest = Vec::new();
    for axis in of {
        let follows = (0..3).all(|s| axis.stride(s) == one.stride(s) * one.dim);
        match follows && rest.is_empty() {
            true => one.dim *= axis.dim,
            false => rest.push(axis),
        }
    }
    (Some(one), rest)
}

/// The product of A and B as they lie, if it is one.
fn product(axes: &[Axis], sides: [usize; 2]) -> Option<Product> {
    let (m, more_m) = merged(axes, Role::M, 2);
    let (n, more_n) = merged(axes, Role::N, 2);
    let (k, more_k) = merged(axes, Role::K, 0);
    let contiguous = n.is_none_or(|n| n.stride(2) == 1) && k.is_none_or(|k| k.stride(0) == 1);
    if !contiguous || !more_k.is_empty() {
        return None;
    }
    let dim = |axis: Option<Axis>| axis.map_or(1, |a| a.dim);
    let (rows, columns, depth) = (dim(m), dim(n), dim(k));
    let batch = axes.iter().filter(|a| a.role() == Some(Role::Batch)).copied();
    let mut loops: Vec<Loop> = batch
        .chain(more_m)
        .chain(more_n)
        .map(|a| Loop { count: a.dim, steps: [0, 1, 2].map(|side| a.stride(side)) })
        .collect();
    loops.sort_by_key(|l| std::cmp::Reverse(l.steps[2]));
    Some(Product {
        m: rows,
        k: depth,
        n: columns,
        lda: m.map_or(depth, |a| a.stride(0)),
        b: [k.map_or(columns, |a| a.stride(1)), n.map_or(1, |a| a.stride(1))],
        ldc: m.map_or(columns, |a| a.stride(2)),
        loops,
        weights: None,
        sides,
        bias: None,
        tail: Tail::default(),
    })
}

/// The axes with the operands' sides changed.
fn swapped(axes: &[Axis]) -> Vec<Axis> {
    axes.iter().map(|a| Axis { dim: a.dim, at: [a.at[1], a.at[0], a.at[2]] }).collect()
}

/// A tensor's axes in the order of `roles`, those of a role as they are in
/// `side`; gives the order and the axes as they then lie.
fn ordered(axes: &[Axis], side: usize, by: usize) -> (Vec<usize>, Vec<Axis>) {
    let mut own: Vec<usize> = (0..axes.len()).filter(|i| axes[*i].at[side].is_some()).collect();
    let key =
        |i: &usize| (axes[*i].role(), std::cmp::Reverse(axes[*i].at[by].or(axes[*i].at[side])));
    own.sort_by_key(key);
    let mut lying = axes.to_vec();
    let mut stride = 1;
    for i in own.iter().rev() {
        lying[*i].at[side] = Some(stride);
        stride *= axes[*i].dim;
    }
    (own, lying)
}

/// The step that brings a tensor with `axes` in the order of `from` into the
/// order of `to`.
fn transposed(axes: &[Axis], from: &[usize], to: &[usize]) -> Op {
    let dims: Vec<usize> = from.iter().map(|i| axes[*i].dim).collect();
    let place = |i: &usize| from.iter().position(|f| f == i).unwrap_or(0);
    Op::permute(&dims, &to.iter().map(place).collect::<Vec<_>>())
}

/// Axes of a tensor, the outermost first.
fn as_they_lie(axes: &[Axis], side: usize) -> Vec<usize> {
    let mut own: Vec<usize> = (0..axes.len()).filter(|i| axes[*i].at[side].is_some()).collect();
    own.sort_by_key(|i| std::cmp::Reverse(axes[*i].at[side]));
    own
}

/// The axes of an Einsum that are longer than one.
fn axes(context: &Context, op: &EinSum) -> Option<Vec<Axis>> {
    let tensors = [context.operand(0)?, context.operand(1)?, context.result()?];
    let [tensors, strides] = [tensors.each_ref().map(|t| &t.0), tensors.each_ref().map(|t| &t.1)];
    let mut axes = Vec::new();
    for axis in op.axes.iter_all_axes() {
        let places = [axis.inputs.first()?, axis.inputs.get(1)?, axis.outputs.first()?];
        if places.iter().any(|p| p.len() > 1) {
            return None;
        }
        let place = places.map(|p| p.first().copied());
        let dim_in = |side: usize| place[side].and_then(|p| tensors[side].get(p).copied());
        let dim = (0..3).filter_map(dim_in).max()?;
        if dim == 1 {
            continue;
        }
        // An operand of one element along a longer axis is broadcast.
        let at = |side: usize| {
            place[side].and_then(|p| (tensors[side][p] == dim).then(|| strides[side][p]))
        };
        axes.push(Axis { dim, at: [at(0), at(1), at(2)] });
    }
    axes.iter().all(|a| a.role().is_some()).then_some(axes)
}

/// Where a node multiplies rows that lie one after the other with constant rows
/// that do, and writes such rows: which input the first is, and the rows and columns of
/// the second.
pub(super) fn plain(context: &Context) -> Option<(usize, [usize; 2])> {
    let op = context.node.op_as::<EinSum>()?;
    let axes = axes(context, op)?;
    let both = [product(&axes, [0, 1]), product(&swapped(&axes), [1, 0])];
    let fits = |p: &Product| {
        let dense = (p.lda, p.b, p.ldc) == (p.k, [p.n, 1], p.n) && p.loops.is_empty();
        dense && context.floats(p.sides[1]).is_some()
    };
    let found = both.into_iter().flatten().find(fits)?;
    Some((found.sides[0], [found.k, found.n]))
}

/// Packs B where it is a constant, or makes room for it.
fn ready(context: &Context, mut product: Product) -> Option<(Product, usize)> {
    if let Some(raw) = context.raw(product.sides[1])
        && product.loops.iter().all(|l| l.steps[1] == 0)
    {
        let Product { k, n, b: [row, column], .. } = product;
        let pack = move |to: &mut [f32]| {
            kernels::pack_into(Isa::best(), k, n, raw.as_ref(), row, column, to);
        };
        product.weights = Some(Packed::later(k, n, pack).ok()?);
        return Some((product, 0));
    }
    let scratch = kernels::Matmul::scratch(product.m, product.k, product.n, product.b[1]);
    Some((product, scratch))
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let op = context.node.op_as::<EinSum>()?;
    let floats = op.q_params.is_none() && op.operating_dt == DatumType::F32;
    if !floats || context.node.inputs.len() != 2 {
        return None;
    }
    let axes = axes(context, op)?;
    let len = context.output(0)?.iter().product();
    let both = [product(&axes, [0, 1]), product(&swapped(&axes), [1, 0])];
    let constant = |p: &Product| context.constant(p.sides[1]).is_some();
    let best = both.into_iter().flatten().max_by_key(|p| (constant(p), p.sides == [0, 1]));
    let mut lowered = Lowered::default();
    if let Some(product) = best {
        let (product, scratch) = ready(context, product)?;
        let reads = vec![Ref::Input(0), Ref::Input(1)];
        let value = with_scratch(&mut lowered, product, reads, len, scratch);
        lowered.outputs.push(value);
        return Some(lowered);
    }
    // A and C as a product has them; the constant, if one is, as B.
    let sides = if context.constant(0).is_some() { [1, 0] } else { [0, 1] };
    let axes = if sides == [1, 0] { swapped(&axes) } else { axes };
    let mut reads = vec![Ref::Input(0), Ref::Input(1)];
    let (order, lying) = ordered(&axes, 0, 2);
    let own = as_they_lie(&axes, 0);
    if own != order {
        let volume = own.iter().map(|i| axes[*i].dim).product();
        let turned = transposed(&axes, &own, &order);
        reads[sides[0]] = lowered.step(turned, vec![reads[sides[0]]], volume);
    }
    let (order, lying) = ordered(&lying, 2, 2);
    let (product, scratch) = ready(context, product(&lying, sides)?)?;
    let mut value = with_scratch(&mut lowered, product, reads, len, scratch);
    let own = as_they_lie(&axes, 2);
    if own != order {
        value = lowered.step(transposed(&axes, &order, &own), vec![value], len);
    }
    lowered.outputs.push(value);
    Some(lowered)
}

fn with_scratch(
    lowered: &mut Lowered,
    product: Product,
    reads: Vec<Ref>,
    len: usize,
    scratch: usize,
) -> Ref {
    // Weights that were packed are not read again.
    let (op, mut reads) = (product, reads);
    let mut product = op;
    if product.weights.is_some() {
        reads = vec![reads[product.sides[0]]];
        product.sides = [0, 0];
    }
    let writes = if scratch > 0 { vec![len, scratch] } else { vec![len] };
    lowered.step_of(Op::Product(product), reads, writes)
}

impl Product {
    pub(super) fn flop(&self) -> u64 {
        let times: usize = self.loops.iter().map(|l| l.count).product();
        2 * (times * self.m * self.n * self.k) as u64
    }

    pub(super) fn pack(&mut self) -> Result<()> {
        self.weights.as_mut().map_or(Ok(()), Packed::pack)
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        self.weights.as_ref().map_or(0, |packed| packed.bytes() as u64)
    }
}
