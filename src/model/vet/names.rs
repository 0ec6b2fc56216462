//! Names: every one resolves, none is defined twice, no node waits for itself.

use super::{label, subgraphs};
use crate::error::{self, Result};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb;

/// The names of a graph, and of the graphs around it.
struct Scope<'a> {
    known: HashSet<&'a str>,
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    fn resolves(&self, name: &str) -> bool {
        self.known.contains(name) || self.outer.is_some_and(|o| o.resolves(name))
    }
}

pub(super) fn check(graph: &pb::GraphProto) -> Result<()> {
    check_graph(graph, None)
}

/// Checks the names and the order of a graph; `outer` holds what a sub-graph
/// may use of the graphs around it.
fn check_graph(graph: &pb::GraphProto, outer: Option<&Scope<'_>>) -> Result<()> {
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
    let scope = Scope { known, outer };
    for node in &graph.node {
        if let Some(name) = node.input.iter().find(|i| !i.is_empty() && !scope.resolves(i)) {
            return Err(error::invalid_model(format!(
                "{}: its input {name:?} is nobody's output, input or initializer",
                label(node)
            )));
        }
    }
    if let Some(output) = graph.output.iter().find(|o| !scope.resolves(&o.name)) {
        return Err(error::invalid_model(format!(
            "output {:?} is nobody's output, input or initializer",
            output.name
        )));
    }
    check_order(graph)?;
    for graph in graph.node.iter().flat_map(subgraphs) {
        check_graph(graph, Some(&scope))?;
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
