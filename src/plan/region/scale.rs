//! Constants that multiply the columns of a product or a convolution, or are added
//! to them: as part of its weights and its bias, or where it is written.

use super::assemble::Planned;
use super::elementwise::Pairwise;
use super::fuse::{Folded, Fusing};
use crate::kernels::{Binary, Unary};

/// What a constant does to each column.
pub(super) enum Change {
    /// Times so much.
    Scale(Vec<f32>),
    /// Plus so much.
    Shift(Vec<f32>),
}

impl Change {
    /// A change that is the same for all, as a function.
    fn function(&self) -> Option<Unary> {
        let (Change::Scale(of) | Change::Shift(of)) = self;
        let [first, rest @ ..] = &of[..] else { return None };
        let same = rest.iter().all(|v| v.to_bits() == first.to_bits());
        same.then_some(match self {
            Change::Scale(_) => Unary::Affine { scale: *first, shift: 0.0 },
            Change::Shift(_) => Unary::Affine { scale: 1.0, shift: *first },
        })
    }
}

/// Adds a function that is done after `then`.
pub(super) fn push(then: &mut Vec<Unary>, op: Unary) {
    match (then.last_mut(), op) {
        (Some(Unary::Affine { scale, shift }), Unary::Affine { scale: by, shift: more }) => {
            (*scale, *shift) = (*scale * by, *shift * by + more);
        }
        _ => then.push(op),
    }
}

impl Fusing<'_> {
    /// What `step` does with a constant to each of so many columns of what it reads.
    fn change(&self, step: &Planned, pairwise: &Pairwise, columns: usize) -> Option<Change> {
        for (op, sign) in [(Binary::Mul, 1.0), (Binary::Add, 1.0), (Binary::Sub, -1.0)] {
            let of = if let Some([_, one]) = pairwise.of_one(op)
                && let Some([constant]) = self.constant(step.reads[one])
            {
                vec![*constant; columns]
            } else if let Some([_, all]) = pairwise.of_columns(op, columns)
                && let Some(constants) = self.constant(step.reads[all])
            {
                constants.to_vec()
            } else {
                continue;
            };
            return Some(match op {
                Binary::Mul => Change::Scale(of),
                _ => Change::Shift(of.iter().map(|v| v * sign).collect()),
            });
        }
        None
    }

    /// Makes a function of pairs, of what step `before` writes and a constant, part
    /// of that step.
    pub(super) fn scaled(&mut self, at: usize, before: usize) -> Option<Folded> {
        let step = self.steps[at].as_ref()?;
        let super::ops::Op::Pairwise(pairwise) = &step.op else { return None };
        let op = &self.steps[before].as_ref()?.op;
        let columns = op.columns()?;
        let change = self.change(step, pairwise, columns)?;
        let (value, written) = (self.steps[before].as_ref()?.writes[0], *step.writes.first()?);
        let op = &mut self.steps[before].as_mut()?.op;
        let function = change.function();
        if !op.change(change) {
            push(&mut op.tail()?.then, function?);
        }
        self.takes_over(before, value, written)
    }
}
