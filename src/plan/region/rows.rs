//! Along rows: softmax, norms, reductions.

use super::lower::{Context, Lowered, Ref, floats};
use super::ops::{Norm, Op};
use crate::kernels::Reduce as Reduction;
use crate::model;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};

/// The elements before, along and after neighbouring axes of `dims`.
fn around(dims: &[usize], axes: &[usize]) -> Option<[usize; 3]> {
    let (first, last) = (*axes.iter().min()?, *axes.iter().max()?);
    let between = |from: usize, to: usize| dims.get(from..to).map(|d| d.iter().product());
    // What is between has to be reduced, too, or be one.
    let skipped = (first..=last).filter(|a| !axes.contains(a));
    if skipped.clone().any(|a| dims.get(a) != Some(&1)) {
        return None;
    }
    Some([between(0, first)?, between(first, last + 1)?, between(last + 1, dims.len())?])
}

/// Where axes of the graph lie.
fn laid(context: &Context, axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|axis| context.axis(*axis)).collect()
}

fn softmax(context: &Context, dims: &[usize], op: &Softmax) -> Option<Op> {
    let log = op.kind == SoftmaxKind::LogSoftmax;
    if op.quant_output_dt.is_some() {
        return None;
    }
    match around(dims, &laid(context, &op.axes))? {
        [_, n, 1] => Some(Op::Softmax { n, log }),
        strided if !log => Some(Op::SoftmaxStrided(strided)),
        _ => None,
    }
}

fn reduce(context: &Context, dims: &[usize], op: &Reduce) -> Option<Op> {
    let reduction = match op.reducer {
        Reducer::Sum => Reduction::Sum,
        Reducer::Max => Reduction::Max,
        Reducer::Min => Reduction::Min,
        Reducer::Prod => Reduction::Prod,
        Reducer::MeanOfSquares => Reduction::MeanSquare,
        _ => return None,
    };
    Some(Op::Reduce { op: reduction, dims: around(dims, &laid(context, &op.axes))? })
}

fn extreme(context: &Context, dims: &[usize]) -> Option<Op> {
    let facts = (0..context.node.inputs.len()).map(|at| context.input_fact(at));
    let facts = facts.collect::<Option<Vec<_>>>()?;
    let (is_largest, axes) = model::extreme(&*context.node.op, &facts)?;
    // What loses an axis is no image any more.
    let rank = context.node.outputs.first()?.fact.rank();
    if context.channels_last && rank != facts.first()?.rank() {
        return None;
    }
    let op = if is_largest { Reduction::Max } else { Reduction::Min };
    Some(Op::Reduce { op, dims: around(dims, &laid(context, &axes))? })
}

/// Along whatever axis: where it is not the last one, by way of an order in which it
/// is.
fn rms_norm(context: &Context, dims: &[usize], op: &RmsNorm) -> Option<Lowered> {
    let [eps] = floats(&op.eps)? else { return None };
    let [outer, n, inner] = around(dims, &[context.axis(op.axis)])?;
    let (is_centred, gamma, beta) = (false, None, None);
    let norm = Op::Norm(Norm { n, eps: *eps, is_centred, gamma, beta });
    let (mut lowered, len) = (Lowered::default(), outer * n * inner);
    let mut value = Ref::Input(0);
    if inner > 1 {
        let turn = Op::permute(&[outer, n, inner], &[0, 2, 1]);
        value = lowered.step(turn, vec![value], len);
    }
    value = lowered.step(norm, vec![value], len);
    if inner > 1 {
        let back = Op::permute(&[outer, inner, n], &[0, 2, 1]);
        value = lowered.step(back, vec![value], len);
    }
    lowered.outputs.push(value);
    Some(lowered)
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let dims = context.input(0)?;
    let node = context.node;
    let op = if let Some(op) = node.op_as::<Softmax>() {
        softmax(context, &dims, op)?
    } else if let Some(op) = node.op_as::<Reduce>() {
        reduce(context, &dims, op)?
    } else if let Some(op) = extreme(context, &dims) {
        op
    } else {
        return rms_norm(context, &dims, node.op_as::<RmsNorm>()?);
    };
    Some(Lowered::one(op, vec![Ref::Input(0)], context.output(0)?.iter().product()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_are_neighbours_are_one() {
        assert_eq!(around(&[2, 3, 4], &[1]), Some([2, 3, 4]));
        assert_eq!(around(&[2, 3, 4, 5], &[2, 1]), Some([2, 12, 5]));
        assert_eq!(around(&[2, 3, 1, 5], &[1, 3]), Some([2, 15, 1]));
        assert_eq!(around(&[2, 3, 4, 5], &[1, 3]), None);
        assert_eq!(around(&[2], &[1]), None);
        assert_eq!(around(&[2], &[]), None);
    }
}
