//! 8-bit numbers, from ONNX on: what is fused gives what the operators give one by one.

use super::super::ops::Op;
use super::super::quant::Quant;
use super::*;
use crate::kernels::{Aligned, Blob, as_bytes, as_bytes_mut, collected, placed};
use crate::model::{InputSpec, LoadOptions, Model, Source, Specialisation};
use crate::tensor::Shape;
use prost::Message;
use std::sync::Arc;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{self, AttributeProto, GraphProto, NodeProto, TensorProto};

/// A graph that is being written.
#[derive(Default)]
struct Onnx {
    graph: GraphProto,
}

fn value(name: &str, dims: &[usize]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = dims
        .iter()
        .map(|d| Dimension { value: Some(Value::DimValue(*d as i64)), ..Default::default() });
    let shape = Some(pb::TensorShapeProto { dim: dim.collect() });
    let tensor = pb::type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let r#type = pb::TypeProto {
        value: Some(pb::type_proto::Value::TensorType(tensor)),
        ..Default::default()
    };
    pb::ValueInfoProto { name: name.into(), r#type: Some(r#type), ..Default::default() }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let r#type = AttributeType::Ints as i32;
    AttributeProto { name: name.into(), ints: values.to_vec(), r#type, ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.into(), i, r#type, ..Default::default() }
}

impl Onnx {
    fn tensor(&mut self, dtype: DataType, dims: &[usize], raw_data: Vec<u8>) -> String {
        let name = format!("t{}", self.graph.initializer.len());
        let dims = dims.iter().map(|d| *d as i64).collect();
        let (data_type, name) = (dtype as i32, name);
        let tensor =
            TensorProto { dims, data_type, raw_data, name: name.clone(), ..Default::default() };
        self.graph.initializer.push(tensor);
        name
    }

    fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(DataType::Float, dims, bytes)
    }

    /// Signed bytes of all sizes.
    fn weights(&mut self, dims: &[usize]) -> String {
        let count = dims.iter().product::<usize>();
        self.tensor(DataType::Int8, dims, (0..count).map(|i| (i * 89 % 255) as u8).collect())
    }

    fn node(&mut self, op: &str, input: &[&str], attribute: Vec<AttributeProto>) -> String {
        let name = format!("n{}", self.graph.node.len());
        let input = input.iter().map(|name| (*name).to_owned()).collect();
        let (op_type, output) = (op.into(), vec![name.clone()]);
        let node = NodeProto { op_type, input, output, attribute, name, ..Default::default() };
        self.graph.node.push(node);
        self.graph.node.last().unwrap().output[0].clone()
    }

    /// Quantized and dequantized: signed bytes or not.
    fn pair(&mut self, x: &str, scale: f32, zero: i32, signed: bool) -> String {
        let dtype = if signed { DataType::Int8 } else { DataType::Uint8 };
        let (scale, zero) = (self.floats(&[], &[scale]), self.tensor(dtype, &[], vec![zero as u8]));
        let q = self.node("QuantizeLinear", &[x, &scale, &zero], vec![]);
        self.node("DequantizeLinear", &[&q, &scale, &zero], vec![])
    }

    /// A convolution with dequantized weights, and biases on the scale of its sums.
    fn conv(
        &mut self,
        x: &str,
        x_scale: f32,
        dims: [usize; 4],
        more: Vec<AttributeProto>,
    ) -> String {
        let filters = dims[0];
        let scales: Vec<f32> = (0..filters).map(|f| 0.002 + 0.0003 * f as f32).collect();
        let own = self.floats(&[filters], &scales);
        let of_sums = scales.iter().map(|s| s * x_scale).collect::<Vec<_>>();
        let of_sums = self.floats(&[filters], &of_sums);
        let (w, zeros) = (self.weights(&dims), vec![0; filters]);
        let zeros = self.tensor(DataType::Int8, &[filters], zeros);
        let w = self.node("DequantizeLinear", &[&w, &own, &zeros], vec![int("axis", 0)]);
        let bias = (0..filters as i32).flat_map(|f| (37 * f - 90).to_le_bytes()).collect();
        let bias = self.tensor(DataType::Int32, &[filters], bias);
        let bias = self.node("DequantizeLinear", &[&bias, &of_sums], vec![int("axis", 0)]);
        self.node("Conv", &[x, &w, &bias], more)
    }

    /// The graph as tract has it, for one input.
    fn typed(mut self, x: &[usize], y: &str, to: &[usize]) -> TypedModel {
        self.graph.input.push(value("x", x));
        self.graph.output.push(value(y, to));
        self.graph.name = "quantized".into();
        let opset = pb::OperatorSetIdProto { domain: String::new(), version: 13 };
        let model = pb::ModelProto {
            ir_version: 8,
            opset_import: vec![opset],
            graph: Some(self.graph),
            ..Default::default()
        };
        let bytes = model.encode_to_vec();
        let model = Model::load(Source::Memory(&bytes), &LoadOptions::default()).unwrap();
        let spec = Specialisation { inputs: vec![InputSpec::Run(Shape::new(x).unwrap())] };
        model.imported(&spec, |imported| Ok(imported.graph)).unwrap()
    }
}

/// Memory for what a region's weights are kept in.
struct Lines(Aligned);

impl AsRef<[u8]> for Lines {
    fn as_ref(&self) -> &[u8] {
        as_bytes(self.0.floats())
    }
}

/// A region that was kept gives the same bits.
fn check_kept(region: &Region, inputs: &[usize]) {
    let (meta, floats) = collected(|| postcard::to_allocvec(region).unwrap());
    let mut lines = Aligned::zeros(floats.bytes().div_ceil(4)).unwrap();
    let mut rest = as_bytes_mut(lines.floats_mut());
    let written = floats.write(|piece| {
        let (to, after) = std::mem::take(&mut rest).split_at_mut(piece.len());
        to.copy_from_slice(piece);
        rest = after;
        Ok::<(), ()>(())
    });
    written.unwrap();
    let blob = Blob::new(Arc::new(Lines(lines)), 0, floats.bytes()).unwrap();
    let kept: Region = placed(blob, || postcard::from_bytes(&meta).unwrap());
    assert!(kept.is_sound());
    let x = numbers(inputs, 3);
    let x = vec![x.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap()];
    let answer = |region: &Region| {
        let mut arena = region.arena().unwrap();
        region.run(&x, &mut arena, None).unwrap();
        region.output(&arena, 0).iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(answer(&kept), answer(region));
}

fn kinds(region: &Region) -> (usize, usize) {
    let layers = region.steps.iter().filter(|s| matches!(s.op, Op::Quant(Quant::Layer(_))));
    (region.steps.len(), layers.count())
}

#[test]
fn what_is_between_bytes_is_of_integers() {
    for signed in [false, true] {
        let (low, zero) = if signed { (-128, 5) } else { (0, 133) };
        let mut onnx = Onnx::default();
        let x = onnx.pair("x", 1.0 / 64.0, zero, signed);
        let window = || vec![ints("pads", &[1, 1, 1, 1])];
        let a = onnx.conv(&x, 1.0 / 64.0, [8, 3, 3, 3], window());
        let a = onnx.node("Relu", &[&a], vec![]);
        let a = onnx.pair(&a, 0.01, low, signed);
        let strided = || vec![ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])];
        let group = [strided(), vec![int("group", 8)]].concat();
        let b = onnx.conv(&a, 0.01, [8, 1, 3, 3], group);
        let b = onnx.pair(&b, 0.01, zero, signed);
        let pool = [strided(), vec![ints("kernel_shape", &[3, 3])]].concat();
        let pooled = onnx.node("MaxPool", &[&a], pool);
        let pooled = onnx.pair(&pooled, 0.01, low, signed);
        let sum = onnx.node("Add", &[&pooled, &b], vec![]);
        let sum = onnx.pair(&sum, 0.02, zero, signed);
        let y = onnx.conv(&sum, 0.02, [5, 8, 1, 1], vec![]);
        let y = onnx.pair(&y, 0.02, zero, signed);
        let graph = onnx.typed(&[1, 3, 12, 10], &y, &[1, 5, 6, 5]);
        // (A sum near a tie may fall to the other side, by a step.)
        let region = check_within(&graph, "bytes", 0.0201);
        // Quantized, turned, three layers, a pool, a sum, dequantized, and turned back.
        assert_eq!(kinds(&region), (9, 3), "{:?}", region.steps);
        check_kept(&region, &[1, 3, 12, 10]);
    }
}

#[test]
fn products_are_scaled_where_they_are_written() {
    let mut onnx = Onnx::default();
    let q = onnx.node("DynamicQuantizeLinear", &["x"], vec![]);
    let names = ["scale".to_owned(), "zero".to_owned()];
    onnx.graph.node.last_mut().unwrap().output.extend(names);
    let w = onnx.weights(&[13, 20]);
    let sums = onnx.node("MatMulInteger", &[&q, &w, "zero"], vec![]);
    let floats = onnx.node("Cast", &[&sums], vec![int("to", DataType::Float as i64)]);
    let own = onnx.floats(&[20], &[0.01; 20]);
    let scale = onnx.node("Mul", &["scale", &own], vec![]);
    let y = onnx.node("Mul", &[&floats, &scale], vec![]);
    let bias = onnx.floats(&[20], &[0.5; 20]);
    let y = onnx.node("Add", &[&y, &bias], vec![]);
    let y = onnx.node("Sigmoid", &[&y], vec![]);
    let graph = onnx.typed(&[2, 9, 13], &y, &[2, 9, 20]);
    // Quantized, the scales, and a layer.
    let region = check(&graph, "dynamic");
    assert_eq!(kinds(&region), (3, 1));
    check_kept(&region, &[2, 9, 13]);
}

#[test]
fn bytes_that_others_read_stay_with_tract() {
    let mut onnx = Onnx::default();
    let x = onnx.pair("x", 0.1, 3, false);
    let bytes = onnx.graph.node[0].output[0].clone();
    let back = onnx.node("Cast", &[&bytes], vec![int("to", DataType::Float as i64)]);
    let y = onnx.node("Mul", &[&x, &back], vec![]);
    let mut graph = onnx.typed(&[4, 5], &y, &[4, 5]);
    let (inputs, wanted) = expected(&graph);
    assert!(compile(&mut graph).unwrap().is_none());
    let plan = graph.into_runnable().unwrap();
    let got = plan.run(inputs.into_iter().map(|t| t.into_tvalue()).collect()).unwrap();
    assert_eq!(got[0], wanted[0]);
}
