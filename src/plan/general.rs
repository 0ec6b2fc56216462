//! The general program: tract's operators, one step a node.

use super::Value;
use super::arena;
use super::indices::IndexChecks;
use super::large::LargeSteps;
use crate::error::{self, Error, Result};
use crate::model::{Imported, Model, Specialisation, codegen};
use crate::panics;
use crate::pool::Scope;
use crate::tensor::Shape;
use crate::work;
use std::sync::Arc;
use tract_onnx::prelude::{
    IntoRunnable, TValue, TVec, TractError, TypedFact, TypedModel, TypedSimplePlan,
    TypedSimpleState,
};
use tract_onnx::tract_core::plan::eval;

/// A model compiled for one set of shapes and constants. Immutable, shared by
/// the sessions of those shapes.
pub struct Program {
    plan: Arc<TypedSimplePlan>,
    checks: Arc<IndexChecks>,
    large: Arc<LargeSteps>,
    /// What a run may hold at once, in bytes.
    memory_bytes: u64,
    inputs: Vec<usize>,
    /// The shape of each output, when it does not depend on the values.
    outputs: Vec<Option<Shape>>,
    /// What the values between steps come to, when their shapes are known.
    arena_bytes: Option<u64>,
}

impl Program {
    /// The program of `model` at `spec`: compiled once for all who ask.
    pub fn of(model: &Arc<Model>, spec: &Specialisation) -> Result<Arc<Program>> {
        let memory_bytes = model.limits().memory_bytes;
        model.specialised(spec, move |imported| Program::compile(imported, memory_bytes))
    }

    fn compile(imported: Imported, memory_bytes: u64) -> Result<Program> {
        let Imported { graph, inputs } = imported;
        let compiled = || -> Result<(Arc<TypedSimplePlan>, Vec<Option<Shape>>), TractError> {
            let mut graph: TypedModel = graph;
            codegen(&mut graph)?;
            let outputs = graph.output_outlets()?.iter();
            let shapes = outputs.map(|o| Ok(static_shape(graph.outlet_fact(*o)?)));
            let shapes = shapes.collect::<Result<Vec<_>, TractError>>()?;
            Ok((graph.into_runnable()?, shapes))
        };
        let (plan, outputs) = compiled().map_err(|e| error::unsupported(format!("{e:#}")))?;
        let checks = Arc::new(IndexChecks::of(plan.model()));
        let large = Arc::new(LargeSteps::of(plan.model(), memory_bytes)?);
        let arena_bytes = arena::most_bytes(plan.model(), plan.order_without_consts());
        Ok(Program { plan, checks, large, memory_bytes, inputs, outputs, arena_bytes })
    }

    /// For each input of a run, which input of the model it is.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// The shape of output `index`, when it is known before a run.
    pub fn output_shape(&self, index: usize) -> Option<Shape> {
        self.outputs.get(index).copied().flatten()
    }

    /// What the values between steps come to at the most, outputs among them;
    /// none when that depends on the inputs' values.
    pub fn arena_bytes(&self) -> Option<u64> {
        self.arena_bytes
    }

    /// What a session needs to run it.
    pub fn state(self: &Arc<Self>) -> Result<State> {
        Ok(State {
            inner: spawn(&self.plan)?,
            plan: self.plan.clone(),
            checks: self.checks.clone(),
            large: self.large.clone(),
            memory_bytes: self.memory_bytes,
            args: TVec::new(),
        })
    }
}

fn static_shape(fact: &TypedFact) -> Option<Shape> {
    Shape::new(fact.shape.as_concrete()?).ok()
}

fn spawn(plan: &Arc<TypedSimplePlan>) -> Result<TypedSimpleState> {
    plan.spawn().map_err(|e| error::unsupported(format!("{e:#}")))
}

/// One session's way through a program.
pub struct State {
    plan: Arc<TypedSimplePlan>,
    checks: Arc<IndexChecks>,
    large: Arc<LargeSteps>,
    memory_bytes: u64,
    inner: TypedSimpleState,
    args: TVec<TValue>,
}

impl State {
    /// Adds the next input of a run.
    pub fn arg(&mut self, value: &Value) {
        self.args.push(TValue::from_const(value.tensor().clone()));
    }

    /// Runs all steps. After a failure, a panic among them, the state is as
    /// before the run.
    pub fn run(&mut self) -> Result<TVec<TValue>> {
        let scope = Scope::open(self.memory_bytes);
        let mut kept = false;
        let outcome = self.steps(&mut kept);
        let outcome = scope.settle().and(outcome);
        if outcome.is_err() {
            // What the failed run left behind must not be seen by the next.
            let left = std::mem::replace(&mut self.inner, spawn(&self.plan)?);
            if kept {
                // A thread that will never go on stands in the middle of it.
                std::mem::forget(left);
            }
        }
        outcome
    }

    fn steps(&mut self, kept: &mut bool) -> Result<TVec<TValue>> {
        let args = std::mem::take(&mut self.args);
        let mut at = None;
        let (inner, checks, large) = (&mut self.inner, &self.checks, &self.large);
        let outcome = panics::caught(|| {
            inner.run_plan_with_eval(args, |ctx, state, node, inputs| {
                at = Some(node.id);
                work::check()?;
                checks.check(node.id, &inputs)?;
                let outcome = match large.holds(node.id, &inputs) {
                    true => large.run(kept, ctx, |ctx| eval(ctx, state, node, inputs)),
                    false => eval(ctx, state, node, inputs),
                };
                if outcome.is_ok() {
                    at = None;
                }
                outcome
            })
        });
        let failed = match outcome {
            Ok(Ok(outputs)) => {
                self.forget_inputs();
                return Ok(outputs);
            }
            Ok(Err(e)) => match e.downcast_ref::<Error>() {
                Some(ours) => ours.clone(),
                None => error::run_failed(format!("{e:#}")),
            },
            // Operators assert on values they cannot take.
            Err(panic) => error::run_failed(format!("it refused its values: {panic}")),
        };
        Err(match at {
            Some(id) => failed.at(format_args!("node {}", self.inner.model().node(id))),
            None => failed.at("a run"),
        })
    }

    /// An input that no step reads stays where the run was given it.
    fn forget_inputs(&mut self) {
        for outlet in &self.plan.model().inputs {
            if let Some(value) = self.inner.turn_state.values.get_mut(outlet.node) {
                *value = None;
            }
        }
    }

    /// Takes an output of a run over.
    pub fn output(value: TValue) -> Result<Value> {
        Value::from_run(value)
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<Program>();
    shared::<Value>();
    moved::<State>();
};
