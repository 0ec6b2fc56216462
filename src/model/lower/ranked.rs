//! tract's operators whose rules count down from a rank that may be too small.
//!
//! `GatherND`, `LayerNormalization`, `MatMulNBits`, `RMSNormalization`,
//! `SimplifiedLayerNormalization`, `STFT`: of a scalar, or along an axis that is
//! not there, the count wraps and analysis does not end. Here the rank is looked
//! at first.

use super::attrs;
use super::mended::expansion;
use super::native::Built;
use super::wired::wired;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::GatherNd;

/// `inner`, of a first input that has at least `rank` dims.
#[derive(Debug, Clone)]
struct Ranked {
    inner: Box<dyn Expansion>,
    rank: i64,
}

impl Expansion for Ranked {
    fn name(&self) -> StaticName {
        self.inner.as_ref().name()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.inner.as_ref().nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        ensure!(!inputs.is_empty(), "{} needs its input number 0", self.name());
        s.given(&inputs[0].rank, move |s, rank| {
            let least = self.rank;
            ensure!(rank >= least, "input 0 is of rank {rank}: expected at least {least}");
            self.inner.as_ref().rules(s, inputs, outputs)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        self.inner.as_ref().wire(prefix, model, inputs)
    }
}

fn ranked(ctx: &ParsingContext, node: &NodeProto, rank: i64) -> Built {
    Ok((expand(Ranked { inner: expansion(ctx, node)?, rank }), vec![]))
}

/// `LayerNormalization` and its kin: along an axis, the last by default.
pub(super) fn normalization(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let axis = attrs::int(node, "axis", -1)?;
    let rank = if axis < 0 { axis.saturating_neg() } else { axis.saturating_add(1) };
    ranked(ctx, node, rank)
}

/// `MatMulNBits`.
pub(super) fn mat_mul_n_bits(ctx: &ParsingContext, node: &NodeProto) -> Built {
    ranked(ctx, node, 1)
}

/// `STFT`: batch, then time.
pub(super) fn stft(ctx: &ParsingContext, node: &NodeProto) -> Built {
    ranked(ctx, node, 2)
}

/// `GatherND`: the last dim of the indices is their length.
pub(super) fn gather_nd(_: &ParsingContext, node: &NodeProto) -> Built {
    let batch_dims = attrs::int(node, "batch_dims", 0)?;
    ensure!((0..32).contains(&batch_dims), "GatherND: batch_dims {batch_dims} is out of range");
    let batch_dims = batch_dims as usize;
    wired(node, move |w| {
        let (x, indices) = (w.need(0)?, w.need(1)?);
        let (rank, least) = (w.fact(indices)?.rank(), batch_dims + 1);
        ensure!(rank >= least, "input 1 is of rank {rank}: expected at least {least}");
        Ok(vec![w.op(GatherNd::new(batch_dims), &[x, indices])?])
    })
}
