//! Checks a model's protobuf before anything is built from it. In this order,
//! each refusal naming the node:
//!
//! - `counts`: nodes, fan-in, nesting, lengths of names are within the limits;
//! - opsets, domains and operators are known;
//! - `names`: every name resolves, nothing is defined twice, no cycle;
//! - `attributes`: axes, permutations, pads, strides and their kin are in the
//!   range that any operator could take.
//!
//! `parameters` holds constant inputs to their ranges once it is known which
//! are constant.
//!
//! Payloads are held against their dims where weights are read (`weights`), and
//! sizes of values where shapes are known (`import`).

mod attributes;
mod counts;
mod names;
mod parameters;

use super::{Limits, operators};
use crate::error::{self, Result};
pub(super) use parameters::check as check_parameters;
use std::time::{Duration, Instant};
use tract_onnx::pb;

/// How long the checks of one load took, for its log lines.
#[derive(Debug, Default)]
pub(super) struct Spent(Duration);

impl Spent {
    pub(super) fn on<T>(&mut self, check: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let answer = check();
        self.0 += begun.elapsed();
        answer
    }

    pub(super) fn micros(&self) -> u128 {
        self.0.as_micros()
    }
}

/// The newest opset of the default domain this library knows.
pub(super) const NEWEST_OPSET: i64 = 28;

/// Checks what is counted, before functions are inlined: everything after may
/// then walk the graphs.
pub(super) fn check_counts(proto: &pb::ModelProto, limits: &Limits) -> Result<()> {
    counts::check(proto, limits)
}

/// Checks a model whose functions are already inlined.
pub(super) fn check(proto: &pb::ModelProto, limits: &Limits) -> Result<()> {
    check_opsets(&proto.opset_import)?;
    let graph = proto.graph.as_ref().ok_or_else(|| error::invalid_model("no graph"))?;
    operators::check(graph)?;
    names::check(graph)?;
    attributes::check(graph, limits)
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
        check(&model(nodes, opset), &Limits::default())
            .expect_err("must be refused")
            .detail()
            .to_owned()
    }

    #[test]
    fn a_sound_graph_passes_in_any_order() {
        let nodes = vec![node("Neg", &["a"], &["y"]), node("Abs", &["x"], &["a"])];
        check(&model(nodes, 17), &Limits::default()).unwrap();
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
