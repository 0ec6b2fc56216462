//! What becomes part of a layer, or of a step of bytes.
//!
//! - Sums become floats where they are written, are scaled and get their bias there;
//! - they become bytes there, where they are quantized;
//! - a function that is bounded by what bytes can stand for is nothing before they do;
//! - two values that are dequantized, added and quantized are added as bytes;
//! - what takes the largest of what is dequantized, and is quantized alike, takes the
//!   largest bytes.

use super::{Layer, Out, Quant};
use crate::kernels::{Binary, QAdd, Scale, Unary};
use crate::plan::region::fuse::{Folded, Fusing, bounds};
use crate::plan::region::ops::Op;

/// Whether bytes stand for nothing outside these bounds.
fn saturates(of: Scale, [low, high]: [f32; 2]) -> bool {
    let q = |v: f32| (v / of.scale).round_ties_even() + f32::from(of.zero);
    of.scale > 0.0 && q(low) <= 0.0 && q(high) >= 255.0
}

impl Layer {
    /// Gives bytes instead of floats.
    fn quantize(&mut self, of: Scale) -> bool {
        let whole = self.batch == 1 || self.integers.windows.outputs().is_multiple_of(4);
        let Out::Floats { scale, bias } = &mut self.out else { return false };
        let nothing = |op: &Unary| bounds(*op).is_some_and(|bounds| saturates(of, bounds));
        if !whole || self.scaled_by.is_some() || !self.then.iter().all(nothing) {
            return false;
        }
        self.then.clear();
        let by = |all: &[f32]| all.iter().map(|v| v / of.scale).collect();
        let (scale, bias) = (by(scale), bias.as_deref().map(by));
        self.out = Out::Bytes { scale, bias, zero: of.zero };
        true
    }

    /// Multiplies the floats by constants, one for each filter or for all.
    fn scale(&mut self, by: &[f32]) -> bool {
        let filters = self.integers.windows.filters;
        let Out::Floats { scale, bias } = &mut self.out else { return false };
        if !self.then.is_empty() || self.scaled_by.is_some() {
            return false;
        }
        let of = |all: &[f32], i: usize| if all.len() == 1 { all[0] } else { all[i] };
        let count = scale.len().max(by.len());
        *scale = (0..count).map(|i| of(scale, i) * of(by, i)).collect();
        if let Some(bias) = bias {
            (0..filters).for_each(|i| bias[i] *= of(by, i));
        }
        true
    }

    /// Adds constants to the floats.
    fn shift(&mut self, by: &[f32]) -> bool {
        let filters = self.integers.windows.filters;
        let Out::Floats { bias, .. } = &mut self.out else { return false };
        if !self.then.is_empty() {
            return false;
        }
        let bias = bias.get_or_insert_with(|| vec![0.0; filters].into());
        let by = by.iter().cycle();
        bias.iter_mut().zip(by).for_each(|(v, by)| *v += by);
        true
    }

    /// Whether the floats are the sums as they are.
    fn is_bare(&self) -> bool {
        let bare = matches!(&self.out, Out::Floats { scale, bias: None } if **scale == [1.0]);
        bare && self.scaled_by.is_none() && self.then.is_empty()
    }
}

impl Fusing<'_> {
    fn layer(&mut self, at: usize) -> Option<&mut Layer> {
        match &mut self.steps[at].as_mut()?.op {
            Op::Quant(Quant::Layer(layer)) => Some(layer),
            _ => None,
        }
    }

    /// Folds a step of 8-bit numbers into those before it.
    pub(in crate::plan::region) fn quantized(&mut self, at: usize) -> Option<Folded> {
        let step = self.steps[at].as_ref()?;
        let (value, written) = (step.reads[0], step.writes[0]);
        match &step.op {
            Op::Quant(Quant::Quantize(of)) => {
                let (of, before) = (*of, self.before(value)?);
                if let Some(layer) = self.layer(before) {
                    return layer.quantize(of).then(|| self.takes_over(before, value, written))?;
                }
                match &self.steps[before].as_ref()?.op {
                    Op::Unary(op) if bounds(*op).is_some_and(|b| saturates(of, b)) => {
                        let gone = self.steps[before].take()?;
                        self.steps[at].as_mut()?.reads[0] = gone.reads[0];
                        Some(Folded::Again)
                    }
                    Op::Pairwise(_) => self.sum_of_bytes(at, before, of),
                    Op::Pool(_) => self.pool_of_bytes(at, before, of),
                    _ => None,
                }
            }
            Op::Quant(Quant::ToFloats) => {
                let before = self.before(value)?;
                let layer = self.layer(before)?;
                if !matches!(layer.out, Out::Sums) {
                    return None;
                }
                layer.out = Out::Floats { scale: [1.0].into(), bias: None };
                self.takes_over(before, value, written)
            }
            _ => None,
        }
    }

    /// The bytes that `value` is dequantized from, and what they stand for.
    fn bytes_of(&self, value: usize) -> Option<(usize, Scale)> {
        let step = self.steps[self.writer[value]?].as_ref()?;
        match step.op {
            Op::Quant(Quant::Dequantize(of)) => Some((step.reads[0], of)),
            _ => None,
        }
    }

    fn pool_of_bytes(&mut self, at: usize, before: usize, to: Scale) -> Option<Folded> {
        let step = self.steps[before].as_ref()?;
        let Op::Pool(pool) = &step.op else { return None };
        let ((geometry, batch), value) = (pool.largest()?, step.reads[0]);
        let (bytes, of) = self.bytes_of(value)?;
        if of != to || of.scale <= 0.0 || !of.scale.is_normal() {
            return None;
        }
        self.steps[before] = None;
        self.readers[value] -= 1;
        self.readers[bytes] += 1;
        let step = self.steps[at].as_mut()?;
        step.op = Op::Quant(Quant::Pool(geometry, batch));
        step.reads = vec![bytes];
        Some(Folded::Kept)
    }

    fn sum_of_bytes(&mut self, at: usize, before: usize, to: Scale) -> Option<Folded> {
        let step = self.steps[before].as_ref()?;
        let Op::Pairwise(pairwise) = &step.op else { return None };
        let values = pairwise.of_all(Binary::Add)?.map(|side| step.reads[side]);
        let ((a, a_of), (b, b_of)) = (self.bytes_of(values[0])?, self.bytes_of(values[1])?);
        self.steps[before] = None;
        values.into_iter().for_each(|value| self.readers[value] -= 1);
        [a, b].into_iter().for_each(|value| self.readers[value] += 1);
        let step = self.steps[at].as_mut()?;
        step.op = Op::Quant(Quant::Add(QAdd { from: [a_of, b_of], to }));
        step.reads = vec![a, b];
        Some(Folded::Kept)
    }

    /// Makes a function of pairs, of the floats that layer `before` writes, part of it.
    pub(in crate::plan::region) fn layer_scaled(
        &mut self,
        at: usize,
        before: usize,
    ) -> Option<Folded> {
        let filters = self.layer(before)?.integers.windows.filters;
        let step = self.steps[at].as_ref()?;
        let Op::Pairwise(pairwise) = &step.op else { return None };
        let (value, written) = (self.steps[before].as_ref()?.writes[0], step.writes[0]);
        let found = [Binary::Mul, Binary::Add].into_iter().find_map(|op| {
            let sides = pairwise.of_columns(op, filters).or_else(|| pairwise.of_one(op))?;
            Some((op, sides.map(|side| step.reads[side])))
        });
        let (op, [x, v]) = found?;
        if x != value || v == value {
            return None;
        }
        if let Some(constant) = self.constant(v) {
            let constant = constant.to_vec();
            let layer = self.layer(before)?;
            let done = match op {
                Binary::Mul => layer.scale(&constant),
                _ => layer.shift(&constant),
            };
            return done.then(|| self.takes_over(before, value, written))?;
        }
        let known = self.writer[v].is_none_or(|writer| writer < before);
        let count = self.steps[before].as_ref()?.reads.len();
        let layer = self.layer(before)?;
        if op != Binary::Mul || !layer.is_bare() {
            return None;
        }
        layer.scaled_by = Some(count);
        self.steps[before].as_mut()?.reads.push(v);
        if known {
            return self.takes_over(before, value, written);
        }
        // It waits for the scale: nobody else reads what it writes.
        self.steps[at] = self.steps[before].take();
        self.takes_over(at, value, written);
        Some(Folded::Kept)
    }

    /// Does a function of every element where layer `before` writes floats.
    pub(in crate::plan::region) fn layer_then(
        &mut self,
        at: usize,
        before: usize,
    ) -> Option<Folded> {
        let step = self.steps[at].as_ref()?;
        let Op::Unary(op) = step.op else { return None };
        let (value, written) = (step.reads[0], step.writes[0]);
        let layer = self.layer(before)?;
        if !matches!(layer.out, Out::Floats { .. }) {
            return None;
        }
        layer.then.push(op);
        self.takes_over(before, value, written)
    }
}
