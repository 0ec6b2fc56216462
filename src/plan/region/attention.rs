//! Attention: scores, their softmax and the sum of values that they weigh as one
//! step, a block of rows of one head at a time. So the scores of a head are read
//! where they were just written, in the second-level cache, and those of all heads
//! never lie anywhere (as in Rabe and Staats, "Self-attention Does Not Need O(n²)
//! Memory", 2021; a row of scores is whole here, so the sums have the same order as
//! the separate steps').

use super::einsum::Product;
use super::fuse::{Folded, Fusing};
use super::memory::Mapped;
use super::ops::Op;
use super::split::{LINE, Team};
use crate::error::Result;
use crate::kernels::{self, Isa, Panel};
use serde::{Deserialize, Serialize};

/// Floats of scores that are computed at a time: with what they are made of, in the
/// second-level cache.
const BLOCK: usize = 64 << 10;
/// Rows of a block at least: keys and values are read again for each.
const LEAST_ROWS: usize = 48;
/// Floats of scores from which this pays: below, all of them stay in a cache, and
/// few long calls beat many short ones.
const PAYS_FROM: usize = 16 << 10;

/// softmax(Q · Kᵀ · scale + mask) · V for every head.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Attention {
    /// Queries of a head, and keys.
    rows: usize,
    keys: usize,
    /// Floats of a query and a key, and of a value.
    depth: usize,
    width: usize,
    /// Floats from a query to the next, and from a row of the result to the next.
    query: usize,
    result: usize,
    /// Floats from an element of Kᵀ and of V to the next one of its column, and of
    /// its row.
    key: [usize; 2],
    value: [usize; 2],
    /// Over batch and heads, the last one the innermost.
    heads: Vec<Heads>,
    scale: f32,
    /// Rows of the mask, which serve all rows of scores again and again; 0 for none.
    mask: usize,
    /// Rows of a block.
    block: usize,
}

/// How many, and how far the next one is in queries, keys, values, the result, and
/// rows of scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Heads {
    count: usize,
    steps: [usize; 5],
}

#[derive(Clone, Copy)]
struct Operands<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    mask: &'a [f32],
}

impl Attention {
    /// What two products and the softmax between them are.
    fn new(scores: &Product, sums: &Product, scale: f32, mask: usize) -> Option<Attention> {
        let [rows, depth, keys] = scores.dims();
        let plain = scores.is_plain() && sums.is_plain() && scores.ldc() == keys;
        if !plain || sums.dims()[..2] != [rows, keys] || sums.lda() != keys {
            return None;
        }
        // What the first writes at a turn of its loops, the second reads at one of its.
        let mut left = scores.loops().to_vec();
        let mut heads = Vec::with_capacity(left.len());
        for own in sums.loops() {
            let fits = |l: &super::loops::Loop| l.count == own.count && l.steps[2] == own.steps[0];
            let of = left.swap_remove(left.iter().position(fits)?);
            if !of.steps[2].is_multiple_of(keys) {
                return None;
            }
            let steps = [of.steps[0], of.steps[1], own.steps[1], own.steps[2], of.steps[2] / keys];
            heads.push(Heads { count: own.count, steps });
        }
        // Its rows are those of a head, of many heads, or the same for some of a head.
        let fits = mask == 0 || mask.is_multiple_of(rows) || rows.is_multiple_of(mask);
        if !left.is_empty() || !fits {
            return None;
        }
        let at_once = (BLOCK / keys.max(1)).max(LEAST_ROWS);
        let whole = mask > 1 && !mask.is_multiple_of(rows);
        Some(Attention {
            rows,
            keys,
            depth,
            width: sums.dims()[2],
            query: scores.lda(),
            result: sums.ldc(),
            key: scores.b(),
            value: sums.b(),
            heads,
            scale,
            mask,
            block: if whole { rows } else { at_once.min(rows) },
        })
    }

    /// Batch times heads.
    fn turns(&self) -> usize {
        self.heads.iter().map(|heads| heads.count).product()
    }

    /// Where a turn begins in queries, keys, values, the result, and rows of scores.
    fn at(&self, mut turn: usize) -> [usize; 5] {
        let mut at = [0; 5];
        for heads in self.heads.iter().rev() {
            let index = turn % heads.count;
            turn /= heads.count;
            at.iter_mut().zip(heads.steps).for_each(|(at, step)| *at += index * step);
        }
        at
    }

    /// Floats of a block of scores.
    fn scores(&self) -> usize {
        (self.block * self.keys).next_multiple_of(16)
    }

    /// Floats of scratch.
    pub(super) fn scratch(&self) -> usize {
        let Attention { block, keys, depth, width, .. } = *self;
        let scores = kernels::Matmul::scratch(block, depth, keys, self.key[1]);
        self.scores() + scores.max(kernels::Matmul::scratch(block, keys, width, self.value[1]))
    }

    pub(super) fn flop(&self) -> u64 {
        2 * (self.turns() * self.rows * self.keys * (self.depth + self.width)) as u64
    }

    fn operands<'r>(&self, reads: &Mapped<'r>) -> Operands<'r> {
        let mask = if self.mask > 0 { reads.get(3) } else { &[] };
        let [queries, keys, values] = [0, 1, 2].map(|at| reads.get(at));
        Operands { queries, keys, values, mask }
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32], scratch: &mut [f32]) {
        let of = self.operands(reads);
        for turn in 0..self.turns() {
            let at = self.at(turn);
            self.turn(isa, of, at, scratch, (&mut y[at[3]..]).into());
        }
    }

    /// A head: writes its rows of the result.
    fn turn(&self, isa: Isa, of: Operands, at: [usize; 5], scratch: &mut [f32], mut y: Panel) {
        let Attention { rows, keys, depth, width, query, result, .. } = *self;
        let [at_queries, at_keys, at_values, _, at_scores] = at;
        let (scores, scratch) = scratch.split_at_mut(self.scores());
        for first in (0..rows).step_by(self.block.max(1)) {
            let m = self.block.min(rows - first);
            let scores = &mut scores[..m * keys];
            let [b_row_stride, b_col_stride] = self.key;
            let (a, b) = (&of.queries[at_queries + first * query..], &of.keys[at_keys..]);
            let (lda, c) = (query, (&mut *scores).into());
            let (k, n, ldc) = (depth, keys, keys);
            kernels::Matmul { m, k, n, a, lda, b, b_row_stride, b_col_stride, c, ldc }
                .run(isa, scratch);
            kernels::softmax_masked(
                isa,
                self.scale,
                self.masked(of.mask, at_scores + first, m),
                n,
                scores,
            );
            let [b_row_stride, b_col_stride] = self.value;
            let (a, lda, b) = (&*scores, keys, &of.values[at_values..]);
            let c = y.reborrow().below(first, result);
            let (k, n, ldc) = (keys, width, result);
            kernels::Matmul { m, k, n, a, lda, b, b_row_stride, b_col_stride, c, ldc }
                .run(isa, scratch);
        }
    }

    /// What is added to `count` rows of scores from the `first`th of all on.
    fn masked<'a>(&self, mask: &'a [f32], first: usize, count: usize) -> Option<&'a [f32]> {
        match self.mask {
            0 => None,
            rows if rows <= count => Some(&mask[..rows * self.keys]),
            rows => Some(&mask[first % rows * self.keys..][..count * self.keys]),
        }
    }

    /// As [`Attention::run`], on the threads of a team: by heads, or by batch.
    pub(super) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        y: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let Attention { rows, width, result, .. } = *self;
        let Some((outer, inner)) = self.heads.split_first() else { return Ok(false) };
        let (of, step) = (self.operands(reads), outer.steps[3]);
        let turns: usize = inner.iter().map(|heads| heads.count).product();
        let reach = inner.iter().map(|heads| (heads.count - 1) * heads.steps[3]).sum::<usize>();
        if step >= reach + (rows - 1) * result + width && y.len() == outer.count * step {
            return team.rows(cost, y, [step, 1], |scratch, first, y| {
                for (index, y) in (first..).zip(y.chunks_exact_mut(step)) {
                    for turn in index * turns..(index + 1) * turns {
                        let at = self.at(turn);
                        let to = (&mut y[at[3] - index * step..]).into();
                        self.turn(isa, of, at, scratch, to);
                    }
                }
            });
        }
        if !inner.is_empty() || step < width || result < outer.count * step {
            return Ok(false);
        }
        // As many heads as begin with a line of their own.
        let least = step * (LINE >> step.trailing_zeros().min(LINE.ilog2()));
        let columns = (outer.count - 1) * step + width;
        team.columns(cost, y, [rows, result, columns], least, |scratch, (from, to), mut y| {
            for begin in (from..to).step_by(step) {
                let own = y.reborrow().split_columns([rows, result, to - from], begin - from).1;
                self.turn(isa, of, self.at(begin / step), scratch, own);
            }
        })
    }
}

impl Fusing<'_> {
    /// The product of step `at` with the softmax of another one.
    pub(super) fn attention(&mut self, at: usize) -> Option<Folded> {
        let step = self.steps[at].as_ref()?;
        let Op::Product(sums) = &step.op else { return None };
        let [shares, values] = sums.sides().map(|side| step.reads.get(side).copied());
        let (shares, values) = shares.zip(values)?;
        let softmax = self.before(shares).filter(|_| shares != values)?;
        let between = self.steps[softmax].as_ref()?;
        let (n, scale, mask) = match between.op {
            Op::Softmax { n, log: false } => (n, 1.0, None),
            Op::Masked { n, scale, has_mask } => {
                (n, scale, has_mask.then(|| between.reads.get(1).copied()).flatten())
            }
            _ => return None,
        };
        let raw = between.reads[0];
        let first = self.before(raw).filter(|_| Some(raw) != mask)?;
        let before = self.steps[first].as_ref()?;
        let Op::Product(scores) = &before.op else { return None };
        let mask_rows = mask.map_or(0, |mask| self.len(mask) / n.max(1));
        let attention = Attention::new(scores, sums, scale, mask_rows)?;
        if attention.keys != n || before.writes[0] != raw || self.len(raw) < PAYS_FROM {
            return None;
        }
        let [queries, keys] = scores.sides().map(|side| before.reads[side]);
        let reads = [queries, keys, values].into_iter().chain(mask).collect();
        // What had all scores is the scratch.
        let (writes, scratch) = (vec![step.writes[0], raw], attention.scratch());
        (self.steps[first], self.steps[softmax]) = (None, None);
        let step = self.steps[at].as_mut()?;
        (step.op, step.reads, step.writes) = (Op::Attention(attention), reads, writes);
        self.resize(raw, scratch);
        self.writer[raw] = None;
        Some(Folded::Kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_where_they_lie() {
        let heads = |count, y| Heads { count, steps: [1, 10, 100, y, 7] };
        let attention = Attention {
            rows: 5,
            keys: 3,
            depth: 2,
            width: 4,
            query: 6,
            result: 12,
            key: [1, 6],
            value: [12, 1],
            heads: vec![heads(2, 60), heads(3, 4)],
            scale: 1.0,
            mask: 10,
            block: 2,
        };
        assert_eq!(attention.turns(), 6);
        assert_eq!(attention.at(0), [0; 5]);
        assert_eq!(attention.at(2)[3..], [8, 14]);
        assert_eq!(attention.at(4)[3..], [64, 14]);
        let mask: Vec<f32> = (0..30).map(|i| i as f32).collect();
        assert_eq!(attention.masked(&mask, 17, 2).unwrap(), &mask[21..27]);
        let own = Attention { mask: 1, ..attention };
        assert_eq!(own.masked(&mask[..3], 17, 2).unwrap(), &mask[..3]);
    }
}
