//! Checks a model's protobuf before anything is built from it: names resolve,
//! nothing is defined twice, the graph has no cycle, every opset, domain and
//! operator is known. Each refusal names the node.

use super::operators;
use crate::error::{self, Result};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb;

/// The newest opset of the default domain this library knows.
pub(super) const NEWEST_OPSET: i64 = 28;

/// How deep sub-graphs may nest.
const DEEPEST: usize = 16;

/// Checks a model; functions are already inlined.
pub(super) fn check(proto: &pb::ModelProto) -> Result<()> {
    check_opsets(&proto.opset_import)?;
    let graph = proto.graph.as_ref().ok_or_else(|| error::invalid_model("no graph"))?;
    operators::check(graph)?;
    check_graph(graph, &HashSet::new(), 0)
}

fn check_opsets(imports: &[pb::OperatorSetIdProto]) -> Result<()> {
    if imports.is_empty() {
        return Err(error::invalid_model("no opset is imported: expected at least one"));
    }
    for import in imports {
        let newest = match import.domain.as_str() {
            "" | "ai.onnx" => NEWEST_OPSET,
            "ai.onnx.ml" => 6,
            "com.microsoft" => 1,
            // A domain that no node uses does no harm; one that a node uses
            // is refused with the node's name.
            _ => continue,
        };
        if import.version < 1 || import.version > newest {
            return Err(error::unsupported(format!(
                "opset {} of domain {:?}: expected 1 to {newest}",
                import.version, import.domain
            )));
        }
    }
    Ok(())
}

/// The version of `domain` that is imported; 0 when it is not.
pub(super) fn opset(imports: &[pb::OperatorSetIdProto], domain: &str) -> i64 {
    let plain = |d: &str| {
        if d == "ai.onnx" { "".to_owned() } else { d.to_owned() }
    };
    imports.iter().find(|i| plain(&i.domain) == plain(domain)).map_or(0, |i| i.version)
}

/// How messages call a node: its operator and its name, or its first output.
pub(super) fn label(node: &pb::NodeProto) -> String {
    let name = if node.name.is_empty() {
        node.output.iter().find(|o| !o.is_empty())
    } else {
        Some(&node.name)
    };
    format!("{} node {:?}", node.op_type, name.map_or("", String::as_str))
}

/// The sub-graphs of a node.
pub(super) fn subgraphs(node: &pb::NodeProto) -> impl Iterator<Item = &pb::GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

/// The sub-graphs of a node.
pub(super) fn subgraphs_mut(node: &mut pb::NodeProto) -> impl Iterator<Item = &mut pb::GraphProto> {
    node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs))
}

/// Checks the names and the order of a graph; `outer` holds what a sub-graph
/// may use of the graphs around it.
fn check_graph(graph: &pb::GraphProto, outer: &HashSet<&str>, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(error::limit_exceeded(format!("sub-graphs nest deeper than {DEEPEST}")));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(error::unsupported("sparse initializers"));
    }
    let mut known: HashSet<&str> = HashSet::new();
    for input in &graph.input {
        define(&mut known, &input.name, || format!("input {:?}", input.name))?;
    }
    let mut weights = HashSet::new();
    for weight in &graph.initializer {
        define(&mut weights, &weight.name, || format!("initializer {:?}", weight.name))?;
    }
    known.extend(&weights);
    for node in &graph.node {
        let outputs = node.output.iter().filter(|o| !o.is_empty());
        for output in outputs {
            define(&mut known, output, || label(node))?;
        }
    }
    let resolves = |name: &String| known.contains(name.as_str()) || outer.contains(name.as_str());
    for node in &graph.node {
        if let Some(name) = node.input.iter().find(|i| !i.is_empty() && !resolves(i)) {
            return Err(error::invalid_model(format!(
                "{}: its input {name:?} is nobody's output, input or initializer",
                label(node)
            )));
        }
    }
    if let Some(output) = graph.output.iter().find(|o| !resolves(&o.name)) {
        return Err(error::invalid_model(format!(
            "output {:?} is nobody's output, input or initializer",
            output.name
        )));
    }
    check_order(graph)?;
    let visible: HashSet<&str> = known.union(outer).copied().collect();
    for graph in graph.node.iter().flat_map(subgraphs) {
        check_graph(graph, &visible, depth + 1)?;
    }
    Ok(())
}

fn define<'a>(
    known: &mut HashSet<&'a str>,
    name: &'a str,
    who: impl FnOnce() -> String,
) -> Result<()> {
    if name.is_empty() {
        return Err(error::invalid_model(format!("{}: expected a name", who())));
    }
    if !known.insert(name) {
        return Err(error::invalid_model(format!("{}: the name {name:?} is defined twice", who())));
    }
    Ok(())
}

/// Refuses a cycle, naming a node on it. (ONNX asks for sorted nodes; files are
/// not always, and the importer does not need it.)
fn check_order(graph: &pb::GraphProto) -> Result<()> {
    let mut maker: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        maker.extend(node.output.iter().filter(|o| !o.is_empty()).map(|o| (o.as_str(), i)));
    }
    let mut waiting: Vec<usize> = vec![0; graph.node.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (i, node) in graph.node.iter().enumerate() {
        for name in used(node) {
            if let Some(from) = maker.get(name) {
                waiting[i] += 1;
                users[*from].push(i);
            }
        }
    }
    let mut ready: Vec<usize> = (0..waiting.len()).filter(|i| waiting[*i] == 0).collect();
    let mut done = 0;
    while let Some(i) = ready.pop() {
        done += 1;
        for user in &users[i] {
            waiting[*user] -= 1;
            if waiting[*user] == 0 {
                ready.push(*user);
            }
        }
    }
    match waiting.iter().position(|w| *w > 0) {
        Some(i) if done < waiting.len() => Err(error::invalid_model(format!(
            "{} is on, or behind, a cycle",
            label(&graph.node[i])
        ))),
        _ => Ok(()),
    }
}

/// The names a node uses: its inputs, and what its sub-graphs take from outside.
fn used(node: &pb::NodeProto) -> impl Iterator<Item = &str> {
    let inner = subgraphs(node).flat_map(|g| {
        let nodes = g.node.iter().flat_map(|n| used(n).collect::<Vec<_>>());
        nodes.chain(g.output.iter().map(|o| o.name.as_str()))
    });
    node.input.iter().map(String::as_str).filter(|i| !i.is_empty()).chain(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, input: &[&str], output: &[&str]) -> pb::NodeProto {
        pb::NodeProto {
            op_type: op.into(),
            input: input.iter().map(|s| (*s).into()).collect(),
            output: output.iter().map(|s| (*s).into()).collect(),
            ..Default::default()
        }
    }

    fn value(name: &str) -> pb::ValueInfoProto {
        pb::ValueInfoProto { name: name.into(), ..Default::default() }
    }

    fn model(nodes: Vec<pb::NodeProto>, opset: i64) -> pb::ModelProto {
        pb::ModelProto {
            opset_import: vec![pb::OperatorSetIdProto { domain: "".into(), version: opset }],
            graph: Some(pb::GraphProto {
                node: nodes,
                input: vec![value("x")],
                output: vec![value("y")],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn refusal(nodes: Vec<pb::NodeProto>, opset: i64) -> String {
        check(&model(nodes, opset)).expect_err("must be refused").detail().to_owned()
    }

    #[test]
    fn a_sound_graph_passes_in_any_order() {
        let nodes = vec![node("Neg", &["a"], &["y"]), node("Abs", &["x"], &["a"])];
        check(&model(nodes, 17)).unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = refusal(vec![node("Abs", &["ghost"], &["y"])], 17);
        assert!(text.contains("Abs node \"y\"") && text.contains("ghost"), "{text}");
        let text = refusal(vec![node("Abs", &["x"], &["z"])], 17);
        assert!(text.contains("output \"y\""), "{text}");
        let twice = vec![node("Abs", &["x"], &["y"]), node("Neg", &["x"], &["y"])];
        assert!(refusal(twice, 17).contains("defined twice"));
        let cycle = vec![node("Add", &["x", "b"], &["y"]), node("Abs", &["y"], &["b"])];
        assert!(refusal(cycle, 17).contains("cycle"));
        let text = refusal(vec![node("Abs", &["x"], &["y"])], 99);
        assert!(text.contains("opset 99"), "{text}");
    }

    #[test]
    fn every_missing_operator_is_named_at_once() {
        let mut foreign = node("Abs", &["b"], &["y"]);
        foreign.domain = "my.company".into();
        let nodes = vec![node("Foo", &["x"], &["a"]), node("Bar", &["a"], &["b"]), foreign];
        let text = refusal(nodes, 17);
        for part in ["Foo", "Bar", "my.company", "\"a\"", "\"b\""] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
