//! A general program in slices: a node at a time, and a region among them a few of its
//! parts at a time.
//!
//! tract runs a plan from its first node to the last. In slices we go from node to node
//! ourselves, over the same state: each finds the values it reads there, and those that
//! nobody reads any more go.

use super::{GeneralState, named, profiled};
use crate::error::Result;
use crate::kernels::{FloatMode, clear_upper_halves};
use crate::metrics::profile;
use crate::panics;
use crate::plan::Value;
use crate::plan::region::{RegionOp, in_slice};
use crate::plan::slice::{Costs, Slice};
use crate::pool::Scope;
use crate::work;
use std::time::Instant;
use tract_onnx::prelude::{
    TValue, TVec, TractResult, TypedNode, TypedSimplePlan, TypedSimpleState,
};
use tract_onnx::tract_core::internal::{TDim, solve_for};

/// A session's way through a plan in slices.
pub(super) struct Course {
    /// The node that is next, in the plan's order.
    at: usize,
    costs: Costs,
    /// By node in that order: the nodes whose values nobody reads after it.
    last_read: Vec<TVec<usize>>,
    /// Whether inputs are there.
    is_under_way: bool,
}

impl Course {
    fn new(plan: &TypedSimplePlan) -> Course {
        let (model, order) = (plan.model(), plan.order_without_consts());
        let mut last_read = vec![TVec::new(); order.len()];
        let mut is_read: Vec<bool> = vec![true; model.nodes.len()];
        order.iter().for_each(|id| is_read[*id] = false);
        model.outputs.iter().for_each(|outlet| is_read[outlet.node] = true);
        for (at, id) in order.iter().enumerate().rev() {
            for input in &model.node(*id).inputs {
                if !std::mem::replace(&mut is_read[input.node], true) {
                    last_read[at].push(input.node);
                }
            }
        }
        Course { at: 0, costs: Costs::of(order.len()), last_read, is_under_way: false }
    }
}

impl GeneralState {
    /// Goes on with a run for as long as `slice` says, or begins one with the inputs that
    /// were added; what came of it, when it has come to its end. After a failure the next
    /// slice begins a run.
    pub fn run_slice(&mut self, slice: &mut Slice) -> Result<Option<Vec<Value>>> {
        if self.plan.model().inputs.is_empty() {
            // (What there is of it was computed when it was compiled.)
            return self.run().map(Some);
        }
        let scope = Scope::open(self.memory_bytes);
        let _mode = FloatMode::flush_to_zero();
        let mut course = match self.course.take() {
            Some(course) => course,
            None => Box::new(Course::new(&self.plan)),
        };
        let (mut kept, mut at) = (false, None);
        let outcome = panics::caught(|| self.advance(&mut course, slice, &mut kept, &mut at));
        let outcome = named(outcome, at, self.inner.model());
        let outcome = scope.settle().and(outcome);
        if !matches!(outcome, Ok(None)) {
            (course.at, course.is_under_way) = (0, false);
        }
        self.course = Some(course);
        if outcome.is_err() {
            self.renew(kept)?;
        }
        let values = outcome?.map(|results| results.into_iter().map(Value::from_run).collect());
        values.transpose()
    }

    /// Whether a run in slices has begun.
    pub fn is_under_way(&self) -> bool {
        self.course.as_ref().is_some_and(|course| course.is_under_way)
    }

    /// Gives a run up that has begun.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(course) = &mut self.course {
            (course.at, course.is_under_way) = (0, false);
        }
        self.args.clear();
        self.renew(false)
    }

    fn advance(
        &mut self,
        course: &mut Course,
        slice: &mut Slice,
        kept: &mut bool,
        failed: &mut Option<usize>,
    ) -> TractResult<Option<TVec<TValue>>> {
        if !std::mem::replace(&mut course.is_under_way, true) {
            let args = std::mem::take(&mut self.args);
            self.inner.set_inputs(args)?;
        }
        let plan = self.plan.clone();
        while let Some(id) = plan.order_without_consts().get(course.at) {
            *failed = Some(*id);
            if !self.node(plan.model().node(*id), course, slice, kept)? {
                return Ok(None);
            }
            *failed = None;
            course.at += 1;
        }
        let outputs = self.inner.outputs()?;
        self.inner.reset_turn()?;
        self.forget_inputs();
        Ok(Some(outputs))
    }

    /// Does the next node; false when there is no time for it, or for all of it.
    fn node(
        &mut self,
        node: &TypedNode,
        course: &mut Course,
        slice: &mut Slice,
        kept: &mut bool,
    ) -> TractResult<bool> {
        work::check()?;
        let (at, estimate) = (course.at, estimate(node));
        // A region looks at the time itself.
        let is_region = node.op_is::<RegionOp>();
        let begun = match is_region {
            true => Some(Instant::now()),
            false => slice.admits(course.costs.expected(at, estimate)),
        };
        let Some(begun) = begun else { return Ok(false) };
        let watched = if profile::is_on() { profile::now() } else { 0 };
        let inputs = self.inner.prepare_inputs(node.id)?;
        self.checks.check(node.id, &inputs)?;
        let (inner, last_read) = (&mut self.inner, &course.last_read[at]);
        let outcome = match (is_region, self.large.holds(node.id, &inputs)) {
            (true, false) => in_slice(slice, || inner.compute_one_with_inputs(node.id, inputs)),
            (_, false) => {
                // (A value that nobody else has may be written over.)
                flush(inner, last_read);
                (inner.compute_one_with_inputs(node.id, inputs), false)
            }
            (_, true) => {
                flush(inner, last_read);
                let step = || {
                    let _mode = FloatMode::flush_to_zero();
                    inner.compute_one_with_inputs(node.id, inputs)
                };
                (self.large.apart(kept, step), false)
            }
        };
        clear_upper_halves();
        let (outcome, is_paused) = outcome;
        if profile::is_on() {
            let address = (&raw const *node).addr();
            profile::note_part(address, watched, !is_paused, || profiled(node));
        }
        if is_paused {
            return Ok(false);
        }
        outcome?;
        flush(&mut self.inner, last_read);
        resolve(&mut self.inner, node)?;
        if !is_region {
            let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            course.costs.learn(at, estimate, took);
        }
        Ok(true)
    }
}

/// Lets values go.
fn flush(state: &mut TypedSimpleState, nodes: &[usize]) {
    nodes.iter().for_each(|node| state.turn_state.values[*node] = None);
}

/// About how many nanoseconds a node takes: one for each element of its outputs.
fn estimate(node: &TypedNode) -> u64 {
    let elements = |dims: &[usize]| dims.iter().product::<usize>();
    let outputs = node.outputs.iter().filter_map(|o| o.fact.shape.as_concrete().map(elements));
    500 + outputs.sum::<usize>() as u64
}

/// What the dims of a node's values say of the symbols in its facts: lengths that nobody
/// knew before.
fn resolve(state: &mut TypedSimpleState, node: &TypedNode) -> TractResult<()> {
    let turn = &mut state.turn_state;
    let Some(values) = &turn.values[node.id] else { return Ok(()) };
    for (outlet, value) in node.outputs.iter().zip(values) {
        for (dim, known) in outlet.fact.shape.iter().zip(value.shape()) {
            let open = match dim {
                TDim::Val(_) => continue,
                dim => dim.eval(&turn.resolved_symbols),
            };
            let symbols = open.symbols();
            if let (1, Some(symbol)) = (symbols.len(), symbols.into_iter().next())
                && let Some(found) = solve_for(&symbol, &open, &TDim::Val(*known as i64))
            {
                turn.resolved_symbols.set(&symbol, found.to_i64()?);
            }
        }
    }
    Ok(())
}
