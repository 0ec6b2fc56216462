//! Native regions: a part of a graph, or the whole of it, as a list of steps
//! over one arena.
//!
//! [`lower`] turns a node of tract's typed graph, at concrete shapes, into steps
//! over f32 tensors, or says that it cannot; [`assemble`] joins the steps of many
//! nodes, fuses them ([`fuse`]) and gives every value a place in the arena
//! ([`memory`]); [`partition`] finds which nodes make a region of their own
//! inside a graph that has others, and [`node`] makes one node of them.
//!
//! A step reads inputs, constants and the arena, and writes the arena only:
//! what a region gives is read from there when all its steps have ended, so a
//! run that fails has changed nothing.

mod assemble;
mod attention;
mod conv;
mod conv2d;
mod deconv;
mod depthwise;
mod einsum;
mod elementwise;
mod fuse;
mod gates;
mod lookup;
mod loops;
mod lower;
mod memory;
mod moves;
mod node;
mod ops;
mod partition;
mod quant;
mod recurs;
mod resize;
mod rows;
mod scale;
mod slice;
mod split;
#[cfg(test)]
mod tests;

pub(super) use lookup::{Lookup, replace as find_lookups};
pub(super) use lower::Raw;
pub(super) use node::RegionOp;
pub(super) use node::{for_threads, in_slice};
pub(super) use partition::{compile, straight};
pub(super) use slice::Slices;
pub(super) use split::Team;

use crate::crew;
use crate::error::Result;
use crate::kernels::{Aligned, Floats, Isa};
use crate::metrics::profile;
use crate::tensor::Shape;
use crate::work;
use memory::Mapped;
use ops::Op;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The memory that a region's inputs are read from.
pub trait Inputs {
    /// The floats of input `index` of the region; always the same.
    fn floats(&self, index: usize) -> &[f32];
}

/// Values of one step that are written at most.
const MOST_WRITES: usize = 4;

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    /// An input of the region.
    Input(usize),
    /// A constant of the region.
    Constant(usize),
    /// In the arena, from this float on.
    Arena(usize),
}

/// Floats at a place.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Spot {
    place: Place,
    len: usize,
}

/// One operation, with what it reads and writes.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    op: Op,
    reads: Vec<Spot>,
    /// Starts and lengths in the arena.
    writes: Vec<(usize, usize)>,
    /// The first value read is the first one written.
    in_place: bool,
    /// About how many nanoseconds it takes, where it can be split.
    cost: u64,
    /// Who asked for it.
    name: String,
}

/// A compiled region. Immutable, shared by the sessions that run it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Region {
    isa: Isa,
    steps: Vec<Step>,
    constants: Vec<Floats>,
    /// Floats of each input.
    inputs: Vec<usize>,
    /// Where in the arena each output is, and its shape.
    outputs: Vec<(Range<usize>, Shape)>,
    arena: usize,
    /// Floats of steps that a simpler graph might do without, and of all steps.
    #[serde(skip)]
    loose: [usize; 2],
}

impl Step {
    /// Floats of scratch that a part of it needs at the most.
    fn part_scratch(&self) -> usize {
        match split::pays(self.cost) {
            true => self.op.part_scratch(self.writes.get(1).map_or(0, |(_, len)| *len)),
            false => 0,
        }
    }

    /// What a profile says of it.
    fn profiled(&self) -> profile::Step {
        let read: usize = self.reads.iter().map(|spot| spot.len).sum();
        let written: usize = self.writes.iter().map(|(_, len)| *len).sum();
        profile::Step {
            name: format!("{} {}", self.op.name(), self.name).into(),
            is_native: true,
            is_within: true,
            flop: self.op.flop(),
            bytes: 4 * (read + written) as u64 + self.op.weight_bytes(),
        }
    }
}

impl Region {
    /// Whether everything that its steps read and write is there.
    pub(super) fn is_sound(&self) -> bool {
        let inside =
            |from: usize, len: usize| from.checked_add(len).is_some_and(|end| end <= self.arena);
        let reads = |spot: &Spot| match spot.place {
            Place::Input(at) => self.inputs.get(at) == Some(&spot.len),
            Place::Constant(at) => self.constants.get(at).is_some_and(|c| spot.len <= c.len()),
            Place::Arena(from) => inside(from, spot.len),
        };
        self.isa.is_there()
            && self.steps.iter().all(|step| {
                step.writes.len() <= MOST_WRITES
                    && step.reads.iter().all(reads)
                    && step.writes.iter().all(|(from, len)| inside(*from, *len))
            })
            && self.outputs.iter().all(|(range, shape)| {
                range.start <= range.end && range.end <= self.arena && range.len() == shape.volume()
            })
    }

    /// Packs the weights, step by step. A region that was compiled is not ready before;
    /// it is best done when nobody else has the graph's weights any more, which go one
    /// by one as they are packed.
    ///
    /// Fails when there is no memory, or time is up.
    pub(super) fn pack(&mut self) -> Result<()> {
        // The largest first: what it was made of has room for the next ones.
        let mut steps: Vec<&mut Step> = self.steps.iter_mut().collect();
        steps.sort_by_key(|step| std::cmp::Reverse(step.op.weight_bytes()));
        for step in steps {
            work::check()?;
            step.op.pack().map_err(|e| e.at(format_args!("node {}", step.name)))?;
        }
        Ok(())
    }

    /// Whether a simpler graph would hardly make it faster.
    pub(super) fn is_tidy(&self) -> bool {
        let [loose, all] = self.loose;
        loose <= all / 32
    }

    /// The shape of each output.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &Shape> {
        self.outputs.iter().map(|(_, shape)| shape)
    }

    /// Memory for a session.
    pub(super) fn arena(&self) -> Result<Aligned> {
        Aligned::zeros(self.arena).map_err(|e| e.at("the arena"))
    }

    /// Bytes of the arena.
    pub(super) fn arena_bytes(&self) -> u64 {
        (self.arena as u64).div_ceil(16) * 64
    }

    /// Floats that each input has.
    pub(super) fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// How many outputs there are.
    pub(super) fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// The shape of an output.
    pub(super) fn output_shape(&self, index: usize) -> Option<&Shape> {
        self.outputs.get(index).map(|(_, shape)| shape)
    }

    /// An output, as the last run left it.
    pub(super) fn output<'a>(&self, arena: &'a Aligned, index: usize) -> &'a [f32] {
        &arena.floats()[self.outputs[index].0.clone()]
    }

    /// Runs all steps, the large ones on the threads of a team if there is one. The
    /// inputs are asked for again by every step that reads one.
    ///
    /// # Panics
    ///
    /// When an input has another length than it must: see [`Region::inputs`].
    pub(super) fn run(
        &self,
        inputs: &dyn Inputs,
        arena: &mut Aligned,
        team: Option<&mut Team>,
    ) -> Result<()> {
        match profile::is_on() {
            false => self.run_steps::<false>(inputs, arena, team),
            true => self.run_steps::<true>(inputs, arena, team),
        }
    }

    fn run_steps<const WATCHED: bool>(
        &self,
        inputs: &dyn Inputs,
        arena: &mut Aligned,
        team: Option<&mut Team>,
    ) -> Result<()> {
        let floats = arena.floats_mut();
        let mut team = team.filter(|_| crew::is_here());
        work::between(|checks| {
            for step in &self.steps {
                checks.check().map_err(|e| e.at(format_args!("node {}", step.name)))?;
                let begun = if WATCHED { profile::now() } else { 0 };
                memory::split(floats, &step.writes, |writes, gaps| {
                    let reads = Mapped { region: self, step, inputs, gaps };
                    if let Some(team) = &mut team
                        && split::pays(step.cost)
                    {
                        return step.op.split(self.isa, &reads, writes, step, team);
                    }
                    step.op.run(self.isa, &reads, writes, step.in_place);
                    Ok(())
                })?;
                if WATCHED {
                    profile::note((&raw const *step).addr(), begun, || step.profiled());
                }
            }
            Ok(())
        })
    }
}
