//! Attributes: whatever the operator, an axis is an axis and a stride is not 0.
//!
//! One table says what a value of each name may be. It is about what no operator
//! could take, so that no valid model is refused; that an axis fits the tensor
//! it is applied to is the operator's own check, when shapes are known.

use super::{label, subgraphs};
use crate::error::{self, Result};
use crate::model::Limits;
use std::collections::HashSet;
use tract_onnx::pb;

/// What the integers of an attribute may be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// Axes, counted from either end.
    Axis,
    /// Different axes.
    Axes,
    /// Every number from 0 on, once.
    Permutation,
    /// From the first to the second, both included.
    Range(i64, i64),
}

use Rule::{Axes, Axis, Permutation, Range};

/// The most of anything that is counted in elements along one axis.
const MOST: i64 = i32::MAX as i64;

const RULES: &[(&str, Rule)] = &[
    ("axes", Axes),
    ("axis", Axis),
    ("batch_axis", Axis),
    ("batch_dims", Range(0, 32)),
    ("block_size", Range(0, 1 << 20)),
    ("blocksize", Range(1, 1 << 12)),
    ("count_include_pad", Range(0, 1)),
    ("dilations", Range(1, MOST)),
    ("group", Range(1, MOST)),
    ("hidden_size", Range(1, MOST)),
    ("kernel_shape", Range(1, MOST)),
    ("kv_num_heads", Range(0, 1 << 16)),
    ("linear_before_reset", Range(0, 1)),
    ("num_groups", Range(1, MOST)),
    ("num_heads", Range(0, 1 << 16)),
    ("num_outputs", Range(1, 1 << 16)),
    ("output_height", Range(0, 1 << 16)),
    ("output_padding", Range(0, MOST)),
    ("output_width", Range(0, 1 << 16)),
    ("pads", Range(-MOST, MOST)),
    ("perm", Permutation),
    ("q_num_heads", Range(0, 1 << 16)),
    ("sampling_ratio", Range(0, 1 << 12)),
    ("scan_input_axes", Axis),
    ("scan_input_directions", Range(0, 1)),
    ("scan_output_axes", Axis),
    ("scan_output_directions", Range(0, 1)),
    ("split", Range(0, i64::MAX)),
    ("strides", Range(1, MOST)),
    ("time_axis", Axis),
];

/// The most letters that an Einsum may name: the importer's work grows with
/// their number.
const MOST_LETTERS: usize = 24;

pub(super) fn check(graph: &pb::GraphProto, limits: &Limits) -> Result<()> {
    for node in &graph.node {
        if matches!(node.domain.as_str(), "" | "ai.onnx") {
            check_node(node, limits).map_err(|e| e.at(label(node)))?;
        }
        subgraphs(node).try_for_each(|graph| check(graph, limits))?;
    }
    Ok(())
}

fn check_node(node: &pb::NodeProto, limits: &Limits) -> Result<()> {
    let mut seen = HashSet::new();
    for attribute in &node.attribute {
        let name = attribute.name.as_str();
        if !seen.insert(name) {
            return Err(error::invalid_model(format!("attribute {name:?} is there twice")));
        }
        if let Some((_, rule)) = RULES.iter().find(|(n, _)| *n == name) {
            check_rule(attribute, *rule, limits)?;
        }
    }
    check_window(node)?;
    match node.op_type.as_str() {
        "Scan" => check_scan(node),
        "Einsum" => check_einsum(node),
        _ => Ok(()),
    }
}

fn get<'a>(node: &'a pb::NodeProto, name: &str) -> Option<&'a pb::AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// The integers of an attribute, one or several.
fn integers(attribute: &pb::AttributeProto) -> &[i64] {
    use pb::attribute_proto::AttributeType;
    match AttributeType::try_from(attribute.r#type) {
        Ok(AttributeType::Int) => std::slice::from_ref(&attribute.i),
        _ => &attribute.ints,
    }
}

fn check_rule(attribute: &pb::AttributeProto, rule: Rule, limits: &Limits) -> Result<()> {
    let name = attribute.name.as_str();
    let values = integers(attribute);
    let rank = i64::try_from(limits.rank).unwrap_or(i64::MAX);
    let wrong = |value: i64, expected: String| {
        Err(error::invalid_model(format!("{name} is {value}: expected {expected}")))
    };
    let (low, high) = match rule {
        Axis | Axes => (-rank, rank),
        Permutation => (0, values.len() as i64 - 1),
        Range(low, high) => (low, high),
    };
    if matches!(rule, Axes | Permutation) {
        let what = format_args!("number of {name}");
        Limits::within(what, values.len() as u64, "max_rank", limits.rank)?;
    }
    if let Some(value) = values.iter().find(|v| !(low..=high).contains(*v)) {
        return wrong(*value, format!("{low} to {high}"));
    }
    if matches!(rule, Axes | Permutation) {
        let mut seen = HashSet::new();
        if let Some(twice) = values.iter().find(|v| !seen.insert(**v)) {
            return wrong(*twice, format!("each once, in {values:?}"));
        }
    }
    Ok(())
}

/// A sliding window says the same number of axes everywhere.
fn check_window(node: &pb::NodeProto) -> Result<()> {
    let length = |name| get(node, name).map(|a| a.ints.len());
    // These take their window's rank from the attributes; for a convolution
    // that gives no kernel_shape it is the weight's.
    let windowed =
        ["Conv", "ConvInteger", "ConvTranspose", "QLinearConv", "MaxPool", "AveragePool"];
    if !windowed.contains(&node.op_type.as_str()) && node.op_type != "LpPool" {
        return Ok(());
    }
    let mut known = None;
    for (name, per_axis) in
        [("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("output_padding", 1), ("pads", 2)]
    {
        let Some(length) = length(name).filter(|n| *n > 0) else { continue };
        let whole = length % per_axis == 0;
        if !whole || *known.get_or_insert(length / per_axis) != length / per_axis {
            let axes = known.map_or(String::new(), |n| format!(", for {n} axes"));
            return Err(error::invalid_model(format!(
                "{name} has {length} values: expected {per_axis} an axis{axes}"
            )));
        }
    }
    Ok(())
}

fn check_scan(node: &pb::NodeProto) -> Result<()> {
    let Some(count) = get(node, "num_scan_inputs").map(|a| a.i) else {
        return Ok(());
    };
    let inputs = node.input.len() as i64;
    if !(1..=inputs).contains(&count) {
        return Err(error::invalid_model(format!(
            "num_scan_inputs is {count}: expected 1 to {inputs}, the node's inputs"
        )));
    }
    Ok(())
}

fn check_einsum(node: &pb::NodeProto) -> Result<()> {
    let equation = get(node, "equation").map_or(&[][..], |a| &a.s);
    let letters: HashSet<u8> = equation.iter().copied().filter(u8::is_ascii_alphabetic).collect();
    if letters.len() > MOST_LETTERS || equation.len() > 1024 {
        return Err(error::limit_exceeded(format!(
            "equation names {} letters in {} bytes: expected at most {MOST_LETTERS} in 1024",
            letters.len(),
            equation.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::attribute_proto::AttributeType;

    fn ints(name: &str, values: &[i64]) -> pb::AttributeProto {
        pb::AttributeProto {
            name: name.into(),
            r#type: AttributeType::Ints as i32,
            ints: values.to_vec(),
            ..Default::default()
        }
    }

    fn int(name: &str, value: i64) -> pb::AttributeProto {
        pb::AttributeProto {
            name: name.into(),
            r#type: AttributeType::Int as i32,
            i: value,
            ..Default::default()
        }
    }

    fn refusal(op: &str, attribute: Vec<pb::AttributeProto>) -> Option<String> {
        let node = pb::NodeProto {
            op_type: op.into(),
            name: "n".into(),
            input: vec!["x".into(), "y".into()],
            attribute,
            ..Default::default()
        };
        let graph = pb::GraphProto { node: vec![node], ..Default::default() };
        check(&graph, &Limits::default()).err().map(|e| e.detail().to_owned())
    }

    #[test]
    fn rules_are_sorted_and_each_there_once() {
        assert!(RULES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn what_any_operator_takes_passes() {
        for (op, attributes) in [
            ("Conv", vec![ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])]),
            ("Transpose", vec![ints("perm", &[2, 0, 1])]),
            ("Softmax", vec![int("axis", -1)]),
            ("Squeeze", vec![ints("axes", &[-1, 0])]),
            ("Scan", vec![int("num_scan_inputs", 2)]),
        ] {
            assert_eq!(refusal(op, attributes), None, "{op}");
        }
    }

    #[test]
    fn what_none_takes_is_refused_with_node_name_and_value() {
        for (op, attribute, part) in [
            ("LayerNormalization", int("axis", 1 << 40), "1099511627776"),
            ("LayerNormalization", int("axis", i64::MIN), "axis"),
            ("Conv", ints("pads", &[1 << 31, 0, 0, 0]), "2147483648"),
            ("Conv", ints("dilations", &[1 << 40, 1]), "dilations"),
            ("MaxPool", ints("strides", &[0, 1]), "strides is 0"),
            ("Transpose", ints("perm", &[0, 0, 1]), "each once"),
            ("Transpose", ints("perm", &[0, 3, 1]), "0 to 2"),
            ("Squeeze", ints("axes", &[1, 1]), "each once"),
            ("Scan", int("num_scan_inputs", 1 << 50), "1 to 2"),
            ("Scan", int("num_scan_inputs", -1), "1 to 2"),
        ] {
            let text = refusal(op, vec![attribute]).unwrap_or_default();
            assert!(text.contains(part) && text.contains("\"n\""), "{op}: {text}");
        }
        let uneven = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[1])];
        assert!(refusal("MaxPool", uneven).unwrap().contains("strides has 1"));
        let short = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1])];
        assert!(refusal("Conv", short).unwrap().contains("pads has 2"));
        assert!(refusal("Conv", vec![int("group", 1), int("group", 1)]).unwrap().contains("twice"));
    }
}
