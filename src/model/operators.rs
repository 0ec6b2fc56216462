//! Which operators there are, by domain, and the list of those a model misses.

use super::{lower, vet};
use crate::error::{self, Result};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use tract_onnx::Onnx;
use tract_onnx::pb;

/// Contributed operators that tract implements under their own names.
const MICROSOFT: &[&str] = &[
    "BiasGelu",
    "FastGelu",
    "GatherBlockQuantized",
    "Gelu",
    "GroupQueryAttention",
    "MatMulNBits",
    "MultiHeadAttention",
    "QuickGelu",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];

/// Operators of `ai.onnx.ml`, those that nobody implements yet among them.
const ML: &[&str] = &[
    "ArrayFeatureExtractor",
    "Binarizer",
    "CastMap",
    "CategoryMapper",
    "DictVectorizer",
    "FeatureVectorizer",
    "Imputer",
    "LabelEncoder",
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "OneHotEncoder",
    "SVMClassifier",
    "SVMRegressor",
    "Scaler",
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    "ZipMap",
];

/// Operators of ONNX's preview domains.
const PREVIEW: &[&str] = &["Adagrad", "Adam", "FlexAttention", "Momentum"];

/// Names in tract's register that are not of the default domain. (ONNX Runtime
/// writes `SimplifiedLayerNormalization` there all the same.)
const NOT_DEFAULT: &[&str] = &[
    "BiasGelu",
    "FastGelu",
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "MatMulNBits",
    "MultiHeadAttention",
    "QuickGelu",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];

/// The importer with our operators over tract's. Made once.
pub(super) fn framework() -> &'static Onnx {
    static FRAMEWORK: OnceLock<Onnx> = OnceLock::new();
    FRAMEWORK.get_or_init(|| {
        let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
        lower::register(&mut onnx.op_register);
        super::branch::register(&mut onnx.op_register);
        onnx
    })
}

/// Refuses a graph with operators we do not have: all of them, with their
/// nodes.
pub(super) fn check(graph: &pb::GraphProto) -> Result<()> {
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    collect(graph, &mut missing);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.iter().map(|(operator, nodes)| {
        let shown = nodes.iter().take(4).map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
        let more = nodes.len().saturating_sub(4);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{operator} (node {shown}{more})")
    });
    Err(error::unsupported(format!(
        "{} operators are not supported: {}",
        missing.len(),
        list.collect::<Vec<_>>().join("; ")
    )))
}

fn collect(graph: &pb::GraphProto, missing: &mut BTreeMap<String, Vec<String>>) {
    for node in &graph.node {
        if !known(&node.domain, &node.op_type) {
            let operator = match node.domain.as_str() {
                "" => node.op_type.clone(),
                domain => format!("{domain}.{}", node.op_type),
            };
            let name = [&node.name].into_iter().chain(&node.output).find(|n| !n.is_empty());
            missing.entry(operator).or_default().push(name.cloned().unwrap_or_default());
        }
        for inner in vet::subgraphs(node) {
            collect(inner, missing);
        }
    }
}

fn known(domain: &str, operator: &str) -> bool {
    let registered =
        || framework().op_register.0.contains_key(operator) || lower::OWN_OPS.contains(&operator);
    match domain {
        "" | "ai.onnx" => {
            registered()
                && !NOT_DEFAULT.contains(&operator)
                && !ML.contains(&operator)
                && !PREVIEW.contains(&operator)
        }
        "ai.onnx.ml" => registered() && ML.contains(&operator),
        "ai.onnx.preview" | "ai.onnx.preview.training" => {
            registered() && PREVIEW.contains(&operator)
        }
        "com.microsoft" => MICROSOFT.contains(&operator) || lower::EXPANDED.contains(&operator),
        _ => false,
    }
}
