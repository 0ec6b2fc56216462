//! A run: inputs to a program, and what comes of it handed on.

use super::BoundOutput;
use super::inner::{Compiled, Inner, Input, Output, Role};
use super::recurrent::Pair;
use crate::error::{self, Result};
use crate::plan::{DirectState, GeneralState, Given, Inputs, Program, Slice, State, Value};
use crate::pool::Scope;
use crate::tensor::DType;
use crate::work::within_limits;
use std::time::Duration;

impl Inner {
    /// Runs once, within `time` (zero: for ever). Nothing changes when it fails.
    pub(super) fn run(&mut self, time: Duration) -> Result<()> {
        self.prepare()?;
        let stop = self.stop.clone();
        let all = within_limits(time, &stop, || self.go_on(None))?;
        debug_assert!(all, "a run without slices has none left");
        Ok(())
    }

    /// Goes on with a run for as long as `slice` says, or begins one; whether it has come
    /// to its end. After a failure the next slice begins a run.
    pub(super) fn run_slice(&mut self, slice: &mut Slice) -> Result<bool> {
        self.prepare()?;
        let stop = self.stop.clone();
        within_limits(Duration::ZERO, &stop, || self.go_on(Some(slice)))
    }

    /// A run, or a slice of one.
    fn go_on(&mut self, slice: Option<&mut Slice>) -> Result<bool> {
        let scope = Scope::open(u64::MAX);
        let Some(mut compiled) = self.compiled.take() else {
            return Err(error::internal("a run without a program"));
        };
        let Compiled { program, state, .. } = &mut compiled;
        let outcome = match state {
            State::Direct(state) => self.run_direct(program, state, &scope, slice),
            State::General(state) => self.run_general(program, state, &scope, slice),
        };
        self.compiled = Some(compiled);
        outcome
    }

    /// Over values, which tract's operators make.
    fn run_general(
        &mut self,
        program: &Program,
        state: &mut GeneralState,
        scope: &Scope<'_>,
        slice: Option<&mut Slice>,
    ) -> Result<bool> {
        if !state.is_under_way() {
            self.read_inputs(program, state)?;
        }
        let results = match slice {
            None => Some(state.run()?),
            Some(slice) => state.run_slice(slice)?,
        };
        match results {
            None => scope.settle().map(|()| false),
            Some(results) => self.commit(results, scope).map(|()| true),
        }
    }

    /// Hands the inputs of a run over.
    fn read_inputs(&mut self, program: &Program, state: &mut GeneralState) -> Result<()> {
        for index in 0..self.inputs.len() {
            self.value(index)?;
            let input = &mut self.inputs[index];
            if let (Role::Bound(bound), Some(value)) = (&input.role, &mut input.value) {
                bound.read_into(value)?;
            }
            if let (Role::Written | Role::Bound(_), Some(value)) = (&input.role, &mut input.value) {
                value.settle_bools();
            }
        }
        for index in program.inputs() {
            let value = self.inputs[*index].value.as_ref();
            state.arg(value.ok_or_else(|| error::internal("an input without a value"))?);
        }
        Ok(())
    }

    /// Hands the results on: checked first, then bound buffers, outputs, state.
    fn commit(&mut self, results: Vec<Value>, scope: &Scope<'_>) -> Result<()> {
        if results.len() != self.outputs.len() {
            return Err(error::internal(format!("{} outputs came of a run", results.len())));
        }
        for (index, value) in results.iter().enumerate() {
            if let Some(bound) = &self.outputs[index].bound {
                let name = &self.model.outputs()[index].name;
                bound.accepts(value).map_err(|e| e.at(format_args!("output {name:?}")))?;
            }
        }
        for pair in &self.pairs {
            pair.accepts(&self.model, self.inputs[pair.input].shape, &results[pair.output])?;
        }
        let mut states = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            // Its own memory: the host may hold a view of the output.
            let value = &results[pair.output];
            states.push(Value::from_bytes(value.dtype(), *value.shape(), value.bytes())?);
        }
        // The last boundary: from here on nothing fails.
        scope.settle()?;
        for (pair, state) in self.pairs.iter().zip(states) {
            self.inputs[pair.input].value = Some(state);
        }
        for (output, value) in self.outputs.iter_mut().zip(results) {
            if let Some(bound) = &mut output.bound {
                bound.write(&value);
            }
            output.set(Some(value));
        }
        Ok(())
    }

    /// Makes the values of inputs and outputs that are not there yet, and runs.
    fn run_direct(
        &mut self,
        program: &Program,
        state: &mut DirectState,
        scope: &Scope<'_>,
        slice: Option<&mut Slice>,
    ) -> Result<bool> {
        let mut made = Vec::new();
        if slice.is_none() || state.is_at_start() {
            self.make_inputs(program)?;
            made = self.make_outputs(state)?;
        }
        let read = Read { places: program.inputs(), inputs: &self.inputs };
        if let Some(slice) = slice {
            if !state.run_slice(&read, slice)? {
                return scope.settle().map(|()| false);
            }
            made = self.make_outputs(state)?;
        } else {
            state.run(&read)?;
        }
        // The last boundary: from here on nothing fails.
        scope.settle()?;
        for (index, value) in made {
            self.outputs[index].set(Some(value));
        }
        hand_on(state, &mut self.inputs, &mut self.outputs, &self.pairs);
        Ok(true)
    }

    /// Makes the values of inputs that are not there yet.
    fn make_inputs(&mut self, program: &Program) -> Result<()> {
        for index in program.inputs() {
            if !is_there(&self.inputs[*index]) {
                let value = self.value(*index)?;
                if value.dtype() == DType::F32 && value.floats().is_none() {
                    return Err(error::internal("an input of another type than its program's"));
                }
                let input = &mut self.inputs[*index];
                if let (Role::Bound(bound), Some(value)) = (&input.role, &mut input.value) {
                    bound.read_into(value)?;
                }
            }
        }
        Ok(())
    }

    /// The values of outputs that are not there yet, with their places. Fails when what
    /// a run gives does not fit where it is to go.
    fn make_outputs(&self, state: &DirectState) -> Result<Vec<(usize, Value)>> {
        if state.output_count() != self.outputs.len() {
            return Err(error::internal(format!("{} outputs come of a run", state.output_count())));
        }
        let mut made = Vec::new();
        for (index, output) in self.outputs.iter().enumerate() {
            let shape = state.output_shape(index);
            let shape = *shape.ok_or_else(|| error::internal("an output without a shape"))?;
            if let Some(bound) = output.bound.as_ref().filter(|b| !b.accepts_floats(&shape)) {
                let value = Value::zeros(DType::F32, shape)?;
                let name = &self.model.outputs()[index].name;
                bound.accepts(&value).map_err(|e| e.at(format_args!("output {name:?}")))?;
            }
            if !takes(&output.value, state, index) {
                made.push((index, Value::zeros(DType::F32, shape)?));
            }
        }
        for pair in &self.pairs {
            if !takes(&self.inputs[pair.input].value, state, pair.output) {
                return Err(error::internal("a state of another shape than its output"));
            }
        }
        Ok(made)
    }

    /// Whether the program is one region, and all that a run reads and writes is
    /// there: it then takes no memory, and nobody has to be asked.
    pub(super) fn is_at_hand(&self) -> bool {
        let Some(Compiled { program, state: State::Direct(state), .. }) = &self.compiled else {
            return false;
        };
        program.inputs().iter().all(|index| is_there(&self.inputs[*index]))
            && self.pairs.iter().all(|p| takes(&self.inputs[p.input].value, state, p.output))
            && self.outputs.iter().enumerate().all(|(index, output)| {
                let accepts = |bound| {
                    state
                        .output_shape(index)
                        .is_some_and(|shape| BoundOutput::accepts_floats(bound, shape))
                };
                takes(&output.value, state, index) && output.bound.as_ref().is_none_or(accepts)
            })
    }

    /// Over the memory of inputs and outputs, and an arena. Nothing is allocated.
    pub(super) fn run_at_hand(&mut self, time: Duration) -> Result<()> {
        let Inner { inputs, outputs, pairs, compiled, stop, .. } = self;
        let Some(Compiled { program, state: State::Direct(state), .. }) = compiled else {
            return Err(error::internal("a run without a region"));
        };
        within_limits(time, stop, || state.run(&Read { places: program.inputs(), inputs }))?;
        hand_on(state, inputs, outputs, pairs);
        Ok(())
    }
}

/// Whether a value is there that output `index` can be copied to: nobody else's, since
/// the host may hold a view of another one.
fn takes(value: &Option<Value>, state: &DirectState, index: usize) -> bool {
    let shape = state.output_shape(index);
    value
        .as_ref()
        .is_some_and(|v| v.is_own() && Some(v.shape()) == shape && v.dtype() == DType::F32)
}

/// Copies what a run left in the arena: to outputs, bound buffers, states.
fn hand_on(state: &DirectState, inputs: &mut [Input], outputs: &mut [Output], pairs: &[Pair]) {
    for (index, output) in outputs.iter_mut().enumerate() {
        let floats = state.output(index);
        if let Some(to) = output.value.as_mut().and_then(Value::floats_mut) {
            to.copy_from_slice(floats);
        }
        if let Some(bound) = &mut output.bound {
            bound.write_floats(floats);
        }
    }
    for pair in pairs {
        let value = inputs[pair.input].value.as_mut();
        if let Some(to) = value.and_then(Value::floats_mut) {
            to.copy_from_slice(state.output(pair.output));
        }
    }
}

/// The inputs of a program, where they are.
struct Read<'a> {
    /// For each input of the program, which of `inputs` it is.
    places: &'a [usize],
    inputs: &'a [Input],
}

impl Read<'_> {
    fn input(&self, index: usize) -> Option<&Input> {
        self.places.get(index).and_then(|place| self.inputs.get(*place))
    }
}

impl Inputs for Read<'_> {
    fn floats(&self, index: usize) -> &[f32] {
        self.input(index).and_then(floats).unwrap_or(&[])
    }
}

impl Given for Read<'_> {
    fn bytes(&self, index: usize) -> &[u8] {
        self.input(index).and_then(bytes).unwrap_or(&[])
    }
}

/// Whether an input can be read where it is.
fn is_there(input: &Input) -> bool {
    match &input.role {
        Role::Bound(bound) => bound.dtype() != DType::F32 || bound.floats().is_some(),
        _ => input.value.as_ref().is_some_and(|v| v.dtype() != DType::F32 || v.floats().is_some()),
    }
}

/// The floats of an input, read where it is or copied.
fn floats(input: &Input) -> Option<&[f32]> {
    let in_place = match &input.role {
        Role::Bound(bound) => bound.floats(),
        _ => None,
    };
    in_place.or_else(|| input.value.as_ref().and_then(Value::floats))
}

/// The elements of an input that are no floats.
fn bytes(input: &Input) -> Option<&[u8]> {
    match &input.role {
        Role::Bound(bound) => Some(bound.bytes()),
        _ => input.value.as_ref().map(Value::bytes),
    }
}
