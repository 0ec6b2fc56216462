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

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_hir::tract_core::ops::math::square;

    fn numbers(dims: &[usize]) -> Tensor {
        let count: usize = dims.iter().product();
        let all: Vec<f32> = (0..count).map(|i| (i * 37 % 23) as f32 - 11.0).collect();
        Tensor::from_shape(dims, &all).unwrap()
    }

    /// Scores of heads, as encoders have them: `moves` after both inputs, and after the
    /// product.
    fn scores(moves: [&[AxisOp]; 3]) -> TypedModel {
        let mut model = TypedModel::default();
        let mut sides = Vec::new();
        for (name, moves) in ["q", "k"].into_iter().zip(moves) {
            let mut x = model.add_source(name, f32::fact([2, 5, 3, 4])).unwrap();
            for (at, op) in moves.iter().enumerate() {
                x = model.wire_node(format!("{name}.{at}"), op.clone(), &[x]).unwrap()[0];
            }
            sides.push(x);
        }
        let axes = AxesMapping::from_strs(&["bhid", "bhjd"], &["bhij"]).unwrap();
        let product = EinSum::new(axes, f32::datum_type());
        let mut y = model.wire_node("scores", product, &sides).unwrap()[0];
        for (at, op) in moves[2].iter().enumerate() {
            y = model.wire_node(format!("y.{at}"), op.clone(), &[y]).unwrap()[0];
        }
        let y = model.wire_node("y", square(), &[y]).unwrap();
        model.select_output_outlets(&y).unwrap();
        model
    }

    #[test]
    fn products_read_and_write_moved_axes_in_place() {
        let heads_first = AxisOp::Move(2, 1);
        let back = AxisOp::Move(1, 2);
        let turned = [AxisOp::Move(0, 3), AxisOp::Move(3, 0), heads_first.clone()];
        for moves in [
            [&turned[2..], &turned[2..], &[]],
            [&turned[..], &turned[2..], &[back.clone(), AxisOp::Move(3, 0)]],
            [&turned[2..], &turned[..], &[AxisOp::Move(0, 2)]],
        ] {
            let mut model = scores(moves);
            let inputs = || tvec![numbers(&[2, 5, 3, 4]).into_tvalue(); 2];
            let run = |model: TypedModel| model.into_runnable().unwrap().run(inputs()).unwrap();
            let wanted = run(model.clone());
            absorb_moves(&mut model).unwrap();
            assert!(!model.nodes.iter().any(|node| node.op_is::<AxisOp>()), "{model}");
            assert_eq!(run(model)[0].clone().into_tensor(), wanted[0].clone().into_tensor());
        }
    }

    #[test]
    fn an_output_keeps_its_axes() {
        let heads_first = [AxisOp::Move(2, 1)];
        let mut model = scores([&heads_first, &heads_first, &[AxisOp::Move(1, 2)]]);
        let moved = model.node_by_name("y.0").unwrap().id;
        model.select_output_outlets(&[moved.into()]).unwrap();
        let dims = model.output_fact(0).unwrap().shape.clone();
        absorb_moves(&mut model).unwrap();
        assert_eq!(model.output_fact(0).unwrap().shape, dims);
        assert_eq!(model.nodes.iter().filter(|node| node.op_is::<AxisOp>()).count(), 1);
    }
}
