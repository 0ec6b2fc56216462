//! Quantized operators of `com.microsoft`, written as those of ONNX that they stand for:
//! what is between a `DequantizeLinear` and a `QuantizeLinear` is made of integers later.

use crate::error::{self, Result};
use std::collections::HashMap;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

/// Those that [`expand`] writes otherwise.
pub(in crate::model) const EXPANDED: &[&str] = &[
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
];

/// `DequantizeLinear` of what others than products read: of a constant, a constant.
pub(super) const NOW: &str = "DequantizeConstant";

/// Operators that read dequantized constants as integers.
const PRODUCTS: &[&str] = &["Conv", "Gemm", "MatMul"];

/// Writes the quantized operators of a graph, not of its sub-graphs, as others.
pub(super) fn expand(graph: &mut GraphProto) -> Result<()> {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        if node.domain != "com.microsoft" || !EXPANDED.contains(&&*node.op_type) {
            nodes.push(node);
            continue;
        }
        let name = node.output.iter().find(|name| !name.is_empty()).cloned();
        let mut writer = Writer { node: &node, name: name.unwrap_or_default(), nodes };
        writer.node()?;
        nodes = writer.nodes;
    }
    graph.node = nodes;
    leave_to_products(graph);
    Ok(())
}

/// What products read stays dequantized until they are made; all else is a constant at
/// once, where it can be.
fn leave_to_products(graph: &mut GraphProto) {
    let mut others: HashMap<&str, bool> = HashMap::new();
    for node in &graph.node {
        for name in &node.input {
            *others.entry(name).or_default() |= !PRODUCTS.contains(&&*node.op_type);
        }
    }
    others.extend(graph.output.iter().map(|output| (&*output.name, true)));
    let now = |node: &NodeProto| {
        let only = node.output.first().is_some_and(|name| others.get(&**name) == Some(&false));
        node.op_type == "DequantizeLinear" && !only
    };
    let now: Vec<bool> = graph.node.iter().map(now).collect();
    for (node, _) in graph.node.iter_mut().zip(now).filter(|(_, now)| *now) {
        node.op_type = NOW.into();
    }
}

/// The nodes that stand for one.
struct Writer<'a> {
    node: &'a NodeProto,
    name: String,
    nodes: Vec<NodeProto>,
}

fn int(name: &str, value: i64) -> AttributeProto {
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.into(), i: value, r#type, ..Default::default() }
}

impl Writer<'_> {
    /// The name of an input, or nothing.
    fn input(&self, at: usize) -> String {
        self.node.input.get(at).cloned().unwrap_or_default()
    }

    fn attribute(&self, name: &str) -> Option<AttributeProto> {
        self.node.attribute.iter().find(|a| a.name == name).cloned()
    }

    fn flag(&self, name: &str) -> bool {
        self.attribute(name).is_some_and(|a| a.i != 0)
    }

    fn push(&mut self, op: &str, input: Vec<String>, attribute: Vec<AttributeProto>, to: &str) {
        let (op_type, output) = (op.into(), vec![to.into()]);
        let name = format!("{to}.node");
        self.nodes.push(NodeProto {
            op_type,
            name,
            input,
            output,
            attribute,
            ..Default::default()
        });
    }

    /// A node with an output of its own.
    fn add(&mut self, op: &str, input: Vec<String>, attribute: Vec<AttributeProto>) -> String {
        let to = format!("{}.{}-{}", self.name, op, self.nodes.len());
        self.push(op, input, attribute, &to);
        to
    }

    /// Floats of the input `at`, whose scale and zero point follow it.
    fn floats(&mut self, at: usize, axis: i64) -> String {
        let input = [0, 1, 2].map(|i| self.input(at + i)).to_vec();
        self.add("DequantizeLinear", input, vec![int("axis", axis)])
    }

    /// The node's output, quantized with the scale and the zero point at `at`.
    fn quantize(&mut self, x: String, at: usize) {
        let (scale, zero, to) = (self.input(at), self.input(at + 1), self.name.clone());
        self.push("QuantizeLinear", vec![x, scale, zero], vec![], &to);
    }

    fn node(&mut self) -> Result<()> {
        match &*self.node.op_type {
            "QLinearAdd" | "QLinearMul" => {
                let (a, b) = (self.floats(0, 0), self.floats(3, 0));
                let op = &self.node.op_type["QLinear".len()..];
                let y = self.add(op, vec![a, b], vec![]);
                self.quantize(y, 6);
            }
            "QLinearConcat" => {
                let all = (2..self.node.input.len()).step_by(3);
                let all = all.map(|at| self.floats(at, 0)).collect();
                let y = self.add("Concat", all, self.attribute("axis").into_iter().collect());
                self.quantize(y, 0);
            }
            "QGemm" => self.gemm()?,
            "MatMulIntegerToFloat" => {
                let integers = [0, 1, 4, 5].map(|at| self.input(at)).to_vec();
                let scale = vec![self.input(2), self.input(3)];
                self.product(integers, scale, 6);
            }
            "DynamicQuantizeMatMul" => {
                let [x, scale, zero] = self.dynamic(0);
                let integers = vec![x, self.input(1), zero, self.input(3)];
                let scale = vec![scale, self.input(2)];
                self.product(integers, scale, 4);
            }
            "DynamicQuantizeLSTM" => self.lstm(),
            other => {
                let op = &other["QLinear".len()..];
                if self.flag("channels_last") {
                    let what = format!("{other} with channels_last (node {:?})", self.node.name);
                    return Err(error::unsupported(what));
                }
                let x = self.floats(0, 0);
                let own = |a: &&AttributeProto| a.name != "channels_last";
                let attributes = self.node.attribute.iter().filter(own).cloned().collect();
                let y = self.add(op, vec![x], attributes);
                self.quantize(y, 3);
            }
        }
        Ok(())
    }

    /// Floats quantized by what they are: bytes, their scale and zero point.
    fn dynamic(&mut self, at: usize) -> [String; 3] {
        let x = self.add("DynamicQuantizeLinear", vec![self.input(at)], vec![]);
        let more = [format!("{x}.scale"), format!("{x}.zero")];
        if let Some(node) = self.nodes.last_mut() {
            node.output.extend(more.iter().cloned());
        }
        let [scale, zero] = more;
        [x, scale, zero]
    }

    /// The node's output: a product of integers, times both scales, plus a bias.
    fn product(&mut self, integers: Vec<String>, scale: Vec<String>, bias: usize) {
        let sums = self.add("MatMulInteger", integers, vec![]);
        let sums = self.add("Cast", vec![sums], vec![int("to", DataType::Float as i64)]);
        let scale = self.add("Mul", scale, vec![]);
        let (bias, to) = (self.input(bias), self.name.clone());
        if bias.is_empty() {
            return self.push("Mul", vec![sums, scale], vec![], &to);
        }
        let y = self.add("Mul", vec![sums, scale], vec![]);
        self.push("Add", vec![y, bias], vec![], &to);
    }

    fn gemm(&mut self) -> Result<()> {
        if self.attribute("alpha").is_some_and(|alpha| alpha.f != 1.0) {
            let what = format!("QGemm with an alpha other than 1 (node {:?})", self.node.name);
            return Err(error::unsupported(what));
        }
        let turned = ["transA", "transB"].iter().filter_map(|name| self.attribute(name));
        let turned = turned.collect::<Vec<_>>();
        let a = self.floats(0, 0);
        let b = self.floats(3, i64::from(!self.flag("transB")));
        let mut operands = vec![a, b];
        let bias = self.input(6);
        if !bias.is_empty() {
            let scale = self.add("Mul", vec![self.input(1), self.input(4)], vec![]);
            let axis = vec![int("axis", 0)];
            operands.push(self.add("DequantizeLinear", vec![bias, scale], axis));
        }
        if self.input(7).is_empty() {
            let to = self.name.clone();
            self.push("Gemm", operands, turned, &to);
        } else {
            let y = self.add("Gemm", operands, turned);
            self.quantize(y, 7);
        }
        Ok(())
    }

    /// An LSTM whose weights are dequantized; its activations stay floats.
    fn lstm(&mut self) {
        let mut turned = [(1, 8), (2, 10)].map(|(at, scale)| {
            let input = vec![self.input(at), self.input(scale), self.input(scale + 1)];
            let floats = self.add("DequantizeLinear", input, vec![int("axis", 0)]);
            let perm = AttributeProto {
                name: "perm".into(),
                ints: vec![0, 2, 1],
                r#type: AttributeType::Ints as i32,
                ..Default::default()
            };
            self.add("Transpose", vec![floats], vec![perm])
        });
        let mut node =
            NodeProto { op_type: "LSTM".into(), domain: String::new(), ..self.node.clone() };
        node.input.truncate(8);
        for (at, input) in [1, 2].into_iter().zip(&mut turned) {
            if let Some(name) = node.input.get_mut(at) {
                *name = std::mem::take(input);
            }
        }
        self.nodes.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(op: &str, inputs: usize, outputs: &[&str]) -> Vec<(String, Vec<String>)> {
        let node = NodeProto {
            op_type: op.into(),
            domain: "com.microsoft".into(),
            input: (0..inputs).map(|i| format!("i{i}")).collect(),
            output: outputs.iter().map(|name| (*name).into()).collect(),
            ..Default::default()
        };
        let mut graph = GraphProto { node: vec![node], ..Default::default() };
        expand(&mut graph).unwrap();
        assert!(graph.node.iter().all(|node| node.domain.is_empty()));
        graph.node.into_iter().map(|node| (node.op_type, node.output)).collect()
    }

    #[test]
    fn each_is_written_as_operators_of_onnx() {
        for op in EXPANDED {
            let nodes =
                expanded(op, 12, &["y", "h", "c"][..if op.ends_with("LSTM") { 3 } else { 1 }]);
            assert_eq!(nodes.last().unwrap().1[0], "y", "{op}");
            let names: std::collections::HashSet<_> = nodes.iter().flat_map(|n| &n.1).collect();
            assert_eq!(names.len(), nodes.iter().map(|n| n.1.len()).sum::<usize>(), "{op}");
        }
    }

    #[test]
    fn only_products_read_integers() {
        let ops = |op, inputs| expanded(op, inputs, &["y"]).into_iter().map(|n| n.0);
        let gemm = ["DequantizeLinear", "DequantizeLinear", "Mul", "DequantizeLinear", "Gemm"];
        assert!(ops("QGemm", 7).eq(gemm));
        assert!(ops("QLinearAdd", 8).eq([NOW, NOW, "Add", "QuantizeLinear"]));
    }
}
