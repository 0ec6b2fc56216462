//! `GRU` (opsets 1 to 22), `LSTM` (1 to 22), `RNN` (1 to 22).
//!
//! One operator of ours where it can be ([`recur`]); else tract's, which know
//! neither `direction=reverse` nor most attributes: the direction is added around
//! them, the rest is [`Layer`]'s.

use super::attrs;
use super::cells::{Layer, reverse};
use super::mended::expansion;
use super::native::{Built, frame};
use super::recur;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::Gather;

/// Builds `GRU`, `LSTM` or `RNN`.
pub(super) fn recurrent(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let reverse = reverse(node)?;
    let usual = is_usual(node, reverse.len())?;
    let otherwise: Box<dyn Expansion> = if !usual || !is_plain(node, reverse.len())? {
        Box::new(frame(node, Layer::of(node)?))
    } else {
        let mut forward = expansion(ctx, node)?;
        if node.op_type == "LSTM" {
            forward = Box::new(apart(ctx, node, forward)?);
        }
        if reverse == [true] {
            let has_y = node.output.first().is_some_and(|name| !name.is_empty());
            let batch_first = attrs::flag(node, "layout", false)?;
            forward = Box::new(Reversed { forward, axis: batch_first as usize, has_y });
        }
        forward
    };
    match usual {
        true => Ok((recur::recurrent(node, reverse, otherwise)?, vec![])),
        false => Ok((Box::new(otherwise), vec![])),
    }
}

/// Whether it has the standard's own functions, unclipped, over whole sequences.
fn is_usual(node: &NodeProto, directions: usize) -> TractResult<bool> {
    let defaults: &[&str] = match &*node.op_type {
        "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
        "GRU" => &["Sigmoid", "Tanh"],
        _ => &["Tanh"],
    };
    let activations = attrs::strings(node, "activations")?;
    let usual = activations.is_empty()
        || activations.len() == defaults.len() * directions
            && activations
                .iter()
                .zip(defaults.iter().cycle())
                .all(|(a, d)| a.eq_ignore_ascii_case(d));
    let has_lens = node.input.get(4).is_some_and(|name| !name.is_empty());
    Ok(usual
        && !has_lens
        && node.get_attr_opt::<f32>("clip")?.is_none()
        && !attrs::flag(node, "input_forget", false)?)
}

/// Whether tract's operator does all that a usual node asks.
fn is_plain(node: &NodeProto, directions: usize) -> TractResult<bool> {
    // tract's GRU that resets before its product is a loop of small operators,
    // and less exact.
    let resets_first = node.op_type == "GRU" && attrs::int(node, "linear_before_reset", 0)? == 0;
    Ok(!resets_first && (directions == 1 || !attrs::flag(node, "layout", false)?))
}

/// An LSTM whose two initial states stay two: where both are the same constant,
/// tract makes one of them and then moves its axes once for each use.
#[derive(Debug, Clone)]
struct Apart {
    plain: Box<dyn Expansion>,
    /// The same node, its initial cell given as an input.
    with_cell: Box<dyn Expansion>,
    /// Place of the initial cell among the inputs.
    slot: usize,
    given: bool,
    batch_first: bool,
}

fn apart(ctx: &ParsingContext, node: &NodeProto, plain: Box<dyn Expansion>) -> TractResult<Apart> {
    let named = |ix: usize| node.input.get(ix).is_some_and(|name| !name.is_empty());
    let mut extended = node.clone();
    if !named(6) {
        extended.input.resize(node.input.len().max(7), String::new());
        extended.input[6] = "inferno-initial-cell".into();
    }
    Ok(Apart {
        plain,
        with_cell: expansion(ctx, &extended)?,
        slot: (0..6).filter(|ix| named(*ix)).count(),
        given: named(6),
        batch_first: attrs::flag(node, "layout", false)?,
    })
}

impl Expansion for Apart {
    fn name(&self) -> StaticName {
        "LSTM".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.plain.as_ref().nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.plain.as_ref().rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut inputs: TVec<OutletId> = inputs.into();
        if !self.given {
            let (x, r) = (model.outlet_fact(inputs[0])?, model.outlet_fact(inputs[2])?);
            let batch = x.shape[!self.batch_first as usize].to_usize();
            let batch = batch.context("an LSTM needs a known batch")?;
            let (dirs, hidden) = (r.shape[0].to_usize()?, r.shape[2].to_usize()?);
            let dims = if self.batch_first { [batch, dirs, hidden] } else { [dirs, batch, hidden] };
            let zero = Tensor::zero_dt(x.datum_type, &dims)?;
            let zero = model.add_const(format!("{prefix}.initial-cell"), zero)?;
            inputs.insert(self.slot, zero);
        }
        let cell = inputs[self.slot];
        if model.outlet_fact(cell)?.konst.is_some() {
            inputs[self.slot] = model.wire_node(format!("{prefix}.kept-cell"), Keep, &[cell])?[0];
        }
        self.with_cell.as_ref().wire(prefix, model, &inputs)
    }
}

/// An identity that is never folded into a constant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Keep;

impl Op for Keep {
    fn name(&self) -> StaticName {
        "Keep".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Keep {
    not_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }
}

impl TypedOp for Keep {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(&*inputs[0].shape.to_tvec())))
    }

    as_op!();
}

/// A recurrence over the reversed sequence, its output put back in order.
#[derive(Debug, Clone)]
struct Reversed {
    forward: Box<dyn Expansion>,
    /// Axis of the sequence, in the input and in the output Y.
    axis: usize,
    has_y: bool,
}

impl Reversed {
    fn flip(
        &self,
        name: String,
        model: &mut TypedModel,
        outlet: OutletId,
    ) -> TractResult<OutletId> {
        let len = model.outlet_fact(outlet)?.shape[self.axis]
            .to_i64()
            .context("a reversed recurrence needs a known sequence length")?;
        let order: Vec<i64> = (0..len).rev().collect();
        let order = model.add_const(format!("{name}.order"), tensor1(&order))?;
        Ok(model.wire_node(name, Gather::new(self.axis), &[outlet, order])?[0])
    }
}

impl Expansion for Reversed {
    fn name(&self) -> StaticName {
        format!("Reverse{}", self.forward.as_ref().name()).into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.forward.as_ref().nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.forward.as_ref().rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut inputs: TVec<OutletId> = inputs.into();
        inputs[0] = self.flip(format!("{prefix}.x-reversed"), model, inputs[0])?;
        let mut outputs = self.forward.as_ref().wire(prefix, model, &inputs)?;
        if self.has_y {
            outputs[0] = self.flip(format!("{prefix}.y-reversed"), model, outputs[0])?;
        }
        Ok(outputs)
    }
}
