//! Steps over large values, and steps that would take too long.
//!
//! Some of tract's operators make tables as long as their output, as `Vec`s,
//! whose failure Rust turns into the end of the process. A step whose values are
//! large therefore runs on a thread of ours, where full memory is a status (see
//! [`crate::work`]); the thread is small change beside such a step.

use crate::error::{self, Kind, Result};
use crate::panics;
use crate::work::{self, Budget};
use std::time::Duration;
use tract_onnx::prelude::{TValue, TVec, TractResult, TypedFact, TypedModel, TypedNode};
use tract_onnx::tract_core::internal::{EvalContext, bail};
use tract_onnx::tract_core::ops::einsum::EinSum;

/// From this size on a value is large, in bytes.
const LARGE: usize = 32 << 20;

/// The most that an Einsum with no better form may take: products, times its
/// inputs, times its axes. It is some seconds.
const MOST_EINSUM: u128 = 1 << 30;

/// The steps of a program that are known to give large values, by node.
#[derive(Debug)]
pub(crate) struct LargeSteps {
    known: Vec<bool>,
    memory_bytes: u64,
}

impl LargeSteps {
    pub(super) fn of(graph: &TypedModel, memory_bytes: u64) -> Result<LargeSteps> {
        graph.nodes.iter().try_for_each(|node| check_einsum(graph, node))?;
        let large = |fact: &TypedFact| {
            let dims = fact.shape.as_concrete();
            dims.is_some_and(|d| d.iter().product::<usize>() * fact.datum_type.size_of() >= LARGE)
        };
        let known = graph.nodes.iter().map(|node| node.outputs.iter().any(|o| large(&o.fact)));
        Ok(LargeSteps { known: known.collect(), memory_bytes })
    }

    /// Whether this step is over large values.
    pub(super) fn holds(&self, node: usize, inputs: &[TValue]) -> bool {
        let large = |v: &TValue| v.len() * v.datum_type().size_of() >= LARGE;
        self.known.get(node).copied().unwrap_or(true) || inputs.iter().any(large)
    }

    /// Does a large step on a thread of ours; `kept` is set when it stays there.
    pub(super) fn run(
        &self,
        kept: &mut bool,
        ctx: &EvalContext<'_>,
        step: impl FnOnce(&EvalContext<'_>) -> TractResult<TVec<TValue>> + Send,
    ) -> TractResult<TVec<TValue>> {
        let EvalContext { session, node_id, symbols, scenario, seating, .. } = *ctx;
        self.apart(kept, || {
            // Nothing of ours is shared by a turn, and what is could not move.
            step(&EvalContext { session, node_id, symbols, scenario, seating, shared: None })
        })
    }

    /// The same of a step that brings what it needs.
    pub(super) fn apart<T: Send>(
        &self,
        kept: &mut bool,
        step: impl FnOnce() -> TractResult<T> + Send,
    ) -> TractResult<T> {
        let budget = Budget { memory_bytes: self.memory_bytes, time: Duration::ZERO };
        let mut ended = false;
        let outcome = work::to_its_end(budget, "a large step", || {
            let outcome = panics::caught(step);
            ended = true;
            Ok(outcome)
        });
        match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => bail!("it refused its values: {panic}"),
            Err(e) => {
                *kept = !ended && e.kind() == Kind::OutOfMemory;
                Err(e.into())
            }
        }
    }
}

/// An Einsum that became no matrix product is computed an element at a time.
fn check_einsum(graph: &TypedModel, node: &TypedNode) -> Result<()> {
    let Some(op) = node.op_as::<EinSum>() else { return Ok(()) };
    let mut cost = node.inputs.len() as u128;
    let mut axes = 0;
    for axis in op.axes.iter_all_axes() {
        axes += 1;
        let dim = axis.inputs.iter().enumerate().find_map(|(slot, at)| {
            let fact = graph.outlet_fact(*node.inputs.get(slot)?).ok()?;
            fact.shape.get(*at.first()?)?.to_i64().ok()
        });
        cost = cost.saturating_mul(dim.map_or(1, |d| d.max(0) as u128));
    }
    let cost = cost.saturating_mul(axes);
    if cost > MOST_EINSUM {
        return Err(error::limit_exceeded(format!(
            "{node}: {cost} element operations, with no form as a matrix product: expected at \
             most {MOST_EINSUM}"
        )));
    }
    Ok(())
}
