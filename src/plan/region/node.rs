//! A region as a node among tract's.

use super::lower::floats;
use super::{Inputs, Region, Slices, Team};
use crate::error;
use crate::kernels::{Aligned, as_floats_mut};
use crate::model::zeros;
use crate::plan::slice::Slice;
use crate::tensor::DType;
use std::cell::Cell;
use std::sync::Arc;
use tract_onnx::tract_core::internal::*;

/// A region as an operator.
#[derive(Clone)]
pub(crate) struct RegionOp(pub(super) Arc<Region>);

impl std::fmt::Debug for RegionOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a region of {} steps", self.0.steps.len())
    }
}

impl PartialEq for RegionOp {
    fn eq(&self, other: &RegionOp) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RegionOp {}

impl RegionOp {
    fn run(&self, kept: &mut Kept, inputs: &TVec<TValue>) -> TractResult<TVec<TValue>> {
        let Kept { arena, team, slices } = kept;
        let region = &*self.0;
        ensure!(inputs.len() == region.inputs().len(), "{} inputs of a region", inputs.len());
        for (input, len) in inputs.iter().zip(region.inputs()) {
            ensure!(floats(input).is_some_and(|f| f.len() == *len), "an input of another kind");
        }
        match UNDER.take() {
            None => region.run(inputs, arena, team.as_mut())?,
            Some(mut under) => {
                let slices = match slices {
                    Some(slices) => slices,
                    none => none.insert(Slices::new(region, team.is_some())?),
                };
                let (team, slice) = (team.as_mut(), &mut under.slice);
                let outcome = region.run_slice(inputs, arena, team, slices, slice);
                under.is_paused = matches!(outcome, Ok(false));
                if !under.is_paused {
                    slices.restart();
                }
                UNDER.set(Some(under));
                ensure!(outcome?, "the rest is for the next slice");
            }
        }
        let mut outputs = TVec::new();
        for index in 0..region.output_count() {
            let shape = region.output_shape(index).context("an output without a shape")?;
            let mut tensor = zeros(DType::F32, shape)?;
            let to = as_floats_mut(tensor.as_bytes_mut()).context("no floats")?;
            to.copy_from_slice(region.output(arena, index));
            outputs.push(tensor.into_tvalue());
        }
        Ok(outputs)
    }
}

impl Inputs for TVec<TValue> {
    fn floats(&self, index: usize) -> &[f32] {
        self.get(index).and_then(|value| floats(value)).unwrap_or(&[])
    }
}

impl Op for RegionOp {
    fn name(&self) -> StaticName {
        "Region".into()
    }

    op_as_typed_op!();
}

impl EvalOp for RegionOp {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.run(&mut Kept { arena: self.0.arena()?, team: None, slices: None }, &inputs).map(Some)
    }

    fn state(&self, _ctx: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        let threads = THREADS.get();
        let team = (threads > 1).then(|| Team::new(&self.0, threads)).transpose()?;
        Ok(Some(Box::new(Kept { arena: self.0.arena()?, team, slices: None })))
    }
}

impl TypedOp for RegionOp {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shapes = (0..self.0.output_count()).filter_map(|i| self.0.output_shape(i));
        Ok(shapes.map(|shape| f32::fact(&**shape)).collect())
    }

    as_op!();
}

thread_local! {
    /// The threads of the session whose regions this thread makes ready.
    static THREADS: Cell<usize> = const { Cell::new(1) };
    /// The slice that the region does which this thread is about to run.
    static UNDER: Cell<Option<Under>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Under {
    slice: Slice,
    is_paused: bool,
}

/// Runs a region for as long as `slice` says; whether something is left of it, which
/// then is no failure.
pub(in crate::plan) fn in_slice<T>(slice: &mut Slice, run: impl FnOnce() -> T) -> (T, bool) {
    UNDER.set(Some(Under { slice: *slice, is_paused: false }));
    let ran = run();
    let is_paused = UNDER.take().is_some_and(|under| {
        *slice = under.slice;
        under.is_paused
    });
    (ran, is_paused)
}

/// Makes ready what `make` does for a session of so many threads.
pub(in crate::plan) fn for_threads<T>(threads: usize, make: impl FnOnce() -> T) -> T {
    let before = THREADS.replace(threads);
    let made = make();
    THREADS.set(before);
    made
}

/// The arena of a session for one region, and its threads.
#[derive(Debug, Clone)]
struct Kept {
    arena: Aligned,
    team: Option<Team>,
    /// From the first run in slices on.
    slices: Option<Slices>,
}

impl OpState for Kept {
    fn eval(
        &mut self,
        _ctx: &EvalContext,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let op = op.downcast_ref::<RegionOp>();
        let op = op.ok_or_else(|| error::internal("a region's memory without its region"))?;
        op.run(self, &inputs)
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        // Nothing is kept from one turn to the next.
        Ok(())
    }
}
