//! A recurrent layer as one operator over packed weights.
//!
//! Where the weights of a `GRU`, `LSTM` or `RNN` are constants and its functions
//! the usual ones, it becomes a [`Recur`]; else it stays what it was.

use super::attrs;
use super::native::slots;
use crate::kernels::{self, Aligned, Cell, Isa, Outputs, Sequence, Weights, as_floats_mut};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Which inputs of the node are the initial states.
const INITIAL: [usize; 2] = [5, 6];

/// A recurrent layer with all its constants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Recur {
    #[serde(with = "shared")]
    layer: Arc<Layer>,
    /// The initial states that are given, after X.
    initial: [bool; 2],
    /// Which of Y, Y_h and Y_c are wanted.
    wanted: [bool; 3],
}

/// Weights, one direction after the other.
#[derive(Debug, Serialize, Deserialize)]
struct Layer {
    name: String,
    directions: Vec<(Weights, bool)>,
    batch_first: bool,
}

/// What is shared is written each time that somebody has it.
pub(crate) mod shared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub fn serialize<T: Serialize, S: Serializer>(it: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        it.as_ref().serialize(to)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

impl PartialEq for Recur {
    fn eq(&self, other: &Recur) -> bool {
        Arc::ptr_eq(&self.layer, &other.layer)
            && (self.initial, self.wanted) == (other.initial, other.wanted)
    }
}

impl Eq for Recur {}

/// What a run of a layer reads and writes; what is not wanted is empty.
pub(crate) struct Operands<'a> {
    pub(crate) x: &'a [f32],
    /// None for zeros.
    pub(crate) initial: [Option<&'a [f32]>; 2],
    pub(crate) y: &'a mut [f32],
    pub(crate) h: &'a mut [f32],
    pub(crate) c: &'a mut [f32],
    /// As [`Recur::scratch`] says.
    pub(crate) scratch: &'a mut [f32],
}

impl Recur {
    fn hidden(&self) -> usize {
        self.layer.directions[0].0.hidden()
    }

    /// Steps and batch of an input of `dims`.
    pub(crate) fn extent(&self, dims: &[usize]) -> Option<[usize; 2]> {
        let [a, b, input] = *dims else { return None };
        let extent = if self.layer.batch_first { [b, a] } else { [a, b] };
        (input == self.layer.directions[0].0.input()).then_some(extent)
    }

    /// Which inputs the initial states are.
    pub(crate) fn initial(&self) -> [Option<usize>; 2] {
        let [h, c] = self.initial;
        [h.then_some(1), c.then_some(1 + usize::from(h))]
    }

    /// Which of Y, Y_h and Y_c are outputs.
    pub(crate) fn wanted(&self) -> [bool; 3] {
        self.wanted
    }

    /// Floats of Y_h, and of Y_c.
    pub(crate) fn state(&self, [_, batch]: [usize; 2]) -> usize {
        self.layer.directions.len() * batch * self.hidden()
    }

    /// Floats that a run needs besides its operands.
    pub(crate) fn scratch(&self, [steps, batch]: [usize; 2]) -> usize {
        let all = self.layer.directions.iter().map(|(weights, _)| weights.scratch(steps, batch));
        all.max().unwrap_or(0)
    }

    /// Runs the layer.
    pub(crate) fn run(&self, isa: Isa, [steps, batch]: [usize; 2], operands: Operands) {
        let Operands { x, initial, y, h, c, scratch } = operands;
        let (count, hidden) = (self.layer.directions.len(), self.hidden());
        for (at, (weights, reverse)) in self.layer.directions.iter().enumerate() {
            let input = weights.input();
            // From a step to the next, from one of the batch to the next; the
            // same of Y; and from one of the batch to the next in a state.
            let (x_strides, y_strides, state_stride) = match self.layer.batch_first {
                true => (
                    [input, steps * input],
                    [count * hidden, steps * count * hidden],
                    count * hidden,
                ),
                false => ([batch * input, input], [count * batch * hidden, hidden], hidden),
            };
            // Where this direction's part begins.
            let own = at * if self.layer.batch_first { hidden } else { batch * hidden };
            fn first(given: Option<&[f32]>, from: usize) -> &[f32] {
                given.map_or(&[], |state| &state[from..])
            }
            fn part(all: &mut [f32], from: usize) -> &mut [f32] {
                if all.is_empty() { all } else { &mut all[from..] }
            }
            let sequence = Sequence {
                steps,
                batch,
                reverse: *reverse,
                x,
                x_step_stride: x_strides[0],
                x_batch_stride: x_strides[1],
                h: first(initial[0], own),
                c: first(initial[1], own),
                state_stride,
            };
            let outputs = Outputs {
                y: if y.is_empty() { None } else { Some(&mut y[own..]) },
                step_stride: y_strides[0],
                batch_stride: y_strides[1],
                h: part(h, own),
                c: part(c, own),
                state_stride,
            };
            kernels::recur(isa, weights, sequence, outputs, scratch);
        }
    }

    /// Floating-point operations of its products.
    pub(crate) fn flop(&self, [steps, batch]: [usize; 2]) -> u64 {
        let of = |w: &Weights| 2 * w.cell().gates() * w.hidden() * (w.input() + w.hidden());
        let each: usize = self.layer.directions.iter().map(|(weights, _)| of(weights)).sum();
        (steps * batch * each) as u64
    }

    /// Shapes of Y, Y_h and Y_c.
    fn shapes(&self, [steps, batch]: [usize; 2]) -> [TVec<usize>; 3] {
        let (count, hidden) = (self.layer.directions.len(), self.hidden());
        let (y, state) = match self.layer.batch_first {
            true => (tvec!(batch, steps, count, hidden), tvec!(batch, count, hidden)),
            false => (tvec!(steps, count, batch, hidden), tvec!(count, batch, hidden)),
        };
        [y, state.clone(), state]
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let floats = |at: usize| -> TractResult<&[f32]> {
            let input = inputs.get(at).with_context(|| format!("{} inputs", inputs.len()))?;
            input.try_as_plain_ram()?.as_slice::<f32>()
        };
        let x = floats(0)?;
        let extent = self.extent(inputs[0].shape()).context("X of another size than W")?;
        let mut initial = [None; 2];
        for (state, at) in initial.iter_mut().zip(self.initial()) {
            if let Some(at) = at {
                let given = floats(at)?;
                ensure!(given.len() == self.state(extent), "an initial state of another size");
                *state = Some(given);
            }
        }
        let mut outputs: Vec<Option<Tensor>> = Vec::new();
        for (shape, wanted) in self.shapes(extent).iter().zip(self.wanted) {
            let made = wanted.then(|| Tensor::zero::<f32>(shape)).transpose()?;
            outputs.push(made);
        }
        fn of(output: &mut Option<Tensor>) -> TractResult<&mut [f32]> {
            match output {
                Some(tensor) => as_floats_mut(tensor.as_bytes_mut()).context("no floats"),
                None => Ok(&mut []),
            }
        }
        let mut scratch = Aligned::zeros(self.scratch(extent))?;
        let [y, h, c] = &mut outputs[..] else { bail!("three outputs") };
        let [y, h, c] = [of(y)?, of(h)?, of(c)?];
        let operands = Operands { x, initial, y, h, c, scratch: scratch.floats_mut() };
        self.run(Isa::best(), extent, operands);
        Ok(outputs.into_iter().flatten().map(|t| t.into_tvalue()).collect())
    }
}

impl Op for Recur {
    fn name(&self) -> StaticName {
        self.layer.name.clone().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Recur {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Recur::eval(self, &inputs)
    }
}

impl TypedOp for Recur {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let dims = inputs[0].shape.as_concrete().context("a recurrent layer of open dims")?;
        let extent = self.extent(dims).context("X of another size than W")?;
        let shapes = self.shapes(extent).into_iter().zip(self.wanted);
        Ok(shapes.filter(|(_, wanted)| *wanted).map(|(shape, _)| f32::fact(&*shape)).collect())
    }

    as_op!();
}

/// A recurrent node, and what it is where it cannot be a [`Recur`].
#[derive(Debug, Clone)]
struct Recurrent {
    otherwise: Box<dyn Expansion>,
    cell: Cell,
    reverse: Vec<bool>,
    batch_first: bool,
    /// The place of each input of the node among those it has.
    slots: Vec<Option<usize>>,
    wanted: [bool; 3],
    name: String,
}

/// `node` as one operator where it can be; its functions are the usual ones, and
/// `reverse` says which of its directions begin at the end.
pub(super) fn recurrent(
    node: &NodeProto,
    reverse: Vec<bool>,
    otherwise: Box<dyn Expansion>,
) -> TractResult<Box<dyn InferenceOp>> {
    let cell = match &*node.op_type {
        "LSTM" => Cell::Lstm,
        "GRU" => {
            let linear_before_reset = attrs::int(node, "linear_before_reset", 0)? != 0;
            Cell::Gru { linear_before_reset }
        }
        _ => Cell::Rnn { relu: false },
    };
    let batch_first = attrs::flag(node, "layout", false)?;
    let named = |at: usize| node.output.get(at).is_some_and(|name| !name.is_empty());
    Ok(expand(Recurrent {
        otherwise,
        cell,
        reverse,
        batch_first,
        slots: slots(node),
        wanted: [named(0), named(1), named(2)],
        name: node.op_type.clone(),
    }))
}

impl Recurrent {
    fn slot(&self, at: usize) -> Option<usize> {
        self.slots.get(at).copied().flatten()
    }

    /// The layer, when all that it needs is there and nothing else.
    fn layer(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<Option<Recur>> {
        let fact =
            |at: usize| self.slot(at).map(|slot| model.outlet_fact(inputs[slot])).transpose();
        let Some(x) = fact(0)? else { return Ok(None) };
        let Some(dims) = x.shape.as_concrete() else { return Ok(None) };
        let concrete = x.datum_type == DatumType::F32 && dims.len() == 3 && !dims.contains(&0);
        if !concrete {
            return Ok(None);
        }
        let mut weights = Vec::new();
        for at in [1, 2, 3, 7] {
            weights.push(match fact(at)? {
                None => None,
                Some(fact) => match &fact.konst {
                    Some(value) if value.datum_type() == DatumType::F32 => Some(value.clone()),
                    _ => return Ok(None),
                },
            });
        }
        let [w, r, b, p] = &weights[..] else { return Ok(None) };
        let (Some(w), Some(r)) = (w, r) else { return Ok(None) };
        let (&[count, rows, input], &[_, _, hidden]) = (w.shape(), r.shape()) else {
            return Ok(None);
        };
        let gates = match self.cell {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn { .. } => 1,
        };
        let sizes = count == self.reverse.len()
            && hidden > 0
            && rows == gates * hidden
            && r.shape() == [count, rows, hidden]
            && dims[2] == input
            && b.as_ref().is_none_or(|b| b.shape() == [count, 2 * rows])
            && p.as_ref().is_none_or(|p| p.shape() == [count, 3 * hidden]);
        let batch = if self.batch_first { dims[0] } else { dims[1] };
        let state: &[usize] =
            if self.batch_first { &[batch, count, hidden] } else { &[count, batch, hidden] };
        for at in INITIAL {
            if let Some(fact) = fact(at)?
                && (fact.datum_type != DatumType::F32 || fact.shape.as_concrete() != Some(state))
            {
                return Ok(None);
            }
        }
        let lens = self.slot(4).is_some();
        if !sizes || lens || self.cell != Cell::Lstm && (p.is_some() || self.slot(6).is_some()) {
            return Ok(None);
        }
        let mut directions = Vec::new();
        for (at, reverse) in self.reverse.iter().enumerate() {
            let part = |tensor: &Arc<Tensor>| -> TractResult<Vec<f32>> {
                let all = tensor.try_as_plain_ram()?.as_slice::<f32>()?;
                let len = all.len() / count;
                Ok(all[at * len..(at + 1) * len].to_vec())
            };
            let (b, p) = (b.as_ref().map(part).transpose()?, p.as_ref().map(part).transpose()?);
            let (w, r) = (part(w)?, part(r)?);
            let weights =
                Weights::new(self.cell, input, hidden, &w, &r, b.as_deref(), p.as_deref())?;
            directions.push((weights, *reverse));
        }
        let layer = Layer { name: self.name.clone(), directions, batch_first: self.batch_first };
        let initial = INITIAL.map(|at| self.slot(at).is_some());
        Ok(Some(Recur { layer: Arc::new(layer), initial, wanted: self.wanted }))
    }
}

impl Expansion for Recurrent {
    fn name(&self) -> StaticName {
        self.name.clone().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.otherwise.as_ref().nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.otherwise.as_ref().rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let Some(recur) = self.layer(model, inputs)? else {
            return self.otherwise.as_ref().wire(prefix, model, inputs);
        };
        let read = [0].into_iter().chain(INITIAL).filter_map(|at| self.slot(at));
        let read: TVec<OutletId> = read.map(|slot| inputs[slot]).collect();
        model.wire_node(prefix, recur, &read)
    }
}
