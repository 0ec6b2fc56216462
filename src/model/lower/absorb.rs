//! Axes that are moved before or after a product: it reads and writes them where they are.

use super::simplify::forget;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;

/// Does without the moves of axes that only sums of products read or are read by.
pub(crate) fn absorb_moves(graph: &mut TypedModel) -> TractResult<()> {
    let mut any = false;
    for id in 0..graph.nodes.len() {
        if graph.nodes[id].op_as::<EinSum>().is_none_or(|op| op.q_params.is_some()) {
            continue;
        }
        for slot in 0..graph.nodes[id].inputs.len() {
            while before(graph, id, slot)? {
                any = true;
            }
        }
        while after(graph, id)? {
            any = true;
        }
    }
    if any {
        graph.compact()?;
    }
    Ok(())
}

/// The axes that a node moves, from and to.
fn moves(node: &TypedNode) -> Option<(usize, usize)> {
    match node.op_as::<AxisOp>() {
        Some(AxisOp::Move(from, to)) => Some((*from, *to)),
        _ => None,
    }
}

/// Gives the product the axes of an input, or of its output, in the order that they have
/// once one of them is moved.
fn rewrite(node: &mut TypedNode, io: InOut, (from, to): (usize, usize)) -> TractResult<()> {
    let op = node.op_as::<EinSum>().context("a product")?;
    let axes = op.axes.change_axis_sink(io, &AxisOp::Move(from, to))?;
    let op = EinSum { axes: axes.context("axes that cannot be moved")?, ..op.clone() };
    node.op = Box::new(op);
    Ok(())
}

/// Reads an input as it is before one of its axes is moved, if one is.
fn before(graph: &mut TypedModel, id: usize, slot: usize) -> TractResult<bool> {
    let moved = graph.nodes[id].inputs[slot];
    let node = &graph.nodes[moved.node];
    let (Some((from, to)), &[input]) = (moves(node), &*node.inputs) else { return Ok(false) };
    rewrite(&mut graph.nodes[id], InOut::In(slot), (to, from))?;
    graph.add_edge(input, InletId::new(id, slot))?;
    forget(graph, vec![moved.node]);
    Ok(true)
}

/// Writes what one of its axes is moved of, if nobody else reads it.
fn after(graph: &mut TypedModel, id: usize) -> TractResult<bool> {
    let outlet = OutletId::new(id, 0);
    let &[reader] = &*graph.nodes[id].outputs[0].successors else { return Ok(false) };
    let moved = OutletId::new(reader.node, 0);
    let Some((from, to)) = moves(&graph.nodes[reader.node]) else { return Ok(false) };
    if graph.outputs.contains(&outlet) || graph.outputs.contains(&moved) {
        return Ok(false);
    }
    rewrite(&mut graph.nodes[id], InOut::Out(0), (from, to))?;
    graph.nodes[id].outputs[0].fact = graph.nodes[moved.node].outputs[0].fact.clone();
    for reader in graph.nodes[moved.node].outputs[0].successors.clone() {
        graph.add_edge(outlet, reader)?;
    }
    forget(graph, vec![moved.node]);
    Ok(true)
}
