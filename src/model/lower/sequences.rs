//! Sequences and optionals (opsets 11 to 24), resolved in the graph itself.
//!
//! tract has tensors only. Where the structure of a sequence follows from the
//! graph, its operators become `Identity`, `Concat` and constants; where it
//! depends on a run, or leaves the graph, the model is refused.

use crate::error::{Result, unsupported};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, type_proto,
};

/// What is known while walking one graph.
#[derive(Default)]
struct Known {
    /// Sequences, each the names of its tensors.
    sequences: HashMap<String, Vec<String>>,
    /// Optionals that hold nothing.
    empty: HashSet<String>,
    /// Constant integers.
    ints: HashMap<String, Vec<i64>>,
    /// Constants that are one number, not a list.
    scalars: HashSet<String>,
    /// Inputs whose dims the graph states.
    dims: HashMap<String, Vec<i64>>,
    /// Nodes of the rewritten graph.
    nodes: Vec<NodeProto>,
    opset: i64,
}

/// Resolves the sequences of one graph.
pub(super) fn resolve(graph: &mut GraphProto, opset: i64) -> Result<()> {
    let concerned =
        |n: &NodeProto| n.op_type.contains("Sequence") || n.op_type.starts_with("Optional");
    let concerned = |n: &NodeProto| concerned(n) && n.op_type != "ReverseSequence";
    if !graph.node.iter().any(concerned) {
        return Ok(());
    }
    let mut known = Known { opset, ..Known::default() };
    for tensor in &graph.initializer {
        if let Some(values) = integers(tensor) {
            known.ints.insert(tensor.name.clone(), values);
        }
        if tensor.dims.is_empty() {
            known.scalars.insert(tensor.name.clone());
        }
        known.dims.insert(tensor.name.clone(), tensor.dims.clone());
    }
    for input in &graph.input {
        if let Some(dims) = stated_dims(input) {
            known.dims.insert(input.name.clone(), dims);
        }
    }
    for node in std::mem::take(&mut graph.node) {
        known.node(node)?;
    }
    graph.node = std::mem::take(&mut known.nodes);
    for output in &graph.output {
        if known.sequences.contains_key(&output.name) || known.empty.contains(&output.name) {
            return Err(unsupported(format!(
                "output '{}' is a sequence or an optional: only tensors are supported",
                output.name
            )));
        }
    }
    Ok(())
}

/// The dims of an input, when the graph states them all.
fn stated_dims(input: &ValueInfoProto) -> Option<Vec<i64>> {
    let type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref()?.dim.iter();
    dims.map(|d| match d.value.as_ref()? {
        dimension::Value::DimValue(v) if *v >= 0 => Some(*v),
        _ => None,
    })
    .collect()
}

/// The values of an integer tensor.
fn integers(t: &TensorProto) -> Option<Vec<i64>> {
    match DataType::try_from(t.data_type).ok()? {
        DataType::Int64 if t.raw_data.is_empty() => Some(t.int64_data.clone()),
        DataType::Int64 => {
            let (words, _) = t.raw_data.as_chunks::<8>();
            Some(words.iter().map(|w| i64::from_le_bytes(*w)).collect())
        }
        DataType::Int32 if t.raw_data.is_empty() => {
            Some(t.int32_data.iter().map(|v| *v as i64).collect())
        }
        DataType::Int32 => {
            let (words, _) = t.raw_data.as_chunks::<4>();
            Some(words.iter().map(|w| i32::from_le_bytes(*w) as i64).collect())
        }
        _ => None,
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

fn int_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i: value,
        r#type: AttributeType::Int as i32,
        ..Default::default()
    }
}

impl Known {
    fn refuse<T>(&self, node: &NodeProto, why: &str) -> Result<T> {
        Err(unsupported(format!("{} node '{}': {why}", node.op_type, node.name)))
    }

    fn sequence(&self, node: &NodeProto) -> Result<Vec<String>> {
        let name = node.input.first().map(|n| &**n).unwrap_or_default();
        match self.sequences.get(name) {
            Some(list) => Ok(list.clone()),
            None => self.refuse(
                node,
                &format!("what the sequence '{name}' holds is not known before a run"),
            ),
        }
    }

    /// The position that input `ix` names, from 0 to `len` (itself only if `past_end`).
    fn position(&self, node: &NodeProto, ix: usize, len: usize, past_end: bool) -> Result<usize> {
        let Some(name) = node.input.get(ix).filter(|n| !n.is_empty()) else {
            let default = if past_end { Some(len) } else { len.checked_sub(1) };
            return match default {
                Some(at) => Ok(at),
                None => self.refuse(node, "the sequence is empty"),
            };
        };
        let Some([at]) = self.ints.get(name).map(|v| &**v) else {
            return self.refuse(node, &format!("its position '{name}' must be a constant"));
        };
        let from_start = if *at < 0 { at + len as i64 } else { *at };
        if from_start < 0 || from_start > len as i64 || from_start == len as i64 && !past_end {
            return self.refuse(node, &format!("position {at} is outside a sequence of {len}"));
        }
        Ok(from_start as usize)
    }

    fn keep(&mut self, node: &NodeProto, list: Vec<String>) {
        if let Some(output) = node.output.first() {
            self.sequences.insert(output.clone(), list);
        }
    }

    /// Pushes an operator in the place of `node`, with its name and first output.
    fn replace(
        &mut self,
        node: &NodeProto,
        op: &str,
        input: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: node.name.clone(),
            input,
            output: node.output.iter().take(1).cloned().collect(),
            attribute,
            ..Default::default()
        });
    }

    fn constant(&mut self, node: &NodeProto, dtype: DataType, value: i64) {
        let mut t = TensorProto { data_type: dtype as i32, ..Default::default() };
        match dtype {
            DataType::Bool => t.int32_data = vec![value as i32],
            _ => t.int64_data = vec![value],
        }
        if let (DataType::Int64, Some(output)) = (dtype, node.output.first()) {
            self.ints.insert(output.clone(), vec![value]);
        }
        let value = AttributeProto {
            name: "value".into(),
            t: Some(t),
            r#type: AttributeType::Tensor as i32,
            ..Default::default()
        };
        self.replace(node, "Constant", vec![], vec![value]);
    }

    fn node(&mut self, node: NodeProto) -> Result<()> {
        let first = node.input.first().cloned().unwrap_or_default();
        match &*node.op_type {
            "Constant" => {
                let value = attribute(&node, "value").and_then(|a| a.t.as_ref()).and_then(integers);
                if let (Some(value), Some(output)) = (value, node.output.first()) {
                    self.ints.insert(output.clone(), value);
                    let t = attribute(&node, "value").and_then(|a| a.t.as_ref());
                    if t.is_some_and(|t| t.dims.is_empty()) {
                        self.scalars.insert(output.clone());
                    }
                }
                self.nodes.push(node);
            }
            "SequenceEmpty" => self.keep(&node, vec![]),
            "SequenceConstruct" => self.keep(&node, node.input.clone()),
            "SequenceInsert" => {
                let mut list = self.sequence(&node)?;
                let at = self.position(&node, 2, list.len(), true)?;
                list.insert(at, node.input.get(1).cloned().unwrap_or_default());
                self.keep(&node, list);
            }
            "SequenceErase" => {
                let mut list = self.sequence(&node)?;
                let at = self.position(&node, 1, list.len(), false)?;
                list.remove(at);
                self.keep(&node, list);
            }
            "SequenceAt" => {
                let list = self.sequence(&node)?;
                let at = self.position(&node, 1, list.len(), false)?;
                self.replace(&node, "Identity", vec![list[at].clone()], vec![]);
            }
            "SequenceLength" => {
                let len = self.sequence(&node)?.len();
                self.constant(&node, DataType::Int64, len as i64);
            }
            "ConcatFromSequence" => self.concat(&node)?,
            "SplitToSequence" => self.split(&node)?,
            "Optional" if first.is_empty() => {
                self.empty.extend(node.output.first().cloned());
            }
            "OptionalHasElement" => {
                let holds = !first.is_empty() && !self.empty.contains(&first);
                self.constant(&node, DataType::Bool, holds as i64);
            }
            "Optional" | "OptionalGetElement" | "Identity" => self.pass(node, first)?,
            op if op.contains("Sequence") && op != "ReverseSequence" => {
                return self.refuse(&node, "this sequence operator is not supported");
            }
            _ => self.nodes.push(node),
        }
        Ok(())
    }

    /// An operator that hands on what it gets.
    fn pass(&mut self, node: NodeProto, first: String) -> Result<()> {
        if let Some(list) = self.sequences.get(&first).cloned() {
            self.keep(&node, list);
        } else if self.empty.contains(&first) {
            if node.op_type == "OptionalGetElement" {
                return self.refuse(&node, "the optional holds nothing");
            }
            self.empty.extend(node.output.first().cloned());
        } else if node.op_type == "Identity" {
            self.nodes.push(node);
        } else {
            self.replace(&node, "Identity", vec![first], vec![]);
        }
        Ok(())
    }

    /// An operator that takes a list as an input since opset 13, as an attribute before.
    fn with_list(
        &mut self,
        op: &str,
        list_name: &str,
        input: String,
        output: Vec<String>,
        list: Vec<i64>,
    ) -> &mut NodeProto {
        let mut node =
            NodeProto { op_type: op.into(), input: vec![input], output, ..Default::default() };
        if self.opset >= 13 {
            let name = format!("{}-{list_name}", node.output[0]);
            let t = TensorProto {
                data_type: DataType::Int64 as i32,
                dims: vec![list.len() as i64],
                int64_data: list,
                ..Default::default()
            };
            self.nodes.push(NodeProto {
                op_type: "Constant".into(),
                output: vec![name.clone()],
                attribute: vec![AttributeProto {
                    name: "value".into(),
                    t: Some(t),
                    r#type: AttributeType::Tensor as i32,
                    ..Default::default()
                }],
                ..Default::default()
            });
            node.input.push(name);
        } else {
            node.attribute.push(AttributeProto {
                name: list_name.into(),
                ints: list,
                r#type: AttributeType::Ints as i32,
                ..Default::default()
            });
        }
        let at = self.nodes.len();
        self.nodes.push(node);
        &mut self.nodes[at]
    }

    /// The lengths of the pieces that a `SplitToSequence` makes.
    fn pieces(&self, node: &NodeProto, axis: i64) -> Result<Vec<i64>> {
        let each = match node.input.get(1).filter(|n| !n.is_empty()) {
            None => 1,
            Some(name) => match self.ints.get(name) {
                Some(list) if !self.scalars.contains(name) => return Ok(list.clone()),
                Some(list) if list.len() == 1 && list[0] > 0 => list[0],
                _ => return self.refuse(node, "its input 'split' must be a constant"),
            },
        };
        let dims = node.input.first().and_then(|name| self.dims.get(name));
        let axis = axis + if axis < 0 { dims.map_or(0, |d| d.len() as i64) } else { 0 };
        let len = dims.and_then(|d| d.get(usize::try_from(axis).ok()?));
        match len {
            Some(len) if *len <= 1 << 16 => {
                Ok((0..*len).step_by(each as usize).map(|at| each.min(len - at)).collect())
            }
            _ => self.refuse(node, "the length that it splits must be stated by the graph"),
        }
    }

    fn split(&mut self, node: &NodeProto) -> Result<()> {
        let axis = attribute(node, "axis").map_or(0, |a| a.i);
        let pieces = self.pieces(node, axis)?;
        if pieces.is_empty() {
            return self.refuse(node, "it splits nothing");
        }
        let output = node.output.first().cloned().unwrap_or_default();
        let mut names: Vec<String> =
            (0..pieces.len()).map(|ix| format!("{output}.inferno-{ix}")).collect();
        let input = node.input.first().cloned().unwrap_or_default();
        let split = self.with_list("Split", "split", input, names.clone(), pieces);
        split.attribute.push(int_attribute("axis", axis));
        let by_ones = node.input.get(1).is_none_or(|n| n.is_empty());
        if by_ones && attribute(node, "keepdims").is_some_and(|a| a.i == 0) {
            for name in &mut names {
                let squeezed = format!("{name}-squeezed");
                let output = vec![squeezed.clone()];
                self.with_list("Squeeze", "axes", std::mem::take(name), output, vec![axis]);
                *name = squeezed;
            }
        }
        self.sequences.insert(output, names);
        Ok(())
    }

    fn concat(&mut self, node: &NodeProto) -> Result<()> {
        let mut list = self.sequence(node)?;
        let Some(axis) = attribute(node, "axis").map(|a| a.i) else {
            return self.refuse(node, "it lacks its attribute 'axis'");
        };
        if list.is_empty() {
            return self.refuse(node, "the sequence is empty");
        }
        if attribute(node, "new_axis").is_some_and(|a| a.i != 0) {
            for (ix, name) in list.iter_mut().enumerate() {
                let new = format!("{}.inferno-{ix}", node.output.first().map_or("", |n| n));
                self.with_list("Unsqueeze", "axes", name.clone(), vec![new.clone()], vec![axis]);
                *name = new;
            }
        }
        self.replace(node, "Concat", list, vec![int_attribute("axis", axis)]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, input: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            input: input.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            ..Default::default()
        }
    }

    #[test]
    fn an_element_of_a_built_sequence_is_its_tensor() {
        let mut graph = GraphProto {
            node: vec![
                node("SequenceConstruct", &["a", "b"], "s"),
                node("SequenceInsert", &["s", "c"], "t"),
                node("SequenceErase", &["t"], "u"),
                node("SequenceLength", &["t"], "n"),
                node("SequenceAt", &["t", ""], "y"),
            ],
            ..Default::default()
        };
        resolve(&mut graph, 17).unwrap();
        let ops: Vec<&str> = graph.node.iter().map(|n| &*n.op_type).collect();
        assert_eq!(ops, ["Constant", "Identity"]);
        assert_eq!(graph.node[1].input, ["c"]);
    }

    #[test]
    fn a_sequence_of_the_run_is_refused() {
        let mut graph =
            GraphProto { node: vec![node("SequenceAt", &["s", "p"], "y")], ..Default::default() };
        assert!(resolve(&mut graph, 17).is_err());
    }
}
