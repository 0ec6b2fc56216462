//! What a model says of itself: names, dtypes, dims with their symbols.

use super::weights::dtype_of;
use crate::error::{self, Result};
use crate::tensor::{DType, MAX_RANK, Shape, fmt_dims};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::sync::Arc;
use tract_onnx::pb::{self, tensor_shape_proto::dimension::Value, type_proto};
use tract_onnx::prelude::Tensor;

/// The file's own words; the strings serve C directly.
#[derive(Clone, Serialize, Deserialize)]
pub struct About {
    /// The graph's name.
    pub graph_name: CString,
    /// What wrote the file.
    pub producer_name: CString,
    /// ONNX IR version.
    pub ir_version: i64,
    /// Opset of the default domain.
    pub opset_version: i64,
    /// Nodes, those of sub-graphs counted.
    pub node_count: u64,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// BLAKE3 of the file.
    pub hash: [u8; 32],
    /// `metadata_props`.
    pub metadata: Vec<(CString, CString)>,
}

/// An input or output.
#[derive(Clone, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// The same, for C.
    pub name_c: CString,
    /// Its element type.
    pub dtype: DType,
    /// Its dims; absent when the model does not even say the rank.
    pub dims: Option<Vec<Dim>>,
}

/// A dim: fixed, named, or open.
#[derive(Clone, Serialize, Deserialize)]
pub struct Dim {
    /// Its value when the model fixes it.
    pub fixed: Option<usize>,
    /// Its symbol when the model names it.
    pub symbol: Option<String>,
    /// The same, for C.
    pub symbol_c: Option<CString>,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.fixed, &self.symbol) {
            (Some(n), _) => write!(f, "{n}"),
            (None, Some(s)) => f.write_str(s),
            (None, None) => f.write_str("?"),
        }
    }
}

/// Dims as messages show them: `[batch, 64]`.
impl fmt::Display for PortInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dims {
            Some(dims) => fmt_dims(f, dims.iter().map(|d| d as &dyn fmt::Display)),
            None => f.write_str("of any rank"),
        }
    }
}

impl PortInfo {
    /// Whether `shape` agrees with what the model fixes.
    pub fn accepts(&self, shape: &Shape) -> Result<()> {
        let Some(dims) = &self.dims else {
            return Ok(());
        };
        let fits = dims.len() == shape.len()
            && dims.iter().zip(shape.iter()).all(|(d, n)| d.fixed.is_none_or(|f| f == *n));
        if fits {
            return Ok(());
        }
        Err(error::shape_mismatch(format!("{:?}: dims {shape}, expected {self}", self.name)))
    }

    /// The shape, when the model fixes every dim.
    pub fn fixed_shape(&self) -> Option<Shape> {
        let dims: Option<Vec<usize>> = self.dims.as_ref()?.iter().map(|d| d.fixed).collect();
        Shape::new(&dims?).ok()
    }
}

/// Port `index` of `ports`.
pub fn port<'a>(what: &str, ports: &'a [PortInfo], index: usize) -> Result<&'a PortInfo> {
    ports.get(index).ok_or_else(|| {
        error::not_found(format!("{what} {index}: the model has {} {what}s", ports.len()))
    })
}

/// The index of the port called `name`.
pub fn find_port(what: &str, ports: &[PortInfo], name: &str) -> Result<usize> {
    ports.iter().position(|p| p.name == name).ok_or_else(|| {
        let names: Vec<&str> = ports.iter().map(|p| p.name.as_str()).collect();
        error::not_found(format!("no {what} is called {name:?}: expected one of {names:?}"))
    })
}

/// `text` for C; a NUL inside ends nothing, it becomes a space.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

pub(super) fn about(proto: &pb::ModelProto, hash: [u8; 32]) -> About {
    let graph = proto.graph.as_ref();
    About {
        graph_name: c_string(graph.map_or("", |g| &g.name)),
        producer_name: c_string(&proto.producer_name),
        ir_version: proto.ir_version,
        opset_version: super::vet::opset(&proto.opset_import, ""),
        node_count: graph.map_or(0, count_nodes),
        weight_bytes: 0,
        hash,
        metadata: proto
            .metadata_props
            .iter()
            .map(|entry| (c_string(&entry.key), c_string(&entry.value)))
            .collect(),
    }
}

fn count_nodes(graph: &pb::GraphProto) -> u64 {
    let inner = |n: &pb::NodeProto| super::vet::subgraphs(n).map(count_nodes).sum::<u64>();
    graph.node.iter().map(|n| 1 + inner(n)).sum()
}

/// The graph's inputs; a default for one of them (an initializer of its name)
/// makes it a weight.
pub(super) fn inputs(
    graph: &pb::GraphProto,
    weights: &HashMap<String, Arc<Tensor>>,
) -> Result<Vec<PortInfo>> {
    let real = graph.input.iter().filter(|i| !weights.contains_key(&i.name));
    real.map(|i| describe("input", i)).collect()
}

pub(super) fn outputs(graph: &pb::GraphProto) -> Result<Vec<PortInfo>> {
    graph.output.iter().map(|o| describe("output", o)).collect()
}

fn describe(what: &str, info: &pb::ValueInfoProto) -> Result<PortInfo> {
    let name = &info.name;
    let Some(type_proto::Value::TensorType(tensor)) =
        info.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err(error::unsupported(format!(
            "{what} {name:?} is no tensor (a sequence, map or optional, or without a type): \
             expected a tensor"
        )));
    };
    let dtype = dtype_of(tensor.elem_type).map_err(|e| e.at(format_args!("{what} {name:?}")))?;
    let dims = tensor.shape.as_ref().map(|s| s.dim.iter().map(dim).collect::<Vec<_>>());
    if let Some(dims) = dims.as_ref().filter(|d| d.len() > MAX_RANK) {
        return Err(error::unsupported(format!(
            "{what} {name:?} has rank {}: expected at most {MAX_RANK}",
            dims.len()
        )));
    }
    Ok(PortInfo { name: name.clone(), name_c: c_string(name), dtype, dims })
}

fn dim(proto: &pb::tensor_shape_proto::Dimension) -> Dim {
    let (fixed, symbol) = match &proto.value {
        // Exporters write 0 or -1 for a dim they do not know.
        Some(Value::DimValue(n)) if *n > 0 => (usize::try_from(*n).ok(), None),
        Some(Value::DimParam(s)) if !s.is_empty() && s != "?" => (None, Some(s.clone())),
        _ => (None, None),
    };
    let symbol_c = symbol.as_deref().map(c_string);
    Dim { fixed, symbol, symbol_c }
}
