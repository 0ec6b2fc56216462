//! Chains of arithmetic on half floats, computed as f32.
//!
//! No processor this runs on is faster at f16, and every step would round: what
//! a chain passes on stays f32, and is rounded where the chain ends.

use tract_onnx::prelude::{DatumType, TractResult, TypedFact, TypedModel};
use tract_onnx::tract_core::internal::{OutletId, TVec, TypedModelPatch};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::{Cast, cast};
use tract_onnx::tract_core::ops::logic::Iff;

/// Widens binary arithmetic and choices, then drops every rounding between two widened
/// steps. (Sums of products come widened from `lower`.)
pub(super) fn widen(graph: &mut TypedModel) -> TractResult<()> {
    let half = |f: &TypedFact| f.datum_type == DatumType::F16;
    if !graph.nodes.iter().flat_map(|n| &n.outputs).any(|o| half(&o.fact)) {
        return Ok(());
    }
    for id in graph.eval_order()? {
        let node = graph.node(id);
        let arithmetic = node.op_as::<TypedBinOp>().is_some_and(|op| op.1.is_none());
        if (arithmetic || node.op_is::<Iff>()) && half(graph.outlet_fact(id.into())?) {
            widen_node(graph, id)?;
        }
    }
    for id in graph.eval_order()? {
        if let Some(source) = rounded_only(graph, id)? {
            let mut patch = TypedModelPatch::default();
            let tap = patch.tap_model(graph, source)?;
            patch.shunt_outside(graph, id.into(), tap)?;
            patch.apply(graph)?;
        }
    }
    Ok(())
}

fn widen_node(graph: &mut TypedModel, id: usize) -> TractResult<()> {
    let node = graph.node(id);
    let (name, op) = (node.name.clone(), node.op.clone());
    let mut patch = TypedModelPatch::default();
    let mut wide = TVec::new();
    for (ix, input) in node.inputs.iter().enumerate() {
        let mut tap = patch.tap_model(graph, *input)?;
        if graph.outlet_fact(*input)?.datum_type == DatumType::F16 {
            let to = cast(DatumType::F32);
            tap = patch.wire_node(format!("{name}.wide-{ix}"), to, &[tap])?[0];
        }
        wide.push(tap);
    }
    let wide = patch.wire_node(format!("{name}.wide"), op, &wide)?;
    let narrow = patch.wire_node(name, cast(DatumType::F16), &wide)?[0];
    patch.shunt_outside(graph, id.into(), narrow)?;
    patch.apply(graph)
}

/// The f32 that a step widens again after nothing but narrowing it.
fn rounded_only(graph: &TypedModel, id: usize) -> TractResult<Option<OutletId>> {
    let cast_to = |id: usize, to: DatumType| {
        let node = graph.node(id);
        node.op_as::<Cast>().filter(|c| c.to == to).map(|_| node.inputs[0])
    };
    let mut source = cast_to(id, DatumType::F32);
    while let Some(outlet) = source {
        source = cast_to(outlet.node, DatumType::F16);
        if let Some(wide) = source
            && graph.outlet_fact(wide)?.datum_type == DatumType::F32
        {
            return Ok(source);
        }
    }
    Ok(None)
}
