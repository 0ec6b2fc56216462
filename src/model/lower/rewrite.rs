//! What is put right in the graph itself, before tract reads it.

use super::sequences;
use crate::error::Result;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Rewrites a graph and the graphs inside it.
pub(super) fn graph(graph: &mut GraphProto, opset: i64) -> Result<()> {
    sequences::resolve(graph, opset)?;
    scalars(graph);
    super::contrib::expand(graph)?;
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                self::graph(inner, opset)?;
            }
        }
    }
    Ok(())
}

/// Squeezes the scalars that some exporters write as tensors of one element.
fn scalars(graph: &mut GraphProto) {
    let known: Vec<&str> =
        graph.initializer.iter().filter(|i| i.dims.is_empty()).map(|i| &*i.name).collect();
    let mut nodes: Vec<NodeProto> = Vec::with_capacity(graph.node.len());
    for (at, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        let places: &[usize] = match &*node.op_type {
            "Pad" => &[2],
            "Range" => &[0, 1, 2],
            _ => &[],
        };
        for &place in places {
            let Some(name) = node.input.get_mut(place) else {
                continue;
            };
            if name.is_empty() || known.contains(&&**name) {
                continue;
            }
            let squeezed = format!("{name}.inferno-scalar-{at}-{place}");
            nodes.push(NodeProto {
                op_type: "Squeeze".into(),
                name: squeezed.clone(),
                input: vec![std::mem::replace(name, squeezed.clone())],
                output: vec![squeezed],
                ..Default::default()
            });
        }
        nodes.push(node);
    }
    graph.node = nodes;
}
