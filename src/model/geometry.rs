//! Dims that tract's operators take on trust, checked where they are known,
//! before anything is simplified.
//!
//! A tensor smaller than the window that slides over it is computed with all the
//! same, in the worst case outside its memory; factors of different lengths are
//! multiplied past the end of one; an empty constant in arithmetic is read as a
//! scalar; nothing is repeated as often as it is asked for.

use crate::error::{self, Result};
use tract_onnx::prelude::{TypedModel, TypedNode};
use tract_onnx::tract_core::internal::{DimLike, TypedFact};
use tract_onnx::tract_core::ops::array::Tile;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;

/// Refuses every convolution or pooling whose window does not fit its input, and
/// arithmetic with a constant of no elements, or of dims that do not go together.
pub(super) fn check(graph: &TypedModel) -> Result<()> {
    for node in &graph.nodes {
        check_operands(graph, node)?;
        check_tile(graph, node)?;
        check_sums(graph, node)?;
        let Some(spec) = pool_spec(node) else { continue };
        let Ok(fact) = graph.outlet_fact(node.inputs[0]) else { continue };
        check_window(node, spec, fact)?;
    }
    Ok(())
}

fn check_operands(graph: &TypedModel, node: &TypedNode) -> Result<()> {
    if !node.op_is::<TypedBinOp>() {
        return Ok(());
    }
    for (at, input) in node.inputs.iter().enumerate() {
        let Ok(fact) = graph.outlet_fact(*input) else { continue };
        if fact.konst.as_ref().is_some_and(|k| k.len() == 0) {
            return Err(error::unsupported(format!(
                "{node}: input {at} is a constant of dims {:?}: expected elements",
                fact.shape
            )));
        }
    }
    let facts = node.inputs.iter().map(|input| graph.outlet_fact(*input).ok());
    let [Some(a), Some(b)] = facts.collect::<Vec<_>>()[..] else { return Ok(()) };
    for (axis, sides) in a.shape.iter().zip(b.shape.iter()).enumerate() {
        let (Ok(x), Ok(y)) = (sides.0.to_i64(), sides.1.to_i64()) else { continue };
        if x != y && x != 1 && y != 1 {
            return Err(error::shape_mismatch(format!(
                "{node}: operands of {x} and {y} elements along axis {axis}: expected as many, \
                 or 1"
            )));
        }
    }
    Ok(())
}

/// How often nothing may be repeated.
const MOST_REPEATS: usize = 1 << 20;

/// Whether a tiling copies something, or repeats nothing no more than a while.
pub(crate) fn tiles_in_time(dims: &[usize], multipliers: &[usize]) -> bool {
    let elements = dims.iter().chain(multipliers).fold(1, |n: usize, d| n.saturating_mul(*d));
    let repeats = multipliers.iter().fold(1, |n: usize, m| n.saturating_mul((*m).max(1)));
    elements > 0 || repeats <= MOST_REPEATS
}

fn check_tile(graph: &TypedModel, node: &TypedNode) -> Result<()> {
    let Some(op) = node.op_as::<Tile>() else { return Ok(()) };
    let multipliers: Option<Vec<usize>> =
        op.multipliers.iter().map(|m| m.to_usize().ok()).collect();
    let fact = node.inputs.first().and_then(|i| graph.outlet_fact(*i).ok());
    let (Some(multipliers), Some(fact)) = (multipliers, fact) else { return Ok(()) };
    let Some(dims) = fact.shape.as_concrete() else { return Ok(()) };
    if tiles_in_time(dims, &multipliers) {
        return Ok(());
    }
    Err(error::limit_exceeded(format!(
        "{node}: dims {dims:?} repeated {multipliers:?} times, to no elements: expected at most \
         {MOST_REPEATS} repeats"
    )))
}

/// An axis that is summed over has the same length in every factor.
fn check_sums(graph: &TypedModel, node: &TypedNode) -> Result<()> {
    let Some(op) = node.op_as::<EinSum>() else { return Ok(()) };
    for axis in op.axes.iter_all_axes().filter(|a| a.outputs.iter().all(|o| o.is_empty())) {
        let mut length = None;
        for (slot, places) in axis.inputs.iter().enumerate() {
            let (Some(at), Some(outlet)) = (places.first(), node.inputs.get(slot)) else {
                continue;
            };
            let Ok(fact) = graph.outlet_fact(*outlet) else { continue };
            let Some(Ok(dim)) = fact.shape.get(*at).map(|d| d.to_i64()) else { continue };
            if *length.get_or_insert(dim) != dim {
                return Err(error::shape_mismatch(format!(
                    "{node}: input {slot} has {dim} elements along axis {at}, another has {}: \
                     expected as many",
                    length.unwrap_or(0)
                )));
            }
        }
    }
    Ok(())
}

fn pool_spec(node: &TypedNode) -> Option<&PoolSpec> {
    let conv = node.op_as::<Conv>().map(|c| &c.pool_spec);
    let pool = conv.or_else(|| node.op_as::<MaxPool>().map(|p| &p.pool_spec));
    pool.or_else(|| node.op_as::<SumPool>().map(|p| &p.pool_spec))
}

fn check_window(node: &TypedNode, spec: &PoolSpec, input: &TypedFact) -> Result<()> {
    let Ok(shape) = spec.data_format.shape(input.shape.to_tvec()) else { return Ok(()) };
    for (axis, dim) in shape.hw_dims().iter().enumerate() {
        let Ok(dim) = dim.to_i64() else { continue };
        let Some(kernel) = spec.kernel_shape.get(axis).map(|k| *k as i128) else { continue };
        let dilation = spec.dilations.as_ref().and_then(|d| d.get(axis)).map_or(1, |d| *d as i128);
        let pads = match &spec.padding {
            PaddingSpec::Explicit(before, after)
            | PaddingSpec::ExplicitOnnxPool(before, after, _) => {
                let at = |pads: &[usize]| pads.get(axis).map_or(0, |p| *p as i128);
                at(before) + at(after)
            }
            PaddingSpec::Valid => 0,
            // These pad until it fits.
            PaddingSpec::SameUpper | PaddingSpec::SameLower => continue,
        };
        let window = (kernel - 1) * dilation + 1;
        if i128::from(dim) + pads < window {
            return Err(error::shape_mismatch(format!(
                "{node}: axis {axis} of the input has {dim} elements, {} with its pads: expected \
                 at least {window}, the window",
                i128::from(dim) + pads
            )));
        }
    }
    Ok(())
}
