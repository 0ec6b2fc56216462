//! A node of the graph as steps.

use super::ops::Op;
use super::{
    conv, conv2d, deconv, depthwise, einsum, elementwise, moves, quant, recurs, resize, rows,
};
use crate::kernels::Floats;
use crate::model::QLayer;
use std::collections::HashSet;
use std::sync::Arc;
use tract_onnx::prelude::{DatumType, OutletId, Tensor, TypedFact, TypedModel, TypedNode};
use tract_onnx::tract_core::ops::cnn::MaxPool;

/// What a step reads, or a node gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ref {
    /// An input of the node, as the node lies.
    Input(usize),
    /// An input of the node, as it is in the graph.
    Plain(usize),
    /// A value that a step of the node wrote.
    Written(usize),
}

/// A step of a node, before it has places.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) op: Op,
    pub(super) reads: Vec<Ref>,
    /// Floats of each value written; they are numbered through all the steps of
    /// the node.
    pub(super) writes: Vec<usize>,
}

/// A node as steps.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    pub(super) steps: Vec<Draft>,
    /// What each output of the node is.
    pub(super) outputs: Vec<Ref>,
    /// What it reads and gives lies channels last.
    pub(super) channels_last: bool,
    written: usize,
}

impl Lowered {
    /// Adds a step that writes one value.
    pub(super) fn step(&mut self, op: Op, reads: Vec<Ref>, len: usize) -> Ref {
        self.step_of(op, reads, vec![len])
    }

    /// Adds a step; gives the first value it writes, after which come the others.
    pub(super) fn step_of(&mut self, op: Op, reads: Vec<Ref>, writes: Vec<usize>) -> Ref {
        let first = Ref::Written(self.written);
        self.written += writes.len();
        self.steps.push(Draft { op, reads, writes });
        first
    }

    /// One step, whose value is the node's.
    pub(super) fn one(op: Op, reads: Vec<Ref>, len: usize) -> Lowered {
        let mut lowered = Lowered::default();
        let value = lowered.step(op, reads, len);
        lowered.outputs.push(value);
        lowered
    }

    /// Whether a region is made for its sake, rather than that it joins one.
    pub(super) fn is_worth_a_region(&self) -> bool {
        let moves_only =
            |op: &Op| matches!(op, Op::Moves(_) | Op::Permute { .. } | Op::Pairwise(_));
        self.steps.iter().any(|step| !moves_only(&step.op))
    }

    /// A node that gives its input under another shape.
    pub(super) fn same() -> Lowered {
        Lowered { outputs: vec![Ref::Input(0)], ..Lowered::default() }
    }
}

/// A node and its surroundings, for who lowers it.
pub(super) struct Context<'a> {
    pub(super) graph: &'a TypedModel,
    pub(super) node: &'a TypedNode,
    /// Images, which the graph has channels first (NCHW or CHW), lie channels last.
    pub(super) channels_last: bool,
}

/// The axes of an image of so many, channels last, as the graph counts them.
fn last_axes(rank: usize) -> Option<&'static [usize]> {
    match rank {
        3 => Some(&[1, 2, 0]),
        4 => Some(&[0, 2, 3, 1]),
        _ => None,
    }
}

/// The most floats that one value may have.
pub(super) const LARGEST: usize = 1 << 30;

impl<'a> Context<'a> {
    fn outlet(&self, outlet: OutletId) -> Option<&'a TypedFact> {
        self.graph.nodes.get(outlet.node)?.outputs.get(outlet.slot).map(|o| &o.fact)
    }

    pub(super) fn input_fact(&self, index: usize) -> Option<&'a TypedFact> {
        self.outlet(*self.node.inputs.get(index)?)
    }

    /// Dims of an input of floats, as they lie.
    pub(super) fn input(&self, index: usize) -> Option<Vec<usize>> {
        self.laid(dims(self.input_fact(index)?)?)
    }

    /// Dims of an output of floats, as they lie.
    pub(super) fn output(&self, index: usize) -> Option<Vec<usize>> {
        self.laid(dims(&self.node.outputs.get(index)?.fact)?)
    }

    /// Dims of an operand, and how far apart its elements lie along each; by the
    /// axes of the graph. Constants lie as they are there.
    pub(super) fn operand(&self, index: usize) -> Option<(Vec<usize>, Vec<usize>)> {
        self.lying(self.input_fact(index)?)
    }

    /// The same of the result.
    pub(super) fn result(&self) -> Option<(Vec<usize>, Vec<usize>)> {
        self.lying(&self.node.outputs.first()?.fact)
    }

    fn lying(&self, fact: &TypedFact) -> Option<(Vec<usize>, Vec<usize>)> {
        let dims = dims(fact)?;
        if fact.konst.is_some() || !self.channels_last {
            let strides = strides(&dims);
            return Some((dims, strides));
        }
        let (axes, along) = (last_axes(dims.len())?, strides(&self.laid(dims.clone())?));
        let mut of = vec![0; dims.len()];
        axes.iter().zip(along).for_each(|(axis, stride)| of[*axis] = stride);
        Some((dims, of))
    }

    /// What the graph says of each axis, as they lie.
    pub(super) fn laid<T: Clone>(&self, of: Vec<T>) -> Option<Vec<T>> {
        match self.channels_last {
            true => Some(last_axes(of.len())?.iter().map(|a| of[*a].clone()).collect()),
            false => Some(of),
        }
    }

    /// Where an axis of the first input lies.
    pub(super) fn axis(&self, axis: usize) -> usize {
        let rank = self.input_fact(0).map_or(0, |fact| fact.rank());
        let axes = last_axes(rank).filter(|_| self.channels_last);
        axes.and_then(|axes| axes.iter().position(|a| *a == axis)).unwrap_or(axis)
    }

    /// An image of the graph, channels first: its dims, one image if they do not say
    /// how many.
    pub(super) fn image(&self, index: usize) -> Option<[usize; 4]> {
        match *dims(self.input_fact(index)?)? {
            [c, h, w] => Some([1, c, h, w]),
            [n, c, h, w] => Some([n, c, h, w]),
            _ => None,
        }
    }

    /// An input that is a constant, of whatever type.
    pub(super) fn constant(&self, index: usize) -> Option<&'a Tensor> {
        self.input_fact(index)?.konst.as_deref()
    }

    /// The constant biases of so many filters: an input of one for each, or of one
    /// for all.
    pub(super) fn biases(&self, index: usize, filters: usize) -> Option<Box<[f32]>> {
        match self.floats(index)? {
            [one] => Some(vec![*one; filters].into()),
            all => (all.len() == filters).then(|| all.into()),
        }
    }

    /// The floats of an input that is a constant.
    pub(super) fn floats(&self, index: usize) -> Option<&'a [f32]> {
        floats(self.constant(index)?)
    }

    /// The same, for as long as they are wanted.
    pub(super) fn raw(&self, index: usize) -> Option<Raw> {
        Raw::of(self.input_fact(index)?.konst.as_ref()?)
    }
}

/// The floats of a constant of a graph, which it outlives.
#[derive(Debug, Clone)]
pub(in crate::plan) struct Raw(Arc<Tensor>);

impl Raw {
    pub(in crate::plan) fn of(tensor: &Arc<Tensor>) -> Option<Raw> {
        floats(tensor).map(|_| Raw(tensor.clone()))
    }

    /// They themselves, where they lie on cache lines; else a copy that does, with zeros
    /// after them.
    pub(in crate::plan) fn lines(self) -> Option<Floats> {
        let floats = Arc::new(self);
        Floats::owned_by(floats.clone()).or_else(|| Floats::copied((*floats).as_ref()).ok())
    }
}

impl AsRef<[f32]> for Raw {
    fn as_ref(&self) -> &[f32] {
        floats(&self.0).unwrap_or(&[])
    }
}

/// The dims of floats that a region may hold: none of them zero.
pub(super) fn dims(fact: &TypedFact) -> Option<Vec<usize>> {
    let dims = fact.shape.as_concrete().filter(|_| fact.datum_type == DatumType::F32)?;
    let volume = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    (1..=LARGEST).contains(&volume).then(|| dims.to_vec())
}

/// The elements of a tensor of floats.
pub(super) fn floats(tensor: &Tensor) -> Option<&[f32]> {
    tensor.try_as_plain_ram().ok()?.as_slice::<f32>().ok()
}

/// The floats between two neighbours along each axis.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// `node` as steps; none when it is not for us. Of the outlets, `last` lie channels
/// last: what reads one of them does its work so, too, where it can.
pub(super) fn lower(
    graph: &TypedModel,
    node: &TypedNode,
    last: &HashSet<OutletId>,
) -> Option<Lowered> {
    let context = &Context { graph, node, channels_last: false };
    let last_quant = &Context { graph, node, channels_last: true };
    let follows = node.inputs.first().is_some_and(|input| last.contains(input));
    if (follows || node.op_is::<QLayer>() || node.op_is::<MaxPool>())
        && let Some(image) = quant::lower(last_quant)
    {
        return Some(Lowered { channels_last: true, ..image });
    }
    if let Some(lowered) = quant::lower(context) {
        return Some(lowered);
    }
    // Every output and, but for indices, every input is of floats.
    (0..node.outputs.len()).try_for_each(|i| context.output(i).map(|_| ()))?;
    if let Some(image) = channels_last(graph, node, last) {
        return Some(Lowered { channels_last: true, ..image });
    }
    einsum::lower(context)
        .or_else(|| conv::lower(context))
        .or_else(|| deconv::along_one(context))
        .or_else(|| elementwise::lower(context))
        .or_else(|| rows::lower(context))
        .or_else(|| recurs::lower(context))
        .or_else(|| moves::lower(context))
}

fn channels_last(
    graph: &TypedModel,
    node: &TypedNode,
    last: &HashSet<OutletId>,
) -> Option<Lowered> {
    let context = &Context { graph, node, channels_last: true };
    let follows = |lowered: fn(&Context) -> Option<Lowered>| {
        let follows = node.inputs.iter().any(|input| last.contains(input));
        follows.then(|| lowered(context)).flatten()
    };
    conv2d::lower(context)
        .or_else(|| depthwise::lower(context))
        .or_else(|| deconv::lower(context))
        .or_else(|| resize::lower(context))
        .or_else(|| follows(products))
        .or_else(|| follows(elementwise::lower))
        .or_else(|| follows(rows::lower))
        .or_else(|| follows(moves::lower))
}

/// A product of images and constants, which lie as they do in the graph.
fn products(context: &Context) -> Option<Lowered> {
    let mut lowered = einsum::lower(context)?;
    for of in lowered.steps.iter_mut().flat_map(|step| &mut step.reads) {
        if let Ref::Input(at) = *of
            && context.constant(at).is_some()
        {
            *of = Ref::Plain(at);
        }
    }
    Some(lowered)
}
