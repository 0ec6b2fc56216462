//! Which nodes of a graph become regions.

use super::Region;
use super::assemble::assemble;
use super::lower::{Lowered, dims, lower};
use super::node::RegionOp;
use super::quant;
use crate::work;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tract_onnx::prelude::{OutletId, TractResult, TypedModel, TypedNode};
use tract_onnx::tract_core::internal::TypedModelPatch;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

/// Inputs and constants: nothing to compute.
fn is_given(node: &TypedNode) -> bool {
    node.op_is::<TypedSource>() || node.op_is::<Const>()
}

/// The steps of each node that is for us, by node; `order` has all that are computed.
fn steps(graph: &TypedModel, order: &[usize]) -> TractResult<Vec<Option<Lowered>>> {
    let mut lowered: Vec<Option<Lowered>> = graph.nodes.iter().map(|_| None).collect();
    let mut last = HashSet::new();
    for id in order {
        work::check()?;
        let node = &graph.nodes[*id];
        lowered[*id] = lower(graph, node, &last);
        if lowered[*id].as_ref().is_some_and(|l| l.channels_last) {
            last.extend((0..node.outputs.len()).map(|slot| OutletId::new(*id, slot)));
        }
    }
    Ok(lowered)
}

/// The whole graph as one region, if all of it is for us, which is not
/// [packed](Region::pack) yet; otherwise a node of each
/// group of nodes that are takes their place in it.
pub(in super::super) fn compile(graph: &mut TypedModel) -> TractResult<Option<Region>> {
    let mut order = graph.eval_order()?;
    order.retain(|id| !is_given(&graph.nodes[*id]));
    let mut lowered = steps(graph, &order)?;
    let (inputs, outputs) = (graph.input_outlets()?, graph.output_outlets()?);
    keep_bytes_inside(graph, &order, &mut lowered);
    let floats = |outlet: &OutletId| graph.outlet_fact(*outlet).is_ok_and(|f| dims(f).is_some());
    let ours = order.iter().all(|id| lowered[*id].is_some());
    if ours && inputs.iter().chain(outputs).all(floats) {
        return Ok(assemble(graph, &order, &mut lowered, inputs, outputs));
    }
    embed(graph, &order, lowered)?;
    Ok(None)
}

/// Leaves to tract what reads 8-bit numbers or sums from its nodes, or gives them
/// to such: only floats come into a region, or go out.
fn keep_bytes_inside(graph: &TypedModel, order: &[usize], lowered: &mut [Option<Lowered>]) {
    let crosses = |lowered: &[Option<Lowered>], id: usize| {
        let node = &graph.nodes[id];
        let read = node.inputs.iter().any(|input| {
            let fact = graph.outlet_fact(*input);
            let inner = |dt| quant::is_byte(dt) || quant::is_inner(dt) && node.op_is::<Cast>();
            let bytes = fact.is_ok_and(|f| f.konst.is_none() && inner(f.datum_type));
            bytes && lowered[input.node].is_none()
        });
        let given = node.outputs.iter().enumerate().any(|(slot, output)| {
            let outside = output.successors.iter().any(|to| lowered[to.node].is_none());
            let is_output = graph.outputs.contains(&OutletId::new(id, slot));
            quant::is_inner(output.fact.datum_type) && (outside || is_output)
        });
        read || given
    };
    loop {
        let before = lowered.iter().flatten().count();
        for id in order {
            if lowered[*id].is_some() && crosses(lowered, *id) {
                lowered[*id] = None;
            }
        }
        if lowered.iter().flatten().count() == before {
            return;
        }
    }
}

/// What only follows a convolution of tract's element by element stays with it:
/// tract does it where it writes the result.
fn leave_to_convolutions(graph: &TypedModel, order: &[usize], lowered: &mut [Option<Lowered>]) {
    let mut follows = vec![false; graph.nodes.len()];
    for id in order.iter().copied() {
        let node = &graph.nodes[id];
        let convolution = node.op_is::<Conv>() && lowered[id].is_none();
        let only = |i: &OutletId| graph.nodes[i.node].outputs[i.slot].successors.len() == 1;
        let elements = node.op_is::<TypedBinOp>() || node.op_is::<ElementWiseOp>();
        let after = elements && node.inputs.iter().any(|i| follows[i.node] && only(i));
        follows[id] = convolution || after;
        if after {
            lowered[id] = None;
        }
    }
}

/// The nodes for us, in groups that can each be computed at once: between two
/// nodes of a group there is no way through a node outside it.
fn groups(graph: &TypedModel, order: &[usize], lowered: &[Option<Lowered>]) -> Vec<Vec<usize>> {
    // A node is as far down as its inputs, and one farther where its kind is not
    // theirs.
    let mut levels = vec![0usize; graph.nodes.len()];
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for id in order.iter().copied() {
        let node = &graph.nodes[id];
        let ours = lowered[id].is_some();
        let above = node.inputs.iter().filter(|i| !is_given(&graph.nodes[i.node]));
        let level = above.map(|i| levels[i.node] + usize::from(lowered[i.node].is_some() != ours));
        let level = level.max().unwrap_or(usize::from(!ours));
        // Ours are even, so that no way leads from one group back into itself.
        levels[id] = level + usize::from(level.is_multiple_of(2) != ours);
        if ours {
            groups.entry(levels[id]).or_default().push(id);
        }
    }
    groups.into_values().collect()
}

/// Makes a node of each group of nodes that are for us.
fn embed(
    graph: &mut TypedModel,
    order: &[usize],
    mut lowered: Vec<Option<Lowered>>,
) -> TractResult<()> {
    leave_to_convolutions(graph, order, &mut lowered);
    for nodes in groups(graph, order, &lowered) {
        let worth = |n: &usize| lowered[*n].as_ref().is_some_and(Lowered::is_worth_a_region);
        if !nodes.iter().any(worth) {
            continue;
        }
        let (inputs, outputs) = boundary(graph, &nodes);
        let Some(mut region) = assemble(graph, &nodes, &mut lowered, &inputs, &outputs) else {
            continue;
        };
        region.pack()?;
        let mut patch = TypedModelPatch::new("native region");
        let taps = patch.taps(graph, &inputs)?;
        let name = format!("region of {}", graph.nodes[nodes[0]].name);
        let new = patch.wire_node(name, RegionOp(Arc::new(region)), &taps)?;
        for (old, new) in outputs.iter().zip(new) {
            patch.shunt_outside(graph, *old, new)?;
        }
        // The next group sees what this one became.
        patch.apply(graph)?;
    }
    graph.compact()
}

/// What a group reads from outside, and what others read from it.
fn boundary(graph: &TypedModel, nodes: &[usize]) -> (Vec<OutletId>, Vec<OutletId>) {
    let inside: HashSet<usize> = nodes.iter().copied().collect();
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for id in nodes {
        let node = &graph.nodes[*id];
        for input in &node.inputs {
            let constant = graph.outlet_fact(*input).is_ok_and(|f| f.konst.is_some());
            if !constant && !inside.contains(&input.node) && !inputs.contains(input) {
                inputs.push(*input);
            }
        }
        for slot in 0..node.outputs.len() {
            let outlet = OutletId::new(*id, slot);
            let read = node.outputs[slot].successors.iter().any(|s| !inside.contains(&s.node));
            if read || graph.outputs.contains(&outlet) {
                outputs.push(outlet);
            }
        }
    }
    (inputs, outputs)
}
