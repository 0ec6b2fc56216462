//! From tract's graph of ONNX operators to its typed graph, node by node.
//!
//! Where the shapes of all inputs are known, so are those of what a node gives once
//! those before it are typed: each operator's rules are asked once, and checked, and
//! the node is typed there and then. tract asks until nothing changes, and all of them
//! again before it types the first: for graphs whose shapes are known from the back,
//! too. Those few are left to it.

use super::lower::is_wired;
use crate::work;
use std::collections::HashMap;
use tract_onnx::prelude::{InferenceFact, TractResult, TypedModel};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::infer::{Factoid, InferenceModel, InferenceNode};
use tract_onnx::tract_hir::ops::source::Source;

/// The graph, typed. Fails where tract may still know a way.
pub(super) fn typed(mut source: InferenceModel) -> TractResult<TypedModel> {
    let mut target = TypedModel { symbols: source.symbols.clone(), ..TypedModel::default() };
    let _proofs = source.symbols.proof_cache_session();
    let mut mapping = HashMap::new();
    let mut order = source.eval_order()?;
    // An input stays one, though nobody reads it.
    let unread = source.inputs.iter().map(|input| input.node);
    let unread: Vec<usize> = unread.filter(|id| !order.contains(id)).collect();
    order.extend(unread);
    for id in order {
        work::check()?;
        let outlets = infer(&mut source, id, &target, &mapping)
            .and_then(|()| node(&source, &source.nodes[id], &mut target, &mapping))
            .with_context(|| format!("typing {}", source.nodes[id]))?;
        for (slot, outlet) in outlets.into_iter().enumerate() {
            mapping.insert(OutletId::new(id, slot), outlet);
            if let Some(label) = source.outlet_label(OutletId::new(id, slot)) {
                target.set_outlet_label(outlet, label.to_owned())?;
            }
        }
    }
    let at = |outlet: &OutletId| {
        mapping.get(outlet).copied().with_context(|| format!("{outlet:?} is not typed"))
    };
    target.inputs = source.inputs.iter().map(at).collect::<TractResult<_>>()?;
    target.outputs = source.outputs.iter().map(at).collect::<TractResult<_>>()?;
    target.properties.clone_from(&source.properties);
    Ok(target)
}

/// Notes what a node gives, by what the typed graph says of its inputs.
fn infer(
    source: &mut InferenceModel,
    id: usize,
    target: &TypedModel,
    mapping: &HashMap<OutletId, OutletId>,
) -> TractResult<()> {
    let node = &source.nodes[id];
    if is_source(node) || is_wired(&*node.op) {
        return Ok(());
    }
    ensure!(node.op.observe_outlets(source, node)?.is_empty(), "it looks at other nodes");
    let inputs = node.inputs.iter().map(|input| {
        let outlet = mapping.get(input).context("an input that is not typed")?;
        Ok(InferenceFact::from(target.outlet_fact(*outlet)?))
    });
    let inputs = inputs.collect::<TractResult<TVec<InferenceFact>>>()?;
    let node = &mut source.nodes[id];
    ensure!(node.outputs.len() == node.op.nboutputs()?, "{} outputs", node.outputs.len());
    let outputs = node.outputs.iter().map(|output| &output.fact).collect();
    let (_, inferred, _) = node.op.infer(inputs.iter().collect(), outputs, tvec!())?;
    for (output, fact) in node.outputs.iter_mut().zip(inferred) {
        output.fact = fact;
    }
    Ok(())
}

fn is_source(node: &InferenceNode) -> bool {
    node.op.as_op().is::<Source>()
}

/// Types a node: what is known of it is a constant, unless it has a state.
fn node(
    source: &InferenceModel,
    node: &InferenceNode,
    target: &mut TypedModel,
    mapping: &HashMap<OutletId, OutletId>,
) -> TractResult<TVec<OutletId>> {
    let is_known = node.outputs.iter().all(|output| output.fact.value.is_concrete());
    if is_known && !is_source(node) && node.op.state(&EvalContext::out_of_plan())?.is_none() {
        let constants = node.outputs.iter().enumerate().map(|(slot, output)| {
            let value = output.fact.value.concretize().context("a value that is none")?;
            target.add_const(format!("{}.{slot}", node.name), value)
        });
        return constants.collect();
    }
    let outlets = node.op.to_typed(source, node, target, mapping)?;
    for outlet in &outlets {
        target.outlet_fact(*outlet)?.consistent()?;
    }
    Ok(outlets)
}
