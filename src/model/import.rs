//! From the vetted protobuf to tract's typed graph, at known input shapes.

use super::forward;
use super::lower;
use super::memo::{InputSpec, Specialisation};
use super::operators::framework;
use super::vet::Spent;
use super::weights::datum_type;
use super::{Content, Limits, Model, PortInfo};
use crate::error::{Error, Kind, Result};
use crate::log::log_line;
use crate::work;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tract_onnx::model::ParseResult;
use tract_onnx::pb;
use tract_onnx::prelude::{
    InferenceFact, InferenceModelExt, Tensor, TractError, TractResult, TypedModel,
};
use tract_onnx::tract_core::internal::{OutletId, TypedFact, bail};
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::scan::Scan;
use tract_onnx::tract_hir::infer::InferenceModel;

/// A model's graph at known shapes, as the file has it but for constants; not yet lowered
/// to kernels.
pub struct Imported {
    pub(crate) graph: TypedModel,
    /// For each input of the graph, which input of the model feeds it.
    pub(crate) inputs: Vec<usize>,
    limits: Limits,
}

impl Imported {
    /// Brings the graph into tract's simplest form. That takes most of an import's time.
    pub(crate) fn simplify(&mut self) -> Result<()> {
        let begun = Instant::now();
        let all = |graph: &mut TypedModel| {
            lower::declutter(graph)?;
            match lower::fold(graph)? {
                true => lower::declutter(graph),
                false => Ok(()),
            }
        };
        all(&mut self.graph).map_err(|e| refusal(&e))?;
        check_sizes(&self.graph, &self.limits)?;
        log_line!(Debug, "simplified in {} us", begun.elapsed().as_micros());
        work::check()
    }
}

/// Builds the graph of `model` at `spec`.
pub(super) fn import(model: &Model, spec: &Specialisation) -> Result<Imported> {
    let (begun, mut vetting) = (Instant::now(), Spent::default());
    let Content { mut graph, opsets, mut weights } = model.content_for_graph()?;
    let mut inputs = Vec::new();
    let mut shapes = HashMap::new();
    for (index, (port, spec)) in model.inputs().iter().zip(&spec.inputs).enumerate() {
        match spec {
            InputSpec::Constant(value) => drop(weights.insert(port.name.clone(), value.clone())),
            InputSpec::Run(shape) => {
                inputs.push(index);
                shapes.insert(port.name.as_str(), shape);
            }
        }
    }
    vetting.on(|| super::vet::check_parameters(&graph, &weights))?;
    graph.input.retain(|i| !weights.contains_key(&i.name));
    for input in &mut graph.input {
        let shape = shapes.get(input.name.as_str()).copied();
        input.r#type = shape.and_then(|s| concrete(input, s));
    }
    // Symbols mean nothing any more, and what an output says is not needed.
    forget_symbols(&mut graph);
    carry_outputs(&mut graph, &weights);
    let opset = super::vet::opset(&opsets, "");
    lower::rewrite(&mut graph, opset)?;
    let proto = pb::ModelProto { opset_import: opsets, graph: Some(graph), ..Default::default() };
    let parse = || {
        let parsed = framework().parse(&proto, None)?;
        with_dtypes(with_weights(parsed, &weights, inputs.len())?, model, &inputs)
    };
    let graph = typed(parse).map_err(|e| refusal(&e))?;
    drop((proto, weights));
    work::check()?;
    let graph = checked(graph, &mut vetting).map_err(|e| refusal(&e))?;
    vetting.on(|| check_sizes(&graph, &model.limits))?;
    work::check()?;
    let (name, took) = (model.name(), begun.elapsed().as_micros());
    log_line!(Debug, "imported {name} in {took} us, vetting {} us of it", vetting.micros());
    Ok(Imported { graph, inputs, limits: model.limits })
}

/// The type of an input at its shape.
fn concrete(input: &pb::ValueInfoProto, shape: &[usize]) -> Option<pb::TypeProto> {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let pb::type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let dim = shape
        .iter()
        .map(|d| Dimension { value: Some(Value::DimValue(*d as i64)), ..Default::default() });
    let shape = pb::TensorShapeProto { dim: dim.collect() };
    let tensor = pb::type_proto::Tensor { elem_type: tensor.elem_type, shape: Some(shape) };
    Some(pb::TypeProto {
        value: Some(pb::type_proto::Value::TensorType(tensor)),
        ..Default::default()
    })
}

/// The symbols in the ports of sub-graphs: here the dims are known, and a
/// symbol would clash with them.
fn forget_symbols(graph: &mut pb::GraphProto) {
    use pb::tensor_shape_proto::dimension::Value;
    for port in graph.input.iter_mut().chain(&mut graph.output) {
        let tensor = port.r#type.as_mut().and_then(|t| t.value.as_mut());
        let shape = tensor.and_then(|pb::type_proto::Value::TensorType(t)| t.shape.as_mut());
        for dim in shape.into_iter().flat_map(|s| &mut s.dim) {
            if matches!(dim.value, Some(Value::DimParam(_))) {
                dim.value = None;
            }
        }
    }
    graph.node.iter_mut().flat_map(super::vet::subgraphs_mut).for_each(forget_symbols);
}

/// An output that is a weight, or that is named twice, gets a node of its own:
/// the parser knows outputs of nodes only.
fn carry_outputs(graph: &mut pb::GraphProto, weights: &HashMap<String, Arc<Tensor>>) {
    let mut seen = std::collections::HashSet::new();
    let mut carried = Vec::new();
    for output in &mut graph.output {
        if weights.contains_key(&output.name) || !seen.insert(output.name.clone()) {
            let name = format!("{}~{}", output.name, carried.len());
            carried.push(pb::NodeProto {
                op_type: "Identity".into(),
                input: vec![std::mem::replace(&mut output.name, name.clone())],
                output: vec![name],
                ..Default::default()
            });
        }
    }
    graph.node.extend(carried);
}

/// Puts the weights in the place of the sources that the parser made for names
/// it did not know.
fn with_weights(
    parsed: ParseResult,
    weights: &HashMap<String, Arc<Tensor>>,
    inputs: usize,
) -> TractResult<InferenceModel> {
    let ParseResult { mut model, unresolved_inputs, outlets_by_name } = parsed;
    for name in &unresolved_inputs {
        let Some(weight) = weights.get(name) else {
            bail!("nothing is called {name:?}");
        };
        let outlet = outlets_by_name[name];
        let fact = TypedFact::try_from(weight.clone())?;
        let node = model.node_mut(outlet.node);
        node.op = Box::new(Const::new(weight.clone())?);
        node.outputs[outlet.slot].fact = InferenceFact::from(&fact);
    }
    let kept: Vec<OutletId> = model.inputs.iter().copied().take(inputs).collect();
    model.set_input_outlets(&kept)?;
    Ok(model)
}

/// With the element types of the inputs.
fn with_dtypes(
    mut graph: InferenceModel,
    model: &Model,
    inputs: &[usize],
) -> TractResult<InferenceModel> {
    for (at, index) in inputs.iter().enumerate() {
        let port: &PortInfo = &model.inputs()[*index];
        let fact = graph.input_fact(at)?.clone().with_datum_type(datum_type(port.dtype));
        graph.set_input_fact(at, fact)?;
    }
    Ok(graph)
}

/// What `parse` gives, typed.
fn typed(parse: impl Fn() -> TractResult<InferenceModel>) -> TractResult<TypedModel> {
    forward::typed(parse()?).or_else(|e| {
        work::check()?;
        log_line!(Debug, "not typed node by node: {e:#}");
        parse()?.into_typed()
    })
}

/// A graph that can be computed as ONNX says: checked, its constants known.
fn checked(mut graph: TypedModel, vetting: &mut Spent) -> TractResult<TypedModel> {
    // (What nobody reads is not checked.)
    graph.compact()?;
    lower::fold(&mut graph)?;
    vetting.on(|| super::geometry::check(&graph))?;
    forget_between_runs(&mut graph);
    super::halves::widen(&mut graph)?;
    lower::constants(&mut graph)?;
    Ok(graph)
}

/// Every value whose dims are known is within the limits.
fn check_sizes(graph: &TypedModel, limits: &Limits) -> Result<()> {
    for node in &graph.nodes {
        for fact in node.outputs.iter().map(|o| &o.fact) {
            let rank = fact.rank() as u64;
            Limits::within(format_args!("{node}: rank"), rank, "max_rank", limits.rank)?;
            let Some(dims) = fact.shape.as_concrete() else { continue };
            let size = fact.datum_type.size_of() as u64;
            let bytes = dims.iter().try_fold(size, |n, d| n.checked_mul(*d as u64));
            let what = format_args!("{node}: bytes of a value of dims {dims:?}");
            let bytes = bytes.unwrap_or(u64::MAX);
            Limits::within(what, bytes, "max_tensor_bytes", limits.tensor_bytes)?;
        }
    }
    Ok(())
}

/// tract's loops keep their state from one run to the next; ONNX's start from
/// their initial state at every run.
fn forget_between_runs(graph: &mut TypedModel) {
    for node in &mut graph.nodes {
        if let Some(scan) = node.op_as_mut::<Scan>() {
            scan.reset_every_turn = true;
            forget_between_runs(&mut scan.body);
        } else if let Some(gru) = node.op_as_mut::<GruSeq>() {
            gru.reset_every_turn = true;
        }
    }
}

/// tract's error as ours: the chain of contexts names the node and the reason.
fn refusal(e: &TractError) -> Error {
    if let Some(ours) = e.downcast_ref::<Error>() {
        return ours.clone();
    }
    Error::new(Kind::Unsupported, format!("{e:#}"))
}
