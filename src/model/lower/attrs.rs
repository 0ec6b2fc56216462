//! Attributes of a node, with a refusal for the ones that we do not model.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// The integer attribute `name`, or its default.
pub(super) fn int(node: &NodeProto, name: &str, default: i64) -> TractResult<i64> {
    Ok(node.get_attr_opt::<i64>(name)?.unwrap_or(default))
}

/// The boolean (0 or 1) attribute `name`, or its default.
pub(super) fn flag(node: &NodeProto, name: &str, default: bool) -> TractResult<bool> {
    match int(node, name, default as i64)? {
        0 => Ok(false),
        1 => Ok(true),
        other => bail!("attribute '{name}' of {} must be 0 or 1, not {other}", node.op_type),
    }
}

/// The float attribute `name`, or its default.
pub(super) fn float(node: &NodeProto, name: &str, default: f32) -> TractResult<f32> {
    Ok(node.get_attr_opt::<f32>(name)?.unwrap_or(default))
}

/// The string attribute `name`, or its default.
pub(super) fn string(node: &NodeProto, name: &str, default: &str) -> TractResult<String> {
    Ok(node.get_attr_opt::<String>(name)?.unwrap_or_else(|| default.to_string()))
}

/// The list of integers `name`, if the node has it.
pub(super) fn ints(node: &NodeProto, name: &str) -> TractResult<Option<Vec<i64>>> {
    node.get_attr_opt_vec::<i64>(name)
}

/// The list of floats `name`, empty when the node has it not.
pub(super) fn floats(node: &NodeProto, name: &str) -> TractResult<Vec<f32>> {
    Ok(node.get_attr_opt_vec::<f32>(name)?.unwrap_or_default())
}

/// The list of strings `name`, empty when the node has it not.
pub(super) fn strings(node: &NodeProto, name: &str) -> TractResult<Vec<String>> {
    Ok(node.get_attr_opt_vec::<String>(name)?.unwrap_or_default())
}
