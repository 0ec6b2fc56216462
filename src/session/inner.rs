//! What is inside a session, for the one thread that is.

use super::bind::CStrings;
use super::recurrent::Pair;
use super::{BoundInput, BoundOutput, SessionOptions};
use crate::error::{self, Kind, Result};
use crate::metrics::profile::Recorder;
use crate::model::{InputSpec, Model, PortInfo, Specialisation, find_port, port};
use crate::plan::{Program, State, Value};
use crate::tensor::{DType, Data, Shape, View};
use crate::work::Stop;
use std::sync::Arc;

/// Where an input's value comes from.
pub(super) enum Role {
    /// Written by the host, into our memory.
    Written,
    /// Read from the host's memory at every run.
    Bound(BoundInput),
    /// Fixed when the session was made.
    Constant,
    /// The output of the run before.
    State,
}

pub(super) struct Input {
    pub(super) role: Role,
    /// The shape; absent while a dim is open.
    pub(super) shape: Option<Shape>,
    /// The host gave the shape, rather than the symbols' values.
    given: bool,
    /// Made when it is first needed.
    pub(super) value: Option<Value>,
}

#[derive(Default)]
pub(super) struct Output {
    pub(super) value: Option<Value>,
    pub(super) bound: Option<BoundOutput>,
    /// What a string view shows; made once a run.
    strings: Option<CStrings>,
}

impl Output {
    /// Takes over what a run gave, or forgets it. Views end here only.
    pub(super) fn set(&mut self, value: Option<Value>) {
        self.value = value;
        self.strings = None;
    }
}

pub(super) struct Compiled {
    pub(super) program: Arc<Program>,
    pub(super) state: State,
    /// The most that the session held in a run of it.
    run_bytes: Option<u64>,
}

/// A session's content.
pub struct Inner {
    pub(super) model: Arc<Model>,
    /// Values of symbols that the options gave.
    symbols: Vec<(String, usize)>,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) pairs: Vec<Pair>,
    pub(super) compiled: Option<Compiled>,
    threads: usize,
    /// The times of steps, once a run was watched.
    pub(super) recorder: Option<Box<Recorder>>,
    /// Whether a run is under way, and is to end.
    pub(super) stop: Arc<Stop>,
    /// A run in slices that has begun.
    pub(super) sliced: Option<Sliced>,
}

/// A run in slices that has begun.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sliced {
    /// Ticks that its slices took.
    pub(super) spent: u64,
}

impl Inner {
    pub(super) fn new(model: Arc<Model>, options: SessionOptions) -> Result<Inner> {
        let input = |name: &str| find_port("input", model.inputs(), name);
        let symbols = symbol_values(&model, &options.symbols)?;
        let mut inputs: Vec<Input> = model
            .inputs()
            .iter()
            .map(|_| Input { role: Role::Written, shape: None, given: false, value: None })
            .collect();
        for (name, shape) in &options.shapes {
            let index = input(name)?;
            model.inputs()[index].accepts(shape)?;
            inputs[index].shape = Some(*shape);
            inputs[index].given = true;
        }
        for (name, value) in options.constants {
            let index = input(&name)?;
            check(&model.inputs()[index], value.dtype(), value.shape())?;
            if !matches!(inputs[index].role, Role::Written) {
                return Err(error::invalid_argument(format!("input {name:?} is fixed twice")));
            }
            let shape = Some(*value.shape());
            inputs[index] = Input { role: Role::Constant, shape, given: true, value: Some(value) };
        }
        let mut pairs = Vec::new();
        for (from, to) in &options.states {
            let index = input(from)?;
            let pair = Pair { input: index, output: find_port("output", model.outputs(), to)? };
            pair.check(&model)?;
            if !matches!(inputs[index].role, Role::Written) {
                return Err(error::invalid_argument(format!(
                    "input {from:?} is a constant or in two pairs: expected one use of it"
                )));
            }
            inputs[index].role = Role::State;
            pairs.push(pair);
        }
        let outputs = model.outputs().iter().map(|_| Output::default()).collect();
        let threads = options.threads;
        let mut inner = Inner {
            model,
            symbols,
            inputs,
            outputs,
            pairs,
            compiled: None,
            threads,
            recorder: None,
            stop: Arc::default(),
            sliced: None,
        };
        inner.derive_shapes();
        if inner.inputs.iter().all(|i| i.shape.is_some()) {
            inner.prepare()?;
        }
        Ok(inner)
    }

    /// After a panic inside a run: the program's state may be half way.
    pub(super) fn recover(&mut self) {
        self.compiled = None;
        self.sliced = None;
        self.stop.end();
    }

    /// Whether what a run reads may be changed: it may not while one is under way, in
    /// slices. One that was cancelled is given up.
    pub(super) fn at_rest(&mut self) -> Result<()> {
        match self.sliced {
            Some(_) if self.stop.is_cancelled() => self.give_up(),
            None => {}
            Some(_) => {
                return Err(error::busy(
                    "a run in slices is under way: expected inferno_session_run_for until it has \
                     finished, or inferno_session_cancel",
                ));
            }
        }
        Ok(())
    }

    /// Ends a run in slices that has begun.
    pub(super) fn give_up(&mut self) {
        if self.sliced.take().is_some() {
            self.stop.end();
            let begins_again = match self.compiled.as_mut().map(|compiled| &mut compiled.state) {
                Some(State::General(state)) => state.restart().is_ok(),
                Some(State::Direct(state)) => {
                    state.restart();
                    true
                }
                None => true,
            };
            if !begins_again {
                self.compiled = None;
            }
        }
    }

    fn port(&self, index: usize) -> Result<&PortInfo> {
        port("input", self.model.inputs(), index)
    }

    /// Sets the dims of an input.
    pub fn set_shape(&mut self, index: usize, shape: &Shape) -> Result<()> {
        self.at_rest()?;
        let port = self.port(index)?;
        port.accepts(shape)?;
        let name = &port.name;
        if self.inputs[index].shape == Some(*shape) {
            return Ok(());
        }
        if matches!(self.inputs[index].role, Role::Constant) {
            return Err(error::unsupported(format!("input {name:?} is a constant of the session")));
        }
        self.inputs[index].given = true;
        self.reshape(index, Some(*shape));
        self.derive_shapes();
        Ok(())
    }

    fn reshape(&mut self, index: usize, shape: Option<Shape>) {
        let input = &mut self.inputs[index];
        if input.shape != shape {
            input.shape = shape;
            input.value = None;
            if matches!(input.role, Role::Bound(_)) {
                input.role = Role::Written;
            }
            self.compiled = None;
            // Of another shape, and of the program that goes.
            self.outputs.iter_mut().for_each(|output| output.set(None));
        }
    }

    /// Sets the shapes that nobody gave from the symbols: their values in the
    /// options first, then in the shapes that were given.
    fn derive_shapes(&mut self) {
        let mut symbols = self.symbols.clone();
        for (input, port) in self.inputs.iter().zip(self.model.inputs()) {
            if let (true, Some(shape), Some(dims)) = (input.given, &input.shape, &port.dims) {
                let named = dims.iter().zip(shape.iter());
                symbols.extend(named.filter_map(|(d, n)| Some((d.symbol.clone()?, *n))));
            }
        }
        for index in 0..self.inputs.len() {
            if !self.inputs[index].given {
                let shape = guess(&self.model.inputs()[index], &symbols);
                self.reshape(index, shape);
            }
        }
    }

    /// Why a graph may not fit the current shapes: they give a symbol two values. (Some
    /// models call by one name what need not be the same.)
    fn two_values(&self) -> Option<String> {
        let mut first: Vec<(&str, usize, &str)> = Vec::new();
        for (input, port) in self.inputs.iter().zip(self.model.inputs()) {
            let (Some(shape), Some(dims)) = (&input.shape, &port.dims) else { continue };
            for (dim, value) in dims.iter().zip(shape.iter()) {
                let Some(symbol) = dim.symbol.as_deref() else { continue };
                match first.iter().find(|(name, ..)| *name == symbol) {
                    None => first.push((symbol, *value, &port.name)),
                    Some((_, other, _)) if other == value => {}
                    Some((_, other, from)) => {
                        return Some(format!(
                            "{symbol:?} is {other} in input {from:?} and {value} in input {:?}: \
                             expected one value",
                            port.name
                        ));
                    }
                }
            }
        }
        None
    }

    /// Why a graph could not be made: the shapes, where they contradict each other.
    fn explained(&self, e: error::Error) -> error::Error {
        let may_be =
            matches!(e.kind(), Kind::InvalidModel | Kind::Unsupported | Kind::ShapeMismatch);
        match may_be.then(|| self.two_values()).flatten() {
            Some(why) => error::shape_mismatch(format!("{why} ({})", e.detail())),
            None => e,
        }
    }

    /// Compiles for the current shapes.
    pub fn prepare(&mut self) -> Result<()> {
        if self.compiled.is_some() {
            return Ok(());
        }
        let mut specs = Vec::with_capacity(self.inputs.len());
        for (input, port) in self.inputs.iter().zip(self.model.inputs()) {
            specs.push(match (&input.role, &input.value) {
                (Role::Constant, Some(value)) => InputSpec::Constant(value.tensor().clone()),
                _ => InputSpec::Run(input.shape.ok_or_else(|| open_dim(port))?),
            });
        }
        let program = Program::of(&self.model, &Specialisation { inputs: specs })
            .map_err(|e| self.explained(e))?;
        for pair in &self.pairs {
            pair.check_shapes(&self.model, self.inputs[pair.input].shape, &program)?;
        }
        let state = program.state(self.threads)?;
        // (It knows steps by where they are.)
        self.recorder = None;
        self.compiled = Some(Compiled { program, state, run_bytes: None });
        Ok(())
    }

    /// The value of an input, made when it is not there yet.
    pub(super) fn value(&mut self, index: usize) -> Result<&mut Value> {
        let port = port("input", self.model.inputs(), index)?;
        let input = &mut self.inputs[index];
        let shape = input.shape.ok_or_else(|| open_dim(port))?;
        if input.value.is_none() {
            input.value = Some(Value::zeros(port.dtype, shape)?);
        }
        input.value.as_mut().ok_or_else(|| error::internal("an input without a value"))
    }

    /// A writable view of an input.
    pub fn input(&mut self, index: usize) -> Result<View<'_>> {
        self.at_rest()?;
        let port = self.port(index)?;
        let (name, dtype) = (port.name.clone(), port.dtype);
        let refused = |why: &str| Err(error::unsupported(format!("input {name:?} {why}")));
        if dtype == DType::String {
            return refused("is a string tensor: set it with inferno_session_set_input");
        }
        match self.inputs[index].role {
            Role::Written => {}
            Role::Constant => return refused("is a constant of the session: it has no view"),
            Role::State => return refused("is a recurrent state: set it, or restore the state"),
            Role::Bound(_) => return refused("is bound to the host's memory: write there"),
        }
        let value = self.value(index)?;
        let shape = *value.shape();
        let bytes = value
            .bytes_mut()
            .ok_or_else(|| error::internal(format!("input {name:?} is shared")))?;
        Ok(View { dtype, shape, data: Data::BytesMut(bytes) })
    }

    /// A view of an output as the last run left it.
    pub fn output(&mut self, index: usize) -> Result<View<'_>> {
        let port = port("output", self.model.outputs(), index)?;
        let output = &mut self.outputs[index];
        let value = output.value.as_ref().ok_or_else(|| {
            error::not_ready(format!("output {:?}: expected a run before it is read", port.name))
        })?;
        let (dtype, shape) = (value.dtype(), *value.shape());
        if dtype != DType::String {
            return Ok(View { dtype, shape, data: Data::Bytes(value.bytes()) });
        }
        let strings = match &mut output.strings {
            Some(made) => made,
            none => none.insert(CStrings::new(&value.strings()?)),
        };
        Ok(View { dtype, shape, data: Data::Strings(strings.pointers()) })
    }

    /// The memory of an input that the host writes.
    pub(crate) fn input_bytes(&mut self, index: usize) -> Result<&mut [u8]> {
        let bytes = self.value(index)?.bytes_mut();
        bytes.ok_or_else(|| error::internal("an input that cannot be written"))
    }

    /// Lets the next run write its outputs to `values`, where they are of its shapes
    /// and nobody else's. They are gone from there.
    pub(crate) fn give_outputs(&mut self, values: &mut Vec<Value>) {
        let mut given = values.drain(..);
        self.outputs.iter_mut().for_each(|output| output.set(given.next()));
    }

    /// Takes the outputs of the last run.
    pub(crate) fn take_outputs(&mut self, to: &mut Vec<Value>) -> Result<()> {
        for output in &mut self.outputs {
            let value = output.value.take();
            to.push(value.ok_or_else(|| error::internal("an output without a value"))?);
            output.set(None);
        }
        Ok(())
    }

    /// Replaces the value, and with it the shape, of an input.
    pub fn set_input(&mut self, index: usize, value: Value) -> Result<()> {
        self.at_rest()?;
        let port = self.port(index)?;
        check(port, value.dtype(), value.shape())?;
        if matches!(self.inputs[index].role, Role::Constant) {
            let name = &port.name;
            return Err(error::unsupported(format!("input {name:?} is a constant of the session")));
        }
        self.set_shape(index, &value.shape().clone())?;
        let input = &mut self.inputs[index];
        if matches!(input.role, Role::Bound(_)) {
            input.role = Role::Written;
        }
        // A view of this input stays valid while the shape is the same.
        match input.value.as_mut().and_then(Value::bytes_mut) {
            Some(to) => to.copy_from_slice(value.bytes()),
            None => input.value = Some(value),
        }
        Ok(())
    }

    /// Binds an input to the host's memory, or to ours again.
    pub fn bind_input(&mut self, index: usize, bound: Option<BoundInput>) -> Result<()> {
        self.at_rest()?;
        let port = self.port(index)?;
        let name = port.name.clone();
        let refused = |why: &str| Err(error::unsupported(format!("input {name:?} {why}")));
        match self.inputs[index].role {
            Role::Constant => return refused("is a constant of the session: it cannot be bound"),
            Role::State => return refused("is a recurrent state: it cannot be bound"),
            Role::Written | Role::Bound(_) => {}
        }
        if let Some(bound) = &bound {
            check(port, bound.dtype(), bound.shape())?;
            self.set_shape(index, &bound.shape().clone())?;
        }
        self.inputs[index].role = bound.map_or(Role::Written, Role::Bound);
        Ok(())
    }

    /// Binds an output to the host's memory, or undoes it.
    pub fn bind_output(&mut self, index: usize, bound: Option<BoundOutput>) -> Result<()> {
        self.at_rest()?;
        let port = port("output", self.model.outputs(), index)?;
        if let Some(bound) = &bound {
            check(port, bound.dtype(), bound.shape())?;
            let known = self.compiled.as_ref().and_then(|c| c.program.output_shape(index));
            if let Some(shape) = known.filter(|s| s != bound.shape()) {
                return Err(error::shape_mismatch(format!(
                    "output {:?}: dims {}, expected {shape}",
                    port.name,
                    bound.shape()
                )));
            }
        }
        self.outputs[index].bound = bound;
        Ok(())
    }

    /// The most that the session held in a run of its shapes, if one was.
    pub(super) fn run_bytes(&self) -> Option<u64> {
        self.compiled.as_ref()?.run_bytes
    }

    /// A run held at most so much.
    pub(super) fn ran_within(&mut self, bytes: u64) {
        // (Where it depends on the values, the next one may hold less.)
        if let Some(compiled) = &mut self.compiled
            && compiled.program.arena_bytes().is_some()
        {
            compiled.run_bytes = Some(bytes);
        }
    }

    /// What inputs, state, outputs and the values between steps come to at the
    /// most, when that is known.
    pub(super) fn value_bytes(&self) -> Option<u64> {
        let Compiled { program, state, .. } = self.compiled.as_ref()?;
        let arena = program.arena_bytes()?;
        let team = match state {
            State::Direct(state) => state.team_bytes(),
            State::General(_) => 0,
        };
        let bytes = |value: &Value| value.bytes().len() as u64;
        let inputs = self.inputs.iter().filter_map(|input| input.value.as_ref());
        let outputs = self.outputs.iter().filter_map(|output| output.value.as_ref());
        Some(arena + team + inputs.chain(outputs).map(bytes).sum::<u64>())
    }

    /// Recurrent state to zeros, outputs forgotten; a run in slices is given up.
    pub fn reset(&mut self) -> Result<()> {
        self.give_up();
        for pair in &self.pairs {
            self.inputs[pair.input].value = None;
        }
        self.outputs.iter_mut().for_each(|output| output.set(None));
        Ok(())
    }
}

/// The shape of an input: fixed by the model, or by the symbols' values.
fn guess(port: &PortInfo, symbols: &[(String, usize)]) -> Option<Shape> {
    let dims = port.dims.as_ref()?.iter().map(|dim| {
        let named = |s: &String| symbols.iter().find(|(name, _)| name == s).map(|(_, v)| *v);
        dim.fixed.or_else(|| dim.symbol.as_ref().and_then(named))
    });
    Shape::new(&dims.collect::<Option<Vec<usize>>>()?).ok()
}

fn symbol_values(model: &Model, given: &[(String, i64)]) -> Result<Vec<(String, usize)>> {
    let mut known: Vec<&str> = model
        .inputs()
        .iter()
        .flat_map(|p| p.dims.iter().flatten())
        .filter_map(|d| d.symbol.as_deref())
        .collect();
    known.sort_unstable();
    known.dedup();
    let one = |(name, value): &(String, i64)| {
        if !known.contains(&name.as_str()) {
            return Err(error::not_found(format!(
                "no symbol is called {name:?}: expected one of {known:?}"
            )));
        }
        let value = usize::try_from(*value).map_err(|_| {
            error::invalid_argument(format!("symbol {name:?} is {value}: expected 0 or more"))
        })?;
        Ok((name.clone(), value))
    };
    given.iter().map(one).collect()
}

/// Whether a tensor of `dtype` and `shape` may stand at `port`.
pub(crate) fn check(port: &PortInfo, dtype: DType, shape: &Shape) -> Result<()> {
    if port.dtype != dtype {
        return Err(error::dtype_mismatch(format!(
            "{:?}: a tensor of {dtype}, expected {}",
            port.name, port.dtype
        )));
    }
    port.accepts(shape)
}

fn open_dim(port: &PortInfo) -> error::Error {
    let open = port.dims.as_ref().and_then(|dims| {
        let at = dims.iter().position(|d| d.fixed.is_none())?;
        Some((at, dims[at].symbol.as_deref().unwrap_or("?")))
    });
    let which = match open {
        Some((at, symbol)) => format!("dim {at} ({symbol}) of {port} is open"),
        None => "its rank is open".to_owned(),
    };
    error::not_ready(format!(
        "input {:?}: {which}: expected a shape, by the session's options, \
         inferno_session_set_shape or inferno_session_set_input",
        port.name
    ))
}
