//! Operators over tract's: what it lacks, and what it computes wrongly.
//!
//! [`register`] adds builders to tract's register (a later one replaces an
//! earlier one of the same name); [`rewrite`] mends a graph before tract reads
//! it. Operators with no right composition of tract's own are [`native`]
//! kernels, one family a file.

mod absorb;
mod arrays;
mod attention;
mod attrs;
mod bodies;
mod cells;
mod classic;
mod contrib;
mod det;
mod dft;
mod elementwise;
mod loops;
mod losses;
mod mended;
mod ml;
mod native;
mod norms;
mod pools;
mod qlayer;
mod qnode;
mod qscale;
mod quant;
mod qweights;
mod ranked;
mod recur;
mod recurrent;
mod reduce;
mod rewrite;
mod sequences;
mod simplify;
mod slices;
mod streaming;
mod strings;
mod tfidf;
mod training;
mod trees;
mod unique;
mod values;
mod vision;
mod wired;

pub(crate) use absorb::absorb_moves;
pub(super) use contrib::EXPANDED;
pub(crate) use native::extreme;
pub(crate) use qlayer::{Given, Integers, QLayer};
pub(super) use qscale::fold;
pub(crate) use qscale::{Dequantize, DynamicQuantize, Quantize};
pub(crate) use recur::{Operands, Recur, shared};
pub(super) use values::scalar;

use crate::error::Result;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::tract_core::optim::Optimizer;

/// Whether wiring an operator says what comes of typed inputs, so that its rules, which wire
/// it to find that, need not be asked before.
pub(super) fn is_wired(op: &dyn InferenceOp) -> bool {
    let op = op.as_op().downcast_ref::<Box<dyn Expansion>>();
    let op = op.map(|op| op.as_ref());
    op.is_some_and(|op| wired::is_recipe(op) || qnode::is_layer_or_recipe(op))
}

type Builder = fn(&ParsingContext, &NodeProto) -> native::Built;

/// Every operator that we build ourselves.
const BUILDERS: &[(&str, Builder)] = &[
    ("Adagrad", training::optimizer),
    ("Adam", training::optimizer),
    ("AffineGrid", vision::affine_grid),
    ("Attention", attention::attention),
    ("BatchNormalization", training::batch_norm),
    ("Binarizer", ml::binarizer),
    ("BitCast", elementwise::bit_cast),
    ("BitShift", elementwise::bit_shift),
    ("CausalConvWithState", streaming::causal_conv),
    ("Celu", elementwise::celu),
    ("CenterCropPad", arrays::center_crop_pad),
    ("Col2Im", pools::col2im),
    ("Compress", arrays::compress),
    ("ConstantOfShape", mended::constant_of_shape),
    ("Conv", qnode::conv),
    ("ConvInteger", qnode::conv),
    ("ConvTranspose", mended::widened),
    ("CumProd", arrays::cum_prod),
    ("DeformConv", vision::deform_conv),
    (contrib::NOW, quant::dequantize),
    ("DequantizeLinear", quant::dequantize),
    ("Det", det::det),
    ("DFT", dft::dft),
    ("DynamicQuantizeLinear", quant::dynamic_quantize),
    ("FeatureVectorizer", ml::feature_vectorizer),
    ("FlexAttention", bodies::flex_attention),
    ("GatherND", ranked::gather_nd),
    ("Gemm", qnode::product),
    ("GRU", recurrent::recurrent),
    ("Imputer", ml::imputer),
    ("LabelEncoder", ml::label_encoder),
    ("LayerNormalization", norms::layer_norm),
    ("LinearAttention", streaming::linear_attention),
    ("Loop", loops::onnx_loop),
    ("LpPool", pools::lp_pool),
    ("LSTM", recurrent::recurrent),
    ("MatMul", qnode::product),
    ("MatMulInteger", qnode::product),
    ("MatMulNBits", ranked::mat_mul_n_bits),
    ("MaxUnpool", pools::max_unpool),
    ("Momentum", training::optimizer),
    ("NegativeLogLikelihoodLoss", losses::negative_log_likelihood),
    ("OneHot", mended::one_hot),
    ("OneHotEncoder", ml::one_hot_encoder),
    ("Pad", slices::pad),
    ("PRelu", mended::prelu),
    ("QLinearConv", qnode::conv),
    ("QLinearMatMul", qnode::product),
    ("QuantizeLinear", quant::quantize),
    ("ReduceMax", reduce::extreme),
    ("ReduceMin", reduce::extreme),
    ("Resize", mended::resize),
    ("ReverseSequence", arrays::reverse_sequence),
    ("RMSNormalization", ranked::normalization),
    ("RNN", recurrent::recurrent),
    ("RoiAlign", vision::roi_align),
    ("Scaler", ml::scaler),
    ("Scan", bodies::scan),
    ("SimplifiedLayerNormalization", ranked::normalization),
    ("Slice", slices::slice),
    ("Softmax", mended::widened),
    ("SoftmaxCrossEntropyLoss", losses::softmax_cross_entropy),
    ("SpaceToDepth", mended::space_to_depth),
    ("STFT", ranked::stft),
    ("Squeeze", classic::squeeze),
    ("StringConcat", strings::string_concat),
    ("StringNormalizer", strings::string_normalizer),
    ("StringSplit", strings::string_split),
    ("SwiGLU", elementwise::swiglu),
    ("Swish", elementwise::swish),
    ("TensorScatter", streaming::tensor_scatter),
    ("TfIdfVectorizer", tfidf::tf_idf),
    ("TreeEnsemble", trees::tree_ensemble),
    ("TreeEnsembleRegressor", trees::tree_regressor),
    ("Unique", unique::unique),
    ("Upsample", mended::upsample),
];

/// Registers our operators over tract's: missing ones are added, wrong ones replaced.
pub(crate) fn register(reg: &mut OnnxOpRegister) {
    for (name, builder) in BUILDERS {
        reg.insert(name, *builder);
    }
}

/// Operators that [`rewrite`] resolves before tract sees the graph.
const RESOLVED: &[&str] = &[
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SplitToSequence",
];

/// Names of the operators that [`register`] and [`rewrite`] provide.
pub(crate) const OWN_OPS: &[&str] = &{
    let mut names = [""; BUILDERS.len() + RESOLVED.len()];
    let mut ix = 0;
    while ix < names.len() {
        names[ix] =
            if ix < BUILDERS.len() { BUILDERS[ix].0 } else { RESOLVED[ix - BUILDERS.len()] };
        ix += 1;
    }
    names
};

/// Rewrites a graph (and its subgraphs) before tract parses it: expands what has
/// a simpler spelling, and refuses what tract would compute wrongly.
pub(crate) fn rewrite(graph: &mut GraphProto, opset: i64) -> Result<()> {
    rewrite::graph(graph, opset)
}

/// Steps that an optimisation may take: some of tract's passes undo each other
/// for ever. Stopped early, a graph is right and runs, a little slower.
fn steps(model: &TypedModel) -> usize {
    1_000 + 50 * model.nodes().len()
}

/// Brings a graph into tract's simplest form, in a bounded number of steps.
pub(crate) fn declutter(model: &mut TypedModel) -> TractResult<()> {
    let steps = steps(model);
    simplify::optimize(&Optimizer::declutter().stopping_at(steps), model, steps)
}

/// Computes what is constant.
pub(super) fn constants(model: &mut TypedModel) -> TractResult<()> {
    let is_known = |outlet: &OutletId| model.outlet_fact(*outlet).is_ok_and(|f| f.konst.is_some());
    let may_change = |node: &TypedNode| match node.op_is::<Const>() {
        true => !is_known(&node.id.into()),
        false => !node.op_is::<TypedSource>() && node.inputs.iter().all(is_known),
    };
    if !model.nodes.iter().any(may_change) {
        return Ok(());
    }
    let steps = steps(model);
    simplify::optimize(&Optimizer::prop_consts().stopping_at(steps), model, steps)
}

/// Brings some of the nodes into a simpler form, each by itself, and computes what is
/// constant then; whether anything changed.
pub(crate) fn simplify_some(model: &mut TypedModel, wanted: &[usize]) -> TractResult<bool> {
    let changed = simplify::simplify_some(model, wanted)?;
    if changed {
        constants(model)?;
    }
    Ok(changed)
}

/// Picks tract's kernels for a simplified graph, in a bounded number of steps.
pub(crate) fn codegen(model: &mut TypedModel) -> TractResult<()> {
    let codegen = Optimizer::codegen().stopping_at(steps(model));
    model.optimize_with_session(&mut codegen.session())
}

/// A body, simplified and with its kernels.
pub(super) fn optimize(mut model: TypedModel) -> TractResult<TypedModel> {
    declutter(&mut model)?;
    codegen(&mut model)?;
    Ok(model)
}
