//! Weights: `TensorProto`s as tensors, read once and shared.

use super::Limits;
use super::source::Folder;
use crate::error::{self, Result};
use crate::tensor::{DType, Shape};
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::pb::{self, TensorProto, tensor_proto::DataLocation, tensor_proto::DataType};
use tract_onnx::prelude::{Datum, DatumType, Tensor, tract_data::internal::f16};

/// The element type of an ONNX number, or the refusal that names it.
pub(super) fn dtype_of(number: i32) -> Result<DType> {
    DType::from_onnx(number).ok_or_else(|| match DataType::try_from(number) {
        Ok(DataType::Undefined) => error::invalid_model("a tensor without a dtype"),
        Ok(known) => error::unsupported(format!("dtype {} is not supported", known.as_str_name())),
        Err(_) => error::invalid_model(format!("dtype {number} is no ONNX dtype")),
    })
}

/// tract's name for an element type.
pub(crate) fn datum_type(dtype: DType) -> DatumType {
    match dtype {
        DType::F32 => DatumType::F32,
        DType::U8 => DatumType::U8,
        DType::I8 => DatumType::I8,
        DType::U16 => DatumType::U16,
        DType::I16 => DatumType::I16,
        DType::I32 => DatumType::I32,
        DType::I64 => DatumType::I64,
        DType::String => DatumType::String,
        DType::Bool => DatumType::Bool,
        DType::F16 => DatumType::F16,
        DType::F64 => DatumType::F64,
        DType::U32 => DatumType::U32,
        DType::U64 => DatumType::U64,
    }
}

/// Takes the weights out of a graph: initializers, and the values of `Constant`
/// nodes, whose payloads may have been read already. Those of sub-graphs stay where they are, their external data read in.
pub(super) fn take(
    graph: &mut pb::GraphProto,
    mut payloads: HashMap<String, Tensor>,
    folder: &Folder,
    most: u64,
) -> Result<HashMap<String, Arc<Tensor>>> {
    let mut weights = HashMap::new();
    let mut bytes = 0u64;
    for proto in std::mem::take(&mut graph.initializer) {
        let at = |e: error::Error| e.at(format_args!("initializer {:?}", proto.name));
        bytes = bytes.saturating_add(declared_bytes(&proto));
        Limits::within("bytes of weights", bytes, "max_weight_bytes", most).map_err(at)?;
        let tensor = match payloads.remove(&proto.name) {
            Some(tensor) => tensor,
            None => tensor(&proto, folder).map_err(at)?,
        };
        weights.insert(proto.name, Arc::new(tensor));
    }
    let mut failed = None;
    graph.node.retain_mut(|node| match constant(node, &mut payloads, folder) {
        Ok(Some(tensor)) => {
            weights.insert(std::mem::take(&mut node.output[0]), Arc::new(tensor));
            false
        }
        Ok(None) => true,
        Err(e) => {
            failed.get_or_insert(e.at(super::vet::label(node)));
            true
        }
    });
    failed.map_or(Ok(()), Err)?;
    if let Some(name) = payloads.into_keys().next() {
        return Err(error::invalid_model(format!(
            "Constant node {name:?}: expected its value and no other attribute"
        )));
    }
    for graph in graph.node.iter_mut().flat_map(super::vet::subgraphs_mut) {
        localise(graph, folder)?;
    }
    Ok(weights)
}

/// The bytes that a tensor's dims ask for.
fn declared_bytes(proto: &TensorProto) -> u64 {
    let size = DType::from_onnx(proto.data_type).map_or(1, DType::size_bytes) as u64;
    let dims = proto.dims.iter().map(|d| u64::try_from(*d).unwrap_or(0));
    dims.fold(size, u64::saturating_mul)
}

/// Rewrites the tensors of a sub-graph so that tract reads them right: checked,
/// in raw form, without external data.
fn localise(graph: &mut pb::GraphProto, folder: &Folder) -> Result<()> {
    for proto in &mut graph.initializer {
        relay(proto, folder).map_err(|e| e.at(format_args!("initializer {:?}", proto.name)))?;
    }
    for node in &mut graph.node {
        let label = super::vet::label(node);
        for attribute in &mut node.attribute {
            if let Some(proto) = &mut attribute.t {
                relay(proto, folder).map_err(|e| e.at(&label))?;
            }
        }
        for graph in super::vet::subgraphs_mut(node) {
            localise(graph, folder)?;
        }
    }
    Ok(())
}

fn relay(proto: &mut TensorProto, folder: &Folder) -> Result<()> {
    let value = tensor(proto, folder)?;
    if value.datum_type() != DatumType::String && value.volume() > 0 {
        let (dims, data_type) = (proto.dims.clone(), proto.data_type);
        let (name, raw_data) = (std::mem::take(&mut proto.name), value.as_bytes().to_vec());
        *proto = TensorProto { dims, data_type, name, raw_data, ..Default::default() };
    }
    Ok(())
}

/// The value of a `Constant` node with a `value` attribute.
fn constant(
    node: &pb::NodeProto,
    payloads: &mut HashMap<String, Tensor>,
    folder: &Folder,
) -> Result<Option<Tensor>> {
    if node.op_type != "Constant" || node.output.len() != 1 || node.attribute.len() != 1 {
        return Ok(None);
    }
    let attribute = &node.attribute[0];
    match (attribute.name.as_str(), &attribute.t) {
        ("value", Some(proto)) => match payloads.remove(&node.output[0]) {
            Some(tensor) => Ok(Some(tensor)),
            None => tensor(proto, folder).map(Some),
        },
        _ => Ok(None),
    }
}

/// A checked `TensorProto` as a tensor.
fn tensor(proto: &TensorProto, folder: &Folder) -> Result<Tensor> {
    let dtype = dtype_of(proto.data_type)?;
    let dims = proto.dims.iter().map(|d| {
        usize::try_from(*d)
            .map_err(|_| error::invalid_model(format!("a dim is {d}: expected 0 or more")))
    });
    let shape = Shape::new(&dims.collect::<Result<Vec<_>>>()?)?;
    if proto.segment.is_some() {
        return Err(error::unsupported("a tensor stored in segments"));
    }
    if proto.data_location == Some(DataLocation::External as i32) {
        return from_raw(dtype, &shape, &external(proto, dtype, &shape, folder)?);
    }
    if !proto.raw_data.is_empty() {
        return from_raw(dtype, &shape, &proto.raw_data);
    }
    from_fields(proto, dtype, &shape)
}

fn external(proto: &TensorProto, dtype: DType, shape: &Shape, folder: &Folder) -> Result<Vec<u8>> {
    let entry =
        |key: &str| proto.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| {
        entry(key)
            .map(|text| {
                text.parse::<u64>().map_err(|_| {
                    error::invalid_model(format!(
                        "external data: {key} is {text:?}: expected a number"
                    ))
                })
            })
            .transpose()
    };
    let location = entry("location")
        .ok_or_else(|| error::invalid_model("external data without a location"))?;
    if dtype == DType::String {
        return Err(error::invalid_model("strings as external data: ONNX has none"));
    }
    let length = number("length")?.unwrap_or(shape.size_bytes(dtype) as u64);
    folder.read(location, number("offset")?.unwrap_or(0), Some(length))
}

fn from_raw(dtype: DType, shape: &Shape, raw: &[u8]) -> Result<Tensor> {
    if dtype == DType::String {
        return Err(error::invalid_model("strings as raw data: ONNX has none"));
    }
    let expected = shape.size_bytes(dtype);
    if raw.len() != expected {
        return Err(error::invalid_model(format!(
            "{} bytes of data: expected {expected} for {dtype} {shape}",
            raw.len()
        )));
    }
    let mut tensor = zeros(dtype, shape)?;
    fill(&mut tensor, raw);
    Ok(tensor)
}

/// Copies bytes into a tensor of the same size; a bool is made 0 or 1.
pub(crate) fn fill(tensor: &mut Tensor, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if tensor.datum_type() == DatumType::Bool {
        let to = tensor.as_bytes_mut().iter_mut();
        to.zip(bytes).for_each(|(to, from)| *to = u8::from(*from != 0));
    } else {
        tensor.as_bytes_mut().copy_from_slice(bytes);
    }
}

/// Zeros (empty strings), 64-byte aligned.
pub(crate) fn zeros(dtype: DType, shape: &Shape) -> Result<Tensor> {
    let made = crate::panics::caught(|| match dtype {
        DType::String => Tensor::from_shape_strings(shape),
        _ => Tensor::zero_aligned_dt(datum_type(dtype), shape, 64),
    });
    match made {
        Ok(Ok(tensor)) => Ok(tensor),
        Ok(Err(e)) => Err(error::internal(format!("a tensor of {dtype} {shape}: {e:#}"))),
        Err(panic) => Err(error::out_of_memory(format!(
            "no memory for {} bytes ({dtype} {shape}): {panic}",
            shape.size_bytes(dtype)
        ))),
    }
}

trait FromShapeStrings: Sized {
    fn from_shape_strings(shape: &Shape) -> tract_onnx::prelude::TractResult<Self>;
}

impl FromShapeStrings for Tensor {
    fn from_shape_strings(shape: &Shape) -> tract_onnx::prelude::TractResult<Tensor> {
        strings(shape, vec![String::new(); shape.volume()])
    }
}

/// A string tensor.
pub(crate) fn strings(
    shape: &Shape,
    values: Vec<String>,
) -> tract_onnx::prelude::TractResult<Tensor> {
    Ok(tract_onnx::prelude::tract_ndarray::ArrayD::from_shape_vec(&**shape, values)?.into())
}

fn from_fields(proto: &TensorProto, dtype: DType, shape: &Shape) -> Result<Tensor> {
    let ints = &proto.int32_data;
    match dtype {
        DType::F32 => copied(shape, proto.float_data.iter().copied()),
        DType::F64 => copied(shape, proto.double_data.iter().copied()),
        DType::I64 => copied(shape, proto.int64_data.iter().copied()),
        DType::U64 => copied(shape, proto.uint64_data.iter().copied()),
        DType::U32 => copied(shape, proto.uint64_data.iter().map(|v| *v as u32)),
        DType::I32 => copied(shape, ints.iter().copied()),
        DType::I16 => copied(shape, ints.iter().map(|v| *v as i16)),
        DType::U16 => copied(shape, ints.iter().map(|v| *v as u16)),
        DType::I8 => copied(shape, ints.iter().map(|v| *v as i8)),
        DType::U8 => copied(shape, ints.iter().map(|v| *v as u8)),
        DType::F16 => copied(shape, ints.iter().map(|v| f16::from_bits(*v as u16))),
        DType::Bool => copied(shape, ints.iter().map(|v| *v != 0)),
        DType::String => {
            count(shape, proto.string_data.len())?;
            let text = proto.string_data.iter().map(|s| {
                String::from_utf8(s.clone())
                    .map_err(|_| error::invalid_model("a string is not UTF-8"))
            });
            strings(shape, text.collect::<Result<_>>()?)
                .map_err(|e| error::internal(format!("{e:#}")))
        }
    }
}

fn count(shape: &Shape, have: usize) -> Result<()> {
    if have != shape.volume() {
        return Err(error::invalid_model(format!(
            "{have} elements of data: expected {} for dims {shape}",
            shape.volume()
        )));
    }
    Ok(())
}

fn copied<T: Datum + Copy>(
    shape: &Shape,
    values: impl ExactSizeIterator<Item = T>,
) -> Result<Tensor> {
    count(shape, values.len())?;
    let values: Vec<T> = values.collect();
    Tensor::from_shape(shape, &values).map_err(|e| error::internal(format!("{e:#}")))
}
