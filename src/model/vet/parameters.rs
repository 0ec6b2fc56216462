//! Parameters that come as constant inputs: counts, sizes, scales, steps.
//!
//! What a model gives as an attribute in one opset it gives as an input in the
//! next. Where such an input is a constant, its values are held to the range in
//! which the importer computes: it narrows sizes to 32 bits in places.

use super::{label, subgraphs};
use crate::error::{self, Result};
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::pb;
use tract_onnx::prelude::{Datum, Tensor};

/// What the values of an input may be.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Integers from the first to the second.
    Integers(i64, i64),
    /// Integers other than 0.
    NotZero,
    /// Finite numbers above 0, at most this.
    Scale(f64),
    /// Exactly one value.
    One,
}

use Rule::{Integers, NotZero, One, Scale};

const MOST: i64 = i32::MAX as i64;

const RULES: &[(&str, usize, Rule)] = &[
    ("Clip", 1, One),
    ("Clip", 2, One),
    ("ConstantOfShape", 0, Integers(0, MOST)),
    ("CumProd", 1, One),
    ("CumSum", 1, Integers(-32, 32)),
    ("CumSum", 1, One),
    ("DFT", 1, One),
    ("DFT", 2, One),
    ("Dropout", 1, One),
    ("Dropout", 2, One),
    ("Expand", 1, Integers(-1, MOST)),
    ("If", 0, One),
    ("Loop", 0, One),
    ("Loop", 1, One),
    ("MelWeightMatrix", 0, One),
    ("MelWeightMatrix", 1, One),
    ("MelWeightMatrix", 2, One),
    ("MelWeightMatrix", 3, One),
    ("MelWeightMatrix", 4, One),
    ("OneHot", 1, Integers(0, MOST)),
    ("OneHot", 1, One),
    ("Pad", 1, Integers(-MOST, MOST)),
    ("Pad", 2, One),
    ("Range", 0, One),
    ("Range", 1, One),
    ("Range", 2, NotZero),
    ("Range", 2, One),
    ("Reshape", 1, Integers(-1, i64::MAX)),
    ("Resize", 2, Scale(65536.0)),
    ("Resize", 3, Integers(0, MOST)),
    ("STFT", 1, Integers(1, MOST)),
    ("STFT", 1, One),
    ("STFT", 3, Integers(1, MOST)),
    ("STFT", 3, One),
    ("Slice", 4, NotZero),
    ("Split", 1, Integers(0, MOST)),
    ("Tile", 1, Integers(0, MOST)),
    ("TopK", 1, Integers(0, MOST)),
    ("TopK", 1, One),
    ("Trilu", 1, One),
    ("Upsample", 1, Scale(65536.0)),
];

/// Checks every constant parameter of a graph whose weights were taken out.
pub(in crate::model) fn check(
    graph: &pb::GraphProto,
    weights: &HashMap<String, Arc<Tensor>>,
) -> Result<()> {
    for node in &graph.node {
        if matches!(node.domain.as_str(), "" | "ai.onnx") {
            for (op, input, rule) in RULES.iter().filter(|(op, ..)| *op == node.op_type) {
                let name = node.input.get(*input).map_or("", String::as_str);
                if let Some(value) = weights.get(name) {
                    check_value(value, *rule).map_err(|e| {
                        e.at(format_args!("{}: input {input} of {op}, {name:?}", label(node)))
                    })?;
                }
            }
        }
        // The weights of sub-graphs are where they were; what they take from
        // outside is checked.
        subgraphs(node).try_for_each(|graph| check(graph, weights))?;
    }
    Ok(())
}

fn check_value(value: &Tensor, rule: Rule) -> Result<()> {
    // (Of dtypes that are no numbers nothing is said here.)
    let wrong = match rule {
        One => (value.len() != 1).then(|| (value.len().to_string(), "one value".to_owned())),
        NotZero => first(value, |v: f64| v == 0.0).map(|v| (v, "another number".to_owned())),
        Scale(most) => first(value, |v: f64| !(v > 0.0 && v <= most))
            .map(|v| (v, format!("more than 0, at most {most}"))),
        Integers(low, high) => first(value, |v: i64| !(low..=high).contains(&v))
            .map(|v| (v, format!("{low} to {high}"))),
    };
    match wrong {
        Some((value, expected)) => {
            Err(error::invalid_model(format!("{value} given: expected {expected}")))
        }
        None => Ok(()),
    }
}

/// The first of a tensor's numbers that is `wrong`.
fn first<T: Datum + Copy>(value: &Tensor, wrong: impl Fn(T) -> bool) -> Option<String> {
    let cast = value.cast_to::<T>().ok()?;
    let view = cast.to_plain_array_view::<T>().ok()?;
    view.iter().find(|v| wrong(**v)).map(T::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::prelude::tensor1;

    fn refusal(op: &str, input: usize, value: Tensor) -> Option<String> {
        let mut inputs = vec![String::new(); input];
        inputs.push("w".into());
        let node = pb::NodeProto {
            op_type: op.into(),
            name: "n".into(),
            input: inputs,
            ..Default::default()
        };
        let graph = pb::GraphProto { node: vec![node], ..Default::default() };
        let weights = HashMap::from([("w".to_owned(), Arc::new(value))]);
        check(&graph, &weights).err().map(|e| e.detail().to_owned())
    }

    #[test]
    fn what_no_tensor_has_is_refused_with_node_and_value() {
        assert!(RULES.is_sorted_by(|a, b| (a.0, a.1) <= (b.0, b.1)));
        assert_eq!(refusal("Tile", 1, tensor1(&[2i64, 3])), None);
        let text = refusal("Tile", 1, tensor1(&[1i64 << 33])).unwrap();
        assert!(text.contains("8589934592") && text.contains("\"n\""), "{text}");
        for scale in [f32::NAN, f32::INFINITY, -2.0, 0.0, (1u64 << 62) as f32] {
            assert!(refusal("Resize", 2, tensor1(&[1.0, scale])).is_some(), "{scale}");
        }
        assert_eq!(refusal("Resize", 2, tensor1(&[1.0f32, 0.5, 8.0])), None);
        assert!(refusal("Slice", 4, tensor1(&[0i64])).is_some());
        assert!(refusal("Range", 2, tensor1(&[0.0f32])).is_some());
        assert_eq!(refusal("Range", 2, tensor1(&[0.5f32])), None);
    }
}
