//! `LayerNormalization` over one axis, as what it comes down to: the root of the mean
//! square of what has its mean taken away. tract writes out every step, and finds the
//! whole again only when it simplifies.

use super::native::{Built, expansion};
use super::{attrs, ranked};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::change_axes::wire_with_rank_broadcast;
use tract_onnx::tract_hir::tract_core::ops::math::{add, mul, sub};
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

/// `inner`, wired in another way where X is of f32 and normalized along its last axis.
#[derive(Debug, Clone)]
struct LayerNorm {
    inner: Box<dyn Expansion>,
    axis: i64,
    epsilon: f32,
}

/// `LayerNormalization`: along an axis, the last by default.
pub(super) fn layer_norm(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let (axis, epsilon) = (attrs::int(node, "axis", -1)?, attrs::float(node, "epsilon", 1e-5)?);
    // (1: f32.)
    let is_plain = attrs::int(node, "stash_type", 1)? == 1;
    let only_y = node.output.iter().skip(1).all(String::is_empty);
    let names = node.input.iter().all(|name| !name.is_empty());
    let inner = ranked::normalization(ctx, node);
    if !is_plain || !only_y || !names || !epsilon.is_finite() || epsilon < 0.0 {
        return inner;
    }
    let inner = expansion(inner)?;
    Ok((expand(LayerNorm { inner, axis, epsilon }), vec![]))
}

impl LayerNorm {
    /// None where it is another axis, or dtype.
    fn straight(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<Option<OutletId>> {
        let &[x, scale, ref bias @ ..] = inputs else { return Ok(None) };
        let (fact, last) = (model.outlet_fact(x)?.clone(), model.outlet_fact(x)?.rank() as i64 - 1);
        let dim = fact.shape.last().and_then(|dim| dim.to_usize().ok()).filter(|dim| *dim > 0);
        let Some(dim) = dim.filter(|_| self.axis == last || self.axis == -1) else {
            return Ok(None);
        };
        for input in inputs {
            if model.outlet_fact(*input)?.datum_type != f32::datum_type() {
                return Ok(None);
            }
        }
        let axis = last as usize;
        let op = Reduce { axes: tvec!(axis), reducer: Reducer::Sum };
        let sum = model.wire_node(format!("{prefix}.sum"), op, &[x])?[0];
        let share = model.add_const(format!("{prefix}.share"), tensor0(1.0 / dim as f32))?;
        let name = format!("{prefix}.mean");
        let mean = wire_with_rank_broadcast(name, model, mul(), &[sum, share])?[0];
        let centred = model.wire_node(format!("{prefix}.centred"), sub(), &[x, mean])?[0];
        let op = RmsNorm { axis, eps: tensor0(self.epsilon).into_arc_tensor() };
        let mut y = model.wire_node(format!("{prefix}.norm"), op, &[centred])?[0];
        y = wire_with_rank_broadcast(format!("{prefix}.scaled"), model, mul(), &[y, scale])?[0];
        if let Some(bias) = bias.first() {
            let name = format!("{prefix}.shifted");
            y = wire_with_rank_broadcast(name, model, add(), &[y, *bias])?[0];
        }
        Ok(Some(y))
    }
}

impl Expansion for LayerNorm {
    fn name(&self) -> StaticName {
        self.inner.as_ref().name()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.inner.as_ref().rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        match self.straight(prefix, model, inputs)? {
            Some(y) => Ok(tvec!(y)),
            None => self.inner.as_ref().wire(prefix, model, inputs),
        }
    }
}
