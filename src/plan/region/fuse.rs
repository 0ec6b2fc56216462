//! Steps that become part of others, or come to nothing.
//!
//! - A constant that multiplies the columns of a product or a convolution is part of
//!   its weights, one that is added to them of its bias ([`scale`]); what is added
//!   to all of it is added where it is written.
//! - A function of every element is done where the product has just written.
//! - Such a function after a transposition goes before it, where a product may
//!   take it.
//! - A transposition and its inverse are nothing.
//! - What makes a mean and takes it away before a norm makes a layer norm of it;
//!   what multiplies and adds constants after it is part of it.
//! - An activation that is written out is one function ([`gates`](super::gates)).
//! - A scale and a mask before a softmax are part of it; so are the products before
//!   and after it, where there are many scores ([`attention`](super::attention)).

use super::assemble::{Assembly, Origin, Planned, Value};
use super::elementwise::Pairwise;
use super::ops::Op;
use super::scale;
use crate::kernels::{self, Binary, Isa, Reduce, Unary};
use serde::{Deserialize, Serialize};

/// What is done to the result of a product or a convolution where it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tail {
    /// Which value read is added.
    pub(super) residual: Option<usize>,
    /// What is less or more than these becomes one of them, after that.
    pub(super) clamp: Option<[f32; 2]>,
    /// Functions of every element, after that.
    pub(super) then: Vec<Unary>,
}

impl Tail {
    /// Does the functions to what has been written.
    pub(super) fn finish(&self, isa: Isa, y: &mut [f32]) {
        self.then.iter().for_each(|op| kernels::unary_in_place(isa, *op, y));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.residual.is_none() && self.clamp.is_none() && self.then.is_empty()
    }
}

/// The least and the most that a function gives that changes nothing else.
pub(super) fn bounds(op: Unary) -> Option<[f32; 2]> {
    match op {
        Unary::Relu => Some(kernels::RELU),
        Unary::Clip { low, high } => Some([low, high]),
        _ => None,
    }
}

/// Folds steps until nothing changes.
pub(super) fn fuse(assembly: &mut Assembly) {
    let steps = std::mem::take(&mut assembly.steps);
    let mut fusing = Fusing::new(assembly, steps);
    for at in 0..fusing.steps.len() {
        fusing.fold(at);
    }
    let (steps, resized) = (fusing.steps, fusing.resized);
    for (value, len) in resized {
        assembly.values[value].len = len;
    }
    assembly.steps = steps.into_iter().flatten().collect();
}

pub(super) struct Fusing<'a> {
    assembly: &'a Assembly,
    pub(super) steps: Vec<Option<Planned>>,
    /// By value: the step that writes it, and how many read it.
    pub(super) writer: Vec<Option<usize>>,
    pub(super) readers: Vec<usize>,
    /// What a value that is no more stands for.
    renamed: Vec<usize>,
    /// Values that are scratch now, of another length.
    resized: Vec<(usize, usize)>,
}

/// What comes of a step.
pub(super) enum Folded {
    /// It is part of the step before, or nothing.
    Gone,
    /// It has changed places with the one before.
    Swapped(usize),
    /// It is another one now.
    Again,
    Kept,
}

impl<'a> Fusing<'a> {
    fn new(assembly: &'a Assembly, steps: Vec<Planned>) -> Fusing<'a> {
        let count = assembly.values.len();
        let (mut writer, mut readers) = (vec![None; count], vec![0; count]);
        for (at, step) in steps.iter().enumerate() {
            step.writes.iter().for_each(|value| writer[*value] = Some(at));
            step.reads.iter().for_each(|value| readers[*value] += 1);
        }
        let steps = steps.into_iter().map(Some).collect();
        Fusing {
            assembly,
            steps,
            writer,
            readers,
            renamed: (0..count).collect(),
            resized: Vec::new(),
        }
    }

    /// Folds step `at` into those before it, as far as it goes.
    pub(super) fn fold(&mut self, at: usize) {
        if let Some(step) = &mut self.steps[at] {
            step.reads.iter_mut().for_each(|value| *value = self.renamed[*value]);
        }
        let mut next = Some(at);
        while let Some(at) = next.take() {
            match self.folded(at).unwrap_or(Folded::Kept) {
                Folded::Gone => self.steps[at] = None,
                Folded::Swapped(before) => next = Some(before),
                Folded::Again => next = Some(at),
                Folded::Kept => {}
            }
        }
    }

    /// The step that writes `value`, when one step reads it and nobody else.
    pub(super) fn before(&self, value: usize) -> Option<usize> {
        let alone = self.readers[value] == 1 && !self.assembly.values[value].is_output;
        self.writer[value].filter(|_| alone)
    }

    /// Floats of a value.
    pub(super) fn len(&self, value: usize) -> usize {
        self.assembly.values[value].len
    }

    /// A value that nobody reads is scratch of so many floats.
    pub(super) fn resize(&mut self, value: usize, len: usize) {
        self.resized.push((value, len));
    }

    fn folded(&mut self, at: usize) -> Option<Folded> {
        let step = self.steps[at].as_ref()?;
        let (main, written) = match &step.op {
            Op::Norm(_) => return self.centred(at),
            Op::Softmax { log: false, .. } => return self.masked(at),
            Op::Product(_) => return self.attention(at),
            Op::Quant(_) => return self.quantized(at),
            Op::Unary(_) | Op::Permute { .. } => (0, *step.writes.first()?),
            Op::Pairwise(pairwise) => (pairwise.in_place()?, *step.writes.first()?),
            _ => return None,
        };
        if let Op::Pairwise(pairwise) = &step.op
            && let Some(sides) = pairwise.of_all(Binary::Add)
        {
            let folded = self.residual(at, sides);
            if folded.is_some() {
                return folded;
            }
        }
        if matches!(self.steps[at].as_ref()?.op, Op::Pairwise(_)) {
            let folded = self.activation(at);
            if folded.is_some() {
                return folded;
            }
        }
        let step = self.steps[at].as_ref()?;
        let value = step.reads[main];
        let before = self.before(value)?;
        match (&self.steps[before].as_ref()?.op, &step.op) {
            (Op::Product(_) | Op::Conv2d(_) | Op::Depthwise(_) | Op::Deconv(_), Op::Unary(op)) => {
                let op = *op;
                let before_op = &mut self.steps[before].as_mut()?.op;
                let takes_clamp = before_op.takes_clamp();
                let tail = before_op.tail()?;
                match bounds(op).filter(|_| takes_clamp) {
                    Some([low, high]) => {
                        // What was within other bounds is within these.
                        let within = |v: f32| v.max(low).min(high);
                        tail.clamp = Some(tail.clamp.map_or([low, high], |own| own.map(within)));
                    }
                    None => scale::push(&mut tail.then, op),
                }
                self.takes_over(before, value, written)
            }
            (
                Op::Product(_) | Op::Conv2d(_) | Op::Depthwise(_) | Op::Deconv(_),
                Op::Pairwise(_),
            ) => self.scaled(at, before),
            (Op::Quant(_), Op::Pairwise(_)) => self.layer_scaled(at, before),
            (Op::Quant(_), Op::Unary(_)) => self.layer_then(at, before),
            (Op::Norm(norm), Op::Pairwise(pairwise)) => {
                let of = |op| pairwise.of_columns(op, norm.n).map(|[_, v]| step.reads[v]);
                let scale = of(Binary::Mul).filter(|_| norm.gamma.is_none() && norm.beta.is_none());
                let shift = of(Binary::Add).filter(|_| norm.beta.is_none());
                let scale = scale.and_then(|v| self.constant(v)).map(Box::from);
                let shift = shift.and_then(|v| self.constant(v)).map(Box::from);
                let Op::Norm(norm) = &mut self.steps[before].as_mut()?.op else { return None };
                match (scale, shift) {
                    (Some(scale), _) => norm.gamma = Some(scale),
                    (None, Some(shift)) => norm.beta = Some(shift),
                    (None, None) => return None,
                }
                self.takes_over(before, value, written)
            }
            (Op::Permute { .. }, Op::Unary(_)) => {
                // Their values are of one size.
                let (mut first, mut second) = (self.steps[before].take()?, self.steps[at].take()?);
                std::mem::swap(&mut first.op, &mut second.op);
                std::mem::swap(&mut first.name, &mut second.name);
                (self.steps[before], self.steps[at]) = (Some(first), Some(second));
                Some(Folded::Swapped(before))
            }
            (Op::Permute { dims, axes }, Op::Permute { dims: then_dims, axes: then_axes }) => {
                let between: Vec<usize> = axes.iter().map(|a| dims[*a]).collect();
                let inverse = then_axes.iter().map(|a| axes.get(*a).copied());
                let nothing = between == *then_dims && inverse.eq((0..dims.len()).map(Some));
                let given = self.steps[before].as_ref()?.reads[0];
                if !nothing || self.assembly.values[written].is_output {
                    return None;
                }
                // The first one is left without a reader.
                self.readers[value] = 0;
                self.readers[given] += self.readers[written];
                self.renamed[written] = given;
                Some(Folded::Gone)
            }
            _ => None,
        }
    }

    /// The floats of a value that is a constant.
    pub(super) fn constant(&self, value: usize) -> Option<&'a [f32]> {
        let Value { origin, len, .. } = self.assembly.values[value];
        match origin {
            Origin::Constant(at) => Some(&self.assembly.constants[at][..len]),
            _ => None,
        }
    }

    /// The function of pairs that writes `value`, which one step alone reads.
    pub(super) fn pairwise(&self, value: usize) -> Option<(usize, &Pairwise, &Planned)> {
        let at = self.before(value)?;
        let step = self.steps[at].as_ref()?;
        match &step.op {
            Op::Pairwise(pairwise) => Some((at, pairwise, step)),
            _ => None,
        }
    }

    /// Adds one of two operands where the other, a product or a convolution, is
    /// written.
    fn residual(&mut self, at: usize, sides: [usize; 2]) -> Option<Folded> {
        let step = self.steps[at].as_ref()?;
        let written = *step.writes.first()?;
        let [x, v] = sides.map(|side| step.reads[side]);
        for (value, added) in [(x, v), (v, x)] {
            let Some(before) = self.before(value) else { continue };
            let Some(Planned { op, reads, writes, .. }) = &mut self.steps[before] else {
                continue;
            };
            if value == added || writes[0] != value || !op.takes_residual() {
                continue;
            }
            let Some(tail) = op.tail() else { continue };
            tail.residual = Some(reads.len());
            reads.push(added);
            if self.writer[added].is_none_or(|writer| writer < before) {
                return self.takes_over(before, value, written);
            }
            // It waits for what is added: nobody else reads what it writes.
            self.steps[at] = self.steps[before].take();
            self.takes_over(at, value, written);
            return Some(Folded::Kept);
        }
        None
    }

    /// A norm of what has its mean taken away: sum, times 1/n, subtracted.
    fn centred(&mut self, at: usize) -> Option<Folded> {
        let step = self.steps[at].as_ref()?;
        let Op::Norm(norm) = &step.op else { return None };
        let n = norm.n;
        if norm.is_centred {
            return None;
        }
        let (less, pairwise, difference) = self.pairwise(step.reads[0])?;
        let [x, mean] = pairwise.of_rows(Binary::Sub, n)?.map(|side| difference.reads[side]);
        let (scale, pairwise, product) = self.pairwise(mean)?;
        let [sum, factor] = pairwise.of_one(Binary::Mul)?.map(|side| product.reads[side]);
        let close = |f: f32| (f * n as f32 - 1.0).abs() < 1e-5;
        if !matches!(self.constant(factor)?, [f] if close(*f)) {
            return None;
        }
        let reduce = self.before(sum)?;
        let step = self.steps[reduce].as_ref()?;
        let along =
            matches!(step.op, Op::Reduce { op: Reduce::Sum, dims: [_, len, 1] } if len == n);
        if !along || step.reads[0] != x {
            return None;
        }
        (self.steps[less], self.steps[scale], self.steps[reduce]) = (None, None, None);
        self.readers[x] -= 1;
        let step = self.steps[at].as_mut()?;
        step.reads[0] = x;
        if let Op::Norm(norm) = &mut step.op {
            norm.is_centred = true;
        }
        Some(Folded::Kept)
    }

    /// A softmax of what is scaled by a constant, or has something added to its rows.
    fn masked(&mut self, at: usize) -> Option<Folded> {
        let step = self.steps[at].as_ref()?;
        let Op::Softmax { n, .. } = step.op else { return None };
        let (mut gone, mut mask, mut scale) = (Vec::new(), None, 1.0);
        let mut x = step.reads[0];
        if let Some((add, pairwise, sum)) = self.pairwise(x)
            && let Some([main, added]) = pairwise.of_repeated().map(|s| s.map(|s| sum.reads[s]))
            && self.assembly.values[added].len.is_multiple_of(n)
            && main != added
        {
            gone.push(add);
            (x, mask) = (main, Some(added));
        }
        if let Some((multiply, pairwise, product)) = self.pairwise(x)
            && let Some([main, factor]) =
                pairwise.of_one(Binary::Mul).map(|s| s.map(|s| product.reads[s]))
            && let Some([factor]) = self.constant(factor)
        {
            gone.push(multiply);
            (x, scale) = (main, *factor);
        }
        if gone.is_empty() {
            return None;
        }
        gone.into_iter().for_each(|step| self.steps[step] = None);
        let step = self.steps[at].as_mut()?;
        step.op = Op::Masked { n, scale, has_mask: mask.is_some() };
        step.reads = [x].into_iter().chain(mask).collect();
        Some(Folded::Kept)
    }

    /// Step `before` writes `written` instead of `value`.
    pub(super) fn takes_over(
        &mut self,
        before: usize,
        value: usize,
        written: usize,
    ) -> Option<Folded> {
        self.steps[before].as_mut()?.writes[0] = written;
        self.writer[written] = Some(before);
        self.writer[value] = None;
        Some(Folded::Gone)
    }
}
