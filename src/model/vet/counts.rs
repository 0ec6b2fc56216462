//! What can be counted before anything is looked up.

use super::{label, subgraphs};
use crate::error::{self, Result};
use crate::model::Limits;
use tract_onnx::pb;

/// The longest name, symbol or equation, in bytes.
const LONGEST_NAME: usize = 4096;

pub(super) fn check(proto: &pb::ModelProto, limits: &Limits) -> Result<()> {
    let mut nodes = 0;
    if let Some(graph) = &proto.graph {
        check_graph(graph, limits, 0, &mut nodes)?;
    }
    for function in &proto.functions {
        check_nodes(&function.node, limits, 0, &mut nodes)?;
    }
    Ok(())
}

fn check_graph(graph: &pb::GraphProto, limits: &Limits, depth: u64, nodes: &mut u64) -> Result<()> {
    Limits::within("depth of sub-graphs", depth, "max_depth", limits.depth)?;
    let ports = graph.input.iter().chain(&graph.output);
    let ports = ports.map(|p| ("input or output", p.name.as_str()));
    let weights = graph.initializer.iter().map(|t| ("initializer", t.name.as_str()));
    ports.chain(weights).try_for_each(|(what, name)| check_name(what, name))?;
    graph.input.iter().chain(&graph.output).try_for_each(check_symbols)?;
    for weight in &graph.initializer {
        let what = format_args!("rank of initializer {:?}", weight.name);
        Limits::within(what, weight.dims.len() as u64, "max_rank", limits.rank)?;
    }
    check_nodes(&graph.node, limits, depth, nodes)
}

fn check_nodes(list: &[pb::NodeProto], limits: &Limits, depth: u64, nodes: &mut u64) -> Result<()> {
    *nodes += list.len() as u64;
    Limits::within("nodes", *nodes, "max_nodes", limits.nodes)?;
    for node in list {
        let values = (node.input.len() + node.output.len()) as u64;
        // A label is made only when it is needed.
        if values > limits.node_values {
            let what = format!("{}: inputs and outputs", label(node));
            Limits::within(what, values, "max_node_values", limits.node_values)?;
        }
        let names = node.input.iter().chain(&node.output).chain([&node.name, &node.op_type]);
        names.map(String::as_str).try_for_each(|name| check_name("node", name))?;
        for graph in subgraphs(node) {
            check_graph(graph, limits, depth + 1, nodes)?;
        }
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.len() > LONGEST_NAME {
        return Err(error::limit_exceeded(format!(
            "{what}: a name of {} bytes, expected at most {LONGEST_NAME}",
            name.len()
        )));
    }
    Ok(())
}

fn check_symbols(port: &pb::ValueInfoProto) -> Result<()> {
    use pb::{tensor_shape_proto::dimension::Value, type_proto};
    let value = port.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = value else {
        return Ok(());
    };
    for dim in tensor.shape.iter().flat_map(|s| &s.dim) {
        if let Some(Value::DimParam(symbol)) = &dim.value {
            check_name("a symbol", symbol)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> pb::GraphProto {
        (0..depth).fold(pb::GraphProto::default(), |inner, _| {
            let attribute = pb::AttributeProto { g: Some(inner), ..Default::default() };
            let node = pb::NodeProto {
                op_type: "If".into(),
                attribute: vec![attribute],
                ..Default::default()
            };
            pb::GraphProto { node: vec![node], ..Default::default() }
        })
    }

    fn refusal(graph: pb::GraphProto) -> Option<String> {
        let proto = pb::ModelProto { graph: Some(graph), ..Default::default() };
        check(&proto, &Limits::default()).err().map(|e| e.detail().to_owned())
    }

    #[test]
    fn what_is_too_much_is_named_with_its_limit() {
        assert_eq!(refusal(nested(16)), None);
        assert!(refusal(nested(17)).unwrap().contains("max_depth"));
        let wide = pb::NodeProto {
            op_type: "Sum".into(),
            name: "wide".into(),
            input: vec!["x".into(); 100_000],
            ..Default::default()
        };
        let text = refusal(pb::GraphProto { node: vec![wide], ..Default::default() }).unwrap();
        assert!(text.contains("wide") && text.contains("max_node_values"), "{text}");
        let chain = vec![pb::NodeProto::default(); 1 << 17];
        let text = refusal(pb::GraphProto { node: chain, ..Default::default() }).unwrap();
        assert!(text.contains("131072") && text.contains("max_nodes"), "{text}");
        let long = pb::NodeProto { name: "n".repeat(5000), ..Default::default() };
        assert!(refusal(pb::GraphProto { node: vec![long], ..Default::default() }).is_some());
    }
}
