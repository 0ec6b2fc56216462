//! The steps of many nodes as one region.

use super::fuse;
use super::lower::{Lowered, Raw, Ref};
use super::memory::{self, Life};
use super::ops::Op;
use super::quant::{self, Quant};
use super::{MOST_WRITES, Place, Region, Spot, Step, partition, split};
use crate::kernels::{self, Floats, Isa};
use crate::tensor::Shape;
use std::collections::HashMap;
use tract_onnx::prelude::{OutletId, TypedModel, TypedNode};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Input(usize),
    Constant(usize),
    Step,
}

/// A value while a region is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub(super) origin: Origin,
    pub(super) len: usize,
    /// The region gives it.
    pub(super) is_output: bool,
}

/// A step while a region is made; values by their numbers.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) op: Op,
    pub(super) reads: Vec<usize>,
    pub(super) writes: Vec<usize>,
    pub(super) name: String,
    /// A simpler graph might do without it.
    pub(super) is_loose: bool,
}

/// A region while it is made.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pub(super) values: Vec<Value>,
    pub(super) steps: Vec<Planned>,
    pub(super) constants: Vec<Floats>,
    inputs: Vec<usize>,
    outputs: Vec<(usize, Shape)>,
    /// By outlet, and whether it lies channels last.
    of: HashMap<(OutletId, bool), usize>,
}

/// The axes of a permutation of images to channels last, or back; none when it
/// moves nothing.
fn turn(dims: &[usize], to_last: bool) -> Option<Vec<usize>> {
    let (n, c, h, w) = match *dims {
        [c, h, w] => (1, c, h, w),
        [n, c, h, w] => (n, c, h, w),
        _ => return None,
    };
    let dims = if to_last { [n, c, h * w] } else { [n, h * w, c] };
    (c > 1 && h * w > 1).then(|| dims.to_vec())
}

impl Assembly {
    fn value(&mut self, origin: Origin, len: usize) -> usize {
        self.values.push(Value { origin, len, is_output: false });
        self.values.len() - 1
    }

    /// The value of an outlet that is an input, a constant or has been computed; its
    /// channels last or not.
    fn outlet(&mut self, graph: &TypedModel, outlet: OutletId, last: bool) -> Option<usize> {
        if let Some(value) = self.of.get(&(outlet, last)) {
            return Some(*value);
        }
        let fact = graph.outlet_fact(outlet).ok()?;
        let turned = fact.shape.as_concrete().and_then(|dims| turn(dims, last));
        let value = match (self.of.get(&(outlet, !last)).copied(), turned, &fact.konst) {
            (Some(other), None, _) => other,
            (Some(other), Some(dims), None) => {
                let value = self.value(Origin::Step, quant::cells(fact)?.1);
                let op = match quant::is_byte(fact.datum_type) {
                    true => Op::Quant(Quant::Turn(<[usize; 3]>::try_from(dims).ok()?)),
                    false => Op::permute(&dims, &[0, 2, 1]),
                };
                let name = "to another layout".to_owned();
                let (reads, writes) = (vec![other], vec![value]);
                self.steps.push(Planned { op, reads, writes, name, is_loose: false });
                value
            }
            (_, turned, Some(constant)) => {
                let raw = Raw::of(constant);
                let len = raw.as_ref().map_or(0, |raw| raw.as_ref().len());
                let floats = match (raw, turned) {
                    (Some(raw), Some(dims)) if last => {
                        let mut turned = vec![0.0; len];
                        kernels::permute(&dims, &[0, 2, 1], raw.as_ref(), &mut turned);
                        Floats::copied(&turned).ok()?
                    }
                    (Some(raw), _) => raw.lines()?,
                    // Indices, and weights that nobody reads, have no value here.
                    (None, _) => Floats::copied(&[]).ok()?,
                };
                let value = self.value(Origin::Constant(self.constants.len()), len);
                self.constants.push(floats);
                value
            }
            (None, _, None) => return None,
        };
        self.of.insert((outlet, last), value);
        Some(value)
    }

    /// The value that `of` is for a node whose steps have written `written`.
    fn resolve(
        &mut self,
        graph: &TypedModel,
        node: &TypedNode,
        written: &[usize],
        of: Ref,
        last: bool,
    ) -> Option<usize> {
        match of {
            Ref::Input(at) => self.outlet(graph, *node.inputs.get(at)?, last),
            Ref::Plain(at) => self.outlet(graph, *node.inputs.get(at)?, false),
            Ref::Written(at) => written.get(at).copied(),
        }
    }

    fn node(&mut self, graph: &TypedModel, id: usize, lowered: Lowered) -> Option<()> {
        let node = graph.nodes.get(id)?;
        let (mut written, last) = (Vec::new(), lowered.channels_last);
        let is_loose = partition::is_loose(graph, node);
        for draft in lowered.steps {
            let reads = draft.reads.iter().map(|of| self.resolve(graph, node, &written, *of, last));
            let reads = reads.collect::<Option<Vec<_>>>()?;
            let writes = draft.writes.iter().map(|len| self.value(Origin::Step, *len));
            let writes: Vec<usize> = writes.collect();
            written.extend(&writes);
            let name = format!("{} {:?}", node.op().name(), node.name);
            self.steps.push(Planned { op: draft.op, reads, writes, name, is_loose });
        }
        for (slot, output) in lowered.outputs.iter().enumerate() {
            let value = self.resolve(graph, node, &written, *output, last)?;
            self.of.insert((OutletId::new(id, slot), last), value);
        }
        Some(())
    }

    /// Steps that nobody wants are no steps.
    fn prune(&mut self) {
        let mut wanted: Vec<bool> = self.values.iter().map(|v| v.is_output).collect();
        let mut kept = Vec::with_capacity(self.steps.len());
        while let Some(step) = self.steps.pop() {
            if step.writes.iter().any(|w| wanted[*w]) {
                step.reads.iter().for_each(|r| wanted[*r] = true);
                kept.push(step);
            }
        }
        kept.reverse();
        self.steps = kept;
    }

    /// When each value is needed; values that share a place are one, named by
    /// the first of them.
    fn lives(&self) -> (Vec<Life>, Vec<usize>, Vec<bool>) {
        let none = Life { len: 0, first: usize::MAX, last: 0 };
        let mut lives: Vec<Life> =
            self.values.iter().map(|v| Life { len: v.len, ..none }).collect();
        for (at, step) in self.steps.iter().enumerate() {
            for value in &step.writes {
                (lives[*value].first, lives[*value].last) = (at, at);
            }
            step.reads.iter().for_each(|value| lives[*value].last = at);
        }
        for (life, value) in lives.iter_mut().zip(&self.values) {
            if value.is_output {
                life.last = self.steps.len();
            }
            if value.origin != Origin::Step || life.first == usize::MAX {
                *life = none;
            }
        }
        let mut group: Vec<usize> = (0..lives.len()).collect();
        let mut in_place = Vec::with_capacity(self.steps.len());
        for (at, step) in self.steps.iter().enumerate() {
            let shared = step.op.in_place().filter(|read| {
                let x = step.reads[*read];
                let others = step.reads.iter().enumerate().any(|(i, r)| i != *read && *r == x);
                let y = step.writes[0];
                self.values[x].origin == Origin::Step
                    && lives[group[x]].last == at
                    && self.values[x].len == self.values[y].len
                    && !others
            });
            if let Some(read) = shared {
                let (x, y) = (group[step.reads[read]], step.writes[0]);
                lives[x].last = lives[y].last;
                lives[y] = none;
                group[y] = x;
            }
            in_place.push(shared.is_some());
        }
        (lives, group, in_place)
    }

    fn region(mut self, isa: Isa) -> Option<Region> {
        fuse::fuse(&mut self);
        self.prune();
        let (lives, group, in_place) = self.lives();
        let (at, arena) = memory::places(&lives)?;
        let place = |value: usize| (at[group[value]], self.values[value].len);
        let spot = |value: usize| {
            let Value { origin, len, .. } = self.values[value];
            let place = match origin {
                Origin::Input(index) => Place::Input(index),
                Origin::Constant(index) => Place::Constant(index),
                Origin::Step => Place::Arena(place(value).0),
            };
            Spot { place, len }
        };
        let mut steps = Vec::with_capacity(self.steps.len());
        for (step, in_place) in self.steps.iter().zip(in_place) {
            if step.writes.len() > MOST_WRITES {
                return None;
            }
            let writes = step.writes.iter().map(|value| place(*value)).collect();
            let reads = step.reads.iter().map(|value| spot(*value)).collect();
            steps.push((reads, writes, in_place));
        }
        // (Outputs are written by a step, all of them.)
        let range = |(from, len): (usize, usize)| from..from + len;
        let outputs = self.outputs.iter().map(|(v, shape)| (range(place(*v)), *shape)).collect();
        let inputs = self.inputs.iter().map(|v| self.values[*v].len).collect();
        let mut loose = [0; 2];
        let steps = self.steps.into_iter().zip(steps).map(|(step, (reads, writes, in_place))| {
            let reads: Vec<Spot> = reads;
            let writes: Vec<(usize, usize)> = writes;
            let floats = reads.iter().map(|spot| spot.len).sum::<usize>()
                + writes.first().map_or(0, |(_, len)| *len);
            loose[0] += if step.is_loose { floats } else { 0 };
            loose[1] += floats + step.op.weight_bytes() as usize / size_of::<f32>();
            let cost = split::cost(&step.op, floats);
            Step { op: step.op, reads, writes, in_place, cost, name: step.name }
        });
        let steps = steps.collect();
        Some(Region { isa, steps, constants: self.constants, inputs, outputs, arena, loose })
    }
}

/// A region of `nodes`, which come in an order that computes; `lowered` has the
/// steps of each of them, by node, and is emptied. It has these inputs and gives
/// these outputs.
pub(super) fn assemble(
    graph: &TypedModel,
    nodes: &[usize],
    lowered: &mut [Option<Lowered>],
    inputs: &[OutletId],
    outputs: &[OutletId],
) -> Option<Region> {
    let mut assembly = Assembly::default();
    for (index, outlet) in inputs.iter().enumerate() {
        let len = super::lower::dims(graph.outlet_fact(*outlet).ok()?)?.iter().product();
        let value = assembly.value(Origin::Input(index), len);
        assembly.inputs.push(value);
        assembly.of.insert((*outlet, false), value);
    }
    for node in nodes {
        assembly.node(graph, *node, lowered.get_mut(*node)?.take()?)?;
    }
    for outlet in outputs {
        let dims = super::lower::dims(graph.outlet_fact(*outlet).ok()?)?;
        let mut value = assembly.outlet(graph, *outlet, false)?;
        if assembly.values[value].origin != Origin::Step {
            // What comes in goes out: by way of the arena.
            let len = assembly.values[value].len;
            let copy = assembly.value(Origin::Step, len);
            let op = Op::permute(&[len], &[0]);
            let name = "a copy".to_owned();
            let (reads, writes) = (vec![value], vec![copy]);
            assembly.steps.push(Planned { op, reads, writes, name, is_loose: false });
            value = copy;
        }
        assembly.values[value].is_output = true;
        assembly.outputs.push((value, Shape::new(&dims).ok()?));
    }
    assembly.region(Isa::best())
}
