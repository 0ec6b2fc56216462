//! Indices that come from values, checked before they reach an operator.
//!
//! tract's Gather family trusts its indices: one past the end reads the next
//! row, or wraps around in a release build, and the run answers wrongly. Each
//! step that takes such indices is found when a program is compiled, and its
//! indices are checked against the dims they run over at every run.

use crate::model::tiles_in_time;
use tract_onnx::prelude::{TValue, TractResult, TypedModel, TypedNode};
use tract_onnx::tract_core::internal::{bail, ensure};
use tract_onnx::tract_core::ops::array::{
    DynTile, Gather, GatherElements, GatherNd, Range, ScatterElements, ScatterNd, Topk,
};

/// How the indices of a step (always its input 1) run over its input 0.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Each is an index along this axis; negative ones count from the end.
    Axis(usize),
    /// The last dim holds coordinates of the dims after this many.
    Coordinates(usize),
    /// One number, of elements to take along this axis.
    Count(usize),
    /// How often each axis is repeated.
    Repeats,
    /// No indices: three inputs of one number each.
    Range,
}

/// The steps of a program whose indices are checked, by node.
#[derive(Debug, Default)]
pub(crate) struct IndexChecks(Vec<Option<Rule>>);

impl IndexChecks {
    pub(super) fn of(graph: &TypedModel) -> IndexChecks {
        IndexChecks(graph.nodes.iter().map(rule).collect())
    }

    /// Refuses indices out of range.
    pub(super) fn check(&self, node: usize, inputs: &[TValue]) -> TractResult<()> {
        let Some(Some(rule)) = self.0.get(node) else { return Ok(()) };
        ensure!(inputs.len() >= 2, "no indices");
        if let Rule::Range = rule {
            ensure!(inputs.iter().all(|i| i.len() == 1), "expected one number each");
            return Ok(());
        }
        let (dims, indices) = (inputs[0].shape(), &inputs[1]);
        let cast = indices.cast_to::<i64>()?;
        let view = cast.to_plain_array_view::<i64>()?;
        match rule {
            Rule::Axis(axis) => {
                ensure!(*axis < dims.len(), "axis {axis} of rank {}", dims.len());
                view.iter().try_for_each(|i| in_range(*i, *axis, dims[*axis]))
            }
            Rule::Count(axis) => {
                ensure!(*axis < dims.len(), "axis {axis} of rank {}", dims.len());
                ensure!(indices.len() == 1, "expected one number");
                let most = dims[*axis] as i64;
                match view.iter().find(|n| !(0..=most).contains(*n)) {
                    Some(n) => bail!("{n} elements asked for: expected 0 to {most}"),
                    None => Ok(()),
                }
            }
            Rule::Range => Ok(()),
            Rule::Repeats => {
                let most: Option<Vec<usize>> =
                    view.iter().map(|m| usize::try_from(*m).ok()).collect();
                match most {
                    Some(m) if tiles_in_time(dims, &m) => Ok(()),
                    _ => bail!("dims {dims:?} cannot be repeated {view:?} times"),
                }
            }
            Rule::Coordinates(skipped) => {
                let Some(depth) = indices.shape().last() else { bail!("indices of rank 0") };
                ensure!(
                    skipped + depth <= dims.len(),
                    "coordinates of {depth} dims after {skipped}, of rank {}",
                    dims.len()
                );
                if *depth == 0 {
                    return Ok(());
                }
                let along = dims[*skipped..].iter().take(*depth).enumerate().cycle();
                view.iter()
                    .zip(along)
                    .try_for_each(|(i, (axis, dim))| in_range(*i, skipped + axis, *dim))
            }
        }
    }
}

/// Whether an index, negative ones counting from the end, is within an axis.
pub(super) fn in_range(index: i64, axis: usize, dim: usize) -> TractResult<()> {
    let dim = dim as i64;
    ensure!(
        (-dim..dim).contains(&index),
        "index {index} is out of range: expected {} to {} along axis {axis}",
        -dim,
        dim - 1
    );
    Ok(())
}

fn rule(node: &TypedNode) -> Option<Rule> {
    if let Some(op) = node.op_as::<Gather>() {
        Some(Rule::Axis(op.axis))
    } else if let Some(op) = node.op_as::<GatherElements>() {
        Some(Rule::Axis(op.axis))
    } else if let Some(op) = node.op_as::<ScatterElements>() {
        Some(Rule::Axis(op.axis))
    } else if let Some(op) = node.op_as::<GatherNd>() {
        Some(Rule::Coordinates(op.batch_dims))
    } else if let Some(op) = node.op_as::<Topk>() {
        Some(Rule::Count(op.axis))
    } else if node.op_is::<Range>() {
        Some(Rule::Range)
    } else if node.op_is::<DynTile>() {
        Some(Rule::Repeats)
    } else {
        node.op_is::<ScatterNd>().then_some(Rule::Coordinates(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::prelude::{IntoTValue, tensor1, tensor2};

    fn run(rule: Rule, dims: [usize; 2], indices: TValue) -> TractResult<()> {
        let data = tract_onnx::prelude::Tensor::zero::<f32>(&dims)?.into_tvalue();
        IndexChecks(vec![Some(rule)]).check(0, &[data, indices])
    }

    #[test]
    fn indices_past_either_end_are_refused() {
        for (index, fine) in [(0, true), (3, true), (-4, true), (4, false), (-5, false)] {
            let indices = tensor1(&[index as i64]).into_tvalue();
            assert_eq!(run(Rule::Axis(0), [4, 9], indices).is_ok(), fine, "{index}");
        }
        let wraps = tensor1(&[0x5555_5555_5555_5556i64]).into_tvalue();
        assert!(run(Rule::Axis(0), [4, 3], wraps).is_err());
    }

    #[test]
    fn coordinates_are_checked_against_their_own_dim() {
        let fine = tensor2(&[[3i64, 8], [-4, -9]]).into_tvalue();
        assert!(run(Rule::Coordinates(0), [4, 9], fine).is_ok());
        let past = tensor2(&[[8i64, 3]]).into_tvalue();
        assert!(run(Rule::Coordinates(0), [4, 9], past).is_err());
        let deep = tensor2(&[[0i64, 0, 0]]).into_tvalue();
        assert!(run(Rule::Coordinates(0), [4, 9], deep).is_err());
    }

    #[test]
    fn nothing_is_not_repeated_for_ever() {
        for (multipliers, fine) in
            [([2i64, 3], true), ([0, 4], true), ([0, 1 << 28], false), ([-1, 1], false)]
        {
            let given = tensor1(&multipliers).into_tvalue();
            assert_eq!(run(Rule::Repeats, [1, 2], given).is_ok(), fine, "{multipliers:?}");
        }
    }
}
