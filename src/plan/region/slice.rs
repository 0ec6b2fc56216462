//! A region in slices: a step at a time, and large steps a few parts at a time.
//!
//! The parts are those that a team would do side by side ([`super::split`]), so the
//! answers have the same bits. How many a step has depends on the step alone, and a
//! slice goes on with the part that the one before did not begin.

use super::memory::{self, Mapped};
use super::split::{self, Team, Turn};
use super::{Inputs, Region, Step};
use crate::error::{self, Result};
use crate::kernels::Aligned;
use crate::metrics::profile;
use crate::plan::slice::{Costs, Slice};
use crate::work;

/// Nanoseconds from which it counts that outputs are copied.
const COPY: u64 = 10_000;

/// A session's way through a region in slices.
#[derive(Debug, Clone)]
pub(crate) struct Slices {
    /// The step that is next, and parts of it that are done.
    step: usize,
    parts: usize,
    costs: Costs,
    /// Where the session has none.
    team: Option<Team>,
}

impl Slices {
    /// Memory for a session over `region`, which may have a team.
    pub(crate) fn new(region: &Region, has_team: bool) -> Result<Slices> {
        let team = (!has_team).then(|| Team::new(region, 1)).transpose()?;
        Ok(Slices { step: 0, parts: 0, costs: Costs::of(region.steps.len()), team })
    }

    /// Whether nothing of a run is done.
    pub(crate) fn are_at_start(&self) -> bool {
        (self.step, self.parts) == (0, 0)
    }

    /// The next slice is the first of a run.
    pub(crate) fn restart(&mut self) {
        (self.step, self.parts) = (0, 0);
    }

    /// Bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.costs.bytes() + self.team.as_ref().map_or(0, Team::bytes)
    }
}

impl Step {
    /// About how many nanoseconds it takes, whether it can be split or not.
    fn estimate(&self) -> u64 {
        let read: usize = self.reads.iter().map(|spot| spot.len).sum();
        let written: usize = self.writes.iter().map(|(_, len)| *len).sum();
        self.cost.max(split::estimate(&self.op, read + written))
    }
}

impl Region {
    /// Goes on with a run for as long as `slice` says; whether it has come to its end.
    /// After a failure, it is to begin again.
    ///
    /// # Panics
    ///
    /// As [`Region::run`].
    pub(in crate::plan) fn run_slice(
        &self,
        inputs: &dyn Inputs,
        arena: &mut Aligned,
        team: Option<&mut Team>,
        slices: &mut Slices,
        slice: &mut Slice,
    ) -> Result<bool> {
        let floats = arena.floats_mut();
        let Slices { step: at, parts, costs, team: own } = slices;
        let team = team.or(own.as_mut()).ok_or_else(|| error::internal("slices without a team"))?;
        while let Some(step) = self.steps.get(*at) {
            let begun = if profile::is_on() { profile::now() } else { 0 };
            let before = *parts;
            team.turn = Some(Turn::new(*slice, std::mem::take(costs), *at, before));
            let outcome = memory::split(floats, &step.writes, |writes, gaps| {
                let reads = Mapped { region: self, step, inputs, gaps };
                if split::pays(step.cost) {
                    return step.op.split(self.isa, &reads, writes, step, team);
                }
                team.whole(step.estimate(), || step.op.run(self.isa, &reads, writes, step.in_place))
            });
            let turn = team.turn.take().ok_or_else(|| error::internal("no turn of a team"))?;
            let is_over = turn.is_over();
            (*slice, *costs, *parts) = turn.end();
            outcome.map_err(|e| e.at(format_args!("node {}", step.name)))?;
            if profile::is_on() && (!is_over || *parts > before) {
                let address = (&raw const *step).addr();
                profile::note_part(address, begun, !is_over, || step.profiled());
            }
            if is_over {
                return Ok(false);
            }
            (*at, *parts) = (*at + 1, 0);
        }
        // What comes of it is still to be copied to where it goes.
        let floats = self.outputs.iter().map(|(range, _)| range.len()).sum();
        let copy = split::copying(floats);
        if copy >= COPY && slice.admits(copy).is_none() {
            return Ok(false);
        }
        // (A region without steps looks at what a run is held to, too.)
        work::check().map(|()| true)
    }
}
