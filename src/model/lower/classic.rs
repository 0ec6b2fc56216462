//! Operators of old that tract takes too narrowly: `Gemm` (7 to 13) in every
//! dtype, `Squeeze` (1, 11) without its `axes`.

use super::attrs;
use super::native::{Built, tract_builder};
use super::wired::{Wiring, wired};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::math;

/// `Gemm`: `alpha * A' * B' + beta * C`, the factors in the dtype of `A`.
pub(super) fn gemm(_: &ParsingContext, node: &NodeProto) -> Built {
    let (alpha, beta) = (attrs::float(node, "alpha", 1.0)?, attrs::float(node, "beta", 1.0)?);
    let (trans_a, trans_b) =
        (attrs::flag(node, "transA", false)?, attrs::flag(node, "transB", false)?);
    wired(node, move |w| {
        let (a, b) = (w.need(0)?, w.need(1)?);
        let dt = w.fact(a)?.datum_type;
        for input in [a, b] {
            ensure!(w.fact(input)?.rank() == 2, "Gemm: A and B must have rank 2");
            ensure!(w.fact(input)?.datum_type == dt, "Gemm: A and B must have one dtype");
        }
        let dim = |x, at: usize| -> TractResult<TDim> { Ok(w.fact(x)?.shape[at].clone()) };
        let (of_a, of_b) = (dim(a, usize::from(!trans_a))?, dim(b, usize::from(trans_b))?);
        // What is not equal may be so only when it is not known yet.
        let may_fit = of_a == of_b || of_a.to_i64().is_err() || of_b.to_i64().is_err();
        ensure!(may_fit, "Gemm: A has {of_a} columns for the {of_b} rows of B");
        // Half floats are multiplied and summed as f32, rounded once at the end.
        let work = if dt == DatumType::F16 { DatumType::F32 } else { dt };
        let (a, b) = (w.cast(a, work)?, w.cast(b, work)?);
        let whole = alpha.fract() == 0.0 && beta.fract() == 0.0;
        ensure!(whole || dt.is_float(), "Gemm: a fractional factor of {dt:?}");
        let axes = AxesMapping::for_numpy_matmul(2, trans_a, trans_b, false)?;
        let product = w.op(EinSum::new(axes, work), &[a, b])?;
        let product = scaled(w, product, alpha)?;
        let c = w.inputs.get(2).copied().flatten().filter(|_| beta != 0.0);
        let Some(c) = c else { return Ok(vec![w.cast(product, dt)?]) };
        let c = w.cast(c, work)?;
        let c = scaled(w, c, beta)?;
        let sum = w.bin(math::add(), product, c)?;
        Ok(vec![w.cast(sum, dt)?])
    })
}

fn scaled(w: &mut Wiring, x: OutletId, by: f32) -> TractResult<OutletId> {
    if by == 1.0 { Ok(x) } else { w.bin_scalar(math::mul(), x, by) }
}

/// `Squeeze` without axes takes every dim of 1; with them it stays tract's.
pub(super) fn squeeze(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let axes = attrs::ints(node, "axes")?;
    if ctx.onnx_operator_set_version >= 13 || axes.is_some() {
        return tract_builder("Squeeze")?(ctx, node);
    }
    wired(node, |w| {
        let mut x = w.need(0)?;
        let shape = w.fact(x)?.shape.clone();
        for axis in (0..shape.rank()).rev().filter(|axis| shape[*axis].is_one()) {
            x = w.op(AxisOp::Rm(axis), &[x])?;
        }
        Ok(vec![x])
    })
}
