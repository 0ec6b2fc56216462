//! The general program: tract's operators, one step a node.

mod slice;

use super::Value;
use super::arena;
use super::indices::IndexChecks;
use super::large::LargeSteps;
use super::region::{Lookup, RegionOp, for_threads};
use crate::error::{self, Error, Result};
use crate::kernels::{FloatMode, clear_upper_halves};
use crate::metrics::profile;
use crate::model::codegen;
use crate::panics;
use crate::pool::Scope;
use crate::work;
use slice::Course;
use std::sync::Arc;
use tract_onnx::prelude::{
    IntoRunnable, TValue, TVec, TractError, TractResult, TypedModel, TypedNode, TypedSimplePlan,
    TypedSimpleState,
};
use tract_onnx::tract_core::plan::eval;

/// tract's operators, and regions among them, one step a node. Immutable, shared.
pub(super) struct General {
    plan: Arc<TypedSimplePlan>,
    checks: Arc<IndexChecks>,
    large: Arc<LargeSteps>,
    /// What a run may hold at once, in bytes.
    memory_bytes: u64,
}

impl General {
    /// What becomes of `graph`, whose nodes for us are regions already.
    pub(super) fn compile(mut graph: TypedModel, memory_bytes: u64) -> Result<General> {
        let mut compiled = || -> Result<Arc<TypedSimplePlan>, TractError> {
            codegen(&mut graph)?;
            std::mem::take(&mut graph).into_runnable()
        };
        let plan = compiled().map_err(|e| unsupported(&e))?;
        let checks = Arc::new(IndexChecks::of(plan.model()));
        let large = Arc::new(LargeSteps::of(plan.model(), memory_bytes)?);
        Ok(General { plan, checks, large, memory_bytes })
    }

    /// What the values between steps come to at the most; none when that depends
    /// on the inputs' values.
    pub(super) fn arena_bytes(&self) -> Option<u64> {
        arena::most_bytes(self.plan.model(), self.plan.order_without_consts())
    }

    /// What a session of so many threads needs to run it.
    pub(super) fn state(&self, threads: usize) -> Result<GeneralState> {
        Ok(GeneralState {
            inner: spawn(&self.plan, threads)?,
            threads,
            plan: self.plan.clone(),
            checks: self.checks.clone(),
            large: self.large.clone(),
            memory_bytes: self.memory_bytes,
            args: TVec::new(),
            course: None,
        })
    }
}

/// What a profile says of a node.
fn profiled(node: &TypedNode) -> profile::Step {
    profile::Step {
        name: format!("{} {}", node.op().name(), node.name).into(),
        is_native: node.op_is::<RegionOp>() || node.op_is::<Lookup>(),
        is_within: false,
        flop: 0,
        bytes: 0,
    }
}

/// What tract says of a graph that it cannot compile.
pub(super) fn unsupported(e: &TractError) -> Error {
    match e.downcast_ref::<Error>() {
        Some(ours) => ours.clone(),
        None => error::unsupported(format!("{e:#}")),
    }
}

fn spawn(plan: &Arc<TypedSimplePlan>, threads: usize) -> Result<TypedSimpleState> {
    for_threads(threads, || plan.spawn()).map_err(|e| unsupported(&e))
}

/// One session's way through a general program.
pub struct GeneralState {
    plan: Arc<TypedSimplePlan>,
    checks: Arc<IndexChecks>,
    large: Arc<LargeSteps>,
    memory_bytes: u64,
    threads: usize,
    inner: TypedSimpleState,
    args: TVec<TValue>,
    /// From the first run in slices on.
    course: Option<Box<Course>>,
}

impl GeneralState {
    /// Adds the next input of a run.
    pub fn arg(&mut self, value: &Value) {
        self.args.push(TValue::from_const(value.tensor().clone()));
    }

    /// Runs all steps. After a failure, a panic among them, the state is as
    /// before the run.
    pub fn run(&mut self) -> Result<Vec<Value>> {
        let scope = Scope::open(self.memory_bytes);
        let _mode = FloatMode::flush_to_zero();
        let mut kept = false;
        let outcome = self.steps(&mut kept);
        let outcome = scope.settle().and(outcome);
        if outcome.is_err() {
            self.renew(kept)?;
        }
        outcome?.into_iter().map(Value::from_run).collect()
    }

    /// What a failed run left behind must not be seen by the next.
    fn renew(&mut self, kept: bool) -> Result<()> {
        let left = std::mem::replace(&mut self.inner, spawn(&self.plan, self.threads)?);
        if kept {
            // A thread that will never go on stands in the middle of it.
            std::mem::forget(left);
        }
        Ok(())
    }

    fn steps(&mut self, kept: &mut bool) -> Result<TVec<TValue>> {
        let args = std::mem::take(&mut self.args);
        let mut at = None;
        let (inner, checks, large) = (&mut self.inner, &self.checks, &self.large);
        let is_watched = profile::is_on();
        let outcome = panics::caught(|| {
            inner.run_plan_with_eval(args, |ctx, state, node, inputs| {
                at = Some(node.id);
                work::check()?;
                checks.check(node.id, &inputs)?;
                let begun = if is_watched { profile::now() } else { 0 };
                let outcome = match large.holds(node.id, &inputs) {
                    true => large.run(kept, ctx, |ctx| {
                        let _mode = FloatMode::flush_to_zero();
                        eval(ctx, state, node, inputs)
                    }),
                    false => eval(ctx, state, node, inputs),
                };
                clear_upper_halves();
                if is_watched {
                    profile::note((&raw const *node).addr(), begun, || profiled(node));
                }
                if outcome.is_ok() {
                    at = None;
                }
                outcome
            })
        });
        let outputs = named(outcome, at, self.inner.model())?;
        self.forget_inputs();
        Ok(outputs)
    }

    /// An input that no step reads stays where the run was given it.
    fn forget_inputs(&mut self) {
        for outlet in &self.plan.model().inputs {
            if let Some(value) = self.inner.turn_state.values.get_mut(outlet.node) {
                *value = None;
            }
        }
    }
}

/// What came of steps, of which the one at a node failed.
fn named<T>(
    outcome: Result<TractResult<T>, String>,
    at: Option<usize>,
    model: &TypedModel,
) -> Result<T> {
    let failed = match outcome {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(e)) => match e.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => error::run_failed(format!("{e:#}")),
        },
        // Operators assert on values they cannot take.
        Err(panic) => error::run_failed(format!("it refused its values: {panic}")),
    };
    Err(match at {
        Some(id) => failed.at(format_args!("node {}", model.node(id))),
        None => failed.at("a run"),
    })
}
