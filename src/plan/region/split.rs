//! Parts of a step, for the threads of a session that has more than one.
//!
//! A step is split when it takes long enough, into parts of equal cost that write
//! to places of their own: rows of the result, or columns where what it reads is
//! small and its weights are not. Every element is computed as it would be alone,
//! so the answers have the same bits however many threads there are.

use super::memory::Mapped;
use super::ops::{Op, softmax_of_columns};
use super::{MOST_WRITES, Region, Step};
use crate::crew::{self, MOST_PARTS};
use crate::error::Result;
use crate::kernels::{self, Aligned, FloatMode, Isa, Panel};
use crate::metrics::profile;
use crate::plan::slice::{Costs, Slice};
use crate::work;

/// Nanoseconds from which a step is split.
const SPLIT_FROM: u64 = 15_000;
/// Nanoseconds of a part, where there can be more than one for each thread.
const PART: u64 = 30_000;
/// Parts for each thread at the most: the next one is taken by who is ready.
const EACH: usize = 4;
/// Nanoseconds of a part of a slice: short beside a frame, and long enough that
/// weights are not read too often.
const SLICE_PART: u64 = 60_000;
/// Floats that lie together: no two threads write to a cache line, where they can
/// help it.
pub(super) const LINE: usize = 64;

/// Floating-point operations and bytes a nanosecond, by a thread that has neither
/// luck nor bad luck.
const FLOP_RATE: u64 = 50;
const BYTE_RATE: u64 = 8;
/// Operations of 8-bit numbers in the time of one of floats.
const OF_BYTES: u64 = 4;

/// The threads of a session.
#[derive(Debug, Clone)]
pub(crate) struct Team {
    workers: Vec<Worker>,
    /// Where a step is done in slices.
    pub(super) turn: Option<Turn>,
}

/// What a slice does of a step.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    slice: Slice,
    costs: Costs,
    step: usize,
    /// Parts that are done, and that came by.
    done: usize,
    seen: usize,
    /// A part was left to the next slice, and all after it.
    is_over: bool,
}

impl Turn {
    /// Of a step with so many parts done.
    pub(super) fn new(slice: Slice, costs: Costs, step: usize, done: usize) -> Turn {
        Turn { slice, costs, step, done, seen: 0, is_over: false }
    }

    /// Whether parts are left.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What is left of the slice, what parts cost, and how many are done.
    pub(super) fn end(self) -> (Slice, Costs, usize) {
        (self.slice, self.costs, self.done)
    }

    /// Does the next parts, `count` of them at once, about so many nanoseconds: unless
    /// they are done, or are for the next slice.
    fn parts(
        &mut self,
        count: usize,
        estimate: u64,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.seen += count;
        if self.is_over || self.seen <= self.done {
            return Ok(());
        }
        work::check()?;
        let Some(begun) = self.slice.admits(self.costs.expected(self.step, estimate)) else {
            self.is_over = true;
            return Ok(());
        };
        work()?;
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.costs.learn(self.step, estimate, took);
        self.done = self.seen;
        Ok(())
    }
}

/// What a thread needs besides.
#[derive(Debug, Clone)]
struct Worker {
    scratch: Aligned,
}

impl Team {
    /// Memory for so many threads to run `region`.
    pub(crate) fn new(region: &Region, threads: usize) -> Result<Team> {
        let floats = region.steps.iter().map(Step::part_scratch).max().unwrap_or(0);
        let mut workers = Vec::with_capacity(threads);
        for _ in 0..threads {
            workers.push(Worker { scratch: Aligned::zeros(floats).map_err(|e| e.at("scratch"))? });
        }
        Ok(Team { workers, turn: None })
    }

    /// Bytes of scratch.
    pub(crate) fn bytes(&self) -> u64 {
        self.workers.iter().map(|w| size_of_val(w.scratch.floats()) as u64).sum()
    }

    /// How many threads.
    pub(super) fn threads(&self) -> usize {
        self.workers.len()
    }

    /// Parts of a step of so many nanoseconds that has `units`, `least` of which a
    /// part has.
    fn parts(&self, cost: u64, units: usize, least: usize) -> usize {
        let threads = self.workers.len();
        let (part, most_each) = match self.turn {
            None => (PART, EACH),
            Some(_) => (SLICE_PART, (MOST_PARTS / threads).max(1)),
        };
        let each = usize::try_from(cost / part).map_or(most_each, |all| all / threads);
        let each = each.clamp(1, most_each);
        let most = units / least.max(1);
        // As many for each thread, where there can be.
        let parts = (threads * each).min(MOST_PARTS);
        if parts <= most { parts } else { (most / threads * threads).max(most.min(threads)) }
    }

    /// Calls `work` with the rows of `y`: the first one, and the floats of `row` each.
    /// All parts but the last one have a multiple of `least` of them. False when
    /// there are too few.
    pub(super) fn rows(
        &mut self,
        cost: u64,
        y: &mut [f32],
        [row, least]: [usize; 2],
        work: impl Fn(&mut [f32], usize, &mut [f32]) + Sync,
    ) -> Result<bool> {
        let units = y.len().checked_div(row).unwrap_or(0).div_ceil(least);
        let count = self.parts(cost, units, 1);
        if count < 2 {
            return Ok(false);
        }
        let mut rest = y;
        let mut parts: [(usize, &mut [f32]); MOST_PARTS] =
            std::array::from_fn(|_| (0, &mut [][..]));
        for (index, part) in parts.iter_mut().take(count).enumerate() {
            let [from, to] = [index, index + 1].map(|i| i * units / count * least);
            let len = ((to - from) * row).min(rest.len());
            let (own, after) = std::mem::take(&mut rest).split_at_mut(len);
            (*part, rest) = ((from, own), after);
        }
        self.each(cost, &mut parts[..count], |scratch, (first, y)| work(scratch, *first, y))?;
        Ok(true)
    }

    /// As [`Team::rows`], of so many images, one after the other: `work` is called with an
    /// image and its number, too. False when there are too few rows in one.
    pub(super) fn images<'a, X: Copy + Sync>(
        &mut self,
        cost: u64,
        (count, images): (usize, impl Iterator<Item = (X, &'a mut [f32])>),
        rows: [usize; 2],
        work: impl Fn(&mut [f32], (usize, X), usize, &mut [f32]) + Sync,
    ) -> Result<bool> {
        let cost = cost / count as u64;
        for (at, (x, y)) in images.enumerate() {
            let done =
                self.rows(cost, y, rows, |scratch, first, y| work(scratch, (at, x), first, y))?;
            if !done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Calls `work` with the columns of `y`, a matrix of `rows`, `stride` apart, of so
    /// many: the first one and the one after the last, and what is theirs. All begin
    /// with a multiple of `least`. False when there are too few.
    pub(super) fn columns(
        &mut self,
        cost: u64,
        y: &mut [f32],
        [rows, stride, columns]: [usize; 3],
        least: usize,
        work: impl Fn(&mut [f32], (usize, usize), Panel<'_>) + Sync,
    ) -> Result<bool> {
        let units = columns.div_ceil(least);
        let count = self.parts(cost, units, 1);
        if count < 2 {
            return Ok(false);
        }
        let mut parts: [((usize, usize), Panel<'_>); MOST_PARTS] =
            std::array::from_fn(|_| ((0, 0), Panel::default()));
        let mut rest = Panel::from(y);
        for (index, part) in parts.iter_mut().take(count).enumerate() {
            let [from, to] = [index, index + 1].map(|i| (i * units / count * least).min(columns));
            let (own, after) = rest.split_columns([rows, stride, columns - from], to - from);
            (*part, rest) = (((from, to), own), after);
        }
        self.each(cost, &mut parts[..count], |scratch, (part, y)| {
            work(scratch, *part, y.reborrow());
        })?;
        Ok(true)
    }

    /// Does all parts of a step of such a cost, or what a slice has time for.
    fn each<T: Send>(
        &mut self,
        cost: u64,
        parts: &mut [T],
        work: impl Fn(&mut [f32], &mut T) + Sync,
    ) -> Result<()> {
        let work = |worker: &mut Worker, part: &mut T| {
            // (As the run has it, for its helpers.)
            let _mode = FloatMode::flush_to_zero();
            work(worker.scratch.floats_mut(), part);
        };
        let Team { workers, turn } = self;
        let Some(turn) = turn else { return on_all(parts, workers, work) };
        let (estimate, at_once) = (cost / parts.len().max(1) as u64, workers.len());
        let workers = match at_once == 1 || crew::is_here() {
            true => &mut workers[..],
            false => &mut workers[..1],
        };
        parts
            .chunks_mut(at_once)
            .try_for_each(|g| turn.parts(g.len(), estimate, || on_all(g, workers, work)))
    }

    /// Does a step that has one part, about so many nanoseconds, where there is time.
    pub(super) fn whole(&mut self, estimate: u64, work: impl FnOnce()) -> Result<()> {
        let work = || {
            work();
            Ok(())
        };
        match &mut self.turn {
            Some(turn) => turn.parts(1, estimate, work),
            None => work(),
        }
    }
}

fn on_all<T: Send>(
    parts: &mut [T],
    workers: &mut [Worker],
    work: impl Fn(&mut Worker, &mut T) + Sync,
) -> Result<()> {
    if workers.len() == 1 || !crew::are_hosts() {
        return crew::each(parts, workers, work);
    }
    // The host's function may do what else is to be done on this thread, other sessions'
    // runs among it.
    let _hosts = FloatMode::hosts();
    work::aside(|| profile::aside(|| crew::each(parts, workers, work)))
}

/// About how many nanoseconds an operation takes that reads and writes so many
/// floats; none when it cannot be split.
pub(super) fn cost(op: &Op, floats: usize) -> u64 {
    let per_float = match op {
        Op::Permute { .. } | Op::Moves(_) | Op::Recur(_) => return 0,
        Op::SoftmaxStrided(_) | Op::Softmax { .. } | Op::Masked { .. } => floats as u64 / 4,
        _ => 0,
    };
    estimate(op, floats).max(per_float)
}

/// The same of any operation.
pub(super) fn estimate(op: &Op, floats: usize) -> u64 {
    let rate = match op {
        Op::Quant(_) => FLOP_RATE * OF_BYTES,
        _ => FLOP_RATE,
    };
    let bytes = 4 * floats as u64 + op.weight_bytes();
    (op.flop() / rate).max(bytes / BYTE_RATE)
}

/// About how many nanoseconds it takes to copy so many floats.
pub(super) fn copying(floats: usize) -> u64 {
    2 * 4 * floats as u64 / BYTE_RATE
}

/// Whether a step of such a cost is split.
pub(super) fn pays(cost: u64) -> bool {
    cost >= SPLIT_FROM
}

impl Op {
    /// Floats of scratch that a part needs at the most, where all of it needs so many.
    pub(super) fn part_scratch(&self, whole: usize) -> usize {
        match self {
            Op::Conv2d(conv) => conv.part_scratch(whole),
            Op::Product(_) | Op::Attention(_) | Op::Deconv(_) | Op::Resize(_) | Op::Quant(_) => {
                whole
            }
            _ => 0,
        }
    }

    /// As [`Op::run`], on the threads of a team where there are parts for them.
    pub(super) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        writes: &mut [&mut [f32]; MOST_WRITES],
        step: &Step,
        team: &mut Team,
    ) -> Result<()> {
        let (y, cost, in_place) = (&mut *writes[0], step.cost, step.in_place);
        let done = match self {
            Op::Product(product) => product.split(isa, reads, y, cost, team)?,
            Op::Conv2d(conv) => conv.split(isa, reads, y, cost, team)?,
            Op::Attention(attention) => attention.split(isa, reads, y, cost, team)?,
            Op::Depthwise(conv) => conv.split(isa, reads, y, cost, team)?,
            Op::Deconv(conv) => conv.split(isa, reads, y, cost, team)?,
            Op::Resize(resize) => resize.split(isa, reads, y, cost, team)?,
            Op::Pool(pool) => pool.split(isa, reads, y, cost, team)?,
            Op::Quant(quant) => quant.split(isa, reads, y, cost, team)?,
            Op::Pairwise(pairwise) => pairwise.split(isa, reads, y, in_place, cost, team)?,
            Op::Unary(_) | Op::Softmax { .. } | Op::Masked { .. } | Op::Norm(_) => {
                let (n, least) = self.row();
                let mask = self.mask(reads);
                // A mask is for so many rows again and again: of those a part has all.
                let least = mask.map_or(least, |mask| (mask.len() / n.max(1)).max(1));
                let x = (!in_place).then(|| reads.get(0));
                team.rows(cost, y, [n, least], |_, first, y| {
                    let x = x.map(|x| &x[first * n..first * n + y.len()]);
                    self.rows(isa, x, mask, y);
                })?
            }
            Op::Reduce { op, dims: [_, n, inner] } => {
                let (x, row) = (reads.get(0), n * inner);
                team.rows(cost, y, [*inner, LINE.div_ceil(*inner)], |_, first, y| {
                    let dims = [y.len() / inner, *n, *inner];
                    kernels::reduce(isa, *op, dims, &x[first * row..][..dims[0] * row], y);
                })?
            }
            Op::SoftmaxStrided([_, n, inner]) => {
                let (x, row) = ((!in_place).then(|| reads.get(0)), n * inner);
                team.rows(cost, y, [row, 1], |_, first, y| {
                    let dims = [y.len() / row, *n, *inner];
                    softmax_of_columns(isa, dims, x.map(|x| &x[first * row..][..y.len()]), y);
                })?
            }
            Op::Permute { .. } | Op::Moves(_) | Op::Recur(_) => false,
        };
        if !done {
            team.whole(cost, || self.run(isa, reads, writes, in_place))?;
        }
        Ok(())
    }

    /// Floats of a row, and rows that go together.
    fn row(&self) -> (usize, usize) {
        match self {
            Op::Softmax { n, .. } | Op::Masked { n, .. } => (*n, 1),
            Op::Norm(norm) => (norm.n, 1),
            _ => (1, LINE),
        }
    }
}
