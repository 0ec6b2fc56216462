//! Model-local functions, inlined: exporters write whole layers as functions.

use super::Limits;
use crate::error::{self, Result};
use std::collections::HashMap;
use tract_onnx::pb;

/// How deep functions may call each other; ONNX forbids recursion.
const DEEPEST: usize = 32;

type Functions = HashMap<(String, String), pb::FunctionProto>;

/// Replaces every call of a model-local function by its body. Functions that
/// call each other twice a level grow without bound: `most` nodes may be made.
pub(super) fn inline(proto: &mut pb::ModelProto, most: u64) -> Result<()> {
    if proto.functions.is_empty() {
        return Ok(());
    }
    let functions: Functions = std::mem::take(&mut proto.functions)
        .into_iter()
        .map(|f| ((f.domain().to_owned(), f.name().to_owned()), f))
        .collect();
    let mut inliner = Inliner { functions: &functions, calls: 0, nodes: 0, most };
    proto.graph.as_mut().map_or(Ok(()), |graph| inliner.graph(graph, 0))
}

struct Inliner<'a> {
    functions: &'a Functions,
    calls: usize,
    nodes: u64,
    most: u64,
}

impl Inliner<'_> {
    fn graph(&mut self, graph: &mut pb::GraphProto, depth: usize) -> Result<()> {
        let nodes = std::mem::take(&mut graph.node);
        graph.node = self.nodes(nodes, depth)?;
        Ok(())
    }

    fn nodes(&mut self, nodes: Vec<pb::NodeProto>, depth: usize) -> Result<Vec<pb::NodeProto>> {
        if depth > DEEPEST {
            return Err(error::invalid_model(format!(
                "functions call each other deeper than {DEEPEST}: recursion is not ONNX"
            )));
        }
        let mut flat = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            let key = (node.domain.clone(), node.op_type.clone());
            match self.functions.get(&key) {
                Some(function) => {
                    let body = self.call(function, &node)?;
                    flat.extend(self.nodes(body, depth + 1)?);
                }
                None => {
                    for graph in super::vet::subgraphs_mut(&mut node) {
                        self.graph(graph, depth)?;
                    }
                    self.nodes += 1;
                    flat.push(node);
                }
            }
            Limits::within("nodes with functions inlined", self.nodes, "max_nodes", self.most)?;
        }
        Ok(flat)
    }

    /// The body of `function` with the names and attributes of a call.
    fn call(
        &mut self,
        function: &pb::FunctionProto,
        call: &pb::NodeProto,
    ) -> Result<Vec<pb::NodeProto>> {
        self.calls += 1;
        let label = super::vet::label(call);
        if call.input.len() > function.input.len() || call.output.len() > function.output.len() {
            return Err(error::invalid_model(format!(
                "{label}: {} inputs and {} outputs, the function has {} and {}",
                call.input.len(),
                call.output.len(),
                function.input.len(),
                function.output.len()
            )));
        }
        let mut names: HashMap<String, String> = HashMap::new();
        for (i, formal) in function.input.iter().enumerate() {
            names.insert(formal.clone(), call.input.get(i).cloned().unwrap_or_default());
        }
        let mut extra = Vec::new();
        for (formal, actual) in function.output.iter().zip(&call.output) {
            match names.get(formal) {
                // An output that is an input needs a node to carry it.
                Some(input) => extra.push(identity(input, actual)),
                None => drop(names.insert(formal.clone(), actual.clone())),
            }
        }
        let prefix = format!("{}~{}", call.output.first().map_or("", |o| o), self.calls);
        let mut scope = Scope { names, prefix, call };
        let mut body: Vec<_> = function.node.iter().map(|n| scope.node(n)).collect();
        body.extend(extra);
        Ok(body)
    }
}

fn identity(from: &str, to: &str) -> pb::NodeProto {
    pb::NodeProto {
        op_type: "Identity".into(),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        ..Default::default()
    }
}

/// The names inside one call.
struct Scope<'a> {
    names: HashMap<String, String>,
    prefix: String,
    call: &'a pb::NodeProto,
}

impl Scope<'_> {
    fn name(&mut self, inner: &str) -> String {
        if inner.is_empty() {
            return String::new();
        }
        let fresh = || format!("{}/{inner}", self.prefix);
        self.names.entry(inner.to_owned()).or_insert_with(fresh).clone()
    }

    fn node(&mut self, node: &pb::NodeProto) -> pb::NodeProto {
        let mut made = node.clone();
        made.name = format!("{}/{}", self.prefix, node.name);
        made.input = node.input.iter().map(|n| self.name(n)).collect();
        made.output = node.output.iter().map(|n| self.name(n)).collect();
        made.attribute.retain_mut(|a| self.attribute(a));
        for graph in super::vet::subgraphs_mut(&mut made) {
            self.graph(graph);
        }
        made
    }

    /// Puts the call's attribute in the place of a reference; false when the
    /// call does not give it, so that the operator's default counts.
    fn attribute(&self, attribute: &mut pb::AttributeProto) -> bool {
        if attribute.ref_attr_name.is_empty() {
            return true;
        }
        let given = self.call.attribute.iter().find(|a| a.name == attribute.ref_attr_name);
        given.is_some_and(|given| {
            let name = std::mem::take(&mut attribute.name);
            *attribute = pb::AttributeProto { name, ..given.clone() };
            true
        })
    }

    fn graph(&mut self, graph: &mut pb::GraphProto) {
        graph.initializer.iter_mut().for_each(|t| t.name = self.name(&t.name));
        let ports = graph.input.iter_mut().chain(&mut graph.output);
        ports.for_each(|p| p.name = self.name(&p.name));
        graph.node = graph.node.iter().map(|n| self.node(n)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, domain: &str, input: &[&str], output: &[&str]) -> pb::NodeProto {
        pb::NodeProto {
            op_type: op.into(),
            domain: domain.into(),
            input: input.iter().map(|s| (*s).into()).collect(),
            output: output.iter().map(|s| (*s).into()).collect(),
            ..Default::default()
        }
    }

    fn function(name: &str, body: Vec<pb::NodeProto>) -> pb::FunctionProto {
        pb::FunctionProto {
            name: Some(name.into()),
            domain: Some("my".into()),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: body,
            ..Default::default()
        }
    }

    #[test]
    fn calls_become_bodies_with_their_own_names() {
        let mut leaky = node("LeakyRelu", "", &["t"], &["b"]);
        leaky.attribute.push(pb::AttributeProto {
            name: "alpha".into(),
            ref_attr_name: "slope".into(),
            ..Default::default()
        });
        let mut call = node("Act", "my", &["x"], &["y"]);
        call.attribute.push(pb::AttributeProto {
            name: "slope".into(),
            f: 0.5,
            ..Default::default()
        });
        let graph = pb::GraphProto {
            node: vec![call, node("Act", "my", &["y"], &["z"])],
            ..Default::default()
        };
        let mut proto = pb::ModelProto {
            functions: vec![function("Act", vec![node("Abs", "", &["a"], &["t"]), leaky])],
            graph: Some(graph),
            ..Default::default()
        };
        inline(&mut proto, 100).unwrap();
        let nodes = proto.graph.unwrap().node;
        assert_eq!(nodes.len(), 4);
        assert_eq!(nodes[0].input, ["x"]);
        assert_eq!(nodes[1].output, ["y"]);
        assert_eq!(nodes[1].attribute[0].f, 0.5);
        assert!(nodes[3].attribute.is_empty(), "not given: the operator's default");
        assert_ne!(nodes[0].output, nodes[2].output, "each call has its own names");
    }

    #[test]
    fn recursion_is_refused() {
        let mut proto = pb::ModelProto {
            functions: vec![function("F", vec![node("F", "my", &["a"], &["b"])])],
            graph: Some(pb::GraphProto {
                node: vec![node("F", "my", &["x"], &["y"])],
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(inline(&mut proto, 1_000_000).is_err());
    }
}
