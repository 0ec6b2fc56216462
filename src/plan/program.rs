//! What a model is compiled to, for one set of shapes.
//!
//! With `INFERNO_REGIONS=0` in the environment there are no regions: tract's
//! operators alone are what ours are compared with.

use super::feed::{Fed, Feed, Given, Origin, fed};
use super::general::{General, GeneralState, unsupported};
use super::kept;
use super::region::{self, Inputs, Region, Slices, Team};
use super::slice::Slice;
use crate::error::Result;
use crate::kernels::{Aligned, FloatMode};
use crate::model::{Imported, Model, Specialisation};
use crate::pool::Scope;
use crate::tensor::Shape;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tract_onnx::prelude::{TractError, TractResult, TypedFact, TypedModel};

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
    Direct(Arc<Direct>),
    /// Steps of tract's, and regions among them.
    General(General),
}

/// One region, and what is made of inputs before it.
#[derive(Serialize, Deserialize)]
pub(super) struct Direct {
    pub(super) region: Region,
    pub(super) feeds: Vec<Feed>,
    /// Of each input of the region.
    pub(super) origins: Vec<Origin>,
}

impl Direct {
    /// The whole of a graph, when all of it is for us; else it is in its simplest form
    /// then, and regions take the place of what is.
    fn compile(imported: &mut Imported) -> Result<Option<Direct>> {
        let refused = |e: TractError| unsupported(&e);
        let direct = Direct::of(&mut imported.graph, region::straight).map_err(refused)?;
        if direct.as_ref().is_some_and(|direct| direct.region.is_tidy()) {
            return Ok(direct);
        }
        drop(direct);
        imported.simplify()?;
        Direct::of(&mut imported.graph, region::compile).map_err(refused)
    }

    fn of(
        graph: &mut TypedModel,
        compile: fn(&mut TypedModel) -> TractResult<Option<Region>>,
    ) -> TractResult<Option<Direct>> {
        region::find_lookups(graph)?;
        if let Some(Fed { mut graph, feeds, origins }) = fed(graph)
            && let Some(region) = compile(&mut graph)?
        {
            return Ok(Some(Direct { region, feeds, origins }));
        }
        let region = compile(graph)?;
        Ok(region.map(|region| {
            let origins = (0..region.inputs().len()).map(Origin::Given).collect();
            Direct { region, feeds: Vec::new(), origins }
        }))
    }

    /// Makes what is made of inputs.
    fn feed(&self, inputs: &dyn Given, fed: &mut [Aligned]) -> Result<()> {
        let mut feeds = self.feeds.iter().zip(fed);
        feeds.try_for_each(|(feed, to)| feed.run(inputs, to))
    }

    /// Bytes between inputs and outputs.
    pub(super) fn arena_bytes(&self) -> u64 {
        let fed: usize = self.feeds.iter().map(|feed| 4 * feed.floats().next_multiple_of(16)).sum();
        self.region.arena_bytes() + fed as u64
    }

    /// Whether everything is there that it reads, of so many inputs.
    pub(super) fn is_sound(&self, inputs: usize) -> bool {
        let there = |(origin, len): (&Origin, &usize)| match origin {
            Origin::Given(input) => *input < inputs,
            Origin::Fed(feed) => self.feeds.get(*feed).is_some_and(|feed| feed.floats() == *len),
        };
        self.region.is_sound()
            && self.feeds.iter().all(|feed| feed.is_sound(inputs))
            && self.origins.len() == self.region.inputs().len()
            && self.origins.iter().zip(self.region.inputs()).all(there)
    }
}

/// The inputs of a region.
struct Read<'a> {
    direct: &'a Direct,
    given: &'a dyn Given,
    fed: &'a [Aligned],
}

impl Inputs for Read<'_> {
    fn floats(&self, index: usize) -> &[f32] {
        match self.direct.origins[index] {
            Origin::Given(input) => self.given.floats(input),
            Origin::Fed(feed) => &self.fed[feed].floats()[..self.direct.feeds[feed].floats()],
        }
    }
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
                model.meter()?.reused();
                return Ok(program);
            }
            let program =
                model.imported(spec, move |imported| Program::compile(imported, memory_bytes))?;
            Ok(kept::keep(program, shelf.as_ref(), model))
        })
    }

    fn compile(mut imported: Imported, memory_bytes: u64) -> Result<Program> {
        let whole = match has_regions() {
            true => Direct::compile(&mut imported)?,
            false => {
                imported.simplify()?;
                None
            }
        };
        let Imported { graph, inputs, .. } = imported;
        let shapes = || -> Result<Vec<Option<Shape>>, TractError> {
            let outputs = graph.output_outlets()?.iter();
            outputs.map(|o| Ok(static_shape(graph.outlet_fact(*o)?))).collect()
        };
        let outputs = shapes().map_err(|e| unsupported(&e))?;
        let (kind, arena_bytes) = match whole {
            Some(mut direct) => {
                drop(graph);
                direct.region.pack()?;
                let bytes = direct.arena_bytes();
                (Kind::Direct(Arc::new(direct)), Some(bytes))
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
            Kind::Direct(direct) => {
                let scope = Scope::open(self.memory_bytes);
                let region = &direct.region;
                let arena = region.arena();
                let fed = direct.feeds.iter().map(Feed::room).collect::<Result<_>>();
                let team = (threads > 1).then(|| Team::new(region, threads)).transpose();
                scope.settle()?;
                let (direct, arena) = (direct.clone(), arena?);
                State::Direct(DirectState { direct, arena, fed: fed?, team: team?, slices: None })
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
    direct: Arc<Direct>,
    arena: Aligned,
    fed: Vec<Aligned>,
    team: Option<Team>,
    /// From the first run in slices on.
    slices: Option<Box<Slices>>,
}

impl DirectState {
    /// Runs all steps over the inputs. Its outputs hold nothing of use after a
    /// failure.
    ///
    /// # Panics
    ///
    /// When an input of floats has another size than its shape.
    pub fn run(&mut self, inputs: &dyn Given) -> Result<()> {
        let _mode = FloatMode::flush_to_zero();
        let DirectState { direct, arena, fed, team, .. } = self;
        direct.feed(inputs, fed)?;
        direct.region.run(&Read { direct, given: inputs, fed }, arena, team.as_mut())
    }

    /// Goes on with a run for as long as `slice` says, or begins one; whether it has come
    /// to its end. The inputs stay the same until then. After a failure the next slice
    /// begins a run.
    ///
    /// # Panics
    ///
    /// As [`DirectState::run`].
    pub fn run_slice(&mut self, inputs: &dyn Given, slice: &mut Slice) -> Result<bool> {
        let _mode = FloatMode::flush_to_zero();
        let DirectState { direct, arena, fed, team, slices } = self;
        let slices = match slices {
            Some(slices) => slices,
            none => none.insert(Box::new(Slices::new(&direct.region, team.is_some())?)),
        };
        if slices.are_at_start() {
            direct.feed(inputs, fed)?;
        }
        let read = Read { direct, given: inputs, fed };
        let outcome = direct.region.run_slice(&read, arena, team.as_mut(), slices, slice);
        if !matches!(outcome, Ok(false)) {
            slices.restart();
        }
        outcome
    }

    /// Whether nothing of a run in slices is done.
    pub fn is_at_start(&self) -> bool {
        self.slices.as_ref().is_none_or(|slices| slices.are_at_start())
    }

    /// The next slice begins a run.
    pub fn restart(&mut self) {
        if let Some(slices) = &mut self.slices {
            slices.restart();
        }
    }

    /// Bytes that its threads, and slices, take besides.
    pub fn team_bytes(&self) -> u64 {
        self.team.as_ref().map_or(0, Team::bytes)
            + self.slices.as_ref().map_or(0, |slices| slices.bytes())
    }

    /// How many outputs there are; all are of floats.
    pub fn output_count(&self) -> usize {
        self.direct.region.output_count()
    }

    /// The shape of an output.
    pub fn output_shape(&self, index: usize) -> Option<&Shape> {
        self.direct.region.output_shape(index)
    }

    /// An output, as the last run left it.
    pub fn output(&self, index: usize) -> &[f32] {
        self.direct.region.output(&self.arena, index)
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<Program>();
    shared::<super::Value>();
    moved::<State>();
};
