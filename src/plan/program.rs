//! What a model is compiled to, for one set of shapes.
//!
//! With `INFERNO_REGIONS=0` in the environment there are no regions: tract's
//! operators alone are what ours are compared with.

use super::general::{General, GeneralState, unsupported};
use super::kept;
use super::region::{self, Inputs, Region, Team};
use crate::error::Result;
use crate::kernels::{Aligned, FlushToZero};
use crate::model::{Imported, Model, Specialisation};
use crate::pool::Scope;
use crate::tensor::Shape;
use std::sync::Arc;
use tract_onnx::prelude::{TractError, TypedFact};

/// A model compiled for one set of shapes and constants. Immutable, shared by
/// the sessions of those shapes.
pub struct Program {
    pub(super) kind: Kind,
    /// What a session of it may hold at once, in bytes.
    pub(super) memory_bytes: u64,
    pub(super) inputs: Vec<usize>,
    /// The shape of each output, when it does not depend on the values.
    pub(super) outputs: Vec<Option<Shape>>,
    /// What the values between steps come to, when their shapes are known.
    pub(super) arena_bytes: Option<u64>,
}

pub(super) enum Kind {
    /// One region.
    Direct(Arc<Region>),
    /// Steps of tract's, and regions among them.
    General(General),
}

impl Program {
    /// The program of `model` at `spec`: compiled once for all who ask, or found in
    /// the model's cache.
    pub fn of(model: &Arc<Model>, spec: &Specialisation) -> Result<Arc<Program>> {
        let memory_bytes = model.limits().memory_bytes;
        model.specialised(spec, || {
            let shelf = model.shelf(spec).filter(|_| has_regions());
            let kept = shelf.as_ref().and_then(|shelf| kept::restored(shelf, memory_bytes));
            if let Some(program) = kept {
                return Ok(program);
            }
            let program =
                model.imported(spec, move |imported| Program::compile(imported, memory_bytes))?;
            if let Some(shelf) = &shelf {
                kept::keep(shelf, &program);
            }
            Ok(program)
        })
    }

    fn compile(imported: Imported, memory_bytes: u64) -> Result<Program> {
        let Imported { mut graph, inputs } = imported;
        let shapes = || -> Result<Vec<Option<Shape>>, TractError> {
            let outputs = graph.output_outlets()?.iter();
            outputs.map(|o| Ok(static_shape(graph.outlet_fact(*o)?))).collect()
        };
        let outputs = shapes().map_err(|e| unsupported(&e))?;
        let whole = if has_regions() { region::compile(&mut graph) } else { Ok(None) };
        let (kind, arena_bytes) = match whole.map_err(|e| unsupported(&e))? {
            Some(region) => {
                let bytes = region.arena_bytes();
                (Kind::Direct(Arc::new(region)), Some(bytes))
            }
            None => {
                let general = General::compile(graph, memory_bytes)?;
                let bytes = general.arena_bytes();
                (Kind::General(general), bytes)
            }
        };
        Ok(Program { kind, memory_bytes, inputs, outputs, arena_bytes })
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

    /// What a session of so many threads needs to run it.
    pub fn state(self: &Arc<Self>, threads: usize) -> Result<State> {
        Ok(match &self.kind {
            Kind::General(general) => State::General(Box::new(general.state(threads)?)),
            Kind::Direct(region) => {
                let scope = Scope::open(self.memory_bytes);
                let arena = region.arena();
                let team = (threads > 1).then(|| Team::new(region, threads)).transpose();
                scope.settle()?;
                let (region, arena) = (region.clone(), arena?);
                State::Direct(DirectState { region, arena, team: team? })
            }
        })
    }
}

/// Whether programs have regions.
fn has_regions() -> bool {
    std::env::var_os("INFERNO_REGIONS").is_none_or(|value| value != "0")
}

fn static_shape(fact: &TypedFact) -> Option<Shape> {
    Shape::new(fact.shape.as_concrete()?).ok()
}

/// One session's way through a program.
pub enum State {
    /// One region, over memory that is there.
    Direct(DirectState),
    /// Step by step.
    General(Box<GeneralState>),
}

/// One session's way through a program that is one region.
pub struct DirectState {
    region: Arc<Region>,
    arena: Aligned,
    team: Option<Team>,
}

impl DirectState {
    /// Runs all steps over the inputs' floats. Its outputs hold nothing of use
    /// after a failure.
    ///
    /// # Panics
    ///
    /// When an input has another size than its shape.
    pub fn run(&mut self, inputs: &dyn Inputs) -> Result<()> {
        let _mode = FlushToZero::begin();
        self.region.run(inputs, &mut self.arena, self.team.as_mut())
    }

    /// Bytes that its threads take besides.
    pub fn team_bytes(&self) -> u64 {
        self.team.as_ref().map_or(0, Team::bytes)
    }

    /// How many outputs there are; all are of floats.
    pub fn output_count(&self) -> usize {
        self.region.output_count()
    }

    /// The shape of an output.
    pub fn output_shape(&self, index: usize) -> Option<&Shape> {
        self.region.output_shape(index)
    }

    /// An output, as the last run left it.
    pub fn output(&self, index: usize) -> &[f32] {
        self.region.output(&self.arena, index)
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<Program>();
    shared::<super::Value>();
    moved::<State>();
};
