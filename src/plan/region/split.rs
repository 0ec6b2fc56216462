//! Parts of a step, for the threads of a session that has more than one.
//!
//! A step is split when it takes long enough, into parts of equal cost that write
//! to places of their own: rows of the result, or columns where what it reads is
//! small and its weights are not. Every element is computed as it would be alone,
//! so the answers have the same bits however many threads there are.

use super::memory::Mapped;
use super::ops::Op;
use super::{MOST_WRITES, Region, Step};
use crate::crew::{self, MOST_PARTS};
use crate::error::Result;
use crate::kernels::{Aligned, FlushToZero, Isa, Panel};

/// Nanoseconds from which a step is split.
const SPLIT_FROM: u64 = 15_000;
/// Nanoseconds of a part, where there can be more than one for each thread.
const PART: u64 = 30_000;
/// Parts for each thread at the most: the next one is taken by who is ready.
const EACH: usize = 4;
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
        Ok(Team { workers })
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
        let each = usize::try_from(cost / PART).map_or(EACH, |all| all / threads).clamp(1, EACH);
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
        self.each(&mut parts[..count], |scratch, (first, y)| work(scratch, *first, y))?;
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
        self.each(&mut parts[..count], |scratch, (part, y)| work(scratch, *part, y.reborrow()))?;
        Ok(true)
    }

    fn each<T: Send>(
        &mut self,
        parts: &mut [T],
        work: impl Fn(&mut [f32], &mut T) + Sync,
    ) -> Result<()> {
        crew::each(parts, &mut self.workers, |worker, part| {
            // (As the run has it, for its helpers.)
            let _mode = FlushToZero::begin();
            work(worker.scratch.floats_mut(), part);
        })
    }
}

/// About how many nanoseconds an operation takes that reads and writes so many
/// floats; none when it cannot be split.
pub(super) fn cost(op: &Op, floats: usize) -> u64 {
    let bytes = 4 * floats as u64 + op.weight_bytes();
    let per_float = match op {
        Op::Deconv(_) | Op::Reduce { .. } | Op::Permute { .. } | Op::Moves(_) | Op::Recur(_) => {
            return 0;
        }
        Op::SoftmaxStrided(_) => return 0,
        Op::Quant(_) => return (op.flop() / FLOP_RATE / OF_BYTES).max(bytes / BYTE_RATE),
        Op::Softmax { .. } | Op::Masked { .. } => floats as u64 / 4,
        _ => 0,
    };
    (op.flop() / FLOP_RATE).max(bytes / BYTE_RATE).max(per_float)
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
            Op::Product(_) | Op::Attention(_) | Op::Quant(_) => whole,
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
            _ => false,
        };
        if !done {
            self.run(isa, reads, writes, in_place);
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
