//! What only moves: transpositions, slices, concatenations, pads, broadcasts,
//! gathers by constant indices.

use super::lower::{Context, Lowered, Ref, floats, strides};
use super::memory::Mapped;
use super::ops::Op;
use crate::kernels::MOST_AXES;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::Tensor;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{
    Gather, MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat,
};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::nn::NearestUpsample;

/// A box of elements that is copied; strides may be zero, or negative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Part {
    /// Which value is read.
    from: usize,
    dims: Vec<usize>,
    /// Where it begins, and the strides, in what is read and what is written.
    x: (usize, Vec<isize>),
    y: (usize, Vec<isize>),
}

impl Part {
    fn new(from: usize, dims: &[usize], x: (usize, Vec<isize>), y: (usize, Vec<isize>)) -> Part {
        let mut part = Part { from, dims: dims.to_vec(), x, y };
        // Neighbouring axes that are one in both are one.
        for axis in (1..part.dims.len()).rev() {
            let inner = part.dims[axis] as isize;
            let one = |s: &[isize]| s[axis - 1] == s[axis] * inner;
            if part.dims[axis - 1] == 1 || one(&part.x.1) && one(&part.y.1) {
                part.dims[axis - 1] *= part.dims.remove(axis);
                for strides in [&mut part.x.1, &mut part.y.1] {
                    strides.remove(axis - 1);
                }
            }
        }
        part
    }

    fn copy(&self, x: &[f32], y: &mut [f32]) {
        self.axis(0, self.x.0 as isize, self.y.0 as isize, x, y);
    }

    fn axis(&self, axis: usize, x0: isize, y0: isize, x: &[f32], y: &mut [f32]) {
        let Some(dim) = self.dims.get(axis) else {
            y[y0 as usize] = x[x0 as usize];
            return;
        };
        let (sx, sy) = (self.x.1[axis], self.y.1[axis]);
        if axis + 1 < self.dims.len() {
            for i in 0..*dim as isize {
                self.axis(axis + 1, x0 + i * sx, y0 + i * sy, x, y);
            }
            return;
        }
        let (x0, y0) = (x0 as usize, y0 as usize);
        match (sx, sy) {
            (1, 1) => y[y0..y0 + dim].copy_from_slice(&x[x0..x0 + dim]),
            (0, 1) => y[y0..y0 + dim].fill(x[x0]),
            _ => {
                for i in 0..*dim as isize {
                    y[(y0 as isize + i * sy) as usize] = x[(x0 as isize + i * sx) as usize];
                }
            }
        }
    }
}

/// Copies of parts, over a ground.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Moves {
    parts: Vec<Part>,
    /// What is where no part is written.
    ground: Option<f32>,
}

impl Moves {
    pub(super) fn run(&self, reads: &Mapped, y: &mut [f32]) {
        if let Some(ground) = self.ground {
            y.fill(ground);
        }
        for part in &self.parts {
            part.copy(reads.get(part.from), y);
        }
    }
}

fn signed(strides: &[usize]) -> Vec<isize> {
    strides.iter().map(|s| *s as isize).collect()
}

/// The most parts of one step.
const MOST_PARTS: usize = 256;

/// A part of `dims` that is written whole to the beginning of `to`, or `at` along `axis`.
fn placed(from: usize, dims: &[usize], x: (usize, Vec<isize>), to: &[usize], y0: usize) -> Part {
    Part::new(from, dims, x, (y0, signed(&strides(to))))
}

fn slice(context: &Context, op: &Slice) -> Option<Lowered> {
    let (dims, to) = (context.input(0)?, context.output(0)?);
    let start = usize::try_from(op.start.to_i64().ok()?).ok()?;
    let (own, along) = (strides(&dims), context.axis(op.axis));
    let (axis, len) = (*own.get(along)?, *to.get(along)?);
    let fits = start.checked_add(len)? <= dims[along] && to.len() == dims.len();
    let part = placed(0, &to, (start * axis, signed(&own)), &to, 0);
    fits.then(|| moved(vec![part], None, 1, &to))
}

/// Every element of an image so many times along each axis.
fn upsample(context: &Context, op: &NearestUpsample) -> Option<Lowered> {
    let (dims, to) = (context.input(0)?, context.output(0)?);
    let scales = context.laid(op.scales.to_vec())?;
    let (own, out) = (strides(&dims), strides(&to));
    let fits = to.iter().zip(dims.iter().zip(&scales)).all(|(to, (d, s))| *to == d * s);
    if !fits || scales.len() != dims.len() {
        return None;
    }
    // Each axis as two: an element, and its copies.
    let (mut both, mut x, mut y) = (Vec::new(), Vec::new(), Vec::new());
    for axis in 0..dims.len() {
        both.push(dims[axis]);
        x.push(own[axis] as isize);
        y.push((out[axis] * scales[axis]) as isize);
        if scales[axis] > 1 {
            both.push(scales[axis]);
            x.push(0);
            y.push(out[axis] as isize);
        }
    }
    Some(moved(vec![Part::new(0, &both, (0, x), (0, y))], None, 1, &to))
}

/// Every so manieth along an axis.
fn downsample(context: &Context, op: &Downsample) -> Option<Lowered> {
    let (dims, to) = (context.input(0)?, context.output(0)?);
    let (mut own, along) = (signed(&strides(&dims)), context.axis(op.axis));
    let stride = op.stride;
    let last = op.modulo + (to.get(along)? - 1) * usize::try_from(stride).ok()?;
    if last >= *dims.get(along)? {
        return None;
    }
    let from = op.modulo * own[along] as usize;
    own[along] *= stride;
    Some(moved(vec![placed(0, &to, (from, own), &to, 0)], None, 1, &to))
}

fn moved(parts: Vec<Part>, ground: Option<f32>, reads: usize, to: &[usize]) -> Lowered {
    let op = Op::Moves(Moves { parts, ground });
    Lowered::one(op, (0..reads).map(Ref::Input).collect(), to.iter().product())
}

fn concat(context: &Context, op: &TypedConcat) -> Option<Lowered> {
    let to = context.output(0)?;
    let along = context.axis(op.axis);
    let axis = *strides(&to).get(along)?;
    let (mut parts, mut at) = (Vec::new(), 0);
    let count = context.node.inputs.len();
    for from in 0..count {
        let dims = context.input(from)?;
        parts.push(placed(from, &dims, (0, signed(&strides(&dims))), &to, at * axis));
        at += *dims.get(along)?;
    }
    (count <= MOST_PARTS && at == to[along]).then(|| moved(parts, None, count, &to))
}

fn broadcast(context: &Context) -> Option<Lowered> {
    let (dims, to) = (context.input(0)?, context.output(0)?);
    let own = strides(&dims);
    if dims.len() != to.len() {
        return None;
    }
    let along = |axis: usize| if dims[axis] == 1 { 0 } else { own[axis] as isize };
    let x = (0..to.len()).map(along).collect();
    Some(moved(vec![placed(0, &to, (0, x), &to, 0)], None, 1, &to))
}

/// Pads along several axes of a constant, along one with what is there.
fn pad(context: &Context, op: &Pad) -> Option<Lowered> {
    let (dims, to) = (context.input(0)?, context.output(0)?);
    let (own, out) = (strides(&dims), strides(&to));
    let pads = context.laid(op.pads.clone())?;
    if pads.len() != dims.len() {
        return None;
    }
    let begin: usize = pads.iter().zip(&out).map(|((before, _), stride)| before * stride).sum();
    let inside = placed(0, &dims, (0, signed(&own)), &to, begin);
    let mode = match &op.mode {
        PadMode::Constant(value) => {
            let [ground] = floats(value)? else { return None };
            return Some(moved(vec![inside], Some(*ground), 1, &to));
        }
        other => other,
    };
    let mut padded = (0..dims.len()).filter(|a| pads[*a] != (0, 0));
    let axis = padded.next()?;
    let (before, after, dim) = (pads[axis].0, pads[axis].1, dims[axis]);
    if padded.next().is_some() {
        return None;
    }
    // From where, and in which direction, each side is read.
    let (low, high, step) = match mode {
        PadMode::Reflect if before < dim && after < dim => {
            (before, dim.saturating_sub(2), -(own[axis] as isize))
        }
        PadMode::Edge => (0, dim - 1, 0),
        _ => return None,
    };
    let mut parts = vec![inside];
    for (count, from, at) in [(before, low, 0), (after, high, before + dim)] {
        if count == 0 {
            continue;
        }
        let mut side = dims.clone();
        side[axis] = count;
        let mut x = signed(&own);
        x[axis] = step;
        parts.push(placed(0, &side, (from * own[axis], x), &to, at * out[axis]));
    }
    Some(moved(parts, None, 1, &to))
}

/// Zeros before and after the middle axis.
pub(super) fn padded([outer, len, inner]: [usize; 3], pads: [usize; 2]) -> Op {
    let row = |len: usize| vec![(len * inner) as isize, 1];
    let (x, y) = ((0, row(len)), (pads[0] * inner, row(pads[0] + len + pads[1])));
    let parts = vec![Part::new(0, &[outer, len * inner], x, y)];
    Op::Moves(Moves { parts, ground: Some(0.0) })
}

fn indices(tensor: &Tensor) -> Option<Vec<i64>> {
    let cast = tensor.cast_to::<i64>().ok()?;
    Some(cast.try_as_plain_ram().ok()?.as_slice::<i64>().ok()?.to_vec())
}

/// A gather by constant indices.
fn gather(context: &Context, op: &Gather) -> Option<Lowered> {
    let (dims, to) = (context.input(0)?, context.output(0)?);
    let indices = indices(context.constant(1)?)?;
    let dim = *dims.get(op.axis)?;
    let own = strides(&dims);
    let inner = own[op.axis];
    let outer: usize = dims[..op.axis].iter().product();
    if indices.len() > MOST_PARTS || outer * indices.len() * inner != to.iter().product::<usize>() {
        return None;
    }
    let mut parts = Vec::with_capacity(indices.len());
    for (at, index) in indices.iter().enumerate() {
        let index = if *index < 0 { index + dim as i64 } else { *index };
        let index = usize::try_from(index).ok().filter(|i| *i < dim)?;
        let row = |count: usize| vec![(count * inner) as isize, 1];
        let (x, y) = ((index * inner, row(dim)), (at * inner, row(indices.len())));
        parts.push(Part::new(0, &[outer, inner], x, y));
    }
    Some(moved(parts, None, 1, &to))
}

/// A change of axes that moves something, or nothing.
fn axes(context: &Context, op: &AxisOp) -> Option<Lowered> {
    let (dims, to) = (context.input(0)?, context.output(0)?);
    let AxisOp::Move(from, at) = op else { return Some(Lowered::same()) };
    let (from, at) = (*from, *at);
    let mut axes: Vec<usize> = (0..dims.len()).collect();
    if from >= dims.len() || at >= dims.len() {
        return None;
    }
    let axis = axes.remove(from);
    axes.insert(at, axis);
    // Only axes that are longer than one can change places.
    let moved: Vec<usize> = axes.iter().copied().filter(|a| dims[*a] > 1).collect();
    if moved.is_sorted() {
        return Some(Lowered::same());
    }
    if moved.len() > MOST_AXES {
        return None;
    }
    Some(Lowered::one(Op::permute(&dims, &axes), vec![Ref::Input(0)], to.iter().product()))
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let node = context.node;
    if let Some(op) = node.op_as::<AxisOp>() {
        match op {
            // One image more or less.
            AxisOp::Rm(0) | AxisOp::Add(0) if context.channels_last => {
                context.output(0).and(context.input(0)).map(|_| Lowered::same())
            }
            _ if context.channels_last => None,
            _ => axes(context, op),
        }
    } else if let Some(op) = node.op_as::<Slice>() {
        slice(context, op)
    } else if let Some(op) = node.op_as::<NearestUpsample>() {
        upsample(context, op)
    } else if let Some(op) = node.op_as::<Downsample>() {
        downsample(context, op)
    } else if let Some(op) = node.op_as::<TypedConcat>() {
        concat(context, op)
    } else if let Some(op) = node.op_as::<Pad>() {
        pad(context, op)
    } else if let Some(op) = node.op_as::<Gather>() {
        (!context.channels_last).then(|| gather(context, op)).flatten()
    } else if node.op_is::<MultiBroadcastTo>() {
        broadcast(context)
    } else {
        context.input(0)?;
        node.op_is::<Identity>().then(Lowered::same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_copied_where_it_belongs() {
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        // The second column of three by four, backwards.
        let part = Part::new(0, &[3, 1], (9, vec![-4, 1]), (1, vec![2, 1]));
        let mut y = [-1.0; 6];
        part.copy(&x, &mut y);
        assert_eq!(y, [-1.0, 9.0, -1.0, 5.0, -1.0, 1.0]);
        let whole = Part::new(0, &[3, 4], (0, vec![4, 1]), (0, vec![4, 1]));
        assert_eq!((whole.dims.as_slice(), whole.x.1.as_slice()), (&[12][..], &[1][..]));
        let one = Part::new(0, &[], (2, vec![]), (0, vec![]));
        one.copy(&x, &mut y);
        assert_eq!(y[0], 2.0);
    }
}
