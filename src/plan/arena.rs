//! What the values between steps come to, by their lifetimes.

use tract_onnx::prelude::{OutletId, TypedModel};

/// The most bytes of values of `graph` that are there at once when its nodes are
/// computed in `order`; none when a shape depends on values. Inputs and
/// constants do not count: they are somebody else's.
pub(super) fn most_bytes(graph: &TypedModel, order: &[usize]) -> Option<u64> {
    let mut last_use = vec![0; graph.nodes.len()];
    for (step, node) in order.iter().enumerate() {
        for input in &graph.nodes[*node].inputs {
            last_use[input.node] = step;
        }
    }
    for output in &graph.outputs {
        last_use[output.node] = usize::MAX;
    }
    let inputs: Vec<usize> = graph.inputs.iter().map(|input| input.node).collect();
    let (mut live, mut most) = (0u64, 0u64);
    let mut ends = vec![Vec::new(); order.len() + 1];
    for (step, node) in order.iter().enumerate() {
        if inputs.contains(node) {
            continue;
        }
        let bytes = node_bytes(graph, *node)?;
        live = live.checked_add(bytes)?;
        most = most.max(live);
        if last_use[*node] < order.len() {
            ends[last_use[*node].max(step)].push(bytes);
        }
        live -= ends[step].drain(..).sum::<u64>();
    }
    Some(most)
}

fn node_bytes(graph: &TypedModel, node: usize) -> Option<u64> {
    let slots = 0..graph.nodes[node].outputs.len();
    slots.map(|slot| bytes(graph, OutletId::new(node, slot))).sum()
}

fn bytes(graph: &TypedModel, outlet: OutletId) -> Option<u64> {
    let fact = graph.outlet_fact(outlet).ok()?;
    let dims = fact.shape.as_concrete()?;
    let size = fact.datum_type.size_of() as u64;
    dims.iter().try_fold(size, |n, dim| n.checked_mul(*dim as u64))
}
