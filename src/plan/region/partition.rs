//! Which nodes of a graph become regions.

use super::Region;
use super::assemble::assemble;
use super::lower::{Lowered, dims, lower};
use super::node::RegionOp;
use super::quant;
use crate::model::{absorb_moves, simplify_some};
use crate::work;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tract_onnx::prelude::{OutletId, TractResult, TypedModel, TypedNode};
use tract_onnx::tract_core::internal::TypedModelPatch;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Slice};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::math::{Div, Pow};
use tract_onnx::tract_core::ops::nn::Resize;
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

/// The nodes that are computed, in an order that computes.
fn computed(graph: &TypedModel) -> TractResult<Vec<usize>> {
    let mut order = graph.eval_order()?;
    order.retain(|id| !is_given(&graph.nodes[*id]));
    Ok(order)
}

/// All nodes as one region, if all of them are for us.
fn whole(
    graph: &TypedModel,
    order: &[usize],
    lowered: &mut [Option<Lowered>],
) -> TractResult<Option<Region>> {
    let (inputs, outputs) = (graph.input_outlets()?, graph.output_outlets()?);
    let floats = |outlet: &OutletId| graph.outlet_fact(*outlet).is_ok_and(|f| dims(f).is_some());
    let ours = order.iter().all(|id| lowered[*id].is_some());
    if !ours || !inputs.iter().chain(outputs).all(floats) {
        return Ok(None);
    }
    Ok(assemble(graph, order, lowered, inputs, outputs))
}

/// How often nodes are brought into a simpler form to see whether they are for us then.
const ROUNDS: usize = 4;

/// The whole graph as one region, which is not [packed](Region::pack) yet, if all of it is
/// for us with hardly a change: only nodes that are not are brought into a simpler form,
/// and those that have a simpler one for sure.
pub(in super::super) fn straight(graph: &mut TypedModel) -> TractResult<Option<Region>> {
    absorb_moves(graph)?;
    for _ in 0..ROUNDS {
        let order = computed(graph)?;
        let mut lowered = steps(graph, &order)?;
        let wanted = |id: &&usize| lowered[**id].is_none() || is_spelled_out(graph, **id);
        let wanted: Vec<usize> = order.iter().filter(wanted).copied().collect();
        if wanted.is_empty() || !simplify_some(graph, &wanted)? {
            keep_bytes_inside(graph, &order, &mut lowered);
            return whole(graph, &order, &mut lowered);
        }
    }
    Ok(None)
}

/// Whether a node reads a constant.
fn has_constant(graph: &TypedModel, node: &TypedNode) -> bool {
    node.inputs.iter().any(|input| graph.outlet_fact(*input).is_ok_and(|f| f.konst.is_some()))
}

/// Whether a node has a simpler form: a division by a constant is a product, a power may be
/// a square, and most images that become larger are copies.
fn is_spelled_out(graph: &TypedModel, id: usize) -> bool {
    let node = &graph.nodes[id];
    let divides = node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Div>() || op.0.is::<Pow>());
    divides && has_constant(graph, node) || node.op_is::<Resize>()
}

/// Whether tract's passes may come to do without a node: one that moves values, or computes
/// with constants.
pub(super) fn is_loose(graph: &TypedModel, node: &TypedNode) -> bool {
    let moves = node.op_is::<AxisOp>() || node.op_is::<Slice>() || node.op_is::<MultiBroadcastTo>();
    moves || node.op_is::<TypedBinOp>() && has_constant(graph, node)
}

/// The whole graph as one region, if all of it is for us, which is not
/// [packed](Region::pack) yet; otherwise a node of each group of nodes that are takes their
/// place in it.
pub(in super::super) fn compile(graph: &mut TypedModel) -> TractResult<Option<Region>> {
    let order = computed(graph)?;
    let mut lowered = steps(graph, &order)?;
    keep_bytes_inside(graph, &order, &mut lowered);
    let region = whole(graph, &order, &mut lowered)?;
    if region.is_none() {
        embed(graph, &order, lowered)?;
    }
    Ok(region)
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
