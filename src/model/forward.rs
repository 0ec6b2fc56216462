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
use std::sync::Arc;
use tract_onnx::prelude::{InferenceFact, TractResult, TypedModel};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::infer::{Factoid, InferenceModel, InferenceNode};
use tract_onnx::tract_hir::ops::binary::InferenceBinOp;
use tract_onnx::tract_hir::ops::expandable::Expansion;
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
        let outlets = outlets(&mut source, id, &mut target, &mapping)
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

/// Types a node: says where what it gives is.
fn outlets(
    source: &mut InferenceModel,
    id: usize,
    target: &mut TypedModel,
    mapping: &HashMap<OutletId, OutletId>,
) -> TractResult<TVec<OutletId>> {
    let outlets = match pair(&source.nodes[id], target, mapping)? {
        Some(outlets) => outlets,
        None => {
            infer(source, id, target, mapping)?;
            node(source, &source.nodes[id], target, mapping)?
        }
    };
    for outlet in &outlets {
        target.outlet_fact(*outlet)?.consistent()?;
    }
    Ok(outlets)
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
            constant(target, &format!("{}.{slot}", node.name), value)
        });
        return constants.collect();
    }
    node.op.to_typed(source, node, target, mapping)
}

/// A constant, whether there is one of the same value or not.
fn constant(target: &mut TypedModel, name: &str, value: Arc<Tensor>) -> TractResult<OutletId> {
    let fact = TypedFact::try_from(value.clone())?;
    if fact.exotic_fact.is_some() {
        return target.add_const(name, value);
    }
    let name = target.unique_name(name).into_owned();
    Ok(target.add_node(name, Const::new(value)?, tvec!(fact))?.into())
}

/// Elements of a constant that is copied to have more dims.
const MOST_COPIED: usize = 4096;

/// Types a function of pairs of elements, if it is one and not all is known. Wiring it says
/// what comes of it; and a constant has as many dims as the other operand from the start,
/// which tract adds one by one.
fn pair(
    node: &InferenceNode,
    target: &mut TypedModel,
    mapping: &HashMap<OutletId, OutletId>,
) -> TractResult<Option<TVec<OutletId>>> {
    let op = node.op.as_op().downcast_ref::<Box<dyn Expansion>>();
    let op = op.and_then(|op| op.as_ref().as_any().downcast_ref::<InferenceBinOp>());
    let (Some(op), &[a, b]) = (op, &*node.inputs) else { return Ok(None) };
    let (Some(a), Some(b)) = (mapping.get(&a), mapping.get(&b)) else { return Ok(None) };
    let mut sides = [*a, *b];
    let facts = [target.outlet_fact(*a)?.clone(), target.outlet_fact(*b)?.clone()];
    if facts.iter().all(|fact| fact.konst.is_some()) {
        return Ok(None);
    }
    let rank = facts[0].rank().max(facts[1].rank());
    for (side, fact) in sides.iter_mut().zip(&facts) {
        let few = fact.konst.as_ref().filter(|value| value.volume() <= MOST_COPIED);
        if let Some(value) = few.filter(|value| value.rank() < rank) {
            let dims = [&vec![1; rank - value.rank()], value.shape()].concat();
            let value = value.as_ref().clone().into_shape(&dims)?.into_arc_tensor();
            *side = constant(target, &format!("{}.ranked", node.name), value)?;
        }
    }
    let outlets = op.wire(&node.name, target, &sides)?;
    for (output, outlet) in node.outputs.iter().zip(&outlets) {
        let got = InferenceFact::from(target.outlet_fact(*outlet)?);
        output.fact.clone().unify_with(&got)?;
    }
    Ok(Some(outlets))
}
